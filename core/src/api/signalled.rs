//! Single holes through NATs to a peer that is known by name: both sides meet over signalling, tell each other what they
//! know of their NATs and endpoints, and punch round by round. Not here: how they meet (`rendezvous`), and the rounds
//! (`nat::punch`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::nat::stun_servers;
use super::punching::{in_use, local_host, local_ports, over_tcp, over_udp};
use super::rendezvous::{Met, Names, SignalledBy};
use super::socket::PunchedSocket;
use super::task::Task;
use super::ways::near;
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::limits;
use crate::base::options::{FromJson, PunchOptions};
use crate::nat::method::Method;
use crate::nat::policy::Scope;
use crate::nat::profile::NatProfile;
use crate::nat::punch::Side;
use crate::nat::punch::driver::{Local, LocalPort, StunServers, punch_tcp, punch_udp};
use crate::nat::punch::message::{Endpoint, NatSummary, Transport};
use crate::nat::punch::plan::History;
use crate::nat::punch::round::may_probe;
use crate::nat::signal::Signal;
use crate::nat::stun::driver::{DetectConfig, detect, lookup};
use crate::nat::stun::server::StunServer;
use crate::net::interfaces::local_addresses;
use crate::net::udp::UdpPort;

/// Opens a UDP path to a peer that does the same. Both give both names, each from its side.
///
/// Errors: `InvalidArgument`, `AddressInUse` when no local port is free, `PeerUnreachable` when the peer does not come or
/// no way leads to it, `ConnectionClosed` when signalling ends too early, `Cancelled`.
pub fn punch_udp_over(options: PunchOptions, by: impl Into<SignalledBy>) -> Task<PunchedSocket> {
    let by = by.into();
    Task::spawn(async move |cancel| {
        let place = Place::of(&options).await?;
        let ports = place.on_free_ports(UdpPort::bind)?;
        let bound = |port: &Arc<UdpPort>| {
            port.local_address().map_err(|cause| Error::io("read the address of a UDP port", cause))
        };
        let at = ports.iter().map(bound).collect::<Result<Vec<_>>>()?;
        let known = place.known(&at, Transport::Udp);
        let given: Vec<_> = ports.into_iter().map(|port| LocalPort { port, driven: false }).collect();
        let mut begun = place.begin(by, &cancel).await?;
        let (local, signal) = begun.parts(known, place.scope);
        let closed = CancellationToken::new();
        let won = place.finish(punch_udp(given, local, signal, &closed), &cancel, &closed).await?;
        over_udp(won, closed)
    })
}

/// Opens a TCP connection to a peer that does the same. Errors: as for [`punch_udp_over`].
pub fn punch_tcp_over(options: PunchOptions, by: impl Into<SignalledBy>) -> Task<PunchedSocket> {
    tcp(options, Method::TcpPunch, by.into())
}

/// The same under the original package's other name.
pub fn tcp_simultaneous_open_over(options: PunchOptions, by: impl Into<SignalledBy>) -> Task<PunchedSocket> {
    tcp(options, Method::TcpSimultaneousOpen, by.into())
}

pub(super) fn tcp(options: PunchOptions, method: Method, by: SignalledBy) -> Task<PunchedSocket> {
    Task::spawn(async move |cancel| {
        let place = Place::of(&options).await?;
        let bind = |at| {
            let bound = std::net::TcpListener::bind(at).and_then(|port| port.local_addr());
            bound.map_err(|cause| in_use(at, cause))
        };
        let at = place.on_free_ports(bind)?;
        let known = place.known(&at, Transport::Tcp);
        let mut begun = place.begin(by, &cancel).await?;
        let (local, signal) = begun.parts(known, place.scope);
        let closed = CancellationToken::new();
        let won = place.finish(punch_tcp(at, local, signal, &closed), &cancel, &closed).await?;
        over_tcp(method, won, closed)
    })
}

/// Two sides that can talk, and what ours knows.
struct Begun {
    met: Met,
    side: Side,
    nat: NatSummary,
    observer: StunServers,
    history: History,
}

impl Begun {
    fn parts(&mut self, known: Vec<Endpoint>, scope: Scope) -> (Local<'_>, &mut dyn Signal) {
        let local = Local {
            side: self.side,
            nat: self.nat,
            known,
            observer: &mut self.observer,
            history: &mut self.history,
            scope,
            signal_timeout: limits::PUNCH_SIGNAL_TIMEOUT,
        };
        (local, &mut *self.met.signal)
    }
}

fn cancelled() -> Error {
    Error::new(ErrorKind::Cancelled, "hole punching was cancelled")
}

/// Where we are.
struct Place<'a> {
    options: &'a PunchOptions,
    /// Addresses to bind, one of each family.
    hosts: Vec<IpAddr>,
    /// Ports that may be used, in order.
    ports: Vec<u16>,
    servers: Vec<StunServer>,
    scope: Scope,
    /// When everything ends.
    deadline: Instant,
}

impl<'a> Place<'a> {
    async fn of(options: &'a PunchOptions) -> Result<Self> {
        options.validate()?;
        let deadline = Instant::now() + Duration::from_millis(options.timeout_ms);
        let local = local_host(options).await?;
        let hosts = match local {
            Some((host, _)) => vec![host],
            None if options.enable_ipv6 => vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()],
            None => vec![Ipv4Addr::UNSPECIFIED.into()],
        };
        let ports = local_ports(options, local.and_then(|(_, port)| port));
        let servers = stun_servers(&options.stun_servers, options.local_only)?;
        // As for nodes: a Gun relay of this machine, in an attempt that keeps to itself, serves this machine.
        let relays = options.gun_peers.iter().map(|url| near(url)).min().filter(|_| options.local_only);
        let scope = if options.allow_private { Scope::Machine } else { relays.unwrap_or_default() };
        Ok(Self { options, hosts, ports, servers, scope, deadline })
    }

    /// Binds all hosts on the first port that is free.
    fn on_free_ports<T>(&self, bind: impl Fn(SocketAddr) -> Result<T>) -> Result<Vec<T>> {
        let mut problem = Error::invalid("localPorts", "must not be empty");
        for port in &self.ports {
            let all = self.hosts.iter().map(|host| bind(SocketAddr::new(*host, *port))).collect::<Result<Vec<T>>>();
            match all {
                Err(error) if error.kind() == ErrorKind::AddressInUse => problem = error,
                other => return other,
            }
        }
        Err(problem)
    }

    /// Addresses of this machine that lead to what is bound, as far as the peer may try them.
    fn known(&self, bound: &[SocketAddr], transport: Transport) -> Vec<Endpoint> {
        let own = local_addresses();
        let leads_to = |at: &SocketAddr| -> Vec<SocketAddr> {
            let same = |ip: &&IpAddr| ip.is_ipv4() == at.is_ipv4();
            let ips = if at.ip().is_unspecified() { own.iter().filter(same).copied().collect() } else { vec![at.ip()] };
            ips.into_iter().map(|ip| SocketAddr::new(ip, at.port())).collect()
        };
        let all = bound.iter().flat_map(leads_to).filter(|at| may_probe(*at, self.scope));
        all.map(|address| Endpoint { transport, address }).collect()
    }

    /// Meets the peer.
    async fn begin(&self, by: SignalledBy, cancel: &CancellationToken) -> Result<Begun> {
        let options = self.options;
        let names = Names {
            local: options.local_id.as_deref(),
            remote: options.remote_id.as_deref(),
            key: options.key.as_deref(),
            relays: &options.gun_peers,
        };
        let side = if names.leads()? { Side::Initiator } else { Side::Responder };
        let patience = self.deadline.saturating_duration_since(Instant::now());
        // The peer is waited for anyway.
        let beginning = futures::future::join(names.meet(by, patience), self.look_at_the_nat());
        let (met, (profile, servers)) = tokio::select! {
            begun = beginning => begun,
            () = cancel.cancelled() => return Err(cancelled()),
        };
        let (observer, history) = (StunServers::new(servers), History::default());
        Ok(Begun { met: met?, side, nat: NatSummary::new(&profile), observer, history })
    }

    /// Lets the rounds run until they end, or are ended. What still answers the peer ends with `closed`; ended by it, an
    /// attempt tells the peer.
    async fn finish<T>(
        &self,
        punching: impl Future<Output = Result<T>>,
        cancel: &CancellationToken,
        closed: &CancellationToken,
    ) -> Result<T> {
        let mut punching = pin!(punching);
        let ended = tokio::select! {
            ended = &mut punching => ended,
            () = cancel.cancelled() => {
                closed.cancel();
                let _ = punching.await;
                Err(cancelled())
            }
            () = tokio::time::sleep_until(self.deadline) => {
                closed.cancel();
                let late = "hole punching: out of time";
                Err(match punching.await {
                    Err(cause) => Error::with_source(ErrorKind::PeerUnreachable, late, cause),
                    // Won at the last moment; what answers the peer has ended.
                    Ok(_) => Error::new(ErrorKind::PeerUnreachable, late),
                })
            }
        };
        ended.inspect_err(|_| closed.cancel())
    }

    /// What kind of NAT we are behind, and whom to ask for endpoints. Nothing of both without servers.
    async fn look_at_the_nat(&self) -> (NatProfile, Vec<SocketAddr>) {
        if self.servers.is_empty() {
            return (NatProfile::default(), Vec::new());
        }
        let mut config = DetectConfig::new(self.servers.clone());
        config.ipv6 = self.hosts.iter().any(IpAddr::is_ipv6);
        config.total = config.total.min(Duration::from_millis(self.options.timeout_ms) / 2);
        let detecting = detect(config, CancellationToken::new());
        let looking = lookup::servers(&self.servers, limits::STUN_LOOKUP_TIMEOUT);
        let (profile, found) = futures::future::join(detecting, looking).await;
        let first_of_each_family = found.unwrap_or_default().into_iter().flat_map(|addresses| {
            let v4 = addresses.iter().find(|address| address.is_ipv4()).copied();
            let v6 = addresses.iter().find(|address| address.is_ipv6()).copied();
            v4.into_iter().chain(v6)
        });
        // Servers that do not answer are a NAT of which nothing is known.
        (profile.unwrap_or_default(), first_of_each_family.collect())
    }
}
