//! Local discovery under arbitrary sequences of neighbours' packets, searches, announcements and time: it comes to
//! rest, stays within its bounds, and never suggests an address that must not be dialled.
#![no_main]

// Local discovery is only built with the engine. Its machine needs nothing of that, so its files are compiled here,
// under the names they use.
use dig_nat_core::{base, discovery, nat};
#[path = "../../core/src/discovery/local/link.rs"]
#[allow(dead_code)]
mod link;
#[path = "../../core/src/discovery/local/machine.rs"]
#[allow(dead_code)]
mod machine;
#[path = "../../core/src/discovery/local/names.rs"]
#[allow(dead_code)]
mod names;
#[path = "../../core/src/discovery/local/packet.rs"]
#[allow(dead_code)]
mod packet;
#[path = "../../core/src/discovery/local/responder.rs"]
#[allow(dead_code)]
mod responder;
#[path = "../../core/src/discovery/local/searches.rs"]
#[allow(dead_code)]
mod searches;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use base::ids::FileHash;
use base::limits;
use base::time::Time;
use libfuzzer_sys::fuzz_target;
use link::Link;
use machine::{Machine, Output};
use packet::{Data, Kind, Packet, Question, Record};
use responder::Identity;

const MDNS_PORT: u16 = 5353;
/// More outputs than this after one input means that the machine does not come to rest.
const MOST_OUTPUTS: usize = 2000;

fuzz_target!(|data: &[u8]| {
    let mut machine = Machine::new(identity(), 1);
    let mut now = Time::ZERO;
    machine.set_links(now, links());
    let mut bytes = data.iter().copied();
    while let Some(operation) = bytes.next() {
        let argument = bytes.next().unwrap_or(0);
        match operation % 9 {
            0 => drop(machine.announce(key(argument))),
            1 => machine.withdraw(now, key(argument)),
            2 => drop(machine.search(now, key(argument))),
            3 => machine.end_search(&key(argument)),
            4 => {
                now = now + Duration::from_millis(1 << (argument % 23));
                machine.handle_timeout(now);
            }
            5 => {
                let raw: Vec<u8> = bytes.by_ref().take(usize::from(argument)).collect();
                machine.handle_packet(now, 0, neighbour(argument, MDNS_PORT), &raw);
            }
            _ => {
                let packet = some_packet(operation, argument, &mut bytes);
                let port = if argument % 16 == 0 { 40_000 } else { MDNS_PORT };
                if let Ok(encoded) = packet::encode(&packet) {
                    machine.handle_packet(now, u32::from(operation % 2), neighbour(argument, port), &encoded);
                }
            }
        }
        take_outputs(&mut machine);
        let bound = limits::MAX_MDNS_FOUND
            + limits::MAX_MDNS_INSTANCES
            + limits::MAX_MDNS_SEARCHES
            + limits::MAX_MDNS_LINKS * (limits::MAX_MDNS_PENDING + limits::MAX_MDNS_ANSWERED + 1);
        assert!(machine.table_sizes() <= bound);
        for found in machine.known(now, &key(argument)) {
            assert!(found.addresses.len() <= limits::MAX_ADDRESSES_PER_PEER);
        }
    }
});

fn take_outputs(machine: &mut Machine) {
    for count in 0.. {
        assert!(count < MOST_OUTPUTS, "the machine does not come to rest");
        match machine.poll() {
            None => return,
            Some(Output::Send { bytes, .. }) => {
                assert!(bytes.len() <= limits::MAX_MDNS_PACKET_BYTES);
                packet::decode(&bytes).expect("our own packets can be read");
            }
            Some(Output::Found { candidate, .. }) => {
                for address in &candidate.addresses {
                    let forbidden = ["169.254.169.254", "0.0.0.0", "224.0.0.251", "8.8.8.8"];
                    assert!(!forbidden.iter().any(|ip| address.contains(ip)), "suggests {address}");
                }
            }
        }
    }
}

fn identity() -> Identity {
    Identity { peer_id: "12D3KooWself".to_owned(), port: 4001, tcp: true, udp: true }
}

fn links() -> Vec<Link> {
    let address = IpAddr::V4(Ipv4Addr::new(192, 168, 7, 2));
    let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
    vec![
        Link { id: 0, addresses: vec![(address, 24)], loopback: false },
        Link { id: 1, addresses: vec![(loopback, 8)], loopback: true },
    ]
}

fn key(argument: u8) -> FileHash {
    FileHash::from_bytes([argument % 4; 32])
}

fn neighbour(argument: u8, port: u16) -> SocketAddr {
    let ip = if argument % 2 == 0 { Ipv4Addr::new(192, 168, 7, 3 + argument % 8) } else { Ipv4Addr::LOCALHOST };
    SocketAddr::new(ip.into(), port)
}

/// A packet as a neighbour may send it: names from a small stock, so that they fit together now and then.
fn some_packet(operation: u8, argument: u8, bytes: &mut impl Iterator<Item = u8>) -> Packet {
    let mut packet = Packet { response: operation & 8 != 0, truncated: argument & 64 != 0, ..Packet::default() };
    for _ in 0..argument % 4 {
        let (name, kind) = (bytes.next().unwrap_or(0), bytes.next().unwrap_or(0));
        let kind = [Kind::Ptr, Kind::Any, Kind::Srv, Kind::Txt, Kind::A][usize::from(kind % 5)];
        packet.questions.push(Question { name: some_name(name), kind, unicast: name & 128 != 0 });
    }
    for _ in 0..argument / 4 % 8 {
        let mut next = || bytes.next().unwrap_or(0);
        let (name, kind, value, ttl) = (next(), next(), next(), next());
        let data = match kind % 4 {
            0 => Data::Ptr(some_name(value)),
            1 => Data::Srv { port: 4000 + u16::from(value), host: some_name(value) },
            2 => Data::Txt(vec![format!("id=peer{}", value % 4).into_bytes(), vec![value; 3], b"t=tcp,udp".to_vec()]),
            _ => Data::Address(some_address(value)),
        };
        let record = Record { name: some_name(name), ttl: u32::from(ttl), flush: ttl & 1 != 0, data };
        if kind & 128 == 0 { packet.answers.push(record) } else { packet.additional.push(record) }
    }
    packet
}

fn some_name(value: u8) -> String {
    let number = value / 8 % 4;
    match value % 8 {
        0..=2 => names::key_name(&key(number)),
        3 | 4 => names::instance_name(&format!("peer{number}")),
        5 => names::host_name(&format!("peer{number}")),
        6 => names::SERVICE.to_owned(),
        _ => names::ALL_SERVICES.to_owned(),
    }
}

fn some_address(value: u8) -> IpAddr {
    let stock = [
        Ipv4Addr::new(192, 168, 7, 3),
        Ipv4Addr::new(169, 254, 169, 254),
        Ipv4Addr::UNSPECIFIED,
        Ipv4Addr::new(224, 0, 0, 251),
        Ipv4Addr::new(8, 8, 8, 8),
        Ipv4Addr::LOCALHOST,
        Ipv4Addr::new(10, 0, 0, 1),
        Ipv4Addr::new(192, 168, 7, 9),
    ];
    stock[usize::from(value % 8)].into()
}
