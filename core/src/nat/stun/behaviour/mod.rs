//! NAT behaviour discovery (RFC 5780, and by comparing servers where none supports it): a pure machine that asks
//! several servers from several sockets and tells what stands between us and them, for one address family.
//!
//! Round one: the main socket asks all servers. With the first answer a series of fresh sockets asks that server, which
//! shows how ports are allocated. A server with another address (OTHER-ADDRESS) is asked there too (mapping), and asked
//! from one more fresh socket to answer from there (filtering); fresh, so that the mapping's packets have not opened
//! the filter. Two sockets send to each other's public endpoint (hairpin). If UDP stays silent, servers are asked over
//! TCP. Not here: sockets and names (`driver`), how long a mapping lives (`lifetime`).

pub mod classify;
mod findings;
mod hairpin;
pub mod lifetime;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;

use self::classify::{FilterTests, Sample};
use self::hairpin::Hairpin;
use super::attribute::Attribute;
use super::message::{Class, Message, Method, TransactionId, decode};
use super::redirect;
use super::transaction::{self, Outcome, Timing, Transaction, is_same};
use crate::base::limits;
use crate::base::random::Jitter;
use crate::base::time::Time;

pub use findings::{Findings, profile};

/// Sockets that the filtering tests use up, one for each server that supports them.
pub const FILTER_SOCKETS: usize = 2;
/// Sockets of the series that shows the port allocation.
pub const SERIES_SOCKETS: usize = 7;
/// Repeats of a request whose answer a filter may swallow.
const FILTER_ATTEMPTS: u32 = 5;

/// What to examine, with which sockets.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Servers of one address family, by operator: all addresses of one name stand together.
    pub servers: Vec<Vec<SocketAddr>>,
    /// The addresses of our sockets, each with the IP address it sends from. First the main ones (see `mains`), then
    /// [`FILTER_SOCKETS`], then up to [`SERIES_SOCKETS`], all of the latter two unused so far. With fewer, less is found out.
    pub sockets: Vec<SocketAddr>,
    /// How many of the sockets ask every server. The last of them is the one whose public endpoint is reported; a
    /// node adds its own port here, because ports that other hosts use too behave worse.
    pub mains: usize,
    /// Everything ends after this.
    pub total: Duration,
}

/// What the driver must do.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Send a datagram from a socket.
    Send {
        /// Index into [`Plan::sockets`].
        socket: usize,
        /// Where to.
        to: SocketAddr,
        /// What.
        bytes: Bytes,
    },
    /// Ask this server over TCP, and tell the result with [`Discovery::handle_tcp`].
    AskTcp(SocketAddr),
    /// The end; comes once.
    Done(Findings),
}

/// The machine.
#[derive(Debug)]
pub struct Discovery {
    plan: Plan,
    random: Jitter,
    started: Time,
    tests: Vec<Test>,
    filters: Vec<FilterRun>,
    hairpin: Option<Hairpin>,
    round_trip: Option<Duration>,
    series_sent: bool,
    tcp: Tcp,
    out: VecDeque<Output>,
    /// The moment of the last input.
    now: Time,
    ended: bool,
}

/// One request, what it is for, and what came of it.
#[derive(Debug)]
struct Test {
    socket: usize,
    operator: usize,
    purpose: Purpose,
    transaction: Transaction,
    mapped: Option<SocketAddr>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// What do you see of me?
    Mapping,
    /// The same from the socket of a filtering run: index into `filters`.
    Control(usize),
    /// Answer from your other address and port.
    OtherAddress(usize),
    /// Answer from your other port.
    OtherPort(usize),
}

/// The filtering tests with one server.
#[derive(Debug)]
struct FilterRun {
    server: SocketAddr,
    other: SocketAddr,
    tests: FilterTests,
}

#[derive(Debug, Default)]
struct Tcp {
    asked: usize,
    answered: usize,
    works: bool,
}

impl Discovery {
    /// Begins. `random` must be seeded by the operating system: it chooses the transaction ids.
    pub fn new(now: Time, mut plan: Plan, random: Jitter) -> Self {
        plan.mains = plan.mains.min(plan.sockets.len());
        let mut left = limits::MAX_STUN_SERVERS;
        for addresses in &mut plan.servers {
            addresses.truncate(left);
            left -= addresses.len();
        }
        let mut machine = Self {
            plan,
            random,
            started: now,
            tests: Vec::new(),
            filters: Vec::new(),
            hairpin: None,
            round_trip: None,
            series_sent: false,
            tcp: Tcp::default(),
            out: VecDeque::new(),
            now,
            ended: false,
        };
        let timing = Timing::doubling(limits::STUN_RTO, limits::STUN_SILENCE.min(machine.plan.total));
        for socket in 0..machine.plan.mains {
            for operator in 0..machine.plan.servers.len() {
                for server in machine.plan.servers[operator].clone() {
                    machine.ask(now, socket, operator, Purpose::Mapping, server, timing, None);
                }
            }
        }
        machine.advance(now);
        machine
    }

    /// A datagram came in at a socket.
    pub fn handle(&mut self, now: Time, socket: usize, from: SocketAddr, bytes: &[u8]) {
        let Ok(received) = decode(bytes) else { return };
        if received.message.class == Class::Request {
            if let Some(hairpin) = &mut self.hairpin {
                hairpin.handle(socket, &received.message);
            }
        } else if let Some(at) = self
            .tests
            .iter_mut()
            .position(|test| test.socket == socket && test.transaction.handle(now, from, &received))
        {
            self.finish_test(now, at);
        }
        self.advance(now);
    }

    /// A server was asked over TCP: whether it gave a STUN answer.
    pub fn handle_tcp(&mut self, now: Time, works: bool) {
        self.tcp.answered += 1;
        self.tcp.works |= works;
        self.advance(now);
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Time) {
        for test in &mut self.tests {
            test.transaction.handle_timeout(now);
        }
        self.advance(now);
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// When [`Self::handle_timeout`] wants to be called; `None` after the end.
    pub fn next_timeout(&self) -> Option<Time> {
        if self.ended {
            return None;
        }
        let tests = self.tests.iter().filter_map(|test| test.transaction.next_timeout());
        let hairpin = self.hairpin.iter().filter_map(Hairpin::next_timeout);
        let tcp = (self.round_trip.is_none() && self.tcp.asked == 0).then(|| self.started + limits::STUN_TCP_AFTER);
        let patience = self.patience().filter(|end| *end > self.now);
        let next = tests.chain(hairpin).chain(tcp).chain(patience).min().unwrap_or(Time::NEVER);
        Some(next.min(self.started + self.plan.total))
    }

    #[expect(clippy::too_many_arguments, reason = "one place makes all requests")]
    fn ask(
        &mut self,
        now: Time,
        socket: usize,
        operator: usize,
        purpose: Purpose,
        to: SocketAddr,
        timing: Timing,
        source: Option<SocketAddr>,
    ) {
        let mut request = Message::request(Method::BINDING, TransactionId::random(&mut self.random));
        match purpose {
            Purpose::Mapping | Purpose::Control(_) => {}
            Purpose::OtherAddress(_) => request.attributes.push(Attribute::ChangeRequest { ip: true, port: true }),
            Purpose::OtherPort(_) => request.attributes.push(Attribute::ChangeRequest { ip: false, port: true }),
        }
        request.attributes.push(Attribute::Software(super::CLIENT_SOFTWARE.to_owned()));
        let Ok(mut transaction) = Transaction::plain(now, &request, to, timing) else { return };
        if let Some(source) = source {
            transaction = transaction.also_from(source);
        }
        self.tests.push(Test { socket, operator, purpose, transaction, mapped: None });
    }

    /// Takes what a transaction ended with and starts what it makes possible.
    fn finish_test(&mut self, now: Time, at: usize) {
        let test = &mut self.tests[at];
        let mut outcome = None;
        while let Some(output) = test.transaction.poll(now) {
            if let transaction::Output::Done(end) = output {
                outcome = Some(end);
            }
        }
        let Some(Outcome::Answered { message, from, round_trip }) = outcome else { return };
        let (socket, operator, purpose, server) = (test.socket, test.operator, test.purpose, test.transaction.to());
        let local = self.plan.sockets[socket];
        let mapped = message.mapped_address().filter(|mapped| {
            let ip = mapped.ip();
            let plausible = mapped.port() != 0 && !ip.is_unspecified() && !ip.is_multicast();
            plausible && ip.is_ipv4() == local.ip().to_canonical().is_ipv4() && message.class == Class::Success
        });
        match purpose {
            Purpose::Mapping => test.mapped = mapped,
            Purpose::Control(run) => {
                test.mapped = mapped;
                self.filters[run].tests.control = mapped.is_some();
            }
            Purpose::OtherAddress(run) | Purpose::OtherPort(run) => {
                let moved = !is_same(from, server) && message.class == Class::Success;
                let tests = &mut self.filters[run].tests;
                match purpose {
                    Purpose::OtherAddress(_) => tests.from_other_address = moved,
                    _ => tests.from_other_port = moved,
                }
                tests.refused |= !moved;
            }
        }
        let (Some(mapped), Purpose::Mapping) = (mapped, purpose) else { return };
        let round_trip = round_trip.unwrap_or(limits::STUN_RTO);
        self.round_trip = Some(self.round_trip.map_or(round_trip, |known| known.max(round_trip)));
        if socket < self.plan.mains {
            if mapped != local && !self.series_sent {
                self.series_sent = true;
                self.start_series(now, operator, server, round_trip);
            }
            let other = message.find(|attribute| match attribute {
                Attribute::OtherAddress(other) => Some(*other),
                _ => None,
            });
            if let Some(other) = other {
                self.use_other(now, operator, server, other, round_trip);
            }
        }
    }

    fn start_series(&mut self, now: Time, operator: usize, server: SocketAddr, round_trip: Duration) {
        let first = self.plan.mains + FILTER_SOCKETS;
        for socket in first..self.plan.sockets.len().min(first + SERIES_SOCKETS) {
            self.ask(now, socket, operator, Purpose::Mapping, server, follow_up(round_trip), None);
        }
    }

    /// Tests that need a server's other address: its three other endpoints are asked by the main sockets, and a fresh
    /// socket asks to be answered from there.
    fn use_other(&mut self, now: Time, operator: usize, server: SocketAddr, other: SocketAddr, round_trip: Duration) {
        let usable = other.ip() != server.ip() && other.port() != server.port();
        let run = self.filters.len();
        let socket = self.plan.mains + run;
        let known = self.filters.iter().any(|filter| filter.server == server || filter.server.ip() == other.ip());
        let is_primary = self.plan.servers.get(operator).is_some_and(|addresses| addresses.contains(&server));
        if !usable || known || !is_primary || run >= FILTER_SOCKETS || !redirect::is_allowed(server.ip(), other) {
            return;
        }
        let other_port = SocketAddr::new(server.ip(), other.port());
        let other_ip = SocketAddr::new(other.ip(), server.port());
        self.filters.push(FilterRun { server, other, tests: FilterTests::default() });
        for main in 0..self.plan.mains {
            for destination in [other, other_port, other_ip] {
                self.ask(now, main, operator, Purpose::Mapping, destination, follow_up(round_trip), None);
            }
        }
        if socket < self.plan.sockets.len() {
            let interval = round_trip.clamp(Duration::from_millis(30), Duration::from_millis(200));
            let patience = (round_trip * 2).clamp(Duration::from_millis(100), Duration::from_millis(500));
            let timing = Timing::steady(interval, FILTER_ATTEMPTS, patience);
            self.ask(now, socket, operator, Purpose::Control(run), server, follow_up(round_trip), None);
            self.ask(now, socket, operator, Purpose::OtherAddress(run), server, timing, Some(other));
            self.ask(now, socket, operator, Purpose::OtherPort(run), server, timing, Some(other_port));
        }
    }

    /// Sends what is due, starts what has become possible, and ends when nothing more can be learned.
    fn advance(&mut self, now: Time) {
        if self.ended {
            return;
        }
        self.now = now;
        for test in &mut self.tests {
            while let Some(output) = test.transaction.poll(now) {
                if let transaction::Output::Send { to, bytes } = output {
                    self.out.push_back(Output::Send { socket: test.socket, to, bytes });
                }
            }
        }
        if self.round_trip.is_none() && self.tcp.asked == 0 && now >= self.started + limits::STUN_TCP_AFTER {
            for server in
                self.plan.servers.iter().filter_map(|addresses| addresses.first()).take(limits::STUN_TCP_SERVERS)
            {
                self.out.push_back(Output::AskTcp(*server));
                self.tcp.asked += 1;
            }
        }
        if self.hairpin.is_none() {
            self.start_hairpin(now);
        }
        if let Some(hairpin) = &mut self.hairpin {
            let due = hairpin.due(now).into_iter();
            self.out.extend(due.map(|(socket, to, bytes)| Output::Send { socket, to, bytes }));
        }
        let over = now >= self.started + self.plan.total;
        if over || self.is_complete(now) {
            self.ended = true;
            let findings = self.findings();
            self.out.push_back(Output::Done(findings));
        }
    }

    fn start_hairpin(&mut self, now: Time) {
        let first = self.plan.mains + FILTER_SOCKETS;
        let public = |wanted: &dyn Fn(usize) -> bool| {
            self.tests.iter().find_map(|test| {
                let mapped = test.mapped.filter(|mapped| *mapped != self.plan.sockets[test.socket])?;
                let safe = redirect::is_allowed(test.transaction.to().ip(), mapped);
                (wanted(test.socket) && test.purpose == Purpose::Mapping && safe).then_some((test.socket, mapped))
            })
        };
        if let (Some(one), Some(two)) = (public(&|socket| socket == 0), public(&|socket| socket >= first)) {
            self.hairpin = Some(Hairpin::new(now, &mut self.random, one, two));
        }
    }

    /// The samples in the order of their requests.
    fn samples(&self) -> Vec<Sample> {
        let sample = |test: &Test| {
            Some(Sample {
                socket: test.socket,
                local: self.plan.sockets[test.socket],
                operator: test.operator,
                destination: test.transaction.to(),
                mapped: test.mapped?,
            })
        };
        self.tests.iter().filter_map(sample).collect()
    }

    fn findings(&self) -> Findings {
        let answers = |to: SocketAddr| {
            let mut tests = self.tests.iter().filter(|test| test.transaction.to() == to && test.mapped.is_some());
            tests.any(|test| test.purpose == Purpose::Mapping)
        };
        let runs = self.filters.iter().map(|run| FilterTests {
            other_address_answers: answers(run.other),
            other_port_answers: answers(SocketAddr::new(run.server.ip(), run.other.port())),
            ..run.tests
        });
        let hairpin = self.hairpin.as_ref().and_then(Hairpin::result);
        Findings::new(
            self.samples(),
            self.plan.mains,
            runs.filter_map(classify::filtering).min(),
            hairpin,
            self.tcp.works,
        )
    }

    /// How long the first round waits for the rest once someone has answered.
    fn patience(&self) -> Option<Time> {
        let round_trip = self.round_trip?;
        Some(self.started + (round_trip * 4).max(limits::STUN_STRAGGLERS))
    }

    fn is_complete(&self, now: Time) -> bool {
        let mut open = self.tests.iter().filter(|test| !test.transaction.is_over()).peekable();
        let Some(patience) = self.patience() else {
            // Nobody has answered.
            return open.peek().is_none() && (self.tcp.works || self.tcp.answered == self.tcp.asked);
        };
        if self.hairpin.as_ref().is_some_and(|hairpin| hairpin.result().is_none()) {
            return false;
        }
        // Servers that are named but dead must not hold up what is known already.
        let only_stragglers = open.all(|test| self.is_first_round(test));
        let all_over = self.tests.iter().all(|test| test.transaction.is_over());
        all_over || (only_stragglers && now >= patience && classify::mapping(&self.samples()).is_some())
    }

    fn is_first_round(&self, test: &Test) -> bool {
        let addresses = self.plan.servers.get(test.operator);
        let is_primary = addresses.is_some_and(|addresses| addresses.contains(&test.transaction.to()));
        test.purpose == Purpose::Mapping && test.socket < self.plan.mains && is_primary
    }
}

/// Timing of a request to a server whose round trip is known.
fn follow_up(round_trip: Duration) -> Timing {
    let rto = (round_trip * 2).clamp(Duration::from_millis(60), Duration::from_millis(400));
    let total = (round_trip * 8).clamp(Duration::from_millis(400), Duration::from_millis(1200));
    Timing::doubling(rto, total)
}
