//! Becoming reachable and reaching others through NATs and firewalls. Not here: encrypted links (`fabric`), which are
//! made over whatever this layer yields, and who has what (`discovery`).

pub mod profile;
pub mod punch;
#[cfg(feature = "engine")]
pub mod signal;
pub mod stun;
