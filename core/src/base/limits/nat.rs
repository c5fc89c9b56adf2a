//! The bounds of the NAT layer, each with its reason. Not here: those of the other layers.

use std::time::Duration;

use super::IDLE_CONNECTION_TIMEOUT;

/// Pause before a relay that refused is asked again, doubled up to the next limit. One that was lost after it had held a
/// place for so long is asked at once: most likely only the way to it broke.
pub const RELAY_RETRY: Duration = Duration::from_secs(1);
/// Longest pause between two requests to the same relay.
pub const MAX_RELAY_RETRY: Duration = Duration::from_secs(300);
/// Largest signalling message: a peer's candidates and predicted ports, and what Gun carries in one put.
pub const MAX_SIGNAL_BYTES: usize = 8 * 1024;
/// Signalling messages of one attempt that wait for their reader.
pub const SIGNAL_QUEUE: usize = 16;
/// Endpoints in one punching proposal: both families, both transports, a few interfaces.
pub const PUNCH_ENDPOINTS: usize = 16;
/// Predicted ports in one proposal: more than any window that still meets.
pub const PUNCH_PORTS: usize = 64;
/// Text of an ABORT, for people.
pub const PUNCH_ABORT_TEXT_BYTES: usize = 200;
/// External mappings that a prediction looks at; only the newest tell anything.
pub const PUNCH_OBSERVATIONS: usize = 32;
/// STUN servers asked before a round: three show a sequence, the fourth a flow of somebody else in it.
pub const PUNCH_SERVERS: usize = 4;
/// Wait for one STUN server before a round. Servers that are slower than this tell too late what comes next.
pub const PUNCH_SERVER_TIMEOUT: Duration = Duration::from_millis(600);
/// Predicted ports when nothing disturbs: the rendezvous and a few flows of other programs may have eaten some.
pub const PUNCH_WINDOW: usize = 17;
/// Sockets of the hard side in birthday probing. With 256 of them the median is 174 probes.
pub const PUNCH_SOCKETS: u16 = 256;
/// Probes of the easy side in birthday probing: 256 sockets are hit with 99.97 %.
pub const PUNCH_SEARCH_PROBES: u16 = 2048;
/// Random ports probed per second; faster than that, home routers drop new sessions.
pub const PUNCH_SEARCH_RATE: u32 = 1000;
/// Below this chance, birthday probing is not tried.
pub const PUNCH_MIN_CHANCE: f64 = 0.3;
/// Pairs of socket and address that one round probes on its schedule, besides those of birthday probing.
pub const PUNCH_PAIRS: usize = 64;
/// Times each pair is probed on the schedule: 6 s.
pub const PUNCH_PASSES: u32 = 30;
/// Pairs that gave a sign of life and are probed out of turn.
pub const PUNCH_HOT_PAIRS: usize = 16;
/// Probes of one such pair out of turn.
pub const PUNCH_HOT_PROBES: u32 = 12;
/// Transaction ids of received probes that one round remembers; beyond it new probes are ignored.
pub const PUNCH_SEEN: usize = 2048;
/// Packets that one round sends, answers included.
pub const PUNCH_ROUND_PACKETS: u32 = 4096;
/// Time of a round without birthday probing, besides two round trips of the signalling channel.
pub const PUNCH_ROUND: Duration = Duration::from_millis(1500);
/// Head start of the hard side in birthday probing: its sockets are open before most probes arrive.
pub const PUNCH_HEAD_START: Duration = Duration::from_millis(150);
/// Rounds with one peer until the network changes.
pub const PUNCH_ROUNDS: u8 = 5;
/// Of them, those that predict the ports of both sides: two fit in the rung with its exchanges, the third ends with it.
pub const PUNCH_DOUBLE_PREDICTIONS: usize = 3;
/// Packets for one peer until the network changes.
pub const PUNCH_PACKETS: u32 = 12_000;
/// Time of all rounds with one peer until the network changes.
pub const PUNCH_TIME: Duration = Duration::from_secs(30);
/// Wait for one signalling message; slow carriers store and forward.
pub const PUNCH_SIGNAL_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a finished side still answers the peer's nominations, whose answers may have been lost.
pub const PUNCH_LINGER: Duration = Duration::from_secs(3);
/// Received packets of all sockets of a round that wait for the machine; the surplus is dropped like any lost packet.
pub const PUNCH_QUEUE: usize = 256;
/// Peers that are being reached, or held through a ladder, at once: as many as a large node has connections.
pub const MAX_CLIMBS: usize = 2048;
/// Preferred ways in one call: every spelling of every way, with room.
pub const MAX_PREFERRED_METHODS: usize = 64;
/// Ends of relayed paths that are known as such; as many as wait to become links, and those that just did.
pub const MAX_RELAYED_PATHS: usize = 256;
/// After a change of the network, links that live so long are trusted again: a dead one is noticed within half of it.
pub const DOUBT: Duration = Duration::from_secs(3);
/// Wishes that wait for one climb; it takes them between two steps.
pub const CLIMB_WISHES: usize = 16;
/// So long a new link waits for the rung that made it to say so.
pub const LINK_CLAIM_GRACE: Duration = Duration::from_millis(50);
/// A peer that says it has dialled back is heard of on our side within this.
pub const DIAL_BACK_GRACE: Duration = Duration::from_secs(1);
/// One part in another's ladder ends after this: the time of all rounds of punching, and the exchange before them.
pub const MEETING_TIMEOUT: Duration = Duration::from_secs(40);
/// Attempts to meet peers directly that run at once; the surplus stays on its relay.
pub const MAX_MEETINGS: usize = 16;
/// Of them, those with one peer: a ladder asks for five things at most, each once, and one may just be ending.
pub const MEETINGS_PER_PEER: usize = 6;
/// A path over a TURN server on which nothing moved for so long is given up; what uses one speaks every few seconds.
pub const BRIDGE_IDLE: Duration = Duration::from_secs(60);
/// Head start of libp2p's own way to meet (DCUtR), which is cheaper where it works.
pub const MEETING_GRACE: Duration = Duration::from_millis(700);
/// Head start of the first address of a relay over the others of the same relay: three retransmissions of a far one.
pub const RELAY_ADDRESS_HEAD_START: Duration = Duration::from_secs(1);
/// Peers whose failed attempts are remembered, so that they are not repeated.
pub const MEETING_HISTORIES: usize = 256;
/// Remote endpoints of one TCP round.
pub const PUNCH_TCP_TARGETS: usize = 17;
/// Connections of one TCP round that are open or being opened at once, both directions.
pub const PUNCH_TCP_CONNECTIONS: usize = 24;
/// Connections that may be made in one TCP round, refused ones included.
pub const PUNCH_TCP_ATTEMPTS: u32 = 200;
/// Pause before a refused TCP connection is tried again.
pub const PUNCH_TCP_RETRY: Duration = Duration::from_millis(100);
/// Time of a TCP round, besides two round trips of the signalling channel: one retransmitted SYN fits.
pub const PUNCH_TCP_ROUND: Duration = Duration::from_secs(4);
/// Attempts one report keeps; later ones are only counted. More than all ways to one peer together, twice.
pub const MAX_REPORTED_ATTEMPTS: usize = 64;
/// Longest detail of one attempt: one line of an operating system's error with its address.
pub const MAX_ATTEMPT_DETAIL_BYTES: usize = 200;
/// What worked is remembered for so long (api.md A.4.16): networks and routers change within months.
pub const REGISTRY_LIFETIME: Duration = Duration::from_secs(45 * 24 * 3600);
/// Pairs of network and peer whose way is remembered; the least recently used are forgotten.
pub const MAX_REGISTRY_PEERS: usize = 4096;
/// Ways remembered per network and peer: the best of each family and transport.
pub const MAX_REGISTRY_METHODS: usize = 4;
/// Longest text (peer id, network, address, note) in the registry, and most notes of an entry.
pub const MAX_REGISTRY_TEXT_BYTES: usize = 256;
/// Notes of one entry.
pub const MAX_REGISTRY_NOTES: usize = 8;
/// Largest registry file read: a full table of ordinary entries is a quarter of it.
pub const MAX_REGISTRY_FILE_BYTES: u64 = 16 * 1024 * 1024;
/// Addresses of one peer that one ladder considers; a peer with more has named somebody else's.
pub const MAX_LADDER_CANDIDATES: usize = 32;
/// Addresses and ways tried in one round, however many trickle in.
pub const MAX_LADDER_TARGETS: usize = 4 * MAX_LADDER_CANDIDATES;
/// Rungs that run at the same time: sockets, probes and a relay's patience are shared by all peers being connected.
pub const MAX_RUNNING_RUNGS: usize = 8;
/// Paths kept beside the one in use: one relay and the path before the last change.
pub const MAX_STANDBY_PATHS: usize = 2;
/// How long a path that is no longer used stands by. As long as an idle connection.
pub const STANDBY_LINGER: Duration = IDLE_CONNECTION_TIMEOUT;
/// What worked last time is alone for so long: two exchanges over a signalling path of 50 ms and the punch itself.
pub const LADDER_MEMORY_HEAD_START: Duration = Duration::from_millis(250);
/// Head start of an ordinary rung over the next: the answer of a near peer comes before the next rung costs anything.
pub const LADDER_HEAD_START: Duration = Duration::from_millis(50);
/// Head start of UDP punching over TCP punching: an exchange of messages and the first probe at 50 ms.
pub const LADDER_PUNCH_HEAD_START: Duration = Duration::from_millis(150);
/// Time for a dial inside the local network.
pub const LAN_RUNG_TIMEOUT: Duration = Duration::from_secs(1);
/// Time for a dial over the internet, by us or by the peer: two retransmissions.
pub const DIAL_RUNG_TIMEOUT: Duration = Duration::from_secs(3);
/// Time for plain UDP punching: DCUtR's head start, the exchange of messages, and 30 probes. What has not met by then
/// will not.
pub const UDP_PUNCH_RUNG_TIMEOUT: Duration = Duration::from_millis(2500);
/// Time for guessed ports: a round of prediction and one of 1024 probes at 500 per second, each with its exchange. A
/// deadline for what hangs, nothing waits for it.
pub const ADVANCED_PUNCH_RUNG_TIMEOUT: Duration = Duration::from_secs(7);
/// Time for TCP punching: DCUtR's head start, the exchange of messages, and two retransmissions of a SYN with retries
/// after refusals.
pub const TCP_PUNCH_RUNG_TIMEOUT: Duration = Duration::from_secs(5);
/// Time for ICE and for relays, where servers take part.
pub const RELAY_RUNG_TIMEOUT: Duration = Duration::from_secs(5);
/// A round ends after this, whatever still runs.
pub const LADDER_ROUND_TIMEOUT: Duration = Duration::from_secs(15);
/// Rounds in a row without a path that lasts; then the ladder gives up.
pub const MAX_LADDER_ROUNDS: u32 = 6;
/// Pause before the second such round; doubles with each.
pub const LADDER_PAUSE: Duration = Duration::from_secs(1);
/// A path that lasted so long was a good one: the count of rounds starts anew.
pub const STABLE_PATH: Duration = Duration::from_secs(30);
/// ICE candidates of one side; browsers on machines with many interfaces send about 20.
pub const MAX_ICE_CANDIDATES: usize = 50;
/// Candidate pairs of one ICE session (RFC 8445 section 6.1.2.5).
pub const MAX_ICE_PAIRS: usize = 100;
/// TURN servers at which one ICE session asks for an address: two ways to each of two servers.
pub const MAX_ICE_RELAYS: usize = 4;
/// Longest line of an ICE candidate: the fixed part, two IPv6 addresses and some extensions.
pub const MAX_ICE_LINE_BYTES: usize = 512;
/// Longest ICE user name fragment and password (RFC 8839 section 5.4).
pub const MAX_ICE_CREDENTIAL_BYTES: usize = 256;
/// Checks of the peer that came before its credentials, kept until they are known.
pub const MAX_ICE_EARLY_CHECKS: usize = 8;
/// Pairs whose check was triggered by one of the peer and waits for its turn.
pub const MAX_ICE_TRIGGERED: usize = MAX_ICE_PAIRS;
/// Time between two new checks (RFC 8445 section 14.2, Ta).
pub const ICE_PACE: Duration = Duration::from_millis(50);
/// The same while there are at most [`ICE_FEW_PAIRS`] pairs: together they cost less than one pair's retransmissions.
pub const ICE_FAST_PACE: Duration = Duration::from_millis(10);
/// Up to so many pairs are checked quickly.
pub const ICE_FEW_PAIRS: usize = 10;
/// First retransmission of a check; doubles (RFC 8445 section 14.3).
pub const ICE_RTO: Duration = Duration::from_millis(500);
/// Transmissions of one check. After the last one it is answered within twice its wait or has failed: 7.5 seconds.
pub const ICE_ATTEMPTS: u32 = 4;
/// Repetition of the check that nominates: its pair is known to work, so only loss can be in the way.
pub const ICE_NOMINATION_RTO: Duration = Duration::from_millis(200);
/// Transmissions of that check: at 30 % loss each way all of them die once in a thousand times.
pub const ICE_NOMINATION_ATTEMPTS: u32 = 10;
/// A session without a selected pair ends after this.
pub const ICE_TIMEOUT: Duration = Duration::from_secs(15);
/// How long the controlling side waits for a better pair after the first direct one works.
pub const ICE_NOMINATION_PATIENCE: Duration = Duration::from_millis(100);
/// The same when only a relayed pair works.
pub const ICE_RELAY_PATIENCE: Duration = Duration::from_millis(500);
/// Time between consent checks (RFC 7675 section 5.1), made irregular by a fifth.
pub const ICE_CONSENT_INTERVAL: Duration = Duration::from_secs(5);
/// Consent ends so long after the last answer.
pub const ICE_CONSENT_TIMEOUT: Duration = Duration::from_secs(30);
/// Attributes of one STUN message: a TURN request has about ten.
pub const MAX_STUN_ATTRIBUTES: usize = 64;
/// Longest text in a STUN message, in bytes (RFC 8489 sections 14.9 and 14.10: 127 characters, as decoders count).
pub const MAX_STUN_TEXT_BYTES: usize = 763;
/// Datagrams of one STUN request (RFC 8489 section 6.2.1).
pub const STUN_ATTEMPTS: u32 = 7;
/// First wait for a STUN answer before the request is sent again: above most round trips, far below RFC 8489's 500 ms,
/// which would spoil the second that connecting may take.
pub const STUN_RTO: Duration = Duration::from_millis(200);
/// A STUN server that is silent for so long, after four requests, is taken for unreachable over UDP.
pub const STUN_SILENCE: Duration = Duration::from_millis(1600);
/// Silence on UDP after which TCP is tried, to tell a blocked UDP from a missing network.
pub const STUN_TCP_AFTER: Duration = Duration::from_millis(500);
/// Servers asked over TCP.
pub const STUN_TCP_SERVERS: usize = 3;
/// Shortest wait for the other STUN servers once enough of them answered.
pub const STUN_STRAGGLERS: Duration = Duration::from_millis(300);
/// Addresses of STUN servers asked per address family: three show the mapping, the rest is for dead ones.
pub const MAX_STUN_SERVERS: usize = 8;
/// Addresses of one name asked per family: more of one operator prove nothing more.
pub const MAX_STUN_ADDRESSES_PER_NAME: usize = 3;
/// Attributes of a Binding answer over TCP, in bytes: a dozen addresses and a text.
pub const MAX_STUN_ANSWER_BYTES: usize = 2048;
/// Time that finding out the NAT's behaviour may take, with looking up the servers.
pub const STUN_DETECT_TIMEOUT: Duration = Duration::from_millis(2500);
/// Time that looking up the names of servers may take.
pub const STUN_LOOKUP_TIMEOUT: Duration = Duration::from_secs(1);
/// Sources whose STUN requests we count; beyond it new ones are not answered until older ones are a second old.
pub const STUN_SERVED_SOURCES: usize = 1024;
/// STUN answers to one source in a second: a peer's whole discovery is about 20 requests.
pub const STUN_ANSWERS_PER_SOURCE: u32 = 30;
/// STUN answers in a second to all sources together: 50 kB/s.
pub const STUN_ANSWERS: u32 = 1000;
/// Largest datagram relayed by TURN: what fits UDP with the headers of a Send indication.
pub const MAX_TURN_PAYLOAD_BYTES: usize = 65_000;
/// Permissions, and channels, of one TURN allocation: it serves one peer with several addresses.
pub const MAX_TURN_PEERS: usize = 64;
/// A TURN peer that nothing went to or came from for so long is not renewed.
pub const TURN_IDLE_PEER: Duration = Duration::from_secs(15 * 60);
/// Wait for the answer to one TURN request, repeats included.
pub const TURN_REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// Wait for a TURN server to confirm the end of an allocation; it ends by itself anyway.
pub const TURN_CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// Challenges (401, 438) answered for one TURN request: the first one, and nonces that just went stale.
pub const TURN_CHALLENGES: u32 = 3;
/// Alternate servers (300) followed.
pub const TURN_REDIRECTS: usize = 3;
/// Lifetime asked for an allocation: RFC 8656's default.
pub const TURN_LIFETIME: Duration = Duration::from_secs(600);
/// Longest lifetime believed, so that a dead allocation is noticed.
pub const MAX_TURN_LIFETIME: Duration = Duration::from_secs(3600);
/// Time to allocate, with connecting, TLS and all addresses of the server.
pub const TURN_ALLOCATE_TIMEOUT: Duration = Duration::from_secs(10);
/// A TURN server that takes not a byte of what is written to it for so long is given up.
pub const TURN_WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// Datagrams from peers waiting to be received; the newest are dropped beyond it, as by any socket.
pub const TURN_DATAGRAMS: usize = 1024;
/// Datagrams and requests waiting to be sent through one allocation; who sends more waits.
pub const TURN_COMMANDS: usize = 64;
/// Bytes read from a TURN stream at once.
pub const TURN_READ_BYTES: usize = 64 * 1024;
/// Servers and addresses that one call with TURN servers names: more are a mistake, and each costs up to
/// [`TURN_ALLOCATE_TIMEOUT`].
pub const MAX_TURN_SERVERS: usize = 8;
/// Local ports that one call for hole punching names as possible ones.
pub const MAX_PUNCH_LOCAL_PORTS: usize = 64;
/// Datagrams that came through a hole and wait to be received; the newest are dropped beyond it, as by any socket.
pub const RAW_DATAGRAMS: usize = 1024;
/// Bytes read at once from the stream of a hole.
pub const RAW_READ_BYTES: usize = 64 * 1024;
/// Largest datagram that goes through a hole: what UDP over IPv4 carries.
pub const MAX_RAW_DATAGRAM_BYTES: usize = 65_507;
/// Ports one node wishes to have mapped: a few per listener, as the original package allowed.
pub const MAX_MAPPINGS: usize = 50;
/// First pause before a PCP or NAT-PMP request is sent again; doubles. The router is one hop away.
pub const MAPPING_RETRANSMIT: Duration = Duration::from_millis(250);
/// A router that answers nothing for so long does not speak the protocol: three tries.
pub const MAPPING_SILENCE: Duration = Duration::from_millis(1500);
/// How long a worse protocol waits for a better one after it has answered: one retransmission and its answer.
pub const MAPPING_GRACE: Duration = Duration::from_millis(300);
/// Time a UPnP request to change a mapping may take: several SOAP calls to a slow router.
pub const UPNP_REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// Smallest pause between two attempts to renew a mapping (RFC 6887 section 11.2.1).
pub const MAPPING_RENEWAL_PAUSE: Duration = Duration::from_secs(4);
/// UPnP has no sign of a restarted router, so its mappings are made again so often at least.
pub const UPNP_RENEWAL: Duration = Duration::from_secs(10 * 60);
/// How often the router's epoch is asked for while something is mapped, to notice a restart nobody announced.
pub const MAPPING_CHECK_INTERVAL: Duration = Duration::from_secs(60);
/// First pause after all protocols have failed; doubles up to [`MAX_MAPPING_PAUSE`].
pub const MAPPING_PAUSE: Duration = Duration::from_secs(30);
/// Longest pause between attempts to map a port.
pub const MAX_MAPPING_PAUSE: Duration = Duration::from_secs(30 * 60);
/// Restarts of a router that are believed at most so often: whoever forges them on the local network gains nothing.
pub const MAPPING_RESET_PAUSE: Duration = Duration::from_secs(1);
/// Ports tried after the suggested one was taken, before the router is asked for any.
pub const UPNP_PORT_TRIES: u16 = 4;
/// Time `stop()` gives the router to confirm that mappings are deleted.
pub const MAPPING_STOP_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest datagram taken from a router: the longest PCP message (RFC 6887 section 7) and one byte to see more.
pub const MAX_MAPPING_DATAGRAM_BYTES: usize = 1101;
/// Events of the port mapper waiting for one reader; the oldest are dropped.
pub const MAPPING_EVENTS: usize = 256;
/// UPnP requests being carried out at once, and their answers waiting: one per mapping and family.
pub const UPNP_REQUESTS: usize = 2 * MAX_MAPPINGS;
/// How often the default gateway is looked up again: a changed route does not always come with a changed address.
pub const GATEWAY_INTERVAL: Duration = Duration::from_secs(15);
/// The NAT is not examined more often than this on the word of peers that see us at another address.
pub const DETECT_PAUSE: Duration = Duration::from_secs(30);
/// After a change of addresses the routes follow; wait for them to settle.
pub const INTERFACE_SETTLE: Duration = Duration::from_millis(250);
/// Longest lease asked for: a day, which is also the longest that UPnP knows for pinholes.
pub const MAX_MAPPING_LIFETIME: Duration = Duration::from_secs(24 * 3600);
