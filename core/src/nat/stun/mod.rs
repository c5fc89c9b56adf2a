//! STUN (RFC 8489): what the internet sees of us, and what kind of NAT does that to us (RFC 5780). Not here: relaying
//! (`turn`), punching holes, and choosing among paths.

pub mod attribute;
pub mod integrity;
pub mod message;

pub use attribute::{Attribute, Family};
pub use integrity::{Integrity, Key};
pub use message::{Class, Message, Method, Received, TransactionId, decode};
