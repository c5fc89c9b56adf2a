//! `dig-nat doctor`: what stands between this machine and the internet, in words that need no book, and what to do.
//! Not here: finding it out, which is the engine's work.

use std::fmt::Display;

use dig_nat_core::api::{
    Diagnosis, Filtering, Mapping, MappingAnswer, NetworkManager, PeerDiagnosis, PortAllocation, diagnose,
};
use dig_nat_core::base::error::{Error, ErrorKind};
use dig_nat_core::base::options::{ClientOptions, ConnectOptions, NatOptions, NodeOptions};
use serde_json::json;

use crate::arguments::DoctorArguments;
use crate::interrupt::Interrupt;
use crate::output;

const NOT_TOLD: &str = "could not be told";

/// Runs the command.
pub async fn run(arguments: DoctorArguments, mut interrupt: Interrupt) -> anyhow::Result<()> {
    if !arguments.timeout.is_finite() || arguments.timeout < 0.0 {
        return Err(Error::invalid("--timeout", "expected a number of seconds").into());
    }
    let json = arguments.output.json;
    let found = interrupt.unless("interrupted before anything was found out", examine(arguments)).await?;
    if let (Some(problem), None) = (&found.problem, &found.peer) {
        // What the router says is worth showing all the same.
        if !json {
            show(&found)?;
        }
        return Err(Error::new(ErrorKind::PeerUnreachable, problem.clone()).into());
    }
    if json {
        let mut record = serde_json::to_value(&found)?;
        record["meaning"] = json!(meaning(found.nat.nat_type));
        return Ok(output::json("doctor", &record)?);
    }
    show(&found)
}

async fn examine(arguments: DoctorArguments) -> dig_nat_core::Result<Diagnosis> {
    let timeout_ms = (arguments.timeout * 1000.0) as u64;
    let Some(peer) = arguments.peer else {
        let options =
            NatOptions { stun_servers: arguments.stun, timeout_ms, enable_ipv6: true, ..NatOptions::default() };
        return diagnose(options).wait().await;
    };
    let node = NodeOptions {
        stun_servers: arguments.stun,
        relays: arguments.relays.clone(),
        enable_ipv6: true,
        ..NodeOptions::default()
    };
    let manager = NetworkManager::new(node, ClientOptions::default())?;
    manager.start().await?;
    // A relay that the user names is where the peer can be met, whatever else is known of it.
    let addresses = arguments.relays.iter().filter_map(|relay| through(relay, &peer)).collect();
    let options = ConnectOptions { addresses, timeout_ms, ..ConnectOptions::default() };
    let found = manager.diagnose(Some(&peer), options).await;
    manager.stop().await?;
    found
}

/// The address of a peer at a relay.
fn through(relay: &str, peer: &str) -> Option<String> {
    let id = peer.rsplit('/').next()?;
    relay.contains("/p2p/").then(|| format!("{relay}/p2p-circuit/p2p/{id}"))
}

fn show(found: &Diagnosis) -> anyhow::Result<()> {
    for (name, value) in lines(found) {
        output::line(&format!("{name:<13}{value}"))?;
    }
    if let Some(peer) = &found.peer {
        output::line(&format!("{:<13}{}", "peer", outcome(peer)))?;
        for attempt in peer.attempts.attempts() {
            output::line(&format!("  {attempt}"))?;
        }
    }
    for sentence in &found.advice {
        output::line(&format!("{:<13}{sentence}", "advice"))?;
    }
    Ok(())
}

fn outcome(peer: &PeerDiagnosis) -> String {
    match (&peer.reached, &peer.error) {
        (Some(reached), _) => {
            let at = format!("{}:{}", reached.address, reached.port);
            format!("reached by {} over {} at {at} after {} ms", reached.method, reached.transport, reached.took_ms)
        }
        (None, Some(error)) => error.clone(),
        (None, None) => "not reached".to_owned(),
    }
}

/// What a type of NAT means, in one sentence.
pub fn meaning(nat_type: &str) -> &'static str {
    match nat_type {
        "public" => "no NAT and no firewall: everybody can connect to this machine",
        "firewall" => "no NAT, but a firewall that lets in only answers to what this machine has sent",
        "untranslated" => "no NAT; whether a firewall keeps others out could not be told",
        "full-cone" => "a NAT that lets everybody in by the public port once this machine has sent something",
        "address-restricted" => "a NAT that lets in only addresses to which this machine has sent something",
        "port-restricted" => {
            "a NAT that lets in only the very address and port to which this machine has sent something"
        }
        "cone" => "a NAT with one public port for all destinations; whom it lets in could not be told",
        "symmetric" => "a NAT with another public port for every destination, the hardest kind to connect to",
        "udp-blocked" => "UDP does not get out of this network; only TCP does",
        _ => "the servers did not tell enough to say what stands in between",
    }
}

fn lines(found: &Diagnosis) -> Vec<(&'static str, String)> {
    let (profile, public) = (&found.nat.profile, &found.public);
    let mut lines = vec![
        ("NAT type", format!("{}: {}", profile.name(), meaning(profile.name()))),
        ("public IPv4", known(public.ipv4.or(profile.public_v4.map(|at| at.ip())), "not found")),
        ("public IPv6", known(public.ipv6.or(profile.public_v6.map(|at| at.ip())), "not found")),
        ("mapping", known(profile.mapping.map(mapping), NOT_TOLD)),
        ("filtering", known(profile.filtering.map(filtering), NOT_TOLD)),
        ("ports", known(profile.allocation.map(allocation), NOT_TOLD)),
        ("hairpin", known(profile.hairpin.map(yes_or_no), NOT_TOLD)),
        ("double NAT", known(profile.is_double().map(yes_or_no), NOT_TOLD)),
        ("IPv6", ipv6(found)),
        ("router", known(found.gateway, "none found, or not asked")),
    ];
    lines.extend(found.port_mapping.iter().map(|answer| ("port mapping", mapped(answer))));
    lines
}

fn ipv6(found: &Diagnosis) -> String {
    let state = &found.ipv6_state;
    match (state.works, state.route, state.address) {
        (true, ..) if state.firewalled == Some(true) => "works, behind a firewall".to_owned(),
        (true, ..) => "works".to_owned(),
        (false, true, _) => "there is a route, but no server answered over it".to_owned(),
        (false, false, true) => "there is an address, but no route".to_owned(),
        (false, false, false) => "none".to_owned(),
    }
}

fn mapped(answer: &MappingAnswer) -> String {
    let MappingAnswer { protocol, family, usable, external, took_ms, detail } = answer;
    let usable = if *usable { "yes" } else { "no" };
    let external = external.map(|external| format!(", outside address {external}")).unwrap_or_default();
    let took = took_ms.map(|took| format!(", after {took} ms")).unwrap_or_default();
    let detail = if detail.is_empty() { String::new() } else { format!(": {detail}") };
    format!("{protocol} over IP{family}: {usable}{external}{took}{detail}")
}

fn known(value: Option<impl Display>, otherwise: &str) -> String {
    value.map_or_else(|| otherwise.to_owned(), |value| value.to_string())
}

fn mapping(mapping: Mapping) -> &'static str {
    match mapping {
        Mapping::EndpointIndependent => "one public port for all destinations",
        Mapping::AddressDependent => "another public port for every address",
        Mapping::AddressAndPortDependent => "another public port for every address and port",
    }
}

fn filtering(filtering: Filtering) -> &'static str {
    match filtering {
        Filtering::EndpointIndependent => "lets everybody in",
        Filtering::AddressDependent => "lets in addresses that were sent to",
        Filtering::AddressAndPortDependent => "lets in addresses and ports that were sent to",
    }
}

fn allocation(allocation: PortAllocation) -> String {
    match allocation {
        PortAllocation::Preserving => "the public port is the local one".to_owned(),
        PortAllocation::Sequential { step } => format!("each new public port is {step:+} from the last"),
        PortAllocation::Block { first, size } => format!("from a block of {size} that begins near {first}"),
        PortAllocation::Random => "without a pattern".to_owned(),
    }
}

fn yes_or_no(value: bool) -> &'static str {
    if value { "yes" } else { "no" }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use dig_nat_core::api::{Ipv6State, NatProfile, PublicIps};

    use super::*;

    #[test]
    fn every_type_has_its_own_meaning() {
        let mut names = HashSet::new();
        let filters = [
            None,
            Some(Filtering::EndpointIndependent),
            Some(Filtering::AddressDependent),
            Some(Filtering::AddressAndPortDependent),
        ];
        for udp_blocked in [false, true] {
            for translated in [Some(false), Some(true)] {
                for mapping in [None, Some(Mapping::EndpointIndependent), Some(Mapping::AddressDependent)] {
                    for filtering in filters {
                        let profile =
                            NatProfile { udp_blocked, translated, mapping, filtering, ..NatProfile::default() };
                        names.insert(profile.name());
                    }
                }
            }
        }
        assert_eq!(names.len(), 10, "{names:?}");
        let meanings: HashSet<&str> = names.iter().map(|name| meaning(name)).collect();
        assert_eq!(meanings.len(), names.len(), "two types share a meaning");
    }

    #[test]
    fn what_is_known_is_shown_and_what_is_not_says_so() {
        let profile = NatProfile {
            public_v4: "203.0.113.5:9".parse().ok(),
            allocation: Some(PortAllocation::Sequential { step: -2 }),
            hairpin: Some(true),
            ..NatProfile::default()
        };
        let answer = MappingAnswer {
            protocol: "PCP",
            family: "v4",
            usable: false,
            external: None,
            took_ms: None,
            detail: "no answer".into(),
        };
        let found = Diagnosis {
            nat: profile.into(),
            problem: None,
            public: PublicIps::default(),
            gateway: None,
            port_mapping: vec![answer],
            ipv6_state: Ipv6State { route: true, ..Ipv6State::default() },
            inbound_blocked: None,
            peer: None,
            advice: Vec::new(),
        };
        let shown = lines(&found);
        let of = |name: &str| shown.iter().find(|(other, _)| *other == name).map(|(_, value)| value.as_str());
        assert_eq!(of("public IPv4"), Some("203.0.113.5"));
        assert_eq!(of("public IPv6"), Some("not found"));
        assert_eq!(of("ports"), Some("each new public port is -2 from the last"));
        assert_eq!((of("hairpin"), of("mapping")), (Some("yes"), Some(NOT_TOLD)));
        assert_eq!(of("IPv6"), Some("there is a route, but no server answered over it"));
        assert_eq!(of("port mapping"), Some("PCP over IPv4: no: no answer"));
    }
}
