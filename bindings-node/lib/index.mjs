// The package for `import`: the same objects as `require` gives. Keep the list equal to the exports of index.js; the
// test api-surface compares them.

import api from './index.js';

export const {
  AnnouncePriority,
  CONNECTION_TYPE,
  Connection,
  ConnectionTypes,
  DEFAULT_CHUNK_SIZE,
  DEFAULT_CONCURRENCY,
  DEFAULT_CONNECTION_TIMEOUT,
  DEFAULT_CONTENT_TTL,
  DEFAULT_PEER_TIMEOUT,
  DEFAULT_REQUEST_TIMEOUT,
  DEFAULT_STUN_SERVERS,
  DEFAULT_TCP_PORT,
  DEFAULT_UDP_PORT,
  DigNatError,
  FileClient,
  FileHost,
  NATTraversalManager,
  NAT_METHODS,
  NODE_TYPE,
  NetworkManager,
  PEER_SOURCES,
  REANNOUNCE_INTERVAL,
  calculateSHA256,
  calculateSHA256File,
  connectToPeer,
  connectWithNATTraversal,
  createClient,
  createFileClient,
  createFileHost,
  createHost,
  createNetworkManager,
  createUPnPMapping,
  deleteUPnPMapping,
  detectNatType,
  diagnose,
  discoverPublicIPs,
  downloadFile,
  getExternalAddressUPnP,
  upnpClient,
} = api;

export default api.default;
