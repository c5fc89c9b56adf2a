//! The machine-readable list of what the library offers, from which bindings and documentation are checked.

use serde_json::{Value, json};

use crate::base::error::ErrorKind;
use crate::base::options::{
    AddFileOptions, AnnounceOptions, ClientOptions, ConnectOptions, DownloadOptions, FindOptions, FromJson,
    HostOptions, IceOptions, KnownPeersOptions, MappingOptions, NatOptions, NodeOptions, ORIGINAL, PunchOptions,
    RegistryOptions, SaveConnectionOptions, TurnOptions, WatchOptions,
};

/// Operations that every binding offers, as `object.operation`.
const OPERATIONS: &[&str] = &[
    "FileHost.start",
    "FileHost.stop",
    "FileHost.port",
    "FileHost.host_id",
    "FileHost.peer_id",
    "FileHost.addresses",
    "FileHost.add_file",
    "FileHost.add_directory",
    "FileHost.watch_directory",
    "FileHost.unwatch_directory",
    "FileHost.remove_file",
    "FileHost.has_file",
    "FileHost.files",
    "FileHost.add_content_mapping",
    "FileHost.hash_for_content",
    "FileHost.content_for_hash",
    "FileHost.shard_prefixes",
    "FileHost.subscribe",
    "FileHost.nat_profile",
    "FileClient.start",
    "FileClient.stop",
    "FileClient.port",
    "FileClient.client_id",
    "FileClient.peer_id",
    "FileClient.find_peers",
    "FileClient.download",
    "FileClient.file_info",
    "FileClient.add_peer",
    "FileClient.set_continuous_discovery",
    "FileClient.subscribe",
    "FileClient.nat_profile",
    "NetworkManager.start",
    "NetworkManager.stop",
    "NetworkManager.port",
    "NetworkManager.peer_id",
    "NetworkManager.addresses",
    "NetworkManager.connect",
    "NetworkManager.connect_to_peer",
    "NetworkManager.diagnose",
    "NetworkManager.accept",
    "NetworkManager.find_peers",
    "NetworkManager.download",
    "NetworkManager.share_file",
    "NetworkManager.set_continuous_discovery",
    "NetworkManager.connection_type",
    "NetworkManager.nat_profile",
    "PeerDiscoveryManager.start",
    "PeerDiscoveryManager.stop",
    "PeerDiscoveryManager.port",
    "PeerDiscoveryManager.peer_id",
    "PeerDiscoveryManager.addresses",
    "PeerDiscoveryManager.announce",
    "PeerDiscoveryManager.withdraw",
    "PeerDiscoveryManager.watch",
    "PeerDiscoveryManager.unwatch",
    "PeerDiscoveryManager.find_peers",
    "PeerDiscoveryManager.peers",
    "PeerDiscoveryManager.add_peer",
    "PeerDiscoveryManager.add_content_mapping",
    "PeerDiscoveryManager.remove_content_mapping",
    "PeerDiscoveryManager.hash_for_content",
    "PeerDiscoveryManager.content_for_hash",
    "PeerDiscoveryManager.find_hash",
    "PeerDiscoveryManager.find_node",
    "PeerDiscoveryManager.shard_prefixes",
    "PeerDiscoveryManager.subscribe",
    "Connection.send",
    "Connection.receive",
    "Connection.close",
    "PunchedSocket.info",
    "PunchedSocket.send",
    "PunchedSocket.receive",
    "PunchedSocket.close",
    "TurnAllocation.info",
    "TurnAllocation.permit",
    "TurnAllocation.send_to",
    "TurnAllocation.receive",
    "TurnAllocation.refresh",
    "TurnAllocation.release",
    "ConnectionRegistry.open",
    "ConnectionRegistry.successful_methods",
    "ConnectionRegistry.connection_method",
    "ConnectionRegistry.save",
    "ConnectionRegistry.remove",
    "ConnectionRegistry.cleanup",
    "connect_with_ice",
    "create_turn_allocation",
    "create_upnp_mapping",
    "delete_upnp_mapping",
    "detect_nat_type",
    "diagnose",
    "discover_public_ips",
    "download_file",
    "calculate_sha256",
    "calculate_sha256_file",
    "external_address_upnp",
    "punch_tcp",
    "punch_udp",
    "tcp_simultaneous_open",
];

/// Version, error kinds, option sets with defaults, and operations as one JSON value.
pub fn manifest() -> Value {
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "errors": ErrorKind::ALL.iter().map(|kind| json!({
            "name": kind.name(),
            "number": kind.number(),
            "code": kind.code(),
            "advice": kind.advice(),
            "doc": kind.doc().trim(),
        })).collect::<Vec<_>>(),
        "options": {
            "NodeOptions": set::<NodeOptions>(),
            "HostOptions": set::<HostOptions>(),
            "ClientOptions": set::<ClientOptions>(),
            "DownloadOptions": set::<DownloadOptions>(),
            "AddFileOptions": set::<AddFileOptions>(),
            "FindOptions": set::<FindOptions>(),
            "NatOptions": set::<NatOptions>(),
            "MappingOptions": set::<MappingOptions>(),
            "ConnectOptions": set::<ConnectOptions>(),
            "PunchOptions": set::<PunchOptions>(),
            "TurnOptions": set::<TurnOptions>(),
            "IceOptions": set::<IceOptions>(),
            "RegistryOptions": set::<RegistryOptions>(),
            "SaveConnectionOptions": set::<SaveConnectionOptions>(),
            "AnnounceOptions": set::<AnnounceOptions>(),
            "KnownPeersOptions": set::<KnownPeersOptions>(),
            "WatchOptions": set::<WatchOptions>(),
        },
        // Other names of the original package, which do nothing in the engine.
        "original": ORIGINAL,
        "operations": OPERATIONS,
    })
}

fn set<T: FromJson>() -> Value {
    let defaults = serde_json::to_value(T::default()).expect("options are plain records");
    T::TABLE
        .iter()
        .map(|info| {
            // What the environment sets is not a default of the library.
            let default = match info.name {
                "local_only" => json!(false),
                "interfaces" => json!([]),
                _ => defaults[info.json].clone(),
            };
            json!({
                "name": info.name,
                "json": info.json,
                "aliases": info.aliases,
                "type": info.kind.replace(' ', ""),
                "default": default,
                "doc": info.doc.trim(),
            })
        })
        .collect()
}
