//! TCP: simultaneous open with and without signalling.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use dig_nat_core::ErrorKind;
use dig_nat_core::nat::profile::{Mapping, PortAllocation};
use dig_nat_core::nat::punch::Method;
use dig_nat_core::nat::punch::driver::{PunchedTcp, punch_tcp_to};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

use super::peers::{Tale, home, in_time, log, nat, peers};

/// Both ends are of one connection, on which bytes written at once arrive whole.
async fn assert_connected(mut one: PunchedTcp, mut two: PunchedTcp) {
    assert_eq!(one.remote, two.stream.local_addr().expect("open"));
    assert_eq!(two.remote, one.stream.local_addr().expect("open"));
    assert_ne!(one.controlling, two.controlling);
    for _ in 0..2 {
        one.stream.write_all(b"the next protocol").await.expect("open");
        let mut read = [0; 17];
        in_time(two.stream.read_exact(&mut read)).await.expect("open");
        assert_eq!(&read, b"the next protocol");
        std::mem::swap(&mut one, &mut two);
    }
}

#[tokio::test]
async fn two_peers_get_one_connection() {
    for _ in 0..20 {
        let (mut one, mut two) = peers();
        let (first, second) = tokio::join!(one.tcp(), two.tcp());
        let (first, second) = (first.expect("connected"), second.expect("connected"));
        assert!(first.controlling && first.log[0].method == Method::TcpOpen);
        assert_connected(first, second).await;
    }
}

#[tokio::test]
async fn bytes_sent_right_behind_the_handshake_are_not_lost() {
    let (mut one, mut two) = peers();
    let first = async {
        let mut punched = one.tcp().await.expect("connected");
        let mut read = Vec::new();
        in_time(punched.stream.read_to_end(&mut read)).await.expect("open");
        read
    };
    let second = async {
        let mut punched = two.tcp().await.expect("connected");
        punched.stream.write_all(&[7; 1000]).await.expect("open");
    };
    let (read, ()) = tokio::join!(first, second);
    assert_eq!(read, [7; 1000]);
}

#[tokio::test]
async fn predicted_tcp_ports_are_found() {
    let (mut one, mut two) = peers();
    two.nat = nat(Mapping::AddressAndPortDependent, PortAllocation::Sequential { step: 1 });
    two.observer = Box::new(Tale(vec![vec![-4, -3, -2]]));
    let (first, second) = tokio::join!(one.tcp(), two.tcp());
    let (first, second) = (first.expect("connected"), second.expect("connected"));
    assert_eq!(first.log[0].method, Method::TcpPrediction { initiator: false, responder: true });
    assert_connected(first, second).await;
}

fn free() -> SocketAddr {
    std::net::TcpListener::bind(home()).expect("free").local_addr().expect("bound")
}

#[tokio::test]
async fn known_endpoints_need_no_signalling() {
    for lead in [0, 0, 0, 250] {
        let (first, second, cancel) = (free(), free(), CancellationToken::new());
        let time = Duration::from_secs(5);
        let late = async {
            // The other side is refused a few times before this one listens.
            tokio::time::sleep(Duration::from_millis(lead)).await;
            punch_tcp_to(second, first, None, time, &cancel).await
        };
        let (one, two) = in_time(async { tokio::join!(punch_tcp_to(first, second, None, time, &cancel), late) }).await;
        assert_connected(one.expect("connected"), two.expect("connected")).await;
    }
}

#[tokio::test]
async fn a_silent_peer_hangs_nobody() {
    let cancel = CancellationToken::new();
    let started = Instant::now();
    let error = in_time(punch_tcp_to(free(), free(), None, Duration::from_millis(500), &cancel)).await;
    let error = error.expect_err("nobody there");
    assert_eq!(error.kind(), ErrorKind::PeerUnreachable);
    let log = log(&error);
    assert!(log[0].spent >= 4 && log[0].spent <= 6, "every 100 ms: {log:?}");
    assert!(started.elapsed() < Duration::from_secs(10));

    // Accepts and says nothing.
    let listener = tokio::net::TcpListener::bind(home()).await.expect("free");
    let remote = listener.local_addr().expect("bound");
    let silent = async {
        let mut kept = Vec::new();
        loop {
            kept.push(listener.accept().await);
        }
    };
    let error = tokio::select! {
        result = in_time(punch_tcp_to(free(), remote, None, Duration::from_millis(500), &cancel)) => result,
        () = silent => unreachable!("accepts for ever"),
    };
    assert_eq!(error.expect_err("silent").kind(), ErrorKind::PeerUnreachable);

    let (mut one, two) = peers();
    drop(two);
    assert_eq!(one.tcp().await.expect_err("gone").kind(), ErrorKind::ConnectionClosed);
}

#[tokio::test]
async fn cancelling_ends_it_at_once() {
    let cancel = CancellationToken::new();
    let later = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        cancel.cancel();
    };
    let started = Instant::now();
    let time = Duration::from_secs(10);
    let (result, ()) = in_time(async { tokio::join!(punch_tcp_to(free(), free(), None, time, &cancel), later) }).await;
    assert_eq!(result.expect_err("cancelled").kind(), ErrorKind::Cancelled);
    assert!(started.elapsed() < Duration::from_secs(10));
}
