//! Bounds of directory watching. Not here: those of hashing and sharing (`limits`).

use std::time::Duration;

/// Directories one node watches. Each costs a thread and a watch of the operating system per subdirectory.
pub const MAX_WATCHED_DIRECTORIES: usize = 64;
/// Paths reported by the operating system that wait to be looked at; beyond it the whole directory is looked through
/// instead, which finds the same.
pub const WATCH_QUEUE: usize = 65_536;
/// Changes handed over at once: enough to keep all cores hashing, few enough that the first are shared soon.
pub const WATCH_BATCH: usize = 1000;
/// Batches waiting to be shared; the watcher then waits, and what happens meanwhile is found later.
pub const WATCH_BATCHES: usize = 2;
/// How long a file that is gone may turn up under another name before it counts as removed. Both halves of a move are
/// reported within milliseconds, but a busy machine looks at them later.
pub const WATCH_MOVE_WAIT: Duration = Duration::from_millis(500);
/// How often a watched directory is looked through although nothing was reported: network file systems report nothing
/// of what others do.
pub const WATCH_RESCAN_INTERVAL: Duration = Duration::from_secs(10 * 60);
/// Pause between two looks through the whole directory, so that one in which always something overflows does not keep
/// the disk busy.
pub const WATCH_RESCAN_PAUSE: Duration = Duration::from_secs(1);
/// How often a directory that cannot be watched is looked through.
pub const WATCH_POLL_INTERVAL: Duration = Duration::from_secs(2);
