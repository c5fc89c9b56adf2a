//! Peer exchange: which peers came and went, as the body of a transfer frame. Not here: the frames ([`transfer`]) and
//! what is believed (`discovery`).
//!
//! ```text
//! body    = added:u8 entry*added dropped:u8 (length:u8 id)*dropped     integers are big-endian
//! entry   = flags:u8 length:u16 peer:length
//! flags     bit 0  it has the whole file
//!           bit 1  the sender has connected to it
//!           bit 2  it can be reached over TCP
//!           bit 3  over QUIC
//!           bit 7  peer is an announcement signed by it (`announcement`), else:
//! peer    = length:u8 id count:u8 (length:u8 multiaddr)*count
//! ```
//!
//! Unknown flags and what follows the last field are ignored.
//!
//! [`transfer`]: super::transfer

use bytes::{BufMut, Bytes, BytesMut};

use super::reader::{Malformed, Reader};
use crate::base::ids::PeerId;
use crate::base::limits;

const SIGNED: u8 = 1 << 7;

/// What a peer says of another one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// It has the whole file.
    pub seed: bool,
    /// Whoever tells of it has connected to it.
    pub reachable: bool,
    /// It can be reached over TCP.
    pub tcp: bool,
    /// It can be reached over QUIC.
    pub quic: bool,
}

/// Who and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// The bytes of an announcement, which nobody has checked yet.
    Signed(Bytes),
    /// The teller's word.
    Plain {
        /// Who.
        peer: PeerId,
        /// Multiaddrs, at most [`limits::MAX_ADDRESSES_PER_PEER`].
        addresses: Vec<String>,
    },
}

/// One message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exchange {
    /// Peers that came, or changed.
    pub added: Vec<(Flags, Entry)>,
    /// Peers that went.
    pub dropped: Vec<PeerId>,
}

impl Exchange {
    /// Appends the body. What is more or longer than the fields can say is left out.
    pub fn encode(&self, out: &mut BytesMut) {
        let added = &self.added[..self.added.len().min(usize::from(u8::MAX))];
        out.put_u8(added.len() as u8);
        for (flags, entry) in added {
            let mut body = Vec::new();
            let signed = match entry {
                Entry::Signed(bytes) => {
                    body.extend_from_slice(bytes);
                    SIGNED
                }
                Entry::Plain { peer, addresses } => {
                    put_text(&mut body, peer.as_str());
                    let fits = |address: &&String| u8::try_from(address.len()).is_ok();
                    let addresses: Vec<&String> =
                        addresses.iter().filter(fits).take(limits::MAX_ADDRESSES_PER_PEER).collect();
                    body.push(addresses.len() as u8);
                    for address in addresses {
                        put_text(&mut body, address);
                    }
                    0
                }
            };
            out.put_u8(signed | flags.bits());
            out.put_u16(body.len() as u16);
            out.put_slice(&body);
        }
        let dropped = &self.dropped[..self.dropped.len().min(usize::from(u8::MAX))];
        out.put_u8(dropped.len() as u8);
        for peer in dropped {
            let mut body = Vec::new();
            put_text(&mut body, peer.as_str());
            out.put_slice(&body);
        }
    }

    /// Reads a body. At most 255 entries of each kind; how many are too many is the receiver's decision.
    pub fn decode(body: &[u8]) -> Result<Self, Malformed> {
        if body.len() > limits::MAX_CONTROL_FRAME_BYTES {
            return Err(Malformed::TooLarge("peer exchange"));
        }
        let mut reader = Reader::new(body);
        let mut message = Self::default();
        for _ in 0..reader.u8()? {
            let bits = reader.u8()?;
            let length = usize::from(reader.u16()?);
            let bytes = reader.take(length)?;
            let entry = if bits & SIGNED != 0 {
                if bytes.len() > limits::MAX_ANNOUNCEMENT_BYTES {
                    return Err(Malformed::TooLarge("announcement"));
                }
                Entry::Signed(Bytes::copy_from_slice(bytes))
            } else {
                read_plain(bytes)?
            };
            message.added.push((Flags::of(bits), entry));
        }
        for _ in 0..reader.u8()? {
            message.dropped.push(read_id(&mut reader)?);
        }
        Ok(message)
    }
}

impl Flags {
    fn bits(self) -> u8 {
        u8::from(self.seed) | u8::from(self.reachable) << 1 | u8::from(self.tcp) << 2 | u8::from(self.quic) << 3
    }

    fn of(bits: u8) -> Self {
        let bit = |bit: u8| bits & 1 << bit != 0;
        Self { seed: bit(0), reachable: bit(1), tcp: bit(2), quic: bit(3) }
    }
}

fn read_plain(bytes: &[u8]) -> Result<Entry, Malformed> {
    let mut reader = Reader::new(bytes);
    let peer = read_id(&mut reader)?;
    let count = usize::from(reader.u8()?);
    if count > limits::MAX_ADDRESSES_PER_PEER {
        return Err(Malformed::TooLarge("addresses"));
    }
    let mut addresses = Vec::with_capacity(count);
    for _ in 0..count {
        let length = usize::from(reader.u8()?);
        addresses.push(text(reader.take(length)?, "address")?.to_owned());
    }
    Ok(Entry::Plain { peer, addresses })
}

fn read_id(reader: &mut Reader<'_>) -> Result<PeerId, Malformed> {
    let length = usize::from(reader.u8()?);
    if length > limits::MAX_PEX_ID_BYTES {
        return Err(Malformed::TooLarge("peer id"));
    }
    Ok(PeerId::from_text(text(reader.take(length)?, "peer id")?))
}

/// Printable ASCII without spaces: all that peer ids and multiaddrs consist of.
fn text<'a>(bytes: &'a [u8], field: &'static str) -> Result<&'a str, Malformed> {
    let text = std::str::from_utf8(bytes).ok().filter(|text| !text.is_empty());
    text.filter(|text| text.bytes().all(|byte| byte.is_ascii_graphic())).ok_or(Malformed::BadValue(field))
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    let text = &text.as_bytes()[..text.len().min(usize::from(u8::MAX))];
    out.push(text.len() as u8);
    out.extend_from_slice(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Exchange {
        let plain =
            Entry::Plain { peer: PeerId::from_text("12D3"), addresses: vec!["/ip4/192.0.2.1/tcp/1".to_owned()] };
        Exchange {
            added: vec![
                (Flags { seed: true, tcp: true, ..Flags::default() }, plain),
                (Flags { reachable: true, quic: true, ..Flags::default() }, Entry::Signed(Bytes::from_static(b"x"))),
            ],
            dropped: vec![PeerId::from_text("16U")],
        }
    }

    #[test]
    fn the_layout_is_fixed() {
        let mut out = BytesMut::new();
        example().encode(&mut out);
        let expected = [&b"\x02\x05\x00\x1b\x0412D3\x01\x14/ip4/192.0.2.1/tcp/1"[..], b"\x8a\x00\x01x", b"\x01\x0316U"];
        assert_eq!(out, expected.concat());
        assert_eq!(Exchange::decode(&out), Ok(example()));
        // Fields of later versions.
        out.extend_from_slice(b"more");
        assert_eq!(Exchange::decode(&out), Ok(example()));
    }

    #[test]
    fn broken_bodies_are_refused() {
        let mut out = BytesMut::new();
        example().encode(&mut out);
        for length in 0..out.len() {
            assert!(Exchange::decode(&out[..length]).is_err(), "{length} bytes");
        }
        out[5] = b' ';
        assert_eq!(Exchange::decode(&out), Err(Malformed::BadValue("peer id")));
        let long = [&[0, 1, 200][..], &[b'a'; 200]].concat();
        assert_eq!(Exchange::decode(&long), Err(Malformed::TooLarge("peer id")));
        let many = [&[1, 0, 0, 19, 1, b'a', 17][..], &[0; 16], &[0]].concat();
        assert_eq!(Exchange::decode(&many), Err(Malformed::TooLarge("addresses")));
    }
}
