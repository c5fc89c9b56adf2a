//! How fast it is, between real processes on the loopback interface, one JSON object per line. What each benchmark
//! measures and how to read it stands in `docs/benchmarks.md`.

mod measure;
mod pipeline;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use dig_nat_core::api::FileClient;
use dig_nat_core::base::ids::{ContentKey, FileHash};
use dig_nat_core::base::options::{ClientOptions, DownloadOptions, NodeOptions};
use dig_nat_tests::files;
use dig_nat_tests::process::DigNat;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use measure::{Meter, Usage};

const PROGRAM: &str = env!("CARGO_BIN_EXE_dig-nat");
const GIB: u64 = 1 << 30;
const LIMIT: Duration = Duration::from_secs(600);
const COLD_STARTS: usize = 15;

/// Made once, for all benchmarks that move a gibibyte.
static GIBIBYTE: LazyLock<(TempDir, PathBuf, FileHash)> = LazyLock::new(|| {
    let folder = folder();
    let path = folder.path().join("gibibyte.bin");
    let hash = files::random_file(&path, GIB, 1);
    (folder, path, hash)
});

/// The yardstick of this run, in MB/s.
static BARE: LazyLock<pipeline::Figures> = LazyLock::new(|| {
    let target = folder();
    pipeline::run(&GIBIBYTE.1, &target.path().join("copy.bin"))
});

type Benchmark = fn() -> Value;

const BENCHMARKS: &[(&str, Benchmark)] = &[
    ("bare-pipeline", bare_pipeline),
    ("one-seeder", || seeders(1)),
    ("four-seeders", || seeders(4)),
    ("small-files", small_files),
    ("cold-start", cold_start),
    ("hashing", hashing),
];

fn main() {
    // Cargo adds `--bench`; other words choose benchmarks.
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    for (name, benchmark) in BENCHMARKS {
        if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
            eprintln!("{name} ...");
            let mut figures = benchmark();
            figures["name"] = json!(name);
            println!("{figures}");
        }
    }
}

fn bare_pipeline() -> Value {
    json!({ "bytes": GIB, "mbPerSecond": rounded(BARE.mb_per_second), "cpuSeconds": rounded(BARE.cpu_seconds) })
}

fn seeders(count: usize) -> Value {
    let (_, file, hash) = &*GIBIBYTE;
    let bare = BARE.mb_per_second;
    let hosts: Vec<Host> = (0..count).map(|_| Host::share(&[file.as_path()], &[])).collect();
    let meters: Vec<Meter> = hosts.iter().map(|host| Meter::start(host.process.id())).collect();
    let target = folder();
    let mut arguments = vec![OsString::from("get"), hash.to_string().into(), "--no-local".into(), "-o".into()];
    arguments.push(target.path().join("copy.bin").into());
    for host in &hosts {
        arguments.extend(["--peer".into(), OsString::from(&host.address)]);
    }
    let client = DigNat::start(PROGRAM, arguments);
    let meter = Meter::start(client.id());
    let ended = client.end(LIMIT);
    let client = meter.stop();
    let sides: Vec<Usage> = meters.into_iter().map(Meter::stop).collect();

    let time = ended.assert_done()["totalTimeMs"].as_f64().expect("a number") / 1000.0;
    let rate = GIB as f64 / 1e6 / time;
    let host_cpu: f64 = sides.iter().map(|side| side.cpu_seconds).sum();
    let host_memory = sides.iter().map(|side| side.max_resident_mb).fold(0.0, f64::max);
    json!({
        "bytes": GIB,
        "mbPerSecond": rounded(rate),
        "ofBarePipeline": rounded(rate / bare),
        "client": { "cpuSeconds": rounded(client.cpu_seconds), "maxResidentMb": rounded(client.max_resident_mb) },
        "hosts": { "cpuSeconds": rounded(host_cpu), "maxResidentMb": rounded(host_memory) },
        "cpuSecondsPerGib": rounded(client.cpu_seconds + host_cpu),
    })
}

fn small_files() -> Value {
    const COUNT: u64 = 1000;
    const SIZE: u64 = 16 * 1024;
    let source = folder();
    let hashes: Vec<FileHash> =
        (0..COUNT).map(|index| files::random_file(&source.path().join(format!("{index}")), SIZE, index)).collect();
    let host = Host::share(&[source.path()], &[]);
    let target = folder();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let time = runtime.block_on(download_all(hashes, host.address.clone(), target.path().to_owned()));
    let seconds = time.as_secs_f64();
    json!({
        "files": COUNT,
        "bytes": COUNT * SIZE,
        "filesPerSecond": rounded(COUNT as f64 / seconds),
        "mbPerSecond": rounded((COUNT * SIZE) as f64 / 1e6 / seconds),
    })
}

/// All files with one client, 32 at a time; the time from its start on.
async fn download_all(hashes: Vec<FileHash>, peer: String, target: PathBuf) -> Duration {
    let started = Instant::now();
    let client = FileClient::new(loopback(), ClientOptions::default()).expect("valid options");
    client.start().await.expect("started");
    let at_once = Arc::new(Semaphore::new(32));
    let mut running = JoinSet::new();
    for hash in hashes {
        let permit = Arc::clone(&at_once).acquire_owned().await.expect("never closed");
        let options = DownloadOptions {
            save_path: Some(target.join(hash.to_string())),
            peers: vec![peer.clone()],
            ..DownloadOptions::default()
        };
        let download = client.download(ContentKey::Hash(hash), options, None);
        running.spawn(async move {
            let result = download.wait().await;
            drop(permit);
            result
        });
    }
    while let Some(result) = running.join_next().await {
        result.expect("no panic").expect("downloaded");
    }
    let time = started.elapsed();
    client.stop().await.expect("stopped");
    time
}

fn cold_start() -> Value {
    let source = folder();
    let file = source.path().join("small.bin");
    let hash = files::random_file(&file, 64 * 1024, 2);
    let host = Host::share(&[file.as_path()], &[]);
    let target = folder();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let mut process = Vec::new();
    let mut library = Vec::new();
    for index in 0..COLD_STARTS {
        let copy = target.path().join(format!("process-{index}"));
        let started = Instant::now();
        let hash_text = hash.to_string();
        let arguments = ["get", &hash_text, "--no-local", "--peer", &host.address, "-o"].map(OsString::from);
        let mut client = DigNat::start(PROGRAM, arguments.into_iter().chain([copy.into_os_string()]));
        client.wait_for("result", LIMIT);
        process.push(started.elapsed());
        client.end(LIMIT);
        let copy = target.path().join(format!("library-{index}"));
        library.push(runtime.block_on(one_file(hash, host.address.clone(), copy)));
    }
    json!({ "bytes": 64 * 1024, "processMs": median_ms(process), "libraryMs": median_ms(library) })
}

/// From making a client to the finished file.
async fn one_file(hash: FileHash, peer: String, target: PathBuf) -> Duration {
    let started = Instant::now();
    let client = FileClient::new(loopback(), ClientOptions::default()).expect("valid options");
    let options = DownloadOptions { save_path: Some(target), peers: vec![peer], ..DownloadOptions::default() };
    client.download(ContentKey::Hash(hash), options, None).wait().await.expect("downloaded");
    let time = started.elapsed();
    client.stop().await.expect("stopped");
    time
}

fn hashing() -> Value {
    const FILES: u64 = 64;
    const SIZE: u64 = 8 << 20;
    let (source, state) = (folder(), folder());
    for index in 0..FILES {
        files::random_file(&source.path().join(index.to_string()), SIZE, index);
    }
    let state = state.path().to_str().expect("plain text").to_owned();
    let mut times = Vec::new();
    for _ in 0..2 {
        let started = Instant::now();
        let host = Host::share(&[source.path()], &["--state", &state]);
        times.push(started.elapsed());
        host.process.interrupt();
        host.process.end(LIMIT);
    }
    json!({
        "files": FILES,
        "bytes": FILES * SIZE,
        "mbPerSecond": rounded((FILES * SIZE) as f64 / 1e6 / times[0].as_secs_f64()),
        "rememberedMs": times[1].as_millis() as u64,
    })
}

struct Host {
    process: DigNat,
    address: String,
}

impl Host {
    fn share(paths: &[&Path], more: &[&str]) -> Self {
        let mut arguments = vec![OsString::from("share"), "--no-local".into()];
        arguments.extend(paths.iter().map(|path| path.as_os_str().to_owned()));
        arguments.extend(more.iter().map(OsString::from));
        let mut process = DigNat::start(PROGRAM, arguments);
        let ready = process.wait_for("ready", LIMIT);
        Self { process, address: format!("127.0.0.1:{}", ready["port"]) }
    }
}

fn loopback() -> NodeOptions {
    NodeOptions { local_enabled: false, local_only: true, interfaces: vec!["lo".to_owned()], ..Default::default() }
}

fn folder() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("the build folder is writable")
}

fn median_ms(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    rounded(times[times.len() / 2].as_secs_f64() * 1000.0)
}

fn rounded(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}
