'use strict';
// FileHost: shares files.

const { NodeObject, emitSafely } = require('./emitter');
const { DigNatError, call, invalid, sync } = require('./errors');
const { useGun } = require('./gun-instance');
const native = require('./native');
const { gunInstance, networkJson } = require('./network-options');
const { isObject, optionalFunction, text, toJson, toPath } = require('./options');
const { runTask } = require('./transfer');

class FileHost extends NodeObject {
  constructor(options = {}) {
    // A light host still hosts: `nodeType` says how much it may cache, not that it must not upload.
    super(sync(() => new native.NativeHost(networkJson(options))), true);
    useGun(this, gunInstance(options));
    const nested = isObject(options) && isObject(options.options) ? options.options : {};
    const callback = optionalFunction('hostFileCallback', options.hostFileCallback ?? nested.hostFileCallback);
    if (callback) {
      const reference = new WeakRef(this);
      this._native.setFileCallback((request) => answer(reference, callback, JSON.parse(request)));
    }
  }

  /** A random UUID. */
  get hostId() {
    return this._native.id;
  }

  /** Multiaddrs with the peer id; empty before the start. */
  get addresses() {
    return this._native.addresses;
  }

  getHostId() {
    return this.hostId;
  }

  getTcpPort() {
    return listening(this).tcp;
  }

  getUdpPort() {
    return listening(this).udp;
  }

  getListeningPorts() {
    return listening(this);
  }

  /** Hash to `true`, a copy. */
  getAnnouncedFiles() {
    return new Map(this.getFiles().map((file) => [file.hash, true]));
  }

  /** Everything shared, ordered by path. */
  getFiles() {
    return JSON.parse(sync(() => this._native.files())).map(fileInfo);
  }

  /** Shares a file; before the start too. */
  async addFile(path, options = {}) {
    const file = toPath('path', path);
    return fileInfo(await runTask(() => this._native.addFile(file, toJson(options)), options?.signal, 'adding a file'));
  }

  /** Shares every file below a directory. */
  async addDirectory(path, options = {}) {
    const directory = toPath('path', path);
    const files = await runTask(() => this._native.addDirectory(directory), options?.signal, 'adding a directory');
    return files.map(fileInfo);
  }

  /** Shares what is below a directory and follows it from then on; starts the host if it was never started. */
  async watchDirectory(path, options = {}) {
    const directory = toPath('path', path);
    const task = () => this._native.watchDirectory(directory, toJson(options));
    return (await runTask(task, options?.signal, 'watching a directory')).map(fileInfo);
  }

  /** Follows a directory no more; its files stay shared. False when it was not watched. */
  async unwatchDirectory(path) {
    return call(() => this._native.unwatchDirectory(toPath('path', path)));
  }

  /** Stops sharing; false when the hash was not shared. */
  async removeFile(hash) {
    return call(() => this._native.removeFile(text('hash', hash)));
  }

  hasFile(hash) {
    return typeof hash === 'string' && this._native.hasFile(hash);
  }

  addContentMapping(contentId, sha256) {
    sync(() => this._native.addContentMapping(text('contentId', contentId), text('sha256', sha256)));
  }

  getHashForContent(contentId) {
    return this._native.hashForContent(text('contentId', contentId)) ?? undefined;
  }

  getContentForHash(sha256) {
    return this._native.contentForHash(text('sha256', sha256)) ?? undefined;
  }

  /** The parts of the hash table that a shard host keeps for others, in hex digits; empty elsewhere and before the start. */
  getShardPrefixes() {
    return this._native.shardPrefixes();
  }
}

/** The one port by protocol; 0 for a protocol that is switched off. */
function listening(host) {
  const has = (protocol) => host.addresses.some((address) => address.includes(`/${protocol}/`));
  return { tcp: has('tcp') ? host.port : 0, udp: has('udp') ? host.port : 0 };
}

function fileInfo({ path, hash, size, contentId }) {
  return { path, hash, size, contentId: contentId ?? undefined };
}

/** Asks the `hostFileCallback`. Failing is answering "unknown", and the program hears why in a `warning` event. */
async function answer(reference, callback, request) {
  try {
    const chunks = await callback(request.contentId, request.startChunk, request.chunkSize, request.sha256 ?? undefined);
    if (chunks === null || chunks === undefined) return null;
    if (!Array.isArray(chunks)) throw invalid('hostFileCallback', 'expected an array of buffers or null');
    return chunks.map(toBuffer);
  } catch (cause) {
    const host = reference.deref();
    if (host) {
      const problem = cause instanceof Error ? cause.message : String(cause);
      const error =
        cause instanceof DigNatError
          ? cause
          : new DigNatError('ERR_IO', `hostFileCallback failed for ${request.contentId}: ${problem}`, cause);
      emitSafely(host, 'warning', { error });
    }
    return null;
  }
}

function toBuffer(chunk) {
  if (Buffer.isBuffer(chunk)) return chunk;
  if (ArrayBuffer.isView(chunk)) return Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
  throw invalid('hostFileCallback', 'expected an array of buffers or null');
}

module.exports = { FileHost };
