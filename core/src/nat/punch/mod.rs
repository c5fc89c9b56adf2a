//! Hole punching: two peers that know each other only through a signalling channel open their NATs towards each other.
//! Here: the messages ([`message`]), what the next ports will be ([`prediction`]), which method a pair of NATs needs
//! ([`plan`], [`round`]), and the machines that send the packets ([`udp`], [`tcp`]). All pure but the driver.
//! Not here: how a NAT is measured (`stun`), candidates of several kinds (`ice`), and the encrypted link made over the
//! punched path (`fabric`).
//!
//! One attempt runs in rounds. The *initiator* sends OFFER, the *responder* answers with the method of this round, GO
//! starts both at the same moment, RESULT ends the round. A method that failed is not used again for this peer. The
//! initiator is also the *controlling* side: it alone decides which path is used.

#[cfg(feature = "engine")]
pub mod driver;
pub mod hello;
pub mod message;
pub mod plan;
pub mod prediction;
pub mod probe;
pub mod round;
pub mod tcp;
pub mod udp;

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Who started the attempt. Both run the same code; the side decides orders and roles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    /// Sent the OFFER; controls the choice of the path.
    Initiator,
    /// Answers; decides the method.
    Responder,
}

impl Side {
    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Initiator => Self::Responder,
            Self::Responder => Self::Initiator,
        }
    }
}

/// How one round tries to open the NATs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", rename_all_fields = "kebab-case", tag = "kind")]
pub enum Method {
    /// Both send to the other's observed endpoints, and to wherever packets come from.
    Plain,
    /// The same from sockets that sent nothing before: helps with routers that took an early packet for their own and
    /// gave away the tuple.
    Fresh,
    /// Both send to the ports that the named sides' NATs will hand out next.
    Prediction {
        /// The initiator's ports are predicted.
        initiator: bool,
        /// The responder's ports are predicted.
        responder: bool,
    },
    /// The hard side opens many sockets towards one endpoint, the other side probes random ports until one is hit.
    Birthday {
        /// The side whose NAT hands out unpredictable ports.
        hard: Side,
    },
    /// Both listen and connect on the same TCP port at the same time.
    TcpOpen,
    /// The same towards predicted ports.
    TcpPrediction {
        /// The initiator's ports are predicted.
        initiator: bool,
        /// The responder's ports are predicted.
        responder: bool,
    },
}

impl Method {
    /// Whether it makes a TCP connection.
    pub const fn is_tcp(self) -> bool {
        matches!(self, Self::TcpOpen | Self::TcpPrediction { .. })
    }

    /// Whether the ports of a side are predicted.
    pub const fn predicts(self, side: Side) -> bool {
        match self {
            Self::Prediction { initiator, responder } | Self::TcpPrediction { initiator, responder } => match side {
                Side::Initiator => initiator,
                Side::Responder => responder,
            },
            _ => false,
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain => "plain UDP hole punching",
            Self::Fresh => "UDP hole punching from a fresh port",
            Self::Prediction { initiator: true, responder: true } => "UDP port prediction on both sides",
            Self::Prediction { .. } => "UDP port prediction",
            Self::Birthday { .. } => "UDP birthday probing",
            Self::TcpOpen => "TCP simultaneous open",
            Self::TcpPrediction { .. } => "TCP port prediction",
        })
    }
}

/// Names one attempt; both sides' messages and probes carry it. 16 random bytes, no secret.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub [u8; 16]);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Hex(&self.0).fmt(f)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionId({self})")
    }
}

/// Bytes as lower-case hex digits.
struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Proves that a packet comes from the peer of the signalling channel. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionKey(pub [u8; 32]);

impl SessionKey {
    /// The key that both sides use: made from what each of them sent, so that neither fixes it alone.
    pub fn combine(initiator: &Self, responder: &Self) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"/dig/punch/1 key\0");
        hash.update(initiator.0);
        hash.update(responder.0);
        Self(hash.finalize().into())
    }
}

impl fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_depends_on_both_sides_and_is_never_shown() {
        let (one, two) = (SessionKey([1; 32]), SessionKey([2; 32]));
        let key = SessionKey::combine(&one, &two);
        assert_ne!(key, SessionKey::combine(&two, &one));
        assert_ne!(key, SessionKey::combine(&one, &one));
        assert_eq!(format!("{key:?}"), "SessionKey(..)");
    }

    #[test]
    fn methods_say_whose_ports_they_predict() {
        let method = Method::Prediction { initiator: true, responder: false };
        assert!(method.predicts(Side::Initiator) && !method.predicts(Side::Initiator.other()));
        assert!(!Method::Plain.predicts(Side::Initiator) && !Method::Plain.is_tcp() && Method::TcpOpen.is_tcp());
        let json = serde_json::to_string(&Method::Birthday { hard: Side::Responder }).expect("plain record");
        assert_eq!(json, r#"{"kind":"birthday","hard":"responder"}"#);
    }
}
