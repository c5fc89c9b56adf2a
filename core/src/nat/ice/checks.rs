//! The course of the checks: pacing, answers, triggered checks, role conflicts, nomination, consent. Pure.
//! Not here: the tables and the public face of the agent (`agent`).

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use super::agent::{Agent, FailedBecause, LocalId, Output, Selected};
use super::candidate::{Candidate, Kind, priority};
use super::messages::{self, Incoming, Request, Role};
use super::pair::{Check, PairId, State};
use crate::base::limits;
use crate::base::random::Jitter;
use crate::base::time::Time;
use crate::nat::policy::Origin;
use crate::nat::stun::{Message, TransactionId};

/// Consent checks whose answers are still taken: as many as fit before consent ends.
const MAX_ASKED: usize = 8;

impl Agent {
    /// When [`handle_timeout`](Self::handle_timeout) wants to be called.
    pub fn next_timeout(&self) -> Option<Time> {
        let consent = self.selected.as_ref().map(|selected| match selected.pair {
            Some(_) => selected.next_consent.min(selected.consent_until),
            None => selected.consent_until,
        });
        if self.failed {
            return consent;
        }
        let checks = self.theirs.is_some() && self.pairs.has_next();
        let retransmissions = self.pairs.iter().filter_map(|pair| pair.check.as_ref().map(|check| check.next));
        let end = self.searching().then(|| {
            if self.has_nothing_left() { self.started + EXPECTATION } else { self.started + limits::ICE_TIMEOUT }
        });
        let nomination = self.nomination().map(|(_, at)| at);
        checks
            .then_some(self.next_check)
            .into_iter()
            .chain(retransmissions)
            .chain(end)
            .chain(nomination)
            .chain(consent)
            .min()
    }

    /// Does everything that is due.
    pub(super) fn advance(&mut self, now: Time) {
        if !self.failed {
            self.retransmit(now);
            if let Some((pair, at)) = self.nomination()
                && at <= now
            {
                self.nominating = Some(pair);
                self.pairs.trigger(pair);
            }
            self.check_next(now);
            self.give_up(now);
        }
        self.keep_consent(now);
    }

    /// A datagram. False when it is not for us.
    pub(super) fn receive(&mut self, now: Time, local: LocalId, from: SocketAddr, bytes: &[u8]) -> bool {
        match messages::read(bytes, &self.ours, self.theirs.as_ref()) {
            Incoming::Other => return false,
            Incoming::Ignored => {}
            Incoming::Unknown(message, numbers) => {
                if let Ok(bytes) = messages::unknown(&message, numbers, &self.ours) {
                    self.out.push_back(Output::Send { local, to: from, bytes });
                }
            }
            Incoming::Request(message, request) => self.answer(now, local, from, &message, request),
            Incoming::Success(transaction, mapped) => self.succeeded(now, local, from, transaction, mapped),
            Incoming::Error(transaction, code) => self.refused(transaction, code),
        }
        true
    }

    /// The peer checked a pair that we know or get to know by this.
    pub(super) fn checked_by_peer(&mut self, now: Time, local: LocalId, from: SocketAddr, request: Request) {
        let known = self.remotes.iter().position(|remote| remote.address == from);
        let remote = match known {
            Some(remote) => remote,
            None if self.remotes.len() >= limits::MAX_ICE_CANDIDATES => return,
            None => {
                self.remotes.push(Candidate {
                    // Like no other.
                    foundation: format!("prflx{}", self.remotes.len()),
                    component: 1,
                    priority: request.priority,
                    address: from,
                    kind: Kind::PeerReflexive,
                    related: None,
                });
                self.remotes.len() - 1
            }
        };
        let Some(id) = self.pair_up(local.0, remote) else { return };
        let nominated = request.nominates && self.role == Role::Controlled;
        let concluded = self.searching_is_over();
        let Some(pair) = self.pairs.get_mut(id) else { return };
        match pair.state {
            State::Succeeded => {
                if nominated {
                    pair.nominated = true;
                    self.select(now, id);
                }
            }
            State::InProgress => {
                pair.nominated_early |= nominated;
                // What we sent may have died at a NAT that the peer has opened only now: once more, at once, unless that
                // has just been done.
                if let Some(check) = pair.check.as_mut()
                    && !check.nominates
                    && (check.attempts == 1 || now.since(check.sent) >= AGAIN)
                {
                    (check.attempts, check.wait, check.next) = (1, limits::ICE_RTO, now);
                }
            }
            State::Frozen | State::Waiting | State::Failed => {
                pair.nominated_early |= nominated;
                if !concluded || nominated {
                    pair.state = State::Waiting;
                    self.pairs.trigger(id);
                }
            }
        }
    }

    fn answer(&mut self, now: Time, local: LocalId, from: SocketAddr, message: &Message, request: Request) {
        // The packet came from there, so a private address is in a network of ours; this machine's own is not.
        let known = self.remotes.iter().any(|remote| remote.address == from);
        if !known && self.policy.check(from, Origin::LocalNetwork).is_err() {
            return;
        }
        if request.role == self.role {
            let ours_wins = self.tie_breaker >= request.tie_breaker;
            let keeps = match self.role {
                Role::Controlling => ours_wins,
                Role::Controlled => !ours_wins,
            };
            if keeps {
                if let Ok(bytes) = messages::role_conflict(message, &self.ours) {
                    self.out.push_back(Output::Send { local, to: from, bytes });
                }
                return;
            }
            self.switch_role();
        }
        if let Ok(bytes) = messages::success(message, from, &self.ours) {
            self.out.push_back(Output::Send { local, to: from, bytes });
        }
        if self.theirs.is_some() {
            self.checked_by_peer(now, local, from, request);
        } else if self.early.len() < limits::MAX_ICE_EARLY_CHECKS {
            self.early.push((local, from, request));
        }
    }

    fn succeeded(
        &mut self,
        now: Time,
        local: LocalId,
        from: SocketAddr,
        transaction: TransactionId,
        mapped: SocketAddr,
    ) {
        if let Some(selected) = self.selected.as_mut().filter(|selected| selected.asked.contains(&transaction)) {
            if (local, from) == (selected.local, selected.to) {
                selected.asked.clear();
                selected.consent_until = now + limits::ICE_CONSENT_TIMEOUT;
            }
            return;
        }
        let role = self.role;
        let Some(pair) = self.pairs.by_transaction(transaction) else { return };
        let Some(check) = pair.check.take() else { return };
        let (id, foundation) = (pair.id, pair.foundation.clone());
        // The answer must come from where the check went to (section 7.2.5.2.1).
        if self.remotes.get(pair.remote).map(|remote| remote.address) != Some(from) || pair.local != local.0 {
            pair.state = State::Failed;
            return;
        }
        pair.state = State::Succeeded;
        let by_us = check.nominates && role == Role::Controlling;
        let by_peer = pair.nominated_early && role == Role::Controlled;
        pair.nominated |= by_us || by_peer;
        let nominated = pair.nominated;
        self.first_valid = self.first_valid.or(Some(now));
        self.pairs.thaw_like(&foundation);
        if let Some(local) = self.locals.get_mut(local.0) {
            // Perhaps a peer-reflexive candidate of ours. It is told to nobody; it only names the selected pair's kind.
            local.seen_as = Some(mapped);
        }
        if nominated {
            self.select(now, id);
        }
    }

    fn refused(&mut self, transaction: TransactionId, code: u16) {
        let ours = self.role;
        let Some(pair) = self.pairs.by_transaction(transaction) else { return };
        let Some(check) = pair.check.take() else { return };
        let id = pair.id;
        if code != messages::ROLE_CONFLICT {
            pair.state = State::Failed;
            self.forget_nomination(id);
            return;
        }
        pair.state = State::Waiting;
        if check.role == ours {
            self.switch_role();
        }
        self.pairs.trigger(id);
    }

    fn switch_role(&mut self) {
        self.role = self.role.other();
        self.nominating = None;
        let priorities: Vec<(PairId, u64)> = self
            .pairs
            .iter()
            .filter_map(|pair| {
                let (local, remote) = (self.locals.get(pair.local)?, self.remotes.get(pair.remote)?);
                Some((pair.id, self.pair_priority(local.candidate.priority, remote.priority)))
            })
            .collect();
        for (id, priority) in priorities {
            if let Some(pair) = self.pairs.get_mut(id) {
                pair.priority = priority;
            }
        }
        self.pairs.sort();
    }

    /// Starts the next check, if it is time.
    fn check_next(&mut self, now: Time) {
        let Some(theirs) = self.theirs.clone() else { return };
        while self.next_check <= now {
            let Some(id) = self.pairs.next() else { return };
            let nominates = self.nominating == Some(id);
            let transaction = TransactionId::random(&mut self.jitter);
            let (role, tie_breaker) = (self.role, self.tie_breaker);
            let Some(pair) = self.pairs.get_mut(id) else { continue };
            if pair.check.is_some() || (pair.state == State::Succeeded && !nominates) {
                continue;
            }
            let (Some(local), Some(remote)) = (self.locals.get(pair.local), self.remotes.get(pair.remote)) else {
                continue;
            };
            // What the candidate is worth that the peer may learn from this check.
            let preference = (local.candidate.priority >> 8) as u16;
            let request =
                Request { priority: priority(Kind::PeerReflexive, preference, 1), nominates, role, tie_breaker };
            let Ok(bytes) = messages::request(transaction, request, &self.ours, &theirs) else { return };
            self.out.push_back(Output::Send { local: LocalId(pair.local), to: remote.address, bytes: bytes.clone() });
            pair.state = State::InProgress;
            let (attempts, wait) = (1, if nominates { limits::ICE_NOMINATION_RTO } else { limits::ICE_RTO });
            pair.check =
                Some(Check { transaction, bytes, attempts, wait, sent: now, next: now + wait, role, nominates });
            self.next_check = now + self.pace();
        }
    }

    fn pace(&self) -> Duration {
        if self.pairs.len() <= limits::ICE_FEW_PAIRS { limits::ICE_FAST_PACE } else { limits::ICE_PACE }
    }

    fn retransmit(&mut self, now: Time) {
        let mut failed = Vec::new();
        let Self { pairs, remotes, out, .. } = self;
        for pair in pairs.iter_mut() {
            let Some(check) = pair.check.as_mut().filter(|check| check.next <= now) else { continue };
            let most = if check.nominates { limits::ICE_NOMINATION_ATTEMPTS } else { limits::ICE_ATTEMPTS };
            if check.attempts >= most {
                pair.check = None;
                pair.state = State::Failed;
                failed.push(pair.id);
            } else if let Some(remote) = remotes.get(pair.remote) {
                check.attempts += 1;
                check.wait = if check.nominates { check.wait } else { check.wait * 2 };
                check.sent = now;
                check.next = now + check.wait;
                let (to, bytes) = (remote.address, check.bytes.clone());
                out.push_back(Output::Send { local: LocalId(pair.local), to, bytes });
            }
        }
        for id in failed {
            self.forget_nomination(id);
        }
    }

    fn forget_nomination(&mut self, pair: PairId) {
        if self.nominating == Some(pair) {
            self.nominating = None;
        }
    }

    /// The pair to nominate, and when: at once if nothing better can come, else after some patience.
    fn nomination(&self) -> Option<(PairId, Time)> {
        if self.role != Role::Controlling || self.nominating.is_some() || !self.searching() {
            return None;
        }
        let first_valid = self.first_valid?;
        // The list is in order of priority.
        let best = self.pairs.iter().find(|pair| pair.state == State::Succeeded)?;
        let better = self.pairs.iter().take_while(|pair| pair.id != best.id);
        if better.into_iter().all(|pair| pair.state == State::Failed) && self.remote_ended {
            return Some((best.id, first_valid));
        }
        let relayed = |kind: Option<Kind>| kind == Some(Kind::Relayed);
        let local = self.locals.get(best.local).map(|local| local.candidate.kind);
        let remote = self.remotes.get(best.remote).map(|remote| remote.kind);
        let patience = if relayed(local) || relayed(remote) {
            limits::ICE_RELAY_PATIENCE
        } else {
            limits::ICE_NOMINATION_PATIENCE
        };
        Some((best.id, first_valid + patience))
    }

    fn select(&mut self, now: Time, id: PairId) {
        let Some(pair) = self.pairs.get(id) else { return };
        let current = self.selected.as_ref().filter(|selected| selected.pair.is_some());
        if current.is_some_and(|selected| selected.pair == Some(id) || selected.priority >= pair.priority) {
            return;
        }
        let (Some(local), Some(remote)) = (self.locals.get(pair.local), self.remotes.get(pair.remote)) else { return };
        let (local_id, to, remote_kind) = (LocalId(pair.local), remote.address, remote.kind);
        let seen = local.seen_as.unwrap_or(local.candidate.address);
        let named = self.locals.iter().find(|other| other.base == pair.local && other.candidate.address == seen);
        let local_kind = named.map_or(Kind::PeerReflexive, |local| local.candidate.kind);
        let priority = pair.priority;
        let interval = consent_interval(&mut self.jitter);
        self.selected = Some(Selected {
            pair: Some(id),
            priority,
            local: local_id,
            to,
            consent_until: now + limits::ICE_CONSENT_TIMEOUT,
            next_consent: now + interval,
            asked: VecDeque::new(),
        });
        self.nominating = None;
        self.pairs.conclude();
        self.out.push_back(Output::Selected { local: local_id, to, local_kind, remote_kind });
    }

    /// Asks whether the peer still wants our packets, and stops when it does not say so.
    fn keep_consent(&mut self, now: Time) {
        let Some(selected) = &mut self.selected else { return };
        if selected.consent_until <= now {
            // Of before a restart: the session goes on without it.
            self.failed |= selected.pair.is_some();
            self.selected = None;
            self.out.push_back(Output::ConsentLost);
            return;
        }
        let Some(theirs) = self.theirs.as_ref().filter(|_| selected.pair.is_some()) else { return };
        if selected.next_consent > now {
            return;
        }
        selected.next_consent = now + consent_interval(&mut self.jitter);
        let transaction = TransactionId::random(&mut self.jitter);
        let preference = self.locals.get(selected.local.0).map_or(0, |local| (local.candidate.priority >> 8) as u16);
        let priority = priority(Kind::PeerReflexive, preference, 1);
        let request = Request { priority, nominates: false, role: self.role, tie_breaker: self.tie_breaker };
        if let Ok(bytes) = messages::request(transaction, request, &self.ours, theirs) {
            selected.asked.push_back(transaction);
            if selected.asked.len() > MAX_ASKED {
                selected.asked.pop_front();
            }
            self.out.push_back(Output::Send { local: selected.local, to: selected.to, bytes });
        }
    }

    fn give_up(&mut self, now: Time) {
        if !self.searching() {
            return;
        }
        let late = now >= self.started + limits::ICE_TIMEOUT;
        let nothing_left = self.has_nothing_left() && now >= self.started + EXPECTATION;
        if late || nothing_left {
            self.failed = true;
            self.pairs.conclude();
            let because = if nothing_left { FailedBecause::AllChecksFailed } else { FailedBecause::Timeout };
            self.out.push_back(Output::Failed(because));
        }
    }

    /// No check is left and none can come from a candidate.
    fn has_nothing_left(&self) -> bool {
        self.local_ended
            && self.remote_ended
            && self.pairs.is_done()
            && self.pairs.iter().all(|pair| pair.state == State::Failed)
    }

    /// Whether a pair is still looked for.
    fn searching(&self) -> bool {
        !self.failed && !self.searching_is_over()
    }

    fn searching_is_over(&self) -> bool {
        self.selected.as_ref().is_some_and(|selected| selected.pair.is_some())
    }
}

/// Without any candidate left, a check of the peer from an address that nobody told is still waited for (RFC 8863).
const EXPECTATION: Duration = Duration::from_secs(2);

/// Least time between two repetitions that the peer's checks cause.
const AGAIN: Duration = Duration::from_millis(100);

/// Between 0.8 and 1.2 of the interval (RFC 7675 section 5.1).
fn consent_interval(jitter: &mut Jitter) -> Duration {
    limits::ICE_CONSENT_INTERVAL.mul_f64(0.8 + 0.4 * jitter.fraction())
}
