//! How two ladders come to talk before there is a direct link: over a stream of a relayed link, or by letters in a Gun
//! graph when there is none; and how a passage through that graph becomes a link. Not here: what they say (`request`), and
//! how letters and bytes travel (`fabric::carrier`).

use std::path::PathBuf;
use std::sync::Arc;

use tokio::io::DuplexStream;
use tokio::sync::OwnedSemaphorePermit;

use super::request::{self, Joined, Request};
use super::{Connector, PROTOCOL, Shared};
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::ids::PeerId;
use crate::fabric::carrier::{Passage, PassageKey, Post};
use crate::fabric::{Link, Path, StreamSignal, is_ed25519};
use crate::gun::GunBackend;
use crate::nat::policy::Scope;
use crate::nat::signal::Signal;

/// A Gun graph to talk through.
pub struct Graph {
    /// Letters.
    pub post: Post,
    /// How near whoever uses its relays must be.
    pub scope: Scope,
    /// For passages.
    backend: Arc<dyn GunBackend>,
}

impl Connector {
    /// Talks through this Gun graph too, from now on: peers write to this node there, and are asked there when no relay
    /// leads to them. `scope`: how near whoever uses the graph's relays must be; `file`: where to remember which letters
    /// were answered. Needs a tokio runtime. Errors: `InvalidState` when that was said before, or the node's key is not
    /// Ed25519; `Io`. Blocks on the disk.
    pub fn talk_over(&self, backend: Arc<dyn GunBackend>, scope: Scope, file: Option<PathBuf>) -> Result<()> {
        let shared = &self.shared;
        let post = Post::new(backend.clone(), shared.fabric.signer(), shared.tasks.clone(), shared.stop.clone())?;
        if let Some(file) = file {
            post.remember_in(file)?;
        }
        let twice = |_| Error::new(ErrorKind::InvalidState, "this node talks over a Gun graph already");
        shared.graph.set(Graph { post: post.clone(), scope, backend }).map_err(twice)?;
        let arrivals = shared.arrivals.clone();
        shared.tasks.spawn(async move { post.run(arrivals).await });
        Ok(())
    }
}

impl Shared {
    /// Whether letters to this peer can be written.
    pub fn may_write_to(&self, peer: &PeerId) -> bool {
        self.graph.get().is_some() && is_ed25519(peer)
    }

    /// Says to the peer what we want. What follows goes over the same channel.
    pub async fn meet(&self, peer: &PeerId, request: &Request) -> Result<Box<dyn Signal>> {
        let mut signal: Box<dyn Signal> = match (self.relayed_link(peer), self.graph.get()) {
            (Some(link), _) => Box::new(StreamSignal::new(self.fabric.open(&link, PROTOCOL).await?)),
            (None, Some(graph)) => Box::new(graph.post.open(peer)?),
            (None, None) => return Err(Error::new(ErrorKind::ConnectionClosed, "no relayed link to talk over")),
        };
        signal.send(request::encode(request)?).await?;
        Ok(signal)
    }

    /// Asks the peer to open a passage, and makes a link of it.
    pub async fn pass_through_gun(&self, peer: &PeerId) -> Result<Link> {
        let key = PassageKey::random();
        let place = self.place()?;
        // Listening before the peer can write.
        let (passage, stream) = self.passage(&key, true)?;
        let mut signal = self.meet(peer, &Request::GunRelay(key)).await?;
        let answer: Joined = request::decode(&signal.receive().await?)?;
        if let Some(error) = answer.error {
            return Err(Error::new(ErrorKind::PeerUnreachable, format!("the peer: {error}")));
        }
        self.run_passage(passage, place);
        self.fabric.adopt(Path::Gun(stream), peer, true).await
    }

    /// The other end of that.
    pub async fn join_passage(&self, peer: &PeerId, key: &PassageKey, signal: &mut dyn Signal) -> Result<()> {
        let opened = self.place().and_then(|place| Ok((place, self.passage(key, false)?)));
        let error = opened.as_ref().err().map(Error::full_message);
        signal.send(request::encode(&Joined { error })?).await?;
        let (place, (passage, stream)) = opened?;
        self.run_passage(passage, place);
        self.fabric.adopt(Path::Gun(stream), peer, false).await.map(|_| ())
    }

    fn place(&self) -> Result<OwnedSemaphorePermit> {
        let full = |_| Error::new(ErrorKind::LimitReached, "too many links pass through Gun");
        self.passages.clone().try_acquire_owned().map_err(full)
    }

    fn passage(&self, key: &PassageKey, first: bool) -> Result<(Passage, DuplexStream)> {
        let absent = || Error::new(ErrorKind::InvalidState, "no Gun relay is configured");
        let graph = self.graph.get().ok_or_else(absent)?;
        Passage::open(graph.backend.clone(), key, first)
    }

    fn run_passage(&self, passage: Passage, place: OwnedSemaphorePermit) {
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            passage.run(stop).await;
            drop(place);
        });
    }
}
