//! What failed with which peer, so that neither side repeats it while both stay where they are. Not here: judging it
//! (`nat::punch::plan`).

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::base::ids::PeerId;
use crate::base::limits;
use crate::nat::punch::plan::History;

/// UDP and TCP have nothing to do with each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// UDP.
    Udp,
    /// TCP.
    Tcp,
}

/// The table, bounded by [`limits::MEETING_HISTORIES`].
#[derive(Debug, Default)]
pub struct Histories(Mutex<HashMap<(PeerId, Kind), Option<History>>>);

/// A history that is out: nobody else punches to this peer in this way meanwhile. Goes back when dropped.
#[derive(Debug)]
pub struct Held<'a> {
    table: &'a Histories,
    key: (PeerId, Kind),
    /// What failed.
    pub history: History,
}

impl Histories {
    /// Takes the history with a peer; `None` while somebody else has it, or when the table is full of such.
    pub fn take(&self, peer: &PeerId, kind: Kind) -> Option<Held<'_>> {
        let key = (peer.clone(), kind);
        let mut table = self.table();
        if table.len() >= limits::MEETING_HISTORIES && !table.contains_key(&key) {
            // Any one that is not in use: forgetting costs one more attempt.
            let forgotten = table.iter().find(|(_, history)| history.is_some()).map(|(key, _)| key.clone())?;
            table.remove(&forgotten);
        }
        let history = table.entry(key.clone()).or_insert_with(|| Some(History::default())).take()?;
        Some(Held { table: self, key, history })
    }

    /// Begins anew with a peer: the network changed, or a ladder starts from its foot.
    pub fn forget(&self, peer: &PeerId) {
        let mut table = self.table();
        for kind in [Kind::Udp, Kind::Tcp] {
            if let Some(Some(history)) = table.get_mut(&(peer.clone(), kind)) {
                *history = History::default();
            }
        }
    }

    fn table(&self) -> MutexGuard<'_, HashMap<(PeerId, Kind), Option<History>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let history = std::mem::take(&mut self.history);
        self.table.table().insert(self.key.clone(), Some(history));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nat::punch::Method;
    use std::time::Duration;

    #[test]
    fn a_history_is_with_one_at_a_time_and_remembered() {
        let histories = Histories::default();
        let peer = PeerId::from_text("A");
        let mut held = histories.take(&peer, Kind::Udp).expect("free");
        assert!(histories.take(&peer, Kind::Udp).is_none(), "it is out");
        assert!(histories.take(&peer, Kind::Tcp).is_some(), "another one");
        held.history.record(Method::Plain, 10, Duration::from_secs(1), false);
        drop(held);
        assert!(histories.take(&peer, Kind::Udp).expect("back").history.failed(Method::Plain));
        histories.forget(&peer);
        assert!(!histories.take(&peer, Kind::Udp).expect("back").history.failed(Method::Plain));
    }

    #[test]
    fn the_table_is_bounded() {
        let histories = Histories::default();
        for number in 0..2 * limits::MEETING_HISTORIES {
            drop(histories.take(&PeerId::from_text(&number.to_string()), Kind::Udp).expect("free"));
        }
        assert_eq!(histories.table().len(), limits::MEETING_HISTORIES);
    }
}
