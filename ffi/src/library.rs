//! The library as a whole: version, manifest, strings, the count of live handles.
//! Not here: anything about nodes.

use std::ffi::{CString, c_char};

use crate::argument::c_string;
use crate::edge::value_edge;
use crate::handles;

/// The version of the library, such as "0.1.0". Static.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_version() -> *const c_char {
    const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");
    VERSION.as_ptr().cast()
}

/// Everything this library offers (error kinds, options with defaults, operations) as JSON. Free it with
/// dig_nat_string_free.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_manifest() -> *mut c_char {
    value_edge(std::ptr::null_mut(), || Ok(string(dig_nat_core::api::manifest().to_string())))
}

/// Objects handed out and not freed yet: a leak check for tests. Items of results count once they were looked at.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_live_objects() -> usize {
    value_edge(0, || Ok(handles::count()))
}

/// Frees a text that was returned as `char *`. NULL is fine. Unlike handles, texts are plain memory: freeing one twice
/// is as bad as with free().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_string_free(string: *mut c_char) {
    if !string.is_null() {
        // SAFETY: by contract it came from `string` below and was not freed.
        drop(unsafe { CString::from_raw(string) });
    }
}

/// A text that the caller frees.
pub(crate) fn string(text: impl Into<String>) -> *mut c_char {
    c_string(text).into_raw()
}

/// The same, NULL for none.
pub(crate) fn optional_string(text: Option<impl Into<String>>) -> *mut c_char {
    text.map_or(std::ptr::null_mut(), string)
}
