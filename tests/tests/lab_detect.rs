//! The library's behaviour discovery says of every NAT of the lab what its type promises, which `lab` has shown by an
//! independent probe. Not here: discovery against servers that support less, which is simulated in core.
#![cfg(target_os = "linux")]

use std::time::Instant;

use dig_nat_core::base::error::ErrorKind;
use dig_nat_core::nat::profile::{Filtering, NatProfile, PortAllocation};
use dig_nat_core::nat::stun::driver::{DetectConfig, detect};
use dig_nat_tests::lab::{self, Ipv6, Lab, Nat, Place, Site};
use tokio_util::sync::CancellationToken;

#[test]
fn detection_finds_every_type() {
    lab::run(|| {
        let mut types = Nat::all();
        types.extend([Nat::full_cone().hairpin(), Nat::masquerade().hairpin(), Nat::symmetric().hairpin()]);
        types.push(Nat::symmetric_sequential(2));
        types.push(Nat::port_restricted().behind(Nat::symmetric()));
        types.push(Nat::address_restricted().behind(Nat::full_cone()));
        let named = types.iter().enumerate();
        let lab = named.fold(Lab::builder(), |builder, (index, nat)| builder.site(&format!("s{index}"), nat.clone()));
        let lab = lab.build();
        let running: Vec<_> = (0..types.len()).map(|index| lab.host(&format!("s{index}")).spawn(examine)).collect();
        let mut wrong = Vec::new();
        for (nat, running) in types.iter().zip(running) {
            let (found, took) = running.join();
            println!("{nat}: {found:?} in {took:?}");
            wrong.extend(differences(nat, found).into_iter().map(|difference| format!("{nat}: {difference}")));
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    });
}

#[test]
fn detection_tells_an_ipv6_firewall() {
    lab::run(|| {
        let lab = Lab::builder()
            .site("open", Site::new(Nat::symmetric()).ipv6(Ipv6::Open))
            .site("wall", Site::new(Nat::port_restricted()).ipv6(Ipv6::Firewalled))
            .site("only", Site::new(Nat::public()).ipv6_only(Ipv6::Firewalled))
            .site("none", Nat::port_restricted())
            .build();
        let running = ["open", "wall", "only", "none"].map(|name| lab.host(name).spawn(examine));
        let found = running.map(|running| running.join().0.expect("servers answer"));
        println!("{found:#?}");
        let filters = found.each_ref().map(|profile| profile.filtering_v6);
        let strict = Some(Filtering::AddressAndPortDependent);
        assert_eq!(filters, [Some(Filtering::EndpointIndependent), strict, strict, None]);
        let v6 = found.each_ref().map(|profile| profile.public_v6.map(|public| public.ip()));
        let own = ["open", "wall", "only"].map(|name| Some(lab.host(name).v6().into()));
        assert_eq!(v6, [own[0], own[1], own[2], None]);
        assert_eq!(found.each_ref().map(|profile| profile.public_v4.is_some()), [true, true, false, true]);
    });
}

async fn examine(place: Place) -> (Result<NatProfile, ErrorKind>, std::time::Duration) {
    let servers = [place.stun[0], place.stun[4]].map(|server| server.to_string().parse().expect("an endpoint"));
    let begun = Instant::now();
    let found = detect(DetectConfig::new(servers.to_vec()), CancellationToken::new()).await;
    (found.map_err(|error| error.kind()), begun.elapsed())
}

fn differences(nat: &Nat, found: Result<NatProfile, ErrorKind>) -> Vec<String> {
    let nothing_passes = !nat.passes_udp() && !nat.passes_tcp(lab::stun_server::PORTS[0]);
    let found = match found {
        Err(kind) if nothing_passes => return difference("error", ErrorKind::PeerUnreachable, kind),
        Err(kind) => return vec![format!("{kind:?}")],
        Ok(found) => found,
    };
    let mut all = difference("UDP blocked", !nat.passes_udp(), found.udp_blocked);
    if nat.passes_udp() {
        all.extend(difference("translated", Some(nat.translates()), found.translated));
        all.extend(difference("mapping", Some(nat.mapping()), found.mapping));
        all.extend(difference("filtering", Some(nat.filtering()), found.filtering));
        // Without a NAT there is nothing to ask.
        all.extend(difference("hairpin", nat.translates().then(|| nat.hairpins()), found.hairpin));
        all.extend(match (nat.allocation(), found.allocation) {
            // Samples of a block may all lie in a part of it.
            (PortAllocation::Block { first, size }, Some(PortAllocation::Block { first: low, size: seen }))
                if seen <= size && low / size * size == first =>
            {
                Vec::new()
            }
            (expected, found) => difference("allocation", Some(expected), found),
        });
    }
    all
}

fn difference<T: PartialEq + std::fmt::Debug>(what: &str, expected: T, found: T) -> Vec<String> {
    if expected == found { Vec::new() } else { vec![format!("{what} is {expected:?}, detected {found:?}")] }
}
