//! Hole punching with real sockets on the loopback interface: two peers in one process, without NATs. What NATs change
//! is shown by the simulation (`core/tests/punch_simulation.rs`) and in the NAT lab.

mod hostile;
mod peers;
mod tcp;
mod udp;
