//! Reaching one peer by the ladder through real NATs: each way when it is asked for, the best way when none is, what
//! is remembered, and what is told when nothing works. Not here: downloads (`lab_download`), every pair of NATs
//! (`nat_grid`).
#![cfg(target_os = "linux")]

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use dig_nat_core::api::{Message, NetworkManager, Traversal};
use dig_nat_core::base::events::Event;
use dig_nat_core::base::options::{ClientOptions, ConnectOptions, NodeOptions};
use dig_nat_core::nat::report::{Attempt, Outcome};
use dig_nat_core::{Error, ErrorKind};
use dig_nat_tests::lab::{self, Lab, Nat, Place, Running, Site};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

const WAIT: Duration = Duration::from_secs(30);

fn options(place: &Place, relays: Vec<String>) -> NodeOptions {
    NodeOptions {
        local_enabled: false,
        // The public table's entry nodes would each take a port of a NAT that counts; in a private one, all who come to
        // the relay would meet each other.
        dht_enabled: false,
        enable_upnp: false,
        enable_natpmp: false,
        stun_servers: place.stun[..4].iter().map(ToString::to_string).collect(),
        relays,
        ..NodeOptions::default()
    }
}

/// A started manager that knows its NAT.
async fn manager(options: NodeOptions) -> NetworkManager {
    let manager = NetworkManager::new(options, ClientOptions::default()).expect("valid");
    let mut events = manager.subscribe();
    manager.start().await.expect("started");
    let known = async { while !matches!(events.next().await.expect("running"), Event::NatDetected { .. }) {} };
    tokio::time::timeout(WAIT, known).await.expect("the NAT is detected");
    manager
}

/// A relay until `end`; its address.
fn relay(lab: &Lab, end: &CancellationToken) -> (Running<()>, String) {
    let (tell, told) = oneshot::channel();
    let end = end.clone();
    let running = lab.host("relay").spawn(move |place| async move {
        let node = NodeOptions { relay_server: true, port: 443, ..options(&place, Vec::new()) };
        let relay = manager(node).await;
        let peer = relay.peer_id().expect("running");
        tell.send(format!("/ip4/{}/tcp/443/p2p/{peer}", place.v4())).expect("awaited");
        end.cancelled().await;
        relay.stop().await.expect("stopped");
    });
    (running, told.blocking_recv().expect("the relay runs"))
}

/// A manager that answers every message, until `end`; its address at the relay.
fn echo(lab: &Lab, host: &str, relay: &str, end: &CancellationToken) -> (Running<()>, String) {
    let (tell, told) = oneshot::channel();
    let (relay, end) = (relay.to_owned(), end.clone());
    let running = lab.host(host).spawn(move |place| async move {
        let node = NetworkManager::new(options(&place, vec![relay]), ClientOptions::default()).expect("valid");
        let mut events = node.subscribe();
        node.start().await.expect("started");
        let (mut address, mut known) = (None, false);
        while address.is_none() || !known {
            match events.next().await.expect("running") {
                Event::RelayReserved { address: reserved } => address = Some(reserved),
                Event::NatDetected { .. } => known = true,
                _ => {}
            }
        }
        tell.send(address.expect("just set")).expect("awaited");
        let answering = async {
            while let Some(connection) = node.accept().await {
                tokio::spawn(async move {
                    while let Ok(Some(message)) = connection.receive().await {
                        let _ = connection.send(message).await;
                    }
                });
            }
        };
        tokio::select! {
            () = answering => {}
            () = end.cancelled() => {}
        }
        node.stop().await.expect("stopped");
    });
    (running, told.blocking_recv().expect("it has a place at the relay"))
}

/// Connects and exchanges a message.
async fn reach(node: &NetworkManager, peer: &str, methods: &[&str]) -> Result<Traversal, Error> {
    let methods = methods.iter().map(|&method| method.to_owned()).collect();
    let options = ConnectOptions { preferred_methods: methods, timeout_ms: 15_000, ..ConnectOptions::default() };
    let (connection, traversal) = node.connect_to_peer(peer, options).await?;
    let hello = Message { kind: String::new(), text: true, data: Bytes::from_static(b"hello") };
    connection.send(hello.clone()).await?;
    let answer = tokio::time::timeout(WAIT, connection.receive()).await.expect("in time")?;
    assert_eq!(answer, Some(hello));
    connection.close().await;
    Ok(traversal)
}

/// From one host to a peer, with a new node.
fn reach_from(lab: &Lab, host: &str, peer: &str, methods: &'static [&str]) -> Result<Traversal, Error> {
    let peer = peer.to_owned();
    lab.host(host).run(move |place| async move {
        let node = manager(options(&place, Vec::new())).await;
        let reached = reach(&node, &peer, methods).await;
        node.stop().await.expect("stopped");
        reached
    })
}

#[test]
fn every_way_works_when_it_is_asked_for() {
    lab::run(|| {
        let lab = Lab::builder()
            .site("strict", Nat::port_restricted())
            .site("other", Nat::port_restricted())
            .site("hard", Nat::symmetric())
            .site("blocked", Nat::udp_blocked())
            .site("open", Nat::public())
            .build();
        let end = CancellationToken::new();
        let (relay, at) = relay(&lab, &end);
        let (strict, strict_at) = echo(&lab, "strict", &at, &end);
        let (open, open_at) = echo(&lab, "open", &at, &end);
        // (from, to, asked for, told)
        let cases: [(&str, &str, &'static [&str], &[&str]); 7] = [
            ("other", &strict_at, &["udp-hole-punch"], &["udp-hole-punch"]),
            ("other", &strict_at, &["tcp-hole-punch"], &["tcp-hole-punch"]),
            ("hard", &strict_at, &["UDP_ADVANCED_HOLE_PUNCH"], &["udp-advanced-hole-punch"]),
            ("blocked", &strict_at, &["TCP_HOLE_PUNCH"], &["tcp-hole-punch"]),
            ("other", &strict_at, &["ice"], &["ice"]),
            ("hard", &strict_at, &["relay"], &["circuit"]),
            ("hard", &open_at, &["direct"], &["direct-v4"]),
        ];
        let mut wrong = Vec::new();
        for (from, to, asked, expected) in cases {
            let outcome = reach_from(&lab, from, to, asked);
            match &outcome {
                Ok(reached) => {
                    let log = reached.attempts.render();
                    println!(
                        "{from} {asked:?}: {} {} in {} ms\n{log}",
                        reached.method, reached.transport, reached.took_ms
                    );
                }
                Err(error) => println!("{from} {asked:?}: {}", error.full_message()),
            }
            // libp2p's own way to meet is at work as well; where it is faster, it is told as what it is: a punch.
            let fits = outcome.as_ref().is_ok_and(|reached| expected.contains(&reached.method));
            if !fits {
                wrong.push(format!("{from} {asked:?}: {outcome:?}"));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        end.cancel();
        [relay, strict, open].into_iter().for_each(Running::join);
    });
}

#[test]
fn neighbours_meet_inside_their_network() {
    lab::run(|| {
        let lab = Lab::builder().site("home", Site::new(Nat::port_restricted()).clients(2)).build();
        let end = CancellationToken::new();
        let (relay, at) = relay(&lab, &end);
        let (echo, peer) = echo(&lab, "home", &at, &end);
        let reached = reach_from(&lab, "home-2", &peer, &["lan"]).expect("the peer is next door");
        println!("{}", reached.attempts);
        assert_eq!((reached.method, reached.relayed), ("lan", false));
        end.cancel();
        [relay, echo].into_iter().for_each(Running::join);
    });
}

#[test]
fn what_worked_is_remembered() {
    lab::run(|| {
        let lab = Lab::builder().site("strict", Nat::port_restricted()).site("other", Nat::port_restricted()).build();
        let end = CancellationToken::new();
        let (relay, at) = relay(&lab, &end);
        let (echo, peer) = echo(&lab, "strict", &at, &end);
        lab.host("other").run(move |place| async move {
            let folder = tempfile::tempdir().expect("temporary folder");
            let dir: PathBuf = folder.path().into();
            let kept = || NodeOptions {
                persistence_dir: Some(dir.clone()),
                enable_persistence: Some(true),
                ..options(&place, Vec::new())
            };
            let node = manager(kept()).await;
            let first = reach(&node, &peer, &["ice"]).await.expect("reached");
            node.stop().await.expect("stopped");
            let file = dir.join("connections.json");
            let known = std::fs::read_to_string(&file).expect("written");
            assert!(known.contains(first.peer.as_str()) && known.contains("\"ice\""), "{known}");

            let node = manager(kept()).await;
            let again = reach(&node, &peer, &["udp-hole-punch", "ice"]).await.expect("reached");
            println!("{}", again.attempts);
            // UDP punching has its head start over ICE otherwise.
            let begun = |name: &str| {
                let attempts = again.attempts.attempts().iter();
                let tried = |attempt: &&Attempt| !matches!(attempt.outcome, Outcome::Skipped(_));
                attempts.filter(tried).find(|attempt| attempt.method.name() == name).map(|attempt| attempt.started_ms)
            };
            let (ice, punch) = (begun("ice").expect("it was tried"), begun("udp-hole-punch"));
            assert!(punch.is_none_or(|punch| ice < punch), "{}", again.attempts);
            node.stop().await.expect("stopped");
        });
        end.cancel();
        [relay, echo].into_iter().for_each(Running::join);
    });
}

#[test]
fn a_failure_says_what_was_tried_and_what_would_help() {
    lab::run(|| {
        let lab = Lab::builder().site("strict", Nat::port_restricted()).site("hard", Nat::symmetric()).build();
        let nobody = "12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp";
        let strict = lab.host("strict").v4();
        let error = reach_from(&lab, "hard", nobody, &[]).expect_err("nobody knows the peer");
        assert_eq!(error.kind(), ErrorKind::PeerUnreachable);
        let text = error.full_message();
        for part in
            ["not tried: no such address is known", "no way to exchange messages", "what would help: give an address"]
        {
            assert!(text.contains(part), "{part:?} is not in {text}");
        }
        // Nobody listens there, and the router says nothing.
        let address = format!("/ip4/{strict}/tcp/4001/p2p/{nobody}");
        let error = reach_from(&lab, "hard", &address, &[]).expect_err("nobody is there");
        assert!(error.full_message().contains(&format!("{strict}:4001")), "{}", error.full_message());
        let error = reach_from(&lab, "hard", nobody, &["pigeon"]).expect_err("no such way");
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.full_message().contains("pigeon"), "{}", error.full_message());
    });
}

#[test]
fn two_that_reach_for_each_other_meet() {
    lab::run(|| {
        let lab = Lab::builder().site("one", Nat::port_restricted()).site("two", Nat::full_cone_random()).build();
        let end = CancellationToken::new();
        let (relay, at) = relay(&lab, &end);
        let (to_two, from_one) = oneshot::channel::<String>();
        let (to_one, from_two) = oneshot::channel::<String>();
        let both = [("one", to_two, from_two), ("two", to_one, from_one)].map(|(host, tell, told)| {
            let at = at.clone();
            lab.host(host).spawn(move |place| async move {
                let node = NetworkManager::new(options(&place, vec![at]), ClientOptions::default()).expect("valid");
                let mut events = node.subscribe();
                node.start().await.expect("started");
                let (mut address, mut known) = (None, false);
                while address.is_none() || !known {
                    match events.next().await.expect("running") {
                        Event::RelayReserved { address: reserved } => address = Some(reserved),
                        Event::NatDetected { .. } => known = true,
                        _ => {}
                    }
                }
                tell.send(address.expect("just set")).expect("the other one waits");
                let peer = told.await.expect("the other one tells");
                let (connection, first) =
                    node.connect_to_peer(&peer, ConnectOptions::default()).await.expect("reached");
                let id = connection.peer().to_string();
                let direct = async {
                    while node.connection_type(&id).is_none_or(|kind| kind == "relay") {
                        events.next().await.expect("running");
                    }
                };
                tokio::time::timeout(WAIT, direct).await.expect("a direct way");
                println!("{host}: first {}, then {:?}", first.method, node.connection_type(&id));
                (node, connection)
            })
        });
        for running in both {
            let (node, connection) = running.join();
            lab.host("one").run(move |_| async move {
                connection.close().await;
                node.stop().await.expect("stopped");
            });
        }
        end.cancel();
        relay.join();
    });
}
