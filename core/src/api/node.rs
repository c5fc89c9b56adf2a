//! The engine behind host, client and network manager: fabric, discovery, sharing and downloads of one node.

use std::path::PathBuf;

use super::connection::Connection;
use super::events::{EventBus, EventStream};
use super::records::*;
use super::task::Task;
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::ids::{ContentKey, FileHash, PeerId};
use crate::base::options::*;

#[derive(Clone)]
pub(crate) struct Node {
    events: EventBus,
}

fn later<T>() -> Result<T> {
    Err(Error::new(ErrorKind::Internal, "not built yet"))
}

#[allow(unused_variables, clippy::unused_self, clippy::unused_async, clippy::needless_pass_by_value)]
impl Node {
    pub(crate) fn new(node: NodeOptions, host: HostOptions, client: ClientOptions) -> Result<Self> {
        node.validate()?;
        host.validate()?;
        client.validate()?;
        Ok(Self { events: EventBus::new() })
    }
    pub(crate) async fn start(&self) -> Result<()> {
        later()
    }
    pub(crate) async fn stop(&self) -> Result<()> {
        later()
    }
    pub(crate) fn port(&self) -> u16 {
        0
    }
    pub(crate) fn id(&self) -> String {
        String::new()
    }
    pub(crate) fn peer_id(&self) -> Option<PeerId> {
        None
    }
    pub(crate) fn addresses(&self) -> Vec<String> {
        Vec::new()
    }
    pub(crate) fn add_file(&self, path: PathBuf, options: AddFileOptions) -> Task<FileInfo> {
        Task::spawn(async |_| later())
    }
    pub(crate) fn add_directory(&self, path: PathBuf) -> Task<Vec<FileInfo>> {
        Task::spawn(async |_| later())
    }
    pub(crate) async fn remove_file(&self, hash: FileHash) -> Result<bool> {
        later()
    }
    pub(crate) fn files(&self) -> Vec<FileInfo> {
        Vec::new()
    }
    pub(crate) fn add_content_mapping(&self, content_id: &str, hash: FileHash) -> Result<()> {
        later()
    }
    pub(crate) fn hash_for_content(&self, content_id: &str) -> Option<FileHash> {
        None
    }
    pub(crate) fn content_for_hash(&self, hash: &FileHash) -> Option<String> {
        None
    }
    pub(crate) fn set_file_callback(&self, callback: Option<FileCallback>) {}
    pub(crate) fn subscribe(&self) -> EventStream {
        self.events.subscribe()
    }
    pub(crate) async fn find_peers(&self, key: ContentKey, options: FindOptions) -> Result<Vec<DiscoveredPeer>> {
        later()
    }
    pub(crate) fn download(
        &self,
        key: ContentKey,
        options: DownloadOptions,
        on_progress: Option<ProgressFn>,
    ) -> Task<DownloadResult> {
        Task::spawn(async |_| later())
    }
    pub(crate) fn file_info(&self, key: ContentKey, options: DownloadOptions) -> Task<RemoteFile> {
        Task::spawn(async |_| later())
    }
    pub(crate) fn add_peer(&self, peer: &str, key: Option<ContentKey>) -> Result<()> {
        later()
    }
    pub(crate) fn set_continuous_discovery(&self, enabled: bool) {}
    pub(crate) async fn connect(&self, target: &str) -> Result<Connection> {
        later()
    }
    pub(crate) async fn accept(&self) -> Option<Connection> {
        None
    }
    pub(crate) fn connection_type(&self, peer: &str) -> Option<&'static str> {
        None
    }
}
