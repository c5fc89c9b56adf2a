//! A UDP port for a path over a TURN relay, so that QUIC runs over it as over any other: two loopback sockets, and a
//! task that moves the datagrams. Not here: choosing the path (`nat::ice`). ICE has ended by then, on both sides: QUIC
//! itself shows whether the peer still wants to hear us, and the relay keeps its permission for the peer.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use tokio::net::UdpSocket;

use crate::base::limits;
use crate::nat::turn::driver::Relayed;
use crate::net::udp::UdpPort;

/// QUIC's end of a relayed path, and where it sends. The other end is moved by `run`.
pub struct Bridge {
    /// For QUIC.
    pub port: Arc<UdpPort>,
    /// The peer, as seen from that port.
    pub remote: SocketAddr,
    inner: UdpSocket,
    relay: Arc<Relayed>,
    peer: SocketAddr,
}

impl Bridge {
    /// A bridge to the peer at this address over our relay, which lets it in already.
    pub async fn over(relay: Arc<Relayed>, peer: SocketAddr) -> io::Result<Self> {
        let port = UdpPort::bind((Ipv4Addr::LOCALHOST, 0).into()).map_err(io::Error::other)?;
        let inner = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        // Datagrams of other programs of this machine stay out.
        inner.connect(port.local_address()?).await?;
        let remote = inner.local_addr()?;
        Ok(Self { port, remote, inner, relay, peer })
    }

    /// Moves datagrams until the relay ends, QUIC has closed its port, or nothing has moved for
    /// [`limits::BRIDGE_IDLE`].
    pub async fn run(self) {
        let Self { port, inner, relay, peer, .. } = self;
        // QUIC holds its own; this one would keep the port open.
        drop(port);
        let mut buffer = vec![0; limits::MAX_TURN_PAYLOAD_BYTES];
        loop {
            let moved = async {
                tokio::select! {
                    received = relay.receive() => match received {
                        Ok((from, bytes)) if from == peer => inner.send(&bytes).await.is_ok(),
                        Ok(_) => true,
                        Err(error) => {
                            tracing::debug!(error = %error.full_message(), "a relayed path ended");
                            false
                        }
                    },
                    // An error: QUIC has closed its port.
                    sent = inner.recv(&mut buffer) => match sent {
                        Ok(length) => relay.send_to(peer, Bytes::copy_from_slice(&buffer[..length])).await.is_ok(),
                        Err(_) => false,
                    },
                }
            };
            if !matches!(tokio::time::timeout(limits::BRIDGE_IDLE, moved).await, Ok(true)) {
                break;
            }
        }
    }
}
