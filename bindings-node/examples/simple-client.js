'use strict';
// Downloads the file that simple-host.js shares and shows it. Asks for host ID, file hash and address, which may also
// come through a pipe, one a line.

const fs = require('fs');
const path = require('path');
const readline = require('readline');

const { createClient } = require('..');

/** The port of simple-host.js, for addresses without one. */
const DEFAULT_PORT = 8080;

async function main() {
  const input = readline.createInterface({ input: process.stdin });
  const lines = input[Symbol.asyncIterator]();
  const ask = async (question) => {
    process.stdout.write(question);
    const { value = '' } = await lines.next();
    return value.trim();
  };
  const hostId = await ask('Host ID: ');
  const hash = await ask('File hash: ');
  const address = await ask(`IP address (with :port unless it is ${DEFAULT_PORT}): `);
  input.close();

  const client = createClient();
  try {
    const savePath = await client.downloadFile(hostId, hash, {
      peers: address ? [address.includes(':') ? address : `${address}:${DEFAULT_PORT}`] : [],
      savePath: path.join('downloads', `${hash.slice(0, 8)}-hello-world.txt`),
      onProgress: (received, total) => console.log(`${received} of ${total} bytes`),
    });
    console.log(`Saved to ${savePath}:`);
    console.log(fs.readFileSync(savePath, 'utf8'));
  } finally {
    await client.stop();
  }
}

main().catch((error) => {
  console.error(error.advice ? `${error.message} (${error.advice})` : error);
  process.exitCode = 1;
});
