//! A node of the DHT under arbitrary sequences of requests, answers, records, searches, announcements and time: it comes
//! to rest, stays within its bounds, and never asks at an address that it must not dial.
#![no_main]

use std::time::Duration;

use dig_nat_core::base::ids::FileHash;
use dig_nat_core::base::limits;
use dig_nat_core::base::time::Time;
use dig_nat_core::discovery::dht::contact::{Contact, is_within};
use dig_nat_core::discovery::dht::key::{Node, Placement, provider_key};
use dig_nat_core::discovery::dht::machine::{Machine, Output, Setup};
use dig_nat_core::discovery::dht::message::{Kind, Message, Peer};
use dig_nat_core::discovery::dht::shard::Shards;
use dig_nat_core::nat::policy::Scope;
use libfuzzer_sys::fuzz_target;

/// More outputs than this after one input means that the machine does not come to rest.
const MOST_OUTPUTS: usize = 5000;
const RECORDS: usize = 50;

fuzz_target!(|data: &[u8]| {
    let placement = if data.len() % 2 == 0 { Placement::Hashed } else { Placement::Direct };
    let mut machine = Machine::new(Setup {
        node: node(0),
        placement,
        epoch_ms: 1_800_000_000_000,
        capacity: RECORDS,
        shards: Shards::default(),
        paths: limits::DHT_PATHS,
        seed: 1,
    });
    let (mut now, mut requests) = (Time::ZERO, Vec::new());
    let mut bytes = data.iter().copied();
    while let Some(operation) = bytes.next() {
        let argument = bytes.next().unwrap_or(0);
        match operation % 10 {
            0 => machine.heard(now, &contact(argument)),
            1 => drop(machine.search(now, &key(argument))),
            2 => drop(machine.announce(now, key(argument))),
            3 => machine.withdraw(&key(argument)),
            4 => {
                now = now + Duration::from_millis(1 << (argument % 25));
                machine.handle_timeout(now);
            }
            5 => {
                let message = some_message(argument, &mut bytes);
                let answer = machine.request(now, &node(argument), Scope::Internet, &message);
                assert!(answer.is_none_or(|answer| answer.encode().len() <= limits::DHT_FRAME_BYTES));
            }
            6 => {
                let provider = Peer::from(contact(bytes.next().unwrap_or(0)));
                machine.provided(
                    now,
                    &node(argument),
                    Scope::Internet,
                    &placement.record_key(&key(argument)),
                    &provider,
                );
            }
            7 => requests.pop().into_iter().for_each(|request| machine.failed(now, request)),
            _ => {
                let answer = some_message(argument, &mut bytes);
                if let Some(request) = requests.pop() {
                    machine.response(now, request, &answer, Scope::Internet);
                }
            }
        }
        for count in 0.. {
            assert!(count < MOST_OUTPUTS, "the machine does not come to rest");
            match machine.poll() {
                None => break,
                Some(Output::Send { request, to, message }) => {
                    assert!(to.node != *machine.node() && message.encode().len() <= limits::DHT_FRAME_BYTES);
                    requests.push(request);
                }
                Some(Output::Found { provider, .. }) => {
                    assert!(provider.addresses.iter().all(|address| is_within(address, Scope::Internet)));
                }
                Some(Output::Provide(provide)) => assert!(provide.keys.len() <= limits::DHT_BATCH),
                Some(Output::Done { .. } | Output::Nodes { .. } | Output::Lost) => {}
            }
        }
        let [nodes, records, hosts, lookups, under_way, outputs] = machine.sizes();
        assert!(nodes <= 256 && records <= RECORDS && hosts <= 256 && outputs == 0);
        assert!(lookups <= limits::DHT_LOOKUPS + limits::DHT_REFRESHES && under_way <= limits::DHT_OUTBOUND + 6);
    }
});

fn node(number: u8) -> Node {
    Node::from_bytes(&[number; 38]).expect("the length of an id")
}

fn key(number: u8) -> FileHash {
    FileHash::from_bytes([number % 16; 32])
}

fn contact(number: u8) -> Contact {
    let first = [9, 10, 127, 20][usize::from(number % 4)];
    Contact::new(node(number), [vec![4, first, number, 1, 1, 6, 0x23, 0x28]])
}

fn some_message(argument: u8, bytes: &mut impl Iterator<Item = u8>) -> Message {
    let mut next = || bytes.next().unwrap_or(0);
    let kinds = [Kind::Ping, Kind::FindNode, Kind::GetProviders, Kind::GetValue, Kind::AddProvider, Kind::PutValue];
    let mut message = Message::new(kinds[usize::from(next()) % kinds.len()], provider_key(&key(argument)));
    message.shards = [None, Some(Vec::new()), Some(vec![2, 0x40]), Some(vec![9])][usize::from(next() % 4)].clone();
    for _ in 0..argument % 32 {
        let (number, kind) = (next(), next());
        let mut peer = Peer::from(contact(number));
        match kind % 4 {
            0 => peer.shards = Some(vec![1, kind]),
            1 => peer.announcement = Some(vec![kind; 10]),
            _ => {}
        }
        if kind & 128 == 0 { message.closer.push(peer) } else { message.providers.push(peer) }
    }
    message
}
