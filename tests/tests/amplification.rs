//! What a node's UDP port sends to an address that has proven nothing, such as a forged sender: at most three times what
//! came from there for a QUIC handshake (RFC 9000 section 8.1), and no more than what came for everything else. Raw
//! sockets on the loopback interface. Not here: probes of hole punching (`tests/punching`).

use std::net::SocketAddr;
use std::time::Duration;

use dig_nat_core::base::limits;
use dig_nat_core::fabric::{Fabric, FabricConfig, Identity};
use dig_nat_core::nat::stun::driver::serve;
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinHandle};
use tokio_util::sync::CancellationToken;

/// QUIC's smallest first datagram (RFC 9000 section 14.1).
const INITIAL: usize = 1200;
/// A handshake that got no answer is given up after this; nothing comes any more then.
const SILENCE: Duration = limits::DIAL_TIMEOUT.saturating_add(Duration::from_secs(3));
/// Answers that are not repeated come at once, also on a busy machine.
const MOMENT: Duration = Duration::from_secs(2);

/// A node that also answers STUN, as all nodes do.
struct Node {
    fabric: Fabric,
    at: SocketAddr,
    stop: CancellationToken,
    stun: JoinHandle<()>,
}

impl Node {
    async fn start() -> Self {
        Self::start_as(Identity::Generated, 0).await
    }

    async fn start_as(identity: Identity, port: u16) -> Self {
        let config = FabricConfig { interfaces: vec!["lo".into()], identity, port, ..FabricConfig::default() };
        let fabric = Fabric::start(config).await.expect("started").0;
        let port = fabric.udp_ports().remove(0);
        let at = port.local_address().expect("bound");
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let stun = tokio::spawn(async move { serve(&port, stopped).await.expect("the only one") });
        Self { fabric, at, stop, stun }
    }

    async fn stop(self) {
        self.stop.cancel();
        self.stun.await.expect("no panic");
        self.fabric.shutdown().await;
    }
}

async fn socket() -> UdpSocket {
    UdpSocket::bind("127.0.0.1:0").await.expect("a free port")
}

/// The first datagram of a real client's handshake, which its server never saw.
async fn client_initial() -> Vec<u8> {
    let server = socket().await;
    let config = FabricConfig { interfaces: vec!["lo".into()], ..FabricConfig::default() };
    let client = Fabric::start(config).await.expect("started").0;
    let to = format!("/ip4/127.0.0.1/udp/{}/quic-v1", server.local_addr().expect("bound").port());
    let dialling = tokio::spawn({
        let client = client.clone();
        async move { client.dial(&to, limits::DIAL_TIMEOUT).await }
    });
    let mut datagram = vec![0; 2048];
    let (length, _) = server.recv_from(&mut datagram).await.expect("a datagram");
    datagram.truncate(length);
    client.shutdown().await;
    dialling.await.expect("no panic").expect_err("nobody answered");
    datagram
}

/// The lengths of what comes back for one datagram, until nothing has come for `quiet`.
async fn answers(at: SocketAddr, datagram: &[u8], quiet: Duration) -> Vec<usize> {
    let socket = socket().await;
    socket.send_to(datagram, at).await.expect("sent");
    let mut answer = [0; 2048];
    let mut lengths = Vec::new();
    while let Ok(received) = tokio::time::timeout(quiet, socket.recv_from(&mut answer)).await {
        let (length, from) = received.expect("received");
        assert_eq!(from, at);
        lengths.push(length);
    }
    lengths
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handshake_that_nobody_answers_gets_three_times_its_bytes() {
    let node = Node::start().await;
    let initial = client_initial().await;
    assert!(initial.len() >= INITIAL && initial[0] & 0xc0 == 0xc0, "{} bytes", initial.len());
    let lengths = answers(node.at, &initial, SILENCE).await;
    let sent: usize = lengths.iter().sum();
    assert!(sent > 0, "the handshake is answered");
    assert!(sent <= 3 * initial.len(), "{sent} bytes in {} datagrams for {}", lengths.len(), initial.len());
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handshake_that_is_too_short_gets_nothing() {
    let node = Node::start().await;
    // The packet says its own length, so that a cut one is broken; what counts is that it is not answered.
    let initial = client_initial().await;
    for length in [INITIAL - 1, 600, 30] {
        assert_eq!(answers(node.at, &initial[..length], MOMENT).await, [0; 0], "{length} bytes");
    }
    node.stop().await;
}

/// Passes datagrams between a client and `to` until it is dropped; gives its own address, and the last datagram of the
/// client with a short header.
async fn between(to: SocketAddr) -> (SocketAddr, watch::Receiver<Vec<u8>>, AbortHandle) {
    let (outside, inside) = (socket().await, socket().await);
    let at = outside.local_addr().expect("bound");
    let (tell, told) = watch::channel(Vec::new());
    let passing = tokio::spawn(async move {
        let (mut one, mut other) = ([0; 2048], [0; 2048]);
        let mut client = None;
        loop {
            tokio::select! {
                Ok((length, from)) = outside.recv_from(&mut one) => {
                    client = Some(from);
                    inside.send_to(&one[..length], to).await.expect("sent");
                    if one[0] & 0xc0 == 0x40 {
                        tell.send_replace(one[..length].to_vec());
                    }
                }
                Ok((length, _)) = inside.recv_from(&mut other) => {
                    outside.send_to(&other[..length], client.expect("it began")).await.expect("sent");
                }
            }
        }
    });
    (at, told, passing.abort_handle())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn packets_of_unknown_connections_get_nothing() {
    let node = Node::start().await;
    for length in [5, 21, 22, 23, 40, 41, 42, 43, 100, 1200, 1452] {
        // A short header with a connection id that was never given out.
        let mut packet: Vec<u8> = (0..length).map(|index| (index * 37 % 251) as u8).collect();
        packet[0] = 0x41;
        assert_eq!(answers(node.at, &packet, MOMENT / 8).await, [0; 0], "{length} bytes");
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_node_resets_old_connections_with_less_than_they_sent() {
    let identity = Identity::Secret([5; 32]);
    let node = Node::start_as(identity.clone(), 0).await;
    let (at, mut told, passing) = between(node.at).await;
    let config = FabricConfig { interfaces: vec!["lo".into()], ..FabricConfig::default() };
    let client = Fabric::start(config).await.expect("started").0;
    let link = client.dial(&format!("/ip4/127.0.0.1/udp/{}/quic-v1", at.port()), limits::DIAL_TIMEOUT).await;
    assert_eq!(link.expect("through the middle").peer, node.fabric.local_peer());
    let old = tokio::time::timeout(SILENCE, told.wait_for(|packet| packet.len() > 22)).await;
    let old = old.expect("in time").expect("passing").clone();
    passing.abort();
    let port = node.fabric.port();
    node.stop().await;

    let node = Node::start_as(identity, port).await;
    // Longer ones stand for packets of the same connection with more in them, shorter ones for cut ones.
    let mut resets = 0;
    for length in [12, 21, 22, 23, 30, 43, 44, 100, 600, 1200] {
        let mut packet = old.clone();
        packet.resize(length, 0x55);
        let lengths = answers(node.at, &packet, MOMENT / 8).await;
        assert!(lengths.iter().sum::<usize>() < length, "{lengths:?} for {length}");
        resets += lengths.len();
    }
    assert!(resets > 0, "lost peers are told");
    client.shutdown().await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unknown_versions_get_less_than_they_have() {
    let node = Node::start().await;
    let mut told = 0;
    for length in [30, 100, 600, INITIAL, 1452] {
        // A long header: version, the length of each connection id, and the ids.
        let mut packet = vec![0; length];
        packet[..6].copy_from_slice(&[0xc0, 0x1a, 0x2a, 0x3a, 0x4a, 8]);
        packet[14] = 8;
        let lengths = answers(node.at, &packet, MOMENT / 4).await;
        told += lengths.len();
        assert!(lengths.iter().sum::<usize>() < length, "{lengths:?} for {length}");
    }
    assert!(told > 0, "clients of other versions learn ours");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stun_gets_no_more_than_it_has() {
    let node = Node::start().await;
    // A Binding request: type, length, magic cookie, transaction id; then attributes.
    let request = |attributes: &[u8]| {
        let length = (attributes.len() as u16).to_be_bytes();
        [&[0, 1][..], &length, &[0x21, 0x12, 0xa4, 0x42], &[7; 12], attributes].concat()
    };
    // SOFTWARE of so many bytes; the answer's XOR-MAPPED-ADDRESS takes 12.
    let software = |bytes: u16| [&[0x80, 0x22][..], &bytes.to_be_bytes(), &vec![b'x'; usize::from(bytes)]].concat();
    // One that must be understood and is not, and one that asks for an answer to another port.
    let unknown = [0x7f, 0x01, 0, 4, 1, 2, 3, 4];
    let other_port = [0, 0x27, 0, 4, 0x10, 0, 0, 0];
    let mut answered = 0;
    for attributes in [vec![], software(4), software(8), software(400), unknown.to_vec(), other_port.to_vec()] {
        let request = request(&attributes);
        let lengths = answers(node.at, &request, MOMENT / 4).await;
        answered += lengths.len();
        assert!(lengths.iter().sum::<usize>() <= request.len(), "{lengths:?} for {}", request.len());
    }
    assert!(answered >= 2, "{answered}: those with room for an answer get one");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_gets_nothing_much() {
    let node = Node::start().await;
    for first in (0..=u8::MAX).step_by(5) {
        let length = 200 + usize::from(first);
        let mut packet: Vec<u8> = (0..length).map(|index| (index * 91 % 253) as u8).collect();
        packet[0] = first;
        let lengths = answers(node.at, &packet, MOMENT / 20).await;
        assert!(lengths.iter().sum::<usize>() < length, "{lengths:?} for {length} beginning with {first:#x}");
    }
    node.stop().await;
}
