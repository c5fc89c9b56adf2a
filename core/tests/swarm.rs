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
    let (delivered, needed) = (AtomicU64::new(0), AtomicU64::new(0));
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds {
                return;
            }
            let Ok(world) = std::panic::catch_unwind(|| run(seed, false)) else {
                failed.lock().expect("no panic before").insert(seed, vec!["panicked".to_owned()]);
                continue;
            };
            if !world.faults.is_empty() {
                failed.lock().expect("no panic before").insert(seed, world.faults);
            }
            if world.scenario.is_calm() {
                let clients = world.nodes.iter().filter(|node| node.done_at.is_some()).count() as u64;
                delivered.fetch_add(world.delivered, Ordering::Relaxed);
                needed.fetch_add(clients * world.scenario.file.len() as u64, Ordering::Relaxed);
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
    // Where nobody lies or leaves early, only crossing requests and help for slow sources make data come twice. These
    // files have a few dozen blocks and lines of very uneven rates, so that most of a download is its end.
    let overhead = delivered.into_inner() as f64 / needed.into_inner().max(1) as f64 - 1.0;
    println!("bans: {bans:?}; {:.2} % of the data came twice in calm swarms", overhead * 100.0);
    // Fewer seeds may lack calm swarms, or one kind of liar.
    if seeds >= 500 {
        assert!(overhead < 0.10, "{overhead}");
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
