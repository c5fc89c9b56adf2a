//! The machine of a client: links to several relays, subscriptions, reads and puts. Pure. Not here: sockets
//! ([`driver`](super::driver)).
//!
//! Relays forget who asked when a link breaks, so every question is asked again on every new link. A stock relay without
//! AXE sends everybody's puts; what nobody here wants is left out before it costs memory.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::graph::{Bounds, Graph};
use super::ham::{self, Verdict};
use super::interests::{Entry, Interests, Update, Want};
use super::message::{self, Dam, Field, Keys, Message};
use super::value::Record;
use super::writes::{Step, WriteError, Writes};
use super::{Now, message_id};
use crate::base::limits;
use crate::base::random::Jitter;
use crate::base::time::Time;

/// What the driver does next.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Connect to this relay; answered by [`Client::connected`] or [`Client::disconnected`].
    Connect(usize),
    /// Give this link up; answered by [`Client::disconnected`].
    Cut(usize),
    /// Send a frame.
    Send(usize, String),
    /// News for a subscriber.
    Update(u64, Update),
    /// A put has ended.
    Put(u64, Result<(), WriteError>),
    /// A read has ended.
    Read(u64, Option<Record>),
}

/// The machine.
#[derive(Debug)]
pub struct Client {
    links: Vec<Link>,
    interests: Interests,
    graph: Graph,
    writes: Writes,
    /// Reads by the number of their subscription.
    reads: BTreeMap<u64, Read>,
    outputs: VecDeque<Output>,
    random: Jitter,
    pid: String,
    next_id: u64,
    closing: bool,
}

#[derive(Debug)]
struct Link {
    state: State,
    failures: u32,
    outgoing: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Down { retry: Time },
    Connecting,
    Up { since: Time, heard: Time },
    Cut,
}

#[derive(Debug)]
struct Read {
    asked: Time,
    deadline: Time,
    /// When it ends if nothing more comes.
    quiet: Option<Time>,
    /// An answer has come of which nothing follows; with several parts, it may be the first to arrive.
    ended: bool,
    /// Fields that have come.
    fields: usize,
}

impl Read {
    /// When it ends if nothing more comes after this answer. Relays send large nodes in parts, in any order, and one that
    /// has much to do takes its time between two of them as well.
    fn quiet_after(&mut self, now: Time, more: bool) -> Time {
        self.ended |= !more;
        let least = if self.ended { limits::GUN_READ_QUIET } else { limits::GUN_READ_MORE };
        now + least.max(2 * now.since(self.asked)).min(limits::MAX_GUN_READ_QUIET)
    }
}

impl Client {
    /// A client of so many relays. The seed must not be guessable.
    pub fn new(relays: usize, seed: u64) -> Self {
        let mut random = Jitter::from_seed(seed);
        let bounds = Bounds { bytes: limits::MAX_GUN_CLIENT_BYTES, fields: limits::MAX_GUN_NODE_FIELDS };
        let down = || Link { state: State::Down { retry: Time::ZERO }, failures: 0, outgoing: Vec::new() };
        Self {
            links: (0..relays.min(limits::MAX_GUN_RELAYS)).map(|_| down()).collect(),
            interests: Interests::new(random.bits()),
            graph: Graph::new(bounds),
            writes: Writes::default(),
            reads: BTreeMap::new(),
            outputs: VecDeque::new(),
            pid: message_id(&mut random),
            random,
            next_id: 1,
            closing: false,
        }
    }

    /// Relays that are connected.
    pub fn connected_relays(&self) -> usize {
        self.links.iter().filter(|link| link.is_up()).count()
    }

    /// Fields, subscriptions, puts and states held, for tests of the bounds.
    pub fn sizes(&self) -> (usize, usize, usize, usize) {
        (self.graph.bytes(), self.interests.len(), self.writes.len(), self.writes.states())
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<Output> {
        if self.outputs.is_empty() {
            for (index, link) in self.links.iter_mut().enumerate().filter(|(_, link)| !link.outgoing.is_empty()) {
                let frames = message::pack(std::mem::take(&mut link.outgoing));
                self.outputs.extend(frames.into_iter().map(|frame| Output::Send(index, frame)));
            }
        }
        self.outputs.pop_front()
    }

    /// A relay is there.
    pub fn connected(&mut self, now: Now, link: usize) {
        let Some(slot) = self.links.get_mut(link).filter(|slot| slot.state == State::Connecting) else { return };
        slot.state = State::Up { since: now.time, heard: now.time };
        slot.outgoing.clear();
        let questions: Vec<(String, Keys)> =
            self.interests.questions().map(|(soul, keys)| (soul.to_owned(), keys)).collect();
        for (soul, keys) in questions {
            let question = Message::get(message_id(&mut self.random), &soul, keys).encode();
            self.links[link].outgoing.push(question);
        }
        let mut steps = self.writes.again(now, &mut self.random);
        steps.extend(self.writes.begin(now, &mut self.random));
        self.act(now, steps);
    }

    /// A relay is gone, or could not be reached.
    pub fn disconnected(&mut self, now: Now, link: usize) {
        let Some(slot) = self.links.get_mut(link) else { return };
        let proven = matches!(slot.state, State::Up { since, .. } if now.time.since(since) >= limits::GUN_LINK_PROVEN);
        slot.failures = if proven { 0 } else { slot.failures.saturating_add(1) };
        let doubled = limits::GUN_RECONNECT.saturating_mul(1 << slot.failures.saturating_sub(1).min(16));
        let pause = doubled.min(limits::MAX_GUN_RECONNECT).mul_f64(0.5 + self.random.fraction() / 2.0);
        slot.state = State::Down { retry: now.time + pause };
        slot.outgoing.clear();
    }

    /// A frame came.
    pub fn receive(&mut self, now: Now, link: usize, text: &str) {
        let Some(slot) = self.links.get_mut(link) else { return };
        let State::Up { heard, .. } = &mut slot.state else { return };
        *heard = now.time;
        let Ok(messages) = message::decode(text) else {
            tracing::debug!(link, bytes = text.len(), "a Gun relay sent a frame that is not read");
            return;
        };
        for message in messages {
            self.handle(now, link, &message);
        }
    }

    /// Subscribes to the children of a node. The path must be [checked](super::names::check). `None`: too many.
    pub fn subscribe(&mut self, path: Vec<String>) -> Option<u64> {
        if self.interests.len() >= limits::MAX_GUN_INTERESTS || path.is_empty() {
            return None;
        }
        let id = self.id();
        let wants = self.interests.add(id, path, &self.graph);
        self.ask(wants);
        for update in self.interests.known(id, &self.graph) {
            self.outputs.push_back(Output::Update(id, update));
        }
        Some(id)
    }

    /// Ends a subscription.
    pub fn unsubscribe(&mut self, id: u64) {
        for soul in self.interests.remove(id) {
            self.graph.remove(&soul);
        }
    }

    /// Reads the node at a path once. `None`: too many.
    pub fn read(&mut self, now: Now, path: Vec<String>, wait: Duration) -> Option<u64> {
        if self.reads.len() >= limits::MAX_GUN_READS || self.interests.len() >= limits::MAX_GUN_INTERESTS {
            return None;
        }
        let id = self.id();
        self.reads
            .insert(id, Read { asked: now.time, deadline: now.time + wait, quiet: None, ended: false, fields: 0 });
        let wants = self.interests.add(id, path, &self.graph);
        self.ask(wants);
        Some(id)
    }

    /// Ends a read nobody waits for any more.
    pub fn forget_read(&mut self, id: u64) {
        if self.reads.remove(&id).is_some() {
            self.unsubscribe(id);
        }
    }

    /// Writes a node or a value to all relays. The path and the names of the fields must be
    /// [checked](super::names::check). `None`: too many.
    pub fn put(&mut self, now: Now, path: &[String], entry: &Entry, wait: Duration) -> Option<u64> {
        let id = self.id();
        if !self.writes.add(id, path, entry, now.time + wait) {
            return None;
        }
        if self.connected_relays() > 0 {
            let steps = self.writes.begin(now, &mut self.random);
            self.act(now, steps);
        }
        Some(id)
    }

    /// No link is made any more.
    pub fn close(&mut self) {
        self.closing = true;
    }

    /// When to call [`handle_timeout`](Self::handle_timeout).
    pub fn next_timeout(&self) -> Option<Time> {
        let links = self.links.iter().filter_map(|link| match link.state {
            State::Down { retry } if !self.closing => Some(retry),
            State::Up { heard, .. } => Some(heard + limits::GUN_SILENCE),
            _ => None,
        });
        let reads = self.reads.values().map(|read| read.quiet.map_or(read.deadline, |quiet| quiet.min(read.deadline)));
        links.chain(reads).chain(self.writes.next_timeout()).min()
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Now) {
        for (index, link) in self.links.iter_mut().enumerate() {
            match link.state {
                State::Down { retry } if retry <= now.time && !self.closing => {
                    link.state = State::Connecting;
                    self.outputs.push_back(Output::Connect(index));
                }
                State::Up { heard, .. } if now.time.since(heard) >= limits::GUN_SILENCE => {
                    link.state = State::Cut;
                    self.outputs.push_back(Output::Cut(index));
                }
                _ => {}
            }
        }
        let due = |read: &Read| read.deadline <= now.time || read.quiet.is_some_and(|quiet| quiet <= now.time);
        let over: Vec<u64> = self.reads.iter().filter(|(_, read)| due(read)).map(|(id, _)| *id).collect();
        for id in over {
            self.reads.remove(&id);
            let (record, _) = self.interests.record(id, &self.graph);
            self.unsubscribe(id);
            self.outputs.push_back(Output::Read(id, record));
        }
        let connected = self.connected_relays() > 0;
        let mut steps = self.writes.handle_timeout(now, connected, &mut self.random);
        if connected {
            steps.extend(self.writes.begin(now, &mut self.random));
        }
        self.act(now, steps);
    }

    fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    fn handle(&mut self, now: Now, link: usize, message: &Message) {
        if let Some(Dam { verb, pid: Some(_) }) = &message.dam
            && verb == "?"
            && message.answers.is_none()
        {
            let answer = Message {
                id: message_id(&mut self.random),
                answers: Some(message.id.clone()).filter(|id| !id.is_empty()),
                dam: Some(Dam { verb: "?".to_owned(), pid: Some(self.pid.clone()) }),
                ..Message::default()
            };
            self.links[link].outgoing.push(answer.encode());
            return;
        }
        if let (Some(answers), None) = (&message.answers, &message.put) {
            let mut steps = self.writes.answered(now, answers, message.ok, message.error.as_deref());
            steps.extend(self.writes.begin(now, &mut self.random));
            self.act(now, steps);
        }
        if let Some(fields) = &message.put {
            self.take(now, fields, message.more);
        }
    }

    /// Fields of others, or our own coming back.
    fn take(&mut self, now: Now, fields: &[Field], more: bool) {
        let mut read_back: BTreeMap<&str, Vec<&Field>> = BTreeMap::new();
        for field in fields {
            self.writes.seen(field, now);
            if self.writes.reads(&field.soul) {
                read_back.entry(&field.soul).or_default().push(field);
            }
        }
        let mut steps = Vec::new();
        for (soul, fields) in read_back {
            steps.extend(self.writes.read(soul, &fields, now, &mut self.random));
        }
        steps.extend(self.writes.begin(now, &mut self.random));
        self.keep(now, fields, more);
        self.act(now, steps);
    }

    /// Stores what somebody here wants, and tells them.
    fn keep(&mut self, now: Now, fields: &[Field], more: bool) {
        let horizon = now.wall_ms + limits::GUN_CLOCK_MARGIN.as_millis() as f64;
        let (mut changed, mut confirmed) = (Vec::new(), BTreeSet::new());
        for field in fields {
            if !self.interests.want(&field.soul, &field.key) {
                continue;
            }
            let known = self.graph.cell(&field.soul, &field.key);
            let verdict = ham::judge(horizon, &field.cell, known);
            if verdict == Verdict::Same {
                confirmed.extend(self.interests.concerned(&field.soul, &field.key));
            }
            if verdict != Verdict::Apply {
                continue;
            }
            if self.graph.set(&field.soul, &field.key, field.cell.clone()).is_err() {
                tracing::debug!(soul = field.soul, "no room for a field of a Gun graph");
                // Whoever fills a node must not be able to hide what is written there later.
                for (id, update) in self.interests.unstored(field) {
                    self.outputs.push_back(Output::Update(id, update));
                }
                continue;
            }
            changed.push(field);
        }
        self.tell(now, &changed, more);
        // What a subscription has brought already does not change when a read asks for it.
        for id in confirmed {
            let Some(read) = self.reads.get_mut(&id).filter(|read| read.quiet.is_none()) else { continue };
            let (record, _) = self.interests.record(id, &self.graph);
            if let Some(record) = record.filter(|record| !record.is_empty()) {
                read.fields = record.len();
                read.quiet = Some(read.quiet_after(now.time, more));
            }
        }
    }

    /// Follows new links and tells subscribers what has changed.
    fn tell(&mut self, now: Now, changed: &[&Field], more: bool) {
        let mut concerned = BTreeSet::new();
        for field in changed {
            concerned.extend(self.interests.concerned(&field.soul, &field.key));
        }
        for id in concerned {
            let refreshed = self.interests.refresh(id, &self.graph);
            for soul in refreshed.forget {
                self.graph.remove(&soul);
            }
            self.ask(refreshed.ask);
            if let Some(read) = self.reads.get_mut(&id) {
                let (record, gone) = self.interests.record(id, &self.graph);
                let fields = record.map_or(0, |record| record.len());
                // Links on the way to the node say nothing of how much of it has come.
                if gone || fields != std::mem::replace(&mut read.fields, fields) {
                    read.quiet = Some(read.quiet_after(now.time, more));
                }
                continue;
            }
            // A record of ten fields is told once, not ten times.
            let mut updates: BTreeMap<String, Update> = BTreeMap::new();
            for field in changed {
                for update in self.interests.updates(id, &field.soul, &field.key, &self.graph) {
                    updates.insert(update.key.clone(), update);
                }
            }
            self.outputs.extend(updates.into_values().map(|update| Output::Update(id, update)));
        }
    }

    fn ask(&mut self, wants: Vec<Want>) {
        for (soul, key) in wants {
            self.send_all(|random| Message::get(message_id(random), &soul, key.clone().map_or(Keys::All, Keys::One)));
        }
    }

    fn act(&mut self, now: Now, steps: Vec<Step>) {
        for step in steps {
            match step {
                Step::Send(message) => {
                    self.send_all(|_| message.clone());
                    // A relay does not send them back.
                    self.keep(now, message.put.as_deref().unwrap_or_default(), false);
                }
                Step::Read(soul) => self.send_all(|random| Message::get(message_id(random), &soul, Keys::All)),
                Step::Done(id, result) => self.outputs.push_back(Output::Put(id, result)),
            }
        }
    }

    fn send_all(&mut self, mut make: impl FnMut(&mut Jitter) -> Message) {
        for link in self.links.iter_mut().filter(|link| link.is_up()) {
            link.outgoing.push(make(&mut self.random).encode());
        }
    }
}

impl Link {
    const fn is_up(&self) -> bool {
        matches!(self.state, State::Up { .. })
    }
}

#[cfg(test)]
mod tests;
