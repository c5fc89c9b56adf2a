//! Nodes of a distributed hash table in virtual time: 50 ms from one to another, dead ones do not answer, hostile ones
//! know only each other. Not here: what must come of it (`dht_simulation`).
//!
//! The routing tables are those of a network that has been running for long: of each distance up to k random nodes.
//! Nodes that only answer have no timers of their own, so nobody notices who has died; that is the worst case.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::time::Duration;

use dig_nat_core::base::ids::FileHash;
use dig_nat_core::base::limits;
use dig_nat_core::base::random::Jitter;
use dig_nat_core::base::time::Time;
use dig_nat_core::discovery::dht::announce::Provide;
use dig_nat_core::discovery::dht::contact::Contact;
use dig_nat_core::discovery::dht::key::{Key, Node, Placement};
use dig_nat_core::discovery::dht::machine::{Machine, Output, Setup, Summary};
use dig_nat_core::discovery::dht::message::{Kind, Message, Peer};
use dig_nat_core::discovery::dht::shard::Shards;
use dig_nat_core::nat::policy::Scope;
use dig_nat_core::wire::announcement::Announcement;

/// From one node to another.
pub const LINK: Duration = Duration::from_millis(50);
/// Nodes offered to a bucket that could have more: some do not fit because of their networks.
const SAMPLE: usize = limits::DHT_K + 6;
const EPOCH_MS: u64 = 1_800_000_000_000;

/// How a node behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nature {
    /// As it should.
    Honest,
    /// Says that there are no other nodes than its fellows, and that one of them provides everything.
    Hostile,
    /// Does not answer.
    Dead,
}

struct Member {
    machine: Machine,
    contact: Contact,
    nature: Nature,
    /// It has timers: it joins, announces or searches.
    active: bool,
    wake: Option<Time>,
}

enum Event {
    Ask { from: usize, to: usize, request: u64, message: Message },
    Answer { to: usize, request: u64, message: Message },
    Records { from: usize, to: usize, message: Message },
    Wake(usize),
}

/// One lookup as its searcher saw it.
#[derive(Clone, Debug, Default)]
pub struct Sought {
    /// The first true provider: after how long, and how many answers led to it.
    pub first: Option<(Duration, u32)>,
    /// Nodes asked until then.
    pub asked_before: usize,
    /// How it ended, and when.
    pub end: Option<(Duration, Summary)>,
}

/// The network.
pub struct Network {
    pub now: Time,
    placement: Placement,
    members: Vec<Member>,
    by_node: HashMap<Node, usize>,
    events: BinaryHeap<Reverse<(Time, u64)>>,
    waiting: BTreeMap<u64, Event>,
    next_event: u64,
    pub jitter: Jitter,
    /// Requests and answers, and messages with records, delivered to members.
    pub messages: u64,
    pub record_messages: u64,
    searches: HashMap<(usize, u64), Sought>,
    truth: HashMap<(usize, u64), FileHash>,
    providers: HashMap<FileHash, Vec<Node>>,
    requests_of: HashMap<usize, usize>,
}

/// An address in a network of its own.
pub fn lonely_address(number: usize) -> Vec<u8> {
    let [b, c] = (number as u16).to_be_bytes();
    vec![4, 20 + (number >> 16) as u8, b, c, 1, 6, 0x23, 0x28]
}

fn random_node(jitter: &mut Jitter) -> Node {
    let secret: Vec<u8> = (0..4).flat_map(|_| jitter.bits().to_be_bytes()).collect();
    Node::from_bytes(&[&[0, 0x24, 8, 1, 0x12, 0x20][..], &secret].concat()).expect("the length of an id")
}

impl Network {
    /// A network of honest nodes that know nobody. Its records lie as in the private one.
    pub fn new(nodes: usize, seed: u64) -> Self {
        Self::with(Placement::Direct, nodes, seed)
    }

    pub fn with(placement: Placement, nodes: usize, seed: u64) -> Self {
        let mut network = Self {
            now: Time::ZERO,
            placement,
            members: Vec::new(),
            by_node: HashMap::new(),
            events: BinaryHeap::new(),
            waiting: BTreeMap::new(),
            next_event: 0,
            jitter: Jitter::from_seed(seed),
            messages: 0,
            record_messages: 0,
            searches: HashMap::new(),
            truth: HashMap::new(),
            providers: HashMap::new(),
            requests_of: HashMap::new(),
        };
        for _ in 0..nodes {
            let node = random_node(&mut network.jitter);
            let address = lonely_address(network.members.len());
            network.add(node, address, Nature::Honest, Shards::default());
        }
        network
    }

    pub fn add(&mut self, node: Node, address: Vec<u8>, nature: Nature, shards: Shards) -> usize {
        let index = self.members.len();
        let setup = Setup {
            node: node.clone(),
            placement: self.placement,
            epoch_ms: EPOCH_MS,
            capacity: 100_000,
            shards,
            paths: limits::DHT_PATHS,
            seed: self.jitter.bits(),
        };
        let contact = Contact::new(node.clone(), [address]);
        self.members.push(Member { machine: Machine::new(setup), contact, nature, active: false, wake: None });
        self.by_node.insert(node, index);
        index
    }

    /// Adds one with these shards.
    pub fn add_shard_host(&mut self, shards: Shards) -> usize {
        let node = random_node(&mut self.jitter);
        let address = lonely_address(self.members.len());
        self.add(node, address, Nature::Honest, shards)
    }

    /// Adds hostile nodes, all nearer to the key than any honest one; `networks` is how many networks they share.
    pub fn surround(&mut self, key: &FileHash, count: usize, networks: usize) {
        let target = self.placement.of(key);
        let nearest = self.members.iter().map(|member| target.shared_bits(member.contact.node.key())).max();
        let bits = nearest.expect("somebody").min(60);
        let mut made = 0;
        while made < count {
            let node = random_node(&mut self.jitter);
            // Ids are cheap to make, but not for nothing: about as near as the nearest honest one.
            if target.shared_bits(node.key()) >= bits {
                let address = lonely_address(60_000 + made % networks);
                self.add(node, address, Nature::Hostile, Shards::default());
                made += 1;
            }
        }
    }

    /// Fills the routing tables.
    pub fn fill_tables(&mut self) {
        let mut sorted: Vec<(Key, usize)> =
            self.members.iter().enumerate().map(|(index, member)| (*member.contact.node.key(), index)).collect();
        sorted.sort_unstable();
        for index in 0..self.members.len() {
            let own = *self.members[index].contact.node.key();
            // The range of positions that share so many bits shrinks around our own.
            let (mut low, mut high) = (0, sorted.len());
            for bits in 0..Key::BITS as usize {
                if high - low <= 1 {
                    break;
                }
                let is_one = |key: &Key| key.as_bytes()[bits / 8] >> (7 - bits % 8) & 1 == 1;
                let middle = low + sorted[low..high].partition_point(|(key, _)| !is_one(key));
                let other = if is_one(&own) { low..middle } else { middle..high };
                (low, high) = if is_one(&own) { (middle, high) } else { (low, middle) };
                let mut picked: Vec<usize> = Vec::new();
                if other.len() <= SAMPLE {
                    picked.extend(sorted[other].iter().map(|(_, index)| *index));
                } else {
                    while picked.len() < SAMPLE {
                        let (_, one) = sorted[other.start + self.jitter.below(other.len())];
                        if !picked.contains(&one) {
                            picked.push(one);
                        }
                    }
                }
                self.jitter.shuffle(&mut picked);
                for other in picked {
                    let contact = self.members[other].contact.clone();
                    let shards = self.members[other].machine.shards().clone();
                    let machine = &mut self.members[index].machine;
                    machine.heard(Time::ZERO, &contact);
                    if !shards.is_empty() {
                        // Long ago, the host asked this node something.
                        let mut greeting = Message::new(Kind::Ping, Vec::new());
                        greeting.shards = Some(shards.encode());
                        machine.request(Time::ZERO, &contact.node, Scope::Internet, &greeting);
                    }
                }
            }
        }
    }

    pub fn len(&self) -> usize {
        self.members.len()
    }

    pub fn nature(&self, member: usize) -> Nature {
        self.members[member].nature
    }

    pub fn machine(&self, member: usize) -> &Machine {
        &self.members[member].machine
    }

    /// A part of the honest nodes dies, in percent, but none of these.
    pub fn kill(&mut self, percent: usize, spared: &[usize]) {
        for index in 0..self.members.len() {
            let dies = self.jitter.below(100) < percent && !spared.contains(&index);
            if dies && self.members[index].nature == Nature::Honest && !self.members[index].active {
                self.members[index].nature = Nature::Dead;
            }
        }
    }

    /// Gives a node timers and lets it fill its table.
    pub fn activate(&mut self, member: usize) {
        self.members[member].active = true;
        self.turn(member, Machine::handle_timeout);
    }

    /// One node gets to know another one, as by a bootstrap list.
    pub fn introduce(&mut self, member: usize, to: usize) {
        let contact = self.members[to].contact.clone();
        self.turn(member, |machine, now| machine.heard(now, &contact));
    }

    pub fn announce(&mut self, member: usize, keys: &[FileHash]) {
        let node = self.members[member].contact.node.clone();
        for key in keys {
            self.providers.entry(*key).or_default().push(node.clone());
        }
        self.turn(member, |machine, now| keys.iter().for_each(|key| assert!(machine.announce(now, *key))));
    }

    /// Announces everything again, as after a change of address.
    pub fn renew(&mut self, member: usize) {
        self.turn(member, Machine::renew);
    }

    /// Starts a search; what came of it is in [`Network::sought`].
    pub fn search(&mut self, member: usize, key: &FileHash) -> (usize, u64) {
        let now = self.now;
        self.requests_of.insert(member, 0);
        let lookup = self.members[member].machine.search(now, key).expect("room");
        self.searches.insert((member, lookup), Sought::default());
        self.truth.insert((member, lookup), *key);
        self.turn(member, |_, _| ());
        (member, lookup)
    }

    /// Searches for a key and waits for the end.
    pub fn find(&mut self, member: usize, key: &FileHash) -> Sought {
        let search = self.search(member, key);
        let began = self.now;
        while self.searches[&search].end.is_none() {
            assert!(self.now.since(began) <= limits::DHT_LOOKUP + LINK, "a lookup ends in time");
            assert!(self.step(), "a lookup comes to an end");
        }
        let sought = self.searches[&search].clone();
        let after = |(at, rest)| (Time::ZERO + at - began, rest);
        Sought {
            first: sought.first.map(after),
            end: sought.end.map(|(at, end)| (Time::ZERO + at - began, end)),
            ..sought
        }
    }

    /// Runs until this holds; false if time runs out first.
    pub fn run_until(&mut self, most: Duration, holds: impl Fn(&Self) -> bool) -> bool {
        let end = self.now + most;
        while !holds(self) {
            if self.now > end || !self.step() {
                return false;
            }
        }
        true
    }

    fn step(&mut self) -> bool {
        let Some(Reverse((at, event))) = self.events.pop() else { return false };
        self.now = self.now.max(at);
        match self.waiting.remove(&event).expect("each event happens once") {
            Event::Wake(member) => {
                if self.members[member].wake == Some(at) {
                    self.members[member].wake = None;
                    self.turn(member, Machine::handle_timeout);
                }
            }
            Event::Ask { from, to, request, message } => self.ask(from, to, request, &message),
            Event::Answer { to, request, message } => {
                self.turn(to, |machine, now| machine.response(now, request, &message, Scope::Internet));
            }
            Event::Records { from, to, message } => self.records(from, to, &message),
        }
        true
    }

    fn ask(&mut self, from: usize, to: usize, request: u64, message: &Message) {
        let (now, sender) = (self.now, self.members[from].contact.clone());
        let answer = match self.members[to].nature {
            Nature::Dead => return,
            Nature::Hostile => Some(self.lie(message)),
            Nature::Honest => {
                self.messages += 1;
                // What travels is what was written.
                let read = Message::decode(&message.encode()).expect("our own message");
                let machine = &mut self.members[to].machine;
                let answer = machine.request(now, &sender.node, Scope::Internet, &read);
                if self.members[from].nature == Nature::Honest && self.members[to].active {
                    self.turn(to, |machine, now| machine.heard(now, &sender));
                }
                answer
            }
        };
        if let Some(message) = answer {
            self.messages += 1;
            self.after(LINK, Event::Answer { to: from, request, message });
        }
    }

    /// Fellows near to the key, one of them as a provider that is none.
    fn lie(&mut self, message: &Message) -> Message {
        let target = self.placement.position(&message.key);
        let mut fellows: Vec<&Contact> =
            self.members.iter().filter(|one| one.nature == Nature::Hostile).map(|one| &one.contact).collect();
        fellows.sort_by_cached_key(|one| target.distance(one.node.key()));
        let mut answer = Message::new(message.kind, message.key.clone());
        answer.closer.extend(fellows.iter().take(limits::DHT_K).map(|one| Peer::from((*one).clone())));
        if message.kind == Kind::GetProviders {
            answer.providers.extend(fellows.iter().take(1).map(|one| Peer::from((*one).clone())));
        }
        answer
    }

    fn records(&mut self, from: usize, to: usize, message: &Message) {
        if self.members[to].nature != Nature::Honest {
            return;
        }
        let (now, node) = (self.now, self.members[from].contact.node.clone());
        self.record_messages += 1;
        let machine = &mut self.members[to].machine;
        for provider in &message.providers {
            machine.provided(now, &node, Scope::Internet, &message.key, provider);
        }
        for bytes in &message.announcements {
            let announcement = Announcement::decode(bytes).expect("our own").announcement;
            let contact = self.members[from].contact.clone();
            let peer = Peer { contact, shards: None, announcement: Some(bytes.clone()) };
            let key = self.placement.record_key(&announcement.key);
            self.members[to].machine.provided(now, &node, Scope::Internet, &key, &peer);
        }
    }

    /// Calls a machine, and does what it wants.
    fn turn(&mut self, member: usize, call: impl FnOnce(&mut Machine, Time)) {
        let now = self.now;
        call(&mut self.members[member].machine, now);
        while let Some(output) = self.members[member].machine.poll() {
            match output {
                Output::Send { request, to, message } => {
                    *self.requests_of.entry(member).or_default() += 1;
                    if let Some(to) = self.by_node.get(&to.node).copied() {
                        self.after(LINK, Event::Ask { from: member, to, request, message });
                    }
                }
                Output::Provide(provide) => self.provide(member, &provide),
                Output::Found { lookup, provider, hops, .. } => {
                    let Some(key) = self.truth.get(&(member, lookup)) else { continue };
                    let is_true = self.providers.get(key).is_some_and(|nodes| nodes.contains(&provider.node));
                    let asked = self.requests_of.get(&member).copied().unwrap_or_default();
                    let sought = self.searches.get_mut(&(member, lookup)).expect("started");
                    if is_true && sought.first.is_none() {
                        sought.first = Some((now.since(Time::ZERO), hops));
                        sought.asked_before = asked;
                    }
                }
                Output::Done { lookup, summary } => {
                    if let Some(sought) = self.searches.get_mut(&(member, lookup)) {
                        sought.end = Some((now.since(Time::ZERO), summary));
                    }
                }
                Output::Nodes { .. } | Output::Lost => {}
            }
        }
        if self.members[member].active {
            let wake = self.members[member].machine.next_timeout();
            if wake != self.members[member].wake {
                self.members[member].wake = wake;
                if let Some(wake) = wake {
                    self.at(wake.max(now), Event::Wake(member));
                    self.members[member].wake = Some(wake.max(now));
                }
            }
        }
    }

    fn provide(&mut self, from: usize, provide: &Provide) {
        let Some(to) = self.by_node.get(&provide.to.node).copied() else { return };
        let contact = self.members[from].contact.clone();
        let sign = |key: &FileHash| {
            let issued_ms = EPOCH_MS + self.now.as_micros() / 1000;
            let (peer, ttl) = (contact.node.peer(), limits::DHT_RECORD_TTL);
            let mut bytes = Announcement { peer, key: *key, issued_ms, ttl, addresses: Vec::new() }.body();
            bytes.extend([0; 64]);
            bytes
        };
        let mut messages = Vec::new();
        if provide.ours {
            let mut message = Message::new(Kind::AddProvider, Vec::new());
            message.announcements = provide.keys.iter().map(sign).collect();
            messages.push(message);
        } else {
            for key in &provide.keys {
                let mut message = Message::new(Kind::AddProvider, self.placement.record_key(key));
                let announcement = Some(sign(key));
                message.providers.push(Peer { contact: contact.clone(), shards: None, announcement });
                messages.push(message);
            }
        }
        for message in messages {
            assert!(message.encode().len() <= limits::DHT_FRAME_BYTES);
            self.after(LINK, Event::Records { from, to, message });
        }
    }

    fn after(&mut self, delay: Duration, event: Event) {
        self.at(self.now + delay, event);
    }

    fn at(&mut self, at: Time, event: Event) {
        self.next_event += 1;
        self.events.push(Reverse((at, self.next_event)));
        self.waiting.insert(self.next_event, event);
    }
}
