//! Messages between network managers: whatever is accepted is written back as the same message.
#![no_main]

use bytes::{Bytes, BytesMut};
use dig_nat_core::wire::message::{LENGTH_BYTES, MessageFrame, decode_length};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Some(field) = data.first_chunk::<LENGTH_BYTES>() {
        let _ = decode_length(*field);
    }
    let Ok(frame) = MessageFrame::decode(&Bytes::copy_from_slice(data)) else { return };
    let mut encoded = BytesMut::new();
    frame.encode(&mut encoded).expect("what was accepted is within the limits");
    let length = decode_length(*encoded.first_chunk().expect("a length")).expect("our own length is allowed");
    assert_eq!(length + LENGTH_BYTES, encoded.len());
    assert_eq!(MessageFrame::decode(&encoded.freeze().slice(LENGTH_BYTES..)), Ok(frame));
});
