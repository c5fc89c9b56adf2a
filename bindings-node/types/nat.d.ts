// The NAT in front of this machine, and port mappings of its router. Not here: nodes, which are ../index.d.ts.

import { ErrorCode } from '../index';

/** Options of looking at the NAT in front of this machine. */
export interface NatOptions {
  /** `host:port` or `stun:host:port`. Default three public ones, or none with `localOnly`. */
  stunServers?: string[];
  /** Time for everything. Default 5000. */
  timeout?: number;
  /** Ask all of `stunServers` and not only the first one. Default true. */
  tryMultipleServers?: boolean;
  /** Ask the router for its external address too, by PCP and NAT-PMP. Default true; never with `localOnly`. */
  useNATPMP?: boolean;
  /** Another name of `useNATPMP`. */
  useNatPmp?: boolean;
  /** Look at IPv6 as well as IPv4. Default false. */
  enableIPv6?: boolean;
  /** Accepted and without effect: both families are asked at the same time. */
  preferIPv6?: boolean;
  /** Contact nothing but the local network and given servers. Default false, or DIG_NAT_LOCAL_ONLY=1. */
  localOnly?: boolean;
  signal?: AbortSignal;
}

/** A port mapping to be made or deleted at the router. */
export interface UPnPMappingOptions {
  /** This machine's port. */
  internalPort?: number;
  /** The router's port. Default the same. */
  externalPort?: number;
  /** Default TCP. */
  protocol?: 'TCP' | 'UDP' | 'tcp' | 'udp';
  /** What the router shows beside it. Default `dig-nat-tools`. */
  description?: string;
  /** How long the router keeps it, in seconds. Default 7200. */
  ttl?: number;
  /** Another name of `ttl`. */
  lifetime?: number;
  /** Time for the router's answers. Default 5000. */
  timeout?: number;
  signal?: AbortSignal;
}

// -------------------------------------------------------------------------------------------------------------- results

/** What a NAT's mapping or filtering depends on (RFC 4787). */
export type NatBehaviour = 'endpoint-independent' | 'address-dependent' | 'address-and-port-dependent';

/** What stands between this machine and the internet. Null is "could not be told". */
export interface NatProfile {
  natType:
    | 'public'
    | 'firewall'
    | 'untranslated'
    | 'full-cone'
    | 'address-restricted'
    | 'port-restricted'
    | 'cone'
    | 'symmetric'
    | 'udp-blocked'
    | 'unknown';
  /** Whether new destinations get new ports. */
  symmetric: boolean;
  /** Whether a second NAT follows the nearest router. */
  doubleNat: boolean | null;
  /** Our IPv4 endpoint, `host:port`, as the internet sees it. */
  publicV4: string | null;
  /** Our IPv6 endpoint as the internet sees it. */
  publicV6: string | null;
  /** Whether a NAT translates our IPv4 address. */
  translated: boolean | null;
  /** Which destinations share one external endpoint. */
  mapping: NatBehaviour | null;
  /** Who may send to an external endpoint. */
  filtering: NatBehaviour | null;
  /** How external ports are chosen. */
  allocation:
    | { kind: 'preserving' }
    | { kind: 'sequential'; step: number }
    | { kind: 'block'; first: number; size: number }
    | { kind: 'random' }
    | null;
  /** Whether two hosts behind the NAT reach each other by its public address. */
  hairpin: boolean | null;
  /** At least so long an idle UDP mapping lives. */
  lifetimeMs: number | null;
  /** Whether UDP does not get out at all while TCP does. */
  udpBlocked: boolean;
  /** Filtering of a firewall in front of our IPv6 address. */
  filteringV6: NatBehaviour | null;
  /** External address that the nearest router reports. */
  routerExternal: string | null;
}

/** What the router answered. */
export type UPnPMapping =
  | {
      success: true;
      protocol: 'TCP' | 'UDP';
      internalPort: number;
      externalPort: number;
      externalAddress: string;
      /** In seconds, null for ever. */
      lifetime: number | null;
      error?: undefined;
      code?: undefined;
    }
  | {
      success: false;
      /** Why not: no router, or what it said. */
      error: string;
      code: ErrorCode;
      externalPort?: undefined;
      externalAddress?: undefined;
      lifetime?: undefined;
    };

/** The calls for port mappings as one object. */
export interface UPnPClient {
  /** Whether a router answers. */
  isAvailable(): Promise<boolean>;
  /** The same as `isAvailable()`. */
  initialize(): Promise<boolean>;
  getExternalAddress(timeout?: number): Promise<string | null>;
  createPortMapping(options: UPnPMappingOptions & { internalPort: number }): Promise<UPnPMapping>;
  deletePortMapping(options: UPnPMappingOptions): Promise<boolean>;
}

/** This machine's addresses as the internet sees them; null for what cannot be found out. */
export interface PublicIPs {
  ipv4: string | null;
  ipv6: string | null;
}

/** Finds out what kind of NAT or firewall stands between this machine and the internet. */
export declare function detectNatType(options?: NatOptions): Promise<NatProfile>;
/** Asks STUN servers for this machine's public addresses. What cannot be found out is null, not an error. */
export declare function discoverPublicIPs(options?: NatOptions): Promise<PublicIPs>;

/**
 * Asks the router to forward a port, once: nobody renews it. A started node has its port forwarded by itself. No router,
 * or one that refuses, is `success: false`.
 */
export declare function createUPnPMapping(
  options: UPnPMappingOptions & { internalPort: number },
): Promise<UPnPMapping>;
/** The same, resolving to whether it succeeded. */
export declare function createUPnPMapping(
  internalPort: number,
  externalPort?: number,
  protocol?: 'TCP' | 'UDP',
  description?: string,
  ttl?: number,
): Promise<boolean>;
/** Asks the router to forget a mapping; false when it knows none, or there is no router. */
export declare function deleteUPnPMapping(options: UPnPMappingOptions): Promise<boolean>;
export declare function deleteUPnPMapping(externalPort: number, protocol?: 'TCP' | 'UDP'): Promise<boolean>;
/** The router's outside address, null when nobody answers. */
export declare function getExternalAddressUPnP(
  options?: number | { timeout?: number; signal?: AbortSignal },
): Promise<string | null>;
export declare const upnpClient: UPnPClient;
