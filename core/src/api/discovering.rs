//! Finding and announcing without hosting or downloading: the manager over all ways of discovery. Not here: the ways
//! (`discovery`), and what is done with the peers found.

use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use futures::future::Either;
use serde_json::Value;

use super::events::EventStream;
use super::node::{Inner, Node, Role, lock};
use super::records::DiscoveredPeer;
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::ids::{ContentKey, FileHash, PeerId};
use crate::base::options::{
    AnnounceOptions, ClientOptions, DownloadOptions, FindOptions, FromJson, HostOptions, KnownPeersOptions,
    NodeOptions, Unknown,
};
use crate::base::priority::Priority;
use crate::discovery::candidate::SourceKind;
use crate::discovery::manager::PeerDiscovery;
use crate::gun::GunBackend;

/// The nodes of this process that were started and not dropped.
static NODES: Mutex<Vec<Weak<Inner>>> = Mutex::new(Vec::new());

/// All ways of discovery behind one object, with an identity and a port of its own. Which ways take part is decided by
/// the options `dhtEnabled`, `pexEnabled`, `localEnabled` and `gunEnabled`; a manager with only one of them is the
/// client of that one. Nothing is opened before [`start`](Self::start). Clones are the same manager.
#[derive(Clone)]
pub struct PeerDiscoveryManager {
    pub(super) node: Node,
}

impl PeerDiscoveryManager {
    /// A manager that is not started yet.
    pub fn new(options: NodeOptions) -> Result<Self> {
        let node = Node::new(Role::Discoverer, options, HostOptions::default(), ClientOptions::default())?;
        Ok(Self { node })
    }

    /// The discovery of a node that does more: starting and stopping it is starting and stopping that node.
    pub(super) fn of(node: Node) -> Self {
        Self { node }
    }

    /// [`new`](Self::new) from a JSON object of options.
    pub fn from_json(value: &Value, unknown: Unknown) -> Result<Self> {
        Self::new(NodeOptions::from_json(value, unknown)?)
    }

    /// Opens the port and starts all ways. A second call does nothing.
    pub async fn start(&self) -> Result<()> {
        self.node.start().await
    }

    /// Withdraws everything as far as the networks know that, and frees the port. A second call does nothing.
    pub async fn stop(&self) -> Result<()> {
        self.node.stop().await
    }

    /// The bound port, 0 before the start.
    pub fn port(&self) -> u16 {
        self.node.port()
    }

    /// The identity on the network, `None` before the start.
    pub fn peer_id(&self) -> Option<PeerId> {
        self.node.peer_id()
    }

    /// Multiaddrs to reach this node, with its peer id. Empty before the start.
    pub fn addresses(&self) -> Vec<String> {
        self.node.addresses()
    }

    /// Makes a host of this process findable under the key, until [`withdraw`](Self::withdraw) or the end: the one that
    /// listens on [`port`](AnnounceOptions::port), or this manager itself without a port. Announcements are renewed by
    /// themselves.
    ///
    /// Errors: `InvalidArgument` when nothing of this process listens on the port. Cancel safe.
    pub async fn announce(&self, key: ContentKey, options: AnnounceOptions) -> Result<()> {
        options.validate()?;
        self.node.announce_for(key, &options).await
    }

    /// Takes an announcement back, and those of content ids that were announced with it. Whether there was one.
    pub async fn withdraw(&self, key: &ContentKey) -> Result<bool> {
        self.node.withdraw(key).await
    }

    /// Searches for a key in the background from now on; finds are events, and known when somebody asks. A content id with a
    /// mapping made here stands for its hash. Of too many keys those of lowest priority give way; false when that is this
    /// one.
    ///
    /// Errors: `InvalidState` when it does not run, `InvalidArgument` for another priority than `low`, `medium`, `high`.
    pub fn watch(&self, key: &ContentKey, priority: &str) -> Result<bool> {
        let priority: Priority = priority.parse()?;
        Ok(self.node.discovery()?.watch(&self.node.resolved(key.clone()), priority))
    }

    /// Ends a search in the background. Whether there was one.
    pub fn unwatch(&self, key: &ContentKey) -> bool {
        // It may have been mapped after the search began.
        let keys = [key.clone(), self.node.resolved(key.clone())];
        let discovery = self.node.discovery();
        discovery.is_ok_and(|discovery| keys.iter().filter(|key| discovery.unwatch(key)).count() > 0)
    }

    /// See [`FileClient::find_peers`](super::FileClient::find_peers).
    pub async fn find_peers(&self, key: ContentKey, options: FindOptions) -> Result<Vec<DiscoveredPeer>> {
        self.node.find_peers(key, options).await
    }

    /// The peers known now, best first; nobody is asked. Empty before the start.
    ///
    /// Errors: `InvalidArgument` for an unknown source.
    pub fn peers(&self, options: &KnownPeersOptions) -> Result<Vec<DiscoveredPeer>> {
        options.validate()?;
        let Ok(discovery) = self.node.discovery() else { return Ok(Vec::new()) };
        let known = match &options.key {
            Some(key) => discovery.known_for(&self.node.resolved(key.parse()?)),
            None => discovery.known_peers(),
        };
        let source: Option<SourceKind> = options.source.as_deref().map(str::parse).transpose()?;
        let wanted = known.iter().filter(|candidate| source.is_none_or(|source| candidate.source == source));
        Ok(wanted.map(DiscoveredPeer::from).collect())
    }

    /// See [`FileClient::add_peer`](super::FileClient::add_peer).
    pub fn add_peer(&self, peer: &str, key: Option<ContentKey>) -> Result<()> {
        self.node.add_peer(peer, key)
    }

    /// Gives a hash a readable id.
    pub fn add_content_mapping(&self, content_id: &str, hash: FileHash) -> Result<()> {
        self.node.add_content_mapping(content_id, hash)
    }

    /// Takes a readable id away, and back from where it was told. Whether there was one. What others say of it stays theirs.
    pub async fn remove_content_mapping(&self, content_id: &str) -> Result<bool> {
        self.node.remove_content_mapping(content_id).await
    }

    /// The nodes of the hash table that are nearest to a place in it, nearest first, of those that answer within the time,
    /// in ms (100 to 3600000): that of a peer id, or where a hash or content id is kept. The table need not know the peer.
    ///
    /// Errors: `InvalidState` without `dhtEnabled`, `InvalidArgument` for an empty target, `LimitReached` with too many
    /// lookups. Cancel safe.
    pub async fn find_node(&self, target: &str, timeout_ms: u64) -> Result<Vec<DiscoveredPeer>> {
        self.node.find_node(target, timeout_ms).await
    }

    /// The hash behind a readable id, as far as it is known here.
    pub fn hash_for_content(&self, content_id: &str) -> Option<FileHash> {
        self.node.hash_for_content(content_id)
    }

    /// The hash behind a readable id: known here, told by Gun, or by a peer that has it, whichever is first. `None` when
    /// nobody says within the time, in ms (100 to 3600000). Cancel safe.
    pub async fn find_hash(&self, content_id: &str, timeout_ms: u64) -> Result<Option<FileHash>> {
        self.node.find_hash(content_id, timeout_ms).await
    }

    /// The parts of the hash table that this node keeps for others as a shard host, in hex digits; empty elsewhere and
    /// before the start.
    pub fn shard_prefixes(&self) -> Vec<String> {
        self.node.shard_prefixes()
    }

    /// The readable id of a hash.
    pub fn content_for_hash(&self, hash: &FileHash) -> Option<String> {
        self.node.content_for_hash(hash)
    }

    /// See [`FileHost::set_gun_backend`](super::FileHost::set_gun_backend).
    pub fn set_gun_backend(&self, graph: Option<Arc<dyn GunBackend>>) {
        self.node.set_gun_backend(graph);
    }

    /// Subscribes to events.
    pub fn subscribe(&self) -> EventStream {
        self.node.subscribe()
    }
}

impl Node {
    /// The running discovery.
    pub(super) fn discovery(&self) -> Result<PeerDiscovery> {
        let stopped = || Error::new(ErrorKind::InvalidState, "peer discovery is not running");
        self.running().map(|running| running.engine.discovery).ok_or_else(stopped)
    }

    pub(super) async fn find_hash(&self, content_id: &str, timeout_ms: u64) -> Result<Option<FileHash>> {
        let key: ContentKey = content_id.parse()?;
        if let ContentKey::Hash(hash) = key {
            return Ok(Some(hash));
        }
        if let Some(known) = self.inner.library.hash_of(content_id) {
            return Ok(Some(known));
        }
        let options = DownloadOptions { timeout_ms, discover: Some(true), ..DownloadOptions::default() };
        options.validate()?;
        let gun = self.ensure_started().await?.ways.gun;
        let time = Duration::from_millis(timeout_ms);
        let by_gun = async {
            match &gun {
                Some(gun) => gun.find_hash(content_id, time).await,
                None => Ok(None),
            }
        };
        let asked = self.file_info(key, options);
        let by_peers = async {
            match asked.wait().await {
                Ok(info) => Ok(Some(info.hash)),
                Err(error) if matches!(error.kind(), ErrorKind::NoPeers | ErrorKind::ContentNotFound) => Ok(None),
                Err(error) => Err(error),
            }
        };
        let (by_gun, by_peers) = (std::pin::pin!(by_gun), std::pin::pin!(by_peers));
        match futures::future::select(by_gun, by_peers).await {
            Either::Left((Ok(Some(hash)), _)) | Either::Right((Ok(Some(hash)), _)) => Ok(Some(hash)),
            Either::Left((_, other)) => other.await,
            Either::Right((_, other)) => other.await,
        }
    }

    async fn find_node(&self, target: &str, timeout_ms: u64) -> Result<Vec<DiscoveredPeer>> {
        let key: ContentKey = target.parse()?;
        FindOptions { timeout_ms, ..FindOptions::default() }.validate()?;
        let off =
            || Error::new(ErrorKind::InvalidState, "this node takes no part in the hash table: dhtEnabled is off");
        let dht = self.ensure_started().await?.ways.dht.ok_or_else(off)?;
        let found = dht.find_node(&key, Duration::from_millis(timeout_ms)).await?;
        Ok(found.iter().map(DiscoveredPeer::from).collect())
    }

    pub(super) fn shard_prefixes(&self) -> Vec<String> {
        let dht = self.running().and_then(|running| running.ways.dht);
        dht.map(|dht| dht.shard_prefixes().iter().map(ToString::to_string).collect()).unwrap_or_default()
    }

    /// Lets others of this process find this node by its port.
    pub(super) fn enlist(&self) {
        let mut nodes = lock(&NODES);
        nodes.retain(|node| node.strong_count() > 0 && !std::ptr::eq(node.as_ptr(), Arc::as_ptr(&self.inner)));
        nodes.push(Arc::downgrade(&self.inner));
    }

    /// The node of this process that listens on a port.
    pub(super) fn on_port(port: u16) -> Option<Self> {
        let nodes = lock(&NODES).clone();
        let mut running = nodes.iter().filter_map(Weak::upgrade).map(|inner| Self { inner });
        running.find(|node| node.port() == port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::FileHost;
    use crate::base::options::HostOptions;

    fn options() -> NodeOptions {
        NodeOptions { interfaces: vec!["lo".to_owned()], local_only: true, ..NodeOptions::default() }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_announced_is_found_until_it_is_withdrawn() {
        let (one, other) =
            (PeerDiscoveryManager::new(options()).expect("made"), PeerDiscoveryManager::new(options()).expect("made"));
        let key: ContentKey = "announced".parse().expect("a key");
        assert_eq!(other.watch(&key, "high").expect_err("not started").kind(), ErrorKind::InvalidState);
        one.announce(key.clone(), AnnounceOptions::default()).await.expect("starts by itself");
        let find = FindOptions { max_peers: 1, timeout_ms: 20_000 };
        let found = other.find_peers(key.clone(), find).await.expect("asked");
        assert_eq!(found.iter().map(|peer| &*peer.id).collect::<Vec<_>>(), [one.peer_id().expect("runs").as_str()]);
        let only = |source: &str, key: &str| {
            let options = KnownPeersOptions { source: Some(source.into()), key: Some(key.into()) };
            other.peers(&options).expect("a source").len()
        };
        assert_eq!((only("local", "announced"), only("dht", "announced"), only("local", "else")), (1, 0, 0));
        let unknown = KnownPeersOptions { source: Some("rumour".into()), key: None };
        assert_eq!(other.peers(&unknown).expect_err("no such way").kind(), ErrorKind::InvalidArgument);
        assert!(one.withdraw(&key).await.expect("withdrawn") && !one.withdraw(&key).await.expect("once"));
        one.stop().await.expect("stopped");
        other.stop().await.expect("stopped");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_host_of_this_process_is_announced_by_its_port() {
        let host = FileHost::new(options(), HostOptions::default()).expect("made");
        host.start().await.expect("started");
        let manager = PeerDiscoveryManager::new(options()).expect("made");
        let key: ContentKey = "of the host".parse().expect("a key");
        let at = |port| AnnounceOptions { port, ..AnnounceOptions::default() };
        manager.announce(key.clone(), at(host.port())).await.expect("announced");
        let seeker = PeerDiscoveryManager::new(options()).expect("made");
        assert!(seeker.find_peers(key.clone(), FindOptions { max_peers: 1, timeout_ms: 20_000 }).await.is_ok_and(
            |found| {
                found.first().is_some_and(|peer| Some(peer.id.as_str()) == host.peer_id().as_ref().map(PeerId::as_str))
            }
        ));
        let port = host.port();
        host.stop().await.expect("stopped");
        assert!(manager.withdraw(&key).await.expect("harmless"));
        let error = manager.announce(key, at(port)).await.expect_err("nobody is there");
        assert!(error.kind() == ErrorKind::InvalidArgument && error.to_string().contains(&port.to_string()), "{error}");
        for node in [manager, seeker] {
            tokio::time::timeout(Duration::from_secs(20), node.stop()).await.expect("in time").expect("stopped");
        }
    }
}
