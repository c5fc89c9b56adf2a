//! Randomness as the machines see it: a seeded generator handed in at construction, so that a run can be replayed.
//! Not here: secrets. Keys come from the operating system in the drivers.

use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};

/// A seeded generator for choices that need not be secret (tie-breaking, jitter).
#[derive(Debug)]
pub struct Jitter(StdRng);

impl Jitter {
    /// The same seed gives the same choices.
    pub fn from_seed(seed: u64) -> Self {
        Self(StdRng::seed_from_u64(seed))
    }

    /// A number below `bound`; 0 when `bound` is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        if bound == 0 { 0 } else { self.0.random_range(0..bound) }
    }

    /// A number in `0.0..1.0`.
    pub fn fraction(&mut self) -> f64 {
        self.0.random_range(0.0..1.0)
    }

    /// 64 random bits, e.g. to seed another generator.
    pub fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Puts a slice in random order (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}
