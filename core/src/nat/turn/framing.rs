//! ChannelData, and how STUN and ChannelData messages follow each other on a stream (RFC 8656 sections 12.4 to 12.6).
//! Not here: what the messages mean.
//!
//! ChannelData on the wire: channel number (2 bytes, 0x4000 to 0x4fff), length of the payload (2), payload. On streams
//! it is padded to a multiple of four; STUN messages always are.

use bytes::{Buf, Bytes, BytesMut};

use crate::base::limits;
use crate::nat::stun::message::HEADER_BYTES;
use crate::wire::reader::{Malformed, Reader};

/// The channel numbers of RFC 8656.
pub const CHANNELS: std::ops::RangeInclusive<u16> = 0x4000..=0x4fff;
/// Bytes before the payload.
pub const CHANNEL_HEADER_BYTES: usize = 4;

/// Writes ChannelData. `TooLarge` above [`limits::MAX_TURN_PAYLOAD_BYTES`].
pub fn encode_channel_data(channel: u16, payload: &[u8], padded: bool) -> Result<Bytes, Malformed> {
    if payload.len() > limits::MAX_TURN_PAYLOAD_BYTES {
        return Err(Malformed::TooLarge("payload"));
    }
    let mut out = Vec::with_capacity(CHANNEL_HEADER_BYTES + payload.len().next_multiple_of(4));
    out.extend(channel.to_be_bytes());
    out.extend((payload.len() as u16).to_be_bytes());
    out.extend(payload);
    if padded {
        out.resize(out.len().next_multiple_of(4), 0);
    }
    Ok(out.into())
}

/// Reads ChannelData: channel and payload. Bytes behind the payload are padding.
pub fn decode_channel_data(bytes: &Bytes) -> Result<(u16, Bytes), Malformed> {
    let mut reader = Reader::new(bytes);
    let channel = reader.u16()?;
    if !CHANNELS.contains(&channel) {
        return Err(Malformed::BadValue("channel number"));
    }
    let length = usize::from(reader.u16()?);
    reader.take(length)?;
    Ok((channel, bytes.slice(CHANNEL_HEADER_BYTES..CHANNEL_HEADER_BYTES + length)))
}

/// Cuts a stream into messages.
#[derive(Debug, Default)]
pub struct Frames {
    buffer: BytesMut,
}

impl Frames {
    /// Where received bytes are appended. At most one read beyond a message: take all messages out before reading on.
    pub fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// The next whole message, without padding. An error means that the stream is no TURN, or out of step.
    pub fn next_frame(&mut self) -> Result<Option<Bytes>, Malformed> {
        let Some(head) = self.buffer.first_chunk::<4>() else { return Ok(None) };
        let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
        let (message, padded) = match head[0] >> 6 {
            0 if length % 4 != 0 => return Err(Malformed::BadValue("message length")),
            0 => (HEADER_BYTES + length, HEADER_BYTES + length),
            1 => {
                let message = CHANNEL_HEADER_BYTES + length;
                (message, message.next_multiple_of(4))
            }
            _ => return Err(Malformed::BadValue("first byte of a message")),
        };
        if self.buffer.len() < padded {
            return Ok(None);
        }
        let frame = self.buffer.split_to(message).freeze();
        self.buffer.advance(padded - message);
        Ok(Some(frame))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nat::stun::message::{Message, Method, TransactionId};

    #[test]
    fn channel_data_has_its_literal_bytes() {
        let bytes = [0x40, 0x01, 0x00, 0x05, b'h', b'e', b'l', b'l', b'o', 0, 0, 0];
        assert_eq!(encode_channel_data(0x4001, b"hello", true).expect("small"), bytes[..]);
        assert_eq!(encode_channel_data(0x4001, b"hello", false).expect("small"), bytes[..9]);
        let expected = (0x4001, Bytes::from_static(b"hello"));
        assert_eq!(decode_channel_data(&Bytes::copy_from_slice(&bytes)).expect("valid"), expected);
        assert!(decode_channel_data(&Bytes::copy_from_slice(&bytes[..8])).is_err());
        assert!(decode_channel_data(&Bytes::from_static(&[0x50, 0, 0, 0])).is_err());
        assert!(encode_channel_data(0x4000, &vec![0; 65_536], false).is_err());
    }

    #[test]
    fn a_stream_is_cut_into_messages_however_it_arrives() {
        let stun = Message::request(Method::BINDING, TransactionId([1; 12])).encode(None, false).expect("small");
        let channel = encode_channel_data(0x4fff, b"abc", true).expect("small");
        let empty = encode_channel_data(0x4000, b"", true).expect("small");
        let stream = [&stun[..], &channel, &empty, &stun].concat();
        for step in 1..stream.len() {
            let (mut frames, mut found) = (Frames::default(), Vec::new());
            for part in stream.chunks(step) {
                frames.buffer().extend_from_slice(part);
                while let Some(frame) = frames.next_frame().expect("valid") {
                    found.push(frame);
                }
            }
            assert_eq!(found, [&stun[..], &channel[..7], &empty[..], &stun[..]], "in steps of {step}");
        }
        for wrong in [[0xff, 0, 0, 0], [0, 1, 0, 3]] {
            let mut frames = Frames::default();
            frames.buffer().extend_from_slice(&wrong);
            assert!(frames.next_frame().is_err());
        }
    }
}
