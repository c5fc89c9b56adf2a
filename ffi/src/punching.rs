//! Single holes through NATs, to a known endpoint or to a peer that is met at Gun relays. Not here: what they give (`socket`); the attempts that nodes make.

use std::ffi::c_void;
use std::sync::Arc;

use dig_nat_core::api::{PunchedSocket, Task, punch_tcp, punch_udp, tcp_simultaneous_open};
use dig_nat_core::base::options::PunchOptions;

use crate::error::{DigNatError, DigNatStatus};
use crate::nat::begin;
use crate::options::{self, DigNatPunchOptions};
use crate::runtime::{DigNatRuntime, Runtime};
use crate::socket;
use crate::task::{DigNatDoneFn, DigNatTask, Operation};

/// Opens a UDP path to remote_endpoint, or to the peer met at gun_peers; the peer does the same at about the same time. Result: as of dig_nat_socket_info,
/// and the socket for dig_nat_result_take_socket. Fails with DIG_NAT_STATUS_PEER_UNREACHABLE when the peer did not answer
/// in time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_punch_udp(
    runtime: *const DigNatRuntime,
    options: *const DigNatPunchOptions,
    done: DigNatDoneFn,
    user: *mut c_void,
    task: *mut *mut DigNatTask,
    error: *mut *mut DigNatError,
) -> DigNatStatus {
    // SAFETY: pointers as documented.
    unsafe { begin(runtime, done, user, task, error, || Ok(punching(options::punch(options)?, punch_udp))) }
}

/// Opens a TCP connection to remote_endpoint, or to the peer met at gun_peers; the peer does the same at about the same time. Result and errors: as of
/// dig_nat_punch_udp.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_punch_tcp(
    runtime: *const DigNatRuntime,
    options: *const DigNatPunchOptions,
    done: DigNatDoneFn,
    user: *mut c_void,
    task: *mut *mut DigNatTask,
    error: *mut *mut DigNatError,
) -> DigNatStatus {
    // SAFETY: pointers as documented.
    unsafe { begin(runtime, done, user, task, error, || Ok(punching(options::punch(options)?, punch_tcp))) }
}

/// The same as dig_nat_punch_tcp under the original package's other name: both sides listen and connect.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_tcp_simultaneous_open(
    runtime: *const DigNatRuntime,
    options: *const DigNatPunchOptions,
    done: DigNatDoneFn,
    user: *mut c_void,
    task: *mut *mut DigNatTask,
    error: *mut *mut DigNatError,
) -> DigNatStatus {
    // SAFETY: pointers as documented.
    unsafe { begin(runtime, done, user, task, error, || Ok(punching(options::punch(options)?, tcp_simultaneous_open))) }
}

fn punching(
    options: PunchOptions,
    punch: fn(PunchOptions) -> Task<PunchedSocket>,
) -> impl FnOnce(&Arc<Runtime>) -> Operation {
    move |runtime| {
        let owner = Arc::clone(runtime);
        Operation::object(punch(options), move |punched| socket::record(&owner, punched))
    }
}
