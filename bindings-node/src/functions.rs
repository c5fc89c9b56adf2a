//! Functions without an object: one-shot downloads, hashing, the manifest.

use dig_nat_core::api;
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
        options::pair_from_json::<NodeOptions, ClientOptions>(&value, Unknown::Ignore).map_err(error::to_js)?;
    let download = json::options(&options)?;
    Ok(NativeTask::new(api::download_file(key, node, client, download, callback::progress(on_progress))))
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
