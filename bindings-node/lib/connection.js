'use strict';
// Connection: messages between two network managers. `send(data)` is heard as `data` and `message`,
// `send(type, data)` as an event of that type.

const { HeardEmitter, emitSafely, hide } = require('./emitter');
const { call, fromRecord, invalid, quiet } = require('./errors');

// Names that mean something else to an EventEmitter or to this class; a message must not be able to fake them, and
// `error` without a listener would end the process.
const RESERVED = new Set(['error', 'close', 'newListener', 'removeListener']);

class Connection extends HeardEmitter {
  /** `owner` is the manager: the engine ends with it, so a connection in use must keep it. */
  constructor(native, owner) {
    super();
    hide(this, '_native', native);
    hide(this, '_owner', owner);
    // Sends leave in the order of the calls, awaited or not.
    hide(this, '_tail', Promise.resolve());
    hide(this, '_closed', false);
    this.type = native.connectionType;
    this.peerId = native.peerId;
    const address = parseAddress(native.address);
    this.address = native.address;
    this.remoteAddress = address.host;
    this.remotePort = address.port;
    if (native.traversal) Object.defineProperty(this, 'traversal', { value: freeze(JSON.parse(native.traversal)) });
  }

  /** Messages wait in the engine until somebody listens; listeners added in the same turn all hear the first one. */
  _whenHeard() {
    setImmediate(() => receive(this));
  }

  /** Whether the connection has ended, as far as known here. */
  get closed() {
    return this._closed;
  }

  /** Sends `(data)` or `(type, data)`. Resolves when the transport has it; may be left unawaited. */
  send(...values) {
    let message;
    try {
      message = values.length > 1 ? typedMessage(values[0], values[1]) : plainMessage(values[0]);
    } catch (error) {
      return quiet(Promise.reject(error));
    }
    const sent = this._tail.then(() => call(() => this._native.send(message)));
    this._tail = sent.catch(() => {});
    return quiet(sent);
  }

  /** Closes both directions after what was sent. A second call does nothing; may be left unawaited. */
  close() {
    const closed = this._tail.then(() => call(() => this._native.close())).then(() => ended(this));
    this._tail = closed.catch(() => {});
    return quiet(closed);
  }
}

/** A record that nobody changes. */
function freeze(value) {
  if (typeof value === 'object' && value !== null) Object.values(Object.freeze(value)).forEach(freeze);
  return value;
}

function plainMessage(data) {
  if (typeof data === 'string') return { kind: '', text: true, data: Buffer.from(data, 'utf8') };
  if (data instanceof ArrayBuffer) return { kind: '', text: false, data: Buffer.from(data.slice(0)) };
  // Copied, because the caller may go on writing into its buffer while the message waits.
  if (ArrayBuffer.isView(data)) return { kind: '', text: false, data: copy(data) };
  throw invalid('data', 'expected a string or bytes; objects travel as send(type, object)');
}

// The typed form carries bytes as bytes and everything else as JSON.
function typedMessage(kind, data) {
  if (typeof kind !== 'string' || kind === '') throw invalid('messageType', 'expected a non-empty string');
  if (RESERVED.has(kind)) throw invalid('messageType', `${kind} is reserved`);
  if (ArrayBuffer.isView(data)) return { kind, text: false, data: copy(data) };
  const json = JSON.stringify(data === undefined ? null : data);
  if (json === undefined) throw invalid('data', 'expected bytes or something that JSON can carry');
  return { kind, text: true, data: Buffer.from(json, 'utf8') };
}

function copy(view) {
  return Buffer.from(Buffer.from(view.buffer, view.byteOffset, view.byteLength));
}

// The engine holds this function, and with it the connection, until the connection ends: a listener is enough.
function receive(connection) {
  connection._native.receive((message, error) => {
    if (message) {
      deliver(connection, message);
    } else {
      ended(connection, error ? fromRecord(error) : undefined);
    }
  });
}

function deliver(connection, { kind, text, data }) {
  if (kind === '') {
    const value = text ? data.toString('utf8') : data;
    emitSafely(connection, 'data', value);
    emitSafely(connection, 'message', value);
  } else if (RESERVED.has(kind)) {
    emitSafely(connection, 'message', typedValue(text, data), kind);
  } else {
    emitSafely(connection, kind, typedValue(text, data));
  }
}

function typedValue(text, data) {
  if (!text) return data;
  try {
    return JSON.parse(data.toString('utf8'));
  } catch {
    // Programs in other languages may send plain text under a type.
    return data.toString('utf8');
  }
}

/** `close` is emitted once, with the reason when it was no orderly end. */
function ended(connection, reason) {
  if (connection._closed) return;
  connection._closed = true;
  emitSafely(connection, 'close', reason);
}

/** Host and port of a multiaddr such as `/ip4/192.0.2.1/tcp/8080/p2p/…`. */
function parseAddress(multiaddr) {
  const parts = multiaddr.split('/');
  const after = (...names) => {
    const index = parts.findIndex((part) => names.includes(part));
    return index < 0 ? undefined : parts[index + 1];
  };
  const port = after('tcp', 'udp');
  return { host: after('ip4', 'ip6', 'dns', 'dns4', 'dns6'), port: port === undefined ? undefined : Number(port) };
}

module.exports = { Connection };
