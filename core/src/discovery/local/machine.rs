//! Local discovery as one machine over several links: answering and asking. Pure.
//! Not here: sockets, clocks, interfaces ([`driver`](super::driver)).

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use super::MDNS_PORT;
use super::link::Link;
use super::packet::{self, Packet};
use super::responder::{Identity, Responder};
use super::searches::Searches;
use crate::base::ids::FileHash;
use crate::base::limits;
use crate::base::random::Jitter;
use crate::base::time::Time;
use crate::discovery::candidate::Candidate;

/// What the machine wants done.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Send a packet on a link.
    Send {
        /// The link.
        link: u32,
        /// To one asker, or to everybody.
        to: Option<SocketAddr>,
        /// The packet.
        bytes: Vec<u8>,
    },
    /// Somebody has a searched key.
    Found {
        /// The key.
        key: FileHash,
        /// Who.
        candidate: Candidate,
    },
}

/// The machine.
#[derive(Debug)]
pub struct Machine {
    links: BTreeMap<u32, Link>,
    responder: Responder,
    searches: Searches,
    out: VecDeque<Output>,
}

impl Machine {
    /// A machine without links.
    pub fn new(identity: Identity, seed: u64) -> Self {
        let responder = Responder::new(identity, Jitter::from_seed(seed));
        let searches = Searches::new(responder.instance());
        Self { links: BTreeMap::new(), responder, searches, out: VecDeque::new() }
    }

    /// The links there are now. New and changed ones hear an announcement.
    pub fn set_links(&mut self, now: Time, links: Vec<Link>) {
        let links: BTreeMap<u32, Link> =
            links.into_iter().take(limits::MAX_MDNS_LINKS).map(|link| (link.id, link)).collect();
        for id in self.links.keys().filter(|id| !links.contains_key(id)) {
            self.responder.link_gone(*id);
            self.searches.link_gone(*id);
        }
        for (id, link) in &links {
            if self.links.get(id) != Some(link) {
                self.responder.link_changed(now, *id);
            }
        }
        self.links = links;
    }

    /// Answers for the key from now on. False when there is no room.
    pub fn announce(&mut self, key: FileHash) -> bool {
        self.responder.announce(key)
    }

    /// Stops answering for the key.
    pub fn withdraw(&mut self, now: Time, key: FileHash) {
        self.responder.withdraw(now, key);
    }

    /// Starts or joins a search. False when there is no room.
    pub fn search(&mut self, now: Time, key: FileHash) -> bool {
        self.searches.search(now, key)
    }

    /// Ends a search.
    pub fn end_search(&mut self, key: &FileHash) {
        self.searches.end(key);
    }

    /// What a running search has found so far.
    pub fn known(&self, now: Time, key: &FileHash) -> Vec<Candidate> {
        self.searches.known(now, key)
    }

    /// A packet came in on a link. Anything that is not well-formed multicast DNS from a neighbour is ignored.
    pub fn handle_packet(&mut self, now: Time, link: u32, source: SocketAddr, bytes: &[u8]) {
        let Some(link) = self.links.get(&link).filter(|link| link.is_local(source.ip())) else { return };
        let Ok(packet) = packet::decode(bytes) else { return };
        let legacy = source.port() != MDNS_PORT;
        match (packet.response, legacy) {
            // Section 6: a response from another port is no multicast DNS response.
            (true, true) => {}
            (true, false) => {
                self.responder.response(link, &packet);
                self.searches.response(now, link, source, &packet, &mut self.out);
            }
            (false, _) => {
                self.responder.query(now, link, source, &packet, legacy, &mut self.out);
                if !legacy {
                    self.searches.query(now, link, &packet);
                }
            }
        }
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Time) {
        self.searches.timeout(now, &self.links, &mut self.out);
        self.responder.timeout(now, &self.links, &mut self.out);
    }

    /// Says goodbye; nothing is answered afterwards.
    pub fn stop(&mut self, now: Time) {
        self.responder.stop(now, &mut self.out);
        self.links.clear();
    }

    /// The next thing to do. Empty the machine after every call that may have filled it.
    pub fn poll(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called.
    pub fn next_timeout(&self) -> Option<Time> {
        if self.links.is_empty() {
            return None;
        }
        self.searches.next_timeout().into_iter().chain(self.responder.next_timeout()).min()
    }

    /// Entries in all tables except the announced keys, for checking the bounds.
    pub fn table_sizes(&self) -> usize {
        self.responder.table_sizes() + self.searches.table_sizes() + self.out.len()
    }
}

/// Queues a packet. One that cannot be written is a bug here, not in what others sent, and is left out.
pub(super) fn send(out: &mut VecDeque<Output>, link: u32, to: Option<SocketAddr>, packet: &Packet) {
    match packet::encode(packet) {
        Ok(bytes) => out.push_back(Output::Send { link, to, bytes }),
        Err(error) => tracing::error!(error = %error.full_message(), "local discovery made an invalid packet"),
    }
}
