//! The threads that light nodes work on, shared by all of them.
//! Not here: what runs on them.

use std::sync::OnceLock;

use tokio::runtime::{Builder, Runtime};
use tokio_util::task::AbortOnDropHandle;

use crate::errors::{DigNatError, Result};

/// A phone downloads a few files at once; more threads would only cost memory and wake-ups.
const WORKER_THREADS: usize = 2;

/// The runtime, started by the first use.
pub(crate) fn engine() -> Result<&'static Runtime> {
    static ENGINE: OnceLock<Runtime> = OnceLock::new();
    if let Some(engine) = ENGINE.get() {
        return Ok(engine);
    }
    let engine = Builder::new_multi_thread()
        .worker_threads(WORKER_THREADS)
        .thread_name("dig-nat")
        .enable_all()
        .build()
        .map_err(|error| dig_nat_core::Error::io("start threads", error))?;
    // If another thread was faster, this one is dropped, unused.
    Ok(ENGINE.get_or_init(|| engine))
}

/// Runs a future on the engine and waits for it from any executor. Dropping the returned future ends the work.
pub(crate) async fn run<T: Send + 'static>(work: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
    let handle = AbortOnDropHandle::new(engine()?.spawn(work));
    handle.await.unwrap_or_else(|error| Err(DigNatError::internal(format!("an operation panicked: {error}"))))
}

/// The same for what must not be left half done: it goes on when the waiting ends.
pub(crate) async fn run_to_end<T: Send + 'static>(work: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
    let handle = engine()?.spawn(work);
    handle.await.unwrap_or_else(|error| Err(DigNatError::internal(format!("an operation panicked: {error}"))))
}
