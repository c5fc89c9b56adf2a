//! All sessions of one node: which letters are new, in which order their messages are handed on, and how many letters may
//! wait. Pure. Not here: whether a letter is genuine, which has to be settled between [`Mailbox::judge`] and
//! [`Mailbox::take`].
//!
//! A relay can show any letter again, at any time and in any order. So numbers are taken once and in order, and a session
//! stays in memory after its end for as long as its letters are young enough to be taken. Whoever starts again says what
//! was begun before ([`Mailbox::remember`]).

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;

use super::letter::{Content, Letter, Says, SessionId};
use crate::base::ids::PeerId;
use crate::base::limits;

/// Where a letter stands before anybody has looked at its signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It continues a session.
    Known,
    /// It would begin one.
    New,
}

/// Why a letter or a session is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Written too long ago, or in the future.
    Outdated,
    /// This number was taken before.
    Repeated,
    /// A number that cannot come yet.
    TooFar,
    /// The session has ended.
    Ended,
    /// Too many sessions, with this peer or in all, or too much waits.
    Full,
}

/// What came of a letter, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// The peer has begun this session.
    Begun,
    /// A message.
    Message(Bytes),
    /// Letters of ours were read.
    Read,
    /// The peer has ended the session.
    Ended,
}

/// Whether one more letter may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Number {
    /// Yes: its number, and what to say has been read.
    Free {
        /// The number.
        number: u32,
        /// [`Content::read`].
        read: u32,
    },
    /// Not before the peer has read something.
    Wait,
    /// Never: the session has ended.
    Gone,
}

/// The state.
#[derive(Debug, Default)]
pub struct Mailbox {
    sessions: HashMap<(PeerId, SessionId), Session>,
    per_peer: HashMap<PeerId, usize>,
    held_bytes: usize,
}

#[derive(Debug, Default)]
struct Session {
    /// The number of the next letter from the peer.
    next_in: u32,
    held: BTreeMap<u32, Content>,
    /// The number of our next letter.
    next_out: u32,
    /// Ours that the peer has read.
    read_by_peer: u32,
    /// Messages of the peer since we last said what was read.
    unacknowledged: u32,
    /// The latest date of any letter.
    latest_ms: u64,
    /// Somebody here works on it, or will.
    begun: bool,
    ended: bool,
}

impl Mailbox {
    /// Sessions in memory, and bytes that wait for earlier letters.
    pub fn sizes(&self) -> (usize, usize) {
        (self.sessions.len(), self.held_bytes)
    }

    /// The sessions that were begun, and the latest date of their letters; for a later run.
    pub fn begun(&self) -> impl Iterator<Item = (&PeerId, SessionId, u64)> {
        let begun = self.sessions.iter().filter(|(_, session)| session.begun);
        begun.map(|((peer, id), session)| (peer, *id, session.latest_ms))
    }

    /// A session that an earlier run has begun: its letters are not taken again. One whose letters are too old to be taken
    /// is left out.
    pub fn remember(&mut self, now_ms: u64, peer: &PeerId, session: SessionId, latest_ms: u64) {
        // Nobody dates letters far in the future, so nothing of an earlier run stays for ever.
        let tolerance = limits::MAX_CLOCK_SKEW.as_millis() as u64;
        let known = self.sessions.contains_key(&(peer.clone(), session));
        if !known && latest_ms.abs_diff(now_ms) <= 2 * tolerance && self.make_room(now_ms, peer).is_ok() {
            self.insert(peer, session, Session { begun: true, ended: true, latest_ms, ..Session::default() });
        }
    }

    /// Begins a session of our own. `Full` when there are too many.
    pub fn open(&mut self, now_ms: u64, peer: &PeerId, session: SessionId) -> Result<(), Refusal> {
        self.make_room(now_ms, peer)?;
        self.insert(peer, session, Session { begun: true, latest_ms: now_ms, ..Session::default() });
        Ok(())
    }

    /// What a letter would be, if it is genuine. Costs nothing.
    pub fn judge(&self, now_ms: u64, letter: &Letter) -> Result<Standing, Refusal> {
        let tolerance = limits::MAX_CLOCK_SKEW.as_millis() as u64;
        if letter.sent_ms.abs_diff(now_ms) > tolerance {
            return Err(Refusal::Outdated);
        }
        let known = self.sessions.get(&(letter.from.clone(), letter.session));
        let next = known.map_or(0, |session| session.next_in);
        if letter.number < next || known.is_some_and(|session| session.held.contains_key(&letter.number)) {
            return Err(Refusal::Repeated);
        }
        if letter.number - next >= limits::GUN_LETTER_SLOTS {
            return Err(Refusal::TooFar);
        }
        match known {
            Some(session) if session.ended => Err(Refusal::Ended),
            Some(_) => Ok(Standing::Known),
            None => Ok(Standing::New),
        }
    }

    /// Takes a genuine letter with what was sealed in it.
    pub fn take(&mut self, now_ms: u64, letter: &Letter, content: Content) -> Result<Vec<Arrival>, Refusal> {
        let standing = self.judge(now_ms, letter)?;
        let size = size(&content);
        let key = (letter.from.clone(), letter.session);
        let in_order = self.sessions.get(&key).map_or(0, |session| session.next_in) == letter.number;
        if !in_order && self.held_bytes + size > limits::MAX_GUN_HELD_BYTES {
            return Err(Refusal::Full);
        }
        if standing == Standing::New {
            self.make_room(now_ms, &letter.from)?;
            self.insert(&letter.from, letter.session, Session::default());
        }
        let Some(session) = self.sessions.get_mut(&key) else { return Err(Refusal::Ended) };
        session.latest_ms = session.latest_ms.max(letter.sent_ms);
        session.held.insert(letter.number, content);
        self.held_bytes += size;
        let mut arrivals = Vec::new();
        while let Some(content) = session.held.remove(&session.next_in) {
            self.held_bytes -= self::size(&content);
            session.next_in += 1;
            if !std::mem::replace(&mut session.begun, true) {
                arrivals.push(Arrival::Begun);
            }
            // Nobody has read what was not written.
            if content.read > session.read_by_peer && content.read <= session.next_out {
                session.read_by_peer = content.read;
                arrivals.push(Arrival::Read);
            }
            match content.says {
                Says::Message(message) => {
                    session.unacknowledged += 1;
                    arrivals.push(Arrival::Message(message));
                }
                Says::Read => {}
                Says::End => {
                    arrivals.push(Arrival::Ended);
                    self.close(&letter.from, letter.session);
                    break;
                }
            }
        }
        Ok(arrivals)
    }

    /// Asks to write one more letter; `with_message`: it carries one.
    pub fn number(&mut self, peer: &PeerId, session: SessionId, with_message: bool) -> Number {
        let Some(session) = self.sessions.get_mut(&(peer.clone(), session)).filter(|session| !session.ended) else {
            return Number::Gone;
        };
        let most = if with_message { limits::GUN_LETTERS_WAITING } else { limits::GUN_LETTER_SLOTS };
        if session.next_out - session.read_by_peer >= most {
            return Number::Wait;
        }
        session.next_out += 1;
        session.unacknowledged = 0;
        Number::Free { number: session.next_out - 1, read: session.next_in }
    }

    /// Whether the peer should be told what was read.
    pub fn owes(&self, peer: &PeerId, session: SessionId) -> bool {
        let session = self.sessions.get(&(peer.clone(), session));
        session.is_some_and(|session| !session.ended && session.unacknowledged >= limits::GUN_LETTERS_UNACKNOWLEDGED)
    }

    /// Ends a session; it is remembered so that its letters are not taken again.
    pub fn close(&mut self, peer: &PeerId, session: SessionId) {
        if let Some(session) = self.sessions.get_mut(&(peer.clone(), session)) {
            session.ended = true;
            self.held_bytes -= session.held.values().map(size).sum::<usize>();
            session.held.clear();
        }
    }

    fn insert(&mut self, peer: &PeerId, id: SessionId, session: Session) {
        self.sessions.insert((peer.clone(), id), session);
        *self.per_peer.entry(peer.clone()).or_default() += 1;
    }

    /// Room for one more session with a peer. Whoever could be shown again is never forgotten for it.
    fn make_room(&mut self, now_ms: u64, peer: &PeerId) -> Result<(), Refusal> {
        let full = |mailbox: &Self| {
            let with_peer = mailbox.per_peer.get(peer).copied().unwrap_or_default();
            mailbox.sessions.len() >= limits::MAX_GUN_SESSIONS || with_peer >= limits::MAX_GUN_SESSIONS_PER_PEER
        };
        if full(self) {
            self.forget(now_ms);
        }
        if full(self) { Err(Refusal::Full) } else { Ok(()) }
    }

    /// Forgets sessions that nobody works on and whose letters are too old to be taken.
    fn forget(&mut self, now_ms: u64) {
        let tolerance = limits::MAX_CLOCK_SKEW.as_millis() as u64;
        let (per_peer, held) = (&mut self.per_peer, &mut self.held_bytes);
        self.sessions.retain(|(peer, _), session| {
            let keep = (session.begun && !session.ended) || session.latest_ms + tolerance >= now_ms;
            if !keep {
                *held -= session.held.values().map(size).sum::<usize>();
                if let Some(count) = per_peer.get_mut(peer) {
                    *count -= 1;
                    if *count == 0 {
                        per_peer.remove(peer);
                    }
                }
            }
            keep
        });
    }
}

/// Bytes a letter takes while it waits.
fn size(content: &Content) -> usize {
    const AROUND: usize = 64;
    AROUND + if let Says::Message(message) = &content.says { message.len() } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_700_000_000_000;
    const SKEW: u64 = limits::MAX_CLOCK_SKEW.as_millis() as u64;

    fn letter(from: &str, session: u8, number: u32) -> Letter {
        let (body, signature) = (Vec::new(), Vec::new());
        let session = SessionId([session; 16]);
        Letter { from: PeerId::from_text(from), session, number, sent_ms: NOW, body, signature }
    }

    fn message(text: &'static str) -> Content {
        Content { read: 0, says: Says::Message(Bytes::from_static(text.as_bytes())) }
    }

    fn told(text: &'static str) -> Arrival {
        Arrival::Message(Bytes::from_static(text.as_bytes()))
    }

    #[test]
    fn messages_are_handed_on_once_and_in_order() {
        let mut mailbox = Mailbox::default();
        assert_eq!(mailbox.take(NOW, &letter("A", 1, 1), message("two")), Ok(vec![]));
        let begun = mailbox.take(NOW, &letter("A", 1, 0), message("one")).expect("new");
        assert_eq!(begun, [Arrival::Begun, told("one"), told("two")]);
        for number in [0, 1] {
            assert_eq!(mailbox.judge(NOW, &letter("A", 1, number)), Err(Refusal::Repeated));
        }
        assert_eq!(mailbox.judge(NOW, &letter("A", 1, 2 + limits::GUN_LETTER_SLOTS)), Err(Refusal::TooFar));
        assert_eq!(mailbox.judge(NOW, &letter("B", 1, 0)), Ok(Standing::New), "a session is of one peer");
        let end = Content { read: 0, says: Says::End };
        assert_eq!(mailbox.take(NOW, &letter("A", 1, 2), end), Ok(vec![Arrival::Ended]));
        assert_eq!(mailbox.judge(NOW, &letter("A", 1, 3)), Err(Refusal::Ended));
        assert_eq!(mailbox.number(&PeerId::from_text("A"), SessionId([1; 16]), true), Number::Gone);
        assert_eq!(mailbox.sizes(), (1, 0));
    }

    #[test]
    fn old_letters_and_those_of_the_future_are_refused() {
        let mailbox = Mailbox::default();
        assert_eq!(mailbox.judge(NOW + SKEW, &letter("A", 1, 0)), Ok(Standing::New));
        assert_eq!(mailbox.judge(NOW + SKEW + 1, &letter("A", 1, 0)), Err(Refusal::Outdated));
        assert_eq!(mailbox.judge(NOW - SKEW - 1, &letter("A", 1, 0)), Err(Refusal::Outdated));
    }

    #[test]
    fn an_ended_session_is_remembered_while_its_letters_could_come_again() {
        let mut mailbox = Mailbox::default();
        for number in 0..limits::MAX_GUN_SESSIONS_PER_PEER {
            let letter = letter("A", number as u8, 0);
            mailbox.take(NOW, &letter, message("one")).expect("room");
            mailbox.close(&letter.from, letter.session);
        }
        let more = letter("A", 200, 0);
        assert_eq!(mailbox.take(NOW + SKEW, &more, message("one")), Err(Refusal::Full));
        assert_eq!(mailbox.judge(NOW + SKEW, &letter("A", 0, 0)), Err(Refusal::Repeated));
        assert!(mailbox.take(NOW, &letter("B", 200, 0), message("one")).is_ok(), "another peer has room");
        // Now they are too old by themselves.
        let later = NOW + SKEW + 1;
        let more = Letter { sent_ms: later, ..more };
        assert!(mailbox.take(later, &more, message("one")).is_ok());
        assert_eq!(mailbox.sizes().0, 1 + 1, "the other peer's goes on");
    }

    #[test]
    fn what_an_earlier_run_has_begun_is_not_begun_again() {
        let (mut before, mut after) = (Mailbox::default(), Mailbox::default());
        before.take(NOW, &letter("A", 1, 0), message("one")).expect("new");
        // Only held, so nobody has answered it.
        before.take(NOW, &letter("A", 2, 1), message("two")).expect("new");
        for (peer, session, latest_ms) in before.begun() {
            after.remember(NOW + SKEW, peer, session, latest_ms);
        }
        assert_eq!(after.judge(NOW + SKEW, &letter("A", 1, 0)), Err(Refusal::Ended));
        assert_eq!(after.judge(NOW + SKEW, &letter("A", 2, 0)), Ok(Standing::New));
        assert_eq!(after.judge(NOW + SKEW, &letter("B", 1, 0)), Ok(Standing::New));
        for number in 0..=u8::MAX {
            after.remember(NOW, &PeerId::from_text("A"), SessionId([number; 16]), NOW);
            after.remember(NOW, &PeerId::from_text("C"), SessionId([number; 16]), NOW - 2 * SKEW - 1);
        }
        assert_eq!(after.sizes().0, limits::MAX_GUN_SESSIONS_PER_PEER, "no more than there could be, and none too old");
    }

    #[test]
    fn everything_is_bounded() {
        let mut mailbox = Mailbox::default();
        let big = Content { read: 0, says: Says::Message(vec![0; limits::MAX_SIGNAL_BYTES].into()) };
        let mut refused = 0;
        for sender in 0..2 * limits::MAX_GUN_SESSIONS {
            let from = format!("peer{sender}");
            for number in 1..limits::GUN_LETTER_SLOTS {
                refused += usize::from(mailbox.take(NOW, &letter(&from, 1, number), big.clone()).is_err());
            }
        }
        let (sessions, held) = mailbox.sizes();
        assert!(refused > 0 && sessions <= limits::MAX_GUN_SESSIONS && held <= limits::MAX_GUN_HELD_BYTES);
        let mut mailbox = Mailbox::default();
        for sender in 0..2 * limits::MAX_GUN_SESSIONS {
            let _ = mailbox.take(NOW, &letter(&format!("peer{sender}"), 1, 0), message("one"));
        }
        assert_eq!(mailbox.sizes().0, limits::MAX_GUN_SESSIONS);
    }

    #[test]
    fn slots_are_used_again_only_when_read() {
        let (mut here, mut there) = (Mailbox::default(), Mailbox::default());
        let (a, b) = (PeerId::from_text("A"), PeerId::from_text("B"));
        let session = SessionId([3; 16]);
        here.open(NOW, &b, session).expect("room");
        let mut written = Vec::new();
        while let Number::Free { number, read } = here.number(&b, session, true) {
            written.push((number, read));
        }
        assert_eq!(written.len(), limits::GUN_LETTERS_WAITING as usize);
        for (number, _) in &written {
            there.take(NOW, &letter("A", 3, *number), message("text")).expect("in order");
        }
        assert!(there.owes(&a, session));
        let Number::Free { number: 0, read } = there.number(&a, session, false) else { panic!("the first letter") };
        assert!(!there.owes(&a, session), "told");
        let read = Content { read, says: Says::Read };
        assert_eq!(here.take(NOW, &letter("B", 3, 0), read), Ok(vec![Arrival::Read]));
        let next = written.len() as u32;
        assert_eq!(here.number(&b, session, true), Number::Free { number: next, read: 1 });
        // A peer that says it has read what was never written frees nothing.
        let lie = Content { read: 1000, says: Says::Read };
        assert_eq!(here.take(NOW, &letter("B", 3, 1), lie), Ok(vec![]));
    }
}
