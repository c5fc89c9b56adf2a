//! Frames from a server: whatever is accepted is written back as the same frame, and respects the limits.
#![no_main]

use bytes::{Bytes, BytesMut};
use dig_nat_core::base::limits;
use dig_nat_core::wire::transfer::{HEADER_BYTES, ServerFrame, decode_header};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((&kind, body)) = data.split_first() else { return };
    let Ok(Some(frame)) = ServerFrame::decode(kind, Bytes::copy_from_slice(body)) else { return };
    match &frame {
        ServerFrame::Info(info) => {
            assert!(info.length <= limits::MAX_FILE_BYTES && info.name.len() <= limits::MAX_FILE_NAME_BYTES);
            assert!(info.piece_length > 0 && info.piece_length <= limits::MAX_PIECE_BYTES);
        }
        ServerFrame::States { states, .. } => assert_eq!(states.len() % 32, 0),
        ServerFrame::Data { bytes, .. } => assert!(bytes.len() <= limits::MAX_BLOCK_BYTES as usize),
        _ => {}
    }
    let mut encoded = BytesMut::new();
    frame.encode(&mut encoded);
    let header = *encoded.first_chunk::<HEADER_BYTES>().expect("a header");
    let (kind, length) = decode_header(header).expect("our own frames are within the limits");
    assert_eq!(length + HEADER_BYTES, encoded.len());
    assert_eq!(ServerFrame::decode(kind, encoded.freeze().slice(HEADER_BYTES..)), Ok(Some(frame)));
});
