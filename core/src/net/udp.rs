//! One bound UDP socket that QUIC, STUN and hole punching share, so that all of them go through the same NAT mapping.
//! Every datagram is sorted by its first bytes (RFC 9443): QUIC goes to whoever polls, STUN to the route that claims
//! it. Not here: QUIC itself (`fabric`), and what the STUN messages mean (`nat`).
//!
//! Exactly one reader drives a port: either the QUIC endpoint on it ([`UdpPort::poll_receive`]), or, on a port without
//! QUIC, [`UdpPort::pump`].

use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use quinn_udp::{RecvMeta, Transmit, UdpSocketState};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::Interest;
use tokio::sync::mpsc;

use crate::base::error::{Error, ErrorKind, Result};
use crate::base::limits;

/// A datagram that is not QUIC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// Who sent it, as far as UDP can tell.
    pub from: SocketAddr,
    /// Its payload.
    pub bytes: Bytes,
}

/// Decides whether a datagram belongs to a route. Called for every STUN datagram on the port: it must be quick.
type Claim = Box<dyn Fn(&[u8], SocketAddr) -> bool + Send + Sync>;

/// One bound UDP socket. Shared as `Arc<UdpPort>`; the socket closes with the last clone.
pub struct UdpPort {
    io: tokio::net::UdpSocket,
    state: UdpSocketState,
    routes: Mutex<Routes>,
}

#[derive(Default)]
struct Routes {
    last: u64,
    open: Vec<(u64, Claim, mpsc::Sender<Datagram>)>,
}

/// Receives the datagrams that its claim accepted; dropping it ends the route.
pub struct Route {
    port: Arc<UdpPort>,
    id: u64,
    queue: mpsc::Receiver<Datagram>,
}

impl UdpPort {
    /// Binds a socket with large buffers; an IPv6 socket takes no IPv4 traffic. Port 0 lets the system choose.
    /// `AddressInUse` and other socket errors. Needs a tokio runtime.
    pub fn bind(at: SocketAddr) -> Result<Arc<Self>> {
        let bound = (|| {
            let socket = Socket::new(Domain::for_address(at), Type::DGRAM, Some(Protocol::UDP))?;
            if at.is_ipv6() {
                socket.set_only_v6(true)?;
            }
            socket.bind(&at.into())?;
            Ok(socket.into())
        })();
        bound.and_then(Self::from_std).map_err(|cause: io::Error| {
            let kind = match cause.kind() {
                io::ErrorKind::AddrInUse => ErrorKind::AddressInUse,
                _ => ErrorKind::Io,
            };
            Error::with_source(kind, format!("bind the UDP address {at}"), cause)
        })
    }

    /// Takes over a bound socket, e.g. the one that won a round of hole punching. Needs a tokio runtime.
    pub fn from_std(socket: std::net::UdpSocket) -> io::Result<Arc<Self>> {
        socket.set_nonblocking(true)?;
        let state = UdpSocketState::new((&socket).into())?;
        // Bursts of a fast sender must fit; the system grants at most its own limit, silently.
        let wanted = limits::UDP_SOCKET_BUFFER_BYTES;
        let known = socket2::SockRef::from(&socket);
        let _ = known.set_recv_buffer_size(wanted);
        let _ = known.set_send_buffer_size(wanted);
        Ok(Arc::new(Self { io: tokio::net::UdpSocket::from_std(socket)?, state, routes: Mutex::default() }))
    }

    /// The bound address.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.io.local_addr()
    }

    /// Sends one datagram, waiting for room in the socket's buffer. Cancel safe.
    pub async fn send(&self, bytes: &[u8], to: SocketAddr) -> io::Result<()> {
        self.io.send_to(bytes, to).await.map(|_| ())
    }

    /// Sends one datagram if there is room at once (`WouldBlock` otherwise).
    pub fn try_send(&self, bytes: &[u8], to: SocketAddr) -> io::Result<()> {
        self.io.try_send_to(bytes, to).map(|_| ())
    }

    /// Receives from now on the STUN datagrams that `claim` accepts; older routes are asked first. The newest
    /// datagrams are dropped while [`limits::UDP_ROUTE_QUEUE`] wait. `LimitReached` beyond [`limits::UDP_ROUTES`].
    pub fn route(self: &Arc<Self>, claim: impl Fn(&[u8], SocketAddr) -> bool + Send + Sync + 'static) -> Result<Route> {
        let mut routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        if routes.open.len() >= limits::UDP_ROUTES {
            return Err(Error::new(ErrorKind::LimitReached, "too many users of one UDP port"));
        }
        let (sender, queue) = mpsc::channel(limits::UDP_ROUTE_QUEUE);
        routes.last += 1;
        let id = routes.last;
        routes.open.push((id, Box::new(claim), sender));
        Ok(Route { port: Arc::clone(self), id, queue })
    }

    /// Reads the socket and feeds the routes until an error of the socket; QUIC is dropped. For ports without a QUIC
    /// endpoint: run it beside the work (`select!`). Cancel safe.
    pub async fn pump(&self) -> io::Error {
        let mut buffer = vec![0; limits::MAX_DATAGRAM_BYTES];
        loop {
            match self.io.recv_from(&mut buffer).await {
                Ok((length, from)) => {
                    if is_stun(&buffer[..length]) {
                        self.dispatch(&buffer[..length], from);
                    }
                }
                // Answers to what we sent earlier (ICMP), reported on the next read.
                Err(error) if is_transient(&error) => {}
                Err(error) => return error,
            }
        }
    }

    /// Receives QUIC datagrams for the endpoint on this port; STUN among them goes to the routes.
    pub fn poll_receive(
        &self,
        context: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.io.poll_recv_ready(context))?;
            let read = self.io.try_io(Interest::READABLE, || self.state.recv((&self.io).into(), buffers, meta));
            let Ok(count) = read else { continue };
            for (buffer, meta) in buffers.iter_mut().zip(meta.iter_mut()).take(count) {
                self.divert(buffer, meta);
            }
            return Poll::Ready(Ok(count));
        }
    }

    /// Sends a batch of equally sized datagrams to one address, or `WouldBlock`.
    pub fn try_transmit(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.io.try_io(Interest::WRITABLE, || self.state.send((&self.io).into(), transmit))
    }

    /// Waits until [`Self::try_transmit`] may succeed.
    pub async fn writable(&self) -> io::Result<()> {
        self.io.writable().await
    }

    /// What the system can do in one call: (segments sent, segments received, may fragment).
    pub fn offload(&self) -> (usize, usize, bool) {
        (self.state.max_gso_segments(), self.state.gro_segments(), self.state.may_fragment())
    }

    /// Takes STUN out of one received batch. The system joins consecutive datagrams of one sender into a buffer, all of
    /// `stride` bytes but the last, so a short STUN message can sit behind QUIC packets.
    fn divert(&self, buffer: &mut [u8], meta: &mut RecvMeta) {
        let stride = meta.stride.max(1);
        let (mut kept, mut at) = (0, 0);
        while at < meta.len {
            let end = meta.len.min(at + stride);
            if is_stun(&buffer[at..end]) {
                self.dispatch(&buffer[at..end], meta.addr);
            } else {
                if kept != at {
                    buffer.copy_within(at..end, kept);
                }
                kept += end - at;
            }
            at = end;
        }
        meta.len = kept;
    }

    fn dispatch(&self, bytes: &[u8], from: SocketAddr) {
        let routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        let claimed = routes.open.iter().find(|(_, claim, _)| claim(bytes, from));
        if let Some((_, _, queue)) = claimed
            && queue.try_send(Datagram { from, bytes: Bytes::copy_from_slice(bytes) }).is_err()
        {
            tracing::debug!(%from, "STUN datagram dropped: its reader is too slow");
        }
    }
}

impl fmt::Debug for UdpPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UdpPort").field("io", &self.io).finish_non_exhaustive()
    }
}

impl Route {
    /// The next datagram. Cancel safe. Something must drive the port meanwhile, see the head of this file.
    pub async fn receive(&mut self) -> Datagram {
        let datagram = self.queue.recv().await;
        datagram.expect("the port keeps the sender as long as this route exists")
    }

    /// The port it belongs to.
    pub fn port(&self) -> &Arc<UdpPort> {
        &self.port
    }
}

impl Drop for Route {
    fn drop(&mut self) {
        let mut routes = self.port.routes.lock().unwrap_or_else(PoisonError::into_inner);
        routes.open.retain(|(id, _, _)| *id != self.id);
    }
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Route").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Whether a datagram is STUN: two zero bits, and the magic cookie (RFC 8489 section 5).
pub fn is_stun(datagram: &[u8]) -> bool {
    datagram.len() >= 20 && datagram[0] < 4 && datagram[4..8] == [0x21, 0x12, 0xa4, 0x42]
}

/// Errors that tell about one earlier datagram, not about the socket.
fn is_transient(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::Interrupted
            | io::ErrorKind::WouldBlock
            | io::ErrorKind::PermissionDenied
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];

    fn stun(kind: u8) -> Vec<u8> {
        let mut message = vec![0, kind, 0, 0];
        message.extend(COOKIE);
        message.extend([7; 12]);
        message
    }

    fn meta(len: usize, stride: usize) -> RecvMeta {
        let mut meta = RecvMeta::default();
        (meta.len, meta.stride) = (len, stride);
        meta
    }

    #[tokio::test]
    async fn a_route_gets_what_it_claims_and_the_oldest_comes_first() {
        let port = UdpPort::bind("127.0.0.1:0".parse().expect("valid")).expect("free port");
        let at = port.local_address().expect("bound");
        let mut ones = port.route(|bytes, _| bytes[1] == 1).expect("room");
        let mut rest = port.route(|_, _| true).expect("room");
        let sender = tokio::net::UdpSocket::bind("127.0.0.1:0").await.expect("free port");
        for kind in [2, 1, 3] {
            sender.send_to(&stun(kind), at).await.expect("sent");
            sender.send_to(b"not STUN", at).await.expect("sent");
        }
        let received = async { (ones.receive().await, rest.receive().await, rest.receive().await) };
        let (one, two, three) = tokio::select! {
            received = received => received,
            error = port.pump() => panic!("{error}"),
        };
        assert_eq!([one.bytes[1], two.bytes[1], three.bytes[1]], [1, 2, 3]);
        assert_eq!(one.from, sender.local_addr().expect("bound"));
        drop(ones);
        assert_eq!(port.routes.lock().expect("not poisoned").open.len(), 1);
    }

    #[tokio::test]
    async fn stun_behind_quic_in_one_batch_is_taken_out() {
        let port = UdpPort::bind("127.0.0.1:0".parse().expect("valid")).expect("free port");
        let mut route = port.route(|_, _| true).expect("room");
        let quic = [0x40; 24];
        let mut batch = [&quic[..], &quic, &stun(1)].concat();
        let mut joined = meta(batch.len(), 24);
        port.divert(&mut batch, &mut joined);
        assert_eq!((joined.len, route.receive().await.bytes.to_vec()), (48, stun(1)));

        let mut first = [&stun(2)[..], &[0x41; 20], &[0x42; 7]].concat();
        let mut joined = meta(first.len(), 20);
        port.divert(&mut first, &mut joined);
        assert_eq!((joined.len, route.receive().await.bytes[1]), (27, 2));
        assert_eq!((&first[..20], &first[20..27]), (&[0x41; 20][..], &[0x42; 7][..]));
    }

    #[tokio::test]
    async fn routes_and_their_queues_are_bounded() {
        let port = UdpPort::bind("127.0.0.1:0".parse().expect("valid")).expect("free port");
        let mut route = port.route(|_, _| true).expect("room");
        let from = port.local_address().expect("bound");
        for _ in 0..limits::UDP_ROUTE_QUEUE + 10 {
            port.dispatch(&stun(1), from);
        }
        let mut waiting = 0;
        while route.queue.try_recv().is_ok() {
            waiting += 1;
        }
        assert_eq!(waiting, limits::UDP_ROUTE_QUEUE);
        let _more: Vec<Route> = (1..limits::UDP_ROUTES).map(|_| port.route(|_, _| false).expect("room")).collect();
        assert_eq!(port.route(|_, _| true).expect_err("full").kind(), ErrorKind::LimitReached);
    }
}
