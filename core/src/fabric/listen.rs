//! Where to listen: interfaces to addresses, and one port number that is free for TCP and UDP on all of them.
//! Not here: the listening sockets, which the transports open.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};

use super::FabricConfig;
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::limits;

/// What can be listened on.
#[derive(Debug)]
pub struct Plan {
    /// One port for all.
    pub port: u16,
    /// The addresses that work.
    pub addresses: Vec<IpAddr>,
    /// What does not work and why, for people.
    pub warnings: Vec<String>,
}

/// The addresses the configuration asks for: the wildcard addresses, or those of the named interfaces.
pub fn addresses(config: &FabricConfig) -> Result<Vec<IpAddr>> {
    if config.interfaces.is_empty() {
        let v6 = config.ipv6.then_some(IpAddr::V6(Ipv6Addr::UNSPECIFIED));
        return Ok(std::iter::once(IpAddr::V4(Ipv4Addr::UNSPECIFIED)).chain(v6).collect());
    }
    let present =
        if_addrs::get_if_addrs().map_err(|cause| Error::io("list the addresses of the network interfaces", cause))?;
    let mut wanted: Vec<IpAddr> = Vec::new();
    for name in &config.interfaces {
        if let Ok(address) = name.parse() {
            wanted.push(address);
            continue;
        }
        let named: Vec<IpAddr> =
            present.iter().filter(|interface| interface.name == *name).map(if_addrs::Interface::ip).collect();
        if named.is_empty() {
            return Err(Error::invalid("interfaces", format_args!("there is no interface {name:?}")));
        }
        wanted.extend(named.into_iter().filter(|address| usable(address, config.ipv6)));
    }
    let mut seen = std::collections::HashSet::new();
    wanted.retain(|address| seen.insert(*address));
    if wanted.is_empty() {
        return Err(Error::invalid("interfaces", format_args!("{:?} have no usable address", config.interfaces)));
    }
    Ok(wanted)
}

/// Link-local IPv6 addresses need a zone, which a multiaddr for TCP and UDP cannot carry.
fn usable(address: &IpAddr, ipv6: bool) -> bool {
    match address {
        IpAddr::V4(_) => true,
        IpAddr::V6(address) => ipv6 && !address.is_unicast_link_local(),
    }
}

/// Finds the port. All sockets of the plan are bound at once for a moment, without sharing, so a port in use by
/// anyone is noticed (the transports bind with port sharing on, which would hide it).
///
/// IPv6 that is not available is a warning as long as another address works.
pub fn plan(config: &FabricConfig, addresses: &[IpAddr]) -> Result<Plan> {
    if !config.tcp && !config.quic {
        return Err(Error::invalid("enableTCP", "TCP and UDP are both switched off"));
    }
    let attempts = if config.port == 0 { limits::PORT_ATTEMPTS } else { 1 };
    let mut last = None;
    for _ in 0..attempts {
        match try_plan(config, addresses) {
            Ok(plan) => return Ok(plan),
            Err(error) if error.kind() == ErrorKind::AddressInUse => last = Some(error),
            Err(error) => return Err(error),
        }
    }
    Err(last.expect("at least one attempt was made and it failed"))
}

fn try_plan(config: &FabricConfig, addresses: &[IpAddr]) -> Result<Plan> {
    let mut plan = Plan { port: config.port, addresses: Vec::new(), warnings: Vec::new() };
    let mut held = Vec::new();
    for address in addresses {
        match bind(config, *address, plan.port, &mut held) {
            Ok(port) => {
                plan.port = port;
                plan.addresses.push(*address);
            }
            Err(cause) if cause.kind() == std::io::ErrorKind::AddrInUse => {
                let context = format!("port {} is in use on {address}", plan.port);
                return Err(Error::with_source(ErrorKind::AddressInUse, context, cause));
            }
            Err(cause) if address.is_ipv6() => {
                plan.warnings.push(format!("IPv6 is not available on {address}: {cause}"));
            }
            Err(cause) if cause.kind() == std::io::ErrorKind::AddrNotAvailable => {
                let context = format!("interfaces: {address} is not an address of this machine");
                return Err(Error::with_source(ErrorKind::InvalidArgument, context, cause));
            }
            Err(cause) => return Err(Error::io(format!("listen on {address} port {}", plan.port), cause)),
        }
    }
    if plan.addresses.is_empty() {
        return Err(Error::invalid("interfaces", plan.warnings.join("; ")));
    }
    Ok(plan)
}

/// Binds the sockets of one address and keeps them in `held`; gives the port they got.
fn bind(config: &FabricConfig, address: IpAddr, port: u16, held: &mut Vec<Socket>) -> std::io::Result<u16> {
    let mut port = port;
    let mut kinds = Vec::new();
    if config.tcp {
        kinds.push((Type::STREAM, Protocol::TCP));
    }
    if config.quic {
        kinds.push((Type::DGRAM, Protocol::UDP));
    }
    for (kind, protocol) in kinds {
        let wanted = SocketAddr::new(address, port);
        let socket = Socket::new(Domain::for_address(wanted), kind, Some(protocol))?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        // As every TCP server on Unix does: connections of an earlier run that linger do not block the port.
        #[cfg(unix)]
        if kind == Type::STREAM {
            socket.set_reuse_address(true)?;
        }
        socket.bind(&wanted.into())?;
        port = socket.local_addr()?.as_socket().map_or(port, |bound| bound.port());
        held.push(socket);
    }
    Ok(port)
}

/// Whether everything of an ended fabric is closed, i.e. its addresses can be bound again.
pub fn is_free(config: &FabricConfig, addresses: &[IpAddr], port: u16) -> bool {
    let mut held = Vec::new();
    addresses.iter().all(|address| match bind(config, *address, port, &mut held) {
        Ok(_) => true,
        Err(cause) => cause.kind() != std::io::ErrorKind::AddrInUse,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(interfaces: &[&str]) -> FabricConfig {
        FabricConfig { interfaces: interfaces.iter().map(ToString::to_string).collect(), ..FabricConfig::default() }
    }

    #[test]
    fn interfaces_become_addresses() {
        let localhost: IpAddr = [127, 0, 0, 1].into();
        assert_eq!(addresses(&config(&[])).expect("all"), [IpAddr::V4(Ipv4Addr::UNSPECIFIED)]);
        assert_eq!(addresses(&config(&["127.0.0.1"])).expect("literal"), [localhost]);
        let error = addresses(&config(&["no-such-interface"])).expect_err("unknown");
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        #[cfg(target_os = "linux")]
        assert_eq!(addresses(&config(&["lo", "127.0.0.1"])).expect("no duplicates"), [localhost]);
    }

    #[test]
    fn a_taken_udp_port_is_noticed_for_a_given_number_and_avoided_for_a_free_one() {
        let taken = std::net::UdpSocket::bind("127.0.0.1:0").expect("free port");
        let port = taken.local_addr().expect("bound").port();
        let mut config = config(&["127.0.0.1"]);
        let wanted = addresses(&config).expect("valid");
        config.port = port;
        assert_eq!(plan(&config, &wanted).expect_err("taken").kind(), ErrorKind::AddressInUse);
        config.quic = false;
        assert_eq!(plan(&config, &wanted).expect("TCP is free").port, port);
        config.quic = true;
        config.port = 0;
        assert_ne!(plan(&config, &wanted).expect("another number").port, port);
    }

    #[test]
    fn missing_ipv6_is_a_warning_while_ipv4_works() {
        let config = config(&["127.0.0.1", "2001:db8::1"]);
        let wanted = addresses(&config).expect("valid");
        let made = plan(&config, &wanted).expect("IPv4 works");
        assert_eq!(made.addresses, [IpAddr::from([127, 0, 0, 1])]);
        assert!(made.warnings[0].contains("2001:db8::1"), "{:?}", made.warnings);
        assert_eq!(plan(&config, &wanted[1..]).expect_err("nothing left").kind(), ErrorKind::InvalidArgument);
    }
}
