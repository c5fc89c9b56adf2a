//! The engine of dig-nat-tools: files found by their SHA-256, fetched from every peer that has them,
//! proven piece by piece.
//!
//! # Architecture
//!
//! The modules form a ladder. Each may use only what stands above it in this list; the test
//! `layers` in the workspace's `tests` folder walks the sources and fails on an upward `use`.
//!
//! 1. [`base`]: ids, errors, options, events, limits, time, randomness. No I/O.
//! 2. [`content`]: what a file is (SHA-256 chaining states, pieces, proofs). Pure.
//!    [`wire`]: bytes to messages and back. Pure.
//! 3. `net`: sockets that several protocols share. `store`: disk. Hash cache, part files, resume files, names.
//! 4. [`gun`]: client and relay of the Gun graph, native on its wire format. Pure machines with drivers.
//! 5. [`nat`]: becoming reachable and reaching others: STUN, port mapping, hole punching. Pure machines with drivers.
//! 6. `fabric`: authenticated, encrypted, multiplexed links between peers. The only place that names libp2p.
//! 7. [`discovery`]: who has what. Pure tables and machines; drivers for the local network, hash table and Gun.
//! 8. [`transfer`]: moving bytes. Pure machines for downloading and serving; one driver.
//! 9. `api`: the facade that Rust programs and all bindings use.
//!
//! A *machine* is a plain struct with `handle(now, input)`, `poll() -> Option<output>` and
//! `next_timeout()`. It owns no socket, clock, task, file or global randomness, so whole swarms run in
//! one deterministic test. A *driver* (`driver.rs`) owns the sockets and tasks around one machine.
//!
//! # Features
//!
//! `engine` (default) adds everything that touches the operating system. Without it only the pure layers are
//! built, which is what the simulation and the fuzz targets need.

pub mod base;
pub mod content;
pub mod discovery;
pub mod gun;
pub mod nat;
pub mod transfer;
pub mod wire;

#[cfg(feature = "engine")]
pub mod api;
#[cfg(feature = "engine")]
pub mod fabric;
#[cfg(feature = "engine")]
pub mod net;
#[cfg(feature = "engine")]
pub mod store;

pub use base::error::{Error, ErrorKind, Result};
