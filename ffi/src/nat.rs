//! What stands between this machine and the internet, and single port mappings, without a node.
//! Not here: a node's own view, which is `dig_nat_host_nat_profile` and its sisters; the measuring, which is core's.

use std::ffi::c_void;
use std::sync::Arc;
use std::time::Duration;

use dig_nat_core::api::{
    create_upnp_mapping, delete_upnp_mapping, detect_nat_type, discover_public_ips, external_address_upnp,
};

use crate::argument;
use crate::edge::{Failure, edge};
use crate::error::{DigNatError, DigNatStatus};
use crate::handles;
use crate::options::{self, DigNatMappingOptions, DigNatNatOptions};
use crate::result::Record;
use crate::runtime::{DigNatRuntime, Runtime};
use crate::task::{Callbacks, DigNatDoneFn, DigNatTask, Operation, start};

/// Starts an operation that needs nothing but a runtime. `prepare` reads the arguments; what it gives makes the operation,
/// inside the runtime.
///
/// # Safety
/// The pointers are those of an exported function, as its documentation wants them.
pub(crate) unsafe fn begin<F: FnOnce(&Arc<Runtime>) -> Operation>(
    runtime: *const DigNatRuntime,
    done: DigNatDoneFn,
    user: *mut c_void,
    task: *mut *mut DigNatTask,
    error: *mut *mut DigNatError,
    prepare: impl FnOnce() -> Result<F, Failure>,
) -> DigNatStatus {
    // SAFETY: by contract.
    unsafe {
        edge(error, || {
            argument::clear(task);
            let runtime = handles::get(runtime)?;
            let operation = prepare()?;
            start(&runtime, Callbacks::new(done, None, user), task, |_| operation(&runtime))
        })
    }
}

/// Time for the router's answers when none is given.
const ROUTER_TIMEOUT_MS: u32 = 5_000;

/// Finds out what kind of NAT or firewall stands between this machine and the internet. Options may be NULL. Result: text
/// (the type: "public", "firewall", "full-cone", "address-restricted", "port-restricted", "symmetric", "udp-blocked", or
/// less exact "untranslated", "cone", "unknown"), address and port (as the internet sees them, if known), and in the JSON
/// {natType, symmetric, doubleNat, publicV4, publicV6, translated, mapping, filtering, allocation, hairpin, lifetimeMs,
/// udpBlocked, filteringV6, routerExternal}, with null for what could not be told. Takes at most timeout_ms, usually less
/// than a second. A network that blocks UDP is a result, not an error.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_detect_nat_type(
    runtime: *const DigNatRuntime,
    options: *const DigNatNatOptions,
    done: DigNatDoneFn,
    user: *mut c_void,
    task: *mut *mut DigNatTask,
    error: *mut *mut DigNatError,
) -> DigNatStatus {
    // SAFETY: pointers as documented.
    unsafe {
        begin(runtime, done, user, task, error, || {
            let options = options::nat(options)?;
            Ok(move |_: &_| Operation::task(detect_nat_type(options), Record::nat))
        })
    }
}

/// Asks STUN servers for this machine's public addresses. Options may be NULL. Result: the addresses as items with a text,
/// IPv4 before IPv6, and in the JSON {ipv4, ipv6}. What could not be found out is no item, and null in the JSON.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_discover_public_ips(
    runtime: *const DigNatRuntime,
    options: *const DigNatNatOptions,
    done: DigNatDoneFn,
    user: *mut c_void,
    task: *mut *mut DigNatTask,
    error: *mut *mut DigNatError,
) -> DigNatStatus {
    // SAFETY: pointers as documented.
    unsafe {
        begin(runtime, done, user, task, error, || {
            let options = options::nat(options)?;
            Ok(move |_: &_| Operation::task(discover_public_ips(options), |found| Record::public_ips(&found)))
        })
    }
}

/// Asks the router by UPnP to forward a port, once: nobody renews it. A running node does this by itself. Result: address
/// and port (the router's outside ones), and in the JSON {protocol, internalPort, externalPort, externalAddress,
/// lifetimeS}. Fails with DIG_NAT_STATUS_PEER_UNREACHABLE when no router does it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_create_upnp_mapping(
    runtime: *const DigNatRuntime,
    options: *const DigNatMappingOptions,
    done: DigNatDoneFn,
    user: *mut c_void,
    task: *mut *mut DigNatTask,
    error: *mut *mut DigNatError,
) -> DigNatStatus {
    // SAFETY: pointers as documented.
    unsafe {
        begin(runtime, done, user, task, error, || {
            let options = options::mapping(options)?;
            Ok(move |_: &_| Operation::task(create_upnp_mapping(options), |mapping| Record::port_mapping(&mapping)))
        })
    }
}

/// Asks the router by UPnP to forget a mapping, by its external port (or the internal one when that is all there is).
/// Result: flag, whether the router knew it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_delete_upnp_mapping(
    runtime: *const DigNatRuntime,
    options: *const DigNatMappingOptions,
    done: DigNatDoneFn,
    user: *mut c_void,
    task: *mut *mut DigNatTask,
    error: *mut *mut DigNatError,
) -> DigNatStatus {
    // SAFETY: pointers as documented.
    unsafe {
        begin(runtime, done, user, task, error, || {
            let options = options::mapping(options)?;
            Ok(move |_: &_| Operation::task(delete_upnp_mapping(options), Record::flag))
        })
    }
}

/// The router's outside IPv4 address as UPnP tells it. `timeout_ms` 0 means 5000. Result: text, or the JSON "null" when
/// nobody answers in that time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_external_address_upnp(
    runtime: *const DigNatRuntime,
    timeout_ms: u32,
    done: DigNatDoneFn,
    user: *mut c_void,
    task: *mut *mut DigNatTask,
    error: *mut *mut DigNatError,
) -> DigNatStatus {
    // SAFETY: pointers as documented.
    unsafe {
        begin(runtime, done, user, task, error, || {
            let timeout_ms = if timeout_ms == 0 { ROUTER_TIMEOUT_MS } else { timeout_ms };
            Ok(move |_: &_| {
                let task = external_address_upnp(Duration::from_millis(timeout_ms.into()));
                Operation::task(task, |found| {
                    found.map_or_else(Record::nothing, |address| Record::text(&address.to_string()))
                })
            })
        })
    }
}
