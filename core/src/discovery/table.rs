//! The table of known peers: merge, deduplicate, rank, forget. Pure.
//! Not here: dialling, persistence, or asking anybody.

use crate::base::ids::{ContentKey, PeerId};
use crate::base::time::Time;

use super::candidate::Candidate;

/// Known peers and who may have which key.
#[derive(Debug)]
pub struct PeerTable {}

impl PeerTable {
    /// An empty table. `max_peers` bounds peers in all, `max_peers_per_key` those remembered per key (at least 1 each).
    pub fn new(max_peers: usize, max_peers_per_key: usize) -> Self {
        let _ = (max_peers, max_peers_per_key);
        Self {}
    }

    /// Merges a candidate, as having `key` if one is given. True if this told the table anything new.
    pub fn insert(&mut self, now: Time, candidate: &Candidate, key: Option<&ContentKey>) -> bool {
        let _ = (now, candidate, key);
        false
    }

    /// Peers that may have the key, best first: reachable ones, then by confidence, then by name.
    pub fn lookup(&self, key: &ContentKey) -> Vec<Candidate> {
        let _ = key;
        Vec::new()
    }

    /// Every known peer, best first.
    pub fn peers(&self) -> Vec<Candidate> {
        Vec::new()
    }

    /// A connection worked. `address` is the one that did, if known.
    pub fn record_success(&mut self, now: Time, peer: &PeerId, address: Option<&str>) {
        let _ = (now, peer, address);
    }

    /// A connection failed; without an address, on all of them.
    pub fn record_failure(&mut self, now: Time, peer: &PeerId, address: Option<&str>) {
        let _ = (now, peer, address);
    }
}
