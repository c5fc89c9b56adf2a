'use strict';
// How long a process lives with this package in it, from CommonJS and from ES modules, and the two examples.

const assert = require('node:assert/strict');
const { spawn } = require('node:child_process');
const path = require('node:path');
const test = require('node:test');

const { DEADLINE, hostWith, tempDir, within } = require('./support');
const api = require('..');

const root = path.join(__dirname, '..');
const READY = /ready (\d+)\n/;

/** A child process: its output so far, its end, and a wait for output. */
function child(t, args, { cwd = root, input, env } = {}) {
  const process_ = spawn(process.execPath, args, { cwd, env: { ...process.env, ...env } });
  t.after(() => process_.kill('SIGKILL'));
  const run = { process: process_, output: '', errors: '' };
  const waiting = new Set();
  const check = () => waiting.forEach((look) => look());
  process_.stdout.on('data', (data) => {
    run.output += data;
    check();
  });
  process_.stderr.on('data', (data) => (run.errors += data));
  if (input !== undefined) process_.stdin.end(input);
  run.ended = new Promise((resolve) => process_.once('close', (code, signal) => resolve({ code, signal })));
  run.until = (pattern) =>
    within(
      new Promise((resolve, reject) => {
        const look = () => {
          const match = run.output.match(pattern);
          if (match) {
            waiting.delete(look);
            resolve(match);
          }
        };
        waiting.add(look);
        look();
        run.ended.then(() => reject(new Error(`ended without ${pattern}: ${run.output}${run.errors}`)));
      }),
      `output ${pattern}`,
    );
  return run;
}

/** Runs a program to its end and gives what it printed. */
async function runs(t, code, { module = false, flags = [], ...options } = {}) {
  const run = child(t, [...flags, ...(module ? ['--input-type=module'] : []), '-e', code], options);
  const { code: status, signal } = await within(run.ended, `the end of the process; so far: ${run.output}`);
  assert.deepEqual({ status, signal, errors: run.errors }, { status: 0, signal: null, errors: '' });
  return run.output;
}

test('a process ends by itself after stop', { timeout: DEADLINE }, async (t) => {
  const output = await runs(
    t,
    `const { createHost, createClient, createNetworkManager } = require('.');
     (async () => {
       const objects = [createHost(), createClient(), createNetworkManager()];
       for (const object of objects) { object.on('stopped', () => {}); await object.start(); }
       for (const object of objects) await object.stop();
       console.log('stopped');
     })();`,
  );
  assert.equal(output, 'stopped\n');
});

test('a client never keeps a process, stopped or not', { timeout: DEADLINE }, async (t) => {
  const { hash, peer, directory } = await hostWith(t, api, 100000);
  const download = `client.downloadFile('${hash}', '${directory}/copy', { peers: ['${peer}'] })`;
  const started = `const client = await createFileClient(); client.on('peer:connected', () => {});`;
  for (const end of ['', 'client.disconnect();', 'process.exit(0);']) {
    const output = await runs(
      t,
      `const { createFileClient } = require('.');
       (async () => { ${started} await ${download}; console.log('done'); ${end} })();`,
    );
    assert.equal(output, 'done\n');
  }
});

test('a manager that was never started does not keep a process', { timeout: DEADLINE }, async (t) => {
  const { hash, peer, directory } = await hostWith(t, api, 100000);
  const output = await runs(
    t,
    `import { NetworkManager } from '@dignetwork/dig-nat-tools';
     const manager = new NetworkManager();
     const result = await manager.downloadFile(['${peer}'], '${hash}', { savePath: '${directory}/copy' });
     console.log(result.size);`,
    { module: true },
  );
  assert.equal(output, '100000\n');
});

test('what is in use is not collected', { timeout: DEADLINE }, async (t) => {
  const output = await runs(
    t,
    `const { createNetworkManager } = require('.');
     const { once } = require('events');
     const settle = async () => { for (let i = 0; i < 5; i += 1) { gc(); await new Promise(setImmediate); } };
     const listen = async () => {
       const manager = createNetworkManager();
       manager.on('connection', (c) => c.on('data', (d) => c.send(d + ' back').then(() => c.on('close', () => manager.stop()))));
       await manager.start();
       return manager.port;
     };
     const connect = async (port) => createNetworkManager().connect({ host: '127.0.0.1', port });
     (async () => {
       const port = await listen();
       await settle();
       const connection = await connect(port);
       await settle();
       connection.send('there and');
       const [answer] = await once(connection, 'data');
       await settle();
       console.log(answer);
       connection.close();
     })();`,
    { flags: ['--expose-gc'] },
  );
  assert.equal(output, 'there and back\n');
});

test('a listener that throws ends neither the stream nor the engine', { timeout: DEADLINE }, async (t) => {
  const output = await runs(
    t,
    `const { createNetworkManager } = require('.');
     process.on('uncaughtException', (error) => console.log('caught ' + error.message));
     (async () => {
       const [one, two] = [createNetworkManager(), createNetworkManager()];
       two.on('started', () => { throw new Error('event'); });
       two.on('connection', (connection) => {
         connection.on('bad', () => { throw new Error('message'); });
         connection.on('good', () => { one.stop(); two.stop(); });
       });
       await two.start();
       const connection = await one.connect({ host: '127.0.0.1', port: two.port });
       connection.send('bad', 1);
       connection.send('good', 2);
     })();`,
  );
  assert.deepEqual(output.trim().split('\n').sort(), ['caught event', 'caught message']);
});

test('a worker thread can use the engine and be ended with it running', { timeout: DEADLINE }, async (t) => {
  const output = await runs(
    t,
    `const { Worker } = require('worker_threads');
     const { createHost } = require('.');
     const code = "const { parentPort } = require('worker_threads'); require('.').createFileHost()"
       + ".then((host) => parentPort.postMessage(host.port));";
     (async () => {
       const worker = new Worker(code, { eval: true });
       await new Promise((resolve) => worker.once('message', resolve));
       await worker.terminate();
       const host = createHost();
       await host.start();
       await host.stop();
       console.log('fine');
     })();`,
  );
  assert.equal(output, 'fine\n');
});

test('a started host keeps its process until a signal or exit', { timeout: DEADLINE }, async (t) => {
  const directory = tempDir(t);
  const start = `require('.').createFileHost({ directory: ${JSON.stringify(root + '/examples')} })
    .then((host) => console.log('ready ' + host.port));`;
  const run = child(t, ['-e', start]);
  const [, port] = await run.until(READY);
  // The child has nothing else to do: that it still serves proves that it lives, and was not collected.
  const hash = await api.calculateSHA256File(path.join(root, 'examples', 'simple-host.js'));
  const target = path.join(directory, 'copy');
  await within(api.downloadFile(hash, target, [`127.0.0.1:${port}`], { localEnabled: false }), 'the download');
  run.process.kill('SIGTERM');
  assert.equal((await within(run.ended, 'the end')).signal, 'SIGTERM');
  const exiting = `require('.').createFileHost().then(() => { console.log('exit'); process.exit(0); });`;
  assert.equal(await runs(t, exiting), 'exit\n');
});

test('an uncaught rejection of an unawaited stop or send does not end a process', { timeout: DEADLINE }, async (t) => {
  const output = await runs(
    t,
    `const { createNetworkManager } = require('.');
     (async () => {
       const [one, two] = [createNetworkManager(), createNetworkManager()];
       await two.start();
       const connection = await one.connect('127.0.0.1:' + two.port);
       await connection.close();
       connection.send('nobody reads this');
       one.stop(); two.stop(); one.stop();
       console.log('left');
     })();`,
  );
  assert.equal(output, 'left\n');
});

test('the package is found by its name from both module systems', { timeout: DEADLINE }, async (t) => {
  const print = `console.log(typeof createFileHost, dig.NODE_TYPE.LIGHT, calculateSHA256('x').length);`;
  const esm = `import dig, { createFileHost, calculateSHA256 } from '@dignetwork/dig-nat-tools'; ${print}`;
  const cjs = `const dig = require('@dignetwork/dig-nat-tools'); const { createFileHost, calculateSHA256 } = dig; ${print}`;
  assert.equal(await runs(t, esm, { module: true }), 'function light 64\n');
  assert.equal(await runs(t, cjs), 'function light 64\n');
});

test('the smoke test for old Node versions passes on this one', { timeout: DEADLINE }, async (t) => {
  const run = child(t, ['test/smoke.js']);
  assert.deepEqual(await within(run.ended, 'the smoke test'), { code: 0, signal: null }, run.errors);
});

test('the two examples bring Hello World across', { timeout: DEADLINE }, async (t) => {
  const host = child(t, ['examples/simple-host.js'], { env: { PORT: '0' } });
  const [, hostId] = await host.until(/Host ID: +(\S+)\n/);
  const [, hash] = await host.until(/File hash: +([0-9a-f]{64})\n/);
  const [, address] = await host.until(/Address: +(127\.0\.0\.1:\d+)\n/);
  const program = path.join(root, 'examples', 'simple-client.js');
  const client = child(t, [program], { cwd: tempDir(t), input: `${hostId}\n${hash}\n${address}\n` });
  assert.deepEqual(await within(client.ended, 'the client'), { code: 0, signal: null }, client.errors);
  assert.match(client.output, /Hello World/);
  host.process.kill('SIGINT');
  assert.deepEqual(await within(host.ended, 'the host'), { code: 0, signal: null }, host.errors);
  assert.match(host.output, /Stopped\./);
});
