//! The TCP side of one round: connects again and again from the port that it also listens on, and agrees with the peer
//! on one of the connections that come up. Pure. Not here: sockets (`net::tcp`) and the frames (`hello`).
//!
//! When both sides connect at once, the two SYNs may meet (simultaneous open: both `connect` calls succeed with one
//! connection), one may arrive at the other's listener, or, when a NAT mangles something, each side may hold a
//! half-dead connection of its own. So a connection counts only after SELECT and ACCEPT have passed over it.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use super::hello::Kind;
use crate::base::limits;
use crate::base::time::Time;

/// Names one connection, or an attempt to make one.
pub type Id = u64;

/// Why `connect` failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A reset, or an ICMP error. The peer's SYN may have been underway: try again soon.
    Refused,
    /// The system says that the connection exists (`EADDRNOTAVAIL`): it was accepted, take that one.
    Exists,
    /// No answer.
    TimedOut,
    /// This address cannot be reached from here at all.
    Unreachable,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// `connect` succeeded.
    Connected(Id),
    /// `connect` failed.
    Refused(Id, Refusal),
    /// An authentic frame of the peer arrived.
    Frame(Id, Kind),
    /// The connection ended, or carried something else than frames of the peer.
    Closed(Id),
}

/// What the machine wants done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Connect to this address; report `Connected` or `Refused`.
    Connect(Id, SocketAddr),
    /// Send a frame.
    Send(Id, Kind),
    /// Close the connection, or give up the attempt.
    Close(Id),
    /// This one is agreed on; all others were closed. The driver hands it out after what was sent has left.
    Won(Id),
    /// The round is over without a connection.
    Failed(Failure),
}

/// How a round failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No connection came up.
    NoConnection,
    /// Connections came up, but the peer did not prove itself on any.
    Unconfirmed,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoConnection => "no TCP connection came up",
            Self::Unconfirmed => "TCP connections came up, but the peer did not confirm any",
        })
    }
}

/// The machine.
#[derive(Debug)]
pub struct TcpPunch {
    controlling: bool,
    deadline: Time,
    targets: Vec<Target>,
    connections: BTreeMap<Id, Phase>,
    next_id: Id,
    attempts: u32,
    /// Whether any connection came up.
    met: bool,
    /// Controlling: the connection that carries our SELECT.
    selected: Option<(Id, Time)>,
    over: bool,
    out: VecDeque<Output>,
}

#[derive(Debug)]
struct Target {
    remote: SocketAddr,
    /// When to connect; `None` while an attempt or connection of ours exists, or when it makes no sense.
    next: Option<Time>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// `connect` to this target runs.
    Connecting(usize),
    /// Open; HELLO was sent, the peer's must come until then. Of this target, or accepted.
    Open(Option<usize>, Time),
    /// The peer's HELLO came.
    Greeted(Option<usize>),
}

/// A connection over which no HELLO came for so long is half-dead: another attempt may do better.
const HELLO_PATIENCE: Duration = Duration::from_secs(1);
/// A SELECT that is not answered for so long was sent into a dead connection; the next one is tried.
const SELECT_PATIENCE: Duration = Duration::from_millis(700);

impl TcpPunch {
    /// Starts connecting to all targets, of which the first [`limits::PUNCH_TCP_TARGETS`] count. The driver listens
    /// already.
    pub fn new(now: Time, controlling: bool, targets: &[SocketAddr], duration: Duration) -> Self {
        let targets = targets.iter().take(limits::PUNCH_TCP_TARGETS);
        let mut punch = Self {
            controlling,
            deadline: now + duration,
            targets: targets.map(|remote| Target { remote: *remote, next: Some(now) }).collect(),
            connections: BTreeMap::new(),
            next_id: 0,
            attempts: 0,
            met: false,
            selected: None,
            over: false,
            out: VecDeque::new(),
        };
        punch.handle_timeout(now);
        punch
    }

    /// The listener accepted a connection. `None`: there are too many, close it.
    pub fn accepted(&mut self, now: Time) -> Option<Id> {
        if self.over || self.connections.len() >= limits::PUNCH_TCP_CONNECTIONS || !self.may_try() {
            return None;
        }
        let id = self.new_id();
        self.open(now, id, None);
        Some(id)
    }

    /// The role was not known before the first HELLO told; call this before handing that in.
    pub fn set_controlling(&mut self, controlling: bool) {
        self.controlling = controlling;
    }

    /// Something happened. News of connections that are closed already are ignored.
    pub fn handle(&mut self, now: Time, input: Input) {
        if self.over {
            return;
        }
        match input {
            Input::Connected(id) => {
                if let Some(Phase::Connecting(target)) = self.connections.get(&id).copied() {
                    self.open(now, id, Some(target));
                }
            }
            Input::Refused(id, refusal) => {
                if let Some(Phase::Connecting(target)) = self.connections.remove(&id) {
                    self.targets[target].next = match refusal {
                        Refusal::Refused | Refusal::TimedOut => Some(now + limits::PUNCH_TCP_RETRY),
                        // In case the accepted one turns out to be dead.
                        Refusal::Exists => Some(now + 5 * limits::PUNCH_TCP_RETRY),
                        Refusal::Unreachable => None,
                    };
                }
            }
            Input::Closed(id) => self.closed(now, id),
            Input::Frame(id, kind) => self.frame(now, id, kind),
        }
        self.handle_timeout(now);
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Time) {
        if self.over {
            return;
        }
        if now >= self.deadline {
            let failure = if self.met { Failure::Unconfirmed } else { Failure::NoConnection };
            self.finish(None);
            self.out.push_back(Output::Failed(failure));
            return;
        }
        if let Some((id, until)) = self.selected
            && now >= until
        {
            self.out.push_back(Output::Close(id));
            self.closed(now, id);
        }
        let silent = |(id, phase): (&Id, &Phase)| match phase {
            Phase::Open(_, until) if now >= *until => Some(*id),
            _ => None,
        };
        let silent: Vec<Id> = self.connections.iter().filter_map(silent).collect();
        for id in silent {
            self.out.push_back(Output::Close(id));
            self.closed(now, id);
        }
        for index in 0..self.targets.len() {
            let due = self.targets[index].next.is_some_and(|next| next <= now);
            if due && self.may_try() && self.connections.len() < limits::PUNCH_TCP_CONNECTIONS {
                self.targets[index].next = None;
                let id = self.new_id();
                self.connections.insert(id, Phase::Connecting(index));
                self.out.push_back(Output::Connect(id, self.targets[index].remote));
            } else if due {
                self.targets[index].next = self.may_try().then(|| now + limits::PUNCH_TCP_RETRY);
            }
        }
    }

    /// The next thing to do. Empty the machine after every call.
    pub fn poll(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called; `None` when the round is over.
    pub fn next_timeout(&self) -> Option<Time> {
        if self.over {
            return None;
        }
        let connects = self.targets.iter().filter_map(|target| target.next);
        let hellos = self.connections.values().filter_map(|phase| match phase {
            Phase::Open(_, until) => Some(*until),
            _ => None,
        });
        connects.chain(hellos).chain(self.selected.map(|(_, until)| until)).chain([self.deadline]).min()
    }

    /// Connections made or accepted so far, refused ones included.
    pub const fn attempts(&self) -> u32 {
        self.attempts
    }

    fn new_id(&mut self) -> Id {
        self.next_id += 1;
        self.attempts += 1;
        self.next_id
    }

    const fn may_try(&self) -> bool {
        self.attempts < limits::PUNCH_TCP_ATTEMPTS
    }

    fn open(&mut self, now: Time, id: Id, target: Option<usize>) {
        self.met = true;
        self.connections.insert(id, Phase::Open(target, now + HELLO_PATIENCE));
        self.out.push_back(Output::Send(id, Kind::Hello));
    }

    fn frame(&mut self, now: Time, id: Id, kind: Kind) {
        let Some(phase) = self.connections.get(&id).copied() else { return };
        match (kind, phase) {
            (Kind::Hello, Phase::Open(target, _)) => {
                self.connections.insert(id, Phase::Greeted(target));
                self.select(now);
            }
            (Kind::Select, Phase::Greeted(_)) if !self.controlling => {
                self.out.push_back(Output::Send(id, Kind::Accept));
                self.finish(Some(id));
            }
            (Kind::Accept, Phase::Greeted(_)) if self.selected.is_some_and(|(selected, _)| selected == id) => {
                self.finish(Some(id));
            }
            _ => {
                // A frame out of order: not a peer that we understand.
                self.out.push_back(Output::Close(id));
                self.closed(now, id);
            }
        }
    }

    /// Controlling: chooses a connection on which the peer has shown itself, if none is chosen.
    fn select(&mut self, now: Time) {
        if !self.controlling || self.selected.is_some() {
            return;
        }
        let greeted = self.connections.iter().find(|(_, phase)| matches!(phase, Phase::Greeted(_)));
        if let Some((id, _)) = greeted {
            self.selected = Some((*id, now + SELECT_PATIENCE));
            self.out.push_back(Output::Send(*id, Kind::Select));
        }
    }

    fn closed(&mut self, now: Time, id: Id) {
        let Some(phase) = self.connections.remove(&id) else { return };
        if let Phase::Connecting(target) | Phase::Open(Some(target), _) | Phase::Greeted(Some(target)) = phase {
            self.targets[target].next = Some(now + limits::PUNCH_TCP_RETRY);
        }
        if self.selected.is_some_and(|(selected, _)| selected == id) {
            self.selected = None;
            self.select(now);
        }
    }

    fn finish(&mut self, winner: Option<Id>) {
        self.over = true;
        let others = self.connections.keys().filter(|id| Some(**id) != winner);
        self.out.extend(others.map(|id| Output::Close(*id)));
        self.out.extend(winner.map(Output::Won));
        self.connections.clear();
    }
}

#[cfg(test)]
mod tests;
