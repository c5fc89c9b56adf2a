// The same types for `import` in a project that is itself an ES module.
export * from './index.js';
export { default } from './index.js';
