//! The TCP transport: TLS 1.3 or Noise on TCP, with yamux. Both are accepted; the order in [`Security`] is what we
//! propose first. Connected streams made elsewhere (hole punching) enter here too. Not here: multiplexing (`muxer`).

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::{BoxFuture, Either, FutureExt, TryFutureExt};
use futures::{AsyncRead, AsyncWrite};
use futures_rustls::{TlsAcceptor, TlsConnector, TlsStream};
use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::{Boxed, DialOpts, ListenerId, Transport, TransportError, TransportEvent};
use libp2p::core::upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade, Version};
use libp2p::core::{Multiaddr, UpgradeInfo};
use libp2p::identity::Keypair;
use libp2p::tcp::tokio::TcpStream;
use libp2p::{PeerId, noise, relay, tcp};
use rustls::pki_types::ServerName;

use super::address;
use super::buffered::Buffered;
use super::muxer::Yamux;
use super::optimistic::{Habits, Optimistic, Shared, Trust, Unconfirmed};
use super::paths::{self, Path, Paths};
use super::tls::{self, Tls};
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::limits;

/// A transport of streams that are not secured yet.
pub trait Streams:
    Transport<
        Output: AsyncRead + AsyncWrite + Send + Unpin + 'static,
        Error: Send + Sync + 'static,
        Dial: Send + 'static,
        ListenerUpgrade: Send + 'static,
    > + Send
    + Unpin
    + 'static
{
}

impl<T> Streams for T where
    T: Transport<
            Output: AsyncRead + AsyncWrite + Send + Unpin + 'static,
            Error: Send + Sync + 'static,
            Dial: Send + 'static,
            ListenerUpgrade: Send + 'static,
        > + Send
        + Unpin
        + 'static
{
}

/// TCP without Nagle's delay, secured, multiplexed, all within [`limits::DIAL_TIMEOUT`].
pub fn transport(
    key: &Keypair,
    tls: Tls,
    paths: Arc<Paths>,
    habits: Arc<Habits>,
) -> Result<Boxed<(PeerId, StreamMuxerBox)>> {
    let config = tcp::Config::new().nodelay(true).listen_backlog(limits::LISTEN_BACKLOG);
    let sockets = Sockets { system: tcp::tokio::Transport::new(config), paths };
    let sockets = sockets.map(|stream, point| {
        if !address::is_near(point.get_remote_address()) {
            prefer_bbr(&stream);
        }
        stream
    });
    Ok(secured(sockets.map_err(SocketError), Security::new(key, tls, habits)?, Trust::Proven))
}

/// Circuits through a relay, secured end to end like TCP: the relay sees only ciphertext.
pub fn circuits(
    circuits: relay::client::Transport,
    key: &Keypair,
    tls: Tls,
    habits: Arc<Habits>,
) -> Result<Boxed<(PeerId, StreamMuxerBox)>> {
    Ok(secured(circuits.map_err(io::Error::other), Security::new(key, tls, habits)?, Trust::Unrefused))
}

/// Streams that are connected already, secured end to end like TCP. They can be taken once, so nothing is tried first.
pub fn connected<T: Streams>(
    streams: T,
    key: &Keypair,
    tls: Tls,
    habits: Arc<Habits>,
) -> Result<Boxed<(PeerId, StreamMuxerBox)>> {
    Ok(stack(streams, Security::new(key, tls, habits)?))
}

/// Both ways to secure what a transport connects: TLS at once to whom it trusts, or what the peer chooses.
fn secured<T: Streams>(transport: T, security: Security, trust: Trust) -> Boxed<(PeerId, StreamMuxerBox)> {
    let shared = Shared::new(transport);
    // A single proposal is the one that does not wait for its answer.
    let quick = stack(shared.clone(), Security { proposed: &[TLS], ..security.clone() });
    let habits = Arc::clone(&security.habits);
    Optimistic::new(quick, stack(shared, security), trust, habits).boxed()
}

/// The handshake and the multiplexer over what a transport connects.
fn stack<T: Streams>(transport: T, security: Security) -> Boxed<(PeerId, StreamMuxerBox)> {
    transport
        .upgrade(Version::V1Lazy)
        .authenticate(security)
        .multiplex(Yamux)
        .timeout(limits::DIAL_TIMEOUT)
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)))
        .boxed()
}

/// libp2p's TCP sockets, which dial from the port we listen on, and streams that are connected already.
struct Sockets {
    system: tcp::tokio::Transport,
    paths: Arc<Paths>,
}

impl Transport for Sockets {
    type Output = TcpStream;
    type Error = io::Error;
    type ListenerUpgrade = <tcp::tokio::Transport as Transport>::ListenerUpgrade;
    type Dial = BoxFuture<'static, io::Result<TcpStream>>;

    fn listen_on(&mut self, id: ListenerId, at: Multiaddr) -> Result<(), TransportError<io::Error>> {
        self.system.listen_on(id, at)
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.system.remove_listener(id)
    }

    fn dial(&mut self, to: Multiaddr, options: DialOpts) -> Result<Self::Dial, TransportError<io::Error>> {
        let (plain, ticket) = paths::ticket(&to);
        let Some(ticket) = ticket else { return Ok(self.system.dial(to, options)?.boxed()) };
        if !address::is_tcp(&plain) {
            return Err(TransportError::MultiaddrNotSupported(to));
        }
        let paths = Arc::clone(&self.paths);
        Ok(async move {
            match paths.take(ticket) {
                Some(Path::Tcp(stream)) => stream.set_nodelay(true).map(|()| TcpStream(stream)),
                _ => Err(io::Error::new(io::ErrorKind::NotFound, "the path is gone")),
            }
        }
        .boxed())
    }

    fn poll(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<TransportEvent<Self::ListenerUpgrade, io::Error>> {
        Pin::new(&mut self.system).poll(context)
    }
}

/// BBR where the kernel offers it: loss-based controllers collapse on long paths that lose a little.
#[cfg(any(target_os = "linux", target_os = "freebsd"))]
fn prefer_bbr(stream: &TcpStream) {
    if let Err(cause) = socket2::SockRef::from(&stream.0).set_tcp_congestion(b"bbr") {
        tracing::trace!(%cause, "no BBR for TCP");
    }
}

#[cfg(not(any(target_os = "linux", target_os = "freebsd")))]
fn prefer_bbr(_: &TcpStream) {}

/// An error of the socket, one level below the `Either` that libp2p's upgrades wrap errors in: `Either` reports the
/// *source* of what it holds, so without this level the system's error itself would be invisible.
#[derive(Debug)]
struct SocketError(io::Error);

impl std::fmt::Display for SocketError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TCP")
    }
}

impl std::error::Error for SocketError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

/// Both handshakes, in order of preference.
#[derive(Clone)]
struct Security {
    proposed: &'static [&'static str],
    noise: noise::Config,
    tls: Tls,
    habits: Arc<Habits>,
}

impl Security {
    fn new(key: &Keypair, tls: Tls, habits: Arc<Habits>) -> Result<Self> {
        let noise = noise::Config::new(key).map_err(|cause| {
            Error::with_source(ErrorKind::Internal, "prepare the handshake from the node's key", cause)
        })?;
        // TLS first: with AES-GCM it costs less than half of Noise, which knows only ChaCha20.
        Ok(Self { proposed: &[TLS, NOISE], noise, tls, habits })
    }
}

const NOISE: &str = "/noise";
const TLS: &str = "/tls/1.0.0";

impl UpgradeInfo for Security {
    type Info = &'static str;
    type InfoIter = std::iter::Copied<std::slice::Iter<'static, &'static str>>;

    fn protocol_info(&self) -> Self::InfoIter {
        self.proposed.iter().copied()
    }
}

type Secured<C> = Either<TlsStream<Buffered<C>>, noise::Output<C>>;

/// Takes the peer's identity from a finished TLS handshake.
fn identified<C>(stream: TlsStream<Buffered<C>>) -> io::Result<(PeerId, Secured<C>)> {
    let (_, session) = stream.get_ref();
    let peer = tls::peer_of(session.peer_certificates().unwrap_or_default()).map_err(io::Error::other)?;
    Ok((peer, Either::Left(stream)))
}

impl<C: AsyncRead + AsyncWrite + Send + Unpin + 'static> InboundConnectionUpgrade<C> for Security {
    type Output = (PeerId, Secured<C>);
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Self::Output>>;

    fn upgrade_inbound(self, socket: C, info: &'static str) -> Self::Future {
        if info == TLS {
            let accepting = TlsAcceptor::from(self.tls.server).accept(Buffered::new(socket));
            let habits = self.habits;
            async move { identified(accepting.await?.into()).inspect(|(peer, _)| habits.knows_tls(*peer)) }.boxed()
        } else {
            let secured = self.noise.upgrade_inbound(socket, NOISE);
            secured.map_ok(|(peer, stream)| (peer, Either::Right(stream))).map_err(io::Error::other).boxed()
        }
    }
}

impl<C: AsyncRead + AsyncWrite + Send + Unpin + 'static> OutboundConnectionUpgrade<C> for Security {
    type Output = (PeerId, Secured<C>);
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Self::Output>>;

    fn upgrade_outbound(self, socket: C, info: &'static str) -> Self::Future {
        if info == TLS {
            let name = ServerName::try_from(tls::SERVER_NAME).expect("an IP address is a server name");
            let connecting = TlsConnector::from(self.tls.client).connect(name, Buffered::new(socket));
            let alone = self.proposed.len() == 1;
            let mark = move |error| if alone { io::Error::other(Unconfirmed(error)) } else { error };
            let habits = self.habits;
            async move {
                identified(connecting.await.map_err(mark)?.into()).inspect(|(peer, _)| habits.knows_tls(*peer))
            }
            .boxed()
        } else {
            let secured = self.noise.upgrade_outbound(socket, NOISE);
            secured.map_ok(|(peer, stream)| (peer, Either::Right(stream))).map_err(io::Error::other).boxed()
        }
    }
}
