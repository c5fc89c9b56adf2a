//! One connection by ICE (RFC 8445) over signalling. Not here: the ICE that nodes do by themselves.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::select_all;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::nat::stun_servers;
use super::rendezvous::{Names, SignalledBy};
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
use crate::net::interfaces::{local_addresses, source_towards};
use crate::net::udp::UdpPort;

/// Time for the checks when the peer came late.
const LEAST: Duration = Duration::from_secs(1);

/// Finds a pair of addresses that works and gives a socket on it: host, server-reflexive and relayed candidates are
/// gathered, told over signalling as they come, and checked. The peer does the same with the other end. Over Gun both
/// sides give both names, and `timeout` begins with waiting for the peer.
///
/// Errors: `InvalidArgument`, `AddressInUse`, `PeerUnreachable` when the peer does not come or no pair works, `Timeout`,
/// `ConnectionClosed` when signalling ends too early, `Cancelled`.
pub fn connect_with_ice(options: IceOptions, by: impl Into<SignalledBy>) -> Task<PunchedSocket> {
    let by = by.into();
    Task::spawn(async move |cancel| {
        let started = Instant::now();
        let names = Names {
            local: options.local_id.as_deref(),
            remote: options.remote_id.as_deref(),
            key: options.key.as_deref(),
            relays: &options.gun_peers,
        };
        let (mut plan, mut readers) = prepare(&options).await?;
        let mut met = tokio::select! {
            met = names.meet(by, plan.timeout) => met?,
            () = cancel.cancelled() => return Err(Error::new(ErrorKind::Cancelled, "ICE was cancelled")),
        };
        plan.timeout = plan.timeout.saturating_sub(started.elapsed()).max(LEAST);
        let (early, mut came_early) = mpsc::channel(limits::RAW_DATAGRAMS);
        // The peer may have its pair, and use it, before we have ours.
        let keep = |from, bytes| drop(early.try_send((from, bytes)));
        let connected = tokio::select! {
            connected = driver::connect(plan, &mut *met.signal) => connected,
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
    let turn = turn::of_ice(options)?;
    let readers = ports.iter().map(|port| PortReader::new(Arc::clone(&port.port))).collect();
    let options = driver::IceOptions {
        role: role(options),
        policy: policy(options),
        ports,
        stun_servers,
        turn,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::signalling::{SignallingEnd, signalling};

    /// Brings the messages of one side to the other until the first has ended.
    async fn carry(from: SignallingEnd, to: SignallingEnd) {
        while let Some(message) = from.outgoing().await {
            to.deliver(message).await.expect("short enough");
        }
        to.close();
    }

    fn on_one_machine() -> IceOptions {
        IceOptions { allow_private: true, local_only: true, ..IceOptions::default() }
    }

    #[tokio::test]
    async fn two_sides_meet_over_the_programs_signalling_and_go_apart() {
        let ((one, here), (two, there)) = (signalling(), signalling());
        tokio::spawn(carry(here.clone(), there.clone()));
        tokio::spawn(carry(there, here));
        let (first, second) = (connect_with_ice(on_one_machine(), one), connect_with_ice(on_one_machine(), two));
        let (first, second) = tokio::try_join!(first.wait(), second.wait()).expect("connected");
        assert_eq!((first.info().connection_type, first.info().local_candidate), ("ICE", Some("host")));
        assert_eq!(first.info().remote_port, second.info().local_port);
        for (from, to) in [(&first, &second), (&second, &first)] {
            from.send(Bytes::from_static(b"hello")).await.expect("open");
            assert_eq!(to.receive().await.expect("open").expect("not ended"), "hello");
        }
        let port = first.info().local_port;
        first.close().await;
        std::net::UdpSocket::bind(("0.0.0.0", port)).expect("the port is free again");
        assert!(first.receive().await.expect("closed by us").is_none());
    }

    #[tokio::test]
    async fn an_attempt_ends_when_it_is_cancelled_or_its_signalling_ends() {
        let (engine, program) = signalling();
        let attempt = connect_with_ice(on_one_machine(), engine);
        assert!(program.outgoing().await.is_some(), "the first description");
        attempt.cancel();
        assert_eq!(attempt.wait().await.err().expect("cancelled").kind(), ErrorKind::Cancelled);
        let (engine, program) = signalling();
        program.close();
        let error = connect_with_ice(on_one_machine(), engine).wait().await.err().expect("nobody to talk to");
        assert_eq!(error.kind(), ErrorKind::ConnectionClosed);
        let (engine, _program) = signalling();
        let options = IceOptions { turn_server: Some("stun:a".into()), ..on_one_machine() };
        let error = connect_with_ice(options, engine).wait().await.err().expect("not a TURN server");
        assert!(error.to_string().starts_with("turnServer"), "{error}");
    }
}
