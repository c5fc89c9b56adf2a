//! What the streams of a link tell its watcher: when bytes arrived last, and whether anybody waits for some.
//! Not here: what the watcher makes of it (`machine`).

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::Waker;

use futures::task::AtomicWaker;

use crate::base::time::Time;
use crate::net::clock::Clock;

/// One link's. Written by whoever reads and writes streams, read by the link's handler.
pub struct Pulse {
    clock: Clock,
    /// Microseconds.
    heard: AtomicU64,
    /// Streams on which bytes are owed to us.
    waiting: AtomicUsize,
    /// Something was written since the last answer of the other end.
    spoke: AtomicBool,
    watcher: AtomicWaker,
}

impl Pulse {
    /// A link that came up now.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            clock: Clock::start(),
            heard: AtomicU64::new(0),
            waiting: AtomicUsize::new(0),
            spoke: AtomicBool::new(false),
            watcher: AtomicWaker::new(),
        })
    }

    /// The time that all of this is measured in.
    pub fn now(&self) -> Time {
        self.clock.now()
    }

    /// The same for timers.
    pub const fn clock(&self) -> Clock {
        self.clock
    }

    /// Bytes have arrived.
    pub fn hear(&self) {
        self.heard.store(self.clock.now().as_micros(), Ordering::Relaxed);
    }

    /// Bytes were written: if the other end is there, something comes back.
    pub fn speak(&self) {
        // Looked at first, because writing makes all processors' copies of the line invalid.
        if !self.spoke.load(Ordering::Relaxed) && !self.spoke.swap(true, Ordering::AcqRel) {
            self.watcher.wake();
        }
    }

    /// When bytes arrived last.
    pub fn heard_at(&self) -> Time {
        Time::from_micros(self.heard.load(Ordering::Relaxed))
    }

    /// Whether anybody cares soon if the link works.
    pub fn is_wanted(&self) -> bool {
        self.waiting.load(Ordering::Acquire) > 0 || self.spoke.load(Ordering::Acquire)
    }

    /// The other end has answered: what was written before has most likely arrived.
    pub fn answered(&self) {
        self.spoke.store(false, Ordering::Release);
    }

    /// Wakes this when [`Self::is_wanted`] becomes true.
    pub fn watch(&self, watcher: &Waker) {
        self.watcher.register(watcher);
    }
}

impl fmt::Debug for Pulse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pulse").field("heard", &self.heard_at()).field("wanted", &self.is_wanted()).finish()
    }
}

/// Says for one stream whether bytes are owed to us. While they are, the link is looked after closely: if nothing
/// arrives the other end is asked whether it is there, and if it is not, `FabricEvent::LinkSuspect` tells. Dropping it
/// means that nothing is owed.
#[derive(Debug)]
pub struct Expectation {
    pulse: Arc<Pulse>,
    set: bool,
}

impl Expectation {
    pub(in crate::fabric) const fn new(pulse: Arc<Pulse>) -> Self {
        Self { pulse, set: false }
    }

    /// Whether bytes are owed from now on. Cheap when nothing changes.
    pub fn set(&mut self, owed: bool) {
        if owed == self.set {
            return;
        }
        self.set = owed;
        if !owed {
            self.pulse.waiting.fetch_sub(1, Ordering::AcqRel);
        } else if self.pulse.waiting.fetch_add(1, Ordering::AcqRel) == 0 {
            self.pulse.watcher.wake();
        }
    }
}

impl Drop for Expectation {
    fn drop(&mut self) {
        self.set(false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_wanted_while_any_stream_is_owed_something_or_words_are_unanswered() {
        let pulse = Pulse::new();
        let (mut one, mut other) = (Expectation::new(Arc::clone(&pulse)), Expectation::new(Arc::clone(&pulse)));
        assert!(!pulse.is_wanted());
        one.set(true);
        one.set(true);
        other.set(true);
        one.set(false);
        assert!(pulse.is_wanted());
        drop(other);
        assert!(!pulse.is_wanted());
        pulse.speak();
        assert!(pulse.is_wanted());
        pulse.answered();
        assert!(!pulse.is_wanted());
    }
}
