//! Exception classes, one per error kind, made from core's table when the module is loaded.
//! Not here: which operation raises what; that is core's business.

use std::collections::HashMap;

use dig_nat_core::base::error::{Error, ErrorKind};
use pyo3::exceptions::{
    PyConnectionError, PyException, PyFileNotFoundError, PyLookupError, PyOSError, PyPermissionError, PyRuntimeError,
    PyTimeoutError, PyValueError,
};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyList, PyTuple, PyType};

/// Class per kind number, and the base class under 0, which no kind has.
static CLASSES: PyOnceLock<HashMap<u16, Py<PyType>>> = PyOnceLock::new();

/// Makes the classes and adds them to the module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    let base = class(
        py,
        "DigNatError",
        &[py.get_type::<PyException>()],
        &[("code", ""), ("advice", "")],
        0,
        "Base class of every error of this library.",
    )?;
    module.add("DigNatError", &base)?;
    let mut classes = HashMap::new();
    for kind in ErrorKind::ALL {
        let name = class_name(*kind);
        let mut bases = vec![base.clone()];
        bases.extend(builtin(py, *kind));
        let class = class(
            py,
            &name,
            &bases,
            &[("code", kind.code()), ("advice", kind.advice())],
            kind.number(),
            kind.doc().trim(),
        )?;
        module.add(name.as_str(), &class)?;
        classes.insert(kind.number(), class.unbind());
    }
    classes.insert(0, base.unbind());
    // A second import in the same process keeps the first classes; they are equal.
    let _ = CLASSES.set(py, classes);
    Ok(())
}

/// The Python exception for an error, with its causes in the message and the advice as a note.
pub fn raise(error: &Error) -> PyErr {
    Python::attach(|py| {
        let classes = CLASSES.get(py).expect("the classes are made when the module is loaded");
        let kind = error.kind().number();
        let class = classes.get(&kind).expect("every kind has a class").bind(py);
        match class.call1((error.full_message(),)) {
            Ok(value) => {
                // Tracebacks show notes from Python 3.11 on; before, the attribute does no harm.
                if let Ok(notes) = PyList::new(py, [format!("advice: {}", error.kind().advice())]) {
                    let _ = value.setattr("__notes__", notes);
                }
                PyErr::from_value(value)
            }
            Err(failure) => failure,
        }
    })
}

fn class_name(kind: ErrorKind) -> String {
    format!("DigNat{}Error", kind.name())
}

/// The built-in class that programs not knowing this library would catch, where one fits.
fn builtin(py: Python<'_>, kind: ErrorKind) -> Option<Bound<'_, PyType>> {
    Some(match kind {
        ErrorKind::InvalidArgument => py.get_type::<PyValueError>(),
        ErrorKind::Internal | ErrorKind::InvalidState | ErrorKind::LimitReached => py.get_type::<PyRuntimeError>(),
        ErrorKind::Timeout => py.get_type::<PyTimeoutError>(),
        ErrorKind::FileNotFound => py.get_type::<PyFileNotFoundError>(),
        ErrorKind::PermissionDenied => py.get_type::<PyPermissionError>(),
        ErrorKind::DiskFull
        | ErrorKind::FileBusy
        | ErrorKind::FileChanged
        | ErrorKind::Io
        | ErrorKind::AddressInUse => py.get_type::<PyOSError>(),
        ErrorKind::PeerUnreachable | ErrorKind::ConnectionClosed | ErrorKind::Protocol | ErrorKind::NoPeers => {
            py.get_type::<PyConnectionError>()
        }
        ErrorKind::ContentNotFound => py.get_type::<PyLookupError>(),
        // Not asyncio.CancelledError: that one means that the awaiting task was cancelled, and is no Exception.
        _ => return None,
    })
}

fn class<'py>(
    py: Python<'py>,
    name: &str,
    bases: &[Bound<'py, PyType>],
    texts: &[(&str, &str)],
    number: u16,
    doc: &str,
) -> PyResult<Bound<'py, PyType>> {
    let members = PyDict::new(py);
    for (key, value) in texts {
        members.set_item(key, value)?;
    }
    members.set_item("number", number)?;
    members.set_item("__doc__", doc)?;
    members.set_item("__module__", "dig_nat_tools.errors")?;
    let class = py.get_type::<PyType>().call1((name, PyTuple::new(py, bases)?, members))?;
    Ok(class.cast_into::<PyType>()?)
}
