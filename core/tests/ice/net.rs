//! A simulated internet for two ICE agents: NATs by mapping and filtering, a TURN server, delay, loss, and a signalling
//! path that may be slow.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use dig_nat_core::base::random::Jitter;
use dig_nat_core::base::time::Time;
use dig_nat_core::nat::ice::{Agent, Candidate, Config, Credentials, Kind, LocalId, Output, Role};
use dig_nat_core::nat::policy::Policy;

pub const ONE_WAY: Duration = Duration::from_millis(25);
const STUN: &str = "44.1.1.1:3478";

/// Where a peer sits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Public,
    FullCone,
    AddressRestricted,
    PortRestricted,
    Symmetric,
    SymmetricOpen,
    /// Nothing gets out but to the TURN server.
    Blocked,
}

pub const PLACES: [Place; 7] = [
    Place::Public,
    Place::FullCone,
    Place::AddressRestricted,
    Place::PortRestricted,
    Place::Symmetric,
    Place::SymmetricOpen,
    Place::Blocked,
];

#[derive(Debug)]
struct Nat {
    place: Place,
    public: IpAddr,
    /// External port by destination; the destination is left out for endpoint-independent mapping.
    ports: BTreeMap<Option<SocketAddr>, u16>,
    /// All external ports ever given.
    given: BTreeSet<u16>,
    /// Destinations by external port.
    sent: BTreeSet<(u16, SocketAddr)>,
    next_port: u16,
}

impl Nat {
    fn out(&mut self, to: SocketAddr) -> SocketAddr {
        let hard = matches!(self.place, Place::Symmetric | Place::SymmetricOpen);
        let next = &mut self.next_port;
        let port = *self.ports.entry(hard.then_some(to)).or_insert_with(|| {
            *next = next.wrapping_mul(31).wrapping_add(7919) | 1024;
            *next
        });
        self.given.insert(port);
        self.sent.insert((port, to));
        SocketAddr::new(self.public, port)
    }

    fn lets_in(&mut self, from: SocketAddr, port: u16) -> bool {
        let open = self.given.contains(&port);
        let allowed = match self.place {
            Place::Public | Place::FullCone | Place::SymmetricOpen => true,
            Place::AddressRestricted => self.sent.iter().any(|(own, to)| *own == port && to.ip() == from.ip()),
            Place::PortRestricted | Place::Symmetric => self.sent.contains(&(port, from)),
            Place::Blocked => false,
        };
        if open && allowed {
            self.sent.insert((port, from));
            // A flow that was opened from outside goes back by the port it came in.
            if self.place == Place::SymmetricOpen {
                self.ports.insert(Some(from), port);
            }
        }
        open && allowed
    }
}

pub struct Peer {
    pub agent: Agent,
    pub host: LocalId,
    pub relay: Option<LocalId>,
    pub selected: Option<(LocalId, SocketAddr, Kind, Kind)>,
    pub selections: u32,
    pub failed: Option<String>,
    pub lost: bool,
    pub sent: u64,
    pub data: u32,
    host_address: SocketAddr,
    relay_address: Option<SocketAddr>,
    relay_permissions: BTreeSet<IpAddr>,
    nat: Nat,
}

enum Event {
    Datagram { to: SocketAddr, from: SocketAddr, bytes: Vec<u8> },
    Candidate(usize, Option<Candidate>),
    Credentials(usize, Credentials),
}

pub struct Net {
    pub now: Time,
    pub peers: [Peer; 2],
    pub random: Jitter,
    /// Datagrams lost, in percent.
    pub loss: usize,
    pub cut: bool,
    pub trace: Vec<String>,
    events: BTreeMap<(Time, u32), Event>,
    sequence: u32,
}

pub struct Setup {
    pub places: [Place; 2],
    pub turn: [bool; 2],
    pub roles: [Role; 2],
    pub seed: u64,
    /// How late each candidate after the first is told.
    pub trickle: Duration,
}

impl Setup {
    pub fn new(first: Place, second: Place) -> Self {
        Self {
            places: [first, second],
            turn: [false, false],
            roles: [Role::Controlling, Role::Controlled],
            seed: 1,
            trickle: Duration::ZERO,
        }
    }
}

pub fn credentials(number: u64) -> Credentials {
    Credentials::new(&format!("user{number:04}"), &format!("password{number:020}")).unwrap()
}

fn peer(number: u8, place: Place, role: Role, seed: u64) -> Peer {
    let public = IpAddr::from([44, 128, number, 1]);
    let host_address = match place {
        Place::Public => SocketAddr::new(public, 4001),
        _ => SocketAddr::from(([192, 168, number, 2], 4001)),
    };
    let policy = Policy::default();
    let credentials = credentials(u64::from(number));
    let config = Config { role, credentials, policy, seed: seed * 2 + u64::from(number) };
    let mut agent = Agent::new(Time::ZERO, config);
    let (host, _) = agent.add_host(Time::ZERO, host_address).unwrap();
    let (ports, sent) = (BTreeMap::new(), BTreeSet::new());
    let given = BTreeSet::new();
    let nat = Nat { place, public, ports, given, sent, next_port: 30_000 + u16::from(number) };
    Peer {
        agent,
        host,
        relay: None,
        selected: None,
        selections: 0,
        failed: None,
        lost: false,
        sent: 0,
        data: 0,
        host_address,
        relay_address: None,
        relay_permissions: BTreeSet::new(),
        nat,
    }
}

impl Net {
    pub fn new(setup: &Setup) -> Self {
        let [first, second] = [0, 1].map(|i| peer(i as u8 + 1, setup.places[i], setup.roles[i], setup.seed));
        let random = Jitter::from_seed(setup.seed);
        let mut net = Self {
            now: Time::ZERO,
            peers: [first, second],
            random,
            loss: 0,
            cut: false,
            trace: Vec::new(),
            events: BTreeMap::new(),
            sequence: 0,
        };
        for i in [0, 1] {
            net.gather(i, setup.turn[i], setup.trickle);
        }
        net
    }

    /// Adds the reflexive and relayed candidates of a peer and tells all to the other one.
    fn gather(&mut self, i: usize, turn: bool, trickle: Duration) {
        let stun: SocketAddr = STUN.parse().unwrap();
        let now = self.now;
        let peer = &mut self.peers[i];
        let place = peer.nat.place;
        let mut told = vec![told_host(peer)];
        if !matches!(place, Place::Public | Place::Blocked) {
            let mapped = peer.nat.out(stun);
            told.extend(peer.agent.add_reflexive(now, peer.host, mapped, stun));
        }
        if turn {
            let address = SocketAddr::new(stun.ip(), 50_000 + i as u16);
            let (relay, candidate) = peer.agent.add_relayed(now, address, address, stun, 0).unwrap();
            (peer.relay, peer.relay_address) = (Some(relay), Some(address));
            told.push(candidate);
        }
        peer.agent.end_of_local(now);
        let credentials = peer.agent.credentials().clone();
        self.schedule(ONE_WAY, Event::Credentials(1 - i, credentials));
        let mut late = ONE_WAY;
        for candidate in told {
            self.schedule(late, Event::Candidate(1 - i, Some(candidate)));
            late += trickle;
        }
        self.schedule(late, Event::Candidate(1 - i, None));
    }

    /// Both start over.
    pub fn restart(&mut self) {
        for i in [0, 1] {
            let now = self.now;
            let peer = &mut self.peers[i];
            peer.agent.restart(now, credentials(77 + i as u64));
            let told: Vec<Candidate> = peer.agent.local_candidates().cloned().collect();
            peer.agent.end_of_local(now);
            let credentials = peer.agent.credentials().clone();
            self.schedule(ONE_WAY, Event::Credentials(1 - i, credentials));
            for candidate in told.into_iter().map(Some).chain([None]) {
                self.schedule(ONE_WAY, Event::Candidate(1 - i, candidate));
            }
        }
    }

    pub fn schedule_reflexive(&mut self, i: usize, after: Duration) {
        let mapped = self.peers[i].nat.out(STUN.parse().unwrap());
        let candidate =
            format!("candidate:99 1 udp 1694498815 {} {} typ srflx", mapped.ip(), mapped.port()).parse().unwrap();
        self.schedule(after, Event::Candidate(1 - i, Some(candidate)));
    }

    fn schedule(&mut self, after: Duration, event: Event) {
        self.sequence += 1;
        self.events.insert((self.now + after, self.sequence), event);
    }

    pub fn run_until(&mut self, end: Time) {
        for _ in 0..1_000_000 {
            for i in [0, 1] {
                self.drain(i);
            }
            let timers = self.peers.iter().filter_map(|peer| peer.agent.next_timeout());
            let next = self.events.keys().next().map(|(at, _)| *at).into_iter().chain(timers).min();
            let Some(next) = next.filter(|next| *next <= end) else {
                self.now = self.now.max(end);
                return;
            };
            self.now = self.now.max(next);
            match self.events.first_key_value() {
                Some(((at, _), _)) if *at <= self.now => {
                    let (_, event) = self.events.pop_first().unwrap();
                    self.happen(event);
                }
                _ => {
                    for peer in &mut self.peers {
                        if peer.agent.next_timeout().is_some_and(|at| at <= self.now) {
                            peer.agent.handle_timeout(self.now);
                        }
                    }
                }
            }
        }
        panic!("it never comes to rest:\n{}", self.trace[self.trace.len() - 50..].join("\n"));
    }

    fn happen(&mut self, event: Event) {
        let now = self.now;
        match event {
            Event::Credentials(i, credentials) => self.peers[i].agent.set_remote(now, credentials),
            Event::Candidate(i, Some(candidate)) => {
                let _ = self.peers[i].agent.add_remote(now, candidate);
            }
            Event::Candidate(i, None) => self.peers[i].agent.end_of_remote(now),
            Event::Datagram { to, from, bytes } => {
                if let Some((i, local)) = self.receiver(to, from) {
                    let peer = &mut self.peers[i];
                    let for_ice = peer.agent.handle_datagram(now, local, from, &bytes);
                    peer.data += u32::from(!for_ice && bytes.starts_with(b"payload"));
                }
            }
        }
    }

    /// Who gets a datagram, if the NATs let it through.
    fn receiver(&mut self, to: SocketAddr, from: SocketAddr) -> Option<(usize, LocalId)> {
        for (i, peer) in self.peers.iter_mut().enumerate() {
            if peer.relay_address == Some(to) {
                return peer.relay_permissions.contains(&from.ip()).then_some((i, peer.relay?));
            }
            let public = peer.nat.place == Place::Public && peer.host_address == to;
            if public || (peer.nat.public == to.ip() && peer.nat.lets_in(from, to.port())) {
                return Some((i, peer.host));
            }
        }
        None
    }

    fn drain(&mut self, i: usize) {
        while let Some(output) = self.peers[i].agent.poll() {
            match output {
                Output::Send { local, to, bytes } => {
                    self.trace.push(format!("{:?} {i} {local:?} -> {to} {} bytes", self.now, bytes.len()));
                    self.send(i, local, to, bytes);
                }
                Output::Selected { local, to, local_kind, remote_kind } => {
                    self.trace.push(format!("{:?} {i} selects {local:?} {to}", self.now));
                    self.peers[i].selected = Some((local, to, local_kind, remote_kind));
                    self.peers[i].selections += 1;
                }
                Output::Failed(because) => self.peers[i].failed = Some(format!("{because:?}")),
                Output::ConsentLost => self.peers[i].lost = true,
            }
        }
    }

    pub fn send(&mut self, i: usize, local: LocalId, to: SocketAddr, bytes: Vec<u8>) {
        let peer = &mut self.peers[i];
        peer.sent += 1;
        let from = if peer.relay == Some(local) {
            peer.relay_permissions.insert(to.ip());
            peer.relay_address.unwrap()
        } else {
            match peer.nat.place {
                Place::Blocked => return,
                Place::Public => peer.host_address,
                _ => peer.nat.out(to),
            }
        };
        if !self.cut && self.random.below(100) >= self.loss {
            self.schedule(ONE_WAY, Event::Datagram { to, from, bytes });
        }
    }

    /// Sends something over both selected pairs; whether both arrived.
    pub fn pairs_carry(&mut self) -> bool {
        let before = [self.peers[0].data, self.peers[1].data];
        for i in [0, 1] {
            let Some((local, to, ..)) = self.peers[i].selected else { return false };
            self.send(i, local, to, b"payload".to_vec());
        }
        self.run_until(self.now + Duration::from_millis(100));
        self.peers[0].data == before[0] + 1 && self.peers[1].data == before[1] + 1
    }
}

fn told_host(peer: &Peer) -> Candidate {
    let SocketAddr::V4(address) = peer.host_address else { panic!("IPv4 only") };
    format!("candidate:1 1 udp 2130706431 {} {} typ host", address.ip(), address.port()).parse().unwrap()
}
