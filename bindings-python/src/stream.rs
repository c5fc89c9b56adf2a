//! Event subscriptions for Python. Not here: the event classes, which are Python's.

use std::sync::Arc;

use dig_nat_core::api;
use pyo3::prelude::*;
use tokio::sync::Mutex;

use crate::convert;
use crate::engine::{Engine, Owned};
use crate::operation::Operation;

/// The events of one node since the subscription. Dropping it unsubscribes.
#[pyclass(frozen, module = "dig_nat_tools._native")]
pub struct EventStream(Owned<Arc<Mutex<api::EventStream>>>);

impl EventStream {
    /// Wraps a subscription of core.
    pub fn new(engine: &Arc<Engine>, events: api::EventStream) -> Self {
        Self(Owned::new(engine.clone(), Arc::new(Mutex::new(events))))
    }
}

#[pymethods]
impl EventStream {
    /// The result is the event as `dict`, or `None` once the node is gone.
    fn next(&self) -> PyResult<Operation> {
        let (engine, events) = self.0.get()?;
        let events = events.clone();
        Ok(Operation::future(engine, async move { Ok(events.lock().await.next().await) }, |py, event| match event {
            Some(event) => convert::record(py, &event),
            None => Ok(py.None()),
        }))
    }
}
