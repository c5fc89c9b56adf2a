//! From what servers saw of our sockets to the kind of NAT: pure functions over samples. Not here: gathering the
//! samples (the machine in `mod.rs`).

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use crate::nat::profile::{Filtering, Mapping, PortAllocation};

/// Destinations that must have seen the same endpoint before a NAT is called endpoint-independent. Linux masquerade
/// keeps the port towards two of them and fails at the third when another host uses the same source port.
pub const MIN_DESTINATIONS: usize = 3;
/// Mappings needed to tell sequential from random allocation.
const MIN_SERIES: usize = 4;
/// Mappings needed to call a spread of ports a block; with fewer, chance puts random ports close together.
const MIN_BLOCK_SERIES: usize = 6;
/// Largest block told from random: the largest that carriers assign, with room.
const MAX_BLOCK_PORTS: u16 = 4096;
/// Largest step of a sequence: 256 is seen where a port counter runs in the wrong byte order.
const MAX_STEP: i32 = 512;
/// Ports that other flows may take between two of our mappings, in steps.
const MAX_GAP: i32 = 8;

/// What one destination saw of one socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Which of our sockets.
    pub socket: usize,
    /// Its own address.
    pub local: SocketAddr,
    /// Which operator answered; all addresses of one server count as one witness.
    pub operator: usize,
    /// Where the request went.
    pub destination: SocketAddr,
    /// What it saw.
    pub mapped: SocketAddr,
}

/// Leaves out operators that see us at another IP address than most do: they lie, or see another line of ours. Without
/// a majority of at least two, everybody is believed.
pub fn trusted(samples: &[Sample]) -> Vec<Sample> {
    let mut witnesses: BTreeMap<IpAddr, BTreeSet<usize>> = BTreeMap::new();
    for sample in samples {
        witnesses.entry(sample.mapped.ip()).or_default().insert(sample.operator);
    }
    let operators: BTreeSet<usize> = samples.iter().map(|sample| sample.operator).collect();
    let majority = witnesses.iter().find(|(_, seen)| seen.len() >= 2 && 2 * seen.len() > operators.len());
    let believed = |sample: &&Sample| majority.is_none_or(|(ip, _)| sample.mapped.ip() == *ip);
    samples.iter().filter(believed).copied().collect()
}

/// Our public endpoint: what most destinations saw of the given socket; the earliest among equals.
pub fn public(samples: &[Sample], socket: usize) -> Option<SocketAddr> {
    let seen: Vec<SocketAddr> = samples.iter().filter(|s| s.socket == socket).map(|s| s.mapped).collect();
    let votes = |endpoint: &SocketAddr| seen.iter().filter(|other| *other == endpoint).count();
    let most = seen.iter().map(votes).max()?;
    seen.iter().find(|endpoint| votes(endpoint) == most).copied()
}

/// Whether a NAT rewrites our address.
pub fn translated(samples: &[Sample]) -> Option<bool> {
    if samples.is_empty() {
        return None;
    }
    Some(samples.iter().any(|sample| sample.mapped != sample.local))
}

/// Mapping behaviour. Endpoint-independent only if no socket was seen at two endpoints and one was seen by enough
/// destinations. Where it depends on the destination but no two ports of one address were asked, the harder kind is
/// assumed.
pub fn mapping(samples: &[Sample]) -> Option<Mapping> {
    if translated(samples)? {
        let mut sockets: BTreeMap<usize, Vec<&Sample>> = BTreeMap::new();
        for sample in samples {
            sockets.entry(sample.socket).or_default().push(sample);
        }
        let pairs = || {
            sockets.values().flat_map(|seen| {
                seen.iter().enumerate().flat_map(|(at, one)| seen[at + 1..].iter().map(move |other| (*one, *other)))
            })
        };
        if pairs().all(|(one, other)| one.mapped == other.mapped) {
            let enough = sockets.values().any(|seen| {
                let destinations: BTreeSet<_> = seen.iter().map(|sample| sample.destination).collect();
                let hosts: BTreeSet<_> = destinations.iter().map(SocketAddr::ip).collect();
                destinations.len() >= MIN_DESTINATIONS && hosts.len() >= 2
            });
            return enough.then_some(Mapping::EndpointIndependent);
        }
        let mut same_host = pairs().filter(|(one, other)| {
            one.destination.ip() == other.destination.ip() && one.destination != other.destination
        });
        let mut any = false;
        let by_address = same_host.all(|(one, other)| {
            any = true;
            one.mapped == other.mapped
        });
        return Some(if any && by_address { Mapping::AddressDependent } else { Mapping::AddressAndPortDependent });
    }
    Some(Mapping::EndpointIndependent)
}

/// How external ports are chosen, from samples in the order in which their requests were first sent.
pub fn allocation(samples: &[Sample]) -> Option<PortAllocation> {
    let mut seen = BTreeSet::new();
    let (ours, ports): (Vec<u16>, Vec<u16>) = samples
        .iter()
        .filter(|sample| seen.insert((sample.socket, sample.mapped)))
        .map(|sample| (sample.local.port(), sample.mapped.port()))
        .unzip();
    let kept = ours.iter().zip(&ports).filter(|(ours, port)| ours == port).count();
    if ports.len() >= 2 && 2 * kept > ports.len() {
        return Some(PortAllocation::Preserving);
    }
    if ports.len() < MIN_SERIES {
        return None;
    }
    if let Some(step) = step(&ports) {
        return Some(PortAllocation::Sequential { step });
    }
    let (lowest, highest) = (*ports.iter().min()?, *ports.iter().max()?);
    let size = block_size(lowest, highest);
    if size > u32::from(MAX_BLOCK_PORTS) {
        return Some(PortAllocation::Random);
    }
    let size = size as u16;
    (ports.len() >= MIN_BLOCK_SERIES).then_some(PortAllocation::Block { first: lowest / size * size, size })
}

/// The step of a sequence with gaps: the jump of which all others are small multiples. One may be anything, where the
/// range of the NAT starts again. In a random series of this length that does not happen by chance.
fn step(ports: &[u16]) -> Option<i16> {
    let jumps: Vec<i32> = ports.windows(2).map(|pair| i32::from(pair[1].wrapping_sub(pair[0]) as i16)).collect();
    let fitting = |step: i32| {
        let fits = |jump: &&i32| *jump % step == 0 && (1..=MAX_GAP).contains(&(*jump / step));
        jumps.iter().filter(fits).count()
    };
    let possible = |step: &i32| *step != 0 && step.abs() <= MAX_STEP;
    let step = jumps.iter().copied().filter(possible).max_by_key(|step| (fitting(*step), step.abs()))?;
    let exactly = jumps.iter().filter(|jump| **jump == step).count();
    let strays = jumps.len() - fitting(step);
    (strays <= usize::from(jumps.len() >= MIN_SERIES) && 4 * exactly >= jumps.len()).then_some(step as i16)
}

/// Size of the smallest aligned power-of-two block with both ports.
fn block_size(lowest: u16, highest: u16) -> u32 {
    let differing = u16::BITS - (lowest ^ highest).leading_zeros();
    1 << differing
}

/// What became of the filtering tests at one server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FilterTests {
    /// The same socket reached the server itself.
    pub control: bool,
    /// The server's other address and other port answer when asked directly.
    pub other_address_answers: bool,
    /// Its other port at the same address answers when asked directly.
    pub other_port_answers: bool,
    /// An answer came from the address and port we never sent to (RFC 5780 test II).
    pub from_other_address: bool,
    /// An answer came from the port we never sent to (test III).
    pub from_other_port: bool,
    /// The server answered from its usual address or with an error: it does not do these tests.
    pub refused: bool,
}

/// Filtering behaviour, if the tests tell. Silence only counts when the server could have been heard.
pub fn filtering(tests: FilterTests) -> Option<Filtering> {
    if tests.from_other_address {
        return Some(Filtering::EndpointIndependent);
    }
    if tests.refused || !tests.control || !tests.other_address_answers {
        return None;
    }
    if tests.from_other_port {
        return Some(Filtering::AddressDependent);
    }
    tests.other_port_answers.then_some(Filtering::AddressAndPortDependent)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(ports: &[u16]) -> Vec<Sample> {
        let sample = |(socket, port): (usize, &u16)| Sample {
            socket,
            local: SocketAddr::from(([192, 168, 1, 2], 40_000 + socket as u16)),
            operator: 0,
            destination: SocketAddr::from(([198, 51, 100, 1], 3478)),
            mapped: SocketAddr::from(([203, 0, 113, 1], *port)),
        };
        ports.iter().enumerate().map(sample).collect()
    }

    fn seen(operator: usize, host: u8, port: u16, mapped: (u8, u16)) -> Sample {
        Sample {
            socket: 0,
            local: SocketAddr::from(([192, 168, 1, 2], 4000)),
            operator,
            destination: SocketAddr::from(([198, 51, 100, host], port)),
            mapped: SocketAddr::from(([203, 0, 113, mapped.0], mapped.1)),
        }
    }

    #[test]
    fn two_destinations_do_not_make_a_nat_endpoint_independent() {
        let same = [seen(0, 1, 1, (1, 4000)), seen(0, 2, 1, (1, 4000)), seen(0, 1, 2, (1, 4000))];
        assert_eq!(mapping(&same[..2]), None);
        assert_eq!(mapping(&same), Some(Mapping::EndpointIndependent));
        // A clash of source ports behind Linux masquerade: kept, kept, another one.
        let clash = [same[0], same[1], seen(1, 3, 1, (1, 50_123))];
        assert_eq!(mapping(&clash), Some(Mapping::AddressAndPortDependent));
        let by_address = [same[0], same[2], seen(0, 2, 1, (1, 777))];
        assert_eq!(mapping(&by_address), Some(Mapping::AddressDependent));
        let by_port = [same[0], seen(0, 1, 2, (1, 778)), seen(0, 2, 1, (1, 777))];
        assert_eq!(mapping(&by_port), Some(Mapping::AddressAndPortDependent));
    }

    #[test]
    fn a_lying_server_is_outvoted() {
        let honest = [seen(0, 1, 1, (1, 4000)), seen(1, 2, 1, (1, 4000))];
        let liar = seen(2, 3, 1, (9, 4000));
        let all = [liar, honest[0], honest[1]];
        assert_eq!(trusted(&all), honest);
        assert_eq!(public(&trusted(&all), 0), Some(honest[0].mapped));
        // One witness against one: nobody can tell, the first is kept.
        assert_eq!(trusted(&all[..2]), all[..2]);
        // Many addresses of one liar are one witness.
        let crowd = [liar, seen(2, 4, 1, (9, 4000)), seen(2, 5, 1, (9, 4000)), honest[0], honest[1]];
        assert_eq!(trusted(&crowd), honest);
    }

    #[test]
    fn sequences_with_gaps_and_a_wrap_are_told_from_blocks_and_chance() {
        let allocation = |ports: &[u16]| allocation(&series(ports));
        assert_eq!(allocation(&[40_000, 40_001, 40_002, 50_000]), Some(PortAllocation::Preserving));
        assert_eq!(allocation(&[30_000, 30_001, 30_002, 30_003]), Some(PortAllocation::Sequential { step: 1 }));
        assert_eq!(allocation(&[30_000, 30_001, 30_004, 30_005]), Some(PortAllocation::Sequential { step: 1 }));
        assert_eq!(allocation(&[30_006, 30_004, 30_002, 30_000]), Some(PortAllocation::Sequential { step: -2 }));
        let busy = [30_000, 29_999, 29_997, 29_995, 29_993, 29_992, 29_990];
        assert_eq!(allocation(&busy), Some(PortAllocation::Sequential { step: -1 }));
        // Half a turn and back: the widest jump there is.
        assert_eq!(allocation(&[10, 9, 32_777, 9, 32_777, 8]), Some(PortAllocation::Random));
        let wrapped = [34_094, 34_095, 30_000, 30_001, 30_002];
        assert_eq!(allocation(&wrapped), Some(PortAllocation::Sequential { step: 1 }));
        assert_eq!(allocation(&[65_534, 65_535, 0, 1]), Some(PortAllocation::Sequential { step: 1 }));
        let block = [5126, 5130, 5121, 5300, 5122, 5200];
        assert_eq!(allocation(&block), Some(PortAllocation::Block { first: 5120, size: 256 }));
        assert_eq!(allocation(&block[..4]), None);
        assert_eq!(allocation(&[1024, 60_000, 33_000, 2000]), Some(PortAllocation::Random));
        assert_eq!(allocation(&[1024, 60_000, 33_000]), None);
        assert_eq!(allocation(&[]), None);
    }

    #[test]
    fn silence_counts_only_when_the_server_could_be_heard() {
        let heard = FilterTests {
            control: true,
            other_address_answers: true,
            other_port_answers: true,
            ..FilterTests::default()
        };
        assert_eq!(filtering(heard), Some(Filtering::AddressAndPortDependent));
        let port = FilterTests { from_other_port: true, ..heard };
        assert_eq!(filtering(port), Some(Filtering::AddressDependent));
        assert_eq!(filtering(FilterTests { from_other_address: true, ..heard }), Some(Filtering::EndpointIndependent));
        assert_eq!(filtering(FilterTests { other_address_answers: false, ..port }), None);
        assert_eq!(filtering(FilterTests { control: false, ..heard }), None);
        assert_eq!(filtering(FilterTests { other_port_answers: false, ..heard }), None);
        assert_eq!(filtering(FilterTests { refused: true, ..heard }), None);
    }
}
