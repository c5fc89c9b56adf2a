//! The simulated network: virtual time, lines with latency and bandwidth, streams, nodes that come and go.
//! Not here: what nodes say (`node`), and what is demanded of them (`swarm.rs`).

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

use bytes::Bytes;
use dig_nat_core::base::random::Jitter;
use dig_nat_core::base::time::Time;
use dig_nat_core::transfer::download::{CheckId, SourceId};
use dig_nat_core::wire::transfer::{ClientFrame, ServerFrame};

use super::node::Node;
use super::scenario::{Role, Scenario, seconds};

pub type NodeId = usize;
pub type StreamId = usize;

/// Longest virtual time of a swarm.
const LIMIT: f64 = 4.0 * 3600.0;

pub struct World {
    pub scenario: Scenario,
    pub now: Time,
    pub nodes: Vec<Node>,
    pub streams: Vec<Stream>,
    pub trace: Trace,
    /// What must not happen and did.
    pub faults: Vec<String>,
    events: BinaryHeap<Reverse<(Time, u64)>>,
    bodies: BTreeMap<u64, Event>,
    sequence: u64,
    /// Honest clients that do not have the file yet.
    pub unfinished: usize,
    hosts_killed: bool,
    pub handled: u64,
    /// File bytes that arrived at clients.
    pub delivered: u64,
    /// How many bans each kind of liar earned.
    pub bans: BTreeMap<&'static str, u64>,
}

pub struct Stream {
    pub client: NodeId,
    pub server: NodeId,
    pub source: SourceId,
    /// Each end's own view.
    pub client_open: bool,
    pub server_open: bool,
    latency: Duration,
    /// Frames of one direction arrive in order.
    last_at_client: Time,
    last_at_server: Time,
}

pub enum Event {
    ToServer(StreamId, ClientFrame),
    ToClient(StreamId, ServerFrame),
    ClosedAtServer(StreamId),
    ClosedAtClient(StreamId),
    /// With the life it belongs to: a node that left and returned is another one.
    Timer(NodeId, u32),
    UplinkFree(NodeId, u32),
    StoreReady(NodeId, u32),
    Checked(NodeId, u32, CheckId, bool, Option<(u64, Vec<Bytes>)>),
    Join(NodeId),
    Leave(NodeId),
    Die(NodeId),
}

/// What happened, as a number that depends on every event and its order (FNV-1a).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trace {
    pub hash: u64,
    pub print: bool,
}

impl Trace {
    pub fn note(&mut self, now: Time, parts: &[u64], text: impl FnOnce() -> String) {
        for part in std::iter::once(&now.as_micros()).chain(parts) {
            self.hash = (self.hash ^ part).wrapping_mul(0x0100_0000_01b3);
        }
        if self.print {
            println!("{:>12} {}", now.as_micros(), text());
        }
    }
}

impl World {
    pub fn new(seed: u64, print: bool) -> Self {
        let scenario = Scenario::from_seed(seed);
        let mut rng = Jitter::from_seed(seed ^ 0x5eed);
        let nodes: Vec<Node> = (0..scenario.nodes.len()).map(|id| Node::new(id, &scenario, &mut rng)).collect();
        let unfinished = scenario.nodes.iter().filter(|plan| plan.role == Role::Client).count();
        let mut world = Self {
            scenario,
            now: Time::ZERO,

            nodes,
            streams: Vec::new(),
            trace: Trace { hash: 0xcbf2_9ce4_8422_2325, print },
            faults: Vec::new(),
            events: BinaryHeap::new(),
            bodies: BTreeMap::new(),
            sequence: 0,
            unfinished,
            hosts_killed: false,
            handled: 0,
            delivered: 0,
            bans: BTreeMap::new(),
        };
        for id in 0..world.nodes.len() {
            let plan = &world.scenario.nodes[id];
            let (joins, away, dies) = (plan.joins, plan.away, plan.dies);
            world.at(joins, Event::Join(id));
            if let Some((leaves, returns)) = away {
                world.at(leaves, Event::Leave(id));
                world.at(returns, Event::Join(id));
            }
            if let Some(dies) = dies {
                world.at(dies, Event::Die(id));
            }
        }
        world
    }

    /// Runs until every client has the file, or something is wrong.
    pub fn run(&mut self) {
        while self.unfinished > 0 && self.faults.is_empty() {
            let Some(Reverse((time, sequence))) = self.events.pop() else {
                return self.faults.push(format!("nothing happens any more, {} clients wait", self.unfinished));
            };
            self.now = time;
            if time > seconds(LIMIT) {
                return self.faults.push(format!("{} clients are not done after four hours", self.unfinished));
            }
            self.handled += 1;
            let event = self.bodies.remove(&sequence).expect("every event has a body");
            self.happen(event);
        }
    }

    /// Schedules an event.
    pub fn at(&mut self, time: Time, event: Event) {
        self.sequence += 1;
        self.events.push(Reverse((time, self.sequence)));
        self.bodies.insert(self.sequence, event);
    }

    pub fn after(&mut self, span: Duration, event: Event) {
        self.at(self.now + span, event);
    }

    /// Opens a stream.
    pub fn connect(&mut self, client: NodeId, server: NodeId, source: SourceId) -> StreamId {
        let latency = self.scenario.nodes[client].latency + self.scenario.nodes[server].latency;
        self.streams.push(Stream {
            client,
            server,
            source,
            client_open: true,
            server_open: true,
            latency: Duration::from_micros(latency),
            last_at_client: self.now,
            last_at_server: self.now,
        });
        self.streams.len() - 1
    }

    /// Control frames upwards: latency only.
    pub fn send_to_server(&mut self, stream: StreamId, frame: ClientFrame) {
        let entry = &mut self.streams[stream];
        entry.last_at_server = entry.last_at_server.max(self.now + entry.latency);
        let time = entry.last_at_server;
        self.at(time, Event::ToServer(stream, frame));
    }

    /// Frames downwards. File data has passed the server's line when this is called at `leaves`, and takes its time on
    /// the client's.
    pub fn send_to_client(&mut self, stream: StreamId, frame: ServerFrame, leaves: Time) {
        let client = self.streams[stream].client;
        let entry = &mut self.streams[stream];
        let mut arrives = leaves + entry.latency;
        if let ServerFrame::Data { bytes, .. } = &frame {
            let line = &mut self.nodes[client].down_free;
            let takes = Duration::from_secs_f64(bytes.len() as f64 / self.scenario.nodes[client].down);
            *line = arrives.max(*line) + takes;
            arrives = *line;
        }
        entry.last_at_client = entry.last_at_client.max(arrives);
        let time = entry.last_at_client;
        self.at(time, Event::ToClient(stream, frame));
    }

    /// The client ends the stream.
    pub fn close_at_client(&mut self, stream: StreamId) {
        let entry = &mut self.streams[stream];
        if std::mem::take(&mut entry.client_open) {
            let time = entry.last_at_server.max(self.now + entry.latency);
            self.at(time, Event::ClosedAtServer(stream));
        }
    }

    /// The server ends the stream.
    pub fn close_at_server(&mut self, stream: StreamId) {
        let entry = &mut self.streams[stream];
        if std::mem::take(&mut entry.server_open) {
            let time = entry.last_at_client.max(self.now + entry.latency);
            self.at(time, Event::ClosedAtClient(stream));
        }
    }

    /// A client has the file.
    pub fn finished(&mut self, id: NodeId) {
        if self.nodes[id].done_at.is_none() {
            self.nodes[id].done_at = Some(self.now);
            self.unfinished -= 1;
        }
        if self.scenario.nodes[id].selfish {
            self.after(Duration::from_secs(1), Event::Die(id));
        }
    }

    /// Lets the hosts die when everything they have is in the hands of clients that stay.
    pub fn consider_coverage(&mut self) {
        if !self.scenario.hosts_die_when_covered || self.hosts_killed {
            return;
        }
        let stays = |id: &NodeId| {
            let plan = &self.scenario.nodes[*id];
            let returned = plan.away.is_none_or(|(_, returns)| returns < self.now);
            plan.role == Role::Client && !plan.selfish && self.nodes[*id].alive && returned
        };
        let pieces = self.scenario.description.layout().pieces();
        let staying: Vec<NodeId> = (0..self.nodes.len()).filter(stays).collect();
        let held = |piece: u32| staying.iter().any(|id| self.nodes[*id].truly_has(piece, &self.scenario.description));
        if pieces > 0 && (0..pieces).all(held) {
            self.hosts_killed = true;
            let hosts = (0..self.nodes.len()).filter(|id| self.scenario.nodes[*id].role == Role::Host);
            for id in hosts.collect::<Vec<_>>() {
                self.after(Duration::ZERO, Event::Die(id));
            }
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::ToServer(stream, frame) => {
                if self.streams[stream].server_open {
                    let server = self.streams[stream].server;
                    self.trace.note(self.now, &[1, stream as u64], || format!("n{server} <- s{stream} {frame:?}"));
                    self.server_frame(server, stream, frame);
                }
            }
            Event::ToClient(stream, frame) => {
                if self.streams[stream].client_open {
                    let client = self.streams[stream].client;
                    let size = if let ServerFrame::Data { offset, bytes } = &frame {
                        self.delivered += bytes.len() as u64;
                        *offset
                    } else {
                        0
                    };
                    self.trace.note(self.now, &[2, stream as u64, size], || match &frame {
                        ServerFrame::Data { offset, bytes } => {
                            format!("n{client} <- s{stream} Data {offset}+{}", bytes.len())
                        }
                        frame => format!("n{client} <- s{stream} {frame:?}"),
                    });
                    self.client_frame(client, stream, frame);
                }
            }
            Event::ClosedAtServer(stream) => {
                if std::mem::take(&mut self.streams[stream].server_open) {
                    self.server_closed(self.streams[stream].server, stream);
                }
            }
            Event::ClosedAtClient(stream) => {
                if std::mem::take(&mut self.streams[stream].client_open) {
                    self.client_closed(self.streams[stream].client, stream);
                }
            }
            Event::Timer(id, life) => {
                if self.is_life(id, life) {
                    self.timer(id);
                }
            }
            Event::UplinkFree(id, life) => {
                if self.is_life(id, life) {
                    self.nodes[id].sending = false;
                    self.pump(id);
                }
            }
            Event::StoreReady(id, life) => {
                if self.is_life(id, life) {
                    self.store_ready(id);
                }
            }
            Event::Checked(id, life, check, consistent, write) => {
                if self.is_life(id, life) {
                    self.checked(id, check, consistent, write);
                }
            }
            Event::Join(id) => {
                self.trace.note(self.now, &[3, id as u64], || format!("n{id} joins"));
                self.join(id);
            }
            Event::Leave(id) => self.leave(id),
            Event::Die(id) => {
                self.scenario.nodes[id].away = None;
                self.leave(id);
            }
        }
    }

    fn is_life(&self, id: NodeId, life: u32) -> bool {
        self.nodes[id].alive && self.nodes[id].life == life
    }

    /// A node is gone from one moment to the next: all its streams break.
    fn leave(&mut self, id: NodeId) {
        if !std::mem::take(&mut self.nodes[id].alive) {
            return;
        }
        self.trace.note(self.now, &[4, id as u64], || format!("n{id} leaves"));
        for stream in 0..self.streams.len() {
            if self.streams[stream].client == id {
                self.close_at_client(stream);
            }
            if self.streams[stream].server == id {
                self.close_at_server(stream);
            }
        }
        self.nodes[id].forget_streams();
    }
}
