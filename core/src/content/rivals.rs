//! Two peers describe the same hash differently: which single piece decides who is right.
//! Not here: fetching that piece, and what happens to the liar.
//!
//! Both descriptions end in the same hash. Take the last boundary at which their states differ: at the next boundary
//! they agree, so the piece between the two must lead from different states to the same state. By the argument in
//! `proof` only one such piece can be known to anyone: the true one. Each side is asked for its version of this one
//! piece, and at most one of them is consistent with its own description.
//!
//! If the lengths differ, the paddings differ, and the last piece of each plays the same role: both claim to lead to
//! the hash, and at most one does.
//!
//! That one side passes does not make the rest of its description true: another rival may still refute it at an earlier
//! boundary. Each decision removes one description, so `n` of them are settled with `n - 1` decisions.

use super::description::Description;
use crate::base::ids::PieceIndex;

/// What tells two descriptions apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// They are equal.
    Same,
    /// Get this piece from a supporter of each side: at most one is consistent with its own description.
    Piece(PieceIndex),
    /// The lengths differ. Get from each side the last piece of its own description: at most one is consistent.
    LastPieces {
        /// Last piece of the first description.
        a: PieceIndex,
        /// Last piece of the second description.
        b: PieceIndex,
    },
    /// One of them describes the empty file, which needs no piece: it has the hash of nothing, so the other one is
    /// false.
    Empty {
        /// The first description is the true one, not the second.
        a: bool,
    },
    /// They are not about the same hash, or cut the same length differently. Peers that follow the layout rule never
    /// get here.
    Incomparable,
}

/// Finds what decides between two descriptions.
pub fn decisive_piece(a: &Description, b: &Description) -> Decision {
    if a.hash() != b.hash() {
        return Decision::Incomparable;
    }
    if a.layout().length() != b.layout().length() {
        return match (a.layout().last_piece(), b.layout().last_piece()) {
            (Some(a), Some(b)) => Decision::LastPieces { a, b },
            (last_of_a, _) => Decision::Empty { a: last_of_a.is_none() },
        };
    }
    if a.layout() != b.layout() {
        return Decision::Incomparable;
    }
    match (1..a.layout().pieces()).rev().find(|boundary| a.before(*boundary) != b.before(*boundary)) {
        // The piece that starts at boundary `i` is piece `i`.
        Some(boundary) => Decision::Piece(boundary),
        None => Decision::Same,
    }
}

/// Whether both descriptions say the same of this piece, so that a check against one counts for the other as well.
pub fn agree_on(a: &Description, b: &Description, piece: PieceIndex) -> bool {
    let exists = |description: &Description| piece < description.layout().pieces();
    exists(a) && exists(b) && a.piece_check(piece) == b.piece_check(piece)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::FileHash;
    use crate::content::{PieceLayout, State};

    fn description(length: u64, states: &[u8]) -> Description {
        let layout = PieceLayout::with_piece_length(length, 64).expect("valid");
        let states: Vec<_> = states.iter().map(|byte| State::from_bytes([*byte; 32])).collect();
        Description::from_states(FileHash::of(b""), layout, states).expect("right number")
    }

    #[test]
    fn the_last_difference_decides() {
        let honest = description(320, &[1, 2, 3, 4]);
        assert_eq!(decisive_piece(&honest, &honest.clone()), Decision::Same);
        assert_eq!(decisive_piece(&honest, &description(320, &[9, 2, 9, 4])), Decision::Piece(3));
        assert_eq!(decisive_piece(&honest, &description(320, &[9, 2, 3, 4])), Decision::Piece(1));
        assert_eq!(decisive_piece(&honest, &description(320, &[9, 9, 9, 9])), Decision::Piece(4));
    }

    #[test]
    fn different_lengths_are_decided_at_the_ends() {
        let honest = description(320, &[1, 2, 3, 4]);
        assert_eq!(decisive_piece(&honest, &description(319, &[1, 2, 3, 4])), Decision::LastPieces { a: 4, b: 4 });
        assert_eq!(decisive_piece(&honest, &description(64, &[])), Decision::LastPieces { a: 4, b: 0 });
        assert_eq!(decisive_piece(&honest, &description(0, &[])), Decision::Empty { a: false });
        assert_eq!(decisive_piece(&description(0, &[]), &honest), Decision::Empty { a: true });
    }

    #[test]
    fn unrelated_descriptions_are_not_compared() {
        let a = description(64, &[]);
        let other_hash = Description::trivial(FileHash::of(b"x"), a.layout()).expect("one piece");
        assert_eq!(decisive_piece(&a, &other_hash), Decision::Incomparable);
        let layout = PieceLayout::with_piece_length(64, 128).expect("valid");
        let other_cut = Description::trivial(a.hash(), layout).expect("one piece");
        assert_eq!(decisive_piece(&a, &other_cut), Decision::Incomparable);
    }

    #[test]
    fn agreement_needs_both_ends() {
        let honest = description(320, &[1, 2, 3, 4]);
        let rival = description(320, &[1, 9, 3, 4]);
        let agreed: Vec<_> = (0..6).filter(|piece| agree_on(&honest, &rival, *piece)).collect();
        assert_eq!(agreed, [0, 3, 4]);
    }
}
