//! The attributes of STUN messages: types and their bytes, for STUN (RFC 8489), behaviour discovery (RFC 5780), ICE
//! (RFC 8445) and TURN (RFC 8656). Not here: the message around them, MESSAGE-INTEGRITY and FINGERPRINT.
//!
//! On the wire: type (2 bytes), length of the value (2), value, padding to a multiple of four. Types below 0x8000 must
//! be understood by the receiver, others may be skipped.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::Bytes;

use super::message::{MAGIC_COOKIE, TransactionId};
use crate::base::limits;
use crate::wire::reader::{Malformed, Reader};

/// An address family as STUN numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The family of an address.
    pub const fn of(ip: IpAddr) -> Self {
        if ip.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    const fn number(self) -> u8 {
        match self {
            Self::V4 => 1,
            Self::V6 => 2,
        }
    }

    fn from_number(number: u8) -> Result<Self, Malformed> {
        match number {
            1 => Ok(Self::V4),
            2 => Ok(Self::V6),
            _ => Err(Malformed::BadValue("address family")),
        }
    }
}

/// The transport that TURN relays: UDP (RFC 8656 section 18.6).
pub const TRANSPORT_UDP: u8 = 17;

/// MESSAGE-INTEGRITY, see [`super::integrity`].
pub(super) const MESSAGE_INTEGRITY: u16 = 0x0008;
/// MESSAGE-INTEGRITY-SHA256, which ends what is covered too.
pub(super) const MESSAGE_INTEGRITY_SHA256: u16 = 0x001c;
/// FINGERPRINT, see [`super::integrity`].
pub(super) const FINGERPRINT: u16 = 0x8028;

/// One attribute. Texts are UTF-8 and at most [`limits::MAX_STUN_TEXT_BYTES`] long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attribute {
    /// The sender's address as the server saw it; may have been rewritten on the way by a NAT that searches payloads.
    MappedAddress(SocketAddr),
    /// The same, hidden from such NATs.
    XorMappedAddress(SocketAddr),
    /// User name of a credential.
    Username(String),
    /// Why a request failed.
    ErrorCode {
        /// 300 to 699.
        code: u16,
        /// For people.
        reason: String,
    },
    /// Attributes that the server does not know but must.
    UnknownAttributes(Vec<u16>),
    /// Domain of a long-term credential.
    Realm(String),
    /// Token of the server that dates a long-term credential. Echoed as it is.
    Nonce(Bytes),
    /// Program of the sender.
    Software(String),
    /// Another server to ask instead (error 300).
    AlternateServer(SocketAddr),
    /// Asks for an answer from another address or port of the server (RFC 5780 section 7.2).
    ChangeRequest {
        /// From the other address.
        ip: bool,
        /// From the other port.
        port: bool,
    },
    /// Where an answer to a ChangeRequest with both flags comes from.
    OtherAddress(SocketAddr),
    /// Where the server sent the answer from.
    ResponseOrigin(SocketAddr),
    /// Asks for the answer to be sent to another port of ours.
    ResponsePort(u16),
    /// So many bytes without meaning.
    Padding(u16),
    /// Priority of a peer-reflexive candidate (ICE).
    Priority(u32),
    /// Nominates the pair (ICE).
    UseCandidate,
    /// The sender has the controlled role, with its tie-breaker (ICE).
    IceControlled(u64),
    /// The sender has the controlling role, with its tie-breaker (ICE).
    IceControlling(u64),
    /// A TURN channel, 0x4000 to 0x4fff.
    ChannelNumber(u16),
    /// Seconds an allocation lives.
    Lifetime(u32),
    /// A peer beyond the TURN server.
    XorPeerAddress(SocketAddr),
    /// Payload from or to a peer.
    Data(Bytes),
    /// The address at the TURN server that relays to us.
    XorRelayedAddress(SocketAddr),
    /// Family of the relayed address that is asked for.
    RequestedAddressFamily(Family),
    /// Protocol of the relayed transport, [`TRANSPORT_UDP`].
    RequestedTransport(u8),
    /// Asks for an even relayed port; with `true` the next higher one is reserved.
    EvenPort(bool),
    /// Asks the server to set the don't-fragment bit towards the peer.
    DontFragment,
    /// Claims a reserved port.
    ReservationToken([u8; 8]),
}

impl Attribute {
    /// The type number.
    pub const fn number(&self) -> u16 {
        match self {
            Self::MappedAddress(_) => 0x0001,
            Self::ChangeRequest { .. } => 0x0003,
            Self::Username(_) => 0x0006,
            Self::ErrorCode { .. } => 0x0009,
            Self::UnknownAttributes(_) => 0x000a,
            Self::ChannelNumber(_) => 0x000c,
            Self::Lifetime(_) => 0x000d,
            Self::XorPeerAddress(_) => 0x0012,
            Self::Data(_) => 0x0013,
            Self::Realm(_) => 0x0014,
            Self::Nonce(_) => 0x0015,
            Self::XorRelayedAddress(_) => 0x0016,
            Self::RequestedAddressFamily(_) => 0x0017,
            Self::EvenPort(_) => 0x0018,
            Self::RequestedTransport(_) => 0x0019,
            Self::DontFragment => 0x001a,
            Self::XorMappedAddress(_) => 0x0020,
            Self::ReservationToken(_) => 0x0022,
            Self::Priority(_) => 0x0024,
            Self::UseCandidate => 0x0025,
            Self::Padding(_) => 0x0026,
            Self::ResponsePort(_) => 0x0027,
            Self::Software(_) => 0x8022,
            Self::AlternateServer(_) => 0x8023,
            Self::IceControlled(_) => 0x8029,
            Self::IceControlling(_) => 0x802a,
            Self::ResponseOrigin(_) => 0x802b,
            Self::OtherAddress(_) => 0x802c,
        }
    }

    /// Appends the value, without header and padding.
    pub(super) fn encode_value(&self, transaction: TransactionId, out: &mut Vec<u8>) {
        match self {
            Self::MappedAddress(address)
            | Self::AlternateServer(address)
            | Self::OtherAddress(address)
            | Self::ResponseOrigin(address) => encode_address(*address, out),
            Self::XorMappedAddress(address) | Self::XorPeerAddress(address) | Self::XorRelayedAddress(address) => {
                encode_address(xored(*address, transaction), out);
            }
            Self::Username(text) | Self::Realm(text) | Self::Software(text) => out.extend(text.as_bytes()),
            Self::Nonce(bytes) | Self::Data(bytes) => out.extend(bytes),
            Self::ErrorCode { code, reason } => {
                out.extend([0, 0, (code / 100) as u8, (code % 100) as u8]);
                out.extend(reason.as_bytes());
            }
            Self::UnknownAttributes(numbers) => out.extend(numbers.iter().flat_map(|number| number.to_be_bytes())),
            Self::ChangeRequest { ip, port } => out.extend([0, 0, 0, u8::from(*ip) << 2 | u8::from(*port) << 1]),
            Self::ResponsePort(number) | Self::ChannelNumber(number) => {
                out.extend(number.to_be_bytes());
                out.extend([0, 0]);
            }
            Self::Padding(length) => out.resize(out.len() + usize::from(*length), 0),
            Self::Priority(number) | Self::Lifetime(number) => out.extend(number.to_be_bytes()),
            Self::IceControlled(number) | Self::IceControlling(number) => out.extend(number.to_be_bytes()),
            Self::UseCandidate | Self::DontFragment => {}
            Self::RequestedAddressFamily(family) => out.extend([family.number(), 0, 0, 0]),
            Self::RequestedTransport(number) => out.extend([*number, 0, 0, 0]),
            Self::EvenPort(reserve) => out.push(u8::from(*reserve) << 7),
            Self::ReservationToken(token) => out.extend(token),
        }
    }

    /// Reads a value. `None` for a type that this file does not know, and for the reserved types of RFC 3489 that old
    /// servers still send, see [`is_obsolete`].
    pub(super) fn decode(number: u16, value: &[u8], transaction: TransactionId) -> Result<Option<Self>, Malformed> {
        let mut reader = Reader::new(value);
        Ok(Some(match number {
            0x0001 => Self::MappedAddress(decode_address(reader)?),
            0x0003 => {
                let flags = reader.u32()?;
                Self::ChangeRequest { ip: flags & 4 != 0, port: flags & 2 != 0 }
            }
            0x0006 => Self::Username(text(value)?),
            0x0009 => {
                let [_, _, class, rest] = reader.array()?;
                let (class, rest) = (u16::from(class & 7), u16::from(rest));
                if !(3..=6).contains(&class) || rest > 99 {
                    return Err(Malformed::BadValue("error code"));
                }
                // Only for people: a reason in another encoding must not hide the code.
                let reason = reader.rest();
                let reason = String::from_utf8_lossy(&reason[..reason.len().min(limits::MAX_STUN_TEXT_BYTES)]);
                // What stands for an unreadable byte takes three, so the text may have grown past the bound again.
                let end = reason.char_indices().map(|(at, char)| at + char.len_utf8());
                let end = end.take_while(|&end| end <= limits::MAX_STUN_TEXT_BYTES).last().unwrap_or(0);
                // coturn counts the end of a C string.
                let reason = reason[..end].trim_end_matches('\0').to_owned();
                Self::ErrorCode { code: class * 100 + rest, reason }
            }
            0x000a => Self::UnknownAttributes(
                value
                    .chunks_exact(2)
                    .take(limits::MAX_STUN_ATTRIBUTES)
                    .map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
                    .collect(),
            ),
            0x000c => Self::ChannelNumber(reader.u16()?),
            0x000d => Self::Lifetime(reader.u32()?),
            0x0012 => Self::XorPeerAddress(xored(decode_address(reader)?, transaction)),
            0x0013 => Self::Data(Bytes::copy_from_slice(value)),
            0x0014 => Self::Realm(text(value)?),
            0x0015 => Self::Nonce(Bytes::copy_from_slice(bounded(value)?)),
            0x0016 => Self::XorRelayedAddress(xored(decode_address(reader)?, transaction)),
            0x0017 => Self::RequestedAddressFamily(Family::from_number(reader.u8()?)?),
            0x0018 => Self::EvenPort(reader.u8()? & 0x80 != 0),
            0x0019 => Self::RequestedTransport(reader.u8()?),
            0x001a => Self::DontFragment,
            0x0020 => Self::XorMappedAddress(xored(decode_address(reader)?, transaction)),
            0x0022 => Self::ReservationToken(reader.array()?),
            0x0024 => Self::Priority(reader.u32()?),
            0x0025 => Self::UseCandidate,
            0x0026 => Self::Padding(value.len() as u16),
            0x0027 => Self::ResponsePort(reader.u16()?),
            0x8022 => Self::Software(text(value)?),
            0x8023 => Self::AlternateServer(decode_address(reader)?),
            0x8029 => Self::IceControlled(reader.u64()?),
            0x802a => Self::IceControlling(reader.u64()?),
            0x802b => Self::ResponseOrigin(decode_address(reader)?),
            0x802c => Self::OtherAddress(decode_address(reader)?),
            _ => return Ok(None),
        }))
    }
}

/// RESPONSE-ADDRESS, SOURCE-ADDRESS, CHANGED-ADDRESS, PASSWORD and REFLECTED-FROM of RFC 3489: their numbers say that
/// they must be understood, but there are servers that add them to every answer, so they are skipped.
pub(super) const fn is_obsolete(number: u16) -> bool {
    matches!(number, 0x0002 | 0x0004 | 0x0005 | 0x0007 | 0x000b)
}

/// Whether a receiver that does not know this type must refuse the message.
pub(super) const fn must_be_understood(number: u16) -> bool {
    number < 0x8000
}

fn encode_address(address: SocketAddr, out: &mut Vec<u8>) {
    out.extend([0, Family::of(address.ip()).number()]);
    out.extend(address.port().to_be_bytes());
    match address.ip() {
        IpAddr::V4(ip) => out.extend(ip.octets()),
        IpAddr::V6(ip) => out.extend(ip.octets()),
    }
}

fn decode_address(mut reader: Reader<'_>) -> Result<SocketAddr, Malformed> {
    let [_, family] = reader.array()?;
    let family = Family::from_number(family)?;
    let port = reader.u16()?;
    let ip = match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::from_bits(reader.u32()?)),
        Family::V6 => IpAddr::V6(Ipv6Addr::from(reader.array::<16>()?)),
    };
    Ok(SocketAddr::new(ip, port))
}

/// Port and address XORed with the cookie and the transaction id (RFC 8489 section 14.2). Its own inverse.
fn xored(address: SocketAddr, transaction: TransactionId) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) => IpAddr::V4(Ipv4Addr::from_bits(ip.to_bits() ^ MAGIC_COOKIE)),
        IpAddr::V6(ip) => {
            let mut mask = [0; 16];
            mask[..4].copy_from_slice(&MAGIC_COOKIE.to_be_bytes());
            mask[4..].copy_from_slice(&transaction.0);
            IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() ^ u128::from_be_bytes(mask)))
        }
    };
    SocketAddr::new(ip, address.port() ^ (MAGIC_COOKIE >> 16) as u16)
}

fn bounded(value: &[u8]) -> Result<&[u8], Malformed> {
    if value.len() > limits::MAX_STUN_TEXT_BYTES { Err(Malformed::TooLarge("text")) } else { Ok(value) }
}

fn text(value: &[u8]) -> Result<String, Malformed> {
    let text = std::str::from_utf8(bounded(value)?).map_err(|_| Malformed::BadValue("text"))?;
    Ok(text.to_owned())
}
