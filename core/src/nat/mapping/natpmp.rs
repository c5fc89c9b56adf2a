//! NAT Port Mapping Protocol (RFC 6886): bytes to messages and back. Not here: when they are sent.
//!
//! ```text
//! request of the external address      0 | 0
//! request of a mapping                 0 | op (1 UDP, 2 TCP) | 0 0 | internal port:2 | suggested port:2 | lifetime:4
//! answer                               0 | 128 + op | result:2 | epoch:4 | rest
//!   external address                   ... address:4
//!   mapping                            ... internal port:2 | external port:2 | lifetime:4
//! ```
//! All numbers are big endian, lifetimes and epochs are seconds. Requests go to port 5351 of the router. Its answer to
//! the first one is also sent to everybody at 224.0.0.1 port 5350 when it has started or its address has changed.

use std::net::Ipv4Addr;

use super::vocabulary::{Malformed, Protocol};

/// The version of all messages.
pub const VERSION: u8 = 0;
/// The router listens here.
pub const SERVER_PORT: u16 = 5351;
/// Announcements are sent to this port.
pub const ANNOUNCEMENT_PORT: u16 = 5350;

/// What the router says to a request (section 3.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResultCode {
    /// Done.
    Success,
    /// It does not speak this version; a PCP request gets this from a router that knows only NAT-PMP.
    UnsupportedVersion,
    /// Mapping is switched off, or not allowed for us.
    NotAuthorized,
    /// The router has no address itself.
    NetworkFailure,
    /// Too many mappings.
    OutOfResources,
    /// It does not know this operation.
    UnsupportedOpcode,
    /// A number that the standard does not have.
    Unknown(u16),
}

impl ResultCode {
    /// By its number.
    pub const fn from_number(number: u16) -> Self {
        match number {
            0 => Self::Success,
            1 => Self::UnsupportedVersion,
            2 => Self::NotAuthorized,
            3 => Self::NetworkFailure,
            4 => Self::OutOfResources,
            5 => Self::UnsupportedOpcode,
            other => Self::Unknown(other),
        }
    }

    /// Its number.
    pub const fn number(self) -> u16 {
        match self {
            Self::Success => 0,
            Self::UnsupportedVersion => 1,
            Self::NotAuthorized => 2,
            Self::NetworkFailure => 3,
            Self::OutOfResources => 4,
            Self::UnsupportedOpcode => 5,
            Self::Unknown(number) => number,
        }
    }

    /// What it means.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::UnsupportedVersion => "unsupported version",
            Self::NotAuthorized => "not authorized; port mapping may be switched off in the router",
            Self::NetworkFailure => "the router has no public address itself",
            Self::OutOfResources => "the router has no room for more mappings",
            Self::UnsupportedOpcode => "unsupported operation",
            Self::Unknown(_) => "unknown result code",
        }
    }
}

/// What we ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// The router's outside address.
    ExternalAddress,
    /// A mapping; with lifetime 0 its deletion.
    Map {
        /// TCP or UDP.
        protocol: Protocol,
        /// Our port.
        internal_port: u16,
        /// The router's port that we would like; 0 for any and in deletions.
        external_port: u16,
        /// Seconds.
        lifetime: u32,
    },
}

/// What the router answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Response {
    /// Success or the reason for failure.
    pub result: ResultCode,
    /// Seconds since the router lost its mappings.
    pub epoch: u32,
    /// The answer itself.
    pub body: Body,
}

/// The part of an answer that depends on the question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// The router's outside address; unspecified unless the result is success.
    ExternalAddress(Ipv4Addr),
    /// A mapping. After a failure the fields may be 0.
    Map {
        /// TCP or UDP.
        protocol: Protocol,
        /// Our port.
        internal_port: u16,
        /// The router's port.
        external_port: u16,
        /// Seconds; 0 after a deletion.
        lifetime: u32,
    },
    /// A failed operation that is none of ours.
    Other(u8),
}

impl Request {
    /// The bytes to send.
    pub fn encode(&self) -> Vec<u8> {
        match *self {
            Request::ExternalAddress => vec![VERSION, 0],
            Request::Map { protocol, internal_port, external_port, lifetime } => {
                let mut bytes = vec![VERSION, opcode(protocol), 0, 0];
                bytes.extend(internal_port.to_be_bytes());
                bytes.extend(external_port.to_be_bytes());
                bytes.extend(lifetime.to_be_bytes());
                bytes
            }
        }
    }
}

impl Response {
    /// Reads an answer or announcement. Bytes after the last field are ignored.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let [version, operation, r0, r1, e0, e1, e2, e3, rest @ ..] = bytes else {
            return Err(Malformed("shorter than the header of NAT-PMP"));
        };
        if *version != VERSION {
            return Err(Malformed("not version 0"));
        }
        let Some(operation) = operation.checked_sub(128) else { return Err(Malformed("not an answer")) };
        let result = ResultCode::from_number(u16::from_be_bytes([*r0, *r1]));
        let epoch = u32::from_be_bytes([*e0, *e1, *e2, *e3]);
        let failed = result != ResultCode::Success;
        let body = match operation {
            0 => match rest {
                [a, b, c, d, ..] => Body::ExternalAddress(Ipv4Addr::new(*a, *b, *c, *d)),
                _ if failed => Body::ExternalAddress(Ipv4Addr::UNSPECIFIED),
                _ => return Err(Malformed("the external address is missing")),
            },
            1 | 2 => {
                let protocol = if operation == 1 { Protocol::Udp } else { Protocol::Tcp };
                match rest {
                    [i0, i1, x0, x1, l0, l1, l2, l3, ..] => Body::Map {
                        protocol,
                        internal_port: u16::from_be_bytes([*i0, *i1]),
                        external_port: u16::from_be_bytes([*x0, *x1]),
                        lifetime: u32::from_be_bytes([*l0, *l1, *l2, *l3]),
                    },
                    _ if failed => Body::Map { protocol, internal_port: 0, external_port: 0, lifetime: 0 },
                    _ => return Err(Malformed("the mapping is cut off")),
                }
            }
            other if failed => Body::Other(other),
            _ => return Err(Malformed("unknown operation")),
        };
        Ok(Self { result, epoch, body })
    }

    /// The bytes a router sends; for tests and simulated routers.
    pub fn encode(&self) -> Vec<u8> {
        let operation = match self.body {
            Body::ExternalAddress(_) => 0,
            Body::Map { protocol, .. } => opcode(protocol),
            Body::Other(operation) => operation,
        };
        let mut bytes = vec![VERSION, operation.wrapping_add(128)];
        bytes.extend(self.result.number().to_be_bytes());
        bytes.extend(self.epoch.to_be_bytes());
        match self.body {
            Body::ExternalAddress(address) => bytes.extend(address.octets()),
            Body::Map { internal_port, external_port, lifetime, .. } => {
                bytes.extend(internal_port.to_be_bytes());
                bytes.extend(external_port.to_be_bytes());
                bytes.extend(lifetime.to_be_bytes());
            }
            Body::Other(_) => {}
        }
        bytes
    }
}

const fn opcode(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Udp => 1,
        Protocol::Tcp => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_have_the_bytes_of_the_standard() {
        assert_eq!(Request::ExternalAddress.encode(), [0, 0]);
        let map =
            Request::Map { protocol: Protocol::Tcp, internal_port: 0x1234, external_port: 0x5678, lifetime: 3600 };
        assert_eq!(map.encode(), [0, 2, 0, 0, 0x12, 0x34, 0x56, 0x78, 0, 0, 0x0e, 0x10]);
        let delete = Request::Map { protocol: Protocol::Udp, internal_port: 7, external_port: 0, lifetime: 0 };
        assert_eq!(delete.encode(), [0, 1, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn answers_are_read() {
        let address = Response::decode(&[0, 128, 0, 0, 0, 0, 1, 2, 44, 128, 1, 9]);
        let body = Body::ExternalAddress(Ipv4Addr::new(44, 128, 1, 9));
        assert_eq!(address, Ok(Response { result: ResultCode::Success, epoch: 258, body }));
        let map = Response::decode(&[0, 129, 0, 0, 0, 0, 0, 5, 0x12, 0x34, 0x56, 0x78, 0, 0, 0x1c, 0x20, 99]);
        let body = Body::Map { protocol: Protocol::Udp, internal_port: 0x1234, external_port: 0x5678, lifetime: 7200 };
        assert_eq!(map, Ok(Response { result: ResultCode::Success, epoch: 5, body }));
    }

    #[test]
    fn refusals_may_be_short() {
        let refused = Response::decode(&[0, 130, 0, 2, 0, 0, 0, 9]).expect("an answer");
        assert_eq!(refused.result, ResultCode::NotAuthorized);
        assert!(matches!(refused.body, Body::Map { protocol: Protocol::Tcp, internal_port: 0, .. }));
        let unsupported = Response::decode(&[0, 133, 0, 5, 0, 0, 0, 9]).expect("an answer");
        assert_eq!((unsupported.result, unsupported.body), (ResultCode::UnsupportedOpcode, Body::Other(5)));
    }

    #[test]
    fn what_is_no_answer_is_said() {
        let error = |bytes: &[u8]| Response::decode(bytes).expect_err("malformed").0;
        assert_eq!(error(&[0, 128, 0, 0, 0, 0, 0]), "shorter than the header of NAT-PMP");
        assert_eq!(error(&[2, 128, 0, 0, 0, 0, 0, 1]), "not version 0");
        assert_eq!(error(&[0, 1, 0, 0, 0, 0, 0, 1]), "not an answer");
        assert_eq!(error(&[0, 128, 0, 0, 0, 0, 0, 1, 44, 128]), "the external address is missing");
        assert_eq!(error(&[0, 129, 0, 0, 0, 0, 0, 1, 0, 1, 0, 1, 0]), "the mapping is cut off");
        assert_eq!(error(&[0, 131, 0, 0, 0, 0, 0, 1, 0, 1, 0, 1, 0, 0, 0, 1]), "unknown operation");
    }

    #[test]
    fn result_codes_keep_their_numbers() {
        for number in 0..=300 {
            assert_eq!(ResultCode::from_number(number).number(), number);
        }
    }
}
