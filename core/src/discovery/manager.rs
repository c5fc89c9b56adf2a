//! The driver that joins all sources: one search asks every source, merges and remembers what they find.
//! Not here: how a source finds peers, or what is done with them.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::future::join_all;
use futures::stream::{self, SelectAll, StreamExt};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::candidate::host_and_port;
use super::local::{LocalConfig, LocalDiscovery};
use super::source::{Candidate, Source};
use super::table::PeerTable;
use crate::base::error::Error;
use crate::base::events::{ErrorRecord, Event};
use crate::base::ids::{ContentKey, PeerId};
use crate::base::limits;
use crate::base::time::Time;

/// Receives [`Event::PeerDiscovered`] and [`Event::Warning`]; called from tasks, must not block.
pub type EventSink = Arc<dyn Fn(Event) + Send + Sync>;

/// Limits and wiring of a [`PeerDiscovery`].
#[derive(Clone)]
pub struct DiscoveryConfig {
    /// This node's id: it is never returned as a candidate.
    pub own_id: Option<PeerId>,
    /// Peers remembered in all.
    pub max_peers: usize,
    /// Peers remembered per content key.
    pub max_peers_per_key: usize,
    /// Where events go; none: nowhere.
    pub on_event: Option<EventSink>,
}

impl Default for DiscoveryConfig {
    fn default() -> Self {
        Self {
            own_id: None,
            max_peers: limits::MAX_KNOWN_PEERS,
            max_peers_per_key: limits::MAX_PEERS_PER_KEY,
            on_event: None,
        }
    }
}

/// All sources of a node behind one handle. Clones share everything.
#[derive(Clone)]
pub struct PeerDiscovery {
    shared: Arc<Shared>,
}

struct Shared {
    config: DiscoveryConfig,
    state: Mutex<State>,
    started: Instant,
    token: CancellationToken,
    tasks: TaskTracker,
}

struct State {
    table: PeerTable,
    sources: Vec<Arc<dyn Source>>,
    announced: BTreeSet<ContentKey>,
    /// Running searches: where manual peers are handed in.
    searches: Vec<(ContentKey, mpsc::Sender<Candidate>)>,
    stopped: bool,
}

impl PeerDiscovery {
    /// Without sources: only manual peers are found until some are registered.
    pub fn new(config: DiscoveryConfig) -> Self {
        let state = State {
            table: PeerTable::new(config.max_peers, config.max_peers_per_key),
            sources: Vec::new(),
            announced: BTreeSet::new(),
            searches: Vec::new(),
            stopped: false,
        };
        let (token, tasks) = (CancellationToken::new(), TaskTracker::new());
        let shared = Shared { config, state: Mutex::new(state), started: Instant::now(), token, tasks };
        Self { shared: Arc::new(shared) }
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
        for key in announced {
            self.shared.report(source.announce(key.clone()).await);
            // Withdrawn meanwhile, when the source did not have it yet.
            if !self.shared.lock().announced.contains(&key) {
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
        let search = Search {
            shared: self.shared.clone(),
            key: key.clone(),
            out: sender,
            seen: BTreeMap::new(),
            manual: manual_receiver,
        };
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

    /// Makes this node findable under the key at every source. A source that fails is reported as a warning event.
    pub async fn announce(&self, key: &ContentKey) {
        let sources = {
            let mut state = self.shared.lock();
            if state.stopped {
                return;
            }
            if state.announced.len() >= limits::MAX_SHARED_FILES && !state.announced.contains(key) {
                drop(state);
                let problem = format!("announce {key}: more than {} keys", limits::MAX_SHARED_FILES);
                return self.shared.report(Err(Error::new(crate::ErrorKind::LimitReached, problem)));
            }
            state.announced.insert(key.clone());
            state.sources.clone()
        };
        for result in join_all(sources.iter().map(|source| source.announce(key.clone()))).await {
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
        // Only now, so that a cancelled call can be repeated.
        self.shared.lock().sources.clear();
    }
}

impl Shared {
    fn now(&self) -> Time {
        Time::ZERO + self.started.elapsed()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing under the lock can be left half done in a way that matters more than going on.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn event(&self, event: Event) {
        if let Some(sink) = &self.config.on_event {
            sink(event);
        }
    }

    fn report(&self, result: crate::Result<()>) {
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

/// One running search.
struct Search {
    shared: Arc<Shared>,
    key: ContentKey,
    out: mpsc::Sender<Candidate>,
    /// Addresses handed on per peer, to tell news from repetition.
    seen: BTreeMap<String, BTreeSet<String>>,
    manual: mpsc::Receiver<Candidate>,
}

impl Search {
    async fn run(mut self, known: Vec<Candidate>, mut found: SelectAll<stream::BoxStream<'static, Candidate>>) {
        let token = self.shared.token.clone();
        let out = self.out.clone();
        let work = async {
            for candidate in known {
                self.hand_on(candidate).await;
            }
            loop {
                let (candidate, manual) = tokio::select! {
                    candidate = found.next() => match candidate {
                        Some(candidate) => (candidate, false),
                        None => break,
                    },
                    Some(candidate) = self.manual.recv() => (candidate, true),
                };
                for candidate in self.merge(&candidate, manual) {
                    self.hand_on(candidate).await;
                }
            }
        };
        // Dropping `work` drops the sources' receivers, which ends their searches.
        tokio::select! {
            () = work => {}
            () = out.closed() => {}
            () = token.cancelled() => {}
        }
    }

    /// Remembers a find; returns everything known of the peers it names.
    fn merge(&self, candidate: &Candidate, manual: bool) -> Vec<Candidate> {
        if candidate.id.is_some() && candidate.id == self.shared.config.own_id {
            return Vec::new();
        }
        let now = self.shared.now();
        let mut state = self.shared.lock();
        // Manual peers are in the table already, under the key they were given for.
        let new = !manual && state.table.insert(now, candidate, Some(&self.key));
        let mut merged = state.table.merged(candidate);
        drop(state);
        if new {
            self.shared.discovered(candidate, &self.key);
        }
        if merged.is_empty() {
            merged.push(candidate.clone());
        }
        merged
    }

    async fn hand_on(&mut self, candidate: Candidate) {
        if self.seen.len() >= limits::MAX_CANDIDATES_PER_DOWNLOAD && !self.seen.contains_key(candidate.label()) {
            // Repeating a peer is harmless; remembering without end is not.
            self.seen.clear();
        }
        let seen = self.seen.entry(candidate.label().to_owned()).or_default();
        let new = seen.is_empty() || candidate.addresses.iter().any(|address| !seen.contains(address));
        if new {
            *seen = candidate.addresses.iter().cloned().collect();
            // A closed receiver ends the search one level up.
            let _ = self.out.send(candidate).await;
        }
    }
}

fn received(receiver: mpsc::Receiver<Candidate>) -> stream::BoxStream<'static, Candidate> {
    stream::unfold(receiver, |mut receiver| async { receiver.recv().await.map(|candidate| (candidate, receiver)) })
        .boxed()
}
