//! A piece that is being fetched, block by block, with the origin of each block.
//! Not here: choosing blocks, checking the piece.

use bytes::Bytes;

use super::messages::SourceId;
use super::sources::Origin;
use crate::content::layout::PieceRange;
use crate::wire::transfer::Span;

/// A piece in progress.
#[derive(Debug)]
pub struct Assembly {
    /// Where the piece lies.
    pub range: PieceRange,
    /// The source that works through the piece; others leave it alone while there is something else to do.
    pub owner: Option<SourceId>,
    /// All blocks must come from this source, so that it is answerable for the whole piece.
    pub sole: Option<SourceId>,
    block_bytes: u32,
    blocks: Vec<Block>,
    /// Blocks that are neither here nor asked for.
    missing: usize,
    /// Blocks before this one are not missing.
    cursor: usize,
    here: usize,
}

#[derive(Debug, Default)]
struct Block {
    data: Option<(Origin, Bytes)>,
    askers: Vec<SourceId>,
}

/// What became of a block that arrived.
#[derive(Debug, PartialEq, Eq)]
pub enum Accepted {
    /// It was here already, or may not come from there.
    Useless,
    /// It is new; these other sources were asked for it as well.
    New(Vec<SourceId>),
}

impl Assembly {
    /// Nothing is here, nothing is asked for.
    pub fn new(range: PieceRange, block_bytes: u32, owner: SourceId, sole: bool) -> Self {
        let count = range.length.div_ceil(block_bytes) as usize;
        let blocks = (0..count).map(|_| Block::default()).collect();
        Self {
            range,
            block_bytes,
            owner: Some(owner),
            sole: sole.then_some(owner),
            blocks,
            missing: count,
            cursor: 0,
            here: 0,
        }
    }

    /// The bytes of a block.
    pub fn span(&self, block: usize) -> Span {
        let start = block as u32 * self.block_bytes;
        let length = (self.range.length - start).min(self.block_bytes);
        Span { offset: self.range.offset + u64::from(start), length }
    }

    /// The block that starts at this position of the file.
    pub fn block_at(&self, offset: u64) -> usize {
        (offset.saturating_sub(self.range.offset) / u64::from(self.block_bytes)) as usize
    }

    /// How many blocks are neither here nor asked for.
    pub const fn missing(&self) -> usize {
        self.missing
    }

    /// The first block that is neither here nor asked for.
    pub fn next_missing(&mut self) -> Option<usize> {
        let free = |block: &Block| block.data.is_none() && block.askers.is_empty();
        let found = self.blocks[self.cursor..].iter().position(free).map(|at| at + self.cursor);
        self.cursor = found.unwrap_or(self.blocks.len());
        found
    }

    /// No block is being waited for.
    pub fn is_still(&self) -> bool {
        self.blocks.iter().all(|block| block.askers.is_empty())
    }

    /// The requests that are open for this piece.
    pub fn open_asks(&self) -> Vec<(SourceId, Span)> {
        let asks = |(index, block): (usize, &Block)| {
            let span = self.span(index);
            block.askers.iter().map(move |asker| (*asker, span)).collect::<Vec<_>>()
        };
        self.blocks.iter().enumerate().flat_map(asks).collect()
    }

    /// Whether a block is here.
    pub fn is_here(&self, block: usize) -> bool {
        self.blocks[block].data.is_some()
    }

    /// Requests that are open for this piece.
    pub fn asks(&self) -> usize {
        self.blocks.iter().map(|block| block.askers.len()).sum()
    }

    /// Whether every block is here.
    pub fn is_full(&self) -> bool {
        self.here == self.blocks.len()
    }

    /// Bytes that are here.
    pub fn bytes_here(&self) -> u64 {
        self.blocks.iter().filter_map(|block| block.data.as_ref()).map(|(_, bytes)| bytes.len() as u64).sum()
    }

    /// How many sources were asked for this block, and whether this one was.
    pub fn askers(&self, block: usize, source: SourceId) -> (usize, bool) {
        let askers = &self.blocks[block].askers;
        (askers.len(), askers.contains(&source))
    }

    /// Notes a request.
    pub fn ask(&mut self, block: usize, source: SourceId) {
        let entry = &mut self.blocks[block];
        if entry.askers.is_empty() && entry.data.is_none() {
            self.missing -= 1;
        }
        entry.askers.push(source);
    }

    /// Notes that a request will not be answered.
    pub fn release(&mut self, block: usize, source: SourceId) {
        let entry = &mut self.blocks[block];
        let before = entry.askers.len();
        entry.askers.retain(|asker| *asker != source);
        if before > 0 && entry.askers.is_empty() && entry.data.is_none() {
            self.missing += 1;
            self.cursor = self.cursor.min(block);
        }
    }

    /// Takes a block.
    pub fn accept(&mut self, block: usize, origin: Origin, bytes: Bytes) -> Accepted {
        if self.sole.is_some_and(|sole| sole != origin.source) {
            return Accepted::Useless;
        }
        let Some(entry) = self.blocks.get_mut(block) else { return Accepted::Useless };
        if entry.data.is_some() {
            return Accepted::Useless;
        }
        if entry.askers.is_empty() {
            self.missing -= 1;
        }
        let mut others = std::mem::take(&mut entry.askers);
        others.retain(|asker| *asker != origin.source);
        entry.data = Some((origin, bytes));
        self.here += 1;
        Accepted::New(others)
    }

    /// The blocks of a full piece, in order.
    pub fn into_blocks(self) -> Vec<(Origin, Bytes)> {
        self.blocks.into_iter().filter_map(|block| block.data).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::limits;

    const A: SourceId = SourceId(1);
    const B: SourceId = SourceId(2);

    fn assembly(sole: bool) -> Assembly {
        let range = PieceRange { offset: 1_000_000, length: 2 * limits::MAX_BLOCK_BYTES + 5 };
        Assembly::new(range, limits::MAX_BLOCK_BYTES, A, sole)
    }

    fn origin(source: SourceId) -> Origin {
        Origin { source, record: 0 }
    }

    #[test]
    fn blocks_cover_the_piece_exactly() {
        let assembly = assembly(false);
        let spans: Vec<Span> = (0..3).map(|block| assembly.span(block)).collect();
        assert_eq!(spans[0].offset, 1_000_000);
        assert!(spans.windows(2).all(|pair| pair[0].end() == pair[1].offset));
        assert_eq!(spans[2].length, 5);
        assert_eq!(spans[2].end(), assembly.range.end());
        assert!(spans.iter().enumerate().all(|(block, span)| assembly.block_at(span.offset) == block));
    }

    #[test]
    fn a_released_block_is_missing_again_unless_another_was_asked() {
        let mut assembly = assembly(false);
        (0..3).for_each(|block| assembly.ask(block, A));
        assembly.ask(2, B);
        assert_eq!((assembly.missing(), assembly.next_missing()), (0, None));
        assembly.release(2, A);
        assert_eq!(assembly.missing(), 0);
        assembly.release(0, A);
        assembly.release(0, A);
        assert_eq!((assembly.missing(), assembly.next_missing()), (1, Some(0)));
    }

    #[test]
    fn the_first_answer_counts_and_names_the_others() {
        let mut assembly = assembly(false);
        (0..3).for_each(|block| assembly.ask(block, A));
        assembly.ask(1, B);
        let bytes = Bytes::from_static(b"x");
        assert_eq!(assembly.accept(1, origin(B), bytes.clone()), Accepted::New(vec![A]));
        assert_eq!(assembly.accept(1, origin(A), bytes.clone()), Accepted::Useless);
        assert_eq!(assembly.accept(0, origin(A), bytes.clone()), Accepted::New(vec![]));
        assert_eq!(assembly.accept(2, origin(A), bytes), Accepted::New(vec![]));
        assert!(assembly.is_full() && assembly.is_still());
        let sources: Vec<SourceId> = assembly.into_blocks().iter().map(|(origin, _)| origin.source).collect();
        assert_eq!(sources, [A, B, A]);
    }

    #[test]
    fn a_sole_source_is_not_helped() {
        let mut assembly = assembly(true);
        assert_eq!(assembly.accept(0, origin(B), Bytes::from_static(b"x")), Accepted::Useless);
        assert_eq!(assembly.bytes_here(), 0);
        assert_eq!(assembly.missing(), 3);
    }
}
