//! Single holes through NATs to an endpoint that the program knows: both sides call at about the same time, each with
//! the other's endpoint. Not here: holes to a peer that tells its endpoints over signalling (`signalled`), and the attempts
//! that nodes make by themselves.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use super::rendezvous::SignalledBy;
use super::signalled;
use super::socket::{Out, PortReader, PunchedSocket, SocketInfo};
use super::task::Task;
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::limits;
use crate::base::options::{FromJson, PunchOptions};
use crate::nat::method::{Method, Transport};
use crate::nat::policy::{Origin, Policy};
use crate::nat::punch::SessionKey;
use crate::nat::punch::driver::{LocalPort, PunchedTcp, PunchedUdp, punch_tcp_to, punch_udp_to};
use crate::nat::stun::driver::lookup;
use crate::nat::stun::server::host_and_port;
use crate::net::udp::UdpPort;

/// Opens a UDP path to the peer's endpoint, or, without `remoteEndpoint`, to the peer that is met at Gun relays
/// ([`punch_udp_over`](super::punch_udp_over)). The peer does the same at the same time, or within `timeout`.
///
/// Errors: `InvalidArgument`, `AddressInUse` when no local port is free, `PeerUnreachable` when the peer did not answer,
/// `Timeout` for a name that cannot be looked up, `Cancelled`.
pub fn punch_udp(options: PunchOptions) -> Task<PunchedSocket> {
    if is_met_at_relays(&options) {
        return super::punch_udp_over(options, SignalledBy::Relays);
    }
    Task::spawn(async move |cancel| {
        let ends = Ends::of(&options).await?;
        let port = ends.on_a_free_port(UdpPort::bind)?;
        let given = LocalPort { port, driven: false };
        let closed = CancellationToken::new();
        let punching = punch_udp_to(given, ends.remote, ends.key.as_ref(), ends.timeout, &closed);
        over_udp(until(punching, &cancel, &closed).await?, closed)
    })
}

/// The socket on a path that was opened.
pub(super) fn over_udp(won: PunchedUdp, closed: CancellationToken) -> Result<PunchedSocket> {
    let local = won.port.local_address().map_err(|cause| Error::io("read the address of a UDP port", cause))?;
    let info = SocketInfo::new(Method::UdpPunch, Transport::Udp, local, won.remote);
    let mut reader = PortReader::new(won.port.clone());
    Ok(PunchedSocket::datagrams(info, Out::Port(won.port), won.remote, closed, |inbox| async move {
        let put = |from, bytes| inbox.put(from, bytes);
        loop {
            if let Err(error) = reader.next(&put).await {
                return error;
            }
        }
    }))
}

/// Opens a TCP connection to the peer's endpoint: both sides listen and connect on one port each.
///
/// Errors: as for [`punch_udp`].
pub fn punch_tcp(options: PunchOptions) -> Task<PunchedSocket> {
    tcp(options, Method::TcpPunch)
}

/// The same under the original package's other name. A simultaneous open is one of the ways in which the connection can
/// come up; which one it was cannot be seen from outside.
pub fn tcp_simultaneous_open(options: PunchOptions) -> Task<PunchedSocket> {
    tcp(options, Method::TcpSimultaneousOpen)
}

fn tcp(options: PunchOptions, method: Method) -> Task<PunchedSocket> {
    if is_met_at_relays(&options) {
        return signalled::tcp(options, method, SignalledBy::Relays);
    }
    Task::spawn(async move |cancel| {
        let ends = Ends::of(&options).await?;
        let at =
            ends.on_a_free_port(|at| std::net::TcpListener::bind(at).map(|_| at).map_err(|cause| in_use(at, cause)))?;
        let closed = CancellationToken::new();
        let punching = punch_tcp_to(at, ends.remote, ends.key.as_ref(), ends.timeout, &closed);
        over_tcp(method, until(punching, &cancel, &closed).await?, closed)
    })
}

/// The socket on a connection that was made.
pub(super) fn over_tcp(method: Method, won: PunchedTcp, closed: CancellationToken) -> Result<PunchedSocket> {
    let local = won.stream.local_addr().map_err(|cause| Error::io("read the address of a TCP port", cause))?;
    let info = SocketInfo::new(method, Transport::Tcp, local, won.remote);
    Ok(PunchedSocket::stream(info, won.stream, closed))
}

fn is_met_at_relays(options: &PunchOptions) -> bool {
    options.remote_endpoint.is_empty() && !options.gun_peers.is_empty()
}

/// Runs an attempt whose leftovers end with `closed`.
async fn until<T>(
    attempt: impl Future<Output = Result<T>>,
    cancel: &CancellationToken,
    closed: &CancellationToken,
) -> Result<T> {
    let result = tokio::select! {
        result = attempt => result,
        () = cancel.cancelled() => Err(Error::new(ErrorKind::Cancelled, "hole punching was cancelled")),
    };
    if result.is_err() {
        closed.cancel();
    }
    result
}

/// Both ends of a hole.
struct Ends {
    /// Where to bind; more than one with `localPorts`.
    local: Vec<SocketAddr>,
    remote: SocketAddr,
    key: Option<SessionKey>,
    timeout: Duration,
}

impl Ends {
    async fn of(options: &PunchOptions) -> Result<Self> {
        options.validate()?;
        if options.remote_endpoint.is_empty() {
            let problem = "must be given, or gunPeers with localId and remoteId, to exchange endpoints over signalling";
            return Err(Error::invalid("remoteEndpoint", problem));
        }
        let local = local_host(options).await?;
        let (remotes, port) = endpoint("remoteEndpoint", &options.remote_endpoint).await?;
        let port = port.ok_or_else(|| Error::invalid("remoteEndpoint", "its port must be given"))?;
        let v4 = local.map(|(host, _)| host.is_ipv4());
        let remote = remotes.into_iter().find(|remote| v4.is_none_or(|v4| remote.is_ipv4() == v4));
        let other_family = || Error::invalid("remoteEndpoint", "has no address of the family of localEndpoint");
        let remote = SocketAddr::new(remote.ok_or_else(other_family)?, port);
        Policy::default()
            .check(remote, Origin::User)
            .map_err(|refusal| Error::invalid("remoteEndpoint", refusal.text()))?;
        let any = if remote.is_ipv4() { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { IpAddr::V6(Ipv6Addr::UNSPECIFIED) };
        let (host, port) = local.unwrap_or((any, None));
        let local = local_ports(options, port).into_iter().map(|port| SocketAddr::new(host, port)).collect();
        let key = options.key.as_deref().map(|key| SessionKey(Sha256::digest(key.as_bytes()).into()));
        Ok(Self { local, remote, key, timeout: Duration::from_millis(options.timeout_ms) })
    }

    /// Binds the first local port that is free.
    fn on_a_free_port<T>(&self, bind: impl Fn(SocketAddr) -> Result<T>) -> Result<T> {
        let mut problem = Error::invalid("localPorts", "must not be empty");
        for at in &self.local {
            match bind(*at) {
                Err(error) if error.kind() == ErrorKind::AddressInUse => problem = error,
                other => return other,
            }
        }
        Err(problem)
    }
}

pub(super) fn in_use(at: SocketAddr, cause: std::io::Error) -> Error {
    let kind = match cause.kind() {
        std::io::ErrorKind::AddrInUse => ErrorKind::AddressInUse,
        _ => ErrorKind::Io,
    };
    Error::with_source(kind, format!("bind the TCP address {at}"), cause)
}

/// Our possible ports, that of `localEndpoint` if it names one.
pub(super) fn local_ports(options: &PunchOptions, named: Option<u16>) -> Vec<u16> {
    match (named, options.local_ports.as_slice()) {
        (Some(port), _) => vec![port],
        (None, []) => vec![options.local_port],
        (None, ports) => ports.to_vec(),
    }
}

/// Our host and, if `localEndpoint` names one, our port; 0 is none.
pub(super) async fn local_host(options: &PunchOptions) -> Result<Option<(IpAddr, Option<u16>)>> {
    let text = options.local_endpoint.as_str();
    if text.is_empty() {
        return Ok(None);
    }
    let is_address = text.parse::<IpAddr>().is_ok();
    let text = if is_address { text } else { text.strip_suffix(":0").unwrap_or(text) };
    let (found, port) = endpoint("localEndpoint", text).await?;
    Ok(found.first().map(|host| (*host, port)))
}

/// Addresses, IPv4 first, and port of `host:port`.
async fn endpoint(option: &str, text: &str) -> Result<(Vec<IpAddr>, Option<u16>)> {
    let wrong = |problem| Error::invalid(option, format_args!("{text:?}: {problem}"));
    let (host, port) = host_and_port(text).map_err(wrong)?;
    let found = lookup::addresses(&host, port.unwrap_or(0), limits::STUN_LOOKUP_TIMEOUT).await?;
    let mut found: Vec<IpAddr> = found.into_iter().map(|address| address.ip()).collect();
    found.sort_by_key(IpAddr::is_ipv6);
    Ok((found, port))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn between(local: u16, remote: u16) -> PunchOptions {
        PunchOptions {
            local_endpoint: format!("127.0.0.1:{local}"),
            remote_endpoint: format!("127.0.0.1:{remote}"),
            key: Some("both know it".to_owned()),
            ..PunchOptions::default()
        }
    }

    /// Two free ports, for both protocols.
    fn free_ports() -> (u16, u16) {
        let bind = || {
            let tcp = std::net::TcpListener::bind("127.0.0.1:0").expect("free");
            let at = tcp.local_addr().expect("bound");
            (std::net::UdpSocket::bind(at).ok().map(|udp| (tcp, udp)), at.port())
        };
        let mut found = std::iter::repeat_with(bind).filter(|(both, _)| both.is_some()).take(2);
        let (one, two) = (found.next().expect("endless"), found.next().expect("endless"));
        (one.1, two.1)
    }

    async fn exchange(one: &PunchedSocket, two: &PunchedSocket) {
        for (from, to, text) in [(one, two, "there"), (two, one, "and back")] {
            from.send(Bytes::from_static(text.as_bytes())).await.expect("open");
            assert_eq!(to.receive().await.expect("open").expect("not ended"), text);
        }
    }

    #[tokio::test]
    async fn both_sides_of_a_udp_hole_exchange_datagrams_and_free_their_ports() {
        let (one, two) = free_ports();
        let (first, second) = (punch_udp(between(one, two)), punch_udp(between(two, one)));
        let (first, second) = tokio::try_join!(first.wait(), second.wait()).expect("punched");
        assert!(first.is_datagrams());
        assert_eq!((first.info().connection_type, first.info().remote_port), ("UDP_HOLE_PUNCH", two));
        assert_eq!((second.info().local_port, second.info().protocol), (two, "udp"));
        exchange(&first, &second).await;
        let large = Bytes::from(vec![0; limits::MAX_RAW_DATAGRAM_BYTES + 1]);
        assert_eq!(first.send(large).await.expect_err("too large").kind(), ErrorKind::InvalidArgument);
        first.close().await;
        second.close().await;
        assert!(first.receive().await.expect("closed by us").is_none());
        assert_eq!(first.send(Bytes::new()).await.expect_err("closed").kind(), ErrorKind::ConnectionClosed);
        // What still answers the last probes ends at once, but by itself.
        for port in [one, two] {
            while std::net::UdpSocket::bind(("127.0.0.1", port)).is_err() {
                tokio::task::yield_now().await;
            }
        }
    }

    #[tokio::test]
    async fn both_sides_of_a_tcp_hole_have_one_stream() {
        for (punch, name) in
            [(punch_tcp as fn(_) -> _, "TCP_HOLE_PUNCH"), (tcp_simultaneous_open, "TCP_SIMULTANEOUS_OPEN")]
        {
            let (one, two) = free_ports();
            let (first, second) = (punch(between(one, two)), punch(between(two, one)));
            let (first, second) = tokio::try_join!(first.wait(), second.wait()).expect("punched");
            assert!(!first.is_datagrams());
            assert_eq!((first.info().connection_type, second.info().remote_port), (name, one));
            exchange(&first, &second).await;
            first.close().await;
            assert!(second.receive().await.expect("an orderly end").is_none());
        }
    }

    #[tokio::test]
    async fn the_first_free_port_of_several_is_used() {
        let taken = std::net::UdpSocket::bind("0.0.0.0:0").expect("free");
        let taken = taken.local_addr().map(|at| (taken, at.port())).expect("bound");
        let (free, remote) = free_ports();
        let options = PunchOptions { local_ports: vec![taken.1, free], ..between(0, remote) };
        let ends = Ends::of(&options).await.expect("valid");
        let port = ends.on_a_free_port(UdpPort::bind).expect("one is free");
        assert_eq!(port.local_address().expect("bound").port(), free);
        let options = PunchOptions { local_ports: vec![taken.1], ..between(0, remote) };
        let error = punch_udp(options).wait().await.err().expect("none is free");
        assert_eq!(error.kind(), ErrorKind::AddressInUse);
    }

    #[tokio::test]
    async fn wrong_endpoints_are_named_and_silence_ends_in_time() {
        for (options, name) in [
            (PunchOptions::default(), "remoteEndpoint"),
            (PunchOptions { remote_endpoint: "127.0.0.1".into(), ..PunchOptions::default() }, "remoteEndpoint"),
            (PunchOptions { remote_endpoint: "224.0.0.1:5".into(), ..PunchOptions::default() }, "remoteEndpoint"),
            (PunchOptions { local_endpoint: "a b:1".into(), ..between(0, 1) }, "localEndpoint"),
            (PunchOptions { timeout_ms: 1, ..between(0, 1) }, "timeout"),
        ] {
            let error = punch_udp(options).wait().await.err().expect("wrong");
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            assert!(error.to_string().starts_with(name), "{error}");
        }
        let (one, two) = free_ports();
        let silence = PunchOptions { timeout_ms: 200, ..between(one, two) };
        for punch in [punch_udp as fn(_) -> _, punch_tcp] {
            let error = punch(silence.clone()).wait().await.err().expect("nobody is there");
            assert_eq!(error.kind(), ErrorKind::PeerUnreachable);
            let forever = punch(PunchOptions { timeout_ms: 60_000, ..between(one, two) });
            forever.cancel();
            assert_eq!(forever.wait().await.err().expect("cancelled").kind(), ErrorKind::Cancelled);
        }
    }
}
