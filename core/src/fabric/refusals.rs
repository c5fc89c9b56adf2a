//! Which relays lately said that they cannot lead to which peers, and when they are asked again on the word of others.
//! Pure: time is an argument. Not here: who asks (`dial`), and circuits that a user named, which are tried at once.
//!
//! What is known of peers outlives them: tables of others, signed records, candidates. Each of them would be one more
//! request to the same relay, which grants a peer, and everybody behind one address, so many and no more.

use std::time::Duration;

use libp2p::PeerId;

use super::recent::Recent;
use crate::base::limits;
use crate::base::time::Time;

/// What relays said.
#[derive(Debug, Default)]
pub struct Refusals {
    /// By relay and peer.
    pairs: Recent<(PeerId, PeerId), Pause>,
    relays: Recent<PeerId, Interval>,
}

/// How long a relay is not asked for one peer.
#[derive(Debug, Default)]
struct Pause {
    length: Duration,
    until: Time,
}

/// What one relay refused lately, whomever it was for.
#[derive(Debug, Default)]
struct Interval {
    since: Time,
    refused: u32,
}

impl Refusals {
    /// A relay said that it cannot lead to the peer.
    pub fn refused(&mut self, now: Time, relay: PeerId, peer: PeerId) {
        let of_relay = self.relays.entry(relay, limits::RELAYS_THAT_REFUSED);
        if of_relay.refused == 0 || now.since(of_relay.since) >= limits::RELAY_REQUEST_INTERVAL {
            *of_relay = Interval { since: now, refused: 0 };
        }
        of_relay.refused = of_relay.refused.saturating_add(1);
        let pause = self.pairs.entry((relay, peer), limits::RELAY_REFUSALS);
        // Those who asked for it themselves do not make it longer for the others.
        if now >= pause.until {
            pause.length = (2 * pause.length).clamp(limits::RELAY_REFUSAL_PAUSE, limits::RELAY_REFUSAL_PAUSE_MAX);
            pause.until = now + pause.length;
        }
    }

    /// How long from now the relay is not to be asked for the peer; `None` if it may be.
    pub fn pause(&self, now: Time, relay: &PeerId, peer: &PeerId) -> Option<Duration> {
        let of_pair = self.pairs.get(&(*relay, *peer)).map(|pause| pause.until);
        let of_relay = self.relays.get(relay).filter(|of| of.refused >= limits::RELAY_REFUSALS_PER_INTERVAL);
        let of_relay = of_relay.map(|of| of.since + limits::RELAY_REQUEST_INTERVAL);
        of_pair.max(of_relay).filter(|until| *until > now).map(|until| until.since(now))
    }

    /// A relay refuses just this peer at the moment.
    pub fn is_refused(&self, now: Time, relay: &PeerId, peer: &PeerId) -> bool {
        self.pairs.get(&(*relay, *peer)).is_some_and(|pause| pause.until > now)
    }

    /// The peer is there: whatever was said of it is old.
    pub fn heard(&mut self, peer: &PeerId) {
        self.pairs.retain(|(_, refused)| refused != peer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = limits::RELAY_REFUSAL_PAUSE;

    #[test]
    fn the_pause_of_a_pair_doubles_up_to_its_bound_and_ends_when_the_peer_is_heard_of() {
        let mut refusals = Refusals::default();
        let (relay, other, peer) = (PeerId::random(), PeerId::random(), PeerId::random());
        let mut now = Time::ZERO;
        assert_eq!(refusals.pause(now, &relay, &peer), None);
        let mut lengths = Vec::new();
        for _ in 0..10 {
            refusals.refused(now, relay, peer);
            let pause = refusals.pause(now, &relay, &peer).expect("refused");
            // A second answer to those who asked at the same time changes nothing.
            refusals.refused(now, relay, peer);
            assert_eq!(refusals.pause(now, &relay, &peer), Some(pause));
            assert!(refusals.is_refused(now, &relay, &peer) && !refusals.is_refused(now, &other, &peer));
            assert_eq!(refusals.pause(now, &other, &peer), None, "another relay may know it");
            assert_eq!(refusals.pause(now, &relay, &other), None, "another peer may be there");
            now = now + pause;
            assert_eq!(refusals.pause(now, &relay, &peer), None, "over");
            lengths.push(pause);
        }
        assert_eq!(lengths[..3], [FIRST, 2 * FIRST, 4 * FIRST]);
        assert_eq!(lengths[9], limits::RELAY_REFUSAL_PAUSE_MAX);
        refusals.refused(now, relay, peer);
        refusals.heard(&peer);
        assert_eq!(refusals.pause(now, &relay, &peer), None);
        refusals.refused(now, relay, peer);
        assert_eq!(refusals.pause(now, &relay, &peer), Some(FIRST), "from the beginning");
    }

    #[test]
    fn a_relay_that_refuses_many_is_left_alone_for_an_interval() {
        let mut refusals = Refusals::default();
        let (relay, live) = (PeerId::random(), PeerId::random());
        let later = Time::ZERO + Duration::from_secs(1);
        for _ in 1..limits::RELAY_REFUSALS_PER_INTERVAL {
            refusals.refused(later, relay, PeerId::random());
        }
        assert_eq!(refusals.pause(later, &relay, &live), None);
        refusals.refused(later, relay, PeerId::random());
        assert_eq!(refusals.pause(later, &relay, &live), Some(limits::RELAY_REQUEST_INTERVAL));
        assert!(!refusals.is_refused(later, &relay, &live), "of itself nothing is known");
        let after = later + limits::RELAY_REQUEST_INTERVAL;
        assert_eq!(refusals.pause(after, &relay, &live), None);
        refusals.refused(after, relay, PeerId::random());
        assert_eq!(refusals.pause(after, &relay, &live), None, "it counts from the beginning");
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut refusals = Refusals::default();
        for number in 0..2 * limits::RELAY_REFUSALS {
            refusals.refused(Time::from_micros(number as u64), PeerId::random(), PeerId::random());
        }
        assert_eq!(refusals.pairs.len(), limits::RELAY_REFUSALS);
        assert_eq!(refusals.relays.len(), limits::RELAYS_THAT_REFUSED);
    }
}
