//! What can work between two NATs, by their mapping and filtering (RFC 4787; the cells were measured with real NATs).
//! "Unknown" always means "try". Pure functions. Not here: in which order things are tried (`plan`).

use crate::nat::profile::{Filtering, Mapping, NatProfile, PortAllocation};
use crate::nat::report::Skip;

/// How ports are guessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Technique {
    /// The next ports follow from the last ones.
    Prediction,
    /// Our NAT is the random one: we open many sockets towards the peer's one port.
    ManySockets,
    /// The peer's NAT is the random one: it opens many sockets, we probe many of its ports.
    ManyPorts,
    /// Too little is known: whatever the exchange with the peer shows to be right.
    Explore,
}

/// What two profiles say about a way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It works.
    Certain,
    /// It may.
    Possible,
    /// It does not, and why.
    Never(Skip),
}

/// Plain UDP punching over IPv4: both send to the endpoint that a server saw of the other, and answer to where a
/// packet came from.
pub fn udp_punch(ours: &NatProfile, theirs: &NatProfile) -> Verdict {
    if ours.udp_blocked || theirs.udp_blocked {
        return Verdict::Never(Skip::UdpBlocked);
    }
    if let Some(verdict) = behind_one_address(ours, theirs) {
        return verdict;
    }
    match (gets_through(ours, theirs), gets_through(theirs, ours)) {
        (Some(true), _) | (_, Some(true)) => Verdict::Certain,
        (Some(false), Some(false)) => Verdict::Never(Skip::Symmetric),
        _ => Verdict::Possible,
    }
}

/// UDP punching with guessed ports, and the technique.
pub fn advanced_punch(ours: &NatProfile, theirs: &NatProfile) -> Result<Technique, Skip> {
    match udp_punch(ours, theirs) {
        Verdict::Certain => return Err(Skip::NotNeeded),
        // Guessing solves unsteady ports, nothing else.
        Verdict::Never(skip) if skip != Skip::Symmetric => return Err(skip),
        Verdict::Possible | Verdict::Never(_) => {}
    }
    let (Some(our_mapping), Some(their_mapping)) = (ours.mapping, theirs.mapping) else {
        return Ok(Technique::Explore);
    };
    let hard = |mapping| mapping != Mapping::EndpointIndependent;
    match (hard(our_mapping), hard(their_mapping)) {
        (true, true) => match (predictable(ours), predictable(theirs)) {
            (Some(true), Some(true)) => Ok(Technique::Prediction),
            (Some(false), _) | (_, Some(false)) => Err(Skip::Unpredictable),
            _ => Ok(Technique::Explore),
        },
        (true, false) => Ok(one_sided(ours, Technique::ManySockets)),
        (false, true) => Ok(one_sided(theirs, Technique::ManyPorts)),
        // Both steady, a filter unknown: guessing ports does not help, but the exchange may show another mapping.
        (false, false) => Err(Skip::NotNeeded),
    }
}

/// TCP punching over IPv4: both listen and connect on the port that a server saw. NATs map TCP as they map UDP, as far
/// as measured, so the UDP profile is taken for it.
pub fn tcp_punch(ours: &NatProfile, theirs: &NatProfile) -> Verdict {
    if let Some(verdict) = behind_one_address(ours, theirs) {
        return verdict;
    }
    // Also with changing ports: the one that a server saw stays open.
    let open = |profile: &NatProfile| profile.filtering == Some(Filtering::EndpointIndependent);
    if open(ours) || open(theirs) {
        return Verdict::Certain;
    }
    let steady = |profile: &NatProfile| profile.mapping == Some(Mapping::EndpointIndependent);
    let may_be_open = |profile: &NatProfile| steady(profile) && profile.filtering.is_none();
    match (ours.mapping, theirs.mapping) {
        _ if steady(ours) && steady(theirs) => Verdict::Certain,
        (Some(_), Some(_)) if !may_be_open(ours) && !may_be_open(theirs) => Verdict::Never(Skip::Symmetric),
        _ => Verdict::Possible,
    }
}

/// Who has to send the first packet that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialler {
    /// We.
    Us,
    /// The peer.
    Them,
}

/// Which side reaches the endpoint over IPv4 that a server saw of the other, once the other one has sent a packet to
/// the endpoint that a server saw of it. `None` where that is not certain.
pub fn who_dials(ours: &NatProfile, theirs: &NatProfile) -> Option<Dialler> {
    if ours.udp_blocked || theirs.udp_blocked || behind_one_address(ours, theirs).is_some() {
        return None;
    }
    match (gets_through(ours, theirs), gets_through(theirs, ours)) {
        (Some(true), _) => Some(Dialler::Us),
        (_, Some(true)) => Some(Dialler::Them),
        _ => None,
    }
}

/// Both behind one public address: only a NAT that leads back inside helps, and that one asks for no more.
fn behind_one_address(ours: &NatProfile, theirs: &NatProfile) -> Option<Verdict> {
    let (ours_v4, theirs_v4) = (ours.public_v4?, theirs.public_v4?);
    if ours_v4.ip() != theirs_v4.ip() {
        return None;
    }
    match ours.hairpin.or(theirs.hairpin) {
        Some(false) => Some(Verdict::Never(Skip::NoHairpin)),
        Some(true) | None => Some(Verdict::Possible),
    }
}

/// Whether packets of `from` reach the endpoint of `to` that a server saw, after `to` has sent to the endpoint of
/// `from` that a server saw.
fn gets_through(from: &NatProfile, to: &NatProfile) -> Option<bool> {
    use Filtering as F;
    use Mapping as M;
    match (to.mapping, to.filtering) {
        // Open to all: also with changing ports, the seen one stays.
        (_, Some(F::EndpointIndependent)) | (Some(M::EndpointIndependent), Some(F::AddressDependent)) => Some(true),
        (Some(M::EndpointIndependent), filtering) => match (from.mapping, filtering) {
            (Some(M::EndpointIndependent), _) => Some(true),
            (Some(_), Some(_)) => Some(false),
            _ => None,
        },
        // What `to` sent left by another port than the one seen.
        (Some(_), Some(_)) => Some(false),
        (Some(_) | None, _) => None,
    }
}

/// Whether the next ports of a hard NAT follow from earlier ones.
fn predictable(profile: &NatProfile) -> Option<bool> {
    match profile.allocation? {
        PortAllocation::Sequential { .. } | PortAllocation::Preserving => Some(true),
        PortAllocation::Random => Some(false),
        // A counter with flows of others in between looks like a block: the exchange shows which it is.
        PortAllocation::Block { .. } => None,
    }
}

fn one_sided(hard: &NatProfile, birthday: Technique) -> Technique {
    match predictable(hard) {
        Some(true) => Technique::Prediction,
        Some(false) => birthday,
        None => Technique::Explore,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The measured types of `udp_punch`'s table, in its order.
    const TYPES: [(&str, Mapping, Filtering); 8] = {
        use Filtering as F;
        use Mapping as M;
        [
            ("public", M::EndpointIndependent, F::EndpointIndependent),
            ("full-cone", M::EndpointIndependent, F::EndpointIndependent),
            ("addr-restricted", M::EndpointIndependent, F::AddressDependent),
            ("port-restricted", M::EndpointIndependent, F::AddressAndPortDependent),
            ("symmetric", M::AddressAndPortDependent, F::AddressAndPortDependent),
            ("symmetric-seq", M::AddressAndPortDependent, F::AddressAndPortDependent),
            ("symmetric-eif", M::AddressAndPortDependent, F::EndpointIndependent),
            ("addr-dep-map", M::AddressDependent, F::AddressAndPortDependent),
        ]
    };

    fn profile(number: usize) -> NatProfile {
        let (name, mapping, filtering) = TYPES[number];
        let allocation = match name {
            "symmetric-seq" => PortAllocation::Sequential { step: 1 },
            "symmetric" | "symmetric-eif" | "addr-dep-map" => PortAllocation::Random,
            _ => PortAllocation::Preserving,
        };
        NatProfile {
            mapping: Some(mapping),
            filtering: Some(filtering),
            allocation: Some(allocation),
            ..NatProfile::default()
        }
    }

    #[test]
    fn punching_agrees_with_the_measured_table() {
        // '+' works, '-' does not. Rows and columns as in TYPES.
        let measured = ["++++++++", "++++++++", "++++++++", "++++--+-", "+++---+-", "+++---+-", "++++++++", "+++---+-"];
        for (row, line) in measured.iter().enumerate() {
            for (column, cell) in line.chars().enumerate() {
                let verdict = udp_punch(&profile(row), &profile(column));
                let expected = if cell == '+' { Verdict::Certain } else { Verdict::Never(Skip::Symmetric) };
                assert_eq!(verdict, expected, "{} x {}", TYPES[row].0, TYPES[column].0);
            }
        }
    }

    #[test]
    fn guessing_is_chosen_by_the_hard_side() {
        let [port, symmetric, sequential, open] = [3, 4, 5, 6].map(profile);
        assert_eq!(advanced_punch(&port, &symmetric), Ok(Technique::ManyPorts));
        assert_eq!(advanced_punch(&symmetric, &port), Ok(Technique::ManySockets));
        assert_eq!(advanced_punch(&sequential, &port), Ok(Technique::Prediction));
        assert_eq!(advanced_punch(&sequential, &sequential), Ok(Technique::Prediction));
        assert_eq!(advanced_punch(&sequential, &symmetric), Err(Skip::Unpredictable));
        assert_eq!(advanced_punch(&symmetric, &symmetric), Err(Skip::Unpredictable));
        assert_eq!(advanced_punch(&port, &port), Err(Skip::NotNeeded));
        assert_eq!(advanced_punch(&symmetric, &open), Err(Skip::NotNeeded));
        assert_eq!(advanced_punch(&symmetric, &NatProfile::default()), Ok(Technique::Explore));
    }

    #[test]
    fn tcp_needs_steady_ports_or_an_open_side() {
        let [public, port, symmetric] = [0, 3, 4].map(profile);
        assert_eq!(tcp_punch(&port, &port), Verdict::Certain);
        assert_eq!(tcp_punch(&symmetric, &public), Verdict::Certain);
        assert_eq!(tcp_punch(&profile(6), &symmetric), Verdict::Certain, "an open filter with changing ports");
        assert_eq!(tcp_punch(&symmetric, &port), Verdict::Never(Skip::Symmetric));
        assert_eq!(tcp_punch(&port, &NatProfile::default()), Verdict::Possible);
        assert_eq!(tcp_punch(&symmetric, &NatProfile::default()), Verdict::Possible);
    }

    #[test]
    fn one_shared_address_needs_a_hairpin() {
        let here = NatProfile { public_v4: "8.8.8.8:1".parse().ok(), ..profile(3) };
        let there = NatProfile { public_v4: "8.8.8.8:2".parse().ok(), ..profile(4) };
        assert_eq!(udp_punch(&here, &there), Verdict::Possible);
        let here = NatProfile { hairpin: Some(false), ..here };
        assert_eq!(udp_punch(&here, &there), Verdict::Never(Skip::NoHairpin));
        assert_eq!(tcp_punch(&here, &there), Verdict::Never(Skip::NoHairpin));
        assert_eq!(advanced_punch(&here, &there), Err(Skip::NoHairpin));
    }

    #[test]
    fn nothing_is_ruled_out_by_ignorance() {
        let unknown = NatProfile::default();
        for number in 0..TYPES.len() {
            for (one, other) in [(&profile(number), &unknown), (&unknown, &profile(number))] {
                assert!(!matches!(udp_punch(one, other), Verdict::Never(_)));
                assert!(!matches!(tcp_punch(one, other), Verdict::Never(_)));
            }
        }
    }
}
