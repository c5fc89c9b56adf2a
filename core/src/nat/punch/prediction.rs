//! Which external ports a NAT will hand out next, judged from those it handed out last. Pure.
//! Not here: how mappings are observed (`stun`), and who probes the ports (`udp`).
//!
//! A prediction counts *allocations*: candidate 0 is the port of the next new mapping, candidate 1 of the one after.
//! Flows of other programs behind the same NAT take ports in between, so the true port is some candidate `e >= 0`.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use crate::base::limits;
use crate::base::time::Time;
use crate::nat::profile::PortAllocation;

/// One mapping as a server saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observation {
    /// When the request was sent.
    pub at: Time,
    /// Port of the socket that sent it.
    pub local_port: u16,
    /// The server's endpoint.
    pub destination: SocketAddr,
    /// The external endpoint that the server saw.
    pub external: SocketAddr,
}

/// The ports that one side tells the other to expect.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Forecast {
    /// Nothing to tell: either the observed endpoint serves for every destination, or the ports are random.
    #[default]
    None,
    /// These ports, the soonest first.
    Ports(Vec<u16>),
    /// Somewhere in this block.
    Block {
        /// Lowest port.
        first: u16,
        /// Number of ports.
        size: u16,
    },
}

/// What a series of observations says about the next mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// One external port for all destinations: nothing to predict.
    Stable,
    /// The external port is the internal one.
    Preserving,
    /// Step from one mapping to the next, and the last port seen.
    Sequential {
        /// Ports from one mapping to the next.
        step: i16,
        /// The last port handed out to us.
        last: u16,
        /// Mappings that others took between two of ours, per thousand.
        eaten: u32,
    },
    /// All ports lie in one small block, in no order.
    Block {
        /// Lowest port of the block.
        first: u16,
        /// Number of ports.
        size: u16,
    },
    /// No hope: the ports have no pattern.
    Random,
    /// Too few observations to tell.
    Unknown,
}

/// Largest distance of consecutive mappings that still counts as a sequence.
const MAX_STRIDE: i32 = 128;
/// Largest step of one allocation. Routers use 1 or 2, some a small power of two.
const MAX_STEP: i32 = 16;
/// Largest block of which three observations are evidence: three random ports share an aligned block of this size with
/// probability 1/4000.
const MAX_BLOCK: u16 = 1024;

/// Judges observations in time order; only the newest [`limits::PUNCH_OBSERVATIONS`] count.
pub fn judge(series: &[Observation]) -> Pattern {
    let series = &series[series.len().saturating_sub(limits::PUNCH_OBSERVATIONS)..];
    // A mapping seen again was made earlier: it says nothing about the next one.
    let mut fresh: Vec<&Observation> = Vec::new();
    let mut destinations = Vec::new();
    for seen in series {
        if !destinations.contains(&(seen.local_port, seen.destination)) {
            destinations.push((seen.local_port, seen.destination));
        }
        if !fresh.iter().any(|known| known.local_port == seen.local_port && known.external == seen.external) {
            fresh.push(seen);
        }
    }
    let Some(last) = fresh.last() else { return Pattern::Unknown };
    if series.iter().all(|seen| seen.external.port() == seen.local_port) {
        // One socket, one destination tells nothing about a second destination, but the guess is free.
        return if fresh.len() < destinations.len() { Pattern::Stable } else { Pattern::Preserving };
    }
    if fresh.len() < 2 {
        return if destinations.len() > 1 { Pattern::Stable } else { Pattern::Unknown };
    }
    let sockets: BTreeSet<u16> = fresh.iter().map(|seen| seen.local_port).collect();
    if destinations.len() > fresh.len() && fresh.len() == sockets.len() {
        return Pattern::Stable;
    }
    if let Some((step, eaten)) = sequence(&fresh) {
        return Pattern::Sequential { step, last: last.external.port(), eaten };
    }
    if fresh.len() >= 3 { block(&fresh).unwrap_or(Pattern::Random) } else { Pattern::Unknown }
}

/// The candidates to tell the peer, for a socket bound to `local_port`. `known` is what a full measurement of the NAT
/// said earlier; it decides where the series is too short to tell.
pub fn forecast(series: &[Observation], known: Option<PortAllocation>, local_port: u16) -> Forecast {
    let last = series.last().map(|seen| seen.external.port());
    match (judge(series), known, last) {
        (Pattern::Stable, ..) => Forecast::None,
        (Pattern::Sequential { step, last, eaten }, ..) => progression(last, step, window(eaten)),
        (Pattern::Unknown, Some(PortAllocation::Sequential { step }), Some(last)) if step != 0 => {
            progression(last, step, limits::PUNCH_WINDOW)
        }
        (Pattern::Preserving, ..) | (Pattern::Unknown, Some(PortAllocation::Preserving), _) => {
            Forecast::Ports(vec![local_port])
        }
        // A full measurement saw more ports than the few of today.
        (_, Some(PortAllocation::Block { first, size }), _) | (Pattern::Block { first, size }, ..) => {
            Forecast::Block { first, size }
        }
        (Pattern::Random | Pattern::Unknown, ..) => Forecast::None,
    }
}

/// How the NAT chooses ports, as far as a fresh series tells better than the full measurement: that one looks at many
/// flows at once, and with flows of others in between a counter looks like a block of ports.
pub fn allocation(series: &[Observation], known: Option<PortAllocation>) -> Option<PortAllocation> {
    match judge(series) {
        Pattern::Sequential { step, .. } => Some(PortAllocation::Sequential { step }),
        _ => known,
    }
}

/// In which order the two sides of a pair of *sequential* NATs probe each other's candidates, as indices.
///
/// Probe `i` of a side leaves from that side's own candidate `i + e`, where `e` mappings were eaten before. With
/// both in ascending order the probes never meet unless nothing was eaten. In opposite orders (ascending 0, 1, 2, …
/// against descending D, D-1, …) they meet where `D - 2j = e + f`: an odd window (even D) serves even sums of eaten
/// ports and an even window odd ones. So the descending side appends a second run, D+n-1 down to D+1, which serves
/// the odd sums with the same odd window of 2n-1 probes. Together they meet for every `e + f <= D`.
pub fn meeting_orders(candidates: usize) -> (Vec<usize>, Vec<usize>) {
    // The ascending side needs 4n - 3 candidates: D + f for the largest D and f, both 2 (n - 1).
    let half = candidates.min(limits::PUNCH_PORTS).div_ceil(4);
    if half == 0 {
        return (Vec::new(), Vec::new());
    }
    let top = 2 * (half - 1);
    let descending = (0..half).map(|index| top - index).chain((top + 1..top + half).rev()).collect();
    ((0..=2 * top).collect(), descending)
}

/// Chance that `probes` different ports of `range` hit one of `sockets` open ones.
pub fn birthday_chance(sockets: u16, probes: u16, range: u32) -> f64 {
    if range == 0 || sockets == 0 {
        return 0.0;
    }
    let miss = 1.0 - (f64::from(sockets) / f64::from(range)).min(1.0);
    1.0 - miss.powi(i32::from(probes))
}

/// The step of a sequence and the share of mappings that others took, per thousand of ours.
fn sequence(fresh: &[&Observation]) -> Option<(i16, u32)> {
    let ports = fresh.iter().map(|seen| i32::from(seen.external.port()));
    let all: Vec<i32> = ports.collect();
    let mut strides: Vec<i32> = all.windows(2).map(|pair| pair[1] - pair[0]).collect();
    // Once in a while the range of ports starts over.
    if strides.len() > 2 {
        let far = strides.iter().filter(|stride| stride.abs() > MAX_STRIDE).count();
        if far == 1 {
            strides.retain(|stride| stride.abs() <= MAX_STRIDE);
        }
    }
    let upward = strides.first().is_some_and(|stride| *stride > 0);
    // A single difference is weak evidence: random ports lie within 8 of each other once in 4000 times.
    let widest = if strides.len() == 1 { 8 } else { MAX_STRIDE };
    if strides.iter().any(|stride| *stride == 0 || (*stride > 0) != upward || stride.abs() > widest) {
        return None;
    }
    let step = strides.iter().fold(0, |step, stride| greatest_divisor(step, stride.abs()));
    // All flows of others would have to fall in the same way to make the divisor too large: take what is common.
    let step = if step > MAX_STEP { smallest_factor(step) } else { step };
    let taken: i32 = strides.iter().map(|stride| stride.abs() / step - 1).sum();
    let eaten = u32::try_from(taken).ok()?.saturating_mul(1000) / u32::try_from(strides.len()).ok()?;
    let step = if upward { step } else { -step };
    Some((i16::try_from(step).ok()?, eaten))
}

/// The smallest factor above 1 that is a plausible step, else 1.
fn smallest_factor(number: i32) -> i32 {
    (2..=MAX_STEP).find(|factor| number % factor == 0).unwrap_or(1)
}

fn greatest_divisor(one: i32, other: i32) -> i32 {
    if other == 0 { one } else { greatest_divisor(other, one % other) }
}

fn block(fresh: &[&Observation]) -> Option<Pattern> {
    let ports = || fresh.iter().map(|seen| seen.external.port());
    let (low, high) = (ports().min()?, ports().max()?);
    let mut size = 16;
    while low / size != high / size {
        size *= 2;
        if size > MAX_BLOCK {
            return None;
        }
    }
    Some(Pattern::Block { first: low - low % size, size })
}

/// Wider where others are busy: about three times of what they will take until our probes leave.
fn window(eaten: u32) -> usize {
    let more = usize::try_from(eaten).unwrap_or(usize::MAX).saturating_mul(12) / 1000;
    limits::PUNCH_WINDOW.saturating_add(more).min(limits::PUNCH_PORTS - 3)
}

/// `count` ports after `last`; ends where the numbers do.
fn progression(last: u16, step: i16, count: usize) -> Forecast {
    let ports = (1..=count as i32).map(|index| i32::from(last) + index * i32::from(step));
    let ports: Vec<u16> = ports.map_while(|port| u16::try_from(port).ok().filter(|port| *port >= 1024)).collect();
    if ports.is_empty() { Forecast::None } else { Forecast::Ports(ports) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::Jitter;

    fn series(local_port: u16, ports: &[u16]) -> Vec<Observation> {
        let seen = |(index, port): (usize, &u16)| Observation {
            at: Time::from_micros(index as u64 * 1000),
            local_port,
            destination: SocketAddr::from(([198, 51, 100, 1], 3478 + index as u16)),
            external: SocketAddr::from(([203, 0, 113, 1], *port)),
        };
        ports.iter().enumerate().map(seen).collect()
    }

    #[test]
    fn patterns_are_told_apart() {
        let judged = |ports: &[u16]| judge(&series(5000, ports));
        assert_eq!(judged(&[]), Pattern::Unknown);
        assert_eq!(judged(&[40_000]), Pattern::Unknown);
        assert_eq!(judged(&[40_000, 40_000]), Pattern::Stable);
        assert_eq!(judged(&[5000, 5000]), Pattern::Stable);
        assert_eq!(judged(&[5000]), Pattern::Preserving);
        assert_eq!(judged(&[30_000, 30_001, 30_002]), Pattern::Sequential { step: 1, last: 30_002, eaten: 0 });
        assert_eq!(judged(&[30_000, 30_002, 30_004]), Pattern::Sequential { step: 2, last: 30_004, eaten: 0 });
        assert_eq!(judged(&[30_004, 30_002, 30_000]), Pattern::Sequential { step: -2, last: 30_000, eaten: 0 });
        assert_eq!(judged(&[30_000, 30_001, 30_003]), Pattern::Sequential { step: 1, last: 30_003, eaten: 500 });
        assert_eq!(judged(&[40_960, 41_500, 41_100, 41_007]), Pattern::Block { first: 40_960, size: 1024 });
        assert_eq!(judged(&[40_960, 11_500, 51_100]), Pattern::Random);
        assert_eq!(judged(&[40_960, 11_500]), Pattern::Unknown);
        let wrapped = [34_093, 34_094, 34_095, 30_000, 30_001];
        assert_eq!(judged(&wrapped), Pattern::Sequential { step: 1, last: 30_001, eaten: 0 });
    }

    #[test]
    fn several_sockets_with_one_port_each_are_stable() {
        let mut both = series(5000, &[40_000, 40_000]);
        both.extend(series(5001, &[51_234, 51_234]));
        assert_eq!(judge(&both), Pattern::Stable);
        let mut kept = series(5000, &[5000]);
        kept.extend(series(5001, &[5001]));
        assert_eq!(judge(&kept), Pattern::Preserving);
    }

    #[test]
    fn random_ports_are_hardly_ever_taken_for_a_pattern() {
        let mut jitter = Jitter::from_seed(7);
        let mut wrong = 0;
        for _ in 0..10_000 {
            let ports: Vec<u16> = (0..3).map(|_| 1024 + jitter.below(64_512) as u16).collect();
            wrong += usize::from(judge(&series(5000, &ports)) != Pattern::Random);
        }
        assert!(wrong < 20, "{wrong} of 10000");
    }

    #[test]
    fn a_forecast_names_the_next_ports_or_nothing() {
        let next = forecast(&series(5000, &[30_000, 30_001, 30_002]), None, 5000);
        let Forecast::Ports(ports) = next else { panic!("{next:?}") };
        assert_eq!((ports[0], ports.len()), (30_003, limits::PUNCH_WINDOW));
        let Forecast::Ports(busy) = forecast(&series(5000, &[30_000, 30_004, 30_005]), None, 5000) else {
            panic!("a sequence")
        };
        assert!(busy.len() > ports.len(), "flows of others widen the window: {}", busy.len());
        let top = forecast(&series(5000, &[65_531, 65_532, 65_533]), None, 5000);
        assert_eq!(top, Forecast::Ports(vec![65_534, 65_535]));
        assert_eq!(forecast(&series(5000, &[9, 40_000, 20_000]), None, 5000), Forecast::None);
        assert_eq!(forecast(&series(5000, &[40_000, 40_000]), None, 5000), Forecast::None);
        let known = Some(PortAllocation::Sequential { step: 2 });
        let Forecast::Ports(ports) = forecast(&series(5000, &[30_000]), known, 5000) else { panic!("a sequence") };
        assert_eq!(ports[..2], [30_002, 30_004]);
        let block = Some(PortAllocation::Block { first: 4096, size: 512 });
        assert_eq!(forecast(&series(5, &[4100, 4500, 4300]), block, 5), Forecast::Block { first: 4096, size: 512 });
    }

    #[test]
    fn a_fresh_sequence_counts_more_than_an_older_measurement() {
        let block = Some(PortAllocation::Block { first: 30_016, size: 64 });
        let sequence = Some(PortAllocation::Sequential { step: 1 });
        assert_eq!(allocation(&series(5000, &[30_050, 30_051, 30_053]), block), sequence);
        assert_eq!(allocation(&series(5000, &[30_050, 30_020, 30_041]), block), block);
        assert_eq!(allocation(&[], sequence), sequence);
    }

    /// Whether two sequential NATs meet: `e` and `f` ports were eaten before the first and the second side's probes.
    fn meet(first: &[usize], second: &[usize], e: usize, f: usize) -> bool {
        // Probe i of the first side goes from its candidate i + e to the second side's candidate first[i].
        let reaches = |i: usize, j: usize| first[i] == j + f && second[j] == i + e;
        (0..first.len()).any(|i| (0..second.len()).any(|j| reaches(i, j)))
    }

    #[test]
    fn opposite_orders_meet_by_parity_and_both_runs_together_always() {
        let up: Vec<usize> = (0..9).collect();
        let (odd, even): (Vec<usize>, Vec<usize>) = ((0..9).rev().collect(), (0..8).rev().collect());
        assert!(!meet(&up, &up, 1, 1), "the same order never meets");
        assert!(meet(&up, &odd, 1, 1) && !meet(&up, &odd, 1, 0), "an odd window serves even sums");
        assert!(!meet(&up[..8], &even, 1, 1) && meet(&up[..8], &even, 1, 0), "an even window serves odd sums");
        let (first, second) = meeting_orders(limits::PUNCH_WINDOW);
        assert_eq!(second.len() % 2, 1);
        assert!(first.len() <= limits::PUNCH_WINDOW && second.iter().all(|index| *index < limits::PUNCH_WINDOW));
        for e in 0..=8 {
            for f in 0..=8 - e {
                assert!(meet(&first, &second, e, f), "{e} and {f} ports eaten");
            }
        }
    }

    #[test]
    fn meeting_orders_stay_within_any_window_and_repeat_nothing() {
        for candidates in 0..=limits::PUNCH_PORTS {
            let (first, second) = meeting_orders(candidates);
            assert!(first.iter().chain(&second).all(|index| *index < candidates.max(1)), "{candidates}");
            for order in [first, second] {
                let distinct: BTreeSet<_> = order.iter().collect();
                assert_eq!(distinct.len(), order.len());
            }
        }
    }

    #[test]
    fn the_birthday_chance_is_the_measured_one() {
        assert!((birthday_chance(256, 174, 64_512) - 0.5).abs() < 0.01);
        assert!((birthday_chance(256, 1024, 64_512) - 0.983).abs() < 0.002);
        assert!(birthday_chance(256, 128, 64_512) < 0.41);
        assert!(birthday_chance(256, 10, 256) > 0.999 && birthday_chance(0, 10, 0) < 0.001);
    }
}
