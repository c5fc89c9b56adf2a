//! Who has what. Pure tables; drivers for the local network.
//!
//! [`candidate`] is what a search yields, [`table`] remembers it, [`trust`] says how far to believe it, [`pex`] has peers
//! tell each other (all pure). With the feature `engine`: [`source`] is the trait every way of finding peers implements,
//! [`own`] what they tell others of this node, [`local`] finds peers on the local network, [`dht`] in the distributed hash
//! table, [`gun`] through Gun relays, and [`manager`] joins all sources into one live stream.
//! Not here: dialling candidates, or asking them whether they really have a file.

pub mod candidate;
pub mod dht;
pub mod gun;
pub mod pex;
pub mod table;
pub mod trust;

#[cfg(feature = "engine")]
mod keeping;
#[cfg(feature = "engine")]
pub mod local;
#[cfg(feature = "engine")]
pub mod manager;
#[cfg(feature = "engine")]
pub mod own;
#[cfg(feature = "engine")]
mod search;
#[cfg(feature = "engine")]
pub mod source;
