//! The distributed hash table: peers that have a content, found by strangers. Kademlia as libp2p speaks it, with signed
//! announcements, shards and defences of our own. Not here: connecting to what is found.
//!
//! The parts, all pure: [`key`] measures distances, [`contact`] says who may be told of which address, [`message`] is what
//! travels, [`routing`] whom we know, [`query`] one lookup, [`store`] what we keep for others, [`shard`] who keeps what,
//! [`announce`] what we announce, [`machine`] joins them, and [`snapshot`] outlasts them. With the
//! feature `engine`, `driver` runs the machine over the fabric's streams as a [`Source`](super::source::Source).

pub mod announce;
pub mod contact;
pub mod key;
pub mod machine;
pub mod message;
pub mod query;
pub mod routing;
pub mod shard;
pub mod snapshot;
pub mod store;

#[cfg(feature = "engine")]
pub mod config;
#[cfg(feature = "engine")]
pub mod driver;

#[cfg(feature = "engine")]
pub use config::{DhtConfig, DhtStatus, Network};
#[cfg(feature = "engine")]
pub use driver::Dht;
