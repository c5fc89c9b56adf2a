//! Functions without an object: one-shot downloads, looking at the NAT, hashing, the manifest.

use std::time::Duration;

use dig_nat_core::api::{self, NatReport};
use dig_nat_core::base::ids::{ContentKey, FileHash};
use dig_nat_core::base::options::{self, ClientOptions, NodeOptions, Unknown};
use napi::bindgen_prelude::{Uint8Array, block_on};
use napi_derive::napi;

use crate::callback::{self, ProgressFunction};
use crate::task::NativeTask;
use crate::{error, json};

/// Downloads with a client made for this call. One object carries the options of node, client and download.
#[napi(async_runtime)]
pub fn download_file(key: String, options: String, on_progress: Option<ProgressFunction>) -> napi::Result<NativeTask> {
    let key: ContentKey = key.parse().map_err(error::to_js)?;
    let value = json::value(&options)?;
    let (node, client) =
        options::pair_from_json::<NodeOptions, ClientOptions>(&value, Unknown::Original).map_err(error::to_js)?;
    let download = json::options(&options)?;
    Ok(NativeTask::new(api::download_file(key, node, client, download, callback::progress(on_progress))))
}

/// Examines the NAT in front of this machine; the result is a `NatReport`.
#[napi(async_runtime)]
pub fn detect_nat_type(options: String) -> napi::Result<NativeTask> {
    Ok(NativeTask::with(api::detect_nat_type(json::options(&options)?), NatReport::from))
}

/// Examines the NAT, the router's port mapping protocols and IPv6; the result is a `Diagnosis`.
#[napi(async_runtime)]
pub fn diagnose(options: String) -> napi::Result<NativeTask> {
    Ok(NativeTask::new(api::diagnose(json::options(&options)?)))
}

/// Asks for this machine's public addresses; the result is a `PublicIps`.
#[napi(js_name = "discoverPublicIPs", async_runtime)]
pub fn discover_public_ips(options: String) -> napi::Result<NativeTask> {
    Ok(NativeTask::new(api::discover_public_ips(json::options(&options)?)))
}

/// Has the router forward a port; the result is a `PortMapping`.
#[napi(js_name = "createUPnPMapping", async_runtime)]
pub fn create_upnp_mapping(options: String) -> napi::Result<NativeTask> {
    Ok(NativeTask::new(api::create_upnp_mapping(json::options(&options)?)))
}

/// Has the router forget a mapping; the result says whether it knew it.
#[napi(js_name = "deleteUPnPMapping", async_runtime)]
pub fn delete_upnp_mapping(options: String) -> napi::Result<NativeTask> {
    Ok(NativeTask::new(api::delete_upnp_mapping(json::options(&options)?)))
}

/// The router's outside address, or null.
#[napi(js_name = "externalAddressUPnP", async_runtime)]
pub fn external_address_upnp(timeout_ms: u32) -> NativeTask {
    NativeTask::new(api::external_address_upnp(Duration::from_millis(timeout_ms.into())))
}

/// SHA-256 of bytes in hex.
#[napi(js_name = "calculateSHA256")]
pub fn calculate_sha256(data: Uint8Array) -> String {
    api::calculate_sha256(&data).to_string()
}

/// SHA-256 of a file; the result is a hash.
#[napi(js_name = "calculateSHA256File", async_runtime)]
pub fn calculate_sha256_file(path: String) -> NativeTask {
    NativeTask::new(api::calculate_sha256_file(path))
}

/// SHA-256 of a file in hex. Blocks the calling thread.
#[napi(js_name = "calculateSHA256FileSync")]
pub fn calculate_sha256_file_sync(path: String) -> napi::Result<String> {
    let hash: FileHash = block_on(async { api::calculate_sha256_file(path).await }).map_err(error::to_js)?;
    Ok(hash.to_string())
}

/// Core's manifest as JSON.
#[napi]
pub fn manifest() -> String {
    api::manifest().to_string()
}
