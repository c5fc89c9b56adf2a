'use strict';
// A program's own Gun database: a host announces through it, a client finds and downloads, and the program's own use of it
// goes on. Gun is the package from npm, its relay the stock one, in a process of its own. Not here: relays by address.

const assert = require('node:assert/strict');
const { spawn } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');
const test = require('node:test');

const { database, relay } = require('./gun');
const { DEADLINE, content, event, hostWith, sha256, stopAfter, tempDir, within } = require('./support');
const api = require('..');

const ONLY_GUN = { dhtEnabled: false, localEnabled: false, pexEnabled: false };

function client(t, options) {
  return stopAfter(t, api.createFileClient({ ...ONLY_GUN, ...options }));
}

/** Waits until a question is answered, asking again. */
async function until(what, ask) {
  const end = Date.now() + DEADLINE;
  for (;;) {
    const answer = await ask();
    if (answer) return answer;
    assert.ok(Date.now() < end, `not in time: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

async function downloads(t, seeker, hash, data) {
  const target = path.join(tempDir(t), 'downloaded.bin');
  await within(seeker.downloadFile(hash, target), 'a download');
  assert.equal(sha256(fs.readFileSync(target)), sha256(data));
}

test('a host with a live database is found by a client with another', async (t) => {
  const { url } = await relay(t);
  const { data, hash, host } = await hostWith(t, api, 200000, { ...ONLY_GUN, gun: database(t, url) });
  const seeker = client(t, { gun: database(t, url) });
  const found = await within(seeker.findPeers(hash, { maxPeers: 1, timeout: DEADLINE }), 'peers');
  assert.deepEqual(found.map((peer) => [peer.id, peer.source]), [[host.peerId, 'gun']]);
  assert.ok(found[0].confidence > 0.5, 'the record is signed');
  await downloads(t, seeker, hash, data);
  // What others write for it to read stands where plain programs look.
  const record = await reads(t, url, ['dig-peers', hash, host.peerId], (fields) => fields && fields.port && fields.ver && 'available' in fields);
  assert.deepEqual([record.port, record.available, record.ver], [host.port, true, '1.0']);
});

test('live databases and addresses of relays find each other', async (t) => {
  const { url } = await relay(t);
  const live = await hostWith(t, api, 5000, { ...ONLY_GUN, gun: database(t, url) });
  const plain = await hostWith(t, api, 6000, { ...ONLY_GUN, gunPeers: [url] });
  await downloads(t, client(t, { gunPeers: [url] }), live.hash, live.data);
  const seeker = client(t, { gunOptions: { instance: database(t, url) } });
  await downloads(t, seeker, plain.hash, plain.data);
});

test('live databases with AXE, over a relay with it', async (t) => {
  const { url } = await relay(t, { axe: true });
  const axe = () => database(t, url, { axe: true });
  const seeker = stopAfter(t, api.createGunDiscovery({ gun: axe() }));
  await within(seeker.start(), 'the start');
  const hash = sha256(content(13));
  await seeker.addInfoHash(hash, true);
  const news = within(new Promise((resolve) => seeker.on('peer:discovered', (peer, key) => key === hash && resolve(peer))), 'news');
  const late = stopAfter(t, api.createGunDiscovery({ gun: axe() }));
  await within(late.announce(hash, { contentId: 'with AXE' }), 'an announcement');
  assert.equal((await news).id, late.peerId);
  assert.equal(await within(seeker.findHashByContentId('with AXE', DEADLINE), 'a hash'), hash);
  // Files, and what has stood there before anybody asked.
  const host = await hostWith(t, api, 5000, { ...ONLY_GUN, gun: axe() });
  await downloads(t, client(t, { gun: axe() }), host.hash, host.data);
  await downloads(t, client(t, { gunPeers: [url] }), host.hash, host.data);
  // A peer by its id: letters both ways.
  const to = stopAfter(t, api.createNetworkManager({ ...ONLY_GUN, gun: axe() }));
  to.on('connection', (connection) => connection.on('data', (data) => connection.send(data)));
  await within(to.start(), 'the start');
  const reaching = api.connectToPeer('me', to.peerId, axe(), { ...ONLY_GUN, timeout: DEADLINE });
  const connection = await within(reaching, 'the connection');
  t.after(() => connection.close());
  const heard = event(connection, 'data');
  connection.send('hello');
  assert.equal(await heard, 'hello');
});

test('a peer is reached by its id through a live database', async (t) => {
  const { url } = await relay(t);
  const to = stopAfter(t, api.createNetworkManager({ ...ONLY_GUN, gun: database(t, url) }));
  to.on('connection', (connection) => connection.on('data', (data) => connection.send(data)));
  await within(to.start(), 'the start');
  const reaching = api.connectToPeer('me', to.peerId, database(t, url), { ...ONLY_GUN, timeout: DEADLINE });
  const connection = await within(reaching, 'the connection');
  t.after(() => connection.close());
  assert.equal(connection.peerId, to.peerId);
  const heard = event(connection, 'data');
  connection.send('hello');
  assert.equal(await heard, 'hello');
});

test('single ways meet by name through live databases and relays by address', async (t) => {
  const { url } = await relay(t);
  const ids = (localId, remoteId) => ({ localId, remoteId, allowPrivate: true, timeout: DEADLINE });
  const live = () => database(t, url);
  // One form a side, each of those in which the original package took Gun.
  const pairs = [
    ['performUDPHolePunch', 'UDP_HOLE_PUNCH', { gun: live(), localPort: 0 }, { signaling: live() }],
    ['performTCPHolePunch', 'TCP_HOLE_PUNCH', { gunInstance: live(), localPorts: [0] }, { gunOptions: { gun: live() } }],
    ['performTCPSimultaneousOpen', 'TCP_SIMULTANEOUS_OPEN', { signaling: live() }, { gunOptions: { instance: live() } }],
    ['connectWithICE', 'ICE', { signaling: live(), stunServers: [] }, { gun: url }],
    ['performUDPHolePunch', 'UDP_HOLE_PUNCH', { gunPeers: [url] }, { gunOptions: { peers: [url] } }],
  ];
  for (const [name, type, here, there] of pairs) {
    const sides = [api[name]({ ...ids('one', 'two'), ...here }), api[name]({ ...ids('two', 'one'), ...there })];
    const [one, two] = await within(Promise.all(sides), name);
    t.after(() => Promise.all([one.close(), two.close()]));
    assert.deepEqual([one.connectionType, one.port], [type, two.localPort], name);
    for (const [from, to] of [[one, two], [two, one]]) {
      const heard = event(to, 'data');
      from.send(`by ${name}`);
      assert.equal(String(await heard), `by ${name}`);
    }
  }
  const key = (secret) => ({ ...ids('one', 'two'), gun: live(), key: secret });
  const other = { ...key('another'), localId: 'two', remoteId: 'one', timeout: 1000 };
  // Both are heard from the beginning: either may fail first.
  const fails = (options) => assert.rejects(within(api.performUDPHolePunch(options), 'an end'), { code: 'ERR_PEER_UNREACHABLE' });
  await Promise.all([{ ...key('secret'), timeout: 1000 }, other].map(fails));
});

test('content ids are mapped through live databases', async (t) => {
  const { url } = await relay(t);
  const gun = database(t, url);
  const one = stopAfter(t, api.createGunDiscovery({ gun }));
  assert.equal(one.gun, gun);
  const other = stopAfter(t, api.createGunDiscovery({ gun: database(t, url) }));
  const hash = sha256(content(10));
  await within(one.start(), 'the start');
  await within(one.mapContentIdToHash('a film', hash), 'a mapping');
  const found = await within(other.findHashByContentId('a film', DEADLINE), 'a hash');
  assert.equal(found, hash);
  // From then on it is known without asking.
  assert.deepEqual([other.getHashForContent('a film'), other.getContentForHash(hash)], [hash, 'a film']);
  await within(one.announce(hash, { contentId: 'a film' }), 'an announcement');
  const peers = await within(other.findPeers('a film', { maxPeers: 1, timeout: DEADLINE }), 'peers');
  assert.equal(peers[0].id, one.peerId);
});

test('what the program does with its database goes on', async (t) => {
  const { url } = await relay(t);
  const gun = database(t, url);
  const heard = new Map();
  const { data, hash, host } = await hostWith(t, api, 5000, { ...ONLY_GUN, gun });
  const node = gun.get('dig-peers').get(hash);
  node.on((fields) => Object.keys(fields).forEach((name) => heard.set(name, true)));
  const seeker = client(t, { gun });
  await downloads(t, seeker, hash, data);
  await within(seeker.stop(), 'the stop of the client');
  await within(host.stop(), 'the stop of the host');
  assert.ok([...heard.keys()].some((name) => name.startsWith('12D3Koo')), 'the program hears of the host itself');
  const stranger = database(t, url);
  stranger.get('dig-peers').get(hash).get('stranger').put({ ip: '192.0.2.1', port: 9, timestamp: 1 });
  await until('news after the stop', () => heard.get('stranger'));
  // The same objects can be started again with it.
  await within(host.start(), 'the second start of the host');
  await within(seeker.start(), 'the second start of the client');
  await downloads(t, seeker, hash, data);
});

/** What plain Gun programs read at a path, asked again until it is as wanted. */
function reads(t, url, names, fits) {
  return until(`a record at ${names.join('/')}`, async () => {
    const chain = names.reduce((node, name) => node.get(name), database(t, url));
    const fields = await within(new Promise((resolve) => chain.once(resolve, { wait: 300 })), 'a read');
    // A copy: Gun goes on writing into what it gave.
    return fits(fields) ? [{ ...fields }] : undefined;
  }).then(([fields]) => fields);
}

test('names, addresses and lifetimes are those of the options', async (t) => {
  const { url } = await relay(t);
  const hash = sha256(content(11));
  const names = { nodeId: 'node 1', namespace: 'space', peerMapName: 'peers', contentMapName: 'content' };
  const times = { announceInterval: 200, announceTTL: 60000, peerTTL: 5000, cleanupInterval: 1000, maxCachedPeers: 500 };
  const address = { externalIp: '192.0.2.9', externalPort: 4001 };
  const one = stopAfter(t, api.createGunDiscovery({ gun: database(t, url), ...names, ...times, ...address }));
  await within(one.announce(hash, { contentId: 'a name' }), 'an announcement');
  // What a plain program reads may not be whole.
  const isWhole = (fields) => fields && fields.ip && fields.port && fields.timestamp && fields.ttl;
  const record = await reads(t, url, ['space', 'peers', hash, 'node 1'], isWhole);
  assert.deepEqual([record.ip, record.port, record.ttl], ['192.0.2.9', 4001, 60000]);
  const again = (fields) => fields && fields.timestamp > record.timestamp;
  await reads(t, url, ['space', 'peers', hash, 'node 1'], again);
  const mapped = await reads(t, url, ['space', 'content', 'a name'], (fields) => fields && fields.hash);
  assert.equal(mapped.hash, hash);
  const same = { gunNamespace: 'space', gunPeerMapName: 'peers', gunContentMapName: 'content' };
  const seeker = client(t, { gunOptions: { gun: database(t, url), ...names, nodeId: undefined } });
  const other = client(t, { gunPeers: [url], ...same });
  for (const object of [seeker, other]) {
    const [peer] = await within(object.findPeers('a name', { maxPeers: 1, timeout: DEADLINE }), 'peers');
    assert.equal(peer.id, one.peerId);
  }
  // Taken back: the announcement with its content id, and the mapping.
  assert.equal(await within(one.unannounce(hash), 'taking back'), true);
  await reads(t, url, ['space', 'peers', hash], (fields) => fields && fields['node 1'] === null);
  assert.equal(await within(one.unannounce(hash), 'taking back twice'), false);
  assert.equal(await within(one.removeContentMapping('a name'), 'removing'), true);
  assert.equal(await within(one.removeContentMapping('a name'), 'removing twice'), false);
  assert.equal(one.getHashForContent('a name'), undefined);
  for (const wrong of [{ nodeId: 'a#b' }, { peerMapName: 'constructor' }, { announceInterval: 1 }, { externalIp: 'here' }]) {
    const refused = api.createGunDiscovery.bind(undefined, { gun: database(t, url), ...wrong });
    const failed = async () => stopAfter(t, refused()).start();
    await assert.rejects(within(failed(), 'a refusal'), { code: 'ERR_INVALID_ARGUMENT' }, JSON.stringify(wrong));
  }
});

test('an announcement with a ttl is taken back by itself', async (t) => {
  const { url } = await relay(t);
  const [brief, kept] = [sha256(content(21)), sha256(content(22))];
  const one = stopAfter(t, api.createGunDiscovery({ gun: database(t, url) }));
  await within(one.announce(kept, { ttl: 600000 }), 'an announcement');
  await within(one.announce(brief, { ttl: 3000 }), 'an announcement');
  await reads(t, url, ['dig-peers', brief], (fields) => fields && fields[one.peerId] === null);
  await reads(t, url, ['dig-peers', kept], (fields) => fields && fields[one.peerId]);
  assert.equal(await within(one.unannounce(brief), 'taking back'), false);
  assert.equal(await within(one.unannounce(kept), 'taking back'), true);
  for (const ttl of [1, 1e12, 'long']) {
    await assert.rejects(within(one.announce(brief, { ttl }), 'a refusal'), { code: 'ERR_INVALID_ARGUMENT' }, String(ttl));
  }
});

test('a record names the host of the port to announce, and says itself when it ends', async (t) => {
  const { url } = await relay(t);
  const hash = sha256(content(23));
  const { host } = await hostWith(t, api, 100, { ...ONLY_GUN, gun: database(t, url) });
  const one = stopAfter(t, api.createGunDiscovery({ gun: database(t, url), announcePort: host.port }));
  await within(one.addInfoHash(hash), 'an announcement');
  const record = (fits) => reads(t, url, ['dig-peers', hash, host.peerId], (fields) => fields && fields.port && fits(fields));
  assert.equal((await record(({ ttl }) => ttl === 3600000)).port, host.port);
  // Whoever reads it after a crash knows that it is over.
  await within(one.announce(hash, { ttl: 60000 }), 'an announcement');
  await record(({ ttl }) => ttl > 0 && ttl <= 60000);
  await within(one.announce(hash), 'an announcement');
  await record(({ ttl }) => ttl === 3600000);
  await within(one.stop(), 'the stop');
  await reads(t, url, ['dig-peers', hash], (fields) => fields && fields[host.peerId] === null);
});

test('so many peers are kept as the options say, and what has expired is forgotten', async (t) => {
  const { url } = await relay(t);
  const hash = sha256(content(24));
  const program = database(t, url);
  const says = (name, fields) => new Promise((resolve) => program.get('dig-peers').get(hash).get(name).put(fields, resolve));
  // Clocks may differ by a quarter of an hour, so this one is over in a few seconds.
  const over = Date.now() - 15 * 60000 + 4000;
  const brief = { ip: '127.0.0.9', port: 9, timestamp: over - 60000, ttl: 60000 };
  const persistenceDir = tempDir(t);
  const options = { persistenceEnabled: true, persistenceDir, announceInterval: 300, cleanupInterval: 1000, maxCachedPeers: 3 };
  const seeker = stopAfter(t, api.createGunDiscovery({ gun: database(t, url), localOnly: true, ...options }));
  await within(says('is soon over', brief), 'a record');
  await seeker.addInfoHash(hash);
  await within(seeker.start(), 'the start');
  const kept = () => fs.readdirSync(persistenceDir).map((name) => fs.readFileSync(path.join(persistenceDir, name), 'latin1')).join();
  const knows = (name) => kept().includes(name);
  await until('it is kept', () => knows('is soon over'));
  await until('it is forgotten', () => !knows('is soon over'));
  const names = ['one of many', 'two of many', 'three of many', 'four of many', 'five of many'];
  for (const [index, name] of names.entries()) {
    await within(says(name, { ip: '127.0.0.9', port: 10 + index, timestamp: Date.now(), ttl: 600000 }), 'a record');
  }
  await until('the last is kept', () => names.filter(knows).length >= 3);
  await within(seeker.stop(), 'the stop');
  assert.equal(names.filter(knows).length, 3);
});

test('everybody is found again when a relay comes back without its memory', async (t) => {
  const server = await relay(t);
  const often = { gunAnnounceInterval: 300 };
  const { hash, host } = await hostWith(t, api, 100, { ...ONLY_GUN, ...often, gun: database(t, server.url) });
  const hash2 = sha256(content(12));
  const seeker = stopAfter(t, api.createGunDiscovery({ gun: database(t, server.url), announceInterval: 300 }));
  await within(seeker.start(), 'the start');
  await seeker.addInfoHash(hash2, true);
  await within(seeker.findPeers(hash, { maxPeers: 1, timeout: DEADLINE }), 'peers');
  await server.restart();
  const [peer] = await until('the host', () =>
    within(client(t, { gun: database(t, server.url) }).findPeers(hash, { maxPeers: 1, timeout: 1000 }), 'peers').then(
      (found) => found.length > 0 && found,
    ),
  );
  assert.equal(peer.id, host.peerId);
  const news = within(new Promise((resolve) => seeker.on('peer:discovered', (found, key) => key === hash2 && resolve(found))), 'news');
  const late = stopAfter(t, api.createGunDiscovery({ gun: database(t, server.url), announceInterval: 300 }));
  await within(late.announce(hash2), 'an announcement');
  assert.equal((await news).id, late.peerId);
});

test('what was found is known after a restart without any relay', async (t) => {
  const server = await relay(t);
  const { hash, host } = await hostWith(t, api, 100, { ...ONLY_GUN, gun: database(t, server.url) });
  const kept = { persistenceEnabled: true, persistenceDir: tempDir(t) };
  const first = stopAfter(t, api.createGunDiscovery({ gun: database(t, server.url), ...kept }));
  const known = await within(first.findPeers(hash, { maxPeers: 1, timeout: DEADLINE }), 'peers');
  await within(first.stop(), 'the stop');
  const silent = { get: () => silent, put: () => silent, on: () => silent };
  const second = stopAfter(t, api.createGunDiscovery({ gun: silent, ...kept }));
  const found = await within(second.findPeers(hash, { maxPeers: 1, timeout: DEADLINE }), 'peers of before');
  assert.deepEqual([known[0].id, found[0].id], [host.peerId, host.peerId]);
});

test('a database that never answers holds nothing up', async (t) => {
  const asked = [];
  const chain = (path) => ({
    get: (name) => chain([...path, name]),
    put: () => asked.push(path.join('/')) && chain(path),
    on: () => chain(path),
    once: () => chain(path),
  });
  const { hash, host } = await hostWith(t, api, 100, { ...ONLY_GUN, gun: chain([]) });
  await until('a put', () => asked.some((at) => at === `dig-peers/${hash}/${host.peerId}`));
  const seeker = client(t, { gun: chain([]) });
  assert.deepEqual(await within(seeker.findPeers(hash, { timeout: 200 }), 'no peers'), []);
  await within(host.stop(), 'the stop');
});

test('a database that throws, or answers with nonsense, holds nothing up either', async (t) => {
  let events = 0;
  const nonsense = [undefined, null, 7, [1], () => {}, { _: 5, a: undefined, b: [], c: { '#': 5 }, d: NaN }, { '#': 'x' }];
  const chain = (path) => ({
    get: (name) => chain([...path, name]),
    put(data, answer) {
      if (path.length === 3) throw new Error('no');
      answer({ err: 'Invalid data' });
    },
    on(hear) {
      nonsense.forEach((data) => hear(data, 'key', {}, {}));
      events += 1;
    },
  });
  const { hash, host } = await hostWith(t, api, 100, { ...ONLY_GUN, gun: chain([]) });
  const seeker = client(t, { gun: chain([]) });
  assert.deepEqual(await within(seeker.findPeers(hash, { timeout: 500 }), 'no peers'), []);
  assert.ok(events > 0);
  await within(host.stop(), 'the stop');
});

test('a live database does not keep the process for us', { timeout: 2 * DEADLINE }, async (t) => {
  const code = `const { createFileClient } = require('.');
    const chain = { get: () => chain, put: () => chain, on: () => chain };
    const client = createFileClient({ dhtEnabled: false, localEnabled: false, gun: chain });
    client.findPeers('anything', { timeout: 300 }).then((found) => console.log(found.length));`;
  const run = spawn(process.execPath, ['-e', code], { cwd: path.join(__dirname, '..'), stdio: ['ignore', 'pipe', 'inherit'] });
  t.after(() => run.kill('SIGKILL'));
  let output = '';
  run.stdout.on('data', (data) => (output += data));
  const status = await within(new Promise((resolve) => run.once('close', resolve)), 'the end of the process');
  assert.deepEqual([status, output], [0, '0\n']);
});
