//! The options structs of the header and their way to core's options.
//! Not here: defaults and ranges, which are core's; zero and NULL mean "core's default". A test compares the fields
//! with the tables in core's manifest.

use std::ffi::c_char;
use std::path::PathBuf;

use dig_nat_core::Result;
use dig_nat_core::base::options::{
    AddFileOptions, ClientOptions, DownloadOptions, FindOptions, FromJson, HostOptions, MappingOptions, NatOptions,
    NodeOptions,
};

use crate::argument::{self, Sized1st};

mod traversal;
mod watching;

pub use traversal::*;

/// A switch in an options struct: one of the DIG_NAT_SWITCH_ numbers.
pub type DigNatSwitch = i32;

/// The default of this option.
pub const DIG_NAT_SWITCH_DEFAULT: i32 = 0;
/// On, whatever the default is.
pub const DIG_NAT_SWITCH_ON: i32 = 1;
/// Off, whatever the default is.
pub const DIG_NAT_SWITCH_OFF: i32 = 2;

/// Options every node has, whatever its role.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct DigNatNodeOptions {
    /// Bytes of this struct; set by dig_nat_node_options_init.
    pub size: usize,
    /// TCP and UDP port to listen on. Default 0: a free port chosen by the system, the same for both.
    pub port: u16,
    /// Listen on IPv6 as well as IPv4 and dial both. Default off.
    pub enable_ipv6: DigNatSwitch,
    /// Dial a peer's IPv6 addresses a quarter of a second before its IPv4 ones; off is the other way round. It does nothing
    /// without enable_ipv6. Default on.
    pub prefer_ipv6: DigNatSwitch,
    /// Accept and dial TCP connections. Default on.
    pub enable_tcp: DigNatSwitch,
    /// Accept and dial QUIC (UDP) connections. Default on.
    pub enable_udp: DigNatSwitch,
    /// Find peers and be found on the local network by multicast DNS. Default on.
    pub local_enabled: DigNatSwitch,
    /// Find peers and be found in the distributed hash table. Default on.
    pub dht_enabled: DigNatSwitch,
    /// The hash table to take part in: "public" (libp2p and IPFS) or "private" (nodes of this library). Default NULL:
    /// public without bootstrap nodes, private with them or when local_only is on.
    pub dht_network: *const c_char,
    /// Nodes ("host:port" or multiaddrs) by which this one joins the hash table. Default NULL: the well-known ones of the
    /// public table.
    pub bootstrap_nodes: *const *const c_char,
    /// How many bootstrap nodes.
    pub bootstrap_nodes_count: usize,
    /// Keep the part of the hash table that shard_prefixes names, and tell others so. Default off.
    pub is_shard_host: DigNatSwitch,
    /// Parts of the hash table that this node keeps for others: beginnings of positions in it (hex digits), or ranges as
    /// "00-3f". Default NULL: on a shard host random ones, elsewhere none.
    pub shard_prefixes: *const *const c_char,
    /// How many prefixes.
    pub shard_prefixes_count: usize,
    /// Random prefixes of a shard host that names none. Default 3, range 1 to 256.
    pub num_shard_prefixes: u32,
    /// Hex digits of random prefixes. Default 2, range 1 to 8.
    pub shard_prefix_length: u32,
    /// Tell connected peers of others that have the same content, and hear it from them. Default on.
    pub pex_enabled: DigNatSwitch,
    /// Pause between two messages of peer exchange to one peer, in ms. Peers take one a minute, so less counts as 60000.
    /// Default 60000, range 1000 to 86400000.
    pub pex_interval_ms: u64,
    /// Find peers and be found through Gun relays. Default on; it does nothing without gun_peers.
    pub gun_enabled: DigNatSwitch,
    /// Gun relays ("https://host/gun", "ws://host:port/gun"). Default NULL: none.
    pub gun_peers: *const *const c_char,
    /// How many Gun relays.
    pub gun_peers_count: usize,
    /// Name of this node in the Gun graph. Default NULL: its peer id, under which nobody believes anything unsigned.
    pub gun_node_id: *const c_char,
    /// Node of the Gun graph below which everything stands. Default NULL: the two below are roots.
    pub gun_namespace: *const c_char,
    /// Node of the Gun graph below which peers stand. Default NULL: "dig-peers".
    pub gun_peer_map_name: *const c_char,
    /// Node of the Gun graph below which content ids stand. Default NULL: "dig-content-maps".
    pub gun_content_map_name: *const c_char,
    /// How often announcements to Gun are written again, in ms. Default 60000, range 100 to 86400000.
    pub gun_announce_interval_ms: u64,
    /// How long announcements to Gun hold, in ms, at most 48 h. Default 3600000, range 1000 to 31536000000.
    pub gun_announce_ttl_ms: u64,
    /// How long unsigned records of others hold that do not say so, in ms, at most 48 h. Default 3600000, range 1000 to
    /// 31536000000.
    pub gun_peer_ttl_ms: u64,
    /// How often expired records are forgotten, in ms. Default 300000, range 1000 to 86400000.
    pub gun_cleanup_interval_ms: u64,
    /// Peers that Gun names for one content which are remembered, at most 100. Default 100, range 1 to 1000000.
    pub gun_max_cached_peers: usize,
    /// Address at which this node is reached from outside, told to others besides those it finds itself. Default NULL: none.
    pub external_ip: *const c_char,
    /// Port there, for TCP and UDP. Default 0: the one it listens on.
    pub external_port: u16,
    /// Contact nothing but the local network and addresses given by the user. Default off, or on when the environment
    /// variable DIG_NAT_LOCAL_ONLY is 1.
    pub local_only: DigNatSwitch,
    /// Interfaces (names or addresses) used for listening addresses and local discovery. Default NULL: all, or the
    /// comma-separated list in the environment variable DIG_NAT_INTERFACES.
    pub interfaces: *const *const c_char,
    /// How many interfaces.
    pub interfaces_count: usize,
    /// Directory for state that outlives the process (identity, hash cache). Default NULL: nothing is kept.
    pub persistence_dir: *const c_char,
    /// Keep state in persistence_dir ("./.dig-nat-tools" when unset). Default: on when persistence_dir is set.
    pub enable_persistence: DigNatSwitch,
    /// How much this node remembers of others: "light", "standard" or "super". Default NULL: light for a client, else
    /// standard.
    pub node_type: *const c_char,
    /// Peers remembered in all. Default 0: by node_type. Range 1 to 100000.
    pub max_known_peers: usize,
    /// Contents for which peers are remembered, those searched for in the background included. Default 0: by node_type.
    /// Range 1 to 10000.
    pub max_cached_hashes: usize,
    /// Peers remembered of one content. Default 0: by node_type. Range 1 to 1000.
    pub max_cached_peers_per_hash: usize,
    /// Connections held at once. Default 1000, range 1 to 100000.
    pub max_connections: u32,
    /// Upload limit of the whole node in bytes per second. Default 0: none.
    pub upload_limit: u64,
    /// Download limit of the whole node in bytes per second. Default 0: none.
    pub download_limit: u64,
    /// Upload limit per peer in bytes per second. Default 0: none.
    pub peer_upload_limit: u64,
    /// Download limit per peer in bytes per second. Default 0: none.
    pub peer_download_limit: u64,
    /// STUN servers ("host:port" or "stun:host:port") that tell this node its public address and the kind of NAT in front
    /// of it. Default NULL: three public ones, or none when local_only is on.
    pub stun_servers: *const *const c_char,
    /// How many STUN servers.
    pub stun_servers_count: usize,
    /// TURN servers over which peers are reached when nothing else works; the first one is used. Default NULL: none.
    pub turn_servers: *const DigNatTurnServer,
    /// How many TURN servers.
    pub turn_servers_count: usize,
    /// Ask the router by UPnP to forward the port. Default on; never done when local_only is on.
    pub enable_upnp: DigNatSwitch,
    /// Ask the router by PCP and NAT-PMP to forward the port. Default on; never done when local_only is on.
    pub enable_natpmp: DigNatSwitch,
    /// Lifetime asked for port mappings, which are renewed at half of it, in seconds. Default 3600, range 120 to 86400.
    pub port_mapping_lifetime_s: u32,
    /// Relays (multiaddrs with their peer id) through which this node can be reached while it cannot directly. Default
    /// NULL: none.
    pub relays: *const *const c_char,
    /// How many relays.
    pub relays_count: usize,
    /// Forward bytes between peers that cannot reach each other. Default off.
    pub relay_server: DigNatSwitch,
    /// Never upload, not even pieces of running downloads. Default off.
    pub light_node: DigNatSwitch,
}

/// Options of a file host beyond those of every node.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct DigNatHostOptions {
    /// Bytes of this struct; set by dig_nat_host_options_init.
    pub size: usize,
    /// Directory whose files are shared at start, recursively. Default NULL: none.
    pub directory: *const c_char,
    /// Peers served at once (one of them the optimistic choice) while more want data. Default 4, range 1 to 1000.
    pub upload_slots: u32,
    /// Bytes per chunk for content that is not a file. Default 65536, range 1024 to 16777216.
    pub chunk_size: u32,
    /// Follow what changes in directory: new files are shared, removed ones withdrawn. Default off.
    pub enable_watcher: DigNatSwitch,
    /// Directory whose files are shared at start and followed from then on. Default NULL: directory, with enable_watcher.
    pub watch_dir: *const c_char,
    /// Follow subdirectories too. Default on.
    pub watch_recursive: DigNatSwitch,
    /// Of the followed directory share only files with one of these extensions. Default NULL: all.
    pub watch_include_extensions: *const *const c_char,
    /// How many extensions.
    pub watch_include_extensions_count: usize,
    /// Of the followed directory share no file with one of these extensions. Default NULL: none.
    pub watch_exclude_extensions: *const *const c_char,
    /// How many extensions.
    pub watch_exclude_extensions_count: usize,
    /// Of the followed directory share no larger file, in bytes. Default 0: no limit.
    pub watch_max_file_size: u64,
    /// How widely the files of the followed directory are announced: "high", "medium" or "low". Default NULL: "high".
    pub watch_announce_priority: *const c_char,
    /// Keep the hashes of shared files with the other state, so that a restart need not hash them again. Default on.
    pub watch_persist_hashes: DigNatSwitch,
}

/// Options of a client or manager beyond those of every node.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct DigNatClientOptions {
    /// Bytes of this struct; set by dig_nat_client_options_init.
    pub size: usize,
    /// Directory for downloads that are given no path. Default NULL: the current directory.
    pub download_dir: *const c_char,
    /// Time for the first answer of a peer, in ms. Default 30000, range 100 to 3600000.
    pub request_timeout_ms: u64,
    /// Keep looking for further peers while a download runs. Default on.
    pub enable_continuous_discovery: DigNatSwitch,
    /// Peers one download uses at once. Default 10, range 1 to 500.
    pub max_peers: u32,
}

/// Options of one download.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct DigNatDownloadOptions {
    /// Bytes of this struct; set by dig_nat_download_options_init.
    pub size: usize,
    /// Target file. Default NULL: output_dir and the name the peers offer, made safe, else the hash.
    pub save_path: *const c_char,
    /// Target directory when save_path is NULL. Default NULL: the client's download_dir.
    pub output_dir: *const c_char,
    /// Peers to ask: "host:port", multiaddr, or peer id. Default NULL: discovery finds them.
    pub peers: *const *const c_char,
    /// How many peers.
    pub peers_count: usize,
    /// Peers used at once. Default 0: the client's max_peers. Range 1 to 500.
    pub max_peers: u32,
    /// Give up when no peer that has the content was found for so long, in ms. Default 30000, range 1 to 86400000.
    pub timeout_ms: u64,
    /// Search for peers besides those given. Default: the client's enable_continuous_discovery.
    pub discover: DigNatSwitch,
    /// Download limit in bytes per second. Default 0: none.
    pub download_limit: u64,
    /// Serve pieces to others while downloading. Default on; a light node never does.
    pub share_while_downloading: DigNatSwitch,
    /// Replace an existing target file whose content differs. Default on.
    pub overwrite: DigNatSwitch,
}

/// Options of adding a file.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct DigNatAddFileOptions {
    /// Bytes of this struct; set by dig_nat_add_file_options_init.
    pub size: usize,
    /// Readable id under which the file can also be found. Default NULL: none.
    pub content_id: *const c_char,
    /// How widely it is announced: "high", "medium" or "low". Default NULL: "high".
    pub priority: *const c_char,
}

/// Options of looking at the NAT in front of this machine.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct DigNatNatOptions {
    /// Bytes of this struct; set by dig_nat_nat_options_init.
    pub size: usize,
    /// STUN servers ("host:port" or "stun:host:port") to ask. Default NULL: three public ones, or none when local_only is
    /// on.
    pub stun_servers: *const *const c_char,
    /// How many STUN servers.
    pub stun_servers_count: usize,
    /// Time for everything in ms. Default 5000, range 100 to 60000.
    pub timeout_ms: u64,
    /// Look at IPv6 as well as IPv4. Default off.
    pub enable_ipv6: DigNatSwitch,
    /// Ask the router for its external address too, by PCP and NAT-PMP. Default on; never done when local_only is on.
    pub use_natpmp: DigNatSwitch,
    /// Contact nothing but the local network and addresses given by the user. Default off, or on when the environment
    /// variable DIG_NAT_LOCAL_ONLY is 1.
    pub local_only: DigNatSwitch,
}

/// A port mapping to be made or deleted at the router by UPnP.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct DigNatMappingOptions {
    /// Bytes of this struct; set by dig_nat_mapping_options_init.
    pub size: usize,
    /// This machine's port, range 1 to 65535. Default 0: none, it has to be given to make a mapping.
    pub internal_port: u16,
    /// The router's port. Default 0: the same as this machine's.
    pub external_port: u16,
    /// "TCP" or "UDP". Default NULL: TCP.
    pub protocol: *const c_char,
    /// What the router shows beside the mapping. Default NULL: "dig-nat-tools".
    pub description: *const c_char,
    /// How long the router keeps it, in seconds. Default 7200, range 1 to 604800.
    pub ttl_s: u32,
    /// Time for the router's answers in ms. Default 5000, range 100 to 60000.
    pub timeout_ms: u64,
}

/// Options of a search for peers.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct DigNatFindOptions {
    /// Bytes of this struct; set by dig_nat_find_options_init.
    pub size: usize,
    /// Stop after so many peers. Default 50, range 1 to 1000.
    pub max_peers: u32,
    /// Time of the search in ms. Default 5000, range 1 to 3600000.
    pub timeout_ms: u64,
}

// SAFETY: plain C structs of integers and pointers, the size first.
unsafe impl Sized1st for DigNatNodeOptions {}
// SAFETY: as above.
unsafe impl Sized1st for DigNatHostOptions {}
// SAFETY: as above.
unsafe impl Sized1st for DigNatClientOptions {}
// SAFETY: as above.
unsafe impl Sized1st for DigNatDownloadOptions {}
// SAFETY: as above.
unsafe impl Sized1st for DigNatAddFileOptions {}
// SAFETY: as above.
unsafe impl Sized1st for DigNatNatOptions {}
// SAFETY: as above.
unsafe impl Sized1st for DigNatMappingOptions {}
// SAFETY: as above.
unsafe impl Sized1st for DigNatFindOptions {}

/// Sets all options to their defaults. `size` is `sizeof` the struct.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_node_options_init(options: *mut DigNatNodeOptions, size: usize) {
    // SAFETY: by contract `size` writable bytes or NULL.
    unsafe { argument::init(options, size) }
}

/// Sets all options to their defaults. `size` is `sizeof` the struct.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_host_options_init(options: *mut DigNatHostOptions, size: usize) {
    // SAFETY: by contract `size` writable bytes or NULL.
    unsafe { argument::init(options, size) }
}

/// Sets all options to their defaults. `size` is `sizeof` the struct.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_client_options_init(options: *mut DigNatClientOptions, size: usize) {
    // SAFETY: by contract `size` writable bytes or NULL.
    unsafe { argument::init(options, size) }
}

/// Sets all options to their defaults. `size` is `sizeof` the struct.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_download_options_init(options: *mut DigNatDownloadOptions, size: usize) {
    // SAFETY: by contract `size` writable bytes or NULL.
    unsafe { argument::init(options, size) }
}

/// Sets all options to their defaults. `size` is `sizeof` the struct.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_add_file_options_init(options: *mut DigNatAddFileOptions, size: usize) {
    // SAFETY: by contract `size` writable bytes or NULL.
    unsafe { argument::init(options, size) }
}

/// Sets all options to their defaults. `size` is `sizeof` the struct.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_nat_options_init(options: *mut DigNatNatOptions, size: usize) {
    // SAFETY: by contract `size` writable bytes or NULL.
    unsafe { argument::init(options, size) }
}

/// Sets all options to their defaults. `size` is `sizeof` the struct.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_mapping_options_init(options: *mut DigNatMappingOptions, size: usize) {
    // SAFETY: by contract `size` writable bytes or NULL.
    unsafe { argument::init(options, size) }
}

/// Sets all options to their defaults. `size` is `sizeof` the struct.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_find_options_init(options: *mut DigNatFindOptions, size: usize) {
    // SAFETY: by contract `size` writable bytes or NULL.
    unsafe { argument::init(options, size) }
}

pub(crate) unsafe fn node(options: *const DigNatNodeOptions) -> Result<NodeOptions> {
    // SAFETY: by contract NULL or a struct with its size, and what it points to lives as long as the call.
    unsafe {
        let c = argument::options(options, "node options")?;
        let mut node = NodeOptions { port: c.port, ..NodeOptions::default() };
        switch(&mut node.enable_ipv6, c.enable_ipv6, "enable_ipv6")?;
        switch(&mut node.prefer_ipv6, c.prefer_ipv6, "prefer_ipv6")?;
        switch(&mut node.enable_tcp, c.enable_tcp, "enable_tcp")?;
        switch(&mut node.enable_udp, c.enable_udp, "enable_udp")?;
        switch(&mut node.local_enabled, c.local_enabled, "local_enabled")?;
        switch(&mut node.dht_enabled, c.dht_enabled, "dht_enabled")?;
        node.dht_network = argument::optional_text(c.dht_network, "dht_network")?.map(str::to_owned);
        node.bootstrap_nodes = argument::texts(c.bootstrap_nodes, c.bootstrap_nodes_count, "bootstrap_nodes")?;
        switch(&mut node.is_shard_host, c.is_shard_host, "is_shard_host")?;
        node.shard_prefixes = argument::texts(c.shard_prefixes, c.shard_prefixes_count, "shard_prefixes")?;
        number(&mut node.num_shard_prefixes, c.num_shard_prefixes);
        number(&mut node.shard_prefix_length, c.shard_prefix_length);
        switch(&mut node.pex_enabled, c.pex_enabled, "pex_enabled")?;
        number(&mut node.pex_interval_ms, c.pex_interval_ms);
        switch(&mut node.gun_enabled, c.gun_enabled, "gun_enabled")?;
        node.gun_peers = argument::texts(c.gun_peers, c.gun_peers_count, "gun_peers")?;
        discovering::node(&mut node, &c)?;
        node.node_type = argument::optional_text(c.node_type, "node_type")?.map(str::to_owned);
        switch(&mut node.local_only, c.local_only, "local_only")?;
        if c.interfaces_count > 0 {
            node.interfaces = argument::texts(c.interfaces, c.interfaces_count, "interfaces")?;
        }
        node.persistence_dir = directory(c.persistence_dir, "persistence_dir")?;
        node.enable_persistence = choice(c.enable_persistence, "enable_persistence")?;
        number(&mut node.max_connections, c.max_connections);
        number(&mut node.upload_limit, c.upload_limit);
        number(&mut node.download_limit, c.download_limit);
        number(&mut node.peer_upload_limit, c.peer_upload_limit);
        number(&mut node.peer_download_limit, c.peer_download_limit);
        node.stun_servers = argument::texts(c.stun_servers, c.stun_servers_count, "stun_servers")?;
        node.turn_servers = traversal::servers(c.turn_servers, c.turn_servers_count)?;
        switch(&mut node.enable_upnp, c.enable_upnp, "enable_upnp")?;
        switch(&mut node.enable_natpmp, c.enable_natpmp, "enable_natpmp")?;
        number(&mut node.port_mapping_lifetime_s, c.port_mapping_lifetime_s);
        node.relays = argument::texts(c.relays, c.relays_count, "relays")?;
        switch(&mut node.relay_server, c.relay_server, "relay_server")?;
        switch(&mut node.light_node, c.light_node, "light_node")?;
        checked(node)
    }
}

pub(crate) unsafe fn host(options: *const DigNatHostOptions) -> Result<HostOptions> {
    // SAFETY: as in `node`.
    unsafe {
        let c = argument::options(options, "host options")?;
        let mut host = HostOptions { directory: directory(c.directory, "directory")?, ..HostOptions::default() };
        number(&mut host.upload_slots, c.upload_slots);
        number(&mut host.chunk_size, c.chunk_size);
        switch(&mut host.enable_watcher, c.enable_watcher, "enable_watcher")?;
        host.watch_dir = directory(c.watch_dir, "watch_dir")?;
        switch(&mut host.watch_recursive, c.watch_recursive, "watch_recursive")?;
        let (include, exclude) = (c.watch_include_extensions_count, c.watch_exclude_extensions_count);
        host.watch_include_extensions =
            argument::texts(c.watch_include_extensions, include, "watch_include_extensions")?;
        host.watch_exclude_extensions =
            argument::texts(c.watch_exclude_extensions, exclude, "watch_exclude_extensions")?;
        number(&mut host.watch_max_file_size, c.watch_max_file_size);
        text(&mut host.watch_announce_priority, c.watch_announce_priority, "watch_announce_priority")?;
        switch(&mut host.watch_persist_hashes, c.watch_persist_hashes, "watch_persist_hashes")?;
        checked(host)
    }
}

pub(crate) unsafe fn client(options: *const DigNatClientOptions) -> Result<ClientOptions> {
    // SAFETY: as in `node`.
    unsafe {
        let c = argument::options(options, "client options")?;
        let mut client = ClientOptions::default();
        if let Some(download_dir) = directory(c.download_dir, "download_dir")? {
            client.download_dir = download_dir;
        }
        number(&mut client.request_timeout_ms, c.request_timeout_ms);
        switch(&mut client.enable_continuous_discovery, c.enable_continuous_discovery, "enable_continuous_discovery")?;
        number(&mut client.max_peers, c.max_peers as usize);
        checked(client)
    }
}

pub(crate) unsafe fn download(options: *const DigNatDownloadOptions) -> Result<DownloadOptions> {
    // SAFETY: as in `node`.
    unsafe {
        let c = argument::options(options, "download options")?;
        let mut download = DownloadOptions {
            save_path: directory(c.save_path, "save_path")?,
            output_dir: directory(c.output_dir, "output_dir")?,
            peers: argument::texts(c.peers, c.peers_count, "peers")?,
            max_peers: (c.max_peers != 0).then_some(c.max_peers as usize),
            discover: choice(c.discover, "discover")?,
            ..DownloadOptions::default()
        };
        number(&mut download.timeout_ms, c.timeout_ms);
        number(&mut download.download_limit, c.download_limit);
        switch(&mut download.share_while_downloading, c.share_while_downloading, "share_while_downloading")?;
        switch(&mut download.overwrite, c.overwrite, "overwrite")?;
        checked(download)
    }
}

pub(crate) unsafe fn add_file(options: *const DigNatAddFileOptions) -> Result<AddFileOptions> {
    // SAFETY: as in `node`.
    unsafe {
        let c = argument::options(options, "add file options")?;
        let content_id = argument::optional_text(c.content_id, "content_id")?.map(str::to_owned);
        let mut file = AddFileOptions { content_id, ..AddFileOptions::default() };
        text(&mut file.priority, c.priority, "priority")?;
        checked(file)
    }
}

pub(crate) unsafe fn nat(options: *const DigNatNatOptions) -> Result<NatOptions> {
    // SAFETY: as in `node`.
    unsafe {
        let c = argument::options(options, "NAT options")?;
        let mut nat = NatOptions {
            stun_servers: argument::texts(c.stun_servers, c.stun_servers_count, "stun_servers")?,
            ..NatOptions::default()
        };
        number(&mut nat.timeout_ms, c.timeout_ms);
        switch(&mut nat.enable_ipv6, c.enable_ipv6, "enable_ipv6")?;
        switch(&mut nat.use_natpmp, c.use_natpmp, "use_natpmp")?;
        switch(&mut nat.local_only, c.local_only, "local_only")?;
        checked(nat)
    }
}

pub(crate) unsafe fn mapping(options: *const DigNatMappingOptions) -> Result<MappingOptions> {
    // SAFETY: as in `node`.
    unsafe {
        let c = argument::options(options, "mapping options")?;
        let mut mapping = MappingOptions {
            internal_port: c.internal_port,
            external_port: c.external_port,
            ..MappingOptions::default()
        };
        if let Some(protocol) = argument::optional_text(c.protocol, "protocol")? {
            protocol.clone_into(&mut mapping.protocol);
        }
        if let Some(description) = argument::optional_text(c.description, "description")? {
            description.clone_into(&mut mapping.description);
        }
        number(&mut mapping.ttl_s, c.ttl_s);
        number(&mut mapping.timeout_ms, c.timeout_ms);
        checked(mapping)
    }
}

pub(crate) unsafe fn find(options: *const DigNatFindOptions) -> Result<FindOptions> {
    // SAFETY: as in `node`.
    unsafe {
        let c = argument::options(options, "find options")?;
        let mut find = FindOptions::default();
        number(&mut find.max_peers, c.max_peers as usize);
        number(&mut find.timeout_ms, c.timeout_ms);
        checked(find)
    }
}

fn checked<T: FromJson>(options: T) -> Result<T> {
    options.validate()?;
    Ok(options)
}

fn choice(value: DigNatSwitch, name: &str) -> Result<Option<bool>> {
    match value {
        DIG_NAT_SWITCH_DEFAULT => Ok(None),
        DIG_NAT_SWITCH_ON => Ok(Some(true)),
        DIG_NAT_SWITCH_OFF => Ok(Some(false)),
        other => Err(dig_nat_core::Error::invalid(name, format_args!("{other} is not a DIG_NAT_SWITCH_ number"))),
    }
}

fn switch(option: &mut bool, value: DigNatSwitch, name: &str) -> Result<()> {
    if let Some(value) = choice(value, name)? {
        *option = value;
    }
    Ok(())
}

/// A text that has a default; NULL leaves it.
unsafe fn text(option: &mut String, pointer: *const c_char, name: &str) -> Result<()> {
    // SAFETY: handed on.
    if let Some(text) = unsafe { argument::optional_text(pointer, name) }? {
        text.clone_into(option);
    }
    Ok(())
}

fn number<T: Default + PartialEq>(option: &mut T, value: T) {
    if value != T::default() {
        *option = value;
    }
}

unsafe fn directory(pointer: *const c_char, name: &str) -> Result<Option<PathBuf>> {
    // SAFETY: handed on.
    let text = unsafe { argument::optional_text(pointer, name) }?;
    Ok(text.filter(|text| !text.is_empty()).map(PathBuf::from))
}

mod connecting;
mod discovering;

pub use connecting::*;
pub use discovering::*;
pub use watching::*;

#[cfg(test)]
mod tests;
