//! Dials that propose TLS without waiting for the answer: the first bytes of the handshake travel with the proposal,
//! which saves a round trip of every TCP connection and circuit. A peer that knows only Noise refuses that, and is
//! dialled again with both proposals; it is remembered, so that this costs it one connection. Not here: the handshakes
//! (`tcp`).

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use futures::future::{BoxFuture, FutureExt};
use libp2p::core::Multiaddr;
use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::{Boxed, DialOpts, ListenerId, Transport, TransportError, TransportEvent};
use libp2p::multiaddr::Protocol;
use libp2p::{PeerId, core};

use super::failure::causes;
use crate::base::limits;

/// A connection that is ready for use.
type Output = (PeerId, StreamMuxerBox);

/// One transport under two stacks of handshakes. Only one of the stacks may listen and be polled.
pub struct Shared<T>(Arc<Mutex<T>>);

impl<T> Shared<T> {
    /// Shares a transport.
    pub fn new(transport: T) -> Self {
        Self(Arc::new(Mutex::new(transport)))
    }

    fn inner(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Transport + Unpin> Transport for Shared<T> {
    type Output = T::Output;
    type Error = T::Error;
    type ListenerUpgrade = T::ListenerUpgrade;
    type Dial = T::Dial;

    fn listen_on(&mut self, id: ListenerId, at: Multiaddr) -> Result<(), TransportError<T::Error>> {
        self.inner().listen_on(id, at)
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.inner().remove_listener(id)
    }

    fn dial(&mut self, to: Multiaddr, options: DialOpts) -> Result<Self::Dial, TransportError<T::Error>> {
        self.inner().dial(to, options)
    }

    fn poll(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<TransportEvent<Self::ListenerUpgrade, Self::Error>> {
        Pin::new(&mut *self.inner()).poll(context)
    }
}

/// The handshake did not come about after an unconfirmed proposal. Marks the errors after which a second dial makes
/// sense.
#[derive(Debug)]
pub struct Unconfirmed(pub io::Error);

impl fmt::Display for Unconfirmed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the proposed handshake did not come about")
    }
}

impl std::error::Error for Unconfirmed {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

/// The two stacks.
pub struct Optimistic {
    /// Only dials, and proposes one handshake.
    quick: Boxed<Output>,
    /// Listens, and proposes all handshakes.
    careful: Boxed<Output>,
    refused: Arc<Refused>,
}

/// Those that refused the quick way, latest last.
#[derive(Debug, Default)]
struct Refused(Mutex<VecDeque<Multiaddr>>);

impl Refused {
    fn list(&self) -> MutexGuard<'_, VecDeque<Multiaddr>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn contains(&self, who: &Multiaddr) -> bool {
        self.list().contains(who)
    }

    fn add(&self, who: Multiaddr) {
        let mut list = self.list();
        if list.len() >= limits::MAX_CAREFUL_PEERS {
            list.pop_front();
        }
        list.push_back(who);
    }
}

/// The peer of an address if it is named, else the address.
fn who(address: &Multiaddr) -> Multiaddr {
    match address.iter().last() {
        Some(peer @ Protocol::P2p(_)) => Multiaddr::from(peer),
        _ => address.clone(),
    }
}

impl Optimistic {
    /// Dials by `quick` and, where that is refused, by `careful`, which also does everything else.
    pub fn new(quick: Boxed<Output>, careful: Boxed<Output>) -> Self {
        Self { quick, careful, refused: Arc::default() }
    }
}

impl Transport for Optimistic {
    type Output = Output;
    type Error = io::Error;
    type ListenerUpgrade = <Boxed<Output> as Transport>::ListenerUpgrade;
    type Dial = BoxFuture<'static, io::Result<Output>>;

    fn listen_on(&mut self, id: ListenerId, at: Multiaddr) -> Result<(), TransportError<io::Error>> {
        self.careful.listen_on(id, at)
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.careful.remove_listener(id)
    }

    fn dial(&mut self, to: Multiaddr, options: DialOpts) -> Result<Self::Dial, TransportError<io::Error>> {
        let who = who(&to);
        // Does nothing before it is awaited.
        let careful = self.careful.dial(to.clone(), options)?;
        // Whoever takes the listener's part proposes nothing.
        if options.role == core::Endpoint::Listener || self.refused.contains(&who) {
            return Ok(careful.boxed());
        }
        let quick = self.quick.dial(to, options)?;
        let refused = Arc::clone(&self.refused);
        Ok(async move {
            let error = match quick.await {
                Ok(connection) => return Ok(connection),
                Err(error) => error,
            };
            if !causes(&error).any(|cause| cause.is::<Unconfirmed>()) {
                return Err(error);
            }
            let connection = careful.await?;
            refused.add(who);
            Ok(connection)
        }
        .boxed())
    }

    fn poll(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<TransportEvent<Self::ListenerUpgrade, io::Error>> {
        Pin::new(&mut self.careful).poll(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_that_refused_are_known_by_name_and_few() {
        let peer = PeerId::random();
        let at = |text: &str| text.parse::<Multiaddr>().expect("valid");
        let named = at("/ip4/192.0.2.1/tcp/1").with(Protocol::P2p(peer));
        assert_eq!(who(&named), at("/ip4/192.0.2.2/tcp/2").with(Protocol::P2p(peer)).iter().skip(2).collect());
        assert_eq!(who(&at("/ip4/192.0.2.1/tcp/1")), at("/ip4/192.0.2.1/tcp/1"));
        let refused = Refused::default();
        for port in 0..2 * limits::MAX_CAREFUL_PEERS {
            refused.add(at(&format!("/ip4/192.0.2.1/tcp/{port}")));
        }
        assert_eq!(refused.list().len(), limits::MAX_CAREFUL_PEERS);
        assert!(!refused.contains(&at("/ip4/192.0.2.1/tcp/0")), "the oldest is forgotten");
    }
}
