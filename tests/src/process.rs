//! The built `dig-nat` program as a child process: its JSON lines, its exit code, and deadlines on everything.
//! A process ends at the latest when its handle is dropped.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

/// JSON lines read ahead of the test.
const LINES_AHEAD: usize = 1024;

/// A running `dig-nat`.
pub struct DigNat {
    name: String,
    child: Child,
    lines: Receiver<Value>,
    errors: Option<JoinHandle<String>>,
    seen: Vec<Value>,
}

/// How a process ended and everything it printed.
pub struct Ended {
    /// Exit code, `None` when a signal ended it.
    pub code: Option<i32>,
    /// All JSON lines in order, those that were waited for included.
    pub lines: Vec<Value>,
    /// Standard error.
    pub errors: String,
}

impl DigNat {
    /// Starts `program` with these arguments and `--json`, on the loopback interface.
    pub fn start(program: &str, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        let arguments: Vec<OsString> = arguments.into_iter().map(|argument| argument.as_ref().to_owned()).collect();
        let mut command = Command::new(program);
        command.args(&arguments).args(["--json", "--exit-with-parent"]);
        Self::spawn(command)
    }

    /// Starts a prepared command that runs `dig-nat` with JSON output.
    pub fn spawn(mut command: Command) -> Self {
        let name = format!("{command:?}");
        let mut child = command
            .env("DIG_NAT_LOCAL_ONLY", "1")
            .env("DIG_NAT_INTERFACES", "lo")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("start {name}: {error}"));
        let (sender, lines) = mpsc::sync_channel(LINES_AHEAD);
        let stdout = child.stdout.take().expect("asked for a pipe");
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let value = serde_json::from_str(&line).unwrap_or(Value::String(line));
                if sender.send(value).is_err() {
                    return;
                }
            }
        });
        let mut stderr = child.stderr.take().expect("asked for a pipe");
        let errors = std::thread::spawn(move || {
            let mut text = Vec::new();
            // What cannot be read is missing from the report of a failed test, nothing more.
            let _ = stderr.read_to_end(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        });
        Self { name, child, lines, errors: Some(errors), seen: Vec::new() }
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// All lines that were waited for or passed while waiting.
    pub fn seen(&self) -> &[Value] {
        &self.seen
    }

    /// The next line of a type. Panics when the process ends before, or after `limit`.
    pub fn wait_for(&mut self, kind: &str, limit: Duration) -> Value {
        self.wait_until(kind, limit, |line| line["type"] == kind)
    }

    /// The next line that `wanted` accepts. Panics when the process ends before, or after `limit`.
    pub fn wait_until(&mut self, what: &str, limit: Duration, wanted: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + limit;
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    self.seen.push(line.clone());
                    if wanted(&line) {
                        return line;
                    }
                }
                Err(RecvTimeoutError::Timeout) => self.fail(&format!("no {what} within {limit:?}")),
                Err(RecvTimeoutError::Disconnected) => self.fail(&format!("ended without {what}")),
            }
        }
    }

    /// Waits until the process ends by itself. Panics when it does not within `limit`.
    pub fn end(mut self, limit: Duration) -> Ended {
        let deadline = Instant::now() + limit;
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => self.seen.push(line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => self.fail(&format!("did not end within {limit:?}")),
            }
        }
        let status = self.child.wait().expect("our own child can be waited for");
        let errors = self.errors.take().expect("taken only here and in fail").join().expect("only reads");
        Ended { code: status.code(), lines: std::mem::take(&mut self.seen), errors }
    }

    /// Ends the process without warning, as `kill -9` does.
    pub fn kill(&mut self) {
        self.child.kill().expect("our own child can be killed");
        self.child.wait().expect("our own child can be waited for");
    }

    /// Sends SIGINT, as Ctrl-C does.
    pub fn interrupt(&self) {
        let status = Command::new("kill").args(["-INT", &self.id().to_string()]).status().expect("kill exists");
        assert!(status.success(), "kill -INT failed");
    }

    fn fail(&mut self, problem: &str) -> ! {
        // Killing closes the pipe, so the thread that collects the errors ends.
        let _ = self.child.kill();
        let errors = self.errors.take().map(|errors| errors.join().unwrap_or_default()).unwrap_or_default();
        let last: Vec<String> = self.seen.iter().rev().take(5).rev().map(Value::to_string).collect();
        panic!("{}: {problem}\nlast lines: {last:#?}\nerrors: {errors}", self.name);
    }
}

impl Drop for DigNat {
    fn drop(&mut self) {
        // Both fail only when the process has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl fmt::Debug for Ended {
    /// Without the many states of a download; a failed test shows this.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "exit code {:?}", self.code)?;
        let last = self.lines.len().saturating_sub(1);
        for (index, line) in self.lines.iter().enumerate() {
            if line["type"] != "progress" || index == last {
                writeln!(f, "  {line}")?;
            }
        }
        write!(f, "{}", self.errors)
    }
}

impl Ended {
    /// The last line of a type; panics with everything known when there is none.
    pub fn line(&self, kind: &str) -> &Value {
        self.lines.iter().rev().find(|line| line["type"] == kind).unwrap_or_else(|| panic!("no {kind} in {self:#?}"))
    }

    /// Checks the exit code and the code of the error line.
    pub fn assert_failed(&self, exit: i32, code: &str) {
        assert_eq!(self.code, Some(exit), "{self:#?}");
        assert_eq!(self.line("error")["code"], code, "{self:#?}");
    }

    /// Checks that it succeeded and gives the result line.
    pub fn assert_done(&self) -> &Value {
        assert_eq!(self.code, Some(0), "{self:#?}");
        self.line("result")
    }
}
