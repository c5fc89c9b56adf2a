//! Known peers on disk, so that a restarted node finds them before any network answers. Not here: the table, and the
//! form of the file (`store::state_file`).

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::candidate::Candidate;
use super::manager::Shared;
use super::table::Known;
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::ids::{FileHash, PeerId};
use crate::base::limits;
use crate::base::time::Time;
use crate::net::clock::unix_ms;
use crate::store::state_file::{self, Loaded};

const VERSION: u32 = 1;

/// One peer in the file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    id: Option<String>,
    addresses: Vec<String>,
    source: String,
    confidence: f64,
    worked: bool,
    /// Milliseconds since 1970.
    last_seen: u64,
    /// What it may have, by lookup key.
    keys: Vec<FileHash>,
    /// It may have everything.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    anything: bool,
}

/// Takes up what the file holds. Blocks on the disk.
pub(super) fn read(shared: &Shared, path: &Path) -> Result<()> {
    let entries = match state_file::read::<Vec<Entry>>(path, VERSION, limits::MAX_PEERS_FILE_BYTES)? {
        Loaded::State(entries) => entries,
        Loaded::Nothing => return Ok(()),
        Loaded::SetAside(warning) => return Err(Error::new(ErrorKind::Io, warning)),
    };
    let (now, now_ms) = (shared.now(), unix_ms());
    let mut state = shared.lock();
    for entry in entries {
        let age = Duration::from_millis(now_ms.saturating_sub(entry.last_seen));
        let Some(seen) = now.as_micros().checked_sub(age.as_micros() as u64).map(Time::from_micros) else { continue };
        let Some(known) = entry.known(seen) else { continue };
        if known.candidate.id.is_none() || known.candidate.id != shared.config.own_id {
            state.table.import(&known);
        }
    }
    Ok(())
}

/// Writes the file. Blocks on the disk.
pub(super) fn write(shared: &Shared) -> Result<()> {
    let Some(path) = &shared.config.file else { return Ok(()) };
    let (known, now, now_ms) = (shared.lock().table.export(), shared.now(), unix_ms());
    let entries: Vec<Entry> = known.into_iter().map(|known| Entry::of(known, now, now_ms)).collect();
    state_file::write(path, VERSION, &entries)
}

/// Writes now and then until the node stops.
pub(super) async fn keep(shared: Arc<Shared>) {
    let writing = async {
        let mut interval = tokio::time::interval(limits::PEERS_SAVE_INTERVAL);
        interval.tick().await;
        loop {
            interval.tick().await;
            let shared = Arc::clone(&shared);
            if let Ok(Err(error)) = tokio::task::spawn_blocking(move || write(&shared)).await {
                tracing::warn!(error = %error.full_message(), "known peers are not kept");
            }
        }
    };
    shared.token.run_until_cancelled(writing).await;
}

impl Entry {
    fn of(known: Known, now: Time, now_ms: u64) -> Self {
        let Candidate { id, addresses, source, confidence } = known.candidate;
        let age: Duration = now.since(known.seen);
        Self {
            id: id.map(|id| id.as_str().to_owned()),
            addresses,
            source: source.name().to_owned(),
            confidence,
            worked: known.worked,
            last_seen: now_ms.saturating_sub(age.as_millis() as u64),
            anything: known.keys.contains(&None),
            keys: known.keys.into_iter().flatten().collect(),
        }
    }

    fn known(self, seen: Time) -> Option<Known> {
        let id = self.id.as_deref().map(PeerId::from_text);
        let source = self.source.parse().ok()?;
        let candidate = Candidate { id, addresses: self.addresses, source, confidence: self.confidence };
        let anything = self.anything.then_some(None);
        let keys = self.keys.into_iter().map(Some).chain(anything).collect();
        Some(Known { candidate, worked: self.worked, seen, keys })
    }
}
