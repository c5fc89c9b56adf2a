'use strict';
// FileClient: finds peers and downloads files.

const { NodeObject, bare, hide } = require('./emitter');
const { call, invalid, sync } = require('./errors');
const { useGun } = require('./gun-instance');
const native = require('./native');
const { gunInstance, nodeJson } = require('./network-options');
const { findJson, isHash, isObject, text, toJson, toPath, toPeer, toPeers } = require('./options');
const { SHAPE } = require('./progress');
const { prepareTarget, runDownload, runTask } = require('./transfer');

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

class FileClient extends NodeObject {
  constructor(options = {}) {
    super(sync(() => new native.NativeClient(nodeJson(options))), false);
    useGun(this, gunInstance(options));
    hide(this, '_downloads', new Map());
    hide(this, '_downloadDir', options?.options?.downloadDir ?? options?.downloadDir);
  }

  /** A random UUID. */
  get clientId() {
    return this._native.id;
  }

  initialize() {
    return this.start();
  }

  shutdown() {
    return this.stop();
  }

  disconnect() {
    return this.stop();
  }

  /** Peers that have a content, as `(id, {maxPeers, timeout})` or `(id, maxPeers, timeout)`. */
  async findPeers(id, options, timeout) {
    const found = await call(() => this._native.findPeers(text('id', id), findJson(options, timeout)));
    return JSON.parse(found);
  }

  /**
   * `(id, path, options)` with progress from 0 to 1, or `(hostId, hash, {savePath, …})` in either order of the first
   * two with progress in bytes. Resolves to the path.
   */
  async downloadFile(first, second, options = {}) {
    if (isObject(options) && options.savePath) {
      const [host, hash] = isHash(second) || !isHash(first) ? [first, second] : [second, first];
      const peers = hostPeers(host, options.peers);
      return (await download(this, text('hash', hash), SHAPE.BYTES, options, { peers }, host)).path;
    }
    const savePath = toPath('path', second);
    return (await download(this, text('id', first), SHAPE.FRACTION, options, { savePath })).path;
  }

  /** Downloads by readable id into `downloadDir`, or to `savePath`. Resolves to the path. */
  async downloadByContentId(contentId, options = {}) {
    return (await download(this, text('contentId', contentId), SHAPE.FRACTION, options, {})).path;
  }

  /** Downloads from peers that are known already. */
  async downloadFileFromPeers(peers, hash, savePath, options = {}) {
    const target = { peers: toPeers(peers), savePath: toPath('savePath', savePath) };
    return download(this, text('hash', hash), SHAPE.FRACTION, options, target);
  }

  /** Size and name of a file without downloading it. */
  async getFileInfo(id, options = {}) {
    const info = await fileInfo(this, id, options);
    return {
      hash: info.hash,
      size: info.size,
      totalChunks: info.pieces,
      chunkSize: info.pieceSize,
      name: info.name ?? undefined,
    };
  }

  /** The hash behind a readable id: what is known here, else what peers say. */
  async getHashForContentId(contentId, options = {}) {
    const known = this.getHashForContent(contentId);
    return known ?? (await fileInfo(this, contentId, options)).hash;
  }

  addContentMapping(contentId, sha256) {
    sync(() => this._native.addContentMapping(text('contentId', contentId), text('sha256', sha256)));
  }

  getHashForContent(contentId) {
    return this._native.hashForContent(text('contentId', contentId)) ?? undefined;
  }

  /** Remembers a peer for one content, or for all. */
  addPeer(peer, id) {
    sync(() => this._native.addPeer(toPeer('peer', peer), id === undefined ? undefined : text('id', id)));
  }

  /** Switches the search for further peers during downloads, running ones included. */
  setEnableContinuousDiscovery(enabled) {
    this._native.setContinuousDiscovery(Boolean(enabled));
  }

  /** All of discovery on this client's port; starting and stopping it is starting and stopping the client. */
  getDiscoveryManager() {
    return discoveryOf(this);
  }

  /** Ids of running downloads, for `cancelDownload`. */
  getActiveDownloads() {
    return [...this._downloads.keys()];
  }

  /** Cancels a download; false when there is none of that id. It can be resumed by starting it again. */
  cancelDownload(downloadId) {
    const task = this._downloads.get(downloadId);
    if (task) task.cancel();
    return task !== undefined;
  }
}

/** Made once: listeners are kept on it. */
function discoveryOf(client) {
  const target = bare(client);
  if (!target._discovery) {
    // Required here, because that module needs this one.
    const { PeerDiscoveryManager } = require('./discoverer');
    const { PART } = require('./discovery');
    const owner = {
      _native: target._native.discovery(),
      _gun: target._gun,
      _wanted: new Map(),
      _left: new Map(),
      start: () => target.start(),
      stop: () => target.stop(),
    };
    hide(target, '_discovery', new PeerDiscoveryManager({ [PART]: owner }));
  }
  return target._discovery;
}

async function download(client, key, shape, options, extra, host = 'any') {
  if (!isObject(options)) throw invalid('options', 'expected an object');
  const wanted = verifiedKey(key, options.verificationHash);
  const peers = extra.peers ?? (options.peers === undefined ? undefined : toPeers(options.peers));
  const json = toJson(options, { ...extra, peers });
  prepareTarget({ outputDir: client._downloadDir, ...options, ...extra });
  let id;
  try {
    return await runDownload(
      (onProgress) => client._native.download(wanted, json, onProgress),
      () => shape,
      [options],
      (task) => {
        id = downloadId(client, `${host}-${wanted}-${Date.now()}`);
        client._downloads.set(id, task);
      },
    );
  } finally {
    client._downloads.delete(id);
  }
}

function downloadId(client, wanted) {
  let id = wanted;
  for (let count = 2; client._downloads.has(id); count += 1) {
    id = `${wanted}-${count}`;
  }
  return id;
}

/** The original checked `verificationHash` after the download; here it is what is asked for. */
function verifiedKey(key, verificationHash) {
  if (verificationHash === undefined || verificationHash === null) return key;
  if (!isHash(verificationHash)) throw invalid('verificationHash', 'expected 64 hex digits');
  if (isHash(key) && key.toLowerCase() !== verificationHash.toLowerCase()) {
    throw invalid('verificationHash', 'differs from the requested hash');
  }
  return verificationHash;
}

/** The original named hosts by UUIDs. They are no addresses: such a host is found by its file. */
function hostPeers(host, others) {
  const listed = others === undefined ? [] : toPeers(others);
  if (typeof host === 'string' && (host === '' || UUID.test(host))) return listed;
  return [toPeer('hostId', host), ...listed];
}

async function fileInfo(client, id, options) {
  const peers = options?.peers === undefined ? undefined : toPeers(options.peers);
  const json = toJson(options, { peers });
  return runTask(() => client._native.fileInfo(text('id', id), json), options?.signal, 'the question');
}

module.exports = { FileClient };
