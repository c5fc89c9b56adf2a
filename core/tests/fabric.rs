//! The fabric over real sockets, on the loopback interface only. Not here: pure parts (beside their modules).

use std::collections::HashSet;
use std::net::{TcpListener, UdpSocket};
use std::time::{Duration, Instant};

use dig_nat_core::base::limits;
use dig_nat_core::fabric::{Fabric, FabricConfig, FabricEvent, FabricEvents, Identity, Link, Stream, Transport};
use dig_nat_core::{ErrorKind, Result};
use futures::future::join_all;
use futures::{AsyncReadExt, AsyncWriteExt};

const ECHO: &str = "/test/echo/1";
const WAIT: Duration = Duration::from_secs(10);

fn config() -> FabricConfig {
    FabricConfig { interfaces: vec!["lo".into()], ..FabricConfig::default() }
}

async fn node() -> (Fabric, FabricEvents) {
    Fabric::start(config()).await.expect("started")
}

/// A node that sends back everything it receives.
async fn echo_node(config: FabricConfig) -> Fabric {
    let (fabric, _) = Fabric::start(config).await.expect("started");
    let mut incoming = fabric.accept(ECHO).expect("free");
    tokio::spawn(async move {
        while let Some((_, stream)) = incoming.next().await {
            tokio::spawn(async move {
                let (reader, mut writer) = stream.split();
                futures::io::copy(reader, &mut writer).await.expect("copied");
                writer.close().await.expect("closed");
            });
        }
    });
    fabric
}

async fn echo(mut stream: Stream, text: &str) -> String {
    stream.write_all(text.as_bytes()).await.expect("written");
    stream.close().await.expect("closed");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("read");
    answer
}

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(WAIT, future).await.unwrap_or_else(|_| panic!("{what}: not within {WAIT:?}"))
}

async fn event<T>(events: &mut FabricEvents, what: &str, pick: impl Fn(FabricEvent) -> Option<T>) -> T {
    soon(what, async {
        loop {
            if let Some(found) = pick(events.next().await.expect("the fabric runs")) {
                return found;
            }
        }
    })
    .await
}

fn tcp_address(fabric: &Fabric) -> String {
    format!("/ip4/127.0.0.1/tcp/{}", fabric.port())
}

fn quic_address(fabric: &Fabric) -> String {
    format!("/ip4/127.0.0.1/udp/{}/quic-v1", fabric.port())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_come_back_over_tcp_and_over_quic_on_one_port_number() {
    let server = echo_node(config()).await;
    let (client, _) = node().await;
    let addresses = server.addresses();
    for address in [tcp_address(&server), quic_address(&server)] {
        assert!(addresses.contains(&format!("{address}/p2p/{}", server.local_peer())), "{addresses:?}");
    }
    let over_tcp = client.dial(&tcp_address(&server), WAIT).await.expect("TCP");
    let over_quic = client.dial(&quic_address(&server), WAIT).await.expect("QUIC");
    assert_eq!((over_tcp.transport, over_quic.transport), (Transport::Tcp, Transport::Quic));
    assert_eq!((&over_tcp.peer, &over_quic.peer), (&server.local_peer(), &server.local_peer()));
    for link in [&over_tcp, &over_quic] {
        assert!(link.outbound && !link.relayed);
        let stream = client.open(link, ECHO).await.expect("opened");
        assert_eq!(stream.link(), link);
        assert_eq!(echo(stream, "hello").await, "hello");
    }
    assert_eq!(client.links(), [over_tcp, over_quic]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn host_and_port_lead_to_one_tcp_link_however_often_they_are_dialled() {
    let server = echo_node(config()).await;
    let (client, _) = node().await;
    let target = format!("localhost:{}", server.port());
    let links: Vec<Link> =
        join_all((0..8).map(|_| client.dial(&target, WAIT))).await.into_iter().collect::<Result<_>>().expect("dialled");
    assert!(links.iter().all(|link| link.peer == server.local_peer() && link.transport == Transport::Tcp), "{links:?}");
    let again = client.dial(&target, WAIT).await.expect("dialled");
    assert_eq!(client.links(), std::slice::from_ref(&again), "the others are closed");
    assert_eq!(client.dial(server.local_peer().as_str(), WAIT).await.expect("connected"), again);
    assert_eq!(client.connect(&server.local_peer()).await.expect("connected"), again);
    assert_eq!(echo(client.open(&again, ECHO).await.expect("opened"), "hi").await, "hi");
    // The server's end is the same connection, and it can open streams on it.
    let back = server.links().into_iter().next().expect("one link");
    assert!(!back.outbound);
    assert_eq!(back.peer, client.local_peer());
}

async fn two_hundred_streams_at_once(address: fn(&Fabric) -> String) {
    let server = echo_node(config()).await;
    let (client, _) = node().await;
    let link = client.dial(&address(&server), WAIT).await.expect("dialled");
    let answers = join_all((0..200).map(|number| {
        let (client, link) = (&client, &link);
        async move { (number, echo(client.open(link, ECHO).await.expect("opened"), &number.to_string()).await) }
    }))
    .await;
    assert!(answers.iter().all(|(number, answer)| *answer == number.to_string()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_streams_open_at_once_on_one_tcp_connection() {
    soon("200 streams", two_hundred_streams_at_once(tcp_address)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_streams_open_at_once_on_one_quic_connection() {
    soon("200 streams", two_hundred_streams_at_once(quic_address)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_stays_on_the_link_it_was_opened_on() {
    let (server, _) = node().await;
    let mut incoming = server.accept(ECHO).expect("free");
    let (client, _) = node().await;
    let quic = client.dial(&quic_address(&server), WAIT).await.expect("QUIC");
    let tcp = client.dial(&tcp_address(&server), WAIT).await.expect("TCP");
    for (link, expected) in [(&quic, Transport::Quic), (&tcp, Transport::Tcp), (&quic, Transport::Quic)] {
        let mut stream = client.open(link, ECHO).await.expect("opened");
        stream.write_all(b"x").await.expect("written");
        stream.flush().await.expect("flushed");
        let (from, arrived) = soon("inbound stream", incoming.next()).await.expect("runs");
        assert_eq!(from.transport, expected);
        assert_eq!((&from.peer, arrived.link()), (&client.local_peer(), &from));
    }
    // By peer: TCP is better on loopback although QUIC is older.
    let best = client.open(&server.local_peer(), ECHO).await.expect("opened");
    assert_eq!(best.link(), &tcp);
}

async fn surplus_is_refused(address: fn(&Fabric) -> String) {
    let (server, _) = node().await;
    let mut incoming = server.accept(ECHO).expect("free");
    let (client, _) = node().await;
    let link = client.dial(&address(&server), WAIT).await.expect("dialled");
    // One more than fits waits unaccepted. They are opened one after the other, so the last is the surplus.
    let mut waiting = Vec::new();
    for _ in 0..limits::INBOUND_STREAMS {
        let mut stream = client.open(&link, ECHO).await.expect("opened");
        stream.write_all(b"x").await.expect("written");
        stream.flush().await.expect("flushed");
        waiting.push(stream);
    }
    let refused = soon("refusal", async {
        let mut seen = None;
        while seen.is_none() {
            let mut stream = client.open(&link, ECHO).await.expect("opened");
            let _ = stream.write_all(b"x").await;
            let _ = stream.flush().await;
            let mut byte = [0];
            match tokio::time::timeout(Duration::from_millis(500), stream.read(&mut byte)).await {
                Ok(outcome) => seen = Some(outcome),
                // Negotiations finish in any order: an earlier stream may still be on its way into the queue.
                Err(_) => waiting.push(stream),
            }
        }
        seen.expect("set above")
    })
    .await;
    assert_eq!(refused.expect_err("refused, not an orderly end").kind(), std::io::ErrorKind::ConnectionRefused);
    // The others were not harmed: each is delivered and can be answered.
    for _ in 0..limits::INBOUND_STREAMS {
        let (_, mut stream) = soon("queued stream", incoming.next()).await.expect("runs");
        stream.write_all(b"y").await.expect("written");
        stream.close().await.expect("closed");
    }
    for stream in &mut waiting[..limits::INBOUND_STREAMS] {
        let mut byte = [0];
        soon("answer", stream.read_exact(&mut byte)).await.expect("answered");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn surplus_streams_are_refused_with_an_error_over_tcp() {
    surplus_is_refused(tcp_address).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn surplus_streams_are_refused_with_an_error_over_quic() {
    surplus_is_refused(quic_address).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_protocol_is_an_error_of_the_first_read_and_can_be_added_later() {
    let (server, _) = node().await;
    let (client, _) = node().await;
    let link = client.dial(&tcp_address(&server), WAIT).await.expect("dialled");
    let mut stream = client.open(&link, "/test/late/1").await.expect("lazy");
    let error = soon("refusal", stream.read(&mut [0])).await.expect_err("unknown protocol");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);

    let mut incoming = server.accept("/test/late/1").expect("free");
    assert_eq!(server.accept("/test/late/1").expect_err("taken").kind(), ErrorKind::InvalidState);
    let mut stream = client.open(&link, "/test/late/1").await.expect("opened");
    stream.write_all(b"x").await.expect("written");
    stream.flush().await.expect("flushed");
    soon("inbound stream", incoming.next()).await.expect("runs");
    assert_eq!(client.open(&link, "bad").await.expect_err("name").kind(), ErrorKind::InvalidArgument);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_wait_in_the_queue_of_a_configured_protocol_until_it_is_accepted() {
    let (server, _) = Fabric::start(FabricConfig { protocols: vec![ECHO], ..config() }).await.expect("started");
    let (client, _) = node().await;
    let link = client.dial(&tcp_address(&server), WAIT).await.expect("dialled");
    let mut stream = client.open(&link, ECHO).await.expect("opened");
    stream.write_all(b"x").await.expect("written");
    stream.flush().await.expect("flushed");
    // The opener sees the protocol accepted although nobody has taken the receiver.
    let mut incoming = server.accept(ECHO).expect("parked");
    let (_, mut arrived) = soon("inbound stream", incoming.next()).await.expect("runs");
    arrived.write_all(b"y").await.expect("written");
    arrived.close().await.expect("closed");
    let mut answer = Vec::new();
    soon("answer", stream.read_to_end(&mut answer)).await.expect("read");
    assert_eq!(answer, b"y");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_host_is_unreachable_and_the_error_says_why() {
    let (client, _) = node().await;
    // RFC 6761: names under .invalid never resolve.
    let error = client.dial("nobody.invalid:4001", WAIT).await.expect_err("unknown");
    assert_eq!(error.kind(), ErrorKind::PeerUnreachable);
    assert!(error.context().contains("/dns/nobody.invalid/tcp/4001: "), "{error}");
    assert!(error.context().contains("/dns/nobody.invalid/udp/4001/quic-v1: "), "{error}");
    // How lists of entry nodes are often written; nothing is asked for it.
    let list = format!("/dnsaddr/nobody.invalid/p2p/{}", libp2p::PeerId::random());
    let error = client.dial(&list, WAIT).await.expect_err("a list");
    assert_eq!(error.kind(), ErrorKind::PeerUnreachable);
    assert!(error.context().contains("name one of those it stands for"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_port_is_reported_per_address_before_the_timeout() {
    let (client, _) = node().await;
    let port = {
        let (gone, _) = node().await;
        let port = gone.port();
        gone.shutdown().await;
        port
    };
    let begin = Instant::now();
    let error = client.dial(&format!("127.0.0.1:{port}"), WAIT).await.expect_err("nobody there");
    assert_eq!(error.kind(), ErrorKind::PeerUnreachable);
    assert!(error.context().contains(&format!("/ip4/127.0.0.1/tcp/{port}: connection refused")), "{error}");
    assert!(error.context().contains(&format!("/ip4/127.0.0.1/udp/{port}/quic-v1: ")), "{error}");
    assert!(begin.elapsed() < limits::QUIC_AFTER_REFUSAL_TIMEOUT * 2, "took {:?}", begin.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_timeout_is_kept_and_named() {
    let (client, _) = node().await;
    // Accepts connections and says nothing.
    let mute = TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = format!("/ip4/127.0.0.1/tcp/{}", mute.local_addr().expect("bound").port());
    let begin = Instant::now();
    let error = client.dial(&address, Duration::from_millis(300)).await.expect_err("mute");
    assert_eq!(error.kind(), ErrorKind::PeerUnreachable);
    assert!(error.context().contains(&format!("{address}: no answer within 300ms")), "{error}");
    assert!(begin.elapsed() < Duration::from_secs(3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dialling_oneself_or_another_peer_than_meant_is_refused() {
    let (client, _) = node().await;
    let (server, _) = node().await;
    let (port, own) = (client.port(), client.local_peer());
    for target in [format!("127.0.0.1:{port}"), own.to_string(), format!("/ip4/127.0.0.1/tcp/1/p2p/{own}")] {
        let error = client.dial(&target, WAIT).await.expect_err("self");
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{target}: {error}");
        assert!(error.context().contains("this node itself"), "{target}: {error}");
    }
    let third = node().await.0.local_peer();
    let error = client.dial(&format!("{}/p2p/{third}", tcp_address(&server)), WAIT).await.expect_err("wrong peer");
    assert_eq!(error.kind(), ErrorKind::PeerUnreachable);
    assert!(error.context().contains(&format!("another peer answered: {}", server.local_peer())), "{error}");
    assert!(client.links().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hints_make_a_peer_id_dialable() {
    let server = echo_node(config()).await;
    let (client, _) = node().await;
    let peer = server.local_peer();
    assert_eq!(client.connect(&peer).await.expect_err("no address").kind(), ErrorKind::PeerUnreachable);
    let closed = TcpListener::bind("127.0.0.1:0").expect("bound").local_addr().expect("bound").port();
    let hints = [format!("/ip4/127.0.0.1/tcp/{closed}"), "nonsense".into(), format!("127.0.0.1:{}", server.port())];
    assert_eq!(client.add_addresses(&peer, &hints), 2);
    let link = client.connect(&peer).await.expect("second hint");
    assert_eq!(link.transport, Transport::Tcp);
    assert_eq!(echo(client.open(&peer, ECHO).await.expect("opened"), "hi").await, "hi");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ipv6_is_listened_on_and_dialled_when_asked_for() {
    let server = echo_node(FabricConfig { ipv6: true, ..config() }).await;
    let (client, _) = Fabric::start(FabricConfig { ipv6: true, ..config() }).await.expect("started");
    let port = server.port();
    let addresses: HashSet<String> = server.addresses().into_iter().collect();
    for start in ["/ip4/127.0.0.1", "/ip6/::1"] {
        for end in [format!("tcp/{port}"), format!("udp/{port}/quic-v1")] {
            assert!(addresses.contains(&format!("{start}/{end}/p2p/{}", server.local_peer())), "{addresses:?}");
        }
    }
    let link = client.dial(&format!("[::1]:{port}"), WAIT).await.expect("dialled");
    assert_eq!(link.address, format!("/ip6/::1/tcp/{port}"));
    let quic = client.dial(&format!("/ip6/::1/udp/{port}/quic-v1"), WAIT).await.expect("dialled");
    for link in [link, quic] {
        assert_eq!(echo(client.open(&link, ECHO).await.expect("opened"), "six").await, "six");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn missing_ipv6_is_a_warning() {
    // An address from the documentation range stands for a family this machine does not have.
    let interfaces = vec!["127.0.0.1".into(), "2001:db8::1".into()];
    let (fabric, mut events) =
        Fabric::start(FabricConfig { ipv6: true, interfaces, ..FabricConfig::default() }).await.expect("started");
    let warning = event(&mut events, "warning", |event| match event {
        FabricEvent::Warning(text) => Some(text),
        _ => None,
    })
    .await;
    assert!(warning.contains("IPv6 is not available"), "{warning}");
    assert!(fabric.addresses().iter().all(|address| address.starts_with("/ip4/127.0.0.1/")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_given_port_in_use_is_a_typed_error() {
    let (first, _) = node().await;
    let error = Fabric::start(FabricConfig { port: first.port(), ..config() }).await.expect_err("in use");
    assert_eq!(error.kind(), ErrorKind::AddressInUse);
    assert!(error.context().contains(&first.port().to_string()), "{error}");
    let error = Fabric::start(FabricConfig { tcp: false, quic: false, ..config() }).await.expect_err("nothing");
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_come_and_go_with_events_and_a_disconnected_link_is_unusable() {
    let (server, mut at_server) = node().await;
    let (client, mut at_client) = node().await;
    let link = client.dial(&tcp_address(&server), WAIT).await.expect("dialled");
    let up = |event| match event {
        FabricEvent::LinkUp(link) => Some(link),
        _ => None,
    };
    assert_eq!(event(&mut at_client, "up", up).await, link);
    assert_eq!(event(&mut at_server, "up", up).await.peer, client.local_peer());
    let agent = event(&mut at_server, "identify", |event| match event {
        FabricEvent::Identified { peer, agent, .. } => Some((peer, agent)),
        _ => None,
    })
    .await;
    assert_eq!(agent, (client.local_peer(), format!("dig-nat-tools/{}", env!("CARGO_PKG_VERSION"))));
    client.disconnect(&server.local_peer()).await.expect("closed");
    let down = |event| match event {
        FabricEvent::LinkDown(link, last) => Some((link, last)),
        _ => None,
    };
    assert_eq!(event(&mut at_client, "down", down).await, (link.clone(), true));
    assert!(event(&mut at_server, "down", down).await.1);
    assert_eq!(client.open(&link, ECHO).await.expect_err("gone").kind(), ErrorKind::ConnectionClosed);
    assert_eq!((client.links(), server.links()), (vec![], vec![]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_banned_peer_is_cut_off_and_stays_out() {
    let server = echo_node(config()).await;
    let (client, mut at_client) = node().await;
    let link = client.dial(&tcp_address(&server), WAIT).await.expect("dialled");
    let mut running = client.open(&link, ECHO).await.expect("opened");
    running.write_all(b"x").await.expect("written");
    running.flush().await.expect("flushed");
    running.read_exact(&mut [0]).await.expect("answered");
    server.ban(&client.local_peer()).await.expect("banned");
    assert!(server.links().is_empty());
    event(&mut at_client, "down", |event| matches!(event, FabricEvent::LinkDown(..)).then_some(())).await;
    assert!(!matches!(soon("end", running.read(&mut [0])).await, Ok(length) if length > 0));
    for address in [tcp_address(&server), quic_address(&server)] {
        // The server learns who it is only when the handshake is done, so the dial itself may succeed.
        if let Ok(link) = client.dial(&address, WAIT).await {
            let used = soon("refusal", async {
                let mut stream = client.open(&link, ECHO).await.ok()?;
                stream.write_all(b"x").await.ok()?;
                stream.flush().await.ok()?;
                stream.read_exact(&mut [0]).await.ok()
            })
            .await;
            assert!(used.is_none(), "a banned peer was served over {address}");
        }
        assert!(server.links().is_empty());
    }
    let error = server.dial(client.local_peer().as_str(), WAIT).await.expect_err("banned");
    assert!(error.context().contains("banned"), "{error}");
    let error = server.dial(&tcp_address(&client), WAIT).await.expect_err("banned");
    assert!(error.context().contains("banned"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_port_is_free_when_shutdown_returns_even_if_streams_are_still_held() {
    let (server, _) = node().await;
    let mut arriving = server.accept(ECHO).expect("free");
    let port = server.port();
    let (client, _) = node().await;
    let mut held = Vec::new();
    for address in [tcp_address(&server), quic_address(&server)] {
        let link = client.dial(&address, WAIT).await.expect("dialled");
        let mut stream = client.open(&link, ECHO).await.expect("opened");
        stream.write_all(b"x").await.expect("written");
        stream.flush().await.expect("flushed");
        held.push(stream);
        held.push(soon("inbound stream", arriving.next()).await.expect("runs").1);
    }
    let mut incoming = server.accept("/test/other/1").expect("free");
    let mut events = server.subscribe();
    let begin = Instant::now();
    server.shutdown().await;
    assert!(begin.elapsed() < Duration::from_secs(3), "took {:?}", begin.elapsed());
    TcpListener::bind(("127.0.0.1", port)).expect("TCP port is free");
    UdpSocket::bind(("127.0.0.1", port)).expect("UDP port is free");
    // Everything that was handed out sees the end.
    assert!(soon("incoming", incoming.next()).await.is_none());
    soon("events", async { while events.next().await.is_some() {} }).await;
    for stream in &mut held {
        soon("end", async { while stream.read(&mut [0]).await.is_ok_and(|length| length > 0) {} }).await;
    }
    assert!(server.links().is_empty() && server.addresses().is_empty());
    assert!(server.subscribe().next().await.is_none());
    assert_eq!(server.dial(&tcp_address(&client), WAIT).await.expect_err("ended").kind(), ErrorKind::PeerUnreachable);
    server.shutdown().await;
    let again = Fabric::start(FabricConfig { port, ..config() }).await.expect("same port at once");
    assert_eq!(again.0.port(), port);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropping_the_last_handle_ends_the_fabric() {
    let (fabric, mut events) = node().await;
    let mut incoming = fabric.accept(ECHO).expect("free");
    let second = fabric.clone();
    drop(fabric);
    assert!(!second.addresses().is_empty());
    let port = second.port();
    drop(second);
    soon("events", async { while events.next().await.is_some() {} }).await;
    assert!(soon("incoming", incoming.next()).await.is_none());
    UdpSocket::bind(("127.0.0.1", port)).expect("UDP port is free");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_identity_file_keeps_the_peer_id() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let identity = Identity::File(directory.path().join("node.key"));
    let start = || async {
        let (fabric, _) =
            Fabric::start(FabricConfig { identity: identity.clone(), ..config() }).await.expect("started");
        fabric.local_peer()
    };
    assert_eq!(start().await, start().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_peers_connect_at_once() {
    let server = echo_node(config()).await;
    let target = format!("127.0.0.1:{}", server.port());
    let peers = join_all((0..64).map(|_| node())).await;
    let served = join_all(peers.iter().map(|(peer, _)| {
        let (target, hub) = (&target, server.local_peer());
        async move {
            peer.dial(target, WAIT).await.expect("dialled");
            echo(peer.open(&hub, ECHO).await.expect("opened"), peer.local_peer().as_str()).await
        }
    }))
    .await;
    let names: Vec<String> = peers.iter().map(|(peer, _)| peer.local_peer().to_string()).collect();
    assert_eq!(served, names);
    let connected: HashSet<String> = server.links().into_iter().map(|link| link.peer.to_string()).collect();
    assert_eq!(connected, names.into_iter().collect());
    join_all(peers.iter().map(|(peer, _)| peer.shutdown())).await;
}
