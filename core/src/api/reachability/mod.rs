//! What a running node does so that others can reach it: it finds out its NAT, tells others what address it sees them
//! at, and keeps places at relays. Not here: reaching others (`fabric`), and the protocols (`nat`).

mod announced;
mod examining;
mod mapping;

use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::events::EventBus;
use super::{nat, turn};
use crate::base::error::{Error, Result};
use crate::base::events::{ErrorRecord, Event};
use crate::base::limits;
use crate::base::options::NodeOptions;
use crate::discovery::own::Own;
use crate::fabric::ladder::{Connector, ConnectorConfig};
use crate::fabric::{Fabric, FabricEvent};
use crate::nat::profile::NatProfile;
use crate::nat::registry::driver::ConnectionRegistry;
use crate::nat::stun::driver::{DetectConfig, serve};

use announced::{Announced, Sources};
use examining::find_out;
use mapping::Mapping;

/// What is known about reaching this node.
#[derive(Clone)]
pub(super) struct Reachability {
    profile: watch::Receiver<Option<NatProfile>>,
    connector: Connector,
    own: Own,
    reachable: watch::Receiver<bool>,
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
            mappings: mappings.clone(),
            turn: turn::of_node(options)?,
            registry: registry.clone(),
            ipv6: options.enable_ipv6,
            ipv4_first: !options.prefer_ipv6,
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
            tracker.spawn(find_out(config, Arc::clone(&found), registry, fabric.clone(), events.clone(), stop.clone()));
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
        let mut sources = Sources {
            fabric: fabric.clone(),
            profile: profile.clone(),
            mappings,
            local_only: options.local_only,
            external: announced::external(options, fabric.port()),
        };
        let (addresses, reachable) = sources.compose();
        let ((addresses, told), (reachable, reached)) = (watch::channel(addresses), watch::channel(reachable));
        tracker.spawn(Announced { addresses, reachable }.keep(sources, stop.clone()));
        let own = Own::new(fabric.signer(), told);
        Ok(Self { profile, connector, own, reachable: reached })
    }

    /// The NAT in front of this node, once it is known.
    pub(super) fn profile(&self) -> Option<NatProfile> {
        self.profile.borrow().clone()
    }

    /// What others are told of this node.
    pub(super) fn own(&self) -> &Own {
        &self.own
    }

    /// Whether strangers can connect to this node without help.
    pub(super) fn reachable(&self) -> watch::Receiver<bool> {
        self.reachable.clone()
    }

    /// Reaches peers by whatever way there is.
    pub(super) fn connector(&self) -> &Connector {
        &self.connector
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
                    let since = tokio::time::Instant::now();
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
                    if since.elapsed() >= limits::RELAY_RETRY {
                        continue;
                    }
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
