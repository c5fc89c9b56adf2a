//! Ports of the router mapped to this machine: PCP (RFC 6887), NAT-PMP (RFC 6886) and UPnP IGD behind one machine.
//! Not here: finding out what kind of NAT the router is, and using the mapped port.
//!
//! | file | what |
//! |------|------|
//! | [`pcp`], [`natpmp`] | bytes to messages and back |
//! | [`epoch`] | has the router forgotten everything? |
//! | [`reach`] | can the outside reach a mapping at this address? |
//! | [`machine`] | all mappings of a node: who is asked, when to renew, what to report |
//! | `driver` | sockets, tasks, UPnP over HTTP; the handle `PortMapper` and one-shot functions |

pub mod epoch;
pub mod machine;
pub mod natpmp;
pub mod pcp;
pub mod reach;
mod vocabulary;

#[cfg(feature = "engine")]
mod driver;

#[cfg(feature = "engine")]
pub use driver::{
    DeleteRequest, MapperConfig, MappingRequest, PortMapper, ProbeReport, create_mapping, delete_mapping,
    external_address, probe, upnp_available,
};
pub use vocabulary::{
    Event, Failure, Family, Malformed, MappingInfo, MappingState, Method, Methods, ProbeResult, Protocol, Route, Wish,
};
