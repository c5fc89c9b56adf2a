//! Authenticated, encrypted, multiplexed links between peers, and the streams on them. The only place that names
//! libp2p. Not here: what is said on a stream (`transfer`), and how peers are found (`discovery`).
//!
//! [`Fabric`] is a handle to one swarm task (`driver`; `swarm` says what it is made of) behind a bounded command channel.
//! The parts:
//! `listen` chooses one port number for TCP and QUIC, `dial` races the addresses of a target, `streams` is the
//! behaviour that opens streams on a *chosen* connection and queues inbound ones, `table` is what the handle and
//! the task share, `ladder` reaches peers in every way there is, `tcp` and `quic` are the transports, `paths` what they share with the NAT engine below.
//!
//! Dropping the last [`Fabric`] ends the task as [`Fabric::shutdown`] does, without waiting for it.

mod address;
mod buffered;
pub mod carrier;
mod dial;
mod driver;
mod failure;
mod guard;
mod identity;
pub mod ladder;
mod listen;
mod liveness;
mod muxer;
mod optimistic;
mod paths;
mod quic;
mod recent;
mod refusals;
mod relay;
mod signal;
mod stream;
mod streams;
mod swarm;
mod table;
mod tcp;
mod tls;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use libp2p::StreamProtocol;
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::base::error::{Error, ErrorKind, Result};
use crate::base::ids::PeerId;
use crate::base::limits;
use crate::net::udp::UdpPort;

use driver::Driver;
use paths::Paths;
use table::{OpenRequest, Table};

pub use address::PUBLIC_NODES;
pub use identity::{Signer, is_ed25519, verify};
pub use liveness::{Expectation, Stage};
pub use paths::Path;
pub use signal::StreamSignal;
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
    /// Forward bytes between peers that cannot reach each other (circuit relay v2).
    pub relay_server: bool,
    /// Everybody is in our own network: who comes through a relay in it, or on this machine, is believed to be there too,
    /// and may name private addresses. Otherwise such a relay may well serve the world. Default false.
    pub local_only: bool,
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
            relay_server: false,
            local_only: false,
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

impl Transport {
    /// The connection type that users see: `tcp`, or `udp` for QUIC.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Quic => "udp",
        }
    }
}

impl Link {
    /// The connection type that users see: `gun-relay`, `relay`, or what carries the bytes.
    pub fn connection_type(&self) -> &'static str {
        match (self.is_gun(), self.relayed) {
            (true, _) => "gun-relay",
            (false, true) => "relay",
            (false, false) => self.transport.name(),
        }
    }

    /// The address, if it says where the peer is or by which relay it is reached. That of a path over a TURN server is a
    /// port of this machine or of the server, and that of one through a Gun graph is none.
    pub fn place(&self) -> Option<&str> {
        (!self.relayed || self.is_circuit()).then_some(&self.address)
    }

    /// Whether the bytes pass through a circuit of a relay.
    pub fn is_circuit(&self) -> bool {
        self.address.parse().is_ok_and(|address| address::is_relayed(&address))
    }

    /// Whether the bytes pass through a Gun graph.
    pub fn is_gun(&self) -> bool {
        self.address.parse().is_ok_and(|address| address::is_gun(&address))
    }
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
    /// Somebody waits on this link, and the other end does not answer: most likely it is dead. It is closed soon if
    /// nothing comes; until then, whoever has another way should take it.
    LinkSuspect(Link),
    /// A link that took long to answer works after all.
    LinkAlive(Link),
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
        /// Our address as it sees it; empty when a third carries the link, whose address that would be.
        observed: String,
    },
    /// Something is not as asked for, but the fabric works, e.g. IPv6 is not available.
    Warning(String),
    /// So many events were lost because this receiver was too slow.
    Lagged(u64),
}

impl FabricEvent {
    fn identified(link: Link, info: libp2p::identify::Info) -> Self {
        let addresses = info.listen_addrs.iter().take(limits::MAX_ADDRESSES_PER_PEER);
        Self::Identified {
            peer: link.peer,
            agent: info.agent_version,
            protocols: info.protocols.iter().map(ToString::to_string).collect(),
            addresses: addresses.map(ToString::to_string).collect(),
            observed: if link.relayed { String::new() } else { info.observed_addr.to_string() },
        }
    }
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

/// Checks that a text names a peer that can be dialled: `host:port`, a multiaddr or a peer id.
/// `InvalidArgument` says what is wrong with it.
pub fn check_target(text: &str) -> Result<()> {
    address::parse(text).map(|_| ())
}

/// Whether a text names an address that can be dialled directly, rather than a peer or a way through a relay.
/// `InvalidArgument` says what is wrong with it.
pub fn is_address(text: &str) -> Result<bool> {
    Ok(match address::parse(text)? {
        address::Target::Host(..) => true,
        address::Target::Peer(_) => false,
        address::Target::Address(address, peer) => peer.is_none() || !address::is_relayed(&address),
    })
}

/// A multiaddr as libp2p's own protocols carry it, without a peer id at its end. `None` for other text.
pub fn address_to_bytes(text: &str) -> Option<Vec<u8>> {
    address::to_bytes(text)
}

/// The text of a multiaddr that one of libp2p's protocols carried, without a peer id at its end.
pub fn address_from_bytes(bytes: &[u8]) -> Option<String> {
    address::from_bytes(bytes)
}

/// The peer that a text names, if it does, and the address it gives for it. `InvalidArgument` says what is wrong.
pub fn peer_of(text: &str) -> Result<(Option<PeerId>, Option<String>)> {
    Ok(match address::parse(text)? {
        address::Target::Host(..) => (None, Some(text.to_owned())),
        address::Target::Peer(peer) => (Some(address::peer_text(&peer)), None),
        address::Target::Address(address, peer) => (peer.as_ref().map(address::peer_text), Some(address.to_string())),
    })
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
pub struct Fabric {
    inner: Arc<Inner>,
}

/// What all clones of the handle share. The task does not hold it, so it can end with the last handle.
#[derive(Debug)]
struct Inner {
    commands: mpsc::Sender<driver::Command>,
    table: Arc<Table>,
    paths: Arc<Paths>,
    local: libp2p::PeerId,
    local_text: PeerId,
    signer: Signer,
    port: u16,
    tcp: bool,
    quic: bool,
    ipv6: bool,
    events: broadcast::WeakSender<FabricEvent>,
    /// Cancelled to ask the task to end.
    stop: CancellationToken,
    /// Cancelled when the task has ended.
    done: CancellationToken,
}

impl Fabric {
    /// Binds the ports and starts the swarm task on the current tokio runtime. All listening addresses are known when
    /// this returns.
    ///
    /// Errors: `AddressInUse` when the given port is taken, `InvalidArgument` for an unknown interface, a protocol
    /// name without leading `/` or no transport at all, file errors of the identity.
    pub async fn start(config: FabricConfig) -> Result<(Self, FabricEvents)> {
        let identity = config.identity.clone();
        let loaded = tokio::task::spawn_blocking(move || identity::load(&identity)).await;
        let (key, warning) =
            loaded.map_err(|cause| Error::with_source(ErrorKind::Internal, "load the identity", cause))??;
        let table = Arc::new(Table::new(config.local_only));
        let paths = Arc::new(Paths::default());
        for protocol in &config.protocols {
            table.add_protocol(protocol, false)?;
        }
        let (events, receiver) = broadcast::channel(limits::EVENT_QUEUE);
        if let Some(warning) = warning {
            tracing::warn!("{warning}");
            let _ = events.send(FabricEvent::Warning(warning));
        }
        let weak = events.downgrade();
        let (tcp, quic, ipv6) = (config.tcp, config.quic, config.ipv6);
        let mut driver = Driver::new(config, &key, Arc::clone(&table), Arc::clone(&paths), events)?;
        let port = driver.listen().await?;
        let (commands, queue) = mpsc::channel(limits::FABRIC_COMMANDS);
        let (stop, done) = (CancellationToken::new(), CancellationToken::new());
        let ended = done.clone().drop_guard();
        let stopped = stop.clone();
        tokio::spawn(async move {
            Box::pin(driver.run(queue, stopped)).await;
            drop(ended);
        });
        let local = key.public().to_peer_id();
        let local_text = address::peer_text(&local);
        let signer = Signer::new(key);
        let events = weak;
        let inner =
            Inner { commands, table, paths, local, local_text, signer, port, tcp, quic, ipv6, events, stop, done };
        Ok((Self { inner: Arc::new(inner) }, FabricEvents(receiver)))
    }

    /// Our own id.
    pub fn local_peer(&self) -> PeerId {
        self.inner.local_text.clone()
    }

    /// Signs with our key.
    pub fn signer(&self) -> Signer {
        self.inner.signer.clone()
    }

    /// The port number in use, the same for TCP and QUIC.
    pub fn port(&self) -> u16 {
        self.inner.port
    }

    /// Our listening multiaddrs, each ending in `/p2p/<our id>`. Empty after the end.
    pub fn addresses(&self) -> Vec<String> {
        let listening = self.inner.table.listening();
        let own = format!("/p2p/{}", self.inner.local_text);
        let complete = |address: &libp2p::Multiaddr| {
            let text = address.to_string();
            // A relay reports our address with our id in it.
            if text.ends_with(&own) { text } else { text + &own }
        };
        listening.iter().map(complete).collect()
    }

    /// How near a peer may be, by the relays that lead to it.
    pub(crate) fn scope(&self, peer: &PeerId) -> crate::nat::policy::Scope {
        self.inner.table.scope(peer)
    }

    /// Another receiver of events from now on.
    pub fn subscribe(&self) -> FabricEvents {
        // An ended fabric has no sender any more; the receiver of a closed channel reports just that.
        FabricEvents(match self.inner.events.upgrade() {
            Some(events) => events.subscribe(),
            None => broadcast::channel(1).1,
        })
    }

    /// Connects to `host:port`, a multiaddr, or a peer id with known addresses, and returns when the other side is
    /// authenticated. An existing link to the same peer is returned instead of a second one, except that a multiaddr
    /// insists on its transport.
    ///
    /// Errors: `PeerUnreachable` listing each address and its reason (also when `timeout` has passed),
    /// `InvalidArgument` for a target that cannot be parsed or is this node itself.
    /// Cancel safe: an attempt under way ends by its own deadline.
    pub async fn dial(&self, target: &str, timeout: Duration) -> Result<Link> {
        dial::dial(&self.inner, target, timeout).await
    }

    /// Remembers addresses (multiaddr or `host:port`) at which a peer may be reached; returns how many were
    /// understood. They are hints: whoever answers there must still prove to be that peer.
    pub fn add_addresses(&self, peer: &PeerId, addresses: &[String]) -> usize {
        let Ok(peer) = address::peer_id(peer) else { return 0 };
        let mut understood = 0;
        // The book puts the newest first; the caller's first address shall be the first one tried.
        for text in addresses.iter().rev() {
            let parsed = match address::parse(text) {
                Ok(address::Target::Address(address, named)) if named.is_none_or(|named| named == peer) => {
                    vec![address]
                }
                Ok(address::Target::Host(host, port)) => dial::host_addresses(&host, port),
                _ => continue,
            };
            parsed.into_iter().rev().for_each(|address| self.inner.table.add_address(peer, address));
            understood += 1;
        }
        understood
    }

    /// The addresses remembered of a peer, newest first.
    pub fn known_addresses(&self, peer: &PeerId) -> Vec<String> {
        let Ok(peer) = address::peer_id(peer) else { return Vec::new() };
        self.inner.table.addresses_of(&peer).iter().map(ToString::to_string).collect()
    }

    /// Whether nothing is known of a peer but ways through relays which lately said that they cannot lead to it.
    pub fn is_refused(&self, peer: &PeerId) -> bool {
        address::peer_id(peer).is_ok_and(|peer| self.inner.table.is_refused(&peer))
    }

    /// The best existing link to the peer, or a new one over its known addresses, within [`limits::DIAL_TIMEOUT`]. A relay
    /// that lately said that it cannot lead to the peer is not asked again for a while; [`Fabric::dial`] asks it.
    ///
    /// Errors and cancel safety as for [`Fabric::dial`].
    pub async fn connect(&self, peer: &PeerId) -> Result<Link> {
        dial::connect(&self.inner, address::peer_id(peer)?, limits::DIAL_TIMEOUT).await
    }

    /// The UDP ports that QUIC listens on, for STUN and hole punching through the same NAT mappings. QUIC reads them.
    pub fn udp_ports(&self) -> Vec<Arc<UdpPort>> {
        self.inner.paths.ports()
    }

    /// Asks a relay (a multiaddr ending in its peer id) to hold a place for us; gives the address under which others
    /// reach us through it. The place is renewed until [`Fabric::release`], or until the relay is lost, which is told
    /// by [`FabricEvent::ListenAddressLost`].
    ///
    /// Errors: `InvalidArgument` for an address without the relay's peer id, `PeerUnreachable` with the relay's reason,
    /// `Timeout` after [`limits::RELAY_RESERVE_TIMEOUT`], `LimitReached` beyond [`limits::MAX_RELAYS`]. Cancel safe.
    pub async fn reserve(&self, relay: &str) -> Result<String> {
        dial::reserve(&self.inner, relay).await
    }

    /// Gives up all places at a relay; harmless when there is none.
    pub async fn release(&self, relay: &PeerId) -> Result<()> {
        dial::release(&self.inner, address::peer_id(relay)?).await
    }

    /// Makes a link out of a path that was made elsewhere. Both sides call it at about the same time, exactly one of
    /// them with `controlling`. The peer is authenticated as on any other link, within [`limits::DIAL_TIMEOUT`].
    ///
    /// Errors: `PeerUnreachable` with the reason. Cancel safe: an attempt under way ends by its own deadline.
    pub async fn adopt(&self, path: Path, peer: &PeerId, controlling: bool) -> Result<Link> {
        dial::adopt(&self.inner, path, address::peer_id(peer)?, controlling).await
    }

    /// Opens a stream for `protocol` on a link (or on the best link to a peer) within [`limits::STREAM_TIMEOUT`].
    ///
    /// The protocol is proposed with the first bytes written, without a round trip of its own. So a peer that refuses
    /// (protocol unknown, queue full) shows as `ConnectionRefused` of the first read, not here.
    /// Errors: `ConnectionClosed`, `Timeout`. Cancel safe.
    pub async fn open<'a>(&self, on: impl Into<OpenOn<'a>>, protocol: &'static str) -> Result<Stream> {
        if !protocol.starts_with('/') {
            return Err(Error::invalid("protocol", format_args!("{protocol:?} does not begin with '/'")));
        }
        let (id, name) = match on.into() {
            OpenOn::Link(link) => (Some(link.id), format!("{} over {}", link.peer, link.address)),
            OpenOn::Peer(peer) => {
                let best = self.inner.table.best_link(|link| link.peer == *peer);
                // A doubtful link is better than none.
                let any = || self.links().into_iter().find(|link| link.peer == *peer);
                (best.or_else(any).map(|link| link.id), peer.to_string())
            }
        };
        let closed = || Error::new(ErrorKind::ConnectionClosed, format!("open {protocol} to {name}: no connection"));
        let opener = id.and_then(|id| self.inner.table.opener(id)).ok_or_else(closed)?;
        let (reply, answer) = oneshot::channel();
        let request = OpenRequest { protocol: StreamProtocol::new(protocol), reply };
        let opening = async {
            opener.send(request).await.map_err(|_| closed())?;
            answer.await.map_err(|_| closed())?
        };
        match tokio::time::timeout(limits::STREAM_TIMEOUT, opening).await {
            Ok(opened) => opened,
            Err(_) => Err(Error::new(
                ErrorKind::Timeout,
                format!("open {protocol} to {name}: no stream within {:?}", limits::STREAM_TIMEOUT),
            )),
        }
    }

    /// Takes the inbound streams of a protocol from now on; dropping the receiver ends support for it.
    ///
    /// Errors: `InvalidState` when somebody else has the receiver, `InvalidArgument` for a name without leading `/`,
    /// `LimitReached`.
    pub fn accept(&self, protocol: &'static str) -> Result<Incoming> {
        let queue = self.inner.table.add_protocol(protocol, true)?;
        let queue = queue.expect("asked to take the receiver");
        Ok(Incoming { queue, protocol, table: Arc::downgrade(&self.inner.table) })
    }

    /// All links, oldest first.
    pub fn links(&self) -> Vec<Link> {
        self.inner.table.links()
    }

    /// What is thought of a link; one that has ended is dead.
    pub fn stage(&self, link: &Link) -> Stage {
        self.inner.table.stage(link.id)
    }

    /// Closes all links to a peer, within [`limits::STOP_TIMEOUT`]; harmless when there is none.
    pub async fn disconnect(&self, peer: &PeerId) -> Result<()> {
        self.close(address::peer_id(peer)?).await
    }

    /// Closes all links to a peer and refuses it from now on (the last [`limits::MAX_BANNED_PEERS`] are remembered).
    pub async fn ban(&self, peer: &PeerId) -> Result<()> {
        let peer = address::peer_id(peer)?;
        self.inner.table.ban(peer);
        self.close(peer).await
    }

    async fn close(&self, peer: libp2p::PeerId) -> Result<()> {
        let (reply, answer) = oneshot::channel();
        let command = driver::Command::Close { peer, reply };
        let closing = async {
            // A fabric that has ended has no links.
            if self.inner.commands.send(command).await.is_ok() {
                let _ = answer.await;
            }
        };
        tokio::time::timeout(limits::STOP_TIMEOUT, closing)
            .await
            .map_err(|cause| Error::with_source(ErrorKind::Timeout, format!("close the connections to {peer}"), cause))
    }

    /// Closes everything; when this returns the task has ended and the port is free. Bounded by
    /// [`limits::STOP_TIMEOUT`]. Calling it again is harmless. Cancel safe: the end goes on by itself.
    pub async fn shutdown(&self) {
        self.inner.stop.cancel();
        self.inner.done.cancelled().await;
    }
}
