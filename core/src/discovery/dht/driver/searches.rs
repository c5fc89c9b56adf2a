//! Searches that go on: who listens, what they were told, when the next lookup is due. Not here: lookups (the machine).

use std::collections::HashMap;
use std::time::Duration;

use tokio::sync::mpsc;

use super::super::contact::Contact;
use super::super::key::Node;
use super::super::machine::Machine;
use super::texts;
use crate::base::ids::FileHash;
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
            return;
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
