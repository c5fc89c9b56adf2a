//! What a person or program sees while files are hashed and downloaded: a bar on a terminal, plain lines elsewhere,
//! JSON lines on request. Not here: final errors (`outcome`).

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use dig_nat_core::api::DownloadResult;
use dig_nat_core::base::events::{Event, PeerStatus, Progress};
use indicatif::{ProgressBar, ProgressStyle};

use crate::output;
use crate::units;

/// Between two plain lines; a log should not grow by twenty lines a second.
const LINE_INTERVAL: Duration = Duration::from_secs(1);

/// Shows a download.
#[derive(Debug)]
pub enum DownloadView {
    /// JSON lines on standard output.
    Json,
    /// A bar on standard error.
    Bar(ProgressBar),
    /// Lines on standard error, at most one a second.
    Lines {
        /// When the last line was printed.
        last: Option<Instant>,
    },
}

impl DownloadView {
    /// Chooses by what standard error is.
    pub fn new(json: bool) -> Self {
        if json {
            Self::Json
        } else if std::io::stderr().is_terminal() {
            Self::Bar(bar("{wide_bar} {percent:>3} %  {msg}"))
        } else {
            Self::Lines { last: None }
        }
    }

    /// Shows a state.
    pub fn progress(&mut self, progress: &Progress) -> anyhow::Result<()> {
        match self {
            Self::Json => output::json("progress", progress)?,
            Self::Bar(bar) => {
                bar.set_length(progress.total);
                bar.set_position(progress.bytes);
                bar.set_message(describe(progress));
            }
            Self::Lines { last } => {
                if last.is_none_or(|last| last.elapsed() >= LINE_INTERVAL) {
                    *last = Some(Instant::now());
                    eprintln!("{:>3} %  {}", (progress.fraction * 100.0) as u32, describe(progress));
                }
            }
        }
        Ok(())
    }

    /// Shows an event that matters for a download.
    pub fn event(&mut self, event: &Event) -> anyhow::Result<()> {
        if let Self::Json = self {
            return Ok(output::json_event(event)?);
        }
        let text = match event {
            Event::PeerDiscovered { id, source, .. } => format!("found {id} ({source})"),
            Event::PeerConnected { peer, connection_type, .. } => format!("connected to {peer} over {connection_type}"),
            Event::PeerBanned { peer, reason, .. } => format!("banned {peer}: {reason}"),
            Event::Warning { error } => format!("warning: {}", error.message),
            _ => return Ok(()),
        };
        match self {
            Self::Bar(bar) => bar.println(text),
            _ => eprintln!("{text}"),
        }
        Ok(())
    }

    /// Shows the finished file.
    pub fn finish(&mut self, result: &DownloadResult) -> anyhow::Result<()> {
        if let Self::Json = self {
            return Ok(output::json("result", result)?);
        }
        self.abandon();
        let resumed = match result.resumed_bytes {
            0 => String::new(),
            bytes => format!(", {} of it kept from an earlier run", units::size(bytes)),
        };
        eprintln!(
            "{} in {} ({}) from {}{resumed}",
            units::size(result.size),
            units::duration(Duration::from_millis(result.total_time_ms)),
            units::rate(result.average_speed),
            count(result.peers.values().filter(|peer| peer.bytes > 0).count()),
        );
        Ok(output::line(&format!("{} {} {}", result.hash, result.size, result.path.display()))?)
    }

    /// Takes the bar away.
    pub fn abandon(&mut self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}

/// Shows how hashing of shared files goes.
#[derive(Debug)]
pub struct HashingView {
    json: bool,
    bar: Option<ProgressBar>,
    last: Option<Instant>,
}

impl HashingView {
    /// Chooses by what standard error is.
    pub fn new(json: bool) -> Self {
        let terminal = !json && std::io::stderr().is_terminal();
        Self { json, bar: terminal.then(|| bar("hashing {wide_bar} {percent:>3} %  {msg}")), last: None }
    }

    /// Shows an event while files are being added.
    pub fn show(&mut self, event: &Event) -> anyhow::Result<()> {
        if self.json {
            return Ok(output::json_event(event)?);
        }
        match event {
            Event::Hashing { files, total_files, bytes, total_bytes } => {
                let text = format!("{files} of {total_files} files, {}", units::size(*total_bytes));
                if let Some(bar) = &self.bar {
                    bar.set_length(*total_bytes);
                    bar.set_position(*bytes);
                    bar.set_message(text);
                } else if self.last.is_none_or(|last| last.elapsed() >= LINE_INTERVAL) {
                    self.last = Some(Instant::now());
                    eprintln!("hashing: {} of {text}", units::size(*bytes));
                }
            }
            Event::Warning { error } => {
                let text = format!("warning: {}\n  advice: {}", error.message, error.advice);
                match &self.bar {
                    Some(bar) => bar.println(text),
                    None => eprintln!("{text}"),
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// A bar on standard error. The template is fixed text, so a fallback is only formal.
pub fn bar(template: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(0).with_style(style.progress_chars("=> "))
}

/// One line about a state: bytes, rate, time left, peers.
pub fn describe(progress: &Progress) -> String {
    let active = progress.peers.iter().filter(|peer| peer.status == PeerStatus::Active).count();
    if progress.total == 0 && progress.fraction < 1.0 {
        return format!("looking for peers  {}", count(active));
    }
    let (bytes, total) = (units::size(progress.bytes), units::size(progress.total));
    let left = progress.eta.map_or(String::new(), |eta| {
        format!("{} left  ", units::duration(Duration::from_secs_f64(eta.clamp(0.0, 1e9))))
    });
    format!("{bytes} of {total}  {}  {left}{}", units::rate(progress.rate), count(active))
}

fn count(peers: usize) -> String {
    if peers == 1 { "1 peer".to_owned() } else { format!("{peers} peers") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_described() {
        let mut progress = Progress { bytes: 0, total: 0, fraction: 0.0, rate: 0.0, eta: None, peers: Vec::new() };
        assert_eq!(describe(&progress), "looking for peers  0 peers");
        progress.total = 2048;
        progress.bytes = 1024;
        progress.rate = 512.0;
        progress.eta = Some(2.0);
        assert_eq!(describe(&progress), "1.0 KiB of 2.0 KiB  512 B/s  2.0 s left  0 peers");
        progress.eta = Some(f64::INFINITY);
        assert!(describe(&progress).contains("left"), "an absurd rest must not panic");
    }
}
