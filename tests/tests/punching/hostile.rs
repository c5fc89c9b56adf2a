//! What others send: another key, garbage, replayed probes, strangers at the TCP port.

use std::time::Duration;

use dig_nat_core::ErrorKind;
use dig_nat_core::nat::punch::driver::{LocalPort, punch_tcp_to, punch_udp_to};
use dig_nat_core::nat::punch::hello::{Kind, Prover};
use dig_nat_core::nat::punch::{SessionId, SessionKey};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio_util::sync::CancellationToken;

use super::peers::{home, in_time, log, port, reason};

fn key(byte: u8) -> SessionKey {
    SessionKey([byte; 32])
}

#[tokio::test]
async fn a_peer_with_another_key_is_not_heard() {
    let (one, two) = (port(), port());
    let at = |local: &LocalPort| local.port.local_address().expect("bound");
    let (first, second) = (at(&one), at(&two));
    let (cancel, time) = (CancellationToken::new(), Duration::from_millis(400));
    let (mine, theirs) = (key(1), key(2));
    let (first, second) = in_time(async {
        tokio::join!(
            punch_udp_to(one, second, Some(&mine), time, &cancel),
            punch_udp_to(two, first, Some(&theirs), time, &cancel)
        )
    })
    .await;
    for error in [first.expect_err("refused"), second.expect_err("refused")] {
        assert_eq!(error.kind(), ErrorKind::PeerUnreachable);
        assert!(reason(&log(&error)[0]).contains("no packet of the peer"));
    }
}

/// A third party that heard a true probe gets at most as many bytes back as it sends, and nothing for a repetition.
#[tokio::test]
async fn replays_and_garbage_are_not_amplified() {
    let thief = UdpSocket::bind(home()).await.expect("a free port");
    let nowhere = UdpSocket::bind(home()).await.expect("a free port");
    let (cancel, time) = (CancellationToken::new(), Duration::from_secs(2));
    let (mine, theirs) = (key(1), key(1));
    let (one, two) = (port(), port());
    let victim = two.port.local_address().expect("bound");
    let attack = async {
        let mut probe = [0; 1500];
        let (length, _) = thief.recv_from(&mut probe).await.expect("a true probe");
        let probe = &probe[..length];
        let attacker = UdpSocket::bind(home()).await.expect("a free port");
        // STUN without, with cut, and with changed proof.
        let mut changed = probe.to_vec();
        changed[60] ^= 1;
        for garbage in [&probe[..20], &probe[..length - 8], &changed[..], &[0; 64][..], b"\x40quic"] {
            attacker.send_to(garbage, victim).await.expect("sent");
        }
        for _ in 0..50 {
            attacker.send_to(probe, victim).await.expect("sent");
        }
        let mut back = 0;
        let mut buffer = [0; 1500];
        let quiet = Duration::from_millis(600);
        while let Ok(Ok((length, _))) = tokio::time::timeout(quiet, attacker.recv_from(&mut buffer)).await {
            back += length;
        }
        assert!(back > 0, "the first one is as good as true: the attacker might be the peer behind a NAT");
        assert!(back <= length, "{back} bytes for {length}");
    };
    let (first, second, ()) = in_time(Box::pin(async {
        tokio::join!(
            punch_udp_to(one, thief.local_addr().expect("bound"), Some(&mine), time, &cancel),
            punch_udp_to(two, nowhere.local_addr().expect("bound"), Some(&theirs), time, &cancel),
            attack
        )
    }))
    .await;
    assert!(first.is_err() && second.is_err(), "nobody was there");
}

#[tokio::test]
async fn a_stranger_at_the_tcp_port_does_not_disturb() {
    let free = || std::net::TcpListener::bind(home()).expect("free").local_addr().expect("bound");
    let (first, second) = (free(), free());
    let (cancel, time, secret) = (CancellationToken::new(), Duration::from_secs(5), key(1));
    // Strangers come first, to the side that waits alone for a while.
    let strangers = async {
        let mut silent = Vec::new();
        for number in 0..6 {
            let mut stream = loop {
                match TcpStream::connect(first).await {
                    Ok(stream) => break stream,
                    Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
                }
            };
            match number {
                0 | 1 => stream.write_all(b"GET / HTTP/1.1\r\nHost: example\r\n\r\n").await.expect("sent"),
                2 => {
                    let frame = Prover::new(SessionId([0; 16]), key(9), None, [1; 16]).write(Kind::Hello, &[0; 16]);
                    stream.write_all(&frame).await.expect("sent");
                    let mut rest = Vec::new();
                    let end = in_time(stream.read_to_end(&mut rest)).await;
                    assert!(end.is_err() || rest.len() <= 70, "its HELLO and the end");
                }
                _ => {}
            }
            silent.push(stream);
        }
        let peer = punch_tcp_to(second, first, Some(&secret), time, &cancel).await;
        drop(silent);
        peer
    };
    let (one, two) =
        in_time(async { tokio::join!(punch_tcp_to(first, second, Some(&secret), time, &cancel), strangers) }).await;
    let (one, two) = (one.expect("connected"), two.expect("connected"));
    assert_eq!((one.remote, two.remote), (second, first));
}

#[tokio::test]
async fn a_tcp_peer_with_another_key_is_refused() {
    let free = || std::net::TcpListener::bind(home()).expect("free").local_addr().expect("bound");
    let (first, second) = (free(), free());
    let (cancel, time) = (CancellationToken::new(), Duration::from_millis(700));
    let (mine, theirs) = (key(1), key(2));
    let (one, two) = in_time(async {
        tokio::join!(
            punch_tcp_to(first, second, Some(&mine), time, &cancel),
            punch_tcp_to(second, first, Some(&theirs), time, &cancel)
        )
    })
    .await;
    for error in [one.expect_err("refused"), two.expect_err("refused")] {
        assert_eq!(error.kind(), ErrorKind::PeerUnreachable);
        assert!(reason(&log(&error)[0]).contains("did not confirm"), "{:?}", log(&error));
    }
}
