//! The STUN sockets on loopback: peers that serve as STUN, servers that lie or stay silent, and cancellation.
#![cfg(feature = "engine")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dig_nat_core::ErrorKind;
use dig_nat_core::nat::stun::driver::{DetectConfig, detect, public_addresses, query, query_alone, serve};
use dig_nat_core::nat::stun::{Attribute, Message, Method, StunServer, TransactionId, decode};
use dig_nat_core::net::udp::UdpPort;
use tokio::net::UdpSocket;
use tokio_util::sync::CancellationToken;

const SECOND: Duration = Duration::from_secs(1);

fn any_port() -> Arc<UdpPort> {
    UdpPort::bind("127.0.0.1:0".parse().expect("valid")).expect("free port")
}

/// Answers each request with what `answer` makes of it.
async fn server_that(answer: impl Fn(&Message, SocketAddr) -> Vec<Vec<u8>> + Send + 'static) -> SocketAddr {
    answering(UdpSocket::bind("127.0.0.1:0").await.expect("free port"), answer)
}

fn answering(socket: UdpSocket, answer: impl Fn(&Message, SocketAddr) -> Vec<Vec<u8>> + Send + 'static) -> SocketAddr {
    let at = socket.local_addr().expect("bound");
    tokio::spawn(async move {
        let mut buffer = [0; 2048];
        while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            let request = decode(&buffer[..length]).expect("ours").message;
            for bytes in answer(&request, from) {
                let _ = socket.send_to(&bytes, from).await;
            }
        }
    });
    at
}

fn honest(request: &Message, from: SocketAddr) -> Vec<u8> {
    let answer = Message::success_to(request).with(Attribute::XorMappedAddress(from));
    answer.encode(None, false).expect("small")
}

fn servers(addresses: &[SocketAddr]) -> Vec<StunServer> {
    addresses.iter().map(|address| address.to_string().parse().expect("valid")).collect()
}

#[tokio::test]
async fn peers_tell_each_other_their_addresses_over_one_port() {
    let (here, there) = (any_port(), any_port());
    let cancel = CancellationToken::new();
    let service = tokio::spawn({
        let (there, cancel) = (Arc::clone(&there), cancel.clone());
        async move {
            tokio::select! {
                served = serve(&there, cancel) => served.expect("room"),
                error = there.pump() => panic!("{error}"),
            }
        }
    });
    let at = there.local_address().expect("bound");
    let mapped = query_alone(&here, at, SECOND).await.expect("answered");
    assert_eq!(Some(mapped), here.local_address().ok());
    cancel.cancel();
    service.await.expect("ended without panic");
}

#[tokio::test]
async fn an_answer_that_nobody_asked_for_is_not_believed() {
    let forged = server_that(|request, from| {
        let other: SocketAddr = "192.0.2.66:66".parse().expect("valid");
        let lie = Message { transaction: TransactionId([0; 12]), ..request.clone() };
        vec![honest(&lie, other), b"not STUN at all".to_vec(), honest(request, from)]
    });
    let port = any_port();
    let mapped = query_alone(&port, forged.await, SECOND).await.expect("the last one is right");
    assert_eq!(Some(mapped), port.local_address().ok());
}

#[tokio::test]
async fn silence_ends_after_the_deadline_and_refusals_at_once() {
    let silent = server_that(|_, _| Vec::new()).await;
    let port = any_port();
    let started = Instant::now();
    let error = query_alone(&port, silent, Duration::from_millis(300)).await.expect_err("silent");
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(error.to_string().contains(&silent.to_string()), "{error}");
    assert!(started.elapsed() >= Duration::from_millis(300) && started.elapsed() < 10 * SECOND);
    let refusing =
        server_that(|request, _| vec![Message::error_to(request, 400, "no").encode(None, false).expect("small")]);
    let error = query_alone(&port, refusing.await, SECOND).await.expect_err("refused");
    assert!(error.kind() == ErrorKind::PeerUnreachable && error.to_string().contains("400"), "{error}");
    let v6 = query(&port, "[::1]:9".parse().expect("valid"), SECOND).await.expect_err("another family");
    assert_eq!(v6.kind(), ErrorKind::InvalidArgument);
}

#[tokio::test]
async fn two_servers_must_agree_against_a_liar() {
    let lie = |request: &Message, _: SocketAddr| vec![honest(request, "192.0.2.66:66".parse().expect("valid"))];
    let truth = |request: &Message, from: SocketAddr| vec![honest(request, from)];
    let (liar, one, two) = (server_that(lie).await, server_that(truth).await, server_that(truth).await);
    let localhost = "127.0.0.1".parse().ok();
    let found = |addresses: &[SocketAddr]| {
        let mut config = DetectConfig::new(servers(addresses));
        config.total = SECOND;
        async move { public_addresses(&config).await.v4 }
    };
    assert_eq!(found(&[liar, one, two]).await, localhost);
    assert_eq!(found(&[one]).await, localhost);
    assert_eq!(found(&[liar, one]).await, None, "one word against another");
    let profile = detect(DetectConfig::new(servers(&[liar, one, two])), CancellationToken::new()).await;
    let profile = profile.expect("two answer");
    assert_eq!((profile.public_v4.map(|at| at.ip()), profile.translated), (localhost, Some(false)));
    assert_eq!(profile.filtering, None, "none of them can test it");
}

#[tokio::test]
async fn both_families_are_examined_at_the_same_time() {
    let truth = |request: &Message, from: SocketAddr| vec![honest(request, from)];
    let Ok(socket) = UdpSocket::bind("[::1]:0").await else {
        eprintln!("SKIPPED: no IPv6 on this machine");
        return;
    };
    let (v4, v6) = (server_that(truth).await, answering(socket, truth));
    let profile = detect(DetectConfig::new(servers(&[v4, v6])), CancellationToken::new()).await.expect("answered");
    assert_eq!(profile.public_v4.map(|at| at.ip()), "127.0.0.1".parse().ok());
    assert_eq!(profile.public_v6.map(|at| at.ip()), "::1".parse().ok());
    let mut only = DetectConfig::new(servers(&[v4, v6]));
    only.ipv4 = false;
    let found = public_addresses(&only).await;
    assert_eq!((found.v4, found.v6), (None, "::1".parse().ok()));
}

#[tokio::test]
async fn detection_can_be_cancelled_and_names_what_is_wrong() {
    let silent = server_that(|_, _| Vec::new()).await;
    let cancel = CancellationToken::new();
    let running = detect(DetectConfig::new(servers(&[silent])), cancel.clone());
    cancel.cancel();
    assert_eq!(running.await.expect_err("cancelled").kind(), ErrorKind::Cancelled);
    let error = detect(DetectConfig::new(Vec::new()), CancellationToken::new()).await.expect_err("no server");
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
}

#[tokio::test]
async fn the_own_port_keeps_its_other_users() {
    let truth = |request: &Message, from: SocketAddr| vec![honest(request, from)];
    let (one, two) = (server_that(truth).await, server_that(truth).await);
    let own = any_port();
    let mut config = DetectConfig::new(servers(&[one, two]));
    config.ports = vec![Arc::clone(&own)];
    let at = own.local_address().expect("bound");
    let foreign = honest(&Message::request(Method::BINDING, TransactionId([5; 12])), one);
    let detecting = detect(config, CancellationToken::new());
    // Detection has opened its routes when this is polled first, so it is asked about the datagram before.
    let other_user = async {
        let mut everything_else = own.route(|_, _| true).expect("room");
        let stranger = UdpSocket::bind("127.0.0.1:0").await.expect("free port");
        stranger.send_to(&foreign, at).await.expect("sent");
        everything_else.receive().await
    };
    let (profile, received) = tokio::select! {
        biased;
        both = async { tokio::join!(detecting, other_user) } => both,
        error = own.pump() => panic!("{error}"),
    };
    assert_eq!(profile.expect("answered").public_v4, Some(at));
    assert_eq!(received.bytes, foreign);
}
