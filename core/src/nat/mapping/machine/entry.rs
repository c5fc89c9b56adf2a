//! One mapping: asking for it, renewing it, giving it up. Not here: reading what comes from the router, which the
//! machine does and reports to the mapping it belongs to.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::burst::{Burst, Due};
use super::gateway::{Choice, Gateway};
use super::{Context, Output, UpnpRequest};
use crate::base::limits;
use crate::base::time::Time;
use crate::nat::mapping::{Event, Failure, Family, MappingInfo, MappingState, Method, Route, Wish, natpmp, pcp, reach};

/// A wish in one family, and how far it is.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) wish: Wish,
    pub(super) family: Family,
    pub(super) nonce: pcp::Nonce,
    state: State,
    /// Protocols that have failed since the last success or pause.
    tried: Vec<(Method, Failure)>,
    /// What was reported last, so that a lasting refusal is one event.
    reported: Option<Vec<(Method, Failure)>>,
    /// Times in a row that nobody mapped it.
    refusals: u32,
    /// A router asked not to be asked again before.
    not_before: Time,
    /// Wished again while it was being deleted.
    again: Option<Wish>,
}

#[derive(Debug)]
enum State {
    Choosing,
    Asking { method: Method, request: Request, held: Option<Grant> },
    Held { grant: Grant, renew_at: Time },
    Resting { until: Time },
    Ending { method: Method, request: Request, grant: Option<Grant> },
    Gone,
}

#[derive(Clone, Copy, Debug)]
enum Request {
    Datagram(Burst),
    Upnp { id: u64, until: Time },
}

/// What the router gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Grant {
    pub(super) method: Method,
    pub(super) external: SocketAddr,
    /// `None`: for ever.
    pub(super) lifetime: Option<Duration>,
    /// UPnP's name of an IPv6 pinhole.
    pub(super) pinhole: Option<u16>,
    granted: Time,
    /// Attempts to renew it so far.
    attempts: u32,
}

impl Grant {
    pub(super) fn new(now: Time, method: Method, external: SocketAddr, lifetime: Option<Duration>) -> Self {
        Self { method, external, lifetime, pinhole: None, granted: now, attempts: 0 }
    }

    /// When it is over unless it is renewed. A permanent one counts as lost when nobody confirms it for a while.
    fn expires(&self) -> Time {
        self.granted + self.lifetime.unwrap_or(3 * limits::UPNP_RENEWAL)
    }

    /// After half of the lifetime, then after half of the rest, and so on, each time up to a quarter of that later
    /// (RFC 6887 section 11.2.1).
    fn renew_at(&self, now: Time, context: &mut Context) -> Time {
        let lifetime = self.expires().since(self.granted);
        let rest = lifetime / 2u32.pow(self.attempts.min(16) + 1);
        let mut at = self.granted + lifetime.saturating_sub(rest) + rest.mul_f64(context.jitter.fraction() / 4.0);
        if self.method == Method::Upnp {
            at = at.min(self.granted + limits::UPNP_RENEWAL * (self.attempts + 1));
        }
        if self.attempts > 0 {
            at = at.max(now + limits::MAPPING_RENEWAL_PAUSE);
        }
        at.min(self.expires())
    }
}

impl Entry {
    pub(super) fn new(wish: Wish, family: Family, nonce: pcp::Nonce) -> Self {
        Self {
            wish,
            family,
            nonce,
            state: State::Choosing,
            tried: Vec::new(),
            reported: None,
            refusals: 0,
            not_before: Time::ZERO,
            again: None,
        }
    }

    /// Wished once more, perhaps with other numbers, which count from the next request on.
    pub(super) fn wish_again(&mut self, wish: Wish) {
        if matches!(self.state, State::Ending { .. } | State::Gone) {
            self.again = Some(wish);
        } else {
            self.wish = wish;
        }
    }

    pub(super) fn grant(&self) -> Option<&Grant> {
        match &self.state {
            State::Held { grant, .. } | State::Asking { held: Some(grant), .. } => Some(grant),
            _ => None,
        }
    }

    /// Whether an answer of this protocol is awaited.
    pub(super) fn awaits(&self, method: Method) -> bool {
        matches!(&self.state, State::Asking { method: asked, .. } | State::Ending { method: asked, .. }
            if *asked == method)
    }

    /// Whether this UPnP request is the awaited one.
    pub(super) fn awaits_upnp(&self, wanted: u64) -> bool {
        let (State::Asking { request, .. } | State::Ending { request, .. }) = &self.state else { return false };
        matches!(request, Request::Upnp { id, .. } if *id == wanted)
    }

    pub(super) fn is_ending(&self) -> bool {
        matches!(self.state, State::Ending { .. })
    }

    pub(super) fn is_gone(&self) -> bool {
        matches!(self.state, State::Gone)
    }

    pub(super) fn info(&self, seen: Option<IpAddr>) -> MappingInfo {
        let state = match (&self.state, self.grant()) {
            (_, Some(grant)) => MappingState::Mapped {
                external: grant.external,
                method: grant.method,
                lifetime: grant.lifetime,
                reach: reach::judge(grant.external.ip(), seen),
            },
            (State::Resting { .. }, None) => {
                MappingState::Refused { failures: self.reported.clone().unwrap_or_default() }
            }
            _ => MappingState::Asking,
        };
        let Wish { protocol, internal_port, .. } = self.wish;
        MappingInfo { protocol, internal_port, family: self.family, state }
    }

    /// Time has passed.
    pub(super) fn timeout(&mut self, now: Time, gateway: &mut Gateway, context: &mut Context) {
        // Each round is one step forward: a pause ends, a protocol is chosen, a request is sent, it has failed.
        // There are three protocols, so more rounds than these are not needed before something must be waited for.
        for _ in 0..12 {
            if !self.step(now, gateway, context) {
                return;
            }
        }
    }

    /// One step; false if there is nothing to do now.
    fn step(&mut self, now: Time, gateway: &mut Gateway, context: &mut Context) -> bool {
        match &mut self.state {
            State::Choosing => match gateway.choice(&self.tried) {
                Choice::Wait => false,
                Choice::Use(method) => self.ask(now, method, None, context),
                Choice::Nobody(failures) => self.rest(now, failures, context),
            },
            State::Asking { method, request, .. } => {
                let method = *method;
                match due(request, now) {
                    Due::Nothing => false,
                    Due::Send => self.send(method, false, gateway.route(), context),
                    Due::GiveUp => {
                        self.failed(now, method, Failure::Silent, gateway, context);
                        true
                    }
                }
            }
            State::Held { grant, .. } if grant.expires() <= now => {
                let grant = *grant;
                self.lose(grant, Failure::Silent, context);
                true
            }
            State::Held { grant, renew_at } if *renew_at <= now => {
                let grant = Grant { attempts: grant.attempts + 1, ..*grant };
                self.ask(now, grant.method, Some(grant), context)
            }
            State::Resting { until } if *until <= now => {
                gateway.probe_again(now);
                self.tried.clear();
                self.state = State::Choosing;
                true
            }
            State::Held { .. } | State::Resting { .. } | State::Gone => false,
            State::Ending { method, request, .. } => {
                let method = *method;
                match due(request, now) {
                    Due::Nothing => false,
                    Due::Send => self.send(method, true, gateway.route(), context),
                    Due::GiveUp => self.end(),
                }
            }
        }
    }

    /// Starts asking for it, or for its renewal.
    fn ask(&mut self, now: Time, method: Method, held: Option<Grant>, context: &mut Context) -> bool {
        let request = if method == Method::Upnp {
            let id = context.next_id();
            let request = UpnpRequest::Map {
                family: self.family,
                protocol: self.wish.protocol,
                internal_port: self.wish.internal_port,
                external_port: held.map_or(self.wish.external(), |grant| grant.external.port()),
                avoid: context.ports_of_others(self.wish.protocol, self.wish.internal_port),
                pinhole: held.and_then(|grant| grant.pinhole),
                lifetime: self.wish.lifetime,
            };
            context.push(Output::Upnp { id, request });
            Request::Upnp { id, until: now + limits::UPNP_REQUEST_TIMEOUT }
        } else {
            Request::Datagram(Burst::new(now))
        };
        self.state = State::Asking { method, request, held };
        true
    }

    /// Sends the request, or the deletion.
    fn send(&self, method: Method, delete: bool, route: Option<Route>, context: &mut Context) -> bool {
        let Some(route) = route else { return false };
        let Wish { protocol, internal_port, .. } = self.wish;
        let lifetime = if delete { 0 } else { self.wish.lifetime.as_secs().clamp(1, u64::from(u32::MAX)) as u32 };
        let held = self.grant().map(|grant| grant.external);
        let external_port = if delete { 0 } else { held.map_or(self.wish.external(), |external| external.port()) };
        let bytes = if method == Method::NatPmp {
            natpmp::Request::Map { protocol, internal_port, external_port, lifetime }.encode()
        } else {
            let any = pcp::any(self.family == Family::V4);
            let external_address = held.filter(|_| !delete).map_or(any, |external| external.ip());
            let map = pcp::Map { nonce: self.nonce, protocol, internal_port, external_port, external_address };
            pcp::Request { client: route.local, lifetime, operation: pcp::Operation::Map(map) }.encode()
        };
        context.send(self.family, bytes);
        true
    }

    /// The router has mapped it, or told a change of the mapping.
    pub(super) fn granted(&mut self, now: Time, grant: Grant, context: &mut Context) {
        let before = match &self.state {
            State::Asking { method, held, .. } if *method == grant.method => held.map(|held| held.external),
            // PCP tells changes without being asked (RFC 6887 section 14.2).
            State::Held { grant: held, .. } if held.method == grant.method => Some(held.external),
            // The answer to what we asked before we changed our mind: now we know what to delete.
            State::Ending { method: Method::Upnp, grant: None, .. } if grant.method == Method::Upnp => {
                self.state = State::Gone;
                self.delete_upnp(now, grant, context);
                return;
            }
            _ => return,
        };
        let unasked = matches!(self.state, State::Held { .. });
        let renew_at = grant.renew_at(now, context);
        self.state = State::Held { grant, renew_at };
        (self.refusals, self.reported) = (0, None);
        self.tried.clear();
        let mapping = self.info(context.seen(self.family));
        context.event(match before {
            None => Event::Mapped(mapping),
            Some(from) if from != grant.external => Event::Moved { from, mapping },
            Some(_) if unasked => return,
            Some(_) => Event::Renewed(mapping),
        });
    }

    /// The router told its outside address, which differs from what this mapping has.
    pub(super) fn moved_to(&mut self, address: IpAddr, context: &mut Context) {
        let (State::Held { grant, .. } | State::Asking { held: Some(grant), .. }) = &mut self.state else { return };
        let from = grant.external;
        if grant.method != Method::NatPmp || from.ip() == address {
            return;
        }
        grant.external.set_ip(address);
        let mapping = self.info(context.seen(self.family));
        context.event(Event::Moved { from, mapping });
    }

    /// The request has failed.
    pub(super) fn failed(
        &mut self,
        now: Time,
        method: Method,
        failure: Failure,
        gateway: &mut Gateway,
        context: &mut Context,
    ) {
        match &self.state {
            State::Asking { method: asked, held, .. } if *asked == method => match *held {
                // Nobody has said that it is gone. It is asked for again until its time is over.
                Some(grant) if matches!(failure, Failure::Silent | Failure::Unreachable) && grant.expires() > now => {
                    let renew_at = grant.renew_at(now, context);
                    self.state = State::Held { grant, renew_at };
                }
                Some(grant) => {
                    self.lose(grant, failure.clone(), context);
                    self.tried.push((method, failure));
                }
                None => {
                    if matches!(failure, Failure::Silent | Failure::Unreachable | Failure::Unsupported) {
                        gateway.down(method, failure.clone());
                    }
                    self.tried.push((method, failure));
                    self.state = State::Choosing;
                }
            },
            State::Ending { method: asked, .. } if *asked == method => {
                self.end();
            }
            _ => {}
        }
    }

    /// A router does not want to be asked again so soon.
    pub(super) fn not_before(&mut self, time: Time) {
        self.not_before = self.not_before.max(time);
    }

    /// The router has lost its mappings: make it again, as it was.
    pub(super) fn make_again(&mut self, now: Time, context: &mut Context) {
        if let State::Held { grant, .. } = self.state {
            let grant = Grant { attempts: grant.attempts + 1, ..grant };
            self.ask(now, grant.method, Some(grant), context);
        }
    }

    /// A protocol answers that did not answer before.
    pub(super) fn wake(&mut self, now: Time) {
        if matches!(self.state, State::Resting { .. }) && self.not_before <= now {
            self.tried.clear();
            self.state = State::Choosing;
        }
    }

    /// The external port it has or would like.
    pub(super) fn external_port(&self) -> u16 {
        self.grant().map_or(self.wish.external(), |grant| grant.external.port())
    }

    /// Another router, another address of ours, or none.
    pub(super) fn route_changed(&mut self, context: &mut Context) {
        if self.is_ending() {
            self.end();
        } else if !self.is_gone() {
            if let Some(grant) = self.grant().copied() {
                self.lose(grant, Failure::NoGateway, context);
            }
            self.tried.clear();
            (self.refusals, self.reported, self.not_before) = (0, None, Time::ZERO);
            self.state = State::Choosing;
        }
    }

    /// Nobody wants it any more.
    pub(super) fn delete(&mut self, now: Time, context: &mut Context) {
        self.again = None;
        self.state = match std::mem::replace(&mut self.state, State::Gone) {
            State::Held { grant, .. } | State::Asking { held: Some(grant), .. } if grant.method == Method::Upnp => {
                return self.delete_upnp(now, grant, context);
            }
            State::Held { grant: Grant { method, .. }, .. }
            | State::Asking { method, request: Request::Datagram(_), .. } => {
                State::Ending { method, request: Request::Datagram(Burst::new(now)), grant: None }
            }
            // What UPnP makes of the request is deleted when the answer tells which port it is.
            State::Asking { method, request, .. } => State::Ending { method, request, grant: None },
            ending @ State::Ending { .. } => ending,
            State::Choosing | State::Resting { .. } | State::Gone => State::Gone,
        };
    }

    fn delete_upnp(&mut self, now: Time, grant: Grant, context: &mut Context) {
        let id = context.next_id();
        let (family, protocol) = (self.family, self.wish.protocol);
        let request =
            UpnpRequest::Unmap { family, protocol, external_port: grant.external.port(), pinhole: grant.pinhole };
        context.push(Output::Upnp { id, request });
        let request = Request::Upnp { id, until: now + limits::UPNP_REQUEST_TIMEOUT };
        self.state = State::Ending { method: Method::Upnp, request, grant: Some(grant) };
    }

    /// It is deleted, or nobody confirms that.
    pub(super) fn end(&mut self) -> bool {
        self.state = State::Gone;
        if let Some(wish) = self.again.take() {
            *self = Self::new(wish, self.family, self.nonce);
        }
        false
    }

    fn lose(&mut self, grant: Grant, reason: Failure, context: &mut Context) {
        self.state = State::Choosing;
        let mapping = self.info(context.seen(self.family));
        context.event(Event::Lost { mapping, from: grant.external, reason });
    }

    fn rest(&mut self, now: Time, failures: Vec<(Method, Failure)>, context: &mut Context) -> bool {
        let pause = limits::MAPPING_PAUSE * 2u32.pow(self.refusals.min(10));
        self.refusals += 1;
        let until = (now + pause.min(limits::MAX_MAPPING_PAUSE)).max(self.not_before);
        self.state = State::Resting { until };
        if self.reported.as_ref() != Some(&failures) {
            self.reported = Some(failures);
            // Most networks have no IPv6 router that could be asked. That is no news.
            let absent = self.reported.iter().flatten().all(|(_, failure)| *failure == Failure::NoGateway);
            if !(absent && self.family == Family::V6) {
                context.event(Event::Refused(self.info(context.seen(self.family))));
            }
        }
        false
    }

    /// When [`timeout`](Self::timeout) wants to be called.
    pub(super) fn next_timeout(&self) -> Option<Time> {
        match &self.state {
            State::Choosing | State::Gone => None,
            State::Asking { request, .. } | State::Ending { request, .. } => Some(match request {
                Request::Datagram(burst) => burst.wake(),
                Request::Upnp { until, .. } => *until,
            }),
            State::Held { grant, renew_at } => Some(grant.expires().min(*renew_at)),
            State::Resting { until } => Some(*until),
        }
    }
}

fn due(request: &mut Request, now: Time) -> Due {
    match request {
        Request::Datagram(burst) => burst.due(now),
        Request::Upnp { until, .. } if *until <= now => Due::GiveUp,
        Request::Upnp { .. } => Due::Nothing,
    }
}
