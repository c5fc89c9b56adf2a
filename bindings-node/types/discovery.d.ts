// Finding peers and being found, without hosting or downloading. Not here: hosts and clients, which are ../index.d.ts.

import { EventEmitter } from 'events';

import { DiscoveredPeer, EngineEvents, FindPeersOptions } from '../index';
import { AnnouncePriority, PexMessageType } from './constants';
import { NodeOptions } from './node';

// Nothing is exported that does not say so.
export {};

// -------------------------------------------------------------------------------------------------------------- options

/** A Gun database, told by its methods `get`, `put` and `on`: used as it is, and nothing of the program's in it is ended. */
export type GunLike = any;

/** A node of the hash table: `host:port`, a multiaddr, or an object. */
export type BootstrapNode = string | { address: string; port: number } | { host: string; port: number };

/** Options of the distributed hash table, nested as in the original package; each is one of `NodeOptions` too. */
export interface DHTOptions {
  bootstrapNodes?: BootstrapNode[];
  dhtNetwork?: 'public' | 'private';
  isShardHost?: boolean;
  shardPrefixes?: string[];
  numShardPrefixes?: number;
  shardPrefixLength?: number;
  maxCachedHashes?: number;
  maxCachedPeersPerHash?: number;
  /** Without effect: TCP and UDP share one port. */
  udpPort?: number;
}

/** Options of Gun, nested as in the original package. */
export interface GunOptions {
  /** Relays, as in `gunPeers`. */
  peers?: string[] | { [url: string]: any };
  gunPeers?: string[];
  /** A live database, or relays. */
  gun?: GunLike;
  /** Another name of `gun`. */
  instance?: GunLike;
  /** Another name of `gunNodeId`, as the following are of the options of `NodeOptions` with `gun` before them. */
  nodeId?: string;
  namespace?: string;
  peerMapName?: string;
  contentMapName?: string;
  announceInterval?: number;
  announceTTL?: number;
  peerTTL?: number;
  cleanupInterval?: number;
  maxCachedPeers?: number;
  externalIp?: string | null;
  externalPort?: number | null;
  [name: string]: any;
}

/** Options of all ways of discovery. A way that is switched off neither finds nor announces. */
export interface PeerDiscoveryOptions extends NodeOptions {
  /** Port of the host whose contents `addInfoHash` announces. Default 0: it only searches. */
  announcePort?: number;
  localOptions?: LocalDiscoveryOptions;
  pexOptions?: PexManagerOptions;
  /** Without effect: the same peer is never told twice. */
  deduplicate?: boolean;
  /** Another name of `maxKnownPeers`. */
  maxPeers?: number;
  /** Without effect. */
  useBloomFilter?: boolean;
  options?: Omit<PeerDiscoveryOptions, 'options'>;
}

export interface DHTClientOptions extends Omit<PeerDiscoveryOptions, 'options'> {
  /** Port to listen on, another name of `port`. */
  udpPort?: number;
  /** Without effect: records end when they say so. */
  ttl?: number;
  /** Without effect: what was asked for lately is kept longest. */
  updateAgeOnGet?: boolean;
}

export interface PexManagerOptions extends Omit<PeerDiscoveryOptions, 'options'> {
  /** Peers of messages that are kept. Default 50. */
  maxPeers?: number;
  /** Another name of `announcePort`. */
  port?: number;
  /** Another name of `pexInterval`. */
  exchangeInterval?: number;
  /** Without effect. */
  announcePeriod?: number;
  /** Without effect: known peers are forgotten after a week, or when others need the place. */
  peerExpiration?: number;
  /** Without effect: the same peer is never told twice. */
  peerDeduplication?: boolean;
}

export interface LocalDiscoveryOptions extends Omit<PeerDiscoveryOptions, 'options'> {
  /** Another name of `announcePort`. */
  port?: number;
  /** Without effect. */
  announceName?: string;
  /** Without effect: all nodes of this library have one service, or they would not find each other. */
  serviceType?: string;
  /** Without effect: multicast DNS answers when it is asked, and says when it is new. */
  announceInterval?: number;
  /** Without effect, for the same reason. */
  peerTTL?: number;
}

export interface GunDiscoveryOptions extends Omit<PeerDiscoveryOptions, 'options'> {
  /** A live database, the address of a relay, several, or `{peers}`. */
  gun?: GunLike;
  /** Another name of `announcePort`. */
  port?: number;
  /** Name in the graph, another name of `gunNodeId`. Default the peer id, under which nobody believes anything unsigned. */
  nodeId?: string;
  /** Another name of `gunNamespace`. */
  namespace?: string;
  /** How often announcements are written again, in ms; another name of `gunAnnounceInterval`. Default 60000. */
  announceInterval?: number;
  /** How long announcements hold, in ms; another name of `gunAnnounceTTL`. Default 3600000. */
  announceTTL?: number;
  /** How long unsigned records hold that do not say so, in ms; another name of `gunPeerTTL`. Default 3600000. */
  peerTTL?: number;
  /** How often expired records are forgotten, in ms; another name of `gunCleanupInterval`. Default 300000. */
  cleanupInterval?: number;
  /** Peers remembered of one content, at most 100; another name of `gunMaxCachedPeers`. Default 100. */
  maxCachedPeers?: number;
  /** Another name of `gunPeerMapName`. Default `dig-peers`. */
  peerMapName?: string;
  /** Another name of `gunContentMapName`. Default `dig-content-maps`. */
  contentMapName?: string;
}

/** Options of announcing a content. */
export interface AnnounceOptions {
  /**
   * Port of the host in this process that has the content. Default 0: the object that announces. When nothing of this
   * process listens there, it is announced without the port, and a `warning` event says so.
   */
  port?: number;
  /** Readable id under which it is announced too. */
  contentId?: string;
  /** `high`: everywhere, `medium`: local network, hash table and connected peers, `low`: only the local network. Default
   * `high`. */
  priority?: AnnouncePriority | 'high' | 'medium' | 'low';
  /** Another name of `priority`. */
  announceLevel?: AnnouncePriority | 'high' | 'medium' | 'low';
  /**
   * How long it is announced, in ms (1000 to 31536000000); after that it is taken back, unless it was announced again. It
   * ends with `stop()` too. What is told to others says so itself, so it ends though this process is gone: for readers of Gun
   * a quarter of an hour later, since clocks differ. Default: until it is taken back.
   */
  ttl?: number;
}

/** Options of the function `announceFile`, besides those of its manager. */
export interface AnnounceFileOptions extends PeerDiscoveryOptions {
  priority?: AnnouncePriority | 'high' | 'medium' | 'low';
}

// -------------------------------------------------------------------------------------------------------------- classes

/** Events of discovery: those of the engine, and finds with their content. */
export interface DiscoveryEvents extends Omit<EngineEvents, 'peer:discovered'> {}

/** A peer that was found for a content. The listener's second argument is `infoHash`. */
export interface FoundPeer {
  id: string;
  address: string;
  port: number;
  source: string;
  confidence: number;
  infoHash: string;
  infoHashes: string[];
}

/** What all classes of discovery share. A started object keeps the process alive until `stop()`. */
declare class Discovery extends EventEmitter {
  protected constructor();
  /** The bound port, 0 before the start. */
  readonly port: number;
  /** The identity on the network, undefined before the start. */
  readonly peerId: string | undefined;
  /** Multiaddrs with the peer id; empty before the start. */
  readonly addresses: string[];
  /** Opens the port. `port` is another way to give `announcePort`. A second call does nothing. */
  start(port?: number): Promise<void>;
  /** Takes back what was announced and closes everything. May be left unawaited. */
  stop(): Promise<void>;
  /** Makes a content findable until it is taken back, and starts the object. Renewed by itself. A text is ignored. May be
   * left unawaited. */
  announce(id: string, options?: AnnounceOptions | number | string): Promise<void>;
  /** Searches for a content in the background from the start on; finds are events. */
  addInfoHash(id: string, priority?: AnnouncePriority | 'high' | 'medium' | 'low'): Promise<void>;
  /** Ends the search and takes back the announcement. */
  removeInfoHash(id: string): Promise<void>;
  findPeers(id: string, options?: FindPeersOptions): Promise<DiscoveredPeer[]>;
  findPeers(id: string, maxPeers?: number, timeout?: number): Promise<DiscoveredPeer[]>;
  addContentMapping(contentId: string, hash: string): void;
  /** Takes a readable id away, and back from where it was told; whether there was one. What others say of it stays theirs. */
  removeContentMapping(contentId: string): Promise<boolean>;
  getHashForContent(contentId: string): string | undefined;
  getContentForHash(hash: string): string | undefined;
  /** The hash behind a readable id, from whoever says it first; undefined when nobody does in time (5000 ms). Starts the
   * object. */
  findHashByContentId(contentId: string, options?: number | { timeout?: number }): Promise<string | undefined>;
  /** The parts of the hash table that it keeps for others as a shard host; none elsewhere and before the start. */
  getShardPrefixes(): string[];
  /** `peer-discovered` is the same event. */
  on(event: 'peer:discovered' | 'peer-discovered', listener: (peer: FoundPeer, infoHash: string) => void): this;
  /** A search with `findPeers` is over. */
  on(event: 'peers-found', listener: (infoHash: string, peers: DiscoveredPeer[]) => void): this;
  /** The program has announced a content through this object, or taken that back. */
  on(event: 'content:announced' | 'content:removed', listener: (id: string) => void): this;
  /** The program has named a peer. */
  on(event: 'peer-added', listener: (peer: any, infoHash?: string) => void): this;
  /** The program has taken that back. */
  on(event: 'peer-removed', listener: (peerId: string, infoHash?: string) => void): this;
  on<E extends keyof DiscoveryEvents>(event: E, listener: (value: DiscoveryEvents[E]) => void): this;
  on(event: string | symbol, listener: (...values: any[]) => void): this;
}

/** All ways of discovery, or those that the options leave on. */
export declare class PeerDiscoveryManager extends Discovery {
  constructor(options?: PeerDiscoveryOptions);
  /** Remembers a peer for one content, or for all. */
  addManualPeer(peerId: string, address: string, port: number, infoHash?: string): DiscoveredPeer;
  addConnectedPeer(peer: { address: string; port: number; id?: string; infoHash?: string; infoHashes?: string[] }): void;
  /** From now on the peer is not among those found for its contents, or for any. */
  removeConnectedPeer(
    peer: string | { id?: string; address?: string; port?: number; infoHash?: string; infoHashes?: string[] },
  ): void;
  /** Everybody who is known now, best first; nobody is asked. */
  getAllPeers(): DiscoveredPeer[];
  /** Those found in one way, a value of `PEER_SOURCES`. */
  getPeersBySource(source: string): DiscoveredPeer[];
  getPeersForInfoHash(infoHash: string): DiscoveredPeer[];
  /** One way of this manager: the same engine, telling only what was found that way. Stopping it stops the manager. */
  getDHTClient(): DHTClient;
  getPEXManager(): PexManager;
  getGunDiscovery(): GunDiscovery;
  getLocalDiscovery(): LocalDiscovery;
}

/** The distributed hash table on its own. */
export declare class DHTClient extends Discovery {
  constructor(options?: DHTClientOptions);
  /** The same as `announce`; announcements are renewed by themselves. */
  announcePeer(infoHash: string, port: number, intervalMinutes?: number): Promise<void>;
  /** The nodes of the table nearest to a place in it, nearest first, of those that answer in time (5000 ms): that of a peer id,
   * or where a hash or readable id is kept. Starts the object. */
  findNode(targetId: string, options?: number | { timeout?: number }): Promise<DiscoveredPeer[]>;
  /** From now on the peer is not among those found for the content, or for any. */
  removePeer(peerId: string, infoHash?: string): void;
}

/** The local network on its own. */
export declare class LocalDiscovery extends Discovery {
  constructor(options?: LocalDiscoveryOptions);
}

/** Gun relays on their own. */
export declare class GunDiscovery extends Discovery {
  constructor(options?: GunDiscoveryOptions);
  /** The live Gun database it was given, undefined for addresses of relays. */
  readonly gun: GunLike;
  addInfoHash(infoHash: string, highPriority?: boolean | AnnouncePriority | 'high' | 'medium' | 'low'): Promise<void>;
  /** Takes an announcement back, with those of its content ids; whether there was one. */
  unannounce(infoHash: string, peerId?: string): Promise<boolean>;
  mapContentIdToHash(contentId: string, hash: string): Promise<void>;
}

/** What peers are like, as they say themselves. */
export interface PexFlags {
  preferEncryption?: boolean;
  canUseUTP?: boolean;
  isReachable?: boolean;
  supportsNetCrypto?: boolean;
}

/** A peer in a message. */
export interface PexPeer {
  id?: string;
  address?: string;
  port?: number;
  source?: string;
  confidence?: number;
  infoHash?: string;
  infoHashes?: string[];
  flags?: PexFlags;
  [name: string]: any;
}

/** A message that programs carry themselves. */
export interface PexMessage {
  type: PexMessageType;
  peers: PexPeer[];
}

/**
 * Peer exchange on its own. The engine exchanges peers with connected ones by itself. The peers of messages are kept
 * beside it, are told as found, and are never dialled by the engine on their own.
 */
export declare class PexManager extends Discovery {
  constructor(options?: PexManagerOptions);
  /** Remembers the other side of a connection for a content. */
  addConnection(
    connection: { peerId?: string; address?: string; remoteAddress?: string; remotePort?: number },
    infoHash: string,
  ): void;
  /** Remembers a peer by its address or peer id. Other names only go into messages. */
  addPeer(peerId: string, infoHash: string): void;
  /** Forgets a peer for a content. */
  removePeer(peerId: string, infoHash: string): void;
  /** Keeps a peer that somebody named; false if it is known, or there is no place for it. */
  addDiscoveredPeer(peer: PexPeer, isConnected?: boolean): boolean;
  handlePexMessage(message: PexMessage): void;
  /** Peers kept here, or those removed lately; at most `count`, 50 unless told. */
  createPexMessage(type: PexMessageType | 'add_peers' | 'remove_peers', count?: number): PexMessage;
  /** Peers of messages for a content (or any) that have all these flags. */
  findPeersWithCapabilities(infoHash?: string, flags?: PexFlags): PexPeer[];
  setLocalPeerFlags(flags: PexFlags): void;
  /** The flags of a peer, or one's own without an id. */
  getPeerFlags(peerId?: string): PexFlags | undefined;
  /** False for an unknown peer. */
  updatePeerFlags(peerId: string, flags: PexFlags): boolean;
}
export type LocalPeer = DiscoveredPeer;

// ------------------------------------------------------------------------------------------------------------ functions

export declare function createGunDiscovery(options?: GunDiscoveryOptions): GunDiscovery;
export declare function createDHTClient(options?: DHTClientOptions): DHTClient;
export declare function createPEXManager(options?: PexManagerOptions): PexManager;

/** Searches with a manager made for it. `announcePort` is accepted without effect: announcing is `announceFile`. */
export declare function findPeers(
  id: string,
  announcePort?: number | (PeerDiscoveryOptions & FindPeersOptions),
  options?: PeerDiscoveryOptions & FindPeersOptions,
): Promise<DiscoveredPeer[]>;

/**
 * Makes a content findable, as `(hash or path, port, options)` or `(contentId, hash or path, port, options)`: `port` is
 * that of a host in this process, see `AnnounceOptions`. Gives the started manager, which announces until it is stopped.
 */
export declare function announceFile(
  file: string,
  port: number,
  options?: AnnounceFileOptions,
): Promise<PeerDiscoveryManager>;
export declare function announceFile(
  contentId: string,
  file: string,
  port: number,
  options?: AnnounceFileOptions,
): Promise<PeerDiscoveryManager>;

/** Gives a started manager that knows the peer, and looks for others only in ways that are switched on. */
export declare function addManualPeer(
  peerId: string,
  address: string,
  port: number,
  options?: PeerDiscoveryOptions & { infoHash?: string },
): Promise<PeerDiscoveryManager>;
