//! The shape of the sources: layers use only what stands below them, pure modules stay pure, every file says what it
//! is, and none grows too long.

use std::collections::BTreeSet;

use dig_nat_tests::tree;

/// The ladder of `core/src/lib.rs`, lowest first. Layers of one rung do not use each other.
const LADDER: &[&[&str]] = &[
    &["base"],
    &["content", "wire"],
    &["net", "store"],
    &["gun"],
    &["nat"],
    &["fabric"],
    &["discovery"],
    &["transfer"],
    &["api"],
];

/// Layers without clock, socket, file or task, except their drivers.
const PURE: &[&str] = &["base", "content", "wire", "gun", "nat", "discovery", "transfer"];

/// The files of pure layers that own sockets and tasks, besides every `driver.rs` and `driver/`.
const DRIVERS: &[&str] = &[
    "core/src/discovery/keeping.rs",
    "core/src/discovery/manager.rs",
    "core/src/discovery/own.rs",
    "core/src/discovery/search.rs",
    "core/src/discovery/source.rs",
    "core/src/discovery/gun/source.rs",
    "core/src/discovery/local/mod.rs",
    "core/src/gun/backend.rs",
    "core/src/nat/signal.rs",
];

/// What only drivers may name.
const IMPURE: &[&str] = &[
    "Instant::",
    "time::Instant",
    "SystemTime",
    "std::fs",
    "std::thread",
    "std::process",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "tokio",
    "futures::",
    "rand::rng(",
    "rand::random",
    "thread_rng",
];

/// Longest source file, tests included.
const MAX_LINES: usize = 600;

#[test]
fn layers_use_only_what_stands_below() {
    let mut wrong = Vec::new();
    for path in core_sources() {
        let Some(layer) = layer_of(&path) else { continue };
        let rung = rung_of(layer).unwrap_or_else(|| panic!("{path}: add the module {layer} to the ladder"));
        for used in used_layers(&tree::read(&path), depth_in_layer(&path)) {
            let allowed = used == layer || rung_of(&used).is_none_or(|used| used < rung);
            if !allowed {
                wrong.push(format!("{path} uses {used}"));
            }
        }
    }
    assert!(wrong.is_empty(), "upward or sideways uses:\n{}", wrong.join("\n"));
}

#[test]
fn the_crate_documentation_lists_the_same_ladder() {
    let documentation = tree::read("core/src/lib.rs");
    let named: Vec<usize> = LADDER
        .iter()
        .flat_map(|rung| rung.iter())
        .map(|layer| {
            let position = documentation.find(&format!("`{layer}`"));
            position.unwrap_or_else(|| panic!("core/src/lib.rs does not name the layer {layer}"))
        })
        .collect();
    assert!(named.is_sorted(), "core/src/lib.rs lists the layers in another order: {named:?}");
}

#[test]
fn pure_modules_have_no_clock_socket_file_or_task() {
    let mut wrong = Vec::new();
    for path in core_sources() {
        let pure = layer_of(&path).is_some_and(|layer| PURE.contains(&layer));
        let driver = path.ends_with("/driver.rs") || path.contains("/driver/") || DRIVERS.contains(&path.as_str());
        if !pure || driver {
            continue;
        }
        for (number, line) in tree::read(&path).lines().enumerate() {
            let code = without_comment(line);
            wrong.extend(IMPURE.iter().filter(|name| code.contains(**name)).map(|name| {
                let number = number + 1;
                format!("{path}:{number}: {name}")
            }));
        }
    }
    assert!(wrong.is_empty(), "pure modules name what only drivers may:\n{}", wrong.join("\n"));
}

#[test]
fn drivers_listed_here_exist() {
    for path in DRIVERS {
        assert!(tree::root().join(path).is_file(), "{path} is gone; take it off the list");
    }
}

#[test]
fn only_the_fabric_names_libp2p() {
    for path in core_sources() {
        if layer_of(&path) == Some("fabric") {
            continue;
        }
        for (number, line) in tree::read(&path).lines().enumerate() {
            assert!(!without_comment(line).contains("libp2p"), "{path}:{}: names libp2p", number + 1);
        }
    }
}

#[test]
fn every_rust_file_says_what_it_is() {
    let mut wrong = Vec::new();
    for path in tree::files(".", &["rs"]) {
        let text = tree::read(&path);
        let header: usize = text.lines().take_while(|line| line.starts_with("//!")).map(str::len).sum();
        if header < 20 && !tree::is_generated(&text) {
            wrong.push(path);
        }
    }
    assert!(wrong.is_empty(), "files without a `//!` header: {wrong:#?}");
}

#[test]
fn no_source_file_is_too_long() {
    let mut wrong = Vec::new();
    for path in tree::files(".", &["rs", "js", "cjs", "mjs", "ts", "py", "pyi", "c", "cpp", "kt", "swift", "sh"]) {
        let text = tree::read(&path);
        let lines = text.lines().count();
        if lines > MAX_LINES && !tree::is_generated(&text) {
            wrong.push(format!("{path}: {lines} lines"));
        }
    }
    assert!(wrong.is_empty(), "files above {MAX_LINES} lines: {wrong:#?}");
}

fn core_sources() -> Vec<String> {
    let files = tree::files("core/src", &["rs"]);
    assert!(files.len() > 20, "the walk found only {files:?}");
    files
}

/// The top module a file of core belongs to; `None` for `lib.rs`.
fn layer_of(path: &str) -> Option<&str> {
    let inside = path.strip_prefix("core/src/")?;
    let first = inside.split('/').next()?;
    let name = first.strip_suffix(".rs").unwrap_or(first);
    (name != "lib").then_some(name)
}

fn rung_of(layer: &str) -> Option<usize> {
    LADDER.iter().position(|rung| rung.contains(&layer))
}

/// How many `super::` lead from a file to its layer's top module: 0 for `layer/mod.rs`, 1 for `layer/x.rs`.
fn depth_in_layer(path: &str) -> usize {
    let parts = path.strip_prefix("core/src/").expect("a file of core").split('/').count();
    let is_root = path.ends_with("/mod.rs");
    parts - 1 - usize::from(is_root)
}

/// The layers a text names by `crate::layer`, `crate::{a::…, b::…}` or by more `super::` than its layer is deep.
fn used_layers(text: &str, depth: usize) -> BTreeSet<String> {
    let code: String = text.lines().map(without_comment).collect::<Vec<_>>().join("\n");
    let mut used = BTreeSet::new();
    for (position, _) in code.match_indices("crate::") {
        used.extend(first_names(&code[position + "crate::".len()..]));
    }
    // Tests in a nested `mod tests` are one level deeper; `super` chains of that length stay inside the layer.
    let upwards = "super::".repeat(depth + 3);
    for (position, _) in code.match_indices(&upwards) {
        used.extend(first_names(&code[position + upwards.len()..]));
    }
    used
}

/// The identifier a path goes on with, or all first identifiers of a brace group.
fn first_names(rest: &str) -> Vec<String> {
    let identifier = |text: &str| -> String {
        text.trim_start().chars().take_while(|character| character.is_alphanumeric() || *character == '_').collect()
    };
    let Some(group) = rest.strip_prefix('{') else { return vec![identifier(rest)] };
    let mut names = Vec::new();
    let mut depth = 0;
    let mut item = String::new();
    for character in group.chars() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => names.push(identifier(&std::mem::take(&mut item))),
            _ => {}
        }
        if character != ',' || depth > 0 {
            item.push(character);
        }
    }
    names.push(identifier(&item));
    names.retain(|name| !name.is_empty());
    names
}

fn without_comment(line: &str) -> &str {
    line.split("//").next().unwrap_or(line)
}

#[test]
fn the_checks_themselves_see_what_they_should() {
    let text = "use crate::{api::X, base::{error, ids}};\nfn f() { crate::transfer::g() } // crate::store\n";
    assert_eq!(used_layers(text, 1).into_iter().collect::<Vec<_>>(), ["api", "base", "transfer"]);
    assert_eq!(layer_of("core/src/base/ids.rs"), Some("base"));
    assert_eq!(layer_of("core/src/lib.rs"), None);
    assert_eq!(depth_in_layer("core/src/base/ids.rs"), 1);
    assert_eq!(depth_in_layer("core/src/base/mod.rs"), 0);
}
