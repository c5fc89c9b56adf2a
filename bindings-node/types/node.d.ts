// Options of every object that takes part in a network. Not here: those of hosts, clients and discovery.

import { NODE_TYPE } from './constants';
import { BootstrapNode, DHTOptions, GunLike, GunOptions } from './discovery';
import { TURNServer } from './traversal';

/** Switches of the original package that are accepted and have no effect in this version. */
export interface LaterOptions {
  /** Without effect. */
  enableWebRTC?: boolean;
}

/** Options of every object that takes part in a network. A name that is none of the options of this package is refused. */
export interface NodeOptions extends LaterOptions {
  /** TCP and UDP port to listen on. Default 0: a free one, the same number for both. */
  port?: number;
  /** Another name of `port`. */
  tcpPort?: number;
  /** Another name of `port`. */
  localTCPPort?: number;
  /** Dial IPv6 addresses a quarter of a second before IPv4 ones, when `enableIPv6` is on; false: the reverse. Default true. */
  preferIPv6?: boolean;
  /** Listen on IPv6 too and dial both. Default false. */
  enableIPv6?: boolean;
  /** Default true. */
  enableTCP?: boolean;
  /** QUIC. Default true. */
  enableUDP?: boolean;
  /** Find peers and be found on the local network. Default true. */
  localEnabled?: boolean;
  /** Another name of `localEnabled`. */
  enableLocal?: boolean;
  /** Find peers and be found in the distributed hash table. Default true. */
  dhtEnabled?: boolean;
  /** Another name of `dhtEnabled`. */
  enableDHT?: boolean;
  /** Another name of `dhtEnabled`. */
  enableDht?: boolean;
  /** The hash table to take part in: that of libp2p and IPFS, or that of nodes of this library which know each other by
   * `bootstrapNodes`. Default `public` without bootstrap nodes and `private` with them or with `localOnly`. */
  dhtNetwork?: 'public' | 'private';
  /** Nodes by which this one joins the hash table. Default the well-known ones of the public table. */
  bootstrapNodes?: BootstrapNode[];
  /** Keep the part of the hash table that `shardPrefixes` names, and tell others so. Default false. */
  isShardHost?: boolean;
  /** Parts of the hash table kept for others: beginnings of positions in it (hex digits), ranges as `00-3f`. Default on a shard
   * host random ones, elsewhere none. */
  shardPrefixes?: string[];
  /** Random prefixes of a shard host that names none. Default 3. */
  numShardPrefixes?: number;
  /** Hex digits of random prefixes. Default 2. */
  shardPrefixLength?: number;
  /** Options of the hash table once more; those above count before them. */
  dhtOptions?: DHTOptions;
  /** Tell connected peers of others that have the same content, and hear it from them. Default true. */
  pexEnabled?: boolean;
  /**
   * Pause between two messages of peer exchange to one peer, in ms (1000 to 86400000). Peers take one a minute, so less counts
   * as 60000. Default 60000.
   */
  pexInterval?: number;
  /** Another name of `pexInterval`. */
  exchangeInterval?: number;
  /** Another name of `pexEnabled`. */
  enablePEX?: boolean;
  /** Another name of `pexEnabled`. */
  enablePex?: boolean;
  /** Find peers and be found through Gun relays. Default true; it does nothing without relays. */
  gunEnabled?: boolean;
  /** Another name of `gunEnabled`. */
  enableGun?: boolean;
  /** Gun relays, `https://host/gun` or `ws://host:port/gun`. Default none. */
  gunPeers?: string[];
  /** Name of this node in the Gun graph. Default its peer id, under which nobody believes anything unsigned. */
  gunNodeId?: string;
  /** Another name of `gunNodeId`. */
  nodeId?: string;
  /** Node of the Gun graph below which everything stands. Default none. */
  gunNamespace?: string;
  /** Node of the Gun graph below which peers stand. Default `dig-peers`. */
  gunPeerMapName?: string;
  /** Node of the Gun graph below which content ids stand. Default `dig-content-maps`. */
  gunContentMapName?: string;
  /** How often announcements to Gun are written again, in ms. Default 60000. */
  gunAnnounceInterval?: number;
  /** How long they hold, in ms, at most 48 h. Default 3600000. */
  gunAnnounceTTL?: number;
  /** Another name of `gunAnnounceTTL`. */
  gunAnnounceTtl?: number;
  /** How long unsigned records of others hold that do not say so, in ms, at most 48 h. Default 3600000. */
  gunPeerTTL?: number;
  /** Another name of `gunPeerTTL`. */
  gunPeerTtl?: number;
  /** How often expired records are forgotten, in ms. Default 300000. */
  gunCleanupInterval?: number;
  /** Peers that Gun names for one content which are remembered, at most 100. Default 100. */
  gunMaxCachedPeers?: number;
  /** Address at which this node is reached from outside, told to others besides those it finds itself. */
  externalIp?: string | null;
  /** Port there, for TCP and UDP. Default the one it listens on. */
  externalPort?: number | null;
  /** A live Gun database of the program, which is used instead of relays and never stopped; or the address of a Gun relay,
   * several, or `{peers}`: another way to give `gunPeers`. */
  gun?: GunLike;
  /** Another name of `gun`. */
  gunInstance?: GunLike;
  /** `gun`, `instance` or `peers` in it are further ways to give `gun` or `gunPeers`, and `rtc.iceServers` one to give
   * `stunServers` and `turnServers`; its other options are those above. Those of Gun itself have no effect. */
  gunOptions?: GunOptions;
  /** Contact nothing but the local network and given addresses. Default false, or DIG_NAT_LOCAL_ONLY=1. */
  localOnly?: boolean;
  /** Interfaces to use, by name or address. Default all, or DIG_NAT_INTERFACES. */
  interfaces?: string[];
  /** Directory for state that outlives the process. Default none. */
  persistenceDir?: string | URL;
  /** Keep state in `persistenceDir`. Default true when that is given, else false. */
  enablePersistence?: boolean;
  /** Another name of `enablePersistence`. */
  persistenceEnabled?: boolean;
  /** Default 1000. */
  maxConnections?: number;
  /** Bytes per second of the whole node. Default 0: unlimited. */
  uploadLimit?: number;
  /** Bytes per second of the whole node. Default 0: unlimited. */
  downloadLimit?: number;
  /** Bytes per second and peer. Default 0: unlimited. */
  peerUploadLimit?: number;
  /** Bytes per second and peer. Default 0: unlimited. */
  peerDownloadLimit?: number;
  /** STUN servers, `host:port` or `stun:host:port`, that tell the public address. Default three public ones, or none
   * with `localOnly`. */
  stunServers?: string[];
  /** TURN servers over which peers are reached when nothing else works; the first one is used. Default none. */
  turnServers?: TURNServer[];
  /** Another way to give one TURN server, with the two below. */
  turnServer?: string;
  turnUsername?: string;
  turnPassword?: string;
  /** Ask the router by UPnP to forward the port. Default true; never with `localOnly`. */
  enableUPnP?: boolean;
  /** Another name of `enableUPnP`. */
  enableUpnp?: boolean;
  /** Ask the router by PCP and NAT-PMP to forward the port. Default true; never with `localOnly`. */
  enableNATPMP?: boolean;
  /** Another name of `enableNATPMP`. */
  enableNatPmp?: boolean;
  /** Lifetime of port mappings in seconds; they are renewed at half of it. Default 3600. */
  portMappingLifetime?: number;
  /** Multiaddrs, with peer id, of relays through which this node can be reached. Default none. */
  relays?: string[];
  /** Forward bytes between peers that cannot reach each other. Default false. */
  relayServer?: boolean;
  /** Never upload. Default false, or true for a client or manager of `nodeType: NODE_TYPE.LIGHT`. */
  lightNode?: boolean;
  /** How much this node remembers of others: `light` (100 peers), `standard` (1000) or `super` (10000). Default `light`
   * for a client, else `standard`. A client or manager that is `light` never uploads. */
  nodeType?: NODE_TYPE;
  /** Peers remembered in all, at most 100000. Default 0: by `nodeType`. */
  maxKnownPeers?: number;
  /** Contents for which peers are remembered, those searched for in the background included, at most 10000. Default 0: by
   * `nodeType`. */
  maxCachedHashes?: number;
  /** Peers remembered of one content, at most 1000. Default 0: by `nodeType`. */
  maxCachedPeersPerHash?: number;
}
