//! The table behind the opaque pointers: handle number to object.
//! Not here: the objects.
//!
//! A handle is a serial number cast to a pointer. C code can only copy and compare it; looking it up takes a counted
//! reference, so an object may be freed by one thread while another one is still inside a call with it. Numbers are
//! never reused while a process could realistically notice, which makes stale handles detectable.

use std::any::Any;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use dig_nat_core::{Error, ErrorKind, Result};

/// An opaque type of the header.
pub(crate) trait Handle: Sized {
    /// What the handle stands for.
    type Object: Any + Send + Sync;
    /// How error messages call it.
    const NAME: &'static str;
}

type Table = HashMap<usize, Arc<dyn Any + Send + Sync>>;

static TABLE: LazyLock<RwLock<Table>> = LazyLock::new(RwLock::default);

/// Far from NULL and in steps of 16, so that a debugger's view of a handle is not mistaken for a small number.
static NEXT: AtomicUsize = AtomicUsize::new(FIRST);
const FIRST: usize = 0x1_0000;
const STEP: usize = 16;

/// Gives an object a handle.
pub(crate) fn put<H: Handle>(object: Arc<H::Object>) -> *mut H {
    let mut table = write();
    loop {
        let id = NEXT.fetch_add(STEP, Ordering::Relaxed);
        // After a wrap of the counter (32-bit systems) numbers in use are passed over.
        if id >= FIRST && !table.contains_key(&id) {
            table.insert(id, object);
            return std::ptr::without_provenance_mut(id);
        }
    }
}

/// The object behind a handle.
pub(crate) fn get<H: Handle>(handle: *const H) -> Result<Arc<H::Object>> {
    if handle.is_null() {
        return Err(Error::invalid(H::NAME, "must not be NULL"));
    }
    let object = read().get(&handle.addr()).cloned();
    let object = object.ok_or_else(|| {
        Error::new(ErrorKind::InvalidArgument, format!("{}: this object was freed or never existed", H::NAME))
    })?;
    object.downcast().map_err(|_| Error::invalid(H::NAME, "this is an object of another type"))
}

/// Ends a handle. `None` for NULL, stale and foreign handles, which are left alone.
pub(crate) fn take<H: Handle>(handle: *const H) -> Option<Arc<H::Object>> {
    let mut table = write();
    if !table.get(&handle.addr())?.is::<H::Object>() {
        return None;
    }
    table.remove(&handle.addr())?.downcast().ok()
}

/// Handles not freed yet.
pub(crate) fn count() -> usize {
    read().len()
}

fn read() -> RwLockReadGuard<'static, Table> {
    // Nothing can panic while the lock is held half-way through a change.
    TABLE.read().unwrap_or_else(PoisonError::into_inner)
}

fn write() -> RwLockWriteGuard<'static, Table> {
    TABLE.write().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Apple;
    struct Pear;

    impl Handle for Apple {
        type Object = u32;
        const NAME: &'static str = "apple";
    }

    impl Handle for Pear {
        type Object = u64;
        const NAME: &'static str = "pear";
    }

    #[test]
    fn stale_foreign_and_null_handles_are_told_apart() {
        let apple: *mut Apple = put(Arc::new(7));
        assert_eq!(*get(apple).expect("live"), 7);
        let foreign = get(apple.cast::<Pear>()).expect_err("wrong type").to_string();
        assert!(foreign.contains("pear") && foreign.contains("another type"), "{foreign}");
        assert!(take(apple.cast::<Pear>()).is_none());
        assert!(take(apple).is_some());
        assert!(take(apple).is_none());
        assert!(get(apple).expect_err("stale").to_string().contains("freed"));
        assert!(get(std::ptr::null::<Apple>()).expect_err("null").to_string().contains("NULL"));
    }
}
