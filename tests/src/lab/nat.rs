//! What a site's router does to packets: the NAT types of the lab and what can be added to each. Not here: the rules
//! that make the kernel do it (`rules`).

use std::fmt;
use std::time::Duration;

use dig_nat_core::nat::profile::{Filtering, Mapping, PortAllocation};

/// A router's behaviour, built from a type and modifiers:
/// `Nat::port_restricted().hairpin().mapping_timeout(Duration::from_secs(3))`.
#[derive(Clone, Debug, PartialEq)]
pub struct Nat {
    pub(super) label: String,
    pub(super) translation: Translation,
    pub(super) mapping: Mapping,
    pub(super) filtering: Filtering,
    pub(super) ports: Ports,
    pub(super) blocked: Blocked,
    pub(super) hairpin: bool,
    pub(super) open_input: bool,
    pub(super) max_flows: Option<u32>,
    pub(super) new_flows_per_second: Option<u32>,
    pub(super) timeout: Option<Duration>,
    pub(super) mtu: Option<u16>,
    pub(super) black_hole: bool,
    pub(super) loss_percent: f64,
    pub(super) behind: Option<Box<Nat>>,
}

/// How addresses are rewritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Translation {
    /// Not at all; hosts have public addresses.
    None,
    /// By tables of our own, which hold the type exactly.
    Tables,
    /// By the kernel's `masquerade` alone.
    Masquerade,
    /// As masquerade, and everything from outside goes to the first client.
    ExposedHost,
}

/// Where a new mapping's external port comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ports {
    Preserved,
    Random,
    Sequential { step: u16 },
    Block { first: u16, size: u16 },
}

/// What does not get out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blocked {
    Nothing,
    Udp,
    UdpWithAnswer,
    AllButWeb,
    Everything,
}

impl Nat {
    /// No NAT and no filter: each client has a public address.
    pub fn public() -> Self {
        let open = Filtering::EndpointIndependent;
        Self::base("public", Translation::None, Mapping::EndpointIndependent, open, Ports::Preserved)
    }

    /// No NAT, but the client's own firewall lets in only answers.
    pub fn firewall() -> Self {
        let strict = Filtering::AddressAndPortDependent;
        Self::base("firewall", Translation::None, Mapping::EndpointIndependent, strict, Ports::Preserved)
    }

    /// Endpoint-independent mapping and filtering; ports are kept. Closed before the first packet out.
    pub fn full_cone() -> Self {
        Self::tables("full-cone", Mapping::EndpointIndependent, Filtering::EndpointIndependent, Ports::Preserved)
    }

    /// A full cone that picks random ports.
    pub fn full_cone_random() -> Self {
        Self::tables("full-cone-random", Mapping::EndpointIndependent, Filtering::EndpointIndependent, Ports::Random)
    }

    /// Everything from outside reaches the first client, asked for or not (a "DMZ host").
    pub fn dmz() -> Self {
        let open = Filtering::EndpointIndependent;
        Self::base("dmz", Translation::ExposedHost, Mapping::EndpointIndependent, open, Ports::Preserved)
    }

    /// Lets in whom the client has sent to, from any port; ports are kept.
    pub fn address_restricted() -> Self {
        Self::tables("address-restricted", Mapping::EndpointIndependent, Filtering::AddressDependent, Ports::Preserved)
    }

    /// Lets in only the endpoints the client has sent to; ports are kept. Endpoint-independent even when several
    /// clients use the same port.
    pub fn port_restricted() -> Self {
        let strict = Filtering::AddressAndPortDependent;
        Self::tables("port-restricted", Mapping::EndpointIndependent, strict, Ports::Preserved)
    }

    /// Linux as it comes: like port-restricted while no two clients use the same port.
    pub fn masquerade() -> Self {
        let strict = Filtering::AddressAndPortDependent;
        Self::base("masquerade", Translation::Masquerade, Mapping::EndpointIndependent, strict, Ports::Preserved)
    }

    /// Port-restricted with random ports.
    pub fn endpoint_independent_random() -> Self {
        let strict = Filtering::AddressAndPortDependent;
        Self::tables("eim-random", Mapping::EndpointIndependent, strict, Ports::Random)
    }

    /// One external port for each destination address.
    pub fn address_dependent() -> Self {
        let strict = Filtering::AddressAndPortDependent;
        Self::tables("address-dependent", Mapping::AddressDependent, strict, Ports::Random)
    }

    /// A random external port for each destination.
    pub fn symmetric() -> Self {
        let strict = Filtering::AddressAndPortDependent;
        Self::tables("symmetric", Mapping::AddressAndPortDependent, strict, Ports::Random)
    }

    /// Symmetric, but anyone may send to a mapped port.
    pub fn symmetric_open() -> Self {
        let open = Filtering::EndpointIndependent;
        Self::tables("symmetric-open", Mapping::AddressAndPortDependent, open, Ports::Random)
    }

    /// A new external port for each destination, `step` above the last one. UDP and TCP count together.
    pub fn symmetric_sequential(step: u16) -> Self {
        let strict = Filtering::AddressAndPortDependent;
        let ports = Ports::Sequential { step };
        Self::tables("symmetric-sequential", Mapping::AddressAndPortDependent, strict, ports)
    }

    /// A random external port out of a block for each destination, as carriers share one address among customers. Blocks
    /// are recognised when `size` is a power of two and `first` a multiple of it.
    pub fn symmetric_block(first: u16, size: u16) -> Self {
        let strict = Filtering::AddressAndPortDependent;
        Self::tables("symmetric-block", Mapping::AddressAndPortDependent, strict, Ports::Block { first, size })
    }

    /// Port-restricted, and UDP vanishes.
    pub fn udp_blocked() -> Self {
        Self { label: "udp-blocked".to_owned(), blocked: Blocked::Udp, ..Self::port_restricted() }
    }

    /// Port-restricted, and UDP is refused with an ICMP answer.
    pub fn udp_rejected() -> Self {
        Self { label: "udp-rejected".to_owned(), blocked: Blocked::UdpWithAnswer, ..Self::port_restricted() }
    }

    /// Only TCP to the ports 80 and 443 gets out.
    pub fn web_only() -> Self {
        Self { label: "web-only".to_owned(), blocked: Blocked::AllButWeb, ..Self::port_restricted() }
    }

    /// Nothing gets out.
    pub fn all_blocked() -> Self {
        Self { label: "all-blocked".to_owned(), blocked: Blocked::Everything, ..Self::port_restricted() }
    }

    /// One of every single-layer type, for tests that go through all of them.
    pub fn all() -> Vec<Self> {
        vec![
            Self::public(),
            Self::firewall(),
            Self::full_cone(),
            Self::full_cone_random(),
            Self::dmz(),
            Self::address_restricted(),
            Self::port_restricted(),
            Self::masquerade(),
            Self::endpoint_independent_random(),
            Self::address_dependent(),
            Self::symmetric(),
            Self::symmetric_open(),
            Self::symmetric_sequential(1),
            Self::symmetric_block(40_960, 512),
            Self::udp_blocked(),
            Self::udp_rejected(),
            Self::web_only(),
            Self::all_blocked(),
        ]
    }

    /// Clients reach each other by the router's public address. Such packets pass whatever the filter says.
    #[must_use]
    pub fn hairpin(mut self) -> Self {
        self.hairpin = true;
        self
    }

    /// Each client has at most so many open flows; further ones are dropped.
    #[must_use]
    pub fn max_flows(mut self, count: u32) -> Self {
        self.max_flows = Some(count);
        self
    }

    /// At most so many new flows a second, for the whole site; further ones are dropped.
    #[must_use]
    pub fn new_flows_per_second(mut self, count: u32) -> Self {
        self.new_flows_per_second = Some(count);
        self
    }

    /// Idle UDP mappings end after this time, in whole seconds. Packets of either direction keep them.
    #[must_use]
    pub fn mapping_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// The way out carries IP packets of at most so many bytes, and says so by ICMP.
    #[must_use]
    pub fn mtu(mut self, bytes: u16) -> Self {
        self.mtu = Some(bytes);
        self.black_hole = false;
        self
    }

    /// The way out silently drops IP packets above so many bytes.
    #[must_use]
    pub fn mtu_black_hole(mut self, bytes: u16) -> Self {
        self.mtu = Some(bytes);
        self.black_hole = true;
        self
    }

    /// So many per cent of all packets are lost, in each direction.
    #[must_use]
    pub fn loss(mut self, percent: f64) -> Self {
        self.loss_percent = percent;
        self
    }

    /// A fault of real routers: unexpected packets from outside are delivered to the router itself instead of being
    /// dropped, and then occupy the mapping that the client's own packets would get.
    #[must_use]
    pub fn open_input(mut self) -> Self {
        self.open_input = true;
        self
    }

    /// Puts this router behind another one: double NAT.
    #[must_use]
    pub fn behind(mut self, outer: Nat) -> Self {
        assert!(self.is_router() && outer.is_router(), "only routers stand behind each other");
        self.behind = Some(Box::new(outer));
        self
    }

    /// The mapping that the internet sees, all layers together.
    pub fn mapping(&self) -> Mapping {
        self.layers().map(|nat| nat.mapping).max().expect("at least one layer")
    }

    /// The filter that the internet sees, all layers together.
    pub fn filtering(&self) -> Filtering {
        self.layers().map(|nat| nat.filtering).max().expect("at least one layer")
    }

    /// The allocation of ports that the internet sees: the outermost layer that does not keep them decides.
    pub fn allocation(&self) -> PortAllocation {
        let changed = self.layers().filter(|nat| nat.ports != Ports::Preserved).last();
        match changed.map_or(Ports::Preserved, |nat| nat.ports) {
            Ports::Preserved => PortAllocation::Preserving,
            Ports::Random => PortAllocation::Random,
            Ports::Sequential { step } => PortAllocation::Sequential { step: step as i16 },
            Ports::Block { first, size } => PortAllocation::Block { first, size },
        }
    }

    /// Whether a host can reach its own public endpoint: a router hairpins it, or there is none.
    pub fn hairpins(&self) -> bool {
        let outermost = self.layers().last().expect("at least one layer");
        !outermost.is_router() || outermost.hairpin
    }

    /// Whether some router rewrites addresses.
    pub fn translates(&self) -> bool {
        self.is_router()
    }

    /// Whether UDP gets out.
    pub fn passes_udp(&self) -> bool {
        self.layers().all(|nat| nat.blocked == Blocked::Nothing)
    }

    /// Whether TCP to this port gets out.
    pub fn passes_tcp(&self, port: u16) -> bool {
        self.layers().all(|nat| match nat.blocked {
            Blocked::Nothing | Blocked::Udp | Blocked::UdpWithAnswer => true,
            Blocked::AllButWeb => matches!(port, 80 | 443),
            Blocked::Everything => false,
        })
    }

    /// The routers from the client outwards.
    pub(super) fn layers(&self) -> impl Iterator<Item = &Nat> {
        std::iter::successors(Some(self), |nat| nat.behind.as_deref())
    }

    pub(super) fn is_router(&self) -> bool {
        self.translation != Translation::None
    }

    /// Whether anything was added that only a router can do.
    pub(super) fn needs_router(&self) -> bool {
        let limited = self.max_flows.is_some() || self.new_flows_per_second.is_some() || self.timeout.is_some();
        limited || self.hairpin || self.open_input || self.mtu.is_some() || self.loss_percent > 0.0
    }

    fn tables(label: &str, mapping: Mapping, filtering: Filtering, ports: Ports) -> Self {
        Self::base(label, Translation::Tables, mapping, filtering, ports)
    }

    fn base(label: &str, translation: Translation, mapping: Mapping, filtering: Filtering, ports: Ports) -> Self {
        Self {
            label: label.to_owned(),
            translation,
            mapping,
            filtering,
            ports,
            blocked: Blocked::Nothing,
            hairpin: false,
            open_input: false,
            max_flows: None,
            new_flows_per_second: None,
            timeout: None,
            mtu: None,
            black_hole: false,
            loss_percent: 0.0,
            behind: None,
        }
    }
}

/// The type's name, with its step or block, what was added, and the layers joined by `+`.
impl fmt::Display for Nat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.label)?;
        if let Ports::Sequential { step: step @ 2.. } = self.ports {
            write!(f, "({step})")?;
        }
        if self.hairpin {
            f.write_str(",hairpin")?;
        }
        if self.open_input {
            f.write_str(",open-input")?;
        }
        if let Some(count) = self.max_flows {
            write!(f, ",max-flows={count}")?;
        }
        if let Some(count) = self.new_flows_per_second {
            write!(f, ",new-flows={count}/s")?;
        }
        if let Some(timeout) = self.timeout {
            write!(f, ",timeout={}s", timeout.as_secs())?;
        }
        if let Some(bytes) = self.mtu {
            write!(f, ",{}={bytes}", if self.black_hole { "black-hole" } else { "mtu" })?;
        }
        if self.loss_percent > 0.0 {
            write!(f, ",loss={}%", self.loss_percent)?;
        }
        match &self.behind {
            Some(outer) => write!(f, "+{outer}"),
            None => Ok(()),
        }
    }
}
