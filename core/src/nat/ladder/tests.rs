//! The ladder by single scenes; the whole of it is simulated in `core/tests/ladder_simulation.rs`.

use super::*;
use crate::nat::method::{MappingProtocol, Side, Transport, parse_preference};
use crate::nat::policy::Refusal;
use crate::nat::profile::{Filtering, Mapping, NatProfile};

fn ms(milliseconds: u64) -> Time {
    Time::from_micros(milliseconds * 1000)
}

fn candidate(text: &str, transport: Transport, source: Source) -> Candidate {
    Candidate { target: Target { address: text.parse().expect("an address"), transport }, source }
}

fn told(text: &str) -> Candidate {
    candidate(text, Transport::Udp, Source::Told)
}

fn ladder(situation: Situation) -> Ladder {
    let mut ladder = Ladder::new(situation);
    ladder.start(Time::ZERO);
    ladder
}

fn drain(ladder: &mut Ladder) -> Vec<Output> {
    std::iter::from_fn(|| ladder.poll()).collect()
}

/// Names of the rungs started, and the id of the last.
fn starts(outputs: &[Output]) -> Vec<(Method, RungId)> {
    outputs
        .iter()
        .filter_map(|output| match output {
            Output::Start { rung, method, .. } => Some((*method, *rung)),
            _ => None,
        })
        .collect()
}

fn methods(outputs: &[Output]) -> Vec<Method> {
    starts(outputs).into_iter().map(|(method, _)| method).collect()
}

fn dual() -> Situation {
    let candidates = vec![told("[2a00::1]:4001"), told("8.8.8.8:4001")];
    Situation { ipv6: true, candidates, ..Situation::default() }
}

#[test]
fn ipv4_goes_first_by_250_milliseconds_where_that_is_preferred() {
    let mut one = ladder(Situation { ipv4_first: true, ..dual() });
    assert_eq!(methods(&drain(&mut one)), [Method::DirectV4]);
    assert_eq!(one.next_timeout(), Some(ms(250)));
    one.handle_timeout(ms(249));
    assert!(drain(&mut one).is_empty());
    one.handle_timeout(ms(250));
    assert_eq!(methods(&drain(&mut one)), [Method::DirectV6]);

    let mut other = ladder(Situation { ipv4_first: true, ..dual() });
    let (_, v4) = starts(&drain(&mut other))[0];
    other.failed(ms(10), v4, Failure::Refused, "");
    assert_eq!(methods(&drain(&mut other)), [Method::DirectV6], "a failure ends the head start");

    let only_v6 = Situation { candidates: vec![told("[2a00::1]:4001")], ipv4_first: true, ..dual() };
    assert_eq!(methods(&drain(&mut ladder(only_v6))), [Method::DirectV6], "nothing to wait for");
}

#[test]
fn ipv6_goes_first_by_250_milliseconds_or_its_failure() {
    let mut one = ladder(dual());
    assert_eq!(methods(&drain(&mut one)), [Method::DirectV6]);
    assert_eq!(one.next_timeout(), Some(ms(250)));
    one.handle_timeout(ms(249));
    assert!(drain(&mut one).is_empty());
    one.handle_timeout(ms(250));
    assert_eq!(methods(&drain(&mut one)), [Method::DirectV4]);

    let mut other = ladder(dual());
    let (_, rung) = starts(&drain(&mut other))[0];
    other.failed(ms(10), rung, Failure::Refused, "");
    assert_eq!(methods(&drain(&mut other)), [Method::DirectV4]);
}

#[test]
fn a_relay_carries_until_a_direct_path_stands() {
    let mut ladder = ladder(Situation { circuit: Relay::Ready, ..dual() });
    let begun = starts(&drain(&mut ladder));
    let [(Method::DirectV6, direct), (Method::Circuit, circuit)] = begun[..] else { panic!("{begun:?}") };
    ladder.succeeded(ms(50), circuit, false);
    assert_eq!(drain(&mut ladder), [Output::Connected { rung: circuit, method: Method::Circuit }]);
    ladder.succeeded(ms(80), direct, false);
    let method = Method::DirectV6;
    assert_eq!(drain(&mut ladder), [Output::Switch { from: circuit, to: direct, method, why: Change::Upgrade }]);
    // The direct path dies while the relay stands by: no time passes without a path.
    ladder.path_died(ms(5000), direct);
    let outputs = drain(&mut ladder);
    let method = Method::Circuit;
    assert_eq!(outputs[0], Output::Switch { from: direct, to: circuit, method, why: Change::Fallback });
    assert_eq!(methods(&outputs), [Method::DirectV6], "and the search begins again");
}

#[test]
fn what_stands_by_is_released_after_its_linger() {
    let mut ladder = ladder(Situation { circuit: Relay::Ready, ..dual() });
    let begun = starts(&drain(&mut ladder));
    ladder.succeeded(ms(50), begun[1].1, false);
    ladder.succeeded(ms(60), begun[0].1, false);
    drain(&mut ladder);
    let end = ms(60) + limits::STANDBY_LINGER;
    assert_eq!(ladder.next_timeout(), Some(end));
    ladder.handle_timeout(end);
    assert_eq!(drain(&mut ladder), [Output::Release { rung: begun[1].1 }]);
    assert_eq!(ladder.next_timeout(), None);
    ladder.path_died(end, begun[0].1);
    assert_eq!(drain(&mut ladder)[0], Output::Lost { rung: begun[0].1 });
}

#[test]
fn the_first_direct_path_ends_the_race() {
    let mut ladder = ladder(Situation { signalling: Signalling::Ready, ..dual() });
    let (_, first) = starts(&drain(&mut ladder))[0];
    ladder.handle_timeout(ms(250));
    let (_, second) = starts(&drain(&mut ladder))[0];
    ladder.succeeded(ms(290), second, false);
    let outputs = drain(&mut ladder);
    assert!(outputs.contains(&Output::Cancel { rung: first }), "{outputs:?}");
    assert_eq!(outputs[0], Output::Connected { rung: second, method: Method::DirectV4 });
    // The loser answers after all.
    ladder.succeeded(ms(291), first, false);
    assert_eq!(drain(&mut ladder), [Output::Release { rung: first }]);
    assert_eq!(ladder.next_timeout(), None, "nothing is left to do");
    assert!(ladder.log().render().contains("udp-hole-punch          not tried: connected already"));
}

#[test]
fn what_worked_before_goes_first() {
    let memory = vec![Method::UdpPunch];
    let mut ladder = ladder(Situation { signalling: Signalling::Ready, memory, ..dual() });
    let (method, rung) = starts(&drain(&mut ladder))[0];
    assert_eq!(method, Method::UdpPunch);
    ladder.failed(ms(100), rung, Failure::Timeout, "");
    let begun = methods(&drain(&mut ladder));
    assert!(begun.starts_with(&[Method::DirectV6]) && !begun.contains(&Method::UdpPunch), "{begun:?}");
}

#[test]
fn hopeless_ways_are_skipped_with_their_reason() {
    let theirs = NatProfile {
        public_v4: "8.8.8.8:4001".parse().ok(),
        mapping: Some(Mapping::AddressAndPortDependent),
        filtering: Some(Filtering::AddressAndPortDependent),
        ..NatProfile::default()
    };
    let ours = NatProfile { public_v4: "9.9.9.9:4001".parse().ok(), udp_blocked: true, ..theirs.clone() };
    let candidates =
        vec![candidate("8.8.8.8:4001", Transport::Tcp, Source::Observed), told("10.0.0.1:1"), told("127.0.0.1:80")];
    let signalling = Signalling::Ready;
    let situation = Situation { ours, theirs: Some(theirs), candidates, signalling, ..Situation::default() };
    let mut ladder = ladder(situation);
    let [Output::GiveUp { log }] = &drain(&mut ladder)[..] else { panic!("something was started") };
    let reason = |method: Method| {
        let attempt = log.attempts().iter().find(|attempt| attempt.method == method);
        attempt.unwrap_or_else(|| panic!("{method} is missing:\n{log}")).outcome
    };
    for (method, skip) in [
        (Method::DirectV4, Skip::Filtered),
        (Method::DirectV6, Skip::NoAddress),
        (Method::Lan, Skip::Forbidden(Refusal::Private)),
        (Method::UdpPunch, Skip::UdpBlocked),
        (Method::UdpAdvancedPunch, Skip::UdpBlocked),
        (Method::TcpPunch, Skip::Symmetric),
        (Method::TcpSimultaneousOpen, Skip::Symmetric),
        (Method::Ice, Skip::UdpBlocked),
        (Method::Turn, Skip::NotConfigured),
        (Method::Circuit, Skip::NotConfigured),
        (Method::GunRelay, Skip::NotConfigured),
        (Method::Mapped(MappingProtocol::Upnp, Side::Ours), Skip::NoMapping),
    ] {
        assert_eq!(reason(method), Outcome::Skipped(skip), "{method}");
    }
    assert!(log.attempts().iter().any(|attempt| attempt.target == "127.0.0.1:80"));
}

#[test]
fn the_users_choice_is_kept_in_its_order() {
    let preferred = ["turn", "TCP"].map(|text| parse_preference(text).expect("known")).to_vec();
    let mut situation = Situation { preferred: Some(preferred), turn: Relay::Known, circuit: Relay::Ready, ..dual() };
    situation.signalling = Signalling::Ready;
    situation.candidates.push(candidate("8.8.8.8:4001", Transport::Tcp, Source::Told));
    let mut ladder = ladder(situation);
    let outputs = drain(&mut ladder);
    assert_eq!(methods(&outputs), [Method::Turn, Method::DirectV4], "a relay gives no head start");
    let Some(Output::Start { plan: Plan::Dial(targets), .. }) = outputs.last() else { panic!("{outputs:?}") };
    assert_eq!(targets.len(), 1, "only TCP");
    assert!(ladder.log().render().contains("circuit                 not tried: not among the preferred methods"));
}

#[test]
fn addresses_that_trickle_in_are_tried_and_old_ones_are_not_repeated() {
    let mut situation = Situation { candidates: vec![told("8.8.8.8:4001")], ..Situation::default() };
    let mut ladder = ladder(situation.clone());
    let (_, rung) = starts(&drain(&mut ladder))[0];
    situation.candidates.push(told("8.8.8.8:4002"));
    ladder.update(ms(20), situation.clone());
    let outputs = drain(&mut ladder);
    let [Output::Start { plan: Plan::Dial(targets), rung: second, .. }] = &outputs[..] else { panic!("{outputs:?}") };
    assert_eq!(targets[0].address, "8.8.8.8:4002".parse().expect("an address"));
    ladder.failed(ms(30), rung, Failure::Refused, "");
    ladder.update(ms(31), situation);
    assert!(starts(&drain(&mut ladder)).is_empty());
    ladder.failed(ms(40), *second, Failure::Refused, "");
    assert!(matches!(drain(&mut ladder)[..], [Output::GiveUp { .. }]));
}

#[test]
fn a_changed_network_makes_before_it_breaks() {
    let mut ladder = ladder(dual());
    let (_, old) = starts(&drain(&mut ladder))[0];
    ladder.succeeded(ms(50), old, false);
    drain(&mut ladder);
    ladder.network_changed(ms(9000), dual());
    let begun = starts(&drain(&mut ladder));
    assert_eq!(begun[0].0, Method::DirectV6, "an equal path is looked for");
    assert_eq!(ladder.active().map(|(rung, ..)| rung), Some(old));
    ladder.succeeded(ms(9050), begun[0].1, false);
    let switched = Output::Switch { from: old, to: begun[0].1, method: Method::DirectV6, why: Change::Upgrade };
    assert_eq!(drain(&mut ladder), [switched]);
    // A path that proves to have survived needs no replacement.
    ladder.network_changed(ms(20_000), dual());
    let (_, rung) = starts(&drain(&mut ladder))[0];
    ladder.path_confirmed(ms(20_010), begun[0].1);
    ladder.succeeded(ms(20_050), rung, false);
    assert!(drain(&mut ladder).iter().all(|output| !matches!(output, Output::Switch { .. })));
}

#[test]
fn signalling_that_comes_with_the_circuit_is_waited_for() {
    let situation = Situation {
        signalling: Signalling::AfterCircuit,
        circuit: Relay::Known,
        candidates: vec![told("8.8.8.8:1")],
        ..Situation::default()
    };
    let mut first = ladder(situation.clone());
    let begun = starts(&drain(&mut first));
    let [(Method::DirectV4, _), (Method::Circuit, circuit)] = begun[..] else { panic!("{begun:?}") };
    first.handle_timeout(ms(400));
    assert!(drain(&mut first).is_empty(), "no punch without signalling");
    first.succeeded(ms(410), circuit, false);
    assert!(methods(&drain(&mut first)).contains(&Method::UdpPunch));

    let mut second = ladder(situation);
    let circuit = starts(&drain(&mut second))[1].1;
    second.failed(ms(100), circuit, Failure::Unreachable, "no reservation");
    assert!(drain(&mut second).is_empty());
    assert!(second.log().render().contains("no way to exchange messages"));
}

#[test]
fn a_path_that_keeps_breaking_is_given_up() {
    let mut ladder = ladder(Situation { candidates: vec![told("8.8.8.8:4001")], ..Situation::default() });
    let mut now = Time::ZERO;
    let mut rounds = 0;
    loop {
        let outputs = drain(&mut ladder);
        if outputs.iter().any(|output| matches!(output, Output::GiveUp { .. })) {
            break;
        }
        if let Some((_, rung)) = starts(&outputs).first() {
            rounds += 1;
            assert!(rounds < 100, "it never ends");
            ladder.succeeded(now, *rung, false);
            ladder.path_died(now, *rung);
        } else {
            now = ladder.next_timeout().expect("a pause");
            ladder.handle_timeout(now);
        }
    }
    assert_eq!(rounds, limits::MAX_LADDER_ROUNDS);
    assert!(now >= ms(15_000), "with pauses: {now:?}");
    ladder.start(now);
    assert_eq!(starts(&drain(&mut ladder)).len(), 1, "it can be started again");
}

#[test]
fn floods_of_addresses_end_in_a_bound() {
    let mut ladder = ladder(Situation::default());
    drain(&mut ladder);
    ladder.start(ms(1));
    for flood in 0..100_u8 {
        let candidates = (0..200).map(|host| told(&format!("8.8.{flood}.{host}:1"))).collect();
        ladder.network_changed(ms(2), Situation { candidates, ..Situation::default() });
        let candidates = (0..200).map(|host| told(&format!("9.9.{flood}.{host}:1"))).collect();
        ladder.update(ms(3), Situation { candidates, ..Situation::default() });
        ladder.start(ms(3));
        for output in drain(&mut ladder) {
            if let Output::Start { plan: Plan::Dial(targets), .. } = output {
                assert!(targets.len() <= limits::MAX_LADDER_CANDIDATES);
            }
        }
        assert!(ladder.table_sizes() <= limits::MAX_LADDER_TARGETS + 40, "{}", ladder.table_sizes());
    }
}
