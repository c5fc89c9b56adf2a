//! Yamux as a libp2p muxer, like `libp2p-yamux` but with frames as large as our blocks: that crate fixes them at
//! 16 KiB, which costs a task switch, an allocation and an encryption call each. Same bytes on the wire otherwise.
//! Not here: the protocol itself (crate `yamux`), and the receive windows, which grow with the measured round trip.

use std::collections::VecDeque;
use std::future::{Ready, ready};
use std::io;
use std::iter::{Once, once};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use futures::{AsyncRead, AsyncWrite};
use libp2p::core::UpgradeInfo;
use libp2p::core::muxing::{StreamMuxer, StreamMuxerEvent};
use libp2p::core::upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade};
use tokio::time::Sleep;
use yamux::{Connection, ConnectionError, Mode};

use crate::base::limits;

/// Negotiates `/yamux/1.0.0`.
#[derive(Clone, Copy)]
pub struct Yamux;

impl UpgradeInfo for Yamux {
    type Info = &'static str;
    type InfoIter = Once<&'static str>;

    fn protocol_info(&self) -> Self::InfoIter {
        once("/yamux/1.0.0")
    }
}

impl<C: AsyncRead + AsyncWrite + Send + Unpin + 'static> InboundConnectionUpgrade<C> for Yamux {
    type Output = Muxer<C>;
    type Error = io::Error;
    type Future = Ready<io::Result<Muxer<C>>>;

    fn upgrade_inbound(self, socket: C, _: &'static str) -> Self::Future {
        ready(Ok(Muxer::new(socket, Mode::Server)))
    }
}

impl<C: AsyncRead + AsyncWrite + Send + Unpin + 'static> OutboundConnectionUpgrade<C> for Yamux {
    type Output = Muxer<C>;
    type Error = io::Error;
    type Future = Ready<io::Result<Muxer<C>>>;

    fn upgrade_outbound(self, socket: C, _: &'static str) -> Self::Future {
        ready(Ok(Muxer::new(socket, Mode::Client)))
    }
}

/// One multiplexed connection.
pub struct Muxer<C> {
    connection: Connection<C>,
    /// Streams that arrived while only progress was asked for. Bounded by yamux's own backlog of unacknowledged
    /// streams; a peer that exceeds it breaks the protocol, and its surplus is reset.
    arrived: VecDeque<yamux::Stream>,
    waiting: Option<Waker>,
    /// Until when closing may take.
    closing: Option<Pin<Box<Sleep>>>,
}

impl<C: AsyncRead + AsyncWrite + Unpin> Muxer<C> {
    fn new(socket: C, mode: Mode) -> Self {
        let mut config = yamux::Config::default();
        config
            .set_max_num_streams(limits::STREAMS_PER_CONNECTION)
            .set_max_connection_receive_window(Some(limits::YAMUX_CONNECTION_WINDOW_BYTES))
            .set_split_send_size(limits::YAMUX_FRAME_BYTES);
        Self {
            connection: Connection::new(socket, config, mode),
            arrived: VecDeque::new(),
            waiting: None,
            closing: None,
        }
    }

    fn poll_connection(&mut self, context: &mut Context<'_>) -> Poll<io::Result<yamux::Stream>> {
        self.connection.poll_next_inbound(context).map(|next| match next {
            Some(stream) => stream.map_err(into_io),
            None => Err(into_io(ConnectionError::Closed)),
        })
    }
}

fn into_io(error: ConnectionError) -> io::Error {
    match error {
        ConnectionError::Io(cause) => cause,
        ConnectionError::Closed => io::Error::new(io::ErrorKind::ConnectionAborted, error),
        other => io::Error::other(other),
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> StreamMuxer for Muxer<C> {
    type Substream = yamux::Stream;
    type Error = io::Error;

    fn poll_inbound(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<yamux::Stream>> {
        if let Some(stream) = self.arrived.pop_front() {
            return Poll::Ready(Ok(stream));
        }
        let outcome = self.poll_connection(context);
        if outcome.is_pending() {
            self.waiting = Some(context.waker().clone());
        }
        outcome
    }

    fn poll_outbound(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<yamux::Stream>> {
        self.connection.poll_new_outbound(context).map_err(into_io)
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Poll::Ready(closed) = self.connection.poll_close(context) {
            return Poll::Ready(closed.map_err(into_io));
        }
        let deadline = self.closing.get_or_insert_with(|| Box::pin(tokio::time::sleep(limits::CLOSE_TIMEOUT)));
        deadline.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Reading and writing happen only inside yamux's own poll, which may yield a new stream nobody asked for yet.
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<StreamMuxerEvent>> {
        let this = self.get_mut();
        match this.poll_connection(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(stream)) => {
                if this.arrived.len() < limits::NEGOTIATING_STREAMS_PER_CONNECTION {
                    this.arrived.push_back(stream);
                    if let Some(waker) = this.waiting.take() {
                        waker.wake();
                    }
                } else {
                    tracing::debug!("inbound stream reset: the peer ignores the backlog");
                }
                // There may be more to do.
                context.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }
}
