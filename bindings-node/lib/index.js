'use strict';
// The package for `require`. `index.mjs` beside it is the same for `import`.

const { FileClient } = require('./client');
const { Connection } = require('./connection');
const constants = require('./constants');
const discoverer = require('./discoverer');
const { DigNatError } = require('./errors');
const functions = require('./functions');
const { FileHost } = require('./host');
const { NetworkManager } = require('./manager');
const reach = require('./reach');
const registry = require('./registry');
const traversal = require('./traversal');
const upnp = require('./upnp');

const api = {
  ...functions,
  ...upnp,
  ...reach,
  ...traversal,
  ...registry,
  ...discoverer,
  ...constants,
  Connection,
  DigNatError,
  FileClient,
  FileHost,
  NetworkManager,
};

module.exports = { ...api, default: api };
Object.defineProperty(module.exports, '__esModule', { value: true });
