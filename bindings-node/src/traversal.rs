//! Single ways through NATs: hole punching, TURN and ICE, and what they give. Not here: call forms and events, which are
//! JavaScript in `../lib/traversal.js`.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use dig_nat_core::Error;
use dig_nat_core::api::{self, PunchedSocket, SignalledBy, SignallingEnd, TurnAllocation};
use napi::Status;
use napi::bindgen_prelude::{Buffer, FnArgs, spawn};
use napi::threadsafe_function::ThreadsafeFunction;
use napi_derive::napi;

use crate::gun::NativeGun;
use crate::task::ObjectTask;
use crate::{error, json};

/// Receives `(data, address, port, error)`: data with its sender, or nulls at the end, or nulls and the reason for it.
type DataFunction = ThreadsafeFunction<Received, (), Received, Status, false, true>;
type Received = FnArgs<(Option<Buffer>, Option<String>, Option<u16>, Option<String>)>;

/// Opens a hole: `UDP_HOLE_PUNCH`, `TCP_HOLE_PUNCH` or `TCP_SIMULTANEOUS_OPEN`; the result is a `NativeSocket`.
#[napi(async_runtime)]
pub fn punch(method: String, options: String) -> napi::Result<NativeSocketTask> {
    let options = json::options(&options)?;
    let task = match method.as_str() {
        "UDP_HOLE_PUNCH" => api::punch_udp(options),
        "TCP_HOLE_PUNCH" => api::punch_tcp(options),
        _ => api::tcp_simultaneous_open(options),
    };
    Ok(NativeSocketTask(ObjectTask::new(task)))
}

/// The same to a peer that is met over the signalling object, which serves one attempt.
#[napi(async_runtime)]
pub fn punch_over_signalling(
    method: String,
    options: String,
    signalling: &NativeSignalling,
) -> napi::Result<NativeSocketTask> {
    punch_over(&method, &options, SignalledBy::Program(signalling.take()?))
}

/// The same over the program's Gun database.
#[napi(async_runtime)]
pub fn punch_over_gun(method: String, options: String, gun: &NativeGun) -> napi::Result<NativeSocketTask> {
    punch_over(&method, &options, SignalledBy::Gun(gun.backend()))
}

fn punch_over(method: &str, options: &str, by: SignalledBy) -> napi::Result<NativeSocketTask> {
    let options = json::options(options)?;
    let task = match method {
        "UDP_HOLE_PUNCH" => api::punch_udp_over(options, by),
        "TCP_HOLE_PUNCH" => api::punch_tcp_over(options, by),
        _ => api::tcp_simultaneous_open_over(options, by),
    };
    Ok(NativeSocketTask(ObjectTask::new(task)))
}

/// Connects by ICE at the Gun relays that the options name; the result is a `NativeSocket`.
#[napi(js_name = "connectWithICE", async_runtime)]
pub fn connect_with_ice(options: String) -> napi::Result<NativeSocketTask> {
    ice(&options, SignalledBy::Relays)
}

/// The same over the signalling object, which serves one attempt.
#[napi(js_name = "connectWithICEOverSignalling", async_runtime)]
pub fn connect_with_ice_over_signalling(
    options: String,
    signalling: &NativeSignalling,
) -> napi::Result<NativeSocketTask> {
    ice(&options, SignalledBy::Program(signalling.take()?))
}

/// The same over the program's Gun database.
#[napi(js_name = "connectWithICEOverGun", async_runtime)]
pub fn connect_with_ice_over_gun(options: String, gun: &NativeGun) -> napi::Result<NativeSocketTask> {
    ice(&options, SignalledBy::Gun(gun.backend()))
}

fn ice(options: &str, by: SignalledBy) -> napi::Result<NativeSocketTask> {
    Ok(NativeSocketTask(ObjectTask::new(api::connect_with_ice(json::options(options)?, by))))
}

/// Allocates an address at a TURN server; the result is a `NativeAllocation`.
#[napi(js_name = "createTURNAllocation", async_runtime)]
pub fn create_turn_allocation(options: String) -> napi::Result<NativeAllocationTask> {
    Ok(NativeAllocationTask(ObjectTask::new(api::create_turn_allocation(json::options(&options)?))))
}

/// An attempt that gives a socket.
#[napi]
pub struct NativeSocketTask(ObjectTask<PunchedSocket>);

#[napi]
impl NativeSocketTask {
    /// Asks the attempt to stop; its result becomes `ERR_CANCELLED`.
    #[napi]
    pub fn cancel(&self) {
        self.0.cancel();
    }

    /// The socket, once.
    #[napi]
    pub async fn wait(&self) -> napi::Result<NativeSocket> {
        Ok(NativeSocket { inner: self.0.wait().await? })
    }
}

/// An attempt that gives an allocation.
#[napi]
pub struct NativeAllocationTask(ObjectTask<TurnAllocation>);

#[napi]
impl NativeAllocationTask {
    /// Asks the attempt to stop; its result becomes `ERR_CANCELLED`.
    #[napi]
    pub fn cancel(&self) {
        self.0.cancel();
    }

    /// The allocation, once.
    #[napi]
    pub async fn wait(&self) -> napi::Result<NativeAllocation> {
        Ok(NativeAllocation { inner: self.0.wait().await? })
    }
}

/// A way to one peer.
#[napi]
pub struct NativeSocket {
    inner: PunchedSocket,
}

#[napi]
impl NativeSocket {
    /// A `SocketInfo` as JSON.
    #[napi(getter)]
    pub fn info(&self) -> napi::Result<String> {
        json::text(self.inner.info())
    }

    /// Sends a datagram or bytes of the stream. The caller does not write into its buffer any more.
    #[napi]
    pub async fn send(&self, data: Buffer) -> napi::Result<()> {
        self.inner.send(Bytes::copy_from_slice(&data)).await.map_err(error::to_js)
    }

    /// Hands everything received to a function, the next piece when it has returned, until the end.
    #[napi(async_runtime)]
    pub fn receive(&self, function: DataFunction) {
        let socket = self.inner.clone();
        let (address, port) = (socket.info().remote_address.clone(), socket.info().remote_port);
        spawn(async move {
            loop {
                let (received, last) = match socket.receive().await {
                    Ok(Some(data)) => {
                        ((Some(Buffer::from(Vec::from(data))), Some(address.clone()), Some(port), None), false)
                    }
                    Ok(None) => ((None, None, None, None), true),
                    Err(error) => ((None, None, None, Some(error::to_js(error).reason.clone())), true),
                };
                if function.call_async_catch(received.into()).await.is_err() || last {
                    return;
                }
            }
        });
    }

    /// Ends it and frees its port.
    #[napi]
    pub async fn close(&self) {
        self.inner.close().await;
    }
}

/// An address at a TURN server.
#[napi]
pub struct NativeAllocation {
    inner: TurnAllocation,
}

#[napi]
impl NativeAllocation {
    /// An `AllocationInfo` as JSON.
    #[napi(getter)]
    pub fn info(&self) -> napi::Result<String> {
        json::text(&self.inner.info())
    }

    /// Lets an address in.
    #[napi]
    pub async fn permit(&self, address: String) -> napi::Result<()> {
        self.inner.permit(ip(&address)?).await.map_err(error::to_js)
    }

    /// Sends a datagram to a peer. The caller does not write into its buffer any more.
    #[napi]
    pub async fn send_to(&self, data: Buffer, address: String, port: u16) -> napi::Result<()> {
        let peer = SocketAddr::new(ip(&address)?, port);
        self.inner.send_to(peer, Bytes::copy_from_slice(&data)).await.map_err(error::to_js)
    }

    /// Hands everything received to a function, the next datagram when it has returned, until the end.
    #[napi(async_runtime)]
    pub fn receive(&self, function: DataFunction) {
        let allocation = self.inner.clone();
        spawn(async move {
            loop {
                let (received, last) = match allocation.receive().await {
                    Ok(Some((from, data))) => {
                        let data = Buffer::from(Vec::from(data));
                        ((Some(data), Some(from.ip().to_string()), Some(from.port()), None), false)
                    }
                    Ok(None) => ((None, None, None, None), true),
                    Err(error) => ((None, None, None, Some(error::to_js(error).reason.clone())), true),
                };
                if function.call_async_catch(received.into()).await.is_err() || last {
                    return;
                }
            }
        });
    }

    /// Prolongs it; the seconds that the server grants.
    #[napi]
    pub async fn refresh(&self, lifetime: u32) -> napi::Result<f64> {
        // At most 3600, which a double holds exactly.
        self.inner.refresh(lifetime).await.map(|seconds| seconds as f64).map_err(error::to_js)
    }

    /// Removes it at the server.
    #[napi]
    pub async fn release(&self) {
        self.inner.release().await;
    }
}

/// Signalling that JavaScript carries, for one attempt.
#[napi]
pub struct NativeSignalling {
    engine: std::sync::Mutex<Option<api::Signalling>>,
    end: SignallingEnd,
}

#[napi]
impl NativeSignalling {
    /// A new channel.
    #[napi(constructor)]
    #[allow(clippy::new_without_default, reason = "JavaScript constructs it")]
    pub fn new() -> Self {
        let (engine, end) = api::signalling();
        Self { engine: std::sync::Mutex::new(Some(engine)), end }
    }

    /// The next message for the peer, null when the attempt has ended.
    #[napi]
    pub async fn outgoing(&self) -> Option<Buffer> {
        self.end.outgoing().await.map(|message| Buffer::from(Vec::from(message)))
    }

    /// Hands over a message of the peer; false when the attempt has ended.
    #[napi]
    pub async fn deliver(&self, message: Buffer) -> napi::Result<bool> {
        self.end.deliver(Bytes::copy_from_slice(&message)).await.map_err(error::to_js)
    }

    /// Says that nothing more will come from the peer.
    #[napi]
    pub fn close(&self) {
        self.end.close();
    }
}

impl NativeSignalling {
    /// The engine's end, once.
    fn take(&self) -> napi::Result<api::Signalling> {
        let engine = self.engine.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        engine.ok_or_else(|| error::to_js(Error::invalid("signaling", "serves one attempt only")))
    }
}

fn ip(text: &str) -> napi::Result<IpAddr> {
    text.parse().map_err(|cause| error::to_js(Error::invalid("address", format_args!("{text:?}: {cause}"))))
}
