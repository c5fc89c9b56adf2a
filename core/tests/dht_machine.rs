//! One node of the distributed hash table against floods: of nodes, records, shard hosts, answers and requests. Its tables
//! keep their bounds, true records stay, and it asks nobody where it must not. Not here: whole networks
//! (`dht_simulation`).

use std::time::Duration;

use dig_nat_core::base::ids::{FileHash, PeerId};
use dig_nat_core::base::limits;
use dig_nat_core::base::random::Jitter;
use dig_nat_core::base::time::Time;
use dig_nat_core::discovery::dht::contact::{Contact, is_within};
use dig_nat_core::discovery::dht::key::{Node, Placement, provider_key};
use dig_nat_core::discovery::dht::machine::{Machine, Output, Setup};
use dig_nat_core::discovery::dht::message::{Kind, Message, Peer};
use dig_nat_core::discovery::dht::shard::Shards;
use dig_nat_core::nat::policy::Scope;
use dig_nat_core::wire::announcement::Announcement;

const RECORDS: usize = 1000;

fn node(number: u32) -> Node {
    Node::from_bytes(&number.to_be_bytes()).expect("an id")
}

fn at(number: u32, ip: [u8; 4]) -> Contact {
    Contact::new(node(number), [[&[4][..], &ip, &[6, 0x23, 0x28]].concat()])
}

/// Each in a network of its own.
fn apart(number: u32) -> Contact {
    let [_, b, c, _] = (number << 8).to_be_bytes();
    at(number, [20 + (number >> 16) as u8, b, c, 1])
}

fn machine() -> Machine {
    Machine::new(Setup {
        node: node(0),
        placement: Placement::Hashed,
        epoch_ms: 1_800_000_000_000,
        capacity: RECORDS,
        shards: Shards::default(),
        paths: limits::DHT_PATHS,
        seed: 3,
    })
}

fn drain(machine: &mut Machine) -> Vec<(u64, Contact, Message)> {
    let mut sent = Vec::new();
    while let Some(output) = machine.poll() {
        if let Output::Send { request, to, message } = output {
            sent.push((request, to, message));
        }
    }
    sent
}

#[test]
fn floods_of_nodes_records_and_requests_stay_within_bounds() {
    let mut machine = machine();
    let key = provider_key(&FileHash::of(b"content"));
    for number in 1..6000 {
        let (now, peer) = (Time::from_micros(u64::from(number) * 1000), apart(number));
        machine.heard(now, &peer);
        let records = provider_key(&FileHash::of(&(number / 3).to_be_bytes()));
        machine.provided(now, &peer.node, Scope::Internet, &records, &peer.clone().into());
        machine.provided(now, &peer.node, Scope::Internet, &key, &peer.clone().into());
        // Somebody else's record without a signature.
        assert!(!machine.provided(now, &peer.node, Scope::Internet, &key, &apart(number + 1).into()));
        let mut greeting = Message::new(Kind::GetProviders, key.clone());
        greeting.shards = Some(vec![1, 0x80]);
        let answer = machine.request(now, &peer.node, Scope::Internet, &greeting).expect("answered");
        assert!(answer.encode().len() <= limits::DHT_FRAME_BYTES && answer.providers.len() <= limits::DHT_K);
        drain(&mut machine);
    }
    let [nodes, records, hosts, lookups, requests, outputs] = machine.sizes();
    assert!(nodes <= 20 * limits::DHT_K, "{nodes} nodes");
    assert!(records <= RECORDS && records > RECORDS / 2, "{records} records");
    assert!(hosts <= nodes, "{hosts} hosts: only members of the table are noted by their requests");
    assert!(lookups <= limits::DHT_LOOKUPS && requests <= limits::DHT_OUTBOUND && outputs == 0);
}

#[test]
fn one_network_and_one_provider_get_their_share_only() {
    let mut machine = machine();
    for number in 1..5000 {
        let peer = at(number, [9, 9, 9, number as u8]);
        machine.heard(Time::ZERO, &peer);
        let key = provider_key(&FileHash::of(&number.to_be_bytes()));
        machine.provided(Time::ZERO, &node(1), Scope::Internet, &key, &at(1, [9, 9, 9, 1]).into());
    }
    assert_eq!(machine.known(), limits::DHT_GROUP_PER_TABLE);
    assert_eq!(machine.records(), RECORDS / limits::DHT_STORE_SHARE);
}

#[test]
fn answers_lead_to_no_address_at_home_and_to_no_endless_lookup() {
    let mut machine = machine();
    let mut jitter = Jitter::from_seed(5);
    machine.heard(Time::ZERO, &apart(1));
    machine.search(Time::ZERO, &FileHash::of(b"content")).expect("room");
    let (mut now, mut asked, mut waiting) = (Time::ZERO, 0, drain(&mut machine));
    while let Some((request, to, message)) = waiting.pop() {
        asked += 1;
        assert!(asked < 10_000, "it does not end");
        assert!(to.addresses.iter().all(|address| is_within(address, Scope::Internet)), "{to:?}");
        // Each answer names others, near the target and far from it, at home and elsewhere; and far too many.
        let mut answer = Message::new(message.kind, message.key.clone());
        for _ in 0..limits::DHT_PEERS_PER_MESSAGE {
            let number = jitter.below(1 << 22) as u32;
            let ip = [[127, 0, 0, 1], [192, 168, 1, 1], [169, 254, 169, 254]][jitter.below(3)];
            let peer = if jitter.below(2) == 0 { at(number, ip) } else { apart(number) };
            answer.closer.push(Peer { shards: Some(vec![1, 0]), ..peer.clone().into() });
            answer.providers.push(peer.into());
        }
        now = now + Duration::from_millis(20);
        machine.response(now, request, &answer, Scope::Internet);
        machine.handle_timeout(now);
        waiting.extend(drain(&mut machine));
        let [nodes, _, hosts, lookups, requests, _] = machine.sizes();
        assert!(nodes <= 20 * limits::DHT_K && hosts <= limits::DHT_SHARD_HOSTS);
        assert!(lookups <= limits::DHT_LOOKUPS && requests <= limits::DHT_OUTBOUND);
    }
    assert!(asked > 20, "{asked}");
    let [.., lookups, requests, outputs] = machine.sizes();
    assert_eq!((lookups, requests, outputs), (0, 0, 0));
}

#[test]
fn silence_ends_lookups_and_empties_the_table() {
    let mut machine = machine();
    for number in 1..200 {
        machine.heard(Time::ZERO, &apart(number));
    }
    let lookup = machine.search(Time::ZERO, &FileHash::of(b"content")).expect("room");
    let (mut lost, mut done, mut now) = (false, false, Time::ZERO);
    while !lost {
        while let Some(output) = machine.poll() {
            lost |= output == Output::Lost;
            done |= matches!(output, Output::Done { lookup: ended, summary } if ended == lookup && summary.found == 0);
        }
        now = machine.next_timeout().expect("there is always something planned").max(now + Duration::from_millis(1));
        assert!(now.since(Time::ZERO) < limits::DHT_REFRESH * 50, "{} are still known", machine.known());
        machine.handle_timeout(now);
    }
    assert!(done && machine.known() == 0);
}

#[test]
fn searches_and_shard_hosts_end_at_their_bounds() {
    let mut machine = machine();
    machine.heard(Time::ZERO, &apart(1));
    let searches =
        (0..2000_u32).filter(|number| machine.search(Time::ZERO, &FileHash::of(&number.to_be_bytes())).is_some());
    assert!(searches.count() <= limits::DHT_LOOKUPS);
    // One answer after the other names shard hosts that nobody has met.
    let mut number = 1000;
    let mut waiting = drain(&mut machine);
    while let Some((request, _, message)) = waiting.pop()
        && number < 20_000
    {
        let mut answer = Message::new(message.kind, message.key.clone());
        for _ in 0..limits::DHT_PEERS_PER_MESSAGE {
            number += 1;
            answer.closer.push(Peer { shards: Some(vec![1, 0]), ..apart(number).into() });
        }
        machine.response(Time::from_micros(u64::from(number)), request, &answer, Scope::Internet);
        waiting.extend(drain(&mut machine));
        let [nodes, _, hosts, lookups, requests, _] = machine.sizes();
        assert!(nodes <= 20 * limits::DHT_K && hosts <= limits::DHT_SHARD_HOSTS, "{nodes} {hosts}");
        assert!(lookups <= limits::DHT_LOOKUPS && requests <= limits::DHT_OUTBOUND, "{lookups} {requests}");
    }
    assert!(number >= 20_000, "{number} named");
    assert_eq!(machine.sizes()[2], limits::DHT_SHARD_HOSTS);
}

#[test]
fn a_flood_of_own_keys_ends_at_the_bound_and_makes_room_again() {
    let key = |number: usize| FileHash::of(&number.to_be_bytes());
    let mut machine = machine();
    let mut now = Time::from_micros(1);
    (1..200).for_each(|number| machine.heard(now, &apart(number)));
    let (mut refused, mut most) = (0, [0; 6]);
    for number in 0..limits::DHT_ANNOUNCED + 10_000 {
        refused += usize::from(!machine.announce(now, key(number)));
        if number % 1000 == 0 {
            // Nobody answers, and time goes on.
            now = now + Duration::from_millis(100);
            machine.handle_timeout(now);
            let (_, queued) = machine.announced();
            assert!(queued <= limits::DHT_ANNOUNCE_QUEUE + limits::DHT_K, "{queued} messages wait");
            machine.sizes().iter().zip(&mut most).for_each(|(size, most)| *most = (*most).max(*size));
            drain(&mut machine);
        }
    }
    assert_eq!((refused, machine.announced().0), (10_000, limits::DHT_ANNOUNCED));
    let [nodes, records, _, lookups, requests, _] = most;
    assert!(nodes <= 20 * limits::DHT_K && records <= RECORDS, "{most:?}");
    assert!(lookups <= limits::DHT_LOOKUPS && requests <= limits::DHT_OUTBOUND, "{most:?}");
    // What is announced already is still announced, and what is taken back makes room.
    assert!(machine.announce(now, key(0)), "it is there");
    assert!(!machine.announce(now, key(usize::MAX)));
    machine.withdraw(&key(0));
    assert!(machine.announce(now, key(usize::MAX)));
    assert!(!machine.announce(now, key(0)));
    assert_eq!(machine.announced().0, limits::DHT_ANNOUNCED);
}

#[test]
fn a_signed_record_is_kept_no_longer_than_it_says() {
    let mut machine = machine();
    let lookup = FileHash::of(b"content");
    let key = provider_key(&lookup);
    let epoch_ms = 1_800_000_000_000;
    // Signatures are checked before the machine sees a record. One clock is right, one is ten minutes ahead, one behind.
    let minute = Duration::from_secs(60);
    for (number, issued_ms) in [(1, epoch_ms), (2, epoch_ms + 600_000), (3, epoch_ms - 600_000)] {
        let peer = apart(number);
        let (ttl, addresses) = (minute, Vec::new());
        let announcement = Announcement { peer: PeerId::from_text("12D3KooW"), key: lookup, issued_ms, ttl, addresses };
        let signed = [announcement.body(), vec![0; 64]].concat();
        let provider = Peer { contact: peer.clone(), shards: None, announcement: Some(signed) };
        assert!(machine.provided(Time::ZERO, &peer.node, Scope::Internet, &key, &provider), "{number}");
    }
    let mut providers = |seconds| {
        let question = Message::new(Kind::GetProviders, key.clone());
        let now = Time::ZERO + Duration::from_secs(seconds);
        machine.request(now, &node(9), Scope::Internet, &question).expect("answered").providers.len()
    };
    assert_eq!(providers(59), 3);
    // A clock ahead of ours makes it hold longer by as much.
    assert_eq!((providers(61), providers(661)), (1, 0));
}
