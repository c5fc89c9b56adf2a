//! The cache remembers, forgets what changed, and survives damage of every kind.

use std::sync::atomic::AtomicBool;
use std::time::{Duration, SystemTime};

use super::*;
use crate::base::random::Jitter;
use crate::store::shared_file::hash_file;
use tempfile::{TempDir, tempdir};

struct Place {
    directory: TempDir,
}

impl Place {
    fn new() -> Self {
        Self { directory: tempdir().expect("temporary directory") }
    }

    fn cache(&self) -> HashCache {
        HashCache::open(&self.directory.path().join("state"))
    }

    fn cache_file(&self) -> PathBuf {
        self.directory.path().join("state").join(names::HASH_CACHE)
    }

    /// A file last written some time ago, hashed.
    fn file(&self, name: &str, size: usize) -> CacheEntry {
        let path = self.directory.path().join(name);
        fs::write(&path, vec![7; size]).expect("write");
        set_age(&path, 100);
        hash(&path)
    }

    /// A closed cache with some files in it.
    fn filled(&self) -> Vec<CacheEntry> {
        let entries: Vec<_> = (0..50).map(|number| self.file(&format!("{number}.bin"), 70_000 * number)).collect();
        self.cache().put_all(&entries);
        entries
    }
}

fn set_age(path: &Path, seconds: u64) {
    let file = fs::File::options().write(true).open(path).expect("open");
    file.set_modified(SystemTime::now() - Duration::from_secs(seconds)).expect("set time");
}

fn hash(path: &Path) -> CacheEntry {
    let (fingerprint, description) = hash_file(path, &|_| {}, &AtomicBool::new(false)).expect("hashed");
    (path.to_owned(), fingerprint, description)
}

fn found(cache: &HashCache, entry: &CacheEntry) -> bool {
    match cache.get(&entry.0, &entry.1) {
        Some(description) => {
            assert_eq!(description, entry.2, "an answer is always the right one");
            true
        }
        None => false,
    }
}

#[test]
fn descriptions_survive_a_restart() {
    let place = Place::new();
    let entries = place.filled();
    let cache = place.cache();
    assert_eq!(cache.len(), 50);
    assert!(entries.iter().all(|entry| found(&cache, entry)));
    assert_eq!(cache.get(Path::new("/elsewhere"), &entries[0].1), None);
}

#[test]
fn a_changed_file_is_not_found() {
    let place = Place::new();
    let cache = HashCache::in_memory();
    assert!(cache.is_empty());
    let entry = place.file("a.bin", 1000);
    cache.put(&entry.0, &entry.1, &entry.2);
    assert!(found(&cache, &entry));
    set_age(&entry.0, 50);
    let changed = hash(&entry.0);
    assert!(!found(&cache, &changed), "touched");
    cache.put(&changed.0, &changed.1, &changed.2);
    assert!(found(&cache, &changed) && !found(&cache, &entry), "one version per path");
    assert_eq!(cache.len(), 1);
}

#[test]
fn files_written_a_moment_ago_are_not_remembered() {
    let place = Place::new();
    let path = place.directory.path().join("a.bin");
    fs::write(&path, b"fresh").expect("write");
    set_age(&path, 0);
    let entry = hash(&path);
    // Hashing is quick, but not promised to be; what counts is what the fingerprint says.
    let cache = HashCache::in_memory();
    cache.put(&entry.0, &entry.1, &entry.2);
    assert_eq!(found(&cache, &entry), entry.1.is_settled());
}

#[test]
fn a_second_process_works_without_the_file() {
    let place = Place::new();
    let first = place.cache();
    let entry = place.file("a.bin", 1000);
    let second = place.cache();
    second.put(&entry.0, &entry.1, &entry.2);
    assert!(found(&second, &entry), "in memory");
    assert!(!found(&first, &entry));
    first.put(&entry.0, &entry.1, &entry.2);
    assert!(found(&first, &entry), "undisturbed");
}

#[test]
fn a_directory_that_cannot_be_made_is_no_error() {
    let place = Place::new();
    let entry = place.file("a.bin", 1000);
    let cache = HashCache::open(&entry.0.join("below a file"));
    cache.put(&entry.0, &entry.1, &entry.2);
    assert!(found(&cache, &entry));
}

#[test]
fn garbage_is_set_aside() {
    for garbage in [b"not a database".to_vec(), vec![0; 8192], vec![0xff; 100_000]] {
        let place = Place::new();
        fs::create_dir(place.directory.path().join("state")).expect("create");
        fs::write(place.cache_file(), &garbage).expect("write");
        let cache = place.cache();
        let entry = place.file("a.bin", 1000);
        cache.put(&entry.0, &entry.1, &entry.2);
        drop(cache);
        assert!(found(&place.cache(), &entry), "the fresh file works");
        assert_eq!(fs::read(place.cache_file().with_extension("redb.damaged")).expect("kept"), garbage);
    }
}

#[test]
fn a_truncated_file_is_set_aside() {
    let place = Place::new();
    let entries = place.filled();
    let file = fs::File::options().write(true).open(place.cache_file()).expect("open");
    let length = file.metadata().expect("metadata").len();
    file.set_len(length / 2).expect("cut");
    drop(file);
    let cache = place.cache();
    assert!(!entries.iter().any(|entry| found(&cache, entry)));
    cache.put_all(&entries);
    assert!(entries.iter().all(|entry| found(&cache, entry)));
}

#[test]
fn flipped_bits_never_give_a_wrong_answer() {
    let place = Place::new();
    let entries = place.filled();
    let intact = fs::read(place.cache_file()).expect("read");
    let mut jitter = Jitter::from_seed(11);
    let mut set_aside = 0;
    for round in 0..30 {
        let mut damaged = intact.clone();
        // The head of the file always, then anywhere.
        let at = if round < 10 { round * 32 } else { jitter.below(damaged.len()) };
        damaged[at] ^= 1 << jitter.below(8);
        fs::write(place.cache_file(), damaged).expect("write");
        let aside = place.cache_file().with_extension("redb.damaged");
        let _ = fs::remove_file(&aside);
        let cache = place.cache();
        for entry in &entries {
            found(&cache, entry);
        }
        cache.put_all(&entries);
        assert!(entries.iter().all(|entry| found(&cache, entry)), "works again, damaged at {at}");
        set_aside += u32::from(aside.exists());
    }
    assert!(set_aside > 0, "some of the damage must have been noticed");
}

#[test]
fn damaged_values_are_misses() {
    let place = Place::new();
    let entry = place.file("a.bin", 200_000);
    let key = key(&entry.0).expect("absolute");
    let value = encode(&key, &entry.1, &entry.2);
    assert_eq!(value.len(), 1 + 4 * 8 + 32 + 4 + 8 + 3 * 32);
    assert_eq!(decode(&key, &value).expect("intact"), (entry.1, entry.2));
    for at in 0..value.len() {
        let mut damaged = value.clone();
        damaged[at] ^= 1;
        assert!(decode(&key, &damaged).is_none(), "byte {at}");
        assert!(decode(&key, &value[..at]).is_none(), "cut at {at}");
    }
    assert!(decode(b"another path", &value).is_none());
}
