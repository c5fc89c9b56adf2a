//! Keeps a running node's port open at the router. Not here: the protocols (`nat::mapping`).

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;

use super::warn;
use crate::api::events::EventBus;
use crate::base::events::Event;
use crate::base::options::NodeOptions;
use crate::nat::ladder::{OwnMapping, Target};
use crate::nat::mapping::reach::Reach;
use crate::nat::mapping::{self, MapperConfig, PortMapper, Protocol};
use crate::nat::method::{MappingProtocol, Transport};
use crate::nat::profile::NatProfile;

/// Has the router forward our port for as long as the node runs.
pub(super) struct Mapping {
    pub options: NodeOptions,
    /// The node's port.
    pub port: u16,
    /// Where the router's own address goes, and our public one comes from.
    pub profile: Arc<watch::Sender<Option<NatProfile>>>,
    /// What the router holds open.
    pub mapped: watch::Sender<Vec<OwnMapping>>,
    pub events: EventBus,
    pub stop: CancellationToken,
}

impl Mapping {
    /// Ends with the token, when the router has been told.
    pub(super) async fn keep(self) {
        let options = &self.options;
        let config = MapperConfig {
            ipv6: options.enable_ipv6,
            description: Some("dig-nat-tools".to_owned()),
            ..MapperConfig::new(options.enable_upnp, options.enable_natpmp)
        };
        let mapper = PortMapper::start(config);
        let mut news = mapper.events();
        let lifetime = Duration::from_secs(options.port_mapping_lifetime_s.into());
        let wishes = [(options.enable_tcp, Protocol::Tcp), (options.enable_udp, Protocol::Udp)];
        for (_, protocol) in wishes.into_iter().filter(|(enabled, _)| *enabled) {
            if let Err(error) = mapper.map(protocol, self.port, self.port, lifetime) {
                warn(&self.events, &error);
            }
        }
        let mut profile = self.profile.subscribe();
        loop {
            tokio::select! {
                () = self.stop.cancelled() => break,
                happened = news.recv() => match happened {
                    Ok(happened) => {
                        self.publish(&mapper);
                        tell(&self.events, happened);
                    }
                    // What was missed is told by the next renewal.
                    Err(broadcast::error::RecvError::Lagged(_)) => self.publish(&mapper),
                    Err(broadcast::error::RecvError::Closed) => break,
                },
                Ok(()) = profile.changed() => {
                    let seen = profile.borrow_and_update().as_ref().and_then(|profile| profile.public_v4);
                    if let Some(seen) = seen {
                        mapper.set_public_address(seen.ip());
                    }
                }
            }
        }
        self.mapped.send_replace(Vec::new());
        mapper.stop().await;
    }

    /// Shows others what the router holds open, and what it says of itself.
    fn publish(&self, mapper: &PortMapper) {
        let open = mapper.mappings().into_iter().filter_map(|info| {
            let (Some(address), Some(method)) = (info.external(), info.method()) else { return None };
            let protocol = match method {
                mapping::Method::Pcp => MappingProtocol::Pcp,
                mapping::Method::NatPmp => MappingProtocol::NatPmp,
                mapping::Method::Upnp => MappingProtocol::Upnp,
            };
            let transport = match info.protocol {
                Protocol::Tcp => Transport::Tcp,
                Protocol::Udp => Transport::Udp,
            };
            Some(OwnMapping { protocol, external: Target { address, transport } })
        });
        let open: Vec<OwnMapping> = open.collect();
        self.mapped.send_if_modified(|known| {
            let news = *known != open;
            *known = open;
            news
        });
        let external = mapper.external_address();
        self.profile.send_if_modified(|known| {
            // Before our NAT is known there is nothing to compare with.
            let Some(known) = known.as_mut().filter(|known| known.router_external != external) else { return false };
            known.router_external = external;
            true
        });
    }
}

fn tell(events: &EventBus, happened: mapping::Event) {
    use mapping::Event as Happened;
    match happened {
        Happened::Mapped(info) | Happened::Judged(info) | Happened::Moved { mapping: info, .. } => {
            let (Some(external), Some(method)) = (info.external(), info.method()) else { return };
            events.send(Event::PortMapped {
                protocol: name(info.protocol),
                internal_port: info.internal_port,
                external: external.to_string(),
                method: method.name().to_owned(),
                reachable: info.reach() == Some(Reach::Likely),
            });
        }
        Happened::Lost { mapping: info, reason, .. } => events.send(Event::PortLost {
            protocol: name(info.protocol),
            internal_port: info.internal_port,
            reason: reason.to_string(),
        }),
        // A router that does not map is the ordinary case; renewals change nothing.
        Happened::Renewed(_) | Happened::Refused(_) | Happened::Forgotten { .. } => {}
    }
}

fn name(protocol: Protocol) -> String {
    match protocol {
        Protocol::Tcp => "tcp".to_owned(),
        Protocol::Udp => "udp".to_owned(),
    }
}
