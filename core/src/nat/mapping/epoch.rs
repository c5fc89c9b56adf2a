//! Has the router lost its mappings? Judged by the clock it sends with each answer (RFC 6887 section 8.5, RFC 6886
//! section 3.6). Not here: what is done then.

use super::vocabulary::Method;
use crate::base::time::Time;

/// The clock of one router as one protocol tells it: seconds since it lost its mappings the last time.
#[derive(Clone, Copy, Debug)]
pub struct Epoch {
    method: Method,
    last: Option<(u64, u64)>,
}

/// What a told epoch means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The clock goes on as expected, or is heard for the first time.
    Continuous,
    /// The router has restarted or lost its mappings otherwise: make them again now.
    Reset,
}

impl Epoch {
    /// Nothing is known yet. The rules of PCP and NAT-PMP differ.
    pub const fn new(method: Method) -> Self {
        Self { method, last: None }
    }

    /// The router told its clock.
    pub fn told(&mut self, now: Time, seconds: u32) -> Verdict {
        let (server, client) = (u64::from(seconds), now.as_micros() / 1_000_000);
        let Some((last_server, last_client)) = self.last.replace((server, client)) else { return Verdict::Continuous };
        let client_delta = client.saturating_sub(last_client);
        let reset = match self.method {
            // One answer may overtake another by a second; both clocks may be wrong by a sixteenth and two seconds.
            Method::Pcp => {
                let server_delta = server.saturating_sub(last_server);
                server + 1 < last_server
                    || client_delta + 2 < server_delta - server_delta / 16
                    || server_delta + 2 < client_delta - client_delta / 16
            }
            // The router's clock may be slow by an eighth. A fast one is no sign of anything.
            _ => server + 2 < last_server + client_delta * 7 / 8,
        };
        if reset { Verdict::Reset } else { Verdict::Continuous }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Time {
        Time::from_micros(seconds * 1_000_000)
    }

    fn second_answer(method: Method, first: (u64, u32), second: (u64, u32)) -> Verdict {
        let mut epoch = Epoch::new(method);
        assert_eq!(epoch.told(at(first.0), first.1), Verdict::Continuous);
        epoch.told(at(second.0), second.1)
    }

    #[test]
    fn pcp_accepts_drift_and_nothing_else() {
        let judge = |first, second| second_answer(Method::Pcp, first, second);
        assert_eq!(judge((0, 100), (0, 100)), Verdict::Continuous);
        assert_eq!(judge((0, 100), (0, 99)), Verdict::Continuous); // reordered
        assert_eq!(judge((0, 100), (0, 98)), Verdict::Reset);
        assert_eq!(judge((0, 0), (1600, 1600)), Verdict::Continuous);
        // 1600 s at home leave the router 1600 - 100 - 2 at least; its 1704 - 106 are our 1598 + 2 at most.
        assert_eq!(judge((0, 0), (1600, 1498)), Verdict::Continuous);
        assert_eq!(judge((0, 0), (1600, 1497)), Verdict::Reset);
        assert_eq!(judge((0, 0), (1600, 1708)), Verdict::Continuous);
        assert_eq!(judge((0, 0), (1600, 1710)), Verdict::Reset);
        assert_eq!(judge((0, u32::MAX), (10, 3)), Verdict::Reset);
    }

    #[test]
    fn nat_pmp_only_minds_clocks_that_fall_behind() {
        let judge = |first, second| second_answer(Method::NatPmp, first, second);
        assert_eq!(judge((0, 50), (800, 850)), Verdict::Continuous);
        // 7/8 of 800 s are 700, less 2.
        assert_eq!(judge((0, 50), (800, 748)), Verdict::Continuous);
        assert_eq!(judge((0, 50), (800, 747)), Verdict::Reset);
        assert_eq!(judge((0, 50), (800, 100_000)), Verdict::Continuous);
    }

    #[test]
    fn after_a_reset_the_new_clock_counts() {
        let mut epoch = Epoch::new(Method::Pcp);
        epoch.told(at(0), 5000);
        assert_eq!(epoch.told(at(10), 1), Verdict::Reset);
        assert_eq!(epoch.told(at(20), 11), Verdict::Continuous);
    }
}
