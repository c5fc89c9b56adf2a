//! The peers one download could ask: found or named, not in use, each with the time before which it is left alone.
//! Not here: finding them (discovery) and using them ([`downloading`](super::downloading)).

use std::collections::HashSet;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::base::ids::PeerId;
use crate::base::limits;
use crate::discovery::source::{Candidate, SourceKind};

/// A bounded queue, best first, that takes each peer once.
#[derive(Default)]
pub(super) struct Candidates {
    waiting: Vec<Waiting>,
    /// Ids and addresses that were taken before, so that the same peer found twice is not asked twice.
    seen: HashSet<String>,
    search_over: bool,
}

struct Waiting {
    candidate: Candidate,
    attempts: u32,
    not_before: Instant,
}

impl Candidates {
    /// Takes a peer unless it is known already; new addresses of a waiting peer are added to it.
    pub(super) fn add(&mut self, candidate: Candidate) {
        let names: Vec<String> = match &candidate.id {
            Some(id) => vec![id.to_string()],
            None => candidate.addresses.clone(),
        };
        if names.iter().all(|name| self.seen.contains(name)) {
            let known =
                self.waiting.iter_mut().find(|waiting| candidate.id.is_some() && waiting.candidate.id == candidate.id);
            if let Some(known) = known {
                for address in candidate.addresses {
                    let room = known.candidate.addresses.len() < limits::MAX_ADDRESSES_PER_PEER;
                    if room && !known.candidate.addresses.contains(&address) {
                        known.candidate.addresses.push(address);
                    }
                }
            }
            return;
        }
        if self.waiting.len() >= limits::MAX_CANDIDATES_PER_DOWNLOAD
            || self.seen.len() >= 4 * limits::MAX_CANDIDATES_PER_DOWNLOAD
        {
            return;
        }
        self.seen.extend(names);
        self.waiting.push(Waiting { candidate, attempts: 0, not_before: Instant::now() });
    }

    /// Puts a peer back that was in use. Peers nobody but a fellow requester named are not worth many attempts.
    pub(super) fn retry(&mut self, candidate: Candidate, attempts: u32, pause: Duration) {
        let most = if candidate.source == SourceKind::Manual { u32::MAX } else { limits::MAX_REDIALS };
        if attempts <= most {
            self.waiting.push(Waiting { candidate, attempts, not_before: Instant::now() + pause });
        } else {
            // Found again, it may be taken again.
            self.seen.remove(candidate.label());
        }
    }

    /// Removes a peer for good.
    pub(super) fn forget(&mut self, peer: &PeerId) {
        self.waiting.retain(|waiting| waiting.candidate.id.as_ref() != Some(peer));
        self.seen.insert(peer.to_string());
    }

    /// The best peer whose time has come, and how often it failed before.
    pub(super) fn next_ready(&mut self) -> Option<(Candidate, u32)> {
        let now = Instant::now();
        let best = self
            .waiting
            .iter()
            .enumerate()
            .filter(|(_, waiting)| waiting.not_before <= now)
            .min_by(|(_, a), (_, b)| {
                (a.attempts, b.candidate.confidence)
                    .partial_cmp(&(b.attempts, a.candidate.confidence))
                    .unwrap_or(std::cmp::Ordering::Equal)
            })
            .map(|(index, _)| index)?;
        let waiting = self.waiting.remove(best);
        Some((waiting.candidate, waiting.attempts))
    }

    /// Peers that could be asked now.
    pub(super) fn ready(&self) -> usize {
        let now = Instant::now();
        self.waiting.iter().filter(|waiting| waiting.not_before <= now).count()
    }

    /// Nobody waits, now or later.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Discovery has nothing more to say about this content.
    pub(super) fn end_search(&mut self) {
        self.search_over = true;
    }

    /// Whether [`end_search`](Self::end_search) was called.
    pub(super) fn search_is_over(&self) -> bool {
        self.search_over
    }
}

/// The next candidate of a running search, `None` at its end; waits forever without a search. Cancel safe.
pub(super) async fn next_candidate(search: &mut Option<mpsc::Receiver<Candidate>>) -> Option<Candidate> {
    match search {
        Some(search) => search.recv().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(address: &str, confidence: f64) -> Candidate {
        Candidate { id: None, addresses: vec![address.into()], source: SourceKind::Local, confidence }
    }

    #[test]
    fn best_first_and_each_once() {
        let mut queue = Candidates::default();
        queue.add(candidate("a:1", 0.5));
        queue.add(candidate("b:1", 0.9));
        queue.add(candidate("a:1", 1.0));
        assert_eq!(queue.ready(), 2);
        let (first, attempts) = queue.next_ready().expect("two wait");
        assert_eq!((first.label(), attempts), ("b:1", 0));
        queue.retry(first, 1, Duration::ZERO);
        assert_eq!(queue.next_ready().expect("two wait").0.label(), "a:1");
        queue.retry(candidate("c:1", 1.0), 1, Duration::from_secs(60));
        assert_eq!(queue.next_ready().expect("one is ready").0.label(), "b:1");
        assert!(queue.next_ready().is_none() && !queue.is_empty());
    }

    #[test]
    fn the_queue_is_bounded() {
        let mut queue = Candidates::default();
        for port in 0..2 * limits::MAX_CANDIDATES_PER_DOWNLOAD {
            queue.add(candidate(&format!("a:{port}"), 0.5));
        }
        assert_eq!(queue.ready(), limits::MAX_CANDIDATES_PER_DOWNLOAD);
    }
}
