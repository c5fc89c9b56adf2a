//! STUN messages: any bytes decode to a message or an error, and what is written is read as the same message.
#![no_main]

use dig_nat_core::base::limits;
use dig_nat_core::nat::stun::{Integrity, Key, decode};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let key = Key::short_term("fuzz");
    // Most inputs would fail at the cookie and the length; these are put right for every other input.
    let mut framed = data.to_vec();
    if data.len() >= 20 && data.len() % 4 == 0 {
        framed[2..4].copy_from_slice(&((data.len() - 20) as u16).to_be_bytes());
        framed[4..8].copy_from_slice(&[0x21, 0x12, 0xa4, 0x42]);
    }
    for bytes in [data, &framed] {
        let Ok(received) = decode(bytes) else { continue };
        assert!(received.message.attributes.len() + received.unknown.len() <= limits::MAX_STUN_ATTRIBUTES);
        let _ = received.verify(&key);
        let Ok(encoded) = received.message.encode(Some(&key), true) else { continue };
        let again = decode(&encoded).expect("our own message");
        assert_eq!(again.message, received.message);
        assert_eq!(again.verify(&key), Integrity::Right);
        assert!(again.fingerprint);
    }
});
