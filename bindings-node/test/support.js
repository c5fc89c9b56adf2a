'use strict';
// What the tests share: places that clean up after themselves, known content, waits with a deadline.
// Not here: tests.

const assert = require('node:assert/strict');
const crypto = require('node:crypto');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');

// Before the engine is loaded: nothing leaves this machine.
process.env.DIG_NAT_LOCAL_ONLY = '1';
process.env.DIG_NAT_INTERFACES = 'lo';
// What is kept for the user is kept elsewhere.
process.env.HOME = fs.mkdtempSync(path.join(os.tmpdir(), 'dig-nat-home-'));
process.once('exit', () => fs.rmSync(process.env.HOME, { recursive: true, force: true }));

/** Longest time anything in these tests may take, in ms. On an idle machine each takes less than one second. */
const DEADLINE = 30000;

const EMPTY_HASH = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855';

function tempDir(t) {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'dig-nat-'));
  t.after(() => fs.rmSync(directory, { recursive: true, force: true }));
  return directory;
}

/** Bytes that look random, the same for the same seed. */
function content(size, seed = 1) {
  const key = crypto.createHash('sha256').update(String(seed)).digest();
  return crypto.createCipheriv('aes-256-ctr', key, Buffer.alloc(16)).update(Buffer.alloc(size));
}

function sha256(data) {
  return crypto.createHash('sha256').update(data).digest('hex');
}

function writeFile(directory, name, data) {
  const file = path.join(directory, name);
  fs.writeFileSync(file, data);
  return file;
}

/** Waits for a promise, at most `DEADLINE`. */
async function within(promise, what) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not in time: ${what}`)), DEADLINE);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** The first event of a type, with a deadline. */
function event(emitter, type) {
  return within(new Promise((resolve) => emitter.once(type, resolve)), `event ${type}`);
}

/** Stops an object when the test ends, however it ends. */
function stopAfter(t, object) {
  t.after(() => object.stop());
  return object;
}

/** A started host with one file of `size` bytes. */
async function hostWith(t, api, size, options = {}) {
  const directory = tempDir(t);
  const data = content(size);
  const host = stopAfter(t, api.createHost({ localEnabled: false, ...options }));
  const file = await within(host.addFile(writeFile(directory, 'shared.bin', data)), 'adding a file');
  assert.equal(file.hash, sha256(data));
  await within(host.start(), 'the start of the host');
  return { host, data, file, hash: file.hash, peer: `127.0.0.1:${host.port}`, directory };
}

/** Asserts that a promise rejects with a `DigNatError` of one of these codes. */
async function rejects(promise, ...codes) {
  const error = await within(promise.then(() => assert.fail('it succeeded'), (reason) => reason), 'a rejection');
  assert.equal(error.constructor.name, 'DigNatError', error.stack);
  assert.ok(codes.includes(error.code), `${error.code} (${error.message}) is none of ${codes}`);
  assert.ok(error.number > 0 && error.advice.length > 0 && error.message.length > 0);
  return error;
}

module.exports = { DEADLINE, EMPTY_HASH, content, event, hostWith, rejects, sha256, stopAfter, tempDir, within, writeFile };
