//! `DigNatSocket`: a way to one peer through NATs, datagrams or a stream.
//! Not here: making one (`punching`, `signaling`).

use std::ffi::c_void;
use std::sync::Arc;

use bytes::Bytes;
use dig_nat_core::api::PunchedSocket;

use crate::argument::{self, out};
use crate::edge::{edge, value_edge};
use crate::error::{DigNatError, DigNatStatus};
use crate::handles::{self, Handle};
use crate::result::{self, DigNatResult, Record};
use crate::runtime::{Owned, Runtime};
use crate::task::{Callbacks, DigNatDoneFn, DigNatTask, Operation, start};

/// A way to one peer: datagrams, which may be lost, or a stream. Nothing is encrypted on it. It closes when it is freed.
pub struct DigNatSocket {
    _opaque: [u8; 0],
}

/// What a `DigNatSocket` stands for.
pub(crate) type SocketObject = Owned<PunchedSocket>;

impl Handle for DigNatSocket {
    type Object = SocketObject;
    const NAME: &'static str = "socket";
}

/// The result of punching or ICE.
pub(crate) fn record(runtime: &Arc<Runtime>, socket: PunchedSocket) -> dig_nat_core::Result<Record> {
    let info = socket.info().clone();
    Ok(Record::socket(&info, Some(Arc::new(Owned::make(Arc::clone(runtime), || Ok(socket))?))))
}

/// What a socket is and where it leads. Result: text ("UDP_HOLE_PUNCH", "TCP_HOLE_PUNCH", "TCP_SIMULTANEOUS_OPEN" or "ICE"),
/// address and port of the other side, and in the JSON {connectionType, protocol ("udp" for datagrams, "tcp" for a
/// stream), localAddress, localPort, remoteAddress, remotePort, localCandidate, remoteCandidate}.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_socket_info(
    socket: *const DigNatSocket,
    result: *mut *mut DigNatResult,
    error: *mut *mut DigNatError,
) -> DigNatStatus {
    // SAFETY: pointers as documented.
    unsafe {
        edge(error, || {
            let result = out(result, "result")?;
            let info = handles::get(socket)?.with(|socket| socket.info().clone());
            result::give(result, Record::socket(&info, None));
            Ok(())
        })
    }
}

/// Sends a datagram of at most 65507 bytes, or bytes of the stream. The bytes are copied before the call returns. Result:
/// none; it comes when the system has them. A send of a stream that is cancelled closes it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_socket_send(
    socket: *const DigNatSocket,
    data: *const u8,
    length: usize,
    done: DigNatDoneFn,
    user: *mut c_void,
    task: *mut *mut DigNatTask,
    error: *mut *mut DigNatError,
) -> DigNatStatus {
    // SAFETY: pointers as documented.
    unsafe {
        edge(error, || {
            argument::clear(task);
            let object = handles::get(socket)?;
            let data = Bytes::copy_from_slice(argument::bytes(data, length, "data")?);
            let socket = object.with(PunchedSocket::clone);
            start(&object.runtime, Callbacks::new(done, None, user), task, |_| {
                Operation::future(async move { socket.send(data).await.map(|()| Record::nothing()) })
            })
        })
    }
}

/// Waits for the next datagram or the next bytes of the stream. Result: data, size; data is NULL and the JSON "null" after
/// the end. Cancelling loses nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_socket_receive(
    socket: *const DigNatSocket,
    done: DigNatDoneFn,
    user: *mut c_void,
    task: *mut *mut DigNatTask,
    error: *mut *mut DigNatError,
) -> DigNatStatus {
    // SAFETY: pointers as documented.
    unsafe {
        edge(error, || {
            argument::clear(task);
            let object = handles::get(socket)?;
            let socket = object.with(PunchedSocket::clone);
            start(&object.runtime, Callbacks::new(done, None, user), task, |_| {
                Operation::future(async move {
                    let received = socket.receive().await?;
                    Ok(Record::data(received.map(|data| (None, data))))
                })
            })
        })
    }
}

/// Ends it after what was sent and frees its port. Result: none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_socket_close(
    socket: *const DigNatSocket,
    done: DigNatDoneFn,
    user: *mut c_void,
    task: *mut *mut DigNatTask,
    error: *mut *mut DigNatError,
) -> DigNatStatus {
    // SAFETY: pointers as documented.
    unsafe {
        edge(error, || {
            argument::clear(task);
            let object = handles::get(socket)?;
            let socket = object.with(PunchedSocket::clone);
            start(&object.runtime, Callbacks::new(done, None, user), task, |_| {
                Operation::firm(async move {
                    socket.close().await;
                    Ok(Record::nothing())
                })
            })
        })
    }
}

/// Frees a socket, closing it. NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_socket_free(socket: *mut DigNatSocket) {
    value_edge((), || {
        handles::take(socket.cast_const());
        Ok(())
    });
}
