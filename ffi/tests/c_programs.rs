//! C programs against the header and the library: compiled under pedantic flags, run over loopback, misused, and run
//! under valgrind.

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use dig_nat_core::base::ids::FileHash;
use support::{C_FLAGS, Host, command, compile, crate_dir, library_dir, run, succeed};
use tempfile::TempDir;

/// A few pieces and an odd tail.
const FILE_BYTES: usize = 3 * 1024 * 1024 + 12_345;

fn write_file(dir: &Path) -> (PathBuf, Vec<u8>) {
    let data: Vec<u8> = (0..FILE_BYTES as u64).map(|i| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect();
    let path = dir.join("shared.bin");
    std::fs::write(&path, &data).expect("a temporary folder is writable");
    (path, data)
}

fn examples(dir: &Path) -> (PathBuf, PathBuf) {
    let (host, client) = (dir.join("host"), dir.join("client"));
    compile(&crate_dir().join("examples/host.c"), &host);
    compile(&crate_dir().join("examples/client.c"), &client);
    (host, client)
}

#[test]
fn the_header_compiles_alone_as_c_and_cpp() {
    let dir = TempDir::new().expect("a temporary folder");
    for (compiler, language, standard) in [
        ("gcc", "c", "c11"),
        ("gcc", "c", "c17"),
        ("g++", "c++", "c++11"),
        ("g++", "c++", "c++17"),
        ("g++", "c++", "c++20"),
    ] {
        let mut cc = Command::new(compiler);
        cc.args(["-x", language, &format!("-std={standard}"), "-Wall", "-Wextra", "-Werror", "-pedantic", "-c"]);
        cc.arg("-I").arg(crate_dir().join("../include")).arg(crate_dir().join("tests/c/header.c"));
        cc.arg("-o").arg(dir.path().join("header.o"));
        succeed(cc);
    }
}

#[test]
fn a_client_downloads_from_a_host() {
    let dir = TempDir::new().expect("a temporary folder");
    let (host, client) = examples(dir.path());
    let (shared, data) = write_file(dir.path());
    let target = dir.path().join("downloaded.bin");

    let mut host = command(&host);
    host.arg(&shared);
    let host = Host::start(host);
    assert_eq!(host.hash, FileHash::of(&data).to_string());
    assert!(!host.addresses.is_empty());

    let mut client = command(&client);
    client.arg(&host.hash).arg(&target).args(&host.addresses);
    let printed = succeed(client);
    assert!(printed.contains(&format!("hash {}\nsize {FILE_BYTES}\n", host.hash)), "{printed}");
    assert!(printed.contains(&format!("done calls 1, last progress {FILE_BYTES}\n")), "{printed}");
    assert!(!printed.contains("progress calls 0"), "{printed}");
    assert!(std::fs::read(&target).expect("the target is there") == data);
    host.stop();
}

#[test]
fn a_download_of_something_nobody_has_fails_with_advice() {
    let dir = TempDir::new().expect("a temporary folder");
    let (host, client) = examples(dir.path());
    let (shared, _) = write_file(dir.path());
    let mut host = command(&host);
    host.arg(&shared);
    let host = Host::start(host);

    let mut client = command(&client);
    client.arg("00".repeat(32)).arg(dir.path().join("nothing")).args(&host.addresses);
    let output = run(client);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("ERR_CONTENT_NOT_FOUND") || text.contains("ERR_NO_PEERS"), "{text}");
    assert!(text.contains("check the hash"), "{text}");
    host.stop();
}

#[test]
fn misuse_gives_errors_and_no_crash() {
    let dir = TempDir::new().expect("a temporary folder");
    let program = dir.path().join("misuse");
    compile(&crate_dir().join("tests/c/misuse.c"), &program);
    let mut misuse = command(&program);
    misuse.arg(dir.path());
    assert_eq!(succeed(misuse), "ok\n");
}

#[test]
fn managers_exchange_messages_and_callbacks_come_once() {
    let dir = TempDir::new().expect("a temporary folder");
    let program = dir.path().join("session");
    compile(&crate_dir().join("tests/c/session.c"), &program);
    let (shared, _) = write_file(dir.path());
    let mut session = command(&program);
    session.arg(&shared).arg(dir.path());
    assert_eq!(succeed(session), "ok\n");
}

#[test]
fn a_manager_reaches_a_peer_and_says_how() {
    let dir = TempDir::new().expect("a temporary folder");
    let program = dir.path().join("reach");
    compile(&crate_dir().join("tests/c/reach.c"), &program);
    assert_eq!(succeed(command(&program)), "ok\n");
}

#[test]
fn what_is_announced_is_found() {
    let dir = TempDir::new().expect("a temporary folder");
    let program = dir.path().join("discovery");
    compile(&crate_dir().join("tests/c/discovery.c"), &program);
    assert_eq!(succeed(command(&program)), "ok\n");
}

fn valgrind(program: &Path) -> Command {
    let mut valgrind = command("valgrind");
    valgrind.args(["--quiet", "--error-exitcode=99", "--leak-check=full", "--errors-for-leak-kinds=definite"]);
    valgrind.args(["--show-leak-kinds=definite", "--fair-sched=yes"]).arg(program);
    valgrind
}

/// One side at a time: valgrind makes a program so slow that two of them would miss the deadlines of the protocols.
#[test]
fn memory_is_sound_under_valgrind() {
    let dir = TempDir::new().expect("a temporary folder");
    let (host, client) = examples(dir.path());
    let shared = dir.path().join("shared.bin");
    let data = vec![7; 300_000];
    std::fs::write(&shared, &data).expect("a temporary folder is writable");
    let target = dir.path().join("downloaded.bin");
    let download = |host: &Host, mut client: Command| {
        client.arg(&host.hash).arg(&target).args(host.addresses.iter().filter(|address| address.contains("/tcp/")));
        succeed(client);
        assert!(std::fs::read(&target).expect("the target is there") == data);
        std::fs::remove_file(&target).expect("it was just read");
    };

    let mut plain_host = command(&host);
    plain_host.arg(&shared);
    let plain_host = Host::start(plain_host);
    download(&plain_host, valgrind(&client));
    plain_host.stop();

    let mut checked_host = valgrind(&host);
    checked_host.arg(&shared);
    let checked_host = Host::start(checked_host);
    download(&checked_host, command(&client));
    checked_host.stop();

    let misuse = dir.path().join("misuse");
    compile(&crate_dir().join("tests/c/misuse.c"), &misuse);
    let mut misuse = valgrind(&misuse);
    misuse.arg(dir.path());
    assert_eq!(succeed(misuse), "ok\n");
}

#[test]
fn an_installed_library_is_found_by_pkg_config() {
    let dir = TempDir::new().expect("a temporary folder");
    let prefix = dir.path().join("prefix");
    let mut install = Command::new("sh");
    install.arg(crate_dir().join("install.sh")).arg("--prefix").arg(&prefix).arg("--from").arg(library_dir());
    succeed(install);

    let pkg_config = |argument: &str| {
        let mut tool = Command::new("pkg-config");
        tool.env("PKG_CONFIG_PATH", prefix.join("lib/pkgconfig")).args([argument, "dig_nat"]);
        succeed(tool).split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(pkg_config("--modversion"), [env!("CARGO_PKG_VERSION")]);

    let program = dir.path().join("shared");
    let mut cc = Command::new("gcc");
    cc.args(C_FLAGS).arg(crate_dir().join("tests/c/misuse.c")).arg("-o").arg(&program);
    cc.args(pkg_config("--cflags")).args(pkg_config("--libs"));
    succeed(cc);
    let mut run_it = command(&program);
    run_it.env("LD_LIBRARY_PATH", prefix.join("lib")).arg(dir.path());
    assert_eq!(succeed(run_it), "ok\n");

    // The makefile of the examples finds it the same way.
    let examples = dir.path().join("examples");
    std::fs::create_dir(&examples).expect("a temporary folder is writable");
    for name in ["Makefile", "host.c", "client.c"] {
        std::fs::copy(crate_dir().join("examples").join(name), examples.join(name)).expect("copied");
    }
    let mut make = Command::new("make");
    make.env("PKG_CONFIG_PATH", prefix.join("lib/pkgconfig")).arg("-C").arg(&examples);
    make.arg(format!("CFLAGS={}", C_FLAGS.join(" ")));
    succeed(make);
    assert!(examples.join("host").exists() && examples.join("client").exists());

    // The static library needs exactly what the .pc file says.
    let program = dir.path().join("static");
    let mut cc = Command::new("gcc");
    cc.args(C_FLAGS).arg(crate_dir().join("tests/c/misuse.c")).arg("-o").arg(&program);
    cc.args(pkg_config("--cflags")).arg(prefix.join("lib/libdig_nat.a"));
    let mut private = Command::new("pkg-config");
    private.env("PKG_CONFIG_PATH", prefix.join("lib/pkgconfig")).args(["--static", "--libs-only-l", "dig_nat"]);
    cc.args(succeed(private).split_whitespace().filter(|library| *library != "-ldig_nat"));
    succeed(cc);
    let mut run_it = command(&program);
    run_it.env_remove("LD_LIBRARY_PATH").arg(dir.path());
    assert_eq!(succeed(run_it), "ok\n");
}

#[test]
fn an_installed_library_is_found_by_cmake() {
    if Command::new("cmake").arg("--version").output().is_err() {
        // The one optional tool here: nothing else of the project needs it.
        println!("cmake is not installed: its package files were not tried");
        return;
    }
    let dir = TempDir::new().expect("a temporary folder");
    let prefix = dir.path().join("prefix");
    let mut install = Command::new("sh");
    install.arg(crate_dir().join("install.sh")).arg("--prefix").arg(&prefix).arg("--from").arg(library_dir());
    succeed(install);
    let project = "cmake_minimum_required(VERSION 3.13)\nproject(try C)\nfind_package(dig_nat 0.1 REQUIRED)\n\
        foreach(kind dig_nat static)\nadd_executable(try_${kind} misuse.c)\n\
        target_link_libraries(try_${kind} dig_nat::${kind})\nendforeach()\n";
    std::fs::write(dir.path().join("CMakeLists.txt"), project).expect("writable");
    std::fs::copy(crate_dir().join("tests/c/misuse.c"), dir.path().join("misuse.c")).expect("copied");
    let mut configure = Command::new("cmake");
    configure.arg("-S").arg(dir.path()).arg("-B").arg(dir.path().join("build"));
    configure.arg(format!("-DCMAKE_PREFIX_PATH={}", prefix.display()));
    succeed(configure);
    let mut build = Command::new("cmake");
    build.arg("--build").arg(dir.path().join("build"));
    succeed(build);
    for program in ["build/try_dig_nat", "build/try_static"] {
        let mut run_it = command(dir.path().join(program));
        run_it.env_remove("LD_LIBRARY_PATH").arg(dir.path());
        assert_eq!(succeed(run_it), "ok\n");
    }
}
