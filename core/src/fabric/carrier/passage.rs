//! A passage: the bytes of one link through a Gun graph, as a ring of sealed slots in each direction. Not here: which
//! slot is free and what is in order (`nat::carrier::ring`), and what the bytes are (`transport`).

use std::fmt;
use std::sync::Arc;

use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::seal;
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::limits;
use crate::gun::{Cell, Entry, GunBackend, Record, Update, Value};
use crate::nat::carrier::ring::{self, Incoming, Outgoing};
use crate::net::clock::Clock;

/// What both ends of a passage know, and nobody else; goes over sealed signalling.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PassageKey {
    /// Its public name: letters and digits.
    pub session: String,
    /// What its ciphers are derived from, in hex.
    pub secret: String,
}

/// One end, ready to run.
pub struct Passage {
    sending: Sending,
    receiving: Receiving,
}

struct Sending {
    backend: Arc<dyn GunBackend>,
    inner: ReadHalf<DuplexStream>,
    session: String,
    pieces: seal::Stream,
    receipts: seal::Stream,
    receipts_in: mpsc::Receiver<Update>,
}

struct Receiving {
    backend: Arc<dyn GunBackend>,
    inner: WriteHalf<DuplexStream>,
    session: String,
    pieces: seal::Stream,
    receipts: seal::Stream,
    pieces_in: mpsc::Receiver<Update>,
}

impl fmt::Debug for PassageKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PassageKey({})", self.session)
    }
}

impl PassageKey {
    /// A new one.
    pub fn random() -> Self {
        let hex = |bytes: &[u8]| data_encoding::HEXLOWER.encode(bytes);
        Self { session: hex(&rand::random::<[u8; 16]>()), secret: hex(&rand::random::<[u8; 32]>()) }
    }

    fn secret(&self) -> Result<[u8; 32]> {
        let named = self.session.len() <= 64 && !self.session.is_empty();
        let plain = named && self.session.bytes().all(|letter| letter.is_ascii_alphanumeric());
        let secret = data_encoding::HEXLOWER.decode(self.secret.as_bytes()).ok();
        let secret = secret.filter(|_| plain).and_then(|secret| secret.try_into().ok());
        secret.ok_or_else(|| Error::new(ErrorKind::Protocol, "the key of a passage cannot be used"))
    }
}

impl Passage {
    /// Listens at one end, and gives the stream whose bytes pass. `first`: the end of whoever made the key. Errors:
    /// `Protocol` for a key that cannot be used, those of the graph.
    pub fn open(backend: Arc<dyn GunBackend>, key: &PassageKey, first: bool) -> Result<(Self, DuplexStream)> {
        let secret = key.secret()?;
        let (ours, theirs) = if first { ("0", "1") } else { ("1", "0") };
        let cipher = |of: &str, what: &str| seal::Stream::new(&secret, &format!("{what} {of}"));
        let name = |of: &str| format!("{}{of}", key.session);
        let (outer, inner) = tokio::io::duplex(limits::GUN_PIECE_BYTES);
        let (read, write) = tokio::io::split(inner);
        let sending = Sending {
            inner: read,
            session: name(ours),
            pieces: cipher(ours, "pieces")?,
            receipts: cipher(ours, "receipts")?,
            receipts_in: backend.subscribe(&[ring::receipts(&name(ours))])?,
            backend: backend.clone(),
        };
        let receiving = Receiving {
            inner: write,
            session: name(theirs),
            pieces: cipher(theirs, "pieces")?,
            receipts: cipher(theirs, "receipts")?,
            pieces_in: backend.subscribe(&[ring::pieces(&name(theirs))])?,
            backend,
        };
        Ok((Self { sending, receiving }, outer))
    }

    /// Moves bytes until both directions have ended, the stream was dropped, or `stop`; then takes the slots away.
    pub async fn run(self, stop: CancellationToken) {
        let Self { sending, receiving } = self;
        let (backend, sent, got) = (sending.backend.clone(), sending.session.clone(), receiving.session.clone());
        let over = CancellationToken::new();
        // The end of one direction is no end of the other.
        let both = async { tokio::join!(sending.run(&over), receiving.run(&over)) };
        let outcome = stop.run_until_cancelled(both).await;
        tracing::debug!(?outcome, "a passage through Gun ended");
        let slots = |name: fn(u64) -> String| {
            let null = || Cell { value: Value::Null, state: 0.0 };
            (0..limits::GUN_RING_SLOTS).map(|slot| (name(slot), null())).collect::<Record>()
        };
        let gone = [(ring::pieces(&sent), slots(ring::piece_slot)), (ring::receipts(&got), slots(ring::receipt_slot))];
        let clearing = gone.map(|(soul, empty)| {
            let backend = backend.clone();
            async move { backend.put(&[soul], Entry::Record(empty), limits::GUN_PIECE_TIMEOUT).await }
        });
        futures::future::join_all(clearing).await;
    }
}

/// Text of an update, with the number before it.
fn numbered(update: &Update) -> Option<(u64, Vec<u8>)> {
    match &update.entry {
        Entry::Value(Cell { value: Value::Text(text), .. }) => ring::decode(text),
        _ => None,
    }
}

fn put(backend: &Arc<dyn GunBackend>, soul: String, slot: String, text: String) -> BoxFuture<'static, ()> {
    let backend = backend.clone();
    Box::pin(async move {
        let entry = Entry::Value(Cell { value: Value::Text(text), state: 0.0 });
        // Whether it arrived is what receipts tell.
        let _ = backend.put(&[soul, slot], entry, limits::GUN_PIECE_TIMEOUT).await;
    })
}

fn broken(what: &'static str) -> Error {
    Error::new(ErrorKind::ConnectionClosed, what)
}

impl Sending {
    async fn run(mut self, over: &CancellationToken) -> Result<()> {
        // Whatever ends this, the link cannot go on.
        let _over = over.clone().drop_guard();
        let clock = Clock::start();
        let (mut ring, mut puts) = (Outgoing::default(), JoinSet::new());
        let mut buffer = vec![0; limits::GUN_PIECE_BYTES];
        let mut may_send = Instant::now();
        let mut ended = false;
        while !(ended && ring.is_empty()) {
            let now = clock.now();
            if ring.is_stalled(now) {
                return Err(broken("nobody receives what passes through Gun"));
            }
            for (number, text) in ring.again(now) {
                puts.spawn(put(&self.backend, ring::pieces(&self.session), ring::piece_slot(number), text));
            }
            let free = ring.free().filter(|_| !ended && puts.len() < limits::MAX_GUN_PIECE_PUTS);
            let reading = async {
                tokio::time::sleep_until(may_send).await;
                self.inner.read(&mut buffer).await
            };
            tokio::select! {
                read = reading, if free.is_some() => {
                    let (Some(number), Ok(length)) = (free, read) else { return Err(broken("the link ended")) };
                    // An empty piece is the end.
                    ended = length == 0;
                    let sealed = self.pieces.seal(number, &buffer[..length])?;
                    let text = ring::encode(number, &sealed);
                    may_send = may_send.max(Instant::now()) + ring::pause(text.len());
                    puts.spawn(put(&self.backend, ring::pieces(&self.session), ring::piece_slot(number), text.clone()));
                    ring.sent(clock.now(), text);
                }
                update = self.receipts_in.recv() => {
                    let update = update.ok_or_else(|| broken("the graph ended"))?;
                    if let Some((count, tag)) = numbered(&update)
                        && self.receipts.open(count, tag).is_some()
                    {
                        ring.received(clock.now(), count);
                    }
                }
                Some(_) = puts.join_next() => {}
                () = clock.sleep_until(ring.next_timeout()) => {}
            }
        }
        Ok(())
    }
}

impl Receiving {
    async fn run(mut self, over: &CancellationToken) -> Result<()> {
        let late = async {
            over.cancelled().await;
            tokio::time::sleep(limits::GUN_PASSAGE_STALL).await;
        };
        tokio::pin!(late);
        let (mut ring, mut puts) = (Incoming::default(), JoinSet::new());
        let mut ended = false;
        // What was received is said again when a piece comes again; the last receipt needs no answer.
        while !ended {
            let update = tokio::select! {
                update = self.pieces_in.recv() => update.ok_or_else(|| broken("the graph ended"))?,
                Some(_) = puts.join_next() => continue,
                () = &mut late => return Err(broken("the other end does not end what passes through Gun")),
            };
            let Some((number, sealed)) = numbered(&update) else { continue };
            if ring.wants(number) {
                let Some(piece) = self.pieces.open(number, sealed) else { continue };
                for piece in ring.take(number, piece.into()) {
                    ended |= piece.is_empty();
                    // Nobody may read any more; the other end still wants to hear that everything came.
                    let _ = if ended { self.inner.shutdown().await } else { self.inner.write_all(&piece).await };
                }
            }
            let count = ring.count();
            let receipt = ring::encode(count, &self.receipts.seal(count, &[])?);
            if puts.len() < limits::MAX_GUN_PIECE_PUTS || ended {
                puts.spawn(put(&self.backend, ring::receipts(&self.session), ring::receipt_slot(count), receipt));
            }
        }
        puts.join_all().await;
        Ok(())
    }
}
