//! Message connections for Python. Not here: their protocol.

use std::sync::Arc;

use bytes::Bytes;
use dig_nat_core::api;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyString};

use crate::engine::{Engine, Owned};
use crate::operation::Operation;

/// A message connection to another network manager. It closes when it is dropped.
#[pyclass(frozen, module = "dig_nat_tools._native")]
pub struct Connection(Owned<api::Connection>);

impl Connection {
    /// Wraps a connection of core.
    pub fn new(engine: &Arc<Engine>, connection: api::Connection) -> Self {
        Self(Owned::new(engine.clone(), connection))
    }
}

#[pymethods]
impl Connection {
    fn peer(&self) -> PyResult<String> {
        Ok(self.0.get()?.1.peer().to_string())
    }

    fn address(&self) -> PyResult<String> {
        Ok(self.0.get()?.1.address().to_owned())
    }

    fn connection_type(&self) -> PyResult<&'static str> {
        Ok(self.0.get()?.1.connection_type())
    }

    /// `data` is bytes, or the UTF-8 of a text. Cancelling it half-way closes the connection.
    #[expect(clippy::needless_pass_by_value, reason = "PyO3 extracts owned values")]
    fn send(&self, kind: String, text: bool, data: PyBackedBytes) -> PyResult<Operation> {
        let (engine, connection) = self.0.get()?;
        let connection = connection.clone();
        let message = api::Message { kind, text, data: Bytes::copy_from_slice(&data) };
        Ok(Operation::future(engine, async move { connection.send(message).await }, |py, ()| Ok(py.None())))
    }

    /// The result is `(kind, str or bytes)`, or `None` after the end.
    fn receive(&self) -> PyResult<Operation> {
        let (engine, connection) = self.0.get()?;
        let connection = connection.clone();
        Ok(Operation::future(engine, async move { connection.receive().await }, |py, message| match message {
            Some(message) => python(py, &message),
            None => Ok(py.None()),
        }))
    }

    fn close(&self) -> PyResult<Operation> {
        let (engine, connection) = self.0.get()?;
        let connection = connection.clone();
        let closing = async move {
            connection.close().await;
            Ok(())
        };
        Ok(Operation::to_the_end(engine, closing, |py, ()| Ok(py.None())))
    }
}

fn python(py: Python<'_>, message: &api::Message) -> PyResult<Py<PyAny>> {
    let data = match std::str::from_utf8(&message.data) {
        Ok(text) if message.text => PyString::new(py, text).into_any(),
        _ => PyBytes::new(py, &message.data).into_any(),
    };
    Ok((message.kind.as_str(), data).into_pyobject(py)?.into_any().unbind())
}
