//! What stands in the Gun graph of a peer or a content id: paths, fields, and how they are read. Pure. Not here: checking
//! signatures, and the graph itself (`gun`).
//!
//! | path | fields |
//! |------|--------|
//! | `dig-peers/<hash>/<node>` | `ip`, `port`, `address`, `timestamp`, `ttl`, `ver`, `available`: what older peers read; `announcement`: the [signed announcement](crate::wire::announcement) in base64 |
//! | `dig-content-maps/<content id>` | `hash`, `timestamp`: what older peers read; and one field per peer that vouches, `<peer>` = `<hash>:<signed announcement in base64>` |
//!
//! Anybody can write anything anywhere. So only what is signed counts as said by a peer; the node of a peer bears its id,
//! and what stands there without its signature is nobody's word. A withdrawal is signed too: an announcement that holds
//! for no time.

use std::net::IpAddr;

use data_encoding::BASE64;
use sha2::{Digest, Sha256};

use crate::base::ids::{ContentKey, FileHash, PeerId};
use crate::base::limits;
use crate::discovery::candidate::host_and_port;
use crate::gun::names;
use crate::gun::value::{Cell, Record, Value};
use crate::nat::policy::{self, Refusal};

/// Longest content id that is written as it is.
const PLAIN_ID_BYTES: usize = 512;

/// What a record claims.
#[derive(Clone, Debug, PartialEq)]
pub enum Claim {
    /// A signed announcement, not checked yet.
    Signed(Vec<u8>),
    /// Somebody wrote this.
    Unsigned {
        /// `host:port`.
        address: String,
        /// When, in milliseconds since 1970 by the writer's clock.
        issued_ms: u64,
        /// For how long; `None` if it does not say.
        ttl_ms: Option<u64>,
    },
    /// Nobody is there, or not all of it has come.
    Nothing,
}

/// The segment a content id has in a path: itself, or its lookup key if it cannot be written.
pub fn content_segment(id: &str) -> String {
    if names::is_allowed(id) && id.len() <= PLAIN_ID_BYTES {
        return id.to_owned();
    }
    ContentKey::Id(id.into()).lookup_key().to_string()
}

/// What is signed to vouch that a content id means a hash.
pub fn mapping_key(id: &str, hash: &FileHash) -> FileHash {
    let digest = Sha256::new().chain_update(b"dig-nat/gun-map/1\0").chain_update(hash.as_bytes());
    FileHash::from_bytes(digest.chain_update(id.as_bytes()).finalize().into())
}

/// The fields of an announcement: eight, since a stock relay answers with nine in one message and counts the node's name.
/// What comes in several messages comes in any order.
pub fn announcement(addresses: &[String], announced: &[u8], timestamp_ms: u64, ttl_ms: u64) -> Record {
    let first = addresses.iter().filter(|address| !address.contains("p2p-circuit")).find_map(|one| host_and_port(one));
    let mut fields: Vec<(&str, Value)> = vec![
        ("timestamp", (timestamp_ms as f64).into()),
        ("ttl", (ttl_ms as f64).into()),
        ("ver", "1.0".into()),
        ("available", (ttl_ms > 0).into()),
        ("announcement", BASE64.encode(announced).into()),
    ];
    if let Some((host, port)) = first {
        fields.extend([("ip", host.as_str().into()), ("address", host.into()), ("port", f64::from(port).into())]);
    }
    record(fields)
}

/// The fields that say that a content id means a hash.
pub fn mapping(peer: &PeerId, hash: &FileHash, announced: &[u8], timestamp_ms: u64) -> Record {
    let vouched = format!("{hash}:{}", BASE64.encode(announced));
    record(vec![
        ("hash", hash.to_string().into()),
        ("timestamp", (timestamp_ms as f64).into()),
        (peer.as_str(), vouched.into()),
    ])
}

fn record(fields: Vec<(&str, Value)>) -> Record {
    fields.into_iter().map(|(key, value)| (key.to_owned(), Cell { value, state: 0.0 })).collect()
}

/// Whether this is how peers of our kind are called: then nothing unsigned is believed under the name.
pub fn is_peer_id(name: &str) -> bool {
    (name.starts_with("12D3Koo") && name.len() == 52) || (name.starts_with("Qm") && name.len() == 46)
}

/// Reads what a node says under its name.
pub fn read(name: &str, record: &Record) -> Claim {
    let text = |key: &str| record.get(key).and_then(|cell| cell.value.as_text());
    if let Some(announced) = text("announcement") {
        let most = BASE64.encode_len(limits::MAX_ANNOUNCEMENT_BYTES);
        let bytes = (announced.len() <= most).then(|| BASE64.decode(announced.as_bytes()));
        return bytes.and_then(Result::ok).map_or(Claim::Nothing, Claim::Signed);
    }
    let number = |key: &str| record.get(key).and_then(|cell| cell.value.as_number()).filter(|number| *number >= 0.0);
    let available = record.get("available").is_none_or(|cell| cell.value != Value::Bool(false));
    let host = text("ip").or_else(|| text("address")).map(str::trim).filter(|host| is_host(host));
    let port = number("port").filter(|port| port.fract() == 0.0 && (1.0..65536.0).contains(port));
    match (host, port, number("timestamp")) {
        (Some(host), Some(port), Some(issued)) if available && !is_peer_id(name) => {
            let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
            let ttl_ms = number("ttl").map(|ttl| ttl as u64);
            Claim::Unsigned { address: format!("{host}:{port}"), issued_ms: issued as u64, ttl_ms }
        }
        _ => Claim::Nothing,
    }
}

/// Who vouches for which hash, from one field of a content id's node; not checked yet.
pub fn read_vouched(value: &Value) -> Option<(FileHash, Vec<u8>)> {
    let (hash, announced) = value.as_text()?.split_once(':')?;
    if announced.len() > BASE64.encode_len(limits::MAX_ANNOUNCEMENT_BYTES) {
        return None;
    }
    Some((hash.parse().ok()?, BASE64.decode(announced.as_bytes()).ok()?))
}

/// An address or a name of a host that may be dialled on a stranger's word.
fn is_host(host: &str) -> bool {
    if let Ok(address) = host.parse::<IpAddr>() {
        let nowhere = address.is_unspecified() || address.is_multicast();
        return !nowhere && policy::judge(address) != Err(Refusal::Metadata);
    }
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
    !host.is_empty() && host.len() <= 253 && host.contains('.') && host.bytes().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_old_readers_find_their_fields() {
        let addresses = ["/ip4/192.0.2.7/tcp/9000".to_owned(), "/ip6/2001:db8::1/udp/9000/quic-v1".to_owned()];
        let peer = PeerId::from_text("12D3KooWTest");
        let record = announcement(&addresses, b"signed", 1_800_000_000_000, 3_600_000);
        assert_eq!(read("12D3KooWTest", &record), Claim::Signed(b"signed".to_vec()));
        for (key, value) in [
            ("ip", Value::from("192.0.2.7")),
            ("address", "192.0.2.7".into()),
            ("port", 9000.0.into()),
            ("available", true.into()),
            ("ver", "1.0".into()),
            ("timestamp", 1_800_000_000_000.0.into()),
        ] {
            assert_eq!(record[key].value, value, "{key}");
        }
        let hash = FileHash::of(b"x");
        let mapped = mapping(&peer, &hash, b"vouched", 5);
        assert_eq!(read_vouched(&mapped["12D3KooWTest"].value), Some((hash, b"vouched".to_vec())));
        assert_eq!(mapped["hash"].value, hash.to_string().into());
        assert_eq!(read_vouched(&"nothing".into()), None);
    }

    #[test]
    fn old_records_are_read_and_nonsense_is_not() {
        let fields = |fields: Vec<(&str, Value)>| record(fields);
        let old = fields(vec![("ip", "192.168.1.100".into()), ("port", 8080.0.into()), ("timestamp", 5.0.into())]);
        let unsigned = |address: &str, ttl_ms| Claim::Unsigned { address: address.into(), issued_ms: 5, ttl_ms };
        assert_eq!(read("host-1", &old), unsigned("192.168.1.100:8080", None));
        let other = vec![("address", "2001:db8::1".into()), ("port", "80".into()), ("timestamp", 5.0.into())];
        let other = fields([other, vec![("ttl", 60.0.into()), ("available", true.into())]].concat());
        assert_eq!(read("host-2", &other), unsigned("[2001:db8::1]:80", Some(60)));
        let named = "12D3KooWQYhTNQdmr3ArTeUHRYzFg94BKyTkoWBDWez9kSCVe2Xo";
        assert_eq!(read(named, &old), Claim::Nothing, "a peer id stands for its signature");
        let with = |key: &str, value: Value| {
            let mut changed = old.clone();
            changed.insert(key.to_owned(), Cell { value, state: 0.0 });
            read("host-1", &changed)
        };
        for (key, value) in [
            ("available", Value::Bool(false)),
            ("port", 0.0.into()),
            ("port", 1.5.into()),
            ("port", 70_000.0.into()),
            ("timestamp", "now".into()),
            ("timestamp", (-1.0).into()),
            ("ip", "169.254.169.254".into()),
            ("ip", "0.0.0.0".into()),
            ("ip", "a b.c".into()),
            ("announcement", "%%".into()),
            ("announcement", "A".repeat(10_000).into()),
        ] {
            assert_eq!(with(key, value.clone()), Claim::Nothing, "{key} {value:?}");
        }
    }

    #[test]
    fn content_ids_that_cannot_be_written_are_hashed() {
        assert_eq!(content_segment("my/video.mp4"), "my/video.mp4");
        for id in ["constructor", "_", "a#b", "~x", &"a".repeat(600)] {
            assert_eq!(content_segment(id), ContentKey::Id(id.into()).lookup_key().to_string());
        }
        assert_ne!(mapping_key("a", &FileHash::of(b"x")), mapping_key("b", &FileHash::of(b"x")));
    }
}
