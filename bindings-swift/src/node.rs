//! `LightNode`: a client that never uploads and that can be suspended.
//! Not here: one download (`download`).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use dig_nat_core::api::{EventStream, FileClient};
use dig_nat_core::base::ids::ContentKey;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::download::Download;
use crate::engine;
use crate::errors::{DigNatError, Result};
use crate::options::{DownloadOptions, FindOptions, LightNodeOptions};
use crate::progress::ProgressListener;
use crate::records::{DiscoveredPeer, DownloadResult, NatProfile, RemoteFile};

/// Receives what happens in a node.
#[uniffi::export(with_foreign)]
pub trait EventListener: Send + Sync {
    /// Called with each event as a JSON object with a field `type` (`started`, `peer:connected`, …), on a thread of the
    /// library, one call at a time.
    fn on_event(&self, event_json: String);
}

/// Downloads files and never uploads. Nothing is opened before it is started; downloads start it by themselves.
#[derive(uniffi::Object)]
pub struct LightNode {
    shared: Arc<Shared>,
    listening: Mutex<Option<DropGuard>>,
}

/// What a node shares with its downloads.
pub(crate) struct Shared {
    pub(crate) client: FileClient,
    pub(crate) phase: watch::Sender<Phase>,
    /// One start, stop, suspend or resume at a time.
    lifecycle: tokio::sync::Mutex<()>,
}

/// Where a node is in its life. The count tells a pause that is already over from none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Phase {
    pub(crate) state: State,
    pub(crate) changes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Active,
    Suspended,
    Stopped,
}

#[uniffi::export]
impl LightNode {
    /// A node that is not started yet.
    #[uniffi::constructor]
    pub fn new(options: LightNodeOptions) -> std::result::Result<Arc<Self>, DigNatError> {
        let (node, client) = options.into_core()?;
        let _inside = engine::engine()?.enter();
        let client = FileClient::new(node, client)?;
        let phase = watch::Sender::new(Phase { state: State::Active, changes: 0 });
        let shared = Arc::new(Shared { client, phase, lifecycle: tokio::sync::Mutex::default() });
        Ok(Arc::new(Self { shared, listening: Mutex::default() }))
    }

    /// Opens the port and starts discovery. Also resumes a suspended and restarts a stopped node. A second call does
    /// nothing.
    pub async fn start(&self) -> std::result::Result<(), DigNatError> {
        let shared = Arc::clone(&self.shared);
        engine::run_to_end(async move { shared.enter(State::Active).await }).await
    }

    /// Cancels downloads (they can be resumed by starting them again), closes all connections, frees the port. A second
    /// call does nothing.
    pub async fn stop(&self) -> std::result::Result<(), DigNatError> {
        let shared = Arc::clone(&self.shared);
        engine::run_to_end(async move { shared.enter(State::Stopped).await }).await
    }

    /// Closes all sockets and pauses downloads, for the time the system gives an app no processor or network. Downloads
    /// started meanwhile wait. A second call does nothing.
    pub async fn suspend(&self) -> std::result::Result<(), DigNatError> {
        let shared = Arc::clone(&self.shared);
        engine::run_to_end(async move { shared.enter(State::Suspended).await }).await
    }

    /// Ends a suspension: sockets open, downloads go on where they were. The same as `start`.
    pub async fn resume(&self) -> std::result::Result<(), DigNatError> {
        self.start().await
    }

    /// Whether the node is suspended.
    pub fn is_suspended(&self) -> bool {
        self.shared.phase.borrow().state == State::Suspended
    }

    /// The bound port, 0 while nothing is open.
    pub fn port(&self) -> u16 {
        self.shared.client.port()
    }

    /// A random UUID of this node.
    pub fn client_id(&self) -> String {
        self.shared.client.client_id()
    }

    /// The identity on the network, absent while nothing is open.
    pub fn peer_id(&self) -> Option<String> {
        self.shared.client.peer_id().map(|id| id.to_string())
    }

    /// What stands between this node and the internet, as found out with its STUN servers; absent before the event
    /// `nat:detected`.
    pub fn nat_profile(&self) -> Option<NatProfile> {
        self.shared.client.nat_profile().map(Into::into)
    }

    /// Downloads a file by its SHA-256 or readable id and waits for it: finds peers unless some are given, proves every
    /// piece, resumes what an earlier run left. A download that nobody waits for any more is cancelled.
    pub async fn download(
        &self,
        key: String,
        options: DownloadOptions,
        listener: Option<Arc<dyn ProgressListener>>,
    ) -> std::result::Result<DownloadResult, DigNatError> {
        // Dropped with this future.
        let download = self.start_download(key, options, listener)?;
        download.result().await
    }

    /// Starts a download that can be cancelled; releasing it cancels it.
    pub fn start_download(
        &self,
        key: String,
        options: DownloadOptions,
        listener: Option<Arc<dyn ProgressListener>>,
    ) -> std::result::Result<Arc<Download>, DigNatError> {
        let key = parse(&key)?;
        let options = options.into_core()?;
        Ok(Arc::new(Download::start(Arc::clone(&self.shared), key, options, listener)?))
    }

    /// Looks for peers that have a content. Finding nobody is an empty list.
    pub async fn find_peers(
        &self,
        key: String,
        options: FindOptions,
    ) -> std::result::Result<Vec<DiscoveredPeer>, DigNatError> {
        let (key, options) = (parse(&key)?, options.into_core()?);
        let client = self.shared.client.clone();
        engine::run(async move {
            let peers = client.find_peers(key, options).await?;
            Ok(peers.into_iter().map(Into::into).collect())
        })
        .await
    }

    /// Asks peers for size and name of a file without downloading it.
    pub async fn file_info(
        &self,
        key: String,
        options: DownloadOptions,
    ) -> std::result::Result<RemoteFile, DigNatError> {
        let (key, options) = (parse(&key)?, options.into_core()?);
        let client = self.shared.client.clone();
        engine::run(async move { Ok(client.file_info(key, options).await?.into()) }).await
    }

    /// Remembers a peer (`host:port`, multiaddr or peer id) for all searches, or for those for `key`.
    #[uniffi::method(default(key = None))]
    pub fn add_peer(&self, peer: String, key: Option<String>) -> std::result::Result<(), DigNatError> {
        let key = key.as_deref().map(parse).transpose()?;
        let _inside = engine::engine()?.enter();
        Ok(self.shared.client.add_peer(&peer, key)?)
    }

    /// Switches the search for further peers during downloads, running ones included.
    pub fn set_continuous_discovery(&self, enabled: bool) {
        self.shared.client.set_continuous_discovery(enabled);
    }

    /// Sends events to a listener from now on, instead of the one before; none to end it.
    pub fn set_event_listener(&self, listener: Option<Arc<dyn EventListener>>) -> std::result::Result<(), DigNatError> {
        let guard = match listener {
            Some(listener) => {
                let _inside = engine::engine()?.enter();
                Some(forward_events(self.shared.client.subscribe(), listener))
            }
            None => None,
        };
        *self.listening.lock().unwrap_or_else(PoisonError::into_inner) = guard;
        Ok(())
    }
}

impl Shared {
    async fn enter(&self, state: State) -> Result<()> {
        let _alone = self.lifecycle.lock().await;
        let before = *self.phase.borrow();
        if state == State::Active {
            self.client.start().await?;
            if before.state != state {
                self.change(state);
            }
        } else if before.state != state {
            // First the phase: downloads that end because of the stop must know that it is only a pause.
            self.change(state);
            self.client.stop().await?;
        }
        Ok(())
    }

    fn change(&self, state: State) {
        self.phase.send_modify(|phase| *phase = Phase { state, changes: phase.changes + 1 });
    }
}

impl Drop for LightNode {
    fn drop(&mut self) {
        // Downloads hold a share of the node and end by themselves; without them, the sockets close here. Without an
        // engine nothing was ever opened.
        if let Ok(engine) = engine::engine() {
            let shared = Arc::clone(&self.shared);
            engine.spawn(async move {
                // Nobody is left to tell.
                let _ = shared.enter(State::Stopped).await;
            });
        }
    }
}

fn parse(key: &str) -> Result<ContentKey> {
    Ok(key.parse::<ContentKey>()?)
}

/// Takes one event at a time to a thread that may block.
fn forward_events(mut events: EventStream, listener: Arc<dyn EventListener>) -> DropGuard {
    let ended = CancellationToken::new();
    let guard = ended.clone().drop_guard();
    let (send, mut receive) = mpsc::channel::<String>(1);
    tokio::task::spawn_blocking(move || {
        while let Some(event) = receive.blocking_recv() {
            // Foreign code that throws arrives as a panic; its next call may do better.
            let _ = catch_unwind(AssertUnwindSafe(|| listener.on_event(event)));
        }
    });
    tokio::spawn(ended.run_until_cancelled_owned(async move {
        while let Some(event) = events.next().await {
            let text = serde_json::to_string(&event).expect("events have a JSON form");
            if send.send(text).await.is_err() {
                return;
            }
        }
    }));
    guard
}
