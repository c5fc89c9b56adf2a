//! The machine against scripted connections, and two machines over a model of crossing connections.

use super::*;
use crate::base::random::Jitter;

fn target() -> SocketAddr {
    SocketAddr::from(([203, 0, 113, 2], 7))
}

fn start(controlling: bool) -> TcpPunch {
    TcpPunch::new(Time::ZERO, controlling, &[target()], limits::PUNCH_TCP_ROUND)
}

fn drain(machine: &mut TcpPunch) -> Vec<Output> {
    std::iter::from_fn(|| machine.poll()).collect()
}

fn after(milliseconds: u64) -> Time {
    Time::ZERO + Duration::from_millis(milliseconds)
}

#[test]
fn refused_connections_are_tried_again_every_100_ms_until_the_end() {
    let mut machine = start(true);
    let (mut now, mut times) = (Time::ZERO, Vec::new());
    loop {
        for output in drain(&mut machine) {
            match output {
                Output::Connect(id, to) => {
                    assert_eq!(to, target());
                    times.push(now.as_micros() / 1000);
                    machine.handle(now, Input::Refused(id, Refusal::Refused));
                }
                other => assert_eq!(other, Output::Failed(Failure::NoConnection)),
            }
        }
        let Some(next) = machine.next_timeout() else { break };
        now = next;
        machine.handle_timeout(now);
    }
    assert_eq!(times, (0..40).map(|number| number * 100).collect::<Vec<u64>>());
    assert_eq!(now, Time::ZERO + limits::PUNCH_TCP_ROUND);
}

#[test]
fn the_controlling_side_selects_one_and_closes_the_losers() {
    let mut leader = start(true);
    let [Output::Connect(own, _)] = drain(&mut leader)[..] else { panic!("a connect") };
    let other = leader.accepted(Time::ZERO).expect("room");
    leader.handle(after(1), Input::Connected(own));
    assert_eq!(drain(&mut leader), [Output::Send(other, Kind::Hello), Output::Send(own, Kind::Hello)]);
    leader.handle(after(2), Input::Frame(other, Kind::Hello));
    leader.handle(after(2), Input::Frame(own, Kind::Hello));
    assert_eq!(drain(&mut leader), [Output::Send(other, Kind::Select)], "one only");
    leader.handle(after(3), Input::Frame(other, Kind::Accept));
    assert_eq!(drain(&mut leader), [Output::Close(own), Output::Won(other)]);
    assert_eq!((leader.next_timeout(), leader.accepted(Time::ZERO)), (None, None));
}

#[test]
fn a_dead_choice_is_replaced() {
    let mut leader = start(true);
    let [Output::Connect(own, _)] = drain(&mut leader)[..] else { panic!("a connect") };
    leader.handle(after(1), Input::Connected(own));
    leader.handle(after(2), Input::Frame(own, Kind::Hello));
    let other = leader.accepted(Time::ZERO).expect("room");
    leader.handle(after(3), Input::Frame(other, Kind::Hello));
    drain(&mut leader);
    leader.handle_timeout(after(702));
    assert_eq!(drain(&mut leader), [Output::Close(own), Output::Send(other, Kind::Select)]);
    leader.handle(after(703), Input::Frame(own, Kind::Accept));
    assert_eq!(drain(&mut leader), [], "too late");
    leader.handle(after(704), Input::Frame(other, Kind::Accept));
    assert!(drain(&mut leader).contains(&Output::Won(other)));
}

#[test]
fn a_silent_connection_is_given_up_for_another_attempt() {
    let mut follower = start(false);
    let [Output::Connect(own, _)] = drain(&mut follower)[..] else { panic!("a connect") };
    follower.handle(after(1), Input::Connected(own));
    assert_eq!(drain(&mut follower), [Output::Send(own, Kind::Hello)]);
    follower.handle_timeout(after(1001));
    assert_eq!(drain(&mut follower), [Output::Close(own)]);
    follower.handle_timeout(after(1101));
    assert!(matches!(drain(&mut follower)[..], [Output::Connect(..)]));
}

#[test]
fn the_controlled_side_waits_for_select() {
    let mut follower = start(false);
    let [Output::Connect(own, _)] = drain(&mut follower)[..] else { panic!("a connect") };
    follower.handle(after(1), Input::Connected(own));
    follower.handle(after(2), Input::Frame(own, Kind::Hello));
    assert_eq!(drain(&mut follower), [Output::Send(own, Kind::Hello)]);
    follower.handle(after(3), Input::Frame(own, Kind::Select));
    assert_eq!(drain(&mut follower), [Output::Send(own, Kind::Accept), Output::Won(own)]);
}

#[test]
fn frames_out_of_order_close_the_connection() {
    for controlling in [true, false] {
        for kind in [Kind::Select, Kind::Accept] {
            let mut machine = start(controlling);
            let id = machine.accepted(Time::ZERO).expect("room");
            drain(&mut machine);
            machine.handle(after(1), Input::Frame(id, kind));
            assert_eq!(drain(&mut machine), [Output::Close(id)], "{kind:?} before HELLO");
        }
    }
}

#[test]
fn strangers_are_bounded() {
    let mut machine = start(true);
    drain(&mut machine);
    let mut open: Vec<Id> = std::iter::from_fn(|| machine.accepted(Time::ZERO)).collect();
    assert_eq!(open.len(), limits::PUNCH_TCP_CONNECTIONS - 1);
    for _ in 0..1000 {
        if let Some(id) = open.pop() {
            machine.handle(after(1), Input::Closed(id));
        }
        open.extend(machine.accepted(Time::ZERO));
    }
    assert_eq!(machine.attempts(), limits::PUNCH_TCP_ATTEMPTS);
}

/// One end of a connection in the model below.
struct End {
    id: Id,
    peer: Id,
    /// What is written here never arrives.
    dead: bool,
}

/// Two machines whose connects are refused, cross, are accepted, or end half-dead, as a seed decides. True if both won
/// the same connection; panics if they won different ones.
fn meet(seed: u64) -> bool {
    let mut jitter = Jitter::from_seed(seed);
    let mut machines = [start(true), start(false)];
    let mut ends: [Vec<End>; 2] = [Vec::new(), Vec::new()];
    let mut won = [None, None];
    let mut now = Time::ZERO;
    for _ in 0..5000 {
        let mut moved = false;
        for here in 0..2 {
            let there = 1 - here;
            for output in drain(&mut machines[here]) {
                moved = true;
                match output {
                    Output::Connect(id, _) => {
                        let luck = jitter.below(10);
                        let accepted = if luck < 6 { None } else { machines[there].accepted(now) };
                        let Some(peer) = accepted else {
                            let why = if luck == 0 { Refusal::Exists } else { Refusal::Refused };
                            machines[here].handle(now, Input::Refused(id, why));
                            continue;
                        };
                        let dead = luck == 9;
                        ends[here].push(End { id, peer, dead });
                        ends[there].push(End { id: peer, peer: id, dead });
                        machines[here].handle(now, Input::Connected(id));
                    }
                    Output::Send(id, kind) => {
                        let end = ends[here].iter().find(|end| end.id == id).expect("open");
                        if !end.dead {
                            machines[there].handle(now, Input::Frame(end.peer, kind));
                        }
                    }
                    Output::Close(id) => {
                        let end = ends[here].iter().find(|end| end.id == id);
                        if let Some(end) = end.filter(|end| !end.dead) {
                            machines[there].handle(now, Input::Closed(end.peer));
                        }
                    }
                    Output::Won(id) => {
                        let end = ends[here].iter().find(|end| end.id == id).expect("open");
                        won[here] = Some(if here == 0 { (id, end.peer) } else { (end.peer, id) });
                    }
                    Output::Failed(_) => {}
                }
            }
        }
        if moved {
            continue;
        }
        let Some(next) = machines.iter().filter_map(TcpPunch::next_timeout).min() else {
            assert!(won[0].is_none() || won[0] == won[1], "seed {seed}: {won:?}");
            return won[0].is_some();
        };
        now = now.max(next);
        for machine in &mut machines {
            machine.handle_timeout(now);
        }
    }
    panic!("seed {seed}: a livelock");
}

#[test]
fn both_sides_win_the_same_connection_whatever_comes_up() {
    let met = (0..2000).filter(|seed| meet(*seed)).count();
    assert_eq!(met, 2000);
}
