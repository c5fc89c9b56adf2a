//! A whole stream of frames as a reader sees it: header, length check, body. No header may ask for more memory than
//! the limits allow.
#![no_main]

use bytes::Bytes;
use dig_nat_core::base::limits;
use dig_nat_core::wire::transfer::{ClientFrame, DATA, HEADER_BYTES, ServerFrame, decode_header};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut rest = Bytes::copy_from_slice(data);
    while let Some(header) = rest.first_chunk::<HEADER_BYTES>() {
        let Ok((kind, length)) = decode_header(*header) else { return };
        let most = if kind == DATA { limits::MAX_BLOCK_BYTES as usize + 8 } else { limits::MAX_CONTROL_FRAME_BYTES };
        assert!(length <= most);
        let _ = rest.split_to(HEADER_BYTES);
        if rest.len() < length {
            return;
        }
        let body = rest.split_to(length);
        let (client, server) = (ClientFrame::decode(kind, &body), ServerFrame::decode(kind, body));
        // A type byte belongs to one side only.
        assert!(!matches!((client, server), (Ok(Some(_)), Ok(Some(_)))));
    }
});
