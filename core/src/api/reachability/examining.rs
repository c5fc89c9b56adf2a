//! Finds out the NAT in front of a running node, and again when it has changed. Not here: the examination (`nat::stun`).

use std::net::IpAddr;
use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::warn;
use crate::api::events::EventBus;
use crate::base::events::Event;
use crate::base::limits;
use crate::fabric::{Fabric, FabricEvent, FabricEvents};
use crate::nat::mapping::reach::is_public;
use crate::nat::profile::NatProfile;
use crate::nat::registry::driver::ConnectionRegistry;
use crate::nat::stun::driver::{DetectConfig, detect};
use crate::net::interfaces::{InterfaceWatch, local_addresses};

/// Examines the NAT in front of us, and again whenever there is reason to believe that it is another one.
pub(super) async fn find_out(
    config: DetectConfig,
    found: Arc<watch::Sender<Option<NatProfile>>>,
    registry: ConnectionRegistry,
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
