'use strict';
// One file and one message across, without a test runner: for Node versions that have none. Run it with the oldest
// version that package.json names; process.test.js runs it with the current one.

process.env.DIG_NAT_LOCAL_ONLY = '1';
process.env.DIG_NAT_INTERFACES = 'lo';

const assert = require('assert').strict;
const { once } = require('events');
const fs = require('fs');
const os = require('os');
const path = require('path');

const api = require('..');

async function main() {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'dig-nat-'));
  try {
    fs.writeFileSync(path.join(directory, 'shared.bin'), Buffer.alloc(1000000, 7));
    await transfer(directory);
  } finally {
    fs.rmSync(directory, { recursive: true, force: true });
  }
  await message();
  console.log(`smoke test passed on Node ${process.version}`);
}

async function transfer(directory) {
  const host = await api.createFileHost({ directory, localEnabled: false });
  const [hash] = host.getAnnouncedFiles().keys();
  const target = path.join(directory, 'copy.bin');
  const progress = [];
  const result = await api.downloadFile(hash, target, [`127.0.0.1:${host.port}`], {
    localEnabled: false,
    onProgress: (received, total) => progress.push([received, total]),
  });
  assert.equal(result.size, 1000000);
  assert.equal(api.calculateSHA256(target), hash);
  assert.deepEqual(progress[progress.length - 1], [1000000, 1000000]);
  await host.stop();
}

async function message() {
  const [one, two] = [0, 1].map(() => api.createNetworkManager({ localEnabled: false }));
  await two.start();
  const incoming = once(two, 'connection');
  const near = await one.connect({ host: '127.0.0.1', port: two.port });
  near.send('hello');
  const [far] = await incoming;
  assert.deepEqual(await once(far, 'data'), ['hello']);
  await near.close();
  await one.stop();
  await two.stop();
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
