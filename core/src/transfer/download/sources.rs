//! One source: what it said, what it owes, how fast it is; and the record of every peer that ever was one.
//! Not here: what is asked of it and why.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::bits::Bits;
use super::messages::{DownloadConfig, SourceId};
use crate::base::limits;
use crate::base::time::Time;
use crate::transfer::meter::RateMeter;
use crate::wire::transfer::{Info, Span};

/// Assumed of a source that has not delivered anything yet, in bytes per second, if there is nobody to compare with.
const UNKNOWN_SPEED: f64 = 1_000_000.0;

/// Where a block came from: enough to name the peer after its stream has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The stream.
    pub source: SourceId,
    /// The peer's record.
    pub record: u64,
}

/// How far the conversation with a source is.
#[derive(Debug)]
pub enum Phase {
    /// INFO has not come.
    Greeting,
    /// INFO came, but there are too many different descriptions already.
    Parked(Info),
    /// It supports the description with this number.
    Supports(u32),
}

/// A request that was sent.
#[derive(Clone, Copy, Debug)]
pub struct Ask {
    /// What.
    pub span: Span,
    /// When.
    pub at: Time,
    /// A later request was answered before it.
    pub overtaken: bool,
}

/// What a DATA frame turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The answer to an open request, or to one withdrawn a moment ago.
    Expected,
    /// The answer to a request of another length.
    WrongLength(u32),
    /// Nobody asked for it.
    Unasked,
}

/// A live source.
#[derive(Debug)]
pub struct Source {
    /// Its name in blocks.
    pub origin: Origin,
    /// How far the conversation is.
    pub phase: Phase,
    /// It has the whole file.
    pub complete: bool,
    /// The pieces it has; `None` for all.
    pub have: Option<Bits>,
    /// Its pieces are part of the picker's availability.
    pub counted: bool,
    /// It does not answer requests at present.
    pub choked: bool,
    /// Since when it is choked, or was opened.
    pub choked_since: Time,
    /// Requests in the order in which they were sent.
    pub queue: VecDeque<Ask>,
    /// Their bytes.
    pub queued_bytes: u64,
    /// Withdrawn requests whose answers may still come.
    pub withdrawn: VecDeque<Span>,
    /// The piece it is working on.
    pub current: Option<u32>,
    /// How much may be open.
    pub window: Window,
    /// What it delivers.
    pub meter: RateMeter,
    /// Since when it owes the answer to its oldest request.
    pub owes_since: Time,
    /// It kept us waiting for so long that its requests were given to others; nothing new until it sends something.
    pub silent: bool,
    /// Pieces it refused, to be tried again later.
    pub refused: Vec<u32>,
    /// REJECT frames since the last data.
    pub rejects: u32,
    /// Requests that it skipped.
    pub skips: u32,
    /// Ranges of states it was asked for.
    pub state_asks: Vec<usize>,
    /// There was nothing to ask of it at this generation of work.
    pub idle_at: Option<u64>,
    /// It waits for room to start a piece.
    pub starving: bool,
    /// When it was opened.
    pub opened: Time,
    block_bytes: u32,
}

impl Source {
    /// A stream on which HELLO was just sent.
    pub fn new(origin: Origin, config: &DownloadConfig, now: Time) -> Self {
        Self {
            origin,
            phase: Phase::Greeting,
            complete: false,
            have: None,
            counted: false,
            choked: true,
            choked_since: now,
            queue: VecDeque::new(),
            queued_bytes: 0,
            withdrawn: VecDeque::new(),
            current: None,
            window: Window::new(config.max_window_bytes, now),
            meter: RateMeter::new(),
            owes_since: now,
            silent: false,
            refused: Vec::new(),
            rejects: 0,
            skips: 0,
            state_asks: Vec::new(),
            idle_at: None,
            starving: false,
            opened: now,
            block_bytes: config.block_bytes,
        }
    }

    /// Whether it supports this description.
    pub fn supports(&self, claim: u32) -> bool {
        matches!(self.phase, Phase::Supports(own) if own == claim)
    }

    /// Whether it has this piece.
    pub fn has(&self, piece: u32) -> bool {
        self.have.as_ref().is_none_or(|have| have.contains(piece))
    }

    /// Whether another request can be sent now. `share` is what may be open with any one source.
    pub fn can_take(&self, share: u64) -> bool {
        !self.choked
            && !self.silent
            && self.queued_bytes < self.window.bytes.min(share)
            && self.queue.len() < limits::MAX_REQUESTS_PER_PEER
    }

    /// Notes a request.
    pub fn push(&mut self, now: Time, span: Span) {
        if self.queue.is_empty() {
            self.owes_since = now;
            self.window.restart(now);
        }
        self.queued_bytes += u64::from(span.length);
        self.queue.push_back(Ask { span, at: now, overtaken: false });
    }

    /// Withdraws a request. False if it is not open.
    pub fn withdraw(&mut self, span: Span) -> bool {
        let Some(at) = self.queue.iter().rposition(|ask| ask.span == span) else { return false };
        self.queue.remove(at);
        self.queued_bytes -= u64::from(span.length);
        self.remember_withdrawn(span);
        true
    }

    /// Withdraws all requests and returns them.
    pub fn withdraw_all(&mut self) -> Vec<Span> {
        let spans: Vec<Span> = self.queue.drain(..).map(|ask| ask.span).collect();
        self.queued_bytes = 0;
        self.current = None;
        for span in &spans {
            self.remember_withdrawn(*span);
        }
        spans
    }

    /// Drops the open request that a REJECT names. False if there is none.
    pub fn rejected(&mut self, span: Span) -> bool {
        let open = self.queue.iter().position(|ask| ask.span == span);
        if let Some(at) = open {
            self.queue.remove(at);
            self.queued_bytes -= u64::from(span.length);
        }
        open.is_some()
    }

    /// Matches a DATA frame with the requests.
    pub fn answer(&mut self, now: Time, offset: u64, length: u32) -> Answer {
        let open = self.queue.iter().position(|ask| ask.span.offset == offset);
        let answer = if let Some(at) = open {
            let ask = self.queue[at];
            if ask.span.length != length {
                return Answer::WrongLength(ask.span.length);
            }
            self.queue.remove(at);
            self.queue.iter_mut().take(at).for_each(|earlier| earlier.overtaken = true);
            self.queued_bytes -= u64::from(length);
            self.window.answered(now.since(ask.at));
            Answer::Expected
        } else if let Some(at) = self.withdrawn.iter().position(|span| *span == Span { offset, length }) {
            self.withdrawn.remove(at);
            Answer::Expected
        } else {
            return Answer::Unasked;
        };
        self.owes_since = now;
        self.silent = false;
        self.rejects = 0;
        self.idle_at = None;
        self.meter.add(now, u64::from(length));
        self.window.delivered(now, u64::from(length));
        answer
    }

    /// Bytes per second that may be expected of it: the last measured rate, or `typical` if it has not delivered
    /// anything yet.
    pub fn speed(&self, now: Time, typical: f64) -> f64 {
        let measured = self.window.rate.or_else(|| (self.meter.total() > 0).then(|| self.meter.rate(now)));
        measured.unwrap_or(typical).max(1.0)
    }

    /// Seconds until it will have delivered `bytes`. Whoever keeps us waiting longer than usual is expected to do so
    /// for as long again.
    pub fn eta(&self, now: Time, typical: f64, bytes: u64) -> f64 {
        let speed = self.speed(now, typical);
        let transfer = bytes as f64 / speed;
        if self.queue.is_empty() {
            return transfer + self.window.rtt().as_secs_f64();
        }
        let waiting = now.since(self.owes_since).as_secs_f64();
        let usual = 0.25 + 4.0 * f64::from(self.block_bytes) / speed + 2.0 * self.window.rtt().as_secs_f64();
        if waiting > usual { transfer * (waiting / usual) + waiting } else { transfer }
    }

    fn remember_withdrawn(&mut self, span: Span) {
        if self.withdrawn.len() >= limits::MAX_WITHDRAWN_REQUESTS {
            self.withdrawn.pop_front();
        }
        self.withdrawn.push_back(span);
    }
}

/// The mean speed of those that have delivered something, as a guess for those that have not.
pub fn typical_speed<'a>(sources: impl Iterator<Item = &'a Source>) -> f64 {
    let (sum, count) =
        sources.filter_map(|source| source.window.rate).fold((0.0, 0), |(sum, count), rate| (sum + rate, count + 1));
    if count == 0 { UNKNOWN_SPEED } else { sum / f64::from(count) }
}

/// How many bytes may be open with one source: what it delivers in two round trips (at least a quarter of a second),
/// and two blocks. If the window is what limits the rate, this doubles it each round until it is not.
#[derive(Debug)]
pub struct Window {
    /// The size now.
    pub bytes: u64,
    /// Bytes per second of the last round.
    pub rate: Option<f64>,
    max: u64,
    shortest: Option<Duration>,
    round_start: Time,
    round_bytes: u64,
}

/// Requests are kept open for at least this long a stretch of delivery: hides disk and scheduling pauses of the peer.
const MIN_WINDOW_TIME: f64 = 0.25;
/// A round ends after this even if the window was not filled, so that the window of a slow peer shrinks quickly.
const MAX_ROUND: Duration = Duration::from_secs(1);

impl Window {
    fn new(max: u64, now: Time) -> Self {
        let max = max.max(1);
        let bytes = limits::INITIAL_WINDOW_BYTES.min(max);
        Self { bytes, rate: None, max, shortest: None, round_start: now, round_bytes: 0 }
    }

    /// Takes the time between a question and its answer.
    pub fn answered(&mut self, took: Duration) {
        self.shortest = Some(self.shortest.map_or(took, |shortest| shortest.min(took)));
    }

    /// The shortest time between a question and its answer.
    pub fn rtt(&self) -> Duration {
        self.shortest.unwrap_or_default()
    }

    fn restart(&mut self, now: Time) {
        if self.rate.is_none() && self.round_bytes > 0 {
            self.rate = Some(self.round_rate(now));
        }
        self.round_start = now;
        self.round_bytes = 0;
    }

    fn delivered(&mut self, now: Time, bytes: u64) {
        self.round_bytes += bytes;
        if self.round_bytes < self.bytes && now.since(self.round_start) < MAX_ROUND {
            return;
        }
        let rate = self.round_rate(now);
        let stretch = (2.0 * self.rtt().as_secs_f64()).max(MIN_WINDOW_TIME);
        let target = (rate * stretch) as u64 + limits::MIN_WINDOW_BYTES;
        self.bytes =
            target.clamp(self.bytes / 2, self.bytes * 2).clamp(limits::MIN_WINDOW_BYTES.min(self.max), self.max);
        self.rate = Some(rate);
        self.round_start = now;
        self.round_bytes = 0;
    }

    fn round_rate(&self, now: Time) -> f64 {
        self.round_bytes as f64 / now.since(self.round_start).as_secs_f64().max(0.001)
    }
}

/// What is known of every peer of a download, live or not.
#[derive(Debug, Default)]
pub struct Peers {
    records: BTreeMap<u64, PeerRecord>,
    by_name: BTreeMap<String, u64>,
    next: u64,
}

/// One peer.
#[derive(Debug)]
pub struct PeerRecord {
    /// Text of its id.
    pub name: String,
    /// Its live stream.
    pub live: Option<SourceId>,
    /// Payload bytes received over all its streams.
    pub bytes: u64,
    /// Times it left us waiting for data or an answer.
    pub stalls: u32,
    /// It was caught lying.
    pub banned: bool,
}

impl Peers {
    /// The record of this peer, made if there is none. Old records of honest peers make room.
    pub fn enter(&mut self, name: String) -> u64 {
        if let Some(id) = self.by_name.get(&name) {
            return *id;
        }
        if self.records.len() >= limits::MAX_PAST_PEERS {
            let gone = |(_, record): &(&u64, &PeerRecord)| record.live.is_none();
            let oldest = self.records.iter().filter(gone).min_by_key(|(id, record)| (record.banned, **id));
            if let Some(id) = oldest.map(|(id, _)| *id)
                && let Some(record) = self.records.remove(&id)
            {
                self.by_name.remove(&record.name);
            }
        }
        let id = self.next;
        self.next += 1;
        self.by_name.insert(name.clone(), id);
        self.records.insert(id, PeerRecord { name, live: None, bytes: 0, stalls: 0, banned: false });
        id
    }

    /// A record, unless it had to make room.
    pub fn get_mut(&mut self, record: u64) -> Option<&mut PeerRecord> {
        self.records.get_mut(&record)
    }

    /// The record of a peer by name.
    pub fn find(&self, name: &str) -> Option<&PeerRecord> {
        self.by_name.get(name).and_then(|id| self.records.get(id))
    }

    /// All records, in the order in which the peers appeared.
    pub fn iter(&self) -> impl Iterator<Item = &PeerRecord> {
        self.records.values()
    }
}
