//! How long an idle UDP mapping lives (RFC 5780 section 4.6): a long-running pure machine, off unless asked for. A
//! fresh socket makes a mapping, stays silent for a while, and then a second socket has the server answer to the first
//! one's mapping (RESPONSE-PORT); a binary search over the silence finds the limit. Not here: sockets, and keeping
//! mappings alive.
//!
//! The server must support RESPONSE-PORT; asking from the first socket again would renew the mapping, and a NAT that
//! keeps ports gives the same one again.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;

use crate::base::random::Jitter;
use crate::base::time::Time;
use crate::nat::stun::attribute::Attribute;
use crate::nat::stun::message::{Message, Method, TransactionId, decode};
use crate::nat::stun::transaction::{Outcome, Output as Step, Timing, Transaction};

/// What the driver must do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Replace the first socket by a fresh one.
    Renew,
    /// Send from the first or the second socket.
    Send {
        /// From the second one.
        second: bool,
        /// The server.
        to: SocketAddr,
        /// What.
        bytes: Bytes,
    },
    /// The end; comes once. A mapping lived at least so long without traffic; `None` if that could not be told.
    Done(Option<Duration>),
}

/// The search.
#[derive(Debug)]
pub struct Lifetime {
    server: SocketAddr,
    random: Jitter,
    /// Mappings lived for `low`, and did not for `high`.
    low: Duration,
    high: Duration,
    precision: Duration,
    stage: Stage,
    renew: bool,
    done: bool,
}

#[derive(Debug)]
enum Stage {
    /// The first socket makes a mapping.
    Make(Transaction),
    /// Nobody sends until the moment comes; then the answer shall go to this port.
    Silence {
        until: Time,
        port: u16,
    },
    /// The second socket asks for an answer at the first one's port.
    Probe {
        transaction: Transaction,
    },
    End(Option<Duration>),
}

impl Lifetime {
    /// Searches between a moment and `most`, until the limit is known to `precision`.
    pub fn new(now: Time, server: SocketAddr, most: Duration, precision: Duration, random: Jitter) -> Self {
        let mut machine = Self {
            server,
            random,
            low: Duration::ZERO,
            high: most + precision,
            precision: precision.max(Duration::from_millis(100)),
            stage: Stage::End(None),
            renew: false,
            done: false,
        };
        machine.make(now);
        machine
    }

    /// A datagram came in at the first or the second socket.
    pub fn handle(&mut self, now: Time, second: bool, from: SocketAddr, bytes: &[u8]) {
        let Ok(received) = decode(bytes) else { return };
        let answered = match &mut self.stage {
            Stage::Make(transaction) => !second && transaction.handle(now, from, &received),
            Stage::Probe { transaction } => transaction.handle(now, from, &received),
            Stage::Silence { .. } | Stage::End(_) => false,
        };
        if !answered {
            return;
        }
        let mapped = received.message.mapped_address();
        match (&self.stage, mapped) {
            (Stage::Make(_), Some(mapped)) => {
                self.stage = Stage::Silence { until: now + self.guess(), port: mapped.port() };
            }
            (Stage::Probe { .. }, Some(_)) if !second => {
                self.low = self.guess();
                self.make(now);
            }
            // An error, or an answer at the second socket, means that the server does not do this.
            _ => self.stage = Stage::End(None),
        }
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Time) {
        match &mut self.stage {
            Stage::Make(transaction) | Stage::Probe { transaction } => transaction.handle_timeout(now),
            Stage::Silence { until, port } if now >= *until => {
                let request = Message::request(Method::BINDING, TransactionId::random(&mut self.random))
                    .with(Attribute::ResponsePort(*port));
                let timing = Timing::steady(Duration::from_millis(300), 4, Duration::from_secs(1));
                self.stage = match Transaction::plain(now, &request, self.server, timing) {
                    Ok(transaction) => Stage::Probe { transaction },
                    Err(_) => Stage::End(None),
                };
            }
            Stage::Silence { .. } | Stage::End(_) => {}
        }
    }

    /// The next thing to do.
    pub fn poll(&mut self, now: Time) -> Option<Output> {
        if std::mem::take(&mut self.renew) {
            return Some(Output::Renew);
        }
        let (second, step) = match &mut self.stage {
            Stage::Make(transaction) => (false, transaction.poll(now)?),
            Stage::Probe { transaction } => (true, transaction.poll(now)?),
            Stage::Silence { .. } => return None,
            Stage::End(result) => {
                let result = *result;
                return (!std::mem::replace(&mut self.done, true)).then_some(Output::Done(result));
            }
        };
        match step {
            Step::Send { to, bytes } => Some(Output::Send { second, to, bytes }),
            Step::Done(Outcome::Nothing) if second => {
                self.high = self.guess();
                self.make(now);
                self.poll(now)
            }
            Step::Done(_) => {
                self.stage = Stage::End(None);
                self.poll(now)
            }
        }
    }

    /// When [`Self::handle_timeout`] wants to be called; `None` after the end.
    pub fn next_timeout(&self) -> Option<Time> {
        match &self.stage {
            Stage::Make(transaction) | Stage::Probe { transaction } => transaction.next_timeout(),
            Stage::Silence { until, .. } => Some(*until),
            Stage::End(_) => None,
        }
    }

    /// The silence tried now.
    fn guess(&self) -> Duration {
        (self.low + self.high) / 2
    }

    /// Starts the next round, or ends when the limit is known well enough.
    fn make(&mut self, now: Time) {
        if self.high.saturating_sub(self.low) <= self.precision {
            // Never having lived through any silence may also mean a server without RESPONSE-PORT.
            self.stage = Stage::End((!self.low.is_zero()).then_some(self.low));
            return;
        }
        self.renew = true;
        let request = Message::request(Method::BINDING, TransactionId::random(&mut self.random));
        let timing = Timing::doubling(Duration::from_millis(300), Duration::from_secs(3));
        self.stage = match Transaction::plain(now, &request, self.server, timing) {
            Ok(transaction) => Stage::Make(transaction),
            Err(_) => Stage::End(None),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the search behind a NAT that forgets after `lives`; the server does RESPONSE-PORT or not.
    fn search(lives: Duration, supported: bool) -> (Option<Duration>, Duration) {
        let server: SocketAddr = "192.0.2.1:3478".parse().expect("valid");
        let most = Duration::from_secs(200);
        let mut now = Time::ZERO;
        let mut machine = Lifetime::new(now, server, most, Duration::from_secs(2), Jitter::from_seed(4));
        let (mut port, mut made) = (1000, Time::ZERO);
        for _ in 0..1000 {
            while let Some(output) = machine.poll(now) {
                match output {
                    Output::Renew => port += 1,
                    Output::Done(result) => {
                        assert_eq!((machine.poll(now), machine.next_timeout()), (None, None));
                        return (result, now.since(Time::ZERO));
                    }
                    Output::Send { second, to, bytes } => {
                        assert_eq!(to, server);
                        let request = decode(&bytes).expect("ours").message;
                        let wanted = request.find(|attribute| match attribute {
                            Attribute::ResponsePort(port) => Some(*port),
                            _ => None,
                        });
                        assert_eq!(wanted, second.then_some(port));
                        let seen = SocketAddr::from(([203, 0, 113, 1], port));
                        let answer = Message::success_to(&request).with(Attribute::XorMappedAddress(seen));
                        let answer = answer.encode(None, false).expect("small");
                        let alive = now.since(made) <= lives;
                        if !second {
                            made = now;
                            machine.handle(now, false, server, &answer);
                        } else if !supported {
                            machine.handle(now, true, server, &answer);
                        } else if alive {
                            machine.handle(now, false, server, &answer);
                        }
                    }
                }
            }
            now = machine.next_timeout().expect("still searching");
            machine.handle_timeout(now);
        }
        panic!("the search does not end")
    }

    #[test]
    fn the_search_closes_in_on_the_limit_from_below() {
        for seconds in [5, 30, 65, 120, 199] {
            let lives = Duration::from_secs(seconds);
            let (found, took) = search(lives, true);
            let found = found.expect("found");
            assert!(found <= lives && found + Duration::from_secs(4) > lives, "{seconds}: {found:?}");
            // Seven halvings of at most 200 s of silence each.
            assert!(took < Duration::from_secs(7 * 200), "{took:?}");
        }
    }

    #[test]
    fn nothing_is_claimed_without_the_servers_help() {
        assert_eq!(search(Duration::from_secs(60), false).0, None);
        assert_eq!(search(Duration::ZERO, true).0, None);
    }
}
