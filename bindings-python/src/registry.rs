//! The connection registry for Python. Not here: the table and its file.

use std::sync::Arc;

use dig_nat_core::api;
use pyo3::prelude::*;

use crate::convert;
use crate::engine::{Engine, Owned};
use crate::operation::Operation;

/// Which way led to a peer last.
#[pyclass(frozen, module = "dig_nat_tools._native")]
pub struct ConnectionRegistry(Owned<api::ConnectionRegistry>);

/// Reads a registry.
#[pyfunction]
pub fn open_registry(py: Python<'_>, options: &str) -> PyResult<Operation> {
    let options = convert::options(options)?;
    let engine: Arc<Engine> = Engine::current(py)?;
    let owner = engine.clone();
    let make = |_| api::ConnectionRegistry::open_in_background(options);
    Ok(Operation::task(&engine, false, make, move |py, registry| {
        Ok(Py::new(py, ConnectionRegistry(Owned::new(owner, registry)))?.into_any())
    }))
}

#[pymethods]
impl ConnectionRegistry {
    fn successful_methods(&self, peer: &str) -> PyResult<Vec<&'static str>> {
        Ok(self.0.get()?.1.successful_methods(peer))
    }

    fn connection_method(&self, py: Python<'_>, peer: &str) -> PyResult<Py<PyAny>> {
        convert::record(py, &self.0.get()?.1.connection_method(peer))
    }

    fn save(&self, peer: String, connection_type: &str, options: &str) -> PyResult<Operation> {
        let (engine, registry) = self.0.get()?;
        let options = convert::options(options)?;
        let make = |_| registry.save(peer, connection_type, options);
        Ok(Operation::task(engine, false, make, |py, ()| Ok(py.None())))
    }

    fn remove(&self, peer: String) -> PyResult<Operation> {
        let (engine, registry) = self.0.get()?;
        Ok(Operation::task(engine, false, |_| registry.remove(peer), |py, known| convert::record(py, &known)))
    }

    fn cleanup(&self) -> PyResult<Operation> {
        let (engine, registry) = self.0.get()?;
        Ok(Operation::task(engine, false, |_| registry.cleanup(), |py, gone| convert::record(py, &gone)))
    }
}
