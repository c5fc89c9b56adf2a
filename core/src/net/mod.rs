//! Sockets as the layers above need them. Not here: any protocol, and files (`store`).

pub mod tcp;
pub mod udp;
