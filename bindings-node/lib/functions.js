'use strict';
// Functions without an object: factories, one-shot downloads, looking at the NAT, hashing.

const fs = require('fs');

const { FileClient } = require('./client');
const { awaitable } = require('./emitter');
const { invalid, sync } = require('./errors');
const { FileHost } = require('./host');
const { NetworkManager } = require('./manager');
const native = require('./native');
const { nodeJson } = require('./network-options');
const { isObject, text, toJson, toPath, toPeers } = require('./options');
const { SHAPE } = require('./progress');
const { prepareTarget, runDownload, runTask } = require('./transfer');

function createHost(options) {
  return new FileHost(options);
}

/** Usable at once; awaiting it starts it and gives the host. */
function createFileHost(options) {
  return awaitable(new FileHost(options));
}

function createClient(options) {
  return new FileClient(options);
}

/** Usable at once; awaiting it starts it and gives the client. */
function createFileClient(options) {
  return awaitable(new FileClient(options));
}

function createNetworkManager(options) {
  return new NetworkManager(options);
}

/**
 * `({fileHash, outputDir, options})`, `(contentId, fileHash, savePath, peers, options)` or
 * `(fileHash, savePath, peers, options)`.
 */
async function downloadFile(...values) {
  if (isObject(values[0])) return downloadRequest(values[0]);
  if (Array.isArray(values[2])) return downloadFrom(...values);
  if (Array.isArray(values[3])) return downloadFrom(...values.slice(1));
  throw invalid('downloadFile', 'expected ({fileHash, outputDir}), (hash, path, peers) or (id, hash, path, peers)');
}

function downloadRequest(request) {
  const key = text('fileHash', request.fileHash ?? request.contentId);
  const peers = request.peers ?? (isObject(request.options) ? request.options.peers : undefined);
  const options = withoutPeers(request.options);
  const json = nodeJson({ ...request, ...given('peers', peers && toPeers(peers)), options });
  prepareTarget({ ...request, ...options });
  return run(key, json, () => SHAPE.FRACTION, [request, request.options]);
}

function downloadFrom(hash, path, peers, options = {}) {
  const key = text('fileHash', hash);
  const savePath = toPath('savePath', path);
  if (!isObject(options)) throw invalid('options', 'expected an object');
  const json = nodeJson({ ...options, savePath, peers: toPeers(peers) });
  prepareTarget({ savePath });
  return run(key, json, (name) => (name === 'onProgress' ? SHAPE.BYTES : SHAPE.BY_ARITY), [options]);
}

/** What stands between this machine and the internet. */
async function detectNatType(options = {}) {
  const json = natJson(options);
  return runTask(() => native.detectNatType(json), options?.signal, 'NAT detection');
}

/** The NAT, the router's port mapping protocols, IPv6, and what would help. */
async function diagnose(options = {}) {
  const json = natJson(options);
  return runTask(() => native.diagnose(json), options?.signal, 'the diagnosis');
}

/** `{ipv4, ipv6}` as the internet sees this machine; null for what cannot be found out. */
async function discoverPublicIPs(options = {}) {
  const json = natJson(options);
  return runTask(() => native.discoverPublicIPs(json), options?.signal, 'the search for public addresses');
}

/** `tryMultipleServers: false` is the original's way to say that only the first server counts. */
function natJson(options) {
  const first = isObject(options) && options.tryMultipleServers === false && Array.isArray(options.stunServers);
  return toJson(options, first ? { stunServers: options.stunServers.slice(0, 1) } : undefined);
}

function run(key, json, shape, bags) {
  return runDownload((onProgress) => native.downloadFile(key, json, onProgress), shape, bags);
}

function given(name, value) {
  return value === undefined ? {} : { [name]: value };
}

function withoutPeers(options) {
  if (!isObject(options)) return options;
  const { peers, ...rest } = options;
  return rest;
}

/**
 * SHA-256 in hex of bytes, of the file that a string names, or else of the string's text. A file is read on the calling
 * thread; `calculateSHA256File` does not block and never takes the string for text.
 */
function calculateSHA256(data) {
  if (typeof data === 'string') {
    return isFile(data) ? sync(() => native.calculateSHA256FileSync(data)) : native.calculateSHA256(Buffer.from(data));
  }
  if (data instanceof ArrayBuffer) return native.calculateSHA256(new Uint8Array(data));
  if (ArrayBuffer.isView(data)) {
    return native.calculateSHA256(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  }
  throw invalid('data', 'expected bytes or a string');
}

function isFile(path) {
  try {
    return fs.statSync(path).isFile();
  } catch {
    // Too long, with a NUL, or just no such file: then it is text.
    return false;
  }
}

/** SHA-256 of a file in hex, hashed on a worker thread. */
async function calculateSHA256File(path, options = {}) {
  const file = toPath('path', path);
  return runTask(() => native.calculateSHA256File(file), options?.signal, 'hashing');
}

module.exports = {
  calculateSHA256,
  calculateSHA256File,
  createClient,
  createFileClient,
  createFileHost,
  createHost,
  createNetworkManager,
  detectNatType,
  diagnose,
  discoverPublicIPs,
  downloadFile,
};
