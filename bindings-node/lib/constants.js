'use strict';
// Enums and numbers of the original package. The numbers are exported for programs that read them; the engine's own
// defaults are documented at each option.

const CONNECTION_TYPE = Object.freeze({
  UNKNOWN: 'unknown',
  TCP: 'tcp',
  UDP: 'udp',
  WEBRTC: 'webrtc',
  RELAY: 'relay',
  GUN_RELAY: 'gun-relay',
  UPNP: 'UPNP',
  NAT_PMP: 'NAT_PMP',
  UDP_HOLE_PUNCH: 'UDP_HOLE_PUNCH',
  UDP_ADVANCED_HOLE_PUNCH: 'UDP_ADVANCED_HOLE_PUNCH',
  TCP_HOLE_PUNCH: 'TCP_HOLE_PUNCH',
  TCP_SIMULTANEOUS_OPEN: 'TCP_SIMULTANEOUS_OPEN',
  ICE: 'ICE',
  TURN: 'TURN',
  GUN: 'GUN',
  IPV6: 'IPV6',
  IPV6_TUNNEL: 'IPV6_TUNNEL',
});

const NODE_TYPE = Object.freeze({
  UNKNOWN: 'unknown',
  STANDARD: 'standard',
  RELAY: 'relay',
  BOOTSTRAP: 'bootstrap',
  LIGHT: 'light',
  SUPER: 'super',
});

const AnnouncePriority = Object.freeze({ HIGH: 'high', MEDIUM: 'medium', LOW: 'low' });

const PexMessageType = Object.freeze({ ADD_PEERS: 'add_peers', REMOVE_PEERS: 'remove_peers' });

const ICECandidateType = Object.freeze({ HOST: 'host', SRFLX: 'srflx', PRFLX: 'prflx', RELAY: 'relay' });

const NAT_METHODS = Object.freeze({
  DIRECT: 'direct',
  UPNP: 'upnp',
  NAT_PMP: 'nat-pmp',
  UDP_HOLE_PUNCHING: 'udp-hole-punching',
  TCP_PORT_PREDICTION: 'tcp-port-prediction',
  WEBRTC: 'webrtc',
  RELAY: 'relay',
});

const PEER_SOURCES = Object.freeze({
  DHT: 'dht',
  PEX: 'pex',
  LOCAL: 'local',
  TRACKER: 'tracker',
  MANUAL: 'manual',
  GUN: 'gun',
});

module.exports = {
  CONNECTION_TYPE,
  ConnectionTypes: CONNECTION_TYPE,
  NODE_TYPE,
  AnnouncePriority,
  ICECandidateType,
  NAT_METHODS,
  PEER_SOURCES,
  PexMessageType,
  DEFAULT_CHUNK_SIZE: 1024 * 1024,
  DEFAULT_CONNECTION_TIMEOUT: 30000,
  DEFAULT_REQUEST_TIMEOUT: 10000,
  DEFAULT_PEER_TIMEOUT: 45000,
  DEFAULT_CONCURRENCY: 3,
  DEFAULT_TCP_PORT: 0,
  DEFAULT_UDP_PORT: 0,
  DEFAULT_STUN_SERVERS: Object.freeze([
    'stun:stun.l.google.com:19302',
    'stun:stun1.l.google.com:19302',
    'stun:stun2.l.google.com:19302',
  ]),
  DEFAULT_CONTENT_TTL: 3600000,
  REANNOUNCE_INTERVAL: 1800000,
};
