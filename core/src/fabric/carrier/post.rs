//! The post office of a node: reads its inbox, writes letters, and gives each session to whoever works on it. Not here:
//! which letters are taken in which order (`nat::carrier::mailbox`).

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::seal::{self, Secret};
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::ids::PeerId;
use crate::base::limits;
use crate::fabric::{Signer, is_ed25519, verify};
use crate::gun::{Cell, Entry, GunBackend, Record, Value};
use crate::nat::carrier::letter::Says;
use crate::nat::carrier::{Arrival, Content, Letter, Mailbox, Number, Refusal, SessionId, Standing, inbox, slot};
use crate::nat::signal::Signal;
use crate::net::clock::unix_ms;
use crate::store::state_file;

const VERSION: u32 = 1;

/// What is written down: peers, sessions, and the latest dates of their letters.
type Begun = Vec<(String, [u8; 16], u64)>;

/// The letters of one node. Clones are the same post office; it ends with the token given at the start.
#[derive(Clone)]
pub struct Post {
    shared: Arc<Shared>,
}

struct Shared {
    backend: Arc<dyn GunBackend>,
    signer: Signer,
    secret: Secret,
    own: PeerId,
    state: Mutex<State>,
    tasks: TaskTracker,
    stop: CancellationToken,
    /// Where sessions that were begun are written down.
    file: OnceLock<PathBuf>,
    begun: Notify,
}

#[derive(Default)]
struct State {
    mailbox: Mailbox,
    /// Sessions that somebody works on.
    desks: HashMap<(PeerId, SessionId), Desk>,
    /// Lanes in use towards a peer, one bit each.
    lanes: HashMap<PeerId, u16>,
    /// Where the search for a free lane begins, so that the one just used rests longest.
    next_lane: u8,
    /// Lanes are counted from here.
    first_lane: u8,
    ended: bool,
}

/// How a session reaches its user.
struct Desk {
    messages: mpsc::Sender<Bytes>,
    /// Told when the peer has read something, and at the end.
    read: Arc<Notify>,
}

impl Post {
    /// A post office over a graph. Nothing is read before [`run`](Self::run). Errors: `InvalidState` when the node's key is
    /// not Ed25519.
    pub fn new(
        backend: Arc<dyn GunBackend>,
        signer: Signer,
        tasks: TaskTracker,
        stop: CancellationToken,
    ) -> Result<Self> {
        let (secret, own) = (Secret::of(&signer)?, signer.peer());
        let state = Mutex::new(State { next_lane: rand::random(), ..State::default() });
        let (file, begun) = (OnceLock::new(), Notify::new());
        Ok(Self { shared: Arc::new(Shared { backend, signer, secret, own, state, tasks, stop, file, begun }) })
    }

    /// From now on, sessions that peers begin are written to this file, so that a node that starts again does not answer
    /// letters that it has answered: relays show them as long as they lie there. What an earlier run has written is read
    /// first. To be called before [`run`](Self::run). Errors: `Io`. Blocks on the disk.
    pub fn remember_in(&self, file: PathBuf) -> Result<()> {
        let most = limits::MAX_GUN_SESSIONS as u64 * limits::GUN_BEGUN_BYTES;
        let before = state_file::read::<Begun>(&file, VERSION, most)?.state().unwrap_or_default();
        let now_ms = self.shared.now_ms();
        let mut state = self.shared.lock();
        for (peer, session, latest_ms) in before {
            state.mailbox.remember(now_ms, &PeerId::from_text(&peer), SessionId(session), latest_ms);
        }
        drop(state);
        let twice = |_| Error::new(ErrorKind::InvalidState, "letters over Gun are written down elsewhere");
        self.shared.file.set(file).map_err(twice)
    }

    /// For a key that many posts use, one after the other: each counts its lanes from somewhere else, so that what one of
    /// them takes away in the end is not what the next one wrote.
    pub(super) fn anywhere(self) -> Self {
        self.shared.lock().first_lane = rand::random();
        self
    }

    /// Reads the inbox until the stop, or until the backend ends. Sessions that peers begin are handed out; those for
    /// which there is no room end at once, and those of a closed channel are left to others with the same key.
    pub async fn run(&self, arrivals: mpsc::Sender<(PeerId, LetterSignal)>) {
        let reading = async {
            let mut updates = match self.shared.backend.subscribe(&[inbox(&self.shared.own)]) {
                Ok(updates) => updates,
                Err(error) => return tracing::warn!(error = %error.full_message(), "no letters over Gun are read"),
            };
            let (mut second, mut looked_at) = (Instant::now(), 0);
            while let Some(update) = updates.recv().await {
                let Entry::Value(Cell { value: Value::Text(text), .. }) = update.entry else { continue };
                looked_at += u32::from(self.shared.read(&text, &arrivals));
                if looked_at >= limits::GUN_LETTERS_PER_SECOND {
                    // The others wait in the backend, the latest of each slot.
                    tokio::time::sleep_until(second + Duration::from_secs(1)).await;
                    (second, looked_at) = (Instant::now(), 0);
                } else if second.elapsed() >= Duration::from_secs(1) {
                    (second, looked_at) = (Instant::now(), 0);
                }
            }
        };
        let keeping = async {
            loop {
                self.shared.begun.notified().await;
                self.shared.save().await;
            }
        };
        let both = async {
            tokio::select! {
                () = reading => {}
                () = keeping => {}
            }
        };
        self.shared.stop.run_until_cancelled(both).await;
        self.shared.end();
        self.shared.save().await;
    }

    /// Begins a session with a peer. Errors: `InvalidArgument` when the peer's id is not an Ed25519 key, `LimitReached`,
    /// `InvalidState` after the end.
    pub fn open(&self, peer: &PeerId) -> Result<LetterSignal> {
        if !is_ed25519(peer) {
            let other = format_args!("{peer} is no Ed25519 key, so nobody can write letters to it over Gun");
            return Err(Error::invalid("peer", other));
        }
        let session = SessionId(rand::random());
        let mut state = self.shared.lock();
        if state.ended {
            return Err(Error::new(ErrorKind::InvalidState, "the letters over Gun have ended"));
        }
        let many = |_: Refusal| Error::new(ErrorKind::LimitReached, format!("too many sessions over Gun with {peer}"));
        state.mailbox.open(self.shared.now_ms(), peer, session).map_err(many)?;
        let Some(lane) = state.lane(peer) else {
            state.mailbox.close(peer, session);
            return Err(many(Refusal::Full));
        };
        let desk = state.desk(peer, session);
        Ok(LetterSignal::new(&self.shared, peer, session, lane, desk))
    }

    /// Sessions in memory, those in use, and bytes that wait for earlier letters; for tests of the bounds.
    pub fn sizes(&self) -> (usize, usize, usize) {
        let state = self.shared.lock();
        let (sessions, held) = state.mailbox.sizes();
        (sessions, state.desks.len(), held)
    }
}

impl State {
    /// A free lane towards a peer, from now on in use.
    fn lane(&mut self, peer: &PeerId) -> Option<u8> {
        let used = self.lanes.entry(peer.clone()).or_default();
        let all = (0..limits::GUN_LANES).map(|offset| self.next_lane.wrapping_add(offset) % limits::GUN_LANES);
        let lane = all.into_iter().find(|lane| *used & (1 << lane) == 0)?;
        *used |= 1 << lane;
        self.next_lane = lane + 1;
        Some(lane)
    }

    fn free_lane(&mut self, peer: &PeerId, lane: u8) {
        if let Some(used) = self.lanes.get_mut(peer) {
            *used &= !(1 << lane);
            if *used == 0 {
                self.lanes.remove(peer);
            }
        }
    }

    fn desk(&mut self, peer: &PeerId, session: SessionId) -> (mpsc::Receiver<Bytes>, Arc<Notify>) {
        let (messages, queue) = mpsc::channel(limits::SIGNAL_QUEUE);
        let read = Arc::new(Notify::new());
        self.desks.insert((peer.clone(), session), Desk { messages, read: read.clone() });
        (queue, read)
    }

    fn close(&mut self, peer: &PeerId, session: SessionId) {
        self.mailbox.close(peer, session);
        if let Some(desk) = self.desks.remove(&(peer.clone(), session)) {
            desk.read.notify_one();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Now, by the clock that the graph is known to have.
    fn now_ms(&self) -> u64 {
        unix_ms().saturating_add_signed(self.backend.clock_offset_ms())
    }

    /// Writes down which sessions were begun, if that is wanted.
    async fn save(&self) {
        let Some(file) = self.file.get().cloned() else { return };
        let begun: Begun = {
            let state = self.lock();
            let all = state.mailbox.begun();
            all.map(|(peer, session, latest_ms)| (peer.as_str().to_owned(), session.0, latest_ms)).collect()
        };
        let written = tokio::task::spawn_blocking(move || state_file::write(&file, VERSION, &begun)).await;
        if let Ok(Err(error)) = written {
            tracing::warn!(error = %error.full_message(), "which letters were answered was not written");
        }
    }

    fn end(&self) {
        let mut state = self.lock();
        state.ended = true;
        for (_, desk) in state.desks.drain() {
            desk.read.notify_one();
        }
    }

    /// Takes what lies in the inbox, if it is a letter. Whether its signature was looked at, which is what costs.
    fn read(self: &Arc<Self>, text: &str, arrivals: &mpsc::Sender<(PeerId, LetterSignal)>) -> bool {
        let Some(letter) = Letter::decode(text) else { return false };
        let standing = self.lock().mailbox.judge(self.now_ms(), &letter);
        let unwanted = standing == Ok(Standing::New) && arrivals.is_closed();
        if standing.is_err() || unwanted || letter.from == self.own {
            return false;
        }
        if !verify(&letter.from, &letter.signed(&self.own), &letter.signature) {
            tracing::debug!(from = %letter.from, "a letter over Gun that its sender has not signed");
            return true;
        }
        let opened = seal::open(&self.secret, &letter.envelope(&self.own), &letter.body);
        let Some(content) = opened.and_then(|text| Content::decode(&text)) else {
            tracing::debug!(from = %letter.from, "a letter over Gun that cannot be read");
            return true;
        };
        if let Some(signal) = self.take(&letter, content, standing == Ok(Standing::New)) {
            // Dropped without a taker, it tells the peer so.
            let _ = arrivals.try_send((letter.from, signal));
        }
        true
    }

    /// Hands on what a genuine letter brings. The session, if it begins one.
    fn take(self: &Arc<Self>, letter: &Letter, content: Content, new: bool) -> Option<LetterSignal> {
        let (peer, session) = (&letter.from, letter.session);
        let mut state = self.lock();
        if state.ended {
            return None;
        }
        let taken = state.mailbox.take(self.now_ms(), letter, content);
        let Ok(arrived) = taken else {
            tracing::debug!(from = %peer, ?taken, new, "no room for a letter over Gun");
            return None;
        };
        let mut begun = None;
        for arrival in arrived {
            match arrival {
                Arrival::Begun => match state.lane(peer) {
                    Some(lane) => begun = Some((lane, state.desk(peer, session))),
                    None => state.close(peer, session),
                },
                Arrival::Message(message) => {
                    let desk = state.desks.get(&(peer.clone(), session));
                    let full = desk.is_some_and(|desk| desk.messages.try_send(message).is_err());
                    if full {
                        // In order or not at all.
                        state.close(peer, session);
                    }
                }
                Arrival::Read => {
                    if let Some(desk) = state.desks.get(&(peer.clone(), session)) {
                        desk.read.notify_one();
                    }
                }
                Arrival::Ended => state.close(peer, session),
            }
        }
        drop(state);
        if begun.is_some() {
            self.begun.notify_one();
        }
        begun.map(|(lane, desk)| LetterSignal::new(self, peer, session, lane, desk))
    }

    /// A letter ready for the inbox of the peer.
    fn write(&self, to: &PeerId, session: SessionId, number: u32, content: &Content) -> Result<String> {
        let (body, signature) = (Vec::new(), Vec::new());
        let mut letter = Letter { from: self.own.clone(), session, number, sent_ms: self.now_ms(), body, signature };
        letter.body = seal::seal(to, rand::random(), &letter.envelope(to), &content.encode())?;
        letter.signature = self.signer.sign(&letter.signed(to))?;
        Ok(letter.encode())
    }
}

/// One end of a session. Dropping it tells the peer, and takes the letters away when the peer had time to read them.
pub struct LetterSignal {
    shared: Arc<Shared>,
    peer: PeerId,
    session: SessionId,
    lane: u8,
    queue: mpsc::Receiver<Bytes>,
    read: Arc<Notify>,
    /// The letters on their way to a relay, by slot.
    slots: Vec<Option<JoinHandle<()>>>,
}

impl LetterSignal {
    fn new(
        shared: &Arc<Shared>,
        peer: &PeerId,
        session: SessionId,
        lane: u8,
        (queue, read): (mpsc::Receiver<Bytes>, Arc<Notify>),
    ) -> Self {
        let slots = (0..limits::GUN_LETTER_SLOTS).map(|_| None).collect();
        Self { shared: shared.clone(), peer: peer.clone(), session, lane, queue, read, slots }
    }

    fn number(&self, with_message: bool) -> Number {
        self.shared.lock().mailbox.number(&self.peer, self.session, with_message)
    }

    /// Puts a letter into its slot, after the one that was there before.
    fn post(&mut self, number: u32, content: &Content) -> Result<()> {
        let text = self.shared.write(&self.peer, self.session, number, content)?;
        let place = (number % limits::GUN_LETTER_SLOTS) as usize;
        let before = self.slots[place].take();
        let path = [inbox(&self.peer), slot(&self.shared.own, self.place(), number)];
        let shared = self.shared.clone();
        self.slots[place] = Some(self.shared.tasks.spawn(async move {
            if let Some(before) = before {
                let _ = before.await;
            }
            let entry = Entry::Value(Cell { value: Value::Text(text), state: 0.0 });
            let putting = shared.backend.put(&path, entry, limits::GUN_LETTER_TIMEOUT);
            if let Some(Err(error)) = shared.stop.run_until_cancelled(putting).await {
                tracing::debug!(error = %error.full_message(), "a letter over Gun");
            }
        }));
        Ok(())
    }

    /// The lane as it stands in the inbox.
    fn place(&self) -> u8 {
        self.lane.wrapping_add(self.shared.lock().first_lane)
    }

    /// Waits for a free number of a message.
    async fn free_number(&self) -> Result<(u32, u32)> {
        let deadline = Instant::now() + limits::GUN_LETTER_STALL;
        loop {
            match self.number(true) {
                Number::Free { number, read } => return Ok((number, read)),
                Number::Gone => return Err(closed()),
                Number::Wait => {}
            }
            let late = |_| Error::new(ErrorKind::ConnectionClosed, "signalling: the other side reads no letters");
            tokio::time::timeout_at(deadline, self.read.notified()).await.map_err(late)?;
        }
    }
}

impl Signal for LetterSignal {
    fn send(&mut self, message: Bytes) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            if message.len() > limits::MAX_SIGNAL_BYTES {
                return Err(Error::invalid("message", format_args!("{} bytes are too many", message.len())));
            }
            let (number, read) = self.free_number().await?;
            self.post(number, &Content { read, says: Says::Message(message) })
        })
    }

    fn receive(&mut self) -> BoxFuture<'_, Result<Bytes>> {
        Box::pin(async move {
            let message = self.queue.recv().await.ok_or_else(closed)?;
            let owes = self.shared.lock().mailbox.owes(&self.peer, self.session);
            if owes && let Number::Free { number, read } = self.number(false) {
                self.post(number, &Content { read, says: Says::Read })?;
            }
            Ok(message)
        })
    }
}

impl Drop for LetterSignal {
    fn drop(&mut self) {
        if let Number::Free { number, read } = self.number(false)
            && let Err(error) = self.post(number, &Content { read, says: Says::End })
        {
            tracing::debug!(error = %error.full_message(), "the end of a session over Gun");
        }
        let (shared, peer, lane, in_inbox) = (self.shared.clone(), self.peer.clone(), self.lane, self.place());
        shared.lock().close(&peer, self.session);
        let used = self.slots.iter_mut().enumerate().filter_map(|(place, put)| Some((place as u32, put.take()?)));
        let (places, puts): (Vec<u32>, Vec<JoinHandle<()>>) = used.unzip();
        self.shared.tasks.spawn(async move {
            let clearing = async {
                for put in puts {
                    let _ = put.await;
                }
                tokio::time::sleep(limits::GUN_LETTER_LINGER).await;
                let gone = |place: &u32| (slot(&shared.own, in_inbox, *place), Cell { value: Value::Null, state: 0.0 });
                let empty: Record = places.iter().map(gone).collect();
                if !empty.is_empty() {
                    let entry = Entry::Record(empty);
                    let _ = shared.backend.put(&[inbox(&peer)], entry, limits::GUN_LETTER_TIMEOUT).await;
                }
            };
            shared.stop.run_until_cancelled(clearing).await;
            shared.lock().free_lane(&peer, lane);
        });
    }
}

fn closed() -> Error {
    Error::new(ErrorKind::ConnectionClosed, "signalling: the other side is gone")
}
