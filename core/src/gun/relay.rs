//! The machine of a relay that stock gun.js clients work through. Pure. Not here: sockets ([`driver`](super::driver)).
//!
//! It behaves like a stock relay without AXE: every accepted put goes to every other peer, under its own id, so that
//! clients that do not ask again after a restart still hear everything. It differs where stock relays hurt: a put is
//! answered at once, or with the reason why not; it keeps a bounded graph; signed (`~`) and content-addressed (`#`)
//! nodes, whose rules it does not know, are refused; questions are answered from its own graph and go no further.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::dedup::Recent;
use super::graph::{Bounds, Full, Graph};
use super::ham::{self, Verdict};
use super::message::{self, Dam, Field, Get, Message};
use super::value::{Cell, Record};
use super::{Now, message_id, names};
use crate::base::limits;
use crate::base::random::Jitter;
use crate::base::time::Time;

/// What the driver does next.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Send a frame to this peer. What goes to many peers is one text in memory.
    Send(u64, Arc<str>),
    /// More is to be sent to this peer at once than anybody keeps for it: its link is to be cut.
    Cut(u64),
}

/// The machine.
#[derive(Debug)]
pub struct Relay {
    graph: Graph,
    peers: BTreeMap<u64, Peer>,
    /// Puts by their id, with the peer they came from, so that receipts of receivers find back.
    puts: Recent<u64>,
    /// Ids of each peer's puts, against repetitions.
    seen: Recent<()>,
    /// Fields dated in the future, by when they are due.
    deferred: BTreeMap<(u64, u64), Field>,
    deferrals: u64,
    keepalive: Time,
    outputs: VecDeque<Output>,
    pid: String,
    random: Jitter,
    dirty: bool,
}

#[derive(Debug, Default)]
struct Peer {
    pid: Option<String>,
    outgoing: Vec<Arc<str>>,
    /// Bytes of these; above [`limits::MAX_GUN_SEND_BYTES`] nothing is added any more.
    bytes: usize,
}

impl Peer {
    /// Queues a message. False: it is too much already, and the peer will be cut.
    fn send(&mut self, text: Arc<str>) -> bool {
        let room = !self.is_flooded();
        if room {
            self.bytes += text.len();
            self.outgoing.push(text);
        }
        room
    }

    const fn is_flooded(&self) -> bool {
        self.bytes > limits::MAX_GUN_SEND_BYTES
    }
}

impl Relay {
    /// An empty relay that keeps so many bytes. The seed must not be guessable.
    pub fn new(bytes: usize, seed: u64) -> Self {
        let mut random = Jitter::from_seed(seed);
        Self {
            graph: Graph::new(Bounds { bytes, fields: limits::MAX_GUN_RELAY_FIELDS }),
            peers: BTreeMap::new(),
            puts: Recent::new(limits::MAX_GUN_DEDUP, limits::GUN_DEDUP_TIME),
            seen: Recent::new(limits::MAX_GUN_DEDUP, limits::GUN_DEDUP_TIME),
            deferred: BTreeMap::new(),
            deferrals: 0,
            keepalive: Time::ZERO,
            outputs: VecDeque::new(),
            pid: message_id(&mut random),
            random,
            dirty: false,
        }
    }

    /// Bytes of the graph, peers, ids and deferred fields held, for tests of the bounds.
    pub fn sizes(&self) -> (usize, usize, usize, usize) {
        (self.graph.bytes(), self.peers.len(), self.puts.len() + self.seen.len(), self.deferred.len())
    }

    /// Whether the graph has changed since this was asked last.
    pub fn take_dirty(&mut self) -> bool {
        std::mem::take(&mut self.dirty)
    }

    /// Everything stored.
    pub fn nodes(&self) -> impl Iterator<Item = (&String, &Record)> {
        self.graph.nodes()
    }

    /// Stores a field of an earlier run. What is wrong with it, or has no room, is left out.
    pub fn restore(&mut self, soul: &str, key: &str, cell: Cell) {
        if names::is_safe(soul) && names::is_safe(key) {
            let _ = self.graph.set(soul, key, cell);
        }
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<Output> {
        if self.outputs.is_empty() {
            // Most peers get the same as the one before them.
            let (mut last, mut frames): (Vec<Arc<str>>, Vec<Arc<str>>) = (Vec::new(), Vec::new());
            let outputs = &mut self.outputs;
            self.peers.retain(|id, peer| {
                if peer.is_flooded() {
                    outputs.push_back(Output::Cut(*id));
                }
                !peer.is_flooded()
            });
            for (id, peer) in self.peers.iter_mut().filter(|(_, peer)| !peer.outgoing.is_empty()) {
                let waiting = std::mem::take(&mut peer.outgoing);
                peer.bytes = 0;
                let same = waiting.len() == last.len() && waiting.iter().zip(&last).all(|(a, b)| Arc::ptr_eq(a, b));
                if !same {
                    frames = message::pack(waiting.iter().cloned());
                    last = waiting;
                }
                self.outputs.extend(frames.iter().map(|frame| Output::Send(*id, frame.clone())));
            }
        }
        self.outputs.pop_front()
    }

    /// Somebody has connected. False: there are too many.
    pub fn connected(&mut self, peer: u64) -> bool {
        if self.peers.len() >= limits::MAX_GUN_RELAY_PEERS {
            return false;
        }
        let id = message_id(&mut self.random);
        let dam = Some(Dam { verb: "?".to_owned(), pid: Some(self.pid.clone()) });
        self.peers.insert(peer, Peer::default());
        self.send(peer, &Message { id, dam, ..Message::default() });
        true
    }

    /// Somebody is gone.
    pub fn disconnected(&mut self, peer: u64) {
        self.peers.remove(&peer);
    }

    /// A frame came. Returns how many messages it had, for the peer's account.
    pub fn receive(&mut self, now: Now, peer: u64, text: &str) -> usize {
        if !self.peers.contains_key(&peer) {
            return 0;
        }
        let Ok(messages) = message::decode(text) else { return 1 };
        for message in &messages {
            self.handle(now, peer, message);
        }
        messages.len()
    }

    /// When to call [`handle_timeout`](Self::handle_timeout), in both clocks' terms.
    pub fn next_timeout(&self, now: Now) -> Time {
        let due = self.deferred.keys().next().map(|(due, _)| {
            now.time + std::time::Duration::from_millis((*due as f64 - now.wall_ms).max(0.0) as u64 + 1)
        });
        due.map_or(self.keepalive, |due| due.min(self.keepalive))
    }

    /// Does what is due: signs of life, and fields that were dated in the future.
    pub fn handle_timeout(&mut self, now: Now) {
        if self.keepalive <= now.time {
            self.keepalive = now.time + limits::GUN_KEEPALIVE;
            let sign: Arc<str> = "[]".into();
            self.outputs.extend(self.peers.keys().map(|peer| Output::Send(*peer, sign.clone())));
        }
        while let Some(entry) = self.deferred.first_entry() {
            if entry.key().0 as f64 > now.wall_ms {
                break;
            }
            let field = entry.remove();
            if ham::judge(now.wall_ms, &field.cell, self.graph.cell(&field.soul, &field.key)) == Verdict::Apply
                && self.store(&field).is_ok()
            {
                // Stock clients got it early and hold it back themselves; who came since has not.
                let id = message_id(&mut self.random);
                self.forward(None, &Message::put(id, vec![field]));
            }
        }
    }

    fn handle(&mut self, now: Now, from: u64, message: &Message) {
        if let Some(dam) = &message.dam {
            if dam.verb == "?" {
                self.greet(from, message, dam);
            }
            return;
        }
        if let Some(get) = &message.get {
            self.answer(from, &message.id, get);
        }
        if let Some(fields) = &message.put {
            self.put(now, from, message, fields);
        } else if let Some(answers) = &message.answers
            && let Some(writer) = self.puts.get(answers).copied().filter(|writer| *writer != from)
        {
            // A receipt of a receiver, for the writer.
            self.send(writer, &message.clone());
        }
    }

    fn greet(&mut self, from: u64, message: &Message, dam: &Dam) {
        let Some(peer) = self.peers.get_mut(&from) else { return };
        peer.pid = peer.pid.take().or_else(|| dam.pid.clone());
        if message.answers.is_none() && !message.id.is_empty() {
            let answer = Message {
                id: message_id(&mut self.random),
                answers: Some(message.id.clone()),
                dam: Some(Dam { verb: "?".to_owned(), pid: Some(self.pid.clone()) }),
                ..Message::default()
            };
            self.send(from, &answer);
        }
    }

    fn answer(&mut self, from: u64, question: &str, get: &Get) {
        let Some(asker) = self.peers.get_mut(&from) else { return };
        let answers = Some(question.to_owned()).filter(|id| !id.is_empty());
        let mut send = |put: Option<Vec<Field>>| {
            let id = message_id(&mut self.random);
            asker.send(Message { id, answers: answers.clone(), put, ..Message::default() }.encode().into())
        };
        let found = self.graph.node(&get.soul).into_iter().flatten().filter(|(key, _)| get.keys.fit(key));
        let (mut part, mut bytes, mut goes_on) = (Vec::new(), 0, true);
        for (key, cell) in found {
            let size = 2 * key.len() + cell.value.size() + 32;
            let is_full = part.len() >= limits::GUN_ANSWER_FIELDS || bytes + size > limits::GUN_ANSWER_BYTES;
            if is_full && !part.is_empty() {
                bytes = 0;
                goes_on = send(Some(std::mem::take(&mut part)));
            }
            // One message may ask for the same again and again.
            if !goes_on {
                break;
            }
            bytes += size;
            part.push(Field { soul: get.soul.clone(), key: key.clone(), cell: cell.clone() });
        }
        // What is not here is an answer without content.
        if goes_on {
            send(Some(part).filter(|part| !part.is_empty()));
        }
        self.graph.touch(&get.soul);
    }

    fn put(&mut self, now: Now, from: u64, message: &Message, fields: &[Field]) {
        // Per peer: nobody can take the id of somebody else's put.
        let own_id = format!("{from} {}", message.id);
        if !message.id.is_empty() && !self.seen.insert(now.time, &own_id, ()) {
            return;
        }
        self.puts.insert(now.time, &message.id, from);
        let mut news = Vec::new();
        let (mut all, mut refused) = (!fields.is_empty(), None);
        for field in fields {
            if field.soul.starts_with('~') || field.soul.contains('#') {
                refused = Some("Signed and content-addressed nodes are not kept here.");
                continue;
            }
            match ham::judge(now.wall_ms, &field.cell, self.graph.cell(&field.soul, &field.key)) {
                Verdict::Apply => match self.store(field) {
                    Ok(()) => news.push(field.clone()),
                    Err(Full) => refused = Some("No room."),
                },
                Verdict::Same => {}
                Verdict::Drop => all = false,
                Verdict::Defer => {
                    all = false;
                    if self.defer(now, field) {
                        news.push(field.clone());
                    }
                }
            }
        }
        if !news.is_empty() {
            let forwarded = Message {
                id: message.id.clone(),
                answers: None,
                put: Some(news),
                seen_by: Vec::new(),
                ..Message::default()
            };
            let seen_by: BTreeSet<&String> = message.seen_by.iter().collect();
            self.forward_but(Some(from), &seen_by, &forwarded);
        }
        if message.id.is_empty() || message.answers.is_some() || (!all && refused.is_none()) {
            return;
        }
        let id = message_id(&mut self.random);
        let error = refused.map(str::to_owned);
        let answers = Some(message.id.clone());
        self.send(from, &Message { id, answers, ok: error.is_none(), error, ..Message::default() });
    }

    /// Makes room by forgetting what was not used for longest.
    fn store(&mut self, field: &Field) -> Result<(), Full> {
        loop {
            let full = self.graph.set(&field.soul, &field.key, field.cell.clone()).is_err();
            if !full {
                self.dirty = true;
                return Ok(());
            }
            if self.graph.is_full(&field.soul) || !self.graph.remove_oldest(&field.soul) {
                return Err(Full);
            }
        }
    }

    fn defer(&mut self, now: Now, field: &Field) -> bool {
        let ahead = field.cell.state - now.wall_ms;
        if ahead > limits::MAX_GUN_DEFERRAL.as_millis() as f64 || self.deferred.len() >= limits::MAX_GUN_DEFERRED {
            return false;
        }
        self.deferrals += 1;
        self.deferred.insert((field.cell.state.ceil() as u64, self.deferrals), field.clone());
        true
    }

    fn forward(&mut self, from: Option<u64>, message: &Message) {
        self.forward_but(from, &BTreeSet::new(), message);
    }

    fn forward_but(&mut self, from: Option<u64>, seen_by: &BTreeSet<&String>, message: &Message) {
        let text: Arc<str> = message.encode().into();
        for (id, peer) in &mut self.peers {
            if Some(*id) != from && peer.pid.as_ref().is_none_or(|pid| !seen_by.contains(pid)) {
                peer.send(text.clone());
            }
        }
    }

    fn send(&mut self, to: u64, message: &Message) {
        if let Some(peer) = self.peers.get_mut(&to) {
            peer.send(message.encode().into());
        }
    }
}

#[cfg(test)]
mod tests;
