//! Discovery through Gun as users hold it: options, the source, and the mapping of content ids. Not here: its tasks
//! (`driver`).

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::{mpsc, watch};

use super::driver::Driver;
use crate::base::error::{Error, Result};
use crate::base::ids::{ContentKey, FileHash};
use crate::base::limits;
use crate::discovery::own::Own;
use crate::discovery::source::{Candidate, Source, SourceKind};
use crate::gun::{GunBackend, names};

/// How peers are announced and looked for through Gun.
#[derive(Clone, Debug)]
pub struct GunConfig {
    /// The name of this node in the graph. Default: its peer id, under which nothing unsigned is believed.
    pub node_id: Option<String>,
    /// How often announcements are written again. Of more than ten a second, each interval has a part: all are written again
    /// within half of the time for which they hold. Default 60 s.
    pub announce_interval: Duration,
    /// How long our announcements hold. Default 1 h.
    pub announce_ttl: Duration,
    /// How long an unsigned record holds that does not say so itself. Default 1 h.
    pub peer_ttl: Duration,
    /// How often what has expired is forgotten. Default 5 min.
    pub cleanup_interval: Duration,
    /// Peers remembered of one content, at most [`limits::MAX_GUN_RECORDS_PER_KEY`]. Default 100.
    pub max_cached_peers: usize,
    /// The node that everything stands under. Default none: the two below are roots.
    pub namespace: Option<String>,
    /// The node that peers stand under. Default `dig-peers`.
    pub peer_map_name: String,
    /// The node that content ids stand under. Default `dig-content-maps`.
    pub content_map_name: String,
    /// Keep what is known in `gun-discovery.json` in this directory. Default: in memory only.
    pub persistence_dir: Option<PathBuf>,
    /// Added to this machine's clock, in milliseconds, where that is known to be wrong. Default 0.
    pub clock_offset_ms: i64,
}

impl Default for GunConfig {
    fn default() -> Self {
        Self {
            node_id: None,
            announce_interval: Duration::from_secs(60),
            announce_ttl: Duration::from_secs(3600),
            peer_ttl: Duration::from_secs(3600),
            cleanup_interval: Duration::from_secs(300),
            max_cached_peers: limits::MAX_GUN_RECORDS_PER_KEY,
            namespace: None,
            peer_map_name: "dig-peers".to_owned(),
            content_map_name: "dig-content-maps".to_owned(),
            persistence_dir: None,
            clock_offset_ms: 0,
        }
    }
}

/// The running discovery of one node. Dropping it ends its tasks in the background, without goodbyes;
/// [`stop`](Source::stop) takes announcements back first. The backend is not stopped by either: others may use it.
pub struct GunDiscovery {
    driver: Arc<Driver>,
}

impl GunDiscovery {
    /// Reads what was known and starts. Announcements wait until there is an address and a relay. Cancel safe.
    ///
    /// # Errors
    /// `InvalidArgument` for names that cannot stand in a graph, or intervals of zero; the reason why the persistence
    /// directory cannot be made or read. A damaged file in it is set aside, with a warning in the log.
    pub async fn start(config: GunConfig, own: Own, backend: Arc<dyn GunBackend>) -> Result<Self> {
        let node = config.node_id.clone().unwrap_or_else(|| own.peer().as_str().to_owned());
        for (option, name) in [
            ("gunNodeId", &node),
            ("gunPeerMapName", &config.peer_map_name),
            ("gunContentMapName", &config.content_map_name),
            ("gunNamespace", config.namespace.as_ref().unwrap_or(&node)),
        ] {
            if !names::is_allowed(name) {
                return Err(Error::invalid(option, format_args!("`{name}` cannot be a name in a Gun graph")));
            }
        }
        for (option, time) in [
            ("gunAnnounceInterval", config.announce_interval),
            ("gunAnnounceTTL", config.announce_ttl),
            ("gunCleanupInterval", config.cleanup_interval),
        ] {
            if time < Duration::from_millis(100) {
                return Err(Error::invalid(option, "is shorter than 100 ms"));
            }
        }
        Ok(Self { driver: Driver::start(config, node, own, backend).await? })
    }

    /// Says that a content id means a hash, until [`unmap_content`](Self::unmap_content) or the stop. Returns when taken
    /// over. `LimitReached` with too many.
    pub fn map_content(&self, id: &str, hash: FileHash) -> Result<()> {
        self.driver.map(id, hash)
    }

    /// Takes that back.
    pub fn unmap_content(&self, id: &str) {
        self.driver.unmap(id);
    }

    /// What a content id means, by what is known or comes within the time: what most peers vouch for. `None`: nobody says.
    pub async fn find_hash(&self, id: &str, wait: Duration) -> Result<Option<FileHash>> {
        self.driver.find_hash(id, wait).await
    }

    /// What a content id means, by what is known.
    pub fn known_hash(&self, id: &str) -> Option<FileHash> {
        self.driver.lock().book.hash_of(id)
    }

    /// A content id that means a hash, by what is known.
    pub fn known_id(&self, hash: &FileHash) -> Option<String> {
        self.driver.lock().book.id_of(hash)
    }

    /// Peers that have a content, by what is known; nobody is asked.
    pub fn known_peers(&self, key: &ContentKey) -> Vec<Candidate> {
        self.driver.known(&key.lookup_key())
    }

    /// Announcements and mappings that no relay has confirmed since they were made or a relay was connected, live.
    pub fn unconfirmed(&self) -> watch::Receiver<usize> {
        self.driver.unconfirmed.subscribe()
    }
}

impl Source for GunDiscovery {
    fn name(&self) -> &str {
        SourceKind::Gun.name()
    }

    fn kind(&self) -> SourceKind {
        SourceKind::Gun
    }

    fn announce(&self, key: ContentKey) -> BoxFuture<'_, Result<()>> {
        let taken = self.driver.announce(key.lookup_key());
        Box::pin(async { taken })
    }

    fn renew(&self, key: ContentKey) -> BoxFuture<'_, Result<()>> {
        self.driver.renew(&key.lookup_key());
        Box::pin(async { Ok(()) })
    }

    fn withdraw(&self, key: ContentKey) -> BoxFuture<'_, Result<()>> {
        self.driver.withdraw(&key.lookup_key());
        Box::pin(async { Ok(()) })
    }

    fn search(&self, key: ContentKey) -> mpsc::Receiver<Candidate> {
        let (sender, receiver) = mpsc::channel(limits::DISCOVERY_QUEUE);
        self.driver.search(key, sender);
        receiver
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.driver.stop())
    }
}

impl Drop for GunDiscovery {
    fn drop(&mut self) {
        self.driver.abandon();
    }
}
