//! The sockets and tasks around the local discovery machine.
//! Not here: any decision about packets.
//!
//! One task owns the machine's loop; one small task per socket reads packets into a bounded queue. Announcing and
//! searching change the machine under a lock that is never held across a wait.

mod sockets;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::net::UdpSocket;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::sockets::{Addresses, Place};
use super::LocalConfig;
use super::link::Link;
use super::machine::{Machine, Output};
use super::responder::Identity;
use crate::base::error::{Error, Result};
use crate::base::ids::FileHash;
use crate::base::limits;
use crate::base::time::Time;
use crate::discovery::candidate::Candidate;

/// A sleep when nothing is planned; any change wakes the task earlier.
const IDLE: Duration = Duration::from_secs(3600);

/// The running tasks of one local discovery.
pub struct Driver {
    shared: Arc<Shared>,
    token: CancellationToken,
    tasks: TaskTracker,
}

struct Shared {
    state: Mutex<State>,
    changed: Notify,
    started: Instant,
    sent: AtomicU64,
}

struct State {
    machine: Machine,
    searches: BTreeMap<FileHash, Vec<Subscriber>>,
    stopped: bool,
}

/// One receiver of a search.
struct Subscriber {
    sender: mpsc::Sender<Candidate>,
    /// Something did not fit its queue; everything known is sent again once there is room.
    missed: bool,
}

struct OpenLink {
    id: u32,
    socket: Arc<UdpSocket>,
    /// Ends the task that reads the socket.
    token: CancellationToken,
}

/// Link, sender, bytes.
type Received = (u32, SocketAddr, Vec<u8>);
/// Link, addressee (none: everybody), bytes.
type Outgoing = (u32, Option<SocketAddr>, Vec<u8>);

impl Driver {
    /// Opens the sockets and spawns the tasks.
    pub fn start(config: LocalConfig) -> Result<Arc<Self>> {
        let identity = Identity {
            peer_id: config.peer_id.as_str().to_owned(),
            port: config.port,
            tcp: config.tcp,
            udp: config.udp,
        };
        let machine = Machine::new(identity, rand::random());
        let shared = Arc::new(Shared {
            state: Mutex::new(State { machine, searches: BTreeMap::new(), stopped: false }),
            changed: Notify::new(),
            started: Instant::now(),
            sent: AtomicU64::new(0),
        });
        let (token, tasks) = (CancellationToken::new(), TaskTracker::new());
        let (packets, received) = mpsc::channel(limits::MDNS_PACKET_QUEUE);
        let mut run = Run {
            shared: shared.clone(),
            config,
            token: token.clone(),
            tasks: tasks.clone(),
            packets,
            open: BTreeMap::new(),
            failed: BTreeSet::new(),
            next_id: 0,
        };
        let problem = run.look_at_interfaces();
        if run.open.is_empty() {
            let names = run.config.interfaces.join(", ");
            let none = || Error::invalid("interfaces", format_args!("no interface is up that matches [{names}]"));
            return Err(problem.unwrap_or_else(none));
        }
        tasks.spawn(run.run(received));
        tasks.close();
        Ok(Arc::new(Self { shared, token, tasks }))
    }

    /// Changes the machine and wakes the task.
    pub fn change<T>(&self, change: impl FnOnce(&mut Machine, Time) -> T) -> T {
        let now = self.shared.now();
        let result = change(&mut self.shared.lock().machine, now);
        self.shared.changed.notify_one();
        result
    }

    /// Starts a search or joins a running one. Without room the sender is dropped, which ends the stream.
    pub fn search(&self, key: FileHash, sender: mpsc::Sender<Candidate>) {
        let now = self.shared.now();
        let mut state = self.shared.lock();
        state.prune();
        if state.stopped {
            return;
        }
        if state.machine.search(now, key) {
            let mut subscriber = Subscriber { sender, missed: false };
            for candidate in state.machine.known(now, &key) {
                subscriber.send(candidate);
            }
            state.searches.entry(key).or_default().push(subscriber);
            drop(state);
            self.shared.changed.notify_one();
        } else {
            tracing::warn!(%key, "too many local searches at once");
        }
    }

    /// Ends the tasks; they still say goodbye.
    pub fn cancel(&self) {
        self.token.cancel();
    }

    /// Ends the tasks and waits for them.
    pub async fn stop(&self) {
        self.cancel();
        self.tasks.wait().await;
    }

    /// Packets sent since the start.
    pub fn packets_sent(&self) -> u64 {
        self.shared.sent.load(Ordering::Relaxed)
    }
}

impl Shared {
    fn now(&self) -> Time {
        Time::ZERO + self.started.elapsed()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The machine has no broken intermediate states that matter more than going on.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Ends searches nobody listens to any more.
    fn prune(&mut self) {
        let machine = &mut self.machine;
        self.searches.retain(|key, subscribers| {
            subscribers.retain(|subscriber| !subscriber.sender.is_closed());
            if subscribers.is_empty() {
                machine.end_search(key);
            }
            !subscribers.is_empty()
        });
    }

    /// Advances the machine; returns the packets to send and when to come back.
    fn advance(&mut self, now: Time) -> (Vec<Outgoing>, Option<Time>) {
        self.prune();
        self.machine.handle_timeout(now);
        let mut packets = Vec::new();
        while let Some(output) = self.machine.poll() {
            match output {
                Output::Send { link, to, bytes } => packets.push((link, to, bytes)),
                Output::Found { key, candidate } => {
                    for subscriber in self.searches.get_mut(&key).into_iter().flatten() {
                        subscriber.send(candidate.clone());
                    }
                }
            }
        }
        for (key, subscribers) in &mut self.searches {
            for subscriber in subscribers.iter_mut().filter(|subscriber| subscriber.missed) {
                if subscriber.sender.capacity() == subscriber.sender.max_capacity() {
                    subscriber.missed = false;
                    for candidate in self.machine.known(now, key) {
                        subscriber.send(candidate);
                    }
                }
            }
        }
        (packets, self.machine.next_timeout())
    }
}

impl Subscriber {
    fn send(&mut self, candidate: Candidate) {
        self.missed |= matches!(self.sender.try_send(candidate), Err(mpsc::error::TrySendError::Full(_)));
    }
}

/// What the main task owns.
struct Run {
    shared: Arc<Shared>,
    config: LocalConfig,
    token: CancellationToken,
    tasks: TaskTracker,
    packets: mpsc::Sender<Received>,
    open: BTreeMap<Place, OpenLink>,
    /// Places that could not be opened; reported once.
    failed: BTreeSet<Place>,
    next_id: u32,
}

impl Run {
    async fn run(mut self, mut received: mpsc::Receiver<Received>) {
        let mut look = tokio::time::interval(limits::MDNS_INTERFACE_INTERVAL);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        look.reset();
        loop {
            let (packets, next) = self.shared.lock().advance(self.shared.now());
            self.send(packets).await;
            let wait = next.map_or(IDLE, |next| next.since(self.shared.now()));
            tokio::select! {
                () = self.token.cancelled() => break,
                () = self.shared.changed.notified() => {}
                Some((link, source, bytes)) = received.recv() => {
                    self.shared.lock().machine.handle_packet(self.shared.now(), link, source, &bytes);
                }
                () = tokio::time::sleep(wait) => {}
                _ = look.tick() => drop(self.look_at_interfaces()),
            }
        }
        let packets = {
            let mut state = self.shared.lock();
            state.stopped = true;
            state.searches.clear();
            state.machine.stop(self.shared.now());
            state.advance(self.shared.now()).0
        };
        self.send(packets).await;
    }

    async fn send(&self, packets: Vec<Outgoing>) {
        for (link, to, bytes) in packets {
            let Some((place, open)) = self.open.iter().find(|(_, open)| open.id == link) else { continue };
            let target = to.unwrap_or_else(|| place.group());
            match open.socket.send_to(&bytes, target).await {
                Ok(_) => {
                    self.shared.sent.fetch_add(1, Ordering::Relaxed);
                }
                // The link may just be going down; the next look at the interfaces settles it.
                Err(error) => {
                    tracing::debug!(interface = place.interface, %target, %error, "multicast DNS packet not sent");
                }
            }
        }
    }

    /// Opens sockets on new interfaces, closes those of vanished ones. Returns the last problem, if any.
    fn look_at_interfaces(&mut self) -> Option<Error> {
        let places = match sockets::places(&self.config.interfaces, self.config.ipv6) {
            Ok(places) => places,
            Err(error) => {
                tracing::warn!(error = %error.full_message(), "local discovery keeps its interfaces");
                return Some(error);
            }
        };
        self.open.retain(|place, open| {
            let stays = places.contains_key(place);
            if !stays {
                open.token.cancel();
            }
            stays
        });
        self.failed.retain(|place| places.contains_key(place));
        let mut problem = None;
        for place in places.keys() {
            if self.open.contains_key(place) || self.open.len() >= limits::MAX_MDNS_LINKS {
                continue;
            }
            match place.open() {
                Ok(socket) => {
                    self.failed.remove(place);
                    self.add(place.clone(), socket);
                }
                Err(error) => {
                    if self.failed.insert(place.clone()) {
                        let reason = error.full_message();
                        tracing::warn!(interface = place.interface, error = %reason, "interface left out");
                    }
                    problem = Some(error);
                }
            }
        }
        let links = self.open.iter().filter_map(|(place, open)| Some(link(open.id, places.get(place)?)));
        self.shared.lock().machine.set_links(self.shared.now(), links.collect());
        problem
    }

    fn add(&mut self, place: Place, socket: UdpSocket) {
        let (id, socket, token) = (self.next_id, Arc::new(socket), self.token.child_token());
        self.next_id += 1;
        let (packets, ended, source) = (self.packets.clone(), token.clone(), socket.clone());
        self.tasks.spawn(async move {
            tokio::select! {
                () = ended.cancelled() => {}
                () = read(id, &source, &packets) => {}
            }
        });
        self.open.insert(place, OpenLink { id, socket, token });
    }
}

impl Drop for Run {
    /// The reading tasks end with the main task, even if it never ran.
    fn drop(&mut self) {
        self.token.cancel();
    }
}

/// Reads packets until the main task is gone. Waiting for it leaves the surplus to the socket's own buffer, which
/// drops what does not fit.
async fn read(link: u32, socket: &UdpSocket, packets: &mpsc::Sender<Received>) {
    // One byte more than allowed, so that the machine can tell a packet that is too long from one that just fits.
    let mut buffer = vec![0; limits::MAX_MDNS_PACKET_BYTES + 1];
    loop {
        match socket.recv_from(&mut buffer).await {
            Ok((length, source)) => {
                if packets.send((link, source, buffer[..length].to_vec())).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                // E.g. an ICMP error of an earlier unicast reply. A pause keeps a dead socket from spinning.
                tracing::debug!(link, %error, "multicast DNS socket");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

fn link(id: u32, told: &Addresses) -> Link {
    Link { id, addresses: told.addresses.clone(), loopback: told.loopback }
}
