//! What a node knows, as bytes for the next run: whom it knew, and the records it kept. Not here: the file (`driver`).
//!
//! Eight bytes of magic, then entries: when it expires (8 bytes, milliseconds since 1970, 0 for nodes), length (4 bytes),
//! a [`Message`]: FIND_NODE with a node, or ADD_PROVIDER with a record. Numbers are big endian.

use std::sync::Arc;
use std::time::Duration;

use super::contact::Contact;
use super::message::{Kind, Message, Peer};
use super::store::Record;
use crate::base::limits;
use crate::wire::announcement::Announcement;
use crate::wire::reader::Reader;

const MAGIC: &[u8; 8] = b"digdht1\n";

/// Writes what is known, at most [`limits::DHT_SAVE_BYTES`].
#[derive(Debug)]
pub struct Writer(Vec<u8>);

impl Default for Writer {
    fn default() -> Self {
        Self(MAGIC.to_vec())
    }
}

impl Writer {
    fn put(&mut self, expires_ms: u64, message: &Message) -> bool {
        let bytes = message.encode();
        let fits = self.0.len() + bytes.len() + 12 <= limits::DHT_SAVE_BYTES;
        if fits {
            self.0.extend_from_slice(&expires_ms.to_be_bytes());
            self.0.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
            self.0.extend_from_slice(&bytes);
        }
        fits
    }

    /// A node of the routing table. `false` when there is no room.
    pub fn node(&mut self, contact: &Contact) -> bool {
        let mut message = Message::new(Kind::FindNode, Vec::new());
        message.closer.push(contact.clone().into());
        self.put(0, &message)
    }

    /// A record and when it expires. `false` when there is no room.
    pub fn record(&mut self, expires_ms: u64, key: &[u8], record: &Record) -> bool {
        let mut message = Message::new(Kind::AddProvider, key.to_vec());
        let announcement = record.announcement.as_ref().map(|bytes| bytes.to_vec());
        message.providers.push(Peer { contact: record.provider.clone(), shards: None, announcement });
        self.put(expires_ms, &message)
    }

    /// All of it.
    pub fn finish(self) -> Vec<u8> {
        self.0
    }
}

/// One thing that was known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known {
    /// A node.
    Node(Contact),
    /// A record, and how long it still holds.
    Record {
        /// Its key.
        key: Vec<u8>,
        /// Who provides it.
        provider: Contact,
        /// Its signed announcement, and when that was signed.
        announcement: Option<(Arc<[u8]>, u64)>,
        /// How long it holds from now on.
        left: Duration,
    },
}

/// Reads what was written, up to the first thing that cannot be read. What has expired is left out.
pub fn read(bytes: &[u8], now_ms: u64) -> Vec<Known> {
    let mut all = Vec::new();
    let Some(rest) = bytes.strip_prefix(MAGIC) else { return all };
    let mut reader = Reader::new(rest);
    while let (Ok(expires_ms), Ok(length)) = (reader.u64(), reader.u32()) {
        let Ok(bytes) = reader.take(length as usize) else { break };
        let Ok(message) = Message::decode(bytes) else { break };
        all.extend(message.closer.into_iter().map(|peer| Known::Node(peer.contact)));
        let left = Duration::from_millis(expires_ms.saturating_sub(now_ms)).min(limits::DHT_RECORD_TTL);
        for peer in message.providers.into_iter().filter(|_| !left.is_zero()) {
            let signed = |bytes: Vec<u8>| {
                let issued_ms = Announcement::decode(&bytes).ok()?.announcement.issued_ms;
                Some((bytes.into(), issued_ms))
            };
            let announcement = peer.announcement.and_then(signed);
            all.push(Known::Record { key: message.key.clone(), provider: peer.contact, announcement, left });
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::time::Time;
    use crate::discovery::dht::key::Node;

    #[test]
    fn what_was_known_is_known_again() {
        let node = Node::from_bytes(&[7; 38]).expect("an id");
        let contact = Contact::new(node, [vec![4, 9, 9, 9, 9, 6, 0, 80]]);
        let record = Record { provider: contact.clone(), announcement: None, issued_ms: 0, expires: Time::ZERO };
        let mut writer = Writer::default();
        assert!(writer.node(&contact) && writer.record(5000, b"key", &record) && writer.record(900, b"old", &record));
        let bytes = writer.finish();
        let left = Duration::from_secs(4);
        let kept = Known::Record { key: b"key".to_vec(), provider: contact.clone(), announcement: None, left };
        assert_eq!(read(&bytes, 1000), [Known::Node(contact), kept]);
        for length in 0..bytes.len() {
            assert!(read(&bytes[..length], 1000).len() <= 2, "{length} bytes");
        }
        assert_eq!(read(b"something else", 0), []);
    }
}
