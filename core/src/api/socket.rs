//! What the single ways through NATs give: something to send and receive bytes on. Over UDP and ICE these are
//! datagrams, over TCP a stream. Nothing is encrypted or authenticated here; that is up to what is spoken on it.
//! Not here: making one (`punching`, `ice`).

use std::future::Future;
use std::io::IoSliceMut;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex as PlainMutex, OnceLock, PoisonError};

use bytes::{Bytes, BytesMut};
use quinn_udp::RecvMeta;
use serde::Serialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::base::error::{Error, ErrorKind, Result};
use crate::base::limits;
use crate::nat::method::{Method, Transport};
use crate::nat::turn::driver::Relayed;
use crate::net::udp::UdpPort;

/// A way to one peer. Clones share it; it ends when [`close`](Self::close) is called or the last clone is dropped.
#[derive(Clone)]
pub struct PunchedSocket {
    inner: Arc<Inner>,
}

/// What a socket is, for people and bindings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SocketInfo {
    /// The original package's `CONNECTION_TYPE`: `UDP_HOLE_PUNCH`, `TCP_HOLE_PUNCH`, `TCP_SIMULTANEOUS_OPEN`, `ICE`.
    pub connection_type: &'static str,
    /// `udp` (datagrams) or `tcp` (a stream).
    pub protocol: &'static str,
    /// Our address; that of the relay when one carries it.
    pub local_address: String,
    /// Our port.
    pub local_port: u16,
    /// The peer's address as seen from here.
    pub remote_address: String,
    /// The peer's port as seen from here.
    pub remote_port: u16,
    /// What our side of an ICE pair is: `host`, `srflx`, `prflx`, `relay`.
    pub local_candidate: Option<&'static str>,
    /// What the peer's side of an ICE pair is.
    pub remote_candidate: Option<&'static str>,
}

struct Inner {
    info: SocketInfo,
    carrier: Carrier,
    closed: CancellationToken,
}

enum Carrier {
    Datagrams(Datagrams),
    Stream(Stream),
}

struct Datagrams {
    queue: Mutex<mpsc::Receiver<Bytes>>,
    out: PlainMutex<Option<Out>>,
    remote: SocketAddr,
    task: Mutex<Option<JoinHandle<()>>>,
    /// Why it ended by itself.
    ended: Arc<OnceLock<Error>>,
}

/// What takes the datagrams.
#[derive(Clone)]
pub(super) enum Out {
    Port(Arc<UdpPort>),
    Relay(Arc<Relayed>),
}

struct Stream {
    reader: Mutex<Option<OwnedReadHalf>>,
    writer: Mutex<Option<OwnedWriteHalf>>,
}

/// Where a driver of datagrams puts what came from the peer.
pub(super) struct Inbox {
    queue: mpsc::Sender<Bytes>,
    remote: SocketAddr,
}

impl Inbox {
    /// Takes a datagram, unless it is another's; the newest are dropped while [`limits::RAW_DATAGRAMS`] wait.
    pub(super) fn put(&self, from: SocketAddr, bytes: Bytes) {
        if from == self.remote && self.queue.try_send(bytes).is_err() {
            tracing::debug!(%from, "datagram dropped: nobody receives");
        }
    }
}

/// Reads datagrams that are not STUN from a port that has no other reader; STUN goes to the port's routes.
pub(super) struct PortReader {
    port: Arc<UdpPort>,
    buffer: Vec<u8>,
}

impl PortReader {
    pub(super) fn new(port: Arc<UdpPort>) -> Self {
        Self { port, buffer: vec![0; limits::MAX_DATAGRAM_BYTES] }
    }

    /// Waits for the next batch and hands out its datagrams. Cancel safe.
    pub(super) async fn next(&mut self, put: &(impl Fn(SocketAddr, Bytes) + Sync)) -> Result<()> {
        let Self { port, buffer } = self;
        let mut meta = [RecvMeta::default()];
        let count =
            std::future::poll_fn(|context| port.poll_receive(context, &mut [IoSliceMut::new(buffer)], &mut meta));
        let count = count.await.map_err(|cause| Error::io("receive on a UDP port", cause))?;
        for meta in &meta[..count] {
            let stride = meta.stride.max(1);
            // The system joins consecutive datagrams of one sender, all of `stride` bytes but the last.
            for datagram in buffer[..meta.len].chunks(stride) {
                put(meta.addr, Bytes::copy_from_slice(datagram));
            }
        }
        Ok(())
    }
}

impl PunchedSocket {
    /// Datagrams: `drive` fills the inbox until it fails; it is dropped at the end.
    pub(super) fn datagrams<F>(
        info: SocketInfo,
        out: Out,
        remote: SocketAddr,
        closed: CancellationToken,
        drive: impl FnOnce(Inbox) -> F,
    ) -> Self
    where
        F: Future<Output = Error> + Send + 'static,
    {
        let (sender, queue) = mpsc::channel(limits::RAW_DATAGRAMS);
        let driving = drive(Inbox { queue: sender, remote });
        let ended: Arc<OnceLock<Error>> = Arc::default();
        let (token, reason) = (closed.clone(), Arc::clone(&ended));
        // The inbox is dropped with the future, which ends the queue.
        let task = tokio::spawn(async move {
            tokio::select! {
                error = driving => drop(reason.set(error)),
                () = token.cancelled() => {}
            }
        });
        let (queue, out, task) = (Mutex::new(queue), PlainMutex::new(Some(out)), Mutex::new(Some(task)));
        let carrier = Carrier::Datagrams(Datagrams { queue, out, remote, task, ended });
        Self { inner: Arc::new(Inner { info, carrier, closed }) }
    }

    /// A stream.
    pub(super) fn stream(info: SocketInfo, stream: TcpStream, closed: CancellationToken) -> Self {
        let (reader, writer) = stream.into_split();
        let carrier = Carrier::Stream(Stream { reader: Mutex::new(Some(reader)), writer: Mutex::new(Some(writer)) });
        Self { inner: Arc::new(Inner { info, carrier, closed }) }
    }

    /// What it is and where it leads.
    pub fn info(&self) -> &SocketInfo {
        &self.inner.info
    }

    /// Whether these are datagrams and not a stream.
    pub fn is_datagrams(&self) -> bool {
        matches!(self.inner.carrier, Carrier::Datagrams(_))
    }

    /// Sends one datagram (at most [`limits::MAX_RAW_DATAGRAM_BYTES`], and may be lost on the way), or bytes of the
    /// stream; resolves when the system has them. `ConnectionClosed`, `InvalidArgument`. Cancel safe for datagrams; a
    /// stream is closed by a cancelled send, which may have been written in part.
    pub async fn send(&self, bytes: Bytes) -> Result<()> {
        tokio::select! {
            biased;
            () = self.inner.closed.cancelled() => Err(closed()),
            sent = self.inner.carrier.send(bytes) => sent,
        }
    }

    /// The next datagram, or the next bytes of the stream; `None` after [`close`](Self::close) or the end of the stream.
    /// `ConnectionClosed` when the way broke. Cancel safe. Empty datagrams and STUN messages are not delivered.
    pub async fn receive(&self) -> Result<Option<Bytes>> {
        tokio::select! {
            biased;
            () = self.inner.closed.cancelled() => Ok(None),
            received = self.inner.carrier.receive() => received,
        }
    }

    /// Ends it and frees its port; a stream after what was sent. Idempotent.
    pub async fn close(&self) {
        let ending = async {
            if let Carrier::Stream(Stream { writer, .. }) = &self.inner.carrier
                && let Some(mut writer) = writer.lock().await.take()
            {
                let _ = writer.shutdown().await;
            }
        };
        // Bounded: a peer that does not read must not hold the end up.
        let _ = tokio::time::timeout(limits::STOP_TIMEOUT, ending).await;
        self.inner.closed.cancel();
        match &self.inner.carrier {
            Carrier::Stream(stream) => drop(stream.reader.lock().await.take()),
            Carrier::Datagrams(datagrams) => {
                let out = datagrams.out.lock().unwrap_or_else(PoisonError::into_inner).take();
                if let Some(task) = datagrams.task.lock().await.take() {
                    // It ends by the token; a panic in it was reported.
                    let _ = task.await;
                }
                if let Some(Out::Relay(relay)) = out {
                    relay.close().await;
                }
            }
        }
    }
}

impl Carrier {
    async fn send(&self, bytes: Bytes) -> Result<()> {
        match self {
            Self::Datagrams(datagrams) => datagrams.send(bytes).await,
            Self::Stream(Stream { writer, .. }) => {
                let mut slot = writer.lock().await;
                // Taken out while it is used: if this future is dropped half way, nobody can write behind torn bytes.
                let mut writer = slot.take().ok_or_else(closed)?;
                writer.write_all(&bytes).await.map_err(broken)?;
                *slot = Some(writer);
                Ok(())
            }
        }
    }

    async fn receive(&self) -> Result<Option<Bytes>> {
        match self {
            Self::Datagrams(datagrams) => match datagrams.queue.lock().await.recv().await {
                Some(bytes) => Ok(Some(bytes)),
                None => match datagrams.ended.get() {
                    Some(error) => Err(Error::new(error.kind(), error.full_message())),
                    None => Ok(None),
                },
            },
            Self::Stream(Stream { reader, .. }) => {
                let mut reader = reader.lock().await;
                let Some(reader) = reader.as_mut() else { return Ok(None) };
                let mut bytes = BytesMut::with_capacity(limits::RAW_READ_BYTES);
                let count = reader.read_buf(&mut bytes).await.map_err(broken)?;
                Ok((count > 0).then(|| bytes.freeze()))
            }
        }
    }
}

impl Datagrams {
    async fn send(&self, bytes: Bytes) -> Result<()> {
        if bytes.len() > limits::MAX_RAW_DATAGRAM_BYTES {
            let problem = format_args!("{} bytes do not fit a datagram", bytes.len());
            return Err(Error::invalid("data", problem));
        }
        if let Some(error) = self.ended.get() {
            return Err(Error::new(error.kind(), error.full_message()));
        }
        let out = self.out.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match out.ok_or_else(closed)? {
            Out::Port(port) => match port.send(&bytes, self.remote).await {
                // The system's news that an earlier one did not arrive: this one is as lost as that one.
                Err(cause) if cause.kind() == std::io::ErrorKind::ConnectionRefused => Ok(()),
                sent => sent.map_err(|cause| Error::io("send a datagram", cause)),
            },
            Out::Relay(relay) => relay.send_to(self.remote, bytes).await,
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.closed.cancel();
    }
}

impl SocketInfo {
    /// Of a way made by `method`.
    pub(super) fn new(method: Method, transport: Transport, local: SocketAddr, remote: SocketAddr) -> Self {
        Self {
            connection_type: method.connection_type(transport),
            protocol: match transport {
                Transport::Udp => "udp",
                Transport::Tcp => "tcp",
            },
            local_address: local.ip().to_string(),
            local_port: local.port(),
            remote_address: remote.ip().to_string(),
            remote_port: remote.port(),
            local_candidate: None,
            remote_candidate: None,
        }
    }
}

fn closed() -> Error {
    Error::new(ErrorKind::ConnectionClosed, "the socket is closed")
}

fn broken(cause: std::io::Error) -> Error {
    Error::with_source(ErrorKind::ConnectionClosed, "the connection broke", cause)
}
