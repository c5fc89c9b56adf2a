//! Runs the machine over the fabric's streams. Not here: any decision about nodes, records or lookups.
//!
//! One task owns the loop around the machine; each request of ours and each inbound stream has a small task of its own.
//! The machine is behind a lock that is never held across a wait.

mod exchange;
mod records;
mod searches;
mod serve;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::{Notify, Semaphore, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::searches::Searches;
use super::config::{DhtConfig, DhtStatus};
use super::contact::Contact;
use super::key::{Node, Placement};
use super::machine::{Machine, Output, Setup};
use super::shard::{Shard, Shards};
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::ids::ContentKey;
use crate::base::limits;
use crate::base::time::Time;
use crate::discovery::own::Own;
use crate::discovery::source::{Candidate, Source, SourceKind};
use crate::fabric::{Fabric, FabricEvent, FabricEvents, Incoming};
use crate::net::clock::{Clock, sleep_until, unix_ms};
use crate::store::state_file;

/// Shortest sleep of the loop.
const SOON: Duration = Duration::from_millis(2);

/// The running DHT of one node. Dropping it ends its tasks in the background; [`stop`](Source::stop) waits for that and
/// saves what is known.
pub struct Dht {
    shared: Arc<Shared>,
    token: CancellationToken,
    tasks: TaskTracker,
    status: watch::Receiver<DhtStatus>,
}

/// What all tasks of one DHT share.
struct Shared {
    state: Mutex<State>,
    changed: Notify,
    clock: Clock,
    fabric: Fabric,
    own: Own,
    node: Node,
    protocol: &'static str,
    placement: Placement,
    /// Bounds the tasks that announce.
    announcing: Arc<Semaphore>,
}

struct State {
    machine: Machine,
    searches: Searches,
    /// Who waits for the nodes of a lookup.
    asked: HashMap<u64, oneshot::Sender<Vec<Contact>>>,
    stopped: bool,
    unreachable: Vec<(String, String)>,
}

impl Shared {
    fn now(&self) -> Time {
        self.clock.now()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The machine has no broken intermediate states that matter more than going on.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state and wakes the loop.
    fn change<T>(&self, change: impl FnOnce(&mut State, Time) -> T) -> T {
        let now = self.now();
        let result = change(&mut self.lock(), now);
        self.changed.notify_one();
        result
    }
}

impl Dht {
    /// Starts on a running fabric. `server` says whether others can reach this node: only then it answers them; the DHT
    /// follows its changes. Bootstrap nodes that cannot be reached are logged and told in [`Dht::status`], they never fail
    /// the start.
    ///
    /// Errors: `InvalidArgument` for a bootstrap entry that is no address, or too many; `InvalidState` when another DHT on
    /// this fabric serves the same network. Cancel safe.
    pub async fn start(fabric: Fabric, own: Own, server: watch::Receiver<bool>, config: DhtConfig) -> Result<Self> {
        if config.bootstrap.len() > limits::DHT_BOOTSTRAP {
            let most = limits::DHT_BOOTSTRAP;
            return Err(Error::invalid("bootstrap", format_args!("more than {most} entries")));
        }
        config.bootstrap.iter().try_for_each(|entry| crate::fabric::check_target(entry))?;
        let node = Node::from_peer(own.peer())
            .ok_or_else(|| Error::new(ErrorKind::Internal, "our own id cannot be a node's"))?;
        let clock = Clock::start();
        let mut machine = Machine::new(Setup {
            node: node.clone(),
            placement: config.network.placement(),
            epoch_ms: unix_ms(),
            capacity: config.records,
            shards: Shards::new(config.shards),
            paths: limits::DHT_PATHS,
            seed: rand::random(),
        });
        if let Some(saved) = read_file(config.file.clone()).await? {
            machine.restore(clock.now(), &saved);
        }
        let protocol = config.network.protocol();
        let incoming = if *server.borrow() { Some(fabric.accept(protocol)?) } else { None };
        let events = fabric.subscribe();
        let addresses = own.watch();
        let state = State {
            machine,
            searches: Searches::default(),
            asked: HashMap::new(),
            stopped: false,
            unreachable: Vec::new(),
        };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            changed: Notify::new(),
            clock,
            fabric,
            own,
            node,
            protocol,
            placement: config.network.placement(),
            announcing: Arc::new(Semaphore::new(limits::DHT_OUTBOUND)),
        });
        let (token, tasks) = (CancellationToken::new(), TaskTracker::new());
        let (told, status) = watch::channel(DhtStatus::default());
        let run = Run {
            shared: Arc::clone(&shared),
            token: token.clone(),
            tasks: tasks.clone(),
            bootstrap: config.bootstrap,
            file: config.file,
            server,
            addresses,
            status: told,
            bootstrap_pause: limits::DHT_BOOTSTRAP_PAUSE,
            bootstrap_at: None,
            renew_at: None,
        };
        tasks.spawn(run.run(events, incoming));
        Ok(Self { shared, token, tasks, status })
    }

    /// How it is doing; changes can be waited for.
    pub fn status(&self) -> watch::Receiver<DhtStatus> {
        self.status.clone()
    }

    /// The parts of the keyspace that this node hosts; none unless it is a shard host.
    pub fn shard_prefixes(&self) -> Vec<Shard> {
        self.shared.lock().machine.shards().list().to_vec()
    }

    /// The multiaddr or `host:port` of a node to enter the network by, besides the bootstrap list. `PeerUnreachable` if it
    /// cannot be reached. Cancel safe.
    pub async fn add_node(&self, target: &str) -> Result<()> {
        exchange::enter(&self.shared, target).await
    }
}

impl Source for Dht {
    fn name(&self) -> &str {
        SourceKind::Dht.name()
    }

    fn kind(&self) -> SourceKind {
        SourceKind::Dht
    }

    fn announce(&self, key: ContentKey) -> BoxFuture<'_, Result<()>> {
        let room = self.shared.change(|state, now| state.machine.announce(now, key.lookup_key()));
        Box::pin(async move {
            let full = || Error::new(ErrorKind::LimitReached, format!("announce {key}: too many keys announced"));
            room.then_some(()).ok_or_else(full)
        })
    }

    fn renew(&self, key: ContentKey) -> BoxFuture<'_, Result<()>> {
        self.shared.change(|state, now| state.machine.renew_one(now, &key.lookup_key()));
        Box::pin(async { Ok(()) })
    }

    fn withdraw(&self, key: ContentKey) -> BoxFuture<'_, Result<()>> {
        self.shared.change(|state, _| state.machine.withdraw(&key.lookup_key()));
        Box::pin(async { Ok(()) })
    }

    fn search(&self, key: ContentKey) -> mpsc::Receiver<Candidate> {
        let (sender, receiver) = mpsc::channel(limits::DISCOVERY_QUEUE);
        self.shared.change(|state, now| {
            // Without room the sender is dropped, which ends the stream.
            if !state.stopped && !state.searches.add(now, key.lookup_key(), sender) {
                tracing::warn!(%key, "too many searches in the DHT at once");
            }
        });
        receiver
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            self.token.cancel();
            self.tasks.close();
            self.tasks.wait().await;
        })
    }
}

impl Drop for Dht {
    fn drop(&mut self) {
        self.token.cancel();
    }
}

/// What the main task owns.
struct Run {
    shared: Arc<Shared>,
    token: CancellationToken,
    tasks: TaskTracker,
    bootstrap: Vec<String>,
    file: Option<PathBuf>,
    server: watch::Receiver<bool>,
    addresses: watch::Receiver<Vec<String>>,
    status: watch::Sender<DhtStatus>,
    bootstrap_pause: Duration,
    bootstrap_at: Option<Time>,
    renew_at: Option<Time>,
}

impl Run {
    async fn run(mut self, mut events: FabricEvents, mut incoming: Option<Incoming>) {
        let places = serve::Places::default();
        let mut save = tokio::time::interval(limits::DHT_SAVE);
        save.reset();
        self.enter_network();
        loop {
            let next = self.advance(incoming.is_some());
            // What is due already and cannot be done yet must not spin.
            let soonest = self.shared.now() + SOON;
            let wake = [next, self.bootstrap_at, self.renew_at].into_iter().flatten().min().map(|at| at.max(soonest));
            let arrival = async {
                match &mut incoming {
                    Some(incoming) => incoming.next().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.token.cancelled() => break,
                () = self.shared.changed.notified() => {}
                () = sleep_until(self.shared.clock.deadline(wake)) => {}
                arrived = arrival => match arrived {
                    Some((link, stream)) => if let Some(place) = places.take(&link.peer) {
                        let serving = serve::serve(Arc::clone(&self.shared), stream, place);
                        self.spawn(serving);
                    },
                    // The fabric has ended.
                    None => break,
                },
                event = events.next() => match event {
                    Some(event) => self.on_event(event),
                    None => break,
                },
                Ok(()) = self.server.changed() => incoming = self.serve_or_not(incoming),
                Ok(()) = self.addresses.changed() => self.on_addresses(),
                _ = save.tick() => self.save().await,
            }
        }
        {
            let mut state = self.shared.lock();
            state.stopped = true;
            state.searches = Searches::default();
            state.asked.clear();
        }
        self.save().await;
    }

    /// Does what the machine wants; says when it wants to be woken.
    fn advance(&mut self, server: bool) -> Option<Time> {
        let now = self.shared.now();
        if self.bootstrap_at.is_some_and(|at| at <= now) {
            self.bootstrap_at = None;
            if self.shared.lock().machine.known() == 0 {
                self.enter_network();
            }
        }
        let mut state = self.shared.lock();
        if self.renew_at.is_some_and(|at| at <= now) {
            self.renew_at = None;
            state.machine.renew(now);
        }
        state.machine.handle_timeout(now);
        let State { machine, searches, asked, .. } = &mut *state;
        searches.advance(now, machine);
        let mut outputs = Vec::new();
        while let Some(output) = machine.poll() {
            match output {
                Output::Found { lookup, provider, announcement, .. } => {
                    searches.found(lookup, &provider, announcement.is_some());
                }
                Output::Done { lookup, .. } => searches.done(now, lookup),
                Output::Nodes { lookup, nodes } => {
                    if let Some(waiting) = asked.remove(&lookup) {
                        // Nobody may wait any more.
                        let _ = waiting.send(nodes);
                    }
                }
                other => outputs.push(other),
            }
        }
        let search_at = searches.next_timeout();
        let (announced, queued) = machine.announced();
        let status = DhtStatus {
            server,
            nodes: machine.known(),
            joined: machine.is_joined(),
            records: machine.records(),
            announced,
            queued,
            unreachable: state.unreachable.clone(),
        };
        let next = state.machine.next_timeout().into_iter().chain(search_at).min();
        drop(state);
        if status.nodes > 0 {
            self.bootstrap_pause = limits::DHT_BOOTSTRAP_PAUSE;
        }
        self.status.send_if_modified(|known| {
            let changes = *known != status;
            *known = status;
            changes
        });
        for output in outputs {
            match output {
                Output::Send { request, to, message } => {
                    let shared = Arc::clone(&self.shared);
                    self.spawn(async move { exchange::ask(&shared, request, &to, &message).await });
                }
                Output::Provide(provide) => {
                    let shared = Arc::clone(&self.shared);
                    self.spawn(async move { exchange::provide(&shared, provide).await });
                }
                Output::Lost => self.plan_bootstrap(),
                Output::Found { .. } | Output::Done { .. } | Output::Nodes { .. } => {}
            }
        }
        next
    }

    /// Runs a task that ends with the DHT.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let token = self.token.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = token.cancelled() => {}
                () = task => {}
            }
        });
    }

    fn plan_bootstrap(&mut self) {
        if self.bootstrap_at.is_none() {
            self.bootstrap_at = Some(self.shared.now() + self.bootstrap_pause);
            self.bootstrap_pause = (2 * self.bootstrap_pause).min(limits::DHT_BOOTSTRAP_PAUSE_MAX);
        }
    }

    /// Tries the whole bootstrap list at once, and again later as long as nobody is known.
    fn enter_network(&mut self) {
        if self.bootstrap.is_empty() {
            return;
        }
        for entry in self.bootstrap.clone() {
            let shared = Arc::clone(&self.shared);
            self.spawn(async move {
                let entered = exchange::enter(&shared, &entry).await;
                let reason = entered.err().map(|error| error.full_message());
                shared.change(|state, _| {
                    state.unreachable.retain(|(known, _)| *known != entry);
                    if let Some(reason) = reason {
                        tracing::warn!(%entry, %reason, "bootstrap node not reached");
                        state.unreachable.push((entry, reason));
                        state.unreachable.sort();
                    }
                });
            });
        }
        self.plan_bootstrap();
    }

    fn on_event(&self, event: FabricEvent) {
        if let FabricEvent::Identified { peer, protocols, addresses, .. } = event
            && protocols.iter().any(|protocol| protocol == self.shared.protocol)
            && let Some(contact) = exchange::contact_of(&self.shared.fabric, &peer, &addresses)
        {
            self.shared.change(|state, now| state.machine.heard(now, &contact));
        }
    }

    fn serve_or_not(&mut self, incoming: Option<Incoming>) -> Option<Incoming> {
        match (*self.server.borrow_and_update(), incoming) {
            (true, None) => self
                .shared
                .fabric
                .accept(self.shared.protocol)
                .inspect_err(|error| tracing::warn!(error = %error.full_message(), "the DHT serves nobody"))
                .ok(),
            (true, serving) => serving,
            (false, _) => None,
        }
    }

    fn on_addresses(&mut self) {
        if !self.addresses.borrow_and_update().is_empty() && self.renew_at.is_none() {
            self.renew_at = Some(self.shared.now() + limits::DHT_RENEW_PAUSE);
        }
    }

    async fn save(&self) {
        let Some(path) = self.file.clone() else { return };
        let bytes = self.shared.lock().machine.save(self.shared.now());
        let saved = tokio::task::spawn_blocking(move || state_file::write_bytes(&path, &bytes)).await;
        if let Ok(Err(error)) = saved {
            tracing::warn!(error = %error.full_message(), "what the DHT knows was not saved");
        }
    }
}

/// What an earlier run knew; an unreadable file is an error.
async fn read_file(path: Option<PathBuf>) -> Result<Option<Vec<u8>>> {
    let Some(path) = path else { return Ok(None) };
    let read = tokio::task::spawn_blocking(move || state_file::read_bytes(&path, limits::DHT_SAVE_BYTES as u64)).await;
    let read = read.map_err(|cause| Error::with_source(ErrorKind::Internal, "read what the DHT knew", cause))?;
    Ok(read?.state())
}

/// Text of the addresses of a contact.
fn texts(contact: &Contact) -> Vec<String> {
    contact.addresses.iter().filter_map(|address| crate::fabric::address_from_bytes(address)).collect()
}
