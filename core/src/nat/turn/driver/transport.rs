//! The way to a TURN server: UDP, TCP or TLS, as a sequence of whole messages. Not here: what they say.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_rustls::TlsConnector;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio_util::compat::{FuturesAsyncReadCompatExt, TokioAsyncReadCompatExt};

use crate::base::error::{Error, ErrorKind, Result};
use crate::base::limits;
use crate::nat::turn::framing::Frames;

/// A connection to a server.
pub(super) enum Link {
    /// A socket connected to the server, so that nobody else is heard; and where datagrams are received.
    Udp(UdpSocket, Box<[u8]>),
    /// A stream and its unread bytes.
    Stream(Box<dyn Stream>, Frames),
}

/// TCP, or TLS on it.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// TLS settings with the name that the certificate must have.
#[derive(Clone)]
pub(super) struct Tls {
    connector: TlsConnector,
    name: ServerName<'static>,
}

impl Tls {
    /// Trusts the system's certificates, or only those given as PEM. `InvalidArgument` for a host that is no name, or
    /// unreadable certificates.
    pub(super) async fn new(host: &str, roots: Option<&[u8]>) -> Result<Self> {
        let invalid = |what: &str, cause: String| Error::invalid(what, cause);
        let name = ServerName::try_from(host.to_owned()).map_err(|cause| invalid("TURN server", cause.to_string()))?;
        let mut store = RootCertStore::empty();
        if let Some(pem) = roots {
            for certificate in CertificateDer::pem_slice_iter(pem) {
                let certificate = certificate.map_err(|cause| invalid("root certificates", cause.to_string()))?;
                store.add(certificate).map_err(|cause| invalid("root certificates", cause.to_string()))?;
            }
        } else {
            // Reads files; some of a system's certificates may be unreadable, the others serve.
            let loaded = tokio::task::spawn_blocking(rustls_native_certs::load_native_certs).await;
            let loaded =
                loaded.map_err(|cause| Error::with_source(ErrorKind::Internal, "system certificates", cause))?;
            store.add_parsable_certificates(loaded.certs);
        }
        if store.is_empty() {
            return Err(invalid("root certificates", "none were found".to_owned()));
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|cause| Error::with_source(ErrorKind::Internal, "TLS versions", cause))?
            .with_root_certificates(store)
            .with_no_client_auth();
        Ok(Self { connector: Arc::new(config).into(), name })
    }
}

impl Link {
    /// A UDP socket of its own. Says nothing about the server being there.
    pub(super) async fn udp(server: SocketAddr) -> io::Result<Self> {
        let socket = UdpSocket::bind(crate::nat::stun::driver::unspecified(server.is_ipv4())).await?;
        socket.connect(server).await?;
        Ok(Self::Udp(socket, vec![0; limits::MAX_DATAGRAM_BYTES].into()))
    }

    /// A TCP connection, with TLS if wanted.
    pub(super) async fn stream(server: SocketAddr, tls: Option<&Tls>) -> io::Result<Self> {
        let tcp = TcpStream::connect(server).await?;
        // Datagrams must not wait for each other.
        tcp.set_nodelay(true)?;
        let stream: Box<dyn Stream> = match tls {
            None => Box::new(tcp),
            Some(tls) => Box::new(tls.connector.connect(tls.name.clone(), tcp.compat()).await?.compat()),
        };
        Ok(Self::Stream(stream, Frames::default()))
    }

    /// The next message. Cancel safe.
    pub(super) async fn receive(&mut self) -> io::Result<Bytes> {
        match self {
            Self::Udp(socket, buffer) => {
                let length = socket.recv(buffer).await?;
                Ok(Bytes::copy_from_slice(&buffer[..length]))
            }
            Self::Stream(stream, frames) => loop {
                let frame = frames.next_frame().map_err(|cause| io::Error::new(io::ErrorKind::InvalidData, cause))?;
                if let Some(frame) = frame {
                    return Ok(frame);
                }
                let buffer: &mut BytesMut = frames.buffer();
                buffer.reserve(limits::TURN_READ_BYTES);
                if stream.read_buf(buffer).await? == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            },
        }
    }

    /// Sends one message. Not cancel safe on streams: a message cut in two breaks the rest.
    pub(super) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Udp(socket, _) => socket.send(bytes).await.map(|_| ()),
            Self::Stream(stream, _) => {
                let written = async {
                    stream.write_all(bytes).await?;
                    stream.flush().await
                };
                let slow = |_| Err(io::ErrorKind::TimedOut.into());
                tokio::time::timeout(limits::TURN_WRITE_TIMEOUT, written).await.unwrap_or_else(slow)
            }
        }
    }

    /// Whether an error ends it: streams never recover, datagrams may just be lost.
    pub(super) const fn ends_with_errors(&self) -> bool {
        matches!(self, Self::Stream(..))
    }
}
