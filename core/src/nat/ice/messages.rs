//! The Binding messages of ICE: what goes into them, and what is believed (RFC 8445 section 7). Pure.
//! Not here: when they are sent.

use std::net::SocketAddr;

use crate::base::limits;
use crate::nat::ice::candidate::is_ice_character;
use crate::nat::stun::{Attribute, Class, Integrity, Key, Message, Method, Received, TransactionId, decode};
use crate::wire::reader::Malformed;

/// User name fragment and password of one side. The driver makes them from the system's randomness.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// At least 4 characters.
    pub ufrag: String,
    /// At least 22 characters.
    pub password: String,
}

impl Credentials {
    /// Checks both (RFC 8839 section 5.4).
    pub fn new(ufrag: &str, password: &str) -> Result<Self, Malformed> {
        let fits = |text: &str, least: usize| {
            (least..=limits::MAX_ICE_CREDENTIAL_BYTES).contains(&text.len()) && text.bytes().all(is_ice_character)
        };
        if !fits(ufrag, 4) {
            return Err(Malformed::BadValue("ICE user name fragment"));
        }
        if !fits(password, 22) {
            return Err(Malformed::BadValue("ICE password"));
        }
        Ok(Self { ufrag: ufrag.to_owned(), password: password.to_owned() })
    }

    pub(super) fn key(&self) -> Key {
        Key::short_term(&self.password)
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Credentials({}, ..)", self.ufrag)
    }
}

/// Who decides which pair is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// This side.
    Controlling,
    /// The other side.
    Controlled,
}

impl Role {
    pub(super) const fn other(self) -> Self {
        match self {
            Role::Controlling => Role::Controlled,
            Role::Controlled => Role::Controlling,
        }
    }
}

/// A check of the other side that carries our credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) priority: u32,
    pub(super) nominates: bool,
    /// The role the sender has, with its tie-breaker.
    pub(super) role: Role,
    pub(super) tie_breaker: u64,
}

/// What a datagram turned out to be.
pub(super) enum Incoming {
    /// Not STUN: somebody else's.
    Other,
    /// STUN, but nothing to act on.
    Ignored,
    /// To be answered.
    Request(Message, Request),
    /// A request with attributes that we had to know.
    Unknown(Message, Vec<u16>),
    /// An answer with the other side's integrity, from whom it may be.
    Success(TransactionId, SocketAddr),
    Error(TransactionId, u16),
}

/// Reads a datagram. Only what is signed with the right key counts.
pub(super) fn read(bytes: &[u8], ours: &Credentials, theirs: Option<&Credentials>) -> Incoming {
    // RFC 7983: STUN begins with 0 to 3.
    if bytes.first().is_none_or(|first| *first > 3) {
        return Incoming::Other;
    }
    let Ok(received) = decode(bytes) else { return Incoming::Other };
    if received.message.method != Method::BINDING || !received.fingerprint {
        return Incoming::Other;
    }
    match received.message.class {
        Class::Request => read_request(received, ours),
        Class::Success | Class::Error => {
            let Some(theirs) = theirs else { return Incoming::Other };
            if received.verify(&theirs.key()) != Integrity::Right {
                // A plain STUN server's, another session's, or a forgery; in any case not of this session.
                return Incoming::Other;
            }
            let transaction = received.message.transaction;
            match (received.message.error_code(), received.message.mapped_address()) {
                _ if !received.unknown.is_empty() => Incoming::Ignored,
                (Some((code, _)), _) => Incoming::Error(transaction, code),
                (None, Some(mapped)) => Incoming::Success(transaction, mapped),
                (None, None) => Incoming::Ignored,
            }
        }
        Class::Indication => Incoming::Ignored,
    }
}

fn read_request(received: Received<'_>, ours: &Credentials) -> Incoming {
    // Of another session on this socket, or of somebody who only wants to know an address.
    let to_us = received.message.username().and_then(|name| name.split_once(':'));
    if to_us.is_none_or(|(ufrag, _)| ufrag != ours.ufrag) {
        return Incoming::Other;
    }
    // Silence instead of an error: an answer to a forged check would tell that somebody is here.
    if received.verify(&ours.key()) != Integrity::Right {
        return Incoming::Ignored;
    }
    if !received.unknown.is_empty() {
        return Incoming::Unknown(received.message, received.unknown);
    }
    let message = received.message;
    let priority = message.find(|attribute| match attribute {
        Attribute::Priority(priority) => Some(*priority),
        _ => None,
    });
    let role = message.find(|attribute| match attribute {
        Attribute::IceControlling(number) => Some((Role::Controlling, *number)),
        Attribute::IceControlled(number) => Some((Role::Controlled, *number)),
        _ => None,
    });
    let nominates = message.attributes.contains(&Attribute::UseCandidate);
    let (Some(priority), Some((role, tie_breaker))) = (priority, role) else { return Incoming::Ignored };
    Incoming::Request(message, Request { priority: priority.clamp(1, 0x7fff_ffff), nominates, role, tie_breaker })
}

/// A check, or a consent check.
pub(super) fn request(
    transaction: TransactionId,
    request: Request,
    ours: &Credentials,
    theirs: &Credentials,
) -> Result<Vec<u8>, Malformed> {
    let mut message = Message::request(Method::BINDING, transaction)
        .with(Attribute::Username(format!("{}:{}", theirs.ufrag, ours.ufrag)))
        .with(Attribute::Priority(request.priority))
        .with(match request.role {
            Role::Controlling => Attribute::IceControlling(request.tie_breaker),
            Role::Controlled => Attribute::IceControlled(request.tie_breaker),
        });
    if request.nominates {
        message = message.with(Attribute::UseCandidate);
    }
    message.encode(Some(&theirs.key()), true)
}

/// The answer to a check.
pub(super) fn success(request: &Message, from: SocketAddr, ours: &Credentials) -> Result<Vec<u8>, Malformed> {
    Message::success_to(request).with(Attribute::XorMappedAddress(from)).encode(Some(&ours.key()), true)
}

/// 487: both sides have the same role, and the other one must change.
pub(super) fn role_conflict(request: &Message, ours: &Credentials) -> Result<Vec<u8>, Malformed> {
    Message::error_to(request, ROLE_CONFLICT, "Role Conflict").encode(Some(&ours.key()), true)
}

/// 420: the request carries attributes that we had to know.
pub(super) fn unknown(request: &Message, numbers: Vec<u16>, ours: &Credentials) -> Result<Vec<u8>, Malformed> {
    Message::error_to(request, 420, "Unknown Attribute")
        .with(Attribute::UnknownAttributes(numbers))
        .encode(Some(&ours.key()), true)
}

/// The error code of a role conflict.
pub(super) const ROLE_CONFLICT: u16 = 487;
