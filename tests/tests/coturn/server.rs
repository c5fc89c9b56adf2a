//! Starts and ends coturn's `turnserver` for one test. Not here: the tests.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use dig_nat_core::nat::stun::driver::query_alone;
use dig_nat_core::net::udp::UdpPort;
use tempfile::TempDir;

/// User of every server started here.
pub const USER: &str = "user";
/// Their password.
pub const PASSWORD: &str = "pass";
/// Time a server may take to answer its first request.
const START: Duration = Duration::from_secs(20);

/// A running `turnserver` on 127.0.0.1 and 127.0.0.2, with an alternative port for RFC 5780. Killed when dropped.
pub struct Turnserver {
    child: Child,
    directory: TempDir,
    /// UDP and TCP port.
    pub port: u16,
    /// The alternative one.
    pub other_port: u16,
    /// TLS port.
    pub tls_port: u16,
}

impl Turnserver {
    /// Starts one with more options and waits until it answers. `None`, with a loud line, where coturn is not
    /// installed; that fails where `CI` is set.
    pub async fn start(options: &[&str]) -> Option<Self> {
        if Command::new("turnserver").arg("--version").output().is_err() {
            assert!(std::env::var("CI").is_err(), "turnserver (package coturn) is missing");
            eprintln!("SKIPPED: turnserver (package coturn) is not installed");
            return None;
        }
        // Several servers may share a port unnoticed (SO_REUSEPORT), so ports are chosen and taken one after the other.
        static STARTING: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
        let _one = STARTING.lock().await;
        let directory = tempfile::tempdir().expect("temporary directory");
        let [port, other_port, tls_port] = free_ports();
        let log = File::create(directory.path().join("log")).expect("writable");
        let mut command = Command::new("turnserver");
        command.args(["-n", "--no-cli", "--no-dtls", "-L", "127.0.0.1", "-L", "127.0.0.2", "-r", "example.org", "-a"]);
        command.args(["--allow-loopback-peers", "--log-file", "stdout", "--simple-log", "-v"]);
        command.args(["-u", &format!("{USER}:{PASSWORD}"), "-p", &port.to_string()]);
        command.args(["--alt-listening-port", &other_port.to_string()]);
        command.args(["--tls-listening-port", &tls_port.to_string()]);
        command.args(["--alt-tls-listening-port", &tls_port.to_string()]);
        for (option, file) in [("--userdb", "users"), ("--pidfile", "pid")] {
            command.arg(option).arg(directory.path().join(file));
        }
        command.args(options);
        command.stdin(Stdio::null()).stderr(log.try_clone().expect("log")).stdout(log);
        let child = command.spawn().expect("turnserver starts");
        let mut server = Self { child, directory, port, other_port, tls_port };
        server.wait(options.contains(&"--no-udp")).await;
        Some(server)
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    async fn wait(&mut self, tcp_only: bool) {
        let port = UdpPort::bind("127.0.0.1:0".parse().expect("valid")).expect("free port");
        let started = Instant::now();
        loop {
            let up = if tcp_only {
                tokio::net::TcpStream::connect(self.address()).await.is_ok()
            } else {
                query_alone(&port, self.address(), Duration::from_millis(500)).await.is_ok()
            };
            let ended = self.child.try_wait().expect("known process");
            assert!(ended.is_none(), "turnserver ended:\n{}", self.log());
            if up {
                return;
            }
            assert!(started.elapsed() < START, "turnserver does not answer:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Turnserver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("turnserver's log:\n{}", self.log());
        }
    }
}

/// Ports that are free for UDP and TCP on both addresses, below the system's own range, so that no client takes them.
fn free_ports() -> [u16; 3] {
    static LAST: Mutex<u16> = Mutex::new(0);
    let mut last = LAST.lock().expect("not poisoned");
    if *last == 0 {
        // Other test processes start elsewhere.
        *last = 12_000 + (std::process::id() % 1000) as u16 * 18;
    }
    let mut found = Vec::new();
    while found.len() < 3 {
        *last = if *last >= 32_000 { 12_000 } else { *last + 1 };
        let free = [1, 2].into_iter().all(|host| {
            let at = SocketAddr::from((Ipv4Addr::new(127, 0, 0, host), *last));
            UdpSocket::bind(at).is_ok() && TcpListener::bind(at).is_ok()
        });
        if free {
            found.push(*last);
        }
    }
    [found[0], found[1], found[2]]
}

/// A certificate for `localhost` and its key, made with the openssl command. The certificate's path comes first.
pub fn certificate(directory: &Path) -> (PathBuf, PathBuf) {
    let (certificate, key) = (directory.join("cert.pem"), directory.join("key.pem"));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"])
        .args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .arg("-out")
        .arg(&certificate)
        .arg("-keyout")
        .arg(&key)
        .output()
        .expect("openssl is installed");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    (certificate, key)
}
