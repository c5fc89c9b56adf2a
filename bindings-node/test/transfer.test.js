'use strict';
// Sharing and downloading between hosts, clients and managers over the loopback interface.

const assert = require('node:assert/strict');
const fs = require('node:fs');
const path = require('node:path');
const test = require('node:test');

const { DEADLINE, EMPTY_HASH, content, event, hostWith, rejects, sha256, stopAfter, tempDir, within, writeFile } =
  require('./support');
const api = require('..');

const MIB = 1024 * 1024;

function client(t, options = {}) {
  return stopAfter(t, api.createClient({ localEnabled: false, ...options }));
}

test('a shared file arrives whole', { timeout: DEADLINE }, async (t) => {
  const { data, hash, peer } = await hostWith(t, api, 5 * MIB + 7);
  const target = path.join(tempDir(t), 'new', 'directory', 'copy.bin');
  const result = await within(client(t).downloadFileFromPeers([peer], hash, target), 'the download');
  assert.ok(fs.readFileSync(target).equals(data));
  assert.equal(result.path, target);
  assert.equal(result.filePath, target);
  assert.equal(String(result), target);
  assert.equal(result.hash, hash);
  assert.equal(result.size, data.length);
  assert.ok(Number.isFinite(result.averageSpeed) && result.averageSpeed > 0);
  assert.ok(Number.isInteger(result.totalTime));
  const [[id, stats], ...others] = Object.entries(result.peerStats);
  assert.deepEqual(others, []);
  assert.equal(stats.bytesDownloaded, data.length);
  assert.ok(['tcp', 'udp'].includes(result.connectionTypes[id]));
  assert.deepEqual(fs.readdirSync(path.dirname(target)), ['copy.bin'], 'no part file is left');
});

test('a directory is shared at start and listed', { timeout: DEADLINE }, async (t) => {
  const directory = tempDir(t);
  fs.mkdirSync(path.join(directory, 'sub'));
  const files = { 'a.txt': content(10, 'a'), 'sub/b.bin': content(70000, 'b') };
  for (const [name, data] of Object.entries(files)) writeFile(directory, name, data);
  const host = stopAfter(t, api.createHost({ localEnabled: false, options: { directory } }));
  assert.equal(host.port, 0);
  assert.deepEqual(host.getListeningPorts(), { tcp: 0, udp: 0 });
  const started = event(host, 'started');
  await within(host.start(), 'the start');
  assert.equal((await started).port, host.port);
  await within(host.start(), 'a second start');
  const hashes = Object.values(files).map(sha256).sort();
  assert.deepEqual([...host.getAnnouncedFiles().keys()].sort(), hashes);
  assert.ok([...host.getAnnouncedFiles().values()].every((announced) => announced === true));
  assert.deepEqual(host.getListeningPorts(), { tcp: host.port, udp: host.port });
  assert.match(host.getHostId(), /^[0-9a-f-]{36}$/);
  assert.equal(host.getHostId(), host.hostId);
  assert.ok(host.addresses.length > 0 && host.addresses.every((address) => address.endsWith(`/p2p/${host.peerId}`)));
  assert.ok(host.hasFile(hashes[0]));
  assert.equal(await host.removeFile(hashes[0]), true);
  assert.equal(await host.removeFile(hashes[0]), false);
  assert.equal(host.hasFile(hashes[0]), false);
  assert.equal(host.hasFile('no hash'), false);
  await within(host.stop(), 'the stop');
  await within(host.stop(), 'a second stop');
  assert.equal(host.port, 0);
});

test('addFile says what was shared and maps its readable id', { timeout: DEADLINE }, async (t) => {
  const data = content(1000);
  const file = writeFile(tempDir(t), 'id.bin', data);
  const host = stopAfter(t, api.createHost({ localEnabled: false }));
  const added = event(host, 'file:added');
  const info = await within(host.addFile(file, { contentId: 'my-file' }), 'adding');
  assert.deepEqual(info, { path: file, hash: sha256(data), size: 1000, contentId: 'my-file' });
  assert.equal((await added).hash, info.hash);
  assert.deepEqual(host.getFiles(), [info]);
  assert.equal(host.getHashForContent('my-file'), info.hash);
  assert.equal(host.getContentForHash(info.hash), 'my-file');
  assert.equal(host.getHashForContent('other'), undefined);
  assert.equal(host.getContentForHash(EMPTY_HASH), undefined);
  host.addContentMapping('other', EMPTY_HASH);
  assert.equal(host.getHashForContent('other'), EMPTY_HASH);
  await host.start();
  const target = path.join(tempDir(t), 'by-id');
  const peers = [`127.0.0.1:${host.port}`];
  await within(client(t).downloadByContentId('my-file', { savePath: target, peers }), 'the download by id');
  assert.ok(fs.readFileSync(target).equals(data));
  assert.equal(await within(client(t).getHashForContentId('my-file', { peers }), 'the lookup'), info.hash);
});

test('an empty file is a file, and its progress ends at 1', { timeout: DEADLINE }, async (t) => {
  const { hash, peer } = await hostWith(t, api, 0);
  assert.equal(hash, EMPTY_HASH);
  const target = path.join(tempDir(t), 'empty');
  const fractions = [];
  const onProgress = (fraction) => fractions.push(fraction);
  await within(client(t).downloadFile(hash, target, { peers: [peer], onProgress }), 'the download');
  assert.equal(fs.statSync(target).size, 0);
  assert.ok(fractions.every((fraction) => fraction >= 0 && fraction <= 1), String(fractions));
  assert.equal(fractions.at(-1), 1);
});

test('progress rises to the end in both units', { timeout: DEADLINE }, async (t) => {
  const { data, hash, peer } = await hostWith(t, api, 3 * MIB);
  const directory = tempDir(t);
  const fractions = [];
  const bytes = [];
  await within(
    client(t).downloadFile(hash, path.join(directory, 'a'), {
      peers: [peer],
      downloadLimit: 6 * MIB,
      progressCallback: (...values) => fractions.push(values),
    }),
    'the download by path',
  );
  await within(
    client(t).downloadFile(peer, hash, {
      savePath: path.join(directory, 'b'),
      downloadLimit: 6 * MIB,
      onProgress: (...values) => bytes.push(values),
    }),
    'the download by host',
  );
  assert.ok(fractions.every((values) => values.length === 1));
  assertRising(fractions.map(([fraction]) => fraction), 1);
  assert.ok(bytes.every(([, total]) => total === data.length));
  assertRising(bytes.map(([received]) => received), data.length);
  assert.ok(bytes.length > 2, `${bytes.length} reports in half a second`);
});

function assertRising(values, last) {
  values.forEach((value, index) => assert.ok(index === 0 || value >= values[index - 1], String(values)));
  assert.equal(values.at(-1), last);
}

test('several hosts share the work and each is reported', { timeout: DEADLINE }, async (t) => {
  const hosts = [];
  for (let count = 0; count < 3; count += 1) hosts.push(await hostWith(t, api, 8 * MIB, { uploadLimit: 4 * MIB }));
  const manager = stopAfter(t, api.createNetworkManager({ localEnabled: false }));
  const savePath = path.join(tempDir(t), 'joined');
  const seen = new Map();
  const result = await within(
    manager.downloadFile(hosts.map(({ peer }) => peer), hosts[0].hash, {
      savePath,
      onPeerStatus: (peer, status, bytes) => seen.set(peer, { status, bytes }),
    }),
    'the download',
  );
  assert.ok(fs.readFileSync(savePath).equals(hosts[0].data));
  const stats = Object.entries(result.peerStats).filter(([, { bytesDownloaded }]) => bytesDownloaded > 0);
  assert.ok(stats.length >= 2, JSON.stringify(result.peerStats));
  for (const [peer, { bytesDownloaded }] of stats) assert.equal(seen.get(peer).bytes, bytesDownloaded);
});

test('an AbortSignal cancels and the next attempt resumes', { timeout: DEADLINE }, async (t) => {
  const { data, hash, peer } = await hostWith(t, api, 8 * MIB);
  const target = path.join(tempDir(t), 'resumed');
  const one = client(t);
  const stop = new AbortController();
  const reason = new Error('enough');
  const aborted = one.downloadFile(hash, target, {
    peers: [peer],
    downloadLimit: 2 * MIB,
    signal: stop.signal,
    onProgress: (fraction) => fraction > 0 && stop.abort(reason),
  });
  const error = await rejects(aborted, 'ERR_CANCELLED');
  assert.equal(error.name, 'AbortError');
  assert.equal(error.cause, reason);
  assert.equal(fs.existsSync(target), false);
  assert.deepEqual(one.getActiveDownloads(), []);
  const result = await within(one.downloadFileFromPeers([peer], hash, target), 'the second attempt');
  assert.ok(fs.readFileSync(target).equals(data));
  assert.ok(result.resumedBytes > 0, 'what was fetched is used');
});

test('a signal that is aborted already stops everything', async (t) => {
  const target = path.join(tempDir(t), 'never');
  const signal = AbortSignal.abort();
  await rejects(client(t).downloadFile(EMPTY_HASH, target, { signal }), 'ERR_CANCELLED');
  await rejects(api.calculateSHA256File(__filename, { signal }), 'ERR_CANCELLED');
  await rejects(client(t).downloadFile(EMPTY_HASH, target, { signal: 'no signal' }), 'ERR_INVALID_ARGUMENT');
});

test('cancelDownload cancels by id', { timeout: DEADLINE }, async (t) => {
  const { hash, peer } = await hostWith(t, api, 8 * MIB);
  const one = client(t);
  const savePath = path.join(tempDir(t), 'cancelled');
  const download = one.downloadFile(peer, hash, { savePath, downloadLimit: MIB });
  const [id, ...others] = one.getActiveDownloads();
  assert.deepEqual(others, []);
  assert.ok(id.startsWith(`${peer}-${hash}-`), id);
  assert.equal(one.cancelDownload('no such download'), false);
  assert.equal(one.cancelDownload(id), true);
  await rejects(download, 'ERR_CANCELLED');
  assert.equal(one.cancelDownload(id), false);
});

test('a callback that throws ends the download with what it threw', { timeout: DEADLINE }, async (t) => {
  const { hash, peer } = await hostWith(t, api, MIB);
  const problem = new TypeError('in the callback');
  const heard = [];
  const download = client(t).downloadFile(hash, path.join(tempDir(t), 'x'), {
    peers: [peer],
    onProgress: () => {
      throw problem;
    },
    onError: (error) => heard.push(error),
  });
  assert.equal(await within(download.catch((error) => error), 'the rejection'), problem);
  assert.deepEqual(heard, [problem]);
});

test('without peers a download gives up in time', { timeout: DEADLINE }, async (t) => {
  const savePath = path.join(tempDir(t), 'nothing');
  await rejects(client(t).downloadFile(EMPTY_HASH, savePath, { timeout: 200 }), 'ERR_NO_PEERS');
  await rejects(api.downloadFile({ fileHash: EMPTY_HASH, savePath, options: { timeout: 200, localEnabled: false } }), 'ERR_NO_PEERS');
  await rejects(client(t).getFileInfo(EMPTY_HASH, { timeout: 200 }), 'ERR_NO_PEERS');
  assert.deepEqual(await within(client(t).findPeers(EMPTY_HASH, { timeout: 100 }), 'the search'), []);
  assert.equal(fs.existsSync(savePath), false);
});

test('a host that lacks the hash is told apart from no host', { timeout: DEADLINE }, async (t) => {
  const { peer } = await hostWith(t, api, 100);
  const wrong = sha256('something else');
  const target = path.join(tempDir(t), 'wrong');
  const options = { peers: [peer], timeout: 500, discover: false };
  await rejects(client(t).downloadFile(wrong, target, options), 'ERR_CONTENT_NOT_FOUND');
  await rejects(client(t).getFileInfo(wrong, options), 'ERR_CONTENT_NOT_FOUND');
});

test('getFileInfo asks without downloading', { timeout: DEADLINE }, async (t) => {
  const { hash, peer, data } = await hostWith(t, api, 200000);
  const info = await within(client(t).getFileInfo(hash, { peers: [peer] }), 'the question');
  assert.equal(info.hash, hash);
  assert.equal(info.size, data.length);
  assert.equal(info.name, 'shared.bin');
  assert.equal(info.totalChunks, Math.ceil(data.length / info.chunkSize));
});

test('peers added by hand are found', { timeout: DEADLINE }, async (t) => {
  const { hash, peer, data, host } = await hostWith(t, api, 1000);
  const one = client(t);
  one.addPeer({ host: '127.0.0.1', port: host.port });
  const found = await within(one.findPeers(hash, 1, 5000), 'the search');
  assert.equal(found.length, 1);
  assert.deepEqual([found[0].address, found[0].port], ['127.0.0.1', host.port]);
  const target = path.join(tempDir(t), 'found');
  assert.equal(await within(one.downloadFile(hash, target), `a download from ${peer}`), target);
  assert.ok(fs.readFileSync(target).equals(data));
  const again = path.join(tempDir(t), 'again');
  await within(one.downloadFileFromPeers(found, hash, again), 'a download from found peers');
  assert.ok(fs.readFileSync(again).equals(data));
});

test('peers on the local network find each other', { timeout: DEADLINE }, async (t) => {
  const { hash, host, data } = await hostWith(t, api, 1000, { localEnabled: true });
  const one = client(t, { localEnabled: true });
  const discovered = event(one, 'peer:discovered');
  const found = await within(one.findPeers(hash, { maxPeers: 1, timeout: DEADLINE / 2 }), 'the search');
  assert.deepEqual(found.map(({ id, port, source }) => [id, port, source]), [[host.peerId, host.port, 'local']]);
  assert.equal((await discovered).key, hash);
  const target = path.join(tempDir(t), 'unnamed');
  await within(client(t, { localEnabled: true }).downloadFile(hash, target), 'a download from nobody in particular');
  assert.ok(fs.readFileSync(target).equals(data));
});

test('a host that appears during a download helps, unless the search is off', { timeout: DEADLINE }, async (t) => {
  const helped = async (enabled, size) => {
    const slow = await hostWith(t, api, size, { uploadLimit: 2 * MIB });
    const late = stopAfter(t, api.createHost());
    await within(late.addFile(slow.file.path), 'adding a file');
    const manager = stopAfter(t, api.createNetworkManager());
    manager.setEnableContinuousDiscovery(enabled);
    let appeared;
    const result = await within(
      manager.downloadFile([slow.peer], slow.hash, {
        savePath: path.join(tempDir(t), 'joined'),
        // At this rate 5 MiB take longer than the 2 s for which every download searches.
        onProgress: (received) => {
          if (received > 5 * MIB) appeared = appeared || late.start();
        },
      }),
      'the download',
    );
    await appeared;
    assert.ok(late.peerId, 'the late host was started');
    return (result.peerStats[late.peerId]?.bytesDownloaded ?? 0) > 0;
  };
  // Two files, so that the late host of one is none for the other.
  assert.deepEqual(await Promise.all([helped(true, 16 * MIB), helped(false, 16 * MIB + 1)]), [true, false]);
});

test('hostFileCallback serves what no file answers', { timeout: DEADLINE }, async (t) => {
  const data = content(200001);
  const hash = sha256(data);
  const asked = [];
  const hostFileCallback = async (contentId, startChunk, chunkSize, sha) => {
    asked.push({ contentId, startChunk, chunkSize, sha });
    if (contentId === 'broken') throw new Error('the shelf is empty');
    if (contentId !== hash && contentId !== 'generated') return null;
    const start = startChunk * chunkSize;
    return start >= data.length ? null : [data.subarray(start, start + chunkSize)];
  };
  const host = stopAfter(t, api.createHost({ localEnabled: false, hostFileCallback, chunkSize: 16384 }));
  await within(host.start(), 'the start');
  const peers = [`127.0.0.1:${host.port}`];
  const target = path.join(tempDir(t), 'generated');
  await within(client(t).downloadFile(hash, target, { peers }), 'the download by hash');
  assert.ok(fs.readFileSync(target).equals(data));
  assert.deepEqual(asked[0], { contentId: hash, startChunk: 0, chunkSize: 16384, sha: hash });
  const byId = path.join(tempDir(t), 'by-id');
  await within(client(t).downloadByContentId('generated', { peers, savePath: byId }), 'the download by id');
  assert.ok(fs.readFileSync(byId).equals(data));
  const options = { peers, timeout: 5000, discover: false };
  await rejects(client(t).downloadFile('unknown', target, options), 'ERR_CONTENT_NOT_FOUND');
  const warned = event(host, 'warning');
  await rejects(client(t).downloadFile('broken', target, options), 'ERR_CONTENT_NOT_FOUND');
  assert.match((await warned).error.message, /the shelf is empty/);
});
