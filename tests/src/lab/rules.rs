//! The nftables rules that make a Linux router behave as a [`Nat`], and the ones that cut paths. Routers have the
//! interfaces `lan` (a bridge) and `wan`. Not here: interfaces and routes (`plan`).
//!
//! How the exact types work: after source translation, the chain `learn` notes which inside endpoint stands behind an
//! external port (`inside`) and the reverse (`outside`), and whom it has sent to (`permitted`). New flows look up their
//! external endpoint in `outside`, packets from outside their destination in `inside`. The kernel's own NAT keeps
//! single flows apart only; it would share one external port between two clients that talk to different servers.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use dig_nat_core::nat::profile::{Filtering, Mapping};

use super::nat::{Blocked, Nat, Ports, Translation};

/// Ports for a flow whose own port another client already has: the next one of this range.
const SPARE_PORTS: (u16, u16) = (61_000, 2_000);

/// Where sequential ports start, and how many there are before they start again.
const SEQUENTIAL_PORTS: (u16, u16) = (30_000, 2_048);

/// Seconds an idle mapping stays when nothing else is said; the kernel's own value for streams.
const DEFAULT_TIMEOUT_SECONDS: u64 = 120;

/// Kernel parameters of a router besides forwarding: the lifetime of UDP flows.
pub(super) fn parameters(nat: &Nat) -> Vec<(&'static str, String)> {
    let Some(timeout) = nat.timeout else { return Vec::new() };
    let seconds = timeout.as_secs().max(1).to_string();
    vec![
        ("netfilter/nf_conntrack_udp_timeout", seconds.clone()),
        ("netfilter/nf_conntrack_udp_timeout_stream", seconds),
    ]
}

/// The whole rule set of a router with this external address, replacing an earlier one and forgetting its mappings.
/// `exposed` is the inside host of a DMZ. Other tables, e.g. those of a port mapping daemon, stay.
pub(super) fn router(nat: &Nat, external: Ipv4Addr, exposed: Option<Ipv4Addr>) -> String {
    let mut text = fresh_table("ip", "lab");
    text.push_str("table ip lab {\n");
    let keeps_tables = nat.translation == Translation::Tables || nat.hairpin;
    if keeps_tables {
        text.push_str(&tables(nat));
    }
    text.push_str(&from_outside(nat, external, exposed));
    text.push_str(&to_outside(nat, external));
    text.push_str(&filter(nat));
    text.push_str("}\n");
    text.push_str(&fresh_table("inet", "lab"));
    text.push_str(&restrictions(nat));
    text
}

/// A stateful firewall, on a router or on a host itself. `family` is `ip` or `ip6`, `interface` the one to the outside.
pub(super) fn firewall(family: &str, interface: &str) -> String {
    let name = if family == "ip" { "lab" } else { "lab_firewall" };
    let mut text = fresh_table(family, name);
    let _ = writeln!(text, "table {family} {name} {{");
    for hook in ["input", "forward"] {
        let _ = writeln!(text, "chain {hook} {{ type filter hook {hook} priority 0; policy accept;");
        let _ = writeln!(text, "iifname != \"{interface}\" accept\nct state established,related accept");
        if family == "ip6" {
            // Neighbour discovery must work, and the errors that path MTU discovery needs.
            text.push_str("icmpv6 type { destination-unreachable, packet-too-big, time-exceeded, parameter-problem, ");
            text.push_str("echo-request, nd-neighbor-solicit, nd-neighbor-advert } accept\n");
        } else {
            text.push_str("icmp type echo-request accept\n");
        }
        text.push_str("drop\n}\n");
    }
    text.push_str("}\n");
    text
}

/// Drops everything on an interface, or only what goes to and comes from some addresses.
pub(super) fn cut(interface: &str, peers: Option<&[IpAddr]>) -> String {
    let mut text = fresh_table("inet", "lab_cut");
    text.push_str("table inet lab_cut {\n");
    for hook in ["input", "forward", "output"] {
        let _ = writeln!(text, "chain {hook} {{ type filter hook {hook} priority -300; policy accept;");
        let mut drop = |condition: &str| {
            if hook != "output" {
                let from = condition.replace('$', "saddr");
                let _ = writeln!(text, "iifname \"{interface}\" {from} drop");
            }
            if hook != "input" {
                let to = condition.replace('$', "daddr");
                let _ = writeln!(text, "oifname \"{interface}\" {to} drop");
            }
        };
        match peers {
            None => drop(""),
            Some(peers) => peers.iter().for_each(|peer| match peer {
                IpAddr::V4(peer) => drop(&format!("ip $ {peer}")),
                IpAddr::V6(peer) => drop(&format!("ip6 $ {peer}")),
            }),
        }
        text.push_str("}\n");
    }
    text.push_str("}\n");
    text
}

/// Undoes [`cut`].
pub(super) fn restore() -> String {
    fresh_table("inet", "lab_cut")
}

/// Stops a router: whatever arrives is dropped before the kernel looks up its flow.
pub(super) fn stop() -> String {
    let mut text = fresh_table("inet", "lab_stop");
    text.push_str("table inet lab_stop {\n");
    for hook in ["prerouting", "output"] {
        let _ = writeln!(text, "chain {hook} {{ type filter hook {hook} priority -300; policy drop; }}");
    }
    text.push_str("}\n");
    text
}

/// Undoes [`stop`].
pub(super) fn start() -> String {
    fresh_table("inet", "lab_stop")
}

/// On the node before a black hole: it, too, says nothing about packets that are too long for the site's line. They are
/// known by the destination in the packet that the ICMP message quotes, one of the site's eight addresses.
pub(super) fn silence(plot: usize, external: Ipv4Addr, prefix: Option<Ipv6Addr>) -> String {
    let name = format!("lab_silence{plot}");
    let site = external.to_bits() & 0xffff_fff8;
    let mut text = fresh_table("inet", &name);
    let _ = writeln!(text, "table inet {name} {{\nchain output {{ type filter hook output priority 0; policy accept;");
    let too_long = "icmp type destination-unreachable icmp code frag-needed";
    let _ = writeln!(text, "{too_long} @th,192,32 & 0xfffffff8 == {site:#x} drop");
    if let Some(prefix) = prefix {
        let network = (prefix.to_bits() >> 64) as u64;
        let _ = writeln!(text, "icmpv6 type packet-too-big @th,256,64 {network:#x} drop");
    }
    text.push_str("}\n}\n");
    text
}

/// Deletes a table, whether or not it exists: naming it first makes it.
fn fresh_table(family: &str, name: &str) -> String {
    format!("table {family} {name}\ndelete table {family} {name}\n")
}

fn tables(nat: &Nat) -> String {
    let seconds = nat.timeout.map_or(DEFAULT_TIMEOUT_SECONDS, |timeout| timeout.as_secs().max(1));
    let bounds = format!("flags dynamic,timeout; timeout {seconds}s; size 65535;");
    let (key_type, target) = match nat.mapping {
        Mapping::AddressDependent => ("inet_proto . ipv4_addr . inet_service . ipv4_addr", " . ip daddr"),
        _ => ("inet_proto . ipv4_addr . inet_service", ""),
    };
    let mut text = format!(
        "map inside {{ type inet_proto . inet_service : ipv4_addr . inet_service; {bounds}\n}}
map outside {{ type {key_type} : ipv4_addr . inet_service; {bounds}\n}}
set taken {{ type inet_proto . inet_service; {bounds}\n}}
set permitted {{ type inet_proto . inet_service . ipv4_addr; {bounds}\n}}
chain learn {{ type filter hook postrouting priority 110; policy accept;
iifname \"lan\" oifname \"wan\" meta l4proto {{ tcp, udp }} jump remember
iifname \"lan\" oifname \"lan\" ct status dnat meta l4proto {{ tcp, udp }} jump remember
}}
chain remember {{
"
    );
    for direction in ["original", "reply"] {
        // The protocol must stand in the same rule for nft to know the type of `proto-src`.
        let when = format!("meta l4proto {{ tcp, udp }} ct direction {direction}");
        let host = format!("ct {direction} ip saddr . ct {direction} proto-src");
        let _ = writeln!(text, "{when} update @inside {{ meta l4proto . th sport : {host} }}");
        let entry = format!("meta l4proto . {host}{target} : ip saddr . th sport");
        let _ = writeln!(text, "{when} update @outside {{ {entry} }}");
    }
    text.push_str("update @taken { meta l4proto . th sport }\n");
    text.push_str("update @permitted { meta l4proto . th sport . ip daddr }\n}\n");
    text
}

fn from_outside(nat: &Nat, external: Ipv4Addr, exposed: Option<Ipv4Addr>) -> String {
    let mut text = "chain from_outside { type nat hook prerouting priority -100; policy accept;\n".to_owned();
    let to_owner = "dnat ip to meta l4proto . th dport map @inside";
    if nat.hairpin {
        let _ = writeln!(text, "iifname \"lan\" ip daddr {external} meta l4proto {{ tcp, udp }} {to_owner}");
    }
    match (nat.translation, nat.filtering) {
        (Translation::Tables, Filtering::EndpointIndependent) => {
            let _ = writeln!(text, "iifname \"wan\" meta l4proto {{ tcp, udp }} {to_owner}");
        }
        (Translation::Tables, Filtering::AddressDependent) => {
            let asked = "meta l4proto { tcp, udp } meta l4proto . th dport . ip saddr @permitted";
            let _ = writeln!(text, "iifname \"wan\" {asked} {to_owner}");
        }
        (Translation::ExposedHost, _) => {
            if let Some(exposed) = exposed {
                let _ = writeln!(text, "iifname \"wan\" dnat ip to {exposed}");
            }
        }
        _ => {}
    }
    text.push_str("}\n");
    text
}

fn to_outside(nat: &Nat, external: Ipv4Addr) -> String {
    let mut text = "chain to_outside { type nat hook postrouting priority 100; policy accept;\n".to_owned();
    let target = if nat.mapping == Mapping::AddressDependent { " . ip daddr" } else { "" };
    let known = format!("snat ip to meta l4proto . ip saddr . th sport{target} map @outside");
    let reuses = nat.translation == Translation::Tables && nat.mapping != Mapping::AddressAndPortDependent;
    if nat.hairpin {
        let through = "iifname \"lan\" oifname \"lan\" ct status dnat";
        if nat.mapping != Mapping::AddressAndPortDependent {
            let _ = writeln!(text, "{through} meta l4proto {{ tcp, udp }} {known}");
        }
        let how = if nat.ports == Ports::Preserved { "" } else { " fully-random" };
        let _ = writeln!(text, "{through} snat ip to {external}{how}");
    }
    if reuses {
        let _ = writeln!(text, "oifname \"wan\" meta l4proto {{ tcp, udp }} {known}");
    }
    match nat.ports {
        Ports::Preserved if nat.translation == Translation::Tables => {
            let (first, count) = SPARE_PORTS;
            let spare = counting(external, first, count, 1);
            let _ =
                writeln!(text, "oifname \"wan\" meta l4proto {{ tcp, udp }} meta l4proto . th sport @taken {spare}");
        }
        Ports::Preserved => {}
        Ports::Random => text.push_str("oifname \"wan\" meta l4proto { tcp, udp } masquerade fully-random\n"),
        Ports::Sequential { step } => {
            let (first, count) = SEQUENTIAL_PORTS;
            let next = counting(external, first, count, step);
            let _ = writeln!(text, "oifname \"wan\" meta l4proto {{ tcp, udp }} {next}");
        }
        Ports::Block { first, size } => {
            let last = first.saturating_add(size.saturating_sub(1));
            let range = format!("masquerade to :{first}-{last} fully-random");
            let _ = writeln!(text, "oifname \"wan\" meta l4proto {{ tcp, udp }} {range}");
        }
    }
    text.push_str("oifname \"wan\" masquerade\n}\n");
    text
}

/// Source translation to one port after the other. The port goes through a map because the bare number of `numgen`
/// would land in the packet in the byte order of this machine.
fn counting(external: Ipv4Addr, first: u16, count: u16, step: u16) -> String {
    let port = |index: u16| u32::from(first) + u32::from(index) * u32::from(step);
    let count = (0..count).take_while(|index| u16::try_from(port(*index)).is_ok()).count() as u16;
    let ports: Vec<String> = (0..count).map(|index| format!("{index} : {}", port(index))).collect();
    format!("snat ip to {external}:numgen inc mod {count} map {{ {} }}", ports.join(", "))
}

fn filter(nat: &Nat) -> String {
    let mut text = String::new();
    if !nat.open_input {
        // Without this the router itself would take the first unexpected packet, and its flow would occupy the port.
        text.push_str("chain input { type filter hook input priority 0; policy accept;\n");
        text.push_str("iifname \"wan\" ct state established,related accept\n");
        text.push_str("iifname \"wan\" icmp type echo-request accept\niifname \"wan\" drop\n}\n");
    }
    if nat.max_flows.is_some() {
        text.push_str("set flows { type ipv4_addr; flags dynamic; size 65535;\n}\n");
    }
    text.push_str("chain forward { type filter hook forward priority 0; policy accept;\n");
    if let Some(count) = nat.max_flows {
        let _ = writeln!(text, "oifname \"wan\" ct state new add @flows {{ ip saddr ct count over {count} }} drop");
    }
    if let Some(count) = nat.new_flows_per_second {
        let rate = format!("limit rate over {count}/second burst {count} packets");
        let _ = writeln!(text, "oifname \"wan\" ct state new {rate} drop");
    }
    text.push_str("iifname \"wan\" ct state established,related accept\n");
    text.push_str("iifname \"wan\" ct status dnat accept\niifname \"wan\" drop\n}\n");
    text
}

/// What holds for both address families: what is blocked, lost, or too long.
fn restrictions(nat: &Nat) -> String {
    let mut text = "table inet lab {\n".to_owned();
    text.push_str("chain forward { type filter hook forward priority -10; policy accept;\n");
    if nat.loss_percent > 0.0 {
        let below = (nat.loss_percent * 100.0).round() as u32;
        for direction in ["iifname", "oifname"] {
            let _ = writeln!(text, "{direction} \"wan\" numgen random mod 10000 < {below} drop");
        }
    }
    text.push_str(match nat.blocked {
        Blocked::Nothing => "",
        Blocked::Udp => "oifname \"wan\" meta l4proto udp drop\n",
        Blocked::UdpWithAnswer => "oifname \"wan\" meta l4proto udp reject with icmpx type admin-prohibited\n",
        Blocked::AllButWeb => {
            "oifname \"wan\" meta l4proto != tcp drop\noifname \"wan\" tcp dport != { 80, 443 } drop\n"
        }
        Blocked::Everything => "oifname \"wan\" drop\n",
    });
    text.push_str("}\n");
    if nat.black_hole {
        text.push_str("chain output { type filter hook output priority 0; policy accept;\n");
        text.push_str("icmp type destination-unreachable icmp code frag-needed drop\n");
        text.push_str("icmpv6 type packet-too-big drop\n}\n");
    }
    text.push_str("}\n");
    text
}
