//! Provider records that others have left here: bounded, in no single hand, gone when they expire. Not here: which keys
//! are taken ([`shard`](super::shard)), and files (`driver`).
//!
//! Values (PUT_VALUE) are not kept: nothing of ours needs them, and nobody could say whether a foreign one is true.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::contact::{Contact, Group};
use super::key::Node;
use crate::base::limits;
use crate::base::time::Time;

/// That somebody provides a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Who and where.
    pub provider: Contact,
    /// Its signed announcement, verified.
    pub announcement: Option<Arc<[u8]>>,
    /// When that was signed, by the clock of its signer; 0 without.
    pub issued_ms: u64,
    /// When the record is forgotten.
    pub expires: Time,
}

#[derive(Debug, Default)]
struct Entry {
    /// The newest last.
    records: Vec<Record>,
    used: u64,
}

/// The records of one node.
#[derive(Debug)]
pub struct Store {
    capacity: usize,
    entries: HashMap<Arc<[u8]>, Entry>,
    /// Least recently used keys first.
    order: BTreeMap<u64, Arc<[u8]>>,
    turn: u64,
    count: usize,
    by_provider: HashMap<Node, usize>,
    swept: Time,
}

impl Record {
    const fn is_signed(&self) -> bool {
        self.announcement.is_some()
    }
}

impl Store {
    /// With room for so many records.
    pub fn new(capacity: usize) -> Self {
        Self {
            capacity: capacity.max(1),
            entries: HashMap::new(),
            order: BTreeMap::new(),
            turn: 0,
            count: 0,
            by_provider: HashMap::new(),
            swept: Time::ZERO,
        }
    }

    /// Records in it.
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Whether nothing is known.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Keeps a record. `false` when what is known is better, or the provider has too many already.
    pub fn put(&mut self, now: Time, key: &[u8], record: Record) -> bool {
        if record.expires <= now {
            return false;
        }
        let known = self.entries.get(key).and_then(|entry| {
            entry.records.iter().find(|known| known.provider.node == record.provider.node && known.expires > now)
        });
        match known {
            // Only what its provider has signed later replaces what it has signed.
            Some(known) if known.is_signed() && !(record.is_signed() && record.issued_ms >= known.issued_ms) => {
                return false;
            }
            None if !self.has_share(&record.provider.node) => return false,
            _ => {}
        }
        let key = self.touch(key);
        let node = record.provider.node.clone();
        self.remove(&key, |known| known.provider.node == node || known.expires <= now);
        for group in record.provider.groups() {
            self.trim(&key, limits::DHT_PROVIDERS_PER_GROUP, Some(group));
        }
        let entry = &self.entries[&key];
        let is_full = entry.records.len() >= limits::DHT_PROVIDERS_PER_KEY;
        if is_full && !record.is_signed() && entry.records.iter().all(Record::is_signed) {
            return false;
        }
        self.trim(&key, limits::DHT_PROVIDERS_PER_KEY, None);
        *self.by_provider.entry(node).or_default() += 1;
        self.count += 1;
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.records.push(record);
        }
        while self.count > self.capacity {
            let Some((_, oldest)) = self.order.first_key_value() else { break };
            let oldest = Arc::clone(oldest);
            self.remove(&oldest, |_| true);
            self.forget(&oldest);
        }
        true
    }

    /// Who provides a key, for answering: signed before unsigned, then the newest; few of one network.
    pub fn get(&mut self, now: Time, key: &[u8], most: usize) -> Vec<Record> {
        if !self.entries.contains_key(key) {
            return Vec::new();
        }
        let key = self.touch(key);
        let mut records: Vec<&Record> =
            self.entries[&key].records.iter().rev().filter(|record| record.expires > now).collect();
        records.sort_by_key(|record| !record.is_signed());
        let mut groups: HashMap<Group, usize> = HashMap::new();
        records.retain(|record| {
            record.provider.groups().all(|group| {
                let count = groups.entry(group).or_default();
                *count += 1;
                *count <= limits::DHT_PROVIDERS_PER_GROUP
            })
        });
        records.into_iter().take(most).cloned().collect()
    }

    /// Forgets what has expired, now and then.
    pub fn sweep(&mut self, now: Time) {
        if now.since(self.swept) < limits::DHT_SWEEP {
            return;
        }
        self.swept = now;
        let keys: Vec<Arc<[u8]>> = self.entries.keys().cloned().collect();
        for key in keys {
            self.remove(&key, |record| record.expires <= now);
            if self.entries[&key].records.is_empty() {
                self.forget(&key);
            }
        }
    }

    /// Everything, most recently used keys first, for saving.
    pub fn records(&self) -> impl Iterator<Item = (&[u8], &Record)> {
        let keys = self.order.values().rev();
        keys.flat_map(|key| self.entries[key].records.iter().map(|record| (&key[..], record)))
    }

    fn has_share(&self, provider: &Node) -> bool {
        // A store with few records in all belongs to whoever comes.
        let share = (self.capacity / limits::DHT_STORE_SHARE).max(1);
        self.by_provider.get(provider).is_none_or(|count| *count < share)
    }

    /// Notes that a key is in use.
    fn touch(&mut self, key: &[u8]) -> Arc<[u8]> {
        self.turn += 1;
        let turn = self.turn;
        let key: Arc<[u8]> = match self.entries.get_key_value(key) {
            Some((key, entry)) => {
                self.order.remove(&entry.used);
                Arc::clone(key)
            }
            None => key.into(),
        };
        self.order.insert(turn, Arc::clone(&key));
        self.entries.entry(Arc::clone(&key)).or_default().used = turn;
        key
    }

    fn forget(&mut self, key: &[u8]) {
        if let Some(entry) = self.entries.remove(key) {
            self.order.remove(&entry.used);
        }
    }

    /// Makes room for one among those of this network, or all: the oldest goes, an unsigned one before a signed one.
    fn trim(&mut self, key: &[u8], most: usize, group: Option<Group>) {
        let Some(entry) = self.entries.get(key) else { return };
        let counts = |record: &&Record| group.is_none_or(|group| record.provider.groups().any(|one| one == group));
        if entry.records.iter().filter(counts).count() < most {
            return;
        }
        let victim = entry.records.iter().filter(counts).min_by_key(|record| record.is_signed());
        if let Some(node) = victim.map(|record| record.provider.node.clone()) {
            self.remove(key, |record| record.provider.node == node);
        }
    }

    fn remove(&mut self, key: &[u8], goes: impl Fn(&Record) -> bool) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        let (by_provider, count) = (&mut self.by_provider, &mut self.count);
        entry.records.retain(|record| {
            let stays = !goes(record);
            if !stays {
                *count -= 1;
                if let Some(of) = by_provider.get_mut(&record.provider.node) {
                    *of -= 1;
                    if *of == 0 {
                        by_provider.remove(&record.provider.node);
                    }
                }
            }
            stays
        });
    }

    /// Sizes for tests of bounds: records, keys, providers.
    pub fn sizes(&self) -> (usize, usize, usize) {
        (self.count, self.entries.len(), self.by_provider.len())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn record(provider: u8, network: u8, issued_ms: u64, expires: u64) -> Record {
        let node = Node::from_bytes(&[provider; 38]).expect("an id");
        Record {
            provider: Contact::new(node, [vec![4, 9, 9, network, provider, 6, 0, 80]]),
            announcement: (issued_ms > 0).then(|| vec![provider; 100].into()),
            issued_ms,
            expires: Time::ZERO + Duration::from_secs(expires),
        }
    }

    fn seconds(seconds: u64) -> Time {
        Time::ZERO + Duration::from_secs(seconds)
    }

    fn providers(store: &mut Store, now: Time, key: &[u8]) -> Vec<u8> {
        store.get(now, key, 20).iter().map(|record| record.provider.node.as_bytes()[0]).collect()
    }

    #[test]
    fn nothing_unsigned_replaces_what_is_signed() {
        let mut store = Store::new(100);
        assert!(store.put(Time::ZERO, b"k", record(1, 1, 500, 100)));
        assert!(!store.put(Time::ZERO, b"k", record(1, 2, 0, 900)), "unsigned");
        assert!(!store.put(Time::ZERO, b"k", record(1, 2, 499, 900)), "signed earlier");
        assert_eq!(store.get(Time::ZERO, b"k", 20), [record(1, 1, 500, 100)]);
        assert!(store.put(Time::ZERO, b"k", record(1, 2, 501, 900)));
        assert_eq!(store.get(Time::ZERO, b"k", 20), [record(1, 2, 501, 900)]);
        // What has expired protects nothing.
        assert!(store.put(seconds(901), b"k", record(1, 3, 0, 2000)));
    }

    #[test]
    fn records_expire() {
        let mut store = Store::new(100);
        store.put(Time::ZERO, b"k", record(1, 1, 0, 10));
        store.put(Time::ZERO, b"k", record(2, 2, 0, 20));
        assert!(!store.put(seconds(10), b"k", record(3, 3, 0, 10)), "already over");
        assert_eq!(providers(&mut store, seconds(10), b"k"), [2]);
        store.sweep(seconds(20) + limits::DHT_SWEEP);
        assert_eq!(store.sizes(), (0, 0, 0));
    }

    #[test]
    fn signed_ones_come_first_and_few_of_one_network() {
        let mut store = Store::new(1000);
        for provider in 1..=10 {
            store.put(Time::ZERO, b"k", record(provider, 7, 0, 100));
        }
        assert_eq!(providers(&mut store, Time::ZERO, b"k"), [10, 9, 8]);
        store.put(Time::ZERO, b"k", record(20, 7, 5, 100));
        store.put(Time::ZERO, b"k", record(21, 8, 0, 100));
        assert_eq!(providers(&mut store, Time::ZERO, b"k"), [20, 21, 10, 9]);
        // A flood of unsigned ones from everywhere leaves the signed one.
        for provider in 30..200 {
            store.put(Time::ZERO, b"k", record(provider, provider, 0, 100));
        }
        assert_eq!(store.len(), limits::DHT_PROVIDERS_PER_KEY);
        assert_eq!(providers(&mut store, Time::ZERO, b"k")[0], 20);
    }

    #[test]
    fn the_least_recently_used_keys_make_room() {
        let mut store = Store::new(40);
        for number in 0..40 {
            assert!(store.put(Time::ZERO, &[number], record(number, number, 0, 100)));
        }
        assert_eq!(providers(&mut store, Time::ZERO, &[0]), [0]);
        store.put(Time::ZERO, b"new", record(100, 100, 0, 100));
        assert!(!providers(&mut store, Time::ZERO, &[0]).is_empty(), "just used");
        assert!(providers(&mut store, Time::ZERO, &[1]).is_empty());
        // One provider does not get more than its share.
        for number in 0..200_u8 {
            store.put(Time::ZERO, &[1, number], record(200, 200, 0, 100));
        }
        assert_eq!(store.by_provider.values().max(), Some(&(40 / limits::DHT_STORE_SHARE)));
        assert!(store.len() <= 40);
    }

    proptest! {
        #[test]
        fn the_store_keeps_its_bounds(
            puts in proptest::collection::vec((0u8..12, 0u8..40, 0u8..8, 0u64..5, 1u64..400), 0..500),
        ) {
            let mut store = Store::new(60);
            for (turn, (key, provider, network, issued, life)) in puts.into_iter().enumerate() {
                let now = seconds(turn as u64);
                store.put(now, &[key], record(provider, network, issued, turn as u64 + life));
                store.sweep(now);
                prop_assert!(store.len() <= 60);
                let counted: usize = store.entries.values().map(|entry| entry.records.len()).sum();
                prop_assert_eq!(store.len(), counted);
                prop_assert_eq!(store.by_provider.values().sum::<usize>(), counted);
                prop_assert_eq!(store.order.len(), store.entries.len());
                prop_assert!(store.by_provider.values().all(|count| *count <= 60 / limits::DHT_STORE_SHARE));
            }
        }
    }
}
