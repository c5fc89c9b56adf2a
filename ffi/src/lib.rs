//! The C interface of dig-nat-tools: opaque handles, tasks, records. `include/dig_nat.h` is generated from this crate.
//! Not here: anything a node does, which is `dig-nat-core`'s facade; this crate only carries it across the C ABI.
//!
//! * `handles`: what an opaque pointer is. A handle is a number in a table, never an address, so a stale, foreign or
//!   doubly freed handle is an error and not undefined behaviour.
//! * `edge`: every exported function runs inside it; panics and errors become a status and an error object.
//! * `argument`: the only place that reads C strings and options and writes through out pointers.
//! * `runtime`, `dispatcher`, `task`: operations, their one completion, and the thread that runs callbacks.
//! * the rest: one module per type of the header.

#![allow(unsafe_code, reason = "a C ABI is raw pointers; all of them are read and written in `argument`")]
#![allow(clippy::missing_safety_doc, reason = "the first page of the header is the contract of every function")]
#![allow(clippy::too_many_arguments, reason = "C has no default arguments")]
#![allow(clippy::not_unsafe_ptr_arg_deref, reason = "handles are never dereferenced")]

mod argument;
mod client;
mod connection;
mod discovery;
mod dispatcher;
mod edge;
mod error;
mod handles;
mod hashing;
mod host;
mod library;
mod manager;
mod nat;
mod options;
mod punching;
mod reach;
mod registry;
mod result;
mod runtime;
mod signaling;
mod socket;
mod subscription;
mod task;
mod turn;

pub use client::*;
pub use connection::*;
pub use discovery::*;
pub use error::*;
pub use hashing::*;
pub use host::*;
pub use library::*;
pub use manager::*;
pub use nat::*;
pub use options::*;
pub use punching::*;
pub use reach::*;
pub use registry::*;
pub use result::*;
pub use runtime::*;
pub use signaling::*;
pub use socket::*;
pub use subscription::*;
pub use task::*;
pub use turn::*;
