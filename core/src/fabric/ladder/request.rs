//! What two ladders say to each other at the start of a `/dig/meet/1` stream: JSON in one message of the carrier, at
//! most [`limits::MAX_SIGNAL_BYTES`]. After a request to punch or to run ICE, the messages of that technique follow on
//! the same stream. Not here: acting on it.

use std::net::SocketAddr;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::base::error::{Error, ErrorKind, Result};
use crate::base::limits;
use crate::fabric::carrier::PassageKey;
use crate::nat::ladder::{Candidate, Source, Target};
use crate::nat::method::{MappingProtocol, Transport};
use crate::nat::profile::NatProfile;

/// The first message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "want")]
pub enum Request {
    /// Here is what I am behind and where I may be; tell me the same. Answered with a [`Description`].
    Describe(Description),
    /// Dial one of these addresses of mine. Answered with a [`DialledBack`].
    DialBack {
        /// Where my router lets you in.
        targets: Vec<Address>,
    },
    /// Punch UDP with me; the asker is the initiator.
    PunchUdp,
    /// Punch TCP with me; the asker is the initiator.
    PunchTcp,
    /// Run ICE with me; the asker controls.
    Ice,
    /// Open this passage through the Gun graph in which you read this. Answered with a [`Joined`].
    GunRelay(PassageKey),
}

/// How opening a passage ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Joined {
    /// Why it did not work; nothing when the other end listens.
    pub error: Option<String>,
}

/// What one side is behind and where it may be reached.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Description {
    /// Its NAT, as far as it knows.
    pub profile: NatProfile,
    /// Its addresses.
    pub addresses: Vec<Address>,
}

/// An address of the speaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Address {
    /// Where.
    pub at: SocketAddr,
    /// What is spoken there.
    pub transport: Transport,
    /// The protocol by which a router opened it; an address of the speaker's own otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mapped: Option<MappingProtocol>,
}

/// How dialling back ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DialledBack {
    /// Why it did not work; nothing when it did.
    pub error: Option<String>,
}

impl Address {
    /// As a ladder sees it: a claim of the peer.
    pub fn candidate(&self) -> Candidate {
        let source = self.mapped.map_or(Source::Told, Source::Mapped);
        Candidate { target: Target { address: self.at, transport: self.transport }, source }
    }
}

/// Writes a message.
pub fn encode(message: &impl Serialize) -> Result<Bytes> {
    let bytes = serde_json::to_vec(message)
        .map_err(|cause| Error::with_source(ErrorKind::Internal, "write a message about meeting", cause))?;
    Ok(bytes.into())
}

/// Reads a message. `Protocol` for anything that is none, or too long.
pub fn decode<T: for<'a> Deserialize<'a>>(bytes: &[u8]) -> Result<T> {
    if bytes.len() > limits::MAX_SIGNAL_BYTES {
        return Err(Error::new(ErrorKind::Protocol, "a message about meeting is too long"));
    }
    serde_json::from_slice(bytes)
        .map_err(|cause| Error::with_source(ErrorKind::Protocol, "a message about meeting cannot be read", cause))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_the_way() {
        let address =
            |mapped| Address { at: "192.0.2.1:4001".parse().expect("valid"), transport: Transport::Tcp, mapped };
        let description = Description {
            profile: NatProfile { udp_blocked: true, ..NatProfile::default() },
            addresses: vec![address(None), address(Some(MappingProtocol::Pcp))],
        };
        for request in [
            Request::Describe(description),
            Request::DialBack { targets: vec![address(None)] },
            Request::PunchUdp,
            Request::PunchTcp,
            Request::Ice,
            Request::GunRelay(PassageKey::random()),
        ] {
            let bytes = encode(&request).expect("plain data");
            assert_eq!(decode::<Request>(&bytes).expect("the same"), request);
        }
        let full = Description {
            addresses: vec![address(Some(MappingProtocol::NatPmp)); limits::MAX_LADDER_CANDIDATES],
            ..Description::default()
        };
        assert!(encode(&Request::Describe(full)).expect("plain data").len() < limits::MAX_SIGNAL_BYTES);
    }

    #[test]
    fn what_is_no_message_is_refused() {
        for bad in [&b""[..], b"{", b"{\"want\":\"fly\"}", b"[]", &[b' '; limits::MAX_SIGNAL_BYTES + 1]] {
            assert_eq!(decode::<Request>(bad).expect_err("no request").kind(), ErrorKind::Protocol);
        }
        // Fields that we do not know are for later versions.
        assert_eq!(decode::<Description>(b"{\"colour\":1}").expect("fine"), Description::default());
    }
}
