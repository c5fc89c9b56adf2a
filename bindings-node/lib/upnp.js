'use strict';
// Port mappings by UPnP in the forms of the original package: what a router refuses is a result there, not an error.

const { invalid } = require('./errors');
const native = require('./native');
const { isObject, toJson } = require('./options');
const { runTask } = require('./transfer');

// Wrong arguments and aborts are the program's doing and reject; everything else is an answer.
const REJECTED = new Set(['ERR_INVALID_ARGUMENT', 'ERR_CANCELLED', 'ERR_INTERNAL']);
const DEFAULT_TIMEOUT = 5000;

/**
 * `({internalPort, externalPort, protocol, description, ttl})` resolves to `{success, externalPort, externalAddress,
 * lifetime, error}`; `(internalPort, externalPort, protocol, description, ttl)` resolves to whether it succeeded, for
 * `if (await createUPnPMapping(...))`.
 */
async function createUPnPMapping(first, ...rest) {
  if (!isObject(first)) return (await createMapping(positional('internalPort', [first, ...rest]))).success;
  return createMapping(first);
}

async function createMapping(options) {
  const json = toJson(options);
  try {
    const mapping = await runTask(() => native.createUPnPMapping(json), options.signal, 'the mapping');
    const { protocol, internalPort, externalPort, externalAddress, lifetimeS } = mapping;
    return { success: true, protocol, internalPort, externalPort, externalAddress, lifetime: lifetimeS };
  } catch (error) {
    if (REJECTED.has(error.code)) throw error;
    return { success: false, error: error.message, code: error.code };
  }
}

/** `({externalPort, protocol, timeout})` or `(externalPort, protocol)`: whether the router knew the mapping. */
async function deleteUPnPMapping(first, ...rest) {
  const options = isObject(first) ? first : positional('externalPort', [first, ...rest]);
  const json = toJson(options);
  try {
    return await runTask(() => native.deleteUPnPMapping(json), options.signal, 'the deletion');
  } catch (error) {
    if (REJECTED.has(error.code)) throw error;
    return false;
  }
}

/** The router's outside address, null when nobody answers; `(timeout)` or `({timeout, signal})`. */
async function getExternalAddressUPnP(options = {}) {
  const { timeout, signal } = isObject(options) ? options : { timeout: options };
  const time = timeout ?? DEFAULT_TIMEOUT;
  if (!Number.isInteger(time) || time < 1 || time > 60000) throw invalid('timeout', `${time} is outside 1 to 60000`);
  return runTask(() => native.externalAddressUPnP(time), signal, 'the question');
}

function positional(port, values) {
  const [first, second, third, description, ttl] = values;
  if (typeof first !== 'number') throw invalid(port, `expected a number or an object, got ${String(first)}`);
  return port === 'internalPort'
    ? { internalPort: first, externalPort: second, protocol: third, description, ttl }
    : { externalPort: first, protocol: second };
}

/** The same calls as an object, as the original package exports them. */
const upnpClient = Object.freeze({
  /** Whether a router answers. */
  async isAvailable() {
    return (await getExternalAddressUPnP()) !== null;
  },
  initialize() {
    return this.isAvailable();
  },
  getExternalAddress(timeout) {
    return getExternalAddressUPnP(timeout);
  },
  async createPortMapping(options) {
    if (!isObject(options)) throw invalid('options', 'expected an object');
    return createMapping(options);
  },
  async deletePortMapping(options) {
    if (!isObject(options)) throw invalid('options', 'expected an object');
    return deleteUPnPMapping(options);
  },
});

module.exports = { createUPnPMapping, deleteUPnPMapping, getExternalAddressUPnP, upnpClient };
