//! NAT behaviour discovery with servers that say anything, at any time, from anywhere: it comes to an end within its
//! time, sends a bounded number of datagrams, and none to an address that a server must not lead to.
#![no_main]

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use dig_nat_core::base::random::Jitter;
use dig_nat_core::base::time::Time;
use dig_nat_core::nat::stun::behaviour::{Discovery, FILTER_SOCKETS, Output, Plan, SERIES_SOCKETS, profile};
use dig_nat_core::nat::stun::{Attribute, Message, decode, redirect};
use libfuzzer_sys::fuzz_target;

/// 2 main sockets ask 3 servers and 2 times 3 other addresses, 7 sockets for the series, 3 requests for each of 2 filter
/// runs, all of them up to 7 times, and 6 for the hairpin.
const MOST_DATAGRAMS: usize = (2 * (3 + 6) + 7 + 6) * 7 + 6;

fuzz_target!(|data: &[u8]| {
    let servers: Vec<SocketAddr> = (1..4).map(|host| SocketAddr::from(([198, 51, 100, host], 3478))).collect();
    let sockets = 2 + FILTER_SOCKETS + SERIES_SOCKETS;
    let plan = Plan {
        servers: servers.iter().map(|server| vec![*server]).collect(),
        sockets: (0..sockets).map(|index| SocketAddr::from(([192, 168, 1, 2], 40_000 + index as u16))).collect(),
        mains: 2,
        total: Duration::from_millis(2500),
    };
    let mut now = Time::ZERO;
    let mut machine = Discovery::new(now, plan, Jitter::from_seed(1));
    let mut sent = Vec::new();
    let mut ended = drain(&mut machine, &mut sent);
    let mut bytes = data.chunks_exact(4);
    while let Some(&[operation, which, argument, value]) = bytes.next() {
        match operation % 8 {
            0 => {
                now = now + Duration::from_millis(u64::from(argument) + 1);
                machine.handle_timeout(now);
            }
            1 => machine.handle_tcp(now, argument & 1 == 1),
            2 => machine.handle(now, usize::from(which), servers[0], data),
            _ => {
                if let Some((socket, to, request)) = sent.get(usize::from(which) % sent.len().max(1)) {
                    let from = if operation & 64 == 0 { *to } else { address(argument) };
                    let socket = if operation & 32 == 0 { *socket } else { usize::from(value) % sockets };
                    machine.handle(now, socket, from, &answer(request, operation, argument, value));
                }
            }
        }
        ended |= drain(&mut machine, &mut sent);
    }
    for _ in 0..1000 {
        let Some(next) = machine.next_timeout() else { break };
        now = next.max(now);
        machine.handle_timeout(now);
        ended |= drain(&mut machine, &mut sent);
    }
    assert!(ended && machine.next_timeout().is_none(), "it does not end");
    assert!(sent.len() <= MOST_DATAGRAMS, "{} datagrams", sent.len());
    for (_, to, _) in &sent {
        assert!(redirect::is_allowed(servers[0].ip(), *to), "sends to {to}");
    }
});

fn drain(machine: &mut Discovery, sent: &mut Vec<(usize, SocketAddr, Message)>) -> bool {
    let mut ended = false;
    while let Some(output) = machine.poll() {
        assert!(!ended, "something after the end");
        match output {
            Output::Send { socket, to, bytes } => {
                sent.push((socket, to, decode(&bytes).expect("our own message").message));
            }
            Output::AskTcp(_) => {}
            Output::Done(findings) => {
                let _ = profile(Some(&findings), Some(&findings)).name();
                ended = true;
            }
        }
    }
    ended
}

fn answer(request: &Message, operation: u8, argument: u8, value: u8) -> Vec<u8> {
    let message = match operation % 8 {
        3 => Message::error_to(request, 420, "x"),
        4 => request.clone(),
        _ => Message::success_to(request)
            .with(Attribute::XorMappedAddress(SocketAddr::new(address(argument).ip(), u16::from(value) * 257)))
            .with(Attribute::OtherAddress(address(value))),
    };
    message.encode(None, false).expect("small")
}

fn address(value: u8) -> SocketAddr {
    let ips: [IpAddr; 8] = [
        [198, 51, 100, 1].into(),
        [198, 51, 100, 200].into(),
        [203, 0, 113, 1].into(),
        [10, 0, 0, 1].into(),
        [127, 0, 0, 1].into(),
        [169, 254, 169, 254].into(),
        [192, 168, 1, 2].into(),
        IpAddr::from([0xff02, 0, 0, 0, 0, 0, 0, 1]),
    ];
    SocketAddr::new(ips[usize::from(value % 8)], [0, 3478, 3479, 80][usize::from(value / 8 % 4)])
}
