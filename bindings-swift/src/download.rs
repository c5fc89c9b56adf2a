//! One download of a light node, across suspensions.
//! Not here: the transfer, which is core's; progress on its way out (`progress`).

use std::sync::Arc;

use dig_nat_core::ErrorKind;
use dig_nat_core::base::ids::ContentKey;
use dig_nat_core::base::options::DownloadOptions;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared as SharedFuture};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::engine;
use crate::errors::{DigNatError, Result};
use crate::node::{Shared, State};
use crate::progress::{Forwarder, ProgressListener};
use crate::records::DownloadResult;

/// A running download. Releasing it cancels it.
#[derive(uniffi::Object)]
pub struct Download {
    result: SharedFuture<BoxFuture<'static, Result<DownloadResult>>>,
    cancel: DropGuard,
}

#[uniffi::export]
impl Download {
    /// Waits for the end. May be called more than once.
    pub async fn result(&self) -> std::result::Result<DownloadResult, DigNatError> {
        self.result.clone().await
    }

    /// Asks the download to stop and clean up; `result` then fails with `Cancelled`. A part file is left that a later
    /// download to the same path continues. Does nothing once the download has ended.
    pub fn cancel(&self) {
        self.cancel.token().cancel();
    }
}

impl Download {
    pub(crate) fn start(
        node: Arc<Shared>,
        key: ContentKey,
        options: DownloadOptions,
        listener: Option<Arc<dyn ProgressListener>>,
    ) -> Result<Self> {
        let cancel = CancellationToken::new();
        let work = run(node, key, options, listener, cancel.clone());
        let handle = engine::engine()?.spawn(work);
        let result = async move {
            handle.await.unwrap_or_else(|error| Err(DigNatError::internal(format!("a download panicked: {error}"))))
        };
        Ok(Self { result: result.boxed().shared(), cancel: cancel.drop_guard() })
    }
}

async fn run(
    node: Arc<Shared>,
    key: ContentKey,
    options: DownloadOptions,
    listener: Option<Arc<dyn ProgressListener>>,
    cancelled: CancellationToken,
) -> Result<DownloadResult> {
    let forwarder = listener.map(Forwarder::start);
    let result = attempts(&node, &key, &options, forwarder.as_ref(), &cancelled).await;
    if let Some(forwarder) = forwarder {
        forwarder.finish().await;
    }
    result
}

/// Downloads until it is done, again after every suspension that interrupted it.
async fn attempts(
    node: &Shared,
    key: &ContentKey,
    options: &DownloadOptions,
    forwarder: Option<&Forwarder>,
    cancelled: &CancellationToken,
) -> Result<DownloadResult> {
    let mut phases = node.phase.subscribe();
    loop {
        let before = tokio::select! {
            phase = phases.wait_for(|phase| phase.state != State::Suspended) => {
                phase.map(|phase| *phase).map_err(|_| stopped("the node is gone"))?
            }
            () = cancelled.cancelled() => return Err(stopped("the download was cancelled")),
        };
        let task = node.client.download(key.clone(), options.clone(), forwarder.map(Forwarder::hook));
        let canceller = task.canceller();
        let mut result = std::pin::pin!(task.wait());
        let result = tokio::select! {
            result = &mut result => result,
            () = cancelled.cancelled() => {
                canceller.cancel();
                result.await
            }
        };
        let error = match result {
            Ok(result) => return Ok(result.into()),
            Err(error) => error,
        };
        // What a stop in the middle looks like from here.
        let interrupted = matches!(error.kind(), ErrorKind::Cancelled | ErrorKind::InvalidState);
        let after = *node.phase.borrow();
        let paused = after.changes != before.changes && after.state != State::Stopped;
        if !interrupted || !paused || cancelled.is_cancelled() {
            return Err(error.into());
        }
    }
}

fn stopped(reason: &str) -> DigNatError {
    dig_nat_core::Error::new(ErrorKind::Cancelled, reason).into()
}
