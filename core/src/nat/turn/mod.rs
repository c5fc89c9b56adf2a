//! TURN (RFC 8656): an address at a server that relays to us, for peers that cannot be reached otherwise. Not here:
//! when a relay is worth it (`ladder`), and circuit relays of the fabric.

pub mod client;
pub mod failure;
pub mod framing;
mod peers;
pub mod uri;

#[cfg(feature = "engine")]
pub mod driver;

pub use client::{Client, Config, Credentials, Output};
pub use failure::TurnFailure;
pub use uri::{Transport, TurnServer};
