//! `DigNatConnection`: a message connection between two managers.
//! Not here: making one, which `manager` does.

use std::ffi::{c_char, c_void};
use std::sync::Arc;

use dig_nat_core::api::{Connection, Message};

use crate::argument;
use crate::edge::{edge, value_edge};
use crate::error::{DigNatError, DigNatStatus};
use crate::handles::{self, Handle};
use crate::library::string;
use crate::result::Record;
use crate::runtime::{Owned, Runtime};
use crate::task::{Callbacks, DigNatDoneFn, DigNatTask, Operation, start};

/// A message connection: ordered, reliable, both directions. It closes when it is freed.
pub struct DigNatConnection {
    _opaque: [u8; 0],
}

/// What a `DigNatConnection` stands for.
pub(crate) type ConnectionObject = Owned<Connection>;

impl Handle for DigNatConnection {
    type Object = ConnectionObject;
    const NAME: &'static str = "connection";
}

impl ConnectionObject {
    pub(crate) fn names(&self) -> (String, String) {
        self.with(|connection| (connection.peer().to_string(), connection.address().to_owned()))
    }
}

/// A connection as an object of its runtime.
pub(crate) fn object(runtime: &Arc<Runtime>, connection: Connection) -> dig_nat_core::Result<Arc<ConnectionObject>> {
    Ok(Arc::new(Owned::make(Arc::clone(runtime), || Ok(connection))?))
}

/// The result of connecting or accepting.
pub(crate) fn record(runtime: &Arc<Runtime>, connection: Connection) -> dig_nat_core::Result<Record> {
    object(runtime, connection).map(Record::connection)
}

/// Peer id of the other side. Free it with dig_nat_string_free. NULL for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_connection_peer(connection: *const DigNatConnection) -> *mut c_char {
    value_edge(std::ptr::null_mut(), || Ok(string(handles::get(connection)?.names().0)))
}

/// Address of the other side as a multiaddr. Free it with dig_nat_string_free. NULL for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_connection_address(connection: *const DigNatConnection) -> *mut c_char {
    value_edge(std::ptr::null_mut(), || Ok(string(handles::get(connection)?.names().1)))
}

/// "tcp" or "udp". Free it with dig_nat_string_free. NULL for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_connection_type(connection: *const DigNatConnection) -> *mut c_char {
    value_edge(std::ptr::null_mut(), || Ok(string(handles::get(connection)?.with(Connection::connection_type))))
}

/// Sends a message of at most 16 MiB. `kind` is its type name, NULL for none, at most 255 bytes. `is_text` says that
/// `data` is UTF-8. The bytes are copied before the call returns. Result: none; it comes when the message was handed to
/// the transport.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_connection_send(
    connection: *const DigNatConnection,
    kind: *const c_char,
    data: *const u8,
    length: usize,
    is_text: bool,
    done: DigNatDoneFn,
    user: *mut c_void,
    task: *mut *mut DigNatTask,
    error: *mut *mut DigNatError,
) -> DigNatStatus {
    // SAFETY: pointers as documented.
    unsafe {
        edge(error, || {
            argument::clear(task);
            let object = handles::get(connection)?;
            let message = Message {
                kind: argument::optional_text(kind, "kind")?.unwrap_or_default().to_owned(),
                text: is_text,
                data: argument::bytes(data, length, "data")?.to_vec().into(),
            };
            if is_text && std::str::from_utf8(&message.data).is_err() {
                return Err(dig_nat_core::Error::invalid("data", "is_text is set, but this is not UTF-8").into());
            }
            let connection = object.with(Connection::clone);
            let callbacks = Callbacks::new(done, None, user);
            start(&object.runtime, callbacks, task, |_| {
                Operation::future(async move { connection.send(message).await.map(|()| Record::nothing()) })
            })
        })
    }
}

/// Waits for the next message. Result: name (its type), data, size, flag (text); data is NULL and the JSON "null" when
/// the other side has closed. Cancelling loses no message.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_connection_receive(
    connection: *const DigNatConnection,
    done: DigNatDoneFn,
    user: *mut c_void,
    task: *mut *mut DigNatTask,
    error: *mut *mut DigNatError,
) -> DigNatStatus {
    // SAFETY: pointers as documented.
    unsafe {
        edge(error, || {
            argument::clear(task);
            let object = handles::get(connection)?;
            let connection = object.with(Connection::clone);
            let callbacks = Callbacks::new(done, None, user);
            start(&object.runtime, callbacks, task, |_| {
                Operation::future(async move { connection.receive().await.map(Record::message) })
            })
        })
    }
}

/// Closes both directions after what was sent. Result: none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_connection_close(
    connection: *const DigNatConnection,
    done: DigNatDoneFn,
    user: *mut c_void,
    task: *mut *mut DigNatTask,
    error: *mut *mut DigNatError,
) -> DigNatStatus {
    // SAFETY: pointers as documented.
    unsafe {
        edge(error, || {
            argument::clear(task);
            let object = handles::get(connection)?;
            let connection = object.with(Connection::clone);
            let callbacks = Callbacks::new(done, None, user);
            start(&object.runtime, callbacks, task, |_| {
                Operation::firm(async move {
                    connection.close().await;
                    Ok(Record::nothing())
                })
            })
        })
    }
}

/// Frees a connection, closing it. NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_connection_free(connection: *mut DigNatConnection) {
    value_edge((), || {
        handles::take(connection.cast_const());
        Ok(())
    });
}
