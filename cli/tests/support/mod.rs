//! Hosts and clients of the built program, as the process tests use them.
// Each test program uses a part of this.
#![allow(dead_code)]

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use dig_nat_tests::process::DigNat;
use serde_json::Value;

/// The built program.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_dig-nat");
/// Starting, hashing up to a gigabyte included.
pub const READY: Duration = Duration::from_secs(60);
/// For downloads of small files.
pub const SOON: Duration = Duration::from_secs(60);

/// A directory on the disk that holds the build, which has room for large files.
pub fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("the build directory is writable")
}

/// A running `dig-nat share` that is ready.
pub struct Host {
    /// The process.
    pub process: DigNat,
    /// `host:port`.
    pub address: String,
    /// Its peer id.
    pub peer: String,
}

impl Host {
    /// Shares files and directories, unseen by the local network.
    pub fn share(paths: &[&Path]) -> Self {
        Self::share_with(paths, &["--no-local"])
    }

    /// The same with further arguments.
    pub fn share_with(paths: &[impl AsRef<Path>], more: &[&str]) -> Self {
        let mut arguments = vec![OsString::from("share")];
        arguments.extend(paths.iter().map(|path| path.as_ref().as_os_str().to_owned()));
        arguments.extend(more.iter().map(OsString::from));
        let mut process = DigNat::start(PROGRAM, arguments);
        let ready = process.wait_for("ready", READY);
        let peer = ready["peerId"].as_str().expect("an id").to_owned();
        Self { process, address: format!("127.0.0.1:{}", ready["port"]), peer }
    }

    /// What it shares, in order.
    pub fn hashes(&self) -> Vec<String> {
        let shared = self.process.seen().iter().filter(|line| line["type"] == "shared");
        shared.map(|line| line["hash"].as_str().expect("a hash").to_owned()).collect()
    }
}

/// Starts `dig-nat get` with these peers and no discovery.
pub fn get(key: &str, target: &Path, peers: &[&str]) -> DigNat {
    get_with(key, target, peers, &[])
}

/// The same with further arguments.
pub fn get_with(key: &str, target: &Path, peers: &[&str], more: &[&str]) -> DigNat {
    let mut arguments: Vec<OsString> = ["get", key, "--no-local", "-o"].iter().map(OsString::from).collect();
    arguments.push(target.as_os_str().to_owned());
    for peer in peers {
        arguments.extend(["--peer".into(), OsString::from(peer)]);
    }
    arguments.extend(more.iter().map(OsString::from));
    DigNat::start(PROGRAM, arguments)
}

/// Whether a JSON line is a state with some bytes and not all.
pub fn is_under_way(line: &Value) -> bool {
    line["type"] == "progress" && line["bytes"].as_u64() > Some(0) && line["bytes"] != line["total"]
}
