//! Whole nodes that share only a stock relay: they meet by letters, and their bytes pass through it. Not here: what is
//! written there (`nat::carrier` in the core), and strangers that write too (`core/tests/gun_carrier.rs`).

use std::time::Duration;

use bytes::Bytes;
use dig_nat_core::api::{Message, NetworkManager};
use dig_nat_core::base::options::{ClientOptions, ConnectOptions, NodeOptions};

use super::graph::tests;
use super::stock::{Relay, WAIT};

const BYTES: usize = 1_000_000;

/// Nodes without a common transport: no address of one is of use to the other.
async fn node(url: &str, tcp: bool) -> NetworkManager {
    let options = NodeOptions {
        local_only: true,
        interfaces: vec!["lo".into()],
        local_enabled: false,
        dht_enabled: false,
        pex_enabled: false,
        gun_enabled: true,
        gun_peers: vec![url.to_owned()],
        enable_tcp: tcp,
        enable_udp: !tcp,
        ..NodeOptions::default()
    };
    let node = NetworkManager::new(options, ClientOptions::default()).expect("valid");
    node.start().await.expect("started");
    node
}

fn message(data: Bytes) -> Message {
    Message { kind: String::new(), text: false, data }
}

async fn nodes_meet_and_bytes_pass(axe: bool, radisk: bool) {
    let mut relay = Relay::start_with(axe, radisk).await;
    let (one, other) = (node(&relay.url(), true).await, node(&relay.url(), false).await);
    let peer = other.peer_id().expect("runs");
    let options = ConnectOptions { timeout_ms: 60_000, ..ConnectOptions::default() };
    let (connection, way) = one.connect_to_peer(peer.as_str(), options).await.expect("reached");
    assert_eq!((way.method, way.connection_type, way.relayed), ("gun-relay", "gun-relay", true));
    let content: Bytes = (0..BYTES).map(|number| (number / 3) as u8).collect::<Vec<u8>>().into();
    let (here, there) = (&connection, async { other.accept().await.expect("it runs") });
    let passing = async {
        let greeted = here.send(message(Bytes::from_static(b"hello")));
        let (greeted, accepted) = tokio::join!(greeted, there);
        greeted.expect("sent");
        assert_eq!(accepted.receive().await.expect("open").expect("sent").data, "hello");
        for (from, to) in [(here, &accepted), (&accepted, here)] {
            let (sent, received) = tokio::join!(from.send(message(content.clone())), to.receive());
            sent.expect("sent");
            assert!(received.expect("open").expect("sent").data == content);
        }
    };
    tokio::time::timeout(WAIT + Duration::from_secs(60), passing).await.expect("all bytes passed");
    relay.assert_alive();
    one.stop().await.expect("stopped");
    other.stop().await.expect("stopped");
}

tests! {
    nodes_that_share_only_a_stock_relay_meet_without_axe: nodes_meet_and_bytes_pass(false, true);
    nodes_that_share_only_a_stock_relay_meet_with_axe: nodes_meet_and_bytes_pass(true, true);
    nodes_that_share_only_a_stock_relay_without_a_disk_meet: nodes_meet_and_bytes_pass(false, false);
}
