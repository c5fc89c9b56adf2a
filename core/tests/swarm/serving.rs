//! The serving half of a simulated node: sessions, choker, and the line that carries one block at a time.
//! Not here: downloading (`node`), the network (`world`).

use std::time::Duration;

use bytes::Bytes;
use dig_nat_core::base::ids::PeerId;
use dig_nat_core::base::limits;
use dig_nat_core::transfer::choker;
use dig_nat_core::transfer::serve::{self, ServeSession};
use dig_nat_core::wire::transfer::{ClientFrame, GoneReason, ServerFrame};

use super::node::name;
use super::world::{Event, NodeId, StreamId, World};

impl World {
    pub fn server_frame(&mut self, id: NodeId, stream: StreamId, frame: ClientFrame) {
        let node = &mut self.nodes[id];
        if !node.alive {
            return;
        }
        let now = self.now;
        let session = node.sessions.entry(stream).or_insert_with(|| ServeSession::new(now));
        session.handle(now, frame);
        if session.open_requests() > limits::MAX_REQUESTS_PER_PEER {
            self.faults.push(format!("n{id}: {} open requests", session.open_requests()));
        }
        self.settle_node(id);
    }

    pub fn server_closed(&mut self, id: NodeId, stream: StreamId) {
        let peer = PeerId::from_text(&name(self.streams[stream].client));
        let now = self.now;
        let node = &mut self.nodes[id];
        if let Some(session) = node.sessions.remove(&stream) {
            if session.open_requests() > 0 {
                node.choker.handle(now, choker::Input::Idle(peer.clone()));
            }
            if node.waiting.remove(&stream) {
                node.choker.handle(now, choker::Input::Closed(peer));
            }
        }
        self.settle_node(id);
    }

    pub fn run_sessions(&mut self, id: NodeId) -> bool {
        let mut busy = false;
        let streams: Vec<StreamId> = self.nodes[id].sessions.keys().copied().collect();
        for stream in streams {
            while let Some(output) = self.nodes[id].sessions.get_mut(&stream).and_then(ServeSession::poll) {
                busy = true;
                self.serve(id, stream, output);
            }
        }
        busy
    }

    fn serve(&mut self, id: NodeId, stream: StreamId, output: serve::Output) {
        let client = self.streams[stream].client;
        let peer = PeerId::from_text(&name(client));
        let now = self.now;
        let node = &mut self.nodes[id];
        match output {
            serve::Output::Lookup { .. } => {
                let Some(session) = node.sessions.get_mut(&stream) else { return };
                let Some(shared) = &node.content else { return session.refuse(GoneReason::Busy) };
                session.start(serve::Content {
                    description: shared.description.clone(),
                    name: String::new(),
                    pieces: shared.pieces.clone(),
                });
                node.waiting.insert(stream);
                node.choker.handle(now, choker::Input::Opened(peer.clone()));
                if node.choker.is_served(&peer) {
                    session.unchoke();
                }
            }
            serve::Output::Send(frame) => {
                let frames = match node.lie {
                    Some(lie) => lie.distort(frame, &mut node.rng),
                    None => vec![frame],
                };
                for frame in frames {
                    self.send_to_client(stream, frame, now);
                }
            }
            serve::Output::Asking(true) => node.choker.handle(now, choker::Input::Asking(peer)),
            serve::Output::Asking(false) => node.choker.handle(now, choker::Input::Idle(peer)),
            serve::Output::Close(_) => {
                node.sessions.remove(&stream);
                if node.waiting.remove(&stream) {
                    node.choker.handle(now, choker::Input::Closed(peer));
                }
                self.close_at_server(stream);
            }
        }
    }

    pub fn run_choker(&mut self, id: NodeId) -> bool {
        let node = &mut self.nodes[id];
        let mut busy = false;
        while let Some(output) = node.choker.poll() {
            busy = true;
            let (choke, peer) = match &output {
                choker::Output::Choke(peer) => (true, peer),
                choker::Output::Unchoke(peer) => (false, peer),
            };
            let client: NodeId = peer.as_str()[1..].parse().expect("a name of ours");
            for (stream, session) in &mut node.sessions {
                if self.streams[*stream].client == client && session.content().is_some() {
                    if choke { session.choke() } else { session.unchoke() }
                }
            }
        }
        busy
    }

    /// Puts the next block on the line, sessions in turn.
    pub fn pump(&mut self, id: NodeId) {
        let (up, piece_length) = (self.scenario.nodes[id].up, self.scenario.description.layout().piece_length());
        while !self.nodes[id].sending && self.nodes[id].alive {
            let node = &mut self.nodes[id];
            let asking = |(_, session): &(&StreamId, &ServeSession)| session.open_requests() > 0;
            let next = node.sessions.range(node.last_served + 1..).find(asking);
            let Some(stream) = next.or_else(|| node.sessions.iter().find(asking)).map(|(stream, _)| *stream) else {
                return;
            };
            node.last_served = stream;
            let Some(span) = node.sessions.get_mut(&stream).and_then(ServeSession::next_request) else { return };
            let Some(shared) = &node.content else { return };
            let (start, end) = (span.offset as usize, span.end() as usize);
            let mut bytes = match &node.client {
                Some(_) => Bytes::copy_from_slice(&node.disk[start..end]),
                None => shared.file.slice(start..end),
            };
            node.blocks_sent += 1;
            if let Some(lie) = node.lie {
                let done = self.done_share(self.streams[stream].client);
                let sent = self.nodes[id].blocks_sent;
                match lie.answer(span, bytes, piece_length, sent, done) {
                    Some(answer) => bytes = answer,
                    None => continue,
                }
            }
            let takes = Duration::from_secs_f64((bytes.len() as f64 + 13.0) / up);
            let leaves = self.now + takes;
            let node = &mut self.nodes[id];
            node.sending = true;
            let life = node.life;
            self.at(leaves, Event::UplinkFree(id, life));
            self.send_to_client(stream, ServerFrame::Data { offset: span.offset, bytes }, leaves);
        }
        // What the session has to say about its queue is heard at the next event.
        self.run_sessions(id);
        self.run_choker(id);
    }

    fn done_share(&self, id: NodeId) -> f64 {
        self.nodes[id].client.as_ref().map_or(0.0, |client| client.download.progress(self.now).fraction)
    }
}
