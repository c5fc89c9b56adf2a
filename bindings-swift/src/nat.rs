//! What stands between this device and the internet, and single port mappings.
//! Not here: the measuring, which is core's.

use std::time::Duration;

use dig_nat_core::api;

use crate::engine;
use crate::errors::DigNatError;
use crate::options::{MappingOptions, NatOptions};
use crate::records::{NatProfile, PortMapping, PublicIps};

/// Finds out what kind of NAT or firewall stands between this device and the internet. A network that blocks UDP is a
/// result, not an error.
#[uniffi::export]
pub async fn detect_nat_type(options: NatOptions) -> std::result::Result<NatProfile, DigNatError> {
    let options = options.into_core()?;
    engine::run(async move { Ok(api::detect_nat_type(options).await?.into()) }).await
}

/// Asks STUN servers for this device's public addresses. What cannot be found out is absent, not an error.
#[uniffi::export]
pub async fn discover_public_ips(options: NatOptions) -> std::result::Result<PublicIps, DigNatError> {
    let options = options.into_core()?;
    engine::run(async move { Ok(api::discover_public_ips(options).await?.into()) }).await
}

/// Asks the router by UPnP to forward a port, once: nobody renews it. A running node does this by itself.
#[uniffi::export]
pub async fn create_upnp_mapping(options: MappingOptions) -> std::result::Result<PortMapping, DigNatError> {
    let options = options.into_core()?;
    engine::run(async move { Ok(api::create_upnp_mapping(options).await?.into()) }).await
}

/// Asks the router by UPnP to forget a mapping, by its external port (or the internal one when that is all there is);
/// false when it knows none.
#[uniffi::export]
pub async fn delete_upnp_mapping(options: MappingOptions) -> std::result::Result<bool, DigNatError> {
    let options = options.into_core()?;
    engine::run(async move { Ok(api::delete_upnp_mapping(options).await?) }).await
}

/// The router's outside IPv4 address as UPnP tells it, absent when nobody answers in time.
#[uniffi::export(default(timeout_ms = 5000))]
pub async fn external_address_upnp(timeout_ms: u32) -> std::result::Result<Option<String>, DigNatError> {
    let timeout = Duration::from_millis(timeout_ms.into());
    let address = engine::run(async move { Ok(api::external_address_upnp(timeout).await?) }).await?;
    Ok(address.map(|address| address.to_string()))
}
