//! One served stream: what a requester said, what it may have, what it is owed. Pure.
//! Not here: which peers are served (`choker`), reading files, sockets.
//!
//! The driver feeds frames in and carries outputs out; file data takes the short way: it asks [`ServeSession::next_request`]
//! for a span, reads it and sends DATA itself, so that no file byte passes through here.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::base::ids::ContentKey;
use crate::base::limits;
use crate::base::time::Time;
use crate::content::description::Description;
use crate::content::proof::Ledger;
use crate::wire::transfer::{ClientFrame, GoneReason, Info, ServerFrame, Span};

/// What one stream serves.
#[derive(Clone, Debug)]
pub struct Content {
    /// How the file is described to the requester.
    pub description: Description,
    /// Suggested file name, may be empty.
    pub name: String,
    /// The pieces there are; `None` for the whole file.
    pub pieces: Option<Ledger>,
}

/// Something the driver is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Find this content, then call [`ServeSession::start`] or [`ServeSession::refuse`]. Comes once, first.
    Lookup {
        /// What is wanted.
        key: ContentKey,
        /// The requester itself serves pieces of it: worth a stream the other way.
        serves: bool,
    },
    /// Send a frame.
    Send(ServerFrame),
    /// There are open requests (true), or no more (false). Only changes are reported; for the choker.
    Asking(bool),
    /// End the stream after what was sent; the text says why, for logs.
    Close(&'static str),
}

/// The serving side of one stream.
#[derive(Debug)]
pub struct ServeSession {
    state: State,
    unchoked: bool,
    requests: VecDeque<Span>,
    asking: bool,
    served_bytes: u64,
    last_frame: Time,
    outputs: VecDeque<Output>,
}

#[derive(Debug)]
enum State {
    /// HELLO has not come.
    Fresh,
    /// Waiting for the driver.
    LookingUp,
    Serving(Box<Content>),
    Closed,
}

impl ServeSession {
    /// A stream that was just accepted.
    pub const fn new(now: Time) -> Self {
        Self {
            state: State::Fresh,
            unchoked: false,
            requests: VecDeque::new(),
            asking: false,
            served_bytes: 0,
            last_frame: now,
            outputs: VecDeque::new(),
        }
    }

    /// Takes a frame of the requester. Outputs are to be carried out before the next frame is read: that is what bounds
    /// them against a requester that asks for states without reading them.
    pub fn handle(&mut self, now: Time, frame: ClientFrame) {
        self.last_frame = now;
        match (&self.state, frame) {
            // Peer exchange is the driver's; nothing of this stream depends on it.
            (State::Closed, _) | (_, ClientFrame::Peers(_) | ClientFrame::Own(_)) => {}
            (State::Fresh, ClientFrame::Hello { key, serves }) => {
                self.state = State::LookingUp;
                self.outputs.push_back(Output::Lookup { key, serves });
            }
            (State::Fresh, _) => self.close("the first frame was not HELLO"),
            (_, ClientFrame::Hello { .. }) => self.close("a second HELLO"),
            // Nothing can be asked before INFO was sent, because piece boundaries are not known.
            (State::LookingUp, _) => self.close("a request before INFO"),
            (State::Serving(content), ClientFrame::GetStates { first, count }) => {
                match content.description.states_bytes(first, count) {
                    Some(states) => self.send(ServerFrame::States { first, states }),
                    None => self.close("states that do not exist"),
                }
            }
            (State::Serving(_), ClientFrame::Request(span)) => self.request(span),
            (State::Serving(_), ClientFrame::Cancel(span)) => {
                // The most recent one: that is what a requester thinks better of.
                if let Some(at) = self.requests.iter().rposition(|open| *open == span) {
                    self.requests.remove(at);
                    self.report();
                }
            }
        }
    }

    /// The content was found: sends INFO and, for a partial file, which pieces there are.
    pub fn start(&mut self, content: Content) {
        if !matches!(self.state, State::LookingUp) {
            return;
        }
        let layout = content.description.layout();
        self.send(ServerFrame::Info(Info {
            hash: content.description.hash(),
            length: layout.length(),
            piece_length: layout.piece_length(),
            digest: content.description.digest(),
            complete: content.pieces.is_none(),
            name: content.name.clone(),
        }));
        if let Some(ledger) = &content.pieces {
            have_bits(ledger).for_each(|frame| self.outputs.push_back(Output::Send(frame)));
        }
        self.state = State::Serving(Box::new(content));
        if self.unchoked {
            self.send(ServerFrame::Unchoke);
        }
    }

    /// The content is not there, or not any more: sends GONE and closes. Open requests die with the stream.
    pub fn refuse(&mut self, reason: GoneReason) {
        if !matches!(self.state, State::Closed) {
            self.send(ServerFrame::Gone(reason));
            self.close("refused");
        }
    }

    /// One more piece of a partial file can be served.
    pub fn add_piece(&mut self, piece: u32) {
        if let State::Serving(content) = &mut self.state
            && let Some(ledger) = &mut content.pieces
            && piece < ledger.pieces()
            && !ledger.is_consistent(piece)
        {
            ledger.mark_consistent(piece);
            self.send(ServerFrame::Have { piece });
        }
    }

    /// The peer got a slot.
    pub fn unchoke(&mut self) {
        if !self.unchoked {
            self.unchoked = true;
            if matches!(self.state, State::Serving(_)) {
                self.send(ServerFrame::Unchoke);
            }
        }
    }

    /// The peer lost its slot: open requests are dropped, as the protocol says.
    pub fn choke(&mut self) {
        if self.unchoked {
            self.unchoked = false;
            self.requests.clear();
            self.report();
            if matches!(self.state, State::Serving(_)) {
                self.send(ServerFrame::Choke);
            }
        }
    }

    /// The next span to read and send as DATA. Each is handed out once; a CANCEL that comes later is too late.
    pub fn next_request(&mut self) -> Option<Span> {
        let span = self.requests.pop_front()?;
        self.served_bytes += u64::from(span.length);
        self.report();
        Some(span)
    }

    /// Open requests that were not handed out yet.
    pub fn open_requests(&self) -> usize {
        self.requests.len()
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// To be called when [`Self::next_timeout`] has come: closes a stream on which nothing happens.
    pub fn handle_timeout(&mut self, now: Time) {
        if self.next_timeout().is_some_and(|timeout| now >= timeout) {
            self.close("idle");
        }
    }

    /// When the stream is idle for too long, if no frame comes before. A peer that waits for its slot is not idle.
    pub fn next_timeout(&self) -> Option<Time> {
        match self.state {
            State::Fresh => Some(self.last_frame + limits::HANDSHAKE_TIMEOUT),
            State::Serving(_) if self.unchoked => Some(self.last_frame + limits::SESSION_IDLE_TIMEOUT),
            _ => None,
        }
    }

    /// What is being served, after [`Self::start`].
    pub fn content(&self) -> Option<&Content> {
        match &self.state {
            State::Serving(content) => Some(content),
            _ => None,
        }
    }

    /// Payload bytes handed out by [`Self::next_request`].
    pub const fn served_bytes(&self) -> u64 {
        self.served_bytes
    }

    fn request(&mut self, span: Span) {
        let State::Serving(content) = &self.state else { return };
        let layout = content.description.layout();
        let Some(piece) = layout.piece_at(span.offset).filter(|piece| span.end() <= layout.range(*piece).end()) else {
            return self.close("a request that is not inside one piece");
        };
        if !self.unchoked {
            // It crossed our CHOKE on the way, which has withdrawn it already: no answer.
            return;
        }
        let available = content.pieces.as_ref().is_none_or(|ledger| ledger.is_consistent(piece));
        if !available || self.requests.len() >= limits::MAX_REQUESTS_PER_PEER {
            return self.send(ServerFrame::Reject(span));
        }
        self.requests.push_back(span);
        self.report();
    }

    fn report(&mut self) {
        let asking = !self.requests.is_empty();
        if asking != self.asking {
            self.asking = asking;
            self.outputs.push_back(Output::Asking(asking));
        }
    }

    fn send(&mut self, frame: ServerFrame) {
        self.outputs.push_back(Output::Send(frame));
    }

    fn close(&mut self, reason: &'static str) {
        if !matches!(self.state, State::Closed) {
            self.requests.clear();
            self.report();
            self.state = State::Closed;
            self.outputs.push_back(Output::Close(reason));
        }
    }
}

/// The frames that tell which pieces there are.
fn have_bits(ledger: &Ledger) -> impl Iterator<Item = ServerFrame> + '_ {
    ledger.bits().chunks(limits::MAX_HAVE_BITS_PER_MESSAGE as usize / 8).enumerate().filter_map(|(index, bits)| {
        let first = index as u32 * limits::MAX_HAVE_BITS_PER_MESSAGE;
        let any = bits.iter().any(|byte| *byte != 0);
        any.then(|| ServerFrame::HaveBits { first, bits: Bytes::copy_from_slice(bits) })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::FileHash;
    use crate::content::description::Describer;
    use crate::content::layout::PieceLayout;

    const HELLO: fn() -> ClientFrame =
        || ClientFrame::Hello { key: ContentKey::Hash(FileHash::of(b"any")), serves: false };

    fn description() -> Description {
        let layout = PieceLayout::with_piece_length(1000, 128).expect("valid");
        let mut describer = Describer::with_layout(layout);
        describer.update(&[7; 1000]).expect("announced");
        describer.finish().expect("complete")
    }

    fn started(pieces: Option<Ledger>) -> ServeSession {
        let mut session = ServeSession::new(Time::ZERO);
        session.handle(Time::ZERO, HELLO());
        assert!(matches!(session.poll(), Some(Output::Lookup { .. })));
        session.start(Content { description: description(), name: "a".into(), pieces });
        assert!(matches!(session.poll(), Some(Output::Send(ServerFrame::Info(_)))));
        session
    }

    fn drain(session: &mut ServeSession) -> Vec<Output> {
        std::iter::from_fn(|| session.poll()).collect()
    }

    fn request(session: &mut ServeSession, offset: u64, length: u32) {
        session.handle(Time::ZERO, ClientFrame::Request(Span { offset, length }));
    }

    #[test]
    fn serves_in_order_what_was_asked_and_not_cancelled() {
        let mut session = started(None);
        session.unchoke();
        for piece in 0..3 {
            request(&mut session, piece * 128, 128);
        }
        session.handle(Time::ZERO, ClientFrame::Cancel(Span { offset: 128, length: 128 }));
        assert_eq!(session.next_request(), Some(Span { offset: 0, length: 128 }));
        assert_eq!(session.next_request(), Some(Span { offset: 256, length: 128 }));
        assert_eq!(session.next_request(), None);
        assert_eq!(session.served_bytes(), 256);
        assert_eq!(
            drain(&mut session),
            [Output::Send(ServerFrame::Unchoke), Output::Asking(true), Output::Asking(false)]
        );
    }

    #[test]
    fn a_choke_drops_what_is_open_and_refuses_what_comes() {
        let mut session = started(None);
        session.unchoke();
        request(&mut session, 0, 128);
        session.choke();
        request(&mut session, 128, 128);
        assert_eq!(session.open_requests(), 0);
        let outputs = drain(&mut session);
        assert_eq!(outputs.last(), Some(&Output::Send(ServerFrame::Choke)));
    }

    #[test]
    fn the_surplus_of_requests_is_rejected() {
        let mut session = started(None);
        session.unchoke();
        for _ in 0..limits::MAX_REQUESTS_PER_PEER + 5 {
            request(&mut session, 0, 128);
        }
        assert_eq!(session.open_requests(), limits::MAX_REQUESTS_PER_PEER);
        let reject = Output::Send(ServerFrame::Reject(Span { offset: 0, length: 128 }));
        assert_eq!(drain(&mut session).into_iter().filter(|output| *output == reject).count(), 5);
    }

    #[test]
    fn a_partial_file_tells_and_serves_only_what_it_has() {
        let mut ledger = Ledger::new(8);
        ledger.mark_consistent(1);
        let mut session = started(Some(ledger));
        session.unchoke();
        session.add_piece(7);
        session.add_piece(7);
        request(&mut session, 0, 128);
        request(&mut session, 896, 104);
        let bits = Bytes::from_static(&[0x40]);
        assert_eq!(
            drain(&mut session),
            [
                Output::Send(ServerFrame::HaveBits { first: 0, bits }),
                Output::Send(ServerFrame::Unchoke),
                Output::Send(ServerFrame::Have { piece: 7 }),
                Output::Send(ServerFrame::Reject(Span { offset: 0, length: 128 })),
                Output::Asking(true),
            ]
        );
        assert_eq!(session.next_request(), Some(Span { offset: 896, length: 104 }));
    }

    #[test]
    fn states_are_given_only_where_they_exist() {
        let mut session = started(None);
        session.handle(Time::ZERO, ClientFrame::GetStates { first: 1, count: 7 });
        let states = description().all_state_bytes().clone();
        assert_eq!(drain(&mut session), [Output::Send(ServerFrame::States { first: 1, states })]);
        session.handle(Time::ZERO, ClientFrame::GetStates { first: 1, count: 8 });
        assert!(matches!(session.poll(), Some(Output::Close(_))));
    }

    #[test]
    fn broken_exchanges_are_closed() {
        let asks_first = |session: &mut ServeSession| request(session, 0, 1);
        let says_hello_twice = |session: &mut ServeSession| {
            session.handle(Time::ZERO, HELLO());
            session.handle(Time::ZERO, HELLO());
        };
        let asks_before_info = |session: &mut ServeSession| {
            session.handle(Time::ZERO, HELLO());
            request(session, 0, 1);
        };
        for violation in [asks_first, says_hello_twice, asks_before_info] {
            let mut session = ServeSession::new(Time::ZERO);
            violation(&mut session);
            assert!(matches!(drain(&mut session).last(), Some(Output::Close(_))));
        }
        for (offset, length) in [(100, 100), (1000, 1), (999, 2), (u64::from(u32::MAX), 1)] {
            let mut session = started(None);
            session.unchoke();
            request(&mut session, offset, length);
            assert!(matches!(drain(&mut session).last(), Some(Output::Close(_))), "{offset}+{length}");
            assert_eq!(session.open_requests(), 0);
        }
    }

    #[test]
    fn a_refusal_is_said_once_and_silence_ends() {
        let mut session = ServeSession::new(Time::ZERO);
        session.handle(Time::ZERO, HELLO());
        session.poll();
        session.refuse(GoneReason::Unknown);
        session.refuse(GoneReason::Removed);
        assert_eq!(
            drain(&mut session),
            [Output::Send(ServerFrame::Gone(GoneReason::Unknown)), Output::Close("refused")]
        );
        let mut silent = ServeSession::new(Time::ZERO);
        silent.handle_timeout(Time::ZERO + limits::HANDSHAKE_TIMEOUT);
        assert_eq!(silent.poll(), Some(Output::Close("idle")));
        assert_eq!(started(None).next_timeout(), None);
    }
}
