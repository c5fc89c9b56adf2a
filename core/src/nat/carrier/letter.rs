//! One letter: its JSON text, what its signature covers, and what is inside. Pure. Not here: signing and sealing.

use std::fmt;

use bytes::Bytes;
use data_encoding::{BASE64, BASE64URL_NOPAD};
use serde::{Deserialize, Serialize};

use crate::base::ids::PeerId;
use crate::base::limits;

/// Version of the form.
const VERSION: u32 = 1;
/// What tells a signature of a letter from signatures of anything else.
const DOMAIN: &[u8] = b"dig-signal/1";

/// The node in which a peer finds its letters.
pub fn inbox(peer: &PeerId) -> String {
    format!("dig-signal/{peer}")
}

/// The field of an inbox for a letter.
pub fn slot(from: &PeerId, lane: u8, number: u32) -> String {
    format!("{from}.{lane}.{}", number % limits::GUN_LETTER_SLOTS)
}

/// The random name of a session.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub [u8; 16]);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64URL_NOPAD.encode(&self.0))
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionId({self})")
    }
}

/// A letter as it lies in an inbox. Nothing in it is to be believed before its signature was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// Who says to have written it.
    pub from: PeerId,
    /// Which session it belongs to.
    pub session: SessionId,
    /// Its number in this direction, from 0.
    pub number: u32,
    /// When it was written, in milliseconds since 1970 by the sender's clock.
    pub sent_ms: u64,
    /// [`Content`], sealed for the receiver.
    pub body: Vec<u8>,
    /// The sender's, over [`Letter::signed`].
    pub signature: Vec<u8>,
}

/// The JSON form. Fields that are not known are left alone.
#[derive(Serialize, Deserialize)]
struct Text {
    v: u32,
    from: String,
    session: String,
    seq: u32,
    ts: u64,
    body: String,
    sig: String,
}

impl Letter {
    /// What stands on the envelope: who writes what to whom, without the body. The seal is bound to it.
    pub fn envelope(&self, to: &PeerId) -> Vec<u8> {
        // Peer ids are base58, so a zero byte ends each of them unambiguously.
        let numbers = [&self.session.0[..], &self.number.to_be_bytes(), &self.sent_ms.to_be_bytes()].concat();
        [DOMAIN, b"\0", to.as_str().as_bytes(), b"\0", self.from.as_str().as_bytes(), b"\0", &numbers].concat()
    }

    /// What the signature covers.
    pub fn signed(&self, to: &PeerId) -> Vec<u8> {
        let mut signed = self.envelope(to);
        signed.extend_from_slice(&self.body);
        signed
    }

    /// The text for the inbox.
    pub fn encode(&self) -> String {
        let text = Text {
            v: VERSION,
            from: self.from.to_string(),
            session: self.session.to_string(),
            seq: self.number,
            ts: self.sent_ms,
            body: BASE64.encode(&self.body),
            sig: BASE64.encode(&self.signature),
        };
        serde_json::to_string(&text).expect("texts and numbers always have a JSON form")
    }

    /// Reads what lies in an inbox. `None` for anything that is no letter of this version, or too long.
    pub fn decode(text: &str) -> Option<Self> {
        if text.len() > limits::MAX_GUN_LETTER_BYTES {
            return None;
        }
        let text: Text = serde_json::from_str(text).ok().filter(|text: &Text| text.v == VERSION)?;
        let session = BASE64URL_NOPAD.decode(text.session.as_bytes()).ok()?;
        let is_name = |text: &str| (1..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric());
        Some(Self {
            from: is_name(&text.from).then(|| PeerId::from_text(&text.from))?,
            session: SessionId(session.try_into().ok()?),
            number: text.seq,
            sent_ms: text.ts,
            body: BASE64.decode(text.body.as_bytes()).ok()?,
            signature: BASE64.decode(text.sig.as_bytes()).ok()?,
        })
    }
}

/// What is inside a letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// Letters of the other direction that have been read, all up to this number.
    pub read: u32,
    /// What it says.
    pub says: Says,
}

/// What a letter says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Says {
    /// A message of the session.
    Message(Bytes),
    /// Nothing; only what has been read.
    Read,
    /// Nothing follows, and nothing more is read.
    End,
}

impl Content {
    /// The bytes to seal.
    pub fn encode(&self) -> Vec<u8> {
        let (kind, message): (u8, &[u8]) = match &self.says {
            Says::Message(message) => (0, message),
            Says::Read => (1, &[]),
            Says::End => (2, &[]),
        };
        [&[kind][..], &self.read.to_be_bytes(), message].concat()
    }

    /// Reads what was sealed. `None` for anything else.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (kind, rest) = bytes.split_first()?;
        let (read, message) = rest.split_first_chunk::<4>()?;
        let says = match (kind, message) {
            (0, message) if message.len() <= limits::MAX_SIGNAL_BYTES => Says::Message(Bytes::copy_from_slice(message)),
            (1, []) => Says::Read,
            (2, []) => Says::End,
            _ => return None,
        };
        Some(Self { read: u32::from_be_bytes(*read), says })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter() -> Letter {
        Letter {
            from: PeerId::from_text("12D3KooWA"),
            session: SessionId([7; 16]),
            number: 17,
            sent_ms: 1_700_000_000_000,
            body: vec![1, 2, 3],
            signature: vec![9; 64],
        }
    }

    #[test]
    fn letters_survive_the_way() {
        assert_eq!(Letter::decode(&letter().encode()), Some(letter()));
        assert_eq!(slot(&letter().from, 3, 17), "12D3KooWA.3.1");
        for says in [Says::Message(Bytes::from_static(b"hello")), Says::Read, Says::End] {
            let content = Content { read: 5, says };
            assert_eq!(Content::decode(&content.encode()), Some(content));
        }
        let longest = Content { read: 0, says: Says::Message(vec![0; limits::MAX_SIGNAL_BYTES].into()) };
        // The seal adds a key and a tag.
        let full = Letter { body: [longest.encode(), vec![0; 48]].concat(), ..letter() };
        assert!(full.encode().len() <= limits::MAX_GUN_LETTER_BYTES);
    }

    #[test]
    fn what_is_no_letter_is_refused() {
        let text = letter().encode();
        let other = |from: &str, to: &str| text.replacen(from, to, 1);
        let wrong = [
            other("\"v\":1", "\"v\":2"),
            other("12D3KooWA", "a.b"),
            other("12D3KooWA", ""),
            other("\"seq\":17", "\"seq\":-1"),
            other("AQID", "A"),
            other("BwcH", "B"),
            text[..text.len() - 1].to_owned(),
            " ".repeat(limits::MAX_GUN_LETTER_BYTES + 1),
        ];
        for wrong in wrong {
            assert_eq!(Letter::decode(&wrong), None, "{wrong:.100}");
        }
        let longest = [vec![0; 5], vec![0; limits::MAX_SIGNAL_BYTES + 1]].concat();
        for wrong in [&[][..], &[0, 0], &[1, 0, 0, 0, 0, 1], &[3, 0, 0, 0, 0], &longest] {
            assert_eq!(Content::decode(wrong), None);
        }
    }

    #[test]
    fn the_signature_covers_every_part() {
        let to = PeerId::from_text("12D3KooWB");
        let base = letter().signed(&to);
        assert_ne!(letter().signed(&PeerId::from_text("12D3KooWC")), base, "the receiver");
        let change = |change: fn(&mut Letter)| {
            let mut letter = letter();
            change(&mut letter);
            letter.signed(&to)
        };
        assert_ne!(change(|letter| letter.from = PeerId::from_text("12D3KooWX")), base);
        assert_ne!(change(|letter| letter.session.0[0] = 0), base);
        assert_ne!(change(|letter| letter.number += 1), base);
        assert_ne!(change(|letter| letter.sent_ms += 1), base);
        assert_ne!(change(|letter| letter.body.push(0)), base);
    }
}
