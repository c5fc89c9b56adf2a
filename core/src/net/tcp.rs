//! One local TCP port that listens and connects at the same time, as simultaneous open and NATs need it. Not here: the
//! listeners and dials of the fabric, and choosing among the connections that come up (`nat::punch`).

use std::io;
use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::base::error::{Error, ErrorKind, Result};
use crate::base::limits;

/// A port that is listened on and connected from.
#[derive(Debug)]
pub struct TcpPort {
    listener: TcpListener,
    local: SocketAddr,
}

impl TcpPort {
    /// Binds and listens; port 0 lets the system choose. An IPv6 port takes no IPv4 connections. Other sockets of this
    /// user may share the port if they allow it too, and then compete for incoming connections. `AddressInUse` and
    /// other socket errors. Needs a tokio runtime.
    pub fn bind(at: SocketAddr) -> Result<Self> {
        let bound = (|| {
            let listener = reusable(at)?.listen(limits::PUNCH_TCP_CONNECTIONS as u32)?;
            let local = listener.local_addr()?;
            Ok(Self { listener, local })
        })();
        bound.map_err(|cause: io::Error| {
            let kind = match cause.kind() {
                io::ErrorKind::AddrInUse => ErrorKind::AddressInUse,
                _ => ErrorKind::Io,
            };
            Error::with_source(kind, format!("listen on the TCP address {at}"), cause)
        })
    }

    /// The bound address.
    pub const fn local_address(&self) -> SocketAddr {
        self.local
    }

    /// The next incoming connection. Cancel safe.
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        self.listener.accept().await
    }

    /// Connects from this port. `AddrNotAvailable`: there is a connection with this remote address already, perhaps
    /// one that was just accepted. Dropping the future gives up.
    pub async fn connect(&self, remote: SocketAddr) -> io::Result<TcpStream> {
        reusable(self.local)?.connect(remote).await
    }
}

/// A bound socket whose port others may bind too. Both options have to be set on all of them.
fn reusable(at: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if at.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if at.is_ipv6() {
        socket2::SockRef::from(&socket).set_only_v6(true)?;
    }
    socket.set_reuseaddr(true)?;
    #[cfg(unix)]
    socket.set_reuseport(true)?;
    socket.bind(at)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_listens_and_connects_at_once() {
        let at = "127.0.0.1:0".parse().expect("valid");
        let (one, two) = (TcpPort::bind(at).expect("free"), TcpPort::bind(at).expect("free"));
        let (out, incoming) = tokio::join!(one.connect(two.local_address()), two.accept());
        let (stream, from) = incoming.expect("accepted");
        assert_eq!((out.expect("connected").local_addr().expect("open"), from), (from, one.local_address()));
        // The same pair of ports the other way round is the same connection.
        let again = two.connect(one.local_address()).await.expect_err("exists");
        assert_eq!(again.kind(), io::ErrorKind::AddrNotAvailable);
        drop(stream);
    }

    #[tokio::test]
    async fn a_port_of_others_is_refused() {
        let other = std::net::TcpListener::bind("127.0.0.1:0").expect("free");
        let error = TcpPort::bind(other.local_addr().expect("bound")).expect_err("taken");
        assert_eq!(error.kind(), ErrorKind::AddressInUse);
    }
}
