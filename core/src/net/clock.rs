//! The clocks that machines are told: microseconds since their driver's start, and the wall clock. Not here: the machines'
//! own view of time (`base::time`).

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::base::time::Time;

/// A monotonic clock. Copies show the same time.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Instant);

impl Default for Clock {
    fn default() -> Self {
        Self::start()
    }
}

impl Clock {
    /// A clock that starts now.
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Time since the start.
    pub fn now(self) -> Time {
        Time::from_micros(u64::try_from(self.0.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    /// The moment as the runtime's timers want it; `None` stays never.
    pub fn deadline(self, time: Option<Time>) -> Option<tokio::time::Instant> {
        time.filter(|time| *time != Time::NEVER)
            .and_then(|time| self.0.checked_add(time.since(Time::ZERO)))
            .map(tokio::time::Instant::from_std)
    }

    /// Waits for the moment; forever without one. Cancel safe.
    pub async fn sleep_until(self, time: Option<Time>) {
        sleep_until(self.deadline(time)).await;
    }
}

/// Milliseconds since 1970 by this machine's clock, which may be wrong and may jump.
pub fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Waits for the moment, or forever.
pub async fn sleep_until(deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
