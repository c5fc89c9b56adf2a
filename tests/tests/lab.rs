//! The NAT lab proves itself: each type of NAT is what its name says, and what the lab can do while it runs has the
//! effect that it promises. Not here: the library behind these NATs.
#![cfg(target_os = "linux")]

use dig_nat_core::nat::profile::PortAllocation;
use dig_nat_tests::lab::probe::{Findings, probe};
use dig_nat_tests::lab::{self, Lab, Nat};

/// What the probe must find behind a NAT.
fn expected(nat: &Nat, found: &Findings) -> Findings {
    let udp = nat.passes_udp();
    let tcp = lab::stun_server::TCP_PORTS.into_iter().filter(|port| nat.passes_tcp(*port)).collect();
    let nothing = Findings {
        udp,
        public: found.public,
        translated: None,
        mapping: None,
        filtering: None,
        allocation: None,
        hairpin: None,
        tcp,
    };
    if !udp {
        return Findings { public: None, ..nothing };
    }
    Findings {
        translated: Some(nat.translates()),
        mapping: Some(nat.mapping()),
        filtering: Some(nat.filtering()),
        allocation: Some(nat.allocation()),
        hairpin: Some(nat.hairpins()),
        ..nothing
    }
}

/// The block that samples show may be smaller than the true one, when chance does not reach its ends.
fn within_block(found: &mut Findings, nat: &Nat) {
    if let (Some(PortAllocation::Block { first, size }), PortAllocation::Block { first: low, size: whole }) =
        (found.allocation, nat.allocation())
    {
        assert!(first >= low && u32::from(first) + u32::from(size) <= u32::from(low) + u32::from(whole));
        found.allocation = Some(nat.allocation());
    }
}

#[test]
fn every_type_is_what_its_name_says() {
    lab::run(|| {
        let types = Nat::all();
        let mut builder = Lab::builder();
        for (index, nat) in types.iter().enumerate() {
            builder = builder.site(&format!("s{index}"), nat.clone());
        }
        let lab = builder.build();
        println!("{} hosts and routers in {:?}", lab.hosts().len(), lab.setup_time());
        let running: Vec<_> = (0..types.len()).map(|index| lab.host(&format!("s{index}")).spawn(probe)).collect();
        let mut wrong = Vec::new();
        for (nat, running) in types.iter().zip(running) {
            let mut found = running.join();
            println!("{nat}: {found:?}");
            within_block(&mut found, nat);
            let expected = expected(nat, &found);
            if found != expected {
                wrong.push(format!("{nat}:\n  found    {found:?}\n  expected {expected:?}"));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    });
}
