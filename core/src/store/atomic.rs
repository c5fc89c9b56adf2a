//! Small files that are either the old or the new version, never half of one: write beside, flush, rename.
//! Not here: large files (`part_file`) and tables (`hash_cache`).

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};

use super::names;
use crate::base::error::{Error, Result};

/// Replaces or creates a file. A crash leaves the old version, and at worst a hidden temporary file beside it.
pub fn write(path: &Path, data: &[u8]) -> Result<()> {
    write_with(path, data, false)
}

/// The same for secrets: only the user can read the file (Unix mode 0600; elsewhere the directory's rules apply).
pub fn write_private(path: &Path, data: &[u8]) -> Result<()> {
    write_with(path, data, true)
}

/// Makes a rename in this directory survive a power cut, where the system offers it. Failure is not an error: some
/// file systems refuse, and the rename itself has happened.
pub fn sync_directory(directory: &Path) {
    // Windows flushes metadata itself and cannot open directories this way.
    #[cfg(unix)]
    if let Err(error) = File::open(directory).and_then(|handle| handle.sync_all()) {
        tracing::debug!(directory = %directory.display(), %error, "directory not flushed");
    }
    #[cfg(not(unix))]
    let _ = directory;
}

/// The directory a path lies in; `.` for a bare name.
pub fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => path,
    }
}

fn write_with(path: &Path, data: &[u8], private: bool) -> Result<()> {
    let failed = |error| Error::io(format!("write {}", path.display()), error);
    let temporary = temporary_beside(path)?;
    let result = fill(&temporary, data, private).and_then(|()| fs::rename(&temporary, path));
    if result.is_err() {
        // Best effort: the first error is the one to report.
        let _ = fs::remove_file(&temporary);
    }
    result.map_err(failed)?;
    sync_directory(directory_of(path));
    Ok(())
}

fn fill(temporary: &Path, data: &[u8], private: bool) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    if private {
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    }
    #[cfg(not(unix))]
    let _ = private;
    let mut file = options.open(temporary)?;
    file.write_all(data)?;
    file.sync_all()
}

/// A name no other writer uses: of this process by the counter, of others by the process id.
fn temporary_beside(path: &Path) -> Result<PathBuf> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let Some(name) = path.file_name() else {
        return Err(Error::invalid("path", format_args!("{} does not name a file", path.display())));
    };
    let unique = format!("{:x}-{:x}", process::id(), COUNTER.fetch_add(1, Ordering::Relaxed));
    Ok(directory_of(path).join(names::temporary_name(&name.to_string_lossy(), &unique)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::error::ErrorKind;

    #[test]
    fn files_are_replaced_whole_and_nothing_is_left_over() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("state.json");
        write(&path, b"a longer first version").expect("create");
        write(&path, b"second").expect("replace");
        assert_eq!(fs::read(&path).expect("read"), b"second");
        assert_eq!(fs::read_dir(directory.path()).expect("list").count(), 1);
    }

    #[test]
    fn failures_leave_the_old_version_and_no_litter() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let missing = directory.path().join("missing").join("state.json");
        assert_eq!(write(&missing, b"x").expect_err("no directory").kind(), ErrorKind::FileNotFound);
        let occupied = directory.path().join("occupied");
        fs::create_dir(&occupied).expect("create");
        write(&occupied, b"x").expect_err("a directory is not replaced");
        assert_eq!(fs::read_dir(directory.path()).expect("list").count(), 1);
        assert_eq!(write(Path::new("/"), b"x").expect_err("no name").kind(), ErrorKind::InvalidArgument);
    }

    #[cfg(unix)]
    #[test]
    fn secrets_are_readable_by_the_user_only() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("identity");
        write(&path, b"open before").expect("create");
        write_private(&path, b"key").expect("replace");
        assert_eq!(fs::metadata(&path).expect("exists").permissions().mode() & 0o777, 0o600);
    }
}
