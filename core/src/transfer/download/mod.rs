//! The download of one file from many sources: what to ask from whom, and whom to believe. A pure machine.
//! Not here: sockets, disk, hashing, discovery; the driver does what [`Output`] says and reports with [`Input`].
//!
//! By concept: `sources` (who), `descriptions` and `disputes` (what the file is said to be, and by whom), `picker` and
//! `work` (which pieces), `assembly` and `requests` (which blocks from whom), `blame` (who sent what was wrong),
//! `upkeep` (what the passing of time means), `progress` (what to tell the user), `audit` (is all of it in order).

mod assembly;
mod audit;
mod bits;
mod blame;
mod descriptions;
mod disputes;
mod messages;
mod picker;
mod progress;
mod requests;
mod sources;
mod upkeep;
mod work;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;

use crate::base::ids::{ContentKey, FileHash};
use crate::base::limits;
use crate::base::random::Jitter;
use crate::base::time::Time;
use crate::content::description::Description;
use crate::content::proof::Ledger;
use crate::transfer::meter::RateMeter;
use crate::wire::transfer::{GoneReason, ServerFrame};

pub use messages::{CheckId, DownloadConfig, Input, Output, SourceId};

use descriptions::Claim;
use sources::{Origin, Peers, Phase, Source};
use work::Work;

/// One download. Drive it with [`Self::handle`] and [`Self::handle_timeout`], and after each of them take everything
/// from [`Self::poll`].
#[derive(Debug)]
pub struct Download {
    config: DownloadConfig,
    rng: Jitter,
    /// The file's hash, once known.
    hash: Option<FileHash>,
    sources: BTreeMap<SourceId, Source>,
    /// Those that have a part of the file and support what is believed.
    partial_sources: usize,
    peers: Peers,
    claims: BTreeMap<u32, Claim>,
    next_claim: u32,
    /// The claim that is believed at present.
    working: Option<u32>,
    /// The pieces under it, once it was given out as [`Output::Described`].
    work: Option<Work>,
    /// What was believed before, until its pieces are sorted.
    retired: Option<(Description, Ledger)>,
    /// [`Output::Described`] without their [`Input::StoreReady`].
    opening: u32,
    store_ready: bool,
    checks: BTreeMap<CheckId, Verification>,
    next_check: u64,
    piece_checks: usize,
    disk_checks: usize,
    /// Counts up whenever there is new work for idle sources.
    generation: u64,
    woken: bool,
    /// Sources that wanted to start a piece and were not allowed to hold more bytes, in the order in which they came.
    starving: VecDeque<SourceId>,
    /// What may be open with any one source, so that all of them fit into the memory.
    share: u64,
    /// Looking for work may take its time now: it is not done for every block.
    thorough: bool,
    /// What the driver could dial.
    candidates: usize,
    next_tick: Time,
    last_rotation: Time,
    meter: RateMeter,
    /// Sources that did not know the content, and liars.
    unknowing: u64,
    liars: u64,
    failed: u64,
    outputs: VecDeque<Output>,
    finished: Option<Description>,
}

/// What a worker was asked to verify.
#[derive(Debug)]
enum Verification {
    /// A piece that was fetched, with its blocks.
    Piece { piece: u32, blocks: Vec<(Origin, Bytes)> },
    /// A piece that may be on disk.
    Disk { piece: u32 },
    /// A piece that decides between descriptions, under the rival one.
    Trial { claim: u32, origin: Origin, piece: u32 },
}

impl Download {
    /// A download without sources.
    pub fn new(config: DownloadConfig, now: Time) -> Self {
        let hash = match &config.key {
            ContentKey::Hash(hash) => Some(*hash),
            ContentKey::Id(_) => None,
        };
        Self {
            rng: Jitter::from_seed(config.seed),
            config,
            hash,
            sources: BTreeMap::new(),
            partial_sources: 0,
            peers: Peers::default(),
            claims: BTreeMap::new(),
            next_claim: 0,
            working: None,
            work: None,
            retired: None,
            opening: 0,
            store_ready: false,
            checks: BTreeMap::new(),
            next_check: 0,
            piece_checks: 0,
            disk_checks: 0,
            generation: 0,
            woken: false,
            starving: VecDeque::new(),
            share: u64::MAX,
            thorough: false,
            candidates: 0,
            next_tick: now,
            last_rotation: now,
            meter: RateMeter::new(),
            unknowing: 0,
            liars: 0,
            failed: 0,
            outputs: VecDeque::new(),
            finished: None,
        }
    }

    /// Takes an event.
    pub fn handle(&mut self, now: Time, input: Input) {
        if self.finished.is_some() {
            return;
        }
        match input {
            Input::SourceOpened { source, peer } => self.opened(now, source, peer),
            Input::Frame { source, frame } => self.frame(now, source, frame),
            Input::Block { source, offset, bytes } => self.block(now, source, offset, bytes),
            Input::SourceClosed { source } => {
                if self.drop_source(now, source) {
                    self.failed += 1;
                }
            }
            Input::StoreReady { on_disk } => self.opened_store(now, &on_disk),
            Input::Checked { id, consistent } => self.checked(now, id, consistent),
            Input::MaxPeers(max) => self.set_max_peers(now, max),
            Input::Candidates(waiting) => self.candidates = waiting,
        }
        self.work_off(now);
    }

    /// To be called when [`Self::next_timeout`] has come; harmless at any other time.
    pub fn handle_timeout(&mut self, now: Time) {
        if self.finished.is_none() && now >= self.next_tick {
            self.next_tick = now + limits::DOWNLOAD_TICK;
            self.thorough = true;
            self.tick(now);
            self.work_off(now);
            self.thorough = false;
        }
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Self::handle_timeout`] has something to do, if nothing happens before.
    pub fn next_timeout(&self) -> Option<Time> {
        (self.finished.is_none() && !self.sources.is_empty()).then_some(self.next_tick)
    }

    /// How many more sources are wanted right now; 0 when there are enough or the download is finished.
    pub fn wants_peers(&self) -> usize {
        if self.finished.is_some() { 0 } else { self.config.max_peers.saturating_sub(self.sources.len()) }
    }

    /// Whether this source owes us an answer or data.
    pub fn is_owed(&self, source: SourceId) -> bool {
        self.sources.get(&source).is_some_and(|source| {
            matches!(source.phase, Phase::Greeting) || !source.queue.is_empty() || !source.state_asks.is_empty()
        })
    }

    /// Whether this peer was caught lying in this download.
    pub fn is_banned(&self, peer: &str) -> bool {
        self.peers.find(peer).is_some_and(|record| record.banned)
    }

    /// [`Output::Finished`] was given out.
    pub const fn is_finished(&self) -> bool {
        self.finished.is_some()
    }

    /// Work that came up during the last event is offered to all.
    fn work_off(&mut self, now: Time) {
        // Each round gives out work or ends; the bound is a guard against a mistake in here, not a limit.
        for _ in 0..4 {
            if !std::mem::take(&mut self.woken) {
                return;
            }
            self.fill_all(now);
        }
    }

    fn opened(&mut self, now: Time, id: SourceId, peer: String) {
        let full = self.sources.len() >= self.config.max_peers;
        let record_id = self.peers.enter(peer);
        let Some(record) = self.peers.get_mut(record_id) else { return };
        if record.banned || record.live.is_some() || full || self.sources.contains_key(&id) {
            let retry = (full && !record.banned).then_some(limits::USELESS_AFTER);
            self.outputs.push_back(Output::Close { source: id, retry });
            return;
        }
        record.live = Some(id);
        let origin = Origin { source: id, record: record_id };
        if self.sources.is_empty() {
            self.next_tick = now + limits::DOWNLOAD_TICK;
        }
        self.sources.insert(id, Source::new(origin, &self.config, now));
    }

    fn frame(&mut self, now: Time, id: SourceId, frame: ServerFrame) {
        let Some(source) = self.sources.get_mut(&id) else { return };
        let greeted = !matches!(source.phase, Phase::Greeting);
        match frame {
            ServerFrame::Gone(reason) => self.gone(now, id, reason),
            ServerFrame::Info(info) => self.info(now, id, info),
            // A slot may be granted before the file was found.
            ServerFrame::Unchoke => self.unchoked(now, id),
            ServerFrame::Choke => self.choked(now, id),
            // Peer exchange is the driver's; nothing of the download depends on it.
            ServerFrame::Peers(_) | ServerFrame::Own(_) => {}
            // Everything else needs INFO first.
            _ if !greeted => self.close(now, id, None),
            ServerFrame::States { first, states } => self.states(now, id, first, states),
            ServerFrame::HaveBits { first, bits } => self.have_bits(now, id, first, &bits),
            ServerFrame::Have { piece } => self.have(now, id, piece..=piece),
            ServerFrame::Reject(span) => self.rejected(now, id, span),
            ServerFrame::Data { offset, bytes } => self.block(now, id, offset, bytes),
        }
    }

    fn gone(&mut self, now: Time, id: SourceId, reason: GoneReason) {
        let retry = match reason {
            GoneReason::Unknown | GoneReason::Removed => {
                self.unknowing += 1;
                None
            }
            // A partial peer that has corrected its description, or a host that shares a new version.
            GoneReason::Changed => {
                self.unknowing += 1;
                Some(Duration::from_secs(2))
            }
            GoneReason::Busy => Some(limits::CHOKE_INTERVAL),
        };
        self.close(now, id, retry);
    }

    fn have_bits(&mut self, now: Time, id: SourceId, first: u32, bits: &[u8]) {
        let pieces = (0..).zip(bits).flat_map(|(index, byte)| {
            (0..8).filter(move |bit| byte & (0x80 >> bit) != 0).map(move |bit| index * 8 + bit)
        });
        self.have(now, id, pieces.map(|piece: u32| first.saturating_add(piece)));
    }

    fn have(&mut self, now: Time, id: SourceId, pieces: impl Iterator<Item = u32>) {
        let Some(source) = self.sources.get_mut(&id) else { return };
        if source.complete {
            return;
        }
        let Some(have) = &mut source.have else { return };
        let mut beyond = false;
        for piece in pieces {
            if have.insert(piece) {
                if let Some(work) = self.work.as_mut().filter(|_| source.counted) {
                    work.picker.gained(piece);
                }
            } else {
                beyond |= piece >= have.length();
            }
        }
        source.idle_at = None;
        if beyond {
            return self.close(now, id, None);
        }
        if self.working.is_some_and(|working| source.supports(working)) {
            self.fill(now, id);
        } else {
            self.settle(now);
        }
    }

    fn set_max_peers(&mut self, now: Time, max: usize) {
        self.config.max_peers = max;
        while self.sources.len() > max {
            let Some(worst) = self.least_useful(now) else { return };
            self.close(now, worst, Some(limits::USELESS_AFTER));
        }
    }

    /// Ends a stream without accusation.
    fn close(&mut self, now: Time, id: SourceId, retry: Option<Duration>) {
        if self.drop_source(now, id) {
            self.outputs.push_back(Output::Close { source: id, retry });
        }
    }

    /// Ends all dealings with a liar.
    fn ban(&mut self, now: Time, liar: Origin, reason: String) {
        let Some(record) = self.peers.get_mut(liar.record) else { return };
        if record.banned {
            return;
        }
        record.banned = true;
        self.liars += 1;
        let (peer, live) = (record.name.clone(), record.live);
        self.outputs.push_back(Output::Ban { source: live.unwrap_or(liar.source), peer, reason });
        if let Some(live) = live {
            self.drop_source(now, live);
        }
    }

    /// Forgets a source and gives what it was working on to the others. False if there is none.
    fn drop_source(&mut self, now: Time, id: SourceId) -> bool {
        let Some(mut source) = self.sources.remove(&id) else { return false };
        self.divide();
        if let Some(record) = self.peers.get_mut(source.origin.record) {
            record.live = None;
        }
        if let Phase::Supports(number) = source.phase {
            if self.working == Some(number) {
                let current = source.current;
                let spans = source.withdraw_all();
                self.release_pieces(id, &spans, current);
                self.wake();
            }
            if source.counted {
                self.partial_sources -= 1;
                if let (Some(work), Some(have)) = (self.work.as_mut(), &source.have) {
                    have.iter().for_each(|piece| work.picker.lost(piece));
                }
            }
            self.reset_trial_of(id);
            if let Some(claim) = self.claims.get_mut(&number) {
                claim.release(id);
                self.want_states(now, number);
            }
            self.drop_claim_if_alone(now, number);
            self.settle(now);
        }
        self.unresolve_if_alone();
        true
    }

    fn note_check(&mut self, verification: Verification) -> CheckId {
        let id = CheckId(self.next_check);
        self.next_check += 1;
        match verification {
            Verification::Piece { .. } => self.piece_checks += 1,
            Verification::Disk { .. } => self.disk_checks += 1,
            Verification::Trial { .. } => {}
        }
        self.checks.insert(id, verification);
        id
    }

    fn finish(&mut self) {
        let Some(work) = &self.work else { return };
        let description = work.description.clone();
        for (id, source) in &self.sources {
            if let Some(record) = self.peers.get_mut(source.origin.record) {
                record.live = None;
            }
            self.outputs.push_back(Output::Close { source: *id, retry: None });
        }
        self.sources.clear();
        self.partial_sources = 0;
        self.outputs.push_back(Output::Finished { description: description.clone() });
        self.finished = Some(description);
    }
}
