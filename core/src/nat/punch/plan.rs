//! Which method the next round uses, judged from both NATs, what failed before and what is left of the budget. Pure;
//! both sides compute the same from the same input. Not here: which packets that means (`round`, `udp`, `tcp`).

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::message::NatSummary;
use super::prediction::birthday_chance;
use super::{Method, Side};
use crate::base::limits;
use crate::nat::profile::{Filtering, Mapping, PortAllocation};

/// Why no method is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "reason", content = "side")]
pub enum NoHope {
    /// UDP does not get out on this side; TCP may.
    UdpBlocked(Side),
    /// Both NATs hand out unpredictable ports and admit only whom they sent to.
    BothRandom,
    /// One NAT's ports are in sequence but the other's are unpredictable: each guess moves the first one's ports on.
    SequenceAgainstRandom,
    /// A NAT that holds few sessions leaves birthday probing no chance.
    TooFewSessions,
    /// TCP needs one predictable port on each side.
    UnpredictableTcp,
    /// No endpoint of the peer can be used.
    NoEndpoints,
    /// Everything that could work was tried and failed.
    AllFailed,
    /// The budget for this peer is spent.
    BudgetSpent,
}

impl fmt::Display for NoHope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UdpBlocked(Side::Initiator) => "UDP is blocked on the initiating side",
            Self::UdpBlocked(Side::Responder) => "UDP is blocked on the answering side",
            Self::BothRandom => "both NATs hand out unpredictable ports",
            Self::SequenceAgainstRandom => "one NAT hands out unpredictable ports, the other new ones per destination",
            Self::TooFewSessions => "a NAT holds too few sessions for birthday probing",
            Self::UnpredictableTcp => "a NAT hands out unpredictable ports, which TCP cannot meet",
            Self::NoEndpoints => "the peer named no endpoint that can be used",
            Self::AllFailed => "every method for this pair of NATs was tried and failed",
            Self::BudgetSpent => "the budget of attempts with this peer is spent",
        })
    }
}

/// What failed with one peer and what may still be spent on it. Outlives single attempts; start afresh when the own
/// network changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    failed: Vec<Method>,
    /// Rounds left.
    pub rounds: u8,
    /// Packets left.
    pub packets: u32,
    /// Time left.
    pub time: Duration,
}

impl Default for History {
    fn default() -> Self {
        let (rounds, packets, time) = (limits::PUNCH_ROUNDS, limits::PUNCH_PACKETS, limits::PUNCH_TIME);
        Self { failed: Vec::new(), rounds, packets, time }
    }
}

impl History {
    /// Notes what a round cost, and that its method failed.
    pub fn record(&mut self, method: Method, packets: u32, time: Duration, connected: bool) {
        self.rounds = self.rounds.saturating_sub(1);
        self.packets = self.packets.saturating_sub(packets);
        self.time = self.time.saturating_sub(time);
        if !connected && self.failed.len() < usize::from(limits::PUNCH_ROUNDS) {
            self.failed.push(method);
        }
    }

    /// Whether the method failed with this peer.
    pub fn failed(&self, method: Method) -> bool {
        self.failed.contains(&method)
    }

    /// Whether the method failed as often as it makes sense to try it.
    fn used_up(&self, method: Method) -> bool {
        let failures = self.failed.iter().filter(|failed| **failed == method).count();
        // Each round measures anew; with two sequences, a flow of somebody else at the wrong moment spoils one.
        let most = if method.predicts(Side::Initiator) && method.predicts(Side::Responder) {
            limits::PUNCH_DOUBLE_PREDICTIONS
        } else {
            1
        };
        failures >= most
    }

    /// Whether nothing may be spent any more.
    pub const fn is_spent(&self) -> bool {
        self.rounds == 0 || self.packets == 0 || self.time.is_zero()
    }
}

/// How much a side's next port is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Port {
    /// The observed endpoint serves everybody.
    Stable,
    /// A new port per destination, but a predictable one.
    Predictable,
    /// A new port per destination, one of so many.
    Random { range: u32 },
    /// Not measured.
    Unknown,
}

/// Ports that a NAT without a pattern uses (RFC 6056: all but the well-known ones).
const ALL_PORTS: u32 = 64_512;

/// The UDP method of the next round, or why there is none. `propose` is what the other side asked for: it is taken if
/// it is one of those that could work here and did not fail yet.
pub fn udp(
    initiator: &NatSummary,
    responder: &NatSummary,
    history: &History,
    propose: Option<Method>,
) -> Result<Method, NoHope> {
    let (methods, otherwise) = udp_methods(initiator, responder);
    next(&methods, otherwise, history, propose)
}

/// The TCP method of the next round, or why there is none.
pub fn tcp(
    initiator: &NatSummary,
    responder: &NatSummary,
    history: &History,
    propose: Option<Method>,
) -> Result<Method, NoHope> {
    let (methods, otherwise) = tcp_methods(initiator, responder);
    next(&methods, otherwise, history, propose)
}

/// The chance of birthday probing for this pair, 0 to 1.
pub fn chance(initiator: &NatSummary, responder: &NatSummary, hard: Side) -> f64 {
    let (hard, easy) = match hard {
        Side::Initiator => (initiator, responder),
        Side::Responder => (responder, initiator),
    };
    let range = match port(hard) {
        Port::Random { range } => range,
        _ => ALL_PORTS,
    };
    birthday_chance(sockets(hard), probes(easy), range)
}

/// Sockets a side opens for birthday probing: not more than half of a small block, others need some too.
pub fn sockets(nat: &NatSummary) -> u16 {
    let most = match nat.allocation {
        Some(PortAllocation::Block { size, .. }) => (size / 2).max(1),
        _ => limits::PUNCH_SOCKETS,
    };
    nat.sockets.min(limits::PUNCH_SOCKETS).min(most)
}

/// Probes a side sends for birthday probing.
pub fn probes(nat: &NatSummary) -> u16 {
    nat.probes.min(limits::PUNCH_SEARCH_PROBES)
}

fn next(methods: &[Method], otherwise: NoHope, history: &History, propose: Option<Method>) -> Result<Method, NoHope> {
    if methods.is_empty() {
        return Err(otherwise);
    }
    if history.is_spent() {
        return Err(NoHope::BudgetSpent);
    }
    let open = || methods.iter().copied().filter(|method| !history.used_up(*method));
    open().find(|method| Some(*method) == propose).or_else(|| open().next()).ok_or(NoHope::AllFailed)
}

/// Everything that could work, the most promising first; with nothing, why.
fn udp_methods(initiator: &NatSummary, responder: &NatSummary) -> (Vec<Method>, NoHope) {
    use Side::{Initiator, Responder};
    if initiator.udp_blocked || responder.udp_blocked {
        let side = if initiator.udp_blocked { Initiator } else { Responder };
        return (Vec::new(), NoHope::UdpBlocked(side));
    }
    let (one, two) = (port(initiator), port(responder));
    let birthday = |hard: Side| Method::Birthday { hard };
    let likely = |hard: Side| chance(initiator, responder, hard) >= limits::PUNCH_MIN_CHANCE;
    let mut methods = Vec::new();
    let mut otherwise = NoHope::TooFewSessions;
    if plain_may_work(initiator, responder) {
        methods.push(Method::Plain);
    }
    match (one, two) {
        (Port::Stable, Port::Stable) | (Port::Unknown, Port::Unknown) => {}
        (Port::Stable | Port::Unknown, Port::Predictable) => {
            methods.push(Method::Prediction { initiator: false, responder: true });
            methods.extend(likely(Responder).then_some(birthday(Responder)));
        }
        (Port::Predictable, Port::Stable | Port::Unknown) => {
            methods.push(Method::Prediction { initiator: true, responder: false });
            methods.extend(likely(Initiator).then_some(birthday(Initiator)));
        }
        (Port::Predictable, Port::Predictable) => {
            methods.push(Method::Prediction { initiator: true, responder: true });
        }
        // Of a known and an unknown side, the unknown one may turn out to be what fits.
        (Port::Stable, Port::Random { .. } | Port::Unknown) | (Port::Unknown, Port::Random { .. }) => {
            methods.extend(likely(Responder).then_some(birthday(Responder)));
        }
        (Port::Random { .. } | Port::Unknown, Port::Stable) | (Port::Random { .. }, Port::Unknown) => {
            methods.extend(likely(Initiator).then_some(birthday(Initiator)));
        }
        (Port::Random { .. }, Port::Random { .. }) => otherwise = NoHope::BothRandom,
        (Port::Predictable, Port::Random { .. }) | (Port::Random { .. }, Port::Predictable) => {
            otherwise = NoHope::SequenceAgainstRandom;
        }
    }
    // Last, because it helps only against routers that mistook an early packet.
    if methods.first() == Some(&Method::Plain) {
        methods.push(Method::Fresh);
    }
    (methods, otherwise)
}

fn tcp_methods(initiator: &NatSummary, responder: &NatSummary) -> (Vec<Method>, NoHope) {
    let (one, two) = (port(initiator), port(responder));
    let predicted = |port: Port| port == Port::Predictable;
    let random = |port: Port| matches!(port, Port::Random { .. });
    // A side that admits anybody needs no luck: its listener is reached from any port.
    let open = admits_anybody(initiator) || admits_anybody(responder);
    let both_v6 = initiator.v6 && responder.v6;
    let mut methods = Vec::new();
    if both_v6 || open || !(predicted(one) || predicted(two) || random(one) || random(two)) {
        methods.push(Method::TcpOpen);
    }
    if (predicted(one) || predicted(two)) && !random(one) && !random(two) {
        methods.push(Method::TcpPrediction { initiator: predicted(one), responder: predicted(two) });
    }
    (methods, NoHope::UnpredictableTcp)
}

fn port(nat: &NatSummary) -> Port {
    if nat.translated == Some(false) {
        return Port::Stable;
    }
    match (nat.mapping, nat.allocation) {
        (None, _) => Port::Unknown,
        (Some(Mapping::EndpointIndependent), _) => Port::Stable,
        (_, Some(PortAllocation::Sequential { .. } | PortAllocation::Preserving)) => Port::Predictable,
        (_, Some(PortAllocation::Block { size, .. })) => Port::Random { range: u32::from(size.max(1)) },
        (_, Some(PortAllocation::Random) | None) => Port::Random { range: ALL_PORTS },
    }
}

/// Whether sending to what servers saw, and answering to wherever packets come from, can be enough.
fn plain_may_work(one: &NatSummary, two: &NatSummary) -> bool {
    if one.v6 && two.v6 {
        return true;
    }
    // A packet of the peer comes from a port we know (its mapping is stable) or passes our filter anyway.
    let reaches = |from: &NatSummary, to: &NatSummary| match port(to) {
        // The receiver's observed endpoint is the one we send from, and what it sends opens it.
        Port::Stable | Port::Unknown => {
            matches!(port(from), Port::Stable | Port::Unknown)
                || to.filtering != Some(Filtering::AddressAndPortDependent)
        }
        // It is another one than the receiver's packets to us use: only an open filter lets us in.
        Port::Predictable | Port::Random { .. } => matches!(to.filtering, Some(Filtering::EndpointIndependent)),
    };
    reaches(one, two) || reaches(two, one)
}

/// Also where each destination gets a port of its own: the one that a server saw stays open.
fn admits_anybody(nat: &NatSummary) -> bool {
    nat.filtering == Some(Filtering::EndpointIndependent)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nat(mapping: Mapping, filtering: Filtering, allocation: PortAllocation) -> NatSummary {
        NatSummary {
            mapping: Some(mapping),
            filtering: Some(filtering),
            allocation: Some(allocation),
            translated: Some(true),
            sockets: 256,
            probes: 2048,
            ..NatSummary::default()
        }
    }

    fn full_cone() -> NatSummary {
        nat(Mapping::EndpointIndependent, Filtering::EndpointIndependent, PortAllocation::Preserving)
    }

    fn address_restricted() -> NatSummary {
        nat(Mapping::EndpointIndependent, Filtering::AddressDependent, PortAllocation::Preserving)
    }

    fn port_restricted() -> NatSummary {
        nat(Mapping::EndpointIndependent, Filtering::AddressAndPortDependent, PortAllocation::Preserving)
    }

    fn symmetric(allocation: PortAllocation) -> NatSummary {
        nat(Mapping::AddressAndPortDependent, Filtering::AddressAndPortDependent, allocation)
    }

    fn random() -> NatSummary {
        symmetric(PortAllocation::Random)
    }

    fn sequential() -> NatSummary {
        symmetric(PortAllocation::Sequential { step: 1 })
    }

    fn first(one: &NatSummary, two: &NatSummary) -> Result<Method, NoHope> {
        udp(one, two, &History::default(), None)
    }

    #[test]
    fn each_pair_gets_the_method_that_the_measurements_name() {
        use Side::{Initiator, Responder};
        let open_symmetric = NatSummary { filtering: Some(Filtering::EndpointIndependent), ..random() };
        let easy = [full_cone(), address_restricted(), port_restricted()];
        for one in &easy {
            for two in &easy {
                assert_eq!(first(one, two), Ok(Method::Plain));
            }
            assert_eq!(first(one, &open_symmetric), Ok(Method::Plain));
        }
        for easy in &easy[..2] {
            assert_eq!(first(easy, &random()), Ok(Method::Plain));
            assert_eq!(first(&sequential(), easy), Ok(Method::Plain));
        }
        let strict = port_restricted();
        assert_eq!(first(&strict, &random()), Ok(Method::Birthday { hard: Responder }));
        assert_eq!(first(&random(), &strict), Ok(Method::Birthday { hard: Initiator }));
        assert_eq!(first(&strict, &sequential()), Ok(Method::Prediction { initiator: false, responder: true }));
        assert_eq!(first(&sequential(), &sequential()), Ok(Method::Prediction { initiator: true, responder: true }));
        assert_eq!(first(&open_symmetric, &random()), Ok(Method::Plain));
        assert_eq!(first(&random(), &random()), Err(NoHope::BothRandom));
        assert_eq!(first(&sequential(), &random()), Err(NoHope::SequenceAgainstRandom));
        let blocked = NatSummary { udp_blocked: true, ..port_restricted() };
        assert_eq!(first(&full_cone(), &blocked), Err(NoHope::UdpBlocked(Responder)));
        let dual = |nat: NatSummary| NatSummary { v6: true, ..nat };
        assert_eq!(first(&dual(random()), &dual(random())), Ok(Method::Plain), "IPv6 is not translated");
    }

    #[test]
    fn what_failed_is_not_used_again_and_the_budget_ends() {
        let (strict, unknown) = (port_restricted(), NatSummary { sockets: 256, probes: 2048, ..NatSummary::default() });
        let mut history = History::default();
        let mut used = Vec::new();
        let end = loop {
            match udp(&strict, &unknown, &history, Some(Method::Plain)) {
                Ok(method) => {
                    assert!(!used.contains(&method));
                    used.push(method);
                    history.record(method, 10, Duration::from_millis(5), false);
                }
                Err(reason) => break reason,
            }
        };
        assert_eq!(used, [Method::Plain, Method::Birthday { hard: Side::Responder }, Method::Fresh]);
        assert_eq!(end, NoHope::AllFailed);
        for spend in [(0, limits::PUNCH_TIME), (limits::PUNCH_PACKETS, Duration::ZERO)] {
            let mut history = History::default();
            history.record(Method::TcpOpen, spend.0, spend.1, false);
            assert_eq!(udp(&strict, &strict, &history, None), Err(NoHope::BudgetSpent));
        }
        let mut history = History::default();
        (0..limits::PUNCH_ROUNDS).for_each(|_| history.record(Method::Plain, 0, Duration::ZERO, true));
        assert_eq!(udp(&strict, &strict, &history, None), Err(NoHope::BudgetSpent));
    }

    #[test]
    fn a_proposal_counts_only_if_it_could_work() {
        let (strict, history) = (port_restricted(), History::default());
        assert_eq!(udp(&strict, &strict, &history, Some(Method::Fresh)), Ok(Method::Fresh));
        let senseless = Some(Method::Birthday { hard: Side::Initiator });
        assert_eq!(udp(&strict, &strict, &history, senseless), Ok(Method::Plain));
    }

    #[test]
    fn few_sessions_leave_no_hope_but_a_small_block_helps() {
        let few = NatSummary { probes: 64, ..port_restricted() };
        assert_eq!(first(&few, &random()), Err(NoHope::TooFewSessions));
        let block = symmetric(PortAllocation::Block { first: 4096, size: 512 });
        assert_eq!(first(&few, &block), Ok(Method::Birthday { hard: Side::Responder }));
        assert_eq!(sockets(&block), 256);
        assert_eq!(sockets(&symmetric(PortAllocation::Block { first: 4096, size: 64 })), 32);
        assert!(chance(&few, &block, Side::Responder) > 0.99);
    }

    #[test]
    fn tcp_needs_predictable_ports_or_an_open_door() {
        let history = History::default();
        let method = |one: &NatSummary, two: &NatSummary| tcp(one, two, &history, None);
        let blocked = NatSummary { udp_blocked: true, ..port_restricted() };
        assert_eq!(method(&blocked, &blocked), Ok(Method::TcpOpen));
        assert_eq!(method(&random(), &full_cone()), Ok(Method::TcpOpen));
        assert_eq!(method(&random(), &port_restricted()), Err(NoHope::UnpredictableTcp));
        let predicted = Method::TcpPrediction { initiator: false, responder: true };
        assert_eq!(method(&port_restricted(), &sequential()), Ok(predicted));
    }
}
