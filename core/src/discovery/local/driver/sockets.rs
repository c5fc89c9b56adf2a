//! Interfaces and their multicast sockets, one per interface and address family.
//! Not here: tasks and packets ([`driver`](super)).

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use if_addrs::{IfAddr, IfOperStatus, Interface};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;

use super::super::MDNS_PORT;
use crate::base::error::{Error, Result};

/// The group in IPv4 (RFC 6762 section 3).
const GROUP_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);
/// The group in IPv6.
const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb);
/// Packets leave with this hop count (RFC 6762 section 11).
const HOPS: u32 = 255;

/// What tells one socket from another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Name of the interface.
    pub interface: String,
    /// How it is named to the operating system: its first IPv4 address, or its index for IPv6.
    pub family: Family,
}

/// The address family of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// IPv4 on the interface with this address.
    V4(Ipv4Addr),
    /// IPv6 on the interface with this index.
    V6(u32),
}

/// What is told about a place.
#[derive(Clone, Debug, Default)]
pub struct Addresses {
    /// Addresses with prefix lengths.
    pub addresses: Vec<(IpAddr, u8)>,
    /// It is the loopback interface.
    pub loopback: bool,
}

impl Place {
    /// Where packets for everybody go.
    pub fn group(&self) -> SocketAddr {
        match self.family {
            Family::V4(_) => SocketAddrV4::new(GROUP_V4, MDNS_PORT).into(),
            Family::V6(index) => SocketAddrV6::new(GROUP_V6, MDNS_PORT, 0, index).into(),
        }
    }

    /// Opens the socket. Must be called inside a tokio runtime.
    pub fn open(&self) -> Result<UdpSocket> {
        self.try_open().map_err(|error| Error::io(format!("multicast DNS on {}", self.interface), error))
    }

    fn try_open(&self) -> io::Result<UdpSocket> {
        let domain = match self.family {
            Family::V4(_) => Domain::IPV4,
            Family::V6(_) => Domain::IPV6,
        };
        let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
        // The port is shared with the system's own responder and with other nodes on this machine.
        socket.set_reuse_address(true)?;
        #[cfg(unix)]
        socket.set_reuse_port(true)?;
        socket.set_nonblocking(true)?;
        // With one group and port on all interfaces, some kernels hand a packet to the socket of another one.
        #[cfg(target_os = "linux")]
        if let Err(error) = socket.bind_device(Some(self.interface.as_bytes())) {
            // Before Linux 5.7 this takes privileges; then the memberships below have to do.
            tracing::debug!(interface = self.interface, %error, "multicast DNS socket not bound to its interface");
        }
        match self.family {
            Family::V4(address) => {
                // A socket should hear its own interface only, not every group anybody on the machine has joined.
                #[cfg(target_os = "linux")]
                socket.set_multicast_all_v4(false)?;
                socket.set_multicast_if_v4(&address)?;
                socket.set_multicast_loop_v4(true)?;
                socket.set_multicast_ttl_v4(HOPS)?;
                socket.set_ttl_v4(HOPS)?;
                socket.join_multicast_v4(&GROUP_V4, &address)?;
            }
            Family::V6(index) => {
                socket.set_only_v6(true)?;
                socket.set_multicast_if_v6(index)?;
                socket.set_multicast_loop_v6(true)?;
                socket.set_multicast_hops_v6(HOPS)?;
                socket.set_unicast_hops_v6(HOPS)?;
                socket.join_multicast_v6(&GROUP_V6, index)?;
            }
        }
        socket.bind(&self.bind_address().into())?;
        UdpSocket::from_std(socket.into())
    }

    /// Bound to the group, a socket takes no unicast packets away from the system's own responder. Windows allows
    /// only the unspecified address.
    fn bind_address(&self) -> SocketAddr {
        if cfg!(windows) {
            match self.family {
                Family::V4(_) => SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, MDNS_PORT).into(),
                Family::V6(_) => SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, MDNS_PORT, 0, 0).into(),
            }
        } else {
            self.group()
        }
    }
}

/// The places that are up and match the filter (names or addresses; empty: all but point-to-point ones).
pub fn places(filter: &[String], ipv6: bool) -> Result<BTreeMap<Place, Addresses>> {
    let interfaces = if_addrs::get_if_addrs().map_err(|error| Error::io("list network interfaces", error))?;
    Ok(select(&interfaces, filter, ipv6))
}

fn select(interfaces: &[Interface], filter: &[String], ipv6: bool) -> BTreeMap<Place, Addresses> {
    let mut by_name: BTreeMap<&str, Vec<&Interface>> = BTreeMap::new();
    for interface in interfaces {
        let down = matches!(
            interface.oper_status,
            IfOperStatus::Down | IfOperStatus::NotPresent | IfOperStatus::LowerLayerDown
        );
        let wanted = if filter.is_empty() {
            !interface.is_p2p
        } else {
            let address = interface.ip().to_string();
            filter.iter().any(|entry| *entry == interface.name || *entry == address)
        };
        if wanted && !down && (ipv6 || interface.ip().is_ipv4()) {
            by_name.entry(&interface.name).or_default().push(interface);
        }
    }
    let mut places = BTreeMap::new();
    for (name, entries) in by_name {
        let told = Addresses {
            addresses: entries.iter().filter(|entry| is_tellable(entry.ip())).map(|entry| with_prefix(entry)).collect(),
            loopback: entries.iter().all(|entry| entry.is_loopback()),
        };
        let v4 = entries.iter().find_map(|entry| match &entry.addr {
            IfAddr::V4(v4) => Some(Family::V4(v4.ip)),
            IfAddr::V6(_) => None,
        });
        let v6 = entries.iter().find_map(|entry| match &entry.addr {
            IfAddr::V6(_) => entry.index.map(Family::V6),
            IfAddr::V4(_) => None,
        });
        for family in v4.into_iter().chain(v6) {
            places.insert(Place { interface: name.to_owned(), family }, told.clone());
        }
    }
    places
}

/// Link-local IPv6 addresses mean nothing without the interface of whoever reads them.
fn is_tellable(address: IpAddr) -> bool {
    !matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local()) && !address.is_unspecified()
}

fn with_prefix(interface: &Interface) -> (IpAddr, u8) {
    match &interface.addr {
        IfAddr::V4(v4) => (v4.ip.into(), v4.prefixlen),
        IfAddr::V6(v6) => (v6.ip.into(), v6.prefixlen),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use if_addrs::{Ifv4Addr, Ifv6Addr};

    fn v4(name: &str, ip: [u8; 4], oper_status: IfOperStatus) -> Interface {
        let addr = Ifv4Addr { ip: ip.into(), netmask: [255, 255, 255, 0].into(), prefixlen: 24, broadcast: None };
        interface(name, IfAddr::V4(addr), oper_status)
    }

    fn v6(name: &str, ip: &str) -> Interface {
        let ip = ip.parse().expect("an address");
        let addr = Ifv6Addr { ip, netmask: Ipv6Addr::UNSPECIFIED, prefixlen: 64, broadcast: None };
        interface(name, IfAddr::V6(addr), IfOperStatus::Up)
    }

    fn interface(name: &str, addr: IfAddr, oper_status: IfOperStatus) -> Interface {
        Interface {
            name: name.to_owned(),
            addr,
            index: Some(7),
            oper_status,
            is_p2p: name.starts_with("tun"),
            #[cfg(windows)]
            adapter_name: String::new(),
        }
    }

    #[test]
    fn one_place_per_interface_and_family_that_is_up() {
        let all = [
            v4("lo", [127, 0, 0, 1], IfOperStatus::Unknown),
            v4("eth0", [192, 168, 1, 5], IfOperStatus::Up),
            v4("eth0", [192, 168, 2, 5], IfOperStatus::Up),
            v6("eth0", "fe80::5"),
            v6("eth0", "fd00::5"),
            v4("eth1", [192, 168, 3, 5], IfOperStatus::Down),
            v4("tun0", [10, 8, 0, 2], IfOperStatus::Up),
        ];
        let names = |filter: &[&str], ipv6| {
            let filter: Vec<String> = filter.iter().map(ToString::to_string).collect();
            let places = select(&all, &filter, ipv6);
            places.into_keys().map(|place| (place.interface, matches!(place.family, Family::V4(_)))).collect::<Vec<_>>()
        };
        let place = |name: &str, v4| (name.to_owned(), v4);
        assert_eq!(names(&[], false), [place("eth0", true), place("lo", true)]);
        assert_eq!(names(&[], true), [place("eth0", true), place("eth0", false), place("lo", true)]);
        assert_eq!(names(&["lo"], true), [place("lo", true)]);
        assert_eq!(names(&["tun0", "192.168.2.5"], true), [place("eth0", true), place("tun0", true)]);
        assert_eq!(names(&["eth1", "nonsense"], true), []);

        let eth0 = select(&all, &["eth0".to_owned()], true).into_values().next().expect("a place");
        let told: Vec<String> = eth0.addresses.iter().map(|(address, _)| address.to_string()).collect();
        assert_eq!(told, ["192.168.1.5", "192.168.2.5", "fd00::5"]);
        assert!(!eth0.loopback);
    }
}
