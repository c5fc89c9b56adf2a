//! `DigNatDiscovery`: finding peers and being found, without hosting or downloading.
//! Not here: everything it does, which is `dig_nat_core::api::PeerDiscoveryManager`.

use std::ffi::{c_char, c_void};
use std::sync::Arc;

use dig_nat_core::api::PeerDiscoveryManager;
use dig_nat_core::base::ids::{ContentKey, FileHash};

use crate::argument::{self, out};
use crate::edge::{edge, value_edge};
use crate::error::{DigNatError, DigNatStatus};
use crate::handles::{self, Handle};
use crate::library::optional_string;
use crate::options::{self, DigNatAnnounceOptions, DigNatFindOptions, DigNatKnownPeersOptions, DigNatNodeOptions};
use crate::result::{self, DigNatResult, Record};
use crate::runtime::{DigNatRuntime, Owned, WIND_UP};
use crate::subscription::{self, DigNatEventFn, DigNatSubscription};
use crate::task::{Callbacks, DigNatDoneFn, DigNatTask, Operation, start};

/// Finds peers and makes hosts of this process findable. Which ways take part say dht_enabled, pex_enabled, local_enabled
/// and gun_enabled of the node options. Nothing is opened before it is started.
pub struct DigNatDiscovery {
    _opaque: [u8; 0],
}

impl Handle for DigNatDiscovery {
    type Object = Owned<PeerDiscoveryManager>;
    const NAME: &'static str = "discovery";
}

/// Makes a peer discovery that is not started yet. Which ways take part say the switches of the options, which may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_discovery_new(
    runtime: *const DigNatRuntime,
    node_options: *const DigNatNodeOptions,
    discovery: *mut *mut DigNatDiscovery,
    error: *mut *mut DigNatError,
) -> DigNatStatus {
    // SAFETY: pointers as documented.
    unsafe {
        edge(error, || {
            let discovery = out(discovery, "discovery")?;
            let runtime = handles::get(runtime)?;
            let node_options = options::node(node_options)?;
            let object = Owned::make(runtime, || PeerDiscoveryManager::new(node_options))?;
            discovery.write(handles::put(Arc::new(object)));
            Ok(())
        })
    }
}

/// Opens the port and starts all ways. Result: none. A second start does nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_discovery_start(
    discovery: *const DigNatDiscovery,
    done: DigNatDoneFn,
    user: *mut c_void,
    task: *mut *mut DigNatTask,
    error: *mut *mut DigNatError,
) -> DigNatStatus {
    // SAFETY: pointers as documented.
    unsafe {
        edge(error, || {
            argument::clear(task);
            let object = handles::get(discovery)?;
            let discovery = object.with(PeerDiscoveryManager::clone);
            start(&object.runtime, Callbacks::new(done, None, user), task, |_| {
                Operation::firm(async move { discovery.start().await.map(|()| Record::nothing()) })
            })
        })
    }
}

/// Takes back what was announced as far as the networks know that, and frees the port. Result: none. A second stop does
/// nothing. A stopped object can be started again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_discovery_stop(
    discovery: *const DigNatDiscovery,
    done: DigNatDoneFn,
    user: *mut c_void,
    task: *mut *mut DigNatTask,
    error: *mut *mut DigNatError,
) -> DigNatStatus {
    // SAFETY: pointers as documented.
    unsafe {
        edge(error, || {
            argument::clear(task);
            let object = handles::get(discovery)?;
            let discovery = object.with(PeerDiscoveryManager::clone);
            start(&object.runtime, Callbacks::new(done, None, user), task, |_| {
                Operation::firm(async move { discovery.stop().await.map(|()| Record::nothing()) })
            })
        })
    }
}

/// The bound port; 0 before the start, and for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_discovery_port(discovery: *const DigNatDiscovery) -> u16 {
    value_edge(0, || Ok(handles::get(discovery)?.with(PeerDiscoveryManager::port)))
}

/// The identity on the network. Free it with dig_nat_string_free. NULL before the start, and for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_discovery_peer_id(discovery: *const DigNatDiscovery) -> *mut c_char {
    value_edge(std::ptr::null_mut(), || {
        let id = handles::get(discovery)?.with(PeerDiscoveryManager::peer_id);
        Ok(optional_string(id.map(|id| id.to_string())))
    })
}

/// Multiaddrs to reach this object, with its peer id, as items with a text. None before the start.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_discovery_addresses(
    discovery: *const DigNatDiscovery,
    result: *mut *mut DigNatResult,
    error: *mut *mut DigNatError,
) -> DigNatStatus {
    // SAFETY: pointers as documented.
    unsafe {
        edge(error, || {
            let result = out(result, "result")?;
            let addresses = handles::get(discovery)?.with(PeerDiscoveryManager::addresses);
            result::give(result, Record::list(&addresses, |address| Record::text(address)));
            Ok(())
        })
    }
}

/// Makes a host of this process findable under a key, until it is withdrawn or stopped: the one that listens on `port` of
/// the options, or this object itself without a port. Starts it if it does not run. Renewed by itself. Result: none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_discovery_announce(
    discovery: *const DigNatDiscovery,
    key: *const c_char,
    options: *const DigNatAnnounceOptions,
    done: DigNatDoneFn,
    user: *mut c_void,
    task: *mut *mut DigNatTask,
    error: *mut *mut DigNatError,
) -> DigNatStatus {
    // SAFETY: pointers as documented.
    unsafe {
        edge(error, || {
            argument::clear(task);
            let object = handles::get(discovery)?;
            let key: ContentKey = argument::parsed(key, "key")?;
            let options = options::announce(options)?;
            let discovery = object.with(PeerDiscoveryManager::clone);
            start(&object.runtime, Callbacks::new(done, None, user), task, |_| {
                Operation::future(async move { discovery.announce(key, options).await.map(|()| Record::nothing()) })
            })
        })
    }
}

/// Takes an announcement back. Result: flag, whether there was one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_discovery_withdraw(
    discovery: *const DigNatDiscovery,
    key: *const c_char,
    done: DigNatDoneFn,
    user: *mut c_void,
    task: *mut *mut DigNatTask,
    error: *mut *mut DigNatError,
) -> DigNatStatus {
    // SAFETY: pointers as documented.
    unsafe {
        edge(error, || {
            argument::clear(task);
            let object = handles::get(discovery)?;
            let key: ContentKey = argument::parsed(key, "key")?;
            let discovery = object.with(PeerDiscoveryManager::clone);
            start(&object.runtime, Callbacks::new(done, None, user), task, |_| {
                Operation::future(async move { discovery.withdraw(&key).await.map(Record::flag) })
            })
        })
    }
}

/// Searches for a key in the background from now on; finds are events "peer:discovered". `priority` is "low", "medium" or
/// "high"; of too many keys those of lowest priority give way. `watched`, if not NULL, is set to whether it is searched for.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_discovery_watch(
    discovery: *const DigNatDiscovery,
    key: *const c_char,
    priority: *const c_char,
    watched: *mut bool,
    error: *mut *mut DigNatError,
) -> DigNatStatus {
    // SAFETY: pointers as documented.
    unsafe {
        edge(error, || {
            argument::tell(watched, false);
            let object = handles::get(discovery)?;
            let key: ContentKey = argument::parsed(key, "key")?;
            let priority = argument::text(priority, "priority")?;
            argument::tell(watched, object.with(|discovery| discovery.watch(&key, priority))?);
            Ok(())
        })
    }
}

/// Ends a search in the background. Whether there was one; false for what is no key, and for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_discovery_unwatch(discovery: *const DigNatDiscovery, key: *const c_char) -> bool {
    value_edge(false, || {
        // SAFETY: a string by contract.
        let key: ContentKey = unsafe { argument::parsed(key, "key") }?;
        Ok(handles::get(discovery)?.with(|discovery| discovery.unwatch(&key)))
    })
}

/// Looks for peers that have a content (a hash or a readable id). Result: items with peer, address, port, and their
/// addresses as items. Finding nobody is an empty list.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_discovery_find_peers(
    discovery: *const DigNatDiscovery,
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
            let object = handles::get(discovery)?;
            let key: ContentKey = argument::parsed(key, "key")?;
            let options = options::find(options)?;
            let discovery = object.with(PeerDiscoveryManager::clone);
            start(&object.runtime, Callbacks::new(done, None, user), task, |_| {
                Operation::future(async move {
                    discovery.find_peers(key, options).await.map(|peers| Record::list(&peers, Record::peer))
                })
            })
        })
    }
}

/// The peers known now, best first; nobody is asked. Result: as of dig_nat_discovery_find_peers, where each came from in
/// the JSON. None before the start. Options may be NULL: all peers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_discovery_peers(
    discovery: *const DigNatDiscovery,
    options: *const DigNatKnownPeersOptions,
    result: *mut *mut DigNatResult,
    error: *mut *mut DigNatError,
) -> DigNatStatus {
    // SAFETY: pointers as documented.
    unsafe {
        edge(error, || {
            let result = out(result, "result")?;
            let object = handles::get(discovery)?;
            let options = options::known_peers(options)?;
            let peers = object.with(|discovery| discovery.peers(&options))?;
            result::give(result, Record::list(&peers, Record::peer));
            Ok(())
        })
    }
}

/// Remembers a peer ("host:port", multiaddr or peer id) for all searches, or for those for `key` if that is not NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_discovery_add_peer(
    discovery: *const DigNatDiscovery,
    peer: *const c_char,
    key: *const c_char,
    error: *mut *mut DigNatError,
) -> DigNatStatus {
    // SAFETY: pointers as documented.
    unsafe {
        edge(error, || {
            let object = handles::get(discovery)?;
            let peer = argument::text(peer, "peer")?;
            let key = argument::optional_text(key, "key")?.map(str::parse).transpose()?;
            object.with(|discovery| discovery.add_peer(peer, key))?;
            Ok(())
        })
    }
}

/// Gives a hash a readable id.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_discovery_add_content_mapping(
    discovery: *const DigNatDiscovery,
    content_id: *const c_char,
    hash: *const c_char,
    error: *mut *mut DigNatError,
) -> DigNatStatus {
    // SAFETY: pointers as documented.
    unsafe {
        edge(error, || {
            let object = handles::get(discovery)?;
            let content_id = argument::text(content_id, "content_id")?;
            let hash: FileHash = argument::parsed(hash, "hash")?;
            object.with(|discovery| discovery.add_content_mapping(content_id, hash))?;
            Ok(())
        })
    }
}

/// Takes a readable id away, and back from where it was told. Result: a flag, whether there was one. What others say of it
/// stays theirs.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_discovery_remove_content_mapping(
    discovery: *const DigNatDiscovery,
    content_id: *const c_char,
    done: DigNatDoneFn,
    user: *mut c_void,
    task: *mut *mut DigNatTask,
    error: *mut *mut DigNatError,
) -> DigNatStatus {
    // SAFETY: pointers as documented.
    unsafe {
        edge(error, || {
            argument::clear(task);
            let object = handles::get(discovery)?;
            let content_id = argument::text(content_id, "content_id")?.to_owned();
            let discovery = object.with(PeerDiscoveryManager::clone);
            start(&object.runtime, Callbacks::new(done, None, user), task, |_| {
                Operation::future(async move { discovery.remove_content_mapping(&content_id).await.map(Record::flag) })
            })
        })
    }
}

/// Looks for the nodes of the hash table that are nearest to a place in it: that of a peer id, or where a hash or readable id
/// is kept. Takes at most so many ms, 100 to 3600000. Result: as of dig_nat_discovery_find_peers, nearest first.
/// INVALID_STATE without dht_enabled.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_discovery_find_node(
    discovery: *const DigNatDiscovery,
    target: *const c_char,
    timeout_ms: u64,
    done: DigNatDoneFn,
    user: *mut c_void,
    task: *mut *mut DigNatTask,
    error: *mut *mut DigNatError,
) -> DigNatStatus {
    // SAFETY: pointers as documented.
    unsafe {
        edge(error, || {
            argument::clear(task);
            let object = handles::get(discovery)?;
            let target = argument::text(target, "target")?.to_owned();
            let discovery = object.with(PeerDiscoveryManager::clone);
            start(&object.runtime, Callbacks::new(done, None, user), task, |_| {
                Operation::future(async move {
                    discovery.find_node(&target, timeout_ms).await.map(|nodes| Record::list(&nodes, Record::peer))
                })
            })
        })
    }
}

/// The hash behind a readable id, as far as known here; else NULL. Free it with dig_nat_string_free.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_discovery_hash_for_content(
    discovery: *const DigNatDiscovery,
    content_id: *const c_char,
) -> *mut c_char {
    value_edge(std::ptr::null_mut(), || {
        // SAFETY: a string by contract.
        let content_id = unsafe { argument::text(content_id, "content_id") }?;
        let hash = handles::get(discovery)?.with(|discovery| discovery.hash_for_content(content_id));
        Ok(optional_string(hash.map(|hash| hash.to_string())))
    })
}

/// The readable id of a hash; NULL if it has none. Free it with dig_nat_string_free.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_discovery_content_for_hash(
    discovery: *const DigNatDiscovery,
    hash: *const c_char,
) -> *mut c_char {
    value_edge(std::ptr::null_mut(), || {
        // SAFETY: a string by contract.
        let hash: FileHash = unsafe { argument::parsed(hash, "hash") }?;
        Ok(optional_string(handles::get(discovery)?.with(|discovery| discovery.content_for_hash(&hash))))
    })
}

/// Looks for the hash behind a readable id: known here, told by Gun, or by a peer that has it. Takes at most so many ms, 1 to
/// 86400000. Result: a hash, or none when nobody says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_discovery_find_hash(
    discovery: *const DigNatDiscovery,
    content_id: *const c_char,
    timeout_ms: u64,
    done: DigNatDoneFn,
    user: *mut c_void,
    task: *mut *mut DigNatTask,
    error: *mut *mut DigNatError,
) -> DigNatStatus {
    // SAFETY: pointers as documented.
    unsafe {
        edge(error, || {
            argument::clear(task);
            let object = handles::get(discovery)?;
            let content_id = argument::text(content_id, "content_id")?.to_owned();
            let discovery = object.with(PeerDiscoveryManager::clone);
            start(&object.runtime, Callbacks::new(done, None, user), task, |_| {
                Operation::future(async move {
                    let found = discovery.find_hash(&content_id, timeout_ms).await?;
                    Ok(found.map_or_else(Record::nothing, Record::hash))
                })
            })
        })
    }
}

/// The parts of the hash table that this object keeps for others as a shard host, in hex digits, as items with a text. None
/// before the start.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_discovery_shard_prefixes(
    discovery: *const DigNatDiscovery,
    result: *mut *mut DigNatResult,
    error: *mut *mut DigNatError,
) -> DigNatStatus {
    // SAFETY: pointers as documented.
    unsafe {
        edge(error, || {
            let result = out(result, "result")?;
            let prefixes = handles::get(discovery)?.with(PeerDiscoveryManager::shard_prefixes);
            result::give(result, Record::list(&prefixes, |prefix| Record::text(prefix)));
            Ok(())
        })
    }
}

/// Subscribes to the events of this object, from now on. With `event` NULL they are pulled with dig_nat_subscription_next, else
/// it is called with each of them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_discovery_subscribe(
    discovery: *const DigNatDiscovery,
    event: DigNatEventFn,
    user: *mut c_void,
    subscription: *mut *mut DigNatSubscription,
    error: *mut *mut DigNatError,
) -> DigNatStatus {
    // SAFETY: pointers as documented.
    unsafe {
        edge(error, || {
            argument::clear(subscription);
            let object = handles::get(discovery)?;
            subscription::subscribe(
                &object.runtime,
                object.with(PeerDiscoveryManager::subscribe),
                event,
                user,
                subscription,
            )
        })
    }
}

/// Stops the object if it runs, waiting up to 10 seconds for it, and frees it. Its running tasks still complete, cancelled.
/// NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_discovery_free(discovery: *mut DigNatDiscovery) {
    value_edge((), || {
        let Some(object) = handles::take(discovery.cast_const()) else { return Ok(()) };
        if object.runtime.check_open().is_ok() {
            let discovery = object.with(PeerDiscoveryManager::clone);
            object.runtime.finish(WIND_UP, async move {
                // Freeing has nobody to tell; stop it first to learn how it went.
                let _ = discovery.stop().await;
            });
        }
        Ok(())
    });
}
