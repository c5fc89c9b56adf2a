//! Hole punching for real: the messages over a [`Signal`], the packets over sockets. Not here: every decision
//! (`plan`, `round`, `udp`, `tcp`).
//!
//! Both peers agree beforehand who is the initiator, e.g. the one that wants the connection; two initiators hear
//! nothing from each other.

mod observer;
mod record;
mod session;
mod sockets;
mod streams;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

pub use observer::{NoServers, Observer, StunServers};
pub use record::{Attempt, Failure, Outcome};

use super::hello::Prover;
use super::message::{Endpoint, NatSummary};
use super::plan::History;
use super::udp::{Config, Mode, Pair};
use super::{Method, SessionId, SessionKey, Side};
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::limits;
use crate::nat::policy::Scope;
use crate::nat::signal::Signal;
use crate::net::tcp::TcpPort;
use crate::net::udp::UdpPort;
use session::Setup;

/// A UDP port to punch from.
#[derive(Clone, Debug)]
pub struct LocalPort {
    /// The port.
    pub port: Arc<UdpPort>,
    /// Whether something else reads it already, e.g. a QUIC endpoint. If not, the driver reads it until it returns;
    /// then the caller has to.
    pub driven: bool,
}

/// What one attempt works with.
pub struct Local<'a> {
    /// Who we are in this attempt.
    pub side: Side,
    /// Our NAT; what it says of IPv6 is taken from the observed endpoints.
    pub nat: NatSummary,
    /// Endpoints that lead to the given ports besides the observed ones, e.g. mapped ports.
    pub known: Vec<Endpoint>,
    /// How sockets learn their external endpoints.
    pub observer: &'a mut dyn Observer,
    /// What was tried with this peer.
    pub history: &'a mut History,
    /// How near the peer is known to be, and so which of the addresses it names may be used.
    pub scope: Scope,
    /// Wait for one message of the peer, e.g. [`limits::PUNCH_SIGNAL_TIMEOUT`].
    pub signal_timeout: Duration,
}

/// A path through both NATs.
#[derive(Debug)]
pub struct PunchedUdp {
    /// The local port. Unless it is [`driven`](Self::driven), nobody reads it any more: do so soon, since it still
    /// answers the peer's last probes, whose answers may have been lost.
    pub port: Arc<UdpPort>,
    /// Whether it is a given port that something else reads.
    pub driven: bool,
    /// The peer's address as seen from here.
    pub remote: SocketAddr,
    /// Whether this side chose the path. It should open the link; the other one listens.
    pub controlling: bool,
    /// What was tried, the last entry being the success.
    pub log: Vec<Attempt>,
}

/// A connection through both NATs. Nothing of what follows the handshake was read from it.
#[derive(Debug)]
pub struct PunchedTcp {
    /// The connection.
    pub stream: TcpStream,
    /// The peer's address as seen from here.
    pub remote: SocketAddr,
    /// Whether this side chose the connection. It should open the link.
    pub controlling: bool,
    /// What was tried, the last entry being the success.
    pub log: Vec<Attempt>,
}

/// Opens a UDP path to the peer behind `signal`, from the first port of each family in `ports` or, after a failed
/// round, from fresh ports on the same addresses.
///
/// `PeerUnreachable` with [`Failure`] as its source when nothing worked or could work, `Timeout` and `ConnectionClosed`
/// of the signalling channel, `Protocol`, `Cancelled`. Not cancel safe, as far as messages are concerned: use `cancel`.
pub async fn punch_udp(
    ports: Vec<LocalPort>,
    local: Local<'_>,
    signal: &mut dyn Signal,
    cancel: &CancellationToken,
) -> Result<PunchedUdp> {
    if ports.is_empty() {
        return Err(Error::invalid("ports", "hole punching needs a local port"));
    }
    let Local { side, nat, known, observer, history, scope, signal_timeout } = local;
    let mut rounds = sockets::UdpRounds::new(ports, nat, known, observer, cancel.clone());
    let setup = Setup { side, scope, signal_timeout, history };
    let (won, log) = session::run(&mut rounds, setup, signal, cancel).await?;
    let sockets::Won { port, driven, remote, controlling } = won;
    Ok(PunchedUdp { port, driven, remote, controlling, log })
}

/// Opens a TCP connection to the peer behind `signal`, from a new port on each of these addresses (port 0: any).
///
/// Errors and cancelling as with [`punch_udp`].
pub async fn punch_tcp(
    at: Vec<SocketAddr>,
    local: Local<'_>,
    signal: &mut dyn Signal,
    cancel: &CancellationToken,
) -> Result<PunchedTcp> {
    if at.is_empty() {
        return Err(Error::invalid("at", "hole punching needs a local address"));
    }
    let Local { side, nat, known, observer, history, scope, signal_timeout } = local;
    let mut rounds = streams::TcpRounds::new(at, nat, known, observer);
    let setup = Setup { side, scope, signal_timeout, history };
    let (won, log) = session::run(&mut rounds, setup, signal, cancel).await?;
    let streams::Won { stream, remote, controlling } = won;
    Ok(PunchedTcp { stream, remote, controlling, log })
}

/// Opens a UDP path to a known endpoint; the peer does the same at the same time, without any signalling. Only packets
/// from the remote IP address count. Without a key anybody at that address can pretend to be the peer, so that only
/// the link made over the path tells. `PeerUnreachable` with [`Failure`] as its source, `Cancelled`.
pub async fn punch_udp_to(
    port: LocalPort,
    remote: SocketAddr,
    key: Option<&SessionKey>,
    timeout: Duration,
    cancel: &CancellationToken,
) -> Result<PunchedUdp> {
    let (session, key) = without_signalling(key);
    let pair = Pair { socket: 0, remote };
    let config = Config {
        controlling: true,
        tiebreaker: rand::random(),
        tag: session.0[..4].try_into().expect("four of sixteen bytes"),
        mode: Mode::Pairs { pairs: vec![pair], spacing: Duration::ZERO, slow: false },
        duration: timeout,
        packets: limits::PUNCH_ROUND_PACKETS,
    };
    let started = Instant::now();
    let run =
        sockets::run(vec![port], config, super::probe::Codec::new(session, &key), Some(remote.ip()), cancel.clone());
    let (result, spent) = tokio::select! {
        ended = run => ended,
        () = cancel.cancelled() => return Err(record::cancelled(Vec::new())),
    };
    let mut attempt = Attempt::new(1, Method::Plain, 1);
    attempt.end(spent, started.elapsed(), result.as_ref().map(|won| won.remote).map_err(ToString::to_string));
    let log = vec![attempt];
    match result {
        Ok(sockets::Won { port, driven, remote, controlling }) => {
            Ok(PunchedUdp { port, driven, remote, controlling, log })
        }
        Err(failure) => Err(record::error(ErrorKind::PeerUnreachable, &failure.to_string(), log)),
    }
}

/// Opens a TCP connection to a known endpoint; the peer does the same at the same time, without any signalling
/// (simultaneous open, or whoever reaches the other's listener). Errors and the key as with [`punch_udp_to`].
pub async fn punch_tcp_to(
    at: SocketAddr,
    remote: SocketAddr,
    key: Option<&SessionKey>,
    timeout: Duration,
    cancel: &CancellationToken,
) -> Result<PunchedTcp> {
    let (session, key) = without_signalling(key);
    let port = TcpPort::bind(at)?;
    let prover = Prover::new(session, key, None, rand::random());
    let targets = [remote];
    let started = Instant::now();
    let (result, spent) = tokio::select! {
        ended = streams::run(vec![port], &targets, &prover, timeout) => ended,
        () = cancel.cancelled() => return Err(record::cancelled(Vec::new())),
    };
    let mut attempt = Attempt::new(1, Method::TcpOpen, 1);
    attempt.end(spent, started.elapsed(), result.as_ref().map(|won| won.remote).map_err(ToString::to_string));
    let log = vec![attempt];
    match result {
        Ok(streams::Won { stream, remote, controlling }) => Ok(PunchedTcp { stream, remote, controlling, log }),
        Err(failure) => Err(record::error(ErrorKind::PeerUnreachable, &failure.to_string(), log)),
    }
}

/// Session id and key of two sides that only know each other's endpoints.
fn without_signalling(key: Option<&SessionKey>) -> (SessionId, SessionKey) {
    let key = key.cloned().unwrap_or_else(|| SessionKey(Sha256::digest(b"/dig/punch/1 without key").into()));
    let digest = Sha256::digest([&b"/dig/punch/1 session\0"[..], &key.0].concat());
    (SessionId(digest[..16].try_into().expect("half of a digest")), key)
}
