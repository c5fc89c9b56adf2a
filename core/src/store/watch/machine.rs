//! Decides what to look at next and what has happened to the files of a directory. Pure: time is an argument, and what
//! was found on disk comes in as an answer.
//! Not here: reports of the operating system and the disk itself ([`driver`](super::driver)).
//!
//! A path that was touched is looked at after the debounce time. A file that is not as it was told of before waits until
//! it looked the same twice, [`WatchConfig::stability`] apart. A file that is gone waits for a moment whether it turns up
//! under another name. Directories are looked through, and looked through again a little later: what came into a new one
//! before the system watched it was not reported.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::super::directory::Look as Found;
use super::super::shared_file::Fingerprint;
use super::{Change, WatchConfig};
use crate::base::limits;
use crate::base::time::Time;

/// One file found by looking through a directory.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Where.
    pub path: PathBuf,
    /// What it looks like.
    pub fingerprint: Fingerprint,
    /// It was not written to for at least [`WatchConfig::stability`].
    pub rested: bool,
}

/// Something the driver is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Say what is at this path: [`Machine::found`].
    Look(PathBuf),
    /// List the files below this directory: [`Machine::listed`].
    Scan(PathBuf),
    /// Tell of this.
    Report(Change),
}

#[derive(Clone, Copy, Debug)]
struct Known {
    fingerprint: Fingerprint,
    /// Not found when it was looked for last.
    missing: bool,
}

#[derive(Clone, Debug)]
struct Pending {
    due: Time,
    /// The file as it was found last, and since when it has looked so.
    seen: Option<(Fingerprint, Time)>,
    /// The file that it may have been before was looked for.
    origin_asked: bool,
    /// Being looked at: the answer is on its way.
    asked: bool,
}

impl Pending {
    const NEW: Self = Self { due: Time::NEVER, seen: None, origin_asked: false, asked: false };
}

/// The state of one watched directory.
#[derive(Debug)]
pub struct Machine {
    root: PathBuf,
    config: WatchConfig,
    known: BTreeMap<PathBuf, Known>,
    /// Paths by device and inode, to recognise a file under another name.
    identities: HashMap<(u64, u64), PathBuf>,
    pending: BTreeMap<PathBuf, Pending>,
    /// When which paths are due.
    schedule: BTreeMap<Time, Vec<PathBuf>>,
    /// Directories to look through, and when.
    scans: BTreeMap<PathBuf, Time>,
    last_full_scan: Option<Time>,
    first_scan_done: bool,
    outputs: VecDeque<Output>,
}

impl Machine {
    /// Begins with a look through the whole directory.
    pub fn new(root: PathBuf, config: WatchConfig, now: Time) -> Self {
        let scans = BTreeMap::from([(root.clone(), now)]);
        Self {
            root,
            config,
            known: BTreeMap::new(),
            identities: HashMap::new(),
            pending: BTreeMap::new(),
            schedule: BTreeMap::new(),
            scans,
            last_full_scan: None,
            first_scan_done: false,
            outputs: VecDeque::new(),
        }
    }

    /// Something happened at this path, or may have.
    pub fn touched(&mut self, now: Time, path: PathBuf) {
        if path == self.root {
            return self.rescan(now);
        }
        if path.starts_with(&self.root) {
            self.plan(path, now + self.config.debounce);
        }
    }

    /// Reports were lost: look through everything.
    pub fn rescan(&mut self, now: Time) {
        let earliest = self.last_full_scan.map_or(Time::ZERO, |last| last + limits::WATCH_RESCAN_PAUSE);
        let due = (now + self.config.debounce).max(earliest);
        let at = self.scans.entry(self.root.clone()).or_insert(due);
        *at = (*at).min(due);
    }

    /// A file that was told of could not be used: it is told of again when it has come to rest.
    pub fn again(&mut self, now: Time, path: PathBuf) {
        if let Some(known) = self.known.remove(&path) {
            self.forget_identity(&path, &known.fingerprint);
        }
        self.touched(now, path);
    }

    /// The answer to [`Output::Look`].
    pub fn found(&mut self, now: Time, path: PathBuf, found: Found) {
        let found = match found {
            Found::File(fingerprint) if !self.config.admits(&path, fingerprint.length()) => Found::Nothing,
            found => found,
        };
        if let Some(pending) = self.pending.get_mut(&path) {
            pending.asked = false;
        }
        match found {
            Found::Directory => {
                if self.known.contains_key(&path) {
                    self.found_nothing(now, &path);
                } else {
                    self.settle(&path);
                }
                if self.config.recursive {
                    self.outputs.push_back(Output::Scan(path.clone()));
                    self.scans.entry(path).or_insert(now + self.config.stability);
                }
            }
            Found::File(fingerprint) => self.found_file(now, path, fingerprint),
            Found::Nothing => {
                self.found_nothing(now, &path);
                // It may have been a directory.
                let below: Vec<PathBuf> = self.known_below(&path).filter(|known| *known != path).collect();
                for path in below {
                    self.plan(path, now);
                }
            }
        }
    }

    fn found_file(&mut self, now: Time, path: PathBuf, fingerprint: Fingerprint) {
        if let Some(known) = self.known.get_mut(&path)
            && known.fingerprint == fingerprint
        {
            known.missing = false;
            return self.settle(&path);
        }
        let pending = self.pending.entry(path.clone()).or_insert(Pending::NEW);
        // The same file under another name needs no rest: its content is known.
        let identity = identity(&fingerprint);
        if let Some(origin) = self.identities.get(&identity).filter(|origin| **origin != path).cloned()
            && let Some(before) = self.known.get(&origin)
            && before.fingerprint == fingerprint
        {
            if before.missing {
                self.settle(&origin);
                self.settle(&path);
                self.known.remove(&origin);
                self.know(path.clone(), fingerprint);
                let moved = Change::Moved { from: origin, to: path, fingerprint };
                return self.outputs.push_back(Output::Report(moved));
            }
            if !pending.origin_asked {
                pending.origin_asked = true;
                self.plan(origin, now);
                // Right after the answer about the other name, which is given before this is looked at again.
                return self.plan(path, now + Duration::from_millis(1));
            }
        }
        match pending.seen {
            Some((seen, since)) if seen == fingerprint && now >= since + self.config.stability => {
                self.rest(path, fingerprint);
            }
            Some((seen, since)) if seen == fingerprint => {
                let due = since + self.config.stability;
                self.plan(path, due);
            }
            _ => {
                pending.seen = Some((fingerprint, now));
                self.plan(path, now + self.config.stability);
            }
        }
    }

    fn found_nothing(&mut self, now: Time, path: &Path) {
        let Some(known) = self.known.get_mut(path) else { return self.settle(path) };
        if known.missing {
            let fingerprint = known.fingerprint;
            self.known.remove(path);
            self.forget_identity(path, &fingerprint);
            self.settle(path);
            return self.outputs.push_back(Output::Report(Change::Removed(path.to_owned())));
        }
        known.missing = true;
        self.plan(path.to_owned(), now + limits::WATCH_MOVE_WAIT);
    }

    /// The answer to [`Output::Scan`]: every file below the directory that would be shared.
    pub fn listed(&mut self, now: Time, below: &Path, files: Vec<Listed>) {
        let everything = below == self.root;
        if everything {
            self.last_full_scan = Some(now);
        }
        let mut unseen: std::collections::HashSet<PathBuf> =
            self.known_below(below).chain(self.pending_below(below)).collect();
        for file in files {
            unseen.remove(&file.path);
            if !self.config.admits(&file.path, file.fingerprint.length()) {
                if self.known.contains_key(&file.path) {
                    self.plan(file.path, now);
                }
                continue;
            }
            // Files that were there before us and have been at rest need not prove it.
            let first = everything && !self.first_scan_done;
            if first && file.rested && !self.pending.contains_key(&file.path) {
                self.rest(file.path, file.fingerprint);
            } else if self
                .known
                .get(&file.path)
                .is_none_or(|known| known.missing || known.fingerprint != file.fingerprint)
            {
                self.found_file(now, file.path, file.fingerprint);
            }
        }
        self.first_scan_done |= everything;
        for path in unseen {
            self.plan(path, now);
        }
    }

    /// Everything that is due is asked for. To be called when [`Self::next_timeout`] has come.
    pub fn handle_timeout(&mut self, now: Time) {
        if self.last_full_scan.is_some_and(|last| now >= last + self.rescan_interval()) {
            self.scans.entry(self.root.clone()).or_insert(now);
        }
        let due: Vec<PathBuf> = self.scans.iter().filter(|(_, at)| **at <= now).map(|(path, _)| path.clone()).collect();
        for path in due {
            self.scans.remove(&path);
            if path == self.root {
                // Until the answer comes; it counts from there.
                self.last_full_scan = Some(now);
            }
            self.outputs.push_back(Output::Scan(path));
        }
        while let Some(entry) = self.schedule.first_entry()
            && *entry.key() <= now
        {
            let (at, mut paths) = entry.remove_entry();
            // Reports come in no order that would mean anything.
            paths.sort_unstable();
            for path in paths {
                if let Some(pending) = self.pending.get_mut(&path)
                    && pending.due == at
                    && !pending.asked
                {
                    pending.asked = true;
                    self.outputs.push_back(Output::Look(path));
                }
            }
        }
    }

    /// When there is something to do next.
    pub fn next_timeout(&self) -> Option<Time> {
        let scan = self.scans.values().min().copied();
        let look = self.schedule.keys().next().copied();
        let again = self.last_full_scan.map(|last| last + self.rescan_interval());
        [scan, look, again].into_iter().flatten().min()
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Files told of and not gone.
    pub fn files(&self) -> usize {
        self.known.len()
    }

    fn rescan_interval(&self) -> Duration {
        self.config.polling.unwrap_or(limits::WATCH_RESCAN_INTERVAL)
    }

    /// Look through the whole directory so often, because the system's reports are not to be had; `None` when they are.
    pub fn poll_every(&mut self, interval: Option<Duration>) {
        self.config.polling = interval;
    }

    fn rest(&mut self, path: PathBuf, fingerprint: Fingerprint) {
        self.settle(&path);
        let change = match self.know(path.clone(), fingerprint) {
            Some(_) => Change::Changed(path),
            None => Change::Added(path),
        };
        self.outputs.push_back(Output::Report(change));
    }

    fn know(&mut self, path: PathBuf, fingerprint: Fingerprint) -> Option<Known> {
        let old = self.known.insert(path.clone(), Known { fingerprint, missing: false });
        if let Some(old) = &old {
            self.forget_identity(&path, &old.fingerprint);
        }
        self.identities.insert(identity(&fingerprint), path);
        old
    }

    fn forget_identity(&mut self, path: &Path, fingerprint: &Fingerprint) {
        let identity = identity(fingerprint);
        if self.identities.get(&identity).is_some_and(|known| known == path) {
            self.identities.remove(&identity);
        }
    }

    /// Nothing more is to be done about this path. What the schedule still holds of it is passed over.
    fn settle(&mut self, path: &Path) {
        self.pending.remove(path);
    }

    /// Has the path looked at then; a look that was due before gives way.
    fn plan(&mut self, path: PathBuf, due: Time) {
        let pending = self.pending.entry(path.clone()).or_insert(Pending::NEW);
        if pending.due != due || pending.asked {
            pending.due = due;
            pending.asked = false;
            self.schedule.entry(due).or_default().push(path);
        }
    }

    fn known_below<'a>(&'a self, directory: &'a Path) -> impl Iterator<Item = PathBuf> + 'a {
        let from_here = self.known.range(directory.to_owned()..);
        from_here.map(|(path, _)| path).take_while(move |path| path.starts_with(directory)).cloned()
    }

    fn pending_below<'a>(&'a self, directory: &'a Path) -> impl Iterator<Item = PathBuf> + 'a {
        let seen = self.pending.range(directory.to_owned()..);
        let below = seen.take_while(move |(path, _)| path.starts_with(directory));
        below.filter(|(_, pending)| pending.seen.is_some()).map(|(path, _)| path.clone())
    }
}

fn identity(fingerprint: &Fingerprint) -> (u64, u64) {
    (fingerprint.device, fingerprint.inode)
}

#[cfg(test)]
mod tests;
