//! Compiling C against the built library and running programs with a deadline.
//! Not here: what is tested.

#![allow(dead_code, reason = "each test uses its part")]

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::LazyLock;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

/// Compiling takes seconds, transfers milliseconds; valgrind is 20 to 50 times slower.
pub const DEADLINE: Duration = Duration::from_secs(300);

/// Flags under which everything here has to compile without a warning.
pub const C_FLAGS: &[&str] = &["-std=c11", "-Wall", "-Wextra", "-Werror", "-pedantic", "-g", "-pthread"];

/// The crate's folder: the one that cargo runs in, not the one this was compiled in.
pub fn crate_dir() -> &'static Path {
    static DIR: LazyLock<PathBuf> = LazyLock::new(|| {
        std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from)
    });
    &DIR
}

/// Where cargo put the library this test was built with.
pub fn library_dir() -> PathBuf {
    let test = std::env::current_exe().expect("a test has a path");
    let dir = test.parent().expect("the deps folder").to_owned();
    for name in ["libdig_nat.so", "libdig_nat.a"] {
        assert!(dir.join(name).exists(), "no {name} in {}", dir.display());
    }
    dir
}

/// A command that contacts nobody outside this machine.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.env("DIG_NAT_LOCAL_ONLY", "1").env("DIG_NAT_INTERFACES", "lo").env("LD_LIBRARY_PATH", library_dir());
    command
}

/// Compiles one C file into a program linked with the shared library.
pub fn compile(source: &Path, program: &Path) {
    let mut cc = Command::new("gcc");
    cc.args(C_FLAGS).arg("-I").arg(crate_dir().join("../include")).arg(source).arg("-o").arg(program);
    cc.arg("-L").arg(library_dir()).arg("-ldig_nat");
    succeed(cc);
}

/// Runs a command and returns its standard output; a failure shows everything it printed.
pub fn succeed(command: Command) -> String {
    let output = run(command);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}\n{}\n{}", output.status, text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// Runs a command to its end or to the deadline.
pub fn run(mut command: Command) -> Output {
    let shown = format!("{command:?}");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{shown}: {error}"));
    let collect = |mut from: Box<dyn Read + Send>| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            from.read_to_end(&mut bytes).map(|_| bytes)
        })
    };
    let stdout = collect(Box::new(child.stdout.take().expect("piped")));
    let stderr = collect(Box::new(child.stderr.take().expect("piped")));
    let status = wait(&mut child, &shown);
    let join = |thread: std::thread::JoinHandle<std::io::Result<Vec<u8>>>| {
        thread.join().expect("the reader does not panic").expect("a pipe can be read")
    };
    Output { status, stdout: join(stdout), stderr: join(stderr) }
}

fn wait(child: &mut Child, shown: &str) -> std::process::ExitStatus {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(status) = child.try_wait().expect("the child is ours") {
            return status;
        }
        if Instant::now() > deadline {
            // Already gone is fine too.
            let _ = child.kill();
            panic!("{shown} did not end in {DEADLINE:?}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A running example host.
pub struct Host {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    /// SHA-256 of what it shares.
    pub hash: String,
    /// Where it can be reached.
    pub addresses: Vec<String>,
}

impl Host {
    /// Starts the host and waits until it is ready.
    pub fn start(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("the host starts");
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        let (send, lines) = mpsc::sync_channel(64);
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    return;
                }
            }
        });
        let stdin = child.stdin.take();
        let mut host = Self { child, stdin, lines, hash: String::new(), addresses: Vec::new() };
        loop {
            let line = host.lines.recv_timeout(DEADLINE).expect("the host gets ready");
            match line.split_once(' ') {
                Some(("hash", hash)) => hash.clone_into(&mut host.hash),
                Some(("address", address)) => host.addresses.push(address.to_owned()),
                None if line == "ready" => return host,
                _ => {}
            }
        }
    }

    /// Lets the host end by itself.
    pub fn stop(mut self) {
        drop(self.stdin.take());
        let status = wait(&mut self.child, "host");
        assert!(status.success(), "host: {status}");
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // Already gone after `stop`.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
