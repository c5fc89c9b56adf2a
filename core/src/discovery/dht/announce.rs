//! What this node announces, when each key is due again, and to whom it goes: sorted by position, so that one lookup
//! serves all keys of a region. Not here: lookups ([`machine`](super::machine)), and signing (`driver`).
//!
//! The lookup of one key finds not only its k nearest nodes but all nodes around. Whichever keys lie so near to it that
//! their nearest nodes are among those need no lookup of their own. In a network of n nodes the keyspace has about n / 15
//! such regions, however many files there are. To nodes of our kind, the announcements of a region go in few messages.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use super::contact::Contact;
use super::key::{Key, Node, Placement};
use super::query;
use super::shard::Shards;
use crate::base::ids::FileHash;
use crate::base::limits;
use crate::base::time::Time;

/// Announcements for one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provide {
    /// Whom to tell.
    pub to: Contact,
    /// It understands many announcements in one message.
    pub ours: bool,
    /// What to announce: at most [`limits::DHT_BATCH`] lookup keys.
    pub keys: Vec<FileHash>,
}

#[derive(Debug)]
struct Entry {
    lookup: FileHash,
    due: Time,
}

/// The keys of one node.
#[derive(Debug)]
pub struct Announcer {
    placement: Placement,
    keys: BTreeMap<Key, Entry>,
    due: BTreeSet<(Time, Key)>,
    /// Keys whose regions are being looked up.
    active: Vec<Key>,
    /// All that was looked at last lies in those regions; not looked at again before one of them is done.
    is_crowded: bool,
    queue: VecDeque<Provide>,
    /// Messages that may be sent at once, at this moment.
    tokens: f64,
    counted: Time,
    /// Nobody was found; not before this again.
    pause: Time,
}

const BURST: f64 = 2.0 * limits::DHT_ANNOUNCE_RATE as f64;

impl Default for Announcer {
    fn default() -> Self {
        Self {
            placement: Placement::default(),
            keys: BTreeMap::new(),
            due: BTreeSet::new(),
            active: Vec::new(),
            is_crowded: false,
            queue: VecDeque::new(),
            tokens: BURST,
            counted: Time::ZERO,
            pause: Time::ZERO,
        }
    }
}

impl Announcer {
    /// Announces nothing yet.
    pub fn new(placement: Placement) -> Self {
        Self { placement, ..Self::default() }
    }

    /// Announces a key from now on. `false` without room for it.
    pub fn announce(&mut self, now: Time, lookup: FileHash) -> bool {
        let position = self.placement.of(&lookup);
        if self.keys.contains_key(&position) {
            return true;
        }
        if self.keys.len() >= limits::DHT_ANNOUNCED {
            return false;
        }
        self.keys.insert(position, Entry { lookup, due: now });
        self.due.insert((now, position));
        true
    }

    /// Announces a key no longer. Records that are out there expire.
    pub fn withdraw(&mut self, lookup: &FileHash) {
        let position = self.placement.of(lookup);
        if let Some(entry) = self.keys.remove(&position) {
            self.due.remove(&(entry.due, position));
        }
    }

    /// The key announced at a position.
    pub fn at(&self, position: &Key) -> Option<FileHash> {
        self.keys.get(position).map(|entry| entry.lookup)
    }

    /// Keys announced.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether nothing is announced.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// A key is due at once, because what is said of it has changed.
    pub fn renew_one(&mut self, now: Time, lookup: &FileHash) {
        let position = self.placement.of(lookup);
        if let Some(entry) = self.keys.get_mut(&position) {
            self.due.remove(&(entry.due, position));
            entry.due = now;
            self.due.insert((now, position));
        }
    }

    /// Everything is due at once, e.g. because our addresses have changed.
    pub fn renew(&mut self, now: Time) {
        self.due.clear();
        for (position, entry) in &mut self.keys {
            entry.due = now;
            self.due.insert((now, *position));
        }
    }

    /// The next key whose region is to be looked up, if there is room for it. `nodes` is the size of the network. Cheap also
    /// when it is asked after each of many keys.
    pub fn next_region(&mut self, now: Time, nodes: f64) -> Option<(Key, FileHash)> {
        let is_full = self.active.len() >= limits::DHT_REGIONS || self.queue.len() >= limits::DHT_ANNOUNCE_QUEUE;
        if is_full || self.is_crowded || now < self.pause {
            return None;
        }
        // Regions that are looked up at the same time must not be the same.
        let bits = (nodes / limits::DHT_K as f64).max(1.0).log2() as u32;
        let is_apart = |one: &Key| self.active.iter().all(|other| one.shared_bits(other) < bits.max(1));
        let due = self.due.iter().take_while(|(due, _)| *due <= now).map(|(_, key)| *key);
        let center = if self.active.is_empty() {
            due.take(1).next()?
        } else {
            let mut looked_at = 0;
            let found = due.take(LOOKED_AT).inspect(|_| looked_at += 1).find(is_apart);
            // Few are looked at quickly, and more may come.
            self.is_crowded = found.is_none() && looked_at == LOOKED_AT;
            found?
        };
        self.active.push(center);
        Some((center, self.keys.get(&center)?.lookup))
    }

    /// The nodes around a key were found: everything that is soon due there goes to them, and to those of the shard
    /// hosts whose shards contain it. `expected` is the size of the network, `is_ours` says who takes many at once.
    pub fn region_found(
        &mut self,
        now: Time,
        center: Key,
        found: &Surroundings,
        hosts: &[(Contact, Shards)],
        is_ours: impl Fn(&Node) -> bool,
    ) {
        self.active.retain(|active| *active != center);
        self.is_crowded = false;
        if found.nodes.is_empty() {
            self.pause = now + limits::DHT_ANNOUNCE_RETRY;
            return;
        }
        let mut per_node: HashMap<Node, (Contact, Vec<FileHash>)> = HashMap::new();
        let soon = now + limits::DHT_REPUBLISH / 2;
        let region: Vec<Key> = self.region(center, found.radius_bits);
        for position in region {
            let Some(entry) = self.keys.get_mut(&position).filter(|entry| entry.due <= soon) else { continue };
            self.due.remove(&(entry.due, position));
            entry.due = now + limits::DHT_REPUBLISH;
            self.due.insert((entry.due, position));
            let nearest = query::select(&position, found.expected, found.replicas, &found.nodes);
            let hosts = hosts.iter().filter(|(_, shards)| shards.contains(&position)).map(|(contact, _)| contact);
            let mut told: Vec<&Node> = Vec::new();
            for contact in nearest.into_iter().chain(hosts) {
                if !told.contains(&&contact.node) {
                    told.push(&contact.node);
                    let of = per_node.entry(contact.node.clone()).or_insert_with(|| (contact.clone(), Vec::new()));
                    of.1.push(entry.lookup);
                }
            }
        }
        let mut nodes: Vec<(Contact, Vec<FileHash>)> = per_node.into_values().collect();
        nodes.sort_by_cached_key(|(contact, _)| center.distance(contact.node.key()));
        for (to, keys) in nodes {
            let ours = is_ours(&to.node);
            self.queue.extend(keys.chunks(limits::DHT_BATCH).map(|keys| Provide {
                to: to.clone(),
                ours,
                keys: keys.to_vec(),
            }));
        }
    }

    /// Keys that share so many bits with this one.
    fn region(&self, center: Key, bits: u32) -> Vec<Key> {
        let bound = |fill: u8| {
            Key::from_bytes(std::array::from_fn(|index| {
                let kept = (bits as usize).saturating_sub(8 * index).min(8);
                let mask = (0xff00_u16 >> kept) as u8;
                center.as_bytes()[index] & mask | fill & !mask
            }))
        };
        self.keys.range(bound(0)..=bound(0xff)).map(|(key, _)| *key).collect()
    }

    /// The next announcements to send now, as fast as allowed.
    pub fn next_message(&mut self, now: Time) -> Option<Provide> {
        self.tokens = (self.tokens + now.since(self.counted).as_secs_f64() * RATE).min(BURST);
        self.counted = now;
        // Rounding must not hold up what is due at this very moment.
        if self.tokens < 1.0 - 1e-6 {
            return None;
        }
        let mut next = self.queue.pop_front()?;
        // Withdrawn in the meantime.
        next.keys.retain(|lookup| self.keys.contains_key(&self.placement.of(lookup)));
        // A stock node takes one key a message.
        self.tokens -= if next.ours { 1.0 } else { next.keys.len() as f64 };
        Some(next)
    }

    /// When something is to do. `lookups` says whether regions may be looked up.
    pub fn next_timeout(&self, lookups: bool) -> Option<Time> {
        let send = (!self.queue.is_empty())
            .then(|| self.counted + Duration::from_secs_f64(((1.0 - self.tokens) / RATE).max(0.0)));
        let room = lookups && self.active.is_empty() && self.queue.len() < limits::DHT_ANNOUNCE_QUEUE;
        let look = self.due.first().filter(|_| room).map(|(due, _)| (*due).max(self.pause));
        send.into_iter().chain(look).min()
    }

    /// Messages waiting to be sent.
    pub fn queued(&self) -> usize {
        self.queue.len()
    }
}

const RATE: f64 = limits::DHT_ANNOUNCE_RATE as f64;
/// Due keys looked at for one of another region.
const LOOKED_AT: usize = 5000;

/// What a lookup found around a key.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// Nodes that are most likely alive, nearest first.
    pub nodes: Vec<Contact>,
    /// Keys that share so many bits with the one looked up have their nearest nodes among these.
    pub radius_bits: u32,
    /// Size of the network that lookups reckon with.
    pub expected: f64,
    /// Nodes that each key is announced to.
    pub replicas: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contact(number: u32) -> Contact {
        let [_, b, c, d] = number.to_be_bytes();
        let node = Node::from_bytes(&number.to_be_bytes()).expect("an id");
        Contact::new(node, [vec![4, 20 + b, c, d, 1, 6, 0, 80]])
    }

    fn lookup(number: u32) -> FileHash {
        FileHash::of(&number.to_be_bytes())
    }

    /// All that is around: the lookup of a region in a network where everybody is known.
    fn around(center: Key, all: &[Contact]) -> Surroundings {
        let mut nodes = all.to_vec();
        nodes.sort_by_cached_key(|one| center.distance(one.node.key()));
        let radius_bits = center.shared_bits(nodes[limits::DHT_K - 1].node.key()) + 1;
        nodes.truncate(3 * limits::DHT_K);
        Surroundings { nodes, radius_bits, expected: 2.0 * all.len() as f64, replicas: limits::DHT_K }
    }

    #[test]
    fn one_lookup_serves_a_region_and_nothing_is_left_out() {
        let all: Vec<Contact> = (0..1000).map(contact).collect();
        let mut announcer = Announcer::default();
        for number in 0..20_000 {
            assert!(announcer.announce(Time::ZERO, lookup(number)));
        }
        let (mut now, mut lookups, mut messages) = (Time::ZERO, 0, 0);
        let mut told: HashMap<FileHash, Vec<Node>> = HashMap::new();
        loop {
            while let Some((center, _)) = announcer.next_region(now, 1000.0) {
                lookups += 1;
                announcer.region_found(now, center, &around(center, &all), &[], |_| true);
            }
            while let Some(provide) = announcer.next_message(now) {
                messages += 1;
                assert!(provide.keys.len() <= limits::DHT_BATCH);
                for key in provide.keys {
                    told.entry(key).or_default().push(provide.to.node.clone());
                }
            }
            match announcer.next_timeout(true) {
                Some(next) if next < Time::ZERO + limits::DHT_REPUBLISH => now = now.max(next),
                _ => break,
            }
        }
        assert_eq!(told.len(), 20_000);
        assert!((30..150).contains(&lookups), "{lookups}");
        assert!(messages < 20_000, "{messages}");
        let seconds = f64::from(messages) / f64::from(limits::DHT_ANNOUNCE_RATE);
        assert!(now.since(Time::ZERO).as_secs_f64() >= seconds - 3.0, "faster than allowed");
        // The nodes told are those that a searcher will ask.
        let mut right = 0;
        for number in (0..20_000).step_by(100) {
            let position = Placement::Hashed.of(&lookup(number));
            let mut nearest = all.clone();
            nearest.sort_by_cached_key(|one| position.distance(one.node.key()));
            let of = &told[&lookup(number)];
            assert_eq!(of.len(), limits::DHT_K);
            right += nearest[..limits::DHT_K].iter().filter(|one| of.contains(&one.node)).count();
        }
        assert!(right >= 200 * limits::DHT_K * 8 / 10, "{right} of {}", 200 * limits::DHT_K);
    }

    #[test]
    fn nobody_found_is_tried_again_later() {
        let mut announcer = Announcer::default();
        announcer.announce(Time::ZERO, lookup(1));
        let (center, _) = announcer.next_region(Time::ZERO, 1.0).expect("due");
        assert_eq!(announcer.next_timeout(true), None, "being looked up");
        announcer.region_found(Time::ZERO, center, &Surroundings::default(), &[], |_| true);
        assert_eq!(announcer.next_region(Time::ZERO, 1.0), None);
        let again = Time::ZERO + limits::DHT_ANNOUNCE_RETRY;
        assert_eq!(announcer.next_timeout(true), Some(again));
        assert!(announcer.next_region(again, 1.0).is_some());
    }

    #[test]
    fn what_is_withdrawn_is_not_sent() {
        let mut announcer = Announcer::default();
        announcer.announce(Time::ZERO, lookup(1));
        let (center, _) = announcer.next_region(Time::ZERO, 1.0).expect("due");
        let found = Surroundings { nodes: vec![contact(1)], radius_bits: 0, expected: 2.0, replicas: 20 };
        announcer.region_found(Time::ZERO, center, &found, &[], |_| false);
        announcer.withdraw(&lookup(1));
        assert_eq!(announcer.next_message(Time::ZERO).map(|message| message.keys), Some(vec![]));
        assert!(announcer.is_empty() && announcer.next_timeout(true).is_none());
    }

    #[test]
    fn stock_nodes_cost_a_message_for_each_key() {
        let mut announcer = Announcer::default();
        (0..200).for_each(|number| assert!(announcer.announce(Time::ZERO, lookup(number))));
        let (center, _) = announcer.next_region(Time::ZERO, 1.0).expect("due");
        let found = Surroundings { nodes: vec![contact(1)], radius_bits: 0, expected: 2.0, replicas: 20 };
        announcer.region_found(Time::ZERO, center, &found, &[], |_| false);
        assert_eq!(announcer.next_message(Time::ZERO).map(|message| message.keys.len()), Some(100));
        assert_eq!(announcer.next_message(Time::ZERO), None);
        let next = announcer.next_timeout(true).expect("more");
        assert!(next.since(Time::ZERO) >= Duration::from_secs(2));
        assert_eq!(announcer.next_message(next).map(|message| message.keys.len()), Some(100));
    }
}
