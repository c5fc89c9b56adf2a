//! What a search yields: somebody who may have a content, where they may be reached, and how far to trust that.
//! Not here: how candidates are found ([`source`](super::source)) or remembered ([`table`](super::table)).

use std::fmt;

use crate::base::ids::PeerId;

/// How a peer became known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SourceKind {
    /// Named by the user.
    Manual,
    /// Answered on the local network (multicast DNS).
    Local,
    /// Found through Gun relays.
    Gun,
    /// Found in the distributed hash table.
    Dht,
    /// Told by another peer (peer exchange).
    Pex,
}

impl SourceKind {
    /// Every kind, most trusted first.
    pub const ALL: [Self; 5] = [Self::Manual, Self::Local, Self::Gun, Self::Dht, Self::Pex];

    /// The name used in events and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Manual => "manual",
            Self::Local => "local",
            Self::Gun => "gun",
            Self::Dht => "dht",
            Self::Pex => "pex",
        }
    }

    /// Trust in a record of this origin, 0 to 1: a user knows, the local network answered itself, networks relay what
    /// others signed, peer exchange is hearsay.
    pub const fn default_confidence(self) -> f64 {
        match self {
            Self::Manual => 1.0,
            Self::Local => 0.9,
            Self::Gun | Self::Dht => 0.8,
            Self::Pex => 0.7,
        }
    }
}

impl fmt::Display for SourceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Somebody who may have a content. Addresses are hints: nothing here is authenticated before a connection is made.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// Its id, unknown when only an address was given.
    pub id: Option<PeerId>,
    /// Multiaddrs or `host:port`, best first.
    pub addresses: Vec<String>,
    /// How it became known.
    pub source: SourceKind,
    /// Trust in the record, 0 to 1.
    pub confidence: f64,
}

impl Candidate {
    /// A candidate with the default confidence of its source.
    pub fn new(id: Option<PeerId>, addresses: Vec<String>, source: SourceKind) -> Self {
        Self { id, addresses, source, confidence: source.default_confidence() }
    }

    /// Its id, or its best address while the id is unknown.
    pub fn label(&self) -> &str {
        match &self.id {
            Some(id) => id.as_str(),
            None => self.addresses.first().map_or("", String::as_str),
        }
    }
}
