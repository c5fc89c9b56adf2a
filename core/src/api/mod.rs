//! The facade that Rust programs and every binding use: hosts, clients, network managers, tasks, events, the manifest.
//! Calls must be made inside a tokio runtime. Not here: protocol logic, which lives in the layers below.

mod announcing;
mod client;
mod connect;
mod connection;
mod diagnose;
mod discovering;
mod downloads;
mod events;
mod expiring;
mod hashing;
mod host;
mod ice;
mod manifest;
mod nat;
mod network;
mod node;
mod port_mapping;
mod punching;
mod reachability;
mod records;
mod registry;
mod rendezvous;
mod sharing;
mod signalled;
mod signalling;
mod socket;
mod task;
mod turn;
mod watching;
mod ways;

pub use client::FileClient;
pub use connect::Traversal;
pub use connection::{Connection, Message};
pub use diagnose::{Diagnosis, Ipv6State, MappingAnswer, PeerDiagnosis, diagnose};
pub use discovering::PeerDiscoveryManager;
pub use events::EventStream;
pub use hashing::{calculate_sha256, calculate_sha256_file};
pub use host::FileHost;
pub use ice::connect_with_ice;
pub use manifest::manifest;
pub use nat::{PublicIps, detect_nat_type, discover_public_ips};
pub use network::NetworkManager;
pub use port_mapping::{PortMapping, create_upnp_mapping, delete_upnp_mapping, external_address_upnp};
pub use punching::{punch_tcp, punch_udp, tcp_simultaneous_open};
pub use records::{
    CallbackRequest, DiscoveredPeer, DownloadResult, FileCallback, FileInfo, NatReport, PeerStats, ProgressFn,
    RemoteFile,
};
pub use registry::{ConnectionRegistry, RegistryEntry};
pub use rendezvous::SignalledBy;
pub use signalled::{punch_tcp_over, punch_udp_over, tcp_simultaneous_open_over};
pub use signalling::{Signalling, SignallingEnd, signalling};
pub use socket::{PunchedSocket, SocketInfo};
pub use task::{Canceller, Task};
pub use turn::{AllocationInfo, TurnAllocation, create_turn_allocation};

pub use crate::nat::profile::{Filtering, Mapping, NatProfile, PortAllocation};

use crate::base::ids::ContentKey;
use crate::base::options::{ClientOptions, DownloadOptions, NodeOptions};

/// Downloads one file with a client made for this call and stopped after it.
///
/// `node` and `client` configure that client. Dropping the task cancels the download.
pub fn download_file(
    key: ContentKey,
    node: NodeOptions,
    client: ClientOptions,
    options: DownloadOptions,
    on_progress: Option<ProgressFn>,
) -> Task<DownloadResult> {
    Task::spawn(async move |cancel| {
        let client = FileClient::new(node, client)?;
        client.start().await?;
        let download = client.download(key, options, on_progress);
        let canceller = download.canceller();
        let mut result = std::pin::pin!(download.wait());
        let result = tokio::select! {
            result = &mut result => result,
            () = cancel.cancelled() => {
                canceller.cancel();
                result.await
            }
        };
        client.stop().await?;
        result
    })
}
