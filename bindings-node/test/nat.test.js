'use strict';
// Looking at the NAT: any node answers STUN on its UDP port, so a host on loopback is the server here.

const assert = require('node:assert/strict');
const { spawnSync } = require('node:child_process');
const test = require('node:test');

const { DEADLINE, event, rejects, stopAfter, within } = require('./support');
const api = require('..');

async function stunServer(t) {
  const host = stopAfter(t, api.createHost({ localEnabled: false }));
  await within(host.start(), 'the start of the server');
  return `127.0.0.1:${host.port}`;
}

test('public addresses come from the named servers', { timeout: DEADLINE }, async (t) => {
  const server = await stunServer(t);
  const forms = [
    { stunServers: [server] },
    { stunServers: [`stun:${server}`], timeout: 2000, useNATPMP: true, enableIPv6: false, preferIPv6: false },
    { stunServers: [server, 'not a server'], tryMultipleServers: false },
  ];
  for (const options of forms) {
    assert.deepEqual(await within(api.discoverPublicIPs(options), 'addresses'), { ipv4: '127.0.0.1', ipv6: null });
  }
});

test('what cannot be found out is null', { timeout: DEADLINE }, async () => {
  assert.deepEqual(await within(api.discoverPublicIPs(), 'nobody to ask'), { ipv4: null, ipv6: null });
});

test('the NAT is examined', { timeout: DEADLINE }, async (t) => {
  const servers = [await stunServer(t), await stunServer(t)];
  const profile = await within(api.detectNatType({ stunServers: servers, timeout: 3000 }), 'the profile');
  assert.match(profile.publicV4, /^127\.0\.0\.1:\d+$/);
  assert.equal(profile.translated, false);
  assert.equal(profile.mapping, 'endpoint-independent');
  assert.deepEqual([profile.symmetric, profile.udpBlocked, profile.doubleNat], [false, false, null]);
  assert.ok(['public', 'firewall', 'untranslated'].includes(profile.natType), profile.natType);
});

test('wrong options and nobody to ask are errors', { timeout: DEADLINE }, async () => {
  const error = await rejects(api.detectNatType(), 'ERR_INVALID_ARGUMENT');
  assert.match(error.message, /^stunServers/);
  await rejects(api.detectNatType({ stunServers: ['turn:nonsense:x'] }), 'ERR_INVALID_ARGUMENT');
  await rejects(api.discoverPublicIPs({ timeout: 5 }), 'ERR_INVALID_ARGUMENT');
  await rejects(api.discoverPublicIPs('127.0.0.1:1'), 'ERR_INVALID_ARGUMENT');
});

test('an aborted examination ends', { timeout: DEADLINE }, async () => {
  const abort = new AbortController();
  // Port 9: nobody answers there, so it would take the whole minute.
  const running = api.detectNatType({ stunServers: ['127.0.0.1:9'], timeout: 60000, signal: abort.signal });
  abort.abort();
  const error = await rejects(running, 'ERR_CANCELLED');
  assert.equal(error.name, 'AbortError');
});

for (const create of ['createHost', 'createClient', 'createNetworkManager']) {
  test(`${create}: the node finds out its NAT`, { timeout: DEADLINE }, async (t) => {
    const stunServers = [await stunServer(t)];
    const node = stopAfter(t, api[create]({ localEnabled: false, stunServers }));
    assert.equal(node.natProfile, undefined);
    const detected = event(node, 'nat:detected');
    await within(node.start(), 'the start');
    const { natType, publicV4 } = await detected;
    assert.equal(publicV4, `127.0.0.1:${node.port}`);
    assert.deepEqual([node.natProfile.natType, node.natProfile.publicV4], [natType, publicV4]);
  });
}

test('a host behind a relay tells its address there', { timeout: DEADLINE }, async (t) => {
  const relay = stopAfter(t, api.createHost({ localEnabled: false, relayServer: true }));
  await within(relay.start(), 'the start of the relay');
  const tcp = relay.addresses.find((address) => address.includes('/tcp/'));
  const host = stopAfter(t, api.createHost({ localEnabled: false, relays: [tcp] }));
  const reserved = event(host, 'relay:reserved');
  await within(host.start(), 'the start of the host');
  const { address } = await reserved;
  assert.ok(address.startsWith(tcp) && address.includes('/p2p-circuit'), address);
  const lost = event(host, 'relay:lost');
  await within(relay.stop(), 'the stop of the relay');
  assert.equal((await lost).address, address);
});

test('mappings are refused by name', { timeout: DEADLINE }, async () => {
  await rejects(api.createUPnPMapping({ internalPort: 1, protocol: 'SCTP' }), 'ERR_INVALID_ARGUMENT');
  await rejects(api.createUPnPMapping({ externalPort: 1 }), 'ERR_INVALID_ARGUMENT');
  await rejects(api.createUPnPMapping('1'), 'ERR_INVALID_ARGUMENT');
  await rejects(api.createUPnPMapping(1, 2, 'TCP', 'x', -1), 'ERR_INVALID_ARGUMENT');
  await rejects(api.deleteUPnPMapping({}), 'ERR_INVALID_ARGUMENT');
  await rejects(api.deleteUPnPMapping(), 'ERR_INVALID_ARGUMENT');
  await rejects(api.getExternalAddressUPnP(0), 'ERR_INVALID_ARGUMENT');
  await rejects(api.upnpClient.createPortMapping(), 'ERR_INVALID_ARGUMENT');
});

// In a network of its own with nothing in it, so that no router of a developer is ever asked.
const unshare = ['--user', '--map-root-user', '--net', process.execPath, '-e'];

/** Why a program cannot be given such a network here, or false. CI must give it one. */
function withoutNamespaces() {
  if (process.env.CI === 'true') return false;
  const tried = spawnSync('unshare', [...unshare, ''], { encoding: 'utf8' });
  if (tried.error) return 'the program unshare is missing (Linux, package util-linux)';
  return tried.status !== 0 && `this system forbids user namespaces: ${tried.stderr.trim()}`;
}

test('without a router there is no mapping and no error', { timeout: DEADLINE, skip: withoutNamespaces() }, () => {
  const program = `
    const api = require(${JSON.stringify(require.resolve('..'))});
    (async () => {
      const mapping = await api.createUPnPMapping({ internalPort: 8080, timeout: 500 });
      const outside = await api.getExternalAddressUPnP(500);
      const positional = await api.createUPnPMapping(8080, 8080, 'TCP', 'test');
      const deleted = await api.deleteUPnPMapping({ externalPort: 8080, timeout: 500 });
      const available = await api.upnpClient.isAvailable();
      console.log(JSON.stringify({ mapping, outside, positional, deleted, available }));
    })();
  `;
  const run = spawnSync('unshare', [...unshare, program], { encoding: 'utf8' });
  assert.equal(run.status, 0, run.stderr);
  const { mapping, ...others } = JSON.parse(run.stdout);
  assert.equal(mapping.success, false);
  assert.ok(mapping.error.length > 0 && ['ERR_PEER_UNREACHABLE', 'ERR_TIMEOUT'].includes(mapping.code), mapping.code);
  assert.deepEqual(others, { outside: null, positional: false, deleted: false, available: false });
});
