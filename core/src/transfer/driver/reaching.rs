//! From a candidate to a link, by whatever way works. Not here: the ways (`fabric::ladder`), and what is said on the
//! link.

use std::time::Duration;

use crate::base::error::{Error, ErrorKind, Result};
use crate::discovery::source::Candidate;
use crate::discovery::trust::{near, source_of};
use crate::fabric::ladder::{Connector, Wish};
use crate::fabric::{Fabric, Link};

/// Reaches candidates. Clones share the ladders below.
#[derive(Clone)]
pub struct Reacher {
    /// Dials addresses of peers that nobody has named yet.
    pub fabric: Fabric,
    /// Reaches peers that are known by their id.
    pub connector: Connector,
}

impl Reacher {
    /// A link to a candidate: an existing one, or a new one by the first way that works. A candidate without an id is
    /// whoever answers at the first address that works.
    ///
    /// Errors: `PeerUnreachable` or `Timeout` with everything that was tried. Cancel safe.
    pub async fn reach(&self, candidate: &Candidate, timeout: Duration) -> Result<Link> {
        let Some(peer) = &candidate.id else { return self.dial(candidate, timeout).await };
        let told = candidate.addresses.iter().map(|text| {
            let source = source_of(candidate.source, text);
            (text.clone(), source)
        });
        let known = self.fabric.known_addresses(peer).into_iter().map(|text| {
            let source = near(&text);
            (text, source)
        });
        let wish = Wish { addresses: told.chain(known).collect(), preferred: None, remember: true };
        self.connector.connect(peer, wish, timeout).await.map(|reached| reached.link)
    }

    async fn dial(&self, candidate: &Candidate, timeout: Duration) -> Result<Link> {
        let mut failure = None;
        for address in &candidate.addresses {
            match self.fabric.dial(address, timeout).await {
                Ok(link) => return Ok(link),
                Err(error) => failure = Some(error),
            }
        }
        Err(failure.unwrap_or_else(|| Error::new(ErrorKind::PeerUnreachable, "a peer without any address")))
    }
}
