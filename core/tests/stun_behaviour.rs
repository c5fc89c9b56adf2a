//! NAT behaviour discovery against a simulated NAT over all its axes, thousands of seeds: every kind is told right, and
//! what cannot be told is not claimed.

#[path = "stun_behaviour/world.rs"]
mod world;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use dig_nat_core::base::random::Jitter;
use dig_nat_core::nat::profile::{Filtering, Mapping, PortAllocation};
use dig_nat_core::nat::stun::behaviour::{FILTER_SOCKETS, Findings, Plan, SERIES_SOCKETS, profile};
use world::{Nat, PUBLIC, Ports, Server, World};

const MAPPINGS: [Mapping; 3] =
    [Mapping::EndpointIndependent, Mapping::AddressDependent, Mapping::AddressAndPortDependent];
const FILTERINGS: [Filtering; 3] =
    [Filtering::EndpointIndependent, Filtering::AddressDependent, Filtering::AddressAndPortDependent];

fn plan(random: &mut Jitter, servers: &[Server], mains: usize) -> Plan {
    let ip = [192, 168, 1, 2];
    let mut ports = BTreeSet::new();
    while ports.len() < mains + FILTER_SOCKETS + SERIES_SOCKETS {
        ports.insert(32_768 + random.below(28_000) as u16);
    }
    let mut ports: Vec<u16> = ports.into_iter().collect();
    random.shuffle(&mut ports);
    Plan {
        servers: servers.iter().map(|server| vec![server.address]).collect(),
        sockets: ports.into_iter().map(|port| SocketAddr::from((ip, port))).collect(),
        mains,
        total: Duration::from_millis(2500),
    }
}

fn full_server(delay: u64) -> Server {
    Server::new("198.51.100.1:3478", Some("198.51.100.2:3479"), delay)
}

fn plain_server(number: u8, delay: u64) -> Server {
    Server::new(&format!("198.51.100.{number}:3478"), None, delay)
}

fn strict() -> Nat {
    Nat {
        translates: true,
        mapping: Mapping::EndpointIndependent,
        filtering: Filtering::AddressAndPortDependent,
        ports: Ports::Preserving,
        hairpin: false,
        blocked: false,
        clash_with: None,
    }
}

fn some_nat(random: &mut Jitter) -> Nat {
    let step = [1, 2, 1, -1, 3, 256][random.below(6)];
    let ports = match random.below(4) {
        0 => Ports::Preserving,
        1 => Ports::Sequential { step, others: random.below(2) == 0 },
        2 => Ports::Block { first: 8192 + 512 * random.below(64) as u16, size: 512 },
        _ => Ports::Random,
    };
    let mapping = MAPPINGS[random.below(3)];
    // A NAT that keeps ports cannot also give every destination another one.
    let ports =
        if mapping != Mapping::EndpointIndependent && ports == Ports::Preserving { Ports::Random } else { ports };
    Nat { mapping, filtering: FILTERINGS[random.below(3)], ports, hairpin: random.below(2) == 0, ..strict() }
}

fn assert_allocation(nat: &Nat, findings: &Findings, seed: u64) {
    let found = findings.allocation;
    match nat.ports {
        Ports::Preserving => assert_eq!(found, Some(PortAllocation::Preserving), "seed {seed}"),
        Ports::Random => assert_eq!(found, Some(PortAllocation::Random), "seed {seed}"),
        Ports::Sequential { step, .. } => {
            assert_eq!(found, Some(PortAllocation::Sequential { step }), "seed {seed}: {:?}", findings.samples);
        }
        Ports::Block { first, size } => {
            let Some(PortAllocation::Block { first: low, size: width }) = found else {
                panic!("seed {seed}: {found:?}")
            };
            assert!(low >= first && low + width <= first + size, "seed {seed}: {low} {width}");
        }
    }
}

#[test]
fn every_nat_is_told_right_with_one_full_server() {
    for seed in 0..4000 {
        let mut random = Jitter::from_seed(seed);
        let delay = 1 + random.below(60) as u64;
        let servers = vec![full_server(delay), plain_server(9, 10)];
        let nat = some_nat(&mut random);
        let plan = plan(&mut random, &servers, 1);
        let (findings, took) = World::new(seed, nat, servers).run(&plan);
        let context = format!("seed {seed}: {nat:?}");
        assert_eq!(findings.translated, Some(true), "{context}");
        assert_eq!(findings.mapping, Some(nat.mapping), "{context}");
        assert_eq!(findings.filtering, Some(nat.filtering), "{context}");
        assert_eq!(findings.public.map(|public| public.ip()), Some(PUBLIC.into()), "{context}");
        assert_allocation(&nat, &findings, seed);
        // Behind a NAT with several mappings a filter stands between our own sockets too; only a plain yes counts.
        if !nat.hairpin || nat.mapping == Mapping::EndpointIndependent {
            assert_eq!(findings.hairpin, Some(nat.hairpin), "{context}");
        }
        assert!(took < Duration::from_secs(1), "{context}: took {took:?}");
    }
}

#[test]
fn firewalls_and_open_hosts_are_not_taken_for_nats() {
    for seed in 0..300 {
        let mut random = Jitter::from_seed(seed);
        let servers = vec![full_server(5 + random.below(50) as u64)];
        let nat = Nat { translates: false, filtering: FILTERINGS[seed as usize % 3], ..strict() };
        let plan = plan(&mut random, &servers, 1);
        let (findings, _) = World::new(seed, nat, servers).run(&plan);
        assert_eq!((findings.translated, findings.hairpin), (Some(false), None));
        assert_eq!(findings.mapping, Some(Mapping::EndpointIndependent));
        assert_eq!(findings.filtering, Some(nat.filtering));
        assert_eq!(findings.public, Some(plan.sockets[0]));
        let name = if seed % 3 == 0 { "public" } else { "firewall" };
        assert_eq!(profile(Some(&findings), None).name(), name);
    }
}

#[test]
fn without_rfc_5780_servers_are_compared_and_filtering_is_not_claimed() {
    for seed in 0..1000 {
        let mut random = Jitter::from_seed(seed);
        let servers = vec![plain_server(1, 20), plain_server(5, 35), plain_server(9, 8)];
        let nat = some_nat(&mut random);
        let plan = plan(&mut random, &servers, 1);
        let (findings, took) = World::new(seed, nat, servers.clone()).run(&plan);
        // Without two ports of one address the two dependent kinds look the same; the harder one is assumed.
        let expected = match nat.mapping {
            Mapping::EndpointIndependent => Mapping::EndpointIndependent,
            _ => Mapping::AddressAndPortDependent,
        };
        assert_eq!((findings.mapping, findings.filtering), (Some(expected), None), "seed {seed}: {nat:?}");
        assert_allocation(&nat, &findings, seed);
        assert!(took < Duration::from_secs(1), "seed {seed}: took {took:?}");

        // Two destinations are not enough to call it independent.
        let two = Plan { servers: plan.servers[..2].to_vec(), ..plan };
        let (findings, _) = World::new(seed, nat, servers).run(&two);
        let expected = (nat.mapping != Mapping::EndpointIndependent).then_some(expected);
        assert_eq!(findings.mapping, expected, "seed {seed}: {nat:?}");
    }
}

#[test]
fn a_clash_of_source_ports_shows_at_one_destination() {
    for seed in 0..500 {
        let mut random = Jitter::from_seed(seed);
        let servers = vec![full_server(20), plain_server(9, 10)];
        let corners = ["198.51.100.1:3479", "198.51.100.2:3478", "198.51.100.2:3479", "198.51.100.9:3478"];
        let clash_with = corners[seed as usize % 4].parse().ok();
        let nat = Nat { clash_with, ..strict() };
        let plan = plan(&mut random, &servers, 1);
        let (findings, _) = World::new(seed, nat, servers).run(&plan);
        assert!(
            matches!(findings.mapping, Some(Mapping::AddressAndPortDependent | Mapping::AddressDependent)),
            "seed {seed}: {:?}",
            findings.mapping
        );
    }
}

#[test]
fn the_nodes_own_port_is_reported_and_counts_for_the_mapping() {
    for seed in 0..300 {
        let mut random = Jitter::from_seed(seed);
        let servers = vec![full_server(20), plain_server(9, 10)];
        let nat = some_nat(&mut random);
        let plan = plan(&mut random, &servers, 2);
        let (findings, _) = World::new(seed, nat, servers).run(&plan);
        assert_eq!(findings.mapping, Some(nat.mapping), "seed {seed}: {nat:?}");
        assert_allocation(&nat, &findings, seed);
        let own: Vec<_> = findings.samples.iter().filter(|sample| sample.socket == 1).collect();
        assert!(own.len() >= 5 && own.iter().any(|sample| Some(sample.mapped) == findings.public), "seed {seed}");
    }
}

#[test]
fn loss_delays_but_does_not_mislead() {
    let (mut told, mut rounds) = (0, 0);
    for seed in 0..600 {
        let mut random = Jitter::from_seed(seed);
        let servers = vec![full_server(20), plain_server(9, 30), plain_server(10, 10)];
        let nat = some_nat(&mut random);
        let plan = plan(&mut random, &servers, 1);
        let mut world = World::new(seed, nat, servers);
        world.loss = 0.05;
        let (findings, took) = world.run(&plan);
        rounds += 1;
        told += u32::from(findings.mapping == Some(nat.mapping) && findings.filtering == Some(nat.filtering));
        // Independent, when it is not, would be the expensive mistake.
        if nat.mapping != Mapping::EndpointIndependent {
            assert_ne!(findings.mapping, Some(Mapping::EndpointIndependent), "seed {seed}: {nat:?}");
        }
        assert!(took <= plan.total, "seed {seed}: took {took:?}");
    }
    // Five requests of 5 % loss each way: the chance that a filtering test hears none of them is below 1 in 100 000.
    assert!(told * 100 >= rounds * 98, "{told} of {rounds}");
}

#[test]
fn liars_dead_servers_and_half_servers_do_not_mislead() {
    for seed in 0..500 {
        let mut random = Jitter::from_seed(seed);
        let mut liar = plain_server(7, 2);
        liar.lies = true;
        let mut dead = plain_server(8, 1);
        dead.alive = false;
        let servers = vec![liar, dead, full_server(20), plain_server(9, 30)];
        let nat = some_nat(&mut random);
        let plan = plan(&mut random, &servers, 1);
        let (findings, took) = World::new(seed, nat, servers).run(&plan);
        assert_eq!(findings.public.map(|public| public.ip()), Some(PUBLIC.into()), "seed {seed}");
        assert_eq!((findings.mapping, findings.filtering), (Some(nat.mapping), Some(nat.filtering)), "seed {seed}");
        assert!(took < Duration::from_secs(1), "seed {seed}: took {took:?}");
    }
    let half = |change: fn(&mut Server)| {
        let mut server = full_server(20);
        change(&mut server);
        let servers = vec![server, plain_server(5, 10), plain_server(9, 10)];
        let plan = plan(&mut Jitter::from_seed(1), &servers, 1);
        World::new(1, strict(), servers).run(&plan).0
    };
    // Silence from an address that nobody can hear says nothing about a filter.
    let dead_other = half(|server| server.other_is_dead = true);
    assert_eq!((dead_other.mapping, dead_other.filtering), (Some(Mapping::EndpointIndependent), None));
    let ignores = half(|server| server.ignores_change = true);
    assert_eq!((ignores.mapping, ignores.filtering), (Some(Mapping::EndpointIndependent), None));
    // A server on the internet that names a private address is not followed there.
    let private = half(|server| server.other = "192.168.1.1:80".parse().ok());
    assert_eq!(private.filtering, None);
    assert!(private.samples.iter().all(|sample| sample.destination.ip() != std::net::IpAddr::from([192, 168, 1, 1])));
}

#[test]
fn blocked_udp_is_told_from_a_missing_network() {
    let run = |tcp_works| {
        let servers = vec![full_server(20), plain_server(9, 10)];
        let plan = plan(&mut Jitter::from_seed(1), &servers, 1);
        let mut world = World::new(1, Nat { blocked: true, ..strict() }, servers);
        world.tcp_works = tcp_works;
        world.run(&plan)
    };
    let (blocked, took) = run(true);
    assert!(blocked.udp_blocked() && took == Duration::from_millis(1600), "{blocked:?} {took:?}");
    assert_eq!(profile(Some(&blocked), None).name(), "udp-blocked");
    let (offline, _) = run(false);
    assert!(!offline.udp_blocked() && !offline.udp_works);
    assert!(!profile(Some(&offline), None).udp_blocked);
}

#[test]
fn the_number_of_datagrams_is_bounded() {
    let servers = vec![full_server(20), plain_server(5, 10), plain_server(9, 10)];
    let plan = plan(&mut Jitter::from_seed(1), &servers, 1);
    let mut world = World::new(1, strict(), servers);
    world.run(&plan);
    // 3 first, 7 in series, 3 to the other address, 1 control, twice 5 for the filter, 6 for the hairpin.
    assert_eq!(world.packets, 30);
}
