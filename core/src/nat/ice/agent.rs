//! The ICE agent: its inputs, outputs and tables. Pure.
//! Not here: the course of the checks (`checks`), the bytes of messages (`messages`).

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

use super::candidate::{Candidate, Kind, priority};
use super::messages::{Credentials, Request, Role};
use super::pair::{PairId, Pairs};
use crate::base::limits;
use crate::base::random::Jitter;
use crate::base::time::Time;
use crate::nat::policy::{Origin, Policy, Refusal};
use crate::nat::stun::TransactionId;

/// What an agent starts with.
#[derive(Clone, Debug)]
pub struct Config {
    /// The side that asked for the connection controls.
    pub role: Role,
    /// Ours; told to the peer.
    pub credentials: Credentials,
    /// Which addresses may be checked.
    pub policy: Policy,
    /// From the operating system: transaction ids come from it.
    pub seed: u64,
}

/// What a rank costs of a candidate's preference: more than all places in the table together.
const RANK: u16 = limits::MAX_ICE_CANDIDATES as u16;

/// A local candidate that sends: a socket, or an allocation at a TURN server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LocalId(pub usize);

/// What the driver is to do or to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send a datagram.
    Send {
        /// From this socket or allocation.
        local: LocalId,
        /// To this address.
        to: SocketAddr,
        /// These bytes.
        bytes: Vec<u8>,
    },
    /// Use this pair from now on. Comes again when a better one or one after a restart takes its place.
    Selected {
        /// The socket or allocation.
        local: LocalId,
        /// The peer's address.
        to: SocketAddr,
        /// What our side of the pair is, as the peer sees it.
        local_kind: Kind,
        /// What the peer's side is.
        remote_kind: Kind,
    },
    /// The peer has not consented to be sent to for 30 seconds: send nothing more on the pair. A restart may help.
    ConsentLost,
    /// No pair works. Nothing follows but after a restart.
    Failed(FailedBecause),
}

/// Why there is no pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailedBecause {
    /// Every check failed, and no more candidates will come.
    AllChecksFailed,
    /// It took too long.
    Timeout,
}

/// Why a remote candidate is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rejected {
    /// It may not be sent to.
    Forbidden(Refusal),
    /// The table is full.
    TooMany,
    /// It is for another component.
    Component,
}

/// The agent.
#[derive(Debug)]
pub struct Agent {
    pub(super) role: Role,
    pub(super) tie_breaker: u64,
    pub(super) ours: Credentials,
    pub(super) theirs: Option<Credentials>,
    pub(super) policy: Policy,
    pub(super) jitter: Jitter,
    pub(super) locals: Vec<Local>,
    pub(super) remotes: Vec<Candidate>,
    pub(super) pairs: Pairs,
    /// Checks that came before the peer's credentials.
    pub(super) early: Vec<(LocalId, SocketAddr, Request)>,
    pub(super) selected: Option<Selected>,
    pub(super) nominating: Option<PairId>,
    pub(super) first_valid: Option<Time>,
    pub(super) started: Time,
    pub(super) next_check: Time,
    pub(super) local_ended: bool,
    pub(super) remote_ended: bool,
    pub(super) failed: bool,
    pub(super) out: VecDeque<Output>,
}

#[derive(Debug)]
pub(super) struct Local {
    pub(super) candidate: Candidate,
    /// The index of the one that sends for it; its own for hosts and relays.
    pub(super) base: usize,
    /// What the last answered check of it was seen coming from.
    pub(super) seen_as: Option<SocketAddr>,
    /// What tells foundations apart.
    origin: (Kind, IpAddr, Option<IpAddr>),
}

/// The pair in use.
#[derive(Debug)]
pub(super) struct Selected {
    /// `None` when it is of before a restart: it is used, but not kept alive.
    pub(super) pair: Option<PairId>,
    pub(super) priority: u64,
    pub(super) local: LocalId,
    pub(super) to: SocketAddr,
    pub(super) consent_until: Time,
    pub(super) next_consent: Time,
    /// The consent checks on their way, latest last.
    pub(super) asked: VecDeque<TransactionId>,
}

impl Agent {
    /// An agent without candidates.
    pub fn new(now: Time, config: Config) -> Self {
        let mut jitter = Jitter::from_seed(config.seed);
        Self {
            role: config.role,
            tie_breaker: jitter.bits(),
            ours: config.credentials,
            theirs: None,
            policy: config.policy,
            jitter,
            locals: Vec::new(),
            remotes: Vec::new(),
            pairs: Pairs::default(),
            early: Vec::new(),
            selected: None,
            nominating: None,
            first_valid: None,
            started: now,
            next_check: now,
            local_ended: false,
            remote_ended: false,
            failed: false,
            out: VecDeque::new(),
        }
    }

    /// Our credentials, for the peer.
    pub fn credentials(&self) -> &Credentials {
        &self.ours
    }

    /// The role, which a conflict may have changed.
    pub fn role(&self) -> Role {
        self.role
    }

    /// A socket of ours. The candidate to tell the peer; `None` when the table is full.
    pub fn add_host(&mut self, now: Time, address: SocketAddr) -> Option<(LocalId, Candidate)> {
        self.add_local(now, Kind::Host, address, None, None, 0)
    }

    /// Another address of ours at which packets to a socket arrive. `None` when the table is full or it is known.
    pub fn add_alias(&mut self, now: Time, base: LocalId, address: SocketAddr) -> Option<Candidate> {
        self.add_local(now, Kind::Host, address, Some(base), None, 0).map(|(_, told)| told)
    }

    /// What a STUN server sees of a socket. `None` when that tells the peer nothing new.
    pub fn add_reflexive(
        &mut self,
        now: Time,
        base: LocalId,
        address: SocketAddr,
        server: SocketAddr,
    ) -> Option<Candidate> {
        self.add_local(now, Kind::ServerReflexive, address, Some(base), Some(server.ip()), 0).map(|(_, told)| told)
    }

    /// An allocation at a TURN server, reached from `mapped`. Of two, the one with the smaller `rank` is the better one,
    /// then the one that is added first.
    pub fn add_relayed(
        &mut self,
        now: Time,
        address: SocketAddr,
        mapped: SocketAddr,
        server: SocketAddr,
        rank: u8,
    ) -> Option<(LocalId, Candidate)> {
        let mut added = self.add_local(now, Kind::Relayed, address, None, Some(server.ip()), rank)?;
        let local = &mut self.locals[added.0.0].candidate;
        local.related = Some(mapped);
        added.1 = local.clone();
        Some(added)
    }

    /// There will be no more candidates of ours.
    pub fn end_of_local(&mut self, now: Time) {
        self.local_ended = true;
        self.advance(now);
    }

    /// The peer's credentials. Checks begin.
    pub fn set_remote(&mut self, now: Time, credentials: Credentials) {
        if self.theirs.as_ref() == Some(&credentials) {
            return;
        }
        self.theirs = Some(credentials);
        for (local, from, request) in std::mem::take(&mut self.early) {
            self.checked_by_peer(now, local, from, request);
        }
        self.advance(now);
    }

    /// A candidate of the peer.
    pub fn add_remote(&mut self, now: Time, candidate: Candidate) -> Result<(), Rejected> {
        if candidate.component != 1 {
            return Err(Rejected::Component);
        }
        self.policy.check(candidate.address, Origin::Remote).map_err(Rejected::Forbidden)?;
        let known = self.remotes.iter().position(|old| old.address == candidate.address);
        if let Some(index) = known {
            // A check was faster than signalling: now we know what it is.
            if self.remotes[index].kind == Kind::PeerReflexive {
                self.remotes[index] = candidate;
            }
        } else {
            if self.remotes.len() >= limits::MAX_ICE_CANDIDATES {
                return Err(Rejected::TooMany);
            }
            self.remotes.push(candidate);
            let remote = self.remotes.len() - 1;
            for local in 0..self.locals.len() {
                self.pair_up(local, remote);
            }
        }
        self.advance(now);
        Ok(())
    }

    /// There will be no more candidates of the peer.
    pub fn end_of_remote(&mut self, now: Time) {
        self.remote_ended = true;
        self.advance(now);
    }

    /// Starts over with new credentials; the peer has to as well. Local candidates stay, and so does the selected pair
    /// until another one is, or its consent ends.
    pub fn restart(&mut self, now: Time, credentials: Credentials) {
        self.ours = credentials;
        self.theirs = None;
        self.remotes.clear();
        self.pairs = Pairs::default();
        self.early.clear();
        self.nominating = None;
        self.first_valid = None;
        self.started = now;
        self.next_check = now;
        self.local_ended = false;
        self.remote_ended = false;
        self.failed = false;
        if let Some(selected) = &mut self.selected {
            selected.pair = None;
            selected.asked.clear();
        }
    }

    /// A datagram came in. False when it is not for ICE.
    pub fn handle_datagram(&mut self, now: Time, local: LocalId, from: SocketAddr, bytes: &[u8]) -> bool {
        if self.locals.get(local.0).is_none_or(|known| known.base != local.0) {
            return false;
        }
        let consumed = self.receive(now, local, from, bytes);
        self.advance(now);
        consumed
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Time) {
        self.advance(now);
    }

    /// The next thing to do. Empty the agent after every call.
    pub fn poll(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// What to tell the peer, again after a restart.
    pub fn local_candidates(&self) -> impl Iterator<Item = &Candidate> {
        self.locals.iter().map(|local| &local.candidate)
    }

    /// The pair in use.
    pub fn selected(&self) -> Option<(LocalId, SocketAddr)> {
        self.selected.as_ref().map(|selected| (selected.local, selected.to))
    }

    /// Entries in all tables, for checking the bounds.
    pub fn table_sizes(&self) -> usize {
        self.locals.len()
            + self.remotes.len()
            + self.pairs.len()
            + self.pairs.queued()
            + self.early.len()
            + self.selected.as_ref().map_or(0, |selected| selected.asked.len())
    }

    fn add_local(
        &mut self,
        now: Time,
        kind: Kind,
        address: SocketAddr,
        base: Option<LocalId>,
        server: Option<IpAddr>,
        rank: u8,
    ) -> Option<(LocalId, Candidate)> {
        if self.locals.len() >= limits::MAX_ICE_CANDIDATES || self.local_ended {
            return None;
        }
        let index = self.locals.len();
        let base = base.map_or(index, |base| base.0);
        let base_address = if base == index { address } else { self.locals.get(base)?.candidate.address };
        // Redundant (RFC 8445 section 5.1.3): no NAT, or a second server that saw the same.
        if self.locals.iter().any(|local| local.candidate.address == address && local.base == base) {
            return None;
        }
        let origin = (kind, base_address.ip(), server);
        let alike = self.locals.iter().find(|local| local.origin == origin);
        let foundation = alike.map_or_else(|| (index + 1).to_string(), |local| local.candidate.foundation.clone());
        // IPv6 first (RFC 8421), then by rank, then in the driver's order.
        let family = if address.is_ipv6() { u16::MAX } else { u16::MAX / 2 };
        let preference = family - u16::from(rank) * RANK - index as u16;
        let candidate = Candidate {
            foundation,
            component: 1,
            priority: priority(kind, preference, 1),
            address,
            kind,
            related: (kind == Kind::ServerReflexive).then_some(base_address),
        };
        self.locals.push(Local { candidate: candidate.clone(), base, seen_as: None, origin });
        if base == index {
            for remote in 0..self.remotes.len() {
                self.pair_up(index, remote);
            }
        }
        self.advance(now);
        Some((LocalId(base), candidate))
    }

    /// Makes a pair of a sending local candidate and a remote one, if they can reach each other at all.
    pub(super) fn pair_up(&mut self, local: usize, remote: usize) -> Option<PairId> {
        let (ours, theirs) = (self.locals.get(local)?, self.remotes.get(remote)?);
        if ours.base != local || ours.candidate.address.is_ipv4() != theirs.address.is_ipv4() {
            return None;
        }
        let foundation = (ours.candidate.foundation.clone(), theirs.foundation.clone());
        let priority = self.pair_priority(ours.candidate.priority, theirs.priority);
        self.pairs.add(local, remote, foundation, priority)
    }

    pub(super) fn pair_priority(&self, ours: u32, theirs: u32) -> u64 {
        match self.role {
            Role::Controlling => super::pair::priority(ours, theirs),
            Role::Controlled => super::pair::priority(theirs, ours),
        }
    }
}
