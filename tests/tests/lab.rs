//! The NAT lab proves itself: each type of NAT is what its name says, alone, in layers and shared, and two hosts reach
//! each other through a pair of them exactly when theory says so. Not here: what happens while a lab runs
//! (`lab_events`), and the library behind these NATs.
#![cfg(target_os = "linux")]

use std::collections::HashSet;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use dig_nat_core::nat::profile::{Filtering, Mapping, PortAllocation};
use dig_nat_tests::lab::probe::{Findings, external, probe, probe_v6};
use dig_nat_tests::lab::{self, Addresses, Ipv6, Lab, LabBuilder, Nat, Running, Site};
use tokio::net::UdpSocket;
use tokio::time::{Instant, interval, timeout_at};

/// Between two probes of a punching side.
const PACE: Duration = Duration::from_millis(20);

/// Punching through NATs that allow it takes two or three probes; this is long enough to say that it fails.
const PUNCH: Duration = Duration::from_millis(1200);

#[test]
fn every_type_is_what_its_name_says() {
    lab::run(|| assert_types(&Nat::all()));
}

#[test]
fn layers_add_up() {
    lab::run(|| {
        let types = [
            Nat::port_restricted().behind(Nat::port_restricted()),
            Nat::full_cone().behind(Nat::full_cone()),
            Nat::port_restricted().behind(Nat::symmetric()),
            Nat::symmetric().behind(Nat::port_restricted()),
            Nat::port_restricted().behind(Nat::full_cone()),
            Nat::address_restricted().behind(Nat::full_cone()),
            Nat::masquerade().behind(Nat::symmetric_sequential(1)),
            Nat::dmz().behind(Nat::dmz()),
            Nat::symmetric_sequential(2),
            Nat::port_restricted().behind(Nat::udp_blocked()),
        ];
        assert_types(&types);
    });
}

#[test]
fn hairpinning_comes_with_every_mapping() {
    lab::run(|| {
        let types = [
            Nat::full_cone(),
            Nat::address_restricted(),
            Nat::port_restricted(),
            Nat::masquerade(),
            Nat::endpoint_independent_random(),
            Nat::symmetric(),
            Nat::symmetric_open(),
            Nat::symmetric_sequential(1),
            Nat::full_cone().behind(Nat::full_cone().hairpin()),
        ];
        assert_types(&types.map(Nat::hairpin));
    });
}

/// A router decides with thousands of flows as with one: different clients may use the same source port.
#[test]
fn strict_types_keep_clients_with_one_port_apart() {
    /// Source ports that all clients of a site use.
    const PORTS: std::ops::Range<u16> = 20_000..20_040;
    const SITES: [&str; 3] = ["strict", "cone", "linux"];

    lab::run(|| {
        let lab = Lab::builder()
            .site("strict", Site::new(Nat::port_restricted()).clients(3))
            .site("cone", Site::new(Nat::full_cone()).clients(3))
            .site("linux", Site::new(Nat::masquerade()).clients(3))
            .build();
        for site in SITES {
            let clients = [site.to_owned(), format!("{site}-2"), format!("{site}-3")].map(|name| {
                let sockets = lab.host(&name).run(|_| async {
                    let open = PORTS.map(|port| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)));
                    futures::future::try_join_all(open).await.expect("nobody else is here")
                });
                (name, Arc::new(sockets), vec![HashSet::new(); PORTS.len()])
            });
            let mut clients = clients;
            // In each round each client asks another server. Linux keeps a port for the first destination that no other
            // client uses it for, and finds out too late.
            for round in 0..4 {
                for (index, (name, sockets, seen)) in clients.iter_mut().enumerate() {
                    let sockets = Arc::clone(sockets);
                    let endpoints = lab.host(name).run(move |place| async move {
                        let server = place.stun[(round + index) % 4];
                        futures::future::join_all(sockets.iter().map(|socket| external(socket, server))).await
                    });
                    for (seen, endpoint) in seen.iter_mut().zip(endpoints) {
                        seen.insert(endpoint.expect("UDP works"));
                    }
                }
            }
            let all: Vec<_> = clients.into_iter().flat_map(|(_, _, seen)| seen).collect();
            let stable = all.iter().filter(|seen| seen.len() == 1).count();
            let distinct: HashSet<_> = all.iter().flatten().collect();
            if site == "linux" {
                // What makes plain Linux a poor example of its class: it shares one external port among clients that
                // talk to different servers.
                assert!(stable < all.len(), "masquerade kept {stable} of {} endpoints", all.len());
            } else {
                assert_eq!(stable, all.len(), "{site}: endpoints that are the same for all destinations");
                assert_eq!(distinct.len(), all.len(), "{site}: endpoints that belong to one client alone");
            }
        }
    });
}

#[test]
fn ipv6_is_open_or_firewalled() {
    lab::run(|| {
        let types = [
            Site::new(Nat::symmetric()).ipv6(Ipv6::Open),
            Site::new(Nat::symmetric()).ipv6(Ipv6::Firewalled),
            Site::new(Nat::port_restricted().behind(Nat::symmetric())).ipv6(Ipv6::Firewalled),
            Site::new(Nat::public()).ipv6(Ipv6::Open),
            Site::new(Nat::public()).ipv6(Ipv6::Firewalled),
            Site::new(Nat::public()).ipv6_only(Ipv6::Open),
            Site::new(Nat::port_restricted()).ipv6_only(Ipv6::Firewalled),
            Site::new(Nat::udp_blocked()).ipv6(Ipv6::Open),
        ];
        let lab = with_sites(&types).build();
        let mut wrong = Vec::new();
        let running: Vec<_> =
            (0..types.len()).map(|index| (index, lab.host(&format!("s{index}")).spawn(probe_v6))).collect();
        for (index, running) in running {
            let found = running.join();
            println!("{index}: {found:?}");
            let strict = matches!(index, 1 | 2 | 4 | 6);
            let filtering = if strict { Filtering::AddressAndPortDependent } else { Filtering::EndpointIndependent };
            let expected = Findings {
                udp: index != 7,
                public: found.public,
                translated: Some(false),
                mapping: Some(Mapping::EndpointIndependent),
                filtering: Some(filtering),
                allocation: Some(PortAllocation::Preserving),
                hairpin: Some(true),
                tcp: lab::stun_server::TCP_PORTS.to_vec(),
            };
            let right = if index == 7 { !found.udp && found.tcp == expected.tcp } else { found == expected };
            if !right {
                wrong.push(format!("{index}: {found:?}"));
            }
        }
        for only in ["s5", "s6"] {
            let found = lab.host(only).run(probe);
            assert!(!found.udp && found.tcp.is_empty(), "{only} has no IPv4: {found:?}");
            assert!(lab.host(only).place().v4.is_empty());
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    });
}

/// A firewall lets nothing in that nobody asked for, by TCP neither; an open host takes it.
#[test]
fn inbound_tcp_needs_an_open_way() {
    lab::run(|| {
        let lab = Lab::builder()
            .site("open", Nat::public())
            .site("wall", Nat::firewall())
            .site("cone", Nat::full_cone())
            .site("dmz", Nat::dmz())
            .site("open6", Site::new(Nat::port_restricted()).ipv6(Ipv6::Open))
            .site("wall6", Site::new(Nat::public()).ipv6(Ipv6::Firewalled))
            .build();
        for (name, v6, expected) in [
            ("open", false, true),
            ("wall", false, false),
            ("cone", false, false),
            ("dmz", false, true),
            ("open6", true, true),
            ("wall6", true, false),
        ] {
            let host = lab.host(name);
            let router = if name == "cone" || name == "dmz" { lab.router(name) } else { host };
            let address: std::net::IpAddr = if v6 { host.v6().into() } else { router.v4().into() };
            let listener = host.run(move |_| {
                tokio::net::TcpListener::bind(SocketAddr::new(
                    if v6 { std::net::Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() },
                    5000,
                ))
            });
            let _listener = listener.expect("nobody else is here");
            let connected = lab.host("relay").run(move |_| async move {
                tokio::time::timeout(Duration::from_millis(400), tokio::net::TcpStream::connect((address, 5000))).await
            });
            assert_eq!(connected.is_ok_and(|result| result.is_ok()), expected, "{name}");
        }
    });
}

/// The grid of theory: mapping and filtering of both sides decide, and probes are answered to where they came from.
#[test]
fn pairs_connect_exactly_where_theory_says() {
    lab::run(|| {
        let types = [
            Nat::public(),
            Nat::full_cone(),
            Nat::address_restricted(),
            Nat::port_restricted(),
            Nat::masquerade(),
            Nat::endpoint_independent_random(),
            Nat::address_dependent(),
            Nat::symmetric(),
            Nat::symmetric_open(),
            Nat::port_restricted().behind(Nat::port_restricted()),
        ];
        let lab = with_sites(&types.clone().map(Site::new)).build();
        let mut pairs = Vec::new();
        for one in 0..types.len() {
            for other in one..types.len() {
                if one != other {
                    pairs.push((one, other));
                }
            }
        }
        let mut wrong = Vec::new();
        let mut connected = 0;
        let running: Vec<_> = pairs
            .iter()
            .map(|(one, other)| punch(&lab, &format!("s{one}"), &format!("s{other}"), Candidates::Public))
            .collect();
        for ((one, other), running) in pairs.iter().zip(running) {
            let (one, other) = (&types[*one], &types[*other]);
            let reached = reached(running);
            connected += usize::from(reached);
            if reached != can_meet(one, other) {
                wrong.push(format!("{one} x {other}: connected {reached}"));
            }
        }
        println!("{connected} of {} pairs connected", pairs.len());
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    });
}

#[test]
fn neighbours_need_the_local_network_or_hairpinning() {
    lab::run(|| {
        let cone = Nat::port_restricted;
        let lab = Lab::builder()
            .site("plain", Site::new(cone()).clients(2))
            .site("pin", Site::new(cone().hairpin()).clients(2))
            .site("pinsym", Site::new(Nat::symmetric().hairpin()).clients(2))
            .carrier("poor", cone())
            .carrier("good", cone().hairpin())
            .carrier("hard", Nat::symmetric().hairpin())
            .site("p1", Site::new(cone()).on_carrier("poor"))
            .site("p2", Site::new(cone()).on_carrier("poor"))
            .site("g1", Site::new(cone()).on_carrier("good"))
            .site("g2", Site::new(cone()).on_carrier("good"))
            .site("h1", Site::new(cone()).on_carrier("hard"))
            .site("h2", Site::new(cone()).on_carrier("hard"))
            .build();
        let cases = [
            ("plain", "plain-2", Candidates::Public, false),
            ("plain", "plain-2", Candidates::Local, true),
            ("pin", "pin-2", Candidates::Public, true),
            ("pinsym", "pinsym-2", Candidates::Public, true),
            ("p1", "p2", Candidates::Public, false),
            ("g1", "g2", Candidates::Public, true),
            ("h1", "h2", Candidates::Public, false),
            ("p1", "g1", Candidates::Public, true),
            ("p1", "g1", Candidates::Local, false),
        ];
        let running: Vec<_> = cases.iter().map(|(one, other, by, _)| punch(&lab, one, other, *by)).collect();
        for ((one, other, by, expected), running) in cases.into_iter().zip(running) {
            assert_eq!(reached(running), expected, "{one} x {other} by {by:?} candidates");
        }
    });
}

#[test]
fn a_pair_is_built_in_less_than_a_second() {
    /// Processor time of this process and the programs it has run; on an idle machine it takes no longer than that.
    fn used() -> Duration {
        let stat = fs::read_to_string("/proc/self/stat").expect("Linux has it");
        let fields = stat.rsplit_once(')').expect("the name is in parentheses").1.split_whitespace();
        let ticks: u64 = fields.skip(11).take(4).map(|ticks| ticks.parse::<u64>().expect("a number")).sum();
        Duration::from_millis(ticks * 10)
    }

    lab::run(|| {
        let double = || Nat::port_restricted().behind(Nat::symmetric_sequential(1));
        let before = used();
        let lab = Lab::builder().site("a", double()).site("b", double()).build();
        let (took, worked) = (lab.setup_time(), used().saturating_sub(before));
        println!("{} hosts and routers in {took:?}, with {worked:?} of work", lab.hosts().len());
        assert!(worked > Duration::ZERO && worked < Duration::from_secs(1), "{worked:?}");
    });
}

#[test]
fn documentation_addresses_are_at_hand() {
    lab::run(|| {
        let lab = Lab::builder().addresses(Addresses::Documentation).site("a", Nat::full_cone()).build();
        let found = lab.host("a").run(probe);
        assert_eq!(found.public.map(|public| public.ip()), Some("203.0.113.8".parse().expect("an address")));
        assert_eq!(lab.router("a").v4().to_string(), "203.0.113.8");
    });
}

/// Builds one site of each type and compares what the probe finds with what the type promises.
fn assert_types(types: &[Nat]) {
    let sites: Vec<Site> = types.iter().cloned().map(Site::new).collect();
    let lab = with_sites(&sites).build();
    println!("{} hosts and routers in {:?}", lab.hosts().len(), lab.setup_time());
    let running: Vec<_> = (0..types.len()).map(|index| lab.host(&format!("s{index}")).spawn(probe)).collect();
    let mut wrong = Vec::new();
    for (nat, running) in types.iter().zip(running) {
        let found = running.join();
        println!("{nat}: {found:?}");
        let expected = promised(nat, &found);
        if found != expected {
            wrong.push(format!("{nat}:\n  found    {found:?}\n  expected {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn with_sites(sites: &[Site]) -> LabBuilder {
    let named = sites.iter().enumerate();
    named.fold(Lab::builder(), |builder, (index, site)| builder.site(&format!("s{index}"), site.clone()))
}

/// What the probe must find behind a NAT. Public endpoint and the exact block, which chance decides, are taken from
/// what was found.
fn promised(nat: &Nat, found: &Findings) -> Findings {
    let tcp = lab::stun_server::TCP_PORTS.into_iter().filter(|port| nat.passes_tcp(*port)).collect();
    if !nat.passes_udp() {
        return Findings {
            udp: false,
            public: None,
            translated: None,
            mapping: None,
            filtering: None,
            allocation: None,
            hairpin: None,
            tcp,
        };
    }
    let allocation = match (nat.allocation(), found.allocation) {
        // Samples of a block may all lie in one half of it.
        (PortAllocation::Block { first, size }, Some(PortAllocation::Block { first: low, size: seen }))
            if seen <= size && low / size * size == first =>
        {
            PortAllocation::Block { first: low, size: seen }
        }
        (allocation, _) => allocation,
    };
    Findings {
        udp: true,
        public: found.public,
        translated: Some(nat.translates()),
        mapping: Some(nat.mapping()),
        filtering: Some(nat.filtering()),
        allocation: Some(allocation),
        hairpin: Some(nat.hairpins()),
        tcp,
    }
}

/// Whether probes to the endpoints that a STUN server saw meet, if sides answer to where probes come from. A side whose
/// filter looks at ports lets in only what comes from the endpoint it knows, so the other side's must not change.
fn can_meet(one: &Nat, other: &Nat) -> bool {
    let known = |nat: &Nat| nat.mapping() == Mapping::EndpointIndependent;
    let lets_in = |nat: &Nat, from: &Nat| match nat.filtering() {
        // The endpoint that the peer was told exists only as long as it is the one for all destinations or was opened
        // towards the server; either way it is open to everyone.
        Filtering::EndpointIndependent | Filtering::AddressDependent => true,
        Filtering::AddressAndPortDependent => known(from),
    };
    // A packet must first arrive at an endpoint that is known: at one side's told endpoint, through its filter.
    let arrives =
        |to: &Nat, from: &Nat| (known(to) || to.filtering() == Filtering::EndpointIndependent) && lets_in(to, from);
    arrives(one, other) || arrives(other, one)
}

/// Which address of the other side a side is told.
#[derive(Clone, Copy, Debug)]
enum Candidates {
    Public,
    Local,
}

/// Lets two hosts send probes to each other; joins to whether both had an answer.
fn punch(lab: &Lab, one: &str, other: &str, by: Candidates) -> [Running<bool>; 2] {
    let open = |name: &str| {
        lab.host(name).run(move |place| async move {
            let socket = UdpSocket::bind((place.v4(), 0)).await.expect("an own address");
            let public = external(&socket, place.stun[0]).await.expect("UDP works");
            let told = match by {
                Candidates::Public => public,
                Candidates::Local => socket.local_addr().expect("bound"),
            };
            (Arc::new(socket), told)
        })
    };
    let ((here, told_here), (there, told_there)) = (open(one), open(other));
    [lab.host(one).spawn(move |_| probes(here, told_there)), lab.host(other).spawn(move |_| probes(there, told_here))]
}

fn reached(sides: [Running<bool>; 2]) -> bool {
    sides.map(Running::join).into_iter().all(|side| side)
}

/// One side: says "probe" to every known endpoint of the other, answers probes where they came from.
async fn probes(socket: Arc<UdpSocket>, told: SocketAddr) -> bool {
    let end = Instant::now() + PUNCH;
    let mut known = vec![told];
    let mut pace = interval(PACE);
    let mut answered = false;
    let mut buffer = [0; 64];
    while let Ok(sending) = timeout_at(end, async {
        tokio::select! {
            _ = pace.tick() => None,
            received = socket.recv_from(&mut buffer) => Some(received),
        }
    })
    .await
    {
        match sending {
            None => {
                for endpoint in &known {
                    let _ = socket.send_to(b"probe", endpoint).await;
                }
            }
            Some(Ok((length, from))) => {
                answered |= &buffer[..length] == b"answer";
                if &buffer[..length] == b"probe" {
                    let _ = socket.send_to(b"answer", from).await;
                    if !known.contains(&from) {
                        known.push(from);
                    }
                }
            }
            Some(Err(_)) => {}
        }
    }
    answered
}
