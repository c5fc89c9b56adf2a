//! How two ladders come to talk before there is a direct link: over a stream of a relayed link, or by letters in a Gun
//! graph when there is none. Not here: what they say (`request`), and how letters travel (`fabric::carrier`).

use std::sync::Arc;

use super::request::{self, Request};
use super::{Connector, PROTOCOL, Shared};
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::ids::PeerId;
use crate::fabric::carrier::Post;
use crate::fabric::{StreamSignal, is_ed25519};
use crate::gun::GunBackend;
use crate::nat::policy::Scope;
use crate::nat::signal::Signal;

impl Connector {
    /// Talks through this Gun graph too, from now on: peers write to this node there, and are asked there when no relay
    /// leads to them. `scope`: how near whoever uses the graph's relays must be. Needs a tokio runtime. Errors:
    /// `InvalidState` when that was said before, or the node's key is not Ed25519.
    pub fn talk_over(&self, backend: Arc<dyn GunBackend>, scope: Scope) -> Result<()> {
        let shared = &self.shared;
        let post = Post::new(backend, shared.fabric.signer(), shared.tasks.clone(), shared.stop.clone())?;
        let twice = |_| Error::new(ErrorKind::InvalidState, "this node talks over a Gun graph already");
        shared.post.set((post.clone(), scope)).map_err(twice)?;
        let arrivals = shared.arrivals.clone();
        shared.tasks.spawn(async move { post.run(arrivals).await });
        Ok(())
    }
}

impl Shared {
    /// Whether letters to this peer can be written.
    pub fn may_write_to(&self, peer: &PeerId) -> bool {
        self.post.get().is_some() && is_ed25519(peer)
    }

    /// Says to the peer what we want. What follows goes over the same channel.
    pub async fn meet(&self, peer: &PeerId, request: &Request) -> Result<Box<dyn Signal>> {
        let mut signal: Box<dyn Signal> = match (self.relayed_link(peer), self.post.get()) {
            (Some(link), _) => Box::new(StreamSignal::new(self.fabric.open(&link, PROTOCOL).await?)),
            (None, Some((post, _))) => Box::new(post.open(peer)?),
            (None, None) => return Err(Error::new(ErrorKind::ConnectionClosed, "no relayed link to talk over")),
        };
        signal.send(request::encode(request)?).await?;
        Ok(signal)
    }
}
