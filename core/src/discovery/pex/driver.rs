//! Peer exchange of one node: sessions of all contents over one machine, signatures, and searches that want to hear.
//! Not here: what is told and believed ([`machine`](super::machine)), and the frames' streams (`transfer`).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::mpsc;

use super::PexConfig;
use super::machine::{Heard, Pex, SessionId, Verdict};
use super::own_word::OwnWord;
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::ids::{ContentKey, FileHash, PeerId};
use crate::base::limits;
use crate::discovery::own::{self, Own};
use crate::discovery::source::{Candidate, SourceKind};
use crate::fabric::{Link, peer_of};
use crate::net::clock::{Clock, sleep_until, unix_ms};
use crate::wire::announcement::Announcement;
use crate::wire::pex::{Entry, Exchange};

/// Peer exchange of one node. Clones are the same.
#[derive(Clone)]
pub struct PeerExchange {
    inner: Arc<Inner>,
}

struct Inner {
    enabled: bool,
    local_only: bool,
    machine: Mutex<Pex>,
    clock: Clock,
    own: Option<Own>,
    /// Who wants to hear of peers for which content; `None` after the end.
    searches: Mutex<Option<BTreeMap<FileHash, Vec<mpsc::Sender<Candidate>>>>>,
}

/// Something to be sent in a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// Our own announcement for this content.
    Own(Bytes),
    /// Whom we know.
    Peers(Exchange),
}

/// One session. Dropping it ends it.
pub struct Conversation {
    exchange: PeerExchange,
    id: SessionId,
    peer: PeerId,
    key: FileHash,
    alias: FileHash,
    word: Mutex<OwnWord>,
}

impl PeerExchange {
    /// Without `own`, others are told of us only by those who connected to us.
    pub fn new(config: PexConfig, local: PeerId, own: Option<Own>) -> Self {
        let inner = Inner {
            enabled: config.enabled,
            local_only: config.local_only,
            machine: Mutex::new(Pex::new(config, local)),
            clock: Clock::start(),
            own,
            searches: Mutex::new(Some(BTreeMap::new())),
        };
        Self { inner: Arc::new(inner) }
    }

    /// A session about a file began over this link; `key` is what was asked for. `None` when no peers are exchanged.
    pub fn begin(&self, link: &Link, hash: FileHash, key: &ContentKey) -> Option<Conversation> {
        if !self.inner.enabled {
            return None;
        }
        let now = self.inner.clock.now();
        // Behind a relay anybody may be, wherever it is, unless all are near.
        let near = !link.relayed || self.inner.local_only;
        let place = link.place().filter(|_| near).unwrap_or_default();
        let id = self.machine().open(now, hash, &link.peer, place);
        Some(Conversation {
            exchange: self.clone(),
            id,
            peer: link.peer.clone(),
            key: hash,
            alias: key.lookup_key(),
            word: Mutex::new(OwnWord::new(now, self.inner.own.is_some())),
        })
    }

    /// Peers of a content as they are told of from now on, after those we have sessions with.
    pub fn listen(&self, key: &ContentKey) -> mpsc::Receiver<Candidate> {
        let (sender, receiver) = mpsc::channel(limits::DISCOVERY_QUEUE);
        let key = key.lookup_key();
        for (peer, addresses) in self.machine().members(&key) {
            // Who does not fit is found again by being told of.
            let _ = sender.try_send(Candidate::new(Some(peer), addresses, SourceKind::Pex));
        }
        let mut searches = lock(&self.inner.searches);
        if let Some(searches) = searches.as_mut() {
            searches.retain(|_, listeners| {
                listeners.retain(|listener| !listener.is_closed());
                !listeners.is_empty()
            });
            if searches.values().map(Vec::len).sum::<usize>() < limits::MAX_PEX_SEARCHES {
                searches.entry(key).or_default().push(sender);
            }
        }
        receiver
    }

    /// Ends all listening. Idempotent.
    pub fn stop(&self) {
        lock(&self.inner.searches).take();
    }

    fn machine(&self) -> MutexGuard<'_, Pex> {
        lock(&self.inner.machine)
    }

    fn hand_on(&self, keys: [&FileHash; 2], candidate: &Candidate) {
        let mut searches = lock(&self.inner.searches);
        let Some(searches) = searches.as_mut() else { return };
        let keys = if keys[0] == keys[1] { &keys[..1] } else { &keys[..] };
        for key in keys {
            for listener in searches.get(*key).into_iter().flatten() {
                // A full queue: there are plenty of peers to try.
                let _ = listener.try_send(candidate.clone());
            }
        }
    }
}

impl Conversation {
    /// The peer takes part in the swarm: it has pieces and gives them.
    pub fn joined(&self, seed: bool, link: &Link) {
        let dialled = (link.outbound && !link.relayed).then_some(link.address.as_str());
        self.exchange.machine().joined(self.exchange.inner.clock.now(), self.id, seed, dialled);
    }

    /// Something to send now, if there is something.
    pub fn due(&self) -> Option<Said> {
        let now = self.exchange.inner.clock.now();
        if lock(&self.word).say(now)
            && let Some(own) = self.announcement()
        {
            return Some(Said::Own(own));
        }
        self.exchange.machine().message(now, self.id).map(Said::Peers)
    }

    /// What we say of ourselves; nothing while nobody could reach us.
    fn announcement(&self) -> Option<Bytes> {
        let own = self.exchange.inner.own.as_ref().filter(|own| !own.addresses().is_empty())?;
        let signed = own.announce(self.key, unix_ms(), limits::PEX_ANNOUNCEMENT_TTL);
        signed.inspect_err(|error| tracing::debug!(%error, "no announcement for peer exchange")).ok().map(Bytes::from)
    }

    /// Waits until there may be something to send. Cancel safe.
    pub async fn wait(&self) {
        let word = lock(&self.word).next();
        let at = self.exchange.machine().next_timeout(self.id).into_iter().chain(word).min();
        sleep_until(self.exchange.inner.clock.deadline(at)).await;
    }

    /// The next thing to send. Cancel safe.
    pub async fn next(&self) -> Said {
        loop {
            if let Some(said) = self.due() {
                return said;
            }
            self.wait().await;
        }
    }

    /// Takes what the peer says of itself. What is not true is passed over.
    pub fn take_own(&self, bytes: Bytes) {
        let now = self.exchange.inner.clock.now();
        if !lock(&self.word).hear(now) {
            return;
        }
        match own::open(&bytes, &self.key, unix_ms()) {
            Ok(announcement) if announcement.peer == self.peer => {
                let holds = now + announcement.ttl.min(limits::PEX_ANNOUNCEMENT_TTL);
                self.exchange.machine().announced(self.id, bytes, &announcement.addresses, holds);
            }
            Ok(_) => tracing::debug!(peer = %self.peer, "somebody else's announcement as its own"),
            Err(error) => tracing::debug!(peer = %self.peer, %error, "an announcement of a peer is not true"),
        }
    }

    /// Takes what the peer says of others, and hands it to the searches for this content.
    ///
    /// Errors: `Protocol` when the peer floods; the session is to be ended.
    pub fn take(&self, message: Exchange) -> Result<()> {
        let flood = || {
            let text = format!("{} floods peer exchange with messages or false peers", self.peer);
            Error::new(ErrorKind::Protocol, text)
        };
        match self.exchange.machine().admit(self.exchange.inner.clock.now(), self.id, &message) {
            Verdict::Take => {}
            Verdict::Ignore => return Ok(()),
            Verdict::Flood => return Err(flood()),
        }
        // Outside the lock: signatures cost time.
        let mut heard = Vec::new();
        let mut untrue = 0;
        for (flags, entry) in message.added {
            match self.read(entry) {
                Some((peer, addresses, signed)) => heard.push(Heard { peer, addresses, signed, flags }),
                None => untrue += 1,
            }
        }
        let good = self.exchange.machine().hear(self.id, heard, untrue).map_err(|_| flood())?;
        for one in good {
            let candidate = Candidate::new(Some(one.peer), one.addresses, SourceKind::Pex);
            self.exchange.hand_on([&self.key, &self.alias], &candidate);
        }
        Ok(())
    }

    fn read(&self, entry: Entry) -> Option<(PeerId, Vec<String>, bool)> {
        let (peer, addresses, signed) = match entry {
            Entry::Signed(bytes) => {
                let Announcement { peer, addresses, .. } = own::open(&bytes, &self.key, unix_ms()).ok()?;
                (peer, addresses, true)
            }
            Entry::Plain { peer, addresses } => (peer, addresses, false),
        };
        let known = peer_of(&format!("/p2p/{peer}")).ok()?.0?;
        (known == peer).then_some((peer, addresses, signed))
    }
}

impl Drop for Conversation {
    fn drop(&mut self) {
        self.exchange.machine().close(self.exchange.inner.clock.now(), self.id);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every change to what is locked leaves it whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn so_many_listen_and_whoever_stops_makes_room() {
        let exchange = PeerExchange::new(PexConfig::default(), PeerId::from_text("us"), None);
        let key = ContentKey::Hash(FileHash::of(b"content"));
        let mut listeners: Vec<_> = (0..=limits::MAX_PEX_SEARCHES).map(|_| exchange.listen(&key)).collect();
        assert_eq!(listeners.pop().expect("one too many").recv().await, None);
        assert!(listeners.iter().all(|listener| !listener.is_closed()));
        listeners.pop();
        assert!(!exchange.listen(&key).is_closed());
    }
}
