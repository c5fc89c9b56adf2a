//! The relay machine against messages as stock peers send them. Not here: clients of ours, which the client's tests have.

use std::time::Duration;

use super::*;
use crate::gun::Value;

const START_MS: f64 = 1_800_000_000_000.0;

fn at(millis: u64) -> Now {
    Now { time: Time::ZERO + Duration::from_millis(millis), wall_ms: START_MS + millis as f64 }
}

/// A relay with peers 1, 2 and 3 whose greetings are over.
fn relay(bytes: usize) -> Relay {
    let mut relay = Relay::new(bytes, 1);
    relay.handle_timeout(at(0));
    (1..=3).for_each(|peer| assert!(relay.connected(peer)));
    relay.receive(at(0), 3, "{");
    relay.receive(at(0), 3, "{\"#\":\"hi\",\"dam\":\"?\",\"pid\":\"third\"}");
    sent(&mut relay);
    relay
}

fn frames(relay: &mut Relay) -> impl Iterator<Item = (u64, Arc<str>)> {
    std::iter::from_fn(|| relay.poll()).map(|output| match output {
        Output::Send(peer, frame) => (peer, frame),
        Output::Cut(peer) => panic!("{peer} is cut"),
    })
}

fn sent(relay: &mut Relay) -> Vec<(u64, Message)> {
    let read = |(peer, frame): (u64, Arc<str>)| {
        let messages = message::decode(&frame).expect("our own frames can be read");
        messages.into_iter().map(move |message| (peer, message)).collect::<Vec<_>>()
    };
    frames(relay).flat_map(read).collect()
}

fn put(id: &str, soul: &str, key: &str, value: &str, state: f64) -> String {
    let cell = Cell { value: value.into(), state };
    Message::put(id.into(), vec![Field { soul: soul.into(), key: key.into(), cell }]).encode()
}

#[test]
fn puts_are_stored_answered_and_passed_on_once() {
    let mut relay = relay(1 << 20);
    assert_eq!(relay.receive(at(1), 1, &put("m1", "a", "k", "v", START_MS)), 1);
    let out = sent(&mut relay);
    let to = |peer: u64| out.iter().filter(move |(to, _)| *to == peer).map(|(_, message)| message);
    assert_eq!(to(1).map(|message| (message.answers.as_deref(), message.ok)).collect::<Vec<_>>(), [(Some("m1"), true)]);
    for peer in [2, 3] {
        assert_eq!(to(peer).map(|message| message.id.as_str()).collect::<Vec<_>>(), ["m1"]);
    }
    relay.receive(at(2), 1, &put("m1", "a", "k", "w", START_MS + 1.0));
    assert!(sent(&mut relay).is_empty(), "a repetition");
    // An older one is neither stored nor answered, the same one is answered.
    relay.receive(at(3), 2, &put("m2", "a", "k", "z", START_MS - 1.0));
    assert!(sent(&mut relay).is_empty());
    relay.receive(at(4), 2, &put("m3", "a", "k", "v", START_MS));
    assert_eq!(sent(&mut relay).len(), 1);
    // The receipt of a receiver finds the writer.
    relay.receive(at(5), 2, "{\"#\":\"r\",\"@\":\"m1\",\"ok\":{\"\":1}}");
    assert_eq!(sent(&mut relay).iter().map(|(to, message)| (*to, message.ok)).collect::<Vec<_>>(), [(1, true)]);
    // A peer that has it already, as the list says, is left out.
    let listed = put("m4", "a", "k", "x", START_MS + 1.0).replacen('{', "{\"><\":\"third\",", 1);
    relay.receive(at(6), 1, &listed);
    let receivers: Vec<u64> = sent(&mut relay).iter().map(|(to, _)| *to).collect();
    assert_eq!(receivers, [1, 2]);
    assert!(relay.take_dirty() && !relay.take_dirty());
}

#[test]
fn what_goes_to_many_is_one_text() {
    let mut relay = Relay::new(1 << 24, 1);
    relay.handle_timeout(at(0));
    let peers = limits::MAX_GUN_RELAY_PEERS as u64;
    (0..peers).for_each(|peer| assert!(relay.connected(peer)));
    while relay.poll().is_some() {}
    // One put alone, then several in one frame of the writer's.
    let several: Vec<String> =
        (0..4).map(|index| put(&format!("s{index}"), "a", &format!("k{index}"), "v", START_MS)).collect();
    for frame in [put("m1", "a", "big", &"v".repeat(100_000), START_MS), format!("[{}]", several.join(","))] {
        relay.receive(at(1), 500, &frame);
        let sent: Vec<(u64, Arc<str>)> = frames(&mut relay).collect();
        let to_others: BTreeSet<u64> = sent.iter().map(|(peer, _)| *peer).filter(|peer| *peer != 500).collect();
        assert_eq!(to_others.len() as u64, peers - 1);
        let texts: BTreeSet<*const u8> =
            sent.iter().filter(|(peer, _)| *peer != 500).map(|(_, text)| text.as_ptr()).collect();
        // The writer's own answer comes in between.
        assert!(texts.len() <= 2, "{} texts for {peers} peers", texts.len());
    }
}

#[test]
fn questions_are_answered_in_parts() {
    let mut relay = relay(1 << 20);
    for index in 0..120 {
        relay.receive(at(1), 1, &put(&format!("m{index}"), "a", &format!("key{index:03}"), "v", START_MS));
    }
    sent(&mut relay);
    let ask = |relay: &mut Relay, keys: message::Keys| {
        relay.receive(at(2), 2, &Message::get("q".into(), "a", keys).encode());
        let out = sent(relay);
        assert!(out.iter().all(|(to, message)| *to == 2 && message.answers.as_deref() == Some("q")));
        out.into_iter().filter_map(|(_, message)| message.put).map(|put| put.len()).collect::<Vec<_>>()
    };
    assert_eq!(ask(&mut relay, message::Keys::All), [50, 50, 20]);
    assert_eq!(ask(&mut relay, message::Keys::One("key007".into())), [1]);
    let range = message::Keys::Range { prefix: "key0".into(), from: Some("key010".into()), to: Some("key019".into()) };
    assert_eq!(ask(&mut relay, range), [10]);
    assert_eq!(ask(&mut relay, message::Keys::One("none".into())), [0; 0], "not found is an answer without content");
}

#[test]
fn what_is_dated_in_the_future_waits() {
    let mut relay = relay(1 << 20);
    relay.receive(at(0), 1, &put("m1", "a", "k", "v", START_MS + 1000.0));
    let early: Vec<u64> = sent(&mut relay).iter().map(|(to, _)| *to).collect();
    assert_eq!(early, [2, 3], "passed on at once, not answered");
    assert!(relay.nodes().next().is_none());
    assert!(relay.next_timeout(at(0)) <= at(1002).time);
    relay.handle_timeout(at(1001));
    assert_eq!(relay.nodes().count(), 1);
    assert_eq!(sent(&mut relay).len(), 3);
    relay.receive(at(1002), 1, &put("m2", "a", "k", "v", START_MS + 1e12));
    assert!(sent(&mut relay).is_empty(), "too far away");
}

#[test]
fn foreign_rules_are_refused_and_memory_is_bounded() {
    let mut relay = relay(20_000);
    for soul in ["~abc.def", "set#", "x#y"] {
        relay.receive(at(1), 1, &put(soul, soul, "k", "v", START_MS));
        let out = sent(&mut relay);
        assert_eq!(out.len(), 1);
        assert!(out[0].1.error.is_some() && !out[0].1.ok);
    }
    for index in 0..limits::MAX_GUN_DEDUP {
        relay.receive(at(1), 1, &put(&format!("m{index}"), &format!("soul{index}"), "k", &"v".repeat(50), START_MS));
        if index < limits::MAX_GUN_DEFERRED + 100 {
            relay.receive(at(1), 1, &put(&format!("f{index}"), &format!("future{index}"), "k", "v", START_MS + 9e6));
        }
        while relay.poll().is_some() {}
    }
    let (bytes, peers, ids, deferred) = relay.sizes();
    assert!(bytes <= 20_000 && bytes > 10_000 && peers == 3, "{bytes} {peers}");
    assert_eq!((ids, deferred), (2 * limits::MAX_GUN_DEDUP, limits::MAX_GUN_DEFERRED));
    let newest = format!("soul{}", limits::MAX_GUN_DEDUP - 1);
    assert!(relay.nodes().any(|(soul, _)| *soul == newest), "the newest stay");
    for peer in 4..2 * limits::MAX_GUN_RELAY_PEERS as u64 {
        relay.connected(peer);
    }
    assert_eq!(relay.sizes().1, limits::MAX_GUN_RELAY_PEERS);
}

#[test]
fn one_node_ends_at_its_bound_and_one_message_makes_no_endless_answer() {
    const FIELDS: usize = 2000;
    let mut relay = relay(1 << 30);
    relay.graph = Graph::new(Bounds { bytes: 1 << 30, fields: FIELDS });
    let value: Value = "v".repeat(100).into();
    for index in 0..2 * FIELDS {
        relay.restore("large", &index.to_string(), Cell { value: value.clone(), state: START_MS });
    }
    assert_eq!(relay.nodes().map(|(_, record)| record.len()).sum::<usize>(), FIELDS);
    relay.receive(at(1), 1, &put("m", "large", "one more", "v", START_MS));
    let answers = sent(&mut relay);
    assert!(matches!(answers.as_slice(), [(1, answer)] if answer.error.is_some()), "{} answers", answers.len());
    relay.receive(at(1), 1, &put("n", "small", "k", "v", START_MS));
    assert!(sent(&mut relay).iter().any(|(to, answer)| *to == 1 && answer.ok), "others have room");

    // As many questions as one frame may have, all for the same.
    let question = |index| Message::get(format!("q{index}"), "large", message::Keys::All).encode();
    let frame = format!("[{}]", (0..limits::MAX_GUN_BATCH).map(question).collect::<Vec<_>>().join(","));
    assert_eq!(relay.receive(at(2), 2, &frame), limits::MAX_GUN_BATCH);
    let bytes = relay.peers[&2].outgoing.iter().map(|text| text.len()).sum::<usize>();
    assert!(bytes <= limits::MAX_GUN_SEND_BYTES + limits::MAX_GUN_VALUE_BYTES, "{bytes} bytes wait");
    relay.receive(at(2), 1, &put("o", "small", "k", "w", START_MS + 1.0));
    let outputs: Vec<Output> = std::iter::from_fn(|| relay.poll()).collect();
    assert_eq!(outputs[0], Output::Cut(2));
    assert!(outputs[1..].iter().all(|output| matches!(output, Output::Send(1 | 3, _))), "the others go on");
    assert_eq!((outputs.len(), relay.sizes().1), (3, 2));
}

#[test]
fn it_gives_signs_of_life() {
    let mut relay = relay(1 << 20);
    relay.handle_timeout(at(19_999));
    assert_eq!(relay.poll(), None);
    relay.handle_timeout(at(20_000));
    assert_eq!(relay.poll(), Some(Output::Send(1, "[]".into())));
}
