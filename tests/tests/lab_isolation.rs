//! Labs leave nothing behind, however they end, do not see each other, and pass on what goes wrong inside.
//! Not here: what labs are made of (`lab`, `lab_events`).
#![cfg(target_os = "linux")]

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use dig_nat_tests::lab::probe::{external, probe};
use dig_nat_tests::lab::{self, Lab, Nat, isolate};

/// Tells a test of this file that it is run by another one, and where to write which namespaces it has.
const SCENARIO: &str = "DIG_NAT_LAB_SCENARIO";

/// Processes appear and disappear within this time on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn labs_do_not_see_each_other() {
    lab::run(|| {
        let labs = [Nat::full_cone(), Nat::symmetric(), Nat::udp_blocked()]
            .map(|nat| (nat.clone(), Lab::builder().site("a", nat).build()));
        let running = labs.each_ref().map(|(_, lab)| lab.host("a").spawn(probe));
        for ((nat, lab), running) in labs.iter().zip(running) {
            let found = running.join();
            assert_eq!(found.udp, nat.passes_udp());
            assert_eq!(found.mapping, nat.passes_udp().then(|| nat.mapping()));
            assert_eq!(lab.router("a").v4().to_string(), "44.128.2.8", "all have the same addresses");
        }
    });
}

#[test]
fn programs_run_inside_hosts() {
    lab::run(|| {
        let lab = Lab::builder().site("a", Nat::port_restricted()).build();
        let output = lab.host("a").command("ip").args(["-4", "-o", "addr", "show", "eth0"]).output();
        let output = output.expect("iproute2 is installed");
        assert!(String::from_utf8_lossy(&output.stdout).contains("192.168.1.100/24"), "{output:?}");
    });
}

/// Sockets, tasks and threads of a host's code are all inside.
#[test]
fn code_stays_in_its_host() {
    lab::run(|| {
        let lab = Lab::builder().site("a", Nat::public()).build();
        let namespace = || fs::read_link("/proc/thread-self/ns/net").expect("Linux has it");
        let inside = lab.host("a").inside(|_| namespace());
        assert_ne!(inside, namespace(), "the test itself stays outside");
        let others = lab.host("a").run(move |_| async move {
            let task = tokio::spawn(async move { namespace() }).await.expect("does not panic");
            let blocking = tokio::task::spawn_blocking(namespace).await.expect("does not panic");
            [namespace(), task, blocking]
        });
        assert_eq!(others, [inside.clone(), inside.clone(), inside]);
        let socket = lab.host("a").run(|_| tokio::net::UdpSocket::bind("0.0.0.0:0")).expect("a free port");
        let again = lab.host("a").run(|place| async move { external(&socket, place.stun[0]).await });
        assert!(again.is_some(), "a socket of one call works in the next");
    });
}

#[test]
fn failures_inside_are_failures_outside() {
    for (scenario, expected) in [
        ("scenario_panics", "a panic of the test itself"),
        ("scenario_panics_on_a_host", "a panic on a host"),
        ("scenario_hangs", "did not finish within"),
        ("scenario_is_called_elsewhere", "call `lab::run` in the test function itself"),
    ] {
        let Some(output) = this_program(scenario).and_then(|mut command| command.output().ok()) else { return };
        let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{scenario}: {text}");
        assert!(text.contains(expected), "{scenario} says nothing about it: {text}");
    }
}

#[test]
fn nothing_is_left_after_the_end() {
    let report = Report::new("end");
    let Some(mut command) = this_program("scenario_ends") else { return };
    let output = command.env(SCENARIO, &report.path).output().expect("this program runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let (_, mark) = report.read();
    assert_gone(&mark);
}

#[test]
fn nothing_is_left_after_the_test_is_killed() {
    let report = Report::new("killed-test");
    let Some(mut command) = this_program("scenario_stays") else { return };
    assert_killing_clears(command.env(SCENARIO, &report.path), &report);
}

#[test]
fn nothing_is_left_after_the_lab_is_killed() {
    let report = Report::new("killed-lab");
    let program = env::current_exe().expect("this program has a file");
    let Some(mut command) = isolate(program.as_os_str()) else { return };
    command.args(["scenario_stays", "--exact", "--include-ignored", "--test-threads=1"]);
    assert_killing_clears(command.env(SCENARIO, &report.path), &report);
}

// --- what the tests above run in processes of their own ---

#[test]
#[ignore = "part of another test"]
fn scenario_panics() {
    if env::var_os(SCENARIO).is_some() {
        lab::run(|| panic!("a panic of the test itself"));
    }
}

#[test]
#[ignore = "part of another test"]
fn scenario_panics_on_a_host() {
    if env::var_os(SCENARIO).is_some() {
        lab::run(|| {
            let lab = Lab::builder().build();
            lab.host("relay").run(|_| async { panic!("a panic on a host") });
        });
    }
}

#[test]
#[ignore = "part of another test"]
fn scenario_hangs() {
    if env::var_os(SCENARIO).is_some() {
        lab::run_within(Duration::from_millis(700), || thread::sleep(PATIENCE * 10));
    }
}

#[test]
#[ignore = "part of another test"]
fn scenario_is_called_elsewhere() {
    if env::var_os(SCENARIO).is_some() {
        let thread = thread::Builder::new().name("elsewhere".to_owned());
        let ended = thread.spawn(|| lab::run(|| ())).expect("a thread").join();
        ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    }
}

#[test]
#[ignore = "part of another test"]
fn scenario_ends() {
    if let Some(path) = env::var_os(SCENARIO) {
        lab::run(move || {
            let lab = Lab::builder().site("a", Nat::port_restricted()).build();
            drop(busy(&lab, Path::new(&path)));
        });
    }
}

#[test]
#[ignore = "part of another test"]
fn scenario_stays() {
    if let Some(path) = env::var_os(SCENARIO) {
        lab::run(move || {
            let lab = Lab::builder().site("a", Nat::port_restricted()).build();
            let mut child = busy(&lab, Path::new(&path));
            child.wait().expect("it sleeps until it is killed");
        });
    }
}

/// Starts a program inside the lab that would live long, and reports the namespaces. The program can be found by the
/// odd number of seconds that it sleeps.
fn busy(lab: &Lab, report: &Path) -> Child {
    let mark = format!("98{}", report.to_string_lossy().bytes().map(u32::from).sum::<u32>());
    let child = lab.host("a").command("sleep").arg(&mark).spawn().expect("sleep is everywhere");
    let mut lines = vec![mark];
    for host in lab.hosts() {
        let namespace = host.inside(|_| fs::read_link("/proc/thread-self/ns/net").expect("Linux has it"));
        lines.push(namespace.to_string_lossy().into_owned());
    }
    // Complete as soon as it is there.
    let draft = report.with_extension("draft");
    fs::write(&draft, lines.join("\n")).expect("a temporary folder");
    fs::rename(draft, report).expect("a temporary folder");
    child
}

// --- judging from outside ---

/// A file by which a process inside tells its namespaces.
struct Report {
    path: PathBuf,
    _folder: tempfile::TempDir,
}

impl Report {
    fn new(name: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        Self { path: folder.path().join(name), _folder: folder }
    }

    /// The namespaces and the mark, as soon as they are there.
    fn read(&self) -> (BTreeSet<String>, String) {
        wait_for("the lab's report", || self.path.exists());
        let text = fs::read_to_string(&self.path).expect("just seen");
        let mut lines = text.lines().map(str::to_owned);
        let mark = lines.next().expect("a mark");
        (lines.collect(), mark)
    }
}

/// This test program for one scenario. `None` where labs cannot run.
fn this_program(scenario: &str) -> Option<Command> {
    isolate("true".as_ref())?;
    let mut command = Command::new(env::current_exe().expect("this program has a file"));
    command.args([scenario, "--exact", "--include-ignored", "--nocapture"]).env(SCENARIO, "1");
    Some(command)
}

fn assert_killing_clears(command: &mut Command, report: &Report) {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("starts");
    let (namespaces, mark) = report.read();
    assert!(namespaces.len() >= 5, "a lab has five nodes: {namespaces:?}");
    // The numbers of namespaces are given out again at once, so what is looked for are the processes that hold them.
    let holders = processes(|process| holds(process, &namespaces) || bears(process, &mark));
    assert!(holders.len() >= 2, "the lab and its program: {holders:?}");
    // SIGKILL: no destructor runs.
    child.kill().expect("it still runs");
    child.wait().expect("it was killed");
    wait_for("the lab's processes to go", || holders.is_disjoint(&processes(|_| true)));
    assert_gone(&mark);
}

fn assert_gone(mark: &str) {
    wait_for("the lab's program to go", || processes(|process| bears(process, mark)).is_empty());
    let named = fs::read_dir("/run/netns").map(|entries| entries.flatten().map(|entry| entry.file_name()).collect());
    let named: Vec<_> = named.unwrap_or_default();
    for name in ["a", "a.router", "internet", "stun", "relay"] {
        assert!(!named.contains(&name.into()), "a named namespace was left: {named:?}");
    }
    let interfaces = fs::read_to_string("/proc/net/dev").expect("Linux has it");
    let names: Vec<_> =
        interfaces.lines().filter_map(|line| line.split_once(':')).map(|(name, _)| name.trim()).collect();
    assert!(!names.iter().any(|name| ["wan", "lan", "l0", "p0", "p1"].contains(name)), "interfaces left: {names:?}");
}

/// The processes of a kind, each with the time it started, since numbers are used again.
fn processes(mut is_wanted: impl FnMut(&Path) -> bool) -> BTreeSet<(PathBuf, String)> {
    let all = fs::read_dir("/proc").expect("Linux has it").flatten().map(|entry| entry.path());
    let started = |process: &Path| {
        let stat = fs::read_to_string(process.join("stat")).ok()?;
        // The 22nd field; the second one, in parentheses, may contain spaces.
        stat.rsplit_once(')')?.1.split_whitespace().nth(19).map(str::to_owned)
    };
    all.filter(|process| is_wanted(process)).filter_map(|process| Some((process.clone(), started(&process)?))).collect()
}

/// Whether a process is in one of the namespaces or holds one open.
fn holds(process: &Path, namespaces: &BTreeSet<String>) -> bool {
    let is_ours = |link: &Path| fs::read_link(link).is_ok_and(|to| namespaces.contains(&*to.to_string_lossy()));
    let files = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
    is_ours(&process.join("ns/net")) || files.map(|file| file.path()).any(|file| is_ours(&file))
}

/// Whether a process was started with the mark as an argument.
fn bears(process: &Path, mark: &str) -> bool {
    let line = fs::read(process.join("cmdline")).unwrap_or_default();
    line.split(|byte| *byte == 0).any(|argument| argument == mark.as_bytes())
}

#[track_caller]
fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < end, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(20));
    }
}
