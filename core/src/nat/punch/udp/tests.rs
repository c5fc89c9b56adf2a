//! Two machines against each other on a network without NATs, and one against what an attacker may send.

use super::*;

fn at(port: u16) -> SocketAddr {
    SocketAddr::from(([203, 0, 113, 1], port))
}

fn pairs(ports: &[u16]) -> Mode {
    let pairs = ports.iter().map(|port| Pair { socket: 0, remote: at(*port) }).collect();
    Mode::Pairs { pairs, spacing: Duration::ZERO, slow: false }
}

fn config(controlling: bool, mode: Mode) -> Config {
    let tiebreaker = 7 + u64::from(controlling);
    Config { controlling, tiebreaker, tag: [1, 2, 3, 4], mode, duration: Duration::from_secs(1), packets: 100 }
}

fn machine(controlling: bool, mode: Mode) -> Punch {
    Punch::new(Time::ZERO, config(controlling, mode), Jitter::from_seed(u64::from(controlling)))
}

fn drain(machine: &mut Punch) -> Vec<Output> {
    std::iter::from_fn(|| machine.poll()).collect()
}

/// Carries packets between two hosts with one socket each, at ports 1 and 2, dropping those that `lost` picks. Ends when
/// both machines are done; 1000 steps without that are a livelock.
fn run(one: &mut Punch, two: &mut Punch, mut lost: impl FnMut() -> bool) -> [Vec<Output>; 2] {
    let mut ends = [Vec::new(), Vec::new()];
    let mut now = Time::ZERO;
    for _ in 0..1000 {
        let mut moved = false;
        for (here, ended) in ends.iter_mut().enumerate() {
            for output in drain(if here == 0 { one } else { two }) {
                moved = true;
                let there = if here == 0 { &mut *two } else { &mut *one };
                let from = Pair { socket: 0, remote: at(1 + here as u16) };
                let aimed = |pair: Pair| pair.remote == at(2 - here as u16);
                match output {
                    Output::Probe(probe) if aimed(probe.pair) && !lost() => {
                        there.handle_probe(now, Probe { pair: from, ..probe });
                    }
                    Output::Answer(pair, transaction) if aimed(pair) && !lost() => {
                        there.handle_answer(now, from, transaction);
                    }
                    Output::Probe(_) | Output::Answer(..) => {}
                    end => ended.push(end),
                }
            }
        }
        if moved {
            continue;
        }
        let Some(next) = one.next_timeout().into_iter().chain(two.next_timeout()).min() else { return ends };
        now = now.max(next);
        one.handle_timeout(now);
        two.handle_timeout(now);
    }
    panic!("a livelock");
}

fn connected(ends: &[Vec<Output>; 2]) -> bool {
    let path = |port| vec![Output::Connected(Pair { socket: 0, remote: at(port) })];
    ends[0] == path(2) && ends[1] == path(1)
}

#[test]
fn both_sides_agree_in_four_packets_and_no_time() {
    let (mut one, mut two) = (machine(true, pairs(&[2])), machine(false, pairs(&[9])));
    let ends = run(&mut one, &mut two, || false);
    assert!(connected(&ends), "{ends:?}");
    // Two probes of the controlling side; the controlled one's to nowhere, and two answers.
    assert_eq!((one.packets(), two.packets()), (2, 3));
}

#[test]
fn a_side_whose_address_nobody_knew_is_found_by_its_packets() {
    for leader_known in [true, false] {
        let (first, second) = if leader_known { (9, 1) } else { (2, 9) };
        let (mut one, mut two) = (machine(true, pairs(&[first])), machine(false, pairs(&[second])));
        let ends = run(&mut one, &mut two, || false);
        assert!(connected(&ends), "{ends:?}");
    }
}

#[test]
fn loss_delays_but_never_splits_the_decision() {
    let mut both = 0;
    for seed in 0..500 {
        let mut jitter = Jitter::from_seed(seed);
        let (mut one, mut two) = (machine(true, pairs(&[2])), machine(false, pairs(&[1])));
        let ends = run(&mut one, &mut two, || jitter.below(100) < 40);
        let led = matches!(ends[0][..], [Output::Connected(_)]);
        assert!(!led || matches!(ends[1][..], [Output::Connected(_)]), "the follower knows first: {ends:?}");
        both += usize::from(connected(&ends));
    }
    assert!(both >= 495, "{both} of 500");
}

#[test]
fn two_leaders_settle_by_the_tiebreaker() {
    let (mut one, mut two) = (machine(true, pairs(&[2])), machine(true, pairs(&[1])));
    two.config.tiebreaker = 99;
    let ends = run(&mut one, &mut two, || false);
    assert!(connected(&ends), "{ends:?}");
    assert!(two.config.controlling && !one.config.controlling);
}

#[test]
fn silence_ends_the_round_after_a_bounded_number_of_fast_then_slow_probes() {
    let mut alone = machine(true, pairs(&[2]));
    let mut times = Vec::new();
    let mut now = Time::ZERO;
    let end = loop {
        for output in drain(&mut alone) {
            match output {
                Output::Probe(_) => times.push(now.as_micros() / 1000),
                other => assert_eq!(other, Output::Failed(Failure::Silence)),
            }
        }
        let Some(next) = alone.next_timeout() else { break now };
        now = next;
        alone.handle_timeout(now);
    };
    assert_eq!(times, [0, 5, 15, 35, 85, 185, 285, 435, 635, 835]);
    assert_eq!(end, Time::ZERO + Duration::from_secs(1));
    alone.handle_probe(end, probe(5, false, 0));
    assert_eq!(alone.poll(), None, "a failed round stays failed");
}

fn probe(from: u16, controlling: bool, number: u8) -> Probe {
    let transaction = [number; 12];
    let tiebreaker = 7 + u64::from(controlling);
    Probe { pair: Pair { socket: 0, remote: at(from) }, transaction, controlling, tiebreaker, nominate: false }
}

#[test]
fn a_replayed_probe_does_nothing_and_an_unknown_address_gets_one_packet_for_one() {
    for controlling in [true, false] {
        let mut machine = machine(controlling, pairs(&[2]));
        drain(&mut machine);
        for number in 0..20 {
            machine.handle_probe(Time::ZERO, probe(5, !controlling, number));
            assert_eq!(drain(&mut machine).len(), 1, "one for one");
            machine.handle_probe(Time::ZERO, probe(5, !controlling, number));
            machine.handle_probe(Time::ZERO, probe(6, !controlling, number));
            assert_eq!(drain(&mut machine), [], "replayed, also from elsewhere");
        }
        let later = Time::from_micros(900_000);
        machine.handle_timeout(later);
        let more = drain(&mut machine);
        assert!(more.iter().all(|output| matches!(output, Output::Probe(probe) if probe.pair.remote == at(2))));
    }
}

#[test]
fn answers_count_once_from_the_asked_address_on_the_asked_socket() {
    let mut leader = machine(true, pairs(&[2]));
    let [Output::Probe(asked)] = drain(&mut leader)[..] else { panic!("one probe") };
    leader.handle_answer(Time::ZERO, Pair { socket: 0, remote: at(3) }, asked.transaction);
    leader.handle_answer(Time::ZERO, Pair { socket: 1, remote: at(2) }, asked.transaction);
    leader.handle_answer(Time::ZERO, asked.pair, [9; 12]);
    assert_eq!(drain(&mut leader), []);
    leader.handle_answer(Time::ZERO, asked.pair, asked.transaction);
    let [Output::Probe(nomination)] = drain(&mut leader)[..] else { panic!("one nomination") };
    assert!(nomination.nominate && nomination.pair == asked.pair);
    leader.handle_answer(Time::ZERO, asked.pair, asked.transaction);
    assert_eq!(drain(&mut leader), [], "replayed");
    leader.handle_answer(Time::ZERO, asked.pair, nomination.transaction);
    assert_eq!(drain(&mut leader), [Output::Connected(asked.pair)]);
    assert_eq!(leader.next_timeout(), None);
}

#[test]
fn the_first_nomination_counts_and_is_answered_again() {
    let mut follower = machine(false, pairs(&[2]));
    drain(&mut follower);
    let nominate = |from, number| Probe { nominate: true, ..probe(from, true, number) };
    follower.handle_probe(Time::ZERO, nominate(5, 1));
    let path = Pair { socket: 0, remote: at(5) };
    assert_eq!(drain(&mut follower), [Output::Answer(path, [1; 12]), Output::Connected(path)]);
    follower.handle_probe(Time::ZERO, nominate(6, 2));
    assert_eq!(drain(&mut follower), [], "a second path is not taken");
    follower.handle_probe(Time::ZERO, nominate(5, 3));
    assert_eq!(drain(&mut follower), [Output::Answer(path, [3; 12])], "the first answer may have been lost");
}

#[test]
fn a_search_probes_each_port_once_at_a_bounded_rate() {
    let mode = Mode::Search { socket: 0, ip: at(0).ip(), first: 60_000, size: 5536, probes: 500 };
    let duration = Duration::from_secs(2);
    let config = Config { packets: 1000, duration, ..config(true, mode) };
    let mut search = Punch::new(Time::ZERO, config, Jitter::from_seed(1));
    let mut ports = BTreeSet::new();
    while let Some(now) = search.next_timeout() {
        search.handle_timeout(now);
        for output in drain(&mut search) {
            let Output::Probe(probe) = output else { continue };
            assert!(probe.pair.remote.port() >= 60_000 && ports.insert(probe.pair.remote.port()));
            assert!(now >= Time::ZERO + limits::PUNCH_HEAD_START);
        }
        let allowed = now.since(Time::ZERO).as_millis() as usize * limits::PUNCH_SEARCH_RATE as usize / 1000 + 1;
        assert!(ports.len() <= allowed, "{} probes at {now:?}", ports.len());
    }
    assert_eq!(ports.len(), 500);

    // A call that comes 10 s late does not send all at once.
    let mode = Mode::Search { socket: 0, ip: at(0).ip(), first: 1024, size: 64_512, probes: 2048 };
    let config = Config { duration: Duration::from_secs(60), ..self::config(true, mode) };
    let mut late = Punch::new(Time::ZERO, config, Jitter::from_seed(1));
    late.handle_timeout(Time::from_micros(10_000_000));
    assert!(drain(&mut late).len() <= BURST + 1);
}

#[test]
fn packets_and_memory_are_bounded() {
    let mut leader = machine(true, pairs(&[2, 3]));
    for number in 0..10_000_u32 {
        let mut transaction = [0; 12];
        transaction[..4].copy_from_slice(&number.to_be_bytes());
        let from = 1000 + (number % 50_000) as u16;
        leader.handle_probe(Time::ZERO, Probe { transaction, ..probe(from, false, 0) });
    }
    let out = drain(&mut leader);
    assert_eq!(out.last(), Some(&Output::Failed(Failure::PacketsSpent)));
    assert_eq!((out.len(), leader.packets()), (101, 100));
    assert!(leader.seen.len() <= limits::PUNCH_SEEN && leader.asked.is_empty());
}

#[test]
fn the_same_seed_gives_the_same_packets() {
    let trace = || {
        let (mut one, mut two) = (machine(true, pairs(&[2])), machine(false, pairs(&[1])));
        let mut jitter = Jitter::from_seed(3);
        let mut trace = Vec::new();
        let ends = run(&mut one, &mut two, || {
            trace.push(jitter.below(2));
            trace.last() == Some(&0)
        });
        (trace, ends)
    };
    assert_eq!(trace(), trace());
}
