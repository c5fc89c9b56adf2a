//! The client with its sockets: one task owns the machine's loop, one small task per link. Not here: any decision about
//! messages ([`client`](crate::gun::client)).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::news::News;
use super::socket::{self, Address, Outgoing, Trust};
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::limits;
use crate::base::time::Time;
use crate::gun::backend::{self, GunBackend};
use crate::gun::client::{Client, Output};
use crate::gun::interests::{Entry, Update};
use crate::gun::value::Record;
use crate::gun::writes::WriteError;
use crate::gun::{Now, names};

/// A sleep when nothing is planned; any change wakes the task earlier.
const IDLE: Duration = Duration::from_secs(3600);

/// Which relays to use.
#[derive(Clone, Debug, Default)]
pub struct GunClientConfig {
    /// URLs of relays (`http`, `https`, `ws` or `wss`; without a path `/gun` is meant), at most
    /// [`limits::MAX_GUN_RELAYS`]. All are used at once.
    pub peers: Vec<String>,
    /// Trust only these certificates (PEM) of relays, instead of the system's.
    pub root_certificates: Option<Vec<u8>>,
    /// Added to this machine's clock, in milliseconds, where that is known to be wrong. Default 0.
    pub clock_offset_ms: i64,
}

/// A running client. Dropping it ends its tasks in the background; [`stop`](GunBackend::stop) waits for that.
pub struct GunClient {
    shared: Arc<Shared>,
    token: CancellationToken,
    tasks: TaskTracker,
}

struct Shared {
    state: Mutex<State>,
    changed: Notify,
    started: Instant,
    offset_ms: i64,
    links_made: watch::Sender<u64>,
    connected: watch::Sender<usize>,
}

struct State {
    machine: Client,
    subscribers: BTreeMap<u64, Subscriber>,
    puts: BTreeMap<u64, oneshot::Sender<Result<(), WriteError>>>,
    reads: BTreeMap<u64, oneshot::Sender<Option<Record>>>,
    stopped: bool,
}

/// Whoever dropped the receiver is asked for its end here; the news tell it the rest.
struct Subscriber {
    news: News,
    sender: mpsc::Sender<Update>,
}

/// News of a link: the relay's number, which of its links it is, and what happened.
type Event = (usize, u64, Happened);

enum Happened {
    Up(Outgoing),
    Frame(String),
    Down,
}

impl GunClient {
    /// Starts connecting and returns at once; relays that are not there are tried again for ever. Cancel safe. Needs a
    /// tokio runtime.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] without relays, with too many, or with one that is no URL.
    pub fn start(config: GunClientConfig) -> Result<Arc<Self>> {
        if config.peers.is_empty() || config.peers.len() > limits::MAX_GUN_RELAYS {
            let problem =
                format!("{} relays are given, 1 to {} can be used", config.peers.len(), limits::MAX_GUN_RELAYS);
            return Err(Error::invalid("peers", problem));
        }
        let addresses = config.peers.iter().map(|text| Address::parse(text)).collect::<Result<Vec<_>>>()?;
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                machine: Client::new(addresses.len(), rand::random()),
                subscribers: BTreeMap::new(),
                puts: BTreeMap::new(),
                reads: BTreeMap::new(),
                stopped: false,
            }),
            changed: Notify::new(),
            started: Instant::now(),
            offset_ms: config.clock_offset_ms,
            links_made: watch::channel(0).0,
            connected: watch::channel(0).0,
        });
        let (token, tasks) = (CancellationToken::new(), TaskTracker::new());
        let (events, received) = mpsc::channel(limits::GUN_FRAME_QUEUE);
        let run = Run {
            shared: shared.clone(),
            addresses,
            trust: Arc::new(Trust::new(config.root_certificates)),
            token: token.clone(),
            tasks: tasks.clone(),
            events,
            links: BTreeMap::new(),
            made: 0,
        };
        tasks.spawn(run.run(received));
        tasks.close();
        Ok(Arc::new(Self { shared, token, tasks }))
    }

    /// How many relays are connected, live.
    pub fn connected(&self) -> watch::Receiver<usize> {
        self.shared.connected.subscribe()
    }

    fn change<T>(&self, change: impl FnOnce(&mut State, Now) -> T) -> T {
        let now = self.shared.now();
        let result = change(&mut self.shared.lock(), now);
        self.shared.changed.notify_one();
        result
    }
}

impl GunBackend for GunClient {
    fn put(&self, path: &[String], entry: Entry, deadline: Duration) -> BoxFuture<'_, Result<()>> {
        let path = path.to_vec();
        Box::pin(async move {
            names::check(&path)?;
            backend::check(&entry)?;
            let (sender, receiver) = oneshot::channel();
            self.change(|state, now| {
                state.running()?;
                let full = || Error::new(ErrorKind::LimitReached, "too many puts to Gun relays wait");
                let id = state.machine.put(now, &path, &entry, deadline).ok_or_else(full)?;
                state.puts.insert(id, sender);
                Ok::<_, Error>(())
            })?;
            let soul = names::soul(&path);
            match receiver.await.map_err(|_| stopped())? {
                Ok(()) => Ok(()),
                Err(WriteError::Timeout) => {
                    Err(Error::new(ErrorKind::Timeout, format!("no Gun relay has confirmed `{soul}`")))
                }
                Err(WriteError::Refused(reason)) => {
                    Err(Error::new(ErrorKind::Protocol, format!("a Gun relay refused `{soul}`: {reason}")))
                }
            }
        })
    }

    fn once(&self, path: &[String], deadline: Duration) -> BoxFuture<'_, Result<Option<Record>>> {
        let path = path.to_vec();
        Box::pin(async move {
            names::check(&path)?;
            let (sender, receiver) = oneshot::channel();
            self.change(|state, now| {
                state.running()?;
                let full = || Error::new(ErrorKind::LimitReached, "too many reads of a Gun graph wait");
                let id = state.machine.read(now, path, deadline).ok_or_else(full)?;
                state.reads.insert(id, sender);
                Ok::<_, Error>(())
            })?;
            receiver.await.map_err(|_| stopped())
        })
    }

    fn subscribe(&self, path: &[String]) -> Result<mpsc::Receiver<Update>> {
        names::check(path)?;
        let (sender, receiver) = mpsc::channel(limits::GUN_UPDATE_QUEUE);
        self.change(|state, _| {
            state.running()?;
            state.prune();
            let full = || Error::new(ErrorKind::LimitReached, "too many subscriptions to a Gun graph");
            let id = state.machine.subscribe(path.to_vec()).ok_or_else(full)?;
            let news = News::until(self.token.child_token());
            state.subscribers.insert(id, Subscriber { news: news.clone(), sender: sender.clone() });
            self.tasks.spawn(async move { news.tell(sender).await });
            Ok::<_, Error>(())
        })?;
        Ok(receiver)
    }

    fn links_made(&self) -> watch::Receiver<u64> {
        self.shared.links_made.subscribe()
    }

    fn clock_offset_ms(&self) -> i64 {
        self.shared.offset_ms
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            self.token.cancel();
            self.tasks.wait().await;
        })
    }
}

impl Drop for GunClient {
    fn drop(&mut self) {
        self.token.cancel();
    }
}

fn stopped() -> Error {
    Error::new(ErrorKind::InvalidState, "the Gun client was stopped")
}

impl Shared {
    fn now(&self) -> Now {
        Now { time: Time::ZERO + self.started.elapsed(), wall_ms: socket::wall_ms(self.offset_ms) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The machine has no broken intermediate states that matter more than going on.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn running(&self) -> Result<()> {
        if self.stopped { Err(stopped()) } else { Ok(()) }
    }

    /// Ends subscriptions and reads nobody listens to any more.
    fn prune(&mut self) {
        let machine = &mut self.machine;
        self.subscribers.retain(|id, subscriber| {
            let closed = subscriber.sender.is_closed();
            if closed {
                machine.unsubscribe(*id);
            }
            !closed
        });
        self.reads.retain(|id, reader| {
            let closed = reader.is_closed();
            if closed {
                machine.forget_read(*id);
            }
            !closed
        });
    }

    /// Advances the machine; returns what concerns the links, and when to come back.
    fn advance(&mut self, now: Now) -> (Vec<Output>, Option<Time>) {
        self.machine.handle_timeout(now);
        let mut links = Vec::new();
        while let Some(output) = self.machine.poll() {
            match output {
                Output::Update(id, update) => {
                    if let Some(subscriber) = self.subscribers.get(&id) {
                        subscriber.news.add(update);
                    }
                }
                Output::Put(id, result) => {
                    if let Some(waiting) = self.puts.remove(&id) {
                        // Nobody may wait any more.
                        let _ = waiting.send(result);
                    }
                }
                Output::Read(id, record) => {
                    if let Some(waiting) = self.reads.remove(&id) {
                        let _ = waiting.send(record);
                    }
                }
                other => links.push(other),
            }
        }
        (links, self.machine.next_timeout())
    }
}

/// What the main task owns.
struct Run {
    shared: Arc<Shared>,
    addresses: Vec<Address>,
    trust: Arc<Trust>,
    token: CancellationToken,
    tasks: TaskTracker,
    events: mpsc::Sender<Event>,
    links: BTreeMap<usize, Link>,
    made: u64,
}

struct Link {
    /// None while it is being made.
    outgoing: Option<Outgoing>,
    number: u64,
    token: CancellationToken,
}

impl Run {
    async fn run(mut self, mut received: mpsc::Receiver<Event>) {
        let mut prune = tokio::time::interval(Duration::from_secs(1));
        prune.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let now = self.shared.now();
            let (outputs, next) = self.shared.lock().advance(now);
            for output in outputs {
                self.act(output);
            }
            self.tell_connected();
            let wait = next.map_or(IDLE, |next| next.since(self.shared.now().time));
            tokio::select! {
                () = self.token.cancelled() => break,
                () = self.shared.changed.notified() => {}
                Some(event) = received.recv() => {
                    self.handle(event);
                    // What came meanwhile, before anything is sent for the first.
                    for _ in 0..limits::GUN_FRAME_QUEUE {
                        let Ok(event) = received.try_recv() else { break };
                        self.handle(event);
                    }
                }
                () = tokio::time::sleep(wait) => {}
                _ = prune.tick() => self.shared.lock().prune(),
            }
        }
        let mut state = self.shared.lock();
        state.stopped = true;
        state.machine.close();
        state.subscribers.clear();
        state.puts.clear();
        state.reads.clear();
        drop(state);
        self.shared.connected.send_replace(0);
    }

    fn tell_connected(&self) {
        let connected = self.shared.lock().machine.connected_relays();
        self.shared.connected.send_if_modified(|known| std::mem::replace(known, connected) != connected);
    }

    fn act(&mut self, output: Output) {
        match output {
            Output::Connect(link) => self.connect(link),
            Output::Cut(link) => self.drop_link(link),
            Output::Send(link, frame) => {
                let outgoing = self.links.get(&link).and_then(|link| link.outgoing.as_ref());
                if outgoing.is_some_and(|outgoing| !outgoing.send(frame.into())) {
                    tracing::debug!(link, "a Gun relay does not read");
                    self.drop_link(link);
                }
            }
            Output::Update(..) | Output::Put(..) | Output::Read(..) => {}
        }
    }

    fn handle(&mut self, event: Event) {
        let now = self.shared.now();
        let (link, number, happened) = event;
        // News of a link that was given up meanwhile are late.
        let Some(slot) = self.links.get_mut(&link).filter(|slot| slot.number == number) else { return };
        match happened {
            Happened::Up(outgoing) => {
                slot.outgoing = Some(outgoing);
                self.shared.lock().machine.connected(now, link);
                self.shared.links_made.send_modify(|made| *made += 1);
            }
            Happened::Frame(text) => self.shared.lock().machine.receive(now, link, &text),
            Happened::Down => self.drop_link(link),
        }
    }

    fn drop_link(&mut self, link: usize) {
        if let Some(slot) = self.links.remove(&link) {
            slot.token.cancel();
            self.shared.lock().machine.disconnected(self.shared.now(), link);
        }
    }

    fn connect(&mut self, link: usize) {
        let token = self.token.child_token();
        self.made += 1;
        let number = self.made;
        self.links.insert(link, Link { outgoing: None, number, token: token.clone() });
        let (address, trust, events) = (self.addresses[link].clone(), self.trust.clone(), self.events.clone());
        self.tasks.spawn(async move {
            let running = async {
                match address.connect(&trust).await {
                    Ok(socket) => {
                        let (outgoing, queue) = socket::queue();
                        if events.send((link, number, Happened::Up(outgoing))).await.is_ok() {
                            let frames = &events;
                            let take =
                                |text| async move { frames.send((link, number, Happened::Frame(text))).await.is_ok() };
                            socket::run(socket, queue, take).await;
                        }
                    }
                    Err(error) => tracing::debug!(link, error = %error.full_message(), "no link to a Gun relay"),
                }
                // The main task is gone when the client stops.
                let _ = events.send((link, number, Happened::Down)).await;
            };
            tokio::select! {
                () = token.cancelled() => {}
                () = running => {}
            }
        });
    }
}

impl Drop for Run {
    /// The tasks of the links end with the main task, even if it never ran.
    fn drop(&mut self) {
        self.token.cancel();
    }
}
