//! How two peers that cannot reach each other yet exchange a few small messages: over a relayed link, Gun, or a channel
//! in memory. Not here: the carriers outside this layer, which implement [`Signal`] and hand it down.

use bytes::Bytes;
use futures::future::BoxFuture;
use tokio::sync::mpsc;

use crate::base::error::{Error, ErrorKind, Result};
use crate::base::limits;

/// A message channel to one peer for one attempt to connect. Messages are at most [`limits::MAX_SIGNAL_BYTES`], arrive
/// in order or not at all, and are authenticated and encrypted by the carrier.
pub trait Signal: Send {
    /// Hands one message to the carrier. `ConnectionClosed` when the other side is gone.
    fn send(&mut self, message: Bytes) -> BoxFuture<'_, Result<()>>;

    /// The next message from the peer. `ConnectionClosed` when none will come. Cancel safe.
    fn receive(&mut self) -> BoxFuture<'_, Result<Bytes>>;
}

/// One end of a channel in memory; for tests and for two nodes in one process.
#[derive(Debug)]
pub struct MemorySignal {
    sender: mpsc::Sender<Bytes>,
    receiver: mpsc::Receiver<Bytes>,
}

impl MemorySignal {
    /// Both ends of a new channel.
    pub fn pair() -> (Self, Self) {
        let (to_second, from_first) = mpsc::channel(limits::SIGNAL_QUEUE);
        let (to_first, from_second) = mpsc::channel(limits::SIGNAL_QUEUE);
        (Self { sender: to_second, receiver: from_second }, Self { sender: to_first, receiver: from_first })
    }
}

impl Signal for MemorySignal {
    fn send(&mut self, message: Bytes) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            if message.len() > limits::MAX_SIGNAL_BYTES {
                return Err(Error::invalid("message", format_args!("{} bytes are too many", message.len())));
            }
            self.sender.send(message).await.map_err(|_| closed())
        })
    }

    fn receive(&mut self) -> BoxFuture<'_, Result<Bytes>> {
        Box::pin(async move { self.receiver.recv().await.ok_or_else(closed) })
    }
}

fn closed() -> Error {
    Error::new(ErrorKind::ConnectionClosed, "signalling: the other side is gone")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn messages_arrive_in_order_until_an_end_is_dropped() {
        let (mut here, mut there) = MemorySignal::pair();
        here.send(Bytes::from_static(b"one")).await.expect("open");
        here.send(Bytes::from_static(b"two")).await.expect("open");
        assert_eq!(there.receive().await.expect("sent"), "one");
        assert_eq!(there.receive().await.expect("sent"), "two");
        let huge = Bytes::from(vec![0; limits::MAX_SIGNAL_BYTES + 1]);
        assert_eq!(there.send(huge).await.expect_err("too long").kind(), ErrorKind::InvalidArgument);
        drop(here);
        assert_eq!(there.receive().await.expect_err("gone").kind(), ErrorKind::ConnectionClosed);
    }
}
