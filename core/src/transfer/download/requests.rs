//! Asking: which block from which source, when to help a slow one, when to ask twice; and taking the blocks that come.
//! Not here: whether a piece is right (`blame`), which description is right (`disputes`).
//!
//! Each source works through a piece of its own, front to back, with as many blocks open as its window allows. When no
//! piece is left to start, it helps: it takes over blocks from the end of the queue of whichever source would need
//! longest for them. In the endgame, and for the block a source is busy with, it asks as well instead of taking over;
//! the first answer wins and the others get CANCEL.

use bytes::Bytes;

use super::assembly::Accepted;
use super::bits::Bits;
use super::sources::{Answer, Phase, Source, typical_speed};
use super::{Download, Origin, Output, SourceId, Verification};
use crate::base::limits;
use crate::base::time::Time;
use crate::wire::transfer::{ClientFrame, Span};

/// A block is taken over only by a source that would be done in this share of the time.
const WORTH_TAKING: f64 = 0.8;
/// In the endgame, a block is asked for as well only from a source that would be done in this share of the time.
const WORTH_COPYING: f64 = 0.5;
/// A block that is on its way already is asked for as well only from a source that would be done in this share of the
/// time: most likely it comes twice.
const WORTH_DOUBLING: f64 = 0.2;

impl Download {
    /// Sends requests until the source's window is full or nothing is left for it.
    pub(super) fn fill(&mut self, now: Time, id: SourceId) {
        let Some(working) = self.working else { return };
        let Some(source) = self.sources.get(&id) else { return };
        if !source.supports(working) {
            return self.fill_trial(now, id);
        }
        loop {
            let Some(source) = self.sources.get_mut(&id) else { return };
            if !source.can_take(self.share) || source.idle_at == Some(self.generation) {
                return;
            }
            let Some((piece, block)) = self.choose(now, id) else {
                if let Some(source) = self.sources.get_mut(&id) {
                    source.idle_at = Some(self.generation);
                }
                return;
            };
            self.ask(now, id, piece, block);
        }
    }

    /// Offers work to every source.
    pub(super) fn fill_all(&mut self, now: Time) {
        let ids: Vec<SourceId> = self.sources.keys().copied().collect();
        // Not always the same one first, or it would get all that comes back.
        let start = self.rng.below(ids.len());
        for id in ids[start..].iter().chain(&ids[..start]) {
            self.fill(now, *id);
        }
    }

    /// There is new work: sources that had nothing to do look again at the end of this event.
    pub(super) fn wake(&mut self) {
        self.generation += 1;
        self.woken = true;
    }

    /// The next block to ask this source for. Starts, joins or takes over pieces as needed.
    fn choose(&mut self, now: Time, id: SourceId) -> Option<(u32, usize)> {
        let budget = self.config.assembly_bytes;
        let work = self.work.as_mut()?;
        let source = self.sources.get_mut(&id)?;
        if let Some(piece) = source.current {
            let mine = work.active.get_mut(&piece).filter(|assembly| assembly.owner == Some(id));
            if let Some(block) = mine.and_then(super::assembly::Assembly::next_missing) {
                return Some((piece, block));
            }
            source.current = None;
        }
        let urgent = work.urgent.iter().copied().find(|piece| {
            source.has(*piece)
                && (work.picker.is_wanted(*piece) || work.orphans.contains(piece) || work.shared.contains(piece))
        });
        let chosen = urgent.or_else(|| work.orphans.iter().rev().copied().find(|piece| source.has(*piece)));
        let start = if self.partial_sources > 0 && self.sources.len() > 1 {
            1 + self.rng.below(work.layout.pieces() as usize) as u32
        } else {
            u32::MAX
        };
        let source = self.sources.get_mut(&id)?;
        let chosen = chosen.or_else(|| work.picker.pick(source.have.as_ref(), start));
        if let Some(piece) = chosen {
            if work.active.contains_key(&piece) || work.start(piece, id, budget) {
                let assembly = work.active.get_mut(&piece)?;
                let block = assembly.next_missing()?;
                if assembly.owner.is_none() {
                    assembly.owner = Some(id);
                }
                source.current = (assembly.owner == Some(id)).then_some(piece);
                work.relist(piece);
                return Some((piece, block));
            }
            if !source.starving {
                source.starving = true;
                self.starving.push_back(id);
            }
        }
        // Nothing to start: join a piece that somebody else works on.
        if let Some(piece) = work.shared.iter().rev().copied().find(|piece| source.has(*piece)) {
            let block = work.active.get_mut(&piece)?.next_missing()?;
            return Some((piece, block));
        }
        // While pieces wait for room, what others hold is on its way; only now and then it is worth a closer look.
        if chosen.is_some() && !self.thorough {
            return None;
        }
        if let Some(found) = self.help(now, id) {
            return Some(found);
        }
        if chosen.is_some() { self.evict(now, id) } else { None }
    }

    /// There is room for another piece: sources that waited for it look again, in turn.
    pub(super) fn feed_starving(&mut self, now: Time) {
        for _ in 0..self.starving.len() {
            if !self.work.as_ref().is_some_and(|work| work.has_room(self.config.assembly_bytes)) {
                return;
            }
            let Some(id) = self.starving.pop_front() else { return };
            if let Some(source) = self.sources.get_mut(&id) {
                source.starving = false;
                source.idle_at = None;
                self.fill(now, id);
            }
        }
    }

    /// Takes over a block from the source that would need longest for it, or asks for it as well.
    fn help(&mut self, now: Time, id: SourceId) -> Option<(u32, usize)> {
        let working = self.working?;
        let work = self.work.as_mut()?;
        let me = self.sources.get(&id)?;
        let typical = typical_speed(self.sources.values());
        let block_bytes = self.config.block_bytes.min(work.layout.piece_length());
        let mine = me.eta(now, typical, me.queued_bytes + u64::from(block_bytes));
        let endgame = work.is_endgame();
        let mut busy: Vec<(f64, &Source)> = self
            .sources
            .values()
            .filter(|other| other.origin.source != id && other.supports(working) && !other.queue.is_empty())
            .map(|other| (other.eta(now, typical, other.queued_bytes), other))
            .filter(|(theirs, _)| mine < theirs * WORTH_TAKING)
            .collect();
        busy.sort_by(|a, b| b.0.total_cmp(&a.0));
        let found = 'search: {
            for (_, other) in busy {
                let mut ahead = other.queued_bytes;
                for (position, ask) in other.queue.iter().enumerate().rev() {
                    let until = other.eta(now, typical, ahead);
                    if mine >= until * WORTH_TAKING {
                        break;
                    }
                    ahead -= u64::from(ask.span.length);
                    // A CANCEL takes half a round trip; what the other one begins to send before comes anyway.
                    let begun = position == 0 || other.eta(now, typical, ahead) <= other.window.rtt().as_secs_f64();
                    let worth = match (begun, endgame) {
                        (true, _) => WORTH_DOUBLING,
                        (false, true) => WORTH_COPYING,
                        (false, false) => WORTH_TAKING,
                    };
                    if mine >= until * worth {
                        continue;
                    }
                    let piece = work.layout.piece_at(ask.span.offset).filter(|piece| me.has(*piece));
                    let assembly = piece.and_then(|piece| work.active.get(&piece).map(|assembly| (piece, assembly)));
                    let Some((piece, assembly)) = assembly.filter(|(_, assembly)| assembly.sole.is_none()) else {
                        continue;
                    };
                    let block = assembly.block_at(ask.span.offset);
                    let (askers, asked_me) = assembly.askers(block, id);
                    let copy = endgame || begun;
                    if asked_me || assembly.is_here(block) || (copy && askers >= limits::ENDGAME_COPIES) {
                        continue;
                    }
                    let victim = (!copy).then_some((other.origin.source, ask.span));
                    break 'search Some((piece, block, victim));
                }
            }
            None
        };
        let (piece, block, victim) = found?;
        if let Some((victim, span)) = victim {
            work.active.get_mut(&piece)?.release(block, victim);
            self.cancel(victim, span);
        }
        Some((piece, block))
    }

    /// The budget is used up by pieces that nobody can continue: gives one of them up for a piece this source has.
    fn evict(&mut self, now: Time, id: SourceId) -> Option<(u32, usize)> {
        let work = self.work.as_mut()?;
        let source = self.sources.get(&id)?;
        let stuck = work.active.iter().find(|(piece, assembly)| !source.has(**piece) && assembly.is_still());
        let stuck = *stuck?.0;
        self.abandon(stuck);
        // The room is enough now or it is not; there is at most one piece less each time.
        self.choose(now, id)
    }

    fn ask(&mut self, now: Time, id: SourceId, piece: u32, block: usize) {
        let Some(work) = self.work.as_mut() else { return };
        let Some(assembly) = work.active.get_mut(&piece) else { return };
        let Some(source) = self.sources.get_mut(&id) else { return };
        let span = assembly.span(block);
        assembly.ask(block, id);
        source.push(now, span);
        work.relist(piece);
        self.outputs.push_back(Output::Send { source: id, frame: ClientFrame::Request(span) });
    }

    /// Withdraws one request of a source.
    fn cancel(&mut self, id: SourceId, span: Span) {
        if let Some(source) = self.sources.get_mut(&id)
            && source.withdraw(span)
        {
            self.outputs.push_back(Output::Send { source: id, frame: ClientFrame::Cancel(span) });
        }
    }

    /// A DATA frame.
    pub(super) fn block(&mut self, now: Time, id: SourceId, offset: u64, bytes: Bytes) {
        let Some(source) = self.sources.get_mut(&id) else { return };
        let origin = source.origin;
        match source.answer(now, offset, bytes.len() as u32) {
            Answer::Expected => {}
            Answer::WrongLength(expected) => {
                let reason = format!("answered a request for {expected} bytes with {}", bytes.len());
                return self.ban(now, origin, reason);
            }
            Answer::Unasked => return self.close(now, id, None),
        }
        if let Some(record) = self.peers.get_mut(origin.record) {
            record.bytes += bytes.len() as u64;
        }
        self.meter.add(now, bytes.len() as u64);
        if self.working.is_some_and(|working| source.supports(working)) {
            self.take(now, origin, offset, bytes);
        } else {
            self.take_trial(id, offset, bytes);
        }
        self.fill(now, id);
    }

    /// Puts a block where it belongs.
    fn take(&mut self, now: Time, origin: Origin, offset: u64, bytes: Bytes) {
        let Some(work) = self.work.as_mut() else { return };
        let Some(piece) = work.layout.piece_at(offset) else { return };
        let Some(assembly) = work.active.get_mut(&piece) else { return };
        let block = assembly.block_at(offset);
        let length = bytes.len() as u64;
        let Accepted::New(others) = assembly.accept(block, origin, bytes) else { return };
        let span = assembly.span(block);
        let full = assembly.is_full();
        work.loose_bytes += length;
        work.relist(piece);
        for other in &others {
            self.cancel(*other, span);
        }
        if full {
            self.verify(piece);
        }
        // They have room again.
        for other in others {
            self.fill(now, other);
        }
    }

    /// Hands a full piece to a worker.
    fn verify(&mut self, piece: u32) {
        let Some(work) = self.work.as_mut() else { return };
        let Some(assembly) = work.active.remove(&piece) else { return };
        work.relist(piece);
        let write_at = Some(assembly.range.offset);
        let check = work.description.piece_check(piece);
        let blocks = assembly.into_blocks();
        let parts = blocks.iter().map(|(_, bytes)| bytes.clone()).collect();
        let id = self.note_check(Verification::Piece { piece, blocks });
        self.outputs.push_back(Output::Check { id, piece, check, write_at, parts });
    }

    /// Divides the memory among the sources that can be asked.
    pub(super) fn divide(&mut self) {
        let able = self.sources.values().filter(|source| !source.choked && !source.silent).count().max(1);
        self.share = (self.config.assembly_bytes / able as u64).max(u64::from(self.config.block_bytes));
    }

    /// CHOKE: nothing that is open will be answered.
    pub(super) fn choked(&mut self, now: Time, id: SourceId) {
        let Some(source) = self.sources.get_mut(&id) else { return };
        if !source.choked {
            source.choked = true;
            source.choked_since = now;
        }
        self.divide();
        self.withdraw_all(id);
    }

    /// UNCHOKE.
    pub(super) fn unchoked(&mut self, now: Time, id: SourceId) {
        let Some(source) = self.sources.get_mut(&id) else { return };
        source.choked = false;
        source.idle_at = None;
        self.divide();
        self.settle(now);
        self.fill(now, id);
    }

    /// REJECT: this block must come from somebody else, or later.
    pub(super) fn rejected(&mut self, now: Time, id: SourceId, span: Span) {
        let Some(source) = self.sources.get_mut(&id) else { return };
        if !source.rejected(span) {
            return;
        }
        source.rejects += 1;
        if source.rejects > limits::MAX_REJECTS {
            return self.close(now, id, None);
        }
        let Phase::Supports(number) = source.phase else { return };
        let Some(layout) = self.claims.get(&number).map(|claim| claim.layout) else { return };
        let works = self.working == Some(number);
        let Some(piece) = layout.piece_at(span.offset) else { return };
        if source.have.get_or_insert_with(|| Bits::full(layout.pieces())).remove(piece) {
            source.refused.push(piece);
            if let Some(work) = self.work.as_mut().filter(|_| source.counted) {
                work.picker.lost(piece);
            }
        }
        if works {
            self.release_pieces(id, &[span], None);
            self.wake();
        } else {
            self.withdraw_all(id);
            self.settle(now);
        }
    }

    /// What a source refused may be asked for again.
    pub(super) fn forgive_rejects(&mut self) {
        for source in self.sources.values_mut() {
            for piece in std::mem::take(&mut source.refused) {
                let back = source.have.as_mut().is_some_and(|have| have.insert(piece));
                if let Some(work) = self.work.as_mut().filter(|_| back && source.counted) {
                    work.picker.gained(piece);
                }
            }
        }
    }

    /// Takes all requests of a source back, so that others can have them. No CANCEL is sent.
    pub(super) fn withdraw_all(&mut self, id: SourceId) -> Vec<Span> {
        let Some(source) = self.sources.get_mut(&id) else { return Vec::new() };
        let current = source.current;
        let spans = source.withdraw_all();
        let works = self.working.is_some_and(|working| source.supports(working));
        if works {
            self.release_pieces(id, &spans, current);
        } else {
            self.reset_trial_of(id);
        }
        if !spans.is_empty() {
            self.wake();
        }
        spans
    }

    /// Makes what a source was working on available to others.
    pub(super) fn release_pieces(&mut self, id: SourceId, spans: &[Span], current: Option<u32>) {
        let Some(work) = self.work.as_mut() else { return };
        let mut lost: Vec<u32> = spans.iter().filter_map(|span| work.release(span.offset, id)).collect();
        if let Some(piece) = current
            && let Some(assembly) = work.active.get_mut(&piece)
            && assembly.owner == Some(id)
        {
            assembly.owner = None;
            work.relist(piece);
        }
        if current.is_some() {
            let sole = |piece: &&u32| work.active.get(piece).is_some_and(|assembly| assembly.sole == Some(id));
            lost.extend(work.contested.keys().filter(sole));
        }
        for piece in lost {
            self.abandon(piece);
        }
    }

    /// Gives up a piece in progress: it is wanted again as a whole.
    pub(super) fn abandon(&mut self, piece: u32) {
        let Some(work) = self.work.as_mut() else { return };
        let open = work.active.get(&piece).map(super::assembly::Assembly::open_asks).unwrap_or_default();
        work.abandon(piece);
        for (source, span) in open {
            self.cancel(source, span);
        }
    }
}
