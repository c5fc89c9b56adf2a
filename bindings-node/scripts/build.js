'use strict';
// Builds the engine with cargo and puts it beside package.json as dig_nat.node. `--release` builds it optimised; further
// arguments go to cargo.

const { spawnSync } = require('child_process');
const fs = require('fs');
const path = require('path');

const root = path.join(__dirname, '..', '..');
const release = process.argv.includes('--release');
const profile = release ? 'release' : 'debug';
const names = { win32: 'dig_nat_node.dll', darwin: 'libdig_nat_node.dylib' };

const cargo = spawnSync('cargo', ['build', '-p', 'dig-nat-node', ...process.argv.slice(2)], {
  cwd: root,
  stdio: 'inherit',
});
if (cargo.error) {
  console.error(`cargo cannot be run: ${cargo.error.message}`);
  process.exit(1);
}
if (cargo.status !== 0) process.exit(cargo.status ?? 1);

const target = path.resolve(root, process.env.CARGO_TARGET_DIR || 'target');
const library = path.join(target, profile, names[process.platform] || 'libdig_nat_node.so');
const addon = path.join(__dirname, '..', 'dig_nat.node');
// A running process may have the old file mapped: replace it, never write into it.
fs.copyFileSync(library, `${addon}.new`);
fs.renameSync(`${addon}.new`, addon);
console.log(`${path.relative(process.cwd(), addon)} (${profile})`);
