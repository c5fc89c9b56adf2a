//! Options and records as JSON text: one way for every call, and numbers stay numbers above 2^32.

use dig_nat_core::base::options::{FromJson, Unknown};
use dig_nat_core::{Error, ErrorKind};
use serde::Serialize;
use serde_json::Value;

use crate::error;

/// The object that JavaScript handed over.
pub(crate) fn value(text: &str) -> napi::Result<Value> {
    serde_json::from_str(text)
        .map_err(|cause| error::to_js(Error::with_source(ErrorKind::Internal, "options are not JSON", cause)))
}

/// An option set. Names that only the original package or other calls have are passed over.
pub(crate) fn options<T: FromJson>(text: &str) -> napi::Result<T> {
    T::from_json(&value(text)?, Unknown::Original).map_err(error::to_js)
}

/// A record for JavaScript.
pub(crate) fn text<T: Serialize>(record: &T) -> napi::Result<String> {
    serde_json::to_string(record)
        .map_err(|cause| error::to_js(Error::with_source(ErrorKind::Internal, "describe a result", cause)))
}
