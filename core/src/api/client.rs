//! A file client: finds peers and downloads files.

use std::sync::Arc;

use serde_json::Value;

use super::discovering::PeerDiscoveryManager;
use super::events::EventStream;
use super::node::{Node, Role};
use super::records::{DiscoveredPeer, DownloadResult, ProgressFn, RemoteFile};
use super::task::Task;
use crate::base::error::Result;
use crate::base::ids::{ContentKey, FileHash, PeerId};
use crate::base::options::{self, ClientOptions, DownloadOptions, FindOptions, HostOptions, NodeOptions, Unknown};
use crate::gun::GunBackend;
use crate::nat::profile::NatProfile;

/// Downloads files. Nothing is opened before [`start`](Self::start). Clones are the same client.
#[derive(Clone)]
pub struct FileClient {
    node: Node,
}

impl FileClient {
    /// A client that is not started yet.
    pub fn new(node: NodeOptions, client: ClientOptions) -> Result<Self> {
        Ok(Self { node: Node::new(Role::Client, node, HostOptions::default(), client)? })
    }

    /// The same from one JSON object with the options of both sets.
    pub fn from_json(value: &Value, unknown: Unknown) -> Result<Self> {
        let (node, client) = options::pair_from_json(value, unknown)?;
        Self::new(node, client)
    }

    /// Opens the port and starts discovery. A second call does nothing; downloads start the client by themselves.
    pub async fn start(&self) -> Result<()> {
        self.node.start().await
    }

    /// Cancels downloads (they can be resumed), closes all connections, frees the port. A second call does nothing.
    pub async fn stop(&self) -> Result<()> {
        self.node.stop().await
    }

    /// All of discovery on this client's port and with its identity. Starting and stopping it is starting and stopping the
    /// client.
    pub fn discovery(&self) -> PeerDiscoveryManager {
        PeerDiscoveryManager::of(self.node.clone())
    }

    /// The bound port, 0 before the start.
    pub fn port(&self) -> u16 {
        self.node.port()
    }

    /// This client's id: a random UUID.
    pub fn client_id(&self) -> String {
        self.node.id()
    }

    /// The identity on the network, `None` before the start.
    pub fn peer_id(&self) -> Option<PeerId> {
        self.node.peer_id()
    }

    /// Looks for peers that have a content until `options` are satisfied. Finding nobody is an empty list.
    pub async fn find_peers(&self, key: ContentKey, options: FindOptions) -> Result<Vec<DiscoveredPeer>> {
        self.node.find_peers(key, options).await
    }

    /// Downloads a file: finds peers unless some are given, proves every piece, resumes what an earlier run left.
    ///
    /// The task's result is the finished file. Cancelling or dropping the task leaves a part file that a later call
    /// for the same target continues.
    pub fn download(
        &self,
        key: ContentKey,
        options: DownloadOptions,
        on_progress: Option<ProgressFn>,
    ) -> Task<DownloadResult> {
        self.node.download(key, options, on_progress)
    }

    /// Asks peers for size and name of a file without downloading it.
    pub fn file_info(&self, key: ContentKey, options: DownloadOptions) -> Task<RemoteFile> {
        self.node.file_info(key, options)
    }

    /// Remembers a peer (`host:port`, multiaddr or peer id) for all searches, or for those for `key`.
    pub fn add_peer(&self, peer: &str, key: Option<ContentKey>) -> Result<()> {
        self.node.add_peer(peer, key)
    }

    /// Switches the search for further peers during downloads, running ones included.
    pub fn set_continuous_discovery(&self, enabled: bool) {
        self.node.set_continuous_discovery(enabled);
    }

    /// Gives a hash a readable id.
    pub fn add_content_mapping(&self, content_id: &str, hash: FileHash) -> Result<()> {
        self.node.add_content_mapping(content_id, hash)
    }

    /// The hash behind a readable id, as far as known here.
    pub fn hash_for_content(&self, content_id: &str) -> Option<FileHash> {
        self.node.hash_for_content(content_id)
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

    /// Subscribes to events.
    pub fn subscribe(&self) -> EventStream {
        self.node.subscribe()
    }
}
