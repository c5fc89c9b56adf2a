//! A description of a file: its hash, its length and the SHA-256 chaining state at every boundary between pieces.
//! Made in one pass over the data ([`Describer`]), or received from a peer and then merely claimed: what may be
//! concluded from a claimed description is the subject of `proof`.
//! Not here: fetching states, keeping count of pieces, weighing one description against another.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};
use sha2::{Digest, Sha256};

use super::layout::PieceLayout;
use super::sha256::{Chain, STATE_BYTES, State};
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::ids::{FileHash, PieceIndex};

/// Hash, length and chaining states of one file. Cheap to clone.
///
/// Boundary `i` lies before piece `i`. The states at the inner boundaries `1..pieces` are stored; boundary 0 is
/// [`State::INITIAL`] and the last boundary is the file's hash.
#[derive(Clone, PartialEq, Eq)]
pub struct Description {
    hash: FileHash,
    layout: PieceLayout,
    /// The inner states, in order, 32 bytes each: served to peers and kept in the cache without copying.
    states: Bytes,
    digest: [u8; 32],
}

/// What must come out when a piece is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// The state at the piece's end.
    State(State),
    /// The file's hash, after padding: this is the last piece.
    File(FileHash),
}

impl Description {
    /// A description from the states at the inner boundaries, in order.
    ///
    /// Fails with `InvalidArgument` if their number is not [`PieceLayout::inner_boundaries`], or if the file is empty
    /// and the hash is not the one of nothing.
    pub fn from_states(hash: FileHash, layout: PieceLayout, states: impl AsRef<[State]>) -> Result<Self> {
        let states = states.as_ref();
        let mut bytes = BytesMut::with_capacity(states.len() * STATE_BYTES);
        for state in states {
            bytes.put_slice(state.as_bytes());
        }
        Self::from_state_bytes(hash, layout, bytes.freeze())
    }

    /// The same from concatenated states, as they travel and are stored. Nothing is copied.
    pub fn from_state_bytes(hash: FileHash, layout: PieceLayout, states: Bytes) -> Result<Self> {
        if states.len() != layout.inner_boundaries() as usize * STATE_BYTES {
            return Err(Error::invalid(
                "states",
                format_args!("{} bytes for {} boundaries", states.len(), layout.inner_boundaries()),
            ));
        }
        if layout.pieces() == 0 && hash != State::INITIAL.finish(0, &[]) {
            return Err(Error::invalid("length", format_args!("an empty file cannot have the hash {hash}")));
        }
        let digest = Sha256::digest(&states).into();
        Ok(Self { hash, layout, states, digest })
    }

    /// The description of a file of at most one piece, which has no states at all.
    ///
    /// Fails with `InvalidArgument` as [`Self::from_states`] does, so also for files of several pieces.
    pub fn trivial(hash: FileHash, layout: PieceLayout) -> Result<Self> {
        Self::from_state_bytes(hash, layout, Bytes::new())
    }

    /// The file's SHA-256.
    pub const fn hash(&self) -> FileHash {
        self.hash
    }

    /// How the file is cut.
    pub const fn layout(&self) -> PieceLayout {
        self.layout
    }

    /// SHA-256 over the stored states: two descriptions of one hash and one layout are equal if their digests are.
    pub const fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// The state a piece starts from. `piece` must exist; anything else is a bug of the caller and panics.
    pub fn before(&self, piece: PieceIndex) -> State {
        assert!(piece < self.layout.pieces(), "piece {piece} of {}", self.layout.pieces());
        if piece == 0 { State::INITIAL } else { self.inner_state(piece) }
    }

    /// What a piece must end in. `piece` must exist; anything else is a bug of the caller and panics.
    pub fn after(&self, piece: PieceIndex) -> After {
        assert!(piece < self.layout.pieces(), "piece {piece} of {}", self.layout.pieces());
        if self.layout.last_piece() == Some(piece) {
            After::File(self.hash)
        } else {
            After::State(self.inner_state(piece + 1))
        }
    }

    /// All that is needed to check one piece, detached from the description so that it can go to another thread.
    pub fn piece_check(&self, piece: PieceIndex) -> PieceCheck {
        PieceCheck {
            before: self.before(piece),
            after: self.after(piece),
            piece_length: self.layout.range(piece).length,
            file_length: self.layout.length(),
        }
    }

    /// The concatenated states at boundaries `first..first + count`, without copying. `None` if the range is empty or
    /// not wholly inside the inner boundaries `1..pieces`.
    pub fn states_bytes(&self, first: u32, count: u32) -> Option<Bytes> {
        let end = first.checked_add(count)?;
        let inside = count > 0 && first >= 1 && end <= self.layout.pieces();
        inside.then(|| self.states.slice((first as usize - 1) * STATE_BYTES..(end as usize - 1) * STATE_BYTES))
    }

    /// All stored states, concatenated.
    pub fn all_state_bytes(&self) -> &Bytes {
        &self.states
    }

    fn inner_state(&self, boundary: u32) -> State {
        let at = (boundary as usize - 1) * STATE_BYTES;
        let bytes = self.states[at..].first_chunk().expect("the constructor checked the number of states");
        State::from_bytes(*bytes)
    }
}

impl fmt::Debug for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Description")
            .field("hash", &self.hash)
            .field("layout", &self.layout)
            .field("digest", &FileHash::from_bytes(self.digest))
            .finish_non_exhaustive()
    }
}

/// The question whether some bytes are *consistent* with one piece of a description: compressed from the state before
/// it, they give the state (or hash) after it. A consistent piece is not yet proven, see `proof`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PieceCheck {
    before: State,
    after: After,
    piece_length: u32,
    file_length: u64,
}

impl PieceCheck {
    /// Bytes the piece has.
    pub const fn length(&self) -> u32 {
        self.piece_length
    }

    /// Whether the parts, in order, are consistent with the piece. Too few or too many bytes are not.
    pub fn check<'a>(&self, parts: impl IntoIterator<Item = &'a [u8]>) -> bool {
        let mut checking = self.start();
        parts.into_iter().for_each(|part| checking.update(part));
        checking.finish()
    }

    /// The same for a reader that has the bytes one after the other, e.g. from disk.
    pub fn start(&self) -> Checking {
        Checking { check: *self, chain: Chain::starting_at(self.before), taken: 0 }
    }
}

/// A check in progress, made by [`PieceCheck::start`].
#[derive(Clone, Debug)]
pub struct Checking {
    check: PieceCheck,
    chain: Chain,
    taken: u64,
}

impl Checking {
    /// Takes the next bytes of the piece.
    pub fn update(&mut self, part: &[u8]) {
        self.taken += part.len() as u64;
        // Bytes beyond the piece already make the answer no; they are not worth hashing.
        if self.taken <= u64::from(self.check.piece_length) {
            self.chain.update(part);
        }
    }

    /// The answer.
    pub fn finish(self) -> bool {
        self.taken == u64::from(self.check.piece_length)
            && match self.check.after {
                After::State(state) => self.chain.state() == Some(state),
                After::File(hash) => self.chain.finish(self.check.file_length) == hash,
            }
    }
}

/// Makes a description in one pass over the data, whose length must be known before.
#[derive(Clone, Debug)]
pub struct Describer {
    layout: PieceLayout,
    chain: Chain,
    taken: u64,
    states: BytesMut,
}

impl Describer {
    /// For a file of this many bytes, cut by the common rule. Fails with `InvalidArgument` if it is too long.
    pub fn new(length: u64) -> Result<Self> {
        PieceLayout::for_length(length).map(Self::with_layout)
    }

    /// The same with a chosen layout.
    pub fn with_layout(layout: PieceLayout) -> Self {
        let states = BytesMut::with_capacity(layout.inner_boundaries() as usize * STATE_BYTES);
        Self { layout, chain: Chain::starting_at(State::INITIAL), taken: 0, states }
    }

    /// Takes the next bytes. Fails with `FileChanged` if there are more than were announced.
    pub fn update(&mut self, mut data: &[u8]) -> Result<()> {
        let length = self.layout.length();
        if data.len() as u64 > length - self.taken {
            return Err(Error::new(
                ErrorKind::FileChanged,
                format!("there is more data than the announced {length} bytes"),
            ));
        }
        let piece_length = u64::from(self.layout.piece_length());
        while !data.is_empty() {
            let to_boundary = piece_length - self.taken % piece_length;
            let (part, rest) = data.split_at(data.len().min(usize::try_from(to_boundary).unwrap_or(usize::MAX)));
            self.chain.update(part);
            self.taken += part.len() as u64;
            data = rest;
            if part.len() as u64 == to_boundary && self.taken < length {
                let state = self.chain.state().expect("piece lengths are multiples of the block length");
                self.states.put_slice(state.as_bytes());
            }
        }
        Ok(())
    }

    /// Bytes taken so far.
    pub const fn taken(&self) -> u64 {
        self.taken
    }

    /// The description. Fails with `FileChanged` if there was less data than announced.
    pub fn finish(self) -> Result<Description> {
        let length = self.layout.length();
        if self.taken < length {
            let text = format!("the data ended after {} of the announced {length} bytes", self.taken);
            return Err(Error::new(ErrorKind::FileChanged, text));
        }
        Description::from_state_bytes(self.chain.finish(length), self.layout, self.states.freeze())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn describe(data: &[u8], piece_length: u32) -> Description {
        let layout = PieceLayout::with_piece_length(data.len() as u64, piece_length).expect("valid");
        let mut describer = Describer::with_layout(layout);
        describer.update(data).expect("announced");
        describer.finish().expect("complete")
    }

    #[test]
    fn the_empty_file_has_one_hash_only() {
        let description = describe(&[], 64);
        assert_eq!(description.hash(), FileHash::of(b""));
        assert_eq!(description.layout().pieces(), 0);
        assert!(Description::trivial(FileHash::of(b"x"), description.layout()).is_err());
        assert_eq!(Description::trivial(FileHash::of(b""), description.layout()).expect("valid"), description);
    }

    #[test]
    fn more_or_less_data_than_announced_is_an_error() {
        let mut describer = Describer::new(3).expect("valid");
        describer.update(b"ab").expect("announced");
        assert_eq!(describer.clone().finish().expect_err("too short").kind(), ErrorKind::FileChanged);
        assert_eq!(describer.update(b"cd").expect_err("too long").kind(), ErrorKind::FileChanged);
    }

    #[test]
    fn a_full_last_piece_is_followed_by_padding() {
        let data = [7; 128];
        let description = describe(&data, 64);
        assert_eq!(description.layout().pieces(), 2);
        assert_eq!(description.after(1), After::File(FileHash::of(&data)));
        assert!(description.piece_check(1).check([&data[64..]]));
    }

    #[test]
    fn pieces_of_another_length_are_refused() {
        let data = [7; 200];
        let description = describe(&data, 64);
        let check = description.piece_check(0);
        assert!(check.check([&data[..10], &[], &data[10..64]]));
        assert!(!check.check([&data[..63]]));
        assert!(!check.check([&data[..65]]));
        assert!(!check.check([&data[..64], &data[64..128]]));
        assert!(!check.check([]));
    }

    #[test]
    fn state_ranges_are_checked() {
        let data: Vec<u8> = (0..=255).cycle().take(64 * 5).collect();
        let description = describe(&data, 64);
        let all = description.states_bytes(1, 4).expect("all inner states");
        assert_eq!(&all, description.all_state_bytes());
        assert_eq!(description.states_bytes(2, 1).expect("inside"), all[32..64]);
        assert_eq!(&all[32..64], description.before(2).as_bytes());
        for (first, count) in [(0, 1), (1, 0), (1, 5), (5, 1), (u32::MAX, 1), (1, u32::MAX)] {
            assert!(description.states_bytes(first, count).is_none(), "{first} {count}");
        }
        let rebuilt = Description::from_state_bytes(description.hash(), description.layout(), all.clone());
        assert_eq!(rebuilt.expect("same number"), description);
        assert!(Description::from_state_bytes(description.hash(), description.layout(), all.slice(32..)).is_err());
        assert!(Description::trivial(description.hash(), description.layout()).is_err());
    }
}
