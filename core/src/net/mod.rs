//! Sockets and the clock as the layers above need them. Not here: any protocol, and files (`store`).

pub mod clock;
pub mod interfaces;
pub mod tcp;
pub mod udp;
