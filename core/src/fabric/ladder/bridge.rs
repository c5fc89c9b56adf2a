//! A UDP port for a path over a TURN relay, so that QUIC runs over it as over any other: two loopback sockets, and a
//! task that moves the datagrams. Not here: choosing the path (`nat::ice`).

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use tokio::net::UdpSocket;

use crate::base::limits;
use crate::nat::ice::driver::{Carrier, IcePath};
use crate::nat::turn::driver::Relayed;
use crate::net::udp::UdpPort;

/// QUIC's end of a relayed path, and where it sends. The other end is moved by `run`.
pub struct Bridge {
    /// For QUIC.
    pub port: Arc<UdpPort>,
    /// The peer, as seen from that port.
    pub remote: SocketAddr,
    inner: UdpSocket,
    path: IcePath,
    relay: Arc<Relayed>,
}

impl Bridge {
    /// A bridge to a path that goes over our own relay; gives the path back when it does not.
    pub async fn over(path: IcePath) -> io::Result<Result<Self, IcePath>> {
        let Carrier::Relay(relay) = &path.carrier else { return Ok(Err(path)) };
        let relay = Arc::clone(relay);
        let port = UdpPort::bind((Ipv4Addr::LOCALHOST, 0).into()).map_err(io::Error::other)?;
        let inner = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        // Datagrams of other programs of this machine stay out.
        inner.connect(port.local_address()?).await?;
        let remote = inner.local_addr()?;
        Ok(Ok(Self { port, remote, inner, path, relay }))
    }

    /// Moves datagrams until the relay or the peer ends, or QUIC has closed its port.
    pub async fn run(self) {
        let Self { port, inner, mut path, relay, .. } = self;
        // QUIC holds its own; this one would keep the port open.
        drop(port);
        let to = path.to;
        let mut buffer = vec![0; limits::MAX_TURN_PAYLOAD_BYTES];
        loop {
            tokio::select! {
                received = path.receive() => match received {
                    Ok(bytes) => {
                        if inner.send(&bytes).await.is_err() {
                            break;
                        }
                    }
                    Err(error) => {
                        tracing::debug!(error = %error.full_message(), "a relayed path ended");
                        break;
                    }
                },
                sent = inner.recv(&mut buffer) => match sent {
                    Ok(length) => {
                        if relay.send_to(to, Bytes::copy_from_slice(&buffer[..length])).await.is_err() {
                            break;
                        }
                    }
                    // Refused: QUIC has closed its port.
                    Err(_) => break,
                },
            }
        }
    }
}
