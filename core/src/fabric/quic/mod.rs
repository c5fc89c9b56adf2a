//! The QUIC transport: quinn on UDP ports of our own, which STUN and hole punching use too. Same bytes on the wire as
//! libp2p's own (QUIC v1, libp2p's TLS). Not here: windows and congestion control (`config`), streams (`connection`).

mod config;
mod connection;
mod socket;
mod tasks;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use futures::future::{BoxFuture, FutureExt};
use if_watch::IfEvent;
use if_watch::tokio::IfWatcher;
use libp2p::PeerId;
use libp2p::core::transport::{DialOpts, ListenerId, PortUse, Transport, TransportError, TransportEvent};
use libp2p::core::{Endpoint, Multiaddr};
use libp2p::identity::Keypair;
use libp2p::multiaddr::Protocol;
use quinn::rustls::pki_types::CertificateDer;
use tokio::sync::oneshot;

use super::address;
use super::paths::{self, Path, Paths};
use super::tls::{self, Tls};
use crate::base::error::Result as EngineResult;
use crate::base::limits;
use crate::net::udp::UdpPort;

use config::Config;
use connection::Connection;
use socket::PortSocket;

pub use tasks::Tasks;

type Secured = io::Result<(PeerId, Connection)>;
type Upgrade = BoxFuture<'static, Secured>;
type Event = TransportEvent<Upgrade, io::Error>;

/// See the head of this file.
pub struct Quic {
    config: Arc<Config>,
    paths: Arc<Paths>,
    listeners: Vec<Listener>,
    /// Endpoints for dialling where no listener fits, by address family.
    dialers: HashMap<bool, quinn::Endpoint>,
    /// Connections that we wait for although we "dial": the peer is the one that speaks first on the punched path.
    awaited: HashMap<SocketAddr, oneshot::Sender<quinn::Incoming>>,
    events: VecDeque<Event>,
    waker: Option<Waker>,
}

/// One UDP port that is listened on.
struct Listener {
    id: ListenerId,
    endpoint: quinn::Endpoint,
    port: Arc<UdpPort>,
    at: SocketAddr,
    /// Tells which addresses a wildcard stands for.
    watcher: Option<IfWatcher>,
    accepting: BoxFuture<'static, Option<quinn::Incoming>>,
    reported: Vec<Multiaddr>,
}

impl Quic {
    /// QUIC with libp2p's TLS profile; listening ports appear in `paths`, and what quinn starts among `tasks`.
    pub fn new(key: &Keypair, tls: &Tls, paths: Arc<Paths>, tasks: Tasks) -> EngineResult<Self> {
        Ok(Self {
            config: Arc::new(Config::new(key, tls, tasks)?),
            paths,
            listeners: Vec::new(),
            dialers: HashMap::new(),
            awaited: HashMap::new(),
            events: VecDeque::new(),
            waker: None,
        })
    }

    fn listen(&mut self, id: ListenerId, at: SocketAddr) -> io::Result<()> {
        let watcher = if at.ip().is_unspecified() { Some(IfWatcher::new()?) } else { None };
        let port = UdpPort::bind(at).map_err(system_error)?;
        let at = port.local_address()?;
        let endpoint = endpoint(&self.config, Arc::clone(&port), true)?;
        self.paths.add_port(Arc::clone(&port));
        let mut listener =
            Listener { id, accepting: accept(&endpoint), endpoint, port, at, watcher, reported: Vec::new() };
        if listener.watcher.is_none() {
            self.events.extend(listener.appear(at.ip()));
        }
        self.listeners.push(listener);
        // From now on dialling goes out of the listening port, so that peers see one address of ours.
        self.dialers.remove(&at.is_ipv4());
        self.wake();
        Ok(())
    }

    /// The endpoint to dial an address from: a listening one, whose port the NAT in between already knows.
    fn dialer(&mut self, to: SocketAddr, port_use: PortUse) -> io::Result<quinn::Endpoint> {
        let fits = |listener: &&Listener| {
            let from = listener.at.ip();
            from.is_ipv4() == to.is_ipv4() && (from.is_unspecified() || from.is_loopback() == to.ip().is_loopback())
        };
        if port_use == PortUse::Reuse
            && let Some(listener) = self.listeners.iter().find(fits)
        {
            return Ok(listener.endpoint.clone());
        }
        let wildcard: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let fresh = |config: &Config| {
            endpoint(config, UdpPort::bind(SocketAddr::new(wildcard, 0)).map_err(system_error)?, false)
        };
        if port_use == PortUse::New {
            return fresh(&self.config);
        }
        if let Some(known) = self.dialers.get(&to.is_ipv4()) {
            return Ok(known.clone());
        }
        let made = fresh(&self.config)?;
        self.dialers.insert(to.is_ipv4(), made.clone());
        Ok(made)
    }

    /// Opens a connection over whatever path the address and its ticket say.
    fn start(&mut self, to: SocketAddr, ticket: Option<u64>, options: DialOpts) -> io::Result<Upgrade> {
        let path = ticket.map(|ticket| self.paths.take(ticket));
        // The other end of what a third carries is far, though ours may lead to a port of this machine.
        let near = is_near(to) && !matches!(path, Some(Some(Path::Relayed { .. })));
        let (endpoint, own) = match path {
            None => (self.dialer(to, options.port_use)?, false),
            Some(path) => match path {
                Some(Path::Udp { port, .. } | Path::Relayed { port, .. }) => {
                    let shared = self.listeners.iter().find(|listener| Arc::ptr_eq(&listener.port, &port));
                    match shared {
                        Some(listener) => (listener.endpoint.clone(), false),
                        None => (endpoint(&self.config, port, true)?, true),
                    }
                }
                _ => return Err(io::Error::new(io::ErrorKind::NotFound, "the path is gone")),
            },
        };
        let config = Arc::clone(&self.config);
        if options.role == Endpoint::Dialer {
            return Ok(connect(config, endpoint, to, near).boxed());
        }
        if own {
            return Ok(expect(config, endpoint, to, near).boxed());
        }
        // The peer's first packet arrives at a listener that serves everyone: catch it there. Ours open the way for
        // it through a NAT in front of us.
        let (caught, arrival) = oneshot::channel();
        self.awaited.retain(|_, waiting| !waiting.is_closed());
        self.awaited.insert(to, caught);
        let fits = |listener: &&Listener| listener.at.is_ipv4() == to.is_ipv4();
        let port = self.listeners.iter().find(fits).map(|listener| Arc::clone(&listener.port));
        Ok(async move {
            let opening = async {
                if let Some(port) = port {
                    open_way(&port, to).await;
                }
                std::future::pending::<()>().await;
            };
            let arrival = tokio::select! {
                arrival = tokio::time::timeout(limits::DIAL_TIMEOUT, arrival) => arrival,
                () = opening => unreachable!("never ends"),
            };
            match arrival {
                Ok(Ok(incoming)) => secure_inbound(config, incoming, near).await,
                Ok(Err(_)) => Err(io::Error::new(io::ErrorKind::ConnectionAborted, "no longer waited for")),
                Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "the peer did not connect")),
            }
        }
        .boxed())
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl Transport for Quic {
    type Output = (PeerId, Connection);
    type Error = io::Error;
    type ListenerUpgrade = Upgrade;
    type Dial = Upgrade;

    fn listen_on(&mut self, id: ListenerId, address: Multiaddr) -> Result<(), TransportError<io::Error>> {
        let at = address::quic_socket(&address).ok_or(TransportError::MultiaddrNotSupported(address))?;
        self.listen(id, at).map_err(TransportError::Other)
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        let Some(position) = self.listeners.iter().position(|listener| listener.id == id) else { return false };
        let listener = self.listeners.swap_remove(position);
        // Connections live on; new ones are refused.
        listener.endpoint.set_server_config(None);
        self.paths.remove_port(&listener.port);
        for listen_addr in listener.reported {
            self.events.push_back(TransportEvent::AddressExpired { listener_id: id, listen_addr });
        }
        self.events.push_back(TransportEvent::ListenerClosed { listener_id: id, reason: Ok(()) });
        self.wake();
        true
    }

    fn dial(&mut self, address: Multiaddr, options: DialOpts) -> Result<Upgrade, TransportError<io::Error>> {
        let (plain, ticket) = paths::ticket(&address);
        let to = address::quic_socket(&plain).filter(|to| to.port() != 0 && !to.ip().is_unspecified());
        let to = to.ok_or(TransportError::MultiaddrNotSupported(address))?;
        self.start(to, ticket, options).map_err(TransportError::Other)
    }

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Event> {
        let this = &mut *self;
        if let Some(event) = this.events.pop_front() {
            return Poll::Ready(event);
        }
        for listener in &mut this.listeners {
            if let Some(event) = listener.poll_addresses(context) {
                return Poll::Ready(event);
            }
            while let Poll::Ready(Some(incoming)) = listener.accepting.poll_unpin(context) {
                listener.accepting = accept(&listener.endpoint);
                let from = incoming.remote_address();
                let incoming = match this.awaited.remove(&from) {
                    Some(waiting) => match waiting.send(incoming) {
                        Ok(()) => continue,
                        // Whoever waited gave up: an ordinary connection then.
                        Err(incoming) => incoming,
                    },
                    None => incoming,
                };
                return Poll::Ready(TransportEvent::Incoming {
                    listener_id: listener.id,
                    local_addr: address::quic(listener.at),
                    send_back_addr: address::quic(from),
                    upgrade: secure_inbound(Arc::clone(&this.config), incoming, is_near(from)).boxed(),
                });
            }
        }
        this.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

impl Listener {
    fn appear(&mut self, ip: IpAddr) -> Option<Event> {
        // Link-local IPv6 addresses need a zone, which a multiaddr for UDP cannot carry.
        let usable = match ip {
            IpAddr::V4(_) => self.at.is_ipv4(),
            IpAddr::V6(ip) => self.at.is_ipv6() && !ip.is_unicast_link_local(),
        };
        let listen_addr = address::quic(SocketAddr::new(ip, self.at.port()));
        if !usable || self.reported.contains(&listen_addr) {
            return None;
        }
        self.reported.push(listen_addr.clone());
        Some(TransportEvent::NewAddress { listener_id: self.id, listen_addr })
    }

    fn poll_addresses(&mut self, context: &mut Context<'_>) -> Option<Event> {
        loop {
            match self.watcher.as_mut()?.poll_if_event(context) {
                Poll::Ready(Ok(IfEvent::Up(net))) => {
                    if let Some(event) = self.appear(net.addr()) {
                        return Some(event);
                    }
                }
                Poll::Ready(Ok(IfEvent::Down(net))) => {
                    let listen_addr = address::quic(SocketAddr::new(net.addr(), self.at.port()));
                    if let Some(position) = self.reported.iter().position(|known| *known == listen_addr) {
                        self.reported.swap_remove(position);
                        return Some(TransportEvent::AddressExpired { listener_id: self.id, listen_addr });
                    }
                }
                Poll::Ready(Err(error)) => {
                    return Some(TransportEvent::ListenerError { listener_id: self.id, error });
                }
                Poll::Pending => return None,
            }
        }
    }
}

fn endpoint(config: &Config, port: Arc<UdpPort>, accepts: bool) -> io::Result<quinn::Endpoint> {
    let server = accepts.then(|| (*config.far.server).clone());
    let socket = Arc::new(PortSocket(port));
    let runtime = Arc::clone(&config.runtime);
    quinn::Endpoint::new_with_abstract_socket(config.endpoint.clone(), server, socket, runtime)
}

fn accept(endpoint: &quinn::Endpoint) -> BoxFuture<'static, Option<quinn::Incoming>> {
    let endpoint = endpoint.clone();
    async move { endpoint.accept().await }.boxed()
}

async fn connect(config: Arc<Config>, endpoint: quinn::Endpoint, to: SocketAddr, near: bool) -> Secured {
    let client = config.sides(near).client.clone();
    let connecting = endpoint.connect_with(client, to, tls::SERVER_NAME).map_err(io::Error::other)?;
    secure(connecting).await
}

/// Waits on an endpoint of one punched path for its peer's connection, and refuses everyone else.
async fn expect(config: Arc<Config>, endpoint: quinn::Endpoint, from: SocketAddr, near: bool) -> Secured {
    let arrival = async {
        while let Some(incoming) = endpoint.accept().await {
            if incoming.remote_address() == from {
                return Some(incoming);
            }
            incoming.refuse();
        }
        None
    };
    match tokio::time::timeout(limits::DIAL_TIMEOUT, arrival).await {
        Ok(Some(incoming)) => {
            let secured = secure_inbound(config, incoming, near).await;
            endpoint.set_server_config(None);
            secured
        }
        Ok(None) => Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the endpoint is closed")),
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "the peer did not connect")),
    }
}

async fn secure_inbound(config: Arc<Config>, incoming: quinn::Incoming, near: bool) -> Secured {
    let server = Arc::clone(&config.sides(near).server);
    secure(incoming.accept_with(server)?).await
}

async fn secure(connecting: quinn::Connecting) -> Secured {
    let connection = tokio::time::timeout(limits::DIAL_TIMEOUT, connecting)
        .await
        .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "the handshake took too long"))??;
    let shown = connection.peer_identity().and_then(|identity| identity.downcast::<Vec<CertificateDer<'_>>>().ok());
    let shown = shown.ok_or_else(|| io::Error::other("the peer showed no certificate"))?;
    let peer = tls::peer_of(&shown).map_err(io::Error::other)?;
    Ok((peer, Connection::new(connection)))
}

/// Sends a few datagrams that mean nothing, so that a NAT in front of us lets the peer's packets in (as libp2p's DCUtR
/// does for QUIC). Their first bit is zero: no QUIC endpoint looks at them twice.
pub async fn open_way(port: &UdpPort, to: SocketAddr) {
    for _ in 0..limits::QUIC_OPENING_DATAGRAMS {
        let filler: [u8; 32] = std::array::from_fn(|_| rand::random::<u8>() & 0x3f);
        if let Err(cause) = port.send(&filler, to).await {
            tracing::debug!(%to, %cause, "a datagram that opens the way was not sent");
        }
        tokio::time::sleep(limits::QUIC_OPENING_INTERVAL).await;
    }
}

fn is_near(address: SocketAddr) -> bool {
    address::is_near(&Multiaddr::from(address.ip()).with(Protocol::Udp(address.port())))
}

/// The system's own error, which the driver looks for.
fn system_error(error: crate::base::error::Error) -> io::Error {
    let kind = match error.kind() {
        crate::base::error::ErrorKind::AddressInUse => io::ErrorKind::AddrInUse,
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, error)
}
