//! The driver that joins all sources: one search asks every source, merges and remembers what they find.
//! Not here: how a source finds peers, or what is done with them.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::local::LocalConfig;
use super::source::{Candidate, Source};
use crate::base::events::Event;
use crate::base::ids::{ContentKey, PeerId};
use crate::base::limits;

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
pub struct PeerDiscovery {}

impl PeerDiscovery {
    /// Without sources: only manual peers are found until some are registered.
    pub fn new(config: DiscoveryConfig) -> Self {
        let _ = config;
        Self {}
    }

    /// Adds a source and announces to it what is announced already. Searches started earlier do not ask it.
    pub async fn register(&self, source: Arc<dyn Source>) {
        let _ = source;
    }

    /// Starts and registers local discovery. A failure becomes an [`Event::Warning`] and `false`, never an error: a
    /// node without a local network still works.
    pub async fn start_local(&self, config: LocalConfig) -> bool {
        let _ = config;
        false
    }

    /// A live stream of candidates for the key: known ones first, then what the sources find, each peer once and
    /// again when it got new addresses. Dropping the receiver ends the search. The stream ends when all sources are
    /// exhausted or at [`stop`](Self::stop). Must be called inside a tokio runtime.
    pub fn search(&self, key: &ContentKey) -> mpsc::Receiver<Candidate> {
        let _ = key;
        mpsc::channel(limits::DISCOVERY_QUEUE).1
    }

    /// Searches until `max` peers are known, the sources are exhausted or `timeout` has passed; best first.
    /// Cancel safe.
    pub async fn find(&self, key: &ContentKey, max: usize, timeout: Duration) -> Vec<Candidate> {
        let _ = (key, max, timeout);
        Vec::new()
    }

    /// Makes this node findable under the key at every source. A source that fails is reported as a warning event.
    pub async fn announce(&self, key: &ContentKey) {
        let _ = key;
    }

    /// Takes an announcement back everywhere.
    pub async fn withdraw(&self, key: &ContentKey) {
        let _ = key;
    }

    /// Remembers a peer named by the user, as having `key` or (without one) as a possible source of everything.
    /// Running searches receive it.
    pub fn add_manual(&self, candidate: Candidate, key: Option<&ContentKey>) {
        let _ = (candidate, key);
    }

    /// A connection worked. `address` is the one that did, if known.
    pub fn record_success(&self, peer: &PeerId, address: Option<&str>) {
        let _ = (peer, address);
    }

    /// A connection failed; without an address, on all of them.
    pub fn record_failure(&self, peer: &PeerId, address: Option<&str>) {
        let _ = (peer, address);
    }

    /// Every known peer, best first.
    pub fn known_peers(&self) -> Vec<Candidate> {
        Vec::new()
    }

    /// Stops every source and search; nothing runs when it returns. Idempotent.
    pub async fn stop(&self) {}
}
