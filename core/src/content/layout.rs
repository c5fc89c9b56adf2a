//! How a file of a given length is cut into pieces. A pure function of the length, so that all peers agree without
//! talking about it.
//! Not here: blocks (what one request asks for) and who has which piece.

use crate::base::error::{Error, Result};
use crate::base::ids::PieceIndex;
use crate::base::limits;

use super::sha256::BLOCK_BYTES;

/// A file's length and its piece length; every piece but the last is full.
///
/// A file of `n * piece_length` bytes has `n` full pieces, the empty file has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PieceLayout {
    length: u64,
    piece_length: u32,
    pieces: u32,
}

/// Where a piece lies in its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PieceRange {
    /// Position of the first byte.
    pub offset: u64,
    /// Number of bytes, at least 1.
    pub length: u32,
}

impl PieceRange {
    /// Position after the last byte.
    pub const fn end(self) -> u64 {
        self.offset + self.length as u64
    }
}

impl PieceLayout {
    /// The layout every peer uses for a file of this length:
    ///
    /// `max(64 KiB, min(4 MiB, power of two at or above length/4096), power of two at or above length/32768)`
    ///
    /// and never above [`limits::MAX_PIECE_BYTES`]. The reasons stand beside the constants in `base/limits.rs`.
    /// Fails with `InvalidArgument` above [`limits::MAX_FILE_BYTES`].
    pub fn for_length(length: u64) -> Result<Self> {
        check_length(length)?;
        let preferred = length.div_ceil(limits::PREFERRED_PIECES).next_power_of_two();
        let needed = length.div_ceil(limits::MAX_PIECES_SMALL_DESCRIPTION).next_power_of_two();
        let piece_length = preferred
            .min(u64::from(limits::PREFERRED_MAX_PIECE_BYTES))
            .max(needed)
            .clamp(u64::from(limits::MIN_PIECE_BYTES), u64::from(limits::MAX_PIECE_BYTES));
        Self::with_piece_length(length, piece_length as u32)
    }

    /// A layout with a chosen piece length, for tests and simulations, where files are small.
    ///
    /// Fails with `InvalidArgument` if the piece length is not a multiple of 64 up to [`limits::MAX_PIECE_BYTES`], if
    /// the file is too large, or if there would be more than [`limits::MAX_PIECES`] pieces.
    pub fn with_piece_length(length: u64, piece_length: u32) -> Result<Self> {
        check_length(length)?;
        if piece_length == 0
            || piece_length > limits::MAX_PIECE_BYTES
            || !(piece_length as usize).is_multiple_of(BLOCK_BYTES)
        {
            return Err(Error::invalid("piece length", format_args!("{piece_length} is not usable")));
        }
        match u32::try_from(length.div_ceil(u64::from(piece_length))) {
            Ok(pieces) if pieces <= limits::MAX_PIECES => Ok(Self { length, piece_length, pieces }),
            _ => Err(Error::invalid(
                "piece length",
                format_args!("{piece_length} cuts {length} bytes into more than {} pieces", limits::MAX_PIECES),
            )),
        }
    }

    /// Size of the file in bytes.
    pub const fn length(self) -> u64 {
        self.length
    }

    /// Bytes of every piece but the last.
    pub const fn piece_length(self) -> u32 {
        self.piece_length
    }

    /// Number of pieces; 0 for the empty file.
    pub const fn pieces(self) -> u32 {
        self.pieces
    }

    /// The last piece, if there is one.
    pub const fn last_piece(self) -> Option<PieceIndex> {
        self.pieces.checked_sub(1)
    }

    /// Number of chaining states between pieces: one fewer than pieces.
    pub const fn inner_boundaries(self) -> u32 {
        self.pieces.saturating_sub(1)
    }

    /// Where a piece lies. `piece` must be below [`Self::pieces`]; anything else is a bug of the caller and panics.
    pub fn range(self, piece: PieceIndex) -> PieceRange {
        assert!(piece < self.pieces, "piece {piece} of {}", self.pieces);
        let offset = u64::from(piece) * u64::from(self.piece_length);
        PieceRange { offset, length: (self.length - offset).min(u64::from(self.piece_length)) as u32 }
    }

    /// The piece that holds this byte, or `None` at and after the end of the file.
    pub fn piece_at(self, offset: u64) -> Option<PieceIndex> {
        (offset < self.length).then(|| (offset / u64::from(self.piece_length)) as u32)
    }
}

fn check_length(length: u64) -> Result<()> {
    if length > limits::MAX_FILE_BYTES {
        return Err(Error::invalid(
            "length",
            format_args!("{length} bytes; files have at most {} bytes", limits::MAX_FILE_BYTES),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: u64 = 1024;
    const MIB: u64 = 1024 * KIB;
    const GIB: u64 = 1024 * MIB;
    const TIB: u64 = 1024 * GIB;

    #[test]
    fn piece_length_follows_the_rule() {
        for (length, piece_length, pieces) in [
            (0, 64 * KIB, 0),
            (1, 64 * KIB, 1),
            (64 * KIB, 64 * KIB, 1),
            (64 * KIB + 1, 64 * KIB, 2),
            (256 * MIB, 64 * KIB, 4096),
            (256 * MIB + 1, 128 * KIB, 2049),
            (16 * GIB, 4 * MIB, 4096),
            (100 * GIB, 4 * MIB, 25_600),
            (128 * GIB, 4 * MIB, 32_768),
            (128 * GIB + 1, 8 * MIB, 16_385),
            (2 * TIB, 64 * MIB, 32_768),
            (2 * TIB + 1, 64 * MIB, 32_769),
            (limits::MAX_FILE_BYTES, 64 * MIB, limits::MAX_PIECES),
        ] {
            let layout = PieceLayout::for_length(length).expect("within bounds");
            assert_eq!((u64::from(layout.piece_length()), layout.pieces()), (piece_length, pieces), "{length}");
        }
        assert!(PieceLayout::for_length(limits::MAX_FILE_BYTES + 1).is_err());
        assert!(PieceLayout::for_length(u64::MAX).is_err());
    }

    #[test]
    fn unusable_piece_lengths_are_refused() {
        for piece_length in [0, 1, 63, 65, limits::MAX_PIECE_BYTES + 64, u32::MAX] {
            assert!(PieceLayout::with_piece_length(1000, piece_length).is_err(), "{piece_length}");
        }
        assert!(PieceLayout::with_piece_length(u64::from(limits::MAX_PIECES) * 64, 64).is_ok());
        assert!(PieceLayout::with_piece_length(u64::from(limits::MAX_PIECES) * 64 + 1, 64).is_err());
        assert!(PieceLayout::with_piece_length(limits::MAX_FILE_BYTES, 64).is_err());
    }

    #[test]
    fn pieces_tile_the_file() {
        for length in [0, 1, 63, 64, 65, 127, 128, 129, 640] {
            let layout = PieceLayout::with_piece_length(length, 64).expect("valid");
            let mut end = 0;
            for piece in 0..layout.pieces() {
                let range = layout.range(piece);
                assert_eq!(range.offset, end);
                assert!(range.length > 0);
                assert_eq!(layout.piece_at(range.offset), Some(piece));
                assert_eq!(layout.piece_at(range.end() - 1), Some(piece));
                end = range.end();
            }
            assert_eq!(end, length);
            assert_eq!(layout.piece_at(length), None);
            assert_eq!(layout.inner_boundaries(), layout.pieces().saturating_sub(1));
        }
    }
}
