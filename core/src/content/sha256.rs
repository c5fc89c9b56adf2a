//! SHA-256 opened up: the chaining state between blocks as a value that can be kept, sent and continued from.
//! Not here: what the states mean for a file (`description`) and what may be concluded from them (`proof`).
//!
//! FIPS 180-4: a message is padded to blocks of 64 bytes, and a state of eight 32-bit words is carried through them.
//! The state after the last, padded block is the hash. Compression itself is `sha2`'s, with its hardware support.

use std::fmt;

use sha2::block_api::compress256;

use crate::base::ids::FileHash;

/// Bytes in one block of SHA-256.
pub const BLOCK_BYTES: usize = 64;
/// Bytes of one state.
pub const STATE_BYTES: usize = 32;

/// The chaining value between two blocks: eight words, big-endian, as they would be printed in a hash.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct State([u8; STATE_BYTES]);

impl State {
    /// The state before the first block (FIPS 180-4, section 5.3.3).
    pub const INITIAL: Self = Self([
        0x6a, 0x09, 0xe6, 0x67, 0xbb, 0x67, 0xae, 0x85, 0x3c, 0x6e, 0xf3, 0x72, 0xa5, 0x4f, 0xf5, 0x3a, 0x51, 0x0e,
        0x52, 0x7f, 0x9b, 0x05, 0x68, 0x8c, 0x1f, 0x83, 0xd9, 0xab, 0x5b, 0xe0, 0xcd, 0x19,
    ]);

    /// Wraps bytes that came from elsewhere. Any 32 bytes are a possible state.
    pub const fn from_bytes(bytes: [u8; STATE_BYTES]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; STATE_BYTES] {
        &self.0
    }

    /// The state after these blocks. `blocks` must be a multiple of [`BLOCK_BYTES`] long; anything else is a bug of
    /// the caller and panics.
    #[must_use]
    pub fn compress(self, blocks: &[u8]) -> Self {
        let mut chain = Chain::starting_at(self);
        chain.update(blocks);
        chain.state().expect("callers pass whole blocks")
    }

    /// The hash of a message of `total_length` bytes of which only `tail`, of any length, was not compressed yet.
    pub fn finish(self, total_length: u64, tail: &[u8]) -> FileHash {
        let mut chain = Chain::starting_at(self);
        chain.update(tail);
        chain.finish(total_length)
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&FileHash::from_bytes(self.0), f)
    }
}

/// SHA-256 in progress, fed with slices of any length, continued from any state.
#[derive(Clone)]
pub struct Chain {
    words: [u32; 8],
    /// Bytes of a block that is not complete yet.
    block: [u8; BLOCK_BYTES],
    filled: usize,
}

impl Chain {
    /// Continues from a state between two blocks.
    pub fn starting_at(state: State) -> Self {
        let mut words = [0; 8];
        let (groups, _) = state.0.as_chunks::<4>();
        for (word, group) in words.iter_mut().zip(groups) {
            *word = u32::from_be_bytes(*group);
        }
        Self { words, block: [0; BLOCK_BYTES], filled: 0 }
    }

    /// Takes the next bytes.
    pub fn update(&mut self, mut data: &[u8]) {
        if self.filled > 0 {
            let (head, rest) = data.split_at(data.len().min(BLOCK_BYTES - self.filled));
            self.block[self.filled..self.filled + head.len()].copy_from_slice(head);
            self.filled += head.len();
            data = rest;
            if self.filled < BLOCK_BYTES {
                return;
            }
            compress256(&mut self.words, &[self.block]);
        }
        let (blocks, tail) = data.as_chunks::<BLOCK_BYTES>();
        compress256(&mut self.words, blocks);
        self.block[..tail.len()].copy_from_slice(tail);
        self.filled = tail.len();
    }

    /// The state, if everything taken so far ended at a block boundary.
    pub fn state(&self) -> Option<State> {
        (self.filled == 0).then(|| State(self.bytes()))
    }

    /// Pads (FIPS 180-4, section 5.1.1) for a message of `total_length` bytes and gives its hash.
    pub fn finish(mut self, total_length: u64) -> FileHash {
        const LENGTH_AT: usize = BLOCK_BYTES - 8;
        self.block[self.filled] = 0x80;
        self.block[self.filled + 1..].fill(0);
        if self.filled >= LENGTH_AT {
            // No room for the length: it goes into a block of its own.
            compress256(&mut self.words, &[self.block]);
            self.block.fill(0);
        }
        // The length counts bits; files are bounded far below 2^61 bytes, so nothing is lost.
        self.block[LENGTH_AT..].copy_from_slice(&total_length.wrapping_mul(8).to_be_bytes());
        compress256(&mut self.words, &[self.block]);
        FileHash::from_bytes(self.bytes())
    }

    fn bytes(&self) -> [u8; STATE_BYTES] {
        let mut bytes = [0; STATE_BYTES];
        let (groups, _) = bytes.as_chunks_mut::<4>();
        for (group, word) in groups.iter_mut().zip(self.words) {
            *group = word.to_be_bytes();
        }
        bytes
    }
}

impl fmt::Debug for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chain").field("filled", &self.filled).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_hashes_come_out() {
        // FIPS 180-4 examples and the empty message.
        for (message, expected) in [
            (&b""[..], "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
            (b"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
            (
                b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
                "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
            ),
        ] {
            assert_eq!(State::INITIAL.finish(message.len() as u64, message).to_string(), expected);
        }
    }

    #[test]
    fn every_padding_case_agrees_with_the_library() {
        let data: Vec<u8> = (0..=255).cycle().take(200).collect();
        for length in 0..data.len() {
            let whole = length / 64 * 64;
            let state = State::INITIAL.compress(&data[..whole]);
            assert_eq!(state.finish(length as u64, &data[whole..length]), FileHash::of(&data[..length]), "{length}");
        }
    }

    #[test]
    fn slices_may_be_cut_anywhere() {
        let data: Vec<u8> = (0..1000u32).map(|i| (i * 7) as u8).collect();
        for cut in [1, 3, 63, 64, 65, 127, 500] {
            let mut chain = Chain::starting_at(State::INITIAL);
            data.chunks(cut).for_each(|part| chain.update(part));
            assert_eq!(chain.state(), None, "1000 is not a multiple of 64");
            assert_eq!(chain.finish(1000), FileHash::of(&data));
        }
    }
}
