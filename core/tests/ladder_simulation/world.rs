//! The truth about one pair of peers: their NATs, routers, relays, and which way works between them. The tables are the
//! measured ones (two axes, mapping and filtering), written down a second time, apart from the library's own theory.

use std::net::SocketAddr;
use std::time::Duration;

use dig_nat_core::base::random::Jitter;
use dig_nat_core::nat::ladder::{Candidate, OwnMapping, Relay, Signalling, Situation, Source, Target};
use dig_nat_core::nat::method::{MappingProtocol, Method, Side, Transport};
use dig_nat_core::nat::profile::{Filtering, Mapping, NatProfile, PortAllocation};

pub const ROUND_TRIP: Duration = Duration::from_millis(50);

/// Types by their row in the tables below.
pub const TYPES: [&str; 8] =
    ["public", "full-cone", "address", "port", "symmetric", "sequential", "sym-open", "addr-map"];
const PUBLIC: usize = 0;
const FULL_CONE: usize = 1;
const SYMMETRIC_OPEN: usize = 6;

/// Whether plain UDP punching works.
const PUNCH: [&str; 8] =
    ["++++++++", "++++++++", "++++++++", "++++--+-", "+++---+-", "+++---+-", "++++++++", "+++---+-"];
/// Whether guessing ports works where plain punching does not.
const GUESS: [&str; 8] =
    ["........", "........", "........", "....++.+", "...+----", "...+-+.-", "........", "...+----"];
/// Whether TCP punching works.
const TCP: [&str; 8] = ["++++++++", "++++++++", "++++----", "++++----", "++------", "++------", "++------", "++------"];

/// What lets packets out of a site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Open,
    NoUdp,
    WebOnly,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum V6 {
    Absent,
    Open,
    Firewall,
}

#[derive(Clone, Debug)]
pub struct Site {
    pub nat: usize,
    pub exit: Exit,
    pub v6: V6,
    /// The router gives ports by this protocol.
    pub router: Option<MappingProtocol>,
    /// Which of the world's addresses it has.
    pub number: u8,
}

#[derive(Clone, Debug)]
pub struct World {
    pub ours: Site,
    pub theirs: Site,
    /// Both behind one NAT.
    pub same_nat: bool,
    pub hairpin: bool,
    /// The access point keeps its clients apart.
    pub isolated: bool,
    pub signalling: Signalling,
    pub circuit: Relay,
    pub circuit_works: bool,
    pub circuit_limited: bool,
    pub turn: bool,
    pub gun: bool,
    pub our_profile_known: bool,
    pub their_profile_known: bool,
    pub memory: Vec<Method>,
    /// No way without a relay works any more.
    pub direct_dead: bool,
}

fn chance(random: &mut Jitter, percent: usize) -> bool {
    random.below(100) < percent
}

impl Site {
    fn random(random: &mut Jitter, number: u8) -> Self {
        let protocols = [MappingProtocol::Pcp, MappingProtocol::NatPmp, MappingProtocol::Upnp];
        Self {
            nat: random.below(TYPES.len()),
            exit: match random.below(10) {
                0 => Exit::NoUdp,
                1 => Exit::WebOnly,
                _ => Exit::Open,
            },
            v6: [V6::Absent, V6::Absent, V6::Absent, V6::Open, V6::Firewall][random.below(5)],
            router: chance(random, 20).then(|| protocols[random.below(3)]),
            number,
        }
    }

    pub fn v4(&self) -> SocketAddr {
        SocketAddr::from(([44, 128, self.number, 1], 4001))
    }

    pub fn v6_address(&self) -> SocketAddr {
        SocketAddr::from(([0x2a00, 1, u16::from(self.number), 0, 0, 0, 0, 1], 4001))
    }

    pub fn mapped(&self) -> SocketAddr {
        SocketAddr::from(([44, 128, self.number, 1], 40_001))
    }

    pub fn lan(&self) -> SocketAddr {
        SocketAddr::from(([192, 168, 1, self.number], 4001))
    }

    fn profile(&self, hairpin: Option<bool>) -> NatProfile {
        use Filtering as F;
        use Mapping as M;
        let (mapping, filtering, allocation) = match self.nat {
            0 | 1 => (M::EndpointIndependent, F::EndpointIndependent, PortAllocation::Preserving),
            2 => (M::EndpointIndependent, F::AddressDependent, PortAllocation::Preserving),
            3 => (M::EndpointIndependent, F::AddressAndPortDependent, PortAllocation::Preserving),
            4 => (M::AddressAndPortDependent, F::AddressAndPortDependent, PortAllocation::Random),
            5 => (M::AddressAndPortDependent, F::AddressAndPortDependent, PortAllocation::Sequential { step: 1 }),
            6 => (M::AddressAndPortDependent, F::EndpointIndependent, PortAllocation::Random),
            _ => (M::AddressDependent, F::AddressAndPortDependent, PortAllocation::Random),
        };
        let udp = self.exit == Exit::Open;
        NatProfile {
            public_v4: Some(self.v4()),
            public_v6: (self.v6 != V6::Absent).then(|| self.v6_address()),
            translated: Some(self.nat != PUBLIC),
            mapping: udp.then_some(mapping),
            filtering: udp.then_some(filtering),
            allocation: udp.then_some(allocation),
            hairpin,
            udp_blocked: !udp,
            filtering_v6: match self.v6 {
                V6::Open => Some(F::EndpointIndependent),
                V6::Firewall => Some(F::AddressAndPortDependent),
                V6::Absent => None,
            },
            ..NatProfile::default()
        }
    }
}

impl World {
    pub fn random(random: &mut Jitter) -> Self {
        let same_nat = chance(random, 10);
        let ours = Site::random(random, 10);
        let mut theirs = Site::random(random, 20);
        if same_nat {
            theirs = Site { number: 11, ..ours.clone() };
        }
        let relay = [Relay::Absent, Relay::Known, Relay::Ready];
        let circuit = relay[random.below(3)];
        let signalling = match (random.below(10), circuit) {
            (0, _) => Signalling::Absent,
            (1..=5, Relay::Known | Relay::Ready) => Signalling::AfterCircuit,
            _ => Signalling::Ready,
        };
        let memory = (0..random.below(3)).map(|_| Method::ALL[random.below(Method::ALL.len())]).collect();
        Self {
            ours,
            theirs,
            same_nat,
            hairpin: chance(random, 50),
            isolated: chance(random, 10),
            signalling,
            circuit,
            circuit_works: chance(random, 90),
            circuit_limited: chance(random, 50),
            turn: chance(random, 40),
            gun: chance(random, 20),
            our_profile_known: chance(random, 80),
            their_profile_known: chance(random, 70),
            memory,
            direct_dead: false,
        }
    }

    /// What the ladder is told.
    pub fn situation(&self) -> Situation {
        let hairpin = self.same_nat.then_some(self.hairpin);
        let mut theirs = self.theirs.profile(hairpin);
        if self.same_nat {
            theirs.public_v4 = Some(SocketAddr::new(self.ours.v4().ip(), 4002));
        }
        let udp = |address, source| Candidate { target: Target { address, transport: Transport::Udp }, source };
        let tcp = |address, source| Candidate { target: Target { address, transport: Transport::Tcp }, source };
        let public = theirs.public_v4.expect("set above");
        let mut candidates = vec![udp(public, Source::Observed), tcp(public, Source::Told)];
        if self.theirs.v6 != V6::Absent {
            candidates.push(udp(self.theirs.v6_address(), Source::Told));
        }
        if let Some(protocol) = self.theirs.router.filter(|_| !self.same_nat) {
            candidates.push(udp(self.theirs.mapped(), Source::Mapped(protocol)));
            candidates.push(tcp(self.theirs.mapped(), Source::Mapped(protocol)));
        }
        if self.same_nat {
            candidates.push(udp(self.theirs.lan(), Source::Told));
        }
        // A liar's, and those every peer tells of its own machine.
        for text in FORBIDDEN {
            candidates.push(udp(text.parse().expect("an address"), Source::Told));
        }
        if !self.same_nat {
            candidates.push(udp(self.theirs.lan(), Source::Told));
        }
        let mapping = self.ours.router.filter(|_| !self.same_nat).map(|protocol| OwnMapping {
            protocol,
            external: Target { address: self.ours.mapped(), transport: Transport::Tcp },
        });
        let ours = self.ours.profile(hairpin);
        let unmeasured = NatProfile { public_v4: ours.public_v4, ..NatProfile::default() };
        Situation {
            ours: if self.our_profile_known { ours } else { unmeasured },
            // Without the peer's profile nobody can tell that it shares our site, so such a pair always knows.
            theirs: (self.their_profile_known || self.same_nat).then_some(theirs),
            ipv6: self.ours.v6 != V6::Absent,
            candidates,
            our_mappings: mapping.into_iter().collect(),
            signalling: self.signalling,
            circuit: self.circuit,
            circuit_limited: self.circuit_limited,
            turn: if self.turn { Relay::Known } else { Relay::Absent },
            gun: if self.gun { Relay::Known } else { Relay::Absent },
            memory: self.memory.clone(),
            ..Situation::default()
        }
    }

    /// Everything that may be dialled or punched at.
    pub fn permitted(&self) -> Vec<SocketAddr> {
        let second = SocketAddr::new(self.ours.v4().ip(), 4002);
        let mut permitted = vec![self.theirs.v4(), self.theirs.mapped(), self.theirs.v6_address()];
        if self.same_nat {
            permitted.extend([second, self.theirs.lan()]);
        }
        permitted
    }

    /// Whether messages can be exchanged at some time.
    pub fn can_signal(&self) -> bool {
        match self.signalling {
            Signalling::Absent => false,
            Signalling::AfterCircuit => self.circuit_works,
            Signalling::Ready => true,
        }
    }

    fn udp(&self) -> bool {
        self.ours.exit == Exit::Open && self.theirs.exit == Exit::Open
    }

    fn any_tcp(&self) -> bool {
        self.ours.exit != Exit::WebOnly && self.theirs.exit != Exit::WebOnly
    }

    fn both_v6(&self) -> bool {
        self.ours.v6 != V6::Absent && self.theirs.v6 != V6::Absent
    }

    fn cell(&self, table: &[&str; 8]) -> bool {
        table[self.ours.nat].as_bytes()[self.theirs.nat] == b'+'
    }

    /// How many round trips a way takes, and whether a relay carries it; `None` if it does not work.
    pub fn way(&self, method: Method) -> Option<(u32, bool)> {
        let nat_works = |table| if self.same_nat { self.hairpin } else { self.cell(table) };
        let udp_punch = self.udp() && (self.both_v6() || nat_works(&PUNCH));
        let direct = |works: bool, trips: u32| (works && !self.direct_dead).then_some((trips, false));
        match method {
            Method::Lan => direct(self.same_nat && !self.isolated, 1),
            Method::DirectV6 => {
                let carried = self.udp();
                direct(self.ours.v6 != V6::Absent && self.theirs.v6 == V6::Open && carried, 1)
            }
            Method::DirectV4 => {
                let by_udp = self.udp() && matches!(self.theirs.nat, PUBLIC | FULL_CONE | SYMMETRIC_OPEN);
                let by_tcp = self.any_tcp() && self.theirs.nat == PUBLIC;
                direct(!self.same_nat && (by_udp || by_tcp), 1)
            }
            Method::Mapped(protocol, side) => {
                let owner = if side == Side::Ours { &self.ours } else { &self.theirs };
                let trips = if side == Side::Ours { 2 } else { 1 };
                direct(!self.same_nat && owner.router == Some(protocol) && self.any_tcp(), trips)
            }
            Method::UdpPunch => direct(udp_punch, 3),
            Method::UdpAdvancedPunch => direct(self.udp() && !self.same_nat && !udp_punch && self.cell(&GUESS), 8),
            Method::TcpPunch | Method::TcpSimultaneousOpen => {
                direct(self.any_tcp() && (self.both_v6() || nat_works(&TCP)), 3)
            }
            Method::Ice if udp_punch && !self.direct_dead => Some((4, false)),
            Method::Ice => (self.turn && self.ours.exit == Exit::Open).then_some((5, true)),
            Method::Turn => self.turn.then_some((4, true)),
            Method::Circuit => (self.circuit != Relay::Absent && self.circuit_works)
                .then_some((if self.circuit == Relay::Ready { 1 } else { 3 }, true)),
            Method::GunRelay => self.gun.then_some((4, true)),
        }
    }

    /// The best that can be had: `Some(true)` a direct path.
    pub fn reachable(&self) -> Option<bool> {
        let ways = Method::ALL.iter().filter(|method| self.can_signal() || !method.needs_signalling());
        let ways: Vec<(u32, bool)> = ways.filter_map(|method| self.way(*method)).collect();
        (!ways.is_empty()).then(|| ways.iter().any(|(_, relayed)| !relayed))
    }

    /// Whether a direct path can only be had by guessing ports.
    pub fn is_hard(&self) -> bool {
        let mut easy = Method::ALL
            .iter()
            .filter(|method| **method != Method::UdpAdvancedPunch && (self.can_signal() || !method.needs_signalling()));
        !easy.any(|method| matches!(self.way(*method), Some((_, false))))
    }

    pub fn describe(&self) -> String {
        let site =
            |site: &Site| format!("{} {:?} v6 {:?} router {:?}", TYPES[site.nat], site.exit, site.v6, site.router);
        format!("{} x {}: {self:?}", site(&self.ours), site(&self.theirs))
    }
}

/// Told to the ladder in every world; never to be touched.
pub const FORBIDDEN: [&str; 8] = [
    "127.0.0.1:4001",
    "169.254.169.254:80",
    "10.1.2.3:0",
    "224.0.0.251:5353",
    "[::1]:4001",
    "[fe80::1]:4001",
    "[::ffff:127.0.0.1]:80",
    "[64:ff9b::10.0.0.1]:80",
];
