//! Hole punching through real NATs of the lab: each pair by the method that it needs. Not here: pairs without a chance,
//! losses and orders of events, which `core/tests/punch_simulation.rs` covers.
#![cfg(target_os = "linux")]

use std::time::{Duration, Instant};

use dig_nat_core::Result;
use dig_nat_core::base::limits;
use dig_nat_core::nat::policy::Scope;
use dig_nat_core::nat::punch::driver::{Local, LocalPort, PunchedTcp, PunchedUdp, StunServers, punch_tcp, punch_udp};
use dig_nat_core::nat::punch::message::NatSummary;
use dig_nat_core::nat::punch::plan::History;
use dig_nat_core::nat::punch::{Method, Side};
use dig_nat_core::nat::signal::MemorySignal;
use dig_nat_core::nat::stun::driver::{DetectConfig, detect};
use dig_nat_core::net::udp::UdpPort;
use dig_nat_tests::lab::{self, Ipv6, Lab, Nat, Place, Site};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

/// What the library itself finds out about the place's NAT.
async fn measure(place: &Place) -> NatSummary {
    let servers = [place.stun[0], place.stun[4]].map(|server| server.to_string().parse().expect("an endpoint"));
    let found = detect(DetectConfig::new(servers.to_vec()), CancellationToken::new()).await;
    NatSummary::new(&found.expect("servers answer"))
}

fn local<'a>(side: Side, nat: NatSummary, observer: &'a mut StunServers, history: &'a mut History) -> Local<'a> {
    let signal_timeout = limits::PUNCH_SIGNAL_TIMEOUT;
    Local { side, nat, known: Vec::new(), observer, history, scope: Scope::Internet, signal_timeout }
}

/// One side of an attempt, and how long it took without measuring.
async fn udp(place: Place, side: Side, nat: NatSummary, mut signal: MemorySignal) -> (Result<PunchedUdp>, Duration) {
    let (mut observer, mut history) = (StunServers::new(place.stun), History::default());
    let any = ["0.0.0.0:0", "[::]:0"].map(|at| at.parse().expect("valid"));
    let families = if place.v6.is_empty() { &any[..1] } else { &any[..] };
    let bound = families.iter().map(|at| UdpPort::bind(*at).expect("a free port"));
    let ports = bound.map(|port| LocalPort { port, driven: false }).collect();
    let begun = Instant::now();
    let local = local(side, nat, &mut observer, &mut history);
    (punch_udp(ports, local, &mut signal, &CancellationToken::new()).await, begun.elapsed())
}

/// Sends STUN-shaped bytes over a path until the other side's come back.
async fn talk(punched: PunchedUdp) -> PunchedUdp {
    let mut route = punched.port.route(|bytes, _| bytes[1] == 0x11).expect("room");
    let mut hello = [0x21; 20];
    hello[..8].copy_from_slice(&[0, 0x11, 0, 0, 0x21, 0x12, 0xa4, 0x42]);
    let exchange = async {
        loop {
            punched.port.send(&hello, punched.remote).await.expect("sent");
            if let Ok(heard) = tokio::time::timeout(Duration::from_millis(50), route.receive()).await {
                // The other side may still wait for ours.
                punched.port.send(&hello, punched.remote).await.expect("sent");
                return heard.from;
            }
        }
    };
    let heard = tokio::select! {
        heard = tokio::time::timeout(Duration::from_secs(5), exchange) => heard.expect("the path carries bytes"),
        error = punched.port.pump() => panic!("{error}"),
    };
    assert_eq!(heard, punched.remote);
    drop(route);
    punched
}

/// Punches between two sites of the lab, lets bytes flow, and checks the methods and the time.
fn assert_punched(lab: &Lab, sites: [&str; 2], expected: Method, allowed: Duration) {
    let name = format!("{} x {}", sites[0], sites[1]);
    let measured = sites.map(|site| lab.host(site).spawn(|place| async move { measure(&place).await }));
    let nats = measured.map(lab::Running::join);
    let (here, there) = MemorySignal::pair();
    let [(first_nat, second_nat)] = [(nats[0], nats[1])];
    let first = lab.host(sites[0]).spawn(move |place| udp(place, Side::Initiator, first_nat, here));
    let second = lab.host(sites[1]).spawn(move |place| udp(place, Side::Responder, second_nat, there));
    let (first, second) = (first.join(), second.join());
    let took = first.1.max(second.1);
    let unwrap = |result: Result<PunchedUdp>| match result {
        Ok(punched) => punched,
        Err(error) => panic!("{name}: {}; the NATs: {nats:?}", error.full_message()),
    };
    let (first, second) = (unwrap(first.0), unwrap(second.0));
    println!("{name}: {:?} in {took:?}: {:?}", first.log.last(), first.log.len());
    assert_eq!(first.log.last().map(|attempt| attempt.method), Some(expected), "{name}: {:?}", first.log);
    assert!(first.controlling && !second.controlling, "{name}");
    // Four times what it takes on a quiet machine: it must end, speed is measured in the grid.
    assert!(took < 4 * allowed, "{name}: {took:?}");
    let first = lab.host(sites[0]).spawn(|_| talk(first));
    let second = lab.host(sites[1]).spawn(|_| talk(second));
    first.join();
    second.join();
}

#[test]
fn easy_nats_are_punched_at_once() {
    lab::run(|| {
        let lab = Lab::builder()
            .site("strict", Nat::port_restricted())
            .site("strict2", Nat::port_restricted())
            .site("masquerade", Nat::masquerade())
            .site("changing", Nat::endpoint_independent_random())
            .site("lax", Nat::address_restricted())
            .site("symmetric", Nat::symmetric())
            .site("open", Nat::symmetric_open())
            .build();
        for sites in [
            ["strict", "strict2"],
            ["masquerade", "changing"],
            ["symmetric", "lax"],
            ["lax", "symmetric"],
            ["open", "strict"],
            ["symmetric", "open"],
        ] {
            assert_punched(&lab, sites, Method::Plain, Duration::from_secs(2));
        }
    });
}

#[test]
fn sequential_ports_are_predicted() {
    lab::run(|| {
        let lab = Lab::builder()
            .site("strict", Nat::port_restricted())
            .site("ones", Nat::symmetric_sequential(1))
            .site("twos", Nat::symmetric_sequential(2))
            .build();
        let one_sided = |initiator| Method::Prediction { initiator, responder: !initiator };
        assert_punched(&lab, ["strict", "ones"], one_sided(false), Duration::from_secs(2));
        assert_punched(&lab, ["twos", "strict"], one_sided(true), Duration::from_secs(2));
        let both = Method::Prediction { initiator: true, responder: true };
        assert_punched(&lab, ["ones", "twos"], both, Duration::from_secs(2));
    });
}

#[test]
fn random_ports_are_met_by_birthday_probing() {
    lab::run(|| {
        let lab = Lab::builder().site("hard", Nat::symmetric()).site("strict", Nat::port_restricted()).build();
        // Of 256 sockets and 2048 probes nothing meets once in 3000 times.
        let allowed = Duration::from_secs(6);
        assert_punched(&lab, ["hard", "strict"], Method::Birthday { hard: Side::Initiator }, allowed);
        assert_punched(&lab, ["strict", "hard"], Method::Birthday { hard: Side::Responder }, allowed);
    });
}

#[test]
fn ipv6_saves_two_symmetric_nats() {
    lab::run(|| {
        let site = || Site::new(Nat::symmetric()).ipv6(Ipv6::Firewalled);
        let lab = Lab::builder().site("one", site()).site("two", site()).build();
        assert_punched(&lab, ["one", "two"], Method::Plain, Duration::from_secs(2));
    });
}

async fn tcp(place: Place, side: Side, nat: NatSummary, mut signal: MemorySignal) -> Result<PunchedTcp> {
    let (mut observer, mut history) = (StunServers::new(place.stun), History::default());
    let local = local(side, nat, &mut observer, &mut history);
    let at = "0.0.0.0:0".parse().expect("valid");
    punch_tcp(vec![at], local, &mut signal, &CancellationToken::new()).await
}

/// The connection carries bytes both ways.
async fn exchange(mut punched: PunchedTcp) {
    punched.stream.write_all(b"hello").await.expect("open");
    let mut heard = [0; 5];
    let reading = tokio::time::timeout(Duration::from_secs(5), punched.stream.read_exact(&mut heard));
    reading.await.expect("the peer's bytes arrive").expect("open");
    assert_eq!(&heard, b"hello");
}

#[test]
fn tcp_opens_where_udp_is_blocked() {
    lab::run(|| {
        let lab = Lab::builder()
            .site("blocked", Nat::udp_blocked())
            .site("blocked2", Nat::udp_blocked())
            .site("strict", Nat::port_restricted())
            .site("open", Nat::full_cone())
            .build();
        for sites in [["blocked", "blocked2"], ["strict", "blocked"], ["open", "strict"]] {
            let measured = sites.map(|site| lab.host(site).spawn(|place| async move { measure(&place).await }));
            let [first_nat, second_nat] = measured.map(lab::Running::join);
            let (here, there) = MemorySignal::pair();
            let begun = Instant::now();
            let first = lab.host(sites[0]).spawn(move |place| tcp(place, Side::Initiator, first_nat, here));
            let second = lab.host(sites[1]).spawn(move |place| tcp(place, Side::Responder, second_nat, there));
            let unwrap = |result: Result<PunchedTcp>| match result {
                Ok(punched) => punched,
                Err(error) => panic!("{sites:?}: {}", error.full_message()),
            };
            let (first, second) = (unwrap(first.join()), unwrap(second.join()));
            println!("{sites:?}: {:?} in {:?}", first.log.last(), begun.elapsed());
            assert_eq!(first.log.last().map(|attempt| attempt.method), Some(Method::TcpOpen));
            let first = lab.host(sites[0]).spawn(|_| exchange(first));
            let second = lab.host(sites[1]).spawn(|_| exchange(second));
            first.join();
            second.join();
        }
    });
}
