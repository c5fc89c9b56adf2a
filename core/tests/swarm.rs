//! Whole swarms of the real machines on a simulated network, one per seed: honest clients always complete, honest peers
//! are never banned, liars are, no bound is exceeded, and a seed always gives the same run.
//!
//! `DIG_NAT_SIM_SEEDS` is the number of seeds (default 1000), `DIG_NAT_SIM_SEED` replays one of them with a trace.

#[path = "swarm/lies.rs"]
mod lies;
#[path = "swarm/node.rs"]
mod node;
#[path = "swarm/scenario.rs"]
mod scenario;
#[path = "swarm/serving.rs"]
mod serving;
#[path = "swarm/world.rs"]
mod world;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use world::World;

#[test]
fn every_seed_ends_well() {
    if let Some(seed) = variable("DIG_NAT_SIM_SEED") {
        let world = run(seed, true);
        assert_eq!(world.faults, Vec::<String>::new());
        return;
    }
    let seeds = variable("DIG_NAT_SIM_SEEDS").unwrap_or(1000);
    let next = AtomicU64::new(0);
    let failed: Mutex<BTreeMap<u64, Vec<String>>> = Mutex::new(BTreeMap::new());
    let bans: Mutex<BTreeMap<&'static str, u64>> = Mutex::new(BTreeMap::new());
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds {
                return;
            }
            let world = run(seed, false);
            if !world.faults.is_empty() {
                failed.lock().expect("no panic before").insert(seed, world.faults);
            }
            let mut bans = bans.lock().expect("no panic before");
            world.bans.iter().for_each(|(kind, count)| *bans.entry(kind).or_default() += count);
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(work);
        scope.spawn(work);
    });
    let failed = failed.into_inner().expect("no panic before");
    for (seed, faults) in failed.iter().take(10) {
        println!("seed {seed}: {}", faults.join("; "));
        println!(
            "  replay: DIG_NAT_SIM_SEED={seed} cargo test -p dig-nat-core --no-default-features --test swarm -- --nocapture"
        );
    }
    assert!(failed.is_empty(), "{} of {seeds} seeds failed", failed.len());
    let bans = bans.into_inner().expect("no panic before");
    println!("bans: {bans:?}");
    if seeds >= 500 {
        for kind in lies::BANNABLE {
            assert!(bans.contains_key(kind), "no liar of kind {kind} was banned in any seed");
        }
    }
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in [0, 1, 2, 3, 7, 11] {
        let (first, second) = (run(seed, false), run(seed, false));
        assert_eq!(first.trace, second.trace, "seed {seed}");
        assert_eq!(first.handled, second.handled);
        assert!(first.handled > 0);
    }
    assert_ne!(run(1, false).trace, run(2, false).trace);
}

fn run(seed: u64, print: bool) -> World {
    let mut world = World::new(seed, print);
    world.run();
    world
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}
