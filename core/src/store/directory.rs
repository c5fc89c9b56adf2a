//! Whole directories: finding the files to share, and describing them with all cores and the cache.
//! Not here: watching for changes (`watch`), and announcing what was found.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::hash_cache::{CacheEntry, HashCache};
use super::names;
use super::shared_file::{Fingerprint, hash_file_with};
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::limits;
use crate::content::Description;

/// How far [`hash_all`] has got.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HashProgress {
    /// Files that have an answer, failed ones included.
    pub files_done: usize,
    /// Files in all.
    pub files_total: usize,
    /// Of the files done, those answered from the cache.
    pub files_cached: usize,
    /// Bytes of files done and of those being read, cached ones included.
    pub bytes_done: u64,
    /// Bytes of all files.
    pub bytes_total: u64,
}

/// One file's answer.
pub type Hashed = (PathBuf, Result<(Fingerprint, Description)>);

/// All regular files below a directory, sorted by path.
///
/// Left out: our own part files, temporary files and state; pipes and devices; subdirectories that cannot be read (with
/// a warning). A link to a file inside the directory counts as a file; links that lead outside are ignored, and links
/// to directories are not followed: what they show inside is listed where it really is, and no loop can arise.
///
/// Fails with `FileNotFound` or `PermissionDenied` for the directory itself, `InvalidArgument` if it is none, and
/// `LimitReached` above [`limits::MAX_SHARED_FILES`].
pub fn scan(directory: &Path) -> Result<Vec<PathBuf>> {
    scan_without(directory, &[])
}

/// The same, leaving out these paths and all below them: for state that is kept inside a shared directory.
pub fn scan_without(directory: &Path, excluded: &[PathBuf]) -> Result<Vec<PathBuf>> {
    scan_part(directory, directory, excluded, true)
}

/// The files that [`scan_without`] finds in a directory, but only those below a part of it; empty if the part is not
/// there (any more), or not one that is looked into. `recursive` false leaves subdirectories out.
pub fn scan_part(directory: &Path, part: &Path, excluded: &[PathBuf], recursive: bool) -> Result<Vec<PathBuf>> {
    let failed = |error| Error::io(format!("directory {}", directory.display()), error);
    let root = fs::canonicalize(directory).map_err(failed)?;
    if !root.is_dir() {
        return Err(Error::invalid("directory", format_args!("{} is not a directory", directory.display())));
    }
    let excluded = real_paths(excluded);
    let mut files = Vec::new();
    let mut pending = vec![(directory.to_owned(), root.clone())];
    if part != directory {
        if !recursive || !matches!(look(directory, part, &excluded), Look::Directory) {
            return Ok(files);
        }
        let inner = part.strip_prefix(directory).expect("only parts of the directory are looked into");
        pending = vec![(part.to_owned(), root.join(inner))];
    }
    let mut seen = 0;
    // Paths are carried twice: as the user wrote them, for the answer, and as they really are, to compare.
    while let Some((here, real)) = pending.pop() {
        let entries = match fs::read_dir(&here) {
            Ok(entries) => entries,
            Err(error) if real == root => return Err(failed(error)),
            Err(error) => {
                tracing::warn!(directory = %here.display(), %error, "subdirectory not shared");
                continue;
            }
        };
        for entry in entries {
            let Ok(entry) =
                entry.inspect_err(|error| tracing::warn!(directory = %here.display(), %error, "entry not read"))
            else {
                // The rest of a directory that fails while it is read will fail too.
                break;
            };
            seen += 1;
            if seen > limits::MAX_SHARED_FILES {
                let text = format!("{} holds more than {} entries", directory.display(), limits::MAX_SHARED_FILES);
                return Err(Error::new(ErrorKind::LimitReached, text));
            }
            let (path, real) = (here.join(entry.file_name()), real.join(entry.file_name()));
            let Ok(kind) = entry.file_type() else { continue };
            if names::is_own(&entry.file_name().to_string_lossy()) || excluded.contains(&real) {
                continue;
            }
            if kind.is_dir() {
                if recursive {
                    pending.push((path, real));
                }
            } else if kind.is_file() || (kind.is_symlink() && leads_to_file_inside(&path, &root, &excluded)) {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

/// What one path in a shared directory is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Look {
    /// Nothing that is shared.
    Nothing,
    /// A subdirectory that is looked into.
    Directory,
    /// A file that is shared.
    File(Fingerprint),
}

/// Tells what [`scan_without`] would make of one path below the directory. `excluded` are [`real_paths`].
pub(super) fn look(directory: &Path, path: &Path, excluded: &HashSet<PathBuf>) -> Look {
    let (Ok(inner), Ok(root)) = (path.strip_prefix(directory), fs::canonicalize(directory)) else {
        return Look::Nothing;
    };
    let (mut here, mut real) = (directory.to_owned(), root.clone());
    let mut kind = None;
    for part in inner.components() {
        // Everything above the last part has to be a directory itself, not a link to one.
        let above_is_directory = kind.is_none_or(|kind: fs::FileType| kind.is_dir());
        here.push(part);
        real.push(part);
        if !above_is_directory || names::is_own(&part.as_os_str().to_string_lossy()) || excluded.contains(&real) {
            return Look::Nothing;
        }
        match fs::symlink_metadata(&here) {
            Ok(metadata) => kind = Some(metadata.file_type()),
            Err(_) => return Look::Nothing,
        }
    }
    match kind {
        None => Look::Directory,
        Some(kind) if kind.is_dir() => Look::Directory,
        Some(kind) if kind.is_file() || (kind.is_symlink() && leads_to_file_inside(path, &root, excluded)) => {
            Fingerprint::of(path).map_or(Look::Nothing, Look::File)
        }
        Some(_) => Look::Nothing,
    }
}

/// The paths as they really are, to compare; those that do not exist exclude nothing.
pub(super) fn real_paths(excluded: &[PathBuf]) -> HashSet<PathBuf> {
    excluded.iter().filter_map(|path| fs::canonicalize(path).ok()).collect()
}

/// Describes files, from the cache where it knows them, else by reading them; answers stand in the order asked.
///
/// Files are spread over `threads` (0: one per core, at most [`limits::MAX_HASH_THREADS`]); SHA-256 is a chain, so one
/// file never uses more than one. `progress` is called from those threads, at most [`limits::PROGRESS_PER_SECOND`]
/// times a second and once at the end. `cancel` ends the work: files without an answer then fail with `Cancelled`.
/// What was hashed is in the cache by then, and in case of a crash up to [`limits::HASH_CACHE_FLUSH`] before.
pub fn hash_all(
    paths: &[PathBuf],
    cache: &HashCache,
    threads: usize,
    progress: &(dyn Fn(HashProgress) + Sync),
    cancel: &AtomicBool,
) -> Vec<Hashed> {
    let threads = thread_count(threads);
    let looked_up = in_parallel(threads, paths.len(), &|index, _| look_up(&paths[index], cache, cancel));

    let mut unknown = Vec::new();
    let report = Report::new(paths.len(), progress);
    let mut answers: Vec<Option<Result<(Fingerprint, Description)>>> = Vec::with_capacity(paths.len());
    for (index, looked_up) in looked_up.into_iter().enumerate() {
        answers.push(match looked_up {
            LookedUp::Known(fingerprint, description) => {
                report.cached(fingerprint.length());
                Some(Ok((fingerprint, description)))
            }
            LookedUp::Failed(error) => {
                report.file_done();
                Some(Err(error))
            }
            LookedUp::Unknown(length) => {
                report.bytes_total.fetch_add(length, Ordering::Relaxed);
                unknown.push((index, length));
                None
            }
        });
    }
    // The largest first, so that no thread is left alone with a large one at the end.
    unknown.sort_by_key(|(index, length)| (std::cmp::Reverse(*length), *index));

    let batch = Batch::new(cache);
    let hashed = in_parallel(threads, unknown.len(), &|turn, buffer| {
        let path = &paths[unknown[turn].0];
        let result = hash_file_with(buffer, path, &|bytes| report.bytes_read(bytes), cancel);
        if let Ok((fingerprint, description)) = &result {
            batch.add(path, fingerprint, description);
        }
        report.file_done();
        result
    });
    batch.flush();
    report.send();
    for ((index, _), result) in unknown.into_iter().zip(hashed) {
        answers[index] = Some(result);
    }
    let answers = answers.into_iter().map(|answer| answer.expect("every file was looked up or hashed"));
    paths.iter().cloned().zip(answers).collect()
}

enum LookedUp {
    Known(Fingerprint, Description),
    Unknown(u64),
    Failed(Error),
}

fn look_up(path: &Path, cache: &HashCache, cancel: &AtomicBool) -> LookedUp {
    if cancel.load(Ordering::Relaxed) {
        return LookedUp::Failed(Error::new(ErrorKind::Cancelled, format!("hash {}", path.display())));
    }
    match Fingerprint::of(path) {
        Ok(fingerprint) => match cache.get(path, &fingerprint) {
            Some(description) => LookedUp::Known(fingerprint, description),
            None => LookedUp::Unknown(fingerprint.length()),
        },
        Err(error) => LookedUp::Failed(error),
    }
}

fn leads_to_file_inside(link: &Path, root: &Path, excluded: &HashSet<PathBuf>) -> bool {
    fs::canonicalize(link).is_ok_and(|real| {
        let own = real.file_name().is_some_and(|name| names::is_own(&name.to_string_lossy()));
        real.starts_with(root) && real.is_file() && !own && !real.ancestors().any(|above| excluded.contains(above))
    })
}

fn thread_count(asked: usize) -> usize {
    let count = if asked == 0 { thread::available_parallelism().map_or(1, usize::from) } else { asked };
    count.clamp(1, limits::MAX_HASH_THREADS)
}

/// Does jobs `0..count` on some threads, each with a buffer of its own, in about this order; results in this order.
fn in_parallel<T: Send>(threads: usize, count: usize, job: &(dyn Fn(usize, &mut Vec<u8>) -> T + Sync)) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut buffer = Vec::new();
        let mut done = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= count {
                return done;
            }
            done.push((index, job(index, &mut buffer)));
        }
    };
    let mut results = thread::scope(|scope| {
        let others: Vec<_> = (1..threads.min(count)).map(|_| scope.spawn(work)).collect();
        let mut results = work();
        for other in others {
            results.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        results
    });
    results.sort_unstable_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}

/// Counts what is done and passes it on, not too often.
struct Report<'a> {
    files_done: AtomicUsize,
    files_total: usize,
    files_cached: AtomicUsize,
    bytes_done: AtomicU64,
    bytes_total: AtomicU64,
    last: Mutex<Instant>,
    progress: &'a (dyn Fn(HashProgress) + Sync),
}

impl<'a> Report<'a> {
    fn new(files_total: usize, progress: &'a (dyn Fn(HashProgress) + Sync)) -> Self {
        Self {
            files_done: AtomicUsize::new(0),
            files_total,
            files_cached: AtomicUsize::new(0),
            bytes_done: AtomicU64::new(0),
            bytes_total: AtomicU64::new(0),
            last: Mutex::new(Instant::now()),
            progress,
        }
    }

    fn cached(&self, bytes: u64) {
        self.bytes_total.fetch_add(bytes, Ordering::Relaxed);
        self.bytes_done.fetch_add(bytes, Ordering::Relaxed);
        self.files_cached.fetch_add(1, Ordering::Relaxed);
        self.files_done.fetch_add(1, Ordering::Relaxed);
    }

    fn file_done(&self) {
        self.files_done.fetch_add(1, Ordering::Relaxed);
        self.send_if_due();
    }

    fn bytes_read(&self, bytes: u64) {
        self.bytes_done.fetch_add(bytes, Ordering::Relaxed);
        self.send_if_due();
    }

    fn send_if_due(&self) {
        // Whoever finds the clock taken leaves the report to the one who has it.
        let Ok(mut last) = self.last.try_lock() else { return };
        if last.elapsed() >= Duration::from_secs(1) / limits::PROGRESS_PER_SECOND {
            *last = Instant::now();
            drop(last);
            self.send();
        }
    }

    fn send(&self) {
        (self.progress)(HashProgress {
            files_done: self.files_done.load(Ordering::Relaxed),
            files_total: self.files_total,
            files_cached: self.files_cached.load(Ordering::Relaxed),
            bytes_done: self.bytes_done.load(Ordering::Relaxed),
            bytes_total: self.bytes_total.load(Ordering::Relaxed),
        });
    }
}

/// Results on their way to the cache: a transaction waits for the disk, so many share one.
struct Batch<'a> {
    cache: &'a HashCache,
    waiting: Mutex<Waiting>,
}

struct Waiting {
    entries: Vec<CacheEntry>,
    bytes: usize,
    since: Instant,
}

impl Waiting {
    fn new() -> Self {
        Self { entries: Vec::new(), bytes: 0, since: Instant::now() }
    }

    fn is_due(&self) -> bool {
        self.entries.len() >= limits::HASH_CACHE_BATCH
            || self.bytes >= limits::HASH_CACHE_BATCH_BYTES
            || self.since.elapsed() >= limits::HASH_CACHE_FLUSH
    }
}

impl<'a> Batch<'a> {
    fn new(cache: &'a HashCache) -> Self {
        Self { cache, waiting: Mutex::new(Waiting::new()) }
    }

    fn add(&self, path: &Path, fingerprint: &Fingerprint, description: &Description) {
        let due = {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.bytes += description.all_state_bytes().len();
            waiting.entries.push((path.to_owned(), *fingerprint, description.clone()));
            waiting.is_due().then(|| std::mem::replace(&mut *waiting, Waiting::new()))
        };
        // Outside the lock: the others go on hashing while the disk is flushed.
        if let Some(due) = due {
            self.cache.put_all(&due.entries);
        }
    }

    fn flush(&self) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        self.cache.put_all(&waiting.entries);
        *waiting = Waiting::new();
    }
}

#[cfg(test)]
mod tests;
