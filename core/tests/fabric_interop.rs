//! Our transports against stock rust-libp2p ones, both ways: same bytes on the wire. Not here: js-libp2p.

use std::time::Duration;

use dig_nat_core::fabric::{Fabric, FabricConfig, Transport};
use futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use libp2p::swarm::SwarmEvent;
use libp2p::{Multiaddr, PeerId, Swarm, SwarmBuilder, noise, ping, tcp, tls, yamux};

const WAIT: Duration = Duration::from_secs(10);
const PING: &str = "/ipfs/ping/1.0.0";

/// What a stock node offers and proposes on TCP.
#[derive(Clone, Copy)]
enum Security {
    Tls,
    Noise,
}

fn stock(security: Security) -> Swarm<ping::Behaviour> {
    let builder = SwarmBuilder::with_new_identity().with_tokio();
    let config = tcp::Config::default();
    match security {
        Security::Tls => builder
            .with_tcp(config, tls::Config::new, yamux::Config::default)
            .expect("made")
            .with_quic()
            .with_behaviour(|_| ping::Behaviour::default())
            .expect("made")
            .build(),
        Security::Noise => builder
            .with_tcp(config, noise::Config::new, yamux::Config::default)
            .expect("made")
            .with_quic()
            .with_behaviour(|_| ping::Behaviour::default())
            .expect("made")
            .build(),
    }
}

async fn fabric() -> Fabric {
    let config = FabricConfig { interfaces: vec!["lo".into()], protocols: vec![], ..FabricConfig::default() };
    Fabric::start(config).await.expect("started").0
}

/// Listens and keeps the stock node running.
async fn listening(mut swarm: Swarm<ping::Behaviour>, at: &str) -> (Multiaddr, PeerId) {
    swarm.listen_on(at.parse().expect("valid")).expect("listening");
    let peer = *swarm.local_peer_id();
    let address = loop {
        if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
            break address;
        }
    };
    tokio::spawn(async move { while swarm.next().await.is_some() {} });
    (address, peer)
}

async fn we_dial(security: Security, at: &str, transport: Transport) {
    let (address, peer) = listening(stock(security), at).await;
    let us = fabric().await;
    let link = us.dial(&format!("{address}/p2p/{peer}"), WAIT).await.expect("dialled");
    assert_eq!((link.peer.as_str(), link.transport), (peer.to_base58().as_str(), transport));
    // A ping echoes 32 bytes.
    let mut stream = us.open(&link, PING).await.expect("opened");
    stream.write_all(&[7; 32]).await.expect("written");
    let mut echo = [0; 32];
    tokio::time::timeout(WAIT, stream.read_exact(&mut echo)).await.expect("in time").expect("echoed");
    assert_eq!(echo, [7; 32]);
    us.shutdown().await;
}

async fn they_dial(security: Security, address: impl Fn(&Fabric) -> String) {
    let us = fabric().await;
    let mut swarm = stock(security);
    let target: Multiaddr = format!("{}/p2p/{}", address(&us), us.local_peer()).parse().expect("valid");
    swarm.dial(target).expect("dialling");
    let pinged = async {
        loop {
            match swarm.select_next_some().await {
                SwarmEvent::Behaviour(ping::Event { result, .. }) => break result.expect("answered"),
                SwarmEvent::OutgoingConnectionError { error, .. } => panic!("{error}"),
                _ => {}
            }
        }
    };
    tokio::time::timeout(WAIT, pinged).await.expect("in time");
    us.shutdown().await;
}

/// We propose lazily, so the refusal comes when the stream is in use already, and its user may go on using it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_of_a_protocol_that_stock_does_not_know_fails_and_stays_failed() {
    for (at, with_end) in [("/ip4/127.0.0.1/tcp/0", false), ("/ip4/127.0.0.1/udp/0/quic-v1", true)] {
        let (address, peer) = listening(stock(Security::Tls), at).await;
        let us = fabric().await;
        let link = us.dial(&format!("{address}/p2p/{peer}"), WAIT).await.expect("dialled");
        let mut stream = us.open(&link, "/test/unknown/1").await.expect("proposed");
        stream.write_all(b"hello").await.expect("buffered");
        stream.flush().await.expect("sent");
        if with_end {
            stream.close().await.expect("sent");
        }
        let mut byte = [0];
        for _ in 0..2 {
            let refused = tokio::time::timeout(WAIT, stream.read(&mut byte)).await.expect("in time");
            assert_eq!(refused.expect_err("refused").kind(), std::io::ErrorKind::ConnectionRefused);
        }
        stream.write_all(b"hello").await.expect_err("refused");
        stream.flush().await.expect_err("refused");
        stream.close().await.expect_err("refused");
        us.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn we_dial_stock_tcp_with_tls() {
    we_dial(Security::Tls, "/ip4/127.0.0.1/tcp/0", Transport::Tcp).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn we_dial_stock_tcp_with_noise() {
    we_dial(Security::Noise, "/ip4/127.0.0.1/tcp/0", Transport::Tcp).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn we_dial_stock_quic() {
    we_dial(Security::Tls, "/ip4/127.0.0.1/udp/0/quic-v1", Transport::Quic).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stock_dials_our_tcp_with_tls() {
    they_dial(Security::Tls, |us| format!("/ip4/127.0.0.1/tcp/{}", us.port())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stock_dials_our_tcp_with_noise() {
    they_dial(Security::Noise, |us| format!("/ip4/127.0.0.1/tcp/{}", us.port())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stock_dials_our_quic() {
    they_dial(Security::Tls, |us| format!("/ip4/127.0.0.1/udp/{}/quic-v1", us.port())).await;
}
