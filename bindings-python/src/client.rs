//! `FileClient` of core for Python. Not here: the user's class, which is in the Python package.

use dig_nat_core::api;
use dig_nat_core::base::options::{DownloadOptions, FindOptions, Unknown};
use pyo3::prelude::*;

use crate::convert;
use crate::host::{key, nat_report};
use crate::node::Node;
use crate::operation::Operation;
use crate::stream::EventStream;

/// Finds peers and downloads files.
#[pyclass(frozen, module = "dig_nat_tools._native")]
pub struct FileClient(Node<api::FileClient>);

#[pymethods]
impl FileClient {
    #[new]
    fn new(py: Python<'_>, options: &str) -> PyResult<Self> {
        let options = convert::json(options)?;
        Ok(Self(Node::new(py, || api::FileClient::from_json(&options, Unknown::Reject))?))
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
        self.0.call(py, api::FileClient::port)
    }

    fn client_id(&self, py: Python<'_>) -> PyResult<String> {
        self.0.call(py, api::FileClient::client_id)
    }

    fn peer_id(&self, py: Python<'_>) -> PyResult<Option<String>> {
        self.0.call(py, |client| client.peer_id().map(|id| id.to_string()))
    }

    fn find_peers(&self, content: &str, options: &str) -> PyResult<Operation> {
        let (content, options) = (key(content)?, convert::options::<FindOptions>(options)?);
        self.0.future(
            |client| async move { client.find_peers(content, options).await },
            |py, peers| convert::record(py, &peers),
        )
    }

    fn download(&self, content: &str, options: &str, progress: bool) -> PyResult<Operation> {
        let (content, options) = (key(content)?, convert::options::<DownloadOptions>(options)?);
        self.0.task(progress, |client, report| client.download(content, options, report), download_result)
    }

    fn file_info(&self, content: &str, options: &str) -> PyResult<Operation> {
        let (content, options) = (key(content)?, convert::options::<DownloadOptions>(options)?);
        self.0.task(false, |client, _| client.file_info(content, options), |py, file| convert::record(py, &file))
    }

    #[pyo3(signature = (peer, content=None))]
    fn add_peer(&self, py: Python<'_>, peer: &str, content: Option<&str>) -> PyResult<()> {
        let content = content.map(key).transpose()?;
        self.0.try_call(py, |client| client.add_peer(peer, content))
    }

    fn set_continuous_discovery(&self, py: Python<'_>, enabled: bool) -> PyResult<()> {
        self.0.call(py, |client| client.set_continuous_discovery(enabled))
    }

    fn add_content_mapping(&self, py: Python<'_>, content_id: &str, hash: &str) -> PyResult<()> {
        let hash = convert::parse(hash)?;
        self.0.try_call(py, |client| client.add_content_mapping(content_id, hash))
    }

    fn hash_for_content(&self, py: Python<'_>, content_id: &str) -> PyResult<Option<String>> {
        self.0.call(py, |client| client.hash_for_content(content_id).map(|hash| hash.to_string()))
    }

    fn nat_profile(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        nat_report(py, self.0.call(py, api::FileClient::nat_profile)?)
    }

    fn subscribe(&self, py: Python<'_>) -> PyResult<EventStream> {
        let events = self.0.call(py, api::FileClient::subscribe)?;
        Ok(EventStream::new(self.0.engine()?, events))
    }
}

/// A finished download as `dict`.
pub fn download_result(py: Python<'_>, mut result: api::DownloadResult) -> PyResult<Py<PyAny>> {
    let path = std::mem::take(&mut result.path);
    convert::record_with_path(py, &result, &path)
}
