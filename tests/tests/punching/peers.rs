//! Two peers and what connects them. Not here: what is tested.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use dig_nat_core::base::time::Time;
use dig_nat_core::nat::policy::Scope;
use dig_nat_core::nat::profile::{Filtering, Mapping, NatProfile, PortAllocation};
use dig_nat_core::nat::punch::Side;
use dig_nat_core::nat::punch::driver::{
    Attempt, Failure, Local, LocalPort, NoServers, Observer, Outcome, PunchedTcp, PunchedUdp, punch_tcp, punch_udp,
};
use dig_nat_core::nat::punch::message::NatSummary;
use dig_nat_core::nat::punch::plan::History;
use dig_nat_core::nat::punch::prediction::Observation;
use dig_nat_core::nat::signal::{MemorySignal, Signal};
use dig_nat_core::net::tcp::TcpPort;
use dig_nat_core::net::udp::UdpPort;
use dig_nat_core::{Error, Result};
use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;

/// Longer than anything here may take; only a hang reaches it.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub fn home() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

pub fn port() -> LocalPort {
    LocalPort { port: UdpPort::bind(home()).expect("a free port"), driven: false }
}

pub fn nat(mapping: Mapping, allocation: PortAllocation) -> NatSummary {
    let (mapping, allocation) = (Some(mapping), Some(allocation));
    let filtering = Some(Filtering::AddressAndPortDependent);
    NatSummary::new(&NatProfile { mapping, filtering, allocation, ..NatProfile::default() })
}

pub fn strict() -> NatSummary {
    nat(Mapping::EndpointIndependent, PortAllocation::Preserving)
}

/// Tells for each measurement, in order, how far the seen ports lie from the true one; the last entry for all later
/// ones.
pub struct Tale(pub Vec<Vec<i32>>);

impl Tale {
    fn tell(&mut self, local: SocketAddr) -> Vec<Observation> {
        let distances = if self.0.len() > 1 { self.0.remove(0) } else { self.0[0].clone() };
        let seen = |(index, distance): (usize, i32)| Observation {
            at: Time::from_micros(index as u64),
            local_port: local.port(),
            destination: SocketAddr::from(([127, 0, 0, 1], 3478 + index as u16)),
            external: SocketAddr::new(local.ip(), (i32::from(local.port()) + distance) as u16),
        };
        distances.into_iter().enumerate().map(seen).collect()
    }
}

impl Observer for Tale {
    fn udp<'a>(&'a mut self, port: &'a Arc<UdpPort>) -> BoxFuture<'a, Vec<Observation>> {
        let seen = self.tell(port.local_address().expect("bound"));
        Box::pin(async move { seen })
    }

    fn tcp<'a>(&'a mut self, port: &'a TcpPort) -> BoxFuture<'a, Vec<Observation>> {
        let seen = self.tell(port.local_address());
        Box::pin(async move { seen })
    }
}

/// One side of an attempt.
pub struct Peer {
    pub side: Side,
    pub nat: NatSummary,
    pub observer: Box<dyn Observer>,
    pub history: History,
    pub scope: Scope,
    pub signal: MemorySignal,
    pub cancel: CancellationToken,
}

/// Both sides of an attempt; strict NATs, nothing tried yet.
pub fn peers() -> (Peer, Peer) {
    let (here, there) = MemorySignal::pair();
    let peer = |side, signal| Peer {
        side,
        nat: strict(),
        observer: Box::new(NoServers),
        history: History::default(),
        scope: Scope::Machine,
        signal,
        cancel: CancellationToken::new(),
    };
    (peer(Side::Initiator, here), peer(Side::Responder, there))
}

impl Peer {
    fn parts(&mut self) -> (Local<'_>, &mut dyn Signal, &CancellationToken) {
        let local = Local {
            side: self.side,
            nat: self.nat,
            known: Vec::new(),
            observer: &mut *self.observer,
            history: &mut self.history,
            scope: self.scope,
            signal_timeout: Duration::from_secs(2),
        };
        (local, &mut self.signal, &self.cancel)
    }

    pub async fn udp(&mut self, ports: Vec<LocalPort>) -> Result<PunchedUdp> {
        let (local, signal, cancel) = self.parts();
        in_time(punch_udp(ports, local, signal, cancel)).await
    }

    pub async fn tcp(&mut self) -> Result<PunchedTcp> {
        let (local, signal, cancel) = self.parts();
        in_time(punch_tcp(vec![home()], local, signal, cancel)).await
    }
}

/// What comes in time; a hang fails the test.
pub async fn in_time<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.expect("nothing hangs")
}

/// The log in an error.
pub fn log(error: &Error) -> Vec<Attempt> {
    let source = std::error::Error::source(error).expect("a cause");
    source.downcast_ref::<Failure>().expect("the log").log.clone()
}

/// Why a round failed.
pub fn reason(attempt: &Attempt) -> &str {
    match &attempt.outcome {
        Outcome::Failed { reason } => reason,
        Outcome::Connected { remote } => panic!("connected to {remote}"),
    }
}

/// Both ends of a path belong together.
pub fn assert_agree(one: &PunchedUdp, two: &PunchedUdp) {
    assert_eq!(one.remote, two.port.local_address().expect("bound"));
    assert_eq!(two.remote, one.port.local_address().expect("bound"));
    assert_ne!(one.controlling, two.controlling);
    for log in [&one.log, &two.log] {
        assert!(matches!(log.last().expect("a round").outcome, Outcome::Connected { .. }));
    }
}
