//! The relay with its sockets and its file. Not here: any decision about messages ([`relay`](crate::gun::relay)).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use serde_json::Value as Json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::socket::{self, Outgoing};
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::limits;
use crate::base::time::Time;
use crate::gun::Now;
use crate::gun::relay::{Output, Relay};
use crate::gun::value::{Cell, Record, Value};
use crate::store::{atomic, state_file};

const VERSION: u32 = 1;

/// How a relay of ours runs.
#[derive(Clone, Debug)]
pub struct GunRelayConfig {
    /// Where to listen; port 0 lets the system choose. Default `127.0.0.1:0`.
    pub listen: SocketAddr,
    /// The path of the WebSocket. Default `/gun`, which gun.js uses.
    pub path: String,
    /// Keep the graph in this file. Default: it is in memory only.
    pub file: Option<PathBuf>,
    /// Bytes of names and values kept; beyond it the longest unused node is forgotten. Default
    /// [`limits::GUN_RELAY_BYTES`].
    pub max_bytes: usize,
}

impl Default for GunRelayConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            path: "/gun".to_owned(),
            file: None,
            max_bytes: limits::GUN_RELAY_BYTES,
        }
    }
}

/// A running relay. Dropping it ends its tasks in the background; [`stop`](GunRelay::stop) waits for that.
pub struct GunRelay {
    shared: Arc<Shared>,
    token: CancellationToken,
    tasks: TaskTracker,
    address: SocketAddr,
    path: Arc<str>,
}

struct Shared {
    state: Mutex<State>,
    changed: Notify,
    started: Instant,
    peers: watch::Sender<usize>,
}

struct State {
    machine: Relay,
    peers: BTreeMap<u64, Peer>,
    next_peer: u64,
}

struct Peer {
    outgoing: Outgoing,
    token: CancellationToken,
}

impl GunRelay {
    /// Reads the file, listens, and serves.
    ///
    /// # Errors
    /// The reason why the port cannot be listened on (`AddressInUse`) or the file cannot be read. A file that is no graph
    /// is `Io`: it is not overwritten.
    pub async fn start(config: GunRelayConfig) -> Result<Arc<Self>> {
        let mut machine = Relay::new(config.max_bytes, rand::random());
        if let Some(path) = config.file.clone() {
            let most = config.max_bytes;
            let read = tokio::task::spawn_blocking(move || load(&path, most)).await;
            let failed = |cause| Error::with_source(ErrorKind::Internal, "read a Gun graph", cause);
            for (soul, key, cell) in read.map_err(failed)?? {
                machine.restore(&soul, &key, cell);
            }
        }
        let listener = socket::listen(config.listen).await?;
        let address = listener.local_addr().map_err(|cause| Error::io("address of a Gun relay", cause))?;
        let shared = Arc::new(Shared {
            state: Mutex::new(State { machine, peers: BTreeMap::new(), next_peer: 0 }),
            changed: Notify::new(),
            started: Instant::now(),
            peers: watch::channel(0).0,
        });
        let (token, tasks) = (CancellationToken::new(), TaskTracker::new());
        let path: Arc<str> = config.path.into();
        tasks.spawn(accept(shared.clone(), listener, path.clone(), token.clone(), tasks.clone()));
        tasks.spawn(run(shared.clone(), token.clone()));
        if let Some(path) = config.file {
            tasks.spawn(save(shared.clone(), path, token.clone()));
        }
        tasks.close();
        Ok(Arc::new(Self { shared, token, tasks, address, path }))
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// What clients on this machine are told to find it: `ws://` with address and path.
    pub fn url(&self) -> String {
        format!("ws://{}{}", self.address, self.path)
    }

    /// How many peers are connected, live.
    pub fn peers(&self) -> watch::Receiver<usize> {
        self.shared.peers.subscribe()
    }

    /// Bytes of the graph it keeps.
    pub fn bytes(&self) -> usize {
        self.shared.lock().machine.sizes().0
    }

    /// Ends all links and writes the file a last time. Idempotent.
    pub fn stop(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            self.token.cancel();
            self.tasks.wait().await;
        })
    }
}

impl Drop for GunRelay {
    fn drop(&mut self) {
        self.token.cancel();
    }
}

impl Shared {
    fn now(&self) -> Now {
        Now { time: Time::ZERO + self.started.elapsed(), wall_ms: socket::wall_ms(0) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The machine has no broken intermediate states that matter more than going on.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn flush(&mut self) {
        while let Some(output) = self.machine.poll() {
            let (peer, slow) = match output {
                Output::Send(id, frame) => (id, self.peers.get(&id).is_some_and(|peer| !peer.outgoing.send(frame))),
                Output::Cut(id) => (id, true),
            };
            if slow && let Some(peer) = self.peers.remove(&peer) {
                // It comes back and asks again, which is cheaper than keeping everything for it.
                tracing::debug!("a Gun peer does not read");
                peer.token.cancel();
            }
        }
    }
}

/// Timers.
async fn run(shared: Arc<Shared>, token: CancellationToken) {
    loop {
        let wait = {
            let mut state = shared.lock();
            let now = shared.now();
            state.machine.handle_timeout(now);
            state.flush();
            state.machine.next_timeout(now).since(now.time)
        };
        tokio::select! {
            () = token.cancelled() => return,
            () = shared.changed.notified() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

async fn accept(
    shared: Arc<Shared>,
    listener: TcpListener,
    path: Arc<str>,
    token: CancellationToken,
    tasks: TaskTracker,
) {
    loop {
        let accepted = tokio::select! {
            () = token.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((tcp, _)) if tasks.len() <= 2 * limits::MAX_GUN_RELAY_PEERS => {
                tasks.spawn(serve(shared.clone(), tcp, path.clone(), token.child_token()));
            }
            Ok(_) => {}
            Err(error) => {
                // E.g. no file descriptors left; a pause keeps the loop from spinning.
                tracing::debug!(%error, "a Gun peer was not accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn serve(shared: Arc<Shared>, tcp: TcpStream, path: Arc<str>, token: CancellationToken) {
    let serving = async {
        let Ok(socket) = socket::accept(tcp, &path).await else { return };
        let (outgoing, queue) = socket::queue();
        let Some(id) = enter(&shared, outgoing, &token) else { return };
        let leave = Leave { shared: shared.clone(), id };
        let (bytes, messages) = (Allowance::of(limits::GUN_RELAY_BYTES_PER_SECOND), {
            Allowance::of(limits::GUN_RELAY_MESSAGES_PER_SECOND)
        });
        let (bytes, messages) = (Mutex::new(bytes), Mutex::new(messages));
        let (bytes, messages, shared) = (&bytes, &messages, &shared);
        let take = |text: String| async move {
            let count = {
                let mut state = shared.lock();
                let now = shared.now();
                let count = state.machine.receive(now, id, &text);
                state.flush();
                count
            };
            shared.changed.notify_one();
            // Not reading is what slows a sender down; nothing is lost.
            let wait = Allowance::spend(bytes, text.len()).max(Allowance::spend(messages, count.max(1)));
            if !wait.is_zero() {
                tokio::time::sleep(wait).await;
            }
            true
        };
        socket::run(socket, queue, take).await;
        drop(leave);
    };
    tokio::select! {
        () = token.cancelled() => {}
        () = serving => {}
    }
}

fn enter(shared: &Shared, outgoing: Outgoing, token: &CancellationToken) -> Option<u64> {
    let mut state = shared.lock();
    state.next_peer += 1;
    let id = state.next_peer;
    if !state.machine.connected(id) {
        return None;
    }
    state.peers.insert(id, Peer { outgoing, token: token.clone() });
    state.flush();
    shared.peers.send_replace(state.peers.len());
    Some(id)
}

/// Takes a peer off the table however its task ends.
struct Leave {
    shared: Arc<Shared>,
    id: u64,
}

impl Drop for Leave {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.peers.remove(&self.id);
        state.machine.disconnected(self.id);
        self.shared.peers.send_replace(state.peers.len());
    }
}

/// What one peer may send: a second's worth at once, and then at this rate.
struct Allowance {
    per_second: f64,
    left: f64,
    since: Instant,
}

impl Allowance {
    fn of(per_second: u64) -> Self {
        Self { per_second: per_second as f64, left: per_second as f64, since: Instant::now() }
    }

    /// Takes so much; returns how long to wait before more is read.
    fn spend(this: &Mutex<Self>, amount: usize) -> Duration {
        let mut this = this.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let gained = now.duration_since(this.since).as_secs_f64() * this.per_second;
        this.left = (this.left + gained).min(this.per_second) - amount as f64;
        this.since = now;
        Duration::from_secs_f64((-this.left / this.per_second).max(0.0))
    }
}

/// Writes what has changed, now and then and at the end.
async fn save(shared: Arc<Shared>, path: PathBuf, token: CancellationToken) {
    loop {
        let ending = tokio::select! {
            () = token.cancelled() => true,
            () = tokio::time::sleep(limits::GUN_RELAY_SAVE) => false,
        };
        let bytes = {
            let mut state = shared.lock();
            state.machine.take_dirty().then(|| encode(&state.machine))
        };
        if let Some(bytes) = bytes {
            let path = path.clone();
            let written = tokio::task::spawn_blocking(move || atomic::write_private(&path, &bytes?)).await;
            if let Ok(Err(error)) = written {
                tracing::warn!(error = %error.full_message(), "the graph of the Gun relay was not written");
            }
        }
        if ending {
            return;
        }
    }
}

/// The graph as it is stored: by soul and key, the value and its state.
type Stored = BTreeMap<String, BTreeMap<String, (Json, f64)>>;

fn encode(relay: &Relay) -> Result<Vec<u8>> {
    let field = |(key, cell): (&String, &Cell)| (key.clone(), (cell.value.to_json(), cell.state));
    let node = |(soul, record): (&String, &Record)| (soul.clone(), record.iter().map(field).collect());
    let graph: Stored = relay.nodes().map(node).collect();
    state_file::encode(VERSION, &graph)
}

fn load(path: &Path, max_bytes: usize) -> Result<Vec<(String, String, Cell)>> {
    // Names and values are counted without what JSON puts around them.
    let most = limits::GUN_STORED_FACTOR * max_bytes as u64;
    let graph = state_file::read::<Stored>(path, VERSION, most)?.state().unwrap_or_default();
    let mut cells = Vec::new();
    for (soul, node) in graph {
        for (key, (value, state)) in node {
            if let Some(value) = Value::from_json(&value) {
                cells.push((soul.clone(), key, Cell { value, state }));
            }
        }
    }
    Ok(cells)
}
