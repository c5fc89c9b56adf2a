//! ICE (RFC 8445) with trickled candidates (RFC 8838) and consent (RFC 7675): finds a pair of addresses between which
//! datagrams pass. One stream, one component, UDP. Pure.
//! Not here: gathering candidates (`stun`, `turn`), carrying them to the peer (`signal`), and the bytes on the pair.
//!
//! What is assumed and where it is written:
//! - full agents on both sides; a lite one is checked like any other (8445 section 2.5);
//! - one foundation is one kind, base address and server (section 5.1.1.3);
//! - regular nomination only (section 8.1.1); an aggressive peer's best nominated pair is taken;
//! - checks without the right integrity are not answered at all, where section 7.3 would send an error: whoever does
//!   not know the password learns nothing from us, and gets back less than it sent;
//! - a peer-reflexive address of a private network is believed, since the packet did come from there; a candidate that
//!   is only told must pass the address policy.

mod agent;
mod candidate;
mod checks;
mod description;
#[cfg(feature = "engine")]
pub mod driver;
mod messages;
mod pair;

pub use self::agent::{Agent, Config, FailedBecause, LocalId, Output, Rejected};
pub use self::candidate::{Candidate, Kind, priority};
pub use self::description::Description;
pub use self::messages::{Credentials, Role};
