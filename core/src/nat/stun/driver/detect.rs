//! Runs behaviour discovery with real sockets, for both address families at the same time. Not here: the tests and
//! what they mean (`behaviour`).

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{lookup, tcp};
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::limits;
use crate::base::random::Jitter;
use crate::base::time::Time;
use crate::nat::profile::NatProfile;
use crate::nat::stun::behaviour::{Discovery, FILTER_SOCKETS, Findings, Output, Plan, SERIES_SOCKETS, profile};
use crate::nat::stun::server::StunServer;
use crate::net::clock::Clock;
use crate::net::interfaces::source_towards;
use crate::net::udp::UdpPort;

/// What to ask, and with what.
#[derive(Clone, Debug)]
pub struct DetectConfig {
    /// The servers, best ones first. Three with different operators are right; one of them should support RFC 5780.
    pub servers: Vec<StunServer>,
    /// Examine IPv4.
    pub ipv4: bool,
    /// Examine IPv6.
    pub ipv6: bool,
    /// The node's own ports, at most one of each family, driven by something else. Their endpoints are reported, and
    /// they count for the mapping: a port that other hosts behind the NAT use too may fare worse than a fresh one.
    pub ports: Vec<Arc<UdpPort>>,
    /// Everything ends after this, names included.
    pub total: Duration,
}

impl DetectConfig {
    /// Both families, no own ports, [`limits::STUN_DETECT_TIMEOUT`].
    pub fn new(servers: Vec<StunServer>) -> Self {
        Self { servers, ipv4: true, ipv6: true, ports: Vec::new(), total: limits::STUN_DETECT_TIMEOUT }
    }
}

/// Finds out what stands between us and the internet. `PeerUnreachable` if no server answers at all, over UDP or TCP;
/// a network that only blocks UDP is a result. `InvalidArgument`, `Cancelled`. Cancel safe.
pub async fn detect(config: DetectConfig, cancel: CancellationToken) -> Result<NatProfile> {
    tokio::select! {
        result = examine_all(&config) => result,
        () = cancel.cancelled() => Err(Error::new(ErrorKind::Cancelled, "NAT detection was cancelled")),
    }
}

/// The wildcard address of a family, any port.
pub(crate) fn unspecified(v4: bool) -> SocketAddr {
    if v4 { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() }
}

async fn examine_all(config: &DetectConfig) -> Result<NatProfile> {
    let clock = Clock::start();
    let servers = lookup::servers(&config.servers, limits::STUN_LOOKUP_TIMEOUT.min(config.total)).await?;
    let left = config.total.saturating_sub(clock.now().since(Time::ZERO));
    let family = |wanted: bool, v4: bool| {
        let servers: Vec<Vec<SocketAddr>> = servers
            .iter()
            .map(|addresses| addresses.iter().filter(|address| wanted && address.is_ipv4() == v4).copied().collect())
            .filter(|addresses: &Vec<SocketAddr>| !addresses.is_empty())
            .collect();
        let own = config.ports.iter().find(|port| port.local_address().is_ok_and(|at| at.is_ipv4() == v4));
        examine(servers, own.map(Arc::clone), left)
    };
    let (v4, v6) = tokio::join!(family(config.ipv4, true), family(config.ipv6, false));
    let (v4, v6) = (v4?, v6?);
    let someone = v4.iter().chain(&v6).any(|findings| findings.udp_works || findings.tcp_works);
    if !someone {
        let names: Vec<String> = config.servers.iter().map(ToString::to_string).collect();
        let context = format!("no STUN server answers, neither over UDP nor over TCP: {}", names.join(", "));
        return Err(Error::new(ErrorKind::PeerUnreachable, context));
    }
    Ok(profile(v4.as_ref(), v6.as_ref()))
}

/// One family. `None` if none of its servers can be routed to.
async fn examine(
    servers: Vec<Vec<SocketAddr>>,
    own: Option<Arc<UdpPort>>,
    total: Duration,
) -> Result<Option<Findings>> {
    let Some(source) = servers.iter().flatten().find_map(|server| source_towards(*server)) else { return Ok(None) };
    let mut sockets = Sockets::open(source, own)?;
    let clock = Clock::start();
    let plan = Plan { servers, sockets: sockets.addresses.clone(), mains: sockets.mains, total };
    let mut machine = Discovery::new(clock.now(), plan, Jitter::from_seed(rand::random()));
    let mut tcp_asked: JoinSet<bool> = JoinSet::new();
    loop {
        while let Some(output) = machine.poll() {
            match output {
                Output::Send { socket, to, bytes } => sockets.send(socket, to, &bytes).await,
                Output::AskTcp(server) => {
                    let left = total.saturating_sub(clock.now().since(Time::ZERO));
                    tcp_asked.spawn(async move { tcp::ask(server, left).await.is_ok() });
                }
                Output::Done(findings) => return Ok(Some(findings)),
            }
        }
        tokio::select! {
            Some((socket, from, bytes)) = sockets.received.recv() => {
                machine.handle(clock.now(), socket, from, &bytes);
            }
            Some(asked) = tcp_asked.join_next() => machine.handle_tcp(clock.now(), asked.unwrap_or(false)),
            () = clock.sleep_until(machine.next_timeout()) => machine.handle_timeout(clock.now()),
        }
    }
}

/// The sockets of one discovery, each read by a task that ends with this object.
struct Sockets {
    ports: Vec<Arc<UdpPort>>,
    addresses: Vec<SocketAddr>,
    mains: usize,
    received: mpsc::Receiver<(usize, SocketAddr, Bytes)>,
    /// Requests sent from the node's own port: only their answers are taken from it.
    own_requests: Arc<Mutex<HashSet<[u8; 12]>>>,
    own: Option<usize>,
    _tasks: JoinSet<()>,
}

impl Sockets {
    fn open(source: IpAddr, own: Option<Arc<UdpPort>>) -> Result<Self> {
        let fresh = || UdpPort::bind(unspecified(source.is_ipv4()));
        let mut ports = vec![fresh()?];
        let own_index = own.as_ref().map(|_| ports.len());
        ports.extend(own);
        let mains = ports.len();
        for _ in 0..FILTER_SOCKETS + SERIES_SOCKETS {
            ports.push(fresh()?);
        }
        let (sender, received) = mpsc::channel(limits::UDP_ROUTE_QUEUE);
        let own_requests = Arc::new(Mutex::new(HashSet::new()));
        let mut tasks = JoinSet::new();
        let mut addresses = Vec::new();
        for (index, port) in ports.iter().enumerate() {
            let local = port.local_address().map_err(|cause| Error::io("NAT detection: local address", cause))?;
            addresses.push(SocketAddr::new(source, local.port()));
            let is_own = own_index == Some(index);
            let mut route = if is_own {
                let wanted = Arc::clone(&own_requests);
                port.route(move |bytes, _| is_wanted(&wanted, bytes))?
            } else {
                port.route(|_, _| true)?
            };
            let (port, sender) = (Arc::clone(port), sender.clone());
            tasks.spawn(async move {
                let forward = async {
                    loop {
                        let datagram = route.receive().await;
                        if sender.send((index, datagram.from, datagram.bytes)).await.is_err() {
                            return;
                        }
                    }
                };
                if is_own {
                    forward.await;
                } else {
                    tokio::select! {
                        () = forward => {}
                        error = port.pump() => tracing::debug!(%error, "a socket of the NAT detection failed"),
                    }
                }
            });
        }
        Ok(Self { ports, addresses, mains, received, own_requests, own: own_index, _tasks: tasks })
    }

    async fn send(&self, socket: usize, to: SocketAddr, bytes: &[u8]) {
        if self.own == Some(socket)
            && let Some(id) = transaction_of(bytes)
        {
            self.own_requests.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
        }
        // Lost datagrams are sent again.
        if let Err(error) = self.ports[socket].send(bytes, to).await {
            tracing::debug!(%to, %error, "NAT detection: request not sent");
        }
    }
}

fn is_wanted(wanted: &Mutex<HashSet<[u8; 12]>>, bytes: &[u8]) -> bool {
    transaction_of(bytes).is_some_and(|id| wanted.lock().unwrap_or_else(PoisonError::into_inner).contains(&id))
}

fn transaction_of(bytes: &[u8]) -> Option<[u8; 12]> {
    bytes.get(8..20)?.try_into().ok()
}
