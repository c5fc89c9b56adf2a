//! The free functions of core for Python.

use std::path::PathBuf;
use std::time::Duration;

use dig_nat_core::api::{self, NatReport};
use dig_nat_core::base::options::{
    ClientOptions, DownloadOptions, FromJson, NodeOptions, OptionInfo, Unknown, pair_from_json,
};
use dig_nat_core::{Error, Result};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use serde_json::Value;

use crate::client::download_result;
use crate::convert;
use crate::engine::Engine;
use crate::errors;
use crate::host::key;
use crate::operation::Operation;

/// Downloads with a client made for this call; `options` holds those of node, client and download.
#[pyfunction]
pub fn download_file(py: Python<'_>, content: &str, options: &str, progress: bool) -> PyResult<Operation> {
    let content = key(content)?;
    let (node, client, download) = three(&convert::json(options)?).map_err(|error| errors::raise(&error))?;
    let make = |report| api::download_file(content, node, client, download, report);
    Ok(Operation::task(&Engine::current(py)?, progress, make, download_result))
}

/// Examines the NAT in front of this machine.
#[pyfunction]
pub fn detect_nat_type(py: Python<'_>, options: &str) -> PyResult<Operation> {
    let options = convert::options(options)?;
    let make = |_| api::detect_nat_type(options);
    Ok(Operation::task(&Engine::current(py)?, false, make, |py, profile| {
        convert::record(py, &NatReport::from(profile))
    }))
}

/// Examines the NAT, the router's port mapping protocols and IPv6.
#[pyfunction]
pub fn diagnose(py: Python<'_>, options: &str) -> PyResult<Operation> {
    let options = convert::options(options)?;
    let make = |_| api::diagnose(options);
    Ok(Operation::task(&Engine::current(py)?, false, make, |py, found| convert::record(py, &found)))
}

/// Asks for this machine's public addresses.
#[pyfunction]
pub fn discover_public_ips(py: Python<'_>, options: &str) -> PyResult<Operation> {
    let options = convert::options(options)?;
    let make = |_| api::discover_public_ips(options);
    Ok(Operation::task(&Engine::current(py)?, false, make, |py, found| convert::record(py, &found)))
}

/// Has the router forward a port.
#[pyfunction]
pub fn create_upnp_mapping(py: Python<'_>, options: &str) -> PyResult<Operation> {
    let options = convert::options(options)?;
    let make = |_| api::create_upnp_mapping(options);
    Ok(Operation::task(&Engine::current(py)?, false, make, |py, mapping| convert::record(py, &mapping)))
}

/// Has the router forget a mapping; the result says whether it knew it.
#[pyfunction]
pub fn delete_upnp_mapping(py: Python<'_>, options: &str) -> PyResult<Operation> {
    let options = convert::options(options)?;
    let make = |_| api::delete_upnp_mapping(options);
    Ok(Operation::task(&Engine::current(py)?, false, make, |py, known| convert::record(py, &known)))
}

/// The router's outside address, or `None`.
#[pyfunction]
pub fn external_address_upnp(py: Python<'_>, timeout_ms: u32) -> PyResult<Operation> {
    let make = |_| api::external_address_upnp(Duration::from_millis(timeout_ms.into()));
    Ok(Operation::task(&Engine::current(py)?, false, make, |py, found| convert::record(py, &found)))
}

/// Hashes bytes without holding the GIL.
#[pyfunction]
#[expect(clippy::needless_pass_by_value, reason = "PyO3 extracts owned values")]
pub fn calculate_sha256(py: Python<'_>, data: PyBackedBytes) -> String {
    py.detach(|| api::calculate_sha256(&data).to_string())
}

/// Hashes a file on a worker thread; the result is the hash in hex.
#[pyfunction]
pub fn calculate_sha256_file(py: Python<'_>, path: PathBuf) -> PyResult<Operation> {
    let make = |_| api::calculate_sha256_file(path);
    let convert = |py: Python<'_>, hash: dig_nat_core::base::ids::FileHash| {
        Ok(hash.to_string().into_pyobject(py)?.into_any().unbind())
    };
    Ok(Operation::task(&Engine::current(py)?, false, make, convert))
}

/// Core's manifest: version, errors, options, operations.
#[pyfunction]
pub fn manifest(py: Python<'_>) -> PyResult<Py<PyAny>> {
    convert::python(py, &api::manifest())
}

fn three(value: &Value) -> Result<(NodeOptions, ClientOptions, DownloadOptions)> {
    let tables: [&[OptionInfo]; 3] = [NodeOptions::TABLE, ClientOptions::TABLE, DownloadOptions::TABLE];
    let known =
        |name: &str| tables.iter().copied().flatten().any(|info| info.json == name || info.aliases.contains(&name));
    for name in value.as_object().into_iter().flat_map(serde_json::Map::keys) {
        if !known(name) {
            return Err(Error::invalid(name, "no such option"));
        }
    }
    let (node, client) = pair_from_json(value, Unknown::Ignore)?;
    Ok((node, client, DownloadOptions::from_json(value, Unknown::Ignore)?))
}
