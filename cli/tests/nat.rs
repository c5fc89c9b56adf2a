//! A relay as a third process between a host and a client, and the doctor, on the loopback interface.

mod support;

use dig_nat_tests::files;
use dig_nat_tests::process::{DigNat, Ended};
use serde_json::Value;

use support::{Host, PROGRAM, READY, SOON, directory, get_with};

/// A running `dig-nat relay` and its address over TCP, with its peer id.
fn relay() -> (DigNat, String) {
    let mut process = DigNat::start(PROGRAM, ["relay", "--no-local"]);
    let ready = process.wait_for("ready", READY);
    let peer = ready["peerId"].as_str().expect("an id");
    let addresses = ready["addresses"].as_array().expect("a list").iter().filter_map(Value::as_str);
    let tcp = addresses.into_iter().find(|address| address.contains("/tcp/")).expect("it listens on TCP");
    assert!(tcp.ends_with(&format!("/p2p/{peer}")), "{tcp}");
    (process, tcp.to_owned())
}

/// An event of a host, which may have come before it was ready.
fn event(host: &mut Host, kind: &str) -> Value {
    let seen = host.process.seen().iter().find(|line| line["type"] == kind).cloned();
    seen.unwrap_or_else(|| host.process.wait_for(kind, SOON))
}

fn doctor(arguments: &[&str]) -> Ended {
    DigNat::start(PROGRAM, ["doctor"].iter().chain(arguments)).end(SOON)
}

#[test]
fn a_file_through_a_relay() {
    let (relay, at) = relay();
    let (source, target) = (directory(), directory());
    let file = source.path().join("relayed.bin");
    let hash = files::random_file(&file, 5 << 20, 21);
    // In the hash table they would find each other's addresses.
    let mut host = Host::share_with(&[&file], &["--no-local", "--no-dht", "--relay", &at]);
    let reserved = event(&mut host, "relay:reserved");
    let circuit = reserved["address"].as_str().expect("an address").to_owned();
    assert!(circuit.starts_with(&at) && circuit.contains("/p2p-circuit"), "{circuit}");

    let copy = target.path().join("copy.bin");
    let ended = get_with(&hash.to_string(), &copy, &[&circuit], &["--no-dht"]).end(SOON);
    ended.assert_done();
    assert_eq!(files::sha256(&copy), hash);
    let connected = ended.lines.iter().find(|line| line["type"] == "peer:connected" && line["peer"] == host.peer);
    let connected = connected.unwrap_or_else(|| panic!("not connected to the host: {ended:#?}"));
    assert_eq!(connected["connectionType"], "relay", "the first way to the host is the circuit: {ended:#?}");

    relay.interrupt();
    assert_eq!(relay.end(SOON).code, Some(0));
}

#[test]
fn an_unknown_relay_is_told_and_sharing_goes_on() {
    let source = directory();
    let file = source.path().join("a.bin");
    files::random_file(&file, 1000, 1);
    let nobody = "/ip4/127.0.0.1/tcp/9/p2p/12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp";
    let mut host = Host::share_with(&[&file], &["--no-local", "--relay", nobody]);
    let warning = event(&mut host, "warning");
    assert_eq!(warning["error"]["code"], "ERR_PEER_UNREACHABLE", "{warning}");
    host.process.interrupt();
    assert_eq!(host.process.end(SOON).code, Some(0));
}

#[test]
fn the_doctor_examines_with_the_named_servers() {
    let (_one, at) = relay();
    let (_two, other) = relay();
    let server = |at: &str| format!("127.0.0.1:{}", at.split('/').nth(4).expect("/ip4/ADDRESS/tcp/PORT"));
    let ended = doctor(&["--stun", &server(&at), "--stun", &server(&other)]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let found = ended.line("doctor");
    assert_eq!((&found["ipv4"], &found["ipv6"]), (&"127.0.0.1".into(), &Value::Null));
    assert_eq!((&found["translated"], &found["udpBlocked"]), (&false.into(), &false.into()));
    assert!(["public", "firewall", "untranslated"].contains(&found["natType"].as_str().expect("a type")), "{found}");
    assert!(found["meaning"].as_str().expect("a sentence").starts_with("no NAT"), "{found}");
    assert!(!found["advice"].as_array().expect("a list").is_empty());
}

#[test]
fn the_doctor_speaks_to_people() {
    let (_relay, at) = relay();
    let port = at.split('/').nth(4).expect("/ip4/ADDRESS/tcp/PORT");
    let output = std::process::Command::new(PROGRAM)
        .args(["doctor", "--stun", &format!("127.0.0.1:{port}")])
        .output()
        .expect("the program runs");
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let names = ["NAT type", "public IPv4", "public IPv6", "mapping", "filtering", "ports", "hairpin", "double NAT"];
    assert!(text.lines().count() > names.len(), "{text}");
    for (line, name) in text.lines().zip(names) {
        assert!(line.starts_with(name), "{line:?} should be about {name}");
    }
    assert!(text.contains("public IPv4  127.0.0.1\n") && text.contains("\nadvice       "), "{text}");
}

#[test]
fn the_doctor_fails_without_anybody_to_ask() {
    let nobody = doctor(&[]);
    assert_eq!((nobody.code, &nobody.line("error")["code"]), (Some(2), &"ERR_INVALID_ARGUMENT".into()));
    let silent = doctor(&["--stun", "127.0.0.1:9", "--timeout", "2"]);
    assert_eq!((silent.code, &silent.line("error")["code"]), (Some(3), &"ERR_PEER_UNREACHABLE".into()));
    assert_eq!(doctor(&["--timeout", "-1"]).code, Some(2));
}
