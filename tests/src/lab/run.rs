//! Where labs run: a process of its own in new user, network, mount and process namespaces, so that a lab needs no
//! privileges, cannot disturb the machine or another lab, and is gone with its process. Not here: the lab itself.

use std::any::type_name;
use std::env;
use std::io::{self, Read};
use std::panic;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

/// Set in the environment of the process that a lab runs in.
const MARK: &str = "DIG_NAT_LAB";

/// Printed by the isolated process as soon as the test's body begins.
const STARTED: &str = "the lab's process has begun";

/// How long a test may take in all when nothing else is said.
const PATIENCE: Duration = Duration::from_secs(120);

/// What keeps a library at home during tests is not wanted where there is no way out.
const CLEARED: &[&str] = &["DIG_NAT_LOCAL_ONLY", "DIG_NAT_INTERFACES"];

/// Runs the body of a test where labs can be built: the test's executable is started again for this one test in new
/// namespaces, and there this call runs `body`. Panics there fail the test here. To be called from the test function
/// itself.
///
/// Where namespaces are forbidden the test is skipped with a message, or fails if `CI` is `true` in the environment.
#[track_caller]
pub fn run<F: FnOnce()>(body: F) {
    run_within(PATIENCE, body);
}

/// As [`run`], with another limit to the whole test.
#[track_caller]
pub fn run_within<F: FnOnce()>(patience: Duration, body: F) {
    if env::var_os(MARK).is_some() {
        eprintln!("{STARTED}");
        end_with_parent();
        log_on_request();
        return body();
    }
    let test = test_name(type_name::<F>());
    let program = env::current_exe().unwrap_or_else(|error| panic!("{test}: this program has no file: {error}"));
    let Some(command) = isolate(program.as_os_str()) else {
        let reason = "the NAT lab cannot run here: neither user namespaces nor root, or nftables is missing";
        assert!(env::var("CI").as_deref() != Ok("true"), "{test}: {reason}");
        eprintln!("SKIPPED {test}: {reason}");
        return;
    };
    let (ended, output) = run_isolated(command, &test, patience).unwrap_or_else(|error| panic!("{test}: {error}"));
    // Through the macro, so that the test harness keeps it for failures; without the inner harness's own result, which
    // would be counted as one more test.
    for line in output.lines().filter(|line| !line.starts_with("test result:") && !line.is_empty()) {
        println!("{line}");
    }
    assert!(
        output.contains(STARTED),
        "the isolated process did not run {test}: call `lab::run` in the test function itself"
    );
    match ended {
        Some(true) => {}
        Some(false) => panic!("{test} failed inside its lab, see above"),
        None => panic!("{test} did not finish within {patience:?}"),
    }
}

/// Shows what the nodes log, if `RUST_LOG` says which of it.
fn log_on_request() {
    if let Ok(filter) = env::var("RUST_LOG") {
        let filter = tracing_subscriber::EnvFilter::new(filter);
        let log = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_thread_ids(true);
        log.with_writer(std::io::stderr).try_init().expect("the only one");
    }
}

/// A command that starts `program` in new namespaces, as labs do; the test of the lab itself uses it. `None` where
/// namespaces are forbidden.
pub fn isolate(program: &std::ffi::OsStr) -> Option<Command> {
    let mut command = Command::new("unshare");
    command.args(isolation()?).arg("--").arg(program).env(MARK, "1").env("PATH", path());
    for name in CLEARED {
        command.env_remove(name);
    }
    Some(command)
}

/// Whether this process is one that labs can be built in.
pub(super) fn is_isolated() -> bool {
    env::var_os(MARK).is_some()
}

/// The arguments of `unshare` that work here, found out once.
fn isolation() -> Option<&'static [&'static str]> {
    /// `--kill-child`: everything inside ends with `unshare`; the process namespace takes what was left behind.
    const UNPRIVILEGED: &[&str] =
        &["--user", "--map-root-user", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"];
    const ROOT: &[&str] = &["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"];
    static FOUND: OnceLock<Option<&'static [&'static str]>> = OnceLock::new();
    *FOUND.get_or_init(|| {
        // More than being born, the process must be able to do what labs do.
        let works = |arguments: &&&[&str]| {
            let mut trial = Command::new("unshare");
            trial.args(**arguments).args(["--", "unshare", "--net", "nft", "list", "ruleset"]).env("PATH", path());
            trial.output().is_ok_and(|output| output.status.success())
        };
        [UNPRIVILEGED, ROOT].iter().find(works).copied()
    })
}

/// Runs one test isolated. Gives its success, `None` when it had to be ended, and what it printed.
fn run_isolated(mut command: Command, test: &str, patience: Duration) -> io::Result<(Option<bool>, String)> {
    let (mut reader, writer) = io::pipe()?;
    command.args([test, "--exact", "--nocapture", "--include-ignored", "--test-threads=1"]);
    let mut child =
        command.stdin(Stdio::piped()).stdout(writer.try_clone()?).stderr(writer).spawn().map_err(|cause| {
            io::Error::new(cause.kind(), format!("start unshare (Debian package util-linux): {cause}"))
        })?;
    // The command holds the writing end; the output ends when it and all processes inside are gone.
    drop(command);
    let (sender, finished) = mpsc::sync_channel(1);
    thread::spawn(move || {
        let mut output = Vec::new();
        let read = reader.read_to_end(&mut output).map(|_| String::from_utf8_lossy(&output).into_owned());
        // Nobody waits any more after the second deadline.
        let _ = sender.send(read);
    });
    let output = match finished.recv_timeout(patience) {
        Ok(output) => output?,
        Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
            child.kill()?;
            child.wait()?;
            let output = finished.recv_timeout(Duration::from_secs(5));
            return Ok((None, output.map_err(|_| io::Error::other("processes of the lab outlive it"))??));
        }
    };
    Ok((Some(child.wait()?.success()), output))
}

/// Ends this process when the one that started it is gone, so that a killed test leaves nothing behind: the pipe at
/// standard input then ends.
fn end_with_parent() {
    thread::spawn(|| {
        let mut nothing = [0; 1];
        while !matches!(io::stdin().read(&mut nothing), Ok(0) | Err(_)) {}
        std::process::exit(1);
    });
}

/// The name by which the test harness knows the running test. Its thread has it, unless there is only one thread;
/// then the path of the test's closure tells.
fn test_name(closure: &str) -> String {
    match thread::current().name() {
        Some(name) if name != "main" => name.to_owned(),
        _ => {
            let path = closure.split("::{{closure}}").next().unwrap_or(closure);
            path.split_once("::").map_or(path, |(_crate, path)| path).to_owned()
        }
    }
}

/// The programs of the lab lie where ordinary users do not look.
fn path() -> String {
    format!("{}:/usr/local/sbin:/usr/sbin:/sbin", env::var("PATH").unwrap_or_default())
}
