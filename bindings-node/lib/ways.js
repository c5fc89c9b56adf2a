'use strict';
// The original's classes for single ways of discovery: the manager's engine with the other ways switched off. Not here:
// peer exchange, which has methods of its own (pex).

const { AnnouncePriority, PEER_SOURCES } = require('./constants');
const { call, invalid, quiet } = require('./errors');
const { Discovery, PART, leaveOut, only, withdraw } = require('./discovery');
const { GUN_NAMES, renamed } = require('./network-options');
const { isObject, text } = require('./options');

// As long as a search for peers.
const DEFAULT_TIMEOUT = 5000;

/** Options of a way on its own; those of a part of a manager stay as they are. */
function alone(way, options, adapt = (own) => own) {
  return isObject(options) && options[PART] ? options : adapt(only(way, options));
}

/** `port` of the original is that of the service to announce; listening there is the service's business. */
function portIsAnnounced({ port, ...options }) {
  return { announcePort: port, ...options };
}

/** The distributed hash table. */
class DHTClient extends Discovery {
  constructor(options = {}) {
    super(alone('dht', options, ({ udpPort, ...own }) => ({ port: udpPort, ...own })), PEER_SOURCES.DHT);
  }

  /** Announcements are renewed by themselves: the interval of the original has no effect. */
  announcePeer(infoHash, port) {
    return this.announce(infoHash, port);
  }

  /** The nodes nearest to a place in the table, nearest first, as `(id, timeout)` or `(id, {timeout})`. */
  async findNode(targetId, options) {
    const target = text('targetId', targetId);
    const timeout = (isObject(options) ? options.timeout : options) ?? DEFAULT_TIMEOUT;
    if (!Number.isInteger(timeout) || timeout < 1) throw invalid('timeout', `${String(timeout)} is no time in ms`);
    return JSON.parse(await call(() => this._native.findNode(target, timeout)));
  }

  /** From now on the peer is not among those found for the content. */
  removePeer(peerId, infoHash) {
    leaveOut(this, peerId, infoHash);
  }
}

/** Multicast DNS on the local network. */
class LocalDiscovery extends Discovery {
  constructor(options = {}) {
    super(alone('local', options, portIsAnnounced), PEER_SOURCES.LOCAL);
  }
}

/** Gun relays. */
class GunDiscovery extends Discovery {
  constructor(options = {}) {
    super(alone('gun', options, withGunDefaults), PEER_SOURCES.GUN);
  }

  /** The live Gun database it was given, undefined for addresses of relays. */
  get gun() {
    return this._gun;
  }

  /** A high priority is one that others give way to. */
  addInfoHash(infoHash, highPriority = false) {
    const priority = typeof highPriority === 'string' ? highPriority : highPriority && AnnouncePriority.HIGH;
    return super.addInfoHash(infoHash, priority || AnnouncePriority.MEDIUM);
  }

  /** Takes an announcement back, with those of its content ids; whether there was one. */
  unannounce(infoHash) {
    return quiet(call(async () => withdraw(this, text('infoHash', infoHash))));
  }

  async mapContentIdToHash(contentId, hash) {
    this.addContentMapping(contentId, hash);
  }
}

// All options of this class were Gun's, and the original kept what it learned from Gun in another directory than everything else.
function withGunDefaults(options) {
  const { port, ...rest } = options;
  const keeps = options.persistenceEnabled ?? options.enablePersistence;
  return { announcePort: port, ...(keeps ? { persistenceDir: './.dig-data' } : {}), ...renamed(options, GUN_NAMES), ...rest };
}

module.exports = { DHTClient, GunDiscovery, LocalDiscovery, alone, portIsAnnounced };
