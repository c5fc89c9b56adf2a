//! What the distributed hash table is told at its start, and what it says of itself. Not here: what it does with it.

use std::path::PathBuf;

use super::key::Placement;
use super::shard::Shard;
use crate::base::limits;
use crate::fabric::PUBLIC_NODES;

/// Which nodes are joined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Network {
    /// The public one of libp2p and IPFS, `/ipfs/kad/1.0.0`.
    #[default]
    Public,
    /// One of dig-nat-tools only, `/dig/kad/1.0.0`.
    Private,
}

impl Network {
    /// The protocol on streams.
    pub const fn protocol(self) -> &'static str {
        match self {
            Self::Public => "/ipfs/kad/1.0.0",
            Self::Private => "/dig/kad/1.0.0",
        }
    }

    /// Where its records lie.
    pub const fn placement(self) -> Placement {
        match self {
            Self::Public => Placement::Hashed,
            Self::Private => Placement::Direct,
        }
    }

    /// Where the public network is entered: the nodes that IPFS runs for that. The private one has none of its own.
    pub fn bootstrap(self) -> Vec<String> {
        match self {
            Self::Public => PUBLIC_NODES.iter().map(|address| (*address).to_owned()).collect(),
            Self::Private => Vec::new(),
        }
    }
}

/// What the DHT is told.
#[derive(Clone, Debug)]
pub struct DhtConfig {
    /// Which nodes are joined; by default the public ones.
    pub network: Network,
    /// Where it is entered: multiaddrs ending in a peer id, or `host:port`. By default those of the public network; at
    /// most [`limits::DHT_BOOTSTRAP`].
    pub bootstrap: Vec<String>,
    /// Records kept for others, e.g. [`limits::DHT_RECORDS_STANDARD`], the default.
    pub records: usize,
    /// Parts of the keyspace that this node hosts as a shard host; none by default.
    pub shards: Vec<Shard>,
    /// Where known nodes and records are kept between runs; nowhere by default.
    pub file: Option<PathBuf>,
}

impl Default for DhtConfig {
    fn default() -> Self {
        Self {
            network: Network::Public,
            bootstrap: Network::Public.bootstrap(),
            records: limits::DHT_RECORDS_STANDARD,
            shards: Vec::new(),
            file: None,
        }
    }
}

/// How the DHT is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DhtStatus {
    /// It answers others, because they can reach it.
    pub server: bool,
    /// Nodes in the routing table.
    pub nodes: usize,
    /// The table has been filled once.
    pub joined: bool,
    /// Records kept for others.
    pub records: usize,
    /// Keys announced.
    pub announced: usize,
    /// Messages with announcements that wait to be sent.
    pub queued: usize,
    /// Entries of the bootstrap list that could not be reached when last tried, each with its reason.
    pub unreachable: Vec<(String, String)>,
}
