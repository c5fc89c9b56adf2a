//! One request and its answer over UDP: sent again until answered or given up (RFC 8489 section 6.2.1), and believed
//! only with the right transaction id from the right address. A pure machine. Not here: credentials, which whoever
//! knows the key checks before handing an answer in.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;

use super::message::{Class, Message, Method, Received, TransactionId};
use crate::base::limits;
use crate::base::time::Time;
use crate::wire::reader::Malformed;

/// When a request is sent again, and when it is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    first: Duration,
    growth: u32,
    attempts: u32,
    total: Duration,
}

impl Timing {
    /// RFC 8489's: the waits double, starting with `rto`; at most [`limits::STUN_ATTEMPTS`] datagrams, given up after
    /// `total`.
    pub const fn doubling(rto: Duration, total: Duration) -> Self {
        Self { first: rto, growth: 2, attempts: limits::STUN_ATTEMPTS, total }
    }

    /// `attempts` datagrams at even intervals, given up `patience` after the last. For requests that often stay
    /// unanswered by design, as in filtering tests.
    pub fn steady(interval: Duration, attempts: u32, patience: Duration) -> Self {
        let attempts = attempts.clamp(1, limits::STUN_ATTEMPTS);
        Self { first: interval, growth: 1, attempts, total: interval * (attempts - 1) + patience }
    }

    /// Sent once, for transports that lose nothing.
    pub const fn once(total: Duration) -> Self {
        Self { first: total, growth: 1, attempts: 1, total }
    }

    /// Time until it is given up.
    pub const fn total(&self) -> Duration {
        self.total
    }
}

/// What the driver must do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send these bytes to that address.
    Send {
        /// The server.
        to: SocketAddr,
        /// The request.
        bytes: Bytes,
    },
    /// The end; comes once.
    Done(Outcome),
}

/// How a transaction ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Success or error answer.
    Answered {
        /// The answer.
        message: Message,
        /// Where it came from: one of the allowed sources.
        from: SocketAddr,
        /// Known if only one request was sent, so that it is clear which one was answered.
        round_trip: Option<Duration>,
    },
    /// Nothing believable came in time, or an answer with attributes that we would have to know.
    Nothing,
}

/// One request on its way.
#[derive(Debug)]
pub struct Transaction {
    id: TransactionId,
    method: Method,
    bytes: Bytes,
    to: SocketAddr,
    sources: Vec<SocketAddr>,
    timing: Timing,
    started: Time,
    wait: Duration,
    sent: u32,
    due: bool,
    next: Time,
    outcome: Option<Outcome>,
    ended: bool,
}

impl Transaction {
    /// A request to `to`, answered from there. `bytes` is `request` encoded.
    pub fn new(now: Time, request: &Message, bytes: Bytes, to: SocketAddr, timing: Timing) -> Self {
        Self {
            id: request.transaction,
            method: request.method,
            bytes,
            to,
            sources: vec![to],
            timing,
            started: now,
            wait: timing.first,
            sent: 0,
            due: true,
            next: now,
            outcome: None,
            ended: false,
        }
    }

    /// The same for a request without credentials.
    pub fn plain(now: Time, request: &Message, to: SocketAddr, timing: Timing) -> Result<Self, Malformed> {
        Ok(Self::new(now, request, request.encode(None, false)?.into(), to, timing))
    }

    /// Believes answers from another address too, as a filtering test asks for.
    #[must_use]
    pub fn also_from(mut self, source: SocketAddr) -> Self {
        self.sources.push(source);
        self
    }

    /// Its id.
    pub const fn id(&self) -> TransactionId {
        self.id
    }

    /// The server.
    pub const fn to(&self) -> SocketAddr {
        self.to
    }

    /// Whether it ended, whether or not the end was polled.
    pub const fn is_over(&self) -> bool {
        self.outcome.is_some() || self.ended
    }

    /// Whether a message is this request's answer, from wherever.
    pub fn is_answer(&self, message: &Message) -> bool {
        message.transaction == self.id
            && message.method == self.method
            && matches!(message.class, Class::Success | Class::Error)
    }

    /// A message came in. Returns whether it was taken: right id, method and source, and still waited for.
    pub fn handle(&mut self, now: Time, from: SocketAddr, received: &Received<'_>) -> bool {
        let expected = self.sources.iter().any(|source| is_same(*source, from));
        if self.is_over() || !expected || !self.is_answer(&received.message) {
            return false;
        }
        self.due = false;
        self.outcome = Some(if received.unknown.is_empty() {
            let round_trip = (self.sent == 1).then(|| now.since(self.started));
            Outcome::Answered { message: received.message.clone(), from, round_trip }
        } else {
            Outcome::Nothing
        });
        true
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Time) {
        if self.is_over() {
            return;
        }
        if now >= self.started + self.timing.total {
            self.due = false;
            self.outcome = Some(Outcome::Nothing);
        } else if now >= self.next && self.sent < self.timing.attempts {
            self.due = true;
        }
    }

    /// The next thing to do.
    pub fn poll(&mut self, now: Time) -> Option<Output> {
        if self.due {
            self.due = false;
            self.sent += 1;
            self.next = now + self.wait;
            self.wait *= self.timing.growth;
            return Some(Output::Send { to: self.to, bytes: self.bytes.clone() });
        }
        let outcome = self.outcome.take()?;
        self.ended = true;
        Some(Output::Done(outcome))
    }

    /// When [`Self::handle_timeout`] wants to be called.
    pub fn next_timeout(&self) -> Option<Time> {
        if self.is_over() {
            return None;
        }
        let end = self.started + self.timing.total;
        Some(if self.sent < self.timing.attempts { self.next.min(end) } else { end })
    }
}

/// Whether two addresses are the same endpoint: flow labels do not count, IPv4 inside IPv6 does.
pub(crate) fn is_same(one: SocketAddr, other: SocketAddr) -> bool {
    one.port() == other.port() && one.ip().to_canonical() == other.ip().to_canonical()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::Jitter;
    use crate::nat::stun::attribute::Attribute;
    use crate::nat::stun::message::decode;

    const MS: Duration = Duration::from_millis(1);

    fn address(text: &str) -> SocketAddr {
        text.parse().expect("valid")
    }

    fn transaction(timing: Timing) -> (Message, Transaction) {
        let request = Message::request(Method::BINDING, TransactionId::random(&mut Jitter::from_seed(1)));
        let transaction = Transaction::plain(Time::ZERO, &request, address("192.0.2.1:3478"), timing);
        (request, transaction.expect("small"))
    }

    /// Runs it without answers; the moments of sending, and of the end.
    fn silence(mut transaction: Transaction) -> (Vec<u64>, u64) {
        let (mut sent, mut now) = (Vec::new(), Time::ZERO);
        loop {
            while let Some(output) = transaction.poll(now) {
                match output {
                    Output::Send { .. } => sent.push(now.as_micros() / 1000),
                    Output::Done(outcome) => {
                        assert_eq!((outcome, transaction.next_timeout()), (Outcome::Nothing, None));
                        return (sent, now.as_micros() / 1000);
                    }
                }
            }
            now = transaction.next_timeout().expect("still running");
            transaction.handle_timeout(now);
        }
    }

    #[test]
    fn requests_are_repeated_at_their_times_and_given_up() {
        let (_, doubling) = transaction(Timing::doubling(100 * MS, 2000 * MS));
        // 0, +100, +200, +400, +800; the next one would be at 3100.
        assert_eq!(silence(doubling), (vec![0, 100, 300, 700, 1500], 2000));
        let (_, long) = transaction(Timing::doubling(500 * MS, 39_500 * MS));
        // RFC 8489 section 6.2.1: the same seven moments and the same end.
        assert_eq!(silence(long), (vec![0, 500, 1500, 3500, 7500, 15_500, 31_500], 39_500));
        let (_, steady) = transaction(Timing::steady(50 * MS, 3, 200 * MS));
        assert_eq!(silence(steady), (vec![0, 50, 100], 300));
        let (_, once) = transaction(Timing::once(700 * MS));
        assert_eq!(silence(once), (vec![0], 700));
    }

    #[test]
    fn only_the_right_answer_from_the_right_address_is_believed() {
        let (request, mut waiting) = transaction(Timing::doubling(100 * MS, 2000 * MS));
        let server = address("192.0.2.1:3478");
        assert!(matches!(waiting.poll(Time::ZERO), Some(Output::Send { to, .. }) if to == server));
        let now = Time::ZERO + 30 * MS;
        let mapped = Attribute::XorMappedAddress(address("203.0.113.9:1000"));
        let right = Message::success_to(&request).with(mapped.clone());
        let wrong_id = Message { transaction: TransactionId([9; 12]), ..right.clone() };
        let wrong_class = Message { class: Class::Indication, ..right.clone() };
        let wrong_method = Message { method: Method::ALLOCATE, ..right.clone() };
        for message in [wrong_id, wrong_class, wrong_method, request] {
            let bytes = message.encode(None, false).expect("small");
            assert!(!waiting.handle(now, server, &decode(&bytes).expect("valid")), "{message:?}");
        }
        let bytes = right.encode(None, false).expect("small");
        let received = decode(&bytes).expect("valid");
        for other in ["192.0.2.1:3479", "192.0.2.2:3478", "[2001:db8::1]:3478"] {
            assert!(!waiting.handle(now, address(other), &received), "{other}");
        }
        assert!(waiting.handle(now, address("[::ffff:192.0.2.1]:3478"), &received));
        assert!(!waiting.handle(now, server, &received), "the second one comes too late");
        let Some(Output::Done(Outcome::Answered { message, round_trip, .. })) = waiting.poll(now) else {
            panic!("answered")
        };
        assert_eq!((message, round_trip), (right, Some(30 * MS)));
        assert_eq!((waiting.poll(now), waiting.next_timeout()), (None, None));
    }

    #[test]
    fn an_answer_to_one_of_two_requests_tells_no_round_trip_and_unknown_attributes_fail() {
        let (request, mut waiting) = transaction(Timing::doubling(100 * MS, 2000 * MS));
        let _ = waiting.poll(Time::ZERO);
        let now = Time::ZERO + 100 * MS;
        waiting.handle_timeout(now);
        assert!(matches!(waiting.poll(now), Some(Output::Send { .. })));
        let bytes = Message::success_to(&request).encode(None, false).expect("small");
        assert!(waiting.handle(now, waiting.to(), &decode(&bytes).expect("valid")));
        assert!(matches!(waiting.poll(now), Some(Output::Done(Outcome::Answered { round_trip: None, .. }))));

        let (request, mut waiting) = transaction(Timing::once(100 * MS));
        let mut bytes = Message::success_to(&request).encode(None, false).expect("small");
        bytes.extend([0x77, 0x77, 0, 0]);
        bytes[3] = 4;
        let _ = waiting.poll(Time::ZERO);
        assert!(waiting.handle(now, waiting.to(), &decode(&bytes).expect("valid")));
        assert_eq!(waiting.poll(now), Some(Output::Done(Outcome::Nothing)));
    }
}
