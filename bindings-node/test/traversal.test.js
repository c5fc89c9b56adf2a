'use strict';
// Hole punching, TURN, ICE and the connection registry, between two calls of one process over loopback.

const assert = require('node:assert/strict');
const dgram = require('node:dgram');
const fs = require('node:fs');
const path = require('node:path');
const { spawnSync } = require('node:child_process');
const test = require('node:test');

const { DEADLINE, event, rejects, tempDir, within } = require('./support');
const { PASSWORD, USER, freePort, turnserver, withoutTurnserver } = require('./turnserver');
const api = require('..');

const at = (port) => ({ host: '127.0.0.1', port });

/** Sends one piece each way. */
async function exchange(one, two) {
  for (const [from, to] of [[one, two], [two, one]]) {
    const received = event(to, 'data');
    await within(from.send('hello'), 'sending');
    assert.equal((await received).toString(), 'hello');
  }
}

for (const [name, type] of [
  ['performUDPHolePunch', 'UDP_HOLE_PUNCH'],
  ['performTCPHolePunch', 'TCP_HOLE_PUNCH'],
  ['performTCPSimultaneousOpen', 'TCP_SIMULTANEOUS_OPEN'],
]) {
  test(`${name} connects two endpoints`, { timeout: DEADLINE }, async (t) => {
    const [here, there] = [await freePort(), await freePort()];
    const one = api[name]({ localEndpoint: at(here), remoteEndpoint: at(there), timeout: 20000, key: 'secret' });
    const two = api[name]({ localPorts: [there], remoteEndpoint: `127.0.0.1:${here}`, timeout: 20000, key: 'secret' });
    const [first, second] = await within(Promise.all([one, two]), 'both ends');
    t.after(() => Promise.all([first.close(), second.close()]));
    assert.deepEqual([first.success, first.connectionType, first.socket], [true, type, first]);
    assert.deepEqual([first.address, first.port, first.localPort], ['127.0.0.1', there, here]);
    assert.deepEqual([second.remoteAddress, second.remotePort], ['127.0.0.1', here]);
    await exchange(first, second);
    const closed = event(first, 'close');
    await within(first.close(), 'closing');
    assert.equal(await closed, undefined);
    assert.equal(first.closed, true);
    await rejects(first.send('late'), 'ERR_CONNECTION_CLOSED');
  });
}

test('a peer that does not come is an error, and waiting for it can be aborted', { timeout: DEADLINE }, async () => {
  const [here, there] = [await freePort(), await freePort()];
  const options = { localEndpoint: at(here), remoteEndpoint: at(there) };
  for (const name of ['performUDPHolePunch', 'performTCPHolePunch']) {
    await rejects(api[name]({ ...options, timeout: 200 }), 'ERR_PEER_UNREACHABLE');
    const abort = new AbortController();
    const running = api[name]({ ...options, timeout: 60000, signal: abort.signal });
    abort.abort();
    await rejects(running, 'ERR_CANCELLED');
  }
});

test('wrong options are refused by name', { timeout: DEADLINE }, async () => {
  const gun = { get() {}, put() {} };
  const ids = { localId: 'a', remoteId: 'b' };
  for (const [call, name] of [
    [() => api.performUDPHolePunch(ids), 'remoteEndpoint'],
    [() => api.performUDPHolePunch({ remoteEndpoint: { host: '127.0.0.1' } }), 'remoteEndpoint'],
    [() => api.performUDPHolePunch({ remoteEndpoint: at(1), localEndpoint: {} }), 'localEndpoint'],
    [() => api.connectWithICE(ids), 'signaling'],
    [() => api.connectWithICE({ ...ids, signaling: {} }), 'signaling'],
    [() => api.performTCPHolePunch({ ...ids, gun: 5, localPorts: [12345, 12346] }), 'gun'],
    [() => api.performUDPHolePunch({ remoteId: 'b', gun }), 'localId'],
    [() => api.performTCPSimultaneousOpen({ localId: 'a', signaling: gun }), 'remoteId'],
    [() => api.connectWithICE({ localId: 'a', remoteId: 'a', gun }), 'remoteId'],
    [() => api.performUDPHolePunch({ ...ids, gun: 'no address' }), 'gunPeers'],
    [() => api.createTURNAllocation({}), 'turnServer'],
    [() => api.createTURNAllocation({ turnServer: 'turn:127.0.0.1', protocol: 'SCTP' }), 'protocol'],
  ]) {
    const error = await rejects(call(), 'ERR_INVALID_ARGUMENT');
    assert.ok(error.message.startsWith(name), error.message);
  }
});

/** A UDP socket that sends everything back. */
async function echo(t) {
  const socket = dgram.createSocket('udp4');
  socket.on('message', (data, from) => socket.send(data, from.port, from.address));
  await new Promise((resolve) => socket.bind(0, '127.0.0.1', resolve));
  t.after(() => new Promise((resolve) => socket.close(resolve)));
  return socket.address().port;
}

test('a TURN server relays', { timeout: DEADLINE, skip: withoutTurnserver() }, async (t) => {
  const port = await turnserver(t);
  const peer = await echo(t);
  const server = `turn:127.0.0.1:${port}`;
  const forms = [
    { turnServer: server, turnUsername: USER, turnPassword: PASSWORD, protocol: 'TCP' },
    { turnServer: `127.0.0.1:${port}`, turnUsername: USER, turnCredential: PASSWORD, protocol: 'UDP' },
    { turnServers: [{ urls: ['turn:127.0.0.1:1?transport=tcp', server], username: USER, credential: PASSWORD }] },
  ];
  for (const options of forms) {
    const allocation = await within(api.createTURNAllocation(options), 'the allocation');
    assert.deepEqual([allocation.success, allocation.connectionType], [true, 'TURN']);
    assert.deepEqual([allocation.relayedAddress, allocation.lifetime], ['127.0.0.1', 600]);
    assert.ok(allocation.relayedPort > 0 && allocation.serverPort === port);
    const received = within(new Promise((resolve) => allocation.once('data', (...all) => resolve(all))), 'an echo');
    await within(allocation.send('through the relay', '127.0.0.1', peer), 'sending');
    const [data, address, from] = await received;
    assert.deepEqual([data.toString(), address, from], ['through the relay', '127.0.0.1', peer]);
    assert.ok((await within(allocation.refresh(700), 'refreshing')) > 0);
    await rejects(allocation.refresh(0), 'ERR_INVALID_ARGUMENT');
    const closed = event(allocation, 'close');
    await within(allocation.release(), 'the release');
    assert.equal(await closed, undefined);
    await rejects(allocation.send('late', at(peer)), 'ERR_CONNECTION_CLOSED');
  }
  const wrong = { turnServer: server, turnUsername: USER, turnPassword: 'wrong' };
  assert.match((await rejects(api.createTURNAllocation(wrong), 'ERR_INVALID_ARGUMENT')).message, /turnPassword/);
});

test('a TURNClient tells what happens', { timeout: DEADLINE, skip: withoutTurnserver() }, async (t) => {
  const port = await turnserver(t);
  const peer = await echo(t);
  const client = new api.TURNClient();
  t.after(() => client.close());
  const states = [];
  client.on('connectionStateChange', (state) => states.push(state));
  await rejects(client.createPermission('127.0.0.1'), 'ERR_INVALID_STATE');
  const options = { turnServer: `turn:127.0.0.1:${port}`, turnUsername: USER, turnPassword: PASSWORD };
  await rejects(client.requestAllocation({ ...options, turnPassword: 'wrong' }), 'ERR_INVALID_ARGUMENT');
  const allocated = event(client, 'allocation');
  const allocation = await within(client.requestAllocation({ ...options, protocol: 'TCP' }), 'the allocation');
  assert.equal(await allocated, allocation);
  const permitted = event(client, 'permission');
  await within(client.createPermission(at(peer)), 'the permission');
  assert.equal(await permitted, '127.0.0.1');
  // Data sent to the relayed address arrives.
  const socket = dgram.createSocket('udp4');
  t.after(() => socket.close());
  const received = event(client, 'data');
  socket.send('from outside', allocation.relayedPort, allocation.relayedAddress);
  assert.equal((await received).toString(), 'from outside');
  const echoed = event(client, 'data');
  await within(client.send(Buffer.from('back'), '127.0.0.1', peer), 'sending');
  assert.equal((await echoed).toString(), 'back');
  assert.ok((await within(client.refreshAllocation(), 'refreshing')) > 0);
  await within(client.close(), 'closing');
  assert.equal(client.allocation, undefined);
  assert.deepEqual(states, ['connecting', 'failed', 'connecting', 'connected', 'closed']);
});

/** Two ends of a carrier in memory. */
function carriers() {
  const end = () => ({ waiting: [], readers: [] });
  const [one, two] = [end(), end()];
  const put = (to, message) => (to.readers.length > 0 ? to.readers.shift()(message) : to.waiting.push(message));
  const carrier = (own, other) => ({
    send: async (message) => put(other, message),
    receive: () => new Promise((resolve) => (own.waiting.length > 0 ? resolve(own.waiting.shift()) : own.readers.push(resolve))),
  });
  return [carrier(one, two), carrier(two, one)];
}

test('ICE connects over a carrier of the program', { timeout: DEADLINE }, async (t) => {
  const [here, there] = carriers();
  const client = new api.ICEClient({ allowPrivate: true, timeout: 20000 });
  const states = [];
  client.on('connectionState', (state) => states.push(state));
  const [first, second] = await within(
    Promise.all([
      api.connectWithICE({ localId: 'a', remoteId: 'b', signaling: here, allowPrivate: true, timeout: 20000 }),
      client.connect({ localId: 'b', remoteId: 'a', signaling: there }),
    ]),
    'both ends',
  );
  t.after(() => Promise.all([first.close(), client.close()]));
  assert.deepEqual([first.connectionType, first.protocol, first.success], ['ICE', 'udp', true]);
  assert.equal(first.localCandidate.type, api.ICECandidateType.HOST);
  assert.deepEqual([first.remotePort, first.remoteCandidate.port], [second.localPort, second.localPort]);
  await exchange(first, second);
  await within(client.close(), 'closing');
  assert.deepEqual(states, ['checking', 'connected', 'closed']);
});

test('ICE goes over a TURN server', { timeout: DEADLINE, skip: withoutTurnserver() }, async (t) => {
  const port = await turnserver(t);
  const [here, there] = carriers();
  // Neither side hears of the other's own addresses: only the relayed ones are left.
  const turn = { turnServer: `turn:127.0.0.1:${port}`, turnUsername: USER, turnPassword: PASSWORD };
  const options = { allowPrivate: true, timeout: 20000, ...turn };
  const hide = (carrier) => ({
    send: (message) => carrier.send(message.toString().replace(/a=candidate:.* typ host.*\r\n/g, '')),
    receive: () => carrier.receive(),
  });
  const ends = [hide(here), hide(there)].map((signaling) => api.connectWithICE({ ...options, signaling }));
  const [first, second] = await within(Promise.all(ends), 'both ends');
  t.after(() => Promise.all([first.close(), second.close()]));
  assert.ok([first, second].some((end) => end.localCandidate.type === 'relay' || end.remoteCandidate.type === 'relay'));
  await exchange(first, second);
});

test('a carrier that fails ends the attempt', { timeout: DEADLINE }, async () => {
  const never = () => new Promise(() => {});
  const broken = (name) => ({ send: async () => {}, receive: never, [name]: async () => { throw new Error('no wire'); } });
  for (const name of ['send', 'receive']) {
    const attempt = api.connectWithICE({ signaling: broken(name), allowPrivate: true, timeout: 20000 });
    const error = await rejects(attempt, 'ERR_CONNECTION_CLOSED');
    assert.match(error.message, new RegExp(`signaling.${name} failed: no wire`));
    assert.equal(error.cause.message, 'no wire');
  }
  const ended = api.connectWithICE({ signaling: { send() {}, receive: async () => null }, allowPrivate: true });
  await rejects(ended, 'ERR_CONNECTION_CLOSED');
  const abort = new AbortController();
  const silent = { send() {}, receive: never };
  const running = api.connectWithICE({ signaling: silent, allowPrivate: true, timeout: 60000, signal: abort.signal });
  abort.abort();
  await rejects(running, 'ERR_CANCELLED');
});

test('the registry remembers what worked', { timeout: DEADLINE }, async (t) => {
  const registryDir = path.join(tempDir(t), 'registry');
  const registry = new api.ConnectionRegistry({ registryDir });
  await registry.initialize();
  assert.deepEqual(registry.getSuccessfulMethods('peer'), []);
  assert.equal(await registry.getConnectionMethod('peer'), undefined);
  await registry.saveSuccessfulConnection('peer', api.CONNECTION_TYPE.TURN);
  const how = { address: '192.0.2.1', port: 4001, metadata: { relay: 'x', tries: 3 } };
  await registry.saveSuccessfulConnection('peer', api.CONNECTION_TYPE.UDP_HOLE_PUNCH, how);
  const again = new api.ConnectionRegistry({ registryDir });
  assert.deepEqual(again.getSuccessfulMethods('peer'), ['UDP_HOLE_PUNCH', 'TURN']);
  const { lastSuccessTime, ...entry } = await again.getConnectionMethod('peer');
  assert.ok(Math.abs(Date.now() - lastSuccessTime) < 24 * 3600 * 1000);
  const { metadata, ...rest } = { ...how, metadata: { relay: 'x', tries: '3' } };
  assert.deepEqual(entry, { peerId: 'peer', connectionType: 'UDP_HOLE_PUNCH', ...rest, successCount: 1, metadata });
  assert.equal(await again.cleanupOldEntries(), 0);
  assert.deepEqual([await again.removeConnectionMethod('peer'), await again.removeConnectionMethod('peer')], [true, false]);
  assert.deepEqual(new api.ConnectionRegistry({ registryDir }).getSuccessfulMethods('peer'), []);
  await rejects(again.saveSuccessfulConnection('peer', 'carrier pigeon'), 'ERR_INVALID_ARGUMENT');
  await rejects(again.saveSuccessfulConnection('', 'tcp'), 'ERR_INVALID_ARGUMENT');
});

test('the registry of the user lies in the home directory', { timeout: DEADLINE }, (t) => {
  const home = tempDir(t);
  const program = `
    const { connectionRegistry } = require(${JSON.stringify(require.resolve('..'))});
    connectionRegistry.saveSuccessfulConnection('peer', 'tcp').then(() => {
      console.log(JSON.stringify(connectionRegistry.getSuccessfulMethods('peer')));
    });
  `;
  const env = { ...process.env, HOME: home, USERPROFILE: home };
  const run = spawnSync(process.execPath, ['-e', program], { encoding: 'utf8', env });
  assert.equal(run.status, 0, run.stderr);
  assert.deepEqual(JSON.parse(run.stdout), ['tcp']);
  assert.ok(fs.existsSync(path.join(home, '.dig-nat-tools', 'registry', 'connections.json')));
});
