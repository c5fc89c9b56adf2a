//! Our transports, relay, relay client and DHT against stock js-libp2p, both ways. Two of them: the current one, and the
//! newest one that has QUIC. They run in Node and come from npm: `npm install --no-save` in both folders of
//! `tests/js-libp2p` first. Not here: stock rust-libp2p, which `core/tests/fabric_interop.rs` is about.
//!
//! Two ways are missing because js-libp2p cannot go them. The current one (3.3) as a relay for us: it gives up a stream
//! whose end arrives together with the request, as libp2p's request for a place does when it is proposed lazily. The one
//! with QUIC (2.10) by TLS through a circuit: its TLS cannot write to what the circuit gives it.

use std::process::Stdio;
use std::time::Duration;

use dig_nat_core::base::ids::{ContentKey, FileHash};
use dig_nat_core::discovery::candidate::{Candidate, SourceKind};
use dig_nat_core::discovery::dht::key::provider_key;
use dig_nat_core::discovery::dht::{Dht, DhtConfig, Network};
use dig_nat_core::discovery::own::Own;
use dig_nat_core::discovery::source::Source;
use dig_nat_core::fabric::{Fabric, FabricConfig, FabricEvent, FabricEvents, Link, Transport};
use dig_nat_tests::tree;
use futures::{AsyncReadExt, AsyncWriteExt};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::watch;

/// Starting Node and loading a few hundred modules takes seconds on a busy machine.
const WAIT: Duration = Duration::from_secs(60);
const ECHO: &str = "/test/echo/1";
const PING: &str = "/ipfs/ping/1.0.0";
const TCP: &str = "/ip4/127.0.0.1/tcp/0";
const QUIC: &str = "/ip4/127.0.0.1/udp/0/quic-v1";
/// More than a window of yamux.
const MUCH: usize = 1 << 20;
/// What is said to meet; a stock relay lets through 128 KiB.
const LITTLE: usize = 20_000;

/// A js-libp2p peer in a process of its own.
struct Js {
    child: Child,
    commands: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
    peer: String,
    addresses: Vec<String>,
}

impl Js {
    /// Starts the one in this folder of `tests/js-libp2p`.
    async fn start(folder: &str, wanted: Value) -> Self {
        let folder = tree::root().join("tests/js-libp2p").join(folder);
        assert!(folder.join("node_modules").exists(), "run `npm install --no-save` in {} first", folder.display());
        let mut child = Command::new("node")
            .arg(folder.join("peer.mjs"))
            .arg(wanted.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("Node starts");
        let commands = child.stdin.take().expect("asked for a pipe");
        let lines = BufReader::new(child.stdout.take().expect("asked for a pipe")).lines();
        let mut js = Self { child, commands, lines, peer: String::new(), addresses: Vec::new() };
        let ready = js.wait_until("ready", |line| line["type"] == "ready").await;
        js.peer = text(&ready["peer"]);
        js.addresses = texts(&ready["addresses"]);
        js
    }

    async fn wait_until(&mut self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let reading = async {
            while let Some(line) = self.lines.next_line().await.expect("text") {
                let line: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("not JSON: {line}"));
                assert_ne!(line["type"], "failed", "{}", line["error"]);
                if fits(&line) {
                    return line;
                }
            }
            panic!("js-libp2p ended without {what}");
        };
        tokio::time::timeout(WAIT, reading).await.unwrap_or_else(|_| panic!("no {what}"))
    }

    async fn tell(&mut self, command: Value) -> Value {
        self.commands.write_all(format!("{command}\n").as_bytes()).await.expect("it reads");
        self.wait_until(&command.to_string(), |line| line["type"] == "done").await
    }

    async fn dial(&mut self, address: &str) -> Value {
        self.tell(json!({ "do": "dial", "address": address })).await
    }

    /// Sends bytes over a stream of this connection and expects them back.
    async fn echo(&mut self, connection: &Value, bytes: usize) {
        let echoed = self.tell(json!({ "do": "echo", "id": connection["id"], "bytes": bytes })).await;
        assert_eq!((&echoed["length"], &echoed["intact"]), (&json!(bytes), &json!(true)));
    }

    async fn end(mut self) {
        drop(self.commands);
        let ended = tokio::time::timeout(WAIT, self.child.wait()).await.expect("it ends").expect("our child");
        assert!(ended.success(), "{ended}");
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().unwrap_or_else(|| panic!("no list: {value}")).iter().map(text).collect()
}

async fn node(relay_server: bool) -> (Fabric, FabricEvents) {
    let config =
        FabricConfig { interfaces: vec!["lo".into()], relay_server, local_only: true, ..FabricConfig::default() };
    let (fabric, events) = Fabric::start(config).await.expect("started");
    let mut incoming = fabric.accept(ECHO).expect("free");
    tokio::spawn(async move {
        while let Some((_, stream)) = incoming.next().await {
            let (reading, mut writing) = stream.split();
            // A peer that breaks off fails its own test.
            tokio::spawn(async move {
                let _ = futures::io::copy(reading, &mut writing).await;
                let _ = writing.close().await;
            });
        }
    });
    (fabric, events)
}

fn address(fabric: &Fabric) -> String {
    format!("/ip4/127.0.0.1/tcp/{}/p2p/{}", fabric.port(), fabric.local_peer())
}

/// Sends bytes over a link and expects them back. The end comes after them: the current js-libp2p loses streams whose end
/// arrives together with their beginning.
async fn echo(from: &Fabric, link: &Link, bytes: usize) {
    let (mut reading, mut writing) = from.open(link, ECHO).await.expect("opened").split();
    let sending = async {
        writing.write_all(&vec![7; bytes]).await.expect("written");
        writing.flush().await.expect("written");
    };
    let mut echoed = vec![0; bytes];
    let both = async { tokio::join!(sending, reading.read_exact(&mut echoed)).1 };
    tokio::time::timeout(WAIT, both).await.expect("in time").expect("read");
    assert!(echoed.iter().all(|byte| *byte == 7));
    let ending = async {
        writing.close().await.expect("closed");
        reading.read_to_end(&mut echoed).await.expect("read")
    };
    assert_eq!(tokio::time::timeout(WAIT, ending).await.expect("in time"), 0, "nothing follows");
}

async fn link_to(fabric: &Fabric, what: &str, fits: impl Fn(&Link) -> bool) -> Link {
    let mut events = fabric.subscribe();
    let found = async {
        loop {
            if let Some(link) = fabric.links().into_iter().find(|link| fits(link)) {
                return link;
            }
            events.next().await.expect("running");
        }
    };
    tokio::time::timeout(WAIT, found).await.unwrap_or_else(|_| panic!("no {what}: {:?}", fabric.links()))
}

async fn we_dial(folder: &str, security: &str, listen: &str, transport: Transport) {
    let mut js = Js::start(folder, json!({ "listen": [listen], "security": security })).await;
    let (us, mut events) = node(false).await;
    let link = us.dial(&js.addresses[0], WAIT).await.expect("dialled");
    assert_eq!((link.peer.as_str(), link.transport), (js.peer.as_str(), transport));
    echo(&us, &link, MUCH).await;

    let mut ping = us.open(&link, PING).await.expect("opened");
    ping.write_all(&[9; 32]).await.expect("written");
    ping.flush().await.expect("written");
    let mut answer = [0; 32];
    tokio::time::timeout(WAIT, ping.read_exact(&mut answer)).await.expect("in time").expect("answered");
    assert_eq!(answer, [9; 32]);

    let identified = async {
        loop {
            if let FabricEvent::Identified { agent, protocols, addresses, observed, .. } =
                events.next().await.expect("running")
            {
                return (agent, protocols, addresses, observed);
            }
        }
    };
    let (agent, protocols, addresses, observed) = tokio::time::timeout(WAIT, identified).await.expect("identified");
    assert!(agent.contains("libp2p"), "{agent}");
    assert!([ECHO, PING].iter().all(|wanted| protocols.iter().any(|known| known == wanted)), "{protocols:?}");
    let bare = js.addresses[0].split("/p2p/").next().expect("split gives at least one part").to_owned();
    assert!(addresses.iter().any(|address| address.starts_with(&bare)), "{addresses:?} without {bare}");
    assert!(observed.starts_with("/ip4/127.0.0.1/"), "{observed}");
    drop(ping);
    us.shutdown().await;
    // It lives on without us.
    let (other, _) = node(false).await;
    js.dial(&address(&other)).await;
    js.end().await;
    other.shutdown().await;
}

async fn they_dial(folder: &str, security: &str, encryption: &str, address: impl Fn(&Fabric) -> String) {
    let mut js = Js::start(folder, json!({ "listen": [], "security": security })).await;
    let (us, _) = node(false).await;
    let to = format!("{}/p2p/{}", address(&us), us.local_peer());
    let connection = js.dial(&to).await;
    assert_eq!(connection["peer"], us.local_peer().as_str());
    assert_eq!(connection["encryption"], encryption, "{connection}");
    js.echo(&connection, MUCH).await;
    let ping = js.tell(json!({ "do": "ping", "id": connection["id"] })).await;
    assert!(ping["milliseconds"].is_number(), "{ping}");
    let told = js.tell(json!({ "do": "identify", "id": connection["id"] })).await;
    assert_eq!(told["peer"], us.local_peer().as_str());
    assert!(text(&told["agent"]).starts_with("dig-nat-tools/"), "{told}");
    assert!(texts(&told["protocols"]).iter().any(|protocol| protocol == ECHO), "{told}");
    assert!(texts(&told["addresses"]).iter().any(|known| to.starts_with(known)), "{told}");
    js.end().await;
    us.shutdown().await;
}

/// Two nodes of ours meet at a js-libp2p relay.
async fn js_is_the_relay(folder: &str) {
    let js = Js::start(folder, json!({ "listen": [TCP], "security": "tls", "relay": true })).await;
    let ((a, _), (b, _)) = (node(false).await, node(false).await);
    let mine = b.reserve(&js.addresses[0]).await.expect("a place");
    let circuit = a.dial(&mine, WAIT).await.expect("through the relay");
    assert!(circuit.relayed && circuit.peer == b.local_peer(), "{circuit:?}");
    echo(&a, &circuit, LITTLE).await;
    let direct = link_to(&a, "direct link", |link| link.peer == b.local_peer() && !link.relayed).await;
    echo(&a, &direct, MUCH).await;
    for fabric in [a, b] {
        fabric.shutdown().await;
    }
    js.end().await;
}

/// A node of ours and a js-libp2p peer meet at our relay, each waiting there for the other once.
async fn ours_is_the_relay(folder: &str, security: &str) {
    let ((relay, _), (us, _)) = (node(true).await, node(false).await);
    let mine = us.reserve(&address(&relay)).await.expect("a place");
    let listen = format!("{}/p2p-circuit", address(&relay));
    let mut js = Js::start(folder, json!({ "listen": [listen], "security": "noise" })).await;
    let is_circuit = |address: &&String| address.contains("/p2p-circuit");
    if js.addresses.iter().find(is_circuit).is_none() {
        let line = js
            .wait_until("a place at our relay", |line| {
                line["type"] == "addresses" && texts(&line["addresses"]).iter().any(|one| is_circuit(&one))
            })
            .await;
        js.addresses = texts(&line["addresses"]);
    }
    let there = js.addresses.iter().find(is_circuit).expect("looked for").clone();
    let circuit = us.dial(&there, WAIT).await.expect("through our relay");
    assert!(circuit.relayed && circuit.peer.as_str() == js.peer, "{circuit:?}");
    echo(&us, &circuit, LITTLE).await;
    js.end().await;

    let mut js = Js::start(folder, json!({ "listen": [], "security": security })).await;
    let connection = js.dial(&mine).await;
    assert_eq!(connection["peer"], us.local_peer().as_str());
    assert!(text(&connection["address"]).contains("/p2p-circuit"), "{connection}");
    js.echo(&connection, LITTLE).await;
    js.end().await;
    for fabric in [us, relay] {
        fabric.shutdown().await;
    }
}

/// A node of the DHT, and what keeps it running.
struct DhtNode {
    fabric: Fabric,
    dht: Dht,
    _keep: (watch::Sender<bool>, watch::Sender<Vec<String>>),
}

impl DhtNode {
    async fn start(bootstrap: Vec<String>) -> Self {
        Self::start_as(true, bootstrap).await
    }

    /// Others can reach it, and ask it, or not.
    async fn start_as(serves: bool, bootstrap: Vec<String>) -> Self {
        let (fabric, _) = node(false).await;
        let (addresses, own) = watch::channel(vec![our_tcp(&fabric)]);
        let (server, reachable) = watch::channel(serves);
        let config = DhtConfig { bootstrap, ..DhtConfig::default() };
        let own = Own::new(fabric.signer(), own);
        let dht = Dht::start(fabric.clone(), own, reachable, config).await.expect("started");
        Self { fabric, dht, _keep: (server, addresses) }
    }

    async fn until_it_knows(&self, nodes: usize) {
        let mut status = self.dht.status();
        let known = status.wait_for(|status| status.joined && status.nodes >= nodes);
        tokio::time::timeout(WAIT, known).await.expect("in time").expect("running");
    }

    async fn find(&self, key: &ContentKey, peer: &str) -> Candidate {
        let mut found = self.dht.search(key.clone());
        let finding = async {
            loop {
                let candidate = found.recv().await.expect("the search goes on");
                if candidate.id.as_ref().is_some_and(|id| id.as_str() == peer) {
                    return candidate;
                }
            }
        };
        tokio::time::timeout(WAIT, finding).await.unwrap_or_else(|_| panic!("{peer} not found"))
    }

    async fn stop(self) {
        self.dht.stop().await;
        self.fabric.shutdown().await;
    }
}

fn content(name: &str) -> (ContentKey, String) {
    let key = ContentKey::Hash(FileHash::of(name.as_bytes()));
    let digest = provider_key(&key.lookup_key())[2..].try_into().expect("a SHA-256");
    let multihash = format!("1220{}", FileHash::from_bytes(digest));
    (key, multihash)
}

/// Both kinds of nodes in one DHT: what is provided by one is found by the other.
async fn one_dht() {
    let protocol = Network::Public.protocol();
    let mut js = Js::start("current", json!({ "listen": [TCP], "security": "tls", "dht": protocol })).await;
    let ours = DhtNode::start(js.addresses.clone()).await;
    let other = DhtNode::start(vec![address(&ours.fabric)]).await;
    // The third comes to know the js-libp2p peer by what the first one answers.
    other.until_it_knows(2).await;

    let (key, multihash) = content("provided by js-libp2p");
    js.tell(json!({ "do": "provide", "multihash": multihash })).await;
    let candidate = other.find(&key, &js.peer).await;
    let bare = js.addresses[0].split("/p2p/").next().expect("split gives at least one part");
    assert!(candidate.addresses.iter().any(|address| address == bare), "{candidate:?}");
    assert!(candidate.confidence < SourceKind::Dht.default_confidence(), "nobody has signed it");

    let (key, multihash) = content("provided by us");
    other.dht.announce(key).await.expect("room");
    let provides = |found: &Value| {
        let all = found["providers"].as_array().expect("a list").clone();
        all.into_iter().find(|one| one["peer"] == other.fabric.local_peer().as_str())
    };
    let looking = async {
        loop {
            let found = js.tell(json!({ "do": "find", "multihash": multihash })).await;
            if let Some(provider) = provides(&found) {
                return provider;
            }
        }
    };
    let provider = tokio::time::timeout(WAIT, looking).await.expect("js-libp2p finds it");
    assert!(texts(&provider["addresses"]).iter().any(|one| one.starts_with(&our_tcp(&other.fabric))), "{provider}");
    for party in [ours, other] {
        party.stop().await;
    }
    js.end().await;
}

/// Two nodes of ours that know nobody but a js-libp2p peer find each other's content through it.
async fn through_js() {
    let protocol = Network::Public.protocol();
    let js = Js::start("current", json!({ "listen": [TCP], "security": "noise", "dht": protocol })).await;
    let (one, two) = (DhtNode::start(js.addresses.clone()).await, DhtNode::start(js.addresses.clone()).await);
    one.until_it_knows(1).await;
    two.until_it_knows(1).await;
    let (key, _) = content("kept by js-libp2p");
    one.dht.announce(key.clone()).await.expect("room");
    let candidate = two.find(&key, one.fabric.local_peer().as_str()).await;
    assert!(candidate.addresses.contains(&our_tcp(&one.fabric)), "{candidate:?}");
    for party in [one, two] {
        party.stop().await;
    }
    js.end().await;
}

/// As the public network is met at home: its nodes are not ours and have RSA keys, its entries are names, and nobody can
/// reach either of us, so that we only ask.
async fn by_public_nodes() {
    let protocol = Network::Public.protocol();
    assert_eq!(protocol, "/ipfs/kad/1.0.0");
    let mut nodes = Vec::new();
    for _ in 0..3 {
        let wanted = json!({ "listen": [TCP], "security": "both", "dht": protocol, "identity": "RSA" });
        nodes.push(Js::start("current", wanted).await);
    }
    let [entry, others @ ..] = &mut nodes[..] else { unreachable!("three were started") };
    for other in others.iter_mut() {
        assert!(other.peer.starts_with("Qm"), "{} is no hash of a key", other.peer);
        other.dial(&entry.addresses[0]).await;
    }
    let known = async { while entry.tell(json!({ "do": "known" })).await["nodes"] != others.len() {} };
    tokio::time::timeout(WAIT, known).await.expect("they know each other");

    // In the form of the well-known entries, and one that is gone.
    let named = entry.addresses[0].replace("/ip4/127.0.0.1/", "/dns4/localhost/");
    let gone = format!("/dns4/localhost/tcp/1/p2p/{}", others[0].peer);
    let bootstrap = vec![gone.clone(), named];
    let (one, two) = (DhtNode::start_as(false, bootstrap.clone()).await, DhtNode::start_as(false, bootstrap).await);
    for ours in [&one, &two] {
        ours.until_it_knows(3).await;
        let mut status = ours.dht.status();
        let told = status.wait_for(|status| !status.unreachable.is_empty());
        let status = tokio::time::timeout(WAIT, told).await.expect("in time").expect("running").clone();
        assert_eq!((status.server, &status.unreachable[0].0), (false, &gone));
    }

    let (key, multihash) = content("found by public nodes");
    one.dht.announce(key.clone()).await.expect("room");
    let peer = one.fabric.local_peer();
    let candidate = two.find(&key, peer.as_str()).await;
    assert!(candidate.addresses.contains(&our_tcp(&one.fabric)), "{candidate:?}");
    two.fabric.add_addresses(&peer, &candidate.addresses);
    assert_eq!(two.fabric.connect(&peer).await.expect("reached").peer, peer);

    // It lies under a hash of our own: whoever looks for the bare hash of the file, as IPFS does, does not meet us.
    let providers = |found: Value| found["providers"].as_array().expect("a list").len();
    assert_ne!(providers(entry.tell(json!({ "do": "find", "multihash": multihash })).await), 0);
    let bare = format!("1220{}", key.lookup_key());
    assert_eq!(providers(entry.tell(json!({ "do": "find", "multihash": bare })).await), 0);

    // Nobody is told that we answer, and we do not.
    let connection = entry.dial(&address(&one.fabric)).await;
    let told = entry.tell(json!({ "do": "identify", "id": connection["id"] })).await;
    let speaks = texts(&told["protocols"]);
    assert!(speaks.iter().any(|name| name == ECHO) && !speaks.iter().any(|name| name == protocol), "{speaks:?}");
    let target = ContentKey::Id(peer.as_str().into());
    let around = two.dht.find_node(&target, WAIT).await.expect("looked up");
    let mut around: Vec<_> = around.iter().filter_map(|node| node.id.as_ref().map(ToString::to_string)).collect();
    let mut all: Vec<_> = nodes.iter().map(|node| node.peer.clone()).collect();
    around.sort();
    all.sort();
    assert_eq!(around, all);
    for party in [one, two] {
        party.stop().await;
    }
    for node in nodes {
        node.end().await;
    }
}

/// One test for each way, all of which need what npm installs.
macro_rules! tests {
    ($($name:ident: $body:expr;)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        #[ignore = "needs what npm installs in tests/js-libp2p; .ci/test runs it"]
        async fn $name() {
            $body.await;
        }
    )*};
}

fn our_tcp(us: &Fabric) -> String {
    format!("/ip4/127.0.0.1/tcp/{}", us.port())
}

fn our_quic(us: &Fabric) -> String {
    format!("/ip4/127.0.0.1/udp/{}/quic-v1", us.port())
}

tests! {
    we_dial_current_js_by_tcp_with_tls: we_dial("current", "tls", TCP, Transport::Tcp);
    we_dial_current_js_by_tcp_with_noise: we_dial("current", "noise", TCP, Transport::Tcp);
    we_dial_js_with_quic_by_tcp: we_dial("quic", "tls", TCP, Transport::Tcp);
    we_dial_js_by_quic: we_dial("quic", "noise", QUIC, Transport::Quic);
    current_js_dials_our_tcp_with_tls: they_dial("current", "tls", "/tls/1.0.0", our_tcp);
    current_js_dials_our_tcp_with_noise: they_dial("current", "noise", "/noise", our_tcp);
    js_with_quic_dials_our_tcp: they_dial("quic", "noise", "/noise", our_tcp);
    js_dials_our_quic: they_dial("quic", "tls", "native", our_quic);
    js_is_a_relay_for_two_of_ours: js_is_the_relay("quic");
    we_and_current_js_are_one_dht: one_dht();
    current_js_keeps_our_records: through_js();
    two_clients_find_each_other_by_public_nodes: by_public_nodes();
    our_relay_serves_current_js: ours_is_the_relay("current", "tls");
    our_relay_serves_js_with_quic: ours_is_the_relay("quic", "noise");
}
