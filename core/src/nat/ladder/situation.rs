//! What a ladder knows when it chooses: both profiles, the peer's addresses, what is mapped, configured and remembered.
//! Plain data. Not here: finding these things out.

use std::net::SocketAddr;
use std::time::Duration;

use crate::nat::method::{MappingProtocol, Method, Preference, Transport};
use crate::nat::policy::{self, Origin, Policy};
use crate::nat::profile::NatProfile;

/// Where an address of the peer comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    /// The user named it.
    User,
    /// Local discovery over loopback.
    SameMachine,
    /// Local discovery.
    LocalNetwork,
    /// The peer says an interface of it has this address, or somebody says the peer is there.
    Told,
    /// A server or another peer saw the peer at this address.
    Observed,
    /// The peer's router holds this port open for it.
    Mapped(MappingProtocol),
}

impl Source {
    /// How far it is trusted.
    pub const fn origin(self) -> Origin {
        match self {
            Source::User => Origin::User,
            Source::SameMachine => Origin::SameMachine,
            Source::LocalNetwork => Origin::LocalNetwork,
            Source::Told | Source::Observed | Source::Mapped(_) => Origin::Remote,
        }
    }
}

/// An address with what is spoken there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Target {
    /// Where.
    pub address: SocketAddr,
    /// How.
    pub transport: Transport,
}

/// An address of the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Candidate {
    /// Where and how.
    pub target: Target,
    /// Where it comes from.
    pub source: Source,
}

/// A port that our router holds open for us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OwnMapping {
    /// By which protocol.
    pub protocol: MappingProtocol,
    /// The address outside.
    pub external: Target,
}

/// Whether messages can be exchanged with the peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Signalling {
    /// No.
    #[default]
    Absent,
    /// As soon as the circuit stands.
    AfterCircuit,
    /// Yes.
    Ready,
}

/// How near a relay is to carrying bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Relay {
    /// There is none.
    #[default]
    Absent,
    /// Configured or known, but not connected.
    Known,
    /// Connected; it can be used at once.
    Ready,
}

/// All that a ladder goes by.
#[derive(Clone, Debug, Default)]
pub struct Situation {
    /// Our NAT.
    pub ours: NatProfile,
    /// The peer's, if it told us.
    pub theirs: Option<NatProfile>,
    /// Whether we have a route to the IPv6 internet and may use it.
    pub ipv6: bool,
    /// Whether IPv4 goes before IPv6, instead of the other way round.
    pub ipv4_first: bool,
    /// The peer's addresses; those beyond the limit are left out.
    pub candidates: Vec<Candidate>,
    /// Ports open at our router.
    pub our_mappings: Vec<OwnMapping>,
    /// Whether messages can be exchanged.
    pub signalling: Signalling,
    /// A circuit relay to the peer.
    pub circuit: Relay,
    /// Whether that relay limits bytes or time so that a file does not fit.
    pub circuit_limited: bool,
    /// A TURN server.
    pub turn: Relay,
    /// A Gun relay.
    pub gun: Relay,
    /// What worked before, latest first (connection registry).
    pub memory: Vec<Method>,
    /// Only these, in this order.
    pub preferred: Option<Vec<Preference>>,
    /// Which addresses may be dialled.
    pub policy: Policy,
    /// Round trip time to the peer by the slowest way, if known. Deadlines grow with it.
    pub round_trip: Option<Duration>,
}

impl Situation {
    /// Whether both are likely in one local network.
    pub fn same_site(&self) -> bool {
        self.policy.same_lan || self.theirs.as_ref().is_some_and(|theirs| policy::same_site(&self.ours, theirs))
    }

    /// Whether both are in the IPv6 internet, where nothing translates.
    pub fn both_ipv6(&self) -> bool {
        self.ipv6 && self.theirs.as_ref().is_some_and(|theirs| theirs.public_v6.is_some())
    }

    /// Whether both are behind the same public IPv4 address.
    pub fn same_public_v4(&self) -> bool {
        let theirs = self.theirs.as_ref().and_then(|theirs| theirs.public_v4);
        matches!((self.ours.public_v4, theirs), (Some(ours), Some(theirs)) if ours.ip() == theirs.ip())
    }

    /// The policy with what is known about the peer's place.
    pub fn full_policy(&self) -> Policy {
        Policy { same_lan: self.same_site(), ..self.policy.clone() }
    }
}
