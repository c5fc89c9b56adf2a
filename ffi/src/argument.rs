//! Reading what C hands over and writing what it gets back. The only module that dereferences the caller's pointers.
//! Not here: handles, which are numbers.

use std::ffi::{CStr, CString, c_char};
use std::mem::MaybeUninit;
use std::path::PathBuf;
use std::str::FromStr;

use dig_nat_core::{Error, Result};

/// A larger struct than this was never initialised (its size field is garbage).
const MAX_STRUCT_BYTES: usize = 4096;

/// No array of an options struct is longer; a larger count was never set.
const MAX_ITEMS: usize = 65_536;

/// A plain C struct that begins with its own size and for which all bytes zero mean "all defaults".
///
/// # Safety
/// `#[repr(C)]`, first field `size: usize`, only integers, floats and pointers.
pub(crate) unsafe trait Sized1st: Copy {}

/// Sets an out pointer to NULL unless it is NULL itself.
pub(crate) unsafe fn clear<T>(pointer: *mut *mut T) {
    if !pointer.is_null() {
        // SAFETY: the caller passes NULL or a place for one pointer.
        unsafe { pointer.write(std::ptr::null_mut()) };
    }
}

/// Sets an optional out flag.
pub(crate) unsafe fn tell(pointer: *mut bool, flag: bool) {
    if !pointer.is_null() {
        // SAFETY: the caller passes NULL or a place for one flag.
        unsafe { pointer.write(flag) };
    }
}

/// Checks an out pointer that is not optional and sets what it points to to NULL.
pub(crate) unsafe fn out<T>(pointer: *mut *mut T, name: &str) -> Result<*mut *mut T> {
    if pointer.is_null() {
        return Err(Error::invalid(name, "must not be NULL"));
    }
    // SAFETY: not NULL, so by contract a place for one pointer.
    unsafe { clear(pointer) };
    Ok(pointer)
}

/// A text that must be there.
pub(crate) unsafe fn text<'a>(pointer: *const c_char, name: &str) -> Result<&'a str> {
    // SAFETY: handed on.
    unsafe { optional_text(pointer, name) }?.ok_or_else(|| Error::invalid(name, "must not be NULL"))
}

/// A text that may be NULL.
pub(crate) unsafe fn optional_text<'a>(pointer: *const c_char, name: &str) -> Result<Option<&'a str>> {
    if pointer.is_null() {
        return Ok(None);
    }
    // SAFETY: by contract a NUL-terminated string that lives as long as the call.
    let text = unsafe { CStr::from_ptr(pointer) };
    text.to_str().map(Some).map_err(|error| Error::invalid(name, format_args!("not UTF-8: {error}")))
}

/// A text that is parsed (hash, content key).
pub(crate) unsafe fn parsed<T: FromStr<Err = Error>>(pointer: *const c_char, name: &str) -> Result<T> {
    // SAFETY: handed on.
    unsafe { text(pointer, name) }?.parse()
}

/// A path that must be there.
pub(crate) unsafe fn path(pointer: *const c_char, name: &str) -> Result<PathBuf> {
    // SAFETY: handed on.
    match unsafe { text(pointer, name) }? {
        "" => Err(Error::invalid(name, "must not be empty")),
        text => Ok(PathBuf::from(text)),
    }
}

/// An array of `count` texts.
pub(crate) unsafe fn texts(pointer: *const *const c_char, count: usize, name: &str) -> Result<Vec<String>> {
    if count == 0 {
        return Ok(Vec::new());
    }
    if pointer.is_null() {
        return Err(Error::invalid(name, format_args!("is NULL but has {count} items")));
    }
    // SAFETY: by contract an array of `count` strings.
    let items = unsafe { std::slice::from_raw_parts(pointer, count) };
    // SAFETY: each of them is NULL or a string.
    items.iter().map(|item| unsafe { text(*item, name) }.map(str::to_owned)).collect()
}

/// An array of `count` plain values; NULL is an empty one if the count is 0.
pub(crate) unsafe fn items<'a, T: Copy>(pointer: *const T, count: usize, name: &str) -> Result<&'a [T]> {
    if count == 0 {
        return Ok(&[]);
    }
    if pointer.is_null() || count > MAX_ITEMS {
        return Err(Error::invalid(name, format_args!("no {count} items can be there")));
    }
    // SAFETY: by contract `count` values that live as long as the call.
    Ok(unsafe { std::slice::from_raw_parts(pointer, count) })
}

/// `length` bytes; NULL is an empty slice if the length is 0.
pub(crate) unsafe fn bytes<'a>(pointer: *const u8, length: usize, name: &str) -> Result<&'a [u8]> {
    if length == 0 {
        return Ok(&[]);
    }
    if pointer.is_null() || length > isize::MAX as usize {
        return Err(Error::invalid(name, format_args!("no {length} bytes can be there")));
    }
    // SAFETY: by contract `length` readable bytes that live as long as the call.
    Ok(unsafe { std::slice::from_raw_parts(pointer, length) })
}

/// An options struct: NULL gives all defaults, a shorter (older) one gives defaults for what it lacks, a longer (newer)
/// one is accepted as long as what this library does not know is zero.
pub(crate) unsafe fn options<T: Sized1st>(pointer: *const T, name: &str) -> Result<T> {
    let mut options = MaybeUninit::<T>::zeroed();
    if pointer.is_null() {
        // SAFETY: `Sized1st` promises that zero is a valid value.
        return Ok(unsafe { options.assume_init() });
    }
    // SAFETY: not NULL, so by contract it points to a struct that begins with its size.
    let size = unsafe { pointer.cast::<usize>().read() };
    if !(size_of::<usize>()..=MAX_STRUCT_BYTES).contains(&size) {
        return Err(Error::invalid(name, format_args!("size field is {size}; call the _init function first")));
    }
    let known = size.min(size_of::<T>());
    // SAFETY: `size` bytes are readable by contract, and `known` fits both sides.
    unsafe { std::ptr::copy_nonoverlapping(pointer.cast::<u8>(), options.as_mut_ptr().cast::<u8>(), known) };
    // SAFETY: the bytes from `known` to `size` are readable by contract.
    let rest = unsafe { std::slice::from_raw_parts(pointer.cast::<u8>().add(known), size - known) };
    if rest.iter().any(|byte| *byte != 0) {
        return Err(Error::invalid(name, "sets an option that this version of the library does not know"));
    }
    // SAFETY: every byte is initialised, and any bytes are a valid `T`.
    Ok(unsafe { options.assume_init() })
}

/// What an `_init` function does: zero everything, then set the size.
pub(crate) unsafe fn init<T: Sized1st>(pointer: *mut T, size: usize) {
    if pointer.is_null() || !(size_of::<usize>()..=MAX_STRUCT_BYTES).contains(&size) {
        return;
    }
    // SAFETY: by contract `size` writable bytes; the struct begins with its size.
    unsafe {
        pointer.cast::<u8>().write_bytes(0, size);
        pointer.cast::<usize>().write(size);
    }
}

/// A C string of text that may come from elsewhere: NUL bytes, which C cannot show, are left out.
pub(crate) fn c_string(text: impl Into<String>) -> CString {
    let mut bytes: Vec<u8> = text.into().into();
    bytes.retain(|byte| *byte != 0);
    CString::new(bytes).expect("NUL bytes were just removed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[repr(C)]
    #[derive(Clone, Copy)]
    struct Old {
        size: usize,
        a: u32,
    }

    #[repr(C)]
    #[derive(Clone, Copy)]
    struct New {
        size: usize,
        a: u32,
        b: u64,
    }

    // SAFETY: both are plain C structs with the size first.
    unsafe impl Sized1st for Old {}
    // SAFETY: as above.
    unsafe impl Sized1st for New {}

    #[test]
    fn structs_of_older_and_newer_callers_are_read() {
        let old = Old { size: size_of::<Old>(), a: 5 };
        // SAFETY: a struct with its size.
        let read: New = unsafe { options((&raw const old).cast(), "x") }.expect("older");
        assert_eq!((read.a, read.b), (5, 0));
        let mut new = New { size: size_of::<New>(), a: 6, b: 0 };
        // SAFETY: as above.
        let read: Old = unsafe { options((&raw const new).cast(), "x") }.expect("newer");
        assert_eq!(read.a, 6);
        new.b = 1;
        // SAFETY: as above.
        assert!(unsafe { options::<Old>((&raw const new).cast(), "x") }.is_err());
        new.size = 0;
        // SAFETY: as above.
        assert!(unsafe { options::<New>(&raw const new, "x") }.is_err());
        // SAFETY: NULL is allowed.
        assert_eq!(unsafe { options::<New>(std::ptr::null(), "x") }.expect("defaults").b, 0);
    }

    #[test]
    fn nul_bytes_do_not_cut_a_text_short() {
        assert_eq!(c_string("a\0b").to_str().expect("UTF-8"), "ab");
    }
}
