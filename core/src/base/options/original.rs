//! Names of options that programs of the original package may give without an effect here. Not here: options that do
//! something (the tables of the sets).

use super::{
    AddFileOptions, AnnounceOptions, ClientOptions, ConnectOptions, DownloadOptions, FindOptions, FromJson,
    HostOptions, IceOptions, KnownPeersOptions, MappingOptions, NatOptions, NodeOptions, OptionInfo, PunchOptions,
    RegistryOptions, SaveConnectionOptions, TurnOptions, WatchOptions,
};

/// Options of the original package that are handled by the bindings, or that nothing here corresponds to: caches, queues
/// and timers of its own, and what the engine measures instead.
pub const ORIGINAL: &[&str] = &[
    // Objects of the program and nested options, which bindings take apart.
    "dhtOptions",
    "errorCallback",
    "gun",
    "gunInstance",
    "gunOptions",
    "hostFileCallback",
    "iceOptions",
    "instance",
    "localOptions",
    "onError",
    "onPeerStatus",
    "onProgress",
    "peerStatusCallback",
    "pexOptions",
    "progressCallback",
    "signal",
    "signaling",
    "turnOptions",
    // Arguments that some of its calls took among the options.
    "address",
    "addresses",
    "announcePort",
    "contentId",
    "fileHash",
    "host",
    "hostId",
    "peerId",
    "tryMultipleServers",
    "verificationHash",
    // Of hosts, clients and managers.
    "bandwidthCheckInterval",
    "concurrency",
    "connectionType",
    "enableLogging",
    "enableNatTraversal",
    "enableWebRTC",
    "existingSocket",
    "failFast",
    "localId",
    "localUDPPort",
    "maxConcurrency",
    "maxMemoryMB",
    "methodTimeout",
    "minConcurrency",
    "preferredConnectionTypes",
    "remoteAddress",
    "remotePort",
    "slowPeerThreshold",
    "udpPort",
    // Of downloads.
    "chunkRequestDelay",
    "connectionTimeout",
    "enableTCPFallback",
    "maxRetries",
    "peerConcurrency",
    "startChunk",
    "strategy",
    // Of discovery.
    "announceInterval",
    "announceName",
    "announcePeriod",
    "announceTTL",
    "cleanupInterval",
    "contentMapName",
    "deduplicate",
    "maxCachedPeers",
    "namespace",
    "peerDeduplication",
    "peerExpiration",
    "peerMapName",
    "peerTTL",
    "serviceType",
    "updateAgeOnGet",
    "useBloomFilter",
];

/// Every option there is.
const ALL: &[&[OptionInfo]] = &[
    NodeOptions::TABLE,
    HostOptions::TABLE,
    ClientOptions::TABLE,
    DownloadOptions::TABLE,
    AddFileOptions::TABLE,
    WatchOptions::TABLE,
    AnnounceOptions::TABLE,
    FindOptions::TABLE,
    KnownPeersOptions::TABLE,
    ConnectOptions::TABLE,
    NatOptions::TABLE,
    MappingOptions::TABLE,
    PunchOptions::TABLE,
    IceOptions::TABLE,
    TurnOptions::TABLE,
    RegistryOptions::TABLE,
    SaveConnectionOptions::TABLE,
];

/// Whether the original package, or another call of this one, has an option of this name.
pub(super) fn has(name: &str) -> bool {
    let known = |info: &OptionInfo| info.json == name || info.aliases.contains(&name);
    ORIGINAL.contains(&name) || ALL.iter().copied().flatten().any(known)
}
