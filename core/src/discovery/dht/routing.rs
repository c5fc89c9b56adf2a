//! The routing table: nodes that are there, k for each distance, no network with too many of them. Not here: nodes that
//! were only heard of ([`query`](super::query)).
//!
//! A node enters when it has answered or identified itself, never on another's word. Long-known nodes stay as long as
//! they answer: who was there yesterday is most likely there tomorrow, and a flood of newcomers pushes nobody out.

use std::collections::{HashMap, VecDeque};

use super::contact::{Contact, Group};
use super::key::{Key, Node};
use crate::base::limits;
use crate::base::time::Time;

/// A node in the table.
#[derive(Clone, Debug)]
struct Entry {
    contact: Contact,
    heard: Time,
    failures: u8,
}

#[derive(Clone, Debug, Default)]
struct Bucket {
    /// Least recently heard first.
    entries: Vec<Entry>,
    /// Would like to enter; the newest last.
    waiting: VecDeque<Entry>,
    /// When it was last looked into.
    refreshed: Option<Time>,
}

/// What came of hearing from a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// It is in the table, since now or before.
    Kept,
    /// Its bucket is full; this member of it has been silent for long and should be asked whether it is there.
    Doubt(Contact),
    /// No place for it.
    Passed,
}

/// The table of one node.
#[derive(Debug)]
pub struct Routing {
    own: Node,
    buckets: Vec<Bucket>,
    groups: HashMap<Group, usize>,
    count: usize,
}

impl Routing {
    /// An empty table of this node.
    pub fn new(own: Node) -> Self {
        let buckets = vec![Bucket::default(); Key::BITS as usize];
        Self { own, buckets, groups: HashMap::new(), count: 0 }
    }

    /// Nodes in it.
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Whether nobody is known.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    fn index(&self, key: &Key) -> Option<usize> {
        let bits = self.own.key().shared_bits(key);
        (bits < Key::BITS).then_some(bits as usize)
    }

    /// A node has proven to be there, at these addresses.
    pub fn heard(&mut self, now: Time, contact: &Contact) -> Heard {
        let Some(index) = self.index(contact.node.key()) else { return Heard::Passed };
        if let Some(position) = self.buckets[index].entries.iter().position(|known| known.contact.node == contact.node)
        {
            let mut entry = self.buckets[index].entries.remove(position);
            if !contact.addresses.is_empty() && contact.addresses != entry.contact.addresses {
                self.count_groups(&entry.contact, false);
                if self.has_room(index, contact) {
                    entry.contact = contact.clone();
                }
                self.count_groups(&entry.contact, true);
            }
            (entry.heard, entry.failures) = (now, 0);
            self.buckets[index].entries.push(entry);
            return Heard::Kept;
        }
        if contact.addresses.is_empty() {
            return Heard::Passed;
        }
        let entry = Entry { contact: contact.clone(), heard: now, failures: 0 };
        if self.buckets[index].entries.len() < limits::DHT_K {
            if !self.has_room(index, contact) {
                return Heard::Passed;
            }
            self.enter(index, entry);
            return Heard::Kept;
        }
        let bucket = &mut self.buckets[index];
        bucket.waiting.retain(|waiting| waiting.contact.node != contact.node);
        if bucket.waiting.len() >= limits::DHT_REPLACEMENTS {
            bucket.waiting.pop_front();
        }
        bucket.waiting.push_back(entry);
        match bucket.entries.first() {
            Some(oldest) if now.since(oldest.heard) >= limits::DHT_DOUBT => Heard::Doubt(oldest.contact.clone()),
            _ => Heard::Passed,
        }
    }

    /// A node did not answer. After some failures in a row another one takes its place.
    pub fn failed(&mut self, node: &Node) {
        let Some(index) = self.index(node.key()) else { return };
        let bucket = &mut self.buckets[index];
        bucket.waiting.retain(|waiting| waiting.contact.node != *node);
        let Some(position) = bucket.entries.iter().position(|known| known.contact.node == *node) else { return };
        bucket.entries[position].failures += 1;
        if bucket.entries[position].failures >= limits::DHT_FAILURES {
            self.remove(index, position);
        }
    }

    /// A node is known not to be where it was: another one takes its place at once.
    pub fn gone(&mut self, node: &Node) {
        self.failed(node);
        let Some(index) = self.index(node.key()) else { return };
        if let Some(position) = self.buckets[index].entries.iter().position(|known| known.contact.node == *node) {
            self.remove(index, position);
        }
    }

    fn remove(&mut self, index: usize, position: usize) {
        let gone = self.buckets[index].entries.remove(position);
        self.count -= 1;
        self.count_groups(&gone.contact, false);
        while let Some(next) = self.buckets[index].waiting.pop_back() {
            if self.has_room(index, &next.contact) {
                // It spoke before some that stayed.
                self.enter(index, next);
                self.buckets[index].entries.sort_by_key(|entry| entry.heard);
                break;
            }
        }
    }

    fn enter(&mut self, index: usize, entry: Entry) {
        self.count_groups(&entry.contact, true);
        self.buckets[index].entries.push(entry);
        self.count += 1;
    }

    fn has_room(&self, index: usize, contact: &Contact) -> bool {
        contact.groups().all(|group| {
            let here =
                self.buckets[index].entries.iter().filter(|entry| entry.contact.groups().any(|one| one == group));
            here.count() < limits::DHT_GROUP_PER_BUCKET
                && self.groups.get(&group).is_none_or(|count| *count < limits::DHT_GROUP_PER_TABLE)
        })
    }

    fn count_groups(&mut self, contact: &Contact, enters: bool) {
        for group in contact.groups() {
            let count = self.groups.entry(group).or_default();
            *count = if enters { *count + 1 } else { count.saturating_sub(1) };
            if *count == 0 {
                self.groups.remove(&group);
            }
        }
    }

    /// The nodes nearest to a position, nearest first.
    pub fn closest(&self, target: &Key, count: usize) -> Vec<Contact> {
        let near = self.index(target).unwrap_or(self.buckets.len() - 1);
        // Members of its own bucket share more bits with it than those of deeper ones, which share as many as we do.
        let mut found: Vec<&Contact> = self.buckets[near].entries.iter().map(|entry| &entry.contact).collect();
        if found.len() < count {
            found
                .extend(self.buckets[near + 1..].iter().flat_map(|bucket| &bucket.entries).map(|entry| &entry.contact));
        }
        for bucket in self.buckets[..near].iter().rev() {
            if found.len() >= count {
                break;
            }
            found.extend(bucket.entries.iter().map(|entry| &entry.contact));
        }
        found.sort_by_cached_key(|contact| target.distance(contact.node.key()));
        found.truncate(count);
        found.into_iter().cloned().collect()
    }

    /// A node of the table.
    pub fn get(&self, node: &Node) -> Option<&Contact> {
        self.entry(node).map(|entry| &entry.contact)
    }

    fn entry(&self, node: &Node) -> Option<&Entry> {
        let index = self.index(node.key())?;
        self.buckets[index].entries.iter().find(|entry| entry.contact.node == *node)
    }

    /// All nodes, for saving.
    pub fn contacts(&self) -> impl Iterator<Item = &Contact> {
        self.buckets.iter().flat_map(|bucket| &bucket.entries).map(|entry| &entry.contact)
    }

    /// How many nodes the network seems to have, ours included: what a bucket holds, doubled for each bit. Buckets that are
    /// full know only a part of theirs, so larger numbers are nearer to the truth; but a crowd somewhere falls into one
    /// bucket, so the largest number does not count. Buckets with few members are a matter of luck.
    pub fn estimate(&self) -> f64 {
        let buckets = self.buckets.iter().map(|bucket| bucket.entries.len()).zip(1..);
        let of = |(members, bits): (usize, i32)| (members >= 4).then(|| members as f64 * 2_f64.powi(bits));
        let mut reckoned: Vec<f64> = buckets.filter_map(of).collect();
        reckoned.sort_by(f64::total_cmp);
        let second = reckoned.len().checked_sub(2).and_then(|index| reckoned.get(index));
        second.copied().unwrap_or(0.0).max(self.count as f64) + 1.0
    }

    /// Buckets that should be looked into again; they count as refreshed from now on.
    pub fn due(&mut self, now: Time) -> Vec<u32> {
        let deepest = self.buckets.iter().rposition(|bucket| !bucket.entries.is_empty()).unwrap_or(0);
        let last = deepest.min(limits::DHT_REFRESH_BITS as usize);
        let mut due = Vec::new();
        for (index, bucket) in self.buckets[..=last].iter_mut().enumerate() {
            if bucket.refreshed.is_none_or(|last| now.since(last) >= limits::DHT_REFRESH) {
                bucket.refreshed = Some(now);
                due.push(index as u32);
            }
        }
        due
    }

    /// Sizes for tests of bounds: members, waiting, networks.
    pub fn sizes(&self) -> (usize, usize, usize) {
        (self.count, self.buckets.iter().map(|bucket| bucket.waiting.len()).sum(), self.groups.len())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn node(number: u32) -> Node {
        Node::from_bytes(&number.to_be_bytes()).expect("an id")
    }

    fn contact(number: u32, ip: [u8; 4]) -> Contact {
        Contact::new(node(number), [[&[4][..], &ip, &[6, 0, 80]].concat()])
    }

    /// Each in a network of its own.
    fn apart(number: u32) -> Contact {
        let [_, b, c, _] = (number << 8).to_be_bytes();
        contact(number, [20 + (number >> 16) as u8, b, c, 1])
    }

    fn in_first_bucket(own: &Node) -> impl Iterator<Item = u32> + '_ {
        (1..).filter(|number| own.key().shared_bits(node(*number).key()) == 0)
    }

    #[test]
    fn the_nearest_are_those_of_all() {
        let mut table = Routing::new(node(0));
        for number in 1..2000 {
            table.heard(Time::ZERO, &apart(number));
        }
        let all: Vec<Contact> = table.contacts().cloned().collect();
        assert!(all.len() > 100 && all.len() == table.len());
        for target in (0..200_u32).map(|number| *node(number).key()) {
            let mut sorted = all.clone();
            sorted.sort_by_key(|contact| target.distance(contact.node.key()));
            sorted.truncate(limits::DHT_K);
            assert_eq!(table.closest(&target, limits::DHT_K), sorted);
        }
        let estimate = table.estimate();
        assert!((1000.0..4000.0).contains(&estimate), "{estimate}");
        // A crowd somewhere changes little.
        let near = *node(5).key();
        for number in (100_000..400_000).filter(|number| near.shared_bits(node(*number).key()) >= 10) {
            table.heard(Time::ZERO, &apart(number));
        }
        let crowded = table.estimate();
        assert!(crowded < 2.0 * estimate, "{estimate} {crowded}");
    }

    #[test]
    fn long_known_nodes_stay_while_they_answer() {
        let own = node(0);
        let mut table = Routing::new(own.clone());
        let numbers: Vec<u32> = in_first_bucket(&own).take(limits::DHT_K + 2).collect();
        let (members, late) = numbers.split_at(limits::DHT_K);
        for number in members {
            assert_eq!(table.heard(Time::ZERO, &apart(*number)), Heard::Kept);
        }
        let soon = Time::ZERO + Duration::from_secs(1);
        assert_eq!(table.heard(soon, &apart(late[0])), Heard::Passed);
        let later = Time::ZERO + limits::DHT_DOUBT;
        assert_eq!(table.heard(later, &apart(late[1])), Heard::Doubt(apart(members[0])));
        // It answers: nothing changes but the order.
        table.heard(later, &apart(members[0]));
        assert_eq!(table.heard(later, &apart(late[1])), Heard::Doubt(apart(members[1])));
        table.failed(&node(members[1]));
        assert!(table.get(&node(members[1])).is_some(), "once is no proof");
        table.failed(&node(members[1]));
        assert!(table.get(&node(members[1])).is_none() && table.get(&node(late[1])).is_some());
        assert_eq!(table.len(), limits::DHT_K);
        table.gone(&node(members[2]));
        assert!(table.get(&node(members[2])).is_none() && table.get(&node(late[0])).is_some(), "this is one");
        assert_eq!(table.len(), limits::DHT_K);
    }

    #[test]
    fn one_network_gets_few_places() {
        let own = node(0);
        let mut table = Routing::new(own.clone());
        for number in 1..5000 {
            table.heard(Time::ZERO, &contact(number, [8, 8, 8, number as u8]));
        }
        assert_eq!(table.len(), limits::DHT_GROUP_PER_TABLE);
        for bucket in &table.buckets {
            assert!(bucket.entries.len() <= limits::DHT_GROUP_PER_BUCKET);
        }
        // At home they all may be in one.
        let mut table = Routing::new(own);
        for number in 1..200 {
            table.heard(Time::ZERO, &contact(number, [192, 168, 1, number as u8]));
        }
        assert!(table.len() > 60);
    }

    #[test]
    fn buckets_are_refreshed_in_time() {
        let mut table = Routing::new(node(0));
        for number in 1..100 {
            table.heard(Time::ZERO, &apart(number));
        }
        let due = table.due(Time::ZERO);
        assert!(due.len() >= 5 && due[0] == 0);
        assert!(table.due(Time::ZERO + limits::DHT_REFRESH / 2).is_empty());
        assert_eq!(table.due(Time::ZERO + limits::DHT_REFRESH), due);
    }

    proptest! {
        #[test]
        fn the_table_keeps_its_bounds(events in proptest::collection::vec((0u8..3, 1u32..400, 0u8..6), 0..600)) {
            let mut table = Routing::new(node(0));
            let mut now = Time::ZERO;
            for (what, number, network) in events {
                now = now + Duration::from_secs(u64::from(number));
                match what {
                    0 => table.failed(&node(number)),
                    1 => drop(table.heard(now, &contact(number, [9, 9, network, number as u8]))),
                    _ => drop(table.heard(now, &apart(number))),
                }
                let (count, waiting, groups) = table.sizes();
                prop_assert_eq!(count, table.contacts().count());
                let distinct: std::collections::HashSet<Group> = table.contacts().flat_map(|one| one.groups().collect::<Vec<_>>()).collect();
                prop_assert_eq!(groups, distinct.len());
                prop_assert!(waiting <= 256 * limits::DHT_REPLACEMENTS);
                for count in table.groups.values() {
                    prop_assert!(*count <= limits::DHT_GROUP_PER_TABLE);
                }
                prop_assert!(table.buckets.iter().all(|bucket| bucket.entries.len() <= limits::DHT_K));
            }
        }
    }
}
