//! What a running node does so that others can reach it: it finds out its NAT, tells others what address it sees them
//! at, and keeps places at relays. Not here: reaching others (`fabric`), and the protocols (`nat`).

use std::net::IpAddr;
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
use crate::fabric::meet::{self, MeetConfig};
use crate::fabric::{Fabric, FabricEvent, FabricEvents};
use crate::nat::mapping::reach::{Reach, is_public};
use crate::nat::mapping::{self, Protocol};
use crate::nat::mapping::{MapperConfig, PortMapper};
use crate::nat::profile::NatProfile;
use crate::nat::stun::driver::{DetectConfig, detect, serve};
use crate::net::interfaces::{InterfaceWatch, local_addresses};

/// What is known about reaching this node.
#[derive(Clone)]
pub(super) struct Reachability {
    profile: watch::Receiver<Option<NatProfile>>,
}

impl Reachability {
    /// Starts everything the options ask for; it ends with `stop`.
    pub(super) fn start(
        options: &NodeOptions,
        fabric: &Fabric,
        events: &EventBus,
        tracker: &TaskTracker,
        stop: &CancellationToken,
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
        let meeting = MeetConfig { servers: servers.clone(), profile: profile.clone() };
        let (meeting_fabric, meeting_stop) = (fabric.clone(), stop.clone());
        tracker.spawn(async move {
            if let Err(error) = meet::run(meeting_fabric, meeting, meeting_stop).await {
                tracing::debug!(%error, "peers on relayed links are not met directly");
            }
        });
        if !servers.is_empty() {
            let mut config = DetectConfig::new(servers);
            config.ipv6 = options.enable_ipv6;
            config.ports = fabric.udp_ports();
            tracker.spawn(find_out(config, found, fabric.clone(), events.clone(), stop.clone()));
        }
        if (options.enable_upnp || options.enable_natpmp) && !options.local_only {
            tracker.spawn(keep_mapped(options.clone(), fabric.port(), profile.clone(), events.clone(), stop.clone()));
        }
        for relay in &options.relays {
            tracker.spawn(keep_place(relay.clone(), fabric.clone(), events.clone(), stop.clone()));
        }
        Ok(Self { profile })
    }

    /// The NAT in front of this node, once it is known.
    pub(super) fn profile(&self) -> Option<NatProfile> {
        self.profile.borrow().clone()
    }
}

/// Examines the NAT in front of us, and again whenever there is reason to believe that it is another one.
async fn find_out(
    config: DetectConfig,
    found: watch::Sender<Option<NatProfile>>,
    fabric: Fabric,
    events: EventBus,
    stop: CancellationToken,
) {
    let mut interfaces = InterfaceWatch::new();
    let (mut ours, mut told) = (addresses().await, None);
    loop {
        let begun = tokio::time::Instant::now();
        let mut news = fabric.subscribe();
        match detect(config.clone(), stop.clone()).await {
            Ok(profile) => {
                // Whoever hears the event finds the profile.
                found.send_replace(Some(profile.clone()));
                events.send(Event::NatDetected {
                    nat_type: profile.name().to_owned(),
                    public_v4: profile.public_v4.map(|address| address.to_string()),
                    public_v6: profile.public_v6.map(|address| address.to_string()),
                });
            }
            Err(_) if stop.is_cancelled() => return,
            Err(error) => warn(&events, &error),
        }
        let known = found.borrow().as_ref().and_then(|profile| profile.public_v4).map(|at| at.ip());
        let moved = async {
            let seen = seen_elsewhere(&mut news, [known, told]).await;
            tokio::time::sleep_until(begun + limits::DETECT_PAUSE).await;
            seen
        };
        tokio::select! {
            () = other_addresses(&mut interfaces, &mut ours) => {}
            // Should the servers not agree with whoever told us, once is enough.
            seen = moved => told = Some(seen),
            () = stop.cancelled() => return,
        }
    }
}

/// This machine's addresses, in order.
async fn addresses() -> Vec<IpAddr> {
    let mut found = tokio::task::spawn_blocking(local_addresses).await.unwrap_or_default();
    found.sort_unstable();
    found
}

/// Waits until this machine has other addresses than those.
async fn other_addresses(interfaces: &mut InterfaceWatch, ours: &mut Vec<IpAddr>) {
    loop {
        interfaces.changed().await;
        let now = addresses().await;
        if now != *ours {
            *ours = now;
            return;
        }
    }
}

/// Waits until a peer sees us at another public IPv4 address than those we know of.
async fn seen_elsewhere(news: &mut FabricEvents, known: [Option<IpAddr>; 2]) -> IpAddr {
    loop {
        match news.next().await {
            Some(FabricEvent::Identified { observed, .. }) => {
                let seen: Option<IpAddr> = observed.split('/').nth(2).and_then(|text| text.parse().ok());
                if let Some(seen) = seen.filter(|seen| seen.is_ipv4() && is_public(*seen))
                    && !known.contains(&Some(seen))
                {
                    return seen;
                }
            }
            Some(_) => {}
            None => std::future::pending().await,
        }
    }
}

/// Has the router forward our port for as long as the node runs.
async fn keep_mapped(
    options: NodeOptions,
    port: u16,
    mut profile: watch::Receiver<Option<NatProfile>>,
    events: EventBus,
    stop: CancellationToken,
) {
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
        if let Err(error) = mapper.map(protocol, port, port, lifetime) {
            warn(&events, &error);
        }
    }
    let mut profile_open = true;
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            happened = news.recv() => match happened {
                Ok(happened) => tell(&events, happened),
                // What was missed is told by the next renewal.
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => break,
            },
            changed = profile.changed(), if profile_open => {
                profile_open = changed.is_ok();
                let seen = profile.borrow_and_update().as_ref().and_then(|profile| profile.public_v4);
                if let Some(seen) = seen {
                    mapper.set_public_address(seen.ip());
                }
            }
        }
    }
    mapper.stop().await;
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
