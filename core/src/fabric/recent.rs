//! A map with a bound that forgets what was touched longest ago. Not here: what the fabric keeps in such maps.

use std::collections::HashMap;
use std::hash::Hash;

/// A map that forgets the keys touched longest ago.
#[derive(Debug)]
pub struct Recent<K, V> {
    clock: u64,
    items: HashMap<K, (u64, V)>,
}

impl<K, V> Default for Recent<K, V> {
    fn default() -> Self {
        Self { clock: 0, items: HashMap::new() }
    }
}

impl<K: Eq + Hash + Copy, V: Default> Recent<K, V> {
    /// The value of a key, made if missing, now the most recent; beyond `limit` the oldest key goes. The search for
    /// it walks the map: thousands of entries take microseconds, and only new keys of a full map pay.
    pub fn entry(&mut self, key: K, limit: usize) -> &mut V {
        self.clock += 1;
        if self.items.len() >= limit && !self.items.contains_key(&key) {
            let oldest = self.items.iter().min_by_key(|(_, (touched, _))| *touched).map(|(key, _)| *key);
            oldest.map(|key| self.items.remove(&key));
        }
        let item = self.items.entry(key).or_default();
        item.0 = self.clock;
        &mut item.1
    }

    /// The value of a key, which does not count as touching it.
    pub fn get(&self, key: &K) -> Option<&V> {
        self.items.get(key).map(|(_, value)| value)
    }

    /// Forgets the keys that do not fit.
    pub fn retain(&mut self, fits: impl Fn(&K) -> bool) {
        self.items.retain(|key, _| fits(key));
    }

    /// How many keys it has.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.items.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_untouched_key_is_forgotten() {
        let mut recent: Recent<u32, u32> = Recent::default();
        for key in 0..3 {
            *recent.entry(key, 3) = key;
        }
        recent.entry(0, 3);
        recent.entry(3, 3);
        assert!(recent.items.contains_key(&0) && !recent.items.contains_key(&1));
        recent.entry(4, 3);
        assert!(!recent.items.contains_key(&2), "2 was the longest untouched");
        assert_eq!(recent.items.len(), 3);
    }
}
