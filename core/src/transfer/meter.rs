//! Measuring: bytes per second over the last seconds. Not here: what is done with the number.

use std::time::Duration;

use crate::base::time::Time;

/// Length of one slot. Short enough for progress displays, long enough to hold several blocks of a slow line.
const SLOT: Duration = Duration::from_millis(250);
/// Slots looked back on: three seconds.
const SLOTS: usize = 12;

/// Bytes per second over the last three seconds, or since the first byte if that is more recent. Never NaN, never
/// negative, and falls to zero when nothing comes any more.
#[derive(Clone, Debug)]
pub struct RateMeter {
    slots: [u64; SLOTS],
    /// Number of the newest slot, counted from the clock's start.
    newest: u64,
    started: Option<Time>,
    total: u64,
}

impl Default for RateMeter {
    fn default() -> Self {
        Self::new()
    }
}

impl RateMeter {
    /// Nothing measured yet.
    pub const fn new() -> Self {
        Self { slots: [0; SLOTS], newest: 0, started: None, total: 0 }
    }

    /// Counts bytes that arrived now.
    pub fn add(&mut self, now: Time, bytes: u64) {
        let slot = slot_of(now);
        self.advance(slot);
        self.started.get_or_insert(now);
        self.slots[(self.newest % SLOTS as u64) as usize] += bytes;
        self.total += bytes;
    }

    /// Bytes per second.
    pub fn rate(&self, now: Time) -> f64 {
        let Some(started) = self.started else { return 0.0 };
        let current = slot_of(now).max(self.newest);
        let oldest = (current + 1).saturating_sub(SLOTS as u64);
        let bytes: u64 = (oldest..=self.newest).map(|slot| self.slots[(slot % SLOTS as u64) as usize]).sum();
        // The window starts with its oldest slot, or with the first byte. At least one slot, so that the first block
        // does not count as an infinite rate.
        let window_start = Time::from_micros(oldest * SLOT.as_micros() as u64).max(started);
        let seconds = now.since(window_start).max(SLOT).as_secs_f64();
        bytes as f64 / seconds
    }

    /// All bytes ever counted.
    pub const fn total(&self) -> u64 {
        self.total
    }

    fn advance(&mut self, slot: u64) {
        if slot <= self.newest {
            return;
        }
        for passed in (self.newest + 1..=slot).take(SLOTS) {
            self.slots[(passed % SLOTS as u64) as usize] = 0;
        }
        self.newest = slot;
    }
}

fn slot_of(now: Time) -> u64 {
    now.as_micros() / SLOT.as_micros() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Time {
        Time::from_micros(millis * 1000)
    }

    #[test]
    fn a_steady_flow_is_measured_exactly_enough() {
        let mut meter = RateMeter::new();
        assert!(meter.rate(at(0)).abs() < f64::EPSILON);
        for tick in 0..1000 {
            meter.add(at(5_000 + tick * 10), 10_000);
        }
        let rate = meter.rate(at(15_000));
        assert!((rate - 1_000_000.0).abs() < 20_000.0, "{rate}");
        assert_eq!(meter.total(), 10_000_000);
    }

    #[test]
    fn the_first_bytes_give_a_finite_rate_and_silence_gives_zero() {
        let mut meter = RateMeter::new();
        meter.add(at(100), 1000);
        assert!((meter.rate(at(100)) - 4000.0).abs() < 1.0);
        assert!((meter.rate(at(1100)) - 1000.0).abs() < 1.0);
        assert!(meter.rate(at(3_500)).abs() < f64::EPSILON);
        meter.add(at(60_000_000), 1000);
        assert!(meter.rate(at(60_000_000)) <= 4000.0);
        assert!(meter.rate(Time::NEVER).is_finite());
    }
}
