'use strict';
// The error class of the package, made from the engine's table of kinds. Not here: the table itself.

const native = require('./native');

const KINDS = new Map(JSON.parse(native.manifest()).errors.map((kind) => [kind.code, kind]));

/** An error with the stable text `code` and `number` of its kind and `advice` for a person. */
class DigNatError extends Error {
  constructor(code, message, cause) {
    super(message);
    const kind = KINDS.get(code) || KINDS.get('ERR_INTERNAL');
    this.code = kind.code;
    this.number = kind.number;
    this.advice = kind.advice;
    if (cause !== undefined) {
      Object.defineProperty(this, 'cause', { value: cause, configurable: true, writable: true });
    }
  }
}
Object.defineProperty(DigNatError.prototype, 'name', { value: 'DigNatError', configurable: true, writable: true });

/** An `ERR_INVALID_ARGUMENT`; the message starts with the argument's name. */
function invalid(name, problem) {
  return new DigNatError('ERR_INVALID_ARGUMENT', `${name}: ${problem}`);
}

/** What a cancelled operation rejects with; Node programs also look for the name `AbortError`. */
function cancelled(message, cause) {
  const error = new DigNatError('ERR_CANCELLED', message, cause);
  Object.defineProperty(error, 'name', { value: 'AbortError', configurable: true, writable: true });
  return error;
}

/** The error behind one record of the engine: `{code, message}` as JSON. */
function fromRecord(text) {
  let record;
  try {
    record = JSON.parse(text);
  } catch {
    record = null;
  }
  if (record && typeof record.code === 'string') {
    return record.code === 'ERR_CANCELLED'
      ? cancelled(record.message)
      : new DigNatError(record.code, record.message);
  }
  return new DigNatError('ERR_INTERNAL', String(text));
}

/** Turns what the engine rejected or threw into a `DigNatError`. */
function fromNative(error) {
  return error instanceof DigNatError ? error : fromRecord(error && error.message);
}

/** Runs a synchronous call of the engine. */
function sync(call) {
  try {
    return call();
  } catch (error) {
    throw fromNative(error);
  }
}

/** Awaits an asynchronous call of the engine. */
async function call(operation) {
  try {
    return await operation();
  } catch (error) {
    throw fromNative(error);
  }
}

/** A promise that may be left unawaited: its rejection is never reported as unhandled. */
function quiet(promise) {
  promise.catch(() => {});
  return promise;
}

module.exports = { DigNatError, invalid, cancelled, fromRecord, sync, call, quiet };
