'use strict';
// PeerDiscoveryManager and the functions around it: finding and announcing without a host or client. Not here: single ways.

const fs = require('fs');
const { isIP } = require('net');

const { PEER_SOURCES } = require('./constants');
const { Discovery, PART, known, leaveOut, remember } = require('./discovery');
const { bare, emitSafely, hide } = require('./emitter');
const { invalid } = require('./errors');
const { calculateSHA256File } = require('./functions');
const { isHash, isObject, isPeerId, text, toPeer } = require('./options');
const { PexManager } = require('./pex');
const { DHTClient, GunDiscovery, LocalDiscovery } = require('./ways');

class PeerDiscoveryManager extends Discovery {
  constructor(options = {}) {
    super(options);
    hide(this, '_parts', new Map());
  }

  /** Remembers a peer for one content, or for all. */
  addManualPeer(peerId, address, port, infoHash) {
    const peer = toPeer('peer', { host: text('address', address), port });
    // Whoever answers there must be the peer, if its id is one that can be proven.
    for (const target of isPeerId(peerId) ? multiaddrs(address, port, peerId) : [peer]) remember(this, target, infoHash);
    const known = {
      id: typeof peerId === 'string' && peerId !== '' ? peerId : peer,
      address,
      port,
      addresses: [peer],
      source: PEER_SOURCES.MANUAL,
      confidence: 1,
      ...(infoHash === undefined ? {} : { infoHash, infoHashes: [infoHash] }),
    };
    emitSafely(this, 'peer-added', known, infoHash);
    return known;
  }

  /** Remembers a peer that the program is connected to. */
  addConnectedPeer(peer) {
    const target = toPeer('peer', peer);
    for (const key of hashesOf(peer)) {
      remember(this, target, key);
      emitSafely(this, 'peer-added', peer, key);
    }
  }

  /** From now on the peer is not among those found. */
  removeConnectedPeer(peer) {
    const names = isObject(peer) ? [peer.id, peer.address && `${peer.address}:${peer.port}`] : [peer];
    const named = names.filter(Boolean);
    for (const key of hashesOf(peer)) {
      for (const name of named) leaveOut(this, name, key);
      if (named.length > 0) emitSafely(this, 'peer-removed', named[0], key);
    }
  }

  /** Everybody who is known now, best first; nobody is asked. */
  getAllPeers() {
    return known(this, {});
  }

  getPeersBySource(source) {
    return this.getAllPeers().filter((peer) => peer.source === source);
  }

  getPeersForInfoHash(infoHash) {
    return known(this, { infoHash: text('infoHash', infoHash) });
  }

  getDHTClient() {
    return part(this, DHTClient);
  }

  getPEXManager() {
    return part(this, PexManager);
  }

  getGunDiscovery() {
    return part(this, GunDiscovery);
  }

  getLocalDiscovery() {
    return part(this, LocalDiscovery);
  }
}

/** Where a peer is over TCP and over QUIC, with its id. */
function multiaddrs(address, port, peerId) {
  const host = `/${{ 0: 'dns', 4: 'ip4', 6: 'ip6' }[isIP(address)]}/${address}`;
  return [`${host}/tcp/${port}/p2p/${peerId}`, `${host}/udp/${port}/quic-v1/p2p/${peerId}`];
}

/** One way of a manager: the same engine, telling only what was found that way. */
function part(manager, Way) {
  const owner = bare(manager);
  if (!owner._parts.has(Way)) owner._parts.set(Way, new Way({ [PART]: owner }));
  return owner._parts.get(Way);
}

function hashesOf(peer) {
  if (!isObject(peer)) return [undefined];
  return Array.isArray(peer.infoHashes) && peer.infoHashes.length > 0 ? peer.infoHashes : [peer.infoHash];
}

function createGunDiscovery(options) {
  return new GunDiscovery(options);
}

function createDHTClient(options) {
  return new DHTClient(options);
}

function createPEXManager(options) {
  return new PexManager(options);
}

/** `(id, announcePort, options)`, with a manager made for this search. Announcing is `announceFile`. */
async function findPeers(id, announcePort = 0, options = {}) {
  const { maxPeers, timeout, ...manager } = isObject(announcePort) ? announcePort : options ?? {};
  return using(new PeerDiscoveryManager(manager), (started) => started.findPeers(id, { maxPeers, timeout }));
}

/** `(hash or path, port, options)` or `(contentId, hash, port, options)`. Gives the manager that announces. */
async function announceFile(...values) {
  const [contentId, file, port, options] = typeof values[1] === 'number' ? [undefined, ...values] : values;
  const hash = await hashOf(text('fileHash', file));
  const { priority, ...manager } = isObject(options) ? options : {};
  const ids = contentId === undefined || contentId === null ? {} : { contentId };
  return starting(new PeerDiscoveryManager(manager), (started) => started.announce(hash, { port, priority, ...ids }));
}

/** The original took the hash of a file that is named instead. */
async function hashOf(file) {
  return !isHash(file) && fs.existsSync(file) ? calculateSHA256File(file) : file;
}

/** Gives a manager that knows the peer; it looks for others only in the ways that are switched on. */
async function addManualPeer(peerId, address, port, options = {}) {
  if (options !== null && !isObject(options)) throw invalid('options', 'expected an object');
  const { infoHash, ...rest } = options ?? {};
  const off = { enableDHT: false, enablePEX: false, enableLocal: false, gunEnabled: false };
  const manager = new PeerDiscoveryManager({ ...off, ...rest });
  return starting(manager, (started) => started.addManualPeer(peerId, address, port, infoHash));
}

/** Starts a manager that the caller is given once this has worked. */
async function starting(manager, use) {
  try {
    await manager.start();
    await use(manager);
    return manager;
  } catch (error) {
    await manager.stop();
    throw error;
  }
}

async function using(manager, use) {
  try {
    await manager.start();
    return await use(manager);
  } finally {
    await manager.stop();
  }
}

module.exports = {
  DHTClient,
  GunDiscovery,
  LocalDiscovery,
  PeerDiscoveryManager,
  PexManager,
  addManualPeer,
  announceFile,
  createDHTClient,
  createGunDiscovery,
  createPEXManager,
  findPeers,
};
