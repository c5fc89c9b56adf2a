'use strict';
// Single ways through NATs in the forms of the original package: hole punching, ICE, TURN. What fails rejects.
// Not here: what they give (socket.js), and how both sides exchange messages (signalling.js).

const { EventEmitter } = require('events');

const { emitSafely, hide } = require('./emitter');
const { DigNatError, invalid } = require('./errors');
const native = require('./native');
const { isObject, toJson, toPeer } = require('./options');
const { isSignalled, overSignalling } = require('./signalling');
const { PunchedSocket, TURNAllocation } = require('./socket');
const { runTask } = require('./transfer');

const PUNCHING = { relays: native.punch, program: native.punchOverSignalling, gun: native.punchOverGun };
const ICE = {
  relays: native.connectWithICE,
  program: native.connectWithICEOverSignalling,
  gun: native.connectWithICEOverGun,
};

/** Opens a UDP path to `remoteEndpoint`, or to the peer met over signalling, which does the same at about the same time. */
async function performUDPHolePunch(options) {
  return punch('UDP_HOLE_PUNCH', options);
}

/** Opens a TCP connection to `remoteEndpoint`, or to the peer met over signalling, which does the same. */
async function performTCPHolePunch(options) {
  return punch('TCP_HOLE_PUNCH', options);
}

/** The same as `performTCPHolePunch()` under the other name; both sides listen and connect. */
async function performTCPSimultaneousOpen(options) {
  return punch('TCP_SIMULTANEOUS_OPEN', options);
}

async function punch(method, options) {
  if (!isObject(options)) throw invalid('options', 'expected an object');
  const { remoteEndpoint } = options;
  const json = { ...JSON.parse(toJson(options)), ...localEndpointOf(options) };
  if (remoteEndpoint === undefined || remoteEndpoint === null) {
    if (!isSignalled(options)) throw invalid('remoteEndpoint', 'must be given, {host, port} or "host:port", or gun to meet the peer');
    return new PunchedSocket(await overSignalling(options, json, PUNCHING, [method], 'hole punching'));
  }
  const text = JSON.stringify({ ...json, remoteEndpoint: toPeer('remoteEndpoint', remoteEndpoint) });
  return new PunchedSocket(await runTask(() => native.punch(method, text), options.signal, 'hole punching', (result) => result));
}

function localEndpointOf({ localEndpoint }) {
  return isObject(localEndpoint) ? { localEndpoint: localText(localEndpoint) } : {};
}

/** Our endpoint may leave the port to the system, or to `localPort` and `localPorts`. */
function localText(endpoint) {
  const host = endpoint.host ?? endpoint.address;
  if (endpoint.port) return toPeer('localEndpoint', { host, port: endpoint.port });
  if (typeof host !== 'string' || host === '') throw invalid('localEndpoint', 'expected {host, port}');
  return host;
}

/**
 * Connects by ICE. The messages travel over Gun (`gun` or `signaling` is a live database, or addresses of relays; both sides
 * give both ids), or `signaling` carries them: `send(bytes)` brings one to the peer, `receive()` waits for one of the peer
 * (null at the end).
 */
async function connectWithICE(options) {
  if (!isObject(options)) throw invalid('options', 'expected an object');
  if (!isSignalled(options)) {
    throw invalid('signaling', 'ICE needs a way to exchange messages with the peer: gun, or {send(bytes), receive()}');
  }
  return new PunchedSocket(await overSignalling(options, JSON.parse(toJson(options)), ICE, [], 'ICE'));
}

/** Allocates an address at a TURN server. */
async function createTURNAllocation(options) {
  if (!isObject(options)) throw invalid('options', 'expected an object');
  const json = toJson(options);
  const begin = () => native.createTURNAllocation(json);
  return new TURNAllocation(await runTask(begin, options.signal, 'the allocation', (result) => result));
}

/** One allocation at a time behind events: `allocation`, `data`, `permission`, `connectionStateChange`, `close`. */
class TURNClient extends EventEmitter {
  constructor(options = {}) {
    super();
    hide(this, '_options', options);
    hide(this, '_allocation', undefined);
    hide(this, '_abort', undefined);
  }

  /** The current allocation. */
  get allocation() {
    return this._allocation;
  }

  /** Allocates with these options over those of the constructor, and releases the allocation before it. */
  async requestAllocation(options = {}) {
    if (!isObject(options)) throw invalid('options', 'expected an object');
    await this.close();
    const abort = new AbortController();
    this._abort = abort;
    const stop = () => abort.abort();
    const { signal } = options;
    if (signal && signal.addEventListener) signal.addEventListener('abort', stop, { once: true });
    if (signal && signal.aborted) stop();
    emitSafely(this, 'connectionStateChange', 'connecting');
    try {
      const allocation = await createTURNAllocation({ ...this._options, ...options, signal: abort.signal });
      this._allocation = allocation;
      allocation.on('data', (...values) => emitSafely(this, 'data', ...values));
      allocation.on('close', (reason) => this._closed(allocation, reason));
      emitSafely(this, 'connectionStateChange', 'connected');
      emitSafely(this, 'allocation', allocation);
      return allocation;
    } catch (error) {
      emitSafely(this, 'connectionStateChange', 'failed');
      throw error;
    } finally {
      if (signal && signal.removeEventListener) signal.removeEventListener('abort', stop);
    }
  }

  /** The same as `requestAllocation()`. */
  connect(options) {
    return this.requestAllocation(options);
  }

  async createPermission(peer) {
    await this._current().createPermission(peer);
    emitSafely(this, 'permission', typeof peer === 'string' ? peer : peer.host ?? peer.address);
  }

  async refreshAllocation(lifetime) {
    return this._current().refresh(lifetime);
  }

  async send(data, ...peer) {
    return this._current().send(data, ...peer);
  }

  /** Releases the allocation, or gives up a request for one. */
  async close() {
    if (this._abort) this._abort.abort();
    if (this._allocation) await this._allocation.release();
  }

  _current() {
    if (this._allocation) return this._allocation;
    throw new DigNatError('ERR_INVALID_STATE', 'there is no allocation: call requestAllocation() first');
  }

  _closed(allocation, reason) {
    if (this._allocation !== allocation) return;
    this._allocation = undefined;
    emitSafely(this, 'connectionStateChange', 'closed');
    emitSafely(this, 'close', reason);
  }
}

/** One connection by ICE behind events: `connectionState`, `connected`. */
class ICEClient extends EventEmitter {
  constructor(options = {}) {
    super();
    hide(this, '_options', options);
    hide(this, '_abort', undefined);
    hide(this, '_socket', undefined);
  }

  /** Connects with these options over those of the constructor, and closes the connection before it. */
  async connect(options = {}) {
    if (!isObject(options)) throw invalid('options', 'expected an object');
    await this.close();
    const abort = new AbortController();
    this._abort = abort;
    emitSafely(this, 'connectionState', 'checking');
    try {
      const socket = await connectWithICE({ ...this._options, ...options, signal: abort.signal });
      this._socket = socket;
      socket.once('close', () => emitSafely(this, 'connectionState', 'closed'));
      emitSafely(this, 'connectionState', 'connected');
      emitSafely(this, 'connected', socket);
      return socket;
    } catch (error) {
      emitSafely(this, 'connectionState', 'failed');
      throw error;
    }
  }

  /** Closes the connection, or gives up an attempt. */
  async close() {
    if (this._abort) this._abort.abort();
    if (this._socket) await this._socket.close();
  }
}

module.exports = {
  ICEClient,
  PunchedSocket,
  TURNAllocation,
  TURNClient,
  connectWithICE,
  createTURNAllocation,
  performTCPHolePunch,
  performTCPSimultaneousOpen,
  performUDPHolePunch,
};
