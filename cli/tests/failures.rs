//! What goes wrong between real processes: exit codes, texts, and nothing left behind.

mod support;

use std::io::Write;
use std::process::Command;
use std::time::Duration;

use dig_nat_core::base::ids::FileHash;
use dig_nat_tests::files;
use dig_nat_tests::liar::{Liar, Lie};
use dig_nat_tests::process::DigNat;

use support::{Host, PROGRAM, SOON, directory, get, get_with, is_under_way};

#[test]
fn a_wrong_hash_is_not_found() {
    let source = directory();
    let file = source.path().join("a.bin");
    files::random_file(&file, 1000, 1);
    let host = Host::share(&[&file]);
    let wrong = FileHash::of(b"nobody has this").to_string();
    let target = directory();
    let ended = get_with(&wrong, &target.path().join("x"), &[&host.address], &["--timeout", "2"]).end(SOON);
    ended.assert_failed(3, "ERR_CONTENT_NOT_FOUND");
    assert!(ended.errors.contains("advice: check the hash"), "{}", ended.errors);
    assert_empty(&target);
}

#[test]
fn without_any_peer_the_search_ends_in_time() {
    let target = directory();
    let wrong = FileHash::of(b"nobody has this either").to_string();
    let ended = get_with(&wrong, &target.path().join("x"), &[], &["--timeout", "1"]).end(Duration::from_secs(15));
    ended.assert_failed(3, "ERR_NO_PEERS");
    assert_empty(&target);
}

#[test]
fn an_unreachable_peer_is_named() {
    let target = directory();
    // Port 1 on the loopback interface: nobody listens there.
    let wrong = FileHash::of(b"unreachable").to_string();
    let ended = get_with(&wrong, &target.path().join("x"), &["127.0.0.1:1"], &["--timeout", "2"]).end(SOON);
    assert_eq!(ended.code, Some(3), "{ended:#?}");
    assert!(ended.errors.contains("127.0.0.1:1"), "the address is not named: {}", ended.errors);
}

#[test]
fn a_missing_target_directory_is_named() {
    let source = directory();
    let file = source.path().join("a.bin");
    let hash = files::random_file(&file, 1000, 2).to_string();
    let host = Host::share(&[&file]);
    let target = directory();
    let ended = get(&hash, &target.path().join("missing/a.bin"), &[&host.address]).end(SOON);
    ended.assert_failed(5, "ERR_FILE_NOT_FOUND");
    assert!(ended.errors.contains("missing"), "{}", ended.errors);
    assert_empty(&target);
}

#[test]
fn a_file_that_changed_on_the_host_is_not_served() {
    let source = directory();
    let file = source.path().join("a.bin");
    let hash = files::random_file(&file, 1 << 20, 3).to_string();
    let mut host = Host::share(&[&file]);
    let mut changed = std::fs::OpenOptions::new().append(true).open(&file).expect("ours");
    changed.write_all(b"one more line").expect("written");
    drop(changed);

    let target = directory();
    let ended = get_with(&hash, &target.path().join("x"), &[&host.address], &["--timeout", "2"]).end(SOON);
    ended.assert_failed(3, "ERR_CONTENT_NOT_FOUND");
    let event = host.process.wait_for("file:changed", SOON);
    assert_eq!(event["hash"], hash);
    assert_empty(&target);
}

#[test]
fn when_the_only_source_lies_the_download_fails_and_names_it() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    for lie in [Lie::Pieces, Lie::Description] {
        let content: Vec<u8> = (0..500_000_u32).map(|byte| (byte >> 3) as u8).collect();
        let hash = FileHash::of(&content).to_string();
        let liar = runtime.block_on(Liar::start(content.into(), lie.clone())).expect("started");
        let target = directory();
        let ended = get_with(&hash, &target.path().join("x"), &[&liar.address()], &["--timeout", "2"]).end(SOON);
        ended.assert_failed(4, "ERR_VERIFICATION_FAILED");
        assert_eq!(ended.line("peer:banned")["peer"], liar.peer().as_str(), "{lie:?}");
        assert!(!target.path().join("x").exists());
        runtime.block_on(liar.stop());
    }
}

#[test]
fn ctrl_c_leaves_a_download_that_can_be_resumed() {
    let source = directory();
    let file = source.path().join("a.bin");
    let hash = files::random_file(&file, 8 << 20, 4).to_string();
    let host = Host::share(&[&file]);
    let target = directory();
    let copy = target.path().join("x");
    let mut first = get_with(&hash, &copy, &[&host.address], &["--download-limit", "2MiB"]);
    first.wait_until("some bytes", SOON, is_under_way);
    first.interrupt();
    let ended = first.end(Duration::from_secs(10));
    ended.assert_failed(130, "ERR_CANCELLED");
    assert!(ended.errors.contains("run the same command again to resume"), "{}", ended.errors);
    assert!(!copy.exists());

    let ended = get(&hash, &copy, &[&host.address]).end(SOON);
    let result = ended.assert_done();
    assert!(result["resumedBytes"].as_u64() > Some(0), "{result}");
    assert_eq!(files::sha256(&copy).to_string(), hash);
}

#[test]
fn a_host_stopped_by_ctrl_c_has_done_its_work() {
    let source = directory();
    let file = source.path().join("a.bin");
    files::random_file(&file, 1000, 6);
    let host = Host::share(&[&file]);
    host.process.interrupt();
    assert_eq!(host.process.end(Duration::from_secs(10)).code, Some(0));
}

#[test]
fn sharing_what_is_not_there_fails() {
    let ended = DigNat::start(PROGRAM, ["share", "/nonexistent/file", "--no-local"]).end(SOON);
    ended.assert_failed(5, "ERR_FILE_NOT_FOUND");
    assert!(ended.errors.contains("/nonexistent/file"), "{}", ended.errors);
}

#[test]
fn wrong_arguments_are_usage_errors() {
    let hash = "0".repeat(64);
    for arguments in [
        vec!["get"],
        vec!["get", &hash, "--timeout", "soon"],
        vec!["get", &hash, "--timeout", "-1"],
        vec!["get", &hash, "--max-peers", "0"],
        vec!["get", &hash, "--peer", "not an address"],
        vec!["share"],
        vec!["share", "/tmp", "--id", "name"],
        vec!["demo", "--size", "large"],
        vec!["launch"],
    ] {
        let output = Command::new(PROGRAM).args(&arguments).env("DIG_NAT_INTERFACES", "lo").output().expect("runs");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {output:?}");
        assert!(!output.stderr.is_empty(), "{arguments:?} says nothing");
    }
}

#[test]
fn a_full_disk_is_told_before_and_the_download_goes_on_when_there_is_room() {
    if !can_mount() {
        assert!(std::env::var_os("CI").is_none(), "CI must be able to mount a tmpfs in a namespace of its own");
        eprintln!("NOT TESTED: a full disk. It takes root and unshare(1) to mount a small tmpfs.");
        return;
    }
    let source = directory();
    let file = source.path().join("a.bin");
    let hash = files::random_file(&file, 32 << 20, 7).to_string();
    let host = Host::share(&[&file]);
    let mount = directory();
    let script = r#"
        mount -t tmpfs -o size=16m tmpfs "$1"
        "$2" get "$3" --no-local --json --peer "$4" -o "$1/x"; echo "\"first $?\""
        mount -o remount,size=64m "$1"
        "$2" get "$3" --no-local --json --peer "$4" -o "$1/x" || exit
        sha256sum "$1/x" | sed 's/\(.*\) .*/"sum \1"/'
    "#;
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", script, "sh"]).arg(mount.path()).args([PROGRAM, &hash, &host.address]);
    let ended = DigNat::spawn(command).end(SOON);
    let has = |text: String| ended.lines.contains(&text.into());
    assert!(has("first 5".into()), "{ended:#?}");
    assert_eq!(ended.line("error")["code"], "ERR_DISK_FULL");
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    assert!(has(format!("sum {hash} ")), "{ended:#?}");
}

#[test]
fn a_disk_that_fills_up_meanwhile_ends_the_download_which_goes_on_when_there_is_room() {
    if !can_mount() {
        assert!(std::env::var_os("CI").is_none(), "CI must be able to mount a tmpfs in a namespace of its own");
        eprintln!("NOT TESTED: a disk that fills up. It takes root and unshare(1) to mount a small tmpfs.");
        return;
    }
    let source = directory();
    let file = source.path().join("a.bin");
    let hash = files::random_file(&file, 12 << 20, 8).to_string();
    let host = Host::share_with(&[&file], &["--no-local", "--upload-limit", "4MB"]);
    let mount = directory();
    // 16 MiB are enough for the file, until something else takes what is left of them.
    let script = r#"
        mount -t tmpfs -o size=16m tmpfs "$1"
        "$2" get "$3" --no-local --json --peer "$4" -o "$1/x" &
        until [ "$(du -sk "$1" | cut -f 1)" -gt 1000 ]; do sleep 0.05; done
        head -c 16m /dev/zero >"$1/else" 2>/dev/null
        wait $!; echo "\"first $?\""
        rm "$1/else"
        "$2" get "$3" --no-local --json --peer "$4" -o "$1/x" || exit
        sha256sum "$1/x" | sed 's/\(.*\) .*/"sum \1"/'
    "#;
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", script, "sh"]).arg(mount.path()).args([PROGRAM, &hash, &host.address]);
    let ended = DigNat::spawn(command).end(SOON);
    let has = |text: String| ended.lines.contains(&text.into());
    assert!(has("first 5".into()), "{ended:#?}");
    assert_eq!(ended.line("error")["code"], "ERR_DISK_FULL");
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    assert!(has(format!("sum {hash} ")), "{ended:#?}");
    assert!(ended.line("result")["resumedBytes"].as_u64().expect("a number") > 500_000, "{ended:#?}");
}

fn can_mount() -> bool {
    Command::new("unshare").args(["-m", "true"]).output().is_ok_and(|output| output.status.success())
}

fn assert_empty(directory: &tempfile::TempDir) {
    let left: Vec<_> = std::fs::read_dir(directory.path()).expect("readable").collect();
    assert!(left.is_empty(), "left behind: {left:?}");
}
