//! A node of the lab as a place to run code: closures on an async runtime that lives in the node's namespace, and
//! programs. Not here: how the node is connected (`plan`).

use std::ffi::OsStr;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::panic::resume_unwind;
use std::process::Command;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

use super::namespace::Namespace;

/// How long [`Host::run`] and [`Running::join`] wait before they call a test hung.
const PATIENCE: Duration = Duration::from_secs(60);

/// Threads of a host's runtime. Two, so that one task that blocks does not stop the other side of a conversation.
const WORKERS: usize = 2;

/// A host or router of the lab.
#[derive(Debug)]
pub struct Host {
    name: String,
    namespace: Arc<Namespace>,
    places: Mutex<Place>,
    runtime: OnceLock<Runtime>,
}

/// What code inside a host may want to know about where it runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Name of the host.
    pub name: String,
    /// Its own IPv4 addresses: on a router those to the outside.
    pub v4: Vec<Ipv4Addr>,
    /// Its global IPv6 addresses.
    pub v6: Vec<Ipv6Addr>,
    /// The STUN server's endpoints: first address and port, first and other port, other address and first port, both
    /// other. The same four by IPv6 follow.
    pub stun: Vec<SocketAddr>,
    /// Addresses of the host `relay`, on which nothing runs unless a test starts it.
    pub relay: Vec<IpAddr>,
}

/// Work that goes on inside a host. Dropping it lets the work go on until the lab ends.
#[derive(Debug)]
pub struct Running<T> {
    host: String,
    handle: JoinHandle<T>,
}

impl Host {
    pub(super) fn new(namespace: Arc<Namespace>, place: Place) -> Self {
        Self { name: place.name.clone(), namespace, places: Mutex::new(place), runtime: OnceLock::new() }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it is now.
    pub fn place(&self) -> Place {
        self.places.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Its first IPv4 address. Panics when it has none.
    #[track_caller]
    pub fn v4(&self) -> Ipv4Addr {
        self.place().v4()
    }

    /// Its first IPv6 address. Panics when it has none.
    #[track_caller]
    pub fn v6(&self) -> Ipv6Addr {
        self.place().v6()
    }

    /// Runs async code on the host and waits for it. A panic inside goes on in the caller; after a minute it panics by
    /// itself. Not from async code: use [`Host::spawn`] there.
    #[track_caller]
    pub fn run<T: Send + 'static, F: Future<Output = T> + Send>(
        &self,
        body: impl FnOnce(Place) -> F + Send + 'static,
    ) -> T {
        self.spawn(body).join()
    }

    /// Starts async code on the host. All of a host's code shares one runtime, so that sockets of one call can be used
    /// in the next.
    pub fn spawn<T: Send + 'static, F: Future<Output = T> + Send>(
        &self,
        body: impl FnOnce(Place) -> F + Send + 'static,
    ) -> Running<T> {
        let place = self.place();
        let handle = self.runtime().spawn(async move { body(place).await });
        Running { host: self.name.clone(), handle }
    }

    /// Runs blocking code on a thread inside the host.
    pub fn inside<T: Send>(&self, body: impl FnOnce(Place) -> T + Send) -> T {
        let place = self.place();
        self.namespace.inside(|| body(place))
    }

    /// A program that will run inside the host. It ends at the latest with the lab's process.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.namespace.path())).arg("--").arg(program);
        command
    }

    pub(super) fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    pub(super) fn moved(&self, change: impl FnOnce(&mut Place)) {
        change(&mut self.places.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn runtime(&self) -> &Runtime {
        self.runtime.get_or_init(|| {
            let namespace = Arc::clone(&self.namespace);
            let enter = move || {
                // A worker outside its namespace would make every test meaningless.
                namespace.enter().unwrap_or_else(|error| panic!("enter the namespace: {error}"));
            };
            let runtime = Builder::new_multi_thread()
                .worker_threads(WORKERS)
                .thread_name(self.name.clone())
                .on_thread_start(enter)
                .enable_all()
                .build();
            runtime.unwrap_or_else(|error| panic!("a runtime for {}: {error}", self.name))
        })
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // What still runs belongs to the test that is over.
            runtime.shutdown_background();
        }
    }
}

impl Place {
    /// The first IPv4 address. Panics when there is none.
    #[track_caller]
    pub fn v4(&self) -> Ipv4Addr {
        *self.v4.first().unwrap_or_else(|| panic!("{} has no IPv4 address", self.name))
    }

    /// The first IPv6 address. Panics when there is none.
    #[track_caller]
    pub fn v6(&self) -> Ipv6Addr {
        *self.v6.first().unwrap_or_else(|| panic!("{} has no IPv6 address", self.name))
    }
}

impl<T> Running<T> {
    /// Waits for the result. A panic inside goes on here; after a minute it panics by itself.
    #[track_caller]
    pub fn join(self) -> T {
        let host = self.host.clone();
        self.join_within(PATIENCE).unwrap_or_else(|| panic!("{host} did not finish within {PATIENCE:?}"))
    }

    /// Waits at most so long; `None` when it is still running, which it then is no more.
    pub fn join_within(self, patience: Duration) -> Option<T> {
        let stop = self.handle.abort_handle();
        let waiting = Builder::new_current_thread().enable_time().build().expect("a runtime to wait on");
        let ended = waiting.block_on(async { tokio::time::timeout(patience, self.handle).await });
        match ended {
            Ok(Ok(result)) => Some(result),
            Ok(Err(error)) if error.is_panic() => resume_unwind(error.into_panic()),
            Ok(Err(_)) => panic!("the work on {} was aborted", self.host),
            Err(_) => {
                stop.abort();
                None
            }
        }
    }

    /// Ends the work.
    pub fn abort(self) {
        self.handle.abort();
    }

    /// Whether it has ended.
    pub fn is_finished(&self) -> bool {
        self.handle.is_finished()
    }
}
