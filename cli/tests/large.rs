//! 1 GiB between real processes: from one host, from four of which one dies and one lies, and across a `kill -9` of the
//! client. One at a time, so that each has the machine to itself.

mod support;

use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex};
use std::time::Duration;

use dig_nat_core::base::ids::FileHash;
use dig_nat_core::content::layout::PieceLayout;
use dig_nat_tests::files;
use dig_nat_tests::liar::{Liar, Lie};
use serde_json::Value;

use support::{Host, directory, get};

const GIB: u64 = 1 << 30;
/// At 10 MB/s a gigabyte is here in two minutes; slower than that is a defect, even on a busy machine.
const LIMIT: Duration = Duration::from_secs(120);

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
static GIBIBYTE: LazyLock<(tempfile::TempDir, PathBuf, FileHash)> = LazyLock::new(|| {
    let directory = directory();
    let path = directory.path().join("gibibyte.bin");
    let hash = files::random_file(&path, GIB, 1);
    (directory, path, hash)
});

#[test]
fn a_gibibyte_from_one_host() {
    let _alone = ONE_AT_A_TIME.lock();
    let (_, file, hash) = &*GIBIBYTE;
    let host = Host::share(&[file.as_path()]);
    assert_eq!(host.hashes(), [hash.to_string()]);
    let target = directory();
    let ended = get(&hash.to_string(), &target.path().join("copy.bin"), &[&host.address]).end(LIMIT);
    let result = ended.assert_done();
    assert_eq!(result["size"], GIB);
    assert_eq!(result["resumedBytes"], 0);
    assert_copied(result, hash);
    assert_progress(&ended.lines);
}

#[test]
fn a_gibibyte_from_four_hosts_of_which_one_is_killed_and_one_lies() {
    let _alone = ONE_AT_A_TIME.lock();
    let (_, file, hash) = &*GIBIBYTE;
    let mut doomed = Host::share(&[file.as_path()]);
    let (first, second) = (Host::share(&[file.as_path()]), Host::share(&[file.as_path()]));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let content = std::fs::read(file).expect("readable").into();
    let liar = runtime.block_on(Liar::start(content, Lie::Pieces)).expect("the liar starts");

    let target = directory();
    let addresses = [doomed.address.as_str(), &first.address, &second.address, &liar.address()];
    let mut client = get(&hash.to_string(), &target.path().join("copy.bin"), &addresses);
    client.wait_until("30 % of the file", LIMIT, |line| {
        line["type"] == "progress" && line["fraction"].as_f64().is_some_and(|fraction| fraction >= 0.3)
    });
    doomed.process.kill();

    let ended = client.end(LIMIT);
    let result = ended.assert_done();
    assert_copied(result, hash);
    let banned: Vec<_> = ended.lines.iter().filter(|line| line["type"] == "peer:banned").collect();
    assert!(!banned.is_empty(), "the liar was not named");
    for ban in banned {
        assert_eq!(ban["peer"], liar.peer().as_str(), "an honest peer was banned: {ban}");
    }
    for honest in [&first, &second] {
        let bytes = result["peers"][&honest.peer]["bytes"].as_u64().unwrap_or(0);
        assert!(bytes > GIB / 10, "{} gave only {bytes} bytes: {result}", honest.peer);
    }
    runtime.block_on(liar.stop());
}

#[test]
fn a_client_killed_at_60_percent_goes_on_where_it_was() {
    let _alone = ONE_AT_A_TIME.lock();
    let (_, file, hash) = &*GIBIBYTE;
    let host = Host::share(&[file.as_path()]);
    let target = directory();
    let copy = target.path().join("copy.bin");

    let mut first = get(&hash.to_string(), &copy, &[&host.address]);
    let state = first.wait_until("60 % of the file", LIMIT, |line| {
        line["type"] == "progress" && line["fraction"].as_f64().is_some_and(|fraction| fraction >= 0.6)
    });
    first.kill();
    assert!(!copy.exists(), "an unfinished file must not be at the target");
    // What the client knew to be there at the last state it reported; later pieces only add to it.
    let kept = state["bytes"].as_u64().expect("a number");

    let ended = get(&hash.to_string(), &copy, &[&host.address]).end(LIMIT);
    let result = ended.assert_done();
    assert_copied(result, hash);
    let two_pieces = 2 * u64::from(PieceLayout::for_length(GIB).expect("valid").piece_length());
    let resumed = result["resumedBytes"].as_u64().expect("a number");
    assert!(resumed + two_pieces > kept, "only {resumed} of {kept} bytes were taken over");
    let received: u64 =
        result["peers"].as_object().expect("peers").values().filter_map(|peer| peer["bytes"].as_u64()).sum();
    assert!(received < GIB - kept + two_pieces, "{received} bytes were fetched although {kept} were there");
    assert_no_part_files(target.path());
}

fn assert_copied(result: &Value, hash: &FileHash) {
    assert_eq!(result["hash"], hash.to_string());
    let path = Path::new(result["path"].as_str().expect("a path"));
    assert_eq!(files::sha256(path), *hash, "the copy differs");
}

/// States are ordered and bounded, and the first and last are there.
fn assert_progress(lines: &[Value]) {
    let states: Vec<_> = lines.iter().filter(|line| line["type"] == "progress").collect();
    assert!(states.len() >= 2, "only {} states", states.len());
    let bytes: Vec<u64> = states.iter().map(|state| state["bytes"].as_u64().expect("a number")).collect();
    assert!(bytes.is_sorted(), "progress fell: {bytes:?}");
    let last = states.last().expect("not empty");
    assert_eq!((&last["bytes"], &last["fraction"]), (&Value::from(GIB), &Value::from(1.0)));
    assert!(states.iter().all(|state| state["rate"].is_number()), "a rate is not a number");
}

fn assert_no_part_files(directory: &Path) {
    let names: Vec<_> =
        std::fs::read_dir(directory).expect("readable").map(|entry| entry.expect("entry").file_name()).collect();
    assert_eq!(names, ["copy.bin"]);
}
