//! Authenticated, encrypted, multiplexed links between peers, and the streams on them. The only place that names
//! libp2p. Not here: what is said on a stream (`transfer`), and how peers are found (`discovery`).
//!
//! [`Fabric`] is a handle to one swarm task ([`driver`]) behind a bounded command channel. The parts:
//! [`listen`] chooses one port number for TCP and QUIC, [`dial`] races the addresses of a target, [`streams`] is the
//! behaviour that opens streams on a *chosen* connection and queues inbound ones, [`table`] is what the handle and
//! the task share, [`tcp`] and [`quic`] configure the transports.
//!
//! Dropping the last [`Fabric`] ends the task as [`Fabric::shutdown`] does, without waiting for it.

mod stream;

use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::broadcast;

use crate::base::error::{Error, ErrorKind, Result};
use crate::base::ids::PeerId;
use crate::base::limits;

pub use stream::{Incoming, Stream};

/// Where the node's ed25519 key comes from; the peer id is derived from it.
#[derive(Clone, Debug, Default)]
pub enum Identity {
    /// A fresh key, forgotten when the process ends.
    #[default]
    Generated,
    /// A key file. Created with mode 0600 (atomically) when it does not exist.
    File(PathBuf),
    /// A 32-byte ed25519 secret key.
    Secret([u8; 32]),
}

/// What a fabric listens on and whom it lets in.
#[derive(Clone, Debug)]
pub struct FabricConfig {
    /// Port of TCP and QUIC, the same number for both; 0 lets the system choose.
    pub port: u16,
    /// Listen on IPv6 besides IPv4.
    pub ipv6: bool,
    /// Accept and dial TCP.
    pub tcp: bool,
    /// Accept and dial QUIC.
    pub quic: bool,
    /// Names or addresses of the interfaces to listen on; empty for all.
    pub interfaces: Vec<String>,
    /// Established connections in all.
    pub max_connections: u32,
    /// The node's key.
    pub identity: Identity,
    /// Protocols whose inbound streams are queued from the start, before [`Fabric::accept`] is called for them.
    pub protocols: Vec<&'static str>,
}

impl Default for FabricConfig {
    fn default() -> Self {
        Self {
            port: 0,
            ipv6: false,
            tcp: true,
            quic: true,
            interfaces: Vec::new(),
            max_connections: limits::MAX_CONNECTIONS,
            identity: Identity::Generated,
            protocols: Vec::new(),
        }
    }
}

/// What carries a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// TCP with TLS 1.3 or Noise, and yamux.
    Tcp,
    /// QUIC version 1 over UDP.
    Quic,
}

/// One authenticated connection to a peer. A description: holding it does not keep the connection open.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Link {
    /// Unique within this fabric, never reused.
    pub id: u64,
    /// Who is at the other end, proven by the handshake.
    pub peer: PeerId,
    /// Multiaddr of the other end.
    pub address: String,
    /// What carries it.
    pub transport: Transport,
    /// Whether a third node forwards the bytes.
    pub relayed: bool,
    /// Whether this side dialled.
    pub outbound: bool,
}

/// What happened in the fabric.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum FabricEvent {
    /// A connection is established and authenticated.
    LinkUp(Link),
    /// A connection ended; `true` when it was the last one to that peer.
    LinkDown(Link, bool),
    /// We listen on this multiaddr.
    ListenAddress(String),
    /// We no longer listen on this multiaddr.
    ListenAddressLost(String),
    /// A peer told what it runs and where it listens. Its addresses are claims, not facts.
    Identified {
        /// Who.
        peer: PeerId,
        /// Name and version of its program.
        agent: String,
        /// Protocols it accepts.
        protocols: Vec<String>,
        /// Where it says it listens.
        addresses: Vec<String>,
        /// Our address as it sees it.
        observed: String,
    },
    /// Something is not as asked for, but the fabric works, e.g. IPv6 is not available.
    Warning(String),
    /// So many events were lost because this receiver was too slow.
    Lagged(u64),
}

/// Receives [`FabricEvent`]s; the newest [`limits::EVENT_QUEUE`] are kept for a slow reader.
#[derive(Debug)]
pub struct FabricEvents(broadcast::Receiver<FabricEvent>);

impl FabricEvents {
    /// The next event, or `None` when the fabric has ended. Cancel safe.
    pub async fn next(&mut self) -> Option<FabricEvent> {
        match self.0.recv().await {
            Ok(event) => Some(event),
            Err(broadcast::error::RecvError::Lagged(lost)) => Some(FabricEvent::Lagged(lost)),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}

/// Where to open a stream: on one link, or on the best link to a peer.
#[derive(Clone, Copy, Debug)]
pub enum OpenOn<'a> {
    /// Exactly this connection.
    Link(&'a Link),
    /// The peer's best connection: direct before relayed, then TCP before QUIC on private and loopback paths.
    Peer(&'a PeerId),
}

impl<'a> From<&'a Link> for OpenOn<'a> {
    fn from(link: &'a Link) -> Self {
        Self::Link(link)
    }
}

impl<'a> From<&'a PeerId> for OpenOn<'a> {
    fn from(peer: &'a PeerId) -> Self {
        Self::Peer(peer)
    }
}

/// Handle to the running fabric. Cheap to clone; the fabric ends when the last clone is dropped.
#[derive(Clone, Debug)]
pub struct Fabric(());

fn unfinished<T>() -> Result<T> {
    Err(Error::new(ErrorKind::Internal, "the fabric is being written"))
}

#[allow(clippy::unused_async, clippy::unused_self)]
impl Fabric {
    /// Binds the ports and starts the swarm task on the current tokio runtime. All listening addresses are known when
    /// this returns.
    ///
    /// Errors: `AddressInUse` when the given port is taken, `InvalidArgument` for an unknown interface, a protocol
    /// name without leading `/` or no transport at all, file errors of the identity.
    pub async fn start(_config: FabricConfig) -> Result<(Self, FabricEvents)> {
        unfinished()
    }

    /// Our own id.
    pub fn local_peer(&self) -> PeerId {
        PeerId::from_text("")
    }

    /// The port number in use, the same for TCP and QUIC.
    pub fn port(&self) -> u16 {
        0
    }

    /// Our listening multiaddrs, each ending in `/p2p/<our id>`.
    pub fn addresses(&self) -> Vec<String> {
        Vec::new()
    }

    /// Another receiver of events from now on.
    pub fn subscribe(&self) -> FabricEvents {
        FabricEvents(broadcast::channel(1).1)
    }

    /// Connects to `host:port`, a multiaddr, or a peer id with known addresses, and returns when the other side is
    /// authenticated. An existing link to the same peer is returned instead of a second one.
    ///
    /// Errors: `PeerUnreachable` listing each address and its reason (also when `timeout` has passed),
    /// `InvalidArgument` for a target that cannot be parsed or is this node itself.
    /// Cancel safe: an attempt under way ends by its own deadline.
    pub async fn dial(&self, _target: &str, _timeout: Duration) -> Result<Link> {
        unfinished()
    }

    /// Remembers addresses (multiaddr or `host:port`) at which a peer may be reached; returns how many were
    /// understood. They are hints: whoever answers there must still prove to be that peer.
    pub fn add_addresses(&self, _peer: &PeerId, _addresses: &[String]) -> usize {
        0
    }

    /// The best existing link to the peer, or a new one over its known addresses, within [`limits::DIAL_TIMEOUT`].
    pub async fn connect(&self, _peer: &PeerId) -> Result<Link> {
        unfinished()
    }

    /// Opens a stream for `protocol` on a link (or on the best link to a peer) within [`limits::STREAM_TIMEOUT`].
    ///
    /// The protocol is proposed with the first bytes written, without a round trip of its own. So a peer that refuses
    /// (protocol unknown, queue full) shows as an error of the first read, not here.
    /// Errors: `ConnectionClosed`, `Timeout`. Cancel safe.
    pub async fn open<'a>(&self, _on: impl Into<OpenOn<'a>>, _protocol: &'static str) -> Result<Stream> {
        unfinished()
    }

    /// Takes the inbound streams of a protocol from now on; dropping the receiver ends support for it.
    ///
    /// Errors: `InvalidState` when somebody else has the receiver, `InvalidArgument` for a name without leading `/`.
    pub fn accept(&self, _protocol: &'static str) -> Result<Incoming> {
        unfinished()
    }

    /// All links, oldest first.
    pub fn links(&self) -> Vec<Link> {
        Vec::new()
    }

    /// Closes all links to a peer.
    pub async fn disconnect(&self, _peer: &PeerId) -> Result<()> {
        unfinished()
    }

    /// Closes all links to a peer and refuses it from now on (the last [`limits::MAX_BANNED_PEERS`] are remembered).
    pub async fn ban(&self, _peer: &PeerId) -> Result<()> {
        unfinished()
    }

    /// Closes everything; when this returns the task has ended and the port is free. Bounded by
    /// [`limits::STOP_TIMEOUT`]. Calling it again is harmless.
    pub async fn shutdown(&self) {}
}
