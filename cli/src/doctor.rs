//! `dig-nat doctor`: what stands between this machine and the internet, in words that need no book, and what to do.
//! Not here: finding it out, which is the engine's work.

use std::fmt::Display;

use dig_nat_core::api::{
    Filtering, Mapping, NatProfile, NatReport, PortAllocation, PublicIps, detect_nat_type, discover_public_ips,
};
use dig_nat_core::base::error::Error;
use dig_nat_core::base::options::NatOptions;
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
    let options = NatOptions {
        stun_servers: arguments.stun,
        timeout_ms: (arguments.timeout * 1000.0) as u64,
        enable_ipv6: true,
        ..NatOptions::default()
    };
    let addresses = discover_public_ips(options.clone());
    let profile = detect_nat_type(options);
    let both = async { tokio::try_join!(profile.wait(), addresses.wait()) };
    let (profile, addresses) = interrupt.unless("interrupted before anything was found out", both).await?;
    if arguments.output.json {
        let mut record = serde_json::to_value(NatReport::from(profile.clone()))?;
        record["ipv4"] = json!(addresses.ipv4);
        record["ipv6"] = json!(addresses.ipv6);
        record["meaning"] = json!(meaning(profile.name()));
        record["advice"] = json!(advice(&profile));
        return Ok(output::json("doctor", &record)?);
    }
    for (name, value) in lines(&profile, &addresses) {
        output::line(&format!("{name:<13}{value}"))?;
    }
    for sentence in advice(&profile) {
        output::line(&format!("{:<13}{sentence}", "advice"))?;
    }
    Ok(())
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

/// What the user can do, most useful first.
fn advice(profile: &NatProfile) -> Vec<&'static str> {
    let mut advice = vec![match profile.name() {
        "public" | "full-cone" => "nothing to do: others can reach this machine",
        "firewall" | "untranslated" => {
            "if others cannot reach this machine, allow incoming TCP and UDP on the port of --port"
        }
        "address-restricted" | "port-restricted" | "cone" => {
            "most peers can be met directly; switch on UPnP, NAT-PMP or PCP in the router to be reached by all"
        }
        "symmetric" => {
            "switch on UPnP, NAT-PMP or PCP in the router, or forward the port of --port; else give a relay with --relay"
        }
        "udp-blocked" => "allow outgoing UDP in the firewall; until then give a relay with --relay to be reached",
        _ => "try again with other servers: --stun host:port, best with two addresses (RFC 5780)",
    }];
    if profile.is_double() == Some(true) {
        advice.push("two routers translate one after the other: set the inner one to bridge mode, or forward on both");
    }
    if profile.hairpin == Some(false) {
        advice.push("peers behind the same router must use this machine's local address, as local discovery does");
    }
    advice
}

fn lines(profile: &NatProfile, addresses: &PublicIps) -> Vec<(&'static str, String)> {
    vec![
        ("NAT type", format!("{}: {}", profile.name(), meaning(profile.name()))),
        ("public IPv4", known(addresses.ipv4.or(profile.public_v4.map(|at| at.ip())), "not found")),
        ("public IPv6", known(addresses.ipv6.or(profile.public_v6.map(|at| at.ip())), "not found")),
        ("mapping", known(profile.mapping.map(mapping), NOT_TOLD)),
        ("filtering", known(profile.filtering.map(filtering), NOT_TOLD)),
        ("ports", known(profile.allocation.map(allocation), NOT_TOLD)),
        ("hairpin", known(profile.hairpin.map(yes_or_no), NOT_TOLD)),
        ("double NAT", known(profile.is_double().map(yes_or_no), NOT_TOLD)),
    ]
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

    use super::*;

    #[test]
    fn every_type_has_its_own_meaning_and_some_advice() {
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
                        assert!(!advice(&profile).is_empty());
                    }
                }
            }
        }
        assert_eq!(names.len(), 10, "{names:?}");
        let meanings: HashSet<&str> = names.iter().map(|name| meaning(name)).collect();
        assert_eq!(meanings.len(), names.len(), "two types share a meaning");
    }

    #[test]
    fn a_second_nat_and_a_missing_hairpin_have_their_advice() {
        let plain = NatProfile { public_v4: "203.0.113.5:9".parse().ok(), ..NatProfile::default() };
        let hard = NatProfile { router_external: "100.64.1.2".parse().ok(), hairpin: Some(false), ..plain.clone() };
        assert_eq!((advice(&plain).len(), advice(&hard).len()), (1, 3));
    }

    #[test]
    fn what_is_known_is_shown_and_what_is_not_says_so() {
        let profile = NatProfile {
            public_v4: "203.0.113.5:9".parse().ok(),
            allocation: Some(PortAllocation::Sequential { step: -2 }),
            hairpin: Some(true),
            ..NatProfile::default()
        };
        let shown = lines(&profile, &PublicIps::default());
        let of = |name: &str| shown.iter().find(|(other, _)| *other == name).map(|(_, value)| value.as_str());
        assert_eq!(of("public IPv4"), Some("203.0.113.5"));
        assert_eq!(of("public IPv6"), Some("not found"));
        assert_eq!(of("ports"), Some("each new public port is -2 from the last"));
        assert_eq!((of("hairpin"), of("mapping")), (Some("yes"), Some(NOT_TOLD)));
    }
}
