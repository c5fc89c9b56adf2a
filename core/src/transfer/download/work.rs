//! The pieces of a file under the description that is believed at present: which are here, which are being fetched,
//! which are still to be started, which are under suspicion.
//! Not here: sources, requests, the fate of liars.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;

use super::assembly::Assembly;
use super::messages::SourceId;
use super::picker::Picker;
use super::sources::Origin;
use crate::base::ids::FileHash;
use crate::base::limits;
use crate::content::description::Description;
use crate::content::layout::PieceLayout;
use crate::content::proof::Ledger;
use crate::content::rivals::agree_on;

/// A block of a piece that turned out wrong when it had blocks from several sources.
#[derive(Clone, Copy, Debug)]
pub struct Suspect {
    /// Index of the block.
    pub block: usize,
    /// Who sent it.
    pub origin: Origin,
    /// What was sent.
    pub digest: FileHash,
}

/// The state of all pieces.
#[derive(Debug)]
pub struct Work {
    /// What is believed.
    pub description: Description,
    /// How the file is cut.
    pub layout: PieceLayout,
    /// The pieces that are consistent and on disk.
    pub ledger: Ledger,
    /// The pieces to be started.
    pub picker: Picker,
    /// The pieces in progress.
    pub active: BTreeMap<u32, Assembly>,
    /// Those in progress that have missing blocks and no owner.
    pub orphans: BTreeSet<u32>,
    /// Those in progress that have missing blocks and an owner.
    pub shared: BTreeSet<u32>,
    /// Bytes of pieces in progress or being checked, counted whole.
    pub held_bytes: u64,
    /// Pieces that decide between descriptions: wanted before all others.
    pub urgent: BTreeSet<u32>,
    /// Pieces that were wrong with blocks from several sources: to be fetched from one source at a time.
    pub contested: BTreeMap<u32, Vec<Suspect>>,
    /// Pieces that may be on disk and wait to be verified.
    pub disk_queue: VecDeque<u32>,
    /// Bytes of consistent pieces.
    pub done_bytes: u64,
    /// Bytes of blocks that are here but not known to be right.
    pub loose_bytes: u64,
    suspects: usize,
    block_bytes: u32,
}

impl Work {
    /// Under a fresh description; nothing is here yet.
    pub fn new(description: Description, block_bytes: u32) -> Self {
        let layout = description.layout();
        Self {
            description,
            layout,
            ledger: Ledger::new(layout.pieces()),
            picker: Picker::new(layout.pieces()),
            active: BTreeMap::new(),
            orphans: BTreeSet::new(),
            shared: BTreeSet::new(),
            held_bytes: 0,
            urgent: BTreeSet::new(),
            contested: BTreeMap::new(),
            disk_queue: VecDeque::new(),
            done_bytes: 0,
            loose_bytes: 0,
            suspects: 0,
            block_bytes,
        }
    }

    /// Sorts all pieces when the part file is open: those that were consistent under the description before and on
    /// which both agree stay; those that may be on disk are to be verified; the rest is wanted. Returns what stays.
    pub fn sort(&mut self, on_disk: &[Range<u64>], before: Option<&(Description, Ledger)>) -> Vec<u32> {
        let mut kept = Vec::new();
        for piece in (0..self.layout.pieces()).rev() {
            let range = self.layout.range(piece);
            let stays = before.is_some_and(|(description, ledger)| {
                agree_on(description, &self.description, piece) && ledger.is_consistent(piece)
            });
            if stays {
                self.mark(piece);
                kept.push(piece);
            } else if covers(on_disk, range.offset, range.end()) {
                self.disk_queue.push_back(piece);
            } else {
                self.picker.want(piece);
            }
        }
        kept
    }

    /// The piece is on disk and consistent.
    pub fn mark(&mut self, piece: u32) {
        if !self.ledger.is_consistent(piece) {
            self.ledger.mark_consistent(piece);
            self.done_bytes += u64::from(self.layout.range(piece).length);
        }
        self.urgent.remove(&piece);
    }

    /// Files an active piece under the right heading after its owner or its missing blocks changed.
    pub fn relist(&mut self, piece: u32) {
        let (orphan, shared) = match self.active.get(&piece) {
            Some(assembly) if assembly.missing() > 0 && assembly.sole.is_none() => {
                (assembly.owner.is_none(), assembly.owner.is_some())
            }
            _ => (false, false),
        };
        set(&mut self.orphans, piece, orphan);
        set(&mut self.shared, piece, shared);
    }

    /// Another piece may be held.
    pub fn has_room(&self, budget: u64) -> bool {
        self.held_bytes == 0 || self.held_bytes + u64::from(self.layout.piece_length()) <= budget
    }

    /// Starts a wanted piece. False if that would hold too many bytes.
    pub fn start(&mut self, piece: u32, owner: SourceId, budget: u64) -> bool {
        let range = self.layout.range(piece);
        if self.held_bytes > 0 && self.held_bytes + u64::from(range.length) > budget {
            return false;
        }
        if self.picker.unwant(piece) {
            self.held_bytes += u64::from(range.length);
            let sole = self.contested.contains_key(&piece);
            self.active.insert(piece, Assembly::new(range, self.block_bytes, owner, sole));
            self.relist(piece);
        }
        true
    }

    /// Gives up a piece in progress: what is here of it is dropped, it is wanted again.
    pub fn abandon(&mut self, piece: u32) {
        if let Some(assembly) = self.active.remove(&piece) {
            self.held_bytes -= u64::from(assembly.range.length);
            self.loose_bytes -= assembly.bytes_here();
            self.picker.want(piece);
            self.relist(piece);
        }
    }

    /// A source will not answer this request, or not in time. Returns the piece if it must be abandoned because nobody
    /// else may fill the gap.
    #[must_use]
    pub fn release(&mut self, offset: u64, source: SourceId) -> Option<u32> {
        let piece = self.layout.piece_at(offset)?;
        let assembly = self.active.get_mut(&piece)?;
        let block = assembly.block_at(offset);
        assembly.release(block, source);
        if assembly.sole == Some(source) {
            return Some(piece);
        }
        if assembly.owner == Some(source) {
            assembly.owner = None;
        }
        self.relist(piece);
        None
    }

    /// Remembers who sent what of a piece that turned out wrong.
    pub fn suspect(&mut self, piece: u32, suspects: Vec<Suspect>) {
        // Without room the blocks are forgotten, but the piece still comes from one source from now on: the liar is
        // only caught later.
        let room = self.suspects + suspects.len() <= limits::MAX_SUSPECT_BLOCKS;
        let kept = if room { suspects } else { Vec::new() };
        self.suspects += kept.len();
        self.contested.entry(piece).or_default().extend(kept);
    }

    /// Takes what was remembered of a piece.
    pub fn take_suspects(&mut self, piece: u32) -> Vec<Suspect> {
        let suspects = self.contested.remove(&piece).unwrap_or_default();
        self.suspects -= suspects.len();
        suspects
    }

    /// Few enough bytes are missing to ask several sources for the same block.
    pub fn is_endgame(&self) -> bool {
        let total = self.layout.length() as f64;
        (self.done_bytes + self.loose_bytes) as f64 >= total * limits::ENDGAME_FRACTION
    }
}

fn set(list: &mut BTreeSet<u32>, piece: u32, listed: bool) {
    if listed {
        list.insert(piece);
    } else {
        list.remove(&piece);
    }
}

/// Whether one of the ascending ranges holds all of `start..end`.
fn covers(ranges: &[Range<u64>], start: u64, end: u64) -> bool {
    let after = ranges.partition_point(|range| range.start <= start);
    after > 0 && ranges[after - 1].end >= end
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::description::Describer;

    fn work(length: usize) -> Work {
        let layout = PieceLayout::with_piece_length(length as u64, 128).expect("valid");
        let mut describer = Describer::with_layout(layout);
        describer.update(&vec![7; length]).expect("announced");
        Work::new(describer.finish().expect("complete"), limits::MAX_BLOCK_BYTES)
    }

    #[test]
    fn only_whole_pieces_on_disk_are_worth_a_look() {
        let mut work = work(1000);
        assert!(work.sort(&[0..200, 256..700, 896..1000], None).is_empty());
        assert_eq!(work.disk_queue, [7, 4, 3, 2, 0]);
        assert!((0..8).all(|piece| work.picker.is_wanted(piece) != work.disk_queue.contains(&piece)));
    }

    #[test]
    fn a_source_that_goes_leaves_orphans_and_soles_start_over() {
        let (a, b) = (SourceId(1), SourceId(2));
        let mut work = work(1000);
        work.sort(&[], None);
        work.contested.insert(7, Vec::new());
        assert!(work.start(7, a, 1000) && work.start(6, a, 1000) && work.start(5, b, 1000));
        assert_eq!(work.shared, BTreeSet::from([5, 6]));
        for piece in [5, 6, 7] {
            work.active.get_mut(&piece).expect("started").ask(0, if piece == 5 { b } else { a });
            work.relist(piece);
        }
        assert!(work.shared.is_empty());
        assert_eq!(work.release(6 * 128, a), None);
        assert_eq!(work.release(7 * 128, a), Some(7));
        work.abandon(7);
        assert_eq!(work.orphans, BTreeSet::from([6]));
        assert!(work.picker.is_wanted(7) && !work.picker.is_wanted(6));
        assert_eq!(work.held_bytes, 256);
    }

    #[test]
    fn the_budget_allows_one_piece_of_any_size_and_no_more_than_it_says() {
        let mut work = work(1000);
        work.sort(&[], None);
        assert!(work.start(0, SourceId(1), 1));
        assert!(!work.start(1, SourceId(1), 200));
        assert!(work.start(1, SourceId(1), 256));
        work.abandon(0);
        work.abandon(1);
        assert_eq!(work.held_bytes, 0);
        assert!((0..8).all(|piece| work.picker.is_wanted(piece)));
    }
}
