//! The STUN codec against the test vectors of RFC 5769, round trips of everything it can say, and hostile bytes.
#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;

use bytes::Bytes;
use dig_nat_core::nat::stun::{Attribute, Class, Family, Integrity, Key, Message, Method, TransactionId, decode};
use proptest::prelude::*;

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

const SHORT_PASSWORD: &str = "VOkJxbRl1RmTxUk/WvJxBt";
const SHORT_TRANSACTION: TransactionId =
    TransactionId([0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae]);

/// RFC 5769 section 2.1.
const REQUEST: &str = "0001 0058 2112a442 b7e7a701bc34d686fa87dfae
    8022 0010 5354554e 20746573 7420636c 69656e74
    0024 0004 6e0001ff
    8029 0008 932ff9b1 51263b36
    0006 0009 6576746a 3a683676 59 202020
    0008 0014 9aeaa70c bfd8cb56 781ef2b5 b2d3f249 c1b571a2
    8028 0004 e57a3bcf";

#[test]
fn rfc_5769_request_with_a_short_term_credential() {
    let bytes = hex(REQUEST);
    let received = decode(&bytes).unwrap();
    let expected = Message::request(Method::BINDING, SHORT_TRANSACTION)
        .with(Attribute::Software("STUN test client".to_owned()))
        .with(Attribute::Priority(0x6e00_01ff))
        .with(Attribute::IceControlled(0x932f_f9b1_5126_3b36))
        .with(Attribute::Username("evtj:h6vY".to_owned()));
    assert_eq!(received.message, expected);
    assert!(received.fingerprint && received.is_signed() && received.unknown.is_empty());
    assert_eq!(received.verify(&Key::short_term(SHORT_PASSWORD)), Integrity::Right);
    assert_eq!(received.verify(&Key::short_term("VOkJxbRl1RmTxUk/WvJxBT")), Integrity::Wrong);
    assert_eq!(received.message.username(), Some("evtj:h6vY"));
}

#[test]
fn rfc_5769_answers_over_ipv4_and_ipv6() {
    let v4 = hex("0101 003c 2112a442 b7e7a701bc34d686fa87dfae
        8022 000b 74657374 20766563 746f7220
        0020 0008 0001 a147 e112a643
        0008 0014 2b91f599 fd9e90c3 8c7489f9 2af9ba53 f06be7d7
        8028 0004 c07d4c96");
    let v6 = hex("0101 0048 2112a442 b7e7a701bc34d686fa87dfae
        8022 000b 74657374 20766563 746f7220
        0020 0014 0002 a147 0113a9fa a5d3f179 bc25f4b5 bed2b9d9
        0008 0014 a382954e 4be67bf1 1784c97c 8292c275 bfe3ed41
        8028 0004 c8fb0b4c");
    for (bytes, address) in [(v4, "192.0.2.1:32853"), (v6, "[2001:db8:1234:5678:11:2233:4455:6677]:32853")] {
        let received = decode(&bytes).unwrap();
        assert_eq!((received.message.class, received.message.method), (Class::Success, Method::BINDING));
        assert_eq!(received.message.mapped_address(), Some(address.parse().unwrap()));
        assert_eq!(received.message.attributes[0], Attribute::Software("test vector".to_owned()));
        assert_eq!(received.verify(&Key::short_term(SHORT_PASSWORD)), Integrity::Right);
        assert!(received.fingerprint);
    }
}

#[test]
fn rfc_5769_request_with_a_long_term_credential_is_written_byte_for_byte() {
    let bytes = hex("0001 0060 2112a442 78ad3433c6ad72c029da412e
        0006 0012 e3839ee3 8388e383 aae38383 e382afe3 82b9 0000
        0015 001c 662f2f34 39396b39 35346436 4f4c3334 6f4c3946 53547679 36347341
        0014 000b 6578616d 706c652e 6f7267 00
        0008 0014 f6702465 6dd64a3e 02b8e071 2e85c9a2 8ca89666");
    let received = decode(&bytes).unwrap();
    let name = "\u{30de}\u{30c8}\u{30ea}\u{30c3}\u{30af}\u{30b9}";
    let key = Key::long_term(name, "example.org", "TheMatrIX");
    assert_eq!(received.verify(&key), Integrity::Right);
    assert!(!received.fingerprint);
    let transaction = TransactionId(bytes[8..20].try_into().unwrap());
    let expected = Message::request(Method::BINDING, transaction)
        .with(Attribute::Username(name.to_owned()))
        .with(Attribute::Nonce(Bytes::from_static(b"f//499k954d6OL34oL9FSTvy64sA")))
        .with(Attribute::Realm("example.org".to_owned()));
    assert_eq!(received.message, expected);
    assert_eq!(expected.encode(Some(&key), false).unwrap(), bytes);
}

#[test]
fn change_request_and_turn_attributes_have_their_literal_bytes() {
    let message = Message::request(Method::ALLOCATE, TransactionId([0; 12]))
        .with(Attribute::ChangeRequest { ip: true, port: false })
        .with(Attribute::ChangeRequest { ip: false, port: true })
        .with(Attribute::RequestedTransport(17))
        .with(Attribute::RequestedAddressFamily(Family::V6))
        .with(Attribute::EvenPort(true))
        .with(Attribute::ChannelNumber(0x4001))
        .with(Attribute::Lifetime(600))
        .with(Attribute::ErrorCode { code: 438, reason: "Stale".to_owned() })
        .with(Attribute::XorPeerAddress("192.0.2.1:32853".parse().unwrap()));
    let bytes = hex("0003 0054 2112a442 000000000000000000000000
        0003 0004 00000004  0003 0004 00000002  0019 0004 11000000  0017 0004 02000000  0018 0001 80 000000
        000c 0004 40010000  000d 0004 00000258  0009 0009 00000426 5374616c65 000000
        0012 0008 0001 a147 e112a643");
    assert_eq!(message.encode(None, false).unwrap(), bytes);
    assert_eq!(decode(&bytes).unwrap().message, message);
}

#[test]
fn all_classes_and_methods_have_their_bits() {
    let kinds = [
        (Class::Request, Method::BINDING, 0x0001),
        (Class::Indication, Method::SEND, 0x0016),
        (Class::Indication, Method::DATA, 0x0017),
        (Class::Success, Method::ALLOCATE, 0x0103),
        (Class::Error, Method::CHANNEL_BIND, 0x0119),
        (Class::Error, Method::other(0xfff), 0x3fff),
    ];
    for (class, method, kind) in kinds {
        let message = Message::new(class, method, TransactionId([7; 12]));
        let bytes = message.encode(None, false).unwrap();
        assert_eq!(u16::from_be_bytes([bytes[0], bytes[1]]), kind);
        assert_eq!(decode(&bytes).unwrap().message, message);
    }
}

#[test]
fn unknown_attributes_are_skipped_or_reported() {
    let bytes = hex("0001 0020 2112a442 000000000000000000000000
        7777 0001 01 000000  9999 0002 0101 0000  0004 0008 0001 0001 01020304  8022 0000");
    let received = decode(&bytes).unwrap();
    assert_eq!(received.unknown, [0x7777]);
    assert_eq!(received.message.attributes, [Attribute::Software(String::new())]);
}

#[test]
fn a_reason_may_end_like_a_c_string_or_be_no_text() {
    for reason in ["6e6f00", "6e6f20ff"] {
        let bytes = hex(&format!("0111 000c 2112a442 000000000000000000000000  0009 0008 0000 0604 {reason:0<8}"));
        let message = decode(&bytes).unwrap().message;
        assert!(message.error_code().is_some_and(|(code, reason)| code == 604 && reason.starts_with("no")));
        assert!(!message.error_code().is_some_and(|(_, reason)| reason.ends_with('\0')));
    }
}

#[test]
fn a_reason_that_is_no_text_stays_within_its_bound() {
    // Each byte that is no text is shown as a character of three bytes.
    let value = [&[0, 0, 4, 0][..], &[0xff; 760]].concat();
    let mut bytes = hex("0111 0300 2112a442 000000000000000000000000 0009 02fc");
    bytes.extend(value);
    let message = decode(&bytes).unwrap().message;
    let (_, reason) = message.error_code().unwrap();
    assert_eq!(reason, "\u{fffd}".repeat(763 / 3));
    assert_eq!(decode(&message.encode(None, false).unwrap()).unwrap().message, message);
}

#[test]
fn what_follows_the_integrity_is_not_believed() {
    let key = Key::short_term("password");
    let signed = Message::request(Method::BINDING, SHORT_TRANSACTION).with(Attribute::Priority(1));
    let mut bytes = signed.encode(Some(&key), false).unwrap();
    bytes.extend(hex("0025 0000"));
    bytes[3] += 4;
    let received = decode(&bytes).unwrap();
    assert_eq!(received.message, signed);
    assert_eq!(received.verify(&key), Integrity::Right);
}

#[test]
fn damaged_messages_are_refused() {
    let good = hex(REQUEST);
    for length in 0..good.len() {
        assert!(decode(&good[..length]).is_err(), "cut to {length}");
    }
    for at in 0..good.len() {
        for bit in 0..8 {
            let mut bytes = good.clone();
            bytes[at] ^= 1 << bit;
            // The fingerprint covers all but the attribute's own type, where the message merely loses it.
            let changed = decode(&bytes);
            assert!(changed.is_err() || changed.is_ok_and(|received| !received.fingerprint), "{at} {bit}");
        }
    }
    let mut long = good;
    long.extend([0; 4]);
    assert!(decode(&long).is_err(), "bytes behind the message");
}

#[test]
fn too_much_is_neither_written_nor_read() {
    let request = Message::request(Method::SEND, SHORT_TRANSACTION);
    assert!(request.clone().with(Attribute::Data(Bytes::from(vec![0; 65_536]))).encode(None, false).is_err());
    assert!(request.clone().with(Attribute::Padding(65_530)).encode(Some(&Key::short_term("")), true).is_err());
    let many = (0..64).fold(request, |message, _| message.with(Attribute::UseCandidate));
    assert!(many.encode(None, true).is_err());
    let mut bytes = many.encode(None, false).unwrap();
    assert!(decode(&bytes).is_ok());
    bytes.extend(hex("0025 0000"));
    bytes[2..4].copy_from_slice(&(65_u16 * 4).to_be_bytes());
    assert!(decode(&bytes).is_err());
}

fn addresses() -> impl Strategy<Value = SocketAddr> {
    prop_oneof![
        any::<([u8; 4], u16)>().prop_map(|(ip, port)| SocketAddr::from((ip, port))),
        any::<([u8; 16], u16)>().prop_map(|(ip, port)| SocketAddr::from((ip, port))),
    ]
}

fn attributes() -> impl Strategy<Value = Attribute> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..64).prop_map(Bytes::from);
    prop_oneof![
        addresses().prop_map(Attribute::MappedAddress),
        addresses().prop_map(Attribute::XorMappedAddress),
        addresses().prop_map(Attribute::XorPeerAddress),
        addresses().prop_map(Attribute::XorRelayedAddress),
        addresses().prop_map(Attribute::AlternateServer),
        addresses().prop_map(Attribute::OtherAddress),
        addresses().prop_map(Attribute::ResponseOrigin),
        "\\PC{0,40}".prop_map(Attribute::Username),
        "\\PC{0,40}".prop_map(Attribute::Realm),
        "\\PC{0,40}".prop_map(Attribute::Software),
        bytes().prop_map(Attribute::Nonce),
        bytes().prop_map(Attribute::Data),
        (300_u16..700, "\\PC{0,40}").prop_map(|(code, reason)| Attribute::ErrorCode { code, reason }),
        prop::collection::vec(any::<u16>(), 0..20).prop_map(Attribute::UnknownAttributes),
        any::<(bool, bool)>().prop_map(|(ip, port)| Attribute::ChangeRequest { ip, port }),
        any::<u16>().prop_map(Attribute::ResponsePort),
        (0_u16..200).prop_map(Attribute::Padding),
        any::<u32>().prop_map(Attribute::Priority),
        Just(Attribute::UseCandidate),
        any::<u64>().prop_map(Attribute::IceControlled),
        any::<u64>().prop_map(Attribute::IceControlling),
        any::<u16>().prop_map(Attribute::ChannelNumber),
        any::<u32>().prop_map(Attribute::Lifetime),
        prop_oneof![Just(Family::V4), Just(Family::V6)].prop_map(Attribute::RequestedAddressFamily),
        any::<u8>().prop_map(Attribute::RequestedTransport),
        any::<bool>().prop_map(Attribute::EvenPort),
        Just(Attribute::DontFragment),
        any::<[u8; 8]>().prop_map(Attribute::ReservationToken),
    ]
}

fn messages() -> impl Strategy<Value = Message> {
    let class = prop_oneof![Just(Class::Request), Just(Class::Indication), Just(Class::Success), Just(Class::Error)];
    (class, 0_u16..0x1000, any::<[u8; 12]>(), prop::collection::vec(attributes(), 0..12)).prop_map(
        |(class, method, transaction, attributes)| Message {
            class,
            method: Method::other(method),
            transaction: TransactionId(transaction),
            attributes,
        },
    )
}

proptest! {
    #[test]
    fn what_is_written_is_read(message in messages(), password in "[a-z]{0,70}", sign in any::<bool>(), mark in any::<bool>()) {
        let key = Key::short_term(&password);
        let bytes = message.encode(sign.then_some(&key), mark).unwrap();
        let received = decode(&bytes).unwrap();
        prop_assert_eq!(&received.message, &message);
        prop_assert_eq!(received.verify(&key), if sign { Integrity::Right } else { Integrity::Absent });
        prop_assert_eq!(received.fingerprint, mark);
        prop_assert!(received.unknown.is_empty());
    }

    #[test]
    fn any_bytes_are_survived(start in messages(), changes in prop::collection::vec(any::<(usize, u8)>(), 0..8)) {
        let mut bytes = start.encode(None, false).unwrap();
        for (at, value) in changes {
            let at = at % bytes.len();
            bytes[at] = value;
        }
        if let Ok(received) = decode(&bytes) {
            let again = received.message.encode(None, false).unwrap();
            prop_assert_eq!(decode(&again).unwrap().message, received.message);
        }
    }
}
