//! `DigNatSignaling`: messages that the program carries between two sides, and ICE over it.
//! Not here: the socket that ICE gives (`socket`).

use std::ffi::c_void;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use dig_nat_core::Error;
use dig_nat_core::api::{SignalledBy, Signalling, SignallingEnd, connect_with_ice, signalling};

use crate::argument::{self, out};
use crate::edge::{edge, value_edge};
use crate::error::{DigNatError, DigNatStatus};
use crate::handles::{self, Handle};
use crate::nat::begin;
use crate::options::{self, DigNatIceOptions};
use crate::result::Record;
use crate::runtime::{DigNatRuntime, Owned};
use crate::socket;
use crate::task::{Callbacks, DigNatDoneFn, DigNatTask, Operation, start};

/// Signalling for one attempt: the program takes messages out, brings them to the peer by any private and authenticated
/// means, and delivers those of the peer.
pub struct DigNatSignaling {
    _opaque: [u8; 0],
}

impl Handle for DigNatSignaling {
    type Object = Owned<Ends>;
    const NAME: &'static str = "signaling";
}

/// What a `DigNatSignaling` stands for.
pub(crate) struct Ends {
    /// Goes into the attempt.
    engine: Mutex<Option<Signalling>>,
    program: SignallingEnd,
}

/// Makes signalling for one attempt.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_signaling_new(
    runtime: *const DigNatRuntime,
    signaling: *mut *mut DigNatSignaling,
    error: *mut *mut DigNatError,
) -> DigNatStatus {
    // SAFETY: pointers as documented.
    unsafe {
        edge(error, || {
            let signaling = out(signaling, "signaling")?;
            let ends = Owned::make(handles::get(runtime)?, || {
                let (engine, program) = signalling();
                Ok(Ends { engine: Mutex::new(Some(engine)), program })
            })?;
            signaling.write(handles::put(Arc::new(ends)));
            Ok(())
        })
    }
}

/// Waits for the next message for the peer, at most 8 KiB. Result: data, size; data is NULL and the JSON "null" when the
/// attempt has ended. Cancelling loses nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_signaling_outgoing(
    signaling: *const DigNatSignaling,
    done: DigNatDoneFn,
    user: *mut c_void,
    task: *mut *mut DigNatTask,
    error: *mut *mut DigNatError,
) -> DigNatStatus {
    // SAFETY: pointers as documented.
    unsafe {
        edge(error, || {
            argument::clear(task);
            let object = handles::get(signaling)?;
            let end = object.with(|ends| ends.program.clone());
            start(&object.runtime, Callbacks::new(done, None, user), task, |_| {
                Operation::future(async move { Ok(Record::data(end.outgoing().await.map(|data| (None, data)))) })
            })
        })
    }
}

/// Hands over a message of the peer. The bytes are copied before the call returns. Result: flag, whether the attempt goes
/// on.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_signaling_deliver(
    signaling: *const DigNatSignaling,
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
            let object = handles::get(signaling)?;
            let data = Bytes::copy_from_slice(argument::bytes(data, length, "data")?);
            let end = object.with(|ends| ends.program.clone());
            start(&object.runtime, Callbacks::new(done, None, user), task, |_| {
                Operation::future(async move { end.deliver(data).await.map(Record::flag) })
            })
        })
    }
}

/// Frees signalling; nothing more comes from the peer then. NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_signaling_free(signaling: *mut DigNatSignaling) {
    value_edge((), || {
        if let Some(object) = handles::take(signaling.cast_const()) {
            object.with(|ends| ends.program.close());
        }
        Ok(())
    });
}

/// Finds a pair of addresses that works, by ICE (RFC 8445); the peer does the same at the other end of `signaling`, which
/// serves one attempt; with NULL both sides meet at the gun_peers of the options. Result: as of dig_nat_socket_info, and the socket for dig_nat_result_take_socket.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_connect_with_ice(
    runtime: *const DigNatRuntime,
    options: *const DigNatIceOptions,
    signaling: *const DigNatSignaling,
    done: DigNatDoneFn,
    user: *mut c_void,
    task: *mut *mut DigNatTask,
    error: *mut *mut DigNatError,
) -> DigNatStatus {
    // SAFETY: pointers as documented.
    unsafe {
        begin(runtime, done, user, task, error, || {
            let options = options::ice(options)?;
            let end = if signaling.is_null() {
                SignalledBy::Relays
            } else {
                let ends = handles::get(signaling)?;
                let end = ends.with(|ends| ends.engine.lock().unwrap_or_else(PoisonError::into_inner).take());
                SignalledBy::Program(end.ok_or_else(|| Error::invalid("signaling", "serves one attempt only"))?)
            };
            Ok(move |runtime: &Arc<_>| {
                let owner = Arc::clone(runtime);
                Operation::object(connect_with_ice(options, end), move |connected| socket::record(&owner, connected))
            })
        })
    }
}
