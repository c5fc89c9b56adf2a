//! Why TURN does not work, and what to do about it: the error codes of RFC 8656 section 19 and what can go wrong
//! without an answer. Not here: naming server and user, which the driver adds.

use std::fmt;

use crate::base::error::ErrorKind;

/// A typed failure. It is the source of the [`crate::Error`]s of the driver.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TurnFailure {
    /// The server wants a user name and password, and none were given (401).
    CredentialsNeeded,
    /// The server does not accept the user name or password (401 again, or 441).
    WrongCredentials,
    /// The server does not relay to this peer (403).
    Forbidden,
    /// The server knows another allocation of this address, or none (437).
    Mismatch,
    /// The server has no relayed addresses of this family (440).
    FamilyUnsupported,
    /// The server does not relay UDP (442).
    TransportUnsupported,
    /// The peer's address is not of the relayed address's family (443).
    PeerFamilyMismatch,
    /// The user has too many allocations (486).
    QuotaReached,
    /// The server has no free ports or bandwidth (508).
    NoCapacity,
    /// Any other error answer.
    Refused {
        /// 300 to 699.
        code: u16,
        /// The server's words.
        reason: String,
    },
    /// The server sends us from one server to the next, or where it must not.
    BadRedirect,
    /// An answer without what it must contain.
    BadAnswer,
    /// The server did not answer.
    Silent,
    /// The allocation has ended at the server.
    Expired,
    /// The peer was not permitted before sending.
    NotPermitted,
    /// Too many peers on one allocation.
    TooManyPeers,
    /// A datagram too large to be relayed.
    TooLarge,
    /// The connection to the server ended, or the allocation was closed.
    Closed,
}

impl TurnFailure {
    /// The failure of an error answer, once credentials have been tried.
    pub(super) fn from_code(code: u16, reason: &str) -> Self {
        match code {
            401 | 441 => Self::WrongCredentials,
            403 => Self::Forbidden,
            437 => Self::Mismatch,
            440 => Self::FamilyUnsupported,
            442 => Self::TransportUnsupported,
            443 => Self::PeerFamilyMismatch,
            486 => Self::QuotaReached,
            508 => Self::NoCapacity,
            _ => Self::Refused { code, reason: reason.to_owned() },
        }
    }

    /// The kind of error that callers see.
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::CredentialsNeeded
            | Self::WrongCredentials
            | Self::FamilyUnsupported
            | Self::PeerFamilyMismatch
            | Self::TooLarge => ErrorKind::InvalidArgument,
            Self::QuotaReached | Self::NoCapacity | Self::TooManyPeers => ErrorKind::LimitReached,
            Self::NotPermitted => ErrorKind::InvalidState,
            Self::Silent => ErrorKind::Timeout,
            Self::Mismatch | Self::Expired | Self::Closed => ErrorKind::ConnectionClosed,
            Self::BadAnswer | Self::BadRedirect => ErrorKind::Protocol,
            Self::Forbidden | Self::TransportUnsupported | Self::Refused { .. } => ErrorKind::PeerUnreachable,
        }
    }
}

impl fmt::Display for TurnFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CredentialsNeeded => "it wants credentials; set turnUsername and turnPassword",
            Self::WrongCredentials => "wrong user name or password (401); check turnUsername and turnPassword",
            Self::Forbidden => "it does not relay to this peer (403); its operator must allow the peer's address",
            Self::Mismatch => "it knows another allocation or none (437); allocate again from another port",
            Self::FamilyUnsupported => "it has no addresses of this family (440); ask for the other one",
            Self::TransportUnsupported => "it does not relay UDP (442); use another server",
            Self::PeerFamilyMismatch => {
                "the peer's address is of another family than the relayed one (443); allocate one of the peer's family"
            }
            Self::QuotaReached => "the user has too many allocations (486); close one, or ask for a larger quota",
            Self::NoCapacity => "it has no free port or bandwidth (508); try later or another server",
            Self::Refused { code, reason } => return write!(f, "error {code} {reason}"),
            Self::BadRedirect => "it names no usable alternate server (300); use another server",
            Self::BadAnswer => "its answer lacks what it must contain",
            Self::Silent => "no answer; check address, port and transport, or try turns: on port 443",
            Self::Expired => "the allocation has expired; allocate again",
            Self::NotPermitted => "the peer has no permission; call permit first",
            Self::TooManyPeers => "too many peers on one allocation; close it or allocate another",
            Self::TooLarge => "the datagram is too large to be relayed",
            Self::Closed => "the relay was closed",
        })
    }
}

impl std::error::Error for TurnFailure {}
