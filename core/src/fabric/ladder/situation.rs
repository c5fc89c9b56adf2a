//! What a ladder knows when it chooses, put together from the wish, the fabric's links and our side. Not here: choosing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;

use super::request::{Address, Description};
use super::{Shared, Wish};
use crate::base::ids::PeerId;
use crate::base::limits;
use crate::fabric::address;
use crate::nat::ladder::{Candidate, Relay, Signalling, Situation, Source, Target};
use crate::nat::method::{Method, Preference, Transport};
use crate::nat::policy::{Network, Policy, Scope};
use crate::nat::profile::NatProfile;
use crate::net::interfaces::source_towards;

/// What leads to this machine.
const LOOPBACK: [(IpAddr, u8); 2] = [(IpAddr::V4(Ipv4Addr::LOCALHOST), 8), (IpAddr::V6(Ipv6Addr::LOCALHOST), 128)];

/// What is known about one peer.
#[derive(Debug, Default)]
pub struct Knowledge {
    candidates: Vec<Candidate>,
    /// Addresses through relays.
    pub circuits: Vec<Multiaddr>,
    /// What the peer said about itself.
    theirs: Option<NatProfile>,
    preferred: Option<Vec<Preference>>,
    memory: Vec<Method>,
    /// Whether what works is remembered.
    pub remember: bool,
    /// No relay of the peer could be reached.
    pub circuit_failed: bool,
    /// The peer does not answer letters.
    pub silent: bool,
}

impl Knowledge {
    /// What the registry remembers of the peer.
    pub fn of(shared: &Shared, peer: &PeerId) -> Self {
        let known = shared.config.registry.get_successful_methods(peer.as_str());
        Self { memory: known.iter().map(|entry| entry.connection_type).collect(), ..Self::default() }
    }

    /// Adds what somebody wishes. Whether there is anything new.
    pub fn add_wish(&mut self, wish: Wish, found: Vec<(Multiaddr, Source)>) -> bool {
        let before = (self.candidates.len(), self.circuits.len(), self.preferred.clone());
        self.remember |= wish.remember;
        // Whoever asks last for certain ways is the one who waits for them; without such a wish all are open.
        self.preferred = wish.preferred;
        for (address, source) in found {
            self.add_address(address, source);
        }
        (self.candidates.len(), self.circuits.len(), self.preferred.clone()) != before
    }

    /// Whether a link that came about in this way is what somebody wishes. A circuit is always good for talking.
    pub fn may_use(&self, method: Method) -> bool {
        let Some(preferred) = &self.preferred else { return true };
        method == Method::Circuit || preferred.iter().any(|preference| preference.methods.contains(&method))
    }

    /// Adds what the peer says about itself.
    pub fn add_description(&mut self, description: Description) {
        self.theirs = Some(description.profile);
        for address in description.addresses.iter().take(limits::MAX_LADDER_CANDIDATES) {
            self.add_candidate(address.candidate());
        }
    }

    /// An address through a relay that works already.
    pub fn add_circuit(&mut self, text: &str) {
        if let Ok(address) = text.parse() {
            self.add_address(address, Source::Told);
        }
    }

    fn add_address(&mut self, address: Multiaddr, source: Source) {
        if address::is_relayed(&address) {
            if self.circuits.len() < limits::MAX_ADDRESSES_PER_PEER && !self.circuits.contains(&address) {
                self.circuits.push(address);
            }
        } else if let Some(target) = target(&address) {
            self.add_candidate(Candidate { target, source });
        }
    }

    fn add_candidate(&mut self, candidate: Candidate) {
        let room = self.candidates.len() < limits::MAX_LADDER_CANDIDATES;
        if room && !self.candidates.iter().any(|known| known.target == candidate.target) {
            self.candidates.push(candidate);
        }
    }

    /// Whether letters over Gun are how to talk now: no relay leads to the peer, and it has not been silent.
    pub fn talks_by_letter(&self, shared: &Shared, peer: &PeerId) -> bool {
        let no_relay = self.circuits.is_empty() || self.circuit_failed;
        !self.silent && no_relay && shared.relayed_link(peer).is_none() && shared.may_write_to(peer)
    }

    /// Everything for the next choice.
    pub fn situation(&self, shared: &Shared, peer: &PeerId) -> Situation {
        let relayed = shared.relayed_link(peer);
        let signalling = match &relayed {
            Some(_) => Signalling::Ready,
            None if self.talks_by_letter(shared, peer) => Signalling::Ready,
            None if self.circuits.is_empty() => Signalling::Absent,
            None => Signalling::AfterCircuit,
        };
        let circuit = match (&relayed, self.circuits.is_empty()) {
            (Some(_), _) => Relay::Ready,
            (None, false) => Relay::Known,
            (None, true) => Relay::Absent,
        };
        Situation {
            ours: shared.profile(),
            theirs: self.theirs.clone(),
            ipv6: shared.config.ipv6 && has_ipv6(),
            ipv4_first: shared.config.ipv4_first,
            candidates: self.candidates.clone(),
            our_mappings: shared.config.mappings.borrow().clone(),
            signalling,
            circuit,
            // Where nobody wishes for one, it only serves to talk; everything is better.
            circuit_limited: self.preferred.as_ref().is_some_and(|preferred| {
                !preferred.iter().any(|preference| preference.methods.contains(&Method::Circuit))
            }),
            turn: if shared.config.turn.is_empty() { Relay::Absent } else { Relay::Known },
            gun: if !self.silent && shared.may_write_to(peer) { Relay::Known } else { Relay::Absent },
            memory: self.memory.clone(),
            preferred: self.preferred.clone(),
            policy: shared.policy(peer),
            round_trip: None,
        }
    }
}

impl Shared {
    /// How near the peer may be, by the relays that lead to it, or else those through which it writes.
    pub fn scope(&self, peer: &PeerId) -> Scope {
        self.scope_by_letter(peer).unwrap_or_else(|| self.fabric.scope(peer))
    }

    /// How near a peer must be to which nothing but letters leads.
    fn scope_by_letter(&self, peer: &PeerId) -> Option<Scope> {
        let is_led = self.fabric.links().iter().any(|link| link.peer == *peer && !link.is_gun());
        self.graph.get().map(|graph| graph.scope).filter(|_| !is_led)
    }

    /// Which of a peer's claims may be tried.
    pub fn policy(&self, peer: &PeerId) -> Policy {
        let same_lan = self.scope(peer) >= Scope::Site;
        if self.scope_by_letter(peer) == Some(Scope::Machine) {
            // Only who is on this machine can write these letters, and has our addresses.
            let permitted = LOOPBACK.map(|(ip, prefix)| Network::new(ip, prefix)).to_vec();
            return Policy { same_lan, permitted, excluded: Vec::new() };
        }
        Policy { same_lan, excluded: self.excluded(), ..Policy::default() }
    }

    /// What we say about ourselves.
    pub fn description(&self) -> Description {
        let mapped = self.config.mappings.borrow();
        let mapped = mapped.iter().map(|mapping| Address {
            at: mapping.external.address,
            transport: mapping.external.transport,
            mapped: Some(mapping.protocol),
        });
        let listening = self.fabric.addresses();
        let own = listening.iter().filter_map(|text| text.parse().ok()).filter_map(|address: Multiaddr| {
            let Target { address: at, transport } = target(&address).filter(|_| !address::is_relayed(&address))?;
            (!at.ip().is_loopback()).then_some(Address { at, transport, mapped: None })
        });
        let addresses = mapped.chain(own).take(limits::MAX_LADDER_CANDIDATES).collect();
        Description { profile: self.profile(), addresses }
    }
}

/// The multiaddrs that a wish means, as far as they are this peer's; names are looked up. As many as a ladder takes.
pub async fn resolve(peer: &PeerId, wish: &Wish) -> Vec<(Multiaddr, Source)> {
    let mut found = Vec::new();
    for (text, source) in wish.addresses.iter().take(limits::MAX_LADDER_CANDIDATES) {
        found.extend(addresses(text, peer).await.into_iter().map(|address| (address, *source)));
    }
    found
}

async fn addresses(text: &str, peer: &PeerId) -> Vec<Multiaddr> {
    let named = match address::parse(text) {
        Ok(address::Target::Address(address, named)) => {
            if named.is_some_and(|named| address::peer_text(&named) != *peer) {
                return Vec::new();
            }
            vec![address]
        }
        Ok(address::Target::Host(host, port)) => crate::fabric::dial::host_addresses(&host, port),
        _ => return Vec::new(),
    };
    let mut found = Vec::new();
    for address in named {
        let Some((name, v4, v6)) = address::dns_name(&address) else {
            found.push(address);
            continue;
        };
        let lookup = tokio::time::timeout(limits::STUN_LOOKUP_TIMEOUT, tokio::net::lookup_host((name.as_str(), 0)));
        if let Ok(Ok(ips)) = lookup.await {
            let ips = ips.map(|at| at.ip()).filter(|ip| if ip.is_ipv4() { v4 } else { v6 });
            found.extend(ips.map(|ip| address::with_ip(&address, ip)));
        }
    }
    found
}

/// The socket address of `/ip…/tcp/…` and `/ip…/udp/…/quic-v1`.
fn target(address: &Multiaddr) -> Option<Target> {
    let at = address::socket(address)?;
    let mut rest = address.iter().skip(1);
    let transport = match (rest.next()?, rest.next()) {
        (Protocol::Tcp(_), None | Some(Protocol::P2p(_))) => Transport::Tcp,
        (Protocol::Udp(_), Some(Protocol::QuicV1)) => Transport::Udp,
        _ => return None,
    };
    Some(Target { address: at, transport })
}

/// Whether the system has a way to the IPv6 internet; nothing is sent.
fn has_ipv6() -> bool {
    // The first address of the range given out so far.
    source_towards(SocketAddr::new(IpAddr::V6(std::net::Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 1)), 9)).is_some()
}
