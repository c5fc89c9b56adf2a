//! The tasks that quinn starts: counted, so that they end with the node. Not here: what they do.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use quinn::{AsyncTimer, AsyncUdpSocket, Runtime, TokioRuntime};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::base::limits;

/// quinn's tasks on tokio. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    end: CancellationToken,
}

impl Tasks {
    /// Ends them all; to be called when nobody holds an endpoint or connection any more. What was open is told so at once,
    /// and quinn then waits for what may still be under way. That takes seconds for somebody who never answered, so it may
    /// take [`limits::QUIC_GOODBYE`]. Whoever waits no longer for this call cuts it short.
    pub async fn end(&self) {
        self.tracker.close();
        let cut = self.end.clone().drop_guard();
        if tokio::time::timeout(limits::QUIC_GOODBYE, self.tracker.wait()).await.is_err() {
            drop(cut);
            self.tracker.wait().await;
        }
    }
}

impl Runtime for Tasks {
    fn new_timer(&self, at: Instant) -> Pin<Box<dyn AsyncTimer>> {
        TokioRuntime.new_timer(at)
    }

    fn spawn(&self, task: Pin<Box<dyn Future<Output = ()> + Send>>) {
        self.tracker.spawn(self.end.clone().run_until_cancelled_owned(task));
    }

    fn wrap_udp_socket(&self, socket: std::net::UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        TokioRuntime.wrap_udp_socket(socket)
    }

    fn now(&self) -> Instant {
        TokioRuntime.now()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use futures::FutureExt;

    use super::*;

    /// Says when it is dropped.
    struct Told(Arc<AtomicBool>);

    impl Drop for Told {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }

    #[tokio::test]
    async fn nothing_is_left_of_what_would_go_on_for_long() {
        let tasks = Tasks::default();
        let dropped = Arc::new(AtomicBool::new(false));
        let told = Told(Arc::clone(&dropped));
        tasks.spawn(Box::pin(async move {
            let _told = told;
            std::future::pending::<()>().await;
        }));
        assert!(!dropped.load(Ordering::SeqCst));
        tasks.end().await;
        assert!(dropped.load(Ordering::SeqCst));
    }

    #[tokio::test]
    async fn nothing_goes_on_when_nobody_waits_for_the_end() {
        let tasks = Tasks::default();
        tasks.spawn(Box::pin(std::future::pending()));
        assert!(tasks.end().now_or_never().is_none(), "it takes a while");
        let ended = tokio::time::timeout(limits::DIAL_TIMEOUT, tasks.tracker.wait()).await;
        ended.expect("it was cut short");
    }
}
