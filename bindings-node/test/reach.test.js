'use strict';
// Reaching one peer and saying how, over loopback: directly, by its id, through a relay, not at all. Not here: real NATs,
// which the laboratory of the engine has.

const assert = require('node:assert/strict');
const test = require('node:test');

const { DEADLINE, event, rejects, stopAfter, tempDir, within } = require('./support');
const api = require('..');

const NOBODY = '12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp';

async function started(t, options = {}) {
  const manager = stopAfter(t, api.createNetworkManager({ localEnabled: false, ...options }));
  await within(manager.start(), 'the start');
  return manager;
}

/** A started manager that sends back what it hears. */
async function echo(t, options) {
  const manager = api.createNetworkManager({ localEnabled: false, ...options });
  manager.on('connection', (connection) => connection.on('data', (data) => connection.send(data)));
  stopAfter(t, manager);
  await within(manager.start(), 'the start');
  return manager;
}

/** A manager that is reached through a relay, and its address there. */
async function behindRelay(t) {
  const relay = await started(t, { relayServer: true });
  const at = relay.addresses.find((address) => address.includes('/tcp/'));
  const manager = api.createNetworkManager({ localEnabled: false, relays: [at] });
  const reserved = event(manager, 'relay:reserved');
  manager.on('connection', (connection) => connection.on('data', (data) => connection.send(data)));
  stopAfter(t, manager);
  await within(manager.start(), 'the start');
  return { manager, relay: at, address: (await reserved).address };
}

async function answers(connection) {
  const heard = event(connection, 'data');
  connection.send('hello');
  assert.equal(await heard, 'hello');
}

const tcpOf = (manager) => manager.addresses.find((address) => address.includes('127.0.0.1') && address.includes('/tcp/'));

test('a peer is reached directly, and the connection says how', { timeout: DEADLINE }, async (t) => {
  const [from, to] = [await started(t), await echo(t)];
  const peers = [
    tcpOf(to),
    { id: to.peerId, address: '127.0.0.1', port: to.port },
    { peerId: to.peerId, addresses: [tcpOf(to)] },
    { id: 'a name of the program', addresses: [tcpOf(to)] },
  ];
  for (const peer of peers) {
    const connection = await within(from.connectToPeer(peer), `the connection to ${JSON.stringify(peer)}`);
    assert.ok(connection instanceof api.Connection);
    const { traversal } = connection;
    assert.deepEqual([traversal.peer, traversal.address, traversal.relayed], [to.peerId, '127.0.0.1', false]);
    assert.equal(traversal.port, to.port);
    assert.ok(['tcp', 'udp'].includes(traversal.transport), traversal.transport);
    assert.ok(Object.values(api.CONNECTION_TYPE).includes(traversal.connectionType), traversal.connectionType);
    assert.ok(traversal.method.length > 0 && traversal.tookMs >= 0 && Array.isArray(traversal.attempts.attempts));
    assert.ok(Object.isFrozen(traversal) && Object.isFrozen(traversal.attempts.attempts));
    await answers(connection);
    await within(connection.close(), 'the close');
  }
  const plain = await within(from.connect({ host: '127.0.0.1', port: to.port }), 'a plain connection');
  assert.equal(plain.traversal, undefined);
});

test('an id alone leads to a peer that its options locate', { timeout: DEADLINE }, async (t) => {
  const [from, to] = [await started(t), await echo(t)];
  const options = { addresses: [`127.0.0.1:${to.port}`], preferredMethods: [api.NAT_METHODS.DIRECT], saveToRegistry: false };
  const connection = await within(from.connectToPeer(to.peerId, options), 'the connection');
  assert.equal(connection.traversal.peer, to.peerId);
  const [attempt] = connection.traversal.attempts.attempts.filter(({ outcome }) => outcome.result === 'connected');
  assert.equal(attempt.method, connection.traversal.method);
  await answers(connection);
});

test('connectToPeer fills the registry of the process, unless its manager keeps one of its own', { timeout: DEADLINE }, async (t) => {
  const { connectionRegistry } = api;
  const reach = async (options = {}) => {
    const to = await echo(t);
    const where = { localEnabled: false, addresses: [`127.0.0.1:${to.port}`], ...options };
    const connection = await within(api.connectToPeer('me', to.peerId, undefined, where), 'the connection');
    t.after(() => connection.close());
    return { peerId: to.peerId, connectionType: connection.connectionType };
  };
  const { peerId, connectionType } = await reach();
  const remembered = async () => {
    // Written beside the connection, not before it.
    while (!(await connectionRegistry.getConnectionMethod(peerId))) await new Promise((resolve) => setTimeout(resolve, 20));
    return connectionRegistry.getConnectionMethod(peerId);
  };
  const entry = await within(remembered(), 'the entry');
  assert.deepEqual([entry.peerId, entry.connectionType, entry.address], [peerId, connectionType, '127.0.0.1']);
  assert.deepEqual(connectionRegistry.getSuccessfulMethods(peerId), [connectionType]);
  // Another process reads the same.
  const read = async () => {
    for (;;) {
      const methods = new api.ConnectionRegistry().getSuccessfulMethods(peerId);
      if (methods.length > 0) return methods;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  };
  assert.deepEqual(await within(read(), 'the file'), [connectionType]);
  const persistence = { enablePersistence: true, persistenceDir: tempDir(t) };
  for (const options of [persistence, { saveToRegistry: false }]) {
    const other = await reach(options);
    assert.deepEqual(connectionRegistry.getSuccessfulMethods(other.peerId), [], JSON.stringify(options));
  }
});

test('a peer is reached through a relay', { timeout: DEADLINE }, async (t) => {
  const { manager, address } = await behindRelay(t);
  const from = await started(t);
  const connection = await within(from.connectToPeer(address, { methods: ['relay'] }), 'the connection');
  const { peer, method, connectionType, relayed } = connection.traversal;
  assert.deepEqual({ peer, method, connectionType, relayed }, {
    peer: manager.peerId,
    method: 'circuit',
    connectionType: api.CONNECTION_TYPE.RELAY,
    relayed: true,
  });
  await answers(connection);
});

test('a failure tells every way', { timeout: DEADLINE }, async (t) => {
  const from = await started(t);
  const error = await rejects(from.connectToPeer(NOBODY, { timeout: 5000 }), 'ERR_PEER_UNREACHABLE');
  for (const part of ['not tried: no such address is known', 'what would help']) assert.ok(error.message.includes(part), error.message);
  await rejects(from.connectToPeer(NOBODY, { preferredMethods: ['pigeon'] }), 'ERR_INVALID_ARGUMENT');
  await rejects(from.connectToPeer(NOBODY, { addresses: 'text' }), 'ERR_INVALID_ARGUMENT');
  await rejects(from.connectToPeer({ id: NOBODY, address: '127.0.0.1' }), 'ERR_INVALID_ARGUMENT');
  await rejects(from.connectToPeer({}), 'ERR_INVALID_ARGUMENT');
  await rejects(from.connectToPeer(), 'ERR_INVALID_ARGUMENT');
});

test('an attempt can be aborted', { timeout: DEADLINE }, async (t) => {
  const from = await started(t);
  const abort = new AbortController();
  const running = from.connectToPeer({ id: NOBODY, host: '192.0.2.1', port: 9 }, { signal: abort.signal, timeout: 60000 });
  abort.abort();
  assert.equal((await rejects(running, 'ERR_CANCELLED')).name, 'AbortError');
});

test('connectToPeer gives the result and the connection in one', { timeout: DEADLINE }, async (t) => {
  const to = await echo(t);
  const forms = [
    [to.peerId, undefined, { localEnabled: false, addresses: [tcpOf(to)] }],
    [to.peerId, { get() {} }, { localEnabled: false, address: '127.0.0.1', port: to.port }],
    ['a name', null, { localEnabled: false, addresses: [tcpOf(to)], localTCPPort: 0 }],
  ];
  for (const [remoteId, gun, options] of forms) {
    const result = await within(api.connectToPeer('me', remoteId, gun, options), 'the connection');
    assert.ok(result instanceof api.Connection);
    assert.deepEqual([result.success, result.address, result.port, result.peerId], [true, '127.0.0.1', to.port, to.peerId]);
    assert.equal(result.socket, result);
    assert.equal(result.connectionType, result.traversal.connectionType);
    await answers(result);
    const gone = event(to, 'peer:disconnected');
    await within(result.close(), 'the close');
    // Its manager ended with it.
    assert.ok((await gone).peer.length > 0);
  }
});

test('what was sent before the close arrives', { timeout: DEADLINE }, async (t) => {
  const to = await started(t);
  const incoming = event(to, 'connection');
  const result = await within(
    api.connectWithNATTraversal({ localId: 'me', peerId: to.peerId, address: '127.0.0.1', port: to.port, localEnabled: false }),
    'the connection',
  );
  const data = Buffer.alloc(1 << 20, 7);
  result.send(data);
  result.close();
  const far = await incoming;
  assert.deepEqual(await event(far, 'data'), data);
});

test('the end of the other side ends the manager too', { timeout: DEADLINE }, async (t) => {
  const to = await started(t);
  const incoming = event(to, 'connection');
  const result = await within(api.connectToPeer('me', to.peerId, undefined, { addresses: [tcpOf(to)], localEnabled: false }), 'it');
  const gone = event(to, 'peer:disconnected');
  const closed = event(result, 'close');
  result.send('hello');
  (await incoming).close();
  await closed;
  await gone;
});

test('relays lead to a peer that has its place there', { timeout: DEADLINE }, async (t) => {
  const { manager, relay } = await behindRelay(t);
  const result = await within(
    api.connectWithNATTraversal({ remoteId: manager.peerId, relays: [relay], localEnabled: false, gun: {} }),
    'the connection',
  );
  assert.equal(result.peerId, manager.peerId);
  await answers(result);
  await within(result.close(), 'the close');
});

test('what is no Gun leads nowhere, and the error says so', { timeout: DEADLINE }, async () => {
  const gun = { get() {} };
  const options = { localEnabled: false, timeout: 5000 };
  const said = /no Gun was given: that is a database with get, put and on, or the address of a relay/;
  assert.match((await rejects(api.connectToPeer('me', NOBODY, gun, options), 'ERR_PEER_UNREACHABLE')).message, said);
  assert.match((await rejects(api.connectToPeer('me', 'somebody', gun, options), 'ERR_INVALID_ARGUMENT')).message, said);
  const bags = [{ gun }, { signaling: gun }, { gunInstance: gun }, { gunOptions: { gun } }, { gunOptions: { instance: gun } }];
  for (const bag of bags) {
    const running = api.connectWithNATTraversal({ remoteId: NOBODY, ...options, ...bag });
    assert.match((await rejects(running, 'ERR_PEER_UNREACHABLE')).message, said);
  }
  const plain = await rejects(api.connectToPeer('me', NOBODY, undefined, options), 'ERR_PEER_UNREACHABLE');
  assert.doesNotMatch(plain.message, /no Gun was given/);
  assert.match(plain.message, /what would help/);
});

test('a Gun relay is tried, and the error says what came of it', { timeout: DEADLINE }, async () => {
  // Nobody listens there, so letters are not answered.
  const gun = 'http://127.0.0.1:9/gun';
  for (const forms of [{ gun }, { gun: { peers: [gun] } }, { gunPeers: [gun] }, { gunOptions: { peers: [gun] } }]) {
    const running = api.connectWithNATTraversal({ remoteId: NOBODY, localEnabled: false, timeout: 20_000, ...forms });
    const { message } = await rejects(running, 'ERR_PEER_UNREACHABLE');
    assert.match(message, /the peer does not answer over Gun/);
    assert.doesNotMatch(message, /no Gun was given/);
  }
});

test('wrong arguments are refused by name', { timeout: DEADLINE }, async () => {
  await rejects(api.connectToPeer('me'), 'ERR_INVALID_ARGUMENT');
  await rejects(api.connectToPeer('me', NOBODY, undefined, 'text'), 'ERR_INVALID_ARGUMENT');
  await rejects(api.connectWithNATTraversal(), 'ERR_INVALID_ARGUMENT');
  await rejects(api.connectWithNATTraversal({}), 'ERR_INVALID_ARGUMENT');
  await rejects(api.connectWithNATTraversal({ remoteId: NOBODY, methods: ['pigeon'], localEnabled: false }), 'ERR_INVALID_ARGUMENT');
  assert.throws(() => new api.NATTraversalManager('text'), { code: 'ERR_INVALID_ARGUMENT' });
});

test('TURN servers arrive in every form', { timeout: DEADLINE }, async () => {
  const wrong = { turnServer: 'stun:127.0.0.1', turnUsername: 'u', turnPassword: 'p' };
  const list = { turnServers: [{ urls: 'stun:127.0.0.1', username: 'u', credential: 'p' }] };
  for (const options of [wrong, list, { turnOptions: wrong }, { turnOptions: list }, { iceOptions: wrong }, { iceOptions: list }]) {
    const attempt = api.connectWithNATTraversal({ localEnabled: false, remoteId: NOBODY, addresses: ['127.0.0.1:9'], ...options });
    const error = await rejects(attempt, 'ERR_INVALID_ARGUMENT');
    assert.match(error.message, /turnServers.*turn: or turns:/);
  }
});

test('NATTraversalManager shares options and ends what it began', { timeout: DEADLINE }, async (t) => {
  const to = await echo(t);
  const manager = new api.NATTraversalManager({ localId: 'me', localEnabled: false, preferredMethods: ['DIRECT'] });
  const result = await within(manager.connect({ peerId: to.peerId, address: '127.0.0.1', port: to.port }), 'the connection');
  assert.equal(result.success, true);
  await answers(result);
  const gone = event(to, 'peer:disconnected');
  const running = manager.connect({ peerId: NOBODY, address: '192.0.2.1', port: 9, timeout: 60000 });
  const refused = rejects(running, 'ERR_CANCELLED');
  await within(manager.close(), 'the close');
  await gone;
  await refused;
  await within(manager.stop(), 'a second close');
});

test('diagnose examines the network', { timeout: DEADLINE }, async (t) => {
  const server = await started(t);
  const stunServers = [`127.0.0.1:${server.port}`];
  const found = await within(api.diagnose({ stunServers, timeout: 3000 }), 'the diagnosis');
  assert.match(found.publicV4, /^127\.0\.0\.1:\d+$/);
  assert.deepEqual([found.problem, found.ipv4, found.ipv6, found.peer, found.translated], [null, '127.0.0.1', null, null, false]);
  assert.ok(found.advice.length > 0 && Array.isArray(found.portMapping) && typeof found.ipv6State.works === 'boolean');
  for (const key of ['natType', 'gateway', 'inboundBlocked']) assert.ok(key in found, key);
  await rejects(api.diagnose(), 'ERR_INVALID_ARGUMENT');
  const abort = new AbortController();
  const running = api.diagnose({ stunServers: ['127.0.0.1:9'], timeout: 60000, signal: abort.signal });
  abort.abort();
  await rejects(running, 'ERR_CANCELLED');
});

test('a manager diagnoses the way to a peer', { timeout: DEADLINE }, async (t) => {
  const to = await echo(t);
  const from = await started(t, { stunServers: [`127.0.0.1:${to.port}`] });
  const reached = await within(from.diagnose({ id: to.peerId, host: '127.0.0.1', port: to.port }), 'the diagnosis');
  assert.equal(reached.ipv4, '127.0.0.1');
  assert.equal(reached.peer.reached.peer, to.peerId);
  assert.equal(reached.peer.error, null);
  const missed = await within(from.diagnose(NOBODY, { timeout: 1000 }), 'the diagnosis');
  assert.equal(missed.peer.reached, null);
  assert.ok(missed.peer.error.length > 0 && missed.peer.attempts.attempts.length > 0);
  assert.equal((await within(from.diagnose(), 'the diagnosis')).peer, null);
  await rejects(from.diagnose(NOBODY, { methods: ['pigeon'] }), 'ERR_INVALID_ARGUMENT');
});
