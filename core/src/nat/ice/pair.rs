//! Candidate pairs: their order, their states, and which one is checked next (RFC 8445 section 6.1). Pure tables.
//! Not here: sending and receiving (`agent`).

use std::collections::VecDeque;

use super::messages::Role;
use crate::base::limits;
use crate::base::time::Time;
use crate::nat::stun::TransactionId;

/// A pair. Lives as long as its session; the number is never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct PairId(pub(super) u32);

/// Where a pair stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum State {
    /// Another pair of its foundation goes first.
    Frozen,
    /// Its turn will come.
    Waiting,
    /// A check is on its way.
    InProgress,
    /// A check was answered.
    Succeeded,
    /// No check was answered.
    Failed,
}

#[derive(Clone, Debug)]
pub(super) struct Pair {
    pub(super) id: PairId,
    /// Index of the local candidate that sends: a host's or a relay's.
    pub(super) local: usize,
    /// Index of the remote candidate.
    pub(super) remote: usize,
    pub(super) foundation: (String, String),
    pub(super) priority: u64,
    pub(super) state: State,
    /// The check that runs.
    pub(super) check: Option<Check>,
    /// The other side asked for this pair before our check was answered.
    pub(super) nominated_early: bool,
    pub(super) nominated: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Check {
    pub(super) transaction: TransactionId,
    pub(super) bytes: Vec<u8>,
    pub(super) attempts: u32,
    pub(super) wait: std::time::Duration,
    /// When it was last sent.
    pub(super) sent: Time,
    /// When it is sent again, or given up.
    pub(super) next: Time,
    /// The role it was sent in.
    pub(super) role: Role,
    pub(super) nominates: bool,
}

/// All pairs, best first.
#[derive(Debug, Default)]
pub(super) struct Pairs {
    list: Vec<Pair>,
    triggered: VecDeque<PairId>,
    next_id: u32,
}

/// A pair's priority (RFC 8445 section 6.1.2.3). `controlling` is the candidate of that side.
pub(super) fn priority(controlling: u32, controlled: u32) -> u64 {
    let (high, low) = (u64::from(controlling.max(controlled)), u64::from(controlling.min(controlled)));
    (low << 32) + 2 * high + u64::from(controlling > controlled)
}

impl Pairs {
    /// Adds a pair unless it is there, or worse than a full table's. Its id if it is in the table afterwards.
    pub(super) fn add(
        &mut self,
        local: usize,
        remote: usize,
        foundation: (String, String),
        priority: u64,
    ) -> Option<PairId> {
        if let Some(pair) = self.find(local, remote) {
            return Some(pair.id);
        }
        self.next_id += 1;
        let id = PairId(self.next_id);
        let state = State::Frozen;
        let (check, nominated_early, nominated) = (None, false, false);
        self.list.push(Pair { id, local, remote, foundation, priority, state, check, nominated_early, nominated });
        self.sort();
        if self.list.len() > limits::MAX_ICE_PAIRS {
            // The worst goes that nothing has been done with.
            let idle = |pair: &Pair| matches!(pair.state, State::Frozen | State::Waiting | State::Failed);
            let worst = self.list.iter().rposition(idle).unwrap_or(self.list.len() - 1);
            let gone = self.list.remove(worst).id;
            self.triggered.retain(|pair| *pair != gone);
        }
        self.get(id).map(|pair| pair.id)
    }

    pub(super) fn sort(&mut self) {
        self.list.sort_by_key(|pair| (std::cmp::Reverse(pair.priority), pair.id));
    }

    pub(super) fn get(&self, id: PairId) -> Option<&Pair> {
        self.list.iter().find(|pair| pair.id == id)
    }

    pub(super) fn get_mut(&mut self, id: PairId) -> Option<&mut Pair> {
        self.list.iter_mut().find(|pair| pair.id == id)
    }

    pub(super) fn find(&self, local: usize, remote: usize) -> Option<&Pair> {
        self.list.iter().find(|pair| (pair.local, pair.remote) == (local, remote))
    }

    pub(super) fn by_transaction(&mut self, transaction: TransactionId) -> Option<&mut Pair> {
        self.list.iter_mut().find(|pair| pair.check.as_ref().is_some_and(|check| check.transaction == transaction))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Pair> {
        self.list.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Pair> {
        self.list.iter_mut()
    }

    /// Puts a pair's check before all ordinary ones, once.
    pub(super) fn trigger(&mut self, id: PairId) {
        if !self.triggered.contains(&id) && self.triggered.len() < limits::MAX_ICE_TRIGGERED {
            self.triggered.push_back(id);
        }
    }

    /// The pair to be checked next; takes it out of the queue.
    pub(super) fn next(&mut self) -> Option<PairId> {
        if let Some(id) = self.triggered.pop_front() {
            return Some(id);
        }
        let waiting = self.list.iter().find(|pair| pair.state == State::Waiting).map(|pair| pair.id);
        waiting.or_else(|| self.thaw())
    }

    /// Whether [`next`](Self::next) would give one.
    pub(super) fn has_next(&self) -> bool {
        !self.triggered.is_empty()
            || self.list.iter().any(|pair| pair.state == State::Waiting)
            || self.list.iter().any(|pair| pair.state == State::Frozen && !self.is_foundation_busy(pair))
    }

    /// A pair succeeded: those like it are likely to as well.
    pub(super) fn thaw_like(&mut self, foundation: &(String, String)) {
        for pair in self.list.iter_mut().filter(|pair| pair.state == State::Frozen && pair.foundation == *foundation) {
            pair.state = State::Waiting;
        }
    }

    /// Whether every pair has had its check.
    pub(super) fn is_done(&self) -> bool {
        self.triggered.is_empty() && self.list.iter().all(|pair| matches!(pair.state, State::Succeeded | State::Failed))
    }

    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    pub(super) fn queued(&self) -> usize {
        self.triggered.len()
    }

    /// Stops all ordinary checks: a pair is selected.
    pub(super) fn conclude(&mut self) {
        self.triggered.clear();
        for pair in &mut self.list {
            if matches!(pair.state, State::Frozen | State::Waiting | State::InProgress) {
                pair.state = State::Failed;
                pair.check = None;
            }
        }
    }

    fn thaw(&mut self) -> Option<PairId> {
        let free = self.list.iter().find(|pair| pair.state == State::Frozen && !self.is_foundation_busy(pair));
        let id = free?.id;
        self.get_mut(id)?.state = State::Waiting;
        Some(id)
    }

    fn is_foundation_busy(&self, of: &Pair) -> bool {
        self.list
            .iter()
            .any(|pair| pair.foundation == of.foundation && matches!(pair.state, State::Waiting | State::InProgress))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(foundations: &[&str]) -> Pairs {
        let mut pairs = Pairs::default();
        for (index, foundation) in foundations.iter().enumerate() {
            pairs.add(0, index, ((*foundation).to_owned(), "r".to_owned()), 1000 - index as u64);
        }
        pairs
    }

    #[test]
    fn priorities_agree_on_both_sides() {
        assert_eq!(priority(5, 9), (5 << 32) + 18);
        assert_eq!(priority(9, 5), (5 << 32) + 19);
    }

    #[test]
    fn one_pair_of_each_foundation_goes_first() {
        let mut pairs = pairs(&["a", "a", "b"]);
        let first = pairs.next().expect("a pair");
        pairs.get_mut(first).expect("there").state = State::InProgress;
        let second = pairs.next().expect("a pair");
        assert_eq!(pairs.get(second).expect("there").foundation.0, "b");
        pairs.get_mut(second).expect("there").state = State::InProgress;
        assert!(!pairs.has_next() && pairs.next().is_none(), "the other one of a is frozen");
        let third = pairs.list[1].id;
        pairs.trigger(third);
        pairs.trigger(third);
        assert_eq!((pairs.next(), pairs.queued()), (Some(third), 0));
        pairs.get_mut(first).expect("there").state = State::Succeeded;
        pairs.thaw_like(&("a".to_owned(), "r".to_owned()));
        assert_eq!(pairs.next(), Some(third));
    }

    #[test]
    fn the_table_keeps_the_best() {
        let mut pairs = Pairs::default();
        for index in 0..500_usize {
            let kept = pairs.add(0, index, ("f".to_owned(), "r".to_owned()), index as u64);
            assert!(kept.is_some(), "each is better than those before");
            assert_eq!(pairs.add(0, index, ("f".to_owned(), "r".to_owned()), 7), kept, "not twice");
        }
        assert_eq!(pairs.len(), limits::MAX_ICE_PAIRS);
        assert_eq!(pairs.add(1, 1, ("f".to_owned(), "r".to_owned()), 0), None);
        assert_eq!(pairs.iter().map(|pair| pair.priority).min(), Some(400));
    }
}
