//! Does the machine's bookkeeping agree with itself, and are all bounds kept? For tests and the simulation, which ask
//! after every event. Not here: anything a download needs.

use std::collections::BTreeSet;

use super::{Download, Verification};
use crate::base::limits;

macro_rules! hold {
    ($condition:expr, $($text:tt)+) => {
        if !$condition {
            return Err(format!($($text)+));
        }
    };
}

impl Download {
    /// What is wrong with the machine's state, if anything. Costs time in proportion to the number of pieces.
    pub fn audit(&self) -> Result<(), String> {
        hold!(self.sources.len() <= self.config.max_peers, "{} sources", self.sources.len());
        hold!(self.claims.len() <= limits::MAX_RIVAL_DESCRIPTIONS, "{} claims", self.claims.len());
        hold!(self.disk_checks <= limits::MAX_DISK_CHECKS, "{} disk checks", self.disk_checks);
        hold!(self.peers.iter().count() <= limits::MAX_PAST_PEERS, "too many peers");
        for (id, source) in &self.sources {
            let queued: u64 = source.queue.iter().map(|ask| u64::from(ask.span.length)).sum();
            hold!(queued == source.queued_bytes, "{id:?}: {queued} bytes queued, counted {}", source.queued_bytes);
            hold!(source.queue.len() <= limits::MAX_REQUESTS_PER_PEER, "{id:?}: {} requests", source.queue.len());
            let most = self.config.max_window_bytes + u64::from(self.config.block_bytes);
            hold!(queued < most, "{id:?}: {queued} bytes open");
            hold!(source.withdrawn.len() <= limits::MAX_WITHDRAWN_REQUESTS, "{id:?}: withdrawn");
            hold!(!source.choked || source.queue.is_empty(), "{id:?}: asked while choked");
        }
        hold!(self.starving.len() <= 2 * limits::MAX_PEERS_PER_DOWNLOAD, "{} are starving", self.starving.len());
        let counted = self.sources.values().filter(|source| source.counted).count();
        hold!(counted == self.partial_sources, "{counted} partial sources, counted {}", self.partial_sources);
        self.audit_work()
    }

    fn audit_work(&self) -> Result<(), String> {
        let Some(work) = &self.work else { return Ok(()) };
        let mut held: u64 = work.active.values().map(|assembly| u64::from(assembly.range.length)).sum();
        let mut loose: u64 = work.active.values().map(super::assembly::Assembly::bytes_here).sum();
        let mut elsewhere: BTreeSet<u32> = work.active.keys().copied().collect();
        elsewhere.extend(&work.disk_queue);
        for verification in self.checks.values() {
            match verification {
                Verification::Piece { piece, blocks } => {
                    held += u64::from(work.layout.range(*piece).length);
                    loose += blocks.iter().map(|(_, bytes)| bytes.len() as u64).sum::<u64>();
                    hold!(elsewhere.insert(*piece), "piece {piece} is checked and somewhere else");
                }
                Verification::Disk { piece } => {
                    hold!(elsewhere.insert(*piece), "piece {piece} is read back and somewhere else");
                }
                Verification::Trial { .. } => {}
            }
        }
        hold!(held == work.held_bytes, "{held} bytes held, counted {}", work.held_bytes);
        hold!(loose == work.loose_bytes, "{loose} bytes loose, counted {}", work.loose_bytes);
        let most = self.config.assembly_bytes.max(u64::from(work.layout.piece_length()));
        hold!(held <= most, "{held} bytes held of {most}");
        for piece in (0..work.layout.pieces()).filter(|_| self.store_ready) {
            let places = [work.ledger.is_consistent(piece), work.picker.is_wanted(piece), elsewhere.contains(&piece)];
            let places = places.into_iter().filter(|there| *there).count();
            hold!(places == 1, "piece {piece} is in {places} places");
        }
        for (piece, assembly) in &work.active {
            let open = assembly.missing() > 0 && assembly.sole.is_none();
            let (orphan, shared) = (work.orphans.contains(piece), work.shared.contains(piece));
            hold!(orphan == (open && assembly.owner.is_none()), "piece {piece}: orphan {orphan}");
            hold!(shared == (open && assembly.owner.is_some()), "piece {piece}: shared {shared}");
        }
        for (id, source) in self.sources.iter().filter(|(_, source)| self.working.is_some_and(|w| source.supports(w))) {
            for ask in &source.queue {
                let piece = work.layout.piece_at(ask.span.offset);
                let assembly = piece.and_then(|piece| work.active.get(&piece));
                let known = assembly.is_some_and(|a| a.askers(a.block_at(ask.span.offset), *id).1);
                hold!(known, "{id:?}: {:?} is open for nothing", ask.span);
            }
        }
        let asks: usize = work.active.values().map(super::assembly::Assembly::asks).sum();
        let open: usize = self
            .sources
            .values()
            .filter(|source| self.working.is_some_and(|working| source.supports(working)))
            .map(|source| source.queue.len())
            .sum();
        hold!(asks == open, "{asks} blocks asked for, {open} requests open");
        Ok(())
    }
}
