//! One router as the machine knows it: which protocols it answers, its clock, its address. Not here: mappings.

use std::net::IpAddr;
use std::time::Duration;

use super::burst::{Burst, Due};
use super::{Context, Output, UpnpRequest};
use crate::base::limits;
use crate::base::time::Time;
use crate::nat::mapping::epoch::{Epoch, Verdict};
use crate::nat::mapping::{Failure, Family, Method, Methods, ProbeResult, Route, natpmp, pcp};

/// A router, or the knowledge that there is none.
#[derive(Debug)]
pub(super) struct Gateway {
    family: Family,
    route: Option<Route>,
    /// Somebody has looked whether there is a route.
    known: bool,
    lanes: [Lane; 3],
    /// A protocol has answered; better ones have until then.
    grace_until: Option<Time>,
    grace_over: bool,
    next_check: Time,
    last_reset: Option<Time>,
    /// The last UPnP search; its answer counts even if it is late.
    search: u64,
}

#[derive(Debug)]
struct Lane {
    method: Method,
    state: LaneState,
    epoch: Epoch,
    started: Time,
    answered_after: Option<Duration>,
    external: Option<IpAddr>,
    detail: Option<String>,
}

#[derive(Debug)]
enum LaneState {
    /// Switched off, or not made for this family.
    Off,
    /// PCP and NAT-PMP: being asked.
    Probing(Burst),
    /// UPnP: being searched; without a deadline until the search has begun.
    Searching { until: Option<Time> },
    /// It answers.
    Up,
    /// It does not.
    Down(Failure),
}

/// What an answer told besides its contents.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct News {
    /// The router has lost its mappings.
    pub(super) reset: bool,
    /// The protocol did not answer before.
    pub(super) came_up: bool,
}

/// Whom to ask for a mapping.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// Not known yet.
    Wait,
    /// This one.
    Use(Method),
    /// Nobody, for these reasons.
    Nobody(Vec<(Method, Failure)>),
}

impl Gateway {
    pub(super) fn new(family: Family, methods: Methods) -> Self {
        let lane = |method| Lane {
            method,
            // NAT-PMP has no IPv6.
            state: if methods.has(method) && !(method == Method::NatPmp && family == Family::V6) {
                LaneState::Down(Failure::NoGateway)
            } else {
                LaneState::Off
            },
            epoch: Epoch::new(method),
            started: Time::ZERO,
            answered_after: None,
            external: None,
            detail: None,
        };
        Self {
            family,
            route: None,
            known: false,
            lanes: Method::ALL.map(lane),
            grace_until: None,
            grace_over: false,
            next_check: Time::ZERO,
            last_reset: None,
            search: 0,
        }
    }

    pub(super) fn route(&self) -> Option<Route> {
        self.route
    }

    /// Another router, another address of ours, or none at all. False if all is as before.
    pub(super) fn set_route(&mut self, now: Time, route: Option<Route>) -> bool {
        if self.known && self.route == route {
            return false;
        }
        (self.known, self.route) = (true, route);
        self.last_reset = None;
        for lane in self.lanes.iter_mut().filter(|lane| !matches!(lane.state, LaneState::Off)) {
            lane.state = LaneState::Down(Failure::NoGateway);
            lane.epoch = Epoch::new(lane.method);
            (lane.answered_after, lane.external, lane.detail) = (None, None, None);
        }
        self.probe_again(now);
        true
    }

    /// Asks once more whatever did not answer.
    pub(super) fn probe_again(&mut self, now: Time) {
        if self.route.is_none() {
            return;
        }
        let mut up = false;
        for lane in &mut self.lanes {
            up |= matches!(lane.state, LaneState::Up);
            if matches!(lane.state, LaneState::Down(_)) {
                lane.started = now;
                lane.state = match lane.method {
                    // The search itself starts with the next timeout.
                    Method::Upnp => LaneState::Searching { until: None },
                    _ => LaneState::Probing(Burst::new(now)),
                };
            }
        }
        self.grace_over = false;
        self.grace_until = up.then(|| now + limits::MAPPING_GRACE);
    }

    /// Whom to ask, leaving out those that have failed for this mapping.
    pub(super) fn choice(&self, tried: &[(Method, Failure)]) -> Choice {
        if !self.known {
            return Choice::Wait;
        }
        let mut pending = false;
        let mut failures = tried.to_vec();
        for lane in self.lanes.iter().filter(|lane| tried.iter().all(|(method, _)| *method != lane.method)) {
            match &lane.state {
                LaneState::Off => {}
                LaneState::Down(failure) => failures.push((lane.method, failure.clone())),
                LaneState::Probing(_) | LaneState::Searching { .. } => pending = true,
                LaneState::Up if pending && !self.grace_over => return Choice::Wait,
                LaneState::Up => return Choice::Use(lane.method),
            }
        }
        if pending { Choice::Wait } else { Choice::Nobody(failures) }
    }

    /// Time has passed. `held`: something is mapped, so a restart of the router matters.
    pub(super) fn timeout(&mut self, now: Time, held: bool, context: &mut Context) {
        if self.grace_until.is_some_and(|until| until <= now) {
            (self.grace_until, self.grace_over) = (None, true);
        }
        let Some(route) = self.route else { return };
        let check = held && now >= self.next_check;
        if check || !held {
            self.next_check = now + limits::MAPPING_CHECK_INTERVAL;
        }
        for lane in &mut self.lanes {
            match &mut lane.state {
                LaneState::Probing(burst) => match burst.due(now) {
                    Due::Nothing => {}
                    Due::Send => context.send(self.family, probe(lane.method, route)),
                    Due::GiveUp => lane.state = LaneState::Down(Failure::Silent),
                },
                LaneState::Searching { until: until @ None } => {
                    *until = Some(now + limits::MAPPING_SILENCE);
                    self.search = context.next_id();
                    let request = UpnpRequest::Probe { family: self.family };
                    context.push(Output::Upnp { id: self.search, request });
                }
                LaneState::Searching { until: Some(until) } if *until <= now => {
                    lane.state = LaneState::Down(Failure::Silent);
                }
                LaneState::Up if check && lane.method != Method::Upnp => {
                    context.send(self.family, probe(lane.method, route));
                }
                _ => {}
            }
        }
    }

    /// When [`timeout`](Self::timeout) wants to be called.
    pub(super) fn next_timeout(&self, held: bool) -> Option<Time> {
        self.route?;
        let lanes = self.lanes.iter().filter_map(|lane| match &lane.state {
            LaneState::Probing(burst) => Some(burst.wake()),
            LaneState::Searching { until } => Some(until.unwrap_or(Time::ZERO)),
            _ => None,
        });
        lanes.chain(self.grace_until).chain(held.then_some(self.next_check)).min()
    }

    /// A protocol has answered something.
    pub(super) fn answered(&mut self, now: Time, method: Method, epoch: Option<u32>) -> News {
        let lane = &mut self.lanes[method as usize];
        if matches!(lane.state, LaneState::Off) {
            return News::default();
        }
        let came_up = !matches!(lane.state, LaneState::Up);
        if came_up {
            lane.state = LaneState::Up;
            lane.answered_after = Some(now.since(lane.started));
            if !self.grace_over {
                self.grace_until.get_or_insert(now + limits::MAPPING_GRACE);
            }
        }
        let reset = epoch.is_some_and(|epoch| lane.epoch.told(now, epoch) == Verdict::Reset);
        let believed = self.last_reset.is_none_or(|last| now.since(last) >= limits::MAPPING_RESET_PAUSE);
        if reset && believed {
            self.last_reset = Some(now);
        }
        News { reset: reset && believed, came_up }
    }

    /// The outside address as this protocol tells it. Whether it is another than before.
    pub(super) fn told_external(&mut self, method: Method, external: IpAddr) -> bool {
        let before = self.lanes[method as usize].external.replace(external);
        before.is_some_and(|before| before != external)
    }

    /// A protocol does not work.
    pub(super) fn down(&mut self, method: Method, failure: Failure) {
        let lane = &mut self.lanes[method as usize];
        if !matches!(lane.state, LaneState::Off) {
            lane.state = LaneState::Down(failure);
        }
    }

    /// The router's port is closed. Only what is being probed is given up: one message can be forged or late.
    pub(super) fn unreachable(&mut self) {
        for lane in &mut self.lanes {
            if matches!(lane.state, LaneState::Probing(_)) {
                lane.state = LaneState::Down(Failure::Unreachable);
            }
        }
    }

    /// Whether this answer belongs to the last UPnP search.
    pub(super) fn is_search(&self, id: u64) -> bool {
        self.search == id && self.route.is_some()
    }

    /// What the UPnP device is.
    pub(super) fn describe(&mut self, detail: String) {
        self.lanes[Method::Upnp as usize].detail = Some(detail);
    }

    /// The outside address as a protocol told it.
    pub(super) fn external_by(&self, method: Method) -> Option<IpAddr> {
        self.lanes[method as usize].external
    }

    /// The outside address, by the best protocol that knows it.
    pub(super) fn external(&self) -> Option<IpAddr> {
        self.lanes.iter().find_map(|lane| lane.external.filter(|address| !address.is_unspecified()))
    }

    /// What each protocol that may be used has answered.
    pub(super) fn results(&self) -> impl Iterator<Item = ProbeResult> {
        self.lanes.iter().filter(|lane| !matches!(lane.state, LaneState::Off)).map(|lane| ProbeResult {
            family: self.family,
            method: lane.method,
            answered_after: lane.answered_after,
            external: lane.external,
            failure: match &lane.state {
                LaneState::Down(failure) => Some(failure.clone()),
                _ => None,
            },
            detail: lane.detail.clone(),
            pending: matches!(lane.state, LaneState::Probing(_) | LaneState::Searching { .. }),
        })
    }
}

/// The question that makes nothing: PCP tells its epoch, NAT-PMP the outside address.
fn probe(method: Method, route: Route) -> Vec<u8> {
    match method {
        Method::NatPmp => natpmp::Request::ExternalAddress.encode(),
        _ => pcp::Request { client: route.local, lifetime: 0, operation: pcp::Operation::Announce }.encode(),
    }
}
