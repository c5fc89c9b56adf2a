//! A running operation of the engine: its result as a promise, and a way to cancel it. Not here: the operations.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};

use dig_nat_core::api::{Canceller, Task};
use dig_nat_core::{Error, ErrorKind};
use napi_derive::napi;
use serde::Serialize;

use crate::{error, json};

type Pending = Pin<Box<dyn Future<Output = napi::Result<String>> + Send>>;

/// A cancellable operation. Losing it before `wait` is called cancels it.
#[napi]
pub struct NativeTask {
    canceller: Canceller,
    pending: Mutex<Option<Pending>>,
}

impl NativeTask {
    /// Wraps a task whose result is a record.
    pub(crate) fn new<T: Serialize + Send + 'static>(task: Task<T>) -> Self {
        Self::with(task, |result| result)
    }

    /// Wraps a task whose result is made into a record.
    pub(crate) fn with<T: Send + 'static, R: Serialize>(
        task: Task<T>,
        record: impl FnOnce(T) -> R + Send + 'static,
    ) -> Self {
        let canceller = task.canceller();
        let pending: Pending = Box::pin(async move { json::text(&record(task.wait().await.map_err(error::to_js)?)) });
        Self { canceller, pending: Mutex::new(Some(pending)) }
    }
}

#[napi]
impl NativeTask {
    /// Asks the operation to stop; its result becomes `ERR_CANCELLED`.
    #[napi]
    pub fn cancel(&self) {
        self.canceller.cancel();
    }

    /// The result as JSON, once.
    #[napi]
    pub async fn wait(&self) -> napi::Result<String> {
        let pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner).take();
        match pending {
            Some(pending) => pending.await,
            None => Err(error::to_js(Error::new(ErrorKind::InvalidState, "the result was already taken"))),
        }
    }
}

/// The same for an operation whose result is an object of the engine; the classes around it are in `traversal`.
pub(crate) struct ObjectTask<T> {
    canceller: Canceller,
    task: Mutex<Option<Task<T>>>,
}

impl<T: Send + 'static> ObjectTask<T> {
    /// Wraps a task.
    pub(crate) fn new(task: Task<T>) -> Self {
        Self { canceller: task.canceller(), task: Mutex::new(Some(task)) }
    }

    /// Asks the operation to stop.
    pub(crate) fn cancel(&self) {
        self.canceller.cancel();
    }

    /// The result, once.
    pub(crate) async fn wait(&self) -> napi::Result<T> {
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        match task {
            Some(task) => task.wait().await.map_err(error::to_js),
            None => Err(error::to_js(Error::new(ErrorKind::InvalidState, "the result was already taken"))),
        }
    }
}
