//! The hairpin test: two of our sockets send to each other's public endpoint. Both send, so that a NAT that filters
//! also inside senders is opened. Not here: any server; the requests must never leave the NAT.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;

use crate::base::random::Jitter;
use crate::base::time::Time;
use crate::nat::stun::message::{Message, Method, TransactionId};

/// Pauses between the rounds, and after the last: inside one local network all of it is ample.
const ROUNDS: [Duration; 3] = [Duration::from_millis(40), Duration::from_millis(80), Duration::from_millis(180)];

/// One running test.
#[derive(Debug)]
pub(super) struct Hairpin {
    ends: [End; 2],
    round: usize,
    next: Time,
    result: Option<bool>,
}

#[derive(Debug)]
struct End {
    socket: usize,
    to: SocketAddr,
    id: TransactionId,
    bytes: Bytes,
}

impl Hairpin {
    /// Each socket with its own public endpoint.
    pub(super) fn new(now: Time, random: &mut Jitter, one: (usize, SocketAddr), two: (usize, SocketAddr)) -> Self {
        let mut end = |socket, to| {
            let id = TransactionId::random(random);
            let bytes = Message::request(Method::BINDING, id).encode(None, false).unwrap_or_default().into();
            End { socket, to, id, bytes }
        };
        Self { ends: [end(one.0, two.1), end(two.0, one.1)], round: 0, next: now, result: None }
    }

    /// A request came in at a socket: the proof, if it is one of ours from the other socket.
    pub(super) fn handle(&mut self, socket: usize, request: &Message) {
        if self.ends.iter().any(|end| end.id == request.transaction && end.socket != socket) {
            self.result = Some(true);
        }
    }

    /// What to send now: socket, target, bytes.
    pub(super) fn due(&mut self, now: Time) -> Vec<(usize, SocketAddr, Bytes)> {
        if self.result.is_some() || now < self.next {
            return Vec::new();
        }
        let Some(pause) = ROUNDS.get(self.round) else {
            self.result = Some(false);
            return Vec::new();
        };
        self.next = now + *pause;
        self.round += 1;
        self.ends.iter().map(|end| (end.socket, end.to, end.bytes.clone())).collect()
    }

    /// The result, once it is known.
    pub(super) const fn result(&self) -> Option<bool> {
        self.result
    }

    /// When [`Self::due`] wants to be called.
    pub(super) fn next_timeout(&self) -> Option<Time> {
        self.result.is_none().then_some(self.next)
    }
}
