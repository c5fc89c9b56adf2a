//! Notices within seconds that a link is dead although nothing says so: a NAT has forgotten it, an address has changed,
//! packets vanish. Not here: what is done about it; the driver closes dead links, `transfer` moves to other ones.
//!
//! `pulse` is what streams tell about their link, `machine` decides when to ask and what to believe, `handler` asks and
//! answers. This behaviour spreads the word: when one link is in doubt or broken, the other links that lead to the same
//! peer and those to relays are asked at once, because what broke one of them (the NAT in front of us) may have broken
//! all.

mod handler;
mod machine;
mod pulse;

use std::collections::{HashSet, VecDeque};
use std::io::ErrorKind;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use libp2p::PeerId;
use libp2p::core::transport::PortUse;
use libp2p::core::{Endpoint, Multiaddr};
use libp2p::multiaddr::Protocol;
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, NotifyHandler, THandler, THandlerInEvent,
    THandlerOutEvent, ToSwarm,
};

use super::failure::is_io;
use super::table::Table;
use super::{Link, address};
use crate::base::limits;

use handler::{Handler, Nudge};
pub use machine::Stage;
pub use pulse::{Expectation, Pulse};

/// How a connection ends when the network, and not the peer, has ended it: the first packet after a router's restart comes
/// from another port, and is answered with a reset.
const BROKEN: [ErrorKind; 4] =
    [ErrorKind::ConnectionReset, ErrorKind::TimedOut, ErrorKind::HostUnreachable, ErrorKind::NetworkUnreachable];

/// What is thought of a connection has changed.
#[derive(Debug)]
pub struct Report {
    /// Which.
    pub connection: ConnectionId,
    /// What. The table knows already.
    pub stage: Stage,
}

/// Watches all connections. Comes after the behaviour that enters them into the table; it refuses none.
pub struct Behaviour {
    table: Arc<Table>,
    queue: VecDeque<ToSwarm<Report, Nudge>>,
    waker: Option<Waker>,
}

impl Behaviour {
    pub fn new(table: Arc<Table>) -> Self {
        Self { table, queue: VecDeque::new(), waker: None }
    }

    /// Has every link looked at: addresses of this machine have come, or gone (`lost`), and with them some links.
    pub fn addresses_changed(&mut self, lost: bool) {
        self.nudge(if lost { Nudge::Doom } else { Nudge::Press }, |_| true);
    }

    fn nudge(&mut self, nudge: Nudge, which: impl Fn(&Link) -> bool) {
        for (connection, peer_id) in self.table.connections(which) {
            let handler = NotifyHandler::One(connection);
            self.queue.push_back(ToSwarm::NotifyHandler { peer_id, handler, event: nudge });
        }
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn enter(&mut self, connection: ConnectionId) -> Handler {
        let link = self.table.link_of(connection);
        // A peer that dials us again has most likely lost the connection it had.
        if let Some(link) = link.as_ref().filter(|link| !link.outbound) {
            let older = |other: &Link| {
                let same = (&other.peer, other.transport, other.relayed) == (&link.peer, link.transport, link.relayed);
                same && !other.outbound && other.id < link.id
            };
            self.nudge(Nudge::Doom, older);
        }
        Handler::new(link.and_then(|link| self.table.pulse(link.id)).unwrap_or_else(Pulse::new))
    }

    /// Asks what may have been broken together with a link. A relay that does not answer at such a moment is given up
    /// quickly, because a new way to it is needed for the circuit that replaces the link.
    fn press_around(&mut self, doubtful: &Link) {
        let relays = self.relays();
        let is_relay = |link: &Link| link.id != doubtful.id && !link.relayed && relays.contains(link.peer.as_str());
        self.nudge(Nudge::Doom, is_relay);
        self.nudge(Nudge::Press, |link| link.id != doubtful.id && link.peer == doubtful.peer && !is_relay(link));
    }

    /// The relays that we hold places at, or reach somebody through.
    fn relays(&self) -> HashSet<String> {
        let circuits = self.table.links().into_iter().filter(|link| link.relayed);
        let circuits = circuits.filter_map(|link| link.address.parse::<Multiaddr>().ok());
        let named = circuits.chain(self.table.listening()).filter(address::is_relayed).filter_map(|address| {
            address.iter().find_map(|part| match part {
                Protocol::P2p(relay) => Some(relay.to_base58()),
                _ => None,
            })
        });
        named.take(limits::MAX_RELAYS + limits::MAX_MEETINGS).collect()
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = Report;

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.enter(connection))
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.enter(connection))
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        if let FromSwarm::ConnectionClosed(closed) = event
            && closed.cause.is_some_and(|cause| BROKEN.iter().any(|kind| is_io(cause, *kind)))
            && let Some(link) = self.table.link_of(closed.connection_id)
        {
            self.press_around(&link);
        }
    }

    fn on_connection_handler_event(&mut self, _: PeerId, connection: ConnectionId, stage: THandlerOutEvent<Self>) {
        self.table.set_stage(connection, stage);
        if stage == Stage::Late
            && let Some(link) = self.table.link_of(connection)
        {
            self.press_around(&link);
        }
        self.queue.push_back(ToSwarm::GenerateEvent(Report { connection, stage }));
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<ToSwarm<Report, THandlerInEvent<Self>>> {
        if let Some(event) = self.queue.pop_front() {
            return Poll::Ready(event);
        }
        self.waker = Some(context.waker().clone());
        Poll::Pending
    }
}
