//! A signed announcement: a peer says that it has a content, until when, and where it is reached. The same bytes
//! travel over every way of discovery. Not here: the signature's mathematics (`fabric`), and who carries it (`discovery`).
//!
//! | bytes | field |
//! |-------|-------|
//! | 1     | version, 1 |
//! | 32    | the key under which the content is looked up |
//! | 8     | when it was signed, milliseconds since 1970 |
//! | 4     | how long it holds from then, seconds |
//! | 1 + n | peer id as text |
//! | 1     | number of addresses, then for each 2 + n bytes of multiaddr text |
//! | …     | fields of later versions, ignored |
//! | 64    | Ed25519 signature of the peer over [`DOMAIN`] and everything before |
//!
//! Numbers are big endian.

use std::time::Duration;

use super::reader::{Malformed, Reader};
use crate::base::ids::{FileHash, PeerId};
use crate::base::limits;

/// Signed in front of the bytes, so that the signature fits nothing else.
pub const DOMAIN: &[u8] = b"dig-nat/announcement/1\0";

const VERSION: u8 = 1;
const SIGNATURE: usize = 64;

/// What a peer says about one content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// Who has it.
    pub peer: PeerId,
    /// Its lookup key ([`ContentKey::lookup_key`](crate::base::ids::ContentKey::lookup_key)).
    pub key: FileHash,
    /// When it was signed, in milliseconds since 1970 by the peer's clock. Of two, the later one holds.
    pub issued_ms: u64,
    /// How long it holds from then, in whole seconds.
    pub ttl: Duration,
    /// Multiaddrs, best first, at most [`limits::MAX_ADDRESSES_PER_PEER`]. Claims, not facts.
    pub addresses: Vec<String>,
}

/// Parsed bytes whose signature nobody has checked yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unverified<'a> {
    /// What they say.
    pub announcement: Announcement,
    /// What was signed, after [`DOMAIN`].
    pub body: &'a [u8],
    /// The signature.
    pub signature: &'a [u8; SIGNATURE],
}

impl Announcement {
    /// The bytes to sign and to send before the signature. Addresses that are too long or too many are left out, the
    /// last ones first.
    pub fn body(&self) -> Vec<u8> {
        let mut body = vec![VERSION];
        body.extend_from_slice(self.key.as_bytes());
        body.extend_from_slice(&self.issued_ms.to_be_bytes());
        body.extend_from_slice(&u32::try_from(self.ttl.as_secs()).unwrap_or(u32::MAX).to_be_bytes());
        let peer = self.peer.as_str().as_bytes();
        let peer = &peer[..peer.len().min(usize::from(u8::MAX))];
        body.push(peer.len() as u8);
        body.extend_from_slice(peer);
        let mut room = limits::MAX_ANNOUNCEMENT_BYTES - SIGNATURE - body.len() - 1;
        let fitting = self.addresses.iter().take(limits::MAX_ADDRESSES_PER_PEER).filter(|address| {
            let fits = address.len() + 2 <= room;
            room -= if fits { address.len() + 2 } else { 0 };
            fits
        });
        let fitting: Vec<&String> = fitting.collect();
        body.push(fitting.len() as u8);
        for address in fitting {
            body.extend_from_slice(&(address.len() as u16).to_be_bytes());
            body.extend_from_slice(address.as_bytes());
        }
        body
    }

    /// Parses body and signature. Nothing in it may be believed before the signature was checked.
    pub fn decode(bytes: &[u8]) -> Result<Unverified<'_>, Malformed> {
        if bytes.len() > limits::MAX_ANNOUNCEMENT_BYTES {
            return Err(Malformed::TooLarge("announcement"));
        }
        let (body, signature) = bytes.split_last_chunk::<SIGNATURE>().ok_or(Malformed::Truncated)?;
        let mut reader = Reader::new(body);
        if reader.u8()? != VERSION {
            return Err(Malformed::BadValue("version"));
        }
        let key = FileHash::from_bytes(reader.array()?);
        let issued_ms = reader.u64()?;
        let ttl = Duration::from_secs(u64::from(reader.u32()?));
        let length = reader.u8()?;
        let peer = text(reader.take(usize::from(length))?, "peer id")?;
        let count = usize::from(reader.u8()?);
        if count > limits::MAX_ADDRESSES_PER_PEER {
            return Err(Malformed::TooLarge("addresses"));
        }
        let mut addresses = Vec::with_capacity(count);
        for _ in 0..count {
            let length = reader.u16()?;
            addresses.push(text(reader.take(usize::from(length))?, "address")?.to_owned());
        }
        let announcement = Self { peer: PeerId::from_text(peer), key, issued_ms, ttl, addresses };
        Ok(Unverified { announcement, body, signature })
    }

    /// Whether it holds at this moment by our clock, with [`limits::MAX_CLOCK_SKEW`] for the clocks of both sides.
    pub fn holds_at(&self, now_ms: u64) -> bool {
        let skew = limits::MAX_CLOCK_SKEW.as_millis() as u64;
        let ttl = self.ttl.min(limits::MAX_ANNOUNCEMENT_TTL).as_millis() as u64;
        self.issued_ms <= now_ms.saturating_add(skew)
            && now_ms <= self.issued_ms.saturating_add(ttl).saturating_add(skew)
    }
}

/// Printable ASCII without spaces: all that peer ids and multiaddrs consist of.
fn text<'a>(bytes: &'a [u8], field: &'static str) -> Result<&'a str, Malformed> {
    let text = std::str::from_utf8(bytes).ok().filter(|text| !text.is_empty());
    text.filter(|text| text.bytes().all(|byte| byte.is_ascii_graphic())).ok_or(Malformed::BadValue(field))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Announcement {
        Announcement {
            peer: PeerId::from_text("12D3KooWTest"),
            key: FileHash::from_bytes([7; 32]),
            issued_ms: 1_000_000,
            ttl: Duration::from_secs(3600),
            addresses: vec!["/ip4/192.0.2.1/tcp/9000".to_owned(), "/ip6/2001:db8::1/udp/9/quic-v1".to_owned()],
        }
    }

    fn signed(announcement: &Announcement) -> Vec<u8> {
        [announcement.body(), vec![9; SIGNATURE]].concat()
    }

    #[test]
    fn the_layout_is_fixed() {
        let body = example().body();
        let expected = [
            &[1][..],
            &[7; 32],
            &1_000_000_u64.to_be_bytes(),
            &[0, 0, 0x0e, 0x10],
            b"\x0c12D3KooWTest",
            b"\x02\x00\x17/ip4/192.0.2.1/tcp/9000",
            b"\x00\x1e/ip6/2001:db8::1/udp/9/quic-v1",
        ];
        assert_eq!(body, expected.concat());
    }

    #[test]
    fn what_was_written_is_read() {
        let bytes = signed(&example());
        let read = Announcement::decode(&bytes).expect("well formed");
        assert_eq!((read.announcement, read.signature), (example(), &[9; SIGNATURE]));
        assert_eq!(read.body, example().body());
        // Fields of later versions stand before the signature and are signed.
        let later = [&example().body()[..], b"more", &[9; SIGNATURE]].concat();
        let read = Announcement::decode(&later).expect("well formed");
        assert_eq!((read.announcement, read.body.len()), (example(), example().body().len() + 4));
    }

    #[test]
    fn broken_bytes_are_refused() {
        let bytes = signed(&example());
        for length in 0..bytes.len() {
            assert!(Announcement::decode(&bytes[..length]).is_err(), "{length} bytes");
        }
        let mut other = bytes.clone();
        other[0] = 2;
        assert_eq!(Announcement::decode(&other), Err(Malformed::BadValue("version")));
        other[0] = 1;
        other[46] = b' ';
        assert_eq!(Announcement::decode(&other), Err(Malformed::BadValue("peer id")));
        let long = vec![1; limits::MAX_ANNOUNCEMENT_BYTES + 1];
        assert_eq!(Announcement::decode(&long), Err(Malformed::TooLarge("announcement")));
    }

    #[test]
    fn what_does_not_fit_is_left_out() {
        let mut much = example();
        much.addresses = (0..40).map(|number| format!("/dns4/{}{number}/tcp/1", "a".repeat(200))).collect();
        let bytes = signed(&much);
        assert!(bytes.len() <= limits::MAX_ANNOUNCEMENT_BYTES);
        let read = Announcement::decode(&bytes).expect("well formed").announcement;
        assert!(!read.addresses.is_empty() && much.addresses.starts_with(&read.addresses));
    }

    #[test]
    fn it_holds_for_its_time_on_skewed_clocks() {
        let (skew, hour) = (limits::MAX_CLOCK_SKEW.as_millis() as u64, 3_600_000);
        let mut one = example();
        one.issued_ms = 10 * hour;
        for (now, holds) in [
            (one.issued_ms - skew, true),
            (one.issued_ms - skew - 1, false),
            (one.issued_ms + hour + skew, true),
            (one.issued_ms + hour + skew + 1, false),
        ] {
            assert_eq!(one.holds_at(now), holds, "{now}");
        }
        one.ttl = Duration::from_secs(u64::from(u32::MAX));
        assert!(!one.holds_at(one.issued_ms + 1000 * 24 * hour), "nobody announces for ever");
    }
}
