//! One iterative lookup: it goes nearer to a position over several paths that share no node, and settles on the nearest
//! nodes that fit the network. Not here: sending requests ([`machine`](super::machine)).
//!
//! Defences. The paths are disjoint (S/Kademlia): whom one path has asked, no other one asks, so a liar spoils one path.
//! Whoever wants to own a position puts many nodes around it; so of one network (/24, /48) only a few count as nearest,
//! and of nodes much nearer than the size of the network lets expect only a few as well. Others take their places
//! further out, where honest nodes look as well. If too few are left, those passed over count after all.

use std::collections::{BTreeMap, HashMap};

use super::contact::{Contact, Group};
use super::key::{Distance, Key, Node};
use crate::base::limits;
use crate::base::time::Time;

/// What is known of a node in this lookup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Asked by a path.
    Waiting { path: usize, since: Time },
    /// Took too long; an answer still counts.
    Slow { path: usize },
    /// Answered.
    Answered,
    /// Did not.
    Failed,
}

#[derive(Clone, Debug)]
struct Candidate {
    contact: Contact,
    /// Answers that led to it.
    hops: u32,
}

#[derive(Debug, Default)]
struct Path {
    candidates: BTreeMap<Distance, Candidate>,
    /// Candidates by the bits that they share with the target.
    levels: HashMap<u32, usize>,
    finished: bool,
}

/// A lookup under way.
#[derive(Debug)]
pub struct Query {
    target: Key,
    /// Size of the network that is reckoned with.
    expected: f64,
    /// Nodes to settle on.
    width: usize,
    paths: Vec<Path>,
    states: HashMap<Node, State>,
    asked: usize,
    turn: usize,
}

/// Somebody to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Whom.
    pub contact: Contact,
    /// Answers that led to it, plus this one.
    pub hops: u32,
}

impl Query {
    /// Starts from these nodes, nearest first, and ends when the `width` nearest have answered. `estimate` is the number
    /// of nodes in the network, as far as known.
    pub fn new(target: Key, estimate: f64, seeds: Vec<Contact>, paths: usize, width: usize) -> Self {
        let count = paths.min(seeds.len()).max(1);
        let paths = (0..count).map(|_| Path::default()).collect();
        let expected = reckoned_with(estimate);
        let mut query = Self { target, expected, width, paths, states: HashMap::new(), asked: 0, turn: 0 };
        for (index, contact) in seeds.into_iter().enumerate() {
            query.paths[index % count].add(&target, contact, 0);
        }
        query
    }

    /// Where it goes.
    pub const fn target(&self) -> &Key {
        &self.target
    }

    /// Nodes asked so far.
    pub const fn asked(&self) -> usize {
        self.asked
    }

    /// Whom to ask now; `None` while enough is under way, and when it is over.
    pub fn next(&mut self, now: Time) -> Option<Ask> {
        for _ in 0..self.paths.len() {
            let path = self.turn % self.paths.len();
            self.turn += 1;
            if let Some(ask) = self.next_of(path, now) {
                return Some(ask);
            }
        }
        None
    }

    fn next_of(&mut self, path: usize, now: Time) -> Option<Ask> {
        if self.paths[path].finished || self.asked >= limits::DHT_LOOKUP_REQUESTS {
            self.paths[path].finished = true;
            return None;
        }
        let is_busy = |state: &&State| matches!(state, State::Waiting { path: whose, .. } if *whose == path);
        let busy = self.states.values().filter(is_busy).count();
        let nearest = self
            .nearest(&self.paths[path].candidates, |state| !matches!(state, Some(State::Failed | State::Slow { .. })));
        let fresh = nearest.iter().find(|candidate| !self.states.contains_key(&candidate.contact.node));
        let Some(fresh) = fresh else {
            // Also whom another path has asked must have answered, or it might still lead nearer.
            let is_open = |candidate: &&Candidate| {
                matches!(self.states.get(&candidate.contact.node), Some(State::Waiting { .. }))
            };
            let open = nearest.iter().any(is_open);
            self.paths[path].finished = !open && busy == 0;
            return None;
        };
        if busy >= limits::DHT_ALPHA {
            return None;
        }
        let ask = Ask { contact: fresh.contact.clone(), hops: fresh.hops + 1 };
        self.states.insert(ask.contact.node.clone(), State::Waiting { path, since: now });
        self.asked += 1;
        Some(ask)
    }

    /// The nearest candidates whose state fits, with the defences of this module.
    fn nearest<'a>(
        &self,
        candidates: &'a BTreeMap<Distance, Candidate>,
        fits: impl Fn(Option<&State>) -> bool,
    ) -> Vec<&'a Candidate> {
        let fitting = candidates.values().filter(|candidate| fits(self.states.get(&candidate.contact.node)));
        choose(&self.target, self.expected, self.width, fitting, |candidate| &candidate.contact).0
    }

    /// Asks somebody who may know without being near, on one of the paths. `None` if that was asked already.
    pub fn ask_beside(&mut self, now: Time, contact: &Contact, hops: u32) -> Option<Ask> {
        if self.states.contains_key(&contact.node) || self.asked >= limits::DHT_LOOKUP_REQUESTS {
            return None;
        }
        let path = self.asked % self.paths.len();
        self.states.insert(contact.node.clone(), State::Waiting { path, since: now });
        self.paths[path].finished = false;
        self.asked += 1;
        Some(Ask { contact: contact.clone(), hops: hops + 1 })
    }

    /// A node answered and named these. Returns whether this lookup had asked it.
    pub fn answered(&mut self, node: &Node, hops: u32, closer: Vec<Contact>) -> bool {
        let Some(State::Waiting { path, .. } | State::Slow { path }) = self.states.get(node).copied() else {
            return false;
        };
        self.states.insert(node.clone(), State::Answered);
        // Late news of a path that is over may still lead nearer.
        self.paths[path].finished = false;
        for contact in closer.into_iter().take(limits::DHT_K) {
            if contact.node != *node && !contact.addresses.is_empty() {
                self.paths[path].add(&self.target, contact, hops);
            }
        }
        true
    }

    /// A node did not answer.
    pub fn failed(&mut self, node: &Node) {
        if let Some(state @ (State::Waiting { .. } | State::Slow { .. })) = self.states.get_mut(node) {
            *state = State::Failed;
        }
    }

    /// Lets others go ahead of those that take long.
    pub fn mark_slow(&mut self, now: Time) {
        for state in self.states.values_mut() {
            if let State::Waiting { path, since } = *state
                && now.since(since) >= limits::DHT_SLOW
            {
                *state = State::Slow { path };
            }
        }
    }

    /// When somebody becomes slow.
    pub fn next_timeout(&self) -> Option<Time> {
        let waiting = self.states.values().filter_map(|state| match state {
            State::Waiting { since, .. } => Some(*since + limits::DHT_SLOW),
            _ => None,
        });
        waiting.min()
    }

    /// Whether all paths have come to an end.
    pub fn is_finished(&self) -> bool {
        self.paths.iter().all(|path| path.finished)
    }

    /// The nearest nodes that answered on any path, nearest first.
    pub fn closest(&self) -> Vec<Contact> {
        let all = self.union();
        let mut nearest = self.nearest(&all, |state| state == Some(&State::Answered));
        nearest.sort_by_cached_key(|candidate| self.target.distance(candidate.contact.node.key()));
        nearest.into_iter().map(|candidate| candidate.contact.clone()).collect()
    }

    /// Whether there is a crowd around the target that is not there by chance.
    pub fn is_crowded(&self) -> bool {
        let all = self.union();
        choose(&self.target, self.expected, limits::DHT_K, all.values(), |candidate| &candidate.contact).1
    }

    /// The size of the network that this lookup reckons with.
    pub const fn expected(&self) -> f64 {
        self.expected
    }

    fn union(&self) -> BTreeMap<Distance, Candidate> {
        let mut all = BTreeMap::new();
        for (distance, candidate) in self.paths.iter().flat_map(|path| &path.candidates) {
            all.entry(*distance).or_insert_with(|| candidate.clone());
        }
        all
    }
}

/// Nodes much nearer than usual that count for nearest. Of the levels before, one more than usual counts.
const TOO_NEAR: usize = 2;

/// What a network is reckoned to have at most: an estimate that is a little low shall pass nobody over.
pub fn reckoned_with(estimate: f64) -> f64 {
    2.0 * estimate.max(1.0)
}

/// The nearest to a position of these, with the defences of this module, and whether that passed many over. They are given
/// nearest first.
fn choose<'a, T>(
    target: &Key,
    expected: f64,
    width: usize,
    candidates: impl Iterator<Item = &'a T>,
    contact: impl Fn(&T) -> &Contact,
) -> (Vec<&'a T>, bool) {
    let mut chosen: Vec<&T> = Vec::with_capacity(width);
    let mut passed: Vec<&T> = Vec::new();
    let mut groups: HashMap<Group, usize> = HashMap::new();
    let (mut level, mut in_level, mut too_near) = (u32::MAX, 0, 0);
    for candidate in candidates {
        if chosen.len() >= width {
            break;
        }
        let bits = target.shared_bits(contact(candidate).node.key());
        if bits != level {
            (level, in_level) = (bits, 0);
        }
        // Nodes of the whole network that share exactly so many bits with the target.
        let usual = expected / 2_f64.powi(bits as i32 + 1);
        let crowded = if usual < 0.5 { too_near >= TOO_NEAR } else { in_level > usual.round() as usize };
        let of: Vec<Group> = contact(candidate).groups().collect();
        let owned = of.iter().any(|group| groups.get(group).is_some_and(|n| *n >= limits::DHT_GROUP_PER_LOOKUP));
        if crowded || owned {
            if passed.len() < width {
                passed.push(candidate);
            }
            continue;
        }
        in_level += 1;
        too_near += usize::from(usual < 0.5);
        for group in of {
            *groups.entry(group).or_default() += 1;
        }
        chosen.push(candidate);
    }
    let is_crowd = passed.len() >= width / 2;
    let missing = width - chosen.len();
    chosen.extend(passed.into_iter().take(missing));
    (chosen, is_crowd)
}

/// The `width` nodes of these that are nearest to a position, as lookups see it: no crowd around it, and no single network.
/// `expected` is the size of the network that is reckoned with.
pub fn select<'a>(target: &Key, expected: f64, width: usize, contacts: &'a [Contact]) -> Vec<&'a Contact> {
    let mut sorted: Vec<&Contact> = contacts.iter().collect();
    sorted.sort_by_cached_key(|contact| target.distance(contact.node.key()));
    choose(target, expected, width, sorted.into_iter(), |contact| contact).0
}

impl Path {
    fn add(&mut self, target: &Key, contact: Contact, hops: u32) {
        let distance = target.distance(contact.node.key());
        if self.candidates.contains_key(&distance) {
            return;
        }
        let level = target.shared_bits(contact.node.key());
        if self.candidates.len() >= limits::DHT_CANDIDATES {
            self.make_room(target);
        }
        *self.levels.entry(level).or_default() += 1;
        self.candidates.insert(distance, Candidate { contact, hops });
    }

    /// Drops the farthest of the level that has most, so that no flood of near ones drives the others out.
    fn make_room(&mut self, target: &Key) {
        let Some(level) = self.levels.iter().max_by_key(|(level, count)| (**count, **level)).map(|(level, _)| *level)
        else {
            return;
        };
        let farthest = self
            .candidates
            .iter()
            .rev()
            .find(|(_, candidate)| target.shared_bits(candidate.contact.node.key()) == level);
        if let Some(farthest) = farthest.map(|(distance, _)| *distance) {
            self.candidates.remove(&farthest);
            if let Some(count) = self.levels.get_mut(&level) {
                *count -= 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn contact(number: u32) -> Contact {
        let node = Node::from_bytes(&number.to_be_bytes()).expect("an id");
        let [_, b, c, d] = number.to_be_bytes();
        Contact::new(node, [vec![4, 20 + b, c, d, 1, 6, 0, 80]])
    }

    /// Nodes that know the 20 nearest of all; those for which `is_dead` holds do not answer.
    fn run(query: &mut Query, all: &[Contact], is_dead: impl Fn(&Contact) -> bool) -> usize {
        let mut now = Time::ZERO;
        let mut asked = HashSet::new();
        while !query.is_finished() {
            let mut round = Vec::new();
            while let Some(ask) = query.next(now) {
                assert!(asked.insert(ask.contact.node.clone()), "nobody is asked twice");
                round.push(ask);
            }
            assert!(round.len() <= limits::DHT_PATHS * limits::DHT_ALPHA);
            for ask in round {
                if is_dead(&ask.contact) {
                    query.failed(&ask.contact.node);
                    continue;
                }
                let mut near = all.to_vec();
                near.sort_by_cached_key(|one| query.target().distance(one.node.key()));
                near.truncate(limits::DHT_K);
                assert!(query.answered(&ask.contact.node, ask.hops, near));
            }
            now = now + std::time::Duration::from_millis(100);
            query.mark_slow(now);
        }
        asked.len()
    }

    #[test]
    fn it_ends_at_the_nearest() {
        let all: Vec<Contact> = (0..500).map(contact).collect();
        let target = Key::of(b"somewhere");
        let mut query = Query::new(target, 500.0, all[..9].to_vec(), limits::DHT_PATHS, limits::DHT_K);
        let asked = run(&mut query, &all, |_| false);
        let mut sorted = all.clone();
        sorted.sort_by_cached_key(|one| target.distance(one.node.key()));
        assert_eq!(query.closest(), sorted[..limits::DHT_K]);
        assert!(asked < 40, "{asked}");
    }

    #[test]
    fn dead_nodes_are_passed_over() {
        let all: Vec<Contact> = (0..500).map(contact).collect();
        let is_dead = |one: &Contact| one.node.as_bytes()[3].is_multiple_of(3);
        let target = Key::of(b"somewhere else");
        let mut query = Query::new(target, 500.0, all[..9].to_vec(), limits::DHT_PATHS, limits::DHT_K);
        run(&mut query, &all, is_dead);
        let closest = query.closest();
        assert!(!closest.is_empty() && !closest.iter().any(is_dead));
    }

    #[test]
    fn a_crowd_around_the_target_gets_few_places() {
        let target = Key::of(b"content");
        let honest: Vec<Contact> = (0..1000).map(contact).collect();
        let hostile: Vec<Contact> =
            (1_000_000..2_000_000).map(contact).filter(|one| target.shared_bits(one.node.key()) >= 13).collect();
        assert!(hostile.len() > 60, "{}", hostile.len());
        let mut query = Query::new(target, 1000.0, honest[..9].to_vec(), limits::DHT_PATHS, limits::DHT_K);
        // Every honest node knows them all.
        let all = [honest.clone(), hostile.clone()].concat();
        for path in &mut query.paths {
            for one in &all {
                path.add(&target, one.clone(), 1);
            }
        }
        let asked = run(&mut query, &all, |_| false);
        let places = query.closest().iter().filter(|one| hostile.contains(one)).count();
        assert!(places <= 5, "{places}");
        assert!(asked < 80, "{asked}");
    }

    #[test]
    fn slow_nodes_do_not_hold_it_up_and_still_count() {
        let all: Vec<Contact> = (0..30).map(contact).collect();
        let mut query = Query::new(Key::of(b"x"), 30.0, all[..1].to_vec(), 1, limits::DHT_K);
        let first = query.next(Time::ZERO).expect("somebody");
        assert_eq!((query.next(Time::ZERO), query.is_finished()), (None, false));
        assert_eq!(query.next_timeout(), Some(Time::ZERO + limits::DHT_SLOW));
        query.mark_slow(Time::ZERO + limits::DHT_SLOW);
        assert_eq!((query.next(Time::ZERO), query.is_finished()), (None, true));
        assert!(query.answered(&first.contact.node, 1, all.clone()));
        assert!(!query.is_finished() && query.next(Time::ZERO).is_some());
        assert!(!query.answered(&first.contact.node, 1, all), "once");
    }

    #[test]
    fn candidates_are_bounded_and_no_flood_drives_the_others_out() {
        let target = Key::of(b"y");
        let mut path = Path::default();
        let far: Vec<Contact> = (0..100).map(contact).collect();
        for one in &far {
            path.add(&target, one.clone(), 1);
        }
        for number in 1000..200_000 {
            let one = contact(number);
            if target.shared_bits(one.node.key()) >= 4 {
                path.add(&target, one, 1);
            }
        }
        assert_eq!(path.candidates.len(), limits::DHT_CANDIDATES);
        let kept = far.iter().filter(|one| path.candidates.contains_key(&target.distance(one.node.key()))).count();
        assert!(kept >= 90, "{kept}");
    }

    #[test]
    fn a_lookup_among_the_dead_ends_at_its_bound() {
        let target = Key::of(b"z");
        let mut query = Query::new(target, 1000.0, (0..9).map(contact).collect(), limits::DHT_PATHS, limits::DHT_K);
        for number in 9..2 * limits::DHT_LOOKUP_REQUESTS as u32 {
            query.paths[number as usize % limits::DHT_PATHS].add(&target, contact(number), 1);
        }
        assert_eq!(run(&mut query, &[], |_| true), limits::DHT_LOOKUP_REQUESTS);
        assert_eq!(query.ask_beside(Time::ZERO, &contact(1_000_000), 1), None);
    }
}
