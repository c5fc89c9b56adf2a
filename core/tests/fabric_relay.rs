//! Circuits through a relay of ours and of stock libp2p, and the meeting of both ends that follows (DCUtR). On the
//! loopback interface: that it works through NATs is shown in the NAT lab.

use std::time::Duration;

use dig_nat_core::ErrorKind;
use dig_nat_core::fabric::{Fabric, FabricConfig, FabricEvent, Link};
use futures::{AsyncReadExt, AsyncWriteExt};

const ECHO: &str = "/test/echo/1";
const WAIT: Duration = Duration::from_secs(20);

async fn node(relay_server: bool) -> Fabric {
    let config = FabricConfig {
        interfaces: vec!["lo".into()],
        protocols: vec![ECHO],
        relay_server,
        local_only: true,
        ..FabricConfig::default()
    };
    Fabric::start(config).await.expect("started").0
}

fn address(fabric: &Fabric) -> String {
    format!("/ip4/127.0.0.1/tcp/{}/p2p/{}", fabric.port(), fabric.local_peer())
}

async fn link_to(fabric: &Fabric, what: &str, fits: impl Fn(&Link) -> bool) -> Link {
    let mut events = fabric.subscribe();
    let found = async {
        loop {
            if let Some(link) = fabric.links().into_iter().find(|link| fits(link)) {
                return link;
            }
            events.next().await.expect("running");
        }
    };
    tokio::time::timeout(WAIT, found).await.unwrap_or_else(|_| panic!("no {what}: {:?}", fabric.links()))
}

/// Sends bytes over one link and takes them at the other end; gives the link they arrived on.
async fn exchange(from: &Fabric, link: &Link, to: &Fabric, bytes: usize) -> Link {
    let mut incoming = to.accept(ECHO).expect("free");
    let mut stream = from.open(link, ECHO).await.expect("opened");
    let sending = async move {
        stream.write_all(&vec![7; bytes]).await.expect("written");
        stream.close().await.expect("closed");
    };
    let receiving = async {
        let (link, mut stream) = incoming.next().await.expect("a stream");
        let mut received = Vec::new();
        stream.read_to_end(&mut received).await.expect("read");
        assert_eq!(received.len(), bytes);
        link
    };
    tokio::time::timeout(WAIT, async { tokio::join!(sending, receiving).1 }).await.expect("in time")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_meet_through_a_relay_and_then_directly() {
    let (relay, a, b) = (node(true).await, node(false).await, node(false).await);
    let mine = b.reserve(&address(&relay)).await.expect("a place");
    assert!(mine.contains("/p2p-circuit") && b.addresses().contains(&mine), "{mine} in {:?}", b.addresses());

    let circuit = a.dial(&mine, WAIT).await.expect("through the relay");
    assert!(circuit.relayed);
    assert_eq!((&circuit.peer, circuit.connection_type()), (&b.local_peer(), "relay"));
    // More than a stock relay lets through.
    let arrived = exchange(&a, &circuit, &b, 1 << 20).await;
    assert!(arrived.relayed, "{arrived:?}");
    assert_eq!(arrived.peer, a.local_peer());

    let direct = link_to(&a, "direct link", |link| link.peer == b.local_peer() && !link.relayed).await;
    assert!(!exchange(&a, &direct, &b, 1000).await.relayed);
    for node in [a, b, relay] {
        node.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_place_and_a_circuit_at_one_relay_can_be_asked_for_at_once() {
    let (relay, b) = (node(true).await, node(false).await);
    let theirs = b.reserve(&address(&relay)).await.expect("a place");
    for _ in 0..5 {
        let a = node(false).await;
        let at = address(&relay);
        let (place, circuit) = tokio::join!(a.reserve(&at), a.dial(&theirs, WAIT));
        place.expect("a place");
        assert_eq!(circuit.expect("through the relay").peer, b.local_peer());
        a.shutdown().await;
    }
    b.shutdown().await;
    relay.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_a_place_is_not_reached_through_the_relay() {
    let (relay, a, b) = (node(true).await, node(false).await, node(false).await);
    b.dial(&address(&relay), WAIT).await.expect("connected, but without a place");
    let error = a
        .dial(&format!("{}/p2p-circuit/p2p/{}", address(&relay), b.local_peer()), WAIT)
        .await
        .expect_err("the relay connects only those that asked for it");
    assert_eq!(error.kind(), ErrorKind::PeerUnreachable);
    assert!(error.to_string().contains("eservation"), "the relay's reason is kept: {error}");
    for node in [a, b, relay] {
        node.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_no_relay_grants_no_place() {
    let (stranger, a) = (node(false).await, node(false).await);
    let error = a.reserve(&address(&stranger)).await.expect_err("not a relay");
    assert_eq!(error.kind(), ErrorKind::PeerUnreachable, "{error}");
    for wrong in ["127.0.0.1:1", "/ip4/127.0.0.1/tcp/1"] {
        assert_eq!(a.reserve(wrong).await.expect_err("no peer id").kind(), ErrorKind::InvalidArgument);
    }
    a.shutdown().await;
    stranger.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_relay_is_told_and_a_released_place_is_gone() {
    let (relay, b) = (node(true).await, node(false).await);
    let mine = b.reserve(&address(&relay)).await.expect("a place");
    b.release(&relay.local_peer()).await.expect("running");
    let mut events = b.subscribe();
    let gone = async {
        while b.addresses().contains(&mine) {
            events.next().await.expect("running");
        }
    };
    tokio::time::timeout(WAIT, gone).await.expect("released");

    let mine = b.reserve(&address(&relay)).await.expect("again");
    let mut events = b.subscribe();
    relay.shutdown().await;
    let lost = async {
        loop {
            if let FabricEvent::ListenAddressLost(address) = events.next().await.expect("running")
                && mine.starts_with(&address)
            {
                return;
            }
        }
    };
    tokio::time::timeout(WAIT, lost).await.expect("told");
    b.shutdown().await;
}
