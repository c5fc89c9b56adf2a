//! The options of a light node as records in which everything has a default.
//! Not here: the defaults and ranges, which are core's. A test compares the fields with core's tables.

use dig_nat_core::base::options as core;
use dig_nat_core::base::options::FromJson;

use crate::errors::Result;

/// A TURN server.
#[derive(Clone, Debug, Default, PartialEq, Eq, uniffi::Record)]
pub struct TurnServer {
    /// URLs of the same server: `turn:host[:port][?transport=tcp]` or `turns:host[:port]`.
    pub urls: Vec<String>,
    /// User name. Default none.
    #[uniffi(default = None)]
    pub username: Option<String>,
    /// Password. Default none.
    #[uniffi(default = None)]
    pub credential: Option<String>,
}

impl From<TurnServer> for core::TurnServerOption {
    fn from(server: TurnServer) -> Self {
        Self { urls: server.urls, username: server.username, credential: server.credential }
    }
}

/// Options of a light node. Everything that is not set has its default.
#[derive(Clone, Debug, Default, uniffi::Record)]
pub struct LightNodeOptions {
    /// TCP and UDP port to listen on. Default 0: a free port chosen by the system, the same for both.
    #[uniffi(default = None)]
    pub port: Option<u16>,
    /// Listen on IPv6 as well as IPv4 and dial both. Default false.
    #[uniffi(default = None)]
    pub enable_ipv6: Option<bool>,
    /// Dial IPv6 addresses of a peer before its IPv4 addresses. Default true; it does nothing without `enable_ipv6`.
    #[uniffi(default = None)]
    pub prefer_ipv6: Option<bool>,
    /// Accept and dial TCP connections. Default true.
    #[uniffi(default = None)]
    pub enable_tcp: Option<bool>,
    /// Accept and dial QUIC (UDP) connections. Default true.
    #[uniffi(default = None)]
    pub enable_udp: Option<bool>,
    /// Find peers on the local network by multicast DNS. Default true.
    #[uniffi(default = None)]
    pub local_enabled: Option<bool>,
    /// Find peers in the distributed hash table. Default true.
    #[uniffi(default = None)]
    pub dht_enabled: Option<bool>,
    /// The hash table to take part in: `public` (libp2p and IPFS) or `private` (nodes of this library). Default: public
    /// without bootstrap nodes, private with them or when `local_only` is set.
    #[uniffi(default = None)]
    pub dht_network: Option<String>,
    /// Nodes (`host:port` or multiaddrs) by which this one joins the hash table. Default empty: the well-known ones of
    /// the public table.
    #[uniffi(default = [])]
    pub bootstrap_nodes: Vec<String>,
    /// Hear from connected peers of others that have the same content. Default true.
    #[uniffi(default = None)]
    pub pex_enabled: Option<bool>,
    /// Pause between two messages of peer exchange to one peer in milliseconds, 1000 to 86400000; less than a minute counts as
    /// a minute. Default 60000.
    #[uniffi(default = None)]
    pub pex_interval_ms: Option<u64>,
    /// Find peers through Gun relays. Default true; it does nothing without `gun_peers`.
    #[uniffi(default = None)]
    pub gun_enabled: Option<bool>,
    /// Gun relays (`https://host/gun`, `ws://host:port/gun`). Default none.
    #[uniffi(default = [])]
    pub gun_peers: Vec<String>,
    /// Node of the Gun graph below which everything stands. Default none: the two below are roots.
    #[uniffi(default = None)]
    pub gun_namespace: Option<String>,
    /// Node of the Gun graph below which peers stand. Default `dig-peers`.
    #[uniffi(default = None)]
    pub gun_peer_map_name: Option<String>,
    /// Node of the Gun graph below which content ids stand. Default `dig-content-maps`.
    #[uniffi(default = None)]
    pub gun_content_map_name: Option<String>,
    /// How long unsigned records of others hold that do not say so, in ms; longer than 48 h counts as 48 h. Default
    /// 3600000, range 1000 to 31536000000.
    #[uniffi(default = None)]
    pub gun_peer_ttl_ms: Option<u64>,
    /// Peers that Gun names for one content which are remembered; more than 100 counts as 100. Default 100, range 1 to
    /// 1000000.
    #[uniffi(default = None)]
    pub gun_max_cached_peers: Option<u32>,
    /// Contact nothing but the local network and addresses given by the user. Default false.
    #[uniffi(default = None)]
    pub local_only: Option<bool>,
    /// Interfaces (names or addresses) used for listening and local discovery. Default all.
    #[uniffi(default = None)]
    pub interfaces: Option<Vec<String>>,
    /// Directory for state that outlives the process (identity). Default none: nothing is kept.
    #[uniffi(default = None)]
    pub persistence_dir: Option<String>,
    /// Keep state in `persistence_dir`. Default: true when that is set.
    #[uniffi(default = None)]
    pub enable_persistence: Option<bool>,
    /// How much this node remembers of others: `light`, `standard` or `super`. Default `light`.
    #[uniffi(default = None)]
    pub node_type: Option<String>,
    /// Peers remembered in all. Default 0: by `node_type`. Range 1 to 100000.
    #[uniffi(default = None)]
    pub max_known_peers: Option<u32>,
    /// Contents for which peers are remembered. Default 0: by `node_type`. Range 1 to 10000.
    #[uniffi(default = None)]
    pub max_cached_hashes: Option<u32>,
    /// Peers remembered of one content. Default 0: by `node_type`. Range 1 to 1000.
    #[uniffi(default = None)]
    pub max_cached_peers_per_hash: Option<u32>,
    /// Connections held at once. Default 1000, range 1 to 100000.
    #[uniffi(default = None)]
    pub max_connections: Option<u32>,
    /// Download limit of the whole node in bytes per second. Default 0: none.
    #[uniffi(default = None)]
    pub download_limit: Option<u64>,
    /// Download limit per peer in bytes per second. Default 0: none.
    #[uniffi(default = None)]
    pub peer_download_limit: Option<u64>,
    /// STUN servers (`host:port` or `stun:host:port`) that tell this node its public address and the kind of NAT in front
    /// of it. Default empty: three public ones, or none when `local_only` is set.
    #[uniffi(default = [])]
    pub stun_servers: Vec<String>,
    /// TURN servers over which peers are reached when nothing else works; the first one is used. Default none.
    #[uniffi(default = [])]
    pub turn_servers: Vec<TurnServer>,
    /// Ask the router by UPnP to forward the port. Default true; never done when `local_only` is set.
    #[uniffi(default = None)]
    pub enable_upnp: Option<bool>,
    /// Ask the router by PCP and NAT-PMP to forward the port. Default true; never done when `local_only` is set.
    #[uniffi(default = None)]
    pub enable_natpmp: Option<bool>,
    /// Lifetime asked for port mappings, which are renewed at half of it, in seconds. Default 3600, range 120 to 86400.
    #[uniffi(default = None)]
    pub port_mapping_lifetime_s: Option<u32>,
    /// Relays (multiaddrs with their peer id) through which this node can be reached while it cannot directly. Default
    /// none.
    #[uniffi(default = [])]
    pub relays: Vec<String>,
    /// Directory for downloads that are given no path. Default the current directory, which apps seldom can write to.
    #[uniffi(default = None)]
    pub download_dir: Option<String>,
    /// Time for the first answer of a peer, in ms. Default 30000, range 100 to 3600000.
    #[uniffi(default = None)]
    pub request_timeout_ms: Option<u64>,
    /// Keep looking for further peers while a download runs. Default true.
    #[uniffi(default = None)]
    pub enable_continuous_discovery: Option<bool>,
    /// Peers one download uses at once. Default 10, range 1 to 500.
    #[uniffi(default = None)]
    pub max_peers: Option<u32>,
}

/// Options of one download. Everything that is not set has its default.
#[derive(Clone, Debug, Default, uniffi::Record)]
pub struct DownloadOptions {
    /// Target file. Default: `output_dir` and the name the peers offer, made safe, else the hash.
    #[uniffi(default = None)]
    pub save_path: Option<String>,
    /// Target directory when `save_path` is not given. Default: the node's `download_dir`.
    #[uniffi(default = None)]
    pub output_dir: Option<String>,
    /// Peers to ask: `host:port`, multiaddr, or peer id. Default none: discovery finds them.
    #[uniffi(default = [])]
    pub peers: Vec<String>,
    /// Peers used at once. Default: the node's `max_peers`. Range 1 to 500.
    #[uniffi(default = None)]
    pub max_peers: Option<u32>,
    /// Give up when no peer that has the content was found for so long, in ms. Default 30000, range 1 to 86400000.
    #[uniffi(default = None)]
    pub timeout_ms: Option<u64>,
    /// Search for peers besides those given. Default: the node's `enable_continuous_discovery`.
    #[uniffi(default = None)]
    pub discover: Option<bool>,
    /// Download limit in bytes per second. Default 0: none.
    #[uniffi(default = None)]
    pub download_limit: Option<u64>,
    /// Replace an existing target file whose content differs. Default true.
    #[uniffi(default = None)]
    pub overwrite: Option<bool>,
}

/// Options of looking at the NAT in front of this device. Everything that is not set has its default.
#[derive(Clone, Debug, Default, uniffi::Record)]
pub struct NatOptions {
    /// STUN servers (`host:port` or `stun:host:port`) to ask. Default empty: three public ones, or none when `local_only`
    /// is set.
    #[uniffi(default = [])]
    pub stun_servers: Vec<String>,
    /// Time for everything in ms. Default 5000, range 100 to 60000.
    #[uniffi(default = None)]
    pub timeout_ms: Option<u64>,
    /// Look at IPv6 as well as IPv4. Default false.
    #[uniffi(default = None)]
    pub enable_ipv6: Option<bool>,
    /// Ask the router for its external address too, by PCP and NAT-PMP. Default true; never done when `local_only` is set.
    #[uniffi(default = None)]
    pub use_natpmp: Option<bool>,
    /// Contact nothing but the local network and addresses given by the user. Default false.
    #[uniffi(default = None)]
    pub local_only: Option<bool>,
}

/// A port mapping to be made or deleted at the router by UPnP. Everything that is not set has its default.
#[derive(Clone, Debug, Default, uniffi::Record)]
pub struct MappingOptions {
    /// This device's port, range 1 to 65535. It has to be given to make a mapping.
    #[uniffi(default = None)]
    pub internal_port: Option<u16>,
    /// The router's port. Default: the same as this device's.
    #[uniffi(default = None)]
    pub external_port: Option<u16>,
    /// `TCP` or `UDP`. Default `TCP`.
    #[uniffi(default = None)]
    pub protocol: Option<String>,
    /// What the router shows beside the mapping. Default `dig-nat-tools`.
    #[uniffi(default = None)]
    pub description: Option<String>,
    /// How long the router keeps it, in seconds. Default 7200, range 1 to 604800.
    #[uniffi(default = None)]
    pub ttl_s: Option<u32>,
    /// Time for the router's answers in ms. Default 5000, range 100 to 60000.
    #[uniffi(default = None)]
    pub timeout_ms: Option<u64>,
}

/// Options of a search for peers. Everything that is not set has its default.
#[derive(Clone, Copy, Debug, Default, uniffi::Record)]
pub struct FindOptions {
    /// Stop after so many peers. Default 50, range 1 to 1000.
    #[uniffi(default = None)]
    pub max_peers: Option<u32>,
    /// Time of the search in ms. Default 5000, range 1 to 3600000.
    #[uniffi(default = None)]
    pub timeout_ms: Option<u64>,
}

fn set<T>(option: &mut T, value: Option<impl Into<T>>) {
    if let Some(value) = value {
        *option = value.into();
    }
}

fn set_count(option: &mut usize, value: Option<u32>) {
    set(option, value.map(|value| value as usize));
}

impl LightNodeOptions {
    pub(crate) fn into_core(self) -> Result<(core::NodeOptions, core::ClientOptions)> {
        let mut node = core::NodeOptions { light_node: true, ..core::NodeOptions::default() };
        set(&mut node.port, self.port);
        set(&mut node.enable_ipv6, self.enable_ipv6);
        set(&mut node.prefer_ipv6, self.prefer_ipv6);
        set(&mut node.enable_tcp, self.enable_tcp);
        set(&mut node.enable_udp, self.enable_udp);
        set(&mut node.local_enabled, self.local_enabled);
        set(&mut node.dht_enabled, self.dht_enabled);
        node.dht_network = self.dht_network;
        node.bootstrap_nodes = self.bootstrap_nodes;
        set(&mut node.pex_enabled, self.pex_enabled);
        set(&mut node.pex_interval_ms, self.pex_interval_ms);
        set(&mut node.gun_enabled, self.gun_enabled);
        node.gun_peers = self.gun_peers;
        node.gun_namespace = self.gun_namespace;
        set(&mut node.gun_peer_map_name, self.gun_peer_map_name);
        set(&mut node.gun_content_map_name, self.gun_content_map_name);
        set(&mut node.gun_peer_ttl_ms, self.gun_peer_ttl_ms);
        set_count(&mut node.gun_max_cached_peers, self.gun_max_cached_peers);
        node.node_type = self.node_type;
        set_count(&mut node.max_known_peers, self.max_known_peers);
        set_count(&mut node.max_cached_hashes, self.max_cached_hashes);
        set_count(&mut node.max_cached_peers_per_hash, self.max_cached_peers_per_hash);
        set(&mut node.local_only, self.local_only);
        set(&mut node.interfaces, self.interfaces);
        node.persistence_dir = self.persistence_dir.map(Into::into);
        node.enable_persistence = self.enable_persistence;
        set(&mut node.max_connections, self.max_connections);
        set(&mut node.download_limit, self.download_limit);
        set(&mut node.peer_download_limit, self.peer_download_limit);
        node.stun_servers = self.stun_servers;
        node.turn_servers = self.turn_servers.into_iter().map(Into::into).collect();
        set(&mut node.enable_upnp, self.enable_upnp);
        set(&mut node.enable_natpmp, self.enable_natpmp);
        set(&mut node.port_mapping_lifetime_s, self.port_mapping_lifetime_s);
        node.relays = self.relays;
        node.validate()?;
        let mut client = core::ClientOptions::default();
        set(&mut client.download_dir, self.download_dir);
        set(&mut client.request_timeout_ms, self.request_timeout_ms);
        set(&mut client.enable_continuous_discovery, self.enable_continuous_discovery);
        set_count(&mut client.max_peers, self.max_peers);
        client.validate()?;
        Ok((node, client))
    }
}

impl DownloadOptions {
    pub(crate) fn into_core(self) -> Result<core::DownloadOptions> {
        let mut options = core::DownloadOptions {
            save_path: self.save_path.map(Into::into),
            output_dir: self.output_dir.map(Into::into),
            peers: self.peers,
            max_peers: self.max_peers.map(|count| count as usize),
            discover: self.discover,
            share_while_downloading: false,
            ..core::DownloadOptions::default()
        };
        set(&mut options.timeout_ms, self.timeout_ms);
        set(&mut options.download_limit, self.download_limit);
        set(&mut options.overwrite, self.overwrite);
        options.validate()?;
        Ok(options)
    }
}

impl NatOptions {
    pub(crate) fn into_core(self) -> Result<core::NatOptions> {
        let mut options = core::NatOptions { stun_servers: self.stun_servers, ..core::NatOptions::default() };
        set(&mut options.timeout_ms, self.timeout_ms);
        set(&mut options.enable_ipv6, self.enable_ipv6);
        set(&mut options.use_natpmp, self.use_natpmp);
        set(&mut options.local_only, self.local_only);
        options.validate()?;
        Ok(options)
    }
}

impl MappingOptions {
    pub(crate) fn into_core(self) -> Result<core::MappingOptions> {
        let mut options = core::MappingOptions::default();
        set(&mut options.internal_port, self.internal_port);
        set(&mut options.external_port, self.external_port);
        set(&mut options.protocol, self.protocol);
        set(&mut options.description, self.description);
        set(&mut options.ttl_s, self.ttl_s);
        set(&mut options.timeout_ms, self.timeout_ms);
        options.validate()?;
        Ok(options)
    }
}

impl FindOptions {
    pub(crate) fn into_core(self) -> Result<core::FindOptions> {
        let mut options = core::FindOptions::default();
        set_count(&mut options.max_peers, self.max_peers);
        set(&mut options.timeout_ms, self.timeout_ms);
        options.validate()?;
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_set_is_cores_default_of_a_light_node() {
        let (node, client) = LightNodeOptions::default().into_core().expect("valid");
        assert_eq!(node, core::NodeOptions { light_node: true, ..core::NodeOptions::default() });
        assert_eq!(client, core::ClientOptions::default());
        let download = DownloadOptions::default().into_core().expect("valid");
        let expected = core::DownloadOptions { share_while_downloading: false, ..core::DownloadOptions::default() };
        assert_eq!(download, expected);
        assert_eq!(FindOptions::default().into_core().expect("valid"), core::FindOptions::default());
        assert_eq!(NatOptions::default().into_core().expect("valid"), core::NatOptions::default());
        assert_eq!(MappingOptions::default().into_core().expect("valid"), core::MappingOptions::default());
    }

    #[test]
    fn what_is_set_arrives() {
        let options = LightNodeOptions {
            port: Some(1),
            enable_ipv6: Some(true),
            prefer_ipv6: Some(false),
            enable_tcp: Some(false),
            enable_udp: Some(true),
            local_enabled: Some(false),
            dht_enabled: Some(false),
            dht_network: Some("private".into()),
            bootstrap_nodes: vec!["127.0.0.1:1".into()],
            pex_enabled: Some(false),
            pex_interval_ms: Some(90_000),
            gun_enabled: Some(false),
            gun_peers: vec!["ws://127.0.0.1:8765/gun".into()],
            gun_namespace: Some("space".into()),
            gun_peer_map_name: Some("peers".into()),
            gun_content_map_name: Some("content".into()),
            gun_peer_ttl_ms: Some(5000),
            gun_max_cached_peers: Some(50),
            node_type: Some("standard".into()),
            max_known_peers: Some(11),
            max_cached_hashes: Some(12),
            max_cached_peers_per_hash: Some(13),
            local_only: Some(false),
            interfaces: Some(vec!["en0".into()]),
            persistence_dir: Some("state".into()),
            enable_persistence: Some(true),
            max_connections: Some(2),
            download_limit: Some(3),
            peer_download_limit: Some(4),
            stun_servers: vec!["127.0.0.1:3478".into()],
            turn_servers: vec![TurnServer {
                urls: vec!["turn:h".into()],
                username: Some("u".into()),
                credential: None,
            }],
            enable_upnp: Some(false),
            enable_natpmp: Some(false),
            port_mapping_lifetime_s: Some(200),
            relays: vec!["/ip4/127.0.0.1/tcp/1/p2p/x".into()],
            download_dir: Some("files".into()),
            request_timeout_ms: Some(500),
            enable_continuous_discovery: Some(false),
            max_peers: Some(6),
        };
        let (node, client) = options.into_core().expect("valid");
        let expected = core::NodeOptions {
            port: 1,
            enable_ipv6: true,
            prefer_ipv6: false,
            enable_tcp: false,
            enable_udp: true,
            local_enabled: false,
            dht_enabled: false,
            dht_network: Some("private".into()),
            bootstrap_nodes: vec!["127.0.0.1:1".into()],
            is_shard_host: false,
            shard_prefixes: Vec::new(),
            num_shard_prefixes: 3,
            shard_prefix_length: 2,
            pex_enabled: false,
            pex_interval_ms: 90_000,
            gun_enabled: false,
            gun_peers: vec!["ws://127.0.0.1:8765/gun".into()],
            gun_node_id: None,
            gun_namespace: Some("space".into()),
            gun_peer_map_name: "peers".into(),
            gun_content_map_name: "content".into(),
            gun_announce_interval_ms: 60_000,
            gun_announce_ttl_ms: 3_600_000,
            gun_peer_ttl_ms: 5000,
            gun_cleanup_interval_ms: 300_000,
            gun_max_cached_peers: 50,
            external_ip: None,
            external_port: 0,
            node_type: Some("standard".into()),
            max_known_peers: 11,
            max_cached_hashes: 12,
            max_cached_peers_per_hash: 13,
            local_only: false,
            interfaces: vec!["en0".into()],
            persistence_dir: Some("state".into()),
            enable_persistence: Some(true),
            max_connections: 2,
            upload_limit: 0,
            download_limit: 3,
            peer_upload_limit: 0,
            peer_download_limit: 4,
            stun_servers: vec!["127.0.0.1:3478".into()],
            turn_servers: vec![core::TurnServerOption {
                urls: vec!["turn:h".into()],
                username: Some("u".into()),
                credential: None,
            }],
            enable_upnp: false,
            enable_natpmp: false,
            port_mapping_lifetime_s: 200,
            relays: vec!["/ip4/127.0.0.1/tcp/1/p2p/x".into()],
            relay_server: false,
            light_node: true,
        };
        assert_eq!(node, expected);
        let expected = core::ClientOptions {
            download_dir: "files".into(),
            request_timeout_ms: 500,
            enable_continuous_discovery: false,
            max_peers: 6,
        };
        assert_eq!(client, expected);

        let options = NatOptions {
            stun_servers: vec!["127.0.0.1:3478".into()],
            timeout_ms: Some(200),
            enable_ipv6: Some(true),
            use_natpmp: Some(false),
            local_only: Some(false),
        };
        let expected = core::NatOptions {
            stun_servers: vec!["127.0.0.1:3478".into()],
            timeout_ms: 200,
            enable_ipv6: true,
            use_natpmp: false,
            local_only: false,
        };
        assert_eq!(options.into_core().expect("valid"), expected);

        let options = MappingOptions {
            internal_port: Some(1),
            external_port: Some(2),
            protocol: Some("udp".into()),
            description: Some("mine".into()),
            ttl_s: Some(3),
            timeout_ms: Some(400),
        };
        let expected = core::MappingOptions {
            internal_port: 1,
            external_port: 2,
            protocol: "udp".into(),
            description: "mine".into(),
            ttl_s: 3,
            timeout_ms: 400,
        };
        assert_eq!(options.into_core().expect("valid"), expected);
    }
}
