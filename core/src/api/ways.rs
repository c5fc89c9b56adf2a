//! Starts the ways of discovery that a node's options ask for. Not here: the ways (`discovery`), and when a node starts.

use super::reachability::Reachability;
use crate::base::options::NodeOptions;
use crate::discovery::local::LocalConfig;
use crate::discovery::manager::PeerDiscovery;
use crate::discovery::pex::PexConfig;
use crate::discovery::pex::driver::PeerExchange;
use crate::fabric::Fabric;

/// What the ways of one node need.
pub(super) struct Ways<'a> {
    pub options: &'a NodeOptions,
    pub fabric: &'a Fabric,
    pub discovery: &'a PeerDiscovery,
    pub reachability: &'a Reachability,
    /// Whether this node serves anybody: who does not need not be found.
    pub serves: bool,
}

impl Ways<'_> {
    /// Starts the local network's way. What cannot work becomes a warning.
    pub(super) async fn local(&self) {
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

    /// Starts peer exchange, which downloads and served peers take part in.
    pub(super) async fn exchange(&self) -> PeerExchange {
        let own = self.serves.then(|| self.reachability.own().clone());
        let config = PexConfig { enabled: self.options.pex_enabled, ..PexConfig::default() };
        let exchange = PeerExchange::new(config, self.fabric.local_peer(), own);
        if self.options.pex_enabled {
            self.discovery.register(std::sync::Arc::new(exchange.clone())).await;
        }
        exchange
    }
}
