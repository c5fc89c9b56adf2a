//! What quinn sends and receives on: one of our UDP ports. Not here: the port itself (`net::udp`).

use std::fmt;
use std::future::Future;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};

use crate::net::udp::UdpPort;

/// A UDP port as quinn sees it: without the STUN datagrams.
#[derive(Debug)]
pub struct PortSocket(pub Arc<UdpPort>);

impl AsyncUdpSocket for PortSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Writable { port: Arc::clone(&self.0), waiting: None })
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.0.try_transmit(transmit)
    }

    fn poll_recv(
        &self,
        context: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        self.0.poll_receive(context, buffers, meta)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_address()
    }

    fn max_transmit_segments(&self) -> usize {
        self.0.offload().0
    }

    fn max_receive_segments(&self) -> usize {
        self.0.offload().1
    }

    fn may_fragment(&self) -> bool {
        self.0.offload().2
    }
}

/// Waits for room in the socket's buffer, for one of quinn's tasks.
struct Writable {
    port: Arc<UdpPort>,
    waiting: Option<Pin<Box<dyn Future<Output = io::Result<()>> + Send + Sync>>>,
}

impl UdpPoller for Writable {
    fn poll_writable(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let port = Arc::clone(&self.port);
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(async move { port.writable().await }));
        let ready = waiting.as_mut().poll(context);
        if ready.is_ready() {
            self.waiting = None;
        }
        ready
    }
}

impl fmt::Debug for Writable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writable").field("port", &self.port).finish_non_exhaustive()
    }
}
