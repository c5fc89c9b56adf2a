//! TURN with real sockets: a relayed address as an object that datagrams are sent and received through. Not here: the
//! protocol (`client`).

mod task;
mod transport;

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Mutex, mpsc, oneshot};

use self::task::{Channels, Command, Shared, Start};
use self::transport::{Link, Tls};
use super::client::{Config, Credentials};
use super::failure::TurnFailure;
use super::uri::{Transport, TurnServer};
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::limits;
use crate::nat::stun::attribute::Family;
use crate::nat::stun::driver::lookup;

/// What to allocate, and where.
#[derive(Clone, Debug)]
pub struct TurnConfig {
    /// The server.
    pub server: TurnServer,
    /// Nearly every server wants them.
    pub credentials: Option<Credentials>,
    /// Family of the relayed address; the server chooses, usually IPv4, if none is given.
    pub family: Option<Family>,
    /// Certificates (PEM) that are trusted instead of the system's, for private servers.
    pub root_certificates: Option<Vec<u8>>,
    /// Lifetime that is asked for; renewed as long as the object lives.
    pub lifetime: Duration,
    /// Everything until the address is there, ends after this.
    pub timeout: Duration,
}

impl TurnConfig {
    /// The defaults: [`limits::TURN_LIFETIME`], [`limits::TURN_ALLOCATE_TIMEOUT`], the system's certificates.
    pub const fn new(server: TurnServer, credentials: Option<Credentials>) -> Self {
        Self {
            server,
            credentials,
            family: None,
            root_certificates: None,
            lifetime: limits::TURN_LIFETIME,
            timeout: limits::TURN_ALLOCATE_TIMEOUT,
        }
    }
}

/// An address at a TURN server that relays to us. Kept alive by a task; removed at the server when this is closed or,
/// as far as that is still possible, dropped. All calls may be made from several tasks at the same time.
#[derive(Debug)]
pub struct Relayed {
    address: SocketAddr,
    mapped: Option<SocketAddr>,
    lifetime: Duration,
    server: SocketAddr,
    name: String,
    commands: mpsc::Sender<Command>,
    datagrams: Mutex<mpsc::Receiver<(SocketAddr, Bytes)>>,
    shared: Arc<Shared>,
}

/// Allocates a relayed address. Errors name the server and the user, and have a [`TurnFailure`] as their source where
/// the server said why. `Timeout`, `PeerUnreachable`, `InvalidArgument` for what the user must change, `LimitReached`.
/// Cancel safe: what was begun is given up.
pub async fn allocate(config: &TurnConfig) -> Result<Relayed> {
    let expired = || Error::new(ErrorKind::Timeout, format!("{}: no address in {:?}", name(config), config.timeout));
    tokio::time::timeout(config.timeout, allocate_anywhere(config)).await.map_err(|_| expired())?
}

/// Tries the server's addresses in turn, IPv4 first, until one works or the server says why not.
async fn allocate_anywhere(config: &TurnConfig) -> Result<Relayed> {
    let server = &config.server;
    let tls = match server.transport {
        Transport::Tls => Some(Tls::new(&server.host, config.root_certificates.as_deref()).await?),
        Transport::Udp | Transport::Tcp => None,
    };
    let mut addresses = lookup::addresses(&server.host, server.port, limits::STUN_LOOKUP_TIMEOUT).await?;
    addresses.sort_by_key(SocketAddr::is_ipv6);
    let mut problem = Error::new(ErrorKind::PeerUnreachable, format!("{}: it has no address", name(config)));
    for address in addresses {
        match allocate_with_redirects(config, tls.as_ref(), address).await {
            Ok(relayed) => return Ok(relayed),
            Err(error) => {
                let unreachable = matches!(error.kind(), ErrorKind::PeerUnreachable | ErrorKind::Timeout);
                problem = error;
                if !unreachable {
                    break;
                }
            }
        }
    }
    Err(problem)
}

async fn allocate_with_redirects(config: &TurnConfig, tls: Option<&Tls>, first: SocketAddr) -> Result<Relayed> {
    let mut server = first;
    for _ in 0..=limits::TURN_REDIRECTS {
        let link = match config.server.transport {
            Transport::Udp => Link::udp(server).await,
            Transport::Tcp | Transport::Tls => Link::stream(server, tls).await,
        };
        let link = link.map_err(|cause| unreachable(config, server, cause))?;
        let (commands, command_queue) = mpsc::channel(limits::TURN_COMMANDS);
        let (datagram_queue, datagrams) = mpsc::channel(limits::TURN_DATAGRAMS);
        let (start, started) = oneshot::channel();
        let shared = Arc::new(Shared::default());
        let client = Config {
            server,
            stream: config.server.transport != Transport::Udp,
            credentials: config.credentials.clone(),
            family: config.family,
            lifetime: config.lifetime,
        };
        let channels =
            Channels { commands: command_queue, datagrams: datagram_queue, start, shared: Arc::clone(&shared) };
        tokio::spawn(task::run(client, link, channels));
        match started.await {
            Ok(Start::Ready { relayed: address, mapped, lifetime }) => {
                let (name, datagrams) = (name(config), Mutex::new(datagrams));
                return Ok(Relayed { address, mapped, lifetime, server, name, commands, datagrams, shared });
            }
            Ok(Start::Redirect(to)) => server = to,
            Ok(Start::Failed(_, Some(cause))) => return Err(unreachable(config, server, cause)),
            Ok(Start::Failed(failure, None)) => return Err(failed(&name(config), failure)),
            Err(_) => return Err(failed(&name(config), TurnFailure::Closed)),
        }
    }
    Err(failed(&name(config), TurnFailure::BadRedirect))
}

impl Relayed {
    /// The address at the server that peers send to.
    pub const fn relayed_address(&self) -> SocketAddr {
        self.address
    }

    /// Where the server sees us: over UDP a server-reflexive address of the socket used for this relay.
    pub const fn mapped_address(&self) -> Option<SocketAddr> {
        self.mapped
    }

    /// How long the server kept it at first; it is prolonged as long as this object lives.
    pub const fn lifetime(&self) -> Duration {
        self.lifetime
    }

    /// The server that granted it, after redirections.
    pub const fn server_address(&self) -> SocketAddr {
        self.server
    }

    /// Lets a peer's address in, all ports, and keeps it let in while it is used. To be called before sending to it.
    /// `PeerUnreachable` if the server forbids it, `LimitReached`, `ConnectionClosed`. Cancel safe.
    pub async fn permit(&self, peer: IpAddr) -> Result<()> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(Command::Permit(peer, reply)).await.map_err(|_| self.ended())?;
        match answer.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(failure)) => Err(failed(&format!("{}, peer {peer}", self.name), failure)),
            Err(_) => Err(self.ended()),
        }
    }

    /// Sends a datagram to a permitted peer; like any datagram it may be lost. Waits while the way to the server is
    /// full. `InvalidState` if the peer is not permitted, `InvalidArgument` if it is too large, `ConnectionClosed`.
    /// Cancel safe.
    pub async fn send_to(&self, peer: SocketAddr, bytes: Bytes) -> Result<()> {
        if !self.shared.permitted.lock().unwrap_or_else(PoisonError::into_inner).contains(&peer.ip()) {
            return Err(failed(&format!("{}, peer {peer}", self.name), TurnFailure::NotPermitted));
        }
        if bytes.len() > limits::MAX_TURN_PAYLOAD_BYTES {
            return Err(failed(&self.name, TurnFailure::TooLarge));
        }
        self.commands.send(Command::Send(peer, bytes)).await.map_err(|_| self.ended())
    }

    /// The next datagram from a permitted peer. `ConnectionClosed` or the reason when the relay has ended. Cancel safe.
    pub async fn receive(&self) -> Result<(SocketAddr, Bytes)> {
        self.datagrams.lock().await.recv().await.ok_or_else(|| self.ended())
    }

    /// Prolongs it now and asks for this lifetime from now on; how long the server grants. `ConnectionClosed` or the
    /// reason when the relay has ended. Cancel safe.
    pub async fn refresh(&self, lifetime: Duration) -> Result<Duration> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(Command::Refresh(lifetime, reply)).await.map_err(|_| self.ended())?;
        answer.await.map_err(|_| self.ended())
    }

    /// Removes the allocation at the server; waits at most [`limits::TURN_CLOSE_TIMEOUT`] for it. Everything else fails
    /// from then on. Cancel safe.
    pub async fn close(&self) {
        let (reply, closed) = oneshot::channel();
        if self.commands.send(Command::Close(reply)).await.is_ok() {
            // Ends without an answer when the task ends.
            let _ = closed.await;
        }
    }

    fn ended(&self) -> Error {
        failed(&self.name, self.shared.ended.get().cloned().unwrap_or(TurnFailure::Closed))
    }
}

/// The server and the user, for error messages.
fn name(config: &TurnConfig) -> String {
    match &config.credentials {
        Some(credentials) => format!("{} as user {:?}", config.server, credentials.username),
        None => config.server.to_string(),
    }
}

fn failed(name: &str, failure: TurnFailure) -> Error {
    Error::with_source(failure.kind(), format!("TURN server {name}: {failure}"), failure)
}

fn unreachable(config: &TurnConfig, address: SocketAddr, cause: std::io::Error) -> Error {
    let kind = match cause.kind() {
        std::io::ErrorKind::InvalidData => ErrorKind::Protocol,
        std::io::ErrorKind::TimedOut => ErrorKind::Timeout,
        _ => ErrorKind::PeerUnreachable,
    };
    Error::with_source(kind, format!("TURN server {} at {address}", name(config)), cause)
}
