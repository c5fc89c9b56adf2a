//! A NAT by the two axes of RFC 4787, mapping and filtering, with the ways of choosing ports. Not here: hairpinning and
//! time-outs, which a punching attempt is too short for.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use dig_nat_core::base::random::Jitter;
use dig_nat_core::nat::profile::{Filtering, Mapping, NatProfile, PortAllocation};
use dig_nat_core::nat::punch::message::NatSummary;

/// A type of NAT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    pub mapping: Mapping,
    pub filtering: Filtering,
    pub allocation: PortAllocation,
    /// Most mappings and permissions it holds.
    pub sessions: Option<usize>,
}

impl Kind {
    pub const fn new(mapping: Mapping, filtering: Filtering, allocation: PortAllocation) -> Self {
        Self { mapping, filtering, allocation, sessions: None }
    }

    /// What a measurement of it says.
    pub fn summary(self) -> NatSummary {
        let profile = NatProfile {
            translated: Some(true),
            mapping: Some(self.mapping),
            filtering: Some(self.filtering),
            allocation: Some(self.allocation),
            ..NatProfile::default()
        };
        let mut summary = NatSummary::new(&profile);
        if let Some(sessions) = self.sessions {
            summary.sockets = sessions as u16;
            summary.probes = sessions as u16;
        }
        summary
    }
}

/// A NAT with one host behind it; the host is known by its ports.
#[derive(Debug)]
pub struct Nat {
    kind: Kind,
    ip: IpAddr,
    jitter: Jitter,
    next: u16,
    /// Inside port and the part of the destination that counts, to the external port.
    out: BTreeMap<(u16, Option<IpAddr>, Option<u16>), u16>,
    /// External port to the inside port.
    inside: BTreeMap<u16, u16>,
    /// Whom an external port has sent to.
    permitted: BTreeSet<(u16, SocketAddr)>,
}

impl Nat {
    pub fn new(kind: Kind, ip: IpAddr, mut jitter: Jitter) -> Self {
        let next = 30_000 + jitter.below(1000) as u16;
        let (out, inside, permitted) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
        Self { kind, ip, jitter, next, out, inside, permitted }
    }

    /// A packet leaves: the external source, or nothing when the table is full.
    pub fn leave(&mut self, port: u16, to: SocketAddr) -> Option<SocketAddr> {
        let key = self.key(port, to);
        let known = self.out.get(&key).copied();
        let full = self.kind.sessions.is_some_and(|most| self.permitted.len() >= most);
        let external = match known {
            Some(external) => external,
            None if full => return None,
            None => {
                let external = self.allocate(port)?;
                self.out.insert(key, external);
                self.inside.insert(external, port);
                external
            }
        };
        if full && !self.permitted.contains(&(external, to)) {
            return None;
        }
        self.permitted.insert((external, to));
        Some(SocketAddr::new(self.ip, external))
    }

    /// A packet arrives at an external port: the inside port, or nothing.
    pub fn arrive(&mut self, external: u16, from: SocketAddr) -> Option<u16> {
        let port = *self.inside.get(&external)?;
        let mut known = self.permitted.range((external, "0.0.0.0:0".parse().expect("valid"))..);
        let admitted = match self.kind.filtering {
            Filtering::EndpointIndependent => true,
            Filtering::AddressDependent => known.any(|(port, peer)| *port == external && peer.ip() == from.ip()),
            Filtering::AddressAndPortDependent => self.permitted.contains(&(external, from)),
        };
        if !admitted {
            return None;
        }
        // The session's answers leave the way it came in, as in every kernel that tracks connections.
        let key = self.key(port, from);
        self.out.insert(key, external);
        Some(port)
    }

    /// Somebody else behind the same NAT opens a flow.
    pub fn disturb(&mut self) {
        let _ = self.allocate(1);
    }

    fn key(&self, port: u16, to: SocketAddr) -> (u16, Option<IpAddr>, Option<u16>) {
        match self.kind.mapping {
            Mapping::EndpointIndependent => (port, None, None),
            Mapping::AddressDependent => (port, Some(to.ip()), None),
            Mapping::AddressAndPortDependent => (port, Some(to.ip()), Some(to.port())),
        }
    }

    /// `None` when no port is free.
    fn allocate(&mut self, port: u16) -> Option<u16> {
        let (first, size) = match self.kind.allocation {
            PortAllocation::Preserving if !self.inside.contains_key(&port) => return Some(port),
            PortAllocation::Sequential { step } => {
                let taken = self.next;
                self.next = self.next.wrapping_add_signed(step);
                return Some(taken);
            }
            PortAllocation::Block { first, size } => (first, usize::from(size)),
            PortAllocation::Preserving | PortAllocation::Random => (1024, 64_512),
        };
        let mut candidates = (0..20 * size).map(|_| first + self.jitter.below(size) as u16);
        candidates.find(|candidate| !self.inside.contains_key(candidate))
    }
}
