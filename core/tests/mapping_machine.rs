//! The port mapping machine against a simulated router, on virtual time: preferences, silence, refusals, renewals,
//! restarts, conflicts, deletion. Not here: real routers (`tests/tests/port_mapping.rs`).

#[path = "mapping_machine/rig.rs"]
mod rig;

use std::time::Duration;

use dig_nat_core::base::error::ErrorKind;
use dig_nat_core::base::limits;
use dig_nat_core::nat::mapping::machine::UpnpRequest;
use dig_nat_core::nat::mapping::reach::Reach;
use dig_nat_core::nat::mapping::{Event, Failure, Family, MappingState, Method, Methods, Protocol, Route, natpmp, pcp};
use proptest::prelude::*;
use rig::{Manner, Rig, START, address, millis, route, wish};

const UDP: Protocol = Protocol::Udp;
const TCP: Protocol = Protocol::Tcp;

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// Maps UDP port 5000 and waits for the router's word.
fn mapped(rig: &mut Rig) -> Method {
    rig.machine.map(wish(UDP, 5000)).expect("room");
    rig.until(|rig| rig.external(UDP, 5000).is_some());
    assert!(rig.reachable(UDP, 5000));
    rig.machine.mappings()[0].method().expect("mapped")
}

#[test]
fn the_best_protocol_maps_and_the_others_make_nothing() {
    for (pcp, natpmp, upnp, best) in [
        (Manner::Answers, Manner::Answers, Manner::Answers, Method::Pcp),
        (Manner::Unsupported, Manner::Answers, Manner::Answers, Method::NatPmp),
        (Manner::Silent, Manner::Answers, Manner::Answers, Method::NatPmp),
        (Manner::Answers, Manner::Unsupported, Manner::Silent, Method::Pcp),
        (Manner::Silent, Manner::Silent, Manner::Answers, Method::Upnp),
        (Manner::Refuses, Manner::Answers, Manner::Answers, Method::NatPmp),
        (Manner::Refuses, Manner::Refuses, Manner::Answers, Method::Upnp),
    ] {
        let mut rig = Rig::new(Methods::ALL);
        (rig.router.pcp, rig.router.natpmp, rig.router.upnp) = (pcp, natpmp, upnp);
        assert_eq!(mapped(&mut rig), best, "{pcp:?} {natpmp:?} {upnp:?}");
        rig.run(seconds(10));
        assert_eq!(rig.router.rows.len(), 1);
        assert_eq!(rig.story(), ["mapped"]);
        let maps = rig.router.upnp_requests.iter().filter(|(_, request)| matches!(request, UpnpRequest::Map { .. }));
        assert_eq!(maps.count(), usize::from(best == Method::Upnp));
    }
}

#[test]
fn only_what_is_switched_on_is_asked() {
    let mut rig = Rig::new(Methods::UPNP);
    assert_eq!(mapped(&mut rig), Method::Upnp);
    assert!(rig.router.heard.is_empty());

    let mut rig = Rig::new(Methods::by_switches(false, true));
    assert_eq!(mapped(&mut rig), Method::Pcp);
    assert!(rig.router.upnp_requests.is_empty());
    assert!(rig.router.heard.iter().any(|(_, bytes)| bytes == &[0, 0]));

    let mut rig = Rig::new(Methods::NAT_PMP);
    assert_eq!(mapped(&mut rig), Method::NatPmp);
    assert!(rig.router.heard.iter().all(|(_, bytes)| bytes[0] == 0));
}

#[test]
fn an_answering_router_takes_milliseconds() {
    let mut rig = Rig::new(Methods::ALL);
    mapped(&mut rig);
    // One round trip of 4 ms for the question, one for the mapping.
    assert_eq!(millis(rig.now) - millis(START), 8);
}

#[test]
fn a_worse_protocol_waits_for_a_better_one_a_moment_only() {
    let mut rig = Rig::new(Methods::ALL);
    (rig.router.pcp, rig.router.natpmp) = (Manner::Silent, Manner::Silent);
    assert_eq!(mapped(&mut rig), Method::Upnp);
    // Found after 100 ms, the grace of 300 ms, mapped after 100 ms more.
    assert_eq!(millis(rig.now) - millis(START), 500);
}

#[test]
fn a_silent_router_costs_a_second_and_a_half() {
    let mut rig = Rig::new(Methods::ALL);
    (rig.router.pcp, rig.router.natpmp, rig.router.upnp) = (Manner::Silent, Manner::Silent, Manner::Silent);
    rig.machine.map(wish(UDP, 5000)).expect("room");
    rig.machine.map(wish(TCP, 5000)).expect("room");
    rig.until(|rig| rig.events.len() == 2);
    assert_eq!(millis(rig.now) - millis(START), 1500);
    let Event::Refused(info) = &rig.events[0].1 else { panic!("{:?}", rig.events) };
    let silent = |method| (method, Failure::Silent);
    let failures = Method::ALL.map(silent).to_vec();
    assert_eq!(info.state, MappingState::Refused { failures });
    // Both protocols sent three times: at once, after 250 ms, after 750 ms.
    let times: Vec<u64> = rig.router.heard.iter().map(|(time, _)| millis(*time) - millis(START)).collect();
    assert_eq!(times, [0, 0, 250, 250, 750, 750]);
}

#[test]
fn closed_ports_are_believed_at_once() {
    let mut rig = Rig::new(Methods::by_switches(false, true));
    (rig.router.pcp, rig.router.natpmp) = (Manner::Silent, Manner::Silent);
    rig.machine.map(wish(UDP, 5000)).expect("room");
    rig.run(Duration::from_millis(1));
    rig.machine.handle_unreachable(rig.now, Family::V4);
    rig.run(Duration::from_millis(1));
    let failures = vec![(Method::Pcp, Failure::Unreachable), (Method::NatPmp, Failure::Unreachable)];
    assert_eq!(rig.machine.mappings()[0].state, MappingState::Refused { failures });
}

#[test]
fn refusals_are_reported_with_their_reason_and_tried_again_with_growing_pauses() {
    let mut rig = Rig::new(Methods::by_switches(false, true));
    (rig.router.pcp, rig.router.natpmp) = (Manner::Silent, Manner::Refuses);
    rig.machine.map(wish(UDP, 5000)).expect("room");
    rig.run(seconds(1000));
    assert_eq!(rig.story(), ["refused"], "a lasting refusal is one event");
    let MappingState::Refused { failures } = &rig.machine.mappings()[0].state else { panic!("not refused") };
    let Failure::Refused { code: 4, reason } =
        &failures.iter().find(|(method, _)| *method == Method::NatPmp).expect("asked").1
    else {
        panic!("{failures:?}")
    };
    assert!(reason.contains("no room"), "{reason}");
    let asked: Vec<u64> = rig
        .router
        .heard
        .iter()
        .filter(|(_, bytes)| bytes.len() == 12)
        .map(|(time, _)| time.since(START).as_secs())
        .collect();
    let pauses: Vec<u64> = asked.windows(2).map(|pair| pair[1] - pair[0]).collect();
    for (pause, expected) in pauses.iter().zip([30, 60, 120, 240, 480]) {
        assert!((expected..=expected + 2).contains(pause), "{pauses:?}: the wait for PCP is two seconds at most");
    }
    assert_eq!(pauses.len(), 5, "{pauses:?}");

    rig.router.natpmp = Manner::Answers;
    rig.until(|rig| rig.reachable(UDP, 5000));
}

#[test]
fn a_router_that_asks_for_quiet_gets_it() {
    let mut rig = Rig::new(Methods::by_switches(false, true));
    (rig.router.pcp, rig.router.natpmp) = (Manner::Refuses, Manner::Unsupported);
    rig.machine.map(wish(UDP, 5000)).expect("room");
    rig.run(seconds(119));
    let maps = |rig: &Rig| rig.router.heard.iter().filter(|(_, bytes)| bytes.len() == 60).count();
    assert_eq!(maps(&rig), 1);
    rig.run(seconds(2));
    assert_eq!(maps(&rig), 2, "its answer said 120 s");
}

#[test]
fn mappings_are_renewed_at_half_of_what_was_granted() {
    let mut rig = Rig::new(Methods::by_switches(false, true));
    rig.router.longest = seconds(1200);
    mapped(&mut rig);
    let since = rig.now;
    rig.until(|rig| rig.story() == ["mapped", "renewed"]);
    let after = rig.now.since(since).as_secs();
    assert!((600..=750).contains(&after), "{after} s, not between 1/2 and 5/8 of 1200 s");
    rig.run(seconds(20_000));
    assert!(rig.reachable(UDP, 5000));
    assert!(rig.story()[1..].iter().all(|name| *name == "renewed"));
}

#[test]
fn renewals_are_tried_again_ever_more_often_until_the_end() {
    let mut rig = Rig::new(Methods::by_switches(false, true));
    rig.router.longest = seconds(1600);
    mapped(&mut rig);
    let since = rig.now;
    (rig.router.pcp, rig.router.natpmp) = (Manner::Silent, Manner::Silent);
    rig.router.heard.clear();
    rig.until(|rig| rig.story().contains(&"lost"));
    assert_eq!(rig.now.since(since).as_secs(), 1600, "not before the time granted is over");
    // The first datagram of each burst: after 1/2, 3/4, 7/8 ... of the lifetime, each up to a quarter of the rest later.
    let mut starts: Vec<f64> = Vec::new();
    for (time, bytes) in &rig.router.heard {
        let at = time.since(since).as_secs_f64();
        if bytes.len() == 60 && at < 1600.0 && starts.last().is_none_or(|last| at - last > 2.0) {
            starts.push(at);
        }
    }
    for (attempt, at) in starts.iter().take(5).enumerate() {
        let rest = 1600.0 / 2f64.powi(attempt as i32 + 1);
        let due = 1600.0 - rest..=1600.0 - rest + rest / 4.0 + 2.0;
        assert!(due.contains(at), "attempt {attempt} at {at}, not in {due:?}");
    }
    assert!((6..20).contains(&starts.len()), "{starts:?}");
    assert!(starts.windows(2).all(|pair| pair[1] - pair[0] >= 4.0), "{starts:?}");

    rig.router.pcp = Manner::Answers;
    rig.until(|rig| rig.reachable(UDP, 5000));
}

#[test]
fn short_leases_survive_loss() {
    for seed in 0..20 {
        let mut rig = Rig::seeded(Methods::by_switches(false, true), seed);
        (rig.router.longest, rig.router.loss) = (seconds(60), 0.2);
        rig.machine.map(wish(UDP, 5000)).expect("room");
        rig.until(|rig| rig.reachable(UDP, 5000));
        rig.run(seconds(3600));
        // Six of ten datagram pairs get through; a renewal has about nine tries before 60 s are over.
        let lost = rig.story().iter().filter(|name| **name == "lost").count();
        assert!(lost <= 1, "seed {seed}: lost {lost} times");
        rig.until(|rig| rig.reachable(UDP, 5000));
    }
}

#[test]
fn a_restarted_router_gets_its_mappings_back_at_once() {
    for methods in [Methods::by_switches(false, true), Methods::NAT_PMP] {
        let mut rig = Rig::new(methods);
        mapped(&mut rig);
        rig.machine.map(wish(TCP, 6000)).expect("room");
        rig.until(|rig| rig.reachable(TCP, 6000));
        rig.run(seconds(100));
        rig.router.restart(rig.now);
        assert!(!rig.reachable(UDP, 5000));
        // It says so to everybody (RFC 6887 section 14.1.3, RFC 6886 section 3.2.1).
        let announcement = if methods == Methods::NAT_PMP {
            let body = natpmp::Body::ExternalAddress(rig.router.external);
            natpmp::Response { result: natpmp::ResultCode::Success, epoch: 0, body }.encode()
        } else {
            vec![2, 128, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
        };
        rig.machine.handle_announcement(rig.now, address("192.168.1.2"), &announcement);
        rig.run(Duration::from_millis(20));
        assert!(!rig.reachable(UDP, 5000), "only the router itself is believed");
        let before = rig.now;
        rig.machine.handle_announcement(rig.now, address("192.168.1.1"), &announcement);
        rig.until(|rig| rig.story().len() == 5);
        assert!(rig.reachable(UDP, 5000) && rig.reachable(TCP, 6000));
        assert!(rig.now.since(before) < Duration::from_millis(10));
        assert_eq!(rig.story(), ["mapped", "mapped", "forgotten", "renewed", "renewed"]);
    }
}

#[test]
fn a_restart_that_nobody_announced_is_noticed_within_a_minute() {
    let mut rig = Rig::new(Methods::ALL);
    mapped(&mut rig);
    rig.run(seconds(100));
    rig.router.restart(rig.now);
    rig.run(limits::MAPPING_CHECK_INTERVAL + seconds(1));
    assert!(rig.reachable(UDP, 5000));
    assert_eq!(rig.story(), ["mapped", "forgotten", "renewed"]);
}

#[test]
fn announcements_in_a_flood_cause_no_flood() {
    let mut rig = Rig::new(Methods::by_switches(false, true));
    mapped(&mut rig);
    rig.router.heard.clear();
    for epoch in (0..1000u32).rev() {
        let mut announcement = vec![2, 128, 0, 0, 0, 0, 0, 0];
        announcement.extend((epoch * 10).to_be_bytes());
        announcement.extend([0; 12]);
        rig.machine.handle_announcement(rig.now, address("192.168.1.1"), &announcement);
        rig.run(Duration::from_millis(10));
    }
    // Ten seconds, one renewal per second and perhaps its retransmissions.
    assert!(rig.router.heard.len() <= 22, "{}", rig.router.heard.len());
}

#[test]
fn a_mapping_follows_the_routers_address_and_port() {
    let mut rig = Rig::new(Methods::NAT_PMP);
    mapped(&mut rig);
    let body = natpmp::Body::ExternalAddress([44, 128, 9, 9].into());
    let epoch = rig.router.epoch(rig.now);
    let announcement = natpmp::Response { result: natpmp::ResultCode::Success, epoch, body }.encode();
    rig.machine.handle_announcement(rig.now, address("192.168.1.1"), &announcement);
    rig.run(Duration::from_millis(1));
    assert_eq!(rig.external(UDP, 5000), "44.128.9.9:5000".parse().ok());
    assert_eq!(rig.machine.external_address(), Some(address("44.128.9.9")));

    let mut rig = Rig::new(Methods::by_switches(false, true));
    mapped(&mut rig);
    rig.run(seconds(100));
    rig.router.restart(rig.now);
    rig.router.occupy(UDP, 5000);
    rig.until(|rig| rig.reachable(UDP, 5000));
    assert_eq!(rig.external(UDP, 5000), "44.128.1.1:5001".parse().ok());
    let from = "44.128.1.1:5000".parse().expect("an address");
    assert!(matches!(&rig.events.last().expect("events").1, Event::Moved { from: old, .. } if *old == from));
}

#[test]
fn conflicts_give_another_port_and_spare_our_own() {
    for methods in [Methods::by_switches(false, true), Methods::NAT_PMP, Methods::UPNP] {
        let mut rig = Rig::new(methods);
        rig.machine.map(wish(UDP, 5001)).expect("room");
        rig.until(|rig| rig.reachable(UDP, 5001));
        rig.router.occupy(UDP, 5000);
        rig.machine.map(wish(UDP, 5000)).expect("room");
        rig.until(|rig| rig.reachable(UDP, 5000));
        assert!(rig.reachable(UDP, 5001), "{methods:?}: our own mapping was overwritten");
        assert_eq!(rig.external(UDP, 5000).map(|external| external.port()), Some(5002));
    }
}

#[test]
fn another_router_or_address_makes_everything_anew() {
    let mut rig = Rig::new(Methods::by_switches(true, false));
    mapped(&mut rig);
    let moved = Route { gateway: address("192.168.2.1"), ..route() };
    rig.machine.set_route(rig.now, Family::V4, Some(moved));
    rig.router.rows.clear();
    rig.until(|rig| rig.reachable(UDP, 5000));
    assert_eq!(rig.story(), ["mapped", "lost", "mapped"]);
    rig.machine.set_route(rig.now, Family::V4, Some(moved));
    rig.run(seconds(1));
    assert_eq!(rig.story().len(), 3, "nothing has changed");

    rig.machine.set_route(rig.now, Family::V4, None);
    rig.run(seconds(1));
    assert_eq!(rig.story()[3..], ["lost", "refused"]);
    rig.machine.set_route(rig.now, Family::V4, Some(moved));
    rig.until(|rig| rig.reachable(UDP, 5000));
}

#[test]
fn mappings_are_judged_by_their_address() {
    let mut rig = Rig::new(Methods::ALL);
    mapped(&mut rig);
    assert_eq!(rig.machine.mappings()[0].reach(), Some(Reach::Likely));
    rig.machine.set_public_address(address("44.128.1.1"));
    rig.run(Duration::from_millis(1));
    assert_eq!(rig.story(), ["mapped"]);
    let seen = address("44.128.77.1");
    rig.machine.set_public_address(seen);
    rig.run(Duration::from_millis(1));
    assert_eq!(rig.machine.mappings()[0].reach(), Some(Reach::SeenElsewhere { seen }));
    assert_eq!(rig.story(), ["mapped", "judged"]);

    for hidden in ["100.64.3.4", "192.168.0.7", "203.0.113.5", "198.18.0.1"] {
        let mut rig = Rig::new(Methods::ALL);
        rig.router.external = hidden.parse().expect("an address");
        rig.machine.map(wish(UDP, 5000)).expect("room");
        rig.until(|rig| rig.external(UDP, 5000).is_some());
        assert_eq!(rig.machine.mappings()[0].reach(), Some(Reach::BehindNat), "{hidden}");
    }
}

#[test]
fn stopping_deletes_everything() {
    for methods in [Methods::by_switches(false, true), Methods::NAT_PMP, Methods::UPNP] {
        let mut rig = Rig::new(methods);
        rig.machine.map(wish(UDP, 5000)).expect("room");
        rig.machine.map(wish(TCP, 5000)).expect("room");
        rig.until(|rig| rig.reachable(UDP, 5000) && rig.reachable(TCP, 5000));
        let before = rig.now;
        rig.machine.stop(rig.now);
        rig.until(|rig| rig.machine.is_idle());
        assert!(rig.router.rows.is_empty(), "{methods:?}: {:?}", rig.router.rows);
        assert!(rig.now.since(before) <= Duration::from_millis(100));
        assert_eq!(rig.machine.map(wish(UDP, 1)).expect_err("stopped").kind(), ErrorKind::InvalidState);
    }
}

#[test]
fn stopping_in_the_middle_of_a_request_leaves_nothing() {
    for (methods, wait) in [(Methods::by_switches(false, true), 5), (Methods::NAT_PMP, 5), (Methods::UPNP, 120)] {
        let mut rig = Rig::new(methods);
        rig.machine.map(wish(UDP, 5000)).expect("room");
        rig.run(Duration::from_millis(wait));
        assert_eq!((rig.router.rows.len(), rig.external(UDP, 5000)), (1, None), "the answer is still under way");
        rig.machine.stop(rig.now);
        rig.until(|rig| rig.machine.is_idle());
        assert!(rig.router.rows.is_empty(), "{methods:?}");
    }
}

#[test]
fn a_router_that_has_fallen_silent_cannot_hold_up_the_end() {
    let mut rig = Rig::new(Methods::by_switches(false, true));
    mapped(&mut rig);
    rig.router.pcp = Manner::Silent;
    let before = rig.now;
    rig.machine.stop(rig.now);
    rig.until(|rig| rig.machine.is_idle());
    assert_eq!(rig.now.since(before), limits::MAPPING_SILENCE);
}

#[test]
fn a_wish_can_be_taken_back_and_made_again() {
    for methods in [Methods::by_switches(false, true), Methods::NAT_PMP, Methods::UPNP] {
        let mut rig = Rig::new(methods);
        mapped(&mut rig);
        assert!(rig.machine.unmap(rig.now, UDP, 5000));
        assert!(!rig.machine.unmap(rig.now, UDP, 5000));
        assert!(rig.machine.mappings().is_empty());
        rig.machine.map(wish(UDP, 5000)).expect("room");
        rig.until(|rig| rig.reachable(UDP, 5000));
        rig.run(seconds(10));
        assert!(rig.reachable(UDP, 5000), "{methods:?}: the old deletion hit the new mapping");
    }
}

#[test]
fn permanent_upnp_mappings_are_confirmed_and_deleted() {
    let mut rig = Rig::new(Methods::UPNP);
    rig.router.permanent = true;
    mapped(&mut rig);
    rig.run(seconds(3600));
    let maps = rig.router.upnp_requests.iter().filter(|(_, request)| matches!(request, UpnpRequest::Map { .. }));
    assert_eq!(maps.count(), 1 + 5, "once, and every ten minutes until an hour is nearly over");
    rig.machine.stop(rig.now);
    rig.until(|rig| rig.machine.is_idle());
    assert!(rig.router.rows.is_empty());
}

#[test]
fn there_is_a_bound_on_mappings() {
    let mut rig = Rig::new(Methods::ALL);
    for port in 1..=limits::MAX_MAPPINGS as u16 {
        rig.machine.map(wish(UDP, port)).expect("room");
    }
    assert_eq!(rig.machine.map(wish(UDP, 999)).expect_err("full").kind(), ErrorKind::LimitReached);
    rig.machine.map(wish(UDP, 1)).expect("known already");
    assert_eq!(rig.machine.map(wish(UDP, 0)).expect_err("no port").kind(), ErrorKind::InvalidArgument);
}

#[test]
fn forged_and_foreign_answers_change_nothing() {
    let mut rig = Rig::new(Methods::by_switches(false, true));
    rig.router.pcp = Manner::Answers;
    mapped(&mut rig);
    let before = rig.machine.mappings();
    let map = pcp::Map {
        nonce: [9; 12],
        protocol: UDP,
        internal_port: 5000,
        external_port: 666,
        external_address: address("44.128.66.6"),
    };
    let epoch = rig.router.epoch(rig.now);
    let operation = Some(pcp::Operation::Map(map));
    let forged = pcp::Response { version: 2, result: pcp::ResultCode::Success, lifetime: 9, epoch, operation };
    rig.machine.handle_datagram(rig.now, Family::V4, &forged.encode());
    let body = natpmp::Body::Map { protocol: UDP, internal_port: 5000, external_port: 666, lifetime: 9 };
    let unasked = natpmp::Response { result: natpmp::ResultCode::Success, epoch, body };
    rig.machine.handle_datagram(rig.now, Family::V4, &unasked.encode());
    rig.run(seconds(1));
    assert_eq!(rig.machine.mappings(), before);
}

proptest! {
    /// Whatever a router sends, the machine neither panics nor spins, and a well-behaved router still works afterwards.
    #[test]
    fn any_bytes_at_any_time(
        datagrams in proptest::collection::vec((0u64..3000, prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..80),
            (any::<u8>(), any::<u32>(), proptest::collection::vec(any::<u8>(), 52)).prop_map(|(result, epoch, rest)| {
                [&[2, 129, 0, result % 15][..], &epoch.to_be_bytes(), &rest].concat()
            }),
            (0u8..3, 0u8..6, any::<[u8; 12]>()).prop_map(|(operation, result, rest)| {
                [&[0, 128 + operation, 0, result][..], &rest].concat()
            }),
        ], any::<bool>()), 0..40),
        seed in any::<u64>(),
    ) {
        let mut rig = Rig::seeded(Methods::ALL, seed);
        rig.machine.map(wish(UDP, 5000)).expect("room");
        for (wait, bytes, announced) in datagrams {
            rig.run(Duration::from_millis(wait));
            if announced {
                rig.machine.handle_announcement(rig.now, address("192.168.1.1"), &bytes);
            } else {
                rig.machine.handle_datagram(rig.now, Family::V4, &bytes);
            }
        }
        // NAT-PMP has no nonce, so a forged address or port can stand until the next renewal.
        rig.run(limits::MAX_MAPPING_PAUSE + limits::MAX_MAPPING_LIFETIME);
        rig.until(|rig| rig.reachable(UDP, 5000));
    }
}

#[test]
fn what_each_protocol_said_can_be_read() {
    let mut rig = Rig::new(Methods::ALL);
    (rig.router.pcp, rig.router.natpmp) = (Manner::Unsupported, Manner::Answers);
    rig.run(seconds(2));
    let results = rig.machine.probe_results();
    let found: Vec<_> = results.iter().map(|result| (result.method, result.answered_after, result.external)).collect();
    let external = Some(address("44.128.1.1"));
    assert_eq!(
        found,
        [
            (Method::Pcp, None, None),
            (Method::NatPmp, Some(Duration::from_millis(4)), external),
            (Method::Upnp, Some(Duration::from_millis(100)), external),
        ]
    );
    assert_eq!(results[0].failure, Some(Failure::Unsupported));
    assert!(results.iter().all(|result| !result.pending));
    assert_eq!(rig.machine.external_address(), external);
}
