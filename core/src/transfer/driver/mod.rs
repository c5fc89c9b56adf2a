//! The driver around the transfer machines: streams, disk, worker threads and clocks.
//!
//! [`library`] is what this node can give, [`serving`] gives it, [`downloading`] runs one download as its [`order`] says, [`source`] is one
//! stream of a download, [`frames`] reads and writes frames, [`limiter`] paces; the time comes from [`clock`](crate::net::clock).
//! Not here: any decision about pieces or peers, which the machines make.

pub mod asking;
pub mod callback;
mod candidates;
pub mod downloading;
pub mod frames;
pub mod library;
pub mod limiter;
mod moving;
pub mod order;
pub mod reaching;
pub mod serving;
mod source;
mod storing;
pub mod workers;
