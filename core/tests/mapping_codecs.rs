//! PCP and NAT-PMP with every message we or a router could write, and with hostile bytes.

use std::net::IpAddr;

use dig_nat_core::nat::mapping::{Protocol, natpmp, pcp};
use proptest::prelude::*;

fn protocol() -> impl Strategy<Value = Protocol> {
    prop_oneof![Just(Protocol::Tcp), Just(Protocol::Udp)]
}

/// Mapped addresses are IPv4 on this wire, so they cannot come back as IPv6.
fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        any::<[u8; 4]>().prop_map(IpAddr::from),
        any::<[u8; 16]>().prop_map(IpAddr::from).prop_map(|address| address.to_canonical()),
    ]
}

fn operation() -> impl Strategy<Value = pcp::Operation> {
    let map = (any::<[u8; 12]>(), protocol(), any::<u16>(), any::<u16>(), address()).prop_map(
        |(nonce, protocol, internal_port, external_port, external_address)| {
            pcp::Operation::Map(pcp::Map { nonce, protocol, internal_port, external_port, external_address })
        },
    );
    prop_oneof![Just(pcp::Operation::Announce), map]
}

proptest! {
    #[test]
    fn pcp_messages_come_back(client in address(), lifetime: u32, epoch: u32, result in 0u8..=255, operation in operation()) {
        let request = pcp::Request { client, lifetime, operation };
        prop_assert_eq!(pcp::Request::decode(&request.encode()), Ok(request));
        let result = pcp::ResultCode::from_number(result);
        let response = pcp::Response { version: 2, result, lifetime, epoch, operation: Some(operation) };
        prop_assert_eq!(pcp::Response::decode(&response.encode()), Ok(response));
    }

    #[test]
    fn natpmp_answers_come_back(epoch: u32, result: u16, protocol in protocol(), ports: (u16, u16), lifetime: u32, octets: [u8; 4]) {
        let result = natpmp::ResultCode::from_number(result);
        let map = natpmp::Body::Map { protocol, internal_port: ports.0, external_port: ports.1, lifetime };
        for body in [map, natpmp::Body::ExternalAddress(octets.into())] {
            let response = natpmp::Response { result, epoch, body };
            prop_assert_eq!(natpmp::Response::decode(&response.encode()), Ok(response));
        }
    }

    #[test]
    fn any_bytes_are_a_message_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..1200)) {
        for bytes in [&bytes[..], &[&[2, 129][..], &bytes].concat(), &[&[0, 129][..], &bytes].concat()] {
            if let Ok(response) = natpmp::Response::decode(bytes) {
                prop_assert_eq!(natpmp::Response::decode(&response.encode()), Ok(response));
            }
            if let Ok(response) = pcp::Response::decode(bytes) && response.operation.is_some() {
                prop_assert_eq!(pcp::Response::decode(&response.encode()), Ok(response));
            }
            if let Ok(request) = pcp::Request::decode(bytes) {
                prop_assert_eq!(pcp::Request::decode(&request.encode()), Ok(request));
            }
        }
    }

    /// A cut-off message is an error, never another message.
    #[test]
    fn no_prefix_of_a_mapping_is_one(nonce: [u8; 12], cut in 0usize..60) {
        let external_address = pcp::any(true);
        let map = pcp::Map { nonce, protocol: Protocol::Udp, internal_port: 1, external_port: 1, external_address };
        let operation = Some(pcp::Operation::Map(map));
        let response = pcp::Response { version: 2, result: pcp::ResultCode::Success, lifetime: 1, epoch: 1, operation };
        prop_assert!(pcp::Response::decode(&response.encode()[..cut]).is_err());
    }
}
