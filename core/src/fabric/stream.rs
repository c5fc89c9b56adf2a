//! A stream as its users see it, and the queue of inbound ones. Not here: how streams are negotiated (`streams`).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

use super::Link;

/// An ordered, reliable, bidirectional byte stream on one link. Dropping it without closing resets it.
///
/// Implements the `futures` I/O traits; `tokio_util::compat` turns it into tokio's.
#[derive(Debug)]
pub struct Stream {
    inner: libp2p::Stream,
    link: Link,
}

impl Stream {
    /// The connection that carries it.
    pub fn link(&self) -> &Link {
        &self.link
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_close(context)
    }
}

/// Inbound streams of one protocol. At most [`INBOUND_STREAMS`](crate::base::limits::INBOUND_STREAMS) wait here; the
/// surplus is refused.
#[derive(Debug)]
pub struct Incoming(mpsc::Receiver<(Link, Stream)>);

impl Incoming {
    /// The next inbound stream and the link it came on; `None` when the fabric has ended. Cancel safe.
    pub async fn next(&mut self) -> Option<(Link, Stream)> {
        self.0.recv().await
    }
}
