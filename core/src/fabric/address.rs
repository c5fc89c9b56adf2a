//! Text and addresses: `host:port`, multiaddrs and peer ids in, multiaddrs out. Not here: which address to try first
//! (`dial`), and whether a discovered address may be dialled at all (`discovery`).

use std::net::{IpAddr, SocketAddr};

use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;

use super::Transport;
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::ids::PeerId;
use crate::nat::policy::Scope;

/// What a user may dial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A peer at addresses known from elsewhere.
    Peer(libp2p::PeerId),
    /// A name or address with a port; whoever answers there.
    Host(String, u16),
    /// One multiaddr (without its `/p2p` part), and who is expected there.
    Address(Multiaddr, Option<libp2p::PeerId>),
}

/// Understands `host:port`, `[v6]:port`, a multiaddr, or a peer id.
pub fn parse(text: &str) -> Result<Target> {
    let text = text.trim();
    if text.starts_with('/') {
        let mut address: Multiaddr =
            text.parse().map_err(|cause| Error::with_source(ErrorKind::InvalidArgument, bad(text), cause))?;
        let peer = match address.iter().last() {
            Some(Protocol::P2p(peer)) => {
                address.pop();
                Some(peer)
            }
            _ => None,
        };
        return match (peer, address.is_empty()) {
            (Some(peer), true) => Ok(Target::Peer(peer)),
            (_, true) => Err(Error::new(ErrorKind::InvalidArgument, bad(text))),
            (peer, false) => Ok(Target::Address(address, peer)),
        };
    }
    if let Ok(peer) = text.parse() {
        return Ok(Target::Peer(peer));
    }
    let (host, port) = text.rsplit_once(':').ok_or_else(|| Error::new(ErrorKind::InvalidArgument, bad(text)))?;
    let port: u16 = port.parse().map_err(|cause| Error::with_source(ErrorKind::InvalidArgument, bad(text), cause))?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host = bare.unwrap_or(host);
    // Without brackets the colons of an IPv6 address cannot be told from the one before the port.
    if port == 0 || host.is_empty() || (bare.is_none() && host.contains(':')) {
        return Err(Error::new(ErrorKind::InvalidArgument, bad(text)));
    }
    Ok(Target::Host(host.to_owned(), port))
}

fn bad(text: &str) -> String {
    format!("target {text:?}: expected host:port, [v6 address]:port, a multiaddr or a peer id")
}

/// Nodes by which the public network of libp2p is entered, as in the default configuration of IPFS.
pub const PUBLIC_NODES: &[&str] = &[
    "/dns4/am6.bootstrap.libp2p.io/tcp/4001/p2p/QmbLHAnMoJPWSCR5Zhtx6BHJX9KiKNN6tpvbUcqanj75Nb",
    "/dns4/ny5.bootstrap.libp2p.io/tcp/4001/p2p/QmQCU2EcMqAqQPR2i9bChDtGNJchTbq5TbXJJ16u19uLTa",
    "/dns4/sg1.bootstrap.libp2p.io/tcp/4001/p2p/QmcZf59bWwK5XFi76CZX8cbJ4BhTzzA3gU1ZjYZcYW3dwt",
    "/dns4/sv15.bootstrap.libp2p.io/tcp/4001/p2p/QmNnooDu7bfjPFoTZYxMNLWUQJyrVwtbZg5gBMjTezGAJN",
    "/dns4/va1.bootstrap.libp2p.io/tcp/4001/p2p/12D3KooWKnDdG3iXw9eTFijk3EWSunZcFi54Zka4wmtqtt6rPxc8",
    "/ip4/104.131.131.82/tcp/4001/p2p/QmaCpDMGvV2BGHeYERUEnRQAwe3N8SzbUtfsmvsqQLuvuJ",
];

/// The bytes of a multiaddr without a peer id at its end.
pub fn to_bytes(text: &str) -> Option<Vec<u8>> {
    text.parse().ok().map(|address| bare(address).to_vec())
}

/// The text of a multiaddr given as bytes, without a peer id at its end.
pub fn from_bytes(bytes: &[u8]) -> Option<String> {
    let address = Multiaddr::try_from(bytes.to_vec()).ok().map(bare)?;
    (!address.is_empty()).then(|| address.to_string())
}

fn bare(mut address: Multiaddr) -> Multiaddr {
    if matches!(address.iter().last(), Some(Protocol::P2p(_))) {
        address.pop();
    }
    address
}

/// Our text form of a libp2p peer id.
pub fn peer_text(peer: &libp2p::PeerId) -> PeerId {
    PeerId::from_text(&peer.to_base58())
}

/// The libp2p form of a peer id.
pub fn peer_id(peer: &PeerId) -> Result<libp2p::PeerId> {
    peer.as_str().parse().map_err(|cause| {
        Error::with_source(ErrorKind::InvalidArgument, format!("{:?} is not a peer id", peer.as_str()), cause)
    })
}

/// `/ip4/…/tcp/…`
pub fn tcp(address: SocketAddr) -> Multiaddr {
    Multiaddr::from(address.ip()).with(Protocol::Tcp(address.port()))
}

/// `/ip4/…/udp/…/quic-v1`
pub fn quic(address: SocketAddr) -> Multiaddr {
    Multiaddr::from(address.ip()).with(Protocol::Udp(address.port())).with(Protocol::QuicV1)
}

/// The socket that an address begins with, whatever follows: of a circuit, the relay's. `None` for names, which could
/// stand for anything.
pub fn socket(address: &Multiaddr) -> Option<SocketAddr> {
    let mut parts = address.iter();
    let ip = match parts.next()? {
        Protocol::Ip4(ip) => IpAddr::from(ip),
        Protocol::Ip6(ip) => IpAddr::from(ip),
        _ => return None,
    };
    match parts.next()? {
        Protocol::Tcp(port) | Protocol::Udp(port) => Some(SocketAddr::new(ip, port)),
        _ => None,
    }
}

/// The socket address of `/ip…/…/udp/…/quic-v1`, whatever peer id follows; `None` for any other address.
pub fn quic_socket(address: &Multiaddr) -> Option<SocketAddr> {
    let mut parts = address.iter().skip(2);
    match (parts.next()?, parts.next(), parts.next()) {
        (Protocol::QuicV1, None | Some(Protocol::P2p(_)), None) => socket(address),
        _ => None,
    }
}

/// What stands for the address of a peer behind a passage through a Gun graph, which has none. It cannot be dialled.
pub fn gun() -> Multiaddr {
    Multiaddr::empty().with(Protocol::Unix(GUN.into()))
}

const GUN: &str = "gun";

/// Whether this is [`gun`].
pub fn is_gun(address: &Multiaddr) -> bool {
    matches!(address.iter().next(), Some(Protocol::Unix(name)) if name == GUN)
}

/// Whether this is a TCP address without anything on top.
pub fn is_tcp(address: &Multiaddr) -> bool {
    matches!(address.iter().last(), Some(Protocol::Tcp(_)))
}

/// What carries a connection to this address.
pub fn transport(address: &Multiaddr) -> Transport {
    if address.iter().any(|part| matches!(part, Protocol::QuicV1)) { Transport::Quic } else { Transport::Tcp }
}

/// Whether a third node forwards the bytes.
pub fn is_relayed(address: &Multiaddr) -> bool {
    address.iter().any(|part| matches!(part, Protocol::P2pCircuit))
}

/// The relay that the address of a circuit names, and where it says that relay is.
pub fn relay(circuit: &Multiaddr) -> Option<(libp2p::PeerId, Multiaddr)> {
    let mut at: Multiaddr = circuit.iter().take_while(|part| *part != Protocol::P2pCircuit).collect();
    match at.pop()? {
        Protocol::P2p(relay) if is_relayed(circuit) => Some((relay, at)),
        _ => None,
    }
}

/// The DNS name an address begins with, and which families it allows (v4, v6).
pub fn dns_name(address: &Multiaddr) -> Option<(String, bool, bool)> {
    match address.iter().next()? {
        Protocol::Dns(name) => Some((name.into_owned(), true, true)),
        Protocol::Dns4(name) => Some((name.into_owned(), true, false)),
        Protocol::Dns6(name) => Some((name.into_owned(), false, true)),
        _ => None,
    }
}

/// The same address with its first part replaced by an IP address.
pub fn with_ip(address: &Multiaddr, ip: IpAddr) -> Multiaddr {
    address.iter().skip(1).fold(Multiaddr::from(ip), Multiaddr::with)
}

/// Whether the path stays in one site: loopback, private, link-local and unique local addresses.
pub fn is_near(address: &Multiaddr) -> bool {
    match address.iter().next() {
        Some(Protocol::Ip4(ip)) => ip.is_loopback() || ip.is_private() || ip.is_link_local(),
        Some(Protocol::Ip6(ip)) => ip.is_loopback() || ip.is_unicast_link_local() || ip.is_unique_local(),
        _ => false,
    }
}

/// How near a peer may be that we know by links to these addresses: who comes through a relay in our own network may be
/// there as well, and on this machine if the relay is.
pub fn scope_of<'a>(links: impl Iterator<Item = &'a str>) -> Scope {
    let of = |text: &str| {
        let address: Multiaddr = text.parse().ok().filter(is_relayed)?;
        let here = socket(&address)?.ip().to_canonical().is_loopback();
        Some(match (here, is_near(&address)) {
            (true, _) => Scope::Machine,
            (false, true) => Scope::Site,
            (false, false) => Scope::Internet,
        })
    };
    links.filter_map(of).max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: &str = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";

    #[test]
    fn targets_are_told_apart() {
        let peer: libp2p::PeerId = PEER.parse().expect("valid");
        assert_eq!(parse("localhost:4001").expect("valid"), Target::Host("localhost".into(), 4001));
        assert_eq!(parse("[::1]:4001").expect("valid"), Target::Host("::1".into(), 4001));
        assert_eq!(parse(PEER).expect("valid"), Target::Peer(peer));
        assert_eq!(parse(&format!("/p2p/{PEER}")).expect("valid"), Target::Peer(peer));
        let address: Multiaddr = "/ip4/127.0.0.1/tcp/1".parse().expect("valid");
        assert_eq!(
            parse(&format!("/ip4/127.0.0.1/tcp/1/p2p/{PEER}")).expect("valid"),
            Target::Address(address, Some(peer))
        );
        for bad in ["", ":", "host", "host:", ":1", "host:0", "host:70000", "::1:4001", "/", "/ip4/1", "/nonsense/1"] {
            assert_eq!(parse(bad).expect_err(bad).kind(), ErrorKind::InvalidArgument, "{bad}");
        }
    }

    #[test]
    fn addresses_travel_as_bytes() {
        let bytes = to_bytes(&format!("/ip4/127.0.0.1/tcp/9000/p2p/{PEER}")).expect("an address");
        assert_eq!(bytes, [4, 127, 0, 0, 1, 6, 0x23, 0x28]);
        assert_eq!(from_bytes(&bytes).as_deref(), Some("/ip4/127.0.0.1/tcp/9000"));
        assert_eq!((to_bytes("127.0.0.1:9000"), from_bytes(&[4, 127]), from_bytes(&[])), (None, None, None));
        for node in PUBLIC_NODES {
            // Something to connect to at once, or a name that leads there; a list would have to be looked up first.
            let Ok(Target::Address(address, Some(_))) = parse(node) else { panic!("{node} names no peer") };
            let at = with_ip(&address, [192, 0, 2, 1].into());
            assert!(socket(&at).is_some() && is_tcp(&at) && !is_relayed(&at), "{node}");
            assert!(socket(&address).is_some() || dns_name(&address).is_some_and(|(_, v4, _)| v4), "{node}");
        }
    }

    #[test]
    fn addresses_are_classified() {
        let address = |text: &str| text.parse::<Multiaddr>().expect("valid");
        let v6: SocketAddr = "[::1]:7".parse().expect("valid");
        assert_eq!(tcp(v6), address("/ip6/::1/tcp/7"));
        assert_eq!(quic(v6), address("/ip6/::1/udp/7/quic-v1"));
        assert_eq!(transport(&quic(v6)), Transport::Quic);
        assert_eq!(transport(&tcp(v6)), Transport::Tcp);
        assert!(is_near(&tcp(v6)) && is_near(&address("/ip4/10.1.2.3/tcp/1")));
        assert!(is_gun(&gun()) && is_gun(&address(&gun().to_string())) && !is_relayed(&gun()) && !is_near(&gun()));
        assert_eq!((socket(&gun()), transport(&gun()), is_gun(&tcp(v6))), (None, Transport::Tcp, false));
        assert!(!is_near(&address("/ip4/8.8.8.8/tcp/1")) && !is_near(&address("/dns4/a.example/tcp/1")));
        assert!(is_relayed(&address(&format!("/ip4/8.8.8.8/tcp/1/p2p/{PEER}/p2p-circuit"))));
        let circuit = address(&format!("/ip4/8.8.8.8/udp/1/quic-v1/p2p/{PEER}/p2p-circuit"));
        assert_eq!(quic_socket(&circuit), None, "a relay is not the peer");
        let named = (PEER.parse().expect("valid"), address("/ip4/8.8.8.8/udp/1/quic-v1"));
        assert_eq!(relay(&circuit), Some(named));
        assert_eq!((relay(&tcp(v6)), relay(&address("/ip4/8.8.8.8/tcp/1/p2p-circuit"))), (None, None));
        assert_eq!(relay(&address(&format!("/ip4/8.8.8.8/tcp/1/p2p/{PEER}"))), None, "no circuit");
        assert_eq!(quic_socket(&quic(v6).with(Protocol::P2p(PEER.parse().expect("valid")))), Some(v6));
        assert_eq!(dns_name(&address("/dns6/a.example/tcp/1")), Some(("a.example".into(), false, true)));
        assert_eq!(with_ip(&address("/dns4/a.example/tcp/1"), [127, 0, 0, 1].into()), address("/ip4/127.0.0.1/tcp/1"));
    }
}
