//! Announcements that end by themselves. Not here: making and taking back announcements (`announcing`).

use std::sync::Arc;
use std::time::Instant;

use tokio_util::sync::CancellationToken;

use super::node::{Node, Running, lock};
use crate::base::ids::ContentKey;

/// The end of one announcement. There are no more of them than announcements.
#[derive(Clone)]
pub(super) struct Expiry(Arc<Ending>);

struct Ending {
    /// Cancelled when another announcement of the same key takes its place, or it was taken back.
    replaced: CancellationToken,
    /// Held while it is taken back.
    ending: Arc<tokio::sync::Mutex<()>>,
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.replaced.cancel();
    }
}

impl Node {
    /// An announcement of this key does not end by itself any more. One that is just being taken back was, when this
    /// returns.
    pub(super) async fn stays(&self, key: &ContentKey) {
        let expiry = lock(&self.inner.expiries).get(key).cloned();
        if let Some(Expiry(expiry)) = expiry {
            let _over = expiry.ending.lock().await;
            expiry.replaced.cancel();
        }
    }

    /// As long as this is held, an announcement of the key is being taken back.
    #[cfg(test)]
    pub(super) async fn taking_back(&self, key: &ContentKey) -> Option<tokio::sync::OwnedMutexGuard<()>> {
        let Expiry(expiry) = lock(&self.inner.expiries).get(key).cloned()?;
        Some(Arc::clone(&expiry.ending).lock_owned().await)
    }

    /// The announcement of a key ends at this time, or with the stop; without a time it goes on, whatever was said before.
    pub(super) fn expire(&self, key: ContentKey, end: Option<Instant>, running: &Running) {
        let Some(end) = end else {
            lock(&self.inner.expiries).remove(&key);
            return;
        };
        let (replaced, ending) = (CancellationToken::new(), Arc::default());
        let expiry = Expiry(Arc::new(Ending { replaced: replaced.clone(), ending: Arc::clone(&ending) }));
        lock(&self.inner.expiries).insert(key.clone(), expiry);
        let (node, stop) = (Arc::downgrade(&self.inner), running.stop.clone());
        running.tracker.spawn(async move {
            tokio::select! {
                () = tokio::time::sleep_until(end.into()) => {}
                // Everything is taken back by the stop; it is not to come again with the next start.
                () = stop.cancelled() => {}
                () = replaced.cancelled() => return,
            }
            let _ending = ending.lock().await;
            let Some(inner) = node.upgrade() else { return };
            let node = Node { inner };
            if replaced.is_cancelled() {
                return;
            }
            if let Err(error) = node.withdraw(&key).await {
                tracing::warn!(error = %error.full_message(), %key, "an announcement that should have ended");
            }
        });
    }
}
