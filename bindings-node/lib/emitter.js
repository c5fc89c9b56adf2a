'use strict';
// What hosts, clients, network managers and discovery have in common: events, start and stop, and how long they keep the process
// alive. Not here: what they do.

const { EventEmitter } = require('events');

const { call, fromRecord, quiet, sync } = require('./errors');

// Started objects that serve others stay alive without a reference from the program, as a listening server does.
const running = new Set();
let keepAlive;

function hold(object) {
  running.add(object);
  // Any timer would do: it only has to be there. Node's longest one is 2^31-1 ms.
  keepAlive = keepAlive || setInterval(() => {}, 0x7fffffff);
}

function release(object) {
  running.delete(object);
  if (running.size === 0) {
    clearInterval(keepAlive);
    keepAlive = undefined;
  }
}

/** An EventEmitter that learns of its first listener (`once` and `prependOnceListener` call the methods below). */
class HeardEmitter extends EventEmitter {
  constructor() {
    super();
    hide(this, '_isHeard', false);
  }

  on(...values) {
    return heard(this, super.on(...values));
  }

  addListener(...values) {
    return heard(this, super.addListener(...values));
  }

  prependListener(...values) {
    return heard(this, super.prependListener(...values));
  }
}

function heard(emitter, result) {
  const target = bare(emitter);
  if (!target._isHeard) {
    target._isHeard = true;
    target._whenHeard();
  }
  return result;
}

class EngineObject extends HeardEmitter {
  /** `servesOthers`: once started it keeps the process alive until it is stopped. */
  constructor(native, servesOthers) {
    super();
    hide(this, '_native', native);
    hide(this, '_servesOthers', servesOthers);
  }

  /** Events cost a call between threads each, so nothing is subscribed until somebody listens. */
  _whenHeard() {
    subscribe(this._native, new WeakRef(this));
  }

  /** Opens the port. A second call does nothing. */
  async start() {
    const target = bare(this);
    await call(() => target._native.start());
    if (target._servesOthers) hold(target);
  }

  /** Closes everything and frees the port. A second call does nothing. May be left unawaited. */
  stop() {
    const target = bare(this);
    return quiet(call(() => target._native.stop()).finally(() => release(target)));
  }

  /** The bound port, 0 before the start. */
  get port() {
    return this._native.port;
  }

  /** The identity on the network, undefined before the start. */
  get peerId() {
    return this._native.peerId ?? undefined;
  }

  /** One event of the engine, for its listeners. What a peer was found for is told as searches tell it, too. */
  _tell(type, event) {
    const found = type === 'peer:discovered' ? { infoHash: event.key, infoHashes: [event.key] } : undefined;
    emitSafely(this, type, found ? { ...event, ...found } : event);
  }
}

/** One that shares, downloads or connects, and so wants to know its NAT. */
class NodeObject extends EngineObject {
  /** What stands between it and the internet, undefined before the event `nat:detected`. */
  get natProfile() {
    const profile = sync(() => this._native.natProfile());
    return profile === null || profile === undefined ? undefined : JSON.parse(profile);
  }
}

function subscribe(native, reference) {
  native.subscribe((text) => {
    const object = reference.deref();
    if (!object) return;
    const { type, ...event } = JSON.parse(text);
    if (event.error) event.error = fromRecord(JSON.stringify(event.error));
    // What a listener throws must not end the stream of events; it surfaces as any uncaught exception does.
    object._tell(type, event);
  });
}

/** Emits outside the engine's call, so that an exception of a listener is the program's, not the engine's. */
function emitSafely(emitter, type, ...values) {
  try {
    emitter.emit(type, ...values);
  } catch (error) {
    process.nextTick(() => {
      throw error;
    });
  }
}

/** A property that neither prints nor enumerates. */
function hide(object, name, value) {
  Object.defineProperty(object, name, { value, writable: true, configurable: true });
}

const BARE = Symbol('the object behind its awaitable form');

/** The object itself, also when called through its awaitable form. */
function bare(object) {
  return object[BARE] || object;
}

/**
 * The form of an object that can be used at once and also awaited: `then` starts it and resolves to the object itself.
 * Returning it from an async function starts it for the same reason.
 */
function awaitable(object) {
  const started = () => object.start().then(() => object);
  const extras = {
    [BARE]: object,
    then: (resolve, reject) => started().then(resolve, reject),
    catch: (reject) => started().catch(reject),
    finally: (settled) => started().finally(settled),
  };
  return new Proxy(object, {
    get: (target, name, receiver) =>
      Object.prototype.hasOwnProperty.call(extras, name) ? extras[name] : Reflect.get(target, name, receiver),
    has: (target, name) => Object.prototype.hasOwnProperty.call(extras, name) || Reflect.has(target, name),
  });
}

module.exports = { EngineObject, HeardEmitter, NodeObject, awaitable, bare, emitSafely, hide, hold, release };
