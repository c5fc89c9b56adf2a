//! `DigNatTask`: one running operation, its progress and its one completion.
//! Not here: the operations.

use std::collections::VecDeque;
use std::ffi::{CString, c_char, c_void};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use dig_nat_core::api::{Canceller, ProgressFn, Task};
use dig_nat_core::base::events::Progress;
use dig_nat_core::{Error, ErrorKind, Result};
use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use crate::argument::{c_string, clear};
use crate::dispatcher::inside_callback;
use crate::edge::{Failure, edge, value_edge};
use crate::error::{DigNatError, DigNatStatus, ErrorObject};
use crate::handles::{self, Handle};
use crate::result::{DigNatResult, Record, ResultObject};
use crate::runtime::Runtime;

/// Progress states kept for a slow callback; later ones replace the newest, so the last is never lost.
const MAX_PENDING_PROGRESS: usize = 32;

/// Wait as long as it takes.
pub const DIG_NAT_WAIT_FOREVER: u32 = u32::MAX;

/// A running operation.
pub struct DigNatTask {
    _opaque: [u8; 0],
}

/// The state of a download. Belongs to the library and is valid during the callback.
#[repr(C)]
pub struct DigNatProgress {
    /// Bytes of this struct; later versions append fields.
    pub size: usize,
    /// Verified bytes, those of an earlier run included.
    pub bytes: u64,
    /// Size of the file, 0 while unknown.
    pub total: u64,
    /// bytes / total, 0 to 1; 1 for a finished empty file. Never NaN.
    pub fraction: f64,
    /// Bytes per second over the last seconds.
    pub rate: f64,
    /// Seconds left at this rate, negative while unknown.
    pub eta_seconds: f64,
    /// Peers of this download.
    pub peer_count: usize,
    /// What each of them does, as a JSON array of {peer, status, bytes, rate, connectionType}.
    pub peers_json: *const c_char,
}

/// Called exactly once when an operation has ended. Exactly one of `result` and `error` is not NULL; both belong to the
/// library and are valid during the call. `user` is what was given with the callback.
pub type DigNatDoneFn =
    Option<unsafe extern "C" fn(user: *mut c_void, result: *const DigNatResult, error: *const DigNatError)>;

/// Called with the state of a download: first and last state always, at most 20 times a second, never after the
/// completion. `user` is what was given with the callback.
pub type DigNatProgressFn = Option<unsafe extern "C" fn(user: *mut c_void, progress: *const DigNatProgress)>;

impl Handle for DigNatTask {
    type Object = TaskState;
    const NAME: &'static str = "task";
}

/// The callbacks of one operation.
#[derive(Clone, Copy)]
pub(crate) struct Callbacks {
    done: DigNatDoneFn,
    progress: DigNatProgressFn,
    user: User,
}

impl Callbacks {
    pub(crate) fn new(done: DigNatDoneFn, progress: DigNatProgressFn, user: *mut c_void) -> Self {
        Self { done, progress, user: User(user) }
    }
}

/// The user's pointer. The library never looks behind it.
#[derive(Clone, Copy)]
pub(crate) struct User(pub(crate) *mut c_void);

// SAFETY: by contract the user's callbacks may be called from the library's callback thread with this pointer.
unsafe impl Send for User {}
// SAFETY: as above.
unsafe impl Sync for User {}

/// An operation to start.
pub(crate) struct Operation {
    future: BoxFuture<'static, Result<Record>>,
    cancel: Cancel,
}

enum Cancel {
    /// Dropping the future is enough.
    Drop,
    /// The operation cleans up by itself when asked.
    Ask(Canceller),
    /// Too short or too important to be cut off.
    Never,
}

impl Operation {
    /// A task of the facade. Must be made inside the runtime.
    pub(crate) fn task<T: Send + 'static>(task: Task<T>, record: impl FnOnce(T) -> Record + Send + 'static) -> Self {
        let cancel = Cancel::Ask(task.canceller());
        Self { future: Box::pin(async move { task.await.map(record) }), cancel }
    }

    /// The same for a task whose result becomes an object with a handle.
    pub(crate) fn object<T: Send + 'static>(
        task: Task<T>,
        record: impl FnOnce(T) -> Result<Record> + Send + 'static,
    ) -> Self {
        let cancel = Cancel::Ask(task.canceller());
        Self { future: Box::pin(async move { task.await.and_then(record) }), cancel }
    }

    /// A future that may be dropped at any time.
    pub(crate) fn future(future: impl Future<Output = Result<Record>> + Send + 'static) -> Self {
        Self { future: Box::pin(future), cancel: Cancel::Drop }
    }

    /// A future that runs to its end.
    pub(crate) fn firm(future: impl Future<Output = Result<Record>> + Send + 'static) -> Self {
        Self { future: Box::pin(future), cancel: Cancel::Never }
    }
}

/// What a `DigNatTask` stands for.
pub(crate) struct TaskState {
    id: u64,
    runtime: Weak<Runtime>,
    callbacks: Callbacks,
    cancel: CancellationToken,
    inner: Mutex<Inner>,
    ready: Condvar,
}

#[derive(Default)]
struct Inner {
    progress: VecDeque<Progress>,
    progress_posted: bool,
    outcome: Option<Outcome>,
    delivered: bool,
}

#[derive(Clone)]
enum Outcome {
    Done(Arc<Record>),
    Failed(Arc<ErrorObject>),
}

/// Starts an operation: gives out its handle first, so that callbacks can rely on it, then runs it.
pub(crate) unsafe fn start(
    runtime: &Arc<Runtime>,
    callbacks: Callbacks,
    task: *mut *mut DigNatTask,
    operation: impl FnOnce(&Arc<TaskState>) -> Operation,
) -> Result<(), Failure> {
    // SAFETY: NULL or a place for one pointer by contract.
    unsafe { clear(task) };
    let state = runtime.register(|id| {
        Arc::new(TaskState {
            id,
            runtime: Arc::downgrade(runtime),
            callbacks,
            cancel: CancellationToken::new(),
            inner: Mutex::default(),
            ready: Condvar::new(),
        })
    })?;
    let unfinished = Unfinished(Arc::clone(&state));
    if !task.is_null() {
        // SAFETY: as above.
        unsafe { task.write(handles::put(Arc::clone(&state))) };
    }
    let _inside = runtime.handle.enter();
    let operation = operation(&state);
    runtime.handle.spawn(async move {
        // The whole guard moves in here, so that it is dropped with this future.
        let unfinished = unfinished;
        let outcome = run(operation, &state.cancel).await;
        unfinished.0.complete(outcome);
    });
    Ok(())
}

async fn run(operation: Operation, cancelled: &CancellationToken) -> Result<Record> {
    // A task of its own, so that a panic in it becomes a result.
    let mut running = tokio::spawn(operation.future);
    let joined = tokio::select! {
        joined = &mut running => joined,
        () = cancelled.cancelled() => {
            match operation.cancel {
                Cancel::Drop => running.abort(),
                Cancel::Ask(canceller) => canceller.cancel(),
                Cancel::Never => {}
            }
            running.await
        }
    };
    match joined {
        Ok(result) => result,
        Err(error) if error.is_cancelled() => Err(cancelled_error()),
        Err(error) => Err(Error::with_source(ErrorKind::Internal, "an operation panicked", error)),
    }
}

/// Completes a task whose future is dropped with its runtime. A task that is complete stays as it is.
struct Unfinished(Arc<TaskState>);

impl Drop for Unfinished {
    fn drop(&mut self) {
        self.0.complete(Err(cancelled_error()));
    }
}

fn cancelled_error() -> Error {
    Error::new(ErrorKind::Cancelled, "cancelled by the caller")
}

impl TaskState {
    pub(crate) fn cancel(&self) {
        self.cancel.cancel();
    }

    /// The facade's progress callback for this task, if the user wants progress.
    pub(crate) fn progress_hook(self: &Arc<Self>) -> Option<ProgressFn> {
        self.callbacks.progress?;
        let state = Arc::clone(self);
        Some(Arc::new(move |progress: &Progress| state.push_progress(progress)))
    }

    fn push_progress(self: &Arc<Self>, progress: &Progress) {
        let mut inner = self.lock();
        if inner.outcome.is_some() {
            return;
        }
        if inner.progress.len() == MAX_PENDING_PROGRESS {
            inner.progress.pop_back();
        }
        inner.progress.push_back(progress.clone());
        if !std::mem::replace(&mut inner.progress_posted, true) {
            drop(inner);
            self.post(|state| state.deliver_progress());
        }
    }

    fn deliver_progress(&self) {
        loop {
            let mut inner = self.lock();
            let Some(progress) = inner.progress.pop_front() else {
                inner.progress_posted = false;
                return;
            };
            drop(inner);
            let Some(callback) = self.callbacks.progress else { return };
            let peers = serde_json::to_string(&progress.peers).expect("plain records have a JSON form");
            let peers: CString = c_string(peers);
            let progress = DigNatProgress {
                size: size_of::<DigNatProgress>(),
                bytes: progress.bytes,
                total: progress.total,
                fraction: progress.fraction,
                rate: progress.rate,
                eta_seconds: progress.eta.unwrap_or(-1.0),
                peer_count: progress.peers.len(),
                peers_json: peers.as_ptr(),
            };
            // SAFETY: the user's function, called as documented.
            unsafe { callback(self.callbacks.user.0, &raw const progress) };
        }
    }

    fn complete(self: &Arc<Self>, result: Result<Record>) {
        let outcome = match result {
            Ok(record) => Outcome::Done(Arc::new(record)),
            Err(error) => Outcome::Failed(Arc::new(ErrorObject::from(&error))),
        };
        {
            let mut inner = self.lock();
            if inner.outcome.is_some() {
                return;
            }
            inner.outcome = Some(outcome.clone());
        }
        if self.callbacks.done.is_some() || self.callbacks.progress.is_some() {
            self.post(move |state| {
                state.deliver_progress();
                state.deliver(&outcome);
            });
        } else {
            self.delivered();
        }
    }

    fn deliver(&self, outcome: &Outcome) {
        if let Some(done) = self.callbacks.done {
            let user = self.callbacks.user.0;
            match outcome {
                Outcome::Done(record) => {
                    let result: *mut DigNatResult = handles::put(Arc::new(ResultObject::new(Arc::clone(record))));
                    // SAFETY: the user's function, called as documented.
                    unsafe { done(user, result, std::ptr::null()) };
                    handles::take(result.cast_const());
                }
                Outcome::Failed(object) => {
                    let error: *mut DigNatError = handles::put(Arc::clone(object));
                    // SAFETY: as above.
                    unsafe { done(user, std::ptr::null(), error) };
                    handles::take(error.cast_const());
                }
            }
        }
        self.delivered();
    }

    fn delivered(&self) {
        self.lock().delivered = true;
        self.ready.notify_all();
        if let Some(runtime) = self.runtime.upgrade() {
            runtime.forget(self.id);
        }
    }

    fn post(self: &Arc<Self>, job: impl FnOnce(&Arc<Self>) + Send + 'static) {
        if let Some(runtime) = self.runtime.upgrade() {
            let state = Arc::clone(self);
            runtime.dispatcher.post(move || job(&state));
        }
    }

    /// The outcome once it is delivered, `None` after `timeout_ms`.
    fn wait(&self, timeout_ms: u32) -> Option<Outcome> {
        let forever = timeout_ms == DIG_NAT_WAIT_FOREVER;
        let deadline = Instant::now() + Duration::from_millis(timeout_ms.into());
        let mut inner = self.lock();
        while !inner.delivered {
            inner = if forever {
                self.ready.wait(inner).unwrap_or_else(PoisonError::into_inner)
            } else {
                let left = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?;
                self.ready.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0
            };
        }
        inner.outcome.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits for a task and gives what came of it: the status, and a result or an error to be freed by the caller (both
/// pointers may be NULL if not wanted). When it returns anything but a time-out, the task's callbacks have returned and
/// will not be called again. Returns DIG_NAT_STATUS_TIMEOUT after `timeout_ms` (0 only looks, DIG_NAT_WAIT_FOREVER
/// waits as long as it takes); the task then goes on, which dig_nat_task_is_finished tells apart from an operation that
/// failed with a time-out. May be called again, and by several threads, but not inside a callback, where it gives
/// DIG_NAT_STATUS_INVALID_STATE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_task_wait(
    task: *const DigNatTask,
    timeout_ms: u32,
    result: *mut *mut DigNatResult,
    error: *mut *mut DigNatError,
) -> DigNatStatus {
    // SAFETY: out pointers by contract.
    unsafe {
        edge(error, || {
            clear(result);
            let task = handles::get(task)?;
            if inside_callback() {
                return Err(Error::new(ErrorKind::InvalidState, "a callback must not wait for a task").into());
            }
            match task.wait(timeout_ms) {
                Some(Outcome::Done(record)) => {
                    if !result.is_null() {
                        result.write(handles::put(Arc::new(ResultObject::new(record))));
                    }
                    Ok(())
                }
                Some(Outcome::Failed(object)) => Err(Failure(object)),
                None => {
                    let context = format!("the task is still running after {timeout_ms} ms");
                    Err(Error::new(ErrorKind::Timeout, context).into())
                }
            }
        })
    }
}

/// Whether the task has ended and its callbacks have returned. False for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_task_is_finished(task: *const DigNatTask) -> bool {
    value_edge(false, || Ok(handles::get(task)?.lock().delivered))
}

/// Asks the operation to stop and clean up. Its completion still comes, normally with DIG_NAT_STATUS_CANCELLED; a
/// download leaves a part file that a later download continues. Starting, stopping and removing cannot be cut off and
/// end by themselves. Does nothing once the task has ended, and for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_task_cancel(task: *const DigNatTask) {
    value_edge((), || {
        handles::get(task)?.cancel();
        Ok(())
    });
}

/// Frees a task; if it still runs it is cancelled, and its completion callback is still called. NULL is fine. To let an
/// operation run on its own, pass NULL for `task` when starting it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_task_free(task: *mut DigNatTask) {
    value_edge((), || {
        if let Some(task) = handles::take(task.cast_const()) {
            task.cancel();
        }
        Ok(())
    });
}
