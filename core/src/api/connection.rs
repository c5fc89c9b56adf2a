//! A message connection between two network managers (`/dig/message/1`): ordered, reliable, both directions.

use std::sync::Arc;

use bytes::Bytes;

use crate::base::error::{Error, ErrorKind, Result};
use crate::base::ids::PeerId;

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

struct Inner {}

impl Connection {
    /// The other side.
    pub fn peer(&self) -> &PeerId {
        unimplemented_yet()
    }

    /// Its address as a multiaddr.
    pub fn address(&self) -> &str {
        let _ = &self.inner;
        unimplemented_yet()
    }

    /// `tcp` or `udp`.
    pub fn connection_type(&self) -> &'static str {
        unimplemented_yet()
    }

    /// Sends a message; resolves when it is handed to the transport. Not cancel safe: a cancelled send may still arrive.
    pub async fn send(&self, message: Message) -> Result<()> {
        let _ = message;
        Err(Error::new(ErrorKind::Internal, "not built yet"))
    }

    /// The next message, `None` after the other side has closed. Cancel safe.
    pub async fn receive(&self) -> Result<Option<Message>> {
        Err(Error::new(ErrorKind::Internal, "not built yet"))
    }

    /// Closes both directions after what was sent. Idempotent.
    pub async fn close(&self) {}
}

fn unimplemented_yet() -> ! {
    panic!("not built yet")
}
