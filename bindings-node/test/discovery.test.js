'use strict';
// Finding and announcing without hosting: the manager, the classes of single ways, the free functions, and the spellings
// of their options. Only the local network takes part; what other ways find is the engine's business.

const assert = require('node:assert/strict');
const fs = require('node:fs');
const path = require('node:path');
const test = require('node:test');

const { DEADLINE, EMPTY_HASH, event, hostWith, rejects, sha256, stopAfter, tempDir, within, writeFile } = require('./support');
const api = require('..');
const { gunInstance, networkJson, nodeJson } = require('../lib/network-options');

const LOCAL = { dhtEnabled: false, pexEnabled: false, gunEnabled: false };
const PEER_ID = '12D3KooWHHzSeKaY8xuZVzkLbKFfvNgPPeKhFBGrMbNzbm5akpqu';
const FIND = { maxPeers: 1, timeout: DEADLINE };

function hashOf(name) {
  return sha256(name);
}

test('a host is announced by its port and found', { timeout: 2 * DEADLINE }, async (t) => {
  const { hash, host, file } = await hostWith(t, api, 1000, { ...LOCAL, localEnabled: true });
  const seeker = stopAfter(t, new api.PeerDiscoveryManager(LOCAL));
  const manager = stopAfter(t, await within(api.announceFile('an id of it', hash, host.port, LOCAL), 'announcing'));
  assert.ok(manager instanceof api.PeerDiscoveryManager && manager.port > 0 && manager.addresses.length > 0);
  assert.equal(manager.getHashForContent('an id of it'), hash);
  assert.equal(manager.getContentForHash(hash), 'an id of it');
  const [peer] = await within(seeker.findPeers(hash, FIND), 'the search');
  assert.equal(peer.id, host.peerId);
  assert.deepEqual([peer.source, peer.infoHash, peer.infoHashes], ['local', hash, [hash]]);
  const [byId] = await within(api.findPeers('an id of it', 0, { ...LOCAL, ...FIND }), 'the search by id');
  assert.equal(byId.id, host.peerId);
  // The hash of a file that is named, with the shorter form.
  const again = stopAfter(t, await within(api.announceFile(file.path, host.port, LOCAL), 'announcing a path'));
  assert.ok(await within(again.removeInfoHash(hash).then(() => true), 'taking it back'));
});

test('a mapped id is searched for by its hash, whoever searches', { timeout: 2 * DEADLINE }, async (t) => {
  const key = hashOf('mapped');
  const holder = stopAfter(t, new api.LocalDiscovery());
  await within(holder.announce(key), 'announcing');
  const manager = stopAfter(t, new api.PeerDiscoveryManager(LOCAL));
  for (const node of [new api.NetworkManager(LOCAL), new api.FileClient(LOCAL), manager]) {
    stopAfter(t, node);
    await node.addContentMapping('a readable id', key);
    const [peer] = await within(node.findPeers('a readable id', FIND), 'the search');
    assert.equal(peer && peer.id, holder.peerId, node.constructor.name);
  }
  assert.deepEqual(manager.getPeersForInfoHash('a readable id').map(({ id }) => id), [holder.peerId]);
  const seeker = stopAfter(t, new api.PeerDiscoveryManager(LOCAL));
  seeker.addContentMapping('a readable id', key);
  await seeker.addInfoHash('a readable id');
  const found = event(seeker, 'peer:discovered');
  await within(seeker.start(), 'the start');
  assert.deepEqual([(await found).id, (await found).infoHash], [holder.peerId, key]);
  await within(seeker.removeInfoHash('a readable id'), 'its end');
});

test('a network manager tells whom it finds, with the content', { timeout: 2 * DEADLINE }, async (t) => {
  const key = hashOf('told');
  const holder = stopAfter(t, new api.LocalDiscovery());
  await within(holder.announce(key), 'announcing');
  const manager = stopAfter(t, new api.NetworkManager(LOCAL));
  const told = event(manager, 'peer:discovered');
  await within(manager.findPeers(key, FIND), 'the search');
  const { id, address, port, source, infoHash, infoHashes } = await told;
  assert.deepEqual([id, port, source, infoHash, infoHashes], [holder.peerId, holder.port, 'local', key, [key]]);
  assert.equal(typeof address, 'string');
});

test('the port to announce is that of the options or of the start', { timeout: 2 * DEADLINE }, async (t) => {
  const { host } = await hostWith(t, api, 1, { ...LOCAL, localEnabled: true });
  const [given, started] = [hashOf('announcePort'), hashOf('start')];
  const one = stopAfter(t, new api.PeerDiscoveryManager({ ...LOCAL, announcePort: host.port }));
  await within(one.addInfoHash(given), 'announcing');
  const other = stopAfter(t, new api.PeerDiscoveryManager(LOCAL));
  await within(other.start(host.port), 'the start');
  await within(other.addInfoHash(started), 'announcing');
  for (const key of [given, started]) {
    const [peer] = await within(api.findPeers(key, 0, { ...LOCAL, ...FIND }), 'the search');
    assert.equal(peer && peer.id, host.peerId);
  }
});

test('announceFile keeps its state, and nothing is kept against the switch', { timeout: 2 * DEADLINE }, async (t) => {
  const persistenceDir = tempDir(t);
  const options = {
    nodeType: api.NODE_TYPE.STANDARD, enableDHT: false, enablePEX: false, gunEnabled: false, enableLocal: true,
    persistenceDir, priority: api.AnnouncePriority.HIGH,
  };
  const ids = [];
  for (const enablePersistence of [true, true, false]) {
    const manager = await within(api.announceFile(hashOf('kept'), 0, { ...options, enablePersistence }), 'announcing');
    ids.push(manager.peerId);
    await within(manager.stop(), 'the stop');
  }
  assert.equal(ids[0], ids[1], 'the identity is kept');
  assert.notEqual(ids[0], ids[2]);
  const off = path.join(tempDir(t), 'off');
  const gun = stopAfter(t, api.createGunDiscovery({ gun: { get() {}, put() {} }, persistenceEnabled: false, persistenceDir: off }));
  await within(gun.start(), 'the start');
  assert.ok(!fs.existsSync(off));
});

test('hashes are kept with the other state unless that is switched off', { timeout: 2 * DEADLINE }, async (t) => {
  for (const watchPersistHashes of [true, false]) {
    const [persistenceDir, directory] = [tempDir(t), tempDir(t)];
    writeFile(directory, 'a.bin', 'content');
    const options = { ...LOCAL, localEnabled: false, directory, persistenceDir, watchPersistHashes };
    const host = stopAfter(t, api.createHost(options));
    await within(host.start(), 'the start');
    assert.equal(host.getAnnouncedFiles().size, 1);
    await within(host.stop(), 'the stop');
    const kept = fs.readdirSync(persistenceDir).filter((name) => name.includes('hash'));
    assert.equal(kept.length > 0, watchPersistHashes, kept.join());
  }
});

test('so many peers are remembered as the options say', { timeout: DEADLINE }, async (t) => {
  const key = hashOf('many');
  const remembers = async (options) => {
    const manager = stopAfter(t, new api.PeerDiscoveryManager({ ...LOCAL, localEnabled: false, ...options }));
    await within(manager.start(), 'the start');
    for (let port = 1; port <= 30; port += 1) manager.addManualPeer('', '127.0.0.1', port, key);
    return manager.getPeersForInfoHash(key).length;
  };
  assert.equal(await remembers({}), 30);
  assert.equal(await remembers({ maxPeers: 7 }), 7);
  assert.equal(await remembers({ options: { maxPeers: 6 } }), 6);
  assert.equal(await remembers({ dhtOptions: { maxCachedPeersPerHash: 5 } }), 5);
  assert.throws(() => new api.PeerDiscoveryManager({ maxPeers: 1e6 }), { message: /^maxKnownPeers/ });
});

test('a misspelt option is refused by name', { timeout: DEADLINE }, async (t) => {
  const classes = [api.FileHost, api.FileClient, api.NetworkManager, api.PeerDiscoveryManager, api.DHTClient,
    api.LocalDiscovery, api.GunDiscovery, api.PexManager];
  const refused = (name) => ({ code: 'ERR_INVALID_ARGUMENT', message: new RegExp(`^${name}: no such option`) });
  for (const Class of classes) {
    assert.throws(() => new Class({ shardPrefix: ['00'] }), refused('shardPrefix'), Class.name);
    assert.throws(() => new Class({ options: { enableUPNP: true } }), refused('enableUPNP'), Class.name);
    assert.throws(() => new Class({ dhtOptions: { shardPrefix: ['00'] } }), refused('dhtOptions.shardPrefix'), Class.name);
    assert.throws(() => new Class({ onDiscovered() {} }), refused('onDiscovered'), Class.name);
    // Gun has options of its own.
    new Class({ gunOptions: { radisk: false, axe: false, localStorage: true } });
  }
  const manager = stopAfter(t, new api.PeerDiscoveryManager({ ...LOCAL, localEnabled: false }));
  await assert.rejects(manager.announce(EMPTY_HASH, { lifetime: 5, tll: 1000 }), refused('tll'));
  await assert.rejects(manager.findPeers(EMPTY_HASH, { maxPeer: 5 }), refused('maxPeer'));
  await assert.rejects(api.findPeers(EMPTY_HASH, 0, { ...LOCAL, timeOut: 5 }), refused('timeOut'));
  await assert.rejects(api.announceFile(EMPTY_HASH, 0, { ...LOCAL, prio: 'low' }), refused('prio'));
});

test('Gun without a relay and without a database is said to find nobody', { timeout: 2 * DEADLINE }, async (t) => {
  const discovery = stopAfter(t, api.createGunDiscovery({ nodeId: 'alone', localOnly: true }));
  const warned = event(discovery, 'warning');
  await within(discovery.start(), 'the start');
  assert.match((await warned).error.message, /^gunPeers: /);
});

test('a port where nothing of this process listens is left out with a warning', { timeout: 2 * DEADLINE }, async (t) => {
  const manager = stopAfter(t, new api.PeerDiscoveryManager(LOCAL));
  const warned = event(manager, 'warning');
  await within(manager.announce(hashOf('foreign'), { port: 1 }), 'announcing');
  assert.match((await warned).error.message, /port 1/);
  const [peer] = await within(api.findPeers(hashOf('foreign'), 0, { ...LOCAL, ...FIND }), 'the search');
  assert.equal(peer.id, manager.peerId);
  await rejects(manager.announce(hashOf('foreign'), { port: 1, priority: 'urgent' }), 'ERR_INVALID_ARGUMENT');
  await rejects(manager.announce(hashOf('foreign'), { port: 70000 }), 'ERR_INVALID_ARGUMENT');
  await rejects(manager.announce(''), 'ERR_INVALID_ARGUMENT');
  // Nobody hears of these, and nothing is reported as unhandled.
  manager.announce('');
  manager.addInfoHash('');
  manager.removeInfoHash(5);
});

test('a search in the background tells what it finds', { timeout: 2 * DEADLINE }, async (t) => {
  const key = hashOf('watched');
  const seeker = stopAfter(t, new api.PeerDiscoveryManager(LOCAL));
  await seeker.addInfoHash(key, api.AnnouncePriority.HIGH);
  await rejects(seeker.addInfoHash(key, 'urgent'), 'ERR_INVALID_ARGUMENT');
  const found = within(new Promise((resolve) => seeker.once('peer:discovered', (...values) => resolve(values))), 'a find');
  const alias = event(seeker, 'peer-discovered');
  const part = event(seeker.getLocalDiscovery(), 'peer:discovered');
  await within(seeker.start(), 'the start');
  const local = stopAfter(t, new api.LocalDiscovery());
  await within(local.announce(key), 'announcing');
  const [peer, infoHash] = await found;
  assert.deepEqual([peer.id, peer.source, peer.infoHashes, infoHash], [local.peerId, 'local', [key], key]);
  assert.equal((await alias).id, peer.id);
  assert.equal((await part).id, peer.id);
  assert.equal(seeker.getPeersBySource('local').length, 1);
  assert.equal(seeker.getPeersBySource('tracker').length, 0);
  await within(seeker.removeInfoHash(key), 'its end');
});

test('peers that the program names are known, and left out again', { timeout: DEADLINE }, async (t) => {
  const key = hashOf('named');
  const manager = stopAfter(t, await within(api.addManualPeer('a name', '127.0.0.1', 9, { infoHash: key }), 'a manager'));
  assert.deepEqual(manager.addManualPeer('', '::1', 9), {
    id: '[::1]:9', address: '::1', port: 9, addresses: ['[::1]:9'], source: 'manual', confidence: 1,
  });
  const [peer] = manager.getPeersForInfoHash(key);
  assert.deepEqual([peer.address, peer.port, peer.source, peer.infoHash], ['127.0.0.1', 9, 'manual', key]);
  assert.equal(manager.getPeersBySource(api.PEER_SOURCES.MANUAL).length, 2);
  manager.addConnectedPeer({ address: '127.0.0.1', port: 10, infoHash: key });
  // Those for this content, and the one for all.
  const names = () => manager.getPeersForInfoHash(key).map(({ id }) => id).sort();
  assert.deepEqual(names(), ['127.0.0.1:10', '127.0.0.1:9', '[::1]:9']);
  manager.removeConnectedPeer({ address: '127.0.0.1', port: 10, infoHash: key });
  assert.deepEqual(names(), ['127.0.0.1:9', '[::1]:9']);
  manager.addConnectedPeer({ address: '127.0.0.1', port: 10, infoHash: key });
  const found = await within(manager.findPeers(key, 5, 300), 'the search');
  assert.deepEqual(found.map(({ id }) => id).sort(), ['127.0.0.1:10', '127.0.0.1:9', '[::1]:9']);
  assert.throws(() => manager.addManualPeer('x', '127.0.0.1', 0), { code: 'ERR_INVALID_ARGUMENT' });
  await rejects(api.addManualPeer('x', '', 9), 'ERR_INVALID_ARGUMENT');
});

test('a peer that the program names by its id must be that peer', { timeout: 2 * DEADLINE }, async (t) => {
  const { host, hash, data } = await hostWith(t, api, 1000, { ...LOCAL, localEnabled: false });
  const downloads = async (peerId) => {
    const client = stopAfter(t, api.createFileClient({ ...LOCAL, localEnabled: false }));
    const manager = client.getDiscoveryManager();
    await within(manager.start(), 'the start');
    manager.addManualPeer(peerId, '127.0.0.1', host.port, hash);
    assert.deepEqual(manager.getPeersForInfoHash(hash).map(({ id, port }) => [id, port]), [[peerId, host.port]]);
    const target = path.join(tempDir(t), 'downloaded');
    await within(client.downloadFile(hash, target, { timeout: 2000 }), 'a download');
    assert.equal(sha256(fs.readFileSync(target)), sha256(data));
  };
  await downloads(host.peerId);
  await rejects(downloads(PEER_ID), 'ERR_NO_PEERS', 'ERR_PEER_UNREACHABLE');
});

test('what the program does is told under the names of later versions', { timeout: DEADLINE }, async (t) => {
  const key = hashOf('events');
  const manager = stopAfter(t, new api.PeerDiscoveryManager(LOCAL));
  const heard = [];
  for (const name of ['peer-added', 'peer-removed', 'peers-found', 'content:announced', 'content:removed']) {
    manager.on(name, (...values) => heard.push([name, ...values]));
  }
  const peer = manager.addManualPeer('', '127.0.0.1', 9, key);
  assert.deepEqual(heard.splice(0), [['peer-added', peer, key]]);
  const other = { address: '127.0.0.1', port: 10, infoHash: key };
  manager.addConnectedPeer(other);
  manager.removeConnectedPeer(other);
  assert.deepEqual(heard.splice(0), [['peer-added', other, key], ['peer-removed', '127.0.0.1:10', key]]);
  const found = await within(manager.findPeers(key, { maxPeers: 1, timeout: 300 }), 'the search');
  assert.deepEqual(heard.splice(0), [['peers-found', key, found]]);
  await within(manager.announce(key), 'announcing');
  await within(manager.removeInfoHash(key), 'taking it back');
  await within(manager.removeInfoHash(key), 'nothing to take back');
  assert.deepEqual(heard, [['content:announced', key], ['content:removed', key]]);
});

test('single ways are managers with the others switched off', { timeout: 2 * DEADLINE }, async (t) => {
  const { host } = await hostWith(t, api, 1, { ...LOCAL, localEnabled: true });
  const gun = { get() {}, put() {} };
  const ways = [
    new api.DHTClient({ bootstrapNodes: [{ address: '127.0.0.1', port: 9 }], dhtOptions: { shardPrefixes: ['00'] } }),
    api.createDHTClient(),
    api.createPEXManager({ port: host.port }),
    // The port is the one to announce: the host has it.
    new api.LocalDiscovery({ port: host.port, announceName: 'name' }),
    api.createGunDiscovery({ gun, nodeId: 'me', announceInterval: 60000, peerTTL: 3600000 }),
  ];
  for (const way of ways) {
    stopAfter(t, way);
    assert.ok(!(way instanceof api.PeerDiscoveryManager));
    await within(way.start(), `the start of a ${way.constructor.name}`);
    assert.ok(way.port > 0 && way.port !== host.port);
    way.addContentMapping('x', EMPTY_HASH);
    assert.equal(way.getHashForContent('x'), EMPTY_HASH);
  }
  const [dht, , pex, local, discovery] = ways;
  assert.equal(discovery.gun, gun);
  await discovery.mapContentIdToHash('y', EMPTY_HASH);
  assert.equal(await discovery.findHashByContentId('y'), EMPTY_HASH);
  assert.equal(await within(discovery.findHashByContentId('z', { timeout: 200 }), 'the question'), undefined);
  await rejects(discovery.findHashByContentId('z', { timeout: 0 }), 'ERR_INVALID_ARGUMENT');
  discovery.announce(EMPTY_HASH, 'a peer id');
  await within(discovery.announce(EMPTY_HASH, { ttl: 1000 }), 'announcing');
  await within(discovery.addInfoHash(EMPTY_HASH, true), 'a search');
  assert.equal(await within(discovery.unannounce(EMPTY_HASH), 'taking it back'), true);
  assert.equal(await within(discovery.unannounce(EMPTY_HASH), 'taking it back'), false);
  await within(local.announce(hashOf('of the host')), 'announcing by the port of its options');
  const [peer] = await within(api.findPeers(hashOf('of the host'), 0, { ...LOCAL, ...FIND }), 'the search');
  assert.equal(peer.id, host.peerId);
  dht.removePeer('somebody', EMPTY_HASH);
  pex.addConnection({ remoteAddress: '127.0.0.1', remotePort: host.port, address() {} }, EMPTY_HASH);
  const connected = await within(pex.findPeers(EMPTY_HASH, { maxPeers: 5, timeout: 300 }), 'the search');
  assert.deepEqual(connected.map(({ port }) => port), [host.port]);
  for (const way of ways) {
    await within(way.stop(), 'a stop');
    await within(way.start(), 'another start');
    assert.ok(way.port > 0);
  }
});

test('a readable id leads to the hash that its host has', { timeout: DEADLINE }, async (t) => {
  const { host, hash } = await hostWith(t, api, 10, { ...LOCAL, localEnabled: true });
  const named = await within(host.addFile(writeFile(tempDir(t), 'named', 'x'), { contentId: 'an id' }), 'adding a file');
  assert.notEqual(named.hash, hash);
  assert.deepEqual(host.getShardPrefixes(), []);
  const seeker = stopAfter(t, new api.LocalDiscovery());
  assert.equal(await within(seeker.findHashByContentId('an id', { timeout: DEADLINE }), 'the answer'), named.hash);
});

test('a shard host says which part it keeps', { timeout: DEADLINE }, async (t) => {
  const options = { isShardHost: true, dhtOptions: { shardPrefixes: ['00', '0a'] }, localEnabled: false };
  for (const node of [api.createHost(options), api.createDHTClient(options), new api.PeerDiscoveryManager(options)]) {
    stopAfter(t, node);
    await within(node.start(), 'the start');
    assert.deepEqual(node.getShardPrefixes(), ['00', '0a'], node.constructor.name);
  }
});

test('a client has its discovery', { timeout: DEADLINE }, async (t) => {
  const { host, hash } = await hostWith(t, api, 10, { ...LOCAL, localEnabled: true });
  const client = stopAfter(t, api.createFileClient(LOCAL));
  const manager = client.getDiscoveryManager();
  assert.equal(client.getDiscoveryManager(), manager);
  assert.ok(manager instanceof api.PeerDiscoveryManager && manager.getDHTClient() instanceof api.DHTClient);
  const found = event(manager, 'peer:discovered');
  const local = event(manager.getLocalDiscovery(), 'peer:discovered');
  await manager.addInfoHash(hash);
  await within(manager.start(), 'the start');
  assert.ok(client.port > 0 && manager.port === client.port && manager.peerId === client.peerId);
  assert.deepEqual([(await found).id, (await local).id], [host.peerId, host.peerId]);
  await within(manager.stop(), 'the stop');
  assert.equal(client.port, 0);
});

test('the parts of a manager are it', { timeout: DEADLINE }, async (t) => {
  const manager = stopAfter(t, new api.PeerDiscoveryManager(LOCAL));
  const parts = [manager.getDHTClient(), manager.getPEXManager(), manager.getGunDiscovery(), manager.getLocalDiscovery()];
  const classes = [api.DHTClient, api.PexManager, api.GunDiscovery, api.LocalDiscovery];
  parts.forEach((part, index) => assert.ok(part instanceof classes[index]));
  assert.equal(manager.getDHTClient(), parts[0]);
  await within(parts[0].start(), 'the start of a part');
  assert.ok(manager.port > 0 && parts.every((part) => part.port === manager.port));
  manager.addContentMapping('x', EMPTY_HASH);
  assert.equal(parts[2].getHashForContent('x'), EMPTY_HASH);
  manager.addManualPeer('', '127.0.0.1', 9, EMPTY_HASH);
  assert.deepEqual(await within(parts[0].findPeers(EMPTY_HASH, 5, 300), 'a search'), [], 'no find of the hash table');
  parts[3].stop();
  await within(manager.stop(), 'the stop');
  assert.equal(manager.port, 0);
});

test('messages of peer exchange go from table to table', { timeout: DEADLINE }, async (t) => {
  const [one, other] = [api.createPEXManager({ maxPeers: 3 }), api.createPEXManager()].map((pex) => stopAfter(t, pex));
  const { ADD_PEERS, REMOVE_PEERS } = api.PexMessageType;
  const added = within(new Promise((resolve) => one.once('peer-added', (...values) => resolve(values))), 'an addition');
  one.addPeer(PEER_ID, EMPTY_HASH);
  assert.deepEqual(await added, [{ id: PEER_ID, infoHash: EMPTY_HASH }, EMPTY_HASH]);
  const known = { id: 'b', address: '10.0.0.1', port: 7, infoHashes: [EMPTY_HASH] };
  assert.ok(one.addDiscoveredPeer(known) && !one.addDiscoveredPeer(known));
  assert.ok(one.updatePeerFlags('b', { isReachable: true }) && !one.updatePeerFlags('z', {}));
  assert.ok(one.addDiscoveredPeer({ id: 'c' }) && !one.addDiscoveredPeer({ id: 'd' }), 'no place for a fourth');
  assert.equal(one.createPexMessage(ADD_PEERS, 1).peers.length, 1);
  const told = within(new Promise((resolve) => other.on('peer:discovered', (peer) => peer.id === 'b' && resolve(peer))), 'b');
  other.handlePexMessage(JSON.parse(JSON.stringify(one.createPexMessage(ADD_PEERS))));
  assert.deepEqual([(await told).source, (await told).confidence], ['pex', 0.7]);
  const [found] = other.findPeersWithCapabilities(EMPTY_HASH, { isReachable: true });
  assert.deepEqual([found.id, found.port, found.infoHashes], ['b', 7, [EMPTY_HASH]]);
  assert.deepEqual(other.findPeersWithCapabilities(EMPTY_HASH, { canUseUTP: true }), []);
  // Only peers with an address can be found; the engine is not made to dial what a message says.
  const search = await within(other.findPeers(EMPTY_HASH, { maxPeers: 5, timeout: 300 }), 'the search');
  assert.deepEqual(search.map(({ id }) => id), ['b']);
  one.addPeer('b', hashOf('else'));
  one.removePeer('b', hashOf('else'));
  assert.deepEqual(one.createPexMessage(REMOVE_PEERS).peers, [], 'it is left for another content');
  one.removePeer('b', EMPTY_HASH);
  other.handlePexMessage(one.createPexMessage(REMOVE_PEERS));
  assert.deepEqual(other.findPeersWithCapabilities(EMPTY_HASH).map(({ id }) => id), [PEER_ID]);
  other.setLocalPeerFlags({ preferEncryption: true });
  assert.deepEqual([other.getPeerFlags(), other.getPeerFlags('nobody')], [{ preferEncryption: true }, undefined]);
  assert.throws(() => other.handlePexMessage({ type: 'gossip', peers: [] }), { code: 'ERR_INVALID_ARGUMENT' });
  assert.throws(() => other.createPexMessage('gossip'), { code: 'ERR_INVALID_ARGUMENT' });
});

test('nested options and every way to name Gun become the options of the engine', () => {
  const flat = (options) => JSON.parse(networkJson(options));
  const nested = flat({
    dhtOptions: { bootstrapNodes: [{ address: '10.0.0.1', port: 7 }, 'node.example:8'], shardPrefixes: ['00'], udpPort: 1 },
    gunOptions: { peers: ['http://a/gun'], file: 'x' },
    localOptions: { interfaces: ['lo'], port: 5 },
    pexOptions: { maxPeers: 5 },
  });
  assert.deepEqual(nested.bootstrapNodes, ['10.0.0.1:7', 'node.example:8']);
  assert.deepEqual([nested.shardPrefixes, nested.gunPeers, nested.interfaces], [['00'], ['http://a/gun'], ['lo']]);
  assert.deepEqual([nested.port, nested.maxPeers], [undefined, undefined]);
  assert.deepEqual(flat({ shardPrefixes: ['01'], dhtOptions: { shardPrefixes: ['00'] } }).shardPrefixes, ['01']);
  assert.deepEqual(flat({ options: { dhtOptions: { shardPrefixes: ['00'] } } }).options.shardPrefixes, ['00']);
  for (const named of [
    { gun: ['http://a/gun'] },
    { gun: 'http://a/gun' },
    { gun: new URL('http://a/gun') },
    { signaling: { peers: ['http://a/gun'] } },
    { gunInstance: { peers: { 'http://a/gun': {} } } },
    { gunOptions: { gun: ['http://a/gun'] } },
    { gunOptions: { instance: 'http://a/gun' } },
    { gunPeers: ['http://a/gun'], gun: ['http://b/gun'] },
  ]) {
    assert.deepEqual(flat(named).gunPeers, ['http://a/gun'], JSON.stringify(named));
    assert.equal(gunInstance(named), undefined);
  }
  const turn = { turnServer: 'turn:turn.example', turnUsername: 'me', turnPassword: 'secret' };
  const server = { urls: 'turn:turn.example', username: 'me', credential: 'secret' };
  assert.deepEqual(flat(turn).turnServers, [server]);
  assert.deepEqual(flat({ options: turn }).options.turnServers, [server]);
  assert.deepEqual(flat({ ...turn, turnServers: [{ urls: 'turn:b' }] }).turnServers, [server, { urls: 'turn:b' }]);
  const ice = { gunOptions: { rtc: { iceServers: [{ urls: 'stun:a:3478' }, server, { urls: ['stun:b'] }] } } };
  assert.deepEqual([flat(ice).turnServers, flat(ice).stunServers], [[server], ['stun:a:3478', 'stun:b']]);
  assert.deepEqual(flat({ ...ice, stunServers: ['c'] }).stunServers, ['c']);
  const live = { get() {}, put() {}, peers: ['http://a/gun'] };
  for (const named of [{ gun: live }, { gunOptions: { gun: live } }, { options: { gunInstance: live } }]) {
    assert.equal(gunInstance(named), live);
    assert.equal(flat(named).gunPeers, undefined);
  }
  assert.equal(JSON.parse(nodeJson({ nodeType: 'light' })).lightNode, true);
  for (const Class of [api.FileHost, api.FileClient, api.NetworkManager, api.PeerDiscoveryManager]) {
    new Class({ dhtOptions: { bootstrapNodes: [{ address: '10.0.0.1', port: 7 }] }, gun: live, nodeType: 'super' });
    const wrong = { code: 'ERR_INVALID_ARGUMENT', message: /^bootstrapNodes\[0\]/ };
    assert.throws(() => new Class({ dhtOptions: { bootstrapNodes: [{ address: '10.0.0.1' }] } }), wrong);
  }
});

test('a TURN server in the old spelling is used', { timeout: DEADLINE }, async (t) => {
  const manager = stopAfter(t, new api.NetworkManager({ ...LOCAL, turnServer: 'turn:', turnUsername: 'me', turnPassword: 'x' }));
  const error = await rejects(manager.start(), 'ERR_INVALID_ARGUMENT');
  assert.match(error.message, /^turnServers: .*the host is missing/);
});

test('discovery refuses what it cannot use', { timeout: DEADLINE }, async (t) => {
  assert.throws(() => new api.PeerDiscoveryManager({ nodeType: 'huge' }), { message: /^nodeType/ });
  assert.throws(() => new api.PeerDiscoveryManager('x'), { code: 'ERR_INVALID_ARGUMENT' });
  assert.throws(() => new api.LocalDiscovery({ port: 70000 }), { message: /^announcePort/ });
  assert.throws(() => api.createPEXManager({ maxPeers: 0 }), { message: /^maxPeers/ });
  await rejects(api.findPeers(''), 'ERR_INVALID_ARGUMENT');
  await rejects(api.announceFile('', 1), 'ERR_INVALID_ARGUMENT');
  await rejects(api.announceFile(path.join(tempDir(t), 'none'), 70000, LOCAL), 'ERR_INVALID_ARGUMENT');
  const file = writeFile(tempDir(t), 'empty', '');
  const manager = stopAfter(t, await within(api.announceFile(file, 0, { ...LOCAL, priority: 'low' }), 'announcing'));
  await rejects(manager.findPeers(EMPTY_HASH, 0), 'ERR_INVALID_ARGUMENT');
  assert.deepEqual(manager.getPeersForInfoHash(EMPTY_HASH), []);
});

test('the nodes of the hash table near a place are found', { timeout: 2 * DEADLINE }, async (t) => {
  const first = stopAfter(t, api.createDHTClient());
  await within(first.start(), 'the start');
  const other = stopAfter(t, api.createDHTClient({ bootstrapNodes: [`127.0.0.1:${first.port}`] }));
  for (const target of [first.peerId, hashOf('a place'), 'a readable id']) {
    const near = await within(other.findNode(target, { timeout: DEADLINE }), 'nodes');
    assert.deepEqual(near.map((node) => [node.id, node.port, node.source]), [[first.peerId, first.port, 'dht']]);
  }
  await rejects(other.findNode(''), 'ERR_INVALID_ARGUMENT');
  await rejects(other.findNode('a', -1), 'ERR_INVALID_ARGUMENT');
  const without = stopAfter(t, new api.PeerDiscoveryManager({ ...LOCAL, localEnabled: false }));
  await rejects(without.getDHTClient().findNode('a'), 'ERR_INVALID_STATE');
});

test('how widely a file is announced is said when it is added', { timeout: 2 * DEADLINE }, async (t) => {
  const directory = tempDir(t);
  const host = stopAfter(t, api.createHost({ ...LOCAL, watchDir: directory, watchAnnouncePriority: 'low' }));
  const file = writeFile(directory, 'a.bin', 'content');
  await within(host.start(), 'the start');
  const found = await within(api.findPeers(hashOf('content'), 0, { ...LOCAL, ...FIND }), 'the search');
  assert.equal(found[0].id, host.peerId, 'the local network hears of every priority');
  await rejects(host.addFile(file, { announceLevel: 'urgent' }), 'ERR_INVALID_ARGUMENT');
  assert.throws(() => api.createHost({ watchAnnouncePriority: 'urgent' }), { code: 'ERR_INVALID_ARGUMENT' });
});
