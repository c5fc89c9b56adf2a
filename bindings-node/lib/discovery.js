'use strict';
// What the manager of discovery and the classes of its single ways have in common. Which ways take part say the options;
// the engine behind all classes is the same. Not here: the classes.

const { AnnouncePriority, PEER_SOURCES } = require('./constants');
const { EngineObject, bare, emitSafely, hide } = require('./emitter');
const { DigNatError, call, invalid, quiet, sync } = require('./errors');
const { useGun } = require('./gun-instance');
const native = require('./native');
const { gunInstance, networkJson } = require('./network-options');
const { findJson, isHash, isObject, isPeerId, text, toJson, toPeer } = require('./options');

// Keys that an object searches for again when it is started again, and peers that a program had left out.
const MOST_KEPT = 1000;

// As long as a search for peers.
const DEFAULT_TIMEOUT = 5000;

const SWITCHES = ['dhtEnabled', 'pexEnabled', 'localEnabled', 'gunEnabled'];

/** Marks the constructor call that makes a part of an object which exists: one way of a manager, or the manager of a client. */
const PART = Symbol('a part of another object');

/** Options in which one way is on and the others off, whatever else they say. */
function only(way, options) {
  if (options !== undefined && options !== null && !isObject(options)) throw invalid('options', 'expected an object');
  const switched = Object.fromEntries(SWITCHES.map((name) => [name, name === `${way}Enabled`]));
  return { ...options, ...switched };
}

class Discovery extends EngineObject {
  /** `way` is that of `PEER_SOURCES` which the object stands for, undefined for all. */
  constructor(options, way) {
    const owner = isObject(options) ? options[PART] : undefined;
    const engine = owner ? owner._native : sync(() => new native.NativeDiscovery(networkJson(remembering(options, way))));
    super(engine, true);
    hide(this, '_owner', owner);
    hide(this, '_way', way);
    if (owner) hide(this, '_gun', owner._gun);
    else useGun(this, gunInstance(options));
    hide(this, '_announcePort', announcePort(options));
    hide(this, '_wanted', owner ? owner._wanted : new Map());
    hide(this, '_left', owner ? owner._left : new Map());
  }

  /** Multiaddrs with the peer id; empty before the start. */
  get addresses() {
    return this._native.addresses;
  }

  /** Opens the port. `port` is that of the host whose contents `addInfoHash` announces. */
  async start(port) {
    const target = bare(this);
    if (port !== undefined && port !== null) target._announcePort = checkedPort('port', port);
    if (target._owner) await target._owner.start();
    else await super.start();
    for (const [key, priority] of target._wanted) sync(() => target._native.watch(key, priority));
  }

  /** Ends everything, for a part of a manager the manager too. May be left unawaited. */
  stop() {
    const target = bare(this);
    return target._owner ? target._owner.stop() : super.stop();
  }

  /** Makes a content findable, as `(id, {port, contentId, priority})`, `(id, port)` or `(id)`. */
  announce(id, options) {
    return quiet(announce(this, id, options));
  }

  /** Searches for a content in the background, and announces it if there is a port to announce. */
  addInfoHash(id, priority) {
    return quiet(watch(this, id, priority ?? AnnouncePriority.MEDIUM));
  }

  /** Ends both. */
  removeInfoHash(id) {
    return quiet(unwatch(this, id));
  }

  /** Peers that have a content, as `(id, {maxPeers, timeout})` or `(id, maxPeers, timeout)`. */
  async findPeers(id, options, timeout) {
    const name = text('id', id);
    const found = await call(() => this._native.findPeers(name, findJson(options, timeout)));
    const key = isHash(name) ? name : this.getHashForContent(name) ?? name;
    const peers = listed(this, found, key);
    emitSafely(this, 'peers-found', key, peers);
    return peers;
  }

  addContentMapping(contentId, hash) {
    sync(() => this._native.addContentMapping(text('contentId', contentId), text('hash', hash)));
  }

  /** Takes a readable id away, and back from where it was told; whether there was one. May be left unawaited. */
  removeContentMapping(contentId) {
    return quiet(call(() => this._native.removeContentMapping(text('contentId', contentId))));
  }

  getHashForContent(contentId) {
    return this._native.hashForContent(text('contentId', contentId)) ?? undefined;
  }

  getContentForHash(hash) {
    return this._native.contentForHash(text('hash', hash)) ?? undefined;
  }

  /** The hash behind a readable id, from whoever says it first, as `(id, timeout)` or `(id, {timeout})`. */
  async findHashByContentId(contentId, options) {
    const id = text('contentId', contentId);
    const timeout = (isObject(options) ? options.timeout : options) ?? DEFAULT_TIMEOUT;
    if (!Number.isInteger(timeout) || timeout < 1) throw invalid('timeout', `${String(timeout)} is no time in ms`);
    // What was mapped here needs nobody.
    const mapped = this.port === 0 ? this.getHashForContent(id) : undefined;
    if (mapped !== undefined) return mapped;
    await this.start();
    return (await call(() => this._native.findHash(id, timeout))) ?? undefined;
  }

  /** The parts of the hash table that it keeps for others as a shard host; none elsewhere and before the start. */
  getShardPrefixes() {
    return this._native.shardPrefixes();
  }

  /** Finds are told with the content as second value, and under the name that later versions of the original used. */
  _tell(type, event) {
    if (type !== 'peer:discovered') return super._tell(type, event);
    const { key, ...record } = event;
    const peer = withKey(record, key);
    if (!isOf(this, peer) || isLeftOut(this, peer.id, key)) return undefined;
    emitSafely(this, 'peer:discovered', peer, key);
    emitSafely(this, 'peer-discovered', peer, key);
    return undefined;
  }
}

/** `maxPeers` of the original is how many are remembered; in peer exchange, how many of messages. */
function remembering(options, way) {
  if (!isObject(options) || way === PEER_SOURCES.PEX) return options;
  const { maxPeers, ...rest } = options;
  const nested = isObject(options.options) ? { options: remembering(options.options, way) } : {};
  return { ...(maxPeers === undefined ? {} : { maxKnownPeers: maxPeers }), ...rest, ...nested };
}

/** The port of the host whose contents are announced, 0 for none. */
function announcePort(options) {
  if (!isObject(options) || options.announcePort === undefined || options.announcePort === null) return 0;
  return checkedPort('announcePort', options.announcePort);
}

function checkedPort(name, port) {
  if (!Number.isInteger(port) || port < 0 || port > 65535) throw invalid(name, `${String(port)} is outside 0 to 65535`);
  return port;
}

async function announce(object, id, options) {
  const key = text('id', id);
  // A text is the peer id that the original asked for: an announcement is always that of its maker.
  const given = typeof options === 'number' ? { port: options } : isObject(options) ? options : {};
  const port = checkedPort('port', given.port ?? object._announcePort);
  await object.start();
  const begin = (extra) => call(() => object._native.announce(key, toJson(given, extra)));
  try {
    await begin({ port });
    emitSafely(bare(object), 'content:announced', key);
  } catch (error) {
    if (port === 0 || error.code !== 'ERR_INVALID_ARGUMENT') throw error;
    // The original announced any port. The engine answers for what it announces, so it names itself instead.
    await begin({ port: 0 });
    emitSafely(bare(object), 'content:announced', key);
    const problem = `nothing of this process listens on port ${port}: ${key} is announced without it`;
    emitSafely(bare(object), 'warning', { error: new DigNatError('ERR_INVALID_ARGUMENT', problem, error) });
  }
}

async function watch(object, id, priority) {
  const key = text('id', id);
  const target = bare(object);
  if (!Object.values(AnnouncePriority).includes(priority)) throw invalid('priority', 'expected high, medium or low');
  if (target._wanted.size >= MOST_KEPT && !target._wanted.has(key)) {
    throw new DigNatError('ERR_LIMIT_REACHED', `more than ${MOST_KEPT} contents are searched for`);
  }
  target._wanted.set(key, priority);
  // Before the start it only waits.
  if (target.port !== 0) sync(() => target._native.watch(key, priority));
  // Whoever asks a single way means that way; how wide others go has no meaning there.
  const wide = target._way === undefined ? priority : AnnouncePriority.HIGH;
  if (target._announcePort !== 0) await announce(object, key, { priority: wide });
}

async function unwatch(object, id) {
  const key = text('id', id);
  object._wanted.delete(key);
  sync(() => object._native.unwatch(key));
  await withdraw(object, key);
}

/** Takes an announcement back; whether there was one. */
async function withdraw(object, key) {
  const withdrawn = await call(() => object._native.withdraw(key));
  if (withdrawn) emitSafely(bare(object), 'content:removed', key);
  return withdrawn;
}

/** Peers as the engine lists them, those of this object's way. */
function listed(object, json, key) {
  const peers = JSON.parse(json).map((peer) => withKey(peer, key));
  return peers.filter((peer) => isOf(object, peer) && !isLeftOut(object, peer.id, key));
}

function withKey(peer, key) {
  return key === undefined ? peer : { ...peer, infoHash: key, infoHashes: [key] };
}

/** A part for one way tells what it found itself; an object of its own has only the one way. */
function isOf(object, peer) {
  return object._owner === undefined || object._way === undefined || peer.source === object._way;
}

/** The peers known now. */
function known(object, options) {
  return listed(object, sync(() => object._native.peers(toJson(options))), options.infoHash);
}

/** Remembers a peer as the program names it: its id alone if it has no address. */
function remember(object, peer, id) {
  const key = id === undefined || id === null ? undefined : text('infoHash', id);
  sync(() => object._native.addPeer(peer, key));
  letIn(object, peer, key);
}

/** From now on the peer is not among those found for the content, or for any. */
function leaveOut(object, peerId, id) {
  const { _left: left } = object;
  // The oldest gives way.
  if (left.size >= MOST_KEPT) left.delete(left.keys().next().value);
  left.set(leftName(text('peerId', peerId), id ?? undefined), true);
}

/** Takes that back. */
function letIn(object, peerId, key) {
  object._left.delete(leftName(peerId, key));
}

function isLeftOut(object, peerId, key) {
  return object._left.has(leftName(peerId, key)) || object._left.has(leftName(peerId));
}

function leftName(peerId, key = '') {
  return `${peerId} ${isHash(key) ? key.toLowerCase() : key}`;
}

/** A peer id or an address as the engine takes it, undefined for other names. */
function asTarget(name) {
  if (typeof name !== 'string') return undefined;
  return isPeerId(name) || name.startsWith('/') || /^.+:\d{1,5}$/.test(name) ? toPeer('peer', name) : undefined;
}

module.exports = { Discovery, PART, asTarget, isLeftOut, known, leaveOut, letIn, only, remember, withdraw };
