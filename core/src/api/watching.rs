//! Watched directories: shares what comes, withdraws what goes.
//! Not here: noticing it (`store::watch`), hashing and announcing ([`sharing`](super::sharing)).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::node::{Inner, Node};
use super::records::FileInfo;
use super::task::Task;
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::events::Event;
use crate::base::ids::{ContentKey, FileHash};
use crate::base::limits;
use crate::base::options::{FromJson, WatchOptions};
use crate::base::priority::Priority;
use crate::store::watch::driver::{Told, Watcher};
use crate::store::watch::{Change, WatchConfig};

/// The watched directories of a running node, by absolute path.
#[derive(Clone, Default)]
pub(super) struct Watches(Arc<Mutex<BTreeMap<PathBuf, Watching>>>);

#[derive(Clone)]
struct Watching {
    /// Cancelled to end it.
    stop: CancellationToken,
    /// Cancelled when it has ended.
    done: CancellationToken,
}

impl Watches {
    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<PathBuf, Watching>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, path: &Path, stop: &CancellationToken) -> Result<Watching> {
        let mut watches = self.lock();
        if watches.contains_key(path) {
            let text = format!("{} is watched already", path.display());
            return Err(Error::new(ErrorKind::InvalidState, text));
        }
        if watches.len() >= limits::MAX_WATCHED_DIRECTORIES {
            let text = format!("a node watches at most {} directories", limits::MAX_WATCHED_DIRECTORIES);
            return Err(Error::new(ErrorKind::LimitReached, text));
        }
        let watching = Watching { stop: stop.child_token(), done: CancellationToken::new() };
        watches.insert(path.to_owned(), watching.clone());
        Ok(watching)
    }
}

impl Node {
    pub(crate) fn watch_directory(&self, path: PathBuf, options: WatchOptions) -> Task<Vec<FileInfo>> {
        let node = self.clone();
        Task::spawn(async move |cancel| {
            options.validate()?;
            // Boxed, because starting a node watches its directory.
            let running = match node.running() {
                Some(running) => running,
                None => Box::pin(node.ensure_started()).await?,
            };
            let path = absolute(&path)?;
            let Watching { stop, done } = running.watches.add(&path, &running.stop)?;
            let (ready, is_ready) = oneshot::channel();
            let watch = Watch {
                node: Arc::downgrade(&node.inner),
                hashes: HashMap::new(),
                copies: HashMap::new(),
                priority: options.priority.parse()?,
                stop: stop.clone(),
            };
            let config = config(options, node.inner.node.state_dir());
            let watches = running.watches.clone();
            running.tracker.spawn(async move {
                let _done = done.drop_guard();
                let result = watch.run(&path, config, ready).await;
                watches.lock().remove(&path);
                if let Err(error) = result {
                    tracing::debug!(error = %error.full_message(), "a directory is not watched any more");
                }
            });
            tokio::select! {
                ready = is_ready => ready.unwrap_or_else(|_| {
                    Err(Error::new(ErrorKind::Cancelled, "watching ended before the directory was shared"))
                }),
                () = cancel.cancelled() => {
                    stop.cancel();
                    Err(Error::new(ErrorKind::Cancelled, "watching was cancelled"))
                }
            }
        })
    }

    pub(crate) async fn unwatch_directory(&self, path: PathBuf) -> Result<bool> {
        let path = absolute(&path)?;
        let Some(running) = self.running() else { return Ok(false) };
        let watching = running.watches.lock().get(&path).cloned();
        let Some(Watching { stop, done }) = watching else { return Ok(false) };
        stop.cancel();
        done.cancelled().await;
        Ok(true)
    }
}

fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).map_err(|cause| Error::io(format!("directory {}", path.display()), cause))
}

fn config(options: WatchOptions, state: Option<PathBuf>) -> WatchConfig {
    WatchConfig {
        recursive: options.recursive,
        include_extensions: options.include_extensions,
        exclude_extensions: options.exclude_extensions,
        max_file_size: Some(options.max_file_size).filter(|size| *size > 0),
        stability: Duration::from_millis(options.stability_ms),
        excluded: state.into_iter().collect(),
        polling: Some(Duration::from_millis(options.poll_interval_ms)).filter(|interval| !interval.is_zero()),
        ..WatchConfig::default()
    }
}

/// One watched directory and what is shared from it. Does not keep the node alive.
struct Watch {
    node: Weak<Inner>,
    hashes: HashMap<PathBuf, FileHash>,
    /// Files with the same content: it is shared as long as there is one.
    copies: HashMap<FileHash, BTreeSet<PathBuf>>,
    priority: Priority,
    stop: CancellationToken,
}

impl Watch {
    async fn run(
        mut self,
        path: &Path,
        config: WatchConfig,
        ready: oneshot::Sender<Result<Vec<FileInfo>>>,
    ) -> Result<()> {
        let (tell, mut told) = mpsc::channel(limits::WATCH_BATCHES);
        let directory = path.to_owned();
        let start = move || Watcher::start(&directory, config, move |told| tell.blocking_send(told).is_ok());
        let started = tokio::task::spawn_blocking(start)
            .await
            .unwrap_or_else(|cause| Err(Error::with_source(ErrorKind::Internal, "start watching", cause)));
        let watcher = match started {
            Ok(watcher) => watcher,
            Err(error) => {
                // Nobody waiting any more is fine.
                let _ = ready.send(Err(error));
                return Ok(());
            }
        };
        let mut ready = Some(ready);
        let mut first = Vec::new();
        let stop = self.stop.clone();
        loop {
            let told = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                told = told.recv() => told,
            };
            let (Some(told), Some(inner)) = (told, self.node.upgrade()) else { break };
            let node = Node { inner };
            match told {
                Told::Changes(changes) => {
                    let shared = self.follow(&node, &watcher, changes).await;
                    if ready.is_some() {
                        first.extend(shared);
                    }
                }
                Told::Warning(error) => node.warn(&error),
                Told::Ready => {
                    if let Some(ready) = ready.take() {
                        let _ = ready.send(Ok(std::mem::take(&mut first)));
                    }
                }
            }
        }
        // A thread that waits to be heard has to be let go first.
        drop(told);
        let ended = tokio::task::spawn_blocking(move || watcher.stop()).await;
        ended.map_err(|cause| Error::with_source(ErrorKind::Internal, "stop watching", cause))
    }

    async fn follow(&mut self, node: &Node, watcher: &Watcher, changes: Vec<Change>) -> Vec<FileInfo> {
        let mut shared = Vec::new();
        let mut waiting = Vec::new();
        for change in changes {
            match change {
                Change::Added(path) | Change::Changed(path) => waiting.push(path),
                Change::Moved { from, to, fingerprint } => {
                    shared.extend(self.share(node, watcher, std::mem::take(&mut waiting)).await);
                    let (cache, old, new) = (node.cache(), from.clone(), to.clone());
                    let keep = move || {
                        if let Some(description) = cache.get(&old, &fingerprint) {
                            cache.put(&new, &fingerprint, &description);
                        }
                    };
                    if let Err(error) = node.inner.workers.run(keep).await {
                        node.warn(&error);
                    }
                    let moved = self.hashes.get(&from).copied();
                    shared.extend(self.share(node, watcher, vec![to]).await);
                    if let Some(hash) = moved {
                        self.forget(&from);
                        self.retire(node, &from, hash).await;
                    }
                }
                Change::Removed(path) => {
                    shared.extend(self.share(node, watcher, std::mem::take(&mut waiting)).await);
                    if let Some(hash) = self.forget(&path) {
                        self.retire(node, &path, hash).await;
                    }
                }
            }
        }
        shared.extend(self.share(node, watcher, waiting).await);
        shared
    }

    /// Shares files; what cannot be read is left out with a warning.
    async fn share(&mut self, node: &Node, watcher: &Watcher, paths: Vec<PathBuf>) -> Vec<FileInfo> {
        if paths.is_empty() {
            return Vec::new();
        }
        let results = match node.share(paths, None, self.priority, &self.stop).await {
            Ok(results) => results,
            Err(error) => {
                node.warn(&error);
                return Vec::new();
            }
        };
        let mut shared = Vec::new();
        for (path, result) in results {
            match result {
                Ok(info) => {
                    let old = self.forget(&path).filter(|old| *old != info.hash);
                    self.hashes.insert(path.clone(), info.hash);
                    self.copies.entry(info.hash).or_default().insert(path.clone());
                    if let Some(old) = old {
                        self.retire(node, &path, old).await;
                    }
                    shared.push(info);
                }
                // It was written to again while it was read, and will come to rest again.
                Err(error) if error.kind() == ErrorKind::FileChanged => watcher.again(path),
                // Stopping, or it is gone again, which will be told.
                Err(error) if matches!(error.kind(), ErrorKind::Cancelled | ErrorKind::FileNotFound) => {}
                Err(error) => node.warn(&error),
            }
        }
        shared
    }

    fn forget(&mut self, path: &Path) -> Option<FileHash> {
        let hash = self.hashes.remove(path)?;
        if let Some(copies) = self.copies.get_mut(&hash) {
            copies.remove(path);
            if copies.is_empty() {
                self.copies.remove(&hash);
            }
        }
        Some(hash)
    }

    /// This content is not at this path any more.
    async fn retire(&mut self, node: &Node, path: &Path, hash: FileHash) {
        let key = ContentKey::Hash(hash);
        let library = &node.inner.library;
        let entry = library.get(&key);
        if library.at_path(path).is_some_and(|entry| entry.description.hash() == hash) {
            library.forget_path(path);
        }
        // Served from elsewhere, or being downloaded.
        if entry.as_ref().is_some_and(|entry| entry.path() != Some(path)) {
            return;
        }
        let gone = Event::FileRemoved { hash, path: path.display().to_string() };
        if let Some(copy) = self.copies.get(&hash).and_then(BTreeSet::first).cloned() {
            node.inner.events.send(gone);
            if let Err(error) = node.share(vec![copy], None, self.priority, &self.stop).await {
                node.warn(&error);
            }
            return;
        }
        match node.remove_file(hash).await {
            Ok(true) => {}
            Ok(false) => {
                // Serving it noticed first, or its successor took its place.
                if let Some(running) = node.running() {
                    running.engine.discovery.withdraw(&key).await;
                }
                node.inner.events.send(gone);
            }
            Err(error) => node.warn(&error),
        }
    }
}
