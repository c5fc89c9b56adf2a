//! Probes and answers on the wire: STUN Binding requests and responses as ICE sends them (RFC 8445 section 7), so that
//! the port they share with QUIC sorts them out. Not here: when they are sent (`udp`).
//!
//! A probe holds USERNAME (the session id in hex, always first), ICE-CONTROLLING or ICE-CONTROLLED (the tiebreaker),
//! USE-CANDIDATE where it nominates, MESSAGE-INTEGRITY with the session key, and FINGERPRINT. An answer holds
//! XOR-MAPPED-ADDRESS and the last two, and is shorter than any probe. All transaction ids of a session begin with the
//! same four bytes, by which a route of the port claims the answers.

use std::net::SocketAddr;

use super::udp::{Pair, Probe, Transaction};
use super::{Hex, SessionId, SessionKey};
use crate::nat::stun::{Attribute, Class, Integrity, Key, Message, Method, TransactionId, decode};

/// Writes and reads the packets of one session.
#[derive(Clone, Debug)]
pub struct Codec {
    username: String,
    tag: [u8; 4],
    key: Key,
}

/// An authentic packet of the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packet {
    /// A probe.
    Probe(Probe),
    /// An answer to the probe with this transaction id.
    Answer(Transaction),
}

impl Codec {
    /// For one session.
    pub fn new(session: SessionId, key: &SessionKey) -> Self {
        let password = Hex(&key.0).to_string();
        let [a, b, c, d, ..] = session.0;
        Self { username: session.to_string(), tag: [a, b, c, d], key: Key::short_term(&password) }
    }

    /// The first bytes of all transaction ids of this session.
    pub const fn tag(&self) -> [u8; 4] {
        self.tag
    }

    /// Whether a STUN datagram looks like one of this session; quick, and proves nothing.
    pub fn claims(&self, datagram: &[u8]) -> bool {
        let Some((header, attributes)) = datagram.split_first_chunk::<20>() else { return false };
        match [header[0], header[1]] {
            [0, 1] => {
                let name = self.username.as_bytes();
                attributes.get(..4) == Some(&[0, 6, 0, name.len() as u8])
                    && attributes.get(4..4 + name.len()) == Some(name)
            }
            [1, 1] => header[8..12] == self.tag,
            _ => false,
        }
    }

    /// A probe's bytes.
    pub fn probe(&self, probe: &Probe) -> Vec<u8> {
        let role = if probe.controlling { Attribute::IceControlling } else { Attribute::IceControlled };
        let mut message = Message::request(Method::BINDING, TransactionId(probe.transaction))
            .with(Attribute::Username(self.username.clone()))
            .with(role(probe.tiebreaker));
        if probe.nominate {
            message = message.with(Attribute::UseCandidate);
        }
        self.encode(&message)
    }

    /// The bytes of the answer to a probe that came from `seen`.
    pub fn answer(&self, transaction: Transaction, seen: SocketAddr) -> Vec<u8> {
        let message = Message::new(Class::Success, Method::BINDING, TransactionId(transaction));
        self.encode(&message.with(Attribute::XorMappedAddress(seen)))
    }

    /// Reads a datagram that came in on `pair`. `None`: not an authentic packet of this session.
    pub fn read(&self, datagram: &[u8], pair: Pair) -> Option<Packet> {
        let received = decode(datagram).ok()?;
        let authentic = received.fingerprint && received.verify(&self.key) == Integrity::Right;
        if !authentic || !received.unknown.is_empty() {
            return None;
        }
        let message = &received.message;
        let transaction = message.transaction.0;
        match message.class {
            Class::Request if message.method == Method::BINDING && message.username() == Some(&self.username) => {
                let (controlling, tiebreaker) = message.find(|attribute| match attribute {
                    Attribute::IceControlling(tiebreaker) => Some((true, *tiebreaker)),
                    Attribute::IceControlled(tiebreaker) => Some((false, *tiebreaker)),
                    _ => None,
                })?;
                let nominate = message.attributes.contains(&Attribute::UseCandidate);
                Some(Packet::Probe(Probe { pair, transaction, controlling, tiebreaker, nominate }))
            }
            Class::Success if message.method == Method::BINDING => Some(Packet::Answer(transaction)),
            _ => None,
        }
    }

    fn encode(&self, message: &Message) -> Vec<u8> {
        message.encode(Some(&self.key), true).expect("a few short attributes fit in any message")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codec(key: u8) -> Codec {
        Codec::new(SessionId([0xa1; 16]), &SessionKey([key; 32]))
    }

    fn pair() -> Pair {
        Pair { socket: 3, remote: SocketAddr::from(([203, 0, 113, 5], 4000)) }
    }

    fn probe(controlling: bool, nominate: bool) -> Probe {
        Probe { pair: pair(), transaction: [0xa1; 12], controlling, tiebreaker: 0x0102_0304_0506_0708, nominate }
    }

    fn hex(bytes: &[u8]) -> String {
        Hex(bytes).to_string()
    }

    #[test]
    fn probes_and_answers_have_the_documented_bytes() {
        let bytes = codec(1).probe(&probe(true, true));
        let username = hex("a1".repeat(16).as_bytes());
        let expected = format!(
            "0001 0054 2112a442 {} 0006 0020 {username} 802a 0008 0102030405060708 0025 0000 0008 0014",
            "a1".repeat(12)
        );
        let expected = expected.replace(' ', "");
        assert_eq!(hex(&bytes)[..expected.len()], expected);
        let answer = codec(1).answer([0xa1; 12], "[2001:db8::1]:9".parse().expect("valid"));
        assert_eq!(hex(&answer)[..40], format!("010100382112a442{}", "a1".repeat(12))[..40]);
        assert!(answer.len() <= codec(1).probe(&probe(false, false)).len(), "an answer amplifies nothing");
    }

    #[test]
    fn what_is_written_is_read_by_the_peer_alone() {
        for (controlling, nominate) in [(true, true), (true, false), (false, false)] {
            let sent = probe(controlling, nominate);
            let bytes = codec(1).probe(&sent);
            assert!(codec(1).claims(&bytes));
            assert_eq!(codec(1).read(&bytes, pair()), Some(Packet::Probe(sent)));
            assert_eq!(codec(2).read(&bytes, pair()), None, "another key");
            let other = Codec::new(SessionId([0xa2; 16]), &SessionKey([1; 32]));
            assert!(!other.claims(&bytes));
            assert_eq!(other.read(&bytes, pair()), None, "another session");
        }
        let bytes = codec(1).answer([0xa1; 12], pair().remote);
        assert!(codec(1).claims(&bytes));
        assert_eq!(codec(1).read(&bytes, pair()), Some(Packet::Answer([0xa1; 12])));
        assert_eq!(codec(2).read(&bytes, pair()), None);
    }

    #[test]
    fn nothing_changed_on_the_way_is_read() {
        for original in [codec(1).probe(&probe(true, true)), codec(1).answer([0xa1; 12], pair().remote)] {
            for index in 0..original.len() {
                let mut bytes = original.clone();
                bytes[index] ^= 1;
                assert_eq!(codec(1).read(&bytes, pair()), None, "byte {index}");
                assert_eq!(codec(1).read(&original[..index], pair()), None, "{index} bytes");
                codec(1).claims(&original[..index]);
            }
        }
    }
}
