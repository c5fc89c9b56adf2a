//! One download machine against scripted sources with a rate and a latency each, in virtual time.
//! Not here: what is expected of it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use dig_nat_core::base::ids::{ContentKey, FileHash};
use dig_nat_core::base::random::Jitter;
use dig_nat_core::base::time::Time;
use dig_nat_core::content::description::{Describer, Description};
use dig_nat_core::content::layout::PieceLayout;
use dig_nat_core::content::sha256::State;
use dig_nat_core::transfer::download::{CheckId, Download, DownloadConfig, Input, Output, SourceId};
use dig_nat_core::wire::transfer::{ClientFrame, Info, ServerFrame, Span};

pub struct Rig {
    pub download: Download,
    pub now: Time,
    pub lines: BTreeMap<SourceId, Line>,
    pub disk: Vec<u8>,
    /// Everything the machine said, apart from verifications.
    pub log: Vec<(Time, Output)>,
    /// Bytes that arrived in blocks.
    pub received: u64,
    pub finished: Option<Time>,
    /// Pieces are hashed and written; without it all are taken for right, which is fast.
    pub real: bool,
    pub on_disk: Vec<std::ops::Range<u64>>,
    events: BinaryHeap<Reverse<(Time, u64)>>,
    bodies: BTreeMap<u64, Event>,
    sequence: u64,
}

enum Event {
    Frame(SourceId, ServerFrame),
    LineFree(SourceId),
    Asked(SourceId, ClientFrame),
    Checked(CheckId, bool, Option<(u64, Vec<Bytes>)>),
    StoreReady,
}

/// A scripted source.
pub struct Line {
    pub peer: String,
    /// Bytes per second.
    pub rate: f64,
    /// One way.
    pub latency: Duration,
    pub description: Description,
    /// What it has; `None` for all.
    pub pieces: Option<Vec<u32>>,
    /// What it sends for a request, or nothing.
    pub answer: Box<dyn FnMut(Span) -> Option<Bytes>>,
    pub states: Box<dyn FnMut(Bytes) -> Bytes>,
    pub sent: u64,
    queue: VecDeque<Span>,
    busy: bool,
    open: bool,
}

pub fn seconds(seconds: f64) -> Time {
    Time::from_micros((seconds * 1e6) as u64)
}

pub fn file(seed: u64, length: usize) -> Bytes {
    let mut rng = Jitter::from_seed(seed);
    let words = std::iter::repeat_with(|| rng.bits().to_le_bytes()).take(length.div_ceil(8));
    let mut bytes: Vec<u8> = words.flatten().collect();
    bytes.truncate(length);
    Bytes::from(bytes)
}

pub fn describe(file: &[u8], piece_length: Option<u32>) -> Description {
    let length = file.len() as u64;
    let layout = match piece_length {
        Some(piece_length) => PieceLayout::with_piece_length(length, piece_length),
        None => PieceLayout::for_length(length),
    };
    let mut describer = Describer::with_layout(layout.expect("valid"));
    describer.update(file).expect("announced");
    describer.finish().expect("complete")
}

/// `other` up to and without the piece `seam`, then `truth`, with states that fit on both sides of the seam.
pub fn forge(truth: &Description, other: &Description, seam: u32) -> Description {
    let states = (1..truth.layout().pieces())
        .map(|boundary| if boundary <= seam { other.before(boundary) } else { truth.before(boundary) });
    let states: Vec<State> = states.collect();
    Description::from_states(truth.hash(), truth.layout(), states).expect("as many states")
}

/// A description of a file nobody has; good enough where nothing is hashed.
pub fn pretend(length: u64) -> Description {
    let layout = PieceLayout::for_length(length).expect("valid");
    let states = vec![State::INITIAL; layout.inner_boundaries() as usize];
    Description::from_states(FileHash::of(b"pretended"), layout, states).expect("as many states")
}

impl Line {
    /// An honest source of the whole file.
    pub fn honest(peer: &str, rate: f64, millis: u64, description: &Description, file: &Bytes) -> Self {
        let file = file.clone();
        Self {
            peer: peer.to_owned(),
            rate,
            latency: Duration::from_millis(millis),
            description: description.clone(),
            pieces: None,
            answer: Box::new(move |span| Some(file.slice(span.offset as usize..span.end() as usize))),
            states: Box::new(|states| states),
            sent: 0,
            queue: VecDeque::new(),
            busy: false,
            open: true,
        }
    }

    /// One that sends zeros of the right length; for tests that do not hash.
    pub fn zeros(peer: &str, rate: f64, millis: u64, description: &Description) -> Self {
        let zeros = Bytes::from(vec![0; 128 * 1024]);
        let answer = Box::new(move |span: Span| Some(zeros.slice(..span.length as usize)));
        Self { answer, ..Self::honest(peer, rate, millis, description, &Bytes::new()) }
    }
}

impl Rig {
    pub fn new(config: DownloadConfig, real: bool) -> Self {
        Self {
            download: Download::new(config, Time::ZERO),
            now: Time::ZERO,
            lines: BTreeMap::new(),
            disk: Vec::new(),
            log: Vec::new(),
            received: 0,
            finished: None,
            real,
            on_disk: Vec::new(),
            events: BinaryHeap::new(),
            bodies: BTreeMap::new(),
            sequence: 0,
        }
    }

    /// For the hash of this description.
    pub fn of(description: &Description, real: bool) -> Self {
        let mut config = DownloadConfig::new(ContentKey::Hash(description.hash()), 1);
        let natural = PieceLayout::for_length(description.layout().length()).expect("valid");
        let own = description.layout().piece_length();
        config.piece_length = (natural.piece_length() != own).then_some(own);
        Self::new(config, real)
    }

    /// Opens a stream; the source answers with INFO, HAVE and UNCHOKE.
    pub fn connect(&mut self, id: u32, line: Line) -> SourceId {
        let id = SourceId(id);
        let info = info_of(&line.description, line.pieces.is_none());
        let round_trip = line.latency * 2;
        let peer = line.peer.clone();
        let haves: Vec<u32> = line.pieces.clone().unwrap_or_default();
        self.lines.insert(id, line);
        self.input(Input::SourceOpened { source: id, peer });
        self.after(round_trip, Event::Frame(id, ServerFrame::Info(info)));
        for piece in haves {
            self.after(round_trip, Event::Frame(id, ServerFrame::Have { piece }));
        }
        self.after(round_trip, Event::Frame(id, ServerFrame::Unchoke));
        id
    }

    pub fn input(&mut self, input: Input) {
        self.download.handle(self.now, input);
        self.carry_out();
    }

    /// Runs until the download is finished or the time is over.
    pub fn run_until(&mut self, end: Time) {
        while self.finished.is_none() {
            let event = self.events.peek().map(|Reverse((time, _))| *time);
            let timeout = self.download.next_timeout();
            let next = event.unwrap_or(Time::NEVER).min(timeout.unwrap_or(Time::NEVER));
            if next > end {
                self.now = end;
                return;
            }
            self.now = self.now.max(next);
            if event == Some(next) {
                let Some(Reverse((_, sequence))) = self.events.pop() else { return };
                let body = self.bodies.remove(&sequence).expect("every event has a body");
                self.happen(body);
            } else {
                self.download.handle_timeout(self.now);
                self.carry_out();
                self.download.audit().expect("in order");
            }
        }
    }

    pub fn banned(&self) -> Vec<String> {
        let bans = self.log.iter().filter_map(|(_, output)| match output {
            Output::Ban { peer, .. } => Some(peer.clone()),
            _ => None,
        });
        bans.collect()
    }

    /// Requests and cancels sent to a source.
    pub fn sent(&self, id: SourceId) -> (usize, usize) {
        let count = |wanted: fn(&ClientFrame) -> bool| {
            let of = |(_, output): &&(Time, Output)| matches!(output, Output::Send { source, frame } if *source == id && wanted(frame));
            self.log.iter().filter(of).count()
        };
        let requests = count(|frame| matches!(frame, ClientFrame::Request(_)));
        (requests, count(|frame| matches!(frame, ClientFrame::Cancel(_))))
    }

    fn after(&mut self, span: Duration, event: Event) {
        self.sequence += 1;
        self.events.push(Reverse((self.now + span, self.sequence)));
        self.bodies.insert(self.sequence, event);
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Frame(source, ServerFrame::Data { offset, bytes }) => {
                if self.lines.get(&source).is_some_and(|line| line.open) {
                    self.received += bytes.len() as u64;
                    self.input(Input::Block { source, offset, bytes });
                }
            }
            Event::Frame(source, frame) => {
                if self.lines.get(&source).is_some_and(|line| line.open) {
                    self.input(Input::Frame { source, frame });
                }
            }
            Event::LineFree(source) => {
                if let Some(line) = self.lines.get_mut(&source) {
                    line.busy = false;
                }
                self.pump(source);
            }
            Event::Asked(source, frame) => self.asked(source, &frame),
            Event::Checked(id, consistent, write) => {
                if let Some((mut offset, parts)) = write.filter(|_| consistent && self.real) {
                    for part in parts {
                        self.disk[offset as usize..offset as usize + part.len()].copy_from_slice(&part);
                        offset += part.len() as u64;
                    }
                }
                self.input(Input::Checked { id, consistent });
            }
            Event::StoreReady => {
                let on_disk = self.on_disk.clone();
                self.input(Input::StoreReady { on_disk });
            }
        }
    }

    fn asked(&mut self, id: SourceId, frame: &ClientFrame) {
        let Some(line) = self.lines.get_mut(&id).filter(|line| line.open) else { return };
        match frame {
            ClientFrame::Request(span) => line.queue.push_back(*span),
            ClientFrame::Cancel(span) => line.queue.retain(|open| *open != *span),
            ClientFrame::GetStates { first, count } => {
                let states = line.description.states_bytes(*first, *count).expect("states that exist");
                let states = (line.states)(states);
                let latency = line.latency;
                self.after(latency, Event::Frame(id, ServerFrame::States { first: *first, states }));
            }
            ClientFrame::Hello { .. } | ClientFrame::Peers(_) | ClientFrame::Own(_) => {}
        }
        self.pump(id);
    }

    fn pump(&mut self, id: SourceId) {
        let Some(line) = self.lines.get_mut(&id).filter(|line| line.open && !line.busy) else { return };
        let Some(span) = line.queue.pop_front() else { return };
        let Some(bytes) = (line.answer)(span) else { return self.pump(id) };
        line.busy = true;
        line.sent += bytes.len() as u64;
        let takes = Duration::from_secs_f64(bytes.len() as f64 / line.rate);
        let arrives = takes + line.latency;
        self.after(takes, Event::LineFree(id));
        self.after(arrives, Event::Frame(id, ServerFrame::Data { offset: span.offset, bytes }));
    }

    fn carry_out(&mut self) {
        while let Some(output) = self.download.poll() {
            match &output {
                Output::Send { source, frame } => {
                    if let Some(line) = self.lines.get(source) {
                        let latency = line.latency;
                        self.after(latency, Event::Asked(*source, frame.clone()));
                    }
                }
                Output::Close { source, .. } | Output::Ban { source, .. } => {
                    if let Some(line) = self.lines.get_mut(source) {
                        line.open = false;
                    }
                }
                Output::Described { length, .. } => {
                    if self.real {
                        self.disk.resize(*length as usize, 0);
                    }
                    self.after(Duration::from_micros(100), Event::StoreReady);
                }
                Output::Check { id, check, write_at, parts, .. } => {
                    let right = !self.real || check.check(parts.iter().map(AsRef::as_ref));
                    let write = write_at.map(|offset| (offset, parts.clone()));
                    self.after(Duration::from_micros(200), Event::Checked(*id, right, write));
                    // The log would keep the data alive.
                    continue;
                }
                Output::CheckDisk { id, check, offset, length, .. } => {
                    let data = &self.disk[*offset as usize..*offset as usize + *length as usize];
                    let right = check.check([data]);
                    self.after(Duration::from_micros(200), Event::Checked(*id, right, None));
                }
                Output::Finished { .. } => self.finished = Some(self.now),
                Output::Servable { .. } | Output::Unservable => {}
            }
            self.log.push((self.now, output));
        }
    }
}

pub fn info_of(description: &Description, complete: bool) -> Info {
    Info {
        hash: description.hash(),
        length: description.layout().length(),
        piece_length: description.layout().piece_length(),
        digest: description.digest(),
        complete,
        name: "a.bin".into(),
    }
}
