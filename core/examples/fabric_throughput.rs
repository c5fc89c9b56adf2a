//! Measures one stream between two processes on loopback: `fabric_throughput [GiB] [tcp|quic]...` prints MB/s and the
//! CPU seconds of both sides together. Not a test: nothing fails when it is slow.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Instant;

use dig_nat_core::base::limits;
use dig_nat_core::fabric::{Fabric, FabricConfig};
use futures::{AsyncReadExt, AsyncWriteExt};

const PROTOCOL: &str = "/bench/1";
const BLOCK: usize = limits::MAX_BLOCK_BYTES as usize;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|argument| argument == "serve") {
        return serve().await;
    }
    let gib: f64 = arguments.first().and_then(|argument| argument.parse().ok()).unwrap_or(1.0);
    let transports: Vec<&str> = match arguments.get(1..) {
        Some(named) if !named.is_empty() => named.iter().map(String::as_str).collect(),
        _ => vec!["tcp", "quic"],
    };
    for transport in transports {
        run(transport, (gib * f64::from(1 << 30)) as u64).await;
    }
}

fn config() -> FabricConfig {
    FabricConfig { interfaces: vec!["lo".into()], protocols: vec![PROTOCOL], ..FabricConfig::default() }
}

/// Sends as many zero bytes as the first eight bytes of each stream ask for.
async fn serve() {
    let (fabric, _) = Fabric::start(config()).await.expect("started");
    println!("{}", fabric.port());
    let mut incoming = fabric.accept(PROTOCOL).expect("free");
    let (_, mut stream) = incoming.next().await.expect("runs");
    let mut wanted = [0; 8];
    stream.read_exact(&mut wanted).await.expect("request");
    let mut left = u64::from_be_bytes(wanted);
    let block = vec![0x5a; BLOCK];
    while left > 0 {
        let length = left.min(BLOCK as u64);
        stream.write_all(&block[..length as usize]).await.expect("written");
        left -= length;
    }
    stream.close().await.expect("closed");
    // The peer hangs up when it has everything.
    let _ = stream.read(&mut [0]).await;
    fabric.shutdown().await;
    println!("{}", cpu_seconds());
}

async fn run(transport: &str, bytes: u64) {
    let program = std::env::current_exe().expect("own path");
    let mut server = Command::new(program).arg("serve").stdout(Stdio::piped()).spawn().expect("server");
    let mut lines = BufReader::new(server.stdout.take().expect("piped")).lines();
    let port = lines.next().expect("a line").expect("read");
    let (fabric, _) = Fabric::start(config()).await.expect("started");
    let address = match transport {
        "quic" => format!("/ip4/127.0.0.1/udp/{port}/quic-v1"),
        _ => format!("/ip4/127.0.0.1/tcp/{port}"),
    };
    let before = cpu_seconds();
    let link = fabric.dial(&address, limits::DIAL_TIMEOUT).await.expect("dialled");
    let begin = Instant::now();
    let mut stream = fabric.open(&link, PROTOCOL).await.expect("opened");
    stream.write_all(&bytes.to_be_bytes()).await.expect("written");
    stream.flush().await.expect("flushed");
    let mut buffer = vec![0; BLOCK];
    let mut received = 0;
    loop {
        let length = stream.read(&mut buffer).await.expect("read");
        if length == 0 {
            break;
        }
        received += length as u64;
    }
    let seconds = begin.elapsed().as_secs_f64();
    assert_eq!(received, bytes);
    let own = cpu_seconds() - before;
    drop(stream);
    fabric.shutdown().await;
    let other: f64 = lines.next().expect("a line").expect("read").parse().expect("a number");
    server.wait().expect("ended");
    let gib = bytes as f64 / f64::from(1 << 30);
    println!(
        "{transport}: {:.0} MB/s, CPU {:.2} s per GiB ({own:.2} receiving, {other:.2} sending)",
        bytes as f64 / seconds / 1e6,
        (own + other) / gib
    );
}

/// CPU time of this process so far; 0 where the system does not tell it in this way.
fn cpu_seconds() -> f64 {
    let Ok(text) = std::fs::read_to_string("/proc/self/stat") else { return 0.0 };
    // The fields after the name in parentheses, which may contain blanks; user and system time in ticks of 10 ms.
    let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<f64>().ok()).unwrap_or_default();
    (ticks(11) + ticks(12)) / 100.0
}
