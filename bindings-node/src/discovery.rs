//! The class behind `PeerDiscoveryManager` and the classes of single ways of discovery.

use dig_nat_core::api::PeerDiscoveryManager;
use dig_nat_core::base::ids::{ContentKey, FileHash, PeerId};
use dig_nat_core::base::options::{AnnounceOptions, KnownPeersOptions, Unknown};
use napi_derive::napi;

use crate::callback::{self, EventFunction};
use crate::gun::NativeGun;
use crate::{error, json};

/// All ways of discovery, or those that the options leave on.
#[napi]
pub struct NativeDiscovery {
    inner: PeerDiscoveryManager,
}

impl NativeDiscovery {
    /// The discovery of a node that does more.
    pub(crate) fn of(inner: PeerDiscoveryManager) -> Self {
        Self { inner }
    }
}

#[napi]
impl NativeDiscovery {
    /// From one JSON object with node options.
    #[napi(constructor, async_runtime)]
    pub fn new(options: String) -> napi::Result<Self> {
        let inner =
            PeerDiscoveryManager::from_json(&json::value(&options)?, Unknown::Original).map_err(error::to_js)?;
        Ok(Self { inner })
    }

    /// See `PeerDiscoveryManager::start`.
    #[napi]
    pub async fn start(&self) -> napi::Result<()> {
        self.inner.start().await.map_err(error::to_js)
    }

    /// See `PeerDiscoveryManager::stop`.
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

    /// Makes a host of this process findable.
    #[napi]
    pub async fn announce(&self, key: String, options: String) -> napi::Result<()> {
        let key: ContentKey = key.parse().map_err(error::to_js)?;
        let options: AnnounceOptions = json::options(&options)?;
        self.inner.announce(key, options).await.map_err(error::to_js)
    }

    /// Takes an announcement back; whether there was one.
    #[napi]
    pub async fn withdraw(&self, key: String) -> napi::Result<bool> {
        let key: ContentKey = key.parse().map_err(error::to_js)?;
        self.inner.withdraw(&key).await.map_err(error::to_js)
    }

    /// Searches for a key in the background; false when more important ones leave no place.
    #[napi(async_runtime)]
    pub fn watch(&self, key: String, priority: String) -> napi::Result<bool> {
        let key: ContentKey = key.parse().map_err(error::to_js)?;
        self.inner.watch(&key, &priority).map_err(error::to_js)
    }

    /// Ends a search in the background; whether there was one.
    #[napi(async_runtime)]
    pub fn unwatch(&self, key: String) -> napi::Result<bool> {
        let key: ContentKey = key.parse().map_err(error::to_js)?;
        Ok(self.inner.unwatch(&key))
    }

    /// Searches for peers; a list of `DiscoveredPeer`.
    #[napi]
    pub async fn find_peers(&self, key: String, options: String) -> napi::Result<String> {
        let key: ContentKey = key.parse().map_err(error::to_js)?;
        let peers = self.inner.find_peers(key, json::options(&options)?).await.map_err(error::to_js)?;
        json::text(&peers)
    }

    /// The peers known now; a list of `DiscoveredPeer`.
    #[napi]
    pub fn peers(&self, options: String) -> napi::Result<String> {
        let options: KnownPeersOptions = json::options(&options)?;
        json::text(&self.inner.peers(&options).map_err(error::to_js)?)
    }

    /// Remembers a peer, for one content or for all.
    #[napi(async_runtime)]
    pub fn add_peer(&self, peer: String, key: Option<String>) -> napi::Result<()> {
        let key = key.map(|key| key.parse()).transpose().map_err(error::to_js)?;
        self.inner.add_peer(&peer, key).map_err(error::to_js)
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

    /// Looks for the hash behind a readable id; nothing when nobody says within the time.
    #[napi]
    pub async fn find_hash(&self, content_id: String, timeout_ms: u32) -> napi::Result<Option<String>> {
        let found = self.inner.find_hash(&content_id, timeout_ms.into()).await.map_err(error::to_js)?;
        Ok(found.as_ref().map(FileHash::to_string))
    }

    /// Takes a readable id away; whether there was one.
    #[napi]
    pub async fn remove_content_mapping(&self, content_id: String) -> napi::Result<bool> {
        self.inner.remove_content_mapping(&content_id).await.map_err(error::to_js)
    }

    /// The nodes of the hash table nearest to a place in it; a list of `DiscoveredPeer`.
    #[napi]
    pub async fn find_node(&self, target: String, timeout_ms: u32) -> napi::Result<String> {
        let nodes = self.inner.find_node(&target, timeout_ms.into()).await.map_err(error::to_js)?;
        json::text(&nodes)
    }

    /// What this node keeps for others as a shard host.
    #[napi]
    pub fn shard_prefixes(&self) -> Vec<String> {
        self.inner.shard_prefixes()
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
