//! The plain records that operations take and return, serialised the same way for every binding.

use std::path::{Path, PathBuf};

use serde::{Serialize, Serializer};

use crate::base::ids::FileHash;
use crate::discovery::candidate::host_and_port;
use crate::discovery::source::Candidate;
use crate::nat::profile::NatProfile;
pub use crate::transfer::driver::callback::{CallbackRequest, FileCallback};
pub use crate::transfer::driver::order::ProgressFn;

/// A file that this node shares.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FileInfo {
    /// Where it is. In JSON, bytes that are not UTF-8 are shown as U+FFFD.
    #[serde(serialize_with = "lossy")]
    pub path: PathBuf,
    /// Its SHA-256.
    pub hash: FileHash,
    /// Its size in bytes.
    pub size: u64,
    /// Its readable id.
    pub content_id: Option<String>,
}

/// What peers say of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RemoteFile {
    /// Its SHA-256.
    pub hash: FileHash,
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
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
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

/// One peer's part in a finished download.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
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

/// A finished download.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DownloadResult {
    /// Where the file is. In JSON, bytes that are not UTF-8 are shown as U+FFFD.
    #[serde(serialize_with = "lossy")]
    pub path: PathBuf,
    /// Its SHA-256, proven.
    pub hash: FileHash,
    /// Its size in bytes.
    pub size: u64,
    /// Bytes that an earlier, interrupted run had already fetched.
    pub resumed_bytes: u64,
    /// Wall-clock time in ms.
    pub total_time_ms: u64,
    /// Bytes per second, resumed bytes left out; never NaN.
    pub average_speed: f64,
    /// By peer id.
    pub peers: std::collections::BTreeMap<String, PeerStats>,
}

/// A [`NatProfile`] as bindings hand it over: with its name and what follows from it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NatReport {
    /// `public`, `full-cone`, `port-restricted`, `symmetric`, `udp-blocked`, …
    pub nat_type: &'static str,
    /// Whether new destinations get new ports, so that what one server sees is useless for another.
    pub symmetric: bool,
    /// Whether a second NAT follows the nearest router; `None` while that router has not told its address.
    pub double_nat: Option<bool>,
    /// What was measured.
    #[serde(flatten)]
    pub profile: NatProfile,
}

impl From<NatProfile> for NatReport {
    fn from(profile: NatProfile) -> Self {
        Self { nat_type: profile.name(), symmetric: profile.is_symmetric(), double_nat: profile.is_double(), profile }
    }
}

fn lossy<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&path.display())
}

impl From<&Candidate> for DiscoveredPeer {
    fn from(candidate: &Candidate) -> Self {
        let (address, port) = candidate.addresses.iter().find_map(|text| host_and_port(text)).unwrap_or_default();
        Self {
            id: candidate.label().to_owned(),
            address,
            port,
            addresses: candidate.addresses.clone(),
            source: candidate.source.name().to_owned(),
            confidence: candidate.confidence,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn paths_that_are_not_text_are_shown() {
        use std::os::unix::ffi::OsStrExt;

        let path = PathBuf::from(std::ffi::OsStr::from_bytes(b"a\xff.bin"));
        let info = FileInfo { path, hash: FileHash::of(b""), size: 0, content_id: None };
        let shown = serde_json::to_value(&info).expect("serialises");
        assert_eq!(shown["path"], "a\u{fffd}.bin");
    }

    #[test]
    fn a_nat_report_has_the_name_beside_what_was_measured() {
        use crate::nat::profile::{Mapping, PortAllocation};

        let profile = NatProfile {
            public_v4: "203.0.113.5:9".parse().ok(),
            mapping: Some(Mapping::AddressAndPortDependent),
            allocation: Some(PortAllocation::Sequential { step: -2 }),
            ..NatProfile::default()
        };
        let shown = serde_json::to_value(NatReport::from(profile)).expect("serialises");
        assert_eq!((&shown["natType"], &shown["symmetric"]), (&"symmetric".into(), &true.into()));
        assert_eq!((&shown["doubleNat"], &shown["publicV4"]), (&serde_json::Value::Null, &"203.0.113.5:9".into()));
        assert_eq!(shown["mapping"], "address-and-port-dependent");
        assert_eq!(shown["allocation"], serde_json::json!({"kind": "sequential", "step": -2}));
    }
}
