//! One Binding request over TCP (RFC 8489 section 6.2.2). Used to tell a network without UDP from no network. Not here:
//! TURN over TCP, which stays connected.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::base::error::{Error, ErrorKind, Result};
use crate::base::limits;
use crate::base::random::Jitter;
use crate::nat::stun::message::{HEADER_BYTES, decode};

/// Our address as a server sees it over TCP. `Timeout`, `PeerUnreachable`, or `Protocol` if what answers is no STUN
/// server. Cancel safe.
pub(super) async fn ask(server: SocketAddr, deadline: Duration) -> Result<SocketAddr> {
    query_over_tcp(TcpStream::connect(server), server, deadline).await
}

/// Our address as a server sees it on a connection that the caller opens, e.g. from a port of its own. Errors and
/// cancelling as with [`query`](super::query); also `Protocol` if what answers is no STUN server.
pub async fn query_over_tcp(
    connecting: impl Future<Output = std::io::Result<TcpStream>>,
    server: SocketAddr,
    deadline: Duration,
) -> Result<SocketAddr> {
    tokio::time::timeout(deadline, exchange(connecting, server)).await.map_err(|_| {
        Error::new(ErrorKind::Timeout, format!("STUN over TCP at {server}: no answer within {deadline:?}"))
    })?
}

async fn exchange(
    connecting: impl Future<Output = std::io::Result<TcpStream>>,
    server: SocketAddr,
) -> Result<SocketAddr> {
    let io = |cause| Error::io(format!("STUN over TCP at {server}"), cause);
    let wrong = || Error::new(ErrorKind::Protocol, format!("{server} does not answer STUN over TCP"));
    let request = super::binding_request(&mut Jitter::from_seed(rand::random()));
    let bytes = request.encode(None, false).map_err(|_| wrong())?;
    let mut stream = connecting.await.map_err(io)?;
    stream.write_all(&bytes).await.map_err(io)?;
    let mut answer = vec![0; HEADER_BYTES];
    stream.read_exact(&mut answer).await.map_err(io)?;
    let length = usize::from(u16::from_be_bytes([answer[2], answer[3]]));
    if !crate::net::udp::is_stun(&answer) || length > limits::MAX_STUN_ANSWER_BYTES {
        return Err(wrong());
    }
    answer.resize(HEADER_BYTES + length, 0);
    stream.read_exact(&mut answer[HEADER_BYTES..]).await.map_err(io)?;
    let received = decode(&answer).map_err(|_| wrong())?;
    if received.message.transaction != request.transaction {
        return Err(wrong());
    }
    received.message.mapped_address().ok_or_else(wrong)
}
