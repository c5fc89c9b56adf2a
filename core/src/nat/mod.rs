//! Becoming reachable and reaching others through NATs and firewalls. Not here: encrypted links (`fabric`), which are
//! made over whatever this layer yields, and who has what (`discovery`).

pub mod carrier;
pub mod ice;
pub mod ladder;
pub mod mapping;
pub mod method;
pub mod policy;
pub mod profile;
pub mod punch;
pub mod registry;
pub mod report;
#[cfg(feature = "engine")]
pub mod signal;
pub mod stun;
pub mod turn;
