'use strict';
// The options of the original package that were nested or came in several spellings, as the flat ones of the engine.
// Not here: names, defaults and ranges, which the engine knows.

const native = require('./native');
const { invalid, isObject, toJson, toPeer } = require('./options');
const { NODE_TYPE } = require('./constants');

// What the original called the options of Gun, where all of them were Gun's.
const GUN_NAMES = {
  nodeId: 'gunNodeId',
  namespace: 'gunNamespace',
  peerMapName: 'gunPeerMapName',
  contentMapName: 'gunContentMapName',
  announceInterval: 'gunAnnounceInterval',
  announceTTL: 'gunAnnounceTTL',
  peerTTL: 'gunPeerTTL',
  cleanupInterval: 'gunCleanupInterval',
  maxCachedPeers: 'gunMaxCachedPeers',
};

// What the engine knows of each nested object, and what it calls it. The rest of them (caches, files) has no counterpart.
const NESTED = {
  dhtOptions: same('bootstrapNodes', 'dhtNetwork', 'isShardHost', 'numShardPrefixes', 'shardPrefixLength', 'shardPrefixes',
    'maxCachedHashes', 'maxCachedPeersPerHash'),
  gunOptions: { ...GUN_NAMES, ...same('gunPeers', 'externalIp', 'externalPort', ...Object.values(GUN_NAMES)) },
  localOptions: same('interfaces'),
  pexOptions: same('exchangeInterval', 'pexInterval'),
};

// Objects whose other names must at least be those of some option. `gunOptions` may be whatever Gun takes.
const CLOSED = ['dhtOptions', 'localOptions', 'pexOptions'];

function same(...names) {
  return Object.fromEntries(names.map((name) => [name, name]));
}

/** The options of an object that takes part in a network, as JSON. `extra` counts before everything. */
function networkJson(options, extra) {
  if (!isObject(options)) return toJson(options, extra);
  const nested = isObject(options.options) ? { options: flat(options.options) } : {};
  return toJson({ ...flat(options), ...nested }, extra);
}

/** The same where a `nodeType` of `light` is the original's name for `lightNode`. */
function nodeJson(options, extra) {
  const nested = isObject(options) && isObject(options.options) ? options.options : {};
  const isLight = isObject(options) && (options.nodeType === NODE_TYPE.LIGHT || nested.nodeType === NODE_TYPE.LIGHT);
  return networkJson(isLight ? { lightNode: true, ...options } : options, extra);
}

function flat(options) {
  const merged = { ...fromNested(options), ...given(options) };
  if (Array.isArray(merged.bootstrapNodes)) {
    merged.bootstrapNodes = merged.bootstrapNodes.map((node, index) => toPeer(`bootstrapNodes[${index}]`, node));
  }
  if (merged.gunPeers === undefined) {
    const relays = gunRelays(options);
    if (relays.length > 0) merged.gunPeers = relays;
  }
  const ice = iceServers(options);
  const turnServers = [...turnServersOf(options), ...ice.filter((server) => !isStun(server))];
  if (turnServers.length > 0) merged.turnServers = turnServers;
  const stunServers = ice.filter(isStun).flatMap(({ urls }) => urls);
  if (stunServers.length > 0 && merged.stunServers === undefined) merged.stunServers = stunServers;
  return merged;
}

/** The one server that an object names the old way, then its list. */
function turnServersOf({ turnServer, turnUsername, turnPassword, turnCredential, turnServers }) {
  const list = isNamed(turnServers) ? [turnServers].flat() : [];
  if (!isNamed(turnServer)) return list;
  return [{ urls: turnServer, username: turnUsername, credential: turnPassword ?? turnCredential }, ...list];
}

/** The servers that Gun would have used for WebRTC. */
function iceServers({ gunOptions }) {
  const servers = isObject(gunOptions) && isObject(gunOptions.rtc) ? gunOptions.rtc.iceServers : undefined;
  return Array.isArray(servers) ? servers.filter((server) => isObject(server) && isNamed(server.urls)) : [];
}

function isStun({ urls }) {
  return [urls].flat().every((url) => /^stuns?:/i.test(String(url)));
}

function isNamed(value) {
  return value !== undefined && value !== null && value !== '';
}

/** Without what is undefined or null, which would hide the nested spelling of the same option. */
function given(options) {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined && value !== null));
}

function fromNested(options) {
  const found = {};
  for (const [bag, names] of Object.entries(NESTED)) {
    if (!isObject(options[bag])) continue;
    if (CLOSED.includes(bag)) refuseUnknown(bag, options[bag]);
    Object.assign(found, renamed(options[bag], names));
  }
  return found;
}

let everyName;

/** Names that no call of the engine has and none of the original's had are misspelt. */
function refuseUnknown(bag, options) {
  if (everyName === undefined) {
    const { original, options: sets } = JSON.parse(native.manifest());
    const engine = Object.values(sets).flatMap((set) => set.flatMap(({ json, aliases }) => [json, ...aliases]));
    everyName = new Set([...original, ...engine]);
  }
  const wrong = Object.keys(options).find((name) => isNamed(options[name]) && !everyName.has(name));
  if (wrong !== undefined) throw invalid(`${bag}.${wrong}`, 'no such option');
}

/** What an object has of these names, under those of the engine; its own name for something counts before others. */
function renamed(object, names) {
  const found = {};
  for (const [name, engine] of Object.entries(names)) {
    const value = object[name];
    if (value !== undefined && value !== null && (name === engine || found[engine] === undefined)) found[engine] = value;
  }
  return found;
}

/** Everything under which a program hands Gun over: an instance, the address of a relay, several, or `{peers}`. */
function gunForms(options) {
  const bag = isObject(options.gunOptions) ? options.gunOptions : {};
  const forms = [options.gun, options.gunInstance, options.instance, options.signaling, bag.gun, bag.instance];
  if (bag.peers !== undefined) forms.push({ peers: bag.peers });
  return forms.filter((form) => form !== undefined && form !== null);
}

function gunRelays(options) {
  return [...new Set(gunForms(options).filter((form) => !isGunInstance(form)).flatMap(relaysOf))];
}

function relaysOf(form) {
  if (typeof form === 'string') return [form];
  if (form instanceof URL) return [form.href];
  if (Array.isArray(form)) return form.flatMap(relaysOf);
  if (!isObject(form) || form.peers === undefined || form.peers === null) return [];
  // Gun itself takes a list of addresses or an object with them as names.
  return isObject(form.peers) ? Object.keys(form.peers) : relaysOf(form.peers);
}

/** A live Gun database, told from options by its methods. */
function isGunInstance(form) {
  const can = typeof form === 'function' || (typeof form === 'object' && form !== null);
  return can && typeof form.get === 'function' && typeof form.put === 'function';
}

/** The live Gun database among the options, if there is one. */
function gunInstance(options) {
  if (!isObject(options)) return undefined;
  const nested = isObject(options.options) ? gunForms(options.options) : [];
  return [...nested, ...gunForms(options)].find(isGunInstance);
}

module.exports = { GUN_NAMES, gunForms, gunInstance, gunRelays, isNamed, networkJson, nodeJson, renamed, turnServersOf };
