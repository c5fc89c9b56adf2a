//! Every pair of NAT types: do two nodes that know only a relay meet directly, how, and how fast? The whole grid takes
//! minutes and writes `docs/nat-grid.md`; run it with
//! `cargo test --workspace --test nat_grid -- --ignored --nocapture`. A part of it runs with all other tests.
#![cfg(target_os = "linux")]

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use dig_nat_core::fabric::ladder::{Connector, ConnectorConfig};
use dig_nat_core::fabric::{Fabric, FabricConfig, Link};
use dig_nat_core::nat::registry::driver::ConnectionRegistry;
use dig_nat_core::nat::stun::driver::{DetectConfig, detect};
use dig_nat_core::nat::stun::server::StunServer;
use dig_nat_tests::lab::{self, Lab, Nat, Place};
use dig_nat_tests::tree;
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

const ROUNDS: usize = 5;
/// Pairs that meet at the same time.
const WORKERS: usize = 3;
/// Hard pairs take seconds; who has not met by then stays on the relay.
const PATIENCE: Duration = Duration::from_secs(12);

/// How one pair met.
#[derive(Clone, Debug)]
struct Meeting {
    /// `tcp`, `udp`, or `relay` when they did not meet directly.
    by: &'static str,
    /// From dialling to the first link of that kind.
    took: Duration,
}

fn types() -> Vec<(&'static str, Nat)> {
    vec![
        ("public", Nat::public()),
        ("full cone", Nat::full_cone()),
        ("full cone, other ports", Nat::full_cone_random()),
        ("address-restricted", Nat::address_restricted()),
        ("port-restricted", Nat::port_restricted()),
        ("Linux masquerade", Nat::masquerade()),
        ("port-restricted, other ports", Nat::endpoint_independent_random()),
        ("two port-restricted layers", Nat::port_restricted().behind(Nat::port_restricted())),
        ("symmetric, open filter", Nat::symmetric_open()),
        ("symmetric, counting", Nat::symmetric_sequential(1)),
        ("symmetric, random", Nat::symmetric()),
        ("UDP blocked", Nat::udp_blocked()),
    ]
}

struct Node {
    fabric: Fabric,
    stop: CancellationToken,
    meeting: tokio::task::JoinHandle<()>,
}

impl Node {
    async fn start(place: &Place, relay_server: bool, port: u16) -> Self {
        let config = FabricConfig { relay_server, port, interfaces: Vec::new(), ..FabricConfig::default() };
        let (fabric, _) = Fabric::start(config).await.expect("started");
        let servers: Vec<StunServer> =
            place.stun[..4].iter().map(|server| server.to_string().parse().expect("an endpoint")).collect();
        let mut config = DetectConfig::new(servers.clone());
        config.ports = fabric.udp_ports();
        let stop = CancellationToken::new();
        let profile = detect(config, stop.clone()).await.ok();
        let config = ConnectorConfig {
            stun_servers: servers,
            profile: watch::channel(profile).1,
            mappings: watch::channel(Vec::new()).1,
            turn: None,
            registry: ConnectionRegistry::in_memory(),
            ipv6: false,
        };
        let connector = Connector::new(fabric.clone(), config, stop.clone());
        let meeting = tokio::spawn(async move { connector.run().await.expect("the only one on this fabric") });
        Self { fabric, stop, meeting }
    }

    async fn stop(self) {
        self.stop.cancel();
        self.meeting.await.expect("no panic");
        self.fabric.shutdown().await;
    }
}

async fn relay(place: Place, tell: oneshot::Sender<String>, end: CancellationToken) {
    let config = FabricConfig { relay_server: true, port: 443, interfaces: Vec::new(), ..FabricConfig::default() };
    let (fabric, _) = Fabric::start(config).await.expect("started");
    tell.send(format!("/ip4/{}/tcp/443/p2p/{}", place.v4(), fabric.local_peer())).expect("awaited");
    end.cancelled().await;
    fabric.shutdown().await;
}

/// Waits at the relay to be met, until `end`.
async fn wait_at(place: Place, relay: String, tell: oneshot::Sender<String>, end: CancellationToken) {
    let node = Node::start(&place, false, 0).await;
    tell.send(node.fabric.reserve(&relay).await.expect("a place")).expect("awaited");
    end.cancelled().await;
    node.stop().await;
}

async fn go_to(place: Place, address: String) -> Meeting {
    let node = Node::start(&place, false, 0).await;
    let mut events = node.fabric.subscribe();
    let begun = Instant::now();
    let first = node.fabric.dial(&address, PATIENCE).await.expect("through the relay at least");
    let direct = |link: &Link| link.peer == first.peer && !link.relayed;
    let met = async {
        loop {
            if let Some(link) = node.fabric.links().into_iter().find(direct) {
                return link;
            }
            events.next().await.expect("running");
        }
    };
    let meeting = match tokio::time::timeout(PATIENCE, met).await {
        Ok(link) => Meeting { by: link.connection_type(), took: begun.elapsed() },
        Err(_) => Meeting { by: "relay", took: begun.elapsed() },
    };
    node.stop().await;
    meeting
}

/// Lets each pair (waiting type, coming type) meet, and gives what came of it, in the order of the pairs.
fn meet_all(lab: &Lab, pairs: &[(usize, usize)]) -> Vec<Meeting> {
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
                    let (tell, told) = oneshot::channel();
                    let done = CancellationToken::new();
                    let (relay, stop) = (at.clone(), done.clone());
                    let waiter = lab.host(&format!("a{waiting}")).spawn(move |place| wait_at(place, relay, tell, stop));
                    let address = told.blocking_recv().expect("it has a place at the relay");
                    let meeting = lab.host(&format!("b{coming}")).run(move |place| go_to(place, address));
                    done.cancel();
                    waiter.join();
                    results.lock().expect("no panic").insert(index, meeting);
                }
            });
        }
    });
    end.cancel();
    running.join();
    results.into_inner().expect("no panic").into_values().collect()
}

fn build() -> Lab {
    let builder = types().into_iter().enumerate().fold(Lab::builder(), |builder, (index, (_, nat))| {
        builder.site(&format!("a{index}"), nat.clone()).site(&format!("b{index}"), nat)
    });
    builder.build()
}

fn index(name: &str) -> usize {
    types().iter().position(|(known, _)| *known == name).expect("a type of the grid")
}

/// Pairs that need each of the ways to meet, and one that has none.
#[test]
fn hard_pairs_meet_directly() {
    lab::run(|| {
        let lab = build();
        let names = [
            ("port-restricted", "port-restricted, other ports", true),
            ("symmetric, random", "address-restricted", true),
            ("symmetric, counting", "port-restricted", true),
            ("port-restricted", "symmetric, random", true),
            ("UDP blocked", "UDP blocked", true),
            ("symmetric, random", "symmetric, random", false),
        ];
        let pairs: Vec<_> = names.iter().map(|(waiting, coming, _)| (index(waiting), index(coming))).collect();
        let meetings = meet_all(&lab, &pairs);
        let mut wrong = Vec::new();
        for ((waiting, coming, direct), meeting) in names.iter().zip(&meetings) {
            println!("{waiting} and {coming}: {meeting:?}");
            if (meeting.by != "relay") != *direct {
                wrong.push(format!("{waiting} and {coming}: {meeting:?}"));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    });
}

#[test]
#[ignore = "takes minutes; writes docs/nat-grid.md"]
fn the_whole_grid() {
    lab::run_within(Duration::from_secs(3600), || {
        let lab = build();
        let types = types();
        let pairs: Vec<_> = (0..types.len()).flat_map(|row| (0..=row).map(move |column| (row, column))).collect();
        let mut all: BTreeMap<(usize, usize), Vec<Meeting>> = BTreeMap::new();
        for round in 0..ROUNDS {
            // Both take both parts.
            let ordered: Vec<_> = pairs
                .iter()
                .map(|(row, column)| if round % 2 == 0 { (*row, *column) } else { (*column, *row) })
                .collect();
            let begun = Instant::now();
            for (pair, meeting) in pairs.iter().zip(meet_all(&lab, &ordered)) {
                all.entry(*pair).or_default().push(meeting);
            }
            println!("round {} of {ROUNDS}: {:?}", round + 1, begun.elapsed());
        }
        let text = render(&types, &all);
        println!("{text}");
        std::fs::write(tree::root().join("docs/nat-grid.md"), text).expect("written");
    });
}

fn render(types: &[(&str, Nat)], all: &BTreeMap<(usize, usize), Vec<Meeting>>) -> String {
    let mut text = String::from(
        "# The grid of NATs\n\n\
         Two nodes know a relay and each other's peer id, nothing else. Do they meet directly? Each cell says in how\n\
         many of the rounds they did, over what, and the median time from dialling to the direct link. Where they did\n\
         not, the relay carries the bytes: no pair was ever without a connection. Written by\n\
         `cargo test --workspace --test nat_grid -- --ignored` in network namespaces with real NATs and no delay;\n\
         [the NAT lab](nat-lab.md) says what each type does.\n\n|  |",
    );
    for number in 1..=types.len() {
        write!(text, " {number} |").expect("a string");
    }
    text.push_str("\n|---|");
    text.push_str(&"---|".repeat(types.len()));
    for (row, (name, _)) in types.iter().enumerate() {
        write!(text, "\n| {} {name} |", row + 1).expect("a string");
        for column in 0..types.len() {
            let cell = all.get(&(row, column)).map_or_else(String::new, |meetings| cell(meetings));
            write!(text, " {cell} |").expect("a string");
        }
    }
    text.push('\n');
    text
}

fn cell(meetings: &[Meeting]) -> String {
    let mut direct: Vec<&Meeting> = meetings.iter().filter(|meeting| meeting.by != "relay").collect();
    direct.sort_by_key(|meeting| meeting.took);
    let Some(median) = direct.get(direct.len() / 2) else { return "relay".to_owned() };
    let mut ways: Vec<&str> = direct.iter().map(|meeting| meeting.by).collect();
    ways.sort_unstable();
    ways.dedup();
    let seconds = median.took.as_secs_f64();
    format!("{}/{} {} {seconds:.2} s", direct.len(), meetings.len(), ways.join("+"))
}
