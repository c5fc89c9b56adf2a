//! A request that is sent again until an answer comes or the deadline passes. Not here: what is sent.

use crate::base::limits;
use crate::base::time::Time;

/// The times of one request: at once, after 250 ms, after 750 ms; given up after 1.5 s.
#[derive(Clone, Copy, Debug)]
pub(super) struct Burst {
    sent: u32,
    next: Time,
    end: Time,
}

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    Nothing,
    Send,
    GiveUp,
}

impl Burst {
    /// The first sending is due now.
    pub(super) fn new(now: Time) -> Self {
        Self { sent: 0, next: now, end: now + limits::MAPPING_SILENCE }
    }

    /// What is due; a sending counts as done.
    pub(super) fn due(&mut self, now: Time) -> Due {
        if now >= self.end {
            return Due::GiveUp;
        }
        if now < self.next {
            return Due::Nothing;
        }
        self.next = now + limits::MAPPING_RETRANSMIT * 2u32.pow(self.sent.min(8));
        self.sent += 1;
        Due::Send
    }

    /// When to look again.
    pub(super) fn wake(&self) -> Time {
        self.next.min(self.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_sendings_then_the_end() {
        let mut burst = Burst::new(Time::ZERO);
        let mut log = Vec::new();
        loop {
            let now = burst.wake();
            let due = burst.due(now);
            log.push((now.as_micros() / 1000, due));
            if due == Due::GiveUp {
                break;
            }
            assert_eq!(burst.due(now), Due::Nothing);
        }
        assert_eq!(log, [(0, Due::Send), (250, Due::Send), (750, Due::Send), (1500, Due::GiveUp)]);
    }
}
