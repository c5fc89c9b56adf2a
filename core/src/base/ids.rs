//! Names of things: SHA-256 hashes, content ids, content keys, peer ids, piece indices.
//! Not here: what a name resolves to.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

use super::error::{Error, Result};
use super::limits;

/// The SHA-256 of a file's bytes (FIPS 180-4), what `sha256sum` prints.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileHash([u8; 32]);

impl FileHash {
    /// Wraps raw bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The raw 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Hashes bytes held in memory.
    pub fn of(data: &[u8]) -> Self {
        Self(Sha256::digest(data).into())
    }
}

impl fmt::Display for FileHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for FileHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for FileHash {
    type Err = Error;

    /// Accepts 64 hex digits in either case.
    fn from_str(text: &str) -> Result<Self> {
        let digits = text.as_bytes();
        if digits.len() != 64 {
            return Err(Error::invalid("hash", format_args!("expected 64 hex digits, got {} characters", text.len())));
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let nibble = |digit: u8| (digit as char).to_digit(16).map(|value| value as u8);
            match (nibble(pair[0]), nibble(pair[1])) {
                (Some(high), Some(low)) => *byte = high << 4 | low,
                _ => return Err(Error::invalid("hash", "expected only hex digits")),
            }
        }
        Ok(Self(bytes))
    }
}

impl Serialize for FileHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for FileHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// What a user asks for: a file hash, or a readable content id that resolves to one.
///
/// 64 hex digits are a hash; any other text is a content id (1 to 1024 bytes).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ContentKey {
    /// A SHA-256.
    Hash(FileHash),
    /// A readable name chosen by a host.
    Id(Arc<str>),
}

impl ContentKey {
    /// The 32 bytes under which the key is looked up on networks: a hash is itself, a content id is hashed under a
    /// domain prefix so that it can never collide with a file's hash.
    pub fn lookup_key(&self) -> FileHash {
        match self {
            Self::Hash(hash) => *hash,
            Self::Id(id) => FileHash(
                Sha256::new().chain_update(b"dig-nat/content-id/1\0").chain_update(id.as_bytes()).finalize().into(),
            ),
        }
    }
}

impl FromStr for ContentKey {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text.is_empty() {
            return Err(Error::invalid("key", "a hash or content id must not be empty"));
        }
        if text.len() > limits::MAX_CONTENT_ID_BYTES {
            return Err(Error::invalid(
                "key",
                format_args!("a content id has at most {} bytes", limits::MAX_CONTENT_ID_BYTES),
            ));
        }
        Ok(text.parse().map_or_else(|_| Self::Id(text.into()), Self::Hash))
    }
}

impl fmt::Display for ContentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hash(hash) => hash.fmt(f),
            Self::Id(id) => f.write_str(id),
        }
    }
}

/// A peer's identity: the text form of its libp2p peer id (base58btc multihash of its public key).
/// Opaque here; only `fabric` parses it.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerId(Arc<str>);

impl PeerId {
    /// Wraps the text of an id that the fabric has checked.
    pub fn from_text(text: &str) -> Self {
        Self(text.into())
    }

    /// The text form.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for PeerId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// Index of a piece in a file, from 0.
pub type PieceIndex = u32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hash_text_round_trips() {
        let hash = FileHash::of(b"");
        assert_eq!(hash.to_string(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert_eq!(hash.to_string().to_uppercase().parse::<FileHash>().expect("valid"), hash);
        assert!("e3b0".parse::<FileHash>().is_err());
        assert!("zz".repeat(32).parse::<FileHash>().is_err());
        assert!("é".repeat(32).parse::<FileHash>().is_err());
    }

    #[test]
    fn keys_are_told_apart() {
        let hash = FileHash::of(b"x");
        assert_eq!(hash.to_string().parse::<ContentKey>().expect("valid"), ContentKey::Hash(hash));
        let id: ContentKey = "my-video".parse().expect("valid");
        assert_eq!(id, ContentKey::Id("my-video".into()));
        assert_ne!(id.lookup_key(), FileHash::of(b"my-video"));
        assert!("".parse::<ContentKey>().is_err());
        assert!("a".repeat(1025).parse::<ContentKey>().is_err());
    }
}
