//! May this address be dialled? Addresses told by others are hints, and a liar must not be able to make us knock on
//! our own machine, our home network or a cloud's metadata service.
//! Not here: which of the permitted addresses is tried first (`ladder`).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::nat::profile::NatProfile;

/// Where an address comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// The user, or the program that uses this library, named it.
    User,
    /// Learned over the loopback interface: the peer is on this machine.
    SameMachine,
    /// Learned on the local network, from the network itself (multicast).
    LocalNetwork,
    /// Anything else: the peer's own word, other peers, a DHT, a relay.
    Remote,
}

/// How near a peer is known to be. Each allows more of the addresses that it names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Somewhere.
    #[default]
    Internet,
    /// In our local network: private addresses too.
    Site,
    /// On this machine: loopback too.
    Machine,
}

/// Why an address is not dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Refusal {
    /// Port 0 is none.
    PortZero,
    /// `0.0.0.0/8`, `::`.
    Unspecified,
    /// This machine.
    Loopback,
    /// Valid on one link only.
    LinkLocal,
    /// Not one host.
    Multicast,
    /// Not one host.
    Broadcast,
    /// A cloud's metadata service, which hands out credentials.
    Metadata,
    /// A private network (RFC 1918, RFC 4193, site-local).
    Private,
    /// Between a carrier's NAT and its customers (RFC 6598).
    SharedNat,
    /// Set aside for documentation.
    Documentation,
    /// Set aside for benchmarks.
    Benchmark,
    /// Not given to anybody.
    Reserved,
    /// Our own address, or one the caller excluded, such as the router's, on a stranger's word.
    Excluded,
}

/// A range of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

/// What is known about the place we dial from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// The peer is in our local network, see [`same_site`].
    pub same_lan: bool,
    /// Ranges the user declared to be reachable and harmless, such as a VPN.
    pub permitted: Vec<Network>,
    /// Addresses never dialled on another's word: our own and the routers'.
    pub excluded: Vec<IpAddr>,
}

impl Network {
    /// A range; a prefix longer than the address is cut to it.
    pub fn new(address: IpAddr, prefix: u8) -> Self {
        let longest = if address.is_ipv4() { 32 } else { 128 };
        Self { address, prefix: prefix.min(longest) }
    }

    /// Whether the address lies in the range.
    pub fn contains(&self, address: IpAddr) -> bool {
        let prefix = u32::from(self.prefix);
        match (self.address, address) {
            (IpAddr::V4(own), IpAddr::V4(other)) => (own.to_bits() ^ other.to_bits()).leading_zeros() >= prefix,
            (IpAddr::V6(own), IpAddr::V6(other)) => (own.to_bits() ^ other.to_bits()).leading_zeros() >= prefix,
            _ => false,
        }
    }
}

/// Whether two peers are likely to share a local network: the internet sees them at the same IPv4 address, or in the
/// same IPv6 network. A peer can lie about its own address; what it gains is a dial to a private address, nothing that
/// answers without the peer's key. Give the address that a relay or server saw, where there is one.
pub fn same_site(ours: &NatProfile, theirs: &NatProfile) -> bool {
    let same_v4 = matches!((ours.public_v4, theirs.public_v4), (Some(ours), Some(theirs)) if ours.ip() == theirs.ip());
    let same_v6 = matches!(
        (ours.public_v6, theirs.public_v6),
        (Some(ours), Some(theirs)) if Network::new(ours.ip(), 64).contains(theirs.ip())
    );
    same_v4 || same_v6
}

impl Policy {
    /// Whether an address may be dialled.
    pub fn check(&self, address: SocketAddr, origin: Origin) -> Result<(), Refusal> {
        if address.port() == 0 {
            return Err(Refusal::PortZero);
        }
        let scoped = matches!(address, SocketAddr::V6(v6) if v6.scope_id() != 0);
        let ip = address.ip().to_canonical();
        if self.excluded.iter().any(|excluded| excluded.to_canonical() == ip) && origin == Origin::Remote {
            return Err(Refusal::Excluded);
        }
        let Err(refusal) = judge(ip) else { return Ok(()) };
        let permitted = self.permitted.iter().any(|network| network.contains(ip));
        let allowed = match refusal {
            // No peer is ever there, whoever says so.
            Refusal::Unspecified | Refusal::Multicast | Refusal::Broadcast | Refusal::Metadata => false,
            _ if permitted || origin == Origin::User => true,
            _ if is_disguised(ip) => false,
            Refusal::Private | Refusal::SharedNat => self.same_lan || origin != Origin::Remote,
            // An IPv6 link-local address without its interface leads nowhere.
            Refusal::LinkLocal => origin != Origin::Remote && (ip.is_ipv4() || scoped),
            Refusal::Loopback => origin == Origin::SameMachine,
            _ => false,
        };
        if allowed { Ok(()) } else { Err(refusal) }
    }
}

impl Refusal {
    /// For people.
    pub const fn text(self) -> &'static str {
        match self {
            Refusal::PortZero => "port 0",
            Refusal::Unspecified => "not an address of a host",
            Refusal::Loopback => "an address of this machine",
            Refusal::LinkLocal => "a link-local address",
            Refusal::Multicast => "a multicast address",
            Refusal::Broadcast => "a broadcast address",
            Refusal::Metadata => "a cloud metadata service",
            Refusal::Private => "a private address of another network",
            Refusal::SharedNat => "an address behind a carrier's NAT",
            Refusal::Documentation => "an address for documentation",
            Refusal::Benchmark => "an address for benchmarks",
            Refusal::Reserved => "a reserved address",
            Refusal::Excluded => "an address that is our own or a router's",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// Whether an address is an ordinary one of the internet, and what else it is (the registries of RFC 6890).
pub fn judge(address: IpAddr) -> Result<(), Refusal> {
    match address.to_canonical() {
        IpAddr::V4(v4) => judge_v4(v4),
        IpAddr::V6(v6) => judge_v6(v6),
    }
}

/// Metadata services and platform endpoints of clouds: AWS, Azure, Google, OpenStack and others at 169.254.169.254;
/// AWS containers, Scaleway, Alibaba, Azure's wire server, Oracle.
const METADATA_V4: &[Ipv4Addr] = &[
    Ipv4Addr::new(169, 254, 169, 254),
    Ipv4Addr::new(169, 254, 170, 2),
    Ipv4Addr::new(169, 254, 170, 23),
    Ipv4Addr::new(169, 254, 42, 42),
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(168, 63, 129, 16),
    Ipv4Addr::new(192, 0, 0, 192),
];

/// AWS (also for its containers), Google, Scaleway, Oracle, and the link-local form.
const METADATA_V6: &[Ipv6Addr] = &[
    Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x23),
    Ipv6Addr::new(0xfd20, 0x00ce, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd00, 0x0042, 0, 0, 0, 0, 0, 0x42),
    Ipv6Addr::new(0xfd00, 0x00c1, 0, 0, 0, 0, 0xa9fe, 0xa9fe),
    Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0xa9fe, 0xa9fe),
];

/// Whether what is special about an IPv6 address is the IPv4 address in it. Nobody means a private IPv4 address that way.
fn is_disguised(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => false,
        IpAddr::V6(v6) => v6 != Ipv6Addr::LOCALHOST && v6.segments()[0] < 0xfc00,
    }
}

fn judge_v4(address: Ipv4Addr) -> Result<(), Refusal> {
    if METADATA_V4.contains(&address) {
        return Err(Refusal::Metadata);
    }
    Err(match address.octets() {
        [0, ..] => Refusal::Unspecified,
        [127, ..] => Refusal::Loopback,
        [10, ..] | [192, 168, ..] | [172, 16..=31, ..] => Refusal::Private,
        [100, 64..=127, ..] => Refusal::SharedNat,
        [169, 254, ..] => Refusal::LinkLocal,
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => Refusal::Documentation,
        [198, 18 | 19, ..] => Refusal::Benchmark,
        [255, 255, 255, 255] => Refusal::Broadcast,
        // Protocol assignments, the anycast address of 6to4 relays that was withdrawn, and class E.
        [192, 0, 0, _] | [192, 88, 99, _] | [240..=255, ..] => Refusal::Reserved,
        [224..=239, ..] => Refusal::Multicast,
        _ => return Ok(()),
    })
}

fn judge_v6(address: Ipv6Addr) -> Result<(), Refusal> {
    if METADATA_V6.contains(&address) {
        return Err(Refusal::Metadata);
    }
    let segments = address.segments();
    let bits = address.to_bits();
    let low_v4 = Ipv4Addr::from_bits(bits as u32);
    // Addresses that stand for an IPv4 address are worth what that one is.
    match segments {
        [0, 0, 0, 0, 0, 0, 0, 0] => return Err(Refusal::Unspecified),
        [0, 0, 0, 0, 0, 0, 0, 1] => return Err(Refusal::Loopback),
        // NAT64 (RFC 6052).
        [0x64, 0xff9b, 0, 0, 0, 0, ..] => return judge_v4(low_v4),
        // NAT64 inside one site (RFC 8215) and IPv4-compatible addresses: never meant for others.
        [0x64, 0xff9b, 1, ..] | [0, 0, 0, 0, 0, 0, ..] => return judge_v4(low_v4).and(Err(Refusal::Reserved)),
        // 6to4.
        [0x2002, high, low, ..] => {
            return judge_v4(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)));
        }
        // Teredo: the server in the clear, the client inverted.
        [0x2001, 0, high, low, ..] => {
            return judge_v4(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)))
                .and_then(|()| judge_v4(Ipv4Addr::from_bits(!(bits as u32))));
        }
        _ => {}
    }
    // ISATAP: the interface identifier names an IPv4 address, which must be fit to be dialled as well.
    if matches!(segments, [_, _, _, _, 0 | 0x200, 0x5efe, ..]) {
        judge_v4(low_v4)?;
    }
    Err(match segments {
        [0xff00..=0xffff, ..] => Refusal::Multicast,
        [0xfe80..=0xfebf, ..] => Refusal::LinkLocal,
        [0xfc00..=0xfdff | 0xfec0..=0xfeff, ..] => Refusal::Private,
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => Refusal::Documentation,
        [0x2001, 2, 0, ..] => Refusal::Benchmark,
        // Protocol assignments, ORCHID.
        [0x2001, 1..=0x1ff, ..] => Refusal::Reserved,
        // Global unicast.
        [0x2000..=0x3fff, ..] => return Ok(()),
        _ => Refusal::Reserved,
    })
}

#[cfg(test)]
mod tests;
