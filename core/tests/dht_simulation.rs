//! The distributed hash table in virtual time: lookups find what was announced in a thousand nodes and in ten thousand,
//! when a third of them is gone, when hostile nodes crowd around a key, with and without shards; fifty thousand files are
//! announced without a flood. `DIG_NAT_UPDATE=1 cargo test --release -p dig-nat-core --test dht_simulation -- --ignored`
//! writes `docs/dht.md`.

#[path = "dht_simulation/network.rs"]
mod network;
#[path = "dht_simulation/page.rs"]
mod page;

use std::time::Duration;

use dig_nat_core::base::ids::FileHash;
use dig_nat_core::base::limits;
use dig_nat_core::base::random::Jitter;
use dig_nat_core::discovery::dht::shard::{Shard, Shards};
use network::{Nature, Network, Sought};
use page::{Many, Round, Row};

/// What happens to a network before it is searched.
#[derive(Clone, Copy, Debug, Default)]
struct Conditions {
    nodes: usize,
    /// Nodes that have died since the announcement, in percent.
    churn: usize,
    /// Hostile nodes around the key, in percent of all.
    hostile: usize,
    /// How many networks they share; 0 for one each.
    networks: usize,
    /// Shard hosts, each with two prefixes of four bits.
    hosts: usize,
    searches: usize,
}

fn key(number: u64) -> FileHash {
    FileHash::of(&number.to_be_bytes())
}

/// A tenth of the searches for each key, each by a node that has not searched before.
fn run(conditions: Conditions, seed: u64) -> Vec<Sought> {
    let Conditions { nodes, churn, hostile, networks, hosts, searches } = conditions;
    let mut network = Network::new(nodes - hosts, seed);
    let mut jitter = Jitter::from_seed(seed);
    for _ in 0..hosts {
        network.add_shard_host(Shards::new(Shard::random(2, 4, &mut jitter)));
    }
    let keys: Vec<FileHash> = (0..if hostile > 0 { 1 } else { 10 }).map(|number| key(seed * 100 + number)).collect();
    if hostile > 0 {
        let count = nodes * hostile / 100;
        network.surround(&keys[0], count, if networks == 0 { count } else { networks });
    }
    network.fill_tables();
    let providers: Vec<usize> = (0..keys.len()).collect();
    for (provider, key) in providers.iter().zip(&keys) {
        network.activate(*provider);
        assert!(network.run_until(Duration::from_secs(120), |network| network.machine(*provider).is_joined()));
        network.announce(*provider, &[*key]);
    }
    let settled = network.now + Duration::from_secs(60);
    network.run_until(Duration::from_secs(60), |network| network.now >= settled);
    network.kill(churn, &providers);
    let mut results = Vec::new();
    let mut searcher = providers.len();
    while results.len() < searches {
        searcher += 1;
        if network.nature(searcher % network.len()) != Nature::Honest {
            continue;
        }
        network.activate(searcher % network.len());
        let joined = |network: &Network| network.machine(searcher % network.len()).is_joined();
        assert!(network.run_until(Duration::from_secs(300), joined));
        results.push(network.find(searcher % network.len(), &keys[results.len() % keys.len()]));
    }
    results
}

fn success(results: &[Sought]) -> usize {
    results.iter().filter(|sought| sought.first.is_some()).count()
}

#[test]
fn lookups_find_what_was_announced() {
    let results = run(Conditions { nodes: 1000, searches: 40, ..Conditions::default() }, 1);
    assert_eq!(success(&results), 40);
    let row = Row::of("", &results);
    // Each answer takes 100 ms; from 1000 nodes the way to the 20 nearest has two or three.
    assert!(row.hops <= 3.0 && row.first_ms <= 400, "{row:?}");
    assert!(row.asked <= 60, "{row:?}");
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let conditions = Conditions { nodes: 200, searches: 10, churn: 20, ..Conditions::default() };
    let once = |seed| format!("{:?}", run(conditions, seed));
    assert_eq!(once(7), once(7));
    assert_ne!(once(7), once(8));
}

#[test]
fn lookups_find_it_when_a_third_is_gone() {
    let results = run(Conditions { nodes: 1000, churn: 30, searches: 40, ..Conditions::default() }, 2);
    assert_eq!(success(&results), 40);
}

#[test]
fn hostile_nodes_around_a_key_do_not_hide_it() {
    for (seed, networks) in [(3, 0), (4, 4), (5, 0)] {
        let results =
            run(Conditions { nodes: 1000, hostile: 10, networks, searches: 30, ..Conditions::default() }, seed);
        assert!(success(&results) >= 29, "{} of 30 with {networks} networks", success(&results));
        let asked = Row::of("", &results).asked;
        assert!(asked <= 120, "they make us ask {asked}");
    }
}

#[test]
fn shard_hosts_shorten_the_way() {
    let plain = Conditions { nodes: 1000, searches: 50, ..Conditions::default() };
    let (without, with) = (run(plain, 6), run(Conditions { hosts: 32, ..plain }, 6));
    assert_eq!((success(&without), success(&with)), (50, 50));
    let (without, with) = (Row::of("", &without), Row::of("", &with));
    assert!(with.hops < without.hops && with.first_ms <= without.first_ms, "{without:?} {with:?}");
}

#[test]
fn a_shard_host_keeps_only_its_shards() {
    let mut network = Network::new(30, 9);
    let shards = Shards::new(vec!["8/1".parse().expect("a shard")]);
    let host = network.add_shard_host(shards);
    network.fill_tables();
    network.activate(0);
    let keys: Vec<FileHash> = (0..200).map(key).collect();
    network.announce(0, &keys);
    assert!(network.run_until(Duration::from_secs(300), |network| {
        network.machine(0).is_joined() && network.machine(host).records() > 0 && network.machine(0).announced().1 == 0
    }));
    let settled = network.now + Duration::from_secs(5);
    network.run_until(Duration::from_secs(5), |network| network.now >= settled);
    // A prefix is a beginning of the file's own hash.
    let of_shard = keys.iter().filter(|key| "89abcdef".contains(&key.to_string()[..1]));
    assert_eq!(network.machine(host).records(), of_shard.count());
}

#[test]
fn a_network_forms_from_one_address() {
    let mut network = Network::new(120, 10);
    for member in 0..network.len() {
        network.activate(member);
    }
    for member in 1..network.len() {
        network.introduce(member, 0);
        let next = network.now + Duration::from_millis(200);
        network.run_until(Duration::from_millis(200), |network| network.now >= next);
    }
    let everybody = |network: &Network| (0..network.len()).all(|member| network.machine(member).is_joined());
    assert!(network.run_until(Duration::from_secs(300), everybody));
    network.announce(100, &[key(1)]);
    let settled = network.now + Duration::from_secs(30);
    network.run_until(Duration::from_secs(30), |network| network.now >= settled);
    for searcher in (1..100).step_by(9) {
        assert!(network.find(searcher, &key(1)).first.is_some(), "{searcher} does not find it");
    }
}

/// What it takes to announce one file alone: messages of lookups, and with records, on average of some.
fn announce_one(network: &mut Network) -> f64 {
    let few = 10;
    for member in 1..=few {
        network.activate(member);
        assert!(network.run_until(Duration::from_secs(120), |network| network.machine(member).is_joined()));
    }
    let settled = network.now + Duration::from_secs(5);
    network.run_until(Duration::from_secs(5), |network| network.now >= settled);
    let before = network.messages + network.record_messages;
    for member in 1..=few {
        network.announce(member, &[key(1_000_000 + member as u64)]);
        let next = network.now + Duration::from_secs(5);
        network.run_until(Duration::from_secs(5), |network| network.now >= next);
    }
    (network.messages + network.record_messages - before) as f64 / few as f64
}

/// Announces so many files and renews them once: what each of both rounds took.
fn announce_many(nodes: usize, files: u64, seed: u64) -> Many {
    let mut network = Network::new(nodes, seed);
    network.fill_tables();
    let alone = announce_one(&mut network);
    network.activate(0);
    assert!(network.run_until(Duration::from_secs(120), |network| network.machine(0).is_joined()));
    let keys: Vec<FileHash> = (0..files).map(key).collect();
    let mut rounds = [Round::default(); 2];
    for (number, round) in rounds.iter_mut().enumerate() {
        if number == 0 {
            network.announce(0, &keys);
        } else {
            network.renew(0);
        }
        let (before, records, began) = (network.messages, network.record_messages, network.now);
        // Every file is with k nodes in the end; a few are too far from the key that was looked up.
        let wanted = files as usize * limits::DHT_K * 9 / 10;
        let kept = |network: &Network| (0..network.len()).map(|one| network.machine(one).records()).sum::<usize>();
        let mut last = records;
        loop {
            let is_done = network.record_messages > records && network.record_messages == last;
            if is_done && kept(&network) >= wanted && network.machine(0).announced().1 == 0 {
                break;
            }
            last = network.record_messages;
            let next = network.now + Duration::from_secs(20);
            network.run_until(Duration::from_secs(20), |network| network.now >= next);
            assert!(network.now - began < Duration::from_secs(3600), "{} of {wanted}", kept(&network));
        }
        *round = Round {
            lookups: network.messages - before,
            records: network.record_messages - records,
            took: network.now - began,
        };
    }
    // Whoever looks for some of them finds them.
    for searcher in 20..40 {
        network.activate(searcher);
        assert!(network.run_until(Duration::from_secs(120), |network| network.machine(searcher).is_joined()));
        let sought = network.find(searcher, &keys[searcher * 7 % keys.len()]);
        assert!(sought.first.is_some(), "{searcher} does not find its file");
    }
    Many { nodes, files, alone, rounds }
}

#[test]
fn many_files_are_announced_without_a_flood() {
    let many = announce_many(200, 5000, 11);
    // 5000 files at 20 nodes each would be 100 000 messages one by one, besides their lookups.
    let Round { lookups, records, .. } = many.rounds[0];
    assert!(lookups <= 4000 && records <= 4000, "{many:?}");
    assert!(many.alone >= 40.0 && many.saving(0) >= 50.0 && many.saving(1) >= 50.0, "{many:?}");
}

/// Nothing was tuned on these.
const FRESH: [u64; 4] = [0x1b0c_44d7, 0x7f21_90ae, 0x2de5_361b, 0x5a98_c7f3];

#[test]
#[ignore = "takes minutes without optimisation; run it with --release"]
fn ten_thousand_nodes_and_the_page() {
    let mut rows = Vec::new();
    for nodes in [1000, 10_000] {
        let plain = Conditions { nodes, searches: 100, ..Conditions::default() };
        let cases = [
            ("undisturbed", plain),
            ("30 % gone", Conditions { churn: 30, ..plain }),
            ("10 % hostile around the key, each in a network of its own", Conditions { hostile: 10, ..plain }),
            ("10 % hostile around the key, in 8 networks", Conditions { hostile: 10, networks: 8, ..plain }),
            ("30 % gone and 10 % hostile", Conditions { churn: 30, hostile: 10, ..plain }),
            ("with shard hosts (3 %)", Conditions { hosts: nodes * 3 / 100, ..plain }),
            ("with shard hosts, 30 % gone", Conditions { hosts: nodes * 3 / 100, churn: 30, ..plain }),
            ("with shard hosts, 10 % hostile", Conditions { hosts: nodes * 3 / 100, hostile: 10, ..plain }),
            (
                "with shard hosts, 30 % gone and 10 % hostile",
                Conditions { hosts: nodes * 3 / 100, churn: 30, hostile: 10, ..plain },
            ),
        ];
        for (number, (name, conditions)) in cases.into_iter().enumerate() {
            let began = std::time::Instant::now();
            let each = Conditions { searches: conditions.searches / FRESH.len(), ..conditions };
            let results: Vec<Sought> =
                FRESH.iter().flat_map(|seed| run(each, seed + 1000 * number as u64 + nodes as u64)).collect();
            let row = Row::of(&format!("{nodes} | {name}"), &results);
            println!("{row:?} in {:?}", began.elapsed());
            assert!(row.success * 100 >= results.len() * 90, "{row:?}");
            rows.push(row);
        }
    }
    let many = [1000, 10_000].map(|nodes| announce_many(nodes, 50_000, FRESH[0] + nodes as u64));
    for many in &many {
        println!("{many:?}");
        assert!(many.saving(0) >= 20.0 && many.saving(1) >= 20.0, "a flood: {many:?}");
    }
    let text = page::render(&rows, &many);
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/dht.md");
    if std::env::var_os("DIG_NAT_UPDATE").is_some() {
        std::fs::write(path, text).expect("written");
    }
}
