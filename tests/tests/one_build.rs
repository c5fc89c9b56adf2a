//! What the README's demonstration runs is what the tests have built: cargo chooses the features of dependencies by all
//! that is built together, so a feature that only tests ask for would make the demonstration compile most of them again.
//! Not here: which dependencies there are (`licences`).

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use dig_nat_tests::tree;
use serde_json::Value;

/// What cargo would compile for a command, without compiling it: a name of each unit, which is the same in two plans
/// when the unit is.
struct Plan {
    units: Vec<Value>,
    names: BTreeMap<usize, String>,
}

impl Plan {
    fn of(arguments: &[&str]) -> Self {
        let output = Command::new(env!("CARGO"))
            .arg("build")
            .args(arguments)
            .args(["--locked", "-Z", "unstable-options", "--unit-graph"])
            // Plans are an unstable feature of cargo, which this lets every cargo have.
            .env("RUSTC_BOOTSTRAP", "1")
            .current_dir(tree::root())
            .output()
            .expect("cargo runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let graph: Value = serde_json::from_slice(&output.stdout).expect("cargo prints JSON");
        let units = graph["units"].as_array().expect("a list of units").clone();
        let mut plan = Self { units, names: BTreeMap::new() };
        for unit in 0..plan.units.len() {
            plan.name(unit);
        }
        plan
    }

    /// Everything that tells a unit from others, short enough that units of units of units can be in it.
    fn name(&mut self, unit: usize) -> String {
        if let Some(known) = self.names.get(&unit) {
            return known.clone();
        }
        let own = &self.units[unit];
        let mut text = String::new();
        for part in ["pkg_id", "target", "profile", "platform", "mode", "features"] {
            text += &own[part].to_string();
        }
        let needs: Vec<usize> = own["dependencies"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|dependency| dependency["index"].as_u64().expect("an index") as usize)
            .collect();
        let needs: BTreeSet<String> = needs.into_iter().map(|unit| self.name(unit)).collect();
        let name = digest(&(text + &needs.into_iter().collect::<String>()));
        self.names.insert(unit, name.clone());
        name
    }
}

fn digest(text: &str) -> String {
    dig_nat_core::base::ids::FileHash::of(text.as_bytes()).to_string()
}

#[test]
fn the_demonstration_runs_what_the_tests_have_built() {
    let built = Plan::of(&["--workspace", "--all-targets"]);
    let run = Plan::of(&["--bin", "dig-nat"]);
    assert!(run.units.len() > 100, "not a plan of the demonstration: {} units", run.units.len());
    let built: BTreeSet<&String> = built.names.values().collect();
    let again: Vec<String> = run
        .units
        .iter()
        .enumerate()
        .filter(|(unit, _)| !built.contains(&run.names[unit]))
        .map(|(_, unit)| format!("{} with {}", unit["pkg_id"], unit["features"]))
        .collect();
    assert!(
        again.is_empty(),
        "compiled again for the demonstration; give tests/Cargo.toml the features that the tests ask for:\n{}",
        again.join("\n")
    );
}
