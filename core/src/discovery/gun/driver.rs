//! The tasks of discovery through Gun: one writes what this node says and renews it, one per watched announcement guards
//! it, one per search reads, one keeps the file. Not here: what records look like ([`record`](super::record)) and what is
//! believed of them ([`book`](super::book)).

mod guard;
mod schedule;
mod search;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::{Notify, Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::schedule::{Job, Pace, Schedule};
use super::book::{Book, Mapping};
use super::record;
use super::source::GunConfig;
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::ids::FileHash;
use crate::base::limits;
use crate::discovery::candidate::Candidate;
use crate::discovery::own::Own;
use crate::gun::{Cell, Entry, GunBackend, Record, Value};
use crate::net::clock::unix_ms;
use crate::store::{atomic, state_file};

const FILE: &str = "gun-discovery.json";
const VERSION: u32 = 1;

/// The running tasks and what they share.
pub(super) struct Driver {
    config: GunConfig,
    /// The name of this node in the graph.
    node: String,
    own: Own,
    backend: Arc<dyn GunBackend>,
    state: Mutex<State>,
    pace: Pace,
    changed: Notify,
    pub(super) unconfirmed: watch::Sender<usize>,
    /// When the next announcement may begin to be watched; whoever waits for that holds it.
    next_watch: tokio::sync::Mutex<Instant>,
    searches: Arc<Semaphore>,
    /// Ends what reads; what writes says goodbye then.
    token: CancellationToken,
    /// Ends everything at once.
    abandoned: CancellationToken,
    tasks: TaskTracker,
}

pub(super) struct State {
    pub(super) book: Book,
    schedule: Schedule,
    dirty: bool,
}

impl Driver {
    pub(super) async fn start(
        config: GunConfig,
        node: String,
        own: Own,
        backend: Arc<dyn GunBackend>,
    ) -> Result<Arc<Self>> {
        let book = match config.persistence_dir.clone() {
            None => Book::new(config.max_cached_peers, rand::random()),
            Some(directory) => {
                let most = config.max_cached_peers;
                let read = tokio::task::spawn_blocking(move || load(&directory, most)).await;
                read.map_err(|cause| Error::with_source(ErrorKind::Internal, "read what Gun discovery knew", cause))??
            }
        };
        let driver = Arc::new(Self {
            pace: Pace::new(Instant::now(), config.announce_interval, config.announce_ttl),
            config,
            node,
            own,
            backend,
            state: Mutex::new(State { book, schedule: Schedule::default(), dirty: false }),
            next_watch: tokio::sync::Mutex::new(Instant::now()),
            changed: Notify::new(),
            unconfirmed: watch::channel(0).0,
            searches: Arc::new(Semaphore::new(limits::MAX_GUN_SEARCHES)),
            token: CancellationToken::new(),
            abandoned: CancellationToken::new(),
            tasks: TaskTracker::new(),
        });
        driver.spawn(driver.clone().write());
        driver.spawn(driver.clone().keep());
        Ok(driver)
    }

    /// Runs until it ends or everything does.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let abandoned = self.abandoned.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = abandoned.cancelled() => {}
                () = task => {}
            }
        });
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // What is known has no broken intermediate states that matter more than going on.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now_ms(&self) -> u64 {
        unix_ms().saturating_add_signed(self.config.clock_offset_ms)
    }

    pub(super) fn known(&self, hash: &FileHash) -> Vec<Candidate> {
        let now_ms = self.now_ms();
        self.lock().book.peers(hash, now_ms).iter().map(super::book::Known::candidate).collect()
    }

    /// Where this node stands among those that have a content.
    fn path(&self, hash: &FileHash) -> Vec<String> {
        self.below(&self.config.peer_map_name, [hash.to_string(), self.node.clone()])
    }

    fn map_path(&self, id: &str) -> Vec<String> {
        self.below(&self.config.content_map_name, [record::content_segment(id)])
    }

    fn below<const N: usize>(&self, root: &str, names: [String; N]) -> Vec<String> {
        self.config.namespace.iter().cloned().chain([root.to_owned()]).chain(names).collect()
    }

    pub(super) fn announce(self: &Arc<Self>, hash: FileHash) -> Result<()> {
        let mut state = self.lock();
        if self.token.is_cancelled() {
            return Err(Error::new(ErrorKind::InvalidState, "Gun discovery was stopped"));
        }
        let room = state.schedule.add(Job::Peer(hash), Instant::now());
        let watch = room && state.schedule.watch(&hash);
        drop(state);
        self.tell();
        if let Some(token) = watch.then(|| self.token.child_token()) {
            self.lock().schedule.watched(&hash, token.clone());
            self.spawn(self.clone().guard(hash, token));
        }
        let full = || Error::new(ErrorKind::LimitReached, format!("announce {hash}: too many keys announced"));
        room.then_some(()).ok_or_else(full)
    }

    /// Writes it again at once.
    pub(super) fn renew(&self, hash: &FileHash) {
        self.lock().schedule.soon(&Job::Peer(*hash), Instant::now());
        self.tell();
    }

    pub(super) fn withdraw(&self, hash: &FileHash) {
        self.lock().schedule.leave(&Job::Peer(*hash), Instant::now());
        self.tell();
    }

    pub(super) fn map(&self, id: &str, hash: FileHash) -> Result<()> {
        let _: crate::base::ids::ContentKey = id.parse()?;
        let mut state = self.lock();
        if self.token.is_cancelled() {
            return Err(Error::new(ErrorKind::InvalidState, "Gun discovery was stopped"));
        }
        let mapping = Mapping { hash, issued_ms: self.now_ms() };
        state.book.map(id, self.own.peer().as_str(), mapping);
        state.dirty = true;
        let room = state.schedule.map(id, hash, Instant::now());
        drop(state);
        self.tell();
        let full = || Error::new(ErrorKind::LimitReached, format!("map {id}: too many content ids"));
        room.then_some(()).ok_or_else(full)
    }

    pub(super) fn unmap(&self, id: &str) {
        let mut state = self.lock();
        state.book.unmap(id, self.own.peer().as_str());
        state.dirty = true;
        state.schedule.leave(&Job::Map(id.to_owned()), Instant::now());
        drop(state);
        self.tell();
    }

    /// Something is to be written.
    fn tell(&self) {
        let unconfirmed = self.lock().schedule.unconfirmed();
        self.unconfirmed.send_if_modified(|known| std::mem::replace(known, unconfirmed) != unconfirmed);
        self.changed.notify_one();
    }

    pub(super) fn abandon(&self) {
        self.token.cancel();
        self.abandoned.cancel();
        self.tasks.close();
    }

    pub(super) async fn stop(&self) {
        self.token.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Writes what is due until the stop, and goodbyes after it.
    async fn write(self: Arc<Self>) {
        let mut running = FuturesUnordered::new();
        let (mut addresses, mut links) = (self.own.watch(), self.backend.links_made());
        let (mut addresses_open, mut links_open) = (true, true);
        let mut goodbye = None;
        loop {
            let room = limits::GUN_ANNOUNCING - running.len();
            // Nobody is helped by an announcement without addresses.
            let reachable = !self.own.addresses().is_empty();
            let (jobs, next) = self.lock().schedule.take(Instant::now(), room, reachable);
            running.extend(jobs.into_iter().map(|(job, leaving)| self.clone().publish(job, leaving)));
            if goodbye.is_some() && running.is_empty() && self.lock().schedule.is_empty() {
                return;
            }
            let deadline = goodbye.unwrap_or_else(|| Instant::now() + limits::MAX_ANNOUNCEMENT_TTL);
            let next = next.filter(|_| room > 0).unwrap_or(deadline).min(deadline);
            tokio::select! {
                () = self.token.cancelled(), if goodbye.is_none() => {
                    goodbye = Some(Instant::now() + limits::GUN_STOP_TIMEOUT);
                    self.lock().schedule.leave_all(Instant::now());
                }
                Some((job, written)) = running.next(), if !running.is_empty() => {
                    self.finished(&job, &written);
                }
                changed = addresses.changed(), if addresses_open => {
                    addresses_open = changed.is_ok();
                    self.lock().schedule.all(Instant::now(), true);
                }
                changed = links.changed(), if links_open => {
                    links_open = changed.is_ok();
                    if links_open {
                        self.lock().schedule.all(Instant::now(), false);
                        self.tell();
                    }
                }
                () = self.changed.notified() => {}
                () = tokio::time::sleep_until(next.into()) => {
                    if goodbye.is_some_and(|until| until <= Instant::now()) {
                        return;
                    }
                }
            }
        }
    }

    fn finished(&self, job: &Job, written: &Result<()>) {
        if let Err(error) = written {
            tracing::debug!(?job, error = %error.full_message(), "not written to Gun");
        }
        let mut state = self.lock();
        state.schedule.finished(job, written.is_ok(), Instant::now(), &self.pace);
        drop(state);
        self.tell();
    }

    /// Writes one thing.
    async fn publish(self: Arc<Self>, job: Job, leaving: bool) -> (Job, Result<()>) {
        let written = match &job {
            Job::Peer(hash) => self.publish_peer(hash, leaving).await,
            Job::Map(id) => self.publish_mapping(id, leaving).await,
        };
        (job, written)
    }

    async fn publish_peer(&self, hash: &FileHash, leaving: bool) -> Result<()> {
        let (path, now_ms) = (self.path(hash), self.now_ms());
        let ttl = if leaving { Duration::ZERO } else { self.own.lifetime(hash, self.config.announce_ttl) };
        let announced = self.own.announce(*hash, now_ms, ttl)?;
        let ttl_ms = ttl.as_millis() as u64;
        let fields = record::announcement(&self.own.addresses(), &announced, now_ms, ttl_ms);
        self.lock().schedule.written(hash, fields.clone());
        self.backend.put(&path, Entry::Record(fields), limits::GUN_ANNOUNCE_TIMEOUT).await?;
        if leaving {
            let null = Cell { value: Value::Null, state: 0.0 };
            self.backend.put(&path, Entry::Value(null), limits::GUN_ANNOUNCE_TIMEOUT).await?;
        }
        Ok(())
    }

    async fn publish_mapping(&self, id: &str, leaving: bool) -> Result<()> {
        let Some(hash) = self.lock().schedule.mapped(id) else { return Ok(()) };
        let now_ms = self.now_ms();
        let ttl = if leaving { Duration::ZERO } else { self.config.announce_ttl };
        let announced = self.own.announce(record::mapping_key(id, &hash), now_ms, ttl)?;
        let mut fields: Record = record::mapping(self.own.peer(), &hash, &announced, now_ms);
        if leaving {
            fields.remove("hash");
        }
        self.backend.put(&self.map_path(id), Entry::Record(fields), limits::GUN_ANNOUNCE_TIMEOUT).await
    }

    /// Forgets what has expired, and writes the file when something has changed.
    async fn keep(self: Arc<Self>) {
        let (mut cleaned, mut refreshed) = (Instant::now(), Instant::now());
        let pause = limits::GUN_SAVE.min(self.config.announce_interval);
        loop {
            let ending = tokio::select! {
                () = self.token.cancelled() => true,
                () = tokio::time::sleep(pause) => false,
            };
            if !ending && refreshed.elapsed() >= self.config.announce_interval {
                refreshed = Instant::now();
                self.backend.refresh();
            }
            if cleaned.elapsed() >= self.config.cleanup_interval {
                cleaned = Instant::now();
                let now_ms = self.now_ms();
                let mut state = self.lock();
                state.dirty |= state.book.expire(now_ms);
            }
            if let Some(directory) = self.config.persistence_dir.clone() {
                let encoded = {
                    let mut state = self.lock();
                    std::mem::take(&mut state.dirty).then(|| state_file::encode(VERSION, &state.book))
                };
                if let Some(encoded) = encoded {
                    save(directory, encoded).await;
                }
            }
            if ending {
                return;
            }
        }
    }
}

async fn save(directory: PathBuf, encoded: Result<Vec<u8>>) {
    let writing = move || atomic::write_private(&directory.join(FILE), &encoded?);
    if let Ok(Err(error)) = tokio::task::spawn_blocking(writing).await {
        tracing::warn!(error = %error.full_message(), "what Gun discovery knows was not written");
    }
}

/// What an earlier run knew; an unreadable file is an error. Blocks on the disk.
fn load(directory: &Path, most: usize) -> Result<Book> {
    let failed = |cause| Error::io(format!("create {}", directory.display()), cause);
    std::fs::create_dir_all(directory).map_err(failed)?;
    let read = state_file::read(&directory.join(FILE), VERSION, limits::MAX_GUN_STATE_BYTES)?;
    Ok(match read.state() {
        Some(read) => Book::restored(read, most, rand::random()),
        None => Book::new(most, rand::random()),
    })
}
