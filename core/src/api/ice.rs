//! One connection by ICE (RFC 8445) over signalling that the program carries. Not here: the ICE that nodes do by
//! themselves.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::select_all;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::nat::stun_servers;
use super::signalling::Signalling;
use super::socket::{Out, PortReader, PunchedSocket, SocketInfo};
use super::task::Task;
use super::turn;
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::limits;
use crate::base::options::{FromJson, IceOptions};
use crate::nat::ice::Role;
use crate::nat::ice::driver::{self, Carrier, IcePath, IcePort};
use crate::nat::method::{Method, Transport};
use crate::nat::policy::{Network, Policy};
use crate::nat::stun::driver::lookup;
use crate::nat::turn::driver::TurnConfig;
use crate::net::interfaces::{local_addresses, source_towards};
use crate::net::udp::UdpPort;

/// Finds a pair of addresses that works and gives a socket on it: host, server-reflexive and relayed candidates are
/// gathered, told over `signalling` as they come, and checked. The peer does the same with the other end.
///
/// Errors: `InvalidArgument`, `AddressInUse`, `PeerUnreachable` when no pair works, `Timeout`, `ConnectionClosed` when
/// signalling ends too early, `Cancelled`.
pub fn connect_with_ice(options: IceOptions, mut signalling: Signalling) -> Task<PunchedSocket> {
    Task::spawn(async move |cancel| {
        let (options, mut readers) = prepare(&options).await?;
        let (early, mut came_early) = mpsc::channel(limits::RAW_DATAGRAMS);
        // The peer may have its pair, and use it, before we have ours.
        let keep = |from, bytes| drop(early.try_send((from, bytes)));
        let connected = tokio::select! {
            connected = driver::connect(options, &mut signalling) => connected,
            error = read(&mut readers, &keep) => Err(error),
            () = cancel.cancelled() => Err(Error::new(ErrorKind::Cancelled, "ICE was cancelled")),
        };
        let mut path = connected?;
        let (info, out) = describe(&path)?;
        let driven = |inbox: super::socket::Inbox| async move {
            while let Ok((from, bytes)) = came_early.try_recv() {
                inbox.put(from, bytes);
            }
            let put = |from, bytes| inbox.put(from, bytes);
            loop {
                tokio::select! {
                    received = path.receive() => match received {
                        Ok(bytes) => inbox.put(path.to, bytes),
                        Err(error) => return error,
                    },
                    error = read(&mut readers, &put) => return error,
                }
            }
        };
        let remote = SocketAddr::new(info.1.ip(), info.1.port());
        Ok(PunchedSocket::datagrams(info.0, out, remote, CancellationToken::new(), driven))
    })
}

/// What the driver needs, and the readers of its ports.
async fn prepare(options: &IceOptions) -> Result<(driver::IceOptions, Vec<PortReader>)> {
    options.validate()?;
    let own = own_addresses(options);
    let mut ports = Vec::new();
    for (any, v4) in [(IpAddr::V4(Ipv4Addr::UNSPECIFIED), true), (IpAddr::V6(Ipv6Addr::UNSPECIFIED), false)] {
        let hosts: Vec<IpAddr> = own.iter().copied().filter(|address| address.is_ipv4() == v4).collect();
        if !hosts.is_empty() {
            let port = UdpPort::bind(SocketAddr::new(any, options.local_port))?;
            let local = port.local_address().map_err(|cause| Error::io("read the address of a UDP port", cause))?;
            let hosts = hosts.into_iter().map(|host| SocketAddr::new(host, local.port())).collect();
            ports.push(IcePort { port, hosts });
        }
    }
    if ports.is_empty() {
        let problem = "there is no interface with an address to offer; allowPrivate offers loopback addresses too";
        return Err(Error::new(ErrorKind::PeerUnreachable, format!("ICE: {problem}")));
    }
    let servers = stun_servers(&options.stun_servers, options.local_only)?;
    let stun_servers = match lookup::servers(&servers, limits::STUN_LOOKUP_TIMEOUT).await {
        Ok(found) => found.into_iter().flatten().collect(),
        // Without the public servers, which nobody asked for, host candidates may still do.
        Err(_) if options.stun_servers.is_empty() => Vec::new(),
        Err(error) => return Err(error),
    };
    let turn = turn::of_ice(options)?.into_iter().next();
    let readers = ports.iter().map(|port| PortReader::new(Arc::clone(&port.port))).collect();
    let options = driver::IceOptions {
        role: role(options),
        policy: policy(options),
        ports,
        stun_servers,
        turn: turn.map(|(server, credentials)| TurnConfig::new(server, credentials)),
        timeout: Duration::from_millis(options.timeout_ms),
    };
    Ok((options, readers))
}

/// Addresses of interfaces to offer: link-local ones lead nowhere without the interface's name.
fn own_addresses(options: &IceOptions) -> Vec<IpAddr> {
    let offered = |address: &IpAddr| {
        let family = address.is_ipv4() || options.enable_ipv6;
        let link_local = match address {
            IpAddr::V4(v4) => v4.is_link_local(),
            IpAddr::V6(v6) => v6.is_unicast_link_local(),
        };
        family && !link_local && (options.allow_private || !address.is_loopback())
    };
    local_addresses().into_iter().filter(offered).collect()
}

fn policy(options: &IceOptions) -> Policy {
    let loopback =
        [Network::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), 8), Network::new(IpAddr::V6(Ipv6Addr::LOCALHOST), 128)];
    let permitted = if options.allow_private { loopback.to_vec() } else { Vec::new() };
    Policy { same_lan: options.allow_private, permitted, ..Policy::default() }
}

/// Two sides that claim the same role settle it by themselves (RFC 8445 section 7.3.1.1).
fn role(options: &IceOptions) -> Role {
    match (&options.local_id, &options.remote_id) {
        (Some(local), Some(remote)) if local < remote => Role::Controlled,
        _ => Role::Controlling,
    }
}

/// Reads all ports until one fails.
async fn read(readers: &mut [PortReader], put: &(impl Fn(SocketAddr, Bytes) + Sync)) -> Error {
    loop {
        let next = readers.iter_mut().map(|reader| Box::pin(reader.next(put)));
        if let (Err(error), ..) = select_all(next).await {
            return error;
        }
    }
}

fn describe(path: &IcePath) -> Result<((SocketInfo, SocketAddr), Out)> {
    let (local, out) = match &path.carrier {
        Carrier::Port(port) => {
            let bound = port.local_address().map_err(|cause| Error::io("read the address of a UDP port", cause))?;
            let ip = source_towards(path.to).unwrap_or(bound.ip());
            (SocketAddr::new(ip, bound.port()), Out::Port(Arc::clone(port)))
        }
        Carrier::Relay(relay) => (relay.relayed_address(), Out::Relay(Arc::clone(relay))),
    };
    let mut info = SocketInfo::new(Method::Ice, Transport::Udp, local, path.to);
    info.local_candidate = Some(path.local_kind.name());
    info.remote_candidate = Some(path.remote_kind.name());
    Ok(((info, path.to), out))
}
