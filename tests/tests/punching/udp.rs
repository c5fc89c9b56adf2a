//! UDP: every method, and every way for an attempt to end.

use std::time::{Duration, Instant};

use bytes::Bytes;
use dig_nat_core::ErrorKind;
use dig_nat_core::base::limits;
use dig_nat_core::nat::policy::Scope;
use dig_nat_core::nat::profile::{Mapping, PortAllocation};
use dig_nat_core::nat::punch::driver::{LocalPort, punch_udp_to};
use dig_nat_core::nat::punch::message::{Body, Message};
use dig_nat_core::nat::punch::{Method, SessionKey, Side};
use dig_nat_core::nat::signal::Signal;
use tokio_util::sync::CancellationToken;

use super::peers::{Tale, assert_agree, in_time, log, nat, peers, port, reason};

#[tokio::test]
async fn two_peers_agree_on_one_path_at_once() {
    let (mut one, mut two) = peers();
    let started = Instant::now();
    let (first, second) = tokio::join!(one.udp(vec![port()]), two.udp(vec![port()]));
    let (first, second) = (first.expect("connected"), second.expect("connected"));
    assert_agree(&first, &second);
    assert!(first.controlling && first.log[0].method == Method::Plain && first.log.len() == 1);
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_port_that_something_else_reads_is_shared() {
    let (mut one, mut two) = peers();
    let LocalPort { port: shared, .. } = port();
    let reader = tokio::spawn({
        let shared = shared.clone();
        async move { shared.pump().await }
    });
    let given = LocalPort { port: shared.clone(), driven: true };
    let (first, second) = tokio::join!(one.udp(vec![given]), two.udp(vec![port()]));
    let (first, second) = (first.expect("connected"), second.expect("connected"));
    assert_agree(&first, &second);
    assert!(first.driven && std::sync::Arc::ptr_eq(&first.port, &shared) && !second.driven);
    reader.abort();
}

#[tokio::test]
async fn both_families_are_tried() {
    let (mut one, mut two) = peers();
    let v6 = || {
        let at = "[::1]:0".parse().expect("valid");
        LocalPort { port: dig_nat_core::net::udp::UdpPort::bind(at).expect("a free port"), driven: false }
    };
    // Only IPv6 leads to the peer: the IPv4 ports that it hears of are wrong.
    let (first, second) = tokio::join!(one.udp(vec![v6()]), two.udp(vec![port(), v6()]));
    let (first, second) = (first.expect("connected"), second.expect("connected"));
    assert_agree(&first, &second);
    assert!(first.remote.is_ipv6());
}

#[tokio::test]
async fn after_a_failed_round_the_method_changes() {
    let (mut one, mut two) = peers();
    for peer in [&mut one, &mut two] {
        // What servers saw first was wrong on both sides.
        peer.observer = Box::new(Tale(vec![vec![7000, 7000], vec![0, 0]]));
    }
    let ports = || {
        let bound = std::iter::repeat_with(port);
        bound.into_iter().find(|local| local.port.local_address().expect("bound").port() < 58_000).expect("a low port")
    };
    let (first, second) = tokio::join!(one.udp(vec![ports()]), two.udp(vec![ports()]));
    let (first, second) = (first.expect("connected"), second.expect("connected"));
    assert_agree(&first, &second);
    let methods: Vec<Method> = first.log.iter().map(|attempt| attempt.method).collect();
    assert_eq!(methods, [Method::Plain, Method::Fresh]);
    assert!(one.history.failed(Method::Plain) && !one.history.failed(Method::Fresh));
    // Whoever notices first ends the round; the other one only hears so.
    assert!([&first, &second].iter().any(|peer| reason(&peer.log[0]).contains("no packet")), "{first:?} {second:?}");
}

#[tokio::test]
async fn predicted_ports_are_found() {
    let (mut one, mut two) = peers();
    two.nat = nat(Mapping::AddressAndPortDependent, PortAllocation::Sequential { step: 1 });
    // Three servers saw the ports before the one that is used, and one was taken by somebody else.
    two.observer = Box::new(Tale(vec![vec![-4, -3, -2]]));
    let (first, second) = tokio::join!(one.udp(vec![port()]), two.udp(vec![port()]));
    let (first, second) = (first.expect("connected"), second.expect("connected"));
    assert_agree(&first, &second);
    assert_eq!(first.log[0].method, Method::Prediction { initiator: false, responder: true });
}

#[tokio::test]
async fn birthday_probing_hits_one_of_many_sockets() {
    for hard in [Side::Initiator, Side::Responder] {
        let (mut one, mut two) = peers();
        // The system's own range of ports: 2048 probes miss 256 sockets once in 100 million times.
        let random = nat(Mapping::AddressAndPortDependent, PortAllocation::Block { first: 32_768, size: 28_232 });
        *(if hard == Side::Initiator { &mut one.nat } else { &mut two.nat }) = random;
        let (first, second) = tokio::join!(one.udp(vec![port()]), two.udp(vec![port()]));
        let (first, second) = (first.expect("connected"), second.expect("connected"));
        assert_agree(&first, &second);
        assert_eq!(first.log[0].method, Method::Birthday { hard });
        let spent = first.log[0].spent.max(second.log[0].spent);
        assert!(spent <= u32::from(limits::PUNCH_SEARCH_PROBES), "{spent}");
    }
}

#[tokio::test]
async fn no_hope_is_said_at_once_on_both_sides() {
    let (mut one, mut two) = peers();
    one.nat = nat(Mapping::AddressAndPortDependent, PortAllocation::Random);
    two.nat = one.nat;
    let started = Instant::now();
    let (first, second) = tokio::join!(one.udp(vec![port()]), two.udp(vec![port()]));
    for error in [first.expect_err("no hope"), second.expect_err("no hope")] {
        assert_eq!(error.kind(), ErrorKind::PeerUnreachable);
        assert!(error.full_message().contains("both NATs hand out unpredictable ports"), "{}", error.full_message());
        assert!(log(&error).is_empty());
    }
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn the_budget_of_a_peer_ends() {
    let (mut one, mut two) = peers();
    one.history.rounds = 0;
    let (first, second) = tokio::join!(one.udp(vec![port()]), two.udp(vec![port()]));
    let (first, second) = (first.expect_err("spent"), second.expect_err("told"));
    assert!(first.full_message().contains("budget") && second.full_message().contains("budget"));
    assert_eq!((first.kind(), second.kind()), (ErrorKind::PeerUnreachable, ErrorKind::PeerUnreachable));
}

#[tokio::test]
async fn private_addresses_named_by_a_stranger_are_not_probed() {
    let (mut one, mut two) = peers();
    one.scope = Scope::Internet;
    two.scope = Scope::Internet;
    let (first, second) = tokio::join!(one.udp(vec![port()]), two.udp(vec![port()]));
    let logs = [first.expect_err("refused"), second.expect_err("refused")].map(|error| log(&error));
    for log in &logs {
        assert!(!log.is_empty() && log.iter().all(|attempt| attempt.spent == 0), "{log:?}");
    }
    // Whoever notices first ends the round; the other one only hears so.
    assert!(logs.iter().flatten().any(|attempt| reason(attempt).contains("no endpoint")), "{logs:?}");
}

#[tokio::test]
async fn a_peer_that_dies_hangs_nobody() {
    // Before it says anything.
    let (mut one, two) = peers();
    drop(two);
    assert_eq!(one.udp(vec![port()]).await.expect_err("gone").kind(), ErrorKind::ConnectionClosed);
    let (one, mut two) = peers();
    drop(one);
    assert_eq!(two.udp(vec![port()]).await.expect_err("gone").kind(), ErrorKind::ConnectionClosed);
    // Silent.
    let (mut one, two) = peers();
    assert_eq!(one.udp(vec![port()]).await.expect_err("silent").kind(), ErrorKind::Timeout);
    drop(two);
    // In the middle of the round: it answers, hears GO, and is gone.
    let (mut one, two) = peers();
    let middle = async {
        let mut signal = two.signal;
        let offer = signal.receive().await.expect("an OFFER");
        let Ok(Some(Message { session, round, body: Body::Offer(offer) })) = Message::decode(&offer) else {
            panic!("an OFFER")
        };
        let mut answer = offer;
        answer.method = Some(Method::Plain);
        signal.send(Message { session, round, body: Body::Answer(answer) }.encode()).await.expect("taken");
        signal.receive().await.expect("GO");
    };
    let started = Instant::now();
    let (result, ()) = tokio::join!(one.udp(vec![port()]), middle);
    let error = result.expect_err("gone");
    assert_eq!(error.kind(), ErrorKind::ConnectionClosed);
    assert_eq!(log(&error).len(), 1);
    assert!(started.elapsed() < limits::PUNCH_ROUND + Duration::from_secs(10), "{:?}", started.elapsed());
}

#[tokio::test]
async fn cancelling_ends_both_sides() {
    let (mut one, mut two) = peers();
    for peer in [&mut one, &mut two] {
        peer.observer = Box::new(Tale(vec![vec![3, 3]]));
    }
    let cancel = one.cancel.clone();
    let later = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        cancel.cancel();
    };
    let started = Instant::now();
    let (first, second, ()) = tokio::join!(one.udp(vec![port()]), two.udp(vec![port()]), later);
    assert_eq!(first.expect_err("cancelled").kind(), ErrorKind::Cancelled);
    let second = second.expect_err("told");
    assert_eq!(second.kind(), ErrorKind::PeerUnreachable);
    assert!(second.full_message().contains("Cancelled"), "{}", second.full_message());
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_malformed_message_ends_the_attempt() {
    let (mut one, mut two) = peers();
    two.signal.send(Bytes::from_static(&[1, 2, 3])).await.expect("taken");
    assert_eq!(one.udp(vec![port()]).await.expect_err("malformed").kind(), ErrorKind::Protocol);
}

#[tokio::test]
async fn known_endpoints_need_no_signalling() {
    let (one, two) = (port(), port());
    let at = |local: &LocalPort| local.port.local_address().expect("bound");
    let (first, second) = (at(&one), at(&two));
    for key in [None, Some(SessionKey([3; 32]))] {
        let (cancel, key, time) = (CancellationToken::new(), key.as_ref(), Duration::from_secs(5));
        let (first, second) = in_time(async {
            tokio::join!(
                punch_udp_to(one.clone(), second, key, time, &cancel),
                punch_udp_to(two.clone(), first, key, time, &cancel)
            )
        })
        .await;
        assert_agree(&first.expect("connected"), &second.expect("connected"));
    }
}
