//! The machine against a directory in memory, with time as it likes.

use std::time::Duration;

use super::*;
use crate::base::random::Jitter;

const MS: Duration = Duration::from_millis(1);

/// A directory and the machine that watches it; every question is answered at once.
struct World {
    now: Time,
    files: BTreeMap<PathBuf, Fingerprint>,
    machine: Machine,
    told: Vec<Change>,
    looks: usize,
}

fn print(length: u64, modified: i64, inode: u64) -> Fingerprint {
    Fingerprint::restored(length, modified, 1, inode)
}

fn at(name: &str) -> PathBuf {
    Path::new("/d").join(name)
}

impl World {
    fn new(config: WatchConfig) -> Self {
        let machine = Machine::new("/d".into(), config, Time::ZERO);
        Self { now: Time::ZERO, files: BTreeMap::new(), machine, told: Vec::new(), looks: 0 }
    }

    fn put(&mut self, name: &str, print: Fingerprint) {
        self.files.insert(at(name), print);
    }

    fn touch(&mut self, name: &str) {
        self.machine.touched(self.now, at(name));
    }

    fn answer(&mut self) {
        while let Some(output) = self.machine.poll() {
            match output {
                Output::Report(change) => self.told.push(change),
                Output::Look(path) => {
                    self.looks += 1;
                    let inside = |file: &PathBuf| file.starts_with(&path);
                    let found = match self.files.get(&path) {
                        Some(print) => Found::File(*print),
                        None if self.files.keys().any(inside) => Found::Directory,
                        None => Found::Nothing,
                    };
                    self.machine.found(self.now, path, found);
                }
                Output::Scan(part) => {
                    let below = self.files.iter().filter(|(path, _)| path.starts_with(&part));
                    let listed = |(path, print): (&PathBuf, &Fingerprint)| Listed {
                        path: path.clone(),
                        fingerprint: *print,
                        rested: true,
                    };
                    let files = below.map(listed).collect();
                    self.machine.listed(self.now, &part, files);
                }
            }
        }
    }

    /// Lets time pass.
    fn pass(&mut self, span: Duration) -> Vec<Change> {
        let end = self.now + span;
        loop {
            self.machine.handle_timeout(self.now);
            self.answer();
            match self.machine.next_timeout() {
                Some(at) if at <= end => self.now = at.max(self.now),
                _ => break,
            }
        }
        self.now = end;
        std::mem::take(&mut self.told)
    }
}

fn added(name: &str) -> Change {
    Change::Added(at(name))
}

#[test]
fn what_is_there_is_told_at_once_and_what_comes_when_it_rests() {
    let mut world = World::new(WatchConfig::default());
    world.put("old", print(1, 1, 1));
    assert_eq!(world.pass(MS), [added("old")]);
    world.put("new", print(1, 1, 2));
    world.touch("new");
    assert_eq!(world.pass(1000 * MS), []);
    // Still growing.
    world.put("new", print(2, 2, 2));
    assert_eq!(world.pass(2000 * MS), []);
    assert_eq!(world.pass(2100 * MS), [added("new")]);
    world.put("new", print(2, 9, 2));
    world.touch("new");
    assert_eq!(world.pass(5000 * MS), [Change::Changed(at("new"))]);
    // Touching it without a change is nothing.
    world.touch("new");
    assert_eq!(world.pass(5000 * MS), []);
}

#[test]
fn files_and_directories_that_move_are_recognised_in_any_order() {
    for reversed in [false, true] {
        let mut world = World::new(WatchConfig::default());
        for number in 0..5 {
            world.put(&format!("a/{number}"), print(1, 1, number));
        }
        world.put("single", print(3, 3, 33));
        world.pass(MS);
        for number in 0..5 {
            let print = world.files.remove(&at(&format!("a/{number}"))).expect("there");
            world.put(&format!("b/{number}"), print);
        }
        let single = world.files.remove(&at("single")).expect("there");
        world.put("0renamed", single);
        let mut names = ["a", "b", "single", "0renamed"];
        if reversed {
            names.reverse();
        }
        for name in names {
            world.touch(name);
        }
        let mut moves = world.pass(200 * MS);
        moves.sort_by_key(|change| format!("{change:?}"));
        let moved = |from: &str, to: &str, fingerprint| Change::Moved { from: at(from), to: at(to), fingerprint };
        let mut expected: Vec<Change> =
            (0..5).map(|n| moved(&format!("a/{n}"), &format!("b/{n}"), print(1, 1, n))).collect();
        expected.push(moved("single", "0renamed", single));
        expected.sort_by_key(|change| format!("{change:?}"));
        assert_eq!(moves, expected, "reversed: {reversed}");
        assert_eq!(world.pass(10_000 * MS), []);
    }
}

#[test]
fn a_second_name_of_a_file_is_a_file() {
    let mut world = World::new(WatchConfig::default());
    world.put("one", print(1, 1, 1));
    world.pass(MS);
    world.put("two", print(1, 1, 1));
    world.touch("two");
    assert_eq!(world.pass(5000 * MS), [added("two")]);
    world.files.remove(&at("one"));
    world.touch("one");
    assert_eq!(world.pass(5000 * MS), [Change::Removed(at("one"))]);
}

#[test]
fn removed_directories_and_files_that_become_too_large_are_removed() {
    let mut world = World::new(WatchConfig { max_file_size: Some(10), ..WatchConfig::default() });
    world.put("a/b/one", print(1, 1, 1));
    world.put("a/two", print(1, 1, 2));
    world.put("grows", print(10, 1, 3));
    world.put("large", print(11, 1, 4));
    assert_eq!(world.pass(MS).len(), 3);
    world.files.retain(|path, _| !path.starts_with("/d/a"));
    world.put("grows", print(11, 2, 3));
    world.touch("a");
    world.touch("grows");
    let mut gone = world.pass(1000 * MS);
    gone.sort_by_key(|change| format!("{change:?}"));
    assert_eq!(gone, ["a/b/one", "a/two", "grows"].map(|name| Change::Removed(at(name))));
    assert_eq!(world.machine.files(), 0);
}

#[test]
fn a_file_that_could_not_be_used_is_told_of_again() {
    let mut world = World::new(WatchConfig::default());
    world.put("one", print(1, 1, 1));
    world.pass(MS);
    world.machine.again(world.now, at("one"));
    assert_eq!(world.pass(5000 * MS), [added("one")]);
}

/// Whatever happens and however little of it is reported, in the end the machine knows what is there, and what it told
/// leads from nothing to that.
#[test]
fn what_was_told_adds_up_to_what_is_there() {
    for seed in 0..200 {
        let mut random = Jitter::from_seed(seed);
        let mut world = World::new(WatchConfig::default());
        let mut replayed: std::collections::BTreeSet<PathBuf> = std::collections::BTreeSet::new();
        let mut follow = |changes: Vec<Change>| {
            for change in changes {
                match change {
                    Change::Added(path) => assert!(replayed.insert(path.clone()), "seed {seed}: {path:?} twice"),
                    Change::Changed(path) => assert!(replayed.contains(&path), "seed {seed}: {path:?} unknown"),
                    Change::Removed(path) => assert!(replayed.remove(&path), "seed {seed}: {path:?} unknown"),
                    Change::Moved { from, to, .. } => {
                        assert!(replayed.remove(&from), "seed {seed}: {from:?} unknown");
                        // What it replaced is gone with it.
                        replayed.insert(to);
                    }
                }
            }
            replayed.clone()
        };
        let mut serial = 0;
        for _ in 0..60 {
            let name = |random: &mut Jitter| {
                let directory = ["", "x/", "x/y/"][random.below(3)];
                format!("{directory}{}", random.below(4))
            };
            let (one, other) = (name(&mut random), name(&mut random));
            serial += 1;
            match random.below(4) {
                0 => world.put(&one, print(serial, serial as i64, serial)),
                1 => drop(world.files.remove(&at(&one))),
                2 => {
                    if let Some(print) = world.files.remove(&at(&one)) {
                        world.put(&other, print);
                    }
                }
                _ => {
                    if let Some(old) = world.files.get(&at(&one)).copied() {
                        world.put(&one, print(serial, serial as i64, old.inode));
                    }
                }
            }
            for name in [&one, &other] {
                if random.below(4) > 0 {
                    world.touch(name);
                }
            }
            let changes = world.pass(Duration::from_millis(random.below(1500) as u64));
            follow(changes);
        }
        world.machine.rescan(world.now);
        let changes = world.pass(Duration::from_secs(20));
        let there: std::collections::BTreeSet<PathBuf> = world.files.keys().cloned().collect();
        assert_eq!(follow(changes), there, "seed {seed}");
    }
}

#[test]
fn thousands_at_once_cost_two_looks_each() {
    let mut world = World::new(WatchConfig::default());
    world.pass(MS);
    for number in 0..5000 {
        world.put(&format!("{number}"), print(1, 1, number));
        world.touch(&format!("{number}"));
    }
    assert_eq!(world.pass(3000 * MS).len(), 5000);
    assert!(world.looks <= 10_000, "{}", world.looks);
}
