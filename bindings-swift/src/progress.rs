//! Progress on its way to foreign code: in order, on a thread that may block, never holding the download up.
//! Not here: how often there is progress, which core decides.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dig_nat_core::api::ProgressFn;
use tokio::sync::mpsc::{self, Sender, error::TrySendError};
use tokio::task::JoinHandle;

use crate::records::Progress;

/// States kept for a slow listener; further ones replace each other, so the last is never lost.
const MAX_PENDING: usize = 32;

/// Receives the state of a download: first and last state always, at most 20 times a second, never after the result.
#[uniffi::export(with_foreign)]
pub trait ProgressListener: Send + Sync {
    /// Called on a thread of the library, one call at a time. Hand over to the main thread to touch views.
    fn on_progress(&self, progress: Progress);
}

/// One listener for the whole of a download, pauses included.
pub(crate) struct Forwarder {
    queue: Arc<Mutex<Queue>>,
    thread: JoinHandle<()>,
}

struct Queue {
    sender: Option<Sender<Progress>>,
    newest: Option<Progress>,
}

impl Forwarder {
    /// Must be called inside the engine.
    pub(crate) fn start(listener: Arc<dyn ProgressListener>) -> Self {
        let (sender, mut receiver) = mpsc::channel(MAX_PENDING);
        let thread = tokio::task::spawn_blocking(move || {
            while let Some(progress) = receiver.blocking_recv() {
                // Foreign code that throws arrives as a panic; its next call may do better.
                let _ = catch_unwind(AssertUnwindSafe(|| listener.on_progress(progress)));
            }
        });
        Self { queue: Arc::new(Mutex::new(Queue { sender: Some(sender), newest: None })), thread }
    }

    /// The callback for core.
    pub(crate) fn hook(&self) -> ProgressFn {
        let queue = Arc::clone(&self.queue);
        Arc::new(move |progress| {
            let mut queue = lock(&queue);
            let Queue { sender: Some(sender), newest } = &mut *queue else { return };
            match sender.try_send(progress.into()) {
                Ok(()) => *newest = None,
                Err(TrySendError::Full(progress) | TrySendError::Closed(progress)) => *newest = Some(progress),
            }
        })
    }

    /// Delivers what is left; the listener is not called after this.
    pub(crate) async fn finish(self) {
        let (sender, newest) = {
            let mut queue = lock(&self.queue);
            (queue.sender.take(), queue.newest.take())
        };
        if let (Some(sender), Some(newest)) = (sender, newest) {
            // Only fails when the thread is gone, and nobody is left to tell.
            let _ = sender.send(newest).await;
        }
        let _ = self.thread.await;
    }
}

fn lock(queue: &Mutex<Queue>) -> MutexGuard<'_, Queue> {
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Slow(Mutex<Vec<u64>>);

    impl ProgressListener for Slow {
        fn on_progress(&self, progress: Progress) {
            self.0.lock().expect("no panic while locked").push(progress.bytes);
            assert!(progress.bytes != 0, "a listener that throws is called again");
        }
    }

    #[tokio::test]
    async fn a_flood_keeps_order_first_and_last() {
        let listener = Arc::new(Slow(Mutex::default()));
        let forwarder = Forwarder::start(Arc::clone(&listener) as Arc<dyn ProgressListener>);
        let hook = forwarder.hook();
        for bytes in 0..10_000 {
            hook(&dig_nat_core::base::events::Progress {
                bytes,
                total: 10_000,
                fraction: 0.0,
                rate: 0.0,
                eta: None,
                peers: Vec::new(),
            });
        }
        forwarder.finish().await;
        let seen = listener.0.lock().expect("no panic while locked").clone();
        assert_eq!((seen.first(), seen.last()), (Some(&0), Some(&9_999)));
        assert!(seen.is_sorted());
    }
}
