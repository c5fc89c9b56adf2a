'use strict';
// Reaching one peer with a network manager made for it, in the forms of the original package. Not here: the ways, which
// are the engine's; the class for programs that reach many peers, which is NetworkManager.

const { EventEmitter } = require('events');

const { Connection } = require('./connection');
const { hide } = require('./emitter');
const { DigNatError, cancelled, quiet } = require('./errors');
const { NetworkManager } = require('./manager');
const { gunInstance, isNamed, turnServersOf } = require('./network-options');
const { connectionRegistry } = require('./registry');
const { invalid, isObject, isPeerId, text, toJson, toWish } = require('./options');
const { runTask } = require('./transfer');

/** A connection that is also the original's result. Its manager ends with it. */
class ReachedConnection extends Connection {
  constructor(native, manager, stop) {
    super(native, manager);
    const { connectionType, address, port } = this.traversal;
    this.success = true;
    this.connectionType = connectionType;
    this.address = address;
    this.port = port;
    // Past `HeardEmitter.on`: this listener must not count as one that wants to hear messages.
    EventEmitter.prototype.on.call(this, 'close', stop);
  }

  /** The connection itself, where the original has its socket. */
  get socket() {
    return this;
  }

  /** Closes the connection, then stops the manager behind it. */
  close() {
    return quiet(super.close().then(() => this._owner.stop()));
  }
}

/** `(localId, remoteId, gun, options)`. */
async function connectToPeer(localId, remoteId, gun, options) {
  if (localId !== undefined && localId !== null) text('localId', localId);
  text('remoteId', remoteId);
  return reach({ ...checked(options), remoteId, ...(gun === undefined || gun === null ? {} : { gun }) });
}

/** `({remoteId | peerId, address, port, addresses, relays, preferredMethods, timeout, ...})`. */
async function connectWithNATTraversal(options) {
  if (!isObject(options)) throw invalid('options', 'expected an object');
  return reach(options);
}

/** Attempts with options in common, which end with it. */
class NATTraversalManager {
  constructor(options = {}) {
    hide(this, '_options', { ...checked(options) });
    hide(this, '_managers', new Set());
  }

  async connect(options = {}) {
    return reach({ ...this._options, ...checked(options) }, this._managers);
  }

  /** Ends running attempts and closes every connection made here. */
  async close() {
    const managers = [...this._managers];
    this._managers.clear();
    await Promise.all(managers.map((manager) => manager.stop()));
  }

  /** The same as `close()`. */
  stop() {
    return this.close();
  }
}

/** `managers` are those whose owner has not closed them. */
async function reach(options, managers = new Set()) {
  const { target, addresses } = wishOf(options);
  const json = toJson(options, { addresses });
  const manager = new NetworkManager(nodeOptions(options));
  useConnectionRegistry(manager);
  managers.add(manager);
  const stop = () => {
    managers.delete(manager);
    return manager.stop();
  };
  try {
    const begin = () => manager._native.connectToPeer(target, json);
    const connection = await runTask(begin, options.signal, 'connecting', (native) => native);
    if (!managers.has(manager)) throw cancelled('the connection was closed by its owner');
    return new ReachedConnection(connection, manager, stop);
  } catch (error) {
    const closed = !managers.has(manager);
    await stop();
    throw closed ? cancelled('connecting was ended by its owner', error) : explained(error, options);
  }
}

/** Makes a manager remember in the registry of this user what worked, unless it keeps its own. */
function useConnectionRegistry(manager) {
  let table;
  try {
    table = connectionRegistry._native;
  } catch {
    // Without a directory for it, a connection is remembered as long as its manager.
    return;
  }
  manager._native.useRegistry(table);
}

/** Whom to look for, and where. */
function wishOf(options) {
  const { peerId, remoteId, address, host, port, addresses, relays } = options;
  const id = [peerId, remoteId].find(isPeerId) ?? peerId ?? remoteId;
  const wish = toWish('peer', { id, address: address ?? host, port }, addresses);
  // The peer keeps its place at a relay that both know.
  if (isPeerId(id) && Array.isArray(relays)) {
    wish.addresses.push(...relays.map((relay) => `${relay}/p2p-circuit/p2p/${id}`));
  }
  return wish;
}

/**
 * What configures the manager. `port` belongs to `address`; without one it is ours, as in every other object. Nobody is to
 * reach this manager, so it asks for no place at the relays.
 */
function nodeOptions(options) {
  const { port, relays, turnServer, ...rest } = options;
  const own = isNamed(options.address ?? options.host) ? undefined : port;
  const { localTCPPort = own ?? options.localUDPPort ?? options.localPort } = options;
  const stunServers = options.stunServers ?? options.iceOptions?.stunServers;
  const turnServers = [options, options.turnOptions, options.iceOptions].filter(isObject).flatMap(turnServersOf);
  return { ...rest, localTCPPort, stunServers, turnServers };
}

/** The error of somebody who counted on Gun, but gave nothing that is Gun, says so. */
function explained(error, options) {
  const gun = [options.gun, options.signaling, options.gunInstance, options.gunOptions?.gun, options.gunOptions?.instance];
  // With these the engine has tried it.
  if (gunInstance(options) || [options.gunPeers, options.gunOptions?.gunPeers, options.gunOptions, ...gun].some(namesRelay)) return error;
  const ways = [options.addresses, options.relays].some((list) => Array.isArray(list) && list.length > 0);
  if (!gun.some(isNamed) || ways || isNamed(options.address ?? options.host) || error.code === 'ERR_CANCELLED') return error;
  const advice = 'no Gun was given: that is a database with get, put and on, or the address of a relay';
  return new DigNatError(error.code, `${error.message}; ${advice}`, error);
}

/** Whether a form of Gun names a relay: an address, several, or `{peers}`. */
function namesRelay(form) {
  if (typeof form === 'string') return form !== '';
  if (Array.isArray(form)) return form.some(namesRelay);
  return form instanceof URL || (isObject(form) && isNamed(form.peers));
}

function checked(options) {
  if (options === undefined || options === null) return {};
  if (!isObject(options)) throw invalid('options', 'expected an object');
  return options;
}

module.exports = { NATTraversalManager, connectToPeer, connectWithNATTraversal };
