//! Learns what the internet sees of a socket from STUN servers, one after the other. Not here: what follows from it
//! (`prediction`).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use futures::future::BoxFuture;

use super::Observer;
use crate::base::limits;
use crate::base::time::Time;
use crate::nat::punch::prediction::Observation;
use crate::nat::stun::driver::{query, query_over_tcp};
use crate::net::tcp::TcpPort;
use crate::net::udp::UdpPort;

/// Asks these servers in order. Three or more, or several ports of one, show how a NAT chooses ports.
#[derive(Clone, Debug)]
pub struct StunServers {
    servers: Vec<SocketAddr>,
    started: Instant,
}

impl StunServers {
    /// Servers of both families may be mixed; those of the other family than a port's are left out for it.
    pub fn new(servers: Vec<SocketAddr>) -> Self {
        Self { servers, started: Instant::now() }
    }

    fn now(&self) -> Time {
        Time::ZERO + self.started.elapsed()
    }

    fn fitting(&self, local: SocketAddr) -> impl Iterator<Item = SocketAddr> {
        let fits = move |server: &&SocketAddr| server.is_ipv4() == local.is_ipv4();
        self.servers.iter().filter(fits).take(limits::PUNCH_OBSERVED_SERVERS).copied()
    }
}

impl Observer for StunServers {
    fn udp<'a>(&'a mut self, port: &'a Arc<UdpPort>) -> BoxFuture<'a, Vec<Observation>> {
        Box::pin(async move {
            let Ok(local) = port.local_address() else { return Vec::new() };
            let mut seen = Vec::new();
            for server in self.fitting(local) {
                match query(port, server, limits::PUNCH_OBSERVE_TIMEOUT).await {
                    Ok(external) => seen.push(self.observed(local, server, external)),
                    Err(error) => tracing::debug!(%server, %error, "hole punching: no observation"),
                }
            }
            seen
        })
    }

    fn tcp<'a>(&'a mut self, port: &'a TcpPort) -> BoxFuture<'a, Vec<Observation>> {
        Box::pin(async move {
            let local = port.local_address();
            let mut seen = Vec::new();
            for server in self.fitting(local) {
                let asked = query_over_tcp(port.connect(server), server, limits::PUNCH_OBSERVE_TIMEOUT).await;
                match asked {
                    Ok(external) => seen.push(self.observed(local, server, external)),
                    Err(error) => tracing::debug!(%server, %error, "hole punching: no observation over TCP"),
                }
            }
            seen
        })
    }
}

impl StunServers {
    fn observed(&self, local: SocketAddr, destination: SocketAddr, external: SocketAddr) -> Observation {
        Observation { at: self.now(), local_port: local.port(), destination, external }
    }
}
