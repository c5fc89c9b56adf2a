'use strict';
// NetworkManager: hosting, downloading and message connections in one object.

const { Connection } = require('./connection');
const { NodeObject, bare, emitSafely } = require('./emitter');
const { call, invalid, sync } = require('./errors');
const { useGun } = require('./gun-instance');
const native = require('./native');
const { gunInstance, nodeJson } = require('./network-options');
const { findJson, isObject, text, toJson, toPath, toPeer, toPeers, toWish } = require('./options');
const { SHAPE } = require('./progress');
const { prepareTarget, runDownload, runTask } = require('./transfer');

class NetworkManager extends NodeObject {
  constructor(options = {}) {
    super(sync(() => new native.NativeManager(nodeJson(options))), true);
    useGun(this, gunInstance(options));
  }

  /** Opens the port; connections opened by others arrive as `connection` events. */
  async start() {
    await super.start();
    accept(this);
  }

  stop() {
    accepting.delete(bare(this));
    return super.stop();
  }

  /** Multiaddrs with the peer id; empty before the start. */
  get addresses() {
    return this._native.addresses;
  }

  /** Opens a message connection to `{host, port}`, `'host:port'`, a multiaddr or a peer id. */
  async connect(target) {
    const peer = toPeer('target', target);
    return new Connection(await call(() => this._native.connect(peer)), bare(this));
  }

  /** Reaches a peer by whatever way works; the connection's `traversal` says how. */
  async connectToPeer(peer, options = {}) {
    const { target, addresses } = toWish('peer', peer, isObject(options) ? options.addresses : undefined);
    const json = toJson(options, { addresses });
    const begin = () => this._native.connectToPeer(target, json);
    const connection = await runTask(begin, options?.signal, 'connecting', (native) => native);
    return new Connection(connection, bare(this));
  }

  /** Examines the NAT and the router as the function `diagnose` does, and tries to reach a peer if one is given. */
  async diagnose(peer, options = {}) {
    const wish = peer === undefined || peer === null ? {} : toWish('peer', peer, options?.addresses);
    const json = toJson(options, { addresses: wish.addresses });
    return runTask(() => this._native.diagnose(wish.target, json), options?.signal, 'the diagnosis');
  }

  /** Peers that have a content, as `(id, {maxPeers, timeout})` or `(id, maxPeers, timeout)`. */
  async findPeers(id, options, timeout) {
    const found = await call(() => this._native.findPeers(text('id', id), findJson(options, timeout)));
    return JSON.parse(found);
  }

  /** `(peers, id, options)`, or `(id, options)` with peers found by discovery. Progress is in bytes. */
  async downloadFile(...values) {
    const [peers, id, options] = Array.isArray(values[0]) ? values : [undefined, values[0], values[1]];
    if (!isObject(options)) throw invalid('options', 'expected an object with savePath');
    if (peers && peers.length === 0) throw invalid('peers', 'expected at least one peer');
    const key = text('id', id);
    const extra = { savePath: toPath('savePath', options.savePath), peers: toPeers(peers ?? options.peers ?? []) };
    const json = toJson(options, extra);
    prepareTarget(extra);
    return runDownload((onProgress) => this._native.download(key, json, onProgress), () => SHAPE.BYTES, [options]);
  }

  /** Shares a file and resolves to its hash. */
  async shareFile(path, contentId) {
    const file = toPath('path', path);
    return (await runTask(() => this._native.shareFile(file, toJson({ contentId })), undefined, 'sharing')).hash;
  }

  async addContentMapping(contentId, hash) {
    sync(() => this._native.addContentMapping(text('contentId', contentId), text('hash', hash)));
  }

  getHashForContent(contentId) {
    return this._native.hashForContent(text('contentId', contentId)) ?? undefined;
  }

  getContentForHash(hash) {
    return hash === undefined ? undefined : this._native.contentForHash(text('hash', hash)) ?? undefined;
  }

  getContentHash(contentId) {
    return this.getHashForContent(contentId);
  }

  getContentId(hash) {
    return this.getContentForHash(hash);
  }

  /** How a connected peer is reached, undefined without a connection. */
  getConnectionType(peerId) {
    return this._native.connectionType(text('peerId', peerId)) ?? undefined;
  }

  /** Remembers a peer for one content, or for all. */
  addPeer(peer, id) {
    sync(() => this._native.addPeer(toPeer('peer', peer), id === undefined ? undefined : text('id', id)));
  }

  /** Switches the search for further peers during downloads, running ones included. */
  setEnableContinuousDiscovery(enabled) {
    this._native.setContinuousDiscovery(Boolean(enabled));
  }
}

// Managers with an acceptor; the engine ends it when the manager stops.
const accepting = new WeakSet();

function accept(manager) {
  const target = bare(manager);
  if (accepting.has(target)) return;
  accepting.add(target);
  const reference = new WeakRef(target);
  target._native.accept((connection) => {
    const listener = reference.deref();
    if (listener && listener.listenerCount('connection') > 0) {
      emitSafely(listener, 'connection', new Connection(connection, listener));
    } else {
      // Nobody will ever read it: the other side should know.
      connection.close().catch(() => {});
    }
  });
}

module.exports = { NetworkManager };
