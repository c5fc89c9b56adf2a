//! Refuses dials that a remote party talked us into: to this machine, our own network, or a cloud's metadata service.
//! libp2p's DCUtR dials whatever addresses the other side names. Not here: our own dials, whose addresses the user or
//! discovery gave, and the table of addresses (`nat::policy`).

use std::collections::{HashSet, VecDeque};
use std::convert::Infallible;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use libp2p::PeerId;
use libp2p::core::transport::PortUse;
use libp2p::core::{Endpoint, Multiaddr};
use libp2p::multiaddr::Protocol;
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
    dummy,
};

use super::address;
use super::table::Table;
use crate::base::limits;
use crate::nat::punch::round::may_probe;

/// The behaviour; it sees every dial before it starts.
pub struct Guard {
    table: Arc<Table>,
    /// Dials that we are about to start ourselves.
    own: HashSet<ConnectionId>,
    /// Relays that our own dials named, and where; the relay protocol dials them for us.
    relays: VecDeque<(PeerId, Multiaddr)>,
}

impl Guard {
    /// Knows by the links of `table` who shares our network.
    pub fn new(table: Arc<Table>) -> Self {
        Self { table, own: HashSet::new(), relays: VecDeque::new() }
    }

    /// The next dial with this id is ours. Called right before it.
    pub fn permit(&mut self, connection: ConnectionId) {
        self.own.insert(connection);
    }

    /// The relay of a circuit address may be dialled at that address. The last [`limits::MAX_ADDRESS_BOOK_PEERS`] are
    /// remembered.
    pub fn permit_relay(&mut self, circuit: &Multiaddr) {
        let Some(relay) = address::relay(circuit).filter(|relay| !self.relays.contains(relay)) else { return };
        if self.relays.len() >= limits::MAX_ADDRESS_BOOK_PEERS {
            self.relays.pop_front();
        }
        self.relays.push_back(relay);
    }

    fn check(&self, peer: Option<PeerId>, addresses: &[Multiaddr]) -> Result<(), Refused> {
        // Only where we named it: a relay may also be a peer that names other addresses.
        let named = |address: &Multiaddr| {
            let bare: Multiaddr = address.iter().filter(|part| !matches!(part, Protocol::P2p(_))).collect();
            self.relays.iter().any(|(relay, at)| Some(relay) == peer.as_ref() && *at == bare)
        };
        let scope = peer.as_ref().map(|peer| self.table.scope(&address::peer_text(peer))).unwrap_or_default();
        let fits = |at: SocketAddr| may_probe(at, scope);
        let allowed = |address: &Multiaddr| named(address) || address::socket(address).is_some_and(fits);
        match addresses.iter().find(|address| !allowed(address)) {
            Some(forbidden) => Err(Refused(forbidden.clone())),
            None => Ok(()),
        }
    }
}

/// The address that a peer must not make us dial.
#[derive(Debug)]
struct Refused(Multiaddr);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a peer named {}, which is not dialled on another's word", self.0)
    }
}

impl std::error::Error for Refused {}

impl NetworkBehaviour for Guard {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = Infallible;

    fn handle_pending_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: Option<PeerId>,
        addresses: &[Multiaddr],
        _: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        if !self.own.remove(&connection)
            && let Err(refused) = self.check(peer, addresses)
        {
            tracing::debug!(?peer, %refused, "dial refused");
            return Err(ConnectionDenied::new(refused));
        }
        Ok(Vec::new())
    }

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

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Infallible, THandlerInEvent<Self>>> {
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;

    fn dial(guard: &mut Guard, connection: usize, peer: PeerId, address: &str) -> bool {
        let connection = ConnectionId::new_unchecked(connection);
        let addresses = [address.parse().expect("valid")];
        guard.handle_pending_outbound_connection(connection, Some(peer), &addresses, Endpoint::Dialer).is_ok()
    }

    #[test]
    fn a_peer_leads_us_to_the_internet_only() {
        let mut guard = Guard::new(Arc::default());
        let peer = PeerId::random();
        for public in ["/ip4/8.8.8.8/tcp/1", "/ip4/8.8.8.8/udp/1/quic-v1", "/ip6/2600::1/tcp/1"] {
            assert!(dial(&mut guard, 1, peer, public), "{public}");
        }
        for forbidden in [
            "/ip4/127.0.0.1/tcp/22",
            "/ip4/192.168.1.1/tcp/80",
            "/ip4/169.254.169.254/tcp/80",
            "/ip4/100.100.100.200/tcp/80",
            "/ip4/8.8.8.8/tcp/0",
            "/ip6/::1/tcp/22",
            "/ip6/fe80::1/udp/1/quic-v1",
            "/ip6/::ffff:10.0.0.1/tcp/80",
            "/dns4/localhost/tcp/22",
        ] {
            assert!(!dial(&mut guard, 1, peer, forbidden), "{forbidden}");
        }
    }

    #[test]
    fn our_own_dials_and_our_relays_may_be_anywhere_once() {
        let mut guard = Guard::new(Arc::default());
        let (peer, relay) = (PeerId::random(), PeerId::random());
        guard.permit(ConnectionId::new_unchecked(7));
        assert!(dial(&mut guard, 7, peer, "/ip4/127.0.0.1/tcp/1"));
        assert!(!dial(&mut guard, 7, peer, "/ip4/127.0.0.1/tcp/1"), "the permission is used up");
        let circuit = format!("/ip4/10.0.0.1/tcp/1/p2p/{relay}/p2p-circuit/p2p/{peer}");
        guard.permit_relay(&circuit.parse().expect("valid"));
        assert!(dial(&mut guard, 8, relay, "/ip4/10.0.0.1/tcp/1"));
        assert!(dial(&mut guard, 8, relay, &format!("/ip4/10.0.0.1/tcp/1/p2p/{relay}")));
        assert!(!dial(&mut guard, 8, relay, "/ip4/10.0.0.2/tcp/1"), "only where we named it");
        assert!(!dial(&mut guard, 8, peer, "/ip4/10.0.0.1/tcp/1"), "only the relay");
    }

    #[test]
    fn who_comes_through_a_relay_in_our_network_may_be_in_it_where_everybody_is() {
        let table = Arc::new(Table::new(true));
        let mut guard = Guard::new(Arc::clone(&table));
        let (near, far) = (PeerId::random(), PeerId::random());
        for (number, peer, relay) in [(1, near, "192.168.1.2"), (2, far, "8.8.8.8")] {
            let circuit = format!("/ip4/{relay}/tcp/1/p2p/{}/p2p-circuit", PeerId::random());
            let (opener, _) = mpsc::channel(1);
            let circuit = circuit.parse().expect("valid");
            table.add_link(ConnectionId::new_unchecked(number), &peer, &circuit, true, opener);
        }
        assert!(dial(&mut guard, 3, near, "/ip4/192.168.1.9/tcp/1"));
        assert!(!dial(&mut guard, 3, near, "/ip4/169.254.169.254/tcp/80"), "never");
        assert!(!dial(&mut guard, 3, near, "/ip4/127.0.0.1/tcp/22"), "the relay is not on this machine");
        assert!(!dial(&mut guard, 3, far, "/ip4/192.168.1.9/tcp/1"));
    }

    /// A relay at home, or on this machine, may serve the world.
    #[test]
    fn a_relay_that_is_near_says_nothing_of_its_users() {
        let table = Arc::new(Table::default());
        let mut guard = Guard::new(Arc::clone(&table));
        for (number, relay) in [(1, "192.168.1.2"), (2, "127.0.0.1")] {
            let peer = PeerId::random();
            let circuit = format!("/ip4/{relay}/tcp/1/p2p/{}/p2p-circuit", PeerId::random());
            let (opener, _) = mpsc::channel(1);
            let circuit = circuit.parse().expect("valid");
            table.add_link(ConnectionId::new_unchecked(number), &peer, &circuit, true, opener);
            for private in ["/ip4/192.168.1.9/tcp/80", "/ip4/127.0.0.1/tcp/22", "/ip4/127.0.0.1/udp/53/quic-v1"] {
                assert!(!dial(&mut guard, 3, peer, private), "{private} by {relay}");
            }
            assert!(dial(&mut guard, 3, peer, "/ip4/8.8.8.8/tcp/1"));
        }
    }
}
