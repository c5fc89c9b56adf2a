//! Reaching one peer by whatever way works, and finding out what stands in the way.
//! Not here: the ways and the examination, which are core's; plain connecting, which is `manager`.

use std::ffi::{c_char, c_void};
use std::sync::Arc;

use dig_nat_core::api::{NetworkManager, diagnose};

use crate::argument;
use crate::connection;
use crate::edge::edge;
use crate::error::{DigNatError, DigNatStatus};
use crate::handles;
use crate::manager::DigNatManager;
use crate::options::{self, DigNatConnectOptions, DigNatNatOptions};
use crate::result::Record;
use crate::runtime::DigNatRuntime;
use crate::task::{Callbacks, DigNatDoneFn, DigNatTask, Operation, start};

/// Connects to a peer by whatever way works: directly, by a port that a router holds open, by punching through the NATs,
/// or over a relay; and goes on looking for a better way. `peer` is a peer id, or a multiaddr that ends in one; a plain
/// "host:port" is only dialled. Options may be NULL. Result: a connection (dig_nat_result_take_connection), peer, address,
/// port, text (the way: "direct-v4", "udp-hole-punch", "circuit", ...), flag (whether a third node carries the bytes), and
/// in the JSON {peer, method, connectionType, transport, address, port, relayed, tookMs, attempts}. The message of a
/// DIG_NAT_STATUS_PEER_UNREACHABLE or DIG_NAT_STATUS_TIMEOUT has every way tried with its time and reason, and what would
/// help.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_manager_connect_to_peer(
    manager: *const DigNatManager,
    peer: *const c_char,
    options: *const DigNatConnectOptions,
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
            let peer = argument::text(peer, "peer")?.to_owned();
            let options = options::connecting(options)?;
            let runtime = Arc::clone(&object.runtime);
            let manager = object.with(NetworkManager::clone);
            start(&object.runtime, Callbacks::new(done, None, user), task, |_| {
                Operation::future(async move {
                    let (connection, traversal) = manager.connect_to_peer(&peer, options).await?;
                    Ok(Record::reached(connection::object(&runtime, connection)?, &traversal))
                })
            })
        })
    }
}

/// Examines the NAT, the router and IPv6 as dig_nat_diagnose does, with this manager's STUN servers, and tries to reach a
/// peer (as of dig_nat_manager_connect_to_peer) unless that is NULL. Options are those of the attempt and may be NULL.
/// Result: as of dig_nat_diagnose; flag says whether the peer was reached. That it was not is no error.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_manager_diagnose(
    manager: *const DigNatManager,
    peer: *const c_char,
    options: *const DigNatConnectOptions,
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
            let peer = argument::optional_text(peer, "peer")?.map(str::to_owned);
            let options = options::connecting(options)?;
            let manager = object.with(NetworkManager::clone);
            start(&object.runtime, Callbacks::new(done, None, user), task, |_| {
                Operation::future(async move {
                    manager.diagnose(peer.as_deref(), options).await.map(|found| Record::diagnosis(&found))
                })
            })
        })
    }
}

/// Examines the NAT in front of this machine, the router's port mapping protocols and IPv6; maps nothing. Options may be
/// NULL. Result: text (the type of the NAT, as of dig_nat_detect_nat_type), what would help as items with a text, most
/// useful first, and everything in the JSON: that of dig_nat_detect_nat_type and dig_nat_discover_public_ips, problem,
/// gateway, portMapping, ipv6State, inboundBlocked, peer and advice, with null for what could not be told. A network that
/// answers nothing is a result, not an error.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_diagnose(
    runtime: *const DigNatRuntime,
    options: *const DigNatNatOptions,
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
            let options = options::nat(options)?;
            start(&runtime, Callbacks::new(done, None, user), task, |_| {
                Operation::task(diagnose(options), |found| Record::diagnosis(&found))
            })
        })
    }
}
