// Single ways through NATs: hole punching, ICE, TURN. Not here: nodes, which do all of this by themselves.

import { EventEmitter } from 'events';

import { Bytes, DigNatError } from '../index';
import { CONNECTION_TYPE, ICECandidateType } from './constants';

// -------------------------------------------------------------------------------------------------------------- options

/** An address and a port, or `host:port`. */
export type Endpoint = string | { host: string; port?: number } | { address: string; port?: number };

/** A Gun database of the program: an instance of the package `gun`, or any object with its `get`, `put` and `on`. */
export interface GunDatabase {
  get: any;
  put: any;
}

/** Gun in every form: a live database, the address of a relay, several, or what Gun itself takes. */
export type GunForm = GunDatabase | string | URL | string[] | { peers: string | string[] | Record<string, unknown> };

/** A hole to be punched, to a known endpoint or to a peer that is met over Gun or signalling of the program. */
export interface HolePunchOptions {
  /** The peer's endpoint as the internet sees it. The peer calls at about the same time, with ours. */
  remoteEndpoint?: Endpoint;
  /** Ours to punch from. Default any address and `localPort`. */
  localEndpoint?: Endpoint;
  /** Default a free one. */
  localPort?: number;
  /** Possible ports: the first free one is used. */
  localPorts?: number[];
  /** Secret text that both sides know. Without one, anybody at the peer's address can pretend to be the peer. */
  key?: string;
  /** Time for the attempt. Default 10000. */
  timeout?: number;
  /** Another name of `timeout`. */
  punchTimeout?: number;
  /** Our name, any text. Without `remoteEndpoint` both names are needed, the peer gives them the other way round. */
  localId?: string;
  remoteId?: string;
  /** Where the peer is met when there is no `remoteEndpoint`. Without a `key` whoever knows both names can be the peer. */
  gun?: GunForm;
  /** Another name of `gun`, or an object that carries the messages. */
  signaling?: GunForm | SignalingCarrier;
  /** Another name of `gun`. */
  gunInstance?: GunForm;
  gunOptions?: { gun?: GunForm; instance?: GunForm; peers?: string | string[] | Record<string, unknown> };
  /** Addresses of Gun relays. */
  gunPeers?: string[];
  /** Who tells us our endpoint when the peer is met. Default three public ones, or none with `localOnly`. */
  stunServers?: string[];
  /** Punch over IPv6 as well when the peer is met. Default false. */
  enableIPv6?: boolean;
  /** Another name of `enableIPv6`. */
  useIPv6?: boolean;
  /** Try private and loopback addresses that the peer names: for peers in one network or on one machine. */
  allowPrivate?: boolean;
  /** Ask no STUN server that was not named. Default false, or DIG_NAT_LOCAL_ONLY=1. */
  localOnly?: boolean;
  signal?: AbortSignal;
}

/** A TURN server in the form of WebRTC's `RTCIceServer`, or its URL alone. */
export type TURNServer = string | string[] | { urls: string | string[]; username?: string; credential?: string };

/** An address that a TURN server relays from. */
export interface TURNOptions {
  /** `turn:host[:port][?transport=tcp]`, `turns:host[:port]` or `host[:port]`. */
  turnServer?: string;
  turnUsername?: string;
  turnPassword?: string;
  /** Another name of `turnPassword`. */
  turnCredential?: string;
  /** Further servers, asked one after the other. */
  turnServers?: TURNServer[];
  /** How servers are reached. Default what their URLs say, else UDP. */
  protocol?: 'UDP' | 'TCP' | 'TLS' | 'udp' | 'tcp' | 'tls';
  /** Port of servers that are named without one. Default 3478, or 5349 for TLS. */
  turnPort?: number;
  /** Certificates (PEM) trusted for TLS instead of the system's. */
  rootCertificates?: string;
  /** In seconds; prolonged as long as the allocation is held. Default 600. */
  lifetime?: number;
  /** Time to allocate, for each server. Default 10000. */
  timeout?: number;
  signal?: AbortSignal;
}

/** Brings messages of at most 8 KiB to the peer and back: private and authenticated, in order or not at all. */
export interface SignalingCarrier {
  send(message: Buffer): unknown;
  /** Waits for the next message of the peer; null at the end. May be called once more than there are messages. */
  receive(): Promise<Bytes | string | null | undefined>;
}

/** A connection by ICE over Gun or over signalling of the program. */
export interface ICEOptions {
  /** Any text; over Gun both names are needed. Of two sides that give both, the one with the greater name controls. */
  localId?: string;
  remoteId?: string;
  /** Where the peer is met, or an object that carries the messages. */
  signaling?: GunForm | SignalingCarrier;
  /** Another name of `signaling`. */
  gun?: GunForm;
  /** Another name of `signaling`. */
  gunInstance?: GunForm;
  gunOptions?: { gun?: GunForm; instance?: GunForm; peers?: string | string[] | Record<string, unknown> };
  /** Addresses of Gun relays. */
  gunPeers?: string[];
  /** Secret text that both sides know. Without one, whoever knows both names can take the peer's place over Gun. */
  key?: string;
  /** Default three public ones, or none with `localOnly`. */
  stunServers?: string[];
  turnServer?: string;
  turnUsername?: string;
  turnPassword?: string;
  /** Another name of `turnPassword`. */
  turnCredential?: string;
  /** The first one of all is used. */
  turnServers?: TURNServer[];
  /** Our UDP port. Default a free one. */
  localPort?: number;
  /** Gather IPv6 candidates as well. Default false. */
  enableIPv6?: boolean;
  /** Another name of `enableIPv6`. */
  useIPv6?: boolean;
  /** Check private and loopback addresses that the peer names: for peers in one network or on one machine. */
  allowPrivate?: boolean;
  /** Ask no STUN server that was not named. Default false, or DIG_NAT_LOCAL_ONLY=1. */
  localOnly?: boolean;
  /** Time until a pair works. Default 15000. */
  timeout?: number;
  /** Another name of `timeout`. */
  connectTimeout?: number;
  signal?: AbortSignal;
}

// -------------------------------------------------------------------------------------------------------------- results

/** One side of an ICE pair. */
export interface ICECandidate {
  type: ICECandidateType;
  protocol: 'udp';
  address: string;
  port: number;
}

/**
 * A way to one peer: datagrams (`protocol` is `udp`), which may be lost, or a stream (`tcp`). Nothing is encrypted here.
 * What comes in waits until the first listener is there.
 */
export declare class PunchedSocket extends EventEmitter {
  private constructor();
  /** What fails rejects. */
  readonly success: true;
  readonly connectionType: CONNECTION_TYPE;
  readonly protocol: 'udp' | 'tcp';
  readonly localAddress: string;
  readonly localPort: number;
  readonly remoteAddress: string;
  readonly remotePort: number;
  /** Only of ICE. */
  readonly localCandidate?: ICECandidate;
  /** Only of ICE. */
  readonly remoteCandidate?: ICECandidate;
  /** The socket itself, where the original package puts it. */
  readonly socket: this;
  /** The same as `remoteAddress`. */
  readonly address: string;
  /** The same as `remotePort`. */
  readonly port: number;
  readonly closed: boolean;
  /** A datagram of at most 65507 bytes, or bytes of the stream. May be left unawaited; order is kept. */
  send(data: string | Bytes | ArrayBuffer): Promise<void>;
  /** Ends it after what was sent and frees its port. */
  close(): Promise<void>;
  on(event: 'data', listener: (data: Buffer) => void): this;
  /** Datagrams only. */
  on(
    event: 'message',
    listener: (data: Buffer, from: { address: string; port: number; family: string; size: number }) => void,
  ): this;
  on(event: 'close', listener: (reason?: DigNatError) => void): this;
  on(event: string | symbol, listener: (...values: any[]) => void): this;
}

/** An address at a TURN server, prolonged as long as it is held. Datagrams wait until the first listener is there. */
export declare class TURNAllocation extends EventEmitter {
  private constructor();
  /** What fails rejects. */
  readonly success: true;
  readonly connectionType: CONNECTION_TYPE.TURN;
  /** The address that peers send to. */
  readonly relayedAddress: string;
  readonly relayedPort: number;
  /** Our address as the server sees it. */
  readonly mappedAddress: string | null;
  readonly mappedPort: number | null;
  readonly serverAddress: string;
  readonly serverPort: number;
  /** What the server granted last, in seconds. */
  readonly lifetime: number;
  readonly closed: boolean;
  /** Lets a peer's address in, all ports. Until then nothing of it arrives. */
  createPermission(peer: Endpoint): Promise<void>;
  /** Sends a datagram to a peer, which is let in first if it is not yet. */
  send(data: string | Bytes | ArrayBuffer, address: string, port: number): Promise<void>;
  send(data: string | Bytes | ArrayBuffer, peer: Endpoint): Promise<void>;
  /** The same as `send()`. */
  sendToRelayed(data: string | Bytes | ArrayBuffer, address: string, port: number): Promise<void>;
  sendToRelayed(data: string | Bytes | ArrayBuffer, peer: Endpoint): Promise<void>;
  /** Prolongs it now, in seconds (default 600); resolves to what the server grants. Not needed to keep it. */
  refresh(lifetime?: number): Promise<number>;
  /** Removes it at the server. */
  release(): Promise<void>;
  /** The same as `release()`. */
  close(): Promise<void>;
  on(event: 'data', listener: (data: Buffer, address: string, port: number) => void): this;
  on(event: 'close', listener: (reason?: DigNatError) => void): this;
  on(event: string | symbol, listener: (...values: any[]) => void): this;
}

// -------------------------------------------------------------------------------------------------------------- clients

/** One allocation at a time behind events. */
export declare class TURNClient extends EventEmitter {
  /** Defaults of the options of `requestAllocation`. */
  constructor(options?: TURNOptions);
  readonly allocation: TURNAllocation | undefined;
  /** Allocates, and releases the allocation before it. */
  requestAllocation(options?: TURNOptions): Promise<TURNAllocation>;
  /** The same as `requestAllocation()`. */
  connect(options?: TURNOptions): Promise<TURNAllocation>;
  createPermission(peer: Endpoint): Promise<void>;
  refreshAllocation(lifetime?: number): Promise<number>;
  send(data: string | Bytes | ArrayBuffer, address: string, port: number): Promise<void>;
  send(data: string | Bytes | ArrayBuffer, peer: Endpoint): Promise<void>;
  /** Releases the allocation, or gives up a request for one. */
  close(): Promise<void>;
  on(event: 'allocation', listener: (allocation: TURNAllocation) => void): this;
  on(event: 'data', listener: (data: Buffer, address: string, port: number) => void): this;
  on(event: 'permission', listener: (address: string) => void): this;
  on(
    event: 'connectionStateChange',
    listener: (state: 'connecting' | 'connected' | 'failed' | 'closed') => void,
  ): this;
  on(event: 'close', listener: (reason?: DigNatError) => void): this;
  on(event: string | symbol, listener: (...values: any[]) => void): this;
}

/** One connection by ICE behind events. */
export declare class ICEClient extends EventEmitter {
  /** Defaults of the options of `connect`. */
  constructor(options?: ICEOptions);
  /** Connects, and closes the connection before it. */
  connect(options?: ICEOptions): Promise<PunchedSocket>;
  /** Closes the connection, or gives up an attempt. */
  close(): Promise<void>;
  on(event: 'connectionState', listener: (state: 'checking' | 'connected' | 'failed' | 'closed') => void): this;
  on(event: 'connected', listener: (socket: PunchedSocket) => void): this;
  on(event: string | symbol, listener: (...values: any[]) => void): this;
}

/** Opens a UDP path to `remoteEndpoint`, or to the peer met over Gun; the peer does the same at about the same time. */
export declare function performUDPHolePunch(options: HolePunchOptions): Promise<PunchedSocket>;
/** Opens a TCP connection to `remoteEndpoint`, or to the peer met over Gun; the peer does the same. */
export declare function performTCPHolePunch(options: HolePunchOptions): Promise<PunchedSocket>;
/** The same as `performTCPHolePunch()` under the other name: both sides listen and connect. */
export declare function performTCPSimultaneousOpen(options: HolePunchOptions): Promise<PunchedSocket>;
/** Finds a pair of addresses that works, by ICE (RFC 8445) over Gun or `signaling`. */
export declare function connectWithICE(options: ICEOptions): Promise<PunchedSocket>;
/** Allocates an address at the first of the named TURN servers that grants one. */
export declare function createTURNAllocation(options: TURNOptions): Promise<TURNAllocation>;
