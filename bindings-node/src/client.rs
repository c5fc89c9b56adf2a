//! The class behind `FileClient`.

use dig_nat_core::api::{FileClient, NatReport};
use dig_nat_core::base::ids::{ContentKey, FileHash, PeerId};
use dig_nat_core::base::options::Unknown;
use napi_derive::napi;

use crate::callback::{self, EventFunction, ProgressFunction};
use crate::discovery::NativeDiscovery;
use crate::gun::NativeGun;
use crate::task::NativeTask;
use crate::{error, json};

/// A file client.
#[napi]
pub struct NativeClient {
    inner: FileClient,
}

#[napi]
impl NativeClient {
    /// From one JSON object with node and client options.
    #[napi(constructor, async_runtime)]
    pub fn new(options: String) -> napi::Result<Self> {
        let inner = FileClient::from_json(&json::value(&options)?, Unknown::Original).map_err(error::to_js)?;
        Ok(Self { inner })
    }

    /// See `FileClient::start`.
    #[napi]
    pub async fn start(&self) -> napi::Result<()> {
        self.inner.start().await.map_err(error::to_js)
    }

    /// See `FileClient::stop`.
    #[napi]
    pub async fn stop(&self) -> napi::Result<()> {
        self.inner.stop().await.map_err(error::to_js)
    }

    /// The bound port, 0 before the start.
    #[napi(getter)]
    pub fn port(&self) -> u16 {
        self.inner.port()
    }

    /// All of discovery on its port.
    #[napi]
    pub fn discovery(&self) -> NativeDiscovery {
        NativeDiscovery::of(self.inner.discovery())
    }

    /// A random UUID.
    #[napi(getter)]
    pub fn id(&self) -> String {
        self.inner.client_id()
    }

    /// The identity on the network.
    #[napi(getter)]
    pub fn peer_id(&self) -> Option<String> {
        self.inner.peer_id().as_ref().map(PeerId::to_string)
    }

    /// Searches for peers; a list of `DiscoveredPeer`.
    #[napi]
    pub async fn find_peers(&self, key: String, options: String) -> napi::Result<String> {
        let key: ContentKey = key.parse().map_err(error::to_js)?;
        let peers = self.inner.find_peers(key, json::options(&options)?).await.map_err(error::to_js)?;
        json::text(&peers)
    }

    /// Downloads a file; the result is a `DownloadResult`.
    #[napi(async_runtime)]
    pub fn download(
        &self,
        key: String,
        options: String,
        on_progress: Option<ProgressFunction>,
    ) -> napi::Result<NativeTask> {
        let key: ContentKey = key.parse().map_err(error::to_js)?;
        let task = self.inner.download(key, json::options(&options)?, callback::progress(on_progress));
        Ok(NativeTask::new(task))
    }

    /// Asks for size and name; the result is a `RemoteFile`.
    #[napi(async_runtime)]
    pub fn file_info(&self, key: String, options: String) -> napi::Result<NativeTask> {
        let key: ContentKey = key.parse().map_err(error::to_js)?;
        Ok(NativeTask::new(self.inner.file_info(key, json::options(&options)?)))
    }

    /// Remembers a peer, for one content or for all.
    #[napi(async_runtime)]
    pub fn add_peer(&self, peer: String, key: Option<String>) -> napi::Result<()> {
        let key = key.map(|key| key.parse()).transpose().map_err(error::to_js)?;
        self.inner.add_peer(&peer, key).map_err(error::to_js)
    }

    /// Switches the search for further peers during downloads.
    #[napi(async_runtime)]
    pub fn set_continuous_discovery(&self, enabled: bool) {
        self.inner.set_continuous_discovery(enabled);
    }

    /// Gives a hash a readable id.
    #[napi(async_runtime)]
    pub fn add_content_mapping(&self, content_id: String, hash: String) -> napi::Result<()> {
        let hash = hash.parse().map_err(error::to_js)?;
        self.inner.add_content_mapping(&content_id, hash).map_err(error::to_js)
    }

    /// The hash behind a readable id.
    #[napi]
    pub fn hash_for_content(&self, content_id: String) -> Option<String> {
        self.inner.hash_for_content(&content_id).as_ref().map(FileHash::to_string)
    }

    /// What is known of the NAT, a `NatReport`.
    #[napi]
    pub fn nat_profile(&self) -> napi::Result<Option<String>> {
        self.inner.nat_profile().map(|profile| json::text(&NatReport::from(profile))).transpose()
    }

    /// Uses the program's Gun database from the next start on.
    #[napi]
    pub fn use_gun(&self, gun: &NativeGun) {
        self.inner.set_gun_backend(Some(gun.backend()));
    }

    /// Hands every event from now on to a function.
    #[napi(async_runtime)]
    pub fn subscribe(&self, function: EventFunction) {
        callback::pump_events(self.inner.subscribe(), function);
    }
}
