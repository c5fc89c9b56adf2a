'use strict';
// Arguments on their way to the engine: option objects as JSON, peers as text. Not here: names, defaults and ranges of
// options, which the engine knows.

const { fileURLToPath } = require('url');

const { invalid } = require('./errors');

// The base58 text of a libp2p peer id.
const PEER_ID = /^[1-9A-HJ-NP-Za-km-z]{46,}$/;
const HASH = /^[0-9a-fA-F]{64}$/;

/** An option object as JSON text for the engine. */
function toJson(options, extra) {
  return JSON.stringify({ ...plainObject('options', options), ...plainObject('options', extra) });
}

function isObject(value) {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function plainObject(name, options) {
  if (options === undefined || options === null) {
    return {};
  }
  if (!isObject(options)) {
    throw invalid(name, `expected an object, got ${describe(options)}`);
  }
  const plain = {};
  for (const [key, value] of Object.entries(options)) {
    const converted = convert(key, value);
    if (converted !== undefined) {
      plain[key] = converted;
    }
  }
  return plain;
}

function convert(key, value) {
  if (key === 'options' && isObject(value)) return plainObject(key, value);
  // The one option that is a list of objects.
  if (key === 'turnServers' && typeof value === 'object' && value !== null) return JSON.parse(JSON.stringify(value));
  return plainValue(value);
}

// What JSON cannot carry must neither vanish nor throw: NaN becomes text, which the engine refuses by name where it
// wants a number; functions and foreign objects (a Gun instance, a socket) become {}, which it passes over only under
// names that such things have.
function plainValue(value) {
  switch (typeof value) {
    case 'string':
    case 'boolean':
      return value;
    case 'number':
      return Number.isFinite(value) ? value : String(value);
    case 'bigint':
      return Number(value);
    case 'object':
      if (value === null) return undefined;
      if (Array.isArray(value)) return value.map((item) => plainValue(item) ?? null);
      if (value instanceof URL) return value.protocol === 'file:' ? fileURLToPath(value) : value.href;
      return {};
    case 'undefined':
      return undefined;
    default:
      return {};
  }
}

/** A path from a string or a `file:` URL. */
function toPath(name, value) {
  if (value instanceof URL && value.protocol === 'file:') {
    return fileURLToPath(value);
  }
  return text(name, value);
}

/** A non-empty string. */
function text(name, value) {
  if (typeof value !== 'string' || value === '') {
    throw invalid(name, `expected a non-empty string, got ${describe(value)}`);
  }
  return value;
}

/** A function, or undefined. */
function optionalFunction(name, value) {
  if (value === undefined || value === null) {
    return undefined;
  }
  if (typeof value !== 'function') {
    throw invalid(name, `expected a function, got ${describe(value)}`);
  }
  return value;
}

function describe(value) {
  if (value === '') return 'an empty string';
  return value === null || typeof value !== 'object' ? String(value) : Array.isArray(value) ? 'an array' : 'an object';
}

function isHash(value) {
  return typeof value === 'string' && HASH.test(value);
}

function isPeerId(value) {
  return typeof value === 'string' && PEER_ID.test(value);
}

/** A peer as the engine takes it: `host:port`, multiaddr or peer id. */
function toPeer(name, peer) {
  if (typeof peer === 'string') {
    return text(name, peer.trim());
  }
  if (!isObject(peer)) {
    throw invalid(name, `expected text or an object with host and port, got ${describe(peer)}`);
  }
  if (Array.isArray(peer.addresses) && typeof peer.addresses[0] === 'string') {
    return peer.addresses[0];
  }
  const host = peer.host ?? peer.address;
  if (host !== undefined && host !== null && host !== '') {
    const port = Number(peer.port);
    if (!Number.isInteger(port) || port < 1 || port > 65535) {
      throw invalid(name, `port ${describe(peer.port)} is outside 1 to 65535`);
    }
    const hostName = text(`${name}.host`, host);
    return hostName.includes(':') && !hostName.startsWith('[')
      ? `[${hostName}]:${port}`
      : `${hostName}:${port}`;
  }
  return text(`${name}.id`, peer.id);
}

/**
 * A peer that is to be reached: whom the engine is to look for, and addresses where it may be. An object's id counts if
 * it is a peer id; names that peers go by in a program lead nowhere, its addresses do.
 */
function toWish(name, peer, more) {
  if (more !== undefined && more !== null && !Array.isArray(more)) throw invalid('addresses', 'expected an array');
  const addresses = [...(more ?? [])];
  if (!isObject(peer)) return { target: toPeer(name, peer), addresses };
  const { addresses: known, ...plain } = peer;
  if (Array.isArray(known)) addresses.push(...known);
  const id = peer.id ?? peer.peerId;
  const host = peer.host ?? peer.address;
  if (host !== undefined && host !== null && host !== '') addresses.push(toPeer(name, plain));
  if (isPeerId(id) || (typeof id === 'string' && addresses.length === 0)) return { target: text(name, id), addresses };
  if (addresses.length === 0) throw invalid(name, 'expected an id or an address');
  // The first address that tells whom it belongs to, else one that is just dialled.
  const named = addresses.findIndex((address) => typeof address === 'string' && address.includes('/p2p/'));
  const [target] = addresses.splice(Math.max(named, 0), 1);
  return { target: text(`${name}.addresses`, target), addresses };
}

/** A list of peers. */
function toPeers(peers) {
  if (!Array.isArray(peers)) {
    throw invalid('peers', `expected an array, got ${describe(peers)}`);
  }
  return peers.map((peer, index) => toPeer(`peers[${index}]`, peer));
}

/** The options of a search in its forms `({maxPeers, timeout})` and `(maxPeers, timeout)`. */
function findJson(options, timeout) {
  return toJson(isObject(options) ? options : { maxPeers: options, timeout });
}

module.exports = {
  findJson,
  invalid,
  isHash,
  isObject,
  isPeerId,
  optionalFunction,
  text,
  toJson,
  toPath,
  toPeer,
  toPeers,
  toWish,
};
