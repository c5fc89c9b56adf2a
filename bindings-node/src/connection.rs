//! The class behind `Connection`. Not here: the order of sends, the typed form and events, which are JavaScript.

use dig_nat_core::api::{Connection, Message, Traversal};
use napi::Status;
use napi::bindgen_prelude::{Buffer, FnArgs, spawn};
use napi::threadsafe_function::ThreadsafeFunction;
use napi_derive::napi;

use crate::{error, json};

/// Receives `(message, error)`: a message, or two nulls at the end, or null and the reason for the end.
type MessageFunction = ThreadsafeFunction<Received, (), Received, Status, false, true>;
type Received = FnArgs<(Option<NativeMessage>, Option<String>)>;

/// One message.
#[napi(object)]
pub struct NativeMessage {
    /// Type name, empty for plain data.
    pub kind: String,
    /// The data is text.
    pub text: bool,
    /// The payload.
    pub data: Buffer,
}

/// A message connection to another network manager.
#[napi]
pub struct NativeConnection {
    inner: Connection,
    traversal: Option<String>,
}

impl NativeConnection {
    /// Wraps a connection of the engine.
    pub(crate) fn new(inner: Connection) -> Self {
        Self { inner, traversal: None }
    }

    /// The same with how it came about.
    pub(crate) fn reached(inner: Connection, traversal: &Traversal) -> napi::Result<Self> {
        Ok(Self { inner, traversal: Some(json::text(traversal)?) })
    }
}

#[napi]
impl NativeConnection {
    /// The other side's identity.
    #[napi(getter)]
    pub fn peer_id(&self) -> String {
        self.inner.peer().to_string()
    }

    /// Its address as a multiaddr.
    #[napi(getter)]
    pub fn address(&self) -> String {
        self.inner.address().to_owned()
    }

    /// `tcp` or `udp`.
    #[napi(getter)]
    pub fn connection_type(&self) -> &'static str {
        self.inner.connection_type()
    }

    /// How it came about, a `Traversal`; null where it was just dialled or accepted.
    #[napi(getter)]
    pub fn traversal(&self) -> Option<String> {
        self.traversal.clone()
    }

    /// Sends one message. The caller does not write into its buffer any more.
    #[napi]
    pub async fn send(&self, message: NativeMessage) -> napi::Result<()> {
        let data = bytes::Bytes::copy_from_slice(&message.data);
        self.inner.send(Message { kind: message.kind, text: message.text, data }).await.map_err(error::to_js)
    }

    /// Hands every message to a function, the next one when it has returned, until the connection ends.
    #[napi(async_runtime)]
    pub fn receive(&self, function: MessageFunction) {
        let connection = self.inner.clone();
        spawn(async move {
            loop {
                // Boxed: the future holds its read buffer, and this task would carry it through every wait.
                let (received, last) = match Box::pin(connection.receive()).await {
                    Ok(Some(message)) => {
                        let data = Buffer::from(Vec::from(message.data));
                        ((Some(NativeMessage { kind: message.kind, text: message.text, data }), None), false)
                    }
                    Ok(None) => ((None, None), true),
                    Err(error) => ((None, Some(error::to_js(error).reason.clone())), true),
                };
                if function.call_async_catch(received.into()).await.is_err() || last {
                    return;
                }
            }
        });
    }

    /// Closes both directions after what was sent.
    #[napi]
    pub async fn close(&self) {
        self.inner.close().await;
    }
}
