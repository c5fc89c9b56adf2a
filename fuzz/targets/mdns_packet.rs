//! Multicast DNS packets: any bytes decode to a packet or an error, and what is written is read as the same packet.
#![no_main]

// Local discovery is only built with the engine. Its packets need nothing of that, so their file is compiled here.
use dig_nat_core::base;
#[path = "../../core/src/discovery/local/packet.rs"]
#[allow(dead_code)]
mod packet;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(packet) = packet::decode(data) else { return };
    let entries = packet.questions.len() + packet.answers.len() + packet.additional.len();
    assert!(entries * 5 <= base::limits::MAX_MDNS_PACKET_BYTES);
    // Some of what can be received is too long to be sent.
    let Ok(encoded) = packet::encode(&packet) else { return };
    assert_eq!(packet::decode(&encoded).expect("our own packet"), packet);
});
