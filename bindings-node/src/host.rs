//! The class behind `FileHost`.

use dig_nat_core::api::{FileHost, NatReport};
use dig_nat_core::base::ids::{FileHash, PeerId};
use dig_nat_core::base::options::Unknown;
use napi_derive::napi;

use crate::callback::{self, ContentFunction, EventFunction};
use crate::gun::NativeGun;
use crate::task::NativeTask;
use crate::{error, json};

/// A file host.
#[napi]
pub struct NativeHost {
    inner: FileHost,
}

#[napi]
impl NativeHost {
    /// From one JSON object with node and host options.
    #[napi(constructor, async_runtime)]
    pub fn new(options: String) -> napi::Result<Self> {
        let inner = FileHost::from_json(&json::value(&options)?, Unknown::Original).map_err(error::to_js)?;
        Ok(Self { inner })
    }

    /// See `FileHost::start`.
    #[napi]
    pub async fn start(&self) -> napi::Result<()> {
        self.inner.start().await.map_err(error::to_js)
    }

    /// See `FileHost::stop`.
    #[napi]
    pub async fn stop(&self) -> napi::Result<()> {
        self.inner.stop().await.map_err(error::to_js)
    }

    /// The bound port, 0 before the start.
    #[napi(getter)]
    pub fn port(&self) -> u16 {
        self.inner.port()
    }

    /// A random UUID.
    #[napi(getter)]
    pub fn id(&self) -> String {
        self.inner.host_id()
    }

    /// The identity on the network.
    #[napi(getter)]
    pub fn peer_id(&self) -> Option<String> {
        self.inner.peer_id().as_ref().map(PeerId::to_string)
    }

    /// Multiaddrs with the peer id.
    #[napi(getter)]
    pub fn addresses(&self) -> Vec<String> {
        self.inner.addresses()
    }

    /// Shares a file; the result is a `FileInfo`.
    #[napi(async_runtime)]
    pub fn add_file(&self, path: String, options: String) -> napi::Result<NativeTask> {
        Ok(NativeTask::new(self.inner.add_file(path, json::options(&options)?)))
    }

    /// Shares a directory; the result is a list of `FileInfo`.
    #[napi(async_runtime)]
    pub fn add_directory(&self, path: String) -> NativeTask {
        NativeTask::new(self.inner.add_directory(path))
    }

    /// Shares a directory and follows it; the result is a list of `FileInfo`.
    #[napi(async_runtime)]
    pub fn watch_directory(&self, path: String, options: String) -> napi::Result<NativeTask> {
        Ok(NativeTask::new(self.inner.watch_directory(path, json::options(&options)?)))
    }

    /// Follows a directory no more; `false` when it was not watched.
    #[napi]
    pub async fn unwatch_directory(&self, path: String) -> napi::Result<bool> {
        self.inner.unwatch_directory(path).await.map_err(error::to_js)
    }

    /// Stops sharing; `false` when the hash was not shared.
    #[napi]
    pub async fn remove_file(&self, hash: String) -> napi::Result<bool> {
        let hash: FileHash = hash.parse().map_err(error::to_js)?;
        self.inner.remove_file(hash).await.map_err(error::to_js)
    }

    /// Whether the hash is shared; anything that is no hash is not.
    #[napi]
    pub fn has_file(&self, hash: String) -> bool {
        hash.parse().is_ok_and(|hash| self.inner.has_file(&hash))
    }

    /// Everything shared, as a list of `FileInfo`.
    #[napi]
    pub fn files(&self) -> napi::Result<String> {
        json::text(&self.inner.files())
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

    /// What this host keeps for others as a shard host.
    #[napi]
    pub fn shard_prefixes(&self) -> Vec<String> {
        self.inner.shard_prefixes()
    }

    /// The readable id of a hash.
    #[napi]
    pub fn content_for_hash(&self, hash: String) -> Option<String> {
        self.inner.content_for_hash(&hash.parse().ok()?)
    }

    /// Serves content that is not a file.
    #[napi]
    pub fn set_file_callback(&self, function: ContentFunction) {
        self.inner.set_file_callback(Some(callback::content(function)));
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
