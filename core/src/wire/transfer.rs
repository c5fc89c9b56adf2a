//! `/dig/transfer/1`: one file between a requester (who opened the stream) and a server (who accepted it).
//!
//! ```text
//! frame       = length:u32 type:u8 body            length counts type and body; integers are big-endian
//!
//! requester -> server
//! 0x01 HELLO      version:u8=1 flags:u8 key_kind:u8 key       kind 0: key is a 32-byte SHA-256
//!                                                             kind 1: key is a UTF-8 content id, to the end
//!                                                             flag bit 0: the requester itself serves this file
//! 0x02 GET_STATES first:u32 count:u32                         chaining states at boundaries first..first+count
//! 0x03 REQUEST    offset:u64 length:u32                       at most 128 KiB, inside one piece
//! 0x04 CANCEL     offset:u64 length:u32                       withdraws exactly one REQUEST
//! 0x05 PEERS      who else is known for this file             `pex` has the layout
//! 0x06 OWN        announcement                                where the requester is reached, signed (`announcement`)
//!
//! server -> requester
//! 0x11 INFO       version:u8=1 flags:u8 hash:32 length:u64 piece_length:u32 digest:32 name
//!                                                             flag bit 0: the server has the whole file
//!                                                             name: UTF-8 to the end, may be empty
//! 0x12 STATES     first:u32 states:32*n
//! 0x13 HAVE_BITS  first:u32 bits                              piece `first` is the highest bit of byte 0
//! 0x14 HAVE       piece:u32
//! 0x15 CHOKE      (empty)                                     open requests are dropped, ask again after UNCHOKE
//! 0x16 UNCHOKE    (empty)
//! 0x17 DATA       offset:u64 bytes                            answers exactly one REQUEST
//! 0x18 REJECT     offset:u64 length:u32                       this REQUEST will not be answered
//! 0x19 GONE       reason:u8                                   0 unknown content, 1 changed, 2 stopped sharing, 3 busy
//! 0x1a PEERS      as 0x05
//! 0x1b OWN        as 0x06, of the server
//! ```
//!
//! Exchange: HELLO is answered by INFO (or GONE, then the server closes). A server with the whole file sends no HAVE
//! frames. A server starts choking; UNCHOKE follows when the requester gets a slot. HAVE frames may come at any time, PEERS and OWN
//! from both sides after INFO.
//! Unknown frame types up to the control limit are skipped, trailing bytes of known frames are ignored.
//! `digest` is the SHA-256 over all states of the description, so that equal descriptions are recognised without being
//! sent. Boundary `i` lies before piece `i`; boundaries 0 and `pieces` are never sent (the first is SHA-256's initial
//! value, the last is the file's hash).

use bytes::{BufMut, Bytes, BytesMut};

use super::pex::Exchange;
use super::reader::{Malformed, Reader};
use crate::base::ids::{ContentKey, FileHash};
use crate::base::limits;

/// Name of the protocol.
pub const PROTOCOL: &str = "/dig/transfer/1";
/// Version inside HELLO and INFO.
pub const VERSION: u8 = 1;
/// Bytes before the body: length and type.
pub const HEADER_BYTES: usize = 5;
/// Bytes of a DATA frame before the file bytes: header and offset.
pub const DATA_HEADER_BYTES: usize = HEADER_BYTES + 8;
/// Type byte of DATA, which readers handle before the body is complete.
pub const DATA: u8 = 0x17;

const HELLO: u8 = 0x01;
const GET_STATES: u8 = 0x02;
const REQUEST: u8 = 0x03;
const CANCEL: u8 = 0x04;
const PEERS: u8 = 0x05;
const OWN: u8 = 0x06;
const INFO: u8 = 0x11;
const STATES: u8 = 0x12;
const HAVE_BITS: u8 = 0x13;
const HAVE: u8 = 0x14;
const CHOKE: u8 = 0x15;
const UNCHOKE: u8 = 0x16;
const REJECT: u8 = 0x18;
const GONE: u8 = 0x19;
const SERVER_PEERS: u8 = 0x1a;
const SERVER_OWN: u8 = 0x1b;

/// What a requester sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientFrame {
    /// Names the wanted content; always first.
    Hello {
        /// Hash or content id.
        key: ContentKey,
        /// The requester itself serves pieces of this file.
        serves: bool,
    },
    /// Asks for chaining states at boundaries `first..first + count`.
    GetStates {
        /// First boundary, at least 1.
        first: u32,
        /// How many.
        count: u32,
    },
    /// Asks for bytes inside one piece.
    Request(Span),
    /// Withdraws a request.
    Cancel(Span),
    /// Other peers of this file.
    Peers(Exchange),
    /// A signed announcement of the requester, not checked yet.
    Own(Bytes),
}

/// What a server sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerFrame {
    /// The answer to HELLO.
    Info(Info),
    /// Chaining states.
    States {
        /// Boundary of the first state.
        first: u32,
        /// 32 bytes per state.
        states: Bytes,
    },
    /// Pieces a partial server has.
    HaveBits {
        /// Piece of the first bit.
        first: u32,
        /// One bit per piece, highest bit first.
        bits: Bytes,
    },
    /// One more piece a partial server has.
    Have {
        /// Its index.
        piece: u32,
    },
    /// Requests are not answered from now on.
    Choke,
    /// Requests are answered from now on.
    Unchoke,
    /// File bytes.
    Data {
        /// Position of the first byte in the file.
        offset: u64,
        /// The bytes.
        bytes: Bytes,
    },
    /// A request that will not be answered.
    Reject(Span),
    /// The content is not available here (any more); the stream ends.
    Gone(GoneReason),
    /// Other peers of this file.
    Peers(Exchange),
    /// A signed announcement of the server, not checked yet.
    Own(Bytes),
}

/// A range of bytes in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Span {
    /// Position of the first byte.
    pub offset: u64,
    /// Number of bytes.
    pub length: u32,
}

impl Span {
    /// Position after the last byte.
    pub const fn end(self) -> u64 {
        self.offset + self.length as u64
    }
}

/// What a server says of its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    /// The file's hash (what a content id resolves to).
    pub hash: FileHash,
    /// Size in bytes.
    pub length: u64,
    /// Bytes per piece.
    pub piece_length: u32,
    /// SHA-256 over all states.
    pub digest: [u8; 32],
    /// The server has every piece.
    pub complete: bool,
    /// Suggested file name; not yet sanitised, may be empty.
    pub name: String,
}

/// Why a server cannot give the content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum GoneReason {
    /// Never heard of it.
    Unknown = 0,
    /// The file changed on disk.
    Changed = 1,
    /// Not shared any more.
    Removed = 2,
    /// Too many requesters.
    Busy = 3,
}

impl ClientFrame {
    /// Appends the frame with its header.
    pub fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Hello { key, serves } => frame(out, HELLO, |out| {
                out.put_u8(VERSION);
                out.put_u8(u8::from(*serves));
                match key {
                    ContentKey::Hash(hash) => {
                        out.put_u8(0);
                        out.put_slice(hash.as_bytes());
                    }
                    ContentKey::Id(id) => {
                        out.put_u8(1);
                        out.put_slice(id.as_bytes());
                    }
                }
            }),
            Self::GetStates { first, count } => frame(out, GET_STATES, |out| {
                out.put_u32(*first);
                out.put_u32(*count);
            }),
            Self::Request(span) => frame(out, REQUEST, |out| put_span(out, *span)),
            Self::Cancel(span) => frame(out, CANCEL, |out| put_span(out, *span)),
            Self::Peers(peers) => frame(out, PEERS, |out| peers.encode(out)),
            Self::Own(bytes) => frame(out, OWN, |out| out.put_slice(bytes)),
        }
    }

    /// Reads the body of a frame; `None` for a type of a later version.
    pub fn decode(kind: u8, body: &[u8]) -> Result<Option<Self>, Malformed> {
        let mut reader = Reader::new(body);
        Ok(Some(match kind {
            HELLO => {
                check_version(reader.u8()?)?;
                let serves = reader.u8()? & 1 != 0;
                let key = match reader.u8()? {
                    0 => ContentKey::Hash(FileHash::from_bytes(reader.array()?)),
                    1 => {
                        let id = reader.rest();
                        if id.is_empty() || id.len() > limits::MAX_CONTENT_ID_BYTES {
                            return Err(Malformed::TooLarge("content id"));
                        }
                        let id = std::str::from_utf8(id).map_err(|_| Malformed::BadValue("content id"))?;
                        ContentKey::Id(id.into())
                    }
                    _ => return Err(Malformed::BadValue("key kind")),
                };
                Self::Hello { key, serves }
            }
            GET_STATES => {
                let (first, count) = (reader.u32()?, reader.u32()?);
                if first == 0 || count == 0 {
                    return Err(Malformed::BadValue("state range"));
                }
                if count > limits::MAX_STATES_PER_MESSAGE {
                    return Err(Malformed::TooLarge("state count"));
                }
                Self::GetStates { first, count }
            }
            REQUEST => Self::Request(read_span(&mut reader)?),
            CANCEL => Self::Cancel(read_span(&mut reader)?),
            PEERS => Self::Peers(Exchange::decode(body)?),
            OWN => Self::Own(read_own(body)?),
            _ => return Ok(None),
        }))
    }
}

impl ServerFrame {
    /// Appends the frame with its header.
    pub fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Info(info) => frame(out, INFO, |out| {
                out.put_u8(VERSION);
                out.put_u8(u8::from(info.complete));
                out.put_slice(info.hash.as_bytes());
                out.put_u64(info.length);
                out.put_u32(info.piece_length);
                out.put_slice(&info.digest);
                out.put_slice(info.name.as_bytes());
            }),
            Self::States { first, states } => frame(out, STATES, |out| {
                out.put_u32(*first);
                out.put_slice(states);
            }),
            Self::HaveBits { first, bits } => frame(out, HAVE_BITS, |out| {
                out.put_u32(*first);
                out.put_slice(bits);
            }),
            Self::Have { piece } => frame(out, HAVE, |out| out.put_u32(*piece)),
            Self::Choke => frame(out, CHOKE, |_| {}),
            Self::Unchoke => frame(out, UNCHOKE, |_| {}),
            Self::Data { offset, bytes } => {
                encode_data_header(out, *offset, bytes.len());
                out.put_slice(bytes);
            }
            Self::Reject(span) => frame(out, REJECT, |out| put_span(out, *span)),
            Self::Gone(reason) => frame(out, GONE, |out| out.put_u8(*reason as u8)),
            Self::Peers(peers) => frame(out, SERVER_PEERS, |out| peers.encode(out)),
            Self::Own(bytes) => frame(out, SERVER_OWN, |out| out.put_slice(bytes)),
        }
    }

    /// Reads the body of a frame; `None` for a type of a later version.
    #[expect(clippy::needless_pass_by_value, reason = "the frame is handed over: payloads are slices of it")]
    pub fn decode(kind: u8, body: Bytes) -> Result<Option<Self>, Malformed> {
        let mut reader = Reader::new(&body);
        Ok(Some(match kind {
            INFO => {
                check_version(reader.u8()?)?;
                let complete = reader.u8()? & 1 != 0;
                let hash = FileHash::from_bytes(reader.array()?);
                let length = reader.u64()?;
                let piece_length = reader.u32()?;
                let digest = reader.array()?;
                let name = reader.rest();
                if length > limits::MAX_FILE_BYTES {
                    return Err(Malformed::TooLarge("file length"));
                }
                if piece_length == 0 || piece_length > limits::MAX_PIECE_BYTES || !piece_length.is_multiple_of(64) {
                    return Err(Malformed::BadValue("piece length"));
                }
                if name.len() > limits::MAX_FILE_NAME_BYTES {
                    return Err(Malformed::TooLarge("file name"));
                }
                let name = std::str::from_utf8(name).map_err(|_| Malformed::BadValue("file name"))?.to_owned();
                Self::Info(Info { hash, length, piece_length, digest, complete, name })
            }
            STATES => {
                let first = reader.u32()?;
                let states = body.slice(4..);
                if !states.len().is_multiple_of(32) || first == 0 {
                    return Err(Malformed::BadValue("states"));
                }
                if states.len() / 32 > limits::MAX_STATES_PER_MESSAGE as usize {
                    return Err(Malformed::TooLarge("state count"));
                }
                Self::States { first, states }
            }
            HAVE_BITS => {
                let first = reader.u32()?;
                let bits = body.slice(4..);
                if bits.len() > limits::MAX_HAVE_BITS_PER_MESSAGE as usize / 8 {
                    return Err(Malformed::TooLarge("bitmap"));
                }
                Self::HaveBits { first, bits }
            }
            HAVE => Self::Have { piece: reader.u32()? },
            CHOKE => Self::Choke,
            UNCHOKE => Self::Unchoke,
            DATA => {
                let offset = reader.u64()?;
                let bytes = body.slice(8..);
                if bytes.len() > limits::MAX_BLOCK_BYTES as usize {
                    return Err(Malformed::TooLarge("block"));
                }
                Self::Data { offset, bytes }
            }
            REJECT => Self::Reject(read_span(&mut reader)?),
            GONE => Self::Gone(match reader.u8()? {
                1 => GoneReason::Changed,
                2 => GoneReason::Removed,
                3 => GoneReason::Busy,
                _ => GoneReason::Unknown,
            }),
            SERVER_PEERS => Self::Peers(Exchange::decode(&body)?),
            SERVER_OWN => Self::Own(read_own(&body)?),
            _ => return Ok(None),
        }))
    }
}

/// Splits a frame header into type and body length, refusing bodies above the limits.
pub fn decode_header(header: [u8; HEADER_BYTES]) -> Result<(u8, usize), Malformed> {
    let [a, b, c, d, kind] = header;
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    let body = length.checked_sub(1).ok_or(Malformed::BadValue("frame length"))?;
    let limit = if kind == DATA { limits::MAX_BLOCK_BYTES as usize + 8 } else { limits::MAX_CONTROL_FRAME_BYTES };
    if body > limit {
        return Err(Malformed::TooLarge("frame"));
    }
    Ok((kind, body))
}

/// Appends what stands before the file bytes of a DATA frame, so that the bytes themselves need no copy.
pub fn encode_data_header(out: &mut BytesMut, offset: u64, length: usize) {
    out.put_u32(length as u32 + 9);
    out.put_u8(DATA);
    out.put_u64(offset);
}

fn frame(out: &mut BytesMut, kind: u8, body: impl FnOnce(&mut BytesMut)) {
    let start = out.len();
    out.put_u32(0);
    out.put_u8(kind);
    body(out);
    let length = (out.len() - start - 4) as u32;
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

fn put_span(out: &mut BytesMut, span: Span) {
    out.put_u64(span.offset);
    out.put_u32(span.length);
}

fn read_span(reader: &mut Reader<'_>) -> Result<Span, Malformed> {
    let span = Span { offset: reader.u64()?, length: reader.u32()? };
    if span.length == 0 || span.length > limits::MAX_BLOCK_BYTES {
        return Err(Malformed::TooLarge("block"));
    }
    if span.offset > limits::MAX_FILE_BYTES {
        return Err(Malformed::TooLarge("offset"));
    }
    Ok(span)
}

fn read_own(body: &[u8]) -> Result<Bytes, Malformed> {
    if body.len() > limits::MAX_ANNOUNCEMENT_BYTES {
        return Err(Malformed::TooLarge("announcement"));
    }
    Ok(Bytes::copy_from_slice(body))
}

fn check_version(version: u8) -> Result<(), Malformed> {
    // A later version must be understandable as this one or use another protocol name.
    if version == 0 { Err(Malformed::BadValue("version")) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        use std::fmt::Write;

        bytes.iter().fold(String::new(), |mut text, byte| {
            write!(text, "{byte:02x}").expect("a string takes everything");
            text
        })
    }

    fn split(encoded: &BytesMut) -> (u8, Bytes) {
        let header = encoded[..HEADER_BYTES].try_into().expect("five bytes");
        let (kind, length) = decode_header(header).expect("valid header");
        assert_eq!(length + HEADER_BYTES, encoded.len());
        (kind, Bytes::copy_from_slice(&encoded[HEADER_BYTES..]))
    }

    #[test]
    fn literal_bytes() {
        let cases: [(ClientFrame, &str); 6] = [
            (ClientFrame::Hello { key: ContentKey::Id("ab".into()), serves: true }, "000000060101010161 62"),
            (ClientFrame::GetStates { first: 1, count: 2 }, "00000009020000000100000002"),
            (ClientFrame::Request(Span { offset: 3, length: 4 }), "0000000d03000000000000000300000004"),
            (ClientFrame::Cancel(Span { offset: 3, length: 4 }), "0000000d04000000000000000300000004"),
            (ClientFrame::Peers(Exchange::default()), "00000003050000"),
            (ClientFrame::Own(Bytes::from_static(b"x")), "000000020678"),
        ];
        for (frame, expected) in cases {
            let mut out = BytesMut::new();
            frame.encode(&mut out);
            assert_eq!(hex(&out), expected.replace(' ', ""));
            let (kind, body) = split(&out);
            assert_eq!(ClientFrame::decode(kind, &body), Ok(Some(frame)));
        }
        let cases: [(ServerFrame, &str); 8] = [
            (ServerFrame::Have { piece: 7 }, "000000051400000007"),
            (ServerFrame::Choke, "0000000115"),
            (ServerFrame::Unchoke, "0000000116"),
            (ServerFrame::Data { offset: 1, bytes: Bytes::from_static(b"x") }, "0000000a17000000000000000178"),
            (ServerFrame::Reject(Span { offset: 0, length: 1 }), "0000000d18000000000000000000000001"),
            (ServerFrame::Gone(GoneReason::Busy), "000000021903"),
            (ServerFrame::Peers(Exchange::default()), "000000031a0000"),
            (ServerFrame::Own(Bytes::from_static(b"x")), "000000021b78"),
        ];
        for (frame, expected) in cases {
            let mut out = BytesMut::new();
            frame.encode(&mut out);
            assert_eq!(hex(&out), expected);
            let (kind, body) = split(&out);
            assert_eq!(ServerFrame::decode(kind, body), Ok(Some(frame)));
        }
    }

    #[test]
    fn info_round_trips_and_ignores_nothing_it_needs() {
        let info = Info {
            hash: FileHash::of(b"x"),
            length: 1 << 40,
            piece_length: 1 << 20,
            digest: [7; 32],
            complete: true,
            name: "ä.bin".into(),
        };
        let mut out = BytesMut::new();
        ServerFrame::Info(info.clone()).encode(&mut out);
        let (kind, body) = split(&out);
        assert_eq!(ServerFrame::decode(kind, body.clone()), Ok(Some(ServerFrame::Info(info))));
        for cut in 0..78 {
            assert!(ServerFrame::decode(kind, body.slice(..cut)).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn limits_are_checked_before_allocation() {
        assert!(decode_header([0, 0, 0, 0, HELLO]).is_err());
        assert!(decode_header([0xff, 0xff, 0xff, 0xff, HELLO]).is_err());
        assert!(decode_header([0, 2, 0, 10, DATA]).is_err());
        assert!(decode_header([0, 2, 0, 9, DATA]).is_ok());
        let too_long = [0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1];
        assert!(ClientFrame::decode(REQUEST, &too_long).is_err());
        assert_eq!(ClientFrame::decode(0x7f, b"anything"), Ok(None));
    }
}
