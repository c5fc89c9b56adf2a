//! `NetworkManager` of core for Python. Not here: the user's class, which is in the Python package.

use std::path::PathBuf;

use dig_nat_core::api;
use dig_nat_core::base::options::{ConnectOptions, DownloadOptions, FindOptions, Unknown};
use pyo3::prelude::*;

use crate::client::download_result;
use crate::connection::Connection;
use crate::convert;
use crate::engine::Engine;
use crate::host::{file_info, key, nat_report};
use crate::node::Node;
use crate::operation::Operation;
use crate::stream::EventStream;

/// Everything a node can do.
#[pyclass(frozen, module = "dig_nat_tools._native")]
pub struct NetworkManager(Node<api::NetworkManager>);

#[pymethods]
impl NetworkManager {
    #[new]
    fn new(py: Python<'_>, options: &str) -> PyResult<Self> {
        let options = convert::json(options)?;
        Ok(Self(Node::new(py, || api::NetworkManager::from_json(&options, Unknown::Reject))?))
    }

    fn start(&self) -> PyResult<Operation> {
        self.0.start()
    }

    fn stop(&self) -> PyResult<Operation> {
        self.0.stop()
    }

    /// For destructors, also in a forked child.
    fn is_running(&self) -> bool {
        self.0.is_running()
    }

    fn port(&self, py: Python<'_>) -> PyResult<u16> {
        self.0.call(py, api::NetworkManager::port)
    }

    fn peer_id(&self, py: Python<'_>) -> PyResult<Option<String>> {
        self.0.call(py, |manager| manager.peer_id().map(|id| id.to_string()))
    }

    fn addresses(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        self.0.call(py, api::NetworkManager::addresses)
    }

    fn connect(&self, target: String) -> PyResult<Operation> {
        let engine = self.0.engine()?.clone();
        self.0.future(
            |manager| async move { manager.connect(&target).await },
            move |py, connection| python(py, &engine, connection),
        )
    }

    /// The result is `(Connection, traversal)`.
    fn connect_to_peer(&self, peer: String, options: &str) -> PyResult<Operation> {
        let engine = self.0.engine()?.clone();
        let options = convert::options::<ConnectOptions>(options)?;
        self.0.future(
            |manager| async move { manager.connect_to_peer(&peer, options).await },
            move |py, (connection, traversal)| {
                let traversal = convert::record(py, &traversal)?;
                Ok((python(py, &engine, connection)?, traversal).into_pyobject(py)?.into_any().unbind())
            },
        )
    }

    #[pyo3(signature = (peer, options))]
    fn diagnose(&self, peer: Option<String>, options: &str) -> PyResult<Operation> {
        let options = convert::options::<ConnectOptions>(options)?;
        self.0.future(
            |manager| async move { manager.diagnose(peer.as_deref(), options).await },
            |py, found| convert::record(py, &found),
        )
    }

    fn accept(&self) -> PyResult<Operation> {
        let engine = self.0.engine()?.clone();
        self.0.future(
            |manager| async move { Ok(manager.accept().await) },
            move |py, connection| match connection {
                Some(connection) => python(py, &engine, connection),
                None => Ok(py.None()),
            },
        )
    }

    fn find_peers(&self, content: &str, options: &str) -> PyResult<Operation> {
        let (content, options) = (key(content)?, convert::options::<FindOptions>(options)?);
        self.0.future(
            |manager| async move { manager.find_peers(content, options).await },
            |py, peers| convert::record(py, &peers),
        )
    }

    fn download(&self, content: &str, options: &str, progress: bool) -> PyResult<Operation> {
        let (content, options) = (key(content)?, convert::options::<DownloadOptions>(options)?);
        self.0.task(progress, |manager, report| manager.download(content, options, report), download_result)
    }

    fn share_file(&self, path: PathBuf, options: &str) -> PyResult<Operation> {
        let options = convert::options(options)?;
        self.0.task(false, |manager, _| manager.share_file(path, options), file_info)
    }

    #[pyo3(signature = (peer, content=None))]
    fn add_peer(&self, py: Python<'_>, peer: &str, content: Option<&str>) -> PyResult<()> {
        let content = content.map(key).transpose()?;
        self.0.try_call(py, |manager| manager.add_peer(peer, content))
    }

    fn set_continuous_discovery(&self, py: Python<'_>, enabled: bool) -> PyResult<()> {
        self.0.call(py, |manager| manager.set_continuous_discovery(enabled))
    }

    fn connection_type(&self, py: Python<'_>, peer: &str) -> PyResult<Option<&'static str>> {
        self.0.call(py, |manager| manager.connection_type(peer))
    }

    fn add_content_mapping(&self, py: Python<'_>, content_id: &str, hash: &str) -> PyResult<()> {
        let hash = convert::parse(hash)?;
        self.0.try_call(py, |manager| manager.add_content_mapping(content_id, hash))
    }

    fn hash_for_content(&self, py: Python<'_>, content_id: &str) -> PyResult<Option<String>> {
        self.0.call(py, |manager| manager.hash_for_content(content_id).map(|hash| hash.to_string()))
    }

    fn content_for_hash(&self, py: Python<'_>, hash: &str) -> PyResult<Option<String>> {
        let hash = convert::parse(hash)?;
        self.0.call(py, |manager| manager.content_for_hash(&hash))
    }

    fn nat_profile(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        nat_report(py, self.0.call(py, api::NetworkManager::nat_profile)?)
    }

    fn subscribe(&self, py: Python<'_>) -> PyResult<EventStream> {
        let events = self.0.call(py, api::NetworkManager::subscribe)?;
        Ok(EventStream::new(self.0.engine()?, events))
    }
}

fn python(py: Python<'_>, engine: &std::sync::Arc<Engine>, connection: api::Connection) -> PyResult<Py<PyAny>> {
    Ok(Py::new(py, Connection::new(engine, connection))?.into_any())
}
