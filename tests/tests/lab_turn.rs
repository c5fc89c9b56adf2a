//! Two NATs that cannot be passed directly, and no circuit that carries files: the ladder goes over a TURN server. Not
//! here: the TURN client alone (`coturn`), and ICE alone (core's `ice_driver`).
#![cfg(target_os = "linux")]

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use dig_nat_core::fabric::ladder::{Connector, ConnectorConfig, Reached, Wish};
use dig_nat_core::fabric::{Fabric, FabricConfig};
use dig_nat_core::nat::ladder::Source;
use dig_nat_core::nat::method::{Method, parse_preference};
use dig_nat_core::nat::registry::driver::ConnectionRegistry;
use dig_nat_core::nat::stun::driver::{DetectConfig, detect};
use dig_nat_core::nat::stun::server::StunServer;
use dig_nat_core::nat::turn::Credentials;
use dig_nat_core::nat::turn::driver::TurnConfig;
use dig_nat_tests::lab::{self, Lab, Nat, Place};
use futures::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(20);
const ECHO: &str = "/dig-test/echo";

/// coturn on the lab's public relay host; ends when dropped.
struct Turnserver {
    child: Child,
    _folder: tempfile::TempDir,
}

impl Turnserver {
    fn start(lab: &Lab) -> Self {
        let folder = tempfile::tempdir().expect("temporary folder");
        let host = lab.host("relay");
        let v4 = host.v4().to_string();
        let mut command = host.command("turnserver");
        command.args(["-n", "--no-cli", "--no-dtls", "--no-tls", "-L", &v4, "-E", &v4, "-r", "example.org", "-a"]);
        command.args(["-u", "user:pass", "-p", "3478", "--log-file", "stdout", "--simple-log"]);
        for (option, file) in [("--userdb", "users"), ("--pidfile", "pid")] {
            command.arg(option).arg(folder.path().join(file));
        }
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let child = child.expect("turnserver (package coturn) starts");
        let server = Self { child, _folder: folder };
        let begun = Instant::now();
        let listens = || {
            let open = host.command("ss").arg("-Hltn").output().expect("ss runs").stdout;
            String::from_utf8_lossy(&open).contains(":3478 ")
        };
        while !listens() {
            assert!(begun.elapsed() < PATIENCE, "turnserver does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        server
    }
}

impl Drop for Turnserver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Node {
    fabric: Fabric,
    connector: Connector,
    stop: CancellationToken,
    running: tokio::task::JoinHandle<()>,
}

impl Node {
    async fn start(place: &Place, turn: Option<&str>) -> Self {
        let config = FabricConfig { interfaces: Vec::new(), ..FabricConfig::default() };
        let (fabric, _) = Fabric::start(config).await.expect("started");
        let servers: Vec<StunServer> =
            place.stun[..4].iter().map(|server| server.to_string().parse().expect("an endpoint")).collect();
        let stop = CancellationToken::new();
        let mut detection = DetectConfig::new(servers.clone());
        detection.ports = fabric.udp_ports();
        let profile = detect(detection, stop.clone()).await.ok();
        let credentials = Credentials { username: "user".into(), password: "pass".into() };
        let turn = turn.map(|server| TurnConfig::new(server.parse().expect("a server"), Some(credentials)));
        let config = ConnectorConfig {
            stun_servers: servers,
            profile: watch::channel(profile).1,
            mappings: watch::channel(Vec::new()).1,
            turn: turn.into_iter().collect(),
            registry: ConnectionRegistry::in_memory(),
            ipv6: false,
            ipv4_first: false,
        };
        let connector = Connector::new(fabric.clone(), config, stop.clone());
        let running = connector.clone();
        let running = tokio::spawn(async move { running.run().await.expect("the only one") });
        Self { fabric, connector, stop, running }
    }

    async fn stop(self) {
        self.stop.cancel();
        self.running.await.expect("no panic");
        self.fabric.shutdown().await;
    }
}

/// Waits at the relay and echoes what comes.
async fn wait_at(
    place: Place,
    relay: String,
    turn: Option<String>,
    tell: oneshot::Sender<String>,
    end: CancellationToken,
) {
    let node = Node::start(&place, turn.as_deref()).await;
    let mut incoming = node.fabric.accept(ECHO).expect("free");
    tell.send(node.fabric.reserve(&relay).await.expect("a place")).expect("awaited");
    let echoing = async {
        while let Some((_, mut stream)) = incoming.next().await {
            let mut bytes = vec![0; 64 * 1024];
            while let Ok(count @ 1..) = stream.read(&mut bytes).await {
                let _ = stream.write_all(&bytes[..count]).await;
                let _ = stream.flush().await;
            }
        }
    };
    tokio::select! {
        () = echoing => {}
        () = end.cancelled() => {}
    }
    node.stop().await;
}

/// Reaches the peer by TURN alone and sends some bytes there and back.
async fn come(place: Place, address: String, turn: Option<String>, stay: Duration) -> Reached {
    let node = Node::start(&place, turn.as_deref()).await;
    let peer = address.rsplit('/').next().expect("an id").to_owned();
    let peer = dig_nat_core::base::ids::PeerId::from_text(&peer);
    let wish = Wish {
        addresses: vec![(address, Source::User)],
        preferred: Some(vec![parse_preference("turn").expect("a method")]),
        remember: false,
    };
    let reached = node.connector.connect(&peer, wish, PATIENCE).await;
    let reached = reached.unwrap_or_else(|error| panic!("{}", error.full_message()));
    let mut stream = node.fabric.open(&reached.link, ECHO).await.expect("open");
    let sent: Vec<u8> = (0..1_000_000_u32).map(|number| (number % 251) as u8).collect();
    let mut heard = vec![0; sent.len()];
    let (mut reader, mut writer) = (&mut stream).split();
    let both = async {
        let writing = async {
            writer.write_all(&sent).await.expect("sent");
            writer.flush().await.expect("sent");
        };
        tokio::join!(writing, async { reader.read_exact(&mut heard).await.expect("echoed") })
    };
    tokio::time::timeout(PATIENCE, both).await.expect("in time");
    assert!(heard == sent, "what comes back is what was sent");
    // ICE would take the peer's consent as lost by then (RFC 7675: 30 s); QUIC's own signs of life must do.
    tokio::time::sleep(stay).await;
    writer.write_all(&sent[..1000]).await.expect("still open");
    writer.flush().await.expect("still open");
    tokio::time::timeout(PATIENCE, reader.read_exact(&mut heard[..1000])).await.expect("in time").expect("echoed");
    node.stop().await;
    reached
}

/// Two sites, which of the two has the server, and how long the link is left alone before it is used again.
fn over_turn(sites: [Nat; 2], server: &str, of: [bool; 2], stay: Duration) {
    let server = server.to_owned();
    lab::run(move || {
        let [one, two] = sites;
        let lab = Lab::builder().site("one", one).site("two", two).build();
        let _turnserver = Turnserver::start(&lab);
        let at = server.replace("HOST", &lab.host("relay").v4().to_string());
        let end = CancellationToken::new();
        let (tell, told) = oneshot::channel();
        let stop = end.clone();
        let relay = lab.host("relay").spawn(move |place| async move {
            let config =
                FabricConfig { relay_server: true, port: 443, interfaces: Vec::new(), ..FabricConfig::default() };
            let (fabric, _) = Fabric::start(config).await.expect("started");
            tell.send(format!("/ip4/{}/tcp/443/p2p/{}", place.v4(), fabric.local_peer())).expect("awaited");
            stop.cancelled().await;
            fabric.shutdown().await;
        });
        let relay_at = told.blocking_recv().expect("the relay runs");
        let (tell, told) = oneshot::channel();
        let (turn, stop) = (of[0].then(|| at.clone()), end.clone());
        let waiting = lab.host("one").spawn(move |place| wait_at(place, relay_at, turn, tell, stop));
        let address = told.blocking_recv().expect("it waits");
        let turn = of[1].then_some(at);
        let reached = lab.host("two").run(move |place| come(place, address, turn, stay));
        println!("{}", reached.log);
        assert_eq!((reached.method, reached.link.relayed), (Method::Turn, true));
        end.cancel();
        waiting.join();
        relay.join();
    });
}

#[test]
fn two_symmetric_nats_meet_at_a_turn_server() {
    over_turn([Nat::symmetric(), Nat::symmetric()], "turn:HOST:3478", [false, true], Duration::from_secs(40));
}

#[test]
fn without_udp_they_meet_over_tcp() {
    over_turn([Nat::udp_blocked(), Nat::udp_blocked()], "turn:HOST:3478?transport=tcp", [true, true], Duration::ZERO);
}
