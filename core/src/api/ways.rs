//! Starts the ways of discovery that a node's options ask for. Not here: the ways (`discovery`), and when a node starts.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::events::EventBus;
use super::reachability::Reachability;
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::events::{ErrorRecord, Event};
use crate::base::limits;
use crate::base::node_type::NodeType;
use crate::base::options::NodeOptions;
use crate::base::random::Jitter;
use crate::discovery::dht::shard::Shard;
use crate::discovery::dht::{Dht, DhtConfig, DhtStatus, Network};
use crate::discovery::gun::{GunConfig, GunDiscovery};
use crate::discovery::local::LocalConfig;
use crate::discovery::manager::PeerDiscovery;
use crate::discovery::own::Own;
use crate::discovery::pex::PexConfig;
use crate::discovery::pex::driver::PeerExchange;
use crate::fabric::Fabric;
use crate::gun::{GunBackend, GunClient, GunClientConfig};
use crate::nat::policy::{Refusal, Scope, judge};

/// Bits of one hex digit.
const DIGIT_BITS: u32 = 4;

/// What the ways of one node need.
pub(super) struct Starter<'a> {
    pub options: &'a NodeOptions,
    pub kind: NodeType,
    pub fabric: &'a Fabric,
    pub discovery: &'a PeerDiscovery,
    pub reachability: &'a Reachability,
    /// A Gun graph that the program has handed over; used instead of relays.
    pub graph: Option<Arc<dyn GunBackend>>,
    /// Whether this node serves anybody: who does not need not be found.
    pub serves: bool,
}

/// The ways that are used for more than finding peers.
#[derive(Clone)]
pub(super) struct Ways {
    pub exchange: PeerExchange,
    pub dht: Option<Arc<Dht>>,
    pub gun: Option<Arc<GunDiscovery>>,
    /// The links to relays that end with the node. A graph that was handed over is the program's.
    client: Option<Arc<GunClient>>,
}

impl Starter<'_> {
    /// Starts all that are switched on. One that cannot work for now becomes a warning; an option that can never work is
    /// an error.
    pub(super) async fn start(&self) -> Result<Ways> {
        // What can be wrong comes first, before anything runs.
        let dht = self.options.dht_enabled.then(|| self.dht_config()).transpose()?;
        let client = self.gun_client()?;
        let own = client.clone().map(|client| client as Arc<dyn GunBackend>);
        let graph = self.graph.clone().filter(|_| self.options.gun_enabled).or(own);
        self.local().await;
        let exchange = self.exchange();
        let mut ways = Ways { exchange, dht: None, gun: None, client };
        if let Some(config) = dht {
            let server = self.reachability.reachable();
            let dht = Dht::start(self.fabric.clone(), self.own(), server, config).await?;
            let dht = Arc::new(dht);
            self.discovery.register(dht.clone()).await;
            ways.dht = Some(dht);
        }
        if let Some(backend) = graph {
            self.talk_over(backend.clone());
            let gun = Arc::new(GunDiscovery::start(self.gun_config(), self.own(), backend).await?);
            self.discovery.register(gun.clone()).await;
            ways.gun = Some(gun);
        }
        Ok(ways)
    }

    async fn local(&self) {
        if !self.options.local_enabled {
            return;
        }
        let config = LocalConfig {
            peer_id: self.fabric.local_peer(),
            port: if self.serves { self.fabric.port() } else { 0 },
            tcp: self.options.enable_tcp,
            udp: self.options.enable_udp,
            interfaces: self.options.interfaces.clone(),
            ipv6: self.options.enable_ipv6,
        };
        self.discovery.start_local(config).await;
    }

    /// Not a source of its own: it has nobody to ask before there is a session, so downloads listen to it.
    fn exchange(&self) -> PeerExchange {
        let own = self.serves.then(|| self.own());
        let config = pex_config(self.options);
        PeerExchange::new(config, self.fabric.local_peer(), own)
    }

    fn dht_config(&self) -> Result<DhtConfig> {
        let options = self.options;
        let private = options.local_only || !options.bootstrap_nodes.is_empty();
        let network = match options.dht_network.as_deref() {
            Some("public") if options.local_only => {
                return Err(Error::invalid("dhtNetwork", "localOnly keeps this node out of the public hash table"));
            }
            Some("public") => Network::Public,
            Some(_) => Network::Private,
            None if private => Network::Private,
            None => Network::Public,
        };
        let bootstrap =
            if options.bootstrap_nodes.is_empty() { network.bootstrap() } else { options.bootstrap_nodes.clone() };
        for node in &bootstrap {
            crate::fabric::check_target(node)
                .map_err(|cause| Error::with_source(ErrorKind::InvalidArgument, "bootstrapNodes", cause))?;
        }
        let records = match self.kind {
            NodeType::Light => limits::DHT_RECORDS_LIGHT,
            NodeType::Standard => limits::DHT_RECORDS_STANDARD,
            NodeType::Super => limits::DHT_RECORDS_SUPER,
        };
        let file: Option<PathBuf> = options.state_dir().map(|dir| dir.join("dht.state"));
        Ok(DhtConfig { network, bootstrap, records, shards: self.shards()?, file })
    }

    fn shards(&self) -> Result<Vec<Shard>> {
        let options = self.options;
        if !options.is_shard_host && options.shard_prefixes.is_empty() {
            return Ok(Vec::new());
        }
        if options.shard_prefixes.is_empty() {
            let mut jitter = Jitter::from_seed(rand::random());
            let bits = (options.shard_prefix_length * DIGIT_BITS) as u8;
            return Ok(Shard::random(options.num_shard_prefixes as usize, bits, &mut jitter));
        }
        let parse = |text: &String| {
            let named = |cause| Error::with_source(ErrorKind::InvalidArgument, "shardPrefixes", cause);
            text.parse().map_err(named)
        };
        options.shard_prefixes.iter().map(parse).collect()
    }

    fn gun_config(&self) -> GunConfig {
        let options = self.options;
        GunConfig {
            node_id: options.gun_node_id.clone(),
            namespace: options.gun_namespace.clone(),
            peer_map_name: options.gun_peer_map_name.clone(),
            content_map_name: options.gun_content_map_name.clone(),
            announce_interval: Duration::from_millis(options.gun_announce_interval_ms),
            announce_ttl: Duration::from_millis(options.gun_announce_ttl_ms).min(limits::MAX_ANNOUNCEMENT_TTL),
            peer_ttl: Duration::from_millis(options.gun_peer_ttl_ms).min(limits::MAX_ANNOUNCEMENT_TTL),
            cleanup_interval: Duration::from_millis(options.gun_cleanup_interval_ms),
            max_cached_peers: options.gun_max_cached_peers,
            persistence_dir: options.state_dir(),
            ..GunConfig::default()
        }
    }

    fn gun_client(&self) -> Result<Option<Arc<GunClient>>> {
        if !self.options.gun_enabled || self.options.gun_peers.is_empty() || self.graph.is_some() {
            return Ok(None);
        }
        let config = GunClientConfig { peers: self.options.gun_peers.clone(), ..GunClientConfig::default() };
        let named = |cause| Error::with_source(ErrorKind::InvalidArgument, "gunPeers", cause);
        GunClient::start(config).map(Some).map_err(named)
    }

    /// Peers that no relay leads to are asked through the same graph.
    fn talk_over(&self, backend: Arc<dyn GunBackend>) {
        let near = self.options.gun_peers.iter().map(|url| near(url)).min().unwrap_or_default();
        // A relay of our own may serve everybody, whatever we call it.
        let near = if self.options.local_only { near } else { Scope::Internet };
        let letters = self.options.state_dir().map(|dir| dir.join("gun-letters.json"));
        if let Err(error) = self.reachability.connector().talk_over(backend, near, letters) {
            tracing::warn!(error = %error.full_message(), "no signalling over Gun");
        }
    }

    fn own(&self) -> Own {
        self.reachability.own().clone()
    }
}

/// No peer is told more often than it expects.
fn pex_config(options: &NodeOptions) -> PexConfig {
    let interval = Duration::from_millis(options.pex_interval_ms).max(limits::PEX_INTERVAL);
    let local_only = options.local_only;
    PexConfig { enabled: options.pex_enabled, interval, local_only, ..PexConfig::default() }
}

impl Ways {
    /// Why nobody will be found: Gun is all there is, and nothing leads to it.
    pub(super) fn lacks_gun(&self, options: &NodeOptions) -> Option<Error> {
        let others = options.local_enabled || options.dht_enabled || options.pex_enabled;
        let lacking = options.gun_enabled && self.gun.is_none() && !others;
        let problem = "no relay is named and no database was handed over, so nobody is found: there is no other way";
        lacking.then(|| Error::invalid("gunPeers", problem))
    }

    /// Ends what the sources do not end themselves; call it when they are stopped.
    pub(super) async fn stop(&self) {
        self.exchange.stop();
        if let Some(client) = &self.client {
            client.stop().await;
        }
    }
}

/// How near whoever uses a Gun relay must be: one at a loopback address serves this machine, one at a private address this
/// network.
pub(super) fn near(url: &str) -> Scope {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = rest.split(['/', '?']).next().unwrap_or_default();
    let ip = host.parse::<SocketAddr>().map(|at| at.ip()).or_else(|_| host.trim_matches(['[', ']']).parse::<IpAddr>());
    match ip.map(judge) {
        Ok(Err(Refusal::Loopback)) => Scope::Machine,
        Ok(Err(Refusal::Private)) => Scope::Site,
        _ => Scope::Internet,
    }
}

/// Says once of every bootstrap node that it cannot be reached.
pub(super) async fn tell_of_bootstrap(mut status: watch::Receiver<DhtStatus>, events: EventBus) {
    let mut told = BTreeSet::new();
    loop {
        let unreachable = status.borrow_and_update().unreachable.clone();
        for (node, reason) in unreachable {
            if told.insert(node.clone()) {
                let text = format!("bootstrap node {node}: {reason}");
                let error = Error::new(ErrorKind::PeerUnreachable, text);
                events.send(Event::Warning { error: ErrorRecord::from(&error) });
            }
        }
        if status.changed().await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_are_told_of_others_as_often_as_wanted_but_not_more_often_than_they_expect() {
        let options = NodeOptions { local_only: false, ..NodeOptions::default() };
        let interval = |ms| pex_config(&NodeOptions { pex_interval_ms: ms, ..options.clone() }).interval;
        assert_eq!(pex_config(&options), PexConfig::default());
        assert_eq!((interval(600_000), interval(1000)), (Duration::from_secs(600), limits::PEX_INTERVAL));
    }

    #[test]
    fn a_relay_says_how_near_its_users_are() {
        for url in ["ws://127.0.0.1:8765/gun", "http://127.0.0.1/gun", "ws://[::1]:1", "[::1]:2/gun?x=1"] {
            assert_eq!(near(url), Scope::Machine, "{url}");
        }
        assert_eq!((near("ws://192.168.1.2:80/gun"), near("http://10.0.0.1")), (Scope::Site, Scope::Site));
        for url in ["https://gun.example/gun", "ws://8.8.8.8:1/gun", "ws://127.0.0.1.example/gun", "", "127.0.0.1@x:1"]
        {
            assert_eq!(near(url), Scope::Internet, "{url}");
        }
    }
}
