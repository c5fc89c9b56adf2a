//! Peers found through Gun relays, also by and for programs in JavaScript that write the same records.
//! Not here: the relays' protocol (`gun`), and connecting to what is found.
//!
//! [`record`] is the layout in the graph (pure), [`book`] what is known, also across restarts (pure). With the feature
//! `engine`: [`GunDiscovery`] announces, searches and maps content ids over any [`GunBackend`](crate::gun::GunBackend).
//!
//! Whoever runs or uses a relay can read and overwrite everything there. Records are signed, so a forged one is not
//! believed; who reads keeps the last true one; and who announces watches its records and writes them again at once.

pub mod book;
pub mod record;

#[cfg(feature = "engine")]
mod driver;
#[cfg(feature = "engine")]
mod source;
#[cfg(feature = "engine")]
pub use source::{GunConfig, GunDiscovery};
