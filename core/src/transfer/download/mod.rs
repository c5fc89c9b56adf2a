//! The download of one file from many sources: what to ask from whom, and whom to believe. A pure machine.
//! Not here: sockets, disk, hashing, discovery; the driver does what [`Output`] says and reports with [`Input`].

mod messages;

use crate::base::error::ErrorKind;
use crate::base::events::Progress;
use crate::base::time::Time;

pub use messages::{CheckId, DownloadConfig, Input, Output, SourceId};

/// One download. Drive it with [`Self::handle`] and [`Self::handle_timeout`], and after each of them take everything
/// from [`Self::poll`].
#[derive(Debug)]
pub struct Download {}

impl Download {
    /// A download without sources.
    pub fn new(_config: DownloadConfig, _now: Time) -> Self {
        Self {}
    }

    /// Takes an event.
    pub fn handle(&mut self, _now: Time, _input: Input) {}

    /// To be called when [`Self::next_timeout`] has come; harmless at any other time.
    pub fn handle_timeout(&mut self, _now: Time) {}

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<Output> {
        None
    }

    /// When [`Self::handle_timeout`] has something to do, if nothing happens before.
    pub fn next_timeout(&self) -> Option<Time> {
        None
    }

    /// How far it is, for the user. `connection_type` of the peers is left empty, the driver knows it.
    pub fn progress(&self, _now: Time) -> Progress {
        Progress { bytes: 0, total: 0, fraction: 0.0, rate: 0.0, eta: None, peers: Vec::new() }
    }

    /// How many more sources are wanted right now; 0 when there are enough or the download is finished.
    pub fn wants_peers(&self) -> usize {
        0
    }

    /// Whether this peer was caught lying in this download.
    pub fn is_banned(&self, _peer: &str) -> bool {
        false
    }

    /// What to tell the user if the download is given up now, because nobody is left to ask.
    pub fn verdict(&self) -> (ErrorKind, String) {
        (ErrorKind::NoPeers, String::new())
    }

    /// [`Output::Finished`] was given out.
    pub fn is_finished(&self) -> bool {
        false
    }
}
