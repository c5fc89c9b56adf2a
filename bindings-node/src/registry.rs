//! The class behind `ConnectionRegistry`.

use dig_nat_core::api::ConnectionRegistry;
use napi_derive::napi;

use crate::task::NativeTask;
use crate::{error, json};

/// What worked, per peer.
#[napi]
pub struct NativeRegistry {
    pub(crate) inner: ConnectionRegistry,
}

#[napi]
impl NativeRegistry {
    /// Reads the registry. Blocks on the disk for a file of at most some megabytes.
    #[napi(constructor)]
    pub fn new(options: String) -> napi::Result<Self> {
        let inner = ConnectionRegistry::open(&json::options(&options)?).map_err(error::to_js)?;
        Ok(Self { inner })
    }

    /// The ways that led to the peer, latest first.
    #[napi]
    pub fn successful_methods(&self, peer: String) -> Vec<String> {
        self.inner.successful_methods(&peer).into_iter().map(str::to_owned).collect()
    }

    /// The last way as JSON, or null.
    #[napi]
    pub fn connection_method(&self, peer: String) -> napi::Result<Option<String>> {
        self.inner.connection_method(&peer).map(|entry| json::text(&entry)).transpose()
    }

    /// Remembers a success.
    #[napi(async_runtime)]
    pub fn save(&self, peer: String, connection_type: String, options: String) -> napi::Result<NativeTask> {
        Ok(NativeTask::new(self.inner.save(peer, &connection_type, json::options(&options)?)))
    }

    /// Forgets a peer; whether there was something to forget.
    #[napi(async_runtime)]
    pub fn remove(&self, peer: String) -> NativeTask {
        NativeTask::new(self.inner.remove(peer))
    }

    /// Forgets what is too old; how much that was.
    #[napi(async_runtime)]
    pub fn cleanup(&self) -> NativeTask {
        NativeTask::new(self.inner.cleanup())
    }
}
