//! SHA-256 and the version.
//! Not here: nodes.

use dig_nat_core::api;

use crate::engine;
use crate::errors::{DigNatError, Result};

/// SHA-256 of bytes, in hex.
#[uniffi::export]
pub fn calculate_sha256(data: Vec<u8>) -> String {
    api::calculate_sha256(&data).to_string()
}

/// SHA-256 of a file, in hex.
#[uniffi::export]
pub async fn calculate_sha256_file(path: String) -> std::result::Result<String, DigNatError> {
    let hash: Result<String> =
        engine::run(async move { Ok(api::calculate_sha256_file(path).await?.to_string()) }).await;
    hash
}

/// The version of the library.
#[uniffi::export]
pub fn version() -> String {
    env!("CARGO_PKG_VERSION").to_owned()
}
