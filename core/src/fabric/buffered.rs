//! Large reads and writes beneath TLS, which itself works in records of 16 KiB and would make a system call for each.
//! Not here: encryption. A connection that carries only small messages, or nothing, holds no buffer.

use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::{AsyncRead, AsyncWrite};

use crate::base::limits;

/// The last batch of a connection that is not moving file data: pings, requests.
const SMALL_BYTES: usize = 4096;

/// A socket with a buffer in each direction. Written bytes leave when the buffer is full or on flush.
pub struct Buffered<S> {
    socket: S,
    received: Vec<u8>,
    /// The part of `received` that was read from the socket and not yet taken.
    ready: Range<usize>,
    pending: Vec<u8>,
    /// How much of `pending` has left.
    sent: usize,
}

impl<S> Buffered<S> {
    /// Wraps a socket; allocates nothing yet.
    pub fn new(socket: S) -> Self {
        Self { socket, received: Vec::new(), ready: 0..0, pending: Vec::new(), sent: 0 }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Buffered<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if this.ready.is_empty() {
            if into.len() >= limits::SOCKET_BUFFER_BYTES {
                return Pin::new(&mut this.socket).poll_read(context, into);
            }
            this.received.resize(limits::SOCKET_BUFFER_BYTES, 0);
            match Pin::new(&mut this.socket).poll_read(context, &mut this.received) {
                Poll::Ready(Ok(length)) => this.ready = 0..length,
                other => {
                    if this.ready.end < SMALL_BYTES {
                        this.received = Vec::new();
                    }
                    this.ready = 0..0;
                    return other;
                }
            }
        }
        let length = into.len().min(this.ready.len());
        into[..length].copy_from_slice(&this.received[this.ready.start..this.ready.start + length]);
        this.ready.start += length;
        Poll::Ready(Ok(length))
    }
}

impl<S: AsyncWrite + Unpin> Buffered<S> {
    /// Sends what waits.
    fn poll_drain(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.pending.len() {
            match ready!(Pin::new(&mut self.socket).poll_write(context, &self.pending[self.sent..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                length => self.sent += length,
            }
        }
        self.pending.clear();
        self.sent = 0;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Buffered<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.pending.len() >= limits::SOCKET_BUFFER_BYTES {
            ready!(self.poll_drain(context))?;
        }
        let length = bytes.len().min(limits::SOCKET_BUFFER_BYTES - self.pending.len());
        self.pending.extend_from_slice(&bytes[..length]);
        Poll::Ready(Ok(length))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let waited = self.pending.len();
        ready!(self.poll_drain(context))?;
        if waited < SMALL_BYTES {
            self.pending = Vec::new();
        }
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(context))?;
        Pin::new(&mut self.socket).poll_close(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::{AsyncReadExt, AsyncWriteExt};
    use tokio_util::compat::TokioAsyncReadCompatExt;

    #[tokio::test]
    async fn bytes_pass_in_order_and_wait_for_a_flush() {
        // A pipe much smaller than the buffers, so that every write is cut.
        let (here, there) = tokio::io::duplex(1000);
        let (mut here, mut there) = (Buffered::new(here.compat()), Buffered::new(there.compat()));
        let mut sent: Vec<u8> = (0..3 * limits::SOCKET_BUFFER_BYTES + 17).map(|at| (at % 251) as u8).collect();
        sent.push(b'!');
        let copy = sent[..sent.len() - 1].to_vec();
        let writing = tokio::spawn(async move {
            here.write_all(&copy).await.expect("written");
            here.flush().await.expect("flushed");
            here.write_all(b"!").await.expect("written");
            here.flush().await.expect("flushed");
            assert_eq!(here.pending.capacity(), 0, "a connection with small messages holds no buffer");
            here.close().await.expect("closed");
        });
        let mut received = Vec::new();
        there.read_to_end(&mut received).await.expect("read");
        assert_eq!(received, sent);
        writing.await.expect("no panic");
    }

    #[tokio::test]
    async fn a_closed_socket_is_an_error_of_the_write() {
        let (here, there) = tokio::io::duplex(10);
        drop(there);
        let mut here = Buffered::new(here.compat());
        here.write_all(&[1; 100]).await.expect("still in the buffer");
        assert_eq!(here.flush().await.expect_err("nobody reads").kind(), io::ErrorKind::BrokenPipe);
    }
}
