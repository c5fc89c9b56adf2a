//! `PeerDiscoveryManager` of core for Python. Not here: the user's class, which is in the Python package.

use dig_nat_core::api;
use dig_nat_core::base::options::{AnnounceOptions, FindOptions, KnownPeersOptions, Unknown};
use pyo3::prelude::*;

use crate::convert;
use crate::host::key;
use crate::node::Node;
use crate::operation::Operation;
use crate::stream::EventStream;

/// Finding and announcing without hosting or downloading.
#[pyclass(frozen, module = "dig_nat_tools._native")]
pub struct PeerDiscoveryManager(Node<api::PeerDiscoveryManager>);

#[pymethods]
impl PeerDiscoveryManager {
    #[new]
    fn new(py: Python<'_>, options: &str) -> PyResult<Self> {
        let options = convert::json(options)?;
        Ok(Self(Node::new(py, || api::PeerDiscoveryManager::from_json(&options, Unknown::Reject))?))
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
        self.0.call(py, api::PeerDiscoveryManager::port)
    }

    fn peer_id(&self, py: Python<'_>) -> PyResult<Option<String>> {
        self.0.call(py, |manager| manager.peer_id().map(|id| id.to_string()))
    }

    fn addresses(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        self.0.call(py, api::PeerDiscoveryManager::addresses)
    }

    fn announce(&self, content: &str, options: &str) -> PyResult<Operation> {
        let (content, options) = (key(content)?, convert::options::<AnnounceOptions>(options)?);
        self.0.future(|manager| async move { manager.announce(content, options).await }, |py, ()| Ok(py.None()))
    }

    fn withdraw(&self, content: &str) -> PyResult<Operation> {
        let content = key(content)?;
        self.0.future(
            |manager| async move { manager.withdraw(&content).await },
            |py, withdrawn| Ok(withdrawn.into_pyobject(py)?.to_owned().into_any().unbind()),
        )
    }

    fn watch(&self, py: Python<'_>, content: &str, priority: &str) -> PyResult<bool> {
        let content = key(content)?;
        self.0.try_call(py, |manager| manager.watch(&content, priority))
    }

    fn unwatch(&self, py: Python<'_>, content: &str) -> PyResult<bool> {
        let content = key(content)?;
        self.0.call(py, |manager| manager.unwatch(&content))
    }

    fn find_peers(&self, content: &str, options: &str) -> PyResult<Operation> {
        let (content, options) = (key(content)?, convert::options::<FindOptions>(options)?);
        self.0.future(
            |manager| async move { manager.find_peers(content, options).await },
            |py, peers| convert::record(py, &peers),
        )
    }

    fn peers(&self, py: Python<'_>, options: &str) -> PyResult<Py<PyAny>> {
        let options = convert::options::<KnownPeersOptions>(options)?;
        convert::record(py, &self.0.try_call(py, |manager| manager.peers(&options))?)
    }

    #[pyo3(signature = (peer, content=None))]
    fn add_peer(&self, py: Python<'_>, peer: &str, content: Option<&str>) -> PyResult<()> {
        let content = content.map(key).transpose()?;
        self.0.try_call(py, |manager| manager.add_peer(peer, content))
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

    fn find_hash(&self, content_id: String, timeout_ms: u64) -> PyResult<Operation> {
        self.0.future(
            |manager| async move { manager.find_hash(&content_id, timeout_ms).await },
            |py, hash| Ok(hash.map(|hash| hash.to_string()).into_pyobject(py)?.into_any().unbind()),
        )
    }

    fn remove_content_mapping(&self, content_id: String) -> PyResult<Operation> {
        self.0.future(
            |manager| async move { manager.remove_content_mapping(&content_id).await },
            |py, removed| Ok(removed.into_pyobject(py)?.to_owned().into_any().unbind()),
        )
    }

    fn find_node(&self, target: String, timeout_ms: u64) -> PyResult<Operation> {
        self.0.future(
            |manager| async move { manager.find_node(&target, timeout_ms).await },
            |py, nodes| convert::record(py, &nodes),
        )
    }

    fn shard_prefixes(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        self.0.call(py, api::PeerDiscoveryManager::shard_prefixes)
    }

    fn subscribe(&self, py: Python<'_>) -> PyResult<EventStream> {
        let events = self.0.call(py, api::PeerDiscoveryManager::subscribe)?;
        Ok(EventStream::new(self.0.engine()?, events))
    }
}
