'use strict';
// The call forms of the original package, each against the running engine, and what they refuse.

const assert = require('node:assert/strict');
const fs = require('node:fs');
const net = require('node:net');
const path = require('node:path');
const test = require('node:test');
const { pathToFileURL } = require('node:url');

const { DEADLINE, EMPTY_HASH, content, event, hostWith, rejects, sha256, stopAfter, tempDir, within, writeFile } =
  require('./support');
const api = require('..');

const QUIET = { localEnabled: false };

test('createFileHost can be used at once', { timeout: DEADLINE }, async (t) => {
  const host = stopAfter(t, api.createFileHost(QUIET));
  assert.ok(host instanceof api.FileHost);
  assert.equal(host.port, 0);
  const started = event(host, 'started');
  await within(host.start(), 'the start');
  assert.ok(host.port > 0);
  assert.equal((await started).port, host.port);
  host.addContentMapping('x', EMPTY_HASH);
  assert.equal(host.getHashForContent('x'), EMPTY_HASH);
});

test('createFileHost can be awaited', { timeout: DEADLINE }, async (t) => {
  const awaitable = api.createFileHost(QUIET);
  const host = stopAfter(t, await within(awaitable, 'the host'));
  assert.ok(host.port > 0);
  assert.equal(awaitable.port, host.port);
  assert.equal(host.then, undefined);
  assert.ok('then' in awaitable && !('then' in host));
  const [again] = await within(Promise.all([awaitable]), 'the host in Promise.all');
  assert.equal(again, host);
  await within(awaitable.stop(), 'a stop through the awaitable form');
  assert.equal(host.port, 0);
});

test('createFileClient has both forms too', { timeout: DEADLINE }, async (t) => {
  const client = stopAfter(t, await within(api.createFileClient(QUIET), 'the client'));
  assert.ok(client instanceof api.FileClient && client.port > 0);
  const other = stopAfter(t, api.createFileClient(QUIET));
  assert.equal(other.port, 0);
  await within(other.initialize(), 'initialize');
  assert.ok(other.port > 0);
  await within(other.shutdown(), 'shutdown');
  await within(other.disconnect(), 'disconnect');
});

test('a port in use rejects the start in every form', { timeout: DEADLINE }, async (t) => {
  const server = net.createServer().listen(0, '0.0.0.0');
  t.after(() => server.close());
  await within(new Promise((resolve) => server.once('listening', resolve)), 'the listener');
  const { port } = server.address();
  const options = { ...QUIET, enableUDP: false };
  await rejects(Promise.resolve(api.createFileHost({ ...options, port })), 'ERR_ADDRESS_IN_USE');
  await rejects(api.createHost({ ...options, tcpPort: port }).start(), 'ERR_ADDRESS_IN_USE');
  await rejects(api.createFileClient({ ...options, port }).catch((error) => Promise.reject(error)), 'ERR_ADDRESS_IN_USE');
});

test('downloadFile takes one object', { timeout: DEADLINE }, async (t) => {
  const { hash, peer, data } = await hostWith(t, api, 300000);
  const outputDir = path.join(tempDir(t), 'downloads');
  const fractions = [];
  const result = await within(
    api.downloadFile({
      fileHash: hash,
      outputDir,
      peers: [peer],
      options: { enableNatTraversal: true, maxPeers: 5, ...QUIET, onProgress: (...values) => fractions.push(values) },
    }),
    'the download',
  );
  assert.equal(result.filePath, path.join(outputDir, 'shared.bin'));
  assert.ok(fs.readFileSync(result.filePath).equals(data));
  assert.ok(fractions.every((values) => values.length === 1));
  assert.deepEqual(fractions.at(-1), [1]);
});

test('downloadFile takes (hash, path, peers, options)', { timeout: DEADLINE }, async (t) => {
  const { hash, host, data } = await hostWith(t, api, 300000);
  const target = path.join(tempDir(t), 'c');
  const calls = { onProgress: [], progressCallback: [] };
  const result = await within(
    api.downloadFile(hash, target, [{ address: '127.0.0.1', port: host.port }], {
      ...QUIET,
      onProgress: (...values) => calls.onProgress.push(values),
      progressCallback: (progress) => calls.progressCallback.push(progress),
    }),
    'the download',
  );
  assert.equal(result.path, target);
  assert.ok(fs.readFileSync(target).equals(data));
  assert.deepEqual(calls.onProgress.at(-1), [data.length, data.length]);
  assert.deepEqual(calls.progressCallback.at(-1), { percent: 100, received: data.length, total: data.length });
});

test('downloadFile takes (id, hash, path, peers, options)', { timeout: DEADLINE }, async (t) => {
  const { hash, peer, data } = await hostWith(t, api, 300000);
  const target = pathToFileURL(path.join(tempDir(t), 'b'));
  const calls = [];
  const result = await within(
    api.downloadFile('some-id', hash, target, [peer], {
      ...QUIET,
      progressCallback: (received, total) => calls.push([received, total]),
    }),
    'the download',
  );
  assert.ok(fs.readFileSync(target).equals(data));
  assert.equal(result.toString(), result.path);
  assert.deepEqual(calls.at(-1), [data.length, data.length]);
});

test('downloadFile refuses what is no form', async () => {
  await rejects(api.downloadFile(EMPTY_HASH), 'ERR_INVALID_ARGUMENT');
  await rejects(api.downloadFile(EMPTY_HASH, 'path'), 'ERR_INVALID_ARGUMENT');
  await rejects(api.downloadFile({ outputDir: 'x' }), 'ERR_INVALID_ARGUMENT');
  await rejects(api.downloadFile({ fileHash: EMPTY_HASH, peers: 'peer' }), 'ERR_INVALID_ARGUMENT');
  await rejects(api.downloadFile(EMPTY_HASH, 'path', [{ host: 'x', port: 0 }]), 'ERR_INVALID_ARGUMENT');
});

test('FileClient.downloadFile takes host and hash in either order', { timeout: DEADLINE }, async (t) => {
  const { hash, host, peer, data } = await hostWith(t, api, 1000);
  const client = stopAfter(t, api.createClient(QUIET));
  const directory = tempDir(t);
  const forms = [
    [peer, hash],
    [hash, peer],
    [{ host: '127.0.0.1', port: host.port }, hash],
    // Ids of the original are no addresses: other peers or discovery lead to the file.
    [host.hostId, hash, { peers: [peer] }],
  ];
  for (const [index, [first, second, options]] of forms.entries()) {
    const savePath = path.join(directory, String(index));
    const got = await within(client.downloadFile(first, second, { savePath, ...options }), `form ${index}`);
    assert.equal(got, savePath);
    assert.ok(fs.readFileSync(savePath).equals(data));
  }
});

test('verificationHash is what counts', { timeout: DEADLINE }, async (t) => {
  const { hash, peer } = await hostWith(t, api, 1000);
  const client = stopAfter(t, api.createClient(QUIET));
  const target = path.join(tempDir(t), 'verified');
  const options = { peers: [peer], verificationHash: hash };
  assert.equal(await within(client.downloadFile('any-id', target, options), 'the download'), target);
  await rejects(client.downloadFile(EMPTY_HASH, target, options), 'ERR_INVALID_ARGUMENT');
});

test('NetworkManager.downloadFile takes peers or none', { timeout: DEADLINE }, async (t) => {
  const { hash, peer, data } = await hostWith(t, api, 1000);
  const manager = stopAfter(t, new api.NetworkManager(QUIET));
  const directory = tempDir(t);
  const first = path.join(directory, 'first');
  const progress = [];
  const onProgress = (...values) => progress.push(values);
  const result = await within(manager.downloadFile([peer], hash, { savePath: first, onProgress }), 'the download');
  assert.equal(result.path, first);
  assert.deepEqual(progress.at(-1), [data.length, data.length]);
  await manager.addContentMapping('by-id', hash);
  assert.equal(manager.getContentHash('by-id'), hash);
  assert.equal(manager.getHashForContent('by-id'), hash);
  assert.equal(manager.getContentId(hash), 'by-id');
  assert.equal(manager.getContentForHash(hash), 'by-id');
  manager.addPeer(peer, hash);
  const second = path.join(directory, 'second');
  await within(manager.downloadFile('by-id', { savePath: second }), 'the download by id');
  assert.ok(fs.readFileSync(second).equals(data));
  await rejects(manager.downloadFile([], hash, { savePath: first }), 'ERR_INVALID_ARGUMENT');
  await rejects(manager.downloadFile([peer], '', { savePath: first }), 'ERR_INVALID_ARGUMENT');
  await rejects(manager.downloadFile([peer], hash, {}), 'ERR_INVALID_ARGUMENT');
});

test('NetworkManager shares what others download', { timeout: DEADLINE }, async (t) => {
  const data = content(1000);
  const manager = stopAfter(t, api.createNetworkManager(QUIET));
  await within(manager.start(), 'the start');
  const hash = await within(manager.shareFile(writeFile(tempDir(t), 'x', data), 'shared-id'), 'sharing');
  assert.equal(hash, sha256(data));
  assert.equal(manager.getContentHash('shared-id'), hash);
  const target = path.join(tempDir(t), 'copy');
  await within(api.downloadFile(hash, target, [`127.0.0.1:${manager.port}`], QUIET), 'the download');
  assert.ok(fs.readFileSync(target).equals(data));
});

test('calculateSHA256 takes bytes, text and paths', async (t) => {
  const data = content(100000);
  const file = writeFile(tempDir(t), 'hashed', data);
  assert.equal(api.calculateSHA256(data), sha256(data));
  assert.equal(api.calculateSHA256(new Uint16Array([1, 2])), sha256(Buffer.from([1, 0, 2, 0])));
  assert.equal(api.calculateSHA256(data.buffer.slice(0, 8)), sha256(Buffer.from(data.buffer.slice(0, 8))));
  assert.equal(api.calculateSHA256(file), sha256(data));
  assert.equal(api.calculateSHA256('Hello World'), sha256('Hello World'));
  assert.equal(api.calculateSHA256(''), EMPTY_HASH);
  assert.equal(api.calculateSHA256(path.dirname(file)), sha256(path.dirname(file)), 'a directory is text');
  assert.equal(await api.calculateSHA256(Buffer.from('x')), sha256('x'));
  assert.equal(await within(api.calculateSHA256File(file), 'hashing'), sha256(data));
  assert.equal(await within(api.calculateSHA256File(pathToFileURL(file)), 'hashing'), sha256(data));
  await rejects(api.calculateSHA256File(`${file}.missing`), 'ERR_FILE_NOT_FOUND');
  assert.throws(() => api.calculateSHA256(5), { code: 'ERR_INVALID_ARGUMENT' });
});

test('options are refused by name, and those of the original passed over', () => {
  const refused = [
    [{ port: 70000 }, /^port:/],
    [{ port: NaN }, /^port:/],
    [{ tcpPort: {} }, /^port:/],
    [{ options: { maxConnections: 0 } }, /^maxConnections:/],
    [{ enableTCP: false, enableUDP: false }, /^enableTCP:/],
    [{ hostFileCallback: 'text' }, /^hostFileCallback:/],
    ['text', /^options:/],
  ];
  for (const [options, message] of refused) {
    assert.throws(() => api.createFileHost(options), { code: 'ERR_INVALID_ARGUMENT', number: 10, message });
  }
  assert.throws(() => new api.FileClient({ maxPeers: 0 }), { code: 'ERR_INVALID_ARGUMENT' });
  assert.throws(() => new api.NetworkManager({ maxPeers: Infinity }), { message: /^maxPeers:/ });
  const circular = { on() {} };
  circular.self = circular;
  new api.FileHost({ gun: circular, gunOptions: { gun: circular }, enableWebRTC: true, anything: undefined, directory: null });
  assert.throws(() => new api.FileHost({ anything: Symbol('x') }), { message: /^anything: no such option/ });
});

test('a bad option of a call is refused by name', { timeout: DEADLINE }, async (t) => {
  const client = stopAfter(t, api.createClient(QUIET));
  const target = path.join(tempDir(t), 'x');
  const error = await rejects(client.downloadFile(EMPTY_HASH, target, { maxPeers: -1 }), 'ERR_INVALID_ARGUMENT');
  assert.match(error.message, /^maxPeers:/);
  await rejects(client.downloadFile('', target), 'ERR_INVALID_ARGUMENT');
  await rejects(client.downloadFile(EMPTY_HASH), 'ERR_INVALID_ARGUMENT');
  await rejects(client.downloadFile(EMPTY_HASH, target, { onProgress: 5 }), 'ERR_INVALID_ARGUMENT');
  await rejects(client.findPeers(''), 'ERR_INVALID_ARGUMENT');
  await rejects(client.findPeers(EMPTY_HASH, 0), 'ERR_INVALID_ARGUMENT');
  await rejects(client.downloadFileFromPeers('peer', EMPTY_HASH, target), 'ERR_INVALID_ARGUMENT');
  assert.throws(() => client.addContentMapping('id', 'no hash'), { code: 'ERR_INVALID_ARGUMENT' });
  assert.throws(() => client.addPeer(5), { code: 'ERR_INVALID_ARGUMENT' });
});
