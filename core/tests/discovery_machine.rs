//! Local discovery without sockets: several machines on one virtual link and virtual time.
#![cfg(feature = "engine")]
#![allow(clippy::unwrap_used)]

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use dig_nat_core::base::ids::FileHash;
use dig_nat_core::base::limits;
use dig_nat_core::base::time::Time;
use dig_nat_core::discovery::candidate::Candidate;
use dig_nat_core::discovery::local::link::Link;
use dig_nat_core::discovery::local::machine::{Machine, Output};
use dig_nat_core::discovery::local::names;
use dig_nat_core::discovery::local::packet::{Data, Kind, Packet, Question, Record, decode, encode};
use dig_nat_core::discovery::local::responder::Identity;

const LINK: u32 = 3;
const SEED: u64 = 7;

fn machine(number: u8, port: u16) -> Machine {
    let peer_id = format!("12D3KooWpeer{number}");
    let mut machine = Machine::new(Identity { peer_id, port, tcp: true, udp: true }, SEED + u64::from(number));
    machine.set_links(Time::ZERO, vec![link(number)]);
    machine
}

fn link(number: u8) -> Link {
    Link { id: LINK, addresses: vec![(IpAddr::from([192, 168, 1, number]), 24)], loopback: false }
}

fn from(number: u8) -> SocketAddr {
    SocketAddr::from(([192, 168, 1, number], 5353))
}

fn key(text: &str) -> FileHash {
    FileHash::of(text.as_bytes())
}

fn ms(count: u64) -> Time {
    Time::from_micros(count * 1000)
}

fn question(name: &str, kind: Kind) -> Question {
    Question { name: name.to_owned(), kind, unicast: false }
}

fn ask(questions: Vec<Question>, answers: Vec<Record>) -> Vec<u8> {
    encode(&Packet { questions, answers, ..Packet::default() }).unwrap()
}

fn ask_for(text: &str) -> Vec<u8> {
    ask(vec![question(&names::key_name(&key(text)), Kind::Ptr)], vec![])
}

fn pointer(text: &str, number: u8, ttl: u32) -> Record {
    let data = Data::Ptr(names::instance_name(&format!("12D3KooWpeer{number}")));
    Record { name: names::key_name(&key(text)), ttl, flush: false, data }
}

/// Runs one machine alone up to a moment; returns when it sent what.
fn run_until(machine: &mut Machine, end: Time) -> Vec<(Time, Option<SocketAddr>, Packet)> {
    let mut sent = Vec::new();
    for _ in 0..10_000 {
        let next = machine.next_timeout().filter(|next| *next <= end);
        let now = next.unwrap_or(end);
        machine.handle_timeout(now);
        while let Some(output) = machine.poll() {
            if let Output::Send { link, to, bytes } = output {
                assert_eq!(link, LINK);
                sent.push((now, to, decode(&bytes).unwrap()));
            }
        }
        if next.is_none() {
            return sent;
        }
    }
    panic!("the machine does not come to rest");
}

/// A quiet machine: its announcements are over.
fn settled(number: u8, port: u16) -> Machine {
    let mut machine = machine(number, port);
    run_until(&mut machine, ms(5_000));
    machine
}

/// Several machines on one link that delivers at once to everybody, the sender included.
struct Network {
    machines: Vec<Machine>,
    now: Time,
    packets: Vec<(Time, u8, Packet)>,
    found: Vec<(u8, FileHash, Candidate)>,
}

impl Network {
    fn new(count: u8) -> Self {
        let machines = (1..=count).map(|number| machine(number, 9000 + u16::from(number))).collect();
        let mut network = Self { machines, now: Time::ZERO, packets: Vec::new(), found: Vec::new() };
        network.run(5_000);
        network.packets.clear();
        network
    }

    fn run(&mut self, end: u64) {
        for _ in 0..100_000 {
            let next = self.machines.iter().filter_map(Machine::next_timeout).min().filter(|next| *next <= ms(end));
            self.now = next.unwrap_or(ms(end)).max(self.now);
            for index in 0..self.machines.len() {
                self.machines[index].handle_timeout(self.now);
                self.deliver(index);
            }
            if next.is_none() {
                return;
            }
        }
        panic!("the network does not come to rest");
    }

    fn deliver(&mut self, index: usize) {
        while let Some(output) = self.machines[index].poll() {
            let number = index as u8 + 1;
            match output {
                Output::Found { key, candidate } => self.found.push((number, key, candidate)),
                Output::Send { bytes, .. } => {
                    self.packets.push((self.now, number, decode(&bytes).unwrap()));
                    for machine in &mut self.machines {
                        machine.handle_packet(self.now, LINK, from(number), &bytes);
                    }
                }
            }
        }
    }

    fn finders(&self, text: &str) -> Vec<(u8, String)> {
        let of_key = self.found.iter().filter(|(_, found, _)| *found == key(text));
        of_key.map(|(number, _, candidate)| (*number, candidate.label().to_owned())).collect()
    }
}

#[test]
fn a_host_announces_itself_and_no_keys() {
    let mut host = machine(1, 9001);
    for index in 0..200 {
        assert!(host.announce(key(&index.to_string())));
    }
    let sent = run_until(&mut host, ms(60_000));
    // RFC 6762 section 8.3: twice, one second apart; nothing more in a minute.
    assert_eq!(sent.len(), 2, "{sent:?}");
    assert!(sent[0].0 <= ms(120));
    assert_eq!(sent[1].0 - sent[0].0, Duration::from_secs(1));
    let pointers: Vec<_> = sent[0].2.answers.iter().filter(|record| record.data.kind() == Kind::Ptr).collect();
    assert_eq!(pointers.len(), 1);
    assert_eq!(pointers[0].name, names::SERVICE);
    for kind in [Kind::Srv, Kind::Txt, Kind::A] {
        assert!(sent[0].2.answers.iter().any(|record| record.data.kind() == kind), "{kind:?}");
    }
    for index in 0..200 {
        host.withdraw(ms(60_000), key(&index.to_string()));
    }
    assert_eq!(run_until(&mut host, ms(120_000)), [], "keys nobody asked for go as silently as they came");
}

#[test]
fn those_who_share_a_key_are_found_and_others_are_not() {
    let mut network = Network::new(3);
    network.machines[0].announce(key("wanted"));
    network.machines[1].announce(key("another"));
    network.machines[2].search(network.now, key("wanted"));
    network.run(10_000);
    assert_eq!(network.finders("wanted"), [(3, "12D3KooWpeer1".to_owned())], "once, and only the one who has it");
    let candidate = &network.found[0].2;
    assert_eq!(candidate.addresses, ["/ip4/192.168.1.1/tcp/9001", "/ip4/192.168.1.1/udp/9001/quic-v1"]);
    // Query, answer, then queries at 1 s and 4 s that carry the known answer and get none.
    let senders: Vec<u8> = network.packets.iter().map(|(_, number, _)| *number).collect();
    assert_eq!(senders, [3, 1, 3, 3]);
}

#[test]
fn queries_back_off_to_a_minute_and_end_with_the_search() {
    let mut seeker = machine(1, 0);
    seeker.search(Time::ZERO, key("k"));
    let sent = run_until(&mut seeker, ms(300_000));
    let seconds: Vec<u64> = sent.iter().map(|(at, ..)| at.as_micros() / 1_000_000).collect();
    // Waits of 1, 3, 9, 27 and then 60 seconds. A node without a port announces nothing.
    assert_eq!(seconds, [0, 1, 4, 13, 40, 100, 160, 220, 280]);
    seeker.end_search(&key("k"));
    assert_eq!(run_until(&mut seeker, ms(900_000)), []);
    assert_eq!(seeker.next_timeout(), None);
}

#[test]
fn many_searches_share_packets() {
    let mut seeker = machine(1, 0);
    for index in 0..100 {
        seeker.search(Time::ZERO, key(&index.to_string()));
    }
    let sent = run_until(&mut seeker, ms(500));
    let asked: usize = sent.iter().map(|(.., packet)| packet.questions.len()).sum();
    assert_eq!((sent.len(), asked), (5, 100));
    for (.., packet) in &sent {
        assert!(encode(packet).unwrap().len() <= 1400, "one Ethernet frame");
    }
}

#[test]
fn shared_answers_wait_a_little_and_travel_together() {
    let mut host = settled(1, 9001);
    host.announce(key("a"));
    host.announce(key("b"));
    host.handle_packet(ms(5_000), LINK, from(2), &ask_for("a"));
    host.handle_packet(ms(5_000), LINK, from(2), &ask_for("b"));
    host.handle_packet(ms(5_000), LINK, from(2), &ask_for("not here"));
    let sent = run_until(&mut host, ms(10_000));
    assert_eq!(sent.len(), 1, "{sent:?}");
    let (at, to, packet) = &sent[0];
    assert!((ms(5_020)..=ms(5_120)).contains(at), "{at:?}");
    assert_eq!((*to, packet.answers.len()), (None, 2));
    assert_eq!(packet.additional.len(), 3, "port, attributes and one address, each once");
}

#[test]
fn the_same_answer_is_not_sent_twice_within_a_second() {
    let mut host = settled(1, 9001);
    host.announce(key("a"));
    host.handle_packet(ms(5_000), LINK, from(2), &ask_for("a"));
    let first = run_until(&mut host, ms(5_200));
    assert_eq!(first.len(), 1);
    host.handle_packet(ms(5_300), LINK, from(4), &ask_for("a"));
    let second = run_until(&mut host, ms(10_000));
    assert_eq!(second.len(), 1, "the second asker is answered, too");
    assert_eq!(second[0].0, first[0].0 + Duration::from_secs(1));
}

#[test]
fn known_answers_are_not_repeated_while_they_live_long_enough() {
    for (ttl, expected) in [(120, 0), (60, 0), (59, 1)] {
        let mut host = settled(1, 9001);
        host.announce(key("a"));
        let query = ask(vec![question(&names::key_name(&key("a")), Kind::Ptr)], vec![pointer("a", 1, ttl)]);
        host.handle_packet(ms(5_000), LINK, from(2), &query);
        assert_eq!(run_until(&mut host, ms(8_000)).len(), expected, "time to live {ttl}");
    }
    // Somebody else's answer is not ours.
    let mut host = settled(1, 9001);
    host.announce(key("a"));
    let query = ask(vec![question(&names::key_name(&key("a")), Kind::Ptr)], vec![pointer("a", 9, 120)]);
    host.handle_packet(ms(5_000), LINK, from(2), &query);
    assert_eq!(run_until(&mut host, ms(8_000)).len(), 1);
}

#[test]
fn known_answers_may_follow_in_a_second_packet() {
    for (follows_from, expected) in [(2, 0), (4, 1)] {
        let mut host = settled(1, 9001);
        host.announce(key("a"));
        let questions = vec![question(&names::key_name(&key("a")), Kind::Ptr)];
        let first = encode(&Packet { truncated: true, questions, ..Packet::default() }).unwrap();
        host.handle_packet(ms(5_000), LINK, from(2), &first);
        assert_eq!(run_until(&mut host, ms(5_399)), [], "RFC 6762 section 7.2: 400 to 500 ms");
        host.handle_packet(ms(5_399), LINK, from(follows_from), &ask(vec![], vec![pointer("a", 1, 100)]));
        assert_eq!(run_until(&mut host, ms(5_500)).len(), expected, "follow-up from {follows_from}");
    }
}

#[test]
fn an_answer_somebody_else_just_gave_is_dropped() {
    let mut host = settled(1, 9001);
    host.announce(key("a"));
    host.handle_packet(ms(5_000), LINK, from(2), &ask_for("a"));
    let answer = Packet { response: true, answers: vec![pointer("a", 1, 120)], ..Packet::default() };
    host.handle_packet(ms(5_010), LINK, from(5), &encode(&answer).unwrap());
    assert_eq!(run_until(&mut host, ms(8_000)), []);
}

#[test]
fn a_query_heard_just_before_ours_serves_us_too() {
    let mut seeker = machine(1, 0);
    seeker.search(Time::ZERO, key("k"));
    assert_eq!(run_until(&mut seeker, ms(900)).len(), 1);
    // Ours would be due at 1.0 s.
    seeker.handle_packet(ms(900), LINK, from(2), &ask_for("k"));
    let sent = run_until(&mut seeker, ms(4_000));
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].0, ms(4_000), "the schedule goes on as if we had asked");
    // A query that says it knows somebody we have not heard of gets no answer from them, so it is no use to us.
    let query = ask(vec![question(&names::key_name(&key("k")), Kind::Ptr)], vec![pointer("k", 9, 120)]);
    seeker.handle_packet(ms(12_900), LINK, from(2), &query);
    assert_eq!(run_until(&mut seeker, ms(13_000)).len(), 1);
}

#[test]
fn service_browsers_see_the_host() {
    let mut host = settled(1, 9001);
    let ask_all = |host: &mut Machine, name: &str, kind, at| {
        host.handle_packet(ms(at), LINK, from(2), &ask(vec![question(name, kind)], vec![]));
        run_until(host, ms(at + 2_000)).into_iter().map(|(.., packet)| packet).next()
    };
    let services = ask_all(&mut host, names::ALL_SERVICES, Kind::Ptr, 10_000).unwrap();
    assert_eq!(services.answers[0].data, Data::Ptr(names::SERVICE.to_owned()));
    let instances = ask_all(&mut host, names::SERVICE, Kind::Ptr, 20_000).unwrap();
    let Data::Ptr(instance) = &instances.answers[0].data else { panic!("{instances:?}") };
    let details = ask_all(&mut host, instance, Kind::Srv, 30_000).unwrap();
    let Data::Srv { port: 9001, host: name } = &details.answers[0].data else { panic!("{details:?}") };
    let addresses = ask_all(&mut host, name, Kind::A, 40_000).unwrap();
    assert_eq!(addresses.answers[0].data, Data::Address(IpAddr::from([192, 168, 1, 1])));
    assert_eq!(ask_all(&mut host, "somebody-else.local", Kind::A, 50_000), None);
}

#[test]
fn legacy_askers_get_their_own_reply() {
    let mut host = settled(1, 9001);
    host.announce(key("a"));
    let questions = vec![question(&names::key_name(&key("a")), Kind::Ptr)];
    let query = encode(&Packet { id: 0x1234, questions: questions.clone(), ..Packet::default() }).unwrap();
    let asker = SocketAddr::from(([192, 168, 1, 8], 40_000));
    host.handle_packet(ms(5_000), LINK, asker, &query);
    let Some(Output::Send { to, bytes, .. }) = host.poll() else { panic!("no reply") };
    let reply = decode(&bytes).unwrap();
    assert_eq!((to, reply.id, &reply.questions), (Some(asker), 0x1234, &questions));
    let records = reply.answers.iter().chain(&reply.additional);
    assert!(records.clone().count() == 4 && records.clone().all(|record| record.ttl <= 10 && !record.flush));
    assert_eq!(run_until(&mut host, ms(8_000)), [], "and nobody else hears of it");
}

#[test]
fn withdrawing_and_stopping_say_goodbye() {
    let mut network = Network::new(2);
    network.machines[0].announce(key("k"));
    network.machines[1].search(network.now, key("k"));
    network.run(6_000);
    assert_eq!(network.machines[1].known(network.now, &key("k")).len(), 1);
    network.machines[0].withdraw(network.now, key("k"));
    network.run(6_001);
    assert!(network.machines[1].known(network.now, &key("k")).is_empty(), "the goodbye is believed at once");
    // Back again: found again.
    network.machines[0].announce(key("k"));
    network.run(60_000);
    assert_eq!(network.machines[1].known(network.now, &key("k")).len(), 1);
    assert_eq!(network.finders("k").len(), 2);
    network.machines[0].stop(network.now);
    network.run(60_001);
    assert!(network.machines[1].known(network.now, &key("k")).is_empty());
    let (.., last) = network.packets.last().unwrap();
    assert!(last.answers.iter().all(|record| record.ttl == 0));
}

#[test]
fn records_end_with_their_time_to_live() {
    let mut network = Network::new(2);
    network.machines[0].announce(key("k"));
    network.machines[1].search(network.now, key("k"));
    network.run(6_000);
    network.machines.remove(0);
    // No goodbye: the record, heard at about 5 s, is believed for 120 s.
    assert_eq!(network.machines[0].known(ms(120_000), &key("k")).len(), 1);
    assert!(network.machines[0].known(ms(126_000), &key("k")).is_empty());
}

#[test]
fn details_that_come_apart_are_put_together() {
    let mut seeker = machine(1, 0);
    seeker.search(Time::ZERO, key("k"));
    run_until(&mut seeker, ms(100));
    let hear = |seeker: &mut Machine, record: Record| {
        let packet = Packet { response: true, answers: vec![record], ..Packet::default() };
        seeker.handle_packet(ms(100), LINK, from(9), &encode(&packet).unwrap());
        seeker.poll()
    };
    let instance = names::instance_name("12D3KooWpeer9");
    let record = |name: &str, data| Record { name: name.to_owned(), ttl: 120, flush: true, data };
    assert_eq!(hear(&mut seeker, pointer("k", 9, 120)), None);
    let sent = run_until(&mut seeker, ms(1_000));
    assert!(sent[0].2.questions.contains(&question(&instance, Kind::Any)), "the next query asks for the details");
    let srv = Data::Srv { port: 80, host: "x.local".to_owned() };
    assert_eq!(hear(&mut seeker, record(&instance, srv)), None);
    assert_eq!(hear(&mut seeker, record("x.local", Data::Address(IpAddr::from([192, 168, 1, 9])))), None);
    let txt = Data::Txt(vec![b"ID=12D3KooWpeer9".to_vec(), b"v=1".to_vec(), b"t=udp".to_vec()]);
    let Some(Output::Found { candidate, .. }) = hear(&mut seeker, record(&instance, txt)) else { panic!("not found") };
    assert_eq!(candidate.addresses, ["/ip4/192.168.1.9/udp/80/quic-v1"]);
}

#[test]
fn a_flood_of_garbage_changes_nothing() {
    let mut host = settled(1, 9001);
    host.announce(key("a"));
    let sizes = host.table_sizes();
    let mut random = dig_nat_core::base::random::Jitter::from_seed(SEED);
    let valid = ask_for("a");
    for _ in 0..20_000 {
        let mut bytes = valid.clone();
        for _ in 0..8 {
            let at = random.below(bytes.len());
            bytes[at] = random.bits() as u8;
        }
        // Never the asked name itself: the last digits are overwritten for certain.
        bytes[60..64].fill(b'!');
        host.handle_packet(ms(5_000), LINK, from(2), &bytes);
    }
    host.handle_packet(ms(5_000), LINK, SocketAddr::from(([203, 0, 113, 1], 5353)), &valid);
    assert_eq!(host.table_sizes(), sizes, "nothing is remembered, strangers from elsewhere are not heard");
    assert_eq!(run_until(&mut host, ms(8_000)), []);
}

#[test]
fn a_hundred_thousand_names_stay_bounded() {
    let mut machine = settled(1, 9001);
    for index in 0..5_000_u32 {
        machine.announce(key(&index.to_string()));
    }
    assert!(machine.search(ms(5_000), key("searched")));
    let bound = 2 * limits::MAX_MDNS_PENDING
        + limits::MAX_MDNS_ANSWERED
        + limits::MAX_MDNS_SEARCHES
        + limits::MAX_MDNS_INSTANCES
        + limits::MAX_MDNS_FOUND;
    let mut answers = 0;
    for index in 0..100_000_u64 {
        let now = ms(5_000 + index / 10);
        // Every name is asked for, and for every name somebody claims to have the searched key.
        machine.handle_packet(now, LINK, from(2), &ask_for(&index.to_string()));
        let instance = names::instance_name(&format!("x{index}"));
        let data = Data::Ptr(instance);
        let claim = Record { name: names::key_name(&key("searched")), ttl: 120, flush: false, data };
        let packet = Packet { response: true, answers: vec![claim], ..Packet::default() };
        machine.handle_packet(now, LINK, from(3), &encode(&packet).unwrap());
        machine.handle_timeout(now);
        while let Some(output) = machine.poll() {
            if let Output::Send { bytes, .. } = output {
                answers += usize::from(decode(&bytes).unwrap().response);
            }
        }
        assert!(machine.table_sizes() <= bound, "{} entries", machine.table_sizes());
    }
    // Ten seconds of flood: the allowance of ten seconds and one burst.
    let allowed = 11 * limits::MDNS_ANSWERS_PER_SECOND as usize + 1;
    assert!(answers > 0 && answers <= allowed, "{answers} answers");
    // And an honest host is still found.
    let mut network = Network { machines: vec![machine], now: ms(15_001), packets: vec![], found: vec![] };
    let mut honest = settled(9, 9009);
    honest.announce(key("searched"));
    network.machines.push(honest);
    network.run(120_000);
    assert!(network.finders("searched").iter().any(|(_, label)| label == "12D3KooWpeer9"));
}

#[test]
fn so_many_links_are_used_and_no_more() {
    let mut machine = machine(1, 9001);
    let links = (0..2 * limits::MAX_MDNS_LINKS as u32).map(|id| Link { id, ..link(1) });
    machine.set_links(Time::ZERO, links.collect());
    let mut heard = std::collections::BTreeSet::new();
    while let Some(next) = machine.next_timeout().filter(|next| *next <= ms(10_000)) {
        machine.handle_timeout(next);
        while let Some(output) = machine.poll() {
            if let Output::Send { link, .. } = output {
                heard.insert(link);
            }
        }
    }
    assert_eq!(heard.len(), limits::MAX_MDNS_LINKS);
}
