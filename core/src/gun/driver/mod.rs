//! The sockets and tasks around the machines of Gun. Not here: any decision about messages.

pub mod bridge;
pub mod client;
pub mod relay;

mod news;
mod socket;
