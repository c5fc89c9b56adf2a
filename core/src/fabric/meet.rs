//! Two nodes that talk through a relay meet directly: they signal over the relayed link, punch a path through both NATs,
//! and make a link of it. Where libp2p's own way (DCUtR) works, it is faster; this is for the NATs it cannot pass.
//! Not here: the punching (`nat::punch`).

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Fabric, FabricEvent, Link, Path, SIGNAL_PROTOCOL, Stage, StreamSignal, address};
use crate::base::error::Result;
use crate::base::ids::PeerId;
use crate::base::limits;
use crate::nat::profile::NatProfile;
use crate::nat::punch::Side;
use crate::nat::punch::driver::{Local, LocalPort, StunServers, punch_udp};
use crate::nat::punch::message::NatSummary;
use crate::nat::punch::plan::History;
use crate::nat::stun::driver::lookup;
use crate::nat::stun::server::StunServer;

/// What meeting needs to know of our side.
#[derive(Clone, Debug)]
pub struct MeetConfig {
    /// Servers that tell the external endpoints of our ports. The relay is asked too.
    pub servers: Vec<StunServer>,
    /// The NAT in front of us, once it is known.
    pub profile: watch::Receiver<Option<NatProfile>>,
}

/// What all meetings of a node share.
struct Shared {
    fabric: Fabric,
    config: MeetConfig,
    /// What failed with whom. A peer whose history is out is being met at this moment.
    histories: Mutex<HashMap<PeerId, Option<History>>>,
    stop: CancellationToken,
}

/// Meets every peer that a relayed link comes up to, until `stop`. Errors: `InvalidState` when it runs already.
pub async fn run(fabric: Fabric, config: MeetConfig, stop: CancellationToken) -> Result<()> {
    let mut incoming = fabric.accept(SIGNAL_PROTOCOL)?;
    let mut events = fabric.subscribe();
    let shared = Arc::new(Shared { fabric, config, histories: Mutex::default(), stop: stop.clone() });
    let mut meetings = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            arrival = incoming.next() => {
                let Some((link, stream)) = arrival else { break };
                if link.relayed && meetings.len() < limits::MAX_MEETINGS {
                    let shared = Arc::clone(&shared);
                    meetings.spawn(async move {
                        shared.meet(link, Side::Responder, async { Ok(StreamSignal::new(stream)) }).await;
                    });
                }
            }
            event = events.next() => match event {
                Some(FabricEvent::LinkUp(link)) if link.relayed && link.outbound => {
                    if meetings.len() < limits::MAX_MEETINGS {
                        meetings.spawn(Arc::clone(&shared).begin(link));
                    }
                }
                // The direct way is gone, the one around it is still there.
                Some(FabricEvent::LinkDown(lost, false)) if !lost.relayed => {
                    let around = |link: &Link| link.relayed && link.outbound && link.peer == lost.peer;
                    if let Some(link) = shared.fabric.links().into_iter().find(around)
                        && meetings.len() < limits::MAX_MEETINGS
                    {
                        meetings.spawn(Arc::clone(&shared).begin(link));
                    }
                }
                Some(_) => {}
                None => break,
            },
            Some(_) = meetings.join_next() => {}
        }
    }
    meetings.shutdown().await;
    Ok(())
}

impl Shared {
    async fn begin(self: Arc<Self>, link: Link) {
        tokio::time::sleep(limits::MEETING_GRACE).await;
        if self.is_direct(&link.peer) {
            return;
        }
        let opening = async { Ok(StreamSignal::new(self.fabric.open(&link, SIGNAL_PROTOCOL).await?)) };
        self.meet(link.clone(), Side::Initiator, opening).await;
    }

    fn is_direct(&self, peer: &PeerId) -> bool {
        let direct = |link: &Link| link.peer == *peer && !link.relayed && self.fabric.stage(link) < Stage::Suspect;
        self.fabric.links().iter().any(direct)
    }

    async fn meet(&self, link: Link, side: Side, opening: impl Future<Output = Result<StreamSignal>>) {
        let Some(mut history) = self.take_history(&link.peer) else {
            tracing::debug!(peer = %link.peer, "already meeting this peer, or everything was tried");
            return;
        };
        let outcome = async {
            let mut signal = opening.await?;
            self.punch(&link, side, &mut history, &mut signal).await
        };
        match outcome.await {
            Ok(direct) => tracing::info!(peer = %link.peer, address = %direct.address, "met a peer directly"),
            Err(error) => {
                tracing::info!(peer = %link.peer, error = %error.full_message(), "no direct way to a peer was found");
            }
        }
        self.put_history(link.peer, history);
    }

    async fn punch(&self, link: &Link, side: Side, history: &mut History, signal: &mut StreamSignal) -> Result<Link> {
        let ports: Vec<LocalPort> =
            self.fabric.udp_ports().into_iter().map(|port| LocalPort { port, driven: true }).collect();
        let (relay, near) = relay_of(link);
        let mut observer = StunServers::new(self.servers(relay).await);
        let profile = self.config.profile.borrow().clone().unwrap_or_default();
        let local = Local {
            side,
            nat: NatSummary::new(&profile),
            known: Vec::new(),
            observer: &mut observer,
            history,
            allow_private: near,
            signal_timeout: limits::PUNCH_SIGNAL_TIMEOUT,
        };
        let punched = punch_udp(ports, local, signal, &self.stop).await?;
        for attempt in &punched.log {
            tracing::debug!(peer = %link.peer, %attempt, "hole punching");
        }
        let path = Path::Udp { port: punched.port, remote: punched.remote };
        self.fabric.adopt(path, &link.peer, punched.controlling).await
    }

    /// The named servers, then the relay: nodes of ours answer STUN where they listen.
    async fn servers(&self, relay: Option<SocketAddr>) -> Vec<SocketAddr> {
        let found = lookup::servers(&self.config.servers, limits::STUN_LOOKUP_TIMEOUT).await.unwrap_or_default();
        let first_of_each_family = found.iter().flat_map(|addresses| {
            let v4 = addresses.iter().find(|address| address.is_ipv4());
            let v6 = addresses.iter().find(|address| address.is_ipv6());
            v4.into_iter().chain(v6).copied()
        });
        first_of_each_family.chain(relay).collect()
    }

    fn take_history(&self, peer: &PeerId) -> Option<History> {
        let mut histories = self.histories.lock().unwrap_or_else(PoisonError::into_inner);
        if histories.len() >= limits::MEETING_HISTORIES && !histories.contains_key(peer) {
            // Any one that is not in use: forgetting costs one more attempt.
            let forgotten = histories.iter().find(|(_, history)| history.is_some()).map(|(peer, _)| peer.clone())?;
            histories.remove(&forgotten);
        }
        let history = histories.entry(peer.clone()).or_insert_with(|| Some(History::default())).take()?;
        if history.is_spent() {
            histories.insert(peer.clone(), Some(history));
            return None;
        }
        Some(history)
    }

    fn put_history(&self, peer: PeerId, history: History) {
        let mut histories = self.histories.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_direct(&peer) {
            // What failed before it worked may be tried again another time.
            histories.remove(&peer);
        } else {
            histories.insert(peer, Some(history));
        }
    }
}

/// The relay's UDP address (the same port number as its TCP one, as on all nodes of ours), and whether it is in our own
/// network, so that private addresses of the peer may be tried.
fn relay_of(link: &Link) -> (Option<SocketAddr>, bool) {
    let Ok(address) = link.address.parse::<Multiaddr>() else { return (None, false) };
    let mut parts = address.iter();
    let ip = match parts.next() {
        Some(Protocol::Ip4(ip)) => Some(ip.into()),
        Some(Protocol::Ip6(ip)) => Some(ip.into()),
        _ => None,
    };
    let port = match parts.next() {
        Some(Protocol::Tcp(port) | Protocol::Udp(port)) => Some(port),
        _ => None,
    };
    (ip.zip(port).map(|(ip, port)| SocketAddr::new(ip, port)), address::is_near(&address))
}
