//! Our Gun client, relay and discovery against the stock gun relay and gun.js clients, with and without AXE. They run in
//! Node, one in headless Chromium, and come from npm: `npm install --no-save` in `tests/gun-js` first. Everything is on
//! the loopback interface. Not here: simulated networks, which the machines' own tests have.

mod browser;
mod carrier;
mod discovery;
mod graph;
mod stock;
