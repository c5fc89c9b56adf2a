//! Many small files, the empty file, readable names, hostile names, and many clients at once, between real processes.

mod support;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use dig_nat_core::api::FileClient;
use dig_nat_core::base::ids::FileHash;
use dig_nat_core::base::options::{ClientOptions, DownloadOptions, NodeOptions};
use dig_nat_tests::files;
use dig_nat_tests::liar::{Liar, Lie};
use dig_nat_tests::process::DigNat;
use tokio::sync::Semaphore;

use support::{Host, PROGRAM, SOON, directory, get, get_with};

#[test]
fn a_thousand_small_files_of_a_directory() {
    let source = directory();
    std::fs::create_dir(source.path().join("below")).expect("writable");
    let mut hashes = HashSet::new();
    for index in 0..1000_u64 {
        let folder = if index % 2 == 0 { source.path().to_owned() } else { source.path().join("below") };
        // Sizes from 1 byte to 32 KiB, all different contents.
        hashes.insert(files::random_file(&folder.join(format!("{index:04}.bin")), 1 + index * 32, index));
    }
    let host = Host::share(&[source.path()]);
    let shared: HashSet<FileHash> = host.hashes().iter().map(|hash| hash.parse().expect("a hash")).collect();
    assert_eq!(shared, hashes);

    let target = directory();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let downloads = download_all(hashes.iter().copied().collect(), &host.address, target.path());
    runtime.block_on(async { tokio::time::timeout(SOON, downloads).await.expect("in time") });
    for hash in hashes {
        assert_eq!(files::sha256(&target.path().join(hash.to_string())), hash);
    }
}

/// Downloads with one client, 16 at a time; fails on the first error.
async fn download_all(hashes: Vec<FileHash>, peer: &str, target: &std::path::Path) {
    let node = NodeOptions {
        local_enabled: false,
        local_only: true,
        interfaces: vec!["lo".to_owned()],
        ..NodeOptions::default()
    };
    let client = FileClient::new(node, ClientOptions::default()).expect("valid options");
    client.start().await.expect("started");
    let at_once = Arc::new(Semaphore::new(16));
    let mut running = tokio::task::JoinSet::new();
    for hash in hashes {
        let (client, at_once) = (client.clone(), Arc::clone(&at_once));
        let options = DownloadOptions {
            save_path: Some(target.join(hash.to_string())),
            peers: vec![peer.to_owned()],
            ..DownloadOptions::default()
        };
        running.spawn(async move {
            let _permit = at_once.acquire().await.expect("never closed");
            client.download(dig_nat_core::base::ids::ContentKey::Hash(hash), options, None).wait().await
        });
    }
    while let Some(result) = running.join_next().await {
        result.expect("no panic").expect("downloaded");
    }
    client.stop().await.expect("stopped");
}

#[test]
fn the_empty_file() {
    let (source, target) = (directory(), directory());
    let file = source.path().join("empty.bin");
    let hash = files::random_file(&file, 0, 0);
    let host = Host::share(&[&file]);
    let ended = get(&hash.to_string(), &target.path().join("copy.bin"), &[&host.address]).end(SOON);
    assert_eq!(ended.assert_done()["size"], 0);
    assert_eq!(ended.line("progress")["fraction"], 1.0);
    assert_eq!(std::fs::metadata(target.path().join("copy.bin")).expect("there").len(), 0);
}

#[test]
fn a_file_by_its_readable_name_keeps_its_file_name() {
    let (source, target) = (directory(), directory());
    let file = source.path().join("überraschung 1.bin");
    let hash = files::random_file(&file, 300_000, 3);
    let host = Host::share_with(&[&file], &["--no-local", "--id", "a readable name"]);
    let ended = get("a readable name", target.path(), &[&host.address]).end(SOON);
    let result = ended.assert_done();
    assert_eq!(result["hash"], hash.to_string());
    assert_eq!(files::sha256(&target.path().join("überraschung 1.bin")), hash);
}

#[test]
fn names_from_peers_never_leave_the_target_directory() {
    let outer = directory();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let long = format!("{}.bin", "n".repeat(300));
    let names = ["../escaped", "..", "/tmp/dig-nat-escaped", "a\0b", "CON", "nul.txt", "a\\..\\b", "\n", "", &long];
    for (index, name) in names.into_iter().enumerate() {
        let target = outer.path().join(index.to_string());
        std::fs::create_dir(&target).expect("writable");
        let content: Vec<u8> = (0..100_000_u32).map(|byte| (byte as usize * (index + 3)) as u8).collect();
        let hash = FileHash::of(&content);
        let host = runtime.block_on(Liar::start(content.into(), Lie::Name(name.to_owned()))).expect("started");
        let ended = get(&hash.to_string(), &target, &[&host.address()]).end(SOON);
        if name.len() > 255 {
            // Longer than the protocol allows: the peer is refused, nothing is written.
            assert_eq!(ended.code, Some(3), "{name:?}: {ended:#?}");
            assert_eq!(std::fs::read_dir(&target).expect("readable").count(), 0);
        } else {
            let path = std::path::Path::new(ended.assert_done()["path"].as_str().expect("a path")).to_owned();
            let inside = std::fs::canonicalize(path.parent().expect("a directory")).expect("exists");
            assert_eq!(inside, std::fs::canonicalize(&target).expect("exists"), "{name:?} became {path:?}");
            let saved = path.file_name().expect("a name").to_string_lossy().to_lowercase();
            assert!(!["con", "nul.txt", "nul"].contains(&saved.as_str()), "{name:?} became {saved}");
            assert_eq!(files::sha256(&path), hash);
        }
        runtime.block_on(host.stop());
    }
    assert!(!std::path::Path::new("/tmp/dig-nat-escaped").exists());
    assert_eq!(std::fs::read_dir(outer.path()).expect("readable").count(), names.len(), "something escaped");
}

#[test]
fn sixty_four_clients_at_once() {
    let (source, target) = (directory(), directory());
    let file = source.path().join("popular.bin");
    let hash = files::random_file(&file, 4 << 20, 64);
    let host = Host::share(&[&file]);
    let clients: Vec<DigNat> = (0..64)
        .map(|index| get(&hash.to_string(), &target.path().join(format!("{index}.bin")), &[&host.address]))
        .collect();
    for client in clients {
        client.end(Duration::from_secs(180)).assert_done();
    }
    for index in 0..64 {
        assert_eq!(files::sha256(&target.path().join(format!("{index}.bin"))), hash);
    }
}

#[test]
fn two_processes_find_each_other_without_an_address() {
    let (source, target) = (directory(), directory());
    let file = source.path().join("near.bin");
    let hash = files::random_file(&file, 1 << 20, 99);
    let host = Host::share_with(&[&file], &[]);
    let copy = target.path().join("copy.bin");
    let arguments = ["get", &hash.to_string(), "-o", copy.to_str().expect("plain text")];
    let ended = DigNat::start(PROGRAM, arguments).end(SOON);
    ended.assert_done();
    let found = ended.line("peer:discovered");
    assert_eq!((&found["id"], &found["source"]), (&host.peer.as_str().into(), &"local".into()));
    assert_eq!(files::sha256(&copy), hash);
}

#[test]
fn a_download_limit_is_kept() {
    let (source, target) = (directory(), directory());
    let file = source.path().join("slow.bin");
    let hash = files::random_file(&file, 4 << 20, 5);
    let host = Host::share(&[&file]);
    let copy = target.path().join("copy.bin");
    let ended = get_with(&hash.to_string(), &copy, &[&host.address], &["--download-limit", "2MiB"]).end(SOON);
    let time = ended.assert_done()["totalTimeMs"].as_u64().expect("a number");
    // 4 MiB at 2 MiB/s: two seconds, less one second's worth that a bucket may hold at the start.
    assert!((900..10_000).contains(&time), "took {time} ms");
}
