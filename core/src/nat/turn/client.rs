//! One TURN allocation as a pure machine (RFC 8656): allocate with long-term credentials, keep it, its permissions and
//! channels alive, carry datagrams, and end it. Not here: sockets, TLS and streams (`driver`, `framing`).

use std::collections::VecDeque;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;

use super::failure::TurnFailure;
use super::framing::{decode_channel_data, encode_channel_data};
use super::peers::{Due, Peers};
use crate::base::limits;
use crate::base::random::Jitter;
use crate::base::time::Time;
use crate::nat::stun::attribute::{Attribute, Family, TRANSPORT_UDP};
use crate::nat::stun::integrity::{Integrity, Key};
use crate::nat::stun::message::{Class, Message, Method, Received, TransactionId, decode};
use crate::nat::stun::redirect;
use crate::nat::stun::transaction::{self, Outcome, Timing, Transaction};

/// A long-term credential. The password is shown nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// User name.
    pub username: String,
    /// Password.
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({:?}, ..)", self.username)
    }
}

/// What to allocate, and where.
#[derive(Clone, Debug)]
pub struct Config {
    /// The server.
    pub server: SocketAddr,
    /// The transport to it is a stream: nothing is sent twice, and ChannelData is padded.
    pub stream: bool,
    /// Without, only open servers work.
    pub credentials: Option<Credentials>,
    /// Family of the relayed address; the server chooses if none is given.
    pub family: Option<Family>,
    /// Lifetime that is asked for; the server may give less.
    pub lifetime: Duration,
}

/// What the driver must do or know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send this to the server.
    Send(Bytes),
    /// The allocation exists.
    Ready {
        /// Where peers reach us.
        relayed: SocketAddr,
        /// Where the server sees us.
        mapped: Option<SocketAddr>,
        /// How long it lives unless it is prolonged, which this machine does.
        lifetime: Duration,
    },
    /// A prolongation that [`Client::refresh`] asked for was granted, for so long.
    Refreshed(Duration),
    /// A peer may send to us, and we to it.
    Permitted(IpAddr),
    /// The server does not let this peer in, or no longer.
    Refused(IpAddr, TurnFailure),
    /// A datagram from a peer.
    Data {
        /// Its address as the server sees it.
        peer: SocketAddr,
        /// The payload.
        payload: Bytes,
    },
    /// Make a new client with this server; this one has ended.
    Redirect(SocketAddr),
    /// The end; comes once. `None` after [`Client::close`].
    Closed(Option<TurnFailure>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Allocating,
    Ready { expires: Time, refresh: Time },
    Closing,
    Ended,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Allocate,
    Refresh,
    Release,
    Permission(IpAddr),
    Channel(u16, SocketAddr),
}

#[derive(Debug)]
struct Pending {
    purpose: Purpose,
    transaction: Transaction,
    /// Sent with credentials: then a success must be signed, and 401 means wrong ones.
    signed: bool,
    /// New nonces so far.
    retries: u32,
}

/// The machine.
#[derive(Debug)]
pub struct Client {
    config: Config,
    random: Jitter,
    state: State,
    realm: Option<String>,
    nonce: Option<Bytes>,
    key: Option<Key>,
    pending: Vec<Pending>,
    peers: Peers,
    /// Somebody wants to hear how the refresh under way ends.
    refresh_asked: bool,
    /// There was reason to think that the server is gone, and it has not answered since.
    doubted: bool,
    out: VecDeque<Output>,
}

impl Client {
    /// Begins to allocate. `random` must be seeded by the operating system.
    pub fn new(now: Time, config: Config, random: Jitter) -> Self {
        let mut client = Self {
            config,
            random,
            state: State::Allocating,
            realm: None,
            nonce: None,
            key: None,
            pending: Vec::new(),
            peers: Peers::default(),
            refresh_asked: false,
            doubted: false,
            out: VecDeque::new(),
        };
        client.request(now, Purpose::Allocate, 0);
        client.pump(now);
        client
    }

    /// A message came from the server: a datagram, or one frame of a stream. Whatever is not TURN is ignored.
    pub fn handle(&mut self, now: Time, bytes: &Bytes) {
        if bytes.first().is_some_and(|first| first >> 6 == 1) {
            if let Ok((channel, payload)) = decode_channel_data(bytes)
                && let Some(peer) = self.peers.peer_of(channel)
            {
                self.data(now, peer, payload);
            }
        } else if let Ok(received) = decode(bytes) {
            match received.message.class {
                Class::Indication if received.message.method == Method::DATA && received.unknown.is_empty() => {
                    self.data_indication(now, &received.message);
                }
                Class::Success | Class::Error => self.answer(now, &received),
                _ => {}
            }
        }
        self.pump(now);
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Time) {
        for pending in &mut self.pending {
            pending.transaction.handle_timeout(now);
        }
        if let State::Ready { expires, refresh } = self.state {
            if now >= expires {
                self.end(Some(TurnFailure::Expired));
            } else if now >= refresh && !self.is_pending(Purpose::Refresh) {
                self.request(now, Purpose::Refresh, 0);
            }
            for due in self.peers.due(now) {
                let purpose = match due {
                    Due::Permission(ip) => Purpose::Permission(ip),
                    Due::Channel(number, peer) => Purpose::Channel(number, peer),
                };
                self.request(now, purpose, 0);
            }
        }
        self.pump(now);
    }

    /// Asks the server to let a peer's address in; [`Output::Permitted`] or [`Output::Refused`] follows. `TooManyPeers`,
    /// `Closed`.
    pub fn permit(&mut self, now: Time, peer: IpAddr) -> Result<(), TurnFailure> {
        if !matches!(self.state, State::Ready { .. }) {
            return Err(TurnFailure::Closed);
        }
        match self.peers.want(now, peer) {
            Err(()) => return Err(TurnFailure::TooManyPeers),
            Ok(Some(true)) => self.out.push_back(Output::Permitted(peer)),
            Ok(Some(false)) => {}
            Ok(None) => self.request(now, Purpose::Permission(peer), 0),
        }
        self.pump(now);
        Ok(())
    }

    /// Sends a datagram to a permitted peer: through its channel, or in an indication until that is bound.
    /// `NotPermitted`, `TooLarge`, `Closed`.
    pub fn send(&mut self, now: Time, peer: SocketAddr, payload: &[u8]) -> Result<(), TurnFailure> {
        if !matches!(self.state, State::Ready { .. }) {
            return Err(TurnFailure::Closed);
        }
        if !self.peers.is_permitted(peer.ip()) {
            return Err(TurnFailure::NotPermitted);
        }
        if payload.len() > limits::MAX_TURN_PAYLOAD_BYTES {
            return Err(TurnFailure::TooLarge);
        }
        let bytes = if let Some(channel) = self.peers.channel(peer) {
            encode_channel_data(channel, payload, self.config.stream).map_err(|_| TurnFailure::TooLarge)?
        } else {
            if let Some(number) = self.peers.new_channel(now, peer) {
                self.request(now, Purpose::Channel(number, peer), 0);
            }
            let message = Message::new(Class::Indication, Method::SEND, TransactionId::random(&mut self.random))
                .with(Attribute::XorPeerAddress(peer))
                .with(Attribute::Data(Bytes::copy_from_slice(payload)));
            message.encode(None, false).map_err(|_| TurnFailure::TooLarge)?.into()
        };
        self.peers.touch(now, peer);
        self.out.push_back(Output::Send(bytes));
        self.pump(now);
        Ok(())
    }

    /// Prolongs the allocation now, and asks for this lifetime from now on; [`Output::Refreshed`] or [`Output::Closed`]
    /// follows. A lifetime of 0 counts as one second: [`Self::close`] is the way to end it. `Closed`.
    pub fn refresh(&mut self, now: Time, lifetime: Duration) -> Result<(), TurnFailure> {
        if !matches!(self.state, State::Ready { .. }) {
            return Err(TurnFailure::Closed);
        }
        self.config.lifetime = lifetime.max(Duration::from_secs(1));
        self.refresh_asked = true;
        // One under way asks for the old lifetime; its answer is not waited for.
        self.pending.retain(|pending| pending.purpose != Purpose::Refresh);
        self.request(now, Purpose::Refresh, 0);
        self.pump(now);
        Ok(())
    }

    /// There is reason to doubt that the server is still there: asks it, unless it is being asked. [`Output::Closed`]
    /// follows when it does not answer or knows nothing of the allocation.
    pub fn ask_again(&mut self, now: Time) {
        if !matches!(self.state, State::Ready { .. }) {
            return;
        }
        self.doubted = true;
        if !self.is_pending(Purpose::Refresh) {
            self.request(now, Purpose::Refresh, 0);
            self.pump(now);
        }
    }

    /// Ends the allocation at the server; [`Output::Closed`] follows, at the latest after
    /// [`limits::TURN_CLOSE_TIMEOUT`].
    pub fn close(&mut self, now: Time) {
        match self.state {
            // A server that wants credentials has not seen any yet, so there is nothing to release.
            State::Allocating if self.key.is_none() && self.config.credentials.is_some() => self.end(None),
            State::Allocating | State::Ready { .. } => {
                self.pending.clear();
                self.state = State::Closing;
                self.request(now, Purpose::Release, 0);
            }
            State::Closing | State::Ended => {}
        }
        self.pump(now);
    }

    /// The next thing to do or know.
    pub fn poll(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// When [`Self::handle_timeout`] wants to be called; `None` after the end.
    pub fn next_timeout(&self) -> Option<Time> {
        let transactions = self.pending.iter().filter_map(|pending| pending.transaction.next_timeout());
        let own = match self.state {
            State::Ready { expires, refresh } => {
                let refresh = if self.is_pending(Purpose::Refresh) { expires } else { refresh };
                let peers = self.peers.next_timeout().unwrap_or(Time::NEVER);
                Some(expires.min(refresh).min(peers))
            }
            _ => None,
        };
        transactions.chain(own).min()
    }

    /// Whether a peer may be sent to.
    pub fn is_permitted(&self, peer: IpAddr) -> bool {
        self.peers.is_permitted(peer)
    }

    /// Entries in all tables, for checking the bounds.
    pub fn table_sizes(&self) -> usize {
        self.pending.len() + self.peers.len() + self.out.len()
    }

    /// Makes and queues a request with the credentials known so far.
    fn request(&mut self, now: Time, purpose: Purpose, retries: u32) {
        let method = match purpose {
            Purpose::Allocate => Method::ALLOCATE,
            Purpose::Refresh | Purpose::Release => Method::REFRESH,
            Purpose::Permission(_) => Method::CREATE_PERMISSION,
            Purpose::Channel(..) => Method::CHANNEL_BIND,
        };
        let mut request = Message::request(method, TransactionId::random(&mut self.random));
        let lifetime = Attribute::Lifetime(u32::try_from(self.config.lifetime.as_secs()).unwrap_or(u32::MAX));
        let attributes = &mut request.attributes;
        match purpose {
            Purpose::Allocate => {
                attributes.extend([Attribute::RequestedTransport(TRANSPORT_UDP), lifetime]);
                attributes.extend(self.config.family.map(Attribute::RequestedAddressFamily));
            }
            Purpose::Refresh => attributes.push(lifetime),
            Purpose::Release => attributes.push(Attribute::Lifetime(0)),
            Purpose::Permission(ip) => attributes.push(Attribute::XorPeerAddress(SocketAddr::new(ip, 0))),
            Purpose::Channel(number, peer) => {
                attributes.extend([Attribute::ChannelNumber(number), Attribute::XorPeerAddress(peer)]);
            }
        }
        if let (Some(_), Some(credentials)) = (&self.key, &self.config.credentials) {
            attributes.push(Attribute::Username(credentials.username.clone()));
            attributes.extend(self.realm.clone().map(Attribute::Realm));
            attributes.extend(self.nonce.clone().map(Attribute::Nonce));
        }
        let total = match purpose {
            Purpose::Release => limits::TURN_CLOSE_TIMEOUT,
            _ => limits::TURN_REQUEST_TIMEOUT,
        };
        let timing = if self.config.stream { Timing::once(total) } else { Timing::doubling(limits::STUN_RTO, total) };
        match request.encode(self.key.as_ref(), false) {
            Ok(bytes) => {
                let transaction = Transaction::new(now, &request, bytes.into(), self.config.server, timing);
                self.pending.push(Pending { purpose, transaction, signed: self.key.is_some(), retries });
            }
            // Only a user name of many kilobytes does that.
            Err(_) => self.failed(purpose, TurnFailure::TooLarge),
        }
    }

    /// Moves what transactions want sent into the queue, and drops those that stayed without answer.
    fn pump(&mut self, now: Time) {
        if self.state == State::Ended {
            self.pending.clear();
            return;
        }
        let mut silent = Vec::new();
        for pending in &mut self.pending {
            while let Some(output) = pending.transaction.poll(now) {
                match output {
                    transaction::Output::Send { bytes, .. } => self.out.push_back(Output::Send(bytes)),
                    transaction::Output::Done(_) => silent.push(pending.purpose),
                }
            }
        }
        self.pending.retain(|pending| !pending.transaction.is_over());
        for purpose in silent {
            match purpose {
                // One of the others was the end.
                _ if self.state == State::Ended => {}
                // The allocation still lives: ask again until it ends.
                Purpose::Refresh if !self.doubted => self.request(now, Purpose::Refresh, 0),
                _ => self.failed(purpose, TurnFailure::Silent),
            }
        }
        if self.state == State::Ended {
            self.pending.clear();
        }
    }

    /// An answer to one of our requests.
    fn answer(&mut self, now: Time, received: &Received<'_>) {
        let message = &received.message;
        let Some(at) = self.pending.iter().position(|pending| pending.transaction.is_answer(message)) else { return };
        // Who does not know the key cannot make an answer to what was signed with it. Servers do not sign all errors.
        let integrity = self.key.as_ref().map_or(Integrity::Absent, |key| received.verify(key));
        let needs_signature = self.pending[at].signed && message.class == Class::Success;
        if integrity == Integrity::Wrong || (needs_signature && integrity != Integrity::Right) {
            return;
        }
        let mut pending = self.pending.swap_remove(at);
        pending.transaction.handle(now, self.config.server, received);
        let mut outcome = None;
        while let Some(output) = pending.transaction.poll(now) {
            if let transaction::Output::Done(end) = output {
                outcome = Some(end);
            }
        }
        match outcome {
            Some(Outcome::Answered { message, .. }) if message.class == Class::Success => {
                self.succeeded(now, pending.purpose, &message);
            }
            Some(Outcome::Answered { message, .. }) => self.error_answer(now, &pending, &message),
            _ => self.failed(pending.purpose, TurnFailure::BadAnswer),
        }
    }

    fn succeeded(&mut self, now: Time, purpose: Purpose, message: &Message) {
        let lifetime = message.find(|attribute| match attribute {
            Attribute::Lifetime(seconds) => Some(Duration::from_secs(u64::from(*seconds))),
            _ => None,
        });
        match purpose {
            Purpose::Allocate => {
                let relayed = message.find(|attribute| match attribute {
                    Attribute::XorRelayedAddress(address) => Some(*address),
                    _ => None,
                });
                match (relayed, lifetime) {
                    (Some(relayed), Some(lifetime)) if !lifetime.is_zero() => {
                        self.live(now, lifetime);
                        self.out.push_back(Output::Ready { relayed, mapped: message.mapped_address(), lifetime });
                    }
                    _ => self.failed(purpose, TurnFailure::BadAnswer),
                }
            }
            Purpose::Refresh => match lifetime {
                Some(lifetime) if !lifetime.is_zero() => {
                    self.doubted = false;
                    self.live(now, lifetime);
                    if std::mem::take(&mut self.refresh_asked) {
                        self.out.push_back(Output::Refreshed(lifetime));
                    }
                }
                _ => self.failed(purpose, TurnFailure::Expired),
            },
            Purpose::Release => self.end(None),
            Purpose::Permission(ip) => {
                self.peers.granted(now, ip);
                self.out.push_back(Output::Permitted(ip));
            }
            Purpose::Channel(_, peer) => self.peers.bound(now, peer),
        }
    }

    fn error_answer(&mut self, now: Time, pending: &Pending, message: &Message) {
        let (code, reason) = message.error_code().unwrap_or((500, ""));
        let challenge = code == 438 || (code == 401 && !pending.signed);
        if challenge && pending.retries < limits::TURN_CHALLENGES && self.take_challenge(message) {
            self.request(now, pending.purpose, pending.retries + 1);
            return;
        }
        let failure = match code {
            300 => {
                let alternate = message.find(|attribute| match attribute {
                    Attribute::AlternateServer(address) => Some(*address),
                    _ => None,
                });
                let server = self.config.server;
                let usable = |to: &SocketAddr| *to != server && redirect::is_allowed(server.ip(), *to);
                if let (Some(alternate), Purpose::Allocate) = (alternate.filter(usable), pending.purpose) {
                    self.state = State::Ended;
                    self.out.push_back(Output::Redirect(alternate));
                    return;
                }
                TurnFailure::BadRedirect
            }
            401 if self.config.credentials.is_none() => TurnFailure::CredentialsNeeded,
            401 if !pending.signed => TurnFailure::BadAnswer,
            _ => TurnFailure::from_code(code, reason),
        };
        self.failed(pending.purpose, failure);
    }

    /// Takes realm and nonce of a challenge. `false` if it cannot be answered.
    fn take_challenge(&mut self, message: &Message) -> bool {
        let Some(credentials) = &self.config.credentials else { return false };
        let nonce = message.find(|attribute| match attribute {
            Attribute::Nonce(nonce) => Some(nonce.clone()),
            _ => None,
        });
        let realm = message.find(|attribute| match attribute {
            Attribute::Realm(realm) => Some(realm.clone()),
            _ => None,
        });
        let (Some(nonce), Some(realm)) = (nonce, realm.or_else(|| self.realm.clone())) else { return false };
        self.key = Some(Key::long_term(&credentials.username, &realm, &credentials.password));
        (self.realm, self.nonce) = (Some(realm), Some(nonce));
        true
    }

    fn failed(&mut self, purpose: Purpose, failure: TurnFailure) {
        match purpose {
            Purpose::Release => self.end(None),
            Purpose::Refresh | Purpose::Permission(_) | Purpose::Channel(..) if failure == TurnFailure::Mismatch => {
                self.end(Some(TurnFailure::Expired));
            }
            // A refused refresh, whatever the reason, means that the allocation is not prolonged.
            Purpose::Allocate | Purpose::Refresh => self.end(Some(failure)),
            Purpose::Permission(ip) => {
                self.doubt(&failure);
                self.peers.refused(ip);
                self.out.push_back(Output::Refused(ip, failure));
            }
            Purpose::Channel(_, peer) => {
                self.doubt(&failure);
                self.peers.not_bound(peer);
            }
        }
    }

    /// An unspecific refusal may mean that the server has forgotten the allocation (coturn answers 400 then). A refresh
    /// tells.
    const fn doubt(&mut self, failure: &TurnFailure) {
        if let (TurnFailure::Refused { .. }, State::Ready { refresh, .. }) = (failure, &mut self.state) {
            *refresh = Time::ZERO;
        }
    }

    fn live(&mut self, now: Time, lifetime: Duration) {
        let lifetime = lifetime.min(limits::MAX_TURN_LIFETIME);
        // A minute before the end, as RFC 8656 section 8 advises; short lives at half time.
        let pause = (lifetime / 2).max(lifetime.saturating_sub(Duration::from_secs(60)));
        self.state = State::Ready { expires: now + lifetime, refresh: now + pause };
    }

    fn end(&mut self, failure: Option<TurnFailure>) {
        if self.state != State::Ended {
            self.state = State::Ended;
            self.out.push_back(Output::Closed(failure));
        }
    }

    fn is_pending(&self, purpose: Purpose) -> bool {
        self.pending.iter().any(|pending| pending.purpose == purpose)
    }

    fn data_indication(&mut self, now: Time, message: &Message) {
        let peer = message.find(|attribute| match attribute {
            Attribute::XorPeerAddress(peer) => Some(*peer),
            _ => None,
        });
        let payload = message.find(|attribute| match attribute {
            Attribute::Data(payload) => Some(payload.clone()),
            _ => None,
        });
        if let (Some(peer), Some(payload)) = (peer, payload) {
            self.data(now, peer, payload);
        }
    }

    /// Only peers that we let in are heard.
    fn data(&mut self, now: Time, peer: SocketAddr, payload: Bytes) {
        if matches!(self.state, State::Ready { .. }) && self.peers.is_permitted(peer.ip()) {
            self.peers.touch(now, peer);
            self.out.push_back(Output::Data { peer, payload });
        }
    }
}
