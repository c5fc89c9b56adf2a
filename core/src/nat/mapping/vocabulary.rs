//! The words of port mapping: what is wanted, what was granted, what failed. Not here: any decision.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde::Serialize;

use super::reach::Reach;

/// What is mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// Through which protocol a router is asked, the preferred one first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// Port Control Protocol, RFC 6887.
    Pcp,
    /// NAT Port Mapping Protocol, RFC 6886. IPv4 only.
    NatPmp,
    /// UPnP Internet Gateway Device: port mappings for IPv4, firewall pinholes for IPv6.
    Upnp,
}

impl Method {
    /// All of them, the preferred one first.
    pub const ALL: [Method; 3] = [Method::Pcp, Method::NatPmp, Method::Upnp];

    /// Its name for people.
    pub const fn name(self) -> &'static str {
        match self {
            Method::Pcp => "PCP",
            Method::NatPmp => "NAT-PMP",
            Method::Upnp => "UPnP",
        }
    }
}

/// Which protocols may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Methods {
    /// PCP.
    pub pcp: bool,
    /// NAT-PMP.
    pub nat_pmp: bool,
    /// UPnP.
    pub upnp: bool,
}

impl Methods {
    /// All of them.
    pub const ALL: Methods = Methods { pcp: true, nat_pmp: true, upnp: true };
    /// UPnP alone.
    pub const UPNP: Methods = Methods { pcp: false, nat_pmp: false, upnp: true };
    /// NAT-PMP alone.
    pub const NAT_PMP: Methods = Methods { pcp: false, nat_pmp: true, upnp: false };

    /// By the two switches that users have: one for UPnP, one for NAT-PMP and its successor PCP.
    pub const fn by_switches(upnp: bool, natpmp: bool) -> Self {
        Methods { pcp: natpmp, nat_pmp: natpmp, upnp }
    }

    /// Whether this one may be used.
    pub const fn has(self, method: Method) -> bool {
        match method {
            Method::Pcp => self.pcp,
            Method::NatPmp => self.nat_pmp,
            Method::Upnp => self.upnp,
        }
    }
}

/// IPv4 or IPv6. A wish is met in each of them that has a router.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// A port of the router's IPv4 address.
    V4,
    /// A pinhole in the router's IPv6 firewall.
    V6,
}

impl Family {
    /// The family of an address.
    pub const fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Family::V4 } else { Family::V6 }
    }
}

/// The router of one family and our address towards it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Route {
    /// The router's inside address; often link-local in IPv6.
    pub gateway: IpAddr,
    /// Our address that is to be reached; a global one in IPv6.
    pub local: IpAddr,
    /// The interface's index, for link-local routers; 0 where it does not matter.
    pub scope: u32,
}

/// A port that is to be reachable from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Wish {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Our port; not 0.
    pub internal_port: u16,
    /// The router's port that would be best; 0 for the same as ours.
    pub suggested_external: u16,
    /// How long the router shall keep it without a renewal; at least a second.
    pub lifetime: Duration,
}

impl Wish {
    /// The port to ask for.
    pub const fn external(&self) -> u16 {
        if self.suggested_external == 0 { self.internal_port } else { self.suggested_external }
    }
}

/// Why a router did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Failure {
    /// Nothing came back within the deadline.
    Silent,
    /// The router, or this machine, says that nobody listens there.
    Unreachable,
    /// There is no router of this family.
    NoGateway,
    /// The router speaks, but not this protocol or this version of it.
    Unsupported,
    /// The router says no.
    Refused {
        /// The result code of PCP or NAT-PMP, the error code of UPnP.
        code: u16,
        /// What it means.
        reason: String,
    },
    /// Anything else, in words.
    Broken {
        /// What happened.
        reason: String,
    },
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Silent => f.write_str("no answer"),
            Failure::Unreachable => f.write_str("nobody listens there"),
            Failure::NoGateway => f.write_str("no default gateway"),
            Failure::Unsupported => f.write_str("not supported by the router"),
            Failure::Refused { code, reason } => write!(f, "refused: {reason} (code {code})"),
            Failure::Broken { reason } => f.write_str(reason),
        }
    }
}

/// How far a mapping is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum MappingState {
    /// Routers are being asked.
    Asking,
    /// The router maps the port.
    Mapped {
        /// Where the outside finds us.
        external: SocketAddr,
        /// By which protocol.
        method: Method,
        /// What the router granted; `None` for a permanent mapping.
        lifetime: Option<Duration>,
        /// Whether the outside can be expected to reach it.
        reach: Reach,
    },
    /// No router maps it; it is tried again later.
    Refused {
        /// What each protocol said.
        failures: Vec<(Method, Failure)>,
    },
}

/// One mapping of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MappingInfo {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Our port.
    pub internal_port: u16,
    /// Port mapping (IPv4) or pinhole (IPv6).
    pub family: Family,
    /// How far it is.
    pub state: MappingState,
}

impl MappingInfo {
    /// Where the outside finds us, if the port is mapped.
    pub fn external(&self) -> Option<SocketAddr> {
        match self.state {
            MappingState::Mapped { external, .. } => Some(external),
            _ => None,
        }
    }

    /// By which protocol, if the port is mapped.
    pub fn method(&self) -> Option<Method> {
        match self.state {
            MappingState::Mapped { method, .. } => Some(method),
            _ => None,
        }
    }

    /// Whether the outside can be expected to reach it, if the port is mapped.
    pub fn reach(&self) -> Option<Reach> {
        match self.state {
            MappingState::Mapped { reach, .. } => Some(reach),
            _ => None,
        }
    }
}

/// What happened to the mappings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "event")]
pub enum Event {
    /// A port is mapped now.
    Mapped(MappingInfo),
    /// A mapping was renewed as it was.
    Renewed(MappingInfo),
    /// A mapping has another external address or port now.
    Moved {
        /// Where it was.
        from: SocketAddr,
        /// What it is now.
        mapping: MappingInfo,
    },
    /// New knowledge changed whether the outside can be expected to reach it.
    Judged(MappingInfo),
    /// A mapping is gone; it is asked for again.
    Lost {
        /// The mapping.
        mapping: MappingInfo,
        /// Where it was.
        from: SocketAddr,
        /// Why.
        reason: Failure,
    },
    /// No router maps the port; the reasons are in the state. It is tried again later.
    Refused(MappingInfo),
    /// The router has forgotten its mappings; they are being made again.
    Forgotten {
        /// IPv4 or IPv6.
        family: Family,
        /// Who said so.
        method: Method,
    },
}

/// What one protocol answered when it was probed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProbeResult {
    /// IPv4 or IPv6.
    pub family: Family,
    /// The protocol.
    pub method: Method,
    /// How long the answer took; `None` without one.
    pub answered_after: Option<Duration>,
    /// The router's outside address, where the protocol tells it.
    pub external: Option<IpAddr>,
    /// Why it cannot be used; `None` when it can, or when it is still being asked.
    pub failure: Option<Failure>,
    /// More for people: which device, which version.
    pub detail: Option<String>,
    /// Still being asked.
    pub pending: bool,
}

/// Bytes that are not a message of the protocol: what is wrong with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Malformed {}
