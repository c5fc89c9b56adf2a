//! A node and where it is reached: addresses as they travel (binary multiaddrs), who may be told of them, and which
//! network they are in. Not here: dialling, and the text of addresses (`driver`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use super::key::Node;
use crate::base::limits;
use crate::nat::policy::{self, Scope};
use crate::nat::punch::round::may_probe;

/// A node and its addresses, best first. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contact {
    /// Who.
    pub node: Node,
    /// Binary multiaddrs; at most [`limits::DHT_ADDRESSES`].
    pub addresses: Arc<[Vec<u8>]>,
}

/// A network whose owner most likely owns all of it: 256 IPv4 addresses, or what a provider gives one customer of IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Group {
    /// A /24.
    V4([u8; 3]),
    /// A /48.
    V6([u8; 6]),
}

impl Contact {
    /// Keeps the first addresses that are allowed to be there and not too long.
    pub fn new(node: Node, addresses: impl IntoIterator<Item = Vec<u8>>) -> Self {
        let fitting = addresses.into_iter().filter(|address| address.len() <= limits::DHT_ADDRESS_BYTES);
        let addresses: Vec<Vec<u8>> = fitting.take(limits::DHT_ADDRESSES).collect();
        Self { node, addresses: addresses.into() }
    }

    /// The same node with those addresses that somebody this near may be told of, or may tell.
    #[must_use]
    pub fn within(&self, scope: Scope) -> Self {
        if self.addresses.iter().all(|address| is_within(address, scope)) {
            return self.clone();
        }
        let fitting = self.addresses.iter().filter(|address| is_within(address, scope));
        Self { node: self.node.clone(), addresses: fitting.cloned().collect() }
    }

    /// The networks of the internet that it says to be in. Addresses at home have none: there, one network is normal.
    pub fn groups(&self) -> impl Iterator<Item = Group> + '_ {
        let mut seen = Vec::new();
        self.addresses.iter().filter_map(|address| group(address)).filter(move |group| {
            let new = !seen.contains(group);
            seen.push(*group);
            new
        })
    }
}

fn group(address: &[u8]) -> Option<Group> {
    let ip = socket(address)?.ip().to_canonical();
    policy::judge(ip).ok()?;
    Some(match ip {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            Group::V4([a, b, c])
        }
        IpAddr::V6(v6) => {
            let octets = v6.octets();
            Group::V6(std::array::from_fn(|index| octets[index]))
        }
    })
}

/// Whether an address may be dialled on the word of somebody this near, or told to somebody this near. Names never: they
/// could stand for anything.
pub fn is_within(address: &[u8], scope: Scope) -> bool {
    socket(address).is_some_and(|socket| may_probe(socket, scope))
}

/// How near the other end of a link is, by its address.
pub fn scope_of(ip: IpAddr) -> Scope {
    match policy::judge(ip) {
        Err(policy::Refusal::Loopback) => Scope::Machine,
        Err(policy::Refusal::Private | policy::Refusal::LinkLocal) => Scope::Site,
        _ => Scope::Internet,
    }
}

/// The socket that a binary multiaddr begins with: `/ip4/…/tcp/…`, `/ip6/…/udp/…`. `None` for anything else.
pub fn socket(address: &[u8]) -> Option<SocketAddr> {
    /// 273, as a varint.
    const UDP: [u8; 2] = [0x91, 0x02];
    let (code, rest) = address.split_first()?;
    let (ip, rest) = match *code {
        4 => rest.split_first_chunk::<4>().map(|(ip, rest)| (IpAddr::from(Ipv4Addr::from(*ip)), rest))?,
        41 => rest.split_first_chunk::<16>().map(|(ip, rest)| (IpAddr::from(Ipv6Addr::from(*ip)), rest))?,
        _ => return None,
    };
    let rest = rest.strip_prefix(&[6][..]).or_else(|| rest.strip_prefix(&UDP))?;
    let port = rest.first_chunk::<2>()?;
    Some(SocketAddr::new(ip, u16::from_be_bytes(*port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(ip: [u8; 4]) -> Vec<u8> {
        [&[4][..], &ip, &[6, 0x23, 0x28]].concat()
    }

    #[test]
    fn addresses_are_read_and_judged() {
        assert_eq!(socket(&tcp([192, 0, 2, 1])), Some("192.0.2.1:9000".parse().expect("valid")));
        let quic = [&[41][..], &Ipv6Addr::LOCALHOST.octets(), &[0x91, 2, 0, 80, 0xcd, 3]].concat();
        assert_eq!(socket(&quic), Some("[::1]:80".parse().expect("valid")));
        for broken in [&[][..], &[4], &[4, 1, 2, 3], &[4, 1, 2, 3, 4], &[4, 1, 2, 3, 4, 6, 1], &[53, 1, b'a', 6, 0, 1]]
        {
            assert_eq!(socket(broken), None, "{broken:?}");
        }
        for (ip, scope, fits) in [
            ([8, 8, 8, 8], Scope::Internet, true),
            ([10, 0, 0, 1], Scope::Internet, false),
            ([10, 0, 0, 1], Scope::Site, true),
            ([127, 0, 0, 1], Scope::Site, false),
            ([127, 0, 0, 1], Scope::Machine, true),
            ([169, 254, 169, 254], Scope::Machine, false),
        ] {
            assert_eq!(is_within(&tcp(ip), scope), fits, "{ip:?} {scope:?}");
        }
    }

    #[test]
    fn networks_are_those_of_the_internet() {
        let node = Node::from_bytes(&[1; 38]).expect("an id");
        let contact = Contact::new(node, [tcp([8, 8, 8, 8]), tcp([8, 8, 8, 9]), tcp([10, 0, 0, 1]), tcp([9, 9, 9, 9])]);
        assert_eq!(contact.groups().collect::<Vec<_>>(), [Group::V4([8, 8, 8]), Group::V4([9, 9, 9])]);
        assert_eq!(contact.within(Scope::Internet).addresses.len(), 3);
        assert_eq!(contact.within(Scope::Site), contact);
    }
}
