//! The behaviour that opens streams on a chosen connection and queues inbound ones. Not here: what a stream carries.
//!
//! Each connection has a bounded queue of requests that reaches its handler directly, without a detour through the
//! swarm task. A handler negotiates at most [`limits::OPENING_STREAMS_PER_CONNECTION`] at once; the rest waits in the
//! queue, and the asker's deadline runs meanwhile. Inbound streams go to the queue of their protocol; the surplus is
//! dropped, which the opener sees as a refusal (see `stream`). Why not `libp2p-stream`: it opens on a random
//! connection of the peer, drops surplus streams behind the acceptor's back, and never forgets a closed connection.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};

use libp2p::core::transport::PortUse;
use libp2p::core::upgrade::ReadyUpgrade;
use libp2p::core::{Endpoint, InboundUpgrade, UpgradeInfo};
use libp2p::swarm::handler::{ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound};
use libp2p::swarm::{
    ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm, NetworkBehaviour,
    StreamUpgradeError, SubstreamProtocol, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
};
use libp2p::{Multiaddr, PeerId, StreamProtocol};
use tokio::sync::{mpsc, oneshot};

use super::stream::Stream;
use super::table::{OpenRequest, Table};
use super::{Link, address};
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::limits;

/// The reason given to libp2p for refusing a banned peer.
#[derive(Debug)]
pub struct Banned;

impl std::fmt::Display for Banned {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the peer is banned")
    }
}

impl std::error::Error for Banned {}

/// Enters every connection into the table and gives it a handler. Must be the last behaviour of the swarm: once it
/// has accepted a connection, nobody may deny it.
pub struct Behaviour {
    table: Arc<Table>,
}

impl Behaviour {
    pub fn new(table: Arc<Table>) -> Self {
        Self { table }
    }

    fn accept(
        &self,
        connection: ConnectionId,
        peer: &PeerId,
        remote: &Multiaddr,
        outbound: bool,
    ) -> Result<Handler, ConnectionDenied> {
        if self.table.is_banned(peer) {
            return Err(ConnectionDenied::new(Banned));
        }
        let (opener, requests) = mpsc::channel(limits::OPENING_STREAMS_PER_CONNECTION);
        let link = self.table.add_link(connection, peer, remote, outbound, opener);
        Ok(Handler { link, table: Arc::clone(&self.table), requests, opening: 0 })
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = Infallible;

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        // Of a circuit that somebody opened to us, only our own address tells that it is one.
        let remote = if address::is_relayed(local) { local } else { remote };
        self.accept(connection, &peer, remote, false)
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        remote: &Multiaddr,
        _role: Endpoint,
        _port_use: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.accept(connection, &peer, remote, true)
    }

    // The driver removes links when it reports their end.
    fn on_swarm_event(&mut self, _event: FromSwarm<'_>) {}

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        Poll::Pending
    }
}

/// The streams of one connection.
pub struct Handler {
    link: Link,
    table: Arc<Table>,
    requests: mpsc::Receiver<OpenRequest>,
    opening: usize,
}

/// Who asked for an outbound stream, and for which protocol.
type Asker = (StreamProtocol, oneshot::Sender<Result<Stream>>);

impl ConnectionHandler for Handler {
    type FromBehaviour = Infallible;
    type ToBehaviour = Infallible;
    type InboundProtocol = Accepted;
    type OutboundProtocol = ReadyUpgrade<StreamProtocol>;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = Asker;

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol> {
        SubstreamProtocol::new(Accepted(self.table.protocols()), ()).with_timeout(limits::STREAM_TIMEOUT)
    }

    fn connection_keep_alive(&self) -> bool {
        // Streams keep the connection alive by themselves; a request that nobody has taken yet must do so too.
        !self.requests.is_empty()
    }

    fn poll(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, Self::OutboundOpenInfo, Self::ToBehaviour>> {
        while self.opening < limits::OPENING_STREAMS_PER_CONNECTION {
            let Poll::Ready(Some(OpenRequest { protocol, reply })) = self.requests.poll_recv(context) else { break };
            if reply.is_closed() {
                continue;
            }
            self.opening += 1;
            let upgrade = ReadyUpgrade::new(protocol.clone());
            return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest {
                protocol: SubstreamProtocol::new(upgrade, (protocol, reply)).with_timeout(limits::STREAM_TIMEOUT),
            });
        }
        Poll::Pending
    }

    fn on_behaviour_event(&mut self, event: Self::FromBehaviour) {
        match event {}
    }

    fn on_connection_event(
        &mut self,
        event: ConnectionEvent<'_, Self::InboundProtocol, Self::OutboundProtocol, (), Self::OutboundOpenInfo>,
    ) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound {
                protocol: (protocol, stream), ..
            }) => self.table.deliver(protocol.as_ref(), &self.link, stream),
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol, info: (_, reply) }) => {
                self.opening -= 1;
                // An asker that gave up leaves the stream to be dropped here, unused.
                let _ = reply.send(Ok(Stream::outbound(protocol, self.link.clone(), &self.table)));
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { info: (protocol, reply), error }) => {
                self.opening -= 1;
                let _ = reply.send(Err(self.refusal(&protocol, error)));
            }
            _ => {}
        }
    }
}

impl Handler {
    fn refusal(&self, protocol: &StreamProtocol, error: StreamUpgradeError<Infallible>) -> Error {
        let what = format!("open {protocol} to {} over {}", self.link.peer, self.link.address);
        match error {
            StreamUpgradeError::Timeout => Error::new(ErrorKind::Timeout, what),
            StreamUpgradeError::NegotiationFailed => {
                Error::new(ErrorKind::Protocol, format!("{what}: the peer does not accept this protocol"))
            }
            StreamUpgradeError::Io(cause) => Error::with_source(ErrorKind::ConnectionClosed, what, cause),
            StreamUpgradeError::Apply(never) => match never {},
        }
    }
}

/// The protocols offered to one inbound stream.
pub struct Accepted(Arc<[StreamProtocol]>);

/// Walks the shared list without copying it; libp2p asks for it on every turn of a connection.
pub struct Names(Arc<[StreamProtocol]>, usize);

impl Iterator for Names {
    type Item = StreamProtocol;

    fn next(&mut self) -> Option<StreamProtocol> {
        let name = self.0.get(self.1)?.clone();
        self.1 += 1;
        Some(name)
    }
}

impl UpgradeInfo for Accepted {
    type Info = StreamProtocol;
    type InfoIter = Names;

    fn protocol_info(&self) -> Names {
        Names(Arc::clone(&self.0), 0)
    }
}

impl InboundUpgrade<libp2p::Stream> for Accepted {
    type Output = (StreamProtocol, libp2p::Stream);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_inbound(self, stream: libp2p::Stream, name: StreamProtocol) -> Self::Future {
        ready(Ok((name, stream)))
    }
}
