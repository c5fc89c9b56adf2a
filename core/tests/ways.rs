//! Whole nodes that find each other by one way of discovery at a time, and by all. Not here: the ways' own tests.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dig_nat_core::ErrorKind;
use dig_nat_core::api::{FileClient, FileHost, PeerDiscoveryManager, ProgressFn};
use dig_nat_core::base::events::{Event, Progress};
use dig_nat_core::base::ids::{ContentKey, FileHash};
use dig_nat_core::base::limits;
use dig_nat_core::base::options::{
    AddFileOptions, AnnounceOptions, ClientOptions, DownloadOptions, FindOptions, HostOptions, NodeOptions,
};
use dig_nat_core::gun::{Cell, Entry, GunBackend, GunClient, GunClientConfig, GunRelay, GunRelayConfig};

/// Longest any single step may take; generous, because the machine may be busy.
const DEADLINE: Duration = Duration::from_secs(120);

/// A node on loopback that knows no way to find anybody.
fn alone() -> NodeOptions {
    NodeOptions {
        local_only: true,
        interfaces: vec!["lo".into()],
        local_enabled: false,
        dht_enabled: false,
        pex_enabled: false,
        gun_enabled: false,
        ..NodeOptions::default()
    }
}

async fn within<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, what).await.expect("within the deadline")
}

fn data(length: usize, seed: u32) -> Vec<u8> {
    (0..length as u32).map(|number| (number.wrapping_mul(2_654_435_761).wrapping_add(seed) >> 13) as u8).collect()
}

/// A host with one file, also under a readable id.
async fn host(options: NodeOptions, folder: &std::path::Path, id: &str, content: &[u8]) -> (FileHost, ContentKey) {
    let path = folder.join(format!("{id}.bin"));
    std::fs::write(&path, content).expect("written");
    let host = FileHost::new(options, HostOptions::default()).expect("valid");
    within(host.start()).await.expect("started");
    let named = AddFileOptions { content_id: Some(id.to_owned()), ..AddFileOptions::default() };
    let info = within(host.add_file(&path, named).wait()).await.expect("shared");
    (host, ContentKey::Hash(info.hash))
}

/// Fetches by a key and nothing else, with the kinds of discovery that found somebody.
async fn fetch(options: NodeOptions, key: ContentKey, target: PathBuf) -> (Vec<u8>, Vec<String>) {
    let client = FileClient::new(options, ClientOptions::default()).expect("valid");
    let mut events = client.subscribe();
    let order = DownloadOptions { save_path: Some(target.clone()), timeout_ms: 60_000, ..DownloadOptions::default() };
    within(client.download(key, order, None).wait()).await.expect("fetched");
    within(client.stop()).await.expect("stopped");
    let mut sources = Vec::new();
    loop {
        match events.next().await.expect("the client is held") {
            Event::PeerDiscovered { source, .. } => sources.push(source),
            Event::Stopped => break,
            _ => {}
        }
    }
    (std::fs::read(target).expect("there"), sources)
}

#[tokio::test(flavor = "multi_thread")]
async fn by_the_hash_table_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let content = data(300_000, 1);
    let dht = |entry: Vec<String>| NodeOptions { dht_enabled: true, bootstrap_nodes: entry, ..alone() };
    // Whoever comes first is where the others enter.
    let first = PeerDiscoveryManager::new(dht(Vec::new())).expect("valid");
    within(first.start()).await.expect("started");
    let entry = vec![first.addresses().remove(0)];
    let (host, key) = host(dht(entry.clone()), folder.path(), "in-the-table", &content).await;
    for (number, key) in [key, "in-the-table".parse().expect("a key")].into_iter().enumerate() {
        let (copy, sources) = fetch(dht(entry.clone()), key, folder.path().join(format!("copy{number}"))).await;
        assert!(copy == content && sources.iter().all(|source| source == "dht") && !sources.is_empty(), "{sources:?}");
    }
    // Nobody else's entry: an event, not a failed start.
    let lost = FileClient::new(dht(vec!["127.0.0.1:1".to_owned()]), ClientOptions::default()).expect("valid");
    let mut events = lost.subscribe();
    within(lost.start()).await.expect("starts all the same");
    let warned = within(async {
        loop {
            match events.next().await.expect("the client is held") {
                Event::Warning { error } if error.message.contains("127.0.0.1:1") => return error,
                _ => {}
            }
        }
    });
    assert_eq!(warned.await.code, ErrorKind::PeerUnreachable.code());
    within(lost.stop()).await.expect("stopped");
    within(host.stop()).await.expect("stopped");
    within(first.stop()).await.expect("stopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn by_a_gun_relay_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let content = data(300_000, 2);
    let relay = GunRelay::start(GunRelayConfig::default()).await.expect("started");
    let url = relay.url();
    let gun = || NodeOptions { gun_enabled: true, gun_peers: vec![url.clone()], ..alone() };
    let (host, key) = host(gun(), folder.path(), "on-gun", &content).await;
    for (number, key) in [key.clone(), "on-gun".parse().expect("a key")].into_iter().enumerate() {
        let (copy, sources) = fetch(gun(), key, folder.path().join(format!("copy{number}"))).await;
        assert!(copy == content && sources.iter().all(|source| source == "gun") && !sources.is_empty(), "{sources:?}");
    }
    let asking = PeerDiscoveryManager::new(gun()).expect("valid");
    let found = within(asking.find_hash("on-gun", 30_000)).await.expect("asked");
    assert_eq!(found.map(ContentKey::Hash), Some(key));
    assert_eq!(within(asking.find_hash("not-on-gun", 500)).await.expect("asked"), None);
    within(asking.stop()).await.expect("stopped");
    within(host.stop()).await.expect("stopped");
    within(relay.stop()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn by_a_graph_that_the_program_hands_over() {
    let folder = tempfile::tempdir().expect("a folder");
    let relay = GunRelay::start(GunRelayConfig::default()).await.expect("started");
    let peers = vec![relay.url()];
    let graph = || GunClient::start(GunClientConfig { peers: peers.clone(), ..GunClientConfig::default() });
    let (own, others) = (graph().expect("valid"), graph().expect("valid"));
    let options = || NodeOptions {
        gun_enabled: true,
        gun_namespace: Some("our space".into()),
        gun_peer_map_name: "peers".into(),
        gun_node_id: Some("node 1".into()),
        ..alone()
    };
    let host = FileHost::new(options(), HostOptions::default()).expect("valid");
    host.set_gun_backend(Some(own.clone()));
    let path = folder.path().join("file.bin");
    std::fs::write(&path, data(1000, 9)).expect("written");
    let hash = within(host.add_file(&path, AddFileOptions::default()).wait()).await.expect("shared").hash;
    within(host.start()).await.expect("started");
    let client = FileClient::new(options(), ClientOptions::default()).expect("valid");
    client.set_gun_backend(Some(others.clone()));
    let find = FindOptions { max_peers: 1, timeout_ms: 60_000 };
    let found = within(client.find_peers(ContentKey::Hash(hash), find)).await.expect("asked");
    assert_eq!(found.iter().map(|peer| &*peer.source).collect::<Vec<_>>(), ["gun"]);
    within(client.stop()).await.expect("stopped");
    within(host.stop()).await.expect("stopped");
    // The graphs are the program's: they go on, and show where the host stood and that it has gone.
    let place: Vec<String> =
        ["our space", "peers", &hash.to_string(), "node 1"].iter().map(|&name| name.to_owned()).collect();
    let entry = Entry::Value(Cell { value: "still there".into(), state: 0.0 });
    within(own.put(&[place.clone(), vec!["note".into()]].concat(), entry, DEADLINE)).await.expect("confirmed");
    let record = within(others.once(&place, DEADLINE)).await.expect("read").expect("a record");
    assert_eq!(record["note"].value, "still there".into());
    // Switched off, it is not used.
    let off = PeerDiscoveryManager::new(alone()).expect("valid");
    off.set_gun_backend(Some(others.clone()));
    let none = within(off.find_peers(ContentKey::Hash(hash), FindOptions { max_peers: 1, timeout_ms: 300 })).await;
    assert!(none.expect("asked").is_empty());
    within(off.stop()).await.expect("stopped");
    within(async { tokio::join!(own.stop(), others.stop()) }).await;
    within(relay.stop()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mapping_is_taken_back_and_one_made_early_is_told_at_the_start() {
    let relay = GunRelay::start(GunRelayConfig::default()).await.expect("started");
    let gun = || NodeOptions { gun_enabled: true, gun_peers: vec![relay.url()], ..alone() };
    let (one, other) =
        (PeerDiscoveryManager::new(gun()).expect("valid"), PeerDiscoveryManager::new(gun()).expect("valid"));
    let hash = FileHash::of(b"mapped");
    one.add_content_mapping("early", hash).expect("mapped");
    within(one.start()).await.expect("started");
    assert_eq!(within(other.find_hash("early", 60_000)).await.expect("asked"), Some(hash));
    within(
        one.announce(ContentKey::Hash(hash), AnnounceOptions { content_id: Some("late".into()), ..Default::default() }),
    )
    .await
    .expect("announced");
    let find = || FindOptions { max_peers: 1, timeout_ms: 60_000 };
    assert_eq!(within(other.find_peers("late".parse().expect("a key"), find())).await.expect("asked").len(), 1);
    assert!(within(one.remove_content_mapping("early")).await.expect("removed"));
    assert!(!within(one.remove_content_mapping("early")).await.expect("asked"));
    assert_eq!((one.hash_for_content("early"), one.hash_for_content("late")), (None, Some(hash)));
    // Everything that was announced with it.
    assert!(within(one.withdraw(&ContentKey::Hash(hash))).await.expect("withdrawn"));
    assert!(!within(one.withdraw(&"late".parse().expect("a key"))).await.expect("asked"));
    let without = one.find_node("early", 1000);
    assert_eq!(within(without).await.expect_err("no hash table").kind(), ErrorKind::InvalidState);
    for node in [one, other] {
        within(node.stop()).await.expect("stopped");
    }
    within(relay.stop()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn by_all_ways_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let content = data(300_000, 3);
    let relay = GunRelay::start(GunRelayConfig::default()).await.expect("started");
    let url = relay.url();
    let all = |entry: Vec<String>| NodeOptions {
        local_enabled: true,
        dht_enabled: true,
        pex_enabled: true,
        gun_enabled: true,
        gun_peers: vec![url.clone()],
        bootstrap_nodes: entry,
        ..alone()
    };
    let (host, key) = host(all(Vec::new()), folder.path(), "everywhere", &content).await;
    let entry = vec![host.addresses().remove(0)];
    let asking = PeerDiscoveryManager::new(all(entry.clone())).expect("valid");
    within(asking.start()).await.expect("started");
    let mut events = asking.subscribe();
    assert!(asking.watch(&key, "high").expect("it runs"));
    // The same peer by three ways is one peer.
    let mut heard = std::collections::BTreeSet::new();
    let hearing = async {
        while !(heard.contains("local") || heard.contains("gun") || heard.contains("dht")) {
            if let Some(Event::PeerDiscovered { source, .. }) = events.next().await {
                heard.insert(source);
            }
        }
    };
    within(hearing).await;
    let found = within(asking.find_peers(key.clone(), FindOptions { max_peers: 5, timeout_ms: 2000 })).await;
    let host_id = host.peer_id().expect("it runs").to_string();
    assert_eq!(found.expect("asked").iter().map(|peer| peer.id.clone()).collect::<Vec<_>>(), [host_id]);
    let (copy, _) = fetch(all(entry), "everywhere".parse().expect("a key"), folder.path().join("copy")).await;
    assert!(copy == content);
    within(asking.stop()).await.expect("stopped");
    within(host.stop()).await.expect("stopped");
    within(relay.stop()).await;
}

/// Downloads from a slow host while a second one appears; bytes that the second one gave.
async fn joined_by_another(continuous: bool) -> u64 {
    let folder = tempfile::tempdir().expect("a folder");
    let content = data(6_000_000, 4);
    let relay = GunRelay::start(GunRelayConfig::default()).await.expect("started");
    let url = relay.url();
    let gun = || NodeOptions { gun_enabled: true, gun_peers: vec![url.clone()], ..alone() };
    let slow = NodeOptions { upload_limit: 700_000, ..gun() };
    let (first, key) = host(slow, folder.path(), "slow", &content).await;
    let options = ClientOptions { enable_continuous_discovery: continuous, ..ClientOptions::default() };
    let client = FileClient::new(gun(), options).expect("valid");
    within(client.start()).await.expect("started");
    let received = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&received);
    let on_progress: ProgressFn = Arc::new(move |progress: &Progress| seen.store(progress.bytes, Ordering::Relaxed));
    let peers = vec![format!("127.0.0.1:{}", first.port())];
    let order = DownloadOptions { save_path: Some(folder.path().join("copy")), peers, ..DownloadOptions::default() };
    let begun = tokio::time::Instant::now();
    let download = client.download(key.clone(), order, Some(on_progress));
    within(async {
        while received.load(Ordering::Relaxed) == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    // Every download looks around at its beginning.
    tokio::time::sleep_until(begun + limits::FIRST_SEARCH).await;
    let (second, same) = host(gun(), folder.path(), "fast", &content).await;
    assert_eq!(same, key);
    let result = within(download.wait()).await.expect("fetched");
    assert!(std::fs::read(folder.path().join("copy")).expect("there") == content);
    let second_id = second.peer_id().expect("it runs").to_string();
    within(client.stop()).await.expect("stopped");
    within(first.stop()).await.expect("stopped");
    within(second.stop()).await.expect("stopped");
    within(relay.stop()).await;
    result.peers.get(&second_id).map_or(0, |stats| stats.bytes)
}

#[tokio::test(flavor = "multi_thread")]
async fn who_appears_in_the_middle_is_used_with_continuous_discovery() {
    assert!(joined_by_another(true).await > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_appears_in_the_middle_is_left_alone_without_it() {
    assert_eq!(joined_by_another(false).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_work_is_refused_before_anything_runs() {
    let bad = [
        (NodeOptions { dht_enabled: true, bootstrap_nodes: vec!["nowhere".into()], ..alone() }, "bootstrapNodes"),
        (NodeOptions { dht_enabled: true, dht_network: Some("public".into()), ..alone() }, "dhtNetwork"),
        (NodeOptions { dht_enabled: true, shard_prefixes: vec!["xyz".into()], ..alone() }, "shardPrefixes"),
        (NodeOptions { gun_enabled: true, gun_peers: vec!["gopher://x".into()], ..alone() }, "gunPeers"),
    ];
    for (options, name) in bad {
        let manager = PeerDiscoveryManager::new(options).expect("each value may stand");
        let error = within(manager.start()).await.expect_err(name);
        assert!(error.kind() == ErrorKind::InvalidArgument && error.full_message().contains(name), "{error}");
        assert_eq!(manager.port(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_host_says_what_it_keeps() {
    let shards = |prefixes: &[&str]| NodeOptions {
        dht_enabled: true,
        is_shard_host: true,
        shard_prefixes: prefixes.iter().map(ToString::to_string).collect(),
        ..alone()
    };
    let named = PeerDiscoveryManager::new(shards(&["00", "a8"])).expect("valid");
    assert!(named.shard_prefixes().is_empty(), "not before the start");
    within(named.announce("x".parse().expect("a key"), AnnounceOptions::default())).await.expect("starts");
    assert_eq!(named.shard_prefixes(), ["00", "a8"]);
    let random = PeerDiscoveryManager::new(shards(&[])).expect("valid");
    within(random.start()).await.expect("started");
    let prefixes = random.shard_prefixes();
    assert!(prefixes.len() == 3 && prefixes.iter().all(|prefix| prefix.len() == 2), "{prefixes:?}");
    within(named.stop()).await.expect("stopped");
    within(random.stop()).await.expect("stopped");
}
