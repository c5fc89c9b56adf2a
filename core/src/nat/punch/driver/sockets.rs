//! One UDP round over sockets: reads and writes for the machine. Not here: the rounds (`session`), and every decision.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::session::{Cost, Rounds, Start};
use super::{LocalPort, Observer};
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::limits;
use crate::base::random::Jitter;
use crate::nat::profile::Mapping;
use crate::nat::punch::message::{Endpoint, NatSummary, Transport};
use crate::nat::punch::plan::{self, History, NoHope};
use crate::nat::punch::prediction::{self, Forecast};
use crate::nat::punch::probe::{Codec, Packet};
use crate::nat::punch::round::{self, Half};
use crate::nat::punch::udp::{Config, Failure, Mode, Output, Pair, Punch};
use crate::nat::punch::{Method, Side};
use crate::net::clock::Clock;
use crate::net::udp::{Datagram, Route, UdpPort};

/// The path that a round found.
#[derive(Debug)]
pub(super) struct Won {
    pub(super) port: Arc<UdpPort>,
    pub(super) driven: bool,
    pub(super) remote: SocketAddr,
    pub(super) controlling: bool,
}

/// The rounds of one attempt.
pub(super) struct UdpRounds<'a> {
    given: Vec<LocalPort>,
    /// The ports of this round.
    current: Vec<LocalPort>,
    nat: NatSummary,
    known: Vec<Endpoint>,
    observer: &'a mut dyn Observer,
    cancel: CancellationToken,
}

impl<'a> UdpRounds<'a> {
    pub(super) fn new(
        given: Vec<LocalPort>,
        nat: NatSummary,
        known: Vec<Endpoint>,
        observer: &'a mut dyn Observer,
        cancel: CancellationToken,
    ) -> Self {
        Self { current: given.clone(), given, nat, known, observer, cancel }
    }

    fn position(&self, v4: bool) -> Option<usize> {
        self.current.iter().position(|local| is_v4(&local.port) == Some(v4))
    }

    /// As many new IPv4 ports as the system gives, up to `count`, on the address of the given one.
    fn open(&self, count: usize) -> Vec<LocalPort> {
        let given = self.given.iter().filter_map(|local| local.port.local_address().ok());
        let ip = given.map(|address| address.ip()).find(IpAddr::is_ipv4).unwrap_or(Ipv4Addr::UNSPECIFIED.into());
        let open = (0..count).map_while(|_| UdpPort::bind(SocketAddr::new(ip, 0)).ok());
        open.map(|port| LocalPort { port, driven: false }).collect()
    }
}

impl Rounds for UdpRounds<'_> {
    type Won = Won;

    fn choose(
        &self,
        initiator: &NatSummary,
        responder: &NatSummary,
        history: &History,
        propose: Option<Method>,
    ) -> Result<Method, NoHope> {
        plan::udp(initiator, responder, history, propose)
    }

    async fn prepare(&mut self, fresh: bool) -> Result<Half> {
        // Where each destination gets a port of its own, a used socket shows servers the ports of long ago, from which
        // the next one does not follow. Ports that a router holds open lead to the given sockets, though.
        let hard = self.nat.mapping.is_some_and(|mapping| mapping != Mapping::EndpointIndependent);
        let mapped = self.known.iter().any(|endpoint| endpoint.transport == Transport::Udp);
        let fresh = fresh || (hard && !mapped);
        self.current = if fresh { again(&self.given)? } else { self.given.clone() };
        let mut half = Half { nat: self.nat, ..Half::default() };
        for local in &self.current {
            let seen = if local.driven {
                self.observer.udp(&local.port).await
            } else {
                tokio::select! {
                    seen = self.observer.udp(&local.port) => seen,
                    error = local.port.pump() => return Err(Error::io("read a UDP port", error)),
                }
            };
            let Some(last) = seen.last() else { continue };
            let endpoint = Endpoint { transport: Transport::Udp, address: last.external };
            let steady = half.nat.mapping == Some(Mapping::EndpointIndependent);
            if last.external.is_ipv4() && half.forecast == Forecast::None && !steady {
                half.nat.allocation = prediction::allocation(&seen, half.nat.allocation);
                half.forecast = prediction::forecast(&seen, half.nat.allocation, last.local_port);
            }
            half.endpoints.push(endpoint);
        }
        let of_udp = |endpoint: &&Endpoint| endpoint.transport == Transport::Udp;
        if !fresh {
            half.endpoints.extend(self.known.iter().filter(of_udp));
        }
        half.endpoints.truncate(limits::PUNCH_ENDPOINTS);
        half.nat.v6 = self.position(false).is_some() && half.endpoints.iter().any(|seen| seen.address.is_ipv6());
        Ok(half)
    }

    async fn run(&mut self, start: Start) -> (Result<(Won, SocketAddr), String>, Cost) {
        let Start { method, side, mine, theirs, session, key, duration, packets, stop } = start;
        let hard = matches!(method, Method::Birthday { hard } if hard == side);
        let ports = if hard { self.open(plan::sockets(&mine.nat).into()) } else { self.current.clone() };
        let (v4, v6) = if hard { (Some(0), None) } else { (self.position(true), self.position(false)) };
        let mut mode = match round::udp(method, side, &mine, &theirs, v4, v6) {
            Ok(mode) => mode,
            Err(reason) => return (Err(reason.to_string()), Cost::default()),
        };
        if let Mode::Pairs { pairs, .. } = &mut mode {
            pairs.retain(|pair| pair.socket < ports.len());
        }
        let targets = match &mode {
            Mode::Pairs { pairs, .. } => pairs.len() as u32,
            Mode::Search { probes, .. } => u32::from(*probes),
        };
        let codec = Codec::new(session, &key);
        let controlling = side == Side::Initiator;
        let config = Config { controlling, tiebreaker: rand::random(), tag: codec.tag(), mode, duration, packets };
        let spent = Spent::default();
        let (result, spent) = tokio::select! {
            (result, spent) = drive(ports, config, codec, None, self.cancel.clone(), &spent) => (result, spent),
            () = stop.cancelled() => (Err(Failure::OneWay), spent.get()),
        };
        let result = result.map(|won| {
            let remote = won.remote;
            (won, remote)
        });
        (result.map_err(|failure| failure.to_string()), Cost { targets, spent })
    }
}

/// Packets sent so far; outlives a round that is dropped.
#[derive(Debug, Default)]
struct Spent(std::sync::atomic::AtomicU32);

impl Spent {
    fn get(&self) -> u32 {
        self.0.load(std::sync::atomic::Ordering::Relaxed)
    }

    fn set(&self, packets: u32) {
        self.0.store(packets, std::sync::atomic::Ordering::Relaxed);
    }
}

/// Runs a machine without any rounds around it.
pub(super) async fn run(
    ports: Vec<LocalPort>,
    config: Config,
    codec: Codec,
    only_from: Option<IpAddr>,
    cancel: CancellationToken,
) -> (Result<Won, Failure>, u32) {
    drive(ports, config, codec, only_from, cancel, &Spent::default()).await
}

/// Runs the machine until it ends. Dropping the future stops everything.
async fn drive(
    ports: Vec<LocalPort>,
    config: Config,
    codec: Codec,
    only_from: Option<IpAddr>,
    cancel: CancellationToken,
    spent: &Spent,
) -> (Result<Won, Failure>, u32) {
    let mut readers = JoinSet::new();
    let (sender, mut received) = mpsc::channel(limits::PUNCH_QUEUE);
    for (socket, local) in ports.iter().enumerate() {
        let claim = codec.clone();
        // A port with too many users takes part by sending only.
        let Ok(route) = local.port.route(move |bytes, _| claim.claims(bytes)) else { continue };
        readers.spawn(read(route, local.driven, socket, sender.clone()));
    }
    drop(sender);
    let clock = Clock::start();
    let mut machine = Punch::new(clock.now(), config, Jitter::from_seed(rand::random()));
    let ended = loop {
        if let Some(ended) = perform(&mut machine, &ports, &codec).await {
            break ended;
        }
        spent.set(machine.packets());
        tokio::select! {
            Some((socket, datagram)) = received.recv() => {
                if only_from.is_none_or(|ip| ip == datagram.from.ip()) {
                    take(&mut machine, &clock, &codec, socket, &datagram);
                }
            }
            () = clock.sleep_until(machine.next_timeout()) => machine.handle_timeout(clock.now()),
        }
    };
    spent.set(machine.packets());
    // The caller reads the port from here on.
    readers.shutdown().await;
    drop(received);
    let result = ended.map(|pair| {
        let LocalPort { port, driven } = ports[pair.socket].clone();
        let controlling = machine.is_controlling();
        if !controlling {
            linger(machine, clock, &ports, pair, codec, cancel);
        }
        Won { port, driven, remote: pair.remote, controlling }
    });
    (result, spent.get())
}

/// Carries out what the machine wants; the end of the round, if it came. A packet that cannot be sent counts as lost.
async fn perform(machine: &mut Punch, ports: &[LocalPort], codec: &Codec) -> Option<Result<Pair, Failure>> {
    while let Some(output) = machine.poll() {
        let (pair, bytes) = match output {
            Output::Probe(probe) => (probe.pair, codec.probe(&probe)),
            Output::Answer(pair, transaction) => (pair, codec.answer(transaction, pair.remote)),
            Output::Connected(pair) => return Some(Ok(pair)),
            Output::Failed(failure) => return Some(Err(failure)),
        };
        let Some(local) = ports.get(pair.socket) else { continue };
        if let Err(error) = local.port.send(&bytes, pair.remote).await {
            tracing::trace!(to = %pair.remote, %error, "hole punching: a packet was not sent");
        }
    }
    None
}

fn take(machine: &mut Punch, clock: &Clock, codec: &Codec, socket: usize, datagram: &Datagram) {
    let pair = Pair { socket, remote: datagram.from };
    match codec.read(&datagram.bytes, pair) {
        Some(Packet::Probe(probe)) => machine.handle_probe(clock.now(), probe),
        Some(Packet::Answer(transaction)) => machine.handle_answer(clock.now(), pair, transaction),
        None => tracing::debug!(from = %datagram.from, "hole punching: a packet that proves nothing"),
    }
}

/// Passes on what comes in on one port.
async fn read(mut route: Route, driven: bool, socket: usize, to: mpsc::Sender<(usize, Datagram)>) {
    let port = Arc::clone(route.port());
    let pass = async {
        loop {
            let datagram = route.receive().await;
            if to.send((socket, datagram)).await.is_err() {
                return;
            }
        }
    };
    if driven {
        pass.await;
        return;
    }
    tokio::select! {
        () = pass => {}
        error = port.pump() => tracing::debug!(%error, "hole punching: a port cannot be read"),
    }
}

/// Answers the peer's further nominations on the agreed path for a while. Whoever took over the port drives it.
fn linger(mut machine: Punch, clock: Clock, ports: &[LocalPort], pair: Pair, codec: Codec, cancel: CancellationToken) {
    let claim = codec.clone();
    let claimed = ports[pair.socket].port.route(move |bytes, from| from == pair.remote && claim.claims(bytes));
    let Ok(mut route) = claimed else { return };
    // Only the one port is kept open.
    let port = Arc::clone(&ports[pair.socket].port);
    tokio::spawn(async move {
        let answering = async {
            loop {
                let datagram = route.receive().await;
                take(&mut machine, &clock, &codec, pair.socket, &datagram);
                while let Some(output) = machine.poll() {
                    if let Output::Answer(to, transaction) = output {
                        let _ = port.send(&codec.answer(transaction, to.remote), to.remote).await;
                    }
                }
            }
        };
        tokio::select! {
            () = answering => {}
            () = tokio::time::sleep(limits::PUNCH_LINGER) => {}
            () = cancel.cancelled() => {}
        }
    });
}

/// New ports on the addresses of the given ones.
fn again(given: &[LocalPort]) -> Result<Vec<LocalPort>> {
    let new = |local: &LocalPort| {
        let mut at = local.port.local_address().map_err(|error| Error::io("read the address of a UDP port", error))?;
        at.set_port(0);
        Ok(LocalPort { port: UdpPort::bind(at)?, driven: false })
    };
    let new: Result<Vec<LocalPort>> = given.iter().map(new).collect();
    new.map_err(|error| Error::with_source(ErrorKind::Io, "hole punching: no fresh port", error))
}

fn is_v4(port: &UdpPort) -> Option<bool> {
    port.local_address().ok().map(|address| address.is_ipv4())
}
