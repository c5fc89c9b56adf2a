//! When a session's two sides say anew who they are: announcements hold for a while, and sessions may last longer. Pure.
//! Not here: what is said, and its signature ([`driver`](super::driver)).

use crate::base::limits;
use crate::base::time::Time;

/// What was said and heard in one session.
#[derive(Clone, Copy, Debug)]
pub struct OwnWord {
    /// When we say ourselves again; `None` if we never do.
    next: Option<Time>,
    /// Announcements that the peer may still send now, and since when that is so.
    credit: f64,
    credited: Time,
}

impl OwnWord {
    /// A session began.
    pub fn new(now: Time, speaks: bool) -> Self {
        Self { next: speaks.then_some(now), credit: f64::from(limits::PEX_ANNOUNCEMENTS), credited: now }
    }

    /// Whether it is time to say ourselves; then it was done.
    pub fn say(&mut self, now: Time) -> bool {
        let due = self.next.is_some_and(|next| next <= now);
        if due {
            self.next = Some(now + limits::PEX_ANNOUNCEMENT_TTL / 2);
        }
        due
    }

    /// When it is time.
    pub const fn next(&self) -> Option<Time> {
        self.next
    }

    /// The peer says itself. False: too often to be looked at.
    pub fn hear(&mut self, now: Time) -> bool {
        let earned = now.since(self.credited).as_secs_f64() / (limits::PEX_ANNOUNCEMENT_TTL / 4).as_secs_f64();
        self.credit = (self.credit + earned).min(f64::from(limits::PEX_ANNOUNCEMENTS));
        self.credited = now;
        let heard = self.credit >= 1.0;
        self.credit -= f64::from(u8::from(heard));
        heard
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn it_is_said_again_before_it_expires_as_long_as_the_session_lasts() {
        let (mut ours, mut theirs) = (OwnWord::new(Time::ZERO, true), OwnWord::new(Time::ZERO, false));
        assert!(!theirs.say(Time::ZERO) && theirs.next().is_none());
        let mut said = Vec::new();
        // A session of two days, looked into every minute.
        for minute in 0..2 * 24 * 60 {
            let now = Time::ZERO + Duration::from_secs(60 * minute);
            if ours.say(now) {
                assert!(theirs.hear(now), "an honest peer is always heard");
                said.push(now);
            }
        }
        assert!(said.len() > 40, "{}", said.len());
        assert!(said.windows(2).all(|pair| pair[1].since(pair[0]) < limits::PEX_ANNOUNCEMENT_TTL * 3 / 4));
    }

    #[test]
    fn who_says_it_too_often_is_not_looked_at() {
        let mut word = OwnWord::new(Time::ZERO, true);
        let heard = (0..1000).filter(|_| word.hear(Time::ZERO)).count();
        assert_eq!(heard, limits::PEX_ANNOUNCEMENTS as usize);
        assert!(word.hear(Time::ZERO + limits::PEX_ANNOUNCEMENT_TTL / 4));
    }
}
