'use strict';
// The stock relay as a process, and live Gun databases of this one. Not here: tests.

const { spawn } = require('node:child_process');
const Module = require('node:module');
const path = require('node:path');
const readline = require('node:readline');

const { tempDir, within } = require('./support');

const MODULES = path.join(__dirname, '..', 'node_modules');
const RELAY = path.join(__dirname, '..', '..', 'tests', 'gun-js', 'relay.js');

const Gun = quietGun();

/**
 * Gun with timers that do not keep the process: it has no end, and never clears them. And without its greeting, which it
 * writes to standard output, where the test runner reads.
 */
function quietGun() {
  const { wrap } = Module;
  const { log } = console;
  const unref = (start) => (...values) => start(...values).unref();
  globalThis.timersOfGun = [unref(setTimeout), unref(setInterval)];
  Module.wrap = (code) => `((setTimeout, setInterval) => ${wrap(code).replace(/;$/, '')})(...globalThis.timersOfGun);`;
  console.log = () => {};
  try {
    return require('gun');
  } finally {
    Module.wrap = wrap;
    console.log = log;
  }
}

/** A stock relay; `restart` is with the same port, and without what it remembered. */
async function relay(t, wanted = {}) {
  const started = {};
  const start = async (port) => {
    const options = { port, axe: false, radisk: true, file: path.join(tempDir(t), 'radata'), ...wanted };
    const child = spawn(process.execPath, [RELAY, JSON.stringify(options)], {
      env: { ...process.env, NODE_PATH: MODULES },
      stdio: ['pipe', 'pipe', 'ignore'],
    });
    const lines = readline.createInterface({ input: child.stdout });
    const ready = new Promise((resolve) => {
      lines.on('line', (line) => line.startsWith('{') && resolve(JSON.parse(line).port));
    });
    Object.assign(started, { child, port: await within(ready, 'the relay') });
    started.url = `http://127.0.0.1:${started.port}/gun`;
  };
  const end = async () => {
    const gone = new Promise((resolve) => started.child.once('exit', resolve));
    started.child.kill('SIGKILL');
    await within(gone, 'the end of the relay');
  };
  t.after(end);
  await start(0);
  started.restart = async () => {
    await end();
    await start(started.port);
  };
  return started;
}

/** A live database of this program. Gun has no end, so its links are taken from it when the test ends. */
function database(t, url, wanted = {}) {
  const file = path.join(tempDir(t), 'radata');
  const options = { peers: [url], axe: false, multicast: false, radisk: false, localStorage: false, file, ...wanted };
  const gun = Gun(options);
  t.after(() => {
    const { opt } = gun._;
    const peers = Object.values(opt.peers);
    opt.peers = {};
    for (const peer of peers) {
      clearTimeout(peer.defer);
      if (peer.wire) peer.wire.close();
    }
  });
  return gun;
}

module.exports = { database, relay };
