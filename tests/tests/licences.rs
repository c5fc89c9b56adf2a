//! Every dependency has a licence that `deny.toml` allows, comes from the package registry, and none is a stray second
//! TLS or async stack. `cargo deny check` would say the same; this needs no further tool.

use std::iter::Peekable;
use std::process::Command;

use dig_nat_tests::tree;
use serde_json::Value;

#[test]
fn every_licence_is_on_the_list() {
    let allowed = list("licenses", "allow");
    assert!(allowed.iter().any(|licence| licence == "MIT"), "deny.toml has no list of licences: {allowed:?}");
    let mut wrong = Vec::new();
    for package in packages() {
        let expression = package["license"].as_str().unwrap_or("none-stated");
        if !is_allowed(expression, &allowed) {
            wrong.push(format!("{} {}: {expression}", package["name"], package["version"]));
        }
    }
    assert!(wrong.is_empty(), "licences not listed in deny.toml:\n{}", wrong.join("\n"));
}

#[test]
fn every_listed_licence_is_needed() {
    let packages = packages();
    for licence in list("licenses", "allow") {
        let used = packages.iter().filter_map(|package| package["license"].as_str());
        let used = used.into_iter().any(|expression| terms(expression).contains(&licence));
        assert!(used, "no dependency is under {licence}; take it off the list in deny.toml");
    }
}

#[test]
fn everything_comes_from_the_registry_or_this_repository() {
    for package in packages() {
        if let Some(source) = package["source"].as_str() {
            assert!(source.starts_with("registry+"), "{} comes from {source}", package["name"]);
        }
    }
}

#[test]
fn banned_crates_are_absent() {
    let banned = list("bans", "deny");
    for package in packages() {
        let name = package["name"].as_str().expect("a name");
        assert!(!banned.iter().any(|banned| banned == name), "{name} is banned in deny.toml");
    }
}

fn packages() -> Vec<Value> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--all-features"])
        .current_dir(tree::root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo prints JSON");
    metadata["packages"].as_array().expect("a list of packages").clone()
}

/// The strings of one list in one section of `deny.toml`.
fn list(section: &str, key: &str) -> Vec<String> {
    let text = tree::read("deny.toml");
    let section = text.split(&format!("[{section}]")).nth(1).unwrap_or_else(|| panic!("no section {section}"));
    let section = section.split("\n[").next().expect("split gives at least one part");
    let list = section.split(&format!("\n{key} = [")).nth(1).unwrap_or_else(|| panic!("no list {key}"));
    let list = list.split("\n]").next().expect("split gives at least one part");
    list.lines()
        .map(|line| line.split('#').next().unwrap_or(line))
        .filter_map(|line| line.split('"').nth(1).map(str::to_owned))
        .collect()
}

/// Evaluates an SPDX expression; `AND` binds tighter than `OR`, and `/` is an old way of writing `OR`.
fn is_allowed(expression: &str, allowed: &[String]) -> bool {
    let tokens = terms_and_words(expression);
    let mut tokens = tokens.iter().map(String::as_str).peekable();
    let result = any_of(&mut tokens, allowed);
    assert!(tokens.next().is_none(), "cannot read the licence expression {expression}");
    result
}

fn any_of<'a, I: Iterator<Item = &'a str>>(tokens: &mut Peekable<I>, allowed: &[String]) -> bool {
    let mut result = all_of(tokens, allowed);
    while tokens.next_if_eq(&"OR").is_some() {
        result |= all_of(tokens, allowed);
    }
    result
}

fn all_of<'a, I: Iterator<Item = &'a str>>(tokens: &mut Peekable<I>, allowed: &[String]) -> bool {
    let mut result = one(tokens, allowed);
    while tokens.next_if_eq(&"AND").is_some() {
        result &= one(tokens, allowed);
    }
    result
}

fn one<'a, I: Iterator<Item = &'a str>>(tokens: &mut Peekable<I>, allowed: &[String]) -> bool {
    match tokens.next() {
        Some("(") => {
            let result = any_of(tokens, allowed);
            assert_eq!(tokens.next(), Some(")"), "a bracket is not closed");
            result
        }
        Some(licence) => allowed.iter().any(|allowed| allowed == licence),
        None => false,
    }
}

/// Brackets, `AND`, `OR`, and licences, with `X WITH Y` as one of them.
fn terms_and_words(expression: &str) -> Vec<String> {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let mut tokens: Vec<String> = Vec::new();
    let mut words = spaced.split_whitespace();
    while let Some(word) = words.next() {
        match (word, tokens.last_mut()) {
            ("WITH", Some(last)) => {
                last.push_str(" WITH ");
                last.push_str(words.next().unwrap_or_default());
            }
            _ => tokens.push(word.to_owned()),
        }
    }
    tokens
}

fn terms(expression: &str) -> Vec<String> {
    let mut tokens = terms_and_words(expression);
    tokens.retain(|token| !["(", ")", "AND", "OR"].contains(&token.as_str()));
    tokens
}

#[test]
fn expressions_are_evaluated() {
    let allowed = ["MIT".to_owned(), "ISC".to_owned()];
    for (expression, expected) in [
        ("MIT", true),
        ("GPL-3.0", false),
        ("MIT OR GPL-3.0", true),
        ("MIT/Apache-2.0", true),
        ("MIT AND GPL-3.0", false),
        ("(MIT OR Apache-2.0) AND ISC", true),
        ("(MIT OR Apache-2.0) AND GPL-3.0", false),
        ("(A OR MIT) AND (B OR ISC)", true),
        ("(A OR MIT) AND (B OR C)", false),
        ("A OR MIT AND ISC", true),
        ("MIT AND (A OR B OR ISC) AND ISC", true),
        ("MIT WITH exception", false),
    ] {
        assert_eq!(is_allowed(expression, &allowed), expected, "{expression}");
    }
}
