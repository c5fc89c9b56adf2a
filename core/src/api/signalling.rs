//! Signalling that the program carries itself: the engine's end and the program's end of a channel in memory. The
//! program takes outgoing messages from its end, brings them to the peer by any means, and delivers those of the peer.
//! Not here: what the messages say.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::future::BoxFuture;
use tokio::sync::mpsc;

use crate::base::error::{Error, ErrorKind, Result};
use crate::base::limits;
use crate::nat::signal::Signal;

/// The engine's end; goes into one attempt to connect.
pub struct Signalling {
    outgoing: mpsc::Sender<Bytes>,
    incoming: mpsc::Receiver<Bytes>,
}

/// The program's end. Clones share it.
#[derive(Clone)]
pub struct SignallingEnd {
    outgoing: Arc<tokio::sync::Mutex<mpsc::Receiver<Bytes>>>,
    /// `None` once the program said that the peer is gone.
    incoming: Arc<Mutex<Option<mpsc::Sender<Bytes>>>>,
}

/// Both ends of a new channel. Messages are at most [`limits::MAX_SIGNAL_BYTES`]; [`limits::SIGNAL_QUEUE`] wait in each
/// direction. The program's means must be private and authenticated: who can write to it can be connected to.
pub fn signalling() -> (Signalling, SignallingEnd) {
    let (to_program, outgoing) = mpsc::channel(limits::SIGNAL_QUEUE);
    let (to_engine, incoming) = mpsc::channel(limits::SIGNAL_QUEUE);
    let end = SignallingEnd {
        outgoing: Arc::new(tokio::sync::Mutex::new(outgoing)),
        incoming: Arc::new(Mutex::new(Some(to_engine))),
    };
    (Signalling { outgoing: to_program, incoming }, end)
}

impl Signal for Signalling {
    fn send(&mut self, message: Bytes) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move { self.outgoing.send(message).await.map_err(|_| closed()) })
    }

    fn receive(&mut self) -> BoxFuture<'_, Result<Bytes>> {
        Box::pin(async move { self.incoming.recv().await.ok_or_else(closed) })
    }
}

impl SignallingEnd {
    /// The next message for the peer, `None` when the attempt has ended. Cancel safe.
    pub async fn outgoing(&self) -> Option<Bytes> {
        self.outgoing.lock().await.recv().await
    }

    /// Hands over a message of the peer; waits while [`limits::SIGNAL_QUEUE`] messages wait. `false` when the attempt has
    /// ended or this end was closed. `InvalidArgument` when the message is too long. Cancel safe.
    pub async fn deliver(&self, message: Bytes) -> Result<bool> {
        if message.len() > limits::MAX_SIGNAL_BYTES {
            let problem = format_args!("{} bytes are more than {}", message.len(), limits::MAX_SIGNAL_BYTES);
            return Err(Error::invalid("message", problem));
        }
        let sender = self.incoming.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match sender {
            Some(sender) => Ok(sender.send(message).await.is_ok()),
            None => Ok(false),
        }
    }

    /// Says that nothing more will come from the peer. A second call does nothing.
    pub fn close(&self) {
        *self.incoming.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

fn closed() -> Error {
    Error::new(ErrorKind::ConnectionClosed, "signalling: the other side is gone")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn messages_pass_in_both_directions_until_an_end_closes() {
        let (mut engine, program) = signalling();
        engine.send(Bytes::from_static(b"out")).await.expect("open");
        assert_eq!(program.outgoing().await.expect("sent"), "out");
        assert!(program.deliver(Bytes::from_static(b"in")).await.expect("short"));
        assert_eq!(engine.receive().await.expect("sent"), "in");
        let huge = Bytes::from(vec![0; limits::MAX_SIGNAL_BYTES + 1]);
        assert_eq!(program.deliver(huge).await.expect_err("too long").kind(), ErrorKind::InvalidArgument);
        program.close();
        assert_eq!(engine.receive().await.expect_err("closed").kind(), ErrorKind::ConnectionClosed);
        assert!(!program.deliver(Bytes::new()).await.expect("short"));
        drop(engine);
        assert!(program.outgoing().await.is_none());
    }
}
