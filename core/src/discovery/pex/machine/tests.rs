//! The machine with time as it likes: what is told to whom, and what comes of a flood.

use std::time::Duration;

use super::*;
use crate::base::random::Jitter;

const MINUTE: Duration = Duration::from_secs(60);

/// After all that happens here.
const LATE: Time = Time::from_micros(u64::MAX / 2);

fn peer(name: &str) -> PeerId {
    PeerId::from_text(name)
}

fn key(number: u64) -> FileHash {
    FileHash::of(&number.to_be_bytes())
}

fn machine() -> Pex {
    Pex::new(PexConfig::default(), peer("me"))
}

fn public(number: usize) -> String {
    format!("/ip4/9.1.{}.{}/tcp/4001", number / 256, number % 256)
}

/// A session with a peer that we dialled.
fn dialled(pex: &mut Pex, now: Time, name: &str, address: &str) -> SessionId {
    let id = pex.open(now, key(1), &peer(name), address);
    pex.joined(now, id, false, Some(address));
    id
}

fn names(message: &Exchange) -> Vec<String> {
    let name = |entry: &Entry| match entry {
        Entry::Plain { peer, .. } => peer.to_string(),
        Entry::Signed(bytes) => String::from_utf8_lossy(bytes).into_owned(),
    };
    message.added.iter().map(|(_, entry)| name(entry)).collect()
}

fn heard(name: &str, addresses: &[&str]) -> Heard {
    let addresses = addresses.iter().map(|text| (*text).to_owned()).collect();
    Heard { peer: peer(name), addresses, signed: false, flags: Flags::default() }
}

#[test]
fn whoever_was_connected_to_is_told_of_once_and_taken_back_later() {
    let mut pex = machine();
    let start = Time::ZERO;
    let a = dialled(&mut pex, start, "a", &public(1));
    let b = dialled(&mut pex, start, "b", &public(2));
    assert_eq!(pex.message(start, a), None, "too early");
    let soon = pex.next_timeout(a).expect("a time");
    assert!(soon.since(start) <= Duration::from_secs(1));
    let first = pex.message(soon, a).expect("news");
    assert_eq!(names(&first), ["b"], "neither the peer itself");
    assert!(first.added[0].0.reachable && first.added[0].0.tcp && !first.added[0].0.quic);
    assert_eq!(names(&pex.message(soon, b).expect("news")), ["a"]);
    // A third one is told of with the next message, a minute later.
    let c = dialled(&mut pex, soon, "c", &public(3));
    assert_eq!(pex.message(soon + Duration::from_secs(59), a), None);
    assert_eq!(names(&pex.message(soon + MINUTE, a).expect("news")), ["c"]);
    assert_eq!(pex.message(soon + 2 * MINUTE, a), None, "nothing new");
    // It leaves; after a while that is told.
    pex.close(soon + 2 * MINUTE, c);
    assert_eq!(pex.message(soon + 3 * MINUTE, a), None);
    let gone = pex.message(soon + 5 * MINUTE, a).expect("it left");
    assert_eq!((gone.added.len(), gone.dropped), (0, vec![peer("c")]));
}

#[test]
fn the_pause_between_messages_is_that_of_the_options() {
    let mut pex = Pex::new(PexConfig { interval: 10 * MINUTE, ..PexConfig::default() }, peer("me"));
    let start = Time::ZERO;
    let a = dialled(&mut pex, start, "a", &public(1));
    dialled(&mut pex, start, "b", &public(2));
    let soon = pex.next_timeout(a).expect("a time");
    assert_eq!(names(&pex.message(soon, a).expect("news")), ["b"]);
    dialled(&mut pex, soon, "c", &public(3));
    assert_eq!(pex.message(soon + 9 * MINUTE, a), None);
    assert_eq!(names(&pex.message(soon + 10 * MINUTE, a).expect("news")), ["c"]);
}

#[test]
fn only_who_was_reached_or_signed_is_told_of_and_only_who_takes_part() {
    let mut pex = machine();
    let now = Time::ZERO + MINUTE;
    let a = dialled(&mut pex, Time::ZERO, "a", &public(1));
    // Connected to us and said nothing of itself; asks only; asks and signs.
    let inbound = pex.open(Time::ZERO, key(1), &peer("inbound"), &public(2));
    pex.joined(Time::ZERO, inbound, true, None);
    let asks = pex.open(Time::ZERO, key(1), &peer("asks"), &public(3));
    pex.announced(asks, "asks".into(), &[public(3)], LATE);
    assert_eq!(pex.message(now, a), None);
    pex.announced(inbound, "signed".into(), &["/ip4/9.9.9.9/udp/1/quic-v1".to_owned()], LATE);
    let message = pex.message(now + MINUTE, a).expect("news");
    assert_eq!(names(&message), ["signed"]);
    assert_eq!(message.added[0].0, Flags { seed: true, quic: true, ..Flags::default() });
    // The announcement is preferred to our own word, and travels with it.
    let b = dialled(&mut pex, now, "b", &public(4));
    pex.announced(b, "b signed".into(), &[public(4)], LATE);
    assert_eq!(names(&pex.message(now + 3 * MINUTE, a).expect("news")), ["b signed"]);
    // Another content is another matter.
    let other = pex.open(now, key(2), &peer("a"), &public(1));
    assert_eq!(pex.message(now + 3 * MINUTE, other), None);
}

#[test]
fn messages_are_bounded_and_the_reachable_come_first() {
    let mut pex = machine();
    let now = Time::ZERO;
    let a = dialled(&mut pex, now, "a", &public(0));
    for number in 1..=120 {
        if number % 2 == 0 {
            dialled(&mut pex, now, &number.to_string(), &public(number));
        } else {
            let id = pex.open(now, key(1), &peer(&number.to_string()), &public(number));
            pex.joined(now, id, false, None);
            pex.announced(id, number.to_string().into(), &[public(number)], LATE);
        }
    }
    let first = pex.message(now + MINUTE, a).expect("news");
    assert_eq!(first.added.len(), limits::MAX_PEX_PEERS);
    assert!(first.added.iter().all(|(flags, _)| flags.reachable));
    let rest = [2, 3].map(|minute| pex.message(now + minute * MINUTE, a).expect("news").added.len());
    assert_eq!(rest, [50, 20]);
    assert_eq!(pex.message(now + 4 * MINUTE, a), None);
}

#[test]
fn addresses_are_told_and_believed_as_far_as_the_other_is_near() {
    let mut pex = machine();
    let now = Time::ZERO;
    dialled(&mut pex, now, "here", "/ip4/127.0.0.1/tcp/1");
    dialled(&mut pex, now, "home", "/ip4/192.168.1.7/udp/1/quic-v1");
    dialled(&mut pex, now, "away", &public(1));
    let places = [
        ("/ip4/127.0.0.1/tcp/2", 3),
        ("/ip4/192.168.1.8/tcp/2", 2),
        ("/ip6/fd00::1/tcp/2", 2),
        ("/ip4/9.9.9.9/tcp/2", 1),
    ];
    for (index, (at, told)) in places.into_iter().enumerate() {
        let id = pex.open(now, key(1), &peer(&format!("asker {index}")), at);
        assert_eq!(pex.message(now + MINUTE, id).expect("news").added.len(), told, "{at}");
        let all = ["/ip4/127.0.0.1/tcp/3", "/ip4/10.0.0.1/tcp/3", "/ip4/8.8.8.8/tcp/3", "/dns4/a.example/tcp/3"];
        let good = pex.hear(id, vec![heard("x", &all)], 0).expect("no flood");
        assert_eq!(good[0].addresses.len(), told, "{at}: {good:?}");
    }
    let id = pex.open(now, key(1), &peer("liar"), &public(9));
    for never in
        ["/ip4/169.254.169.254/tcp/80", "/ip4/224.0.0.1/tcp/1", "/ip4/0.0.0.0/tcp/1", "/ip4/8.8.8.8/tcp/0", "x"]
    {
        assert_eq!(pex.hear(id, vec![heard("x", &[never])], 0).expect("no flood"), [], "{never}");
    }
    // Ourselves and the teller.
    let both = vec![heard("me", &[&public(7)]), heard("liar", &[&public(8)])];
    assert_eq!(pex.hear(id, both, 0).expect("no flood"), []);
}

#[test]
fn who_sends_too_often_too_much_or_only_nonsense_is_not_listened_to_any_more() {
    let now = Time::ZERO;
    let mut pex = machine();
    let small = Exchange { dropped: vec![peer("x")], ..Exchange::default() };
    // Too often: a few are passed over, then it is enough.
    let id = pex.open(now, key(1), &peer("often"), &public(1));
    let verdicts: Vec<Verdict> = (0..20).map(|_| pex.admit(now, id, &small)).collect();
    let count = |wanted| verdicts.iter().filter(|verdict| **verdict == wanted).count();
    assert_eq!(count(Verdict::Take), limits::PEX_BURST as usize);
    assert_eq!(count(Verdict::Ignore), limits::PEX_STRIKES as usize);
    assert_eq!(verdicts.last(), Some(&Verdict::Flood));
    let again = pex.open(now + MINUTE, key(2), &peer("often"), &public(1));
    assert_eq!(pex.admit(now + MINUTE, again, &small), Verdict::Flood);
    // Too much.
    let id = pex.open(now, key(1), &peer("much"), &public(2));
    let large = Exchange { dropped: vec![peer("x"); limits::MAX_PEX_PEERS + 1], ..Exchange::default() };
    assert_eq!(pex.admit(now, id, &large), Verdict::Flood);
    // Nonsense.
    let id = pex.open(now, key(1), &peer("nonsense"), &public(3));
    let junk = || (0..50).map(|number| heard(&number.to_string(), &["/ip4/127.0.0.1/tcp/1"])).collect::<Vec<_>>();
    assert!(pex.hear(id, junk(), 0).is_ok() && pex.hear(id, junk(), 0).is_ok());
    assert_eq!(pex.hear(id, junk(), 0), Err(Verdict::Flood));
    let id = pex.open(now, key(1), &peer("forger"), &public(4));
    assert_eq!(pex.hear(id, Vec::new(), limits::PEX_JUNK + 1), Err(Verdict::Flood));
    // Who keeps to the rules may go on for ever.
    let id = pex.open(now, key(1), &peer("honest"), &public(5));
    assert!((0..1000).all(|minute| pex.admit(now + minute * MINUTE, id, &small) == Verdict::Take));
}

/// Whatever peers do, in whatever order: no table grows beyond its bound, no message either, and nothing is told of a
/// peer that was neither reached nor signed for itself.
#[test]
fn tables_and_messages_stay_bounded_under_a_flood() {
    for seed in 0..3 {
        let mut random = Jitter::from_seed(seed);
        let mut pex = machine();
        let mut now = Time::ZERO;
        let mut open: Vec<SessionId> = Vec::new();
        for step in 0..15_000 {
            now = now + Duration::from_millis(random.below(2000) as u64);
            match random.below(8) {
                0..=3 => {
                    let number = random.below(10_000);
                    // Most about one content, the rest about more than there is room for.
                    let content = if random.below(2) == 0 { 0 } else { random.below(20_000) as u64 };
                    let id = pex.open(now, key(content), &peer(&number.to_string()), &public(number));
                    let at = public(number);
                    match random.below(3) {
                        0 => pex.joined(now, id, false, Some(&at)),
                        1 => pex.joined(now, id, true, None),
                        _ => {}
                    }
                    open.push(id);
                }
                4 if !open.is_empty() => pex.close(now, open.swap_remove(random.below(open.len()))),
                5 if !open.is_empty() => {
                    let id = open[random.below(open.len())];
                    if let Some(message) = pex.message(now, id) {
                        assert!(message.added.len() <= limits::MAX_PEX_PEERS, "seed {seed}");
                        assert!(message.dropped.len() <= limits::MAX_PEX_PEERS, "seed {seed}");
                        assert!(message.added.iter().all(|(flags, _)| flags.reachable), "seed {seed}");
                        let mut body = bytes::BytesMut::new();
                        message.encode(&mut body);
                        assert!(body.len() <= limits::MAX_CONTROL_FRAME_BYTES, "seed {seed}");
                    }
                }
                _ if !open.is_empty() => {
                    let id = open[random.below(open.len())];
                    let dropped = vec![peer("x"); random.below(60)];
                    if pex.admit(now, id, &Exchange { dropped, ..Exchange::default() }) == Verdict::Take {
                        let many = (0..50).map(|_| heard(&random.bits().to_string(), &["/ip4/8.8.8.8/tcp/1"]));
                        let _ = pex.hear(id, many.collect(), 0);
                    }
                }
                _ => {}
            }
            if step % 50 != 0 {
                continue;
            }
            let (swarms, members, sessions, shunned) = pex.sizes();
            assert!(swarms <= limits::MAX_PEX_SWARMS && members <= limits::MAX_PEX_MEMBERS, "seed {seed}");
            assert!(shunned <= limits::MAX_PEX_SHUNNED && sessions == open.len(), "seed {seed}");
        }
    }
}

#[test]
fn a_signature_is_told_of_only_while_it_holds() {
    let mut pex = machine();
    let a = dialled(&mut pex, Time::ZERO, "a", &public(1));
    let b = dialled(&mut pex, Time::ZERO, "b", &public(2));
    let until = Time::ZERO + limits::PEX_ANNOUNCEMENT_TTL;
    pex.announced(b, "b signed".into(), &[public(2)], until);
    let c = dialled(&mut pex, Time::ZERO, "c", &public(3));
    let signed =
        |message: &Exchange| message.added.iter().filter(|(_, entry)| matches!(entry, Entry::Signed(_))).count();
    let early = pex.message(Time::ZERO + limits::PEX_FIRST, a).expect("b and c");
    assert_eq!((early.added.len(), signed(&early)), (2, 1));
    let late = pex.message(until, c).expect("a and b");
    assert_eq!((late.added.len(), signed(&late)), (2, 0), "b where we reached it");
}
