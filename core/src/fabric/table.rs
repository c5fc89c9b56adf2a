//! What the handle, the swarm task and the connection handlers share: links, protocols, known addresses, bans.
//! Plain maps behind short locks that are never held across an await. Not here: anything that waits.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use std::time::Duration;

use libp2p::swarm::ConnectionId;
use libp2p::{Multiaddr, StreamProtocol};
use tokio::sync::{mpsc, oneshot};

use super::liveness::{Pulse, Stage};
use super::recent::Recent;
use super::refusals::Refusals;
use super::stream::{Slot, Stream};
use super::{Link, Transport, address, paths};
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::ids::PeerId;
use crate::base::limits;
use crate::nat::policy::Scope;
use crate::net::clock::Clock;

/// Asks a connection's handler to open a stream.
pub struct OpenRequest {
    pub protocol: StreamProtocol,
    pub reply: oneshot::Sender<Result<Stream>>,
}

/// One established connection.
struct Entry {
    link: Link,
    connection: ConnectionId,
    opener: mpsc::Sender<OpenRequest>,
    near: bool,
    /// Being closed on purpose: not offered to anyone any more.
    closing: bool,
    pulse: Arc<Pulse>,
    /// Whether it seems to work.
    stage: Stage,
}

#[derive(Default)]
struct Links {
    next_id: u64,
    by_id: BTreeMap<u64, Entry>,
    by_connection: HashMap<ConnectionId, u64>,
}

struct Queue {
    sender: mpsc::Sender<(Link, Stream)>,
    /// The receiving end until somebody takes it.
    parked: Option<mpsc::Receiver<(Link, Stream)>>,
}

#[derive(Default)]
struct Protocols {
    queues: HashMap<&'static str, Queue>,
    /// The names, ready to be handed to each negotiation without allocating.
    names: Arc<[StreamProtocol]>,
    ended: bool,
}

/// The shared state of one fabric.
#[derive(Default)]
pub struct Table {
    links: Mutex<Links>,
    protocols: RwLock<Protocols>,
    book: Mutex<Recent<libp2p::PeerId, Vec<Multiaddr>>>,
    banned: Mutex<Recent<libp2p::PeerId, ()>>,
    listening: Mutex<Vec<Multiaddr>>,
    refusals: Mutex<Refusals>,
    clock: Clock,
    /// Ends of paths made elsewhere over which a third carries the datagrams.
    relayed: Mutex<Recent<SocketAddr, ()>>,
    streams: Mutex<Streams>,
    /// Whether a relay that is near means that its users are.
    local_only: bool,
}

/// Every stream that was handed out and not yet dropped.
#[derive(Default)]
struct Streams {
    slots: Vec<Weak<Slot>>,
    /// Dropped ones are swept out when the list has grown to this.
    sweep_at: usize,
    ended: bool,
}

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Table").finish_non_exhaustive()
    }
}

/// A panic while a lock is held leaves the maps usable: every change to them is one step.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

// --- links ---

impl Table {
    /// An empty one. With `local_only`, everybody is in our own network.
    pub fn new(local_only: bool) -> Self {
        Self { local_only, ..Self::default() }
    }

    /// How near a peer may be, by the relays that lead to it: anywhere, unless everybody is near.
    pub fn scope(&self, peer: &PeerId) -> Scope {
        if !self.local_only {
            return Scope::Internet;
        }
        let links = locked(&self.links);
        let led = links.by_id.values().filter(|entry| !entry.closing && entry.link.peer == *peer);
        address::scope_of(led.map(|entry| entry.link.address.as_str()))
    }

    /// Enters a connection that has just been authenticated.
    pub fn add_link(
        &self,
        connection: ConnectionId,
        peer: &libp2p::PeerId,
        remote: &Multiaddr,
        outbound: bool,
        opener: mpsc::Sender<OpenRequest>,
    ) -> Link {
        let (mut remote, _) = paths::ticket(remote);
        // An address that was dialled for a known peer ends in that peer's id, which the link carries anyway.
        if matches!(remote.iter().last(), Some(libp2p::multiaddr::Protocol::P2p(_))) {
            remote.pop();
        }
        locked(&self.refusals).heard(peer);
        let mut links = locked(&self.links);
        links.next_id += 1;
        let link = Link {
            id: links.next_id,
            peer: address::peer_text(peer),
            address: remote.to_string(),
            transport: address::transport(&remote),
            relayed: address::is_relayed(&remote) || address::is_gun(&remote) || self.is_carried(&remote),
            outbound,
        };
        // What a third carries is as slow as its way, wherever our end of it is.
        let near = !link.relayed && address::is_near(&remote);
        links.by_connection.insert(connection, link.id);
        let (pulse, stage) = (Pulse::new(), Stage::Fine);
        let entry = Entry { link: link.clone(), connection, opener, near, closing: false, pulse, stage };
        links.by_id.insert(link.id, entry);
        link
    }

    /// What is at this end of a path comes through a third, though its address does not show it.
    pub fn mark_relayed(&self, remote: SocketAddr) {
        locked(&self.relayed).entry(remote, limits::MAX_RELAYED_PATHS);
    }

    fn is_carried(&self, remote: &Multiaddr) -> bool {
        address::quic_socket(remote).is_some_and(|remote| locked(&self.relayed).get(&remote).is_some())
    }

    /// Forgets a connection that ended.
    pub fn remove_link(&self, connection: ConnectionId) -> Option<Link> {
        let mut links = locked(&self.links);
        let id = links.by_connection.remove(&connection)?;
        links.by_id.remove(&id).map(|entry| entry.link)
    }

    /// The link of a connection, whether it is being closed or not.
    pub fn link_of(&self, connection: ConnectionId) -> Option<Link> {
        let links = locked(&self.links);
        links.by_connection.get(&connection).and_then(|id| links.by_id.get(id)).map(|entry| entry.link.clone())
    }

    /// Marks connections that are about to be closed on purpose.
    pub fn mark_closing(&self, which: impl Fn(&Link) -> bool) {
        locked(&self.links)
            .by_id
            .values_mut()
            .filter(|entry| which(&entry.link))
            .for_each(|entry| entry.closing = true);
    }

    /// Marks one connection that is about to be closed on purpose.
    pub fn mark_closing_connection(&self, connection: ConnectionId) {
        let mut links = locked(&self.links);
        if let Some(entry) = links.by_id.values_mut().find(|entry| entry.connection == connection) {
            entry.closing = true;
        }
    }

    /// All usable links, oldest first.
    pub fn links(&self) -> Vec<Link> {
        locked(&self.links).by_id.values().filter(|entry| !entry.closing).map(|entry| entry.link.clone()).collect()
    }

    /// Notes what is thought of a connection.
    pub fn set_stage(&self, connection: ConnectionId, stage: Stage) {
        let mut links = locked(&self.links);
        if let Some(entry) = links.by_id.values_mut().find(|entry| entry.connection == connection) {
            entry.stage = stage;
        }
    }

    /// What is thought of a link; one that has ended is dead.
    pub fn stage(&self, link: u64) -> Stage {
        locked(&self.links).by_id.get(&link).filter(|entry| !entry.closing).map_or(Stage::Dead, |entry| entry.stage)
    }

    /// What the streams of a link tell of it.
    pub fn pulse(&self, link: u64) -> Option<Arc<Pulse>> {
        locked(&self.links).by_id.get(&link).map(|entry| Arc::clone(&entry.pulse))
    }

    /// The connections of all links that fit, and their peers.
    pub fn connections(&self, fits: impl Fn(&Link) -> bool) -> Vec<(ConnectionId, libp2p::PeerId)> {
        let links = locked(&self.links);
        let fitting = links.by_id.values().filter(|entry| !entry.closing && fits(&entry.link));
        fitting.filter_map(|entry| Some((entry.connection, address::peer_id(&entry.link.peer).ok()?))).collect()
    }

    /// The best usable link among those that fit and are not suspect: direct before relayed, Gun last; on paths inside one site
    /// TCP before QUIC, because there nothing is lost and TCP costs less; then the oldest, so that everyone agrees on
    /// one.
    pub fn best_link(&self, fits: impl Fn(&Link) -> bool) -> Option<Link> {
        let links = locked(&self.links);
        let usable =
            links.by_id.values().filter(|entry| !entry.closing && entry.stage < Stage::Suspect && fits(&entry.link));
        usable
            .min_by_key(|entry| {
                let slower = entry.near && entry.link.transport == Transport::Quic;
                (entry.link.relayed, entry.link.is_gun(), slower, entry.link.id)
            })
            .map(|entry| entry.link.clone())
    }

    /// Where to ask for streams on a link.
    pub fn opener(&self, link: u64) -> Option<mpsc::Sender<OpenRequest>> {
        locked(&self.links).by_id.get(&link).filter(|entry| !entry.closing).map(|entry| entry.opener.clone())
    }
}

// --- protocols ---

impl Table {
    /// Adds a protocol; with `take`, hands out its receiver.
    pub fn add_protocol(&self, name: &'static str, take: bool) -> Result<Option<mpsc::Receiver<(Link, Stream)>>> {
        if !name.starts_with('/') {
            return Err(Error::invalid("protocol", format_args!("{name:?} does not begin with '/'")));
        }
        let mut protocols = self.protocols.write().unwrap_or_else(PoisonError::into_inner);
        if protocols.ended {
            return Err(Error::new(ErrorKind::InvalidState, "the fabric is shut down"));
        }
        if let Some(queue) = protocols.queues.get_mut(name).filter(|queue| !queue.sender.is_closed()) {
            return match queue.parked.take() {
                Some(receiver) if take => Ok(Some(receiver)),
                parked => {
                    queue.parked = parked;
                    Err(Error::new(ErrorKind::InvalidState, format!("streams of {name} are already being accepted")))
                }
            };
        }
        if protocols.queues.len() >= limits::MAX_PROTOCOLS {
            return Err(Error::new(ErrorKind::LimitReached, format!("at most {} protocols", limits::MAX_PROTOCOLS)));
        }
        let (sender, receiver) = mpsc::channel(limits::INBOUND_STREAMS);
        let (parked, taken) = if take { (None, Some(receiver)) } else { (Some(receiver), None) };
        protocols.queues.insert(name, Queue { sender, parked });
        protocols.rename();
        Ok(taken)
    }

    /// Removes a protocol whose receiver is gone.
    pub fn retire_protocol(&self, name: &'static str) {
        let mut protocols = self.protocols.write().unwrap_or_else(PoisonError::into_inner);
        if protocols.queues.get(name).is_some_and(|queue| queue.sender.is_closed()) {
            protocols.queues.remove(name);
            protocols.rename();
        }
    }

    /// The protocols accepted now.
    pub fn protocols(&self) -> Arc<[StreamProtocol]> {
        Arc::clone(&self.protocols.read().unwrap_or_else(PoisonError::into_inner).names)
    }

    /// Queues an inbound stream. When there is no room, the stream is dropped, which the opener sees as a refusal.
    pub fn deliver(&self, protocol: &str, link: &Link, stream: libp2p::Stream) {
        let protocols = self.protocols.read().unwrap_or_else(PoisonError::into_inner);
        let Some(queue) = protocols.queues.get(protocol) else {
            tracing::debug!(protocol, peer = %link.peer, "inbound stream refused: protocol retired");
            return;
        };
        if queue.sender.try_send((link.clone(), Stream::inbound(stream, link.clone(), self))).is_err() {
            tracing::debug!(protocol, peer = %link.peer, "inbound stream refused: queue full");
        }
    }

    /// Remembers a stream until it is dropped.
    pub fn add_stream(&self, slot: &Arc<Slot>) {
        let mut streams = locked(&self.streams);
        if streams.ended {
            slot.empty();
            return;
        }
        if streams.slots.len() >= streams.sweep_at {
            streams.slots.retain(|slot| slot.strong_count() > 0);
            // Twice what lives, so that sweeping costs a constant per stream.
            streams.sweep_at = (2 * streams.slots.len()).max(limits::INBOUND_STREAMS);
        }
        streams.slots.push(Arc::downgrade(slot));
    }

    /// Takes all streams from their users and ends all queues and links, so that their readers see the end.
    pub fn end(&self) {
        let mut protocols = self.protocols.write().unwrap_or_else(PoisonError::into_inner);
        protocols.ended = true;
        protocols.queues.clear();
        protocols.rename();
        drop(protocols);
        *locked(&self.links) = Links::default();
        let mut streams = locked(&self.streams);
        streams.ended = true;
        streams.slots.drain(..).filter_map(|slot| slot.upgrade()).for_each(|slot| slot.empty());
        drop(streams);
        locked(&self.listening).clear();
    }
}

impl Protocols {
    fn rename(&mut self) {
        self.names = self.queues.keys().map(|name| StreamProtocol::new(name)).collect();
    }
}

// --- addresses and bans ---

impl Table {
    /// Remembers an address of a peer; the newest come first.
    pub fn add_address(&self, peer: libp2p::PeerId, address: Multiaddr) {
        let mut book = locked(&self.book);
        let known = book.entry(peer, limits::MAX_ADDRESS_BOOK_PEERS);
        known.retain(|old| *old != address);
        known.insert(0, address);
        known.truncate(limits::MAX_ADDRESSES_PER_PEER);
    }

    /// The addresses known of a peer, best first.
    pub fn addresses_of(&self, peer: &libp2p::PeerId) -> Vec<Multiaddr> {
        locked(&self.book).get(peer).cloned().unwrap_or_default()
    }

    /// A relay said that it cannot lead to the peer.
    pub fn note_refusal(&self, circuit: &Multiaddr, peer: libp2p::PeerId) {
        if let Some((relay, _)) = address::relay(circuit) {
            locked(&self.refusals).refused(self.clock.now(), relay, peer);
        }
    }

    /// How long the relay of a circuit is not to be asked for the peer.
    pub fn refusal_pause(&self, circuit: &Multiaddr, peer: &libp2p::PeerId) -> Option<Duration> {
        let (relay, _) = address::relay(circuit)?;
        locked(&self.refusals).pause(self.clock.now(), &relay, peer)
    }

    /// Whether all known addresses of a peer are circuits of relays that lately refused it.
    pub fn is_refused(&self, peer: &libp2p::PeerId) -> bool {
        let known = self.addresses_of(peer);
        let (now, refusals) = (self.clock.now(), locked(&self.refusals));
        let refused = |(relay, _): (libp2p::PeerId, Multiaddr)| refusals.is_refused(now, &relay, peer);
        !known.is_empty() && known.iter().all(|address| address::relay(address).is_some_and(refused))
    }

    /// Bans a peer.
    pub fn ban(&self, peer: libp2p::PeerId) {
        locked(&self.banned).entry(peer, limits::MAX_BANNED_PEERS);
    }

    /// Whether a peer is banned.
    pub fn is_banned(&self, peer: &libp2p::PeerId) -> bool {
        locked(&self.banned).get(peer).is_some()
    }

    /// Adds or removes a listening address.
    pub fn set_listening(&self, address: &Multiaddr, listening: bool) {
        let mut addresses = locked(&self.listening);
        addresses.retain(|known| known != address);
        if listening {
            addresses.push(address.clone());
        }
    }

    /// Where we listen.
    pub fn listening(&self) -> Vec<Multiaddr> {
        locked(&self.listening).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_link_is_direct_then_tcp_when_near_then_the_oldest() {
        let table = Table::default();
        let peer = libp2p::PeerId::random();
        let add = |number: usize, text: &str| {
            let (sender, _) = mpsc::channel(1);
            let address: Multiaddr = text.parse().expect("valid");
            table.add_link(ConnectionId::new_unchecked(number), &peer, &address, true, sender)
        };
        let relayed = add(1, &format!("/ip4/10.0.0.1/tcp/1/p2p/{}/p2p-circuit", libp2p::PeerId::random()));
        assert!(relayed.relayed);
        let quic = add(2, "/ip4/10.0.0.1/udp/1/quic-v1");
        assert_eq!(table.best_link(|_| true), Some(quic.clone()));
        let tcp = add(3, "/ip4/10.0.0.1/tcp/1");
        assert_eq!(table.best_link(|_| true), Some(tcp.clone()));
        table.mark_closing(|link| link.id == tcp.id);
        assert_eq!(table.best_link(|_| true), Some(quic));
        assert!(table.opener(tcp.id).is_none());
        assert_eq!(table.remove_link(ConnectionId::new_unchecked(3)), Some(tcp));
        let far_quic = add(4, "/ip4/8.8.8.8/udp/1/quic-v1");
        add(5, "/ip4/8.8.8.8/tcp/1");
        assert_eq!(table.best_link(|link| link.address.contains("8.8")), Some(far_quic));
    }

    #[test]
    fn addresses_are_bounded_and_newest_first() {
        let table = Table::default();
        let peer = libp2p::PeerId::random();
        for port in 1..=40 {
            table.add_address(peer, format!("/ip4/127.0.0.1/tcp/{port}").parse().expect("valid"));
        }
        let known = table.addresses_of(&peer);
        assert_eq!(known.len(), limits::MAX_ADDRESSES_PER_PEER);
        assert_eq!(known[0].to_string(), "/ip4/127.0.0.1/tcp/40");
    }

    #[test]
    fn a_protocol_has_one_receiver_at_a_time() {
        let table = Table::default();
        table.add_protocol("/a/1", false).expect("new");
        let receiver = table.add_protocol("/a/1", true).expect("parked").expect("taken");
        assert_eq!(table.add_protocol("/a/1", true).expect_err("taken").kind(), ErrorKind::InvalidState);
        assert_eq!(table.add_protocol("a", true).expect_err("name").kind(), ErrorKind::InvalidArgument);
        drop(receiver);
        assert_eq!(table.protocols().len(), 1);
        table.retire_protocol("/a/1");
        assert!(table.protocols().is_empty());
        assert!(table.add_protocol("/a/1", true).expect("again").is_some());
        table.end();
        assert_eq!(table.add_protocol("/b/1", true).expect_err("ended").kind(), ErrorKind::InvalidState);
    }
}
