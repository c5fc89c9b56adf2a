//! The thread that runs the user's callbacks: one per runtime, one callback at a time, in order.
//! Not here: which callback is due, and bounds; a task has at most one progress and one completion job queued, a
//! subscription one event job.

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

type Job = Box<dyn FnOnce() + Send>;

/// Queue and thread.
pub(crate) struct Dispatcher {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    closed: bool,
}

thread_local! {
    static CALLBACK_THREAD: Cell<bool> = const { Cell::new(false) };
}

/// Whether the caller is inside a callback, where waiting for another callback could never end.
pub(crate) fn inside_callback() -> bool {
    CALLBACK_THREAD.get()
}

impl Dispatcher {
    /// Starts the thread.
    pub(crate) fn start() -> std::io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let of_thread = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("dig-nat-callback".into()).spawn(move || of_thread.run())?;
        Ok(Self { shared, thread: Mutex::new(Some(thread)) })
    }

    /// Queues a callback. After [`close`](Self::close) it is dropped.
    pub(crate) fn post(&self, job: impl FnOnce() + Send + 'static) {
        let mut queue = self.shared.lock();
        if !queue.closed {
            queue.jobs.push_back(Box::new(job));
            self.shared.wake.notify_one();
        }
    }

    /// Runs what is queued, then ends the thread. Waits for that unless called from the thread itself.
    pub(crate) fn close(&self) {
        self.shared.lock().closed = true;
        self.shared.wake.notify_one();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread.filter(|thread| thread.thread().id() != std::thread::current().id()) {
            // A panic of a job was caught in `run`; there is nothing to learn from the join.
            let _ = thread.join();
        }
    }
}

impl Drop for Dispatcher {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        CALLBACK_THREAD.set(true);
        loop {
            let mut queue = self.lock();
            let job = loop {
                if let Some(job) = queue.jobs.pop_front() {
                    break job;
                }
                if queue.closed {
                    return;
                }
                queue = self.wake.wait(queue).unwrap_or_else(PoisonError::into_inner);
            };
            drop(queue);
            // A job is this library's code around a C function; were it to panic, the other callbacks still come.
            let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(job));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_run_in_order_and_closing_waits_for_them() {
        let dispatcher = Dispatcher::start().expect("a thread");
        let seen = Arc::new(Mutex::new(Vec::new()));
        for index in 0..100 {
            let seen = Arc::clone(&seen);
            dispatcher.post(move || {
                assert!(inside_callback());
                seen.lock().expect("no panic while locked").push(index);
                assert!(index != 50, "a panic in a job must not stop the others");
            });
        }
        dispatcher.close();
        dispatcher.post(|| panic!("closed"));
        assert_eq!(*seen.lock().expect("no panic while locked"), (0..100).collect::<Vec<_>>());
        assert!(!inside_callback());
    }
}
