//! Discovery through stock relays, with gun.js clients that read and write as older peers do, and forge. Not here: the
//! graph itself.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dig_nat_core::base::ids::{ContentKey, FileHash, PeerId};
use dig_nat_core::discovery::gun::record::{self, Claim};
use dig_nat_core::discovery::gun::{GunConfig, GunDiscovery};
use dig_nat_core::discovery::own::{self, Own};
use dig_nat_core::discovery::source::{Candidate, Source};
use dig_nat_core::fabric::{Identity, Signer};
use dig_nat_core::gun::{Entry, GunBackend, GunClient, GunClientConfig};
use dig_nat_core::net::clock::unix_ms;
use futures::StreamExt;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};

use super::graph::{client, path, tests};
use super::stock::{Client, Relay, WAIT};

const MINUTE_MS: i64 = 60_000;

/// A node as discovery sees it.
pub struct Node {
    pub discovery: GunDiscovery,
    backend: Arc<GunClient>,
    pub peer: PeerId,
    pub addresses: watch::Sender<Vec<String>>,
}

pub fn address(last: u8) -> String {
    format!("/ip4/192.0.2.{last}/tcp/9000")
}

async fn node_with(urls: &[String], last: u8, clock_offset_ms: i64, kept: Option<&Path>) -> Node {
    let signer = Signer::load(&Identity::Generated).expect("a key");
    let (addresses, known) = watch::channel(vec![address(last)]);
    let own = Own::new(signer, known);
    let peer = own.peer().clone();
    let peers = urls.to_vec();
    let backend = GunClient::start(GunClientConfig { peers, clock_offset_ms, ..GunClientConfig::default() });
    let backend = backend.expect("valid URLs");
    let persistence_dir = kept.map(Path::to_owned);
    let config = GunConfig { clock_offset_ms, persistence_dir, ..GunConfig::default() };
    let discovery = GunDiscovery::start(config, own, backend.clone()).await.expect("started");
    Node { discovery, backend, peer, addresses }
}

pub async fn node(urls: &[String], last: u8) -> Node {
    node_with(urls, last, 0, None).await
}

impl Node {
    pub async fn announce(&self, hash: FileHash) {
        self.discovery.announce(ContentKey::Hash(hash)).await.expect("taken over");
        self.confirmed().await;
    }

    async fn confirmed(&self) {
        let mut unconfirmed = self.discovery.unconfirmed();
        let waiting = tokio::time::timeout(10 * WAIT, unconfirmed.wait_for(|count| *count == 0));
        waiting.await.expect("confirmed by the relay").expect("running");
    }

    fn search(&self, hash: FileHash) -> mpsc::Receiver<Candidate> {
        self.discovery.search(ContentKey::Hash(hash))
    }

    pub async fn stop(self) {
        self.discovery.stop().await;
        self.backend.stop().await;
    }
}

pub async fn found(search: &mut mpsc::Receiver<Candidate>, what: &str, fits: impl Fn(&Candidate) -> bool) -> Candidate {
    let waiting = async {
        loop {
            let candidate = search.recv().await.expect("running");
            if fits(&candidate) {
                return candidate;
            }
        }
    };
    tokio::time::timeout(WAIT, waiting).await.unwrap_or_else(|_| panic!("no {what}"))
}

fn is(peer: &PeerId, last: u8) -> impl Fn(&Candidate) -> bool {
    let (peer, at) = (peer.clone(), address(last));
    move |candidate| candidate.id.as_ref() == Some(&peer) && candidate.addresses == [at.clone()]
}

fn legacy(ip: &str, issued_ms: u64) -> Value {
    json!({ "ip": ip, "port": 8080, "timestamp": issued_ms, "ver": "1.0" })
}

/// Announced and found both ways, live, by peers of ours and older ones in JavaScript.
async fn found_both_ways(axe: bool) {
    let mut relay = Relay::start(axe).await;
    let (hash, text) = (FileHash::of(b"content"), FileHash::of(b"content").to_string());
    let (one, other) = (node(&[relay.url()], 1).await, node(&[relay.url()], 2).await);
    let mut early = other.search(hash);
    one.announce(hash).await;
    let candidate = found(&mut early, "an announcement, live", is(&one.peer, 1)).await;
    assert!(candidate.confidence > 0.7);
    other.announce(hash).await;
    found(&mut one.search(hash), "one that stood there", is(&other.peer, 2)).await;

    let mut js = Client::start(&[relay.url()]).await;
    js.watch(&["dig-peers", &text], "peers").await;
    let name = one.peer.as_str();
    let all = |data: &Value| data["ip"] == "192.0.2.1" && data["port"] == 9000 && data["available"] == true;
    js.child("peers", name, all).await;
    js.write(&["dig-peers", &text, "old-host"], legacy("198.51.100.7", unix_ms())).await;
    let old = found(&mut early, "an older peer", |candidate| candidate.addresses == ["198.51.100.7:8080"]).await;
    assert!(old.id.is_none() && old.confidence < 0.5);
    js.write(&["dig-peers", &text, "late-host"], legacy("198.51.100.8", unix_ms() + 16 * 60_000)).await;
    js.write(&["dig-peers", &text, "gone-host"], legacy("198.51.100.9", unix_ms() - 2 * 3_600_000)).await;

    one.addresses.send_replace(vec![address(3)]);
    found(&mut early, "another address", is(&one.peer, 3)).await;
    js.child("peers", name, |data| data["ip"] == "192.0.2.3").await;
    one.discovery.withdraw(ContentKey::Hash(hash)).await.expect("taken over");
    js.child("peers", name, Value::is_null).await;
    let known = || other.discovery.known_peers(&ContentKey::Hash(hash));
    let gone = async {
        while known().iter().any(|candidate| candidate.id.as_ref() == Some(&one.peer)) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(WAIT, gone).await.expect("the withdrawal is heard");
    assert!(known().iter().all(|candidate| !candidate.addresses[0].starts_with("198.51.100.8:")), "in the future");
    assert!(known().iter().all(|candidate| !candidate.addresses[0].starts_with("198.51.100.9:")), "expired");
    relay.assert_alive();
    one.stop().await;
    other.stop().await;
}

/// Somebody overwrites a signed record in every way: it is not believed, does not hide the true one, and does not last.
async fn forgeries(axe: bool) {
    let mut relay = Relay::start(axe).await;
    let (hash, text) = (FileHash::of(b"content"), FileHash::of(b"content").to_string());
    let (honest, reader) = (node(&[relay.url()], 1).await, node(&[relay.url()], 2).await);
    let mut search = reader.search(hash);
    honest.announce(hash).await;
    found(&mut search, "the true one", is(&honest.peer, 1)).await;
    let mut forger = Client::start(&[relay.url()]).await;
    let name = honest.peer.as_str();
    let at = ["dig-peers", text.as_str(), name];
    forger.watch(&at[..2], "peers").await;
    let ip = |ip: &'static str| move |data: &Value| data["ip"] == ip && !data["announcement"].is_null();
    forger.child("peers", name, ip("192.0.2.1")).await;
    let stolen = forger.once(&at).await["announcement"].as_str().expect("signed").to_owned();
    let forged =
        |announcement: Value| json!({ "ip": "203.0.113.66", "address": "203.0.113.66", "announcement": announcement });
    for announcement in [json!("Zm9yZ2Vk"), json!(null), json!(5), json!(stolen)] {
        forger.write(&at, forged(announcement)).await;
        forger.child("peers", name, |data| data["ip"] == "203.0.113.66").await;
        forger.child("peers", name, ip("192.0.2.1")).await;
    }
    forger.write(&at, json!(null)).await;
    forger.child("peers", name, Value::is_null).await;
    forger.child("peers", name, ip("192.0.2.1")).await;
    // Another's true announcement in its place, and a name of our kind that nobody has signed for.
    let name_of_nobody = Signer::load(&Identity::Generated).expect("a key").peer();
    forger.write(&["dig-peers", &text, name_of_nobody.as_str()], legacy("203.0.113.67", unix_ms())).await;
    honest.confirmed().await;

    let late = node(&[relay.url()], 3).await;
    found(&mut late.search(hash), "the true one, later", is(&honest.peer, 1)).await;
    for node in [&reader, &late] {
        let known = node.discovery.known_peers(&ContentKey::Hash(hash));
        assert_eq!(known.len(), 1, "{known:?}");
        assert!(is(&honest.peer, 1)(&known[0]), "{known:?}");
    }
    relay.assert_alive();
    for node in [honest, reader, late] {
        node.stop().await;
    }
}

/// Clocks that are ten minutes wrong, on either side.
async fn wrong_clocks(axe: bool) {
    let mut relay = Relay::start(axe).await;
    let mut js = Client::start(&[relay.url()]).await;
    for (index, (announcing, searching)) in [(10, 0), (-10, 0), (0, 10), (0, -10)].into_iter().enumerate() {
        let hash = FileHash::of(&index.to_be_bytes());
        let announcer = node_with(&[relay.url()], 1, announcing * MINUTE_MS, None).await;
        let searcher = node_with(&[relay.url()], 2, searching * MINUTE_MS, None).await;
        let mut early = searcher.search(hash);
        announcer.announce(hash).await;
        found(&mut early, "it, live", is(&announcer.peer, 1)).await;
        found(&mut searcher.search(hash), "it, later", is(&announcer.peer, 1)).await;
        let seen = js.once(&["dig-peers", &hash.to_string(), announcer.peer.as_str()]).await;
        assert_eq!(seen["ip"], "192.0.2.1", "a gun.js client with a true clock sees it at once");
        announcer.stop().await;
        searcher.stop().await;
    }
    relay.assert_alive();
}

/// Two relays: what is announced outlives one of them, and one that forgot everything is told again.
async fn two_relays(axe: bool) {
    let (mut first, second) = (Relay::start(axe).await, Relay::start(axe).await);
    let hash = FileHash::of(b"content");
    let announcer = node(&[first.url(), second.url()], 1).await;
    announcer.backend.connected().wait_for(|count| *count == 2).await.expect("running");
    announcer.announce(hash).await;
    for relay in [&first, &second] {
        let searcher = node(&[relay.url()], 2).await;
        found(&mut searcher.search(hash), "it at each relay", is(&announcer.peer, 1)).await;
        searcher.stop().await;
    }
    let both = node(&[first.url(), second.url()], 3).await;
    let mut search = both.search(hash);
    found(&mut search, "it at both", is(&announcer.peer, 1)).await;
    first.kill().await;
    announcer.addresses.send_replace(vec![address(4)]);
    found(&mut search, "news by the other relay", is(&announcer.peer, 4)).await;
    first.replace().await;
    announcer.backend.connected().wait_for(|count| *count == 2).await.expect("running");
    let fresh = node(&[first.url()], 5).await;
    found(&mut fresh.search(hash), "it at the relay that had forgotten", is(&announcer.peer, 4)).await;
    first.assert_alive();
    for node in [announcer, both, fresh] {
        node.stop().await;
    }
}

/// Every one of many announcements stands at the relay: a thousand, or as many as `DIG_NAT_ANNOUNCEMENTS` says. In the middle
/// of it, the relay may be killed and replaced by one that knows nothing.
async fn many(axe: bool, replaced: bool) {
    let count = std::env::var("DIG_NAT_ANNOUNCEMENTS").map_or(1000, |count| count.parse().expect("a number"));
    let mut relay = Relay::start(axe).await;
    let announcer = node(&[relay.url()], 1).await;
    let mut hashes: Vec<FileHash> = (0..count).map(|index: usize| FileHash::of(&index.to_be_bytes())).collect();
    let before = resident_kib();
    let begun = Instant::now();
    for hash in &hashes {
        announcer.discovery.announce(ContentKey::Hash(*hash)).await.expect("room");
    }
    if replaced {
        let mut unconfirmed = announcer.discovery.unconfirmed();
        let half = tokio::time::timeout(10 * WAIT, unconfirmed.wait_for(|left| *left <= count / 2));
        half.await.expect("half of them stand there").expect("running");
        relay.kill().await;
        relay.replace().await;
        // What the dead one had is unconfirmed again once the other is connected.
        let again = tokio::time::timeout(WAIT, unconfirmed.wait_for(|left| *left > count / 2));
        again.await.expect("all are to be written again").expect("running");
    }
    announcer.confirmed().await;
    let announced = begun.elapsed();
    let grown = resident_kib().saturating_sub(before);
    relay.assert_alive();
    let peer = announcer.peer.clone();
    // Without goodbyes: what it has said stands there without it.
    drop(announcer.discovery);
    announcer.backend.stop().await;
    // For a node the stock relay reads a file, in which its neighbours stand too. Nodes are read by their souls: to follow
    // links is more of that work.
    hashes.sort();
    let reader = client(&[relay.url()]);
    let (reader_ref, name) = (&reader, &peer);
    let reads = futures::stream::iter(&hashes).map(|hash| async move {
        let above = format!("dig-peers/{hash}");
        let soul = format!("{above}/{}", name.as_str());
        let links = reader_ref.once(&[above], 10 * WAIT).await.expect("running")?;
        let found = reader_ref.once(std::slice::from_ref(&soul), 10 * WAIT).await.expect("running")?;
        let linked = links.get(name.as_str()).is_some_and(|cell| cell.value == dig_nat_core::gun::Value::Link(soul));
        let Claim::Signed(bytes) = record::read(name.as_str(), &found) else { return None };
        let opened = own::open(&bytes, hash, unix_ms()).ok()?;
        (linked && opened.peer == *name && opened.addresses == [address(1)]).then_some(*hash)
    });
    let there: BTreeSet<FileHash> = reads.buffer_unordered(256).filter_map(async |hash| hash).collect().await;
    assert_eq!(there.len(), count, "some are lost");
    let rate = count as f64 / announced.as_secs_f64();
    let all = begun.elapsed();
    println!(
        "{count} announcements, AXE {axe}, relay replaced {replaced}: confirmed after {announced:?}, {rate:.0} a second"
    );
    println!("read after {all:?}; this process has grown by {grown} KiB while announcing");
    relay.assert_alive();
    reader.stop().await;
}

/// Memory of this process.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it says so");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// What is known survives a restart, with no relay there.
async fn restart_without_a_relay() {
    let mut relay = Relay::start(false).await;
    let (hash, kept) = (FileHash::of(b"content"), tempfile::tempdir().expect("a directory"));
    let announcer = node(&[relay.url()], 1).await;
    announcer.discovery.map_content("my video", hash).expect("room");
    announcer.announce(hash).await;
    let searcher = node_with(&[relay.url()], 2, 0, Some(kept.path())).await;
    found(&mut searcher.search(hash), "it", is(&announcer.peer, 1)).await;
    assert_eq!(searcher.discovery.find_hash("my video", WAIT).await.expect("running"), Some(hash));
    searcher.stop().await;
    relay.kill().await;
    let again = node_with(&[relay.url()], 2, 0, Some(kept.path())).await;
    found(&mut again.search(hash), "it from the file", is(&announcer.peer, 1)).await;
    let id: ContentKey = "my video".parse().expect("an id");
    found(&mut again.discovery.search(id), "it by its content id", is(&announcer.peer, 1)).await;
    assert_eq!(again.discovery.known_hash("my video"), Some(hash));
    assert_eq!(again.discovery.known_id(&hash).as_deref(), Some("my video"));
    again.stop().await;
    announcer.stop().await;
}

/// Content ids in both directions with older peers, and against a forger.
async fn content_ids(axe: bool) {
    let mut relay = Relay::start(axe).await;
    let (one, other) = (node(&[relay.url()], 1).await, node(&[relay.url()], 2).await);
    let mut js = Client::start(&[relay.url()]).await;
    let (ours, theirs, bad) = (FileHash::of(b"ours"), FileHash::of(b"theirs"), FileHash::of(b"bad"));
    for id in ["docs/our video.mp4", "constructor"] {
        one.discovery.map_content(id, ours).expect("room");
        one.confirmed().await;
        assert_eq!(other.discovery.find_hash(id, WAIT).await.expect("running"), Some(ours), "{id}");
    }
    let at = ["dig-content-maps", "docs/our video.mp4"];
    assert_eq!(js.once(&at).await["hash"], ours.to_string());
    js.write(&at, json!({ "hash": bad.to_string() })).await;
    let late = node(&[relay.url()], 3).await;
    assert_eq!(late.discovery.find_hash(at[1], WAIT).await.expect("running"), Some(ours), "what is vouched for");

    js.write(&["dig-content-maps", "their video"], json!({ "hash": theirs.to_string(), "timestamp": unix_ms() })).await;
    assert_eq!(one.discovery.find_hash("their video", WAIT).await.expect("running"), Some(theirs));
    js.write(&["dig-peers", &theirs.to_string(), "old-host"], legacy("198.51.100.7", unix_ms())).await;
    let id: ContentKey = "their video".parse().expect("an id");
    found(&mut late.discovery.search(id), "a peer by content id", |one| one.addresses == ["198.51.100.7:8080"]).await;
    assert_eq!(one.discovery.find_hash("nobody's", Duration::from_millis(500)).await.expect("running"), None);

    one.discovery.unmap_content(at[1]);
    let record = async {
        let vouched = |entry: &Entry| matches!(entry, Entry::Value(_));
        let mut updates = late.backend.subscribe(&path(&at)).expect("room");
        while !updates.recv().await.is_some_and(|update| vouched(&update.entry)) {}
    };
    tokio::time::timeout(WAIT, record).await.expect("still a node");
    relay.assert_alive();
    for node in [one, other, late] {
        node.stop().await;
    }
}

tests! {
    announced_and_found_both_ways: found_both_ways(false);
    announced_and_found_both_ways_with_axe: found_both_ways(true);
    forged_records_are_refused_and_overwritten: forgeries(false);
    forged_records_are_refused_and_overwritten_with_axe: forgeries(true);
    clocks_may_be_ten_minutes_wrong: wrong_clocks(false);
    clocks_may_be_ten_minutes_wrong_with_axe: wrong_clocks(true);
    one_of_two_relays_dies_and_forgets: two_relays(false);
    one_of_two_relays_with_axe_dies_and_forgets: two_relays(true);
    many_announcements_are_all_there: many(false, false);
    many_announcements_are_all_there_with_axe: many(true, false);
    many_announcements_come_back_to_a_relay_that_knows_nothing: many(false, true);
    many_announcements_come_back_to_a_relay_with_axe_that_knows_nothing: many(true, true);
    a_restart_without_a_relay_finds_what_was_known: restart_without_a_relay();
    content_ids_both_ways: content_ids(false);
    content_ids_both_ways_with_axe: content_ids(true);
}
