//! The names of local discovery: the service, its subtypes (one per content key), instances and hosts. Pure.
//! Not here: packets.
//!
//! All names are kept in lower case, because DNS compares without case (RFC 6762 section 16).

use sha2::{Digest, Sha256};

use crate::base::ids::FileHash;

/// The service type (RFC 6763 section 7).
pub const SERVICE: &str = "_dig-nat._udp.local";
/// What follows a content key's label in its subtype name (RFC 6763 section 7.1).
const SUBTYPE: &str = "._sub._dig-nat._udp.local";
/// The name under which all service types of a network are listed (RFC 6763 section 9).
pub const ALL_SERVICES: &str = "_services._dns-sd._udp.local";
/// Digits of base32 (RFC 4648 section 6) in lower case.
const BASE32: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
/// 32 bytes in base32 without padding.
const KEY_DIGITS: usize = 52;

/// The subtype that stands for a content key: `_<base32 of the 32 bytes>._sub._dig-nat._udp.local`.
pub fn key_name(key: &FileHash) -> String {
    format!("_{}{SUBTYPE}", base32(key.as_bytes()))
}

/// The content key a subtype stands for; `None` for any other name.
pub fn parse_key_name(name: &str) -> Option<FileHash> {
    let digits = name.strip_suffix(SUBTYPE)?.strip_prefix('_')?.as_bytes();
    if digits.len() != KEY_DIGITS {
        return None;
    }
    let (mut bytes, mut filled, mut buffer, mut bits) = ([0_u8; 32], 0, 0_u32, 0);
    for digit in digits {
        let value = BASE32.iter().position(|known| known == digit)? as u32;
        (buffer, bits) = (buffer << 5 | value, bits + 5);
        if bits >= 8 {
            bits -= 8;
            bytes[filled] = (buffer >> bits) as u8;
            filled += 1;
            buffer &= (1 << bits) - 1;
        }
    }
    // The four bits left over must be zero, so that every key has exactly one name.
    (filled == 32 && buffer == 0).then(|| FileHash::from_bytes(bytes))
}

/// The instance name of a peer: its id as the label, so that service browsers show who it is.
pub fn instance_name(label: &str) -> String {
    format!("{}.{SERVICE}", label.to_ascii_lowercase())
}

/// Whether a name is an instance of the service.
pub fn is_instance(name: &str) -> bool {
    name.strip_suffix(SERVICE)
        .and_then(|rest| rest.strip_suffix('.'))
        .is_some_and(|label| !label.is_empty() && !label.contains('.'))
}

/// The host name of a peer. Derived from its id, so that several nodes on one machine never conflict with each other
/// or with the machine's own name.
pub fn host_name(peer_id: &str) -> String {
    format!("dig-{}.local", &base32(&Sha256::digest(peer_id.as_bytes()))[..26])
}

fn base32(bytes: &[u8]) -> String {
    let (mut text, mut buffer, mut bits) = (String::with_capacity(bytes.len() * 8 / 5 + 1), 0_u32, 0);
    for byte in bytes {
        (buffer, bits) = (buffer << 8 | u32::from(*byte), bits + 8);
        while bits >= 5 {
            bits -= 5;
            text.push(BASE32[(buffer >> bits) as usize & 31] as char);
        }
        buffer &= (1 << bits) - 1;
    }
    if bits > 0 {
        text.push(BASE32[(buffer << (5 - bits)) as usize & 31] as char);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base32_matches_the_test_vectors_of_rfc_4648() {
        let vectors =
            [("", ""), ("f", "my"), ("fo", "mzxq"), ("foo", "mzxw6"), ("foob", "mzxw6yq"), ("fooba", "mzxw6ytb")];
        for (plain, coded) in vectors {
            assert_eq!(base32(plain.as_bytes()), coded);
        }
    }

    #[test]
    fn a_key_has_exactly_one_name() {
        let key = FileHash::of(b"x");
        let name = key_name(&key);
        assert_eq!(parse_key_name(&name), Some(key));
        assert_eq!(name.split('.').next().map(str::len), Some(53));
        let label = &name[..52];
        // The last digit carries one bit of the key; its other four must be zero.
        assert_eq!(parse_key_name(&format!("{label}b{SUBTYPE}")), None);
        assert_eq!(parse_key_name(&name.to_uppercase()), None, "callers hand over lower case");
        assert_eq!(parse_key_name(&name[1..]), None);
        assert_eq!(parse_key_name(&format!("_{SUBTYPE}")), None);
        assert_eq!(parse_key_name(SERVICE), None);
    }

    #[test]
    fn instances_are_one_label_below_the_service() {
        assert!(is_instance(&instance_name("12D3KooW")));
        assert!(!is_instance(SERVICE));
        assert!(!is_instance(&key_name(&FileHash::of(b"x"))));
    }
}
