//! Which peers of the whole node are served: four at a time, as in BitTorrent (BEP 3, "choking").
//! Not here: requests (`serve`), sockets, rates.
//!
//! Peers that gave us data themselves come first, by how much they gave in the last rounds; one slot is always kept for
//! a peer that did not (the optimistic choice), so that newcomers get a start. Everybody else takes turns: the longest
//! wait comes first, a turn lasts two rounds while others wait. A slot whose peer leaves or asks for nothing is given
//! on at once.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::base::ids::PeerId;
use crate::base::limits;
use crate::base::time::Time;

/// How long a peer is served while others wait, unless it contributes.
const TURN: Duration = Duration::from_secs(2 * limits::CHOKE_INTERVAL.as_secs());

/// Something the choker needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A stream of this peer wants to be served. Counted: one per stream.
    Opened(PeerId),
    /// A stream that was reported as opened has ended, or wants nothing any more.
    Closed(PeerId),
    /// A stream of this peer has open requests now. Counted: one per stream.
    Asking(PeerId),
    /// A stream that was reported as asking has no open requests any more.
    Idle(PeerId),
    /// Bytes this peer gave us, in any download.
    Contributed(PeerId, u64),
}

/// What to do: applies to all streams of the peer, also to those opened later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Stop serving.
    Choke(PeerId),
    /// Start serving.
    Unchoke(PeerId),
}

/// The choice of served peers of one node.
#[derive(Debug)]
pub struct Choker {
    slots: usize,
    peers: BTreeMap<PeerId, Peer>,
    served: usize,
    /// Orders waits that began in the same microsecond.
    tickets: u64,
    next_round: Time,
    outputs: VecDeque<Output>,
}

#[derive(Debug, Default)]
struct Peer {
    streams: u32,
    asking: u32,
    /// Contribution of the last rounds, halved each round.
    contributed: u64,
    /// Place in the queue: start of the wait and ticket.
    waiting_since: (Time, u64),
    /// Start of the turn.
    served_since: Option<Time>,
    /// Served, but without a request since then.
    idle_since: Option<Time>,
}

impl Choker {
    /// Serves `slots` peers at once ([`limits::UNCHOKED_PEERS`] is the default of the node).
    pub fn new(slots: usize, now: Time) -> Self {
        Self {
            slots: slots.max(1),
            peers: BTreeMap::new(),
            served: 0,
            tickets: 0,
            next_round: now + limits::CHOKE_INTERVAL,
            outputs: VecDeque::new(),
        }
    }

    /// Takes an event.
    pub fn handle(&mut self, now: Time, input: Input) {
        match input {
            Input::Opened(id) => self.opened(now, id),
            Input::Closed(id) => self.closed(now, &id),
            Input::Asking(id) => {
                if let Some(peer) = self.peers.get_mut(&id) {
                    peer.asking += 1;
                    peer.idle_since = None;
                }
            }
            Input::Idle(id) => {
                if let Some(peer) = self.peers.get_mut(&id) {
                    peer.asking = peer.asking.saturating_sub(1);
                    if peer.asking == 0 && peer.served_since.is_some() {
                        peer.idle_since = Some(now);
                    }
                }
            }
            Input::Contributed(id, bytes) => {
                if let Some(peer) = self.peers.get_mut(&id) {
                    peer.contributed = peer.contributed.saturating_add(bytes);
                }
            }
        }
    }

    /// To be called when [`Self::next_timeout`] has come; harmless at any other time.
    pub fn handle_timeout(&mut self, now: Time) {
        if now >= self.next_round {
            self.next_round = now + limits::CHOKE_INTERVAL;
            self.round(now);
        }
        self.replace_idle(now);
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Self::handle_timeout`] has something to do, if nothing happens before.
    pub fn next_timeout(&self) -> Option<Time> {
        if self.peers.len() <= self.served {
            return None;
        }
        let idle = self.peers.values().filter_map(|peer| peer.idle_since).min();
        let idle = idle.map_or(Time::NEVER, |since| since + limits::IDLE_SLOT_TIMEOUT);
        Some(self.next_round.min(idle))
    }

    /// Whether a peer is being served.
    pub fn is_served(&self, id: &PeerId) -> bool {
        self.peers.get(id).is_some_and(|peer| peer.served_since.is_some())
    }

    fn opened(&mut self, now: Time, id: PeerId) {
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.streams += 1;
            return;
        }
        if self.peers.len() >= limits::MAX_CHOKER_PEERS {
            return;
        }
        self.tickets += 1;
        self.peers.insert(id, Peer { streams: 1, waiting_since: (now, self.tickets), ..Peer::default() });
        self.replace_idle(now);
        self.fill(now);
    }

    fn closed(&mut self, now: Time, id: &PeerId) {
        let Some(peer) = self.peers.get_mut(id) else { return };
        peer.streams -= 1;
        if peer.streams > 0 {
            return;
        }
        if peer.served_since.is_some() {
            self.served -= 1;
        }
        self.peers.remove(id);
        self.fill(now);
    }

    /// Gives free slots to whoever waits longest.
    fn fill(&mut self, now: Time) {
        while self.served < self.slots {
            let waiting = self.peers.iter().filter(|(_, peer)| peer.served_since.is_none());
            let Some(id) = waiting.min_by_key(|(_, peer)| peer.waiting_since).map(|(id, _)| id.clone()) else {
                return;
            };
            self.unchoke(now, id);
        }
    }

    /// Takes the slots of peers that ask for nothing, if somebody waits.
    fn replace_idle(&mut self, now: Time) {
        let mut waiting = self.peers.len() - self.served;
        while waiting > 0 {
            let idle = self.peers.iter().filter_map(|(id, peer)| peer.idle_since.map(|since| (since, id)));
            let Some((since, id)) = idle.min() else { return };
            if now < since + limits::IDLE_SLOT_TIMEOUT {
                return;
            }
            let id = id.clone();
            self.choke(now, id);
            self.fill(now);
            waiting -= 1;
        }
    }

    fn round(&mut self, now: Time) {
        let mut keep: Vec<PeerId> = Vec::new();
        let mut contributors: Vec<_> = self.peers.iter().filter(|(_, peer)| peer.contributed > 0).collect();
        contributors.sort_by_key(|(_, peer)| (std::cmp::Reverse(peer.contributed), peer.waiting_since));
        keep.extend(contributors.iter().take(self.slots - 1).map(|(id, _)| (*id).clone()));

        // The rest of the slots, at least the optimistic one: turns that are not over yet, then the longest wait.
        let mut others: Vec<_> = self.peers.iter().filter(|(id, _)| !keep.contains(id)).collect();
        others.sort_by_key(|(_, peer)| match peer.served_since {
            Some(since) if now.since(since) < TURN => (0, (since, 0)),
            Some(_) => (2, (now, u64::MAX)),
            None => (1, peer.waiting_since),
        });
        let free = self.slots - keep.len();
        keep.extend(others.iter().take(free).map(|(id, _)| (*id).clone()));

        let stop = self.peers.iter().filter(|(id, peer)| peer.served_since.is_some() && !keep.contains(id));
        let stop: Vec<PeerId> = stop.map(|(id, _)| id.clone()).collect();
        for id in stop {
            self.choke(now, id);
        }
        for id in keep {
            if !self.is_served(&id) {
                self.unchoke(now, id);
            }
        }
        self.peers.values_mut().for_each(|peer| peer.contributed /= 2);
    }

    fn choke(&mut self, now: Time, id: PeerId) {
        self.tickets += 1;
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.served_since = None;
            peer.idle_since = None;
            peer.waiting_since = (now, self.tickets);
            self.served -= 1;
            self.outputs.push_back(Output::Choke(id));
        }
    }

    fn unchoke(&mut self, now: Time, id: PeerId) {
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.served_since = Some(now);
            peer.idle_since = (peer.asking == 0).then_some(now);
            self.served += 1;
            self.outputs.push_back(Output::Unchoke(id));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(name: usize) -> PeerId {
        PeerId::from_text(&format!("peer{name:03}"))
    }

    fn at(seconds: u64) -> Time {
        Time::from_micros(seconds * 1_000_000)
    }

    fn drain(choker: &mut Choker) -> Vec<Output> {
        std::iter::from_fn(|| choker.poll()).collect()
    }

    /// A choker of four slots with this many busy peers.
    fn busy(peers: usize) -> Choker {
        let mut choker = Choker::new(4, Time::ZERO);
        for name in 0..peers {
            choker.handle(Time::ZERO, Input::Opened(peer(name)));
            choker.handle(Time::ZERO, Input::Asking(peer(name)));
        }
        choker
    }

    #[test]
    fn few_peers_are_all_served_and_never_choked() {
        let mut choker = busy(4);
        assert_eq!(drain(&mut choker), (0..4).map(|name| Output::Unchoke(peer(name))).collect::<Vec<_>>());
        (1..100).for_each(|round| choker.handle_timeout(at(round * 10)));
        assert_eq!(drain(&mut choker), []);
    }

    #[test]
    fn a_freed_slot_is_given_at_once_to_the_longest_wait() {
        let mut choker = busy(6);
        drain(&mut choker);
        choker.handle(at(1), Input::Closed(peer(2)));
        assert_eq!(drain(&mut choker), [Output::Unchoke(peer(4))]);
        assert!(!choker.is_served(&peer(5)) && !choker.is_served(&peer(2)));
    }

    #[test]
    fn an_idle_peer_gives_its_slot_away_but_only_if_somebody_waits() {
        let mut choker = busy(4);
        choker.handle(at(1), Input::Idle(peer(0)));
        drain(&mut choker);
        choker.handle_timeout(at(9));
        assert_eq!(drain(&mut choker), []);
        choker.handle(at(9), Input::Opened(peer(4)));
        assert_eq!(drain(&mut choker), [Output::Choke(peer(0)), Output::Unchoke(peer(4))]);
        // The newcomer has not asked yet: two seconds later it is the other one's turn.
        assert_eq!(choker.next_timeout(), Some(at(10)));
        choker.handle_timeout(at(10));
        choker.handle_timeout(at(11));
        assert_eq!(drain(&mut choker), [Output::Choke(peer(4)), Output::Unchoke(peer(0))]);
    }

    #[test]
    fn everybody_gets_a_turn_from_a_seeder() {
        let mut choker = busy(40);
        let mut turns = [0; 40];
        for second in 0..=400 {
            choker.handle_timeout(at(second));
            for output in drain(&mut choker) {
                if let Output::Unchoke(id) = output {
                    turns[id.as_str()[4..].parse::<usize>().expect("a number")] += 1;
                }
            }
        }
        // Ten groups of four, each served for 20 seconds: 400 seconds are two turns each.
        assert!(turns.iter().all(|turns| (2..=3).contains(turns)), "{turns:?}");
    }

    #[test]
    fn contribution_is_rewarded_and_one_slot_stays_for_the_others() {
        let mut choker = busy(20);
        for round in 1..=30 {
            for name in 10..16 {
                choker.handle(at(round * 10 - 1), Input::Contributed(peer(name), 1000 * name as u64));
            }
            choker.handle_timeout(at(round * 10));
            let served: Vec<_> = (0..20).filter(|name| choker.is_served(&peer(*name))).collect();
            assert_eq!(served.len(), 4);
            assert!((13..16).all(|name| served.contains(&name)), "{served:?}");
        }
        let optimistic: Vec<_> = drain(&mut choker)
            .into_iter()
            .filter_map(|output| match output {
                Output::Unchoke(id) if !(13..16).any(|name| id == peer(name)) => Some(id),
                _ => None,
            })
            .collect();
        assert!(optimistic.len() >= 14, "the last slot rotates: {optimistic:?}");
    }

    #[test]
    fn counts_streams_and_survives_strangers() {
        let mut choker = busy(1);
        choker.handle(at(0), Input::Opened(peer(0)));
        choker.handle(at(0), Input::Closed(peer(0)));
        assert!(choker.is_served(&peer(0)));
        choker.handle(at(0), Input::Closed(peer(0)));
        assert!(!choker.is_served(&peer(0)));
        choker.handle(at(0), Input::Closed(peer(0)));
        choker.handle(at(0), Input::Idle(peer(7)));
        assert_eq!(choker.next_timeout(), None);
        (0..limits::MAX_CHOKER_PEERS + 10).for_each(|name| choker.handle(at(0), Input::Opened(peer(name))));
        assert_eq!(choker.peers.len(), limits::MAX_CHOKER_PEERS);
    }
}
