//! Light nodes for phones: what Swift and Kotlin (and, for tests, Python) see of dig-nat-tools, through UniFFI.
//! Not here: the engine, which is `dig-nat-core`; the generated sources, which are in `swift/` and `kotlin/`.
//!
//! A light node downloads and never uploads. It can be suspended when the system puts the app to sleep: its sockets
//! close, its downloads pause, and both come back on resume.
//!
//! All work runs on two threads of this library (`engine`); the futures that UniFFI hands to the foreign side only
//! wait for it, so they run on any executor.

#![allow(clippy::needless_pass_by_value, reason = "foreign code hands over its own copies")]

mod download;
mod engine;
mod errors;
mod hashing;
mod nat;
mod node;
mod options;
mod progress;
mod records;

pub use download::Download;
pub use errors::DigNatError;
pub use hashing::{calculate_sha256, calculate_sha256_file, version};
pub use nat::{create_upnp_mapping, delete_upnp_mapping, detect_nat_type, discover_public_ips, external_address_upnp};
pub use node::{EventListener, LightNode};
pub use options::{DownloadOptions, FindOptions, LightNodeOptions, MappingOptions, NatOptions};
pub use progress::ProgressListener;
pub use records::{
    DiscoveredPeer, DownloadResult, NatBehaviour, NatPortAllocation, NatProfile, PeerProgress, PeerStats, PeerStatus,
    PortMapping, Progress, PublicIps, RemoteFile,
};

uniffi::setup_scaffolding!("dig_nat");
