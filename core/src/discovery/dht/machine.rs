//! One node of the distributed hash table: answers others, looks things up, announces. Pure: time comes with each call,
//! randomness from a seed. Not here: sockets, signatures, text of addresses (`driver`), and answering (`answers`).
//!
//! Why not libp2p's own Kademlia: its lookups for providers take no disjoint paths, what it keeps of others cannot be
//! judged before it is kept, it knows no shards, and it cannot be run in virtual time. On the wire it is the same; our
//! additions are fields that others ignore (see [`message`](super::message)).

mod answers;
mod lookups;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::announce::{Announcer, Provide};
use super::contact::Contact;
use super::key::{Key, Node, Placement};
use super::message::{Kind, Message};
use super::routing::{Heard, Routing};
use super::shard::{Hosts, Shards};
use super::snapshot::{self, Known};
use super::store::{Record, Store};
use crate::base::ids::FileHash;
use crate::base::limits;
use crate::base::random::Jitter;
use crate::base::time::Time;
use crate::nat::policy::Scope;

use lookups::{Lookup, Purpose};

/// What a machine is told at its start.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Who we are.
    pub node: Node,
    /// Where the records of this network lie.
    pub placement: Placement,
    /// Milliseconds since 1970 at [`Time::ZERO`], to judge the age of signed announcements.
    pub epoch_ms: u64,
    /// Records kept for others.
    pub capacity: usize,
    /// Our shards; none for an ordinary node.
    pub shards: Shards,
    /// Disjoint paths of a lookup, at least one.
    pub paths: usize,
    /// Choices follow from it.
    pub seed: u64,
}

/// What is to be done outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Ask this node; its answer goes to [`Machine::response`], its silence to [`Machine::failed`].
    Send {
        /// Names the request.
        request: u64,
        /// Whom.
        to: Contact,
        /// What.
        message: Message,
    },
    /// Tell this node that we provide keys. There is no answer.
    Provide(Provide),
    /// A lookup found a provider, or a signed announcement of one that was unsigned before.
    Found {
        /// Which lookup.
        lookup: u64,
        /// Who and where.
        provider: Contact,
        /// Its signed announcement.
        announcement: Option<Vec<u8>>,
        /// How many answers led to it.
        hops: u32,
    },
    /// A lookup is over.
    Done {
        /// Which.
        lookup: u64,
        /// How it went.
        summary: Summary,
    },
    /// A lookup for nodes is over.
    Nodes {
        /// Which.
        lookup: u64,
        /// Those nearest to the target that answered, nearest first.
        nodes: Vec<Contact>,
    },
    /// Nobody is known any more: the bootstrap list should be tried.
    Lost,
}

/// How a lookup went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Nodes asked.
    pub asked: usize,
    /// Providers reported.
    pub found: usize,
    /// Nodes near to the key that answered.
    pub nearest: usize,
}

/// A request under way.
#[derive(Debug)]
struct Request {
    to: Contact,
    lookup: Option<u64>,
    hops: u32,
    sent: Time,
}

/// The machine. After each call, outputs wait in [`Machine::poll`], and [`Machine::next_timeout`] may have changed.
#[derive(Debug)]
pub struct Machine {
    node: Node,
    placement: Placement,
    epoch_ms: u64,
    shards: Shards,
    encoded_shards: Vec<u8>,
    paths: usize,
    jitter: Jitter,
    routing: Routing,
    store: Store,
    hosts: Hosts,
    announcer: Announcer,
    lookups: BTreeMap<u64, Lookup>,
    requests: BTreeMap<u64, Request>,
    next_id: u64,
    refreshes: VecDeque<u32>,
    next_refresh: Time,
    /// Tells once that nobody is known.
    lost: bool,
    /// The table has been filled once, so that it says how large the network is.
    joined: bool,
    /// A lookup to fill the table has been started.
    refreshed: bool,
    outputs: VecDeque<Output>,
}

impl Machine {
    /// A node that knows nobody.
    pub fn new(setup: Setup) -> Self {
        Self {
            routing: Routing::new(setup.node.clone()),
            node: setup.node,
            placement: setup.placement,
            epoch_ms: setup.epoch_ms,
            encoded_shards: setup.shards.encode(),
            shards: setup.shards,
            paths: setup.paths.max(1),
            jitter: Jitter::from_seed(setup.seed),
            store: Store::new(setup.capacity),
            hosts: Hosts::default(),
            announcer: Announcer::new(setup.placement),
            lookups: BTreeMap::new(),
            requests: BTreeMap::new(),
            next_id: 0,
            refreshes: VecDeque::new(),
            next_refresh: Time::ZERO,
            lost: false,
            joined: false,
            refreshed: false,
            outputs: VecDeque::new(),
        }
    }

    /// Who we are.
    pub const fn node(&self) -> &Node {
        &self.node
    }

    /// Our shards.
    pub const fn shards(&self) -> &Shards {
        &self.shards
    }

    /// Nodes in the routing table.
    pub const fn known(&self) -> usize {
        self.routing.len()
    }

    /// Whether the routing table has been filled once; nothing is announced before.
    pub const fn is_joined(&self) -> bool {
        self.joined
    }

    /// Records kept for others.
    pub const fn records(&self) -> usize {
        self.store.len()
    }

    /// A node is there and serves the DHT: it identified itself on an authenticated link.
    pub fn heard(&mut self, now: Time, contact: &Contact) {
        let was_lost = self.routing.is_empty();
        self.note(now, contact);
        if was_lost && !self.routing.is_empty() {
            self.lost = false;
            self.next_refresh = now;
        }
        self.pump(now);
    }

    fn note(&mut self, now: Time, contact: &Contact) {
        if let Heard::Doubt(silent) = self.routing.heard(now, contact) {
            let asked = self.requests.values().any(|request| request.to.node == silent.node);
            if !asked && self.requests.len() < limits::DHT_OUTBOUND {
                self.send(now, None, silent, 0, Message::new(Kind::Ping, Vec::new()));
            }
        }
    }

    /// Announces a key from now on; `false` without room for it.
    pub fn announce(&mut self, now: Time, lookup: FileHash) -> bool {
        let room = self.announcer.announce(now, lookup);
        self.pump(now);
        room
    }

    /// Announces a key no longer.
    pub fn withdraw(&mut self, lookup: &FileHash) {
        self.announcer.withdraw(lookup);
    }

    /// What we say of a key has changed: it is announced again.
    pub fn renew_one(&mut self, now: Time, lookup: &FileHash) {
        self.announcer.renew_one(now, lookup);
        self.pump(now);
    }

    /// Our addresses have changed: everything is announced again.
    pub fn renew(&mut self, now: Time) {
        self.announcer.renew(now);
        self.pump(now);
    }

    /// What we announce at the position of a record's key.
    pub fn announces(&self, key: &[u8]) -> Option<FileHash> {
        self.announcer.at(&self.placement.position(key))
    }

    /// The number of keys announced, and of messages that wait to be sent for them.
    pub fn announced(&self) -> (usize, usize) {
        (self.announcer.len(), self.announcer.queued())
    }

    /// Looks for providers. `None` with too many lookups under way.
    pub fn search(&mut self, now: Time, lookup: &FileHash) -> Option<u64> {
        if self.lookups.len() >= limits::DHT_LOOKUPS {
            return None;
        }
        let key = self.placement.record_key(lookup);
        let id = self.start(now, key, Purpose::providers());
        self.pump(now);
        Some(id)
    }

    /// Looks for the nodes nearest to where these bytes are kept. `None` with too many lookups under way.
    pub fn find_node(&mut self, now: Time, key: Vec<u8>) -> Option<u64> {
        if self.lookups.len() >= limits::DHT_LOOKUPS {
            return None;
        }
        let id = self.start(now, key, Purpose::Nodes);
        self.pump(now);
        Some(id)
    }

    /// The nodes nearest to the target of a lookup that have answered so far, nearest first.
    pub fn nearest_in(&self, lookup: u64) -> Vec<Contact> {
        self.lookups.get(&lookup).map(|lookup| lookup.query.closest()).unwrap_or_default()
    }

    /// Ends a lookup; nothing more is told of it.
    pub fn cancel(&mut self, lookup: u64) {
        self.lookups.remove(&lookup);
    }

    /// A node answered. `scope` says how near it is, and so which addresses it may name. Announcements in the answer
    /// must have been verified.
    pub fn response(&mut self, now: Time, request: u64, answer: &Message, scope: Scope) {
        let Some(Request { to, lookup, hops, .. }) = self.requests.remove(&request) else { return };
        self.note(now, &to);
        if let Some(shards) = answer.shards.as_deref().and_then(Shards::decode) {
            self.hosts.note(now, &to, shards, true);
        }
        if let Some(lookup) = lookup {
            self.answered(now, lookup, &to, hops, answer, scope);
        }
        self.pump(now);
    }

    /// A node did not answer, or not as it should.
    pub fn failed(&mut self, now: Time, request: u64) {
        let Some(request) = self.requests.remove(&request) else { return };
        self.drop_request(&request);
        self.pump(now);
    }

    /// A node is not where it was said to be, by those who would know.
    pub fn gone(&mut self, now: Time, request: u64) {
        if let Some(request) = self.requests.get(&request) {
            self.routing.gone(&request.to.node);
        }
        self.failed(now, request);
    }

    fn drop_request(&mut self, request: &Request) {
        self.routing.failed(&request.to.node);
        self.hosts.failed(&request.to.node);
        if let Some(lookup) = request.lookup.and_then(|lookup| self.lookups.get_mut(&lookup)) {
            lookup.query.failed(&request.to.node);
        }
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Time) {
        while let Some(first) = self.requests.first_entry()
            && now.since(first.get().sent) >= limits::DHT_REQUEST
        {
            let request = first.remove();
            self.drop_request(&request);
        }
        for lookup in self.lookups.values_mut() {
            lookup.query.mark_slow(now);
        }
        if now >= self.next_refresh {
            self.next_refresh = now + limits::DHT_REFRESH / 10;
            if self.routing.is_empty() {
                if !std::mem::replace(&mut self.lost, true) {
                    self.outputs.push_back(Output::Lost);
                }
            } else {
                self.lost = false;
                let due = self.routing.due(now);
                self.refreshes.extend(due.into_iter().take(Key::BITS as usize - self.refreshes.len()));
            }
        }
        self.store.sweep(now);
        self.pump(now);
    }

    /// When [`Machine::handle_timeout`] is wanted at the latest.
    pub fn next_timeout(&self) -> Option<Time> {
        let request = self.requests.values().next().map(|request| request.sent + limits::DHT_REQUEST);
        let lookups = self.lookups.values().flat_map(|lookup| {
            [Some(lookup.started + limits::DHT_LOOKUP), lookup.query.next_timeout()].into_iter().flatten()
        });
        let announcing = self.announcer.next_timeout(self.joined && !self.routing.is_empty());
        lookups.chain(request).chain(announcing).chain([self.next_refresh]).min()
    }

    /// What is to be done next.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn send(&mut self, now: Time, lookup: Option<u64>, to: Contact, hops: u32, mut message: Message) {
        message.shards = Some(self.encoded_shards.clone());
        self.next_id += 1;
        let request = self.next_id;
        self.requests.insert(request, Request { to: to.clone(), lookup, hops, sent: now });
        self.outputs.push_back(Output::Send { request, to, message });
    }

    /// How long an announcement still holds, and when it was signed. `None` if it does not, or is none.
    fn validity(&self, now: Time, announcement: &[u8]) -> Option<(u64, Duration)> {
        let announcement = crate::wire::announcement::Announcement::decode(announcement).ok()?.announcement;
        let now_ms = self.epoch_ms.saturating_add(now.as_micros() / 1000);
        if !announcement.holds_at(now_ms) {
            return None;
        }
        let ttl = announcement.ttl.min(limits::MAX_ANNOUNCEMENT_TTL).as_millis() as u64;
        let left = announcement.issued_ms.saturating_add(ttl).saturating_sub(now_ms);
        // A clock that is behind ours does not make it invalid before its time, nor one ahead valid for longer. Whatever
        // the clocks say, it was signed before it came.
        let least = limits::MAX_CLOCK_SKEW.min(Duration::from_millis(ttl));
        let left = Duration::from_millis(left).clamp(least, limits::DHT_RECORD_TTL);
        Some((announcement.issued_ms, left))
    }

    /// What is known, as bytes for the next run.
    pub fn save(&self, now: Time) -> Vec<u8> {
        let mut writer = snapshot::Writer::default();
        let now_ms = self.epoch_ms.saturating_add(now.as_micros() / 1000);
        let nodes = self.routing.contacts().all(|contact| writer.node(contact));
        let mut records = self.store.records().take_while(|_| nodes);
        records.all(|(key, record)| {
            let left = u64::try_from(record.expires.since(now).as_millis()).unwrap_or(u64::MAX);
            writer.record(now_ms.saturating_add(left), key, record)
        });
        writer.finish()
    }

    /// Takes over what an earlier run knew. Its nodes are asked soon whether they are still there.
    pub fn restore(&mut self, now: Time, bytes: &[u8]) {
        let now_ms = self.epoch_ms.saturating_add(now.as_micros() / 1000);
        for known in snapshot::read(bytes, now_ms) {
            match known {
                Known::Node(contact) => self.heard(now, &contact),
                Known::Record { key, provider, announcement, left } => {
                    let (announcement, issued_ms) =
                        announcement.map_or((None, 0), |(bytes, issued_ms)| (Some(bytes), issued_ms));
                    self.store.put(now, &key, Record { provider, announcement, issued_ms, expires: now + left });
                }
            }
        }
    }

    /// Sizes for tests of bounds: nodes, records, shard hosts, lookups, requests, outputs.
    pub fn sizes(&self) -> [usize; 6] {
        let Self { routing, store, hosts, lookups, requests, outputs, .. } = self;
        [routing.len(), store.len(), hosts.len(), lookups.len(), requests.len(), outputs.len()]
    }
}
