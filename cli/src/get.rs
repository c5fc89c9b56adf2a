//! `dig-nat get`: downloads one file, shows how it goes, and leaves a resumable part when it is stopped.

use std::path::PathBuf;
use std::sync::Arc;

use dig_nat_core::api::{DownloadResult, EventStream, FileClient, ProgressFn, Task};
use dig_nat_core::base::error::{Error, ErrorKind};
use dig_nat_core::base::events::Progress;
use dig_nat_core::base::options::{ClientOptions, DownloadOptions};
use tokio::sync::watch;

use crate::arguments::GetArguments;
use crate::interrupt::Interrupt;
use crate::outcome::Interrupted;
use crate::units;
use crate::view::DownloadView;

/// Runs the command.
pub async fn run(arguments: GetArguments, mut interrupt: Interrupt) -> anyhow::Result<()> {
    let mut node = arguments.network.node_options();
    arguments.discovery.add_to(&mut node);
    arguments.reach.add_to(&mut node);
    let client = FileClient::new(node, ClientOptions::default())?;
    let options = download_options(&arguments)?;
    let mut events = client.subscribe();
    let mut view = DownloadView::new(arguments.output.json);

    // Only the latest state is kept for showing, so a slow terminal or reader can never slow the download.
    let (sender, mut states) = watch::channel(None);
    let on_progress: ProgressFn = Arc::new(move |progress: &Progress| {
        sender.send_replace(Some(progress.clone()));
    });
    let task = client.download(arguments.key, options, Some(on_progress));
    let result = follow(task, &mut view, &mut events, &mut states, &mut interrupt).await;
    let last = states.borrow().clone();
    // The file is there: whoever waits for it need not wait for goodbyes.
    let shown = result.as_ref().map_or(Ok(()), |result| view.finish(result));
    let stopped = client.stop().await;
    match result {
        Ok(_) => {
            shown?;
            Ok(stopped?)
        }
        Err(error) if error.downcast_ref::<Error>().is_some_and(|error| error.kind() == ErrorKind::Cancelled) => {
            view.abandon();
            Err(Interrupted { message: what_is_kept(last.as_ref()) }.into())
        }
        Err(error) => {
            view.abandon();
            Err(error)
        }
    }
}

async fn follow(
    task: Task<DownloadResult>,
    view: &mut DownloadView,
    events: &mut EventStream,
    states: &mut watch::Receiver<Option<Progress>>,
    interrupt: &mut Interrupt,
) -> anyhow::Result<DownloadResult> {
    let canceller = task.canceller();
    let mut result = std::pin::pin!(task.wait());
    let mut stopping = false;
    let result = loop {
        tokio::select! {
            biased;
            Some(event) = events.next() => view.event(&event)?,
            Ok(()) = states.changed() => show_state(view, states)?,
            result = &mut result => break result?,
            () = interrupt.wait(), if !stopping => {
                stopping = true;
                canceller.cancel();
            }
        }
    };
    // The last state comes before the result, but may not have been looked at yet.
    if states.has_changed().unwrap_or(false) {
        show_state(view, states)?;
    }
    Ok(result)
}

fn show_state(view: &mut DownloadView, states: &mut watch::Receiver<Option<Progress>>) -> anyhow::Result<()> {
    let state = states.borrow_and_update().clone();
    state.map_or(Ok(()), |state| view.progress(&state))
}

fn download_options(arguments: &GetArguments) -> Result<DownloadOptions, Error> {
    if !arguments.timeout.is_finite() || arguments.timeout < 0.0 {
        return Err(Error::invalid("--timeout", "expected a number of seconds"));
    }
    let (save_path, output_dir) = target(arguments.output_path.clone());
    Ok(DownloadOptions {
        save_path,
        output_dir,
        peers: arguments.peers.clone(),
        max_peers: arguments.max_peers,
        timeout_ms: (arguments.timeout * 1000.0) as u64,
        download_limit: arguments.download_limit.unwrap_or(0),
        ..DownloadOptions::default()
    })
}

/// An existing directory, or a path that ends like one, is where to put the file; anything else is the file.
fn target(path: Option<PathBuf>) -> (Option<PathBuf>, Option<PathBuf>) {
    match path {
        None => (None, None),
        Some(path) if path.is_dir() || path.as_os_str().as_encoded_bytes().ends_with(b"/") => (None, Some(path)),
        Some(path) => (Some(path), None),
    }
}

fn what_is_kept(state: Option<&Progress>) -> String {
    match state {
        Some(state) if state.total > 0 => format!(
            "interrupted: {} of {} are kept; run the same command again to resume",
            units::size(state.bytes),
            units::size(state.total)
        ),
        _ => "interrupted before any data came; run the same command again".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_and_files_are_told_apart() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let existing = dir.path().to_owned();
        assert_eq!(target(Some(existing.clone())), (None, Some(existing.clone())));
        assert_eq!(target(Some("new/".into())), (None, Some("new/".into())));
        let file = existing.join("a.bin");
        assert_eq!(target(Some(file.clone())), (Some(file), None));
        assert_eq!(target(None), (None, None));
    }
}
