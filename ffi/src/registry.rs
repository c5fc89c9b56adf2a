//! `DigNatRegistry`: which way led to a peer last. Not here: the table and its file.

use std::ffi::{c_char, c_void};
use std::sync::Arc;

use dig_nat_core::api::ConnectionRegistry;

use crate::argument::{self, out};
use crate::edge::{edge, value_edge};
use crate::error::{DigNatError, DigNatStatus};
use crate::handles::{self, Handle};
use crate::options::{self, DigNatRegistryOptions, DigNatSaveConnectionOptions};
use crate::result::{self, DigNatResult, Record};
use crate::runtime::{DigNatRuntime, Owned};
use crate::task::{Callbacks, DigNatDoneFn, DigNatTask, Operation, start};

/// Which way led to a peer last, kept across runs for 45 days. One program at a time should use a directory: of two, the
/// one that writes last wins.
pub struct DigNatRegistry {
    _opaque: [u8; 0],
}

impl Handle for DigNatRegistry {
    type Object = Owned<ConnectionRegistry>;
    const NAME: &'static str = "registry";
}

/// Reads a registry; there need not be one yet. Options may be NULL. Blocks on the disk for a file of at most some
/// megabytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_registry_open(
    runtime: *const DigNatRuntime,
    options: *const DigNatRegistryOptions,
    registry: *mut *mut DigNatRegistry,
    error: *mut *mut DigNatError,
) -> DigNatStatus {
    // SAFETY: pointers as documented.
    unsafe {
        edge(error, || {
            let registry = out(registry, "registry")?;
            let runtime = handles::get(runtime)?;
            let options = options::registry(options)?;
            let object = Owned::make(runtime, || ConnectionRegistry::open(&options))?;
            registry.write(handles::put(Arc::new(object)));
            Ok(())
        })
    }
}

/// The ways that led to a peer, latest first. Result: items with a text such as "UDP_HOLE_PUNCH".
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_registry_successful_methods(
    registry: *const DigNatRegistry,
    peer: *const c_char,
    result: *mut *mut DigNatResult,
    error: *mut *mut DigNatError,
) -> DigNatStatus {
    // SAFETY: pointers as documented.
    unsafe {
        edge(error, || {
            let result = out(result, "result")?;
            let object = handles::get(registry)?;
            let peer = argument::text(peer, "peer")?;
            let methods = object.with(|registry| registry.successful_methods(peer));
            result::give(result, Record::list(&methods, |method| Record::text(method)));
            Ok(())
        })
    }
}

/// The last way that led to a peer. Result: text (the way), peer, address and port (if known), and in the JSON {peerId,
/// connectionType, address, port, lastSuccessTime (ms since 1970), successCount, metadata}; the JSON "null" for an unknown
/// peer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_registry_connection_method(
    registry: *const DigNatRegistry,
    peer: *const c_char,
    result: *mut *mut DigNatResult,
    error: *mut *mut DigNatError,
) -> DigNatStatus {
    // SAFETY: pointers as documented.
    unsafe {
        edge(error, || {
            let result = out(result, "result")?;
            let object = handles::get(registry)?;
            let peer = argument::text(peer, "peer")?;
            let entry = object.with(|registry| registry.connection_method(peer));
            result::give(result, Record::registry_entry(entry));
            Ok(())
        })
    }
}

/// Remembers that a way worked: `connection_type` in any spelling, e.g. "UDP_HOLE_PUNCH". Options may be NULL. Result:
/// none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_registry_save(
    registry: *const DigNatRegistry,
    peer: *const c_char,
    connection_type: *const c_char,
    options: *const DigNatSaveConnectionOptions,
    done: DigNatDoneFn,
    user: *mut c_void,
    task: *mut *mut DigNatTask,
    error: *mut *mut DigNatError,
) -> DigNatStatus {
    // SAFETY: pointers as documented.
    unsafe {
        edge(error, || {
            argument::clear(task);
            let object = handles::get(registry)?;
            let peer = argument::text(peer, "peer")?.to_owned();
            let connection_type = argument::text(connection_type, "connection_type")?;
            let options = options::save_connection(options)?;
            start(&object.runtime, Callbacks::new(done, None, user), task, |_| {
                let saving = object.with(|registry| registry.save(peer, connection_type, options));
                Operation::task(saving, |()| Record::nothing())
            })
        })
    }
}

/// Forgets a peer. Result: flag, whether there was something to forget.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_registry_remove(
    registry: *const DigNatRegistry,
    peer: *const c_char,
    done: DigNatDoneFn,
    user: *mut c_void,
    task: *mut *mut DigNatTask,
    error: *mut *mut DigNatError,
) -> DigNatStatus {
    // SAFETY: pointers as documented.
    unsafe {
        edge(error, || {
            argument::clear(task);
            let object = handles::get(registry)?;
            let peer = argument::text(peer, "peer")?.to_owned();
            start(&object.runtime, Callbacks::new(done, None, user), task, |_| {
                Operation::task(object.with(|registry| registry.remove(peer)), Record::flag)
            })
        })
    }
}

/// Forgets what is older than 45 days. Result: size, how many ways that were.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_registry_cleanup(
    registry: *const DigNatRegistry,
    done: DigNatDoneFn,
    user: *mut c_void,
    task: *mut *mut DigNatTask,
    error: *mut *mut DigNatError,
) -> DigNatStatus {
    // SAFETY: pointers as documented.
    unsafe {
        edge(error, || {
            argument::clear(task);
            let object = handles::get(registry)?;
            start(&object.runtime, Callbacks::new(done, None, user), task, |_| {
                Operation::task(object.with(ConnectionRegistry::cleanup), |gone| Record::number(gone as u64))
            })
        })
    }
}

/// Frees a registry; what was saved stays on disk. NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_registry_free(registry: *mut DigNatRegistry) {
    value_edge((), || {
        handles::take(registry.cast_const());
        Ok(())
    });
}
