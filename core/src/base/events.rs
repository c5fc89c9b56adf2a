//! What a node tells its user while it works: one enum, serialised the same way for every binding.
//! Not here: queues and subscriptions, which belong to the facade.

use serde::Serialize;

use super::error::{Error, ErrorKind};
use super::ids::{FileHash, PeerId};

/// How a peer takes part in a download.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
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

/// One peer's part in a download.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
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

/// The state of a download. Sent at most 20 times a second; the first and the last state are always sent.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// Verified bytes, those of an earlier run included. Never falls except when a lie is unmasked.
    pub bytes: u64,
    /// Size of the file, 0 while unknown.
    pub total: u64,
    /// `bytes / total` in 0.0..=1.0; 1.0 for a finished empty file, 0.0 while unknown. Never NaN.
    pub fraction: f64,
    /// Bytes per second over the last seconds.
    pub rate: f64,
    /// Seconds left at this rate, absent while unknown.
    pub eta: Option<f64>,
    /// Every peer of this download.
    pub peers: Vec<PeerProgress>,
}

/// An error as it travels in events and across bindings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ErrorRecord {
    /// Text code, e.g. `ERR_NO_PEERS`.
    pub code: &'static str,
    /// Number of the kind.
    pub number: u16,
    /// What failed, with causes.
    pub message: String,
    /// What to do.
    pub advice: &'static str,
}

impl From<&Error> for ErrorRecord {
    fn from(error: &Error) -> Self {
        let kind: ErrorKind = error.kind();
        Self { code: kind.code(), number: kind.number(), message: error.full_message(), advice: kind.advice() }
    }
}

/// Something that happened in a node. `type` in JSON is the variant in colon form.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "type", rename_all_fields = "camelCase")]
#[non_exhaustive]
pub enum Event {
    /// The node listens; addresses are multiaddrs with the peer id.
    #[serde(rename = "started")]
    Started {
        /// This node's id.
        peer_id: PeerId,
        /// The bound port.
        port: u16,
        /// Where it listens.
        addresses: Vec<String>,
    },
    /// The node has stopped.
    #[serde(rename = "stopped")]
    Stopped,
    /// A connection to a peer was made or accepted.
    #[serde(rename = "peer:connected")]
    PeerConnected {
        /// Who.
        peer: PeerId,
        /// Its address.
        address: String,
        /// `tcp` or `udp`.
        connection_type: String,
    },
    /// The last connection to a peer ended.
    #[serde(rename = "peer:disconnected")]
    PeerDisconnected {
        /// Who.
        peer: PeerId,
    },
    /// Somebody who may have a searched content was found.
    #[serde(rename = "peer:discovered")]
    PeerDiscovered {
        /// Its id, or its address while the id is unknown.
        id: String,
        /// Host part of its best address.
        address: String,
        /// Port of its best address.
        port: u16,
        /// `local`, `manual`, …
        source: String,
        /// Trust in the record, 0 to 1.
        confidence: f64,
        /// The content, as searched for.
        key: String,
    },
    /// A peer was caught giving false data or a false description and is banned.
    #[serde(rename = "peer:banned")]
    PeerBanned {
        /// Who.
        peer: String,
        /// The file.
        hash: FileHash,
        /// What it did.
        reason: String,
    },
    /// Hashing of shared files proceeds.
    #[serde(rename = "hashing")]
    Hashing {
        /// Files done.
        files: u64,
        /// Files in all.
        total_files: u64,
        /// Bytes done.
        bytes: u64,
        /// Bytes in all.
        total_bytes: u64,
    },
    /// A file is shared now.
    #[serde(rename = "file:added")]
    FileAdded {
        /// Its hash.
        hash: FileHash,
        /// Its path.
        path: String,
        /// Its size in bytes.
        size: u64,
        /// Its readable id.
        content_id: Option<String>,
    },
    /// A file is no longer shared.
    #[serde(rename = "file:removed")]
    FileRemoved {
        /// Its hash.
        hash: FileHash,
        /// Its path.
        path: String,
    },
    /// A shared file changed on disk and is not served any more.
    #[serde(rename = "file:changed")]
    FileChanged {
        /// The hash it had.
        hash: FileHash,
        /// Its path.
        path: String,
    },
    /// It is known what stands between this node and the internet.
    #[serde(rename = "nat:detected")]
    NatDetected {
        /// `public`, `full-cone`, `port-restricted`, `symmetric`, `udp-blocked`, …
        nat_type: String,
        /// Our IPv4 endpoint (`host:port`) as the internet sees it.
        public_v4: Option<String>,
        /// Our IPv6 endpoint as the internet sees it.
        public_v6: Option<String>,
    },
    /// The router forwards a port to this node.
    #[serde(rename = "port:mapped")]
    PortMapped {
        /// `tcp` or `udp`.
        protocol: String,
        /// This node's port.
        internal_port: u16,
        /// The router's address and port (`host:port`).
        external: String,
        /// `PCP`, `NAT-PMP` or `UPnP`.
        method: String,
        /// Whether others can be expected to reach it: not when the router itself stands behind a NAT.
        reachable: bool,
    },
    /// The router no longer forwards a port; it is asked again.
    #[serde(rename = "port:lost")]
    PortLost {
        /// `tcp` or `udp`.
        protocol: String,
        /// This node's port.
        internal_port: u16,
        /// Why.
        reason: String,
    },
    /// A relay holds a place for this node, which can be reached through it.
    #[serde(rename = "relay:reserved")]
    RelayReserved {
        /// The address to give to others.
        address: String,
    },
    /// A relay no longer holds a place for this node; it is asked again.
    #[serde(rename = "relay:lost")]
    RelayLost {
        /// The address that no longer works.
        address: String,
    },
    /// A file or message could not be handled; the node goes on.
    #[serde(rename = "warning")]
    Warning {
        /// What happened.
        error: ErrorRecord,
    },
    /// The subscriber was too slow; so many events were left out.
    #[serde(rename = "lagged")]
    Lagged {
        /// How many.
        missed: u64,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_carry_their_type_in_colon_form() {
        let event = Event::PeerDisconnected { peer: PeerId::from_text("12D3") };
        assert_eq!(serde_json::to_string(&event).expect("json"), r#"{"type":"peer:disconnected","peer":"12D3"}"#);
    }
}
