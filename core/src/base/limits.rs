//! Every bound of the library in one place, each with its reason. A queue, table, frame or wait without an entry
//! here is a defect.

mod dht;
mod gun;
mod nat;
mod pex;
mod watch;

use std::num::NonZeroU32;
use std::time::Duration;

pub use dht::*;
pub use gun::*;
pub use nat::*;
pub use pex::*;
pub use watch::*;

// --- names ---

/// Longest content id. Long enough for a path or URL, short enough for one frame and one database key.
pub const MAX_CONTENT_ID_BYTES: usize = 1024;
/// Longest file name taken from a peer. The common limit of file systems (ext4, APFS, NTFS: 255).
pub const MAX_FILE_NAME_BYTES: usize = 255;

// --- pieces ---

/// Smallest piece: below it, per-piece cost (hash call, bookkeeping, 32 bytes of description) shows.
pub const MIN_PIECE_BYTES: u32 = 64 * 1024;
/// Largest piece while a description still fits [`MAX_PIECES_SMALL_DESCRIPTION`]: one piece is the unit a liar can waste.
pub const PREFERRED_MAX_PIECE_BYTES: u32 = 4 * 1024 * 1024;
/// Pieces aimed at for middle-sized files: fine enough for 100 peers, 128 KiB of description.
pub const PREFERRED_PIECES: u64 = 4096;
/// 32 768 states of 32 bytes are 1 MiB of description; larger files get larger pieces.
pub const MAX_PIECES_SMALL_DESCRIPTION: u64 = 32 * 1024;
/// Largest piece at all; bounds the assembly buffer of one piece.
pub const MAX_PIECE_BYTES: u32 = 64 * 1024 * 1024;
/// Largest file: 32 768 pieces of 64 MiB (2 TiB) times 16, so that descriptions end at 16 MiB.
pub const MAX_FILE_BYTES: u64 = 32 * 1024 * 1024 * 1024 * 1024;
/// Most pieces of a file: [`MAX_FILE_BYTES`] in pieces of [`MAX_PIECE_BYTES`]; bounds descriptions and piece tables.
pub const MAX_PIECES: u32 = (MAX_FILE_BYTES / MAX_PIECE_BYTES as u64) as u32;
/// States in one message: 128 KiB of payload, so that a description never blocks the stream for long.
pub const MAX_STATES_PER_MESSAGE: u32 = 4096;

// --- frames ---

/// Largest control frame: a states frame with its header.
pub const MAX_CONTROL_FRAME_BYTES: usize = MAX_STATES_PER_MESSAGE as usize * 32 + 64;
/// Largest block of file data in one frame. Large enough that headers and wake-ups do not matter, small enough that a
/// choke or cancel takes effect within milliseconds on a slow line.
pub const MAX_BLOCK_BYTES: u32 = 128 * 1024;
/// Bits of one availability frame (64 KiB of bitmap).
pub const MAX_HAVE_BITS_PER_MESSAGE: u32 = 512 * 1024;
/// Largest message of the message protocol (`send`/`on`).
pub const MAX_MESSAGE_BYTES: usize = 16 * 1024 * 1024;

// --- transfer ---

/// Sources one download uses at once by default.
pub const DEFAULT_MAX_PEERS: usize = 10;
/// Upper bound of the `maxPeers` option.
pub const MAX_PEERS_PER_DOWNLOAD: usize = 500;
/// Peers a download remembers as candidates beyond those it uses.
pub const MAX_CANDIDATES_PER_DOWNLOAD: usize = 1000;
/// Different descriptions a download weighs against each other; more are refused until one falls.
pub const MAX_RIVAL_DESCRIPTIONS: usize = 4;
/// Requests a peer may have open with us; beyond it the surplus is rejected.
pub const MAX_REQUESTS_PER_PEER: usize = 512;
/// Smallest request window per peer, in bytes: two blocks keep a peer busy while the next request travels.
pub const MIN_WINDOW_BYTES: u64 = 2 * MAX_BLOCK_BYTES as u64;
/// Largest request window per peer, in bytes: 200 Mbit/s over 500 ms, with room.
pub const MAX_WINDOW_BYTES: u64 = 16 * 1024 * 1024;
/// Bytes of partly received pieces one download holds in memory.
pub const MAX_ASSEMBLY_BYTES: u64 = 64 * 1024 * 1024;
/// How long a request may stay unanswered before it is given to another peer.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);
/// A peer that delivered nothing for so long while it owed us data is dropped.
pub const STALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Wait for the first answer of a peer on a fresh transfer stream.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Peers served at once, as in BitTorrent; one of them is the optimistic choice.
pub const UNCHOKED_PEERS: usize = 4;
/// How often the choice of served peers is renewed.
pub const CHOKE_INTERVAL: Duration = Duration::from_secs(10);
/// Request window of a fresh source, in bytes: deep enough that one round trip of 40 ms carries 25 MB/s.
pub const INITIAL_WINDOW_BYTES: u64 = 1024 * 1024;
/// Pieces of an earlier run being read back and verified at once: keeps the workers busy, and the queue short.
pub const MAX_DISK_CHECKS: usize = 16;
/// Peers of a download that are remembered after their stream ended, for progress reports and against liars.
pub const MAX_PAST_PEERS: usize = 2000;
/// Blocks whose origin is remembered after a mixed piece turned out wrong, until the liar is found (32 MiB in 64 pieces).
pub const MAX_SUSPECT_BLOCKS: usize = 4096;
/// Withdrawn requests of one source whose answers may still be under way.
pub const MAX_WITHDRAWN_REQUESTS: usize = 1024;
/// Ranges of states that one source is asked for at the same time: half a megabyte, more than a round trip holds.
pub const STATE_ASKS_PER_SOURCE: usize = 4;
/// A range of states is asked of another source after this long, if there is one: 128 KiB at 26 KB/s.
pub const STATES_TIMEOUT: Duration = Duration::from_secs(5);
/// A rival description that was not decided on for so long makes room for one that waits.
pub const RIVAL_PATIENCE: Duration = Duration::from_secs(60);
/// How often a download looks for stalled, silent and idle sources.
pub const DOWNLOAD_TICK: Duration = Duration::from_millis(250);
/// How often a useless source is exchanged for a waiting candidate, and refused pieces are asked for again.
pub const ROTATION_INTERVAL: Duration = Duration::from_secs(5);
/// How long a source may be choked or slow before it is exchanged for a waiting candidate: a full choker turn.
pub const USELESS_AFTER: Duration = Duration::from_secs(30);
/// Requests that a source may skip, or times it may stall, before it is not used again.
pub const MAX_STALLS: u32 = 3;
/// REJECT frames of one source without any data in between, after which it is given up.
pub const MAX_REJECTS: u32 = 1024;
/// Peers the choker keeps count of; as many as there can be sessions.
pub const MAX_CHOKER_PEERS: usize = MAX_SESSIONS;
/// A served peer that asks for nothing for so long gives its slot to the next one.
pub const IDLE_SLOT_TIMEOUT: Duration = Duration::from_secs(2);
/// Share of the file from which remaining blocks are asked from several peers.
pub const ENDGAME_FRACTION: f64 = 0.95;
/// Peers asked for the same block in the endgame.
pub const ENDGAME_COPIES: usize = 3;
/// Progress events per second at most.
pub const PROGRESS_PER_SECOND: u32 = 20;

// --- serving ---

/// Transfer streams one peer may have open with us.
pub const MAX_SESSIONS_PER_PEER: usize = 256;
/// Transfer streams open with us in all.
pub const MAX_SESSIONS: usize = 4096;
/// Data frames queued on one stream before reading more from disk.
pub const SERVE_QUEUE_BYTES: usize = 1024 * 1024;
/// A served stream without any frame for so long is closed.
pub const SESSION_IDLE_TIMEOUT: Duration = Duration::from_secs(120);

// --- sockets ---

/// Asked of the system for the buffers of a UDP socket: 20 ms at 1.6 Gbit/s, so that a burst survives a busy moment.
pub const UDP_SOCKET_BUFFER_BYTES: usize = 4 * 1024 * 1024;
/// Bytes per system call on TCP, each way: one yamux frame of file data with its headers, so a block costs two calls.
pub const SOCKET_BUFFER_BYTES: usize = 132 * 1024;
/// Largest UDP payload.
pub const MAX_DATAGRAM_BYTES: usize = 65_535;
/// STUN datagrams of one route that wait for their reader; answers come one per request, so more are a flood.
pub const UDP_ROUTE_QUEUE: usize = 64;
/// Routes of one UDP port: a few per peer being reached at once.
pub const UDP_ROUTES: usize = 256;

// --- fabric ---

/// Commands waiting for the swarm task.
pub const FABRIC_COMMANDS: usize = 256;
/// Established connections per peer. Two that meet have one relayed and one or two direct connections, as both dial; after a
/// restart of a router between them, these linger for some seconds beside the new ones.
pub const MAX_CONNECTIONS_PER_PEER: u32 = 8;
/// Established connections in all, for a node of standard type.
pub const MAX_CONNECTIONS: u32 = 1000;
/// Connections that are being set up, each way.
pub const MAX_PENDING_CONNECTIONS: u32 = 128;
/// Time a dial may take, all addresses together.
pub const DIAL_TIMEOUT: Duration = Duration::from_secs(10);
/// Time opening a stream on a live connection may take.
pub const STREAM_TIMEOUT: Duration = Duration::from_secs(10);
/// Inbound streams of one protocol waiting to be taken; the surplus is refused, never dropped silently.
pub const INBOUND_STREAMS: usize = 256;
/// Streams being opened at once on one connection; the surplus waits.
pub const OPENING_STREAMS_PER_CONNECTION: usize = 64;
/// A connection without streams is closed after this.
pub const IDLE_CONNECTION_TIMEOUT: Duration = Duration::from_secs(60);
/// Time `stop()` gives running work to end before it is cut.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// Silence after which a link is asked whether it works, while somebody waits on it. Most pauses of a disk or of a
/// retransmission are shorter, and with the next three limits a dead link is left within a second and a half.
pub const LINK_QUIET: Duration = Duration::from_millis(700);
/// An answer that takes longer, and longer than two round trips, has this node's other links asked too.
pub const LINK_LATE: Duration = Duration::from_millis(250);
/// One that takes longer, and longer than four round trips, makes the link suspect. Twice a long retransmission timer.
pub const LINK_SUSPECT: Duration = Duration::from_millis(700);
/// One that takes longer, and longer than eight round trips, has the link closed. Downloads have left it long before; what
/// has no other way may sit out a short failure of the network.
pub const LINK_DEAD: Duration = Duration::from_secs(6);
/// The same for links on which nobody waits: there is no hurry.
pub const IDLE_LINK_DEAD: Duration = Duration::from_secs(12);
/// A link that heard nothing for so long is asked anyway: the mappings of impatient NATs last 20 seconds.
pub const LINK_KEEP_ALIVE: Duration = Duration::from_secs(8);
/// Streams of one connection on which questions are answered: one, and one that replaces it.
pub const PING_STREAMS: usize = 2;
/// Time a connection may take to say goodbye. What is dead would never finish.
pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// Addresses kept of one peer.
pub const MAX_ADDRESSES_PER_PEER: usize = 16;
/// Peers whose addresses the fabric remembers; the least recently used are forgotten.
pub const MAX_ADDRESS_BOOK_PEERS: usize = 4096;
/// Banned peers remembered; a ban older than that many newer ones is forgotten.
pub const MAX_BANNED_PEERS: usize = 4096;
/// Peers whose handshakes are remembered, each way: whoever is forgotten costs a round trip or a second circuit.
pub const MAX_HANDSHAKE_HABITS: usize = 1024;
/// Head start of one address over the next when a target has several: a third of what RFC 8305 calls the upper bound.
pub const DIAL_STAGGER: Duration = Duration::from_millis(250);
/// Callers that share one connection attempt: every download of a client may dial the same host at once.
pub const MAX_DIAL_WAITERS: usize = MAX_DOWNLOADS;
/// Addresses tried for one dial.
pub const MAX_DIAL_ADDRESSES: usize = 16;
/// Port numbers tried when the system chooses one and it is not free for TCP and UDP both.
pub const PORT_ATTEMPTS: usize = 32;
/// Wait for the fabric task to take a command.
pub const FABRIC_COMMAND_TIMEOUT: Duration = Duration::from_secs(5);
/// Wait for a QUIC answer from a host that refused TCP on the same port: two retransmissions of the first packet. A
/// closed UDP port is silent, so without this every dial to a dead port would last the whole timeout.
pub const QUIC_AFTER_REFUSAL_TIMEOUT: Duration = Duration::from_secs(2);
/// Connections the system holds for us before we accept them; a swarm that starts at once is not refused.
pub const LISTEN_BACKLOG: u32 = 1024;
/// Paths made elsewhere that wait for a transport to take them: a moment each, a few per peer being met.
pub const MAX_WAITING_PATHS: usize = 64;
/// Datagrams that open our NAT for a QUIC connection the peer makes: enough that a few may be lost.
pub const QUIC_OPENING_DATAGRAMS: usize = 20;
/// Pause between them: shorter than any NAT's patience, and together with their number as long as a slow handshake.
pub const QUIC_OPENING_INTERVAL: Duration = Duration::from_millis(100);
/// Peers a relay of ours holds a place for.
pub const RELAY_RESERVATIONS: usize = 1024;
/// Places of one peer: one per transport, and one being renewed.
pub const RELAY_RESERVATIONS_PER_PEER: usize = 4;
/// A place must be renewed within this, as in the circuit relay specification's example.
pub const RELAY_RESERVATION_DURATION: Duration = Duration::from_secs(3600);
/// Circuits a relay of ours carries at once; each costs two streams and their buffers.
pub const RELAY_CIRCUITS: usize = 256;
/// Circuits of one source.
pub const RELAY_CIRCUITS_PER_PEER: usize = 16;
/// Longest life of a circuit: a large file over a slow line.
pub const RELAY_CIRCUIT_DURATION: Duration = Duration::from_secs(24 * 3600);
/// Bytes of one circuit each way: far more than a file one would relay, yet an end.
pub const RELAY_CIRCUIT_BYTES: u64 = 1 << 40;
/// Requests of one peer per interval, for a place or a circuit.
pub const RELAY_REQUESTS_PER_PEER: NonZeroU32 = NonZeroU32::new(60).expect("not zero");
/// Requests from one address per interval: a household or an office behind one NAT.
pub const RELAY_REQUESTS_PER_ADDRESS: NonZeroU32 = NonZeroU32::new(240).expect("not zero");
/// The interval of both.
pub const RELAY_REQUEST_INTERVAL: Duration = Duration::from_secs(120);
/// After a relay said that it cannot lead to a peer, it is not asked for it again on the word of others for so long,
/// doubled with each time up to [`RELAY_REFUSAL_PAUSE_MAX`]: a peer that only changes networks has its place back by then.
pub const RELAY_REFUSAL_PAUSE: Duration = Duration::from_secs(30);
/// Longest such pause: records of a peer that is gone live for a day, and this makes them a request in a quarter of an hour.
pub const RELAY_REFUSAL_PAUSE_MAX: Duration = Duration::from_secs(15 * 60);
/// Pairs of relay and peer that are remembered for it: whoever is forgotten costs one more request.
pub const RELAY_REFUSALS: usize = 4096;
/// Relays whose refusals are counted.
pub const RELAYS_THAT_REFUSED: usize = 256;
/// Refusals within [`RELAY_REQUEST_INTERVAL`] after which a relay is asked for nobody on the word of others until that is
/// over: half of what relays of ours grant a peer, so that the other half is there for what a user wants.
pub const RELAY_REFUSALS_PER_INTERVAL: u32 = RELAY_REQUESTS_PER_PEER.get() / 2;
/// Relays a node holds places at.
pub const MAX_RELAYS: usize = 8;
/// Wait for a relay's answer, connecting to it included.
pub const RELAY_RESERVE_TIMEOUT: Duration = Duration::from_secs(15);
/// Addresses told to a peer that wants to meet us directly; libp2p keeps the last 20.
pub const DCUTR_CANDIDATES: usize = 16;
/// Streams open on one connection, whatever their protocol: all sessions of a peer and room for the rest.
pub const STREAMS_PER_CONNECTION: usize = 2 * MAX_SESSIONS_PER_PEER;
/// Wait for the transports to report the addresses they listen on.
pub const LISTEN_REPORT_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a stopping node lets QUIC wait after it has told everybody that it closes. Its own patience, three times the
/// longest round trip that it reckons with, is three seconds for somebody who never answered.
pub const QUIC_GOODBYE: Duration = Duration::from_millis(100);
/// How often a stopping fabric looks whether the system has closed its port.
pub const PORT_POLL_INTERVAL: Duration = Duration::from_millis(2);
/// Largest yamux frame we send: one block of file data, so that a block costs one frame.
pub const YAMUX_FRAME_BYTES: usize = 128 * 1024;
/// Receive window of all streams of one TCP connection together. yamux sets 256 KiB aside for every stream that may
/// ever be open; the other half is what streams can grow into, up to twice the bandwidth-delay product of what is
/// really read: eight streams of 16 MiB each.
pub const YAMUX_CONNECTION_WINDOW_BYTES: usize = 2 * STREAMS_PER_CONNECTION * 256 * 1024;
/// Protocols one node may register.
pub const MAX_PROTOCOLS: usize = 32;
/// Inbound streams being negotiated at once on one connection: yamux's own backlog, so that none is dropped there.
pub const NEGOTIATING_STREAMS_PER_CONNECTION: usize = 256;
/// Receive window of one QUIC stream: 16 MiB carry 200 MB/s over 80 ms.
pub const QUIC_STREAM_WINDOW_BYTES: u32 = 16 * 1024 * 1024;
/// Receive window of one QUIC connection: two full streams, so that one slow reader does not stop the others.
pub const QUIC_CONNECTION_WINDOW_BYTES: u32 = 32 * 1024 * 1024;
/// A QUIC connection that heard nothing for so long is dead; keep-alives are sent every quarter of it.
pub const QUIC_IDLE_TIMEOUT: Duration = Duration::from_secs(20);

// --- discovery ---

/// Nodes by which a hash table is joined: more than a handful only costs time at the start.
pub const MAX_BOOTSTRAP_NODES: usize = 64;
/// Prefixes of one shard host: all of two hex digits.
pub const MAX_SHARD_PREFIXES: usize = 256;
/// Peers the user may name before the node starts.
pub const MAX_MANUAL_PEERS: usize = 1000;
/// Largest file of known peers: 10 000 peers of a super node with their addresses and keys.
pub const MAX_PEERS_FILE_BYTES: u64 = 64 * 1024 * 1024;
/// How often known peers are written to disk: what a crash loses is found again in seconds.
pub const PEERS_SAVE_INTERVAL: Duration = Duration::from_secs(300);
/// Known peers that were not heard of for so long are not read back: most addresses have changed by then.
pub const KNOWN_PEER_AGE: Duration = Duration::from_secs(7 * 24 * 3600);
/// Peers that a node may be told to remember: ten times those of a super node, about 100 MB.
pub const MAX_KNOWN_PEERS: usize = 100_000;
/// Content keys whose peers a node may be told to remember: ten times those of a super node.
pub const MAX_KNOWN_KEYS: usize = 10_000;
/// Peers of one content that a node may be told to remember: a search yields no more.
pub const MAX_KNOWN_PEERS_PER_KEY: usize = 1000;
/// Content keys searched for in the background at once, whatever the node type: each is a search at every source.
pub const MAX_WATCHED_KEYS: usize = 1000;
/// Discovered peers waiting to be taken by one search.
pub const DISCOVERY_QUEUE: usize = 64;
/// Default time a one-shot search takes.
pub const FIND_TIMEOUT: Duration = Duration::from_secs(5);
/// Largest multicast DNS packet sent or accepted (RFC 6762 section 17).
pub const MAX_MDNS_PACKET_BYTES: usize = 9000;
/// Keys a local query asks for at once: 20 questions of 60 bytes leave room for known answers in one Ethernet frame.
pub const MAX_MDNS_QUESTIONS: usize = 20;
/// Pointer records in one answer or known-answer packet: each takes about 80 bytes, the host's own records 300.
pub const MAX_MDNS_POINTERS: usize = 12;
/// Query packets sent per interface without a pause, so that thousands of searches starting at once do not flood it.
pub const MDNS_QUERY_BURST: usize = 4;
/// The pause after a burst of queries.
pub const MDNS_QUERY_PAUSE: Duration = Duration::from_millis(20);
/// Answers waiting per interface for their random delay; further questions are left to the asker's next try.
pub const MAX_MDNS_PENDING: usize = 256;
/// Answer packets per second and interface; protects the network from whoever makes us answer.
pub const MDNS_ANSWERS_PER_SECOND: u32 = 50;
/// Recently answered keys remembered per interface, for the one-second rule and for goodbyes.
pub const MAX_MDNS_ANSWERED: usize = 1024;
/// Local searches running at once; as many as downloads.
pub const MAX_MDNS_SEARCHES: usize = 4096;
/// Hosts a local search remembers, all interfaces together.
pub const MAX_MDNS_INSTANCES: usize = 1024;
/// Pairs of remembered host and searched key.
pub const MAX_MDNS_FOUND: usize = 8192;
/// Interfaces and address families used at once.
pub const MAX_MDNS_LINKS: usize = 64;
/// Received packets waiting for the local discovery task; the surplus stays in the sockets' own buffers.
pub const MDNS_PACKET_QUEUE: usize = 64;
/// How often interfaces are looked at again: a laptop joins another network without a restart.
pub const MDNS_INTERFACE_INTERVAL: Duration = Duration::from_secs(15);

// --- events ---

/// Events waiting for one subscriber; the oldest are replaced by a `lagged` event.
pub const EVENT_QUEUE: usize = 1024;

// --- store ---

/// Bytes read from disk at once while hashing: large enough for sequential speed, small enough to stay in cache.
pub const HASH_BUFFER_BYTES: usize = 1024 * 1024;
/// Threads hashing files; beyond it the disk is the limit.
pub const MAX_HASH_THREADS: usize = 16;
/// Files in the hash cache; beyond it the cache starts afresh, which also sheds entries of files that are gone.
pub const MAX_HASH_CACHE_ENTRIES: u64 = 2 * MAX_SHARED_FILES as u64;
/// Memory the hash cache's store may use for its pages.
pub const HASH_CACHE_MEMORY_BYTES: usize = 16 * 1024 * 1024;
/// Results collected before they are written to the cache in one transaction: each one costs a flush of the disk.
pub const HASH_CACHE_BATCH: usize = 1000;
/// The same in bytes of descriptions.
pub const HASH_CACHE_BATCH_BYTES: usize = 4 * 1024 * 1024;
/// Results are written at the latest after this, so that a crash costs little work.
pub const HASH_CACHE_FLUSH: Duration = Duration::from_secs(5);
/// Numbered names (`name (1).ext`) tried when a target must not be replaced.
pub const MAX_NUMBERED_NAMES: u32 = 10_000;

// --- api ---

/// Files one host shares, standard node type: what fits the memory of a desktop at about 200 bytes each.
pub const MAX_SHARED_FILES: usize = 1_000_000;
/// Downloads running at once in one client.
pub const MAX_DOWNLOADS: usize = 4096;
/// Content ids one node maps: as many as files.
pub const MAX_CONTENT_IDS: usize = MAX_SHARED_FILES;

// --- transfer driver ---

/// News of finished pieces waiting for one serving session; one that falls behind compares the whole bitmap instead.
pub const PIECE_NEWS_QUEUE: usize = 1024;
/// Peers with an own rate bucket at once.
pub const MAX_LIMITED_PEERS: usize = 10_000;
/// Frames and blocks of all sources waiting for one download's machine: 8 MiB of blocks.
pub const DOWNLOAD_EVENTS: usize = 64;
/// Control frames waiting to be sent on one stream. A full window of requests fits.
pub const CONTROL_FRAMES: usize = 1024;
/// Requesters with pieces of their own waiting to be looked at by a download.
pub const FELLOWS_QUEUE: usize = 32;
/// Chunks taken from a serve callback for one file: 16 GiB at the default chunk size. Bounds callbacks that never end.
pub const MAX_CALLBACK_CHUNKS: u64 = 262_144;
/// First pause before a peer that could not be reached is dialled again; doubles up to [`MAX_REDIAL_PAUSE`].
pub const REDIAL_PAUSE: Duration = Duration::from_secs(1);
/// Pause before a source that was lost in the middle is reached again.
pub const LOST_SOURCE_PAUSE: Duration = Duration::from_millis(100);
/// Pause between two attempts to find another way to a source whose link most likely is dead.
pub const MOVE_PAUSE: Duration = Duration::from_millis(300);
/// Longest pause between dials of one peer within a download.
pub const MAX_REDIAL_PAUSE: Duration = Duration::from_secs(30);
/// How long a download with continuous discovery switched off collects peers before it keeps to those it has.
pub const FIRST_SEARCH: Duration = Duration::from_secs(2);
/// Messages from other nodes waiting to be accepted as connections.
pub const INBOUND_CONNECTIONS: usize = 64;
/// Failed dials in a row after which a discovered peer is forgotten; peers named by the user are dialled again until
/// the download gives up.
pub const MAX_REDIALS: u32 = 5;
/// A peer that takes not a byte of what is written to it for so long is given up. A block held back by a download limit
/// of 1 kB/s takes two minutes.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(5 * 60);
/// A download to which no source sent anything for so long ends. Waiting for a turn at a crowded host is normal: with
/// 64 waiting and 4 slots it takes about five minutes.
pub const STARVATION_TIMEOUT: Duration = Duration::from_secs(30 * 60);
/// Peers whose part one download reports: far more than a person reads, and a bound against invented peers.
pub const MAX_PEER_RECORDS: usize = 4 * MAX_CANDIDATES_PER_DOWNLOAD;

// --- announcements ---

/// Largest signed announcement: 16 addresses of ordinary length; small enough for one record of any network.
pub const MAX_ANNOUNCEMENT_BYTES: usize = 2048;
/// Longest time an announcement is believed, whatever it says itself: what Kademlia gives provider records.
pub const MAX_ANNOUNCEMENT_TTL: Duration = Duration::from_secs(48 * 3600);
/// How wrong the clocks of two machines may be together before they disagree about what has expired.
pub const MAX_CLOCK_SKEW: Duration = Duration::from_secs(15 * 60);
