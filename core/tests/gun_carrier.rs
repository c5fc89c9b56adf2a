//! Two nodes that share nothing but a Gun relay: they reach each other by letters, or pass their bytes through it. And
//! letters that are forged, shown again, meant for others, or too many. Not here: the form and order of what they write
//! (`nat::carrier`).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dig_nat_core::ErrorKind;
use dig_nat_core::api::{FileClient, FileHost, Message, NetworkManager};
use dig_nat_core::base::events::Event;
use dig_nat_core::base::ids::{ContentKey, PeerId};
use dig_nat_core::base::limits;
use dig_nat_core::base::options::{
    AddFileOptions, ClientOptions, ConnectOptions, DownloadOptions, HostOptions, NodeOptions,
};
use dig_nat_core::fabric::carrier::{LetterSignal, Passage, PassageKey, Post};
use dig_nat_core::fabric::{Identity, Signer};
use dig_nat_core::gun::{Cell, Entry, GunBackend, GunClient, GunClientConfig, GunRelay, GunRelayConfig, Update, Value};
use dig_nat_core::nat::carrier::{Letter, inbox, ring, slot};
use dig_nat_core::nat::signal::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Longest any single step may take; generous, because the machine may be busy.
const DEADLINE: Duration = Duration::from_secs(60);

async fn within<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, what).await.expect("within the deadline")
}

/// A node on loopback that knows nothing but a Gun relay.
fn options(url: &str) -> NodeOptions {
    NodeOptions {
        local_only: true,
        interfaces: vec!["lo".into()],
        local_enabled: false,
        dht_enabled: false,
        pex_enabled: false,
        gun_enabled: true,
        gun_peers: vec![url.to_owned()],
        ..NodeOptions::default()
    }
}

async fn node(url: &str) -> NetworkManager {
    let node = NetworkManager::new(options(url), ClientOptions::default()).expect("valid");
    within(node.start()).await.expect("started");
    node
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_share_only_a_gun_relay_reach_each_other() {
    let relay = GunRelay::start(GunRelayConfig::default()).await.expect("started");
    let url = relay.url();
    // Somebody tells them the endpoints of their ports; it knows neither of their names.
    let stun = node(&url).await;
    let with_stun = || async {
        let stun_servers = vec![format!("127.0.0.1:{}", stun.port())];
        let node = NetworkManager::new(NodeOptions { stun_servers, ..options(&url) }, ClientOptions::default());
        let node = node.expect("valid");
        let mut events = node.subscribe();
        within(node.start()).await.expect("started");
        // Who is reached before it knows its endpoints has nothing to name, and the relay carries the first bytes.
        while !matches!(within(events.next()).await.expect("runs"), Event::NatDetected { .. }) {}
        node
    };
    let (one, other) = (with_stun().await, with_stun().await);
    let peer = other.peer_id().expect("runs");
    let (connection, way) =
        within(one.connect_to_peer(peer.as_str(), ConnectOptions::default())).await.expect("reached by letters");
    assert_eq!(way.peer, peer);
    // All are on this machine, as is the relay, so their letters may name loopback addresses.
    assert!(!way.relayed, "{way:?}");
    let message = Message { kind: String::new(), text: true, data: Bytes::from_static(b"by letter") };
    connection.send(message).await.expect("sent");
    let accepted = within(other.accept()).await.expect("it runs");
    assert_eq!(within(accepted.receive()).await.expect("open").expect("sent").data, "by letter");
    within(one.stop()).await.expect("stopped");
    within(other.stop()).await.expect("stopped");
    within(stun.stop()).await.expect("stopped");
    within(relay.stop()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_reads_no_letters_is_given_up() {
    let relay = GunRelay::start(GunRelayConfig::default()).await.expect("started");
    let url = relay.url();
    let one = node(&url).await;
    let absent = Signer::load(&Identity::Generated).expect("a key").peer();
    let timeout = ConnectOptions { timeout_ms: 60_000, ..ConnectOptions::default() };
    let error = within(one.connect_to_peer(absent.as_str(), timeout)).await.err().expect("nobody is there");
    assert_eq!(error.kind(), ErrorKind::PeerUnreachable);
    assert!(error.full_message().contains("does not answer over Gun"), "{}", error.full_message());
    within(one.stop()).await.expect("stopped");
    within(relay.stop()).await;
}

/// A node's letters without the node.
struct Writer {
    post: Post,
    peer: PeerId,
    signer: Signer,
    backend: Arc<GunClient>,
    arrivals: mpsc::Receiver<(PeerId, LetterSignal)>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Writer {
    fn start(url: &str) -> Self {
        let backend = GunClient::start(GunClientConfig { peers: vec![url.to_owned()], ..GunClientConfig::default() });
        let backend = backend.expect("a valid URL");
        let signer = Signer::load(&Identity::Generated).expect("a key");
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let post = Post::new(backend.clone(), signer.clone(), tasks.clone(), stop.clone()).expect("Ed25519");
        let (told, arrivals) = mpsc::channel(limits::MAX_MEETINGS);
        let running = post.clone();
        tasks.spawn(async move { running.run(told).await });
        Self { post, peer: signer.peer(), signer, backend, arrivals, tasks, stop }
    }

    async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        within(self.tasks.wait()).await;
        within(self.backend.stop()).await;
    }

    /// Writes anything into an inbox.
    async fn put(&self, inbox_of: &PeerId, key: &str, text: &str) {
        let entry = Entry::Value(Cell { value: Value::Text(text.to_owned()), state: 0.0 });
        let path = [inbox(inbox_of), key.to_owned()];
        within(self.backend.put(&path, entry, DEADLINE)).await.expect("the relay takes anything");
    }

    /// The first letter that lies in an inbox, with its slot.
    async fn letter(&self, inbox_of: &PeerId) -> (String, Letter) {
        let mut updates = self.backend.subscribe(&[inbox(inbox_of)]).expect("room");
        loop {
            let Update { key, entry } = within(updates.recv()).await.expect("runs");
            if let Entry::Value(Cell { value: Value::Text(text), .. }) = entry
                && let Some(letter) = Letter::decode(&text)
            {
                return (key, letter);
            }
        }
    }
}

async fn say(signal: &mut LetterSignal, text: &str) {
    within(signal.send(Bytes::copy_from_slice(text.as_bytes()))).await.expect("open");
}

async fn hears(signal: &mut LetterSignal) -> String {
    let message = within(signal.receive()).await.expect("open");
    String::from_utf8(message.to_vec()).expect("text")
}

#[tokio::test(flavor = "multi_thread")]
async fn many_messages_pass_in_order_through_few_slots() {
    const MESSAGES: usize = 100;
    let relay = GunRelay::start(GunRelayConfig::default()).await.expect("started");
    let url = relay.url();
    let (one, mut other) = (Writer::start(&url), Writer::start(&url));
    let mut here = one.post.open(&other.peer).expect("room");
    say(&mut here, "0").await;
    let (from, mut there) = within(other.arrivals.recv()).await.expect("a session");
    assert_eq!(from, one.peer);
    // One side speaks and the other only reads, so what was read must be said in letters without a message.
    let speaking = async {
        for number in 1..MESSAGES {
            say(&mut here, &number.to_string()).await;
        }
    };
    let hearing = async {
        for number in 0..MESSAGES {
            assert_eq!(hears(&mut there).await, number.to_string());
        }
    };
    tokio::join!(speaking, hearing);
    say(&mut there, "answer").await;
    assert_eq!(hears(&mut here).await, "answer");
    drop(there);
    assert_eq!(within(here.receive()).await.expect_err("told").kind(), ErrorKind::ConnectionClosed);
    let text = within(one.backend.once(&[inbox(&other.peer)], DEADLINE)).await.expect("runs").expect("there");
    assert!(text.len() <= limits::GUN_LETTER_SLOTS as usize, "{} slots", text.len());
    one.stop().await;
    other.stop().await;
    within(relay.stop()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_that_are_forged_shown_again_or_for_others_are_refused() {
    let relay = GunRelay::start(GunRelayConfig::default()).await.expect("started");
    let url = relay.url();
    let (one, mut other, mut third) = (Writer::start(&url), Writer::start(&url), Writer::start(&url));
    let mut here = one.post.open(&other.peer).expect("room");
    say(&mut here, "first").await;
    let (_, mut there) = within(other.arrivals.recv()).await.expect("a session");
    assert_eq!(hears(&mut there).await, "first");
    let (_, letter) = third.letter(&other.peer).await;
    // The relay shows it again, in another slot.
    third.put(&other.peer, "again.0.0", &letter.encode()).await;
    // To somebody else: the seal and the signature are for the first receiver.
    third.put(&third.peer, &slot(&one.peer, 0, 0), &letter.encode()).await;
    // In the name of the first sender, by another key.
    let mut forged = Letter { number: 1, ..letter.clone() };
    forged.signature = third.signer.sign(&forged.signed(&other.peer)).expect("signed");
    third.put(&other.peer, "forged.0.1", &forged.encode()).await;
    // By its own key, with a body that it cannot read.
    let mut stolen = Letter { from: third.peer.clone(), ..letter.clone() };
    stolen.signature = third.signer.sign(&stolen.signed(&other.peer)).expect("signed");
    third.put(&other.peer, "stolen.0.0", &stolen.encode()).await;
    // And a session of another name.
    let mut renamed = letter.clone();
    renamed.session.0[0] ^= 1;
    third.put(&other.peer, "renamed.0.0", &renamed.encode()).await;
    third.put(&other.peer, "nonsense", "{\"v\":1}").await;
    say(&mut here, "second").await;
    assert_eq!(hears(&mut there).await, "second", "nothing in between");
    // Everything above lay in the inboxes before this, and relays keep the order of one writer.
    let mut honest = third.post.open(&other.peer).expect("room");
    say(&mut honest, "mine").await;
    let (from, mut opened) = within(other.arrivals.recv()).await.expect("a session");
    assert_eq!((from, hears(&mut opened).await), (third.peer.clone(), "mine".to_owned()));
    assert!(other.arrivals.try_recv().is_err(), "no other session began");
    assert!(third.arrivals.try_recv().is_err(), "a letter for others begins nothing");
    for writer in [one, other, third] {
        writer.stop().await;
    }
    within(relay.stop()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_inbox_still_brings_letters() {
    let relay = GunRelay::start(GunRelayConfig::default()).await.expect("started");
    let url = relay.url();
    let (one, mut other, flooder) = (Writer::start(&url), Writer::start(&url), Writer::start(&url));
    // More than a client remembers of one node.
    let fields = 2 * limits::MAX_GUN_NODE_FIELDS;
    for start in (0..fields).step_by(limits::GUN_PUT_FIELDS) {
        let cell = |number| (format!("junk.{number}"), Cell { value: Value::Text("{}".into()), state: 0.0 });
        let record = (start..start + limits::GUN_PUT_FIELDS).map(cell).collect();
        let put = flooder.backend.put(&[inbox(&other.peer)], Entry::Record(record), DEADLINE);
        within(put).await.expect("the relay takes anything");
    }
    let mut here = one.post.open(&other.peer).expect("room");
    say(&mut here, "through").await;
    let (from, mut there) = within(other.arrivals.recv()).await.expect("a session");
    assert_eq!((from, hears(&mut there).await), (one.peer.clone(), "through".to_owned()));
    // Sessions are bounded by their number with one peer.
    let mut sessions = Vec::new();
    while let Ok(session) = one.post.open(&other.peer) {
        sessions.push(session);
        assert!(sessions.len() <= usize::from(limits::GUN_LANES));
    }
    assert_eq!(one.post.open(&other.peer).err().expect("too many").kind(), ErrorKind::LimitReached);
    drop(sessions);
    let rsa = PeerId::from_text("QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N");
    assert_eq!(one.post.open(&rsa).err().expect("no Ed25519 key").kind(), ErrorKind::InvalidArgument);
    for writer in [one, other, flooder] {
        writer.stop().await;
    }
    within(relay.stop()).await;
}

/// Nodes without a common transport: no address of one is of use to the other.
fn apart(url: &str, tcp: bool) -> NodeOptions {
    NodeOptions { enable_tcp: tcp, enable_udp: !tcp, ..options(url) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_comes_through_the_relay_where_nothing_else_works() {
    const BYTES: u32 = 3_000_000;
    let relay = GunRelay::start(GunRelayConfig::default()).await.expect("started");
    let url = relay.url();
    let folder = tempfile::tempdir().expect("a folder");
    let content: Vec<u8> = (0..BYTES).map(|number| (number.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let path = folder.path().join("shared.bin");
    std::fs::write(&path, &content).expect("written");
    let host = FileHost::new(apart(&url, true), HostOptions::default()).expect("valid");
    within(host.start()).await.expect("started");
    let hash = within(host.add_file(&path, AddFileOptions::default()).wait()).await.expect("shared").hash;
    let client = FileClient::new(apart(&url, false), ClientOptions::default()).expect("valid");
    let mut events = client.subscribe();
    let target = folder.path().join("copy.bin");
    let order = DownloadOptions { save_path: Some(target.clone()), timeout_ms: 60_000, ..DownloadOptions::default() };
    within(client.download(ContentKey::Hash(hash), order, None).wait()).await.expect("fetched");
    assert!(std::fs::read(&target).expect("there") == content);
    let connected = within(async {
        loop {
            if let Some(Event::PeerConnected { connection_type, .. }) = events.next().await {
                return connection_type;
            }
        }
    });
    assert_eq!(connected.await, "gun-relay");
    // Two rings and the letters, whatever passed.
    let ring = limits::GUN_RING_SLOTS as usize * limits::GUN_PIECE_BYTES * 4 / 3;
    assert!(relay.bytes() < 2 * ring + 200_000, "{} bytes in the graph", relay.bytes());
    within(client.stop()).await.expect("stopped");
    within(host.stop()).await.expect("stopped");
    // Both took their slots away.
    assert!(relay.bytes() < 100_000, "{} bytes are left in the graph", relay.bytes());
    within(relay.stop()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_cannot_break_a_passage() {
    const BYTES: usize = 200_000;
    let relay = GunRelay::start(GunRelayConfig::default()).await.expect("started");
    let url = relay.url();
    let stranger = Writer::start(&url);
    let (one, other) = (Writer::start(&url), Writer::start(&url));
    let key = PassageKey::random();
    let (here, mut near) = Passage::open(one.backend.clone(), &key, true).expect("listens");
    let (there, mut far) = Passage::open(other.backend.clone(), &key, false).expect("listens");
    for (passage, writer) in [(here, &one), (there, &other)] {
        writer.tasks.spawn(passage.run(writer.stop.clone()));
    }
    // Whoever sees the graph knows the names of the slots, and writes into them before and while bytes pass.
    let forging = async {
        for number in 0..100_u64 {
            let forged = ring::encode(number, &[0; 100]);
            for soul in [ring::pieces(&format!("{}0", key.session)), ring::receipts(&format!("{}0", key.session))] {
                let entry = Entry::Value(Cell { value: Value::Text(forged.clone()), state: 0.0 });
                let _ = stranger.backend.put(&[soul, ring::piece_slot(number)], entry, DEADLINE).await;
            }
        }
    };
    let content: Vec<u8> = (0..BYTES).map(|number| (number / 7) as u8).collect();
    let sending = async {
        near.write_all(&content).await.expect("open");
        near.shutdown().await.expect("open");
    };
    let receiving = async {
        let mut got = Vec::new();
        far.read_to_end(&mut got).await.expect("to the end");
        got
    };
    let ((), (), got) = within(async { tokio::join!(forging, sending, receiving) }).await;
    assert!(got == content, "{} of {BYTES} bytes", got.len());
    // And back over the other ring.
    far.write_all(b"answer").await.expect("open");
    far.shutdown().await.expect("open");
    let mut answer = String::new();
    within(near.read_to_string(&mut answer)).await.expect("to the end");
    assert_eq!(answer, "answer");
    for writer in [one, other, stranger] {
        writer.stop().await;
    }
    within(relay.stop()).await;
}
