'use strict';
// How the two sides of a single way through NATs exchange messages: over a live Gun database of the program, Gun relays by
// address, or an object of the program that carries them. Not here: what they say, which is the engine's.

const { hide } = require('./emitter');
const { DigNatError, call, invalid } = require('./errors');
const { bridgeTo } = require('./gun-instance');
const native = require('./native');
const { gunForms, gunInstance, gunRelays } = require('./network-options');
const { toBuffer } = require('./socket');
const { runTask } = require('./transfer');

/** Whether the options name anything to exchange messages over. */
function isSignalled(options) {
  return gunForms(options).length > 0 || (options.gunPeers !== undefined && options.gunPeers !== null);
}

/** Begins one attempt over what the options name: `begin` has a way for `relays`, for a `program` and for its `gun`. */
async function overSignalling(options, json, begin, first, what) {
  const carrier = gunForms(options).find(isCarrier);
  const gun = gunInstance(options);
  const run = (start, signal) => runTask(start, signal, what, (result) => result);
  if (carrier) {
    const channel = new native.NativeSignalling();
    const text = JSON.stringify(json);
    const carried = carry(channel, carrier);
    try {
      return await run(() => begin.program(...first, text, channel), carried.signalFor(options.signal));
    } catch (error) {
      throw carried.failure || error;
    } finally {
      carried.end();
    }
  }
  if (gun) {
    const bridge = bridgeTo(gun);
    const socket = await run(() => begin.gun(...first, JSON.stringify(json), bridge), options.signal);
    // The last letters are written and taken away while the socket is used.
    hide(socket, '_bridge', bridge);
    return socket;
  }
  const gunPeers = json.gunPeers ?? gunRelays(options);
  if (gunPeers.length === 0) {
    const name = ['gun', 'signaling', 'gunInstance', 'gunOptions'].find((known) => options[known] !== undefined && options[known] !== null);
    const forms = 'a Gun database with get, put and on, addresses of Gun relays, or {send(bytes), receive()}';
    throw invalid(name ?? 'gunPeers', `expected ${forms}`);
  }
  return run(() => begin.relays(...first, JSON.stringify({ ...json, gunPeers })), options.signal);
}

function isCarrier(form) {
  return typeof form.send === 'function' && typeof form.receive === 'function';
}

/** Moves messages between the engine and the carrier until the attempt ends. */
function carry(channel, carrier) {
  const abort = new AbortController();
  let ended = false;
  const carried = {
    failure: undefined,
    /** Aborts with the program's signal, and when the carrier fails. */
    signalFor(signal) {
      if (signal && signal.aborted) abort.abort(signal.reason);
      else if (signal && signal.addEventListener) signal.addEventListener('abort', stop, { once: true });
      carried.end = () => {
        ended = true;
        channel.close();
        if (signal && signal.removeEventListener) signal.removeEventListener('abort', stop);
      };
      return abort.signal;
    },
    end() {
      ended = true;
      channel.close();
    },
  };
  const stop = () => abort.abort();
  const failed = (what) => (cause) => {
    if (ended) return;
    const message = `signaling.${what} failed: ${cause && cause.message ? cause.message : String(cause)}`;
    carried.failure = new DigNatError('ERR_CONNECTION_CLOSED', message, cause);
    stop();
  };
  send(channel, carrier).catch(failed('send'));
  receive(channel, carrier).catch(failed('receive'));
  return carried;
}

async function send(channel, carrier) {
  for (;;) {
    const message = await call(() => channel.outgoing());
    if (message === null || message === undefined) return;
    await carrier.send(message);
  }
}

async function receive(channel, carrier) {
  for (;;) {
    const message = await carrier.receive();
    if (message === null || message === undefined) return channel.close();
    const bytes = toBuffer('message', message);
    if (!(await call(() => channel.deliver(bytes)))) return undefined;
  }
}

module.exports = { isSignalled, overSignalling };
