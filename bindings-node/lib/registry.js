'use strict';
// The connection registry: which way led to a peer last, kept across runs. Not here: the table and its file.

const { invalid, sync } = require('./errors');
const native = require('./native');
const { isObject, text, toJson } = require('./options');
const { runTask } = require('./transfer');

class ConnectionRegistry {
  /** `registryDir` is where it is kept. Nothing is read before the first call. */
  constructor(options = {}) {
    const json = toJson(options);
    let opened;
    Object.defineProperty(this, '_native', {
      get: () => (opened = opened || sync(() => new native.NativeRegistry(json))),
    });
  }

  /** Reads the registry now, so that a problem with it shows here. Any other call reads it too. */
  async initialize() {
    void this._native;
  }

  /** The ways that led to the peer, as `CONNECTION_TYPE`, latest first. */
  getSuccessfulMethods(peerId) {
    return this._native.successfulMethods(text('peerId', peerId));
  }

  /** The last way, undefined for an unknown peer. */
  async getConnectionMethod(peerId) {
    const entry = sync(() => this._native.connectionMethod(text('peerId', peerId)));
    if (entry === null || entry === undefined) return undefined;
    const { address, port, ...rest } = JSON.parse(entry);
    return { ...rest, ...(address === null ? {} : { address }), ...(port === null ? {} : { port }) };
  }

  /** Remembers that a way worked. */
  async saveSuccessfulConnection(peerId, connectionType, options = {}) {
    const peer = text('peerId', peerId);
    const type = text('connectionType', connectionType);
    const json = JSON.parse(toJson(options));
    const { metadata } = options;
    if (metadata !== undefined && metadata !== null) {
      if (!isObject(metadata)) throw invalid('metadata', 'expected an object');
      json.metadata = JSON.parse(JSON.stringify(metadata));
    }
    await runTask(() => this._native.save(peer, type, JSON.stringify(json)), undefined, 'saving');
  }

  /** Forgets a peer; whether there was something to forget. */
  async removeConnectionMethod(peerId) {
    return runTask(() => this._native.remove(text('peerId', peerId)), undefined, 'removing');
  }

  /** Forgets what is older than 45 days; how many ways that were. */
  async cleanupOldEntries() {
    return runTask(() => this._native.cleanup(), undefined, 'the cleanup');
  }
}

/** The registry of this user. */
const connectionRegistry = new ConnectionRegistry();

module.exports = { ConnectionRegistry, connectionRegistry };
