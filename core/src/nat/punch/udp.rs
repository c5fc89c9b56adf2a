//! The UDP side of one round: sends probes on a schedule, answers, and agrees with the peer on one path. Pure.
//! Not here: which addresses are probed and why (`round`, `plan`), how a probe looks on the wire and how it is proven
//! to be the peer's (`driver`): the machine is told of authentic packets only.
//!
//! A probe asks, an answer returns to where the probe *came from*, so ports that no server saw are found by themselves.
//! The *controlled* side answers each probe once. The *controlling* side answers none; a probe makes it send one of its
//! own there at once. Its first answered probe shows that a path works both ways: it nominates that path, once and for
//! all, by probes with a flag, and is connected when one of them is answered. The controlled side is connected when the
//! first such probe arrives, and goes on answering, since its answer may have been lost.
//!
//! To an address that only the peer's packets named, no more is ever sent than came from it: one packet for one, and
//! nothing for a transaction id seen before.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::base::limits;
use crate::base::random::Jitter;
use crate::base::time::Time;

/// STUN's transaction id.
pub type Transaction = [u8; 12];

/// A socket and the address it talks to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pair {
    /// Index of the local socket.
    pub socket: usize,
    /// The peer's address as seen from here.
    pub remote: SocketAddr,
}

/// What is probed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Known pairs, again and again.
    Pairs {
        /// The pairs, in the order of the first pass.
        pairs: Vec<Pair>,
        /// Pause between two pairs of a pass.
        spacing: Duration,
        /// Passes only keep mappings alive: one every 1.5 s.
        slow: bool,
    },
    /// Random ports of one address, none twice.
    Search {
        /// Index of the local socket.
        socket: usize,
        /// The address.
        ip: IpAddr,
        /// Lowest port.
        first: u16,
        /// Number of ports.
        size: u16,
        /// Most probes.
        probes: u16,
    },
}

/// What a machine needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// Whether this side decides.
    pub controlling: bool,
    /// Decides when both sides believe to be controlling: the larger one is. Random.
    pub tiebreaker: u64,
    /// First bytes of all our transaction ids, by which a shared socket sorts the answers.
    pub tag: [u8; 4],
    /// What is probed.
    pub mode: Mode,
    /// When to give up.
    pub duration: Duration,
    /// Most packets sent.
    pub packets: u32,
}

/// An authentic probe that came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Socket and sender.
    pub pair: Pair,
    /// Its id.
    pub transaction: Transaction,
    /// Whether the sender believes to be controlling.
    pub controlling: bool,
    /// The sender's tiebreaker.
    pub tiebreaker: u64,
    /// Whether the sender chose this path.
    pub nominate: bool,
}

/// What the machine wants done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send a probe to `pair.remote` from `pair.socket`.
    Probe(Probe),
    /// Send an answer the same way.
    Answer(Pair, Transaction),
    /// This path is agreed on.
    Connected(Pair),
    /// The round is over.
    Failed(Failure),
}

/// How a round failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Nothing of the peer arrived.
    Silence,
    /// Packets of the peer arrived, but no path was confirmed both ways.
    OneWay,
    /// The packets ran out.
    PacketsSpent,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Silence => "no packet of the peer arrived",
            Self::OneWay => "packets of the peer arrived, but no path was confirmed both ways",
            Self::PacketsSpent => "the packets of this round were spent",
        })
    }
}

/// Pauses after the first passes; later ones are as long as the last.
const PAUSES: [Duration; 8] = {
    const fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }
    [ms(5), ms(10), ms(20), ms(50), ms(100), ms(100), ms(150), ms(200)]
};
/// Pause of slow passes.
const KEEP_ALIVE: Duration = Duration::from_millis(1500);
/// Pauses of pairs that gave a sign of life.
const HOT_PAUSE: Duration = Duration::from_millis(40);
/// Probes sent in one call at most, when calls come late.
const BURST: usize = 32;

/// The machine.
#[derive(Debug)]
pub struct Punch {
    config: Config,
    jitter: Jitter,
    started: Time,
    deadline: Time,
    schedule: Schedule,
    hot: Vec<Hot>,
    /// Own probes that may be answered; only while controlling.
    asked: BTreeMap<Transaction, (Pair, bool)>,
    seen: BTreeSet<Transaction>,
    nominated: Option<Pair>,
    state: State,
    sent: u32,
    heard: u32,
    out: VecDeque<Output>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Probing,
    Connected,
    Failed,
}

#[derive(Debug)]
struct Schedule {
    /// Ports of a search in random order.
    ports: Vec<u16>,
    next: Time,
    at: usize,
    pass: u32,
}

#[derive(Debug)]
struct Hot {
    pair: Pair,
    nominate: bool,
    next: Time,
    left: u32,
}

impl Punch {
    /// Starts the round.
    pub fn new(now: Time, config: Config, mut jitter: Jitter) -> Self {
        let (ports, next) = match &config.mode {
            Mode::Pairs { .. } => (Vec::new(), now),
            Mode::Search { first, size, probes, .. } => {
                let end = first.saturating_add(size.saturating_sub(1));
                let mut ports: Vec<u16> = (*first..=end).filter(|port| *port != 0).collect();
                jitter.shuffle(&mut ports);
                ports.truncate(usize::from(*probes));
                (ports, now + limits::PUNCH_HEAD_START)
            }
        };
        let mut punch = Self {
            started: now,
            deadline: now + config.duration,
            schedule: Schedule { ports, next, at: 0, pass: 0 },
            hot: Vec::new(),
            asked: BTreeMap::new(),
            seen: BTreeSet::new(),
            nominated: None,
            state: State::Probing,
            sent: 0,
            heard: 0,
            out: VecDeque::new(),
            config,
            jitter,
        };
        punch.handle_timeout(now);
        punch
    }

    /// An authentic probe arrived. One with a transaction id seen before does nothing.
    pub fn handle_probe(&mut self, now: Time, probe: Probe) {
        if self.state == State::Failed || self.seen.len() >= limits::PUNCH_SEEN || !self.seen.insert(probe.transaction)
        {
            return;
        }
        self.heard = self.heard.saturating_add(1);
        if probe.controlling == self.config.controlling && !self.settle_roles(&probe) {
            return;
        }
        if self.config.controlling {
            self.lead(now, &probe);
        } else {
            self.follow(now, &probe);
        }
    }

    /// An authentic answer arrived. It counts if it answers a probe of ours and comes from where that was sent.
    pub fn handle_answer(&mut self, now: Time, pair: Pair, transaction: Transaction) {
        if self.state != State::Probing || !self.config.controlling {
            return;
        }
        match self.asked.get(&transaction) {
            Some((asked, _)) if *asked == pair => {}
            _ => return,
        }
        let Some((_, nominating)) = self.asked.remove(&transaction) else { return };
        self.heard = self.heard.saturating_add(1);
        match self.nominated {
            None => {
                self.nominated = Some(pair);
                self.hot.clear();
                self.heat(now, pair, true);
                self.handle_timeout(now);
            }
            Some(nominated) if nominated == pair && nominating => {
                self.state = State::Connected;
                self.asked.clear();
                self.out.push_back(Output::Connected(pair));
            }
            Some(_) => {}
        }
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Time) {
        if self.state != State::Probing {
            return;
        }
        if now >= self.deadline {
            self.fail(if self.heard == 0 { Failure::Silence } else { Failure::OneWay });
            return;
        }
        self.probe_hot(now);
        if self.nominated.is_none() {
            self.probe_on_schedule(now);
        }
    }

    /// The next thing to do. Empty the machine after every call.
    pub fn poll(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called; `None` when the round is over.
    pub fn next_timeout(&self) -> Option<Time> {
        if self.state != State::Probing {
            return None;
        }
        let hot = self.hot.iter().filter(|hot| hot.left > 0).map(|hot| hot.next);
        let schedule = (self.nominated.is_none() && self.has_schedule()).then_some(self.schedule.next);
        hot.chain(schedule).chain([self.deadline]).min()
    }

    /// Whether this side decides, as far as is known.
    pub const fn is_controlling(&self) -> bool {
        self.config.controlling
    }

    /// Packets sent so far, answers included.
    pub const fn packets(&self) -> u32 {
        self.sent
    }

    /// The time since the start.
    pub fn elapsed(&self, now: Time) -> Duration {
        now.since(self.started)
    }

    /// Both believe in the same role: the larger tiebreaker controls. False if the probe has no meaning any more.
    fn settle_roles(&mut self, probe: &Probe) -> bool {
        if self.config.tiebreaker == probe.tiebreaker || self.state != State::Probing {
            return false;
        }
        let controlling = self.config.tiebreaker > probe.tiebreaker;
        if controlling != self.config.controlling {
            self.config.controlling = controlling;
            self.nominated = None;
            self.asked.clear();
            self.hot.clear();
        }
        true
    }

    /// Controlling side: a probe shows where the peer can be reached.
    fn lead(&mut self, now: Time, probe: &Probe) {
        if self.state != State::Probing || self.nominated.is_some() {
            return;
        }
        if self.is_known(probe.pair) {
            self.heat(now, probe.pair, false);
        }
        self.send_probe(probe.pair, false);
    }

    /// Controlled side: answers, and obeys the first nomination.
    fn follow(&mut self, now: Time, probe: &Probe) {
        if self.nominated.is_some_and(|nominated| nominated != probe.pair) {
            return;
        }
        let chosen = probe.nominate && self.nominated.is_none();
        if chosen {
            self.nominated = Some(probe.pair);
            self.state = State::Connected;
            self.hot.clear();
        }
        self.send(Output::Answer(probe.pair, probe.transaction));
        if chosen {
            self.out.push_back(Output::Connected(probe.pair));
        } else if self.state == State::Probing && self.is_known(probe.pair) {
            // The answer may be lost: our next probes make the peer ask again.
            self.heat(now, probe.pair, false);
        }
    }

    /// Whether the peer named this address on the signalling channel, so that more than one packet may go there.
    fn is_known(&self, pair: Pair) -> bool {
        match &self.config.mode {
            Mode::Pairs { pairs, .. } => pairs.contains(&pair),
            Mode::Search { socket, ip, .. } => pair.socket == *socket && pair.remote.ip() == *ip,
        }
    }

    fn heat(&mut self, now: Time, pair: Pair, nominate: bool) {
        if self.hot.iter().any(|hot| hot.pair == pair && hot.nominate == nominate)
            || self.hot.len() >= limits::PUNCH_HOT_PAIRS
        {
            return;
        }
        // A nomination goes out at once and until it is answered or the round ends.
        let (next, left) = if nominate { (now, u32::MAX) } else { (now + HOT_PAUSE, limits::PUNCH_HOT_PROBES) };
        self.hot.push(Hot { pair, nominate, next, left });
    }

    fn probe_hot(&mut self, now: Time) {
        let mut due = Vec::new();
        for hot in &mut self.hot {
            if hot.left > 0 && hot.next <= now {
                hot.left -= 1;
                hot.next = now + HOT_PAUSE;
                due.push((hot.pair, hot.nominate));
            }
        }
        for (pair, nominate) in due {
            self.send_probe(pair, nominate);
        }
    }

    fn has_schedule(&self) -> bool {
        match &self.config.mode {
            Mode::Pairs { pairs, .. } => !pairs.is_empty() && self.schedule.pass < limits::PUNCH_PASSES,
            Mode::Search { .. } => self.schedule.at < self.schedule.ports.len(),
        }
    }

    fn probe_on_schedule(&mut self, now: Time) {
        let mut burst = BURST;
        while self.has_schedule() && self.schedule.next <= now && self.state == State::Probing {
            let at = self.schedule.at;
            self.schedule.at += 1;
            let (pair, next) = match &self.config.mode {
                Mode::Pairs { pairs, slow, .. } if self.schedule.at == pairs.len() => {
                    let pass = self.schedule.pass as usize;
                    self.schedule.at = 0;
                    self.schedule.pass += 1;
                    (pairs[at], now + if *slow { KEEP_ALIVE } else { PAUSES[pass.min(PAUSES.len() - 1)] })
                }
                Mode::Pairs { pairs, spacing, .. } => (pairs[at], self.schedule.next + *spacing),
                Mode::Search { socket, ip, .. } => {
                    let remote = SocketAddr::new(*ip, self.schedule.ports[at]);
                    let pause = Duration::from_secs(1) / limits::PUNCH_SEARCH_RATE;
                    (Pair { socket: *socket, remote }, self.schedule.next + pause)
                }
            };
            // Late calls catch up, but not all at once.
            let spaced = next > self.schedule.next;
            burst = burst.saturating_sub(usize::from(spaced));
            self.schedule.next = if burst == 0 && spaced { next.max(now + Duration::from_millis(1)) } else { next };
            self.send_probe(pair, false);
        }
    }

    fn send_probe(&mut self, pair: Pair, nominate: bool) {
        let mut transaction = [0; 12];
        transaction[..4].copy_from_slice(&self.config.tag);
        transaction[4..].copy_from_slice(&self.jitter.bits().to_be_bytes());
        if self.config.controlling {
            // Bounded by the packets of the round.
            self.asked.insert(transaction, (pair, nominate));
        }
        let (controlling, tiebreaker) = (self.config.controlling, self.config.tiebreaker);
        self.send(Output::Probe(Probe { pair, transaction, controlling, tiebreaker, nominate }));
    }

    fn send(&mut self, output: Output) {
        if self.sent >= self.config.packets {
            if self.state == State::Probing {
                self.fail(Failure::PacketsSpent);
            }
            return;
        }
        self.sent += 1;
        self.out.push_back(output);
    }

    fn fail(&mut self, failure: Failure) {
        self.state = State::Failed;
        self.asked.clear();
        self.hot.clear();
        self.out.push_back(Output::Failed(failure));
    }
}

#[cfg(test)]
mod tests;
