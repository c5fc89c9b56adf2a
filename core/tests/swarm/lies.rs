//! The ways to lie: what a dishonest host says and sends instead of the truth. Not here: noticing it.

use bytes::Bytes;
use dig_nat_core::base::ids::FileHash;
use dig_nat_core::base::random::Jitter;
use dig_nat_core::content::description::Description;
use dig_nat_core::content::layout::PieceLayout;
use dig_nat_core::content::sha256::State;
use dig_nat_core::wire::transfer::{ServerFrame, Span};

use super::scenario::{Scenario, describe, random_bytes};

/// One kind of dishonesty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lie {
    /// True description; one in so many pieces is false.
    FalsePieces { one_in: u32 },
    /// Another file before this piece and the true one after it, with states that fit up to the seam.
    Seam { piece: u32 },
    /// Stops answering after so many blocks.
    Stalls { after: u64 },
    /// Stops answering when the requester has nearly everything.
    DropsAtTheEnd,
    /// Another length, with states made up for it.
    WrongLength { more: bool },
    /// Blocks are a byte short.
    ShortBlocks,
    /// The true digest, but other states.
    WrongStates,
    /// Another file than asked for.
    WrongHash,
    /// Pieces of a size nobody uses.
    WrongPieces,
    /// Never gives anyone a slot.
    NeverUnchokes,
    /// Sends what nobody asked for.
    Unasked,
    /// Never answers HELLO.
    Mute,
}

/// Kinds that send something false, so that they can be caught by name.
pub const BANNABLE: [&str; 7] =
    ["FalsePieces", "Seam", "WrongLength", "ShortBlocks", "WrongStates", "WrongHash", "WrongPieces"];

impl Lie {
    /// The kind, without details.
    pub fn kind(self) -> &'static str {
        match self {
            Self::FalsePieces { .. } => "FalsePieces",
            Self::Seam { .. } => "Seam",
            Self::Stalls { .. } => "Stalls",
            Self::DropsAtTheEnd => "DropsAtTheEnd",
            Self::WrongLength { .. } => "WrongLength",
            Self::ShortBlocks => "ShortBlocks",
            Self::WrongStates => "WrongStates",
            Self::WrongHash => "WrongHash",
            Self::WrongPieces => "WrongPieces",
            Self::NeverUnchokes => "NeverUnchokes",
            Self::Unasked => "Unasked",
            Self::Mute => "Mute",
        }
    }

    pub fn random(rng: &mut Jitter, pieces: u32) -> Self {
        match rng.below(14) {
            0 => Self::FalsePieces { one_in: 1 },
            1 | 2 => Self::FalsePieces { one_in: 2 + rng.below(10) as u32 },
            3 | 4 => Self::Seam { piece: rng.below(pieces as usize) as u32 },
            5 => Self::Stalls { after: rng.below(20) as u64 },
            6 => Self::DropsAtTheEnd,
            7 => Self::WrongLength { more: rng.below(2) == 0 },
            8 => Self::ShortBlocks,
            9 => Self::WrongStates,
            10 => Self::WrongHash,
            11 => Self::WrongPieces,
            12 => Self::NeverUnchokes,
            _ => [Self::Unasked, Self::Mute][rng.below(2)],
        }
    }

    /// The file and description the liar works with.
    pub fn content(self, scenario: &Scenario, rng: &mut Jitter) -> (Bytes, Description) {
        let (file, truth) = (&scenario.file, &scenario.description);
        let layout = truth.layout();
        match self {
            Self::Seam { piece } if layout.pieces() > 0 => {
                let seam = layout.range(piece);
                let mut other = random_bytes(rng, file.len());
                other[seam.offset as usize..].copy_from_slice(&file[seam.offset as usize..]);
                let forward = describe(&other, layout.piece_length());
                let states = (1..layout.pieces())
                    .map(|boundary| if boundary <= piece { forward.before(boundary) } else { truth.before(boundary) });
                let states: Vec<State> = states.collect();
                let description = Description::from_states(truth.hash(), layout, states).expect("as many states");
                (Bytes::from(other), description)
            }
            Self::WrongLength { more } if file.len() > 1 => {
                let mut other = file.to_vec();
                if more {
                    let extra = 1 + rng.below(3 * layout.piece_length() as usize);
                    other.extend(random_bytes(rng, extra));
                } else {
                    other.truncate(1 + rng.below(file.len() - 1));
                }
                let layout = PieceLayout::with_piece_length(other.len() as u64, layout.piece_length());
                let layout = layout.expect("a valid layout");
                let made_up = describe(&other, layout.piece_length());
                let states: Vec<State> = (1..layout.pieces()).map(|boundary| made_up.before(boundary)).collect();
                let description = Description::from_states(truth.hash(), layout, states).expect("as many states");
                (Bytes::from(other), description)
            }
            _ => (file.clone(), truth.clone()),
        }
    }

    /// What is sent instead of this frame.
    pub fn distort(self, frame: ServerFrame, rng: &mut Jitter) -> Vec<ServerFrame> {
        match (self, frame) {
            (Self::WrongHash, ServerFrame::Info(mut info)) => {
                info.hash = FileHash::of(b"something else");
                vec![ServerFrame::Info(info)]
            }
            (Self::WrongPieces, ServerFrame::Info(mut info)) => {
                info.piece_length *= 2;
                vec![ServerFrame::Info(info)]
            }
            (Self::Unasked, ServerFrame::Info(info)) => {
                let bytes = Bytes::from(random_bytes(rng, 64));
                vec![ServerFrame::Info(info), ServerFrame::Data { offset: 0, bytes }]
            }
            (Self::WrongStates, ServerFrame::States { first, states }) => {
                let states = Bytes::from(random_bytes(rng, states.len()));
                vec![ServerFrame::States { first, states }]
            }
            (Self::Mute, _) | (Self::NeverUnchokes, ServerFrame::Unchoke) => Vec::new(),
            (_, frame) => vec![frame],
        }
    }

    /// The bytes sent for a request, or `None` for silence. `sent` counts the blocks before; `done` is the requester's
    /// own progress.
    pub fn answer(self, span: Span, bytes: Bytes, piece_length: u32, sent: u64, done: f64) -> Option<Bytes> {
        let piece = (span.offset / u64::from(piece_length)) as u32;
        match self {
            Self::FalsePieces { one_in } if piece.wrapping_mul(2_654_435_761).is_multiple_of(one_in) => {
                let mut wrong = bytes.to_vec();
                wrong[0] ^= 1;
                Some(Bytes::from(wrong))
            }
            Self::Stalls { after } if sent >= after => None,
            Self::DropsAtTheEnd if done > 0.95 => None,
            Self::ShortBlocks => Some(bytes.slice(..bytes.len() - 1)),
            _ => Some(bytes),
        }
    }
}
