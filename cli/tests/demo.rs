//! The demonstration does what it says, and cleans up.

use std::process::Command;

#[test]
fn the_demonstration_succeeds_and_leaves_nothing() {
    let temporary = tempfile::tempdir().expect("temporary directory");
    let output = Command::new(env!("CARGO_BIN_EXE_dig-nat"))
        .args(["demo", "--size", "8MiB"])
        .env("TMPDIR", temporary.path())
        .output()
        .expect("runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    for expected in
        ["file     8.0 MiB", "by local discovery", "copied   in", "over tcp", "the copy has the same SHA-256"]
    {
        assert!(text.contains(expected), "the output lacks '{expected}':\n{text}");
    }
    assert_eq!(std::fs::read_dir(temporary.path()).expect("readable").count(), 0, "files were left behind");
}

#[test]
fn kept_files_are_equal() {
    let temporary = tempfile::tempdir().expect("temporary directory");
    let output = Command::new(env!("CARGO_BIN_EXE_dig-nat"))
        .args(["demo", "--size", "1MiB", "--keep"])
        .env("TMPDIR", temporary.path())
        .output()
        .expect("runs");
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    let kept = text.lines().find_map(|line| line.strip_prefix("kept     ")).expect("says where");
    let read = |name: &str| std::fs::read(std::path::Path::new(kept).join(name)).expect("kept");
    assert_eq!(read("original.bin").len(), 1 << 20);
    assert!(read("original.bin") == read("copy.bin"));
}
