//! Several nodes of the distributed hash table on loopback, in one process: what one announces, another one finds; nodes
//! that nobody can reach serve nobody; shard hosts keep their shards; forged records convince nobody; what was known
//! outlasts a restart. Not here: large networks (`dht_simulation`), and libp2p's own Kademlia (`js_libp2p`).

use std::path::PathBuf;
use std::time::Duration;

use dig_nat_core::base::error::ErrorKind;
use dig_nat_core::base::ids::{ContentKey, FileHash, PeerId};
use dig_nat_core::base::limits;
use dig_nat_core::discovery::candidate::Candidate;
use dig_nat_core::discovery::dht::key::{Node, Placement};
use dig_nat_core::discovery::dht::message::{Kind, Message, Peer};
use dig_nat_core::discovery::dht::{Dht, DhtConfig, DhtStatus, Network};
use dig_nat_core::discovery::own::Own;
use dig_nat_core::discovery::source::Source;
use dig_nat_core::fabric::{Fabric, FabricConfig, address_to_bytes};
use dig_nat_core::net::clock::unix_ms;
use futures::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{mpsc, watch};

/// For whatever takes no time on an idle machine.
const WAIT: Duration = Duration::from_secs(60);

struct Party {
    fabric: Fabric,
    dht: Dht,
    server: watch::Sender<bool>,
    own: Own,
    _addresses: watch::Sender<Vec<String>>,
}

fn address(fabric: &Fabric) -> String {
    format!("/ip4/127.0.0.1/tcp/{}/p2p/{}", fabric.port(), fabric.local_peer())
}

fn private(bootstrap: &[&Party]) -> DhtConfig {
    let bootstrap = bootstrap.iter().map(|party| address(&party.fabric)).collect();
    DhtConfig { network: Network::Private, bootstrap, ..DhtConfig::default() }
}

impl Party {
    async fn start(serves: bool, config: DhtConfig) -> Self {
        let fabric = FabricConfig { interfaces: vec!["lo".into()], ..FabricConfig::default() };
        let (fabric, _) = Fabric::start(fabric).await.expect("started");
        let listening = vec![format!("/ip4/127.0.0.1/tcp/{}", fabric.port())];
        let (addresses, watched) = watch::channel(listening);
        let own = Own::new(fabric.signer(), watched);
        let (server, reachable) = watch::channel(serves);
        let dht = Dht::start(fabric.clone(), own.clone(), reachable, config).await.expect("started");
        Self { fabric, dht, server, own, _addresses: addresses }
    }

    fn peer(&self) -> PeerId {
        self.fabric.local_peer()
    }

    async fn until(&self, what: &str, holds: impl Fn(&DhtStatus) -> bool) -> DhtStatus {
        let mut status = self.dht.status();
        let reached = tokio::time::timeout(WAIT, status.wait_for(|status| holds(status))).await;
        let now = || self.dht.status().borrow().clone();
        reached.unwrap_or_else(|_| panic!("not {what}: {:?}", now())).expect("running").clone()
    }

    async fn stop(self) {
        self.dht.stop().await;
        self.fabric.shutdown().await;
    }
}

async fn network(nodes: usize) -> Vec<Party> {
    let mut parties = vec![Party::start(true, private(&[])).await];
    while parties.len() < nodes {
        let next = Party::start(true, private(&[&parties[0]])).await;
        next.until("joined", |status| status.joined && status.nodes > 0).await;
        parties.push(next);
    }
    parties
}

async fn stop_all(parties: Vec<Party>) {
    futures::future::join_all(parties.into_iter().map(Party::stop)).await;
}

/// As in the private network.
fn record_key(lookup: &FileHash) -> Vec<u8> {
    Placement::Direct.record_key(lookup)
}

fn key(text: &str) -> ContentKey {
    ContentKey::Hash(FileHash::of(text.as_bytes()))
}

async fn next(found: &mut mpsc::Receiver<Candidate>) -> Candidate {
    tokio::time::timeout(WAIT, found.recv()).await.expect("found in time").expect("goes on")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_announces_another_one_finds() {
    let parties = network(8).await;
    let (announcer, searcher) = (&parties[3], &parties[6]);
    announcer.dht.announce(key("content")).await.expect("room");
    let mut found = searcher.dht.search(key("content"));
    let candidate = next(&mut found).await;
    assert_eq!(candidate.id, Some(announcer.peer()));
    assert_eq!(candidate.addresses, [format!("/ip4/127.0.0.1/tcp/{}", announcer.fabric.port())]);
    assert!(candidate.confidence > limits::DHT_UNSIGNED_CONFIDENCE, "it is signed");
    // It can be connected to with that.
    searcher.fabric.add_addresses(&announcer.peer(), &candidate.addresses);
    searcher.fabric.connect(&announcer.peer()).await.expect("reached");
    // Other nodes keep it, so it is found without the announcer.
    let kept = parties.iter().filter(|party| party.peer() != announcer.peer());
    for party in kept {
        party.until("given the record", |status| status.records == 1).await;
    }
    stop_all(parties).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_nobody_can_reach_serves_nobody_until_it_is_reached() {
    let parties = network(3).await;
    let client = Party::start(false, private(&[&parties[0]])).await;
    let status = client.until("joined", |status| status.joined && status.nodes == 3).await;
    assert!(!status.server);
    client.dht.announce(key("of a client")).await.expect("room");
    assert_eq!(next(&mut parties[2].dht.search(key("of a client"))).await.id, Some(client.peer()));
    let refused = async |peer: &PeerId| {
        let mut stream = parties[1].fabric.open(peer, Network::Private.protocol()).await.expect("opened");
        let _ = stream.write_all(&Message::new(Kind::Ping, Vec::new()).frame()).await;
        let _ = stream.flush().await;
        stream.read(&mut [0]).await.is_err()
    };
    parties[1].fabric.dial(&address(&client.fabric), WAIT).await.expect("reached");
    assert!(refused(&client.peer()).await, "it does not speak the protocol");
    client.server.send_replace(true);
    client.until("a server", |status| status.server).await;
    assert!(!refused(&client.peer()).await);
    client.stop().await;
    stop_all(parties).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_bootstrap_nodes_are_told_and_tried_again() {
    let mut config = private(&[]);
    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = closed.local_addr().expect("bound").port();
    config.bootstrap.push(format!("127.0.0.1:{port}"));
    drop(closed);
    let party = Party::start(true, config.clone()).await;
    let status = party.until("told", |status| !status.unreachable.is_empty()).await;
    assert_eq!(status.unreachable[0].0, config.bootstrap[0]);
    // It comes up later, without an id in the entry.
    let fabric = FabricConfig { interfaces: vec!["lo".into()], port, ..FabricConfig::default() };
    let (fabric, _) = Fabric::start(fabric).await.expect("the port is still free");
    let own = Own::new(fabric.signer(), watch::channel(Vec::new()).1);
    let dht = Dht::start(fabric.clone(), own, watch::channel(true).1, private(&[])).await.expect("started");
    party.until("in the network", |status| status.nodes == 1).await;
    dht.stop().await;
    fabric.shutdown().await;
    party.stop().await;
}

#[tokio::test]
async fn too_many_bootstrap_nodes_are_refused() {
    let config = FabricConfig { interfaces: vec!["lo".into()], local_only: true, ..FabricConfig::default() };
    let (fabric, _) = Fabric::start(config).await.expect("started");
    let own = Own::new(fabric.signer(), watch::channel(Vec::new()).1);
    let mut config = private(&[]);
    config.bootstrap = vec!["127.0.0.1:1".to_owned(); limits::DHT_BOOTSTRAP + 1];
    let started = Dht::start(fabric.clone(), own, watch::channel(true).1, config).await;
    let error = started.err().expect("too many");
    assert!(error.kind() == ErrorKind::InvalidArgument && error.to_string().starts_with("bootstrap"), "{error}");
    fabric.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forged_records_convince_nobody() {
    let parties = network(4).await;
    let (announcer, liar, keeper) = (&parties[1], &parties[2], &parties[3]);
    announcer.dht.announce(key("true")).await.expect("room");
    let lookup = key("true").lookup_key();
    keeper.until("given the record", |status| status.records == 1).await;
    let node = |party: &Party| Node::from_peer(&party.peer()).expect("an id");
    let elsewhere = address_to_bytes("/ip4/127.0.0.1/tcp/1").expect("an address");
    let contact = |node: Node| dig_nat_core::discovery::dht::contact::Contact::new(node, [elsewhere.clone()]);
    let mine = liar.own.announce(lookup, unix_ms(), Duration::from_secs(3600)).expect("signed");
    let mut broken = announcer.own.announce(lookup, unix_ms() + 5000, Duration::from_secs(3600)).expect("signed");
    *broken.last_mut().expect("bytes") ^= 1;
    let forgeries = [
        // Somebody else without a signature, with one's own signature, with a broken one, for another key.
        (record_key(&lookup), Peer::from(contact(node(announcer)))),
        (record_key(&lookup), Peer { announcement: Some(mine.clone()), ..contact(node(announcer)).into() }),
        (record_key(&lookup), Peer { announcement: Some(broken), ..contact(node(announcer)).into() }),
        (record_key(&key("other").lookup_key()), Peer { announcement: Some(mine), ..contact(node(liar)).into() }),
    ];
    liar.fabric.dial(&address(&keeper.fabric), WAIT).await.expect("reached");
    let mut stream = liar.fabric.open(&keeper.peer(), Network::Private.protocol()).await.expect("opened");
    for (key, peer) in forgeries {
        let mut message = Message::new(Kind::AddProvider, key);
        message.providers.push(peer);
        stream.write_all(&message.frame()).await.expect("written");
    }
    // The answer comes after all of them were looked at.
    let ask = Message::new(Kind::GetProviders, record_key(&lookup));
    stream.write_all(&ask.frame()).await.expect("written");
    stream.flush().await.expect("written");
    let answer = read(&mut stream).await;
    let told: Vec<PeerId> = answer.providers.iter().map(|peer| peer.contact.node.peer()).collect();
    assert_eq!(told, [announcer.peer()]);
    assert_ne!(answer.providers[0].contact.addresses[0], elsewhere);
    assert_eq!(keeper.dht.status().borrow().records, 1);
    stop_all(parties).await;
}

async fn read(stream: &mut dig_nat_core::fabric::Stream) -> Message {
    let mut bytes = Vec::new();
    let reading = async {
        loop {
            let mut byte = [0];
            stream.read_exact(&mut byte).await.expect("an answer");
            bytes.push(byte[0]);
            if let Some((_, length)) = dig_nat_core::discovery::dht::message::frame_length(&bytes).expect("a length") {
                let mut body = vec![0; length];
                stream.read_exact(&mut body).await.expect("an answer");
                return Message::decode(&body).expect("a message");
            }
        }
    };
    tokio::time::timeout(WAIT, reading).await.expect("answered in time")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_host_keeps_its_shards_and_is_asked_for_them() {
    let parties = network(3).await;
    let shard = "8/1".parse().expect("a shard");
    let config = DhtConfig { shards: vec![shard], ..private(&[&parties[0]]) };
    let host = Party::start(true, config).await;
    host.until("joined", |status| status.joined && status.nodes == 3).await;
    assert_eq!(host.dht.shard_prefixes(), [shard]);
    let keys: Vec<ContentKey> = (0..40).map(|number| key(&format!("file {number}"))).collect();
    for key in &keys {
        parties[1].dht.announce(key.clone()).await.expect("room");
    }
    // A prefix of the private network is a beginning of the file's own hash.
    let is_in = |key: &&ContentKey| "89abcdef".contains(&key.lookup_key().to_string()[..1]);
    let wanted = keys.iter().filter(is_in).count();
    assert!((5..35).contains(&wanted));
    parties[2].until("given everything", |status| status.records == keys.len()).await;
    let status = host.until("given its part", |status| status.records >= wanted).await;
    assert_eq!(status.records, wanted);
    host.stop().await;
    stop_all(parties).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_known_outlasts_a_restart() {
    let parties = network(4).await;
    let folder = tempfile::tempdir().expect("a directory");
    let file: PathBuf = folder.path().join("dht");
    let config = DhtConfig { file: Some(file.clone()), ..private(&[&parties[0]]) };
    let party = Party::start(true, config.clone()).await;
    party.until("joined", |status| status.joined && status.nodes == 4).await;
    parties[2].dht.announce(key("kept")).await.expect("room");
    party.until("given the record", |status| status.records == 1 && status.nodes == 4).await;
    party.stop().await;
    assert_eq!(std::fs::read_dir(folder.path()).expect("listed").count(), 1, "nothing but the file is left");
    // Without any bootstrap list, and before any answer.
    let again = Party::start(true, DhtConfig { bootstrap: Vec::new(), ..config }).await;
    let status = again.until("as before", |status| status.nodes > 0).await;
    assert_eq!(status.records, 1);
    let mut found = again.dht.search(key("kept"));
    assert_eq!(next(&mut found).await.id, Some(parties[2].peer()));
    again.stop().await;
    stop_all(parties).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopping_ends_searches_and_frees_the_protocol() {
    let parties = network(2).await;
    let mut found = parties[1].dht.search(key("nowhere"));
    parties[1].dht.stop().await;
    assert_eq!(tokio::time::timeout(WAIT, found.recv()).await.expect("at once"), None);
    assert!(parties[1].dht.search(key("nowhere")).recv().await.is_none());
    drop(parties[1].fabric.accept(Network::Private.protocol()).expect("free again"));
    stop_all(parties).await;
}
