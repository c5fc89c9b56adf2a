'use strict';
// Loads the engine. Not here: anything that the engine does.

const path = require('path');

const file = process.env.DIG_NAT_NODE_LIBRARY || path.join(__dirname, '..', 'dig_nat.node');

function load() {
  try {
    return require(file);
  } catch (cause) {
    const error = new Error(
      `cannot load the engine ${file} on ${process.platform}-${process.arch}: ${cause.message}` +
        ' (build it with "npm run build" in bindings-node, which needs a Rust toolchain)',
    );
    error.code = 'ERR_INTERNAL';
    error.cause = cause;
    throw error;
  }
}

module.exports = load();
