//! The trait of every way to find peers: the local network, the hash table, peer exchange and Gun.
//! Not here: any of the ways themselves, or merging what they find ([`manager`](super::manager)).

use futures::future::BoxFuture;
use tokio::sync::mpsc;

pub use super::candidate::{Candidate, SourceKind};
use crate::base::error::Result;
use crate::base::ids::ContentKey;

/// One way to find peers. Object safe; implementations are shared behind an `Arc` and own their tasks.
///
/// All calls are cancel safe: a dropped future leaves the source as it was before the call or as it would be after it.
pub trait Source: Send + Sync {
    /// Name for logs and events, e.g. `local`.
    fn name(&self) -> &str;

    /// What kind of origin its candidates have.
    fn kind(&self) -> SourceKind;

    /// Makes this node findable under the key until it is withdrawn. Announcing twice is the same as once. Returns
    /// when the source has taken the key over; renewing it is the source's own business.
    fn announce(&self, key: ContentKey) -> BoxFuture<'_, Result<()>>;

    /// Tells what is announced already at once again, because what is said of it has changed. Nothing by default: where
    /// nothing is kept for others, everybody hears the latest when they ask.
    fn renew(&self, _key: ContentKey) -> BoxFuture<'_, Result<()>> {
        Box::pin(async { Ok(()) })
    }

    /// Takes the key back. Withdrawing an unknown key is not an error.
    fn withdraw(&self, key: ContentKey) -> BoxFuture<'_, Result<()>>;

    /// Starts a search and returns at once. Candidates arrive as they are found, the same peer again only when
    /// something about it changed. The queue holds [`DISCOVERY_QUEUE`](crate::base::limits::DISCOVERY_QUEUE)
    /// candidates. Dropping the receiver ends the search; the source closes the channel when it can find no more
    /// (a one-shot source) or is stopped. Failures end the stream and are logged by the source.
    fn search(&self, key: ContentKey) -> mpsc::Receiver<Candidate>;

    /// Says goodbye where the network knows that, ends every task and search. Idempotent.
    fn stop(&self) -> BoxFuture<'_, ()>;
}
