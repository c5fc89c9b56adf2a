//! Thousands of pairs of peers, each with a ladder, in virtual time: connected whenever a way exists, in time, to the
//! best there is, never over two paths at once, never to an address that policy forbids, and the same for the same
//! seed.

#[path = "ladder_simulation/world.rs"]
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use dig_nat_core::base::limits;
use dig_nat_core::base::random::Jitter;
use dig_nat_core::base::time::Time;
use dig_nat_core::nat::ladder::{Change, Class, Ladder, Output, Plan, RungId, Signalling, Source, Target};
use dig_nat_core::nat::method::Method;
use dig_nat_core::nat::report::{Failure, Outcome};
use world::{ROUND_TRIP, World};

const PAIRS: u64 = 6000;

fn ms(milliseconds: u64) -> Time {
    Time::from_micros(milliseconds * 1000)
}

/// One pair, its ladder, and what has been seen of it.
struct Run {
    world: World,
    random: Jitter,
    ladder: Ladder,
    now: Time,
    /// Ends of rungs and deaths of paths to come.
    events: BTreeMap<(Time, u32), Event>,
    sequence: u32,
    running: BTreeMap<RungId, Method>,
    paths: BTreeMap<RungId, Class>,
    active: Option<RungId>,
    /// When a path of each quality was first used.
    first: Option<Time>,
    first_direct: Option<Time>,
    gave_up: Option<Time>,
    trace: Vec<String>,
    /// How often each way was started since the last change of the network.
    started: BTreeMap<(Method, Option<Target>), u32>,
    /// How often each may be: once, and once more after each death of the path in use.
    rounds: u32,
    /// Paths from before the network changed: equal ones may replace them.
    old: BTreeSet<RungId>,
}

#[derive(Clone, Copy)]
enum Event {
    Succeeds(RungId, Method, bool),
    Fails(RungId),
    Dies(RungId),
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut random = Jitter::from_seed(seed);
        let world = World::random(&mut random);
        let ladder = Ladder::new(world.situation());
        Self {
            world,
            random,
            ladder,
            now: Time::ZERO,
            events: BTreeMap::new(),
            sequence: 0,
            running: BTreeMap::new(),
            paths: BTreeMap::new(),
            active: None,
            first: None,
            first_direct: None,
            gave_up: None,
            trace: Vec::new(),
            started: BTreeMap::new(),
            rounds: 1,
            old: BTreeSet::new(),
        }
    }

    fn check(&self, right: bool, what: &str) {
        let tail = &self.trace[self.trace.len().saturating_sub(60)..];
        assert!(
            right,
            "{what} at {:?}\n{}\n{}\n{}",
            self.now,
            self.world.describe(),
            tail.join("\n"),
            self.ladder.log()
        );
    }

    fn schedule(&mut self, after: Duration, event: Event) {
        self.sequence += 1;
        self.events.insert((self.now + after, self.sequence), event);
    }

    /// Lets time pass until then.
    fn run_until(&mut self, end: Time) {
        self.drain();
        for _ in 0..100_000 {
            let event = self.events.keys().next().map(|(at, _)| *at);
            let timer = self.ladder.next_timeout();
            let Some(next) = event.into_iter().chain(timer).min().filter(|next| *next <= end) else {
                self.now = end;
                return;
            };
            self.check(timer.is_none_or(|timer| timer >= self.now), "a timer in the past");
            self.now = next;
            if event == Some(next) {
                let (_, event) = self.events.pop_first().expect("it is there");
                self.happen(event);
            } else {
                self.ladder.handle_timeout(next);
            }
            self.drain();
        }
        self.check(false, "it never comes to rest");
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Succeeds(rung, method, relayed) => {
                // A cancelled rung may have succeeded while the news of it travelled: half of them do.
                let cancelled = self.running.remove(&rung).is_none();
                if !cancelled || self.random.below(2) == 0 {
                    self.paths.insert(rung, self.class(method, relayed));
                    self.ladder.succeeded(self.now, rung, relayed);
                }
            }
            Event::Fails(rung) => {
                if self.running.remove(&rung).is_some() {
                    self.ladder.failed(self.now, rung, Failure::Refused, "the simulation says no");
                }
            }
            Event::Dies(rung) => self.kill(rung),
        }
    }

    fn class(&self, method: Method, relayed: bool) -> Class {
        match method {
            Method::Lan => Class::Local,
            Method::GunRelay => Class::Thin,
            Method::Circuit if self.world.circuit_limited => Class::Thin,
            _ if relayed => Class::Relay,
            _ => Class::Direct,
        }
    }

    /// A path breaks. With another standing by, it is used in the same moment.
    fn kill(&mut self, rung: RungId) {
        if self.paths.remove(&rung).is_none() {
            return;
        }
        let was_active = self.active == Some(rung);
        let others = !self.paths.is_empty();
        self.rounds += u32::from(was_active);
        self.trace.push(format!("{:?} {rung:?} dies", self.now));
        self.ladder.path_died(self.now, rung);
        if was_active {
            let first = self.ladder.poll().expect("a death has a consequence");
            let falls_back = matches!(first, Output::Switch { why: Change::Fallback, .. });
            self.check(falls_back == others, "fall back exactly when a path stands by");
            self.handle(first);
        }
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(output) = self.ladder.poll() {
            self.handle(output);
        }
        self.check(self.running.len() <= limits::MAX_RUNNING_RUNGS, "too many rungs run");
        self.check(self.ladder.active().map(|(rung, ..)| rung) == self.active, "the ladder uses another path");
    }

    fn handle(&mut self, output: Output) {
        self.trace.push(format!("{:?} {output:?}", self.now));
        match output {
            Output::Start { rung, method, plan, deadline } => self.start(rung, method, &plan, deadline),
            Output::Cancel { rung } => {
                let known = self.running.remove(&rung).is_some();
                self.check(known, "cancelled what does not run");
            }
            Output::Connected { rung, .. } => {
                self.check(self.active.is_none() && self.paths.contains_key(&rung), "connected twice");
                self.used(rung);
            }
            Output::Switch { from, to, why, .. } => {
                self.check(self.active == Some(from) && self.paths.contains_key(&to), "switched to nothing");
                if why == Change::Upgrade {
                    let (old, new) = (self.paths[&from], self.paths[&to]);
                    let equal = self.old.contains(&from) && new == old;
                    self.check(new < old || equal, "an upgrade that is none");
                } else {
                    self.check(!self.paths.contains_key(&from), "fell back from a living path");
                }
                self.used(to);
            }
            Output::Release { rung } => {
                self.check(self.active != Some(rung), "released the path in use");
                let known = self.paths.remove(&rung).is_some();
                self.check(known, "released what is not there");
            }
            Output::Lost { rung } => {
                self.check(self.active == Some(rung) && self.paths.is_empty(), "lost with a path left");
                self.active = None;
            }
            Output::GiveUp { .. } => {
                self.check(self.active.is_none() && self.running.is_empty(), "gave up too early");
                self.gave_up = Some(self.now);
            }
        }
    }

    fn start(&mut self, rung: RungId, method: Method, plan: &Plan, deadline: Time) {
        let addresses: Vec<SocketAddr> = match plan {
            Plan::Dial(targets) => targets.iter().map(|target| target.address).collect(),
            Plan::Punch(addresses) | Plan::Guess { addresses, .. } => addresses.clone(),
            _ => Vec::new(),
        };
        let permitted = self.world.permitted();
        self.check(addresses.iter().all(|address| permitted.contains(address)), "an address that policy forbids");
        let circuit_stands = self.paths.keys().any(|_| self.world.circuit_works);
        let can_signal = match self.world.signalling {
            Signalling::Absent => false,
            Signalling::AfterCircuit => circuit_stands,
            Signalling::Ready => true,
        };
        self.check(can_signal || !method.needs_signalling(), "a rung without its signalling");
        let keys = match plan {
            Plan::Dial(targets) => targets.iter().map(|target| (method, Some(*target))).collect(),
            _ => BTreeSet::from([(method, None)]),
        };
        for key in keys {
            *self.started.entry(key).or_default() += 1;
            self.check(self.started[&key] <= self.rounds, "the same way twice in a round");
        }
        self.running.insert(rung, method);
        self.check(deadline > self.now, "a deadline in the past");
        match self.world.way(method) {
            Some((trips, relayed)) => {
                // Up to a tenth slower than promised.
                let slower = 1.0 + self.random.fraction() / 10.0;
                self.schedule((ROUND_TRIP * trips).mul_f64(slower), Event::Succeeds(rung, method, relayed));
            }
            // Some failures are told, most are silence.
            None if self.random.below(4) == 0 => self.schedule(ROUND_TRIP, Event::Fails(rung)),
            None => {}
        }
    }

    fn used(&mut self, rung: RungId) {
        self.active = Some(rung);
        self.first = self.first.or(Some(self.now));
        if self.paths[&rung] <= Class::Direct {
            self.first_direct = self.first_direct.or(Some(self.now));
        }
    }

    /// What is demanded once the search has come to its end.
    fn demand(&self, since: Time) {
        let took = |at: Option<Time>| at.map(|at| at.since(since));
        let (any, direct) = match self.world.reachable() {
            None => {
                self.check(self.active.is_none(), "connected by magic");
                self.check(self.gave_up.is_some(), "no way, and not given up");
                return;
            }
            Some(direct) => (took(self.first), direct.then(|| took(self.first_direct))),
        };
        self.check(any.is_some_and(|took| took < Duration::from_secs(5)), "a way exists: not connected in 5 s");
        if let Some(direct) = direct {
            let limit = if self.world.is_hard() { 5 } else { 1 };
            let in_time = direct.is_some_and(|took| took < Duration::from_secs(limit));
            self.check(in_time, &format!("no direct path within {limit} s"));
        }
        let best = if direct.is_some() { Class::Direct } else { Class::Thin };
        self.check(self.active.is_some_and(|rung| self.paths[&rung] <= best), "not on the best path");
    }
}

#[test]
fn every_pair_that_can_connect_does_so_in_time() {
    let (mut connected, mut direct, mut hard, mut times) = (0_u32, 0_u32, 0_u32, Vec::new());
    for seed in 0..PAIRS {
        let mut run = Run::new(seed);
        run.trace.push(format!("seed {seed}"));
        run.ladder.start(Time::ZERO);
        run.run_until(ms(30_000));
        run.demand(Time::ZERO);
        run.check(run.running.is_empty(), "something still runs after 30 s");
        connected += u32::from(run.active.is_some());
        if let Some(at) = run.first_direct {
            direct += 1;
            hard += u32::from(run.world.is_hard());
            times.push(at.as_micros() / 1000);
        }
        // Long after, everything that was not needed has been released.
        run.run_until(ms(120_000));
        run.check(run.paths.len() <= 1, "paths left over");
        run.check(run.ladder.next_timeout().is_none() && run.events.is_empty(), "not at rest");
    }
    times.sort_unstable();
    let middle = times[times.len() / 2];
    println!("{PAIRS} pairs: {connected} connected, {direct} directly ({hard} by guessing), median {middle} ms");
    // The world is not so kind or so cruel that the demands above would be empty.
    assert!(connected > 4000 && direct > 2500 && hard > 50 && connected < PAIRS as u32);
    assert!(middle < 400);
}

#[test]
fn a_dead_path_is_replaced() {
    let mut replaced = 0;
    for seed in 0..PAIRS / 2 {
        let mut run = Run::new(seed);
        run.trace.push(format!("seed {seed}"));
        run.ladder.start(Time::ZERO);
        run.run_until(ms(20_000));
        let Some(active) = run.active else { continue };
        // The direct path dies for good, or a moment of trouble ends whatever is in use.
        run.world.direct_dead = seed % 2 == 0;
        (run.first, run.first_direct, run.gave_up) = (None, None, None);
        run.kill(active);
        for (rung, class) in run.paths.clone() {
            if run.world.direct_dead && class <= Class::Direct {
                run.schedule(Duration::from_secs(1), Event::Dies(rung));
            }
        }
        run.run_until(ms(60_000));
        match run.world.reachable() {
            Some(direct) => {
                replaced += 1;
                let took = run.first.map(|at| at.since(ms(20_000)));
                run.check(took.is_some_and(|took| took < Duration::from_secs(5)), "no path in 5 s after a death");
                let class = run.active.map(|rung| run.paths[&rung]);
                run.check(!direct || class.is_some_and(|class| class <= Class::Direct), "not direct again");
            }
            None => run.check(run.gave_up.is_some(), "no way left, and not given up"),
        }
    }
    assert!(replaced > 1000, "{replaced}");
}

#[test]
fn another_network_is_evaluated_anew() {
    let mut moved = 0;
    for seed in 0..PAIRS / 2 {
        let mut run = Run::new(seed);
        run.trace.push(format!("seed {seed}"));
        run.ladder.start(Time::ZERO);
        run.run_until(ms(20_000));
        if run.active.is_none() {
            continue;
        }
        let mut random = Jitter::from_seed(!seed);
        let fresh = World::random(&mut random);
        if fresh.same_nat || run.world.same_nat {
            continue;
        }
        run.world = World { theirs: run.world.theirs.clone(), ..fresh };
        (run.first, run.first_direct, run.gave_up) = (None, None, None);
        run.started.clear();
        run.rounds = 1;
        run.old = run.paths.keys().copied().collect();
        // Paths of the old network die some time later, when their silence is noticed.
        for rung in run.paths.keys().copied().collect::<Vec<_>>() {
            let after = Duration::from_millis(run.random.below(2000) as u64);
            run.schedule(after, Event::Dies(rung));
        }
        let situation = run.world.situation();
        run.ladder.network_changed(run.now, situation);
        run.run_until(ms(60_000));
        if let Some(direct) = run.world.reachable() {
            moved += 1;
            let took = run.first.map(|at| at.since(ms(20_000)));
            run.check(took.is_some_and(|took| took < Duration::from_secs(5)), "no path in 5 s after the change");
            let class = run.active.map(|rung| run.paths[&rung]);
            run.check(!direct || class.is_some_and(|class| class <= Class::Direct), "not direct in the new network");
        }
    }
    assert!(moved > 1000, "{moved}");
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let trace = |seed| {
        let mut run = Run::new(seed);
        run.ladder.start(Time::ZERO);
        run.run_until(ms(20_000));
        if let Some(active) = run.active {
            run.kill(active);
            run.run_until(ms(40_000));
        }
        (run.trace.join("\n"), run.ladder.log().render())
    };
    for seed in 0..200 {
        assert_eq!(trace(seed), trace(seed), "seed {seed}");
    }
    assert_ne!(trace(1), trace(2));
}

#[test]
fn addresses_that_come_late_are_used() {
    let mut found = 0;
    for seed in 0..PAIRS / 2 {
        let mut run = Run::new(seed);
        run.trace.push(format!("seed {seed}"));
        let whole = run.world.situation();
        let mut less = whole.clone();
        less.candidates.retain(|candidate| candidate.source == Source::Observed);
        run.ladder = Ladder::new(less);
        run.ladder.start(Time::ZERO);
        run.run_until(ms(100));
        if run.gave_up.is_some() {
            continue;
        }
        run.ladder.update(run.now, whole);
        run.run_until(ms(30_000));
        if run.world.reachable() == Some(true) {
            found += 1;
            let direct = run.active.is_some_and(|rung| run.paths[&rung] <= Class::Direct);
            run.check(direct, "a late address was not used");
        }
    }
    assert!(found > 1000, "{found}");
}

#[test]
fn a_failed_connect_explains_itself() {
    let mut explained = 0;
    for seed in 0..PAIRS / 4 {
        let mut run = Run::new(seed);
        run.ladder.start(Time::ZERO);
        run.run_until(ms(30_000));
        if run.gave_up.is_none() {
            continue;
        }
        explained += 1;
        let log = run.ladder.log();
        run.check(log.advice(&run.world.situation().ours).is_some(), "no advice");
        // Each way appears, tried or not, with its reason.
        for method in [Method::DirectV4, Method::UdpPunch, Method::TcpPunch, Method::Ice, Method::Turn, Method::Circuit]
        {
            let said = log.attempts().iter().any(|attempt| {
                attempt.method == method && !matches!(attempt.outcome, Outcome::Connected | Outcome::Cancelled)
            });
            run.check(said, &format!("nothing is said about {method}"));
        }
    }
    assert!(explained > 50, "{explained}");
}
