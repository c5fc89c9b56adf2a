//! What stands between this machine and the others, protocol by protocol and way by way, and what would help. Not
//! here: finding each of it out (`nat`), and reaching a peer (`connect`).

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use serde::Serialize;

use super::connect::{self, Traversal};
use super::nat::{PublicIps, detect_nat_type, discover_public_ips};
use super::node::Node;
use super::records::NatReport;
use super::task::Task;
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::options::{ConnectOptions, FromJson, NatOptions};
use crate::fabric::ladder::NotReached;
use crate::nat::mapping::reach::is_public;
use crate::nat::mapping::{Family, MapperConfig, ProbeReport, probe};
use crate::nat::profile::{Filtering, NatProfile};
use crate::nat::report::AttemptLog;
use crate::net::interfaces::{local_addresses, source_towards};

/// Everything that was found out. What could not be is `None`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Diagnosis {
    /// The NAT in front of this machine, and what follows from it.
    #[serde(flatten)]
    pub nat: NatReport,
    /// Why the NAT could not be examined.
    pub problem: Option<String>,
    /// This machine's addresses as the internet sees them.
    #[serde(flatten)]
    pub public: PublicIps,
    /// The nearest IPv4 router.
    pub gateway: Option<IpAddr>,
    /// Each way of asking a router for a port, and its answer. Empty when it may not be asked (`localOnly`).
    pub port_mapping: Vec<MappingAnswer>,
    /// IPv6 on this machine.
    pub ipv6_state: Ipv6State,
    /// Whether strangers reach a port of this machine that has sent something; `None` when that could not be told.
    pub inbound_blocked: Option<bool>,
    /// What trying to reach a peer gave, if one was named.
    pub peer: Option<PeerDiagnosis>,
    /// What would help, most useful first. At least one sentence.
    pub advice: Vec<String>,
}

/// One port mapping protocol.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MappingAnswer {
    /// `PCP`, `NAT-PMP` or `UPnP`.
    pub protocol: &'static str,
    /// `v4` or `v6`.
    pub family: &'static str,
    /// Whether a port can be had by it.
    pub usable: bool,
    /// The router's own outside address, where the protocol tells it.
    pub external: Option<IpAddr>,
    /// How long the answer took, in ms.
    pub took_ms: Option<u64>,
    /// Why it cannot be used, or which device answered.
    pub detail: String,
}

/// IPv6 on this machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Ipv6State {
    /// Whether an interface has a global address.
    pub address: bool,
    /// Whether there is a way to the IPv6 internet.
    pub route: bool,
    /// Whether a server answered over IPv6.
    pub works: bool,
    /// Whether a firewall keeps strangers out; `None` when that could not be told.
    pub firewalled: Option<bool>,
}

/// What became of the attempt to reach a peer.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PeerDiagnosis {
    /// How it was reached; `None` when it was not.
    pub reached: Option<Traversal>,
    /// Why not.
    pub error: Option<String>,
    /// Every way, with its time and its reason.
    pub attempts: AttemptLog,
}

/// Examines the NAT, the router's port mapping protocols and IPv6. Takes at most `timeout`, usually two seconds; maps
/// nothing. Dropping the task cancels it.
///
/// Errors: `InvalidArgument` for bad options, or when there is no STUN server to ask. A network that answers nothing is
/// a result, not an error.
pub fn diagnose(options: NatOptions) -> Task<Diagnosis> {
    Task::spawn(async move |cancel| {
        tokio::select! {
            found = examine(&options) => found,
            () = cancel.cancelled() => Err(Error::new(ErrorKind::Cancelled, "the diagnosis was cancelled")),
        }
    })
}

impl Node {
    /// The same with this node's servers, and with an attempt to reach a peer.
    pub(crate) async fn diagnose(&self, peer: Option<&str>, options: ConnectOptions) -> Result<Diagnosis> {
        options.validate()?;
        let running = self.ensure_started().await?;
        let node = &self.inner.node;
        let own = NatOptions {
            stun_servers: node.stun_servers.clone(),
            enable_ipv6: node.enable_ipv6,
            use_natpmp: node.enable_natpmp,
            local_only: node.local_only,
            ..NatOptions::default()
        };
        let attempt = async {
            match peer {
                Some(peer) => Some(try_to_reach(connect::reach(&running, peer, &options).await)),
                None => None,
            }
        };
        let (found, attempt) = tokio::join!(examine(&own), attempt);
        let mut found = match found {
            Ok(found) => found,
            // Without a server to ask, what is known without one is still worth telling.
            Err(error) => Diagnosis::new(NatProfile::default(), Some(error.full_message()), PublicIps::default(), None),
        };
        let attempt = attempt.transpose()?;
        if let Some(advice) = attempt.as_ref().and_then(|attempt| attempt.attempts.advice(&found.nat.profile)) {
            found.advice.insert(0, advice.to_string());
        }
        Ok(Diagnosis { peer: attempt, ..found })
    }
}

fn try_to_reach(outcome: Result<(crate::fabric::Link, Traversal)>) -> Result<PeerDiagnosis> {
    match outcome {
        Ok((_, reached)) => {
            let attempts = reached.attempts.clone();
            Ok(PeerDiagnosis { reached: Some(reached), error: None, attempts })
        }
        Err(error) if error.kind() == ErrorKind::InvalidArgument => Err(error),
        Err(error) => {
            let not_reached = std::error::Error::source(&error).and_then(|cause| cause.downcast_ref::<NotReached>());
            let attempts = not_reached.map(|not_reached| not_reached.log.clone()).unwrap_or_default();
            Ok(PeerDiagnosis { reached: None, error: Some(error.context().to_owned()), attempts })
        }
    }
}

async fn examine(options: &NatOptions) -> Result<Diagnosis> {
    options.validate()?;
    let timeout = Duration::from_millis(options.timeout_ms);
    let router = async {
        if options.local_only {
            return None;
        }
        let config = MapperConfig { ipv6: options.enable_ipv6, ..MapperConfig::new(true, options.use_natpmp) };
        Some(probe(config, timeout).await)
    };
    let (profile, public, router) =
        tokio::join!(detect_nat_type(options.clone()).wait(), discover_public_ips(options.clone()).wait(), router);
    let (mut profile, problem) = match profile {
        Ok(profile) => (profile, None),
        Err(error) if error.kind() == ErrorKind::InvalidArgument => return Err(error),
        Err(error) => (NatProfile::default(), Some(error.full_message())),
    };
    if let Some(router) = &router {
        profile.router_external = profile.router_external.or(router.external);
    }
    Ok(Diagnosis::new(profile, problem, public?, router))
}

impl Diagnosis {
    fn new(profile: NatProfile, problem: Option<String>, public: PublicIps, router: Option<ProbeReport>) -> Self {
        let port_mapping = router.as_ref().map(answers).unwrap_or_default();
        let target = SocketAddr::new(IpAddr::V6(Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 1)), 9);
        let ipv6_state = Ipv6State {
            address: local_addresses().iter().any(|ip| ip.is_ipv6() && is_public(*ip)),
            route: source_towards(target).is_some(),
            works: profile.public_v6.is_some() || public.ipv6.is_some(),
            firewalled: profile.filtering_v6.map(|filtering| filtering != Filtering::EndpointIndependent),
        };
        let inbound_blocked = match (profile.udp_blocked, profile.filtering) {
            (true, _) => Some(true),
            (false, filtering) => filtering.map(|filtering| filtering != Filtering::EndpointIndependent),
        };
        let gateway = router.and_then(|router| router.gateway);
        let advice = advice(&profile, problem.is_some(), &port_mapping);
        Self {
            nat: NatReport::from(profile),
            problem,
            public,
            gateway,
            port_mapping,
            ipv6_state,
            inbound_blocked,
            peer: None,
            advice,
        }
    }
}

fn answers(router: &ProbeReport) -> Vec<MappingAnswer> {
    let answer = |result: &crate::nat::mapping::ProbeResult| {
        let failure = result.failure.as_ref().map(ToString::to_string);
        let pending = result.pending.then(|| "no answer in time".to_owned());
        let usable = failure.is_none() && pending.is_none();
        MappingAnswer {
            protocol: result.method.name(),
            family: if result.family == Family::V4 { "v4" } else { "v6" },
            usable,
            external: result.external,
            took_ms: result.answered_after.map(|took| u64::try_from(took.as_millis()).unwrap_or(u64::MAX)),
            detail: failure.or(pending).or_else(|| result.detail.clone()).unwrap_or_default(),
        }
    };
    router.results.iter().map(answer).collect()
}

/// What the user can do, most useful first.
fn advice(profile: &NatProfile, unknown: bool, mapping: &[MappingAnswer]) -> Vec<String> {
    let mappable = mapping.iter().any(|answer| answer.usable);
    let mut advice = vec![match profile.name() {
        _ if unknown => "no STUN server answered: check the network, or name other STUN servers",
        "public" | "full-cone" => "nothing to do: others can reach this machine",
        "firewall" | "untranslated" => {
            "if others cannot reach this machine, allow incoming TCP and UDP on the node's port"
        }
        _ if mappable => "nothing to do: the router opens a port for this machine when asked",
        "address-restricted" | "port-restricted" | "cone" => {
            "most peers can be met directly; switch on UPnP, NAT-PMP or PCP in the router to be reached by all"
        }
        "symmetric" => {
            "switch on UPnP, NAT-PMP or PCP in the router, or forward the node's port; else configure a relay"
        }
        "udp-blocked" => "allow outgoing UDP in the firewall; until then configure a relay to be reached",
        _ => "try again with other STUN servers, best with two addresses (RFC 5780)",
    }];
    if profile.is_double() == Some(true) {
        advice.push("two routers translate one after the other: set the inner one to bridge mode, or forward on both");
    }
    if profile.hairpin == Some(false) {
        advice.push("peers behind the same router must use this machine's local address, as local discovery does");
    }
    advice.into_iter().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nat::profile::Mapping;

    #[test]
    fn every_type_has_some_advice() {
        for udp_blocked in [false, true] {
            for translated in [Some(false), Some(true)] {
                for mapping in [None, Some(Mapping::EndpointIndependent), Some(Mapping::AddressDependent)] {
                    for filtering in [None, Some(Filtering::EndpointIndependent), Some(Filtering::AddressDependent)] {
                        let profile =
                            NatProfile { translated, mapping, filtering, udp_blocked, ..NatProfile::default() };
                        assert_eq!(advice(&profile, false, &[]).len(), 1);
                    }
                }
            }
        }
    }

    #[test]
    fn a_second_nat_and_a_missing_hairpin_have_their_advice() {
        let plain = NatProfile { public_v4: "203.0.113.5:9".parse().ok(), ..NatProfile::default() };
        let hard = NatProfile { router_external: "100.64.1.2".parse().ok(), hairpin: Some(false), ..plain.clone() };
        assert_eq!((advice(&plain, false, &[]).len(), advice(&hard, false, &[]).len()), (1, 3));
    }

    #[test]
    fn a_router_that_opens_ports_needs_no_advice() {
        let hard = NatProfile { mapping: Some(Mapping::AddressDependent), ..NatProfile::default() };
        let answer = |usable| MappingAnswer {
            protocol: "pcp",
            family: "v4",
            usable,
            external: None,
            took_ms: Some(3),
            detail: String::new(),
        };
        assert!(advice(&hard, false, &[answer(false)])[0].contains("switch on"));
        assert!(advice(&hard, false, &[answer(false), answer(true)])[0].contains("nothing to do"));
        assert!(advice(&hard, true, &[])[0].contains("no STUN server"));
    }

    #[tokio::test]
    async fn without_anybody_to_ask_it_says_so() {
        let options = NatOptions { local_only: true, ..NatOptions::default() };
        let error = diagnose(options).wait().await.expect_err("nobody to ask");
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        // A port that nobody listens on.
        let options = NatOptions {
            stun_servers: vec!["127.0.0.1:9".into()],
            local_only: true,
            timeout_ms: 500,
            ..NatOptions::default()
        };
        let found = diagnose(options).wait().await.expect("a result");
        assert!(found.problem.is_some() && found.port_mapping.is_empty(), "{found:#?}");
        assert_eq!(found.nat.nat_type, "unknown");
        let json = serde_json::to_value(&found).expect("plain data");
        assert!(json["natType"] == "unknown" && json["ipv4"].is_null(), "{json}");
    }
}
