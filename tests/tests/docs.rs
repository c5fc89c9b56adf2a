//! Documents and code say the same: paths and symbols named in Markdown exist, the README's commands are run by CI,
//! and there is one version.

use std::collections::BTreeSet;

use dig_nat_tests::tree;

/// Endings that make a name without a slash a path of this repository.
const PATH_ENDINGS: &[&str] =
    &[".rs", ".md", ".toml", ".h", ".sh", ".py", ".pyi", ".mjs", ".cjs", ".js", ".ts", ".kt", ".swift", ".json", ".c"];

/// Names in code style that look like paths and are something else, each with its reason.
const NOT_PATHS: &[&str] = &[
    "package.json", // prose about packaging; each binding has its own
];

#[test]
fn paths_in_markdown_exist() {
    let mut wrong = Vec::new();
    for document in documents() {
        let (_, prose) = tree::code_blocks(&tree::read(&document));
        let folder = document.rsplit_once('/').map_or("", |(folder, _)| folder);
        for path in spans(&prose).into_iter().filter(|span| is_path(span)).chain(links(&prose)) {
            let path = path.split('#').next().expect("split gives at least one part").trim_end_matches('/').to_owned();
            let here = tree::root().join(folder).join(&path);
            if !path.is_empty() && !here.exists() && !tree::root().join(&path).exists() {
                wrong.push(format!("{document}: {path}"));
            }
        }
    }
    assert!(wrong.is_empty(), "documents name files that do not exist:\n{}", wrong.join("\n"));
}

#[test]
fn c_symbols_in_markdown_exist() {
    let header = tree::read("include/dig_nat.h");
    let known = words(&header);
    let packages = ["dig_nat_core", "dig_nat_tools", "dig_nat_tests", "dig_nat_ffi", "dig_nat_mobile"];
    let mut wrong = Vec::new();
    for document in documents() {
        for word in words(&tree::read(&document)) {
            if word.starts_with("dig_nat_") && !known.contains(&word) && !packages.contains(&word.as_str()) {
                wrong.push(format!("{document}: {word}"));
            }
        }
    }
    assert!(wrong.is_empty(), "documents name symbols that include/dig_nat.h lacks:\n{}", wrong.join("\n"));
}

#[test]
fn commands_of_the_readme_are_run_by_ci() {
    let run = tree::read(".ci/run") + &tree::read(".ci/test");
    let mut commands = 0;
    for block in tree::code_blocks(&tree::read("README.md")).0 {
        if block.language != "sh" {
            continue;
        }
        for command in block.code.lines().map(|line| line.split(" #").next().unwrap_or(line).trim()) {
            commands += 1;
            assert!(run.contains(command), "neither .ci/run nor .ci/test contains the README's command: {command}");
        }
    }
    assert!(commands >= 2, "the README has a command for the demonstration and one for the tests");
}

#[test]
fn there_is_one_version() {
    let version = env!("CARGO_PKG_VERSION");
    let changelog = tree::read("CHANGELOG.md");
    assert!(changelog.contains(&format!("## [{version}]")), "CHANGELOG.md has no entry for {version}");

    let quoted = format!("\"{version}\"");
    for (path, marker) in [
        ("Cargo.toml", "version ="),
        ("Cargo.toml", "dig-nat-core = "),
        ("bindings-node/package.json", "\"version\":"),
        ("bindings-python/pyproject.toml", "version ="),
        ("include/dig_nat.h", "#define DIG_NAT_VERSION "),
    ] {
        // A Python project may take its version from the crate; then there is no line to compare.
        let text = tree::read(path);
        let from_crate = path.ends_with("pyproject.toml") && text.contains("dynamic = [\"version\"]");
        let line = text.lines().find(|line| line.trim_start().starts_with(marker));
        match line {
            Some(line) => assert!(line.contains(&quoted), "{path} has another version than {version}: {line}"),
            None => assert!(from_crate, "{path} has no line with {marker}"),
        }
    }
}

#[test]
fn every_document_is_reachable_from_the_readme() {
    let mut reached = BTreeSet::from(["README.md".to_owned()]);
    let mut queue = vec!["README.md".to_owned()];
    let documents = documents();
    while let Some(document) = queue.pop() {
        let folder = document.rsplit_once('/').map_or(String::new(), |(folder, _)| format!("{folder}/"));
        for link in links(&tree::code_blocks(&tree::read(&document)).1) {
            let target = format!("{folder}{}", link.split('#').next().unwrap_or_default());
            if documents.contains(&target) && reached.insert(target.clone()) {
                queue.push(target);
            }
        }
    }
    let missing: Vec<_> = documents.iter().filter(|document| !reached.contains(*document)).collect();
    assert!(missing.is_empty(), "no link leads to {missing:?}");
}

fn documents() -> Vec<String> {
    tree::files(".", &["md"]).into_iter().map(|path| path.trim_start_matches("./").to_owned()).collect()
}

/// What stands in code style on one line.
fn spans(prose: &str) -> Vec<String> {
    prose.lines().flat_map(|line| line.split('`').skip(1).step_by(2)).map(str::to_owned).collect()
}

/// Targets of links inside the repository.
fn links(prose: &str) -> Vec<String> {
    prose
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .filter(|target| !target.contains("://") && !target.starts_with('#'))
        .map(str::to_owned)
        .collect()
}

fn is_path(span: &str) -> bool {
    let plain = |character: char| character.is_ascii_alphanumeric() || "._-/".contains(character);
    let inside =
        !span.starts_with('/') && !span.starts_with("./.") && !span.starts_with('@') && span.chars().all(plain);
    let named = PATH_ENDINGS.iter().any(|ending| span.len() > ending.len() && span.ends_with(ending));
    inside && (named || (span.contains('/') && span.len() > 1)) && !NOT_PATHS.contains(&span)
}

fn words(text: &str) -> BTreeSet<String> {
    text.split(|character: char| !character.is_ascii_alphanumeric() && character != '_').map(str::to_owned).collect()
}

#[test]
fn the_checks_themselves_see_what_they_should() {
    assert!(is_path("core/src/lib.rs") && is_path("docs/") && is_path("LICENSE.md"));
    assert!(!is_path("/dig/transfer/1") && !is_path("host:port") && !is_path("@scope/name") && !is_path("a b/c"));
    assert_eq!(spans("a `b` c `d`\n`e`"), ["b", "d", "e"]);
    assert_eq!(links("[a](b.md) [c](https://x) [d](#e)"), ["b.md"]);
}
