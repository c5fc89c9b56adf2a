//! Local discovery between hosts on real bridges: by IPv4, by IPv6 only, over several interfaces, seen by others'
//! browsers, not beyond the segment, and without a storm. Not here: answers, their suppression and timing
//! (`discovery_machine` of core), which need no network.
#![cfg(target_os = "linux")]

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use dig_nat_core::api::{FileClient, FileHost};
use dig_nat_core::base::ids::{ContentKey, FileHash};
use dig_nat_core::base::options::{ClientOptions, FindOptions, HostOptions, NodeOptions};
use dig_nat_tests::lab::{self, Host, Ipv6, Lab, Nat, Running, Site};
use tokio_util::sync::CancellationToken;

/// Far more than anything here takes: a second is what users are promised, the machine may be busy.
const WAIT: Duration = Duration::from_secs(30);

const MDNS: u16 = 5353;

fn options(ipv6: bool) -> NodeOptions {
    NodeOptions { local_only: true, enable_ipv6: ipv6, ..NodeOptions::default() }
}

fn content(number: usize) -> String {
    format!("content number {number}")
}

fn key(number: usize) -> ContentKey {
    ContentKey::Hash(FileHash::of(content(number).as_bytes()))
}

/// A host with so many files, which runs until the token is cancelled.
struct Sharing {
    running: Running<()>,
    end: CancellationToken,
    peer: String,
}

impl Sharing {
    fn start(host: &Host, files: usize, ipv6: bool) -> Self {
        let end = CancellationToken::new();
        let until = end.clone();
        let (tell, told) = std::sync::mpsc::sync_channel(1);
        let running = host.spawn(move |_| async move {
            let folder = tempfile::tempdir().expect("temporary folder");
            for number in 0..files {
                fs::write(folder.path().join(number.to_string()), content(number)).expect("written");
            }
            let sharing = HostOptions { directory: Some(folder.path().to_owned()), ..HostOptions::default() };
            let host = FileHost::new(options(ipv6), sharing).expect("valid");
            host.start().await.expect("started");
            tell.send(host.peer_id().expect("it runs").to_string()).expect("awaited");
            until.cancelled().await;
            host.stop().await.expect("stopped");
        });
        let peer = told.recv_timeout(WAIT).expect("a running host");
        Self { running, end, peer }
    }

    fn stop(self) {
        self.end.cancel();
        self.running.join();
    }
}

/// Looks for one content from a host that has just started; the addresses it is found at, and how long that took.
fn find(seeker: &Host, number: usize, ipv6: bool, patience: Duration) -> Option<(String, Vec<String>, Duration)> {
    seeker.run(move |_| async move {
        let client = FileClient::new(options(ipv6), ClientOptions::default()).expect("valid");
        client.start().await.expect("started");
        let begun = Instant::now();
        let find = FindOptions { max_peers: 1, timeout_ms: patience.as_millis() as u64 };
        let found = client.find_peers(key(number), find).await.expect("searched");
        let took = begun.elapsed();
        client.stop().await.expect("stopped");
        found.first().map(|peer| (peer.id.clone(), peer.addresses.clone(), took))
    })
}

fn home(clients: usize) -> Site {
    Site::new(Nat::port_restricted()).clients(clients)
}

#[test]
fn hosts_on_a_bridge_find_each_other_and_nobody_beyond_it_notices() {
    lab::run(|| {
        let lab = Lab::builder().site("a", home(2)).site("b", home(1)).build();
        let inside = lab.router("a").capture("lan");
        let outside = [lab.router("a").capture("wan"), lab.router("b").capture("lan"), lab.host("b").capture("eth0")];
        let sharing = Sharing::start(lab.host("a"), 1, false);
        let (peer, addresses, took) = find(lab.host("a-2"), 0, false, WAIT).expect("found");
        println!("found by IPv4 after {took:?}");
        assert_eq!(peer, sharing.peer);
        let at = lab.host("a").v4().to_string();
        assert!(!addresses.is_empty() && addresses.iter().all(|address| address.contains(&at)), "{addresses:?}");
        assert_eq!(find(lab.host("b"), 0, false, Duration::from_secs(2)), None, "another segment");
        sharing.stop();
        assert!(inside.udp_to(MDNS)[0] > 0, "the capture sees nothing at all");
        // What the host of the other segment asked itself is all there is, and it is not passed on either.
        assert_eq!(outside[0].udp_to(MDNS), [0, 0]);
        let others = lab.router("a").capture("lan");
        let before = [outside[1].udp_to(MDNS), outside[2].udp_to(MDNS)];
        let sharing = Sharing::start(lab.host("a"), 1, false);
        find(lab.host("a-2"), 0, false, WAIT).expect("found again");
        sharing.stop();
        assert!(others.udp_to(MDNS)[0] > 0);
        assert_eq!([outside[1].udp_to(MDNS), outside[2].udp_to(MDNS)], before, "it crossed to another segment");
    });
}

#[test]
fn hosts_without_ipv4_find_each_other() {
    lab::run(|| {
        let lab = Lab::builder().site("a", home(2).ipv6_only(Ipv6::Firewalled)).build();
        let capture = lab.router("a").capture("lan");
        let sharing = Sharing::start(lab.host("a"), 1, true);
        let (peer, addresses, took) = find(lab.host("a-2"), 0, true, WAIT).expect("found");
        println!("found by IPv6 after {took:?}");
        assert_eq!(peer, sharing.peer);
        let at = lab.host("a").v6().to_string();
        assert!(addresses.iter().any(|address| address.contains(&at)), "{addresses:?}");
        sharing.stop();
        let [v4, v6] = capture.udp_to(MDNS);
        assert!(v4 == 0 && v6 > 0, "{v4} packets by IPv4, {v6} by IPv6");
    });
}

#[test]
fn every_interface_is_used() {
    lab::run(|| {
        let lab = Lab::builder().site("a", home(2)).site("b", home(1)).build();
        lab.cable("a", "b");
        let sharing = Sharing::start(lab.host("a"), 1, false);
        let at = |seeker: &str| find(lab.host(seeker), 0, false, WAIT).expect("found").1;
        let (beside, cabled) = (at("a-2"), at("b"));
        let lan = lab.host("a").v4().to_string();
        assert!(beside.iter().all(|address| address.contains(&lan)), "{beside:?}");
        assert!(cabled.iter().all(|address| address.contains("10.9.0.1")), "{cabled:?}");
        sharing.stop();
    });
}

#[test]
fn two_hundred_files_make_no_storm() {
    lab::run(|| {
        let lab = Lab::builder().site("a", home(3)).build();
        let capture = lab.router("a").capture("lan");
        let sharing = Sharing::start(lab.host("a"), 200, false);
        let announced = capture.udp_to(MDNS)[0];
        for (seeker, number) in [("a-2", 0), ("a-3", 199)] {
            assert_eq!(find(lab.host(seeker), number, false, WAIT).expect("found").0, sharing.peer);
        }
        let found = capture.udp_to(MDNS)[0];
        sharing.stop();
        println!("{announced} packets to announce 200 files, {found} with two searches");
        assert!(announced <= 4, "{announced} packets to announce 200 files");
        assert!(found <= 40, "{found} packets");
    });
}

/// Programs that end with the test.
struct Programs(Vec<Child>);

impl Drop for Programs {
    fn drop(&mut self) {
        for program in &mut self.0 {
            // It may have ended by itself.
            let _ = program.kill();
            let _ = program.wait();
        }
    }
}

fn is_installed(program: &str) -> bool {
    Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

#[test]
fn avahi_shows_the_service() {
    const BUS: &str = "unix:path=/run/bus";
    lab::run(|| {
        let missing = ["dbus-daemon", "avahi-daemon", "avahi-browse"].map(|program| (program, is_installed(program)));
        if let Some((program, _)) = missing.iter().find(|(_, installed)| !installed) {
            assert!(std::env::var("CI").as_deref() != Ok("true"), "{program} is not installed");
            return eprintln!("SKIPPED: {program} (packages avahi-daemon, avahi-utils, dbus-daemon) is not installed");
        }
        // Only this process and its children see what is mounted.
        let mount = |arguments: &[&str]| {
            let mounted = Command::new("mount").args(arguments).status();
            assert!(mounted.is_ok_and(|status| status.success()), "mount {arguments:?}");
        };
        mount(&["-t", "tmpfs", "none", "/run"]);
        let folder = tempfile::tempdir().expect("temporary folder");
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::write(&path, text).expect("written");
            path
        };
        // Its own user is one that the lab, where there is only root, does not have.
        for (name, text) in
            [("passwd", "root:x:0:0::/:/bin/sh\navahi:x:0:0::/:/bin/false\n"), ("group", "root:x:0:\navahi:x:0:\n")]
        {
            let ours = write(name, text);
            mount(&["--bind", &ours.display().to_string(), &format!("/etc/{name}")]);
        }
        let bus = write(
            "bus.conf",
            &format!(
                "<busconfig><type>system</type><listen>{BUS}</listen><auth>EXTERNAL</auth><policy context=\"default\">\
                 <allow user=\"*\"/><allow own=\"*\"/><allow send_destination=\"*\"/><allow receive_sender=\"*\"/>\
                 </policy></busconfig>"
            ),
        );
        let avahi = write(
            "avahi.conf",
            "[server]\nuse-ipv4=yes\nuse-ipv6=no\nallow-interfaces=eth0\n[publish]\ndisable-publishing=yes\n",
        );
        let lab = Lab::builder().site("a", home(2)).build();
        let browsing = lab.host("a-2");
        let start = |command: &mut Command| {
            command.env("DBUS_SYSTEM_BUS_ADDRESS", BUS).stdin(Stdio::null()).spawn().expect("started")
        };
        let mut programs = Programs(Vec::new());
        programs.0.push(start(browsing.command("dbus-daemon").arg("--nofork").arg("--config-file").arg(&bus)));
        let begun = Instant::now();
        while !fs::exists("/run/bus").expect("our directory") {
            assert!(begun.elapsed() < WAIT, "no bus");
            std::thread::sleep(Duration::from_millis(10));
        }
        let daemon = ["--no-drop-root", "--no-chroot", "--no-rlimits", "--no-proc-title", "--file"];
        programs.0.push(start(browsing.command("avahi-daemon").args(daemon).arg(&avahi)));
        let sharing = Sharing::start(lab.host("a"), 1, false);
        // The browser ends when it has told what is known so far, which may be nothing yet.
        let line = loop {
            let mut browse = browsing.command("avahi-browse");
            browse.args(["--resolve", "--parsable", "--terminate", "_dig-nat._udp"]);
            let output = browse.env("DBUS_SYSTEM_BUS_ADDRESS", BUS).output().expect("started");
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            if let Some(line) = text.lines().find(|line| line.starts_with('=')) {
                break line.to_owned();
            }
            let problem = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(begun.elapsed() < WAIT, "avahi-browse shows nothing: {text} {problem}");
            std::thread::sleep(Duration::from_millis(100));
        };
        println!("{line}");
        let fields: Vec<&str> = line.split(';').collect();
        assert_eq!((fields[1], fields[2], fields[4], fields[5]), ("eth0", "IPv4", "_dig-nat._udp", "local"));
        assert_eq!(fields[7], lab.host("a").v4().to_string());
        assert!(line.contains(&format!("\"id={}\"", sharing.peer)), "{line}");
        sharing.stop();
    });
}
