//! The sockets towards the router: one for questions and answers, one for what routers tell everybody.
//! Not here: what the bytes mean.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;

use crate::base::limits;
use crate::nat::mapping::natpmp::{ANNOUNCEMENT_PORT, SERVER_PORT};
use crate::nat::mapping::{Family, Route};
use crate::net::interfaces;

/// Announcements in IPv4 go to all hosts of the link.
const ALL_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 1);
/// The same in IPv6.
const ALL_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// The sockets of one family.
#[derive(Debug)]
pub(super) struct Link {
    /// Connected to the router, so that nobody else is heard and closed ports are reported.
    questions: UdpSocket,
    /// `None` where the port cannot be had; restarts are then noticed later.
    announcements: Option<UdpSocket>,
}

/// What came in.
#[derive(Debug)]
pub(super) enum Heard {
    /// The router answers us.
    Answer(Vec<u8>),
    /// Somebody tells everybody.
    Announcement(IpAddr, Vec<u8>),
    /// The router's port is closed.
    Closed,
}

impl Link {
    /// Opens the sockets. Must be called inside a tokio runtime.
    pub(super) fn open(route: Route) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address((route.local, 0).into()), Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_nonblocking(true)?;
        socket.bind(&SocketAddr::new(route.local, 0).into())?;
        socket.connect(&interfaces::scoped(route.gateway, SERVER_PORT, route.scope).into())?;
        let announcements = announcements(route);
        if let Err(error) = &announcements {
            tracing::debug!(%error, "announcements of the router are not heard");
        }
        Ok(Self { questions: UdpSocket::from_std(socket.into())?, announcements: announcements.ok() })
    }

    /// Sends a question. False if the network says that the router cannot be reached.
    pub(super) async fn send(&self, bytes: &[u8]) -> bool {
        match self.questions.send(bytes).await {
            Ok(_) => true,
            Err(error) => {
                tracing::debug!(%error, "the router was not asked");
                false
            }
        }
    }

    /// The next thing heard. Cancel safe.
    pub(super) async fn receive(&self) -> Heard {
        let mut answer = [0; limits::MAX_MAPPING_DATAGRAM_BYTES];
        let mut told = [0; limits::MAX_MAPPING_DATAGRAM_BYTES];
        let announced = async {
            match &self.announcements {
                Some(socket) => socket.recv_from(&mut told).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            received = self.questions.recv(&mut answer) => match received {
                Ok(length) => Heard::Answer(answer[..length].to_vec()),
                Err(error) => {
                    tracing::debug!(%error, "the router does not listen");
                    Heard::Closed
                }
            },
            received = announced => match received {
                Ok((length, from)) => Heard::Announcement(from.ip(), told[..length].to_vec()),
                Err(error) => {
                    tracing::debug!(%error, "the socket for announcements");
                    // A pause keeps a broken socket from spinning.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    Heard::Announcement(IpAddr::V4(Ipv4Addr::UNSPECIFIED), Vec::new())
                }
            },
        }
    }
}

fn announcements(route: Route) -> io::Result<UdpSocket> {
    let family = Family::of(route.gateway);
    let domain = if family == Family::V4 { Domain::IPV4 } else { Domain::IPV6 };
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    // The port is shared with every other program on this machine that maps ports.
    socket.set_reuse_address(true)?;
    #[cfg(unix)]
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    let any: SocketAddr = if let (Family::V4, IpAddr::V4(local)) = (family, route.local) {
        // Every host is in this group from the start, so this only fails where there is no multicast.
        let _ = socket.join_multicast_v4(&ALL_V4, &local);
        (Ipv4Addr::UNSPECIFIED, ANNOUNCEMENT_PORT).into()
    } else {
        socket.set_only_v6(true)?;
        let _ = socket.join_multicast_v6(&ALL_V6, route.scope);
        (Ipv6Addr::UNSPECIFIED, ANNOUNCEMENT_PORT).into()
    };
    socket.bind(&any.into())?;
    UdpSocket::from_std(socket.into())
}
