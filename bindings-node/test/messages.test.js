'use strict';
// Message connections between two network managers.

const assert = require('node:assert/strict');
const net = require('node:net');
const test = require('node:test');

const { DEADLINE, content, event, rejects, stopAfter, within } = require('./support');
const api = require('..');

/** Two managers and the two ends of one connection between them. */
async function pair(t, target = (manager) => ({ host: '127.0.0.1', port: manager.port })) {
  const managers = [];
  for (let count = 0; count < 2; count += 1) {
    const manager = stopAfter(t, api.createNetworkManager({ localEnabled: false }));
    await within(manager.start(), 'the start');
    managers.push(manager);
  }
  const [from, to] = managers;
  const incoming = event(to, 'connection');
  const near = await within(from.connect(target(to)), 'the connection');
  // An end that has not spoken yet may be unknown to the other side.
  near.send('hello');
  const far = await incoming;
  assert.equal(await event(far, 'data'), 'hello');
  return { from, to, near, far };
}

test('plain messages are heard as data and message', { timeout: DEADLINE }, async (t) => {
  const { from, to, near, far } = await pair(t);
  assert.ok(near instanceof api.Connection && far instanceof api.Connection);
  assert.equal(near.peerId, to.peerId);
  assert.equal(far.peerId, from.peerId);
  assert.equal(near.remoteAddress, '127.0.0.1');
  assert.equal(near.remotePort, to.port);
  assert.ok(['tcp', 'udp'].includes(near.type));
  assert.equal(from.getConnectionType(to.peerId), near.type);
  assert.equal(from.getConnectionType('nobody'), undefined);
  const heard = Promise.all([event(far, 'data'), event(far, 'message')]);
  near.send('Hello, peer!');
  assert.deepEqual(await heard, ['Hello, peer!', 'Hello, peer!']);
  const bytes = event(near, 'data');
  await within(far.send(new Uint8Array([0, 255, 7])), 'the send');
  assert.deepEqual(await bytes, Buffer.from([0, 255, 7]));
});

test('typed messages are heard as their type', { timeout: DEADLINE }, async (t) => {
  const { near, far } = await pair(t);
  const values = [{ text: 'hi', list: [1, null] }, 'text', 5, null, undefined, [true]];
  for (const value of values) {
    const heard = event(far, 'chat');
    near.send('chat', value);
    assert.deepEqual(await heard, value === undefined ? null : value);
  }
  const bytes = event(far, 'chat');
  near.send('chat', Buffer.from([1, 2]));
  assert.deepEqual(await bytes, Buffer.from([1, 2]));
});

test('messages keep their order and their bytes', { timeout: DEADLINE }, async (t) => {
  const { near, far } = await pair(t);
  const count = 200;
  const received = [];
  const all = new Promise((resolve) => {
    far.on('number', (value) => {
      received.push(value);
      if (received.length === count) resolve();
    });
  });
  for (let index = 0; index < count; index += 1) near.send('number', index);
  await within(all, `${count} messages`);
  assert.deepEqual(received, Array.from({ length: count }, (_, index) => index));
  const large = content(3 * 1024 * 1024);
  const reused = Buffer.from(large);
  const heard = event(near, 'data');
  const sent = far.send(reused);
  reused.fill(0);
  await within(sent, 'a large send');
  assert.ok((await heard).equals(large), 'the bytes of the moment of the call');
});

test('closing is heard on both sides, after what was sent', { timeout: DEADLINE }, async (t) => {
  const { near, far } = await pair(t);
  const last = event(far, 'data');
  const closed = Promise.all([event(far, 'close'), event(near, 'close')]);
  near.send('goodbye');
  near.close();
  assert.equal(await last, 'goodbye');
  await closed;
  assert.ok(near.closed && far.closed);
  await within(near.close(), 'a second close');
  await rejects(near.send('too late'), 'ERR_CONNECTION_CLOSED');
});

test('what cannot be sent is refused', { timeout: DEADLINE }, async (t) => {
  const { near, far } = await pair(t);
  for (const type of ['error', 'close', 'newListener', '', 5]) {
    await rejects(near.send(type, 'x'), 'ERR_INVALID_ARGUMENT');
  }
  await rejects(near.send({ an: 'object' }), 'ERR_INVALID_ARGUMENT');
  await rejects(near.send('type', () => {}), 'ERR_INVALID_ARGUMENT');
  await rejects(near.send(Buffer.alloc(17 * 1024 * 1024)), 'ERR_INVALID_ARGUMENT', 'ERR_LIMIT_REACHED');
  await rejects(near.send('t'.repeat(300), 'x'), 'ERR_INVALID_ARGUMENT', 'ERR_LIMIT_REACHED');
  const heard = event(far, 'data');
  near.send('still open');
  assert.equal(await heard, 'still open');
});

test('connect takes text, addresses and peers', { timeout: DEADLINE }, async (t) => {
  const { from, to } = await pair(t, (manager) => `127.0.0.1:${manager.port}`);
  const tcp = to.addresses.find((address) => address.includes('127.0.0.1') && address.includes('/tcp/'));
  for (const target of [tcp, { address: '127.0.0.1', port: to.port }, { id: to.peerId }]) {
    const connection = await within(from.connectToPeer(target), `the connection to ${JSON.stringify(target)}`);
    assert.equal(connection.peerId, to.peerId);
    await within(connection.close(), 'the close');
  }
});

test('a dead port is refused in time', { timeout: DEADLINE }, async (t) => {
  const server = net.createServer().listen(0, '127.0.0.1');
  await within(new Promise((resolve) => server.once('listening', resolve)), 'the listener');
  const { port } = server.address();
  await within(new Promise((resolve) => server.close(resolve)), 'the end of the listener');
  const manager = stopAfter(t, api.createNetworkManager({ localEnabled: false }));
  await rejects(manager.connect({ host: '127.0.0.1', port }), 'ERR_PEER_UNREACHABLE');
  await rejects(manager.connect('no address at all'), 'ERR_INVALID_ARGUMENT', 'ERR_PEER_UNREACHABLE');
  await rejects(manager.connect({ host: '127.0.0.1' }), 'ERR_INVALID_ARGUMENT');
});

test('a stopped manager accepts again after its next start', { timeout: DEADLINE }, async (t) => {
  const { from, to } = await pair(t);
  await within(to.stop(), 'the stop');
  await within(to.start(), 'the second start');
  const incoming = event(to, 'connection');
  const near = await within(from.connect({ host: '127.0.0.1', port: to.port }), 'the connection');
  near.send('again');
  assert.equal(await event(await incoming, 'data'), 'again');
});
