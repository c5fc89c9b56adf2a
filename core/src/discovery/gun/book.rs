//! What is known from Gun: peers by content, and content ids by hash, within bounds and until they expire. Pure. Not here:
//! checking signatures, and the file it is kept in.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};

use serde::{Deserialize, Serialize};

use crate::base::ids::{FileHash, PeerId};
use crate::base::limits;
use crate::discovery::candidate::{Candidate, SourceKind};
use crate::wire::announcement::Announcement;

/// What one peer said of one content.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Known {
    /// Its id, if it has signed.
    #[serde(default, deserialize_with = "peer")]
    pub peer: Option<PeerId>,
    /// Where it is; none if it has withdrawn.
    pub addresses: Vec<String>,
    /// When it said so, by its clock.
    pub issued_ms: u64,
    /// Until when it holds.
    pub expires_ms: u64,
    /// It has taken it back; kept so that an older announcement does not come back.
    pub withdrawn: bool,
}

/// What somebody says a content id means.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mapping {
    /// The hash.
    pub hash: FileHash,
    /// When it was said.
    pub issued_ms: u64,
}

/// The book.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Book {
    peers: BTreeMap<FileHash, BTreeMap<String, Known>>,
    /// Content ids, and who says what they mean; an empty name is somebody who has not signed.
    mappings: BTreeMap<String, BTreeMap<String, Mapping>>,
    #[serde(skip)]
    used: HashMap<FileHash, u64>,
    #[serde(skip)]
    uses: u64,
    #[serde(skip)]
    seed: u64,
    #[serde(skip)]
    most: usize,
}

/// The file is our own, and ids from it are dialled like any other: whoever answers must prove its id.
fn peer<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<PeerId>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.map(|text| PeerId::from_text(&text)))
}

impl Known {
    /// A signed announcement that was checked.
    pub fn signed(announcement: &Announcement) -> Self {
        let ttl_ms = announcement.ttl.min(limits::MAX_ANNOUNCEMENT_TTL).as_millis() as u64;
        Self {
            peer: Some(announcement.peer.clone()),
            addresses: announcement.addresses.clone(),
            issued_ms: announcement.issued_ms,
            // A withdrawal is remembered as long as what it takes back may hold.
            expires_ms: announcement.issued_ms.saturating_add(if ttl_ms == 0 {
                limits::MAX_ANNOUNCEMENT_TTL.as_millis() as u64
            } else {
                ttl_ms
            }),
            withdrawn: ttl_ms == 0,
        }
    }

    /// An unsigned record. `None` if it is not of this time.
    pub fn unsigned(address: String, issued_ms: u64, ttl_ms: u64, now_ms: u64) -> Option<Self> {
        let ttl_ms = ttl_ms.min(limits::MAX_ANNOUNCEMENT_TTL.as_millis() as u64);
        let skew = limits::MAX_CLOCK_SKEW.as_millis() as u64;
        let expires_ms = issued_ms.saturating_add(ttl_ms);
        let of_this_time = issued_ms <= now_ms.saturating_add(skew) && now_ms <= expires_ms.saturating_add(skew);
        of_this_time.then(|| Self { peer: None, addresses: vec![address], issued_ms, expires_ms, withdrawn: false })
    }

    /// As a search tells it.
    pub fn candidate(&self) -> Candidate {
        let mut candidate = Candidate::new(self.peer.clone(), self.addresses.clone(), SourceKind::Gun);
        if self.peer.is_none() {
            candidate.confidence = limits::GUN_UNSIGNED_CONFIDENCE;
        }
        candidate
    }

    fn holds_at(&self, now_ms: u64) -> bool {
        now_ms <= self.expires_ms.saturating_add(limits::MAX_CLOCK_SKEW.as_millis() as u64)
    }
}

impl Book {
    /// An empty book that keeps so many peers of one content. The seed must not be guessable.
    pub fn new(most: usize, seed: u64) -> Self {
        Self { most: most.clamp(1, limits::MAX_GUN_RECORDS_PER_KEY), seed, ..Self::default() }
    }

    /// What an earlier run knew, within today's bounds.
    pub fn restored(read: Self, most: usize, seed: u64) -> Self {
        let mut book = Self::new(most, seed);
        for (hash, peers) in read.peers {
            for (name, known) in peers {
                book.learn(hash, &name, known);
            }
        }
        for (id, said) in read.mappings {
            for (by, mapping) in said {
                book.map(&id, &by, mapping);
            }
        }
        book
    }

    /// Contents, peers and mappings in it.
    pub fn sizes(&self) -> (usize, usize, usize) {
        (self.peers.len(), self.peers.values().map(BTreeMap::len).sum(), self.mappings.len())
    }

    /// Takes something in that a node said under its name. True: it is news for a search.
    pub fn learn(&mut self, hash: FileHash, name: &str, known: Known) -> bool {
        // What is signed is known by its signer, under whatever name it stands.
        let label = known.peer.as_ref().map_or_else(|| format!("?{name}"), |peer| peer.as_str().to_owned());
        self.touch(hash);
        let peers = self.peers.entry(hash).or_default();
        if let Some(old) = peers.get_mut(&label) {
            if old.issued_ms >= known.issued_ms {
                return false;
            }
            let news = old.addresses != known.addresses || old.withdrawn != known.withdrawn;
            *old = known;
            return news;
        }
        let news = !known.withdrawn;
        peers.insert(label.clone(), known);
        if peers.len() > self.most {
            let seed = self.seed;
            // Unsigned ones go first; among equals a choice that nobody outside can steer.
            let worst = peers.iter().max_by_key(|(label, known)| {
                let mut hasher = DefaultHasher::new();
                (seed, *label).hash(&mut hasher);
                (known.peer.is_none(), hasher.finish())
            });
            let worst = worst.map(|(label, _)| label.clone()).unwrap_or_default();
            peers.remove(&worst);
            return news && worst != label;
        }
        news
    }

    /// A node's name was taken away. What is signed stays until its signer takes it back or it expires.
    pub fn removed(&mut self, hash: &FileHash, name: &str) {
        if let Some(peers) = self.peers.get_mut(hash) {
            peers.remove(&format!("?{name}"));
        }
    }

    /// Who has a content, as far as known.
    pub fn peers(&self, hash: &FileHash, now_ms: u64) -> Vec<Known> {
        let known = self.peers.get(hash).into_iter().flat_map(BTreeMap::values);
        known.filter(|known| !known.withdrawn && known.holds_at(now_ms)).cloned().collect()
    }

    /// Somebody says what a content id means; an empty name if unsigned. True: what it means has changed.
    pub fn map(&mut self, id: &str, by: &str, mapping: Mapping) -> bool {
        if !self.mappings.contains_key(id) && self.mappings.len() >= limits::MAX_GUN_MAPPINGS {
            return false;
        }
        let before = self.hash_of(id);
        let said = self.mappings.entry(id.to_owned()).or_default();
        let old = said.get(by).map_or(0, |old| old.issued_ms);
        let room = said.contains_key(by) || said.len() < self.most;
        if room && (old <= mapping.issued_ms) {
            said.insert(by.to_owned(), mapping);
        }
        self.hash_of(id) != before
    }

    /// Forgets what a peer says of a content id; an empty name: all of it.
    pub fn unmap(&mut self, id: &str, by: &str) {
        let empty = self.mappings.get_mut(id).is_some_and(|said| {
            said.remove(by);
            said.is_empty() || by.is_empty()
        });
        if empty {
            self.mappings.remove(id);
        }
    }

    /// What a content id means: what most peers vouch for, of those the hash that was said first; unsigned words only if
    /// nobody vouches.
    pub fn hash_of(&self, id: &str) -> Option<FileHash> {
        let said = self.mappings.get(id)?;
        let mut votes: BTreeMap<FileHash, (usize, std::cmp::Reverse<u64>)> = BTreeMap::new();
        for mapping in said.iter().filter(|(by, _)| !by.is_empty()).map(|(_, mapping)| mapping) {
            let vote = votes.entry(mapping.hash).or_insert((0, std::cmp::Reverse(u64::MAX)));
            *vote = (vote.0 + 1, vote.1.max(std::cmp::Reverse(mapping.issued_ms)));
        }
        let most = votes.into_iter().max_by_key(|(_, vote)| *vote).map(|(hash, _)| hash);
        most.or_else(|| said.get("").map(|mapping| mapping.hash))
    }

    /// A content id that means a hash.
    pub fn id_of(&self, hash: &FileHash) -> Option<String> {
        self.mappings.keys().find(|id| self.hash_of(id) == Some(*hash)).cloned()
    }

    /// Forgets what has expired. True: something has.
    pub fn expire(&mut self, now_ms: u64) -> bool {
        let before = self.sizes();
        self.peers.retain(|_, peers| {
            peers.retain(|_, known| known.holds_at(now_ms));
            !peers.is_empty()
        });
        self.used.retain(|hash, _| self.peers.contains_key(hash));
        self.sizes() != before
    }

    fn touch(&mut self, hash: FileHash) {
        self.uses += 1;
        if !self.peers.contains_key(&hash) && self.peers.len() >= limits::MAX_GUN_KEYS {
            let oldest = self.peers.keys().min_by_key(|hash| self.used.get(hash).copied().unwrap_or(0)).copied();
            if let Some(oldest) = oldest {
                self.peers.remove(&oldest);
                self.used.remove(&oldest);
            }
        }
        self.used.insert(hash, self.uses);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NOW: u64 = 1_800_000_000_000;

    fn signed(peer: &str, issued_ms: u64, ttl: u64) -> Known {
        Known::signed(&Announcement {
            peer: PeerId::from_text(peer),
            key: FileHash::of(b"x"),
            issued_ms,
            ttl: Duration::from_secs(ttl),
            addresses: vec![format!("/ip4/192.0.2.1/tcp/{}", peer.len())],
        })
    }

    #[test]
    fn the_latest_signed_word_of_a_peer_holds() {
        let (mut book, hash) = (Book::new(10, 1), FileHash::of(b"x"));
        assert!(book.learn(hash, "a", signed("a", NOW, 60)));
        assert!(!book.learn(hash, "a", signed("a", NOW - 1, 60)), "older");
        assert!(!book.learn(hash, "a", signed("a", NOW + 1, 60)), "renewed, nothing new");
        book.removed(&hash, "a");
        assert_eq!(book.peers(&hash, NOW).len(), 1, "a removal that nobody signed");
        book.learn(hash, "a", signed("a", NOW + 2, 0));
        assert!(book.peers(&hash, NOW).is_empty(), "withdrawn");
        assert!(!book.learn(hash, "a", signed("a", NOW + 1, 60)), "an older one does not come back");
        assert!(book.learn(hash, "a", signed("a", NOW + 3, 60)));
        assert!(book.peers(&hash, NOW)[0].candidate().confidence > 0.7);
        let skew = limits::MAX_CLOCK_SKEW.as_millis() as u64;
        assert!(book.peers(&hash, NOW + 60_004 + skew).is_empty());
        assert!(book.expire(NOW + 60_004 + skew));
        assert_eq!(book.sizes(), (0, 0, 0));
    }

    #[test]
    fn unsigned_words_count_little_and_only_in_their_time() {
        let (mut book, hash) = (Book::new(3, 1), FileHash::of(b"x"));
        let unsigned = |issued| Known::unsigned("192.0.2.1:1".into(), issued, 60_000, NOW);
        let skew = limits::MAX_CLOCK_SKEW.as_millis() as u64;
        assert!(unsigned(NOW + skew).is_some() && unsigned(NOW + skew + 1).is_none());
        assert!(unsigned(NOW - skew - 60_000).is_some() && unsigned(NOW - skew - 60_001).is_none());
        for name in ["1", "2", "3"] {
            book.learn(hash, name, unsigned(NOW).expect("of this time"));
        }
        assert!(book.peers(&hash, NOW)[0].candidate().confidence < 0.5);
        for name in ["a", "bb", "ccc", "dddd"] {
            book.learn(hash, name, signed(name, NOW, 60));
        }
        let peers = book.peers(&hash, NOW);
        assert!(peers.len() == 3 && peers.iter().all(|known| known.peer.is_some()), "signed ones stay");
        book.removed(&hash, "1");
        assert_eq!(book.peers(&hash, NOW).len(), 3);
    }

    #[test]
    fn mappings_are_bounded_and_those_that_are_known_stay() {
        let mut book = Book::new(5, 1);
        let (good, bad) = (FileHash::of(b"good"), FileHash::of(b"bad"));
        assert!(book.map("first", "peer", Mapping { hash: good, issued_ms: 1 }));
        for index in 0..limits::MAX_GUN_MAPPINGS + 100 {
            book.map(&format!("flood {index}"), "", Mapping { hash: bad, issued_ms: 2 });
        }
        assert_eq!(book.sizes().2, limits::MAX_GUN_MAPPINGS);
        // And of one content id, what so many say.
        for index in 0..1000 {
            book.map("first", &format!("forger {index}"), Mapping { hash: bad, issued_ms: 3 });
        }
        assert_eq!(book.mappings["first"].len(), 5);
        assert!(book.mappings["first"].contains_key("peer"), "a later word pushes nobody out");
        book.unmap("flood 0", "");
        assert!(book.map("another", "peer", Mapping { hash: good, issued_ms: 4 }), "there is room again");
    }

    #[test]
    fn it_is_bounded_and_survives_a_file() {
        let mut book = Book::new(5, 1);
        for index in 0..limits::MAX_GUN_KEYS + 100 {
            book.learn(FileHash::of(&index.to_be_bytes()), "a", signed("a", NOW, 60));
        }
        assert_eq!(book.sizes().0, limits::MAX_GUN_KEYS);
        assert!(book.peers(&FileHash::of(&0usize.to_be_bytes()), NOW).is_empty(), "the oldest is gone");
        let (good, bad) = (FileHash::of(b"good"), FileHash::of(b"bad"));
        book.map("video", "", Mapping { hash: bad, issued_ms: 5 });
        assert_eq!(book.hash_of("video"), Some(bad), "better than nothing");
        assert!(book.map("video", "peer", Mapping { hash: good, issued_ms: 4 }));
        assert!(!book.map("video", "forger", Mapping { hash: bad, issued_ms: 6 }), "said first");
        assert_eq!((book.hash_of("video"), book.id_of(&good)), (Some(good), Some("video".to_owned())));
        let text = serde_json::to_string(&book).expect("plain fields");
        let read = Book::restored(serde_json::from_str(&text).expect("ours"), 5, 2);
        assert_eq!((read.sizes(), read.hash_of("video")), (book.sizes(), Some(good)));
        assert!(serde_json::from_str::<Book>("{}").is_err() && serde_json::from_str::<Book>("[").is_err());
        book.unmap("video", "");
        assert_eq!(book.hash_of("video"), None);
    }
}
