//! Two ICE agents over a simulated internet: every pair of NAT types, relays, role conflicts, late candidates, loss,
//! forgeries, consent, restarts, bounds.
#![allow(clippy::unwrap_used)]

#[path = "ice/net.rs"]
mod net;

use std::net::SocketAddr;
use std::time::Duration;

use dig_nat_core::base::limits;
use dig_nat_core::base::time::Time;
use dig_nat_core::nat::ice::{Agent, Candidate, Config, Credentials, Kind, Output, Rejected, Role};
use dig_nat_core::nat::policy::{Policy, Refusal};
use dig_nat_core::nat::stun::{Attribute, Key, Message, Method, TransactionId};
use net::{Net, PLACES, Place, Setup, credentials};
use proptest::prelude::*;

fn ms(milliseconds: u64) -> Time {
    Time::from_micros(milliseconds * 1000)
}

/// Whether the pair can be direct: the measured table.
fn direct(first: Place, second: Place) -> bool {
    const TABLE: [&str; 7] = ["++++++-", "++++++-", "++++++-", "++++-+-", "+++--+-", "++++++-", "-------"];
    let at = |place| PLACES.iter().position(|other| *other == place).unwrap();
    TABLE[at(first)].as_bytes()[at(second)] == b'+'
}

fn connect(setup: &Setup, within: u64) -> Net {
    let mut net = Net::new(setup);
    net.run_until(ms(within));
    let at = format!("{:?} {:?}\n{}", setup.places, setup.turn, net.trace.join("\n"));
    assert!(net.peers.iter().all(|peer| peer.selected.is_some()), "{at}");
    assert!(net.pairs_carry(), "{at}");
    net
}

#[test]
fn every_pair_of_nats_that_can_be_direct_is() {
    for first in PLACES {
        for second in PLACES {
            let setup = Setup::new(first, second);
            if direct(first, second) {
                connect(&setup, 1000);
                continue;
            }
            let mut net = Net::new(&setup);
            net.run_until(ms(20_000));
            for peer in &net.peers {
                assert!(peer.selected.is_none() && peer.failed.is_some(), "{first:?} x {second:?}");
            }
            assert!(net.peers.iter().all(|peer| peer.agent.next_timeout().is_none()), "it goes on");
        }
    }
}

#[test]
fn a_relay_connects_the_others_and_only_them() {
    for first in PLACES {
        for second in PLACES {
            for turn in [[true, false], [false, true], [true, true]] {
                let blocked = [first, second].map(|place| place == Place::Blocked);
                if (blocked[0] && !turn[0]) || (blocked[1] && !turn[1]) {
                    // Behind a wall only one's own relay helps.
                    continue;
                }
                let net = connect(&Setup { turn, ..Setup::new(first, second) }, 2000);
                let (_, _, ours, theirs) = net.peers[0].selected.unwrap();
                let relayed = ours == Kind::Relayed || theirs == Kind::Relayed;
                assert_eq!(relayed, !direct(first, second), "{first:?} x {second:?} {turn:?}");
            }
        }
    }
}

#[test]
fn a_hard_nat_is_met_by_its_peer_reflexive_address() {
    let net = connect(&Setup::new(Place::AddressRestricted, Place::Symmetric), 1000);
    let (_, _, _, theirs) = net.peers[0].selected.unwrap();
    let (_, _, ours, _) = net.peers[1].selected.unwrap();
    assert_eq!((theirs, ours), (Kind::PeerReflexive, Kind::PeerReflexive));
}

#[test]
fn a_conflict_of_roles_is_settled() {
    for role in [Role::Controlling, Role::Controlled] {
        for seed in 0..20 {
            let setup = Setup { roles: [role, role], seed, ..Setup::new(Place::PortRestricted, Place::FullCone) };
            let net = connect(&setup, 2000);
            let roles = [net.peers[0].agent.role(), net.peers[1].agent.role()];
            assert_ne!(roles[0], roles[1], "seed {seed}");
        }
    }
}

#[test]
fn late_candidates_are_used_when_they_come() {
    let trickle = Duration::from_millis(700);
    let setup = Setup { trickle, ..Setup::new(Place::PortRestricted, Place::PortRestricted) };
    let mut net = Net::new(&setup);
    net.run_until(ms(700));
    assert!(net.peers.iter().all(|peer| peer.selected.is_none()), "private addresses lead nowhere");
    net.run_until(ms(1200));
    assert!(net.peers.iter().all(|peer| peer.selected.is_some()) && net.pairs_carry());
    // One side's arrive only after the first checks of the other have died.
    let setup = Setup { trickle: Duration::from_secs(4), ..setup };
    let mut net = Net::new(&setup);
    net.schedule_reflexive(0, Duration::from_millis(30));
    net.run_until(ms(6000));
    assert!(net.peers.iter().all(|peer| peer.selected.is_some()) && net.pairs_carry());
}

#[test]
fn loss_delays_but_does_not_prevent() {
    let mut slow = 0;
    for seed in 0..200 {
        let setup = Setup { seed, turn: [true, true], ..Setup::new(Place::PortRestricted, Place::AddressRestricted) };
        let mut net = Net::new(&setup);
        net.loss = 30;
        net.run_until(ms(2000));
        slow += u32::from(net.peers.iter().any(|peer| peer.selected.is_none()));
        net.run_until(ms(14_000));
        assert!(net.peers.iter().all(|peer| peer.selected.is_some()), "seed {seed}\n{}", net.trace.join("\n"));
        net.loss = 0;
        assert!(net.pairs_carry(), "seed {seed}");
    }
    println!("{slow} of 200 take more than two seconds");
    assert!(slow < 40, "{slow} of 200 take more than two seconds");
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let trace = |seed| {
        let mut net = Net::new(&Setup { seed, turn: [true, true], ..Setup::new(Place::Symmetric, Place::FullCone) });
        net.loss = 20;
        net.run_until(ms(30_000));
        net.trace
    };
    assert_eq!(trace(5), trace(5));
    assert_ne!(trace(5), trace(6));
}

#[test]
fn checks_are_paced() {
    let setup = Setup { turn: [true, true], ..Setup::new(Place::PortRestricted, Place::Symmetric) };
    let mut net = Net::new(&setup);
    net.run_until(ms(20_000));
    let sent: u64 = net.peers.iter().map(|peer| peer.sent).sum();
    assert!(sent < 150, "{sent} datagrams for two peers with three candidates each");
    let starts: Vec<&String> = net.trace.iter().filter(|line| line.contains(" 0 LocalId")).take(2).collect();
    let at = |line: &str| line[5..line.find(')').unwrap()].parse::<u64>().unwrap();
    assert!(at(starts[1]) - at(starts[0]) >= limits::ICE_FAST_PACE.as_micros() as u64, "{starts:?}");
}

#[test]
fn consent_is_kept_and_its_end_is_noticed() {
    let mut net = connect(&Setup::new(Place::PortRestricted, Place::PortRestricted), 1000);
    let sent = net.peers[0].sent;
    net.run_until(ms(601_000));
    assert!(net.peers.iter().all(|peer| !peer.lost && peer.selections == 1), "ten quiet minutes");
    // Every 4 to 6 seconds a check and an answer.
    let checks = (net.peers[0].sent - sent) / 2;
    assert!((100..=150).contains(&checks), "{checks}");
    net.cut = true;
    net.run_until(ms(601_000 + 23_000));
    assert!(net.peers.iter().all(|peer| !peer.lost));
    net.run_until(ms(601_000 + 31_000));
    assert!(net.peers.iter().all(|peer| peer.lost && peer.agent.selected().is_none()));
    let sent = net.peers[0].sent;
    net.run_until(ms(700_000));
    assert_eq!(net.peers[0].sent, sent, "nothing is sent without consent");
}

#[test]
fn a_restart_keeps_the_old_pair_until_the_new_one() {
    let mut net = connect(&Setup::new(Place::PortRestricted, Place::FullCone), 1000);
    let old = net.peers[0].agent.selected();
    net.restart();
    net.run_until(net.now + Duration::from_millis(20));
    assert_eq!(net.peers[0].agent.selected(), old);
    net.run_until(net.now + Duration::from_secs(1));
    assert!(net.peers.iter().all(|peer| peer.selections == 2 && !peer.lost));
    assert!(net.pairs_carry());
    net.run_until(net.now + Duration::from_secs(60));
    assert!(net.peers.iter().all(|peer| !peer.lost), "consent goes on with the new credentials");
}

/// An agent with one host candidate and a peer that is us.
fn lone(role: Role) -> (Agent, dig_nat_core::nat::ice::LocalId) {
    let config = Config { role, credentials: credentials(1), policy: Policy::default(), seed: 9 };
    let mut agent = Agent::new(Time::ZERO, config);
    let (local, _) = agent.add_host(Time::ZERO, "44.0.0.1:1".parse().unwrap()).unwrap();
    agent.set_remote(Time::ZERO, credentials(2));
    (agent, local)
}

fn check(from: &Credentials, to: &Credentials, key: &str, number: u8) -> Vec<u8> {
    Message::request(Method::BINDING, TransactionId([number; 12]))
        .with(Attribute::Username(format!("{}:{}", to.ufrag, from.ufrag)))
        .with(Attribute::Priority(1000))
        .with(Attribute::IceControlling(u64::MAX))
        .with(Attribute::UseCandidate)
        .encode(Some(&Key::short_term(key)), true)
        .unwrap()
}

fn sends(agent: &mut Agent) -> Vec<SocketAddr> {
    std::iter::from_fn(|| agent.poll())
        .filter_map(|output| match output {
            Output::Send { to, .. } => Some(to),
            _ => None,
        })
        .collect()
}

#[test]
fn forgeries_are_not_answered() {
    let (mut agent, local) = lone(Role::Controlled);
    let (ours, theirs) = (credentials(1), credentials(2));
    let from: SocketAddr = "44.9.9.9:9".parse().unwrap();
    let before = agent.table_sizes();
    let unsigned = Message::request(Method::BINDING, TransactionId([7; 12]))
        .with(Attribute::Username("user0001:user0002".to_owned()))
        .encode(None, true)
        .unwrap();
    let mut changed = check(&theirs, &ours, &ours.password, 3);
    changed[40] ^= 1;
    let stranger = check(&theirs, &credentials(3), &ours.password, 4);
    let guessed = check(&theirs, &ours, "a wrong password of 22 chars", 5);
    let success = Message::success_to(&Message::request(Method::BINDING, TransactionId([1; 12])))
        .with(Attribute::XorMappedAddress(from))
        .encode(Some(&Key::short_term("a wrong password of 22 chars")), true)
        .unwrap();
    for bytes in [unsigned, changed, stranger, guessed, success] {
        agent.handle_datagram(ms(1), local, from, &bytes);
        assert!(sends(&mut agent).is_empty());
        assert_eq!(agent.table_sizes(), before);
    }
    // The right one is answered with less than it took, and checked back.
    let good = check(&theirs, &ours, &ours.password, 6);
    assert!(agent.handle_datagram(ms(1), local, from, &good));
    let outputs: Vec<Output> = std::iter::from_fn(|| agent.poll()).collect();
    assert_eq!(outputs.len(), 2);
    let Output::Send { bytes, to, .. } = &outputs[0] else { panic!("{outputs:?}") };
    assert!(*to == from && bytes.len() <= good.len());
    // Nothing of ICE is taken from a socket that is not ours.
    assert!(!agent.handle_datagram(ms(1), dig_nat_core::nat::ice::LocalId(7), from, &good));
}

#[test]
fn a_check_of_this_machine_or_a_metadata_service_is_not_believed() {
    let (mut agent, local) = lone(Role::Controlled);
    let (ours, theirs) = (credentials(1), credentials(2));
    for (number, from) in ["127.0.0.1:80", "169.254.169.254:80", "224.0.0.1:9", "[::1]:9"].iter().enumerate() {
        let good = check(&theirs, &ours, &ours.password, number as u8);
        agent.handle_datagram(ms(1), local, from.parse().unwrap(), &good);
        assert!(sends(&mut agent).is_empty(), "{from}");
    }
    let good = check(&theirs, &ours, &ours.password, 99);
    agent.handle_datagram(ms(1), local, "192.168.7.7:7".parse().unwrap(), &good);
    assert_eq!(sends(&mut agent).len(), 2, "a private address it came from is in a network of ours");
}

fn told(address: &str, foundation: usize) -> Candidate {
    let address: SocketAddr = address.parse().unwrap();
    let (ip, port) = (address.ip(), address.port());
    format!("candidate:{foundation} 1 udp {} {ip} {port} typ host", foundation + 1).parse().unwrap()
}

#[test]
fn forbidden_candidates_are_rejected_and_never_sent_to() {
    let (mut agent, _) = lone(Role::Controlling);
    let forbidden = [
        ("127.0.0.1:80", Refusal::Loopback),
        ("169.254.169.254:80", Refusal::Metadata),
        ("192.168.1.1:80", Refusal::Private),
        ("224.0.0.1:80", Refusal::Multicast),
        ("[fe80::1]:80", Refusal::LinkLocal),
        ("8.8.8.8:0", Refusal::PortZero),
    ];
    for (address, refusal) in forbidden {
        assert_eq!(agent.add_remote(ms(1), told(address, 1)), Err(Rejected::Forbidden(refusal)));
    }
    let second = Candidate { component: 2, ..told("8.8.8.8:8", 1) };
    assert_eq!(agent.add_remote(ms(1), second), Err(Rejected::Component));
    agent.add_remote(ms(1), told("8.8.8.8:8", 1)).unwrap();
    for step in 1..100 {
        agent.handle_timeout(ms(step * 100));
        assert!(sends(&mut agent).iter().all(|to| *to == "8.8.8.8:8".parse().unwrap()));
    }
}

#[test]
fn floods_end_in_bounds() {
    let (mut agent, local) = lone(Role::Controlled);
    let (ours, theirs) = (credentials(1), credentials(2));
    for number in 0..1000 {
        let result = agent.add_remote(ms(1), told(&format!("8.8.{}.{}:8", number / 250, number % 250), number));
        assert_eq!(result.is_ok(), number < limits::MAX_ICE_CANDIDATES);
        agent.add_host(ms(1), format!("44.0.{}.{}:8", number / 250, number % 250).parse().unwrap());
    }
    for number in 0..1000_u64 {
        let from = SocketAddr::from(([9, 9, (number / 250) as u8, (number % 250) as u8], 7));
        agent.handle_datagram(ms(2 + number), local, from, &check(&theirs, &ours, &ours.password, number as u8));
        let _ = sends(&mut agent);
    }
    let bound = 2 * limits::MAX_ICE_CANDIDATES + limits::MAX_ICE_PAIRS + limits::MAX_ICE_TRIGGERED;
    assert!(agent.table_sizes() <= bound, "{}", agent.table_sizes());
    // Before the peer's credentials are known, too.
    let config = Config { role: Role::Controlled, credentials: credentials(1), policy: Policy::default(), seed: 9 };
    let mut agent = Agent::new(Time::ZERO, config);
    let (local, _) = agent.add_host(Time::ZERO, "44.0.0.1:1".parse().unwrap()).unwrap();
    for number in 0..100 {
        let from = SocketAddr::from(([9, 9, 9, number], 7));
        agent.handle_datagram(ms(1), local, from, &check(&theirs, &ours, &ours.password, number));
    }
    assert!(agent.table_sizes() <= 1 + limits::MAX_ICE_EARLY_CHECKS);
    let _ = sends(&mut agent);
    agent.set_remote(ms(2), credentials(2));
    assert_eq!(sends(&mut agent).len(), 1, "the early checks are answered by our own, one at a time");
}

#[test]
fn credentials_are_checked() {
    assert!(Credentials::new("abc", &"p".repeat(22)).is_err());
    assert!(Credentials::new("abcd", &"p".repeat(21)).is_err());
    assert!(Credentials::new("ab:d", &"p".repeat(22)).is_err());
    assert!(Credentials::new("abcd", &"p".repeat(257)).is_err());
    let good = Credentials::new("abcd", &"p".repeat(22)).unwrap();
    assert!(!format!("{good:?}").contains("ppp"));
}

proptest! {
    #[test]
    fn no_datagram_makes_an_agent_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        flip in any::<(u16, u8)>(),
        signed in any::<bool>(),
    ) {
        let (mut agent, local) = lone(Role::Controlled);
        let (ours, theirs) = (credentials(1), credentials(2));
        let mut datagram = if signed { check(&theirs, &ours, &ours.password, 1) } else { bytes };
        if let Some(byte) = (!datagram.is_empty()).then(|| usize::from(flip.0) % datagram.len()) {
            datagram[byte] ^= flip.1;
        }
        agent.handle_datagram(ms(1), local, "44.9.9.9:9".parse().unwrap(), &datagram);
        agent.handle_timeout(ms(20_000));
        prop_assert!(agent.table_sizes() < 10);
    }

    #[test]
    fn candidate_lines_round_trip_or_are_refused(line in "(a=)?candidate:[a-z0-9+/]{0,34} [0-9]{1,4} (udp|tcp|UDP) \
        [0-9]{1,11} (1\\.2\\.3\\.4|::1|x\\.local) [0-9]{1,6} typ (host|relay|srflx|prflx|x)( raddr 1\\.2\\.3\\.4 rport 9)?\
        ( [a-z]{1,3} [a-z0-9]{1,3}){0,3}") {
        if let Ok(candidate) = line.parse::<Candidate>() {
            prop_assert_eq!(candidate.to_string().parse::<Candidate>(), Ok(candidate));
        }
    }
}
