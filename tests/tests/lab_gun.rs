//! Two nodes behind strict NATs that share nothing but a Gun relay on the internet: they meet by letters and punch, or, if
//! no direct way exists, pass their bytes through the relay. Not here: stock relays (`gun_js`), and what is written to
//! them (`nat::carrier` in the core).
#![cfg(target_os = "linux")]

use std::time::Duration;

use bytes::Bytes;
use dig_nat_core::api::{Message, NetworkManager, Traversal, punch_tcp, punch_udp};
use dig_nat_core::base::events::Event;
use dig_nat_core::base::options::{ClientOptions, ConnectOptions, NodeOptions, PunchOptions};
use dig_nat_core::gun::{GunRelay, GunRelayConfig};
use dig_nat_tests::lab::{self, Lab, Nat, Place, Running};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

const WAIT: Duration = Duration::from_secs(30);
const PORT: u16 = 8765;

/// A started node that knows its NAT and the Gun relay, and no other way to anybody.
async fn node(place: &Place, relay: &str) -> NetworkManager {
    let options = NodeOptions {
        local_enabled: false,
        dht_enabled: false,
        pex_enabled: false,
        enable_upnp: false,
        enable_natpmp: false,
        stun_servers: place.stun[..4].iter().map(ToString::to_string).collect(),
        gun_peers: vec![relay.to_owned()],
        ..NodeOptions::default()
    };
    let node = NetworkManager::new(options, ClientOptions::default()).expect("valid");
    let mut events = node.subscribe();
    node.start().await.expect("started");
    let known = async { while !matches!(events.next().await.expect("running"), Event::NatDetected { .. }) {} };
    tokio::time::timeout(WAIT, known).await.expect("the NAT is detected");
    node
}

/// A Gun relay until `end`, and its URL.
fn relay(lab: &Lab, end: &CancellationToken) -> (Running<()>, String) {
    let (tell, told) = oneshot::channel();
    let over = end.clone();
    let running = lab.host("relay").spawn(move |place| async move {
        let listen = format!("{}:{PORT}", place.v4()).parse().expect("an address");
        let config = GunRelayConfig { listen, ..GunRelayConfig::default() };
        let relay = GunRelay::start(config).await.expect("started");
        tell.send(format!("ws://{listen}/gun")).expect("awaited");
        over.cancelled().await;
        relay.stop().await;
    });
    (running, told.blocking_recv().expect("the relay runs"))
}

/// How a node behind one NAT reaches one behind another, by these ways or any. After certain ways it has to come to a
/// better link by itself.
fn meet(one: Nat, other: Nat, methods: &'static [&str]) -> Traversal {
    let lab = Lab::builder().site("one", one).site("other", other).build();
    let end = CancellationToken::new();
    let (relay, url) = relay(&lab, &end);
    let (tell, told) = oneshot::channel();
    let (over, at) = (end.clone(), url.clone());
    let answering = lab.host("other").spawn(move |place| async move {
        let node = node(&place, &at).await;
        tell.send(node.peer_id().expect("running")).expect("awaited");
        let echo = async {
            while let Some(connection) = node.accept().await {
                while let Ok(Some(message)) = connection.receive().await {
                    let _ = connection.send(message).await;
                }
            }
        };
        over.run_until_cancelled(echo).await;
        node.stop().await.expect("stopped");
    });
    let peer = told.blocking_recv().expect("it runs");
    let way = lab.host("one").run(move |place| async move {
        let node = node(&place, &url).await;
        let preferred_methods = methods.iter().map(ToString::to_string).collect();
        let options = ConnectOptions { preferred_methods, timeout_ms: 25_000, ..ConnectOptions::default() };
        let (connection, way) = node.connect_to_peer(peer.as_str(), options).await.expect("reached");
        let data = Bytes::from(vec![7; 100_000]);
        let message = Message { kind: String::new(), text: false, data };
        connection.send(message.clone()).await.expect("sent");
        let answer = tokio::time::timeout(WAIT, connection.receive()).await.expect("in time").expect("open");
        assert!(answer == Some(message));
        if !methods.is_empty() {
            // Whoever comes next does not insist on that way.
            let mut events = node.subscribe();
            node.connect_to_peer(peer.as_str(), ConnectOptions::default()).await.expect("there is a link");
            let better = async {
                while node.connection_type(peer.as_str()).is_none_or(|kind| kind == way.connection_type) {
                    events.next().await.expect("running");
                }
            };
            tokio::time::timeout(WAIT, better).await.expect("a direct link takes over");
        }
        connection.close().await;
        node.stop().await.expect("stopped");
        way
    });
    println!("{} in {} ms\n{}", way.method, way.took_ms, way.attempts.render());
    end.cancel();
    relay.join();
    answering.join();
    way
}

#[test]
fn strict_nats_are_punched_with_letters_alone() {
    lab::run(|| {
        let way = meet(Nat::port_restricted(), Nat::port_restricted(), &[]);
        assert!(!way.relayed, "{way:?}");
    });
}

#[test]
fn where_no_hole_can_be_punched_the_relay_carries_the_bytes() {
    lab::run(|| {
        let way = meet(Nat::symmetric(), Nat::symmetric(), &[]);
        assert_eq!((way.method, way.connection_type, way.relayed), ("gun-relay", "gun-relay", true));
    });
}

#[test]
fn a_direct_link_takes_over_from_the_relay() {
    lab::run(|| {
        let way = meet(Nat::port_restricted(), Nat::port_restricted(), &["gun-relay"]);
        assert_eq!((way.method, way.relayed), ("gun-relay", true));
    });
}

/// One side of a single way to a peer that is known by its name alone: a hole for datagrams, then one for a stream.
async fn by_name(place: &Place, url: &str, us: &str, peer: &str) -> [&'static str; 2] {
    let options = PunchOptions {
        local_id: Some(us.into()),
        remote_id: Some(peer.into()),
        key: Some("both know it".into()),
        gun_peers: vec![url.into()],
        stun_servers: place.stun[..4].iter().map(ToString::to_string).collect(),
        timeout_ms: WAIT.as_millis() as u64,
        ..PunchOptions::default()
    };
    let mut types = [""; 2];
    for (index, punch) in [punch_udp as fn(_) -> _, punch_tcp].into_iter().enumerate() {
        let socket = punch(options.clone()).wait().await.expect("punched");
        types[index] = socket.info().connection_type;
        // Datagrams may be lost; whoever has heard the other has been heard too, or says it again.
        let mut heard = None;
        while heard.is_none() {
            socket.send(Bytes::from_static(b"hello")).await.expect("open");
            heard = tokio::time::timeout(Duration::from_millis(200), socket.receive()).await.ok();
        }
        assert!(heard.expect("heard").expect("open").expect("not ended").starts_with(b"hello"));
        // The other side may not have heard yet.
        socket.send(Bytes::from_static(b"hello")).await.expect("open");
        socket.close().await;
    }
    types
}

#[test]
fn single_ways_pass_strict_nats_with_names_alone() {
    lab::run(|| {
        let lab = Lab::builder().site("one", Nat::port_restricted()).site("other", Nat::port_restricted()).build();
        let end = CancellationToken::new();
        let (relay, url) = relay(&lab, &end);
        let at = url.clone();
        let other = lab.host("other").spawn(move |place| async move {
            assert_eq!(by_name(&place, &at, "other", "one").await, ["UDP_HOLE_PUNCH", "TCP_HOLE_PUNCH"]);
        });
        let types = lab.host("one").run(move |place| async move { by_name(&place, &url, "one", "other").await });
        assert_eq!(types, ["UDP_HOLE_PUNCH", "TCP_HOLE_PUNCH"]);
        other.join();
        end.cancel();
        relay.join();
    });
}
