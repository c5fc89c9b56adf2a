//! Part files through their whole life: created, killed, resumed, contested, finished.

use super::*;
use tempfile::{TempDir, tempdir};

const MIB: u64 = 1024 * 1024;

struct Place {
    directory: TempDir,
    hash: FileHash,
}

impl Place {
    fn new() -> Self {
        Self { directory: tempdir().expect("temporary directory"), hash: FileHash::of(b"wanted") }
    }

    fn target(&self) -> PathBuf {
        self.directory.path().join("movie.mkv")
    }

    fn open(&self, length: u64) -> Result<PartFile> {
        PartFile::open(&self.target(), &self.hash, length)
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.directory.path()).expect("list");
        let mut names: Vec<_> =
            entries.map(|entry| entry.expect("entry").file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }
}

fn kind<T: std::fmt::Debug>(result: Result<T>) -> ErrorKind {
    result.expect_err("must fail").kind()
}

#[test]
fn a_download_in_any_order_becomes_the_target() {
    let place = Place::new();
    let part = place.open(11).expect("open");
    assert!(!part.had_data());
    part.write_at(6, &[b"wor".as_slice(), b"", b"ld"]).expect("write");
    part.write_at(0, &[Bytes::from_static(b"hello ")]).expect("write");
    assert!(names::is_own(&place.names()[0]), "{:?}", place.names());
    assert_eq!(part.finish(true).expect("finish"), place.target());
    assert_eq!(fs::read(place.target()).expect("read"), b"hello world");
    assert_eq!(place.names(), ["movie.mkv"]);
    assert_eq!(part.read_bytes(6, 5).expect("readable for serving"), "world");
    assert_eq!(kind(part.write_at(0, &[b"x"])), ErrorKind::InvalidState);
    assert_eq!(kind(part.finish(true)), ErrorKind::InvalidState);
    part.discard().expect("nothing to do");
    drop(part);
    assert_eq!(place.names(), ["movie.mkv"]);
}

#[test]
fn an_empty_file_is_finished_at_once() {
    let place = Place::new();
    let part = place.open(0).expect("open");
    assert!(part.data_ranges().is_empty());
    part.finish(true).expect("finish");
    assert_eq!(fs::metadata(place.target()).expect("exists").len(), 0);
}

#[test]
fn data_of_a_killed_run_is_found_again() {
    let place = Place::new();
    let length = 64 * MIB;
    let part = place.open(length).expect("open");
    part.write_at(8 * MIB, &[vec![1; MIB as usize]]).expect("write");
    part.write_at(length - MIB, &[vec![2; MIB as usize]]).expect("write");
    // As after kill -9: the handle goes, nothing is tidied up.
    drop(part);
    let part = place.open(length).expect("open again");
    assert!(part.had_data());
    let ranges = part.data_ranges();
    let covers = |offset| ranges.iter().any(|range| range.contains(&offset));
    assert!(covers(8 * MIB) && covers(9 * MIB - 1) && covers(length - MIB) && covers(length - 1), "{ranges:?}");
    #[cfg(target_os = "linux")]
    assert_eq!(ranges, [8 * MIB..9 * MIB, length - MIB..length]);
    assert_eq!(part.read_bytes(length - 1, 1).expect("read"), [2u8].as_slice());
}

#[test]
fn small_gaps_are_not_reported() {
    let place = Place::new();
    let part = place.open(MIB).expect("open");
    for offset in [0, 32 * 1024, 512 * 1024] {
        part.write_at(offset, &[[1; 4096]]).expect("write");
    }
    #[cfg(target_os = "linux")]
    assert_eq!(part.data_ranges(), [0..36 * 1024, 512 * 1024..516 * 1024]);
}

#[test]
fn a_part_file_without_data_is_not_left_behind() {
    let place = Place::new();
    drop(place.open(MIB).expect("open"));
    assert!(place.names().is_empty());
    let part = place.open(MIB).expect("open");
    part.write_at(0, &[b"x"]).expect("write");
    drop(part);
    assert_eq!(place.names().len(), 1, "data is kept");
    let part = place.open(MIB).expect("open");
    drop(part);
    assert_eq!(place.names().len(), 1, "also when nothing was added");
    place.open(MIB).expect("open").discard().expect("discard");
    assert!(place.names().is_empty());
}

#[test]
fn one_download_at_a_time() {
    let place = Place::new();
    let first = place.open(100).expect("open");
    let error = place.open(100).expect_err("locked");
    assert_eq!(error.kind(), ErrorKind::FileBusy);
    assert!(error.context().contains(".movie.mkv."), "{error}");
    let other = PartFile::open(&place.target(), &FileHash::of(b"other"), 100).expect("another hash is another part");
    drop((first, other));
    let part = place.open(100).expect("free again");
    part.write_at(0, &[[1; 100]]).expect("write");
    part.finish(true).expect("finish");
    place.open(100).expect("a finished download does not block the next one");
}

#[test]
fn a_file_finished_while_being_opened_is_left_alone() {
    for finish in [true, false] {
        let place = Place::new();
        let mut owner = Some(place.open(8).expect("open"));
        let path = owner.as_ref().expect("just opened").path().to_owned();
        owner.as_ref().expect("just opened").write_at(0, &[b"complete"]).expect("write");
        // The owner is done exactly between our opening and our locking.
        let file = open_locked(&path, &mut || match owner.take() {
            Some(owner) if finish => drop(owner.finish(true).expect("finish")),
            Some(owner) => owner.discard().expect("discard"),
            None => {}
        });
        let file = file.expect("a fresh part file");
        assert_eq!(file.metadata().expect("metadata").len(), 0, "not the file that was finished");
        assert_eq!(kind(place.open(8)), ErrorKind::FileBusy, "and it is the one that is locked");
        assert_eq!(fs::read(place.target()).ok(), finish.then(|| b"complete".to_vec()));
    }
}

#[test]
fn impossible_targets_are_refused_at_the_start() {
    let place = Place::new();
    let open = |path: &Path| PartFile::open(path, &place.hash, 1);
    let missing = place.directory.path().join("missing");
    let error = open(&missing.join("a.bin")).expect_err("no directory");
    assert_eq!(error.kind(), ErrorKind::FileNotFound);
    assert!(error.context().contains(&missing.display().to_string()), "{error}");
    assert_eq!(kind(open(place.directory.path())), ErrorKind::InvalidArgument);
    assert_eq!(kind(open(&place.directory.path().join(".."))), ErrorKind::InvalidArgument);
    assert_eq!(kind(open(&place.directory.path().join("x".repeat(300)))), ErrorKind::InvalidArgument);
    let long = place.directory.path().join("é".repeat(127));
    let part = open(&long).expect("255 bytes are fine");
    part.write_at(0, &[b"x"]).expect("write");
    assert_eq!(part.finish(true).expect("finish"), long);
    assert_eq!(kind(open(&long.join("a.bin"))), ErrorKind::InvalidArgument);
}

#[test]
fn a_file_that_cannot_fit_is_refused_with_numbers() {
    let place = Place::new();
    let error = place.open(limits::MAX_FILE_BYTES * 1024).expect_err("32 PiB");
    assert_eq!(error.kind(), ErrorKind::DiskFull);
    assert!(error.context().contains(&(limits::MAX_FILE_BYTES * 1024).to_string()), "{error}");
    assert!(place.names().is_empty(), "no empty part file is left");
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_a_typed_error() {
    use crate::base::error::Error;
    let full = File::options().write(true).open("/dev/full").expect("open");
    let error = positional::write_all_at(&full, b"x", 0).expect_err("always full");
    assert_eq!(Error::io("write", error).kind(), ErrorKind::DiskFull);
}

#[test]
fn writes_stay_inside_the_file() {
    let place = Place::new();
    let part = place.open(10).expect("open");
    for offset in [8, 11, u64::MAX] {
        assert_eq!(kind(part.write_at(offset, &[b"abc"])), ErrorKind::InvalidArgument);
        assert_eq!(kind(part.read_bytes(offset, 3)), ErrorKind::InvalidArgument);
    }
    part.write_at(7, &[b"abc"]).expect("up to the end");
    assert_eq!(fs::metadata(part.path()).expect("exists").len(), 10);
}

#[test]
fn another_length_keeps_the_data_that_fits() {
    let place = Place::new();
    let part = place.open(4).expect("open");
    part.write_at(0, &[b"abcd"]).expect("write");
    part.resize(8).expect("longer");
    part.write_at(4, &[b"efgh"]).expect("write");
    assert_eq!(kind(part.resize(limits::MAX_FILE_BYTES * 1024)), ErrorKind::DiskFull);
    drop(part);
    drop(place.open(1).expect("a liar claims less"));
    let part = place.open(6).expect("shorter");
    assert!(part.had_data());
    assert_eq!(kind(part.read_bytes(0, 8)), ErrorKind::InvalidArgument);
    part.resize(8).expect("the truth after all");
    assert_eq!(part.read_bytes(0, 8).expect("nothing is lost"), "abcdefgh");
    part.resize(6).expect("shorter");
    part.finish(true).expect("finish");
    assert_eq!(fs::read(place.target()).expect("read"), b"abcdef");
}

#[test]
fn existing_targets_are_replaced_or_kept() {
    let place = Place::new();
    fs::write(place.target(), b"old").expect("write");
    let finish = |overwrite| {
        let part = place.open(3).expect("open");
        part.write_at(0, &[b"new"]).expect("write");
        part.finish(overwrite).expect("finish")
    };
    assert_eq!(finish(false), place.directory.path().join("movie (1).mkv"));
    assert_eq!(finish(false), place.directory.path().join("movie (2).mkv"));
    assert_eq!(fs::read(place.target()).expect("read"), b"old");
    assert_eq!(finish(true), place.target());
    assert_eq!(fs::read(place.target()).expect("read"), b"new");
    assert_eq!(place.names(), ["movie (1).mkv", "movie (2).mkv", "movie.mkv"]);
}

#[test]
fn a_failed_finish_can_be_repeated() {
    let place = Place::new();
    let part = place.open(3).expect("open");
    part.write_at(0, &[b"new"]).expect("write");
    fs::create_dir(place.target()).expect("in the way");
    part.finish(true).expect_err("a directory is not replaced");
    fs::remove_dir(place.target()).expect("out of the way");
    part.finish(true).expect("now it works");
    assert_eq!(fs::read(place.target()).expect("read"), b"new");
}

#[cfg(unix)]
#[test]
fn a_planted_link_is_not_followed() {
    for exists in [true, false] {
        let place = Place::new();
        let victim = place.directory.path().join("victim");
        if exists {
            fs::write(&victim, b"precious").expect("write");
        }
        let part = place.directory.path().join(names::part_name("movie.mkv", &place.hash));
        std::os::unix::fs::symlink(&victim, part).expect("link");
        place.open(3).expect_err("a link");
        assert_eq!(fs::read(&victim).ok(), exists.then(|| b"precious".to_vec()), "neither changed nor created");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn huge_files_are_sparse() {
    use std::os::unix::fs::MetadataExt;
    let place = Place::new();
    let available = fs4::available_space(place.directory.path()).expect("known here");
    // As large as the disk allows, so that the test means something on small disks too.
    let length = (available / 2).min(100 * 1024 * MIB);
    let part = place.open(length).expect("open");
    part.write_at(length - 1, &[b"x"]).expect("write at the far end");
    assert!(fs::metadata(part.path()).expect("exists").blocks() * 512 < MIB);
    let ranges = part.data_ranges();
    assert_eq!(ranges.len(), 1);
    assert!(ranges[0].end == length && ranges[0].start >= length - MIB, "{ranges:?}");
}
