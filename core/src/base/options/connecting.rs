//! Options of reaching one peer. Not here: what they do (`api::connect`).

use serde::{Deserialize, Serialize};

use super::{FromJson, OptionInfo, in_range};
use crate::base::error::Result;
use crate::base::limits;

options! {
    /// Options of connecting to one peer by whatever way works.
    ConnectOptions {
        /// Where the peer may be, besides what is known of it: multiaddrs or `host:port`. Default none.
        addresses: Vec<String> = Vec::new(), "addresses";
        /// Only these ways, in this order, e.g. `direct`, `upnp`, `udp-hole-punch`, `tcp-hole-punch`, `ice`, `turn`,
        /// `relay`. Default empty: all ways, in the order that is usually fastest.
        preferred_methods: Vec<String> = Vec::new(), "preferredMethods" | "methods" | "preferred_methods";
        /// Time until a first connection stands, in ms. Default 30000, range 100 to 600000.
        timeout_ms: u64 = 30_000, "timeout" | "overallTimeout" | "timeout_ms";
        /// Remember what worked and try it first the next time. Default true.
        save_to_registry: bool = true, "saveToRegistry" | "save_to_registry";
    }
}

impl FromJson for ConnectOptions {
    const TABLE: &'static [OptionInfo] = Self::OPTIONS;

    fn validate(&self) -> Result<()> {
        in_range("addresses", self.addresses.len(), 0, limits::MAX_ADDRESSES_PER_PEER)?;
        in_range("preferredMethods", self.preferred_methods.len(), 0, limits::MAX_PREFERRED_METHODS)?;
        in_range("timeout", self.timeout_ms, 100, 600_000)
    }
}
