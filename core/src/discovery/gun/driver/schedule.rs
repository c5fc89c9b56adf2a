//! What this node says through Gun, and when each of it is to be written next. Not here: writing it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::base::ids::FileHash;
use crate::base::limits;
use crate::gun::Record;

/// Something this node says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Job {
    /// That it has what is looked up under this.
    Peer(FileHash),
    /// What this content id means.
    Map(String),
}

/// Everything it says.
#[derive(Default)]
pub(super) struct Schedule {
    all: BTreeMap<Job, Said>,
    due: BTreeSet<(Instant, Job)>,
    unconfirmed: usize,
    watched: usize,
}

struct Said {
    /// None while it is being written.
    due: Option<Instant>,
    /// It has to be written again after what is being written now.
    again: bool,
    confirmed: bool,
    /// It is to be taken back.
    leaving: bool,
    /// For mappings.
    hash: Option<FileHash>,
    written: Record,
    watcher: Option<CancellationToken>,
}

impl Schedule {
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// What no relay has confirmed.
    pub(super) const fn unconfirmed(&self) -> usize {
        self.unconfirmed
    }

    /// Adds something to say. False: there is no room.
    pub(super) fn add(&mut self, job: Job, now: Instant) -> bool {
        if let Some(said) = self.all.get_mut(&job) {
            if said.leaving {
                said.leaving = false;
                self.soon(&job, now);
            }
            return true;
        }
        if self.all.len() >= limits::MAX_GUN_ANNOUNCEMENTS {
            return false;
        }
        let said = Said {
            due: Some(now),
            again: false,
            confirmed: false,
            leaving: false,
            hash: None,
            written: Record::new(),
            watcher: None,
        };
        self.due.insert((now, job.clone()));
        self.all.insert(job, said);
        self.unconfirmed += 1;
        true
    }

    pub(super) fn map(&mut self, id: &str, hash: FileHash, now: Instant) -> bool {
        let job = Job::Map(id.to_owned());
        let room = self.add(job.clone(), now);
        if let Some(said) = self.all.get_mut(&job)
            && said.hash.replace(hash) != Some(hash)
        {
            self.soon(&job, now);
        }
        room
    }

    pub(super) fn mapped(&self, id: &str) -> Option<FileHash> {
        self.all.get(&Job::Map(id.to_owned()))?.hash
    }

    /// Takes something back.
    pub(super) fn leave(&mut self, job: &Job, now: Instant) {
        let Some(said) = self.all.get_mut(job) else { return };
        said.leaving = true;
        if let Some(watcher) = said.watcher.take() {
            watcher.cancel();
            self.watched -= 1;
        }
        self.soon(job, now);
    }

    pub(super) fn leave_all(&mut self, now: Instant) {
        for job in self.all.keys().cloned().collect::<Vec<_>>() {
            self.leave(&job, now);
        }
    }

    /// Whether this announcement is to be watched by a new task.
    pub(super) fn watch(&self, hash: &FileHash) -> bool {
        let unwatched = self.all.get(&Job::Peer(*hash)).is_some_and(|said| said.watcher.is_none());
        unwatched && self.watched < limits::MAX_GUN_WATCHED
    }

    pub(super) fn watched(&mut self, hash: &FileHash, token: CancellationToken) {
        match self.all.get_mut(&Job::Peer(*hash)) {
            Some(said) if !said.leaving && said.watcher.is_none() => {
                said.watcher = Some(token);
                self.watched += 1;
            }
            // It was taken back meanwhile, or two have begun.
            _ => token.cancel(),
        }
    }

    /// What was written last of an announcement.
    pub(super) fn last(&self, hash: &FileHash) -> Option<&Record> {
        self.all.get(&Job::Peer(*hash)).filter(|said| !said.leaving).map(|said| &said.written)
    }

    pub(super) fn written(&mut self, hash: &FileHash, fields: Record) {
        if let Some(said) = self.all.get_mut(&Job::Peer(*hash)) {
            said.written = fields;
        }
    }

    /// Writes it again as soon as possible.
    pub(super) fn soon(&mut self, job: &Job, now: Instant) {
        let Some(said) = self.all.get_mut(job) else { return };
        self.unconfirmed += usize::from(std::mem::take(&mut said.confirmed));
        match &mut said.due {
            Some(due) => {
                self.due.remove(&(*due, job.clone()));
                *due = now;
                self.due.insert((now, job.clone()));
            }
            None => said.again = true,
        }
    }

    /// Writes all again; what is being written now only if what it says has changed.
    pub(super) fn all(&mut self, now: Instant, changed: bool) {
        for job in self.all.keys().cloned().collect::<Vec<_>>() {
            if changed || self.all.get(&job).is_some_and(|said| said.due.is_some()) {
                self.soon(&job, now);
            }
        }
    }

    /// What is due, at most so many, and whether it is to be taken back; and when the next is due. Announcements wait
    /// while nobody could reach us.
    pub(super) fn take(&mut self, now: Instant, most: usize, reachable: bool) -> (Vec<(Job, bool)>, Option<Instant>) {
        let mut jobs = Vec::new();
        for (due, job) in &self.due {
            if *due > now || jobs.len() >= most {
                break;
            }
            let leaving = self.all.get(job).is_some_and(|said| said.leaving);
            if reachable || leaving || matches!(job, Job::Map(_)) {
                jobs.push((job.clone(), leaving));
            }
        }
        for (job, _) in &jobs {
            if let Some(said) = self.all.get_mut(job)
                && let Some(due) = said.due.take()
            {
                self.due.remove(&(due, job.clone()));
            }
        }
        // What waits for an address is woken by one.
        let next = self.due.iter().map(|(due, _)| *due).find(|due| reachable || *due > now);
        (jobs, next)
    }

    /// Something was written, or not.
    pub(super) fn finished(&mut self, job: &Job, confirmed: bool, now: Instant, pause: Duration) {
        let Some(said) = self.all.get_mut(job) else { return };
        if said.leaving && !said.again {
            let said = self.all.remove(job);
            self.unconfirmed -= usize::from(said.is_some_and(|said| !said.confirmed));
            return;
        }
        if confirmed && !said.again && !said.confirmed {
            said.confirmed = true;
            self.unconfirmed -= 1;
        }
        let wait = match (std::mem::take(&mut said.again), confirmed) {
            (true, _) => Duration::ZERO,
            (false, true) => pause,
            (false, false) => limits::GUN_ACK_WAIT,
        };
        said.due = Some(now + wait);
        self.due.insert((now + wait, job.clone()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_written_in_its_turn_and_again_when_it_changed() {
        let (mut schedule, now, pause) = (Schedule::default(), Instant::now(), Duration::from_secs(60));
        let hash = |index: u8| FileHash::from_bytes([index; 32]);
        for index in 0..5 {
            assert!(schedule.add(Job::Peer(hash(index)), now) && schedule.add(Job::Peer(hash(index)), now));
        }
        assert!(schedule.map("id", hash(9), now));
        assert_eq!((schedule.len(), schedule.unconfirmed()), (6, 6));
        assert_eq!(schedule.take(now, 10, false).0, [(Job::Map("id".into()), false)], "nobody could reach us");
        let (jobs, next) = schedule.take(now, 3, true);
        assert_eq!((jobs.len(), next), (3, Some(now)));
        // One is taken back while it is being written, one changes, one fails.
        schedule.leave(&jobs[0].0, now);
        schedule.all(now, false);
        schedule.soon(&jobs[1].0, now);
        for (job, _) in &jobs {
            schedule.finished(job, *job != jobs[2].0, now, pause);
        }
        assert_eq!(schedule.unconfirmed(), 6);
        let (again, next) = schedule.take(now, 10, true);
        assert_eq!(again.len(), 4, "two that were not written yet, the one that is taken back, the one that changed");
        assert!(again.contains(&(jobs[0].0.clone(), true)) && !again.iter().any(|(job, _)| *job == jobs[2].0));
        assert_eq!(next, Some(now + limits::GUN_ACK_WAIT));
        for (job, _) in &again {
            schedule.finished(job, true, now, pause);
        }
        assert_eq!((schedule.len(), schedule.unconfirmed()), (5, 2), "the mapping is still being written");
        schedule.finished(&Job::Map("id".into()), true, now, pause);
        schedule.leave_all(now);
        let (all, _) = schedule.take(now, 10, false);
        assert!(all.len() == 5 && all.iter().all(|(_, leaving)| *leaving));
        for (job, _) in &all {
            schedule.finished(job, false, now, pause);
        }
        assert!(schedule.is_empty() && schedule.unconfirmed() == 0 && schedule.due.is_empty());
    }
}
