//! The main job in one process over loopback: share, find, download, prove; through the facade only.
//! Not here: hostile peers and many processes, which the process tests of the workspace cover.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use dig_nat_core::ErrorKind;
use dig_nat_core::api::{
    CallbackRequest, DownloadResult, FileCallback, FileClient, FileHost, Message, NetworkManager, ProgressFn, Task,
};
use dig_nat_core::base::events::{Event, Progress};
use dig_nat_core::base::ids::{ContentKey, FileHash, PeerId};
use dig_nat_core::base::options::{
    AddFileOptions, ClientOptions, DownloadOptions, FindOptions, HostOptions, NodeOptions,
};

/// Longest any single step may take; generous, because the machine may be busy.
const DEADLINE: Duration = Duration::from_secs(60);

fn node() -> NodeOptions {
    NodeOptions { local_only: true, interfaces: vec!["lo".into()], local_enabled: false, ..NodeOptions::default() }
}

fn local_node() -> NodeOptions {
    NodeOptions { local_enabled: true, ..node() }
}

fn data(length: usize, seed: u8) -> Vec<u8> {
    let mut state = u32::from(seed) + 1;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..length).map(|_| next()).collect()
}

fn file(dir: &Path, name: &str, content: &[u8]) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, content).expect("write a test file");
    path
}

fn client() -> FileClient {
    FileClient::new(node(), ClientOptions::default()).expect("valid options")
}

async fn host_of(path: &Path, options: NodeOptions) -> (FileHost, ContentKey) {
    let host = FileHost::new(options, HostOptions::default()).expect("valid options");
    host.start().await.expect("start");
    let info = host.add_file(path, AddFileOptions::default()).await.expect("share");
    (host, ContentKey::Hash(info.hash))
}

fn from(host: &FileHost, target: &Path) -> DownloadOptions {
    DownloadOptions {
        save_path: Some(target.to_owned()),
        peers: vec![format!("127.0.0.1:{}", host.port())],
        discover: Some(false),
        ..DownloadOptions::default()
    }
}

async fn within<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, what).await.expect("within the deadline")
}

fn recorder() -> (ProgressFn, Arc<Mutex<Vec<Progress>>>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&seen);
    (Arc::new(move |progress: &Progress| sink.lock().expect("not poisoned").push(progress.clone())), seen)
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_every_size_arrive_with_first_and_last_progress() {
    let dir = tempfile::tempdir().expect("temporary directory");
    for length in [0, 1, 63, 64, 65_535, 65_536, 65_537, 1_000_000, 20_000_000] {
        let content = data(length, 7);
        let (host, key) = host_of(&file(dir.path(), "source.bin", &content), node()).await;
        let client = client();
        let target = dir.path().join(format!("copy-{length}"));
        let (on_progress, seen) = recorder();
        let result = within(client.download(key.clone(), from(&host, &target), Some(on_progress)).wait()).await;
        let result = result.unwrap_or_else(|error| panic!("{length} bytes: {}", error.full_message()));
        assert_eq!(std::fs::read(&target).expect("the copy"), content, "{length} bytes");
        assert_eq!(result.path, target);
        assert_eq!(result.size, length as u64);
        assert_eq!(result.resumed_bytes, 0);
        assert!(result.average_speed.is_finite());
        let seen = std::mem::take(&mut *seen.lock().expect("not poisoned"));
        let (first, last) = (seen.first().expect("a first"), seen.last().expect("a last"));
        assert_eq!((first.bytes, first.fraction), (0, 0.0));
        assert_eq!((last.bytes, last.total), (length as u64, length as u64));
        assert!((last.fraction - 1.0).abs() < f64::EPSILON);
        assert!(seen.iter().all(|state| state.fraction.is_finite() && state.rate.is_finite()));
        let leftovers: Vec<_> = std::fs::read_dir(dir.path())
            .expect("list")
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|name| name.starts_with('.'))
            .collect();
        assert!(leftovers.is_empty(), "{leftovers:?}");
        client.stop().await.expect("stop");
        host.stop().await.expect("stop");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn found_on_the_local_network_by_hash_and_by_content_id() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let content = data(300_000, 3);
    let path = file(dir.path(), "film.bin", &content);
    let host = FileHost::new(local_node(), HostOptions::default()).expect("valid options");
    host.start().await.expect("start");
    let mut events = host.subscribe();
    let id = format!("my film {}", host.port());
    let options = AddFileOptions { content_id: Some(id.clone()), ..AddFileOptions::default() };
    let info = host.add_file(&path, options).await.expect("share");
    assert_eq!(host.hash_for_content(&id), Some(info.hash));
    let added = async {
        loop {
            if let Event::FileAdded { content_id, .. } = events.next().await.expect("the host lives") {
                return content_id;
            }
        }
    };
    assert_eq!(within(added).await, Some(id.clone()));
    let client = FileClient::new(local_node(), ClientOptions::default()).expect("valid options");
    for (number, key) in [ContentKey::Hash(info.hash), id.parse().expect("a content id")].into_iter().enumerate() {
        let out = dir.path().join(format!("out{number}"));
        std::fs::create_dir(&out).expect("create");
        let options = DownloadOptions { output_dir: Some(out.clone()), ..DownloadOptions::default() };
        let result = within(client.download(key, options, None).wait()).await.expect("download");
        assert_eq!(result.path, out.join("film.bin"), "the name comes from the host");
        assert_eq!(std::fs::read(result.path).expect("the copy"), content);
    }
    let found =
        within(client.find_peers(ContentKey::Hash(info.hash), FindOptions { max_peers: 1, timeout_ms: 30_000 }));
    let found = found.await.expect("search");
    assert_eq!(found.len(), 1);
    assert_eq!(Some(found[0].id.as_str()), host.peer_id().as_ref().map(PeerId::as_str));
    assert_eq!(found[0].port, host.port());
    client.stop().await.expect("stop");
    host.stop().await.expect("stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn four_hosts_share_the_work() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let content = data(32_000_000, 9);
    let path = file(dir.path(), "shared.bin", &content);
    let mut hosts = Vec::new();
    for _ in 0..4 {
        let options = NodeOptions { upload_limit: 8_000_000, ..node() };
        hosts.push(host_of(&path, options).await);
    }
    let target = dir.path().join("copy");
    let options = DownloadOptions {
        peers: hosts.iter().map(|(host, _)| format!("127.0.0.1:{}", host.port())).collect(),
        ..from(&hosts[0].0, &target)
    };
    let client = client();
    let result = within(client.download(hosts[0].1.clone(), options, None).wait()).await.expect("download");
    assert_eq!(std::fs::read(&target).expect("the copy"), content);
    assert_eq!(result.peers.len(), 4);
    let shares: Vec<u64> = result.peers.values().map(|peer| peer.bytes).collect();
    assert!(shares.iter().all(|bytes| *bytes > 2_000_000), "{shares:?}");
    client.stop().await.expect("stop");
    for (host, _) in hosts {
        host.stop().await.expect("stop");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_download_is_resumed() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let content = data(16_000_000, 5);
    let limited = NodeOptions { upload_limit: 8_000_000, ..node() };
    let (host, key) = host_of(&file(dir.path(), "source.bin", &content), limited).await;
    let client = client();
    let target = dir.path().join("copy");
    let (half_way, is_half_way) = tokio::sync::oneshot::channel();
    let half_way = Mutex::new(Some(half_way));
    let on_progress: ProgressFn = Arc::new(move |progress: &Progress| {
        if progress.bytes > 8_000_000
            && let Some(half_way) = half_way.lock().expect("not poisoned").take()
        {
            half_way.send(progress.bytes).ok();
        }
    });
    let task: Task<DownloadResult> = client.download(key.clone(), from(&host, &target), Some(on_progress));
    let kept = within(is_half_way).await.expect("half of it arrives");
    task.cancel();
    assert_eq!(within(task.wait()).await.expect_err("cancelled").kind(), ErrorKind::Cancelled);
    assert!(!target.exists());
    let result = within(client.download(key, from(&host, &target), None).wait()).await.expect("resume");
    assert_eq!(std::fs::read(&target).expect("the copy"), content);
    assert!(result.resumed_bytes >= kept, "{} of {kept} kept", result.resumed_bytes);
    client.stop().await.expect("stop");
    host.stop().await.expect("stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_are_typed() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let (host, key) = host_of(&file(dir.path(), "a", b"content"), node()).await;
    let client = client();
    let unknown = ContentKey::Hash(FileHash::of(b"nobody has this"));
    let target = dir.path().join("copy");
    let failure = async |key: &ContentKey, options: DownloadOptions| {
        within(client.download(key.clone(), options, None).wait()).await.expect_err("must fail")
    };
    let kind = async |key: &ContentKey, options: DownloadOptions| {
        let error = failure(key, options).await;
        println!("{}", error.full_message());
        error.kind()
    };
    assert_eq!(kind(&unknown, from(&host, &target)).await, ErrorKind::ContentNotFound);
    let nobody = DownloadOptions { peers: Vec::new(), ..from(&host, &target) };
    assert_eq!(kind(&unknown, nobody).await, ErrorKind::NoPeers);
    let dead = DownloadOptions { peers: vec!["127.0.0.1:1".into()], timeout_ms: 300, ..from(&host, &target) };
    assert_eq!(kind(&key, dead).await, ErrorKind::NoPeers);
    let no_directory = from(&host, &dir.path().join("missing/copy"));
    assert_eq!(kind(&key, no_directory).await, ErrorKind::FileNotFound);
    let bad = DownloadOptions { max_peers: Some(0), ..from(&host, &target) };
    assert_eq!(kind(&key, bad).await, ErrorKind::InvalidArgument);
    client.stop().await.expect("stop");
    assert_eq!(kind(&key, from(&host, &target)).await, ErrorKind::InvalidState);
    host.stop().await.expect("stop");
    let port = host.port();
    assert_eq!(port, 0, "a stopped host has no port");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_file_is_withdrawn_with_an_event() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let path = file(dir.path(), "a", &data(100_000, 1));
    let (host, key) = host_of(&path, node()).await;
    let mut events = host.subscribe();
    std::fs::write(&path, data(100_001, 2)).expect("change");
    let client = client();
    let failed = within(client.download(key, from(&host, &dir.path().join("copy")), None).wait()).await;
    assert_eq!(failed.expect_err("changed").kind(), ErrorKind::ContentNotFound);
    let changed = async {
        loop {
            if let Event::FileChanged { path, .. } = events.next().await.expect("the host lives") {
                return path;
            }
        }
    };
    assert_eq!(PathBuf::from(within(changed).await), path);
    assert!(host.files().is_empty());
    client.stop().await.expect("stop");
    host.stop().await.expect("stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn content_behind_a_callback_is_served() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let content = Bytes::from(data(700_000, 4));
    let key = ContentKey::Hash(FileHash::of(&content));
    let host = FileHost::new(node(), HostOptions::default()).expect("valid options");
    let served = content.clone();
    let callback: FileCallback = Arc::new(move |request: CallbackRequest| {
        let served = served.clone();
        Box::pin(async move {
            let start = (request.start_chunk as usize).checked_mul(request.chunk_size as usize)?;
            let end = (start + request.chunk_size as usize).min(served.len());
            (start < end).then(|| vec![served.slice(start..end)])
        })
    });
    host.set_file_callback(Some(callback));
    host.start().await.expect("start");
    let client = client();
    let target = dir.path().join("copy");
    within(client.download(key, from(&host, &target), None).wait()).await.expect("download");
    assert_eq!(std::fs::read(&target).expect("the copy"), content);
    client.stop().await.expect("stop");
    host.stop().await.expect("stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn managers_exchange_messages() {
    let manager = || NetworkManager::new(node(), ClientOptions::default()).expect("valid options");
    let (a, b) = (manager(), manager());
    a.start().await.expect("start");
    b.start().await.expect("start");
    let out = within(a.connect(&format!("127.0.0.1:{}", b.port()))).await.expect("connect");
    let into = within(b.accept()).await.expect("accept");
    assert_eq!(into.peer(), &a.peer_id().expect("running"));
    let text = Message { kind: String::new(), text: true, data: Bytes::from_static(b"Hello, peer!") };
    within(out.send(text.clone())).await.expect("send");
    assert_eq!(within(into.receive()).await.expect("receive"), Some(text));
    let large = Message { kind: "blob".into(), text: false, data: data(1_000_000, 1).into() };
    // Larger than what fits on the way: sending ends only while the other side receives.
    let (sent, received) = within(async { tokio::join!(into.send(large.clone()), out.receive()) }).await;
    sent.expect("send");
    assert_eq!(received.expect("receive"), Some(large));
    out.close().await;
    assert_eq!(within(into.receive()).await.expect("orderly end"), None);
    let oversized = Message { kind: "x".repeat(256), text: false, data: Bytes::new() };
    assert_eq!(into.send(oversized).await.expect_err("too long").kind(), ErrorKind::InvalidArgument);
    a.stop().await.expect("stop");
    let waiting = tokio::spawn({
        let b = b.clone();
        async move { b.accept().await.is_none() }
    });
    b.stop().await.expect("stop");
    assert!(within(waiting).await.expect("no panic"), "stopping ends a waiting accept");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_light_node_never_serves_and_a_stopped_port_is_free() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let path = file(dir.path(), "a", b"content");
    let light = NodeOptions { light_node: true, ..node() };
    let (host, key) = host_of(&path, light).await;
    let client = client();
    let options = DownloadOptions { timeout_ms: 500, ..from(&host, &dir.path().join("copy")) };
    assert!(within(client.download(key, options, None).wait()).await.is_err());
    let port = host.port();
    host.stop().await.expect("stop");
    host.stop().await.expect("stopping twice is harmless");
    let again = FileHost::new(NodeOptions { port, ..node() }, HostOptions::default()).expect("valid options");
    again.start().await.expect("the port is free again");
    assert_eq!(again.port(), port);
    let taken = FileHost::new(NodeOptions { port, ..node() }, HostOptions::default()).expect("valid options");
    assert_eq!(taken.start().await.expect_err("taken").kind(), ErrorKind::AddressInUse);
    again.stop().await.expect("stop");
    client.stop().await.expect("stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_is_shared_at_start() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let shared = dir.path().join("shared");
    std::fs::create_dir_all(shared.join("deep")).expect("create");
    for number in 0..50 {
        file(&shared, &format!("{number}"), &data(1000 + number, number as u8));
        file(&shared.join("deep"), &format!("{number}"), &data(5000 + number, number as u8));
    }
    let options = HostOptions { directory: Some(shared), ..HostOptions::default() };
    let host = FileHost::new(node(), options).expect("valid options");
    host.start().await.expect("start");
    let files = host.files();
    assert_eq!(files.len(), 100);
    let client = client();
    let tasks: Vec<_> = files
        .iter()
        .enumerate()
        .map(|(number, info)| {
            let target = dir.path().join(format!("copy-{number}"));
            client.download(ContentKey::Hash(info.hash), from(&host, &target), None)
        })
        .collect();
    for (task, info) in tasks.into_iter().zip(&files) {
        let result = within(task.wait()).await.unwrap_or_else(|error| panic!("{}", error.full_message()));
        assert_eq!(FileHash::of(&std::fs::read(result.path).expect("the copy")), info.hash);
    }
    assert!(host.remove_file(files[0].hash).await.expect("remove"));
    assert!(!host.has_file(&files[0].hash));
    let missing =
        FileHost::new(node(), HostOptions { directory: Some(dir.path().join("missing")), ..HostOptions::default() });
    let missing = missing.expect("valid options");
    assert_eq!(missing.start().await.expect_err("no such directory").kind(), ErrorKind::FileNotFound);
    assert_eq!(missing.port(), 0, "nothing is left running");
    client.stop().await.expect("stop");
    host.stop().await.expect("stop");
}
