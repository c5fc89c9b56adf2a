//! What kind of NAT stands before us: the vocabulary of RFC 4787 and RFC 5780. Not here: how it is found out (`stun`).

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Which destinations share one external endpoint (RFC 4787 section 4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mapping {
    /// One external endpoint for all destinations; also when there is no NAT.
    EndpointIndependent,
    /// One per destination address.
    AddressDependent,
    /// One per destination address and port: a "symmetric" NAT.
    AddressAndPortDependent,
}

/// Who may send to an external endpoint (RFC 4787 section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Filtering {
    /// Anyone: "full cone", or no filter.
    EndpointIndependent,
    /// Addresses we have sent to.
    AddressDependent,
    /// Addresses and ports we have sent to.
    AddressAndPortDependent,
}

/// How external ports are chosen (RFC 4787 section 4.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum PortAllocation {
    /// The external port is the internal one.
    Preserving,
    /// Each new mapping takes the last one's port plus a step, which may be negative.
    Sequential {
        /// Ports from one mapping to the next.
        step: i16,
    },
    /// Ports come from one contiguous block, in no order that we can tell.
    Block {
        /// Lowest port seen.
        first: u16,
        /// Size of the smallest aligned power-of-two block that holds all ports seen.
        size: u16,
    },
    /// No pattern.
    Random,
}

/// What is known about the way from us to the internet. `None` is "not measured" or "could not be told".
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NatProfile {
    /// Our IPv4 endpoint as the internet sees it.
    pub public_v4: Option<SocketAddr>,
    /// Our IPv6 endpoint as the internet sees it.
    pub public_v6: Option<SocketAddr>,
    /// Whether a NAT translates our IPv4 address.
    pub translated: Option<bool>,
    /// Mapping behaviour (IPv4).
    pub mapping: Option<Mapping>,
    /// Filtering behaviour (IPv4).
    pub filtering: Option<Filtering>,
    /// Port allocation (IPv4).
    pub allocation: Option<PortAllocation>,
    /// Whether two hosts behind the NAT reach each other by its public address.
    pub hairpin: Option<bool>,
    /// At least so long an idle UDP mapping lives, in milliseconds.
    pub lifetime_ms: Option<u64>,
    /// Whether UDP does not get out at all while TCP does.
    pub udp_blocked: bool,
    /// Filtering of a stateful firewall in front of our IPv6 address.
    pub filtering_v6: Option<Filtering>,
    /// External address that the nearest router reports (port mapping), if it differs from `public_v4` there is a
    /// second NAT behind it.
    pub router_external: Option<IpAddr>,
}

impl NatProfile {
    /// Whether new destinations get new ports, so that what one server sees is useless for another.
    pub fn is_symmetric(&self) -> bool {
        self.mapping.is_some_and(|mapping| mapping != Mapping::EndpointIndependent)
    }

    /// Whether the nearest router's own external address is not the public one: a second NAT follows.
    pub fn is_double(&self) -> Option<bool> {
        Some(self.router_external? != self.public_v4?.ip())
    }

    /// The idle lifetime of UDP mappings, if measured.
    pub fn lifetime(&self) -> Option<Duration> {
        self.lifetime_ms.map(Duration::from_millis)
    }

    /// The traditional name of the type (RFC 3489), for people.
    pub fn name(&self) -> &'static str {
        use Filtering as F;
        use Mapping as M;
        if self.udp_blocked {
            return "udp-blocked";
        }
        match (self.translated, self.mapping, self.filtering) {
            (Some(false), _, Some(F::EndpointIndependent)) => "public",
            (Some(false), _, Some(_)) => "firewall",
            (Some(false), ..) => "untranslated",
            (_, Some(M::EndpointIndependent), Some(F::EndpointIndependent)) => "full-cone",
            (_, Some(M::EndpointIndependent), Some(F::AddressDependent)) => "address-restricted",
            (_, Some(M::EndpointIndependent), Some(F::AddressAndPortDependent)) => "port-restricted",
            (_, Some(M::EndpointIndependent), None) => "cone",
            (_, Some(M::AddressDependent | M::AddressAndPortDependent), _) => "symmetric",
            (_, None, _) => "unknown",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_have_their_traditional_names() {
        let profile = |translated, mapping, filtering| NatProfile {
            translated: Some(translated),
            mapping: Some(mapping),
            filtering: Some(filtering),
            ..NatProfile::default()
        };
        let open = profile(false, Mapping::EndpointIndependent, Filtering::EndpointIndependent);
        assert_eq!((open.name(), open.is_symmetric()), ("public", false));
        let strict = profile(true, Mapping::EndpointIndependent, Filtering::AddressAndPortDependent);
        assert_eq!(strict.name(), "port-restricted");
        let hard = profile(true, Mapping::AddressAndPortDependent, Filtering::AddressAndPortDependent);
        assert_eq!((hard.name(), hard.is_symmetric()), ("symmetric", true));
        assert_eq!(NatProfile::default().name(), "unknown");
        assert_eq!(NatProfile { udp_blocked: true, ..hard }.name(), "udp-blocked");
    }

    #[test]
    fn a_second_nat_shows_by_the_routers_address() {
        let mut profile = NatProfile { public_v4: "203.0.113.5:9".parse().ok(), ..NatProfile::default() };
        assert_eq!(profile.is_double(), None);
        profile.router_external = "100.64.1.2".parse().ok();
        assert_eq!(profile.is_double(), Some(true));
        profile.router_external = "203.0.113.5".parse().ok();
        assert_eq!(profile.is_double(), Some(false));
    }
}
