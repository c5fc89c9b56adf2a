//! Moves the sources of a download from one link to another: to a direct one that has come up, and away from one that
//! most likely is dead. Not here: finding that out (`fabric`), and what is asked over the new stream.
//!
//! The old stream goes on until the new one stands; what was asked on it is then asked anew, and nothing that has
//! arrived is lost. Should the old link turn out to work after all, its source moves back.

use tokio::time::Instant;

use super::downloading::{Active, Run};
use crate::base::error::{Error, ErrorKind};
use crate::base::limits;
use crate::discovery::source::Candidate;
use crate::fabric::{Link, Stage};
use crate::transfer::download::SourceId;

/// One source that is to move; without a link, to whatever way can be found.
type Move = (Candidate, Option<Link>, SourceId);

impl Run {
    /// Moves sources from relayed links to direct ones that have come up meanwhile.
    pub(super) fn upgrade(&mut self) {
        let links = self.sound_links();
        let better = |(source, active): (&SourceId, &Active)| {
            let old = active.link.as_ref().filter(|link| link.relayed)?;
            let new = links.iter().find(|link| link.peer == old.peer && !link.relayed)?;
            Some((active.candidate.clone(), Some(new.clone()), *source))
        };
        let moves: Vec<Move> = self.resting().filter_map(better).collect();
        self.start_moves(moves);
    }

    /// Moves sources away from links that most likely are dead: to another link to the same peer that works, or by
    /// reaching the peer anew.
    pub(super) fn flee(&mut self) {
        let fabric = &self.engine.fabric;
        let suspect = |active: &Active| active.link.as_ref().is_some_and(|link| fabric.stage(link) >= Stage::Suspect);
        self.uneasy = self.sources.values().any(suspect);
        if !self.uneasy {
            return;
        }
        let (now, all, sound) = (Instant::now(), fabric.links(), self.sound_links());
        let away = |(source, active): (&SourceId, &Active)| {
            let old = active.link.as_ref()?;
            if !suspect(active) || now < active.move_after {
                return None;
            }
            let other = |link: &&Link| link.peer == old.peer && link.id != old.id;
            let new = sound.iter().filter(other).min_by_key(|link| (link.relayed, link.id));
            // One that is being asked at this moment is waited for: it will be sound or suspect soon.
            if new.is_none() && all.iter().filter(other).any(|link| fabric.stage(link) == Stage::Late) {
                return None;
            }
            Some((active.candidate.clone(), new.cloned(), *source))
        };
        let moves: Vec<Move> = self.resting().filter_map(away).collect();
        self.start_moves(moves);
    }

    /// A link has ended: the streams on it do not always say so.
    pub(super) fn leave(&mut self, link: &Link) {
        let on_it = |active: &Active| active.link.as_ref().is_some_and(|own| own.id == link.id);
        for (source, _) in self.sources.iter().filter(|(_, active)| on_it(active)) {
            let error = Error::new(ErrorKind::ConnectionClosed, format!("the link over {} has ended", link.address));
            self.ended.push((*source, Some(error)));
        }
    }

    fn start_moves(&mut self, moves: Vec<Move>) {
        for (candidate, link, old) in moves {
            if let Some(active) = self.sources.get_mut(&old) {
                active.move_after = Instant::now() + limits::MOVE_PAUSE;
            }
            tracing::debug!(peer = candidate.label(), to = ?link.as_ref().map(|link| &link.address), "a source moves");
            self.start_source(candidate, 0, link, Some(old));
        }
    }

    /// Sources that no other one is about to take over from.
    fn resting(&self) -> impl Iterator<Item = (&SourceId, &Active)> {
        let moving: Vec<SourceId> = self.sources.values().filter_map(|active| active.replaces).collect();
        self.sources.iter().filter(move |(source, _)| !moving.contains(source))
    }

    /// Links that nothing speaks against.
    fn sound_links(&self) -> Vec<Link> {
        let fabric = &self.engine.fabric;
        fabric.links().into_iter().filter(|link| fabric.stage(link) == Stage::Fine).collect()
    }
}
