//! Positions in the keyspace and their distances, and the ids of nodes. Not here: addresses ([`contact`](super::contact)).
//!
//! The position of a node is the SHA-256 of its peer id's bytes. That of a record depends on the network ([`Placement`]).
//! The distance of two positions is their exclusive or, read as a number.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::base::ids::{FileHash, PeerId};
use crate::base::limits;
use crate::base::random::Jitter;

/// Hashed in front of a lookup key, so that our records never meet those of IPFS content.
const DOMAIN: &[u8] = b"dig-nat/dht/1\0";
/// How a SHA-256 multihash begins: its code and length.
const MULTIHASH: [u8; 2] = [0x12, 0x20];

/// A position in the keyspace.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key([u8; 32]);

/// How far two positions are apart; smaller is nearer.
pub type Distance = [u8; 32];

impl Key {
    /// Bits of a position.
    pub const BITS: u32 = 256;

    /// The position of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// A position given directly.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// How far it is to another position.
    pub fn distance(&self, other: &Self) -> Distance {
        std::array::from_fn(|index| self.0[index] ^ other.0[index])
    }

    /// Leading bits that two positions share, 0 to 256.
    pub fn shared_bits(&self, other: &Self) -> u32 {
        let mut bits = 0;
        for (one, two) in self.0.iter().zip(other.0) {
            let difference = one ^ two;
            bits += difference.leading_zeros();
            if difference != 0 {
                break;
            }
        }
        bits
    }
}

impl Key {
    /// A random position that shares exactly so many bits with this one, at most 255.
    #[must_use]
    pub fn beside(&self, bits: u32, jitter: &mut Jitter) -> Self {
        let random: Vec<u8> = (0..4).flat_map(|_| jitter.bits().to_be_bytes()).collect();
        let (whole, kept) = ((bits / 8) as usize, bits % 8);
        Self(std::array::from_fn(|index| match index.cmp(&whole) {
            std::cmp::Ordering::Less => self.0[index],
            std::cmp::Ordering::Greater => random[index],
            std::cmp::Ordering::Equal => {
                let (same, turned) = (!(0xff_u8 >> kept), 0x80_u8 >> kept);
                self.0[index] & same | !self.0[index] & turned | random[index] & !(same | turned)
            }
        }))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..4].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The key of the records of what is looked up under `lookup` in libp2p's network: a SHA-256 multihash, as content ids have
/// it.
pub fn provider_key(lookup: &FileHash) -> Vec<u8> {
    multihash(&Sha256::new().chain_update(DOMAIN).chain_update(lookup.as_bytes()).finalize().into())
}

/// Where records lie. All nodes of a network must agree on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Placement {
    /// At the SHA-256 of the record's key, as all of libp2p reckons; that key is a hash under a domain of our own.
    #[default]
    Hashed,
    /// At the hash of the file itself, so that a prefix of positions is a beginning of files' hashes. libp2p's own Kademlia
    /// reckons differently; only nodes of our kind can share such a network.
    Direct,
}

impl Placement {
    /// The key of the records of what is looked up under `lookup`.
    pub fn record_key(self, lookup: &FileHash) -> Vec<u8> {
        match self {
            Self::Hashed => provider_key(lookup),
            Self::Direct => multihash(lookup.as_bytes()),
        }
    }

    /// The position of a record's key, or of whatever else is asked for.
    pub fn position(self, key: &[u8]) -> Key {
        let digest = key.strip_prefix(&MULTIHASH).and_then(|digest| <[u8; 32]>::try_from(digest).ok());
        match (self, digest) {
            (Self::Direct, Some(digest)) => Key(digest),
            _ => Key::of(key),
        }
    }

    /// The position of the records of what is looked up under `lookup`.
    pub fn of(self, lookup: &FileHash) -> Key {
        self.position(&self.record_key(lookup))
    }
}

fn multihash(digest: &[u8; 32]) -> Vec<u8> {
    [&MULTIHASH[..], digest].concat()
}

/// The key that lies at a position where records are placed directly.
pub fn key_at(position: &Key) -> Vec<u8> {
    multihash(position.as_bytes())
}

/// A node's id as it travels (the bytes of its peer id), with its position.
#[derive(Clone)]
pub struct Node {
    bytes: Arc<[u8]>,
    key: Key,
}

impl Node {
    /// From the bytes of a peer id; `None` for lengths that no peer id has.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let fits = (2..=limits::DHT_NODE_ID_BYTES).contains(&bytes.len());
        fits.then(|| Self { bytes: bytes.into(), key: Key::of(bytes) })
    }

    /// From a peer id's text (base58btc).
    pub fn from_peer(peer: &PeerId) -> Option<Self> {
        // Longer than any id; decoding takes time with the square of it.
        let fits = peer.as_str().len() <= 2 * limits::DHT_NODE_ID_BYTES;
        let bytes = fits.then(|| bs58::decode(peer.as_str()).into_vec())?;
        Self::from_bytes(&bytes.ok()?)
    }

    /// Its peer id as text.
    pub fn peer(&self) -> PeerId {
        PeerId::from_text(&bs58::encode(&self.bytes).into_string())
    }

    /// The bytes of its peer id.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Its position.
    pub const fn key(&self) -> &Key {
        &self.key
    }
}

impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for Node {}

impl Hash for Node {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key.hash(state);
    }
}

impl PartialOrd for Node {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Node {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.bytes.cmp(&other.bytes)
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.key.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn our_keys_are_multihashes_under_a_domain() {
        let lookup = FileHash::from_bytes([0; 32]);
        let key = provider_key(&lookup);
        assert_eq!((key.len(), &key[..2]), (34, &MULTIHASH[..]));
        let domain = [b"dig-nat/dht/1\0".as_slice(), &[0; 32]].concat();
        assert_eq!(key[2..], *FileHash::of(&domain).as_bytes());
    }

    #[test]
    fn records_lie_at_the_hash_of_the_file_or_of_their_key() {
        let lookup = FileHash::of(b"a file");
        assert_eq!(Placement::Direct.of(&lookup).as_bytes(), lookup.as_bytes());
        assert_eq!(Placement::Hashed.of(&lookup), Key::of(&provider_key(&lookup)));
        let position = Key::of(b"somewhere");
        assert_eq!(Placement::Direct.position(&key_at(&position)), position);
        // What is no SHA-256 multihash has a position as well.
        for other in [&b""[..], b"x", &MULTIHASH, &[0x12; 34], &[&MULTIHASH[..], &[0; 33]].concat()] {
            assert_eq!(Placement::Direct.position(other), Key::of(other));
        }
    }

    #[test]
    fn ids_have_their_usual_text() {
        let text = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";
        let node = Node::from_peer(&PeerId::from_text(text)).expect("an id");
        assert_eq!(node.as_bytes()[..6], [0, 0x24, 8, 1, 0x12, 0x20]);
        assert_eq!((node.as_bytes().len(), node.peer().as_str()), (38, text));
        assert!(Node::from_peer(&PeerId::from_text("0OIl")).is_none());
        assert!(Node::from_peer(&PeerId::from_text(&"2".repeat(1000))).is_none());
        assert!(Node::from_bytes(&[0; 300]).is_none());
    }

    proptest! {
        #[test]
        fn what_lies_beside_shares_so_many_bits(position: [u8; 32], bits in 0u32..256, seed: u64) {
            let position = Key::from_bytes(position);
            prop_assert_eq!(position.beside(bits, &mut Jitter::from_seed(seed)).shared_bits(&position), bits);
        }

        #[test]
        fn distance_is_a_metric(a: [u8; 32], b: [u8; 32], c: [u8; 32]) {
            let (a, b, c) = (Key::from_bytes(a), Key::from_bytes(b), Key::from_bytes(c));
            prop_assert_eq!(a.distance(&a), [0; 32]);
            prop_assert_eq!(a.distance(&b), b.distance(&a));
            // For each position and distance there is exactly one other position.
            prop_assert_eq!(Key::from_bytes(a.distance(&b)).distance(&b), *a.as_bytes());
            // Who shares more bits is nearer.
            if a.shared_bits(&b) > a.shared_bits(&c) {
                prop_assert!(a.distance(&b) < a.distance(&c));
            }
        }

        #[test]
        fn text_gives_the_node_again(bytes in proptest::collection::vec(any::<u8>(), 2..=limits::DHT_NODE_ID_BYTES)) {
            let node = Node::from_bytes(&bytes).expect("an id");
            prop_assert_eq!(Node::from_peer(&node.peer()), Some(node));
        }
    }
}
