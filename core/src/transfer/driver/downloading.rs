//! Runs one download: finds and dials sources, feeds the machine, checks and writes pieces, reports progress.
//! Not here: what is asked from whom and who is believed ([`download`](crate::transfer::download)).

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use super::candidates::{Candidates, next_candidate};
use super::library::Entry;
use super::limiter::Limiter;
use super::order::{Engine, Order, Outcome, Record};
use super::source::{SourceEvent, SourceTask};
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::events::{ErrorRecord, Event, PeerProgress, PeerStatus};
use crate::base::ids::{ContentKey, FileHash, PeerId};
use crate::base::limits;
use crate::content::description::Description;
use crate::discovery::source::{Candidate, SourceKind};
use crate::fabric::{Expectation, FabricEvent, FabricEvents, Link, check_target};
use crate::net::clock::sleep_until;
use crate::store::part_file::PartFile;
use crate::transfer::download::{CheckId, Download, DownloadConfig, Input, Output, SourceId};
use crate::wire::transfer::{ClientFrame, GoneReason, ServerFrame};

/// Runs a download to its end. Cancelling leaves a part file that the next run for the same target continues.
///
/// Errors: `InvalidArgument` for a given peer that cannot be an address, `NoPeers`, `ContentNotFound` or `VerificationFailed` when nobody (honest) was found in time, `Cancelled`,
/// and the errors of the part file (`DiskFull`, `FileNotFound`, `PermissionDenied`, `FileBusy`).
pub async fn run(engine: Engine, order: Order, cancel: CancellationToken) -> Result<Outcome> {
    for peer in &order.peers {
        check_target(peer).map_err(|error| Error::with_source(ErrorKind::InvalidArgument, "peers", error))?;
    }
    let mut run = Run::new(engine, order);
    run.report();
    let result = run.drive(&cancel).await;
    run.clean_up().await;
    let result = match result {
        Ok(description) => run.finish(description).await,
        Err(error) => Err(error),
    };
    run.report();
    result
}

/// One stream of this download, or an attempt at one.
pub(super) struct Active {
    pub(super) candidate: Candidate,
    pub(super) task: AbortHandle,
    pub(super) frames: Option<mpsc::Sender<ClientFrame>>,
    pub(super) link: Option<Link>,
    /// Says to the link whether the peer owes us anything.
    pub(super) owed: Option<Expectation>,
    /// It has the content, of this length as it says.
    pub(super) claims: Option<u64>,
    pub(super) attempts: u32,
    /// The source of the same peer that this one takes over from, over a better link.
    pub(super) replaces: Option<SourceId>,
    pub(super) since: tokio::time::Instant,
    /// Not before this is another way to this peer looked for.
    pub(super) move_after: tokio::time::Instant,
}

pub(super) struct Run {
    pub(super) engine: Engine,
    pub(super) order: Order,
    pub(super) machine: Download,
    pub(super) started: tokio::time::Instant,
    pub(super) last_useful: tokio::time::Instant,
    pub(super) last_block: tokio::time::Instant,
    pub(super) candidates: Candidates,
    pub(super) sources: HashMap<SourceId, Active>,
    /// Some source is on a link that most likely is dead.
    pub(super) uneasy: bool,
    pub(super) tasks: JoinSet<()>,
    /// Tells of new links, until the fabric ends.
    pub(super) links: Option<FabricEvents>,
    pub(super) next_source: u32,
    pub(super) download_limiter: Arc<Limiter>,
    pub(super) events: mpsc::Receiver<(SourceId, SourceEvent)>,
    pub(super) events_in: mpsc::Sender<(SourceId, SourceEvent)>,
    pub(super) checks: JoinSet<(CheckId, Result<bool>)>,
    pub(super) fellows: mpsc::Receiver<PeerId>,
    pub(super) fellows_in: mpsc::Sender<PeerId>,
    pub(super) part: Option<Arc<PartFile>>,
    pub(super) entry: Option<Arc<Entry>>,
    pub(super) announced: Option<ContentKey>,
    pub(super) records: HashMap<String, Record>,
    pub(super) resumed: u64,
    pub(super) last_error: Option<Error>,
    /// Why the length that was claimed cannot be stored.
    pub(super) no_room: Option<Error>,
    /// Peers that were let go because of it.
    pub(super) doubted: BTreeSet<PeerId>,
    pub(super) told_candidates: usize,
    /// Streams that ended, not yet told to the machine.
    pub(super) ended: Vec<(SourceId, Option<Error>)>,
    /// Lengths of pieces of an earlier run that are being checked.
    pub(super) disk_checks: HashMap<CheckId, u64>,
}

impl Run {
    fn new(engine: Engine, order: Order) -> Self {
        let mut config = DownloadConfig::new(order.key.clone(), rand::random());
        config.max_peers = order.max_peers;
        let machine = Download::new(config, engine.clock.now());
        let (events_in, events) = mpsc::channel(limits::DOWNLOAD_EVENTS);
        let (fellows_in, fellows) = mpsc::channel(limits::FELLOWS_QUEUE);
        let mut candidates = Candidates::default();
        for peer in &order.peers {
            candidates.add(Candidate::new(None, vec![peer.clone()], SourceKind::Manual));
        }
        let download_limiter = Arc::new(Limiter::new(engine.clock, order.download_limit, 0));
        let now = tokio::time::Instant::now();
        let links = Some(engine.fabric.subscribe());
        Self {
            engine,
            order,
            machine,
            started: now,
            last_useful: now,
            last_block: now,
            candidates,
            sources: HashMap::new(),
            uneasy: false,
            tasks: JoinSet::new(),
            links,
            next_source: 0,
            download_limiter,
            events,
            events_in,
            checks: JoinSet::new(),
            fellows,
            fellows_in,
            part: None,
            entry: None,
            announced: None,
            records: HashMap::new(),
            resumed: 0,
            last_error: None,
            no_room: None,
            doubted: BTreeSet::new(),
            told_candidates: 0,
            ended: Vec::new(),
            disk_checks: HashMap::new(),
        }
    }

    async fn drive(&mut self, cancel: &CancellationToken) -> Result<Description> {
        let mut search: Option<mpsc::Receiver<Candidate>> = None;
        let mut told: Option<mpsc::Receiver<Candidate>> = None;
        let mut may_hear = true;
        let mut continuous = self.engine.continuous.clone();
        let mut switchable = true;
        let mut ticks = tokio::time::interval(Duration::from_secs(1) / limits::PROGRESS_PER_SECOND);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            if let Some(description) = self.carry_out().await? {
                return Ok(description);
            }
            // Only now, when the machine's answers to the last frames of these streams are carried out: a peer that said
            // that it does not have the content is not one that was lost.
            for (source, error) in std::mem::take(&mut self.ended) {
                self.lose_source(source, error);
            }
            if let Some(description) = self.carry_out().await? {
                return Ok(description);
            }
            self.dial();
            let may_search = self.may_search(*continuous.borrow());
            if told.is_none() && may_search && may_hear {
                told = Some(self.engine.exchange.listen(&self.order.key));
            }
            told = told.filter(|_| may_search);
            if !may_search {
                search = None;
            } else if search.is_none() && !self.candidates.search_is_over() {
                search = Some(self.engine.discovery.search(&self.order.key));
            }
            self.check_hope(may_search && search.is_some())?;
            for (source, active) in &mut self.sources {
                if let Some(owed) = &mut active.owed {
                    owed.set(self.machine.is_owed(*source));
                }
            }
            let deadline = self.engine.clock.deadline(self.machine.next_timeout());
            tokio::select! {
                () = cancel.cancelled() => return Err(Error::new(
                    ErrorKind::Cancelled,
                    "the download was cancelled; what it fetched is kept and the next run continues it",
                )),
                Some((source, event)) = self.events.recv() => {
                    self.take_event(source, event);
                    for _ in 0..limits::DOWNLOAD_EVENTS {
                        let Ok((source, event)) = self.events.try_recv() else { break };
                        self.take_event(source, event);
                    }
                    while let Some(checked) = self.checks.try_join_next() {
                        self.take_check(checked)?;
                    }
                }
                Some(checked) = self.checks.join_next() => self.take_check(checked)?,
                candidate = next_candidate(&mut search) => if let Some(candidate) = candidate {
                    self.candidates.add(candidate);
                } else {
                    search = None;
                    self.candidates.end_search();
                },
                candidate = next_candidate(&mut told) => if let Some(candidate) = candidate {
                    for candidate in self.engine.discovery.hear(&self.order.key, &candidate) {
                        self.candidates.add(candidate);
                    }
                } else {
                    // Peer exchange has ended, or has no place for another listener.
                    (told, may_hear) = (None, false);
                },
                Some(peer) = self.fellows.recv() => {
                    self.candidates.add(Candidate::new(Some(peer), Vec::new(), SourceKind::Pex));
                }
                event = next_event(&mut self.links) => match event {
                    Some(FabricEvent::LinkUp(_) | FabricEvent::LinkAlive(_)) => self.upgrade(),
                    Some(FabricEvent::LinkSuspect(_)) => self.flee(),
                    Some(FabricEvent::LinkDown(link, _)) => self.leave(&link),
                    Some(FabricEvent::Lagged(_)) => {
                        self.upgrade();
                        self.flee();
                    }
                    Some(_) => {}
                    None => self.links = None,
                },
                () = sleep_until(deadline) => self.machine.handle_timeout(self.engine.clock.now()),
                _ = ticks.tick() => {
                    if self.uneasy {
                        self.flee();
                    }
                    self.report();
                }
                changed = continuous.changed(), if switchable => switchable = changed.is_ok(),
            }
        }
    }

    /// Does everything the machine wants; gives the description when the file is complete.
    async fn carry_out(&mut self) -> Result<Option<Description>> {
        while let Some(output) = self.machine.poll() {
            match output {
                Output::Send { source, frame } => self.send(source, frame),
                Output::Close { source, retry } => {
                    if let Some(active) = self.end_source(source)
                        && let Some(pause) = retry
                    {
                        self.candidates.retry(active.candidate, 0, pause);
                    }
                }
                Output::Ban { source, peer, reason } => {
                    self.end_source(source);
                    let peer_id = PeerId::from_text(&peer);
                    tracing::info!(%peer, %reason, "banned a peer");
                    (self.engine.events)(Event::PeerBanned { peer, hash: self.hash(), reason });
                    self.candidates.forget(&peer_id);
                    self.engine.fabric.ban(&peer_id).await.ok();
                }
                Output::Described { length, name, description, .. } => {
                    if let Err(error) = self.open_part(length, &name, description).await {
                        self.doubt_length(length, error)?;
                    }
                }
                Output::Check { id, check, write_at, parts, .. } => {
                    let part = self.part.clone();
                    let workers = self.engine.workers.clone();
                    self.checks.spawn(async move {
                        let job = move || {
                            if !check.check(parts.iter().map(|part| &part[..])) {
                                return Ok(false);
                            }
                            if let (Some(offset), Some(part)) = (write_at, part) {
                                let slices: Vec<&[u8]> = parts.iter().map(|part| &part[..]).collect();
                                part.write_at(offset, &slices)?;
                            }
                            Ok(true)
                        };
                        (id, workers.run(job).await.and_then(|result| result))
                    });
                }
                Output::CheckDisk { id, check, offset, length, .. } => {
                    let Some(part) = self.part.clone() else { continue };
                    let workers = self.engine.workers.clone();
                    self.disk_checks.insert(id, u64::from(length));
                    self.checks.spawn(async move {
                        let job = move || {
                            let mut data = vec![0; length as usize];
                            part.read_at(offset, &mut data)?;
                            Ok(check.check([&data[..]]))
                        };
                        (id, workers.run(job).await.and_then(|result| result))
                    });
                }
                Output::Servable { piece } => {
                    if let Some(entry) = &self.entry {
                        entry.add_piece(piece);
                    }
                }
                Output::Unservable => self.stop_offering(GoneReason::Changed),
                Output::Finished { description } => return Ok(Some(description)),
            }
        }
        Ok(None)
    }

    fn send(&mut self, source: SourceId, frame: ClientFrame) {
        let Some(active) = self.sources.get(&source) else { return };
        let sent = active.frames.as_ref().is_some_and(|frames| frames.try_send(frame).is_ok());
        if !sent {
            // The peer does not read, or its stream is just ending: either way it is lost.
            self.lose_source(source, None);
        }
    }

    fn dial(&mut self) {
        let dialling = self.sources.values().filter(|active| active.frames.is_none()).count();
        let wanted = self.machine.wants_peers().saturating_sub(dialling);
        for _ in 0..wanted {
            let Some((candidate, attempts)) = self.candidates.next_ready() else { break };
            self.start_source(candidate, attempts, None, None);
        }
        while self.tasks.try_join_next().is_some() {}
        let ready = self.candidates.ready();
        if ready != self.told_candidates {
            self.told_candidates = ready;
            self.machine.handle(self.engine.clock.now(), Input::Candidates(ready));
        }
    }

    /// Opens a stream to a peer: over the given link, or over the best one that can be had; as a further source, or in
    /// place of another one of the same peer.
    pub(super) fn start_source(
        &mut self,
        candidate: Candidate,
        attempts: u32,
        link: Option<Link>,
        replaces: Option<SourceId>,
    ) {
        let source = SourceId(self.next_source);
        self.next_source += 1;
        // Whoever moves may use every address of that peer that ever led anywhere.
        let known = replaces.and_then(|old| self.sources.get(&old)?.link.as_ref().map(|link| link.peer.clone()));
        let task = SourceTask {
            source,
            candidate: Candidate { id: known.or_else(|| candidate.id.clone()), ..candidate.clone() },
            link,
            key: self.order.key.clone(),
            serves: self.order.share && self.engine.server.is_some(),
            reacher: self.engine.reacher(),
            exchange: self.engine.exchange.clone(),
            node_limiter: Arc::clone(&self.engine.limiter),
            download_limiter: Arc::clone(&self.download_limiter),
            events: self.events_in.clone(),
            timeout: self.order.dial_timeout,
        };
        let task = self.tasks.spawn(task.run());
        let active = Active {
            candidate,
            task,
            frames: None,
            link: None,
            owed: None,
            claims: None,
            attempts,
            replaces,
            since: tokio::time::Instant::now(),
            move_after: tokio::time::Instant::now(),
        };
        self.sources.insert(source, active);
    }

    /// Whether looking for further peers is allowed now.
    fn may_search(&self, continuous: bool) -> bool {
        let has_source = self.sources.values().any(|active| active.claims.is_some());
        self.order.discover && (continuous || !has_source || self.started.elapsed() < limits::FIRST_SEARCH)
    }

    /// Gives up when there has been nobody to ask for too long, or there is nobody left at all.
    fn check_hope(&mut self, searching: bool) -> Result<()> {
        // Who claims again what there is no room for is nobody new, however often a search brings it.
        let claimants = || self.sources.values().filter(|active| active.claims.is_some());
        let known = |active: &Active| active.link.as_ref().is_some_and(|link| self.doubted.contains(&link.peer));
        let insists = self.no_room.is_some() && claimants().next().is_some() && claimants().all(known);
        if insists
            && self.started.elapsed() >= limits::FIRST_SEARCH
            && let Some(error) = self.no_room.take()
        {
            return Err(error);
        }
        if self.sources.values().any(|active| active.claims.is_some()) || !self.checks.is_empty() {
            self.last_useful = tokio::time::Instant::now();
            if self.last_block.elapsed() < limits::STARVATION_TIMEOUT || !self.checks.is_empty() {
                return Ok(());
            }
            let minutes = limits::STARVATION_TIMEOUT.as_secs() / 60;
            let text = format!("{}: no source sent anything for {minutes} minutes", self.order.key);
            return Err(Error::new(ErrorKind::Timeout, text));
        }
        let nobody_left = !searching && self.sources.is_empty() && self.candidates.is_empty();
        let waited = self.last_useful.elapsed();
        if let Some(error) = self.no_room.take_if(|_| nobody_left || waited >= limits::FIRST_SEARCH) {
            return Err(error);
        }
        if !nobody_left && waited < self.order.timeout {
            return Ok(());
        }
        let (kind, message) = self.machine.verdict();
        let cause = self.last_error.take().or_else(|| {
            let dialled: Vec<_> = self.sources.values().map(|active| active.candidate.label()).collect();
            let text = format!("{} did not answer in time", dialled.join(", "));
            (!dialled.is_empty()).then(|| Error::new(ErrorKind::PeerUnreachable, text))
        });
        Err(match cause {
            Some(cause) => Error::with_source(kind, message, cause),
            None => Error::new(kind, message),
        })
    }

    fn take_event(&mut self, source: SourceId, event: SourceEvent) {
        let now = self.engine.clock.now();
        if matches!(event, SourceEvent::Opened { .. })
            && let Some(old) = self.sources.get_mut(&source).and_then(|active| active.replaces.take())
            && self.end_source(old).is_some()
        {
            self.machine.handle(now, Input::SourceClosed { source: old });
        }
        let Some(active) = self.sources.get_mut(&source) else { return };
        match event {
            SourceEvent::Opened { link, frames, owed } => {
                active.frames = Some(frames);
                active.owed = Some(owed);
                let peer = link.peer.to_string();
                if self.records.len() < limits::MAX_PEER_RECORDS {
                    self.records.entry(peer.clone()).or_insert_with(|| Record {
                        bytes: 0,
                        connection_type: link.connection_type(),
                        since: tokio::time::Instant::now(),
                        active_for: Duration::ZERO,
                        active: true,
                    });
                }
                if let Some(record) = self.records.get_mut(&peer) {
                    // The latest path is what the user wants to know.
                    record.connection_type = link.connection_type();
                }
                self.engine.discovery.record_success(&link.peer, link.place());
                active.link = Some(link);
                self.machine.handle(now, Input::SourceOpened { source, peer });
            }
            SourceEvent::Frame(frame) => {
                if let ServerFrame::Info(info) = &frame {
                    active.claims = Some(info.length);
                    active.attempts = 0;
                }
                self.machine.handle(now, Input::Frame { source, frame });
            }
            SourceEvent::Block { offset, bytes } => {
                self.last_block = tokio::time::Instant::now();
                if let Some(link) = &active.link {
                    let count = bytes.len() as u64;
                    if let Some(record) = self.records.get_mut(link.peer.as_str()) {
                        record.bytes += count;
                    }
                    if let Some(server) = &self.engine.server {
                        server.contributed(&link.peer, count);
                    }
                }
                self.machine.handle(now, Input::Block { source, offset, bytes });
            }
            SourceEvent::Misbehaved(error) => {
                (self.engine.events)(Event::Warning { error: ErrorRecord::from(&error) });
                if let Some(link) = self.end_source(source).and_then(|active| active.link) {
                    self.candidates.forget(&link.peer);
                }
                self.machine.handle(now, Input::SourceClosed { source });
            }
            SourceEvent::Closed(error) => self.ended.push((source, error)),
        }
    }

    fn take_check(
        &mut self,
        checked: std::result::Result<(CheckId, Result<bool>), tokio::task::JoinError>,
    ) -> Result<()> {
        let (id, result) =
            checked.map_err(|error| Error::with_source(ErrorKind::Internal, "a verification failed to run", error))?;
        let consistent = result?;
        let on_disk = self.disk_checks.remove(&id).unwrap_or(0);
        if consistent {
            self.resumed += on_disk;
        }
        self.machine.handle(self.engine.clock.now(), Input::Checked { id, consistent });
        Ok(())
    }

    /// A stream or dial ended by itself: the peer may come back.
    fn lose_source(&mut self, source: SourceId, error: Option<Error>) {
        let Some(active) = self.end_source(source) else { return };
        self.machine.handle(self.engine.clock.now(), Input::SourceClosed { source });
        if let Some(error) = error {
            tracing::debug!(peer = active.candidate.label(), error = %error.full_message(), "lost a source");
            if active.link.is_none() {
                match &active.candidate.id {
                    Some(peer) => self.engine.discovery.record_failure(peer, None),
                    None => self.engine.discovery.record_unreachable(active.candidate.label()),
                }
            }
            self.last_error = Some(error);
        }
        if active.replaces.is_some() {
            // The source that it was to take over from goes on, or was given back to the candidates at its own end.
            return;
        }
        if active.claims.is_some() && active.since.elapsed() >= limits::REDIAL_PAUSE {
            // It was useful for a while: there may be another way, and it shall not be missed for long. Whether its link
            // broke is not known yet: streams hear of it before the link does.
            return self.candidates.retry(active.candidate, 0, limits::LOST_SOURCE_PAUSE);
        }
        let pause = limits::REDIAL_PAUSE.saturating_mul(1 << active.attempts.min(10)).min(limits::MAX_REDIAL_PAUSE);
        self.candidates.retry(active.candidate, active.attempts + 1, pause);
    }

    pub(super) fn end_source(&mut self, source: SourceId) -> Option<Active> {
        let active = self.sources.remove(&source)?;
        active.task.abort();
        if let Some(record) = active.link.as_ref().and_then(|link| self.records.get_mut(link.peer.as_str())) {
            record.active_for = record.since.elapsed();
            record.active = self.machine.is_finished();
        }
        Some(active)
    }

    /// Ends streams, lets running verifications finish their writes, withdraws what was offered.
    async fn clean_up(&mut self) {
        for source in self.sources.keys().copied().collect::<Vec<_>>() {
            self.end_source(source);
        }
        self.tasks.shutdown().await;
        while self.checks.join_next().await.is_some() {}
        self.stop_offering(GoneReason::Removed);
        if let Some(key) = self.announced.take() {
            self.engine.discovery.withdraw(&key).await;
        }
    }

    fn hash(&self) -> FileHash {
        match (&self.entry, &self.order.key) {
            (_, ContentKey::Hash(hash)) => *hash,
            (Some(entry), ContentKey::Id(_)) => entry.description.hash(),
            (None, ContentKey::Id(_)) => self.order.key.lookup_key(),
        }
    }

    /// Tells the user how far it is. The machine's picture, with what only the driver knows.
    fn report(&self) {
        let Some(on_progress) = &self.order.on_progress else { return };
        let mut progress = self.machine.progress(self.engine.clock.now());
        for peer in &mut progress.peers {
            if let Some(record) = self.records.get(&peer.peer) {
                record.connection_type.clone_into(&mut peer.connection_type);
            }
        }
        for active in self.sources.values().filter(|active| active.frames.is_none()) {
            progress.peers.push(PeerProgress {
                peer: active.candidate.label().to_owned(),
                status: PeerStatus::Connecting,
                bytes: 0,
                rate: 0.0,
                connection_type: String::new(),
            });
        }
        on_progress(&progress);
    }
}

/// The next event of the fabric; never while there is none to wait for.
async fn next_event(events: &mut Option<FabricEvents>) -> Option<FabricEvent> {
    match events {
        Some(events) => events.next().await,
        None => std::future::pending().await,
    }
}
