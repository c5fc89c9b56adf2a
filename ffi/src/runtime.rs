//! `DigNatRuntime`: the threads that all other objects work on, and the list of running tasks.
//! Not here: what a task does (`task`), how callbacks are called (`dispatcher`).

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

use dig_nat_core::{Error, ErrorKind, Result};

use crate::argument::out;
use crate::dispatcher::{Dispatcher, inside_callback};
use crate::edge::{edge, value_edge};
use crate::error::{DigNatError, DigNatStatus};
use crate::handles::{self, Handle};
use crate::task::TaskState;

/// Tasks of one runtime that have not delivered their result: more than any program means to have, and the bound of
/// the callback queue.
const MAX_TASKS: usize = 65_536;

/// How long freeing a runtime or a started object waits for it to wind up. Stopping a node takes well below a second.
pub(crate) const WIND_UP: Duration = Duration::from_secs(10);

/// A runtime with more threads than this is a mistake.
const MAX_THREADS: u32 = 1024;

/// The threads of the library. Make one, make everything else from it, free it last.
pub struct DigNatRuntime {
    _opaque: [u8; 0],
}

impl Handle for DigNatRuntime {
    type Object = Runtime;
    const NAME: &'static str = "runtime";
}

/// What a `DigNatRuntime` stands for. Every other object holds a reference.
pub(crate) struct Runtime {
    threads: Mutex<Option<tokio::runtime::Runtime>>,
    pub(crate) handle: tokio::runtime::Handle,
    pub(crate) dispatcher: Dispatcher,
    tasks: Mutex<Tasks>,
    idle: Condvar,
    next_task: AtomicU64,
}

#[derive(Default)]
struct Tasks {
    closed: bool,
    running: HashMap<u64, Arc<TaskState>>,
}

impl Runtime {
    fn start(threads: u32) -> Result<Self> {
        if threads > MAX_THREADS {
            return Err(Error::invalid("worker_threads", format_args!("{threads} is more than {MAX_THREADS}")));
        }
        let failed = |error| Error::io("start threads", error);
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        if threads > 0 {
            builder.worker_threads(threads as usize);
        }
        let runtime = builder.enable_all().thread_name("dig-nat").build().map_err(failed)?;
        Ok(Self {
            handle: runtime.handle().clone(),
            threads: Mutex::new(Some(runtime)),
            dispatcher: Dispatcher::start().map_err(failed)?,
            tasks: Mutex::default(),
            idle: Condvar::new(),
            next_task: AtomicU64::new(0),
        })
    }

    /// Refuses work after the runtime was freed.
    pub(crate) fn check_open(&self) -> Result<()> {
        if self.tasks().closed { Err(freed()) } else { Ok(()) }
    }

    /// Lists a task until [`forget`](Self::forget).
    pub(crate) fn register(&self, make: impl FnOnce(u64) -> Arc<TaskState>) -> Result<Arc<TaskState>> {
        let mut tasks = self.tasks();
        if tasks.closed {
            return Err(freed());
        }
        if tasks.running.len() >= MAX_TASKS {
            return Err(Error::new(ErrorKind::LimitReached, format!("{MAX_TASKS} tasks are running")));
        }
        let id = self.next_task.fetch_add(1, Ordering::Relaxed);
        let state = make(id);
        tasks.running.insert(id, Arc::clone(&state));
        Ok(state)
    }

    /// A task has delivered its result.
    pub(crate) fn forget(&self, id: u64) {
        self.tasks().running.remove(&id);
        self.idle.notify_all();
    }

    /// Runs a future to its end or until `limit` has passed, from a thread that is not a worker of the runtime.
    pub(crate) fn finish(&self, limit: Duration, future: impl Future<Output = ()> + Send + 'static) {
        let (done, wait) = mpsc::sync_channel(1);
        self.handle.spawn(async move {
            future.await;
            // The waiter may have given up.
            let _ = done.send(());
        });
        // A disconnect means that the runtime is gone, and the future with it.
        let _ = wait.recv_timeout(limit);
    }

    /// Cancels everything, delivers every outstanding completion, ends the threads.
    fn shut_down(&self) {
        let running: Vec<_> = {
            let mut tasks = self.tasks();
            tasks.closed = true;
            tasks.running.values().cloned().collect()
        };
        for task in running {
            task.cancel();
        }
        let deadline = Instant::now() + WIND_UP;
        let mut tasks = self.tasks();
        while !tasks.running.is_empty() {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else { break };
            tasks = self.idle.wait_timeout(tasks, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(tasks);
        let threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(threads) = threads {
            // Drops every future that is left; a dropped task delivers "cancelled".
            threads.shutdown_timeout(WIND_UP);
        }
        self.dispatcher.close();
    }

    fn tasks(&self) -> MutexGuard<'_, Tasks> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        // The last reference may be dropped by one of the threads themselves, which must not wait for itself.
        if let Some(threads) = self.threads.lock().unwrap_or_else(PoisonError::into_inner).take() {
            threads.shutdown_background();
        }
    }
}

/// A core object that belongs to a runtime and is only touched inside it.
pub(crate) struct Owned<T> {
    pub(crate) runtime: Arc<Runtime>,
    value: Option<T>,
}

impl<T> Owned<T> {
    /// Makes the object inside the runtime.
    pub(crate) fn make(runtime: Arc<Runtime>, make: impl FnOnce() -> Result<T>) -> Result<Self> {
        runtime.check_open()?;
        let value = {
            let _inside = runtime.handle.enter();
            make()?
        };
        Ok(Self { runtime, value: Some(value) })
    }

    /// Calls a method that does not wait, inside the runtime.
    pub(crate) fn with<R>(&self, call: impl FnOnce(&T) -> R) -> R {
        let _inside = self.runtime.handle.enter();
        call(self.value.as_ref().expect("only drop takes the value"))
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        let _inside = self.runtime.handle.enter();
        self.value = None;
    }
}

fn freed() -> Error {
    Error::new(ErrorKind::InvalidState, "the runtime was freed")
}

/// Starts the threads of the library. `worker_threads` 0 means one per processor.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_runtime_new(
    worker_threads: u32,
    runtime: *mut *mut DigNatRuntime,
    error: *mut *mut DigNatError,
) -> DigNatStatus {
    // SAFETY: out pointers by contract.
    unsafe {
        edge(error, || {
            let runtime = out(runtime, "runtime")?;
            runtime.write(handles::put(Arc::new(Runtime::start(worker_threads)?)));
            Ok(())
        })
    }
}

/// Cancels every task, delivers every outstanding completion, and ends the threads: when it returns, no callback runs
/// or will run. Waits up to 10 seconds for operations that wind up, and for a callback that is running. Objects made from the runtime stay valid handles
/// and answer with DIG_NAT_STATUS_INVALID_STATE; they still have to be freed. Called inside a callback it returns at
/// once and does all this in the background. NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_runtime_free(runtime: *mut DigNatRuntime) {
    value_edge((), || {
        let Some(runtime) = handles::take(runtime.cast_const()) else { return Ok(()) };
        if inside_callback() {
            std::thread::spawn(move || runtime.shut_down());
        } else {
            runtime.shut_down();
        }
        Ok(())
    });
}
