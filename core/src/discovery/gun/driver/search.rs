//! Searches: reading who has a content and what content ids mean, live. Not here: what is believed
//! ([`book`](super::super::book)).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::{SelectAll, Stream};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::Driver;
use crate::base::error::Result;
use crate::base::ids::{ContentKey, FileHash};
use crate::base::limits;
use crate::discovery::candidate::Candidate;
use crate::discovery::gun::book::{Known, Mapping};
use crate::discovery::gun::record::{self, Claim};
use crate::discovery::own;
use crate::gun::{Entry, Update, Value};

/// Hashes that one content id is followed to: those that were said while a search runs.
const MOST_HASHES: usize = 4;

/// An update of the node of a content, or of the content id that is searched for.
type Tagged = (Option<FileHash>, Update);

impl Driver {
    /// Starts a search; without room the sender is dropped, which ends the stream.
    pub(in crate::discovery::gun) fn search(self: &Arc<Self>, key: ContentKey, sender: mpsc::Sender<Candidate>) {
        let Ok(place) = self.searches.clone().try_acquire_owned() else {
            tracing::warn!(%key, "too many searches through Gun at once");
            return;
        };
        if self.token.is_cancelled() {
            return;
        }
        let (driver, token) = (self.clone(), self.token.clone());
        self.spawn(async move {
            tokio::select! {
                () = token.cancelled() => {}
                () = sender.closed() => {}
                () = driver.run_search(&key, &sender) => {}
            }
            drop(place);
        });
    }

    async fn run_search(&self, key: &ContentKey, sender: &mpsc::Sender<Candidate>) {
        let mut updates = SelectAll::new();
        let mut hashes = BTreeSet::new();
        let mut told = BTreeMap::new();
        let mut wanted = BTreeSet::from([key.lookup_key()]);
        if let ContentKey::Id(id) = key {
            wanted.extend(self.lock().book.hash_of(id));
            match self.backend.subscribe(&self.map_path(id)) {
                Ok(receiver) => updates.push(tagged(None, receiver)),
                Err(error) => tracing::debug!(%key, error = %error.full_message(), "a content id is not looked up"),
            }
        }
        loop {
            for hash in wanted.iter().filter(|hash| !hashes.contains(*hash)) {
                let path = self.below(&self.config.peer_map_name, [hash.to_string()]);
                match self.backend.subscribe(&path) {
                    Ok(receiver) => updates.push(tagged(Some(*hash), receiver)),
                    Err(error) => tracing::debug!(%hash, error = %error.full_message(), "a content is not looked up"),
                }
            }
            hashes.append(&mut wanted);
            // What is known already, from before or from another search, and then what has changed.
            if !self.tell_known(&hashes, &mut told, sender).await {
                return;
            }
            let Some((hash, update)) = updates.next().await else { return };
            match (hash, key) {
                (Some(hash), _) => self.learn(hash, &update),
                (None, ContentKey::Id(id)) => {
                    self.learn_mapping(id, &update);
                    wanted.extend(self.lock().book.hash_of(id).filter(|_| hashes.len() < MOST_HASHES));
                }
                (None, ContentKey::Hash(_)) => {}
            }
        }
    }

    /// Tells what is new; false: nobody listens.
    async fn tell_known(
        &self,
        hashes: &BTreeSet<FileHash>,
        told: &mut BTreeMap<String, Candidate>,
        sender: &mpsc::Sender<Candidate>,
    ) -> bool {
        for candidate in hashes.iter().flat_map(|hash| self.known(hash)) {
            let label = candidate.label().to_owned();
            if told.get(&label) == Some(&candidate) {
                continue;
            }
            if told.len() >= 2 * limits::MAX_GUN_RECORDS_PER_KEY {
                told.clear();
            }
            told.insert(label, candidate.clone());
            if sender.send(candidate).await.is_err() {
                return false;
            }
        }
        true
    }

    /// Takes in what stands under a name among those that have a content.
    fn learn(&self, hash: FileHash, update: &Update) {
        let now_ms = self.now_ms();
        let record = match &update.entry {
            Entry::Record(record) if !update.key.is_empty() => record,
            _ => {
                self.lock().book.removed(&hash, &update.key);
                return;
            }
        };
        let known = match record::read(&update.key, record) {
            Claim::Signed(bytes) => match own::open(&bytes, &hash, now_ms) {
                Ok(announcement) if announcement.peer == *self.own.peer() => return,
                Ok(announcement) => Known::signed(&announcement),
                Err(error) => {
                    tracing::debug!(%hash, name = update.key, error = %error.full_message(), "a record is not believed");
                    return;
                }
            },
            Claim::Unsigned { address, issued_ms, ttl_ms } => {
                let ttl_ms = ttl_ms.unwrap_or(self.config.peer_ttl.as_millis() as u64);
                match Known::unsigned(address, issued_ms, ttl_ms, now_ms) {
                    Some(known) => known,
                    None => return,
                }
            }
            Claim::Nothing => return,
        };
        let mut state = self.lock();
        state.book.learn(hash, &update.key, known);
        state.dirty = true;
    }

    /// Takes in what a field of a content id says.
    fn learn_mapping(&self, id: &str, update: &Update) {
        let Entry::Value(cell) = &update.entry else { return };
        let now_ms = self.now_ms();
        if update.key == "hash" {
            let hash = cell.value.as_text().and_then(|text| text.parse().ok());
            let mut state = self.lock();
            if let Some(hash) = hash {
                state.dirty |= state.book.map(id, "", Mapping { hash, issued_ms: now_ms });
            } else if cell.value == Value::Null {
                state.book.unmap(id, "");
            }
            return;
        }
        let Some((hash, bytes)) = record::read_vouched(&cell.value) else { return };
        let Ok(vouched) = own::open(&bytes, &record::mapping_key(id, &hash), now_ms) else { return };
        let (by, mapping) = (vouched.peer.as_str(), Mapping { hash, issued_ms: vouched.issued_ms });
        let mut state = self.lock();
        if vouched.ttl.is_zero() {
            state.book.unmap(id, by);
        } else {
            state.book.map(id, by, mapping);
        }
        state.dirty = true;
    }

    pub(in crate::discovery::gun) async fn find_hash(&self, id: &str, wait: Duration) -> Result<Option<FileHash>> {
        let known = self.lock().book.hash_of(id);
        if known.is_some() {
            return Ok(known);
        }
        let deadline = Instant::now() + wait;
        let mut updates = self.backend.subscribe(&self.map_path(id))?;
        let mut until = deadline;
        while let Ok(Some(update)) = tokio::time::timeout_at(until, updates.recv()).await {
            self.learn_mapping(id, &update);
            if self.lock().book.hash_of(id).is_some() {
                // Others may vouch for something else; the first words are not the last.
                until = deadline.min(Instant::now() + limits::GUN_READ_QUIET);
            }
        }
        Ok(self.lock().book.hash_of(id))
    }
}

fn tagged(
    tag: Option<FileHash>,
    mut updates: mpsc::Receiver<Update>,
) -> std::pin::Pin<Box<dyn Stream<Item = Tagged> + Send>> {
    Box::pin(futures::stream::poll_fn(move |context| {
        updates.poll_recv(context).map(|update| update.map(|update| (tag, update)))
    }))
}
