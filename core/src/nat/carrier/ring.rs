//! Bytes through a Gun graph as a ring of slots: the texts of slots, and for each direction which slot may be written
//! and what comes out in order. Pure. Not here: sealing, the graph, and the pace (`fabric::carrier`).
//!
//! A direction is one node: `dig-xfer/<session>` with the fields `c0` to `c7`, each `<number>:<base64>`, and beside it
//! `dig-xfer/<session>/ack` with `a0` to `a7`. A relay so keeps eight pieces, however much passes.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use data_encoding::BASE64;

use crate::base::limits;
use crate::base::time::Time;

/// The node for pieces.
pub fn pieces(session: &str) -> String {
    format!("dig-xfer/{session}")
}

/// The node for what was received.
pub fn receipts(session: &str) -> String {
    format!("dig-xfer/{session}/ack")
}

/// The field of a piece.
pub fn piece_slot(number: u64) -> String {
    format!("c{}", number % limits::GUN_RING_SLOTS)
}

/// The field that says how many pieces were received.
pub fn receipt_slot(count: u64) -> String {
    format!("a{}", count % limits::GUN_RING_SLOTS)
}

/// The text of a slot.
pub fn encode(number: u64, sealed: &[u8]) -> String {
    format!("{number}:{}", BASE64.encode(sealed))
}

/// Reads a slot. `None` for anything else, or what is longer than a sealed piece.
pub fn decode(text: &str) -> Option<(u64, Vec<u8>)> {
    let longest = (limits::GUN_PIECE_BYTES + 64) * 4 / 3 + 32;
    let (number, sealed) = text.split_once(':').filter(|_| text.len() <= longest)?;
    let plain = !number.is_empty() && number.len() <= 20 && number.bytes().all(|digit| digit.is_ascii_digit());
    let number = plain.then(|| number.parse().ok()).flatten()?;
    Some((number, BASE64.decode(sealed.as_bytes()).ok()?))
}

/// The sending end: pieces on their way.
#[derive(Debug, Default)]
pub struct Outgoing {
    /// The number of the first one that was not received yet.
    first: u64,
    /// When each of those on their way was written last, with its text.
    waiting: VecDeque<(Time, String)>,
    /// When something was received last, or the ring was empty.
    progress: Time,
}

impl Outgoing {
    /// The number of the next piece, unless all slots are taken.
    pub fn free(&self) -> Option<u64> {
        let waiting = self.waiting.len() as u64;
        (waiting < limits::GUN_RING_SLOTS).then_some(self.first + waiting)
    }

    /// Whether everything was received.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The piece with the number [`free`](Self::free) is on its way.
    pub fn sent(&mut self, now: Time, text: String) {
        if self.waiting.is_empty() {
            self.progress = now;
        }
        self.waiting.push_back((now, text));
    }

    /// The other end has received so many pieces.
    pub fn received(&mut self, now: Time, count: u64) {
        // Old receipts come again, and nobody can receive what was not sent.
        while self.first < count && self.waiting.pop_front().is_some() {
            self.first += 1;
            self.progress = now;
        }
    }

    /// Pieces to write again: a stock relay may merge quick writes, or have lost them.
    pub fn again(&mut self, now: Time) -> Vec<(u64, String)> {
        let (first, mut again) = (self.first, Vec::new());
        for (number, (written, text)) in (first..).zip(&mut self.waiting) {
            if now.since(*written) >= limits::GUN_PIECE_AGAIN {
                *written = now;
                again.push((number, text.clone()));
            }
        }
        again
    }

    /// When to look again.
    pub fn next_timeout(&self) -> Option<Time> {
        self.waiting.iter().map(|(written, _)| *written + limits::GUN_PIECE_AGAIN).min()
    }

    /// Whether nothing was received for so long that the other end must be gone.
    pub fn is_stalled(&self, now: Time) -> bool {
        !self.waiting.is_empty() && now.since(self.progress) >= limits::GUN_PASSAGE_STALL
    }
}

/// The receiving end.
#[derive(Debug, Default)]
pub struct Incoming {
    next: u64,
    held: BTreeMap<u64, Bytes>,
}

impl Incoming {
    /// Pieces received in order.
    pub fn count(&self) -> u64 {
        self.next
    }

    /// Whether a piece with this number is wanted; asked before it is opened.
    pub fn wants(&self, number: u64) -> bool {
        let reach = number.checked_sub(self.next).is_some_and(|ahead| ahead < limits::GUN_RING_SLOTS);
        reach && !self.held.contains_key(&number)
    }

    /// Takes a genuine piece; those that are in order now.
    pub fn take(&mut self, number: u64, piece: Bytes) -> Vec<Bytes> {
        if self.wants(number) {
            self.held.insert(number, piece);
        }
        let mut ordered = Vec::new();
        while let Some(piece) = self.held.remove(&self.next) {
            self.next += 1;
            ordered.push(piece);
        }
        ordered
    }
}

/// How long after the last bytes the next may go, so that a passage keeps below its rate.
pub fn pause(bytes: usize) -> Duration {
    Duration::from_secs_f64(bytes as f64 / limits::GUN_PASSAGE_BYTES_PER_SECOND as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::Jitter;

    fn at(milliseconds: u64) -> Time {
        Time::from_micros(1000 * milliseconds)
    }

    #[test]
    fn slots_survive_the_way_and_nothing_else_does() {
        assert_eq!(decode(&encode(17, b"sealed")), Some((17, b"sealed".to_vec())));
        let full = encode(u64::MAX, &vec![7; limits::GUN_PIECE_BYTES + 16]);
        assert!(decode(&full).is_some() && full.len() < limits::MAX_GUN_VALUE_BYTES);
        let long = encode(1, &vec![7; limits::GUN_PIECE_BYTES + 200]);
        for wrong in ["", ":", "1", "1:=", "+1:AAAA", "-1:AAAA", "99999999999999999999:AAAA", "1:AA\nAA", &long] {
            assert_eq!(decode(wrong), None, "{wrong:.40}");
        }
        assert_eq!((piece_slot(17), receipt_slot(17)), ("c1".into(), "a1".into()));
    }

    #[test]
    fn everything_arrives_in_order_through_a_graph_that_loses_merges_and_repeats() {
        const PIECES: u64 = 500;
        let mut random = Jitter::from_seed(7);
        let (mut out, mut incoming) = (Outgoing::default(), Incoming::default());
        let (mut graph, mut receipt) = (BTreeMap::new(), 0);
        let (mut made, mut got, mut now) = (0, Vec::new(), 0);
        while got.len() < PIECES as usize {
            now += 100;
            assert!(now < 100_000_000, "no progress");
            while let Some(number) = out.free().filter(|number| *number < PIECES) {
                let text = encode(number, &number.to_be_bytes());
                if random.below(4) > 0 {
                    graph.insert(piece_slot(number), text.clone());
                }
                out.sent(at(now), text);
                made = number + 1;
            }
            for (number, text) in out.again(at(now)) {
                if random.below(4) > 0 {
                    graph.insert(piece_slot(number), text);
                }
            }
            // Any of the slots, also one that was read already.
            let slot = random.below(limits::GUN_RING_SLOTS as usize) as u64;
            if let Some((number, sealed)) = graph.get(&piece_slot(slot)).and_then(|text| decode(text)) {
                got.extend(incoming.take(number, sealed.into()));
            }
            if random.below(3) == 0 {
                receipt = incoming.count();
            }
            out.received(at(now), receipt);
            assert!(!out.is_stalled(at(now)) && incoming.held.len() < limits::GUN_RING_SLOTS as usize);
        }
        out.received(at(now), incoming.count());
        assert_eq!((made, out.is_empty(), graph.len()), (PIECES, true, limits::GUN_RING_SLOTS as usize));
        let expected: Vec<Bytes> = (0..PIECES).map(|number| Bytes::copy_from_slice(&number.to_be_bytes())).collect();
        assert_eq!(got, expected);
    }

    #[test]
    fn lies_move_nothing_and_silence_ends() {
        let mut out = Outgoing::default();
        out.sent(at(0), encode(0, b""));
        out.received(at(1), 5);
        assert!(out.is_empty() && out.free() == Some(1), "one at most was sent");
        let mut incoming = Incoming::default();
        assert!(incoming.take(limits::GUN_RING_SLOTS, Bytes::new()).is_empty());
        assert!(incoming.take(u64::MAX, Bytes::new()).is_empty() && incoming.held.is_empty());
        out.sent(at(10), encode(1, b""));
        let late = at(10) + limits::GUN_PASSAGE_STALL;
        assert!(!out.is_stalled(at(11)) && out.is_stalled(late));
        assert_eq!(out.next_timeout(), Some(at(10) + limits::GUN_PIECE_AGAIN));
    }
}
