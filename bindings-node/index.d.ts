/// <reference types="node" />
// Types of @dignetwork/dig-nat-tools: everything that the package offers now, under the names of the original package.
// Times are in ms and sizes in bytes unless a comment says otherwise.

import { EventEmitter } from 'events';

import { CONNECTION_TYPE } from './types/constants';
import { PeerDiscoveryManager } from './types/discovery';
import { NatProfile } from './types/nat';
import { NodeOptions } from './types/node';
import { ConnectOptions, Diagnosis, PeerToReach, Traversal } from './types/reach';
import { HostWatchOptions, WatchOptions } from './types/watching';

export * from './types/constants';
export * from './types/discovery';
export * from './types/nat';
export * from './types/node';
export * from './types/reach';
export * from './types/registry';
export * from './types/traversal';
export * from './types/watching';

// --------------------------------------------------------------------------------------------------------------- errors

/** The `code` of every error. */
export type ErrorCode =
  | 'ERR_INTERNAL'
  | 'ERR_INVALID_ARGUMENT'
  | 'ERR_INVALID_STATE'
  | 'ERR_CANCELLED'
  | 'ERR_TIMEOUT'
  | 'ERR_LIMIT_REACHED'
  | 'ERR_FILE_NOT_FOUND'
  | 'ERR_PERMISSION_DENIED'
  | 'ERR_DISK_FULL'
  | 'ERR_FILE_BUSY'
  | 'ERR_FILE_CHANGED'
  | 'ERR_IO'
  | 'ERR_ADDRESS_IN_USE'
  | 'ERR_PEER_UNREACHABLE'
  | 'ERR_CONNECTION_CLOSED'
  | 'ERR_PROTOCOL'
  | 'ERR_NO_PEERS'
  | 'ERR_CONTENT_NOT_FOUND'
  | 'ERR_VERIFICATION_FAILED';

/** What every failing call throws or rejects with. A cancelled call's error is named `AbortError`. */
export declare class DigNatError extends Error {
  constructor(code: ErrorCode, message: string, cause?: unknown);
  readonly code: ErrorCode;
  /** The number of the kind, the same in every language. */
  readonly number: number;
  /** What a person can do about it. */
  readonly advice: string;
  readonly cause?: unknown;
}

// -------------------------------------------------------------------------------------------------------------- options

/** Bytes. */
export type Bytes = Buffer | Uint8Array;

/** A peer: `host:port`, a multiaddr, a peer id, or an object with these parts. An address counts before an id. */
export type PeerRef =
  | string
  | { host: string; port: number; id?: string }
  | { address: string; port: number; id?: string; addresses?: string[] }
  | { id: string };

/**
 * Serves content that is not a file: returns the chunks from `startChunk` on, or null behind the end and for unknown
 * content. Every chunk but the last has `chunkSize` bytes. Throwing counts as null and is reported as a `warning` event.
 */
export type HostFileCallback = (
  contentId: string,
  startChunk: number,
  chunkSize: number,
  sha256?: string,
) => Promise<Bytes[] | null> | Bytes[] | null;

export interface HostOptions extends NodeOptions, HostWatchOptions {
  /** Directory whose files are shared at start, recursively. */
  directory?: string | URL;
  hostFileCallback?: HostFileCallback;
  /** Unit of `hostFileCallback`. Default 65536. */
  chunkSize?: number;
  /** Peers served at once while more want data. Default 4. */
  uploadSlots?: number;
  /** Without effect: `nodeType` says how much is remembered. */
  maxMemoryMB?: number;
  /** Without effect: TCP and UDP share one port. */
  udpPort?: number;
  /** Without effect: every way is tried, and what works is kept. */
  preferredConnectionTypes?: string[];
  /** Any of these options once more; they count before those above. */
  options?: Omit<HostOptions, 'options'>;
}
export type FileHostOptions = HostOptions;

export interface ClientOptions extends NodeOptions {
  /** Directory for downloads without a path. Default the current directory. */
  downloadDir?: string | URL;
  /** Time for the first answer of a peer. Default 30000. */
  requestTimeout?: number;
  /** Another name of `requestTimeout`. */
  peerTimeout?: number;
  /** Keep looking for further peers during downloads. Default true. */
  enableContinuousDiscovery?: boolean;
  /** Peers one download uses at once. Default 10. */
  maxPeers?: number;
  /** Without effect: pieces have the size that their file asks for. */
  chunkSize?: number;
  options?: Omit<ClientOptions, 'options'>;
}

/** The options without a comment are without effect: the engine measures what its peers can do. */
export interface NetworkManagerOptions extends ClientOptions {
  concurrency?: number;
  maxConcurrency?: number;
  minConcurrency?: number;
  bandwidthCheckInterval?: number;
  slowPeerThreshold?: number;
  /** Without effect: the manager has its `peerId`. */
  localId?: string;
  /** Without effect: TCP and UDP share one port. */
  localUDPPort?: number;
  /** Without effect: a manager announces its own port. */
  announcePort?: number;
  /** Without effect: problems are `warning` events. */
  enableLogging?: boolean;
}

/** What every form of a download takes. */
export interface TransferOptions {
  /** Peers to ask. Default: discovery finds them. */
  peers?: PeerRef[];
  /** Peers used at once. Default: that of the client. */
  maxPeers?: number;
  /** Give up when nobody who has the content was found for so long. Default 30000. */
  timeout?: number;
  /** Search for peers besides those given. Default true. */
  discover?: boolean;
  /** Another name of `discover`. */
  enableContinuousDiscovery?: boolean;
  /** Bytes per second. Default 0: unlimited. */
  downloadLimit?: number;
  /** Serve pieces to others while downloading. Default true. */
  shareWhileDownloading?: boolean;
  /** Replace an existing file of other content. Default true. */
  overwrite?: boolean;
  /** The hash to ask for, when the first argument is a readable id. */
  verificationHash?: string;
  /** Cancels the download; what was fetched stays for the next attempt. */
  signal?: AbortSignal;
  /** State of a peer and the bytes it gave: connecting, choked, active, slow, dropped or banned. */
  onPeerStatus?: (peerId: string, status: string, bytesFromPeer: number) => void;
  /** Called with the error before the promise rejects with it. */
  onError?: (error: Error) => void;
  /** Without effect, as the following are: the engine measures what its peers can do. */
  chunkSize?: number;
  concurrency?: number;
  stunServers?: string[];
  connectionTimeout?: number;
  strategy?: string;
  peerConcurrency?: number;
  startChunk?: number;
  enableTCPFallback?: boolean;
  chunkRequestDelay?: number;
  maxRetries?: number;
}

/** A download whose progress is told in bytes, once the size is known. */
export interface DownloadOptions extends TransferOptions {
  savePath?: string | URL;
  onProgress?: (receivedBytes: number, totalBytes: number) => void;
  progressCallback?: (receivedBytes: number, totalBytes: number) => void;
}
export type MultiDownloadOptions = DownloadOptions;

/** A download whose progress is told from 0 to 1. */
export interface FractionDownloadOptions extends TransferOptions {
  /** Target directory when no path is given. Default: the client's `downloadDir`. */
  outputDir?: string | URL;
  savePath?: undefined;
  onProgress?: (fraction: number) => void;
  progressCallback?: (fraction: number) => void;
}

/** One object for the function `downloadFile`. */
export interface DownloadRequest {
  /** SHA-256 of the file in hex. */
  fileHash?: string;
  /** Its readable id, when the hash is not known. */
  contentId?: string;
  /** Target directory. The file's name is the one peers offer, made safe, else its hash. */
  outputDir?: string | URL;
  /** Target file, instead of a directory. */
  savePath?: string | URL;
  peers?: PeerRef[];
  signal?: AbortSignal;
  onProgress?: (fraction: number) => void;
  options?: Omit<ClientOptions & TransferOptions, 'options'> & {
    enableNatTraversal?: boolean;
    onProgress?: (fraction: number) => void;
    progressCallback?: (fraction: number) => void;
  };
}

/**
 * Options of the positional forms of the function `downloadFile`. `progressCallback` is given `(received, total)` if it
 * declares two parameters, else one object.
 */
export type LegacyDownloadOptions = Omit<NetworkManagerOptions, 'options'> &
  Omit<DownloadOptions, 'progressCallback'> & {
    progressCallback?:
      | ((received: number, total: number) => void)
      | ((progress: { percent: number; received: number; total: number }) => void);
  };

export interface FindPeersOptions {
  /** Stop after so many. Default 50. */
  maxPeers?: number;
  /** Time of the search. Default 5000. */
  timeout?: number;
}

/** A shared file. */
export interface FileInfo {
  path: string;
  hash: string;
  size: number;
  contentId?: string;
}

/** One peer's part in a finished download. */
export interface PeerStats {
  bytesDownloaded: number;
  /** Bytes per second while it took part. */
  downloadSpeed: number;
  connectionType: string;
  /** Whether it took part until the end. */
  active: boolean;
}

/** A finished download. `toString()` gives the path. */
export interface DownloadResult {
  path: string;
  filePath: string;
  hash: string;
  size: number;
  /** Bytes that an earlier, interrupted attempt had fetched. */
  resumedBytes: number;
  peerStats: Record<string, PeerStats>;
  connectionTypes: Record<string, string>;
  /** Bytes per second. */
  averageSpeed: number;
  /** In ms. */
  totalTime: number;
  toString(): string;
}

/** Somebody who may have a content. */
export interface DiscoveredPeer {
  /** Peer id, or `host:port` while that is unknown. */
  id: string;
  address: string;
  port: number;
  /** All addresses, best first. */
  addresses: string[];
  /** `manual`, `local`, … */
  source: string;
  /** Trust in the record, 0 to 1. */
  confidence: number;
  /** The content it was found for, where one was asked for. */
  infoHash?: string;
  infoHashes?: string[];
}

// --------------------------------------------------------------------------------------------------------------- events

/** Events of hosts, clients and network managers. */
export interface EngineEvents {
  started: { peerId: string; port: number; addresses: string[] };
  stopped: {};
  'peer:connected': { peer: string; address: string; connectionType: string };
  'peer:disconnected': { peer: string };
  'peer:discovered': {
    id: string;
    address: string;
    port: number;
    source: string;
    confidence: number;
    /** The content, as `infoHash` is too. */
    key: string;
    infoHash: string;
    infoHashes: string[];
  };
  'peer:banned': { peer: string; hash: string; reason: string };
  hashing: { files: number; totalFiles: number; bytes: number; totalBytes: number };
  'file:added': { hash: string; path: string; size: number; contentId: string | null };
  'file:removed': { hash: string; path: string };
  'file:changed': { hash: string; path: string };
  /** It is known what stands in front of this node. `natProfile` has the rest. */
  'nat:detected': { natType: NatProfile['natType']; publicV4: string | null; publicV6: string | null };
  /** The router forwards a port to this node; `reachable` is false when the router itself stands behind a NAT. */
  'port:mapped': {
    protocol: 'tcp' | 'udp';
    internalPort: number;
    /** `host:port`. */
    external: string;
    method: 'PCP' | 'NAT-PMP' | 'UPnP';
    reachable: boolean;
  };
  /** The router no longer forwards a port; it is asked again. */
  'port:lost': { protocol: 'tcp' | 'udp'; internalPort: number; reason: string };
  /** A relay holds a place for this node: an address to give to others. */
  'relay:reserved': { address: string };
  /** That address no longer works; the relay is asked again. */
  'relay:lost': { address: string };
  /** Something could not be handled; the object goes on. */
  warning: { error: DigNatError };
  /** Listeners were too slow; so many events were left out. */
  lagged: { missed: number };
}

declare class EngineEmitter extends EventEmitter {
  on<E extends keyof EngineEvents>(event: E, listener: (value: EngineEvents[E]) => void): this;
  on(event: string | symbol, listener: (...values: any[]) => void): this;
  once<E extends keyof EngineEvents>(event: E, listener: (value: EngineEvents[E]) => void): this;
  once(event: string | symbol, listener: (...values: any[]) => void): this;
}

// -------------------------------------------------------------------------------------------------------------- classes

/** Shares files. Nothing is opened before `start()`; a started host keeps the process alive until `stop()`. */
export declare class FileHost extends EngineEmitter {
  constructor(options?: HostOptions);
  /** The bound port, 0 before the start. */
  readonly port: number;
  /** A random UUID. */
  readonly hostId: string;
  /** The identity on the network, undefined before the start. */
  readonly peerId: string | undefined;
  /** What stands between it and the internet, undefined before the event `nat:detected`. */
  readonly natProfile: NatProfile | undefined;
  /** Multiaddrs with the peer id; empty before the start. */
  readonly addresses: string[];
  /** Opens the port and shares `directory`. A second call does nothing. */
  start(): Promise<void>;
  /** Closes everything and frees the port. A second call does nothing. */
  stop(): Promise<void>;
  getHostId(): string;
  /** 0 when TCP is off or the host is not running. */
  getTcpPort(): number;
  /** 0 when UDP is off or the host is not running. */
  getUdpPort(): number;
  getListeningPorts(): { tcp: number; udp: number };
  /** Hash to true, a copy. */
  getAnnouncedFiles(): Map<string, boolean>;
  /** Everything shared, ordered by path. */
  getFiles(): FileInfo[];
  /** Shares a file; works before the start too. */
  addFile(
    path: string | URL,
    options?: {
      contentId?: string;
      /** How widely it is announced. Default `high`. */
      announceLevel?: 'low' | 'medium' | 'high';
      /** Another name of `announceLevel`. */
      priority?: 'low' | 'medium' | 'high';
      signal?: AbortSignal;
    },
  ): Promise<FileInfo>;
  /** Shares every file below a directory. */
  addDirectory(path: string | URL, options?: { signal?: AbortSignal }): Promise<FileInfo[]>;
  /** Shares a directory and follows it from then on. Starts the host if need be, ends with it. Gives what was there. */
  watchDirectory(path: string | URL, options?: WatchOptions & { signal?: AbortSignal }): Promise<FileInfo[]>;
  /** Follows a directory no more; its files stay shared. False when it was not watched. */
  unwatchDirectory(path: string | URL): Promise<boolean>;
  /** Stops sharing; false when the hash was not shared. */
  removeFile(hash: string): Promise<boolean>;
  hasFile(hash: string): boolean;
  addContentMapping(contentId: string, sha256: string): void;
  getHashForContent(contentId: string): string | undefined;
  getContentForHash(sha256: string): string | undefined;
  /** The parts of the hash table that a shard host keeps for others, in hex digits. */
  getShardPrefixes(): string[];
}

/** Finds peers and downloads files. Downloads start it by themselves; it never keeps the process alive. */
export declare class FileClient extends EngineEmitter {
  constructor(options?: ClientOptions);
  readonly port: number;
  /** A random UUID. */
  readonly clientId: string;
  readonly peerId: string | undefined;
  /** What stands between it and the internet, undefined before the event `nat:detected`. */
  readonly natProfile: NatProfile | undefined;
  start(): Promise<void>;
  /** Cancels downloads (they can be resumed) and closes everything. May be left unawaited. */
  stop(): Promise<void>;
  /** The same as `start()`. */
  initialize(): Promise<void>;
  /** The same as `stop()`. */
  shutdown(): Promise<void>;
  /** The same as `stop()`. */
  disconnect(): Promise<void>;
  findPeers(id: string, options?: FindPeersOptions): Promise<DiscoveredPeer[]>;
  findPeers(id: string, maxPeers?: number, timeout?: number): Promise<DiscoveredPeer[]>;
  /** From a named host; the hash may stand first or second. Progress in bytes. Resolves to the path. */
  downloadFile(
    host: PeerRef,
    sha256: string,
    options: DownloadOptions & { savePath: string | URL },
  ): Promise<string>;
  /** By hash or readable id, from whoever has it. Progress from 0 to 1. Resolves to the path. */
  downloadFile(id: string, savePath: string | URL, options?: FractionDownloadOptions): Promise<string>;
  /** Into `downloadDir`. Resolves to the path. */
  downloadByContentId(
    contentId: string,
    options?: Omit<FractionDownloadOptions, 'savePath'> & { savePath?: string | URL },
  ): Promise<string>;
  downloadFileFromPeers(
    peers: PeerRef[],
    hash: string,
    savePath: string | URL,
    options?: FractionDownloadOptions,
  ): Promise<DownloadResult>;
  /** Size and name as peers claim them. */
  getFileInfo(
    id: string,
    options?: { peers?: PeerRef[]; timeout?: number; signal?: AbortSignal },
  ): Promise<{ hash: string; size: number; totalChunks: number; chunkSize: number; name?: string }>;
  /** What is known here, else what peers say. */
  getHashForContentId(
    contentId: string,
    options?: { peers?: PeerRef[]; timeout?: number; signal?: AbortSignal },
  ): Promise<string>;
  addContentMapping(contentId: string, sha256: string): void;
  getHashForContent(contentId: string): string | undefined;
  /** Remembers a peer for one content, or for all. */
  addPeer(peer: PeerRef, id?: string): void;
  setEnableContinuousDiscovery(enabled: boolean): void;
  /** All of discovery on this client's port; starting and stopping it is starting and stopping the client. */
  getDiscoveryManager(): PeerDiscoveryManager;
  /** Ids for `cancelDownload`. */
  getActiveDownloads(): string[];
  /** False when there is no such download. */
  cancelDownload(downloadId: string): boolean;
}

/** A message connection. Messages wait until the first listener is there. */
export declare class Connection extends EventEmitter {
  private constructor();
  readonly type: CONNECTION_TYPE;
  readonly peerId: string;
  /** Multiaddr of the other side. */
  readonly address: string;
  readonly remoteAddress: string | undefined;
  readonly remotePort: number | undefined;
  readonly closed: boolean;
  /** How it came about; undefined where it was just dialled or accepted. */
  readonly traversal?: Traversal;
  /** Heard as `data` and `message` on the other side. At most 16 MiB. May be left unawaited; order is kept. */
  send(data: string | Bytes | ArrayBuffer): Promise<void>;
  /** Heard as an event of that type. Bytes stay bytes, anything else travels as JSON. */
  send(messageType: string, data: unknown): Promise<void>;
  /** Closes both directions after what was sent. */
  close(): Promise<void>;
  on(event: 'data' | 'message', listener: (data: string | Buffer) => void): this;
  on(event: 'close', listener: (reason?: DigNatError) => void): this;
  on(event: string | symbol, listener: (...values: any[]) => void): this;
}

/** Hosting, downloading and message connections in one object. */
export declare class NetworkManager extends EngineEmitter {
  constructor(options?: NetworkManagerOptions);
  readonly port: number;
  readonly peerId: string | undefined;
  /** What stands between it and the internet, undefined before the event `nat:detected`. */
  readonly natProfile: NatProfile | undefined;
  readonly addresses: string[];
  /** Opens the port and accepts connections. Downloads and `connect` work without it. */
  start(): Promise<void>;
  stop(): Promise<void>;
  connect(target: PeerRef): Promise<Connection>;
  /** By whatever way works; `traversal` of the connection says how. */
  connectToPeer(peer: PeerToReach, options?: ConnectOptions): Promise<Connection & { readonly traversal: Traversal }>;
  /** As the function `diagnose`, with an attempt to reach a peer. */
  diagnose(peer?: PeerToReach | null, options?: ConnectOptions): Promise<Diagnosis>;
  findPeers(id: string, options?: FindPeersOptions): Promise<DiscoveredPeer[]>;
  findPeers(id: string, maxPeers?: number, timeout?: number): Promise<DiscoveredPeer[]>;
  /** From these peers and whoever else has it. */
  downloadFile(
    peers: PeerRef[],
    id: string,
    options: MultiDownloadOptions & { savePath: string | URL },
  ): Promise<DownloadResult>;
  /** From whoever has it. */
  downloadFile(id: string, options: MultiDownloadOptions & { savePath: string | URL }): Promise<DownloadResult>;
  /** Resolves to the hash. */
  shareFile(path: string | URL, contentId?: string): Promise<string>;
  addContentMapping(contentId: string, hash: string): Promise<void>;
  getHashForContent(contentId: string): string | undefined;
  getContentForHash(hash: string | undefined): string | undefined;
  /** The same as `getHashForContent()`. */
  getContentHash(contentId: string): string | undefined;
  /** The same as `getContentForHash()`. */
  getContentId(hash: string | undefined): string | undefined;
  /** Undefined without a connection to that peer. */
  getConnectionType(peerId: string): CONNECTION_TYPE | undefined;
  addPeer(peer: PeerRef, id?: string): void;
  setEnableContinuousDiscovery(enabled: boolean): void;
  on(event: 'connection', listener: (connection: Connection) => void): this;
  on<E extends keyof EngineEvents>(event: E, listener: (value: EngineEvents[E]) => void): this;
  on(event: string | symbol, listener: (...values: any[]) => void): this;
}

// ------------------------------------------------------------------------------------------------------------ functions

/** A host that is not started. */
export declare function createHost(options?: HostOptions): FileHost;
/**
 * A host that is not started; awaiting it starts it and gives the host itself. Returning it from an async function
 * starts it too.
 */
export declare function createFileHost(options?: HostOptions): FileHost & PromiseLike<FileHost>;
/** A client that is not started. */
export declare function createClient(options?: ClientOptions): FileClient;
/** A client that is not started; awaiting it starts it and gives the client itself. */
export declare function createFileClient(options?: ClientOptions): FileClient & PromiseLike<FileClient>;
/** A network manager that is not started. */
export declare function createNetworkManager(options?: NetworkManagerOptions): NetworkManager;

/** Downloads one file with a client made for this call. */
export declare function downloadFile(request: DownloadRequest): Promise<DownloadResult>;
export declare function downloadFile(
  contentId: string,
  fileHash: string,
  savePath: string | URL,
  peers: PeerRef[],
  options?: LegacyDownloadOptions,
): Promise<DownloadResult>;
export declare function downloadFile(
  fileHash: string,
  savePath: string | URL,
  peers: PeerRef[],
  options?: LegacyDownloadOptions,
): Promise<DownloadResult>;

/**
 * SHA-256 in hex of bytes, of the file that a string names, or else of the string's UTF-8 text. A file is read on the
 * calling thread; prefer `calculateSHA256File` for files.
 */
export declare function calculateSHA256(data: Bytes | ArrayBuffer | string): string;
/** SHA-256 of a file in hex, hashed on a worker thread. */
export declare function calculateSHA256File(path: string | URL, options?: { signal?: AbortSignal }): Promise<string>;

declare const api: Omit<typeof import('./index.js'), 'default'>;
/** Everything above in one object. */
export default api;
