//! Announcements that end by themselves. Not here: making and taking back announcements (`discovering`).

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::node::{Node, Running, lock};
use crate::base::ids::ContentKey;

/// The end of one announcement. There are no more of them than announcements.
pub(super) struct Expiry {
    /// Cancelled when another announcement of the same key takes its place, or it was taken back.
    replaced: CancellationToken,
}

impl Drop for Expiry {
    fn drop(&mut self) {
        self.replaced.cancel();
    }
}

impl Node {
    /// The announcement of a key ends after this time, or with the stop; without a time it goes on, whatever was said
    /// before.
    pub(super) fn expire(&self, key: ContentKey, ttl: Option<Duration>, running: &Running) {
        let Some(ttl) = ttl else {
            lock(&self.inner.expiries).remove(&key);
            return;
        };
        let (replaced, stop) = (CancellationToken::new(), running.stop.clone());
        lock(&self.inner.expiries).insert(key.clone(), Expiry { replaced: replaced.clone() });
        let node = Arc::downgrade(&self.inner);
        running.tracker.spawn(async move {
            let stopped = tokio::select! {
                () = tokio::time::sleep(ttl) => false,
                () = stop.cancelled() => true,
                () = replaced.cancelled() => return,
            };
            let Some(inner) = node.upgrade() else { return };
            let node = Node { inner };
            if replaced.is_cancelled() {
                return;
            }
            if stopped {
                // Everything is taken back by the stop; it is not to come again with the next start.
                node.forget_all_of(&key);
                lock(&node.inner.expiries).remove(&key);
            } else if let Err(error) = node.withdraw(&key).await {
                tracing::warn!(error = %error.full_message(), %key, "an announcement that should have ended");
            }
        });
    }
}
