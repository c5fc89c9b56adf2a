//! What this node can give: shared files, parts of running downloads, content behind a callback.
//! Not here: who is served when (the choker), and streams ([`serving`](super::serving)).

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use bytes::Bytes;
use futures::future::BoxFuture;
use tokio::sync::{broadcast, watch};

use crate::base::error::{Error, ErrorKind, Result};
use crate::base::ids::{ContentKey, FileHash, PeerId};
use crate::base::limits;
use crate::content::description::Description;
use crate::content::proof::Ledger;
use crate::store::part_file::PartFile;
use crate::store::shared_file::{Fingerprint, SharedFile};
use crate::transfer::serve::Content;
use crate::wire::transfer::{GoneReason, Span};

/// Reads bytes of content that is not a file.
pub type RangeReader = Arc<dyn Fn(Span) -> BoxFuture<'static, Result<Bytes>> + Send + Sync>;

/// Where the bytes of an entry come from.
#[derive(Clone)]
pub enum ByteSource {
    /// A shared file, as it was when it was hashed.
    File {
        /// Where it is.
        path: PathBuf,
        /// What it looked like.
        fingerprint: Fingerprint,
    },
    /// The part file of a running download.
    Part(Arc<PartFile>),
    /// A callback of the user.
    Reader(RangeReader),
}

/// One content that can be served.
pub struct Entry {
    /// How it is described.
    pub description: Description,
    /// Suggested file name.
    pub name: String,
    bytes: ByteSource,
    progress: Option<Partial>,
    gone: watch::Sender<Option<GoneReason>>,
}

struct Partial {
    pieces: Mutex<Ledger>,
    news: broadcast::Sender<u32>,
    /// Told of requesters that have pieces of this file themselves.
    fellows: tokio::sync::mpsc::Sender<PeerId>,
}

/// An open entry, ready to be read by one stream.
pub enum OpenEntry {
    /// A shared file.
    File(Arc<SharedFile>),
    /// The part file of a running download.
    Part(Arc<PartFile>),
    /// A callback.
    Reader(RangeReader),
}

impl Entry {
    /// A file that is there completely.
    pub fn complete(description: Description, name: String, bytes: ByteSource) -> Self {
        Self { description, name, bytes, progress: None, gone: watch::channel(None).0 }
    }

    /// A running download without any piece yet. `fellows` is told of requesters that have pieces themselves.
    pub fn partial(
        description: Description,
        name: String,
        part: Arc<PartFile>,
        fellows: tokio::sync::mpsc::Sender<PeerId>,
    ) -> Self {
        let pieces = Mutex::new(Ledger::new(description.layout().pieces()));
        let news = broadcast::channel(limits::PIECE_NEWS_QUEUE).0;
        let progress = Some(Partial { pieces, news, fellows });
        Self { description, name, bytes: ByteSource::Part(part), progress, gone: watch::channel(None).0 }
    }

    /// What a serving session needs to know.
    pub fn content(&self) -> Content {
        let pieces = self.progress.as_ref().map(|partial| lock(&partial.pieces).clone());
        Content { description: self.description.clone(), name: self.name.clone(), pieces }
    }

    /// One more piece may be served.
    pub fn add_piece(&self, piece: u32) {
        if let Some(partial) = &self.progress {
            lock(&partial.pieces).mark_consistent(piece);
            // Nobody listening is fine.
            let _ = partial.news.send(piece);
        }
    }

    /// New pieces from now on; `None` for complete content.
    pub fn news(&self) -> Option<broadcast::Receiver<u32>> {
        self.progress.as_ref().map(|partial| partial.news.subscribe())
    }

    /// Pieces that may be served, for a session that missed news.
    pub fn pieces(&self) -> Option<Ledger> {
        self.progress.as_ref().map(|partial| lock(&partial.pieces).clone())
    }

    /// A requester has pieces of its own: worth asking, if this is a running download.
    pub fn fellow(&self, peer: &PeerId) {
        if let Some(partial) = &self.progress {
            // A full queue means that there are plenty of them already.
            let _ = partial.fellows.try_send(peer.clone());
        }
    }

    /// Changes to a reason when this content is withdrawn.
    pub fn gone(&self) -> watch::Receiver<Option<GoneReason>> {
        self.gone.subscribe()
    }

    /// Ends all sessions of this content.
    pub fn withdraw(&self, reason: GoneReason) {
        self.gone.send_replace(Some(reason));
    }

    /// Where a shared file is.
    pub fn path(&self) -> Option<&Path> {
        match &self.bytes {
            ByteSource::File { path, .. } => Some(path),
            _ => None,
        }
    }

    /// Whether pieces are still missing.
    pub const fn is_partial(&self) -> bool {
        self.progress.is_some()
    }

    /// Opens the bytes. Blocking. [`ErrorKind::FileChanged`] when a shared file is not what was hashed.
    pub fn open(&self) -> Result<OpenEntry> {
        Ok(match &self.bytes {
            ByteSource::File { path, fingerprint } => {
                let file = SharedFile::open(path)?;
                if file.fingerprint() != fingerprint {
                    return Err(Error::new(
                        ErrorKind::FileChanged,
                        format!("{} changed after it was hashed", path.display()),
                    ));
                }
                OpenEntry::File(Arc::new(file))
            }
            ByteSource::Part(part) => OpenEntry::Part(Arc::clone(part)),
            ByteSource::Reader(reader) => OpenEntry::Reader(Arc::clone(reader)),
        })
    }
}

/// All contents of a node. Lookups are by hash or content id.
#[derive(Default)]
pub struct Library {
    entries: RwLock<HashMap<FileHash, Arc<Entry>>>,
    /// Hash of each shared path, so that a changed file replaces its old self.
    paths: RwLock<HashMap<PathBuf, FileHash>>,
    ids: RwLock<BTreeMap<Arc<str>, FileHash>>,
}

impl Library {
    /// Adds or replaces an entry. A complete entry is never replaced by a partial one.
    pub fn insert(&self, entry: Arc<Entry>) -> Result<()> {
        let mut entries = write(&self.entries);
        let hash = entry.description.hash();
        match entries.get(&hash) {
            Some(old) if entry.is_partial() && !old.is_partial() => return Ok(()),
            None if entries.len() >= limits::MAX_SHARED_FILES => {
                return Err(Error::new(
                    ErrorKind::LimitReached,
                    format!("a node shares at most {} files", limits::MAX_SHARED_FILES),
                ));
            }
            _ => {}
        }
        let path = entry.path().map(Path::to_owned);
        entries.insert(hash, entry);
        if let Some(path) = path
            && let Some(old) = write(&self.paths).insert(path.clone(), hash).filter(|old| *old != hash)
            // The old content may also be at another path, and be shared from there.
            && entries.get(&old).is_some_and(|entry| entry.path() == Some(&path))
            && let Some(outdated) = entries.remove(&old)
        {
            outdated.withdraw(GoneReason::Changed);
        }
        Ok(())
    }

    /// Nothing is shared from this path any more. What was, is shared from elsewhere or was removed.
    pub fn forget_path(&self, path: &Path) {
        write(&self.paths).remove(path);
    }

    /// Withdraws content; gives back what it was.
    pub fn remove(&self, hash: &FileHash, reason: GoneReason) -> Option<Arc<Entry>> {
        let entry = write(&self.entries).remove(hash)?;
        write(&self.ids).retain(|_, mapped| mapped != hash);
        if let Some(path) = entry.path() {
            write(&self.paths).remove(path);
        }
        entry.withdraw(reason);
        Some(entry)
    }

    /// Withdraws exactly this entry, if it is still the one that is served.
    pub fn remove_entry(&self, entry: &Arc<Entry>, reason: GoneReason) {
        let hash = entry.description.hash();
        let mut entries = write(&self.entries);
        if entries.get(&hash).is_some_and(|current| Arc::ptr_eq(current, entry)) {
            entries.remove(&hash);
            if let Some(path) = entry.path() {
                write(&self.paths).remove(path);
            }
        }
        drop(entries);
        entry.withdraw(reason);
    }

    /// Finds content.
    pub fn get(&self, key: &ContentKey) -> Option<Arc<Entry>> {
        let hash = match key {
            ContentKey::Hash(hash) => *hash,
            ContentKey::Id(id) => *read(&self.ids).get(id)?,
        };
        read(&self.entries).get(&hash).cloned()
    }

    /// What is shared at this path.
    pub fn at_path(&self, path: &Path) -> Option<Arc<Entry>> {
        let hash = *read(&self.paths).get(path)?;
        read(&self.entries).get(&hash).cloned()
    }

    /// Keys under which this node is to be found: hashes, and the content ids that lead to one of them.
    pub fn keys(&self) -> Vec<ContentKey> {
        let entries = read(&self.entries);
        let ids = read(&self.ids);
        let named =
            ids.iter().filter(|(_, hash)| entries.contains_key(*hash)).map(|(id, _)| ContentKey::Id(id.clone()));
        entries.keys().map(|hash| ContentKey::Hash(*hash)).chain(named).collect()
    }

    /// Every complete shared file, ordered by path.
    pub fn files(&self) -> Vec<Arc<Entry>> {
        let mut files: Vec<_> = read(&self.entries).values().filter(|entry| entry.path().is_some()).cloned().collect();
        files.sort_by(|a, b| a.path().cmp(&b.path()));
        files
    }

    /// Gives a hash a readable id; the last mapping of an id wins.
    pub fn map_id(&self, id: &str, hash: FileHash) -> Result<()> {
        let mut ids = write(&self.ids);
        if ids.len() >= limits::MAX_CONTENT_IDS && !ids.contains_key(id) {
            return Err(Error::new(
                ErrorKind::LimitReached,
                format!("a node knows at most {} content ids", limits::MAX_CONTENT_IDS),
            ));
        }
        ids.insert(id.into(), hash);
        Ok(())
    }

    /// Takes an id away; gives back what it meant.
    pub fn unmap_id(&self, id: &str) -> Option<FileHash> {
        write(&self.ids).remove(id)
    }

    /// All ids and what they mean.
    pub fn mappings(&self) -> Vec<(Arc<str>, FileHash)> {
        read(&self.ids).iter().map(|(id, hash)| (Arc::clone(id), *hash)).collect()
    }

    /// The hash behind an id.
    pub fn hash_of(&self, id: &str) -> Option<FileHash> {
        read(&self.ids).get(id).copied()
    }

    /// The (alphabetically first) id of a hash.
    pub fn id_of(&self, hash: &FileHash) -> Option<Arc<str>> {
        read(&self.ids).iter().find(|(_, mapped)| *mapped == hash).map(|(id, _)| Arc::clone(id))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read<T>(lock: &RwLock<T>) -> std::sync::RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> std::sync::RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}
