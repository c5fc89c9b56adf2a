//! SHA-256 of bytes and files.
//! Not here: hashing of shared files, which the engine does and caches.

use std::ffi::{c_char, c_void};

use dig_nat_core::Error;
use dig_nat_core::api::{calculate_sha256, calculate_sha256_file};

use crate::argument;
use crate::edge::edge;
use crate::error::{DigNatError, DigNatStatus};
use crate::handles;
use crate::result::Record;
use crate::runtime::DigNatRuntime;
use crate::task::{Callbacks, DigNatDoneFn, DigNatTask, Operation, start};

/// Bytes of a hash as text: 64 hex digits and the NUL behind them.
pub const DIG_NAT_HASH_TEXT_BYTES: usize = 65;

/// Hashes bytes. `hash_out` has room for DIG_NAT_HASH_TEXT_BYTES. `data` may be NULL if `length` is 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_sha256(
    data: *const u8,
    length: usize,
    hash_out: *mut c_char,
    error: *mut *mut DigNatError,
) -> DigNatStatus {
    // SAFETY: pointers as documented.
    unsafe {
        edge(error, || {
            if hash_out.is_null() {
                return Err(Error::invalid("hash_out", "must not be NULL").into());
            }
            let hash = calculate_sha256(argument::bytes(data, length, "data")?).to_string();
            debug_assert_eq!(hash.len() + 1, DIG_NAT_HASH_TEXT_BYTES);
            hash_out.copy_from_nonoverlapping(hash.as_ptr().cast(), hash.len());
            hash_out.add(hash.len()).write(0);
            Ok(())
        })
    }
}

/// Hashes a file on a worker thread. Result: hash.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_sha256_file(
    runtime: *const DigNatRuntime,
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
            let runtime = handles::get(runtime)?;
            let path = argument::path(path, "path")?;
            let callbacks = Callbacks::new(done, None, user);
            start(&runtime, callbacks, task, |_| Operation::task(calculate_sha256_file(path), Record::hash))
        })
    }
}
