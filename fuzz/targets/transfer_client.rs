//! Frames from a requester: whatever is accepted is written back as the same frame, and respects the limits.
#![no_main]

use bytes::BytesMut;
use dig_nat_core::base::limits;
use dig_nat_core::wire::transfer::{ClientFrame, HEADER_BYTES, decode_header};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((&kind, body)) = data.split_first() else { return };
    let Ok(Some(frame)) = ClientFrame::decode(kind, body) else { return };
    match &frame {
        ClientFrame::Request(span) | ClientFrame::Cancel(span) => {
            assert!(span.length > 0 && span.length <= limits::MAX_BLOCK_BYTES);
            assert!(span.end() > span.offset);
        }
        ClientFrame::GetStates { first, count } => {
            assert!(*first > 0 && *count > 0 && *count <= limits::MAX_STATES_PER_MESSAGE);
        }
        ClientFrame::Hello { key, .. } => assert!(key.to_string().len() <= limits::MAX_CONTENT_ID_BYTES),
        ClientFrame::Peers(peers) => assert!(peers.added.len() <= 255 && peers.dropped.len() <= 255),
        ClientFrame::Own(bytes) => assert!(bytes.len() <= limits::MAX_ANNOUNCEMENT_BYTES),
    }
    let mut encoded = BytesMut::new();
    frame.encode(&mut encoded);
    let header = *encoded.first_chunk::<HEADER_BYTES>().expect("a header");
    let (kind, length) = decode_header(header).expect("our own frames are within the limits");
    assert_eq!(length + HEADER_BYTES, encoded.len());
    assert_eq!(ClientFrame::decode(kind, &encoded[HEADER_BYTES..]), Ok(Some(frame)));
});
