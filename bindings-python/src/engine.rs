//! The process-wide runtime behind all objects: tokio threads, the dispatcher thread that calls into Python, and what
//! happens at fork and at exit. Not here: single operations and objects.
//!
//! Fork: a child process inherits the memory of the runtime but none of its threads. Everything made in the parent is
//! therefore dead in the child: using it raises an error, dropping it forgets it, and new objects get a new runtime.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use dig_nat_core::{Error, ErrorKind, Result};
use pyo3::prelude::*;
use tokio::runtime::{Handle, Runtime};

use crate::errors;

/// Time that nodes get at interpreter exit to withdraw announcements and close connections. Long enough for a round
/// trip to slow peers, short enough that nobody reaches for `kill`.
const EXIT_STOP: Duration = Duration::from_secs(3);

/// Time that blocking work (disk writes) gets after that.
const EXIT_RUNTIME: Duration = Duration::from_secs(2);

/// Something to run with the interpreter lock held; `None` ends the dispatcher.
type Job = Option<Box<dyn FnOnce(Python<'_>) + Send>>;

/// Stops one node; made again for each exit.
pub type Stopper = Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

/// How often this process is a fork of the one that loaded the module. Objects remember it.
static FORKS: AtomicUsize = AtomicUsize::new(0);

/// The engine of this process. Locked only with the interpreter lock held, which `os.fork` also holds, so a child
/// never inherits it in locked state.
static ENGINE: Mutex<Slot> = Mutex::new(Slot::Empty);

enum Slot {
    Empty,
    Running(Arc<Engine>),
    /// The interpreter is exiting: threads started now would outlive it.
    Closed,
}

/// Runtime and dispatcher of one process.
pub struct Engine {
    forks: usize,
    handle: Handle,
    runtime: Mutex<Option<Runtime>>,
    jobs: Dispatcher,
    thread: Mutex<Option<JoinHandle<()>>>,
    started: Mutex<HashMap<u64, Stopper>>,
    next_id: AtomicU64,
}

/// Hands work to the thread that calls into Python.
///
/// The queue is not bounded by itself, because tokio's threads must never wait for Python; it is bounded by its users,
/// each of which has at most one job in it: a live operation (see its `notified` flag), a call of a file callback
/// (bounded by core), a dropped callback.
#[derive(Clone)]
pub struct Dispatcher(mpsc::Sender<Job>);

impl Dispatcher {
    /// Runs `job` on the dispatcher thread; after the shutdown it is dropped.
    pub fn run(&self, job: impl FnOnce(Python<'_>) + Send + 'static) {
        // The thread ends only at interpreter exit; nobody waits for Python then.
        let _ = self.0.send(Some(Box::new(job)));
    }
}

impl Engine {
    /// The engine of this process, started on first use.
    pub fn current(_py: Python<'_>) -> PyResult<Arc<Self>> {
        // Raised outside the lock: making an exception can run Python code, which may let another thread in here.
        Self::current_or_new().map_err(|error| errors::raise(&error))
    }

    fn current_or_new() -> Result<Arc<Self>> {
        let mut slot = lock(&ENGINE);
        match &*slot {
            Slot::Running(engine) => Ok(engine.clone()),
            Slot::Closed => Err(Error::new(ErrorKind::InvalidState, "the interpreter is shutting down")),
            Slot::Empty => {
                let engine = Arc::new(Self::start().map_err(|error| Error::io("start the runtime", error))?);
                *slot = Slot::Running(engine.clone());
                Ok(engine)
            }
        }
    }

    fn start() -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("dig-nat").build()?;
        #[expect(clippy::disallowed_methods, reason = "bounded by its users, see Dispatcher")]
        let (sender, receiver) = mpsc::channel::<Job>();
        let thread = std::thread::Builder::new().name("dig-nat-python".into()).spawn(move || dispatch(&receiver))?;
        Ok(Self {
            forks: FORKS.load(Ordering::Acquire),
            handle: runtime.handle().clone(),
            runtime: Mutex::new(Some(runtime)),
            jobs: Dispatcher(sender),
            thread: Mutex::new(Some(thread)),
            started: Mutex::default(),
            next_id: AtomicU64::new(0),
        })
    }

    /// Where work runs.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Where Python is called.
    pub fn dispatcher(&self) -> &Dispatcher {
        &self.jobs
    }

    /// A key for [`register`](Self::register).
    pub fn new_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    /// Remembers how to stop a started node, for the interpreter's exit.
    pub fn register(&self, id: u64, stop: Stopper) {
        lock(&self.started).insert(id, stop);
    }

    /// The way to stop a node, if it was started and not stopped since.
    pub fn unregister(&self, id: u64) -> Option<Stopper> {
        lock(&self.started).remove(&id)
    }

    fn is_foreign(&self) -> bool {
        self.forks != FORKS.load(Ordering::Acquire)
    }

    /// Stops all nodes, then the threads. Must be called without the interpreter lock, which the dispatcher needs.
    fn close(&self) {
        let stoppers: Vec<Stopper> = lock(&self.started).drain().map(|(_, stop)| stop).collect();
        let runtime = lock(&self.runtime).take();
        if let Some(runtime) = runtime {
            let tasks: Vec<_> = stoppers.into_iter().map(|stop| runtime.spawn(stop())).collect();
            runtime.block_on(async {
                let all = async {
                    for task in tasks {
                        // A panic while stopping was reported by the panic hook; the exit goes on.
                        let _ = task.await;
                    }
                };
                let _ = tokio::time::timeout(EXIT_STOP, all).await;
            });
            runtime.shutdown_timeout(EXIT_RUNTIME);
        }
        let _ = self.jobs.0.send(None);
        if let Some(thread) = lock(&self.thread).take() {
            // The dispatcher catches what its jobs do; it has no result.
            let _ = thread.join();
        }
    }
}

/// A value that lives in an engine: unusable in a forked child, where its threads do not exist.
pub struct Owned<T>(Option<(Arc<Engine>, T)>);

impl<T> Owned<T> {
    /// Ties `value` to `engine`.
    pub fn new(engine: Arc<Engine>, value: T) -> Self {
        Self(Some((engine, value)))
    }

    /// The engine and the value, or the error of a forked child.
    pub fn get(&self) -> PyResult<(&Arc<Engine>, &T)> {
        let (engine, value) = self.0.as_ref().expect("only drop() takes the value");
        if engine.is_foreign() {
            let problem = "this object was made before os.fork() and belongs to the parent process; make a new one";
            return Err(errors::raise(&Error::new(ErrorKind::InvalidState, problem)));
        }
        Ok((engine, value))
    }

    /// The same for destructors: `None` in a forked child.
    pub fn get_unless_foreign(&self) -> Option<(&Arc<Engine>, &T)> {
        self.0.as_ref().filter(|(engine, _)| !engine.is_foreign()).map(|(engine, value)| (engine, value))
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        let Some((engine, value)) = self.0.take() else { return };
        if engine.is_foreign() {
            // Its destructor would wait for threads and locks that only the parent has.
            std::mem::forget((engine, value));
            return;
        }
        let _context = engine.handle.enter();
        drop(value);
    }
}

/// Locks a mutex whose data stays meaningful whatever a panicking holder did.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Stops every running node and all threads. Registered with `atexit`; a second call does nothing.
#[pyfunction]
pub fn shutdown(py: Python<'_>) {
    let slot = std::mem::replace(&mut *lock(&ENGINE), Slot::Closed);
    if let Slot::Running(engine) = slot {
        py.detach(|| engine.close());
    }
}

/// Lets go of the parent's runtime. Registered with `os.register_at_fork` for the child.
#[pyfunction]
pub fn forget_after_fork(_py: Python<'_>) {
    FORKS.fetch_add(1, Ordering::AcqRel);
    std::mem::forget(std::mem::replace(&mut *lock(&ENGINE), Slot::Empty));
}

fn dispatch(jobs: &mpsc::Receiver<Job>) {
    while let Ok(Some(job)) = jobs.recv() {
        // `None` when the interpreter is already finalizing: there is nobody to tell.
        if Python::try_attach(job).is_none() {
            return;
        }
    }
}
