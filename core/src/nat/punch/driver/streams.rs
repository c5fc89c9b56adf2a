//! One TCP round over sockets: connects, accepts and carries the frames for the machine. Not here: the rounds
//! (`session`), and every decision.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio_util::sync::CancellationToken;

use super::Observer;
use super::session::{Cost, Rounds, Start};
use crate::base::error::Result;
use crate::base::limits;
use crate::nat::profile::Mapping;
use crate::nat::punch::hello::{FRAME_BYTES, Kind, Nonce, Prover};
use crate::nat::punch::message::{Endpoint, NatSummary, Transport};
use crate::nat::punch::plan::{self, History, NoHope};
use crate::nat::punch::prediction::{self, Forecast};
use crate::nat::punch::round::{self, Half};
use crate::nat::punch::tcp::{Failure, Id, Input, Output, Refusal, TcpPunch};
use crate::nat::punch::{Method, Side};
use crate::net::clock::Clock;
use crate::net::tcp::TcpPort;

/// The connection that a round found.
#[derive(Debug)]
pub(super) struct Won {
    pub(super) stream: TcpStream,
    pub(super) remote: SocketAddr,
    pub(super) controlling: bool,
}

/// The rounds of one attempt.
pub(super) struct TcpRounds<'a> {
    at: Vec<SocketAddr>,
    ports: Vec<TcpPort>,
    nat: NatSummary,
    known: Vec<Endpoint>,
    observer: &'a mut dyn Observer,
}

impl<'a> TcpRounds<'a> {
    pub(super) fn new(
        at: Vec<SocketAddr>,
        nat: NatSummary,
        known: Vec<Endpoint>,
        observer: &'a mut dyn Observer,
    ) -> Self {
        Self { at, ports: Vec::new(), nat, known, observer }
    }
}

impl Rounds for TcpRounds<'_> {
    type Won = Won;

    fn choose(
        &self,
        initiator: &NatSummary,
        responder: &NatSummary,
        history: &History,
        propose: Option<Method>,
    ) -> Result<Method, NoHope> {
        plan::tcp(initiator, responder, history, propose)
    }

    async fn prepare(&mut self, fresh: bool) -> Result<Half> {
        let any_port = |at: &SocketAddr| if fresh { SocketAddr::new(at.ip(), 0) } else { *at };
        self.ports.clear();
        self.ports = self.at.iter().map(|at| TcpPort::bind(any_port(at))).collect::<Result<_>>()?;
        let mut half = Half { nat: self.nat, ..Half::default() };
        for port in &self.ports {
            let seen = self.observer.tcp(port).await;
            let Some(last) = seen.last() else { continue };
            let steady = half.nat.mapping == Some(Mapping::EndpointIndependent);
            if last.external.is_ipv4() && half.forecast == Forecast::None && !steady {
                half.nat.allocation = prediction::allocation(&seen, half.nat.allocation);
                half.forecast = prediction::forecast(&seen, half.nat.allocation, last.local_port);
            }
            half.endpoints.push(Endpoint { transport: Transport::Tcp, address: last.external });
        }
        if !fresh {
            half.endpoints.extend(self.known.iter().filter(|endpoint| endpoint.transport == Transport::Tcp));
        }
        half.endpoints.truncate(limits::PUNCH_ENDPOINTS);
        let v6 = self.ports.iter().any(|port| port.local_address().is_ipv6());
        half.nat.v6 = v6 && half.endpoints.iter().any(|endpoint| endpoint.address.is_ipv6());
        Ok(half)
    }

    async fn run(&mut self, start: Start) -> (Result<(Won, SocketAddr), String>, Cost) {
        let Start { method, side, mine, theirs, session, key, duration, stop, .. } = start;
        let has = |v4: bool| self.ports.iter().any(|port| port.local_address().is_ipv4() == v4);
        let targets = match round::tcp(method, side, &mine, &theirs, has(true), has(false)) {
            Ok(targets) => targets,
            Err(reason) => return (Err(reason.to_string()), Cost::default()),
        };
        let prover = Prover::new(session, key, Some(side == Side::Initiator), rand::random());
        let ports = std::mem::take(&mut self.ports);
        let aimed = targets.len() as u32;
        let (result, spent) = tokio::select! {
            ended = run(ports, &targets, &prover, duration) => ended,
            () = stop.cancelled() => (Err(Failure::Unconfirmed), aimed),
        };
        let result = result.map(|won| {
            let remote = won.remote;
            (won, remote)
        });
        (result.map_err(|failure| failure.to_string()), Cost { targets: aimed, spent })
    }
}

/// What the sockets report.
enum News {
    Connected(Id, io::Result<TcpStream>),
    Frame(Id, OwnedReadHalf, io::Result<[u8; FRAME_BYTES]>),
}

/// A connection that is open or being opened.
#[derive(Default)]
struct Connection {
    remote: Option<SocketAddr>,
    /// Ends what runs for it.
    token: CancellationToken,
    writer: Option<OwnedWriteHalf>,
    /// Only between frames; nothing is read before the machine has seen the last one.
    reader: Option<OwnedReadHalf>,
    /// The peer's, once it is known.
    nonce: Nonce,
}

/// The sockets of one round.
struct Sockets<'a> {
    ports: &'a [TcpPort],
    prover: &'a Prover,
    connections: BTreeMap<Id, Connection>,
    running: FuturesUnordered<BoxFuture<'a, News>>,
}

/// Runs a machine until it ends. Dropping the future closes everything. Also says how many connections were tried.
pub(super) async fn run(
    ports: Vec<TcpPort>,
    targets: &[SocketAddr],
    prover: &Prover,
    duration: Duration,
) -> (Result<Won, Failure>, u32) {
    let clock = Clock::start();
    let controlling = prover.controls(&[0xff; 16]);
    let mut machine = TcpPunch::new(clock.now(), controlling, targets, duration);
    let mut sockets = Sockets { ports: &ports, prover, connections: BTreeMap::new(), running: FuturesUnordered::new() };
    loop {
        while let Some(output) = machine.poll() {
            match output {
                Output::Connect(id, remote) => sockets.connect(id, remote),
                Output::Send(id, kind) => {
                    if sockets.send(id, kind).await.is_err() {
                        sockets.close(id);
                        machine.handle(clock.now(), Input::Closed(id));
                    }
                }
                Output::Close(id) => sockets.close(id),
                Output::Won(id) => {
                    let won = sockets.take(id);
                    return (won.ok_or(Failure::Unconfirmed), machine.attempts());
                }
                Output::Failed(failure) => return (Err(failure), machine.attempts()),
            }
        }
        tokio::select! {
            Some(news) = sockets.running.next() => sockets.hear(&mut machine, &clock, news),
            (stream, remote) = accept(&ports) => {
                if let Some(id) = machine.accepted(clock.now()) {
                    sockets.open(id, remote, stream);
                }
            }
            () = clock.sleep_until(machine.next_timeout()) => machine.handle_timeout(clock.now()),
        }
    }
}

impl Sockets<'_> {
    fn connect(&mut self, id: Id, remote: SocketAddr) {
        let port = self.ports.iter().find(|port| port.local_address().is_ipv4() == remote.is_ipv4());
        let connection = Connection { remote: Some(remote), ..Connection::default() };
        let token = connection.token.clone();
        self.connections.insert(id, connection);
        self.running.push(Box::pin(async move {
            let Some(port) = port else { return News::Connected(id, Err(io::ErrorKind::Unsupported.into())) };
            tokio::select! {
                result = port.connect(remote) => News::Connected(id, result),
                () = token.cancelled() => News::Connected(id, Err(io::ErrorKind::TimedOut.into())),
            }
        }));
    }

    /// A connection stands: frames can be sent and are read.
    fn open(&mut self, id: Id, remote: SocketAddr, stream: TcpStream) {
        // The frames are small and each waits for the last one.
        let _ = stream.set_nodelay(true);
        let (reader, writer) = stream.into_split();
        let connection = self.connections.entry(id).or_default();
        connection.remote = Some(remote);
        connection.writer = Some(writer);
        connection.reader = Some(reader);
        self.read(id);
    }

    fn read(&mut self, id: Id) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let Some(mut reader) = connection.reader.take() else { return };
        let token = connection.token.clone();
        self.running.push(Box::pin(async move {
            let mut frame = [0; FRAME_BYTES];
            let result = tokio::select! {
                result = reader.read_exact(&mut frame) => result.map(|_| frame),
                () = token.cancelled() => Err(io::ErrorKind::TimedOut.into()),
            };
            News::Frame(id, reader, result)
        }));
    }

    async fn send(&mut self, id: Id, kind: Kind) -> io::Result<()> {
        let connection = self.connections.get_mut(&id);
        let Some(connection) = connection else { return Err(io::ErrorKind::NotConnected.into()) };
        let frame = self.prover.write(kind, &connection.nonce);
        let Some(writer) = &mut connection.writer else { return Err(io::ErrorKind::NotConnected.into()) };
        // Three frames fit in any socket's buffer: this never waits for the peer.
        writer.write_all(&frame).await
    }

    fn close(&mut self, id: Id) {
        if let Some(connection) = self.connections.remove(&id) {
            connection.token.cancel();
        }
    }

    fn hear(&mut self, machine: &mut TcpPunch, clock: &Clock, news: News) {
        match news {
            News::Connected(id, result) => {
                let Some(connection) = self.connections.get(&id) else { return };
                match (result, connection.remote) {
                    (Ok(stream), Some(remote)) => {
                        self.open(id, remote, stream);
                        machine.handle(clock.now(), Input::Connected(id));
                    }
                    (Ok(_), None) => self.close(id),
                    (Err(error), _) => {
                        self.close(id);
                        machine.handle(clock.now(), Input::Refused(id, refusal(&error)));
                    }
                }
            }
            News::Frame(id, reader, result) => {
                let Some(connection) = self.connections.get_mut(&id) else { return };
                connection.reader = Some(reader);
                let frame = result.ok().and_then(|frame| self.prover.read(&frame));
                let known = |nonce: &Nonce| connection.nonce == Nonce::default() || connection.nonce == *nonce;
                let Some((kind, nonce)) = frame.filter(|(_, nonce)| known(nonce)) else {
                    self.close(id);
                    machine.handle(clock.now(), Input::Closed(id));
                    return;
                };
                connection.nonce = nonce;
                machine.set_controlling(self.prover.controls(&nonce));
                machine.handle(clock.now(), Input::Frame(id, kind));
                if machine.next_timeout().is_some() {
                    self.read(id);
                }
            }
        }
    }

    /// Hands out the connection; nothing is being read from it, see [`Self::hear`].
    fn take(&mut self, id: Id) -> Option<Won> {
        let Connection { remote, writer, reader, nonce, .. } = self.connections.remove(&id)?;
        let stream = writer?.reunite(reader?).ok()?;
        Some(Won { stream, remote: remote?, controlling: self.prover.controls(&nonce) })
    }
}

/// The next connection on any of the ports.
async fn accept(ports: &[TcpPort]) -> (TcpStream, SocketAddr) {
    let mut accepting: FuturesUnordered<_> = ports.iter().map(TcpPort::accept).collect();
    loop {
        match accepting.next().await {
            Some(Ok(accepted)) => return accepted,
            // The connection was gone before we took it, or the system has no room: the others go on.
            Some(Err(error)) => tracing::debug!(%error, "hole punching: a connection was not accepted"),
            None => std::future::pending().await,
        }
    }
}

fn refusal(error: &io::Error) -> Refusal {
    match error.kind() {
        io::ErrorKind::AddrNotAvailable | io::ErrorKind::AddrInUse => Refusal::Exists,
        io::ErrorKind::TimedOut => Refusal::TimedOut,
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::PermissionDenied | io::ErrorKind::Unsupported => {
            Refusal::Unreachable
        }
        _ => Refusal::Refused,
    }
}
