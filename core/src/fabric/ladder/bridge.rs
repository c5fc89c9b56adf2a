//! A UDP port for a path over a TURN relay, so that QUIC runs over it as over any other: two loopback sockets, and a
//! task that moves the datagrams. Not here: choosing the path (`nat::ice`). ICE only goes on to answer a peer that has
//! not concluded yet; that its consent ends means nothing, for QUIC itself shows whether the peer still wants to hear
//! us, and the relay keeps its permission for the peer.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use tokio::net::UdpSocket;

use crate::base::error::Result;
use crate::base::limits;
use crate::nat::ice::driver::IcePath;
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
    ice: Option<IcePath>,
}

impl Bridge {
    /// A bridge over our relay, which lets the peer in already, to the peer that ICE has found.
    pub async fn over(relay: Arc<Relayed>, path: IcePath) -> io::Result<Self> {
        let port = UdpPort::bind((Ipv4Addr::LOCALHOST, 0).into()).map_err(io::Error::other)?;
        let inner = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        // Datagrams of other programs of this machine stay out.
        inner.connect(port.local_address()?).await?;
        let remote = inner.local_addr()?;
        Ok(Self { port, remote, inner, relay, peer: path.to, ice: Some(path) })
    }

    /// Moves datagrams until the relay ends, QUIC has closed its port, or nothing has moved for
    /// [`limits::BRIDGE_IDLE`].
    pub async fn run(self) {
        let Self { port, inner, relay, peer, mut ice, .. } = self;
        // QUIC holds its own; this one would keep the port open.
        drop(port);
        let mut buffer = vec![0; limits::MAX_TURN_PAYLOAD_BYTES];
        loop {
            let moved = async {
                tokio::select! {
                    received = receive(&relay, &mut ice, peer) => match received {
                        Ok(bytes) => inner.send(&bytes).await.is_ok(),
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

/// The next datagram of the peer. Cancel safe.
async fn receive(relay: &Relayed, ice: &mut Option<IcePath>, peer: SocketAddr) -> Result<Bytes> {
    if let Some(path) = ice {
        if let Ok(bytes) = path.receive().await {
            return Ok(bytes);
        }
        *ice = None;
    }
    loop {
        let (from, bytes) = relay.receive().await?;
        if from == peer {
            return Ok(bytes);
        }
    }
}
