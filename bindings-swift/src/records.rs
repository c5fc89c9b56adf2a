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
