//! The thread of a watched directory: takes the operating system's reports, looks at what the machine wants to see, and
//! tells what has happened.
//! Not here: what a report means ([`machine`](super::machine)).

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};

use super::super::directory::{self, Look};
use super::super::shared_file::Fingerprint;
use super::machine::{Listed, Machine, Output};
use super::{Change, WatchConfig};
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::limits;
use crate::base::time::Time;

/// What a watched directory tells.
#[derive(Debug)]
pub enum Told {
    /// This happened, in this order; at most [`limits::WATCH_BATCH`] changes.
    Changes(Vec<Change>),
    /// Something does not work as asked for, but watching goes on.
    Warning(Error),
    /// The directory was looked through for the first time, and what was at rest in it has been told.
    Ready,
}

/// A watched directory. Dropping it ends the thread without waiting for it.
#[derive(Debug)]
pub struct Watcher {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    news: Mutex<News>,
    changed: Condvar,
}

/// What has come in since the thread looked last.
#[derive(Debug, Default)]
struct News {
    touched: HashSet<PathBuf>,
    again: HashSet<PathBuf>,
    overflow: bool,
    /// Why the system cannot report everything any more.
    failed: Option<String>,
    stop: bool,
}

impl Watcher {
    /// Watches a directory, beginning with what is in it. `tell` is called on the thread; it may block, which makes the
    /// thread wait and loses nothing, and ends the thread by giving `false`.
    ///
    /// Errors: `FileNotFound`, `PermissionDenied`, `InvalidArgument` if it is no directory. Blocks for a moment.
    pub fn start(
        directory: &Path,
        config: WatchConfig,
        tell: impl FnMut(Told) -> bool + Send + 'static,
    ) -> Result<Self> {
        let failed = |cause| Error::io(format!("watch {}", directory.display()), cause);
        let root = std::path::absolute(directory).map_err(failed)?;
        let real = std::fs::canonicalize(&root).map_err(failed)?;
        if !real.is_dir() {
            return Err(Error::invalid("directory", format_args!("{} is not a directory", directory.display())));
        }
        std::fs::read_dir(&real).map_err(failed)?;
        let shared = Arc::<Shared>::default();
        let thread_shared = Arc::clone(&shared);
        let body = move || Driver::new(root, real, config, thread_shared, Box::new(tell)).run();
        let thread = std::thread::Builder::new().name("dig-nat-watch".into()).spawn(body).map_err(failed)?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// A file that was told of could not be used: it is told of again when it has come to rest.
    pub fn again(&self, path: PathBuf) {
        self.shared.lock().again.insert(path);
        self.shared.changed.notify_one();
    }

    /// Ends the watching and waits for the thread, which takes as long as one look through the directory at most.
    /// Whoever takes what is told must go on taking it, or refuse it.
    pub fn stop(mut self) {
        self.end();
        if let Some(thread) = self.thread.take() {
            // A panic on the thread has been reported by then.
            let _ = thread.join();
        }
    }

    fn end(&self) {
        self.shared.lock().stop = true;
        self.shared.changed.notify_one();
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.end();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, News> {
        // Every change to the news is one step.
        self.news.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a report of the operating system. Called on its thread.
    fn take(&self, report: notify::Result<notify::Event>) {
        let mut news = self.lock();
        match report {
            Ok(event) if event.need_rescan() => news.overflow = true,
            Ok(event) => match event.kind {
                // Reading a file is no news.
                EventKind::Access(kind) if kind != AccessKind::Close(AccessMode::Write) => return,
                _ => news.touched.extend(event.paths),
            },
            Err(error) if is_limit(&error) => news.failed = Some(error.to_string()),
            Err(error) => {
                tracing::debug!(%error, "a report about a watched directory is missing");
                news.overflow = true;
            }
        }
        if news.touched.len() > limits::WATCH_QUEUE {
            news.touched = HashSet::new();
            news.overflow = true;
        }
        drop(news);
        self.changed.notify_one();
    }

    /// The news, when there are some or the time has come.
    fn wait(&self, timeout: Option<Duration>) -> News {
        let quiet = |news: &mut News| {
            let nothing = news.touched.is_empty() && news.again.is_empty();
            nothing && !news.overflow && news.failed.is_none() && !news.stop
        };
        let news = self.lock();
        let mut news = match timeout {
            Some(timeout) => {
                let waited = self.changed.wait_timeout_while(news, timeout, quiet);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
            None => self.changed.wait_while(news, quiet).unwrap_or_else(PoisonError::into_inner),
        };
        let stop = news.stop;
        News { stop, ..std::mem::replace(&mut *news, News { stop, ..News::default() }) }
    }
}

/// Whether the system has no room for further watches.
fn is_limit(error: &notify::Error) -> bool {
    match &error.kind {
        notify::ErrorKind::MaxFilesWatch => true,
        // No watches left, too many open files.
        notify::ErrorKind::Io(cause) => {
            cause.kind() == std::io::ErrorKind::StorageFull || matches!(cause.raw_os_error(), Some(23 | 24))
        }
        _ => false,
    }
}

struct Driver {
    root: PathBuf,
    real: PathBuf,
    config: WatchConfig,
    excluded: HashSet<PathBuf>,
    shared: Arc<Shared>,
    tell: Box<dyn FnMut(Told) -> bool + Send>,
    machine: Machine,
    started: Instant,
    watcher: Option<RecommendedWatcher>,
    /// The directory itself cannot be read.
    lost: bool,
    ready: bool,
}

/// The receiver wants nothing more.
struct Ended;

impl Driver {
    fn new(
        root: PathBuf,
        real: PathBuf,
        config: WatchConfig,
        shared: Arc<Shared>,
        tell: Box<dyn FnMut(Told) -> bool + Send>,
    ) -> Self {
        let machine = Machine::new(root.clone(), config.clone(), Time::ZERO);
        let excluded = directory::real_paths(&config.excluded);
        let started = Instant::now();
        Self { root, real, config, excluded, shared, tell, machine, started, watcher: None, lost: false, ready: false }
    }

    fn run(mut self) {
        // Watching comes first, so that nothing that happens after the first look is missed.
        let mut went_on = self.install();
        while went_on.is_ok() {
            self.machine.handle_timeout(self.now());
            went_on = self.carry_out();
            if went_on.is_err() {
                return;
            }
            let timeout = self.machine.next_timeout().map(|at| at.since(self.now()));
            let news = self.shared.wait(timeout);
            if news.stop {
                return;
            }
            let now = self.now();
            if let Some(reason) = news.failed {
                went_on = self.fall_back(&reason);
            }
            if news.overflow {
                self.machine.rescan(now);
            }
            for path in news.touched {
                // The system names what is there, the user may have named a link to it.
                let path = path.strip_prefix(&self.real).map_or(path.clone(), |inner| self.root.join(inner));
                self.machine.touched(now, path);
            }
            for path in news.again {
                self.machine.again(now, path);
            }
        }
    }

    fn now(&self) -> Time {
        Time::from_micros(u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    fn say(&mut self, told: Told) -> Result<(), Ended> {
        if (self.tell)(told) { Ok(()) } else { Err(Ended) }
    }

    /// Asks the operating system for reports, unless polling was asked for.
    fn install(&mut self) -> Result<(), Ended> {
        if self.config.polling.is_some() {
            return Ok(());
        }
        let shared = Arc::clone(&self.shared);
        let config = notify::Config::default().with_follow_symlinks(false);
        let mode = if self.config.recursive { RecursiveMode::Recursive } else { RecursiveMode::NonRecursive };
        let installed = RecommendedWatcher::new(move |report| shared.take(report), config).and_then(|mut watcher| {
            watcher.watch(&self.real, mode)?;
            Ok(watcher)
        });
        match installed {
            Ok(watcher) => {
                self.watcher = Some(watcher);
                self.machine.poll_every(None);
                Ok(())
            }
            Err(error) => self.fall_back(&error.to_string()),
        }
    }

    /// Without (all) reports of the system the directory is looked through again and again.
    fn fall_back(&mut self, reason: &str) -> Result<(), Ended> {
        let interval = limits::WATCH_POLL_INTERVAL;
        self.watcher = None;
        self.machine.poll_every(Some(interval));
        self.config.polling = Some(interval);
        let text = format!(
            "{}: the operating system cannot watch all of it ({reason}); it is looked through every {} s instead",
            self.root.display(),
            interval.as_secs(),
        );
        self.say(Told::Warning(Error::new(ErrorKind::LimitReached, text)))
    }

    fn carry_out(&mut self) -> Result<(), Ended> {
        let mut changes = Vec::new();
        while let Some(output) = self.machine.poll() {
            match output {
                Output::Look(path) => {
                    let found = match directory::look(&self.root, &path, &self.excluded) {
                        Look::Directory if !self.config.recursive => Look::Nothing,
                        found => found,
                    };
                    let deeper = path.parent() != Some(&self.root);
                    let found = if deeper && !self.config.recursive { Look::Nothing } else { found };
                    self.machine.found(self.now(), path, found);
                }
                Output::Scan(part) => self.scan(&part)?,
                Output::Report(change) => {
                    changes.push(change);
                    if changes.len() >= limits::WATCH_BATCH {
                        self.say(Told::Changes(std::mem::take(&mut changes)))?;
                    }
                }
            }
        }
        if !changes.is_empty() {
            self.say(Told::Changes(changes))?;
        }
        if !self.ready {
            self.ready = true;
            self.say(Told::Ready)?;
        }
        Ok(())
    }

    fn scan(&mut self, part: &Path) -> Result<(), Ended> {
        match directory::scan_part(&self.root, part, &self.config.excluded, self.config.recursive) {
            Ok(paths) => {
                let clock = SystemTime::now();
                let stability = self.config.stability;
                let listed = paths.into_iter().filter_map(|path| {
                    // What is gone again is found missing when it is looked for.
                    let fingerprint = Fingerprint::of(&path).ok()?;
                    let written = std::fs::metadata(&path).and_then(|metadata| metadata.modified());
                    let age = written.ok().and_then(|written| clock.duration_since(written).ok());
                    let rested = age.is_some_and(|age| age >= stability) && fingerprint.is_settled();
                    Some(Listed { path, fingerprint, rested })
                });
                let listed = listed.collect();
                self.machine.listed(self.now(), part, listed);
                if self.lost && part == self.root {
                    self.lost = false;
                    self.install()?;
                }
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::LimitReached => self.say(Told::Warning(error)),
            Err(error) => {
                // The directory itself is gone, and all in it; it may come back.
                self.machine.listed(self.now(), part, Vec::new());
                if std::mem::replace(&mut self.lost, true) {
                    return Ok(());
                }
                self.watcher = None;
                self.machine.poll_every(Some(limits::WATCH_POLL_INTERVAL));
                self.say(Told::Warning(error))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_tables_of_the_system_are_told_from_other_failures() {
        assert!(is_limit(&notify::Error::new(notify::ErrorKind::MaxFilesWatch)));
        assert!(is_limit(&notify::Error::io(std::io::Error::from_raw_os_error(28))));
        assert!(is_limit(&notify::Error::io(std::io::Error::from_raw_os_error(24))));
        assert!(!is_limit(&notify::Error::path_not_found()));
        let shared = Shared::default();
        shared.take(Err(notify::Error::new(notify::ErrorKind::MaxFilesWatch)));
        assert!(shared.wait(None).failed.is_some());
    }

    #[test]
    fn too_many_reports_become_one_look_through_everything() {
        let shared = Shared::default();
        for number in 0..=limits::WATCH_QUEUE {
            let event = notify::Event::new(EventKind::Any).add_path(PathBuf::from(number.to_string()));
            shared.take(Ok(event));
        }
        let news = shared.wait(None);
        assert!(news.overflow && news.touched.len() < limits::WATCH_QUEUE);
        let lost = notify::Event::new(EventKind::Other).set_flag(notify::event::Flag::Rescan);
        shared.take(Ok(lost));
        assert!(shared.wait(None).overflow);
    }

    /// Without the system's reports, as when it has no watches left, nothing is missed.
    #[test]
    fn a_directory_that_cannot_be_watched_is_polled() {
        let home = tempfile::tempdir().expect("a directory");
        let config = WatchConfig { stability: Duration::from_millis(50), ..WatchConfig::default() };
        let (sender, told) = std::sync::mpsc::sync_channel(100);
        let tell = move |told| sender.send(told).is_ok();
        let watcher = Watcher::start(home.path(), config, tell).expect("a directory");
        watcher.shared.take(Err(notify::Error::new(notify::ErrorKind::MaxFilesWatch)));
        let next = |wanted: fn(&Told) -> bool| {
            let deadline = Instant::now() + Duration::from_secs(60);
            loop {
                let left = deadline.saturating_duration_since(Instant::now());
                let told = told.recv_timeout(left).expect("told before the deadline");
                if wanted(&told) {
                    return told;
                }
            }
        };
        next(|told| matches!(told, Told::Warning(error) if error.kind() == ErrorKind::LimitReached));
        let path = home.path().join("new");
        std::fs::write(&path, "content").expect("written");
        let Told::Changes(changes) = next(|told| matches!(told, Told::Changes(_))) else { unreachable!() };
        assert_eq!(changes, [Change::Added(path.clone())]);
        std::fs::remove_file(&path).expect("removed");
        let Told::Changes(changes) = next(|told| matches!(told, Told::Changes(_))) else { unreachable!() };
        assert_eq!(changes, [Change::Removed(path)]);
        watcher.stop();
    }
}
