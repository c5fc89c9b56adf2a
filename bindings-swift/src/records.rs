//! The plain records that calls return.
//! Not here: their making; each mirrors one of core's.

use std::collections::HashMap;

use dig_nat_core::api;
use dig_nat_core::base::events;

/// A finished download.
#[derive(Clone, Debug, PartialEq, uniffi::Record)]
pub struct DownloadResult {
    /// Where the file is.
    pub path: String,
    /// Its SHA-256 in hex, proven.
    pub hash: String,
    /// Its size in bytes.
    pub size: u64,
    /// Bytes that an earlier, interrupted run had already fetched.
    pub resumed_bytes: u64,
    /// Wall-clock time in ms.
    pub total_time_ms: u64,
    /// Bytes per second, resumed bytes left out; never NaN.
    pub average_speed: f64,
    /// By peer id.
    pub peers: HashMap<String, PeerStats>,
}

/// One peer's part in a finished download.
#[derive(Clone, Debug, PartialEq, uniffi::Record)]
pub struct PeerStats {
    /// Payload bytes received from it.
    pub bytes: u64,
    /// Mean payload bytes per second while it took part.
    pub rate: f64,
    /// `tcp`, `udp`, …
    pub connection_type: String,
    /// Whether it took part until the end.
    pub active: bool,
}

/// What peers say of a file.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct RemoteFile {
    /// Its SHA-256 in hex.
    pub hash: String,
    /// Its size in bytes, as claimed by the first peer that answered.
    pub size: u64,
    /// Bytes per piece.
    pub piece_size: u32,
    /// Number of pieces.
    pub pieces: u32,
    /// Suggested name, made safe.
    pub name: Option<String>,
}

/// Somebody who may have a content.
#[derive(Clone, Debug, PartialEq, uniffi::Record)]
pub struct DiscoveredPeer {
    /// Peer id, or `host:port` while that is unknown.
    pub id: String,
    /// Host part of the best address.
    pub address: String,
    /// Port of the best address.
    pub port: u16,
    /// All addresses, best first: multiaddrs or `host:port`.
    pub addresses: Vec<String>,
    /// `manual`, `local`, …
    pub source: String,
    /// Trust in the record, 0 to 1.
    pub confidence: f64,
}

/// The state of a download.
#[derive(Clone, Debug, PartialEq, uniffi::Record)]
pub struct Progress {
    /// Verified bytes, those of an earlier run included.
    pub bytes: u64,
    /// Size of the file, 0 while unknown.
    pub total: u64,
    /// `bytes / total`, 0 to 1; 1 for a finished empty file. Never NaN.
    pub fraction: f64,
    /// Bytes per second over the last seconds.
    pub rate: f64,
    /// Seconds left at this rate, absent while unknown.
    pub eta: Option<f64>,
    /// Every peer of this download.
    pub peers: Vec<PeerProgress>,
}

/// One peer's part in a download.
#[derive(Clone, Debug, PartialEq, uniffi::Record)]
pub struct PeerProgress {
    /// Who; the address as given while the id is still unknown.
    pub peer: String,
    /// What it is doing.
    pub status: PeerStatus,
    /// Payload bytes received from it.
    pub bytes: u64,
    /// Payload bytes per second over the last seconds.
    pub rate: f64,
    /// `tcp`, `udp` (QUIC) or the traversal method that carries the bytes.
    pub connection_type: String,
}

/// How a peer takes part in a download.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum PeerStatus {
    /// Being dialled or asked for the first time.
    Connecting,
    /// Connected, waiting to be served.
    Choked,
    /// Sending data.
    Active,
    /// Much slower than the others; used only for what nobody else has.
    Slow,
    /// Gone or given up.
    Dropped,
    /// Caught lying; never used again.
    Banned,
}

/// What is known about the way from this device to the internet. Absent is "could not be told".
#[derive(Clone, Debug, PartialEq, uniffi::Record)]
pub struct NatProfile {
    /// `public`, `full-cone`, `port-restricted`, `symmetric`, `udp-blocked`, …
    pub nat_type: String,
    /// Whether new destinations get new ports, so that what one server sees is useless for another.
    pub symmetric: bool,
    /// Whether a second NAT follows the nearest router.
    pub double_nat: Option<bool>,
    /// Our IPv4 endpoint (`host:port`) as the internet sees it.
    pub public_v4: Option<String>,
    /// Our IPv6 endpoint as the internet sees it.
    pub public_v6: Option<String>,
    /// Whether a NAT translates our IPv4 address.
    pub translated: Option<bool>,
    /// Which destinations share one external endpoint (IPv4).
    pub mapping: Option<NatBehaviour>,
    /// Who may send to an external endpoint (IPv4).
    pub filtering: Option<NatBehaviour>,
    /// How external ports are chosen (IPv4).
    pub allocation: Option<NatPortAllocation>,
    /// Whether two hosts behind the NAT reach each other by its public address.
    pub hairpin: Option<bool>,
    /// At least so long an idle UDP mapping lives, in ms.
    pub lifetime_ms: Option<u64>,
    /// Whether UDP does not get out at all while TCP does.
    pub udp_blocked: bool,
    /// Filtering of a firewall in front of our IPv6 address.
    pub filtering_v6: Option<NatBehaviour>,
    /// External address that the nearest router reports.
    pub router_external: Option<String>,
}

/// What a NAT's mapping or filtering depends on (RFC 4787).
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum NatBehaviour {
    /// On nothing: one endpoint for all, open for all.
    EndpointIndependent,
    /// On the address of the other side.
    AddressDependent,
    /// On address and port of the other side.
    AddressAndPortDependent,
}

/// How a NAT chooses external ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum NatPortAllocation {
    /// The external port is the internal one.
    Preserving,
    /// Each new mapping takes the last one's port plus a step.
    Sequential {
        /// Ports from one mapping to the next.
        step: i16,
    },
    /// Ports come from one contiguous block.
    Block {
        /// Lowest port seen.
        first: u16,
        /// Size of the smallest aligned power-of-two block that holds all ports seen.
        size: u16,
    },
    /// No pattern.
    Random,
}

/// This device's addresses as the internet sees them.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct PublicIps {
    /// IPv4, absent when no server answered.
    pub ipv4: Option<String>,
    /// IPv6, absent when no server answered or it was not asked for.
    pub ipv6: Option<String>,
}

/// A mapping that a router made.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct PortMapping {
    /// `TCP` or `UDP`.
    pub protocol: String,
    /// This device's port.
    pub internal_port: u16,
    /// The router's port.
    pub external_port: u16,
    /// The router's outside address.
    pub external_address: String,
    /// How long the router keeps it, in seconds; absent for ever.
    pub lifetime_s: Option<u64>,
}

impl From<api::PortMapping> for PortMapping {
    fn from(mapping: api::PortMapping) -> Self {
        Self {
            protocol: mapping.protocol,
            internal_port: mapping.internal_port,
            external_port: mapping.external_port,
            external_address: mapping.external_address.to_string(),
            lifetime_s: mapping.lifetime_s,
        }
    }
}

impl From<api::NatProfile> for NatProfile {
    fn from(profile: api::NatProfile) -> Self {
        let filtering = |filtering| match filtering {
            api::Filtering::EndpointIndependent => NatBehaviour::EndpointIndependent,
            api::Filtering::AddressDependent => NatBehaviour::AddressDependent,
            api::Filtering::AddressAndPortDependent => NatBehaviour::AddressAndPortDependent,
        };
        let mapping = |mapping| match mapping {
            api::Mapping::EndpointIndependent => NatBehaviour::EndpointIndependent,
            api::Mapping::AddressDependent => NatBehaviour::AddressDependent,
            api::Mapping::AddressAndPortDependent => NatBehaviour::AddressAndPortDependent,
        };
        let allocation = |allocation| match allocation {
            api::PortAllocation::Preserving => NatPortAllocation::Preserving,
            api::PortAllocation::Sequential { step } => NatPortAllocation::Sequential { step },
            api::PortAllocation::Block { first, size } => NatPortAllocation::Block { first, size },
            api::PortAllocation::Random => NatPortAllocation::Random,
        };
        Self {
            nat_type: profile.name().to_owned(),
            symmetric: profile.is_symmetric(),
            double_nat: profile.is_double(),
            public_v4: profile.public_v4.map(|address| address.to_string()),
            public_v6: profile.public_v6.map(|address| address.to_string()),
            translated: profile.translated,
            mapping: profile.mapping.map(mapping),
            filtering: profile.filtering.map(filtering),
            allocation: profile.allocation.map(allocation),
            hairpin: profile.hairpin,
            lifetime_ms: profile.lifetime_ms,
            udp_blocked: profile.udp_blocked,
            filtering_v6: profile.filtering_v6.map(filtering),
            router_external: profile.router_external.map(|address| address.to_string()),
        }
    }
}

impl From<api::PublicIps> for PublicIps {
    fn from(found: api::PublicIps) -> Self {
        Self {
            ipv4: found.ipv4.map(|address| address.to_string()),
            ipv6: found.ipv6.map(|address| address.to_string()),
        }
    }
}

impl From<api::DownloadResult> for DownloadResult {
    fn from(result: api::DownloadResult) -> Self {
        Self {
            path: result.path.display().to_string(),
            hash: result.hash.to_string(),
            size: result.size,
            resumed_bytes: result.resumed_bytes,
            total_time_ms: result.total_time_ms,
            average_speed: result.average_speed,
            peers: result.peers.into_iter().map(|(peer, stats)| (peer, stats.into())).collect(),
        }
    }
}

impl From<api::PeerStats> for PeerStats {
    fn from(stats: api::PeerStats) -> Self {
        let api::PeerStats { bytes, rate, connection_type, active } = stats;
        Self { bytes, rate, connection_type, active }
    }
}

impl From<api::RemoteFile> for RemoteFile {
    fn from(file: api::RemoteFile) -> Self {
        let api::RemoteFile { hash, size, piece_size, pieces, name } = file;
        Self { hash: hash.to_string(), size, piece_size, pieces, name }
    }
}

impl From<api::DiscoveredPeer> for DiscoveredPeer {
    fn from(peer: api::DiscoveredPeer) -> Self {
        let api::DiscoveredPeer { id, address, port, addresses, source, confidence } = peer;
        Self { id, address, port, addresses, source, confidence }
    }
}

impl From<&events::Progress> for Progress {
    fn from(progress: &events::Progress) -> Self {
        Self {
            bytes: progress.bytes,
            total: progress.total,
            fraction: progress.fraction,
            rate: progress.rate,
            eta: progress.eta,
            peers: progress.peers.iter().map(Into::into).collect(),
        }
    }
}

impl From<&events::PeerProgress> for PeerProgress {
    fn from(peer: &events::PeerProgress) -> Self {
        Self {
            peer: peer.peer.clone(),
            status: peer.status.into(),
            bytes: peer.bytes,
            rate: peer.rate,
            connection_type: peer.connection_type.clone(),
        }
    }
}

impl From<events::PeerStatus> for PeerStatus {
    fn from(status: events::PeerStatus) -> Self {
        match status {
            events::PeerStatus::Connecting => Self::Connecting,
            events::PeerStatus::Choked => Self::Choked,
            events::PeerStatus::Active => Self::Active,
            events::PeerStatus::Slow => Self::Slow,
            events::PeerStatus::Dropped => Self::Dropped,
            events::PeerStatus::Banned => Self::Banned,
        }
    }
}
