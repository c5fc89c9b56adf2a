//! Single ways through NATs for Python: hole punching, TURN and ICE, and what they give. Not here: how bytes of a
//! signalling carrier travel, which is Python's.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use dig_nat_core::Error;
use dig_nat_core::api::{self, SignalledBy, SignallingEnd};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;

use crate::convert;
use crate::engine::{Engine, Owned, lock};
use crate::errors;
use crate::operation::Operation;

/// Opens a hole: `UDP_HOLE_PUNCH`, `TCP_HOLE_PUNCH` or `TCP_SIMULTANEOUS_OPEN`.
#[pyfunction]
pub fn punch(py: Python<'_>, method: &str, options: &str) -> PyResult<Operation> {
    let options = convert::options(options)?;
    let punch = match method {
        "UDP_HOLE_PUNCH" => api::punch_udp,
        "TCP_HOLE_PUNCH" => api::punch_tcp,
        _ => api::tcp_simultaneous_open,
    };
    let engine = Engine::current(py)?;
    let owner = engine.clone();
    Ok(Operation::task(&engine, false, |_| punch(options), move |py, socket| PunchedSocket::python(py, &owner, socket)))
}

/// Connects by ICE over a signalling object, which serves one attempt, or at the Gun relays that the options name.
#[pyfunction]
#[pyo3(signature = (options, signalling=None))]
pub fn connect_with_ice(py: Python<'_>, options: &str, signalling: Option<&Signalling>) -> PyResult<Operation> {
    let options = convert::options(options)?;
    let end = match signalling {
        Some(signalling) => {
            let end = lock(&signalling.0.get()?.1.engine).take();
            let once = || errors::raise(&Error::invalid("signaling", "serves one attempt only"));
            SignalledBy::Program(end.ok_or_else(once)?)
        }
        None => SignalledBy::Relays,
    };
    let engine = Engine::current(py)?;
    let owner = engine.clone();
    let make = |_| api::connect_with_ice(options, end);
    Ok(Operation::task(&engine, false, make, move |py, socket| PunchedSocket::python(py, &owner, socket)))
}

/// Allocates an address at a TURN server.
#[pyfunction]
pub fn create_turn_allocation(py: Python<'_>, options: &str) -> PyResult<Operation> {
    let options = convert::options(options)?;
    let engine = Engine::current(py)?;
    let owner = engine.clone();
    let make = |_| api::create_turn_allocation(options);
    Ok(Operation::task(&engine, false, make, move |py, allocation| {
        let allocation = TurnAllocation(Owned::new(owner, allocation));
        Ok(Py::new(py, allocation)?.into_any())
    }))
}

/// A way to one peer. It closes when it is dropped.
#[pyclass(frozen, module = "dig_nat_tools._native")]
pub struct PunchedSocket(Owned<api::PunchedSocket>);

impl PunchedSocket {
    fn python(py: Python<'_>, engine: &Arc<Engine>, socket: api::PunchedSocket) -> PyResult<Py<PyAny>> {
        Ok(Py::new(py, Self(Owned::new(engine.clone(), socket)))?.into_any())
    }
}

#[pymethods]
impl PunchedSocket {
    fn info(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        convert::record(py, self.0.get()?.1.info())
    }

    #[expect(clippy::needless_pass_by_value, reason = "PyO3 extracts owned values")]
    fn send(&self, data: PyBackedBytes) -> PyResult<Operation> {
        let (engine, socket) = self.0.get()?;
        let (socket, data) = (socket.clone(), Bytes::copy_from_slice(&data));
        Ok(Operation::future(engine, async move { socket.send(data).await }, |py, ()| Ok(py.None())))
    }

    /// The result is `bytes`, or `None` after the end.
    fn receive(&self) -> PyResult<Operation> {
        let (engine, socket) = self.0.get()?;
        let socket = socket.clone();
        Ok(Operation::future(engine, async move { socket.receive().await }, |py, data| Ok(bytes(py, data.as_ref()))))
    }

    fn close(&self) -> PyResult<Operation> {
        let (engine, socket) = self.0.get()?;
        let socket = socket.clone();
        let closing = async move {
            socket.close().await;
            Ok(())
        };
        Ok(Operation::to_the_end(engine, closing, |py, ()| Ok(py.None())))
    }
}

/// An address at a TURN server. It is released when it is dropped.
#[pyclass(frozen, module = "dig_nat_tools._native")]
pub struct TurnAllocation(Owned<api::TurnAllocation>);

#[pymethods]
impl TurnAllocation {
    fn info(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        convert::record(py, &self.0.get()?.1.info())
    }

    fn permit(&self, address: &str) -> PyResult<Operation> {
        let (engine, allocation) = self.0.get()?;
        let (allocation, address) = (allocation.clone(), ip(address)?);
        Ok(Operation::future(engine, async move { allocation.permit(address).await }, |py, ()| Ok(py.None())))
    }

    #[expect(clippy::needless_pass_by_value, reason = "PyO3 extracts owned values")]
    fn send_to(&self, data: PyBackedBytes, address: &str, port: u16) -> PyResult<Operation> {
        let (engine, allocation) = self.0.get()?;
        let (allocation, peer) = (allocation.clone(), SocketAddr::new(ip(address)?, port));
        let data = Bytes::copy_from_slice(&data);
        Ok(Operation::future(engine, async move { allocation.send_to(peer, data).await }, |py, ()| Ok(py.None())))
    }

    /// The result is `(bytes, address, port)`, or `None` after the end.
    fn receive(&self) -> PyResult<Operation> {
        let (engine, allocation) = self.0.get()?;
        let allocation = allocation.clone();
        Ok(Operation::future(engine, async move { allocation.receive().await }, |py, received| match received {
            Some((from, data)) => {
                let all = (PyBytes::new(py, &data), from.ip().to_string(), from.port());
                Ok(all.into_pyobject(py)?.into_any().unbind())
            }
            None => Ok(py.None()),
        }))
    }

    fn refresh(&self, lifetime_s: u32) -> PyResult<Operation> {
        let (engine, allocation) = self.0.get()?;
        let allocation = allocation.clone();
        let refreshing = async move { allocation.refresh(lifetime_s).await };
        Ok(Operation::future(engine, refreshing, |py, seconds| convert::record(py, &seconds)))
    }

    fn release(&self) -> PyResult<Operation> {
        let (engine, allocation) = self.0.get()?;
        let allocation = allocation.clone();
        let releasing = async move {
            allocation.release().await;
            Ok(())
        };
        Ok(Operation::to_the_end(engine, releasing, |py, ()| Ok(py.None())))
    }
}

/// Both ends of signalling that Python carries, for one attempt.
#[pyclass(frozen, module = "dig_nat_tools._native")]
pub struct Signalling(Owned<Ends>);

struct Ends {
    engine: Mutex<Option<api::Signalling>>,
    program: SignallingEnd,
}

#[pymethods]
impl Signalling {
    #[new]
    fn new(py: Python<'_>) -> PyResult<Self> {
        let (engine, program) = api::signalling();
        Ok(Self(Owned::new(Engine::current(py)?, Ends { engine: Mutex::new(Some(engine)), program })))
    }

    /// The result is the next message for the peer, or `None` when the attempt has ended.
    fn outgoing(&self) -> PyResult<Operation> {
        let (engine, ends) = self.0.get()?;
        let end = ends.program.clone();
        Ok(Operation::future(engine, async move { Ok(end.outgoing().await) }, |py, data| Ok(bytes(py, data.as_ref()))))
    }

    /// Hands over a message of the peer; the result is `False` when the attempt has ended.
    #[expect(clippy::needless_pass_by_value, reason = "PyO3 extracts owned values")]
    fn deliver(&self, message: PyBackedBytes) -> PyResult<Operation> {
        let (engine, ends) = self.0.get()?;
        let (end, message) = (ends.program.clone(), Bytes::copy_from_slice(&message));
        let delivering = async move { end.deliver(message).await };
        Ok(Operation::future(engine, delivering, |py, taken| convert::record(py, &taken)))
    }

    /// Says that nothing more will come from the peer.
    fn close(&self) -> PyResult<()> {
        self.0.get()?.1.program.close();
        Ok(())
    }
}

fn bytes(py: Python<'_>, data: Option<&Bytes>) -> Py<PyAny> {
    data.map_or_else(|| py.None(), |data| PyBytes::new(py, data).into_any().unbind())
}

fn ip(text: &str) -> PyResult<IpAddr> {
    text.parse().map_err(|cause| errors::raise(&Error::invalid("address", format_args!("{text:?}: {cause}"))))
}
