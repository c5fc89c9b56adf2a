//! CPU time and memory of a process, read from `/proc` (Linux) until it ends.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Between two looks at a process; what it does after the last one is not seen.
const INTERVAL: Duration = Duration::from_millis(10);
/// Unit of CPU times in `/proc` on every Linux that matters.
const TICKS_PER_SECOND: f64 = 100.0;

/// What a process used.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// CPU seconds of all threads, from the start of the measurement on.
    pub cpu_seconds: f64,
    /// Most resident memory ever, in MB.
    pub max_resident_mb: f64,
}

/// Watches one process.
pub struct Meter {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Usage>,
}

impl Meter {
    /// Watches from now on.
    pub fn start(process: u32) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let before = cpu_seconds(&process.to_string()).unwrap_or(0.0);
        let thread = std::thread::spawn(move || {
            let process = process.to_string();
            let mut usage = Usage::default();
            while let Some(cpu) = cpu_seconds(&process) {
                usage.cpu_seconds = cpu - before;
                usage.max_resident_mb = max_resident_mb(&process).unwrap_or(usage.max_resident_mb);
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                std::thread::sleep(INTERVAL);
            }
            usage
        });
        Self { stop, thread }
    }

    /// What was seen until now, or until the process ended.
    pub fn stop(self) -> Usage {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("only reads files")
    }
}

/// CPU seconds of a process so far, `None` when it is gone. `self` is this one.
pub fn cpu_seconds(process: &str) -> Option<f64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The second field is the program's name in brackets and may contain spaces.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let user: f64 = fields.nth(11)?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS_PER_SECOND)
}

fn max_resident_mb(process: &str) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: f64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib * 1024.0 / 1e6)
}
