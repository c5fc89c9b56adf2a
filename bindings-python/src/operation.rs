//! One running call: its result, its progress, its cancellation. The asyncio and the blocking package both stand on
//! it. Not here: what the call does.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use dig_nat_core::api::{Canceller, ProgressFn, Task};
use dig_nat_core::base::events::Progress;
use dig_nat_core::{Error, ErrorKind, Result};
use pyo3::prelude::*;
use tokio::sync::Notify;

use crate::convert;
use crate::engine::{Dispatcher, Engine, Owned, lock};
use crate::errors;

/// Progress reports kept for a Python that is busy elsewhere: three seconds' worth at core's 20 a second. When full,
/// reports from the middle go; the first and the newest stay.
const MAX_PROGRESS: usize = 64;

/// How often a blocked main thread looks for Ctrl-C. Results wake it at once.
const SIGNAL_PERIOD: Duration = Duration::from_millis(50);

/// Makes the Python value of a result; runs where the result is taken.
type Convert = Box<dyn FnOnce(Python<'_>) -> PyResult<Py<PyAny>> + Send>;

type Outcome = Result<Convert>;

/// A call that runs in the background. Dropping it cancels the call.
#[pyclass(frozen, module = "dig_nat_tools._native")]
pub struct Operation(Owned<Running>);

struct Running {
    shared: Arc<Shared>,
    cancel: Cancel,
}

enum Cancel {
    /// Core cleans up and then reports the end.
    Task(Canceller),
    /// The future is dropped where it stands.
    Future(Arc<Notify>),
    /// Runs to its end.
    Never,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    dispatcher: Dispatcher,
}

#[derive(Default)]
struct State {
    finished: bool,
    outcome: Option<Outcome>,
    progress: VecDeque<Progress>,
    notify: Option<Py<PyAny>>,
    /// Whether a call of `notify` is on its way; reset by `poll`. So at most one is.
    notified: bool,
}

impl Operation {
    /// Follows a task of core. `make` gets the progress callback to hand over when `progress` is wanted.
    pub fn task<T: Send + 'static>(
        engine: &Arc<Engine>,
        progress: bool,
        make: impl FnOnce(Option<ProgressFn>) -> Task<T>,
        convert: impl FnOnce(Python<'_>, T) -> PyResult<Py<PyAny>> + Send + 'static,
    ) -> Self {
        let shared = Shared::new(engine);
        let reporter = shared.clone();
        let callback: ProgressFn = Arc::new(move |state: &Progress| reporter.report(state));
        let _context = engine.handle().enter();
        let task = make(progress.then_some(callback));
        let canceller = task.canceller();
        Self::spawn(engine, shared, Cancel::Task(canceller), task.wait(), convert)
    }

    /// Follows a future that may be dropped at any time.
    pub fn future<T: Send + 'static>(
        engine: &Arc<Engine>,
        future: impl Future<Output = Result<T>> + Send + 'static,
        convert: impl FnOnce(Python<'_>, T) -> PyResult<Py<PyAny>> + Send + 'static,
    ) -> Self {
        let shared = Shared::new(engine);
        let cancelled = Arc::new(Notify::new());
        let cancel = Cancel::Future(cancelled.clone());
        let future = async move {
            tokio::select! {
                // A result that is there is never thrown away.
                biased;
                result = future => result,
                () = cancelled.notified() => Err(Error::new(ErrorKind::Cancelled, "the call was cancelled")),
            }
        };
        Self::spawn(engine, shared, cancel, future, convert)
    }

    /// Follows a future that must run to its end.
    pub fn to_the_end<T: Send + 'static>(
        engine: &Arc<Engine>,
        future: impl Future<Output = Result<T>> + Send + 'static,
        convert: impl FnOnce(Python<'_>, T) -> PyResult<Py<PyAny>> + Send + 'static,
    ) -> Self {
        Self::spawn(engine, Shared::new(engine), Cancel::Never, future, convert)
    }

    fn spawn<T: Send + 'static>(
        engine: &Arc<Engine>,
        shared: Arc<Shared>,
        cancel: Cancel,
        future: impl Future<Output = Result<T>> + Send + 'static,
        convert: impl FnOnce(Python<'_>, T) -> PyResult<Py<PyAny>> + Send + 'static,
    ) -> Self {
        let end = End(Some(shared.clone()));
        engine.handle().spawn(async move {
            let result = future.await;
            end.set(result.map(|value| -> Convert { Box::new(move |py| convert(py, value)) }));
        });
        Self(Owned::new(engine.clone(), Running { shared, cancel }))
    }
}

#[pymethods]
impl Operation {
    /// Calls `notify()` on another thread, at most once between two calls of `poll()`, whenever there is something new.
    fn set_notify(&self, notify: Py<PyAny>) -> PyResult<()> {
        let shared = &self.0.get()?.1.shared;
        let before = {
            let mut state = lock(&shared.state);
            let before = state.notify.replace(notify);
            shared.announce(&mut state);
            before
        };
        // Outside the lock: the end of a Python object can run any code.
        drop(before);
        Ok(())
    }

    /// Whether the call has ended, and the progress since the last call. The end comes with the last progress.
    fn poll(&self, py: Python<'_>) -> PyResult<(bool, Vec<Py<PyAny>>)> {
        let shared = &self.0.get()?.1.shared;
        let (finished, reports) = {
            let mut state = lock(&shared.state);
            state.notified = false;
            (state.finished, std::mem::take(&mut state.progress))
        };
        let reports = reports.iter().map(|report| convert::record(py, report)).collect::<PyResult<_>>()?;
        Ok((finished, reports))
    }

    /// Blocks until there is something new or `timeout` seconds have passed. Handles signals, releases the GIL.
    #[pyo3(signature = (timeout=None))]
    fn wait(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<bool> {
        let shared = &self.0.get()?.1.shared;
        let deadline = timeout
            .and_then(|seconds| Duration::try_from_secs_f64(seconds.max(0.0)).ok())
            .and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let period = left.unwrap_or(SIGNAL_PERIOD).min(SIGNAL_PERIOD);
            if py.detach(|| shared.wait(period)) {
                return Ok(true);
            }
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(false);
            }
            py.check_signals()?;
        }
    }

    /// The result of a call that has ended, or its error. Can be taken once.
    fn result(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let outcome = lock(&self.0.get()?.1.shared.state).outcome.take();
        match outcome {
            Some(Ok(convert)) => convert(py),
            Some(Err(error)) => Err(errors::raise(&error)),
            None => Err(errors::raise(&Error::new(ErrorKind::InvalidState, "the call has no result to take"))),
        }
    }

    /// Asks the call to end; it still reports its end.
    fn cancel(&self) -> PyResult<()> {
        self.0.get()?.1.cancel.now();
        Ok(())
    }
}

impl Drop for Operation {
    fn drop(&mut self) {
        if let Some((_, running)) = self.0.get_unless_foreign() {
            running.cancel.now();
        }
    }
}

impl Cancel {
    fn now(&self) {
        match self {
            Self::Task(canceller) => canceller.cancel(),
            Self::Future(cancelled) => cancelled.notify_one(),
            Self::Never => {}
        }
    }
}

impl Shared {
    fn new(engine: &Engine) -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), changed: Condvar::new(), dispatcher: engine.dispatcher().clone() })
    }

    fn report(self: &Arc<Self>, progress: &Progress) {
        let mut state = lock(&self.state);
        if state.progress.len() >= MAX_PROGRESS {
            state.progress.remove(1);
        }
        state.progress.push_back(progress.clone());
        self.announce(&mut state);
    }

    fn finish(self: &Arc<Self>, outcome: Outcome) {
        let mut state = lock(&self.state);
        state.outcome = Some(outcome);
        state.finished = true;
        self.announce(&mut state);
    }

    /// Wakes whoever waits, if there is anything new.
    fn announce(self: &Arc<Self>, state: &mut State) {
        if !state.has_news() {
            return;
        }
        self.changed.notify_all();
        if state.notify.is_some() && !state.notified {
            state.notified = true;
            let shared = self.clone();
            self.dispatcher.run(move |py| shared.notify(py));
        }
    }

    fn notify(&self, py: Python<'_>) {
        let notify = {
            let mut state = lock(&self.state);
            if state.finished {
                // The last call: whatever the callable refers to may go.
                state.notify.take()
            } else {
                state.notify.as_ref().map(|notify| notify.clone_ref(py))
            }
        };
        if let Some(Err(error)) = notify.map(|notify| notify.call0(py)) {
            error.write_unraisable(py, None);
        }
    }

    fn wait(&self, period: Duration) -> bool {
        let state = lock(&self.state);
        match self.changed.wait_timeout_while(state, period, |state| !state.has_news()) {
            Ok((state, _)) => state.has_news(),
            Err(poisoned) => poisoned.into_inner().0.has_news(),
        }
    }
}

impl State {
    fn has_news(&self) -> bool {
        self.finished || !self.progress.is_empty()
    }
}

/// Makes sure that a call ends exactly once, also when the runtime drops it.
struct End(Option<Arc<Shared>>);

impl End {
    fn set(mut self, outcome: Outcome) {
        if let Some(shared) = self.0.take() {
            shared.finish(outcome);
        }
    }
}

impl Drop for End {
    fn drop(&mut self) {
        if let Some(shared) = self.0.take() {
            let error = if std::thread::panicking() {
                Error::new(ErrorKind::Internal, "a call panicked")
            } else {
                Error::new(ErrorKind::Cancelled, "the runtime was shut down")
            };
            shared.finish(Err(error));
        }
    }
}
