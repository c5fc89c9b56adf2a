// The connection registry. Not here: the ways it remembers, which are ./constants.

import { CONNECTION_TYPE } from './constants';

/** Where the registry is kept. */
export interface RegistryOptions {
  /** Its directory. Default `.dig-nat-tools/registry` in the home directory. */
  registryDir?: string;
}

/** What is remembered of a connection. */
export interface SaveConnectionOptions {
  address?: string;
  port?: number;
  /** Up to 8 notes; what is not text comes back as its JSON. */
  metadata?: Record<string, unknown>;
}

/** One way that worked. */
export interface RegistryEntry {
  peerId: string;
  connectionType: CONNECTION_TYPE;
  address?: string;
  port?: number;
  /** Milliseconds since 1970. */
  lastSuccessTime: number;
  successCount: number;
  metadata: Record<string, string>;
}

/**
 * Which way led to a peer last, kept across runs for 45 days. One program at a time should use a directory: of two, the
 * one that writes last wins.
 */
export declare class ConnectionRegistry {
  constructor(options?: RegistryOptions);
  /** Reads the registry now, so that a problem with it shows here. Any other call reads it too. */
  initialize(): Promise<void>;
  /** The ways that led to the peer, latest first. */
  getSuccessfulMethods(peerId: string): CONNECTION_TYPE[];
  /** The last way, undefined for an unknown peer. */
  getConnectionMethod(peerId: string): Promise<RegistryEntry | undefined>;
  /** Every spelling of a connection type is understood; what is given back is that of `CONNECTION_TYPE`. */
  saveSuccessfulConnection(
    peerId: string,
    connectionType: CONNECTION_TYPE | string,
    options?: SaveConnectionOptions,
  ): Promise<void>;
  /** Forgets a peer; whether there was something to forget. */
  removeConnectionMethod(peerId: string): Promise<boolean>;
  /** Forgets what is older than 45 days; how many ways that were. */
  cleanupOldEntries(): Promise<number>;
}

/** The registry of this user. */
export declare const connectionRegistry: ConnectionRegistry;
