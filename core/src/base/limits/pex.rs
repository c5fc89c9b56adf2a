//! Bounds of peer exchange. Not here: those of the frames' stream (`limits`).

use std::time::Duration;

/// Peers told of in one message, as in BitTorrent's peer exchange (BEP 11).
pub const MAX_PEX_PEERS: usize = 50;
/// Bytes of one message: 50 peers with ordinary announcements; half of what a control frame may have.
pub const MAX_PEX_MESSAGE_BYTES: usize = 64 * 1024;
/// Longest peer id in a message, as text. Those of today have 52 bytes.
pub const MAX_PEX_ID_BYTES: usize = 128;
/// Pause between two messages to one peer.
pub const PEX_INTERVAL: Duration = Duration::from_secs(60);
/// Pause before the first one: what the session's beginning brings is told together.
pub const PEX_FIRST: Duration = Duration::from_millis(300);
/// How soon it is looked again whether there is something to tell.
pub const PEX_IDLE: Duration = Duration::from_secs(2);
/// Messages a peer may send at once, before the interval counts; clocks differ and networks bunch.
pub const PEX_BURST: u32 = 4;
/// Messages above that, or entries that no honest peer sends, after which a session ends.
pub const PEX_STRIKES: u32 = 8;
/// Entries of one session that lead nowhere (private addresses of elsewhere, forged signatures, ourselves), after which
/// it ends: two whole messages of nothing.
pub const PEX_JUNK: u32 = 100;
/// Contents about which peers are exchanged.
pub const MAX_PEX_SWARMS: usize = 4096;
/// Peers remembered for one content.
pub const MAX_PEX_MEMBERS: usize = 200;
/// How long a peer is told of after the last session with it ended: it may only have finished for now.
pub const PEX_LINGER: Duration = Duration::from_secs(2 * 60);
/// Peers that flooded and are not listened to any more.
pub const MAX_PEX_SHUNNED: usize = 1024;
/// Searches that want to hear of peers, all contents together: as many as downloads.
pub const MAX_PEX_SEARCHES: usize = super::MAX_DOWNLOADS;
/// Announcements of itself that a peer may send at once in a session: one, and a few for changes. They are renewed at half
/// their time.
pub const PEX_ANNOUNCEMENTS: u32 = 4;
/// How long the announcement that a peer tells of itself in a session holds: far longer than a round of messages.
pub const PEX_ANNOUNCEMENT_TTL: Duration = Duration::from_secs(2 * 3600);
