//! Letters over Gun of nodes whose clocks are known to be wrong, and of nodes that start again. Not here: who may write which
//! letters, and what they lead to (`gun_carrier`).

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dig_nat_core::base::ids::PeerId;
use dig_nat_core::base::limits;
use dig_nat_core::fabric::carrier::{LetterSignal, Post};
use dig_nat_core::fabric::{Identity, Signer};
use dig_nat_core::gun::{Cell, Entry, GunBackend, GunClient, GunClientConfig, GunRelay, GunRelayConfig, Update, Value};
use dig_nat_core::nat::carrier::{Letter, inbox};
use dig_nat_core::nat::signal::Signal;
use dig_nat_core::net::clock::unix_ms;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Longest any single step may take; generous, because the machine may be busy.
const DEADLINE: Duration = Duration::from_secs(60);
const MINUTE_MS: i64 = 60_000;

async fn within<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, what).await.expect("within the deadline")
}

fn key() -> Signer {
    Signer::load(&Identity::Generated).expect("a key")
}

/// A node's letters without the node.
struct Node {
    post: Post,
    peer: PeerId,
    backend: Arc<GunClient>,
    arrivals: mpsc::Receiver<(PeerId, LetterSignal)>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Node {
    /// The offset is what it knows of its clock.
    fn start(relay: &GunRelay, signer: &Signer, clock_offset_ms: i64, kept: Option<&Path>) -> Self {
        let peers = vec![relay.url()];
        let backend = GunClient::start(GunClientConfig { peers, clock_offset_ms, ..GunClientConfig::default() });
        let backend = backend.expect("a valid URL");
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let post = Post::new(backend.clone(), signer.clone(), tasks.clone(), stop.clone()).expect("Ed25519");
        if let Some(kept) = kept {
            post.remember_in(kept.join("letters.json")).expect("it can be read");
        }
        let (told, arrivals) = mpsc::channel(limits::MAX_MEETINGS);
        let running = post.clone();
        tasks.spawn(async move { running.run(told).await });
        Self { post, peer: signer.peer(), backend, arrivals, tasks, stop }
    }

    async fn write(&self, to: &PeerId, text: &'static str) -> LetterSignal {
        let mut signal = self.post.open(to).expect("room");
        within(signal.send(Bytes::from_static(text.as_bytes()))).await.expect("open");
        signal
    }

    /// The next session that a peer begins, and its first words.
    async fn hears(&mut self) -> (PeerId, LetterSignal, String) {
        let (from, mut signal) = within(self.arrivals.recv()).await.expect("runs");
        let message = within(signal.receive()).await.expect("open");
        (from, signal, String::from_utf8(message.to_vec()).expect("text"))
    }

    /// The first letter of a peer that lies in an inbox.
    async fn letter(&self, inbox_of: &PeerId, from: &PeerId) -> Letter {
        let mut updates = self.backend.subscribe(&[inbox(inbox_of)]).expect("room");
        loop {
            let Update { entry, .. } = within(updates.recv()).await.expect("runs");
            if let Entry::Value(Cell { value: Value::Text(text), .. }) = entry
                && let Some(letter) = Letter::decode(&text).filter(|letter| letter.from == *from)
            {
                return letter;
            }
        }
    }

    async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        within(self.tasks.wait()).await;
        within(self.backend.stop()).await;
    }
}

/// Nobody can set this machine's clock for a test. So all here know of their clocks that they are twenty minutes fast, which
/// must be on every letter and in every judgement; whoever does not know so is twenty minutes away from them.
#[tokio::test(flavor = "multi_thread")]
async fn letters_are_dated_and_judged_by_the_corrected_clock() {
    let relay = GunRelay::start(GunRelayConfig::default()).await.expect("started");
    let offset = -20 * MINUTE_MS;
    let (one, mut other) = (Node::start(&relay, &key(), offset, None), Node::start(&relay, &key(), offset, None));
    let mut unaware = Node::start(&relay, &key(), 0, None);
    let here = one.write(&other.peer, "at the same time").await;
    let letter = unaware.letter(&other.peer, &one.peer).await;
    let due = unix_ms().saturating_add_signed(offset);
    assert!(letter.sent_ms.abs_diff(due) < 5 * MINUTE_MS as u64, "{} instead of {due}", letter.sent_ms);
    let (from, mut there, text) = other.hears().await;
    assert_eq!((from, text.as_str()), (one.peer.clone(), "at the same time"));
    within(there.send(Bytes::from_static(b"answer"))).await.expect("open");
    // The other way round it is refused: what is heard first is what was written last.
    let refused = one.write(&unaware.peer, "twenty minutes old").await;
    other.letter(&unaware.peer, &one.peer).await;
    let third = Node::start(&relay, &key(), 0, None);
    let taken = third.write(&unaware.peer, "now").await;
    assert_eq!(unaware.hears().await.2, "now");
    drop((here, there, refused, taken));
    for node in [one, other, unaware, third] {
        node.stop().await;
    }
    within(relay.stop()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_starts_again_answers_no_letter_twice_and_every_new_one() {
    let relay = GunRelay::start(GunRelayConfig::default()).await.expect("started");
    let (kept, receiver) = (tempfile::tempdir().expect("a directory"), key());
    let writer = Node::start(&relay, &key(), 0, None);
    let mut before = Node::start(&relay, &receiver, 0, Some(kept.path()));
    let first = writer.write(&before.peer, "first").await;
    let (_, answered, text) = before.hears().await;
    assert_eq!(text, "first");
    before.stop().await;
    drop(answered);
    // Written while nobody was there: this one is still to be answered.
    let second = writer.write(&receiver.peer(), "second").await;
    let mut after = Node::start(&relay, &receiver, 0, Some(kept.path()));
    let (_, two, text) = after.hears().await;
    assert_eq!(text, "second", "the first was answered before");
    // When this one is heard, all that lay in the inbox at the start was read.
    let third = writer.write(&after.peer, "third").await;
    let (_, three, text) = after.hears().await;
    assert_eq!(text, "third");
    assert!(after.arrivals.try_recv().is_err(), "nothing else has come");
    // Who remembers nothing answers the first again, so it did lie there all the time.
    let mut forgetful = Node::start(&relay, &receiver, 0, None);
    let mut again = Vec::new();
    while !again.contains(&"first".to_owned()) {
        let (_, signal, text) = forgetful.hears().await;
        again.push(text);
        drop(signal);
    }
    drop((first, second, third, two, three));
    for node in [writer, after, forgetful] {
        node.stop().await;
    }
    within(relay.stop()).await;
}
