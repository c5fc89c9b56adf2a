//! Peer exchange: peers that have to do with the same content tell each other whom else they know for it.
//! Not here: the frames (`wire::pex`) and the sessions that carry them (`transfer`).
//!
//! [`machine`] is pure: what is told to whom and when, and what is believed of what is heard; so is [`own_word`], when each
//! side says itself again. With the feature `engine`
//! [`driver`] checks signatures, hands what was heard to searches, and is the [`Source`](super::source::Source).
//!
//! Only peers with which this node has a session itself are told of: those it has connected to, and those that connected
//! to it and signed where they are reached. What was heard is never passed on before it was found to be true.

pub mod machine;
pub mod own_word;

#[cfg(feature = "engine")]
pub mod driver;

use std::time::Duration;

use crate::base::limits;

/// How peers are exchanged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PexConfig {
    /// Exchange peers at all. Default true.
    pub enabled: bool,
    /// Peers told of in one message, at most [`limits::MAX_PEX_PEERS`], which is the default.
    pub max_peers: usize,
    /// Pause between two messages to one peer. Default [`limits::PEX_INTERVAL`]; a peer that is told more often than it
    /// expects ends the session.
    pub interval: Duration,
    /// Everybody is in our own network, also who comes through a relay in it. Default false.
    pub local_only: bool,
}

impl Default for PexConfig {
    fn default() -> Self {
        Self { enabled: true, max_peers: limits::MAX_PEX_PEERS, interval: limits::PEX_INTERVAL, local_only: false }
    }
}
