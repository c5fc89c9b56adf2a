//! One WebSocket: TCP, TLS where the address asks for it, and the handshake. Not here: what is sent.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use futures_rustls::TlsConnector;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::handshake::server::{Callback, ErrorResponse, Request as Asked, Response};
use tokio_tungstenite::tungstenite::http::StatusCode;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message, Utf8Bytes};
use tokio_util::compat::{FuturesAsyncReadCompatExt, TokioAsyncReadCompatExt};

use crate::base::error::{Error, ErrorKind, Result};
use crate::base::limits;

/// TCP, or TLS on it.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

pub(super) type Socket = WebSocketStream<Box<dyn Stream>>;

/// Where a relay is.
#[derive(Clone, Debug)]
pub(super) struct Address {
    request: Request,
    host: String,
    port: u16,
    tls: bool,
}

impl Address {
    /// Reads `ws://`, `wss://`, `http://` or `https://`; without a path, `/gun` is meant.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let invalid = |problem: &str| Error::invalid("peers", format_args!("`{text}` {problem}"));
        let (scheme, rest) = text.split_once("://").ok_or_else(|| invalid("is no URL"))?;
        let tls = match scheme {
            "ws" | "http" => false,
            "wss" | "https" => true,
            _ => return Err(invalid("is neither http, https, ws nor wss")),
        };
        let path = if rest.trim_end_matches('/').contains('/') { "" } else { "/gun" };
        let rest = if path.is_empty() { rest } else { rest.trim_end_matches('/') };
        let url = format!("{}://{rest}{path}", if tls { "wss" } else { "ws" });
        let request = url.into_client_request().map_err(|_| invalid("is no URL of a relay"))?;
        let host = request.uri().host().filter(|host| !host.is_empty()).ok_or_else(|| invalid("has no host"))?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = request.uri().port_u16().unwrap_or(if tls { 443 } else { 80 });
        Ok(Self { request, host, port, tls })
    }

    /// Connects, within [`limits::GUN_CONNECT_TIMEOUT`].
    pub(super) async fn connect(&self, trust: &Trust) -> Result<Socket> {
        let connecting = tokio::time::timeout(limits::GUN_CONNECT_TIMEOUT, self.connect_now(trust));
        let late = |_| Error::new(ErrorKind::Timeout, format!("connect to the Gun relay {}", self.request.uri()));
        connecting.await.map_err(late)?
    }

    async fn connect_now(&self, trust: &Trust) -> Result<Socket> {
        let failed = |cause| Error::io(format!("connect to the Gun relay {}", self.request.uri()), cause);
        let tcp = TcpStream::connect((self.host.as_str(), self.port)).await.map_err(failed)?;
        tcp.set_nodelay(true).map_err(failed)?;
        let stream: Box<dyn Stream> = if self.tls {
            let name = ServerName::try_from(self.host.clone())
                .map_err(|cause| Error::with_source(ErrorKind::InvalidArgument, "name of a Gun relay", cause))?;
            let connector = trust.connector().await?;
            Box::new(connector.connect(name, tcp.compat()).await.map_err(failed)?.compat())
        } else {
            Box::new(tcp)
        };
        let request = self.request.clone();
        let config = config(limits::MAX_GUN_FRAME_BYTES);
        let shaken = tokio_tungstenite::client_async_with_config(request, stream, Some(config)).await;
        let refused = |cause: tungstenite::Error| {
            let context = format!("the relay {} does not speak Gun", self.request.uri());
            Error::with_source(ErrorKind::Protocol, context, cause)
        };
        Ok(shaken.map_err(refused)?.0)
    }
}

/// Which certificates of relays are trusted. Loaded once, when first needed.
#[derive(Default)]
pub(super) struct Trust {
    roots: Option<Vec<u8>>,
    connector: tokio::sync::OnceCell<TlsConnector>,
}

impl Trust {
    /// The system's, or only those given as PEM.
    pub(super) fn new(roots: Option<Vec<u8>>) -> Self {
        Self { roots, connector: tokio::sync::OnceCell::new() }
    }

    async fn connector(&self) -> Result<&TlsConnector> {
        self.connector.get_or_try_init(|| self.load()).await
    }

    async fn load(&self) -> Result<TlsConnector> {
        let invalid = |cause: String| Error::invalid("root certificates", cause);
        let mut store = RootCertStore::empty();
        if let Some(pem) = &self.roots {
            for certificate in CertificateDer::pem_slice_iter(pem) {
                let certificate = certificate.map_err(|cause| invalid(cause.to_string()))?;
                store.add(certificate).map_err(|cause| invalid(cause.to_string()))?;
            }
        } else {
            // Reads files; some of a system's certificates may be unreadable, the others serve.
            let loaded = tokio::task::spawn_blocking(rustls_native_certs::load_native_certs).await;
            let failed = |cause| Error::with_source(ErrorKind::Internal, "system certificates", cause);
            store.add_parsable_certificates(loaded.map_err(failed)?.certs);
        }
        if store.is_empty() {
            return Err(invalid("none were found".to_owned()));
        }
        let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|cause| Error::with_source(ErrorKind::Internal, "TLS versions", cause))?
            .with_root_certificates(store)
            .with_no_client_auth();
        Ok(Arc::new(config).into())
    }
}

fn config(most: usize) -> WebSocketConfig {
    WebSocketConfig::default().max_message_size(Some(most)).max_frame_size(Some(most))
}

/// Lets only the path of the relay in; a stock relay answers 400 elsewhere too.
struct OnlyPath<'a>(&'a str);

impl Callback for OnlyPath<'_> {
    fn on_request(self, request: &Asked, response: Response) -> std::result::Result<Response, ErrorResponse> {
        if request.uri().path() == self.0 {
            return Ok(response);
        }
        let mut refusal = ErrorResponse::new(None);
        *refusal.status_mut() = StatusCode::BAD_REQUEST;
        Err(refusal)
    }
}

/// Answers the handshake of somebody who has connected.
pub(super) async fn accept(tcp: TcpStream, path: &str) -> Result<Socket> {
    let failed = |cause| Error::io("accept a Gun peer", cause);
    tcp.set_nodelay(true).map_err(failed)?;
    let stream: Box<dyn Stream> = Box::new(tcp);
    let config = config(limits::MAX_GUN_PARSED_BYTES);
    let shaking = tokio_tungstenite::accept_hdr_async_with_config(stream, OnlyPath(path), Some(config));
    let late = |_| Error::new(ErrorKind::Timeout, "handshake of a Gun peer");
    let shaken = tokio::time::timeout(limits::GUN_CONNECT_TIMEOUT, shaking).await.map_err(late)?;
    shaken.map_err(|cause| Error::with_source(ErrorKind::Protocol, "handshake of a Gun peer", cause))
}

/// The sending end of a socket. Its queue is bounded in frames and in bytes.
#[derive(Clone)]
pub(super) struct Outgoing {
    sender: mpsc::Sender<Arc<str>>,
    queued: Arc<AtomicUsize>,
}

/// What of a socket is still to be sent.
pub(super) struct Queue {
    receiver: mpsc::Receiver<Arc<str>>,
    queued: Arc<AtomicUsize>,
}

/// A queue for one socket.
pub(super) fn queue() -> (Outgoing, Queue) {
    let (sender, receiver) = mpsc::channel(limits::GUN_SEND_QUEUE);
    let queued = Arc::new(AtomicUsize::new(0));
    (Outgoing { sender, queued: queued.clone() }, Queue { receiver, queued })
}

impl Outgoing {
    /// Queues a frame. False: the other side does not read, or the socket is closed.
    pub(super) fn send(&self, frame: Arc<str>) -> bool {
        let length = frame.len();
        let queued = self.queued.fetch_add(length, Ordering::Relaxed) + length;
        queued <= limits::MAX_GUN_SEND_BYTES && self.sender.try_send(frame).is_ok()
    }
}

/// Sends what is queued and hands over what comes, until one of both ends.
pub(super) async fn run<Taken>(socket: Socket, mut queue: Queue, mut take: impl FnMut(String) -> Taken)
where
    Taken: Future<Output = bool>,
{
    let (mut writer, mut reader) = socket.split();
    let reading = async {
        while let Some(Ok(message)) = reader.next().await {
            // Stock relays ignore binary frames, and so do we.
            if let Message::Text(text) = message
                && !take(text.as_str().to_owned()).await
            {
                break;
            }
        }
    };
    let writing = async {
        while let Some(frame) = queue.receiver.recv().await {
            let length = frame.len();
            if writer.feed(text(&frame)).await.is_err() {
                return;
            }
            // One system call for all that waits.
            if queue.receiver.is_empty() && writer.flush().await.is_err() {
                return;
            }
            queue.queued.fetch_sub(length, Ordering::Relaxed);
        }
        // The queue was closed: a goodbye, if the other side still listens.
        let _ = tokio::time::timeout(limits::GUN_STOP_TIMEOUT, writer.close()).await;
    };
    tokio::select! {
        () = reading => {}
        () = writing => {}
    }
}

/// A message of a frame that others may be sending too.
fn text(frame: &Arc<str>) -> Message {
    struct Shared(Arc<str>);
    impl AsRef<[u8]> for Shared {
        fn as_ref(&self) -> &[u8] {
            self.0.as_bytes()
        }
    }
    let shared = Utf8Bytes::try_from(Bytes::from_owner(Shared(frame.clone())));
    shared.map_or_else(|_| Message::text(&**frame), Message::Text)
}

/// Milliseconds since 1970 with their fraction, as states have them.
pub(super) fn wall_ms(offset_ms: i64) -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_secs_f64() * 1000.0 + offset_ms as f64
}

/// The addresses a relay listens on.
pub(super) async fn listen(at: SocketAddr) -> Result<tokio::net::TcpListener> {
    let failed = |cause| Error::io(format!("listen for Gun peers on {at}"), cause);
    tokio::net::TcpListener::bind(at).await.map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_waits_for_a_peer_that_does_not_read_is_bounded() {
        // By bytes, and room comes back only with what is really sent.
        let (outgoing, mut queue) = queue();
        let frame: Arc<str> = "x".repeat(limits::MAX_GUN_SEND_BYTES / 4).into();
        let sent = (0..100).take_while(|_| outgoing.send(frame.clone())).count();
        assert_eq!(sent, 4);
        assert!(!outgoing.send("x".into()), "what did not fit counts as well: it is cut off");
        assert_eq!(std::iter::from_fn(|| queue.receiver.try_recv().ok()).count(), sent);
        // And by frames.
        let (outgoing, mut queue) = self::queue();
        let sent = (0..2 * limits::GUN_SEND_QUEUE).take_while(|_| outgoing.send("[]".into())).count();
        assert_eq!(sent, limits::GUN_SEND_QUEUE);
        assert_eq!(std::iter::from_fn(|| queue.receiver.try_recv().ok()).count(), sent);
    }

    #[test]
    fn addresses_are_read_as_gun_js_does() {
        let parts = |text: &str| {
            let address = Address::parse(text).expect(text);
            (address.host, address.port, address.tls, address.request.uri().path().to_owned())
        };
        let gun = || "/gun".to_owned();
        assert_eq!(parts("http://127.0.0.1:8765/gun"), ("127.0.0.1".to_owned(), 8765, false, gun()));
        assert_eq!(parts("https://relay.example.org"), ("relay.example.org".to_owned(), 443, true, gun()));
        assert_eq!(parts("ws://[::1]:1/"), ("::1".to_owned(), 1, false, gun()));
        assert_eq!(parts("wss://a.example/other"), ("a.example".to_owned(), 443, true, "/other".to_owned()));
        for wrong in ["", "relay.example.org", "ftp://a/gun", "ws://", "ws:///gun"] {
            assert_eq!(Address::parse(wrong).expect_err(wrong).kind(), ErrorKind::InvalidArgument);
        }
    }
}
