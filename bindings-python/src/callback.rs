//! Content that is not a file: core asks, a Python function answers. Not here: on which thread or event loop that
//! function runs, which the Python package decides.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use dig_nat_core::api::{CallbackRequest, FileCallback};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use tokio::sync::oneshot;

use crate::convert;
use crate::engine::{Dispatcher, Engine, lock};

type Chunks = Option<Vec<Bytes>>;

/// The way back of one answer. Dropping it without an answer means "not available".
#[pyclass(frozen, module = "dig_nat_tools._native")]
pub struct Reply(Mutex<Option<oneshot::Sender<Chunks>>>);

#[pymethods]
impl Reply {
    /// Answers with chunks, or `None` for "not available". Later answers are ignored.
    fn send(&self, chunks: Option<Vec<PyBackedBytes>>) {
        if let Some(sender) = lock(&self.0).take() {
            let chunks = chunks.map(|chunks| chunks.iter().map(|chunk| Bytes::copy_from_slice(chunk)).collect());
            // Whoever asked may be gone by now.
            let _ = sender.send(chunks);
        }
    }
}

/// The Python function that takes requests; it ends on the dispatcher thread, never on a thread of the engine.
struct Deliver {
    callable: Option<Py<PyAny>>,
    dispatcher: Dispatcher,
}

impl Drop for Deliver {
    fn drop(&mut self) {
        if let Some(callable) = self.callable.take() {
            self.dispatcher.run(move |_| drop(callable));
        }
    }
}

/// A callback for core that calls `deliver(request, reply)` on the dispatcher thread for every request.
pub fn bridge(engine: &Arc<Engine>, deliver: Py<PyAny>) -> FileCallback {
    let dispatcher = engine.dispatcher().clone();
    let deliver = Arc::new(Deliver { callable: Some(deliver), dispatcher: dispatcher.clone() });
    Arc::new(move |request| {
        let (sender, receiver) = oneshot::channel();
        let deliver = deliver.clone();
        dispatcher.run(move |py| {
            if let Err(error) = call(py, &deliver, &request, sender) {
                error.write_unraisable(py, None);
            }
        });
        // Without an answer the sender is dropped.
        Box::pin(async move { receiver.await.unwrap_or(None) })
    })
}

fn call(py: Python<'_>, deliver: &Deliver, request: &CallbackRequest, sender: oneshot::Sender<Chunks>) -> PyResult<()> {
    let Some(callable) = &deliver.callable else { return Ok(()) };
    let reply = Py::new(py, Reply(Mutex::new(Some(sender))))?;
    callable.call1(py, (convert::record(py, request)?, reply))?;
    Ok(())
}
