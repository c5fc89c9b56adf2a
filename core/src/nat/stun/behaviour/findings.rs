//! What behaviour discovery found out about one address family, and how two families make one profile. Not here: the
//! rules themselves (`classify`).

use std::net::SocketAddr;

use super::classify::{self, Sample};
use crate::nat::profile::{Filtering, Mapping, NatProfile, PortAllocation};

/// The result for one address family.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Findings {
    /// Our endpoint as the internet sees it, of the socket that the plan reports.
    pub public: Option<SocketAddr>,
    /// Whether a NAT rewrites our address.
    pub translated: Option<bool>,
    /// Mapping behaviour.
    pub mapping: Option<Mapping>,
    /// Filtering behaviour.
    pub filtering: Option<Filtering>,
    /// Port allocation.
    pub allocation: Option<PortAllocation>,
    /// Whether our sockets reach each other by their public endpoints. `None` without NAT.
    pub hairpin: Option<bool>,
    /// Some server answered over UDP.
    pub udp_works: bool,
    /// Some server answered over TCP. Only asked when UDP stayed silent.
    pub tcp_works: bool,
    /// All that servers saw, in the order of the requests.
    pub samples: Vec<Sample>,
}

impl Findings {
    pub(super) fn new(
        samples: Vec<Sample>,
        mains: usize,
        filtering: Option<Filtering>,
        hairpin: Option<bool>,
        tcp_works: bool,
    ) -> Self {
        let trusted = classify::trusted(&samples);
        let reported = mains.saturating_sub(1);
        // Mappings of a port that was in use before are older than the series.
        let is_fresh = |sample: &&Sample| sample.socket == 0 || sample.socket >= mains;
        let fresh: Vec<Sample> = trusted.iter().filter(is_fresh).copied().collect();
        Self {
            public: classify::public(&trusted, reported).or_else(|| classify::public(&trusted, 0)),
            translated: classify::translated(&trusted),
            mapping: classify::mapping(&trusted),
            filtering,
            allocation: classify::allocation(&fresh),
            hairpin,
            udp_works: !samples.is_empty(),
            tcp_works,
            samples,
        }
    }

    /// Whether UDP does not get out although the servers are there.
    pub const fn udp_blocked(&self) -> bool {
        self.tcp_works && !self.udp_works
    }
}

/// One profile of both families. `None` for a family that was not examined. UDP counts as blocked when it works in
/// neither.
pub fn profile(v4: Option<&Findings>, v6: Option<&Findings>) -> NatProfile {
    let mut profile = NatProfile::default();
    let udp_works = v4.into_iter().chain(v6).any(|findings| findings.udp_works);
    profile.udp_blocked = !udp_works && v4.into_iter().chain(v6).any(Findings::udp_blocked);
    if let Some(v4) = v4 {
        profile.public_v4 = v4.public;
        profile.translated = v4.translated;
        profile.mapping = v4.mapping;
        profile.filtering = v4.filtering;
        profile.allocation = v4.allocation;
        profile.hairpin = v4.hairpin;
    }
    if let Some(v6) = v6 {
        profile.public_v6 = v6.public;
        profile.filtering_v6 = v6.filtering;
    }
    profile
}
