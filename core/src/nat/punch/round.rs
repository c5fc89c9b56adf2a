//! What one round does on one side: which of the peer's endpoints are probed, in which order, from how many sockets.
//! Pure. Not here: choosing the method (`plan`), and the probing itself (`udp`, `tcp`).

use std::net::SocketAddr;
use std::time::Duration;

use super::message::{Endpoint, NatSummary, Proposal, Transport};
use super::plan::{self, NoHope};
use super::prediction::{self, Forecast};
use super::udp::{Mode, Pair};
use super::{Method, Side};
use crate::base::limits;
use crate::nat::policy::{self, Refusal, Scope};
use crate::nat::profile::PortAllocation;

/// What one side knows about a side.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Half {
    /// Its NAT.
    pub nat: NatSummary,
    /// Its observed endpoints.
    pub endpoints: Vec<Endpoint>,
    /// Its next ports.
    pub forecast: Forecast,
}

impl Half {
    /// The peer's half as its proposal says, without the endpoints that [`may_probe`] forbids.
    pub fn of(proposal: &Proposal, scope: Scope) -> Self {
        let allowed = |endpoint: &&Endpoint| may_probe(endpoint.address, scope);
        Self {
            nat: proposal.nat,
            endpoints: proposal.endpoints.iter().filter(allowed).copied().collect(),
            forecast: proposal.forecast.clone(),
        }
    }

    fn of_transport(&self, transport: Transport) -> impl Iterator<Item = SocketAddr> + '_ {
        self.endpoints.iter().filter(move |endpoint| endpoint.transport == transport).map(|endpoint| endpoint.address)
    }

    /// The endpoint whose address belongs to predicted ports.
    fn v4(&self, transport: Transport) -> Option<SocketAddr> {
        self.of_transport(transport).find(SocketAddr::is_ipv4)
    }
}

/// Whether an address that a remote party named may be sent to: nothing on this link, no groups, no metadata services;
/// private ones and this machine's only as far as `scope` says. Test networks count as public.
pub fn may_probe(address: SocketAddr, scope: Scope) -> bool {
    address.port() != 0
        && match policy::judge(address.ip()) {
            Ok(()) | Err(Refusal::Documentation | Refusal::Benchmark) => true,
            Err(Refusal::Private | Refusal::SharedNat) => scope >= Scope::Site,
            Err(Refusal::Loopback) => scope == Scope::Machine,
            Err(_) => false,
        }
}

/// What the UDP machine of `side` does in this round. `v4` and `v6` are the indices of the sockets to use, for birthday
/// probing on the hard side the first of as many IPv4 sockets as [`plan::sockets`] says.
pub fn udp(
    method: Method,
    side: Side,
    mine: &Half,
    theirs: &Half,
    v4: Option<usize>,
    v6: Option<usize>,
) -> Result<Mode, NoHope> {
    let mode = match method {
        Method::Birthday { hard } if hard == side => {
            let (Some(first), Some(target)) = (v4, theirs.v4(Transport::Udp)) else { return Err(NoHope::NoEndpoints) };
            let sockets = first..first + usize::from(plan::sockets(&mine.nat));
            let pairs = sockets.map(|socket| Pair { socket, remote: target }).collect();
            // Twice the rate of the other side: all are open before most of its probes arrive.
            let spacing = Duration::from_secs(1) / (2 * limits::PUNCH_SEARCH_RATE);
            Mode::Pairs { pairs, spacing, slow: true }
        }
        Method::Birthday { .. } => {
            let (Some(socket), Some(target)) = (v4, theirs.v4(Transport::Udp)) else { return Err(NoHope::NoEndpoints) };
            let (first, size) = match (&theirs.forecast, &theirs.nat.allocation) {
                (Forecast::Block { first, size }, _) | (_, Some(PortAllocation::Block { first, size })) => {
                    (*first, *size)
                }
                _ => (1024, u16::MAX - 1023),
            };
            Mode::Search { socket, ip: target.ip(), first, size, probes: plan::probes(&mine.nat) }
        }
        _ => {
            let mut pairs: Vec<Pair> = Vec::new();
            if let Some(socket) = v4 {
                let targets = targets(method, side, mine, theirs, Transport::Udp);
                pairs.extend(targets.into_iter().map(|remote| Pair { socket, remote }));
            }
            if let Some(socket) = v6 {
                let targets = theirs.of_transport(Transport::Udp).filter(SocketAddr::is_ipv6);
                pairs.extend(targets.map(|remote| Pair { socket, remote }));
            }
            pairs.truncate(limits::PUNCH_PAIRS);
            Mode::Pairs { pairs, spacing: Duration::ZERO, slow: false }
        }
    };
    if matches!(&mode, Mode::Pairs { pairs, .. } if pairs.is_empty()) { Err(NoHope::NoEndpoints) } else { Ok(mode) }
}

/// Where a TCP round connects to, in order. IPv6 endpoints only with `v6`, IPv4 ones only with `v4`.
pub fn tcp(
    method: Method,
    side: Side,
    mine: &Half,
    theirs: &Half,
    v4: bool,
    v6: bool,
) -> Result<Vec<SocketAddr>, NoHope> {
    let mut all = if v4 { targets(method, side, mine, theirs, Transport::Tcp) } else { Vec::new() };
    all.extend(theirs.of_transport(Transport::Tcp).filter(|target| v6 && target.is_ipv6()));
    all.truncate(limits::PUNCH_TCP_TARGETS);
    if all.is_empty() { Err(NoHope::NoEndpoints) } else { Ok(all) }
}

/// How long the round lasts on both sides, `round_trip` being that of the signalling channel.
pub fn duration(method: Method, initiator: &NatSummary, responder: &NatSummary, round_trip: Duration) -> Duration {
    let own = match method {
        Method::Birthday { hard } => {
            let easy = if hard == Side::Initiator { responder } else { initiator };
            let search = Duration::from_secs(1) * u32::from(plan::probes(easy)) / limits::PUNCH_SEARCH_RATE;
            limits::PUNCH_HEAD_START + search + limits::PUNCH_ROUND / 2
        }
        Method::TcpOpen | Method::TcpPrediction { .. } => limits::PUNCH_TCP_ROUND,
        _ => limits::PUNCH_ROUND,
    };
    own + 2 * round_trip.min(limits::PUNCH_SIGNAL_TIMEOUT)
}

/// The IPv4 addresses to probe, in order.
fn targets(method: Method, side: Side, mine: &Half, theirs: &Half, transport: Transport) -> Vec<SocketAddr> {
    let observed = || theirs.of_transport(transport).filter(SocketAddr::is_ipv4);
    let base = theirs.v4(transport);
    match (&theirs.forecast, base) {
        (Forecast::Ports(ports), Some(base)) if method.predicts(side.other()) => {
            let at = |port: &u16| SocketAddr::new(base.ip(), *port);
            match &mine.forecast {
                Forecast::Ports(own) if method.predicts(side) && own.len() > 1 && ports.len() > 1 => {
                    let (up, down) = prediction::meeting_orders(own.len().min(ports.len()));
                    let order = if side == Side::Initiator { up } else { down };
                    order.into_iter().filter_map(|index| ports.get(index)).map(at).collect()
                }
                _ => ports.iter().map(at).collect(),
            }
        }
        // With ports of our own to predict, each further address would move them on.
        _ if method.predicts(side) => base.into_iter().collect(),
        _ => observed().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn half(address: &str, forecast: Forecast) -> Half {
        let nat = NatSummary { sockets: 256, probes: 2048, ..NatSummary::default() };
        let at = |transport| Endpoint { transport, address: address.parse().expect("valid") };
        Half { nat, endpoints: vec![at(Transport::Udp), at(Transport::Tcp)], forecast }
    }

    fn ports(mode: Result<Mode, NoHope>) -> Vec<u16> {
        match mode.expect("a mode") {
            Mode::Pairs { pairs, .. } => pairs.iter().map(|pair| pair.remote.port()).collect(),
            search @ Mode::Search { .. } => panic!("{search:?}"),
        }
    }

    #[test]
    fn addresses_of_this_machine_and_link_are_never_probed() {
        let allowed = |text: &str, scope| may_probe(text.parse().expect("valid"), scope);
        let (everything, site, nothing) = (Scope::Machine, Scope::Site, Scope::Internet);
        for never in ["0.0.0.0:1", "224.0.0.251:5353", "255.255.255.255:9", "169.254.169.254:80", "240.0.0.1:1"] {
            assert!(!allowed(never, everything), "{never}");
        }
        for never in ["[::]:1", "[ff02::fb]:5353", "[fe80::1]:1", "203.0.113.1:0", "[::ffff:169.254.169.254]:80"] {
            assert!(!allowed(never, everything), "{never}");
        }
        for private in ["10.0.0.1:1", "192.168.1.1:1", "172.16.3.4:1", "100.64.0.1:1", "[fd00::1]:1"] {
            assert!(allowed(private, everything) && allowed(private, site) && !allowed(private, nothing), "{private}");
        }
        for own in ["127.0.0.1:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            assert!(allowed(own, everything) && !allowed(own, site) && !allowed(own, nothing), "{own}");
        }
        assert!(!allowed("[::1]:1", nothing) && !allowed("[::ffff:10.0.0.1]:1", nothing));
        assert!(allowed("203.0.113.1:1", nothing) && allowed("[2001:db8::1]:1", nothing));
    }

    #[test]
    fn both_predicting_sides_go_in_opposite_orders() {
        let window = || Forecast::Ports((100..117).collect());
        let (one, two) = (half("203.0.113.1:5", window()), half("203.0.113.2:6", window()));
        let method = Method::Prediction { initiator: true, responder: true };
        let up = ports(udp(method, Side::Initiator, &one, &two, Some(0), None));
        let down = ports(udp(method, Side::Responder, &two, &one, Some(0), None));
        assert_eq!((up[0], up[1], up.len()), (100, 101, 17));
        assert_eq!(down, [108, 107, 106, 105, 104, 112, 111, 110, 109]);
    }

    #[test]
    fn one_predicted_side_is_met_by_all_its_candidates_and_sends_to_one_address() {
        let hard = half("203.0.113.1:5", Forecast::Ports(vec![31, 32, 33]));
        let mut easy = half("203.0.113.2:6", Forecast::Ports(vec![6]));
        easy.endpoints.push(Endpoint { transport: Transport::Udp, address: "203.0.113.9:7".parse().expect("valid") });
        let method = Method::Prediction { initiator: true, responder: false };
        assert_eq!(ports(udp(method, Side::Responder, &easy, &hard, Some(0), None)), [31, 32, 33]);
        assert_eq!(ports(udp(method, Side::Initiator, &hard, &easy, Some(0), None)), [6]);
        assert_eq!(ports(udp(Method::Plain, Side::Initiator, &hard, &easy, Some(0), None)), [6, 7]);
    }

    #[test]
    fn birthday_probing_splits_the_work() {
        let (hard, easy) = (half("203.0.113.1:5", Forecast::None), half("203.0.113.2:6", Forecast::None));
        let method = Method::Birthday { hard: Side::Initiator };
        assert_eq!(ports(udp(method, Side::Initiator, &hard, &easy, Some(0), None)), vec![6; 256]);
        let search = udp(method, Side::Responder, &easy, &hard, Some(0), None).expect("a mode");
        let ip = "203.0.113.1".parse().expect("valid");
        assert_eq!(search, Mode::Search { socket: 0, ip, first: 1024, size: 64_512, probes: 2048 });
        let none = udp(method, Side::Responder, &easy, &Half::default(), Some(0), None);
        assert_eq!(none, Err(NoHope::NoEndpoints));
    }

    #[test]
    fn rounds_last_as_long_on_both_sides() {
        let nat = half("203.0.113.1:5", Forecast::None).nat;
        let trip = Duration::from_millis(100);
        assert_eq!(duration(Method::Plain, &nat, &nat, trip), Duration::from_millis(1700));
        let birthday = duration(Method::Birthday { hard: Side::Responder }, &nat, &nat, trip);
        assert_eq!(birthday, Duration::from_millis(150 + 2048 + 750 + 200));
    }
}
