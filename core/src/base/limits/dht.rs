//! The bounds of the distributed hash table, each with its reason. Not here: those of the other layers.

use std::time::Duration;

use super::MAX_ANNOUNCEMENT_TTL;

/// Nodes in a bucket, replicas of a record, nodes in an answer: libp2p's k.
pub const DHT_K: usize = 20;
/// Largest message: 20 nodes and 20 providers with addresses and signatures.
pub const DHT_FRAME_BYTES: usize = 64 * 1024;
/// Longest key of a record; libp2p refuses provider keys above 80 bytes.
pub const DHT_KEY_BYTES: usize = 128;
/// Longest peer id: a multihash of a hash or of a small key.
pub const DHT_NODE_ID_BYTES: usize = 64;
/// Longest binary multiaddr: a circuit with two peer ids has about 100 bytes.
pub const DHT_ADDRESS_BYTES: usize = 160;
/// Addresses kept of a node.
pub const DHT_ADDRESSES: usize = 8;
/// Peers of one list of a message that are read: twice what anybody should send.
pub const DHT_PEERS_PER_MESSAGE: usize = 2 * DHT_K;
/// Announcements in one message: what its frame holds at about 300 bytes each.
pub const DHT_ANNOUNCEMENTS_PER_FRAME: usize = 200;
/// Announcements that are put into one message: leaves room for long addresses.
pub const DHT_BATCH: usize = 100;

/// Nodes of one network (/24, /48) in a bucket: one owner must not fill it.
pub const DHT_GROUP_PER_BUCKET: usize = 2;
/// Nodes of one network in the whole routing table.
pub const DHT_GROUP_PER_TABLE: usize = 10;
/// Nodes of one network among those a lookup asks and counts as nearest.
pub const DHT_GROUP_PER_LOOKUP: usize = 3;
/// Nodes waiting for a place in a bucket.
pub const DHT_REPLACEMENTS: usize = 10;
/// Failed requests in a row after which a node makes room for another one.
pub const DHT_FAILURES: u8 = 2;
/// A node silent for so long is asked whether it is there when another one wants its place.
pub const DHT_DOUBT: Duration = Duration::from_secs(10 * 60);
/// Each bucket is looked into this often: with the usual life of nodes, most of a bucket is still alive then.
pub const DHT_REFRESH: Duration = Duration::from_secs(10 * 60);
/// Buckets that are refreshed: a key for a deeper one takes too many attempts to find, and deeper ones are filled by
/// the lookup of our own position.
pub const DHT_REFRESH_BITS: u32 = 12;

/// Lookups at once that only fill the routing table.
pub const DHT_REFRESHES: usize = 3;

/// Separate paths of one lookup: with one fifth of the nodes hostile, more than one of three stays honest mostly.
pub const DHT_PATHS: usize = 3;
/// Requests under way on one path.
pub const DHT_ALPHA: usize = 3;
/// A node that has not answered for so long no longer holds its path up; it may still answer.
pub const DHT_SLOW: Duration = Duration::from_millis(1500);
/// An answer after this no longer counts: dialling through a NAT takes seconds.
pub const DHT_REQUEST: Duration = Duration::from_secs(10);
/// A lookup ends after this with what it has.
pub const DHT_LOOKUP: Duration = Duration::from_secs(60);
/// Nodes asked in one lookup; ten times what an undisturbed one needs at ten thousand nodes.
pub const DHT_LOOKUP_REQUESTS: usize = 400;
/// Candidates of one path of a lookup that are remembered.
pub const DHT_CANDIDATES: usize = 1024;
/// Lookups at once; more wait for nothing but are refused.
pub const DHT_LOOKUPS: usize = 256;
/// A search that found so many providers, told by [`DHT_TELLERS`] nodes, ends early.
pub const DHT_PROVIDERS_WANTED: usize = 20;
/// So many nodes must have named providers before a lookup ends early: no single one is trusted.
pub const DHT_TELLERS: usize = 4;
/// Providers one lookup reports.
pub const DHT_PROVIDERS_FOUND: usize = 200;
/// A search that goes on looks again after this, doubled up to [`DHT_SEARCH_PAUSE_MAX`].
pub const DHT_SEARCH_PAUSE: Duration = Duration::from_secs(30);
/// Longest pause between two lookups of one search.
pub const DHT_SEARCH_PAUSE_MAX: Duration = Duration::from_secs(15 * 60);

/// How long an unsigned record is kept: what libp2p uses. Signed ones say it themselves, up to the same.
pub const DHT_RECORD_TTL: Duration = MAX_ANNOUNCEMENT_TTL;
/// Our own records are renewed after this: before they expire even if one round is missed in part.
pub const DHT_REPUBLISH: Duration = Duration::from_secs(22 * 3600);
/// A region whose announcement failed is tried again after this.
pub const DHT_ANNOUNCE_RETRY: Duration = Duration::from_secs(60);
/// Providers of one key that are kept.
pub const DHT_PROVIDERS_PER_KEY: usize = 50;
/// Providers of one network (/24, /48) for one key, kept or told.
pub const DHT_PROVIDERS_PER_GROUP: usize = 3;
/// Nobody fills more than this part of the store: one in so many.
pub const DHT_STORE_SHARE: usize = 4;
/// Expired records are swept out this often.
pub const DHT_SWEEP: Duration = Duration::from_secs(5 * 60);
/// Lookups for regions at once.
pub const DHT_REGIONS: usize = 3;
/// Messages with announcements sent per second: 50 000 files reach nodes of our kind in minutes, and stock ones within
/// the time of one renewal.
pub const DHT_ANNOUNCE_RATE: u32 = 25;
/// Announcements that wait to be sent; lookups for regions pause above it.
pub const DHT_ANNOUNCE_QUEUE: usize = 1000;
/// Keys one node announces.
pub const DHT_ANNOUNCED: usize = super::MAX_SHARED_FILES;

/// Prefixes and ranges of one shard host.
pub const DHT_SHARDS: usize = 64;
/// Shard hosts that are remembered.
pub const DHT_SHARD_HOSTS: usize = 1000;
/// Shard hosts asked first by a lookup, and told in an answer.
pub const DHT_SHARD_HOSTS_ASKED: usize = 3;

/// Inbound streams at once; the surplus is refused.
pub const DHT_INBOUND: usize = 256;
/// Inbound streams of one peer at once.
pub const DHT_INBOUND_PER_PEER: usize = 8;
/// A stream on which nothing is asked for so long is closed.
pub const DHT_INBOUND_IDLE: Duration = Duration::from_secs(60);
/// Requests of ours under way: each may need a dial, and dead nodes hold their place for a while.
pub const DHT_OUTBOUND: usize = 128;
/// Addresses a DHT starts from.
pub const DHT_BOOTSTRAP: usize = 64;
/// A node without anybody to ask tries its bootstrap list again after this, doubled up to [`DHT_BOOTSTRAP_PAUSE_MAX`].
pub const DHT_BOOTSTRAP_PAUSE: Duration = Duration::from_secs(5);
/// Longest pause before the bootstrap list is tried again.
pub const DHT_BOOTSTRAP_PAUSE_MAX: Duration = Duration::from_secs(5 * 60);
/// What is known is written to disk this often.
pub const DHT_SAVE: Duration = Duration::from_secs(10 * 60);
/// Largest file of what is known; records beyond it are not saved.
pub const DHT_SAVE_BYTES: usize = 32 * 1024 * 1024;
/// Records that a light node keeps for others: some 10 MB when full (`docs/memory.md`).
pub const DHT_RECORDS_LIGHT: usize = 10_000;
/// Records that a standard node keeps: some 100 MB when full.
pub const DHT_RECORDS_STANDARD: usize = 100_000;
/// Records that a super node keeps: some 1 GB when full.
pub const DHT_RECORDS_SUPER: usize = 1_000_000;
/// After an announcement was written, the stream is held so long if the other side does not close it: some lose a stream
/// that ends together with its beginning.
pub const DHT_LINGER: Duration = Duration::from_millis(500);
/// Wait after a change of our addresses before everything is announced again: they come one by one.
pub const DHT_RENEW_PAUSE: Duration = Duration::from_secs(10);
/// Confidence in a provider that somebody named and nobody signed.
pub const DHT_UNSIGNED_CONFIDENCE: f64 = 0.5;
/// Searches that go on at once.
pub const DHT_SEARCHES: usize = DHT_LOOKUPS / 2;
/// Providers one search remembers to have told.
pub const DHT_TOLD: usize = 1000;
