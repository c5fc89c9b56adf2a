//! The download machine under arbitrary sequences of what peers, disk and time can do. Verifications are answered
//! truthfully, so whatever the peers claim: a finished download has the wanted bytes on disk, an honest peer is never
//! banned, and every step ends.
#![no_main]

use std::collections::{BTreeMap, VecDeque};
use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;
use dig_nat_core::base::ids::ContentKey;
use dig_nat_core::base::time::Time;
use dig_nat_core::content::description::{Describer, Description, PieceCheck};
use dig_nat_core::content::layout::PieceLayout;
use dig_nat_core::transfer::download::{CheckId, Download, DownloadConfig, Input, Output, SourceId};
use dig_nat_core::wire::transfer::{ClientFrame, GoneReason, Info, ServerFrame, Span};
use libfuzzer_sys::fuzz_target;

const PIECE: u32 = 64;
const LENGTH: usize = 10 * PIECE as usize - 7;
/// More outputs than this after one input means that the machine does not come to rest.
const MOST_OUTPUTS: usize = 10_000;
/// Sources below this number tell the truth.
const HONEST: u32 = 3;

static CONTENT: LazyLock<Vec<u8>> = LazyLock::new(|| (0..LENGTH).map(|index| (index * 7 + index / 64) as u8).collect());
static TRUTH: LazyLock<Description> = LazyLock::new(|| describe(&CONTENT));
static FICTION: LazyLock<Vec<u8>> = LazyLock::new(|| CONTENT.iter().map(|byte| !byte).collect());
static FALSEHOOD: LazyLock<Description> = LazyLock::new(|| {
    let states = describe(&FICTION).all_state_bytes().clone();
    Description::from_state_bytes(TRUTH.hash(), TRUTH.layout(), states).expect("as many states")
});

fn describe(content: &[u8]) -> Description {
    let layout = PieceLayout::with_piece_length(content.len() as u64, PIECE).expect("a valid layout");
    let mut describer = Describer::with_layout(layout);
    describer.update(content).expect("as long as announced");
    describer.finish().expect("complete")
}

fuzz_target!(|data: &[u8]| {
    let mut world = World::new();
    let mut operations = data.iter().copied();
    while let Some(operation) = operations.next() {
        world.step(operation, &mut operations);
        if world.machine.is_finished() {
            break;
        }
    }
});

enum Pending {
    Memory(CheckId, PieceCheck, Option<u64>, Vec<Bytes>),
    Disk(CheckId, PieceCheck, u64, u32),
}

struct World {
    machine: Download,
    now: Time,
    next_source: u32,
    /// Open streams, with the number of the peer at the other end.
    open: BTreeMap<SourceId, u32>,
    requests: BTreeMap<SourceId, VecDeque<Span>>,
    checks: VecDeque<Pending>,
    opening: u32,
    disk: BTreeMap<u64, Vec<u8>>,
}

impl World {
    fn new() -> Self {
        let mut config = DownloadConfig::new(ContentKey::Hash(TRUTH.hash()), 1);
        config.piece_length = Some(PIECE);
        Self {
            machine: Download::new(config, Time::ZERO),
            now: Time::ZERO,
            next_source: 0,
            open: BTreeMap::new(),
            requests: BTreeMap::new(),
            checks: VecDeque::new(),
            opening: 0,
            disk: BTreeMap::new(),
        }
    }

    fn step(&mut self, operation: u8, more: &mut impl Iterator<Item = u8>) {
        let argument = more.next().unwrap_or(0);
        match operation % 12 {
            0 => self.open_source(u32::from(argument % 8)),
            1 => self.with_source(argument, |world, source, _| world.input(Input::SourceClosed { source })),
            2 => self.with_source(argument, |world, source, peer| {
                let frame = ServerFrame::Info(world.info(peer, argument));
                world.input(Input::Frame { source, frame });
            }),
            3 => self.with_source(argument, |world, source, _| {
                world.input(Input::Frame { source, frame: ServerFrame::Unchoke });
            }),
            4 | 5 => self.with_source(argument, Self::answer_request),
            6 => {
                self.now = self.now + Duration::from_millis(1 << (argument % 17));
                self.machine.handle_timeout(self.now);
                self.outputs();
            }
            7 | 8 => self.finish_check(),
            9 if self.opening > 0 => {
                self.opening -= 1;
                let end = u64::from(argument) * 8;
                let on_disk = if argument == 0 { Vec::new() } else { vec![0..end.min(LENGTH as u64)] };
                self.input(Input::StoreReady { on_disk });
            }
            10 => self.with_source(argument, |world, source, peer| {
                let kind = more.next().unwrap_or(0);
                let value = more.next().unwrap_or(0);
                if peer >= HONEST {
                    world.input(Input::Frame { source, frame: arbitrary_frame(kind, value) });
                } else {
                    let frame = if kind % 2 == 0 { ServerFrame::Choke } else { ServerFrame::Unchoke };
                    if frame == ServerFrame::Choke {
                        world.requests.remove(&source);
                    }
                    world.input(Input::Frame { source, frame });
                }
            }),
            _ => self.input(Input::Candidates(usize::from(argument))),
        }
    }

    fn open_source(&mut self, peer: u32) {
        let source = SourceId(self.next_source);
        self.next_source += 1;
        self.open.insert(source, peer);
        self.input(Input::SourceOpened { source, peer: format!("peer-{peer}") });
    }

    fn with_source(&mut self, argument: u8, act: impl FnOnce(&mut Self, SourceId, u32)) {
        let count = self.open.len().max(1);
        if let Some((&source, &peer)) = self.open.iter().nth(usize::from(argument) % count) {
            act(self, source, peer);
        }
    }

    fn info(&self, peer: u32, argument: u8) -> Info {
        let truth = peer < HONEST;
        let description = if truth || argument % 4 == 0 { &*TRUTH } else { &*FALSEHOOD };
        let odd = !truth && argument % 4 == 3;
        Info {
            hash: description.hash(),
            length: if odd { u64::from(argument) } else { LENGTH as u64 },
            piece_length: PIECE,
            digest: description.digest(),
            complete: truth || argument % 8 < 4,
            name: String::new(),
        }
    }

    /// The oldest request of a source, answered truthfully or not.
    fn answer_request(&mut self, source: SourceId, peer: u32) {
        let Some(span) = self.requests.get_mut(&source).and_then(VecDeque::pop_front) else { return };
        let content = if peer < HONEST || peer % 2 == 0 { &*CONTENT } else { &*FICTION };
        if let Some(bytes) = content.get(span.offset as usize..span.end() as usize) {
            let bytes = Bytes::copy_from_slice(bytes);
            self.input(Input::Block { source, offset: span.offset, bytes });
        }
    }

    fn finish_check(&mut self) {
        let Some(check) = self.checks.pop_front() else { return };
        let (id, consistent) = match check {
            Pending::Memory(id, check, write_at, parts) => {
                let consistent = check.check(parts.iter().map(|part| &part[..]));
                if let (true, Some(offset)) = (consistent, write_at) {
                    self.disk.insert(offset, parts.concat());
                }
                (id, consistent)
            }
            Pending::Disk(id, check, offset, length) => {
                let data = self.disk.get(&offset).filter(|data| data.len() == length as usize);
                (id, data.is_some_and(|data| check.check([&data[..]])))
            }
        };
        self.input(Input::Checked { id, consistent });
    }

    fn input(&mut self, input: Input) {
        self.machine.handle(self.now, input);
        self.outputs();
    }

    fn outputs(&mut self) {
        let mut count = 0;
        while let Some(output) = self.machine.poll() {
            count += 1;
            assert!(count < MOST_OUTPUTS, "the machine does not come to rest");
            self.output(output);
        }
        let progress = self.machine.progress(self.now);
        assert!((0.0..=1.0).contains(&progress.fraction) && progress.rate.is_finite());
        assert!(progress.bytes <= progress.total || progress.total == 0);
    }

    fn output(&mut self, output: Output) {
        match output {
            Output::Send { source, frame } => self.sent(source, frame),
            Output::Close { source, .. } => self.close(source),
            Output::Ban { source, peer, reason } => {
                let honest = (0..HONEST).any(|number| peer == format!("peer-{number}"));
                assert!(!honest, "{peer} is honest and was banned: {reason}");
                self.close(source);
            }
            Output::Described { hash, .. } => {
                assert_eq!(hash, TRUTH.hash());
                self.opening += 1;
            }
            Output::Check { id, check, write_at, parts, .. } => {
                self.checks.push_back(Pending::Memory(id, check, write_at, parts));
            }
            Output::CheckDisk { id, check, offset, length, .. } => {
                self.checks.push_back(Pending::Disk(id, check, offset, length));
            }
            Output::Servable { .. } | Output::Unservable => {}
            Output::Finished { description } => {
                assert!(description == *TRUTH, "finished under a false description");
                let disk: Vec<u8> = self.disk.values().flatten().copied().collect();
                assert!(disk == *CONTENT, "finished with other bytes on disk");
            }
        }
    }

    fn sent(&mut self, source: SourceId, frame: ClientFrame) {
        let Some(&peer) = self.open.get(&source) else { panic!("a frame for the closed stream {source:?}") };
        match frame {
            ClientFrame::Request(span) => {
                assert!(span.length > 0 && span.end() <= LENGTH as u64 || peer >= HONEST);
                self.requests.entry(source).or_default().push_back(span);
            }
            ClientFrame::Cancel(span) => {
                if let Some(requests) = self.requests.get_mut(&source) {
                    requests.retain(|open| *open != span);
                }
            }
            ClientFrame::GetStates { first, count } => {
                let description = if peer < HONEST { &*TRUTH } else { &*FALSEHOOD };
                if let Some(states) = description.states_bytes(first, count) {
                    // Answered at once: the order of frames on one stream is not the fuzzer's choice.
                    self.machine
                        .handle(self.now, Input::Frame { source, frame: ServerFrame::States { first, states } });
                }
            }
            // The machine neither greets nor tells of peers.
            ClientFrame::Hello { .. } | ClientFrame::Peers(_) | ClientFrame::Own(_) => {}
        }
    }

    fn close(&mut self, source: SourceId) {
        self.open.remove(&source);
        self.requests.remove(&source);
    }
}

fn arbitrary_frame(kind: u8, value: u8) -> ServerFrame {
    let span = Span { offset: u64::from(value) * 16, length: 64 };
    match kind % 9 {
        0 => ServerFrame::Choke,
        1 => ServerFrame::Unchoke,
        2 => ServerFrame::Have { piece: u32::from(value) },
        3 => ServerFrame::HaveBits { first: u32::from(value % 16), bits: Bytes::from(vec![value; 2]) },
        4 => ServerFrame::Reject(span),
        5 => ServerFrame::Gone(GoneReason::Changed),
        6 => ServerFrame::States { first: u32::from(value), states: Bytes::from(vec![value; 64]) },
        7 => ServerFrame::Gone(GoneReason::Busy),
        _ => ServerFrame::Data { offset: u64::from(value) * 8, bytes: Bytes::from(vec![value; 32]) },
    }
}
