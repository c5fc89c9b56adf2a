//! Scanning awkward trees, and hashing many files with a cache that is really used.

use std::fs::File;
use std::time::SystemTime;

use super::*;
use crate::base::ids::FileHash;
use crate::store::part_file::PartFile;
use tempfile::tempdir;

fn write(path: &Path, data: &[u8]) {
    fs::create_dir_all(path.parent().expect("below something")).expect("create");
    fs::write(path, data).expect("write");
    // Long ago, so that it may be cached.
    let time = SystemTime::now() - Duration::from_secs(100);
    File::options().write(true).open(path).and_then(|file| file.set_modified(time)).expect("set time");
}

fn relative(root: &Path, files: &[PathBuf]) -> Vec<String> {
    files.iter().map(|path| path.strip_prefix(root).expect("below").to_string_lossy().replace('\\', "/")).collect()
}

fn hash(paths: &[PathBuf], cache: &HashCache) -> (Vec<Hashed>, HashProgress) {
    let last = Mutex::new(HashProgress::default());
    let results =
        hash_all(paths, cache, 0, &|progress| *last.lock().expect("sound") = progress, &AtomicBool::new(false));
    let last = *last.lock().expect("sound");
    (results, last)
}

#[test]
fn trees_are_listed_in_order_without_our_own_files() {
    let directory = tempdir().expect("temporary directory");
    let root = directory.path();
    for name in
        ["b.bin", "a/z", "a/a", "a.txt", ".hidden", ".dig-nat-tools/identity", "dig-nat-hashes.redb", "state/key"]
    {
        write(&root.join(name), b"x");
    }
    let part = PartFile::open(&root.join("movie.mkv"), &FileHash::of(b""), 10).expect("open");
    part.write_at(0, &[b"x"]).expect("write");
    assert_eq!(relative(root, &scan(root).expect("scan")), [".hidden", "a/a", "a/z", "a.txt", "b.bin", "state/key"]);
    let without = scan_without(root, &[root.join("state"), root.join("missing")]).expect("scan");
    assert_eq!(relative(root, &without), [".hidden", "a/a", "a/z", "a.txt", "b.bin"]);
}

#[cfg(unix)]
#[test]
fn links_neither_lead_outside_nor_in_circles() {
    use std::os::unix::fs::symlink;
    let (directory, outside) = (tempdir().expect("temporary directory"), tempdir().expect("temporary directory"));
    let root = directory.path();
    write(&root.join("sub/real"), b"x");
    write(&root.join(".dig-nat-tools/identity"), b"key");
    write(&outside.path().join("secret"), b"x");
    for (target, link) in [
        (root.join("sub/real"), "inside"),
        (outside.path().join("secret"), "outside"),
        (outside.path().to_owned(), "outside_directory"),
        (root.to_owned(), "sub/loop"),
        (root.join("nowhere"), "dangling"),
        (root.join("self"), "self"),
        (root.join(".dig-nat-tools/identity"), "disguised"),
    ] {
        symlink(target, root.join(link)).expect("link");
    }
    let excluded = [root.join(".dig-nat-tools")];
    assert_eq!(relative(root, &scan_without(root, &excluded).expect("scan")), ["inside", "sub/real"]);
    let through_link = outside.path().join("link_to_root");
    symlink(root, &through_link).expect("link");
    let listed = scan_without(&through_link, &excluded).expect("scan");
    assert_eq!(relative(&through_link, &listed), ["inside", "sub/real"]);
}

#[cfg(unix)]
#[test]
fn pipes_and_odd_names_are_handled() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let directory = tempdir().expect("temporary directory");
    let root = directory.path();
    std::os::unix::net::UnixListener::bind(root.join("socket")).expect("a special file");
    let odd = root.join(OsStr::from_bytes(b"\xff\xfe\n.bin"));
    write(&odd, b"x");
    let listed = scan(root).expect("scan");
    assert_eq!(listed, [odd]);
    let (results, _) = hash(&listed, &HashCache::in_memory());
    assert_eq!(results[0].1.as_ref().expect("hashed").1.hash(), FileHash::of(b"x"));
}

#[test]
fn directories_that_are_none_are_errors() {
    let directory = tempdir().expect("temporary directory");
    let file = directory.path().join("file");
    write(&file, b"x");
    assert_eq!(scan(&file).expect_err("a file").kind(), ErrorKind::InvalidArgument);
    assert_eq!(scan(&directory.path().join("missing")).expect_err("missing").kind(), ErrorKind::FileNotFound);
    assert!(scan(tempdir().expect("temporary directory").path()).expect("empty").is_empty());
}

#[test]
fn a_thousand_files_are_answered_from_the_cache_the_second_time() {
    let directory = tempdir().expect("temporary directory");
    let root = directory.path().join("shared");
    let content = |number: usize| format!("file number {number}").repeat(number);
    for number in 0..1000 {
        write(&root.join(format!("{:02}/{number}", number % 37)), content(number).as_bytes());
    }
    let paths = scan(&root).expect("scan");
    let state = directory.path().join("state");
    let (first, progress) = hash(&paths, &HashCache::open(&state));
    assert_eq!((progress.files_done, progress.files_cached), (1000, 0));
    for (path, result) in &first {
        let number: usize = path.file_name().expect("name").to_string_lossy().parse().expect("number");
        let (fingerprint, description) = result.as_ref().expect("hashed");
        assert_eq!(description.hash(), FileHash::of(content(number).as_bytes()));
        assert_eq!(fingerprint.length(), content(number).len() as u64);
    }
    assert_eq!(first.iter().map(|(path, _)| path).collect::<Vec<_>>(), paths.iter().collect::<Vec<_>>());

    let cache = HashCache::open(&state);
    assert_eq!(cache.len(), 1000);
    // A lie in the cache shows where answers come from.
    let poison = FileHash::of(b"poison");
    let victim = first.iter().position(|(path, _)| path.ends_with("27/27")).expect("listed");
    let (fingerprint, description) = first[victim].1.as_ref().expect("hashed");
    let lie = Description::trivial(poison, description.layout()).expect("one piece");
    cache.put(&paths[victim], fingerprint, &lie);

    let (second, progress) = hash(&paths, &cache);
    assert_eq!((progress.files_done, progress.files_cached), (1000, 1000));
    let bytes: u64 = (0..1000).map(|number| content(number).len() as u64).sum();
    assert_eq!((progress.bytes_done, progress.bytes_total), (bytes, bytes));
    for (index, ((_, first), (_, second))) in first.iter().zip(&second).enumerate() {
        let (first, second) = (first.as_ref().expect("hashed"), second.as_ref().expect("cached"));
        assert_eq!(second.1.hash(), if index == victim { poison } else { first.1.hash() });
    }

    write(&paths[victim], b"now something else");
    let (third, progress) = hash(&paths, &cache);
    assert_eq!(progress.files_cached, 999);
    assert_eq!(third[victim].1.as_ref().expect("hashed").1.hash(), FileHash::of(b"now something else"));
}

#[test]
fn failures_stay_with_their_file() {
    let directory = tempdir().expect("temporary directory");
    let good = directory.path().join("good");
    write(&good, b"x");
    let paths = [directory.path().join("missing"), good, directory.path().to_owned()];
    let (results, progress) = hash(&paths, &HashCache::in_memory());
    let kinds: Vec<_> = results.iter().map(|(_, result)| result.as_ref().err().map(Error::kind)).collect();
    assert_eq!(kinds, [Some(ErrorKind::FileNotFound), None, Some(ErrorKind::InvalidArgument)]);
    assert_eq!((progress.files_done, progress.files_total, progress.bytes_done), (3, 3, 1));
    assert!(hash(&[], &HashCache::in_memory()).0.is_empty());
}

#[test]
fn cancelling_keeps_what_was_hashed() {
    let directory = tempdir().expect("temporary directory");
    let paths: Vec<_> = (0..20).map(|number| directory.path().join(number.to_string())).collect();
    // Descending sizes: one thread takes them in the order of the list.
    for (number, path) in paths.iter().enumerate() {
        write(path, &vec![number as u8; 2_000_000 - number]);
    }
    let cache = HashCache::in_memory();
    let cancel = AtomicBool::new(false);
    let done = AtomicUsize::new(0);
    // The callback is rate limited, so cancelling is tied to the work itself: cancelled before the start, nothing runs.
    cancel.store(true, Ordering::Relaxed);
    let results = hash_all(&paths, &cache, 1, &|progress| done.store(progress.files_done, Ordering::Relaxed), &cancel);
    assert!(results.iter().all(|(_, result)| result.as_ref().is_err_and(|error| error.kind() == ErrorKind::Cancelled)));
    assert!(cache.is_empty());
    assert_eq!(done.load(Ordering::Relaxed), 20);
    cancel.store(false, Ordering::Relaxed);
    assert!(hash_all(&paths, &cache, 1, &|_| {}, &cancel).iter().all(|(_, result)| result.is_ok()));
    assert_eq!(cache.len(), 20);
}

#[test]
fn jobs_run_once_and_answers_keep_their_order() {
    for (threads, count) in [(1, 10), (4, 0), (4, 3), (4, 1000)] {
        let runs = AtomicUsize::new(0);
        let results = in_parallel(threads, count, &|index, _| {
            runs.fetch_add(1, Ordering::Relaxed);
            index * 2
        });
        assert_eq!(runs.into_inner(), count);
        assert_eq!(results, (0..count).map(|index| index * 2).collect::<Vec<_>>());
    }
    assert_eq!((thread_count(3), thread_count(10_000)), (3, limits::MAX_HASH_THREADS));
    assert!(thread_count(0) >= 1);
}
