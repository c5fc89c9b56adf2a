//! The asking half of local discovery (RFC 6762 sections 5 and 7). Pure.
//! Not here: answering ([`responder`](super::responder)), sockets.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::link::Link;
use super::machine::{Output, send};
use super::names;
use super::packet::{Data, Kind, Packet, Question, Record};
use crate::base::ids::{FileHash, PeerId};
use crate::base::limits;
use crate::base::time::Time;
use crate::discovery::candidate::{Candidate, SourceKind};

/// Wait after the first query; every further wait is three times as long (section 5.2 asks for at least twice).
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// Longest wait between queries while a search lasts.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// If another host asks the same so shortly before we would, its query serves us too (section 7.3). Shorter than
/// [`FIRST_WAIT`], so that our own query coming back from the network never counts.
const OVERHEARD: Duration = Duration::from_millis(500);
/// Longest time a record is believed without being heard again (section 10), in seconds.
const MAX_TTL: u32 = 4500;
/// Longest peer id text taken from others.
const MAX_ID_BYTES: usize = 128;

#[derive(Debug)]
struct Search {
    /// Queries sent since the search began or was joined.
    sent: u32,
    next: Time,
    last: Option<Time>,
    /// Links on which somebody else has just asked the same.
    overheard: BTreeSet<u32>,
}

/// What is known of one host on one link.
#[derive(Debug, Default)]
struct Instance {
    /// Port and host name.
    service: Option<(u16, String)>,
    peer: Option<Peer>,
    addresses: Vec<IpAddr>,
    keys: BTreeMap<FileHash, Known>,
    seen: Time,
}

#[derive(Debug, PartialEq, Eq)]
struct Peer {
    id: String,
    tcp: bool,
    udp: bool,
}

/// That an instance has a key.
#[derive(Debug)]
struct Known {
    ttl: u32,
    expires: Time,
    /// The addresses that were reported last.
    shown: Vec<String>,
}

/// The asking machine.
#[derive(Debug)]
pub struct Searches {
    own_instance: String,
    running: BTreeMap<FileHash, Search>,
    instances: BTreeMap<(u32, String), Instance>,
    /// Pairs of instance and key, bounded together.
    found: usize,
    /// No query before this.
    pause_until: Time,
}

impl Searches {
    /// Nothing is searched yet. The own instance is never a result.
    pub fn new(own_instance: &str) -> Self {
        Self {
            own_instance: own_instance.to_owned(),
            running: BTreeMap::new(),
            instances: BTreeMap::new(),
            found: 0,
            pause_until: Time::ZERO,
        }
    }

    /// Starts a search, or lets it ask again soon if it runs already. False when there is no room.
    pub fn search(&mut self, now: Time, key: FileHash) -> bool {
        if let Some(search) = self.running.get_mut(&key) {
            let soonest = search.last.map_or(now, |last| now.max(last + FIRST_WAIT));
            search.next = search.next.min(soonest);
            search.sent = search.sent.min(1);
        } else if self.running.len() < limits::MAX_MDNS_SEARCHES {
            self.running.insert(key, Search { sent: 0, next: now, last: None, overheard: BTreeSet::new() });
        } else {
            return false;
        }
        true
    }

    /// Ends a search.
    pub fn end(&mut self, key: &FileHash) {
        if self.running.remove(key).is_some() {
            self.retain(|_, known_key, _| known_key != key);
        }
    }

    /// What a running search has found so far.
    pub fn known(&self, now: Time, key: &FileHash) -> Vec<Candidate> {
        let having = |instance: &&Instance| instance.keys.get(key).is_some_and(|known| known.expires > now);
        self.instances.values().filter(having).filter_map(Instance::candidate).collect()
    }

    /// Forgets what was found on a link.
    pub fn link_gone(&mut self, link: u32) {
        self.retain(|on, _, _| on != link);
    }

    /// Somebody else's query.
    pub fn query(&mut self, now: Time, link: &Link, packet: &Packet) {
        if packet.truncated {
            return;
        }
        for question in &packet.questions {
            let Some(key) = names::parse_key_name(&question.name) else { continue };
            let Some(search) = self.running.get_mut(&key) else { continue };
            // Answers the asker knows but we do not would be left out, so its query is no good for us then.
            let ours = |record: &Record| match &record.data {
                Data::Ptr(target) => self
                    .instances
                    .get(&(link.id, target.clone()))
                    .is_some_and(|instance| instance.keys.contains_key(&key)),
                _ => true,
            };
            let known = packet.answers.iter().filter(|record| record.name == question.name).all(ours);
            if known && !question.unicast && search.next.since(now) <= OVERHEARD {
                search.overheard.insert(link.id);
            }
        }
    }

    /// A response. Records nobody searches for are ignored.
    pub fn response(
        &mut self,
        now: Time,
        link: &Link,
        source: SocketAddr,
        packet: &Packet,
        out: &mut VecDeque<Output>,
    ) {
        let mut touched = BTreeSet::new();
        let records = || packet.answers.iter().chain(&packet.additional);
        for record in records() {
            if let Data::Ptr(target) = &record.data {
                self.read_pointer(now, link.id, record, target, &mut touched);
            }
        }
        let mut hosts: BTreeMap<&str, (Vec<IpAddr>, bool)> = BTreeMap::new();
        for record in records() {
            if let Data::Address(address) = record.data {
                let (addresses, flush) = hosts.entry(&record.name).or_default();
                *flush |= record.flush;
                if record.ttl > 0
                    && link.suits(address, source.ip())
                    && addresses.len() < limits::MAX_ADDRESSES_PER_PEER
                {
                    addresses.push(address);
                }
            } else if let Some(instance) = self.instances.get_mut(&(link.id, record.name.clone()))
                && instance.read(record)
            {
                touched.insert(record.name.clone());
            }
        }
        if !hosts.is_empty() {
            let on_link = (link.id, String::new())..=(link.id, char::MAX.to_string());
            for ((_, name), instance) in self.instances.range_mut(on_link) {
                let host = instance.service.as_ref().map_or("", |(_, host)| host);
                if let Some((addresses, flush)) = hosts.get(host) {
                    instance.read_addresses(addresses, *flush);
                    touched.insert(name.clone());
                }
            }
        }
        for name in touched {
            let Some(instance) = self.instances.get_mut(&(link.id, name)) else { continue };
            instance.seen = now;
            let Some(candidate) = instance.candidate() else { continue };
            for (key, known) in &mut instance.keys {
                if known.shown != candidate.addresses {
                    known.shown.clone_from(&candidate.addresses);
                    out.push_back(Output::Found { key: *key, candidate: candidate.clone() });
                }
            }
        }
    }

    /// Sends the queries that are due.
    pub fn timeout(&mut self, now: Time, links: &BTreeMap<u32, Link>, out: &mut VecDeque<Output>) {
        if now < self.pause_until || self.running.values().all(|search| search.next > now) {
            return;
        }
        self.retain(|_, _, known| known.expires > now);
        let due = self.running.iter().filter(|(_, search)| search.next <= now).map(|(key, _)| *key);
        let due: Vec<FileHash> = due.take(limits::MAX_MDNS_QUESTIONS * limits::MDNS_QUERY_BURST).collect();
        for link in links.values() {
            let asked = due.iter().filter(|key| !self.running[key].overheard.contains(&link.id));
            let asked: Vec<FileHash> = asked.copied().collect();
            for keys in asked.chunks(limits::MAX_MDNS_QUESTIONS) {
                self.ask(now, link.id, keys, out);
            }
        }
        for key in &due {
            let Some(search) = self.running.get_mut(key) else { continue };
            let wait = FIRST_WAIT.saturating_mul(3_u32.saturating_pow(search.sent)).min(LONGEST_WAIT);
            search.sent = search.sent.saturating_add(1);
            search.last = Some(now);
            search.next = now + wait;
            search.overheard.clear();
        }
        self.pause_until = now + limits::MDNS_QUERY_PAUSE;
    }

    /// When something is due.
    pub fn next_timeout(&self) -> Option<Time> {
        self.running.values().map(|search| search.next).min().map(|next| next.max(self.pause_until))
    }

    /// Entries in all tables, for checking the bounds.
    pub fn table_sizes(&self) -> usize {
        self.running.len() + self.instances.len() + self.found
    }

    fn ask(&self, now: Time, link: u32, keys: &[FileHash], out: &mut VecDeque<Output>) {
        let question = |name: String, kind| Question { name, kind, unicast: false };
        let mut questions: Vec<_> = keys.iter().map(|key| question(names::key_name(key), Kind::Ptr)).collect();
        let mut answers = Vec::new();
        for ((_, name), instance) in self.instances.range((link, String::new())..=(link, char::MAX.to_string())) {
            let known = keys.iter().filter_map(|key| Some((key, instance.keys.get(key)?)));
            let mut wanted = false;
            for (key, known) in known {
                wanted = true;
                let left = known.expires.since(now).as_secs() as u32;
                // Section 7.1: only what is good for at least half of its life.
                if left > known.ttl / 2 {
                    let data = Data::Ptr(name.clone());
                    answers.push(Record { name: names::key_name(key), ttl: left, flush: false, data });
                }
            }
            // An answer that came without its details: ask for them.
            if wanted && questions.len() < 2 * limits::MAX_MDNS_QUESTIONS {
                if instance.service.is_none() || instance.peer.is_none() {
                    questions.push(question(name.clone(), Kind::Any));
                } else if let Some((_, host)) = instance.service.as_ref().filter(|_| instance.addresses.is_empty()) {
                    questions.push(question(host.clone(), Kind::Any));
                }
            }
        }
        // Known answers beyond one packet follow in packets without questions (section 7.2).
        let mut chunks = answers.chunks(limits::MAX_MDNS_POINTERS).peekable();
        loop {
            let answers = chunks.next().map(<[Record]>::to_vec).unwrap_or_default();
            let truncated = chunks.peek().is_some();
            let questions = std::mem::take(&mut questions);
            send(out, link, None, &Packet { truncated, questions, answers, ..Packet::default() });
            if !truncated {
                break;
            }
        }
    }

    fn read_pointer(&mut self, now: Time, link: u32, record: &Record, target: &str, touched: &mut BTreeSet<String>) {
        let at = (link, target.to_owned());
        if record.name == names::SERVICE && record.ttl == 0 {
            if let Some(gone) = self.instances.remove(&at) {
                self.found -= gone.keys.len();
            }
            return;
        }
        let Some(key) = names::parse_key_name(&record.name).filter(|key| self.running.contains_key(key)) else {
            return;
        };
        if !names::is_instance(target) || target == self.own_instance {
            return;
        }
        if record.ttl == 0 {
            if let Some(instance) = self.instances.get_mut(&at)
                && instance.keys.remove(&key).is_some()
            {
                self.found -= 1;
                if instance.keys.is_empty() {
                    self.instances.remove(&at);
                }
            }
            return;
        }
        let ttl = record.ttl.min(MAX_TTL);
        let instance = self.instances.entry(at.clone()).or_default();
        instance.seen = now;
        let known = instance.keys.entry(key).or_insert_with(|| {
            self.found += 1;
            Known { ttl, expires: now, shown: Vec::new() }
        });
        known.ttl = ttl;
        known.expires = now + Duration::from_secs(u64::from(ttl));
        touched.insert(at.1.clone());
        while self.instances.len() > limits::MAX_MDNS_INSTANCES || self.found > limits::MAX_MDNS_FOUND {
            // What was reported is in the searchers' hands; forgetting it here only costs a repeated answer.
            let others = self.instances.iter().filter(|(other, _)| **other != at);
            let Some(oldest) = others.min_by_key(|(_, instance)| instance.seen).map(|(other, _)| other.clone()) else {
                break;
            };
            if let Some(gone) = self.instances.remove(&oldest) {
                self.found -= gone.keys.len();
            }
        }
    }

    fn retain(&mut self, keep: impl Fn(u32, &FileHash, &Known) -> bool) {
        let mut found = 0;
        self.instances.retain(|(link, _), instance| {
            instance.keys.retain(|key, known| keep(*link, key, known));
            found += instance.keys.len();
            !instance.keys.is_empty()
        });
        self.found = found;
    }
}

impl Instance {
    /// Takes over a service or text record; true if it was one.
    fn read(&mut self, record: &Record) -> bool {
        match &record.data {
            Data::Srv { port, host } => {
                self.service = (record.ttl > 0 && *port > 0).then(|| (*port, host.clone()));
            }
            Data::Txt(attributes) => self.peer = Peer::read(attributes),
            _ => return false,
        }
        true
    }

    fn read_addresses(&mut self, addresses: &[IpAddr], flush: bool) {
        if flush {
            // A flush replaces one family; a packet with records of only one of them says nothing about the other.
            let replaced = |old: &IpAddr| addresses.iter().any(|new| new.is_ipv4() == old.is_ipv4());
            self.addresses.retain(|old| !replaced(old));
        }
        for address in addresses {
            if !self.addresses.contains(address) && self.addresses.len() < limits::MAX_ADDRESSES_PER_PEER {
                self.addresses.push(*address);
            }
        }
        self.addresses.sort_unstable();
    }

    /// The finished result, once port, id and an address are known.
    fn candidate(&self) -> Option<Candidate> {
        let (port, _) = self.service.as_ref()?;
        let peer = self.peer.as_ref()?;
        let mut addresses = Vec::new();
        for address in &self.addresses {
            let family = if address.is_ipv4() { "ip4" } else { "ip6" };
            addresses.extend(peer.tcp.then(|| format!("/{family}/{address}/tcp/{port}")));
            addresses.extend(peer.udp.then(|| format!("/{family}/{address}/udp/{port}/quic-v1")));
        }
        addresses.truncate(limits::MAX_ADDRESSES_PER_PEER);
        let id = Some(PeerId::from_text(&peer.id));
        (!addresses.is_empty()).then(|| Candidate::new(id, addresses, SourceKind::Local))
    }
}

impl Peer {
    /// Reads `id`, `v` and `t`; unknown attributes are for newer versions (RFC 6763 section 6.4: the first of equal
    /// keys counts, without case).
    fn read(attributes: &[Vec<u8>]) -> Option<Self> {
        let value = |wanted: &str| {
            attributes.iter().find_map(|attribute| {
                let (key, value) = std::str::from_utf8(attribute).ok()?.split_once('=')?;
                key.eq_ignore_ascii_case(wanted).then_some(value)
            })
        };
        let id = value("id").filter(|id| id.len() <= MAX_ID_BYTES && !id.is_empty())?;
        if !id.bytes().all(|byte| byte.is_ascii_alphanumeric()) || value("v").is_some_and(|version| version != "1") {
            return None;
        }
        let offers = |transport: &str| value("t").is_none_or(|list| list.split(',').any(|entry| entry == transport));
        Some(Self { id: id.to_owned(), tcp: offers("tcp"), udp: offers("udp") })
    }
}
