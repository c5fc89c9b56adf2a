//! PCP: any bytes decode to a message or an error, and what is written is read as the same message.
#![no_main]

use dig_nat_core::nat::mapping::pcp::{MAX_MESSAGE, Request, Response};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(request) = Request::decode(data) {
        assert_eq!(Request::decode(&request.encode()), Ok(request));
    }
    if let Ok(response) = Response::decode(data) {
        assert!(data.len() <= MAX_MESSAGE);
        if response.operation.is_some() {
            assert_eq!(Response::decode(&response.encode()), Ok(response));
        }
    }
});
