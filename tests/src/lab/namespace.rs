//! One network namespace, kept alive by an open file only: it has no name in the file system, so when the process ends,
//! however it ends, the kernel takes the namespace and everything in it away. Not here: what is built inside.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use nix::sched::{CloneFlags, setns, unshare};

/// How long links may take to come up, on the busiest machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// Between two looks at what is waited for.
const GLANCE: Duration = Duration::from_millis(2);

/// A network namespace of the lab.
#[derive(Debug)]
pub(super) struct Namespace {
    name: String,
    file: File,
}

impl Namespace {
    /// A new namespace with nothing but a loopback interface, which is down.
    pub(super) fn create(name: &str) -> io::Result<Self> {
        // Namespaces belong to threads: this one is born for the purpose and ends in its new namespace.
        let opened = thread::scope(|scope| {
            let made = scope.spawn(|| {
                unshare(CloneFlags::CLONE_NEWNET)?;
                File::open("/proc/thread-self/ns/net")
            });
            made.join().expect("making a namespace does not panic")
        });
        let file = opened.map_err(|cause| io::Error::new(cause.kind(), format!("a namespace for {name}: {cause}")))?;
        Ok(Self { name: name.to_owned(), file })
    }

    /// A path by which other programs can open it while this process lives.
    pub(super) fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd())
    }

    /// Moves the calling thread into the namespace, for good. Sockets keep the namespace they were made in.
    pub(super) fn enter(&self) -> io::Result<()> {
        setns(&self.file, CloneFlags::CLONE_NEWNET)?;
        Ok(())
    }

    /// Runs a closure on a thread of its own inside the namespace. Panics inside go on outside.
    pub(super) fn inside<T: Send>(&self, body: impl FnOnce() -> T + Send) -> T {
        let result = thread::scope(|scope| {
            let running = scope.spawn(|| {
                self.enter().unwrap_or_else(|error| panic!("enter the namespace of {}: {error}", self.name));
                body()
            });
            running.join()
        });
        result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Sets kernel parameters (paths below `/proc/sys/net`) and runs scripts of `ip -batch` and `nft -f`, where not
    /// empty.
    pub(super) fn configure(&self, parameters: &[(&str, &str)], ip: &str, nft: &str) -> io::Result<()> {
        self.inside(|| {
            for (path, value) in parameters {
                let path = format!("/proc/sys/net/{path}");
                fs::write(&path, value)
                    .map_err(|cause| io::Error::new(cause.kind(), format!("{}: write {path}: {cause}", self.name)))?;
            }
            self.feed("ip", &["-batch", "-"], ip)?;
            self.feed("nft", &["-f", "-"], nft)
        })
    }

    /// Waits until all interfaces that were taken up work: the kernel notices links with a delay, and until then drops
    /// what is sent.
    pub(super) fn wait_until_running(&self) -> io::Result<()> {
        let begun = Instant::now();
        loop {
            let waiting: Vec<String> = self.inside(|| -> nix::Result<Vec<String>> {
                let is_waiting = |flags: InterfaceFlags| {
                    flags.contains(InterfaceFlags::IFF_UP) && !flags.contains(InterfaceFlags::IFF_RUNNING)
                };
                let interfaces = getifaddrs()?.filter(|entry| is_waiting(entry.flags));
                Ok(interfaces.map(|entry| entry.interface_name).collect())
            })?;
            if waiting.is_empty() {
                return Ok(());
            }
            if begun.elapsed() > PATIENCE {
                return Err(io::Error::other(format!("{}: {waiting:?} do not come up", self.name)));
            }
            thread::sleep(GLANCE);
        }
    }

    /// Runs a program with a script as its input on the calling thread, which must be inside.
    fn feed(&self, program: &str, arguments: &[&str], script: &str) -> io::Result<()> {
        if script.is_empty() {
            return Ok(());
        }
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|cause| io::Error::new(cause.kind(), format!("start {program}: {cause}")))?;
        // These programs read all of their input before they say anything, so one after the other cannot block.
        let written = child.stdin.take().expect("asked for a pipe").write_all(script.as_bytes());
        let output = child.wait_with_output()?;
        if output.status.success() {
            return written;
        }
        // Both programs quote or number the line.
        let said = String::from_utf8_lossy(&output.stderr);
        let script = if program == "ip" { script } else { "" };
        Err(io::Error::other(format!("{}: {program} refused: {}\n{script}", self.name, said.trim())))
    }
}
