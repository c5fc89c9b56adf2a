//! Answers Binding requests, so that peers tell each other their public endpoints: the raw observed address, never
//! more bytes than came in, and a bounded number. A pure machine. Not here: connectivity checks of ICE, which carry
//! credentials, and everything else that a STUN server for the public does.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use super::attribute::Attribute;
use super::message::{Class, Message, Method, Received, decode};
use crate::base::limits;
use crate::base::time::Time;

/// The span that answers are counted over.
const WINDOW: Duration = Duration::from_secs(1);

/// Whether a datagram is a request for this responder: Binding, without credentials. Cheap enough for every STUN
/// datagram of a port.
pub fn is_for_us(datagram: &[u8]) -> bool {
    datagram.starts_with(&[0, 1]) && decode(datagram).is_ok_and(|received| is_plain_binding(&received))
}

/// The counters of the responder.
#[derive(Debug, Default)]
pub struct Responder {
    sources: HashMap<IpAddr, Count>,
    all: Count,
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    since: Time,
    answers: u32,
}

impl Responder {
    /// The answer to a datagram, if it deserves one: at most as long as the request, so that a forged sender address
    /// gains nothing.
    pub fn answer(&mut self, now: Time, from: SocketAddr, datagram: &[u8]) -> Option<Vec<u8>> {
        let received = decode(datagram).ok().filter(is_plain_binding)?;
        let request = &received.message;
        let mut unknown = received.unknown.clone();
        // We have no second address to answer from.
        unknown.extend(request.attributes.iter().filter(|attribute| is_refused(attribute)).map(Attribute::number));
        let answer = if unknown.is_empty() {
            let observed = SocketAddr::new(from.ip().to_canonical(), from.port());
            Message::success_to(request).with(Attribute::XorMappedAddress(observed))
        } else {
            unknown.truncate(4);
            Message::error_to(request, 420, "").with(Attribute::UnknownAttributes(unknown))
        };
        let bytes = answer.encode(None, received.fingerprint).ok()?;
        (bytes.len() <= datagram.len() && self.admit(now, from.ip())).then_some(bytes)
    }

    /// Sources counted, for checking the bound.
    pub fn sources(&self) -> usize {
        self.sources.len()
    }

    fn admit(&mut self, now: Time, source: IpAddr) -> bool {
        let source = site(source);
        if !self.sources.contains_key(&source) && self.sources.len() >= limits::STUN_SERVED_SOURCES {
            self.sources.retain(|_, count| now.since(count.since) < WINDOW);
            if self.sources.len() >= limits::STUN_SERVED_SOURCES {
                return false;
            }
        }
        let count = self.sources.entry(source).or_default();
        count.admit(now, limits::STUN_ANSWERS_PER_SOURCE) && self.all.admit(now, limits::STUN_ANSWERS)
    }
}

impl Count {
    fn admit(&mut self, now: Time, most: u32) -> bool {
        if self.answers == 0 || now.since(self.since) >= WINDOW {
            *self = Self { since: now, answers: 0 };
        }
        self.answers = self.answers.saturating_add(1);
        self.answers <= most
    }
}

fn is_plain_binding(received: &Received<'_>) -> bool {
    let message = &received.message;
    message.class == Class::Request
        && message.method == Method::BINDING
        && !received.is_signed()
        && message.username().is_none()
}

fn is_refused(attribute: &Attribute) -> bool {
    match attribute {
        Attribute::ChangeRequest { ip, port } => *ip || *port,
        Attribute::ResponsePort(_) => true,
        _ => false,
    }
}

/// What counts as one source: an IPv4 address, or the /64 that one IPv6 host can choose from freely.
fn site(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64)),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nat::stun::CLIENT_SOFTWARE;
    use crate::nat::stun::integrity::Key;
    use crate::nat::stun::message::TransactionId;

    fn request() -> Message {
        Message::request(Method::BINDING, TransactionId([3; 12]))
    }

    fn padded() -> Message {
        request().with(Attribute::Software(CLIENT_SOFTWARE.to_owned()))
    }

    fn bytes(message: &Message, fingerprint: bool) -> Vec<u8> {
        message.encode(None, fingerprint).expect("small")
    }

    #[test]
    fn the_raw_address_is_reported() {
        for (from, observed) in [
            ("203.0.113.7:4001", "203.0.113.7:4001"),
            ("[::ffff:203.0.113.7]:4001", "203.0.113.7:4001"),
            ("[2001:db8::7]:4001", "[2001:db8::7]:4001"),
        ] {
            for fingerprint in [false, true] {
                let asked = bytes(&padded(), fingerprint);
                assert!(is_for_us(&asked));
                let from = from.parse().expect("valid");
                let answer = Responder::default().answer(Time::ZERO, from, &asked).expect("answered");
                let received = decode(&answer).expect("valid");
                assert_eq!(received.message.mapped_address(), Some(observed.parse().expect("valid")));
                assert_eq!(received.message.transaction, padded().transaction);
                assert_eq!(received.fingerprint, fingerprint);
            }
        }
    }

    #[test]
    fn an_answer_is_never_longer_than_the_request() {
        let from: SocketAddr = "203.0.113.7:4001".parse().expect("valid");
        let mut responder = Responder::default();
        let mut now = Time::ZERO;
        let mut answered = 0;
        for padding in 0..64 {
            for attribute in [Attribute::Padding(padding), Attribute::ChangeRequest { ip: true, port: false }] {
                for fingerprint in [false, true] {
                    let asked =
                        bytes(&request().with(attribute.clone()).with(Attribute::Padding(padding)), fingerprint);
                    now = now + WINDOW;
                    if let Some(answer) = responder.answer(now, from, &asked) {
                        assert!(answer.len() <= asked.len());
                        answered += 1;
                    }
                }
            }
        }
        assert!(answered > 100, "{answered}");
        assert_eq!(responder.answer(now + WINDOW, from, &bytes(&request(), false)), None, "a bare request");
    }

    #[test]
    fn what_is_not_for_us_stays_unanswered() {
        let from = "203.0.113.7:4001".parse().expect("valid");
        let check = padded().with(Attribute::Username("a:b".to_owned()));
        let signed = padded().encode(Some(&Key::short_term("x")), true).expect("small");
        let indication = Message { class: Class::Indication, ..padded() };
        let allocate = Message { method: Method::ALLOCATE, ..padded() };
        for asked in [bytes(&check, true), signed, bytes(&indication, false), bytes(&allocate, false), vec![0; 60]] {
            assert!(!is_for_us(&asked));
            assert_eq!(Responder::default().answer(Time::ZERO, from, &asked), None);
        }
        let change = bytes(&padded().with(Attribute::ChangeRequest { ip: true, port: true }), false);
        let refusal = Responder::default().answer(Time::ZERO, from, &change).expect("answered");
        let refusal = decode(&refusal).expect("valid").message;
        assert_eq!(refusal.error_code(), Some((420, "")));
        assert_eq!(refusal.attributes[1], Attribute::UnknownAttributes(vec![0x0003]));
    }

    #[test]
    fn answers_are_bounded_per_source_and_in_all() {
        let asked = bytes(&padded(), false);
        let mut responder = Responder::default();
        let one = |port| SocketAddr::from(([203, 0, 113, 7], port));
        let mut answers = |now, from| u32::from(responder.answer(now, from, &asked).is_some());
        let first: u32 = (1..=100).map(|port| answers(Time::ZERO, one(port))).sum();
        assert_eq!(first, limits::STUN_ANSWERS_PER_SOURCE);
        assert_eq!(answers(Time::ZERO + WINDOW, one(1)), 1);
        // The same /64 is one source, however many addresses it uses.
        let later = Time::ZERO + WINDOW * 3;
        let host = |low: u16| SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, low], 9));
        assert_eq!((1..=100).map(|low| answers(later, host(low))).sum::<u32>(), limits::STUN_ANSWERS_PER_SOURCE);
        let many = |number: u32| SocketAddr::from((std::net::Ipv4Addr::from_bits(0x0b00_0000 + number), 9));
        let now = Time::ZERO + WINDOW * 10;
        assert_eq!((0..5000).map(|number| answers(now, many(number))).sum::<u32>(), limits::STUN_ANSWERS);
        assert!(responder.sources() <= limits::STUN_SERVED_SOURCES);
    }
}
