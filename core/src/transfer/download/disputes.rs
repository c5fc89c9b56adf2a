//! Whom to believe about the file: descriptions are collected, compared, put to the test and refuted.
//! Not here: requests for the file itself, and pieces.
//!
//! The first description that is complete is believed, and the download starts. Every other one is compared with it:
//! one piece decides (`content::rivals`). If that piece is here already, or comes first, the rival is refuted; if a
//! supporter of the rival sends it consistently, the believed one is. Complete supporters of a refuted description claim
//! to have a file that does not exist, so they are banned; partial ones were misled themselves and are only let go.

use std::time::Duration;

use bytes::Bytes;

use super::descriptions::{Claim, Gathered, Trial};
use super::sources::{Origin, Phase};
use super::work::Work;
use super::{Download, Output, SourceId, Verification};
use crate::base::ids::{ContentKey, FileHash};
use crate::base::limits;
use crate::base::time::Time;
use crate::content::layout::PieceLayout;
use crate::content::rivals::{Decision, decisive_piece};
use crate::wire::transfer::{ClientFrame, Info};

/// A misled peer corrects itself soon after us; then it is welcome again.
const MISLED_RETRY: Duration = Duration::from_secs(10);

impl Download {
    /// INFO: the first word of a source.
    pub(super) fn info(&mut self, now: Time, id: SourceId, info: Info) {
        let Some(source) = self.sources.get_mut(&id) else { return };
        let origin = source.origin;
        if !matches!(source.phase, Phase::Greeting) {
            return self.close(now, id, None);
        }
        source.window.answered(now.since(source.opened));
        if let (ContentKey::Id(_), Some(hash)) = (&self.config.key, self.hash)
            && hash != info.hash
        {
            // Two files under one readable name: nobody can say who is right. The first one counts, while it lasts.
            return self.close(now, id, Some(limits::RIVAL_PATIENCE));
        }
        let layout = self.layout_of(&info);
        let Some(source) = self.sources.get_mut(&id) else { return };
        match layout {
            Ok(layout) => {
                self.hash = Some(info.hash);
                source.complete = info.complete;
                source.have = (!info.complete).then(|| super::bits::Bits::new(layout.pieces()));
                self.join(now, id, info, layout);
            }
            Err(lie) => self.ban(now, origin, lie),
        }
    }

    /// The layout that follows from INFO, or why it is a lie.
    fn layout_of(&self, info: &Info) -> Result<PieceLayout, String> {
        if let ContentKey::Hash(hash) = self.config.key
            && hash != info.hash
        {
            return Err(format!("offered {} when asked for {hash}", info.hash));
        }
        let nothing = FileHash::of(b"");
        if (info.length == 0) != (info.hash == nothing) {
            return Err(format!("claimed {} bytes for the hash {}", info.length, info.hash));
        }
        let layout = match self.config.piece_length {
            Some(piece_length) => PieceLayout::with_piece_length(info.length, piece_length),
            None => PieceLayout::for_length(info.length),
        };
        let layout = layout.map_err(|error| format!("claimed {} bytes: {error}", info.length))?;
        if layout.piece_length() != info.piece_length {
            return Err(format!("claimed pieces of {} bytes instead of {}", info.piece_length, layout.piece_length()));
        }
        if layout.inner_boundaries() == 0 && info.digest != *nothing.as_bytes() {
            return Err("claimed states for a file that has none".to_owned());
        }
        Ok(layout)
    }

    /// Makes the source a supporter of what it claims, if there is room for another claim.
    fn join(&mut self, now: Time, id: SourceId, info: Info, layout: PieceLayout) {
        let known = self.claims.iter().find(|(_, claim)| claim.layout == layout && claim.digest == info.digest);
        let known = known.map(|(number, _)| *number);
        let Some(source) = self.sources.get_mut(&id) else { return };
        if known.is_none() && self.claims.len() >= limits::MAX_RIVAL_DESCRIPTIONS {
            source.phase = Phase::Parked(info);
            return;
        }
        let number = known.unwrap_or(self.next_claim);
        source.phase = Phase::Supports(number);
        if known.is_none() {
            self.next_claim += 1;
            self.claims.insert(number, Claim::new(info.hash, layout, info.digest, info.name, now));
        }
        if self.working == Some(number) {
            self.count(id);
            self.fill(now, id);
        } else if self.claims.get(&number).is_some_and(|claim| claim.description.is_some()) {
            self.described(now, number);
        } else {
            self.want_states(now, number);
        }
    }

    /// Gives parked sources the place of a claim that is gone.
    fn unpark(&mut self, now: Time) {
        let parked: Vec<SourceId> = self.parked().collect();
        for id in parked {
            let Some(source) = self.sources.get_mut(&id) else { continue };
            let Phase::Parked(info) = &source.phase else { continue };
            let info = info.clone();
            if let Ok(layout) = self.layout_of(&info) {
                self.join(now, id, info, layout);
            }
        }
    }

    fn parked(&self) -> impl Iterator<Item = SourceId> + '_ {
        self.sources.iter().filter(|(_, source)| matches!(source.phase, Phase::Parked(_))).map(|(id, _)| *id)
    }

    /// Asks for missing states of a claim, spread over its supporters.
    pub(super) fn want_states(&mut self, now: Time, number: u32) {
        let Some(claim) = self.claims.get_mut(&number) else { return };
        if claim.contested && claim.sole.is_none() && claim.description.is_none() {
            claim.sole = self.sources.iter().find(|(_, source)| source.supports(number)).map(|(id, _)| *id);
        }
        while let Some(index) = claim.next_range() {
            let usable = self.sources.iter_mut().filter(|(id, source)| {
                source.supports(number)
                    && claim.sole.is_none_or(|sole| sole == **id)
                    && source.state_asks.len() < limits::STATE_ASKS_PER_SOURCE
                    && !source.state_asks.contains(&index)
            });
            let Some((id, source)) = usable.min_by_key(|(id, source)| (source.state_asks.len(), **id)) else { return };
            source.state_asks.push(index);
            let range = &mut claim.ranges[index];
            range.asked = Some((*id, now));
            let frame = ClientFrame::GetStates { first: range.first, count: range.count };
            self.outputs.push_back(Output::Send { source: *id, frame });
        }
    }

    /// STATES.
    pub(super) fn states(&mut self, now: Time, id: SourceId, first: u32, states: Bytes) {
        let Some(source) = self.sources.get_mut(&id) else { return };
        let Phase::Supports(number) = source.phase else { return };
        let origin = source.origin;
        let (Some(claim), Some(hash)) = (self.claims.get_mut(&number), self.hash) else { return };
        let index = (first.saturating_sub(1) / limits::MAX_STATES_PER_MESSAGE) as usize;
        let Some(asked) = source.state_asks.iter().position(|asked| *asked == index) else { return };
        source.state_asks.swap_remove(asked);
        match claim.gather(index, origin, states, hash) {
            Gathered::Ignored => {}
            Gathered::Malformed => self.close(now, id, None),
            Gathered::Partly => self.want_states(now, number),
            Gathered::Unclear => {
                self.forget_state_asks(number);
                self.want_states(now, number);
            }
            Gathered::False(liar) => {
                self.forget_state_asks(number);
                self.ban(now, liar, "sent states that do not have the digest it claims".to_owned());
                self.want_states(now, number);
            }
            Gathered::Complete(liars) => {
                self.forget_state_asks(number);
                for liar in liars {
                    self.ban(now, liar, "sent false states".to_owned());
                }
                self.described(now, number);
            }
        }
    }

    fn forget_state_asks(&mut self, number: u32) {
        let supporters = self.sources.values_mut().filter(|source| source.supports(number));
        supporters.for_each(|source| source.state_asks.clear());
    }

    /// Gives ranges of states that were not answered to others, and gives up sources that do not answer at all.
    pub(super) fn states_overdue(&mut self, now: Time) {
        let numbers: Vec<u32> = self.claims.keys().copied().collect();
        for number in numbers {
            let Some(claim) = self.claims.get_mut(&number) else { continue };
            let mut dead = Vec::new();
            for (index, range) in claim.ranges.iter_mut().enumerate() {
                let Some((asked, at)) = range.asked else { continue };
                let other = |source: &super::sources::Source| {
                    source.supports(number)
                        && source.state_asks.len() < limits::STATE_ASKS_PER_SOURCE
                        && !source.state_asks.contains(&index)
                };
                if now.since(at) >= limits::STALL_TIMEOUT {
                    dead.push(asked);
                } else if now.since(at) >= limits::STATES_TIMEOUT
                    && claim.sole.is_none()
                    && self.sources.values().any(other)
                {
                    range.asked = None;
                }
            }
            dead.dedup();
            for id in dead {
                self.stalled(now, id);
            }
            self.want_states(now, number);
        }
    }

    /// A description is complete.
    fn described(&mut self, now: Time, number: u32) {
        if self.working.is_none() {
            self.working = Some(number);
            self.announce_when_quiet();
        } else if self.working != Some(number) {
            self.settle(now);
        }
    }

    /// Has the part file opened for the description that is believed now, when nothing is written to the old one any
    /// more.
    pub(super) fn announce_when_quiet(&mut self) {
        if self.piece_checks + self.disk_checks > 0 || self.work.is_some() {
            return;
        }
        let Some(working) = self.working else { return };
        let Some(claim) = self.claims.get(&working) else { return };
        let Some(description) = claim.description.clone() else { return };
        self.opening += 1;
        self.store_ready = false;
        self.outputs.push_back(Output::Described {
            hash: description.hash(),
            length: description.layout().length(),
            piece_length: description.layout().piece_length(),
            name: claim.name.clone(),
            description: description.clone(),
        });
        self.work = Some(Work::new(description, self.config.block_bytes));
        let supporters = self.sources.iter().filter(|(_, source)| source.supports(working));
        for id in supporters.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.count(id);
        }
    }

    /// Counts the pieces of a partial source for the picker.
    fn count(&mut self, id: SourceId) {
        let Some(source) = self.sources.get_mut(&id) else { return };
        let Some(work) = self.work.as_mut() else { return };
        if !source.complete && !source.counted {
            source.counted = true;
            self.partial_sources += 1;
            if let Some(have) = &source.have {
                have.iter().for_each(|piece| work.picker.gained(piece));
            }
        }
    }

    /// The part file is open.
    pub(super) fn opened_store(&mut self, now: Time, on_disk: &[std::ops::Range<u64>]) {
        self.opening = self.opening.saturating_sub(1);
        let Some(work) = self.work.as_mut() else { return };
        if self.opening > 0 || self.store_ready {
            return;
        }
        self.store_ready = true;
        let before = self.retired.take();
        for piece in work.sort(on_disk, before.as_ref()) {
            self.outputs.push_back(Output::Servable { piece });
        }
        if work.ledger.complete() {
            return self.finish();
        }
        self.check_disk();
        self.settle(now);
        self.wake();
    }

    /// Compares all rivals with the description that is believed, and does what follows from it.
    pub(super) fn settle(&mut self, now: Time) {
        if self.claims.len() < 2 || !self.store_ready {
            return;
        }
        let numbers: Vec<u32> = self.claims.keys().copied().collect();
        for number in numbers {
            let (Some(working), Some(work)) = (self.working, self.work.as_mut()) else { return };
            let Some(rival) = self.claims.get_mut(&number).filter(|_| number != working) else { continue };
            let Some(description) = &rival.description else { continue };
            let decision = match rival.against {
                Some((against, decision)) if against == working => decision,
                _ => decisive_piece(&work.description, description),
            };
            rival.against = Some((working, decision));
            let (ours, theirs) = match decision {
                Decision::Piece(piece) => (piece, piece),
                Decision::LastPieces { a, b } => (a, b),
                Decision::Empty { a: false } => return self.replace(now, number),
                // Equal ones are one claim, and unequal layouts were refused at INFO.
                Decision::Empty { a: true } | Decision::Same | Decision::Incomparable => {
                    self.refute(now, number);
                    continue;
                }
            };
            if work.ledger.is_consistent(ours) {
                self.refute(now, number);
                continue;
            }
            if work.urgent.insert(ours) {
                self.wake();
            }
            self.start_trial(now, number, theirs);
        }
    }

    /// Asks one supporter of a rival description for the piece that decides, if one can be asked now.
    fn start_trial(&mut self, now: Time, number: u32, piece: u32) {
        let Some(claim) = self.claims.get_mut(&number).filter(|claim| claim.trial.is_none()) else { return };
        let able = |source: &&super::sources::Source| source.supports(number) && !source.choked && source.has(piece);
        let Some(source) = self.sources.values().find(able) else { return };
        let origin = source.origin;
        claim.trial = Some(Trial::new(piece, origin, claim.layout, self.config.block_bytes));
        self.fill_trial(now, origin.source);
    }

    /// Sends requests for the piece that decides.
    pub(super) fn fill_trial(&mut self, now: Time, id: SourceId) {
        let Some(source) = self.sources.get_mut(&id) else { return };
        let Phase::Supports(number) = source.phase else { return };
        let Some(trial) = self.claims.get_mut(&number).and_then(|claim| claim.trial.as_mut()) else { return };
        while trial.origin.source == id && source.can_take(self.share) && trial.next < trial.spans.len() {
            let span = trial.spans[trial.next];
            trial.next += 1;
            source.push(now, span);
            self.outputs.push_back(Output::Send { source: id, frame: ClientFrame::Request(span) });
        }
    }

    /// Takes a block of the piece that decides.
    pub(super) fn take_trial(&mut self, id: SourceId, offset: u64, bytes: Bytes) {
        let Some(Phase::Supports(number)) = self.sources.get(&id).map(|source| &source.phase) else { return };
        let number = *number;
        let Some(claim) = self.claims.get_mut(&number) else { return };
        let (Some(trial), Some(description)) = (claim.trial.as_mut(), claim.description.as_ref()) else { return };
        if trial.origin.source != id || !trial.accept(offset, bytes) {
            return;
        }
        let check = description.piece_check(trial.piece);
        let parts = trial.blocks.iter_mut().filter_map(Option::take).collect();
        let (piece, origin) = (trial.piece, trial.origin);
        trial.checking = true;
        let id = self.note_check(Verification::Trial { claim: number, origin, piece });
        self.outputs.push_back(Output::Check { id, piece, check, write_at: None, parts });
    }

    /// The source cannot go on with its trial; another one may.
    pub(super) fn reset_trial_of(&mut self, id: SourceId) {
        for claim in self.claims.values_mut() {
            // One that is being checked is not interrupted: the answer counts whatever became of the source.
            if claim.trial.as_ref().is_some_and(|trial| trial.origin.source == id && !trial.checking) {
                claim.trial = None;
            }
        }
    }

    /// The piece that decides was checked under the rival's own description.
    pub(super) fn trial_checked(&mut self, now: Time, number: u32, origin: Origin, piece: u32, consistent: bool) {
        if let Some(claim) = self.claims.get_mut(&number) {
            claim.trial = None;
        }
        if !consistent {
            self.ban(now, origin, format!("sent a false piece {piece} of the file as it describes it itself"));
            return self.settle(now);
        }
        let decided = self.claims.get(&number).and_then(|claim| claim.against).is_some_and(|(against, decision)| {
            let theirs = match decision {
                Decision::Piece(theirs) | Decision::LastPieces { b: theirs, .. } => Some(theirs),
                _ => None,
            };
            self.working == Some(against) && theirs == Some(piece)
        });
        if decided && self.work.is_some() {
            self.replace(now, number);
        } else {
            self.settle(now);
        }
    }

    /// The description that was believed is refuted by this one.
    fn replace(&mut self, now: Time, winner: u32) {
        let Some(fallen) = self.working.replace(winner) else { return };
        if let Some(work) = self.work.take() {
            self.outputs.push_back(Output::Unservable);
            if self.store_ready {
                self.retired = Some((work.description, work.ledger));
            }
        }
        self.store_ready = false;
        self.partial_sources = 0;
        self.sources.values_mut().for_each(|source| {
            source.counted = false;
            source.current = None;
            source.idle_at = None;
        });
        self.refute(now, fallen);
        self.announce_when_quiet();
    }

    /// Removes a description that was shown to be false, and those who cannot have come by it honestly.
    fn refute(&mut self, now: Time, number: u32) {
        if self.claims.remove(&number).is_none() {
            return;
        }
        let supporters: Vec<SourceId> =
            self.sources.iter().filter(|(_, source)| source.supports(number)).map(|(id, _)| *id).collect();
        for id in supporters {
            let Some(source) = self.sources.get(&id) else { continue };
            let origin = source.origin;
            if source.complete {
                self.ban(now, origin, "claimed to have the whole of a file that does not exist".to_owned());
            } else {
                self.close(now, id, Some(MISLED_RETRY));
            }
        }
        self.unpark(now);
    }

    /// Forgets a description that nobody supports any more, unless it is the one that is believed.
    pub(super) fn drop_claim_if_alone(&mut self, now: Time, number: u32) {
        if self.working != Some(number)
            && !self.sources.values().any(|source| source.supports(number))
            && self.claims.remove(&number).is_some()
        {
            self.unpark(now);
        }
    }

    /// Lets go of a rival that could not be decided on for long, if another one waits for its place.
    pub(super) fn rivals_overdue(&mut self, now: Time) {
        if self.claims.len() < limits::MAX_RIVAL_DESCRIPTIONS || self.parked().next().is_none() {
            return;
        }
        let rivals = self.claims.iter().filter(|(number, claim)| {
            self.working != Some(**number) && now.since(claim.since) >= limits::RIVAL_PATIENCE
        });
        let Some(number) = rivals.min_by_key(|(_, claim)| claim.since).map(|(number, _)| *number) else { return };
        self.claims.remove(&number);
        let supporters: Vec<SourceId> =
            self.sources.iter().filter(|(_, source)| source.supports(number)).map(|(id, _)| *id).collect();
        for id in supporters {
            self.close(now, id, Some(limits::RIVAL_PATIENCE));
        }
        self.unpark(now);
    }

    /// A content id was resolved by a peer that is gone without having proven anything: the next one may resolve it
    /// anew.
    pub(super) fn unresolve_if_alone(&mut self) {
        let by_id = matches!(self.config.key, ContentKey::Id(_));
        let heard = self.sources.values().any(|source| !matches!(source.phase, Phase::Greeting));
        let nothing_here = self.work.as_ref().is_none_or(|work| work.ledger.consistent() == 0);
        if !by_id || self.hash.is_none() || heard || !nothing_here || !self.checks.is_empty() || self.retired.is_some()
        {
            return;
        }
        if self.work.take().is_some() {
            self.outputs.push_back(Output::Unservable);
        }
        self.hash = None;
        self.working = None;
        self.claims.clear();
        self.store_ready = false;
    }
}
