//! ICE over real sockets on loopback: directly, over coturn's relay, and without any way.

#[path = "../../tests/tests/coturn/server.rs"]
#[allow(dead_code)] // certificates are for the TLS tests next to it
mod server;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use dig_nat_core::ErrorKind;
use dig_nat_core::base::error::Result;
use dig_nat_core::nat::ice::driver::{Carrier, IceOptions, IcePath, IcePort, connect};
use dig_nat_core::nat::ice::{Kind, Role};
use dig_nat_core::nat::policy::{Network, Policy};
use dig_nat_core::nat::signal::{MemorySignal, Signal};
use dig_nat_core::nat::turn::client::Credentials;
use dig_nat_core::nat::turn::driver::TurnConfig;
use dig_nat_core::net::udp::UdpPort;
use server::{PASSWORD, Turnserver, USER};

fn bind(ip: &str) -> Arc<UdpPort> {
    UdpPort::bind(format!("{ip}:0").parse().expect("an address")).expect("a free port")
}

fn options(port: &Arc<UdpPort>, role: Role) -> IceOptions {
    let loopback = Network::new(IpAddr::from([127, 0, 0, 0]), 8);
    IceOptions {
        role,
        policy: Policy { permitted: vec![loopback], ..Policy::default() },
        ports: vec![IcePort { port: Arc::clone(port), hosts: vec![port.local_address().expect("bound")] }],
        stun_servers: Vec::new(),
        turn: Vec::new(),
        timeout: Duration::from_secs(10),
    }
}

/// Runs both sides, with something that reads their ports. The one that is done first goes on answering.
async fn both(one: IceOptions, other: IceOptions) -> (Result<IcePath>, Result<IcePath>) {
    let (mut here, mut there) = MemorySignal::pair();
    for options in [&one, &other] {
        let port = Arc::clone(&options.ports[0].port);
        tokio::spawn(async move { port.pump().await });
    }
    let (first, second) = (connect(one, &mut here), connect(other, &mut there));
    tokio::pin!(first, second);
    tokio::select! {
        path = &mut first => beside(path, second).await,
        path = &mut second => {
            let (path, other) = beside(path, first).await;
            (other, path)
        }
    }
}

/// Waits for the other side while the path that is there is polled, as its user does.
async fn beside(
    path: Result<IcePath>,
    other: impl Future<Output = Result<IcePath>>,
) -> (Result<IcePath>, Result<IcePath>) {
    match path {
        Ok(mut path) => {
            let other = tokio::select! {
                other = other => other,
                received = path.receive() => panic!("neither data nor an end: {received:?}"),
            };
            (Ok(path), other)
        }
        Err(error) => (Err(error), other.await),
    }
}

#[tokio::test]
async fn two_sockets_find_each_other() {
    let (one, other) = (bind("127.0.0.1"), bind("127.0.0.1"));
    let started = Instant::now();
    let (first, second) = both(options(&one, Role::Controlling), options(&other, Role::Controlled)).await;
    let (mut first, mut second) = (first.expect("connected"), second.expect("connected"));
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    assert_eq!(Some(first.to), other.local_address().ok());
    assert_eq!(Some(second.to), one.local_address().ok());
    assert_eq!((first.local_kind, first.remote_kind), (Kind::Host, Kind::Host));
    assert!(matches!(&first.carrier, Carrier::Port(port) if Arc::ptr_eq(port, &one)));
    // Consent is asked and given as long as both are polled: nothing is lost within two intervals.
    let quiet = tokio::time::timeout(Duration::from_secs(7), async { tokio::join!(first.receive(), second.receive()) });
    assert!(quiet.await.is_err(), "neither data nor an end");
}

#[tokio::test]
async fn a_stun_server_is_asked_and_conflicting_roles_are_settled() {
    let (one, other, server) = (bind("127.0.0.1"), bind("127.0.0.1"), bind("127.0.0.1"));
    let address = server.local_address().expect("bound");
    let cancel = tokio_util::sync::CancellationToken::new();
    let serving = cancel.clone();
    let task = tokio::spawn(async move {
        tokio::select! {
            served = dig_nat_core::nat::stun::driver::serve(&server, serving) => served,
            error = server.pump() => panic!("{error}"),
        }
    });
    let with_stun = |port| IceOptions { stun_servers: vec![address], ..options(port, Role::Controlling) };
    let (first, second) = both(with_stun(&one), with_stun(&other)).await;
    assert_eq!(Some(first.expect("connected").to), other.local_address().ok());
    assert_eq!(Some(second.expect("connected").to), one.local_address().ok());
    cancel.cancel();
    task.await.expect("no panic").expect("served until the end");
}

#[tokio::test]
async fn a_relay_carries_what_sockets_cannot() {
    let Some(server) = Turnserver::start(&[]).await else { return };
    let (one, other) = (bind("127.0.0.3"), bind("127.0.0.4"));
    let turn = || {
        let credentials = Credentials { username: USER.to_owned(), password: PASSWORD.to_owned() };
        let address = format!("turn:127.0.0.1:{}", server.port);
        TurnConfig::new(address.parse().expect("a server"), Some(credentials))
    };
    // Neither wants to hear of the other's socket.
    let hidden = |port: &Arc<UdpPort>, role, from: &str| {
        // The first server does not answer, and costs nothing.
        let dead = TurnConfig::new("turn:127.0.0.9:9".parse().expect("a server"), None);
        let mut options = IceOptions { turn: vec![dead, turn()], ..options(port, role) };
        options.policy.excluded.push(from.parse().expect("an address"));
        options
    };
    let (first, second) =
        both(hidden(&one, Role::Controlling, "127.0.0.4"), hidden(&other, Role::Controlled, "127.0.0.3")).await;
    let (first, mut second) = (first.expect("connected"), second.expect("connected"));
    assert_eq!((first.local_kind, first.remote_kind), (Kind::Relayed, Kind::Relayed));
    assert!(matches!(first.carrier, Carrier::Relay(_)) && matches!(second.carrier, Carrier::Relay(_)));
    for number in 0..20_u8 {
        first.send(Bytes::from(vec![0x40, number])).await.expect("sent");
        let received = tokio::time::timeout(Duration::from_secs(5), second.receive()).await.expect("in time");
        assert_eq!(received.expect("a datagram"), [0x40, number][..]);
    }
    drop(server);
}

#[tokio::test]
async fn no_way_is_an_error_in_time() {
    let (one, other) = (bind("127.0.0.1"), bind("127.0.0.1"));
    let closed = |port, role| {
        let mut options = options(port, role);
        options.policy = Policy::default();
        options.timeout = Duration::from_secs(6);
        options
    };
    let started = Instant::now();
    let (first, second) = both(closed(&one, Role::Controlling), closed(&other, Role::Controlled)).await;
    assert_eq!(first.expect_err("loopback is forbidden").kind(), ErrorKind::PeerUnreachable);
    assert_eq!(second.expect_err("loopback is forbidden").kind(), ErrorKind::PeerUnreachable);
    assert!(started.elapsed() < Duration::from_secs(10));
    // A peer that goes before it has said anything.
    let (mut here, there) = MemorySignal::pair();
    drop(there);
    let error = connect(options(&bind("127.0.0.1"), Role::Controlling), &mut here).await.expect_err("nobody");
    assert_eq!(error.kind(), ErrorKind::ConnectionClosed);
    // One that talks nonsense, and then nothing.
    let (mut here, mut there) = MemorySignal::pair();
    there.send(Bytes::from_static(b"\xffnonsense")).await.expect("sent");
    let mut short = options(&bind("127.0.0.1"), Role::Controlling);
    short.timeout = Duration::from_millis(300);
    assert_eq!(connect(short, &mut here).await.expect_err("nonsense").kind(), ErrorKind::Timeout);
    let none = IceOptions { ports: Vec::new(), ..options(&bind("127.0.0.1"), Role::Controlled) };
    assert_eq!(connect(none, &mut here).await.expect_err("no port").kind(), ErrorKind::InvalidArgument);
    let _: SocketAddr = one.local_address().expect("still bound");
}
