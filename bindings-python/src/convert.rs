//! Core's records as Python values, and options as core's JSON. Not here: the dataclasses, which are Python's.

use std::path::Path;

use dig_nat_core::base::options::FromJson;
use dig_nat_core::base::options::Unknown;
use dig_nat_core::{Error, ErrorKind};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use serde::Serialize;
use serde_json::Value;

use crate::errors;

/// Parses the JSON text of options.
pub fn json(options: &str) -> PyResult<Value> {
    serde_json::from_str(options)
        .map_err(|error| errors::raise(&Error::with_source(ErrorKind::InvalidArgument, "options", error)))
}

/// Reads one option set; unknown names are errors.
pub fn options<T: FromJson>(text: &str) -> PyResult<T> {
    T::from_json(&json(text)?, Unknown::Reject).map_err(|error| errors::raise(&error))
}

/// Parses a hash, key or other text argument.
pub fn parse<T: std::str::FromStr<Err = Error>>(text: &str) -> PyResult<T> {
    text.parse().map_err(|error| errors::raise(&error))
}

/// A record as `dict`, with the names it has in JSON.
pub fn record<T: Serialize>(py: Python<'_>, record: &T) -> PyResult<Py<PyAny>> {
    let value = serde_json::to_value(record)
        .map_err(|error| errors::raise(&Error::with_source(ErrorKind::Internal, "convert a record", error)))?;
    python(py, &value)
}

/// The same for a record with a path, which JSON can carry only when it is valid UTF-8: pass the record without it.
pub fn record_with_path<T: Serialize>(py: Python<'_>, value: &T, path: &Path) -> PyResult<Py<PyAny>> {
    let dict = record(py, value)?;
    dict.bind(py).set_item("path", path)?;
    Ok(dict)
}

/// JSON as `None`, `bool`, `int`, `float`, `str`, `list` and `dict`.
pub fn python(py: Python<'_>, value: &Value) -> PyResult<Py<PyAny>> {
    Ok(match value {
        Value::Null => py.None(),
        Value::Bool(value) => value.into_pyobject(py)?.to_owned().into_any().unbind(),
        Value::Number(number) => match (number.as_u64(), number.as_i64()) {
            (Some(value), _) => value.into_pyobject(py)?.into_any().unbind(),
            (None, Some(value)) => value.into_pyobject(py)?.into_any().unbind(),
            (None, None) => number.as_f64().into_pyobject(py)?.into_any().unbind(),
        },
        Value::String(text) => text.into_pyobject(py)?.into_any().unbind(),
        Value::Array(items) => {
            let list = PyList::empty(py);
            for item in items {
                list.append(python(py, item)?)?;
            }
            list.into_any().unbind()
        }
        Value::Object(members) => {
            let dict = PyDict::new(py);
            for (name, member) in members {
                dict.set_item(name, python(py, member)?)?;
            }
            dict.into_any().unbind()
        }
    })
}
