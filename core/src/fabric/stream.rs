//! A stream as its users see it, and the queue of inbound ones. Not here: how streams are negotiated (`streams`).

use std::io::{self, IoSlice, IoSliceMut};
use std::pin::Pin;
use std::sync::Weak;
use std::task::{Context, Poll};

use futures::{AsyncRead, AsyncWrite};
use libp2p::core::upgrade::NegotiationError;
use tokio::sync::mpsc;

use super::Link;
use super::table::Table;

/// An ordered, reliable, bidirectional byte stream on one link.
///
/// Implements the `futures` I/O traits; `tokio_util::compat` turns it into tokio's. Writes may be buffered until
/// `flush`. Dropping it without `close` tells the peer that nothing more will be read; on TCP it also discards what
/// was not flushed, on QUIC the written bytes still arrive and end like a close, so protocols must not take the end
/// of a stream for the end of a message.
#[derive(Debug)]
pub struct Stream {
    inner: libp2p::Stream,
    link: Link,
    /// Until the first byte arrives, an end of the stream may mean that the peer refused it. Outbound streams only.
    unanswered: bool,
    closed_by_us: bool,
}

impl Stream {
    pub(super) fn outbound(inner: libp2p::Stream, link: Link) -> Self {
        Self { inner, link, unanswered: true, closed_by_us: false }
    }

    pub(super) fn inbound(inner: libp2p::Stream, link: Link) -> Self {
        Self { inner, link, unanswered: false, closed_by_us: false }
    }

    /// The connection that carries it.
    pub fn link(&self) -> &Link {
        &self.link
    }

    /// Turns the two faces of a refusal into one error: the protocol was not accepted, or the stream was accepted
    /// and dropped at once because the queue was full. The muxers report the latter as an end of the stream, as an
    /// orderly close does; the difference is that a refusing peer does not take our bytes either.
    fn explain(&mut self, context: &mut Context<'_>, read: io::Result<usize>) -> io::Result<usize> {
        match read {
            Ok(0) => {
                let stopped = !self.closed_by_us
                    && matches!(Pin::new(&mut self.inner).poll_write(context, &[]), Poll::Ready(Err(_)));
                if stopped {
                    Err(io::Error::new(io::ErrorKind::ConnectionRefused, "the peer refused the stream"))
                } else {
                    Ok(0)
                }
            }
            Ok(length) => {
                self.unanswered = false;
                Ok(length)
            }
            Err(cause) if cause.get_ref().is_some_and(|cause| cause.is::<NegotiationError>()) => {
                Err(io::Error::new(io::ErrorKind::ConnectionRefused, cause))
            }
            Err(cause) => Err(cause),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.inner).poll_read(context, buffer) {
            Poll::Ready(read) if self.unanswered && !buffer.is_empty() => Poll::Ready(self.explain(context, read)),
            other => other,
        }
    }

    fn poll_read_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.inner).poll_read_vectored(context, buffers) {
            Poll::Ready(read) if self.unanswered && buffers.iter().any(|buffer| !buffer.is_empty()) => {
                Poll::Ready(self.explain(context, read))
            }
            other => other,
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(context, parts)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.closed_by_us = true;
        Pin::new(&mut self.inner).poll_close(context)
    }
}

/// Inbound streams of one protocol. At most [`INBOUND_STREAMS`](crate::base::limits::INBOUND_STREAMS) wait here; the
/// surplus is refused. Dropping it ends support for the protocol.
#[derive(Debug)]
pub struct Incoming {
    pub(super) queue: mpsc::Receiver<(Link, Stream)>,
    pub(super) protocol: &'static str,
    pub(super) table: Weak<Table>,
}

impl Incoming {
    /// The next inbound stream and the link it came on; `None` when the fabric has ended. Cancel safe.
    pub async fn next(&mut self) -> Option<(Link, Stream)> {
        self.queue.recv().await
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        // Closed first, so that the table can tell this queue from one that replaced it.
        self.queue.close();
        if let Some(table) = self.table.upgrade() {
            table.retire_protocol(self.protocol);
        }
    }
}
