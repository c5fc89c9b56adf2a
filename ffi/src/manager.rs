//! `DigNatManager`: hosting, downloading and message connections in one object.
//! Not here: everything a manager does, which is `dig_nat_core::api::NetworkManager`.

use std::ffi::{c_char, c_void};
use std::sync::Arc;

use dig_nat_core::api::NetworkManager;
use dig_nat_core::base::ids::{ContentKey, FileHash};

use crate::argument::{self, out};
use crate::connection;
use crate::edge::{edge, value_edge};
use crate::error::{DigNatError, DigNatStatus};
use crate::handles::{self, Handle};
use crate::library::optional_string;
use crate::options::{
    self, DigNatAddFileOptions, DigNatClientOptions, DigNatDownloadOptions, DigNatFindOptions, DigNatNodeOptions,
};
use crate::result::{self, DigNatResult, Record};
use crate::runtime::{DigNatRuntime, Owned, WIND_UP};
use crate::subscription::{self, DigNatEventFn, DigNatSubscription};
use crate::task::{Callbacks, DigNatDoneFn, DigNatProgressFn, DigNatTask, Operation, start};

/// Shares, downloads and exchanges messages. Nothing is opened before it is started.
pub struct DigNatManager {
    _opaque: [u8; 0],
}

impl Handle for DigNatManager {
    type Object = Owned<NetworkManager>;
    const NAME: &'static str = "manager";
}

/// Makes a manager that is not started yet. Options may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_manager_new(
    runtime: *const DigNatRuntime,
    node_options: *const DigNatNodeOptions,
    client_options: *const DigNatClientOptions,
    manager: *mut *mut DigNatManager,
    error: *mut *mut DigNatError,
) -> DigNatStatus {
    // SAFETY: pointers as documented.
    unsafe {
        edge(error, || {
            let manager = out(manager, "manager")?;
            let runtime = handles::get(runtime)?;
            let node_options = options::node(node_options)?;
            let client_options = options::client(client_options)?;
            let object = Owned::make(runtime, || NetworkManager::new(node_options, client_options))?;
            manager.write(handles::put(Arc::new(object)));
            Ok(())
        })
    }
}

/// Opens the port and starts discovery. Result: none. A second start does nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_manager_start(
    manager: *const DigNatManager,
    done: DigNatDoneFn,
    user: *mut c_void,
    task: *mut *mut DigNatTask,
    error: *mut *mut DigNatError,
) -> DigNatStatus {
    // SAFETY: pointers as documented.
    unsafe {
        edge(error, || {
            argument::clear(task);
            let object = handles::get(manager)?;
            let manager = object.with(NetworkManager::clone);
            start(&object.runtime, Callbacks::new(done, None, user), task, |_| {
                Operation::firm(async move { manager.start().await.map(|()| Record::nothing()) })
            })
        })
    }
}

/// Cancels everything, closes all connections and frees the port. Result: none. A second stop
/// does nothing. A stopped object can be started again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_manager_stop(
    manager: *const DigNatManager,
    done: DigNatDoneFn,
    user: *mut c_void,
    task: *mut *mut DigNatTask,
    error: *mut *mut DigNatError,
) -> DigNatStatus {
    // SAFETY: pointers as documented.
    unsafe {
        edge(error, || {
            argument::clear(task);
            let object = handles::get(manager)?;
            let manager = object.with(NetworkManager::clone);
            start(&object.runtime, Callbacks::new(done, None, user), task, |_| {
                Operation::firm(async move { manager.stop().await.map(|()| Record::nothing()) })
            })
        })
    }
}

/// The bound port; 0 before the start, and for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_manager_port(manager: *const DigNatManager) -> u16 {
    value_edge(0, || Ok(handles::get(manager)?.with(NetworkManager::port)))
}

/// The identity on the network. Free it with dig_nat_string_free. NULL before the start, and for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_manager_peer_id(manager: *const DigNatManager) -> *mut c_char {
    value_edge(std::ptr::null_mut(), || {
        let id = handles::get(manager)?.with(NetworkManager::peer_id);
        Ok(optional_string(id.map(|id| id.to_string())))
    })
}

/// Multiaddrs to reach this manager, with its peer id, as items with a text. None before the start.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_manager_addresses(
    manager: *const DigNatManager,
    result: *mut *mut DigNatResult,
    error: *mut *mut DigNatError,
) -> DigNatStatus {
    // SAFETY: pointers as documented.
    unsafe {
        edge(error, || {
            let result = out(result, "result")?;
            let addresses = handles::get(manager)?.with(NetworkManager::addresses);
            result::give(result, Record::list(&addresses, |address| Record::text(address)));
            Ok(())
        })
    }
}

/// Connects to "host:port", a multiaddr or a peer id. Result: a connection (dig_nat_result_take_connection), peer, address.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_manager_connect(
    manager: *const DigNatManager,
    target: *const c_char,
    done: DigNatDoneFn,
    user: *mut c_void,
    task: *mut *mut DigNatTask,
    error: *mut *mut DigNatError,
) -> DigNatStatus {
    // SAFETY: pointers as documented.
    unsafe {
        edge(error, || {
            argument::clear(task);
            let object = handles::get(manager)?;
            let target = argument::text(target, "target")?.to_owned();
            let runtime = Arc::clone(&object.runtime);
            let manager = object.with(NetworkManager::clone);
            start(&object.runtime, Callbacks::new(done, None, user), task, |_| {
                Operation::future(async move {
                    let connection = manager.connect(&target).await?;
                    connection::record(&runtime, connection)
                })
            })
        })
    }
}

/// Waits for the next connection opened by another manager. Result: a connection (dig_nat_result_take_connection), peer,
/// address; no connection and the JSON "null" once the manager is stopped. Cancelling loses no connection.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_manager_accept(
    manager: *const DigNatManager,
    done: DigNatDoneFn,
    user: *mut c_void,
    task: *mut *mut DigNatTask,
    error: *mut *mut DigNatError,
) -> DigNatStatus {
    // SAFETY: pointers as documented.
    unsafe {
        edge(error, || {
            argument::clear(task);
            let object = handles::get(manager)?;
            let runtime = Arc::clone(&object.runtime);
            let manager = object.with(NetworkManager::clone);
            start(&object.runtime, Callbacks::new(done, None, user), task, |_| {
                Operation::future(async move {
                    match manager.accept().await {
                        Some(connection) => connection::record(&runtime, connection),
                        None => Ok(Record::nothing()),
                    }
                })
            })
        })
    }
}

/// Looks for peers that have a content (a hash or a readable id). Result: items with peer, address, port, and their
/// addresses as items. Finding nobody is an empty list.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_manager_find_peers(
    manager: *const DigNatManager,
    key: *const c_char,
    options: *const DigNatFindOptions,
    done: DigNatDoneFn,
    user: *mut c_void,
    task: *mut *mut DigNatTask,
    error: *mut *mut DigNatError,
) -> DigNatStatus {
    // SAFETY: pointers as documented.
    unsafe {
        edge(error, || {
            argument::clear(task);
            let object = handles::get(manager)?;
            let key: ContentKey = argument::parsed(key, "key")?;
            let options = options::find(options)?;
            let manager = object.with(NetworkManager::clone);
            start(&object.runtime, Callbacks::new(done, None, user), task, |_| {
                Operation::future(async move {
                    manager.find_peers(key, options).await.map(|peers| Record::list(&peers, Record::peer))
                })
            })
        })
    }
}

/// Downloads a file by its hash or readable id: finds peers unless some are given, proves every piece, resumes what an
/// earlier run left. Result: path, hash, size, and more in the JSON.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_manager_download(
    manager: *const DigNatManager,
    key: *const c_char,
    options: *const DigNatDownloadOptions,
    progress: DigNatProgressFn,
    done: DigNatDoneFn,
    user: *mut c_void,
    task: *mut *mut DigNatTask,
    error: *mut *mut DigNatError,
) -> DigNatStatus {
    // SAFETY: pointers as documented.
    unsafe {
        edge(error, || {
            argument::clear(task);
            let object = handles::get(manager)?;
            let key: ContentKey = argument::parsed(key, "key")?;
            let options = options::download(options)?;
            let manager = object.with(NetworkManager::clone);
            start(&object.runtime, Callbacks::new(done, progress, user), task, |state| {
                let task = manager.download(key, options, state.progress_hook());
                Operation::task(task, |file| Record::download(&file))
            })
        })
    }
}

/// Shares one file, as dig_nat_host_add_file does. Result: path, hash, size, name, content_id.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_manager_share_file(
    manager: *const DigNatManager,
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
            let object = handles::get(manager)?;
            let path = argument::path(path, "path")?;
            let options = options::add_file(options)?;
            let manager = object.with(NetworkManager::clone);
            start(&object.runtime, Callbacks::new(done, None, user), task, |_| {
                Operation::task(manager.share_file(path, options), |file| Record::file(&file))
            })
        })
    }
}

/// Remembers a peer ("host:port", multiaddr or peer id) for all searches, or for those for `key` if that is not NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_manager_add_peer(
    manager: *const DigNatManager,
    peer: *const c_char,
    key: *const c_char,
    error: *mut *mut DigNatError,
) -> DigNatStatus {
    // SAFETY: pointers as documented.
    unsafe {
        edge(error, || {
            let object = handles::get(manager)?;
            let peer = argument::text(peer, "peer")?;
            let key = argument::optional_text(key, "key")?.map(str::parse).transpose()?;
            object.with(|manager| manager.add_peer(peer, key))?;
            Ok(())
        })
    }
}

/// Switches the search for further peers during downloads, running ones included. Does nothing for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_manager_set_continuous_discovery(manager: *const DigNatManager, enabled: bool) {
    value_edge((), || {
        handles::get(manager)?.with(|manager| manager.set_continuous_discovery(enabled));
        Ok(())
    });
}

/// How a connected peer is reached ("tcp", "udp"); NULL without a connection. Free it with dig_nat_string_free.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_manager_connection_type(
    manager: *const DigNatManager,
    peer: *const c_char,
) -> *mut c_char {
    value_edge(std::ptr::null_mut(), || {
        // SAFETY: a string by contract.
        let peer = unsafe { argument::text(peer, "peer") }?;
        Ok(optional_string(handles::get(manager)?.with(|manager| manager.connection_type(peer))))
    })
}

/// Gives a hash a readable id.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_manager_add_content_mapping(
    manager: *const DigNatManager,
    content_id: *const c_char,
    hash: *const c_char,
    error: *mut *mut DigNatError,
) -> DigNatStatus {
    // SAFETY: pointers as documented.
    unsafe {
        edge(error, || {
            let object = handles::get(manager)?;
            let content_id = argument::text(content_id, "content_id")?;
            let hash: FileHash = argument::parsed(hash, "hash")?;
            object.with(|manager| manager.add_content_mapping(content_id, hash))?;
            Ok(())
        })
    }
}

/// The hash behind a readable id, as far as known here; else NULL. Free it with dig_nat_string_free.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_manager_hash_for_content(
    manager: *const DigNatManager,
    content_id: *const c_char,
) -> *mut c_char {
    value_edge(std::ptr::null_mut(), || {
        // SAFETY: a string by contract.
        let content_id = unsafe { argument::text(content_id, "content_id") }?;
        let hash = handles::get(manager)?.with(|manager| manager.hash_for_content(content_id));
        Ok(optional_string(hash.map(|hash| hash.to_string())))
    })
}

/// The readable id of a hash; NULL if it has none. Free it with dig_nat_string_free.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_manager_content_for_hash(
    manager: *const DigNatManager,
    hash: *const c_char,
) -> *mut c_char {
    value_edge(std::ptr::null_mut(), || {
        // SAFETY: a string by contract.
        let hash: FileHash = unsafe { argument::parsed(hash, "hash") }?;
        Ok(optional_string(handles::get(manager)?.with(|manager| manager.content_for_hash(&hash))))
    })
}

/// What stands between this manager and the internet, as found out with the STUN servers of its options. Result: as of
/// dig_nat_detect_nat_type, and the JSON "null" before the event "nat:detected".
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_manager_nat_profile(
    manager: *const DigNatManager,
    result: *mut *mut DigNatResult,
    error: *mut *mut DigNatError,
) -> DigNatStatus {
    // SAFETY: pointers as documented.
    unsafe {
        edge(error, || {
            let result = out(result, "result")?;
            let profile = handles::get(manager)?.with(NetworkManager::nat_profile);
            result::give(result, Record::optional_nat(profile));
            Ok(())
        })
    }
}

/// Subscribes to the events of the manager, from now on. With `event` NULL they are pulled with dig_nat_subscription_next, else
/// it is called with each of them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_manager_subscribe(
    manager: *const DigNatManager,
    event: DigNatEventFn,
    user: *mut c_void,
    subscription: *mut *mut DigNatSubscription,
    error: *mut *mut DigNatError,
) -> DigNatStatus {
    // SAFETY: pointers as documented.
    unsafe {
        edge(error, || {
            argument::clear(subscription);
            let object = handles::get(manager)?;
            subscription::subscribe(&object.runtime, object.with(NetworkManager::subscribe), event, user, subscription)
        })
    }
}

/// Stops the manager if it runs, waiting up to 10 seconds for it, and frees it. Its running tasks still complete, cancelled.
/// NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_manager_free(manager: *mut DigNatManager) {
    value_edge((), || {
        let Some(object) = handles::take(manager.cast_const()) else { return Ok(()) };
        if object.runtime.check_open().is_ok() {
            let manager = object.with(NetworkManager::clone);
            object.runtime.finish(WIND_UP, async move {
                // Freeing has nobody to tell; stop it first to learn how it went.
                let _ = manager.stop().await;
            });
        }
        Ok(())
    });
}
