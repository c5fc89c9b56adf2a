//! Dials that propose TLS without waiting for the answer: the first bytes of the handshake travel with the proposal,
//! which saves a round trip. A peer that knows only Noise refuses that, and is dialled again with both proposals. Over
//! TCP a second connection from the same port is held up by NATs that still know the first, so there only peers are
//! dialled so that have shown to know TLS; a circuit is dialled so unless its peer has refused. Not here: the handshakes
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

/// What is known of peers' handshakes. Shared by all transports.
#[derive(Debug, Default)]
pub struct Habits {
    /// Those with which TLS came about, latest last.
    proven: Mutex<VecDeque<PeerId>>,
    /// Those that refused it, latest last.
    refused: Mutex<VecDeque<PeerId>>,
}

impl Habits {
    /// TLS came about with this peer.
    pub fn knows_tls(&self, peer: PeerId) {
        // A handshake also fails when the network does.
        list(&self.refused).retain(|known| *known != peer);
        note(&self.proven, peer);
    }

    fn refuses(&self, peer: PeerId) {
        list(&self.proven).retain(|known| *known != peer);
        note(&self.refused, peer);
    }
}

fn list(peers: &Mutex<VecDeque<PeerId>>) -> MutexGuard<'_, VecDeque<PeerId>> {
    peers.lock().unwrap_or_else(PoisonError::into_inner)
}

fn note(peers: &Mutex<VecDeque<PeerId>>, peer: PeerId) {
    let mut list = list(peers);
    if list.contains(&peer) {
        return;
    }
    if list.len() >= limits::MAX_HANDSHAKE_HABITS {
        list.pop_front();
    }
    list.push_back(peer);
}

/// When a dial proposes without waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// To peers that have shown to know TLS.
    Proven,
    /// To all but those that have refused it.
    Unrefused,
}

/// The two stacks.
pub struct Optimistic {
    /// Only dials, and proposes one handshake.
    quick: Boxed<Output>,
    /// Listens, and proposes all handshakes.
    careful: Boxed<Output>,
    trust: Trust,
    habits: Arc<Habits>,
}

impl Optimistic {
    /// Dials by `quick` whom it trusts and, where that is refused, by `careful`, which also does everything else.
    pub fn new(quick: Boxed<Output>, careful: Boxed<Output>, trust: Trust, habits: Arc<Habits>) -> Self {
        Self { quick, careful, trust, habits }
    }

    /// The peer that an address leads to, if it is to be dialled quickly.
    fn trusted(&self, address: &Multiaddr) -> Option<PeerId> {
        let Some(Protocol::P2p(peer)) = address.iter().last() else { return None };
        let trusted = match self.trust {
            Trust::Proven => list(&self.habits.proven).contains(&peer),
            Trust::Unrefused => !list(&self.habits.refused).contains(&peer),
        };
        trusted.then_some(peer)
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
        let trusted = self.trusted(&to);
        // Does nothing before it is awaited.
        let careful = self.careful.dial(to.clone(), options)?;
        // Whoever takes the listener's part proposes nothing.
        let Some(peer) = trusted.filter(|_| options.role == core::Endpoint::Dialer) else {
            return Ok(careful.boxed());
        };
        let quick = self.quick.dial(to, options)?;
        let habits = Arc::clone(&self.habits);
        Ok(async move {
            let error = match quick.await {
                Ok(connection) => return Ok(connection),
                Err(error) => error,
            };
            if !causes(&error).any(<dyn std::error::Error>::is::<Unconfirmed>) {
                return Err(error);
            }
            habits.refuses(peer);
            careful.await
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
    fn habits_are_bounded_and_the_last_word_counts() {
        let habits = Habits::default();
        let peer = PeerId::random();
        habits.knows_tls(peer);
        habits.knows_tls(peer);
        assert_eq!(list(&habits.proven).len(), 1);
        habits.refuses(peer);
        assert!(!list(&habits.proven).contains(&peer) && list(&habits.refused).contains(&peer));
        habits.knows_tls(peer);
        assert!(list(&habits.proven).contains(&peer) && !list(&habits.refused).contains(&peer));
        habits.refuses(peer);
        for _ in 0..2 * limits::MAX_HANDSHAKE_HABITS {
            habits.refuses(PeerId::random());
        }
        assert_eq!(list(&habits.refused).len(), limits::MAX_HANDSHAKE_HABITS);
        assert!(!list(&habits.refused).contains(&peer), "the oldest is forgotten");
    }
}
