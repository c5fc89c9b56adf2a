//! What one download is told, what it shares with the others of its node, and what comes of it. Only records.
//! Not here: how it is done ([`downloading`](super::downloading)).

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::library::Library;
use super::limiter::Limiter;
use super::reaching::Reacher;
use super::serving::Server;
use super::workers::Workers;
use crate::base::events::Progress;
use crate::base::ids::ContentKey;
use crate::content::description::Description;
use crate::discovery::manager::{EventSink, PeerDiscovery};
use crate::discovery::pex::driver::PeerExchange;
use crate::fabric::Fabric;
use crate::fabric::ladder::Connector;
use crate::net::clock::Clock;

/// Called with the state of a download: first and last state always, at most 20 times a second in between, in order,
/// the last one before the download's result is delivered. Must not block.
pub type ProgressFn = Arc<dyn Fn(&Progress) + Send + Sync>;

/// What all downloads of a node share.
#[derive(Clone)]
pub struct Engine {
    /// Links to peers.
    pub fabric: Fabric,
    /// Ways to peers.
    pub connector: Connector,
    /// Finds peers.
    pub discovery: PeerDiscovery,
    /// Peers tell each other of peers.
    pub exchange: PeerExchange,
    /// Where running downloads are offered to others.
    pub library: Arc<Library>,
    /// Learns who contributed; `None` on a light node, which serves nobody.
    pub server: Option<Arc<Server>>,
    /// Download limit of the node and its peers.
    pub limiter: Arc<Limiter>,
    /// Threads for hashing and disk.
    pub workers: Workers,
    /// The clock of the machines.
    pub clock: Clock,
    /// Where events go.
    pub events: EventSink,
    /// Whether running downloads keep searching; switchable.
    pub continuous: watch::Receiver<bool>,
}

impl Engine {
    /// What reaches candidates.
    pub fn reacher(&self) -> Reacher {
        Reacher { fabric: self.fabric.clone(), connector: self.connector.clone() }
    }
}

/// What is wanted.
pub struct Order {
    /// Hash or content id.
    pub key: ContentKey,
    /// Peers named by the user: addresses or ids.
    pub peers: Vec<String>,
    /// Target file, if its name is decided.
    pub save_path: Option<PathBuf>,
    /// Target directory otherwise.
    pub output_dir: PathBuf,
    /// Sources used at once.
    pub max_peers: usize,
    /// Give up after so long without any source that has the content.
    pub timeout: Duration,
    /// Time for one peer to be reached.
    pub dial_timeout: Duration,
    /// Search for peers at all.
    pub discover: bool,
    /// Bytes per second, 0 for no limit.
    pub download_limit: u64,
    /// Offer finished pieces to others.
    pub share: bool,
    /// Replace an existing file.
    pub overwrite: bool,
    /// Who wants to know how far it is.
    pub on_progress: Option<ProgressFn>,
}

/// A finished download.
pub struct Outcome {
    /// Where the file is.
    pub path: PathBuf,
    /// Its proven description.
    pub description: Description,
    /// Bytes that were there before.
    pub resumed_bytes: u64,
    /// How long it took.
    pub elapsed: Duration,
    /// Every peer that took part.
    pub peers: HashMap<String, Record>,
}

/// One peer's part.
#[derive(Clone, Debug)]
pub struct Record {
    /// Payload bytes.
    pub bytes: u64,
    /// `tcp` or `udp`.
    pub connection_type: &'static str,
    /// When it joined.
    pub(super) since: Instant,
    /// How long it took part.
    pub active_for: Duration,
    /// It was there at the end.
    pub active: bool,
}
