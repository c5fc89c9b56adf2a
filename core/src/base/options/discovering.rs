//! Options of announcing and of asking who is known. Not here: what they do (`api::discovering`).

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{FromJson, NodeOptions, OptionInfo, in_range};
use crate::base::error::{Error, Result};
use crate::base::limits;
use crate::base::priority::Priority;

const DAY_MS: u64 = 24 * 3600 * 1000;

options! {
    /// Options of announcing a content.
    AnnounceOptions {
        /// Port of the host in this process that has the content. Default 0: whoever is asked to announce.
        port: u16 = 0, "port";
        /// Readable id under which it is announced too. Default none.
        content_id: Option<String> = None, "contentId" | "content_id";
        /// `high`: everywhere, `medium`: local network, hash table and connected peers, `low`: only the local network.
        /// Default `high`.
        priority: String = "high".to_owned(), "priority" | "announceLevel";
        /// How long it is announced, in ms; after that it is taken back, unless it was announced again. It ends with the
        /// stop too. Default none: until it is taken back. Range 1000 to 31536000000.
        ttl_ms: Option<u64> = None, "ttl" | "ttl_ms";
    }

    /// Options of asking who is known.
    KnownPeersOptions {
        /// Only peers that may have this hash or content id. Default none: all.
        key: Option<String> = None, "infoHash" | "key";
        /// Only peers found in this way: `manual`, `local`, `gun`, `dht` or `pex`. Default none: all.
        source: Option<String> = None, "source";
    }
}

impl FromJson for AnnounceOptions {
    const TABLE: &'static [OptionInfo] = Self::OPTIONS;

    fn validate(&self) -> Result<()> {
        self.priority.parse::<Priority>()?;
        if let Some(ttl) = self.ttl_ms {
            in_range("ttl", ttl, 1000, 365 * DAY_MS)?;
        }
        match &self.content_id {
            Some(id) => in_range("contentId", id.len(), 1, limits::MAX_CONTENT_ID_BYTES),
            None => Ok(()),
        }
    }
}

impl FromJson for KnownPeersOptions {
    const TABLE: &'static [OptionInfo] = Self::OPTIONS;

    fn validate(&self) -> Result<()> {
        in_range("infoHash", self.key.as_deref().map_or(1, str::len), 1, limits::MAX_CONTENT_ID_BYTES)
    }
}

/// The options of a node that concern Gun and its own address. Names are checked by who writes them.
pub(super) fn check(node: &NodeOptions) -> Result<()> {
    in_range("gunAnnounceInterval", node.gun_announce_interval_ms, 100, DAY_MS)?;
    in_range("gunAnnounceTTL", node.gun_announce_ttl_ms, 1000, 365 * DAY_MS)?;
    in_range("gunPeerTTL", node.gun_peer_ttl_ms, 1000, 365 * DAY_MS)?;
    in_range("gunCleanupInterval", node.gun_cleanup_interval_ms, 1000, DAY_MS)?;
    in_range("gunMaxCachedPeers", node.gun_max_cached_peers, 1, 1_000_000)?;
    let Some(ip) = &node.external_ip else { return Ok(()) };
    match ip.parse::<IpAddr>() {
        Ok(ip) if !ip.is_unspecified() && !ip.is_multicast() => Ok(()),
        _ => Err(Error::invalid("externalIp", format_args!("{ip:?} is no address of a node"))),
    }
}
