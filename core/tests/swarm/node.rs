//! A simulated node: the driver's part around the real machines, with a disk in memory; here the downloading half.
//! Not here: serving (`serving`), the network (`world`).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use dig_nat_core::base::ids::PeerId;
use dig_nat_core::base::limits;
use dig_nat_core::base::random::Jitter;
use dig_nat_core::base::time::Time;
use dig_nat_core::content::description::Description;
use dig_nat_core::content::proof::Ledger;
use dig_nat_core::content::rivals::agree_on;
use dig_nat_core::transfer::choker::{self, Choker};
use dig_nat_core::transfer::download::{CheckId, Download, DownloadConfig, Input, Output, SourceId};
use dig_nat_core::transfer::serve::ServeSession;
use dig_nat_core::wire::transfer::{ClientFrame, GoneReason, ServerFrame};

use super::lies::Lie;
use super::scenario::{Role, Scenario};
use super::world::{Event, NodeId, StreamId, World};

/// How often a client that wants more sources looks for some.
const SEARCH_INTERVAL: Duration = Duration::from_secs(1);

pub struct Node {
    pub alive: bool,
    pub life: u32,
    pub down_free: Time,
    /// The line is taken by a block.
    pub sending: bool,
    /// When the client had the whole file for the first time.
    pub done_at: Option<Time>,
    pub lie: Option<Lie>,
    pub rng: Jitter,
    pub choker: Choker,
    pub sessions: BTreeMap<StreamId, ServeSession>,
    /// Streams the choker knows of.
    pub waiting: BTreeSet<StreamId>,
    pub last_served: StreamId,
    pub blocks_sent: u64,
    pub timer: Option<Time>,
    pub content: Option<Shared>,
    pub client: Option<Client>,
    /// What a client has written survives its absence.
    pub disk: Vec<u8>,
    pub written: BTreeSet<u64>,
}

/// What a node serves.
pub struct Shared {
    pub file: Bytes,
    pub description: Description,
    /// `None`: all.
    pub pieces: Option<Ledger>,
}

pub struct Client {
    pub download: Download,
    sources: BTreeMap<SourceId, StreamId>,
    next_source: u32,
    /// Not to be dialled before.
    avoid: BTreeMap<NodeId, Time>,
    next_search: Time,
    /// Description of the last `Described`, and the pieces that are servable under it.
    description: Option<Description>,
    /// False blocks by address, kept alive so that addresses stay unique; with the sender.
    false_blocks: BTreeMap<usize, (Bytes, NodeId)>,
    /// Liars whose false blocks made a piece wrong, under the description of that time.
    guilty: BTreeMap<u32, BTreeSet<NodeId>>,
    checking: BTreeMap<CheckId, u64>,
    disk_checks: usize,
    open_requests: BTreeMap<SourceId, usize>,
}

pub fn name(id: NodeId) -> String {
    format!("n{id}")
}

impl Node {
    pub fn new(id: NodeId, scenario: &Scenario, rng: &mut Jitter) -> Self {
        let mut rng = Jitter::from_seed(rng.bits() ^ id as u64);
        let lie = if let Role::Liar(lie) = scenario.nodes[id].role { Some(lie) } else { None };
        let content = match scenario.nodes[id].role {
            Role::Client => None,
            Role::Host => {
                Some(Shared { file: scenario.file.clone(), description: scenario.description.clone(), pieces: None })
            }
            Role::Liar(lie) => {
                let (file, description) = lie.content(scenario, &mut rng);
                Some(Shared { file, description, pieces: None })
            }
        };
        Self {
            alive: false,
            life: 0,
            down_free: Time::ZERO,
            sending: false,
            done_at: None,
            lie,
            rng,
            choker: Choker::new(limits::UNCHOKED_PEERS, Time::ZERO),
            sessions: BTreeMap::new(),
            waiting: BTreeSet::new(),
            last_served: 0,
            blocks_sent: 0,
            timer: None,
            content,
            client: None,
            disk: Vec::new(),
            written: BTreeSet::new(),
        }
    }

    /// Serves this piece of the true file.
    pub fn truly_has(&self, piece: u32, truth: &Description) -> bool {
        self.content.as_ref().is_some_and(|shared| {
            agree_on(&shared.description, truth, piece)
                && shared.pieces.as_ref().is_none_or(|pieces| pieces.is_consistent(piece))
        })
    }

    /// Can be found by those who search.
    fn is_findable(&self) -> bool {
        self.alive && self.content.is_some()
    }

    pub fn forget_streams(&mut self) {
        self.sessions.clear();
        self.waiting.clear();
        if self.client.take().is_some() {
            self.content = None;
        }
    }

    fn wake_at(&self) -> Option<Time> {
        let sessions = self.sessions.values().filter_map(ServeSession::next_timeout).min();
        let client = self.client.as_ref().filter(|client| !client.download.is_finished());
        let download = client.and_then(|client| client.download.next_timeout());
        let search = client.filter(|client| client.download.wants_peers() > 0).map(|client| client.next_search);
        [sessions, download, search, self.choker.next_timeout()].into_iter().flatten().min()
    }
}

impl World {
    pub fn join(&mut self, id: NodeId) {
        let plan = &self.scenario.nodes[id];
        let node = &mut self.nodes[id];
        if node.alive || (plan.away.is_none() && node.life > 0) {
            return;
        }
        node.alive = true;
        node.life += 1;
        node.sending = false;
        node.timer = None;
        node.choker = Choker::new(limits::UNCHOKED_PEERS, self.now);
        if plan.role == Role::Client {
            let mut config = DownloadConfig::new(self.scenario.key.clone(), node.rng.bits());
            config.max_peers = self.scenario.max_peers;
            config.assembly_bytes = self.scenario.assembly_bytes;
            config.max_window_bytes = self.scenario.max_window_bytes;
            config.block_bytes = self.scenario.block_bytes;
            config.piece_length = Some(self.scenario.description.layout().piece_length());
            node.client = Some(Client {
                download: Download::new(config, self.now),
                sources: BTreeMap::new(),
                next_source: 0,
                avoid: BTreeMap::new(),
                next_search: self.now,
                description: None,
                false_blocks: BTreeMap::new(),
                guilty: BTreeMap::new(),
                checking: BTreeMap::new(),
                disk_checks: 0,
                open_requests: BTreeMap::new(),
            });
        }
        self.search(id);
        self.settle_node(id);
    }

    /// Something the machines have to say is carried out, until they say nothing any more.
    pub fn settle_node(&mut self, id: NodeId) {
        for round in 0.. {
            let busy = self.run_download(id) | self.run_sessions(id) | self.run_choker(id);
            if !busy {
                break;
            }
            if round > 10_000 {
                return self.faults.push(format!("n{id} does not come to rest"));
            }
        }
        self.pump(id);
        if let Some(wake_at) = self.nodes[id].wake_at() {
            let node = &mut self.nodes[id];
            let wake_at = wake_at.max(self.now);
            if node.timer.is_none_or(|timer| timer > wake_at || timer < self.now) {
                node.timer = Some(wake_at);
                let life = node.life;
                self.at(wake_at, Event::Timer(id, life));
            }
        }
    }

    pub fn timer(&mut self, id: NodeId) {
        let node = &mut self.nodes[id];
        // A timer that was set before an earlier one is late news.
        if node.timer.is_some_and(|timer| timer > self.now) {
            return;
        }
        node.timer = None;
        node.choker.handle_timeout(self.now);
        for session in node.sessions.values_mut() {
            session.handle_timeout(self.now);
        }
        if let Some(client) = &mut node.client {
            client.download.handle_timeout(self.now);
            if let Err(fault) = client.download.audit() {
                self.faults.push(format!("n{id}: {fault}"));
            }
        }
        self.search(id);
        self.settle_node(id);
    }

    /// Dials as many findable nodes as are wanted.
    fn search(&mut self, id: NodeId) {
        let findable: Vec<NodeId> =
            (0..self.nodes.len()).filter(|other| *other != id && self.nodes[*other].is_findable()).collect();
        let node = &mut self.nodes[id];
        let Some(client) = node.client.as_mut().filter(|client| client.next_search <= self.now) else { return };
        client.next_search = self.now + SEARCH_INTERVAL;
        let mut candidates = findable;
        let used: BTreeSet<NodeId> = client.sources.values().map(|stream| self.streams[*stream].server).collect();
        candidates
            .retain(|other| !used.contains(other) && client.avoid.get(other).is_none_or(|until| *until <= self.now));
        node.rng.shuffle(&mut candidates);
        let wanted = client.download.wants_peers().min(candidates.len());
        let spare = candidates.len() - wanted;
        let mut dialled = Vec::new();
        for other in candidates.into_iter().take(wanted) {
            let source = SourceId(client.next_source);
            client.next_source += 1;
            dialled.push((other, source));
        }
        let life = node.life;
        let serves = client.description.is_some();
        for (other, source) in dialled {
            let stream = self.connect(id, other, source);
            debug_assert_eq!(self.nodes[id].life, life);
            let Some(client) = self.nodes[id].client.as_mut() else { return };
            client.sources.insert(source, stream);
            client.download.handle(self.now, Input::SourceOpened { source, peer: name(other) });
            self.send_to_server(stream, ClientFrame::Hello { key: self.scenario.key.clone(), serves });
        }
        if let Some(client) = self.nodes[id].client.as_mut() {
            client.download.handle(self.now, Input::Candidates(spare));
        }
    }

    pub fn client_frame(&mut self, id: NodeId, stream: StreamId, frame: ServerFrame) {
        let server = self.streams[stream].server;
        let source = self.streams[stream].source;
        let node = &mut self.nodes[id];
        let Some(client) = node.client.as_mut() else { return };
        if let ServerFrame::Data { offset, bytes } = frame {
            if let Some(open) = client.open_requests.get_mut(&source) {
                *open = open.saturating_sub(1);
            }
            let end = offset as usize + bytes.len();
            let truth = self.scenario.file.get(offset as usize..end);
            if truth != Some(&bytes) {
                client.false_blocks.insert(bytes.as_ptr() as usize, (bytes.clone(), server));
            }
            node.choker
                .handle(self.now, choker::Input::Contributed(PeerId::from_text(&name(server)), bytes.len() as u64));
            client.download.handle(self.now, Input::Block { source, offset, bytes });
        } else {
            client.download.handle(self.now, Input::Frame { source, frame });
        }
        self.settle_node(id);
    }

    pub fn client_closed(&mut self, id: NodeId, stream: StreamId) {
        let source = self.streams[stream].source;
        let server = self.streams[stream].server;
        if let Some(client) = self.nodes[id].client.as_mut()
            && client.sources.remove(&source).is_some()
        {
            client.avoid.insert(server, self.now + Duration::from_secs(3));
            client.download.handle(self.now, Input::SourceClosed { source });
            self.settle_node(id);
        }
    }

    pub fn store_ready(&mut self, id: NodeId) {
        let node = &mut self.nodes[id];
        let Some(client) = node.client.as_mut() else { return };
        let Some(description) = &client.description else { return };
        let layout = description.layout();
        node.disk.resize(layout.length() as usize, 0);
        let mut on_disk: Vec<std::ops::Range<u64>> = Vec::new();
        for offset in &node.written {
            let end = (offset + u64::from(layout.piece_length())).min(layout.length());
            if *offset >= end {
                continue;
            }
            match on_disk.last_mut() {
                Some(last) if last.end == *offset => last.end = end,
                _ => on_disk.push(*offset..end),
            }
        }
        client.download.handle(self.now, Input::StoreReady { on_disk });
        self.settle_node(id);
    }

    pub fn checked(&mut self, id: NodeId, check: CheckId, consistent: bool, write: Option<(u64, Vec<Bytes>)>) {
        let node = &mut self.nodes[id];
        let Some(client) = node.client.as_mut() else { return };
        if client.checking.remove(&check).is_none() {
            client.disk_checks -= 1;
        }
        if let Some((mut offset, parts)) = write.filter(|_| consistent) {
            node.written.insert(offset);
            for part in parts {
                node.disk[offset as usize..offset as usize + part.len()].copy_from_slice(&part);
                offset += part.len() as u64;
            }
        }
        client.download.handle(self.now, Input::Checked { id: check, consistent });
        if self.handled.is_multiple_of(8)
            && let Err(fault) = client.download.audit()
        {
            self.faults.push(format!("n{id}: {fault}"));
        }
        self.settle_node(id);
    }

    fn run_download(&mut self, id: NodeId) -> bool {
        let mut busy = false;
        while let Some(output) = self.nodes[id].client.as_mut().and_then(|client| client.download.poll()) {
            busy = true;
            self.carry_out(id, output);
        }
        busy
    }

    fn carry_out(&mut self, id: NodeId, output: Output) {
        let node = &mut self.nodes[id];
        let life = node.life;
        let Some(client) = node.client.as_mut() else { return };
        match output {
            Output::Send { source, frame } => {
                let open = client.open_requests.entry(source).or_default();
                match frame {
                    ClientFrame::Request(_) => *open += 1,
                    ClientFrame::Cancel(_) => *open = open.saturating_sub(1),
                    _ => {}
                }
                if let Some(stream) = client.sources.get(&source).copied() {
                    self.send_to_server(stream, frame);
                }
            }
            Output::Close { source, retry } => {
                if let Some(stream) = client.sources.remove(&source) {
                    let until = retry.map_or(Time::NEVER, |retry| self.now + retry);
                    client.avoid.insert(self.streams[stream].server, until);
                    self.close_at_client(stream);
                }
            }
            Output::Ban { source, peer, reason } => {
                let liar: NodeId = peer[1..].parse().expect("a name of ours");
                self.trace.note(self.now, &[5, id as u64, liar as u64], || format!("n{id} bans {peer}: {reason}"));
                client.avoid.insert(liar, Time::NEVER);
                let stream = client.sources.remove(&source);
                match self.scenario.nodes[liar].role {
                    Role::Liar(lie) => *self.bans.entry(lie.kind()).or_default() += 1,
                    role => self.faults.push(format!("n{id} bans {peer}, an honest {role:?}: {reason}")),
                }
                if let Some(stream) = stream {
                    self.close_at_client(stream);
                }
            }
            Output::Described { description, .. } => {
                client.guilty.clear();
                if !client.checking.is_empty() && client.checking.values().any(|held| *held > 0)
                    || client.disk_checks > 0
                {
                    self.faults.push(format!("n{id}: described while verifying"));
                }
                node.content = Some(Shared {
                    file: Bytes::new(),
                    pieces: Some(Ledger::new(description.layout().pieces())),
                    description: description.clone(),
                });
                client.description = Some(description);
                self.after(Duration::from_micros(500), Event::StoreReady(id, life));
            }
            Output::Check { id: check, piece, check: question, write_at, parts } => {
                let consistent = question.check(parts.iter().map(AsRef::as_ref));
                let bytes: u64 = parts.iter().map(|part| part.len() as u64).sum();
                // Pieces on trial are not written and not part of the budget; there are few of them.
                client.checking.insert(check, if write_at.is_some() { bytes } else { 0 });
                let held: u64 = client.checking.values().sum();
                let piece_length = u64::from(self.scenario.description.layout().piece_length());
                if held > self.scenario.assembly_bytes.max(piece_length) {
                    self.faults.push(format!("n{id}: {held} bytes are being checked"));
                }
                if !consistent && write_at.is_some() {
                    for part in &parts {
                        if let Some((_, liar)) = client.false_blocks.get(&(part.as_ptr() as usize)) {
                            client.guilty.entry(piece).or_default().insert(*liar);
                        }
                    }
                }
                let takes = Duration::from_micros(50 + bytes / 400 + node.rng.below(300) as u64);
                let write = write_at.map(|offset| (offset, parts));
                self.after(takes, Event::Checked(id, life, check, consistent, write));
            }
            Output::CheckDisk { id: check, check: question, offset, length, .. } => {
                client.disk_checks += 1;
                if client.disk_checks > limits::MAX_DISK_CHECKS {
                    self.faults.push(format!("n{id}: {} checks of the disk", client.disk_checks));
                }
                let data = &node.disk[offset as usize..offset as usize + length as usize];
                let consistent = question.check([data]);
                self.after(Duration::from_micros(200), Event::Checked(id, life, check, consistent, None));
            }
            Output::Servable { piece } => self.servable(id, piece),
            Output::Unservable => {
                node.content = None;
                for session in node.sessions.values_mut() {
                    session.refuse(GoneReason::Changed);
                }
            }
            Output::Finished { description } => {
                if node.disk != self.scenario.file || description != self.scenario.description {
                    self.faults.push(format!("n{id} finished with something else"));
                }
                self.trace.note(self.now, &[6, id as u64], || format!("n{id} is done"));
                if let Some(content) = &mut self.nodes[id].content {
                    content.pieces = None;
                }
                self.finished(id);
            }
        }
    }

    fn servable(&mut self, id: NodeId, piece: u32) {
        let node = &mut self.nodes[id];
        let (Some(client), Some(content)) = (node.client.as_mut(), node.content.as_mut()) else { return };
        // Once the piece is right, whoever sent it wrong before must be known.
        if content.description == self.scenario.description {
            for liar in client.guilty.remove(&piece).unwrap_or_default() {
                if !client.download.is_banned(&name(liar)) {
                    self.faults.push(format!("n{id} did not ban n{liar}, which sent a false part of piece {piece}"));
                }
            }
        }
        if let Some(pieces) = &mut content.pieces {
            pieces.mark_consistent(piece);
        }
        for session in node.sessions.values_mut() {
            session.add_piece(piece);
        }
        self.consider_coverage();
    }
}
