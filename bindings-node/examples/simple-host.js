'use strict';
// Shares a text file with "Hello World" in it. Run simple-client.js in another terminal or on another machine and enter
// what this program prints. PORT=… chooses the port, 0 a free one.

const fs = require('fs');
const os = require('os');
const path = require('path');

const { createHost } = require('..');

/** simple-client.js takes this port when none is entered. */
const DEFAULT_PORT = 8080;

async function main() {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'simple-host-'));
  const file = path.join(directory, 'hello-world.txt');
  fs.writeFileSync(file, 'Hello World! This file came from another peer.\n');

  const host = createHost({ port: Number(process.env.PORT ?? DEFAULT_PORT) });
  host.on('warning', ({ error }) => console.error(`${error.message} (${error.advice})`));
  await host.start();
  const { hash } = await host.addFile(file);

  console.log(`Host ID:   ${host.getHostId()}`);
  console.log(`File hash: ${hash}`);
  for (const address of ownAddresses(host)) {
    console.log(`Address:   ${address}`);
  }
  console.log('Sharing until Ctrl+C.');

  const stop = async () => {
    await host.stop();
    fs.rmSync(directory, { recursive: true, force: true });
    console.log('Stopped.');
  };
  process.once('SIGINT', stop);
  process.once('SIGTERM', stop);
}

/** `ip:port` of every address that the host listens on. */
function ownAddresses(host) {
  const hosts = host.addresses.map((address) => address.match(/^\/ip4\/([^/]+)\//)?.[1]).filter(Boolean);
  return [...new Set(hosts)].map((ip) => `${ip}:${host.port}`);
}

main().catch((error) => {
  console.error(`${error.message} (${error.advice})`);
  process.exitCode = 1;
});
