//! Operations of a manager that can be cancelled half-way: reaching a peer, finding out why it cannot be reached. They
//! begin when their result is awaited. Not here: operations that are tasks of the engine (`task`).

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use dig_nat_core::api::{Connection, Diagnosis, Traversal};
use dig_nat_core::{Error, ErrorKind, Result};
use napi_derive::napi;
use tokio::sync::Notify;

use crate::connection::NativeConnection;
use crate::{error, json};

type Pending<T> = Pin<Box<dyn Future<Output = Result<T>> + Send>>;

/// A future that may be dropped at any time.
struct Cancellable<T> {
    cancelled: Arc<Notify>,
    future: Mutex<Option<Pending<T>>>,
}

impl<T> Cancellable<T> {
    fn new(future: impl Future<Output = Result<T>> + Send + 'static) -> Self {
        Self { cancelled: Arc::default(), future: Mutex::new(Some(Box::pin(future))) }
    }

    async fn wait(&self) -> napi::Result<T> {
        let future = self.future.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(future) = future else {
            return Err(error::to_js(Error::new(ErrorKind::InvalidState, "the result was already taken")));
        };
        let outcome = tokio::select! {
            outcome = future => outcome,
            () = self.cancelled.notified() => Err(Error::new(ErrorKind::Cancelled, "the call was cancelled")),
        };
        outcome.map_err(error::to_js)
    }
}

/// An attempt to reach a peer.
#[napi]
pub struct NativeReaching {
    inner: Cancellable<(Connection, Traversal)>,
}

impl NativeReaching {
    /// Wraps the call of the engine.
    pub(crate) fn new(future: impl Future<Output = Result<(Connection, Traversal)>> + Send + 'static) -> Self {
        Self { inner: Cancellable::new(future) }
    }
}

#[napi]
impl NativeReaching {
    /// Ends the attempt; its result becomes `ERR_CANCELLED`.
    #[napi]
    pub fn cancel(&self) {
        self.inner.cancelled.notify_one();
    }

    /// The connection with its traversal, once.
    #[napi]
    pub async fn wait(&self) -> napi::Result<NativeConnection> {
        let (connection, traversal) = self.inner.wait().await?;
        NativeConnection::reached(connection, &traversal)
    }
}

/// A node's examination of its network.
#[napi]
pub struct NativeDiagnosis {
    inner: Cancellable<Diagnosis>,
}

impl NativeDiagnosis {
    /// Wraps the call of the engine.
    pub(crate) fn new(future: impl Future<Output = Result<Diagnosis>> + Send + 'static) -> Self {
        Self { inner: Cancellable::new(future) }
    }
}

#[napi]
impl NativeDiagnosis {
    /// Ends the examination; its result becomes `ERR_CANCELLED`.
    #[napi]
    pub fn cancel(&self) {
        self.inner.cancelled.notify_one();
    }

    /// The result as JSON, once.
    #[napi]
    pub async fn wait(&self) -> napi::Result<String> {
        json::text(&self.inner.wait().await?)
    }
}
