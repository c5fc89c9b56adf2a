//! The manager over all ways of discovery: restarts, background searches, priorities, what strangers may name.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dig_nat_core::base::error::Result;
use dig_nat_core::base::events::Event;
use dig_nat_core::base::ids::{ContentKey, PeerId};
use dig_nat_core::base::limits;
use dig_nat_core::base::priority::Priority;
use dig_nat_core::discovery::manager::{DiscoveryConfig, PeerDiscovery};
use dig_nat_core::discovery::source::{Candidate, Source, SourceKind};
use dig_nat_core::discovery::table::Bounds;
use futures::future::BoxFuture;
use tokio::sync::mpsc;

/// A way of discovery in which the test answers.
struct Scripted {
    kind: SourceKind,
    announced: Mutex<BTreeSet<ContentKey>>,
    searches: Mutex<Vec<(ContentKey, mpsc::Sender<Candidate>)>>,
}

impl Scripted {
    fn new(kind: SourceKind) -> Arc<Self> {
        Arc::new(Self { kind, announced: Mutex::default(), searches: Mutex::default() })
    }

    fn announced(&self) -> BTreeSet<ContentKey> {
        self.announced.lock().expect("whole").clone()
    }

    /// Keys that are searched for now.
    fn searched(&self) -> BTreeSet<ContentKey> {
        let mut searches = self.searches.lock().expect("whole");
        searches.retain(|(_, search)| !search.is_closed());
        searches.iter().map(|(key, _)| key.clone()).collect()
    }

    /// Answers all searches for the key.
    async fn find(&self, key: &ContentKey, candidate: &Candidate) {
        let searches = self.searches.lock().expect("whole").clone();
        for (_, search) in searches.iter().filter(|(searched, _)| searched == key) {
            let _ = search.send(candidate.clone()).await;
        }
    }
}

impl Source for Scripted {
    fn name(&self) -> &'static str {
        "scripted"
    }

    fn kind(&self) -> SourceKind {
        self.kind
    }

    fn announce(&self, key: ContentKey) -> BoxFuture<'_, Result<()>> {
        self.announced.lock().expect("whole").insert(key);
        Box::pin(async { Ok(()) })
    }

    fn withdraw(&self, key: ContentKey) -> BoxFuture<'_, Result<()>> {
        self.announced.lock().expect("whole").remove(&key);
        Box::pin(async { Ok(()) })
    }

    fn search(&self, key: ContentKey) -> mpsc::Receiver<Candidate> {
        let (sender, receiver) = mpsc::channel(10);
        self.searches.lock().expect("whole").push((key, sender));
        receiver
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        self.searches.lock().expect("whole").clear();
        Box::pin(async {})
    }
}

fn key(text: &str) -> ContentKey {
    text.parse().expect("a key")
}

fn peer(id: &str, addresses: &[&str], source: SourceKind) -> Candidate {
    Candidate::new(Some(PeerId::from_text(id)), addresses.iter().map(ToString::to_string).collect(), source)
}

async fn until(mut holds: impl FnMut() -> bool, what: &str) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), waiting).await.unwrap_or_else(|_| panic!("{what}"));
}

#[tokio::test]
async fn a_restarted_node_knows_peers_before_anybody_answers() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("peers.json");
    let config = || DiscoveryConfig { file: Some(file.clone()), ..DiscoveryConfig::default() };
    let (first, dht) = (PeerDiscovery::new(config()), Scripted::new(SourceKind::Dht));
    first.restore().await;
    first.register(dht.clone()).await;
    let mut search = first.search(&key("file"));
    dht.find(&key("file"), &peer("a", &["/ip4/8.8.8.8/tcp/1"], SourceKind::Dht)).await;
    let found = search.recv().await.expect("found");
    first.record_success(&PeerId::from_text("a"), None);
    first.stop().await;

    let warned = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&warned);
    let on_event: dig_nat_core::discovery::manager::EventSink = Arc::new(move |event| {
        if let Event::Warning { error } = event {
            seen.lock().expect("whole").push(error.message);
        }
    });
    let second = PeerDiscovery::new(config());
    second.restore().await;
    let again = second.search(&key("file")).recv().await.expect("known without any source");
    assert_eq!((again.id, again.addresses, again.source), (found.id, found.addresses, SourceKind::Dht));
    assert!(second.known_for(&key("another")).is_empty());
    second.stop().await;

    // A damaged file is set aside with a warning, and the node starts without it.
    let mut text = std::fs::read_to_string(&file).expect("written");
    text.insert(text.len() / 2, 'x');
    std::fs::write(&file, text).expect("damaged");
    let third = PeerDiscovery::new(DiscoveryConfig { on_event: Some(on_event), ..config() });
    third.restore().await;
    assert!(third.known_peers().is_empty());
    assert!(file.with_extension("damaged").exists());
    assert_eq!(warned.lock().expect("whole").len(), 1);
    third.stop().await;
}

#[tokio::test]
async fn watched_keys_are_searched_and_the_least_wanted_gives_way() {
    let bounds = Bounds { peers: 10, keys: 2, peers_per_key: 10 };
    let discovery = PeerDiscovery::new(DiscoveryConfig { bounds, ..DiscoveryConfig::default() });
    let gun = Scripted::new(SourceKind::Gun);
    discovery.register(gun.clone()).await;
    assert!(discovery.watch(&key("low"), Priority::Low));
    assert!(discovery.watch(&key("high"), Priority::High));
    gun.find(&key("low"), &peer("a", &["/ip4/8.8.8.8/tcp/1"], SourceKind::Gun)).await;
    until(|| discovery.known_for(&key("low")).len() == 1, "what a background search finds is known").await;
    assert!(discovery.watch(&key("medium"), Priority::Medium), "it takes the place of the low one");
    let expected: BTreeSet<_> = [key("high"), key("medium")].into();
    until(|| gun.searched() == expected, "two are searched for").await;
    assert!(!discovery.watch(&key("low"), Priority::Low), "nobody gives way to it");
    assert!(discovery.unwatch(&key("medium")) && !discovery.unwatch(&key("medium")));
    until(|| gun.searched() == [key("high")].into(), "one is left").await;
    discovery.stop().await;
    assert!(!discovery.watch(&key("late"), Priority::High));
}

#[tokio::test]
async fn background_searches_are_bounded_whatever_is_remembered() {
    let bounds = Bounds { peers: 10, keys: 2 * limits::MAX_WATCHED_KEYS, peers_per_key: 10 };
    let discovery = PeerDiscovery::new(DiscoveryConfig { bounds, ..DiscoveryConfig::default() });
    let numbered = |number: usize| key(&format!("number {number}"));
    for number in 0..limits::MAX_WATCHED_KEYS + 5 {
        assert!(discovery.watch(&numbered(number), Priority::Low));
    }
    let left = (0..limits::MAX_WATCHED_KEYS + 5).filter(|number| discovery.unwatch(&numbered(*number)));
    assert_eq!(left.collect::<Vec<_>>(), (5..limits::MAX_WATCHED_KEYS + 5).collect::<Vec<_>>());
    discovery.stop().await;
}

#[tokio::test]
async fn a_priority_decides_who_is_told() {
    let discovery = PeerDiscovery::new(DiscoveryConfig::default());
    let [local, dht, gun] = [SourceKind::Local, SourceKind::Dht, SourceKind::Gun].map(Scripted::new);
    discovery.register(local.clone()).await;
    discovery.register(dht.clone()).await;
    discovery.announce(&key("low"), Priority::Low).await;
    discovery.announce(&key("medium"), Priority::Medium).await;
    discovery.announce(&key("high"), Priority::High).await;
    // Who comes later hears of what concerns it.
    discovery.register(gun.clone()).await;
    assert_eq!(local.announced(), [key("low"), key("medium"), key("high")].into());
    assert_eq!(dht.announced(), [key("medium"), key("high")].into());
    assert_eq!(gun.announced(), [key("high")].into());
    discovery.announce(&key("high"), Priority::Low).await;
    assert_eq!(local.announced().len(), 3);
    assert!(dht.announced() == [key("medium")].into() && gun.announced().is_empty());
    discovery.stop().await;
}

#[tokio::test]
async fn strangers_cannot_lead_into_our_network() {
    for local_only in [false, true] {
        let discovery = PeerDiscovery::new(DiscoveryConfig { local_only, ..DiscoveryConfig::default() });
        let dht = Scripted::new(SourceKind::Dht);
        discovery.register(dht.clone()).await;
        let mut search = discovery.search(&key("file"));
        let (home, world) = ("/ip4/192.168.1.1/tcp/80", "/ip4/8.8.8.8/tcp/1");
        let (metadata, here) = ("/ip4/169.254.169.254/tcp/80", "/ip4/127.0.0.1/tcp/22");
        dht.find(&key("file"), &peer("liar", &[home, metadata, here, world], SourceKind::Dht)).await;
        let found = search.recv().await.expect("found");
        let mut expected = if local_only { vec![home, here, world] } else { vec![world] };
        expected.sort_unstable();
        let mut addresses = found.addresses;
        addresses.sort_unstable();
        assert_eq!(addresses, expected, "local only: {local_only}");
        discovery.stop().await;
    }
}
