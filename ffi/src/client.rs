//! `DigNatClient`: finds peers and downloads files.
//! Not here: everything a client does, which is `dig_nat_core::api::FileClient`.

use std::ffi::{c_char, c_void};
use std::sync::Arc;

use dig_nat_core::api::{FileClient, download_file};
use dig_nat_core::base::ids::{ContentKey, FileHash};

use crate::argument::{self, out};
use crate::edge::{edge, value_edge};
use crate::error::{DigNatError, DigNatStatus};
use crate::handles::{self, Handle};
use crate::library::{optional_string, string};
use crate::options::{self, DigNatClientOptions, DigNatDownloadOptions, DigNatFindOptions, DigNatNodeOptions};
use crate::result::{self, DigNatResult, Record};
use crate::runtime::{DigNatRuntime, Owned, WIND_UP};
use crate::subscription::{self, DigNatEventFn, DigNatSubscription};
use crate::task::{Callbacks, DigNatDoneFn, DigNatProgressFn, DigNatTask, Operation, start};

/// Downloads files. Nothing is opened before it is started.
pub struct DigNatClient {
    _opaque: [u8; 0],
}

impl Handle for DigNatClient {
    type Object = Owned<FileClient>;
    const NAME: &'static str = "client";
}

/// Makes a client that is not started yet. Options may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_client_new(
    runtime: *const DigNatRuntime,
    node_options: *const DigNatNodeOptions,
    client_options: *const DigNatClientOptions,
    client: *mut *mut DigNatClient,
    error: *mut *mut DigNatError,
) -> DigNatStatus {
    // SAFETY: pointers as documented.
    unsafe {
        edge(error, || {
            let client = out(client, "client")?;
            let runtime = handles::get(runtime)?;
            let node_options = options::node(node_options)?;
            let client_options = options::client(client_options)?;
            let object = Owned::make(runtime, || FileClient::new(node_options, client_options))?;
            client.write(handles::put(Arc::new(object)));
            Ok(())
        })
    }
}

/// Opens the port and starts discovery; downloads do it by themselves. Result: none. A second start does nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_client_start(
    client: *const DigNatClient,
    done: DigNatDoneFn,
    user: *mut c_void,
    task: *mut *mut DigNatTask,
    error: *mut *mut DigNatError,
) -> DigNatStatus {
    // SAFETY: pointers as documented.
    unsafe {
        edge(error, || {
            argument::clear(task);
            let object = handles::get(client)?;
            let client = object.with(FileClient::clone);
            start(&object.runtime, Callbacks::new(done, None, user), task, |_| {
                Operation::firm(async move { client.start().await.map(|()| Record::nothing()) })
            })
        })
    }
}

/// Cancels downloads (they can be resumed), closes all connections and frees the port. Result: none. A second stop
/// does nothing. A stopped object can be started again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_client_stop(
    client: *const DigNatClient,
    done: DigNatDoneFn,
    user: *mut c_void,
    task: *mut *mut DigNatTask,
    error: *mut *mut DigNatError,
) -> DigNatStatus {
    // SAFETY: pointers as documented.
    unsafe {
        edge(error, || {
            argument::clear(task);
            let object = handles::get(client)?;
            let client = object.with(FileClient::clone);
            start(&object.runtime, Callbacks::new(done, None, user), task, |_| {
                Operation::firm(async move { client.stop().await.map(|()| Record::nothing()) })
            })
        })
    }
}

/// The bound port; 0 before the start, and for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_client_port(client: *const DigNatClient) -> u16 {
    value_edge(0, || Ok(handles::get(client)?.with(FileClient::port)))
}

/// A random UUID of this client. Free it with dig_nat_string_free. NULL for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_client_id(client: *const DigNatClient) -> *mut c_char {
    value_edge(std::ptr::null_mut(), || Ok(string(handles::get(client)?.with(FileClient::client_id))))
}

/// The identity on the network. Free it with dig_nat_string_free. NULL before the start, and for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_client_peer_id(client: *const DigNatClient) -> *mut c_char {
    value_edge(std::ptr::null_mut(), || {
        let id = handles::get(client)?.with(FileClient::peer_id);
        Ok(optional_string(id.map(|id| id.to_string())))
    })
}

/// Looks for peers that have a content (a hash or a readable id). Result: items with peer, address, port, and their
/// addresses as items. Finding nobody is an empty list.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_client_find_peers(
    client: *const DigNatClient,
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
            let object = handles::get(client)?;
            let key: ContentKey = argument::parsed(key, "key")?;
            let options = options::find(options)?;
            let client = object.with(FileClient::clone);
            start(&object.runtime, Callbacks::new(done, None, user), task, |_| {
                Operation::future(async move {
                    client.find_peers(key, options).await.map(|peers| Record::list(&peers, Record::peer))
                })
            })
        })
    }
}

/// Downloads a file by its hash or readable id: finds peers unless some are given, proves every piece, resumes what an
/// earlier run left. Result: path, hash, size, and more in the JSON.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_client_download(
    client: *const DigNatClient,
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
            let object = handles::get(client)?;
            let key: ContentKey = argument::parsed(key, "key")?;
            let options = options::download(options)?;
            let client = object.with(FileClient::clone);
            start(&object.runtime, Callbacks::new(done, progress, user), task, |state| {
                let task = client.download(key, options, state.progress_hook());
                Operation::task(task, |file| Record::download(&file))
            })
        })
    }
}

/// Asks peers for size and name of a file without downloading it. Result: hash, size, name.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_client_file_info(
    client: *const DigNatClient,
    key: *const c_char,
    options: *const DigNatDownloadOptions,
    done: DigNatDoneFn,
    user: *mut c_void,
    task: *mut *mut DigNatTask,
    error: *mut *mut DigNatError,
) -> DigNatStatus {
    // SAFETY: pointers as documented.
    unsafe {
        edge(error, || {
            argument::clear(task);
            let object = handles::get(client)?;
            let key: ContentKey = argument::parsed(key, "key")?;
            let options = options::download(options)?;
            let client = object.with(FileClient::clone);
            start(&object.runtime, Callbacks::new(done, None, user), task, |_| {
                Operation::task(client.file_info(key, options), |file| Record::remote(&file))
            })
        })
    }
}

/// Remembers a peer ("host:port", multiaddr or peer id) for all searches, or for those for `key` if that is not NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_client_add_peer(
    client: *const DigNatClient,
    peer: *const c_char,
    key: *const c_char,
    error: *mut *mut DigNatError,
) -> DigNatStatus {
    // SAFETY: pointers as documented.
    unsafe {
        edge(error, || {
            let object = handles::get(client)?;
            let peer = argument::text(peer, "peer")?;
            let key = argument::optional_text(key, "key")?.map(str::parse).transpose()?;
            object.with(|client| client.add_peer(peer, key))?;
            Ok(())
        })
    }
}

/// Switches the search for further peers during downloads, running ones included. Does nothing for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_client_set_continuous_discovery(client: *const DigNatClient, enabled: bool) {
    value_edge((), || {
        handles::get(client)?.with(|client| client.set_continuous_discovery(enabled));
        Ok(())
    });
}

/// Gives a hash a readable id.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_client_add_content_mapping(
    client: *const DigNatClient,
    content_id: *const c_char,
    hash: *const c_char,
    error: *mut *mut DigNatError,
) -> DigNatStatus {
    // SAFETY: pointers as documented.
    unsafe {
        edge(error, || {
            let object = handles::get(client)?;
            let content_id = argument::text(content_id, "content_id")?;
            let hash: FileHash = argument::parsed(hash, "hash")?;
            object.with(|client| client.add_content_mapping(content_id, hash))?;
            Ok(())
        })
    }
}

/// The hash behind a readable id, as far as known here; else NULL. Free it with dig_nat_string_free.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_client_hash_for_content(
    client: *const DigNatClient,
    content_id: *const c_char,
) -> *mut c_char {
    value_edge(std::ptr::null_mut(), || {
        // SAFETY: a string by contract.
        let content_id = unsafe { argument::text(content_id, "content_id") }?;
        let hash = handles::get(client)?.with(|client| client.hash_for_content(content_id));
        Ok(optional_string(hash.map(|hash| hash.to_string())))
    })
}

/// What stands between this client and the internet, as found out with the STUN servers of its options. Result: as of
/// dig_nat_detect_nat_type, and the JSON "null" before the event "nat:detected".
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_client_nat_profile(
    client: *const DigNatClient,
    result: *mut *mut DigNatResult,
    error: *mut *mut DigNatError,
) -> DigNatStatus {
    // SAFETY: pointers as documented.
    unsafe {
        edge(error, || {
            let result = out(result, "result")?;
            let profile = handles::get(client)?.with(FileClient::nat_profile);
            result::give(result, Record::optional_nat(profile));
            Ok(())
        })
    }
}

/// Subscribes to the events of the client, from now on. With `event` NULL they are pulled with dig_nat_subscription_next, else
/// it is called with each of them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_client_subscribe(
    client: *const DigNatClient,
    event: DigNatEventFn,
    user: *mut c_void,
    subscription: *mut *mut DigNatSubscription,
    error: *mut *mut DigNatError,
) -> DigNatStatus {
    // SAFETY: pointers as documented.
    unsafe {
        edge(error, || {
            argument::clear(subscription);
            let object = handles::get(client)?;
            subscription::subscribe(&object.runtime, object.with(FileClient::subscribe), event, user, subscription)
        })
    }
}

/// Stops the client if it runs, waiting up to 10 seconds for it, and frees it. Its running tasks still complete, cancelled.
/// NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_client_free(client: *mut DigNatClient) {
    value_edge((), || {
        let Some(object) = handles::take(client.cast_const()) else { return Ok(()) };
        if object.runtime.check_open().is_ok() {
            let client = object.with(FileClient::clone);
            object.runtime.finish(WIND_UP, async move {
                // Freeing has nobody to tell; stop it first to learn how it went.
                let _ = client.stop().await;
            });
        }
        Ok(())
    });
}

/// Downloads one file with a client made for this call and stopped after it. All options may be NULL. Result: as of
/// dig_nat_client_download.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_download_file(
    runtime: *const DigNatRuntime,
    key: *const c_char,
    node_options: *const DigNatNodeOptions,
    client_options: *const DigNatClientOptions,
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
            let runtime = handles::get(runtime)?;
            let key: ContentKey = argument::parsed(key, "key")?;
            let node_options = options::node(node_options)?;
            let client_options = options::client(client_options)?;
            let options = options::download(options)?;
            start(&runtime, Callbacks::new(done, progress, user), task, |state| {
                let task = download_file(key, node_options, client_options, options, state.progress_hook());
                Operation::task(task, |file| Record::download(&file))
            })
        })
    }
}
