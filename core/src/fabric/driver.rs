//! The swarm task: owns the sockets, carries out commands, reports events, and ends everything in order.
//! Not here: which address to dial (`dial`), streams (`streams`: they bypass this task).

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use futures::StreamExt;
use libp2p::core::ConnectedPoint;
use libp2p::core::transport::{ListenerId, TransportError};
use libp2p::identity::Keypair;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{ConnectionId, SwarmEvent};
use libp2p::{Multiaddr, PeerId, Swarm, identify};
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::failure::{Failure, failure, is_io};
use super::liveness::{self, Stage};
use super::paths::Paths;
use super::swarm::{Behaviour, BehaviourEvent, Tasks, build};
use super::table::Table;
use super::{FabricConfig, FabricEvent, Link, Transport, address, listen};
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::limits;

/// What the handle asks of the task.
#[derive(Debug)]
pub enum Command {
    /// Connect to one address.
    Dial {
        /// Where.
        address: Multiaddr,
        /// Who must answer there.
        peer: Option<PeerId>,
        /// What for.
        kind: DialKind,
        /// Takes the outcome; dropped when the asker no longer wants it.
        reply: oneshot::Sender<Result<Link, Failure>>,
    },
    /// Get a place at a relay.
    Reserve {
        /// The relay's address, ending in `/p2p/<relay>/p2p-circuit`.
        address: Multiaddr,
        /// Takes our address through the relay.
        reply: oneshot::Sender<Result<Multiaddr>>,
    },
    /// Give the places at a relay back.
    Release {
        /// Whose.
        relay: PeerId,
    },
    /// Close all connections to a peer and say when they are closed.
    Close {
        /// Whose.
        peer: PeerId,
        /// Told when none is left.
        reply: oneshot::Sender<()>,
    },
}

/// What a dial is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DialKind {
    /// To be connected. An existing link is given back instead if it has this transport; `None` for any.
    Connect {
        /// The transport.
        reuse: Option<Transport>,
    },
    /// To use a path made elsewhere, in addition to all links there are.
    Adopt {
        /// Whether we speak first.
        controlling: bool,
    },
}

/// One connection attempt and everyone who waits for it. Several downloads that dial one address at once share it:
/// the peer would refuse the surplus connections, and which ones is not ours to know.
struct PendingDial {
    address: Multiaddr,
    peer: Option<PeerId>,
    kind: DialKind,
    replies: Vec<oneshot::Sender<Result<Link, Failure>>>,
}

impl PendingDial {
    fn answer(self, outcome: impl Fn() -> Result<Link, Failure>) {
        for reply in self.replies {
            // Whoever gave up in the meantime does not need the answer.
            let _ = reply.send(outcome());
        }
    }
}

/// A place at a relay, wanted or held.
struct Place {
    /// The relay's address as asked for.
    relay: Multiaddr,
    /// Who waits for it.
    reply: Option<oneshot::Sender<Result<Multiaddr>>>,
}

/// The task's state.
pub struct Driver {
    swarm: Swarm<Behaviour>,
    config: FabricConfig,
    table: Arc<Table>,
    paths: Arc<Paths>,
    events: broadcast::Sender<FabricEvent>,
    /// So that none of the swarm's outlives this one.
    tasks: Tasks,
    dials: HashMap<ConnectionId, PendingDial>,
    closing: Vec<(PeerId, oneshot::Sender<()>)>,
    listeners: HashMap<ListenerId, bool>,
    places: HashMap<ListenerId, Place>,
    bound: Vec<IpAddr>,
    port: u16,
}

impl Driver {
    /// Builds the swarm; nothing is bound yet.
    pub fn new(
        config: FabricConfig,
        key: &Keypair,
        table: Arc<Table>,
        paths: Arc<Paths>,
        events: broadcast::Sender<FabricEvent>,
    ) -> Result<Self> {
        let tasks = Tasks::default();
        let swarm = build(&config, key, &table, &paths, &tasks)?;
        Ok(Self {
            swarm,
            config,
            table,
            paths,
            events,
            tasks,
            dials: HashMap::new(),
            closing: Vec::new(),
            listeners: HashMap::new(),
            places: HashMap::new(),
            bound: Vec::new(),
            port: 0,
        })
    }

    /// Binds everything and waits until the listening addresses are known; gives the port.
    pub async fn listen(&mut self) -> Result<u16> {
        let wanted = listen::addresses(&self.config)?;
        let attempts = if self.config.port == 0 { limits::PORT_ATTEMPTS } else { 1 };
        let mut last = None;
        for _ in 0..attempts {
            let plan = listen::plan(&self.config, &wanted)?;
            match self.open_listeners(&plan) {
                Ok(()) => {
                    plan.warnings.into_iter().for_each(|warning| self.warn(warning));
                    (self.port, self.bound) = (plan.port, plan.addresses);
                    last = None;
                    break;
                }
                // Somebody took the port between the look and the listening.
                Err(error) if error.kind() == ErrorKind::AddressInUse => {
                    self.listeners.drain().for_each(|(id, _)| {
                        self.swarm.remove_listener(id);
                    });
                    last = Some(error);
                }
                Err(error) => return Err(error),
            }
        }
        if let Some(error) = last {
            return Err(error);
        }
        let deadline = Instant::now() + limits::LISTEN_REPORT_TIMEOUT;
        while self.listeners.values().any(|reported| !reported) {
            let Ok(event) = timeout_at(deadline, self.swarm.select_next_some()).await else {
                self.warn("not every listening address was reported; a network interface may be down".to_owned());
                break;
            };
            self.on_event(event);
        }
        Ok(self.port)
    }

    fn open_listeners(&mut self, plan: &listen::Plan) -> Result<()> {
        for ip in &plan.addresses {
            let at = SocketAddr::new(*ip, plan.port);
            let wanted = [(self.config.tcp, address::tcp(at)), (self.config.quic, address::quic(at))];
            for address in wanted.into_iter().filter_map(|(enabled, address)| enabled.then_some(address)) {
                let id = self.swarm.listen_on(address.clone()).map_err(|cause| {
                    let kind = match &cause {
                        TransportError::Other(cause) if is_io(cause, std::io::ErrorKind::AddrInUse) => {
                            ErrorKind::AddressInUse
                        }
                        _ => ErrorKind::Io,
                    };
                    Error::with_source(kind, format!("listen on {address}"), cause)
                })?;
                self.listeners.insert(id, false);
            }
        }
        Ok(())
    }

    /// Works until `stop` is cancelled or all handles are gone, then closes everything.
    pub async fn run(mut self, mut commands: mpsc::Receiver<Command>, stop: CancellationToken) {
        loop {
            tokio::select! {
                command = commands.recv() => match command {
                    Some(command) => self.on_command(command),
                    None => break,
                },
                event = self.swarm.select_next_some() => self.on_event(event),
                () = stop.cancelled() => break,
            }
        }
        drop(commands);
        self.close().await;
    }

    fn on_command(&mut self, command: Command) {
        match command {
            Command::Dial { address, peer, kind, reply } => {
                let same = |dial: &&mut PendingDial| dial.address == address && dial.peer == peer && dial.kind == kind;
                if let Some(dial) = self.dials.values_mut().find(same) {
                    if dial.replies.len() < limits::MAX_DIAL_WAITERS {
                        dial.replies.push(reply);
                    } else {
                        let _ = reply.send(Err(Failure::Other("too many dials wait for this address".into())));
                    }
                    return;
                }
                let options = match peer {
                    Some(peer) => {
                        let options =
                            DialOpts::peer_id(peer).condition(PeerCondition::Always).addresses(vec![address.clone()]);
                        match kind {
                            DialKind::Adopt { controlling: false } => options.override_role().build(),
                            _ => options.build(),
                        }
                    }
                    None => DialOpts::unknown_peer_id().address(address.clone()).build(),
                };
                let connection = options.connection_id();
                let guard = &mut self.swarm.behaviour_mut().guard;
                guard.permit(connection);
                if address::is_relayed(&address) {
                    guard.permit_relay(&address);
                }
                match self.swarm.dial(options) {
                    Ok(()) => {
                        self.dials.insert(connection, PendingDial { address, peer, kind, replies: vec![reply] });
                    }
                    Err(error) => {
                        let _ = reply.send(Err(failure(&error)));
                    }
                }
            }
            Command::Reserve { address, reply } => {
                if self.places.len() >= limits::MAX_RELAYS {
                    let full = format!("a node holds places at no more than {} relays", limits::MAX_RELAYS);
                    let _ = reply.send(Err(Error::new(ErrorKind::LimitReached, full)));
                    return;
                }
                self.swarm.behaviour_mut().guard.permit_relay(&address);
                match self.swarm.listen_on(address.clone()) {
                    Ok(id) => {
                        self.places.insert(id, Place { relay: address, reply: Some(reply) });
                    }
                    Err(cause) => {
                        let context = format!("relay {address}");
                        let _ = reply.send(Err(Error::with_source(ErrorKind::InvalidArgument, context, cause)));
                    }
                }
            }
            Command::Release { relay } => {
                let at = |place: &Place| place.relay.iter().any(|part| part == Protocol::P2p(relay));
                let given_up: Vec<_> = self.places.extract_if(|_, place| at(place)).collect();
                for (id, place) in given_up {
                    self.forget_place(&place);
                    self.swarm.remove_listener(id);
                }
            }
            Command::Close { peer, reply } => {
                let name = address::peer_text(&peer);
                self.table.mark_closing(|link| link.peer == name);
                if self.swarm.disconnect_peer_id(peer).is_ok() {
                    self.closing.push((peer, reply));
                } else {
                    let _ = reply.send(());
                }
            }
        }
    }

    fn on_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                self.on_established(peer_id, connection_id, &endpoint);
            }
            SwarmEvent::ConnectionClosed { peer_id, connection_id, num_established, cause, .. } => {
                let last = num_established == 0;
                if last {
                    for (_, reply) in self.closing.extract_if(.., |(peer, _)| *peer == peer_id) {
                        let _ = reply.send(());
                    }
                }
                if let Some(link) = self.table.remove_link(connection_id) {
                    tracing::debug!(peer = %link.peer, address = %link.address, ?cause, "link down");
                    self.report(FabricEvent::LinkDown(link, last));
                }
            }
            SwarmEvent::OutgoingConnectionError { connection_id, error, .. } => {
                self.table.remove_link(connection_id);
                if let Some(dial) = self.dials.remove(&connection_id) {
                    if let (Failure::NoCircuit(_), Some(peer)) = (failure(&error), dial.peer) {
                        self.table.note_refusal(&dial.address, peer);
                    }
                    dial.answer(|| Err(failure(&error)));
                }
            }
            SwarmEvent::IncomingConnectionError { connection_id, error, send_back_addr, .. } => {
                self.table.remove_link(connection_id);
                tracing::debug!(from = %send_back_addr, %error, "inbound connection failed");
            }
            SwarmEvent::NewListenAddr { listener_id, address } => {
                if let Some(place) = self.places.get_mut(&listener_id) {
                    // The relay may name other addresses of itself than the one that works from here.
                    let first = place.reply.take().map(|reply| (reply, place.relay.clone()));
                    if let Some((reply, relay)) = first {
                        let ours = relay.with(Protocol::P2p(*self.swarm.local_peer_id()));
                        self.table.set_listening(&ours, true);
                        if reply.send(Ok(ours.clone())).is_err() {
                            // Whoever asked for the place has given up.
                            self.table.set_listening(&ours, false);
                            self.places.remove(&listener_id);
                            self.swarm.remove_listener(listener_id);
                            return;
                        }
                    }
                } else {
                    self.listeners.insert(listener_id, true);
                    if self.config.relay_server {
                        // A relay tells its clients the addresses at which it can be reached.
                        self.swarm.add_external_address(address.clone());
                    }
                }
                self.table.set_listening(&address, true);
                self.swarm.behaviour_mut().liveness.addresses_changed(false);
                self.report(FabricEvent::ListenAddress(address.to_string()));
            }
            SwarmEvent::ExpiredListenAddr { address, listener_id } => {
                if self.listeners.contains_key(&listener_id) {
                    self.swarm.behaviour_mut().liveness.addresses_changed(true);
                }
                self.on_expired(&address);
            }
            SwarmEvent::ListenerClosed { listener_id, addresses, reason } => {
                for address in &addresses {
                    self.on_expired(address);
                }
                if let Some(mut place) = self.places.remove(&listener_id) {
                    self.forget_place(&place);
                    let context = format!("relay {}: no place", place.relay);
                    let error = match reason {
                        Ok(()) => Error::new(ErrorKind::PeerUnreachable, context),
                        Err(cause) => Error::with_source(ErrorKind::PeerUnreachable, context, cause),
                    };
                    match place.reply.take() {
                        Some(reply) => drop(reply.send(Err(error))),
                        None => self.warn(error.to_string()),
                    }
                    return;
                }
                // A listener that we closed ourselves is no longer in the map.
                if self.listeners.remove(&listener_id).is_some()
                    && let Err(cause) = reason
                {
                    self.warn(format!("listening on {addresses:?} ended: {cause}"));
                }
            }
            SwarmEvent::ListenerError { error, .. } => self.warn(format!("accepting a connection failed: {error}")),
            SwarmEvent::Behaviour(BehaviourEvent::Liveness(report)) => self.on_liveness(&report),
            SwarmEvent::Behaviour(BehaviourEvent::Identify(identify::Event::Received {
                connection_id, info, ..
            })) => {
                // What a relay sees of us is where a peer can try to meet us; over a third, that one is seen.
                let Some(link) = self.table.link_of(connection_id) else { return };
                if !link.relayed {
                    self.swarm.behaviour_mut().candidates.add(info.observed_addr.clone());
                }
                self.report(FabricEvent::identified(link, info));
            }
            _ => {}
        }
    }

    fn on_liveness(&mut self, report: &liveness::Report) {
        let Some(link) = self.table.link_of(report.connection) else { return };
        tracing::debug!(peer = %link.peer, address = %link.address, stage = ?report.stage, "liveness of a link");
        match report.stage {
            Stage::Fine => self.report(FabricEvent::LinkAlive(link)),
            Stage::Late => {}
            Stage::Suspect => self.report(FabricEvent::LinkSuspect(link)),
            Stage::Dead => {
                // The muxer would not notice a silent peer for minutes.
                self.table.mark_closing_connection(report.connection);
                self.swarm.close_connection(report.connection);
            }
        }
    }

    fn on_established(&mut self, peer: PeerId, connection: ConnectionId, endpoint: &ConnectedPoint) {
        let Some(link) = self.table.link_of(connection) else {
            // Cannot happen; a connection without a link could not be used or closed by anyone.
            self.swarm.close_connection(connection);
            return;
        };
        self.report(FabricEvent::LinkUp(link.clone()));
        let Some(dial) = self.dials.remove(&connection) else { return };
        debug_assert!(endpoint.is_dialer(), "only our own dials are in the map");
        let DialKind::Connect { reuse } = dial.kind else {
            dial.answer(|| Ok(link.clone()));
            return;
        };
        self.table.add_address(peer, dial.address.clone());
        let fits = |other: &Link| {
            other.peer == link.peer
                && other.id != link.id
                // Neither replaces the other: who dials a relay means it, and a direct link is never given up for one.
                && link.relayed == other.relayed
                && reuse.is_none_or(|transport| other.transport == transport)
        };
        let Some(existing) = self.table.best_link(fits) else {
            dial.answer(|| Ok(link.clone()));
            return;
        };
        // The new connection is superfluous. If the other one was dialled by the peer, both are kept: it may be
        // closing its own superfluous one at this moment, and then none would be left.
        if existing.outbound {
            self.table.mark_closing_connection(connection);
            self.swarm.close_connection(connection);
        }
        dial.answer(|| Ok(existing.clone()));
    }

    fn forget_place(&mut self, place: &Place) {
        if place.reply.is_none() {
            self.on_expired(&place.relay.clone().with(Protocol::P2p(*self.swarm.local_peer_id())));
        }
    }

    fn on_expired(&mut self, address: &Multiaddr) {
        self.table.set_listening(address, false);
        self.report(FabricEvent::ListenAddressLost(address.to_string()));
    }

    fn report(&self, event: FabricEvent) {
        // Nobody listening is fine; slow listeners are told what they missed.
        let _ = self.events.send(event);
    }

    fn warn(&self, warning: String) {
        tracing::warn!("{warning}");
        self.report(FabricEvent::Warning(warning));
    }

    /// Closes connections in order, then the rest by force, and waits until the sockets are gone.
    async fn close(mut self) {
        let deadline = Instant::now() + limits::STOP_TIMEOUT;
        self.table.mark_closing(|_| true);
        self.dials.clear();
        self.listeners.drain().for_each(|(id, _)| {
            self.swarm.remove_listener(id);
        });
        let peers: Vec<PeerId> = self.swarm.connected_peers().copied().collect();
        for peer in peers {
            let _ = self.swarm.disconnect_peer_id(peer);
        }
        while self.swarm.network_info().connection_counters().num_established() > 0 {
            match timeout_at(deadline, self.swarm.select_next_some()).await {
                Ok(event) => self.on_event(event),
                Err(_) => break,
            }
        }
        let Self { swarm, config, table, paths, tasks, bound, port, .. } = self;
        drop(swarm);
        paths.clear();
        let _ = timeout_at(deadline, tasks.end()).await;
        table.end();
        // The system may still need a moment for the sockets of TCP.
        while !listen::is_free(&config, &bound, port) && Instant::now() < deadline {
            tokio::time::sleep(limits::PORT_POLL_INTERVAL).await;
        }
    }
}
