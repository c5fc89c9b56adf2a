//! Bytes to messages and back, for every protocol of ours. Pure: no socket and no allocation that a length check
//! has not allowed first.

pub mod announcement;
pub mod message;
pub mod pex;
pub mod reader;
pub mod transfer;
