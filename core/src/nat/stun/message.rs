//! STUN messages: bytes to [`Message`] and back (RFC 8489 section 5). Not here: transactions, and which attributes a
//! method needs.
//!
//! On the wire: type (2 bytes: two zero bits, then method and class interleaved), length of all attributes (2), the
//! magic cookie 0x2112A442, transaction id (12), then attributes. Nothing here panics on any input.

use std::fmt;
use std::net::SocketAddr;

use super::attribute::{
    Attribute, FINGERPRINT, MESSAGE_INTEGRITY, MESSAGE_INTEGRITY_SHA256, is_obsolete, must_be_understood,
};
use super::integrity::{FINGERPRINT_BYTES, INTEGRITY_BYTES, Integrity, Key, fingerprint};
use crate::base::limits;
use crate::base::random::Jitter;
use crate::wire::reader::{Malformed, Reader};

/// Marks a message as STUN.
pub const MAGIC_COOKIE: u32 = 0x2112_a442;
/// Bytes before the attributes.
pub const HEADER_BYTES: usize = 20;

/// What a message is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// Wants an answer.
    Request,
    /// Wants none.
    Indication,
    /// The answer of a request that worked.
    Success,
    /// The answer of one that did not.
    Error,
}

/// A method: 12 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Method(u16);

impl Method {
    /// Asks for the address that the server sees (RFC 8489).
    pub const BINDING: Self = Self(1);
    /// Asks for a relayed address (RFC 8656).
    pub const ALLOCATE: Self = Self(3);
    /// Prolongs or ends an allocation.
    pub const REFRESH: Self = Self(4);
    /// Payload to a peer.
    pub const SEND: Self = Self(6);
    /// Payload from a peer.
    pub const DATA: Self = Self(7);
    /// Lets a peer's address in.
    pub const CREATE_PERMISSION: Self = Self(8);
    /// Gives a peer a short number.
    pub const CHANNEL_BIND: Self = Self(9);

    /// Any other method; only the lower 12 bits count.
    pub const fn other(number: u16) -> Self {
        Self(number & 0x0fff)
    }

    /// The 12 bits.
    pub const fn number(self) -> u16 {
        self.0
    }
}

/// Ties an answer to its request. Chosen at random, so that only who saw the request can answer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TransactionId(pub [u8; 12]);

impl TransactionId {
    /// A new one. Off the path nobody can guess it if the generator's seed came from the operating system.
    pub fn random(random: &mut Jitter) -> Self {
        let mut id = [0; 12];
        id[..8].copy_from_slice(&random.bits().to_be_bytes());
        id[8..].copy_from_slice(&random.bits().to_be_bytes()[..4]);
        Self(id)
    }
}

impl fmt::Debug for TransactionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A message without MESSAGE-INTEGRITY and FINGERPRINT, which are added when it is encoded and checked when it is
/// decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Request, answer or indication.
    pub class: Class,
    /// Of which method.
    pub method: Method,
    /// Which one.
    pub transaction: TransactionId,
    /// The attributes in their order. Of several of one type the first counts.
    pub attributes: Vec<Attribute>,
}

impl Message {
    /// A message without attributes.
    pub const fn new(class: Class, method: Method, transaction: TransactionId) -> Self {
        Self { class, method, transaction, attributes: Vec::new() }
    }

    /// A request without attributes.
    pub const fn request(method: Method, transaction: TransactionId) -> Self {
        Self::new(Class::Request, method, transaction)
    }

    /// The success answer to a request, without attributes.
    pub const fn success_to(request: &Self) -> Self {
        Self::new(Class::Success, request.method, request.transaction)
    }

    /// The error answer to a request.
    pub fn error_to(request: &Self, code: u16, reason: &str) -> Self {
        Self::new(Class::Error, request.method, request.transaction)
            .with(Attribute::ErrorCode { code, reason: reason.to_owned() })
    }

    /// Adds an attribute.
    #[must_use]
    pub fn with(mut self, attribute: Attribute) -> Self {
        self.attributes.push(attribute);
        self
    }

    /// What `pick` finds first.
    pub fn find<'a, T>(&'a self, pick: impl FnMut(&'a Attribute) -> Option<T>) -> Option<T> {
        self.attributes.iter().find_map(pick)
    }

    /// The address that the server saw: XOR-MAPPED-ADDRESS, or MAPPED-ADDRESS of servers that know no better.
    pub fn mapped_address(&self) -> Option<SocketAddr> {
        self.find(|attribute| match attribute {
            Attribute::XorMappedAddress(address) => Some(*address),
            _ => None,
        })
        .or_else(|| {
            self.find(|attribute| match attribute {
                Attribute::MappedAddress(address) => Some(*address),
                _ => None,
            })
        })
    }

    /// Code and reason of an error answer.
    pub fn error_code(&self) -> Option<(u16, &str)> {
        self.find(|attribute| match attribute {
            Attribute::ErrorCode { code, reason } => Some((*code, reason.as_str())),
            _ => None,
        })
    }

    /// USERNAME.
    pub fn username(&self) -> Option<&str> {
        self.find(|attribute| match attribute {
            Attribute::Username(name) => Some(name.as_str()),
            _ => None,
        })
    }

    /// The bytes, with MESSAGE-INTEGRITY if a key is given, and with FINGERPRINT if wanted. `TooLarge` above 64 KiB and
    /// above [`limits::MAX_STUN_ATTRIBUTES`] with these two.
    pub fn encode(&self, key: Option<&Key>, with_fingerprint: bool) -> Result<Vec<u8>, Malformed> {
        let added = usize::from(key.is_some()) + usize::from(with_fingerprint);
        if self.attributes.len() + added > limits::MAX_STUN_ATTRIBUTES {
            return Err(Malformed::TooLarge("number of attributes"));
        }
        let mut out = vec![0; HEADER_BYTES];
        for attribute in &self.attributes {
            append(&mut out, attribute.number(), |out| attribute.encode_value(self.transaction, out))?;
        }
        if let Some(key) = key {
            let header = self.header(out.len() + 4 + INTEGRITY_BYTES)?;
            let value = key.sign(header, &out[HEADER_BYTES..]);
            append(&mut out, MESSAGE_INTEGRITY, |out| out.extend(value))?;
        }
        if with_fingerprint {
            let header = self.header(out.len() + 4 + FINGERPRINT_BYTES)?;
            out[..HEADER_BYTES].copy_from_slice(&header);
            let value = fingerprint(&out);
            append(&mut out, FINGERPRINT, |out| out.extend(value.to_be_bytes()))?;
        }
        let header = self.header(out.len())?;
        out[..HEADER_BYTES].copy_from_slice(&header);
        Ok(out)
    }

    /// The header of this message when it is `total` bytes long.
    fn header(&self, total: usize) -> Result<[u8; HEADER_BYTES], Malformed> {
        let length = u16::try_from(total - HEADER_BYTES).map_err(|_| Malformed::TooLarge("message"))?;
        let mut header = [0; HEADER_BYTES];
        header[..2].copy_from_slice(&type_of(self.class, self.method).to_be_bytes());
        header[2..4].copy_from_slice(&length.to_be_bytes());
        header[4..8].copy_from_slice(&MAGIC_COOKIE.to_be_bytes());
        header[8..].copy_from_slice(&self.transaction.0);
        Ok(header)
    }
}

/// A decoded message together with its bytes, against which its integrity is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received<'a> {
    /// The message: what its integrity covers, if it carries one.
    pub message: Message,
    /// Types of attributes that we do not know and would have to. A request with any is answered with error 420, an
    /// answer or indication with any is ignored.
    pub unknown: Vec<u16>,
    /// Whether it carried a FINGERPRINT. A wrong one is not decoded.
    pub fingerprint: bool,
    bytes: &'a [u8],
    /// Where MESSAGE-INTEGRITY begins.
    integrity: Option<usize>,
}

impl Received<'_> {
    /// Checks MESSAGE-INTEGRITY with a key.
    pub fn verify(&self, key: &Key) -> Integrity {
        let Some(at) = self.integrity else { return Integrity::Absent };
        let value = at + 4..at + 4 + INTEGRITY_BYTES;
        let (Some(attributes), Some(value)) = (self.bytes.get(HEADER_BYTES..at), self.bytes.get(value)) else {
            return Integrity::Absent;
        };
        let valid =
            self.message.header(at + 4 + INTEGRITY_BYTES).is_ok_and(|header| key.verify(header, attributes, value));
        if valid { Integrity::Right } else { Integrity::Wrong }
    }

    /// Whether the message carries MESSAGE-INTEGRITY.
    pub const fn is_signed(&self) -> bool {
        self.integrity.is_some()
    }
}

/// Reads one message that fills `bytes` exactly. Attributes behind MESSAGE-INTEGRITY are not covered by it and
/// therefore left out; optional attributes with impossible values are skipped.
pub fn decode(bytes: &[u8]) -> Result<Received<'_>, Malformed> {
    let mut reader = Reader::new(bytes);
    let kind = reader.u16()?;
    let length = usize::from(reader.u16()?);
    if kind & 0xc000 != 0 {
        return Err(Malformed::BadValue("message type"));
    }
    if reader.u32()? != MAGIC_COOKIE {
        return Err(Malformed::BadValue("magic cookie"));
    }
    let transaction = TransactionId(reader.array()?);
    if length % 4 != 0 || reader.rest().len() != length {
        return Err(Malformed::BadValue("message length"));
    }
    let (class, method) = class_and_method(kind);
    let mut received = Received {
        message: Message::new(class, method, transaction),
        unknown: Vec::new(),
        fingerprint: false,
        bytes,
        integrity: None,
    };
    let mut covered = true;
    for _ in 0..limits::MAX_STUN_ATTRIBUTES {
        if reader.rest().is_empty() {
            return Ok(received);
        }
        let at = bytes.len() - reader.rest().len();
        let number = reader.u16()?;
        let length = usize::from(reader.u16()?);
        let value = reader.take(length)?;
        reader.take(length.next_multiple_of(4) - length)?;
        match number {
            FINGERPRINT => {
                let right = value == fingerprint(&bytes[..at]).to_be_bytes();
                // It counts the attribute itself in the header, which only fits if nothing follows.
                if !right || !reader.rest().is_empty() {
                    return Err(Malformed::BadValue("fingerprint"));
                }
                received.fingerprint = true;
            }
            MESSAGE_INTEGRITY if covered => {
                if length != INTEGRITY_BYTES {
                    return Err(Malformed::BadValue("message integrity"));
                }
                received.integrity = Some(at);
                covered = false;
            }
            MESSAGE_INTEGRITY_SHA256 => covered = false,
            _ if covered => received.take(number, value)?,
            _ => {}
        }
    }
    if reader.rest().is_empty() { Ok(received) } else { Err(Malformed::TooLarge("number of attributes")) }
}

impl Received<'_> {
    fn take(&mut self, number: u16, value: &[u8]) -> Result<(), Malformed> {
        match Attribute::decode(number, value, self.message.transaction) {
            Ok(Some(attribute)) => self.message.attributes.push(attribute),
            Ok(None) if must_be_understood(number) && !is_obsolete(number) => self.unknown.push(number),
            Err(problem) if must_be_understood(number) => return Err(problem),
            Ok(None) | Err(_) => {}
        }
        Ok(())
    }
}

/// Appends header, value and padding of one attribute.
fn append(out: &mut Vec<u8>, number: u16, value: impl FnOnce(&mut Vec<u8>)) -> Result<(), Malformed> {
    let at = out.len();
    out.extend(number.to_be_bytes());
    out.extend([0, 0]);
    value(out);
    let length = u16::try_from(out.len() - at - 4).map_err(|_| Malformed::TooLarge("attribute"))?;
    out[at + 2..at + 4].copy_from_slice(&length.to_be_bytes());
    out.resize(out.len().next_multiple_of(4), 0);
    Ok(())
}

const fn type_of(class: Class, method: Method) -> u16 {
    let class: u16 = match class {
        Class::Request => 0,
        Class::Indication => 0x0010,
        Class::Success => 0x0100,
        Class::Error => 0x0110,
    };
    let method = method.0;
    class | (method & 0x000f) | (method & 0x0070) << 1 | (method & 0x0f80) << 2
}

const fn class_and_method(kind: u16) -> (Class, Method) {
    let class = match (kind & 0x0100 != 0, kind & 0x0010 != 0) {
        (false, false) => Class::Request,
        (false, true) => Class::Indication,
        (true, false) => Class::Success,
        (true, true) => Class::Error,
    };
    (class, Method(kind & 0x000f | (kind & 0x00e0) >> 1 | (kind & 0x3e00) >> 2))
}
