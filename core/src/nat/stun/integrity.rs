//! MESSAGE-INTEGRITY (HMAC-SHA1) with short-term and long-term keys, and FINGERPRINT (RFC 8489 sections 9, 14.5, 14.7).
//! Not here: SASLprep of names and passwords; they are used as given, which is the same for plain ASCII.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use md5::{Digest, Md5};
use sha1::Sha1;

/// Bytes of a MESSAGE-INTEGRITY value.
pub(super) const INTEGRITY_BYTES: usize = 20;
/// Bytes of a FINGERPRINT value.
pub(super) const FINGERPRINT_BYTES: usize = 4;
/// "STUN", so that a checksum of the same kind elsewhere in a protocol looks different.
const FINGERPRINT_MASK: u32 = 0x5354_554e;

/// The key of message integrity. Shown nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(Vec<u8>);

/// What checking a message's integrity found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Integrity {
    /// The message carries none.
    Absent,
    /// Made with another key, or changed on the way.
    Wrong,
    /// Made with this key, and unchanged up to the attribute.
    Right,
}

impl Key {
    /// The key of a short-term credential, as ICE uses it: the password itself.
    pub fn short_term(password: &str) -> Self {
        Self(password.as_bytes().to_vec())
    }

    /// The key of a long-term credential, as TURN uses it: MD5 of `username:realm:password`.
    pub fn long_term(username: &str, realm: &str, password: &str) -> Self {
        Self(Md5::digest(format!("{username}:{realm}:{password}")).to_vec())
    }

    /// The HMAC of a message up to its MESSAGE-INTEGRITY attribute, whose header's length field must already count
    /// that attribute.
    pub(super) fn sign(&self, header: [u8; 20], attributes: &[u8]) -> [u8; INTEGRITY_BYTES] {
        self.mac(header, attributes).finalize().into_bytes().into()
    }

    /// The same compared in constant time.
    pub(super) fn verify(&self, header: [u8; 20], attributes: &[u8], value: &[u8]) -> bool {
        self.mac(header, attributes).verify_slice(value).is_ok()
    }

    fn mac(&self, header: [u8; 20], attributes: &[u8]) -> Hmac<Sha1> {
        let mut mac = Hmac::<Sha1>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        mac.update(&header);
        mac.update(attributes);
        mac
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

/// FINGERPRINT's value for the bytes before the attribute. The header's length field must already count it.
pub(super) fn fingerprint(before: &[u8]) -> u32 {
    crc32fast::hash(before) ^ FINGERPRINT_MASK
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_do_not_show_in_logs() {
        assert_eq!(format!("{:?}", Key::short_term("secret")), "Key(..)");
        // RFC 8489 section 9.2.2: user "user", realm "realm", password "pass".
        let long = Key::long_term("user", "realm", "pass");
        assert_eq!(long.0[..4], [0x84, 0x93, 0xfb, 0xc5]);
    }
}
