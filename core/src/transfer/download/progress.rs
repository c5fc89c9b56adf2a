//! What a download tells its user: how far it is, who takes part, and why it failed if it is given up.
//! Not here: how often it is asked.

use super::Download;
use super::sources::{PeerRecord, Phase};
use crate::base::error::ErrorKind;
use crate::base::events::{PeerProgress, PeerStatus, Progress};
use crate::base::time::Time;

impl Download {
    /// How far it is, for the user. `connection_type` of the peers is left empty, the driver knows it.
    pub fn progress(&self, now: Time) -> Progress {
        let claimed = self.working.and_then(|working| self.claims.get(&working)).map(|claim| claim.layout.length());
        let (bytes, total) = match (&self.finished, &self.work) {
            (Some(description), _) => (description.layout().length(), description.layout().length()),
            (None, Some(work)) => (work.done_bytes, work.layout.length()),
            (None, None) => (0, claimed.unwrap_or(0)),
        };
        let fraction = match (self.finished.is_some(), total) {
            (true, _) => 1.0,
            (false, 0) => 0.0,
            (false, total) => (bytes as f64 / total as f64).clamp(0.0, 1.0),
        };
        let rate = self.meter.rate(now);
        let left = total.saturating_sub(bytes) as f64;
        let eta = if self.finished.is_some() { Some(0.0) } else { (total > 0 && rate >= 1.0).then(|| left / rate) };
        let slow_below = self.slow_below(now);
        let peers = self.peers.iter().map(|record| self.peer_progress(now, record, slow_below)).collect();
        Progress { bytes, total, fraction, rate, eta, peers }
    }

    /// What to tell the user if the download is given up now, because nobody is left to ask.
    pub fn verdict(&self) -> (ErrorKind, String) {
        let key = &self.config.key;
        if self.liars > 0 {
            let text = format!("{key}: {} of the sources sent false data, and no other could complete it", self.liars);
            return (ErrorKind::VerificationFailed, text);
        }
        if self.work.as_ref().is_some_and(|work| work.ledger.consistent() > 0) || self.failed > 0 {
            return (
                ErrorKind::ConnectionClosed,
                format!("{key}: all sources are gone before the download was complete"),
            );
        }
        if self.unknowing > 0 {
            return (ErrorKind::ContentNotFound, format!("{key}: the peers that were asked do not have it"));
        }
        (ErrorKind::NoPeers, format!("{key}: no source was found"))
    }

    fn peer_progress(&self, now: Time, record: &PeerRecord, slow_below: f64) -> PeerProgress {
        let source = record.live.and_then(|id| self.sources.get(&id));
        let status = match source {
            _ if record.banned => PeerStatus::Banned,
            None => PeerStatus::Dropped,
            Some(source) if matches!(source.phase, Phase::Greeting) => PeerStatus::Connecting,
            Some(source) if source.choked => PeerStatus::Choked,
            Some(source) if source.meter.total() > 0 && source.meter.rate(now) < slow_below => PeerStatus::Slow,
            Some(_) => PeerStatus::Active,
        };
        PeerProgress {
            peer: record.name.clone(),
            status,
            bytes: record.bytes,
            rate: source.map_or(0.0, |source| source.meter.rate(now)),
            connection_type: String::new(),
        }
    }
}
