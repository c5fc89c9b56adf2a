//! Circuit relay v2: what we grant others as a relay, and which addresses of ours we tell a peer that wants to meet us
//! directly (DCUtR). Not here: the protocols (libp2p's), and when a relay is used (`nat`).
//!
//! A relay of ours forwards between peers that are connected to it; it never dials anyone for somebody else, so it
//! cannot be used to reach addresses behind it.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::task::{Context, Poll, Waker};

use libp2p::core::transport::PortUse;
use libp2p::core::{Endpoint, Multiaddr};
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
    dummy,
};
use libp2p::{PeerId, relay};

use crate::base::limits;

/// What a relay of ours grants. Stock limits (128 KiB and two minutes a circuit) are meant for signalling and would
/// cut every file.
pub fn grants() -> relay::Config {
    relay::Config {
        max_reservations: limits::RELAY_RESERVATIONS,
        max_reservations_per_peer: limits::RELAY_RESERVATIONS_PER_PEER,
        reservation_duration: limits::RELAY_RESERVATION_DURATION,
        max_circuits: limits::RELAY_CIRCUITS,
        max_circuits_per_peer: limits::RELAY_CIRCUITS_PER_PEER,
        max_circuit_duration: limits::RELAY_CIRCUIT_DURATION,
        max_circuit_bytes: limits::RELAY_CIRCUIT_BYTES,
        reservation_rate_limiters: Vec::new(),
        circuit_src_rate_limiters: Vec::new(),
    }
    .reservation_rate_per_peer(limits::RELAY_REQUESTS_PER_PEER, limits::RELAY_REQUEST_INTERVAL)
    .reservation_rate_per_ip(limits::RELAY_REQUESTS_PER_ADDRESS, limits::RELAY_REQUEST_INTERVAL)
    .circuit_src_per_peer(limits::RELAY_REQUESTS_PER_PEER, limits::RELAY_REQUEST_INTERVAL)
    .circuit_src_per_ip(limits::RELAY_REQUESTS_PER_ADDRESS, limits::RELAY_REQUEST_INTERVAL)
}

/// Tells libp2p's DCUtR our addresses as others see them, unchanged. Its own source for them, identify, replaces the
/// port that a NAT chose by the port we listen on, which no NAT of that kind lets anyone through.
#[derive(Default)]
pub struct Candidates {
    queue: VecDeque<Multiaddr>,
    told: VecDeque<Multiaddr>,
    waker: Option<Waker>,
}

impl Candidates {
    /// Adds an address at which we may be reached. Those told last stay known.
    pub fn add(&mut self, address: Multiaddr) {
        if self.told.contains(&address) {
            return;
        }
        if self.told.len() >= limits::DCUTR_CANDIDATES {
            self.told.pop_front();
        }
        self.told.push_back(address.clone());
        self.queue.push_back(address);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl NetworkBehaviour for Candidates {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = Infallible;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(dummy::ConnectionHandler)
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(dummy::ConnectionHandler)
    }

    fn on_swarm_event(&mut self, _: FromSwarm<'_>) {}

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {}
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<ToSwarm<Infallible, THandlerInEvent<Self>>> {
        if let Some(address) = self.queue.pop_front() {
            return Poll::Ready(ToSwarm::NewExternalAddrCandidate(address));
        }
        self.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_candidate_is_told_once_and_the_memory_is_bounded() {
        let mut candidates = Candidates::default();
        let address = |port: usize| format!("/ip4/127.0.0.1/tcp/{port}").parse::<Multiaddr>().expect("valid");
        for port in 1..=limits::DCUTR_CANDIDATES + 5 {
            candidates.add(address(port));
            candidates.add(address(port));
        }
        assert_eq!(candidates.queue.len(), limits::DCUTR_CANDIDATES + 5);
        assert_eq!(candidates.told.len(), limits::DCUTR_CANDIDATES);
        let mut context = Context::from_waker(Waker::noop());
        assert!(
            matches!(candidates.poll(&mut context), Poll::Ready(ToSwarm::NewExternalAddrCandidate(first)) if first == address(1))
        );
    }
}
