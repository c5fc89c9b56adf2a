//! Serving: accepts transfer streams, looks contents up, reads and sends what the machines allow.
//! Not here: which peers are served ([`choker`](crate::transfer::choker)) and what a requester may ask
//! ([`serve`](crate::transfer::serve)).

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use futures::AsyncReadExt;
use futures::future::BoxFuture;
use tokio::sync::{Notify, broadcast, mpsc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::frames::{self, read_from_client};
use super::library::{Entry, Library, OpenEntry};
use super::limiter::Limiter;
use super::workers::Workers;
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::events::{ErrorRecord, Event};
use crate::base::ids::{ContentKey, PeerId};
use crate::base::limits;
use crate::discovery::manager::EventSink;
use crate::discovery::pex::driver::{Conversation, PeerExchange, Said};
use crate::fabric::{Incoming, Link, Stream};
use crate::net::clock::{Clock, sleep_until};
use crate::transfer::choker::{Choker, Input as ChokerInput, Output as ChokerOutput};
use crate::transfer::serve::{Output, ServeSession};
use crate::wire::transfer::{ClientFrame, GoneReason, ServerFrame, Span, encode_data_header};

/// Makes an entry for a key that no shared file answers; `None` when the content is unknown there too.
pub type Fallback = Arc<dyn Fn(ContentKey) -> BoxFuture<'static, Option<Arc<Entry>>> + Send + Sync>;

/// Bytes read from disk at once for one stream.
const BATCH_BYTES: u64 = limits::SERVE_QUEUE_BYTES as u64 / 2;
/// Frames of a requester handled between two batches, so that a flood of questions cannot fill the memory.
const FRAMES_PER_ROUND: usize = 16;

/// The serving half of a node.
pub struct Server {
    library: Arc<Library>,
    clock: Clock,
    limiter: Limiter,
    workers: Workers,
    events: EventSink,
    choker: Mutex<Slots>,
    choker_changed: Notify,
    sessions: AtomicUsize,
    fallback: Mutex<Option<Fallback>>,
    exchange: Option<PeerExchange>,
}

struct Slots {
    machine: Choker,
    streams: HashMap<PeerId, Vec<Arc<Signal>>>,
}

/// What the rest of the node tells one session.
#[derive(Default)]
struct Signal {
    unchoked: AtomicBool,
    wake: Notify,
}

impl Server {
    /// A server that serves so many peers at once.
    pub fn new(
        library: Arc<Library>,
        clock: Clock,
        limiter: Limiter,
        workers: Workers,
        slots: usize,
        events: EventSink,
    ) -> Self {
        let machine = Choker::new(slots, clock.now());
        Self {
            library,
            clock,
            limiter,
            workers,
            events,
            choker: Mutex::new(Slots { machine, streams: HashMap::new() }),
            choker_changed: Notify::new(),
            sessions: AtomicUsize::new(0),
            fallback: Mutex::new(None),
            exchange: None,
        }
    }

    /// The same, telling requesters of each other.
    #[must_use]
    pub fn with_exchange(self, exchange: PeerExchange) -> Self {
        Self { exchange: Some(exchange), ..self }
    }

    /// Where to look for content that no shared file answers.
    pub fn set_fallback(&self, fallback: Option<Fallback>) {
        *lock(&self.fallback) = fallback;
    }

    /// A peer gave us data: it earns to be served.
    pub fn contributed(&self, peer: &PeerId, bytes: u64) {
        self.tell_choker(ChokerInput::Contributed(peer.clone(), bytes));
    }

    /// Serves until cancelled, then ends every session.
    pub async fn run(self: Arc<Self>, mut incoming: Incoming, cancel: CancellationToken) {
        let tracker = TaskTracker::new();
        tracker.spawn(Arc::clone(&self).run_choker(cancel.clone()));
        loop {
            let next = tokio::select! {
                () = cancel.cancelled() => None,
                next = incoming.next() => next,
            };
            let Some((link, stream)) = next else { break };
            let server = Arc::clone(&self);
            let cancel = cancel.clone();
            tracker.spawn(async move {
                let peer = link.peer;
                tokio::select! {
                    () = cancel.cancelled() => {}
                    result = server.serve(peer.clone(), stream) => if let Err(error) = result {
                        tracing::debug!(%peer, error = %error.full_message(), "transfer stream ended");
                    }
                }
            });
        }
        cancel.cancel();
        tracker.close();
        tracker.wait().await;
    }

    async fn run_choker(self: Arc<Self>, cancel: CancellationToken) {
        loop {
            let deadline = self.clock.deadline(lock(&self.choker).machine.next_timeout());
            tokio::select! {
                () = cancel.cancelled() => return,
                () = self.choker_changed.notified() => {}
                () = sleep_until(deadline) => {
                    let mut slots = lock(&self.choker);
                    slots.machine.handle_timeout(self.clock.now());
                    slots.apply();
                }
            }
        }
    }

    fn tell_choker(&self, input: ChokerInput) {
        let mut slots = lock(&self.choker);
        slots.machine.handle(self.clock.now(), input);
        slots.apply();
        drop(slots);
        self.choker_changed.notify_one();
    }

    async fn serve(&self, peer: PeerId, stream: Stream) -> Result<()> {
        let busy = self.sessions.fetch_add(1, Ordering::Relaxed) >= limits::MAX_SESSIONS;
        let signal = Arc::new(Signal::default());
        let busy = {
            let mut slots = lock(&self.choker);
            let streams = slots.streams.entry(peer.clone()).or_default();
            streams.push(Arc::clone(&signal));
            busy || streams.len() > limits::MAX_SESSIONS_PER_PEER
        };
        let mut session = Session {
            server: self,
            machine: ServeSession::new(self.clock.now()),
            signal,
            peer,
            entry: None,
            open: None,
            opened: false,
            asking: false,
            busy,
            out: BytesMut::new(),
            link: stream.link().clone(),
            talk: None,
        };
        session.run(stream).await
        // Dropping the session gives its place and its slot back, also when this future is cancelled.
    }

    async fn look_up(&self, key: &ContentKey) -> Option<Arc<Entry>> {
        if let Some(entry) = self.library.get(key) {
            return Some(entry);
        }
        let fallback = lock(&self.fallback).clone()?;
        tokio::time::timeout(limits::SESSION_IDLE_TIMEOUT, fallback(key.clone())).await.ok().flatten()
    }

    fn report_changed(&self, entry: &Arc<Entry>, error: &Error) {
        if error.kind() == ErrorKind::FileChanged || error.kind() == ErrorKind::FileNotFound {
            let hash = entry.description.hash();
            let path = entry.path().map(|path| path.display().to_string()).unwrap_or_default();
            self.library.remove_entry(entry, GoneReason::Changed);
            (self.events)(Event::FileChanged { hash, path });
        } else {
            (self.events)(Event::Warning { error: ErrorRecord::from(error) });
        }
    }
}

impl Slots {
    fn apply(&mut self) {
        while let Some(output) = self.machine.poll() {
            let (peer, unchoked) = match output {
                ChokerOutput::Choke(peer) => (peer, false),
                ChokerOutput::Unchoke(peer) => (peer, true),
            };
            for signal in self.streams.get(&peer).into_iter().flatten() {
                signal.unchoked.store(unchoked, Ordering::Relaxed);
                signal.wake.notify_one();
            }
        }
    }
}

struct Session<'a> {
    server: &'a Server,
    machine: ServeSession,
    signal: Arc<Signal>,
    peer: PeerId,
    entry: Option<Arc<Entry>>,
    open: Option<OpenEntry>,
    opened: bool,
    asking: bool,
    busy: bool,
    out: BytesMut,
    link: Link,
    /// Peer exchange, once the content is found.
    talk: Option<Conversation>,
}

type Blocks = Result<Vec<(Span, Bytes)>>;

/// Whether the session goes on.
enum Next {
    Continue,
    Close,
}

impl Session<'_> {
    async fn run(&mut self, stream: Stream) -> Result<()> {
        let (mut reader, mut writer) = stream.split();
        let (received, mut inbox) = mpsc::channel(FRAMES_PER_ROUND);
        let reading = async move {
            while let Some(frame) = read_from_client(&mut reader).await? {
                if received.send(frame).await.is_err() {
                    break;
                }
            }
            Ok(())
        };
        let serving = async {
            let mut news: Option<broadcast::Receiver<u32>> = None;
            let mut gone = None;
            let mut pending: Option<JoinHandle<Blocks>> = None;
            loop {
                for _ in 0..FRAMES_PER_ROUND {
                    let Ok(frame) = inbox.try_recv() else { break };
                    self.take(frame)?;
                }
                let had_entry = self.entry.is_some();
                let next = self.carry_out(&mut writer).await?;
                if let (false, Some(entry)) = (had_entry, &self.entry) {
                    news = entry.news();
                    gone = Some(entry.gone());
                    self.catch_up();
                    // Pieces and choking may already have something to say.
                    if matches!(self.carry_out(&mut writer).await?, Next::Close) {
                        break;
                    }
                }
                if matches!(next, Next::Close) {
                    break;
                }
                if pending.is_none() {
                    pending = self.start_reading()?;
                }
                if let Some(read) = pending.take() {
                    let blocks = read
                        .await
                        .map_err(|error| Error::with_source(ErrorKind::Internal, "a reading thread failed", error))?;
                    let blocks = match blocks {
                        Ok(blocks) => blocks,
                        Err(error) => {
                            if let Some(entry) = &self.entry {
                                self.server.report_changed(entry, &error);
                            }
                            self.machine.refuse(GoneReason::Changed);
                            continue;
                        }
                    };
                    // The next batch is read while this one is sent.
                    pending = self.start_reading()?;
                    self.send_blocks(&mut writer, blocks).await?;
                    continue;
                }
                frames::flush(&mut writer).await?;
                let deadline = self.server.clock.deadline(self.machine.next_timeout());
                tokio::select! {
                    frame = inbox.recv() => match frame {
                        Some(frame) => self.take(frame)?,
                        None => break,
                    },
                    () = self.signal.wake.notified() => {}
                    () = talk_is_due(self.talk.as_ref()) => {}
                    piece = next_piece(&mut news) => match piece {
                        Some(piece) => self.machine.add_piece(piece),
                        None => self.catch_up(),
                    },
                    reason = next_reason(&mut gone) => self.machine.refuse(reason),
                    () = sleep_until(deadline) => self.machine.handle_timeout(self.server.clock.now()),
                }
            }
            frames::close(&mut writer).await
        };
        // Whichever side ends first ends the session; a broken read must not outlive a blocked write.
        let mut reading = std::pin::pin!(reading);
        let mut serving = std::pin::pin!(serving);
        tokio::select! {
            result = &mut serving => result,
            result = &mut reading => match result {
                // The requester said its last word; what it asked for before is no longer wanted.
                Ok(()) => Ok(()),
                Err(error) => Err(error),
            },
        }
    }

    /// Takes everything from the machine.
    async fn carry_out(&mut self, writer: &mut (impl futures::AsyncWrite + Unpin)) -> Result<Next> {
        if self.signal.unchoked.load(Ordering::Relaxed) {
            self.machine.unchoke();
        } else {
            self.machine.choke();
        }
        let mut next = Next::Continue;
        while let Some(output) = self.machine.poll() {
            match output {
                Output::Lookup { key, serves } => self.look_up(&key, serves).await,
                Output::Send(frame) => {
                    frame.encode(&mut self.out);
                    if self.out.len() > limits::MAX_BLOCK_BYTES as usize {
                        self.write_out(writer).await?;
                    }
                }
                Output::Asking(asking) => self.set_asking(asking),
                Output::Close(reason) => {
                    tracing::debug!(peer = %self.peer, reason, "closing a transfer stream");
                    next = Next::Close;
                }
            }
        }
        while let Some(said) = self.talk.as_ref().and_then(Conversation::due) {
            match said {
                Said::Own(bytes) => ServerFrame::Own(bytes).encode(&mut self.out),
                Said::Peers(peers) => ServerFrame::Peers(peers).encode(&mut self.out),
            }
        }
        self.write_out(writer).await?;
        Ok(next)
    }

    /// Peer exchange is for the node, everything else for the machine. Fails when the peer floods.
    fn take(&mut self, frame: ClientFrame) -> Result<()> {
        match (frame, &self.talk) {
            (ClientFrame::Peers(peers), Some(talk)) => talk.take(peers).inspect_err(|error| {
                (self.server.events)(Event::Warning { error: ErrorRecord::from(error) });
            }),
            (ClientFrame::Own(bytes), Some(talk)) => {
                talk.take_own(bytes);
                Ok(())
            }
            (frame, _) => {
                self.machine.handle(self.server.clock.now(), frame);
                Ok(())
            }
        }
    }

    async fn write_out(&mut self, writer: &mut (impl futures::AsyncWrite + Unpin)) -> Result<()> {
        if !self.out.is_empty() {
            frames::write(writer, &self.out).await?;
            self.out.clear();
        }
        Ok(())
    }

    async fn look_up(&mut self, key: &ContentKey, serves: bool) {
        if self.busy {
            self.machine.refuse(GoneReason::Busy);
            return;
        }
        let Some(entry) = self.server.look_up(key).await else {
            self.machine.refuse(GoneReason::Unknown);
            return;
        };
        let opening = Arc::clone(&entry);
        match self.server.workers.run(move || opening.open()).await.and_then(|opened| opened) {
            Ok(open) => {
                if serves {
                    entry.fellow(&self.peer);
                }
                self.machine.start(entry.content());
                let hash = entry.description.hash();
                self.talk = self.server.exchange.as_ref().and_then(|exchange| exchange.begin(&self.link, hash, key));
                if let Some(talk) = self.talk.as_ref().filter(|_| serves) {
                    talk.joined(false, &self.link);
                }
                self.open = Some(open);
                self.entry = Some(entry);
                self.opened = true;
                self.server.tell_choker(ChokerInput::Opened(self.peer.clone()));
                let served = lock(&self.server.choker).machine.is_served(&self.peer);
                self.signal.unchoked.store(served, Ordering::Relaxed);
                if served {
                    self.machine.unchoke();
                }
            }
            Err(error) => {
                self.server.report_changed(&entry, &error);
                self.machine.refuse(GoneReason::Changed);
            }
        }
    }

    fn set_asking(&mut self, asking: bool) {
        if asking != self.asking {
            self.asking = asking;
            let peer = self.peer.clone();
            self.server.tell_choker(if asking { ChokerInput::Asking(peer) } else { ChokerInput::Idle(peer) });
        }
    }

    /// Compares with all pieces there are now, after news were missed.
    fn catch_up(&mut self) {
        let Some(pieces) = self.entry.as_ref().and_then(|entry| entry.pieces()) else { return };
        for piece in (0..pieces.pieces()).filter(|piece| pieces.is_consistent(*piece)) {
            self.machine.add_piece(piece);
        }
    }

    /// Begins to read what is asked for, up to a batch.
    fn start_reading(&mut self) -> Result<Option<JoinHandle<Blocks>>> {
        let mut spans = Vec::new();
        let mut bytes = 0;
        while bytes < BATCH_BYTES {
            let Some(span) = self.machine.next_request() else { break };
            bytes += u64::from(span.length);
            spans.push(span);
        }
        if spans.is_empty() {
            return Ok(None);
        }
        Ok(Some(match self.open.as_ref() {
            Some(OpenEntry::File(file)) => {
                let file = Arc::clone(file);
                tokio::task::spawn_blocking(move || {
                    spans.into_iter().map(|span| Ok((span, file.read_at(span.offset, span.length)?))).collect()
                })
            }
            Some(OpenEntry::Part(part)) => {
                let part = Arc::clone(part);
                tokio::task::spawn_blocking(move || {
                    let read = |span: Span| {
                        let mut buffer = BytesMut::zeroed(span.length as usize);
                        part.read_at(span.offset, &mut buffer)?;
                        Ok((span, buffer.freeze()))
                    };
                    spans.into_iter().map(read).collect()
                })
            }
            Some(OpenEntry::Reader(reader)) => {
                let reader = Arc::clone(reader);
                tokio::spawn(async move {
                    let mut blocks = Vec::new();
                    for span in spans {
                        blocks.push((span, reader(span).await?));
                    }
                    Ok(blocks)
                })
            }
            None => return Err(Error::new(ErrorKind::Internal, "a request was accepted without content")),
        }))
    }

    async fn send_blocks(
        &mut self,
        writer: &mut (impl futures::AsyncWrite + Unpin),
        blocks: Vec<(Span, Bytes)>,
    ) -> Result<()> {
        for (span, bytes) in blocks {
            self.server.limiter.pass(&self.peer, bytes.len() as u64).await;
            let mut header = BytesMut::with_capacity(16);
            encode_data_header(&mut header, span.offset, bytes.len());
            frames::write(writer, &header).await?;
            frames::write(writer, &bytes).await?;
        }
        Ok(())
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        {
            let mut slots = lock(&self.server.choker);
            if let Some(streams) = slots.streams.get_mut(&self.peer) {
                streams.retain(|signal| !Arc::ptr_eq(signal, &self.signal));
                if streams.is_empty() {
                    slots.streams.remove(&self.peer);
                }
            }
        }
        self.set_asking(false);
        if self.opened {
            self.server.tell_choker(ChokerInput::Closed(self.peer.clone()));
        }
        self.server.sessions.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Waits until peer exchange may have something to say.
async fn talk_is_due(talk: Option<&Conversation>) {
    match talk {
        Some(talk) => talk.wait().await,
        None => std::future::pending().await,
    }
}

/// The next finished piece; `None` when some were missed. Waits forever for complete content.
async fn next_piece(news: &mut Option<broadcast::Receiver<u32>>) -> Option<u32> {
    let Some(receiver) = news else { return std::future::pending().await };
    match receiver.recv().await {
        Ok(piece) => Some(piece),
        Err(broadcast::error::RecvError::Lagged(_)) => None,
        Err(broadcast::error::RecvError::Closed) => {
            *news = None;
            std::future::pending().await
        }
    }
}

/// Waits until the content is withdrawn.
async fn next_reason(gone: &mut Option<tokio::sync::watch::Receiver<Option<GoneReason>>>) -> GoneReason {
    let Some(receiver) = gone else { return std::future::pending().await };
    let reason = receiver.wait_for(Option::is_some).await.ok().and_then(|reason| *reason);
    let reason = reason.unwrap_or(GoneReason::Removed);
    *gone = None;
    reason
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
