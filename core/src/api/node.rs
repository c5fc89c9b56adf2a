//! The engine behind host, client and network manager: starts and stops fabric, discovery and transfer of one node.
//! Not here: sharing ([`sharing`](super::sharing)) and downloads ([`downloads`](super::downloads)).

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::announcing::Announced;
use super::connect;
use super::connection::Connection;
use super::events::{EventBus, EventStream};
use super::expiring::Expiry;
use super::reachability::Reachability;
use super::records::{DiscoveredPeer, FileCallback};
use super::watching::Watches;
use super::ways::{Starter, Ways, tell_of_bootstrap};
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::events::{ErrorRecord, Event};
use crate::base::ids::{ContentKey, FileHash, PeerId};
use crate::base::limits;
use crate::base::node_type::NodeType;
use crate::base::options::{ClientOptions, ConnectOptions, FindOptions, FromJson, HostOptions, NodeOptions};
use crate::base::priority::Priority;
use crate::discovery::manager::{DiscoveryConfig, EventSink, PeerDiscovery};
use crate::discovery::source::Candidate;
use crate::discovery::table::Bounds;
use crate::fabric::{
    Fabric, FabricConfig, FabricEvent, FabricEvents, Identity, Incoming, Link, check_target, is_address,
};
use crate::gun::GunBackend;
use crate::nat::profile::NatProfile;
use crate::nat::registry::driver::ConnectionRegistry;
use crate::net::clock::Clock;
use crate::store::atomic;
use crate::store::hash_cache::HashCache;
use crate::transfer::driver::library::Library;
use crate::transfer::driver::limiter::Limiter;
use crate::transfer::driver::order::Engine;
use crate::transfer::driver::serving::{Fallback, Server};
use crate::transfer::driver::workers::Workers;
use crate::wire::{message, transfer};

/// What a node is used as; decides which protocols it accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Host,
    Client,
    Manager,
    /// Finds and announces only.
    Discoverer,
}

/// One node. Clones are the same node.
#[derive(Clone)]
pub(crate) struct Node {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) role: Role,
    pub(super) node: NodeOptions,
    pub(super) host: HostOptions,
    pub(super) client: ClientOptions,
    pub(super) events: EventBus,
    pub(super) library: Arc<Library>,
    pub(super) workers: Workers,
    pub(super) cache: OnceLock<Arc<HashCache>>,
    id: OnceLock<String>,
    callback: Mutex<Option<FileCallback>>,
    graph: Mutex<Option<Arc<dyn GunBackend>>>,
    /// The program's table of what worked.
    registry: Mutex<Option<ConnectionRegistry>>,
    /// When announcements end by themselves.
    pub(super) expiries: Mutex<BTreeMap<ContentKey, Expiry>>,
    manual: Mutex<Vec<(Candidate, Option<ContentKey>)>>,
    /// Announced on demand, besides what the library holds, and by which node.
    pub(super) announced: Mutex<BTreeMap<ContentKey, Announced>>,
    /// Files that are not announced everywhere.
    pub(super) lower: Mutex<HashMap<FileHash, Priority>>,
    continuous: watch::Sender<bool>,
    running: RwLock<Option<Running>>,
    /// Serialises start and stop. Holds whether the node was stopped, after which it starts only when asked to.
    lifecycle: tokio::sync::Mutex<bool>,
}

/// What exists between start and stop.
#[derive(Clone)]
pub(super) struct Running {
    pub(super) engine: Engine,
    pub(super) stop: CancellationToken,
    pub(super) tracker: TaskTracker,
    inbound: Option<Arc<tokio::sync::Mutex<Incoming>>>,
    pub(super) reachability: Reachability,
    pub(super) ways: Ways,
    pub(super) watches: Watches,
}

impl Node {
    pub(crate) fn new(role: Role, node: NodeOptions, host: HostOptions, client: ClientOptions) -> Result<Self> {
        node.validate()?;
        host.validate()?;
        client.validate()?;
        let continuous = watch::channel(client.enable_continuous_discovery).0;
        Ok(Self {
            inner: Arc::new(Inner {
                role,
                node,
                host,
                client,
                events: EventBus::new(),
                library: Arc::default(),
                workers: Workers::new(),
                cache: OnceLock::new(),
                id: OnceLock::new(),
                callback: Mutex::default(),
                graph: Mutex::default(),
                registry: Mutex::default(),
                expiries: Mutex::default(),
                manual: Mutex::default(),
                announced: Mutex::default(),
                lower: Mutex::default(),
                continuous,
                running: RwLock::new(None),
                lifecycle: tokio::sync::Mutex::new(false),
            }),
        })
    }

    /// Opens the port, starts discovery and serving, then shares the configured directory. Idempotent. If it fails,
    /// nothing is left running; dropped while it hashes, the node runs and [`stop`](Self::stop) ends it.
    pub(crate) async fn start(&self) -> Result<()> {
        let mut stopped = self.inner.lifecycle.lock().await;
        if self.running().is_some() {
            return Ok(());
        }
        let running = self.launch().await?;
        *stopped = false;
        drop(stopped);
        let host = &self.inner.host;
        let watched = host.watched();
        let shared = host.directory.as_ref().filter(|directory| Some(*directory) != watched);
        let shared = shared.map(|directory| self.add_directory(directory.clone()));
        let watched = watched.map(|directory| self.watch_directory(directory.clone(), host.watch_options()));
        for sharing in shared.into_iter().chain(watched) {
            let shared = tokio::select! {
                shared = sharing.wait() => shared,
                () = running.stop.cancelled() => return Err(stopped_meanwhile()),
            };
            if let Err(error) = shared {
                self.stop().await?;
                return Err(error);
            }
        }
        Ok(())
    }

    /// The running node, started if it never was.
    pub(super) async fn ensure_started(&self) -> Result<Running> {
        if let Some(running) = self.running() {
            return Ok(running);
        }
        if *self.inner.lifecycle.lock().await {
            return Err(Error::new(ErrorKind::InvalidState, "the node was stopped; start it again first"));
        }
        self.start().await?;
        self.running().ok_or_else(stopped_meanwhile)
    }

    async fn launch(&self) -> Result<Running> {
        let inner = &self.inner;
        let options = &inner.node;
        let identity = match options.state_dir() {
            Some(dir) => {
                std::fs::create_dir_all(&dir)
                    .map_err(|error| Error::io(format!("persistenceDir: create {}", dir.display()), error))?;
                Identity::File(dir.join("identity.key"))
            }
            None => Identity::Generated,
        };
        let serves = !options.light_node;
        let mut protocols = Vec::new();
        if serves {
            protocols.push(transfer::PROTOCOL);
        }
        if inner.role == Role::Manager {
            protocols.push(message::PROTOCOL);
        }
        let config = FabricConfig {
            port: options.port,
            ipv6: options.enable_ipv6,
            tcp: options.enable_tcp,
            quic: options.enable_udp,
            interfaces: options.interfaces.clone(),
            max_connections: options.max_connections,
            relay_server: options.relay_server,
            local_only: options.local_only,
            identity,
            protocols,
        };
        let (fabric, fabric_events) = Fabric::start(config).await?;
        let stop = CancellationToken::new();
        let tracker = TaskTracker::new();
        // What was started ends when something else cannot be.
        let guard = stop.clone().drop_guard();
        tracker.spawn(forward_events(fabric_events, inner.events.clone(), stop.clone()));
        let sink = self.sink();
        let discovery = PeerDiscovery::new(DiscoveryConfig {
            own_id: Some(fabric.local_peer()),
            bounds: self.bounds()?,
            local_only: options.local_only,
            file: options.state_dir().map(|dir| dir.join("peers.json")),
            on_event: Some(Arc::clone(&sink)),
        });
        discovery.restore().await;
        for (candidate, key) in lock(&inner.manual).iter() {
            discovery.add_manual(candidate.clone(), key.as_ref());
        }
        let registry = self.registry().await?;
        let reachability = Reachability::start(options, &fabric, &inner.events, &tracker, &stop, registry)?;
        let kind = self.node_type()?;
        let graph = lock(&inner.graph).clone();
        let ways = Starter {
            options,
            kind,
            fabric: &fabric,
            discovery: &discovery,
            reachability: &reachability,
            graph,
            serves,
        };
        let ways = ways.start().await?;
        if let Some(lacking) = ways.lacks_gun(options) {
            self.warn(&lacking);
        }
        if let Some(dht) = &ways.dht {
            tracker
                .spawn(stop.clone().run_until_cancelled_owned(tell_of_bootstrap(dht.status(), inner.events.clone())));
        }
        let clock = Clock::start();
        let server = serves.then(|| {
            let server = Server::new(
                Arc::clone(&inner.library),
                clock,
                Limiter::new(clock, options.upload_limit, options.peer_upload_limit),
                inner.workers.clone(),
                inner.host.upload_slots as usize,
                Arc::clone(&sink),
            );
            Arc::new(server.with_exchange(ways.exchange.clone()))
        });
        if let Some(server) = &server {
            server.set_fallback(self.fallback());
            let incoming = fabric.accept(transfer::PROTOCOL)?;
            tracker.spawn(Arc::clone(server).run(incoming, stop.clone()));
        }
        let inbound = match inner.role {
            Role::Manager => Some(Arc::new(tokio::sync::Mutex::new(fabric.accept(message::PROTOCOL)?))),
            Role::Host | Role::Client | Role::Discoverer => None,
        };
        let engine = Engine {
            fabric: fabric.clone(),
            connector: reachability.connector().clone(),
            discovery: discovery.clone(),
            exchange: ways.exchange.clone(),
            library: Arc::clone(&inner.library),
            server,
            limiter: Arc::new(Limiter::new(clock, options.download_limit, options.peer_download_limit)),
            workers: inner.workers.clone(),
            clock,
            events: sink,
            continuous: inner.continuous.subscribe(),
        };
        for (id, hash) in inner.library.mappings() {
            if let Some(gun) = &ways.gun {
                gun.map_content(&id, hash)?;
            }
        }
        for key in inner.library.keys() {
            discovery.announce(&key, self.priority(&key)).await;
        }
        for (key, priority) in self.announced_here() {
            discovery.announce(&key, priority).await;
        }
        self.return_to_others().await;
        guard.disarm();
        let running = Running { engine, stop, tracker, inbound, reachability, ways, watches: Watches::default() };
        *inner.running.write().unwrap_or_else(PoisonError::into_inner) = Some(running.clone());
        self.enlist();
        inner.events.send(Event::Started {
            peer_id: fabric.local_peer(),
            port: fabric.port(),
            addresses: fabric.addresses(),
        });
        Ok(running)
    }

    /// Ends everything and frees the port; bounded by [`limits::STOP_TIMEOUT`] per part. Idempotent.
    pub(crate) async fn stop(&self) -> Result<()> {
        // Cancelled before waiting for the lock, so that a start that is still hashing ends at once.
        if let Some(running) = self.running() {
            running.stop.cancel();
        }
        let mut stopped = self.inner.lifecycle.lock().await;
        *stopped = true;
        let running = self.inner.running.write().unwrap_or_else(PoisonError::into_inner).take();
        let Some(running) = running else { return Ok(()) };
        running.stop.cancel();
        self.leave_others().await;
        running.tracker.close();
        if tokio::time::timeout(limits::STOP_TIMEOUT, running.tracker.wait()).await.is_err() {
            tracing::warn!("work was still running when the node stopped");
        }
        running.engine.discovery.stop().await;
        running.ways.stop().await;
        running.engine.fabric.shutdown().await;
        self.inner.events.send(Event::Stopped);
        Ok(())
    }

    pub(super) fn running(&self) -> Option<Running> {
        self.inner.running.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn port(&self) -> u16 {
        self.running().map_or(0, |running| running.engine.fabric.port())
    }

    pub(crate) fn id(&self) -> String {
        self.inner.id.get_or_init(|| self.load_id()).clone()
    }

    fn load_id(&self) -> String {
        let fresh = uuid::Uuid::new_v4().to_string();
        let Some(dir) = self.inner.node.state_dir() else { return fresh };
        let path = dir.join("id");
        if let Ok(kept) = std::fs::read_to_string(&path)
            && let Ok(id) = uuid::Uuid::parse_str(kept.trim())
        {
            return id.to_string();
        }
        let written = std::fs::create_dir_all(&dir)
            .map_err(|error| Error::io(format!("create {}", dir.display()), error))
            .and_then(|()| atomic::write(&path, fresh.as_bytes()));
        if let Err(error) = written {
            self.warn(&error);
        }
        fresh
    }

    fn node_type(&self) -> Result<NodeType> {
        match (&self.inner.node.node_type, self.inner.role) {
            (Some(kind), _) => kind.parse(),
            (None, Role::Client) => Ok(NodeType::Light),
            (None, Role::Host | Role::Manager | Role::Discoverer) => Ok(NodeType::Standard),
        }
    }

    /// What is remembered of others at most.
    fn bounds(&self) -> Result<Bounds> {
        let (usual, options) = (Bounds::from(self.node_type()?), &self.inner.node);
        let or = |wanted: usize, usual: usize| if wanted == 0 { usual } else { wanted };
        Ok(Bounds {
            peers: or(options.max_known_peers, usual.peers),
            keys: or(options.max_cached_hashes, usual.keys),
            peers_per_key: or(options.max_cached_peers_per_hash, usual.peers_per_key),
        })
    }

    /// What led to which peer before: kept with the node's other files, else the program's table, else only in memory.
    async fn registry(&self) -> Result<ConnectionRegistry> {
        let Some(dir) = self.inner.node.state_dir() else {
            return Ok(lock(&self.inner.registry).clone().unwrap_or_else(ConnectionRegistry::in_memory));
        };
        let path = dir.join("connections.json");
        let opening = tokio::task::spawn_blocking(move || ConnectionRegistry::open(&path)).await;
        let (registry, warning) = opening
            .map_err(|cause| Error::with_source(ErrorKind::Internal, "open the connection registry", cause))??;
        if let Some(warning) = warning {
            self.warn(&Error::new(ErrorKind::InvalidState, warning));
        }
        Ok(registry)
    }

    pub(crate) fn peer_id(&self) -> Option<PeerId> {
        self.running().map(|running| running.engine.fabric.local_peer())
    }

    pub(crate) fn addresses(&self) -> Vec<String> {
        self.running().map(|running| running.engine.fabric.addresses()).unwrap_or_default()
    }

    /// What is known of the NAT in front of this node; `None` before it was detected.
    pub(crate) fn nat_profile(&self) -> Option<NatProfile> {
        self.running().and_then(|running| running.reachability.profile())
    }

    pub(crate) fn subscribe(&self) -> EventStream {
        self.inner.events.subscribe()
    }

    pub(crate) fn set_continuous_discovery(&self, enabled: bool) {
        self.inner.continuous.send_replace(enabled);
    }

    pub(crate) fn connection_type(&self, peer: &str) -> Option<&'static str> {
        let links = self.running()?.engine.fabric.links();
        // What new streams use: a direct link before the relayed one that it began with.
        let with_peer = links.iter().filter(|link| link.peer.as_str() == peer);
        with_peer.min_by_key(|link| link.relayed).map(Link::connection_type)
    }

    pub(crate) fn add_peer(&self, peer: &str, key: Option<ContentKey>) -> Result<()> {
        check_target(peer).map_err(|error| Error::with_source(ErrorKind::InvalidArgument, "peer", error))?;
        let candidate = Candidate::manual(peer);
        if let Some(running) = self.running() {
            running.engine.discovery.add_manual(candidate.clone(), key.as_ref());
        }
        let mut manual = lock(&self.inner.manual);
        if manual.len() >= limits::MAX_MANUAL_PEERS {
            manual.remove(0);
        }
        manual.push((candidate, key));
        Ok(())
    }

    pub(crate) async fn find_peers(&self, key: ContentKey, options: FindOptions) -> Result<Vec<DiscoveredPeer>> {
        options.validate()?;
        let running = self.ensure_started().await?;
        let timeout = std::time::Duration::from_millis(options.timeout_ms);
        let found = running.engine.discovery.find(&self.resolved(key), options.max_peers, timeout).await;
        Ok(found.iter().map(DiscoveredPeer::from).collect())
    }

    pub(crate) async fn connect(&self, target: &str) -> Result<Connection> {
        let running = self.ensure_started().await?;
        if is_address(target)? {
            let link = running.engine.fabric.dial(target, limits::DIAL_TIMEOUT).await?;
            return connect::open(&running, &link).await;
        }
        // Who is named by id is reached by whatever way there is.
        let timeout_ms = u64::try_from(limits::DIAL_TIMEOUT.as_millis()).unwrap_or(u64::MAX);
        let options = ConnectOptions { timeout_ms, ..ConnectOptions::default() };
        let (link, _) = connect::reach(&running, target, &options).await?;
        connect::open(&running, &link).await
    }

    pub(crate) async fn accept(&self) -> Option<Connection> {
        let running = self.running()?;
        let inbound = running.inbound?;
        let mut inbound = inbound.lock().await;
        tokio::select! {
            biased;
            () = running.stop.cancelled() => None,
            next = inbound.next() => next.map(|(_, stream)| Connection::new(stream)),
        }
    }

    pub(crate) fn set_file_callback(&self, callback: Option<FileCallback>) {
        *lock(&self.inner.callback) = callback;
        if let Some(server) = self.running().and_then(|running| running.engine.server) {
            server.set_fallback(self.fallback());
        }
    }

    /// From the next start on.
    pub(crate) fn set_gun_backend(&self, graph: Option<Arc<dyn GunBackend>>) {
        *lock(&self.inner.graph) = graph;
    }

    /// From the next start on.
    pub(crate) fn set_connection_registry(&self, registry: Option<ConnectionRegistry>) {
        *lock(&self.inner.registry) = registry;
    }

    /// Asks the user's callback for content that no file answers, and keeps what it describes.
    fn fallback(&self) -> Option<Fallback> {
        let callback = lock(&self.inner.callback).clone()?;
        let node = Arc::downgrade(&self.inner);
        Some(Arc::new(move |key| {
            let (callback, node) = (Arc::clone(&callback), node.clone());
            Box::pin(async move {
                let node = Node { inner: node.upgrade()? };
                node.share_callback(callback, &key).await
            })
        }))
    }

    pub(super) fn sink(&self) -> EventSink {
        let events = self.inner.events.clone();
        Arc::new(move |event| events.send(event))
    }

    pub(super) fn warn(&self, error: &Error) {
        tracing::warn!(error = %error.full_message(), "carrying on");
        self.inner.events.send(Event::Warning { error: ErrorRecord::from(error) });
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // A node that is dropped without stop() must not go on serving; the tasks and the port go with the token.
        let running = self.running.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(running) = running {
            running.stop.cancel();
        }
    }
}

async fn forward_events(mut from: FabricEvents, to: EventBus, stop: CancellationToken) {
    loop {
        let event = tokio::select! {
            () = stop.cancelled() => return,
            event = from.next() => event,
        };
        match event {
            Some(FabricEvent::LinkUp(link)) => to.send(Event::PeerConnected {
                connection_type: link.connection_type().to_owned(),
                peer: link.peer,
                address: link.address,
            }),
            Some(FabricEvent::LinkDown(link, true)) => to.send(Event::PeerDisconnected { peer: link.peer }),
            Some(FabricEvent::Warning(text)) => {
                let error = Error::new(ErrorKind::InvalidState, text);
                to.send(Event::Warning { error: ErrorRecord::from(&error) });
            }
            Some(_) => {}
            None => return,
        }
    }
}

fn stopped_meanwhile() -> Error {
    Error::new(ErrorKind::InvalidState, "the node was stopped while it started")
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
