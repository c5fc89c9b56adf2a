//! The committed manifest is what the library says of itself. Set `DIG_NAT_REGENERATE=1` to write it anew.

use dig_nat_core::api::manifest;
use dig_nat_tests::tree;

const PATH: &str = "docs/manifest.json";

#[test]
fn the_committed_manifest_is_current() {
    let fresh = serde_json::to_string_pretty(&manifest()).expect("a JSON value") + "\n";
    if std::env::var_os("DIG_NAT_REGENERATE").is_some() {
        std::fs::write(tree::root().join(PATH), &fresh).expect("the folder is writable");
    }
    assert_eq!(tree::read(PATH), fresh, "run this test once with DIG_NAT_REGENERATE=1 and commit {PATH}");
}

#[test]
fn the_manifest_does_not_depend_on_the_environment() {
    let manifest = manifest();
    for (set, options) in manifest["options"].as_object().expect("option sets") {
        for option in options.as_array().expect("a list") {
            let default = option["default"].to_string();
            assert!(!default.contains("lo\""), "{set}.{} takes its default from the environment", option["name"]);
        }
    }
}
