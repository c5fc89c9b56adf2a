/*
 * dig_nat.h - peer-to-peer files by SHA-256, through NATs and firewalls.
 *
 * Generated from the crate in ffi/; do not edit. Link with -ldig_nat (pkg-config: dig_nat, CMake: dig_nat::dig_nat).
 *
 * A program makes a runtime, from it a host, client or manager, starts operations on these, waits for their tasks (or
 * is called back), and frees everything, the runtime last. ffi/examples has complete programs.
 *
 * OBJECTS. DigNatRuntime, DigNatHost and so on are handles: copy and compare them, nothing else. Whatever a function
 * hands out through a `Type **` or as `Type *` belongs to the caller and is freed with dig_nat_<type>_free; freeing NULL
 * is fine. What is handed out as `const Type *` or `const char *`, and what a callback is given, belongs to the library:
 * it is valid until the object it came from is freed, or until the callback returns. Text handed out as `char *` is
 * freed with dig_nat_string_free.
 *
 * MISTAKES. A handle that was freed, never existed, is NULL, or is of another type makes a call fail with
 * DIG_NAT_STATUS_INVALID_ARGUMENT (functions without a status return 0, NULL or false); freeing one twice does nothing.
 * No such mistake crashes the program. This does not hold for memory that the library must read or write itself: text,
 * arrays, structs and out pointers have to be valid, and `char *` and borrowed `const char *` must not be used after
 * their free.
 *
 * AFTER STOP. A host, client or manager that was stopped still answers questions about itself; what needs it running
 * fails with DIG_NAT_STATUS_INVALID_STATE until it is started again. Its tasks end with DIG_NAT_STATUS_CANCELLED. Starting
 * and stopping twice is fine. Freeing one that runs stops it. After dig_nat_runtime_free everything made from that runtime
 * fails with DIG_NAT_STATUS_INVALID_STATE but must still be freed.
 *
 * ERRORS. Functions return a DigNatStatus; 0 is success. A last parameter `DigNatError **error`, if not NULL, receives
 * an error object on failure and NULL on success. It carries number, code, message and advice, and belongs to the
 * caller. There is no hidden "last error". Out pointers are set to NULL on failure.
 *
 * TASKS. Functions with the parameters `done`, `user`, `task` start an operation and return at once. If the status is
 * not 0 nothing was started and no callback will come. Else `done`, if not NULL, is called exactly once, with either a
 * result or an error, even if the task is cancelled or freed or the runtime is freed; `user` must stay valid until then.
 * `*task`, if wanted, is set before any callback can run; wait for it, cancel it, free it. Both ways can be combined.
 *
 * THREADS. Every function may be called from every thread. All callbacks of a runtime run on one thread of the library,
 * one at a time and in order: the progress calls of a task before its completion. A callback may call any function
 * except the two that wait (dig_nat_task_wait, dig_nat_subscription_next), should return soon, and must not throw, longjmp
 * or end its thread. Do not use the library in a child process after fork() without exec().
 *
 * OPTIONS. Fill options structs with their _init function and set what you want to differ; a field that is zero or NULL,
 * and a NULL struct, mean the default. Structs begin with their size, so that a program and a library of different
 * versions fit. They are only read during the call.
 *
 * TEXT is UTF-8 and ends with a NUL byte, paths too. Hashes are 64 hex digits. A "key" is a hash or a readable id.
 * Numbers carry their unit in the name: _ms are milliseconds; sizes and limits are bytes and bytes per second.
 */


#ifndef DIG_NAT_H
#define DIG_NAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
/** Version of this header; dig_nat_version() is that of the library. */
#define DIG_NAT_VERSION_MAJOR 0
#define DIG_NAT_VERSION_MINOR 1
#define DIG_NAT_VERSION_PATCH 0
/** MAJOR * 1000000 + MINOR * 1000 + PATCH */
#define DIG_NAT_VERSION_NUMBER 1000
#define DIG_NAT_VERSION "0.1.0"

/**
 * Bytes of a hash as text: 64 hex digits and the NUL behind them.
 */
#define DIG_NAT_HASH_TEXT_BYTES 65

/**
 * The default of this option.
 */
#define DIG_NAT_SWITCH_DEFAULT 0

/**
 * On, whatever the default is.
 */
#define DIG_NAT_SWITCH_ON 1

/**
 * Off, whatever the default is.
 */
#define DIG_NAT_SWITCH_OFF 2

/**
 * Wait as long as it takes.
 */
#define DIG_NAT_WAIT_FOREVER UINT32_MAX

/**
 * What a call or a task came to. Numbers are grouped by area, never change and are never reused; later versions may
 * add some, so treat a number you do not know as a failure.
 */
typedef enum DigNatStatus {
    /**
     * Success.
     */
    DIG_NAT_STATUS_OK = 0,
    /**
     * A bug in this library.
     */
    DIG_NAT_STATUS_INTERNAL = 1,
    /**
     * An argument or option has a value that cannot work; the message names it.
     */
    DIG_NAT_STATUS_INVALID_ARGUMENT = 10,
    /**
     * The call needs a running object, or one that is not running.
     */
    DIG_NAT_STATUS_INVALID_STATE = 11,
    /**
     * The caller cancelled the operation.
     */
    DIG_NAT_STATUS_CANCELLED = 12,
    /**
     * The operation did not finish in time.
     */
    DIG_NAT_STATUS_TIMEOUT = 13,
    /**
     * A limit of this node is reached.
     */
    DIG_NAT_STATUS_LIMIT_REACHED = 14,
    /**
     * A local file or directory does not exist.
     */
    DIG_NAT_STATUS_FILE_NOT_FOUND = 20,
    /**
     * The operating system denied access to a file or directory.
     */
    DIG_NAT_STATUS_PERMISSION_DENIED = 21,
    /**
     * The disk has no room for the file.
     */
    DIG_NAT_STATUS_DISK_FULL = 22,
    /**
     * A file is in use by another download or process.
     */
    DIG_NAT_STATUS_FILE_BUSY = 23,
    /**
     * A shared file changed after it was hashed.
     */
    DIG_NAT_STATUS_FILE_CHANGED = 24,
    /**
     * Any other failure of reading or writing local data.
     */
    DIG_NAT_STATUS_IO = 25,
    /**
     * A port or address cannot be listened on.
     */
    DIG_NAT_STATUS_ADDRESS_IN_USE = 30,
    /**
     * A peer could not be reached.
     */
    DIG_NAT_STATUS_PEER_UNREACHABLE = 31,
    /**
     * An established connection ended.
     */
    DIG_NAT_STATUS_CONNECTION_CLOSED = 32,
    /**
     * A peer broke the protocol.
     */
    DIG_NAT_STATUS_PROTOCOL = 33,
    /**
     * Nobody who has the content was found.
     */
    DIG_NAT_STATUS_NO_PEERS = 40,
    /**
     * The peers that were asked do not have the content.
     */
    DIG_NAT_STATUS_CONTENT_NOT_FOUND = 41,
    /**
     * Received data does not have the requested hash.
     */
    DIG_NAT_STATUS_VERIFICATION_FAILED = 42,
} DigNatStatus;

/**
 * An address at a TURN server that relays datagrams to us, prolonged as long as it is held. It is released when it is
 * freed.
 */
typedef struct DigNatAllocation DigNatAllocation;

/**
 * Downloads files. Nothing is opened before it is started.
 */
typedef struct DigNatClient DigNatClient;

/**
 * A message connection: ordered, reliable, both directions. It closes when it is freed.
 */
typedef struct DigNatConnection DigNatConnection;

/**
 * Finds peers and makes hosts of this process findable. Which ways take part say dht_enabled, pex_enabled, local_enabled
 * and gun_enabled of the node options. Nothing is opened before it is started.
 */
typedef struct DigNatDiscovery DigNatDiscovery;

/**
 * Why something failed: a status, what was being done, and what to do about it.
 */
typedef struct DigNatError DigNatError;

/**
 * Shares files with whoever asks. Nothing is opened before it is started.
 */
typedef struct DigNatHost DigNatHost;

/**
 * Shares, downloads and exchanges messages. Nothing is opened before it is started.
 */
typedef struct DigNatManager DigNatManager;

/**
 * Which way led to a peer last, kept across runs for 45 days. One program at a time should use a directory: of two, the
 * one that writes last wins.
 */
typedef struct DigNatRegistry DigNatRegistry;

/**
 * What an operation or a listing gave. Fields that do not apply are NULL, 0 or false.
 */
typedef struct DigNatResult DigNatResult;

/**
 * The threads of the library. Make one, make everything else from it, free it last.
 */
typedef struct DigNatRuntime DigNatRuntime;

/**
 * Signalling for one attempt: the program takes messages out, brings them to the peer by any private and authenticated
 * means, and delivers those of the peer.
 */
typedef struct DigNatSignaling DigNatSignaling;

/**
 * A way to one peer: datagrams, which may be lost, or a stream. Nothing is encrypted on it. It closes when it is freed.
 */
typedef struct DigNatSocket DigNatSocket;

/**
 * A subscription to the events of a host, client or manager; freeing it unsubscribes.
 */
typedef struct DigNatSubscription DigNatSubscription;

/**
 * A running operation.
 */
typedef struct DigNatTask DigNatTask;

/**
 * A switch in an options struct: one of the DIG_NAT_SWITCH_ numbers.
 */
typedef int32_t DigNatSwitch;

/**
 * A TURN server in the form of WebRTC. It has no size field and will not grow.
 */
typedef struct DigNatTurnServer {
    /**
     * "turn:host[:port][?transport=tcp]", "turns:host[:port]" or "host[:port]".
     */
    const char *url;
    /**
     * User name. NULL for none.
     */
    const char *username;
    /**
     * Password. NULL for none.
     */
    const char *credential;
} DigNatTurnServer;

/**
 * Options every node has, whatever its role.
 */
typedef struct DigNatNodeOptions {
    /**
     * Bytes of this struct; set by dig_nat_node_options_init.
     */
    size_t size;
    /**
     * TCP and UDP port to listen on. Default 0: a free port chosen by the system, the same for both.
     */
    uint16_t port;
    /**
     * Listen on IPv6 as well as IPv4 and dial both. Default off.
     */
    DigNatSwitch enable_ipv6;
    /**
     * Dial a peer's IPv6 addresses a quarter of a second before its IPv4 ones; off is the other way round. It does nothing
     * without enable_ipv6. Default on.
     */
    DigNatSwitch prefer_ipv6;
    /**
     * Accept and dial TCP connections. Default on.
     */
    DigNatSwitch enable_tcp;
    /**
     * Accept and dial QUIC (UDP) connections. Default on.
     */
    DigNatSwitch enable_udp;
    /**
     * Find peers and be found on the local network by multicast DNS. Default on.
     */
    DigNatSwitch local_enabled;
    /**
     * Find peers and be found in the distributed hash table. Default on.
     */
    DigNatSwitch dht_enabled;
    /**
     * The hash table to take part in: "public" (libp2p and IPFS) or "private" (nodes of this library). Default NULL:
     * public without bootstrap nodes, private with them or when local_only is on.
     */
    const char *dht_network;
    /**
     * Nodes ("host:port" or multiaddrs) by which this one joins the hash table. Default NULL: the well-known ones of the
     * public table.
     */
    const char *const *bootstrap_nodes;
    /**
     * How many bootstrap nodes.
     */
    size_t bootstrap_nodes_count;
    /**
     * Keep the part of the hash table that shard_prefixes names, and tell others so. Default off.
     */
    DigNatSwitch is_shard_host;
    /**
     * Parts of the hash table that this node keeps for others: beginnings of positions in it (hex digits), or ranges as
     * "00-3f". Default NULL: on a shard host random ones, elsewhere none.
     */
    const char *const *shard_prefixes;
    /**
     * How many prefixes.
     */
    size_t shard_prefixes_count;
    /**
     * Random prefixes of a shard host that names none. Default 3, range 1 to 256.
     */
    uint32_t num_shard_prefixes;
    /**
     * Hex digits of random prefixes. Default 2, range 1 to 8.
     */
    uint32_t shard_prefix_length;
    /**
     * Tell connected peers of others that have the same content, and hear it from them. Default on.
     */
    DigNatSwitch pex_enabled;
    /**
     * Pause between two messages of peer exchange to one peer, in ms. Peers take one a minute, so less counts as 60000.
     * Default 60000, range 1000 to 86400000.
     */
    uint64_t pex_interval_ms;
    /**
     * Find peers and be found through Gun relays. Default on; it does nothing without gun_peers.
     */
    DigNatSwitch gun_enabled;
    /**
     * Gun relays ("https://host/gun", "ws://host:port/gun"). Default NULL: none.
     */
    const char *const *gun_peers;
    /**
     * How many Gun relays.
     */
    size_t gun_peers_count;
    /**
     * Name of this node in the Gun graph. Default NULL: its peer id, under which nobody believes anything unsigned.
     */
    const char *gun_node_id;
    /**
     * Node of the Gun graph below which everything stands. Default NULL: the two below are roots.
     */
    const char *gun_namespace;
    /**
     * Node of the Gun graph below which peers stand. Default NULL: "dig-peers".
     */
    const char *gun_peer_map_name;
    /**
     * Node of the Gun graph below which content ids stand. Default NULL: "dig-content-maps".
     */
    const char *gun_content_map_name;
    /**
     * How often announcements to Gun are written again, in ms. Default 60000, range 100 to 86400000.
     */
    uint64_t gun_announce_interval_ms;
    /**
     * How long announcements to Gun hold, in ms, at most 48 h. Default 3600000, range 1000 to 31536000000.
     */
    uint64_t gun_announce_ttl_ms;
    /**
     * How long unsigned records of others hold that do not say so, in ms, at most 48 h. Default 3600000, range 1000 to
     * 31536000000.
     */
    uint64_t gun_peer_ttl_ms;
    /**
     * How often expired records are forgotten, in ms. Default 300000, range 1000 to 86400000.
     */
    uint64_t gun_cleanup_interval_ms;
    /**
     * Peers that Gun names for one content which are remembered, at most 100. Default 100, range 1 to 1000000.
     */
    size_t gun_max_cached_peers;
    /**
     * Address at which this node is reached from outside, told to others besides those it finds itself. Default NULL: none.
     */
    const char *external_ip;
    /**
     * Port there, for TCP and UDP. Default 0: the one it listens on.
     */
    uint16_t external_port;
    /**
     * Contact nothing but the local network and addresses given by the user. Default off, or on when the environment
     * variable DIG_NAT_LOCAL_ONLY is 1.
     */
    DigNatSwitch local_only;
    /**
     * Interfaces (names or addresses) used for listening addresses and local discovery. Default NULL: all, or the
     * comma-separated list in the environment variable DIG_NAT_INTERFACES.
     */
    const char *const *interfaces;
    /**
     * How many interfaces.
     */
    size_t interfaces_count;
    /**
     * Directory for state that outlives the process (identity, hash cache). Default NULL: nothing is kept.
     */
    const char *persistence_dir;
    /**
     * Keep state in persistence_dir ("./.dig-nat-tools" when unset). Default: on when persistence_dir is set.
     */
    DigNatSwitch enable_persistence;
    /**
     * How much this node remembers of others: "light", "standard" or "super". Default NULL: light for a client, else
     * standard.
     */
    const char *node_type;
    /**
     * Peers remembered in all. Default 0: by node_type. Range 1 to 100000.
     */
    size_t max_known_peers;
    /**
     * Contents for which peers are remembered, those searched for in the background included. Default 0: by node_type.
     * Range 1 to 10000.
     */
    size_t max_cached_hashes;
    /**
     * Peers remembered of one content. Default 0: by node_type. Range 1 to 1000.
     */
    size_t max_cached_peers_per_hash;
    /**
     * Connections held at once. Default 1000, range 1 to 100000.
     */
    uint32_t max_connections;
    /**
     * Upload limit of the whole node in bytes per second. Default 0: none.
     */
    uint64_t upload_limit;
    /**
     * Download limit of the whole node in bytes per second. Default 0: none.
     */
    uint64_t download_limit;
    /**
     * Upload limit per peer in bytes per second. Default 0: none.
     */
    uint64_t peer_upload_limit;
    /**
     * Download limit per peer in bytes per second. Default 0: none.
     */
    uint64_t peer_download_limit;
    /**
     * STUN servers ("host:port" or "stun:host:port") that tell this node its public address and the kind of NAT in front
     * of it. Default NULL: three public ones, or none when local_only is on.
     */
    const char *const *stun_servers;
    /**
     * How many STUN servers.
     */
    size_t stun_servers_count;
    /**
     * TURN servers over which peers are reached when nothing else works; the first one is used. Default NULL: none.
     */
    const struct DigNatTurnServer *turn_servers;
    /**
     * How many TURN servers.
     */
    size_t turn_servers_count;
    /**
     * Ask the router by UPnP to forward the port. Default on; never done when local_only is on.
     */
    DigNatSwitch enable_upnp;
    /**
     * Ask the router by PCP and NAT-PMP to forward the port. Default on; never done when local_only is on.
     */
    DigNatSwitch enable_natpmp;
    /**
     * Lifetime asked for port mappings, which are renewed at half of it, in seconds. Default 3600, range 120 to 86400.
     */
    uint32_t port_mapping_lifetime_s;
    /**
     * Relays (multiaddrs with their peer id) through which this node can be reached while it cannot directly. Default
     * NULL: none.
     */
    const char *const *relays;
    /**
     * How many relays.
     */
    size_t relays_count;
    /**
     * Forward bytes between peers that cannot reach each other. Default off.
     */
    DigNatSwitch relay_server;
    /**
     * Never upload, not even pieces of running downloads. Default off.
     */
    DigNatSwitch light_node;
} DigNatNodeOptions;

/**
 * Options of a client or manager beyond those of every node.
 */
typedef struct DigNatClientOptions {
    /**
     * Bytes of this struct; set by dig_nat_client_options_init.
     */
    size_t size;
    /**
     * Directory for downloads that are given no path. Default NULL: the current directory.
     */
    const char *download_dir;
    /**
     * Time for the first answer of a peer, in ms. Default 30000, range 100 to 3600000.
     */
    uint64_t request_timeout_ms;
    /**
     * Keep looking for further peers while a download runs. Default on.
     */
    DigNatSwitch enable_continuous_discovery;
    /**
     * Peers one download uses at once. Default 10, range 1 to 500.
     */
    uint32_t max_peers;
} DigNatClientOptions;

/**
 * Called exactly once when an operation has ended. Exactly one of `result` and `error` is not NULL; both belong to the
 * library and are valid during the call. `user` is what was given with the callback.
 */
typedef void (*DigNatDoneFn)(void *user, const struct DigNatResult *result, const struct DigNatError *error);

/**
 * Options of a search for peers.
 */
typedef struct DigNatFindOptions {
    /**
     * Bytes of this struct; set by dig_nat_find_options_init.
     */
    size_t size;
    /**
     * Stop after so many peers. Default 50, range 1 to 1000.
     */
    uint32_t max_peers;
    /**
     * Time of the search in ms. Default 5000, range 1 to 3600000.
     */
    uint64_t timeout_ms;
} DigNatFindOptions;

/**
 * Options of one download.
 */
typedef struct DigNatDownloadOptions {
    /**
     * Bytes of this struct; set by dig_nat_download_options_init.
     */
    size_t size;
    /**
     * Target file. Default NULL: output_dir and the name the peers offer, made safe, else the hash.
     */
    const char *save_path;
    /**
     * Target directory when save_path is NULL. Default NULL: the client's download_dir.
     */
    const char *output_dir;
    /**
     * Peers to ask: "host:port", multiaddr, or peer id. Default NULL: discovery finds them.
     */
    const char *const *peers;
    /**
     * How many peers.
     */
    size_t peers_count;
    /**
     * Peers used at once. Default 0: the client's max_peers. Range 1 to 500.
     */
    uint32_t max_peers;
    /**
     * Give up when no peer that has the content was found for so long, in ms. Default 30000, range 1 to 86400000.
     */
    uint64_t timeout_ms;
    /**
     * Search for peers besides those given. Default: the client's enable_continuous_discovery.
     */
    DigNatSwitch discover;
    /**
     * Download limit in bytes per second. Default 0: none.
     */
    uint64_t download_limit;
    /**
     * Serve pieces to others while downloading. Default on; a light node never does.
     */
    DigNatSwitch share_while_downloading;
    /**
     * Replace an existing target file whose content differs. Default on.
     */
    DigNatSwitch overwrite;
} DigNatDownloadOptions;

/**
 * The state of a download. Belongs to the library and is valid during the callback.
 */
typedef struct DigNatProgress {
    /**
     * Bytes of this struct; later versions append fields.
     */
    size_t size;
    /**
     * Verified bytes, those of an earlier run included.
     */
    uint64_t bytes;
    /**
     * Size of the file, 0 while unknown.
     */
    uint64_t total;
    /**
     * bytes / total, 0 to 1; 1 for a finished empty file. Never NaN.
     */
    double fraction;
    /**
     * Bytes per second over the last seconds.
     */
    double rate;
    /**
     * Seconds left at this rate, negative while unknown.
     */
    double eta_seconds;
    /**
     * Peers of this download.
     */
    size_t peer_count;
    /**
     * What each of them does, as a JSON array of {peer, status, bytes, rate, connectionType}.
     */
    const char *peers_json;
} DigNatProgress;

/**
 * Called with the state of a download: first and last state always, at most 20 times a second, never after the
 * completion. `user` is what was given with the callback.
 */
typedef void (*DigNatProgressFn)(void *user, const struct DigNatProgress *progress);

/**
 * Called with each event as a JSON object with a field `type` ("started", "peer:connected", ...). The text belongs to
 * the library and is valid during the call. `user` is what was given with the callback.
 */
typedef void (*DigNatEventFn)(void *user, const char *event_json);

/**
 * Options of announcing a content.
 */
typedef struct DigNatAnnounceOptions {
    /**
     * Bytes of this struct; set by dig_nat_announce_options_init.
     */
    size_t size;
    /**
     * Port of the host in this process that has the content. Default 0: the object that is asked to announce.
     */
    uint16_t port;
    /**
     * Readable id under which it is announced too. Default NULL: none.
     */
    const char *content_id;
    /**
     * "high": everywhere, "medium": local network, hash table and connected peers, "low": only the local network. Default
     * NULL: "high".
     */
    const char *priority;
    /**
     * How long it is announced, in ms; after that it is taken back, unless it was announced again. It ends with the stop
     * too. Default 0: until it is taken back. Range 1000 to 31536000000.
     */
    uint64_t ttl_ms;
} DigNatAnnounceOptions;

/**
 * Options of asking who is known.
 */
typedef struct DigNatKnownPeersOptions {
    /**
     * Bytes of this struct; set by dig_nat_known_peers_options_init.
     */
    size_t size;
    /**
     * Only peers that may have this hash or readable id. Default NULL: all.
     */
    const char *key;
    /**
     * Only peers found in this way: "manual", "local", "gun", "dht" or "pex". Default NULL: all.
     */
    const char *source;
} DigNatKnownPeersOptions;

/**
 * Options of a file host beyond those of every node.
 */
typedef struct DigNatHostOptions {
    /**
     * Bytes of this struct; set by dig_nat_host_options_init.
     */
    size_t size;
    /**
     * Directory whose files are shared at start, recursively. Default NULL: none.
     */
    const char *directory;
    /**
     * Peers served at once (one of them the optimistic choice) while more want data. Default 4, range 1 to 1000.
     */
    uint32_t upload_slots;
    /**
     * Bytes per chunk for content that is not a file. Default 65536, range 1024 to 16777216.
     */
    uint32_t chunk_size;
    /**
     * Follow what changes in directory: new files are shared, removed ones withdrawn. Default off.
     */
    DigNatSwitch enable_watcher;
    /**
     * Directory whose files are shared at start and followed from then on. Default NULL: directory, with enable_watcher.
     */
    const char *watch_dir;
    /**
     * Follow subdirectories too. Default on.
     */
    DigNatSwitch watch_recursive;
    /**
     * Of the followed directory share only files with one of these extensions. Default NULL: all.
     */
    const char *const *watch_include_extensions;
    /**
     * How many extensions.
     */
    size_t watch_include_extensions_count;
    /**
     * Of the followed directory share no file with one of these extensions. Default NULL: none.
     */
    const char *const *watch_exclude_extensions;
    /**
     * How many extensions.
     */
    size_t watch_exclude_extensions_count;
    /**
     * Of the followed directory share no larger file, in bytes. Default 0: no limit.
     */
    uint64_t watch_max_file_size;
    /**
     * How widely the files of the followed directory are announced: "high", "medium" or "low". Default NULL: "high".
     */
    const char *watch_announce_priority;
    /**
     * Keep the hashes of shared files with the other state, so that a restart need not hash them again. Default on.
     */
    DigNatSwitch watch_persist_hashes;
} DigNatHostOptions;

/**
 * Options of adding a file.
 */
typedef struct DigNatAddFileOptions {
    /**
     * Bytes of this struct; set by dig_nat_add_file_options_init.
     */
    size_t size;
    /**
     * Readable id under which the file can also be found. Default NULL: none.
     */
    const char *content_id;
    /**
     * How widely it is announced: "high", "medium" or "low". Default NULL: "high".
     */
    const char *priority;
} DigNatAddFileOptions;

/**
 * Options of sharing a directory and following what changes in it.
 */
typedef struct DigNatWatchOptions {
    /**
     * Bytes of this struct; set by dig_nat_watch_options_init.
     */
    size_t size;
    /**
     * Subdirectories too. Default on.
     */
    DigNatSwitch recursive;
    /**
     * Share only files with one of these extensions, in upper or lower case. Default NULL: all.
     */
    const char *const *include_extensions;
    /**
     * How many extensions.
     */
    size_t include_extensions_count;
    /**
     * Share no file with one of these extensions. Default NULL: none.
     */
    const char *const *exclude_extensions;
    /**
     * How many extensions.
     */
    size_t exclude_extensions_count;
    /**
     * Share no larger file, in bytes. Default 0: no limit.
     */
    uint64_t max_file_size;
    /**
     * How widely the files are announced: "high", "medium" or "low". Default NULL: "high".
     */
    const char *priority;
    /**
     * Share a file when nothing was written to it for so long, in ms. Default 2000, range 10 to 3600000.
     */
    uint64_t stability_ms;
    /**
     * Look through the directory at this interval, in ms, instead of asking the operating system what changes: for
     * network file systems. Default 0: ask the operating system. Range 100 to 86400000.
     */
    uint64_t poll_interval_ms;
} DigNatWatchOptions;

/**
 * Options of looking at the NAT in front of this machine.
 */
typedef struct DigNatNatOptions {
    /**
     * Bytes of this struct; set by dig_nat_nat_options_init.
     */
    size_t size;
    /**
     * STUN servers ("host:port" or "stun:host:port") to ask. Default NULL: three public ones, or none when local_only is
     * on.
     */
    const char *const *stun_servers;
    /**
     * How many STUN servers.
     */
    size_t stun_servers_count;
    /**
     * Time for everything in ms. Default 5000, range 100 to 60000.
     */
    uint64_t timeout_ms;
    /**
     * Look at IPv6 as well as IPv4. Default off.
     */
    DigNatSwitch enable_ipv6;
    /**
     * Ask the router for its external address too, by PCP and NAT-PMP. Default on; never done when local_only is on.
     */
    DigNatSwitch use_natpmp;
    /**
     * Contact nothing but the local network and addresses given by the user. Default off, or on when the environment
     * variable DIG_NAT_LOCAL_ONLY is 1.
     */
    DigNatSwitch local_only;
} DigNatNatOptions;

/**
 * A port mapping to be made or deleted at the router by UPnP.
 */
typedef struct DigNatMappingOptions {
    /**
     * Bytes of this struct; set by dig_nat_mapping_options_init.
     */
    size_t size;
    /**
     * This machine's port, range 1 to 65535. Default 0: none, it has to be given to make a mapping.
     */
    uint16_t internal_port;
    /**
     * The router's port. Default 0: the same as this machine's.
     */
    uint16_t external_port;
    /**
     * "TCP" or "UDP". Default NULL: TCP.
     */
    const char *protocol;
    /**
     * What the router shows beside the mapping. Default NULL: "dig-nat-tools".
     */
    const char *description;
    /**
     * How long the router keeps it, in seconds. Default 7200, range 1 to 604800.
     */
    uint32_t ttl_s;
    /**
     * Time for the router's answers in ms. Default 5000, range 100 to 60000.
     */
    uint64_t timeout_ms;
} DigNatMappingOptions;

/**
 * A hole to be punched, to a known endpoint or to a peer that is met at Gun relays.
 */
typedef struct DigNatPunchOptions {
    /**
     * Bytes of this struct; set by dig_nat_punch_options_init.
     */
    size_t size;
    /**
     * The peer's endpoint, "host:port", as the internet sees it. Default NULL: none, both sides tell each other at the
     * relays of gun_peers.
     */
    const char *remote_endpoint;
    /**
     * Our address and port, "host:port", to punch from. Default NULL: any address and local_port.
     */
    const char *local_endpoint;
    /**
     * Our port when local_endpoint is not given. Default 0: a free one.
     */
    uint16_t local_port;
    /**
     * Our possible ports: the first free one is used. Default NULL: local_port.
     */
    const uint16_t *local_ports;
    /**
     * How many possible ports.
     */
    size_t local_ports_count;
    /**
     * Secret text that both sides know. Without one, anybody at the peer's address can pretend to be the peer. Default
     * NULL: none.
     */
    const char *key;
    /**
     * Time for the attempt in ms; the peer has to try within it. Default 10000, range 100 to 120000.
     */
    uint64_t timeout_ms;
    /**
     * Our name, any text. Both names are needed with gun_peers, the peer gives them the other way round. Default NULL:
     * none.
     */
    const char *local_id;
    /**
     * The peer's name. Default NULL: none.
     */
    const char *remote_id;
    /**
     * URLs of Gun relays to meet the peer at. Without a key, whoever knows both names can take the peer's place. Default
     * NULL: none.
     */
    const char *const *gun_peers;
    /**
     * How many Gun relays.
     */
    size_t gun_peers_count;
    /**
     * STUN servers ("host:port" or "stun:host:port") that tell us our endpoint, with gun_peers. Default NULL: three public
     * ones, or none when local_only is on.
     */
    const char *const *stun_servers;
    /**
     * How many STUN servers.
     */
    size_t stun_servers_count;
    /**
     * Punch over IPv6 as well, with gun_peers. Default off.
     */
    DigNatSwitch enable_ipv6;
    /**
     * Try private and loopback addresses that the peer names: for peers in one network or on one machine. Default off.
     */
    DigNatSwitch allow_private;
    /**
     * Ask no STUN server that was not named. Default off, or on when the environment variable DIG_NAT_LOCAL_ONLY is 1.
     */
    DigNatSwitch local_only;
} DigNatPunchOptions;

/**
 * An address that a TURN server relays from.
 */
typedef struct DigNatTurnOptions {
    /**
     * Bytes of this struct; set by dig_nat_turn_options_init.
     */
    size_t size;
    /**
     * The server: "turn:host[:port][?transport=tcp]", "turns:host[:port]" or "host[:port]". Default NULL: this or
     * turn_servers has to be given.
     */
    const char *turn_server;
    /**
     * User name at turn_server. Default NULL: none.
     */
    const char *turn_username;
    /**
     * Password at turn_server. Default NULL: none.
     */
    const char *turn_password;
    /**
     * Further servers, asked one after the other. Default NULL: none.
     */
    const struct DigNatTurnServer *turn_servers;
    /**
     * How many further servers.
     */
    size_t turn_servers_count;
    /**
     * How servers are reached: "UDP", "TCP" or "TLS". Default NULL: what their URLs say, else UDP.
     */
    const char *protocol;
    /**
     * Port of servers that are named without one. Default 0: 3478, or 5349 for TLS.
     */
    uint16_t turn_port;
    /**
     * Certificates (PEM) trusted for TLS instead of the system's. Default NULL: none.
     */
    const char *root_certificates;
    /**
     * Lifetime asked for, in seconds; prolonged as long as the allocation is held. Default 600, range 1 to 3600.
     */
    uint32_t lifetime_s;
    /**
     * Time to allocate in ms, for each server. Default 10000, range 100 to 120000.
     */
    uint64_t timeout_ms;
} DigNatTurnOptions;

/**
 * A connection by ICE.
 */
typedef struct DigNatIceOptions {
    /**
     * Bytes of this struct; set by dig_nat_ice_options_init.
     */
    size_t size;
    /**
     * Our name; of two sides that give both names the one with the greater name controls. Default NULL: none.
     */
    const char *local_id;
    /**
     * The peer's name. Default NULL: none.
     */
    const char *remote_id;
    /**
     * STUN servers ("host:port" or "stun:host:port"). Default NULL: three public ones, or none when local_only is on.
     */
    const char *const *stun_servers;
    /**
     * How many STUN servers.
     */
    size_t stun_servers_count;
    /**
     * A TURN server whose relayed address is a candidate. Default NULL: none.
     */
    const char *turn_server;
    /**
     * User name at turn_server. Default NULL: none.
     */
    const char *turn_username;
    /**
     * Password at turn_server. Default NULL: none.
     */
    const char *turn_password;
    /**
     * TURN servers; the first one of all is used. Default NULL: none.
     */
    const struct DigNatTurnServer *turn_servers;
    /**
     * How many TURN servers.
     */
    size_t turn_servers_count;
    /**
     * Our UDP port. Default 0: a free one.
     */
    uint16_t local_port;
    /**
     * Gather IPv6 candidates as well. Default off.
     */
    DigNatSwitch enable_ipv6;
    /**
     * Check private and loopback addresses that the peer names: for peers in one network or on one machine. Default off.
     */
    DigNatSwitch allow_private;
    /**
     * Ask no STUN server that was not named. Default off, or on when the environment variable DIG_NAT_LOCAL_ONLY is 1.
     */
    DigNatSwitch local_only;
    /**
     * Time until a pair works in ms. Default 15000, range 100 to 120000.
     */
    uint64_t timeout_ms;
    /**
     * URLs of Gun relays to meet the peer at; both names are needed then, the peer gives them the other way round. Default
     * NULL: none.
     */
    const char *const *gun_peers;
    /**
     * How many Gun relays.
     */
    size_t gun_peers_count;
    /**
     * Secret text that both sides know. Without one, whoever knows both names can take the peer's place in a Gun graph.
     * Default NULL: none.
     */
    const char *key;
} DigNatIceOptions;

/**
 * Where the connection registry is kept.
 */
typedef struct DigNatRegistryOptions {
    /**
     * Bytes of this struct; set by dig_nat_registry_options_init.
     */
    size_t size;
    /**
     * Its directory, made when it is missing. Default NULL: .dig-nat-tools/registry in the home directory.
     */
    const char *registry_dir;
} DigNatRegistryOptions;

/**
 * What is remembered of a connection.
 */
typedef struct DigNatSaveConnectionOptions {
    /**
     * Bytes of this struct; set by dig_nat_save_connection_options_init.
     */
    size_t size;
    /**
     * The peer's address that worked. Default NULL: none.
     */
    const char *address;
    /**
     * Its port. Default 0: none.
     */
    uint16_t port;
    /**
     * Up to 8 notes as a JSON object; what is not text is kept as its JSON. Default NULL: none.
     */
    const char *metadata;
} DigNatSaveConnectionOptions;

/**
 * Options of connecting to one peer by whatever way works.
 */
typedef struct DigNatConnectOptions {
    /**
     * Bytes of this struct; set by dig_nat_connect_options_init.
     */
    size_t size;
    /**
     * Where the peer may be, besides what is known of it: multiaddrs or "host:port". Default NULL: none.
     */
    const char *const *addresses;
    /**
     * How many addresses.
     */
    size_t addresses_count;
    /**
     * Only these ways, in this order, e.g. "direct", "upnp", "udp-hole-punch", "tcp-hole-punch", "ice", "turn", "relay".
     * Default NULL: all ways, in the order that is usually fastest.
     */
    const char *const *preferred_methods;
    /**
     * How many ways.
     */
    size_t preferred_methods_count;
    /**
     * Time until a first connection stands, in ms. Default 30000, range 100 to 600000.
     */
    uint64_t timeout_ms;
    /**
     * Remember what worked and try it first the next time. Default on.
     */
    DigNatSwitch save_to_registry;
} DigNatConnectOptions;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * Makes a client that is not started yet. Options may be NULL.
 */
enum DigNatStatus dig_nat_client_new(const struct DigNatRuntime *runtime,
                                     const struct DigNatNodeOptions *node_options,
                                     const struct DigNatClientOptions *client_options,
                                     struct DigNatClient **client,
                                     struct DigNatError **error);

/**
 * Opens the port and starts discovery; downloads do it by themselves. Result: none. A second start does nothing.
 */
enum DigNatStatus dig_nat_client_start(const struct DigNatClient *client,
                                       DigNatDoneFn done,
                                       void *user,
                                       struct DigNatTask **task,
                                       struct DigNatError **error);

/**
 * Cancels downloads (they can be resumed), closes all connections and frees the port. Result: none. A second stop
 * does nothing. A stopped object can be started again.
 */
enum DigNatStatus dig_nat_client_stop(const struct DigNatClient *client,
                                      DigNatDoneFn done,
                                      void *user,
                                      struct DigNatTask **task,
                                      struct DigNatError **error);

/**
 * The bound port; 0 before the start, and for NULL.
 */
uint16_t dig_nat_client_port(const struct DigNatClient *client);

/**
 * A random UUID of this client. Free it with dig_nat_string_free. NULL for NULL.
 */
char *dig_nat_client_id(const struct DigNatClient *client);

/**
 * The identity on the network. Free it with dig_nat_string_free. NULL before the start, and for NULL.
 */
char *dig_nat_client_peer_id(const struct DigNatClient *client);

/**
 * Looks for peers that have a content (a hash or a readable id). Result: items with peer, address, port, and their
 * addresses as items. Finding nobody is an empty list.
 */
enum DigNatStatus dig_nat_client_find_peers(const struct DigNatClient *client,
                                            const char *key,
                                            const struct DigNatFindOptions *options,
                                            DigNatDoneFn done,
                                            void *user,
                                            struct DigNatTask **task,
                                            struct DigNatError **error);

/**
 * Downloads a file by its hash or readable id: finds peers unless some are given, proves every piece, resumes what an
 * earlier run left. Result: path, hash, size, and more in the JSON.
 */
enum DigNatStatus dig_nat_client_download(const struct DigNatClient *client,
                                          const char *key,
                                          const struct DigNatDownloadOptions *options,
                                          DigNatProgressFn progress,
                                          DigNatDoneFn done,
                                          void *user,
                                          struct DigNatTask **task,
                                          struct DigNatError **error);

/**
 * Asks peers for size and name of a file without downloading it. Result: hash, size, name.
 */
enum DigNatStatus dig_nat_client_file_info(const struct DigNatClient *client,
                                           const char *key,
                                           const struct DigNatDownloadOptions *options,
                                           DigNatDoneFn done,
                                           void *user,
                                           struct DigNatTask **task,
                                           struct DigNatError **error);

/**
 * Remembers a peer ("host:port", multiaddr or peer id) for all searches, or for those for `key` if that is not NULL.
 */
enum DigNatStatus dig_nat_client_add_peer(const struct DigNatClient *client,
                                          const char *peer,
                                          const char *key,
                                          struct DigNatError **error);

/**
 * Switches the search for further peers during downloads, running ones included. Does nothing for NULL.
 */
void dig_nat_client_set_continuous_discovery(const struct DigNatClient *client, bool enabled);

/**
 * Gives a hash a readable id.
 */
enum DigNatStatus dig_nat_client_add_content_mapping(const struct DigNatClient *client,
                                                     const char *content_id,
                                                     const char *hash,
                                                     struct DigNatError **error);

/**
 * The hash behind a readable id, as far as known here; else NULL. Free it with dig_nat_string_free.
 */
char *dig_nat_client_hash_for_content(const struct DigNatClient *client, const char *content_id);

/**
 * What stands between this client and the internet, as found out with the STUN servers of its options. Result: as of
 * dig_nat_detect_nat_type, and the JSON "null" before the event "nat:detected".
 */
enum DigNatStatus dig_nat_client_nat_profile(const struct DigNatClient *client,
                                             struct DigNatResult **result,
                                             struct DigNatError **error);

/**
 * Subscribes to the events of the client, from now on. With `event` NULL they are pulled with dig_nat_subscription_next, else
 * it is called with each of them.
 */
enum DigNatStatus dig_nat_client_subscribe(const struct DigNatClient *client,
                                           DigNatEventFn event,
                                           void *user,
                                           struct DigNatSubscription **subscription,
                                           struct DigNatError **error);

/**
 * Stops the client if it runs, waiting up to 10 seconds for it, and frees it. Its running tasks still complete, cancelled.
 * NULL is fine.
 */
void dig_nat_client_free(struct DigNatClient *client);

/**
 * Downloads one file with a client made for this call and stopped after it. All options may be NULL. Result: as of
 * dig_nat_client_download.
 */
enum DigNatStatus dig_nat_download_file(const struct DigNatRuntime *runtime,
                                        const char *key,
                                        const struct DigNatNodeOptions *node_options,
                                        const struct DigNatClientOptions *client_options,
                                        const struct DigNatDownloadOptions *options,
                                        DigNatProgressFn progress,
                                        DigNatDoneFn done,
                                        void *user,
                                        struct DigNatTask **task,
                                        struct DigNatError **error);

/**
 * Peer id of the other side. Free it with dig_nat_string_free. NULL for NULL.
 */
char *dig_nat_connection_peer(const struct DigNatConnection *connection);

/**
 * Address of the other side as a multiaddr. Free it with dig_nat_string_free. NULL for NULL.
 */
char *dig_nat_connection_address(const struct DigNatConnection *connection);

/**
 * "tcp" or "udp". Free it with dig_nat_string_free. NULL for NULL.
 */
char *dig_nat_connection_type(const struct DigNatConnection *connection);

/**
 * Sends a message of at most 16 MiB. `kind` is its type name, NULL for none, at most 255 bytes. `is_text` says that
 * `data` is UTF-8. The bytes are copied before the call returns. Result: none; it comes when the message was handed to
 * the transport.
 */
enum DigNatStatus dig_nat_connection_send(const struct DigNatConnection *connection,
                                          const char *kind,
                                          const uint8_t *data,
                                          size_t length,
                                          bool is_text,
                                          DigNatDoneFn done,
                                          void *user,
                                          struct DigNatTask **task,
                                          struct DigNatError **error);

/**
 * Waits for the next message. Result: name (its type), data, size, flag (text); data is NULL and the JSON "null" when
 * the other side has closed. Cancelling loses no message.
 */
enum DigNatStatus dig_nat_connection_receive(const struct DigNatConnection *connection,
                                             DigNatDoneFn done,
                                             void *user,
                                             struct DigNatTask **task,
                                             struct DigNatError **error);

/**
 * Closes both directions after what was sent. Result: none.
 */
enum DigNatStatus dig_nat_connection_close(const struct DigNatConnection *connection,
                                           DigNatDoneFn done,
                                           void *user,
                                           struct DigNatTask **task,
                                           struct DigNatError **error);

/**
 * Frees a connection, closing it. NULL is fine.
 */
void dig_nat_connection_free(struct DigNatConnection *connection);

/**
 * Makes a peer discovery that is not started yet. Which ways take part say the switches of the options, which may be NULL.
 */
enum DigNatStatus dig_nat_discovery_new(const struct DigNatRuntime *runtime,
                                        const struct DigNatNodeOptions *node_options,
                                        struct DigNatDiscovery **discovery,
                                        struct DigNatError **error);

/**
 * Opens the port and starts all ways. Result: none. A second start does nothing.
 */
enum DigNatStatus dig_nat_discovery_start(const struct DigNatDiscovery *discovery,
                                          DigNatDoneFn done,
                                          void *user,
                                          struct DigNatTask **task,
                                          struct DigNatError **error);

/**
 * Takes back what was announced as far as the networks know that, and frees the port. Result: none. A second stop does
 * nothing. A stopped object can be started again.
 */
enum DigNatStatus dig_nat_discovery_stop(const struct DigNatDiscovery *discovery,
                                         DigNatDoneFn done,
                                         void *user,
                                         struct DigNatTask **task,
                                         struct DigNatError **error);

/**
 * The bound port; 0 before the start, and for NULL.
 */
uint16_t dig_nat_discovery_port(const struct DigNatDiscovery *discovery);

/**
 * The identity on the network. Free it with dig_nat_string_free. NULL before the start, and for NULL.
 */
char *dig_nat_discovery_peer_id(const struct DigNatDiscovery *discovery);

/**
 * Multiaddrs to reach this object, with its peer id, as items with a text. None before the start.
 */
enum DigNatStatus dig_nat_discovery_addresses(const struct DigNatDiscovery *discovery,
                                              struct DigNatResult **result,
                                              struct DigNatError **error);

/**
 * Makes a host of this process findable under a key, until it is withdrawn or stopped: the one that listens on `port` of
 * the options, or this object itself without a port. Starts it if it does not run. Renewed by itself. Result: none.
 */
enum DigNatStatus dig_nat_discovery_announce(const struct DigNatDiscovery *discovery,
                                             const char *key,
                                             const struct DigNatAnnounceOptions *options,
                                             DigNatDoneFn done,
                                             void *user,
                                             struct DigNatTask **task,
                                             struct DigNatError **error);

/**
 * Takes an announcement back. Result: flag, whether there was one.
 */
enum DigNatStatus dig_nat_discovery_withdraw(const struct DigNatDiscovery *discovery,
                                             const char *key,
                                             DigNatDoneFn done,
                                             void *user,
                                             struct DigNatTask **task,
                                             struct DigNatError **error);

/**
 * Searches for a key in the background from now on; finds are events "peer:discovered". `priority` is "low", "medium" or
 * "high"; of too many keys those of lowest priority give way. `watched`, if not NULL, is set to whether it is searched for.
 */
enum DigNatStatus dig_nat_discovery_watch(const struct DigNatDiscovery *discovery,
                                          const char *key,
                                          const char *priority,
                                          bool *watched,
                                          struct DigNatError **error);

/**
 * Ends a search in the background. Whether there was one; false for what is no key, and for NULL.
 */
bool dig_nat_discovery_unwatch(const struct DigNatDiscovery *discovery, const char *key);

/**
 * Looks for peers that have a content (a hash or a readable id). Result: items with peer, address, port, and their
 * addresses as items. Finding nobody is an empty list.
 */
enum DigNatStatus dig_nat_discovery_find_peers(const struct DigNatDiscovery *discovery,
                                               const char *key,
                                               const struct DigNatFindOptions *options,
                                               DigNatDoneFn done,
                                               void *user,
                                               struct DigNatTask **task,
                                               struct DigNatError **error);

/**
 * The peers known now, best first; nobody is asked. Result: as of dig_nat_discovery_find_peers, where each came from in
 * the JSON. None before the start. Options may be NULL: all peers.
 */
enum DigNatStatus dig_nat_discovery_peers(const struct DigNatDiscovery *discovery,
                                          const struct DigNatKnownPeersOptions *options,
                                          struct DigNatResult **result,
                                          struct DigNatError **error);

/**
 * Remembers a peer ("host:port", multiaddr or peer id) for all searches, or for those for `key` if that is not NULL.
 */
enum DigNatStatus dig_nat_discovery_add_peer(const struct DigNatDiscovery *discovery,
                                             const char *peer,
                                             const char *key,
                                             struct DigNatError **error);

/**
 * Gives a hash a readable id.
 */
enum DigNatStatus dig_nat_discovery_add_content_mapping(const struct DigNatDiscovery *discovery,
                                                        const char *content_id,
                                                        const char *hash,
                                                        struct DigNatError **error);

/**
 * Takes a readable id away, and back from where it was told. Result: a flag, whether there was one. What others say of it
 * stays theirs.
 */
enum DigNatStatus dig_nat_discovery_remove_content_mapping(const struct DigNatDiscovery *discovery,
                                                           const char *content_id,
                                                           DigNatDoneFn done,
                                                           void *user,
                                                           struct DigNatTask **task,
                                                           struct DigNatError **error);

/**
 * Looks for the nodes of the hash table that are nearest to a place in it: that of a peer id, or where a hash or readable id
 * is kept. Takes at most so many ms, 100 to 3600000. Result: as of dig_nat_discovery_find_peers, nearest first.
 * INVALID_STATE without dht_enabled.
 */
enum DigNatStatus dig_nat_discovery_find_node(const struct DigNatDiscovery *discovery,
                                              const char *target,
                                              uint64_t timeout_ms,
                                              DigNatDoneFn done,
                                              void *user,
                                              struct DigNatTask **task,
                                              struct DigNatError **error);

/**
 * The hash behind a readable id, as far as known here; else NULL. Free it with dig_nat_string_free.
 */
char *dig_nat_discovery_hash_for_content(const struct DigNatDiscovery *discovery, const char *content_id);

/**
 * The readable id of a hash; NULL if it has none. Free it with dig_nat_string_free.
 */
char *dig_nat_discovery_content_for_hash(const struct DigNatDiscovery *discovery, const char *hash);

/**
 * Looks for the hash behind a readable id: known here, told by Gun, or by a peer that has it. Takes at most so many ms, 1 to
 * 86400000. Result: a hash, or none when nobody says.
 */
enum DigNatStatus dig_nat_discovery_find_hash(const struct DigNatDiscovery *discovery,
                                              const char *content_id,
                                              uint64_t timeout_ms,
                                              DigNatDoneFn done,
                                              void *user,
                                              struct DigNatTask **task,
                                              struct DigNatError **error);

/**
 * The parts of the hash table that this object keeps for others as a shard host, in hex digits, as items with a text. None
 * before the start.
 */
enum DigNatStatus dig_nat_discovery_shard_prefixes(const struct DigNatDiscovery *discovery,
                                                   struct DigNatResult **result,
                                                   struct DigNatError **error);

/**
 * Subscribes to the events of this object, from now on. With `event` NULL they are pulled with dig_nat_subscription_next, else
 * it is called with each of them.
 */
enum DigNatStatus dig_nat_discovery_subscribe(const struct DigNatDiscovery *discovery,
                                              DigNatEventFn event,
                                              void *user,
                                              struct DigNatSubscription **subscription,
                                              struct DigNatError **error);

/**
 * Stops the object if it runs, waiting up to 10 seconds for it, and frees it. Its running tasks still complete, cancelled.
 * NULL is fine.
 */
void dig_nat_discovery_free(struct DigNatDiscovery *discovery);

/**
 * The status of an error; DIG_NAT_STATUS_OK for NULL.
 */
enum DigNatStatus dig_nat_error_status(const struct DigNatError *error);

/**
 * The text code, such as "ERR_NO_PEERS", the same in every language of this library. Belongs to the error object.
 * "" for NULL.
 */
const char *dig_nat_error_code(const struct DigNatError *error);

/**
 * What was being done and what went wrong, with causes, in one line. Belongs to the error object. "" for NULL.
 */
const char *dig_nat_error_message(const struct DigNatError *error);

/**
 * What a person can do about it. Belongs to the error object. "" for NULL.
 */
const char *dig_nat_error_advice(const struct DigNatError *error);

/**
 * Frees an error that was handed out through a `DigNatError **`. NULL is fine. Errors passed to a callback belong to
 * the library.
 */
void dig_nat_error_free(struct DigNatError *error);

/**
 * The text code of a status, such as "ERR_NO_PEERS"; "OK" for success, "" for an unknown number. Static.
 */
const char *dig_nat_status_code(int32_t status);

/**
 * What a person can do about a status; "" for success and for an unknown number. Static.
 */
const char *dig_nat_status_advice(int32_t status);

/**
 * Hashes bytes. `hash_out` has room for DIG_NAT_HASH_TEXT_BYTES. `data` may be NULL if `length` is 0.
 */
enum DigNatStatus dig_nat_sha256(const uint8_t *data, size_t length, char *hash_out, struct DigNatError **error);

/**
 * Hashes a file on a worker thread. Result: hash.
 */
enum DigNatStatus dig_nat_sha256_file(const struct DigNatRuntime *runtime,
                                      const char *path,
                                      DigNatDoneFn done,
                                      void *user,
                                      struct DigNatTask **task,
                                      struct DigNatError **error);

/**
 * Makes a host that is not started yet. Options may be NULL.
 */
enum DigNatStatus dig_nat_host_new(const struct DigNatRuntime *runtime,
                                   const struct DigNatNodeOptions *node_options,
                                   const struct DigNatHostOptions *host_options,
                                   struct DigNatHost **host,
                                   struct DigNatError **error);

/**
 * Opens the port, shares the directory of the options and announces everything. Result: none. A second start does
 * nothing.
 */
enum DigNatStatus dig_nat_host_start(const struct DigNatHost *host,
                                     DigNatDoneFn done,
                                     void *user,
                                     struct DigNatTask **task,
                                     struct DigNatError **error);

/**
 * Withdraws announcements, closes all connections and frees the port. Result: none. A second stop
 * does nothing. A stopped object can be started again.
 */
enum DigNatStatus dig_nat_host_stop(const struct DigNatHost *host,
                                    DigNatDoneFn done,
                                    void *user,
                                    struct DigNatTask **task,
                                    struct DigNatError **error);

/**
 * The bound port; 0 before the start, and for NULL.
 */
uint16_t dig_nat_host_port(const struct DigNatHost *host);

/**
 * A random UUID of this host, kept across restarts with persistence. Free it with dig_nat_string_free. NULL for NULL.
 */
char *dig_nat_host_id(const struct DigNatHost *host);

/**
 * The identity on the network. Free it with dig_nat_string_free. NULL before the start, and for NULL.
 */
char *dig_nat_host_peer_id(const struct DigNatHost *host);

/**
 * Multiaddrs to reach this host, with its peer id, as items with a text. None before the start.
 */
enum DigNatStatus dig_nat_host_addresses(const struct DigNatHost *host,
                                         struct DigNatResult **result,
                                         struct DigNatError **error);

/**
 * Shares one file: hashes it (cached) and announces it. Works before the start too; announcing then waits for it.
 * Result: path, hash, size, name, content_id.
 */
enum DigNatStatus dig_nat_host_add_file(const struct DigNatHost *host,
                                        const char *path,
                                        const struct DigNatAddFileOptions *options,
                                        DigNatDoneFn done,
                                        void *user,
                                        struct DigNatTask **task,
                                        struct DigNatError **error);

/**
 * Shares every file below a directory. Result: items as of dig_nat_host_add_file. Files that cannot be read are left out
 * with a "warning" event.
 */
enum DigNatStatus dig_nat_host_add_directory(const struct DigNatHost *host,
                                             const char *path,
                                             DigNatDoneFn done,
                                             void *user,
                                             struct DigNatTask **task,
                                             struct DigNatError **error);

/**
 * Shares every file below a directory that the options admit, and from then on follows what happens to them: new files
 * are shared when they have come to rest, changed ones anew, and removed ones are withdrawn, each with its event. Starts
 * the host if it was never started, and ends with it. Result: the files that were there, as items of
 * dig_nat_host_add_file.
 */
enum DigNatStatus dig_nat_host_watch_directory(const struct DigNatHost *host,
                                               const char *path,
                                               const struct DigNatWatchOptions *options,
                                               DigNatDoneFn done,
                                               void *user,
                                               struct DigNatTask **task,
                                               struct DigNatError **error);

/**
 * Follows a directory no more; its files stay shared. Result: flag, whether it was watched.
 */
enum DigNatStatus dig_nat_host_unwatch_directory(const struct DigNatHost *host,
                                                 const char *path,
                                                 DigNatDoneFn done,
                                                 void *user,
                                                 struct DigNatTask **task,
                                                 struct DigNatError **error);

/**
 * Stops sharing. Result: flag, whether the hash was shared.
 */
enum DigNatStatus dig_nat_host_remove_file(const struct DigNatHost *host,
                                           const char *hash,
                                           DigNatDoneFn done,
                                           void *user,
                                           struct DigNatTask **task,
                                           struct DigNatError **error);

/**
 * Whether the hash is shared. False for NULL and for what is no hash.
 */
bool dig_nat_host_has_file(const struct DigNatHost *host, const char *hash);

/**
 * Everything shared, ordered by path, as items with path, hash, size, name, content_id.
 */
enum DigNatStatus dig_nat_host_files(const struct DigNatHost *host,
                                     struct DigNatResult **result,
                                     struct DigNatError **error);

/**
 * Gives a hash a readable id.
 */
enum DigNatStatus dig_nat_host_add_content_mapping(const struct DigNatHost *host,
                                                   const char *content_id,
                                                   const char *hash,
                                                   struct DigNatError **error);

/**
 * The hash behind a readable id, as far as known here; else NULL. Free it with dig_nat_string_free.
 */
char *dig_nat_host_hash_for_content(const struct DigNatHost *host, const char *content_id);

/**
 * The readable id of a hash; NULL if it has none. Free it with dig_nat_string_free.
 */
char *dig_nat_host_content_for_hash(const struct DigNatHost *host, const char *hash);

/**
 * The parts of the hash table that this host keeps for others as a shard host, in hex digits, as items with a text. None
 * before the start.
 */
enum DigNatStatus dig_nat_host_shard_prefixes(const struct DigNatHost *host,
                                              struct DigNatResult **result,
                                              struct DigNatError **error);

/**
 * What stands between this host and the internet, as found out with the STUN servers of its options. Result: as of
 * dig_nat_detect_nat_type, and the JSON "null" before the event "nat:detected".
 */
enum DigNatStatus dig_nat_host_nat_profile(const struct DigNatHost *host,
                                           struct DigNatResult **result,
                                           struct DigNatError **error);

/**
 * Subscribes to the events of the host, from now on. With `event` NULL they are pulled with dig_nat_subscription_next, else
 * it is called with each of them.
 */
enum DigNatStatus dig_nat_host_subscribe(const struct DigNatHost *host,
                                         DigNatEventFn event,
                                         void *user,
                                         struct DigNatSubscription **subscription,
                                         struct DigNatError **error);

/**
 * Stops the host if it runs, waiting up to 10 seconds for it, and frees it. Its running tasks still complete, cancelled.
 * NULL is fine.
 */
void dig_nat_host_free(struct DigNatHost *host);

/**
 * The version of the library, such as "0.1.0". Static.
 */
const char *dig_nat_version(void);

/**
 * Everything this library offers (error kinds, options with defaults, operations) as JSON. Free it with
 * dig_nat_string_free.
 */
char *dig_nat_manifest(void);

/**
 * Objects handed out and not freed yet: a leak check for tests. Items of results count once they were looked at.
 */
size_t dig_nat_live_objects(void);

/**
 * Frees a text that was returned as `char *`. NULL is fine. Unlike handles, texts are plain memory: freeing one twice
 * is as bad as with free().
 */
void dig_nat_string_free(char *string);

/**
 * Makes a manager that is not started yet. Options may be NULL.
 */
enum DigNatStatus dig_nat_manager_new(const struct DigNatRuntime *runtime,
                                      const struct DigNatNodeOptions *node_options,
                                      const struct DigNatClientOptions *client_options,
                                      struct DigNatManager **manager,
                                      struct DigNatError **error);

/**
 * Opens the port and starts discovery. Result: none. A second start does nothing.
 */
enum DigNatStatus dig_nat_manager_start(const struct DigNatManager *manager,
                                        DigNatDoneFn done,
                                        void *user,
                                        struct DigNatTask **task,
                                        struct DigNatError **error);

/**
 * Cancels everything, closes all connections and frees the port. Result: none. A second stop
 * does nothing. A stopped object can be started again.
 */
enum DigNatStatus dig_nat_manager_stop(const struct DigNatManager *manager,
                                       DigNatDoneFn done,
                                       void *user,
                                       struct DigNatTask **task,
                                       struct DigNatError **error);

/**
 * The bound port; 0 before the start, and for NULL.
 */
uint16_t dig_nat_manager_port(const struct DigNatManager *manager);

/**
 * The identity on the network. Free it with dig_nat_string_free. NULL before the start, and for NULL.
 */
char *dig_nat_manager_peer_id(const struct DigNatManager *manager);

/**
 * Multiaddrs to reach this manager, with its peer id, as items with a text. None before the start.
 */
enum DigNatStatus dig_nat_manager_addresses(const struct DigNatManager *manager,
                                            struct DigNatResult **result,
                                            struct DigNatError **error);

/**
 * Connects to "host:port", a multiaddr or a peer id. Result: a connection (dig_nat_result_take_connection), peer, address.
 */
enum DigNatStatus dig_nat_manager_connect(const struct DigNatManager *manager,
                                          const char *target,
                                          DigNatDoneFn done,
                                          void *user,
                                          struct DigNatTask **task,
                                          struct DigNatError **error);

/**
 * Waits for the next connection opened by another manager. Result: a connection (dig_nat_result_take_connection), peer,
 * address; no connection and the JSON "null" once the manager is stopped. Cancelling loses no connection.
 */
enum DigNatStatus dig_nat_manager_accept(const struct DigNatManager *manager,
                                         DigNatDoneFn done,
                                         void *user,
                                         struct DigNatTask **task,
                                         struct DigNatError **error);

/**
 * Looks for peers that have a content (a hash or a readable id). Result: items with peer, address, port, and their
 * addresses as items. Finding nobody is an empty list.
 */
enum DigNatStatus dig_nat_manager_find_peers(const struct DigNatManager *manager,
                                             const char *key,
                                             const struct DigNatFindOptions *options,
                                             DigNatDoneFn done,
                                             void *user,
                                             struct DigNatTask **task,
                                             struct DigNatError **error);

/**
 * Downloads a file by its hash or readable id: finds peers unless some are given, proves every piece, resumes what an
 * earlier run left. Result: path, hash, size, and more in the JSON.
 */
enum DigNatStatus dig_nat_manager_download(const struct DigNatManager *manager,
                                           const char *key,
                                           const struct DigNatDownloadOptions *options,
                                           DigNatProgressFn progress,
                                           DigNatDoneFn done,
                                           void *user,
                                           struct DigNatTask **task,
                                           struct DigNatError **error);

/**
 * Shares one file, as dig_nat_host_add_file does. Result: path, hash, size, name, content_id.
 */
enum DigNatStatus dig_nat_manager_share_file(const struct DigNatManager *manager,
                                             const char *path,
                                             const struct DigNatAddFileOptions *options,
                                             DigNatDoneFn done,
                                             void *user,
                                             struct DigNatTask **task,
                                             struct DigNatError **error);

/**
 * Remembers a peer ("host:port", multiaddr or peer id) for all searches, or for those for `key` if that is not NULL.
 */
enum DigNatStatus dig_nat_manager_add_peer(const struct DigNatManager *manager,
                                           const char *peer,
                                           const char *key,
                                           struct DigNatError **error);

/**
 * Switches the search for further peers during downloads, running ones included. Does nothing for NULL.
 */
void dig_nat_manager_set_continuous_discovery(const struct DigNatManager *manager, bool enabled);

/**
 * How a connected peer is reached ("tcp", "udp"); NULL without a connection. Free it with dig_nat_string_free.
 */
char *dig_nat_manager_connection_type(const struct DigNatManager *manager, const char *peer);

/**
 * Gives a hash a readable id.
 */
enum DigNatStatus dig_nat_manager_add_content_mapping(const struct DigNatManager *manager,
                                                      const char *content_id,
                                                      const char *hash,
                                                      struct DigNatError **error);

/**
 * The hash behind a readable id, as far as known here; else NULL. Free it with dig_nat_string_free.
 */
char *dig_nat_manager_hash_for_content(const struct DigNatManager *manager, const char *content_id);

/**
 * The readable id of a hash; NULL if it has none. Free it with dig_nat_string_free.
 */
char *dig_nat_manager_content_for_hash(const struct DigNatManager *manager, const char *hash);

/**
 * What stands between this manager and the internet, as found out with the STUN servers of its options. Result: as of
 * dig_nat_detect_nat_type, and the JSON "null" before the event "nat:detected".
 */
enum DigNatStatus dig_nat_manager_nat_profile(const struct DigNatManager *manager,
                                              struct DigNatResult **result,
                                              struct DigNatError **error);

/**
 * Subscribes to the events of the manager, from now on. With `event` NULL they are pulled with dig_nat_subscription_next, else
 * it is called with each of them.
 */
enum DigNatStatus dig_nat_manager_subscribe(const struct DigNatManager *manager,
                                            DigNatEventFn event,
                                            void *user,
                                            struct DigNatSubscription **subscription,
                                            struct DigNatError **error);

/**
 * Stops the manager if it runs, waiting up to 10 seconds for it, and frees it. Its running tasks still complete, cancelled.
 * NULL is fine.
 */
void dig_nat_manager_free(struct DigNatManager *manager);

/**
 * Finds out what kind of NAT or firewall stands between this machine and the internet. Options may be NULL. Result: text
 * (the type: "public", "firewall", "full-cone", "address-restricted", "port-restricted", "symmetric", "udp-blocked", or
 * less exact "untranslated", "cone", "unknown"), address and port (as the internet sees them, if known), and in the JSON
 * {natType, symmetric, doubleNat, publicV4, publicV6, translated, mapping, filtering, allocation, hairpin, lifetimeMs,
 * udpBlocked, filteringV6, routerExternal}, with null for what could not be told. Takes at most timeout_ms, usually less
 * than a second. A network that blocks UDP is a result, not an error.
 */
enum DigNatStatus dig_nat_detect_nat_type(const struct DigNatRuntime *runtime,
                                          const struct DigNatNatOptions *options,
                                          DigNatDoneFn done,
                                          void *user,
                                          struct DigNatTask **task,
                                          struct DigNatError **error);

/**
 * Asks STUN servers for this machine's public addresses. Options may be NULL. Result: the addresses as items with a text,
 * IPv4 before IPv6, and in the JSON {ipv4, ipv6}. What could not be found out is no item, and null in the JSON.
 */
enum DigNatStatus dig_nat_discover_public_ips(const struct DigNatRuntime *runtime,
                                              const struct DigNatNatOptions *options,
                                              DigNatDoneFn done,
                                              void *user,
                                              struct DigNatTask **task,
                                              struct DigNatError **error);

/**
 * Asks the router by UPnP to forward a port, once: nobody renews it. A running node does this by itself. Result: address
 * and port (the router's outside ones), and in the JSON {protocol, internalPort, externalPort, externalAddress,
 * lifetimeS}. Fails with DIG_NAT_STATUS_PEER_UNREACHABLE when no router does it.
 */
enum DigNatStatus dig_nat_create_upnp_mapping(const struct DigNatRuntime *runtime,
                                              const struct DigNatMappingOptions *options,
                                              DigNatDoneFn done,
                                              void *user,
                                              struct DigNatTask **task,
                                              struct DigNatError **error);

/**
 * Asks the router by UPnP to forget a mapping, by its external port (or the internal one when that is all there is).
 * Result: flag, whether the router knew it.
 */
enum DigNatStatus dig_nat_delete_upnp_mapping(const struct DigNatRuntime *runtime,
                                              const struct DigNatMappingOptions *options,
                                              DigNatDoneFn done,
                                              void *user,
                                              struct DigNatTask **task,
                                              struct DigNatError **error);

/**
 * The router's outside IPv4 address as UPnP tells it. `timeout_ms` 0 means 5000. Result: text, or the JSON "null" when
 * nobody answers in that time.
 */
enum DigNatStatus dig_nat_external_address_upnp(const struct DigNatRuntime *runtime,
                                                uint32_t timeout_ms,
                                                DigNatDoneFn done,
                                                void *user,
                                                struct DigNatTask **task,
                                                struct DigNatError **error);

/**
 * Sets all options to their defaults. `size` is `sizeof` the struct.
 */
void dig_nat_node_options_init(struct DigNatNodeOptions *options, size_t size);

/**
 * Sets all options to their defaults. `size` is `sizeof` the struct.
 */
void dig_nat_host_options_init(struct DigNatHostOptions *options, size_t size);

/**
 * Sets all options to their defaults. `size` is `sizeof` the struct.
 */
void dig_nat_client_options_init(struct DigNatClientOptions *options, size_t size);

/**
 * Sets all options to their defaults. `size` is `sizeof` the struct.
 */
void dig_nat_download_options_init(struct DigNatDownloadOptions *options, size_t size);

/**
 * Sets all options to their defaults. `size` is `sizeof` the struct.
 */
void dig_nat_add_file_options_init(struct DigNatAddFileOptions *options, size_t size);

/**
 * Sets all options to their defaults. `size` is `sizeof` the struct.
 */
void dig_nat_nat_options_init(struct DigNatNatOptions *options, size_t size);

/**
 * Sets all options to their defaults. `size` is `sizeof` the struct.
 */
void dig_nat_mapping_options_init(struct DigNatMappingOptions *options, size_t size);

/**
 * Sets all options to their defaults. `size` is `sizeof` the struct.
 */
void dig_nat_find_options_init(struct DigNatFindOptions *options, size_t size);

/**
 * Sets all options to their defaults. `size` is `sizeof` the struct.
 */
void dig_nat_punch_options_init(struct DigNatPunchOptions *options, size_t size);

/**
 * Sets all options to their defaults. `size` is `sizeof` the struct.
 */
void dig_nat_turn_options_init(struct DigNatTurnOptions *options, size_t size);

/**
 * Sets all options to their defaults. `size` is `sizeof` the struct.
 */
void dig_nat_ice_options_init(struct DigNatIceOptions *options, size_t size);

/**
 * Sets all options to their defaults. `size` is `sizeof` the struct.
 */
void dig_nat_registry_options_init(struct DigNatRegistryOptions *options, size_t size);

/**
 * Sets all options to their defaults. `size` is `sizeof` the struct.
 */
void dig_nat_save_connection_options_init(struct DigNatSaveConnectionOptions *options, size_t size);

/**
 * Sets all options to their defaults. `size` is `sizeof` the struct.
 */
void dig_nat_watch_options_init(struct DigNatWatchOptions *options, size_t size);

/**
 * Sets all options to their defaults. `size` is `sizeof` the struct.
 */
void dig_nat_connect_options_init(struct DigNatConnectOptions *options, size_t size);

/**
 * Sets all options to their defaults. `size` is `sizeof` the struct.
 */
void dig_nat_announce_options_init(struct DigNatAnnounceOptions *options, size_t size);

/**
 * Sets all options to their defaults. `size` is `sizeof` the struct.
 */
void dig_nat_known_peers_options_init(struct DigNatKnownPeersOptions *options, size_t size);

/**
 * Opens a UDP path to remote_endpoint, or to the peer met at gun_peers; the peer does the same at about the same time. Result: as of dig_nat_socket_info,
 * and the socket for dig_nat_result_take_socket. Fails with DIG_NAT_STATUS_PEER_UNREACHABLE when the peer did not answer
 * in time.
 */
enum DigNatStatus dig_nat_punch_udp(const struct DigNatRuntime *runtime,
                                    const struct DigNatPunchOptions *options,
                                    DigNatDoneFn done,
                                    void *user,
                                    struct DigNatTask **task,
                                    struct DigNatError **error);

/**
 * Opens a TCP connection to remote_endpoint, or to the peer met at gun_peers; the peer does the same at about the same time. Result and errors: as of
 * dig_nat_punch_udp.
 */
enum DigNatStatus dig_nat_punch_tcp(const struct DigNatRuntime *runtime,
                                    const struct DigNatPunchOptions *options,
                                    DigNatDoneFn done,
                                    void *user,
                                    struct DigNatTask **task,
                                    struct DigNatError **error);

/**
 * The same as dig_nat_punch_tcp under the original package's other name: both sides listen and connect.
 */
enum DigNatStatus dig_nat_tcp_simultaneous_open(const struct DigNatRuntime *runtime,
                                                const struct DigNatPunchOptions *options,
                                                DigNatDoneFn done,
                                                void *user,
                                                struct DigNatTask **task,
                                                struct DigNatError **error);

/**
 * Connects to a peer by whatever way works: directly, by a port that a router holds open, by punching through the NATs,
 * or over a relay; and goes on looking for a better way. `peer` is a peer id, or a multiaddr that ends in one; a plain
 * "host:port" is only dialled. Options may be NULL. Result: a connection (dig_nat_result_take_connection), peer, address,
 * port, text (the way: "direct-v4", "udp-hole-punch", "circuit", ...), flag (whether a third node carries the bytes), and
 * in the JSON {peer, method, connectionType, transport, address, port, relayed, tookMs, attempts}. The message of a
 * DIG_NAT_STATUS_PEER_UNREACHABLE or DIG_NAT_STATUS_TIMEOUT has every way tried with its time and reason, and what would
 * help.
 */
enum DigNatStatus dig_nat_manager_connect_to_peer(const struct DigNatManager *manager,
                                                  const char *peer,
                                                  const struct DigNatConnectOptions *options,
                                                  DigNatDoneFn done,
                                                  void *user,
                                                  struct DigNatTask **task,
                                                  struct DigNatError **error);

/**
 * Examines the NAT, the router and IPv6 as dig_nat_diagnose does, with this manager's STUN servers, and tries to reach a
 * peer (as of dig_nat_manager_connect_to_peer) unless that is NULL. Options are those of the attempt and may be NULL.
 * Result: as of dig_nat_diagnose; flag says whether the peer was reached. That it was not is no error.
 */
enum DigNatStatus dig_nat_manager_diagnose(const struct DigNatManager *manager,
                                           const char *peer,
                                           const struct DigNatConnectOptions *options,
                                           DigNatDoneFn done,
                                           void *user,
                                           struct DigNatTask **task,
                                           struct DigNatError **error);

/**
 * Examines the NAT in front of this machine, the router's port mapping protocols and IPv6; maps nothing. Options may be
 * NULL. Result: text (the type of the NAT, as of dig_nat_detect_nat_type), what would help as items with a text, most
 * useful first, and everything in the JSON: that of dig_nat_detect_nat_type and dig_nat_discover_public_ips, problem,
 * gateway, portMapping, ipv6State, inboundBlocked, peer and advice, with null for what could not be told. A network that
 * answers nothing is a result, not an error.
 */
enum DigNatStatus dig_nat_diagnose(const struct DigNatRuntime *runtime,
                                   const struct DigNatNatOptions *options,
                                   DigNatDoneFn done,
                                   void *user,
                                   struct DigNatTask **task,
                                   struct DigNatError **error);

/**
 * Reads a registry; there need not be one yet. Options may be NULL. Blocks on the disk for a file of at most some
 * megabytes.
 */
enum DigNatStatus dig_nat_registry_open(const struct DigNatRuntime *runtime,
                                        const struct DigNatRegistryOptions *options,
                                        struct DigNatRegistry **registry,
                                        struct DigNatError **error);

/**
 * The ways that led to a peer, latest first. Result: items with a text such as "UDP_HOLE_PUNCH".
 */
enum DigNatStatus dig_nat_registry_successful_methods(const struct DigNatRegistry *registry,
                                                      const char *peer,
                                                      struct DigNatResult **result,
                                                      struct DigNatError **error);

/**
 * The last way that led to a peer. Result: text (the way), peer, address and port (if known), and in the JSON {peerId,
 * connectionType, address, port, lastSuccessTime (ms since 1970), successCount, metadata}; the JSON "null" for an unknown
 * peer.
 */
enum DigNatStatus dig_nat_registry_connection_method(const struct DigNatRegistry *registry,
                                                     const char *peer,
                                                     struct DigNatResult **result,
                                                     struct DigNatError **error);

/**
 * Remembers that a way worked: `connection_type` in any spelling, e.g. "UDP_HOLE_PUNCH". Options may be NULL. Result:
 * none.
 */
enum DigNatStatus dig_nat_registry_save(const struct DigNatRegistry *registry,
                                        const char *peer,
                                        const char *connection_type,
                                        const struct DigNatSaveConnectionOptions *options,
                                        DigNatDoneFn done,
                                        void *user,
                                        struct DigNatTask **task,
                                        struct DigNatError **error);

/**
 * Forgets a peer. Result: flag, whether there was something to forget.
 */
enum DigNatStatus dig_nat_registry_remove(const struct DigNatRegistry *registry,
                                          const char *peer,
                                          DigNatDoneFn done,
                                          void *user,
                                          struct DigNatTask **task,
                                          struct DigNatError **error);

/**
 * Forgets what is older than 45 days. Result: size, how many ways that were.
 */
enum DigNatStatus dig_nat_registry_cleanup(const struct DigNatRegistry *registry,
                                           DigNatDoneFn done,
                                           void *user,
                                           struct DigNatTask **task,
                                           struct DigNatError **error);

/**
 * Frees a registry; what was saved stays on disk. NULL is fine.
 */
void dig_nat_registry_free(struct DigNatRegistry *registry);

/**
 * The whole result as JSON: an object, an array, "true", "false", or "null" for an operation without a result. Belongs
 * to the result. "" for NULL.
 */
const char *dig_nat_result_json(const struct DigNatResult *result);

/**
 * Where the file is (adding and listing files, downloads). Belongs to the result.
 */
const char *dig_nat_result_path(const struct DigNatResult *result);

/**
 * SHA-256 in 64 hex digits (everything about files, hashing). Belongs to the result.
 */
const char *dig_nat_result_hash(const struct DigNatResult *result);

/**
 * File name without directories; the type of a message. Belongs to the result.
 */
const char *dig_nat_result_name(const struct DigNatResult *result);

/**
 * The readable id of a shared file, if it has one. Belongs to the result.
 */
const char *dig_nat_result_content_id(const struct DigNatResult *result);

/**
 * Peer id (found peers, connections). Belongs to the result.
 */
const char *dig_nat_result_peer(const struct DigNatResult *result);

/**
 * Host of a found peer's best address, the multiaddr of a connection, the public address of this machine, the other side
 * of a socket, the relayed address of an allocation, or the sender of a datagram. Belongs to the result.
 */
const char *dig_nat_result_address(const struct DigNatResult *result);

/**
 * The text of an item that is only a text (addresses, ways), or the type of a NAT or a socket. Belongs to the result.
 */
const char *dig_nat_result_text(const struct DigNatResult *result);

/**
 * Port of what dig_nat_result_address gives.
 */
uint16_t dig_nat_result_port(const struct DigNatResult *result);

/**
 * Bytes of the file or message; seconds of a lifetime; how many ways were forgotten.
 */
uint64_t dig_nat_result_size(const struct DigNatResult *result);

/**
 * Whether the removed file was shared, the deleted mapping existed, the forgotten peer was known, or signalling goes on;
 * whether a message is text.
 */
bool dig_nat_result_flag(const struct DigNatResult *result);

/**
 * How many items the result has: files, peers, addresses (those of a found peer too).
 */
size_t dig_nat_result_count(const struct DigNatResult *result);

/**
 * One item, counted from 0; NULL behind the last one. Belongs to the result: do not free it.
 */
const struct DigNatResult *dig_nat_result_item(const struct DigNatResult *result, size_t index);

/**
 * Takes the connection out of the result of connecting or accepting. The caller frees it. NULL when there is none, or
 * it was taken already; a connection that nobody takes is closed with the result.
 */
struct DigNatConnection *dig_nat_result_take_connection(const struct DigNatResult *result);

/**
 * Takes the socket out of the result of hole punching or ICE. The caller frees it. NULL when there is none, or it was
 * taken already; a socket that nobody takes is closed with the result.
 */
struct DigNatSocket *dig_nat_result_take_socket(const struct DigNatResult *result);

/**
 * Takes the allocation out of the result of dig_nat_create_turn_allocation. The caller frees it. NULL when there is none,
 * or it was taken already; an allocation that nobody takes is released with the result.
 */
struct DigNatAllocation *dig_nat_result_take_allocation(const struct DigNatResult *result);

/**
 * The bytes of a received message, dig_nat_result_size of them, not NUL-terminated. Belongs to the result. NULL when the
 * connection has ended instead.
 */
const uint8_t *dig_nat_result_data(const struct DigNatResult *result);

/**
 * Frees a result that was handed out through a `DigNatResult **`, and everything that belongs to it. NULL is fine.
 * Results passed to a callback and items of results belong to the library.
 */
void dig_nat_result_free(struct DigNatResult *result);

/**
 * Starts the threads of the library. `worker_threads` 0 means one per processor.
 */
enum DigNatStatus dig_nat_runtime_new(uint32_t worker_threads,
                                      struct DigNatRuntime **runtime,
                                      struct DigNatError **error);

/**
 * Cancels every task, delivers every outstanding completion, and ends the threads: when it returns, no callback runs
 * or will run. Waits up to 10 seconds for operations that wind up, and for a callback that is running. Objects made from the runtime stay valid handles
 * and answer with DIG_NAT_STATUS_INVALID_STATE; they still have to be freed. Called inside a callback it returns at
 * once and does all this in the background. NULL is fine.
 */
void dig_nat_runtime_free(struct DigNatRuntime *runtime);

/**
 * Makes signalling for one attempt.
 */
enum DigNatStatus dig_nat_signaling_new(const struct DigNatRuntime *runtime,
                                        struct DigNatSignaling **signaling,
                                        struct DigNatError **error);

/**
 * Waits for the next message for the peer, at most 8 KiB. Result: data, size; data is NULL and the JSON "null" when the
 * attempt has ended. Cancelling loses nothing.
 */
enum DigNatStatus dig_nat_signaling_outgoing(const struct DigNatSignaling *signaling,
                                             DigNatDoneFn done,
                                             void *user,
                                             struct DigNatTask **task,
                                             struct DigNatError **error);

/**
 * Hands over a message of the peer. The bytes are copied before the call returns. Result: flag, whether the attempt goes
 * on.
 */
enum DigNatStatus dig_nat_signaling_deliver(const struct DigNatSignaling *signaling,
                                            const uint8_t *data,
                                            size_t length,
                                            DigNatDoneFn done,
                                            void *user,
                                            struct DigNatTask **task,
                                            struct DigNatError **error);

/**
 * Frees signalling; nothing more comes from the peer then. NULL is fine.
 */
void dig_nat_signaling_free(struct DigNatSignaling *signaling);

/**
 * Finds a pair of addresses that works, by ICE (RFC 8445); the peer does the same at the other end of `signaling`, which
 * serves one attempt; with NULL both sides meet at the gun_peers of the options. Result: as of dig_nat_socket_info, and the socket for dig_nat_result_take_socket.
 */
enum DigNatStatus dig_nat_connect_with_ice(const struct DigNatRuntime *runtime,
                                           const struct DigNatIceOptions *options,
                                           const struct DigNatSignaling *signaling,
                                           DigNatDoneFn done,
                                           void *user,
                                           struct DigNatTask **task,
                                           struct DigNatError **error);

/**
 * What a socket is and where it leads. Result: text ("UDP_HOLE_PUNCH", "TCP_HOLE_PUNCH", "TCP_SIMULTANEOUS_OPEN" or "ICE"),
 * address and port of the other side, and in the JSON {connectionType, protocol ("udp" for datagrams, "tcp" for a
 * stream), localAddress, localPort, remoteAddress, remotePort, localCandidate, remoteCandidate}.
 */
enum DigNatStatus dig_nat_socket_info(const struct DigNatSocket *socket,
                                      struct DigNatResult **result,
                                      struct DigNatError **error);

/**
 * Sends a datagram of at most 65507 bytes, or bytes of the stream. The bytes are copied before the call returns. Result:
 * none; it comes when the system has them. A send of a stream that is cancelled closes it.
 */
enum DigNatStatus dig_nat_socket_send(const struct DigNatSocket *socket,
                                      const uint8_t *data,
                                      size_t length,
                                      DigNatDoneFn done,
                                      void *user,
                                      struct DigNatTask **task,
                                      struct DigNatError **error);

/**
 * Waits for the next datagram or the next bytes of the stream. Result: data, size; data is NULL and the JSON "null" after
 * the end. Cancelling loses nothing.
 */
enum DigNatStatus dig_nat_socket_receive(const struct DigNatSocket *socket,
                                         DigNatDoneFn done,
                                         void *user,
                                         struct DigNatTask **task,
                                         struct DigNatError **error);

/**
 * Ends it after what was sent and frees its port. Result: none.
 */
enum DigNatStatus dig_nat_socket_close(const struct DigNatSocket *socket,
                                       DigNatDoneFn done,
                                       void *user,
                                       struct DigNatTask **task,
                                       struct DigNatError **error);

/**
 * Frees a socket, closing it. NULL is fine.
 */
void dig_nat_socket_free(struct DigNatSocket *socket);

/**
 * The next event of a subscription made without a callback, as a JSON object in `event_json`, to be freed with
 * dig_nat_string_free. DIG_NAT_STATUS_TIMEOUT when none came in `timeout_ms` (or DIG_NAT_WAIT_FOREVER), and
 * DIG_NAT_STATUS_INVALID_STATE when there will be no more, in a callback, and while another thread waits.
 */
enum DigNatStatus dig_nat_subscription_next(const struct DigNatSubscription *subscription,
                                            uint32_t timeout_ms,
                                            char **event_json,
                                            struct DigNatError **error);

/**
 * Unsubscribes. When it returns, the callback is not running and will not be called again, unless it is called from
 * that callback itself. NULL is fine.
 */
void dig_nat_subscription_free(struct DigNatSubscription *subscription);

/**
 * Waits for a task and gives what came of it: the status, and a result or an error to be freed by the caller (both
 * pointers may be NULL if not wanted). When it returns anything but a time-out, the task's callbacks have returned and
 * will not be called again. Returns DIG_NAT_STATUS_TIMEOUT after `timeout_ms` (0 only looks, DIG_NAT_WAIT_FOREVER
 * waits as long as it takes); the task then goes on, which dig_nat_task_is_finished tells apart from an operation that
 * failed with a time-out. May be called again, and by several threads, but not inside a callback, where it gives
 * DIG_NAT_STATUS_INVALID_STATE.
 */
enum DigNatStatus dig_nat_task_wait(const struct DigNatTask *task,
                                    uint32_t timeout_ms,
                                    struct DigNatResult **result,
                                    struct DigNatError **error);

/**
 * Whether the task has ended and its callbacks have returned. False for NULL.
 */
bool dig_nat_task_is_finished(const struct DigNatTask *task);

/**
 * Asks the operation to stop and clean up. Its completion still comes, normally with DIG_NAT_STATUS_CANCELLED; a
 * download leaves a part file that a later download continues. Starting, stopping and removing cannot be cut off and
 * end by themselves. Does nothing once the task has ended, and for NULL.
 */
void dig_nat_task_cancel(const struct DigNatTask *task);

/**
 * Frees a task; if it still runs it is cancelled, and its completion callback is still called. NULL is fine. To let an
 * operation run on its own, pass NULL for `task` when starting it.
 */
void dig_nat_task_free(struct DigNatTask *task);

/**
 * Allocates an address at the first of the named TURN servers that grants one. Result: as of dig_nat_allocation_info, and
 * the allocation for dig_nat_result_take_allocation. Fails with DIG_NAT_STATUS_INVALID_ARGUMENT for wrong credentials.
 */
enum DigNatStatus dig_nat_create_turn_allocation(const struct DigNatRuntime *runtime,
                                                 const struct DigNatTurnOptions *options,
                                                 DigNatDoneFn done,
                                                 void *user,
                                                 struct DigNatTask **task,
                                                 struct DigNatError **error);

/**
 * What the server granted. Result: address and port that peers send to, and in the JSON {relayedAddress, relayedPort,
 * mappedAddress, mappedPort, serverAddress, serverPort, lifetimeS}.
 */
enum DigNatStatus dig_nat_allocation_info(const struct DigNatAllocation *allocation,
                                          struct DigNatResult **result,
                                          struct DigNatError **error);

/**
 * Lets a peer's IP address in, all ports. Until then nothing of it arrives. Result: none.
 */
enum DigNatStatus dig_nat_allocation_permit(const struct DigNatAllocation *allocation,
                                            const char *address,
                                            DigNatDoneFn done,
                                            void *user,
                                            struct DigNatTask **task,
                                            struct DigNatError **error);

/**
 * Sends a datagram to a peer's IP address and port; the peer is let in first if it is not yet. The bytes are copied before
 * the call returns. Result: none.
 */
enum DigNatStatus dig_nat_allocation_send_to(const struct DigNatAllocation *allocation,
                                             const char *address,
                                             uint16_t port,
                                             const uint8_t *data,
                                             size_t length,
                                             DigNatDoneFn done,
                                             void *user,
                                             struct DigNatTask **task,
                                             struct DigNatError **error);

/**
 * Waits for the next datagram of a peer that was let in. Result: data, size, address and port of its sender; data is NULL
 * and the JSON "null" after the release. Cancelling loses nothing.
 */
enum DigNatStatus dig_nat_allocation_receive(const struct DigNatAllocation *allocation,
                                             DigNatDoneFn done,
                                             void *user,
                                             struct DigNatTask **task,
                                             struct DigNatError **error);

/**
 * Prolongs it now, asking for `lifetime_s` seconds (1 to 3600) from now on. It is prolonged in time without this too.
 * Result: size, the seconds that the server grants.
 */
enum DigNatStatus dig_nat_allocation_refresh(const struct DigNatAllocation *allocation,
                                             uint32_t lifetime_s,
                                             DigNatDoneFn done,
                                             void *user,
                                             struct DigNatTask **task,
                                             struct DigNatError **error);

/**
 * Removes it at the server. Result: none.
 */
enum DigNatStatus dig_nat_allocation_release(const struct DigNatAllocation *allocation,
                                             DigNatDoneFn done,
                                             void *user,
                                             struct DigNatTask **task,
                                             struct DigNatError **error);

/**
 * Frees an allocation, releasing it. NULL is fine.
 */
void dig_nat_allocation_free(struct DigNatAllocation *allocation);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* DIG_NAT_H */
