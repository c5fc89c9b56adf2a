//! Single port mappings by UPnP, as the original package offers them. Not here: the mappings that a running node keeps
//! alive (`reachability`).

use std::net::IpAddr;
use std::time::Duration;

use serde::Serialize;

use super::task::Task;
use crate::base::error::{Error, ErrorKind};
use crate::base::options::{FromJson, MappingOptions};
use crate::nat::mapping::{DeleteRequest, MappingRequest, create_mapping, delete_mapping, external_address};
use crate::nat::mapping::{MappingState, Methods, Protocol};

/// A mapping that a router made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PortMapping {
    /// `TCP` or `UDP`.
    pub protocol: String,
    /// This machine's port.
    pub internal_port: u16,
    /// The router's port.
    pub external_port: u16,
    /// The router's outside address.
    pub external_address: IpAddr,
    /// How long the router keeps it, in seconds; `None` for ever.
    pub lifetime_s: Option<u64>,
}

/// Asks the router by UPnP to forward a port, once: nobody renews it.
///
/// Errors: `InvalidArgument` for bad options, `PeerUnreachable` when there is no router that does it (with its reason),
/// `Timeout`, `Cancelled`.
pub fn create_upnp_mapping(options: MappingOptions) -> Task<PortMapping> {
    Task::spawn(async move |cancel| {
        options.validate()?;
        if options.internal_port == 0 {
            return Err(Error::invalid("internalPort", "a mapping needs this machine's port"));
        }
        let request = MappingRequest {
            methods: Methods::UPNP,
            protocol: protocol(&options),
            internal_port: options.internal_port,
            external_port: options.external_port,
            lifetime: Duration::from_secs(options.ttl_s.into()),
            description: Some(options.description.clone()),
            deadline: Duration::from_millis(options.timeout_ms),
        };
        let made = tokio::select! {
            made = create_mapping(request) => made?,
            () = cancel.cancelled() => return Err(cancelled()),
        };
        match made.state {
            MappingState::Mapped { external, lifetime, .. } => Ok(PortMapping {
                protocol: options.protocol.to_ascii_uppercase(),
                internal_port: options.internal_port,
                external_port: external.port(),
                external_address: external.ip(),
                lifetime_s: lifetime.map(|lifetime| lifetime.as_secs()),
            }),
            state => Err(Error::new(ErrorKind::Internal, format!("a mapping was made, yet it is {state:?}"))),
        }
    })
}

/// Asks the router by UPnP to forget a mapping, by its external port (or the internal one when that is all there is);
/// false when it knows none.
///
/// Errors: as for [`create_upnp_mapping`].
pub fn delete_upnp_mapping(options: MappingOptions) -> Task<bool> {
    Task::spawn(async move |cancel| {
        options.validate()?;
        let external_port = if options.external_port == 0 { options.internal_port } else { options.external_port };
        if external_port == 0 {
            return Err(Error::invalid("externalPort", "which mapping is to be deleted?"));
        }
        let request = DeleteRequest {
            methods: Methods::UPNP,
            protocol: protocol(&options),
            external_port,
            internal_port: (options.internal_port != 0).then_some(options.internal_port),
            deadline: Duration::from_millis(options.timeout_ms),
        };
        tokio::select! {
            deleted = delete_mapping(request) => deleted,
            () = cancel.cancelled() => Err(cancelled()),
        }
    })
}

/// The router's outside IPv4 address as UPnP tells it, `None` when nobody answers within `timeout`.
pub fn external_address_upnp(timeout: Duration) -> Task<Option<IpAddr>> {
    Task::spawn(async move |cancel| {
        tokio::select! {
            found = external_address(Methods::UPNP, timeout) => Ok(found),
            () = cancel.cancelled() => Err(cancelled()),
        }
    })
}

fn protocol(options: &MappingOptions) -> Protocol {
    if options.protocol.eq_ignore_ascii_case("udp") { Protocol::Udp } else { Protocol::Tcp }
}

fn cancelled() -> Error {
    Error::new(ErrorKind::Cancelled, "asking the router was cancelled")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_mapping_without_a_port_or_with_an_unknown_protocol_is_refused() {
        let error = create_upnp_mapping(MappingOptions::default()).wait().await.expect_err("no port");
        assert!(error.to_string().contains("internalPort"), "{error}");
        let error = delete_upnp_mapping(MappingOptions::default()).wait().await.expect_err("no port");
        assert!(error.to_string().contains("externalPort"), "{error}");
        let options = MappingOptions { internal_port: 1, protocol: "SCTP".into(), ..MappingOptions::default() };
        let error = create_upnp_mapping(options).wait().await.expect_err("not a protocol of UPnP");
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    }
}
