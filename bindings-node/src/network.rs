//! The class behind `NetworkManager`.

use dig_nat_core::api::{NatReport, NetworkManager};
use dig_nat_core::base::ids::{ContentKey, FileHash, PeerId};
use dig_nat_core::base::options::Unknown;
use napi::Status;
use napi::bindgen_prelude::spawn;
use napi::threadsafe_function::ThreadsafeFunction;
use napi_derive::napi;

use crate::callback::{self, EventFunction, ProgressFunction};
use crate::connection::NativeConnection;
use crate::gun::NativeGun;
use crate::reach::{NativeDiagnosis, NativeReaching};
use crate::registry::NativeRegistry;
use crate::task::NativeTask;
use crate::{error, json};

type ConnectionFunction = ThreadsafeFunction<NativeConnection, (), NativeConnection, Status, false, true>;

/// A network manager.
#[napi]
pub struct NativeManager {
    inner: NetworkManager,
}

#[napi]
impl NativeManager {
    /// From one JSON object with node and client options.
    #[napi(constructor, async_runtime)]
    pub fn new(options: String) -> napi::Result<Self> {
        let inner = NetworkManager::from_json(&json::value(&options)?, Unknown::Original).map_err(error::to_js)?;
        Ok(Self { inner })
    }

    /// See `NetworkManager::start`.
    #[napi]
    pub async fn start(&self) -> napi::Result<()> {
        self.inner.start().await.map_err(error::to_js)
    }

    /// See `NetworkManager::stop`.
    #[napi]
    pub async fn stop(&self) -> napi::Result<()> {
        self.inner.stop().await.map_err(error::to_js)
    }

    /// The bound port, 0 before the start.
    #[napi(getter)]
    pub fn port(&self) -> u16 {
        self.inner.port()
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

    /// Opens a message connection.
    #[napi]
    pub async fn connect(&self, target: String) -> napi::Result<NativeConnection> {
        self.inner.connect(&target).await.map(NativeConnection::new).map_err(error::to_js)
    }

    /// Reaches a peer by whatever way works.
    #[napi]
    pub fn connect_to_peer(&self, peer: String, options: String) -> napi::Result<NativeReaching> {
        let (manager, options) = (self.inner.clone(), json::options(&options)?);
        Ok(NativeReaching::new(async move { manager.connect_to_peer(&peer, options).await }))
    }

    /// Examines the NAT and the router, and tries to reach a peer if one is given; the result is a `Diagnosis`.
    #[napi]
    pub fn diagnose(&self, peer: Option<String>, options: String) -> napi::Result<NativeDiagnosis> {
        let (manager, options) = (self.inner.clone(), json::options(&options)?);
        Ok(NativeDiagnosis::new(async move { manager.diagnose(peer.as_deref(), options).await }))
    }

    /// Hands connections opened by others to a function until the manager stops.
    #[napi(async_runtime)]
    pub fn accept(&self, function: ConnectionFunction) {
        let manager = self.inner.clone();
        spawn(async move {
            while let Some(connection) = manager.accept().await {
                if function.call_async_catch(NativeConnection::new(connection)).await.is_err() {
                    return;
                }
            }
        });
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

    /// Shares a file; the result is a `FileInfo`.
    #[napi(async_runtime)]
    pub fn share_file(&self, path: String, options: String) -> napi::Result<NativeTask> {
        Ok(NativeTask::new(self.inner.share_file(path, json::options(&options)?)))
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

    /// `tcp` or `udp` for a connected peer.
    #[napi]
    pub fn connection_type(&self, peer: String) -> Option<&'static str> {
        self.inner.connection_type(&peer)
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

    /// The readable id of a hash.
    #[napi]
    pub fn content_for_hash(&self, hash: String) -> Option<String> {
        self.inner.content_for_hash(&hash.parse().ok()?)
    }

    /// What is known of the NAT, a `NatReport`.
    #[napi]
    pub fn nat_profile(&self) -> napi::Result<Option<String>> {
        self.inner.nat_profile().map(|profile| json::text(&NatReport::from(profile))).transpose()
    }

    /// Remembers what worked in this table from the next start on, unless the node keeps its own.
    #[napi]
    pub fn use_registry(&self, registry: &NativeRegistry) {
        self.inner.set_connection_registry(Some(&registry.inner));
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
