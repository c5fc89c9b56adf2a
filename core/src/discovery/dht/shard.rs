//! Shards: parts of the keyspace that a node hosts, and which nodes are known to host what. Not here: when shard hosts are
//! asked ([`machine`](super::machine)).
//!
//! A shard is a prefix of a position, of any number of bits, or a range of positions. A shard host stores only records in
//! its shards and says so in its answers. Encoded: for each prefix its number of bits (1 to 255) and as many bytes as
//! they need; for each range a 0, the first and the last position (32 bytes each).

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use super::contact::{Contact, Group};
use super::key::{Key, Node};
use crate::base::error::{Error, Result};
use crate::base::ids::FileHash;
use crate::base::limits;
use crate::base::random::Jitter;
use crate::base::time::Time;

/// A part of the keyspace.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum Shard {
    /// Positions that begin with these bits.
    Prefix {
        /// The bits, zeros behind them.
        bits: Key,
        /// How many, 1 to 255.
        length: u8,
    },
    /// Positions from the first to the last, both included.
    Range {
        /// The first.
        first: Key,
        /// The last.
        last: Key,
    },
}

impl Shard {
    /// A prefix of so many bits of a position; bits behind them do not count. `None` for lengths other than 1 to 255.
    pub fn prefix(position: &Key, length: u8) -> Option<Self> {
        (length > 0).then(|| {
            let bits = std::array::from_fn(|index| {
                let kept = usize::from(length).saturating_sub(8 * index).min(8);
                // The shift of a whole byte leaves nothing.
                position.as_bytes()[index] & (0xff00_u16 >> kept) as u8
            });
            Self::Prefix { bits: Key::from_bytes(bits), length }
        })
    }

    /// A range; `None` if it ends before it begins.
    pub fn range(first: Key, last: Key) -> Option<Self> {
        (first <= last).then_some(Self::Range { first, last })
    }

    /// So many random prefixes of so many bits, all different; fewer where there are not as many.
    pub fn random(count: usize, length: u8, jitter: &mut Jitter) -> Vec<Self> {
        let there_are = 1_usize.checked_shl(u32::from(length)).unwrap_or(usize::MAX);
        let mut shards: Vec<Self> = Vec::new();
        while length > 0 && shards.len() < count.min(there_are).min(limits::DHT_SHARDS) {
            let bytes: Vec<u8> = (0..4).flat_map(|_| jitter.bits().to_be_bytes()).collect();
            let position = Key::from_bytes(std::array::from_fn(|index| bytes[index]));
            shards.extend(Self::prefix(&position, length).filter(|shard| !shards.contains(shard)));
        }
        shards
    }

    /// Whether a position lies in it.
    pub fn contains(&self, position: &Key) -> bool {
        match self {
            Self::Prefix { bits, length } => bits.shared_bits(position) >= u32::from(*length),
            Self::Range { first, last } => (first..=last).contains(&position),
        }
    }
}

/// Hex digits for whole digits (`0a`), bits in front of a slash for other lengths (`a8/5`), `first-last` for ranges.
impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hex = |key: &Key| FileHash::from_bytes(*key.as_bytes()).to_string();
        match self {
            Self::Prefix { bits, length } if length % 4 == 0 => f.write_str(&hex(bits)[..usize::from(*length) / 4]),
            Self::Prefix { bits, length } => {
                write!(f, "{}/{length}", &hex(bits)[..usize::from(*length).div_ceil(4)])
            }
            Self::Range { first, last } => write!(f, "{}-{}", hex(first), hex(last)),
        }
    }
}

impl fmt::Debug for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Shard {
    type Err = Error;

    /// Hex digits (`0a`), hex digits and a number of bits (`a8/5`), or two lists of hex digits with a hyphen between
    /// them (`00-3f`): from the first position that begins so to the last one.
    fn from_str(text: &str) -> Result<Self> {
        let bad = || Error::invalid("shard", format_args!("`{text}` is neither hex digits, hex/bits nor first-last"));
        let key = |digits: &str, fill: u8| -> Result<Key> {
            if digits.is_empty() || digits.len() > 64 {
                return Err(bad());
            }
            let mut bytes = [fill << 4 | fill; 32];
            for (index, digit) in digits.chars().enumerate() {
                let value = digit.to_digit(16).ok_or_else(bad)? as u8;
                let byte = &mut bytes[index / 2];
                *byte = if index % 2 == 0 { value << 4 | *byte & 0x0f } else { *byte & 0xf0 | value };
            }
            Ok(Key::from_bytes(bytes))
        };
        if let Some((first, last)) = text.split_once('-') {
            return Self::range(key(first, 0)?, key(last, 0xf)?).ok_or_else(bad);
        }
        let (digits, length) = match text.split_once('/') {
            Some((digits, length)) => (digits, length.parse().map_err(|_| bad())?),
            None => (text, u8::try_from(4 * text.len()).map_err(|_| bad())?),
        };
        Self::prefix(&key(digits, 0)?, length).ok_or_else(bad)
    }
}

/// The shards of one node. Without any, it hosts the whole keyspace as everybody does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shards(Vec<Shard>);

impl Shards {
    /// The first [`limits::DHT_SHARDS`] of them.
    pub fn new(mut shards: Vec<Shard>) -> Self {
        shards.truncate(limits::DHT_SHARDS);
        Self(shards)
    }

    /// Whether it is an ordinary node.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each of them.
    pub fn list(&self) -> &[Shard] {
        &self.0
    }

    /// Whether one of them holds the position.
    pub fn contains(&self, position: &Key) -> bool {
        self.0.iter().any(|shard| shard.contains(position))
    }

    /// Whether records of this position are kept: in a shard, or without any shards.
    pub fn takes(&self, position: &Key) -> bool {
        self.is_empty() || self.contains(position)
    }

    /// The bytes that travel.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for shard in &self.0 {
            match shard {
                Shard::Prefix { bits, length } => {
                    out.push(*length);
                    out.extend_from_slice(&bits.as_bytes()[..usize::from(*length).div_ceil(8)]);
                }
                Shard::Range { first, last } => {
                    out.push(0);
                    out.extend_from_slice(first.as_bytes());
                    out.extend_from_slice(last.as_bytes());
                }
            }
        }
        out
    }

    /// Reads them; `None` for bytes that are none, and for too many.
    pub fn decode(mut bytes: &[u8]) -> Option<Self> {
        let mut shards = Vec::new();
        while let Some((length, rest)) = bytes.split_first() {
            if shards.len() >= limits::DHT_SHARDS {
                return None;
            }
            if *length == 0 {
                let (first, rest) = rest.split_first_chunk::<32>()?;
                let (last, rest) = rest.split_first_chunk::<32>()?;
                shards.push(Shard::range(Key::from_bytes(*first), Key::from_bytes(*last))?);
                bytes = rest;
            } else {
                let (front, rest) = rest.split_at_checked(usize::from(*length).div_ceil(8))?;
                let position = std::array::from_fn(|index| front.get(index).copied().unwrap_or(0));
                shards.push(Shard::prefix(&Key::from_bytes(position), *length)?);
                bytes = rest;
            }
        }
        Some(Self(shards))
    }
}

#[derive(Debug)]
struct Host {
    contact: Contact,
    shards: Shards,
    heard: Time,
    /// It told us itself; others may err or lie.
    first_hand: bool,
}

/// Which nodes host which shards.
#[derive(Debug, Default)]
pub struct Hosts(HashMap<Node, Host>);

impl Hosts {
    /// Hosts known.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A node hosts these shards, by its own word or another's. Its own word counts more.
    pub fn note(&mut self, now: Time, contact: &Contact, shards: Shards, first_hand: bool) {
        let known = self.0.get(&contact.node);
        if shards.is_empty() {
            if first_hand {
                self.0.remove(&contact.node);
            }
            return;
        }
        if contact.addresses.is_empty() || known.is_some_and(|known| known.first_hand && !first_hand) {
            return;
        }
        if known.is_none() && self.0.len() >= limits::DHT_SHARD_HOSTS {
            let oldest = self.0.values().min_by_key(|host| (host.first_hand, host.heard));
            // Hearsay never pushes out what is known first hand.
            match oldest.map(|host| (host.first_hand, host.contact.node.clone())) {
                Some((known_first_hand, node)) if first_hand || !known_first_hand => self.0.remove(&node),
                _ => return,
            };
        }
        let host = Host { contact: contact.clone(), shards, heard: now, first_hand };
        self.0.insert(contact.node.clone(), host);
    }

    /// A node did not answer.
    pub fn failed(&mut self, node: &Node) {
        self.0.remove(node);
    }

    /// The hosts of a position that are asked first: those known first hand, the nearest of them, each of a network of
    /// its own.
    pub fn of(&self, position: &Key) -> Vec<(Contact, Shards)> {
        let mut fitting: Vec<&Host> = self.0.values().filter(|host| host.shards.contains(position)).collect();
        fitting.sort_by_cached_key(|host| (!host.first_hand, position.distance(host.contact.node.key())));
        let mut groups: Vec<Group> = Vec::new();
        fitting.retain(|host| {
            let of: Vec<Group> = host.contact.groups().collect();
            let new = !of.iter().any(|group| groups.contains(group));
            groups.extend(of);
            new
        });
        let first = fitting.into_iter().take(limits::DHT_SHARD_HOSTS_ASKED);
        first.map(|host| (host.contact.clone(), host.shards.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shard(text: &str) -> Shard {
        text.parse().expect(text)
    }

    fn position(first: u8) -> Key {
        Key::from_bytes(std::array::from_fn(|index| if index == 0 { first } else { 0x55 }))
    }

    #[test]
    fn texts_are_prefixes_and_ranges() {
        for (text, inside, outside) in
            [("00", 0x00, 0x01), ("a", 0xa7, 0xb0), ("a8/5", 0xaf, 0xb0), ("8/1", 0xff, 0x7f), ("00-3f", 0x3f, 0x40)]
        {
            let one = shard(text);
            assert!(one.contains(&position(inside)) && !one.contains(&position(outside)), "{text}");
            assert_eq!(shard(&one.to_string()), one, "{text}");
        }
        assert_eq!(shard("0a").to_string(), "0a");
        assert_eq!(shard("A8/5").to_string(), "a8/5");
        for bad in ["", "x", "00/0", "00/256", "3f-00", "-", "00/", &"0".repeat(65)] {
            assert!(bad.parse::<Shard>().is_err(), "{bad}");
        }
    }

    #[test]
    fn random_prefixes_are_different_and_covered() {
        let mut jitter = Jitter::from_seed(1);
        let shards = Shard::random(3, 8, &mut jitter);
        assert_eq!(shards.len(), 3);
        assert!(shards.iter().all(|one| one.to_string().len() == 2));
        assert_eq!(Shard::random(9, 2, &mut jitter).len(), 4, "there are no more");
        assert_eq!(Shard::random(9, 0, &mut jitter), []);
    }

    #[test]
    fn they_travel_as_fixed_bytes() {
        let shards = Shards::new(vec![shard("00"), shard("a8/5"), shard("123")]);
        assert_eq!(shards.encode(), [8, 0, 5, 0xa8, 12, 0x12, 0x30]);
        assert_eq!(Shards::decode(&shards.encode()), Some(shards));
        let range = Shards::new(vec![shard("00-3f")]);
        assert_eq!(Shards::decode(&range.encode()), Some(range));
        assert_eq!(Shards::decode(&[]), Some(Shards::default()));
        for bad in [&[8][..], &[0, 1], &[9, 1], &[8, 0].repeat(limits::DHT_SHARDS + 1)] {
            assert_eq!(Shards::decode(bad), None);
        }
        assert!(Shards::default().takes(&position(9)) && !Shards::default().contains(&position(9)));
    }

    #[test]
    fn hearsay_replaces_nothing_known_first_hand() {
        let contact = |number: u8| {
            let node = Node::from_bytes(&[number; 4]).expect("an id");
            Contact::new(node, [vec![4, 9, 9, number, 1, 6, 0, 80]])
        };
        let (zero, one) = (Shards::new(vec![shard("00")]), Shards::new(vec![shard("01")]));
        let mut hosts = Hosts::default();
        hosts.note(Time::ZERO, &contact(1), zero.clone(), true);
        hosts.note(Time::ZERO, &contact(1), one.clone(), false);
        assert_eq!(hosts.of(&position(0)), [(contact(1), zero.clone())]);
        assert_eq!(hosts.of(&position(1)), []);
        hosts.note(Time::ZERO, &contact(1), one.clone(), true);
        assert_eq!(hosts.of(&position(1)).len(), 1);
        hosts.note(Time::ZERO, &contact(1), Shards::default(), true);
        assert!(hosts.is_empty());
        for number in 0..=255 {
            hosts.note(Time::ZERO, &contact(number), zero.clone(), number % 2 == 0);
        }
        let asked = hosts.of(&position(0));
        assert_eq!(asked.len(), limits::DHT_SHARD_HOSTS_ASKED);
        assert!(asked.iter().all(|(contact, _)| contact.node.as_bytes()[0] % 2 == 0), "first hand first");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            if let Some(shards) = Shards::decode(&bytes) {
                prop_assert_eq!(Shards::decode(&shards.encode()), Some(shards));
            }
        }
    }
}
