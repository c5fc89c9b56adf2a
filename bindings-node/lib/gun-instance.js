'use strict';
// Executes the engine's commands on the Gun database of a program, and tells the engine what came. Only `get`, `put` and
// `on` of it are used, and nothing of the program's is ever switched off. Not here: what is written and believed, and how
// long anything is waited for, which the engine decides.

const { hide } = require('./emitter');
const native = require('./native');

// Fields in one event of a node; what changed comes in several events, and of a child that has more the rest is not read.
const FIELDS = 256;

/** Gives an object of the engine the database that its options name, if there is one. */
function useGun(object, gun) {
  hide(object, '_gun', gun);
  if (gun === undefined) return;
  // Kept by the object: what the engine calls holds no reference to it, or neither would ever be collected.
  hide(object, '_bridge', bridgeTo(gun));
  object._native.useGun(object._bridge);
}

/** The engine's side of a database; whoever uses it keeps it. */
function bridgeTo(gun) {
  const listeners = new Map();
  const execute = { put, on, off, refresh };
  let engine;
  const bridge = new native.NativeGun((text) => {
    const command = JSON.parse(text);
    const target = engine.deref();
    if (target) execute[command.op]({ gun, listeners, target }, command);
  });
  engine = new WeakRef(bridge);
  return bridge;
}

function at(gun, path) {
  return path.reduce((chain, name) => chain.get(name), gun);
}

/** Several relays may answer, or none. The engine takes the first answer, and waits no longer than it wants. */
function put({ gun, target }, { id, path, data }) {
  try {
    at(gun, path).put(data, (ack) => target.reply(id, ack && ack.err ? describe(ack.err) : undefined));
  } catch (error) {
    target.reply(id, describe(error));
  }
}

function on({ gun, listeners, target }, { id, path, whole }) {
  const listener = { path, whole, soul: undefined, told: new Map(), eve: undefined, isDead: false };
  listeners.set(id, listener);
  const hear = (data, key, message, eve) => {
    if (eve && typeof eve.off === 'function') listener.eve = eve;
    if (listener.isDead) return silence(listener);
    // The engine may have had no room to say that it listens no more.
    const isHeard = eventsOf(listener, data).every((event) => target.event(id, JSON.stringify(event)));
    return isHeard || off({ listeners }, { id });
  };
  try {
    // Only Gun's own callbacks are called with `this`; an exception of ours must not end what it does.
    at(gun, path).on((...values) => quietly(() => hear(...values)));
  } catch {
    // A database that cannot listen tells nothing.
    listeners.delete(id);
  }
}

function off({ listeners }, { id }) {
  const listener = listeners.get(id);
  if (!listener) return;
  listeners.delete(id);
  listener.isDead = true;
  silence(listener);
}

/** Ends our listener alone. `off()` of the chain would end the program's own too. */
function silence({ eve }) {
  if (eve) quietly(() => eve.off());
}

/**
 * Instances of Node do not ask again when a relay comes back: then questions are put as Gun itself puts them. Other kinds
 * do it themselves.
 */
function refresh({ gun, listeners }) {
  const root = gun._;
  if (!root || !root.opt || root.opt.super !== true || typeof root.on !== 'function') return;
  for (const { path, soul } of listeners.values()) {
    for (const get of questions(path, soul)) quietly(() => root.on('out', { get }));
  }
}

/** The links along a path, and the node at its end. */
function questions(path, soul) {
  const steps = path.slice(1).map((name, index) => ({ '#': path.slice(0, index + 1).join('/'), '.': name }));
  return [...steps, { '#': soul || path.join('/') }];
}

/** What stands at a path, in as many events as it takes. Nothing was found, or nothing is new: none. */
function eventsOf(listener, data) {
  if (data === undefined) return [];
  if (typeof data !== 'object' || data === null || linkOf(data)) {
    listener.told.clear();
    const value = valueOf(data);
    return value === undefined ? [] : [{ value }];
  }
  const { _: meta, ...node } = data;
  if (meta && typeof meta['#'] === 'string') listener.soul = meta['#'];
  const states = (meta && meta['>']) || {};
  const fields = Object.entries(node).flatMap(([name, told]) => {
    const value = valueOf(told);
    const state = typeof states[name] === 'number' && Number.isFinite(states[name]) ? states[name] : 0;
    return value === undefined ? [] : [[name, [value, state]]];
  });
  if (listener.whole) return fields.length === 0 ? [] : [{ fields: Object.fromEntries(fields.slice(0, FIELDS)) }];
  const news = fields.filter(([name, told]) => {
    const text = JSON.stringify(told);
    if (listener.told.get(name) === text) return false;
    listener.told.set(name, text);
    return true;
  });
  const events = [];
  while (news.length > 0) events.push({ fields: Object.fromEntries(news.splice(0, FIELDS)) });
  return events;
}

/** A value that can stand in a graph, undefined for everything else. */
function valueOf(told) {
  if (told === null || typeof told === 'string' || typeof told === 'boolean') return told;
  if (typeof told === 'number') return Number.isFinite(told) ? told : undefined;
  const link = linkOf(told);
  return link === undefined ? undefined : { '#': link };
}

/** Where a link leads, undefined for what is none. */
function linkOf(told) {
  if (typeof told !== 'object' || told === null || Object.keys(told).length !== 1) return undefined;
  return typeof told['#'] === 'string' ? told['#'] : undefined;
}

function describe(error) {
  return error instanceof Error ? error.message : String(error);
}

function quietly(action) {
  try {
    action();
  } catch {
    // Neither side's fault shall become the other's.
  }
}

module.exports = { bridgeTo, useGun };
