//! The ladder: one machine per peer that orders, staggers and races all ways to it, uses what is ready at once, moves
//! up when something better stands, and falls back when a path dies. Pure.
//! Not here: doing any of it. The driver starts rungs, reports how they end, and moves the bytes.
//!
//! - *Round*: every possible way is tried once. What failed in a round is not tried again in it. A round ends when
//!   nothing is left; then there is a path, or the ladder gives up and hands out the whole log.
//! - *Path*: what a rung gave. One is in use; at most two stand by. A better class replaces a worse one, first up,
//!   then over: the old path stays until its linger has passed. Equal ones never replace each other.
//! - One side leads. Of two peers with ladders to each other, the one that wants something runs its ladder; what the
//!   other one's dial-back or punch brings in is told by [`Ladder::inbound`].

mod opening;
mod output;
mod paths;
mod plan;
mod situation;
mod theory;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

pub use self::opening::Opening;
pub use self::output::{Change, Class, Output, Plan, RungId};
pub use self::situation::{Candidate, OwnMapping, Relay, Signalling, Situation, Source, Target};
pub use self::theory::{Technique, Verdict, advanced_punch, tcp_punch, udp_punch};

use self::output::{class_of, describe};
use self::paths::{Paths, Taken};
use self::plan::{LeftOut, Step};
use crate::base::limits;
use crate::base::time::Time;
use crate::nat::method::Method;
use crate::nat::report::{Attempt, AttemptLog, Failure, Outcome, Skip, skipped};

/// The machine.
#[derive(Debug)]
pub struct Ladder {
    situation: Situation,
    state: State,
    started: Time,
    /// Start of the current round, from which offsets count.
    round_start: Time,
    /// Rounds since the last path that lasted.
    rounds: u32,
    waiting: Vec<(Time, Step)>,
    running: BTreeMap<RungId, Running>,
    /// Whether there was a path in this round.
    had_path: bool,
    /// Ways and addresses tried in this round.
    tried: BTreeSet<(Method, Option<Target>)>,
    paths: Paths,
    next_rung: u32,
    log: AttemptLog,
    out: VecDeque<Output>,
    now: Time,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Not started, or given up.
    Idle,
    /// In a round, or at rest with a path.
    Active,
    /// The next round begins then.
    Pausing(Time),
}

#[derive(Debug)]
struct Running {
    step: Step,
    started: Time,
    deadline: Time,
}

impl Ladder {
    /// A ladder to one peer. Nothing happens before [`start`](Self::start).
    pub fn new(situation: Situation) -> Self {
        Self {
            situation,
            state: State::Idle,
            started: Time::ZERO,
            round_start: Time::ZERO,
            rounds: 0,
            had_path: false,
            waiting: Vec::new(),
            running: BTreeMap::new(),
            tried: BTreeSet::new(),
            paths: Paths::default(),
            next_rung: 0,
            log: AttemptLog::default(),
            out: VecDeque::new(),
            now: Time::ZERO,
        }
    }

    /// Begins, or begins again after giving up. Without effect while it is at work.
    pub fn start(&mut self, now: Time) {
        self.now = now;
        if self.state == State::Idle {
            self.started = now;
            self.rounds = 0;
            self.log = AttemptLog::default();
            self.begin_round();
            self.pump();
        }
    }

    /// A rung gave a path. `relayed` when a third carries it (ICE over a relay candidate).
    pub fn succeeded(&mut self, now: Time, rung: RungId, relayed: bool) {
        self.now = now;
        let Some(running) = self.running.remove(&rung) else {
            // Too late: it was cancelled meanwhile.
            if !self.paths.contains(rung) {
                self.out.push_back(Output::Release { rung });
            }
            return;
        };
        self.record(&running, Outcome::Connected, "");
        self.connected(rung, running.step.method, relayed);
        self.pump();
    }

    /// A rung ended without a path.
    pub fn failed(&mut self, now: Time, rung: RungId, failure: Failure, detail: &str) {
        self.now = now;
        let Some(running) = self.running.remove(&rung) else { return };
        self.record(&running, Outcome::Failed(failure), detail);
        self.pump();
    }

    /// The peer reached us by itself: by dialling back, or by a ladder of its own. The name of that path.
    pub fn inbound(&mut self, now: Time, method: Method, relayed: bool) -> RungId {
        self.now = now;
        let rung = self.new_rung();
        if self.state == State::Idle {
            self.started = now;
            self.state = State::Active;
        }
        let started_ms = self.milliseconds(now);
        let (target, detail) = (String::new(), "the peer came to us".to_owned());
        self.log.push(Attempt { method, target, started_ms, took_ms: 0, outcome: Outcome::Connected, detail });
        self.connected(rung, method, relayed);
        self.pump();
        rung
    }

    /// A path broke. The best one that stands by is used at once; the search begins again in any case.
    pub fn path_died(&mut self, now: Time, rung: RungId) {
        self.now = now;
        let Some((method, since, in_use)) = self.paths.remove(rung) else { return };
        let lasted = now.since(since);
        let (target, detail) = (String::new(), String::new());
        let (started_ms, took_ms) = (self.milliseconds(since), lasted.as_millis() as u64);
        let outcome = Outcome::Failed(Failure::Lost);
        self.log.push(Attempt { method, target, started_ms, took_ms, outcome, detail });
        if !in_use {
            return;
        }
        if lasted >= limits::STABLE_PATH {
            self.rounds = 0;
        }
        match self.paths.fall_back(now) {
            Some((to, method)) => {
                self.out.push_back(Output::Switch { from: rung, to, method, why: Change::Fallback });
            }
            None => self.out.push_back(Output::Lost { rung }),
        }
        if self.running.is_empty() {
            self.next_round();
        } else {
            // The round goes on, with what the path had made unnecessary.
            self.plan();
        }
        self.pump();
    }

    /// The path in use has proven to work since the network changed.
    pub fn path_confirmed(&mut self, now: Time, rung: RungId) {
        self.now = now;
        self.paths.confirm(rung);
        self.pump();
    }

    /// More is known: addresses trickled in, a relay got ready, a router gave a port. What is new is tried in this
    /// round, what was tried is not.
    pub fn update(&mut self, now: Time, situation: Situation) {
        self.now = now;
        self.situation = situation;
        if self.state == State::Active {
            if self.waiting.is_empty() && self.running.is_empty() {
                // The round was over: stagger what is new from here.
                self.round_start = now;
            }
            self.plan();
            self.pump();
        }
    }

    /// We are in another network: everything is evaluated anew. The path in use stays until another one stands or it
    /// dies.
    pub fn network_changed(&mut self, now: Time, situation: Situation) {
        self.now = now;
        self.situation = situation;
        if self.state == State::Idle {
            return;
        }
        self.cancel_running(|_| true);
        self.paths.doubt();
        self.rounds = 0;
        self.begin_round();
        self.pump();
    }

    /// Ends everything: rungs are cancelled, paths released.
    pub fn stop(&mut self, now: Time) {
        self.now = now;
        self.cancel_running(|_| true);
        self.waiting.clear();
        self.out.extend(self.paths.clear().into_iter().map(|rung| Output::Release { rung }));
        self.state = State::Idle;
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Time) {
        self.now = now;
        let late: Vec<RungId> =
            self.running.iter().filter(|(_, running)| running.deadline <= now).map(|(rung, _)| *rung).collect();
        for rung in late {
            if let Some(running) = self.running.remove(&rung) {
                self.record(&running, Outcome::Failed(Failure::Timeout), "");
                self.out.push_back(Output::Cancel { rung });
            }
        }
        self.out.extend(self.paths.expire(now).into_iter().map(|rung| Output::Release { rung }));
        if matches!(self.state, State::Pausing(until) if until <= now) {
            self.begin_round();
        }
        if self.state == State::Active && now >= self.round_end() {
            self.leave_waiting(Skip::Budget);
        }
        self.pump();
    }

    /// The next thing to do. Empty the machine after every call.
    pub fn poll(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called.
    pub fn next_timeout(&self) -> Option<Time> {
        let pause = match self.state {
            State::Pausing(until) => Some(until),
            State::Idle | State::Active => None,
        };
        let waiting = self.waiting.iter().map(|(at, _)| *at).filter(|at| *at > self.now);
        let end = (!self.waiting.is_empty()).then(|| self.round_end()).filter(|end| *end > self.now);
        let deadlines = self.running.values().map(|running| running.deadline);
        pause.into_iter().chain(waiting).chain(end).chain(deadlines).chain(self.paths.next_expiry()).min()
    }

    /// The path in use.
    pub fn active(&self) -> Option<(RungId, Method, Class)> {
        self.paths.active()
    }

    /// Whether nothing is being tried or about to be.
    pub fn is_at_rest(&self) -> bool {
        self.waiting.is_empty() && self.running.is_empty()
    }

    /// Everything tried so far.
    pub fn log(&self) -> &AttemptLog {
        &self.log
    }

    /// Entries in all tables, for checking the bounds.
    pub fn table_sizes(&self) -> usize {
        self.waiting.len() + self.running.len() + self.tried.len() + self.paths.len() + self.out.len()
    }

    fn begin_round(&mut self) {
        self.rounds += 1;
        // A path of another network does not promise one here.
        self.had_path = self.paths.bar().is_some();
        self.state = State::Active;
        self.round_start = self.now;
        self.tried.clear();
        self.plan();
    }

    /// After a path's death: at once the first time, then with growing pauses, then not at all.
    fn next_round(&mut self) {
        if self.rounds >= limits::MAX_LADDER_ROUNDS {
            self.waiting.clear();
            return;
        }
        if self.rounds <= 1 {
            self.begin_round();
        } else {
            let pause = limits::LADDER_PAUSE * 2_u32.pow((self.rounds - 2).min(6));
            self.waiting.clear();
            self.state = State::Pausing(self.now + pause);
        }
    }

    /// Lays out what is left to try in this round.
    fn plan(&mut self) {
        let (steps, left_out) = plan::plan(&self.situation);
        for LeftOut { method, target, skip } in left_out {
            self.skip(method, target, skip);
        }
        self.waiting.clear();
        for mut step in steps {
            if self.untried(&mut step) {
                self.waiting.push((self.round_start + step.offset, step));
            }
        }
    }

    /// Takes out of a step what was tried in this round; whether something is left.
    fn untried(&self, step: &mut Step) -> bool {
        match &mut step.plan {
            Plan::Dial(targets) | Plan::AskDialBack(targets) => {
                targets.retain(|target| !self.tried.contains(&(step.method, Some(*target))));
                !targets.is_empty() && self.tried.len() < limits::MAX_LADDER_TARGETS
            }
            _ => !self.tried.contains(&(step.method, None)),
        }
    }

    /// Starts what is due, drops what is no longer wanted, and ends the round when nothing is left.
    fn pump(&mut self) {
        if self.state != State::Active {
            return;
        }
        let mut earlier = false;
        let signalling = self.signalling();
        let waiting = std::mem::take(&mut self.waiting);
        let mut held: Vec<(Time, Step)> = Vec::new();
        for (at, step) in waiting {
            if self.paths.bar().is_some_and(|class| class <= step.class) && !self.opens_signalling(&step) {
                self.skip(step.method, String::new(), Skip::AlreadyConnected);
                continue;
            }
            let signalling = if step.method.needs_signalling() { signalling } else { Signalling::Ready };
            if signalling == Signalling::Absent {
                self.skip(step.method, String::new(), Skip::NoSignalling);
                continue;
            }
            let blocked = signalling == Signalling::AfterCircuit
                || step.after.is_some_and(|method| {
                    self.is_running(method) || held.iter().any(|(_, other)| other.method == method)
                })
                || self.running.len() >= limits::MAX_RUNNING_RUNGS;
            // Sooner than planned when everything before it has ended.
            let alone = !earlier && !self.running.values().any(|running| is_blocking(&running.step));
            earlier |= is_blocking(&step);
            if blocked || (self.now < at && !alone) {
                held.push((at, step));
            } else {
                self.launch(step);
            }
        }
        self.waiting = held;
        if self.waiting.is_empty() && self.running.is_empty() && self.paths.active().is_none() {
            self.round_failed();
        }
    }

    /// Whether a step is the circuit without which no better path can be agreed on.
    fn opens_signalling(&self, step: &Step) -> bool {
        step.method == Method::Circuit
            && self.situation.signalling == Signalling::AfterCircuit
            && self.paths.bar() > Some(Class::Direct)
            && !self.paths.has(Method::Circuit)
    }

    /// Whether messages can be exchanged now, later, or not in this round.
    fn signalling(&self) -> Signalling {
        let circuit = Method::Circuit;
        match self.situation.signalling {
            Signalling::AfterCircuit if self.paths.has(circuit) => Signalling::Ready,
            Signalling::AfterCircuit
                if !self.is_running(circuit) && !self.waiting.iter().any(|(_, step)| step.method == circuit) =>
            {
                Signalling::Absent
            }
            other => other,
        }
    }

    fn launch(&mut self, step: Step) {
        let rung = self.new_rung();
        match &step.plan {
            Plan::Dial(targets) | Plan::AskDialBack(targets) => {
                self.tried.extend(targets.iter().map(|target| (step.method, Some(*target))));
            }
            _ => {
                self.tried.insert((step.method, None));
            }
        }
        let deadline = self.now + self.time_for(step.method);
        let (method, plan) = (step.method, step.plan.clone());
        self.out.push_back(Output::Start { rung, method, plan, deadline });
        self.running.insert(rung, Running { step, started: self.now, deadline });
    }

    fn time_for(&self, method: Method) -> Duration {
        let base = match method {
            Method::Lan => limits::LAN_RUNG_TIMEOUT,
            Method::DirectV6 | Method::DirectV4 | Method::Mapped(..) => limits::DIAL_RUNG_TIMEOUT,
            Method::UdpPunch => limits::UDP_PUNCH_RUNG_TIMEOUT,
            Method::UdpAdvancedPunch => limits::ADVANCED_PUNCH_RUNG_TIMEOUT,
            Method::TcpPunch | Method::TcpSimultaneousOpen => limits::TCP_PUNCH_RUNG_TIMEOUT,
            Method::Ice | Method::Turn | Method::Circuit | Method::GunRelay => limits::RELAY_RUNG_TIMEOUT,
        };
        // Eight round trips: two exchanges over a detour, and the attempt with one repetition. A measured round trip
        // that is absurd does not stretch it beyond the round.
        let slow = self.situation.round_trip.unwrap_or_default().saturating_mul(8).min(limits::LADDER_ROUND_TIMEOUT);
        base.max(slow)
    }

    fn connected(&mut self, rung: RungId, method: Method, relayed: bool) {
        let class = class_of(method, relayed, self.situation.circuit_limited);
        self.had_path = true;
        let (taken, released) = self.paths.add(self.now, rung, method, class);
        match taken {
            Taken::First => self.out.push_back(Output::Connected { rung, method }),
            Taken::InsteadOf(from) => {
                self.out.push_back(Output::Switch { from, to: rung, method, why: Change::Upgrade });
            }
            Taken::Standby => {}
        }
        self.out.extend(released.into_iter().map(|rung| Output::Release { rung }));
        let bar = self.paths.bar();
        let waits = self.situation.signalling == Signalling::AfterCircuit && bar > Some(Class::Direct);
        self.cancel_running(|running| {
            let opens_signalling = waits && running.step.method == Method::Circuit;
            bar.is_some_and(|class| class <= running.step.class) && !opens_signalling
        });
    }

    /// Nothing is left and there is no path. One that was there and broke may come back; what never worked will not.
    fn round_failed(&mut self) {
        if self.had_path && self.rounds < limits::MAX_LADDER_ROUNDS {
            self.next_round();
            // Each round counts, so this goes as deep as there are rounds, and no deeper.
            self.pump();
        } else {
            self.state = State::Idle;
            self.out.push_back(Output::GiveUp { log: self.log.clone() });
        }
    }

    fn round_end(&self) -> Time {
        self.round_start + limits::LADDER_ROUND_TIMEOUT
    }

    fn leave_waiting(&mut self, skip: Skip) {
        for (_, step) in std::mem::take(&mut self.waiting) {
            self.skip(step.method, String::new(), skip);
        }
    }

    fn cancel_running(&mut self, which: impl Fn(&Running) -> bool) {
        let cancelled: Vec<RungId> =
            self.running.iter().filter(|(_, running)| which(running)).map(|(rung, _)| *rung).collect();
        for rung in cancelled {
            if let Some(running) = self.running.remove(&rung) {
                self.record(&running, Outcome::Cancelled, "");
                self.out.push_back(Output::Cancel { rung });
            }
        }
    }

    fn is_running(&self, method: Method) -> bool {
        self.running.values().any(|running| running.step.method == method)
    }

    fn new_rung(&mut self) -> RungId {
        self.next_rung += 1;
        RungId(self.next_rung)
    }

    fn record(&mut self, running: &Running, outcome: Outcome, detail: &str) {
        let started_ms = self.milliseconds(running.started);
        let took_ms = self.now.since(running.started).as_millis() as u64;
        let (method, target) = (running.step.method, describe(&running.step.plan));
        self.log.push(Attempt { method, target, started_ms, took_ms, outcome, detail: detail.to_owned() });
    }

    /// Notes what is left out, once.
    fn skip(&mut self, method: Method, target: String, skip: Skip) {
        let known =
            |old: &Attempt| (old.method, &old.target) == (method, &target) && old.outcome == Outcome::Skipped(skip);
        if !self.log.attempts().iter().any(known) {
            self.log.push(skipped(method, target, self.milliseconds(self.now), skip));
        }
    }

    fn milliseconds(&self, at: Time) -> u64 {
        at.since(self.started).as_millis() as u64
    }
}

/// Whether the next rungs give it its head start. Relays carry bytes meanwhile; the local network answers at once.
fn is_blocking(step: &Step) -> bool {
    step.class == Class::Direct && step.after.is_none()
}

#[cfg(test)]
mod tests;
