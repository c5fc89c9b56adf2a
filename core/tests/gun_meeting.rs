//! Single ways through NATs whose two sides know nothing but each other's names and a Gun relay, or talk over what the
//! program carries. Everything is on loopback. Not here: nodes, which write letters to each other (`gun_carrier`).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dig_nat_core::ErrorKind;
use dig_nat_core::api::{
    PunchedSocket, SignalledBy, SignallingEnd, Task, connect_with_ice, punch_tcp, punch_udp, punch_udp_over,
    signalling, tcp_simultaneous_open, tcp_simultaneous_open_over,
};
use dig_nat_core::base::options::{IceOptions, PunchOptions};
use dig_nat_core::gun::{GunBackend, GunClient, GunClientConfig, GunRelay, GunRelayConfig};

/// Longest any single step may take; generous, because the machine may be busy.
const DEADLINE: Duration = Duration::from_secs(60);

async fn within<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, what).await.expect("within the deadline")
}

fn of(us: &str, peer: &str, url: &str) -> PunchOptions {
    PunchOptions {
        local_id: Some(us.into()),
        remote_id: Some(peer.into()),
        gun_peers: vec![url.into()],
        local_only: true,
        timeout_ms: DEADLINE.as_millis() as u64,
        ..PunchOptions::default()
    }
}

/// One side waits while the other goes on: neither may be awaited alone.
async fn both(one: Task<PunchedSocket>, two: Task<PunchedSocket>) -> (PunchedSocket, PunchedSocket) {
    within(async { tokio::try_join!(one.wait(), two.wait()) }).await.expect("met")
}

async fn exchange(one: &PunchedSocket, two: &PunchedSocket) {
    for (from, to, text) in [(one, two, "there"), (two, one, "and back")] {
        from.send(Bytes::from_static(text.as_bytes())).await.expect("open");
        assert_eq!(within(to.receive()).await.expect("open").expect("not ended"), text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_names_and_a_gun_relay_are_enough_for_a_hole() {
    let relay = GunRelay::start(GunRelayConfig::default()).await.expect("started");
    let url = relay.url();
    type Punch = fn(PunchOptions) -> Task<PunchedSocket>;
    let all: [(Punch, &str); 3] = [
        (punch_udp, "UDP_HOLE_PUNCH"),
        (punch_tcp, "TCP_HOLE_PUNCH"),
        (tcp_simultaneous_open, "TCP_SIMULTANEOUS_OPEN"),
    ];
    for (punch, name) in all {
        let (one, two) = both(punch(of("Anna", "Béla", &url)), punch(of("Béla", "Anna", &url))).await;
        assert_eq!(one.info().connection_type, name);
        assert_eq!((one.info().local_port, two.info().remote_port), (two.info().remote_port, one.info().local_port));
        exchange(&one, &two).await;
        one.close().await;
        two.close().await;
    }
    within(relay.stop()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ice_runs_over_a_gun_relay() {
    let relay = GunRelay::start(GunRelayConfig::default()).await.expect("started");
    let url = relay.url();
    let side = |us: &str, peer: &str| IceOptions {
        local_id: Some(us.into()),
        remote_id: Some(peer.into()),
        gun_peers: vec![url.clone()],
        key: Some("both know it".into()),
        allow_private: true,
        local_only: true,
        timeout_ms: DEADLINE.as_millis() as u64,
        ..IceOptions::default()
    };
    let (one, two) = (side("host", "client"), side("client", "host"));
    let (one, two) = (connect_with_ice(one, SignalledBy::Relays), connect_with_ice(two, SignalledBy::Relays));
    let (one, two) = both(one, two).await;
    assert_eq!((one.info().connection_type, two.info().connection_type), ("ICE", "ICE"));
    exchange(&one, &two).await;
    let nameless = IceOptions { local_id: None, ..side("a", "b") };
    let error = within(connect_with_ice(nameless, SignalledBy::Relays).wait()).await.err().expect("no name");
    assert!(error.to_string().starts_with("localId"), "{error}");
    within(relay.stop()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_graph_of_the_program_is_used_and_left_running() {
    let relay = GunRelay::start(GunRelayConfig::default()).await.expect("started");
    let url = relay.url();
    let client = || GunClient::start(GunClientConfig { peers: vec![url.clone()], ..GunClientConfig::default() });
    let graphs = [client().expect("a URL"), client().expect("a URL")];
    let over = |index: usize| SignalledBy::Gun(graphs[index].clone() as Arc<dyn GunBackend>);
    let side = |us, peer| PunchOptions { gun_peers: Vec::new(), allow_private: true, ..of(us, peer, &url) };
    let (one, two) = (punch_udp_over(side("1", "2"), over(0)), punch_udp_over(side("2", "1"), over(1)));
    let (one, two) = both(one, two).await;
    exchange(&one, &two).await;
    // The same graphs serve again.
    let one = tcp_simultaneous_open_over(side("1", "2"), over(1));
    let (one, two) = both(one, tcp_simultaneous_open_over(side("2", "1"), over(0))).await;
    exchange(&one, &two).await;
    for graph in graphs {
        within(graph.stop()).await;
    }
    within(relay.stop()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_of_earlier_attempts_lead_nobody_astray() {
    let relay = GunRelay::start(GunRelayConfig::default()).await.expect("started");
    let url = relay.url();
    // The side that leads was there before, alone, and its greetings may lie in the graph.
    for _ in 0..3 {
        let alone = punch_udp(PunchOptions { timeout_ms: 300, ..of("a", "b", &url) });
        let error = within(alone.wait()).await.err().expect("nobody came");
        assert_eq!(error.kind(), ErrorKind::PeerUnreachable);
        assert!(error.to_string().contains("\"b\" did not come"), "{error}");
    }
    let waiting = punch_udp(of("a", "b", &url));
    waiting.cancel();
    assert_eq!(within(waiting.wait()).await.err().expect("cancelled").kind(), ErrorKind::Cancelled);
    let (one, two) = both(punch_udp(of("b", "a", &url)), punch_udp(of("a", "b", &url))).await;
    exchange(&one, &two).await;
    within(relay.stop()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_know_the_key_meets_nobody() {
    let relay = GunRelay::start(GunRelayConfig::default()).await.expect("started");
    let url = relay.url();
    let with =
        |us, peer, key: &str, timeout_ms| PunchOptions { key: Some(key.into()), timeout_ms, ..of(us, peer, &url) };
    let stranger = punch_udp(with("b", "a", "guessed", 2000));
    let (one, two) = (punch_udp(with("a", "b", "k", 60_000)), punch_udp(with("b", "a", "k", 60_000)));
    let (one, two) = both(one, two).await;
    exchange(&one, &two).await;
    let error = within(stranger.wait()).await.err().expect("nobody writes to it");
    assert_eq!(error.kind(), ErrorKind::PeerUnreachable);
    within(relay.stop()).await;
}

/// Brings the messages of one side to the other.
async fn carry(from: SignallingEnd, to: SignallingEnd) {
    while let Some(message) = from.outgoing().await {
        to.deliver(message).await.expect("short enough");
    }
    to.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn holes_are_punched_over_what_the_program_carries() {
    let ((one, here), (two, there)) = (signalling(), signalling());
    tokio::spawn(carry(here.clone(), there.clone()));
    tokio::spawn(carry(there, here));
    let side = |us, peer| PunchOptions { gun_peers: Vec::new(), allow_private: true, ..of(us, peer, "") };
    let (one, two) = both(punch_udp_over(side("1", "2"), one), punch_udp_over(side("2", "1"), two)).await;
    exchange(&one, &two).await;
    // Loopback addresses of the peer are not tried unasked, and private ones neither.
    let ((one, here), (two, there)) = (signalling(), signalling());
    tokio::spawn(carry(here.clone(), there.clone()));
    tokio::spawn(carry(there, here));
    let side = |us, peer| PunchOptions { allow_private: false, local_endpoint: "127.0.0.1".into(), ..side(us, peer) };
    let (one, two) = (punch_udp_over(side("1", "2"), one), punch_udp_over(side("2", "1"), two));
    let (one, two) = within(async { tokio::join!(one.wait(), two.wait()) }).await;
    for ended in [one, two] {
        assert_eq!(ended.err().expect("no public address").kind(), ErrorKind::PeerUnreachable);
    }
    for (us, peer, option) in [("", "2", "localId"), ("1", "", "remoteId"), ("1", "1", "remoteId")] {
        let (engine, _program) = signalling();
        let error = within(punch_udp_over(side(us, peer), engine).wait()).await.err().expect("no names");
        assert!(error.to_string().starts_with(option), "{error}");
    }
}
