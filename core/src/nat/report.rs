//! What was tried to reach a peer, why each way failed, and the one thing that would help most. Plain records that go
//! into errors, events and `dig-nat doctor`. Not here: the trying (`ladder`).

use std::fmt::{self, Write as _};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::limits;
use crate::nat::method::{Method, Side};
use crate::nat::policy::Refusal;
use crate::nat::profile::NatProfile;

/// Why an attempt failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Failure {
    /// Nothing came back in time.
    Timeout,
    /// Something answered that it does not want us.
    Refused,
    /// The network has no way there.
    Unreachable,
    /// The exchange of messages with the peer broke.
    Signalling,
    /// The guessed ports were all wrong.
    PredictionMissed,
    /// Who answered is not the peer.
    WrongPeer,
    /// A server or relay did not accept our credentials.
    Unauthorised,
    /// A server, relay, router or this node has no room.
    LimitReached,
    /// The other side broke the protocol.
    Protocol,
    /// It stood, and broke.
    Lost,
    /// Anything else; see the detail.
    Other,
}

/// Why a way was not tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "because", content = "detail")]
#[non_exhaustive]
pub enum Skip {
    /// No address of that kind is known.
    NoAddress,
    /// The address may not be dialled.
    Forbidden(Refusal),
    /// The peer's NAT or firewall lets nobody in.
    Filtered,
    /// We have no IPv6, or the peer has none.
    NoIpv6,
    /// One side cannot send UDP.
    UdpBlocked,
    /// A side's ports change with each destination.
    Symmetric,
    /// Ports of both sides are unpredictable.
    Unpredictable,
    /// Plain punching does it; guessing is not needed.
    NotNeeded,
    /// Both are behind one NAT that does not lead back inside.
    NoHairpin,
    /// No way to exchange messages with the peer first.
    NoSignalling,
    /// No router of that side gave a port.
    NoMapping,
    /// No server or relay of that kind is configured or known.
    NotConfigured,
    /// Not among the preferred methods.
    NotPreferred,
    /// An equal or better path stood already.
    AlreadyConnected,
    /// Too many ways to try.
    Budget,
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "result", content = "reason")]
pub enum Outcome {
    /// It gave a path.
    Connected,
    /// It did not.
    Failed(Failure),
    /// It was not tried.
    Skipped(Skip),
    /// It was stopped because another way was faster, or the network changed.
    Cancelled,
}

/// One way that was tried, or not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attempt {
    /// The way.
    pub method: Method,
    /// Where to: addresses, a server, or empty.
    pub target: String,
    /// Milliseconds from the first attempt's start.
    pub started_ms: u64,
    /// Milliseconds it took.
    pub took_ms: u64,
    /// How it ended.
    pub outcome: Outcome,
    /// The cause in words, if there is more to say.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

/// Everything tried to reach one peer, in order of ending.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AttemptLog {
    attempts: Vec<Attempt>,
    omitted: u64,
}

/// The one action that would help most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Advice {
    /// There was neither an address nor a way to exchange messages.
    ProvideSignalling,
    /// Outgoing UDP is blocked.
    OpenUdp,
    /// The router offers no port mapping.
    EnableMapping,
    /// A second NAT makes the router's mapping useless.
    RemoveSecondNat,
    /// Nothing direct can work; a relay is missing.
    ConfigureRelay,
    /// Our TURN or relay credentials were refused.
    FixCredentials,
    /// Both have hard NATs and no IPv6.
    EnableIpv6,
    /// The peer is in our network but unreachable there.
    AllowLocalTraffic,
    /// Nothing of ours explains it; the peer may be off.
    CheckPeer,
}

impl AttemptLog {
    /// Adds an attempt. Beyond [`limits::MAX_REPORTED_ATTEMPTS`] a skipped one makes room; failing that the new one is
    /// only counted. Long details are cut.
    pub fn push(&mut self, mut attempt: Attempt) {
        cut(&mut attempt.target);
        cut(&mut attempt.detail);
        if self.attempts.len() >= limits::MAX_REPORTED_ATTEMPTS {
            self.omitted += 1;
            let skipped = self.attempts.iter().position(|old| matches!(old.outcome, Outcome::Skipped(_)));
            match skipped {
                Some(position) if !matches!(attempt.outcome, Outcome::Skipped(_)) => {
                    self.attempts.remove(position);
                }
                _ => return,
            }
        }
        self.attempts.push(attempt);
    }

    /// The attempts kept.
    pub fn attempts(&self) -> &[Attempt] {
        &self.attempts
    }

    /// How many did not fit.
    pub fn omitted(&self) -> u64 {
        self.omitted
    }

    /// The whole story as text, one line per attempt, for errors and for people.
    pub fn render(&self) -> String {
        self.to_string()
    }

    /// What would help most, seen from our side. `None` when a direct path stands or nothing was tried.
    pub fn advice(&self, ours: &NatProfile) -> Option<Advice> {
        let connected = |method: &Method| *method < Method::Turn;
        if self.attempts.is_empty()
            || self.any(|attempt| attempt.outcome == Outcome::Connected && connected(&attempt.method))
        {
            return None;
        }
        let skipped = |skip: Skip| self.any(|attempt| attempt.outcome == Outcome::Skipped(skip));
        let relayed = self.any(|attempt| attempt.outcome == Outcome::Connected);
        let nothing_tried = !self.any(|attempt| !matches!(attempt.outcome, Outcome::Skipped(_)));
        let relay_missing = self
            .any(|attempt| attempt.method == Method::Turn && attempt.outcome == Outcome::Skipped(Skip::NotConfigured));
        Some(if self.any(|attempt| attempt.outcome == Outcome::Failed(Failure::Unauthorised)) {
            Advice::FixCredentials
        } else if nothing_tried && skipped(Skip::NoSignalling) {
            Advice::ProvideSignalling
        } else if self.any(|attempt| attempt.method == Method::Lan && matches!(attempt.outcome, Outcome::Failed(_))) {
            Advice::AllowLocalTraffic
        } else if ours.udp_blocked {
            Advice::OpenUdp
        } else if ours.is_double() == Some(true) && (ours.is_symmetric() || skipped(Skip::Filtered)) {
            Advice::RemoveSecondNat
        } else if ours.is_symmetric() && !self.has_own_mapping() {
            Advice::EnableMapping
        } else if skipped(Skip::Unpredictable) || skipped(Skip::Symmetric) {
            // Ours is not the hard one, or a mapping did not help.
            if relayed || !relay_missing { Advice::EnableIpv6 } else { Advice::ConfigureRelay }
        } else if !relayed && relay_missing {
            Advice::ConfigureRelay
        } else {
            Advice::CheckPeer
        })
    }

    fn any(&self, wanted: impl FnMut(&Attempt) -> bool) -> bool {
        self.attempts.iter().any(wanted)
    }

    fn has_own_mapping(&self) -> bool {
        self.any(|attempt| {
            matches!(attempt.method, Method::Mapped(_, Side::Ours)) && !matches!(attempt.outcome, Outcome::Skipped(_))
        })
    }
}

impl fmt::Display for AttemptLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, attempt) in self.attempts.iter().enumerate() {
            if index > 0 {
                f.write_char('\n')?;
            }
            write!(f, "{attempt}")?;
        }
        if self.omitted > 0 {
            write!(f, "\n... and {} more", self.omitted)?;
        }
        Ok(())
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>6} ms  {:<23} ", self.started_ms, self.method.name())?;
        let took = Duration::from_millis(self.took_ms);
        match self.outcome {
            Outcome::Connected => write!(f, "connected after {took:?}")?,
            Outcome::Failed(failure) => write!(f, "failed after {took:?}: {}", failure.text())?,
            Outcome::Skipped(skip) => write!(f, "not tried: {skip}")?,
            Outcome::Cancelled => write!(f, "stopped after {took:?}")?,
        }
        if !self.target.is_empty() {
            write!(f, " ({})", self.target)?;
        }
        if !self.detail.is_empty() {
            write!(f, ": {}", self.detail)?;
        }
        Ok(())
    }
}

impl Failure {
    /// For people.
    pub const fn text(self) -> &'static str {
        match self {
            Failure::Timeout => "no answer",
            Failure::Refused => "refused",
            Failure::Unreachable => "no route",
            Failure::Signalling => "the exchange of messages with the peer broke",
            Failure::PredictionMissed => "the guessed ports were wrong",
            Failure::WrongPeer => "another peer answered",
            Failure::Unauthorised => "the credentials were not accepted",
            Failure::LimitReached => "a limit is reached",
            Failure::Protocol => "the other side broke the protocol",
            Failure::Lost => "the connection broke",
            Failure::Other => "an error",
        }
    }
}

impl fmt::Display for Skip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Skip::NoAddress => "no such address is known",
            Skip::Forbidden(refusal) => return write!(f, "{refusal}"),
            Skip::Filtered => "the peer's NAT or firewall lets nobody in",
            Skip::NoIpv6 => "one side has no IPv6",
            Skip::UdpBlocked => "one side cannot send UDP",
            Skip::Symmetric => "a NAT changes ports with each destination",
            Skip::Unpredictable => "the ports of both NATs are unpredictable",
            Skip::NotNeeded => "plain hole punching does it",
            Skip::NoHairpin => "both are behind one NAT that does not lead back inside",
            Skip::NoSignalling => "no way to exchange messages with the peer",
            Skip::NoMapping => "no router gave a port",
            Skip::NotConfigured => "none is configured",
            Skip::NotPreferred => "not among the preferred methods",
            Skip::AlreadyConnected => "connected already",
            Skip::Budget => "too many ways to try",
        })
    }
}

impl Advice {
    /// The action in one sentence.
    pub const fn text(self) -> &'static str {
        match self {
            Advice::ProvideSignalling => "give an address of the peer, or a relay through which both sides can meet",
            Advice::OpenUdp => "allow outgoing UDP in the firewall, or configure a TURN server over TLS on port 443",
            Advice::EnableMapping => "enable UPnP, NAT-PMP or PCP on the router, or forward the node's port",
            Advice::RemoveSecondNat => {
                "a second NAT stands behind the router: set the outer device to bridge mode, or use IPv6"
            }
            Advice::ConfigureRelay => "configure a TURN server or a relay: no direct path is possible",
            Advice::FixCredentials => "correct the user name and password of the TURN server or relay",
            Advice::EnableIpv6 => "enable IPv6 on both sides, or port mapping on the other side's router",
            Advice::AllowLocalTraffic => {
                "allow the node's port in this network: a firewall or the access point's isolation blocks it"
            }
            Advice::CheckPeer => "check that the peer is running and its address is current",
        }
    }
}

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// A skipped attempt.
pub fn skipped(method: Method, target: String, at_ms: u64, skip: Skip) -> Attempt {
    let outcome = Outcome::Skipped(skip);
    Attempt { method, target, started_ms: at_ms, took_ms: 0, outcome, detail: String::new() }
}

fn cut(text: &mut String) {
    if text.len() > limits::MAX_ATTEMPT_DETAIL_BYTES {
        let mut end = limits::MAX_ATTEMPT_DETAIL_BYTES;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nat::method::MappingProtocol;
    use crate::nat::profile::{Filtering, Mapping};

    fn attempt(method: Method, outcome: Outcome) -> Attempt {
        let detail = String::new();
        Attempt { method, target: "192.0.2.1:4001".to_owned(), started_ms: 250, took_ms: 1500, outcome, detail }
    }

    fn log(attempts: &[(Method, Outcome)]) -> AttemptLog {
        let mut log = AttemptLog::default();
        for (method, outcome) in attempts {
            log.push(attempt(*method, *outcome));
        }
        log
    }

    #[test]
    fn the_log_reads_as_text_and_survives_json() {
        let mut log = log(&[
            (Method::DirectV4, Outcome::Failed(Failure::Timeout)),
            (Method::UdpPunch, Outcome::Skipped(Skip::Symmetric)),
            (Method::Lan, Outcome::Skipped(Skip::Forbidden(Refusal::Private))),
            (Method::Circuit, Outcome::Connected),
        ]);
        log.attempts[0].detail = "host says no".to_owned();
        let lines = [
            "   250 ms  direct-v4               failed after 1.5s: no answer (192.0.2.1:4001): host says no",
            "   250 ms  udp-hole-punch          not tried: a NAT changes ports with each destination (192.0.2.1:4001)",
            "   250 ms  lan                     not tried: a private address of another network (192.0.2.1:4001)",
            "   250 ms  circuit                 connected after 1.5s (192.0.2.1:4001)",
        ];
        assert_eq!(log.render(), lines.join("\n"));
        let json = serde_json::to_string(&log).expect("plain data");
        assert_eq!(serde_json::from_str::<AttemptLog>(&json).expect("the same"), log);
        assert!(json.contains(r#""outcome":{"result":"failed","reason":"timeout"}"#), "{json}");
    }

    #[test]
    fn the_log_is_bounded_and_keeps_what_was_really_tried() {
        let mut log = AttemptLog::default();
        for _ in 0..200 {
            log.push(attempt(Method::Lan, Outcome::Skipped(Skip::Budget)));
        }
        log.push(Attempt { detail: "ä".repeat(500), ..attempt(Method::Turn, Outcome::Failed(Failure::Other)) });
        assert_eq!((log.attempts().len(), log.omitted()), (limits::MAX_REPORTED_ATTEMPTS, 137));
        let last = log.attempts().last().expect("it replaced a skipped one");
        assert_eq!((last.method, last.detail.len()), (Method::Turn, limits::MAX_ATTEMPT_DETAIL_BYTES));
        assert!(log.render().ends_with("... and 137 more"));
    }

    #[test]
    fn advice_names_the_one_thing_that_helps() {
        let easy = NatProfile {
            mapping: Some(Mapping::EndpointIndependent),
            filtering: Some(Filtering::AddressAndPortDependent),
            ..NatProfile::default()
        };
        let hard = NatProfile { mapping: Some(Mapping::AddressAndPortDependent), ..easy.clone() };
        let blocked = NatProfile { udp_blocked: true, ..NatProfile::default() };
        let double = NatProfile {
            public_v4: "8.8.8.8:1".parse().ok(),
            router_external: "100.64.0.1".parse().ok(),
            ..hard.clone()
        };
        let failed = Outcome::Failed(Failure::Timeout);
        let skip = Outcome::Skipped;
        let upnp = Method::Mapped(MappingProtocol::Upnp, Side::Ours);
        let no_turn = (Method::Turn, skip(Skip::NotConfigured));
        let symmetric = (Method::UdpPunch, skip(Skip::Symmetric));
        let cases = [
            (&easy, log(&[]), None),
            (&easy, log(&[(Method::UdpPunch, Outcome::Connected)]), None),
            (&easy, log(&[(Method::UdpPunch, skip(Skip::NoSignalling))]), Some(Advice::ProvideSignalling)),
            (&easy, log(&[(Method::Turn, Outcome::Failed(Failure::Unauthorised))]), Some(Advice::FixCredentials)),
            (&blocked, log(&[(Method::TcpPunch, failed), no_turn]), Some(Advice::OpenUdp)),
            (&double, log(&[symmetric, (upnp, failed)]), Some(Advice::RemoveSecondNat)),
            (&hard, log(&[symmetric, (upnp, skip(Skip::NoMapping)), no_turn]), Some(Advice::EnableMapping)),
            (&hard, log(&[symmetric, (upnp, failed), (Method::Circuit, Outcome::Connected)]), Some(Advice::EnableIpv6)),
            (&easy, log(&[symmetric, (Method::DirectV4, failed), no_turn]), Some(Advice::ConfigureRelay)),
            (&easy, log(&[(Method::DirectV4, failed)]), Some(Advice::CheckPeer)),
        ];
        for (profile, log, advice) in cases {
            assert_eq!(log.advice(profile), advice, "{log}");
            assert!(advice.is_none_or(|advice| advice.to_string().len() > 20));
        }
    }
}
