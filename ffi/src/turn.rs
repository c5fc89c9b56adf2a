//! `DigNatAllocation`: an address at a TURN server. Not here: the relays that nodes use.

use std::ffi::{c_char, c_void};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use dig_nat_core::api::{TurnAllocation, create_turn_allocation};
use dig_nat_core::{Error, Result};

use crate::argument::{self, out};
use crate::edge::{edge, value_edge};
use crate::error::{DigNatError, DigNatStatus};
use crate::handles::{self, Handle};
use crate::nat::begin;
use crate::options::{self, DigNatTurnOptions};
use crate::result::{self, DigNatResult, Record};
use crate::runtime::{DigNatRuntime, Owned};
use crate::task::{Callbacks, DigNatDoneFn, DigNatTask, Operation, start};

/// An address at a TURN server that relays datagrams to us, prolonged as long as it is held. It is released when it is
/// freed.
pub struct DigNatAllocation {
    _opaque: [u8; 0],
}

/// What a `DigNatAllocation` stands for.
pub(crate) type AllocationObject = Owned<TurnAllocation>;

impl Handle for DigNatAllocation {
    type Object = AllocationObject;
    const NAME: &'static str = "allocation";
}

/// Allocates an address at the first of the named TURN servers that grants one. Result: as of dig_nat_allocation_info, and
/// the allocation for dig_nat_result_take_allocation. Fails with DIG_NAT_STATUS_INVALID_ARGUMENT for wrong credentials.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_create_turn_allocation(
    runtime: *const DigNatRuntime,
    options: *const DigNatTurnOptions,
    done: DigNatDoneFn,
    user: *mut c_void,
    task: *mut *mut DigNatTask,
    error: *mut *mut DigNatError,
) -> DigNatStatus {
    // SAFETY: pointers as documented.
    unsafe {
        begin(runtime, done, user, task, error, || {
            let options = options::turn(options)?;
            Ok(move |runtime: &Arc<_>| {
                let owner = Arc::clone(runtime);
                Operation::object(create_turn_allocation(options), move |allocation| {
                    let info = allocation.info();
                    let object = Arc::new(Owned::make(owner, || Ok(allocation))?);
                    Ok(Record::allocation(&info, Some(object)))
                })
            })
        })
    }
}

/// What the server granted. Result: address and port that peers send to, and in the JSON {relayedAddress, relayedPort,
/// mappedAddress, mappedPort, serverAddress, serverPort, lifetimeS}.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_allocation_info(
    allocation: *const DigNatAllocation,
    result: *mut *mut DigNatResult,
    error: *mut *mut DigNatError,
) -> DigNatStatus {
    // SAFETY: pointers as documented.
    unsafe {
        edge(error, || {
            let result = out(result, "result")?;
            let info = handles::get(allocation)?.with(TurnAllocation::info);
            result::give(result, Record::allocation(&info, None));
            Ok(())
        })
    }
}

/// Lets a peer's IP address in, all ports. Until then nothing of it arrives. Result: none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_allocation_permit(
    allocation: *const DigNatAllocation,
    address: *const c_char,
    done: DigNatDoneFn,
    user: *mut c_void,
    task: *mut *mut DigNatTask,
    error: *mut *mut DigNatError,
) -> DigNatStatus {
    // SAFETY: pointers as documented.
    unsafe {
        edge(error, || {
            argument::clear(task);
            let object = handles::get(allocation)?;
            let address = ip(address)?;
            let allocation = object.with(TurnAllocation::clone);
            start(&object.runtime, Callbacks::new(done, None, user), task, |_| {
                Operation::future(async move { allocation.permit(address).await.map(|()| Record::nothing()) })
            })
        })
    }
}

/// Sends a datagram to a peer's IP address and port; the peer is let in first if it is not yet. The bytes are copied before
/// the call returns. Result: none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_allocation_send_to(
    allocation: *const DigNatAllocation,
    address: *const c_char,
    port: u16,
    data: *const u8,
    length: usize,
    done: DigNatDoneFn,
    user: *mut c_void,
    task: *mut *mut DigNatTask,
    error: *mut *mut DigNatError,
) -> DigNatStatus {
    // SAFETY: pointers as documented.
    unsafe {
        edge(error, || {
            argument::clear(task);
            let object = handles::get(allocation)?;
            let peer = SocketAddr::new(ip(address)?, port);
            let data = Bytes::copy_from_slice(argument::bytes(data, length, "data")?);
            let allocation = object.with(TurnAllocation::clone);
            start(&object.runtime, Callbacks::new(done, None, user), task, |_| {
                Operation::future(async move { allocation.send_to(peer, data).await.map(|()| Record::nothing()) })
            })
        })
    }
}

/// Waits for the next datagram of a peer that was let in. Result: data, size, address and port of its sender; data is NULL
/// and the JSON "null" after the release. Cancelling loses nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_allocation_receive(
    allocation: *const DigNatAllocation,
    done: DigNatDoneFn,
    user: *mut c_void,
    task: *mut *mut DigNatTask,
    error: *mut *mut DigNatError,
) -> DigNatStatus {
    // SAFETY: pointers as documented.
    unsafe {
        edge(error, || {
            argument::clear(task);
            let object = handles::get(allocation)?;
            let allocation = object.with(TurnAllocation::clone);
            start(&object.runtime, Callbacks::new(done, None, user), task, |_| {
                Operation::future(async move {
                    let received = allocation.receive().await?;
                    Ok(Record::data(received.map(|(from, data)| (Some(from), data))))
                })
            })
        })
    }
}

/// Prolongs it now, asking for `lifetime_s` seconds (1 to 3600) from now on. It is prolonged in time without this too.
/// Result: size, the seconds that the server grants.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_allocation_refresh(
    allocation: *const DigNatAllocation,
    lifetime_s: u32,
    done: DigNatDoneFn,
    user: *mut c_void,
    task: *mut *mut DigNatTask,
    error: *mut *mut DigNatError,
) -> DigNatStatus {
    // SAFETY: pointers as documented.
    unsafe {
        edge(error, || {
            argument::clear(task);
            let object = handles::get(allocation)?;
            let allocation = object.with(TurnAllocation::clone);
            start(&object.runtime, Callbacks::new(done, None, user), task, |_| {
                Operation::future(async move { allocation.refresh(lifetime_s).await.map(Record::number) })
            })
        })
    }
}

/// Removes it at the server. Result: none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_allocation_release(
    allocation: *const DigNatAllocation,
    done: DigNatDoneFn,
    user: *mut c_void,
    task: *mut *mut DigNatTask,
    error: *mut *mut DigNatError,
) -> DigNatStatus {
    // SAFETY: pointers as documented.
    unsafe {
        edge(error, || {
            argument::clear(task);
            let object = handles::get(allocation)?;
            let allocation = object.with(TurnAllocation::clone);
            start(&object.runtime, Callbacks::new(done, None, user), task, |_| {
                Operation::firm(async move {
                    allocation.release().await;
                    Ok(Record::nothing())
                })
            })
        })
    }
}

/// Frees an allocation, releasing it. NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_allocation_free(allocation: *mut DigNatAllocation) {
    value_edge((), || {
        handles::take(allocation.cast_const());
        Ok(())
    });
}

unsafe fn ip(address: *const c_char) -> Result<IpAddr> {
    // SAFETY: handed on.
    let text = unsafe { argument::text(address, "address") }?;
    text.parse().map_err(|cause| Error::invalid("address", format_args!("{text:?}: {cause}")))
}
