//! A running operation: await it, cancel it. Not here: progress, which travels through callbacks and events.

use std::future::{Future, IntoFuture};
use std::pin::Pin;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::base::error::{Error, ErrorKind, Result};

/// An operation that runs in the background. Dropping it cancels the operation; awaiting it gives the result.
#[must_use = "dropping a task cancels it"]
pub struct Task<T> {
    handle: Option<JoinHandle<Result<T>>>,
    cancel: CancellationToken,
}

/// Cancels a [`Task`] from elsewhere. Cheap to clone; does nothing once the task has ended.
#[derive(Clone, Debug)]
pub struct Canceller(CancellationToken);

impl Canceller {
    /// Asks the operation to stop and clean up; its result becomes [`ErrorKind::Cancelled`].
    pub fn cancel(&self) {
        self.0.cancel();
    }
}

impl<T: Send + 'static> Task<T> {
    /// Starts an operation. It must watch the token it is given and clean up when that is cancelled.
    pub(crate) fn spawn<F, Fut>(operation: F) -> Self
    where
        F: FnOnce(CancellationToken) -> Fut,
        Fut: Future<Output = Result<T>> + Send + 'static,
    {
        let cancel = CancellationToken::new();
        let handle = tokio::spawn(operation(cancel.clone()));
        Self { handle: Some(handle), cancel }
    }

    /// Asks the operation to stop and clean up; its result becomes [`ErrorKind::Cancelled`].
    pub fn cancel(&self) {
        self.cancel.cancel();
    }

    /// A handle that cancels this task from elsewhere.
    pub fn canceller(&self) -> Canceller {
        Canceller(self.cancel.clone())
    }

    /// Whether the result is there.
    pub fn is_finished(&self) -> bool {
        self.handle.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// The result. Dropping the returned future cancels the operation.
    pub async fn wait(mut self) -> Result<T> {
        let handle = self.handle.as_mut().expect("only wait() takes the handle, and it consumes the task");
        let joined = handle.await;
        self.handle = None;
        match joined {
            Ok(result) => result,
            Err(error) if error.is_cancelled() => Err(Error::new(ErrorKind::Cancelled, "the runtime was shut down")),
            Err(error) => Err(Error::with_source(ErrorKind::Internal, "an operation panicked", error)),
        }
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

impl<T: Send + 'static> IntoFuture for Task<T> {
    type Output = Result<T>;
    type IntoFuture = Pin<Box<dyn Future<Output = Result<T>> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.wait())
    }
}
