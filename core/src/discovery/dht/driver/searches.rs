//! Searches that go on: who listens, what they were told, when the next lookup is due. Not here: lookups (the machine).

use std::collections::HashMap;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::super::contact::Contact;
use super::super::key::{Node, provider_key};
use super::super::machine::Machine;
use super::{Dht, texts};
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::ids::{ContentKey, FileHash, PeerId};
use crate::base::limits;
use crate::base::time::Time;
use crate::discovery::candidate::{Candidate, SourceKind};

/// All searches of one node.
#[derive(Default)]
pub struct Searches(HashMap<FileHash, Search>);

struct Search {
    listeners: Vec<Listener>,
    lookup: Option<u64>,
    due: Time,
    pause: Duration,
    told: HashMap<Node, Candidate>,
}

struct Listener {
    sender: mpsc::Sender<Candidate>,
    /// Something did not fit its queue; everything known is sent again once there is room.
    missed: bool,
}

impl Searches {
    /// Starts a search or joins a running one. `false` without room.
    pub fn add(&mut self, now: Time, key: FileHash, sender: mpsc::Sender<Candidate>) -> bool {
        self.0.retain(|_, search| search.is_wanted());
        if !self.0.contains_key(&key) && self.0.len() >= limits::DHT_SEARCHES {
            return false;
        }
        let search = self.0.entry(key).or_insert_with(|| Search {
            listeners: Vec::new(),
            lookup: None,
            due: now,
            pause: limits::DHT_SEARCH_PAUSE,
            told: HashMap::new(),
        });
        let mut listener = Listener { sender, missed: false };
        search.told.values().for_each(|candidate| listener.tell(candidate));
        search.listeners.push(listener);
        // Whoever asks now wants fresh answers.
        search.due = now;
        search.pause = limits::DHT_SEARCH_PAUSE;
        true
    }

    /// Ends what nobody wants any more and starts what is due.
    pub fn advance(&mut self, now: Time, machine: &mut Machine) {
        self.0.retain(|key, search| {
            if !search.is_wanted() {
                if let Some(lookup) = search.lookup {
                    machine.cancel(lookup);
                }
                return false;
            }
            for listener in search.listeners.iter_mut().filter(|listener| listener.missed) {
                if listener.sender.capacity() == listener.sender.max_capacity() {
                    listener.missed = false;
                    search.told.values().for_each(|candidate| listener.tell(candidate));
                }
            }
            // Without anybody to ask, a lookup would end at once and count as one.
            let is_due = search.lookup.is_none() && search.due <= now;
            if is_due && machine.known() > 0 {
                search.lookup = machine.search(now, key);
            }
            if is_due && search.lookup.is_none() {
                search.due = now + RETRY;
            }
            true
        });
    }

    /// When the next lookup is due.
    pub fn next_timeout(&self) -> Option<Time> {
        let waiting = self.0.values().filter(|search| search.lookup.is_none());
        waiting.map(|search| search.due).min()
    }

    /// A lookup found a provider.
    pub fn found(&mut self, lookup: u64, provider: &Contact, signed: bool) {
        let Some(search) = self.0.values_mut().find(|search| search.lookup == Some(lookup)) else { return };
        let mut candidate = Candidate::new(Some(provider.node.peer()), texts(provider), SourceKind::Dht);
        if !signed {
            candidate.confidence = limits::DHT_UNSIGNED_CONFIDENCE;
        }
        let known = search.told.get(&provider.node);
        // What nobody has signed does not change what was.
        let is_worse = known.is_some_and(|known| known.confidence > candidate.confidence);
        if candidate.addresses.is_empty() || is_worse || known == Some(&candidate) {
            return;
        }
        if known.is_none() && search.told.len() >= limits::DHT_TOLD {
            // Anybody can make up those that nobody has signed; they do not keep the others out.
            let is_less = |told: &&Candidate| told.confidence < candidate.confidence;
            let least = search.told.iter().find(|(_, told)| is_less(told)).map(|(node, _)| node.clone());
            let Some(least) = least else { return };
            search.told.remove(&least);
        }
        search.told.insert(provider.node.clone(), candidate.clone());
        search.listeners.iter_mut().for_each(|listener| listener.tell(&candidate));
    }

    /// A lookup is over.
    pub fn done(&mut self, now: Time, lookup: u64) {
        if let Some(search) = self.0.values_mut().find(|search| search.lookup == Some(lookup)) {
            search.lookup = None;
            search.due = now + search.pause;
            search.pause = (2 * search.pause).min(limits::DHT_SEARCH_PAUSE_MAX);
        }
    }
}

impl Dht {
    /// The nodes nearest to a place of the table, nearest first, of those that answer within the time: that of a peer id,
    /// or where the key is kept. Waits for somebody to ask. Empty when nobody answers. `LimitReached` with too many lookups at once,
    /// `InvalidState` after the stop. Cancel safe.
    pub async fn find_node(&self, target: &ContentKey, time: Duration) -> Result<Vec<Candidate>> {
        let node = match target {
            ContentKey::Id(id) => Node::from_peer(&PeerId::from_text(id)),
            ContentKey::Hash(_) => None,
        };
        let key = node.map_or_else(|| provider_key(&target.lookup_key()), |node| node.as_bytes().to_vec());
        let stopped = || Error::new(ErrorKind::InvalidState, "the hash table was left");
        let until = tokio::time::Instant::now() + time;
        let mut status = self.status();
        match tokio::time::timeout_at(until, status.wait_for(|status| status.nodes > 0)).await {
            Ok(known) => drop(known.map_err(|_| stopped())?),
            Err(_) => return Ok(Vec::new()),
        }
        let (sender, receiver) = oneshot::channel();
        let started = self.shared.change(|state, now| {
            if state.stopped {
                return Err(stopped());
            }
            let full = || Error::new(ErrorKind::LimitReached, "too many lookups in the hash table at once");
            let lookup = state.machine.find_node(now, key).ok_or_else(full)?;
            state.asked.insert(lookup, sender);
            Ok(lookup)
        });
        let asked = Asked { dht: self, lookup: started? };
        let nodes = match tokio::time::timeout_at(until, receiver).await {
            Ok(nodes) => nodes.map_err(|_| stopped())?,
            Err(_) => self.shared.lock().machine.nearest_in(asked.lookup),
        };
        let found = nodes.iter().map(|node| Candidate::new(Some(node.node.peer()), texts(node), SourceKind::Dht));
        Ok(found.filter(|candidate| !candidate.addresses.is_empty()).collect())
    }
}

/// Ends a lookup that nobody waits for any more.
struct Asked<'a> {
    dht: &'a Dht,
    lookup: u64,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.dht.shared.change(|state, _| {
            state.asked.remove(&self.lookup);
            state.machine.cancel(self.lookup);
        });
    }
}

/// Pause before a search that could not start is tried again.
const RETRY: Duration = Duration::from_millis(250);

impl Search {
    fn is_wanted(&mut self) -> bool {
        self.listeners.retain(|listener| !listener.sender.is_closed());
        !self.listeners.is_empty()
    }
}

impl Listener {
    fn tell(&mut self, candidate: &Candidate) {
        self.missed |= matches!(self.sender.try_send(candidate.clone()), Err(mpsc::error::TrySendError::Full(_)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::discovery::dht::key::Placement;
    use crate::discovery::dht::machine::Setup;
    use crate::discovery::dht::shard::Shards;

    fn provider(number: u32) -> Contact {
        let [a, b, c, d] = number.to_be_bytes();
        let node = Node::from_bytes(&[a, b, c, d]).expect("an id");
        Contact::new(node, [vec![4, 20 + b, c, d, 1, 6, 0x23, 0x28]])
    }

    fn machine() -> Machine {
        let mut machine = Machine::new(Setup {
            node: Node::from_bytes(&[9; 38]).expect("an id"),
            placement: Placement::Hashed,
            epoch_ms: 0,
            capacity: 10,
            shards: Shards::default(),
            paths: limits::DHT_PATHS,
            seed: 1,
        });
        machine.heard(Time::ZERO, &provider(0));
        machine
    }

    #[test]
    fn a_flood_of_providers_is_bounded_and_keeps_no_signed_one_out() {
        let (mut searches, mut machine) = (Searches::default(), machine());
        let (sender, _receiver) = mpsc::channel(1);
        assert!(searches.add(Time::ZERO, FileHash::of(b"content"), sender));
        searches.advance(Time::ZERO, &mut machine);
        let search = |searches: &Searches| searches.0.values().next().map(|search| (search.lookup, search.told.len()));
        let (lookup, _) = search(&searches).expect("it is there");
        let lookup = lookup.expect("it was started");
        for number in 1..=2 * limits::DHT_TOLD as u32 {
            searches.found(lookup, &provider(number), false);
        }
        assert_eq!(search(&searches), Some((Some(lookup), limits::DHT_TOLD)));
        for number in 10_000..10_000 + 2 * limits::DHT_TOLD as u32 {
            searches.found(lookup, &provider(number), true);
        }
        assert_eq!(search(&searches), Some((Some(lookup), limits::DHT_TOLD)));
        let told = &searches.0.values().next().expect("it is there").told;
        assert!(told.values().all(|told| told.confidence > limits::DHT_UNSIGNED_CONFIDENCE), "the true ones are in");
    }

    #[test]
    fn searches_are_bounded_and_those_that_nobody_wants_make_room() {
        let mut searches = Searches::default();
        let key = |number: usize| FileHash::of(&number.to_be_bytes());
        let (sender, receiver) = mpsc::channel(1);
        let started =
            (0..2 * limits::DHT_SEARCHES).filter(|number| searches.add(Time::ZERO, key(*number), sender.clone()));
        assert_eq!(started.count(), limits::DHT_SEARCHES);
        assert!(searches.add(Time::ZERO, key(0), sender), "one that runs is joined");
        drop(receiver);
        let (sender, _receiver) = mpsc::channel(1);
        assert!(searches.add(Time::ZERO, key(usize::MAX), sender));
        assert_eq!(searches.0.len(), 1);
    }
}
