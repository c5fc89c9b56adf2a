// Reaching one peer by whatever way works, and finding out what stands in the way. Not here: nodes, which are ../index.d.ts.

import { Connection, NetworkManagerOptions } from '../index';
import { CONNECTION_TYPE } from './constants';
import { NatOptions, NatProfile } from './nat';
import { TURNServer } from './traversal';

// -------------------------------------------------------------------------------------------------------------- options

/** A peer that is to be reached. An id that is no peer id is passed over when there is an address. */
export type PeerToReach =
  | string
  | {
      id?: string;
      /** Another name of `id`. */
      peerId?: string;
      host?: string;
      /** Another name of `host`. */
      address?: string;
      port?: number;
      addresses?: string[];
    };

/** Options of connecting to one peer by whatever way works. */
export interface ConnectOptions {
  /** Where the peer may be, besides what is known of it: multiaddrs or `host:port`. */
  addresses?: string[];
  /** Only these ways, in this order: values of `CONNECTION_TYPE` or `NAT_METHODS`, or names such as `udp-hole-punch`; case
   * and separators do not matter. Default all, in the order that is usually fastest. */
  preferredMethods?: string[];
  /** Another name of `preferredMethods`. */
  methods?: string[];
  /** Time until a first connection stands. Default 30000. */
  timeout?: number;
  /** Another name of `timeout`. */
  overallTimeout?: number;
  /** Remember what worked and try it first the next time. Default true; kept only with persistence. */
  saveToRegistry?: boolean;
  signal?: AbortSignal;
}

/** TURN servers in both forms of the original package. */
export interface TURNServers {
  turnServer?: string;
  turnUsername?: string;
  turnPassword?: string;
  /** Another name of `turnPassword`. */
  turnCredential?: string;
  turnServers?: TURNServer[];
}

/** A peer, how to reach it, and the network manager that is made for it. */
export interface NATTraversalOptions extends Omit<NetworkManagerOptions, 'options' | 'port'>, ConnectOptions {
  /** Accepted and without effect: this side has a new identity, or the one in `persistenceDir`. */
  localId?: string;
  /** The peer's id, or any name when `address` or `addresses` lead to it. */
  remoteId?: string;
  /** Another name of `remoteId`; a peer id counts before a name. */
  peerId?: string;
  /** Address of the peer. */
  address?: string;
  /** Another name of `address`. */
  host?: string;
  /** Port of `address`. Without an address it is our own. */
  port?: number;
  /** Multiaddrs, with peer id, of relays where the peer has its place. */
  relays?: string[];
  /** Our port, unless `localTCPPort` is given. */
  localPort?: number;
  /** Gun over which the two meet: a live database, the address of a relay, several, or `{peers}`. The same as `gun`. */
  signaling?: unknown;
  /** One TURN server, before those of `turnServers`. */
  turnServer?: string;
  turnUsername?: string;
  turnPassword?: string;
  /** Another name of `turnPassword`. */
  turnCredential?: string;
  /** `stunServers` counts unless it is given itself; TURN servers are added. */
  iceOptions?: TURNServers & { stunServers?: string[]; [name: string]: unknown };
  /** Further TURN servers. */
  turnOptions?: TURNServers & { [name: string]: unknown };
  /** Accepted and without effect. */
  methodTimeout?: number;
  /** Accepted and without effect. */
  failFast?: boolean;
}

// -------------------------------------------------------------------------------------------------------------- results

/** One way that was tried, or not. */
export interface Attempt {
  /** `direct-v4`, `udp-hole-punch`, `circuit`, … */
  readonly method: string;
  /** Where to; may be empty. */
  readonly target: string;
  /** From the first attempt's start. */
  readonly startedMs: number;
  readonly tookMs: number;
  readonly outcome:
    | { readonly result: 'connected' | 'cancelled' }
    | { readonly result: 'failed'; readonly reason: string }
    | { readonly result: 'skipped'; readonly reason: { readonly because: string; readonly detail?: string } };
  /** The cause in words, if there is more to say. */
  readonly detail?: string;
}

/** Everything tried to reach one peer, in order of ending. */
export interface AttemptLog {
  readonly attempts: readonly Attempt[];
  /** How many did not fit. */
  readonly omitted: number;
}

/** How a peer was reached. */
export interface Traversal {
  /** Its id, proven by the handshake. */
  readonly peer: string;
  /** `direct-v4`, `udp-hole-punch`, `circuit`, … */
  readonly method: string;
  /** The same in the words of the original package. */
  readonly connectionType: CONNECTION_TYPE;
  readonly transport: 'tcp' | 'udp';
  /** The other end's address. */
  readonly address: string;
  readonly port: number;
  /** Whether a third node carries the bytes. */
  readonly relayed: boolean;
  /** From the call to the connection. */
  readonly tookMs: number;
  readonly attempts: AttemptLog;
}

/** A connection that is also the result of the original package. What fails rejects. Closing it stops its manager. */
export interface NATTraversalResult extends Connection {
  readonly success: true;
  readonly traversal: Traversal;
  readonly connectionType: CONNECTION_TYPE;
  /** The connection itself. */
  readonly socket: Connection;
  /** The other end's address, not a multiaddr. */
  readonly address: string;
  readonly port: number;
  readonly error?: undefined;
}

/** One port mapping protocol of the router. */
export interface MappingAnswer {
  protocol: 'PCP' | 'NAT-PMP' | 'UPnP';
  family: 'v4' | 'v6';
  /** Whether a port can be had by it. */
  usable: boolean;
  /** The router's own outside address. */
  external: string | null;
  tookMs: number | null;
  /** Why it cannot be used, or which device answered. */
  detail: string;
}

/** Everything that was found out. Null is "could not be told". */
export interface Diagnosis extends NatProfile {
  /** Why the NAT could not be examined. */
  problem: string | null;
  /** Public addresses. */
  ipv4: string | null;
  ipv6: string | null;
  /** The nearest IPv4 router. */
  gateway: string | null;
  /** Empty when the router may not be asked (`localOnly`). */
  portMapping: MappingAnswer[];
  ipv6State: {
    /** Whether an interface has a global address. */
    address: boolean;
    /** Whether there is a way to the IPv6 internet. */
    route: boolean;
    /** Whether a server answered over IPv6. */
    works: boolean;
    /** Whether a firewall keeps strangers out. */
    firewalled: boolean | null;
  };
  /** Whether strangers do not reach a port of this machine that has sent something. */
  inboundBlocked: boolean | null;
  /** What trying to reach a peer gave, if one was named. */
  peer: { reached: Traversal | null; error: string | null; attempts: AttemptLog } | null;
  /** What would help, most useful first. At least one sentence. */
  advice: string[];
}

// ------------------------------------------------------------------------------------------------------------ functions

/**
 * Reaches a peer by whatever way works, with a network manager made for it. Rejects with every way that was tried. Over `gun`
 * (a live database, the address of a relay, several, or `{peers}`) the two tell each other where they are, if the peer uses
 * Gun too; where nothing else works, it carries their bytes.
 */
export declare function connectToPeer(
  localId: string | null | undefined,
  remoteId: string,
  gun?: unknown,
  options?: NATTraversalOptions,
): Promise<NATTraversalResult>;
/** The same with one object. */
export declare function connectWithNATTraversal(options: NATTraversalOptions): Promise<NATTraversalResult>;

/** `connectWithNATTraversal` with options in common. */
export declare class NATTraversalManager {
  constructor(options?: NATTraversalOptions);
  connect(options?: NATTraversalOptions): Promise<NATTraversalResult>;
  /** Ends running attempts and closes every connection made here. */
  close(): Promise<void>;
  /** The same as `close()`. */
  stop(): Promise<void>;
}

/** Examines the NAT, the router's port mapping protocols and IPv6; maps nothing. */
export declare function diagnose(options?: NatOptions): Promise<Diagnosis>;
