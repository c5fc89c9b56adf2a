//! `/dig/message/1`: ordered messages between two network managers, both directions on one stream.
//!
//! ```text
//! message = length:u32 flags:u8 kind_length:u8 kind data      length counts everything after itself, big-endian
//!           flag bit 0: data is UTF-8 text; other bits are ignored
//!           kind: UTF-8 name, empty for plain data
//! ```
//!
//! Closing the stream ends the conversation. A message is at most 16 MiB and 257 bytes long.

use bytes::{BufMut, Bytes, BytesMut};

use super::reader::{Malformed, Reader};
use crate::base::limits;

/// Name of the protocol.
pub const PROTOCOL: &str = "/dig/message/1";
/// Bytes of the length field.
pub const LENGTH_BYTES: usize = 4;
/// Longest name of a message type.
pub const MAX_KIND_BYTES: usize = 255;

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageFrame {
    /// Type name, empty for plain data.
    pub kind: String,
    /// The data is text.
    pub text: bool,
    /// The payload.
    pub data: Bytes,
}

impl MessageFrame {
    /// Appends the message with its length. Fails if a part is above its limit, or text is not UTF-8.
    pub fn encode(&self, out: &mut BytesMut) -> Result<(), Malformed> {
        if self.kind.len() > MAX_KIND_BYTES {
            return Err(Malformed::TooLarge("message type"));
        }
        if self.data.len() > limits::MAX_MESSAGE_BYTES {
            return Err(Malformed::TooLarge("message"));
        }
        if self.text && std::str::from_utf8(&self.data).is_err() {
            return Err(Malformed::BadValue("text"));
        }
        out.reserve(LENGTH_BYTES + 2 + self.kind.len() + self.data.len());
        out.put_u32((2 + self.kind.len() + self.data.len()) as u32);
        out.put_u8(u8::from(self.text));
        out.put_u8(self.kind.len() as u8);
        out.put_slice(self.kind.as_bytes());
        out.put_slice(&self.data);
        Ok(())
    }

    /// Reads what follows the length field.
    pub fn decode(body: &Bytes) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body);
        let text = reader.u8()? & 1 != 0;
        let kind_length = usize::from(reader.u8()?);
        let kind = std::str::from_utf8(reader.take(kind_length)?).map_err(|_| Malformed::BadValue("message type"))?;
        if text && std::str::from_utf8(reader.rest()).is_err() {
            return Err(Malformed::BadValue("text"));
        }
        Ok(Self { kind: kind.to_owned(), text, data: body.slice(2 + kind_length..) })
    }
}

/// Checks a length field before anything is allocated.
pub fn decode_length(field: [u8; LENGTH_BYTES]) -> Result<usize, Malformed> {
    let length = u32::from_be_bytes(field) as usize;
    if length > limits::MAX_MESSAGE_BYTES + 2 + MAX_KIND_BYTES {
        return Err(Malformed::TooLarge("message"));
    }
    if length < 2 { Err(Malformed::Truncated) } else { Ok(length) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literal_bytes() {
        let frame = MessageFrame { kind: "hi".into(), text: true, data: Bytes::from_static(b"x") };
        let mut out = BytesMut::new();
        frame.encode(&mut out).expect("within limits");
        assert_eq!(&out[..], b"\0\0\0\x05\x01\x02hix");
        assert_eq!(decode_length(*out.first_chunk().expect("four bytes")), Ok(5));
        assert_eq!(MessageFrame::decode(&out.freeze().slice(4..)), Ok(frame));
    }

    #[test]
    fn bad_bytes_are_refused() {
        assert_eq!(decode_length([0xff; 4]), Err(Malformed::TooLarge("message")));
        assert_eq!(decode_length([0, 0, 0, 1]), Err(Malformed::Truncated));
        for body in [&b""[..], b"\x00", b"\x00\x05ab", b"\x01\x00\xff", b"\x00\x01\xff"] {
            assert!(MessageFrame::decode(&Bytes::from_static(body)).is_err(), "{body:?}");
        }
        let long = MessageFrame { kind: "x".repeat(256), text: false, data: Bytes::new() };
        assert!(long.encode(&mut BytesMut::new()).is_err());
    }
}
