//! Worker threads for hashing and disk: at most one job per core at a time, so that the network tasks keep their turn.

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::base::error::{Error, ErrorKind, Result};

/// Runs blocking jobs, so many at once as the machine has cores. Clones share the limit.
#[derive(Clone, Debug)]
pub struct Workers(Arc<Semaphore>);

impl Workers {
    /// One job per core.
    pub fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        Self(Arc::new(Semaphore::new(cores)))
    }

    /// Runs a job when a worker is free. Cancelled before that, it never runs; once running, it always ends.
    pub async fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let permit = Arc::clone(&self.0).acquire_owned().await.expect("the semaphore is never closed");
        let job = move || {
            let result = job();
            drop(permit);
            result
        };
        tokio::task::spawn_blocking(job)
            .await
            .map_err(|error| Error::with_source(ErrorKind::Internal, "a worker thread failed", error))
    }
}

impl Default for Workers {
    fn default() -> Self {
        Self::new()
    }
}
