//! Two hosts, their NATs, and the network between them: runs whole attempts as the driver does. Not here: what is
//! expected of them.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use dig_nat_core::base::limits;
use dig_nat_core::base::random::Jitter;
use dig_nat_core::base::time::Time;
use dig_nat_core::nat::punch::message::{Endpoint, Transport};
use dig_nat_core::nat::punch::plan::{self, History, NoHope};
use dig_nat_core::nat::punch::prediction::{Observation, forecast};
use dig_nat_core::nat::punch::round::{self, Half};
use dig_nat_core::nat::punch::udp::{Config, Mode, Output, Pair, Probe, Punch, Transaction};
use dig_nat_core::nat::punch::{Method, Side};

use super::nat::{Kind, Nat};

/// The network.
#[derive(Clone, Copy, Debug, Default)]
pub struct Conditions {
    /// Packets lost of 100, one way.
    pub loss: usize,
    /// One way.
    pub delay: Duration,
    /// At most so much more, which may change the order.
    pub jitter: Duration,
    /// Flows that others open behind each NAT between measuring and probing, at most.
    pub eaten: usize,
}

/// How an attempt ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The method that worked, or why none was left.
    pub end: Result<Method, NoHope>,
    pub rounds: u32,
    pub packets: u32,
    pub took: Duration,
    /// Everything that was delivered.
    pub trace: Vec<(Time, SocketAddr, SocketAddr)>,
    /// Both sides' path, as the outside sees it: (own external, other's external), if they think they have one.
    paths: [Option<(SocketAddr, SocketAddr)>; 2],
    methods: Vec<Method>,
    left: History,
}

impl Outcome {
    /// What holds for every attempt.
    pub fn check(&self, name: &str) {
        match self.end {
            Ok(_) => {
                let [Some((here, there)), Some(mirror)] = self.paths else { panic!("{name}: {:?}", self.paths) };
                assert_eq!((there, here), mirror, "{name}: the sides nominated different paths");
            }
            Err(_) => assert_eq!(self.paths[0], None, "{name}"),
        }
        for method in &self.methods {
            let times = self.methods.iter().filter(|other| *other == method).count();
            // Only what measures both sequences anew can end otherwise.
            let both = method.predicts(Side::Initiator) && method.predicts(Side::Responder);
            let most = if both { limits::PUNCH_DOUBLE_PREDICTIONS } else { 1 };
            assert!(times <= most, "{name}: {method:?} was repeated: {:?}", self.methods);
        }
        assert!(self.packets <= 2 * limits::PUNCH_PACKETS, "{name}: {} packets", self.packets);
        assert!(self.rounds <= u32::from(limits::PUNCH_ROUNDS), "{name}: {} rounds", self.rounds);
        assert!(self.took <= limits::PUNCH_TIME + Duration::from_secs(5), "{name}: {:?}", self.took);
        assert!(self.left.packets > 0 || self.end.is_err() || self.rounds > 0, "{name}");
    }
}

/// An attempt in which both know their NATs.
pub fn attempt(seed: u64, first: Kind, second: Kind, conditions: &Conditions) -> Outcome {
    attempt_believing(seed, [first, second], [first, second], conditions)
}

/// An attempt in which the sides believe to stand behind other NATs than they do.
pub fn attempt_believing(seed: u64, true_kinds: [Kind; 2], believed: [Kind; 2], conditions: &Conditions) -> Outcome {
    let mut world = World::new(seed, true_kinds, conditions);
    let mut history = History::default();
    let mut outcome = Outcome {
        end: Err(NoHope::AllFailed),
        rounds: 0,
        packets: 0,
        took: Duration::ZERO,
        trace: Vec::new(),
        paths: [None, None],
        methods: Vec::new(),
        left: history.clone(),
    };
    let summaries = believed.map(Kind::summary);
    loop {
        let method = match plan::udp(&summaries[0], &summaries[1], &history, None) {
            Ok(method) => method,
            Err(reason) => {
                outcome.end = Err(reason);
                break;
            }
        };
        let begun = world.now;
        let (connected, sent) = world.round(method, summaries.map(|nat| Half { nat, ..Half::default() }), &history);
        outcome.rounds += 1;
        outcome.packets += sent;
        outcome.methods.push(method);
        history.record(method, sent, world.now.since(begun), connected);
        if connected {
            outcome.end = Ok(method);
            outcome.paths = world.paths;
            break;
        }
    }
    outcome.took = world.now.since(Time::ZERO);
    outcome.trace = world.trace;
    outcome.left = history;
    outcome
}

#[derive(Clone, Copy, Debug)]
enum Packet {
    Probe(Probe),
    Answer(Transaction),
}

struct World {
    now: Time,
    conditions: Conditions,
    jitter: Jitter,
    nats: [Nat; 2],
    /// Packets under way, by arrival and a serial number.
    wire: BTreeMap<(Time, u64), (usize, SocketAddr, SocketAddr, Packet)>,
    serial: u64,
    next_port: [u16; 2],
    trace: Vec<(Time, SocketAddr, SocketAddr)>,
    paths: [Option<(SocketAddr, SocketAddr)>; 2],
}

const STUN: [u8; 4] = [198, 51, 100, 1];

fn public(host: usize) -> IpAddr {
    IpAddr::from([203, 0, 113, 10 + host as u8])
}

impl World {
    fn new(seed: u64, kinds: [Kind; 2], conditions: &Conditions) -> Self {
        let mut jitter = Jitter::from_seed(seed);
        let nats = [0, 1].map(|host| Nat::new(kinds[host], public(host), Jitter::from_seed(jitter.bits())));
        Self {
            now: Time::ZERO,
            conditions: *conditions,
            jitter,
            nats,
            wire: BTreeMap::new(),
            serial: 0,
            next_port: [5000, 6000],
            trace: Vec::new(),
            paths: [None, None],
        }
    }

    fn new_port(&mut self, host: usize) -> u16 {
        self.next_port[host] += 1;
        self.next_port[host]
    }

    /// Asks three servers from a new port, as the driver's observer does.
    fn measure(&mut self, host: usize, mut half: Half) -> (u16, Half) {
        let local_port = self.new_port(host);
        let mut series = Vec::new();
        for server in 0..3 {
            let destination = SocketAddr::from((STUN, 3478 + server));
            // A NAT without room for a session answers nothing.
            if let Some(external) = self.nats[host].leave(local_port, destination) {
                series.push(Observation { at: self.now, local_port, destination, external });
            }
        }
        half.endpoints = series
            .last()
            .map(|seen| Endpoint { transport: Transport::Udp, address: seen.external })
            .into_iter()
            .collect();
        half.forecast = forecast(&series, half.nat.allocation, local_port);
        (local_port, half)
    }

    /// One round; whether it connected, and the packets both sent.
    fn round(&mut self, method: Method, halves: [Half; 2], history: &History) -> (bool, u32) {
        let mut ports = [Vec::new(), Vec::new()];
        let mut measured = halves;
        for host in 0..2 {
            let (port, half) = self.measure(host, measured[host].clone());
            measured[host] = half;
            ports[host].push(port);
        }
        // OFFER, ANSWER and GO travel over a relay.
        self.now = self.now + 4 * self.conditions.delay;
        for host in 0..2 {
            for _ in 0..self.jitter.below(self.conditions.eaten + 1) {
                self.nats[host].disturb();
            }
        }
        let round_trip = 4 * self.conditions.delay;
        let duration = round::duration(method, &measured[0].nat, &measured[1].nat, round_trip);
        let mut machines = Vec::new();
        for host in 0..2 {
            let side = if host == 0 { Side::Initiator } else { Side::Responder };
            let (mine, theirs) = (&measured[host], &measured[1 - host]);
            if matches!(method, Method::Birthday { hard } if hard == side) {
                let count = plan::sockets(&mine.nat).into();
                ports[host] = (0..count).map(|_| self.new_port(host)).collect();
            }
            let Ok(mode) = round::udp(method, side, mine, theirs, Some(0), None) else { return (false, 0) };
            check_mode(&mode, ports[host].len());
            let packets = history.packets.min(limits::PUNCH_ROUND_PACKETS);
            let config =
                Config { controlling: host == 0, tiebreaker: host as u64, tag: [9; 4], mode, duration, packets };
            machines.push(Punch::new(self.now, config, Jitter::from_seed(self.jitter.bits())));
        }
        self.run(&mut machines, &ports);
        let sent = machines.iter().map(Punch::packets).sum();
        (self.paths[0].is_some() && self.paths[1].is_some(), sent)
    }

    fn run(&mut self, machines: &mut [Punch], ports: &[Vec<u16>; 2]) {
        self.wire.clear();
        self.paths = [None, None];
        for _ in 0..100_000 {
            for (host, machine) in machines.iter_mut().enumerate() {
                while let Some(output) = machine.poll() {
                    self.perform(host, output, ports);
                }
            }
            if self.paths[0].is_some() {
                return;
            }
            let next_packet = self.wire.keys().next().map(|(at, _)| *at);
            let timeouts = machines.iter().filter_map(Punch::next_timeout);
            let Some(next) = timeouts.chain(next_packet).min() else { return };
            self.now = self.now.max(next);
            while let Some(entry) = self.wire.first_entry()
                && entry.key().0 <= self.now
            {
                let (host, from, to, packet) = entry.remove();
                self.deliver(machines, host, from, to, packet, ports);
            }
            for machine in machines.iter_mut() {
                machine.handle_timeout(self.now);
            }
        }
        panic!("a livelock");
    }

    fn perform(&mut self, host: usize, output: Output, ports: &[Vec<u16>; 2]) {
        let (pair, packet) = match output {
            Output::Probe(probe) => (probe.pair, Packet::Probe(probe)),
            Output::Answer(pair, transaction) => (pair, Packet::Answer(transaction)),
            Output::Connected(pair) => {
                let own = self.nats[host].leave(ports[host][pair.socket], pair.remote).expect("a mapping");
                self.paths[host] = Some((own, pair.remote));
                return;
            }
            Output::Failed(_) => return,
        };
        let Some(from) = self.nats[host].leave(ports[host][pair.socket], pair.remote) else { return };
        if self.jitter.below(100) < self.conditions.loss {
            return;
        }
        let more = self.conditions.jitter.mul_f64(self.jitter.fraction());
        let arrival = self.now + self.conditions.delay + more;
        self.serial += 1;
        self.wire.insert((arrival, self.serial), (1 - host, from, pair.remote, packet));
    }

    fn deliver(
        &mut self,
        machines: &mut [Punch],
        host: usize,
        from: SocketAddr,
        to: SocketAddr,
        packet: Packet,
        ports: &[Vec<u16>; 2],
    ) {
        if to.ip() != public(host) {
            return;
        }
        let Some(port) = self.nats[host].arrive(to.port(), from) else { return };
        let Some(socket) = ports[host].iter().position(|known| *known == port) else { return };
        self.trace.push((self.now, from, to));
        let pair = Pair { socket, remote: from };
        match packet {
            Packet::Probe(probe) => machines[host].handle_probe(self.now, Probe { pair, ..probe }),
            Packet::Answer(transaction) => machines[host].handle_answer(self.now, pair, transaction),
        }
    }
}

fn check_mode(mode: &Mode, sockets: usize) {
    match mode {
        Mode::Pairs { pairs, .. } => {
            assert!(pairs.len() <= limits::PUNCH_PAIRS.max(limits::PUNCH_SOCKETS.into()));
            assert!(pairs.iter().all(|pair| pair.socket < sockets));
        }
        Mode::Search { probes, .. } => assert!(*probes <= limits::PUNCH_SEARCH_PROBES),
    }
}
