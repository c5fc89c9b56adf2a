//! `DigNatStatus` and `DigNatError`: the kinds of errors as numbers, one error as an object.
//! Not here: the table of kinds, which is `dig_nat_core::ErrorKind`; tests compare the two.

use std::ffi::{CString, c_char};
use std::sync::{Arc, LazyLock};

use dig_nat_core::{Error, ErrorKind};

use crate::argument::c_string;
use crate::edge::value_edge;
use crate::handles::{self, Handle};

/// What a call or a task came to. Numbers are grouped by area, never change and are never reused; later versions may
/// add some, so treat a number you do not know as a failure.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DigNatStatus {
    /// Success.
    Ok = 0,
    /// A bug in this library.
    Internal = 1,
    /// An argument or option has a value that cannot work; the message names it.
    InvalidArgument = 10,
    /// The call needs a running object, or one that is not running.
    InvalidState = 11,
    /// The caller cancelled the operation.
    Cancelled = 12,
    /// The operation did not finish in time.
    Timeout = 13,
    /// A limit of this node is reached.
    LimitReached = 14,
    /// A local file or directory does not exist.
    FileNotFound = 20,
    /// The operating system denied access to a file or directory.
    PermissionDenied = 21,
    /// The disk has no room for the file.
    DiskFull = 22,
    /// A file is in use by another download or process.
    FileBusy = 23,
    /// A shared file changed after it was hashed.
    FileChanged = 24,
    /// Any other failure of reading or writing local data.
    Io = 25,
    /// A port or address cannot be listened on.
    AddressInUse = 30,
    /// A peer could not be reached.
    PeerUnreachable = 31,
    /// An established connection ended.
    ConnectionClosed = 32,
    /// A peer broke the protocol.
    Protocol = 33,
    /// Nobody who has the content was found.
    NoPeers = 40,
    /// The peers that were asked do not have the content.
    ContentNotFound = 41,
    /// Received data does not have the requested hash.
    VerificationFailed = 42,
}

/// Why something failed: a status, what was being done, and what to do about it.
pub struct DigNatError {
    _opaque: [u8; 0],
}

/// What a `DigNatError` stands for.
pub(crate) struct ErrorObject {
    pub(crate) status: DigNatStatus,
    pub(crate) code: CString,
    pub(crate) message: CString,
    pub(crate) advice: CString,
}

impl Handle for DigNatError {
    type Object = ErrorObject;
    const NAME: &'static str = "error";
}

impl From<&Error> for ErrorObject {
    fn from(error: &Error) -> Self {
        let kind = error.kind();
        Self {
            status: kind.into(),
            code: c_string(kind.code()),
            message: c_string(error.full_message()),
            advice: c_string(kind.advice()),
        }
    }
}

macro_rules! from_kind {
    ($($kind:ident)+) => {
        impl From<ErrorKind> for DigNatStatus {
            fn from(kind: ErrorKind) -> Self {
                match kind {
                    $(ErrorKind::$kind => Self::$kind,)+
                    // The test below fails before a release could get here.
                    _ => Self::Internal,
                }
            }
        }
    };
}

from_kind! {
    Internal InvalidArgument InvalidState Cancelled Timeout LimitReached
    FileNotFound PermissionDenied DiskFull FileBusy FileChanged Io
    AddressInUse PeerUnreachable ConnectionClosed Protocol
    NoPeers ContentNotFound VerificationFailed
}

/// The status of an error; DIG_NAT_STATUS_OK for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_error_status(error: *const DigNatError) -> DigNatStatus {
    value_edge(DigNatStatus::Ok, || Ok(handles::get(error)?.status))
}

/// The text code, such as "ERR_NO_PEERS", the same in every language of this library. Belongs to the error object.
/// "" for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_error_code(error: *const DigNatError) -> *const c_char {
    borrowed(error, |object| &object.code)
}

/// What was being done and what went wrong, with causes, in one line. Belongs to the error object. "" for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_error_message(error: *const DigNatError) -> *const c_char {
    borrowed(error, |object| &object.message)
}

/// What a person can do about it. Belongs to the error object. "" for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_error_advice(error: *const DigNatError) -> *const c_char {
    borrowed(error, |object| &object.advice)
}

/// Frees an error that was handed out through a `DigNatError **`. NULL is fine. Errors passed to a callback belong to
/// the library.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_error_free(error: *mut DigNatError) {
    value_edge((), || {
        handles::take(error.cast_const());
        Ok(())
    });
}

/// The text code of a status, such as "ERR_NO_PEERS"; "OK" for success, "" for an unknown number. Static.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_status_code(status: i32) -> *const c_char {
    status_text(status, |entry| &entry.1, c"OK".as_ptr())
}

/// What a person can do about a status; "" for success and for an unknown number. Static.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_status_advice(status: i32) -> *const c_char {
    status_text(status, |entry| &entry.2, c"".as_ptr())
}

fn borrowed(error: *const DigNatError, field: impl FnOnce(&ErrorObject) -> &CString) -> *const c_char {
    // The pointer stays valid because the table holds another reference until the handle is freed.
    value_edge(c"".as_ptr(), || Ok(field(&Arc::clone(&handles::get(error)?)).as_ptr()))
}

type StatusEntry = (i32, CString, CString);

fn status_text(status: i32, field: impl FnOnce(&StatusEntry) -> &CString, ok: *const c_char) -> *const c_char {
    static TEXTS: LazyLock<Vec<StatusEntry>> = LazyLock::new(|| {
        let entry = |kind: &ErrorKind| (i32::from(kind.number()), c_string(kind.code()), c_string(kind.advice()));
        ErrorKind::ALL.iter().map(entry).collect()
    });
    if status == 0 {
        return ok;
    }
    value_edge(c"".as_ptr(), || {
        Ok(TEXTS.iter().find(|entry| entry.0 == status).map_or(c"".as_ptr(), |entry| field(entry).as_ptr()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_own_status() {
        for kind in ErrorKind::ALL {
            assert_eq!(DigNatStatus::from(*kind) as u16, kind.number(), "{}", kind.name());
        }
    }
}
