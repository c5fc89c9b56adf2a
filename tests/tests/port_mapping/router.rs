//! A small network of namespaces: a router with miniupnpd, two clients behind it, one host outside.
//! Not here: tests, and NATs of other kinds.
//!
//! ```text
//!  client a 192.168.7.100 --+                                          outside 44.128.1.2
//!                           +-- lan 192.168.7.1 [router] wan WAN/24 --/
//!  client b 192.168.7.101 --+
//! ```
//! Everybody has an IPv6 address as well: 2c0f:fb50:7::1, ::100 and ::101 on the inside, 2c0f:fb50:8::1 and ::2 on the
//! outside. Nothing gets in by IPv6 unless a pinhole lets it. The names carry the process id, so parallel runs do not meet, and leftovers of killed runs are recognised.

use std::fs;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::runtime::Runtime;

/// The router's address towards the clients.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(192, 168, 7, 1);
/// The router's outside address where port mapping shall work: looks public, and exists only in these namespaces.
pub const PUBLIC: &str = "44.128.1.1";
/// The IPv6 address of client a.
pub const CLIENT_V6: Ipv6Addr = Ipv6Addr::new(0x2c0f, 0xfb50, 7, 0, 0, 0, 0, 0x100);
/// How long a condition may take to come about.
pub const PATIENCE: Duration = Duration::from_secs(30);

static COUNT: AtomicU32 = AtomicU32::new(0);

/// What the router offers.
#[derive(Clone, Copy, Debug)]
pub struct Offer {
    pub pcp: bool,
    pub natpmp: bool,
    pub upnp: bool,
    /// The router's outside address.
    pub wan: &'static str,
}

impl Offer {
    pub const ALL: Offer = Offer { pcp: true, natpmp: true, upnp: true, wan: PUBLIC };
    pub const NOTHING: Offer = Offer { pcp: false, natpmp: false, upnp: false, wan: PUBLIC };
}

/// The network; all of it is gone when this is dropped.
pub struct Network {
    pub a: Host,
    pub b: Host,
    pub outside: Host,
    router: String,
    offer: Offer,
    daemon: Option<Child>,
    directory: TempDir,
}

/// A namespace with a runtime whose threads live in it.
pub struct Host {
    name: String,
    runtime: Option<Runtime>,
}

impl Network {
    /// `None`, with a message, where namespaces cannot be made; a failure in continuous integration.
    pub fn new(offer: Offer) -> Option<Self> {
        remove_leftovers();
        let prefix = format!("dnpm{}x{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let router = format!("{prefix}r");
        if let Err(problem) = try_run("ip", &["netns", "add", &router]) {
            assert!(std::env::var_os("CI").is_none(), "port mapping tests need root: {problem}");
            eprintln!("SKIPPED: port mapping tests need root for network namespaces: {problem}");
            return None;
        }
        let hosts = ["a", "b", "o"].map(|name| Host::new(&format!("{prefix}{name}")));
        let [a, b, outside] = hosts;
        let directory = tempfile::tempdir().expect("a directory");
        let mut network = Self { a, b, outside, router, offer, daemon: None, directory };
        network.wire();
        network.start_daemon();
        Some(network)
    }

    fn wire(&self) {
        let (router, outside) = (&self.router, &self.outside.name);
        let inside = |arguments: &str| ip(router, arguments);
        inside("link set lo up");
        inside("link add lan type bridge");
        inside(&format!("addr add {GATEWAY}/24 dev lan"));
        inside("addr add 2c0f:fb50:7::1/64 dev lan nodad");
        inside("link set lan up");
        for (port, client, address) in [("lan0", &self.a, "192.168.7.100"), ("lan1", &self.b, "192.168.7.101")] {
            inside(&format!("link add {port} type veth peer name eth0 netns {}", client.name));
            inside(&format!("link set {port} master lan"));
            inside(&format!("link set {port} up"));
            client.ip("link set lo up");
            client.ip(&format!("addr add {address}/24 dev eth0"));
            let host = address.rsplit('.').next().expect("four parts");
            client.ip(&format!("addr add 2c0f:fb50:7::{host}/64 dev eth0 nodad"));
            client.ip("link set eth0 up");
            client.ip(&format!("route add default via {GATEWAY}"));
            client.ip("-6 route add default via 2c0f:fb50:7::1");
        }
        inside(&format!("link add wan type veth peer name eth0 netns {outside}"));
        inside(&format!("addr add {}/24 dev wan", self.offer.wan));
        inside("addr add 2c0f:fb50:8::1/64 dev wan nodad");
        inside("link set wan up");
        self.outside.ip("link set lo up");
        self.outside.ip(&format!("addr add {}/24 dev eth0", neighbour(self.offer.wan)));
        self.outside.ip("addr add 2c0f:fb50:8::2/64 dev eth0 nodad");
        self.outside.ip("link set eth0 up");
        self.outside.ip("-6 route add default via 2c0f:fb50:8::1");
        let forward = "echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding";
        run("ip", &["netns", "exec", router, "sh", "-c", forward]);
        self.nft(
            "table inet miniupnpd {
                chain input { type filter hook input priority 0;
                    icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
                    iifname wan drop; }
                chain forward { type filter hook forward priority 0;
                    iifname wan ct state established,related accept
                    iifname wan jump miniupnpd
                    iifname wan drop; }
                chain miniupnpd { }
                chain prerouting { type nat hook prerouting priority -100; jump prerouting_miniupnpd; }
                chain prerouting_miniupnpd { }
                chain postrouting { type nat hook postrouting priority 100; jump postrouting_miniupnpd
                    oifname wan masquerade; }
                chain postrouting_miniupnpd { }
            }",
        );
        // miniupnpd has one switch for PCP and NAT-PMP. The version byte tells them apart.
        self.nft("table inet filter {\n chain input { type filter hook input priority -10;\n }\n }");
        if !self.offer.pcp && !self.offer.natpmp {
            // It takes PCP over IPv6 even when switched off.
            self.nft("add rule inet filter input iifname lan meta nfproto ipv6 udp dport 5351 drop");
        }
        if self.offer.pcp != self.offer.natpmp {
            let dropped = if self.offer.pcp { 0 } else { 2 };
            self.nft(&format!("add rule inet filter input iifname lan udp dport 5351 @th,64,8 {dropped} drop"));
        }
    }

    fn start_daemon(&mut self) {
        let Offer { pcp, natpmp, upnp, .. } = self.offer;
        if !(pcp || natpmp || upnp) {
            return;
        }
        let word = |on: bool| if on { "yes" } else { "no" };
        let directory = self.directory.path();
        let configuration = format!(
            "ext_ifname=wan\nlistening_ip=lan\nhttp_port=0\nenable_upnp={}\nenable_natpmp={}\nmin_lifetime=5\n\
             secure_mode=yes\nupnp_table_name=miniupnpd\nupnp_nat_table_name=miniupnpd\n\
             upnp_forward_chain=miniupnpd\nupnp_nat_chain=prerouting_miniupnpd\n\
             upnp_nat_postrouting_chain=postrouting_miniupnpd\nlease_file={}\nsystem_uptime=no\n\
             allow 1024-65535 192.168.7.0/24 1024-65535\n",
            word(upnp),
            word(pcp || natpmp),
            directory.join("leases").display(),
        );
        let file = directory.join("miniupnpd.conf");
        fs::write(&file, configuration).expect("a temporary file");
        let log = fs::File::create(directory.join("log")).expect("a temporary file");
        let daemon = Command::new("ip")
            .args(["netns", "exec", &self.router, "miniupnpd", "-d", "-f"])
            .arg(&file)
            .arg("-P")
            .arg(directory.join("pid"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file"))
            .stderr(log)
            .spawn();
        self.daemon = Some(daemon.expect("miniupnpd is installed"));
        // It listens when its ports are open: 5351 for PCP and NAT-PMP, 1900 for UPnP.
        let port = if upnp { 1900 } else { 5351 };
        wait("miniupnpd listens", || {
            let open = output("ip", &["netns", "exec", &self.router, "ss", "-Hlun"]);
            open.lines().any(|line| line.contains(&format!(":{port} ")))
        });
    }

    /// Ends miniupnpd at once, forgets everything it made, starts it again and, as the scripts of routers do when the
    /// line is up, lets it tell everybody.
    pub fn restart(&mut self) {
        self.end_daemon();
        for chain in ["miniupnpd", "prerouting_miniupnpd", "postrouting_miniupnpd"] {
            self.nft(&format!("flush chain inet miniupnpd {chain}"));
        }
        fs::remove_file(self.directory.path().join("leases")).ok();
        self.start_daemon();
        let daemon = self.daemon.as_ref().expect("just started");
        run("kill", &["-USR1", &daemon.id().to_string()]);
    }

    /// From now on the router hears nothing from its clients.
    pub fn deafen(&self) {
        self.nft("add rule inet filter input iifname lan drop");
    }

    /// The rules that map ports, as the router has them.
    pub fn rules(&self) -> Vec<String> {
        let rules = self.nft("list chain inet miniupnpd prerouting_miniupnpd");
        rules.lines().filter(|line| line.contains("dnat")).map(|line| line.trim().to_owned()).collect()
    }

    fn nft(&self, script: &str) -> String {
        output("ip", &["netns", "exec", &self.router, "nft", script])
    }

    fn end_daemon(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }

    /// What miniupnpd wrote, for failures.
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.end_daemon();
        if std::thread::panicking() {
            eprintln!("--- miniupnpd ---\n{}\n--- rules ---\n{}", self.log(), self.rules().join("\n"));
        }
        let _ = try_run("ip", &["netns", "del", &self.router]);
    }
}

impl Host {
    fn new(name: &str) -> Self {
        run("ip", &["netns", "add", name]);
        let path = Path::new("/run/netns").join(name);
        // Every thread of this runtime is made by a thread of the namespace, and so lives in it.
        let runtime = std::thread::spawn(move || {
            let namespace = fs::File::open(path).expect("the namespace was just made");
            setns(namespace, CloneFlags::CLONE_NEWNET).expect("root may change the namespace");
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime")
        });
        Self { name: name.to_owned(), runtime: Some(runtime.join().expect("the thread ends")) }
    }

    /// Runs a future inside the namespace and waits for it.
    pub fn run<T: Send + 'static>(&self, future: impl Future<Output = T> + Send + 'static) -> T {
        let runtime = self.runtime.as_ref().expect("not dropped");
        // This thread stays outside: it only waits for the task.
        let task = runtime.spawn(future);
        runtime.block_on(task).expect("the task does not panic")
    }

    /// `ip` inside the namespace.
    pub fn ip(&self, arguments: &str) {
        ip(&self.name, arguments);
    }

    /// Answers what comes to this port over UDP and TCP with the same bytes, until the host is dropped.
    pub fn echo(&self, port: u16) {
        self.run(async move {
            // Both families: IPv4 comes as mapped addresses.
            let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port)).await.expect("a free port");
            let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).await.expect("a free port");
            tokio::spawn(async move {
                let mut buffer = [0; 64];
                while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                    let _ = socket.send_to(&buffer[..length], from).await;
                }
            });
            tokio::spawn(async move {
                while let Ok((mut stream, _)) = listener.accept().await {
                    let mut buffer = [0; 4];
                    if stream.read_exact(&mut buffer).await.is_ok() {
                        let _ = stream.write_all(&buffer).await;
                    }
                }
            });
        });
    }

    /// Whether the echo at an address answers over UDP, from a port of ours that it has not seen.
    pub fn udp_reaches(&self, target: SocketAddr) -> bool {
        self.run(async move {
            let any: IpAddr =
                if target.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
            let socket = UdpSocket::bind((any, 0)).await.expect("a free port");
            for _ in 0..3 {
                // Errors of the network are answers too: not reached.
                if socket.send_to(b"ping", target).await.is_err() {
                    return false;
                }
                let mut buffer = [0; 64];
                let answer = socket.recv_from(&mut buffer);
                if let Ok(Ok((4, _))) = tokio::time::timeout(Duration::from_millis(150), answer).await {
                    return true;
                }
            }
            false
        })
    }

    /// Whether the echo at an address answers over TCP.
    pub fn tcp_reaches(&self, target: SocketAddr) -> bool {
        self.run(async move {
            let talk = async {
                let mut stream = TcpStream::connect(target).await.ok()?;
                stream.write_all(b"ping").await.ok()?;
                let mut buffer = [0; 4];
                stream.read_exact(&mut buffer).await.ok()
            };
            tokio::time::timeout(Duration::from_millis(500), talk).await.ok().flatten().is_some()
        })
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_secs(2));
        }
        let _ = try_run("ip", &["netns", "del", &self.name]);
    }
}

/// Waits until a condition holds.
pub fn wait(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < end, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The outside host's address in the router's outside network.
fn neighbour(wan: &str) -> IpAddr {
    let wan: Ipv4Addr = wan.parse().expect("an address");
    let [a, b, c, d] = wan.octets();
    Ipv4Addr::new(a, b, c, d + 1).into()
}

/// Namespaces of processes that were killed.
fn remove_leftovers() {
    for line in output("ip", &["netns", "list"]).lines() {
        let name = line.split_whitespace().next().unwrap_or_default();
        let owner = name.strip_prefix("dnpm").and_then(|rest| rest.split_once('x')).map(|(owner, _)| owner);
        if owner.is_some_and(|owner| !Path::new("/proc").join(owner).exists()) {
            // Another test of this process may be faster.
            let _ = try_run("ip", &["netns", "del", name]);
        }
    }
}

fn ip(namespace: &str, arguments: &str) {
    let mut all = vec!["-n", namespace];
    all.extend(arguments.split_whitespace());
    run("ip", &all);
}

fn run(program: &str, arguments: &[&str]) {
    if let Err(problem) = try_run(program, arguments) {
        panic!("{problem}");
    }
}

fn output(program: &str, arguments: &[&str]) -> String {
    try_run(program, arguments).unwrap_or_else(|problem| panic!("{problem}"))
}

fn try_run(program: &str, arguments: &[&str]) -> Result<String, String> {
    let what = format!("{program} {}", arguments.join(" "));
    let done = Command::new(program).args(arguments).output().map_err(|error| format!("{what}: {error}"))?;
    if done.status.success() {
        Ok(String::from_utf8_lossy(&done.stdout).into_owned())
    } else {
        Err(format!("{what}: {}", String::from_utf8_lossy(&done.stderr)))
    }
}
