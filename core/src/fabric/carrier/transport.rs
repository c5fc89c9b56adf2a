//! Links over passages: libp2p's transport of streams that are connected already, secured and multiplexed like TCP; the
//! relay sees only ciphertext. Not here: how the bytes pass (`passage`).

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::{BoxFuture, FutureExt, Pending};
use libp2p::core::Multiaddr;
use libp2p::core::transport::{DialOpts, ListenerId, Transport, TransportError, TransportEvent};
use tokio::io::DuplexStream;
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt};

use crate::fabric::address;
use crate::fabric::paths::{self, Path, Paths};

/// Takes the streams that wait in [`Paths`].
pub fn passages(paths: Arc<Paths>) -> Passages {
    Passages { paths }
}

/// The transport.
pub struct Passages {
    paths: Arc<Paths>,
}

impl Transport for Passages {
    type Output = Compat<DuplexStream>;
    type Error = io::Error;
    type ListenerUpgrade = Pending<io::Result<Self::Output>>;
    type Dial = BoxFuture<'static, io::Result<Self::Output>>;

    fn listen_on(&mut self, _: ListenerId, at: Multiaddr) -> Result<(), TransportError<io::Error>> {
        Err(TransportError::MultiaddrNotSupported(at))
    }

    fn remove_listener(&mut self, _: ListenerId) -> bool {
        false
    }

    fn dial(&mut self, to: Multiaddr, _: DialOpts) -> Result<Self::Dial, TransportError<io::Error>> {
        let (plain, ticket) = paths::ticket(&to);
        let Some(ticket) = ticket.filter(|_| address::is_gun(&plain)) else {
            return Err(TransportError::MultiaddrNotSupported(to));
        };
        let paths = Arc::clone(&self.paths);
        Ok(async move {
            match paths.take(ticket) {
                Some(Path::Gun(stream)) => Ok(stream.compat()),
                _ => Err(io::Error::new(io::ErrorKind::NotFound, "the path is gone")),
            }
        }
        .boxed())
    }

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<TransportEvent<Self::ListenerUpgrade, io::Error>> {
        Poll::Pending
    }
}
