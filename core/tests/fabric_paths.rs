//! Paths made elsewhere that become links, and the UDP port shared with STUN. Not here: how a path is punched.

use std::sync::Arc;
use std::time::Duration;

use dig_nat_core::ErrorKind;
use dig_nat_core::fabric::{Fabric, FabricConfig, Link, Path, Transport};
use dig_nat_core::net::udp::UdpPort;
use futures::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

const ECHO: &str = "/test/echo/1";
const WAIT: Duration = Duration::from_secs(10);

async fn node() -> Fabric {
    let config = FabricConfig { interfaces: vec!["lo".into()], protocols: vec![ECHO], ..FabricConfig::default() };
    Fabric::start(config).await.expect("started").0
}

/// Sends bytes one way over a pair of links of the same path and says what arrived.
async fn exchange(from: (&Fabric, &Link), to: &Fabric) {
    let mut incoming = to.accept(ECHO).expect("free");
    let mut stream = from.0.open(from.1, ECHO).await.expect("opened");
    stream.write_all(b"over the path").await.expect("written");
    stream.close().await.expect("closed");
    let (link, mut stream) = incoming.next().await.expect("a stream");
    let mut received = String::new();
    stream.read_to_string(&mut received).await.expect("read");
    assert_eq!(received, "over the path");
    assert_eq!(link.peer, from.0.local_peer());
}

async fn adopt_both(a: &Fabric, b: &Fabric, at_a: Path, at_b: Path) -> (Link, Link) {
    let (peer_a, peer_b) = (a.local_peer(), b.local_peer());
    let both = async { tokio::join!(a.adopt(at_a, &peer_b, true), b.adopt(at_b, &peer_a, false)) };
    let (at_a, at_b) = tokio::time::timeout(WAIT, both).await.expect("in time");
    (at_a.expect("controlling side"), at_b.expect("controlled side"))
}

fn port() -> Arc<UdpPort> {
    UdpPort::bind("127.0.0.1:0".parse().expect("valid")).expect("free port")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connected_tcp_stream_becomes_a_link_beside_the_ones_there_are() {
    let (a, b) = (node().await, node().await);
    let first = a.dial(&format!("127.0.0.1:{}", b.port()), WAIT).await.expect("dialled");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("free port");
    let at = listener.local_addr().expect("bound");
    let (here, there) = tokio::join!(TcpStream::connect(at), listener.accept());
    let (here, there) = (here.expect("connected"), there.expect("accepted").0);
    let (at_a, at_b) = adopt_both(&a, &b, Path::Tcp(here), Path::Tcp(there)).await;
    assert_ne!(at_a.id, first.id);
    assert_eq!((at_a.transport, at_b.transport), (Transport::Tcp, Transport::Tcp));
    assert_eq!(at_a.address, format!("/ip4/127.0.0.1/tcp/{}", at.port()), "the real address, without a ticket");
    exchange((&a, &at_a), &b).await;
    a.shutdown().await;
    b.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_udp_ports_become_a_quic_link() {
    let (a, b) = (node().await, node().await);
    let (here, there) = (port(), port());
    let (at_here, at_there) = (here.local_address().expect("bound"), there.local_address().expect("bound"));
    let at_a = Path::Udp { port: here, remote: at_there };
    let at_b = Path::Udp { port: there, remote: at_here };
    let (at_a, at_b) = adopt_both(&a, &b, at_a, at_b).await;
    assert_eq!((at_a.transport, at_b.transport), (Transport::Quic, Transport::Quic));
    exchange((&b, &at_b), &a).await;
    a.shutdown().await;
    b.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_listening_port_itself_can_be_the_path_on_both_sides() {
    let (a, b) = (node().await, node().await);
    let (here, there) = (a.udp_ports().remove(0), b.udp_ports().remove(0));
    let (at_here, at_there) = (here.local_address().expect("bound"), there.local_address().expect("bound"));
    let at_a = Path::Udp { port: here, remote: at_there };
    let at_b = Path::Udp { port: there, remote: at_here };
    let (at_a, at_b) = adopt_both(&a, &b, at_a, at_b).await;
    assert_eq!(at_a.address, format!("/ip4/127.0.0.1/udp/{}/quic-v1", b.port()));
    assert!(at_a.outbound, "the controlling side");
    exchange((&a, &at_a), &b).await;
    exchange((&b, &at_b), &a).await;
    a.shutdown().await;
    b.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_path_to_somebody_else_is_refused() {
    let (a, b, c) = (node().await, node().await, node().await);
    let (here, there) = (port(), port());
    let (at_here, at_there) = (here.local_address().expect("bound"), there.local_address().expect("bound"));
    let (peer_a, peer_c) = (a.local_peer(), c.local_peer());
    let (at_a, _) = tokio::join!(
        a.adopt(Path::Udp { port: here, remote: at_there }, &peer_c, true),
        b.adopt(Path::Udp { port: there, remote: at_here }, &peer_a, false),
    );
    let error = at_a.expect_err("b is not c");
    assert_eq!(error.kind(), ErrorKind::PeerUnreachable);
    assert!(error.to_string().contains("another peer answered"), "{error}");
    for node in [a, b, c] {
        node.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stun_reaches_its_route_on_the_port_that_carries_quic() {
    let (a, b) = (node().await, node().await);
    let link = a.dial(&format!("/ip4/127.0.0.1/udp/{}/quic-v1", b.port()), WAIT).await.expect("QUIC");
    let shared = b.udp_ports().remove(0);
    let mut route = shared.route(|_, _| true).expect("room");
    let outside = UdpSocket::bind("127.0.0.1:0").await.expect("free port");
    let request: Vec<u8> = [&[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42][..], &[9; 12]].concat();
    outside.send_to(&request, shared.local_address().expect("bound")).await.expect("sent");
    let received = tokio::time::timeout(WAIT, route.receive()).await.expect("in time");
    assert_eq!((received.bytes.to_vec(), received.from), (request, outside.local_addr().expect("bound")));
    shared.send(b"answer", received.from).await.expect("sent");
    let mut answer = [0; 16];
    let (length, from) = outside.recv_from(&mut answer).await.expect("received");
    assert_eq!((&answer[..length], from), (&b"answer"[..], shared.local_address().expect("bound")));
    exchange((&a, &link), &b).await;
    drop((shared, route));
    a.shutdown().await;
    b.shutdown().await;
}
