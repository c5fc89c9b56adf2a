//! The paths of one ladder: the one in use, and those that stand by. Pure.
//! Not here: how they came about.

use super::{Class, RungId};
use crate::base::limits;
use crate::base::time::Time;
use crate::nat::method::Method;

/// The table. At most one path is in use; none stands by unless one is in use.
#[derive(Debug, Default)]
pub(super) struct Paths {
    active: Option<Path>,
    standby: Vec<Path>,
}

#[derive(Clone, Copy, Debug)]
struct Path {
    rung: RungId,
    method: Method,
    class: Class,
    since: Time,
    /// The network changed since it last proved to work.
    doubtful: bool,
    /// When it is released; only for those that stand by.
    until: Time,
}

/// What became of a new path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// It is the only one.
    First,
    /// It is used instead of another.
    InsteadOf(RungId),
    /// It stands by, or was not needed.
    Standby,
}

impl Paths {
    /// A new path stands. Also returns the paths to release, which may include it.
    pub(super) fn add(&mut self, now: Time, rung: RungId, method: Method, class: Class) -> (Taken, Vec<RungId>) {
        let until = now + limits::STANDBY_LINGER;
        let path = Path { rung, method, class, since: now, doubtful: false, until };
        let Some(active) = self.active else {
            self.active = Some(path);
            return (Taken::First, Vec::new());
        };
        let better = path.class < active.class || (active.doubtful && path.class <= active.class);
        if better {
            self.active = Some(path);
            self.standby.push(Path { until, ..active });
            (Taken::InsteadOf(active.rung), self.shed())
        } else {
            self.standby.push(path);
            (Taken::Standby, self.shed())
        }
    }

    /// Keeps the best to stand by, trusted ones first, and one of each class.
    fn shed(&mut self) -> Vec<RungId> {
        // Of equal ones the circuit: signalling may go over it.
        self.standby.sort_by_key(|path| {
            (path.doubtful, path.class, path.method != Method::Circuit, std::cmp::Reverse(path.since))
        });
        let mut released = Vec::new();
        let mut kept: Vec<Path> = Vec::new();
        for path in self.standby.drain(..) {
            let twice = kept.iter().any(|other| other.class == path.class);
            if twice || kept.len() >= limits::MAX_STANDBY_PATHS {
                released.push(path.rung);
            } else {
                kept.push(path);
            }
        }
        self.standby = kept;
        released
    }

    /// A path is gone. Its method, since when it stood, and whether it was in use.
    pub(super) fn remove(&mut self, rung: RungId) -> Option<(Method, Time, bool)> {
        if let Some(path) = self.active.take_if(|path| path.rung == rung) {
            return Some((path.method, path.since, true));
        }
        let position = self.standby.iter().position(|path| path.rung == rung)?;
        let path = self.standby.remove(position);
        Some((path.method, path.since, false))
    }

    /// Uses the best that stands by.
    pub(super) fn fall_back(&mut self, now: Time) -> Option<(RungId, Method)> {
        if self.standby.is_empty() {
            return None;
        }
        let path = Path { since: now, ..self.standby.remove(0) };
        self.active = Some(path);
        Some((path.rung, path.method))
    }

    /// The network changed: no path is trusted before it has proven itself.
    pub(super) fn doubt(&mut self) {
        self.active.iter_mut().chain(&mut self.standby).for_each(|path| path.doubtful = true);
    }

    /// A path has proven itself.
    pub(super) fn confirm(&mut self, rung: RungId) {
        let mut all = self.active.iter_mut().chain(&mut self.standby);
        if let Some(path) = all.find(|path| path.rung == rung) {
            path.doubtful = false;
        }
    }

    /// The class that a new path has to beat.
    pub(super) fn bar(&self) -> Option<Class> {
        self.active.filter(|path| !path.doubtful).map(|path| path.class)
    }

    /// Those whose time to stand by is over.
    pub(super) fn expire(&mut self, now: Time) -> Vec<RungId> {
        let over: Vec<RungId> = self.standby.iter().filter(|path| path.until <= now).map(|path| path.rung).collect();
        self.standby.retain(|path| path.until > now);
        over
    }

    pub(super) fn next_expiry(&self) -> Option<Time> {
        self.standby.iter().map(|path| path.until).min()
    }

    /// Forgets all; those there were.
    pub(super) fn clear(&mut self) -> Vec<RungId> {
        self.active.take().into_iter().chain(self.standby.drain(..)).map(|path| path.rung).collect()
    }

    pub(super) fn active(&self) -> Option<(RungId, Method, Class)> {
        self.active.map(|path| (path.rung, path.method, path.class))
    }

    pub(super) fn contains(&self, rung: RungId) -> bool {
        self.active.iter().chain(&self.standby).any(|path| path.rung == rung)
    }

    /// Whether a path by this method stands and is trusted.
    pub(super) fn has(&self, method: Method) -> bool {
        self.active.iter().chain(&self.standby).any(|path| path.method == method && !path.doubtful)
    }

    pub(super) fn len(&self) -> usize {
        self.standby.len() + usize::from(self.active.is_some())
    }
}
