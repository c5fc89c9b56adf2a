//! Properties of the proof algebra on random files and piece lengths: whatever the file, its description is the
//! SHA-256 that everyone knows, one flipped bit is refused at its piece and nowhere else, and of two descriptions one
//! piece tells the honest one.

use std::ops::Range;

use dig_nat_core::base::ids::FileHash;
use dig_nat_core::base::limits;
use dig_nat_core::base::random::Jitter;
use dig_nat_core::content::rivals::agree_on;
use dig_nat_core::content::{Decision, Describer, Description, Ledger, PieceLayout, PieceRange, State, decisive_piece};
use proptest::prelude::*;
use sha2::{Digest, Sha256};

/// Sizes around the edges of blocks and padding, exact multiples of piece lengths, and anything else.
fn sizes() -> impl Strategy<Value = usize> {
    prop_oneof![
        prop::sample::select(vec![0, 1, 55, 56, 63, 64, 65, 119, 120, 127, 128, 129, 192, 256, 640, 1024, 4096]),
        0..5000usize,
    ]
}

fn piece_lengths() -> impl Strategy<Value = u32> {
    prop_oneof![(1..=20u32).prop_map(|blocks| blocks * 64), Just(64), Just(128), Just(4096)]
}

fn data_of(size: usize) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), size)
}

/// A file and its piece length.
fn files() -> impl Strategy<Value = (Vec<u8>, u32)> {
    (sizes().prop_flat_map(data_of), piece_lengths())
}

/// The same with at least `pieces` pieces; every third one is an exact multiple of its piece length.
fn files_of_pieces(pieces: u32) -> impl Strategy<Value = (Vec<u8>, u32)> {
    ((1..=4u32), pieces..pieces + 12, 0..3u8, any::<prop::sample::Index>()).prop_flat_map(
        |(blocks, pieces, tail, index)| {
            let piece_length = blocks * 64;
            let last = if tail == 0 { piece_length as usize } else { 1 + index.index(piece_length as usize) };
            (data_of((pieces as usize - 1) * piece_length as usize + last), Just(piece_length))
        },
    )
}

/// A boundary and the false state claimed there.
type Lie = (u32, [u8; 32]);

/// The same with states that a liar changed.
fn files_with_lies() -> impl Strategy<Value = (Vec<u8>, u32, Vec<Lie>)> {
    files_of_pieces(2).prop_flat_map(|(data, piece_length)| {
        let boundaries = (data.len() as u32).div_ceil(piece_length) - 1;
        let lies = prop::collection::vec((1..=boundaries, any::<[u8; 32]>()), 1..5);
        (Just(data), Just(piece_length), lies)
    })
}

fn describe(data: &[u8], piece_length: u32) -> Description {
    let layout = PieceLayout::with_piece_length(data.len() as u64, piece_length).expect("valid");
    let mut describer = Describer::with_layout(layout);
    describer.update(data).expect("announced");
    describer.finish().expect("complete")
}

fn bytes(range: PieceRange) -> Range<usize> {
    range.offset as usize..range.end() as usize
}

/// Whether these bytes, taken as the file, are consistent at this piece.
fn consistent(description: &Description, piece: u32, data: &[u8]) -> bool {
    description.piece_check(piece).check([&data[bytes(description.layout().range(piece))]])
}

/// The description with other states at some boundaries.
fn with_lies(honest: &Description, lies: &[Lie]) -> Description {
    let mut states: Vec<State> = (1..honest.layout().pieces()).map(|boundary| honest.before(boundary)).collect();
    for (boundary, bytes) in lies {
        states[*boundary as usize - 1] = State::from_bytes(*bytes);
    }
    Description::from_states(honest.hash(), honest.layout(), states).expect("same number")
}

/// What a liar claims who has another file and passes it off as the wanted one.
fn passed_off(other: &[u8], piece_length: u32, hash: FileHash) -> Description {
    let other = describe(other, piece_length);
    Description::from_state_bytes(hash, other.layout(), other.all_state_bytes().clone()).expect("same number")
}

proptest! {
    #[test]
    fn the_description_is_plain_sha256(
        (data, piece_length) in files(), cuts in prop::collection::vec(1..300usize, 1..20),
    ) {
        let layout = PieceLayout::with_piece_length(data.len() as u64, piece_length).expect("valid");
        let mut describer = Describer::with_layout(layout);
        let mut rest = &data[..];
        for cut in cuts.iter().cycle() {
            let (part, after) = rest.split_at((*cut).min(rest.len()));
            describer.update(part).expect("announced");
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        let description = describer.finish().expect("complete");
        prop_assert_eq!(*description.hash().as_bytes(), <[u8; 32]>::from(Sha256::digest(&data)));
        prop_assert_eq!(&description, &describe(&data, piece_length), "cuts do not matter");
        prop_assert_eq!(description.digest(), <[u8; 32]>::from(Sha256::digest(description.all_state_bytes())));
        // Every state is the one of the file cut off there: finishing from it gives the hash of the prefix.
        for piece in 0..layout.pieces() {
            let offset = layout.range(piece).offset;
            let prefix = description.before(piece).finish(offset, &[]);
            prop_assert_eq!(prefix, FileHash::of(&data[..offset as usize]));
        }
    }

    #[test]
    fn pieces_in_any_order_complete_the_file((data, piece_length) in files(), seed in any::<u64>()) {
        let description = describe(&data, piece_length);
        let pieces = description.layout().pieces();
        let mut order: Vec<u32> = (0..pieces).collect();
        Jitter::from_seed(seed).shuffle(&mut order);
        let mut ledger = Ledger::new(pieces);
        let mut proven = vec![false; pieces as usize];
        for piece in order {
            prop_assert!(!ledger.complete());
            prop_assert!(consistent(&description, piece, &data));
            for newly in ledger.mark_consistent(piece) {
                prop_assert!(!std::mem::replace(&mut proven[newly as usize], true), "proven once");
            }
            // The rule, spelled out: consistent, and everything after it is.
            for each in 0..pieces {
                let expected = (each..pieces).all(|after| ledger.is_consistent(after));
                prop_assert_eq!(ledger.is_proven(each), expected);
                prop_assert_eq!(proven[each as usize], expected);
            }
        }
        prop_assert!(ledger.complete());
    }

    #[test]
    fn marks_and_unmarks_keep_the_rule(moves in prop::collection::vec((any::<bool>(), 0..20u32), 0..100)) {
        let mut ledger = Ledger::new(20);
        let mut model = [false; 20];
        for (mark, piece) in moves {
            model[piece as usize] = mark;
            let before = ledger.proven_from();
            let changed = if mark { ledger.mark_consistent(piece) } else { ledger.unmark(piece) };
            let run = model.iter().rev().take_while(|consistent| **consistent).count() as u32;
            prop_assert_eq!(ledger.proven_from(), 20 - run);
            prop_assert_eq!(changed, before.min(20 - run)..before.max(20 - run));
            prop_assert_eq!(ledger.consistent() as usize, model.iter().filter(|consistent| **consistent).count());
            let missing: Vec<u32> = (0..20).rev().filter(|piece| !model[*piece as usize]).collect();
            prop_assert_eq!(ledger.missing_from_tail().collect::<Vec<_>>(), missing);
        }
    }

    #[test]
    fn a_flipped_bit_is_refused_at_its_piece(
        (data, piece_length) in files_of_pieces(1), at in any::<prop::sample::Index>(),
    ) {
        let description = describe(&data, piece_length);
        let bit = at.index(data.len() * 8);
        let mut damaged = data.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let hit = description.layout().piece_at((bit / 8) as u64).expect("inside");
        for piece in 0..description.layout().pieces() {
            prop_assert_eq!(consistent(&description, piece, &damaged), piece != hit, "piece {}", piece);
        }
    }

    #[test]
    fn false_states_are_decided_by_one_piece((data, piece_length, lies) in files_with_lies()) {
        let honest = describe(&data, piece_length);
        let rival = with_lies(&honest, &lies);
        prop_assert_ne!(honest.digest(), rival.digest());
        let last_lie = lies.iter().map(|(boundary, _)| *boundary).max().expect("at least one");
        prop_assert_eq!(decisive_piece(&honest, &rival), Decision::Piece(last_lie));
        prop_assert_eq!(decisive_piece(&rival, &honest), Decision::Piece(last_lie));
        prop_assert!(consistent(&honest, last_lie, &data));
        prop_assert!(!consistent(&rival, last_lie, &data), "the true bytes refute the rival");
        prop_assert!(!agree_on(&honest, &rival, last_lie));
        for piece in (0..honest.layout().pieces()).filter(|piece| agree_on(&honest, &rival, *piece)) {
            prop_assert!(consistent(&rival, piece, &data), "agreed pieces need no second check");
        }
    }

    /// The strongest liar without breaking SHA-256: a whole other file, honestly described but for the hash.
    #[test]
    fn another_file_under_the_wanted_hash_is_decided_by_one_piece(
        (data, piece_length) in files_of_pieces(2), at in any::<prop::sample::Index>(), bit in 0..8u8,
    ) {
        let honest = describe(&data, piece_length);
        let mut other = data.clone();
        other[at.index(data.len())] ^= 1 << bit;
        let rival = passed_off(&other, piece_length, honest.hash());
        match decisive_piece(&honest, &rival) {
            Decision::Piece(piece) => {
                prop_assert!(consistent(&honest, piece, &data));
                prop_assert!(!consistent(&rival, piece, &other), "the liar's own bytes");
                prop_assert!(!consistent(&rival, piece, &data), "and the true ones");
            }
            // The change lies in the last piece: all states are the true ones, only the bytes are not.
            Decision::Same => {
                let last = honest.layout().last_piece().expect("two pieces");
                prop_assert!(!consistent(&rival, last, &other));
            }
            decision => prop_assert!(false, "{:?}", decision),
        }
    }

    #[test]
    fn a_false_length_is_decided_by_the_last_pieces(
        (data, piece_length) in files_of_pieces(1), change in any::<prop::sample::Index>(), shorten in any::<bool>(),
    ) {
        let honest = describe(&data, piece_length);
        // Never down to nothing: the empty description is refused by its constructor.
        let other: Vec<u8> = if shorten && data.len() > 1 {
            data[..=change.index(data.len() - 1)].to_vec()
        } else {
            data.iter().copied().chain(std::iter::repeat_n(0, 1 + change.index(300))).collect()
        };
        let rival = passed_off(&other, piece_length, honest.hash());
        let (a, b) = (honest.layout().last_piece().expect("some"), rival.layout().last_piece().expect("some"));
        prop_assert_eq!(decisive_piece(&honest, &rival), Decision::LastPieces { a, b });
        prop_assert!(consistent(&honest, a, &data));
        prop_assert!(!consistent(&rival, b, &other));
    }

    #[test]
    fn the_common_rule_bounds_every_file(length in 0..=limits::MAX_FILE_BYTES) {
        let layout = PieceLayout::for_length(length).expect("within bounds");
        prop_assert!(layout.pieces() <= limits::MAX_PIECES);
        prop_assert!((limits::MIN_PIECE_BYTES..=limits::MAX_PIECE_BYTES).contains(&layout.piece_length()));
        prop_assert!(layout.piece_length().is_power_of_two());
        prop_assert_eq!(layout.last_piece().map_or(0, |last| layout.range(last).end()), length);
    }
}
