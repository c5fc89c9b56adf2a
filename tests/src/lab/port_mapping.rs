//! A router of the lab that forwards ports on request: miniupnpd with UPnP, NAT-PMP and PCP. Not here: what the library
//! makes of it, and routers with a choice of these protocols (`tests/tests/port_mapping`).

use std::fs;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::Lab;

/// Longest wait for the daemon to listen.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running daemon; it ends, and its forwarded ports with it, when this is dropped.
#[derive(Debug)]
pub struct PortMapping {
    daemon: Child,
    directory: TempDir,
}

impl Lab {
    /// The router next to the clients of this site forwards ports on request from now on. Needs miniupnpd (Debian
    /// package of that name) and public addresses that look so.
    #[track_caller]
    pub fn map_ports(&self, site: &str) -> PortMapping {
        let router = self.router(site);
        let client = self.host(site).v4().octets();
        let network = format!("{}.{}.{}.0/24", client[0], client[1], client[2]);
        let table = "table inet miniupnpd {
            chain forward { type filter hook forward priority 0; iifname wan jump miniupnpd; }
            chain miniupnpd { }
            chain prerouting { type nat hook prerouting priority -100; jump prerouting_miniupnpd; }
            chain prerouting_miniupnpd { }
            chain postrouting { type nat hook postrouting priority 100; jump postrouting_miniupnpd; }
            chain postrouting_miniupnpd { }
        }";
        let made = router.command("nft").arg(table).output().expect("nft runs");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let directory = tempfile::tempdir().expect("a directory");
        let configuration = format!(
            "ext_ifname=wan\nlistening_ip=lan\nhttp_port=0\nenable_upnp=yes\nenable_natpmp=yes\nmin_lifetime=5\n\
             secure_mode=yes\nupnp_table_name=miniupnpd\nupnp_nat_table_name=miniupnpd\n\
             upnp_forward_chain=miniupnpd\nupnp_nat_chain=prerouting_miniupnpd\n\
             upnp_nat_postrouting_chain=postrouting_miniupnpd\nlease_file={}\nsystem_uptime=no\n\
             allow 1024-65535 {network} 1024-65535\n",
            directory.path().join("leases").display(),
        );
        let file = directory.path().join("miniupnpd.conf");
        fs::write(&file, configuration).expect("a temporary file");
        let log = fs::File::create(directory.path().join("log")).expect("a temporary file");
        let daemon = router
            .command("miniupnpd")
            .args(["-d", "-f"])
            .arg(&file)
            .arg("-P")
            .arg(directory.path().join("pid"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file"))
            .stderr(log)
            .spawn()
            .expect("nsenter runs");
        let mapping = PortMapping { daemon, directory };
        let deadline = Instant::now() + PATIENCE;
        let open = || {
            let open = router.command("ss").arg("-Hlun").output().expect("ss runs").stdout;
            let open = String::from_utf8_lossy(&open).into_owned();
            [":1900 ", ":5351 "].iter().all(|port| open.contains(port))
        };
        while !open() {
            assert!(Instant::now() < deadline, "miniupnpd does not listen: {}", mapping.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        mapping
    }
}

impl PortMapping {
    /// What the daemon wrote, for failures.
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }
}

impl Drop for PortMapping {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}
