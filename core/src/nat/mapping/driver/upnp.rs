//! UPnP Internet Gateway Devices: search, mappings with their conflicts and leases, pinholes, outside address.
//! Not here: when any of this is done (`machine`, one-shot functions).
//!
//! The search goes to the multicast group and to the router itself, because a device may take three seconds to answer
//! the former and answers the latter at once. A device description must be where the answer came from.

use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::time::Duration;

use igd_next::aio::tokio::{Tokio, search_gateway, search_ipv6_firewall_gateway};
use igd_next::aio::{Gateway, Ipv6FirewallGateway};
use igd_next::{
    AddAnyPortError, AddPortError, GetExternalIpError, PinholeError, PortMappingProtocol, RemovePortError,
    RequestError, SearchError, SearchOptions,
};

use crate::base::limits;
use crate::nat::mapping::machine::{UpnpAnswer, UpnpRequest};
use crate::nat::mapping::{Failure, Family, Protocol, Route};
use crate::net::interfaces;

/// The port of SSDP.
const SSDP_PORT: u16 = 1900;
/// Longest description some routers accept is short; this one always fits.
const DESCRIPTION: &str = "dig-nat";

/// A device that maps IPv4 ports.
#[derive(Debug)]
pub(super) struct Device {
    gateway: Gateway<Tokio>,
}

/// What a device made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Made {
    pub(super) external: SocketAddr,
    /// `None`: permanent.
    pub(super) lifetime: Option<Duration>,
}

/// What is to be made.
#[derive(Clone, Debug)]
pub(super) struct Order<'a> {
    pub(super) protocol: Protocol,
    pub(super) internal: SocketAddr,
    pub(super) external_port: u16,
    pub(super) avoid: &'a [u16],
    pub(super) lifetime: Duration,
    pub(super) description: &'a str,
}

impl Device {
    /// Searches for a device; the first one that answers. Cancel safe.
    pub(super) async fn search(route: Route, deadline: Duration) -> Result<Self, Failure> {
        let mut group = SearchOptions::default();
        group.bind_addr = (route.local, 0).into();
        group.timeout = Some(deadline);
        group.gateway_ip_version = igd_next::GatewayIpVersion::V4;
        let mut direct = SearchOptions::default();
        direct.bind_addr = group.bind_addr;
        direct.timeout = group.timeout;
        direct.gateway_ip_version = group.gateway_ip_version;
        direct.broadcast_address = (route.gateway, SSDP_PORT).into();
        if route.gateway.is_loopback() {
            // Only where the user named it; a device found elsewhere must not lead here.
            direct.allowed_gateway_ips = vec![route.gateway];
            return search_gateway(direct).await.map(|gateway| Self { gateway }).map_err(|error| searched(&error));
        }
        let (group, direct) = (Box::pin(search_gateway(group)), Box::pin(search_gateway(direct)));
        match futures::future::select_ok([futures::future::Either::Left(group), futures::future::Either::Right(direct)])
            .await
        {
            Ok((gateway, _)) => Ok(Self { gateway }),
            Err(error) => Err(searched(&error)),
        }
    }

    /// Where it is, for people.
    pub(super) fn detail(&self) -> String {
        format!("http://{}{} ({})", self.gateway.addr, self.gateway.root_url, self.gateway.service_type)
    }

    /// Its outside address. A device without one says so in many ways; all of them are failures here.
    pub(super) async fn external(&self) -> Result<IpAddr, Failure> {
        match self.gateway.get_external_ip().await {
            Ok(address) if address.is_unspecified() => Err(no_address()),
            Ok(address) => Ok(address),
            Err(GetExternalIpError::ActionNotAuthorized) => Err(refused(606, "not authorized")),
            Err(GetExternalIpError::RequestError(RequestError::InvalidResponse(_))) => Err(no_address()),
            Err(GetExternalIpError::RequestError(RequestError::ErrorCode(code @ (501 | 402), _))) => {
                Err(refused(code, "the router has no public address itself"))
            }
            Err(GetExternalIpError::RequestError(error)) => Err(requested(&error)),
        }
    }

    /// Maps a port: the wished one, or one of the next, or any. Permanent where the device knows no leases.
    pub(super) async fn map(&self, order: &Order<'_>) -> Result<Made, Failure> {
        let address = self.external().await?;
        let mut lease = order.lifetime.as_secs().clamp(1, u64::from(u32::MAX)) as u32;
        let wished = order.external_port.max(1);
        let next = (wished..=wished.saturating_add(limits::UPNP_PORT_TRIES)).filter(|port| !order.avoid.contains(port));
        let made = |port: u16, lease: u32| Made {
            external: SocketAddr::new(address, port),
            lifetime: (lease > 0).then(|| Duration::from_secs(lease.into())),
        };
        for port in next {
            match self.add(order, port, &mut lease).await {
                Ok(()) => return Ok(made(port, lease)),
                Err(AddPortError::PortInUse) => {}
                Err(AddPortError::SamePortValuesRequired) => {
                    let port = order.internal.port();
                    return match self.add(order, port, &mut lease).await {
                        Ok(()) => Ok(made(port, lease)),
                        Err(error) => Err(added(&error)),
                    };
                }
                Err(error) => return Err(added(&error)),
            }
        }
        let protocol = transport(order.protocol);
        let any = self.gateway.add_any_port(protocol, order.internal, lease, order.description).await;
        let any = match any {
            Err(
                AddAnyPortError::OnlyPermanentLeasesSupported
                | AddAnyPortError::RequestError(RequestError::ErrorCode(725, _)),
            ) => {
                lease = 0;
                self.gateway.add_any_port(protocol, order.internal, lease, order.description).await
            }
            other => other,
        };
        any.map(|port| made(port, lease)).map_err(|error| added_any(&error))
    }

    async fn add(&self, order: &Order<'_>, port: u16, lease: &mut u32) -> Result<(), AddPortError> {
        let add =
            |lease| self.gateway.add_port(transport(order.protocol), port, order.internal, lease, order.description);
        match add(*lease).await {
            Err(AddPortError::OnlyPermanentLeasesSupported) if *lease > 0 => {
                *lease = 0;
                add(0).await
            }
            other => other,
        }
    }

    /// Deletes a mapping. False if there was none.
    pub(super) async fn unmap(&self, protocol: Protocol, external_port: u16) -> Result<bool, Failure> {
        match self.gateway.remove_port(transport(protocol), external_port).await {
            Ok(()) => Ok(true),
            Err(RemovePortError::NoSuchPortMapping) => Ok(false),
            Err(RemovePortError::ActionNotAuthorized) => Err(refused(606, "not authorized")),
            Err(RemovePortError::RequestError(error)) => Err(requested(&error)),
        }
    }
}

/// Carries the machine's requests out, and remembers the devices between them.
#[derive(Debug, Default)]
pub(super) struct Upnp {
    device: Option<Device>,
    firewall: Option<Ipv6FirewallGateway<Tokio>>,
}

impl Upnp {
    /// Carries one request out. Not cancel safe: the device may have done it.
    pub(super) async fn carry_out(&mut self, route: Route, request: &UpnpRequest, description: &str) -> UpnpAnswer {
        let done = match request {
            UpnpRequest::Probe { family: Family::V4 } => self.find(route).await,
            UpnpRequest::Probe { family: Family::V6 } => self.find_firewall(route).await,
            UpnpRequest::Map {
                family: Family::V4, protocol, internal_port, external_port, avoid, lifetime, ..
            } => {
                let order = Order {
                    protocol: *protocol,
                    internal: SocketAddr::new(route.local, *internal_port),
                    external_port: *external_port,
                    avoid,
                    lifetime: *lifetime,
                    description,
                };
                self.map(&order).await
            }
            UpnpRequest::Map { family: Family::V6, protocol, internal_port, pinhole, lifetime, .. } => {
                self.open(route, *protocol, *internal_port, *pinhole, *lifetime).await
            }
            UpnpRequest::Unmap { family: Family::V4, protocol, external_port, .. } => match &self.device {
                Some(device) => device.unmap(*protocol, *external_port).await.map(|_| UpnpAnswer::Unmapped),
                None => Ok(UpnpAnswer::Unmapped),
            },
            UpnpRequest::Unmap { family: Family::V6, pinhole, .. } => match (&self.firewall, pinhole) {
                (Some(firewall), Some(id)) => match firewall.remove_pinhole(*id).await {
                    Ok(()) | Err(PinholeError::NoSuchEntry) => Ok(UpnpAnswer::Unmapped),
                    Err(error) => Err(opened(&error)),
                },
                _ => Ok(UpnpAnswer::Unmapped),
            },
        };
        done.unwrap_or_else(UpnpAnswer::Failed)
    }

    async fn find(&mut self, route: Route) -> Result<UpnpAnswer, Failure> {
        // Longer than the machine waits: whoever answers late serves from then on.
        let device = Device::search(route, 3 * limits::MAPPING_SILENCE).await?;
        let external = device.external().await?;
        let detail = device.detail();
        self.device = Some(device);
        Ok(UpnpAnswer::Found { external: Some(external), detail })
    }

    async fn map(&mut self, order: &Order<'_>) -> Result<UpnpAnswer, Failure> {
        let device = self.device.as_ref().ok_or(Failure::Silent)?;
        let made = device.map(order).await?;
        Ok(UpnpAnswer::Mapped { external: made.external, lifetime: made.lifetime, pinhole: None })
    }

    async fn find_firewall(&mut self, route: Route) -> Result<UpnpAnswer, Failure> {
        let mut options = SearchOptions::ipv6(route.scope);
        // A pinhole is opened for the address that asks, so the global one must ask.
        options.bind_addr = (route.local, 0).into();
        options.timeout = Some(3 * limits::MAPPING_SILENCE);
        options.allowed_gateway_ips = vec![route.gateway];
        let firewall = search_ipv6_firewall_gateway(options).await.map_err(|error| searched(&error))?;
        let status = firewall.get_firewall_status().await.map_err(|error| opened(&error))?;
        if status.firewall_enabled && !status.inbound_pinhole_allowed {
            return Err(refused(703, "inbound pinholes are not allowed"));
        }
        let detail = format!("http://{}{} (IPv6 firewall)", firewall.addr, firewall.root_url);
        self.firewall = Some(firewall);
        Ok(UpnpAnswer::Found { external: None, detail })
    }

    async fn open(
        &mut self,
        route: Route,
        protocol: Protocol,
        port: u16,
        pinhole: Option<u16>,
        lifetime: Duration,
    ) -> Result<UpnpAnswer, Failure> {
        let firewall = self.firewall.as_ref().ok_or(Failure::Silent)?;
        let IpAddr::V6(local) = route.local else { return Err(Failure::NoGateway) };
        let lease = lifetime.min(limits::MAX_MAPPING_LIFETIME).as_secs().max(1) as u32;
        let renewed = match pinhole {
            Some(id) => firewall.update_pinhole(id, lease).await.is_ok().then_some(id),
            None => None,
        };
        let id = if let Some(id) = renewed {
            id
        } else {
            let inside = SocketAddrV6::new(local, port, 0, 0);
            firewall.add_pinhole(transport(protocol), inside, lease).await.map_err(|error| opened(&error))?
        };
        Ok(UpnpAnswer::Mapped {
            external: (local, port).into(),
            lifetime: Some(Duration::from_secs(lease.into())),
            pinhole: Some(id),
        })
    }
}

/// The description that routers show; the default unless the user gives one.
pub(super) fn description(wished: Option<&str>) -> &str {
    wished.filter(|text| !text.is_empty()).unwrap_or(DESCRIPTION)
}

/// The route of a family as the system tells it.
pub(super) fn from_system(route: &interfaces::DefaultRoute) -> Route {
    Route { gateway: route.gateway, local: route.local, scope: route.index }
}

const fn transport(protocol: Protocol) -> PortMappingProtocol {
    match protocol {
        Protocol::Tcp => PortMappingProtocol::TCP,
        Protocol::Udp => PortMappingProtocol::UDP,
    }
}

fn searched(error: &SearchError) -> Failure {
    match error {
        SearchError::NoResponseWithinTimeout => Failure::Silent,
        other => Failure::Broken { reason: format!("UPnP search: {other}") },
    }
}

fn no_address() -> Failure {
    Failure::Broken { reason: "the router reports no outside address; it may be offline or behind another NAT".into() }
}

fn refused(code: u16, reason: &str) -> Failure {
    Failure::Refused { code, reason: reason.to_owned() }
}

fn requested(error: &RequestError) -> Failure {
    match error {
        RequestError::ErrorCode(code, text) => refused(*code, text),
        RequestError::UnsupportedAction(_) => Failure::Unsupported,
        // The text of an unreadable answer is the whole document.
        RequestError::InvalidResponse(_) => Failure::Broken { reason: "unreadable answer over UPnP".into() },
        other => Failure::Broken { reason: other.to_string() },
    }
}

fn added(error: &AddPortError) -> Failure {
    match error {
        AddPortError::ActionNotAuthorized => refused(606, "not authorized"),
        AddPortError::PortInUse => refused(718, "the port is taken"),
        AddPortError::SamePortValuesRequired => refused(724, "inside and outside port must be the same"),
        AddPortError::OnlyPermanentLeasesSupported => refused(725, "only permanent mappings"),
        AddPortError::DescriptionTooLong => refused(605, "the description is too long"),
        AddPortError::RequestError(error) => requested(error),
        other => Failure::Broken { reason: other.to_string() },
    }
}

fn added_any(error: &AddAnyPortError) -> Failure {
    match error {
        AddAnyPortError::ActionNotAuthorized => refused(606, "not authorized"),
        AddAnyPortError::NoPortsAvailable => refused(728, "no port is free"),
        AddAnyPortError::ExternalPortInUse => refused(718, "the port is taken"),
        AddAnyPortError::OnlyPermanentLeasesSupported => refused(725, "only permanent mappings"),
        AddAnyPortError::DescriptionTooLong => refused(605, "the description is too long"),
        AddAnyPortError::RequestError(error) => requested(error),
        AddAnyPortError::InternalPortZeroInvalid => Failure::Broken { reason: error.to_string() },
    }
}

fn opened(error: &PinholeError) -> Failure {
    match error {
        PinholeError::ActionNotAuthorized => refused(606, "not authorized"),
        PinholeError::PinholeSpaceExhausted => refused(701, "no room for more pinholes"),
        PinholeError::FirewallDisabled => refused(702, "the firewall is off"),
        PinholeError::InboundPinholeNotAllowed => refused(703, "inbound pinholes are not allowed"),
        PinholeError::FirewallControlUnavailable => Failure::Unsupported,
        PinholeError::RequestError(error) => requested(error),
        other => Failure::Broken { reason: other.to_string() },
    }
}
