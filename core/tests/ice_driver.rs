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

const PATIENCE: Duration = Duration::from_secs(10);

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

/// A server, and how we ask it.
fn turn(server: &Turnserver, password: &str, query: &str) -> TurnConfig {
    let credentials = Credentials { username: USER.to_owned(), password: password.to_owned() };
    let uri = format!("turn:127.0.0.1:{}{query}", server.port);
    TurnConfig::new(uri.parse().expect("a server"), Some(credentials))
}

/// Two sides that can meet at TURN servers only, each with servers of its own.
async fn over_relays(one: Vec<TurnConfig>, other: Vec<TurnConfig>) -> (Result<IcePath>, Result<IcePath>) {
    let (first, second) = (bind("127.0.0.3"), bind("127.0.0.4"));
    let hidden = |port: &Arc<UdpPort>, role, from: &str, turn| {
        let mut options = IceOptions { turn, ..options(port, role) };
        options.policy.excluded.push(from.parse().expect("an address"));
        options
    };
    let one = hidden(&first, Role::Controlling, "127.0.0.4", one);
    both(one, hidden(&second, Role::Controlled, "127.0.0.3", other)).await
}

/// The server that carries our end.
fn carrying(path: &IcePath) -> SocketAddr {
    match &path.carrier {
        Carrier::Relay(relay) => relay.server_address(),
        Carrier::Port(_) => panic!("only relays lead there"),
    }
}

fn allocations(server: &Turnserver) -> usize {
    server.log().matches("ALLOCATE processed, success").count()
}

async fn two_servers(options: [&[&str]; 2]) -> Option<[Turnserver; 2]> {
    Some([Turnserver::start(options[0]).await?, Turnserver::start(options[1]).await?])
}

#[tokio::test]
async fn of_two_servers_the_one_that_is_reached_over_udp_carries() {
    let Some([stream, datagrams]) = two_servers([&[], &[]]).await else { return };
    let asked = || vec![turn(&stream, PASSWORD, "?transport=tcp"), turn(&datagrams, PASSWORD, "")];
    let (first, second) = over_relays(asked(), asked()).await;
    let (first, mut second) = (first.expect("connected"), second.expect("connected"));
    assert_eq!([&stream, &datagrams].map(allocations), [2, 2], "both sides have an address at both");
    assert_eq!([&first, &second].map(carrying), [datagrams.address(); 2]);
    assert_eq!((first.problems(), second.problems()), (Vec::new(), Vec::new()));
    first.send(Bytes::from_static(b"@hello")).await.expect("sent");
    let received = tokio::time::timeout(PATIENCE, second.receive()).await.expect("in time");
    assert_eq!(received.expect("a datagram"), "@hello");
}

#[tokio::test]
async fn a_server_that_refuses_is_named_and_the_other_one_carries() {
    let Some([good, strict]) = two_servers([&[], &["--user-quota=1"]]).await else { return };
    let wrong = || vec![turn(&strict, "wrong", ""), turn(&good, PASSWORD, "?transport=tcp")];
    let (first, second) = over_relays(wrong(), vec![turn(&good, PASSWORD, "")]).await;
    let (first, _second) = (first.expect("connected"), second.expect("connected"));
    assert_eq!(carrying(&first), good.address());
    let name = format!("turn:127.0.0.1:{}", strict.port);
    let [problem] = &first.problems()[..] else { panic!("{:?}", first.problems()) };
    assert!(problem.contains(&name) && problem.contains("401") && problem.contains(USER), "{problem}");
    drop(first);

    // One user, two sides, room for one.
    let asked = || vec![turn(&strict, PASSWORD, ""), turn(&good, PASSWORD, "?transport=tcp")];
    let (first, second) = over_relays(asked(), asked()).await;
    let problems: Vec<String> =
        [first, second].into_iter().flat_map(|path| path.expect("connected").problems()).collect();
    let [problem] = &problems[..] else { panic!("{problems:?}") };
    assert!(problem.contains(&name) && problem.contains("486"), "{problem}");

    // Nobody lets us in: the error says what each of them said.
    let nowhere = || vec![turn(&strict, "wrong", ""), turn(&good, "wrong", "")];
    let (first, _) = over_relays(nowhere(), Vec::new()).await;
    let error = first.expect_err("no way");
    assert_eq!(error.kind(), ErrorKind::PeerUnreachable);
    for server in [&strict, &good] {
        let name = format!("turn:127.0.0.1:{}", server.port);
        assert!(error.to_string().contains(&name), "{name} is not in: {error}");
    }
}

#[tokio::test]
async fn when_the_server_that_carries_dies_the_other_one_takes_over() {
    let Some([one, other]) = two_servers([&[], &[]]).await else { return };
    let servers = [&one, &other].map(|server| turn(server, PASSWORD, ""));
    let asked = || servers.to_vec();
    let (first, second) = over_relays(asked(), asked()).await;
    let (mut first, second) = (first.expect("connected"), second.expect("connected"));
    let (carried, mut alive) = (carrying(&first), vec![one, other]);
    alive.retain(|server| server.address() != carried);
    assert_eq!(alive.len(), 1, "the one that carries is dead now");
    let ended = tokio::time::timeout(2 * PATIENCE, first.receive()).await.expect("long before consent ends");
    let error = ended.expect_err("nothing comes from a dead server");
    assert!(error.to_string().contains(&format!("turn:127.0.0.1:{}", carried.port())), "{error}");
    drop((first, second));
    let (first, second) = over_relays(asked(), asked()).await;
    let (first, mut second) = (first.expect("connected again"), second.expect("connected again"));
    assert_eq!([&first, &second].map(carrying), [alive[0].address(); 2]);
    first.send(Bytes::from_static(b"@again")).await.expect("sent");
    let received = tokio::time::timeout(PATIENCE, second.receive()).await.expect("in time");
    assert_eq!(received.expect("a datagram"), "@again");
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
