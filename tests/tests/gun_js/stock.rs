//! The stock relay and gun.js clients as processes. Not here: what must come of them.

use std::collections::VecDeque;
use std::process::Stdio;
use std::time::Duration;

use dig_nat_tests::tree;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// Machines are busy.
pub const WAIT: Duration = Duration::from_secs(60);

/// A process of `tests/gun-js`.
struct Process {
    child: Child,
    commands: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
    /// Reports of watched nodes that came while something else was waited for.
    reports: VecDeque<Value>,
}

impl Process {
    fn start(program: &str, wanted: &Value) -> Self {
        let folder = tree::root().join("tests/gun-js");
        assert!(folder.join("node_modules").exists(), "run `npm install --no-save` in {} first", folder.display());
        let mut child = Command::new("node")
            .arg(folder.join(program))
            .arg(wanted.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("Node starts");
        let commands = child.stdin.take().expect("asked for a pipe");
        let lines = BufReader::new(child.stdout.take().expect("asked for a pipe")).lines();
        Self { child, commands, lines, reports: VecDeque::new() }
    }

    async fn wait_until(&mut self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let reading = async {
            while let Some(line) = self.lines.next_line().await.expect("text") {
                // The welcome of gun may come in between.
                let Ok(line) = serde_json::from_str::<Value>(&line) else { continue };
                assert_ne!(line["type"], "failed", "{}", line["error"]);
                if fits(&line) {
                    return line;
                }
                if line["type"] == "child" {
                    self.reports.push_back(line);
                }
            }
            panic!("Node ended without {what}");
        };
        tokio::time::timeout(WAIT, reading).await.unwrap_or_else(|_| panic!("no {what}"))
    }
}

/// A stock relay.
pub struct Relay {
    process: Process,
    wanted: Value,
    port: u64,
    directory: TempDir,
}

impl Relay {
    pub async fn start(axe: bool) -> Self {
        Self::start_with(axe, true).await
    }

    /// With or without a disk.
    pub async fn start_with(axe: bool, radisk: bool) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let wanted = json!({ "port": 0, "axe": axe, "radisk": radisk, "file": directory.path().join("radata") });
        let mut process = Process::start("relay.js", &wanted);
        let port = ready(&mut process).await;
        Self { process, wanted, port, directory }
    }

    /// Over TLS with a certificate for `localhost`, which it returns as PEM.
    pub async fn start_tls() -> (Self, Vec<u8>) {
        let directory = tempfile::tempdir().expect("a directory");
        let (certificate, key) = (directory.path().join("cert.pem"), directory.path().join("key.pem"));
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"])
            .args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"])
            .args(["-addext", "basicConstraints=critical,CA:FALSE"])
            .arg("-keyout")
            .arg(&key)
            .arg("-out")
            .arg(&certificate)
            .output()
            .await
            .expect("openssl is installed");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let pem = std::fs::read(&certificate).expect("written");
        let file = directory.path().join("radata");
        let wanted =
            json!({ "port": 0, "axe": false, "radisk": true, "file": file, "key": key, "certificate": certificate });
        let mut process = Process::start("relay.js", &wanted);
        let port = ready(&mut process).await;
        (Self { process, wanted, port, directory }, pem)
    }

    pub fn url(&self) -> String {
        match self.wanted.get("key") {
            Some(_) => format!("https://localhost:{}/gun", self.port),
            None => format!("http://127.0.0.1:{}/gun", self.port),
        }
    }

    pub async fn kill(&mut self) {
        self.process.child.kill().await.expect("it runs");
    }

    /// Starts it again on the same port with what it has on disk.
    pub async fn restart(&mut self) {
        self.wanted["port"] = json!(self.port);
        self.process = Process::start("relay.js", &self.wanted);
        assert_eq!(ready(&mut self.process).await, self.port);
    }

    /// Starts another one on the same port that knows nothing.
    pub async fn replace(&mut self) {
        self.directory = tempfile::tempdir().expect("a directory");
        self.wanted["file"] = json!(self.directory.path().join("radata"));
        self.restart().await;
    }

    pub fn assert_alive(&mut self) {
        assert!(self.process.child.try_wait().expect("our child").is_none(), "the stock relay has ended");
    }
}

async fn ready(process: &mut Process) -> u64 {
    let ready = process.wait_until("ready", |line| line["type"] == "ready").await;
    ready["port"].as_u64().expect("a port")
}

/// A gun.js client.
pub struct Client(Process);

impl Client {
    pub async fn start(peers: &[String]) -> Self {
        let mut process = Process::start("client.js", &json!({ "peers": peers }));
        process.wait_until("ready", |line| line["type"] == "ready").await;
        Self(process)
    }

    pub async fn tell(&mut self, command: Value) -> Value {
        self.0.commands.write_all(format!("{command}\n").as_bytes()).await.expect("it reads");
        self.0.wait_until(&command.to_string(), |line| line["type"] == "done").await
    }

    /// Writes without waiting for an answer.
    pub async fn write(&mut self, path: &[&str], data: Value) {
        self.tell(json!({ "do": "write", "path": path, "data": data })).await;
    }

    /// Reports the children of a node from now on.
    pub async fn watch(&mut self, path: &[&str], name: &str) {
        self.tell(json!({ "do": "watch", "path": path, "name": name })).await;
    }

    /// The next report of a watched node that fits.
    pub async fn child(&mut self, name: &str, key: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let is_it =
            |line: &Value| line["type"] == "child" && line["name"] == name && line["key"] == key && fits(&line["data"]);
        // What came before is over.
        while let Some(line) = self.0.reports.pop_front() {
            if is_it(&line) {
                return line["data"].clone();
            }
        }
        let line = self.0.wait_until(&format!("{name}/{key}"), is_it).await;
        self.0.reports.clear();
        line["data"].clone()
    }

    pub async fn once(&mut self, path: &[&str]) -> Value {
        // `once` of gun.js takes the first answer, empty or not; asking again is how programs use it.
        for _ in 0..20 {
            let got = self.tell(json!({ "do": "once", "path": path, "wait": 3000 })).await;
            if !got["data"].is_null() {
                return got["data"].clone();
            }
        }
        Value::Null
    }
}
