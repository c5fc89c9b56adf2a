//! Signalling messages of hole punching: whatever is accepted respects the limits and is written back as the same.
#![no_main]

use dig_nat_core::base::limits;
use dig_nat_core::nat::punch::message::{Body, Message};
use dig_nat_core::nat::punch::prediction::Forecast;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(Some(message)) = Message::decode(data) else { return };
    match &message.body {
        Body::Offer(proposal) | Body::Answer(proposal) => {
            assert!(proposal.endpoints.len() <= limits::PUNCH_ENDPOINTS);
            assert!(proposal.endpoints.iter().all(|endpoint| endpoint.address.port() != 0));
            assert!(!matches!(&proposal.forecast, Forecast::Ports(ports) if ports.len() > limits::PUNCH_PORTS));
        }
        // Replacing bytes that are not UTF-8 can make a text longer than was sent.
        Body::Abort(_, text) if text.len() > limits::PUNCH_ABORT_TEXT_BYTES => return,
        Body::Abort(..) | Body::Go(_) | Body::Result(_) => {}
    }
    assert_eq!(Message::decode(&message.encode()), Ok(Some(message)));
});
