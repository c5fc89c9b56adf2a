//! A stream as its users see it, and the queue of inbound ones. Not here: how streams are negotiated (`streams`).

use std::io::{self, IoSlice, IoSliceMut};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};

use futures::{AsyncRead, AsyncWrite};
use libp2p::core::upgrade::NegotiationError;
use tokio::sync::mpsc;

use super::Link;
use super::liveness::{Expectation, Pulse};
use super::table::Table;

/// An ordered, reliable, bidirectional byte stream on one link.
///
/// Implements the `futures` I/O traits; `tokio_util::compat` turns it into tokio's. Writes may be buffered until
/// `flush`. Dropping it without `close` tells the peer that nothing more will be read; on TCP it also discards what
/// was not flushed, on QUIC the written bytes still arrive and end like a close, so protocols must not take the end
/// of a stream for the end of a message.
#[derive(Debug)]
pub struct Stream {
    slot: Arc<Slot>,
    link: Link,
    pulse: Arc<Pulse>,
    /// Until the first byte arrives, an end of the stream may mean that the peer refused it. Outbound streams only.
    unanswered: bool,
    closed_by_us: bool,
}

/// Holds libp2p's stream so that the end of the fabric can take it away: a QUIC stream keeps the UDP socket open, and
/// with it the port. The lock is only ever contended at that moment.
#[derive(Debug)]
pub(super) struct Slot(Mutex<Held>);

#[derive(Debug)]
enum Held {
    Stream(libp2p::Stream),
    /// The peer did not agree to the protocol.
    Refused,
    /// The fabric is shut down.
    Ended,
}

impl Slot {
    /// Drops the stream. Its user reads and writes errors from now on.
    pub(super) fn empty(&self) {
        self.replace(Held::Ended);
    }

    fn replace(&self, by: Held) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = by;
    }

    fn with<T>(&self, act: impl FnOnce(Pin<&mut libp2p::Stream>) -> Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        let gone = |kind, text| Poll::Ready(Err(io::Error::new(kind, text)));
        match &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Held::Stream(inner) => act(Pin::new(inner)),
            Held::Refused => gone(io::ErrorKind::ConnectionRefused, "the peer refused the stream"),
            Held::Ended => gone(io::ErrorKind::ConnectionAborted, "the fabric is shut down"),
        }
    }
}

impl Stream {
    pub(super) fn outbound(inner: libp2p::Stream, link: Link, table: &Table) -> Self {
        Self { unanswered: true, ..Self::inbound(inner, link, table) }
    }

    pub(super) fn inbound(inner: libp2p::Stream, link: Link, table: &Table) -> Self {
        let slot = Arc::new(Slot(Mutex::new(Held::Stream(inner))));
        table.add_stream(&slot);
        let pulse = table.pulse(link.id).unwrap_or_else(Pulse::new);
        Self { slot, link, pulse, unanswered: false, closed_by_us: false }
    }

    /// To say whether bytes are owed to us on this stream; nothing is at first.
    pub fn expectation(&self) -> Expectation {
        Expectation::new(Arc::clone(&self.pulse))
    }

    /// Notes what a read says about the link.
    fn heard(&self, read: &Poll<io::Result<usize>>) {
        if matches!(read, Poll::Ready(Ok(length)) if *length > 0) {
            self.pulse.hear();
        }
    }

    /// Notes what a write says about the link.
    fn spoke(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if matches!(written, Poll::Ready(Ok(length)) if length > 0) {
            self.pulse.speak();
        }
        written
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
                    && matches!(self.slot.with(|inner| inner.poll_write(context, &[])), Poll::Ready(Err(_)));
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
            Err(cause) => {
                // What libp2p leaves of a stream whose protocol was not agreed upon panics when it is written to.
                self.slot.replace(Held::Refused);
                let refused = is_negotiation(&cause);
                Err(if refused { io::Error::new(io::ErrorKind::ConnectionRefused, cause) } else { cause })
            }
        }
    }
}

/// Whether the other side does not speak the protocol.
pub(super) fn is_negotiation(error: &io::Error) -> bool {
    error.get_ref().and_then(|inner| inner.downcast_ref::<NegotiationError>()).is_some()
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let read = self.slot.with(|inner| inner.poll_read(context, buffer));
        self.heard(&read);
        match read {
            Poll::Ready(read) if self.unanswered && (read.is_err() || !buffer.is_empty()) => {
                Poll::Ready(self.explain(context, read))
            }
            other => other,
        }
    }

    fn poll_read_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        let read = self.slot.with(|inner| inner.poll_read_vectored(context, buffers));
        self.heard(&read);
        match read {
            Poll::Ready(read)
                if self.unanswered && (read.is_err() || buffers.iter().any(|buffer| !buffer.is_empty())) =>
            {
                Poll::Ready(self.explain(context, read))
            }
            other => other,
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = self.slot.with(|inner| inner.poll_write(context, bytes));
        self.spoke(written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = self.slot.with(|inner| inner.poll_write_vectored(context, parts));
        self.spoke(written)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.slot.with(|inner| inner.poll_flush(context))
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.closed_by_us = true;
        self.slot.with(|inner| inner.poll_close(context))
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
