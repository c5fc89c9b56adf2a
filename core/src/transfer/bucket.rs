//! Pacing: a token bucket for one rate limit. Not here: waiting, which the driver does.

use std::time::Duration;

use crate::base::limits;
use crate::base::time::Time;

/// Lets a given number of bytes per second pass, with bursts of a tenth of a second (at least one block).
///
/// Reservations are first come, first served: each caller is told how long to wait and then sends without asking
/// again, so a large block is never starved by small ones.
#[derive(Clone, Debug)]
pub struct TokenBucket {
    /// Bytes per second, 0 for no limit.
    rate: u64,
    /// Bytes that may pass at `updated`; negative while reservations are being paid off.
    tokens: f64,
    updated: Time,
}

impl TokenBucket {
    /// A full bucket. `rate` is in bytes per second; 0 means unlimited.
    pub fn new(rate: u64, now: Time) -> Self {
        Self { rate, tokens: burst(rate), updated: now }
    }

    /// Changes the rate. Reservations already made stay as they are.
    pub fn set_rate(&mut self, now: Time, rate: u64) {
        self.refill(now);
        self.rate = rate;
        self.tokens = self.tokens.min(burst(rate));
    }

    /// The rate in bytes per second, 0 for no limit.
    pub const fn rate(&self) -> u64 {
        self.rate
    }

    /// Reserves `bytes`. `None`: they may pass now. `Some(wait)`: they may pass after this wait. Either way they are
    /// accounted for, the caller does not ask again.
    pub fn take(&mut self, now: Time, bytes: u64) -> Option<Duration> {
        if self.rate == 0 {
            return None;
        }
        self.refill(now);
        self.tokens -= bytes as f64;
        (self.tokens < 0.0).then(|| Duration::from_secs_f64(-self.tokens / self.rate as f64))
    }

    fn refill(&mut self, now: Time) {
        let passed = now.since(self.updated).as_secs_f64();
        self.tokens = (self.tokens + passed * self.rate as f64).min(burst(self.rate));
        self.updated = self.updated.max(now);
    }
}

fn burst(rate: u64) -> f64 {
    (rate as f64 / 10.0).max(f64::from(limits::MAX_BLOCK_BYTES))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_limit_never_waits() {
        let mut bucket = TokenBucket::new(0, Time::ZERO);
        assert!((0..1000).all(|_| bucket.take(Time::ZERO, u64::MAX / 2000).is_none()));
    }

    #[test]
    fn the_rate_is_kept_exactly_over_time() {
        // 1 MB/s, burst of one block (131 072 bytes, more than a tenth of a second's 100 000).
        let mut bucket = TokenBucket::new(1_000_000, Time::ZERO);
        let mut now = Time::ZERO;
        let mut sent = 0_u64;
        while now < Time::from_micros(10_000_000) {
            if let Some(wait) = bucket.take(now, 100_000) {
                now = now + wait;
            }
            sent += 100_000;
        }
        let allowed = 10_000_000 + 131_072;
        assert!(sent <= allowed + 100_000 && sent >= allowed - 100_000, "{sent}");
    }

    #[test]
    fn waits_follow_the_order_of_reservations() {
        let mut bucket = TokenBucket::new(131_072, Time::ZERO);
        assert_eq!(bucket.take(Time::ZERO, 131_072), None);
        assert_eq!(bucket.take(Time::ZERO, 131_072), Some(Duration::from_secs(1)));
        assert_eq!(bucket.take(Time::ZERO, 131_072), Some(Duration::from_secs(2)));
        assert_eq!(bucket.take(Time::from_micros(3_000_000), 131_072), None);
    }

    #[test]
    fn an_idle_bucket_saves_no_more_than_one_burst() {
        let mut bucket = TokenBucket::new(10_000_000, Time::ZERO);
        let later = Time::from_micros(60_000_000);
        assert_eq!(bucket.take(later, 1_000_000), None);
        assert!(bucket.take(later, 1).is_some());
        bucket.set_rate(later, 0);
        assert_eq!(bucket.take(later, 1 << 30), None);
    }
}
