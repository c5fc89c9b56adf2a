//! Which rungs there are for a situation, in which order, and why others are left out. Pure. Not here: starting and
//! stopping them (the machine in `mod.rs`).

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::situation::{Candidate, Relay, Signalling, Situation, Source, Target};
use super::theory::{self, Verdict};
use super::{Class, Plan};
use crate::base::limits;
use crate::nat::method::{MappingProtocol, Method, Side, Transport};
use crate::nat::policy::{self, Refusal};
use crate::nat::profile::{Filtering, NatProfile};
use crate::nat::report::Skip;

/// One rung that may be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) method: Method,
    pub(super) plan: Plan,
    /// The best it can give.
    pub(super) class: Class,
    /// From the start of the round.
    pub(super) offset: Duration,
    /// Not before this one has ended, if that comes first: only its failure makes this one worth its cost.
    pub(super) after: Option<Method>,
}

/// A way that is left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LeftOut {
    pub(super) method: Method,
    pub(super) target: String,
    pub(super) skip: Skip,
}

/// All rungs in order with their times, and what is left out.
pub(super) fn plan(situation: &Situation) -> (Vec<Step>, Vec<LeftOut>) {
    let mut planner = Planner {
        situation,
        policy: situation.full_policy(),
        theirs: situation.theirs.clone().unwrap_or_default(),
        steps: Vec::new(),
        left_out: Vec::new(),
    };
    planner.dials();
    planner.dial_backs();
    planner.punches();
    planner.relays();
    planner.keep_preferred();
    planner.order();
    (planner.steps, planner.left_out)
}

struct Planner<'a> {
    situation: &'a Situation,
    policy: policy::Policy,
    theirs: NatProfile,
    steps: Vec<Step>,
    left_out: Vec<LeftOut>,
}

impl Planner<'_> {
    fn add(&mut self, method: Method, plan: Plan, class: Class, after: Option<Method>) {
        self.steps.push(Step { method, plan, class, offset: Duration::ZERO, after });
    }

    fn leave_out(&mut self, method: Method, target: &str, skip: Skip) {
        self.left_out.push(LeftOut { method, target: target.to_string(), skip });
    }

    /// Rungs that dial an address of the peer: one per method, with all its addresses.
    fn dials(&mut self) {
        let mut dials: BTreeMap<Method, Vec<Target>> = BTreeMap::new();
        let candidates = &self.situation.candidates;
        for (index, candidate) in candidates.iter().enumerate() {
            let method = method_of(candidate);
            let address = candidate.target.address.to_string();
            if index >= limits::MAX_LADDER_CANDIDATES {
                self.leave_out(method, &address, Skip::Budget);
                break;
            }
            match self.may_dial(method, candidate) {
                Ok(()) => {
                    let targets = dials.entry(method).or_default();
                    if !targets.contains(&candidate.target) {
                        targets.push(candidate.target);
                    }
                }
                Err(skip) => self.leave_out(method, &address, skip),
            }
        }
        for method in [Method::DirectV6, Method::DirectV4] {
            if !candidates.iter().any(|candidate| method_of(candidate) == method) {
                self.leave_out(method, "", Skip::NoAddress);
            }
        }
        for (method, targets) in dials {
            let class = if method == Method::Lan { Class::Local } else { Class::Direct };
            self.add(method, Plan::Dial(targets), class, None);
        }
    }

    fn may_dial(&self, method: Method, candidate: &Candidate) -> Result<(), Skip> {
        let Target { address, transport } = candidate.target;
        self.policy.check(address, candidate.source.origin()).map_err(Skip::Forbidden)?;
        // The user knows better than any measurement; inside the local network no NAT is passed.
        if candidate.source == Source::User || method == Method::Lan {
            return Ok(());
        }
        if address.is_ipv6() && !self.situation.ipv6 {
            return Err(Skip::NoIpv6);
        }
        if transport == Transport::Udp && (self.situation.ours.udp_blocked || self.theirs.udp_blocked) {
            return Err(Skip::UdpBlocked);
        }
        let public = if address.is_ipv4() { self.theirs.public_v4 } else { self.theirs.public_v6 };
        let hairpin = self.situation.ours.hairpin.or(self.theirs.hairpin);
        let at_home = self.situation.ours.public_v4.is_some_and(|ours| ours.ip() == address.ip());
        if at_home && hairpin == Some(false) {
            return Err(Skip::NoHairpin);
        }
        let filtering = if address.is_ipv4() { self.theirs.filtering } else { self.theirs.filtering_v6 };
        let closed = filtering.is_some_and(|filtering| filtering != Filtering::EndpointIndependent);
        // The filter was measured on this endpoint; another port of the same router may be forwarded by hand.
        let measured = public == Some(address) && !matches!(candidate.source, Source::Mapped(_));
        if measured && closed { Err(Skip::Filtered) } else { Ok(()) }
    }

    /// Rungs that ask the peer to dial a port that our router holds open.
    fn dial_backs(&mut self) {
        let mut by_protocol: BTreeMap<MappingProtocol, Vec<Target>> = BTreeMap::new();
        for mapping in &self.situation.our_mappings {
            let external = mapping.external;
            let blocked = self.situation.ours.udp_blocked || self.theirs.udp_blocked;
            let skip = match policy::judge(external.address.ip()) {
                // A router behind another NAT maps a port there.
                Err(refusal @ (Refusal::Private | Refusal::SharedNat)) => Some(Skip::Forbidden(refusal)),
                _ if external.transport == Transport::Udp && blocked => Some(Skip::UdpBlocked),
                _ => None,
            };
            match skip {
                Some(skip) => {
                    let method = Method::Mapped(mapping.protocol, Side::Ours);
                    self.leave_out(method, &external.address.to_string(), skip);
                }
                None => by_protocol.entry(mapping.protocol).or_default().push(external),
            }
        }
        if self.situation.our_mappings.is_empty() {
            // One line for all protocols, by the one that people know.
            self.leave_out(Method::Mapped(MappingProtocol::Upnp, Side::Ours), "", Skip::NoMapping);
        }
        for (protocol, mut targets) in by_protocol {
            targets.truncate(limits::MAX_LADDER_CANDIDATES);
            self.add(Method::Mapped(protocol, Side::Ours), Plan::AskDialBack(targets), Class::Direct, None);
        }
    }

    fn punches(&mut self) {
        let situation = self.situation;
        let (v4, v6) = self.punch_addresses();
        let (first, second) = if situation.ipv4_first { (&v4, &v6) } else { (&v6, &v4) };
        let both: Vec<SocketAddr> = first.iter().chain(second).copied().collect();
        // Addresses may still come by signalling, so an unknown peer is no reason to leave punching out.
        let no_address = both.is_empty() && situation.theirs.is_some();
        let over_v6 = |blocked: bool| if !v6.is_empty() && !blocked { Some(Verdict::Certain) } else { None };
        let blocked = situation.ours.udp_blocked || self.theirs.udp_blocked;
        let udp = over_v6(blocked).unwrap_or_else(|| theory::udp_punch(&situation.ours, &self.theirs));
        let tcp = over_v6(false).unwrap_or_else(|| theory::tcp_punch(&situation.ours, &self.theirs));
        for (method, verdict) in [(Method::UdpPunch, udp), (Method::TcpPunch, tcp), (Method::TcpSimultaneousOpen, tcp)]
        {
            let after = (method == Method::TcpSimultaneousOpen).then_some(Method::TcpPunch);
            match verdict {
                _ if no_address => self.leave_out(method, "", Skip::NoAddress),
                Verdict::Never(skip) => self.leave_out(method, "", skip),
                _ => self.add(method, Plan::Punch(both.clone()), Class::Direct, after),
            }
        }
        let advanced = match udp {
            Verdict::Certain => Err(Skip::NotNeeded),
            _ => theory::advanced_punch(&situation.ours, &self.theirs),
        };
        match advanced {
            _ if no_address => self.leave_out(Method::UdpAdvancedPunch, "", Skip::NoAddress),
            Ok(technique) => self.add(
                Method::UdpAdvancedPunch,
                Plan::Guess { addresses: v4, technique },
                Class::Direct,
                Some(Method::UdpPunch),
            ),
            Err(skip) => self.leave_out(Method::UdpAdvancedPunch, "", skip),
        }
        // ICE punches as we do, or goes over a TURN server.
        let direct = !no_address && !matches!(udp, Verdict::Never(_));
        match udp {
            _ if direct => self.add(Method::Ice, Plan::Ice, Class::Direct, None),
            _ if situation.turn != Relay::Absent => self.add(Method::Ice, Plan::Ice, Class::Relay, None),
            Verdict::Never(skip) => self.leave_out(Method::Ice, "", skip),
            _ => self.leave_out(Method::Ice, "", Skip::NoAddress),
        }
    }

    /// Where the peer can be expected: the endpoints others saw it at.
    fn punch_addresses(&mut self) -> (Vec<SocketAddr>, Vec<SocketAddr>) {
        let (mut v4, mut v6): (Vec<SocketAddr>, Vec<SocketAddr>) = (Vec::new(), Vec::new());
        let observed = self.situation.candidates.iter().take(limits::MAX_LADDER_CANDIDATES);
        let observed = observed.filter(|candidate| candidate.source == Source::Observed);
        let addresses = observed.map(|candidate| candidate.target.address);
        for address in self.theirs.public_v4.into_iter().chain(self.theirs.public_v6).chain(addresses) {
            let list = if address.is_ipv4() { &mut v4 } else { &mut v6 };
            let forbidden = self.policy.check(address, policy::Origin::Remote).err();
            match forbidden {
                Some(refusal) => self.left_out.push(LeftOut {
                    method: Method::UdpPunch,
                    target: address.to_string(),
                    skip: Skip::Forbidden(refusal),
                }),
                None if list.contains(&address) || (address.is_ipv6() && !self.situation.ipv6) => {}
                None => list.push(address),
            }
        }
        (v4, v6)
    }

    fn relays(&mut self) {
        let situation = self.situation;
        let circuit = if situation.circuit_limited { Class::Thin } else { Class::Relay };
        for (method, relay, plan, class) in [
            (Method::Turn, situation.turn, Plan::Turn, Class::Relay),
            (Method::Circuit, situation.circuit, Plan::Circuit, circuit),
            (Method::GunRelay, situation.gun, Plan::GunRelay, Class::Thin),
        ] {
            if relay == Relay::Absent {
                self.leave_out(method, "", Skip::NotConfigured);
            } else {
                self.add(method, plan, class, None);
            }
        }
    }

    /// Keeps what the user prefers, in the user's order; and the circuit, if that is how the two sides can talk about it.
    fn keep_preferred(&mut self) {
        let Some(preferred) = &self.situation.preferred else { return };
        let mut kept = Vec::new();
        for preference in preferred {
            for method in preference.methods {
                for step in self.steps.iter().filter(|step| step.method == *method) {
                    if let Some(plan) = over(&step.plan, preference.transport) {
                        merge(&mut kept, Step { plan, ..step.clone() });
                    }
                }
            }
        }
        let circuit = self.steps.iter().find(|step| step.method == Method::Circuit);
        if self.situation.signalling == Signalling::AfterCircuit
            && let Some(step) = circuit
        {
            merge(&mut kept, step.clone());
        }
        for step in std::mem::replace(&mut self.steps, kept) {
            if !self.steps.iter().any(|kept| kept.method == step.method) {
                self.leave_out(step.method, "", Skip::NotPreferred);
            }
        }
    }

    /// Puts what worked before first, then the usual order (or the user's), and gives each its time: a rung has a head
    /// start over the next.
    fn order(&mut self) {
        let situation = self.situation;
        let memory =
            |method: Method| situation.memory.iter().take(limits::MAX_REGISTRY_METHODS).position(|m| *m == method);
        let (family, other_family) = if situation.ipv4_first {
            (Method::DirectV4, Method::DirectV6)
        } else {
            (Method::DirectV6, Method::DirectV4)
        };
        let usual = |method: Method| {
            // The list has IPv6 in front.
            let method = match method {
                Method::DirectV4 | Method::DirectV6 if method == family => Method::DirectV6,
                Method::DirectV4 | Method::DirectV6 => Method::DirectV4,
                other => kind(other),
            };
            ORDER.iter().position(|other| *other == method).unwrap_or(ORDER.len())
        };
        let by_user = situation.preferred.is_some();
        // Stable: equal ones keep the planner's or the user's order.
        self.steps.sort_by_key(|step| {
            let remembered = memory(step.method).unwrap_or(usize::MAX);
            (remembered, if by_user { 0 } else { usual(step.method) })
        });
        let has_both = self.steps.iter().any(|step| step.method == other_family);
        let mut time = Duration::ZERO;
        for step in &mut self.steps {
            let first = memory(step.method) == Some(0);
            let ready = is_at_once(situation, step.method) || (first && step.class > Class::Direct);
            if ready {
                // No head start for what costs the others nothing.
                continue;
            }
            step.offset = time;
            time += match step.method {
                _ if step.after.is_some() => Duration::ZERO,
                Method::Mapped(..) if !first => Duration::ZERO,
                _ if first => limits::LADDER_MEMORY_HEAD_START,
                // RFC 8305 section 5.
                method if method == family && has_both => limits::DIAL_STAGGER,
                Method::UdpPunch => limits::LADDER_PUNCH_HEAD_START,
                _ => limits::LADDER_HEAD_START,
            };
        }
    }
}

/// The usual order (api.md B-20, with what can be ready at once in front).
const ORDER: [Method; 11] = [
    Method::Lan,
    Method::DirectV6,
    Method::DirectV4,
    Method::Mapped(MappingProtocol::Pcp, Side::Theirs),
    Method::Mapped(MappingProtocol::Pcp, Side::Ours),
    Method::UdpPunch,
    Method::UdpAdvancedPunch,
    Method::TcpPunch,
    Method::TcpSimultaneousOpen,
    Method::Ice,
    Method::Turn,
];

/// The method that stands for all its protocols in [`ORDER`].
const fn kind(method: Method) -> Method {
    match method {
        Method::Mapped(_, side) => Method::Mapped(MappingProtocol::Pcp, side),
        other => other,
    }
}

/// Started with the round, whatever else there is: it costs nobody anything, or signalling waits for it.
fn is_at_once(situation: &Situation, method: Method) -> bool {
    match method {
        Method::Lan => true,
        Method::Circuit => situation.circuit == Relay::Ready || situation.signalling == Signalling::AfterCircuit,
        _ => false,
    }
}

/// Which rung dials this address.
pub(super) fn method_of(candidate: &Candidate) -> Method {
    let ip = candidate.target.address.ip().to_canonical();
    let inside = matches!(
        policy::judge(ip),
        Err(Refusal::Private | Refusal::SharedNat | Refusal::LinkLocal | Refusal::Loopback)
    );
    match (candidate.source, ip) {
        (Source::Mapped(protocol), _) => Method::Mapped(protocol, Side::Theirs),
        (Source::SameMachine | Source::LocalNetwork, _) => Method::Lan,
        _ if inside => Method::Lan,
        (_, IpAddr::V4(_)) => Method::DirectV4,
        (_, IpAddr::V6(_)) => Method::DirectV6,
    }
}

/// The part of a plan that goes over a transport.
fn over(plan: &Plan, transport: Option<Transport>) -> Option<Plan> {
    let keep = |targets: &[Target]| {
        let fitting = |target: &&Target| transport.is_none_or(|transport| target.transport == transport);
        let kept: Vec<Target> = targets.iter().filter(fitting).copied().collect();
        (!kept.is_empty()).then_some(kept)
    };
    match plan {
        Plan::Dial(targets) => keep(targets).map(Plan::Dial),
        Plan::AskDialBack(targets) => keep(targets).map(Plan::AskDialBack),
        other => Some(other.clone()),
    }
}

/// Adds a step, or its targets to the step of the same method: "tcp, udp" is one dial of both.
fn merge(steps: &mut Vec<Step>, step: Step) {
    let Some(same) = steps.iter_mut().find(|old| old.method == step.method) else { return steps.push(step) };
    if let (Plan::Dial(old) | Plan::AskDialBack(old), Plan::Dial(new) | Plan::AskDialBack(new)) =
        (&mut same.plan, step.plan)
    {
        for target in new {
            if !old.contains(&target) {
                old.push(target);
            }
        }
    }
}
