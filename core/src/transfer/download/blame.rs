//! What a verification says about the pieces and about those who sent them.
//! Not here: hashing, requests, rival descriptions.
//!
//! A piece that is inconsistent under the description which its only sender claims itself convicts that sender: an
//! honest peer serves nothing that is not consistent under the description it announces. If several peers sent parts of
//! it, nobody is convicted yet: what each sent is remembered, and the piece is fetched again from one source at a time.
//! Whoever then sends it wrong alone is convicted, and once it is right, so is everyone whose part differs from it.

use bytes::Bytes;

use super::sources::Origin;
use super::work::Suspect;
use super::{CheckId, Download, Output, Verification};
use crate::base::ids::FileHash;
use crate::base::limits;
use crate::base::time::Time;

impl Download {
    /// Takes the answer of a worker.
    pub(super) fn checked(&mut self, now: Time, id: CheckId, consistent: bool) {
        match self.checks.remove(&id) {
            None => {}
            Some(Verification::Trial { claim, origin, piece }) => {
                self.trial_checked(now, claim, origin, piece, consistent);
            }
            Some(Verification::Disk { piece }) => {
                self.disk_checks -= 1;
                self.disk_checked(now, piece, consistent);
            }
            Some(Verification::Piece { piece, blocks }) => {
                self.piece_checks -= 1;
                if consistent {
                    self.piece_is_right(now, piece, &blocks);
                } else {
                    self.piece_is_wrong(now, piece, &blocks);
                }
            }
        }
        if self.work.is_none() {
            self.announce_when_quiet();
        }
    }

    /// Reads back as many pieces as the workers may have at once.
    pub(super) fn check_disk(&mut self) {
        while self.disk_checks < limits::MAX_DISK_CHECKS {
            let Some(work) = self.work.as_mut() else { return };
            let Some(piece) = work.disk_queue.pop_front() else { return };
            let check = work.description.piece_check(piece);
            let range = work.layout.range(piece);
            let id = self.note_check(Verification::Disk { piece });
            let output = Output::CheckDisk { id, piece, check, offset: range.offset, length: range.length };
            self.outputs.push_back(output);
        }
    }

    fn disk_checked(&mut self, now: Time, piece: u32, consistent: bool) {
        if consistent {
            self.piece_is_here(now, piece);
        } else if let Some(work) = self.work.as_mut() {
            work.picker.want(piece);
            self.wake();
        }
        self.check_disk();
    }

    fn piece_is_right(&mut self, now: Time, piece: u32, blocks: &[(Origin, Bytes)]) {
        let liars: Vec<Origin> = match self.work.as_mut() {
            Some(work) => {
                let length = u64::from(work.layout.range(piece).length);
                work.held_bytes -= length;
                work.loose_bytes -= length;
                let differs = |suspect: &Suspect| {
                    blocks.get(suspect.block).is_some_and(|(_, bytes)| FileHash::of(bytes) != suspect.digest)
                };
                let suspects = work.take_suspects(piece).into_iter();
                suspects.filter(differs).map(|suspect| suspect.origin).collect()
            }
            None => Vec::new(),
        };
        for liar in liars {
            self.ban(now, liar, format!("sent a false part of piece {piece}"));
        }
        self.piece_is_here(now, piece);
        self.feed_starving(now);
    }

    fn piece_is_wrong(&mut self, now: Time, piece: u32, blocks: &[(Origin, Bytes)]) {
        let Some((first, _)) = blocks.first() else { return };
        let alone = blocks.iter().all(|(origin, _)| origin.record == first.record);
        if let Some(work) = self.work.as_mut() {
            let length = u64::from(work.layout.range(piece).length);
            work.held_bytes -= length;
            work.loose_bytes -= length;
            if !alone {
                let suspect = |(block, (origin, bytes)): (usize, &(Origin, Bytes))| Suspect {
                    block,
                    origin: *origin,
                    digest: FileHash::of(bytes),
                };
                work.suspect(piece, blocks.iter().enumerate().map(suspect).collect());
            }
            work.picker.want(piece);
            self.wake();
        }
        if alone {
            self.ban(now, *first, format!("sent a false piece {piece}"));
        }
    }

    /// A piece is consistent and on disk.
    fn piece_is_here(&mut self, now: Time, piece: u32) {
        let Some(work) = self.work.as_mut() else {
            // The description it was checked against has just been refuted; what remains true of it is sorted later.
            if let Some((_, ledger)) = &mut self.retired {
                ledger.mark_consistent(piece);
            }
            return;
        };
        let decides = work.urgent.contains(&piece);
        work.mark(piece);
        self.outputs.push_back(Output::Servable { piece });
        if work.ledger.complete() {
            return self.finish();
        }
        if decides {
            self.settle(now);
        }
    }
}
