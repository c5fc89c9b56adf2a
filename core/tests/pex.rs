//! Peer exchange between whole nodes over loopback, and against a peer that floods.
//! Not here: what is told when, which the machine's own tests cover with time as they like.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use dig_nat_core::api::{FileClient, FileHost, ProgressFn};
use dig_nat_core::base::events::{Event, Progress};
use dig_nat_core::base::ids::{ContentKey, FileHash, PeerId};
use dig_nat_core::base::limits;
use dig_nat_core::base::options::{AddFileOptions, ClientOptions, DownloadOptions, HostOptions, NodeOptions};
use dig_nat_core::fabric::{Fabric, FabricConfig};
use dig_nat_core::wire::pex::{Entry, Exchange, Flags};
use dig_nat_core::wire::transfer::{ClientFrame, PROTOCOL};
use futures::{AsyncReadExt, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

/// Longest any single step may take; generous, because the machine may be busy.
const DEADLINE: Duration = Duration::from_secs(120);

fn node() -> NodeOptions {
    NodeOptions { local_only: true, interfaces: vec!["lo".into()], local_enabled: false, ..NodeOptions::default() }
}

async fn within<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, what).await.expect("within the deadline")
}

fn data(length: usize) -> Vec<u8> {
    (0..length as u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

async fn host_of(path: &Path) -> (FileHost, ContentKey) {
    let host = FileHost::new(node(), HostOptions::default()).expect("valid options");
    host.start().await.expect("start");
    let info = host.add_file(path, AddFileOptions::default()).await.expect("share");
    (host, ContentKey::Hash(info.hash))
}

fn from(port: u16, target: PathBuf) -> DownloadOptions {
    DownloadOptions { save_path: Some(target), peers: vec![format!("127.0.0.1:{port}")], ..DownloadOptions::default() }
}

/// A client that fetches slowly from one peer, so that others find it at it, and says when it has something to give.
async fn slow_client(
    key: &ContentKey,
    port: u16,
    target: PathBuf,
    stop: CancellationToken,
) -> (FileClient, tokio::task::JoinHandle<()>) {
    let client = FileClient::new(node(), ClientOptions::default()).expect("valid options");
    client.start().await.expect("start");
    let begun = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&begun);
    let on_progress: ProgressFn = Arc::new(move |progress: &Progress| {
        if progress.bytes > 0 {
            seen.store(true, Ordering::Relaxed);
        }
    });
    let options = DownloadOptions { download_limit: 200_000, ..from(port, target) };
    let download = client.download(key.clone(), options, Some(on_progress));
    let running = tokio::spawn(async move {
        let canceller = download.canceller();
        let mut result = std::pin::pin!(download.wait());
        tokio::select! {
            // It may even end before it is stopped.
            _ = &mut result => {}
            () = stop.cancelled() => {
                canceller.cancel();
                let _ = result.await;
            }
        }
    });
    within(async {
        while !begun.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    (client, running)
}

#[tokio::test(flavor = "multi_thread")]
async fn along_a_chain_the_first_ends_downloading_from_the_last() {
    let dir = tempfile::tempdir().expect("a directory");
    let (path, content) = (dir.path().join("source"), data(24_000_000));
    std::fs::write(&path, &content).expect("written");
    let (d, key) = host_of(&path).await;
    let stop = CancellationToken::new();
    // C knows D only, B knows C only, A knows B only.
    let (c, c_runs) = slow_client(&key, d.port(), dir.path().join("c"), stop.clone()).await;
    let (b, b_runs) = slow_client(&key, c.port(), dir.path().join("b"), stop.clone()).await;
    let a = FileClient::new(node(), ClientOptions::default()).expect("valid options");
    a.start().await.expect("start");
    let result = within(a.download(key, from(b.port(), dir.path().join("a")), None).wait()).await.expect("downloaded");
    assert_eq!(std::fs::read(dir.path().join("a")).expect("there"), content);
    let last = d.peer_id().expect("it runs").to_string();
    let share = result.peers.get(&last).map_or(0, |stats| stats.bytes);
    assert!(share > content.len() as u64 / 2, "{share} bytes from the last of the chain: {:?}", result.peers);
    stop.cancel();
    within(async { (b_runs.await, c_runs.await) }).await.0.expect("no panic");
    for client in [a, b, c] {
        client.stop().await.expect("stopped");
    }
    d.stop().await.expect("stopped");
}

/// Without continuous discovery nobody is looked for who was not there at the beginning.
#[tokio::test(flavor = "multi_thread")]
async fn who_asked_for_no_others_uses_none() {
    let dir = tempfile::tempdir().expect("a directory");
    let (path, content) = (dir.path().join("source"), data(3_000_000));
    std::fs::write(&path, &content).expect("written");
    let (d, key) = host_of(&path).await;
    let stop = CancellationToken::new();
    let (b, b_runs) = slow_client(&key, d.port(), dir.path().join("b"), stop.clone()).await;
    let a = FileClient::new(node(), ClientOptions::default()).expect("valid options");
    a.start().await.expect("start");
    let options = DownloadOptions { discover: Some(false), ..from(b.port(), dir.path().join("a")) };
    let (seen, bytes) = (Arc::new(Mutex::new(BTreeSet::new())), Arc::new(AtomicU64::new(0)));
    let (note, count) = (Arc::clone(&seen), Arc::clone(&bytes));
    let on_progress: ProgressFn = Arc::new(move |progress: &Progress| {
        note.lock().expect("no panics").extend(progress.peers.iter().map(|peer| peer.peer.clone()));
        count.store(progress.bytes, Ordering::Relaxed);
    });
    let download = a.download(key, options, Some(on_progress));
    // Long enough for the first message of peer exchange, which B sends after a moment.
    let asked = std::time::Instant::now();
    within(async {
        while bytes.load(Ordering::Relaxed) < 400_000 || asked.elapsed() < 4 * limits::PEX_FIRST {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    download.canceller().cancel();
    let _ = download.wait().await;
    let strangers = [d.peer_id().expect("it runs").to_string(), format!("127.0.0.1:{}", d.port())];
    let seen = seen.lock().expect("no panics").clone();
    assert!(!seen.is_empty() && strangers.iter().all(|stranger| !seen.contains(stranger)), "{seen:?}");
    stop.cancel();
    within(b_runs).await.expect("no panic");
    for client in [a, b] {
        client.stop().await.expect("stopped");
    }
    d.stop().await.expect("stopped");
}

/// Sends one message of invented peers after the other until the host has had enough.
async fn flood(host: &FileHost, hash: FileHash, message: impl Fn(u32) -> Exchange) -> u32 {
    let config = FabricConfig { interfaces: vec!["lo".into()], ..FabricConfig::default() };
    let (fabric, _events) = Fabric::start(config).await.expect("start");
    let link = fabric.dial(&format!("127.0.0.1:{}", host.port()), DEADLINE).await.expect("connected");
    let stream = fabric.open(&link, PROTOCOL).await.expect("open");
    let (mut reader, mut writer) = stream.split();
    let reading = async {
        let mut buffer = [0; 4096];
        while reader.read(&mut buffer).await.is_ok_and(|count| count > 0) {}
    };
    let mut sent = 0;
    let writing = async {
        let mut out = BytesMut::new();
        ClientFrame::Hello { key: ContentKey::Hash(hash), serves: true }.encode(&mut out);
        writer.write_all(&out).await.expect("sent");
        writer.flush().await.expect("sent");
        loop {
            out.clear();
            ClientFrame::Peers(message(sent)).encode(&mut out);
            if writer.write_all(&out).await.is_err() || writer.flush().await.is_err() {
                return;
            }
            sent += 1;
            // Other tasks of this process are to see the end of the stream too.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    within(Box::pin(async {
        tokio::select! {
            () = reading => {}
            () = writing => {}
        }
    }))
    .await;
    fabric.shutdown().await;
    sent
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_floods_with_junk_is_dropped_and_reported() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("source");
    std::fs::write(&path, data(1000)).expect("written");
    let (host, key) = host_of(&path).await;
    let hash = key.lookup_key();
    let mut events = host.subscribe();
    // Far too many at once, and forged announcements with nothing true in them.
    let junk = |serial: u32| {
        let plain = |number: u32| Entry::Plain {
            peer: PeerId::from_text(&format!("{serial}x{number}")),
            addresses: vec!["/ip4/10.0.0.1/tcp/22".into()],
        };
        let entry = |number: u32| {
            if number.is_multiple_of(2) { plain(number) } else { Entry::Signed(Bytes::from_static(b"no")) }
        };
        let added = (0..50).map(|number| (Flags::default(), entry(number))).collect();
        Exchange { added, dropped: Vec::new() }
    };
    let sent = Box::pin(flood(&host, hash, junk)).await;
    let most = limits::PEX_BURST + limits::PEX_STRIKES;
    println!("dropped after {sent} messages");
    // It sends on for a moment while the end of the stream is on its way to it.
    assert!(sent < 20 * most, "{sent} messages");
    let warning = within(async {
        loop {
            if let Some(Event::Warning { error }) = events.next().await {
                return error;
            }
        }
    })
    .await;
    assert!(warning.message.contains("floods"), "{warning:?}");
    // An oversized message ends it at once.
    let oversized = |_| Exchange { dropped: vec![PeerId::from_text("x"); 200], ..Exchange::default() };
    Box::pin(flood(&host, hash, oversized)).await;
    // The host serves everybody else as before.
    let client = FileClient::new(node(), ClientOptions::default()).expect("valid options");
    client.start().await.expect("start");
    within(client.download(key, from(host.port(), dir.path().join("copy")), None).wait()).await.expect("downloaded");
    client.stop().await.expect("stopped");
    host.stop().await.expect("stopped");
}
