//! A set of piece indices as bits, with the one search the picker lives on. Not here: what the bits mean.

/// A set of numbers below a fixed length.
#[derive(Clone, Debug)]
pub struct Bits {
    words: Vec<u64>,
    length: u32,
    ones: u32,
}

impl Bits {
    /// The empty set.
    pub fn new(length: u32) -> Self {
        Self { words: vec![0; length.div_ceil(64) as usize], length, ones: 0 }
    }

    /// The set of all numbers below `length`.
    pub fn full(length: u32) -> Self {
        let mut words = vec![u64::MAX; length.div_ceil(64) as usize];
        if let Some(last) = words.last_mut()
            && !length.is_multiple_of(64)
        {
            *last = (1 << (length % 64)) - 1;
        }
        Self { words, length, ones: length }
    }

    /// Adds a number; false if it was there, or is not below the length.
    pub fn insert(&mut self, index: u32) -> bool {
        let new = index < self.length && !self.contains(index);
        if new {
            self.words[index as usize / 64] |= 1 << (index % 64);
            self.ones += 1;
        }
        new
    }

    /// Takes a number out; false if it was not there.
    pub fn remove(&mut self, index: u32) -> bool {
        let there = self.contains(index);
        if there {
            self.words[index as usize / 64] &= !(1 << (index % 64));
            self.ones -= 1;
        }
        there
    }

    /// Whether a number is in the set.
    pub fn contains(&self, index: u32) -> bool {
        index < self.length && self.words[index as usize / 64] >> (index % 64) & 1 == 1
    }

    /// How many there are.
    pub const fn ones(&self) -> u32 {
        self.ones
    }

    /// The upper bound given at construction.
    pub const fn length(&self) -> u32 {
        self.length
    }

    /// The highest number below `end` that is in this set, and in `mask` if there is one. Reads one word per 64
    /// numbers that it passes.
    pub fn last_before(&self, end: u32, mask: Option<&Self>) -> Option<u32> {
        let end = end.min(self.length);
        if end == 0 || self.ones == 0 {
            return None;
        }
        let top = (end - 1) as usize / 64;
        for index in (0..=top).rev() {
            let mut word = self.words[index] & mask.map_or(u64::MAX, |mask| mask.words[index]);
            if index == top {
                word &= u64::MAX >> (63 - (end - 1) % 64);
            }
            if word != 0 {
                return Some(index as u32 * 64 + 63 - word.leading_zeros());
            }
        }
        None
    }

    /// All numbers in the set, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.words.iter().enumerate().filter(|(_, word)| **word != 0).flat_map(|(index, word)| {
            (0..64).filter(move |bit| word >> bit & 1 == 1).map(move |bit| index as u32 * 64 + bit)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::Jitter;

    #[test]
    fn the_search_agrees_with_the_obvious_one() {
        let mut jitter = Jitter::from_seed(1);
        for length in [1_u32, 63, 64, 65, 200] {
            let (mut bits, mut mask) = (Bits::new(length), Bits::new(length));
            for _ in 0..length / 2 {
                bits.insert(jitter.below(length as usize) as u32);
                mask.insert(jitter.below(length as usize) as u32);
            }
            for end in 0..=length + 1 {
                let plain = (0..end).rev().find(|index| bits.contains(*index));
                assert_eq!(bits.last_before(end, None), plain);
                let masked = (0..end).rev().find(|index| bits.contains(*index) && mask.contains(*index));
                assert_eq!(bits.last_before(end, Some(&mask)), masked);
            }
            assert_eq!(bits.iter().count(), bits.ones() as usize);
            assert!(bits.iter().all(|index| bits.contains(index)));
        }
    }

    #[test]
    fn full_means_every_number_and_no_more() {
        for length in [0, 1, 64, 65, 128] {
            let mut bits = Bits::full(length);
            assert_eq!(bits.iter().collect::<Vec<_>>(), (0..length).collect::<Vec<_>>());
            assert!(!bits.insert(length) && !bits.remove(length));
            assert_eq!((0..length).filter(|index| bits.remove(*index)).count() as u32, length);
            assert_eq!(bits.ones(), 0);
        }
    }
}
