//! STUN (RFC 8489): what the internet sees of us, and what kind of NAT does that to us (RFC 5780). Not here: relaying
//! (`turn`), punching holes, and choosing among paths.

pub mod attribute;
pub mod behaviour;
#[cfg(feature = "engine")]
pub mod driver;
pub mod integrity;
pub mod message;
pub mod redirect;
pub mod responder;
pub mod server;
pub mod transaction;

pub use attribute::{Attribute, Family};
pub use integrity::{Integrity, Key};
pub use message::{Class, Message, Method, Received, TransactionId, decode};
pub use server::StunServer;

/// SOFTWARE of our requests. Long enough that a peer's answer, which may not be longer than the request, fits:
/// a header with one IPv6 address and FINGERPRINT is 52 bytes, and so is this request.
pub const CLIENT_SOFTWARE: &str = "dig-nat-tools NAT discovery ";
