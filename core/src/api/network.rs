//! A network manager: hosting, downloading and message connections in one object.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Value;

use super::connect::Traversal;
use super::connection::Connection;
use super::diagnose::Diagnosis;
use super::events::EventStream;
use super::node::{Node, Role};
use super::records::{DiscoveredPeer, DownloadResult, FileInfo, ProgressFn};
use super::task::Task;
use crate::base::error::Result;
use crate::base::ids::{ContentKey, FileHash, PeerId};
use crate::base::options::{
    self, AddFileOptions, ClientOptions, ConnectOptions, DownloadOptions, FindOptions, HostOptions, NodeOptions,
    Unknown,
};
use crate::gun::GunBackend;
use crate::nat::profile::NatProfile;

/// Everything a node can do. Nothing is opened before [`start`](Self::start). Clones are the same manager.
#[derive(Clone)]
pub struct NetworkManager {
    node: Node,
}

impl NetworkManager {
    /// A manager that is not started yet.
    pub fn new(node: NodeOptions, client: ClientOptions) -> Result<Self> {
        Ok(Self { node: Node::new(Role::Manager, node, HostOptions::default(), client)? })
    }

    /// The same from one JSON object with the options of both sets.
    pub fn from_json(value: &Value, unknown: Unknown) -> Result<Self> {
        let (node, client) = options::pair_from_json(value, unknown)?;
        Self::new(node, client)
    }

    /// Opens the port and starts discovery. A second call does nothing.
    pub async fn start(&self) -> Result<()> {
        self.node.start().await
    }

    /// Cancels everything, closes all connections, frees the port. A second call does nothing.
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

    /// Connects to `host:port`, a multiaddr or a peer id and opens a message connection.
    pub async fn connect(&self, target: &str) -> Result<Connection> {
        self.node.connect(target).await
    }

    /// Connects to a peer by whatever way works: directly, by a port that a router holds open, by punching through the
    /// NATs, or over a relay; says how, and goes on looking for a better way. `peer` is a peer id, or a multiaddr that
    /// ends in one; a plain `host:port` is only dialled. What is known of the peer is used besides
    /// [`addresses`](ConnectOptions::addresses).
    ///
    /// Errors: `PeerUnreachable` and `Timeout` whose message has every way tried with its time and reason, and what
    /// would help; `InvalidArgument` for a bad id, address or method. Cancel safe.
    pub async fn connect_to_peer(&self, peer: &str, options: ConnectOptions) -> Result<(Connection, Traversal)> {
        self.node.connect_to_peer(peer, options).await
    }

    /// Examines the NAT, the router and IPv6 as [`diagnose`](super::diagnose()) does, with this node's servers, and tries to
    /// reach a peer if one is given: every way with its time and reason. Takes at most the longer of 5 s and the time
    /// for the peer. That a peer is not reached is a result.
    ///
    /// Errors: `InvalidArgument` for a bad peer or method. Cancel safe.
    pub async fn diagnose(&self, peer: Option<&str>, options: ConnectOptions) -> Result<Diagnosis> {
        self.node.diagnose(peer, options).await
    }

    /// The next message connection opened by another node, `None` after [`stop`](Self::stop). Cancel safe.
    pub async fn accept(&self) -> Option<Connection> {
        self.node.accept().await
    }

    /// See [`FileClient::find_peers`](super::FileClient::find_peers).
    pub async fn find_peers(&self, key: ContentKey, options: FindOptions) -> Result<Vec<DiscoveredPeer>> {
        self.node.find_peers(key, options).await
    }

    /// See [`FileClient::download`](super::FileClient::download).
    pub fn download(
        &self,
        key: ContentKey,
        options: DownloadOptions,
        on_progress: Option<ProgressFn>,
    ) -> Task<DownloadResult> {
        self.node.download(key, options, on_progress)
    }

    /// See [`FileHost::add_file`](super::FileHost::add_file).
    pub fn share_file(&self, path: impl Into<PathBuf>, options: AddFileOptions) -> Task<FileInfo> {
        self.node.add_file(path.into(), options)
    }

    /// See [`FileClient::add_peer`](super::FileClient::add_peer).
    pub fn add_peer(&self, peer: &str, key: Option<ContentKey>) -> Result<()> {
        self.node.add_peer(peer, key)
    }

    /// Switches the search for further peers during downloads, running ones included.
    pub fn set_continuous_discovery(&self, enabled: bool) {
        self.node.set_continuous_discovery(enabled);
    }

    /// How a connected peer is reached (`tcp`, `udp`), `None` without a connection.
    pub fn connection_type(&self, peer: &str) -> Option<&'static str> {
        self.node.connection_type(peer)
    }

    /// Gives a hash a readable id.
    pub fn add_content_mapping(&self, content_id: &str, hash: FileHash) -> Result<()> {
        self.node.add_content_mapping(content_id, hash)
    }

    /// The hash behind a readable id.
    pub fn hash_for_content(&self, content_id: &str) -> Option<FileHash> {
        self.node.hash_for_content(content_id)
    }

    /// The readable id of a hash.
    pub fn content_for_hash(&self, hash: &FileHash) -> Option<String> {
        self.node.content_for_hash(hash)
    }

    /// What stands between this node and the internet, as found out with the STUN servers of its options; `None` before
    /// the event `nat:detected`.
    pub fn nat_profile(&self) -> Option<NatProfile> {
        self.node.nat_profile()
    }

    /// See [`FileHost::set_gun_backend`](super::FileHost::set_gun_backend).
    pub fn set_gun_backend(&self, graph: Option<Arc<dyn GunBackend>>) {
        self.node.set_gun_backend(graph);
    }

    /// Remembers what worked in this table, and goes by it, from the next start on. A node that keeps its own files keeps
    /// its own table too.
    pub fn set_connection_registry(&self, registry: Option<&super::ConnectionRegistry>) {
        self.node.set_connection_registry(registry.map(super::ConnectionRegistry::table));
    }

    /// Subscribes to events.
    pub fn subscribe(&self) -> EventStream {
        self.node.subscribe()
    }
}
