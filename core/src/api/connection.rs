//! A message connection between two network managers (`/dig/message/1`): ordered, reliable, both directions.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::io::{ReadHalf, WriteHalf};
use futures::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::base::error::{Error, ErrorKind, Result};
use crate::base::ids::PeerId;
use crate::fabric::{Link, Stream};
use crate::wire::message::{self, MessageFrame};

/// One message: bytes with an optional type name, as in `send(data)` and `send(type, data)` of the original package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Type name, empty for plain data. At most 255 bytes.
    pub kind: String,
    /// Whether `data` is text (valid UTF-8) rather than bytes.
    pub text: bool,
    /// The payload, at most 16 MiB.
    pub data: Bytes,
}

/// A connection to another network manager. Clones share it; it closes when [`close`](Self::close) is called or the
/// last clone is dropped.
#[derive(Clone)]
pub struct Connection {
    inner: Arc<Inner>,
}

struct Inner {
    link: Link,
    reader: Mutex<Reader>,
    writer: Mutex<Option<WriteHalf<Stream>>>,
    closed: CancellationToken,
}

/// What was read of the next message, so that a cancelled receive loses nothing.
struct Reader {
    stream: ReadHalf<Stream>,
    received: BytesMut,
    chunk: Box<[u8]>,
    ended: bool,
}

/// Bytes read from the stream at once.
const READ_BYTES: usize = 16 * 1024;

impl Connection {
    pub(crate) fn new(stream: Stream) -> Self {
        let link = stream.link().clone();
        let (reader, writer) = stream.split();
        let reader =
            Reader { stream: reader, received: BytesMut::new(), chunk: vec![0; READ_BYTES].into(), ended: false };
        Self {
            inner: Arc::new(Inner {
                link,
                reader: Mutex::new(reader),
                writer: Mutex::new(Some(writer)),
                closed: CancellationToken::new(),
            }),
        }
    }

    /// Writes nothing, but makes the other side see the connection: a stream is announced with its first bytes.
    pub(crate) async fn greet(&self) -> Result<()> {
        let mut writer = self.inner.writer.lock().await;
        match writer.as_mut() {
            Some(writer) => writer.flush().await.map_err(broken),
            None => Err(closed()),
        }
    }

    /// The other side.
    pub fn peer(&self) -> &PeerId {
        &self.inner.link.peer
    }

    /// Its address as a multiaddr.
    pub fn address(&self) -> &str {
        &self.inner.link.address
    }

    /// `tcp` or `udp`.
    pub fn connection_type(&self) -> &'static str {
        self.inner.link.connection_type()
    }

    /// Sends a message; resolves when it is handed to the transport. Not cancel safe: a cancelled send may have been
    /// written in part, so the connection is closed by it.
    pub async fn send(&self, message: Message) -> Result<()> {
        let mut out = BytesMut::new();
        MessageFrame { kind: message.kind, text: message.text, data: message.data }
            .encode(&mut out)
            .map_err(|error| Error::invalid("message", error))?;
        let mut slot = self.inner.writer.lock().await;
        // Taken out while it is used: if this future is dropped half way, nobody can write behind a torn message.
        let mut writer = slot.take().ok_or_else(closed)?;
        let written = async {
            writer.write_all(&out).await?;
            writer.flush().await
        };
        let result = tokio::select! {
            result = written => result.map_err(broken),
            () = self.inner.closed.cancelled() => return Err(closed()),
        };
        if result.is_ok() {
            *slot = Some(writer);
        }
        result
    }

    /// The next message, `None` after the other side has closed or [`close`](Self::close) was called. Cancel safe.
    pub async fn receive(&self) -> Result<Option<Message>> {
        let mut reader = tokio::select! {
            biased;
            () = self.inner.closed.cancelled() => return Ok(None),
            reader = self.inner.reader.lock() => reader,
        };
        let reader = &mut *reader;
        loop {
            if let Some(message) = reader.take_message()? {
                return Ok(Some(message));
            }
            if reader.ended {
                return Ok(None);
            }
            let count = tokio::select! {
                biased;
                () = self.inner.closed.cancelled() => return Ok(None),
                count = reader.stream.read(&mut reader.chunk) => count.map_err(broken)?,
            };
            if count == 0 {
                reader.ended = true;
                if !reader.received.is_empty() {
                    return Err(Error::new(ErrorKind::ConnectionClosed, "the connection ended inside a message"));
                }
            }
            reader.received.extend_from_slice(&reader.chunk[..count]);
        }
    }

    /// Closes both directions after what was sent. Idempotent.
    pub async fn close(&self) {
        // Bounded: a peer that does not read must not hold the closing up.
        let closing = async {
            if let Some(mut writer) = self.inner.writer.lock().await.take() {
                let _ = writer.close().await;
            }
        };
        let _ = tokio::time::timeout(crate::base::limits::STOP_TIMEOUT, closing).await;
        self.inner.closed.cancel();
    }
}

impl Reader {
    fn take_message(&mut self) -> Result<Option<Message>> {
        let Some(field) = self.received.first_chunk::<{ message::LENGTH_BYTES }>() else { return Ok(None) };
        let length = message::decode_length(*field).map_err(malformed)?;
        if self.received.len() < message::LENGTH_BYTES + length {
            return Ok(None);
        }
        let mut frame = self.received.split_to(message::LENGTH_BYTES + length).freeze();
        let body = frame.split_off(message::LENGTH_BYTES);
        let MessageFrame { kind, text, data } = MessageFrame::decode(&body).map_err(malformed)?;
        Ok(Some(Message { kind, text, data }))
    }
}

fn closed() -> Error {
    Error::new(ErrorKind::ConnectionClosed, "the connection is closed")
}

fn malformed(error: crate::wire::reader::Malformed) -> Error {
    Error::with_source(ErrorKind::Protocol, "the other side sent something that is not a message", error)
}

fn broken(error: std::io::Error) -> Error {
    Error::with_source(ErrorKind::ConnectionClosed, "the message connection broke", error)
}
