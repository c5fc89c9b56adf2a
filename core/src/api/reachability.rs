//! What a running node does so that others can reach it: it finds out its NAT, tells others what address it sees them
//! at, and keeps places at relays. Not here: reaching others (`fabric`), and the protocols (`nat`).

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::events::EventBus;
use super::nat;
use crate::base::error::{Error, Result};
use crate::base::events::{ErrorRecord, Event};
use crate::base::limits;
use crate::base::options::NodeOptions;
use crate::fabric::meet::{self, MeetConfig};
use crate::fabric::{Fabric, FabricEvent};
use crate::nat::profile::NatProfile;
use crate::nat::stun::driver::{DetectConfig, detect, serve};

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
            tracker.spawn(find_out(config, found, events.clone(), stop.clone()));
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

async fn find_out(
    config: DetectConfig,
    found: watch::Sender<Option<NatProfile>>,
    events: EventBus,
    stop: CancellationToken,
) {
    match detect(config, stop.clone()).await {
        Ok(profile) => {
            // Whoever hears the event finds the profile.
            found.send_replace(Some(profile.clone()));
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
