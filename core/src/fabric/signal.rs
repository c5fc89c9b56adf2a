//! Signalling over a stream of a relayed link (`/dig/meet/1`): the carrier of `nat`'s messages between two nodes that
//! can talk already, but only through a third one. A message is its length (2 bytes, big endian) and its bytes.
//! Not here: what the messages say (`ladder`, `nat::punch`, `nat::ice`).

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{AsyncReadExt, AsyncWriteExt};

use super::Stream;
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::limits;
use crate::nat::signal::Signal;

/// One end of a signalling stream.
pub struct StreamSignal {
    stream: Stream,
    /// What was read of the next message, so that a cancelled read loses nothing.
    partial: Vec<u8>,
}

impl StreamSignal {
    /// Takes over a stream.
    pub fn new(stream: Stream) -> Self {
        Self { stream, partial: Vec::new() }
    }

    async fn read_more(&mut self, wanted: usize) -> Result<()> {
        let mut buffer = [0; 1024];
        while self.partial.len() < wanted {
            let room = (wanted - self.partial.len()).min(buffer.len());
            let count = self.stream.read(&mut buffer[..room]).await.map_err(broken)?;
            if count == 0 {
                return Err(Error::new(ErrorKind::ConnectionClosed, "signalling: the other side is gone"));
            }
            self.partial.extend_from_slice(&buffer[..count]);
        }
        Ok(())
    }
}

impl Signal for StreamSignal {
    fn send(&mut self, message: Bytes) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            if message.len() > limits::MAX_SIGNAL_BYTES {
                return Err(Error::invalid("message", format_args!("{} bytes are too many", message.len())));
            }
            let length = (message.len() as u16).to_be_bytes();
            self.stream.write_all(&[&length[..], &message].concat()).await.map_err(broken)?;
            self.stream.flush().await.map_err(broken)
        })
    }

    fn receive(&mut self) -> BoxFuture<'_, Result<Bytes>> {
        Box::pin(async move {
            self.read_more(2).await?;
            let length = usize::from(u16::from_be_bytes([self.partial[0], self.partial[1]]));
            if length > limits::MAX_SIGNAL_BYTES {
                return Err(Error::new(ErrorKind::Protocol, format!("signalling: a message of {length} bytes")));
            }
            self.read_more(2 + length).await?;
            let message = Bytes::copy_from_slice(&self.partial[2..]);
            self.partial.clear();
            Ok(message)
        })
    }
}

fn broken(cause: std::io::Error) -> Error {
    Error::with_source(ErrorKind::ConnectionClosed, "signalling: the stream broke", cause)
}
