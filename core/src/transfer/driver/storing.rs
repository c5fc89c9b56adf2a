//! The file of a download: where it is written, what of it is offered to others, and its end. Not here: what is written
//! when ([`downloading`](super::downloading)), and part files themselves (`store`).

use std::sync::Arc;

use super::downloading::Run;
use super::library::Entry;
use super::order::Outcome;
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::ids::{ContentKey, PeerId};
use crate::base::limits;
use crate::base::priority::Priority;
use crate::content::description::Description;
use crate::store::names;
use crate::store::part_file::PartFile;
use crate::transfer::download::{Input, SourceId};
use crate::wire::transfer::GoneReason;

impl Run {
    pub(super) async fn open_part(&mut self, length: u64, name: &str, description: Description) -> Result<()> {
        self.part = None;
        let hash = description.hash();
        let target = match &self.order.save_path {
            Some(path) => path.clone(),
            None => self.order.output_dir.join(names::sanitize(name).unwrap_or_else(|| hash.to_string())),
        };
        let opening = move || {
            let part = PartFile::open(&target, &hash, length)?;
            let on_disk = if part.had_data() { part.data_ranges() } else { Vec::new() };
            Ok::<_, Error>((part, on_disk))
        };
        let (part, on_disk) = self.engine.workers.run(opening).await??;
        let part = Arc::new(part);
        self.part = Some(Arc::clone(&part));
        self.no_room = None;
        if self.order.share && self.engine.server.is_some() {
            let entry = Arc::new(Entry::partial(description, name.to_owned(), part, self.fellows_in.clone()));
            self.engine.library.insert(Arc::clone(&entry))?;
            self.entry = Some(entry);
            if self.announced.is_none() {
                let key = ContentKey::Hash(hash);
                self.engine.discovery.announce(&key, Priority::High).await;
                self.announced = Some(key);
            }
        }
        self.machine.handle(self.engine.clock.now(), Input::StoreReady { on_disk });
        Ok(())
    }

    /// There is no room for a file of this length. That may be a lie of whoever claimed it, so while there are others
    /// to ask, those who claim it are let go; only when nobody else is left it is the download's end.
    pub(super) fn doubt_length(&mut self, length: u64, error: Error) -> Result<()> {
        if !matches!(error.kind(), ErrorKind::DiskFull | ErrorKind::Io) {
            return Err(error);
        }
        let claimants: Vec<SourceId> =
            self.sources.iter().filter(|(_, active)| active.claims == Some(length)).map(|(id, _)| *id).collect();
        let others = self.sources.len() > claimants.len() || !self.candidates.is_empty();
        let alone = !others && (!self.order.discover || self.started.elapsed() >= limits::FIRST_SEARCH);
        // Searches that never end bring the same peers again and again; when there are only these, nobody else is left.
        let peers: Vec<PeerId> = claimants
            .iter()
            .filter_map(|id| self.sources.get(id)?.link.as_ref().map(|link| link.peer.clone()))
            .collect();
        let insists = self.sources.len() == claimants.len() && peers.iter().all(|peer| self.doubted.contains(peer));
        if alone || (insists && self.started.elapsed() >= limits::FIRST_SEARCH) {
            return Err(error);
        }
        self.doubted.extend(peers.into_iter().take(limits::MAX_CANDIDATES_PER_DOWNLOAD));
        for source in claimants {
            self.end_source(source);
            self.machine.handle(self.engine.clock.now(), Input::SourceClosed { source });
        }
        self.no_room = Some(error);
        Ok(())
    }

    pub(super) fn stop_offering(&mut self, reason: GoneReason) {
        if let Some(entry) = self.entry.take() {
            self.engine.library.remove_entry(&entry, reason);
        }
    }

    pub(super) async fn finish(&mut self, description: Description) -> Result<Outcome> {
        let part = self.part.take().ok_or_else(|| Error::new(ErrorKind::Internal, "finished without a part file"))?;
        let overwrite = self.order.overwrite;
        let path = self.engine.workers.run(move || part.finish(overwrite)).await??;
        Ok(Outcome {
            path,
            description,
            resumed_bytes: self.resumed,
            elapsed: self.started.elapsed(),
            peers: std::mem::take(&mut self.records),
        })
    }
}
