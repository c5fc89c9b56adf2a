//! Gun: a client and a relay of the graph database that peers written in JavaScript use to find each other, native on
//! Gun's WebSocket protocol. Not here: what is written there (`discovery::gun`).
//!
//! Pure: [`value`] and [`ham`] (values and which of two holds), [`message`] (the wire), [`names`] (what may be written),
//! [`graph`], [`dedup`], [`interests`] and [`writes`] (subscriptions and puts), and the machines [`client`] and
//! [`relay`]. With the feature `engine`: [`backend`] is what users of a graph work with, [`driver`] has the sockets.
//!
//! No relay is built in: records are public to whoever runs one.

pub mod client;
pub mod dedup;
pub mod graph;
pub mod ham;
pub mod interests;
pub mod message;
pub mod names;
pub mod relay;
pub mod value;
pub mod writes;

#[cfg(feature = "engine")]
pub mod backend;
#[cfg(feature = "engine")]
pub mod driver;

pub use interests::{Entry, Update};
pub use value::{Cell, Record, Value};

#[cfg(feature = "engine")]
pub use backend::GunBackend;
#[cfg(feature = "engine")]
pub use driver::bridge::GunBridge;
#[cfg(feature = "engine")]
pub use driver::client::{GunClient, GunClientConfig};
#[cfg(feature = "engine")]
pub use driver::relay::{GunRelay, GunRelayConfig};

use crate::base::random::Jitter;
use crate::base::time::Time;

/// One moment on both clocks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Now {
    /// For waits.
    pub time: Time,
    /// For states: milliseconds since 1970.
    pub wall_ms: f64,
}

/// A fresh message id of the form stock peers use, but longer: nobody shall guess it.
fn message_id(random: &mut Jitter) -> String {
    const LETTERS: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    (0..12).map(|_| char::from(LETTERS[random.below(LETTERS.len())])).collect()
}
