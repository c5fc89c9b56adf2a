//! Why a dial failed, in words. Not here: what is done about it (`dial`).

use std::fmt;

use libp2p::connection_limits;
use libp2p::core::transport::TransportError;
use libp2p::relay::outbound::hop::ConnectError;
use libp2p::swarm::DialError;

use crate::nat::report;

/// Why one address did not lead to a link.
#[derive(Debug)]
pub enum Failure {
    /// This node itself answered.
    Myself,
    /// The host is there, but nobody listens on the port.
    Refused(String),
    /// Nothing came back.
    Silent(String),
    /// The network has no way there.
    Unreachable(String),
    /// Another peer answered.
    Stranger(String),
    /// A relay cannot lead to the peer, and said so.
    NoCircuit(String),
    /// A limit of this node.
    Limit(String),
    /// Anything else.
    Other(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Myself => f.write_str("this is the node itself"),
            Self::Refused(reason)
            | Self::Silent(reason)
            | Self::Unreachable(reason)
            | Self::Stranger(reason)
            | Self::NoCircuit(reason)
            | Self::Limit(reason)
            | Self::Other(reason) => f.write_str(reason),
        }
    }
}

impl Failure {
    /// The same in the words of attempt reports.
    pub const fn kind(&self) -> report::Failure {
        match self {
            Self::Refused(_) => report::Failure::Refused,
            Self::Silent(_) => report::Failure::Timeout,
            Self::Unreachable(_) => report::Failure::Unreachable,
            Self::Stranger(_) => report::Failure::WrongPeer,
            Self::Limit(_) => report::Failure::LimitReached,
            Self::Myself | Self::NoCircuit(_) | Self::Other(_) => report::Failure::Other,
        }
    }
}

/// libp2p's reason as ours.
pub fn failure(error: &DialError) -> Failure {
    match error {
        DialError::LocalPeerId { .. } => Failure::Myself,
        DialError::WrongPeerId { obtained, .. } => Failure::Stranger(format!("another peer answered: {obtained}")),
        DialError::Denied { cause } => match cause.downcast_ref::<connection_limits::Exceeded>() {
            Some(exceeded) => Failure::Limit(format!("a limit of this node is reached: {exceeded}")),
            None => Failure::Other(root(cause)),
        },
        DialError::Transport(errors) => match errors.first() {
            Some((_, TransportError::Other(cause))) if is_io(cause, std::io::ErrorKind::ConnectionRefused) => {
                Failure::Refused("connection refused".into())
            }
            Some((_, TransportError::Other(cause))) if is_io(cause, std::io::ErrorKind::TimedOut) => {
                Failure::Silent(root(cause))
            }
            Some((_, TransportError::Other(cause)))
                if is_io(cause, std::io::ErrorKind::NetworkUnreachable)
                    || is_io(cause, std::io::ErrorKind::HostUnreachable) =>
            {
                Failure::Unreachable(root(cause))
            }
            Some((_, TransportError::Other(cause))) if is_refused_circuit(cause) => Failure::NoCircuit(root(cause)),
            Some((_, TransportError::Other(cause))) => Failure::Other(root(cause)),
            Some((_, TransportError::MultiaddrNotSupported(_))) => {
                Failure::Other("this kind of address is not supported".into())
            }
            None => Failure::Other("no attempt was made".into()),
        },
        other => Failure::Other(other.to_string()),
    }
}

/// An error of any kind.
type Cause<'a> = &'a (dyn std::error::Error + 'static);

/// Follows an error to its causes, also through I/O errors, whose inner error is not their `source`.
pub fn causes(error: Cause<'_>) -> impl Iterator<Item = Cause<'_>> {
    std::iter::successors(Some(error), |error| match error.downcast_ref::<std::io::Error>() {
        Some(error) => error.get_ref().map(|inner| inner as Cause<'_>),
        None => error.source(),
    })
}

/// Whether the system's error of this kind is among the causes.
pub fn is_io(error: &(dyn std::error::Error + 'static), kind: std::io::ErrorKind) -> bool {
    causes(error).any(|error| error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == kind))
}

/// Whether a relay answered, and its answer was no.
fn is_refused_circuit(error: Cause<'_>) -> bool {
    causes(error).filter_map(|error| error.downcast_ref()).any(|error| match error {
        ConnectError::ResourceLimitExceeded
        | ConnectError::ConnectionFailed
        | ConnectError::NoReservation
        | ConnectError::PermissionDenied
        | ConnectError::Unsupported => true,
        ConnectError::Io(_) | ConnectError::Protocol(_) => false,
    })
}

fn root(error: &(dyn std::error::Error + 'static)) -> String {
    causes(error).last().map(ToString::to_string).unwrap_or_default()
}
