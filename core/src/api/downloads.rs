//! Downloads and questions about remote files, as the facade offers them.
//! Not here: how a download runs, which is the transfer driver's work.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::node::{Node, Running};
use super::records::{DownloadResult, PeerStats, ProgressFn, RemoteFile};
use super::task::Task;
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::ids::ContentKey;
use crate::base::options::{DownloadOptions, FromJson};
use crate::content::layout::PieceLayout;
use crate::store::names;
use crate::transfer::driver::asking;
use crate::transfer::driver::downloading;
use crate::transfer::driver::order::{Order, Outcome};

impl Node {
    pub(crate) fn download(
        &self,
        key: ContentKey,
        options: DownloadOptions,
        on_progress: Option<ProgressFn>,
    ) -> Task<DownloadResult> {
        let node = self.clone();
        Task::spawn(async move |cancel| {
            options.validate()?;
            let running = node.ensure_started().await?;
            let order = node.order(key, options, on_progress);
            let engine = running.engine.clone();
            let outcome = guarded(&running, cancel, |cancel| downloading::run(engine, order, cancel)).await?;
            Ok(result_of(outcome))
        })
    }

    pub(crate) fn file_info(&self, key: ContentKey, options: DownloadOptions) -> Task<RemoteFile> {
        let node = self.clone();
        Task::spawn(async move |cancel| {
            options.validate()?;
            let running = node.ensure_started().await?;
            let order = node.order(key, options, None);
            let engine = running.engine.clone();
            let info = guarded(&running, cancel, |cancel| async move {
                tokio::select! {
                    () = cancel.cancelled() => Err(Error::new(ErrorKind::Cancelled, "the question was cancelled")),
                    info = asking::ask(&engine, &order) => info,
                }
            })
            .await?;
            let layout = PieceLayout::for_length(info.length)?;
            Ok(RemoteFile {
                hash: info.hash,
                size: info.length,
                piece_size: layout.piece_length(),
                pieces: layout.pieces(),
                name: names::sanitize(&info.name),
            })
        })
    }

    fn order(&self, key: ContentKey, options: DownloadOptions, on_progress: Option<ProgressFn>) -> Order {
        let client = &self.inner.client;
        Order {
            key: self.resolved(key),
            peers: options.peers,
            save_path: options.save_path,
            output_dir: options.output_dir.unwrap_or_else(|| client.download_dir.clone()),
            max_peers: options.max_peers.unwrap_or(client.max_peers),
            timeout: Duration::from_millis(options.timeout_ms),
            dial_timeout: Duration::from_millis(client.request_timeout_ms),
            discover: options.discover.unwrap_or(true),
            download_limit: options.download_limit,
            share: options.share_while_downloading,
            overwrite: options.overwrite,
            on_progress,
        }
    }
}

/// Runs an operation that ends with its task, and with the node, which waits for it to clean up.
async fn guarded<T, Fut>(
    running: &Running,
    cancel: CancellationToken,
    operation: impl FnOnce(CancellationToken) -> Fut,
) -> Result<T>
where
    Fut: Future<Output = Result<T>>,
{
    let either = CancellationToken::new();
    let watch = {
        let (either, stop) = (either.clone(), running.stop.clone());
        async move {
            tokio::select! {
                () = cancel.cancelled() => {}
                () = stop.cancelled() => {}
            }
            either.cancel();
            std::future::pending::<()>().await;
        }
    };
    let tracked = running.tracker.track_future(operation(either));
    tokio::select! {
        result = tracked => result,
        () = watch => Err(Error::new(ErrorKind::Internal, "waiting for the end of an operation ended")),
    }
}

fn result_of(outcome: Outcome) -> DownloadResult {
    let size = outcome.description.layout().length();
    let seconds = outcome.elapsed.as_secs_f64();
    let fetched = size.saturating_sub(outcome.resumed_bytes) as f64;
    let peers = outcome.peers.into_iter().map(|(peer, record)| {
        let active = record.active_for.as_secs_f64();
        let stats = PeerStats {
            bytes: record.bytes,
            rate: if active > 0.0 { record.bytes as f64 / active } else { 0.0 },
            connection_type: record.connection_type.to_owned(),
            active: record.active,
        };
        (peer, stats)
    });
    DownloadResult {
        path: outcome.path,
        hash: outcome.description.hash(),
        size,
        resumed_bytes: outcome.resumed_bytes,
        total_time_ms: outcome.elapsed.as_millis() as u64,
        average_speed: if seconds > 0.0 { fetched / seconds } else { 0.0 },
        peers: peers.collect(),
    }
}
