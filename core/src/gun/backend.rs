//! What users of a Gun graph work with, whoever speaks to the relays: our own client, or a Gun instance of the program in
//! Node. Not here: either of them.

use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::{mpsc, watch};

use super::interests::{Entry, Update};
use super::names;
use super::value::{Record, Value};
use crate::base::error::{Error, Result};
use crate::base::limits;

/// Access to a Gun graph. Object safe; shared behind an `Arc`.
///
/// Paths are lists of segments, as `gun.get(first).get(second)`. A path with a segment that
/// [`names::check`](super::names::check) refuses is `InvalidArgument` everywhere. All calls are cancel safe: of a dropped
/// put nobody knows whether it has arrived.
pub trait GunBackend: Send + Sync {
    /// Writes a node or a value at a path, with links to it in its ancestors. States in the entry are not looked at: a
    /// backend dates its own writes. Returns when a relay has confirmed it. `Timeout` after the deadline, `Protocol` if
    /// a relay has refused it, `LimitReached` if too many are under way, `InvalidState` after the stop.
    fn put(&self, path: &[String], entry: Entry, deadline: Duration) -> BoxFuture<'_, Result<()>>;

    /// Reads the node at a path; `None` if nothing came until the deadline, or it was taken away. Fields that link to
    /// other nodes stay links.
    fn once(&self, path: &[String], deadline: Duration) -> BoxFuture<'_, Result<Option<Record>>>;

    /// News of the children of the node at a path, beginning with what is there. Links of children are followed, also to
    /// souls that do not follow from the path. The same news may come again. The queue holds
    /// [`GUN_UPDATE_QUEUE`](crate::base::limits::GUN_UPDATE_QUEUE) updates; a subscriber that falls behind gets the latest of
    /// each child, and of more than [`MAX_GUN_NODE_FIELDS`](crate::base::limits::MAX_GUN_NODE_FIELDS) children or
    /// [`MAX_GUN_NEWS_BYTES`](crate::base::limits::MAX_GUN_NEWS_BYTES) those that changed last. Dropping the receiver ends
    /// the subscription; the backend closes it when it is stopped.
    fn subscribe(&self, path: &[String]) -> Result<mpsc::Receiver<Update>>;

    /// How many links to relays were made so far; a change means that a relay may have forgotten what it was told. By
    /// default it never changes.
    fn links_made(&self) -> watch::Receiver<u64> {
        watch::channel(0).1
    }

    /// Asks relays again for everything that is subscribed to; what comes is news as always. Discovery calls it at each of
    /// its announce intervals. By default nothing is done: a client that has its links itself knows when to ask again.
    fn refresh(&self) {}

    /// What to add to this machine's clock, in milliseconds, where that is known to be wrong. By default nothing.
    fn clock_offset_ms(&self) -> i64 {
        0
    }

    /// Ends all links, and all waits with `InvalidState`. Idempotent.
    fn stop(&self) -> BoxFuture<'_, ()>;
}

/// `InvalidArgument` for fields that must not be written.
pub(super) fn check(entry: &Entry) -> Result<()> {
    let fits = |value: &Value| value.size() <= limits::MAX_GUN_VALUE_BYTES;
    let fine = match entry {
        Entry::Value(cell) => fits(&cell.value),
        Entry::Record(record) => {
            !record.is_empty() && record.iter().all(|(key, cell)| names::is_allowed(key) && fits(&cell.value))
        }
    };
    if fine { Ok(()) } else { Err(Error::invalid("record", "has no fields, or one that cannot be written")) }
}
