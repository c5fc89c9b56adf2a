//! The driver that joins all sources: one search asks every source, merges and remembers what they find.
//! Not here: how a source finds peers, one search ([`search`](super::search)), or what is done with peers.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::future::join_all;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::candidate::host_and_port;
use super::keeping;
use super::local::{LocalConfig, LocalDiscovery};
use super::search::{Search, received};
use super::source::{Candidate, Source, SourceKind};
use super::table::{Bounds, PeerTable};
use super::trust;
use crate::base::error::{Error, ErrorKind};
use crate::base::events::{ErrorRecord, Event};
use crate::base::ids::{ContentKey, PeerId};
use crate::base::limits;
use crate::base::node_type::NodeType;
use crate::base::priority::Priority;
use crate::base::time::Time;

/// Receives [`Event::PeerDiscovered`] and [`Event::Warning`]; called from tasks, must not block.
pub type EventSink = Arc<dyn Fn(Event) + Send + Sync>;

/// Limits and wiring of a [`PeerDiscovery`].
#[derive(Clone)]
pub struct DiscoveryConfig {
    /// This node's id: it is never returned as a candidate.
    pub own_id: Option<PeerId>,
    /// What is remembered. Default: that of a standard node.
    pub bounds: Bounds,
    /// Whether what others tell of the local network may be true: nothing else is contacted.
    pub local_only: bool,
    /// A file in which known peers are kept over restarts; none: they are forgotten.
    pub file: Option<PathBuf>,
    /// Where events go; none: nowhere.
    pub on_event: Option<EventSink>,
}

impl Default for DiscoveryConfig {
    fn default() -> Self {
        Self { own_id: None, bounds: NodeType::Standard.into(), local_only: false, file: None, on_event: None }
    }
}

/// All sources of a node behind one handle. Clones share everything.
#[derive(Clone)]
pub struct PeerDiscovery {
    shared: Arc<Shared>,
}

pub(super) struct Shared {
    pub(super) config: DiscoveryConfig,
    state: Mutex<State>,
    started: Instant,
    pub(super) token: CancellationToken,
    tasks: TaskTracker,
}

pub(super) struct State {
    pub(super) table: PeerTable,
    sources: Vec<Arc<dyn Source>>,
    announced: BTreeMap<ContentKey, Priority>,
    /// Keys searched for in the background.
    watched: BTreeMap<ContentKey, Watched>,
    /// Running searches: where manual peers are handed in.
    searches: Vec<(ContentKey, mpsc::Sender<Candidate>)>,
    stopped: bool,
}

/// A search in the background.
struct Watched {
    priority: Priority,
    since: Instant,
    end: CancellationToken,
}

impl PeerDiscovery {
    /// Without sources: only manual peers are found until some are registered.
    pub fn new(config: DiscoveryConfig) -> Self {
        let state = State {
            table: PeerTable::new(config.bounds),
            sources: Vec::new(),
            announced: BTreeMap::new(),
            watched: BTreeMap::new(),
            searches: Vec::new(),
            stopped: false,
        };
        let (token, tasks) = (CancellationToken::new(), TaskTracker::new());
        let shared = Shared { config, state: Mutex::new(state), started: Instant::now(), token, tasks };
        Self { shared: Arc::new(shared) }
    }

    /// Takes up the peers of the configured file, and keeps it up to date until [`stop`](Self::stop). A file that cannot
    /// be used becomes an [`Event::Warning`]. Does nothing without a file.
    pub async fn restore(&self) {
        let Some(path) = self.shared.config.file.clone() else { return };
        let shared = Arc::clone(&self.shared);
        let reading = tokio::task::spawn_blocking(move || keeping::read(&shared, &path)).await;
        let read =
            reading.unwrap_or_else(|cause| Err(Error::with_source(ErrorKind::Internal, "read known peers", cause)));
        self.shared.report(read);
        self.shared.tasks.spawn(keeping::keep(Arc::clone(&self.shared)));
    }

    /// Adds a source and announces to it what is announced already. Searches started earlier do not ask it.
    pub async fn register(&self, source: Arc<dyn Source>) {
        let announced = {
            let mut state = self.shared.lock();
            if state.stopped {
                None
            } else {
                state.sources.push(source.clone());
                Some(state.announced.clone())
            }
        };
        let Some(announced) = announced else { return source.stop().await };
        for (key, priority) in announced {
            if !source.kind().hears(priority) {
                continue;
            }
            self.shared.report(source.announce(key.clone()).await);
            // Withdrawn meanwhile, when the source did not have it yet.
            if !self.shared.lock().announced.contains_key(&key) {
                self.shared.report(source.withdraw(key).await);
            }
        }
    }

    /// Starts and registers local discovery. A failure becomes an [`Event::Warning`] and `false`, never an error: a
    /// node without a local network still works.
    pub async fn start_local(&self, config: LocalConfig) -> bool {
        match LocalDiscovery::start(config).await {
            Ok(local) => {
                self.register(Arc::new(local)).await;
                true
            }
            Err(error) => {
                self.shared.report(Err(error));
                false
            }
        }
    }

    /// A live stream of candidates for the key: known ones first, then what the sources find, each peer once and
    /// again when it got new addresses. Dropping the receiver ends the search. The stream ends when all sources are
    /// exhausted or at [`stop`](Self::stop). Must be called inside a tokio runtime.
    pub fn search(&self, key: &ContentKey) -> mpsc::Receiver<Candidate> {
        let (sender, receiver) = mpsc::channel(limits::DISCOVERY_QUEUE);
        let (manual, manual_receiver) = mpsc::channel(limits::DISCOVERY_QUEUE);
        let (known, sources) = {
            let mut state = self.shared.lock();
            if state.stopped {
                return receiver;
            }
            state.searches.retain(|(_, manual)| !manual.is_closed());
            state.searches.push((key.clone(), manual));
            (state.table.lookup(key), state.sources.clone())
        };
        let streams = sources.iter().map(|source| received(source.search(key.clone())));
        let search = Search::new(Arc::clone(&self.shared), key.clone(), sender, manual_receiver);
        self.shared.tasks.spawn(search.run(known, streams.collect()));
        receiver
    }

    /// Searches until `max` peers are known, the sources are exhausted or `timeout` has passed; best first.
    /// Cancel safe.
    pub async fn find(&self, key: &ContentKey, max: usize, timeout: Duration) -> Vec<Candidate> {
        let mut found: BTreeMap<String, Candidate> = BTreeMap::new();
        let mut deadline = pin!(tokio::time::sleep(timeout));
        let mut search = self.search(key);
        while found.len() < max {
            tokio::select! {
                candidate = search.recv() => match candidate {
                    Some(candidate) => drop(found.insert(candidate.label().to_owned(), candidate)),
                    None => break,
                },
                () = &mut deadline => break,
            }
        }
        // The table knows the order; what it had to forget meanwhile goes to the end.
        let mut ranked = self.shared.lock().table.lookup(key);
        found.retain(|label, _| !ranked.iter().any(|candidate| candidate.label() == label));
        ranked.extend(found.into_values());
        ranked.truncate(max);
        ranked
    }

    /// Searches for the key in the background until it is no longer watched: finds become events and are known when
    /// somebody asks. Beyond the node's number of keys, the key of lowest priority that was watched longest gives way;
    /// false when that is this one.
    pub fn watch(&self, key: &ContentKey, priority: Priority) -> bool {
        let end = self.shared.token.child_token();
        {
            let mut state = self.shared.lock();
            if state.stopped {
                return false;
            }
            if let Some(watched) = state.watched.get_mut(key) {
                watched.priority = priority;
                return true;
            }
            if state.watched.len() >= self.shared.config.bounds.keys.min(limits::MAX_WATCHED_KEYS) {
                let rank = |watched: &Watched| (watched.priority, watched.since);
                let least = state.watched.iter().min_by_key(|(_, watched)| rank(watched));
                match least.map(|(key, watched)| (key.clone(), watched.priority)) {
                    Some((least, its)) if its <= priority => state.unwatch(&least),
                    _ => return false,
                };
            }
            state.watched.insert(key.clone(), Watched { priority, since: Instant::now(), end: end.clone() });
        }
        let mut search = self.search(key);
        self.shared.tasks.spawn(async move {
            // The search itself remembers and reports.
            let reading = async { while search.recv().await.is_some() {} };
            end.run_until_cancelled(reading).await;
        });
        true
    }

    /// Ends a search in the background. Whether there was one.
    pub fn unwatch(&self, key: &ContentKey) -> bool {
        self.shared.lock().unwatch(key)
    }

    /// Makes this node findable under the key at the sources that the priority reaches; a later call may change the
    /// priority. A source that fails is reported as a warning event.
    pub async fn announce(&self, key: &ContentKey, priority: Priority) {
        let sources = {
            let mut state = self.shared.lock();
            if state.stopped {
                return;
            }
            if state.announced.len() >= limits::MAX_SHARED_FILES && !state.announced.contains_key(key) {
                drop(state);
                let problem = format!("announce {key}: more than {} keys", limits::MAX_SHARED_FILES);
                return self.shared.report(Err(Error::new(ErrorKind::LimitReached, problem)));
            }
            state.announced.insert(key.clone(), priority);
            state.sources.clone()
        };
        let telling = sources.iter().map(|source| {
            let key = key.clone();
            if source.kind().hears(priority) { source.announce(key) } else { source.withdraw(key) }
        });
        for result in join_all(telling).await {
            self.shared.report(result);
        }
    }

    /// Whether a key is announced.
    pub fn announces(&self, key: &ContentKey) -> bool {
        self.shared.lock().announced.contains_key(key)
    }

    /// What this node signs of an announced key has changed: it is told anew where it is kept.
    pub async fn renew(&self, key: &ContentKey) {
        let (priority, sources) = {
            let state = self.shared.lock();
            (state.announced.get(key).copied(), state.sources.clone())
        };
        let Some(priority) = priority else { return };
        let hearing = sources.iter().filter(|source| source.kind().hears(priority));
        for result in join_all(hearing.map(|source| source.renew(key.clone()))).await {
            self.shared.report(result);
        }
    }

    /// Takes an announcement back everywhere.
    pub async fn withdraw(&self, key: &ContentKey) {
        let sources = {
            let mut state = self.shared.lock();
            state.announced.remove(key);
            state.sources.clone()
        };
        for result in join_all(sources.iter().map(|source| source.withdraw(key.clone()))).await {
            self.shared.report(result);
        }
    }

    /// Remembers a peer named by the user, as having `key` or (without one) as a possible source of everything.
    /// Running searches receive it.
    #[expect(clippy::needless_pass_by_value, reason = "the table and every running search keep a copy")]
    pub fn add_manual(&self, candidate: Candidate, key: Option<&ContentKey>) {
        let now = self.shared.now();
        let mut state = self.shared.lock();
        if candidate.id.is_some() && candidate.id == self.shared.config.own_id {
            return;
        }
        let new = state.table.insert(now, &candidate, key);
        state.searches.retain(|(searched, search)| {
            // A full queue loses nothing that matters: the table has it, and the next search starts from there.
            let wanted = key.is_none_or(|key| key == searched);
            !wanted || !matches!(search.try_send(candidate.clone()), Err(mpsc::error::TrySendError::Closed(_)))
        });
        drop(state);
        if let Some(key) = key.filter(|_| new) {
            self.shared.discovered(&candidate, key);
        }
    }

    /// Takes up what somebody told of a key outside of any search. Everything known of the peers it names, without what
    /// its source may not name.
    pub fn hear(&self, key: &ContentKey, candidate: &Candidate) -> Vec<Candidate> {
        self.shared.merge(key, candidate, false)
    }

    /// A connection worked. `address` is the one that did, if known.
    pub fn record_success(&self, peer: &PeerId, address: Option<&str>) {
        let now = self.shared.now();
        self.shared.lock().table.record_success(now, peer, address);
    }

    /// A connection failed; without an address, on all of them.
    pub fn record_failure(&self, peer: &PeerId, address: Option<&str>) {
        let now = self.shared.now();
        self.shared.lock().table.record_failure(now, peer, address);
    }

    /// An address of a peer without a known id could not be reached.
    pub fn record_unreachable(&self, address: &str) {
        let now = self.shared.now();
        self.shared.lock().table.record_unreachable(now, address);
    }

    /// Everything known of one peer.
    pub fn known_peer(&self, peer: &PeerId) -> Option<Candidate> {
        self.shared.lock().table.peer(peer)
    }

    /// The peers known for a key, best first; nobody is asked.
    pub fn known_for(&self, key: &ContentKey) -> Vec<Candidate> {
        self.shared.lock().table.lookup(key)
    }

    /// The sources of a kind.
    pub fn sources_of(&self, kind: SourceKind) -> Vec<Arc<dyn Source>> {
        self.shared.lock().sources.iter().filter(|source| source.kind() == kind).cloned().collect()
    }

    /// Every known peer, best first.
    pub fn known_peers(&self) -> Vec<Candidate> {
        self.shared.lock().table.peers()
    }

    /// Stops every source and search; nothing runs when it returns. Idempotent.
    pub async fn stop(&self) {
        let sources = {
            let mut state = self.shared.lock();
            state.stopped = true;
            state.searches.clear();
            state.sources.clone()
        };
        self.shared.token.cancel();
        self.shared.tasks.close();
        join_all(sources.iter().map(|source| source.stop())).await;
        self.shared.tasks.wait().await;
        let shared = Arc::clone(&self.shared);
        if self.shared.config.file.is_some()
            && let Ok(written) = tokio::task::spawn_blocking(move || keeping::write(&shared)).await
        {
            self.shared.report(written);
        }
        // Only now, so that a cancelled call can be repeated.
        self.shared.lock().sources.clear();
    }
}

impl State {
    fn unwatch(&mut self, key: &ContentKey) -> bool {
        let watched = self.watched.remove(key);
        watched.inspect(|watched| watched.end.cancel()).is_some()
    }
}

impl Shared {
    /// A candidate with those of its addresses that this source may name; `None` when that leaves nothing.
    fn admit(&self, candidate: &Candidate) -> Option<Candidate> {
        let mut admitted = candidate.clone();
        let local_only = self.config.local_only;
        admitted.addresses.retain(|address| trust::may_name(candidate.source, address, local_only));
        (admitted.id.is_some() || !admitted.addresses.is_empty()).then_some(admitted)
    }

    /// Remembers a find; everything known of the peers it names.
    pub(super) fn merge(&self, key: &ContentKey, candidate: &Candidate, manual: bool) -> Vec<Candidate> {
        if candidate.id.is_some() && candidate.id == self.config.own_id {
            return Vec::new();
        }
        let Some(candidate) = self.admit(candidate) else { return Vec::new() };
        let now = self.now();
        let mut state = self.lock();
        // Manual peers are in the table already, under the key they were given for.
        let new = !manual && state.table.insert(now, &candidate, Some(key));
        let mut merged = state.table.merged(&candidate);
        drop(state);
        if new {
            self.discovered(&candidate, key);
        }
        if merged.is_empty() {
            merged.push(candidate);
        }
        merged
    }

    pub(super) fn now(&self) -> Time {
        // Begins late enough that peers of earlier runs have been heard of after the beginning of time.
        Time::ZERO + limits::KNOWN_PEER_AGE + self.started.elapsed()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing under the lock can be left half done in a way that matters more than going on.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn event(&self, event: Event) {
        if let Some(sink) = &self.config.on_event {
            sink(event);
        }
    }

    pub(super) fn report(&self, result: crate::Result<()>) {
        if let Err(error) = result {
            tracing::warn!(error = %error.full_message(), "discovery");
            self.event(Event::Warning { error: ErrorRecord::from(&error) });
        }
    }

    fn discovered(&self, candidate: &Candidate, key: &ContentKey) {
        let best = candidate.addresses.iter().find_map(|address| host_and_port(address));
        let (address, port) = best.unwrap_or_default();
        self.event(Event::PeerDiscovered {
            id: candidate.label().to_owned(),
            address,
            port,
            source: candidate.source.name().to_owned(),
            confidence: candidate.confidence,
            key: key.to_string(),
        });
    }
}
