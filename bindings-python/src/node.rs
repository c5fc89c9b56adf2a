//! What hosts, clients and managers have in common here: the engine they live in, their start and stop, and how calls
//! reach core. Not here: which calls there are.

use std::future::Future;
use std::sync::Arc;

use dig_nat_core::Result;
use dig_nat_core::api::{FileClient, FileHost, NetworkManager, PeerDiscoveryManager, ProgressFn, Task};
use pyo3::prelude::*;

use crate::engine::{Engine, Owned};
use crate::errors;
use crate::operation::Operation;

/// Starts and stops; core's node types.
pub trait Lifecycle: Clone + Send + Sync + 'static {
    /// See the core type.
    fn start_node(&self) -> impl Future<Output = Result<()>> + Send;
    /// See the core type.
    fn stop_node(&self) -> impl Future<Output = Result<()>> + Send;
    /// 0 while it is not running.
    fn bound_port(&self) -> u16;
}

macro_rules! lifecycle {
    ($($node:ty),+) => { $(
        impl Lifecycle for $node {
            fn start_node(&self) -> impl Future<Output = Result<()>> + Send {
                self.start()
            }
            fn stop_node(&self) -> impl Future<Output = Result<()>> + Send {
                self.stop()
            }
            fn bound_port(&self) -> u16 {
                self.port()
            }
        }
    )+ };
}

lifecycle!(FileHost, FileClient, NetworkManager, PeerDiscoveryManager);

/// One node of core in the engine of this process. Dropping it stops the node in the background.
pub struct Node<T: Lifecycle> {
    inner: Owned<T>,
    id: u64,
}

impl<T: Lifecycle> Node<T> {
    /// Makes the node; nothing is opened yet.
    pub fn new(py: Python<'_>, make: impl FnOnce() -> Result<T> + Send) -> PyResult<Self>
    where
        T: Send,
    {
        let engine = Engine::current(py)?;
        let handle = engine.handle().clone();
        let made = py.detach(move || {
            let _context = handle.enter();
            make()
        });
        let id = engine.new_id();
        Ok(Self { inner: Owned::new(engine, made.map_err(|error| errors::raise(&error))?), id })
    }

    /// Starts it and remembers to stop it when the interpreter exits.
    pub fn start(&self) -> PyResult<Operation> {
        let (engine, node) = self.remembered()?;
        let node = node.clone();
        Ok(Operation::future(engine, async move { node.start_node().await }, |py, ()| Ok(py.None())))
    }

    /// Stops it. Cannot be cancelled: a half-stopped node helps nobody.
    pub fn stop(&self) -> PyResult<Operation> {
        let (engine, node) = self.inner.get()?;
        engine.unregister(self.id);
        let node = node.clone();
        Ok(Operation::to_the_end(engine, async move { node.stop_node().await }, |py, ()| Ok(py.None())))
    }

    /// A call that answers at once. The GIL is released all the same: core may wait for a lock.
    pub fn call<R: Send>(&self, py: Python<'_>, call: impl FnOnce(&T) -> R + Send) -> PyResult<R> {
        let (engine, node) = self.inner.get()?;
        let handle = engine.handle().clone();
        Ok(py.detach(move || {
            let _context = handle.enter();
            call(node)
        }))
    }

    /// The same for calls that can fail.
    pub fn try_call<R: Send>(&self, py: Python<'_>, call: impl FnOnce(&T) -> Result<R> + Send) -> PyResult<R> {
        self.call(py, call)?.map_err(|error| errors::raise(&error))
    }

    /// Follows a task that `make` starts.
    pub fn task<R: Send + 'static>(
        &self,
        progress: bool,
        make: impl FnOnce(&T, Option<ProgressFn>) -> Task<R>,
        convert: impl FnOnce(Python<'_>, R) -> PyResult<Py<PyAny>> + Send + 'static,
    ) -> PyResult<Operation> {
        let (engine, node) = self.remembered()?;
        Ok(Operation::task(engine, progress, |callback| make(node, callback), convert))
    }

    /// Follows a future that `make` returns.
    pub fn future<R, F>(
        &self,
        make: impl FnOnce(T) -> F,
        convert: impl FnOnce(Python<'_>, R) -> PyResult<Py<PyAny>> + Send + 'static,
    ) -> PyResult<Operation>
    where
        R: Send + 'static,
        F: Future<Output = Result<R>> + Send + 'static,
    {
        let (engine, node) = self.remembered()?;
        Ok(Operation::future(engine, make(node.clone()), convert))
    }

    /// The engine, for what belongs to this node.
    pub fn engine(&self) -> PyResult<&Arc<Engine>> {
        Ok(self.inner.get()?.0)
    }

    /// Whether it has a port now, for destructors: false in a forked child.
    pub fn is_running(&self) -> bool {
        self.inner.get_unless_foreign().is_some_and(|(_, node)| node.bound_port() != 0)
    }

    /// The node, noted down to be stopped when the interpreter exits: most calls start it by themselves.
    fn remembered(&self) -> PyResult<(&Arc<Engine>, &T)> {
        let (engine, node) = self.inner.get()?;
        let stopping = node.clone();
        engine.register(
            self.id,
            Box::new(move || {
                Box::pin(async move {
                    // At exit and in destructors there is nobody left to tell.
                    let _ = stopping.stop_node().await;
                })
            }),
        );
        Ok((engine, node))
    }
}

impl<T: Lifecycle> Drop for Node<T> {
    fn drop(&mut self) {
        if let Some((engine, _)) = self.inner.get_unless_foreign()
            && let Some(stop) = engine.unregister(self.id)
        {
            engine.handle().spawn(stop());
        }
    }
}
