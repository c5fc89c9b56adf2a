//! What the swarm is made of: transports, behaviours, limits, and where its tasks run. Not here: running it (`driver`).

use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;

use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::{Boxed, OptionalTransport, Transport};
use libp2p::core::upgrade::Version;
use libp2p::identity::Keypair;
use libp2p::swarm::NetworkBehaviour;
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::swarm::derive_prelude::Either;
use libp2p::{PeerId, Swarm, connection_limits, dcutr, identify};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::guard::Guard;
use super::optimistic::Habits;
use super::paths::Paths;
use super::quic::{self, Quic};
use super::table::Table;
use super::tls::Tls;
use super::{FabricConfig, carrier, liveness, relay, streams, tcp};
use crate::base::error::Result;
use crate::base::limits;

/// Everything that takes part in connections.
#[derive(NetworkBehaviour)]
pub struct Behaviour {
    pub guard: Guard,
    limits: connection_limits::Behaviour,
    identify: identify::Behaviour,
    relay_client: libp2p::relay::client::Behaviour,
    relay_server: Toggle<libp2p::relay::Behaviour>,
    dcutr: dcutr::Behaviour,
    pub candidates: relay::Candidates,
    // After these: it enters the connections that all others have accepted.
    streams: streams::Behaviour,
    // Last: it watches what was entered.
    pub liveness: liveness::Behaviour,
}

/// The tasks of a swarm.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    connections: TaskTracker,
    kill: CancellationToken,
    quic: quic::Tasks,
}

impl Tasks {
    /// Ends them, once the swarm is gone; at once those that are left when nobody waits for this call any longer.
    pub async fn end(&self) {
        self.kill.cancel();
        self.connections.close();
        tokio::join!(self.connections.wait(), self.quic.end());
    }
}

/// A connection whose other end has proven who it is.
type Secured = (PeerId, StreamMuxerBox);

/// Tells peers through identify which family of protocols we speak.
const PROTOCOL_VERSION: &str = "/dig/1";

/// A swarm that listens nowhere yet.
pub fn build(
    config: &FabricConfig,
    key: &Keypair,
    table: &Arc<Table>,
    paths: &Arc<Paths>,
    tasks: &Tasks,
) -> Result<Swarm<Behaviour>> {
    let tls = Tls::new(key)?;
    let habits = Arc::new(Habits::default());
    let quic = if config.quic {
        let quic = Quic::new(key, &tls, Arc::clone(paths), tasks.quic.clone())?;
        OptionalTransport::some(quic.map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer))).boxed())
    } else {
        OptionalTransport::none()
    };
    let tcp = if config.tcp {
        OptionalTransport::some(tcp::transport(key, tls.clone(), Arc::clone(paths), Arc::clone(&habits))?)
    } else {
        OptionalTransport::none()
    };
    let local = key.public().to_peer_id();
    let (circuits, relay_client) = libp2p::relay::client::new(local);
    let passages = tcp::connected(carrier::passages(Arc::clone(paths)), key, tls.clone(), Arc::clone(&habits))?;
    // Circuits first: the others would take the relay's address for the peer's.
    let transport = either(tcp::circuits(circuits, key, tls, habits)?, either(passages, either(tcp, quic)));

    let allowed = connection_limits::ConnectionLimits::default()
        .with_max_pending_incoming(Some(limits::MAX_PENDING_CONNECTIONS))
        .with_max_pending_outgoing(Some(limits::MAX_PENDING_CONNECTIONS))
        .with_max_established(Some(config.max_connections))
        .with_max_established_per_peer(Some(limits::MAX_CONNECTIONS_PER_PEER));
    let about = identify::Config::new(PROTOCOL_VERSION.to_owned(), key.public())
        .with_agent_version(format!("dig-nat-tools/{}", env!("CARGO_PKG_VERSION")))
        .with_cache_size(0);
    let behaviour = Behaviour {
        guard: Guard::new(Arc::clone(table)),
        limits: connection_limits::Behaviour::new(allowed),
        identify: identify::Behaviour::new(about),
        relay_client,
        relay_server: config.relay_server.then(|| libp2p::relay::Behaviour::new(local, relay::grants())).into(),
        dcutr: dcutr::Behaviour::new(local),
        candidates: relay::Candidates::default(),
        streams: streams::Behaviour::new(Arc::clone(table)),
        liveness: liveness::Behaviour::new(Arc::clone(table)),
    };

    let Tasks { connections: spawner, kill: killer, .. } = tasks.clone();
    let swarm_config = libp2p::swarm::Config::with_executor(move |task| {
        spawner.spawn(killer.clone().run_until_cancelled_owned(task));
    })
    .with_idle_connection_timeout(limits::IDLE_CONNECTION_TIMEOUT)
    .with_max_negotiating_inbound_streams(limits::NEGOTIATING_STREAMS_PER_CONNECTION)
    .with_notify_handler_buffer_size(NonZeroUsize::new(32).expect("not zero"))
    // Same bytes on the wire, but the proposal travels with the first data instead of waiting for the answer.
    .with_substream_upgrade_protocol_override(Version::V1Lazy);
    Ok(Swarm::new(transport, behaviour, local, swarm_config))
}

/// The first of two transports that takes an address. What they give and how they fail is taken out of libp2p's `Either`,
/// whose `source` would hide the cause.
fn either<A, B>(one: A, other: B) -> Boxed<Secured>
where
    A: Transport<Output = Secured, Error = io::Error, Dial: Send, ListenerUpgrade: Send> + Send + Unpin + 'static,
    B: Transport<Output = Secured, Error = io::Error, Dial: Send, ListenerUpgrade: Send> + Send + Unpin + 'static,
{
    one.or_transport(other)
        .map(|either, _| either.into_inner())
        .map_err(|either| match either {
            Either::Left(error) | Either::Right(error) => error,
        })
        .boxed()
}
