//! The TURN machine against a scripted server on virtual time: challenges, renewals, channels, ends and every error.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use dig_nat_core::ErrorKind;
use dig_nat_core::base::limits;
use dig_nat_core::base::random::Jitter;
use dig_nat_core::base::time::Time;
use dig_nat_core::nat::stun::{Attribute, Class, Family, Integrity, Key, Message, Method, TransactionId, decode};
use dig_nat_core::nat::turn::framing::{decode_channel_data, encode_channel_data};
use dig_nat_core::nat::turn::{Client, Config, Credentials, Output, TurnFailure};

const SECOND: Duration = Duration::from_secs(1);

fn at(text: &str) -> SocketAddr {
    text.parse().expect("valid")
}

fn config() -> Config {
    Config {
        server: at("198.51.100.1:3478"),
        stream: false,
        credentials: Some(Credentials { username: "user".to_owned(), password: "pass".to_owned() }),
        family: None,
        lifetime: Duration::from_secs(600),
    }
}

fn key() -> Key {
    Key::long_term("user", "realm", "pass")
}

/// The machine, its clock, and what it wanted to be known.
struct Bench {
    client: Client,
    now: Time,
    sent: Vec<Bytes>,
    told: Vec<Output>,
}

impl Bench {
    fn new(config: Config) -> Self {
        let client = Client::new(Time::ZERO, config, Jitter::from_seed(1));
        let mut bench = Self { client, now: Time::ZERO, sent: Vec::new(), told: Vec::new() };
        bench.drain();
        bench
    }

    /// One that has allocated and forgets the way there.
    fn ready() -> Self {
        let mut bench = Self::new(config());
        bench.challenge(401, "nonce");
        bench.grant(600);
        assert!(matches!(bench.told(), Output::Ready { .. }));
        bench
    }

    fn drain(&mut self) {
        while let Some(output) = self.client.poll() {
            match output {
                Output::Send(bytes) => self.sent.push(bytes),
                other => self.told.push(other),
            }
        }
    }

    fn told(&mut self) -> Output {
        assert_eq!(self.told.len(), 1, "{:?}", self.told);
        self.told.remove(0)
    }

    /// The request that was just sent, and whether it is signed rightly.
    fn request(&mut self) -> (Message, bool) {
        assert_eq!(self.sent.len(), 1, "{:?}", self.sent);
        let bytes = self.sent.remove(0);
        let received = decode(&bytes).expect("our own message");
        (received.message.clone(), received.verify(&key()) == Integrity::Right)
    }

    fn receive(&mut self, message: &Message, key: Option<&Key>) {
        let bytes = message.encode(key, false).expect("small").into();
        self.client.handle(self.now, &bytes);
        self.drain();
    }

    fn challenge(&mut self, code: u16, nonce: &'static str) {
        let (request, _) = self.request();
        let answer = Message::error_to(&request, code, "")
            .with(Attribute::Realm("realm".to_owned()))
            .with(Attribute::Nonce(Bytes::from_static(nonce.as_bytes())));
        self.receive(&answer, None);
    }

    fn grant(&mut self, seconds: u32) {
        let (request, signed) = self.request();
        assert!(signed && request.method == Method::ALLOCATE, "{request:?}");
        let answer = Message::success_to(&request)
            .with(Attribute::XorRelayedAddress(at("198.51.100.1:50000")))
            .with(Attribute::XorMappedAddress(at("203.0.113.7:4000")))
            .with(Attribute::Lifetime(seconds));
        self.receive(&answer, Some(&key()));
    }

    /// Answers the request that was just sent with success.
    fn succeed(&mut self, attribute: Option<Attribute>) -> Message {
        let (request, signed) = self.request();
        assert!(signed, "{request:?}");
        let mut answer = Message::success_to(&request);
        answer.attributes.extend(attribute);
        self.receive(&answer, Some(&key()));
        request
    }

    fn fail(&mut self, code: u16) -> Message {
        let (request, _) = self.request();
        self.receive(&Message::error_to(&request, code, "reason"), None);
        request
    }

    /// Lets time pass until something is sent or told.
    fn wait(&mut self) {
        for _ in 0..100 {
            self.now = self.client.next_timeout().expect("still running").max(self.now);
            self.client.handle_timeout(self.now);
            self.drain();
            if !self.sent.is_empty() || !self.told.is_empty() {
                return;
            }
        }
        panic!("nothing happens");
    }

    fn permit(&mut self, peer: &str) {
        let ip: IpAddr = peer.parse().expect("valid");
        self.client.permit(self.now, ip).expect("room");
        self.drain();
        let request = self.succeed(None);
        assert_eq!(request.method, Method::CREATE_PERMISSION);
        assert_eq!(self.told(), Output::Permitted(ip));
    }
}

#[test]
fn the_first_request_is_bare_and_the_second_signed() {
    let mut bench = Bench::new(Config { family: Some(Family::V6), ..config() });
    let bytes = bench.sent[0].clone();
    let bare = decode(&bytes).expect("valid");
    assert!(!bare.is_signed() && bare.message.username().is_none());
    assert_eq!(bare.message.attributes[0], Attribute::RequestedTransport(17));
    assert!(bare.message.attributes.contains(&Attribute::RequestedAddressFamily(Family::V6)));
    bench.challenge(401, "nonce");
    let message = decode(&bench.sent[0]).expect("valid").message;
    assert_ne!(message.transaction, bare.message.transaction);
    assert!(message.attributes.contains(&Attribute::Nonce(Bytes::from_static(b"nonce"))));
    bench.grant(600);
    let (relayed, mapped) = (at("198.51.100.1:50000"), Some(at("203.0.113.7:4000")));
    let ready = Output::Ready { relayed, mapped, lifetime: Duration::from_secs(600) };
    assert_eq!(bench.told(), ready);
}

#[test]
fn a_prolongation_that_was_asked_for_is_reported_once() {
    let mut bench = Bench::ready();
    bench.client.refresh(bench.now, 60 * SECOND).expect("ready");
    bench.drain();
    let request = bench.succeed(Some(Attribute::Lifetime(50)));
    assert!(request.attributes.contains(&Attribute::Lifetime(60)), "{request:?}");
    assert_eq!(bench.told(), Output::Refreshed(50 * SECOND));
    // The next one is the machine's own, with the lifetime that was asked for last.
    bench.wait();
    let request = bench.succeed(Some(Attribute::Lifetime(50)));
    assert!(request.attributes.contains(&Attribute::Lifetime(60)), "{request:?}");
    assert!(bench.told.is_empty(), "{:?}", bench.told);
}

#[test]
fn a_success_that_the_server_cannot_have_signed_is_not_believed() {
    let mut bench = Bench::new(config());
    bench.challenge(401, "nonce");
    let (request, _) = bench.request();
    let forged = Message::success_to(&request)
        .with(Attribute::XorRelayedAddress(at("192.0.2.66:1")))
        .with(Attribute::Lifetime(600));
    bench.receive(&forged, None);
    bench.receive(&forged, Some(&Key::long_term("user", "realm", "other")));
    assert!(bench.told.is_empty(), "{:?}", bench.told);
    bench.receive(&forged, Some(&key()));
    assert!(matches!(bench.told(), Output::Ready { .. }));
}

#[test]
fn challenges_end() {
    let mut wrong = Bench::new(config());
    wrong.challenge(401, "one");
    wrong.challenge(401, "two");
    assert_eq!(wrong.told(), Output::Closed(Some(TurnFailure::WrongCredentials)));
    assert_eq!(wrong.client.next_timeout(), None);

    let mut stale = Bench::new(config());
    stale.challenge(401, "one");
    stale.challenge(438, "two");
    stale.challenge(438, "three");
    stale.challenge(438, "four");
    let told = stale.told();
    assert_eq!(told, Output::Closed(Some(TurnFailure::Refused { code: 438, reason: String::new() })));

    let mut none = Bench::new(Config { credentials: None, ..config() });
    none.challenge(401, "one");
    assert_eq!(none.told(), Output::Closed(Some(TurnFailure::CredentialsNeeded)));

    // 401 without realm and nonce cannot be answered.
    let mut empty = Bench::new(config());
    empty.fail(401);
    assert_eq!(empty.told(), Output::Closed(Some(TurnFailure::BadAnswer)));
}

#[test]
fn every_error_code_has_its_failure_and_says_what_to_do() {
    let cases = [
        (403, TurnFailure::Forbidden, ErrorKind::PeerUnreachable, "operator"),
        (437, TurnFailure::Mismatch, ErrorKind::ConnectionClosed, "another port"),
        (440, TurnFailure::FamilyUnsupported, ErrorKind::InvalidArgument, "other one"),
        (441, TurnFailure::WrongCredentials, ErrorKind::InvalidArgument, "turnPassword"),
        (442, TurnFailure::TransportUnsupported, ErrorKind::PeerUnreachable, "another server"),
        (443, TurnFailure::PeerFamilyMismatch, ErrorKind::InvalidArgument, "family"),
        (486, TurnFailure::QuotaReached, ErrorKind::LimitReached, "quota"),
        (508, TurnFailure::NoCapacity, ErrorKind::LimitReached, "later"),
        (
            420,
            TurnFailure::Refused { code: 420, reason: "reason".to_owned() },
            ErrorKind::PeerUnreachable,
            "420 reason",
        ),
    ];
    for (code, failure, kind, advice) in cases {
        let mut bench = Bench::new(config());
        bench.challenge(401, "nonce");
        bench.fail(code);
        assert_eq!(bench.told(), Output::Closed(Some(failure.clone())), "{code}");
        assert_eq!(failure.kind(), kind, "{code}");
        assert!(failure.to_string().contains(advice), "{code}: {failure}");
    }
}

#[test]
fn an_alternate_server_is_followed_only_where_it_may_lead() {
    let redirect = |to: &str| {
        let mut bench = Bench::new(config());
        let (request, _) = bench.request();
        bench.receive(&Message::error_to(&request, 300, "").with(Attribute::AlternateServer(at(to))), None);
        bench.told()
    };
    assert_eq!(redirect("198.51.100.9:3478"), Output::Redirect(at("198.51.100.9:3478")));
    for wrong in ["127.0.0.1:22", "10.0.0.1:80", "169.254.169.254:80", "198.51.100.1:3478", "[2001:db8::1]:1"] {
        assert_eq!(redirect(wrong), Output::Closed(Some(TurnFailure::BadRedirect)), "{wrong}");
    }
}

#[test]
fn the_allocation_is_refreshed_a_minute_before_its_end_and_ends_without_answer() {
    let mut bench = Bench::ready();
    bench.wait();
    assert_eq!(bench.now, Time::ZERO + 540 * SECOND);
    // A stale nonce on the way is no obstacle.
    bench.challenge(438, "fresh");
    let refresh = bench.succeed(Some(Attribute::Lifetime(8)));
    assert_eq!(refresh.method, Method::REFRESH);
    assert!(refresh.attributes.contains(&Attribute::Nonce(Bytes::from_static(b"fresh"))));
    // Short lives are refreshed at half time, and asked for until they end.
    bench.wait();
    assert_eq!(bench.now, Time::ZERO + 544 * SECOND);
    let (mut requests, mut rounds) = (0, 0);
    while bench.told.is_empty() {
        requests += bench.sent.len();
        bench.sent.clear();
        bench.wait();
        rounds += 1;
        assert!(rounds < 50);
    }
    assert_eq!(bench.told(), Output::Closed(Some(TurnFailure::Expired)));
    assert_eq!(bench.now, Time::ZERO + 548 * SECOND);
    // 0, 0.2, 0.6, 1.4 and 3 s.
    assert_eq!(requests, 5);
    assert_eq!(bench.client.next_timeout(), None);
}

#[test]
fn permissions_and_channels_are_renewed_while_they_are_used() {
    let mut bench = Bench::ready();
    let peer = at("203.0.113.50:6000");
    assert_eq!(bench.client.send(bench.now, peer, b"early"), Err(TurnFailure::NotPermitted));
    bench.permit("203.0.113.50");
    // The first datagram goes as indication while the channel is bound.
    bench.client.send(bench.now, peer, b"one").expect("permitted");
    bench.drain();
    let indication = bench.sent.iter().position(|bytes| bytes[1] == 0x16).expect("an indication");
    let indication = decode(&bench.sent.remove(indication)).expect("valid").message;
    assert_eq!(indication.class, Class::Indication);
    assert!(indication.attributes.contains(&Attribute::Data(Bytes::from_static(b"one"))));
    let bind = bench.succeed(None);
    assert_eq!(bind.method, Method::CHANNEL_BIND);
    assert!(bind.attributes.contains(&Attribute::ChannelNumber(0x4000)));
    bench.client.send(bench.now, peer, b"two").expect("permitted");
    bench.drain();
    assert_eq!(decode_channel_data(&bench.sent.remove(0)), Ok((0x4000, Bytes::from_static(b"two"))));

    // Permission after 240 s, channel and allocation after 540 s.
    let mut renewed = Vec::new();
    while bench.now < Time::ZERO + 600 * SECOND {
        bench.wait();
        while !bench.sent.is_empty() {
            let rest = bench.sent.split_off(1);
            let moment = bench.now.since(Time::ZERO).as_secs();
            let request = bench.succeed(Some(Attribute::Lifetime(600)));
            renewed.push((moment, request.method));
            bench.sent.extend(rest);
        }
        bench.client.send(bench.now, peer, b"still here").expect("permitted");
        bench.drain();
        bench.sent.clear();
        bench.told.clear();
    }
    let expected = [
        (240, Method::CREATE_PERMISSION),
        (480, Method::CREATE_PERMISSION),
        (540, Method::REFRESH),
        (540, Method::CHANNEL_BIND),
        (780, Method::CREATE_PERMISSION),
    ];
    assert_eq!(renewed, expected);
}

#[test]
fn only_permitted_peers_are_heard_in_indications_and_channels() {
    let mut bench = Bench::ready();
    let peer = at("203.0.113.50:6000");
    let data = |peer: SocketAddr| {
        Message::new(Class::Indication, Method::DATA, TransactionId([1; 12]))
            .with(Attribute::XorPeerAddress(peer))
            .with(Attribute::Data(Bytes::from_static(b"hello")))
    };
    bench.receive(&data(peer), None);
    assert!(bench.told.is_empty());
    bench.permit("203.0.113.50");
    bench.receive(&data(peer), None);
    assert_eq!(bench.told(), Output::Data { peer, payload: Bytes::from_static(b"hello") });
    bench.receive(&data(at("203.0.113.51:6000")), None);
    bench.client.handle(bench.now, &encode_channel_data(0x4000, b"nobody", false).expect("small"));
    bench.drain();
    assert!(bench.told.is_empty());
    bench.client.send(bench.now, peer, b"x").expect("permitted");
    // The server may use the channel before its answer is here.
    bench.client.handle(bench.now, &encode_channel_data(0x4000, b"fast", true).expect("small"));
    bench.drain();
    assert_eq!(bench.told(), Output::Data { peer, payload: Bytes::from_static(b"fast") });
}

#[test]
fn a_forbidden_peer_is_refused_and_an_unknown_allocation_has_expired() {
    let mut bench = Bench::ready();
    let ip = "203.0.113.50".parse().expect("valid");
    bench.client.permit(bench.now, ip).expect("room");
    bench.drain();
    bench.fail(403);
    assert_eq!(bench.told(), Output::Refused(ip, TurnFailure::Forbidden));
    assert!(!bench.client.is_permitted(ip));
    // An unspecific refusal makes it ask whether the allocation is still there.
    bench.client.permit(bench.now, ip).expect("room");
    bench.drain();
    bench.fail(400);
    assert!(matches!(bench.told(), Output::Refused(_, TurnFailure::Refused { code: 400, .. })));
    bench.wait();
    assert_eq!((bench.now, bench.succeed(Some(Attribute::Lifetime(600))).method), (Time::ZERO, Method::REFRESH));
    bench.client.permit(bench.now, ip).expect("room");
    bench.drain();
    bench.fail(437);
    assert_eq!(bench.told(), Output::Closed(Some(TurnFailure::Expired)));
    assert_eq!(bench.client.permit(bench.now, ip), Err(TurnFailure::Closed));
}

#[test]
fn nothing_follows_the_end() {
    let mut bench = Bench::ready();
    bench.client.permit(bench.now, "203.0.113.50".parse().expect("valid")).expect("room");
    bench.now = bench.now + 2000 * SECOND;
    bench.client.handle_timeout(bench.now);
    bench.drain();
    assert_eq!(bench.told(), Output::Closed(Some(TurnFailure::Expired)));
    assert_eq!(bench.client.next_timeout(), None);
}

#[test]
fn closing_releases_the_allocation_and_does_not_wait_long() {
    let mut polite = Bench::ready();
    polite.client.close(polite.now);
    polite.drain();
    let release = polite.succeed(None);
    assert_eq!(release.method, Method::REFRESH);
    assert!(release.attributes.contains(&Attribute::Lifetime(0)));
    assert_eq!(polite.told(), Output::Closed(None));

    let mut silent = Bench::ready();
    silent.client.close(silent.now);
    while silent.told.is_empty() {
        silent.wait();
    }
    assert_eq!(silent.told(), Output::Closed(None));
    assert_eq!(silent.now, Time::ZERO + limits::TURN_CLOSE_TIMEOUT);
    assert_eq!(silent.client.next_timeout(), None);

    // Nothing is there to release before the server knows who we are.
    let mut early = Bench::new(config());
    early.client.close(early.now);
    early.drain();
    assert_eq!(early.told(), Output::Closed(None));
}

#[test]
fn a_server_that_is_doubted_and_stays_silent_is_gone() {
    let mut bench = Bench::ready();
    bench.client.ask_again(bench.now);
    bench.client.ask_again(bench.now);
    bench.drain();
    assert_eq!(bench.sent.len(), 1, "asked once");
    while bench.told.is_empty() {
        bench.wait();
    }
    assert_eq!(bench.told(), Output::Closed(Some(TurnFailure::Silent)));
    assert_eq!(bench.now, Time::ZERO + limits::TURN_REQUEST_TIMEOUT);
}

#[test]
fn tables_are_bounded_and_idle_peers_forgotten() {
    let mut bench = Bench::ready();
    for number in 0..limits::MAX_TURN_PEERS {
        bench.permit(&format!("203.0.{number}.50"));
    }
    let one_more = "192.0.2.1".parse().expect("valid");
    assert_eq!(bench.client.permit(bench.now, one_more), Err(TurnFailure::TooManyPeers));
    let huge = vec![0; limits::MAX_TURN_PAYLOAD_BYTES + 1];
    assert_eq!(bench.client.send(bench.now, at("203.0.1.50:1"), &huge), Err(TurnFailure::TooLarge));
    let largest = &huge[1..];
    bench.client.send(bench.now, at("203.0.1.50:1"), largest).expect("fits");
    bench.drain();
    bench.sent.clear();
    // Everything is answered, nobody sends: after a quarter of an hour only the allocation is renewed.
    while bench.now < Time::ZERO + limits::TURN_IDLE_PEER + 300 * SECOND {
        bench.wait();
        for bytes in std::mem::take(&mut bench.sent) {
            let request = decode(&bytes).expect("valid").message;
            let answer = Message::success_to(&request).with(Attribute::Lifetime(600));
            bench.receive(&answer, Some(&key()));
        }
        bench.told.clear();
    }
    assert!(!bench.client.is_permitted("203.0.1.50".parse().expect("valid")));
    bench.permit("192.0.2.1");
}
