'use strict';
// Single ways through NATs in the forms of the original package: hole punching, ICE, TURN. What fails rejects.
// Not here: what they give (socket.js).

const { EventEmitter } = require('events');

const { emitSafely, hide } = require('./emitter');
const { DigNatError, call, invalid } = require('./errors');
const native = require('./native');
const { isObject, toJson, toPeer } = require('./options');
const { PunchedSocket, TURNAllocation, toBuffer } = require('./socket');
const { runTask } = require('./transfer');

const WITHOUT_GUN = 'signalling over Gun is not part of this version';

/** Opens a UDP path to `remoteEndpoint`; the peer does the same at about the same time. */
async function performUDPHolePunch(options) {
  return punch('UDP_HOLE_PUNCH', options);
}

/** Opens a TCP connection to `remoteEndpoint`; the peer does the same at about the same time. */
async function performTCPHolePunch(options) {
  return punch('TCP_HOLE_PUNCH', options);
}

/** The same as `performTCPHolePunch()` under the other name; both sides listen and connect. */
async function performTCPSimultaneousOpen(options) {
  return punch('TCP_SIMULTANEOUS_OPEN', options);
}

async function punch(method, options) {
  const json = punchJson(options);
  const socket = await runTask(() => native.punch(method, json), options.signal, 'hole punching', (result) => result);
  return new PunchedSocket(socket);
}

function punchJson(options) {
  if (!isObject(options)) throw invalid('options', 'expected an object');
  const { localEndpoint, remoteEndpoint } = options;
  if (remoteEndpoint === undefined || remoteEndpoint === null) {
    const name = givenSignalling(options);
    if (name) throw invalid(name, `${WITHOUT_GUN}; localEndpoint and remoteEndpoint work without`);
    throw invalid('remoteEndpoint', 'must be given, {host, port} or "host:port"');
  }
  const json = { ...JSON.parse(toJson(options)), remoteEndpoint: toPeer('remoteEndpoint', remoteEndpoint) };
  if (isObject(localEndpoint)) json.localEndpoint = localText(localEndpoint);
  return JSON.stringify(json);
}

/** Our endpoint may leave the port to the system, or to `localPort` and `localPorts`. */
function localText(endpoint) {
  const host = endpoint.host ?? endpoint.address;
  if (endpoint.port) return toPeer('localEndpoint', { host, port: endpoint.port });
  if (typeof host !== 'string' || host === '') throw invalid('localEndpoint', 'expected {host, port}');
  return host;
}

function givenSignalling(options) {
  return ['gun', 'signaling', 'gunInstance'].find((name) => options[name] !== undefined && options[name] !== null);
}

/**
 * Connects by ICE. `signaling` carries the messages: `send(bytes)` brings one to the peer, `receive()` waits for one of
 * the peer (null at the end).
 */
async function connectWithICE(options) {
  if (!isObject(options)) throw invalid('options', 'expected an object');
  const carrier = carrierOf(options);
  const json = toJson(options);
  const channel = new native.NativeSignalling();
  const carried = carry(channel, carrier);
  try {
    const begin = () => native.connectWithICE(json, channel);
    const connecting = runTask(begin, carried.signalFor(options.signal), 'ICE', (result) => result);
    return new PunchedSocket(await connecting);
  } catch (error) {
    throw carried.failure || error;
  } finally {
    carried.end();
  }
}

function carrierOf(options) {
  const name = givenSignalling(options);
  if (!name) throw invalid('signaling', 'ICE needs a way to exchange messages with the peer: {send(bytes), receive()}');
  const carrier = options[name];
  if (typeof carrier.send === 'function' && typeof carrier.receive === 'function') return carrier;
  throw invalid(name, `${WITHOUT_GUN}; an object {send(bytes), receive()} of your own works`);
}

/** Moves messages between the engine and the carrier until the attempt ends. */
function carry(channel, carrier) {
  const abort = new AbortController();
  let ended = false;
  const carried = {
    failure: undefined,
    /** Aborts with the program's signal, and when the carrier fails. */
    signalFor(signal) {
      if (signal && signal.aborted) abort.abort(signal.reason);
      else if (signal && signal.addEventListener) signal.addEventListener('abort', stop, { once: true });
      carried.end = () => {
        ended = true;
        channel.close();
        if (signal && signal.removeEventListener) signal.removeEventListener('abort', stop);
      };
      return abort.signal;
    },
    end() {
      ended = true;
      channel.close();
    },
  };
  const stop = () => abort.abort();
  const failed = (what) => (cause) => {
    if (ended) return;
    const message = `signaling.${what} failed: ${cause && cause.message ? cause.message : String(cause)}`;
    carried.failure = new DigNatError('ERR_CONNECTION_CLOSED', message, cause);
    stop();
  };
  send(channel, carrier).catch(failed('send'));
  receive(channel, carrier).catch(failed('receive'));
  return carried;
}

async function send(channel, carrier) {
  for (;;) {
    const message = await call(() => channel.outgoing());
    if (message === null || message === undefined) return;
    await carrier.send(message);
  }
}

async function receive(channel, carrier) {
  for (;;) {
    const message = await carrier.receive();
    if (message === null || message === undefined) return channel.close();
    const bytes = toBuffer('message', message);
    if (!(await call(() => channel.deliver(bytes)))) return undefined;
  }
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
