//! The header: generated from the crate, committed, complete, and equal to core's tables; and the list of symbols, from
//! which none may vanish. `DIG_NAT_UPDATE=1 cargo test -p dig-nat-ffi --test header` writes the header anew and adds new
//! symbols; what is gone from the interface has to be taken off the list by hand, knowing that programs break.

mod support;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Command;

use dig_nat_core::ErrorKind;
use dig_nat_core::api::manifest;
use support::{crate_dir, library_dir, succeed};

fn header_path() -> PathBuf {
    crate_dir().join("../include/dig_nat.h")
}

fn committed() -> String {
    std::fs::read_to_string(header_path()).expect("include/dig_nat.h is committed")
}

fn generated() -> String {
    let mut config = cbindgen::Config::from_file(crate_dir().join("cbindgen.toml")).expect("a valid cbindgen.toml");
    let version = env!("CARGO_PKG_VERSION");
    let parts: Vec<u32> = version.split('.').map(|part| part.parse().expect("x.y.z")).collect();
    let mut text = String::new();
    text.push_str("/** Version of this header; dig_nat_version() is that of the library. */\n");
    for (name, part) in ["MAJOR", "MINOR", "PATCH"].iter().zip(&parts) {
        writeln!(text, "#define DIG_NAT_VERSION_{name} {part}").expect("a String takes everything");
    }
    let number = parts.iter().fold(0, |number, part| number * 1000 + part);
    writeln!(text, "/** MAJOR * 1000000 + MINOR * 1000 + PATCH */").expect("a String takes everything");
    writeln!(text, "#define DIG_NAT_VERSION_NUMBER {number}").expect("a String takes everything");
    write!(text, "#define DIG_NAT_VERSION \"{version}\"").expect("a String takes everything");
    config.after_includes = Some(text);
    let bindings = cbindgen::generate_with_config(crate_dir(), config).expect("cbindgen understands the crate");
    let mut header = Vec::new();
    bindings.write(&mut header);
    String::from_utf8(header).expect("UTF-8")
}

#[test]
fn the_committed_header_is_the_generated_one() {
    let generated = generated();
    if std::env::var_os("DIG_NAT_UPDATE").is_some() {
        std::fs::write(header_path(), &generated).expect("include/ is writable");
    }
    let committed = committed();
    let difference = committed.lines().zip(generated.lines()).find(|(old, new)| old != new);
    assert!(
        committed == generated,
        "include/dig_nat.h is out of date at {difference:?}; run with DIG_NAT_UPDATE=1 and commit it"
    );
}

#[test]
fn every_error_kind_is_a_status() {
    let header = committed();
    let start = header.find("typedef enum DigNatStatus").expect("the enum");
    let body = &header[start..start + header[start..].find("} DigNatStatus").expect("its end")];
    let found: BTreeSet<(String, u16)> = body
        .lines()
        .filter_map(|line| line.trim().strip_prefix("DIG_NAT_STATUS_"))
        .map(|line| line.trim_end_matches(',').split_once(" = ").expect("NAME = number"))
        .map(|(name, number)| (name.to_owned(), number.parse().expect("a number")))
        .collect();
    let mut expected: BTreeSet<(String, u16)> = ErrorKind::ALL
        .iter()
        .map(|kind| (kind.code().strip_prefix("ERR_").expect("codes begin so").to_owned(), kind.number()))
        .collect();
    expected.insert(("OK".to_owned(), 0));
    assert_eq!(found, expected);
}

#[test]
fn option_structs_have_the_fields_of_cores_tables() {
    let header = committed();
    let sets = manifest()["options"].as_object().expect("option sets").clone();
    assert!(sets.len() >= 6);
    for (set, options) in sets {
        let expected: Vec<String> = options
            .as_array()
            .expect("a table")
            .iter()
            .map(|option| option["name"].as_str().expect("a name").to_owned())
            .collect();
        let fields = struct_fields(&header, &format!("DigNat{set}"));
        assert_eq!(fields.first().map(String::as_str), Some("size"), "{set}");
        let names: BTreeSet<&String> = fields.iter().collect();
        let counts = |name: &String| {
            name.strip_suffix("_count").is_some_and(|array| names.iter().any(|other| other.as_str() == array))
        };
        let found: Vec<String> = fields[1..].iter().filter(|name| !counts(name)).cloned().collect();
        assert_eq!(found, expected, "{set}");
    }
}

#[test]
fn every_operation_of_the_manifest_has_its_function() {
    let header = committed();
    for operation in manifest()["operations"].as_array().expect("a list") {
        let operation = operation.as_str().expect("a name");
        let function = match operation.split_once('.') {
            Some(("FileHost", "host_id")) => "dig_nat_host_id".to_owned(),
            Some(("FileClient", "client_id")) => "dig_nat_client_id".to_owned(),
            Some(("FileHost", name)) => format!("dig_nat_host_{name}"),
            Some(("FileClient", name)) => format!("dig_nat_client_{name}"),
            Some(("NetworkManager", name)) => format!("dig_nat_manager_{name}"),
            Some(("PeerDiscoveryManager", name)) => format!("dig_nat_discovery_{name}"),
            Some(("Connection", name)) => format!("dig_nat_connection_{name}"),
            Some(("PunchedSocket", name)) => format!("dig_nat_socket_{name}"),
            Some(("TurnAllocation", name)) => format!("dig_nat_allocation_{name}"),
            Some(("ConnectionRegistry", name)) => format!("dig_nat_registry_{name}"),
            Some((other, _)) => panic!("{other} is new: bind it"),
            None => format!("dig_nat_{}", operation.trim_start_matches("calculate_")),
        };
        assert!(header.contains(&format!("{function}(")), "{operation}: no {function} in the header");
    }
}

#[test]
fn everything_in_the_header_is_documented_and_prefixed() {
    let header = committed();
    let lines: Vec<&str> = header.lines().collect();
    let mut functions = 0;
    for (index, line) in lines.iter().enumerate() {
        let declares = line.contains("dig_nat_") && line.contains('(') && !line.starts_with([' ', '/', '#']);
        if declares {
            functions += 1;
            assert!(lines[index - 1].trim_end().ends_with("*/"), "undocumented: {line}");
        }
    }
    assert!(functions > 80, "the search found only {functions} functions");
}

#[test]
fn header_library_and_symbol_list_agree() {
    let header = committed();
    let declared: BTreeSet<String> = header
        .lines()
        .filter(|line| !line.starts_with([' ', '/', '#']))
        .filter_map(|line| line.split('(').next()?.rsplit([' ', '*']).next())
        .filter(|name| name.starts_with("dig_nat_"))
        .map(str::to_owned)
        .collect();
    let mut nm = Command::new("nm");
    nm.args(["-D", "--defined-only"]).arg(library_dir().join("libdig_nat.so"));
    let exported: BTreeSet<String> = succeed(nm)
        .lines()
        .filter_map(|line| line.split_whitespace().last())
        .filter(|name| name.starts_with("dig_nat_"))
        .map(str::to_owned)
        .collect();
    assert_eq!(declared, exported);

    let path = crate_dir().join("symbols.txt");
    let mut list = std::fs::read_to_string(&path).expect("symbols.txt is committed");
    let listed = |list: &str| -> BTreeSet<String> {
        let lines = list.lines().filter(|line| !line.starts_with('#'));
        lines.filter_map(|line| line.split_whitespace().nth(1)).map(str::to_owned).collect()
    };
    if std::env::var_os("DIG_NAT_UPDATE").is_some() {
        let new: Vec<String> = exported.difference(&listed(&list)).cloned().collect();
        for name in new {
            writeln!(list, "{} {name}", env!("CARGO_PKG_VERSION")).expect("a String takes everything");
        }
        std::fs::write(&path, &list).expect("ffi/ is writable");
    }
    assert_eq!(listed(&list), exported, "symbols.txt; run with DIG_NAT_UPDATE=1 to add new ones");
}

fn struct_fields(header: &str, name: &str) -> Vec<String> {
    let start = header.find(&format!("typedef struct {name} {{")).unwrap_or_else(|| panic!("no struct {name}"));
    let body = &header[start..start + header[start..].find(&format!("}} {name};")).expect("its end")];
    body.lines()
        .skip(1)
        .map(str::trim)
        .filter(|line| line.ends_with(';'))
        .map(|line| line.trim_end_matches(';').rsplit([' ', '*']).next().expect("a name").to_owned())
        .collect()
}
