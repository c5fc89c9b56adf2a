//! Port Control Protocol (RFC 6887): bytes to messages and back, as far as a client of mappings and pinholes needs it.
//! Not here: when messages are sent, and the PEER opcode.
//!
//! ```text
//! request   2 | opcode | 0 0 | lifetime:4 | our address:16 | opcode data | options
//! answer    2 | 128 + opcode | 0 | result:1 | lifetime:4 | epoch:4 | 0:12 | opcode data | options
//! MAP data  nonce:12 | protocol (6 TCP, 17 UDP) | 0 0 0 | internal port:2 | external port:2 | external address:16
//! option    code:1 | 0 | length:2 | data, padded to 4
//! ```
//! Opcodes: 0 ANNOUNCE (no data), 1 MAP. Addresses are IPv6; IPv4 ones are mapped (`::ffff:a.b.c.d`). All numbers are
//! big endian, lifetimes and epochs are seconds. Requests go to port 5351 of the router; its answers to ANNOUNCE are
//! also sent to everybody at 224.0.0.1 and ff02::1 port 5350 when it has lost its mappings.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::vocabulary::{Malformed, Protocol};

/// The version of all messages.
pub const VERSION: u8 = 2;
/// Length of the common header of requests and answers.
const HEADER: usize = 24;
/// Length of the data of MAP.
const MAP_DATA: usize = 36;
/// Longest message (section 7).
pub const MAX_MESSAGE: usize = 1100;

/// Identifies a mapping to the router; only who knows it can change or delete the mapping.
pub type Nonce = [u8; 12];

/// What the router says to a request (section 7.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResultCode {
    /// Done.
    Success,
    /// It speaks another version, which its answer carries.
    UnsupportedVersion,
    /// Mapping is switched off, or not allowed for us.
    NotAuthorized,
    /// It could not read our request.
    MalformedRequest,
    /// It does not know this operation.
    UnsupportedOpcode,
    /// It does not know a mandatory option.
    UnsupportedOption,
    /// It could not read an option.
    MalformedOption,
    /// It, or its upstream, is out of order for now.
    NetworkFailure,
    /// It has no room, for now.
    NoResources,
    /// It cannot map this transport protocol.
    UnsupportedProtocol,
    /// We have as many mappings as we may have.
    UserExceededQuota,
    /// The suggested address or port cannot be provided, and the request said that no other would do.
    CannotProvideExternal,
    /// The address in our request is not where it came from: a NAT stands between us and the router.
    AddressMismatch,
    /// Too many remote peers in a filter.
    ExcessiveRemotePeers,
    /// A number that the standard does not have.
    Unknown(u8),
}

impl ResultCode {
    /// By its number.
    pub const fn from_number(number: u8) -> Self {
        match number {
            0 => Self::Success,
            1 => Self::UnsupportedVersion,
            2 => Self::NotAuthorized,
            3 => Self::MalformedRequest,
            4 => Self::UnsupportedOpcode,
            5 => Self::UnsupportedOption,
            6 => Self::MalformedOption,
            7 => Self::NetworkFailure,
            8 => Self::NoResources,
            9 => Self::UnsupportedProtocol,
            10 => Self::UserExceededQuota,
            11 => Self::CannotProvideExternal,
            12 => Self::AddressMismatch,
            13 => Self::ExcessiveRemotePeers,
            other => Self::Unknown(other),
        }
    }

    /// Its number.
    pub const fn number(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::UnsupportedVersion => 1,
            Self::NotAuthorized => 2,
            Self::MalformedRequest => 3,
            Self::UnsupportedOpcode => 4,
            Self::UnsupportedOption => 5,
            Self::MalformedOption => 6,
            Self::NetworkFailure => 7,
            Self::NoResources => 8,
            Self::UnsupportedProtocol => 9,
            Self::UserExceededQuota => 10,
            Self::CannotProvideExternal => 11,
            Self::AddressMismatch => 12,
            Self::ExcessiveRemotePeers => 13,
            Self::Unknown(number) => number,
        }
    }

    /// What it means.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::UnsupportedVersion => "unsupported version",
            Self::NotAuthorized => "not authorized; port mapping may be switched off in the router",
            Self::MalformedRequest => "malformed request",
            Self::UnsupportedOpcode => "unsupported operation",
            Self::UnsupportedOption => "unsupported option",
            Self::MalformedOption => "malformed option",
            Self::NetworkFailure => "the router's own network is out of order",
            Self::NoResources => "the router has no room for more mappings, or no public address itself",
            Self::UnsupportedProtocol => "unsupported transport protocol",
            Self::UserExceededQuota => "we have as many mappings as we may have",
            Self::CannotProvideExternal => "the suggested external port cannot be provided",
            Self::AddressMismatch => "another NAT stands between us and the router",
            Self::ExcessiveRemotePeers => "too many remote peers",
            Self::Unknown(_) => "unknown result code",
        }
    }
}

/// The data of MAP, in requests and answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Map {
    /// Which mapping.
    pub nonce: Nonce,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Our port.
    pub internal_port: u16,
    /// Suggested or assigned port; 0 for any.
    pub external_port: u16,
    /// Suggested or assigned address; unspecified for any, and then its family is the family that is wanted.
    pub external_address: IpAddr,
}

/// What we ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Our address, as the router sees it.
    pub client: IpAddr,
    /// Seconds; 0 deletes.
    pub lifetime: u32,
    /// What is wanted.
    pub operation: Operation,
}

/// The opcodes we know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Asks for, or tells, the router's epoch.
    Announce,
    /// A mapping or pinhole.
    Map(Map),
}

/// What the router answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Response {
    /// The version the router speaks. Another than [`VERSION`] appears only with
    /// [`UnsupportedVersion`](ResultCode::UnsupportedVersion).
    pub version: u8,
    /// Success or the reason for failure.
    pub result: ResultCode,
    /// Seconds the mapping lives; after a failure how long not to ask again.
    pub lifetime: u32,
    /// Seconds since the router lost its mappings.
    pub epoch: u32,
    /// The answer itself; `None` after a failure of an operation that is none of ours, or without its data.
    pub operation: Option<Operation>,
}

impl Request {
    /// The bytes to send.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION, opcode(&self.operation), 0, 0];
        bytes.extend(self.lifetime.to_be_bytes());
        bytes.extend(octets(self.client));
        push_operation(&mut bytes, &self.operation);
        bytes
    }

    /// Reads a request; for tests and simulated routers.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        check(bytes)?;
        if bytes[0] != VERSION {
            return Err(Malformed("not version 2"));
        }
        let operation = match (bytes[1], &bytes[HEADER..]) {
            (0, _) => Operation::Announce,
            (1, data) => Operation::Map(decode_map(data)?),
            _ => return Err(Malformed("unknown operation, or not a request")),
        };
        Ok(Self { client: address(&bytes[8..24])?, lifetime: number(&bytes[4..8]), operation })
    }
}

impl Response {
    /// Reads an answer or announcement. Options are skipped.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        check(bytes)?;
        let Some(opcode) = bytes[1].checked_sub(128) else { return Err(Malformed("not an answer")) };
        let result = ResultCode::from_number(bytes[3]);
        let (lifetime, epoch) = (number(&bytes[4..8]), number(&bytes[8..12]));
        let version = bytes[0];
        if version != VERSION {
            // Whoever speaks another version can be understood so far only (section 9).
            return if result == ResultCode::UnsupportedVersion {
                Ok(Self { version, result, lifetime, epoch, operation: None })
            } else {
                Err(Malformed("not version 2"))
            };
        }
        let failed = result != ResultCode::Success;
        let operation = match (opcode, decode_map(&bytes[HEADER..])) {
            (0, _) => Some(Operation::Announce),
            (1, Ok(map)) => Some(Operation::Map(map)),
            (_, _) if failed => None,
            (1, Err(malformed)) => return Err(malformed),
            (_, _) => return Err(Malformed("unknown operation")),
        };
        Ok(Self { version, result, lifetime, epoch, operation })
    }

    /// The bytes a router sends; for tests and simulated routers.
    pub fn encode(&self) -> Vec<u8> {
        let opcode = self.operation.as_ref().map_or(127, opcode);
        let mut bytes = vec![self.version, 128 + opcode, 0, self.result.number()];
        bytes.extend(self.lifetime.to_be_bytes());
        bytes.extend(self.epoch.to_be_bytes());
        bytes.extend([0; 12]);
        if let Some(operation) = &self.operation {
            push_operation(&mut bytes, operation);
        }
        bytes
    }
}

/// What holds for requests and answers alike (section 8.2).
fn check(bytes: &[u8]) -> Result<(), Malformed> {
    if bytes.len() < HEADER {
        return Err(Malformed("shorter than the header of PCP"));
    }
    if bytes.len() > MAX_MESSAGE || !bytes.len().is_multiple_of(4) {
        return Err(Malformed("too long, or not a multiple of 4 bytes"));
    }
    Ok(())
}

fn decode_map(data: &[u8]) -> Result<Map, Malformed> {
    let Some(data) = data.get(..MAP_DATA) else { return Err(Malformed("the data of MAP is cut off")) };
    let protocol = match data[12] {
        6 => Protocol::Tcp,
        17 => Protocol::Udp,
        _ => return Err(Malformed("neither TCP nor UDP")),
    };
    let port = |at: usize| u16::from_be_bytes([data[at], data[at + 1]]);
    Ok(Map {
        nonce: data[..12].try_into().map_err(|_| Malformed("no nonce"))?,
        protocol,
        internal_port: port(16),
        external_port: port(18),
        external_address: address(&data[20..])?,
    })
}

fn push_operation(bytes: &mut Vec<u8>, operation: &Operation) {
    if let Operation::Map(map) = operation {
        bytes.extend(map.nonce);
        bytes.extend([if map.protocol == Protocol::Tcp { 6 } else { 17 }, 0, 0, 0]);
        bytes.extend(map.internal_port.to_be_bytes());
        bytes.extend(map.external_port.to_be_bytes());
        bytes.extend(octets(map.external_address));
    }
}

const fn opcode(operation: &Operation) -> u8 {
    match operation {
        Operation::Announce => 0,
        Operation::Map(_) => 1,
    }
}

fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

fn address(bytes: &[u8]) -> Result<IpAddr, Malformed> {
    let octets: [u8; 16] = bytes.try_into().map_err(|_| Malformed("no address"))?;
    let v6 = Ipv6Addr::from(octets);
    Ok(v6.to_ipv4_mapped().map_or(IpAddr::V6(v6), IpAddr::V4))
}

fn number(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |number, byte| number << 8 | u32::from(*byte))
}

/// The address that means "any of this family".
pub const fn any(v4: bool) -> IpAddr {
    if v4 { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { IpAddr::V6(Ipv6Addr::UNSPECIFIED) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
        let pair = |pair: &[u8]| {
            u8::from_str_radix(std::str::from_utf8(pair).expect("ASCII"), 16).expect("hexadecimal digits")
        };
        digits.chunks(2).map(pair).collect()
    }

    fn map() -> Map {
        Map {
            nonce: *b"abcdefghijkl",
            protocol: Protocol::Udp,
            internal_port: 0x1234,
            external_port: 0x5678,
            external_address: any(true),
        }
    }

    #[test]
    fn requests_have_the_bytes_of_the_standard() {
        let client = "192.168.1.100".parse().expect("an address");
        let request = Request { client, lifetime: 7200, operation: Operation::Map(map()) };
        let expected = "02 01 0000 00001c20 00000000 00000000 0000ffff c0a80164 \
            6162636465666768696a6b6c 11 000000 1234 5678 00000000 00000000 0000ffff 00000000";
        assert_eq!(request.encode(), bytes(expected));
        assert_eq!(Request::decode(&request.encode()), Ok(request));

        let client = "2a00::7".parse().expect("an address");
        let announce = Request { client, lifetime: 0, operation: Operation::Announce };
        assert_eq!(announce.encode(), bytes("02 00 0000 00000000 2a000000 00000000 00000000 00000007"));

        let external_address = any(false);
        let pinhole = Map { protocol: Protocol::Tcp, external_address, external_port: 0, ..map() };
        let delete = Request { client, lifetime: 0, operation: Operation::Map(pinhole) };
        let expected = "02 01 0000 00000000 2a000000 00000000 00000000 00000007 \
            6162636465666768696a6b6c 06 000000 1234 0000 00000000 00000000 00000000 00000000";
        assert_eq!(delete.encode(), bytes(expected));
    }

    #[test]
    fn answers_are_read() {
        let granted = bytes(
            "02 81 00 00 00000e10 00000102 00000000 00000000 00000000 \
             6162636465666768696a6b6c 11 000000 1234 5679 00000000 00000000 0000ffff 2c800109",
        );
        let external_address = "44.128.1.9".parse().expect("an address");
        let operation = Some(Operation::Map(Map { external_port: 0x5679, external_address, ..map() }));
        let expected = Response { version: 2, result: ResultCode::Success, lifetime: 3600, epoch: 258, operation };
        assert_eq!(Response::decode(&granted), Ok(expected));
        assert_eq!(expected.encode(), granted);

        // An option that nobody asked for follows.
        let longer = [granted, bytes("02 00 0004 00000000")].concat();
        assert_eq!(Response::decode(&longer), Ok(expected));

        let restarted = bytes("02 80 00 00 00000000 00000003 00000000 00000000 00000000");
        let announced = Response::decode(&restarted).expect("an announcement");
        assert_eq!((announced.epoch, announced.operation), (3, Some(Operation::Announce)));
    }

    #[test]
    fn refusals_are_read_with_and_without_their_data() {
        let refused = Response::decode(&bytes("02 81 00 08 0000001e 00000102 00000000 00000000 00000000"));
        let refused = refused.expect("an answer");
        assert_eq!((refused.result, refused.lifetime), (ResultCode::NoResources, 30));
        assert_eq!(refused.operation, None);
        let other = Response::decode(&bytes("01 81 00 01 00000000 00000000 00000000 00000000 00000000"));
        let other = other.expect("an answer");
        assert_eq!((other.version, other.result), (1, ResultCode::UnsupportedVersion));
    }

    #[test]
    fn what_is_no_answer_is_said() {
        let error = |hex: &str| Response::decode(&bytes(hex)).expect_err("malformed").0;
        let rest = "00000000 00000000 00000000 00000000 00000000";
        assert_eq!(error("02 81 00 00"), "shorter than the header of PCP");
        assert_eq!(error(&format!("02 81 00 00 {rest} 00")), "too long, or not a multiple of 4 bytes");
        assert_eq!(
            error(&format!("02 81 00 00 {rest}{}", "00".repeat(1080))),
            "too long, or not a multiple of 4 bytes"
        );
        assert_eq!(error(&format!("02 01 00 00 {rest}")), "not an answer");
        assert_eq!(error(&format!("01 81 00 00 {rest}")), "not version 2");
        assert_eq!(error(&format!("02 81 00 00 {rest}")), "the data of MAP is cut off");
        assert_eq!(error(&format!("02 82 00 00 {rest}")), "unknown operation");
        let sctp = format!("02 81 00 00 {rest} {} 84 000000 {}", "00".repeat(12), "00".repeat(20));
        assert_eq!(error(&sctp), "neither TCP nor UDP");
    }

    #[test]
    fn result_codes_keep_their_numbers() {
        for number in 0..=255 {
            assert_eq!(ResultCode::from_number(number).number(), number);
        }
    }
}
