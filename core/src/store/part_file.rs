//! The file a download is written into: hidden, beside its target, sparse, locked, and renamed when it is complete.
//! Not here: which bytes are right. Nothing in a part file is trusted: after a crash its data is checked piece by piece,
//! so no second file says what was finished, and a kill at any moment leaves a part file that can be resumed.
//!
//! Cut power is covered by the same rule: what did not reach the disk reads as zeros and fails its check.
//! [`PartFile::finish`] renames, so that the target's name appears whole or not at all.
//!
//! A length is only somebody's word until the download is complete, so data behind it is cut off by `finish` and not
//! before: a peer that claims a shorter file cannot destroy what an earlier run has got.
//!
//! Disk space is not reserved: a sparse file of 100 GB is created at once on all common Unix file systems. NTFS fills
//! the gap with zeros when something is first written behind it, unless the file is marked sparse, which `std` cannot do.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};

use bytes::Bytes;

use super::{atomic, names, positional, space};
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::ids::FileHash;
use crate::base::limits;

/// Attempts to open a part file that another process finishes or discards at the same moment.
const OPEN_ATTEMPTS: usize = 5;

/// A part file, open and locked. All methods take `&self`; share it behind an `Arc`.
///
/// Dropping it keeps what was written, for a later [`PartFile::open`]; a part file that never held data is removed.
#[derive(Debug)]
pub struct PartFile {
    file: File,
    part: PathBuf,
    target: PathBuf,
    length: AtomicU64,
    had_data: bool,
    written: AtomicBool,
    /// Writers hold it shared, finishing and discarding exclusively: nothing is written to a finished file.
    stage: RwLock<Stage>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Open,
    Finished,
    Discarded,
}

impl PartFile {
    /// Opens or creates the part file of a download of `length` bytes.
    ///
    /// `FileNotFound`: the target's directory does not exist. `FileBusy`: another download, of any process, holds the
    /// same part file. `DiskFull`: the rest of the file does not fit. `InvalidArgument`: the target is a directory or
    /// no possible file name.
    pub fn open(target: &Path, hash: &FileHash, length: u64) -> Result<Self> {
        let directory = atomic::directory_of(target);
        let Some(name) = target.file_name() else {
            return Err(Error::invalid("target", format_args!("{} does not name a file", target.display())));
        };
        check_directory(directory)?;
        check_target(target)?;
        let part = directory.join(names::part_name(&name.to_string_lossy(), hash));
        let file = open_locked(&part, &mut || {})?;

        let failed = |error| Error::io(format!("prepare {}", part.display()), error);
        let metadata = file.metadata().map_err(failed)?;
        let had_data = metadata.len() > 0 && !data_ranges(&file, metadata.len()).is_empty();
        let opened = Self {
            file,
            part: part.clone(),
            target: target.to_owned(),
            length: AtomicU64::new(length),
            had_data,
            written: AtomicBool::new(false),
            stage: RwLock::new(Stage::Open),
        };
        // From here on an error drops `opened`, which removes a part file without data.
        space::require(directory, length.saturating_sub(allocated(&metadata)))?;
        grow(&opened.file, length).map_err(failed)?;
        Ok(opened)
    }

    /// Size of the finished file in bytes.
    pub fn length(&self) -> u64 {
        self.length.load(Ordering::Acquire)
    }

    /// Where the part file lies.
    pub fn path(&self) -> &Path {
        &self.part
    }

    /// Where the finished file is to go.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// An earlier run left data here: worth checking what of it is right.
    pub const fn had_data(&self) -> bool {
        self.had_data
    }

    /// Byte ranges that may hold data; everything else reads as zeros. The whole file where the system cannot tell.
    /// Gaps smaller than the smallest piece are not reported, which bounds the list. Ask before writing new data.
    pub fn data_ranges(&self) -> Vec<Range<u64>> {
        data_ranges(&self.file, self.length())
    }

    /// Writes the parts one after the other, starting at `offset`.
    ///
    /// Fails with `DiskFull` when the disk is full (nothing is lost: free space, write again), `InvalidArgument` if the
    /// bytes do not lie inside the file, `InvalidState` after [`Self::finish`] or [`Self::discard`].
    pub fn write_at<P: AsRef<[u8]>>(&self, offset: u64, parts: &[P]) -> Result<()> {
        let stage = self.stage.read().unwrap_or_else(PoisonError::into_inner);
        self.check_open(*stage)?;
        let total: u64 = parts.iter().map(|part| part.as_ref().len() as u64).sum();
        self.check_range(offset, total)?;
        self.written.store(true, Ordering::Relaxed);
        let mut position = offset;
        for part in parts {
            let part = part.as_ref();
            positional::write_all_at(&self.file, part, position)
                .map_err(|error| Error::io(format!("write {}", self.part.display()), error))?;
            position += part.len() as u64;
        }
        Ok(())
    }

    /// Fills the buffer from `offset`. Works after [`Self::finish`] as well, on the same data.
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        self.check_range(offset, buffer.len() as u64)?;
        positional::read_exact_at(&self.file, buffer, offset)
            .map_err(|error| Error::with_source(ErrorKind::Io, format!("read {}", self.part.display()), error))
    }

    /// Reads a range into a buffer of its own.
    pub fn read_bytes(&self, offset: u64, length: u32) -> Result<Bytes> {
        self.check_range(offset, u64::from(length))?;
        let mut buffer = vec![0; length as usize];
        self.read_at(offset, &mut buffer)?;
        Ok(buffer.into())
    }

    /// Changes the length, when the description it came from turned out false. No data is lost, see the module's head.
    pub fn resize(&self, length: u64) -> Result<()> {
        let stage = self.stage.write().unwrap_or_else(PoisonError::into_inner);
        self.check_open(*stage)?;
        let failed = |error| Error::io(format!("resize {}", self.part.display()), error);
        let held = allocated(&self.file.metadata().map_err(failed)?);
        space::require(atomic::directory_of(&self.part), length.saturating_sub(held))?;
        grow(&self.file, length).map_err(failed)?;
        self.length.store(length, Ordering::Release);
        Ok(())
    }

    /// Gives the file its name; returns where it is.
    ///
    /// The name appears at once and whole for every process, also after a crash of this one. What a power cut leaves is
    /// the system's affair, as with other copying programs: waiting for the disk here was measured to cut a download's
    /// rate to that of the disk (117 MB/s where the rest of the pipeline did 350).
    ///
    /// An existing target is replaced atomically if `overwrite`, else the file becomes `name (1).ext` or the next free
    /// number. After an error the part file is still there and `finish` may be called again.
    pub fn finish(&self, overwrite: bool) -> Result<PathBuf> {
        let mut stage = self.stage.write().unwrap_or_else(PoisonError::into_inner);
        self.check_open(*stage)?;
        let failed = |error| Error::io(format!("finish {}", self.target.display()), error);
        self.file.set_len(self.length()).map_err(failed)?;
        let path = if overwrite {
            fs::rename(&self.part, &self.target).map_err(failed)?;
            self.target.clone()
        } else {
            self.rename_to_free_name()?
        };
        *stage = Stage::Finished;
        self.unlock();
        Ok(path)
    }

    /// Removes the part file. Further writes fail with `InvalidState`. Does nothing when finished or discarded.
    pub fn discard(&self) -> Result<()> {
        let mut stage = self.stage.write().unwrap_or_else(PoisonError::into_inner);
        if *stage != Stage::Open {
            return Ok(());
        }
        fs::remove_file(&self.part).map_err(|error| Error::io(format!("remove {}", self.part.display()), error))?;
        *stage = Stage::Discarded;
        self.unlock();
        Ok(())
    }

    fn rename_to_free_name(&self) -> Result<PathBuf> {
        let name = self.target.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        for number in 0..=limits::MAX_NUMBERED_NAMES {
            let path = match number {
                0 => self.target.clone(),
                _ => self.target.with_file_name(names::numbered_name(&name, number)),
            };
            match rename_new(&self.part, &path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(Error::io(format!("finish {}", path.display()), error)),
                Ok(()) => return Ok(path),
            }
        }
        let text = format!("{}: all numbered names are taken", self.target.display());
        Err(Error::new(ErrorKind::LimitReached, text))
    }

    fn check_open(&self, stage: Stage) -> Result<()> {
        let problem = match stage {
            Stage::Open => return Ok(()),
            Stage::Finished => "is finished",
            Stage::Discarded => "was discarded",
        };
        Err(Error::new(ErrorKind::InvalidState, format!("{} {problem}", self.part.display())))
    }

    fn check_range(&self, offset: u64, count: u64) -> Result<()> {
        let length = self.length();
        if offset.checked_add(count).is_some_and(|end| end <= length) {
            return Ok(());
        }
        Err(Error::invalid("range", format_args!("{count} bytes at {offset} of {length} bytes")))
    }

    fn unlock(&self) {
        // The lock also ends with the handle; releasing it early matters on Windows, where it keeps readers out.
        if let Err(error) = fs4::FileExt::unlock(&self.file) {
            tracing::debug!(path = %self.part.display(), %error, "unlock");
        }
    }
}

impl Drop for PartFile {
    fn drop(&mut self) {
        let stage = *self.stage.get_mut().unwrap_or_else(PoisonError::into_inner);
        let useless = !self.had_data && !*self.written.get_mut();
        if stage == Stage::Open && useless {
            // Still locked, so nobody else can have put data into it.
            let _ = fs::remove_file(&self.part);
        }
    }
}

fn check_directory(directory: &Path) -> Result<()> {
    match fs::metadata(directory) {
        Ok(metadata) if metadata.is_dir() => Ok(()),
        Ok(_) => Err(Error::invalid("target", format_args!("{} is not a directory", directory.display()))),
        Err(error) => Err(Error::io(format!("target directory {}", directory.display()), error)),
    }
}

/// Finds at the start what would otherwise fail at the very end.
fn check_target(target: &Path) -> Result<()> {
    match fs::metadata(target) {
        Ok(metadata) if metadata.is_dir() => {
            Err(Error::invalid("target", format_args!("{} is a directory", target.display())))
        }
        Err(error) if error.kind() == io::ErrorKind::InvalidFilename => {
            Err(Error::io(format!("target {}", target.display()), error))
        }
        _ => Ok(()),
    }
}

/// `between` is called after opening and before locking, where others may act; tests do.
fn open_locked(part: &Path, between: &mut dyn FnMut()) -> Result<File> {
    let failed = |error| Error::io(format!("open {}", part.display()), error);
    let busy = || Error::new(ErrorKind::FileBusy, format!("{} is used by another download", part.display()));
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    // A link planted under this name must not lead the download elsewhere, nor may a pipe block it.
    #[cfg(unix)]
    {
        use rustix::fs::OFlags;
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, flags.bits() as i32);
    }
    for _ in 0..OPEN_ATTEMPTS {
        let file = options.open(part).map_err(failed)?;
        if !file.metadata().map_err(failed)?.is_file() {
            return Err(Error::invalid("target", format_args!("{} is not a regular file", part.display())));
        }
        between();
        match fs4::FileExt::try_lock(&file) {
            Ok(()) => {}
            Err(fs4::TryLockError::WouldBlock) => return Err(busy()),
            Err(fs4::TryLockError::Error(error)) => {
                // Some network file systems have no locks. Two downloads there would only disturb each other: what
                // they read back is checked.
                tracing::warn!(path = %part.display(), %error, "file cannot be locked");
            }
        }
        // Between opening and locking, its owner may have given the file its final name or removed it.
        if is_still(part, &file) {
            return Ok(file);
        }
    }
    Err(busy())
}

#[cfg(unix)]
fn is_still(path: &Path, file: &File) -> bool {
    use std::os::unix::fs::MetadataExt;
    let identity = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    let (here, there) = (file.metadata().map(identity), fs::symlink_metadata(path).map(identity));
    matches!((here, there), (Ok(here), Ok(there)) if here == there)
}

#[cfg(not(unix))]
fn is_still(path: &Path, _file: &File) -> bool {
    path.exists()
}

/// Makes the file at least this long; reads inside the claimed length then never meet its end.
fn grow(file: &File, length: u64) -> io::Result<()> {
    if file.metadata()?.len() < length { file.set_len(length) } else { Ok(()) }
}

/// Bytes of disk a file already takes; writing them again needs no new space.
#[cfg(unix)]
fn allocated(metadata: &fs::Metadata) -> u64 {
    // POSIX counts in 512 bytes whatever the file system's block size.
    std::os::unix::fs::MetadataExt::blocks(metadata).saturating_mul(512)
}

#[cfg(not(unix))]
fn allocated(metadata: &fs::Metadata) -> u64 {
    metadata.len()
}

/// Renames unless the new name exists (`AlreadyExists`).
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    match fs::hard_link(from, to) {
        // The second name is complete; a crash before this removal leaves both, which is harmless.
        Ok(()) => fs::remove_file(from),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(error),
        // No hard links here (FAT, some network shares): look first, then rename.
        Err(_) if fs::symlink_metadata(to).is_ok() => Err(io::ErrorKind::AlreadyExists.into()),
        Err(_) => fs::rename(from, to),
    }
}

#[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple", target_os = "freebsd"))]
fn data_ranges(file: &File, length: u64) -> Vec<Range<u64>> {
    use rustix::fs::{SeekFrom, seek};
    use rustix::io::Errno;
    let mut ranges: Vec<Range<u64>> = Vec::new();
    let mut position = 0;
    while position < length {
        let start = match seek(file, SeekFrom::Data(position)) {
            Ok(start) if start < length => start,
            Ok(_) | Err(Errno::NXIO) => break,
            // Unknown to this file system: everything may be data.
            Err(_) => return whole(length),
        };
        let Ok(end) = seek(file, SeekFrom::Hole(start)) else { return whole(length) };
        let end = end.clamp(start + 1, length);
        match ranges.last_mut() {
            Some(last) if start - last.end < u64::from(limits::MIN_PIECE_BYTES) => last.end = end,
            _ => ranges.push(start..end),
        }
        position = end;
    }
    ranges
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple", target_os = "freebsd")))]
fn data_ranges(_file: &File, length: u64) -> Vec<Range<u64>> {
    whole(length)
}

#[allow(clippy::single_range_in_vec_init, reason = "a list of ranges that has one")]
fn whole(length: u64) -> Vec<Range<u64>> {
    if length == 0 { Vec::new() } else { vec![0..length] }
}

#[cfg(test)]
mod tests;
