//! The main job through NATs: a file is shared behind one router and fetched behind another, first over a relay, then
//! directly wherever the routers allow it. Not here: punching alone, and the routers themselves (`lab`).
#![cfg(target_os = "linux")]

use std::collections::BTreeMap;
use std::time::Duration;

use dig_nat_core::api::{DownloadResult, EventStream, FileClient, FileHost};
use dig_nat_core::base::events::Event;
use dig_nat_core::base::ids::{ContentKey, FileHash};
use dig_nat_core::base::options::{AddFileOptions, ClientOptions, DownloadOptions, HostOptions, NodeOptions};
use dig_nat_tests::files;
use dig_nat_tests::lab::{self, Lab, Nat, Place};
use tokio_util::sync::CancellationToken;

/// Long enough for a relayed download to become a direct one while it runs.
const FILE_BYTES: u64 = 100_000_000;
const RATE: u64 = 16 << 20;
const WAIT: Duration = Duration::from_secs(30);

fn options(place: &Place, relays: Vec<String>) -> NodeOptions {
    NodeOptions {
        local_enabled: false,
        // The public table's entry nodes would each take a port of a NAT that counts; in a private one, all who come to
        // the relay would meet each other.
        dht_enabled: false,
        enable_upnp: false,
        enable_natpmp: false,
        // Two servers with two ports each: enough to see a pattern of ports.
        stun_servers: place.stun[..4].iter().map(ToString::to_string).collect(),
        relays,
        ..NodeOptions::default()
    }
}

async fn event<T>(events: &mut EventStream, what: &str, pick: impl Fn(Event) -> Option<T>) -> T {
    let found = async {
        loop {
            if let Some(found) = pick(events.next().await.expect("the node runs")) {
                return found;
            }
        }
    };
    tokio::time::timeout(WAIT, found).await.unwrap_or_else(|_| panic!("{what}: not within {WAIT:?}"))
}

/// Runs a relay until `end`, and tells its address.
async fn relay(place: Place, tell: tokio::sync::oneshot::Sender<String>, end: CancellationToken) {
    let node = NodeOptions { relay_server: true, port: 443, ..options(&place, Vec::new()) };
    let relay = FileHost::new(node, HostOptions::default()).expect("valid");
    relay.start().await.expect("started");
    let peer = relay.peer_id().expect("running");
    tell.send(format!("/ip4/{}/tcp/443/p2p/{peer}", place.v4())).expect("awaited");
    end.cancelled().await;
    relay.stop().await.expect("stopped");
}

/// Where a file can be had through the relay.
type Offer = (String, FileHash);

/// Shares one file behind a router until `end`, and tells where.
async fn share(place: Place, relay: String, tell: tokio::sync::oneshot::Sender<Offer>, end: CancellationToken) {
    let folder = tempfile::tempdir().expect("temporary folder");
    let path = folder.path().join("film.bin");
    let hash = files::random_file(&path, FILE_BYTES, 7);
    let host = FileHost::new(options(&place, vec![relay]), HostOptions::default()).expect("valid");
    let mut events = host.subscribe();
    host.start().await.expect("started");
    host.add_file(path, AddFileOptions::default()).wait().await.expect("shared");
    let address = event(&mut events, "a place at the relay", |event| match event {
        Event::RelayReserved { address } => Some(address),
        _ => None,
    });
    tell.send((address.await, hash)).expect("awaited");
    end.cancelled().await;
    host.stop().await.expect("stopped");
}

/// Fetches the file and tells over which kinds of connection it came, in order.
async fn fetch(place: Place, (from, hash): Offer) -> (DownloadResult, Vec<String>) {
    let folder = tempfile::tempdir().expect("temporary folder");
    let client = FileClient::new(options(&place, Vec::new()), ClientOptions::default()).expect("valid");
    let mut events = client.subscribe();
    client.start().await.expect("started");
    // What is known of the own NAT decides how a peer is met.
    event(&mut events, "NAT detected", |event| matches!(event, Event::NatDetected { .. }).then_some(())).await;
    let order = DownloadOptions {
        save_path: Some(folder.path().join("copy")),
        peers: vec![from],
        discover: Some(false),
        download_limit: RATE,
        ..DownloadOptions::default()
    };
    let fetched = client.download(ContentKey::Hash(hash), order, None).wait();
    let result = tokio::time::timeout(WAIT, fetched).await.expect("in time").expect("fetched");
    client.stop().await.expect("stopped");
    let mut kinds = Vec::new();
    loop {
        match events.next().await.expect("the client is held") {
            Event::PeerConnected { connection_type, .. } => kinds.push(connection_type),
            Event::Stopped => return (result, kinds),
            _ => {}
        }
    }
}

#[test]
fn files_come_through_routers_and_directly_wherever_that_can_be() {
    lab::run(|| {
        let lab = Lab::builder()
            .site("strict", Nat::port_restricted())
            .site("random", Nat::symmetric())
            .site("strict-b", Nat::port_restricted())
            .site("random-b", Nat::symmetric())
            .site("counting", Nat::symmetric_sequential(1))
            .site("cone", Nat::full_cone_random())
            .build();
        let end = CancellationToken::new();
        let (tell, told) = tokio::sync::oneshot::channel();
        let stop = end.clone();
        let relay = lab.host("relay").spawn(move |place| relay(place, tell, stop));
        let at = told.blocking_recv().expect("the relay runs");
        let hosts: BTreeMap<_, _> = ["strict", "random"]
            .map(|site| {
                let (tell, told) = tokio::sync::oneshot::channel();
                let (at, stop) = (at.clone(), end.clone());
                (site, (lab.host(site).spawn(move |place| share(place, at, tell, stop)), told))
            })
            .into();
        let mut offers = BTreeMap::new();
        let mut running = vec![relay];
        for (site, (host, told)) in hosts {
            offers.insert(site, told.blocking_recv().expect("it has a place at the relay"));
            running.push(host);
        }
        // (from, to, whether theory allows a direct path)
        let pairs = [
            ("strict", "strict-b", true),
            ("strict", "cone", true),
            ("strict", "counting", true),
            ("strict", "random-b", true),
            ("random", "random-b", false),
        ];
        let mut wrong = Vec::new();
        for (from, to, direct) in pairs {
            let offer = offers[from].clone();
            let (result, kinds) = lab.host(to).run(move |place| fetch(place, offer));
            let last: Vec<_> = result.peers.values().map(|peer| peer.connection_type.clone()).collect();
            println!("{from} to {to}: {last:?} after {kinds:?}, {} ms", result.total_time_ms);
            assert_eq!(result.size, FILE_BYTES);
            let expected = if direct { last == ["udp"] || last == ["tcp"] } else { last == ["relay"] };
            if !expected {
                wrong.push(format!("{from} to {to}: {last:?} after {kinds:?}"));
            }
        }
        end.cancel();
        for host in running {
            host.join();
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    });
}
