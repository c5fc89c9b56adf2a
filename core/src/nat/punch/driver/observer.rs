//! What the internet sees of a socket right before a round. Not here: measuring the kind of NAT (`stun::behaviour`),
//! which takes longer and is done once.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use futures::future::BoxFuture;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::base::limits;
use crate::base::random::Jitter;
use crate::base::time::Time;
use crate::nat::punch::prediction::Observation;
use crate::nat::stun::message::HEADER_BYTES;
use crate::nat::stun::{Class, Message, Method, TransactionId, decode, driver};
use crate::net::clock::Clock;
use crate::net::tcp::TcpPort;
use crate::net::udp::{UdpPort, is_stun};

/// Finds out what the internet sees of a socket, e.g. by asking STUN servers. Several servers or ports of a server, one
/// after the other, show how the NAT chooses ports.
pub trait Observer: Send {
    /// What servers see of a UDP port, in time order; empty if none answers. Something drives the port meanwhile.
    fn udp<'a>(&'a mut self, port: &'a Arc<UdpPort>) -> BoxFuture<'a, Vec<Observation>>;

    /// What servers see of connections from a TCP port, in time order.
    fn tcp<'a>(&'a mut self, port: &'a TcpPort) -> BoxFuture<'a, Vec<Observation>>;
}

/// Asks nobody: the address that a socket is bound to is taken for the one that others see. For hosts without a NAT
/// whose sockets are bound to one address.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoServers;

/// Asks STUN servers one after the other, the first [`limits::PUNCH_SERVERS`] of the socket's family. Different ports
/// of one server count as different servers here.
#[derive(Debug)]
pub struct StunServers {
    servers: Vec<SocketAddr>,
    clock: Clock,
    /// Open as long as the round may last: a NAT may forget a TCP mapping when its connection ends.
    held: Vec<TcpStream>,
}

impl StunServers {
    /// Asks these servers.
    pub fn new(servers: Vec<SocketAddr>) -> Self {
        Self { servers, clock: Clock::start(), held: Vec::new() }
    }

    fn of_family(&self, local: SocketAddr) -> Vec<SocketAddr> {
        let same = self.servers.iter().filter(|server| server.is_ipv4() == local.is_ipv4());
        same.take(limits::PUNCH_SERVERS).copied().collect()
    }
}

impl Observer for StunServers {
    fn udp<'a>(&'a mut self, port: &'a Arc<UdpPort>) -> BoxFuture<'a, Vec<Observation>> {
        Box::pin(async move {
            let Ok(local) = port.local_address() else { return Vec::new() };
            let mut seen = Vec::new();
            for destination in self.of_family(local) {
                let at = self.clock.now();
                match driver::query(port, destination, limits::PUNCH_SERVER_TIMEOUT).await {
                    Ok(external) => seen.push(Observation { at, local_port: local.port(), destination, external }),
                    Err(error) => tracing::debug!(%destination, %error, "hole punching: a server does not answer"),
                }
            }
            seen
        })
    }

    fn tcp<'a>(&'a mut self, port: &'a TcpPort) -> BoxFuture<'a, Vec<Observation>> {
        Box::pin(async move {
            let local = port.local_address();
            self.held.retain(|stream| stream.local_addr().is_ok_and(|address| address.port() == local.port()));
            let mut seen = Vec::new();
            for destination in self.of_family(local) {
                let at = self.clock.now();
                let asked = tokio::time::timeout(limits::PUNCH_SERVER_TIMEOUT, ask(port, destination)).await;
                match asked.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
                    Ok((external, stream)) => {
                        seen.push(Observation { at, local_port: local.port(), destination, external });
                        self.held.push(stream);
                    }
                    Err(error) => tracing::debug!(%destination, %error, "hole punching: a server does not answer"),
                }
            }
            seen
        })
    }
}

impl Observer for NoServers {
    fn udp<'a>(&'a mut self, port: &'a Arc<UdpPort>) -> BoxFuture<'a, Vec<Observation>> {
        let seen = port.local_address().ok().and_then(as_bound);
        Box::pin(async move { seen.into_iter().collect() })
    }

    fn tcp<'a>(&'a mut self, port: &'a TcpPort) -> BoxFuture<'a, Vec<Observation>> {
        let seen = as_bound(port.local_address());
        Box::pin(async move { seen.into_iter().collect() })
    }
}

fn as_bound(local: SocketAddr) -> Option<Observation> {
    let seen = Observation { at: Time::ZERO, local_port: local.port(), destination: local, external: local };
    (!local.ip().is_unspecified()).then_some(seen)
}

/// One Binding request from this port; the connection stays open.
async fn ask(port: &TcpPort, server: SocketAddr) -> io::Result<(SocketAddr, TcpStream)> {
    let wrong = || io::Error::from(io::ErrorKind::InvalidData);
    let id = TransactionId::random(&mut Jitter::from_seed(rand::random()));
    let request = Message::request(Method::BINDING, id).encode(None, false).map_err(|_| wrong())?;
    let mut stream = port.connect(server).await?;
    stream.write_all(&request).await?;
    let mut answer = vec![0; HEADER_BYTES];
    stream.read_exact(&mut answer).await?;
    let length = usize::from(u16::from_be_bytes([answer[2], answer[3]]));
    if !is_stun(&answer) || length > limits::MAX_STUN_ANSWER_BYTES {
        return Err(wrong());
    }
    answer.resize(HEADER_BYTES + length, 0);
    stream.read_exact(&mut answer[HEADER_BYTES..]).await?;
    let received = decode(&answer).map_err(|_| wrong())?.message;
    let ours = received.transaction == id && received.class == Class::Success;
    let external = received.mapped_address().filter(|_| ours).ok_or_else(wrong)?;
    Ok((external, stream))
}
