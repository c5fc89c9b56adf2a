//! The bounds of Gun: its client, its relay and the discovery over it. Not here: those of the other layers.

use std::time::Duration;

/// Largest WebSocket message the client takes before it cuts the link. A stock relay forwards everybody's puts, and
/// lets 90 MB through; less than this would let one careless stranger cut everybody's links.
pub const MAX_GUN_FRAME_BYTES: usize = 16 * 1024 * 1024;
/// Largest message that is parsed, and that our relay takes: a slot of a data relay is 256 KiB in base64.
pub const MAX_GUN_PARSED_BYTES: usize = 1024 * 1024;
/// Messages in one batch. Stock peers pack 9 000 bytes, so about 300 of the shortest.
pub const MAX_GUN_BATCH: usize = 4096;
/// Fields of one put that are looked at; stock peers answer with 9 at a time, ours with 100.
pub const MAX_GUN_FIELDS_PER_MESSAGE: usize = 8192;
/// Longest message id; stock ones have 9 characters.
pub const MAX_GUN_ID_BYTES: usize = 64;
/// Longest soul or key: a content id and the roots above it.
pub const MAX_GUN_NAME_BYTES: usize = 2048;
/// Longest value in characters of UTF-8.
pub const MAX_GUN_VALUE_BYTES: usize = 512 * 1024;
/// Fields of one put that we send. Stock relays lose fields of puts above 32 768 characters.
pub const GUN_PUT_FIELDS: usize = 100;
/// Bytes of one put that we send, unless one field alone is larger.
pub const GUN_PUT_BYTES: usize = 16 * 1024;
/// Bytes of one batch that we send, as stock peers do.
pub const GUN_BATCH_BYTES: usize = 9000;
/// Segments of a path; the deepest of ours has four.
pub const MAX_GUN_PATH: usize = 16;
/// Relays one client keeps links to.
pub const MAX_GUN_RELAYS: usize = 16;
/// Subscriptions of one client: one per running search and per watched announcement.
pub const MAX_GUN_INTERESTS: usize = 16_384;
/// Nodes that one path may lead to when links disagree; the computed one is always among them.
pub const MAX_GUN_ALTERNATIVES: usize = 4;
/// Children of one subscription that are followed and reported.
pub const MAX_GUN_CHILDREN: usize = 256;
/// Fields the client remembers of one node.
pub const MAX_GUN_NODE_FIELDS: usize = 4096;
/// Bytes the client remembers of all nodes together; beyond it, new fields are not taken.
pub const MAX_GUN_CLIENT_BYTES: usize = 64 * 1024 * 1024;
/// States of own fields remembered, so that the next write of a field is later than the last.
pub const MAX_GUN_OWN_FIELDS: usize = 262_144;
/// Puts on their way to relays at once; a stock relay answers each after 250 ms.
pub const GUN_PUTS_IN_FLIGHT: usize = 1024;
/// Puts waiting or on their way; more are refused.
pub const MAX_GUN_PUTS: usize = 16_384;
/// One-time reads at once.
pub const MAX_GUN_READS: usize = 4096;
/// Message ids remembered against repetitions.
pub const MAX_GUN_DEDUP: usize = 16_384;
/// How long they are remembered, as in stock peers.
pub const GUN_DEDUP_TIME: Duration = Duration::from_secs(9);
/// A link that said nothing for so long is dead. Relays say something every 20 s.
pub const GUN_SILENCE: Duration = Duration::from_secs(45);
/// How often our relay says something.
pub const GUN_KEEPALIVE: Duration = Duration::from_secs(20);
/// Wait for TCP, TLS and WebSocket of one link.
pub const GUN_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// First pause before a lost relay is dialled again; doubled each time, with jitter.
pub const GUN_RECONNECT: Duration = Duration::from_millis(250);
/// Longest such pause.
pub const MAX_GUN_RECONNECT: Duration = Duration::from_secs(30);
/// A link that lasted so long counts as good: the next pause is the first one again.
pub const GUN_LINK_PROVEN: Duration = Duration::from_secs(5);
/// Wait for the answer to a put before it is read back; stock relays answer after 250 ms.
pub const GUN_ACK_WAIT: Duration = Duration::from_secs(2);
/// It is longer by twice the time that the slowest answers took lately; these are forgotten by half within this time.
pub const GUN_SLOWEST_HALVES: Duration = Duration::from_secs(5);
/// Or by twice this for each put that is on its way: a stock relay takes three to five milliseconds of a processor for one
/// announcement.
pub const GUN_ACK_EACH: Duration = Duration::from_millis(5);
/// While at least so many are on their way to a relay that answers, one without an answer is sent again instead of read back.
pub const GUN_PUTS_TO_READ_BACK: usize = 64;
/// Longest such wait; doubled with each attempt up to this.
pub const MAX_GUN_ACK_WAIT: Duration = Duration::from_secs(20);
/// Puts of one write before it fails, besides its deadline.
pub const GUN_PUT_ATTEMPTS: u32 = 40;
/// A one-time read ends when nothing more came for so long after the first answer that had content.
pub const GUN_READ_QUIET: Duration = Duration::from_millis(150);
/// The same after an answer that says that parts of it are still to come.
pub const GUN_READ_MORE: Duration = Duration::from_secs(2);
/// Longest such wait; a relay that took long for its first answer gets twice as long for the rest.
pub const MAX_GUN_READ_QUIET: Duration = Duration::from_secs(10);
/// How far behind our clock own fields are dated, and how far ahead of it others' fields are taken. Relays hold back
/// what is dated in their future, so a fast clock would make a node invisible. Only the order of one field's states
/// counts, and own fields have one writer.
pub const GUN_CLOCK_MARGIN: Duration = super::MAX_CLOCK_SKEW;
/// Updates in the queue of one subscriber; behind it, only the latest of each child waits.
pub const GUN_UPDATE_QUEUE: usize = 256;
/// Bytes that wait behind that queue for a subscriber that does not read: all children of a node, at the size of a record.
pub const MAX_GUN_NEWS_BYTES: usize = 8 * 1024 * 1024;
/// Bytes waiting to be sent on one link; a peer that does not read is cut off.
pub const MAX_GUN_SEND_BYTES: usize = 16 * 1024 * 1024;
/// Frames waiting there; a frame is at least two bytes, and mostly thousands.
pub const GUN_SEND_QUEUE: usize = 16_384;
/// Received frames waiting for the machine.
pub const GUN_FRAME_QUEUE: usize = 64;
/// Time for goodbyes when a client or relay stops.
pub const GUN_STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// Wait for the answer to a put that a database of the program makes for us. Its own answer, if there is one, comes
/// within 9 s: after that it has forgotten the question.
pub const GUN_BRIDGE_ACK_WAIT: Duration = Duration::from_secs(10);
/// Nodes listened to in a database of the program: a search listens to a node and to each of its children.
pub const MAX_GUN_BRIDGE_LISTENERS: usize = 65_536;
/// Commands waiting for a database of the program; while it has so many, more are refused.
pub const GUN_COMMAND_QUEUE: usize = 4096;
/// Characters of an error of such a database that are passed on.
pub const MAX_GUN_ERROR_CHARS: usize = 256;

/// Peers of one relay of ours.
pub const MAX_GUN_RELAY_PEERS: usize = 1024;
/// Bytes of values and names that a relay of ours keeps by default; the longest untouched node goes first.
pub const GUN_RELAY_BYTES: usize = 256 * 1024 * 1024;
/// Fields of one node at a relay of ours.
pub const MAX_GUN_RELAY_FIELDS: usize = 1_000_000;
/// Fields dated in the future that a relay of ours holds back.
pub const MAX_GUN_DEFERRED: usize = 4096;
/// Fields dated further in the future than this are refused.
pub const MAX_GUN_DEFERRAL: Duration = Duration::from_secs(24 * 3600);
/// Fields of one message of an answer of our relay.
pub const GUN_ANSWER_FIELDS: usize = 50;
/// Bytes of it, unless one field alone is larger.
pub const GUN_ANSWER_BYTES: usize = 8000;
/// Bytes per second that our relay reads from one peer; more waits in the peer.
pub const GUN_RELAY_BYTES_PER_SECOND: u64 = 8 * 1024 * 1024;
/// Messages per second that our relay reads from one peer.
pub const GUN_RELAY_MESSAGES_PER_SECOND: u64 = 5000;
/// How often a relay with a file writes down what changed.
pub const GUN_RELAY_SAVE: Duration = Duration::from_secs(5);

/// Confidence in a record that nobody signed, 0 to 1.
pub const GUN_UNSIGNED_CONFIDENCE: f64 = 0.3;
/// Announcements of one node.
pub const MAX_GUN_ANNOUNCEMENTS: usize = 65_536;
/// Announcements that are read live, to write them again at once when somebody overwrites them. The others are
/// written again with their turn.
pub const MAX_GUN_WATCHED: usize = 1024;
/// Puts of announcements waiting for their answer at once. A stock relay writes its files in rounds, each of which takes
/// nearly as long for one field as for hundreds, and after 9 s it has forgotten whom to answer.
pub const GUN_ANNOUNCING: usize = 512;
/// Announcements written again per second, on average, while they all come round in a third of the time for which they
/// hold: a relay without AXE sends each of them to everybody.
pub const GUN_RENEWALS_PER_SECOND: u32 = 10;
/// Deadline of one put of an announcement: a stock relay that is told of thousands at once is busy for long.
pub const GUN_ANNOUNCE_TIMEOUT: Duration = Duration::from_secs(60);
/// Searches at once; as many as downloads.
pub const MAX_GUN_SEARCHES: usize = 4096;
/// Peers remembered of one content.
pub const MAX_GUN_RECORDS_PER_KEY: usize = 100;
/// Contents whose peers are remembered; the least recently seen is forgotten first.
pub const MAX_GUN_KEYS: usize = 4096;
/// Mappings of content ids to hashes that are remembered.
pub const MAX_GUN_MAPPINGS: usize = 65_536;
/// No announcement begins to be watched while more than so many wait to be confirmed: these may never be.
pub const GUN_WATCH_AMONG: usize = 64;
/// Pause between two announcements that begin to be watched: a stock relay reads a file for each.
pub const GUN_WATCH_PAUSE: Duration = Duration::from_millis(100);
/// Shortest pause between two rewrites of one overwritten announcement, so that two writers do not fight at full speed.
pub const GUN_REWRITE_PAUSE: Duration = Duration::from_millis(500);
/// How often changed state is written to disk.
pub const GUN_SAVE: Duration = Duration::from_secs(5);
/// Largest state file that is read.
pub const MAX_GUN_STATE_BYTES: u64 = 256 * 1024 * 1024;
/// A relay's file may have so many bytes for each byte of names and values that it keeps: quotes, states and escapes.
pub const GUN_STORED_FACTOR: u64 = 8;

/// Letters of one direction of a signalling session that wait to be read at once: as many slots it has.
pub const GUN_LETTER_SLOTS: u32 = 16;
/// Of them, those with messages; the others are for acknowledgements, so that two full sides still free each other.
pub const GUN_LETTERS_WAITING: u32 = 12;
/// Messages read before they are acknowledged, if no message of our own does it.
pub const GUN_LETTERS_UNACKNOWLEDGED: u32 = 6;
/// Sets of slots that one sender uses at one receiver, in turn: as many sessions at once, and more than one ladder asks
/// for.
pub const GUN_LANES: u8 = 16;
/// Longest letter: [`MAX_SIGNAL_BYTES`](super::MAX_SIGNAL_BYTES) in base64 and the JSON around it.
pub const MAX_GUN_LETTER_BYTES: usize = 16 * 1024;
/// Sessions remembered, also ended ones while their letters could be written again by somebody else.
pub const MAX_GUN_SESSIONS: usize = 4096;
/// Bytes of one of them in the file that outlives a restart, at most.
pub const GUN_BEGUN_BYTES: u64 = 256;
/// Of them, those with one peer: 25 attempts to connect within [`MAX_CLOCK_SKEW`](super::MAX_CLOCK_SKEW).
pub const MAX_GUN_SESSIONS_PER_PEER: usize = 128;
/// Messages in letters that wait for earlier ones, of all sessions.
pub const MAX_GUN_HELD_BYTES: usize = 1024 * 1024;
/// Letters whose signature is looked at per second: a twentieth of one processor. The others wait in the graph.
pub const GUN_LETTERS_PER_SECOND: u32 = 500;
/// Deadline of one letter on its way to a relay.
pub const GUN_LETTER_TIMEOUT: Duration = Duration::from_secs(10);
/// So long a letter may wait for an acknowledgement that frees its slot.
pub const GUN_LETTER_STALL: Duration = Duration::from_secs(10);
/// So long after a session its letters stay where the peer can read them.
pub const GUN_LETTER_LINGER: Duration = Duration::from_secs(5);
/// Whoever waits for somebody who only knows its name greets again after this: no relay may have been there before.
pub const GUN_MEETING_AGAIN: Duration = Duration::from_secs(5);
/// Greetings answered at once in one meeting; those of attempts that have ended long ago may lie in the graph too.
pub const GUN_MEETING_GREETINGS: usize = 8;
/// Longest name of one side of a meeting, in bytes; ids of the original package have 36.
pub const MAX_GUN_MEETING_NAME_BYTES: usize = 1024;
/// The letters of a meeting are taken away within this time after it.
pub const GUN_MEETING_END: Duration = Duration::from_secs(20);

/// Slots of one direction of a passage of bytes; what is on its way at once.
pub const GUN_RING_SLOTS: u64 = 8;
/// Bytes of one piece: below the 1 MB from which stock relays get slow, above what makes the base64 worth it.
pub const GUN_PIECE_BYTES: usize = 64 * 1024;
/// A piece that was not received is written again after this: longer than a stock relay takes for anything.
pub const GUN_PIECE_AGAIN: Duration = Duration::from_millis(2500);
/// Deadline of one write of a piece or receipt. Shorter than [`GUN_ACK_WAIT`], so that the client never writes an old
/// piece again where a new one stands.
pub const GUN_PIECE_TIMEOUT: Duration = Duration::from_millis(1900);
/// A passage on which nothing was received for so long is over.
pub const GUN_PASSAGE_STALL: Duration = Duration::from_secs(20);
/// Bytes per second of one direction of a passage: relays are mostly somebody else's.
pub const GUN_PASSAGE_BYTES_PER_SECOND: u64 = 2 * 1024 * 1024;
/// Writes of pieces or receipts of one direction that wait for a relay's answer: a stock relay without a disk gives none.
pub const MAX_GUN_PIECE_PUTS: usize = 64;
/// Passages of one node at once.
pub const MAX_GUN_PASSAGES: usize = 16;
