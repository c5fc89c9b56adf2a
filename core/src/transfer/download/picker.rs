//! Which piece to start next: the rarest, and among equals the one nearest to the tail of the file.
//! Not here: blocks, requests, who asks.
//!
//! Rarity is counted over sources that have a part of the file; sources that have all of it add the same to every piece.
//! The tail comes first because proofs grow from there (`content::proof`): with one source, each piece is proven the
//! moment it arrives, and a liar wastes no more than what was already asked for. In a swarm that order would make
//! everybody fetch the same pieces, so there the search starts at a random piece.

use super::bits::Bits;

/// Pieces of this availability and above are all the same to us: far from rare.
const MAX_LEVELS: usize = 64;

/// The pieces that nobody was asked for yet, by rarity.
#[derive(Debug)]
pub struct Picker {
    wanted: Bits,
    /// Sources with a part of the file that have the piece.
    availability: Vec<u16>,
    /// The wanted pieces of each availability.
    levels: Vec<Bits>,
}

impl Picker {
    /// Nothing is wanted yet, nobody has anything.
    pub fn new(pieces: u32) -> Self {
        Self { wanted: Bits::new(pieces), availability: vec![0; pieces as usize], levels: vec![Bits::new(pieces)] }
    }

    /// The piece is to be fetched.
    pub fn want(&mut self, piece: u32) {
        if self.wanted.insert(piece) {
            let level = self.level(piece);
            self.levels[level].insert(piece);
        }
    }

    /// The piece is being fetched, or here. False if it was not wanted.
    pub fn unwant(&mut self, piece: u32) -> bool {
        let was = self.wanted.remove(piece);
        if was {
            let level = self.level(piece);
            self.levels[level].remove(piece);
        }
        was
    }

    /// Whether the piece is still to be started.
    pub fn is_wanted(&self, piece: u32) -> bool {
        self.wanted.contains(piece)
    }

    /// One more partial source has the piece.
    pub fn gained(&mut self, piece: u32) {
        self.shift(piece, |count| count.saturating_add(1));
    }

    /// One partial source less has the piece.
    pub fn lost(&mut self, piece: u32) {
        self.shift(piece, |count| count.saturating_sub(1));
    }

    /// The piece to start next with a source that has `have` (`None`: everything): the rarest one, among equals the
    /// highest below `start`, wrapping around.
    pub fn pick(&self, have: Option<&Bits>, start: u32) -> Option<u32> {
        let find = |level: &Bits| level.last_before(start, have).or_else(|| level.last_before(u32::MAX, have));
        self.levels.iter().filter(|level| level.ones() > 0).find_map(find)
    }

    fn shift(&mut self, piece: u32, change: impl Fn(u16) -> u16) {
        let Some(count) = self.availability.get(piece as usize).copied() else { return };
        let old = self.level(piece);
        self.availability[piece as usize] = change(count);
        let new = self.level(piece);
        if old != new && self.wanted.contains(piece) {
            self.levels[old].remove(piece);
            self.levels[new].insert(piece);
        }
    }

    /// Where a piece belongs; makes room for a level that was not needed before.
    fn level(&mut self, piece: u32) -> usize {
        let level = usize::from(self.availability[piece as usize]).min(MAX_LEVELS - 1);
        while self.levels.len() <= level {
            self.levels.push(Bits::new(self.wanted.length()));
        }
        level
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all_wanted(pieces: u32) -> Picker {
        let mut picker = Picker::new(pieces);
        (0..pieces).for_each(|piece| picker.want(piece));
        picker
    }

    #[test]
    fn the_tail_comes_first() {
        let mut picker = all_wanted(100);
        let order: Vec<u32> = std::iter::from_fn(|| {
            let piece = picker.pick(None, u32::MAX)?;
            picker.unwant(piece);
            Some(piece)
        })
        .collect();
        assert_eq!(order, (0..100).rev().collect::<Vec<_>>());
    }

    #[test]
    fn the_rarest_comes_before_the_tail() {
        let mut picker = all_wanted(100);
        (0..100).filter(|piece| *piece != 40).for_each(|piece| picker.gained(piece));
        assert_eq!(picker.pick(None, u32::MAX), Some(40));
        picker.gained(40);
        picker.gained(40);
        assert_eq!(picker.pick(None, u32::MAX), Some(99));
        picker.lost(40);
        picker.lost(40);
        assert_eq!(picker.pick(None, u32::MAX), Some(40));
    }

    #[test]
    fn only_what_the_source_has_is_picked_and_the_start_wraps_around() {
        let picker = all_wanted(100);
        let mut have = Bits::new(100);
        have.insert(10);
        have.insert(90);
        assert_eq!(picker.pick(Some(&have), 50), Some(10));
        assert_eq!(picker.pick(Some(&have), 10), Some(90));
        assert_eq!(picker.pick(Some(&Bits::new(100)), 50), None);
    }

    #[test]
    fn very_common_pieces_stay_findable() {
        let mut picker = all_wanted(3);
        (0..200).for_each(|_| picker.gained(1));
        picker.unwant(0);
        picker.unwant(2);
        assert_eq!(picker.pick(None, u32::MAX), Some(1));
        (0..200).for_each(|_| picker.lost(1));
        assert_eq!(picker.pick(None, u32::MAX), Some(1));
        assert!(picker.is_wanted(1) && !picker.is_wanted(2));
    }
}
