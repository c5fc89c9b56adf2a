//! What a running node does so that others can reach it: it finds out its NAT, tells others what address it sees them
//! at, and keeps places at relays. Not here: reaching others (`fabric`), and the protocols (`nat`).

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::events::EventBus;
use super::nat;
use crate::base::error::{Error, Result};
use crate::base::events::{ErrorRecord, Event};
use crate::base::limits;
use crate::base::options::NodeOptions;
use crate::fabric::ladder::{Connector, ConnectorConfig};
use crate::fabric::{Fabric, FabricEvent};
use crate::nat::ladder::{OwnMapping, Target};
use crate::nat::mapping::reach::Reach;
use crate::nat::mapping::{self, Protocol};
use crate::nat::mapping::{MapperConfig, PortMapper};
use crate::nat::method::{MappingProtocol, Transport};
use crate::nat::profile::NatProfile;
use crate::nat::registry::driver::ConnectionRegistry;
use crate::nat::stun::driver::{DetectConfig, detect, serve};

/// What is known about reaching this node.
#[derive(Clone)]
pub(super) struct Reachability {
    profile: watch::Receiver<Option<NatProfile>>,
    connector: Connector,
}

impl Reachability {
    /// Starts everything the options ask for; it ends with `stop`.
    pub(super) fn start(
        options: &NodeOptions,
        fabric: &Fabric,
        events: &EventBus,
        tracker: &TaskTracker,
        stop: &CancellationToken,
        registry: ConnectionRegistry,
    ) -> Result<Self> {
        let servers = nat::stun_servers(&options.stun_servers, options.local_only)?;
        let (found, profile) = watch::channel(None);
        for port in fabric.udp_ports() {
            let stop = stop.clone();
            tracker.spawn(async move {
                if let Err(error) = serve(&port, stop).await {
                    tracing::debug!(%error, "this port does not answer STUN");
                }
            });
        }
        let (mapped, mappings) = watch::channel(Vec::new());
        let found = Arc::new(found);
        let config = ConnectorConfig {
            stun_servers: servers.clone(),
            profile: profile.clone(),
            mappings,
            turn: None,
            registry: registry.clone(),
            ipv6: options.enable_ipv6,
        };
        let connector = Connector::new(fabric.clone(), config, stop.clone());
        let running = connector.clone();
        tracker.spawn(async move {
            if let Err(error) = running.run().await {
                tracing::debug!(%error, "peers on relayed links are not met directly");
            }
        });
        if !servers.is_empty() {
            let mut config = DetectConfig::new(servers);
            config.ipv6 = options.enable_ipv6;
            config.ports = fabric.udp_ports();
            tracker.spawn(find_out(config, Arc::clone(&found), registry, events.clone(), stop.clone()));
        }
        if (options.enable_upnp || options.enable_natpmp) && !options.local_only {
            let mapper = Mapping {
                options: options.clone(),
                port: fabric.port(),
                profile: found,
                mapped,
                events: events.clone(),
                stop: stop.clone(),
            };
            tracker.spawn(mapper.keep());
        }
        for relay in &options.relays {
            tracker.spawn(keep_place(relay.clone(), fabric.clone(), events.clone(), stop.clone()));
        }
        Ok(Self { profile, connector })
    }

    /// The NAT in front of this node, once it is known.
    pub(super) fn profile(&self) -> Option<NatProfile> {
        self.profile.borrow().clone()
    }

    /// Reaches peers by whatever way there is.
    pub(super) fn connector(&self) -> &Connector {
        &self.connector
    }
}

async fn find_out(
    config: DetectConfig,
    found: Arc<watch::Sender<Option<NatProfile>>>,
    registry: ConnectionRegistry,
    events: EventBus,
    stop: CancellationToken,
) {
    match detect(config, stop.clone()).await {
        Ok(profile) => {
            // Behind one public address lies one network, as far as ways that worked are concerned.
            let network = profile.public_v4.or(profile.public_v6).map(|at| at.ip().to_string());
            registry.set_network(&network.unwrap_or_default());
            // Whoever hears the event finds the profile.
            found.send_modify(|known| {
                let router_external = known.as_ref().and_then(|known| known.router_external);
                *known = Some(NatProfile { router_external, ..profile.clone() });
            });
            events.send(Event::NatDetected {
                nat_type: profile.name().to_owned(),
                public_v4: profile.public_v4.map(|address| address.to_string()),
                public_v6: profile.public_v6.map(|address| address.to_string()),
            });
        }
        Err(_) if stop.is_cancelled() => {}
        Err(error) => warn(&events, &error),
    }
}

/// Has the router forward our port for as long as the node runs.
struct Mapping {
    options: NodeOptions,
    port: u16,
    profile: Arc<watch::Sender<Option<NatProfile>>>,
    mapped: watch::Sender<Vec<OwnMapping>>,
    events: EventBus,
    stop: CancellationToken,
}

impl Mapping {
    async fn keep(self) {
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

/// Holds a place at one relay for as long as the node runs.
async fn keep_place(relay: String, fabric: Fabric, events: EventBus, stop: CancellationToken) {
    let mut pause = limits::RELAY_RETRY;
    let mut told = false;
    let holding = async {
        loop {
            let mut links = fabric.subscribe();
            match fabric.reserve(&relay).await {
                Ok(address) => {
                    (pause, told) = (limits::RELAY_RETRY, false);
                    events.send(Event::RelayReserved { address: address.clone() });
                    loop {
                        match links.next().await {
                            Some(FabricEvent::ListenAddressLost(lost)) if address.starts_with(&lost) => break,
                            // It may have been among what was missed.
                            Some(FabricEvent::Lagged(_)) if !fabric.addresses().contains(&address) => break,
                            Some(_) => {}
                            None => return,
                        }
                    }
                    events.send(Event::RelayLost { address });
                }
                Err(error) => {
                    // Once is enough for a relay that stays away.
                    if !std::mem::replace(&mut told, true) {
                        warn(&events, &error);
                    }
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(limits::MAX_RELAY_RETRY);
        }
    };
    tokio::select! {
        () = holding => {}
        () = stop.cancelled() => {}
    }
}

fn warn(events: &EventBus, error: &Error) {
    events.send(Event::Warning { error: ErrorRecord::from(error) });
}
