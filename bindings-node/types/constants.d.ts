// Enums and constants of the package. Not here: what takes them, which is ../index.d.ts.

/** How a connection came about. `Connection.type` is TCP, UDP (QUIC) or RELAY; `Traversal.connectionType` any of these. */
export declare enum CONNECTION_TYPE {
  UNKNOWN = 'unknown',
  TCP = 'tcp',
  UDP = 'udp',
  WEBRTC = 'webrtc',
  /** Through a relay: a circuit of libp2p. */
  RELAY = 'relay',
  GUN_RELAY = 'gun-relay',
  UPNP = 'UPNP',
  NAT_PMP = 'NAT_PMP',
  UDP_HOLE_PUNCH = 'UDP_HOLE_PUNCH',
  UDP_ADVANCED_HOLE_PUNCH = 'UDP_ADVANCED_HOLE_PUNCH',
  TCP_HOLE_PUNCH = 'TCP_HOLE_PUNCH',
  TCP_SIMULTANEOUS_OPEN = 'TCP_SIMULTANEOUS_OPEN',
  ICE = 'ICE',
  TURN = 'TURN',
  GUN = 'GUN',
  IPV6 = 'IPV6',
  IPV6_TUNNEL = 'IPV6_TUNNEL',
}
export declare const ConnectionTypes: typeof CONNECTION_TYPE;

/** What a node may use of the machine. */
export declare enum NODE_TYPE {
  UNKNOWN = 'unknown',
  STANDARD = 'standard',
  RELAY = 'relay',
  BOOTSTRAP = 'bootstrap',
  /** A client or network manager of this type never uploads. */
  LIGHT = 'light',
  SUPER = 'super',
}

export declare enum AnnouncePriority {
  HIGH = 'high',
  MEDIUM = 'medium',
  LOW = 'low',
}

/** What a message of peer exchange says of its peers. */
export declare enum PexMessageType {
  ADD_PEERS = 'add_peers',
  REMOVE_PEERS = 'remove_peers',
}

/** How an ICE candidate's address was learned (RFC 8445). */
export declare enum ICECandidateType {
  /** Of an interface. */
  HOST = 'host',
  /** Seen by a STUN server. */
  SRFLX = 'srflx',
  /** Seen by the peer. */
  PRFLX = 'prflx',
  /** Of a TURN server. */
  RELAY = 'relay',
}

export declare const NAT_METHODS: {
  readonly DIRECT: 'direct';
  readonly UPNP: 'upnp';
  readonly NAT_PMP: 'nat-pmp';
  readonly UDP_HOLE_PUNCHING: 'udp-hole-punching';
  readonly TCP_PORT_PREDICTION: 'tcp-port-prediction';
  readonly WEBRTC: 'webrtc';
  readonly RELAY: 'relay';
};
export declare const PEER_SOURCES: {
  readonly DHT: 'dht';
  readonly PEX: 'pex';
  readonly LOCAL: 'local';
  readonly TRACKER: 'tracker';
  readonly MANUAL: 'manual';
  readonly GUN: 'gun';
};

// Numbers of the original package, for programs that read them. Defaults are documented at the options.
export declare const DEFAULT_CHUNK_SIZE: number;
export declare const DEFAULT_CONNECTION_TIMEOUT: number;
export declare const DEFAULT_REQUEST_TIMEOUT: number;
export declare const DEFAULT_PEER_TIMEOUT: number;
export declare const DEFAULT_CONCURRENCY: number;
export declare const DEFAULT_TCP_PORT: number;
export declare const DEFAULT_UDP_PORT: number;
export declare const DEFAULT_STUN_SERVERS: readonly string[];
export declare const DEFAULT_CONTENT_TTL: number;
export declare const REANNOUNCE_INTERVAL: number;
