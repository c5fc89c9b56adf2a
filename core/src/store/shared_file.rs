//! A file that is shared as it is: hashed once, then read at any position, and never served after it changed.
//! Not here: which files are shared, remembering hashes (`hash_cache`), directories (`directory`).
//!
//! Change is noticed by the fingerprint (size, modification time, identity). A change that keeps all of them goes
//! unnoticed here, but not at the receiver, where every piece is proven.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use super::positional;
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::limits;
use crate::content::{Describer, Description};

/// What tells one version of a file from another: size, modification time in nanoseconds, and the file's identity on
/// its device (Unix: device and inode; elsewhere the creation time).
#[derive(Clone, Copy, Debug)]
pub struct Fingerprint {
    pub(super) length: u64,
    /// Since 1970, negative before; ends in 2262.
    pub(super) modified_ns: i64,
    pub(super) device: u64,
    pub(super) inode: u64,
    /// The file was left alone for longer than its clock ticks, so a later change will show. Not part of identity.
    settled: bool,
}

impl PartialEq for Fingerprint {
    fn eq(&self, other: &Self) -> bool {
        (self.length, self.modified_ns, self.device, self.inode)
            == (other.length, other.modified_ns, other.device, other.inode)
    }
}

impl Eq for Fingerprint {}

impl Fingerprint {
    /// Takes the fingerprint of a path, following links. Fails with `FileNotFound`, or `InvalidArgument` if it is not
    /// a regular file.
    pub fn of(path: &Path) -> Result<Self> {
        let metadata = std::fs::metadata(path).map_err(|error| Error::io(format!("open {}", path.display()), error))?;
        Self::of_regular(path, &metadata)
    }

    /// Size in bytes.
    pub const fn length(&self) -> u64 {
        self.length
    }

    /// Whether a change after this fingerprint was taken is sure to alter it. False for a file written a moment ago:
    /// a second write within one tick of the file system's clock keeps the modification time.
    pub const fn is_settled(&self) -> bool {
        self.settled
    }

    fn of_regular(path: &Path, metadata: &Metadata) -> Result<Self> {
        if metadata.is_file() {
            return Ok(Self::new(metadata, SystemTime::now()));
        }
        Err(Error::invalid("path", format_args!("{} is not a regular file", path.display())))
    }

    fn new(metadata: &Metadata, now: SystemTime) -> Self {
        let modified_ns = nanoseconds(metadata.modified().unwrap_or(UNIX_EPOCH));
        // Kernel clocks tick every 1 to 10 ms. Whole seconds mean a file system that counts in one or two of them.
        let tick = if modified_ns % 1_000_000_000 == 0 { Duration::from_secs(2) } else { Duration::from_millis(20) };
        let age = u128::from(nanoseconds(now).abs_diff(modified_ns));
        let (device, inode) = identity(metadata);
        Self { length: metadata.len(), modified_ns, device, inode, settled: age > tick.as_nanos() }
    }

    /// Rebuilds a stored fingerprint. It was settled, or it would not have been stored.
    pub(super) const fn restored(length: u64, modified_ns: i64, device: u64, inode: u64) -> Self {
        Self { length, modified_ns, device, inode, settled: true }
    }
}

/// An open shared file. Reads are positional, so one handle serves any number of threads.
#[derive(Debug)]
pub struct SharedFile {
    file: File,
    path: PathBuf,
    fingerprint: Fingerprint,
}

impl SharedFile {
    /// Opens a regular file for reading. Fails with `FileNotFound`, `PermissionDenied`, or `InvalidArgument` if it is
    /// a directory, device or pipe.
    pub fn open(path: &Path) -> Result<Self> {
        // Asked first, because merely opening a device can have effects.
        Fingerprint::of(path)?;
        let failed = |error| Error::io(format!("open {}", path.display()), error);
        let mut options = OpenOptions::new();
        options.read(true);
        // A pipe put in the file's place meanwhile must not block the thread.
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, rustix::fs::OFlags::NONBLOCK.bits() as i32);
        let file = options.open(path).map_err(failed)?;
        let fingerprint = Fingerprint::of_regular(path, &file.metadata().map_err(failed)?)?;
        Ok(Self { file, path: path.to_owned(), fingerprint })
    }

    /// The version that was opened.
    pub const fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }

    /// Where it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads exactly this range. Fails with `FileChanged` if the file is not the version that was opened any more, and
    /// with `InvalidArgument` if the range does not lie inside the file.
    pub fn read_at(&self, offset: u64, length: u32) -> Result<Bytes> {
        let end = offset.checked_add(u64::from(length));
        if end.is_none_or(|end| end > self.fingerprint.length) {
            let text = format!("{length} bytes at {offset} of {} bytes", self.fingerprint.length);
            return Err(Error::invalid("range", text));
        }
        let mut buffer = vec![0; length as usize];
        match positional::read_exact_at(&self.file, &mut buffer, offset) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(self.changed()),
            Err(error) => return Err(self.failed(error)),
            Ok(()) => {}
        }
        // Looking after the read catches changes before and during it.
        self.check_unchanged()?;
        Ok(buffer.into())
    }

    /// Fails with `FileChanged` if the open file was written to since it was opened.
    pub fn check_unchanged(&self) -> Result<()> {
        let metadata = self.file.metadata().map_err(|error| self.failed(error))?;
        let now = Fingerprint::new(&metadata, SystemTime::now());
        if now == self.fingerprint { Ok(()) } else { Err(self.changed()) }
    }

    /// Reads the file once from start to end. See [`hash_file`].
    pub(super) fn describe(
        &self,
        buffer: &mut Vec<u8>,
        progress: &dyn Fn(u64),
        cancel: &AtomicBool,
    ) -> Result<Description> {
        let length = self.fingerprint.length;
        #[cfg(target_os = "linux")]
        if length > limits::HASH_BUFFER_BYTES as u64 {
            // Only advice: the kernel reads further ahead.
            let _ = rustix::fs::fadvise(&self.file, 0, None, rustix::fs::Advice::Sequential);
        }
        let wanted = length.min(limits::HASH_BUFFER_BYTES as u64) as usize;
        if buffer.len() < wanted {
            buffer.resize(wanted, 0);
        }
        let mut describer = Describer::new(length)?;
        while describer.taken() < length {
            if cancel.load(Ordering::Relaxed) {
                return Err(Error::new(ErrorKind::Cancelled, format!("hash {}", self.path.display())));
            }
            let room = (length - describer.taken()).min(wanted as u64) as usize;
            let count = positional::read_at(&self.file, &mut buffer[..room], describer.taken())
                .map_err(|error| self.failed(error))?;
            if count == 0 {
                return Err(self.changed());
            }
            describer.update(&buffer[..count])?;
            progress(count as u64);
        }
        self.check_unchanged()?;
        describer.finish()
    }

    fn failed(&self, error: io::Error) -> Error {
        // Not `Error::io`: reading an open file never means that a path is missing or a peer is gone.
        let kind =
            if error.kind() == io::ErrorKind::PermissionDenied { ErrorKind::PermissionDenied } else { ErrorKind::Io };
        Error::with_source(kind, format!("read {}", self.path.display()), error)
    }

    fn changed(&self) -> Error {
        Error::new(ErrorKind::FileChanged, format!("{} changed while it was shared", self.path.display()))
    }
}

/// Describes a file in one pass. `progress` is told the number of bytes of each step; `cancel` ends it with
/// `Cancelled`. Fails with `FileChanged` if the file is written to meanwhile.
pub fn hash_file(path: &Path, progress: &dyn Fn(u64), cancel: &AtomicBool) -> Result<(Fingerprint, Description)> {
    hash_file_with(&mut Vec::new(), path, progress, cancel)
}

/// The same with a buffer that is kept for the next file.
pub(super) fn hash_file_with(
    buffer: &mut Vec<u8>,
    path: &Path,
    progress: &dyn Fn(u64),
    cancel: &AtomicBool,
) -> Result<(Fingerprint, Description)> {
    let file = SharedFile::open(path)?;
    let description = file.describe(buffer, progress, cancel)?;
    Ok((file.fingerprint, description))
}

fn nanoseconds(time: SystemTime) -> i64 {
    let clamp = |duration: Duration| i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => clamp(after),
        Err(before) => -clamp(before.duration()),
    }
}

#[cfg(unix)]
fn identity(metadata: &Metadata) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt;
    (metadata.dev(), metadata.ino())
}

#[cfg(not(unix))]
fn identity(metadata: &Metadata) -> (u64, u64) {
    (0, metadata.created().map_or(0, |created| nanoseconds(created) as u64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::FileHash;
    use std::cell::Cell;
    use std::fs;

    static GO_ON: AtomicBool = AtomicBool::new(false);

    fn age(path: &Path, seconds: u64) {
        let file = File::options().write(true).open(path).expect("open");
        file.set_modified(SystemTime::now() - Duration::from_secs(seconds)).expect("set time");
    }

    #[test]
    fn hashing_reports_all_bytes_and_the_known_hash() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("a.bin");
        let data: Vec<u8> = (0..3_000_000u32).map(|i| (i % 251) as u8).collect();
        fs::write(&path, &data).expect("write");
        let seen = Cell::new(0);
        let (fingerprint, description) =
            hash_file(&path, &|bytes| seen.set(seen.get() + bytes), &GO_ON).expect("hashed");
        assert_eq!((seen.get(), fingerprint.length()), (3_000_000, 3_000_000));
        assert_eq!(description.hash(), FileHash::of(&data));
        let file = SharedFile::open(&path).expect("open");
        for piece in 0..description.layout().pieces() {
            let range = description.layout().range(piece);
            let bytes = file.read_at(range.offset, range.length).expect("read");
            assert!(description.piece_check(piece).check([&bytes[..]]));
        }
        assert_eq!(file.read_at(3_000_000, 0).expect("empty range at the end"), Bytes::new());
        for (offset, length) in [(3_000_000, 1), (u64::MAX, 2), (2_999_999, 2)] {
            let error = file.read_at(offset, length).expect_err("outside");
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        }
    }

    #[test]
    fn the_empty_file_can_be_shared() {
        let file = tempfile::NamedTempFile::new().expect("temporary file");
        let (_, description) = hash_file(file.path(), &|_| panic!("no bytes"), &GO_ON).expect("hashed");
        assert_eq!(description.hash(), FileHash::of(b""));
    }

    #[test]
    fn every_kind_of_change_is_noticed() {
        type Change = fn(&Path);
        let changes: [(&str, Change); 4] = [
            ("grown", |path| fs::write(path, vec![1; 2000]).expect("write")),
            ("shrunk", |path| fs::write(path, vec![1; 500]).expect("write")),
            ("same size", |path| fs::write(path, vec![2; 1000]).expect("write")),
            ("touched", |path| age(path, 5)),
        ];
        for (name, change) in changes {
            let directory = tempfile::tempdir().expect("temporary directory");
            let path = directory.path().join("a.bin");
            fs::write(&path, vec![1; 1000]).expect("write");
            age(&path, 100);
            let file = SharedFile::open(&path).expect("open");
            file.read_at(0, 1000).expect("unchanged");
            change(&path);
            assert_eq!(file.read_at(0, 100).expect_err(name).kind(), ErrorKind::FileChanged, "{name}");
            assert_ne!(*file.fingerprint(), Fingerprint::of(&path).expect("exists"), "{name}");
        }
    }

    #[test]
    fn a_change_while_hashing_is_noticed() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("a.bin");
        fs::write(&path, vec![1; 2 * limits::HASH_BUFFER_BYTES]).expect("write");
        age(&path, 100);
        let open = || File::options().write(true).open(&path).expect("open");
        let overwrite = |_| positional::write_all_at(&open(), b"x", 0).expect("write");
        let error = hash_file(&path, &overwrite, &GO_ON).expect_err("written to");
        assert_eq!(error.kind(), ErrorKind::FileChanged);
        let shorten = |_| open().set_len(100).expect("cut");
        assert_eq!(hash_file(&path, &shorten, &GO_ON).expect_err("cut").kind(), ErrorKind::FileChanged);
    }

    #[test]
    fn a_replaced_file_is_another_one() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let (path, other) = (directory.path().join("a.bin"), directory.path().join("b.bin"));
        let time = SystemTime::now() - Duration::from_secs(100);
        for path in [&path, &other] {
            fs::write(path, b"same").expect("write");
            File::options().write(true).open(path).and_then(|file| file.set_modified(time)).expect("set time");
        }
        let file = SharedFile::open(&path).expect("open");
        fs::rename(&other, &path).expect("replace");
        assert_eq!(file.read_at(0, 4).expect("the open version is intact"), "same");
        #[cfg(unix)]
        assert_ne!(*file.fingerprint(), Fingerprint::of(&path).expect("exists"));
    }

    #[test]
    fn only_files_left_alone_are_settled() {
        let file = tempfile::NamedTempFile::new().expect("temporary file");
        let metadata = file.as_file().metadata().expect("metadata");
        let modified = metadata.modified().expect("time");
        let at = |milliseconds| Fingerprint::new(&metadata, modified + Duration::from_millis(milliseconds));
        assert!(!at(0).is_settled());
        assert!(at(2001).is_settled());
        assert_eq!(at(0), at(2001), "the same version nonetheless");
    }

    #[test]
    fn what_is_not_a_file_is_refused() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let kind = |path: &Path| SharedFile::open(path).expect_err("refused").kind();
        assert_eq!(kind(directory.path()), ErrorKind::InvalidArgument);
        assert_eq!(kind(&directory.path().join("missing")), ErrorKind::FileNotFound);
        #[cfg(unix)]
        assert_eq!(kind(Path::new("/dev/null")), ErrorKind::InvalidArgument);
    }

    #[test]
    fn hashing_can_be_cancelled() {
        let file = tempfile::NamedTempFile::new().expect("temporary file");
        fs::write(file.path(), vec![0; 4 * limits::HASH_BUFFER_BYTES]).expect("write");
        let cancel = AtomicBool::new(false);
        let steps = Cell::new(0);
        let progress = |_| {
            steps.set(steps.get() + 1);
            cancel.store(true, Ordering::Relaxed);
        };
        assert_eq!(hash_file(file.path(), &progress, &cancel).expect_err("cancelled").kind(), ErrorKind::Cancelled);
        assert_eq!(steps.get(), 1);
    }
}
