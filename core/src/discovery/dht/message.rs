//! Kademlia's messages as libp2p writes them (protobuf, specs `kad-dht`), and two fields of our own. Not here: what is
//! answered ([`machine`](super::machine)), and the streams that carry messages (`driver`).
//!
//! On a stream each message follows its length (varint). Fields; others are ignored, as others ignore ours:
//!
//! | message | field | type | what |
//! |---------|-------|------|------|
//! | Message | 1 | enum | PUT_VALUE 0, GET_VALUE 1, ADD_PROVIDER 2, GET_PROVIDERS 3, FIND_NODE 4, PING 5 |
//! | Message | 2 | bytes | key |
//! | Message | 3 | Record | value (skipped: we keep none) |
//! | Message | 8 | Peer | nodes nearer to the key, repeated |
//! | Message | 9 | Peer | providers, repeated |
//! | Message | 1001 | bytes | shards of the sender ([`shard`](super::shard)); its presence says that the sender is one of us |
//! | Message | 1002 | bytes | signed announcement, repeated: of an ADD_PROVIDER for many keys at once |
//! | Peer | 1 | bytes | peer id |
//! | Peer | 2 | bytes | multiaddr, repeated |
//! | Peer | 3 | enum | connectedness, ignored |
//! | Peer | 1001 | bytes | shards of that peer, as the sender knows them |
//! | Peer | 1002 | bytes | signed announcement of that peer for the key |

use super::contact::Contact;
use super::key::Node;
use crate::base::limits;
use crate::wire::reader::{Malformed, Reader};

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Keep a value.
    PutValue,
    /// Give the value of a key.
    GetValue,
    /// Somebody provides a key. Has no answer.
    AddProvider,
    /// Who provides a key?
    GetProviders,
    /// Who is nearest to a key?
    FindNode,
    /// Are you there?
    Ping,
}

/// A peer in a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Who and where.
    pub contact: Contact,
    /// Encoded shards it hosts, as the sender knows them.
    pub shards: Option<Vec<u8>>,
    /// Its signed announcement. What a machine is given must have been verified.
    pub announcement: Option<Vec<u8>>,
}

/// A request or an answer; an answer has the kind of its request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// What is asked.
    pub kind: Kind,
    /// What it is about; empty for PING.
    pub key: Vec<u8>,
    /// Nodes nearer to the key.
    pub closer: Vec<Peer>,
    /// Who provides the key.
    pub providers: Vec<Peer>,
    /// Encoded shards of the sender; `Some` (and maybe empty) of all nodes of our kind.
    pub shards: Option<Vec<u8>>,
    /// Announcements for keys of their own. What a machine is given must have been verified.
    pub announcements: Vec<Vec<u8>>,
}

impl From<Contact> for Peer {
    fn from(contact: Contact) -> Self {
        Self { contact, shards: None, announcement: None }
    }
}

impl Kind {
    const ALL: [Self; 6] =
        [Self::PutValue, Self::GetValue, Self::AddProvider, Self::GetProviders, Self::FindNode, Self::Ping];

    /// Whether the other side answers.
    pub const fn is_answered(self) -> bool {
        !matches!(self, Self::AddProvider | Self::PutValue)
    }
}

/// Numbers of fields.
mod field {
    pub const KIND: u32 = 1;
    pub const KEY: u32 = 2;
    pub const CLOSER: u32 = 8;
    pub const PROVIDERS: u32 = 9;
    pub const ID: u32 = 1;
    pub const ADDRESS: u32 = 2;
    pub const SHARDS: u32 = 1001;
    pub const ANNOUNCEMENT: u32 = 1002;
}

const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const BYTES: u64 = 2;
const FIXED32: u64 = 5;

impl Message {
    /// A request or answer without any list.
    pub fn new(kind: Kind, key: Vec<u8>) -> Self {
        Self { kind, key, closer: Vec::new(), providers: Vec::new(), shards: None, announcements: Vec::new() }
    }

    /// The bytes without the length in front. Peers that would make it longer than [`limits::DHT_FRAME_BYTES`] are left
    /// out, the last ones first.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(1024);
        if self.kind != Kind::PutValue {
            put_varint(&mut out, u64::from(field::KIND) << 3 | VARINT);
            put_varint(&mut out, Kind::ALL.iter().position(|kind| *kind == self.kind).unwrap_or(0) as u64);
        }
        if !self.key.is_empty() {
            put_bytes(&mut out, field::KEY, &self.key);
        }
        if let Some(shards) = &self.shards {
            put_bytes(&mut out, field::SHARDS, shards);
        }
        let peers = |number, peers: &[Peer], share: usize, out: &mut Vec<u8>| {
            for peer in peers {
                let bytes = peer.encode();
                if out.len() + bytes.len() + 8 > share {
                    break;
                }
                put_bytes(out, number, &bytes);
            }
        };
        // The way to more providers is worth more than the last of them.
        peers(field::CLOSER, &self.closer, limits::DHT_FRAME_BYTES / 2, &mut out);
        peers(field::PROVIDERS, &self.providers, limits::DHT_FRAME_BYTES, &mut out);
        for announcement in &self.announcements {
            if out.len() + announcement.len() + 8 > limits::DHT_FRAME_BYTES {
                break;
            }
            put_bytes(&mut out, field::ANNOUNCEMENT, announcement);
        }
        out
    }

    /// The same with the length in front.
    pub fn frame(&self) -> Vec<u8> {
        let body = self.encode();
        let mut frame = Vec::with_capacity(body.len() + 3);
        put_varint(&mut frame, body.len() as u64);
        frame.extend(body);
        frame
    }

    /// Reads a message. Peers whose id is none, and surplus addresses, are passed over; surplus peers too.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        if bytes.len() > limits::DHT_FRAME_BYTES {
            return Err(Malformed::TooLarge("message"));
        }
        let mut message = Self::new(Kind::PutValue, Vec::new());
        for entry in Fields::of(bytes) {
            match entry? {
                (field::KIND, Value::Number(number)) => {
                    let kind = usize::try_from(number).ok().and_then(|number| Kind::ALL.get(number));
                    message.kind = *kind.ok_or(Malformed::BadValue("type"))?;
                }
                (field::KEY, Value::Bytes(key)) => {
                    if key.len() > limits::DHT_KEY_BYTES {
                        return Err(Malformed::TooLarge("key"));
                    }
                    message.key = key.to_vec();
                }
                (field::CLOSER, Value::Bytes(peer)) => Peer::read_into(peer, &mut message.closer)?,
                (field::PROVIDERS, Value::Bytes(peer)) => Peer::read_into(peer, &mut message.providers)?,
                (field::SHARDS, Value::Bytes(shards)) => message.shards = Some(shards.to_vec()),
                (field::ANNOUNCEMENT, Value::Bytes(bytes))
                    if bytes.len() <= limits::MAX_ANNOUNCEMENT_BYTES
                        && message.announcements.len() < limits::DHT_ANNOUNCEMENTS_PER_FRAME =>
                {
                    message.announcements.push(bytes.to_vec());
                }
                _ => {}
            }
        }
        Ok(message)
    }
}

impl Peer {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(128);
        put_bytes(&mut out, field::ID, self.contact.node.as_bytes());
        for address in self.contact.addresses.iter() {
            put_bytes(&mut out, field::ADDRESS, address);
        }
        if let Some(shards) = &self.shards {
            put_bytes(&mut out, field::SHARDS, shards);
        }
        if let Some(announcement) = &self.announcement {
            put_bytes(&mut out, field::ANNOUNCEMENT, announcement);
        }
        out
    }

    fn read_into(bytes: &[u8], peers: &mut Vec<Self>) -> Result<(), Malformed> {
        if peers.len() >= limits::DHT_PEERS_PER_MESSAGE {
            return Ok(());
        }
        let (mut node, mut addresses, mut shards, mut announcement) = (None, Vec::new(), None, None);
        for entry in Fields::of(bytes) {
            match entry? {
                (field::ID, Value::Bytes(id)) => node = Node::from_bytes(id),
                (field::ADDRESS, Value::Bytes(address))
                    if addresses.len() < limits::DHT_ADDRESSES && address.len() <= limits::DHT_ADDRESS_BYTES =>
                {
                    addresses.push(address.to_vec());
                }
                (field::SHARDS, Value::Bytes(bytes)) => shards = Some(bytes.to_vec()),
                (field::ANNOUNCEMENT, Value::Bytes(bytes)) if bytes.len() <= limits::MAX_ANNOUNCEMENT_BYTES => {
                    announcement = Some(bytes.to_vec());
                }
                _ => {}
            }
        }
        if let Some(node) = node {
            peers.push(Self { contact: Contact::new(node, addresses), shards, announcement });
        }
        Ok(())
    }
}

/// The length in front of a message: how many bytes it takes, and the length. `None` while more bytes are needed.
pub fn frame_length(bytes: &[u8]) -> Result<Option<(usize, usize)>, Malformed> {
    let mut length = 0;
    // Three bytes hold more than any allowed length.
    for (index, byte) in bytes.iter().take(3).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            let fits = length <= limits::DHT_FRAME_BYTES;
            return if fits { Ok(Some((index + 1, length))) } else { Err(Malformed::TooLarge("message")) };
        }
    }
    if bytes.len() < 3 { Ok(None) } else { Err(Malformed::TooLarge("message")) }
}

/// What a field holds.
enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    /// Of a fixed width, which no field of ours has.
    Other,
}

/// Walks the fields of a protobuf message.
struct Fields<'a>(Reader<'a>);

impl<'a> Fields<'a> {
    const fn of(bytes: &'a [u8]) -> Self {
        Self(Reader::new(bytes))
    }

    fn read(&mut self) -> Result<(u32, Value<'a>), Malformed> {
        let tag = varint(&mut self.0)?;
        let number = u32::try_from(tag >> 3).map_err(|_| Malformed::BadValue("field"))?;
        let value = match tag & 7 {
            VARINT => Value::Number(varint(&mut self.0)?),
            BYTES => {
                let length = usize::try_from(varint(&mut self.0)?).map_err(|_| Malformed::Truncated)?;
                Value::Bytes(self.0.take(length)?)
            }
            FIXED64 => self.0.take(8).map(|_| Value::Other)?,
            FIXED32 => self.0.take(4).map(|_| Value::Other)?,
            _ => return Err(Malformed::BadValue("field")),
        };
        Ok((number, value))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Value<'a>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.rest().is_empty() {
            return None;
        }
        let read = self.read();
        if read.is_err() {
            self.0 = Reader::new(&[]);
        }
        Some(read)
    }
}

fn varint(reader: &mut Reader<'_>) -> Result<u64, Malformed> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let byte = reader.u8()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(Malformed::BadValue("number"))
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn put_bytes(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    put_varint(out, u64::from(number) << 3 | BYTES);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(id: u8) -> Peer {
        let node = Node::from_bytes(&[id; 4]).expect("an id");
        Contact::new(node, [vec![4, 127, 0, 0, 1, 6, 0x23, 0x28]]).into()
    }

    #[test]
    fn the_bytes_are_those_of_the_specification() {
        let find = Message::new(Kind::FindNode, b"key".to_vec());
        assert_eq!(find.frame(), [0x07, 0x08, 0x04, 0x12, 0x03, b'k', b'e', b'y']);
        assert_eq!(Message::new(Kind::Ping, Vec::new()).frame(), [0x02, 0x08, 0x05]);
        let mut answer = Message::new(Kind::GetProviders, b"k".to_vec());
        answer.closer.push(peer(1));
        answer.providers.push(peer(2));
        let expected = [
            &[0x08, 0x03, 0x12, 0x01, b'k'][..],
            &[0x42, 0x10, 0x0a, 0x04, 1, 1, 1, 1, 0x12, 0x08, 4, 127, 0, 0, 1, 6, 0x23, 0x28],
            &[0x4a, 0x10, 0x0a, 0x04, 2, 2, 2, 2, 0x12, 0x08, 4, 127, 0, 0, 1, 6, 0x23, 0x28],
        ];
        assert_eq!(answer.encode(), expected.concat());
        assert_eq!(Message::decode(&expected.concat()), Ok(answer));
    }

    #[test]
    fn fields_of_others_are_passed_over() {
        // clusterLevelRaw, a record, connectedness, fixed fields.
        let bytes = [
            &[0x08, 0x01, 0x50, 0x0a, 0x1a, 0x02, 0x0a, 0x00, 0x12, 0x01, b'k'][..],
            &[0x42, 0x08, 0x0a, 0x04, 3, 3, 3, 3, 0x18, 0x01],
            &[0xa1, 0x06, 1, 2, 3, 4, 5, 6, 7, 8, 0xa5, 0x06, 1, 2, 3, 4],
        ];
        let message = Message::decode(&bytes.concat()).expect("read");
        assert_eq!((message.kind, message.key.as_slice(), message.closer.len()), (Kind::GetValue, &b"k"[..], 1));
        // An id that cannot be one loses the peer, not the message.
        assert_eq!(Message::decode(&[0x42, 0x02, 0x0a, 0x00]).expect("read").closer, []);
    }

    #[test]
    fn our_own_fields_travel() {
        let mut message = Message::new(Kind::AddProvider, b"k".to_vec());
        message.shards = Some(vec![]);
        message.announcements = vec![vec![1; 300], vec![2; 5]];
        let with = Peer { shards: Some(vec![8, 0xab]), announcement: Some(vec![3; 100]), ..peer(1) };
        message.providers.push(with);
        assert_eq!(Message::decode(&message.encode()), Ok(message.clone()));
        assert_eq!(message.encode()[..10], [0x08, 0x02, 0x12, 0x01, b'k', 0xca, 0x3e, 0x00, 0x4a, 0x7c]);
    }

    #[test]
    fn broken_bytes_are_refused() {
        for broken in [
            &[0x08][..],
            &[0x12, 0x05, 1],
            &[0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
            &[0x12, 0xff, 0xff, 0xff, 0xff, 0x0f, 1],
            &[0x08, 0x07],
            &[0x0b],
            &[0x42, 0x01, 0x0a],
        ] {
            assert!(Message::decode(broken).is_err(), "{broken:02x?}");
        }
        assert!(Message::decode(&vec![0; limits::DHT_FRAME_BYTES + 1]).is_err());
        let long = [&[0x12, 0x81, 0x01][..], &[0; 129]].concat();
        assert_eq!(Message::decode(&long), Err(Malformed::TooLarge("key")));
    }

    #[test]
    fn lists_and_fields_end_at_their_bounds() {
        let mut message = Message::new(Kind::GetProviders, vec![7; 34]);
        message.closer = vec![peer(1); 3 * limits::DHT_PEERS_PER_MESSAGE];
        message.providers = message.closer.clone();
        let read = Message::decode(&message.encode()).expect("read");
        assert_eq!((read.closer.len(), read.providers.len()), [limits::DHT_PEERS_PER_MESSAGE; 2].into());
        let mut message = Message::new(Kind::AddProvider, Vec::new());
        message.announcements = vec![vec![1; 100]; 2 * limits::DHT_ANNOUNCEMENTS_PER_FRAME];
        let read = Message::decode(&message.encode()).expect("read");
        assert_eq!(read.announcements.len(), limits::DHT_ANNOUNCEMENTS_PER_FRAME);
        // A peer with too long an id is none, and of its addresses those that are too long or too many are left out.
        let id = vec![1; limits::DHT_NODE_ID_BYTES];
        assert!(Node::from_bytes(&id).is_some() && Node::from_bytes(&[&id[..], &[1]].concat()).is_none());
        let long = vec![4; limits::DHT_ADDRESS_BYTES + 1];
        let addresses = std::iter::once(long).chain((0..100).map(|number| vec![4, 9, 9, 9, number, 6, 0, 80]));
        let contact = Contact::new(Node::from_bytes(&id).expect("an id"), addresses);
        assert_eq!((contact.addresses.len(), contact.addresses[0][4]), (limits::DHT_ADDRESSES, 0));
    }

    #[test]
    fn lengths_are_checked_before_anything_is_read() {
        assert_eq!(frame_length(&[]), Ok(None));
        assert_eq!(frame_length(&[0x80, 0x80]), Ok(None));
        assert_eq!(frame_length(&[5, 9]), Ok(Some((1, 5))));
        assert_eq!(frame_length(&[0x80, 0x80, 0x04]), Ok(Some((3, limits::DHT_FRAME_BYTES))));
        assert!(frame_length(&[0x81, 0x80, 0x04]).is_err());
        assert!(frame_length(&[0x80, 0x80, 0x80]).is_err());
    }

    #[test]
    fn what_does_not_fit_a_frame_is_left_out() {
        let mut message = Message::new(Kind::GetProviders, vec![7; 34]);
        message.closer = vec![peer(1); 20];
        message.providers = (0..60).map(|_| Peer { announcement: Some(vec![9; 2000]), ..peer(2) }).collect();
        let bytes = message.encode();
        assert!(bytes.len() <= limits::DHT_FRAME_BYTES);
        let read = Message::decode(&bytes).expect("read");
        assert_eq!(read.closer.len(), 20);
        assert!((20..40).contains(&read.providers.len()), "{}", read.providers.len());
    }
}
