//! What a test says about the places of its lab: which router they stand behind, how many clients they have, IPv6.
//! Not here: addresses and interfaces, which follow from the order of the sites (`plan`).

use std::time::Duration;

use super::nat::Nat;

/// A home, an office, a phone: clients on one network behind zero, one or two routers.
#[derive(Clone, Debug)]
pub struct Site {
    pub(super) nat: Nat,
    pub(super) carrier: Option<String>,
    pub(super) clients: usize,
    pub(super) v4: bool,
    pub(super) v6: Option<Ipv6>,
    pub(super) path: Option<Path>,
}

/// IPv6 of a site. There is no translation, clients have public addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ipv6 {
    /// Anyone can reach the clients.
    Open,
    /// Only answers to what the clients sent are let in.
    Firewalled,
}

impl Site {
    /// A site with one client behind this NAT, IPv4 only.
    pub fn new(nat: Nat) -> Self {
        Self { nat, carrier: None, clients: 1, v4: true, v6: None, path: None }
    }

    /// So many clients, up to [`Site::MAX_CLIENTS`], on one local network (or each with a public address). The first
    /// one has the name of the site, the others `-2`, `-3` behind it.
    #[must_use]
    pub fn clients(mut self, count: usize) -> Self {
        assert!((1..=Self::MAX_CLIENTS).contains(&count), "a site has 1 to {} clients", Self::MAX_CLIENTS);
        self.clients = count;
        self
    }

    /// The site's own router stands behind a carrier's, which other sites may share.
    #[must_use]
    pub fn on_carrier(mut self, name: &str) -> Self {
        assert!(self.nat.is_router(), "a site on a carrier has a router of its own");
        self.carrier = Some(name.to_owned());
        self
    }

    /// Adds IPv6.
    #[must_use]
    pub fn ipv6(mut self, ipv6: Ipv6) -> Self {
        self.v6 = Some(ipv6);
        self
    }

    /// Has IPv6 and no IPv4.
    #[must_use]
    pub fn ipv6_only(mut self, ipv6: Ipv6) -> Self {
        self.v6 = Some(ipv6);
        self.v4 = false;
        self
    }

    /// Gives the way to the internet a delay, a rate, losses.
    #[must_use]
    pub fn path(mut self, path: Path) -> Self {
        self.path = Some(path);
        self
    }

    /// Most clients of a site.
    pub const MAX_CLIENTS: usize = 6;
}

impl From<Nat> for Site {
    fn from(nat: Nat) -> Self {
        Self::new(nat)
    }
}

/// What a line does to the frames of each direction. The default does nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Path {
    /// Time from end to end.
    pub delay: Duration,
    /// Up to so much more, at random; the order stays.
    pub jitter: Duration,
    /// Lost frames, in per cent.
    pub loss_percent: f64,
    /// Bits per second; 0 is no limit. A queue of 100 ms stands before it.
    pub rate: u64,
}

impl Path {
    /// A line with this delay in each direction.
    pub fn delay(delay: Duration) -> Self {
        Self { delay, ..Self::default() }
    }

    /// With so many per cent of the frames lost in each direction.
    #[must_use]
    pub fn loss(mut self, percent: f64) -> Self {
        self.loss_percent = percent;
        self
    }

    /// With this rate in each direction, in bits per second.
    #[must_use]
    pub fn rate(mut self, bits_per_second: u64) -> Self {
        self.rate = bits_per_second;
        self
    }

    /// With a random further delay.
    #[must_use]
    pub fn jitter(mut self, jitter: Duration) -> Self {
        self.jitter = jitter;
        self
    }
}
