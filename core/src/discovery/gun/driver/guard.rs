//! Watching an own announcement: what somebody else writes there is overwritten at once. Not here: writing it.

use std::sync::Arc;
use std::time::Instant;

use tokio_util::sync::CancellationToken;

use super::Driver;
use super::schedule::Job;
use crate::base::ids::FileHash;
use crate::base::limits;
use crate::discovery::gun::record::{self, Claim};
use crate::discovery::own;
use crate::gun::{Cell, Entry, Record, Update};

/// Fields that only this node may say; those others differ with every renewal.
const GUARDED: [&str; 4] = ["ip", "port", "address", "available"];

impl Driver {
    pub(super) async fn guard(self: Arc<Self>, hash: FileHash, token: CancellationToken) {
        if token.run_until_cancelled(self.turn_to_watch()).await.is_none() {
            return;
        }
        let mut updates = match self.backend.subscribe(&self.path(&hash)) {
            Ok(updates) => updates,
            Err(error) => {
                tracing::debug!(%hash, error = %error.full_message(), "an announcement is not watched");
                return;
            }
        };
        loop {
            let update = tokio::select! {
                () = token.cancelled() => return,
                update = updates.recv() => update,
            };
            let Some(update) = update else { return };
            let mut forged = self.is_forged(&hash, &update);
            while let Ok(update) = updates.try_recv() {
                forged |= self.is_forged(&hash, &update);
            }
            if forged {
                tracing::debug!(%hash, "somebody else wrote over our announcement");
                self.lock().schedule.soon(&Job::Peer(hash), Instant::now());
                self.tell();
                // Two writers must not fight at full speed.
                tokio::select! {
                    () = token.cancelled() => return,
                    () = tokio::time::sleep(limits::GUN_REWRITE_PAUSE) => {}
                }
            }
        }
    }

    /// Waits until nearly everything is written and a pause has passed: to a relay, reading is more work than writing.
    async fn turn_to_watch(&self) {
        let mut unconfirmed = self.unconfirmed.subscribe();
        let is_quiet = |count: &usize| *count <= limits::GUN_WATCH_AMONG;
        // Not in the state: one that gives up while it waits leaves its turn to the next.
        let mut next = self.next_watch.lock().await;
        while !is_quiet(&unconfirmed.borrow()) || *next > Instant::now() {
            if unconfirmed.wait_for(is_quiet).await.is_err() {
                return;
            }
            tokio::time::sleep_until((*next).into()).await;
        }
        *next = Instant::now() + limits::GUN_WATCH_PAUSE;
    }

    fn is_forged(&self, hash: &FileHash, update: &Update) -> bool {
        let state = self.lock();
        let Some(written) = state.schedule.last(hash).filter(|written| !written.is_empty()) else { return false };
        let cell = match &update.entry {
            // Our record is gone, or one of its fields became a node.
            _ if update.key.is_empty() => return true,
            Entry::Record(_) => return written.contains_key(&update.key),
            Entry::Value(cell) => cell,
        };
        if update.key == "announcement" {
            return !self.is_ours(hash, cell);
        }
        let own = written.get(&update.key);
        GUARDED.contains(&update.key.as_str()) && own.is_some_and(|own| own.value != cell.value)
    }

    /// Whether an announcement is one of ours that holds. An older one may be the echo of what we wrote.
    fn is_ours(&self, hash: &FileHash, cell: &Cell) -> bool {
        let record = Record::from([("announcement".to_owned(), cell.clone())]);
        let Claim::Signed(bytes) = record::read(&self.node, &record) else { return false };
        let opened = own::open(&bytes, hash, self.now_ms());
        opened.is_ok_and(|announced| announced.peer == *self.own.peer() && !announced.ttl.is_zero())
    }
}
