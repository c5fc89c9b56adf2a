//! A small world for behaviour discovery: one host, a NAT with two axes (mapping, filtering) and its way of choosing
//! ports, a path that delays and loses, and STUN servers with or without RFC 5780. Not here: the machine under test.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use dig_nat_core::base::random::Jitter;
use dig_nat_core::base::time::Time;
use dig_nat_core::nat::profile::{Filtering, Mapping};
use dig_nat_core::nat::stun::behaviour::{Discovery, Findings, Output, Plan};
use dig_nat_core::nat::stun::{Attribute, Class, Message, decode};

/// How the NAT of this world chooses external ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ports {
    /// The host's own, and a random one if that is taken.
    Preserving,
    /// One after the other, with the range starting again at its end.
    Sequential { step: i16, others: bool },
    /// Random within one block.
    Block { first: u16, size: u16 },
    /// Random.
    Random,
}

/// The NAT, or firewall, or nothing.
#[derive(Clone, Copy, Debug)]
pub struct Nat {
    pub translates: bool,
    pub mapping: Mapping,
    pub filtering: Filtering,
    pub ports: Ports,
    pub hairpin: bool,
    /// No UDP passes.
    pub blocked: bool,
    /// Another host uses the same source ports towards this server: Linux masquerade then takes another port there.
    pub clash_with: Option<SocketAddr>,
}

/// A STUN server.
#[derive(Clone, Copy, Debug)]
pub struct Server {
    pub address: SocketAddr,
    /// Its other address, answering tests II and III.
    pub other: Option<SocketAddr>,
    /// One way.
    pub delay: Duration,
    pub alive: bool,
    /// Answers with another address than it saw.
    pub lies: bool,
    /// Names the other address, but never answers there or from there.
    pub other_is_dead: bool,
    /// Answers requests for a change from the usual address.
    pub ignores_change: bool,
}

impl Server {
    pub fn new(address: &str, other: Option<&str>, delay_ms: u64) -> Self {
        Self {
            address: address.parse().expect("valid"),
            other: other.map(|other| other.parse().expect("valid")),
            delay: Duration::from_millis(delay_ms),
            alive: true,
            lies: false,
            other_is_dead: false,
            ignores_change: false,
        }
    }

    fn listens_on(&self, at: SocketAddr) -> bool {
        let Some(other) = self.other else { return at == self.address };
        let ip = at.ip() == self.address.ip() || at.ip() == other.ip();
        let port = at.port() == self.address.port() || at.port() == other.port();
        ip && port && (at == self.address || !self.other_is_dead)
    }
}

/// One external endpoint: which host socket, and towards whom.
type Key = (SocketAddr, Option<IpAddr>, Option<u16>);

pub struct World {
    pub nat: Nat,
    pub servers: Vec<Server>,
    /// Loss of one crossing of the NAT, either way.
    pub loss: f64,
    pub tcp_works: bool,
    pub random: Jitter,
    pub packets: u32,
    next_port: u16,
    used: BTreeSet<u16>,
    mappings: BTreeMap<Key, SocketAddr>,
    /// External endpoint and who was sent to from there.
    sent: BTreeSet<(SocketAddr, SocketAddr)>,
}

enum Event {
    ToServer { from: SocketAddr, to: SocketAddr, bytes: Vec<u8> },
    ToHost { socket: usize, from: SocketAddr, bytes: Vec<u8> },
    Tcp(bool),
    Timer,
}

pub const PUBLIC: [u8; 4] = [203, 0, 113, 77];

impl World {
    pub fn new(seed: u64, nat: Nat, servers: Vec<Server>) -> Self {
        let mut random = Jitter::from_seed(seed);
        let next_port = 20_000 + random.below(20_000) as u16;
        let (used, mappings, sent) = (BTreeSet::new(), BTreeMap::new(), BTreeSet::new());
        Self { nat, servers, loss: 0.0, tcp_works: true, random, packets: 0, next_port, used, mappings, sent }
    }

    /// Runs the machine to its end: the findings, and how long it took.
    pub fn run(&mut self, plan: &Plan) -> (Findings, Duration) {
        let seed = self.random.bits();
        let mut machine = Discovery::new(Time::ZERO, plan.clone(), Jitter::from_seed(seed));
        let mut queue = BinaryHeap::new();
        let mut events = Vec::new();
        let mut now = Time::ZERO;
        for _ in 0..20_000 {
            while let Some(output) = machine.poll() {
                let mut push = |at: Time, event| {
                    queue.push(Reverse((at, events.len())));
                    events.push(Some(event));
                };
                match output {
                    Output::Done(findings) => {
                        assert_eq!((machine.poll(), machine.next_timeout()), (None, None), "the end is the end");
                        return (findings, now.since(Time::ZERO));
                    }
                    Output::AskTcp(_) => push(now + Duration::from_millis(60), Event::Tcp(self.tcp_works)),
                    Output::Send { socket, to, bytes } => {
                        self.packets += 1;
                        for (delay, event) in self.leaves(plan, plan.sockets[socket], to, &bytes) {
                            push(now + delay, event);
                        }
                    }
                }
            }
            if let Some(timeout) = machine.next_timeout() {
                assert!(timeout >= now, "a timer in the past at {now:?}");
                queue.push(Reverse((timeout, events.len())));
                events.push(Some(Event::Timer));
            }
            let Reverse((at, event)) = queue.pop().expect("something will happen");
            now = at;
            match events[event].take().expect("once") {
                Event::Timer => machine.handle_timeout(now),
                Event::Tcp(works) => machine.handle_tcp(now, works),
                Event::ToHost { socket, from, bytes } => machine.handle(now, socket, from, &bytes),
                Event::ToServer { from, to, bytes } => {
                    if let Some((delay, event)) = self.serve(plan, from, to, &bytes) {
                        queue.push(Reverse((now + delay, events.len())));
                        events.push(Some(event));
                    }
                }
            }
        }
        panic!("the machine does not end");
    }

    fn lost(&mut self) -> bool {
        self.loss > 0.0 && self.random.fraction() < self.loss
    }

    /// A datagram of the host passes the NAT.
    fn leaves(&mut self, plan: &Plan, from: SocketAddr, to: SocketAddr, bytes: &[u8]) -> Vec<(Duration, Event)> {
        if self.nat.blocked {
            return Vec::new();
        }
        let external = if self.nat.translates { self.mapped(from, to) } else { from };
        self.sent.insert((external, to));
        if to.ip() == IpAddr::from(PUBLIC) {
            return if self.nat.hairpin {
                self.enters(plan, external, to, bytes).into_iter().collect()
            } else {
                Vec::new()
            };
        }
        let Some(delay) = self.servers.iter().find(|server| server.listens_on(to)).map(|server| server.delay) else {
            return Vec::new();
        };
        if self.lost() {
            return Vec::new();
        }
        vec![(delay, Event::ToServer { from: external, to, bytes: bytes.to_vec() })]
    }

    /// A datagram from outside reaches the NAT.
    fn enters(&mut self, plan: &Plan, from: SocketAddr, to: SocketAddr, bytes: &[u8]) -> Option<(Duration, Event)> {
        let inside = if self.nat.translates {
            self.mappings.iter().find(|(_, external)| **external == to).map(|(key, _)| key.0)?
        } else {
            to
        };
        let allowed = match self.nat.filtering {
            Filtering::EndpointIndependent => true,
            Filtering::AddressDependent => self.sent.iter().any(|(at, peer)| *at == to && peer.ip() == from.ip()),
            Filtering::AddressAndPortDependent => self.sent.contains(&(to, from)),
        };
        let socket = plan.sockets.iter().position(|socket| *socket == inside)?;
        (allowed && !self.lost()).then(|| (Duration::ZERO, Event::ToHost { socket, from, bytes: bytes.to_vec() }))
    }

    fn mapped(&mut self, from: SocketAddr, to: SocketAddr) -> SocketAddr {
        let clashes = self.nat.clash_with.is_some_and(|server| server == to);
        let key = match self.nat.mapping {
            _ if clashes => (from, Some(to.ip()), Some(to.port())),
            Mapping::EndpointIndependent => (from, None, None),
            Mapping::AddressDependent => (from, Some(to.ip()), None),
            Mapping::AddressAndPortDependent => (from, Some(to.ip()), Some(to.port())),
        };
        if let Some(known) = self.mappings.get(&key) {
            return *known;
        }
        let port = loop {
            let port = match self.nat.ports {
                Ports::Preserving if !clashes && !self.used.contains(&from.port()) => from.port(),
                Ports::Preserving | Ports::Random => 1024 + self.random.below(64_512) as u16,
                Ports::Block { first, size } => first + self.random.below(usize::from(size)) as u16,
                Ports::Sequential { step, others } => {
                    // Now and then a flow of another program takes the next port.
                    let eaten = i16::from(others && self.random.below(6) == 0);
                    self.next_port = self.next_port.wrapping_add_signed(step * (1 + eaten));
                    if self.next_port < 4096 || self.next_port >= 61_000 {
                        self.next_port = 30_000;
                    }
                    self.next_port
                }
            };
            if self.used.insert(port) {
                break port;
            }
        };
        let external = SocketAddr::from((PUBLIC, port));
        self.mappings.insert(key, external);
        external
    }

    /// A server answers.
    fn serve(&mut self, plan: &Plan, from: SocketAddr, to: SocketAddr, bytes: &[u8]) -> Option<(Duration, Event)> {
        let server = *self.servers.iter().find(|server| server.alive && server.listens_on(to))?;
        let request = decode(bytes).expect("our machine speaks STUN").message;
        assert_eq!(request.class, Class::Request);
        let seen = if server.lies { SocketAddr::from(([9, 9, 9, 9], 999)) } else { from };
        let mut answer = Message::success_to(&request).with(Attribute::XorMappedAddress(seen));
        let mut source = to;
        if let Some(other) = server.other {
            // Each endpoint names the one that differs in both.
            let opposite = |one: SocketAddr, two: SocketAddr| {
                let ip = if to.ip() == one.ip() { two.ip() } else { one.ip() };
                let port = if to.port() == one.port() { two.port() } else { one.port() };
                SocketAddr::new(ip, port)
            };
            let opposite = opposite(server.address, other);
            answer = answer.with(Attribute::OtherAddress(opposite)).with(Attribute::ResponseOrigin(to));
            let change = request.find(|attribute| match attribute {
                Attribute::ChangeRequest { ip, port } => Some((*ip, *port)),
                _ => None,
            });
            if let Some((ip, port)) = change.filter(|_| !server.ignores_change) {
                if server.other_is_dead && ip {
                    return None;
                }
                let ip = if ip { opposite.ip() } else { to.ip() };
                source = SocketAddr::new(ip, if port { opposite.port() } else { to.port() });
            }
        }
        let bytes = answer.encode(None, false).expect("small");
        let (_, event) = self.enters(plan, source, from, &bytes)?;
        Some((server.delay, event))
    }
}
