'use strict';
// The types and the running package offer the same names, and the original's documented programs compile.

const assert = require('node:assert/strict');
const { execFileSync } = require('node:child_process');
const path = require('node:path');
const test = require('node:test');
const ts = require('typescript');

require('./support');
const api = require('..');
const native = require('../lib/native');

const root = path.join(__dirname, '..');
const program = ts.createProgram([path.join(root, 'index.d.ts')], { skipLibCheck: true, types: ['node'] });
const checker = program.getTypeChecker();
const source = checker.getSymbolAtLocation(program.getSourceFile(path.join(root, 'index.d.ts')));
const exported = checker.getExportsOfModule(source);
const manifest = JSON.parse(native.manifest());

function resolved(symbol) {
  return symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol;
}

/** The public member names that `index.d.ts` declares for a class, its own base classes excluded. */
function declaredMembers(name) {
  const symbol = resolved(exported.find((candidate) => candidate.name === name));
  return [...symbol.members.values()]
    .map((member) => member.name)
    .filter((member) => !member.startsWith('__') && !['on', 'once'].includes(member))
    .sort();
}

/** The same with what our own base classes declare. */
function allMembers(name) {
  const type = checker.getDeclaredTypeOfSymbol(resolved(exported.find((candidate) => candidate.name === name)));
  const ours = ({ valueDeclaration }) => !valueDeclaration.getSourceFile().fileName.includes('node_modules');
  const members = checker.getPropertiesOfType(type).filter(ours).map((member) => member.name);
  return members.filter((member) => !['on', 'once'].includes(member)).sort();
}

/** Every property name of a type, members of unions and intersections included. */
function propertiesOf(name) {
  const symbol = resolved(exported.find((candidate) => candidate.name === name));
  return new Set(checker.getPropertiesOfType(checker.getDeclaredTypeOfSymbol(symbol)).map((property) => property.name));
}

test('every export has a type, and every typed value exists', () => {
  const typed = exported.filter((symbol) => resolved(symbol).flags & ts.SymbolFlags.Value).map((symbol) => symbol.name);
  assert.deepEqual(typed.sort(), Object.keys(api).sort());
});

test('the default export has every name', () => {
  const { default: inner, ...names } = api;
  assert.deepEqual(Object.keys(inner).sort(), Object.keys(names).sort());
  const symbol = resolved(exported.find((candidate) => candidate.name === 'default'));
  const type = checker.getTypeOfSymbol(symbol);
  assert.deepEqual(checker.getPropertiesOfType(type).map((property) => property.name).sort(), Object.keys(names).sort());
});

test('import gives the same objects as require', async () => {
  const esm = await import('../lib/index.mjs');
  assert.deepEqual(Object.keys(esm).sort(), Object.keys(api).sort());
  for (const name of Object.keys(api)) assert.equal(esm[name], api[name], name);
});

const OBJECTS = ['FileHost', 'FileClient', 'NetworkManager'];
const DISCOVERY = ['PeerDiscoveryManager', 'DHTClient', 'LocalDiscovery', 'GunDiscovery', 'PexManager'];
for (const name of [...OBJECTS, ...DISCOVERY]) {
  test(`the members of ${name} are typed`, () => {
    const members = new Set();
    for (let proto = api[name].prototype; proto.constructor.name !== 'HeardEmitter'; proto = Object.getPrototypeOf(proto)) {
      for (const member of Object.getOwnPropertyNames(proto)) members.add(member);
    }
    const runtime = [...members].filter((member) => member !== 'constructor' && !member.startsWith('_')).sort();
    assert.deepEqual(DISCOVERY.includes(name) ? allMembers(name) : declaredMembers(name), runtime);
  });
}

const SOCKET_FIELDS = ['success', 'connectionType', 'protocol', 'localAddress', 'localPort', 'remoteAddress', 'remotePort'];
const OWN_FIELDS = {
  PunchedSocket: [...SOCKET_FIELDS, 'localCandidate', 'remoteCandidate'],
  TURNAllocation: ['success', 'connectionType', 'relayedAddress', 'relayedPort', 'mappedAddress', 'mappedPort', 'lifetime',
    'serverAddress', 'serverPort'],
  TURNClient: [],
  ICEClient: [],
  ConnectionRegistry: [],
};
for (const [name, own] of Object.entries(OWN_FIELDS)) {
  test(`the members of ${name} are typed`, () => {
    const members = new Set(own);
    const bases = ['HeardEmitter', 'EventEmitter', 'Object'];
    for (let proto = api[name].prototype; !bases.includes(proto.constructor.name); proto = Object.getPrototypeOf(proto)) {
      for (const member of Object.getOwnPropertyNames(proto)) members.add(member);
    }
    const runtime = [...members].filter((member) => member !== 'constructor' && !member.startsWith('_')).sort();
    assert.deepEqual(declaredMembers(name), runtime);
  });
}

test('the members of Connection are typed', () => {
  const proto = Object.getOwnPropertyNames(api.Connection.prototype);
  const runtime = proto.filter((member) => member !== 'constructor' && !member.startsWith('_'));
  const own = ['type', 'peerId', 'address', 'remoteAddress', 'remotePort', 'traversal'];
  assert.deepEqual(declaredMembers('Connection'), [...runtime, ...own].sort());
});

test('every error kind of the engine has its code in the types', () => {
  const symbol = resolved(exported.find((candidate) => candidate.name === 'ErrorCode'));
  const codes = checker.getDeclaredTypeOfSymbol(symbol).types.map((type) => type.value);
  assert.deepEqual(codes.sort(), manifest.errors.map((kind) => kind.code).sort());
});

test('every option of the engine is typed under its name and its other names', () => {
  const types = {
    NodeOptions: 'NodeOptions',
    HostOptions: 'HostOptions',
    ClientOptions: 'ClientOptions',
    DownloadOptions: 'DownloadOptions',
    FindOptions: 'FindPeersOptions',
    NatOptions: 'NatOptions',
    MappingOptions: 'UPnPMappingOptions',
    PunchOptions: 'HolePunchOptions',
    TurnOptions: 'TURNOptions',
    IceOptions: 'ICEOptions',
    RegistryOptions: 'RegistryOptions',
    SaveConnectionOptions: 'SaveConnectionOptions',
    ConnectOptions: 'ConnectOptions',
    WatchOptions: 'WatchOptions',
    AnnounceOptions: 'AnnounceOptions',
  };
  // Their options are arguments here.
  const untyped = ['AddFileOptions', 'KnownPeersOptions'];
  const sets = Object.keys(manifest.options).filter((set) => !untyped.includes(set));
  assert.deepEqual(sets.sort(), Object.keys(types).sort());
  for (const [set, type] of Object.entries(types)) {
    const typed = propertiesOf(type);
    for (const option of manifest.options[set]) {
      if (set === 'DownloadOptions' && option.json === 'outputDir') continue;
      for (const name of [option.json, ...option.aliases.filter((alias) => !alias.includes('_'))]) {
        assert.ok(typed.has(name), `${type} lacks ${name}`);
      }
    }
  }
  assert.ok(propertiesOf('FractionDownloadOptions').has('outputDir'));
});

test('every typed option does something, or its comment says that it does not', () => {
  const sets = ['NodeOptions', 'HostOptions', 'ClientOptions', 'NetworkManagerOptions', 'PeerDiscoveryOptions', 'DHTClientOptions',
    'PexManagerOptions', 'LocalDiscoveryOptions', 'GunDiscoveryOptions', 'DHTOptions'];
  const engine = new Set(Object.values(manifest.options).flat().flatMap(({ json, aliases }) => [json, ...aliases]));
  const original = new Set(manifest.original);
  // What this package makes of them is tested with the objects.
  const handled = new Set(['announceInterval', 'announcePort', 'announceTTL', 'cleanupInterval', 'contentMapName', 'dhtOptions', 'gun',
    'gunInstance', 'gunOptions', 'hostFileCallback', 'localOptions', 'maxCachedPeers', 'namespace', 'options', 'peerMapName', 'peerTTL',
    'pexOptions']);
  for (const set of sets) {
    const symbol = resolved(exported.find((candidate) => candidate.name === set));
    const silent = [...symbol.members.values()].filter(({ name }) => !engine.has(name) && !handled.has(name));
    for (const member of silent) {
      assert.ok(original.has(member.name), `${set}.${member.name} would be refused`);
      const comment = ts.displayPartsToString(member.getDocumentationComment(checker));
      const grouped = /without effect/.test(ts.displayPartsToString(symbol.getDocumentationComment(checker)));
      assert.ok(grouped || /without effect/i.test(comment) || set === 'DHTClientOptions' && member.name === 'udpPort',
        `${set}.${member.name} does nothing: ${comment}`);
    }
  }
});

test('enums have the values their types declare', () => {
  for (const name of ['CONNECTION_TYPE', 'NODE_TYPE', 'AnnouncePriority', 'ICECandidateType', 'PexMessageType']) {
    const symbol = resolved(exported.find((candidate) => candidate.name === name));
    const declared = Object.fromEntries(
      [...symbol.exports.values()].map((member) => [member.name, checker.getConstantValue(member.valueDeclaration)]),
    );
    assert.deepEqual({ ...api[name] }, declared, name);
  }
});

test('the documented programs of the original compile', () => {
  const tsc = require.resolve('typescript/bin/tsc');
  try {
    execFileSync(process.execPath, [tsc, '-p', path.join(__dirname, 'types')], { encoding: 'utf8' });
  } catch (error) {
    assert.fail(error.stdout);
  }
});

test('the package has the version of the engine', () => {
  assert.equal(require('../package.json').version, manifest.version);
});
