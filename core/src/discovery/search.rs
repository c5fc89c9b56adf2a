//! One running search: asks every source, merges what they find with what is known, and hands on what is new. Not here:
//! starting searches ([`manager`](super::manager)), and the table.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::stream::{self, SelectAll, StreamExt};
use tokio::sync::mpsc;

use super::manager::Shared;
use super::source::Candidate;
use crate::base::ids::ContentKey;
use crate::base::limits;

/// One running search.
pub(super) struct Search {
    shared: Arc<Shared>,
    key: ContentKey,
    out: mpsc::Sender<Candidate>,
    /// Addresses handed on per peer, to tell news from repetition.
    seen: BTreeMap<String, BTreeSet<String>>,
    manual: mpsc::Receiver<Candidate>,
}

impl Search {
    /// For a key; candidates go out until nobody takes them.
    pub(super) fn new(
        shared: Arc<Shared>,
        key: ContentKey,
        out: mpsc::Sender<Candidate>,
        manual: mpsc::Receiver<Candidate>,
    ) -> Self {
        Self { shared, key, out, seen: BTreeMap::new(), manual }
    }

    /// Runs until the sources are exhausted, nobody listens, or the node stops.
    pub(super) async fn run(
        mut self,
        known: Vec<Candidate>,
        mut found: SelectAll<stream::BoxStream<'static, Candidate>>,
    ) {
        let token = self.shared.token.clone();
        let out = self.out.clone();
        let work = async {
            for candidate in known {
                self.hand_on(candidate).await;
            }
            loop {
                let (candidate, manual) = tokio::select! {
                    candidate = found.next() => match candidate {
                        Some(candidate) => (candidate, false),
                        None => break,
                    },
                    Some(candidate) = self.manual.recv() => (candidate, true),
                };
                for candidate in self.shared.merge(&self.key, &candidate, manual) {
                    self.hand_on(candidate).await;
                }
            }
        };
        // Dropping `work` drops the sources' receivers, which ends their searches.
        tokio::select! {
            () = work => {}
            () = out.closed() => {}
            () = token.cancelled() => {}
        }
    }

    async fn hand_on(&mut self, candidate: Candidate) {
        if self.seen.len() >= limits::MAX_CANDIDATES_PER_DOWNLOAD && !self.seen.contains_key(candidate.label()) {
            // Repeating a peer is harmless; remembering without end is not.
            self.seen.clear();
        }
        let seen = self.seen.entry(candidate.label().to_owned()).or_default();
        let new = seen.is_empty() || candidate.addresses.iter().any(|address| !seen.contains(address));
        if new {
            *seen = candidate.addresses.iter().cloned().collect();
            // A closed receiver ends the search one level up.
            let _ = self.out.send(candidate).await;
        }
    }
}

/// A source's queue as a stream.
pub(super) fn received(receiver: mpsc::Receiver<Candidate>) -> stream::BoxStream<'static, Candidate> {
    stream::unfold(receiver, |mut receiver| async { receiver.recv().await.map(|candidate| (candidate, receiver)) })
        .boxed()
}
