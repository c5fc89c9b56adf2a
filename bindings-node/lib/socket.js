'use strict';
// What hole punching, ICE and TURN give: objects that send and that emit what comes in. Not here: making them.

const { HeardEmitter, emitSafely, hide, hold, release } = require('./emitter');
const { call, fromRecord, invalid, quiet } = require('./errors');

/** The bytes behind strings, buffers and views, copied: the caller may go on writing into them. */
function toBuffer(name, data) {
  if (typeof data === 'string') return Buffer.from(data, 'utf8');
  if (data instanceof ArrayBuffer) return Buffer.from(data.slice(0));
  if (ArrayBuffer.isView(data)) return Buffer.from(Buffer.from(data.buffer, data.byteOffset, data.byteLength));
  throw invalid(name, 'expected a string or bytes');
}

/** Receives while somebody listens, and keeps the process alive meanwhile, as a socket of Node does. */
class Receiver extends HeardEmitter {
  constructor(native) {
    super();
    hide(this, '_native', native);
    hide(this, '_tail', Promise.resolve());
    hide(this, '_ended', false);
  }

  /** What came in waits in the engine until somebody listens; listeners added in the same turn all hear the first. */
  _whenHeard() {
    if (this._ended) return;
    hold(this);
    setImmediate(() => {
      this._native.receive((data, address, port, error) => {
        if (data) this._deliver(data, address, port);
        else this._end(error ? fromRecord(error) : undefined);
      });
    });
  }

  /** Whether it has ended, as far as known here. */
  get closed() {
    return this._ended;
  }

  /** Runs sends in the order of the calls, awaited or not. */
  _queue(operation) {
    const done = this._tail.then(() => call(operation));
    this._tail = done.catch(() => {});
    return quiet(done);
  }

  /** `close` is emitted once, with the reason when it was no orderly end. */
  _end(reason) {
    if (this._ended) return;
    this._ended = true;
    release(this);
    emitSafely(this, 'close', reason);
  }
}

/** A way to one peer: datagrams (`protocol` is `udp`) or a stream (`tcp`). */
class PunchedSocket extends Receiver {
  constructor(native) {
    super(native);
    const { localCandidate, remoteCandidate, ...info } = JSON.parse(native.info);
    this.success = true;
    Object.assign(this, info);
    if (localCandidate) {
      this.localCandidate = candidate(localCandidate, info.localAddress, info.localPort);
      this.remoteCandidate = candidate(remoteCandidate, info.remoteAddress, info.remotePort);
    }
  }

  /** The socket itself, where the original package puts it. */
  get socket() {
    return this;
  }

  /** The same as `remoteAddress`. */
  get address() {
    return this.remoteAddress;
  }

  /** The same as `remotePort`. */
  get port() {
    return this.remotePort;
  }

  /** Sends a datagram or bytes of the stream. Resolves when the system has them; may be left unawaited. */
  send(data) {
    let bytes;
    try {
      bytes = toBuffer('data', data);
    } catch (error) {
      return quiet(Promise.reject(error));
    }
    return this._queue(() => this._native.send(bytes));
  }

  /** Ends it after what was sent and frees its port. A second call does nothing; may be left unawaited. */
  close() {
    return quiet(this._queue(() => this._native.close()).then(() => this._end()));
  }

  _deliver(data, address, port) {
    emitSafely(this, 'data', data);
    if (this.protocol === 'udp') {
      const family = address.includes(':') ? 'IPv6' : 'IPv4';
      emitSafely(this, 'message', data, { address, port, family, size: data.length });
    }
  }
}

function candidate(type, address, port) {
  return { type, protocol: 'udp', address, port };
}

/** An address at a TURN server. */
class TURNAllocation extends Receiver {
  constructor(native) {
    super(native);
    const { lifetimeS, ...info } = JSON.parse(native.info);
    this.success = true;
    this.connectionType = 'TURN';
    Object.assign(this, info);
    this.lifetime = lifetimeS;
  }

  /** Lets a peer's address in, all ports. */
  async createPermission(peer) {
    const { address } = target(peer);
    return call(() => this._native.permit(address));
  }

  /** Sends a datagram to `(address, port)` or `({host, port})`, which is let in first if it is not yet. */
  send(data, ...peer) {
    let bytes;
    let to;
    try {
      bytes = toBuffer('data', data);
      to = target(...peer);
      if (!Number.isInteger(to.port) || to.port < 1 || to.port > 65535) {
        throw invalid('port', `${String(to.port)} is outside 1 to 65535`);
      }
    } catch (error) {
      return quiet(Promise.reject(error));
    }
    return this._queue(() => this._native.sendTo(bytes, to.address, to.port));
  }

  /** The same as `send()`. */
  sendToRelayed(data, ...peer) {
    return this.send(data, ...peer);
  }

  /** Prolongs it now, in seconds; resolves to what the server grants. It is prolonged in time without this too. */
  async refresh(lifetime = 600) {
    if (!Number.isInteger(lifetime) || lifetime < 1 || lifetime > 3600) {
      throw invalid('lifetime', `${String(lifetime)} is outside 1 to 3600`);
    }
    this.lifetime = await call(() => this._native.refresh(lifetime));
    return this.lifetime;
  }

  /** Removes it at the server. A second call does nothing; may be left unawaited. */
  release() {
    return quiet(this._queue(() => this._native.release()).then(() => this._end()));
  }

  /** The same as `release()`. */
  close() {
    return this.release();
  }

  _deliver(data, address, port) {
    emitSafely(this, 'data', data, address, port);
  }
}

function target(peer, port) {
  const address = typeof peer === 'string' ? peer : peer && (peer.host ?? peer.address);
  if (typeof address !== 'string' || address === '') throw invalid('address', 'expected an IP address');
  return { address, port: typeof peer === 'string' ? port : peer.port };
}

module.exports = { PunchedSocket, TURNAllocation, toBuffer };
