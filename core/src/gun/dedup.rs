//! Which message ids were seen lately, and where they came from. Pure. Not here: what a repetition means.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use crate::base::time::Time;

/// Ids with what is known of them, for a while.
#[derive(Debug)]
pub struct Recent<T> {
    known: HashMap<String, T>,
    order: VecDeque<(Time, String)>,
    most: usize,
    keep: Duration,
}

impl<T> Recent<T> {
    /// Remembers at most so many, each for so long.
    pub fn new(most: usize, keep: Duration) -> Self {
        Self { known: HashMap::new(), order: VecDeque::new(), most, keep }
    }

    /// Remembers an id; false if it was known.
    pub fn insert(&mut self, now: Time, id: &str, value: T) -> bool {
        while self
            .order
            .front()
            .is_some_and(|(since, _)| self.order.len() >= self.most || now.since(*since) > self.keep)
        {
            if let Some((_, old)) = self.order.pop_front() {
                self.known.remove(&old);
            }
        }
        if self.known.contains_key(id) {
            return false;
        }
        self.known.insert(id.to_owned(), value);
        self.order.push_back((now, id.to_owned()));
        true
    }

    /// What is known of an id.
    pub fn get(&self, id: &str) -> Option<&T> {
        self.known.get(id)
    }

    /// How many are remembered.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_forgotten_by_age_and_number() {
        let mut recent = Recent::new(3, Duration::from_secs(9));
        assert!(recent.insert(Time::ZERO, "a", 1));
        assert!(!recent.insert(Time::ZERO, "a", 2));
        assert_eq!(recent.get("a"), Some(&1));
        assert!(recent.insert(Time::ZERO + Duration::from_secs(10), "a", 3), "forgotten by age");
        for id in ["b", "c", "d"] {
            assert!(recent.insert(Time::ZERO + Duration::from_secs(10), id, 0));
        }
        assert_eq!((recent.len(), recent.get("a")), (3, None));
    }
}
