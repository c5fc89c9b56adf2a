//! `FileHost` of core for Python. Not here: the user's class, which is in the Python package.

use std::path::PathBuf;

use dig_nat_core::api;
use dig_nat_core::base::ids::{ContentKey, FileHash};
use dig_nat_core::base::options::Unknown;
use pyo3::prelude::*;

use crate::callback;
use crate::convert;
use crate::node::Node;
use crate::operation::Operation;
use crate::stream::EventStream;

/// Shares files.
#[pyclass(frozen, module = "dig_nat_tools._native")]
pub struct FileHost(Node<api::FileHost>);

#[pymethods]
impl FileHost {
    #[new]
    fn new(py: Python<'_>, options: &str) -> PyResult<Self> {
        let options = convert::json(options)?;
        Ok(Self(Node::new(py, || api::FileHost::from_json(&options, Unknown::Reject))?))
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
        self.0.call(py, api::FileHost::port)
    }

    fn host_id(&self, py: Python<'_>) -> PyResult<String> {
        self.0.call(py, api::FileHost::host_id)
    }

    fn peer_id(&self, py: Python<'_>) -> PyResult<Option<String>> {
        self.0.call(py, |host| host.peer_id().map(|id| id.to_string()))
    }

    fn addresses(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        self.0.call(py, api::FileHost::addresses)
    }

    fn add_file(&self, path: PathBuf, options: &str) -> PyResult<Operation> {
        let options = convert::options(options)?;
        self.0.task(false, |host, _| host.add_file(path, options), file_info)
    }

    fn add_directory(&self, path: PathBuf) -> PyResult<Operation> {
        self.0.task(
            false,
            |host, _| host.add_directory(path),
            |py, files| Ok(file_infos(py, files)?.into_pyobject(py)?.into_any().unbind()),
        )
    }

    fn watch_directory(&self, path: PathBuf, options: &str) -> PyResult<Operation> {
        let options = convert::options(options)?;
        self.0.task(
            false,
            |host, _| host.watch_directory(path, options),
            |py, files| Ok(file_infos(py, files)?.into_pyobject(py)?.into_any().unbind()),
        )
    }

    fn unwatch_directory(&self, path: PathBuf) -> PyResult<Operation> {
        self.0.future(
            |host| async move { host.unwatch_directory(path).await },
            |py, watched| Ok(watched.into_pyobject(py)?.to_owned().into_any().unbind()),
        )
    }

    fn remove_file(&self, hash: &str) -> PyResult<Operation> {
        let hash: FileHash = convert::parse(hash)?;
        self.0.future(
            |host| async move { host.remove_file(hash).await },
            |py, removed| Ok(removed.into_pyobject(py)?.to_owned().into_any().unbind()),
        )
    }

    fn shard_prefixes(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        self.0.call(py, api::FileHost::shard_prefixes)
    }

    fn has_file(&self, py: Python<'_>, hash: &str) -> PyResult<bool> {
        let hash: FileHash = convert::parse(hash)?;
        self.0.call(py, |host| host.has_file(&hash))
    }

    fn files(&self, py: Python<'_>) -> PyResult<Vec<Py<PyAny>>> {
        let files = self.0.call(py, api::FileHost::files)?;
        file_infos(py, files)
    }

    fn add_content_mapping(&self, py: Python<'_>, content_id: &str, hash: &str) -> PyResult<()> {
        let hash: FileHash = convert::parse(hash)?;
        self.0.try_call(py, |host| host.add_content_mapping(content_id, hash))
    }

    fn hash_for_content(&self, py: Python<'_>, content_id: &str) -> PyResult<Option<String>> {
        self.0.call(py, |host| host.hash_for_content(content_id).map(|hash| hash.to_string()))
    }

    fn content_for_hash(&self, py: Python<'_>, hash: &str) -> PyResult<Option<String>> {
        let hash: FileHash = convert::parse(hash)?;
        self.0.call(py, |host| host.content_for_hash(&hash))
    }

    /// `deliver(request, reply)` is called on the dispatcher thread and must hand the work on.
    fn set_file_callback(&self, py: Python<'_>, deliver: Option<Py<PyAny>>) -> PyResult<()> {
        let bridge = match deliver {
            Some(deliver) => Some(callback::bridge(self.0.engine()?, deliver)),
            None => None,
        };
        self.0.call(py, |host| host.set_file_callback(bridge))
    }

    fn nat_profile(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        nat_report(py, self.0.call(py, api::FileHost::nat_profile)?)
    }

    fn subscribe(&self, py: Python<'_>) -> PyResult<EventStream> {
        let events = self.0.call(py, api::FileHost::subscribe)?;
        Ok(EventStream::new(self.0.engine()?, events))
    }
}

/// A shared file as `dict`.
pub fn file_info(py: Python<'_>, mut file: api::FileInfo) -> PyResult<Py<PyAny>> {
    let path = std::mem::take(&mut file.path);
    convert::record_with_path(py, &file, &path)
}

/// What a node knows of its NAT as `dict`.
pub fn nat_report(py: Python<'_>, profile: Option<api::NatProfile>) -> PyResult<Option<Py<PyAny>>> {
    profile.map(|profile| convert::record(py, &api::NatReport::from(profile))).transpose()
}

fn file_infos(py: Python<'_>, files: Vec<api::FileInfo>) -> PyResult<Vec<Py<PyAny>>> {
    files.into_iter().map(|file| file_info(py, file)).collect()
}

/// Parses a hash or content id.
pub fn key(text: &str) -> PyResult<ContentKey> {
    convert::parse(text)
}
