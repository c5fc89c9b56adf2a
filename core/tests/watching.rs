//! A host that follows a directory: real files, the operating system's own reports.
//! Not here: when a file counts as at rest or moved, which the machine's own tests cover with time as they like.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use dig_nat_core::ErrorKind;
use dig_nat_core::api::{EventStream, FileHost, FileInfo};
use dig_nat_core::base::events::Event;
use dig_nat_core::base::ids::FileHash;
use dig_nat_core::base::options::{HostOptions, NodeOptions, WatchOptions};

/// Longest any single step may take; generous, because the machine may be busy.
const DEADLINE: Duration = Duration::from_secs(120);

fn node() -> NodeOptions {
    NodeOptions { local_only: true, interfaces: vec!["lo".into()], local_enabled: false, ..NodeOptions::default() }
}

/// Short, so that the tests are; long enough that a slow machine does not take a pause for the end.
fn options() -> WatchOptions {
    WatchOptions { stability_ms: 400, ..WatchOptions::default() }
}

async fn watching(path: &Path, options: WatchOptions) -> (FileHost, EventStream, Vec<FileInfo>) {
    let host = FileHost::new(node(), HostOptions::default()).expect("valid options");
    let events = host.subscribe();
    let files = host.watch_directory(path, options).await.expect("watched");
    (host, events, files)
}

/// What is shared, by path relative to the directory.
fn shared(host: &FileHost, root: &Path) -> BTreeMap<String, FileHash> {
    let name = |path: &Path| path.strip_prefix(root).expect("inside").display().to_string();
    host.files().iter().map(|file| (name(&file.path), file.hash)).collect()
}

/// Waits for an event, with those before it passed over.
async fn event(events: &mut EventStream, wanted: impl Fn(&Event) -> bool) -> Event {
    let waiting = async {
        loop {
            let event = events.next().await.expect("the host runs");
            if wanted(&event) {
                return event;
            }
        }
    };
    tokio::time::timeout(DEADLINE, waiting).await.expect("the event before the deadline")
}

async fn added(events: &mut EventStream, path: &Path) -> FileHash {
    let text = path.display().to_string();
    match event(events, |event| matches!(event, Event::FileAdded { path, .. } if *path == text)).await {
        Event::FileAdded { hash, .. } => hash,
        _ => unreachable!(),
    }
}

async fn removed(events: &mut EventStream, path: &Path) -> FileHash {
    let text = path.display().to_string();
    match event(events, |event| matches!(event, Event::FileRemoved { path, .. } if *path == text)).await {
        Event::FileRemoved { hash, .. } => hash,
        _ => unreachable!(),
    }
}

fn write(path: &Path, content: &str) -> FileHash {
    fs::create_dir_all(path.parent().expect("in a directory")).expect("a directory");
    fs::write(path, content).expect("written");
    FileHash::of(content.as_bytes())
}

/// Writes other content of the same length without a trace in the metadata: whoever believes in the old content has not
/// read the file again.
fn write_secretly(path: &Path, content: &str) {
    let modified = fs::metadata(path).and_then(|metadata| metadata.modified()).expect("modified");
    let mut file = fs::OpenOptions::new().write(true).open(path).expect("there");
    file.write_all(content.as_bytes()).expect("written");
    file.set_modified(modified).expect("set");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_followed_through_their_lives() {
    let dir = tempfile::tempdir().expect("a directory");
    let root = dir.path();
    let old = write(&root.join("old"), "was there");
    let (host, mut events, first) = watching(root, options()).await;
    // A file written a moment ago has to come to rest first; then it is among those that were there, or told of.
    if first.is_empty() {
        assert_eq!(added(&mut events, &root.join("old")).await, old);
    }
    let one = root.join("one");
    let hash = write(&one, "first");
    assert_eq!(added(&mut events, &one).await, hash);
    let hash = write(&one, "second");
    assert_eq!(added(&mut events, &one).await, hash);
    assert_eq!(shared(&host, root), BTreeMap::from([("old".into(), old), ("one".into(), hash)]));
    // Replaced at once, as careful programs write.
    let new = write(&root.join("one.new"), "third");
    fs::rename(root.join("one.new"), &one).expect("renamed");
    assert_eq!(added(&mut events, &one).await, new);
    assert!(!host.has_file(&hash));
    // Moved into a new directory, which moves too.
    fs::create_dir(root.join("sub")).expect("made");
    fs::rename(&one, root.join("sub").join("one")).expect("renamed");
    assert_eq!(added(&mut events, &root.join("sub").join("one")).await, new);
    fs::rename(root.join("sub"), root.join("other")).expect("renamed");
    assert_eq!(added(&mut events, &root.join("other").join("one")).await, new);
    assert_eq!(shared(&host, root), BTreeMap::from([("old".into(), old), ("other/one".into(), new)]));
    fs::remove_dir_all(root.join("other")).expect("removed");
    assert_eq!(removed(&mut events, &root.join("other").join("one")).await, new);
    assert!(!host.has_file(&new) && host.has_file(&old));
    host.stop().await.expect("stopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_still_being_written_is_not_shared() {
    let dir = tempfile::tempdir().expect("a directory");
    let options = WatchOptions { stability_ms: 2000, ..WatchOptions::default() };
    let (host, mut events, _) = watching(dir.path(), options).await;
    let path = dir.path().join("slow");
    let mut file = fs::File::create(&path).expect("created");
    let mut content = Vec::new();
    // Longer than the file may rest, in all; a pause that the machine makes longer than that is not the library's.
    let (mut longest, mut last) = (Duration::ZERO, Instant::now());
    for _ in 0..25 {
        file.write_all(b"more").expect("written");
        content.extend_from_slice(b"more");
        tokio::time::sleep(Duration::from_millis(100)).await;
        longest = longest.max(last.elapsed());
        last = Instant::now();
    }
    let hash = added(&mut events, &path).await;
    if longest < Duration::from_secs(1) {
        assert_eq!(hash, FileHash::of(&content), "shared before it was whole");
    }
    host.stop().await.expect("stopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_files_at_once_are_all_shared_and_all_withdrawn() {
    const FILES: usize = 2000;
    let dir = tempfile::tempdir().expect("a directory");
    let root = dir.path();
    let (host, _events, _) = watching(root, options()).await;
    let begun = Instant::now();
    // In new directories three deep, where the system has no watch yet.
    for number in 0..FILES {
        write(&root.join(format!("{}/{}/{number}", number % 7, number % 5)), &number.to_string());
    }
    let wait_for = async |count: usize| {
        while host.files().len() != count {
            assert!(begun.elapsed() < DEADLINE, "{} of {count} files", host.files().len());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    wait_for(FILES).await;
    println!("{FILES} files shared {:?} after the first was written", begun.elapsed());
    let shared = shared(&host, root);
    assert!((0..FILES).all(|number| {
        let path = format!("{}/{}/{number}", number % 7, number % 5);
        shared.get(&path) == Some(&FileHash::of(number.to_string().as_bytes()))
    }));
    for top in 0..7 {
        fs::remove_dir_all(root.join(top.to_string())).expect("removed");
    }
    wait_for(0).await;
    host.stop().await.expect("stopped");
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn nothing_outside_and_nothing_unwanted_is_shared() {
    let (dir, outside) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    let root = dir.path();
    write(&outside.path().join("secret.txt"), "secret");
    let options = WatchOptions {
        include_extensions: vec!["TXT".into()],
        exclude_extensions: vec![".bak".into()],
        max_file_size: 10,
        ..options()
    };
    let (host, mut events, _) = watching(root, options).await;
    std::os::unix::fs::symlink(outside.path(), root.join("directory")).expect("linked");
    std::os::unix::fs::symlink(outside.path().join("secret.txt"), root.join("file.txt")).expect("linked");
    write(&outside.path().join("later.txt"), "later");
    write(&root.join("a.txt.bak"), "backup");
    write(&root.join(".a.txt.0123abcd.part"), "part");
    write(&root.join(".dig-nat-tools/key.txt"), "state");
    write(&root.join("large.txt"), "more than ten bytes");
    // Written last, so that all others had their chance when it is shared.
    let hash = write(&root.join("a.txt"), "wanted");
    assert_eq!(added(&mut events, &root.join("a.txt")).await, hash);
    assert_eq!(shared(&host, root), BTreeMap::from([("a.txt".into(), hash)]));
    // One that grows too large is withdrawn.
    write(&root.join("a.txt"), "not wanted any more");
    assert_eq!(removed(&mut events, &root.join("a.txt")).await, hash);
    host.stop().await.expect("stopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_content_is_shared_as_long_as_one_file_has_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let root = dir.path();
    let (host, mut events, _) = watching(root, options()).await;
    let hash = write(&root.join("one"), "twice");
    write(&root.join("two"), "twice");
    added(&mut events, &root.join("one")).await;
    added(&mut events, &root.join("two")).await;
    // The one that is served from goes; the other takes its place.
    assert_eq!(shared(&host, root), BTreeMap::from([("two".into(), hash)]));
    fs::remove_file(root.join("two")).expect("removed");
    removed(&mut events, &root.join("two")).await;
    added(&mut events, &root.join("one")).await;
    assert_eq!(shared(&host, root), BTreeMap::from([("one".into(), hash)]));
    // It gets other content, and the other file the old one.
    write(&root.join("two"), "twice");
    let other = write(&root.join("one"), "other");
    added(&mut events, &root.join("two")).await;
    while shared(&host, root) != BTreeMap::from([("one".into(), other), ("two".into(), hash)]) {
        event(&mut events, |event| matches!(event, Event::FileAdded { .. })).await;
    }
    host.stop().await.expect("stopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_moved_file_and_a_restarted_host_read_nothing_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let (state, root) = (dir.path().join("state"), dir.path().join("files"));
    let hash = write(&root.join("one"), "content");
    let start = async || {
        let node = NodeOptions { persistence_dir: Some(state.clone()), ..node() };
        let options = HostOptions { directory: Some(root.clone()), enable_watcher: true, ..HostOptions::default() };
        let host = FileHost::new(node, options).expect("valid options");
        let events = host.subscribe();
        host.start().await.expect("started");
        (host, events)
    };
    let (host, mut events) = start().await;
    assert_eq!(added(&mut events, &root.join("one")).await, hash);
    write_secretly(&root.join("one"), "CONTENT");
    fs::rename(root.join("one"), root.join("two")).expect("renamed");
    assert_eq!(added(&mut events, &root.join("two")).await, hash, "it was read again");
    host.stop().await.expect("stopped");
    // The host that has the cache open.
    drop(host);
    let (host, mut events) = start().await;
    assert_eq!(added(&mut events, &root.join("two")).await, hash, "it was read again");
    host.stop().await.expect("stopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn watching_ends_when_it_is_told_to_and_a_lost_directory_is_awaited() {
    let dir = tempfile::tempdir().expect("a directory");
    let root = dir.path().join("files");
    let hash = write(&root.join("one"), "one");
    let (host, mut events, _) = watching(&root, options()).await;
    while !host.has_file(&hash) {
        added(&mut events, &root.join("one")).await;
    }
    let error = host.watch_directory(&root, options()).await.expect_err("watched already");
    assert_eq!(error.kind(), ErrorKind::InvalidState);
    let missing: PathBuf = dir.path().join("missing");
    let error = host.watch_directory(&missing, options()).await.expect_err("nothing there");
    assert_eq!(error.kind(), ErrorKind::FileNotFound);
    // The whole directory goes away and comes back.
    fs::rename(&root, dir.path().join("away")).expect("renamed");
    assert_eq!(removed(&mut events, &root.join("one")).await, hash);
    fs::rename(dir.path().join("away"), &root).expect("renamed");
    assert_eq!(added(&mut events, &root.join("one")).await, hash);
    let two = write(&root.join("two"), "two");
    assert_eq!(added(&mut events, &root.join("two")).await, two);
    assert!(host.unwatch_directory(&root).await.expect("a path"));
    assert!(!host.unwatch_directory(&root).await.expect("a path"));
    assert!(host.has_file(&hash), "what is shared stays shared");
    host.stop().await.expect("stopped");
}
