//! This node as others shall find it: who it is, where it is reached at the moment, and its signed announcements. Not
//! here: finding out where it is reached (`api`), and carrying announcements (the sources).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::base::error::{Error, ErrorKind, Result};
use crate::base::ids::{FileHash, PeerId};
use crate::fabric::{Signer, verify};
use crate::wire::announcement::{Announcement, DOMAIN};

/// What sources tell others of this node. Clones share it.
#[derive(Clone, Debug)]
pub struct Own {
    signer: Signer,
    peer: PeerId,
    addresses: watch::Receiver<Vec<String>>,
    /// Announcements that are to end. There are no more of them than announcements.
    ends: Arc<Mutex<BTreeMap<FileHash, Instant>>>,
}

impl Own {
    /// The addresses are multiaddrs without our id, best first, as they are at each moment; empty as long as nobody
    /// could reach us.
    pub fn new(signer: Signer, addresses: watch::Receiver<Vec<String>>) -> Self {
        let peer = signer.peer();
        Self { signer, peer, addresses, ends: Arc::default() }
    }

    /// Our id.
    pub fn peer(&self) -> &PeerId {
        &self.peer
    }

    /// Where we are reached now.
    pub fn addresses(&self) -> Vec<String> {
        self.addresses.borrow().clone()
    }

    /// To wait for other addresses; closed when the node stops.
    pub fn watch(&self) -> watch::Receiver<Vec<String>> {
        self.addresses.clone()
    }

    /// What is signed for a key from now on holds no longer than until then, whoever carries it; `None`: as long as each
    /// way of discovery wants. Whether that is new.
    pub fn end_at(&self, key: FileHash, end: Option<Instant>) -> bool {
        let mut ends = self.ends();
        let before = match end {
            Some(end) => ends.insert(key, end),
            None => ends.remove(&key),
        };
        before != end
    }

    /// How long an announcement of the key holds that would do so for this time.
    pub fn lifetime(&self, key: &FileHash, ttl: Duration) -> Duration {
        let end = self.ends().get(key).copied();
        end.map_or(ttl, |end| ttl.min(end.saturating_duration_since(Instant::now())))
    }

    /// Signs that we have what is looked up under the key, from now on for so long, at our addresses. It holds for less when
    /// the announcement is to [end](Self::end_at) before.
    pub fn announce(&self, key: FileHash, now_ms: u64, ttl: Duration) -> Result<Vec<u8>> {
        let (addresses, ttl) = (self.addresses(), self.lifetime(&key, ttl));
        let announcement = Announcement { peer: self.peer.clone(), key, issued_ms: now_ms, ttl, addresses };
        let mut bytes = announcement.body();
        bytes.extend(self.signer.sign(&[DOMAIN, &bytes].concat())?);
        Ok(bytes)
    }

    fn ends(&self) -> MutexGuard<'_, BTreeMap<FileHash, Instant>> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads an announcement for this key: whole, signed by the peer that it names, and not expired. `Protocol` says what is
/// wrong with it.
pub fn open(bytes: &[u8], key: &FileHash, now_ms: u64) -> Result<Announcement> {
    let bad = |what: &str| Error::new(ErrorKind::Protocol, format!("an announcement is {what}"));
    let unverified = Announcement::decode(bytes)
        .map_err(|cause| Error::with_source(ErrorKind::Protocol, "an announcement is malformed", cause))?;
    let announcement = unverified.announcement;
    if announcement.key != *key {
        return Err(bad("for another content"));
    }
    if !announcement.holds_at(now_ms) {
        return Err(bad("not of this time"));
    }
    if !verify(&announcement.peer, &[DOMAIN, unverified.body].concat(), unverified.signature) {
        return Err(bad("not signed by its peer"));
    }
    Ok(announcement)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::limits;

    #[test]
    fn only_what_the_peer_has_signed_is_believed() {
        let keys = tempfile::tempdir().expect("a directory");
        let own = |name: &str| {
            let identity = crate::fabric::Identity::File(keys.path().join(name));
            let signer = Signer::load(&identity).expect("a key");
            let (_, addresses) = watch::channel(vec!["/ip4/192.0.2.1/tcp/9000".to_owned()]);
            Own::new(signer, addresses)
        };
        let (one, other) = (own("one"), own("other"));
        let (key, now, hour) = (FileHash::of(b"content"), 1_800_000_000_000, Duration::from_secs(3600));
        let bytes = one.announce(key, now, hour).expect("signed");
        let read = open(&bytes, &key, now).expect("true");
        assert_eq!((&read.peer, &read.addresses), (one.peer(), &one.addresses()));
        assert!(open(&bytes, &FileHash::of(b"another"), now).is_err());
        let late = now + 3_600_000 + limits::MAX_CLOCK_SKEW.as_millis() as u64 + 1;
        assert!(open(&bytes, &key, late).is_err());
        for index in 0..bytes.len() {
            let mut forged = bytes.clone();
            forged[index] ^= 1;
            assert!(open(&forged, &key, now).is_err(), "byte {index}");
        }
        // One that is to end says so itself, so that it ends though nobody takes it back.
        assert!(one.end_at(key, Some(Instant::now() + Duration::from_secs(600))) && !other.end_at(key, None));
        let brief = open(&one.announce(key, now, hour).expect("signed"), &key, now).expect("true").ttl;
        assert!(brief <= Duration::from_secs(600) && brief > Duration::from_secs(300), "{brief:?}");
        assert_eq!(one.lifetime(&key, Duration::from_secs(5)), Duration::from_secs(5));
        assert!(one.end_at(key, Some(Instant::now())));
        assert_eq!(open(&one.announce(key, now, hour).expect("signed"), &key, now).expect("over").ttl, Duration::ZERO);
        assert!(one.end_at(key, None) && !one.end_at(key, None));
        assert_eq!(open(&one.announce(key, now, hour).expect("signed"), &key, now).expect("true").ttl, hour);
        // Somebody else's name under our signature.
        let mut stolen = Announcement { peer: other.peer().clone(), ..read }.body();
        stolen.extend(one.signer.sign(&[DOMAIN, &stolen].concat()).expect("signed"));
        assert_eq!(open(&stolen, &key, now).expect_err("stolen").kind(), ErrorKind::Protocol);
    }
}
