//! The kinds of sites of the grid, and what theory says of each pair of them. Not here: meeting (`node`).

use std::time::Duration;

use dig_nat_core::nat::profile::{Filtering, Mapping, PortAllocation};
use dig_nat_tests::lab::{Ipv6, Nat, Path, Site};

/// One way, on the line of each site: two sites are 100 ms of round trip apart.
pub const DELAY: Duration = Duration::from_millis(25);

/// A row and a column of the grid.
#[derive(Clone, Debug)]
pub struct Kind {
    pub name: &'static str,
    pub nat: Nat,
    pub v4: bool,
    pub v6: Option<Ipv6>,
    /// Its router forwards ports on request.
    pub maps_ports: bool,
}

/// Two sites, or two clients of one, with something between them that decides.
pub struct Neighbours {
    pub name: &'static str,
    pub hosts: [&'static str; 2],
    pub direct: bool,
}

impl Kind {
    fn new(name: &'static str, nat: Nat) -> Self {
        Self { name, nat, v4: true, v6: None, maps_ports: false }
    }

    pub fn site(&self) -> Site {
        let site = Site::new(self.nat.clone()).path(Path::delay(DELAY));
        match (self.v4, self.v6) {
            (false, Some(v6)) => site.ipv6_only(v6),
            (_, Some(v6)) => site.ipv6(v6),
            _ => site,
        }
    }

    fn is_endpoint_independent(&self) -> bool {
        self.nat.mapping() == Mapping::EndpointIndependent
    }

    /// Anyone may send to a port that it uses.
    fn is_open(&self) -> bool {
        self.maps_ports || self.nat.filtering() == Filtering::EndpointIndependent
    }

    fn counts(&self) -> bool {
        matches!(self.nat.allocation(), PortAllocation::Sequential { .. })
    }
}

pub fn kinds() -> Vec<Kind> {
    let plain = [
        ("public", Nat::public()),
        ("full cone", Nat::full_cone()),
        ("full cone, other ports", Nat::full_cone_random()),
        ("address-restricted", Nat::address_restricted()),
        ("port-restricted", Nat::port_restricted()),
        ("Linux masquerade", Nat::masquerade()),
        ("port-restricted, other ports", Nat::endpoint_independent_random()),
        ("two port-restricted layers", Nat::port_restricted().behind(Nat::port_restricted())),
        ("port-restricted, forgets in 5 s", Nat::port_restricted().mapping_timeout(Duration::from_secs(5))),
        ("symmetric, open filter", Nat::symmetric_open()),
        ("symmetric, counting", Nat::symmetric_sequential(1)),
        ("symmetric, random", Nat::symmetric()),
        ("UDP blocked", Nat::udp_blocked()),
        ("web only", Nat::web_only()),
    ];
    let mut all: Vec<Kind> = plain.into_iter().map(|(name, nat)| Kind::new(name, nat)).collect();
    let mapping = Kind::new("symmetric, random; UPnP and PCP", Nat::symmetric());
    all.push(Kind { maps_ports: true, ..mapping });
    let both = Kind::new("symmetric, random; IPv6 with firewall", Nat::symmetric());
    all.push(Kind { v6: Some(Ipv6::Firewalled), ..both });
    for (name, v6) in [("IPv6 only", Ipv6::Open), ("IPv6 only, firewall", Ipv6::Firewalled)] {
        all.push(Kind { v4: false, v6: Some(v6), ..Kind::new(name, Nat::public()) });
    }
    all
}

/// Whether two nodes at such sites can meet directly at all, by any known method.
pub fn can_be_direct(one: &Kind, other: &Kind) -> bool {
    // Firewalls let in answers, and nothing translates.
    if one.v6.is_some() && other.v6.is_some() {
        return true;
    }
    one.v4 && other.v4 && (udp(one, other) || tcp(one, other))
}

fn udp(one: &Kind, other: &Kind) -> bool {
    if !one.nat.passes_udp() || !other.nat.passes_udp() {
        return false;
    }
    // One that keeps its port can be found or guessed by any other: it learns the other's port from the first packet
    // (open and address-restricted filters), by prediction or by birthday probing.
    let found = one.is_endpoint_independent() || other.is_endpoint_independent();
    found || one.is_open() || other.is_open() || (one.counts() && other.counts())
}

fn tcp(one: &Kind, other: &Kind) -> bool {
    // Any port, not just those of the web.
    let anywhere = |kind: &Kind| kind.nat.passes_tcp(8080);
    if !anywhere(one) || !anywhere(other) {
        return false;
    }
    // Simultaneous open needs both ports known.
    (one.is_endpoint_independent() && other.is_endpoint_independent()) || one.is_open() || other.is_open()
}

/// Pairs for which it matters that they share something.
pub fn neighbours() -> Vec<Neighbours> {
    let pair = |name, hosts, direct| Neighbours { name, hosts, direct };
    vec![
        pair("one home, port-restricted", ["home", "home-2"], true),
        pair("one home, symmetric", ["hard", "hard-2"], true),
        // Each home's router knows the other's only by the carrier's address, which leads nowhere.
        pair("two homes of one carrier without hairpinning", ["left", "right"], false),
        pair("two homes of one carrier with hairpinning", ["west", "east"], true),
    ]
}

/// The lab of [`neighbours`].
pub fn neighbourhood() -> dig_nat_tests::lab::LabBuilder {
    let site = |nat: Nat| Site::new(nat).path(Path::delay(DELAY));
    let home = |carrier: &str| site(Nat::port_restricted()).on_carrier(carrier);
    dig_nat_tests::lab::Lab::builder()
        .carrier("plain", Nat::port_restricted())
        .carrier("turning", Nat::port_restricted().hairpin())
        .site("home", site(Nat::port_restricted()).clients(2))
        .site("hard", site(Nat::symmetric()).clients(2))
        .site("left", home("plain"))
        .site("right", home("plain"))
        .site("west", home("turning"))
        .site("east", home("turning"))
}
