'use strict';
// Starts coturn's `turnserver` on loopback for a test. Not here: tests.

const assert = require('node:assert/strict');
const { spawn, spawnSync } = require('node:child_process');
const dgram = require('node:dgram');
const net = require('node:net');
const path = require('node:path');

const { tempDir } = require('./support');

const USER = 'user';
const PASSWORD = 'pass';
/** Time a server may take to answer, in ms. */
const START = 20000;

/** Why there is no TURN server here, or false. CI must have one. */
function withoutTurnserver() {
  if (process.env.CI) return false;
  const tried = spawnSync('turnserver', ['--version'], { encoding: 'utf8' });
  return tried.error ? 'turnserver (package coturn) is not installed' : false;
}

/** A port that is free for TCP and UDP, below the system's own range. */
async function freePort() {
  for (;;) {
    const port = 12000 + Math.floor(Math.random() * 18000);
    const server = net.createServer();
    const socket = dgram.createSocket('udp4');
    try {
      await new Promise((resolve, reject) => server.once('error', reject).listen(port, '127.0.0.1', resolve));
      await new Promise((resolve, reject) => socket.once('error', reject).bind(port, '127.0.0.1', resolve));
      return port;
    } catch {
      // Taken: another one.
    } finally {
      await new Promise((resolve) => server.close(resolve));
      await new Promise((resolve) => socket.close(resolve));
    }
  }
}

/** A running server, ended with the test: its port. */
async function turnserver(t) {
  const directory = tempDir(t);
  const port = await freePort();
  const values = ['-n', '--no-cli', '--no-dtls', '--no-tls', '-L', '127.0.0.1', '-r', 'example.org', '-a'];
  values.push('--allow-loopback-peers', '--log-file', 'stdout', '--simple-log', '-u', `${USER}:${PASSWORD}`);
  values.push('-p', String(port), '--userdb', path.join(directory, 'users'), '--pidfile', path.join(directory, 'pid'));
  const child = spawn('turnserver', values, { stdio: ['ignore', 'pipe', 'pipe'] });
  let log = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (text) => (log += text));
  const over = new Promise((resolve) => child.once('close', resolve));
  t.after(async () => {
    child.kill('SIGKILL');
    await over;
  });
  const deadline = Date.now() + START;
  // Its sockets open one after the other.
  while (!(await accepts(port)) || !(await answers(port))) {
    assert.equal(child.exitCode, null, `turnserver ended:\n${log}`);
    assert.ok(Date.now() < deadline, `turnserver does not answer:\n${log}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return port;
}

function accepts(port) {
  return new Promise((resolve) => {
    const socket = net.connect(port, '127.0.0.1');
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
    socket.once('connect', () => socket.destroy());
  });
}

/** Whether a STUN request over UDP is answered within a moment. */
function answers(port) {
  return new Promise((resolve) => {
    const socket = dgram.createSocket('udp4');
    const end = (answered) => {
      clearTimeout(timer);
      socket.close();
      resolve(answered);
    };
    const timer = setTimeout(end, 200, false);
    socket.once('message', () => end(true)).once('error', () => end(false));
    const request = Buffer.alloc(20, 7);
    request.writeUInt32BE(0x00010000, 0);
    request.writeUInt32BE(0x2112a442, 4);
    socket.connect(port, '127.0.0.1', () => socket.send(request));
  });
}

module.exports = { PASSWORD, USER, freePort, turnserver, withoutTurnserver };
