//! The machines of Gun's client and relay under arbitrary frames, subscriptions, puts, broken links and time: they come
//! to rest and stay within their bounds.
#![no_main]

use std::time::Duration;

use dig_nat_core::base::limits;
use dig_nat_core::base::time::Time;
use dig_nat_core::gun::client::{self, Client};
use dig_nat_core::gun::message::{self, Field, Message};
use dig_nat_core::gun::relay::{self, Relay};
use dig_nat_core::gun::{Cell, Entry, Now, Value};
use libfuzzer_sys::fuzz_target;

/// More outputs than this after one input means that a machine does not come to rest.
const MOST_OUTPUTS: usize = 20_000;
const RELAY_BYTES: usize = 4096;

fuzz_target!(|data: &[u8]| {
    let (mut client, mut relay) = (Client::new(2, 1), Relay::new(RELAY_BYTES, 2));
    let mut now = Now { time: Time::ZERO, wall_ms: 1_800_000_000_000.0 };
    let mut subscriptions = Vec::new();
    let mut bytes = data.iter().copied();
    while let Some(operation) = bytes.next() {
        let argument = bytes.next().unwrap_or(0);
        let link = usize::from(argument % 3);
        match operation % 10 {
            0 => {
                let wait = Duration::from_millis(1 << (argument % 18));
                now = Now { time: now.time + wait, wall_ms: now.wall_ms + wait.as_millis() as f64 };
                client.handle_timeout(now);
                relay.handle_timeout(now);
            }
            1 => {
                client.connected(now, link);
                relay.connected(u64::from(argument % 3));
            }
            2 => {
                client.disconnected(now, link);
                relay.disconnected(u64::from(argument % 3));
            }
            3 => subscriptions.extend(client.subscribe(path(argument))),
            4 => drop(subscriptions.pop().map(|id| client.unsubscribe(id))),
            5 => drop(client.put(now, &path(argument), &entry(argument), Duration::from_secs(5))),
            6 => drop(client.read(now, path(argument), Duration::from_millis(500))),
            7 => {
                let raw: Vec<u8> = bytes.by_ref().take(usize::from(argument)).collect();
                let text = String::from_utf8_lossy(&raw);
                client.receive(now, link, &text);
                relay.receive(now, u64::from(argument % 3), &text);
            }
            _ => {
                let frame = some_message(argument, now, &mut bytes).encode();
                client.receive(now, link, &frame);
                relay.receive(now, u64::from(argument % 3), &frame);
            }
        }
        rest(&mut client, &mut relay);
        let (memory, interests, puts, states) = client.sizes();
        assert!(memory <= limits::MAX_GUN_CLIENT_BYTES && interests <= limits::MAX_GUN_INTERESTS);
        assert!(puts <= limits::MAX_GUN_PUTS && states <= limits::MAX_GUN_OWN_FIELDS + limits::GUN_PUT_FIELDS);
        let (memory, peers, ids, deferred) = relay.sizes();
        assert!(memory <= RELAY_BYTES && peers <= limits::MAX_GUN_RELAY_PEERS);
        assert!(ids <= 2 * limits::MAX_GUN_DEDUP && deferred <= limits::MAX_GUN_DEFERRED);
    }
    // Nothing is left of what nobody wants any more.
    subscriptions.into_iter().for_each(|id| client.unsubscribe(id));
    now.time = now.time + Duration::from_secs(60);
    client.handle_timeout(now);
    rest(&mut client, &mut relay);
    assert_eq!((client.sizes().0, client.sizes().1), (0, 0));
});

fn rest(client: &mut Client, relay: &mut Relay) {
    for count in 0.. {
        assert!(count < MOST_OUTPUTS, "the client does not come to rest");
        match client.poll() {
            None => break,
            Some(client::Output::Send(_, frame)) => drop(message::decode(&frame).expect("our own frames can be read")),
            Some(_) => {}
        }
    }
    for count in 0.. {
        assert!(count < MOST_OUTPUTS, "the relay does not come to rest");
        match relay.poll() {
            None => break,
            Some(relay::Output::Send(_, frame)) => drop(message::decode(&frame).expect("our own frames can be read")),
            Some(relay::Output::Cut(_)) => panic!("so little is not too much"),
        }
    }
}

fn name(value: u8) -> String {
    ["a", "b", "a/b", "c", "dig", "x/y"][usize::from(value % 6)].to_owned()
}

fn path(value: u8) -> Vec<String> {
    (0..=value / 64).map(|depth| name(value >> depth)).collect()
}

fn value(value: u8) -> Value {
    match value % 5 {
        0 => Value::Null,
        1 => Value::Bool(true),
        2 => Value::Number(f64::from(value)),
        3 => Value::Text("text".repeat(usize::from(value / 16))),
        _ => Value::Link(name(value / 5)),
    }
}

fn entry(argument: u8) -> Entry {
    let cell = |argument| Cell { value: value(argument), state: 0.0 };
    if argument % 2 == 0 {
        return Entry::Value(cell(argument / 2));
    }
    Entry::Record([(name(argument), cell(argument / 2)), ("z".to_owned(), cell(argument / 3))].into())
}

/// A message as somebody may send it: names from a small stock, so that they fit together now and then.
fn some_message(argument: u8, now: Now, bytes: &mut impl Iterator<Item = u8>) -> Message {
    let mut next = || bytes.next().unwrap_or(0);
    let mut message = Message { id: format!("m{}", next() % 16), ..Message::default() };
    if argument % 4 == 0 {
        message = Message::get(message.id, &name(next()), message::Keys::All);
    } else {
        let field = |bytes: [u8; 4]| Field {
            soul: name(bytes[0]),
            key: name(bytes[1]),
            cell: Cell { value: value(bytes[2]), state: now.wall_ms + (f64::from(bytes[3]) - 128.0) * 20_000.0 },
        };
        message.put = Some((0..argument / 16).map(|_| field([next(), next(), next(), next()])).collect());
    }
    if argument % 8 > 5 {
        message.answers = Some(format!("m{}", next() % 16));
        message.ok = true;
    }
    message
}
