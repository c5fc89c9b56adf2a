//! The ways of reaching a peer and their names: ours, those of the original package (`CONNECTION_TYPE`), and every other
//! spelling its documents use. Not here: which way is tried when (`ladder`).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::base::error::{Error, Result};

/// What carries the bytes below the encryption.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Transport {
    /// QUIC, or anything else on UDP.
    Udp,
    /// TLS on TCP.
    Tcp,
}

/// Protocols that ask a router for a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MappingProtocol {
    /// Port Control Protocol (RFC 6887).
    Pcp,
    /// NAT-PMP (RFC 6886).
    NatPmp,
    /// UPnP Internet Gateway Device.
    Upnp,
}

/// Whose router holds the mapped port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Side {
    /// Ours: the peer dials us.
    Ours,
    /// The peer's: we dial it.
    Theirs,
}

/// One way of reaching a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Method {
    /// A dial inside the local network.
    Lan,
    /// A plain dial to an IPv6 address.
    DirectV6,
    /// A plain dial to an IPv4 address.
    DirectV4,
    /// A port that a router holds open.
    Mapped(MappingProtocol, Side),
    /// Both sides send UDP at the same time.
    UdpPunch,
    /// The same with guessed ports: prediction for sequential NATs, birthday probing for random ones.
    UdpAdvancedPunch,
    /// Both sides listen and connect on the same TCP port.
    TcpPunch,
    /// Both sides connect at the same time, without listening.
    TcpSimultaneousOpen,
    /// Interactive Connectivity Establishment (RFC 8445).
    Ice,
    /// A TURN server (RFC 8656).
    Turn,
    /// A libp2p circuit relay.
    Circuit,
    /// Bytes through a Gun relay.
    GunRelay,
}

/// What a text in a list of preferred methods stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preference {
    /// The methods, in order.
    pub methods: &'static [Method],
    /// Only over this transport, if the text names one.
    pub transport: Option<Transport>,
}

use MappingProtocol::{NatPmp, Pcp, Upnp};
use Method as M;
use Side::{Ours, Theirs};

const DIRECT: &[Method] = &[M::Lan, M::DirectV6, M::DirectV4];
const UPNP: &[Method] = &[M::Mapped(Upnp, Theirs), M::Mapped(Upnp, Ours)];
const NAT_PMP: &[Method] = &[M::Mapped(NatPmp, Theirs), M::Mapped(NatPmp, Ours)];
const PCP: &[Method] = &[M::Mapped(Pcp, Theirs), M::Mapped(Pcp, Ours)];

/// Every accepted spelling, in the form [`normalise`] makes, with what it stands for. `CONNECTION_TYPE`, `NAT_METHODS`,
/// the documented lists of preferred methods, and our own names.
const ALIASES: &[(&str, &[Method], Option<Transport>)] = &[
    ("direct", DIRECT, None),
    ("tcp", DIRECT, Some(Transport::Tcp)),
    ("directtcp", DIRECT, Some(Transport::Tcp)),
    ("tcpdirect", DIRECT, Some(Transport::Tcp)),
    ("udp", DIRECT, Some(Transport::Udp)),
    ("quic", DIRECT, Some(Transport::Udp)),
    ("directudp", DIRECT, Some(Transport::Udp)),
    ("udpdirect", DIRECT, Some(Transport::Udp)),
    ("lan", &[M::Lan], None),
    ("local", &[M::Lan], None),
    ("ipv6", &[M::DirectV6], None),
    ("directv6", &[M::DirectV6], None),
    ("ipv6direct", &[M::DirectV6], None),
    // Tunnels are the operating system's affair; what they give is an IPv6 address.
    ("ipv6tunnel", &[M::DirectV6], None),
    ("ipv4", &[M::DirectV4], None),
    ("directv4", &[M::DirectV4], None),
    ("upnp", UPNP, None),
    ("upnpours", &[M::Mapped(Upnp, Ours)], None),
    ("upnptheirs", &[M::Mapped(Upnp, Theirs)], None),
    ("natpmp", NAT_PMP, None),
    ("natpmpours", &[M::Mapped(NatPmp, Ours)], None),
    ("natpmptheirs", &[M::Mapped(NatPmp, Theirs)], None),
    ("pcp", PCP, None),
    ("pcpours", &[M::Mapped(Pcp, Ours)], None),
    ("pcptheirs", &[M::Mapped(Pcp, Theirs)], None),
    ("udpholepunch", &[M::UdpPunch, M::UdpAdvancedPunch], None),
    ("udpholepunching", &[M::UdpPunch, M::UdpAdvancedPunch], None),
    ("udppunch", &[M::UdpPunch], None),
    ("stungun", &[M::UdpPunch], None),
    ("udpadvancedholepunch", &[M::UdpAdvancedPunch], None),
    ("udpadvancedholepunching", &[M::UdpAdvancedPunch], None),
    ("portprediction", &[M::UdpAdvancedPunch], None),
    ("tcpholepunch", &[M::TcpPunch], Some(Transport::Tcp)),
    ("tcpholepunching", &[M::TcpPunch], Some(Transport::Tcp)),
    ("tcppunch", &[M::TcpPunch], Some(Transport::Tcp)),
    // The original's name for punching TCP through NATs that do not keep the port.
    ("tcpportprediction", &[M::TcpPunch], Some(Transport::Tcp)),
    ("tcpsimultaneousopen", &[M::TcpSimultaneousOpen], Some(Transport::Tcp)),
    ("simultaneousopen", &[M::TcpSimultaneousOpen], Some(Transport::Tcp)),
    ("ice", &[M::Ice], None),
    ("webrtc", &[M::Ice], None),
    ("turn", &[M::Turn], None),
    ("circuit", &[M::Circuit], None),
    ("circuitrelay", &[M::Circuit], None),
    ("gun", &[M::GunRelay], None),
    ("gunrelay", &[M::GunRelay], None),
    ("relay", &[M::Turn, M::Circuit, M::GunRelay], None),
];

impl Method {
    /// Every method, in the usual order.
    pub const ALL: &'static [Method] = &[
        M::Lan,
        M::DirectV6,
        M::DirectV4,
        M::Mapped(Pcp, Theirs),
        M::Mapped(NatPmp, Theirs),
        M::Mapped(Upnp, Theirs),
        M::Mapped(Pcp, Ours),
        M::Mapped(NatPmp, Ours),
        M::Mapped(Upnp, Ours),
        M::UdpPunch,
        M::UdpAdvancedPunch,
        M::TcpPunch,
        M::TcpSimultaneousOpen,
        M::Ice,
        M::Turn,
        M::Circuit,
        M::GunRelay,
    ];

    /// Our own name, for logs, reports and files.
    pub const fn name(self) -> &'static str {
        match self {
            M::Lan => "lan",
            M::DirectV6 => "direct-v6",
            M::DirectV4 => "direct-v4",
            M::Mapped(Pcp, Ours) => "pcp-ours",
            M::Mapped(Pcp, Theirs) => "pcp-theirs",
            M::Mapped(NatPmp, Ours) => "nat-pmp-ours",
            M::Mapped(NatPmp, Theirs) => "nat-pmp-theirs",
            M::Mapped(Upnp, Ours) => "upnp-ours",
            M::Mapped(Upnp, Theirs) => "upnp-theirs",
            M::UdpPunch => "udp-hole-punch",
            M::UdpAdvancedPunch => "udp-advanced-hole-punch",
            M::TcpPunch => "tcp-hole-punch",
            M::TcpSimultaneousOpen => "tcp-simultaneous-open",
            M::Ice => "ice",
            M::Turn => "turn",
            M::Circuit => "circuit",
            M::GunRelay => "gun-relay",
        }
    }

    /// The original package's `CONNECTION_TYPE` value. Two ways it did not know get the nearest text: PCP is the
    /// successor of NAT-PMP, and a circuit is `relay`, as in its `NAT_METHODS`.
    pub const fn connection_type(self, transport: Transport) -> &'static str {
        match self {
            M::Lan | M::DirectV4 => match transport {
                Transport::Tcp => "tcp",
                Transport::Udp => "udp",
            },
            M::DirectV6 => "IPV6",
            M::Mapped(Upnp, _) => "UPNP",
            M::Mapped(Pcp | NatPmp, _) => "NAT_PMP",
            M::UdpPunch => "UDP_HOLE_PUNCH",
            M::UdpAdvancedPunch => "UDP_ADVANCED_HOLE_PUNCH",
            M::TcpPunch => "TCP_HOLE_PUNCH",
            M::TcpSimultaneousOpen => "TCP_SIMULTANEOUS_OPEN",
            M::Ice => "ICE",
            M::Turn => "TURN",
            M::Circuit => "relay",
            M::GunRelay => "gun-relay",
        }
    }

    /// Whether it needs a way to exchange messages with the peer first.
    pub const fn needs_signalling(self) -> bool {
        matches!(
            self,
            M::Mapped(_, Ours)
                | M::UdpPunch
                | M::UdpAdvancedPunch
                | M::TcpPunch
                | M::TcpSimultaneousOpen
                | M::Ice
                | M::Turn
        )
    }
}

/// What a preferred method's text means: case, spaces, `-`, `_` and `.` do not matter. The error lists what is accepted.
pub fn parse_preference(text: &str) -> Result<Preference> {
    let wanted = normalise(text);
    ALIASES
        .iter()
        .find(|(alias, ..)| *alias == wanted)
        .map(|(_, methods, transport)| Preference { methods, transport: *transport })
        .ok_or_else(|| {
            let shown: String = text.chars().take(40).collect();
            let accepted: Vec<&str> = ALIASES.iter().map(|(alias, ..)| *alias).collect();
            let accepted = accepted.join(", ");
            Error::invalid("preferredMethods", format_args!("{shown:?} is none of {accepted}"))
        })
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Method {
    type Err = Error;

    /// One method: our own name for it, or an alias that stands for a single one.
    fn from_str(text: &str) -> Result<Self> {
        if let Some(method) = Method::ALL.iter().find(|method| method.name() == text) {
            return Ok(*method);
        }
        match parse_preference(text)?.methods {
            [method] => Ok(*method),
            _ => Err(Error::invalid("method", format_args!("{text:?} stands for several methods"))),
        }
    }
}

impl Serialize for Method {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Method {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|error: Error| serde::de::Error::custom(error.full_message()))
    }
}

/// Lower case without separators. Longer texts than any alias are cut: they match nothing anyway.
fn normalise(text: &str) -> String {
    text.chars()
        .filter(|character| !matches!(character, '-' | '_' | ' ' | '.'))
        .flat_map(char::to_lowercase)
        .take(64)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_documented_spelling_is_understood() {
        // CONNECTION_TYPE of both builds, NAT_METHODS, the documented lists, the option type's values.
        let documented = "tcp udp webrtc gun-relay UPNP NAT_PMP UDP_HOLE_PUNCH UDP_ADVANCED_HOLE_PUNCH TCP_HOLE_PUNCH \
            TCP_SIMULTANEOUS_OPEN ICE TURN GUN IPV6 IPV6_TUNNEL TCP UDP WEBRTC STUN_GUN upnp tcp-hole-punch \
            udp-hole-punch ice turn direct nat-pmp udp-hole-punching tcp-port-prediction relay DIRECT_TCP DIRECT_UDP \
            GUN_RELAY directTcp Udp.Hole.Punch";
        for text in documented.split_whitespace() {
            assert!(!parse_preference(text).expect(text).methods.is_empty());
        }
        assert_eq!(parse_preference("TCP").expect("known").transport, Some(Transport::Tcp));
        let error = parse_preference("carrier pigeon").expect_err("unknown").full_message();
        assert!(error.contains("carrier pigeon") && error.contains("udpholepunch"), "{error}");
        assert!(parse_preference(&"x".repeat(100_000)).expect_err("unknown").full_message().len() < 2000);
    }

    #[test]
    fn the_table_has_no_spelling_twice_and_all_are_normal() {
        let spellings: BTreeSet<&str> = ALIASES.iter().map(|(alias, ..)| *alias).collect();
        assert_eq!(spellings.len(), ALIASES.len());
        assert!(spellings.iter().all(|alias| normalise(alias) == *alias));
        let reached: BTreeSet<Method> = ALIASES.iter().flat_map(|(_, methods, _)| methods.iter().copied()).collect();
        assert_eq!(reached, Method::ALL.iter().copied().collect());
    }

    #[test]
    fn names_lead_back_to_their_method() {
        for method in Method::ALL {
            assert_eq!(method.name().parse::<Method>().expect("its own name"), *method);
            let json = serde_json::to_string(method).expect("a string");
            assert_eq!(serde_json::from_str::<Method>(&json).expect("the same"), *method);
            for transport in [Transport::Tcp, Transport::Udp] {
                let original = parse_preference(method.connection_type(transport)).expect("an original value");
                let pcp = matches!(method, M::Mapped(Pcp, _));
                assert!(pcp || original.methods.contains(method), "{method}");
            }
        }
        "upnp".parse::<Method>().expect_err("two methods");
        assert!(serde_json::from_str::<Method>("\"nonsense\"").is_err());
    }
}
