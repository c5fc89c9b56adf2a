//! Multicast DNS packets: literal bytes both ways, and hostile bytes.
#![cfg(feature = "engine")]
#![allow(clippy::unwrap_used)]

use std::net::IpAddr;

use dig_nat_core::base::ids::FileHash;
use dig_nat_core::discovery::local::names;
use dig_nat_core::discovery::local::packet::{Data, Kind, Packet, Question, Record, decode, encode};
use proptest::prelude::*;

/// The empty file's hash, the key of the literal packets.
const KEY_NAME: &str = "_4oymiquy7qobjgx36tejs35zeqt24qpemsnzgtfeswmrw6csxbkq._sub._dig-nat._udp.local";

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

#[test]
fn a_query_for_a_key_is_one_small_packet() {
    assert_eq!(names::key_name(&FileHash::of(b"")), KEY_NAME);
    let query = Packet {
        questions: vec![Question { name: KEY_NAME.to_owned(), kind: Kind::Ptr, unicast: false }],
        ..Packet::default()
    };
    let bytes = hex(
        "0000 0000 0001 0000 0000 0000
         35 5f346f796d6971757937716f626a67783336 74656a733335 7a65717432347170656d736e7a67746665 73776d7277 36637378626b71
         04 5f737562  08 5f6469672d6e6174  04 5f756470  05 6c6f63616c 00  000c 0001",
    );
    assert_eq!(bytes.len(), 12 + 54 + 5 + 9 + 5 + 6 + 1 + 4);
    assert_eq!(encode(&query).unwrap(), bytes);
    assert_eq!(decode(&bytes).unwrap(), query);
}

#[test]
fn an_answer_with_everything_a_searcher_needs() {
    let unique = |name: &str, ttl, data| Record { name: name.to_owned(), ttl, flush: true, data };
    let instance = "abc._dig-nat._udp.local";
    let pointer = Data::Ptr(instance.to_owned());
    let answer = Packet {
        response: true,
        answers: vec![Record { name: "_dig-nat._udp.local".to_owned(), ttl: 4500, flush: false, data: pointer }],
        additional: vec![
            unique(instance, 120, Data::Srv { port: 9000, host: "h.local".to_owned() }),
            unique(instance, 4500, Data::Txt(vec![b"id=aBc".to_vec(), b"v=1".to_vec()])),
            unique("h.local", 120, Data::Address(IpAddr::from([192, 0, 2, 7]))),
            unique("h.local", 120, Data::Address("fd00::7".parse().unwrap())),
        ],
        ..Packet::default()
    };
    let bytes = hex("0000 8400 0000 0001 0000 0004
         08 5f6469672d6e6174 04 5f756470 05 6c6f63616c 00  000c 0001 00001194 0006  03 616263 c00c
         c02b  0021 8001 00000078 000a  0000 0000 2328 01 68 c01a
         c02b  0010 8001 00001194 000b  06 69643d614263 03 763d31
         c043  0001 8001 00000078 0004  c0000207
         c043  001c 8001 00000078 0010  fd00 0000 0000 0000 0000 0000 0000 0007");
    assert_eq!(decode(&bytes).unwrap(), answer);
    assert_eq!(decode(&encode(&answer).unwrap()).unwrap(), answer);
}

#[test]
fn names_compare_without_case_and_keep_odd_bytes() {
    // `Ab.c` and a space in one label, as other programs' instance names have them.
    let bytes = hex("0000 0000 0001 0000 0000 0000  05 41622e6320 05 4c6f43614c 00  00ff 8001");
    let packet = decode(&bytes).unwrap();
    assert_eq!(packet.questions[0].name, "ab\\.c\\032.local");
    assert!(packet.questions[0].unicast);
    assert_eq!(decode(&encode(&packet).unwrap()).unwrap(), packet);
}

#[test]
fn malformed_packets_are_refused() {
    let refused = |text: &str| assert!(decode(&hex(text)).is_err(), "{text}");
    refused("");
    refused("0000 0000 0001 0000 0000");
    // Counts that the length cannot hold.
    refused("0000 0000 ffff ffff ffff ffff 00 0001 0001");
    // A name that points at itself, and one that points forward.
    refused("0000 0000 0001 0000 0000 0000 c00c 000c 0001");
    refused("0000 0000 0001 0000 0000 0000 c010 000c 0001 00");
    // A label that runs past the end.
    refused("0000 0000 0001 0000 0000 0000 3f 61 00 000c 0001");
    // An update is neither query nor response.
    refused("0000 2800 0000 0000 0000 0000");
    assert!(decode(&vec![0; 9001]).is_err());
}

#[test]
fn names_that_do_not_fit_are_not_written() {
    let ask = |name: String| {
        let questions = vec![Question { name, kind: Kind::Ptr, unicast: false }];
        encode(&Packet { questions, ..Packet::default() })
    };
    assert!(ask("a".repeat(64)).is_err());
    assert!(ask(vec!["a".repeat(63); 5].join(".")).is_err());
    assert!(ask("a".repeat(63)).is_ok());
}

proptest! {
    #[test]
    fn any_bytes_decode_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let _ = decode(&bytes);
    }

    /// Small counts let the parser come past the header into every record type it knows.
    #[test]
    fn any_records_decode_without_panic(
        counts in prop::array::uniform4(0_u8..4),
        records in prop::collection::vec((0_u16..300, any::<[u8; 6]>(), prop::collection::vec(any::<u8>(), 0..40)), 0..8),
        cut in 0_usize..400,
    ) {
        let mut bytes = vec![0, 0, 0x84, 0];
        for count in counts {
            bytes.extend([0, count]);
        }
        for (kind, rest, data) in records {
            bytes.push(0);
            bytes.extend(kind.to_be_bytes());
            bytes.extend([rest[0] & 0x80, 1]);
            bytes.extend(&rest[2..]);
            bytes.extend((data.len() as u16).to_be_bytes());
            bytes.extend(data);
        }
        bytes.truncate(bytes.len().saturating_sub(cut % 16));
        let _ = decode(&bytes);
    }

    /// What decodes can be written again and means the same.
    #[test]
    fn a_changed_packet_is_refused_or_round_trips(at in 0_usize..200, value in any::<u8>()) {
        let mut bytes = encode(&Packet {
            response: true,
            answers: vec![Record {
                name: KEY_NAME.to_owned(),
                ttl: 120,
                flush: false,
                data: Data::Ptr(names::instance_name("12D3KooWExample")),
            }],
            ..Packet::default()
        }).unwrap();
        let at = at % bytes.len();
        bytes[at] = value;
        if let Ok(packet) = decode(&bytes)
            && let Ok(again) = encode(&packet)
        {
            prop_assert_eq!(decode(&again).unwrap(), packet);
        }
    }
}
