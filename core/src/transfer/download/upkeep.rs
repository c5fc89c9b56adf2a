//! What the passing of time means: sources that never answer, stall, skip requests, or are not worth their place.
//! Not here: when time is looked at, which the driver decides by `next_timeout`.

use super::sources::{Phase, Source, typical_speed};
use super::{Download, Output, SourceId};
use crate::base::limits;
use crate::base::time::Time;
use crate::wire::transfer::{ClientFrame, Span};

impl Download {
    /// Looks at everything that depends on time alone.
    pub(super) fn tick(&mut self, now: Time) {
        self.answers_overdue(now);
        self.states_overdue(now);
        self.rivals_overdue(now);
        self.free_slow_soles(now);
        self.divide();
        if now.since(self.last_rotation) >= limits::ROTATION_INTERVAL {
            self.last_rotation = now;
            self.forgive_rejects();
            self.rotate(now);
        }
        self.settle(now);
        self.wake();
    }

    /// A source did not answer for the longest acceptable time.
    pub(super) fn stalled(&mut self, now: Time, id: SourceId) {
        let Some(source) = self.sources.get(&id) else { return };
        let Some(record) = self.peers.get_mut(source.origin.record) else { return };
        record.stalls += 1;
        self.failed += 1;
        let retry = (record.stalls < limits::MAX_STALLS).then_some(limits::STALL_TIMEOUT);
        self.close(now, id, retry);
    }

    fn answers_overdue(&mut self, now: Time) {
        let ids: Vec<SourceId> = self.sources.keys().copied().collect();
        let mut able = self.sources.values().filter(|source| !source.choked && !source.silent).count();
        for id in ids {
            let Some(source) = self.sources.get_mut(&id) else { continue };
            if matches!(source.phase, Phase::Greeting) {
                if now.since(source.opened) >= limits::HANDSHAKE_TIMEOUT {
                    self.stalled(now, id);
                }
                continue;
            }
            if source.silent || !source.queue.is_empty() {
                let waiting = now.since(source.owes_since);
                if waiting >= limits::STALL_TIMEOUT {
                    self.stalled(now, id);
                    continue;
                }
                if waiting >= limits::REQUEST_TIMEOUT && !source.silent && able > 1 {
                    source.silent = true;
                    able -= 1;
                    for span in self.withdraw_all(id) {
                        self.outputs.push_back(Output::Send { source: id, frame: ClientFrame::Cancel(span) });
                    }
                    continue;
                }
            }
            self.skipped(now, id);
        }
    }

    /// Takes back requests that a source has passed over.
    fn skipped(&mut self, now: Time, id: SourceId) {
        let Some(source) = self.sources.get_mut(&id) else { return };
        let old = |ask: &&super::sources::Ask| ask.overtaken && now.since(ask.at) >= limits::REQUEST_TIMEOUT;
        let spans: Vec<Span> = source.queue.iter().filter(old).map(|ask| ask.span).collect();
        if spans.is_empty() {
            return;
        }
        source.skips += 1;
        if source.skips >= limits::MAX_STALLS {
            return self.stalled(now, id);
        }
        for span in &spans {
            source.withdraw(*span);
            self.outputs.push_back(Output::Send { source: id, frame: ClientFrame::Cancel(*span) });
        }
        if self.working.is_some_and(|working| source.supports(working)) {
            self.release_pieces(id, &spans, None);
            self.wake();
        } else {
            self.withdraw_all(id);
        }
    }

    /// A piece that must come from one source alone is not left to a slow one while a much faster one has nothing to do.
    fn free_slow_soles(&mut self, now: Time) {
        let (Some(working), Some(work)) = (self.working, self.work.as_ref()) else { return };
        let typical = typical_speed(self.sources.values());
        let soles = work.contested.keys().filter_map(|piece| Some((*piece, work.active.get(piece)?.sole?)));
        let slow = soles.filter(|(piece, sole)| {
            let Some(owner) = self.sources.get(sole) else { return true };
            let free = |other: &&Source| {
                other.supports(working) && !other.choked && !other.silent && other.queue.is_empty() && other.has(*piece)
            };
            let speed = owner.speed(now, typical);
            self.sources.values().filter(free).any(|other| other.speed(now, typical) > 2.0 * speed)
        });
        for (piece, sole) in slow.collect::<Vec<_>>() {
            let Some(source) = self.sources.get_mut(&sole) else { continue };
            source.current = source.current.filter(|current| *current != piece);
            // The slow one must not take it again before the fast one looks.
            source.idle_at = Some(self.generation + 1);
            self.abandon(piece);
        }
    }

    /// Exchanges the least useful source for a waiting candidate.
    fn rotate(&mut self, now: Time) {
        if self.candidates == 0 || self.wants_peers() > 0 {
            return;
        }
        let Some(worst) = self.least_useful(now) else { return };
        let Some(source) = self.sources.get(&worst) else { return };
        let aged = now.since(source.opened) >= limits::USELESS_AFTER;
        let waits = source.choked && now.since(source.choked_since) >= limits::USELESS_AFTER;
        if aged && (waits || (!source.choked && self.is_slow(now, source))) {
            self.close(now, worst, Some(limits::USELESS_AFTER));
        }
    }

    /// The source whose loss would hurt least: the one that is choked for longest, or else the slowest.
    pub(super) fn least_useful(&self, now: Time) -> Option<SourceId> {
        let choked = self.sources.iter().filter(|(_, source)| source.choked);
        let choked = choked.min_by_key(|(id, source)| (source.choked_since, **id)).map(|(id, _)| *id);
        let slowest = || {
            let speeds = self.sources.iter().map(|(id, source)| (source.meter.rate(now), *id));
            speeds.min_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1))).map(|(_, id)| id)
        };
        choked.or_else(slowest)
    }

    /// Less than half of the mean, among those that deliver.
    pub(super) fn is_slow(&self, now: Time, source: &Source) -> bool {
        source.meter.total() > 0 && source.meter.rate(now) < self.slow_below(now)
    }

    /// The rate below which a source is slow: half the mean of those that deliver, if there are several.
    pub(super) fn slow_below(&self, now: Time) -> f64 {
        let delivering = self.sources.values().filter(|source| source.meter.total() > 0 && !source.choked);
        let (sum, count) =
            delivering.fold((0.0, 0_u32), |(sum, count), source| (sum + source.meter.rate(now), count + 1));
        if count > 1 { sum / f64::from(count) / 2.0 } else { 0.0 }
    }
}
