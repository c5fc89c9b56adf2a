//! Sharing: hashing files and directories, content ids, content behind a callback.
//! Not here: serving what is shared, which is the transfer driver's work.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio_util::sync::CancellationToken;

use super::node::{Node, lock};
use super::records::{FileCallback, FileInfo};
use super::task::Task;
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::events::Event;
use crate::base::ids::{ContentKey, FileHash};
use crate::base::limits;
use crate::base::options::{AddFileOptions, FromJson};
use crate::base::priority::Priority;
use crate::store::directory::{self, HashProgress};
use crate::store::hash_cache::HashCache;
use crate::transfer::driver::callback;
use crate::transfer::driver::library::{ByteSource, Entry};
use crate::wire::transfer::GoneReason;

impl Node {
    pub(crate) fn add_file(&self, path: PathBuf, options: AddFileOptions) -> Task<FileInfo> {
        let node = self.clone();
        Task::spawn(async move |cancel| {
            options.validate()?;
            let priority: Priority = options.priority.parse()?;
            let content_id = options.content_id;
            let mut shared = node.share(vec![path], content_id.as_deref(), priority, &cancel).await?;
            let (_, result) = shared.pop().ok_or_else(|| Error::new(ErrorKind::Internal, "a file was not hashed"))?;
            let mut info = result?;
            if let Some(id) = content_id {
                node.announce(ContentKey::Id(id.as_str().into()), priority).await;
                info.content_id = Some(id);
            }
            Ok(info)
        })
    }

    pub(crate) fn add_directory(&self, path: PathBuf) -> Task<Vec<FileInfo>> {
        let node = self.clone();
        Task::spawn(async move |cancel| {
            let state: Vec<PathBuf> = node.inner.node.state_dir().into_iter().collect();
            let files = node.inner.workers.run(move || directory::scan_without(&path, &state)).await??;
            let mut shared = Vec::with_capacity(files.len());
            for (_, result) in node.share(files, None, Priority::High, &cancel).await? {
                match result {
                    Ok(info) => shared.push(info),
                    Err(error) => node.warn(&error),
                }
            }
            Ok(shared)
        })
    }

    /// Hashes files and puts them into the library, in the given order, under the content id if there is one, and announces
    /// them.
    pub(super) async fn share(
        &self,
        paths: Vec<PathBuf>,
        content_id: Option<&str>,
        priority: Priority,
        cancel: &CancellationToken,
    ) -> Result<Vec<(PathBuf, Result<FileInfo>)>> {
        let cache = self.cache();
        let stop = Arc::new(AtomicBool::new(false));
        let (events, flag) = (self.inner.events.clone(), Arc::clone(&stop));
        let hashing = tokio::task::spawn_blocking(move || {
            let progress = |state: HashProgress| {
                events.send(Event::Hashing {
                    files: state.files_done as u64,
                    total_files: state.files_total as u64,
                    bytes: state.bytes_done,
                    total_bytes: state.bytes_total,
                });
            };
            directory::hash_all(&paths, &cache, 0, &progress, &flag)
        });
        let mut hashing = std::pin::pin!(hashing);
        let hashed = tokio::select! {
            hashed = &mut hashing => hashed,
            () = cancel.cancelled() => {
                stop.store(true, Ordering::Relaxed);
                hashing.await
            }
        };
        let hashed =
            hashed.map_err(|error| Error::with_source(ErrorKind::Internal, "a hashing thread failed", error))?;
        let mut shared = Vec::with_capacity(hashed.len());
        for (path, result) in hashed {
            let result = match result {
                Ok((fingerprint, description)) => {
                    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
                    let name = if name.len() > limits::MAX_FILE_NAME_BYTES { String::new() } else { name };
                    let bytes = ByteSource::File { path: path.clone(), fingerprint };
                    self.put(Arc::new(Entry::complete(description, name, bytes)), content_id, priority).await
                }
                Err(error) => Err(error),
            };
            shared.push((path, result));
        }
        Ok(shared)
    }

    async fn put(&self, entry: Arc<Entry>, content_id: Option<&str>, priority: Priority) -> Result<FileInfo> {
        // First, so that a bad id shares nothing.
        if let Some(id) = content_id {
            self.add_content_mapping(id, entry.description.hash())?;
        }
        self.inner.library.insert(Arc::clone(&entry))?;
        let info = self.info(&entry);
        self.note_priority(info.hash, priority);
        self.announce(ContentKey::Hash(info.hash), priority).await;
        self.inner.events.send(Event::FileAdded {
            hash: info.hash,
            path: info.path.display().to_string(),
            size: info.size,
            content_id: info.content_id.clone(),
        });
        Ok(info)
    }

    async fn announce(&self, key: ContentKey, priority: Priority) {
        // Before the start there is nobody to tell; starting announces everything.
        if let Some(running) = self.running() {
            running.engine.discovery.announce(&key, priority).await;
        }
    }

    /// Remembers how widely a file is announced, for the next start.
    fn note_priority(&self, hash: FileHash, priority: Priority) {
        let mut lower = lock(&self.inner.lower);
        match priority {
            Priority::High => drop(lower.remove(&hash)),
            Priority::Medium | Priority::Low => drop(lower.insert(hash, priority)),
        }
    }

    /// How widely what is shared is announced.
    pub(super) fn priority(&self, key: &ContentKey) -> Priority {
        let hash = match key {
            ContentKey::Hash(hash) => Some(*hash),
            ContentKey::Id(id) => self.inner.library.hash_of(id),
        };
        hash.and_then(|hash| lock(&self.inner.lower).get(&hash).copied()).unwrap_or_default()
    }

    pub(crate) async fn remove_file(&self, hash: FileHash) -> Result<bool> {
        let ids = self.inner.library.mappings().into_iter().filter(|(_, mapped)| *mapped == hash);
        let ids: Vec<Arc<str>> = ids.map(|(id, _)| id).collect();
        let Some(entry) = self.inner.library.remove(&hash, GoneReason::Removed) else { return Ok(false) };
        lock(&self.inner.lower).remove(&hash);
        if let Some(running) = self.running() {
            running.engine.discovery.withdraw(&ContentKey::Hash(hash)).await;
            for id in ids {
                if let Some(gun) = &running.ways.gun {
                    gun.unmap_content(&id);
                }
                running.engine.discovery.withdraw(&ContentKey::Id(id)).await;
            }
        }
        let path = entry.path().map(|path| path.display().to_string()).unwrap_or_default();
        self.inner.events.send(Event::FileRemoved { hash, path });
        Ok(true)
    }

    pub(crate) fn files(&self) -> Vec<FileInfo> {
        self.inner.library.files().iter().map(|entry| self.info(entry)).collect()
    }

    pub(crate) fn has_file(&self, hash: &FileHash) -> bool {
        self.inner.library.get(&ContentKey::Hash(*hash)).is_some_and(|entry| !entry.is_partial())
    }

    fn info(&self, entry: &Entry) -> FileInfo {
        let hash = entry.description.hash();
        FileInfo {
            path: entry.path().map(Path::to_owned).unwrap_or_default(),
            hash,
            size: entry.description.layout().length(),
            content_id: self.inner.library.id_of(&hash).map(|id| id.to_string()),
        }
    }

    pub(crate) fn add_content_mapping(&self, content_id: &str, hash: FileHash) -> Result<()> {
        match content_id.parse()? {
            ContentKey::Id(id) => {
                self.inner.library.map_id(&id, hash)?;
                if let Some(gun) = self.running().and_then(|running| running.ways.gun) {
                    gun.map_content(&id, hash)?;
                }
                if let (Some(running), true) = (self.running(), self.has_file(&hash))
                    && let Ok(runtime) = tokio::runtime::Handle::try_current()
                {
                    let priority = self.priority(&ContentKey::Hash(hash));
                    // Announced in the background, because this call also serves synchronous callers.
                    runtime.spawn(running.tracker.track_future(async move {
                        running.engine.discovery.announce(&ContentKey::Id(id), priority).await;
                    }));
                }
                Ok(())
            }
            ContentKey::Hash(_) => Err(Error::invalid("contentId", "64 hex digits are a hash, not a content id")),
        }
    }

    /// Takes a readable id away, here and from where it was told.
    pub(crate) async fn remove_content_mapping(&self, content_id: &str) -> Result<bool> {
        let ContentKey::Id(id) = content_id.parse()? else { return Ok(false) };
        let had = self.inner.library.unmap_id(&id).is_some();
        let key = ContentKey::Id(Arc::clone(&id));
        let announced = self.withdraw(&key).await?;
        if let Some(running) = self.running() {
            if let Some(gun) = &running.ways.gun {
                gun.unmap_content(&id);
            }
            running.engine.discovery.withdraw(&key).await;
        }
        Ok(had || announced)
    }

    /// What to look for under a key. A mapping made here is the user's word; asking others would only add doubt.
    pub(super) fn resolved(&self, key: ContentKey) -> ContentKey {
        match &key {
            ContentKey::Id(id) => self.inner.library.hash_of(id).map_or(key, ContentKey::Hash),
            ContentKey::Hash(_) => key,
        }
    }

    /// What was said here counts before what others have told.
    pub(crate) fn hash_for_content(&self, content_id: &str) -> Option<FileHash> {
        let told = || self.running()?.ways.gun?.known_hash(content_id);
        self.inner.library.hash_of(content_id).or_else(told)
    }

    pub(crate) fn content_for_hash(&self, hash: &FileHash) -> Option<String> {
        let told = || self.running()?.ways.gun?.known_id(hash);
        self.inner.library.id_of(hash).map(|id| id.to_string()).or_else(told)
    }

    /// Describes what a callback has for a key and keeps it for later requests.
    pub(super) async fn share_callback(&self, callback: FileCallback, key: &ContentKey) -> Option<Arc<Entry>> {
        let described = callback::describe(callback, key, self.inner.host.chunk_size).await;
        let entry = match described {
            Ok(entry) => Arc::new(entry?),
            Err(error) => {
                self.warn(&error);
                return None;
            }
        };
        let kept = self.inner.library.insert(Arc::clone(&entry)).and_then(|()| match key {
            ContentKey::Id(id) => self.inner.library.map_id(id, entry.description.hash()),
            ContentKey::Hash(_) => Ok(()),
        });
        if let Err(error) = kept {
            self.warn(&error);
        }
        Some(entry)
    }

    pub(super) fn cache(&self) -> Arc<HashCache> {
        let directory = self.inner.node.state_dir().filter(|_| self.inner.host.watch_persist_hashes);
        let open = || Arc::new(directory.map_or_else(HashCache::in_memory, |dir| HashCache::open(&dir)));
        Arc::clone(self.inner.cache.get_or_init(open))
    }
}
