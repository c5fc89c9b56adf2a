//! What two sides can do as soon as each has heard where a server sees the other: one dials, the other lets it in. No
//! round of hole punching is needed where packets get through by what both profiles say. Pure. Not here: what works by
//! longer work (`plan`).

use std::net::SocketAddr;

use super::theory::{Dialler, who_dials};
use crate::nat::policy::{Origin, Policy};
use crate::nat::profile::NatProfile;

/// What a side does at once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opening {
    /// Endpoints of the peer to dial, best first.
    pub dial: Vec<SocketAddr>,
    /// Endpoints of the peer that our NAT has to let in.
    pub open: Vec<SocketAddr>,
    /// Endpoints of ours that the peer is asked to dial after that.
    pub ask: Vec<SocketAddr>,
}

impl Opening {
    /// For the side that asked.
    pub fn of_asker(ours: &NatProfile, theirs: &NatProfile, ipv6: bool, policy: &Policy) -> Self {
        let mut opening = Self::default();
        for (us, them, dialler) in pairs(ours, theirs, ipv6, policy) {
            match dialler {
                Dialler::Us => opening.dial.push(them),
                Dialler::Them => {
                    opening.open.push(them);
                    opening.ask.push(us);
                }
            }
        }
        opening
    }

    /// For the side that answered: it lets in whom the asker's own look at both profiles makes dial.
    pub fn of_answerer(ours: &NatProfile, theirs: &NatProfile, ipv6: bool, policy: &Policy) -> Self {
        let dials = |(us, them, _): &(SocketAddr, SocketAddr, Dialler)| {
            us.is_ipv6() || (them.is_ipv4() && who_dials(theirs, ours) == Some(Dialler::Us))
        };
        let open = pairs(ours, theirs, ipv6, policy).into_iter().filter(dials).map(|(_, them, _)| them).collect();
        Self { open, ..Self::default() }
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.dial.is_empty() && self.ask.is_empty() && self.open.is_empty()
    }
}

/// The endpoints of both sides by family, where one of them can dial the other's. IPv6 first: it is not translated.
fn pairs(
    ours: &NatProfile,
    theirs: &NatProfile,
    ipv6: bool,
    policy: &Policy,
) -> Vec<(SocketAddr, SocketAddr, Dialler)> {
    let v6 = ours.public_v6.zip(theirs.public_v6).filter(|_| ipv6).map(|(us, them)| (us, them, Dialler::Us));
    let v4 = ours.public_v4.zip(theirs.public_v4);
    let v4 = v4.zip(who_dials(ours, theirs)).map(|((us, them), dialler)| (us, them, dialler));
    let blocked = ours.udp_blocked || theirs.udp_blocked;
    let allowed = |pair: &(SocketAddr, SocketAddr, Dialler)| policy.check(pair.1, Origin::Remote).is_ok();
    v6.into_iter().chain(v4).filter(|_| !blocked).filter(allowed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nat::profile::{Filtering, Mapping};

    fn profile(mapping: Mapping, filtering: Filtering, at: &str) -> NatProfile {
        NatProfile {
            mapping: Some(mapping),
            filtering: Some(filtering),
            public_v4: at.parse().ok(),
            ..NatProfile::default()
        }
    }

    fn restricted(at: &str) -> NatProfile {
        profile(Mapping::EndpointIndependent, Filtering::AddressAndPortDependent, at)
    }

    fn at(text: &str) -> Vec<SocketAddr> {
        vec![text.parse().expect("valid")]
    }

    const HERE: &str = "8.8.8.8:1";
    const THERE: &str = "9.9.9.9:2";

    #[test]
    fn the_asker_dials_and_the_answerer_lets_it_in() {
        let (ours, theirs, policy) = (restricted(HERE), restricted(THERE), Policy::default());
        let asker = Opening::of_asker(&ours, &theirs, false, &policy);
        assert_eq!(asker, Opening { dial: at(THERE), ..Opening::default() });
        let answerer = Opening::of_answerer(&theirs, &ours, false, &policy);
        assert_eq!(answerer, Opening { open: at(HERE), ..Opening::default() });
    }

    #[test]
    fn a_side_with_an_open_filter_is_dialled() {
        let open = profile(Mapping::AddressAndPortDependent, Filtering::EndpointIndependent, HERE);
        let (strict, policy) = (restricted(THERE), Policy::default());
        let asker = Opening::of_asker(&open, &strict, false, &policy);
        assert_eq!(asker, Opening { open: at(THERE), ask: at(HERE), ..Opening::default() });
        assert!(Opening::of_answerer(&strict, &open, false, &policy).is_empty(), "it is asked to dial back");
        assert_eq!(Opening::of_asker(&strict, &open, false, &policy).dial, at(HERE));
    }

    #[test]
    fn hard_pairs_unknown_ones_and_neighbours_are_left_to_others() {
        let hard = profile(Mapping::AddressAndPortDependent, Filtering::AddressAndPortDependent, HERE);
        let policy = Policy::default();
        let strict = restricted(THERE);
        let unknown = NatProfile { public_v4: HERE.parse().ok(), ..NatProfile::default() };
        let blocked = NatProfile { udp_blocked: true, ..restricted(HERE) };
        let neighbour = restricted("9.9.9.9:7");
        for ours in [&hard, &unknown, &blocked, &neighbour, &NatProfile::default()] {
            assert!(Opening::of_asker(ours, &strict, true, &policy).is_empty(), "{ours:?}");
            assert!(Opening::of_asker(&strict, ours, true, &policy).is_empty(), "{ours:?}");
            assert!(Opening::of_answerer(&strict, ours, true, &policy).is_empty(), "{ours:?}");
        }
    }

    #[test]
    fn addresses_that_strangers_may_not_name_are_left_out() {
        let inside = restricted("192.168.1.1:5");
        assert!(Opening::of_asker(&restricted(HERE), &inside, false, &Policy::default()).is_empty());
    }

    #[test]
    fn ipv6_needs_no_look_at_the_nats() {
        let both = |v4: &str, v6: &str| NatProfile {
            public_v6: v6.parse().ok(),
            ..profile(Mapping::AddressAndPortDependent, Filtering::AddressAndPortDependent, v4)
        };
        let (ours, theirs) = (both(HERE, "[2606::1]:1"), both(THERE, "[2606::2]:2"));
        let policy = Policy::default();
        assert_eq!(Opening::of_asker(&ours, &theirs, true, &policy).dial, at("[2606::2]:2"));
        assert_eq!(Opening::of_answerer(&theirs, &ours, true, &policy).open, at("[2606::1]:1"));
        assert!(Opening::of_asker(&ours, &theirs, false, &policy).is_empty());
    }
}
