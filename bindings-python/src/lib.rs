//! The native module `dig_nat_tools._native`: core's facade as Python objects, and nothing else.
//!
//! Every call that waits returns an [`operation::Operation`] at once; the Python package around this module turns it
//! into an `await` (`dig_nat_tools.aio`) or a blocking call (`dig_nat_tools.sync`). The Python package is not here,
//! nor is any logic: options, errors, events and records come from core and pass through as they are.
//!
//! Threads: work runs on a tokio runtime of this process ([`engine`]). Its threads never take the interpreter lock;
//! one dispatcher thread calls into Python, so a busy interpreter slows no transfer. File bytes never come here.

use pyo3::prelude::*;

mod callback;
mod client;
mod connection;
mod convert;
mod discovery;
mod engine;
mod errors;
mod functions;
mod host;
mod network;
mod node;
mod operation;
mod registry;
mod stream;
mod traversal;

/// See the package `dig_nat_tools`; this module is private to it.
#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    errors::register(module)?;
    module.add_class::<operation::Operation>()?;
    module.add_class::<callback::Reply>()?;
    module.add_class::<host::FileHost>()?;
    module.add_class::<client::FileClient>()?;
    module.add_class::<network::NetworkManager>()?;
    module.add_class::<discovery::PeerDiscoveryManager>()?;
    module.add_class::<connection::Connection>()?;
    module.add_class::<stream::EventStream>()?;
    module.add_class::<traversal::PunchedSocket>()?;
    module.add_class::<traversal::TurnAllocation>()?;
    module.add_class::<traversal::Signalling>()?;
    module.add_class::<registry::ConnectionRegistry>()?;
    module.add_function(wrap_pyfunction!(registry::open_registry, module)?)?;
    module.add_function(wrap_pyfunction!(traversal::punch, module)?)?;
    module.add_function(wrap_pyfunction!(traversal::connect_with_ice, module)?)?;
    module.add_function(wrap_pyfunction!(traversal::create_turn_allocation, module)?)?;
    module.add_function(wrap_pyfunction!(functions::download_file, module)?)?;
    module.add_function(wrap_pyfunction!(functions::create_upnp_mapping, module)?)?;
    module.add_function(wrap_pyfunction!(functions::delete_upnp_mapping, module)?)?;
    module.add_function(wrap_pyfunction!(functions::external_address_upnp, module)?)?;
    module.add_function(wrap_pyfunction!(functions::detect_nat_type, module)?)?;
    module.add_function(wrap_pyfunction!(functions::diagnose, module)?)?;
    module.add_function(wrap_pyfunction!(functions::discover_public_ips, module)?)?;
    module.add_function(wrap_pyfunction!(functions::calculate_sha256, module)?)?;
    module.add_function(wrap_pyfunction!(functions::calculate_sha256_file, module)?)?;
    module.add_function(wrap_pyfunction!(functions::manifest, module)?)?;
    module.add_function(wrap_pyfunction!(engine::shutdown, module)?)?;
    module.add_function(wrap_pyfunction!(engine::forget_after_fork, module)?)?;
    Ok(())
}
