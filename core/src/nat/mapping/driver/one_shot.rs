//! Single calls: one mapping made or deleted, the outside address, a report of what the router speaks.
//! Not here: keeping mappings alive (`PortMapper`).

use std::net::IpAddr;
use std::time::Duration;

use serde::Serialize;
use tokio::net::UdpSocket;

use super::upnp::{self, Device};
use super::{MapperConfig, PortMapper};
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::limits;
use crate::nat::mapping::{
    Failure, Family, MappingInfo, MappingState, Method, Methods, ProbeResult, Protocol, Route, natpmp,
};
use crate::net::interfaces;

/// A mapping that is made once and not renewed.
#[derive(Clone, Debug)]
pub struct MappingRequest {
    /// UPnP, NAT-PMP or both. PCP is left out: only who made a mapping can delete it there.
    pub methods: Methods,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Our port.
    pub internal_port: u16,
    /// The router's port; 0 for the same.
    pub external_port: u16,
    /// How long the router shall keep it.
    pub lifetime: Duration,
    /// What the router shows beside it.
    pub description: Option<String>,
    /// How long it may take.
    pub deadline: Duration,
}

/// A mapping to delete.
#[derive(Clone, Debug)]
pub struct DeleteRequest {
    /// UPnP, NAT-PMP or both.
    pub methods: Methods,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The router's port, by which UPnP knows it.
    pub external_port: u16,
    /// Our port, by which NAT-PMP knows it; the external one if not given.
    pub internal_port: Option<u16>,
    /// How long it may take.
    pub deadline: Duration,
}

/// What the network's routers speak.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProbeReport {
    /// The IPv4 router.
    pub gateway: Option<IpAddr>,
    /// Our address towards it.
    pub local_address: Option<IpAddr>,
    /// The IPv6 router.
    pub gateway_v6: Option<IpAddr>,
    /// The outside IPv4 address that a router told.
    pub external: Option<IpAddr>,
    /// Each protocol's answer; those still pending when the deadline passed are marked.
    pub results: Vec<ProbeResult>,
}

/// Makes one mapping and leaves it. Dropping the call may leave it too, until its lifetime is over.
///
/// # Errors
/// [`ErrorKind::InvalidArgument`] for PCP or port 0, [`ErrorKind::Timeout`] if the deadline passes,
/// [`ErrorKind::PeerUnreachable`] with every protocol's reason otherwise.
pub async fn create_mapping(request: MappingRequest) -> Result<MappingInfo> {
    refuse_pcp(request.methods)?;
    let config =
        MapperConfig { methods: request.methods, description: request.description, ..MapperConfig::new(false, false) };
    let mapper = PortMapper::start(config);
    mapper.map(request.protocol, request.internal_port, request.external_port, request.lifetime)?;
    let settled = mapper.settled(request.protocol, request.internal_port, request.deadline).await;
    let what = format!("map {:?} port {}", request.protocol, request.internal_port);
    match settled {
        Some(info) if info.external().is_some() => {
            mapper.leave().await;
            Ok(info)
        }
        Some(MappingInfo { state: MappingState::Refused { failures }, .. }) => {
            let reasons: Vec<String> =
                failures.iter().map(|(method, failure)| format!("{}: {failure}", method.name())).collect();
            Err(Error::new(ErrorKind::PeerUnreachable, format!("{what}: {}", reasons.join("; "))))
        }
        _ => Err(Error::new(ErrorKind::Timeout, format!("{what}: no answer within {:?}", request.deadline))),
    }
}

/// Deletes a mapping; false if the router says that it had none. Some confirm that as a deletion as well.
///
/// # Errors
/// [`ErrorKind::InvalidArgument`] for PCP, [`ErrorKind::PeerUnreachable`] if no protocol could be asked,
/// [`ErrorKind::Timeout`] if the deadline passes.
pub async fn delete_mapping(request: DeleteRequest) -> Result<bool> {
    refuse_pcp(request.methods)?;
    let what = || format!("delete the mapping of {:?} port {}", request.protocol, request.external_port);
    let deletion = async {
        let route = route()
            .await
            .ok_or_else(|| Error::new(ErrorKind::PeerUnreachable, format!("{}: {}", what(), Failure::NoGateway)))?;
        let over_upnp = async {
            let device = Device::search(route, request.deadline.min(3 * limits::MAPPING_SILENCE)).await?;
            device.unmap(request.protocol, request.external_port).await
        };
        let internal = request.internal_port.unwrap_or(request.external_port);
        let (upnp, nat_pmp) = tokio::join!(
            maybe(request.methods.upnp, over_upnp),
            maybe(request.methods.nat_pmp, delete_by_natpmp(route, request.protocol, internal)),
        );
        let done = [(Method::Upnp, upnp), (Method::NatPmp, nat_pmp)];
        let mut reasons = Vec::new();
        let mut answered = None;
        for (method, result) in done {
            match result {
                Some(Ok(found)) => answered = Some(found || answered == Some(true)),
                Some(Err(failure)) => reasons.push(format!("{}: {failure}", method.name())),
                None => {}
            }
        }
        answered.ok_or_else(|| Error::new(ErrorKind::PeerUnreachable, format!("{}: {}", what(), reasons.join("; "))))
    };
    let ended = tokio::time::timeout(request.deadline, deletion).await;
    ended.unwrap_or_else(|_| Err(Error::new(ErrorKind::Timeout, format!("{}: no answer", what()))))
}

/// The router's outside IPv4 address; `None` if no router tells one within the deadline. Cancel safe.
pub async fn external_address(methods: Methods, deadline: Duration) -> Option<IpAddr> {
    let mapper = PortMapper::start(MapperConfig { methods, ..MapperConfig::new(false, false) });
    let address = mapper.wait(deadline, |machine| {
        let pending = machine.probe_results().iter().any(|result| result.pending);
        // Before the first look at the routes nothing is pending, and nothing is known.
        let known = machine.external_address();
        let over = !pending && machine.probe_results().iter().all(|result| result.failure != Some(Failure::NoGateway));
        known.map(Some).or(over.then_some(None))
    });
    let address = address.await.flatten();
    mapper.stop().await;
    address
}

/// Whether a UPnP device that maps ports answers within the deadline. Cancel safe.
pub async fn upnp_available(deadline: Duration) -> bool {
    let search = async {
        let route = route().await?;
        Device::search(route, deadline).await.ok()
    };
    tokio::time::timeout(deadline, search).await.ok().flatten().is_some()
}

/// Asks every protocol what it can do, without mapping anything. Takes 1.5 s when something is silent, or the
/// deadline if that is shorter. Cancel safe.
pub async fn probe(config: MapperConfig, deadline: Duration) -> ProbeReport {
    let mapper = PortMapper::start(config);
    let over = mapper.wait(deadline, |machine| {
        let routed = machine.route(Family::V4).is_some() || machine.route(Family::V6).is_some();
        (routed && machine.probe_results().iter().all(|result| !result.pending)).then_some(())
    });
    let _ = over.await;
    let route = mapper.route(Family::V4);
    let report = ProbeReport {
        gateway: route.map(|route| route.gateway),
        local_address: route.map(|route| route.local),
        gateway_v6: mapper.route(Family::V6).map(|route| route.gateway),
        external: mapper.external_address(),
        results: mapper.probe_results(),
    };
    mapper.stop().await;
    report
}

fn refuse_pcp(methods: Methods) -> Result<()> {
    if methods.pcp {
        return Err(Error::invalid("methods", "PCP mappings need a PortMapper, only their maker can delete them"));
    }
    Ok(())
}

async fn maybe<T>(wanted: bool, future: impl Future<Output = T>) -> Option<T> {
    if wanted { Some(future.await) } else { None }
}

async fn route() -> Option<Route> {
    let routes = tokio::task::spawn_blocking(interfaces::default_routes).await.ok()?;
    routes.v4.as_ref().map(upnp::from_system)
}

async fn delete_by_natpmp(route: Route, protocol: Protocol, internal_port: u16) -> Result<bool, Failure> {
    let broken = |error: std::io::Error| Failure::Broken { reason: error.to_string() };
    let socket = UdpSocket::bind((route.local, 0)).await.map_err(broken)?;
    socket.connect((route.gateway, natpmp::SERVER_PORT)).await.map_err(broken)?;
    let request = natpmp::Request::Map { protocol, internal_port, external_port: 0, lifetime: 0 };
    let mut buffer = [0; limits::MAX_MAPPING_DATAGRAM_BYTES];
    for attempt in 0..3 {
        socket.send(&request.encode()).await.map_err(broken)?;
        let pause = limits::MAPPING_RETRANSMIT * 2u32.pow(attempt);
        let received = tokio::time::timeout(pause, socket.recv(&mut buffer)).await;
        let Ok(received) = received else { continue };
        let length = received.map_err(|_| Failure::Unreachable)?;
        let Ok(response) = natpmp::Response::decode(&buffer[..length]) else { continue };
        return match response.result {
            natpmp::ResultCode::Success => Ok(true),
            other => Err(Failure::Refused { code: other.number(), reason: other.meaning().to_owned() }),
        };
    }
    Err(Failure::Silent)
}
