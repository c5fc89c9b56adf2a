//! The messages against literal bytes, and against bytes that no peer should send.

use super::*;

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let pairs = digits.chunks(2).map(|pair| std::str::from_utf8(pair).expect("ASCII"));
    pairs.map(|pair| u8::from_str_radix(pair, 16).expect("hex")).collect()
}

const SESSION: &str = "000102030405060708090a0b0c0d0e0f";

fn message(round: u8, body: Body) -> Message {
    Message { session: SessionId(std::array::from_fn(|index| index as u8)), round, body }
}

fn proposal() -> Proposal {
    Proposal {
        highest: 1,
        method: Some(Method::Prediction { initiator: true, responder: false }),
        held: Duration::from_millis(258),
        key: SessionKey([0xab; 32]),
        nat: NatSummary {
            mapping: Some(Mapping::AddressAndPortDependent),
            filtering: Some(Filtering::AddressDependent),
            filtering_v6: None,
            allocation: Some(PortAllocation::Sequential { step: -2 }),
            udp_blocked: true,
            translated: Some(true),
            v6: true,
            sockets: 256,
            probes: 2048,
        },
        endpoints: vec![
            Endpoint { transport: Transport::Udp, address: "203.0.113.9:4660".parse().expect("valid") },
            Endpoint { transport: Transport::Tcp, address: "[2001:db8::1]:443".parse().expect("valid") },
        ],
        forecast: Forecast::Ports(vec![30001, 30003]),
    }
}

fn proposal_hex(kind: &str) -> String {
    let key = "ab".repeat(32);
    let nat = "0d 03 02 00 02 fffe 0000 0b 0100 0800";
    let endpoints = "02 07 01 cb007109 1234 13 02 20010db8000000000000000000000001 01bb";
    format!("01 {kind} {SESSION} 03  01 03 01 0102 {key} {nat} {endpoints} 01 02 7531 7533")
}

#[test]
fn offers_and_answers_have_the_documented_bytes() {
    for (kind, body) in [("01", Body::Offer(proposal())), ("02", Body::Answer(proposal()))] {
        let expected = hex(&proposal_hex(kind));
        let message = message(3, body);
        assert_eq!(message.encode(), expected);
        assert_eq!(Message::decode(&expected), Ok(Some(message)));
    }
}

#[test]
fn short_messages_have_the_documented_bytes() {
    let cases = [
        (Body::Go(Duration::from_millis(300)), "03", "012c"),
        (Body::Result(true), "04", "01"),
        (Body::Result(false), "04", "00"),
        (Body::Abort(Reason::NoHope, "both random".into()), "05", "02 0b 626f74682072616e646f6d"),
        (Body::Abort(Reason::Other(99), String::new()), "05", "63 00"),
    ];
    for (body, kind, rest) in cases {
        let expected = hex(&format!("01 {kind} {SESSION} 01 {rest}"));
        let message = message(1, body);
        assert_eq!(message.encode(), expected);
        assert_eq!(Message::decode(&expected), Ok(Some(message)));
    }
}

#[test]
fn unknown_things_are_skipped() {
    let unknown_type = hex(&format!("01 09 {SESSION} 01"));
    let newer_version = hex(&format!("02 01 {SESSION} 01 ffff"));
    assert_eq!(Message::decode(&unknown_type), Ok(None));
    assert_eq!(Message::decode(&newer_version), Ok(None));
    let trailing = hex(&format!("01 04 {SESSION} 01 01 deadbeef"));
    assert_eq!(Message::decode(&trailing), Ok(Some(message(1, Body::Result(true)))));

    // A longer NAT record, an endpoint of an unknown kind, a method and a forecast of a newer version.
    let key = "ab".repeat(32);
    let nat = "0f 01 01 01 01 0000 0000 04 0000 0000 7777";
    let newer = format!("01 01 {SESSION} 01 07 63 00 0000 {key} {nat} 02 03 09aabb 07 01 cb007109 1234 77 0102");
    let Ok(Some(Message { body: Body::Offer(offer), .. })) = Message::decode(&hex(&newer)) else { panic!("an offer") };
    assert_eq!((offer.method, offer.highest, offer.forecast), (None, 7, Forecast::None));
    assert_eq!((offer.nat.translated, offer.nat.mapping), (Some(false), Some(Mapping::EndpointIndependent)));
    assert_eq!(offer.endpoints.len(), 1);
}

#[test]
fn lists_are_bounded_before_they_are_read() {
    let key = "ab".repeat(32);
    let front = format!("01 01 {SESSION} 01 01 00 00 0000 {key} 0d 01 01 01 01 0000 0000 04 0000 0000");
    assert_eq!(Message::decode(&hex(&format!("{front} 11"))), Err(Malformed::TooLarge("endpoints")));
    assert_eq!(Message::decode(&hex(&format!("{front} 00 01 41"))), Err(Malformed::TooLarge("ports")));
    assert_eq!(Message::decode(&vec![1; limits::MAX_SIGNAL_BYTES + 1]), Err(Malformed::TooLarge("message")));
    let reason = hex(&format!("01 05 {SESSION} 01 01 c9"));
    assert_eq!(Message::decode(&reason), Err(Malformed::TooLarge("reason")));
}

#[test]
fn every_cut_is_refused_and_nothing_too_long_is_written() {
    let whole = message(3, Body::Offer(proposal())).encode();
    for length in 0..whole.len() {
        assert_eq!(Message::decode(&whole[..length]), Err(Malformed::Truncated), "{length} bytes");
    }
    let mut large = proposal();
    large.endpoints = vec![large.endpoints[1]; 40];
    large.forecast = Forecast::Ports(vec![7; 500]);
    let written = message(1, Body::Answer(large)).encode();
    assert!(written.len() < limits::MAX_SIGNAL_BYTES / 8);
    let Ok(Some(Message { body: Body::Answer(read), .. })) = Message::decode(&written) else { panic!("an answer") };
    assert_eq!(read.endpoints.len(), limits::PUNCH_ENDPOINTS);
    assert_eq!(read.forecast, Forecast::Ports(vec![7; limits::PUNCH_PORTS]));
    let text = message(1, Body::Abort(Reason::Refused, "ä".repeat(300))).encode();
    assert!(
        matches!(Message::decode(&text), Ok(Some(Message { body: Body::Abort(_, text), .. })) if text.len() == 200)
    );
}

#[test]
fn text_for_people_carries_no_control_characters() {
    let message = message(1, Body::Abort(Reason::Refused, "\u{1b}[31mred\n".into()));
    let Ok(Some(read)) = Message::decode(&message.encode()) else { panic!("an abort") };
    assert_eq!(read.body, Body::Abort(Reason::Refused, "[31mred".into()));
}
