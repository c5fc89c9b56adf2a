//! The edge between C and Rust: no panic and no error crosses it unseen.
//! Not here: what an error looks like in C (`error`).

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use dig_nat_core::{Error, ErrorKind};

use crate::argument::clear;
use crate::error::{DigNatError, DigNatStatus, ErrorObject};
use crate::handles;

/// Why a call failed; shared, because a task's failure can be asked for more than once.
pub(crate) struct Failure(pub(crate) Arc<ErrorObject>);

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self(Arc::new(ErrorObject::from(&error)))
    }
}

/// Runs the body of a function that returns a status, and hands the error object out if the caller wants it.
pub(crate) unsafe fn edge(error: *mut *mut DigNatError, body: impl FnOnce() -> Result<(), Failure>) -> DigNatStatus {
    // SAFETY: the caller passes NULL or a place for one pointer.
    unsafe { clear(error) };
    let outcome = catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| Err(panicked(panic.as_ref()).into()));
    let Err(Failure(object)) = outcome else { return DigNatStatus::Ok };
    let status = object.status;
    if !error.is_null() {
        // SAFETY: as above.
        unsafe { error.write(handles::put(object)) };
    }
    status
}

/// Runs the body of a function that returns a plain value; anything that goes wrong gives `otherwise`.
pub(crate) fn value_edge<T>(otherwise: T, body: impl FnOnce() -> Result<T, Failure>) -> T {
    catch_unwind(AssertUnwindSafe(body)).ok().and_then(Result::ok).unwrap_or(otherwise)
}

fn panicked(panic: &(dyn Any + Send)) -> Error {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    Error::new(ErrorKind::Internal, format!("a call panicked: {}", text.unwrap_or("no message")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_an_internal_error() {
        let mut error = std::ptr::null_mut();
        // SAFETY: `error` is a place for one pointer.
        let status = unsafe { edge(&raw mut error, || panic!("oh")) };
        assert_eq!(status, DigNatStatus::Internal);
        let object = handles::take(error.cast_const()).expect("an error object");
        assert!(object.message.to_str().expect("UTF-8").contains("oh"));
        assert_eq!(value_edge(3, || panic!("oh")), 3);
    }
}
