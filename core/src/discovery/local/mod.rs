//! Peers on the local network by multicast DNS service discovery (RFC 6762, RFC 6763).
//! Not here: other networks, or connecting to what is found.
//!
//! A node offers the service `_dig-nat._udp.local`. Whoever has a content is asked for by subtype,
//! `_<key in base32>._sub._dig-nat._udp.local`, so a search is one small packet and a host with many files announces
//! nothing but itself. An answer carries the pointer to the host's instance and, as additional records, its port
//! (SRV), its attributes (TXT) and its addresses on that link (A, AAAA). The attributes:
//!
//! | key  | value |
//! |------|-------|
//! | `id` | peer id, ASCII letters and digits |
//! | `v`  | version of this table, `1` |
//! | `t`  | transports of the port, comma separated: `tcp`, `udp` (QUIC); both if absent |

pub mod link;
pub mod machine;
pub mod names;
pub mod packet;
pub mod responder;
pub mod searches;

mod driver;

use std::sync::Arc;

use futures::future::BoxFuture;
use tokio::sync::mpsc;

use super::source::{Candidate, Source, SourceKind};
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::ids::{ContentKey, PeerId};
use crate::base::limits;

/// The port of multicast DNS.
pub const MDNS_PORT: u16 = 5353;

/// What local discovery says about this node, and where.
#[derive(Clone, Debug)]
pub struct LocalConfig {
    /// This node's id: at most 63 letters and digits.
    pub peer_id: PeerId,
    /// The port it listens on, TCP and UDP alike. 0: this node only searches and is not announced.
    pub port: u16,
    /// It accepts TCP connections.
    pub tcp: bool,
    /// It accepts QUIC connections.
    pub udp: bool,
    /// Interfaces to use, by name or address. Empty: all that are up.
    pub interfaces: Vec<String>,
    /// Use IPv6 as well.
    pub ipv6: bool,
}

/// The running local discovery of one node. Dropping it says goodbye and ends its tasks in the background;
/// [`stop`](Source::stop) waits for that.
pub struct LocalDiscovery {
    driver: Arc<driver::Driver>,
}

impl LocalDiscovery {
    /// Opens the sockets and starts answering. An interface that fails is skipped with a log entry; later ones are
    /// picked up when they appear. Cancel safe.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] if the peer id cannot be a DNS label or `interfaces` match none that is up;
    /// otherwise the reason why the last interface could not be used.
    #[expect(
        clippy::unused_async,
        reason = "needs the runtime, and platforms with slow interface lists will wait here"
    )]
    pub async fn start(config: LocalConfig) -> Result<Self> {
        let id = config.peer_id.as_str();
        if id.is_empty() || id.len() > 63 || !id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(Error::invalid("peer_id", format_args!("`{id}` is not 1 to 63 letters and digits")));
        }
        Ok(Self { driver: driver::Driver::start(config)? })
    }

    /// Packets sent since the start, for diagnosis.
    pub fn packets_sent(&self) -> u64 {
        self.driver.packets_sent()
    }
}

impl Source for LocalDiscovery {
    fn name(&self) -> &str {
        SourceKind::Local.name()
    }

    fn kind(&self) -> SourceKind {
        SourceKind::Local
    }

    fn announce(&self, key: ContentKey) -> BoxFuture<'_, Result<()>> {
        let room = self.driver.change(|machine, _| machine.announce(key.lookup_key()));
        Box::pin(async move {
            let full = || Error::new(ErrorKind::LimitReached, format!("announce {key}: too many keys announced"));
            room.then_some(()).ok_or_else(full)
        })
    }

    fn withdraw(&self, key: ContentKey) -> BoxFuture<'_, Result<()>> {
        self.driver.change(|machine, now| machine.withdraw(now, key.lookup_key()));
        Box::pin(async { Ok(()) })
    }

    fn search(&self, key: ContentKey) -> mpsc::Receiver<Candidate> {
        let (sender, receiver) = mpsc::channel(limits::DISCOVERY_QUEUE);
        self.driver.search(key.lookup_key(), sender);
        receiver
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.driver.stop())
    }
}

impl Drop for LocalDiscovery {
    fn drop(&mut self) {
        self.driver.cancel();
    }
}
