//! ICE with real sockets: gathers candidates on UDP ports that QUIC shares, from STUN and TURN servers, tells
//! them over signalling as they come, and yields the pair that works. Not here: the choice of it (the agent), and what
//! is spoken on it.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::future::{BoxFuture, select_all};
use futures::stream::{FuturesUnordered, StreamExt};

use super::{Agent, Config, Credentials, Description, FailedBecause, Kind, LocalId, Output, Role};
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::limits;
use crate::nat::policy::Policy;
use crate::nat::signal::Signal;
use crate::nat::stun::driver::query;
use crate::nat::turn::Transport;
use crate::nat::turn::driver::{Relayed, TurnConfig, allocate};
use crate::net::clock::Clock;
use crate::net::udp::{Route, UdpPort};

/// A port to gather on. Something else drives it meanwhile: a QUIC endpoint, or [`UdpPort::pump`].
#[derive(Clone, Debug)]
pub struct IcePort {
    /// The port.
    pub port: Arc<UdpPort>,
    /// Our addresses that packets to it may be sent to, best first, with its port number. At least one.
    pub hosts: Vec<SocketAddr>,
}

/// What ICE has to work with.
#[derive(Clone, Debug)]
pub struct IceOptions {
    /// The side that asked for the connection controls.
    pub role: Role,
    /// Which of the peer's addresses may be checked.
    pub policy: Policy,
    /// At least one.
    pub ports: Vec<IcePort>,
    /// Asked from every port of their family.
    pub stun_servers: Vec<SocketAddr>,
    /// TURN servers, of which the first [`limits::MAX_ICE_RELAYS`] are all asked at the same time.
    pub turn: Vec<TurnConfig>,
    /// Everything until a pair is selected, ends after this.
    pub timeout: Duration,
}

/// What carries the datagrams of a pair.
#[derive(Clone, Debug)]
pub enum Carrier {
    /// A UDP port: whatever is on it sends to the pair's address directly.
    Port(Arc<UdpPort>),
    /// A relayed address: datagrams go through [`IcePath::send`] and [`IcePath::receive`].
    Relay(Arc<Relayed>),
}

/// A selected pair, and the session that keeps the peer's consent.
#[derive(Debug)]
pub struct IcePath {
    /// What carries it.
    pub carrier: Carrier,
    /// The peer's address on it.
    pub to: SocketAddr,
    /// What our side of the pair is.
    pub local_kind: Kind,
    /// What the peer's side is.
    pub remote_kind: Kind,
    session: Session,
}

/// TURN servers that gave no address.
type Problems = Arc<Mutex<Vec<Error>>>;

/// Finds a pair. `PeerUnreachable` when none works, `Timeout`, both with what TURN servers said that gave no address;
/// `ConnectionClosed` when signalling ends before the peer's credentials came. Cancel safe: dropping the future ends the
/// session.
pub async fn connect(options: IceOptions, signal: &mut dyn Signal) -> Result<IcePath> {
    let timeout = options.timeout;
    let problems = Problems::default();
    let late = |_| failed(ErrorKind::Timeout, &format!("no pair within {timeout:?}"), &problems);
    tokio::time::timeout(timeout, find(options, signal, Arc::clone(&problems))).await.map_err(late)?
}

fn failed(kind: ErrorKind, reason: &str, problems: &Problems) -> Error {
    let problems = problems.lock().unwrap_or_else(PoisonError::into_inner);
    let said = problems.iter().map(Error::full_message);
    let all: Vec<String> = std::iter::once(format!("ICE: {reason}")).chain(said).collect();
    Error::new(kind, all.join("; "))
}

impl IcePath {
    /// What TURN servers said, by name, that gave no address until the pair was found.
    pub fn problems(&self) -> Vec<String> {
        let problems = self.session.problems.lock().unwrap_or_else(PoisonError::into_inner);
        problems.iter().map(Error::full_message).collect()
    }

    /// Sends a datagram over a relayed pair, or from the port. Cancel safe.
    pub async fn send(&self, bytes: Bytes) -> Result<()> {
        match &self.carrier {
            Carrier::Port(port) => port.send(&bytes, self.to).await.map_err(|cause| Error::io("ICE: send", cause)),
            Carrier::Relay(relay) => relay.send_to(self.to, bytes).await,
        }
    }

    /// Keeps the pair alive and yields the datagrams of the peer that came over a relayed pair; those over a port go to
    /// whoever drives it. Must be polled as long as the path is used. `ConnectionClosed` when the peer no longer
    /// consents or the relay ends. Cancel safe.
    pub async fn receive(&mut self) -> Result<Bytes> {
        loop {
            if let Some(bytes) = self.session.payload.pop_front() {
                return Ok(bytes);
            }
            let happening = self.session.next().await;
            self.session.handle(happening);
            self.session.flush().await;
            if let Some(error) = self.session.ended.take() {
                return Err(error);
            }
        }
    }
}

/// Something gathered.
enum Gathered {
    Reflexive(LocalId, SocketAddr, SocketAddr),
    /// With the rank of its transport.
    Relayed(Box<Relayed>, u8),
    Refused(Error),
    Nothing,
}

async fn find(options: IceOptions, signal: &mut dyn Signal, problems: Problems) -> Result<IcePath> {
    let mut session = Session::new(&options, problems)?;
    let mut gathering = gather(&options, &session);
    let candidates = session.agent.local_candidates().cloned().collect();
    let credentials = Some(session.agent.credentials().clone());
    tell(signal, &Description { credentials, candidates, end: gathering.is_empty() }).await?;
    if gathering.is_empty() {
        session.agent.end_of_local(session.clock.now());
    }
    let mut signal_open = true;
    loop {
        session.flush().await;
        if let Some(error) = session.ended.take() {
            return Err(error);
        }
        if let Some((local, to, local_kind, remote_kind)) = session.selected {
            // The other relays are given back.
            session.relays.retain(|(id, _)| *id == local);
            return Ok(IcePath { carrier: session.carrier(local)?, to, local_kind, remote_kind, session });
        }
        tokio::select! {
            happening = session.next() => session.handle(happening),
            Some(gathered) = gathering.next() => {
                let candidate = session.gathered(gathered);
                let end = gathering.is_empty();
                if end {
                    session.agent.end_of_local(session.clock.now());
                }
                if end || candidate.is_some() {
                    let candidates = candidate.into_iter().collect();
                    let told = tell(signal, &Description { credentials: None, candidates, end }).await;
                    // The peer may have all it needs.
                    signal_open &= told.is_ok();
                }
            }
            message = signal.receive(), if signal_open => match message {
                Ok(message) => session.described(&message),
                Err(error) if !session.has_peer => return Err(error),
                Err(_) => signal_open = false,
            },
        }
    }
}

async fn tell(signal: &mut dyn Signal, description: &Description) -> Result<()> {
    signal.send(Bytes::from(description.encode())).await
}

/// Asks all servers at the same time.
fn gather(options: &IceOptions, session: &Session) -> FuturesUnordered<BoxFuture<'static, Gathered>> {
    let gathering: FuturesUnordered<BoxFuture<'static, Gathered>> = FuturesUnordered::new();
    for (id, port) in &session.ports {
        let family = port.local_address().map(|address| address.is_ipv4()).ok();
        let servers = options.stun_servers.iter().filter(|server| Some(server.is_ipv4()) == family);
        for server in servers.take(limits::MAX_STUN_SERVERS).copied() {
            let (id, port) = (*id, Arc::clone(port));
            gathering.push(Box::pin(async move {
                let answer = query(&port, server, limits::STUN_LOOKUP_TIMEOUT).await;
                answer.map_or(Gathered::Nothing, |mapped| Gathered::Reflexive(id, mapped, server))
            }));
        }
    }
    for config in options.turn.iter().take(limits::MAX_ICE_RELAYS) {
        let config = config.clone();
        gathering.push(Box::pin(async move {
            // On a stream to the server, a lost packet holds up all that follow.
            let rank = u8::from(config.server.transport != Transport::Udp);
            allocate(&config).await.map_or_else(Gathered::Refused, |got| Gathered::Relayed(Box::new(got), rank))
        }));
    }
    gathering
}

/// The agent with its sockets.
#[derive(Debug)]
struct Session {
    agent: Agent,
    clock: Clock,
    ports: Vec<(LocalId, Arc<UdpPort>)>,
    routes: Vec<(LocalId, Route)>,
    relays: Vec<(LocalId, Arc<Relayed>)>,
    /// By relay and address.
    permits: HashMap<(LocalId, IpAddr), Permit>,
    permitting: FuturesUnordered<BoxFuture<'static, (LocalId, IpAddr, bool)>>,
    /// Transactions of ours, so that the ports' other users do not get the answers.
    issued: Arc<Mutex<VecDeque<[u8; 12]>>>,
    payload: VecDeque<Bytes>,
    selected: Option<(LocalId, SocketAddr, Kind, Kind)>,
    has_peer: bool,
    problems: Problems,
    ended: Option<Error>,
}

/// Whether the relay lets an address in.
#[derive(Debug)]
enum Permit {
    /// It is being asked; these wait for it.
    Asked(Vec<(SocketAddr, Bytes)>),
    Granted,
    Refused,
}

enum Happening {
    Datagram(LocalId, SocketAddr, Bytes),
    Permitted(LocalId, IpAddr, bool),
    RelayEnded(LocalId, Error),
    Timer,
}

impl Session {
    fn new(options: &IceOptions, problems: Problems) -> Result<Self> {
        let clock = Clock::start();
        let credentials = random_credentials()?;
        let needle = Bytes::from(format!("{}:", credentials.ufrag));
        let (role, policy) = (options.role, options.policy.clone());
        let mut agent = Agent::new(clock.now(), Config { role, credentials, policy, seed: rand::random() });
        let issued: Arc<Mutex<VecDeque<[u8; 12]>>> = Arc::default();
        let (mut ports, mut routes) = (Vec::new(), Vec::new());
        for IcePort { port, hosts } in &options.ports {
            let Some((first, others)) = hosts.split_first() else { continue };
            let Some((id, _)) = agent.add_host(clock.now(), *first) else { continue };
            for other in others {
                agent.add_alias(clock.now(), id, *other);
            }
            let (needle, issued) = (needle.clone(), Arc::clone(&issued));
            routes.push((id, port.route(move |bytes, _| is_ours(bytes, &needle, &issued))?));
            ports.push((id, Arc::clone(port)));
        }
        if ports.is_empty() {
            return Err(Error::invalid("ports", "ICE needs a UDP port with an address"));
        }
        Ok(Self {
            agent,
            clock,
            ports,
            routes,
            relays: Vec::new(),
            permits: HashMap::new(),
            permitting: FuturesUnordered::new(),
            issued,
            payload: VecDeque::new(),
            selected: None,
            has_peer: false,
            problems,
            ended: None,
        })
    }

    /// Waits for anything to happen. Cancel safe.
    async fn next(&mut self) -> Happening {
        let Self { agent, clock, routes, relays, permitting, .. } = self;
        let received = select_all(routes.iter_mut().map(|(id, route)| {
            Box::pin(async move {
                let datagram = route.receive().await;
                Happening::Datagram(*id, datagram.from, datagram.bytes)
            })
        }));
        let relayed = async {
            if relays.is_empty() {
                return std::future::pending().await;
            }
            let (happening, ..) = select_all(relays.iter().map(|(id, relay)| {
                Box::pin(async move {
                    match relay.receive().await {
                        Ok((from, bytes)) => Happening::Datagram(*id, from, bytes),
                        Err(error) => Happening::RelayEnded(*id, error),
                    }
                })
            }))
            .await;
            happening
        };
        tokio::select! {
            (happening, ..) = received => happening,
            happening = relayed => happening,
            Some((id, ip, granted)) = permitting.next() => Happening::Permitted(id, ip, granted),
            () = clock.sleep_until(agent.next_timeout()) => Happening::Timer,
        }
    }

    fn handle(&mut self, happening: Happening) {
        let now = self.clock.now();
        match happening {
            Happening::Datagram(local, from, bytes) => {
                let for_ice = self.agent.handle_datagram(now, local, from, &bytes);
                let over_relay = self.relay(local).is_some();
                if !for_ice && over_relay && self.payload.len() < limits::UDP_ROUTE_QUEUE {
                    self.payload.push_back(bytes);
                }
            }
            Happening::Permitted(id, ip, granted) => {
                let permit = if granted { Permit::Granted } else { Permit::Refused };
                if let Some(Permit::Asked(waiting)) = self.permits.insert((id, ip), permit)
                    && let (true, Some(relay)) = (granted, self.relay(id))
                {
                    let relay = Arc::clone(relay);
                    // What waited goes out now; that the address is let in is only said once more.
                    self.permitting.push(Box::pin(async move {
                        for (to, bytes) in waiting {
                            let _ = relay.send_to(to, bytes).await;
                        }
                        (id, ip, true)
                    }));
                }
            }
            Happening::RelayEnded(id, error) => {
                self.relays.retain(|(relay, _)| *relay != id);
                if self.selected.is_some_and(|(local, ..)| local == id) {
                    self.ended = Some(error);
                }
            }
            Happening::Timer => self.agent.handle_timeout(now),
        }
    }

    /// Sends and notes what the agent wants.
    async fn flush(&mut self) {
        while let Some(output) = self.agent.poll() {
            match output {
                Output::Send { local, to, bytes } => self.send(local, to, bytes).await,
                Output::Selected { local, to, local_kind, remote_kind } => {
                    self.selected = Some((local, to, local_kind, remote_kind));
                }
                Output::ConsentLost => {
                    self.ended = Some(Error::new(ErrorKind::ConnectionClosed, "ICE: the peer is silent"));
                }
                Output::Failed(because) => {
                    let reason = match because {
                        FailedBecause::AllChecksFailed => "no pair of addresses works",
                        FailedBecause::Timeout => "no pair of addresses worked in time",
                    };
                    self.ended = Some(failed(ErrorKind::PeerUnreachable, reason, &self.problems));
                }
            }
        }
    }

    async fn send(&mut self, local: LocalId, to: SocketAddr, bytes: Vec<u8>) {
        if let Some((_, port)) = self.ports.iter().find(|(id, _)| *id == local) {
            if let (Some([0, 1]), Some(id)) = (bytes.first_chunk(), bytes.get(8..20)) {
                let mut issued = self.issued.lock().unwrap_or_else(PoisonError::into_inner);
                issued.push_back(id.try_into().expect("twelve bytes were taken"));
                if issued.len() > 2 * limits::MAX_ICE_PAIRS {
                    issued.pop_front();
                }
            }
            // A pair without a route fails by its silence, as the agent expects.
            let _ = port.send(&bytes, to).await;
        } else if let Some(relay) = self.relay(local) {
            let (relay, bytes) = (Arc::clone(relay), Bytes::from(bytes));
            let ip = to.ip();
            match self.permits.get_mut(&(local, ip)) {
                Some(Permit::Granted) => {
                    let _ = relay.send_to(to, bytes).await;
                }
                Some(Permit::Asked(waiting)) if waiting.len() < limits::MAX_ICE_EARLY_CHECKS => {
                    waiting.push((to, bytes));
                }
                Some(Permit::Asked(_) | Permit::Refused) => {}
                None => {
                    self.permits.insert((local, ip), Permit::Asked(vec![(to, bytes)]));
                    self.permitting.push(Box::pin(async move { (local, ip, relay.permit(ip).await.is_ok()) }));
                }
            }
        }
    }

    fn relay(&self, local: LocalId) -> Option<&Arc<Relayed>> {
        self.relays.iter().find(|(id, _)| *id == local).map(|(_, relay)| relay)
    }

    /// Takes up a gathered candidate; what to tell the peer.
    fn gathered(&mut self, gathered: Gathered) -> Option<super::Candidate> {
        let now = self.clock.now();
        match gathered {
            Gathered::Reflexive(id, mapped, server) => self.agent.add_reflexive(now, id, mapped, server),
            Gathered::Refused(error) => {
                tracing::info!(error = %error.full_message(), "ICE goes on without the relay");
                self.problems.lock().unwrap_or_else(PoisonError::into_inner).push(error);
                None
            }
            Gathered::Relayed(relayed, rank) => {
                let address = relayed.relayed_address();
                let mapped = relayed.mapped_address().unwrap_or(address);
                let (id, candidate) = self.agent.add_relayed(now, address, mapped, relayed.server_address(), rank)?;
                self.relays.push((id, Arc::new(*relayed)));
                Some(candidate)
            }
            Gathered::Nothing => None,
        }
    }

    /// A message of the peer. One that is not for ICE, or broken, is left alone.
    fn described(&mut self, message: &[u8]) {
        let now = self.clock.now();
        let Ok(description) = Description::decode(message) else {
            tracing::debug!("a signalling message is not an ICE description");
            return;
        };
        if let Some(credentials) = description.credentials
            && !self.has_peer
        {
            self.has_peer = true;
            self.agent.set_remote(now, credentials);
        }
        for candidate in description.candidates {
            let address = candidate.address;
            if let Err(reason) = self.agent.add_remote(now, candidate) {
                tracing::debug!(%address, ?reason, "candidate not used");
            }
        }
        if description.end {
            self.agent.end_of_remote(now);
        }
    }

    fn carrier(&self, local: LocalId) -> Result<Carrier> {
        if let Some((_, port)) = self.ports.iter().find(|(id, _)| *id == local) {
            return Ok(Carrier::Port(Arc::clone(port)));
        }
        let ended = || Error::new(ErrorKind::ConnectionClosed, "ICE: the relay ended");
        self.relay(local).map(|relay| Carrier::Relay(Arc::clone(relay))).ok_or_else(ended)
    }
}

/// Whether a STUN datagram on a shared port belongs to this session: a check with our name in it, or the answer to one
/// of ours. Cheap; the agent looks closer.
fn is_ours(bytes: &[u8], needle: &[u8], issued: &Mutex<VecDeque<[u8; 12]>>) -> bool {
    match bytes.first_chunk() {
        Some([0, 1]) => bytes.windows(needle.len()).any(|window| window == needle),
        Some([1, 1 | 0x11]) => {
            let issued = issued.lock().unwrap_or_else(PoisonError::into_inner);
            bytes.get(8..20).is_some_and(|id| issued.iter().any(|known| known == id))
        }
        _ => false,
    }
}

/// From the system's randomness: 48 bits of name, 192 bits of password (RFC 8445 section 5.3 asks for 24 and 128).
fn random_credentials() -> Result<Credentials> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let random: [u8; 40] = rand::random();
    let text: String = random.iter().map(|byte| char::from(ALPHABET[usize::from(byte & 63)])).collect();
    Credentials::new(&text[..8], &text[8..])
        .map_err(|cause| Error::with_source(ErrorKind::Internal, "ICE credentials", cause))
}
