//! The table of known peers: merge, deduplicate, rank, forget. Pure.
//! Not here: dialling, persistence, or asking anybody.
//!
//! Peers with an id and bare addresses are stored apart and joined when they are read: a bare address that a known
//! peer also has is shown as that peer. So the order in which records arrive cannot change what a lookup returns, as
//! long as nothing had to be forgotten for room.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::ids::{ContentKey, FileHash, PeerId};
use crate::base::limits;
use crate::base::node_type::NodeType;
use crate::base::time::Time;

use super::candidate::{Candidate, SourceKind};

/// Known peers and who may have which key.
#[derive(Debug)]
pub struct PeerTable {
    bounds: Bounds,
    records: BTreeMap<Name, Record>,
    /// Which peers have an address, for joining bare addresses with peers.
    owners: BTreeMap<String, BTreeSet<PeerId>>,
    /// `None` holds those that may have everything. The time is when a peer was last seen to have the key.
    keys: BTreeMap<Option<FileHash>, BTreeMap<Name, Time>>,
}

/// What a table holds at most, each at least 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Peers and bare addresses in all.
    pub peers: usize,
    /// Keys for which peers are remembered.
    pub keys: usize,
    /// Peers remembered per key.
    pub peers_per_key: usize,
}

impl From<NodeType> for Bounds {
    fn from(kind: NodeType) -> Self {
        Self { peers: kind.max_peers(), keys: kind.max_keys(), peers_per_key: kind.max_peers_per_key() }
    }
}

/// What a table knows of one peer, to be kept over a restart.
#[derive(Clone, Debug, PartialEq)]
pub struct Known {
    /// Who and where.
    pub candidate: Candidate,
    /// Whether a connection to it worked.
    pub worked: bool,
    /// When it was last heard of.
    pub seen: Time,
    /// What it may have; `None` stands for everything.
    pub keys: Vec<Option<FileHash>>,
}

/// What a record is stored under.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Name {
    Id(PeerId),
    Address(String),
}

/// How contact with a peer or address went last. The order is the order of preference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Standing {
    Failed,
    Unknown,
    Worked,
}

#[derive(Debug)]
struct Record {
    addresses: BTreeMap<String, Address>,
    source: SourceKind,
    confidence: f64,
    standing: Standing,
    failures: u32,
    seen: Time,
}

#[derive(Clone, Copy, Debug)]
struct Address {
    confidence: f64,
    standing: Standing,
}

impl PeerTable {
    /// An empty table.
    pub fn new(bounds: Bounds) -> Self {
        let Bounds { peers, keys, peers_per_key } = bounds;
        Self {
            bounds: Bounds { peers: peers.max(1), keys: keys.max(1), peers_per_key: peers_per_key.max(1) },
            records: BTreeMap::new(),
            owners: BTreeMap::new(),
            keys: BTreeMap::new(),
        }
    }

    /// Merges a candidate, as having `key` or, without one, as a possible source of everything. A candidate without
    /// an id counts as one peer per address. True if this told the table anything new: a peer, an address, or that
    /// it has the key.
    pub fn insert(&mut self, now: Time, candidate: &Candidate, key: Option<&ContentKey>) -> bool {
        self.add(now, candidate, key.map(ContentKey::lookup_key))
    }

    fn add(&mut self, now: Time, candidate: &Candidate, key: Option<FileHash>) -> bool {
        let mut new = false;
        for name in names(candidate) {
            new |= self.merge(now, &name, candidate);
            let members = self.keys.entry(key).or_default();
            let seen = members.entry(name).or_insert_with(|| {
                new = true;
                now
            });
            *seen = now.max(*seen);
        }
        self.forget_surplus(key);
        new
    }

    /// Peers that may have the key, best first: those that worked, then by confidence, then by name.
    pub fn lookup(&self, key: &ContentKey) -> Vec<Candidate> {
        let members = [Some(key.lookup_key()), None].into_iter().filter_map(|key| self.keys.get(&key));
        self.view(members.flat_map(BTreeMap::keys))
    }

    /// Every known peer, best first.
    pub fn peers(&self) -> Vec<Candidate> {
        self.view(self.records.keys())
    }

    /// Everything it knows, for keeping it over a restart.
    pub fn export(&self) -> Vec<Known> {
        let mut keys: BTreeMap<&Name, Vec<Option<FileHash>>> = BTreeMap::new();
        for (key, members) in &self.keys {
            for name in members.keys() {
                keys.entry(name).or_default().push(*key);
            }
        }
        let known = |(name, record): (&Name, &Record)| {
            let id = match name {
                Name::Id(id) => Some(id.clone()),
                Name::Address(_) => None,
            };
            let (addresses, source, confidence) = (record.ranked_addresses(), record.source, record.confidence);
            Known {
                candidate: Candidate { id, addresses, source, confidence },
                worked: record.standing == Standing::Worked,
                seen: record.seen,
                keys: keys.remove(name).unwrap_or_default(),
            }
        };
        self.records.iter().map(known).collect()
    }

    /// Takes back what was exported.
    pub fn import(&mut self, known: &Known) {
        for key in &known.keys {
            self.add(known.seen, &known.candidate, *key);
        }
        if known.worked
            && let Some(id) = &known.candidate.id
        {
            self.record_success(known.seen, id, None);
        }
    }

    /// One peer by its id.
    pub fn peer(&self, id: &PeerId) -> Option<Candidate> {
        self.view([Name::Id(id.clone())].iter()).pop()
    }

    /// What the table knows about the peers a candidate names, best first; empty if they were forgotten.
    pub fn merged(&self, candidate: &Candidate) -> Vec<Candidate> {
        self.view(names(candidate).iter())
    }

    /// Peers and bare addresses held, for checking the bound.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether nobody is known.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// A connection worked. `address` is the one that did, if known; a bare address becomes this peer's.
    pub fn record_success(&mut self, now: Time, peer: &PeerId, address: Option<&str>) {
        let name = Name::Id(peer.clone());
        if !self.records.contains_key(&name) {
            let source = address.and_then(|address| self.records.get(&Name::Address(address.to_owned())));
            let source = source.map_or(SourceKind::Pex, |record| record.source);
            let addresses = address.iter().map(ToString::to_string).collect();
            self.merge(now, &name, &Candidate::new(Some(peer.clone()), addresses, source));
        }
        if let Some(record) = self.records.get_mut(&name) {
            record.standing = Standing::Worked;
            record.failures = 0;
            record.seen = now.max(record.seen);
            let confidence = record.confidence;
            if let Some(address) = address {
                let entry = record.addresses.entry(address.to_owned());
                entry.or_insert(Address { confidence, standing: Standing::Unknown }).standing = Standing::Worked;
                self.owners.entry(address.to_owned()).or_default().insert(peer.clone());
                self.trim_addresses(&name);
            }
        }
        self.forget_surplus(None);
    }

    /// A connection failed; without an address, on all of them. A peer that has another address which worked keeps
    /// its standing.
    pub fn record_failure(&mut self, now: Time, peer: &PeerId, address: Option<&str>) {
        self.fail(now, &Name::Id(peer.clone()), address);
    }

    /// A bare address could not be reached.
    pub fn record_unreachable(&mut self, now: Time, address: &str) {
        self.fail(now, &Name::Address(address.to_owned()), Some(address));
    }

    fn fail(&mut self, now: Time, name: &Name, address: Option<&str>) {
        let Some(record) = self.records.get_mut(name) else { return };
        record.seen = now.max(record.seen);
        for (text, entry) in &mut record.addresses {
            if address.is_none_or(|address| address == text) {
                entry.standing = Standing::Failed;
            }
        }
        let best = record.addresses.values().map(|entry| entry.standing).max();
        record.failures = record.failures.saturating_add(1);
        record.standing = best.unwrap_or(Standing::Failed);
    }

    /// Adds a candidate's knowledge to one record; true if it is a new record or has a new address.
    fn merge(&mut self, now: Time, name: &Name, candidate: &Candidate) -> bool {
        let confidence = sane(candidate.confidence, candidate.source);
        let mut new = false;
        let record = self.records.entry(name.clone()).or_insert_with(|| {
            new = true;
            Record::new(now, candidate.source, confidence)
        });
        record.seen = now.max(record.seen);
        // The better origin wins whichever came first; equal confidence is settled by the order of the kinds.
        if (confidence, candidate.source.rank()) > (record.confidence, record.source.rank()) {
            record.confidence = confidence;
            record.source = candidate.source;
        }
        let before: Vec<String> = record.addresses.keys().cloned().collect();
        let addresses = match name {
            Name::Id(_) => candidate.addresses.as_slice(),
            Name::Address(address) => std::slice::from_ref(address),
        };
        for address in addresses {
            let fresh = Address { confidence, standing: Standing::Unknown };
            let entry = record.addresses.entry(address.clone()).or_insert(fresh);
            entry.confidence = entry.confidence.max(confidence);
            if let Name::Id(id) = name {
                self.owners.entry(address.clone()).or_default().insert(id.clone());
            }
        }
        self.trim_addresses(name);
        let known = self.records.get(name).is_some_and(|record| record.addresses.keys().eq(before.iter()));
        new || !known
    }

    /// Keeps the best addresses. The best N of a growing set do not depend on the order in which it grew.
    fn trim_addresses(&mut self, name: &Name) {
        let Some(record) = self.records.get_mut(name) else { return };
        while record.addresses.len() > limits::MAX_ADDRESSES_PER_PEER {
            let Some(worst) = record.ranked_addresses().pop() else { return };
            record.addresses.remove(&worst);
            if let Name::Id(id) = name {
                disown(&mut self.owners, &worst, id);
            }
        }
    }

    /// Forgets the least useful: what failed first, then what was not seen for longest.
    fn forget_surplus(&mut self, key: Option<FileHash>) {
        if let Some(members) = self.keys.get_mut(&key) {
            while members.len() > self.bounds.peers_per_key {
                let worst = members.iter().min_by(|left, right| {
                    let rank = |(name, seen): &(&Name, &Time)| (self.records.get(*name).map(Record::worth), **seen);
                    rank(left).cmp(&rank(right)).then_with(|| right.0.cmp(left.0))
                });
                let Some(worst) = worst.map(|(name, _)| name.clone()) else { break };
                members.remove(&worst);
            }
        }
        while self.records.len() > self.bounds.peers {
            let worst = self.records.iter().min_by(|left, right| {
                let rank = |record: &Record| (record.worth(), record.seen);
                rank(left.1).cmp(&rank(right.1)).then_with(|| right.0.cmp(left.0))
            });
            let Some(worst) = worst.map(|(name, _)| name.clone()) else { break };
            self.forget(&worst);
        }
        while self.keys.len() - usize::from(self.keys.contains_key(&None)) > self.bounds.keys {
            // `None`, the peers that may have everything, are never the ones to go.
            let keys = self.keys.iter().filter(|(key, _)| key.is_some());
            let Some(oldest) = keys.min_by_key(|(_, members)| members.values().max().copied()).map(|(key, _)| *key)
            else {
                break;
            };
            self.keys.remove(&oldest);
        }
    }

    fn forget(&mut self, name: &Name) {
        let Some(record) = self.records.remove(name) else { return };
        if let Name::Id(id) = name {
            for address in record.addresses.keys() {
                disown(&mut self.owners, address, id);
            }
        }
        self.keys.retain(|_, members| {
            members.remove(name);
            !members.is_empty()
        });
    }

    /// Joins bare addresses with the peers that have them, and sorts.
    fn view<'a>(&self, names: impl Iterator<Item = &'a Name>) -> Vec<Candidate> {
        let mut best: BTreeMap<&Name, (Standing, f64)> = BTreeMap::new();
        let mut add = |name: &Name, standing: Standing, confidence: f64| {
            if let Some((name, _)) = self.records.get_key_value(name) {
                let entry = best.entry(name).or_insert((standing, confidence));
                *entry = (entry.0.max(standing), entry.1.max(confidence));
            }
        };
        for name in names {
            let Some(record) = self.records.get(name) else { continue };
            let owners = match name {
                Name::Address(address) => self.owners.get(address),
                Name::Id(_) => None,
            };
            match owners {
                None => add(name, record.standing, record.rated()),
                Some(owners) => {
                    for owner in owners.iter().cloned().map(Name::Id) {
                        let Some(peer) = self.records.get(&owner) else { continue };
                        add(&owner, peer.standing, peer.rated().max(record.rated()));
                    }
                }
            }
        }
        let mut ranked: Vec<_> = best.into_iter().collect();
        // Stable sort over a sorted map: equals stay in the order of their names.
        ranked.sort_by(|(_, left), (_, right)| right.0.cmp(&left.0).then(right.1.total_cmp(&left.1)));
        ranked
            .into_iter()
            .filter_map(|(name, (_, confidence))| {
                let record = self.records.get(name)?;
                let id = match name {
                    Name::Id(id) => Some(id.clone()),
                    Name::Address(_) => None,
                };
                Some(Candidate { id, addresses: record.ranked_addresses(), source: record.source, confidence })
            })
            .collect()
    }
}

impl Record {
    fn new(seen: Time, source: SourceKind, confidence: f64) -> Self {
        Self { addresses: BTreeMap::new(), source, confidence, standing: Standing::Unknown, failures: 0, seen }
    }

    /// Confidence corrected by experience: half way to certainty after success, halved by every failure in a row.
    fn rated(&self) -> f64 {
        match self.standing {
            Standing::Worked => self.confidence.midpoint(1.0),
            Standing::Unknown => self.confidence,
            Standing::Failed => self.confidence * 0.5_f64.powi(self.failures.min(16) as i32),
        }
    }

    /// What speaks against forgetting it. What the user named counts like what worked.
    fn worth(&self) -> Standing {
        if self.source == SourceKind::Manual { Standing::Worked } else { self.standing }
    }

    fn ranked_addresses(&self) -> Vec<String> {
        let mut ranked: Vec<_> = self.addresses.iter().collect();
        ranked.sort_by(|(_, left), (_, right)| {
            right.standing.cmp(&left.standing).then(right.confidence.total_cmp(&left.confidence))
        });
        ranked.into_iter().map(|(text, _)| text.clone()).collect()
    }
}

fn names(candidate: &Candidate) -> Vec<Name> {
    match &candidate.id {
        Some(id) => vec![Name::Id(id.clone())],
        None => candidate.addresses.iter().take(limits::MAX_ADDRESSES_PER_PEER).cloned().map(Name::Address).collect(),
    }
}

fn disown(owners: &mut BTreeMap<String, BTreeSet<PeerId>>, address: &str, id: &PeerId) {
    if let Some(ids) = owners.get_mut(address) {
        ids.remove(id);
        if ids.is_empty() {
            owners.remove(address);
        }
    }
}

fn sane(confidence: f64, source: SourceKind) -> f64 {
    if confidence.is_nan() { source.default_confidence() } else { confidence.clamp(0.0, 1.0) }
}
