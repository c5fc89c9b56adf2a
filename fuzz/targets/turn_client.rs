//! The TURN machine under arbitrary datagrams, calls and time, with a server that now and then answers rightly: it
//! comes to rest, ends once, and stays within its bounds.
#![no_main]

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use dig_nat_core::base::limits;
use dig_nat_core::base::random::Jitter;
use dig_nat_core::base::time::Time;
use dig_nat_core::nat::stun::{Attribute, Key, Message, decode};
use dig_nat_core::nat::turn::framing::Frames;
use dig_nat_core::nat::turn::{Client, Config, Credentials, Output};
use libfuzzer_sys::fuzz_target;

/// More outputs than this after one input means that the machine does not come to rest.
const MOST_OUTPUTS: usize = 1000;

fuzz_target!(|data: &[u8]| {
    let mut bytes = data.iter().copied();
    let stream = bytes.next().unwrap_or(0) & 1 == 1;
    let config = Config {
        server: SocketAddr::from(([198, 51, 100, 1], 3478)),
        stream,
        credentials: Some(Credentials { username: "user".to_owned(), password: "pass".to_owned() }),
        family: None,
        lifetime: Duration::from_secs(600),
    };
    let mut now = Time::ZERO;
    let mut client = Client::new(now, config, Jitter::from_seed(1));
    let mut ended = false;
    let mut last = None;
    drain(&mut client, &mut last, &mut ended);
    while let Some(operation) = bytes.next() {
        let argument = bytes.next().unwrap_or(0);
        let ip = IpAddr::from([203, 0, 113, argument]);
        match operation % 8 {
            0 => drop(client.permit(now, ip)),
            1 => drop(client.send(now, SocketAddr::new(ip, 9), &[argument; 40])),
            2 => {
                now = now + Duration::from_millis(1 << (argument % 22));
                client.handle_timeout(now);
            }
            3 => {
                let raw: Bytes = bytes.by_ref().take(usize::from(argument)).collect();
                client.handle(now, &raw);
                let mut frames = Frames::default();
                frames.buffer().extend_from_slice(&raw);
                while let Ok(Some(frame)) = frames.next_frame() {
                    client.handle(now, &frame);
                }
            }
            4 if argument == 0 => client.close(now),
            _ => {
                if let Some(answer) = last.as_ref().and_then(|request| answer(request, operation, argument)) {
                    client.handle(now, &answer);
                }
            }
        }
        drain(&mut client, &mut last, &mut ended);
        assert!(client.table_sizes() <= 4 * limits::MAX_TURN_PEERS + 8);
        assert_eq!(ended, ended && client.next_timeout().is_none());
    }
});

fn drain(client: &mut Client, last: &mut Option<Message>, ended: &mut bool) {
    for count in 0.. {
        assert!(count < MOST_OUTPUTS, "the machine does not come to rest");
        match client.poll() {
            None => return,
            Some(Output::Send(bytes)) => {
                if bytes[0] >> 6 == 0 {
                    *last = Some(decode(&bytes).expect("our own message").message);
                }
            }
            Some(Output::Closed(_) | Output::Redirect(_)) => {
                assert!(!*ended, "two ends");
                *ended = true;
            }
            Some(_) => assert!(!*ended, "something after the end"),
        }
    }
}

/// What a server could answer.
fn answer(request: &Message, operation: u8, argument: u8) -> Option<Bytes> {
    let key = Key::long_term("user", "realm", "pass");
    let address = SocketAddr::from(([198, 51, 100, argument], 5000));
    let message = match operation % 8 {
        4 => Message::error_to(request, [300, 401, 403, 437, 438, 486, 500, 699][usize::from(argument % 8)], "x")
            .with(Attribute::AlternateServer(address)),
        5 => Message::error_to(request, if argument & 1 == 0 { 401 } else { 438 }, "")
            .with(Attribute::Realm("realm".to_owned()))
            .with(Attribute::Nonce(Bytes::copy_from_slice(&[argument]))),
        _ => Message::success_to(request)
            .with(Attribute::XorRelayedAddress(address))
            .with(Attribute::Lifetime(u32::from(argument) * 8)),
    };
    message.encode((argument & 64 == 0).then_some(&key), false).ok().map(Bytes::from)
}
