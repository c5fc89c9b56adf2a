//! What this node says through Gun, and when each of it is to be written next. Not here: writing it.
//!
//! A stock relay keeps what sorts together in one file of a megabyte, and reads and writes all of the file for one field in
//! it. So what is due goes out in the order of its names, as a lift goes through the floors: from where it was last, to the
//! end, and from the beginning. Thousands in any other order touch every file with every round, and each round is slower.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
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
    /// What waits for its time.
    due: BTreeSet<(Instant, Job)>,
    /// What is due and not known to stand at a relay.
    urgent: Sweep,
    /// What is due although a relay has it.
    renewals: Sweep,
    unconfirmed: usize,
    watched: usize,
}

/// Jobs that are taken in their order, beginning where the last ones ended.
#[derive(Default)]
struct Sweep {
    ready: BTreeSet<Job>,
    last: Option<Job>,
}

#[derive(Clone, Copy, PartialEq)]
enum Turn {
    At(Instant),
    Urgent,
    Renewal,
    Writing,
}

/// When what was written is written again.
pub(super) struct Pace {
    begun: Instant,
    interval: Duration,
    ttl: Duration,
}

struct Said {
    turn: Turn,
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
            turn: Turn::At(now),
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
        if said.turn == Turn::Writing {
            said.again = true;
        } else {
            self.turn(job, Turn::At(now));
        }
    }

    fn turn(&mut self, job: &Job, turn: Turn) {
        let Some(said) = self.all.get_mut(job) else { return };
        match std::mem::replace(&mut said.turn, turn) {
            Turn::At(due) => drop(self.due.remove(&(due, job.clone()))),
            Turn::Urgent => drop(self.urgent.ready.remove(job)),
            Turn::Renewal => drop(self.renewals.ready.remove(job)),
            Turn::Writing => {}
        }
        match turn {
            Turn::At(due) => drop(self.due.insert((due, job.clone()))),
            Turn::Urgent => drop(self.urgent.ready.insert(job.clone())),
            Turn::Renewal => drop(self.renewals.ready.insert(job.clone())),
            Turn::Writing => {}
        }
    }

    /// Writes all again; what is being written now only if what it says has changed.
    pub(super) fn all(&mut self, now: Instant, changed: bool) {
        for job in self.all.keys().cloned().collect::<Vec<_>>() {
            if changed || self.all.get(&job).is_some_and(|said| said.turn != Turn::Writing) {
                self.soon(&job, now);
            }
        }
    }

    /// What is due, at most so many, and whether it is to be taken back; and when the next is due. What no relay is known
    /// to have goes first. Announcements wait while nobody could reach us.
    pub(super) fn take(&mut self, now: Instant, most: usize, reachable: bool) -> (Vec<(Job, bool)>, Option<Instant>) {
        while let Some((_, job)) = self.due.first().filter(|(due, _)| *due <= now).cloned() {
            let renewal = self.all.get(&job).is_some_and(|said| said.confirmed);
            self.turn(&job, if renewal { Turn::Renewal } else { Turn::Urgent });
        }
        let all = &self.all;
        let leaving = |job: &Job| all.get(job).is_some_and(|said| said.leaving);
        let may_go = |job: &Job| reachable || leaving(job) || matches!(job, Job::Map(_));
        let mut jobs = self.urgent.next(most, may_go);
        jobs.extend(self.renewals.next(most - jobs.len(), may_go));
        let jobs: Vec<(Job, bool)> = jobs.into_iter().map(|job| (job.clone(), leaving(&job))).collect();
        for (job, _) in &jobs {
            self.turn(job, Turn::Writing);
        }
        // What waits for an address is woken by one, and what there is no room for by what ends.
        (jobs, self.due.first().map(|(due, _)| *due))
    }

    /// Something was written, or not.
    pub(super) fn finished(&mut self, job: &Job, confirmed: bool, now: Instant, pace: &Pace) {
        let count = self.all.len();
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
        let due = match (std::mem::take(&mut said.again), confirmed) {
            (true, _) => now,
            (false, true) => pace.again(job, count, now),
            (false, false) => now + limits::GUN_ACK_WAIT,
        };
        self.turn(job, Turn::At(due));
    }
}

impl Sweep {
    /// The next so many of those that may go.
    fn next(&mut self, most: usize, may_go: impl Fn(&Job) -> bool) -> Vec<Job> {
        let from = self.last.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let after = self.ready.range((from, Bound::Unbounded));
        // Without a last one these are all of them.
        let before = self.last.iter().flat_map(|last| self.ready.range(..=last));
        let next: Vec<Job> = after.chain(before).filter(|job| may_go(job)).take(most).cloned().collect();
        self.last = next.last().cloned().or(self.last.take());
        next
    }
}

impl Pace {
    /// Every interval, but so that what was written is written again well before it expires.
    pub(super) fn new(begun: Instant, interval: Duration, ttl: Duration) -> Self {
        Self { begun, interval, ttl }
    }

    /// When this is to be written again, as one of so many.
    ///
    /// A few are written again every interval. Of more, each interval has its share, those that sort together: a relay
    /// without AXE sends each of them to everybody who is connected to it, and they hold for much longer.
    fn again(&self, job: &Job, count: usize, now: Instant) -> Instant {
        let longest = self.ttl / 3;
        let share = self.interval.as_secs_f64() * f64::from(limits::GUN_RENEWALS_PER_SECOND);
        let most = longest.as_secs_f64() / self.interval.as_secs_f64();
        let rounds = (count as f64 / share).ceil().min(most.floor()).max(1.0) as u64;
        if rounds == 1 {
            return now + self.interval.min(longest);
        }
        let earliest = now.saturating_duration_since(self.begun) + self.interval / 2;
        let next = (earliest.as_secs_f64() / self.interval.as_secs_f64()) as u64 + 1;
        let wait = (job.place(rounds) + rounds - next % rounds) % rounds;
        self.begun + self.interval.mul_f64((next + wait) as f64)
    }
}

impl Job {
    /// In which of so many parts of all names this one is.
    fn place(&self, parts: u64) -> u64 {
        let first = match self {
            Self::Peer(hash) => u64::from_be_bytes(std::array::from_fn(|index| hash.as_bytes()[index])),
            Self::Map(id) => u64::from_be_bytes(std::array::from_fn(|index| *id.as_bytes().get(index).unwrap_or(&0))),
        };
        ((u128::from(first) * u128::from(parts)) >> 64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn everything_is_written_in_its_turn_and_again_when_it_changed() {
        let (mut schedule, now) = (Schedule::default(), Instant::now());
        let pace = Pace::new(now, Duration::from_secs(60), HOUR);
        let hash = |index: u8| FileHash::from_bytes([index; 32]);
        for index in 0..5 {
            assert!(schedule.add(Job::Peer(hash(index)), now) && schedule.add(Job::Peer(hash(index)), now));
        }
        assert!(schedule.map("id", hash(9), now));
        assert_eq!((schedule.all.len(), schedule.unconfirmed()), (6, 6));
        assert_eq!(schedule.take(now, 10, false).0, [(Job::Map("id".into()), false)], "nobody could reach us");
        let (jobs, next) = schedule.take(now, 3, true);
        assert_eq!((jobs.len(), next), (3, None), "the others wait for room");
        // One is taken back while it is being written, one changes, one fails.
        schedule.leave(&jobs[0].0, now);
        schedule.all(now, false);
        schedule.soon(&jobs[1].0, now);
        for (job, _) in &jobs {
            schedule.finished(job, *job != jobs[2].0, now, &pace);
        }
        assert_eq!(schedule.unconfirmed(), 6);
        let (again, next) = schedule.take(now, 10, true);
        assert_eq!(again.len(), 4, "two that were not written yet, the one that is taken back, the one that changed");
        assert!(again.contains(&(jobs[0].0.clone(), true)) && !again.iter().any(|(job, _)| *job == jobs[2].0));
        assert_eq!(next, Some(now + limits::GUN_ACK_WAIT));
        for (job, _) in &again {
            schedule.finished(job, true, now, &pace);
        }
        assert_eq!((schedule.all.len(), schedule.unconfirmed()), (5, 2), "the mapping is still being written");
        schedule.finished(&Job::Map("id".into()), true, now, &pace);
        schedule.leave_all(now);
        let (all, _) = schedule.take(now, 10, false);
        assert!(all.len() == 5 && all.iter().all(|(_, leaving)| *leaving));
        for (job, _) in &all {
            schedule.finished(job, false, now, &pace);
        }
        assert!(schedule.is_empty() && schedule.unconfirmed() == 0 && schedule.due.is_empty());
        assert!(schedule.urgent.ready.is_empty() && schedule.renewals.ready.is_empty());
    }

    #[test]
    fn what_is_due_goes_out_in_order_and_what_is_new_before_renewals() {
        let (mut schedule, now) = (Schedule::default(), Instant::now());
        let pace = Pace::new(now, Duration::from_secs(60), HOUR);
        let jobs: Vec<Job> = (0..10).map(|index| Job::Peer(FileHash::from_bytes([index; 32]))).collect();
        let take = |schedule: &mut Schedule, now, most| -> Vec<Job> {
            schedule.take(now, most, true).0.into_iter().map(|(job, _)| job).collect()
        };
        // Told in another order, at other times.
        for (index, at) in [7, 3, 8, 1, 4, 6, 2].into_iter().enumerate() {
            schedule.add(jobs[at].clone(), now + Duration::from_millis(index as u64));
        }
        let now = now + Duration::from_secs(1);
        let first = take(&mut schedule, now, 3);
        assert_eq!(first, jobs[1..4]);
        for at in [0, 5] {
            schedule.add(jobs[at].clone(), now);
        }
        assert_eq!(take(&mut schedule, now, 3), jobs[4..7], "on its way");
        assert_eq!(take(&mut schedule, now, 3), [jobs[7].clone(), jobs[8].clone(), jobs[0].clone()], "and round");
        for job in &jobs[..9] {
            schedule.finished(job, true, now, &pace);
        }
        let (none, next) = schedule.take(now, 10, true);
        assert_eq!((none.len(), next), (0, Some(now + Duration::from_secs(60))), "few come every interval");
        let now = now + Duration::from_secs(61);
        schedule.add(jobs[9].clone(), now);
        let taken = take(&mut schedule, now, 10);
        assert_eq!((taken.len(), &taken[0]), (10, &jobs[9]));
    }

    #[test]
    fn of_many_each_interval_has_its_share_and_none_expires() {
        for (count, interval, ttl) in [(10_000, 60, 3600), (65_536, 60, 3600), (10_000, 1, 20), (10_000, 60, 90)] {
            let (mut schedule, begun) = (Schedule::default(), Instant::now());
            let (interval, ttl) = (Duration::from_secs(interval), Duration::from_secs(ttl));
            let pace = Pace::new(begun, interval, ttl);
            for index in 0..count {
                schedule.add(Job::Peer(FileHash::of(&u32::to_be_bytes(index))), begun);
            }
            let (mut now, mut written, mut most) = (begun, BTreeMap::new(), 0);
            let end = begun + 3 * ttl;
            while now < end {
                let (jobs, _) = schedule.take(now, count as usize, true);
                if now > begun + ttl {
                    most = most.max(jobs.len());
                }
                assert!(jobs.windows(2).all(|pair| pair[0] < pair[1]), "neighbours together");
                for (job, _) in jobs {
                    schedule.finished(&job, true, now, &pace);
                    let before = written.insert(job, now).unwrap_or(now);
                    assert!(now - before <= ttl / 2, "written again after {:?} of {ttl:?}", now - before);
                }
                now = schedule.take(now, 0, true).1.expect("more to do");
            }
            assert!(written.values().all(|last| end - *last <= ttl / 2));
            let intervals = (ttl.as_secs_f64() / 3.0 / interval.as_secs_f64()).floor().max(1.0);
            let share =
                (interval.as_secs_f64() * f64::from(limits::GUN_RENEWALS_PER_SECOND)).max(f64::from(count) / intervals);
            // Names are hashes: parts of equal size differ in how many are in them.
            assert!((most as f64) < share + 6.0 * share.sqrt() + 1.0, "{most} at once, {share} are the share");
        }
    }

    #[test]
    fn what_is_said_and_what_is_watched_is_bounded() {
        let (mut schedule, now) = (Schedule::default(), Instant::now());
        let hash = |index: usize| FileHash::of(&index.to_be_bytes());
        let added = (0..limits::MAX_GUN_ANNOUNCEMENTS + 10).filter(|index| schedule.add(Job::Peer(hash(*index)), now));
        assert_eq!(added.count(), limits::MAX_GUN_ANNOUNCEMENTS);
        assert!(schedule.add(Job::Peer(hash(0)), now), "it is said already");
        for index in 0..2 * limits::MAX_GUN_WATCHED {
            if schedule.watch(&hash(index)) {
                schedule.watched(&hash(index), CancellationToken::new());
            }
        }
        assert_eq!(schedule.watched, limits::MAX_GUN_WATCHED);
        schedule.leave(&Job::Peer(hash(0)), now);
        assert!(schedule.watch(&hash(limits::MAX_GUN_WATCHED)), "there is room again");
        assert!(!schedule.add(Job::Peer(hash(usize::MAX)), now), "what is taken back still has to be");
        schedule.take(now, usize::MAX, true);
        schedule.finished(&Job::Peer(hash(0)), true, now, &Pace::new(now, HOUR, HOUR));
        assert!(schedule.add(Job::Peer(hash(usize::MAX)), now));
    }
}
