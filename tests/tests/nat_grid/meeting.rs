//! Two nodes and a relay, as a program would use them: one waits at the relay, the other one comes. Not here: which pairs
//! meet (`kinds`), and the page that it makes (`page`).

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Condvar, Mutex};
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
        // The public table's entry nodes would each take a port of a NAT that counts; in a private one, all who come to
        // the relay would meet each other.
        dht_enabled: false,
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

/// Pairs that are to meet: who they are, and how often.
#[derive(Clone, Debug)]
pub struct Pair {
    pub one: Party,
    pub other: Party,
    pub rounds: usize,
}

/// Lets each pair meet in all its rounds, with the two taking turns at waiting and coming, and tells what came of it as
/// soon as its rounds are over. No host is in two meetings at once, for one pair takes ports of the other's NAT.
pub fn meet_all(lab: &Lab, pairs: &[Pair], done: impl FnMut(usize, Vec<Meeting>) + Send) {
    let end = CancellationToken::new();
    let (tell, told) = oneshot::channel();
    let stop = end.clone();
    let running = lab.host("relay").spawn(move |place| relay(place, tell, stop));
    let at = told.blocking_recv().expect("the relay runs");
    let queue =
        Queue { pairs, state: Mutex::new((BTreeSet::new(), (0..pairs.len()).collect())), freed: Condvar::new() };
    let done = Mutex::new(done);
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                while let Some(index) = queue.take() {
                    let _free = Free(&queue, index);
                    let Pair { one, other, rounds } = &pairs[index];
                    let meetings = (0..*rounds)
                        .map(|round| {
                            let (waiting, coming) = if round % 2 == 0 { (one, other) } else { (other, one) };
                            let meeting = meet(lab, &at, waiting, coming);
                            println!("{} and {}: {meeting:?}", waiting.host, coming.host);
                            meeting
                        })
                        .collect();
                    done.lock().expect("no panic")(index, meetings);
                }
            });
        }
    });
    end.cancel();
    running.join();
}

/// The pairs that have not met yet, and the hosts that are in use.
struct Queue<'a> {
    pairs: &'a [Pair],
    state: Mutex<(BTreeSet<&'a str>, Vec<usize>)>,
    freed: Condvar,
}

impl<'a> Queue<'a> {
    fn hosts(&self, index: usize) -> [&'a str; 2] {
        [&self.pairs[index].one.host, &self.pairs[index].other.host]
    }

    /// The first pair whose hosts are free, once there is one.
    fn take(&self) -> Option<usize> {
        let mut state = self.state.lock().expect("no panic");
        loop {
            let (busy, waiting) = &mut *state;
            if waiting.is_empty() {
                return None;
            }
            let free = |index: &usize| self.hosts(*index).iter().all(|host| !busy.contains(host));
            if let Some(at) = waiting.iter().position(free) {
                let index = waiting.remove(at);
                busy.extend(self.hosts(index));
                return Some(index);
            }
            state = self.freed.wait(state).expect("no panic");
        }
    }
}

/// Frees a pair's hosts in the end, also by a panic.
struct Free<'a>(&'a Queue<'a>, usize);

impl Drop for Free<'_> {
    fn drop(&mut self) {
        let hosts = self.0.hosts(self.1);
        if let Ok(mut state) = self.0.state.lock() {
            state.0.retain(|host| !hosts.contains(host));
        }
        self.0.freed.notify_all();
    }
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
