//! `DigNatHost`: shares files and directories.
//! Not here: everything a host does, which is `dig_nat_core::api::FileHost`.

use std::ffi::{c_char, c_void};
use std::sync::Arc;

use dig_nat_core::api::FileHost;
use dig_nat_core::base::ids::FileHash;

use crate::argument::{self, out};
use crate::edge::{edge, value_edge};
use crate::error::{DigNatError, DigNatStatus};
use crate::handles::{self, Handle};
use crate::library::{optional_string, string};
use crate::options::{self, DigNatAddFileOptions, DigNatHostOptions, DigNatNodeOptions, DigNatWatchOptions};
use crate::result::{self, DigNatResult, Record};
use crate::runtime::{DigNatRuntime, Owned, WIND_UP};
use crate::subscription::{self, DigNatEventFn, DigNatSubscription};
use crate::task::{Callbacks, DigNatDoneFn, DigNatTask, Operation, start};

/// Shares files with whoever asks. Nothing is opened before it is started.
pub struct DigNatHost {
    _opaque: [u8; 0],
}

impl Handle for DigNatHost {
    type Object = Owned<FileHost>;
    const NAME: &'static str = "host";
}

/// Makes a host that is not started yet. Options may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_host_new(
    runtime: *const DigNatRuntime,
    node_options: *const DigNatNodeOptions,
    host_options: *const DigNatHostOptions,
    host: *mut *mut DigNatHost,
    error: *mut *mut DigNatError,
) -> DigNatStatus {
    // SAFETY: pointers as documented.
    unsafe {
        edge(error, || {
            let host = out(host, "host")?;
            let runtime = handles::get(runtime)?;
            let node_options = options::node(node_options)?;
            let host_options = options::host(host_options)?;
            let object = Owned::make(runtime, || FileHost::new(node_options, host_options))?;
            host.write(handles::put(Arc::new(object)));
            Ok(())
        })
    }
}

/// Opens the port, shares the directory of the options and announces everything. Result: none. A second start does
/// nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_host_start(
    host: *const DigNatHost,
    done: DigNatDoneFn,
    user: *mut c_void,
    task: *mut *mut DigNatTask,
    error: *mut *mut DigNatError,
) -> DigNatStatus {
    // SAFETY: pointers as documented.
    unsafe {
        edge(error, || {
            argument::clear(task);
            let object = handles::get(host)?;
            let host = object.with(FileHost::clone);
            start(&object.runtime, Callbacks::new(done, None, user), task, |_| {
                Operation::firm(async move { host.start().await.map(|()| Record::nothing()) })
            })
        })
    }
}

/// Withdraws announcements, closes all connections and frees the port. Result: none. A second stop
/// does nothing. A stopped object can be started again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_host_stop(
    host: *const DigNatHost,
    done: DigNatDoneFn,
    user: *mut c_void,
    task: *mut *mut DigNatTask,
    error: *mut *mut DigNatError,
) -> DigNatStatus {
    // SAFETY: pointers as documented.
    unsafe {
        edge(error, || {
            argument::clear(task);
            let object = handles::get(host)?;
            let host = object.with(FileHost::clone);
            start(&object.runtime, Callbacks::new(done, None, user), task, |_| {
                Operation::firm(async move { host.stop().await.map(|()| Record::nothing()) })
            })
        })
    }
}

/// The bound port; 0 before the start, and for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_host_port(host: *const DigNatHost) -> u16 {
    value_edge(0, || Ok(handles::get(host)?.with(FileHost::port)))
}

/// A random UUID of this host, kept across restarts with persistence. Free it with dig_nat_string_free. NULL for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_host_id(host: *const DigNatHost) -> *mut c_char {
    value_edge(std::ptr::null_mut(), || Ok(string(handles::get(host)?.with(FileHost::host_id))))
}

/// The identity on the network. Free it with dig_nat_string_free. NULL before the start, and for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_host_peer_id(host: *const DigNatHost) -> *mut c_char {
    value_edge(std::ptr::null_mut(), || {
        let id = handles::get(host)?.with(FileHost::peer_id);
        Ok(optional_string(id.map(|id| id.to_string())))
    })
}

/// Multiaddrs to reach this host, with its peer id, as items with a text. None before the start.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_host_addresses(
    host: *const DigNatHost,
    result: *mut *mut DigNatResult,
    error: *mut *mut DigNatError,
) -> DigNatStatus {
    // SAFETY: pointers as documented.
    unsafe {
        edge(error, || {
            let result = out(result, "result")?;
            let addresses = handles::get(host)?.with(FileHost::addresses);
            result::give(result, Record::list(&addresses, |address| Record::text(address)));
            Ok(())
        })
    }
}

/// Shares one file: hashes it (cached) and announces it. Works before the start too; announcing then waits for it.
/// Result: path, hash, size, name, content_id.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_host_add_file(
    host: *const DigNatHost,
    path: *const c_char,
    options: *const DigNatAddFileOptions,
    done: DigNatDoneFn,
    user: *mut c_void,
    task: *mut *mut DigNatTask,
    error: *mut *mut DigNatError,
) -> DigNatStatus {
    // SAFETY: pointers as documented.
    unsafe {
        edge(error, || {
            argument::clear(task);
            let object = handles::get(host)?;
            let path = argument::path(path, "path")?;
            let options = options::add_file(options)?;
            let host = object.with(FileHost::clone);
            start(&object.runtime, Callbacks::new(done, None, user), task, |_| {
                Operation::task(host.add_file(path, options), |file| Record::file(&file))
            })
        })
    }
}

/// Shares every file below a directory. Result: items as of dig_nat_host_add_file. Files that cannot be read are left out
/// with a "warning" event.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_host_add_directory(
    host: *const DigNatHost,
    path: *const c_char,
    done: DigNatDoneFn,
    user: *mut c_void,
    task: *mut *mut DigNatTask,
    error: *mut *mut DigNatError,
) -> DigNatStatus {
    // SAFETY: pointers as documented.
    unsafe {
        edge(error, || {
            argument::clear(task);
            let object = handles::get(host)?;
            let path = argument::path(path, "path")?;
            let host = object.with(FileHost::clone);
            start(&object.runtime, Callbacks::new(done, None, user), task, |_| {
                Operation::task(host.add_directory(path), |files| Record::list(&files, Record::file))
            })
        })
    }
}

/// Shares every file below a directory that the options admit, and from then on follows what happens to them: new files
/// are shared when they have come to rest, changed ones anew, and removed ones are withdrawn, each with its event. Starts
/// the host if it was never started, and ends with it. Result: the files that were there, as items of
/// dig_nat_host_add_file.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_host_watch_directory(
    host: *const DigNatHost,
    path: *const c_char,
    options: *const DigNatWatchOptions,
    done: DigNatDoneFn,
    user: *mut c_void,
    task: *mut *mut DigNatTask,
    error: *mut *mut DigNatError,
) -> DigNatStatus {
    // SAFETY: pointers as documented.
    unsafe {
        edge(error, || {
            argument::clear(task);
            let object = handles::get(host)?;
            let path = argument::path(path, "path")?;
            let options = options::watching(options)?;
            let host = object.with(FileHost::clone);
            start(&object.runtime, Callbacks::new(done, None, user), task, |_| {
                Operation::task(host.watch_directory(path, options), |files| Record::list(&files, Record::file))
            })
        })
    }
}

/// Follows a directory no more; its files stay shared. Result: flag, whether it was watched.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_host_unwatch_directory(
    host: *const DigNatHost,
    path: *const c_char,
    done: DigNatDoneFn,
    user: *mut c_void,
    task: *mut *mut DigNatTask,
    error: *mut *mut DigNatError,
) -> DigNatStatus {
    // SAFETY: pointers as documented.
    unsafe {
        edge(error, || {
            argument::clear(task);
            let object = handles::get(host)?;
            let path = argument::path(path, "path")?;
            let host = object.with(FileHost::clone);
            start(&object.runtime, Callbacks::new(done, None, user), task, |_| {
                Operation::firm(async move { host.unwatch_directory(path).await.map(Record::flag) })
            })
        })
    }
}

/// Stops sharing. Result: flag, whether the hash was shared.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_host_remove_file(
    host: *const DigNatHost,
    hash: *const c_char,
    done: DigNatDoneFn,
    user: *mut c_void,
    task: *mut *mut DigNatTask,
    error: *mut *mut DigNatError,
) -> DigNatStatus {
    // SAFETY: pointers as documented.
    unsafe {
        edge(error, || {
            argument::clear(task);
            let object = handles::get(host)?;
            let hash: FileHash = argument::parsed(hash, "hash")?;
            let host = object.with(FileHost::clone);
            start(&object.runtime, Callbacks::new(done, None, user), task, |_| {
                Operation::firm(async move { host.remove_file(hash).await.map(Record::flag) })
            })
        })
    }
}

/// Whether the hash is shared. False for NULL and for what is no hash.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_host_has_file(host: *const DigNatHost, hash: *const c_char) -> bool {
    value_edge(false, || {
        // SAFETY: a string by contract.
        let hash: FileHash = unsafe { argument::parsed(hash, "hash") }?;
        Ok(handles::get(host)?.with(|host| host.has_file(&hash)))
    })
}

/// Everything shared, ordered by path, as items with path, hash, size, name, content_id.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_host_files(
    host: *const DigNatHost,
    result: *mut *mut DigNatResult,
    error: *mut *mut DigNatError,
) -> DigNatStatus {
    // SAFETY: pointers as documented.
    unsafe {
        edge(error, || {
            let result = out(result, "result")?;
            let files = handles::get(host)?.with(FileHost::files);
            result::give(result, Record::list(&files, Record::file));
            Ok(())
        })
    }
}

/// Gives a hash a readable id.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_host_add_content_mapping(
    host: *const DigNatHost,
    content_id: *const c_char,
    hash: *const c_char,
    error: *mut *mut DigNatError,
) -> DigNatStatus {
    // SAFETY: pointers as documented.
    unsafe {
        edge(error, || {
            let object = handles::get(host)?;
            let content_id = argument::text(content_id, "content_id")?;
            let hash: FileHash = argument::parsed(hash, "hash")?;
            object.with(|host| host.add_content_mapping(content_id, hash))?;
            Ok(())
        })
    }
}

/// The hash behind a readable id, as far as known here; else NULL. Free it with dig_nat_string_free.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_host_hash_for_content(
    host: *const DigNatHost,
    content_id: *const c_char,
) -> *mut c_char {
    value_edge(std::ptr::null_mut(), || {
        // SAFETY: a string by contract.
        let content_id = unsafe { argument::text(content_id, "content_id") }?;
        let hash = handles::get(host)?.with(|host| host.hash_for_content(content_id));
        Ok(optional_string(hash.map(|hash| hash.to_string())))
    })
}

/// The readable id of a hash; NULL if it has none. Free it with dig_nat_string_free.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_host_content_for_hash(host: *const DigNatHost, hash: *const c_char) -> *mut c_char {
    value_edge(std::ptr::null_mut(), || {
        // SAFETY: a string by contract.
        let hash: FileHash = unsafe { argument::parsed(hash, "hash") }?;
        Ok(optional_string(handles::get(host)?.with(|host| host.content_for_hash(&hash))))
    })
}

/// The parts of the hash table that this host keeps for others as a shard host, in hex digits, as items with a text. None
/// before the start.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_host_shard_prefixes(
    host: *const DigNatHost,
    result: *mut *mut DigNatResult,
    error: *mut *mut DigNatError,
) -> DigNatStatus {
    // SAFETY: pointers as documented.
    unsafe {
        edge(error, || {
            let result = out(result, "result")?;
            let prefixes = handles::get(host)?.with(FileHost::shard_prefixes);
            result::give(result, Record::list(&prefixes, |prefix| Record::text(prefix)));
            Ok(())
        })
    }
}

/// What stands between this host and the internet, as found out with the STUN servers of its options. Result: as of
/// dig_nat_detect_nat_type, and the JSON "null" before the event "nat:detected".
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_host_nat_profile(
    host: *const DigNatHost,
    result: *mut *mut DigNatResult,
    error: *mut *mut DigNatError,
) -> DigNatStatus {
    // SAFETY: pointers as documented.
    unsafe {
        edge(error, || {
            let result = out(result, "result")?;
            let profile = handles::get(host)?.with(FileHost::nat_profile);
            result::give(result, Record::optional_nat(profile));
            Ok(())
        })
    }
}

/// Subscribes to the events of the host, from now on. With `event` NULL they are pulled with dig_nat_subscription_next, else
/// it is called with each of them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_host_subscribe(
    host: *const DigNatHost,
    event: DigNatEventFn,
    user: *mut c_void,
    subscription: *mut *mut DigNatSubscription,
    error: *mut *mut DigNatError,
) -> DigNatStatus {
    // SAFETY: pointers as documented.
    unsafe {
        edge(error, || {
            argument::clear(subscription);
            let object = handles::get(host)?;
            subscription::subscribe(&object.runtime, object.with(FileHost::subscribe), event, user, subscription)
        })
    }
}

/// Stops the host if it runs, waiting up to 10 seconds for it, and frees it. Its running tasks still complete, cancelled.
/// NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_host_free(host: *mut DigNatHost) {
    value_edge((), || {
        let Some(object) = handles::take(host.cast_const()) else { return Ok(()) };
        if object.runtime.check_open().is_ok() {
            let host = object.with(FileHost::clone);
            object.runtime.finish(WIND_UP, async move {
                // Freeing has nobody to tell; stop it first to learn how it went.
                let _ = host.stop().await;
            });
        }
        Ok(())
    });
}
