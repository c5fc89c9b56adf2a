//! Whom a node contacts that is to stay at home, seen on its line: nobody but those who were named. Not here: finding
//! each other there (`lab_local`).
#![cfg(target_os = "linux")]

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use dig_nat_core::api::{FileClient, FileHost};
use dig_nat_core::base::events::Event;
use dig_nat_core::base::ids::{ContentKey, FileHash};
use dig_nat_core::base::options::{ClientOptions, FindOptions, HostOptions, NodeOptions};
use dig_nat_tests::lab::{self, Capture, Host, Lab, Nat};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

const WAIT: Duration = Duration::from_secs(30);

/// One of the entry nodes of the public hash table, which is named by its address.
const ENTRY: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(104, 131, 131, 82));

/// Where packets went beyond the local network and `named`.
fn strangers(capture: &Capture, host: &Host, named: &[IpAddr]) -> BTreeSet<IpAddr> {
    let own = host.v4().octets();
    let local = |at: &IpAddr| match at {
        IpAddr::V4(at) => at.octets()[..3] == own[..3] || at.is_multicast() || at.is_broadcast(),
        IpAddr::V6(at) => at.is_multicast() || at.is_unicast_link_local(),
    };
    capture.destinations().into_iter().filter(|at| !local(at) && !named.contains(at)).collect()
}

/// A node with a place at a relay that has looked everywhere for a file, and still runs when this ends.
async fn look_around(options: NodeOptions) -> FileClient {
    let node = FileClient::new(options, ClientOptions::default()).expect("valid");
    let mut events = node.subscribe();
    node.start().await.expect("started");
    let placed = async { while !matches!(events.next().await.expect("it runs"), Event::RelayReserved { .. }) {} };
    tokio::time::timeout(WAIT, placed).await.expect("a place at the relay");
    let key = ContentKey::Hash(FileHash::of(b"what nobody has"));
    let found = node.find_peers(key, FindOptions { max_peers: 1, timeout_ms: 1000 }).await.expect("searched");
    assert!(found.is_empty(), "{found:?}");
    node
}

#[test]
fn a_node_that_stays_at_home_contacts_only_whom_it_was_told_of() {
    lab::run(|| {
        let lab = Lab::builder().site("home", Nat::port_restricted()).build();
        let end = CancellationToken::new();
        let (tell, told) = oneshot::channel();
        let until = end.clone();
        let relay = lab.host("relay").spawn(move |place| async move {
            let node = NodeOptions { relay_server: true, port: 443, local_only: true, ..NodeOptions::default() };
            let relay = FileHost::new(node, HostOptions::default()).expect("valid");
            relay.start().await.expect("started");
            let peer = relay.peer_id().expect("running");
            tell.send(format!("/ip4/{}/tcp/443/p2p/{peer}", place.v4())).expect("awaited");
            until.cancelled().await;
            relay.stop().await.expect("stopped");
        });
        let at = told.blocking_recv().expect("the relay runs");
        let home = lab.host("home");
        let named = home.place().relay;
        let capture = home.capture("eth0");
        for local_only in [true, false] {
            let relays = vec![at.clone()];
            let node = home.run(move |_| look_around(NodeOptions { local_only, relays, ..NodeOptions::default() }));
            let begun = Instant::now();
            if local_only {
                assert_eq!(strangers(&capture, home, &named), BTreeSet::new());
            } else {
                // The same node without the switch shows that this test would see it.
                while !strangers(&capture, home, &named).contains(&ENTRY) {
                    assert!(begun.elapsed() < WAIT, "the public table was never asked for");
                    std::thread::yield_now();
                }
            }
            home.run(move |_| async move { node.stop().await.expect("stopped") });
        }
        end.cancel();
        relay.join();
    });
}
