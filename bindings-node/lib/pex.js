'use strict';
// PexManager: peer exchange. The engine exchanges peers with connected ones by itself; besides that, programs of the
// original carry messages of their own, whose peers are kept here. Not here: the exchange.

const { PEER_SOURCES, PexMessageType } = require('./constants');
const { Discovery, asTarget, isLeftOut, leaveOut, letIn, remember } = require('./discovery');
const { emitSafely } = require('./emitter');
const { invalid } = require('./errors');
const { isHash, isObject, text, toPeer } = require('./options');
const { alone, portIsAnnounced } = require('./ways');

/** Peers from messages that are kept, and as many that were removed: the original's default and its largest message. */
const MAX_PEERS = 50;

/** The original's trust in what a peer says of others. */
const CONFIDENCE = 0.7;

class PexManager extends Discovery {
  constructor(options = {}) {
    super(alone('pex', options, portIsAnnounced), PEER_SOURCES.PEX);
    const { maxPeers = MAX_PEERS } = isObject(options) ? options : {};
    if (!Number.isInteger(maxPeers) || maxPeers < 1) throw invalid('maxPeers', 'expected a positive integer');
    for (const [name, value] of [['_told', new Map()], ['_gone', new Map()], ['_flags', {}], ['_most', maxPeers]]) {
      Object.defineProperty(this, name, { value, writable: true });
    }
  }

  /** Remembers the other side of a message connection for a content. */
  addConnection(connection, infoHash) {
    if (!isObject(connection)) throw invalid('connection', 'expected a connection');
    const { peerId, address, remoteAddress, remotePort } = connection;
    // A socket of Node has a function of that name.
    const named = typeof address === 'string' ? address : undefined;
    const known = remoteAddress && remotePort ? toPeer('connection', { host: remoteAddress, port: remotePort }) : peerId;
    this.addPeer(named ?? known, infoHash);
  }

  /** Remembers a peer by its address or peer id. Other names only go into messages. */
  addPeer(peerId, infoHash) {
    const name = text('peerId', peerId);
    const key = text('infoHash', infoHash);
    const target = asTarget(name);
    if (target !== undefined) remember(this, target, key);
    letIn(this, name, key);
    keep(this, { id: name, infoHashes: [key] });
    emitSafely(this, 'peer-added', { id: name, infoHash: key }, key);
  }

  /** Forgets a peer for a content; messages of removed peers name those that are left for none. */
  removePeer(peerId, infoHash) {
    const name = text('peerId', peerId);
    leaveOut(this, name, infoHash);
    const peer = this._told.get(name);
    const others = peer && infoHash !== undefined ? keysOf(peer).filter((key) => !sameKey(key, infoHash)) : [];
    if (others.length > 0) this._told.set(name, { ...peer, infoHash: undefined, infoHashes: others });
    else drop(this, name);
    emitSafely(this, 'peer-removed', name, infoHash);
  }

  /** Keeps a peer that somebody named; false if it is known, or there is no place for it. */
  addDiscoveredPeer(peer, isConnected = false) {
    if (!isObject(peer) || typeof (peer.id ?? peer.address) !== 'string') return false;
    const id = peer.id ?? `${peer.address}:${peer.port}`;
    if (this._told.has(id)) return false;
    const record = { source: PEER_SOURCES.PEX, confidence: isConnected ? 1 : CONFIDENCE, ...peer, id };
    if (!keep(this, record)) return false;
    for (const key of keysOf(record)) {
      if (!isLeftOut(this, id, key)) emitSafely(this, 'peer:discovered', record, key);
      if (!isLeftOut(this, id, key)) emitSafely(this, 'peer-discovered', record, key);
    }
    return true;
  }

  /** Takes in a message that the program received. What is no peer in it is passed over. */
  handlePexMessage(message) {
    const peers = isObject(message) && Array.isArray(message.peers) ? message.peers.slice(0, this._most) : [];
    if (message?.type === PexMessageType.ADD_PEERS) for (const peer of peers) this.addDiscoveredPeer(peer);
    else if (message?.type === PexMessageType.REMOVE_PEERS) for (const peer of peers) drop(this, peer?.id);
    else throw invalid('message.type', 'expected a PexMessageType');
  }

  /** A message for the program to send: peers kept here, or those removed here lately. */
  createPexMessage(type, count = MAX_PEERS) {
    if (!Object.values(PexMessageType).includes(type)) throw invalid('type', 'expected a PexMessageType');
    const table = type === PexMessageType.ADD_PEERS ? this._told : this._gone;
    return { type, peers: [...table.values()].slice(0, count).map((peer) => ({ ...peer })) };
  }

  /** What the engine finds, and peers of messages. */
  async findPeers(infoHash, options, timeout) {
    const found = await super.findPeers(infoHash, options, timeout);
    const most = (isObject(options) ? options.maxPeers : options) ?? Infinity;
    const known = new Set(found.map((peer) => peer.id));
    const told = this.findPeersWithCapabilities(infoHash).filter((peer) => peer.address && !known.has(peer.id));
    return [...found, ...told].slice(0, most);
  }

  /** Peers of messages for a content (or any) that have all these flags. */
  findPeersWithCapabilities(infoHash, flags = {}) {
    const wanted = Object.entries(flags ?? {});
    return [...this._told.values()]
      .filter((peer) => infoHash === undefined || keysOf(peer).some((key) => sameKey(key, infoHash)))
      .filter((peer) => !isLeftOut(this, peer.id, infoHash))
      .filter((peer) => wanted.every(([name, value]) => Boolean(peer.flags?.[name]) === Boolean(value)));
  }

  setLocalPeerFlags(flags) {
    this._flags = { ...flags };
  }

  /** The flags of a peer, or one's own. */
  getPeerFlags(peerId) {
    const flags = peerId === undefined ? this._flags : this._told.get(peerId)?.flags;
    return flags === undefined ? undefined : { ...flags };
  }

  /** False for an unknown peer. */
  updatePeerFlags(peerId, flags) {
    const peer = this._told.get(peerId);
    if (peer) peer.flags = { ...peer.flags, ...flags };
    return peer !== undefined;
  }
}

function keep(manager, peer) {
  const before = manager._told.get(peer.id);
  if (!before && manager._told.size >= manager._most) return false;
  const keys = new Set([...(before ? keysOf(before) : []), ...keysOf(peer)]);
  manager._told.set(peer.id, { ...before, ...peer, infoHashes: [...keys] });
  manager._gone.delete(peer.id);
  return true;
}

function drop(manager, id) {
  const peer = manager._told.get(id);
  if (!peer) return;
  manager._told.delete(id);
  // The oldest gives way.
  if (manager._gone.size >= manager._most) manager._gone.delete(manager._gone.keys().next().value);
  manager._gone.set(id, peer);
}

function keysOf({ infoHash, infoHashes }) {
  const keys = Array.isArray(infoHashes) ? infoHashes : [infoHash];
  return keys.filter((key) => typeof key === 'string' && key !== '').slice(0, MAX_PEERS);
}

function sameKey(one, other) {
  return isHash(one) && isHash(other) ? one.toLowerCase() === other.toLowerCase() : one === other;
}

module.exports = { PexManager };
