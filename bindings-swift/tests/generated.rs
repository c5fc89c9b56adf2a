//! The Swift and Kotlin sources: generated from the library, committed, and equal to core's tables.
//! `DIG_NAT_UPDATE=1 cargo test -p dig-nat-mobile --test generated` writes them anew.

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use dig_nat_core::ErrorKind;
use dig_nat_core::api::manifest;
use support::{crate_dir, generate, library};
use tempfile::TempDir;
use uniffi::TargetLanguage;

/// Generated name, committed path.
const FILES: &[(&str, &str)] = &[
    ("DigNat.swift", "swift/Sources/DigNat/DigNat.swift"),
    ("DigNatFFI.h", "swift/Sources/DigNatFFI/DigNatFFI.h"),
    ("org/dignetwork/dignat/dig_nat.kt", "kotlin/src/main/kotlin/org/dignetwork/dignat/dig_nat.kt"),
];

fn committed(path: &str) -> String {
    std::fs::read_to_string(crate_dir().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn the_committed_sources_are_the_generated_ones() {
    let dir = TempDir::new().expect("a temporary folder");
    generate(&[TargetLanguage::Swift, TargetLanguage::Kotlin], dir.path());
    for (generated, path) in FILES {
        let text = std::fs::read_to_string(dir.path().join(generated)).unwrap_or_else(|e| panic!("{generated}: {e}"));
        let target = crate_dir().join(path);
        if std::env::var_os("DIG_NAT_UPDATE").is_some() {
            std::fs::create_dir_all(target.parent().expect("a file in a folder")).expect("writable");
            std::fs::write(&target, &text).expect("writable");
        }
        assert!(committed(path) == text, "{path} is out of date; run with DIG_NAT_UPDATE=1 and commit it");
    }
    // The generated module map has no `link` line; everything else of it is in ours.
    let map = std::fs::read_to_string(dir.path().join("DigNatFFI.modulemap")).expect("generated");
    let ours = committed("swift/Sources/DigNatFFI/module.modulemap");
    for line in map.lines().map(str::trim).filter(|line| line.starts_with("header") || line.starts_with("module")) {
        assert!(ours.contains(line), "module.modulemap lacks: {line}");
    }
}

/// There is no Swift compiler on every machine; the C header that Swift imports can be checked everywhere.
#[test]
fn the_header_for_swift_is_valid_c_and_the_library_has_its_symbols() {
    let dir = TempDir::new().expect("a temporary folder");
    let header = crate_dir().join("swift/Sources/DigNatFFI/DigNatFFI.h");
    let source = dir.path().join("header.c");
    std::fs::write(&source, format!("#include \"{}\"\n", header.display())).expect("writable");
    let gcc = Command::new("gcc")
        .args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-D_Nullable=", "-D_Nonnull=", "-c", "-o"])
        .arg(dir.path().join("header.o"))
        .arg(&source)
        .output()
        .expect("gcc is installed");
    assert!(gcc.status.success(), "{}", String::from_utf8_lossy(&gcc.stderr));

    let symbols = Command::new("nm").args(["-D", "--defined-only"]).arg(library()).output().expect("nm is installed");
    let symbols = String::from_utf8(symbols.stdout).expect("ASCII");
    let exported: Vec<&str> = symbols.lines().filter_map(|line| line.split_whitespace().last()).collect();
    let header = committed("swift/Sources/DigNatFFI/DigNatFFI.h");
    let declared: Vec<&str> = header
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| word.starts_with("uniffi_dig_nat_mobile_") || word.starts_with("ffi_dig_nat_mobile_"))
        .collect();
    assert!(declared.len() > 50, "the search found only {} functions", declared.len());
    for name in declared {
        assert!(exported.contains(&name), "{name} is not in the library");
    }
}

#[test]
fn records_have_the_options_of_cores_tables() {
    let swift = committed("swift/Sources/DigNat/DigNat.swift");
    let kotlin = committed("kotlin/src/main/kotlin/org/dignetwork/dignat/dig_nat.kt");
    // What makes no sense for a node that never uploads.
    let uploads = ["upload_limit", "peer_upload_limit", "relay_server", "light_node", "share_while_downloading"];
    let serving = ["is_shard_host", "shard_prefixes", "num_shard_prefixes", "shard_prefix_length"];
    // And for one that is never announced.
    let announced = [
        "gun_node_id",
        "gun_announce_interval_ms",
        "gun_announce_ttl_ms",
        "gun_cleanup_interval_ms",
        "external_ip",
        "external_port",
    ];
    let sets: &[(&str, &[&str])] = &[
        ("LightNodeOptions", &["NodeOptions", "ClientOptions"]),
        ("DownloadOptions", &["DownloadOptions"]),
        ("FindOptions", &["FindOptions"]),
        ("NatOptions", &["NatOptions"]),
        ("MappingOptions", &["MappingOptions"]),
    ];
    for (record, tables) in sets {
        let manifest = manifest();
        let expected: Vec<String> = tables
            .iter()
            .flat_map(|table| manifest["options"][table].as_array().expect("a table"))
            .map(|option| option["name"].as_str().expect("a name"))
            .filter(|name| !uploads.contains(name) && !serving.contains(name))
            .filter(|name| *record != "LightNodeOptions" || !announced.contains(name))
            .map(camel)
            .collect();
        let fields = |text: &str, start: &str, end: &str, prefix: &str| -> Vec<String> {
            let from = text.find(start).unwrap_or_else(|| panic!("no {start}"));
            let body = &text[from..from + text[from..].find(end).expect("its end")];
            let names = body.lines().filter_map(|line| line.trim().strip_prefix(prefix)?.split(':').next());
            names.map(|name| name.trim_matches(['`', ' ']).to_owned()).collect()
        };
        assert_eq!(fields(&swift, &format!("public struct {record}:"), "public init", "public var "), expected);
        assert_eq!(fields(&kotlin, &format!("data class {record} ("), "\n){", "var "), expected);
    }
}

#[test]
fn every_kind_is_a_case() {
    let swift = committed("swift/Sources/DigNat/DigNat.swift");
    let kotlin = committed("kotlin/src/main/kotlin/org/dignetwork/dignat/dig_nat.kt");
    for kind in ErrorKind::ALL {
        assert!(kotlin.contains(&format!("class {}(", kind.name())), "Kotlin lacks {}", kind.name());
        assert!(swift.contains(&format!("case {}(", kind.name())), "Swift lacks {}", kind.name());
    }
}

#[test]
fn no_generated_file_is_left_behind() {
    let mut found = Vec::new();
    for folder in ["swift/Sources", "kotlin/src/main"] {
        collect(&crate_dir().join(folder), &mut found);
    }
    let mut expected: Vec<PathBuf> = FILES.iter().map(|(_, path)| crate_dir().join(path)).collect();
    expected.push(crate_dir().join("swift/Sources/DigNatFFI/module.modulemap"));
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
}

fn collect(dir: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).expect("a committed folder") {
        let path = entry.expect("readable").path();
        if path.is_dir() { collect(&path, into) } else { into.push(path) }
    }
}

fn camel(name: &str) -> String {
    let mut words = name.split('_');
    let mut text = words.next().unwrap_or_default().to_owned();
    for word in words {
        text.push_str(&word[..1].to_uppercase());
        text.push_str(&word[1..]);
    }
    text
}
