//! What worked last, per network and peer, so that it is tried first the next time. A pure table; its file is the
//! [`driver`]'s. Not here: using it (`ladder`), and finding out which network we are in.

#[cfg(feature = "engine")]
pub mod driver;

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::base::error::{Error, ErrorKind, Result};
use crate::base::limits;
use crate::nat::method::{Method, Transport};

/// One way that worked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// The peer's id, as text.
    pub peer_id: String,
    /// The way.
    pub connection_type: Method,
    /// What carried it.
    pub transport: Transport,
    /// The peer's address that worked, or empty.
    #[serde(default)]
    pub address: String,
    /// Its port, or 0.
    #[serde(default)]
    pub port: u16,
    /// Milliseconds since 1970.
    pub last_success_time: u64,
    /// How often it worked.
    pub success_count: u32,
    /// Notes of the caller.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
}

/// A success to remember.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Success {
    /// The peer's address that worked, or empty.
    pub address: String,
    /// Its port, or 0.
    pub port: u16,
    /// Notes; a later success replaces those of the same name.
    pub metadata: BTreeMap<String, String>,
}

/// The table.
#[derive(Debug)]
pub struct Registry {
    /// By network, then peer: two texts in a row are looked up without being joined.
    networks: HashMap<String, HashMap<String, Known>>,
    peers: usize,
    capacity: usize,
    uses: u64,
}

#[derive(Debug)]
struct Known {
    /// Latest success first.
    entries: Vec<Entry>,
    /// Larger is later.
    used: u64,
}

/// The file's form. Entries stand in order of use, oldest first.
#[derive(Serialize, Deserialize)]
struct Stored {
    version: u32,
    /// SHA-256 of the entries in compact form: what a disk or a hand changed is noticed even where it still makes sense.
    checksum: String,
    entries: Vec<StoredEntry>,
}

#[derive(Serialize, Deserialize)]
struct StoredEntry {
    network: String,
    #[serde(flatten)]
    entry: Entry,
}

const VERSION: u32 = 1;

impl Default for Registry {
    fn default() -> Self {
        Self::new(limits::MAX_REGISTRY_PEERS)
    }
}

impl Registry {
    /// An empty table for so many peers.
    pub fn new(capacity: usize) -> Self {
        Self { networks: HashMap::new(), peers: 0, capacity: capacity.max(1), uses: 0 }
    }

    /// Remembers a success. `now_ms` is the wall clock in milliseconds since 1970.
    pub fn save_successful_connection(
        &mut self,
        now_ms: u64,
        network: &str,
        peer: &str,
        (method, transport): (Method, Transport),
        success: Success,
    ) -> Result<()> {
        let mut texts = vec![network, peer, &success.address];
        texts.extend(success.metadata.iter().flat_map(|(name, note)| [name.as_str(), note.as_str()]));
        check_texts(&texts, success.metadata.len())?;
        if peer.is_empty() {
            return Err(Error::invalid("peerId", "must not be empty"));
        }
        let known = self.known_or_new(network, peer);
        let old = known.entries.iter().position(|old| (old.connection_type, old.transport) == (method, transport));
        let mut entry = match old {
            Some(position) => known.entries.remove(position),
            None => Entry {
                peer_id: peer.to_owned(),
                connection_type: method,
                transport,
                address: String::new(),
                port: 0,
                last_success_time: 0,
                success_count: 0,
                metadata: BTreeMap::new(),
            },
        };
        // A clock that was set back must not make an entry immortal or the order wrong: the latest word counts.
        entry.last_success_time = now_ms;
        entry.success_count = entry.success_count.saturating_add(1);
        entry.address = success.address;
        entry.port = success.port;
        for (name, note) in success.metadata {
            if entry.metadata.len() < limits::MAX_REGISTRY_NOTES || entry.metadata.contains_key(&name) {
                entry.metadata.insert(name, note);
            }
        }
        known.entries.insert(0, entry);
        known.entries.truncate(limits::MAX_REGISTRY_METHODS);
        self.evict();
        Ok(())
    }

    /// The ways that worked in this network, latest first. Counts as a use.
    pub fn get_successful_methods(&mut self, now_ms: u64, network: &str, peer: &str) -> Vec<Entry> {
        self.uses += 1;
        let uses = self.uses;
        let Some(known) = self.networks.get_mut(network).and_then(|peers| peers.get_mut(peer)) else {
            return Vec::new();
        };
        known.used = uses;
        known.entries.iter().filter(|entry| !is_old(entry, now_ms)).cloned().collect()
    }

    /// The ways that worked in any network, latest first.
    pub fn methods_anywhere(&self, now_ms: u64, peer: &str) -> Vec<Entry> {
        let known = self.networks.values().filter_map(|peers| peers.get(peer)).flat_map(|known| &known.entries);
        let mut entries: Vec<Entry> = known.filter(|entry| !is_old(entry, now_ms)).cloned().collect();
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.last_success_time));
        entries
    }

    /// The way that worked last in this network. Counts as a use.
    pub fn get_connection_method(&mut self, now_ms: u64, network: &str, peer: &str) -> Option<Entry> {
        self.get_successful_methods(now_ms, network, peer).into_iter().next()
    }

    /// Forgets a peer in all networks. Whether there was something to forget.
    pub fn remove(&mut self, peer: &str) -> bool {
        let before = self.peers;
        for peers in self.networks.values_mut() {
            self.peers -= usize::from(peers.remove(peer).is_some());
        }
        self.networks.retain(|_, peers| !peers.is_empty());
        self.peers < before
    }

    /// Forgets one way that no longer works, so that it does not come first again.
    pub fn remove_method(&mut self, network: &str, peer: &str, method: Method, transport: Transport) {
        if let Some(known) = self.networks.get_mut(network).and_then(|peers| peers.get_mut(peer)) {
            known.entries.retain(|entry| (entry.connection_type, entry.transport) != (method, transport));
            self.drop_empty();
        }
    }

    /// Forgets everything older than 45 days. Returns how many entries went.
    pub fn cleanup_old_entries(&mut self, now_ms: u64) -> usize {
        let mut gone = 0;
        for known in self.networks.values_mut().flat_map(HashMap::values_mut) {
            let before = known.entries.len();
            known.entries.retain(|entry| !is_old(entry, now_ms));
            gone += before - known.entries.len();
        }
        self.drop_empty();
        gone
    }

    /// Pairs of network and peer.
    pub fn len(&self) -> usize {
        self.peers
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.peers == 0
    }

    /// The file's text.
    pub fn to_json(&self) -> Result<Vec<u8>> {
        let mut all: Vec<(&String, &Known)> = self
            .networks
            .iter()
            .flat_map(|(network, peers)| peers.values().map(move |known| (network, known)))
            .collect();
        all.sort_by_key(|(_, known)| known.used);
        let entries: Vec<StoredEntry> = all
            .into_iter()
            // Latest first in memory; stored oldest first, so that reading is saving again.
            .flat_map(|(network, known)| known.entries.iter().rev().map(move |entry| (network, entry)))
            .map(|(network, entry)| StoredEntry { network: network.clone(), entry: entry.clone() })
            .collect();
        let checksum = checksum(&entries)?;
        serde_json::to_vec_pretty(&Stored { version: VERSION, checksum, entries })
            .map_err(|error| Error::with_source(ErrorKind::Internal, "write the connection registry", error))
    }

    /// Reads a file's text. Old entries are left out; anything malformed is an error.
    pub fn from_json(capacity: usize, now_ms: u64, text: &[u8]) -> Result<Self> {
        let damaged = |error| Error::with_source(ErrorKind::Io, "the connection registry is damaged", error);
        let stored: Stored = serde_json::from_slice(text).map_err(damaged)?;
        if stored.version != VERSION {
            let version = stored.version;
            return Err(Error::new(
                ErrorKind::Io,
                format!("the connection registry has the unknown version {version}"),
            ));
        }
        if checksum(&stored.entries)? != stored.checksum {
            return Err(Error::new(ErrorKind::Io, "the connection registry is damaged: its checksum is another"));
        }
        let mut registry = Self::new(capacity);
        for StoredEntry { network, entry } in stored.entries {
            let mut texts = vec![network.as_str(), &entry.peer_id, &entry.address];
            texts.extend(entry.metadata.iter().flat_map(|(name, note)| [name.as_str(), note.as_str()]));
            check_texts(&texts, entry.metadata.len())?;
            if is_old(&entry, now_ms) {
                continue;
            }
            let known = registry.known_or_new(&network, &entry.peer_id);
            known.entries.insert(0, entry);
            known.entries.truncate(limits::MAX_REGISTRY_METHODS);
            registry.evict();
        }
        Ok(registry)
    }

    fn known_or_new(&mut self, network: &str, peer: &str) -> &mut Known {
        self.uses += 1;
        let peers = self.networks.entry(network.to_owned()).or_default();
        if !peers.contains_key(peer) {
            self.peers += 1;
        }
        let known = peers.entry(peer.to_owned()).or_insert_with(|| Known { entries: Vec::new(), used: 0 });
        known.used = self.uses;
        known
    }

    fn evict(&mut self) {
        while self.peers > self.capacity {
            let oldest = self
                .networks
                .iter()
                .flat_map(|(network, peers)| peers.iter().map(move |(peer, known)| (known.used, network, peer)))
                .min()
                .map(|(_, network, peer)| (network.clone(), peer.clone()));
            let Some((network, peer)) = oldest else { return };
            if let Some(peers) = self.networks.get_mut(&network) {
                peers.remove(&peer);
            }
            self.peers -= 1;
            self.networks.retain(|_, peers| !peers.is_empty());
        }
    }

    fn drop_empty(&mut self) {
        for peers in self.networks.values_mut() {
            peers.retain(|_, known| !known.entries.is_empty());
        }
        self.networks.retain(|_, peers| !peers.is_empty());
        self.peers = self.networks.values().map(HashMap::len).sum();
    }
}

fn checksum(entries: &[StoredEntry]) -> Result<String> {
    use std::fmt::Write as _;
    let text = serde_json::to_vec(entries)
        .map_err(|error| Error::with_source(ErrorKind::Internal, "write the connection registry", error))?;
    let mut hex = String::with_capacity(64);
    for byte in Sha256::digest(text) {
        // Writing to a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
    }
    Ok(hex)
}

fn is_old(entry: &Entry, now_ms: u64) -> bool {
    u128::from(now_ms.saturating_sub(entry.last_success_time)) > limits::REGISTRY_LIFETIME.as_millis()
}

fn check_texts(texts: &[&str], notes: usize) -> Result<()> {
    if notes > limits::MAX_REGISTRY_NOTES {
        return Err(Error::invalid("metadata", format_args!("at most {} notes", limits::MAX_REGISTRY_NOTES)));
    }
    match texts.iter().find(|text| text.len() > limits::MAX_REGISTRY_TEXT_BYTES) {
        Some(text) => Err(Error::invalid("connection registry", format_args!("a text has {} bytes", text.len()))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 24 * 3600 * 1000;
    const UDP: Transport = Transport::Udp;

    fn save(registry: &mut Registry, at: u64, network: &str, peer: &str, method: Method) {
        let success = Success { address: "192.0.2.1".to_owned(), port: 4001, metadata: BTreeMap::new() };
        registry.save_successful_connection(at, network, peer, (method, UDP), success).expect("short texts");
    }

    fn methods(registry: &mut Registry, at: u64, network: &str, peer: &str) -> Vec<Method> {
        registry.get_successful_methods(at, network, peer).iter().map(|entry| entry.connection_type).collect()
    }

    #[test]
    fn the_latest_success_comes_first_and_networks_are_apart() {
        let mut registry = Registry::default();
        save(&mut registry, 1, "home", "A", Method::DirectV4);
        save(&mut registry, 2, "home", "A", Method::UdpPunch);
        save(&mut registry, 3, "office", "A", Method::Turn);
        assert_eq!(methods(&mut registry, 4, "home", "A"), [Method::UdpPunch, Method::DirectV4]);
        save(&mut registry, 5, "home", "A", Method::DirectV4);
        let last = registry.get_connection_method(6, "home", "A").expect("known");
        assert_eq!((last.connection_type, last.success_count, last.last_success_time), (Method::DirectV4, 2, 5));
        assert_eq!((last.address.as_str(), last.port), ("192.0.2.1", 4001));
        assert_eq!(methods(&mut registry, 4, "office", "A"), [Method::Turn]);
        assert!(methods(&mut registry, 4, "home", "B").is_empty());
        registry.remove_method("home", "A", Method::DirectV4, UDP);
        assert_eq!(methods(&mut registry, 7, "home", "A"), [Method::UdpPunch]);
        assert!(registry.remove("A") && !registry.remove("A") && registry.is_empty());
    }

    #[test]
    fn entries_are_forgotten_after_45_days() {
        let mut registry = Registry::default();
        save(&mut registry, 0, "home", "A", Method::DirectV4);
        save(&mut registry, DAY, "home", "A", Method::Turn);
        assert_eq!(methods(&mut registry, 45 * DAY, "home", "A").len(), 2);
        assert_eq!(methods(&mut registry, 45 * DAY + 1, "home", "A"), [Method::Turn]);
        assert_eq!((registry.cleanup_old_entries(45 * DAY + 1), registry.len()), (1, 1));
        assert_eq!((registry.cleanup_old_entries(47 * DAY), registry.len()), (1, 0));
    }

    #[test]
    fn the_table_is_bounded_and_forgets_what_is_not_used() {
        let mut registry = Registry::new(3);
        for (at, peer) in ["A", "B", "C"].iter().enumerate() {
            save(&mut registry, at as u64, "home", peer, Method::DirectV4);
        }
        methods(&mut registry, 5, "home", "A");
        save(&mut registry, 6, "cafe", "D", Method::DirectV4);
        assert_eq!(registry.len(), 3);
        assert!(methods(&mut registry, 7, "home", "B").is_empty(), "the least recently used");
        assert_eq!(methods(&mut registry, 7, "home", "A").len(), 1);
        for method in Method::ALL {
            save(&mut registry, 8, "home", "A", *method);
        }
        assert_eq!(methods(&mut registry, 9, "home", "A").len(), limits::MAX_REGISTRY_METHODS);
        let long = "x".repeat(limits::MAX_REGISTRY_TEXT_BYTES + 1);
        let way = (Method::Ice, UDP);
        registry.save_successful_connection(9, "home", &long, way, Success::default()).expect_err("too long");
        registry.save_successful_connection(9, "home", "", way, Success::default()).expect_err("empty");
        let metadata: BTreeMap<_, _> =
            (0..=limits::MAX_REGISTRY_NOTES).map(|n| (n.to_string(), String::new())).collect();
        let many = Success { metadata, ..Success::default() };
        registry.save_successful_connection(9, "home", "A", way, many).expect_err("too many notes");
    }

    #[test]
    fn the_file_keeps_entries_order_of_use_and_notes() {
        let mut registry = Registry::new(2);
        save(&mut registry, 1, "home", "A", Method::DirectV4);
        let metadata = BTreeMap::from([("relay".to_owned(), "10".to_owned())]);
        let success = Success { metadata, ..Success::default() };
        registry.save_successful_connection(2, "home", "A", (Method::Ice, UDP), success).expect("saved");
        save(&mut registry, 3, "home", "B", Method::Turn);
        methods(&mut registry, 4, "home", "A");
        let text = registry.to_json().expect("written");
        let mut again = Registry::from_json(2, 4, &text).expect("read");
        assert_eq!(again.get_successful_methods(4, "home", "A"), registry.get_successful_methods(4, "home", "A"));
        let text = String::from_utf8(text).expect("text");
        assert!(text.contains("\"connectionType\": \"ice\"") && text.contains("\"lastSuccessTime\": 2"), "{text}");
        let mut again = Registry::from_json(2, 4, text.as_bytes()).expect("read");
        save(&mut again, 5, "home", "C", Method::Turn);
        assert!(methods(&mut again, 6, "home", "B").is_empty(), "B was used least recently");
        assert!(Registry::from_json(2, 50 * DAY, text.as_bytes()).expect("read").is_empty());
    }

    #[test]
    fn a_damaged_file_is_an_error_never_a_panic() {
        let mut registry = Registry::default();
        save(&mut registry, 1, "home", "A", Method::DirectV4);
        let text = registry.to_json().expect("written");
        for end in 0..text.len() {
            assert!(Registry::from_json(9, 1, &text[..end]).is_err(), "cut at {end}");
        }
        let text = String::from_utf8(text).expect("text");
        assert!(Registry::from_json(9, 1, text.replace("direct-v4", "warp").as_bytes()).is_err());
        assert!(Registry::from_json(9, 1, text.replace("\"version\": 1", "\"version\": 2").as_bytes()).is_err());
        // Still a registry, but not what was written.
        let other = text.replace("192.0.2.1", "192.0.2.2");
        let error = Registry::from_json(9, 1, other.as_bytes()).expect_err("changed");
        assert!(error.to_string().contains("checksum"), "{error}");
        let long = "y".repeat(limits::MAX_REGISTRY_TEXT_BYTES + 1);
        assert!(Registry::from_json(9, 1, text.replace("home", &long).as_bytes()).is_err());
    }
}
