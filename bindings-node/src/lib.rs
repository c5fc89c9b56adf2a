//! Node glue: the facade of `dig-nat-core` as Node-API classes. Options go in and records come out as JSON text, so
//! that names, defaults and numbers are those of core's tables. Not here: call forms, event emitters and defaults of
//! the npm package, which are JavaScript in `../lib`.

// The attribute macros of napi expand to Node-API calls; no line of this crate is itself unsafe.
#![allow(unsafe_code)]
// Without the attribute macros' registration code, which test builds leave out, nothing calls the functions.
#![cfg_attr(test, allow(dead_code))]
// napi hands arguments over by value.
#![allow(clippy::needless_pass_by_value)]

mod callback;
mod client;
mod connection;
mod discovery;
mod error;
mod functions;
mod gun;
mod host;
mod json;
mod network;
mod reach;
mod registry;
mod task;
mod traversal;
