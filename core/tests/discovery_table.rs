//! The peer table: merging, ranking, bounds.
#![allow(clippy::unwrap_used)]

use dig_nat_core::base::ids::{ContentKey, PeerId};
use dig_nat_core::base::limits;
use dig_nat_core::base::random::Jitter;
use dig_nat_core::base::time::Time;
use dig_nat_core::discovery::candidate::{Candidate, SourceKind};
use dig_nat_core::discovery::table::{Bounds, PeerTable};
use proptest::prelude::*;

fn key(text: &str) -> ContentKey {
    text.parse().unwrap()
}

fn peer(id: &str, addresses: &[&str], source: SourceKind) -> Candidate {
    let id = (!id.is_empty()).then(|| PeerId::from_text(id));
    Candidate::new(id, addresses.iter().map(ToString::to_string).collect(), source)
}

fn bounds(peers: usize, peers_per_key: usize) -> Bounds {
    Bounds { peers, keys: 1000, peers_per_key }
}

fn at(seconds: u64) -> Time {
    Time::from_micros(seconds * 1_000_000)
}

fn labels(found: &[Candidate]) -> Vec<&str> {
    found.iter().map(Candidate::label).collect()
}

#[test]
fn records_of_one_peer_become_one() {
    let mut table = PeerTable::new(bounds(10, 10));
    assert!(table.insert(at(0), &peer("A", &["a:1"], SourceKind::Pex), Some(&key("k"))));
    assert!(!table.insert(at(1), &peer("A", &["a:1"], SourceKind::Pex), Some(&key("k"))), "nothing new");
    assert!(table.insert(at(2), &peer("A", &["a:2"], SourceKind::Local), Some(&key("k"))), "a new address");
    assert!(table.insert(at(3), &peer("", &["a:2"], SourceKind::Manual), Some(&key("k"))), "a bare address");
    let found = table.lookup(&key("k"));
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].id, Some(PeerId::from_text("A")));
    assert_eq!(found[0].addresses, ["a:2", "a:1"], "the better source's address comes first");
    assert_eq!(found[0].source, SourceKind::Local);
    assert!((found[0].confidence - 1.0).abs() < 1e-9, "the user named its address: {}", found[0].confidence);
    assert!(table.lookup(&key("other")).is_empty());
}

#[test]
fn peers_without_a_key_may_have_everything() {
    let mut table = PeerTable::new(bounds(10, 10));
    table.insert(at(0), &peer("", &["m:1"], SourceKind::Manual), None);
    table.insert(at(0), &peer("B", &["b:1"], SourceKind::Local), Some(&key("k")));
    assert_eq!(labels(&table.lookup(&key("k"))), ["m:1", "B"]);
    assert_eq!(labels(&table.lookup(&key("anything"))), ["m:1"]);
}

#[test]
fn what_worked_comes_first_and_what_failed_last() {
    let mut table = PeerTable::new(bounds(10, 10));
    for (id, source) in [("A", SourceKind::Manual), ("B", SourceKind::Pex), ("C", SourceKind::Local)] {
        table.insert(at(0), &peer(id, &[&format!("{id}:1"), &format!("{id}:2")], source), Some(&key("k")));
    }
    assert_eq!(labels(&table.lookup(&key("k"))), ["A", "C", "B"]);
    table.record_success(at(1), &PeerId::from_text("B"), Some("B:2"));
    table.record_failure(at(1), &PeerId::from_text("A"), None);
    let found = table.lookup(&key("k"));
    assert_eq!(labels(&found), ["B", "C", "A"]);
    assert_eq!(found[0].addresses, ["B:2", "B:1"]);
    // One of two addresses failing leaves a peer reachable by the other.
    table.record_failure(at(2), &PeerId::from_text("B"), Some("B:1"));
    assert_eq!(labels(&table.lookup(&key("k"))), ["B", "C", "A"]);
    table.record_success(at(3), &PeerId::from_text("A"), None);
    assert_eq!(labels(&table.lookup(&key("k"))), ["A", "B", "C"]);
}

#[test]
fn a_bare_address_takes_the_id_it_turns_out_to_have() {
    let mut table = PeerTable::new(bounds(10, 10));
    table.insert(at(0), &peer("", &["m:1"], SourceKind::Manual), Some(&key("k")));
    table.record_success(at(1), &PeerId::from_text("M"), Some("m:1"));
    let found = table.lookup(&key("k"));
    assert_eq!(labels(&found), ["M"]);
    assert_eq!(found[0].source, SourceKind::Manual);
    table.insert(at(2), &peer("", &["n:1"], SourceKind::Pex), Some(&key("k")));
    table.record_unreachable(at(3), "n:1");
    assert_eq!(labels(&table.lookup(&key("k"))), ["M", "n:1"]);
}

#[test]
fn a_flood_forgets_strangers_and_keeps_what_matters() {
    let mut table = PeerTable::new(bounds(20, 10));
    table.insert(at(0), &peer("", &["m:1"], SourceKind::Manual), Some(&key("k")));
    table.insert(at(0), &peer("W", &["w:1"], SourceKind::Pex), Some(&key("k")));
    table.record_success(at(0), &PeerId::from_text("W"), None);
    for index in 0..1000 {
        table.insert(at(1 + index), &peer(&format!("S{index}"), &["s:1"], SourceKind::Local), Some(&key("k")));
        assert!(table.len() <= 20);
    }
    let found = table.lookup(&key("k"));
    assert_eq!(found.len(), 10);
    assert_eq!(labels(&found)[..2], ["W", "m:1"]);
    assert!(labels(&found).contains(&"S999"));
}

#[test]
fn absurd_confidence_is_corrected() {
    let mut table = PeerTable::new(bounds(10, 10));
    for (id, confidence) in [("A", f64::NAN), ("B", f64::INFINITY), ("C", -1.0)] {
        table.insert(at(0), &Candidate { confidence, ..peer(id, &["a:1"], SourceKind::Pex) }, Some(&key("k")));
    }
    let found: Vec<f64> = table.lookup(&key("k")).iter().map(|candidate| candidate.confidence).collect();
    assert_eq!(found, [1.0, 0.7, 0.0]);
}

fn candidate() -> impl Strategy<Value = (Candidate, Option<ContentKey>)> {
    let addresses = prop::collection::vec(0_u8..40, 0..24);
    (0_u8..6, addresses, 0_usize..5, 0_u8..11, 0_u8..4).prop_map(|(id, addresses, source, confidence, key)| {
        let candidate = Candidate {
            // 0 stands for an unknown id.
            id: (id > 0).then(|| PeerId::from_text(&format!("P{id}"))),
            addresses: addresses.iter().map(|number| format!("host:{number}")).collect(),
            source: SourceKind::ALL[source],
            confidence: f64::from(confidence) / 10.0,
        };
        (candidate, (key > 0).then(|| format!("key {key}").parse().unwrap()))
    })
}

proptest! {
    #[test]
    fn merging_does_not_depend_on_the_order(
        inserts in prop::collection::vec(candidate(), 1..30),
        seed in any::<u64>(),
    ) {
        let mut shuffled: Vec<_> = inserts.iter().enumerate().collect();
        Jitter::from_seed(seed).shuffle(&mut shuffled);
        let (mut first, mut second) = (PeerTable::new(bounds(1000, 1000)), PeerTable::new(bounds(1000, 1000)));
        for (index, (candidate, key)) in inserts.iter().enumerate() {
            first.insert(at(index as u64), candidate, key.as_ref());
        }
        for (index, (candidate, key)) in shuffled {
            second.insert(at(index as u64), candidate, key.as_ref());
        }
        prop_assert_eq!(first.peers(), second.peers());
        for number in 1..4 {
            let key = key(&format!("key {number}"));
            prop_assert_eq!(first.lookup(&key), second.lookup(&key));
        }
    }

    #[test]
    fn the_bounds_hold_and_nothing_is_found_twice(
        inserts in prop::collection::vec(candidate(), 1..60),
        max in 1_usize..8,
        per_key in 1_usize..6,
    ) {
        let mut table = PeerTable::new(bounds(max, per_key));
        for (index, (candidate, key)) in inserts.iter().enumerate() {
            table.insert(at(index as u64), candidate, key.as_ref());
            prop_assert!(table.len() <= max);
            if let (Some(key), Some(id)) = (key, &candidate.id) {
                table.record_failure(at(index as u64), id, None);
                // Those that have the key and those that may have everything are bounded each.
                prop_assert!(table.lookup(key).len() <= 2 * per_key.max(max));
            }
            let peers = table.peers();
            prop_assert!(peers.iter().all(|peer| peer.addresses.len() <= limits::MAX_ADDRESSES_PER_PEER));
            let mut names = labels(&peers);
            names.sort_unstable();
            names.dedup();
            prop_assert_eq!(names.len(), peers.len());
        }
    }
}

#[test]
fn keys_are_bounded_and_the_oldest_goes() {
    let mut table = PeerTable::new(Bounds { peers: 100, keys: 3, peers_per_key: 10 });
    table.insert(at(0), &peer("everything", &[], SourceKind::Manual), None);
    for number in 0..5 {
        table.insert(at(number), &peer("p", &["192.0.2.1:1"], SourceKind::Dht), Some(&key(&format!("k{number}"))));
    }
    for number in 0..5 {
        let found = table.lookup(&key(&format!("k{number}")));
        let expected: &[&str] = if number < 2 { &["everything"] } else { &["everything", "p"] };
        let mut found = labels(&found);
        found.sort_unstable();
        assert_eq!(found, expected, "k{number}");
    }
}

#[test]
fn what_is_exported_is_known_again() {
    let mut table = PeerTable::new(bounds(100, 10));
    table.insert(at(1), &peer("a", &["192.0.2.1:1", "192.0.2.2:2"], SourceKind::Dht), Some(&key("one")));
    table.insert(at(2), &peer("a", &[], SourceKind::Gun), Some(&key("two")));
    table.insert(at(3), &peer("b", &["192.0.2.3:3"], SourceKind::Pex), Some(&key("one")));
    table.insert(at(4), &peer("", &["192.0.2.4:4"], SourceKind::Manual), None);
    table.record_success(at(5), &PeerId::from_text("b"), Some("192.0.2.3:3"));
    let mut again = PeerTable::new(bounds(100, 10));
    for known in table.export() {
        again.import(&known);
    }
    for name in ["one", "two", "other"] {
        assert_eq!(again.lookup(&key(name)), table.lookup(&key(name)), "{name}");
    }
    assert_eq!(labels(&again.lookup(&key("one")))[0], "b", "what worked comes first");
    assert_eq!(again.export(), table.export());
}
