//! Every option of every operation: names, types, defaults, documentation, and the one `validate` per set.
//! Bindings hand options over as JSON objects; [`FromJson::from_json`] accepts the spellings of the original package.
//! Not here: what an option does.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::error::{Error, Result};
use super::limits;
use super::node_type::NodeType;
use super::priority::Priority;

/// One option as listed in the manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OptionInfo {
    /// Name in Rust, C and Python.
    pub name: &'static str,
    /// Name in JSON and Node.
    pub json: &'static str,
    /// Other accepted JSON spellings.
    pub aliases: &'static [&'static str],
    /// Rust type.
    pub kind: &'static str,
    /// What it does, with unit and default.
    pub doc: &'static str,
}

/// What to do with options that do not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// An [`ErrorKind::InvalidArgument`](super::error::ErrorKind::InvalidArgument) naming it: catches typing errors.
    Reject,
    /// The same, but names that the original JavaScript package or another call has are passed over: its programs hand one
    /// object to several calls.
    Original,
    /// Left out silently.
    Ignore,
}

/// Options that can be read from the JSON object a binding hands over.
pub trait FromJson: Sized + Default + Serialize + for<'de> Deserialize<'de> {
    /// The option table of this set.
    const TABLE: &'static [OptionInfo];

    /// Checks ranges and combinations; the error names the option.
    fn validate(&self) -> Result<()>;

    /// Reads and validates. `null` values count as absent, a nested `options` object is merged over the top level,
    /// and of two spellings of one switch an explicit `false` wins.
    fn from_json(value: &Value, unknown: Unknown) -> Result<Self> {
        let empty = Map::new();
        let object = match value {
            Value::Null => &empty,
            Value::Object(object) => object,
            other => return Err(Error::invalid("options", format_args!("expected an object, got {other}"))),
        };
        let mut known = Map::new();
        collect(object, Self::TABLE, unknown, &mut known)?;
        if let Some(Value::Object(nested)) = object.get("options") {
            collect(nested, Self::TABLE, unknown, &mut known)?;
        }
        for (name, value) in &known {
            // One field at a time, so that the error can name it.
            let single = Value::Object(Map::from_iter([(name.clone(), value.clone())]));
            Self::deserialize(single).map_err(|error| Error::invalid(name, error))?;
        }
        let options = Self::deserialize(Value::Object(known)).map_err(|error| Error::invalid("options", error))?;
        options.validate()?;
        Ok(options)
    }
}

/// Reads two option sets from one JSON object; a name that neither has is treated as `unknown` says.
pub fn pair_from_json<A: FromJson, B: FromJson>(value: &Value, unknown: Unknown) -> Result<(A, B)> {
    if unknown != Unknown::Ignore {
        let both = [A::TABLE, B::TABLE].concat();
        let objects = [Some(value), value.get("options")];
        for object in objects.into_iter().flatten().filter_map(Value::as_object) {
            collect(object, &both, unknown, &mut Map::new())?;
        }
    }
    Ok((A::from_json(value, Unknown::Ignore)?, B::from_json(value, Unknown::Ignore)?))
}

fn collect(
    object: &Map<String, Value>,
    table: &[OptionInfo],
    unknown: Unknown,
    into: &mut Map<String, Value>,
) -> Result<()> {
    for (name, value) in object {
        if value.is_null() || name == "options" {
            continue;
        }
        let info = table.iter().find(|info| info.json == name || info.aliases.contains(&name.as_str()));
        match info {
            Some(info) => {
                let explicit_false = into.get(info.json) == Some(&Value::Bool(false));
                if !explicit_false {
                    into.insert(info.json.to_owned(), value.clone());
                }
            }
            None if unknown == Unknown::Ignore || unknown == Unknown::Original && original::has(name) => {}
            None => return Err(Error::invalid(name, "no such option")),
        }
    }
    Ok(())
}

macro_rules! options {
    ($(
        $(#[doc = $set_doc:literal])+
        $set:ident {
            $($(#[doc = $doc:literal])+ $name:ident: $kind:ty = $default:expr, $json:literal $(| $alias:literal)*;)+
        }
    )+) => { $(
        $(#[doc = $set_doc])+
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(default)]
        pub struct $set { $($(#[doc = $doc])+ #[serde(rename = $json)] pub $name: $kind,)+ }

        impl Default for $set {
            fn default() -> Self { Self { $($name: $default,)+ } }
        }

        impl $set {
            const OPTIONS: &'static [OptionInfo] = &[$(OptionInfo {
                name: stringify!($name),
                json: $json,
                aliases: &[$($alias),*],
                kind: stringify!($kind),
                doc: concat!($($doc, "\n"),+),
            },)+];
        }
    )+ };
}

mod connecting;
mod discovering;
mod original;
#[cfg(test)]
mod tests;
mod traversal;
mod watching;

pub use connecting::ConnectOptions;
pub use discovering::{AnnounceOptions, KnownPeersOptions};
pub use original::ORIGINAL;
pub use traversal::{IceOptions, PunchOptions, RegistryOptions, SaveConnectionOptions, TurnOptions, TurnServerOption};
pub use watching::WatchOptions;

options! {
    /// Options every node has, whatever its role.
    NodeOptions {
        /// TCP and UDP port to listen on. Default 0: a free port chosen by the system, the same for both.
        port: u16 = 0, "port" | "tcpPort" | "localTCPPort";
        /// Listen on IPv6 as well as IPv4 and dial both. Default false.
        enable_ipv6: bool = false, "enableIPv6" | "enable_ipv6";
        /// Dial a peer's IPv6 addresses a quarter of a second before its IPv4 ones; false is the other way round. It does
        /// nothing without `enableIPv6`. Default true.
        prefer_ipv6: bool = true, "preferIPv6" | "prefer_ipv6";
        /// Accept and dial TCP connections. Default true.
        enable_tcp: bool = true, "enableTCP" | "enable_tcp";
        /// Accept and dial QUIC (UDP) connections. Default true.
        enable_udp: bool = true, "enableUDP" | "enable_udp";
        /// Find peers and be found on the local network by multicast DNS. Default true.
        local_enabled: bool = true, "localEnabled" | "enableLocal" | "local_enabled";
        /// Find peers and be found in the distributed hash table. Default true.
        dht_enabled: bool = true, "dhtEnabled" | "enableDHT" | "enableDht" | "dht_enabled";
        /// The hash table to take part in: `public`, the one of libp2p and IPFS, or `private`, that of nodes of this
        /// library which know each other by `bootstrapNodes`. Default: `public` without bootstrap nodes and `private` with
        /// them or when `localOnly` is set.
        dht_network: Option<String> = None, "dhtNetwork" | "dht_network";
        /// Nodes (`host:port` or multiaddrs) by which this one joins the hash table. Default empty: the well-known ones of
        /// the public table.
        bootstrap_nodes: Vec<String> = Vec::new(), "bootstrapNodes" | "bootstrap_nodes";
        /// Keep the part of the hash table that `shardPrefixes` names, and tell others so. Default false.
        is_shard_host: bool = false, "isShardHost" | "is_shard_host";
        /// Parts of the hash table that this node keeps for others: beginnings of positions in it (hex digits), or ranges
        /// as `00-3f`. Default empty: on a shard host random ones, elsewhere none.
        shard_prefixes: Vec<String> = Vec::new(), "shardPrefixes" | "shard_prefixes";
        /// Random prefixes of a shard host that names none. Default 3, range 1 to 256.
        num_shard_prefixes: u32 = 3, "numShardPrefixes" | "num_shard_prefixes";
        /// Hex digits of random prefixes. Default 2, range 1 to 8.
        shard_prefix_length: u32 = 2, "shardPrefixLength" | "shard_prefix_length";
        /// Tell connected peers of others that have the same content, and hear it from them. Default true.
        pex_enabled: bool = true, "pexEnabled" | "enablePEX" | "enablePex" | "pex_enabled";
        /// Pause between two messages of peer exchange to one peer, in ms. Peers take one a minute, so less counts as 60000.
        /// Default 60000, range 1000 to 86400000.
        pex_interval_ms: u64 = 60_000, "pexInterval" | "exchangeInterval" | "pex_interval_ms";
        /// Find peers and be found through Gun relays. Default true; it does nothing without `gunPeers`.
        gun_enabled: bool = true, "gunEnabled" | "enableGun" | "gun_enabled";
        /// Gun relays (`https://host/gun`, `ws://host:port/gun`). Default none.
        gun_peers: Vec<String> = Vec::new(), "gunPeers" | "gun_peers";
        /// Name of this node in the Gun graph. Default none: its peer id, under which nobody believes anything unsigned.
        gun_node_id: Option<String> = None, "gunNodeId" | "nodeId" | "gun_node_id";
        /// Node of the Gun graph below which everything stands. Default none: the two below are roots.
        gun_namespace: Option<String> = None, "gunNamespace" | "gun_namespace";
        /// Node of the Gun graph below which peers stand. Default `dig-peers`.
        gun_peer_map_name: String = "dig-peers".to_owned(), "gunPeerMapName" | "gun_peer_map_name";
        /// Node of the Gun graph below which content ids stand. Default `dig-content-maps`.
        gun_content_map_name: String = "dig-content-maps".to_owned(), "gunContentMapName" | "gun_content_map_name";
        /// How often announcements to Gun are written again, in ms; of more than ten a second each time a part. Default 60000,
        /// range 100 to 86400000.
        gun_announce_interval_ms: u64 = 60_000, "gunAnnounceInterval" | "gun_announce_interval_ms";
        /// How long announcements to Gun hold, in ms; longer than 48 h counts as 48 h. Default 3600000, range 1000 to
        /// 31536000000.
        gun_announce_ttl_ms: u64 = 3_600_000, "gunAnnounceTTL" | "gunAnnounceTtl" | "gun_announce_ttl_ms";
        /// How long unsigned records of others hold that do not say so, in ms; longer than 48 h counts as 48 h. Default
        /// 3600000, range 1000 to 31536000000.
        gun_peer_ttl_ms: u64 = 3_600_000, "gunPeerTTL" | "gunPeerTtl" | "gun_peer_ttl_ms";
        /// How often expired records are forgotten, in ms. Default 300000, range 1000 to 86400000.
        gun_cleanup_interval_ms: u64 = 300_000, "gunCleanupInterval" | "gun_cleanup_interval_ms";
        /// Peers that Gun names for one content which are remembered; more than 100 counts as 100. Default 100, range 1 to
        /// 1000000.
        gun_max_cached_peers: usize = limits::MAX_GUN_RECORDS_PER_KEY, "gunMaxCachedPeers" | "gun_max_cached_peers";
        /// Address at which this node is reached from outside, told to others besides those it finds itself. Default none.
        external_ip: Option<String> = None, "externalIp" | "external_ip";
        /// Port there, for TCP and UDP. Default 0: the one it listens on.
        external_port: u16 = 0, "externalPort" | "external_port";
        /// Contact nothing but the local network and addresses given by the user. Default false, or true when the
        /// environment variable `DIG_NAT_LOCAL_ONLY` is `1`.
        local_only: bool = env_switch("DIG_NAT_LOCAL_ONLY"), "localOnly" | "local_only";
        /// Interfaces (names or addresses) used for listening addresses and local discovery. Default empty: all, or
        /// the comma-separated list in the environment variable `DIG_NAT_INTERFACES`.
        interfaces: Vec<String> = env_list("DIG_NAT_INTERFACES"), "interfaces";
        /// Directory for state that outlives the process (identity, hash cache). Default none: nothing is kept.
        persistence_dir: Option<PathBuf> = None, "persistenceDir" | "persistence_dir";
        /// Keep state in `persistenceDir` (`./.dig-nat-tools` when unset). Default: true when `persistenceDir` is set.
        enable_persistence: Option<bool> = None, "enablePersistence" | "persistenceEnabled" | "enable_persistence";
        /// How much this node remembers of others: `light` (100 peers, 50 contents, 20 peers each), `standard` (1000,
        /// 200, 50) or `super` (10000, 1000, 200). Default: `light` for a client, else `standard`.
        node_type: Option<String> = None, "nodeType" | "node_type";
        /// Peers remembered in all. Default 0: by `nodeType`. Range 1 to 100000.
        max_known_peers: usize = 0, "maxKnownPeers" | "max_known_peers";
        /// Contents for which peers are remembered, those searched for in the background included. Default 0: by
        /// `nodeType`. Range 1 to 10000.
        max_cached_hashes: usize = 0, "maxCachedHashes" | "max_cached_hashes";
        /// Peers remembered of one content. Default 0: by `nodeType`. Range 1 to 1000.
        max_cached_peers_per_hash: usize = 0, "maxCachedPeersPerHash" | "max_cached_peers_per_hash";
        /// Connections held at once. Default 1000, range 1 to 100000.
        max_connections: u32 = limits::MAX_CONNECTIONS, "maxConnections" | "max_connections";
        /// Upload limit of the whole node in bytes per second. Default 0: none.
        upload_limit: u64 = 0, "uploadLimit" | "upload_limit";
        /// Download limit of the whole node in bytes per second. Default 0: none.
        download_limit: u64 = 0, "downloadLimit" | "download_limit";
        /// Upload limit per peer in bytes per second. Default 0: none.
        peer_upload_limit: u64 = 0, "peerUploadLimit" | "peer_upload_limit";
        /// Download limit per peer in bytes per second. Default 0: none.
        peer_download_limit: u64 = 0, "peerDownloadLimit" | "peer_download_limit";
        /// STUN servers (`host:port` or `stun:host:port`) that tell this node its public address and the kind of NAT in
        /// front of it. Default empty: three public ones, or none when `localOnly` is set.
        stun_servers: Vec<String> = Vec::new(), "stunServers" | "stun_servers";
        /// TURN servers, `{urls, username, credential}` each, over which peers are reached when nothing else works; the
        /// first one is used. Default none.
        turn_servers: Vec<TurnServerOption> = Vec::new(), "turnServers" | "turn_servers";
        /// Ask the router by UPnP to forward the port. Default true; never done when `localOnly` is set.
        enable_upnp: bool = true, "enableUPnP" | "enableUpnp" | "enable_upnp";
        /// Ask the router by PCP and NAT-PMP to forward the port. Default true; never done when `localOnly` is set.
        enable_natpmp: bool = true, "enableNATPMP" | "enableNatPmp" | "enable_natpmp";
        /// Lifetime asked for port mappings, which are renewed at half of it, in seconds. Default 3600, range 120 to
        /// 86400.
        port_mapping_lifetime_s: u32 = 3600, "portMappingLifetime" | "port_mapping_lifetime_s";
        /// Relays (multiaddrs with their peer id) through which this node can be reached while it cannot directly.
        /// Default none.
        relays: Vec<String> = Vec::new(), "relays";
        /// Forward bytes between peers that cannot reach each other. Default false.
        relay_server: bool = false, "relayServer" | "relay_server";
        /// Never upload, not even pieces of running downloads. Default false.
        light_node: bool = false, "lightNode" | "light_node";
    }

    /// Options of a file host beyond those of every node.
    HostOptions {
        /// Directory whose files are shared at start, recursively. Default none.
        directory: Option<PathBuf> = None, "directory";
        /// Peers served at once (one of them the optimistic choice) while more want data. Default 4, range 1 to 1000.
        upload_slots: u32 = limits::UNCHOKED_PEERS as u32, "uploadSlots" | "upload_slots";
        /// Unit of the `hostFileCallback` contract in bytes. Default 65536, range 1024 to 16777216.
        chunk_size: u32 = 65_536, "chunkSize" | "chunk_size";
        /// Follow what changes in `directory`: new files are shared, removed ones withdrawn. Default false.
        enable_watcher: bool = false, "enableWatcher" | "enable_watcher";
        /// Directory whose files are shared at start and followed from then on. Default none: `directory`, with
        /// `enableWatcher`.
        watch_dir: Option<PathBuf> = None, "watchDir" | "watch_dir";
        /// Follow subdirectories too. Default true.
        watch_recursive: bool = true, "watchRecursive" | "watch_recursive";
        /// Of the followed directory share only files with one of these extensions. Default empty: all.
        watch_include_extensions: Vec<String> = Vec::new(), "watchIncludeExtensions" | "watch_include_extensions";
        /// Of the followed directory share no file with one of these extensions. Default none.
        watch_exclude_extensions: Vec<String> = Vec::new(), "watchExcludeExtensions" | "watch_exclude_extensions";
        /// Of the followed directory share no larger file, in bytes. Default 0: no limit.
        watch_max_file_size: u64 = 0, "watchMaxFileSize" | "watch_max_file_size";
        /// How widely the files of the followed directory are announced: `high`: everywhere, `medium`: local network, hash
        /// table and connected peers, `low`: only the local network. Default `high`.
        watch_announce_priority: String = "high".to_owned(), "watchAnnouncePriority" | "watch_announce_priority";
        /// Keep the hashes of shared files with the other state, so that a restart need not hash them again. Default true.
        watch_persist_hashes: bool = true, "watchPersistHashes" | "watch_persist_hashes";
    }

    /// Options of a file client beyond those of every node.
    ClientOptions {
        /// Directory for downloads that are given no path. Default the current directory.
        download_dir: PathBuf = PathBuf::from("."), "downloadDir" | "download_dir";
        /// Time for the first answer of a peer, in ms. Default 30000, range 100 to 3600000.
        request_timeout_ms: u64 = 30_000, "requestTimeout" | "peerTimeout" | "request_timeout_ms";
        /// Keep looking for further peers while a download runs. Default true.
        enable_continuous_discovery: bool = true, "enableContinuousDiscovery" | "enable_continuous_discovery";
        /// Peers one download uses at once. Default 10, range 1 to 500.
        max_peers: usize = limits::DEFAULT_MAX_PEERS, "maxPeers" | "max_peers";
    }

    /// Options of one download.
    DownloadOptions {
        /// Target file. Default: `outputDir` and the name the peers offer, made safe, else the hash.
        save_path: Option<PathBuf> = None, "savePath" | "save_path";
        /// Target directory when `savePath` is not given. Default: the client's `downloadDir`.
        output_dir: Option<PathBuf> = None, "outputDir" | "output_dir";
        /// Peers to ask: `host:port`, multiaddr, or peer id. Default none: discovery finds them.
        peers: Vec<String> = Vec::new(), "peers";
        /// Peers used at once. Default: the client's `maxPeers`. Range 1 to 500.
        max_peers: Option<usize> = None, "maxPeers" | "max_peers";
        /// Give up when no peer that has the content was found for so long, in ms. Default 30000, range 1 to 86400000.
        timeout_ms: u64 = 30_000, "timeout" | "timeout_ms";
        /// Search for peers besides those given. Default: the client's `enableContinuousDiscovery`.
        discover: Option<bool> = None, "discover" | "enableContinuousDiscovery";
        /// Download limit in bytes per second. Default 0: none.
        download_limit: u64 = 0, "downloadLimit" | "download_limit";
        /// Serve pieces to others while downloading. Default true; a light node never does.
        share_while_downloading: bool = true, "shareWhileDownloading" | "share_while_downloading";
        /// Replace an existing target file whose content differs. Default true.
        overwrite: bool = true, "overwrite";
    }

    /// Options of adding a file to a host.
    AddFileOptions {
        /// Readable id under which the file can also be found. Default none.
        content_id: Option<String> = None, "contentId" | "content_id";
        /// How widely it is announced: `high`: everywhere, `medium`: local network, hash table and connected peers, `low`:
        /// only the local network. Default `high`.
        priority: String = "high".to_owned(), "priority" | "announceLevel";
    }

    /// Options of looking at the NAT in front of this machine.
    NatOptions {
        /// STUN servers (`host:port` or `stun:host:port`) to ask. Default empty: three public ones, or none when
        /// `localOnly` is set.
        stun_servers: Vec<String> = Vec::new(), "stunServers" | "stun_servers";
        /// Time for everything in ms. Default 5000, range 100 to 60000.
        timeout_ms: u64 = 5_000, "timeout" | "timeout_ms";
        /// Look at IPv6 as well as IPv4. Default false.
        enable_ipv6: bool = false, "enableIPv6" | "enable_ipv6";
        /// Ask the router for its external address too, by PCP and NAT-PMP. Default true; never done when `localOnly`
        /// is set.
        use_natpmp: bool = true, "useNATPMP" | "useNatPmp" | "use_natpmp";
        /// Contact nothing but the local network and addresses given by the user. Default false, or true when the
        /// environment variable `DIG_NAT_LOCAL_ONLY` is `1`.
        local_only: bool = env_switch("DIG_NAT_LOCAL_ONLY"), "localOnly" | "local_only";
    }

    /// A port mapping to be made or deleted at the router by UPnP.
    MappingOptions {
        /// This machine's port, range 1 to 65535. Default 0: none, it has to be given to make a mapping.
        internal_port: u16 = 0, "internalPort" | "internal_port";
        /// The router's port. Default 0: the same as this machine's.
        external_port: u16 = 0, "externalPort" | "external_port";
        /// `TCP` or `UDP`. Default `TCP`.
        protocol: String = "TCP".to_owned(), "protocol";
        /// What the router shows beside the mapping. Default `dig-nat-tools`.
        description: String = "dig-nat-tools".to_owned(), "description";
        /// How long the router keeps it, in seconds. Default 7200, range 1 to 604800.
        ttl_s: u32 = 7200, "ttl" | "lifetime" | "ttl_s";
        /// Time for the router's answers in ms. Default 5000, range 100 to 60000.
        timeout_ms: u64 = 5_000, "timeout" | "timeout_ms";
    }

    /// Options of a search for peers.
    FindOptions {
        /// Stop after so many peers. Default 50, range 1 to 1000.
        max_peers: usize = 50, "maxPeers" | "max_peers";
        /// Time of the search in ms. Default 5000, range 1 to 3600000.
        timeout_ms: u64 = 5_000, "timeout" | "timeout_ms";
    }
}

fn env_switch(name: &str) -> bool {
    std::env::var(name).is_ok_and(|value| matches!(value.as_str(), "1" | "true" | "yes"))
}

fn env_list(name: &str) -> Vec<String> {
    std::env::var(name)
        .map(|value| value.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect())
        .unwrap_or_default()
}

fn in_range<T: Copy + PartialOrd + std::fmt::Display>(option: &str, value: T, low: T, high: T) -> Result<()> {
    if value < low || value > high {
        return Err(Error::invalid(option, format_args!("{value} is outside {low} to {high}")));
    }
    Ok(())
}

impl FromJson for NodeOptions {
    const TABLE: &'static [OptionInfo] = Self::OPTIONS;

    fn validate(&self) -> Result<()> {
        if !self.enable_tcp && !self.enable_udp {
            return Err(Error::invalid("enableTCP", "TCP and UDP cannot both be switched off"));
        }
        if let Some(kind) = &self.node_type {
            kind.parse::<NodeType>()?;
        }
        if let Some(network) = self.dht_network.as_deref().filter(|network| !matches!(*network, "public" | "private")) {
            return Err(Error::invalid("dhtNetwork", format_args!("{network:?} is neither public nor private")));
        }
        in_range("bootstrapNodes", self.bootstrap_nodes.len(), 0, limits::MAX_BOOTSTRAP_NODES)?;
        in_range("shardPrefixes", self.shard_prefixes.len(), 0, limits::MAX_SHARD_PREFIXES)?;
        in_range("numShardPrefixes", self.num_shard_prefixes, 1, limits::MAX_SHARD_PREFIXES as u32)?;
        in_range("shardPrefixLength", self.shard_prefix_length, 1, 8)?;
        in_range("pexInterval", self.pex_interval_ms, 1000, 86_400_000)?;
        in_range("gunPeers", self.gun_peers.len(), 0, limits::MAX_GUN_RELAYS)?;
        discovering::check(self)?;
        in_range("maxKnownPeers", self.max_known_peers, 0, limits::MAX_KNOWN_PEERS)?;
        in_range("maxCachedHashes", self.max_cached_hashes, 0, limits::MAX_KNOWN_KEYS)?;
        in_range("maxCachedPeersPerHash", self.max_cached_peers_per_hash, 0, limits::MAX_KNOWN_PEERS_PER_KEY)?;
        in_range("portMappingLifetime", self.port_mapping_lifetime_s, 120, 86_400)?;
        in_range("stunServers", self.stun_servers.len(), 0, limits::MAX_STUN_SERVERS)?;
        in_range("relays", self.relays.len(), 0, limits::MAX_RELAYS)?;
        traversal::check_servers(&self.turn_servers)?;
        in_range("maxConnections", self.max_connections, 1, 100_000)
    }
}

impl HostOptions {
    /// The directory that is followed from the start on.
    pub fn watched(&self) -> Option<&PathBuf> {
        self.watch_dir.as_ref().or(self.directory.as_ref().filter(|_| self.enable_watcher))
    }

    /// How it is followed.
    pub fn watch_options(&self) -> WatchOptions {
        WatchOptions {
            recursive: self.watch_recursive,
            include_extensions: self.watch_include_extensions.clone(),
            exclude_extensions: self.watch_exclude_extensions.clone(),
            max_file_size: self.watch_max_file_size,
            priority: self.watch_announce_priority.clone(),
            ..WatchOptions::default()
        }
    }
}

impl NodeOptions {
    /// Where state is kept, `None` when persistence is off.
    pub fn state_dir(&self) -> Option<PathBuf> {
        match (&self.persistence_dir, self.enable_persistence) {
            (_, Some(false)) | (None, None) => None,
            (Some(dir), _) => Some(dir.clone()),
            (None, Some(true)) => Some(PathBuf::from("./.dig-nat-tools")),
        }
    }
}

impl FromJson for HostOptions {
    const TABLE: &'static [OptionInfo] = Self::OPTIONS;

    fn validate(&self) -> Result<()> {
        self.watch_options().validate()?;
        in_range("uploadSlots", self.upload_slots, 1, 1000)?;
        in_range("chunkSize", self.chunk_size, 1024, 16 * 1024 * 1024)
    }
}

impl FromJson for ClientOptions {
    const TABLE: &'static [OptionInfo] = Self::OPTIONS;

    fn validate(&self) -> Result<()> {
        in_range("requestTimeout", self.request_timeout_ms, 100, 3_600_000)?;
        in_range("maxPeers", self.max_peers, 1, limits::MAX_PEERS_PER_DOWNLOAD)
    }
}

impl FromJson for DownloadOptions {
    const TABLE: &'static [OptionInfo] = Self::OPTIONS;

    fn validate(&self) -> Result<()> {
        if let Some(max_peers) = self.max_peers {
            in_range("maxPeers", max_peers, 1, limits::MAX_PEERS_PER_DOWNLOAD)?;
        }
        in_range("peers", self.peers.len(), 0, limits::MAX_CANDIDATES_PER_DOWNLOAD)?;
        in_range("timeout", self.timeout_ms, 1, 86_400_000)
    }
}

impl FromJson for AddFileOptions {
    const TABLE: &'static [OptionInfo] = Self::OPTIONS;

    fn validate(&self) -> Result<()> {
        self.priority.parse::<Priority>()?;
        match &self.content_id {
            Some(id) => in_range("contentId", id.len(), 1, limits::MAX_CONTENT_ID_BYTES),
            None => Ok(()),
        }
    }
}

impl FromJson for NatOptions {
    const TABLE: &'static [OptionInfo] = Self::OPTIONS;

    fn validate(&self) -> Result<()> {
        in_range("stunServers", self.stun_servers.len(), 0, limits::MAX_STUN_SERVERS)?;
        in_range("timeout", self.timeout_ms, 100, 60_000)
    }
}

impl FromJson for MappingOptions {
    const TABLE: &'static [OptionInfo] = Self::OPTIONS;

    fn validate(&self) -> Result<()> {
        if !self.protocol.eq_ignore_ascii_case("tcp") && !self.protocol.eq_ignore_ascii_case("udp") {
            return Err(Error::invalid("protocol", format_args!("{:?} is neither TCP nor UDP", self.protocol)));
        }
        in_range("ttl", self.ttl_s, 1, 604_800)?;
        in_range("timeout", self.timeout_ms, 100, 60_000)
    }
}

impl FromJson for FindOptions {
    const TABLE: &'static [OptionInfo] = Self::OPTIONS;

    fn validate(&self) -> Result<()> {
        in_range("maxPeers", self.max_peers, 1, 1000)?;
        in_range("timeout", self.timeout_ms, 1, 3_600_000)
    }
}
