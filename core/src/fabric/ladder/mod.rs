//! Drives the ladders: one per peer that is being reached or that a relayed link came up to, with real dials, punches
//! and relays, and the answers to peers whose ladders ask for our part. Not here: which way is tried when
//! (`nat::ladder`), and the techniques themselves (`nat`).
//!
//! `climb` runs one ladder, `rungs` does what a rung asks for, `meet` opens the channel over which two sides talk (a
//! stream `/dig/meet/1` of a relayed link, or letters over Gun), `request` is what they say, `serve` answers it,
//! `histories` remembers what failed with whom.

mod bridge;
mod climb;
mod histories;
mod meet;
mod request;
mod rungs;
mod serve;
mod situation;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use libp2p::Multiaddr;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::carrier::LetterSignal;
use super::{Fabric, FabricEvent, Link, Stage, StreamSignal};
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::ids::PeerId;
use crate::base::limits;
use crate::nat::ladder::{OwnMapping, Source};
use crate::nat::method::{Method, Preference};
use crate::nat::profile::NatProfile;
use crate::nat::registry::driver::ConnectionRegistry;
use crate::nat::report::{Advice, AttemptLog};
use crate::nat::signal::Signal;
use crate::nat::stun::server::StunServer;
use crate::nat::turn::driver::TurnConfig;
use crate::net::interfaces::{default_routes, local_addresses};

use climb::Climb;
use histories::Histories;
use meet::Graph;

/// The protocol over which two ladders work together.
pub const PROTOCOL: &str = "/dig/meet/1";

/// What ladders need to know of our side.
#[derive(Clone, Debug)]
pub struct ConnectorConfig {
    /// Servers that tell the external endpoints of our ports. Relays of ours are asked too.
    pub stun_servers: Vec<StunServer>,
    /// The NAT in front of us, once it is known.
    pub profile: watch::Receiver<Option<NatProfile>>,
    /// The ports that our router holds open.
    pub mappings: watch::Receiver<Vec<OwnMapping>>,
    /// TURN servers to fall back to.
    pub turn: Vec<TurnConfig>,
    /// What worked before.
    pub registry: ConnectionRegistry,
    /// Whether IPv6 may be used.
    pub ipv6: bool,
    /// Whether IPv4 goes before IPv6.
    pub ipv4_first: bool,
}

/// How a peer is to be reached.
#[derive(Clone, Debug, Default)]
pub struct Wish {
    /// Multiaddrs or `host:port`, each with where it comes from. Those of other peers are left out.
    pub addresses: Vec<(String, Source)>,
    /// Only these ways, in this order; the usual order without.
    pub preferred: Option<Vec<Preference>>,
    /// Whether what works is remembered for the next time.
    pub remember: bool,
}

/// A peer that was reached.
#[derive(Clone, Debug)]
pub struct Reached {
    /// The link to use. A better one may come up later.
    pub link: Link,
    /// How it came about.
    pub method: Method,
    /// Everything tried until then.
    pub log: AttemptLog,
}

/// What a climb tells those who wait for it.
#[derive(Clone, Debug, Default)]
struct Progress {
    path: Option<(Link, Method)>,
    /// Nothing more is tried.
    at_rest: bool,
    /// Wishes taken up, besides the first.
    taken: u64,
    log: AttemptLog,
}

/// A climb that runs.
#[derive(Debug)]
struct Running {
    wishes: mpsc::Sender<Found>,
    /// Wishes sent, besides the first.
    sent: u64,
    progress: watch::Receiver<Progress>,
}

/// A wish, and the addresses that its texts mean.
type Found = (Wish, Vec<(Multiaddr, Source)>);

/// Reaches peers. Clones share all ladders; they end with the token given at the start.
#[derive(Clone, Debug)]
pub struct Connector {
    shared: Arc<Shared>,
}

/// What all climbs share.
struct Shared {
    fabric: Fabric,
    config: ConnectorConfig,
    climbs: Mutex<HashMap<PeerId, Running>>,
    histories: Histories,
    /// Our own addresses and the routers': no peer's word leads there.
    excluded: Mutex<Vec<IpAddr>>,
    /// The Gun graph, once there is one.
    graph: OnceLock<Graph>,
    /// Room for links through it.
    passages: Arc<Semaphore>,
    /// Sessions that peers begin by letter.
    arrivals: mpsc::Sender<(PeerId, LetterSignal)>,
    waiting: Mutex<Option<mpsc::Receiver<(PeerId, LetterSignal)>>>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

/// Why a peer was not reached: the source of the error.
#[derive(Clone, Debug)]
pub struct NotReached {
    /// Every way, with its time and reason.
    pub log: AttemptLog,
    /// What would help most.
    pub advice: Option<Advice>,
}

impl fmt::Display for NotReached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.log)?;
        match self.advice {
            Some(advice) => write!(f, "\nwhat would help: {advice}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for NotReached {}

impl Connector {
    /// A connector; [`run`](Self::run) makes it answer and climb by itself.
    pub fn new(fabric: Fabric, config: ConnectorConfig, stop: CancellationToken) -> Self {
        let (arrivals, waiting) = mpsc::channel(limits::MAX_MEETINGS);
        let shared = Shared {
            graph: OnceLock::new(),
            passages: Arc::new(Semaphore::new(limits::MAX_GUN_PASSAGES)),
            arrivals,
            waiting: Mutex::new(Some(waiting)),
            fabric,
            config,
            climbs: Mutex::default(),
            histories: Histories::default(),
            excluded: Mutex::default(),
            tasks: TaskTracker::new(),
            stop,
        };
        Self { shared: Arc::new(shared) }
    }

    /// Answers the ladders of others and looks for a direct way to every peer that a relayed link comes up to, until
    /// the token given at the start is cancelled. Errors: `InvalidState` when it runs already.
    pub async fn run(&self) -> Result<()> {
        let shared = &self.shared;
        let mut incoming = shared.fabric.accept(PROTOCOL)?;
        let waiting = shared.waiting.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut letters = waiting.ok_or_else(|| Error::new(ErrorKind::InvalidState, "the connector runs already"))?;
        let mut events = shared.fabric.subscribe();
        let mut profile = shared.config.profile.clone();
        let mut serving = Serving::default();
        shared.look_around().await;
        loop {
            tokio::select! {
                () = shared.stop.cancelled() => break,
                arrival = incoming.next() => {
                    let Some((link, stream)) = arrival else { break };
                    if link.relayed {
                        serving.add(shared, link.peer, Box::new(StreamSignal::new(stream)));
                    }
                }
                Some((peer, signal)) = letters.recv() => serving.add(shared, peer, Box::new(signal)),
                Ok(()) = profile.changed() => shared.look_around().await,
                event = events.next() => match event {
                    Some(FabricEvent::LinkUp(link)) if link.relayed && link.outbound && !link.is_gun() => {
                        // A ladder that somebody wished for sees the link by itself. Without room the peer stays on
                        // its relay.
                        if !shared.is_climbing(&link.peer) {
                            let _ = self.climb(&link.peer, (Wish::default(), Vec::new()));
                        }
                    }
                    Some(_) => {}
                    None => break,
                },
                Some(Ok(peer)) = serving.tasks.join_next() => serving.ended(peer),
            }
        }
        serving.tasks.shutdown().await;
        shared.tasks.close();
        shared.tasks.wait().await;
        Ok(())
    }

    /// Reaches a peer by the first way that works; better ways are tried on, and used when they stand. An existing
    /// link counts, unless certain ways are asked for.
    ///
    /// Errors: `PeerUnreachable` or `Timeout` with [`NotReached`] as the source, `InvalidArgument` for this node's own
    /// id, `LimitReached` when [`limits::MAX_CLIMBS`] peers are being reached or too many wait for this one. Cancel safe: the ladder goes on.
    pub async fn connect(&self, peer: &PeerId, wish: Wish, timeout: Duration) -> Result<Reached> {
        if *peer == self.shared.fabric.local_peer() {
            return Err(Error::new(ErrorKind::InvalidArgument, "the address leads to this node itself"));
        }
        let wanted = wish.preferred.clone();
        let fits = |method: Method| {
            wanted.as_ref().is_none_or(|wanted| wanted.iter().any(|one| one.methods.contains(&method)))
        };
        let deadline = tokio::time::Instant::now() + timeout;
        let found = tokio::time::timeout_at(deadline, situation::resolve(peer, &wish)).await.unwrap_or_default();
        let (mut progress, number) = self.climb(peer, (wish, found))?;
        let outcome = tokio::time::timeout_at(deadline, async {
            loop {
                let now = progress.borrow_and_update().clone();
                match now.path {
                    Some((link, method)) if fits(method) => return Ok(Reached { link, method, log: now.log }),
                    _ if now.at_rest && now.taken >= number => return Err((ErrorKind::PeerUnreachable, now.log)),
                    _ => {}
                }
                if progress.changed().await.is_err() {
                    let now = progress.borrow().clone();
                    return Err((ErrorKind::PeerUnreachable, now.log));
                }
            }
        });
        let failed = match outcome.await {
            Ok(Ok(reached)) => return Ok(reached),
            Ok(Err(failed)) => failed,
            Err(_) => (ErrorKind::Timeout, progress.borrow().log.clone()),
        };
        let (kind, log) = failed;
        let advice = log.advice(&self.shared.profile());
        let what = match kind {
            ErrorKind::Timeout => format!("no way to {peer} within {timeout:?}"),
            _ => format!("no way to {peer}"),
        };
        Err(Error::with_source(kind, what, NotReached { log, advice }))
    }

    /// The climb to a peer: the one that runs, with this wish added, or a new one. With the number of the wish in it.
    fn climb(&self, peer: &PeerId, wish: Found) -> Result<(watch::Receiver<Progress>, u64)> {
        let mut climbs = self.shared.climbs();
        if let Some(running) = climbs.get_mut(peer)
            && !running.wishes.is_closed()
        {
            match running.wishes.try_send(wish.clone()) {
                Ok(()) => {
                    running.sent += 1;
                    return Ok((running.progress.clone(), running.sent));
                }
                Err(mpsc::error::TrySendError::Full(_)) => {
                    return Err(Error::new(ErrorKind::LimitReached, format!("too many calls wait for {peer}")));
                }
                // It has just ended.
                Err(mpsc::error::TrySendError::Closed(_)) => {}
            }
        }
        if climbs.len() >= limits::MAX_CLIMBS && !climbs.contains_key(peer) {
            let full = format!("{} peers are being reached already", limits::MAX_CLIMBS);
            return Err(Error::new(ErrorKind::LimitReached, full));
        }
        let (wishes, queue) = mpsc::channel(limits::CLIMB_WISHES);
        let (told, progress) = watch::channel(Progress::default());
        let climb = Climb::new(Arc::clone(&self.shared), peer.clone(), wish, told);
        let (shared, name) = (Arc::clone(&self.shared), peer.clone());
        let mine = wishes.clone();
        self.shared.tasks.spawn(async move {
            climb.run(queue).await;
            let mut climbs = shared.climbs();
            // A younger one may have its place already.
            if climbs.get(&name).is_some_and(|running| running.wishes.same_channel(&mine)) {
                climbs.remove(&name);
            }
        });
        climbs.insert(peer.clone(), Running { wishes, sent: 0, progress: progress.clone() });
        Ok((progress, 0))
    }
}

/// Ladders of others that we help.
#[derive(Default)]
struct Serving {
    tasks: JoinSet<PeerId>,
    /// By peer: one of them must not take all places.
    per_peer: HashMap<PeerId, usize>,
}

impl Serving {
    /// Helps, if there is room; otherwise the channel ends.
    fn add(&mut self, shared: &Arc<Shared>, peer: PeerId, signal: Box<dyn Signal>) {
        let of_peer = self.per_peer.get(&peer).copied().unwrap_or_default();
        if self.tasks.len() < limits::MAX_MEETINGS && of_peer < limits::MEETINGS_PER_PEER {
            self.per_peer.insert(peer.clone(), of_peer + 1);
            self.tasks.spawn(serve::serve(Arc::clone(shared), peer, signal));
        }
    }

    fn ended(&mut self, peer: PeerId) {
        if let Entry::Occupied(mut count) = self.per_peer.entry(peer) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

impl Shared {
    fn climbs(&self) -> std::sync::MutexGuard<'_, HashMap<PeerId, Running>> {
        self.climbs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a ladder of ours to this peer is at work without a direct path.
    fn is_climbing_to(&self, peer: &PeerId) -> bool {
        let at_work = |running: &Running| !running.wishes.is_closed() && !running.progress.borrow().at_rest;
        let at_work = self.climbs().get(peer).is_some_and(at_work);
        at_work && !self.is_direct(peer)
    }

    fn is_climbing(&self, peer: &PeerId) -> bool {
        self.climbs().get(peer).is_some_and(|running| !running.wishes.is_closed())
    }

    fn is_direct(&self, peer: &PeerId) -> bool {
        let direct = |link: &Link| link.peer == *peer && !link.relayed && self.fabric.stage(link) < Stage::Suspect;
        self.fabric.links().iter().any(direct)
    }

    fn excluded(&self) -> Vec<IpAddr> {
        self.excluded.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Finds out which addresses are ours and the routers'.
    async fn look_around(&self) {
        let looking = tokio::task::spawn_blocking(|| {
            let routes = default_routes();
            let routers = [routes.v4, routes.v6].into_iter().flatten().map(|route| route.gateway);
            routers.chain(local_addresses()).collect()
        });
        if let Ok(found) = looking.await {
            *self.excluded.lock().unwrap_or_else(PoisonError::into_inner) = found;
        }
    }

    fn profile(&self) -> NatProfile {
        self.config.profile.borrow().clone().unwrap_or_default()
    }

    /// A link through a relay on which the two sides can talk about a better one.
    fn relayed_link(&self, peer: &PeerId) -> Option<Link> {
        self.fabric.links().into_iter().find(|link| link.peer == *peer && link.relayed && !link.is_gun())
    }
}
