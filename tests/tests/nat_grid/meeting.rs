//! Two nodes and a relay, as a program would use them: one waits at the relay, the other one comes. Not here: which pairs
//! meet (`kinds`), and the page that it makes (`page`).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use dig_nat_core::api::{EventStream, NetworkManager};
use dig_nat_core::base::events::Event;
use dig_nat_core::base::options::{ClientOptions, NodeOptions};
use dig_nat_tests::lab::{Lab, Place};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

/// Pairs that meet at the same time.
const WORKERS: usize = 3;
/// Hard pairs take seconds; who has not met by then stays on the relay.
const PATIENCE: Duration = Duration::from_secs(12);
/// Longest wait for a place at the relay, or a port of the router.
const READY: Duration = Duration::from_secs(20);
/// Longest wait for knowledge of the own NAT, which is not needed to connect.
const EXAMINED: Duration = Duration::from_secs(6);

/// How one pair met.
#[derive(Clone, Debug)]
pub struct Meeting {
    /// `tcp`, `udp`, or `relay` when they did not meet directly.
    pub by: &'static str,
    /// From dialling to the first link of that kind.
    pub took: Duration,
}

/// One side of a pair.
#[derive(Clone, Debug)]
pub struct Party {
    pub host: String,
    /// Its router forwards ports on request.
    pub maps_ports: bool,
}

/// How the relay is reached by each family.
#[derive(Clone, Debug)]
struct Relay {
    v4: String,
    v6: String,
}

impl Relay {
    fn seen_from(&self, place: &Place) -> String {
        if place.v4.is_empty() { self.v6.clone() } else { self.v4.clone() }
    }
}

fn options(place: &Place, maps_ports: bool) -> NodeOptions {
    let (v4, v6) = place.stun.split_at(4);
    let mut servers: Vec<SocketAddr> = Vec::new();
    servers.extend(if place.v4.is_empty() { &[] } else { v4 });
    servers.extend(if place.v6.is_empty() { &[] } else { v6 });
    NodeOptions {
        local_enabled: false,
        enable_upnp: maps_ports,
        enable_natpmp: maps_ports,
        enable_ipv6: !place.v6.is_empty(),
        stun_servers: servers.iter().map(ToString::to_string).collect(),
        ..NodeOptions::default()
    }
}

async fn event(events: &mut EventStream, what: &str, fits: impl Fn(&Event) -> bool) {
    let waiting = async { while !fits(&events.next().await.expect("the node runs")) {} };
    tokio::time::timeout(READY, waiting).await.unwrap_or_else(|_| panic!("{what}: not within {READY:?}"));
}

/// A node that has had the time to look around.
async fn node(place: &Place, maps_ports: bool, relays: Vec<String>) -> NetworkManager {
    let waits = !relays.is_empty();
    let options = NodeOptions { relays, ..options(place, maps_ports) };
    let node = NetworkManager::new(options, ClientOptions::default()).expect("valid");
    // One for each: they come in any order.
    let (mut places, mut ports) = (node.subscribe(), node.subscribe());
    node.start().await.expect("started");
    let examined = async {
        while node.nat_profile().is_none() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    // Where nothing answers there is nothing to know.
    let _ = tokio::time::timeout(EXAMINED, examined).await;
    if waits {
        event(&mut places, "a place at the relay", |event| matches!(event, Event::RelayReserved { .. })).await;
    }
    if maps_ports {
        event(&mut ports, "a port of the router", |event| matches!(event, Event::PortMapped { .. })).await;
    }
    node
}

async fn relay(place: Place, tell: oneshot::Sender<Relay>, end: CancellationToken) {
    let options = NodeOptions { relay_server: true, port: 443, enable_ipv6: true, ..options(&place, false) };
    let node = NetworkManager::new(options, ClientOptions::default()).expect("valid");
    node.start().await.expect("started");
    let peer = node.peer_id().expect("running");
    let v4 = format!("/ip4/{}/tcp/443/p2p/{peer}", place.v4());
    let v6 = format!("/ip6/{}/tcp/443/p2p/{peer}", place.v6());
    tell.send(Relay { v4, v6 }).expect("awaited");
    end.cancelled().await;
    node.stop().await.expect("stopped");
}

/// Waits at the relay to be met, until `end`.
async fn wait_at(place: Place, maps_ports: bool, relay: String, tell: oneshot::Sender<String>, end: CancellationToken) {
    let node = node(&place, maps_ports, vec![relay]).await;
    tell.send(node.peer_id().expect("running").to_string()).expect("awaited");
    end.cancelled().await;
    node.stop().await.expect("stopped");
}

async fn go_to(place: Place, maps_ports: bool, relay: String, peer: String) -> Meeting {
    let node = node(&place, maps_ports, Vec::new()).await;
    let begun = Instant::now();
    let connection = node.connect(&format!("{relay}/p2p-circuit/p2p/{peer}")).await;
    let _connection = connection.unwrap_or_else(|error| panic!("not even relayed: {}", error.full_message()));
    let direct = async {
        loop {
            match node.connection_type(&peer) {
                Some("relay") | None => tokio::time::sleep(Duration::from_millis(5)).await,
                Some(by) => return by,
            }
        }
    };
    let by = tokio::time::timeout(PATIENCE, direct).await.unwrap_or("relay");
    let meeting = Meeting { by, took: begun.elapsed() };
    node.stop().await.expect("stopped");
    meeting
}

/// Lets each pair (the waiting side, the coming side) meet, and gives what came of it, in the order of the pairs.
pub fn meet_all(lab: &Lab, pairs: &[(Party, Party)]) -> Vec<Meeting> {
    let end = CancellationToken::new();
    let (tell, told) = oneshot::channel();
    let stop = end.clone();
    let running = lab.host("relay").spawn(move |place| relay(place, tell, stop));
    let at = told.blocking_recv().expect("the relay runs");
    let next = Mutex::new(0);
    let results = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                loop {
                    let index = {
                        let mut next = next.lock().expect("no panic");
                        *next += 1;
                        *next - 1
                    };
                    let Some((waiting, coming)) = pairs.get(index) else { return };
                    let meeting = meet(lab, &at, waiting, coming);
                    println!("{} and {}: {meeting:?}", waiting.host, coming.host);
                    results.lock().expect("no panic").insert(index, meeting);
                }
            });
        }
    });
    end.cancel();
    running.join();
    results.into_inner().expect("no panic").into_values().collect()
}

fn meet(lab: &Lab, at: &Relay, waiting: &Party, coming: &Party) -> Meeting {
    let (tell, told) = oneshot::channel();
    let done = CancellationToken::new();
    let (relay, stop, maps_ports) = (at.clone(), done.clone(), waiting.maps_ports);
    let waiter = lab.host(&waiting.host).spawn(move |place| async move {
        let relay = relay.seen_from(&place);
        wait_at(place, maps_ports, relay, tell, stop).await;
    });
    let Ok(peer) = told.blocking_recv() else {
        waiter.join();
        unreachable!("it ends without a word only by a panic");
    };
    let (relay, maps_ports) = (at.clone(), coming.maps_ports);
    let meeting = lab.host(&coming.host).run(move |place| async move {
        let relay = relay.seen_from(&place);
        go_to(place, maps_ports, relay, peer).await
    });
    done.cancel();
    waiter.join();
    meeting
}
