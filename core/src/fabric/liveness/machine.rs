//! When to ask the other end of a link whether it is still there, and what to think of it when it does not answer.
//! A pure machine, one per link. Not here: how it is asked (`handler`), and what follows (`liveness`, `transfer`).
//!
//! Bytes that arrive prove that a link works. Only a link that is *wanted*, i.e. on which somebody waits for bytes or has
//! said something that was not yet answered, is asked after a short silence; others now and then, which also keeps the
//! mappings of NATs alive. A source that is slow but healthy answers, so it is never cut. What is long depends on the
//! measured round trip.

use std::time::Duration;

use crate::base::limits;
use crate::base::time::Time;

/// What is thought of a link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Nothing speaks against it.
    #[default]
    Fine,
    /// The answer takes longer than usual: time to look at the other links of this node.
    Late,
    /// Most likely dead: whoever has another way should take it.
    Suspect,
    /// To be closed.
    Dead,
}

/// Something the handler is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Ask the other end.
    Probe,
    /// What is thought of the link has changed.
    Stage(Stage),
}

/// The machine.
#[derive(Debug)]
pub struct Vigil {
    stage: Stage,
    /// The last sign of life.
    heard: Time,
    /// Since when a question is open.
    asked: Option<Time>,
    /// No question before this.
    not_before: Time,
    /// Of questions and their answers, smoothed; unknown before the first answer.
    round_trip: Option<Duration>,
    /// The answer is needed soon, although nobody waits on this link.
    pressed: bool,
    /// Something speaks for it that the link is lost: it is closed if it does not answer soon.
    doomed: bool,
}

impl Vigil {
    /// A link that has just come up. It is asked at once, so that the round trip is known when it matters.
    pub const fn new(now: Time) -> Self {
        Self {
            stage: Stage::Fine,
            heard: now,
            asked: None,
            not_before: now,
            round_trip: None,
            pressed: false,
            doomed: false,
        }
    }

    /// Something arrived at that moment.
    pub fn heard(&mut self, at: Time) {
        self.heard = self.heard.max(at);
    }

    /// The answer has come.
    pub fn answered(&mut self, now: Time) {
        self.heard(now);
        (self.pressed, self.doomed) = (false, false);
        if let Some(asked) = self.asked.take() {
            let took = now.since(asked);
            self.round_trip = Some(self.round_trip.map_or(took, |known| (known * 7 + took) / 8));
        }
    }

    /// The question could not be put. It is tried again after a while.
    pub fn broken(&mut self, now: Time) {
        self.asked = None;
        self.not_before = now + limits::LINK_QUIET;
        if self.round_trip.is_none() {
            self.round_trip = Some(Duration::ZERO);
        }
    }

    /// Something else makes it doubtful whether this link still works.
    pub fn press(&mut self) {
        self.pressed = true;
    }

    /// Most likely the link is lost: the same peer has come back over a newer one, or an address of ours is gone.
    pub fn doom(&mut self) {
        self.doomed = true;
    }

    /// The next thing to do. To be called until it gives nothing, whenever something has happened and at
    /// [`Self::next_timeout`].
    pub fn step(&mut self, now: Time, wanted: bool) -> Option<Output> {
        let stage = match self.asked {
            Some(asked) => self.judge(now.since(asked.max(self.heard)), wanted),
            None => Stage::Fine,
        };
        if stage != self.stage && self.stage != Stage::Dead {
            self.stage = stage;
            // A doubt is resolved by an answer or by bytes, not by everyone's going away.
            self.pressed |= stage > Stage::Fine;
            return Some(Output::Stage(stage));
        }
        if self.asked.is_none() && self.stage != Stage::Dead && now >= self.next_question(wanted) {
            self.asked = Some(now);
            return Some(Output::Probe);
        }
        None
    }

    /// When [`Self::step`] has something to do, if nothing happens before.
    pub fn next_timeout(&self, now: Time, wanted: bool) -> Time {
        let Some(asked) = self.asked else { return self.next_question(wanted) };
        let since = asked.max(self.heard);
        let bounds = self.bounds(wanted).into_iter().flatten().map(|(after, _)| since + after);
        bounds.filter(|at| *at > now).min().unwrap_or(Time::NEVER)
    }

    fn next_question(&self, wanted: bool) -> Time {
        let due = if self.pressed || self.doomed || self.round_trip.is_none() {
            Time::ZERO
        } else if wanted {
            self.heard + limits::LINK_QUIET
        } else {
            self.heard + limits::LINK_KEEP_ALIVE
        };
        due.max(self.not_before)
    }

    fn judge(&self, silence: Duration, wanted: bool) -> Stage {
        let reached = self.bounds(wanted).into_iter().flatten().filter(|(after, _)| silence >= *after);
        reached.map(|(_, stage)| stage).max().unwrap_or_default()
    }

    /// After how much silence what is thought of the link.
    fn bounds(&self, wanted: bool) -> [Option<(Duration, Stage)>; 4] {
        let round_trip = self.round_trip.unwrap_or_default();
        let urgent = wanted || self.pressed || self.doomed;
        let dead = if urgent { limits::LINK_DEAD } else { limits::IDLE_LINK_DEAD };
        [
            urgent.then(|| (limits::LINK_LATE.max(round_trip * 2), Stage::Late)),
            urgent.then(|| (limits::LINK_SUSPECT.max(round_trip * 4), Stage::Suspect)),
            Some((dead.max(round_trip * 8), Stage::Dead)),
            self.doomed.then(|| (limits::LINK_SUSPECT.max(round_trip * 4), Stage::Dead)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(40);

    fn at(millis: u64) -> Time {
        Time::from_micros(millis * 1000)
    }

    /// A link that was asked and has answered, at 40 ms.
    fn settled() -> Vigil {
        let mut vigil = Vigil::new(Time::ZERO);
        assert_eq!(vigil.step(Time::ZERO, false), Some(Output::Probe));
        assert_eq!(vigil.step(at(10), false), None, "one question at a time");
        vigil.answered(Time::ZERO + RTT);
        assert_eq!(vigil.step(at(40), false), None);
        vigil
    }

    /// Lets time pass from one timeout to the next and notes what happens when.
    fn pass(vigil: &mut Vigil, from: Time, until: Time, wanted: bool) -> Vec<(Time, Output)> {
        let (mut now, mut seen) = (from, Vec::new());
        loop {
            while let Some(output) = vigil.step(now, wanted) {
                seen.push((now, output));
            }
            let next = vigil.next_timeout(now, wanted);
            assert!(next > now, "the machine would spin");
            if next > until {
                return seen;
            }
            now = next;
        }
    }

    #[test]
    fn a_silent_link_on_which_somebody_waits_is_dead_within_seconds() {
        let mut vigil = settled();
        let asked = at(40) + limits::LINK_QUIET;
        let seen = pass(&mut vigil, at(40), at(60_000), true);
        let expected = [
            (asked, Output::Probe),
            (asked + limits::LINK_LATE, Output::Stage(Stage::Late)),
            (asked + limits::LINK_SUSPECT, Output::Stage(Stage::Suspect)),
            (asked + limits::LINK_DEAD, Output::Stage(Stage::Dead)),
        ];
        assert_eq!(seen, expected);
    }

    #[test]
    fn an_idle_link_is_asked_seldom_and_given_more_time() {
        let mut vigil = settled();
        let asked = at(40) + limits::LINK_KEEP_ALIVE;
        let seen = pass(&mut vigil, at(40), at(600_000), false);
        assert_eq!(seen, [(asked, Output::Probe), (asked + limits::IDLE_LINK_DEAD, Output::Stage(Stage::Dead))]);
    }

    #[test]
    fn a_slow_source_that_answers_is_never_doubted() {
        let mut vigil = settled();
        let mut now = at(40);
        for _ in 0..100 {
            assert_eq!(pass(&mut vigil, now, now + limits::LINK_QUIET, true).len(), 1, "asked once, nothing else");
            now = now + limits::LINK_QUIET + RTT;
            vigil.answered(now);
        }
    }

    #[test]
    fn bytes_that_arrive_prove_it_without_a_question() {
        let mut vigil = settled();
        for millis in (40..10_000).step_by(100) {
            vigil.heard(at(millis));
            assert_eq!(vigil.step(at(millis), true), None);
        }
    }

    #[test]
    fn a_doubt_ends_with_an_answer_or_with_bytes_and_not_with_the_one_who_waited() {
        for bytes in [true, false] {
            let mut vigil = settled();
            let suspect = at(40) + limits::LINK_QUIET + limits::LINK_SUSPECT;
            let seen = pass(&mut vigil, at(40), suspect, true);
            assert_eq!(seen.last().expect("asked").1, Output::Stage(Stage::Suspect));
            let later = suspect + Duration::from_millis(100);
            assert_eq!(vigil.step(later, false), None, "nobody waits any more, but it is as doubtful as before");
            if bytes {
                vigil.heard(later);
            } else {
                vigil.answered(later);
            }
            assert_eq!(vigil.step(later, false), Some(Output::Stage(Stage::Fine)));
        }
    }

    #[test]
    fn long_round_trips_are_given_their_time() {
        let mut vigil = Vigil::new(Time::ZERO);
        assert_eq!(vigil.step(Time::ZERO, true), Some(Output::Probe));
        vigil.answered(at(2000));
        let asked = at(2000) + limits::LINK_QUIET;
        let seen = pass(&mut vigil, at(2000), at(600_000), true);
        let seen: Vec<u64> = seen.iter().map(|(when, _)| when.since(asked).as_secs()).collect();
        assert_eq!(seen, [0, 4, 8, 16]);
    }

    #[test]
    fn pressing_asks_at_once_and_a_doomed_link_goes_quickly() {
        let mut vigil = settled();
        vigil.press();
        let seen = pass(&mut vigil, at(100), at(100) + limits::LINK_LATE, false);
        assert_eq!(seen, [(at(100), Output::Probe), (at(100) + limits::LINK_LATE, Output::Stage(Stage::Late))]);
        let mut vigil = settled();
        vigil.doom();
        let seen = pass(&mut vigil, at(100), at(60_000), false);
        assert_eq!(*seen.last().expect("asked"), (at(100) + limits::LINK_SUSPECT, Output::Stage(Stage::Dead)));
        let mut vigil = settled();
        vigil.doom();
        assert_eq!(vigil.step(at(100), false), Some(Output::Probe));
        vigil.answered(at(140));
        assert_eq!(pass(&mut vigil, at(140), at(5000), false), [], "it lives");
    }

    #[test]
    fn a_question_that_cannot_be_put_is_put_again_later() {
        let mut vigil = Vigil::new(Time::ZERO);
        assert_eq!(vigil.step(Time::ZERO, true), Some(Output::Probe));
        vigil.broken(at(5));
        assert_eq!(vigil.step(at(5), true), None);
        assert_eq!(vigil.next_timeout(at(5), true), at(5) + limits::LINK_QUIET);
    }
}
