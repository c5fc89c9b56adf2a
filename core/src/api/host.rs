//! A file host: shares files and directories with whoever asks.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Value;

use super::events::EventStream;
use super::node::{Node, Role};
use super::records::{FileCallback, FileInfo};
use super::task::Task;
use crate::base::error::Result;
use crate::base::ids::{FileHash, PeerId};
use crate::base::options::{self, AddFileOptions, ClientOptions, HostOptions, NodeOptions, Unknown, WatchOptions};
use crate::gun::GunBackend;
use crate::nat::profile::NatProfile;

/// Shares files. Nothing is opened before [`start`](Self::start). Clones are the same host.
#[derive(Clone)]
pub struct FileHost {
    pub(super) node: Node,
}

impl FileHost {
    /// A host that is not started yet.
    pub fn new(node: NodeOptions, host: HostOptions) -> Result<Self> {
        Ok(Self { node: Node::new(Role::Host, node, host, ClientOptions::default())? })
    }

    /// The same from one JSON object with the options of both sets.
    pub fn from_json(value: &Value, unknown: Unknown) -> Result<Self> {
        let (node, host) = options::pair_from_json(value, unknown)?;
        Self::new(node, host)
    }

    /// Opens the port, shares `directory` and announces everything. A second call does nothing.
    pub async fn start(&self) -> Result<()> {
        self.node.start().await
    }

    /// Withdraws announcements, closes all connections and frees the port. A second call does nothing.
    pub async fn stop(&self) -> Result<()> {
        self.node.stop().await
    }

    /// The bound port, 0 before the start.
    pub fn port(&self) -> u16 {
        self.node.port()
    }

    /// This host's id: a random UUID, kept across restarts with persistence.
    pub fn host_id(&self) -> String {
        self.node.id()
    }

    /// The identity on the network, `None` before the start.
    pub fn peer_id(&self) -> Option<PeerId> {
        self.node.peer_id()
    }

    /// Multiaddrs to reach this host, with its peer id. Empty before the start.
    pub fn addresses(&self) -> Vec<String> {
        self.node.addresses()
    }

    /// Shares one file: hashes it (cached) and announces it. Works before the start too; announcing then waits for it.
    pub fn add_file(&self, path: impl Into<PathBuf>, options: AddFileOptions) -> Task<FileInfo> {
        self.node.add_file(path.into(), options)
    }

    /// Shares every file below a directory. Files that cannot be read are left out with a `warning` event.
    pub fn add_directory(&self, path: impl Into<PathBuf>) -> Task<Vec<FileInfo>> {
        self.node.add_directory(path.into())
    }

    /// Shares every file below a directory that the options admit, and from then on follows what happens to them: new
    /// files are shared when they have come to rest, changed ones anew, moved ones under their new name without reading
    /// them again, and removed ones are withdrawn. Starts the host if it was never started, and ends with it.
    ///
    /// The result are the files that were there. Errors: `FileNotFound`, `PermissionDenied`, `InvalidArgument`,
    /// `InvalidState` for a directory that is watched already, `LimitReached` beyond
    /// [`limits::MAX_WATCHED_DIRECTORIES`](crate::base::limits::MAX_WATCHED_DIRECTORIES). Dropping the task before its end
    /// ends the watching.
    pub fn watch_directory(&self, path: impl Into<PathBuf>, options: WatchOptions) -> Task<Vec<FileInfo>> {
        self.node.watch_directory(path.into(), options)
    }

    /// Follows a directory no more; its files stay shared. `false` when it was not watched. Cancel safe.
    pub async fn unwatch_directory(&self, path: impl Into<PathBuf>) -> Result<bool> {
        self.node.unwatch_directory(path.into()).await
    }

    /// Stops sharing; `false` when the hash was not shared.
    pub async fn remove_file(&self, hash: FileHash) -> Result<bool> {
        self.node.remove_file(hash).await
    }

    /// Whether the hash is shared.
    pub fn has_file(&self, hash: &FileHash) -> bool {
        self.node.has_file(hash)
    }

    /// Everything shared, ordered by path.
    pub fn files(&self) -> Vec<FileInfo> {
        self.node.files()
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

    /// Serves content that is not a file through a callback. It is asked for keys that no shared file answers.
    pub fn set_file_callback(&self, callback: Option<FileCallback>) {
        self.node.set_file_callback(callback);
    }

    /// What stands between this node and the internet, as found out with the STUN servers of its options; `None` before
    /// the event `nat:detected`.
    pub fn nat_profile(&self) -> Option<NatProfile> {
        self.node.nat_profile()
    }

    /// The parts of the hash table that this host keeps for others as a shard host, in hex digits; empty elsewhere and
    /// before the start.
    pub fn shard_prefixes(&self) -> Vec<String> {
        self.node.shard_prefixes()
    }

    /// Finds and announces through this Gun graph instead of `gunPeers`, from the next start on; `gunEnabled` still decides
    /// whether. Unlike a client of relays that the node makes itself, it is not stopped with the node: it is the program's.
    pub fn set_gun_backend(&self, graph: Option<Arc<dyn GunBackend>>) {
        self.node.set_gun_backend(graph);
    }

    /// Subscribes to events.
    pub fn subscribe(&self) -> EventStream {
        self.node.subscribe()
    }
}
