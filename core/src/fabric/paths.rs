//! What the transports share with everything else on the same sockets: the UDP ports that QUIC listens on, and paths
//! that were made elsewhere (hole punching, TURN) and wait to become links. Not here: making either.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;
use tokio::io::DuplexStream;
use tokio::net::TcpStream;

use super::address;
use crate::base::limits;
use crate::net::udp::UdpPort;

/// A path to a peer that was made without the fabric; nothing on it is authenticated yet.
#[derive(Debug)]
pub enum Path {
    /// A connected TCP stream.
    Tcp(TcpStream),
    /// A UDP port from which datagrams reach the peer at `remote`, and the other way round. May be one of
    /// [`super::Fabric::udp_ports`].
    Udp {
        /// Our end.
        port: Arc<UdpPort>,
        /// Where the peer's datagrams come from.
        remote: SocketAddr,
    },
    /// A stream that passes through a Gun graph.
    Gun(DuplexStream),
    /// The same as `Udp` with a third, such as a TURN server, in between.
    Relayed {
        /// Our end.
        port: Arc<UdpPort>,
        /// Where the peer's datagrams come from: the third, or a port of this machine that leads to it.
        remote: SocketAddr,
    },
}

/// Shared by the handle, the swarm task and the transports.
#[derive(Debug, Default)]
pub struct Paths {
    ports: Mutex<Vec<Arc<UdpPort>>>,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    last: u64,
    paths: HashMap<u64, Path>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Paths {
    /// The UDP ports that QUIC listens on.
    pub fn ports(&self) -> Vec<Arc<UdpPort>> {
        locked(&self.ports).clone()
    }

    /// QUIC listens on this port now.
    pub fn add_port(&self, port: Arc<UdpPort>) {
        locked(&self.ports).push(port);
    }

    /// QUIC no longer listens on this port.
    pub fn remove_port(&self, port: &Arc<UdpPort>) {
        locked(&self.ports).retain(|known| !Arc::ptr_eq(known, port));
    }

    /// Keeps a path until a transport is told to dial the address that this gives: the real one, and a ticket.
    pub fn put(&self, path: Path) -> std::io::Result<(Multiaddr, Ticket<'_>)> {
        let address = match &path {
            Path::Tcp(stream) => address::tcp(stream.peer_addr()?),
            Path::Gun(_) => address::gun(),
            Path::Udp { remote, .. } | Path::Relayed { remote, .. } => address::quic(*remote),
        };
        let mut waiting = locked(&self.waiting);
        if waiting.paths.len() >= limits::MAX_WAITING_PATHS {
            return Err(std::io::Error::other("too many paths wait to become links"));
        }
        waiting.last += 1;
        let number = waiting.last;
        waiting.paths.insert(number, path);
        Ok((address.with(Protocol::Memory(number)), Ticket { paths: self, number }))
    }

    /// Takes the path of a ticket away.
    pub fn take(&self, ticket: u64) -> Option<Path> {
        locked(&self.waiting).paths.remove(&ticket)
    }

    /// Drops everything; the sockets close with their last user.
    pub fn clear(&self) {
        locked(&self.ports).clear();
        locked(&self.waiting).paths.clear();
    }
}

/// Holds a path's place. A path that no transport took when this is dropped is closed.
#[must_use = "dropping it closes the path"]
pub struct Ticket<'a> {
    paths: &'a Paths,
    number: u64,
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        self.paths.take(self.number);
    }
}

/// Splits the ticket off an address.
pub fn ticket(address: &Multiaddr) -> (Multiaddr, Option<u64>) {
    let mut rest = address.clone();
    // An address that was dialled for a known peer ends in that peer's id.
    if matches!(rest.iter().last(), Some(Protocol::P2p(_))) {
        rest.pop();
    }
    match rest.iter().last() {
        Some(Protocol::Memory(ticket)) => {
            rest.pop();
            (rest, Some(ticket))
        }
        _ => (address.clone(), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_path_waits_under_its_address_and_is_taken_once() {
        let paths = Paths::default();
        let port = UdpPort::bind("127.0.0.1:0".parse().expect("valid")).expect("free port");
        let remote = "127.0.0.1:9".parse().expect("valid");
        let (address, held) = paths.put(Path::Udp { port, remote }).expect("has an address");
        let dialled = address.clone().with(Protocol::P2p(libp2p::PeerId::random()));
        for address in [address, dialled] {
            let (rest, ticket) = ticket(&address);
            assert_eq!((rest.to_string().as_str(), ticket), ("/ip4/127.0.0.1/udp/9/quic-v1", Some(1)));
        }
        assert!(paths.take(1).is_some() && paths.take(1).is_none());
        drop(held);
        let plain: Multiaddr = "/ip4/127.0.0.1/tcp/9".parse().expect("valid");
        assert_eq!(ticket(&plain), (plain.clone(), None));
    }

    #[tokio::test]
    async fn untaken_paths_are_closed_and_bounded() {
        let paths = Paths::default();
        let path = || Path::Udp {
            port: UdpPort::bind("127.0.0.1:0".parse().expect("valid")).expect("free port"),
            remote: "127.0.0.1:9".parse().expect("valid"),
        };
        let held: Vec<_> = (0..limits::MAX_WAITING_PATHS).map(|_| paths.put(path()).expect("room")).collect();
        assert!(paths.put(path()).is_err());
        drop(held);
        assert!(locked(&paths.waiting).paths.is_empty());
    }
}
