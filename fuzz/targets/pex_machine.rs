//! Peer exchange under arbitrary sequences of sessions, messages of hostile peers and time: tables and messages stay within
//! their bounds, nobody is told of whom we did not reach, and nothing is believed that must not be dialled.
#![no_main]

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use dig_nat_core::base::ids::{FileHash, PeerId};
use dig_nat_core::base::limits;
use dig_nat_core::base::time::Time;
use dig_nat_core::discovery::pex::PexConfig;
use dig_nat_core::discovery::pex::machine::{Heard, Pex, SessionId, Verdict};
use dig_nat_core::discovery::pex::own_word::OwnWord;
use dig_nat_core::wire::pex::{Entry, Exchange};
use libfuzzer_sys::fuzz_target;

/// Never worth a dial, whoever names it.
const NEVER: [&str; 4] = ["/ip4/169.254.169.254/tcp/80", "/ip4/0.0.0.0/tcp/1", "/ip4/224.0.0.1/tcp/1", "/dns4/a/tcp/1"];

fuzz_target!(|data: &[u8]| {
    let mut pex = Pex::new(PexConfig::default(), peer(0));
    let (mut now, mut word) = (Time::ZERO, OwnWord::new(Time::ZERO, true));
    let mut open: Vec<SessionId> = Vec::new();
    let mut bytes = data.iter().copied();
    while let Some(operation) = bytes.next() {
        let argument = bytes.next().unwrap_or(0);
        let session = open.get(usize::from(argument) % open.len().max(1)).copied();
        match (operation % 8, session) {
            (0, _) => open.push(pex.open(now, key(argument), &peer(argument), &address(argument))),
            (1, _) => now = now + Duration::from_millis(1 << (argument % 20)),
            (2, Some(id)) => {
                pex.joined(now, id, argument % 2 == 0, Some(address(argument).as_str()).filter(|_| argument < 128))
            }
            (3, Some(id)) => {
                let signed = Bytes::from(vec![argument; usize::from(argument)]);
                pex.announced(id, signed, &[address(argument)], now + Duration::from_secs(u64::from(argument)));
            }
            (4, Some(id)) => {
                open.retain(|other| *other != id);
                pex.close(now, id);
            }
            (5, Some(id)) => {
                if let Some(message) = pex.message(now, id) {
                    assert!(
                        message.added.len() <= limits::MAX_PEX_PEERS && message.dropped.len() <= limits::MAX_PEX_PEERS
                    );
                    assert!(!message.added.is_empty() || !message.dropped.is_empty());
                    let told = |(flags, entry): &(_, Entry)| told(flags, entry);
                    assert!(message.added.iter().all(told), "told of a peer that nobody reached");
                    let mut body = BytesMut::new();
                    message.encode(&mut body);
                    assert!(body.len() <= limits::MAX_CONTROL_FRAME_BYTES);
                    assert_eq!(Exchange::decode(&body), Ok(message));
                }
            }
            (6, Some(id)) => {
                let raw: Vec<u8> = bytes.by_ref().take(usize::from(argument)).collect();
                if let Ok(message) = Exchange::decode(&raw) {
                    hear(&mut pex, now, id, &message);
                }
            }
            _ => {
                word.hear(now);
                word.say(now);
            }
        }
        let (swarms, members, sessions, shunned) = pex.sizes();
        assert!(swarms <= limits::MAX_PEX_SWARMS && members <= limits::MAX_PEX_MEMBERS);
        assert!(shunned <= limits::MAX_PEX_SHUNNED && sessions == open.len());
    }
});

/// As the driver does, except that no signature is right.
fn hear(pex: &mut Pex, now: Time, id: SessionId, message: &Exchange) {
    if pex.admit(now, id, message) != Verdict::Take {
        return;
    }
    let mut wrong = 0;
    let heard = message.added.iter().filter_map(|(flags, entry)| match entry {
        Entry::Plain { peer, addresses } => {
            Some(Heard { peer: peer.clone(), addresses: addresses.clone(), signed: false, flags: *flags })
        }
        Entry::Signed(_) => {
            wrong += 1;
            None
        }
    });
    let heard: Vec<Heard> = heard.collect();
    let Ok(good) = pex.hear(id, heard, wrong) else { return };
    for one in good {
        assert!(one.peer != peer(0) && !one.addresses.is_empty());
        assert!(one.addresses.iter().all(|address| !NEVER.contains(&address.as_str())), "{one:?}");
    }
}

fn told(flags: &dig_nat_core::wire::pex::Flags, entry: &Entry) -> bool {
    flags.reachable || matches!(entry, Entry::Signed(_))
}

fn peer(number: u8) -> PeerId {
    PeerId::from_text(&format!("peer-{}", number % 32))
}

fn key(number: u8) -> FileHash {
    FileHash::from_bytes([number % 8; 32])
}

fn address(number: u8) -> String {
    match number % 4 {
        0 => format!("/ip4/8.8.8.{number}/tcp/9000"),
        1 => format!("/ip4/192.168.1.{number}/udp/9000/quic-v1"),
        2 => "/ip4/127.0.0.1/tcp/9000".to_owned(),
        _ => NEVER[usize::from(number / 4) % NEVER.len()].to_owned(),
    }
}
