//! Real processes that find each other through a relay of ours, in the hash table it holds and on its Gun graph, and a
//! host that follows a directory. Not here: the local network (`small`), and the ways themselves (core).

mod support;

use std::time::Duration;

use dig_nat_tests::files;
use dig_nat_tests::process::DigNat;
use support::{Host, PROGRAM, READY, SOON, directory, get_with};

#[test]
fn a_relay_helps_to_find_by_the_hash_table_and_by_gun() {
    let (source, target) = (directory(), directory());
    let mut relay = DigNat::start(PROGRAM, ["relay", "--no-local", "--gun", "127.0.0.1:0"]);
    let ready = relay.wait_for("ready", READY);
    let entry = ready["addresses"][0].as_str().expect("an address").to_owned();
    let gun = ready["gun"].as_str().expect("it is a Gun relay").to_owned();
    for (number, (way, arguments)) in
        [("dht", ["--bootstrap", &entry]), ("gun", ["--gun", &gun])].into_iter().enumerate()
    {
        let file = source.path().join(format!("{way}.bin"));
        let hash = files::random_file(&file, 1 << 20, number as u64);
        let name = format!("the file by {way}");
        let more = [&["--no-local", "--id", &name], &arguments[..]].concat();
        let host = Host::share_with(&[&file], &more);
        for key in [hash.to_string(), name.clone()] {
            let copy = target.path().join("copy.bin");
            let ended = get_with(&key, &copy, &[], &arguments).end(SOON);
            ended.assert_done();
            let found = ended.line("peer:discovered");
            assert_eq!((&found["id"], &found["source"]), (&host.peer.as_str().into(), &way.into()));
            assert_eq!(files::sha256(&copy), hash);
            std::fs::remove_file(&copy).expect("there");
        }
    }
}

#[test]
fn a_host_follows_a_directory() {
    let (source, target) = (directory(), directory());
    let mut host = Host::share_with(&[source.path()], &["--no-local", "--watch"]);
    assert!(host.hashes().is_empty());
    let later = source.path().join("later.bin");
    let hash = files::random_file(&later, 1 << 20, 2);
    let added = |line: &serde_json::Value| line["type"] == "file:added" && line["hash"] == hash.to_string();
    host.process.wait_until("the later file", SOON, added);
    let copy = target.path().join("copy.bin");
    get_with(&hash.to_string(), &copy, &[&host.address], &["--no-dht"]).end(SOON).assert_done();
    assert_eq!(files::sha256(&copy), hash);
    std::fs::remove_file(&later).expect("there");
    let removed = |line: &serde_json::Value| line["type"] == "file:removed" && line["hash"] == hash.to_string();
    host.process.wait_until("its removal", SOON, removed);
    let ended = get_with(&hash.to_string(), &copy.with_extension("2"), &[&host.address], &["--timeout", "2"]);
    assert_ne!(ended.end(Duration::from_secs(30)).code, Some(0), "it is withdrawn");
}
