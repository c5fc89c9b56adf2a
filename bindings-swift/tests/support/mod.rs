//! Finding the library, generating sources from it, and running programs with a deadline.
//! Not here: what is tested.

#![allow(dead_code, reason = "each test uses its part")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use uniffi::{GenerateOptions, TargetLanguage};

/// The crate's folder: the one that cargo runs in, not the one this was compiled in.
pub fn crate_dir() -> &'static Path {
    static DIR: LazyLock<PathBuf> = LazyLock::new(|| {
        std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from)
    });
    &DIR
}

/// Where cargo put the shared library this test was built with.
pub fn library() -> PathBuf {
    let test = std::env::current_exe().expect("a test has a path");
    let library = test.parent().expect("the deps folder").join("libdig_nat_mobile.so");
    assert!(library.exists(), "no {}", library.display());
    library
}

/// Writes the sources for some languages.
pub fn generate(languages: &[TargetLanguage], dir: &Path) {
    let utf8 = |path: &Path| path.to_str().expect("UTF-8 paths").to_owned();
    uniffi::generate(GenerateOptions {
        languages: languages.to_vec(),
        source: utf8(&library()).into(),
        out_dir: utf8(dir).into(),
        config_override: None,
        format: false,
        crate_filter: None,
        metadata_no_deps: true,
    })
    .expect("UniFFI can read its own library");
}

/// Runs a command that has to succeed before the deadline; shows what it printed if it does not.
pub fn succeed(mut command: Command, deadline: Duration) -> String {
    let shown = format!("{command:?}");
    command.env("DIG_NAT_LOCAL_ONLY", "1").env("DIG_NAT_INTERFACES", "lo");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap_or_else(|error| panic!("{shown}: {error}"));
    let id = child.id().to_string();
    let (ended, watch) = std::sync::mpsc::sync_channel::<()>(1);
    let started = Instant::now();
    let watchdog = std::thread::spawn(move || {
        if watch.recv_timeout(deadline).is_err_and(|error| error == std::sync::mpsc::RecvTimeoutError::Timeout) {
            // The child may have ended in this moment; then there is nothing to end.
            let _ = Command::new("kill").args(["-9", &id]).status();
        }
    });
    let output = child.wait_with_output().expect("the child is ours");
    drop(ended);
    watchdog.join().expect("the watchdog does not panic");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{shown}\n{} after {:?}\n{}\n{}",
        output.status,
        started.elapsed(),
        text(&output.stdout),
        text(&output.stderr)
    );
    text(&output.stdout)
}
