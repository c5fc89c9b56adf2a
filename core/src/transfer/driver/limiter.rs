//! Byte rates of the whole node, of one download and of each peer: token buckets with a clock.
//! Not here: the bucket's arithmetic ([`bucket`](crate::transfer::bucket)).

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use crate::base::ids::PeerId;
use crate::base::limits;
use crate::net::clock::Clock;
use crate::transfer::bucket::TokenBucket;

/// Paces one direction. A rate of 0 is no limit.
#[derive(Debug)]
pub struct Limiter {
    clock: Clock,
    peer_rate: u64,
    state: Mutex<State>,
    unlimited: bool,
}

#[derive(Debug)]
struct State {
    all: TokenBucket,
    peers: HashMap<PeerId, TokenBucket>,
}

impl Limiter {
    /// `rate` for everything together and `peer_rate` for each peer, in bytes per second.
    pub fn new(clock: Clock, rate: u64, peer_rate: u64) -> Self {
        let all = TokenBucket::new(rate, clock.now());
        Self {
            clock,
            peer_rate,
            unlimited: rate == 0 && peer_rate == 0,
            state: Mutex::new(State { all, peers: HashMap::new() }),
        }
    }

    /// Waits until so many bytes may pass to or from this peer. Cancelling the wait does not give the bytes back.
    pub async fn pass(&self, peer: &PeerId, bytes: u64) {
        if self.unlimited {
            return;
        }
        if let Some(wait) = self.take(peer, bytes) {
            tokio::time::sleep(wait).await;
        }
    }

    fn take(&self, peer: &PeerId, bytes: u64) -> Option<Duration> {
        let now = self.clock.now();
        let mut state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut wait = state.all.take(now, bytes);
        if self.peer_rate > 0 {
            if state.peers.len() >= limits::MAX_LIMITED_PEERS && !state.peers.contains_key(peer) {
                // Whoever was forgotten starts with a full bucket again, which one burst more is the whole cost of.
                state.peers.clear();
            }
            let rate = self.peer_rate;
            let bucket = state.peers.entry(peer.clone()).or_insert_with(|| TokenBucket::new(rate, now));
            wait = wait.max(bucket.take(now, bytes));
        }
        wait
    }
}
