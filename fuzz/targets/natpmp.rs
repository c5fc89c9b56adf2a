//! NAT-PMP: any bytes decode to an answer or an error, what is written is read as the same answer, and the mapping
//! machine takes whatever a router sends.
#![no_main]

use std::time::Duration;

use dig_nat_core::base::time::Time;
use dig_nat_core::nat::mapping::machine::Machine;
use dig_nat_core::nat::mapping::natpmp::Response;
use dig_nat_core::nat::mapping::{Family, Methods, Protocol, Route, Wish};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(response) = Response::decode(data) {
        assert_eq!(Response::decode(&response.encode()), Ok(response));
    }
    // The same bytes as a conversation: a length, an interval, so many bytes.
    let (gateway, local) = ([192, 168, 1, 1].into(), [192, 168, 1, 2].into());
    let mut machine = Machine::new(Methods::by_switches(false, true), false, 1);
    let mut now = Time::ZERO;
    machine.set_route(now, Family::V4, Some(Route { gateway, local, scope: 0 }));
    let lifetime = Duration::from_secs(60);
    let wish = Wish { protocol: Protocol::Udp, internal_port: 5000, suggested_external: 0, lifetime };
    machine.map(wish).expect("room");
    let mut rest = data;
    while let [length, interval, more @ ..] = rest {
        let (datagram, more) = more.split_at(usize::from(*length).min(more.len()));
        machine.handle_timeout(now);
        while machine.poll().is_some() {}
        if interval % 2 == 0 {
            machine.handle_datagram(now, Family::V4, datagram);
        } else {
            machine.handle_announcement(now, gateway, datagram);
        }
        now = now + Duration::from_millis(u64::from(*interval) * 40);
        rest = more;
    }
    machine.stop(now);
});
