//! TURN through coturn: every transport, every ending, and what is said when it does not work.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::Bytes;
use dig_nat_core::base::random::Jitter;
use dig_nat_core::base::time::Time;
use dig_nat_core::nat::stun::Family;
use dig_nat_core::nat::turn::driver::{Relayed, TurnConfig, allocate};
use dig_nat_core::nat::turn::{Client, Config, Credentials, Output, TurnFailure};
use dig_nat_core::{Error, ErrorKind};
use tokio::net::UdpSocket;
use tokio::time::timeout;

use super::server::{PASSWORD, Turnserver, USER, certificate};

const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const PATIENCE: Duration = Duration::from_secs(10);

fn config(uri: &str) -> TurnConfig {
    let credentials = Credentials { username: USER.to_owned(), password: PASSWORD.to_owned() };
    TurnConfig::new(uri.parse().expect("valid"), Some(credentials))
}

fn failure(error: &Error) -> Option<&TurnFailure> {
    std::error::Error::source(error)?.downcast_ref()
}

/// A peer that sends everything back.
async fn echo(ip: IpAddr) -> SocketAddr {
    let socket = UdpSocket::bind((ip, 0)).await.expect("free port");
    let at = socket.local_addr().expect("bound");
    tokio::spawn(async move {
        let mut buffer = [0; 2048];
        while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            let _ = socket.send_to(&buffer[..length], from).await;
        }
    });
    at
}

/// Sends 1000 numbered datagrams of different lengths, a few at a time, and expects every one of them back. The peer is
/// of the relayed address's family.
async fn echo_a_thousand(relayed: &Relayed) {
    let v4 = relayed.relayed_address().is_ipv4();
    let peer = echo(if v4 { LOCALHOST } else { Ipv6Addr::LOCALHOST.into() }).await;
    relayed.permit(peer.ip()).await.expect("allowed");
    let payload = |number: u32| Bytes::from([&number.to_be_bytes()[..], &vec![7; number as usize % 1200]].concat());
    let (mut next, mut back) = (0, 0);
    let mut seen = vec![false; 1000];
    while back < 1000 {
        while next < 1000 && next < back + 16 {
            relayed.send_to(peer, payload(next)).await.expect("permitted");
            next += 1;
        }
        let (from, bytes) = timeout(PATIENCE, relayed.receive()).await.expect("nothing is lost here").expect("alive");
        let number = u32::from_be_bytes(bytes[..4].try_into().expect("four bytes"));
        assert_eq!((from, &bytes), (peer, &payload(number)));
        assert!(!std::mem::replace(&mut seen[number as usize], true), "{number} came twice");
        back += 1;
    }
}

#[tokio::test]
async fn a_thousand_datagrams_through_channels_over_udp_and_tcp() {
    let Some(server) = Turnserver::start(&["--no-tls"]).await else { return };
    for query in ["", "?transport=tcp"] {
        let relayed = allocate(&config(&format!("turn:127.0.0.1:{}{query}", server.port))).await.expect("allocated");
        assert_eq!(relayed.server_address(), server.address());
        assert!(relayed.relayed_address().ip().is_loopback() && relayed.relayed_address().port() != 0);
        assert_eq!(relayed.mapped_address().map(|mapped| mapped.ip()), Some(LOCALHOST));
        echo_a_thousand(&relayed).await;
        relayed.close().await;
    }
    let bound = server.log().matches("CHANNEL_BIND processed, success").count();
    assert_eq!(bound, 2, "one channel each:\n{}", server.log());
}

/// The server by either family, the relayed address of either family: every mixture, over UDP and TCP.
#[tokio::test]
async fn a_thousand_datagrams_with_ipv6_on_either_leg() {
    let Some(server) = Turnserver::start(&["--no-tls", "-L", "::1"]).await else { return };
    for (host, family) in [("[::1]", Family::V6), ("127.0.0.1", Family::V6), ("[::1]", Family::V4)] {
        for query in ["", "?transport=tcp"] {
            let mut config = config(&format!("turn:{host}:{}{query}", server.port));
            config.family = Some(family);
            let relayed = allocate(&config).await.expect("allocated");
            let name = format!("{host}{query}, {family:?}: {relayed:?}");
            assert_eq!(relayed.server_address().is_ipv6(), host == "[::1]", "{name}");
            assert_eq!(relayed.relayed_address().is_ipv6(), family == Family::V6, "{name}");
            echo_a_thousand(&relayed).await;
            relayed.close().await;
        }
    }
}

#[tokio::test]
async fn a_thousand_datagrams_over_tls_and_no_trust_without_a_certificate() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let (certificate, key) = certificate(directory.path());
    let files = [certificate.to_str().expect("UTF-8"), key.to_str().expect("UTF-8")];
    let Some(server) = Turnserver::start(&["--cert", files[0], "--pkey", files[1]]).await else { return };
    let mut config = config(&format!("turns:localhost:{}", server.tls_port));
    config.root_certificates = Some(std::fs::read(&certificate).expect("just written"));
    let relayed = allocate(&config).await.expect("allocated");
    echo_a_thousand(&relayed).await;
    relayed.close().await;
    config.server.host = "127.0.0.1".to_owned();
    let error = allocate(&config).await.expect_err("the certificate is for localhost");
    assert!(error.full_message().contains("ertificate"), "{}", error.full_message());
}

#[tokio::test]
async fn wrong_passwords_name_server_and_user() {
    let Some(server) = Turnserver::start(&["--no-tls"]).await else { return };
    let uri = format!("turn:127.0.0.1:{}", server.port);
    let mut wrong = config(&uri);
    wrong.credentials = Some(Credentials { username: USER.to_owned(), password: "wrong".to_owned() });
    let started = Instant::now();
    let error = allocate(&wrong).await.expect_err("wrong password");
    assert!(started.elapsed() < Duration::from_secs(10), "took {:?}", started.elapsed());
    assert_eq!((error.kind(), failure(&error)), (ErrorKind::InvalidArgument, Some(&TurnFailure::WrongCredentials)));
    for part in [uri.as_str(), "\"user\"", "turnPassword"] {
        assert!(error.to_string().contains(part), "{error}");
    }
    assert!(!error.full_message().contains("wrong\""), "the password is not shown: {}", error.full_message());
    wrong.credentials = None;
    let error = allocate(&wrong).await.expect_err("no password");
    assert_eq!(failure(&error), Some(&TurnFailure::CredentialsNeeded));
}

#[tokio::test]
async fn a_quota_is_reported_and_closing_or_dropping_frees_it() {
    let Some(server) = Turnserver::start(&["--no-tls", "--user-quota=1"]).await else { return };
    let config = config(&format!("turn:127.0.0.1:{}", server.port));
    let first = allocate(&config).await.expect("allocated");
    let error = allocate(&config).await.expect_err("one is the limit");
    assert_eq!((error.kind(), failure(&error)), (ErrorKind::LimitReached, Some(&TurnFailure::QuotaReached)));
    first.close().await;
    let second = until_free(&config).await;
    drop(second);
    until_free(&config).await.close().await;
}

/// Allocates as soon as the server has counted the end of the former allocation.
async fn until_free(config: &TurnConfig) -> Relayed {
    let started = Instant::now();
    loop {
        match allocate(config).await {
            Ok(relayed) => return relayed,
            Err(error) => assert_eq!(failure(&error), Some(&TurnFailure::QuotaReached), "{error}"),
        }
        assert!(started.elapsed() < PATIENCE, "the quota is not freed");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn short_lives_are_prolonged_past_stale_nonces_and_end_when_nobody_does() {
    let options = ["--no-tls", "--max-allocate-lifetime=4", "--stale-nonce=3"];
    let Some(server) = Turnserver::start(&options).await else { return };
    let config = config(&format!("turn:127.0.0.1:{}", server.port));
    let relayed = allocate(&config).await.expect("allocated");
    let lapsed = tokio::spawn(let_one_expire(server.address()));
    // Three lives long.
    let peer = echo(LOCALHOST).await;
    relayed.permit(peer.ip()).await.expect("allowed");
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(12) {
        relayed.send_to(peer, Bytes::from_static(b"still here")).await.expect("permitted");
        timeout(PATIENCE, relayed.receive()).await.expect("the relay lives").expect("alive");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(server.log().contains("Stale nonce") || server.log().contains("438"), "{}", server.log());
    assert_eq!(lapsed.await.expect("no panic"), Output::Closed(Some(TurnFailure::Expired)));
}

/// Allocates with the bare machine, then does nothing for longer than the allocation lives, and goes on.
async fn let_one_expire(server: SocketAddr) -> Output {
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("free port");
    socket.connect(server).await.expect("routed");
    let credentials = Credentials { username: USER.to_owned(), password: PASSWORD.to_owned() };
    let config = Config { server, stream: false, credentials: Some(credentials), family: None, lifetime: PATIENCE };
    // The machine's clock stands still, so that it does not notice.
    let now = Time::ZERO;
    let mut client = Client::new(now, config, Jitter::from_seed(std::process::id().into()));
    let mut buffer = [0; 2048];
    loop {
        while let Some(output) = client.poll() {
            match output {
                Output::Send(bytes) => drop(socket.send(&bytes).await.expect("sent")),
                Output::Ready { .. } => {
                    tokio::time::sleep(Duration::from_secs(7)).await;
                    client.permit(now, LOCALHOST).expect("room");
                }
                // coturn says no more than 400; the machine asks further.
                Output::Refused(..) => client.handle_timeout(now),
                other => return other,
            }
        }
        let length = timeout(PATIENCE, socket.recv(&mut buffer)).await.expect("an answer").expect("alive");
        client.handle(now, &Bytes::copy_from_slice(&buffer[..length]));
    }
}

#[tokio::test]
async fn refusals_of_peers_and_families_are_typed() {
    let Some(server) = Turnserver::start(&["--no-tls", "--denied-peer-ip=127.0.0.9"]).await else { return };
    let mut config = config(&format!("turn:127.0.0.1:{}", server.port));
    let relayed = allocate(&config).await.expect("allocated");
    let denied = "127.0.0.9".parse().expect("valid");
    let error = relayed.permit(denied).await.expect_err("denied");
    assert_eq!((error.kind(), failure(&error)), (ErrorKind::PeerUnreachable, Some(&TurnFailure::Forbidden)));
    let error = relayed.send_to(SocketAddr::new(denied, 9), Bytes::from_static(b"x")).await.expect_err("denied");
    assert_eq!((error.kind(), failure(&error)), (ErrorKind::InvalidState, Some(&TurnFailure::NotPermitted)));
    let error = relayed.permit("2001:db8::1".parse().expect("valid")).await.expect_err("another family");
    assert_eq!(failure(&error), Some(&TurnFailure::PeerFamilyMismatch));
    config.family = Some(Family::V6);
    let error = allocate(&config).await.expect_err("no IPv6 here");
    assert_eq!(failure(&error), Some(&TurnFailure::FamilyUnsupported));
}

#[tokio::test]
async fn an_alternate_server_is_followed() {
    let Some(second) = Turnserver::start(&["--no-tls"]).await else { return };
    let alternate = format!("--alternate-server={}", second.address());
    let Some(first) = Turnserver::start(&["--no-tls", &alternate]).await else { return };
    for query in ["", "?transport=tcp"] {
        let relayed = allocate(&config(&format!("turn:127.0.0.1:{}{query}", first.port))).await.expect("allocated");
        assert_eq!(relayed.server_address(), second.address());
        relayed.close().await;
    }
}

#[tokio::test]
async fn a_dead_server_is_named_soon_and_a_dying_one_ends_the_relay() {
    let Some(server) = Turnserver::start(&["--no-tls"]).await else { return };
    let uris = ["", "?transport=tcp"].map(|query| format!("turn:127.0.0.1:{}{query}", server.port));
    let relayed = allocate(&config(&uris[1])).await.expect("allocated");
    relayed.permit(LOCALHOST).await.expect("allowed");
    drop(server);
    let error = timeout(PATIENCE, relayed.receive()).await.expect("noticed").expect_err("gone");
    assert_eq!(error.kind(), ErrorKind::ConnectionClosed);
    for uri in uris {
        let started = Instant::now();
        let error = allocate(&config(&uri)).await.expect_err("nobody is there");
        assert_eq!(error.kind(), ErrorKind::PeerUnreachable, "{}", error.full_message());
        assert!(error.to_string().contains(&uri), "{error}");
        assert!(started.elapsed() < Duration::from_secs(10), "{uri} took {:?}", started.elapsed());
    }
}
