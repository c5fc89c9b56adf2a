//! `dig-nat demo`: a host and a client as two processes of this program. The client is told nothing but the SHA-256 of
//! a generated file; it finds the host by local discovery, and the copy is checked here without the engine.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail, ensure};
use dig_nat_core::base::ids::FileHash;
use indicatif::ProgressBar;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::arguments::DemoArguments;
use crate::generate;
use crate::interrupt::Interrupt;
use crate::outcome::Interrupted;
use crate::units;
use crate::view;

/// Hashing the file is the only slow thing before a host is ready; a disk that reads less than 2 MB/s is not expected.
const READY_BYTES_PER_SECOND: u64 = 2_000_000;
/// A process that was asked to stop and does not is ended after this.
const STOP_WAIT: Duration = Duration::from_secs(10);

/// Runs the command.
pub async fn run(arguments: DemoArguments, mut interrupt: Interrupt) -> anyhow::Result<()> {
    let directory = tempfile::Builder::new().prefix("dig-nat-demo-").tempdir().context("make a directory")?;
    tokio::select! {
        result = show(&arguments, directory.path()) => result?,
        () = interrupt.wait() => return Err(Interrupted { message: "interrupted; everything was removed".into() }.into()),
    }
    if arguments.keep {
        println!("kept     {}", directory.keep().display());
    } else {
        directory.close().context("remove the directory")?;
    }
    Ok(())
}

async fn show(arguments: &DemoArguments, directory: &Path) -> anyhow::Result<()> {
    let original = directory.join("original.bin");
    let copy = directory.join("copy.bin");
    let hash = make_file(&original, arguments.size).await?;
    println!("file     {} of random bytes in {}", units::size(arguments.size), original.display());
    println!("sha-256  {hash}");

    let wait = Duration::from_secs(30 + arguments.size / READY_BYTES_PER_SECOND);
    let mut host = Process::start("share", &original, arguments, &[])?;
    let ready = tokio::time::timeout(wait, host.next_of("ready", |_| {})).await.context("the host did not start")??;
    println!("host     process {}, port {}, shares it", host.id(), ready["port"]);

    let target = copy.display().to_string();
    let mut client = Process::start("get", Path::new(&hash.to_string()), arguments, &["--output-path", &target])?;
    println!("client   process {}, knows only the SHA-256", client.id());
    let mut shown = Shown::default();
    let result = client.next_of("result", |line| shown.line(line)).await;
    shown.bar.finish_and_clear();
    let result = result?;
    println!(
        "copied   in {}, {}, over {}",
        units::duration(Duration::from_millis(result["totalTimeMs"].as_u64().unwrap_or(0))),
        units::rate(result["averageSpeed"].as_f64().unwrap_or(0.0)),
        connections(&result),
    );
    client.stop().await?;
    host.stop().await?;
    ensure!(shown.discovered, "the client did not find the host by local discovery");

    let copied = tokio::task::spawn_blocking(move || generate::hash_file(&copy)).await?.context("read the copy")?;
    ensure!(copied == hash, "the copy has the SHA-256 {copied}");
    println!("checked  the copy has the same SHA-256");
    Ok(())
}

async fn make_file(path: &Path, size: u64) -> anyhow::Result<FileHash> {
    // Any seed will do; a new one each time keeps two demonstrations on one machine apart.
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_nanos() as u64);
    let path = path.to_owned();
    tokio::task::spawn_blocking(move || generate::random_file(&path, size, seed))
        .await?
        .context("write the file for the demonstration")
}

/// `tcp` or `udp` of every peer that gave bytes.
fn connections(result: &Value) -> String {
    let peers = result["peers"].as_object();
    let mut kinds: Vec<&str> =
        peers.into_iter().flatten().filter_map(|(_, peer)| peer["connectionType"].as_str()).collect();
    kinds.sort_unstable();
    kinds.dedup();
    if kinds.is_empty() { "no connection at all".to_owned() } else { kinds.join(" and ") }
}

/// What was shown of the client's work so far.
struct Shown {
    bar: ProgressBar,
    discovered: bool,
}

impl Default for Shown {
    fn default() -> Self {
        Self { bar: view::bar("         {wide_bar} {percent:>3} %  {msg}"), discovered: false }
    }
}

impl Shown {
    fn line(&mut self, line: &Value) {
        match line["type"].as_str() {
            Some("peer:discovered") if !self.discovered && line["source"] == "local" => {
                self.discovered = true;
                println!("found    {} by local discovery", line["id"].as_str().unwrap_or("a peer"));
            }
            Some("progress") => {
                self.bar.set_length(line["total"].as_u64().unwrap_or(0));
                self.bar.set_position(line["bytes"].as_u64().unwrap_or(0));
                self.bar.set_message(units::rate(line["rate"].as_f64().unwrap_or(0.0)));
            }
            _ => {}
        }
    }
}

/// A child process that prints JSON lines. Dropping it kills it.
struct Process {
    name: &'static str,
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Process {
    fn start(name: &'static str, subject: &Path, arguments: &DemoArguments, more: &[&str]) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("find this program")?;
        let mut child = Command::new(program)
            .arg(name)
            .arg(subject)
            .args(["--json", "--exit-with-parent", "--interface", &arguments.interface])
            .args(more)
            .env("DIG_NAT_LOCAL_ONLY", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("start the process for {name}"))?;
        let stdout = child.stdout.take().context("the child's output is a pipe")?;
        Ok(Self { name, child, lines: BufReader::new(stdout).lines() })
    }

    fn id(&self) -> u32 {
        self.child.id().unwrap_or(0)
    }

    /// Reads lines until one of this type, showing all others to `other`.
    async fn next_of(&mut self, kind: &str, mut other: impl FnMut(&Value)) -> anyhow::Result<Value> {
        while let Some(line) = self.lines.next_line().await? {
            let line: Value = serde_json::from_str(&line).with_context(|| format!("{} printed: {line}", self.name))?;
            if line["type"] == kind {
                return Ok(line);
            }
            other(&line);
        }
        bail!("the process for {} ended early; its error stands above", self.name);
    }

    /// Asks the process to stop by ending its standard input, and waits until it has.
    async fn stop(mut self) -> anyhow::Result<()> {
        drop(self.child.stdin.take());
        let drain = async { while let Ok(Some(_)) = self.lines.next_line().await {} };
        let status = tokio::time::timeout(STOP_WAIT, async {
            drain.await;
            self.child.wait().await
        })
        .await
        .with_context(|| format!("the process for {} does not stop", self.name))??;
        ensure!(status.success(), "the process for {} ended with {status}", self.name);
        Ok(())
    }
}
