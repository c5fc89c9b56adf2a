//! Which pieces of a file are known to be right, and why that may be believed.
//! Not here: hashing (`sha256`), the check of one piece (`description::PieceCheck`), where the bytes are.
//!
//! # The rule
//!
//! A file `F` with the hash `h` is wanted. A peer claims its length and the chaining states at the piece boundaries.
//!
//! * A piece is **consistent** if compressing it from the claimed state before it gives the claimed state after it.
//!   For the last piece, padding with the claimed length belongs to it, and the state after it is `h`.
//! * A piece is **proven** if it is consistent and the state after it is: the state after the last piece is `h` itself,
//!   which is what was asked for, and the state before a proven piece is proven with it. So proofs grow from the tail.
//! * When all pieces are consistent, they form one unbroken SHA-256 computation from the standard initial value to `h`:
//!   the file's hash *is* `h`. No second pass can say more, and nothing beyond SHA-256 as usual is relied on.
//!
//! # What an early proof rests on
//!
//! Before the download is complete, "proven" means: nobody could have produced a (state, piece) pair other than the
//! file's own that leads to a proven state. That is the difficulty of a *free-start second preimage* of SHA-256's
//! compression function: the attacker may choose the state it starts from as well as the blocks, but not the state it
//! must arrive at. No attack on the full 64 rounds is known that is better than trying (2^256, divided by the number
//! of states to hit, at most 2^19 here). Two known properties do not help:
//!
//! * Free-start *collisions* (both pairs chosen by the attacker) are easier by nature, and published for reduced
//!   rounds. They would matter only to an author who prepares two endings of his own file; the second one cannot be
//!   continued backwards to the initial state, so a complete download never contains it.
//! * Fixed points `compress(s, m) = s` of the Davies–Meyer construction are cheap to find, but `s` comes out at random
//!   and cannot be steered to a proven state.
//!
//! The length is bound in the same way: it is part of the padding, so another length is another last block.
//!
//! A consistent piece that is not proven is worth exactly as much as the description it was checked with. Serving it is
//! harmless: whoever receives it checks it against a description as well. A claimed description that is false cannot
//! make a *complete* download wrong; it can only waste time, and `rivals` says how it is exposed.

use std::ops::Range;

use crate::base::ids::PieceIndex;

/// Keeps count of consistent and proven pieces of one file. Marking is O(1), amortised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ledger {
    pieces: u32,
    /// One bit per piece, the highest bit of byte 0 first, as availability travels on the wire.
    bits: Vec<u8>,
    consistent: u32,
    /// Start of the unbroken run of consistent pieces that reaches the end of the file.
    proven_from: PieceIndex,
}

impl Ledger {
    /// No piece is known. A file without pieces is complete from the start.
    pub fn new(pieces: u32) -> Self {
        Self { pieces, bits: vec![0; pieces.div_ceil(8) as usize], consistent: 0, proven_from: pieces }
    }

    /// Every piece is known.
    pub fn full(pieces: u32) -> Self {
        let mut ledger = Self::new(pieces);
        for piece in (0..pieces).rev() {
            ledger.mark_consistent(piece);
        }
        ledger
    }

    /// Notes that a piece is consistent; returns the pieces that became proven by it (often none, at times many).
    /// Marking twice changes nothing. Pieces that do not exist are a bug of the caller and panic, here and below.
    pub fn mark_consistent(&mut self, piece: PieceIndex) -> Range<PieceIndex> {
        let before = self.proven_from;
        let (byte, bit) = self.position(piece);
        if self.bits[byte] & bit == 0 {
            self.bits[byte] |= bit;
            self.consistent += 1;
        }
        while self.proven_from > 0 && self.is_consistent(self.proven_from - 1) {
            self.proven_from -= 1;
        }
        self.proven_from..before
    }

    /// Takes a mark back (the description fell, or the disk lost the piece); returns the pieces that are not proven
    /// any more.
    pub fn unmark(&mut self, piece: PieceIndex) -> Range<PieceIndex> {
        let before = self.proven_from;
        let (byte, bit) = self.position(piece);
        if self.bits[byte] & bit != 0 {
            self.bits[byte] &= !bit;
            self.consistent -= 1;
        }
        self.proven_from = self.proven_from.max(if piece >= before { piece + 1 } else { before });
        before..self.proven_from
    }

    /// Number of pieces of the file.
    pub const fn pieces(&self) -> u32 {
        self.pieces
    }

    /// Whether a piece is consistent.
    pub fn is_consistent(&self, piece: PieceIndex) -> bool {
        let (byte, bit) = self.position(piece);
        self.bits[byte] & bit != 0
    }

    /// Whether a piece is proven.
    pub const fn is_proven(&self, piece: PieceIndex) -> bool {
        piece >= self.proven_from && piece < self.pieces
    }

    /// The first proven piece: it and all after it are proven. Equals [`Self::pieces`] if none is.
    pub const fn proven_from(&self) -> PieceIndex {
        self.proven_from
    }

    /// How many pieces are consistent.
    pub const fn consistent(&self) -> u32 {
        self.consistent
    }

    /// Every piece is consistent, therefore proven: the file's hash is the requested one.
    pub const fn complete(&self) -> bool {
        self.proven_from == 0
    }

    /// The pieces still to get, from the tail of the file to its head.
    pub fn missing_from_tail(&self) -> impl Iterator<Item = PieceIndex> + '_ {
        (0..self.proven_from).rev().filter(|piece| !self.is_consistent(*piece))
    }

    /// The consistent pieces as bits, piece 0 in the highest bit of byte 0; spare bits at the end are 0.
    pub fn bits(&self) -> &[u8] {
        &self.bits
    }

    fn position(&self, piece: PieceIndex) -> (usize, u8) {
        assert!(piece < self.pieces, "piece {piece} of {}", self.pieces);
        (piece as usize / 8, 0x80 >> (piece % 8))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proofs_grow_from_the_tail() {
        let mut ledger = Ledger::new(4);
        assert_eq!(ledger.mark_consistent(1), 4..4);
        assert_eq!(ledger.mark_consistent(3), 3..4);
        assert!(!ledger.is_proven(1) && ledger.is_proven(3) && !ledger.is_proven(4));
        assert_eq!(ledger.mark_consistent(2), 1..3, "2 links 1 to the tail");
        assert_eq!(ledger.mark_consistent(2), 1..1, "twice is once");
        assert!(!ledger.complete());
        assert_eq!(ledger.missing_from_tail().collect::<Vec<_>>(), [0]);
        assert_eq!(ledger.mark_consistent(0), 0..1);
        assert!(ledger.complete());
        assert_eq!(ledger, Ledger::full(4));
        assert_eq!(ledger.bits(), [0b1111_0000]);
    }

    #[test]
    fn taking_a_mark_back_breaks_the_chain_there() {
        let mut ledger = Ledger::full(5);
        assert_eq!(ledger.unmark(2), 0..3);
        assert!(!ledger.is_proven(1) && ledger.is_consistent(1) && ledger.is_proven(3));
        assert_eq!(ledger.unmark(0), 3..3);
        assert_eq!(ledger.consistent(), 3);
        assert_eq!(ledger.missing_from_tail().collect::<Vec<_>>(), [2, 0]);
        assert_eq!(ledger.unmark(0), 3..3, "twice is once");
        assert_eq!(ledger.mark_consistent(2), 1..3);
        assert_eq!(ledger.unmark(4), 1..5);
        assert_eq!(ledger.proven_from(), 5);
    }

    #[test]
    fn a_file_without_pieces_is_complete() {
        assert!(Ledger::new(0).complete());
        assert!(!Ledger::new(1).complete());
    }
}
