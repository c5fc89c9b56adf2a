//! The quick starts of the README, run as they stand there. Each fetches a file from a `dig-nat share` that it finds on
//! the local network, knowing only the hash. The Rust one is a documentation test of `dig-nat-tests`.
//!
//! C needs only what `cargo build --workspace` makes. The others need their bindings built and are run by `.ci/test`
//! after that: `cargo test -p dig-nat-cli --test quickstarts -- --ignored`.

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use dig_nat_core::base::ids::FileHash;
use dig_nat_tests::{files, tree};

use support::{Host, PROGRAM, directory};

#[test]
fn quick_start_in_c() {
    let folder = directory();
    let program = folder.path().join("fetch");
    std::fs::write(folder.path().join("fetch.c"), snippet("c")).expect("writable");
    let libraries = Path::new(PROGRAM).parent().expect("the program lies in the build folder");
    let library = libraries.join("libdig_nat.so");
    assert!(library.exists(), "{} is not built; run `cargo build --workspace` first", library.display());
    let compiled = Command::new("cc")
        .args(["-std=c99", "-Wall", "-Wextra", "-pedantic", "-Werror", "-o"])
        .arg(&program)
        .arg(folder.path().join("fetch.c"))
        .arg(format!("-I{}", tree::root().join("include").display()))
        .arg(format!("-L{}", libraries.display()))
        .arg(format!("-Wl,-rpath,{}", libraries.display()))
        .arg("-ldig_nat")
        .output()
        .expect("a C compiler");
    assert!(compiled.status.success(), "{compiled:?}");
    fetches("c", Command::new(&program));
}

#[test]
#[ignore = "needs the Python package built in place; .ci/test runs it"]
fn quick_start_in_python() {
    let python = std::env::var("DIG_NAT_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let packages = tree::root().join("bindings-python/python");
    let mut command = Command::new(python);
    command.args(["-c", &snippet("python")]).env("PYTHONPATH", packages);
    fetches("python", command);
}

#[test]
#[ignore = "needs the Node package built in place; .ci/test runs it"]
fn quick_start_in_node() {
    let folder = directory();
    let scope = folder.path().join("node_modules/@dignetwork");
    std::fs::create_dir_all(&scope).expect("writable");
    std::os::unix::fs::symlink(tree::root().join("bindings-node"), scope.join("dig-nat-tools")).expect("a link");
    let program = folder.path().join("fetch.mjs");
    std::fs::write(&program, snippet("js")).expect("writable");
    let mut command = Command::new("node");
    command.arg(&program);
    fetches("js", command);
}

#[test]
#[ignore = "needs what bindings-swift/kotlin/test.sh installs and compiles; .ci/test runs it after that"]
fn quick_start_in_kotlin() {
    let folder = directory();
    std::fs::write(folder.path().join("Fetch.kt"), snippet("kotlin")).expect("writable");
    // The compiler and the compiled binding are where `test.sh` has put them.
    let script = r#"
        cache=${DIG_NAT_KOTLIN_CACHE:-$HOME/.cache/dig-nat/kotlin}
        jna=${JNA_JAR:-/usr/share/java/jna.jar}
        binding=$(ls -td "$cache"/classes-* | head -n 1)
        jars=$(find "$cache" -path '*/kotlin-compiler*/lib' -type d | sort | tail -n 1)
        classpath="$binding:$jna:$jars/kotlinx-coroutines-core-jvm.jar"
        java -cp "$jars/*" org.jetbrains.kotlin.cli.jvm.K2JVMCompiler -nowarn -no-reflect -kotlin-home "$jars/.." \
            -classpath "$classpath" -d "$1" "$1/Fetch.kt" >&2
        exec java -cp "$1:$classpath:$jars/kotlin-stdlib.jar" -Djna.library.path="$2" FetchKt "$3"
    "#;
    let libraries = Path::new(PROGRAM).parent().expect("the program lies in the build folder");
    let mut command = Command::new("sh");
    command.args(["-euc", script, "sh"]).arg(folder.path()).arg(libraries);
    fetches("kotlin", command);
}

/// Shares a file, runs a program with its hash in an empty directory, and checks that the file is there afterwards.
fn fetches(language: &str, mut program: Command) {
    let (source, target) = (directory(), directory());
    let file = source.path().join(format!("{language}.bin"));
    let hash: FileHash = files::random_file(&file, 3_000_000, language.len() as u64);
    let _host = Host::share_with(&[&file], &[]);
    let output = program
        .arg(hash.to_string())
        .env("DIG_NAT_LOCAL_ONLY", "1")
        .env("DIG_NAT_INTERFACES", "lo")
        .current_dir(target.path())
        .output()
        .expect("the program starts");
    assert!(output.status.success(), "{language}: {output:?}");
    let saved: Vec<PathBuf> =
        std::fs::read_dir(target.path()).expect("readable").map(|entry| entry.expect("entry").path()).collect();
    assert_eq!(saved.len(), 1, "{language}: {saved:?}");
    assert_eq!(files::sha256(&saved[0]), hash, "{language}");
    let shown = String::from_utf8_lossy(&output.stdout);
    let name = saved[0].file_name().expect("a name").to_string_lossy();
    assert!(shown.contains(&*name), "{language} does not print where the file is: {shown}");
}

fn snippet(language: &str) -> String {
    let (blocks, _) = tree::code_blocks(&tree::read("README.md"));
    let mut found = blocks.into_iter().filter(|block| block.language == language);
    let block = found.next().unwrap_or_else(|| panic!("the README has no code in {language}"));
    assert!(found.next().is_none(), "the README has several programs in {language}");
    block.code
}
