//! The answering half of local discovery (RFC 6762 sections 6, 7, 8.3, 10.1). Pure.
//! Not here: asking ([`searches`](super::searches)), sockets.
//!
//! A content key costs nothing until somebody asks for it: it is one entry in a set. The names this node claims are
//! derived from its peer id, a hash of its public key, so nobody else can have them by accident; therefore they are
//! not probed for (section 8.1) and an answer goes out at once after the start.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use super::link::Link;
use super::machine::{Output, send};
use super::names;
use super::packet::{Data, Kind, Packet, Question, Record};
use crate::base::ids::FileHash;
use crate::base::limits;
use crate::base::random::Jitter;
use crate::base::time::Time;

/// Validity of records that change only with the service (RFC 6762 section 10), in seconds.
const LONG_TTL: u32 = 4500;
/// Validity of records that name a host or a content key: hosts move, and shares come and go.
const SHORT_TTL: u32 = 120;
/// Longest validity in replies to legacy queries (RFC 6762 section 6.7).
const LEGACY_TTL: u32 = 10;
/// A record is not multicast again before this has passed (RFC 6762 section 6).
const REPEAT: Duration = Duration::from_secs(1);
/// Answers due so soon travel with those that are due now.
const AGGREGATION: Duration = Duration::from_millis(100);
/// Unsolicited announcements of a new link (RFC 6762 section 8.3), one second apart.
const ANNOUNCEMENTS: u32 = 2;

/// Who answers.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The peer id.
    pub peer_id: String,
    /// The port, 0 for a node that only searches.
    pub port: u16,
    /// It accepts TCP.
    pub tcp: bool,
    /// It accepts QUIC.
    pub udp: bool,
}

/// What can be asked of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Item {
    /// Which services there are.
    Services,
    /// Who offers this service.
    Service,
    /// Who has this key.
    Key(FileHash),
    /// Port and attributes of this node.
    Instance,
    /// Addresses of this node.
    Host,
}

/// An answer waiting for its delay.
#[derive(Debug)]
struct Pending {
    due: Time,
    /// Not before this, even if other answers leave earlier.
    earliest: Time,
    /// The only asker, whose further known answers may make it unnecessary. Unset if there are several.
    asker: Option<SocketAddr>,
}

#[derive(Debug, Default)]
struct LinkState {
    pending: BTreeMap<Item, Pending>,
    /// When an item was last multicast here.
    answered: BTreeMap<Item, Time>,
    goodbyes: BTreeSet<FileHash>,
    /// Announcements left, and when the next is due.
    announcements: Option<(u32, Time)>,
    /// The moment up to which the answer allowance is used up.
    used_until: Time,
}

/// The answering machine.
#[derive(Debug)]
pub struct Responder {
    identity: Identity,
    instance: String,
    host: String,
    keys: BTreeSet<FileHash>,
    links: BTreeMap<u32, LinkState>,
    jitter: Jitter,
}

impl Responder {
    /// A responder without links and keys.
    pub fn new(identity: Identity, jitter: Jitter) -> Self {
        let (instance, host) = (names::instance_name(&identity.peer_id), names::host_name(&identity.peer_id));
        Self { identity, instance, host, keys: BTreeSet::new(), links: BTreeMap::new(), jitter }
    }

    /// The name this node answers with.
    pub fn instance(&self) -> &str {
        &self.instance
    }

    /// A link is new or has other addresses: announce the node there.
    pub fn link_changed(&mut self, now: Time, link: u32) {
        if self.identity.port != 0 {
            let due = now + self.delay(20, 120);
            self.links.entry(link).or_default().announcements = Some((ANNOUNCEMENTS, due));
        }
    }

    /// A link is gone.
    pub fn link_gone(&mut self, link: u32) {
        self.links.remove(&link);
    }

    /// Answers for the key from now on. False when there is no room.
    pub fn announce(&mut self, key: FileHash) -> bool {
        if !self.keys.contains(&key) && self.keys.len() >= limits::MAX_SHARED_FILES {
            return false;
        }
        self.keys.insert(key);
        for state in self.links.values_mut() {
            state.goodbyes.remove(&key);
        }
        true
    }

    /// Stops answering for the key. Links where it was answered lately hear a goodbye.
    pub fn withdraw(&mut self, now: Time, key: FileHash) {
        if !self.keys.remove(&key) {
            return;
        }
        for state in self.links.values_mut() {
            state.pending.remove(&Item::Key(key));
            if state.answered.remove(&Item::Key(key)).is_some_and(|last| is_cached(now, last)) {
                state.goodbyes.insert(key);
            }
        }
    }

    /// A query. `legacy` askers do not take part in multicast and get their own reply at once (section 6.7).
    pub fn query(
        &mut self,
        now: Time,
        link: &Link,
        source: SocketAddr,
        packet: &Packet,
        legacy: bool,
        out: &mut VecDeque<Output>,
    ) {
        if self.identity.port == 0 {
            return;
        }
        if packet.questions.is_empty() {
            self.more_known_answers(link, source, packet);
            return;
        }
        let mut direct = BTreeSet::new();
        for question in &packet.questions {
            let Some(item) = self.item(question) else { continue };
            if self.is_known(item, link, &packet.answers) {
                continue;
            }
            let state = self.links.entry(link.id).or_default();
            // Section 5.4: by unicast only what every other cache on the link still holds.
            let fresh = state.answered.get(&item).is_some_and(|last| now.since(*last) < ttl(item) / 4);
            if legacy || (question.unicast && fresh) {
                direct.insert(item);
            } else {
                self.defer(now, link.id, item, source, packet.truncated);
            }
        }
        if !direct.is_empty() && self.links.entry(link.id).or_default().take(now) {
            let questions = if legacy { packet.questions.clone() } else { Vec::new() };
            let items: Vec<Item> = direct.into_iter().take(limits::MAX_MDNS_POINTERS).collect();
            let mut reply = self.reply(&items, link);
            if legacy {
                reply.id = packet.id;
                reply.questions = questions.into_iter().filter(|question| self.item(question).is_some()).collect();
                for record in reply.answers.iter_mut().chain(&mut reply.additional) {
                    record.ttl = record.ttl.min(LEGACY_TTL);
                    record.flush = false;
                }
            }
            send(out, link.id, Some(source), &reply);
        }
    }

    /// Somebody else's response: what it already says need not be said again (section 7.4).
    pub fn response(&mut self, link: &Link, packet: &Packet) {
        let Some(state) = self.links.get(&link.id) else { return };
        let said: Vec<Item> =
            state.pending.keys().copied().filter(|item| self.is_said(*item, link, &packet.answers)).collect();
        if let Some(state) = self.links.get_mut(&link.id) {
            state.pending.retain(|item, _| !said.contains(item));
        }
    }

    /// Sends what is due.
    pub fn timeout(&mut self, now: Time, links: &BTreeMap<u32, Link>, out: &mut VecDeque<Output>) {
        for link in links.values() {
            while let Some(packet) = self.next_packet(now, link) {
                send(out, link.id, None, &packet);
            }
        }
    }

    /// When something is due.
    pub fn next_timeout(&self) -> Option<Time> {
        self.links.values().filter_map(LinkState::due).min()
    }

    /// Says goodbye on every link (section 10.1).
    pub fn stop(&mut self, now: Time, out: &mut VecDeque<Output>) {
        if self.identity.port == 0 {
            return;
        }
        for (link, state) in &self.links {
            let mut gone = vec![self.pointer(Item::Service)];
            for (item, last) in &state.answered {
                if matches!(item, Item::Key(_)) && is_cached(now, *last) {
                    gone.push(self.pointer(*item));
                }
            }
            for chunk in gone.chunks(limits::MAX_MDNS_POINTERS) {
                let answers = chunk.iter().map(|record| Record { ttl: 0, ..record.clone() }).collect();
                send(out, *link, None, &Packet { response: true, answers, ..Packet::default() });
            }
        }
        self.links.clear();
        self.keys.clear();
    }

    /// Entries in all tables, keys excepted, for checking the bounds.
    pub fn table_sizes(&self) -> usize {
        self.links.values().map(|state| state.pending.len() + state.answered.len() + state.goodbyes.len()).sum()
    }

    fn item(&self, question: &Question) -> Option<Item> {
        let asks = |kind: Kind| question.kind == kind || question.kind == Kind::Any;
        let name = question.name.as_str();
        if name == self.instance && (asks(Kind::Srv) || asks(Kind::Txt)) {
            return Some(Item::Instance);
        }
        if name == self.host && (asks(Kind::A) || asks(Kind::Aaaa)) {
            return Some(Item::Host);
        }
        if !asks(Kind::Ptr) {
            return None;
        }
        match name {
            names::SERVICE => Some(Item::Service),
            names::ALL_SERVICES => Some(Item::Services),
            _ => names::parse_key_name(name).filter(|key| self.keys.contains(key)).map(Item::Key),
        }
    }

    fn defer(&mut self, now: Time, link: u32, item: Item, source: SocketAddr, truncated: bool) {
        // Section 6: shared records wait so that answers of several hosts do not collide; section 7.2: longer if the
        // asker has more known answers to send.
        let delay = match item {
            _ if truncated => self.delay(400, 500),
            Item::Instance | Item::Host => Duration::ZERO,
            _ => self.delay(20, 120),
        };
        let state = self.links.entry(link).or_default();
        let repeat = state.answered.get(&item).map_or(Time::ZERO, |last| *last + REPEAT);
        let due = repeat.max(now + delay);
        let earliest = if truncated { due } else { repeat };
        if let Some(pending) = state.pending.get_mut(&item) {
            pending.due = pending.due.min(due);
            pending.earliest = pending.earliest.min(earliest);
            if pending.asker != Some(source) {
                pending.asker = None;
            }
        } else if state.pending.len() < limits::MAX_MDNS_PENDING {
            state.pending.insert(item, Pending { due, earliest, asker: Some(source) });
        }
    }

    fn more_known_answers(&mut self, link: &Link, source: SocketAddr, packet: &Packet) {
        let Some(state) = self.links.get(&link.id) else { return };
        let asked = state.pending.iter().filter(|(_, pending)| pending.asker == Some(source)).map(|(item, _)| *item);
        let known: Vec<Item> = asked.filter(|item| self.is_known(*item, link, &packet.answers)).collect();
        if let Some(state) = self.links.get_mut(&link.id) {
            state.pending.retain(|item, _| !known.contains(item));
        }
    }

    /// Section 7.1: the asker has it, for at least half of its life.
    fn is_known(&self, item: Item, link: &Link, known: &[Record]) -> bool {
        let (own, _) = self.records(item, link);
        let has = |own: &Record| known.iter().any(|record| same(record, own) && record.ttl >= own.ttl / 2);
        !known.is_empty() && own.iter().all(has)
    }

    fn is_said(&self, item: Item, link: &Link, said: &[Record]) -> bool {
        let (own, _) = self.records(item, link);
        !said.is_empty() && own.iter().all(|own| said.iter().any(|record| same(record, own) && record.ttl >= own.ttl))
    }

    /// The next packet that may leave now.
    fn next_packet(&mut self, now: Time, link: &Link) -> Option<Packet> {
        let state = self.links.get_mut(&link.id)?;
        if state.due().is_none_or(|due| due > now) || !state.take(now) {
            return None;
        }
        if let Some((left, due)) = state.announcements
            && due <= now
        {
            state.announcements = (left > 1).then(|| (left - 1, now + REPEAT));
            state.answered.insert(Item::Service, now);
            let (mut answers, additional) = self.records(Item::Service, link);
            answers.extend(additional);
            return Some(Packet { response: true, answers, ..Packet::default() });
        }
        if !state.goodbyes.is_empty() {
            let gone: Vec<FileHash> = state.goodbyes.iter().copied().take(limits::MAX_MDNS_POINTERS).collect();
            state.goodbyes.retain(|key| !gone.contains(key));
            let answers = gone.into_iter().map(|key| Record { ttl: 0, ..self.pointer(Item::Key(key)) }).collect();
            return Some(Packet { response: true, answers, ..Packet::default() });
        }
        let ready = |pending: &Pending| pending.earliest <= now && pending.due <= now + AGGREGATION;
        let items = state.pending.iter().filter(|(_, pending)| ready(pending)).map(|(item, _)| *item);
        let items: Vec<Item> = items.take(limits::MAX_MDNS_POINTERS).collect();
        for item in &items {
            state.pending.remove(item);
            state.remember_answer(now, *item);
        }
        (!items.is_empty()).then(|| self.reply(&items, link))
    }

    fn reply(&self, items: &[Item], link: &Link) -> Packet {
        let mut packet = Packet { response: true, ..Packet::default() };
        for item in items {
            let (answers, additional) = self.records(*item, link);
            packet.answers.extend(answers);
            for record in additional {
                if !packet.additional.contains(&record) {
                    packet.additional.push(record);
                }
            }
        }
        packet.additional.retain(|record| !packet.answers.contains(record));
        packet
    }

    /// The answer to an item, and what belongs into the additional section with it.
    fn records(&self, item: Item, link: &Link) -> (Vec<Record>, Vec<Record>) {
        let unique = |name: &str, ttl, data| Record { name: name.to_owned(), ttl, flush: true, data };
        let instance = || {
            let mut transports = Vec::new();
            transports.extend(self.identity.tcp.then_some("tcp"));
            transports.extend(self.identity.udp.then_some("udp"));
            let attributes =
                [format!("id={}", self.identity.peer_id), "v=1".to_owned(), format!("t={}", transports.join(","))];
            let txt = Data::Txt(attributes.into_iter().map(String::into_bytes).collect());
            let srv = Data::Srv { port: self.identity.port, host: self.host.clone() };
            vec![unique(&self.instance, SHORT_TTL, srv), unique(&self.instance, LONG_TTL, txt)]
        };
        let host = || {
            let addresses = link.addresses.iter().take(limits::MAX_ADDRESSES_PER_PEER);
            addresses.map(|(address, _)| unique(&self.host, SHORT_TTL, Data::Address(*address))).collect()
        };
        match item {
            Item::Services => (vec![self.pointer(item)], Vec::new()),
            Item::Service | Item::Key(_) => {
                let mut additional = instance();
                additional.extend::<Vec<_>>(host());
                (vec![self.pointer(item)], additional)
            }
            Item::Instance => (instance(), host()),
            Item::Host => (host(), Vec::new()),
        }
    }

    fn pointer(&self, item: Item) -> Record {
        let (name, target) = match item {
            Item::Key(key) => (names::key_name(&key), self.instance.clone()),
            Item::Services => (names::ALL_SERVICES.to_owned(), names::SERVICE.to_owned()),
            _ => (names::SERVICE.to_owned(), self.instance.clone()),
        };
        Record { name, ttl: ttl(item).as_secs() as u32, flush: false, data: Data::Ptr(target) }
    }

    fn delay(&mut self, from_ms: u64, to_ms: u64) -> Duration {
        Duration::from_millis(from_ms + self.jitter.below((to_ms - from_ms) as usize + 1) as u64)
    }
}

impl LinkState {
    /// Takes one packet from the allowance: a second's worth may go in a burst.
    fn take(&mut self, now: Time) -> bool {
        if self.allowed_at() > now {
            return false;
        }
        self.used_until = self.used_until.max(now) + Duration::from_secs(1) / limits::MDNS_ANSWERS_PER_SECOND;
        true
    }

    fn allowed_at(&self) -> Time {
        Time::ZERO + self.used_until.since(Time::ZERO + Duration::from_secs(1))
    }

    fn due(&self) -> Option<Time> {
        let pending = self.pending.values().map(|pending| pending.due);
        let goodbye = (!self.goodbyes.is_empty()).then_some(Time::ZERO);
        let due = pending.chain(self.announcements.map(|(_, due)| due)).chain(goodbye).min()?;
        Some(due.max(self.allowed_at()))
    }

    fn remember_answer(&mut self, now: Time, item: Item) {
        self.answered.insert(item, now);
        if self.answered.len() > limits::MAX_MDNS_ANSWERED {
            self.answered.retain(|_, last| is_cached(now, *last));
        }
        while self.answered.len() > limits::MAX_MDNS_ANSWERED {
            let Some(oldest) = self.answered.iter().min_by_key(|(_, last)| **last).map(|(item, _)| *item) else {
                break;
            };
            self.answered.remove(&oldest);
        }
    }
}

const fn ttl(item: Item) -> Duration {
    Duration::from_secs(match item {
        Item::Services | Item::Service => LONG_TTL as u64,
        Item::Key(_) | Item::Instance | Item::Host => SHORT_TTL as u64,
    })
}

/// Whether others may still hold a key's record that was sent at `last`.
fn is_cached(now: Time, last: Time) -> bool {
    now.since(last) < Duration::from_secs(u64::from(SHORT_TTL))
}

fn same(left: &Record, right: &Record) -> bool {
    left.name == right.name
        && match (&left.data, &right.data) {
            // Text is compared as sent: keys and values are opaque here.
            (Data::Txt(left), Data::Txt(right)) => left == right,
            (left, right) => left == right,
        }
}
