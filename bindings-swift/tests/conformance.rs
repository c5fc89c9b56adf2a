//! The generated Python and Kotlin against a host of another process: this test is the host.
//! Not here: the scenarios, which are in `python/conformance.py` and `kotlin/src/test/kotlin/Conformance.kt`.

mod support;

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use dig_nat_core::api::FileHost;
use dig_nat_core::base::options::{AddFileOptions, HostOptions, NodeOptions};
use support::{crate_dir, generate, library, succeed};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use uniffi::TargetLanguage;

/// The scenarios have their own deadline of 240 s; compiling Kotlin and fetching its compiler come on top.
const DEADLINE: Duration = Duration::from_secs(540);

/// Enough to be caught in the middle of a download that is limited to 1 MB/s.
const FILE_BYTES: u64 = 3 * 1024 * 1024 + 12_345;

/// A running host, and where the scenarios may write.
struct Shared {
    dir: TempDir,
    runtime: Runtime,
    host: FileHost,
    file: PathBuf,
    hash: String,
    address: String,
}

impl Shared {
    fn start() -> Self {
        let dir = TempDir::new().expect("a temporary folder");
        let file = dir.path().join("original.bin");
        let data: Vec<u8> = (0..FILE_BYTES).map(|i| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect();
        std::fs::write(&file, data).expect("a temporary folder is writable");
        let runtime = Runtime::new().expect("threads");
        let node = NodeOptions { local_only: true, interfaces: vec!["lo".into()], ..NodeOptions::default() };
        let (host, hash) = runtime.block_on(async {
            let host = FileHost::new(node, HostOptions::default()).expect("valid options");
            host.start().await.expect("loopback can be listened on");
            let info = host.add_file(&file, AddFileOptions::default()).await.expect("the file can be read");
            (host, info.hash.to_string())
        });
        let address = format!("127.0.0.1:{}", host.port());
        std::fs::create_dir(dir.path().join("out")).expect("a temporary folder is writable");
        Self { dir, runtime, host, file, hash, address }
    }

    fn arguments(&self, command: &mut Command) {
        command.arg(&self.hash).arg(&self.address).arg(&self.file).arg(self.dir.path().join("out"));
    }

    fn stop(self) {
        self.runtime.block_on(self.host.stop()).expect("a host can be stopped");
    }
}

#[test]
fn python_light_node() {
    let shared = Shared::start();
    let module = shared.dir.path().join("module");
    generate(&[TargetLanguage::Python], &module);
    // The generated module looks for the library beside itself.
    let beside = module.join(library().file_name().expect("a file"));
    std::fs::copy(library(), beside).expect("a temporary folder is writable");
    let mut python = Command::new("python3");
    python.arg(crate_dir().join("tests/python/conformance.py")).arg(&module);
    shared.arguments(&mut python);
    let printed = succeed(python, DEADLINE);
    assert!(printed.ends_with("passed 9\n"), "{printed}");
    shared.stop();
}

#[test]
#[ignore = "fetches the Kotlin compiler (90 MB) with npm and needs JNA; kotlin/test.sh and CI run it"]
fn kotlin_light_node() {
    let shared = Shared::start();
    let mut kotlin = Command::new("sh");
    kotlin.arg(crate_dir().join("kotlin/test.sh")).arg(library().parent().expect("a folder"));
    shared.arguments(&mut kotlin);
    let printed = succeed(kotlin, DEADLINE);
    assert!(printed.ends_with("passed 9\n"), "{printed}");
    shared.stop();
}
