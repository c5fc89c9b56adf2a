//! Clients and relays of ours in a simulated network whose links break. Not here: sockets.

use super::*;
use crate::gun::names;
use crate::gun::relay::{self, Relay};
use crate::gun::value::{Cell, Value};

const START_MS: f64 = 1_800_000_000_000.0;

/// Relays, clients that all use all of them, and frames on their way.
struct World {
    now: Time,
    relays: Vec<Option<Relay>>,
    clients: Vec<Node>,
    /// When, from where, to where, on which link: a link is a client, a relay and a number.
    frames: VecDeque<(Time, bool, Wire, String)>,
    random: Jitter,
}

type Wire = (usize, usize, u64);

struct Node {
    machine: Client,
    /// The number of the link to each relay, if it is up.
    links: Vec<Option<u64>>,
    offset_ms: f64,
    updates: Vec<(u64, Update)>,
    puts: BTreeMap<u64, Result<(), WriteError>>,
    reads: BTreeMap<u64, Option<Record>>,
}

impl World {
    fn new(relays: usize, offsets_ms: &[f64], seed: u64) -> Self {
        let node = |(index, offset_ms): (usize, &f64)| Node {
            machine: Client::new(relays, seed * 100 + index as u64),
            links: vec![None; relays],
            offset_ms: *offset_ms,
            updates: Vec::new(),
            puts: BTreeMap::new(),
            reads: BTreeMap::new(),
        };
        let relay = |index| Some(Relay::new(1 << 20, seed + 1000 + index as u64));
        Self {
            now: Time::ZERO,
            relays: (0..relays).map(relay).collect(),
            clients: offsets_ms.iter().enumerate().map(node).collect(),
            frames: VecDeque::new(),
            random: Jitter::from_seed(seed),
        }
    }

    fn now(&self, offset_ms: f64) -> Now {
        Now { time: self.now, wall_ms: START_MS + self.now.as_micros() as f64 / 1000.0 + offset_ms }
    }

    fn at(&self, client: usize) -> Now {
        self.now(self.clients[client].offset_ms)
    }

    /// Breaks a link; frames on it are lost.
    fn cut(&mut self, client: usize, relay: usize) {
        let now = self.at(client);
        if let Some(number) = self.clients[client].links[relay].take() {
            self.frames.retain(|(_, _, wire, _)| *wire != (client, relay, number));
            self.clients[client].machine.disconnected(now, relay);
            if let Some(relay) = &mut self.relays[relay] {
                relay.disconnected(number);
            }
        }
    }

    fn kill(&mut self, relay: usize) {
        for client in 0..self.clients.len() {
            self.cut(client, relay);
        }
        self.relays[relay] = None;
    }

    fn step(&mut self) {
        self.now = self.now + Duration::from_millis(5);
        let due = self.frames.iter().take_while(|frame| frame.0 <= self.now).count();
        for (_, to_relay, (client, relay, number), text) in self.frames.drain(..due).collect::<Vec<_>>() {
            if self.clients[client].links[relay] != Some(number) {
                continue;
            }
            if to_relay {
                let now = self.now(0.0);
                self.relays[relay].as_mut().expect("linked").receive(now, number, &text);
            } else {
                let now = self.at(client);
                self.clients[client].machine.receive(now, relay, &text);
            }
        }
        for index in 0..self.clients.len() {
            let now = self.at(index);
            self.clients[index].machine.handle_timeout(now);
            while let Some(output) = self.clients[index].machine.poll() {
                self.act(index, output);
            }
        }
        let now = self.now(0.0);
        for (index, relay) in self.relays.iter_mut().enumerate() {
            let Some(relay) = relay else { continue };
            relay.handle_timeout(now);
            while let Some(relay::Output::Send(number, text)) = relay.poll() {
                let client = self.clients.iter().position(|node| node.links[index] == Some(number));
                let at = self.now + Duration::from_millis(20);
                self.frames.push_back((at, false, (client.expect("linked"), index, number), text.to_string()));
            }
        }
    }

    fn act(&mut self, client: usize, output: Output) {
        let now = self.at(client);
        let node = &mut self.clients[client];
        match output {
            Output::Connect(relay) => match &mut self.relays[relay] {
                Some(there) => {
                    let number = self.random.bits();
                    there.connected(number);
                    node.links[relay] = Some(number);
                    node.machine.connected(now, relay);
                }
                None => node.machine.disconnected(now, relay),
            },
            Output::Cut(relay) => self.cut(client, relay),
            Output::Send(relay, text) => {
                message::decode(&text).expect("our own frames can be read");
                if let Some(number) = node.links[relay] {
                    self.frames.push_back((self.now + Duration::from_millis(20), true, (client, relay, number), text));
                }
            }
            Output::Update(id, update) => node.updates.push((id, update)),
            Output::Put(id, result) => drop(node.puts.insert(id, result)),
            Output::Read(id, record) => drop(node.reads.insert(id, record)),
        }
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.step();
        }
    }

    fn run_until(&mut self, what: &str, most: Duration, mut fits: impl FnMut(&Self) -> bool) {
        let end = self.now + most;
        while !fits(self) {
            assert!(self.now < end, "{what}");
            self.step();
        }
    }

    fn put(&mut self, client: usize, at: &[&str], entry: &Entry) -> u64 {
        let now = self.at(client);
        self.clients[client].machine.put(now, &path(at), entry, Duration::from_secs(60)).expect("room")
    }
}

impl Node {
    /// What a subscription knows of a child now.
    fn sees(&self, id: u64, key: &str) -> Option<&Entry> {
        let of_it = |(of, update): &&(u64, Update)| *of == id && update.key == key;
        self.updates.iter().rev().find(of_it).map(|(_, update)| &update.entry)
    }

    fn sees_text(&self, id: u64, child: &str, key: &str) -> Option<&str> {
        match self.sees(id, child)? {
            Entry::Record(record) => record.get(key)?.value.as_text(),
            Entry::Value(_) => None,
        }
    }
}

fn path(segments: &[&str]) -> Vec<String> {
    segments.iter().map(|segment| (*segment).to_owned()).collect()
}

fn value(value: impl Into<Value>) -> Entry {
    Entry::Value(Cell { value: value.into(), state: 0.0 })
}

fn record(fields: &[(&str, &str)]) -> Entry {
    let cell = |value: &str| Cell { value: value.into(), state: 0.0 };
    Entry::Record(fields.iter().map(|(key, value)| ((*key).to_owned(), cell(value))).collect())
}

#[test]
fn records_reach_subscribers_and_readers() {
    let mut world = World::new(1, &[0.0, 0.0], 1);
    let early = world.clients[1].machine.subscribe(path(&["peers", "hash"])).expect("room");
    world.run(Duration::from_millis(200));
    let put = world.put(0, &["peers", "hash", "me"], &record(&[("ip", "192.0.2.1"), ("v", "1")]));
    world.run_until("an early subscriber", Duration::from_secs(2), |world| {
        world.clients[1].sees_text(early, "me", "ip") == Some("192.0.2.1")
    });
    world.run_until("an answer", Duration::from_secs(2), |world| world.clients[0].puts.contains_key(&put));
    assert_eq!(world.clients[0].puts[&put], Ok(()));
    let late = world.clients[1].machine.subscribe(path(&["peers", "hash"])).expect("room");
    world.run(Duration::from_millis(10));
    assert_eq!(world.clients[1].sees_text(late, "me", "v"), Some("1"), "what is known is told at once");
    let now = world.at(0);
    let read = world.clients[0].machine.read(now, path(&["peers", "hash", "me"]), Duration::from_secs(5));
    let read = read.expect("room");
    world.run_until("a read", Duration::from_secs(2), |world| world.clients[0].reads.contains_key(&read));
    assert_eq!(world.clients[0].reads[&read].as_ref().expect("found").len(), 2);
    // What a subscription has brought before does not change when it is read.
    let now = world.at(1);
    let known = world.clients[1].machine.read(now, path(&["peers", "hash", "me"]), Duration::from_secs(60));
    let known = known.expect("room");
    world.run_until("a read of what is known", Duration::from_secs(2), |world| {
        world.clients[1].reads.contains_key(&known)
    });
    assert_eq!(world.clients[1].reads[&known].as_ref().expect("found").len(), 2);
    let nothing = world.clients[0].machine.read(now, path(&["peers", "other"]), Duration::from_secs(1)).expect("room");
    world.run(Duration::from_millis(1500));
    assert_eq!(world.clients[0].reads[&nothing], None);

    world.put(0, &["peers", "hash", "me"], &value(Value::Null));
    world.run_until("a removal", Duration::from_secs(2), |world| {
        matches!(world.clients[1].sees(early, "me"), Some(Entry::Value(Cell { value: Value::Null, .. })))
    });
    let now = world.at(0);
    let gone = world.clients[0].machine.read(now, path(&["peers", "hash", "me"]), Duration::from_secs(1));
    world.run(Duration::from_millis(1500));
    assert_eq!(world.clients[0].reads[&gone.expect("room")], None, "fields of a removed node do not count");
    for id in [early, late] {
        world.clients[1].machine.unsubscribe(id);
    }
    assert_eq!(world.clients[1].machine.sizes(), (0, 0, 0, 0), "nothing is left behind");
}

#[test]
fn links_are_followed_wherever_they_lead() {
    let mut world = World::new(1, &[0.0, 0.0], 2);
    let subscription = world.clients[1].machine.subscribe(path(&["room", "list"])).expect("room");
    // What `gun.get("room").get("list").set({...})` leaves.
    world.put(0, &["room", "list"], &value(Value::Link("elsewhere".into())));
    world.put(0, &["elsewhere", "child"], &value(Value::Link("random".into())));
    world.put(0, &["random"], &record(&[("a", "b")]));
    world.run_until("a foreign soul", Duration::from_secs(3), |world| {
        world.clients[1].sees_text(subscription, "child", "a") == Some("b")
    });
    // A plain value of the node, and one whose path was replaced.
    world.put(0, &["room", "list", "plain"], &value(5.0));
    world.run_until("a plain value", Duration::from_secs(3), |world| {
        matches!(world.clients[1].sees(subscription, "plain"), Some(Entry::Value(_)))
    });
    world.put(0, &["room", "list"], &value(Value::Null));
    world.run_until("the path is gone", Duration::from_secs(3), |world| {
        world.clients[1].sees(subscription, "").is_some()
    });
}

#[test]
fn clocks_ten_minutes_off_hinder_nobody() {
    let minutes = 60_000.0;
    for (writer, reader) in [(10.0, 0.0), (-10.0, 0.0), (0.0, 10.0), (0.0, -10.0), (10.0, -4.0), (-4.0, 10.0)] {
        let mut world = World::new(1, &[writer * minutes, reader * minutes], 3);
        let subscription = world.clients[1].machine.subscribe(path(&["p"])).expect("room");
        let put = world.put(0, &["p", "me"], &record(&[("v", "true one")]));
        world.run_until("the record", Duration::from_secs(3), |world| {
            world.clients[1].sees_text(subscription, "me", "v") == Some("true one")
                && world.clients[0].puts.get(&put) == Some(&Ok(()))
        });
        // Somebody with a correct clock overwrites it, and the owner writes again.
        let forged_state = world.now(0.0).wall_ms;
        let field =
            Field { soul: "p/me".into(), key: "v".into(), cell: Cell { value: "forged".into(), state: forged_state } };
        world.relays[0].as_mut().expect("there").connected(7);
        let forged = Message::put("forged".into(), vec![field]).encode();
        let now = world.now(0.0);
        world.relays[0].as_mut().expect("there").receive(now, 7, &forged);
        world.relays[0].as_mut().expect("there").disconnected(7);
        world.run_until("the forged one", Duration::from_secs(3), |world| {
            world.clients[1].sees_text(subscription, "me", "v") == Some("forged")
        });
        let again = world.put(0, &["p", "me"], &record(&[("v", "true one")]));
        world.run_until("the record again", Duration::from_secs(10), |world| {
            world.clients[1].sees_text(subscription, "me", "v") == Some("true one")
                && world.clients[0].puts.get(&again) == Some(&Ok(()))
        });
        let stored = world.relays[0].as_ref().expect("there").nodes().find(|(soul, _)| *soul == "p/me");
        assert_eq!(stored.expect("stored").1["v"].value, "true one".into());
    }
}

#[test]
fn broken_links_and_lost_relays_lose_no_put() {
    for seed in 0..5 {
        let mut world = World::new(2, &[0.0, 3000.0, -3000.0], 10 + seed);
        let hashes: Vec<String> = (0..20).map(|index| format!("hash{index}")).collect();
        let subscribe = |world: &mut World, hash: &String| {
            world.clients[0].machine.subscribe(path(&["peers", hash])).expect("room")
        };
        let subscriptions: Vec<u64> = hashes.iter().map(|hash| subscribe(&mut world, hash)).collect();
        let mut puts = Vec::new();
        for round in 0..3 {
            for hash in &hashes {
                for writer in [1, 2] {
                    let fields = record(&[("round", &round.to_string()), ("x", "y")]);
                    puts.push((writer, world.put(writer, &["peers", hash, &format!("node{writer}")], &fields)));
                }
                for _ in 0..10 {
                    world.step();
                }
                if world.random.below(4) == 0 {
                    let (client, relay) = (world.random.below(3), world.random.below(2));
                    world.cut(client, relay);
                }
            }
            if round == 1 {
                world.kill(0);
                world.run(Duration::from_secs(2));
                world.relays[0] = Some(Relay::new(1 << 20, 99));
            }
        }
        world.run_until("all puts end", Duration::from_secs(60), |world| {
            puts.iter().all(|(writer, put)| world.clients[*writer].puts.contains_key(put))
        });
        for (writer, put) in &puts {
            assert_eq!(world.clients[*writer].puts[put], Ok(()), "seed {seed}");
        }
        world.run_until("all is seen", Duration::from_secs(60), |world| {
            subscriptions.iter().all(|subscription| {
                ["node1", "node2"]
                    .iter()
                    .all(|node| world.clients[0].sees_text(*subscription, node, "round") == Some("2"))
            })
        });
    }
}

#[test]
fn a_silent_link_is_given_up_and_a_lost_relay_tried_ever_less_often() {
    let mut client = Client::new(1, 5);
    let at = |seconds: u64| Now { time: Time::ZERO + Duration::from_secs(seconds), wall_ms: START_MS };
    client.handle_timeout(at(0));
    assert_eq!(client.poll(), Some(Output::Connect(0)));
    client.connected(at(0), 0);
    client.receive(at(20), 0, "[]");
    client.handle_timeout(at(64));
    assert_eq!(client.poll(), None);
    client.handle_timeout(at(65));
    assert_eq!(client.poll(), Some(Output::Cut(0)));
    client.disconnected(at(65), 0);
    let (mut now, mut pauses) = (at(65), Vec::new());
    for _ in 0..12 {
        let next = client.next_timeout().expect("tries again");
        pauses.push(next.since(now.time));
        now = Now { time: next, wall_ms: START_MS };
        client.handle_timeout(now);
        assert_eq!(client.poll(), Some(Output::Connect(0)));
        client.disconnected(now, 0);
    }
    assert!(pauses[0] <= limits::GUN_RECONNECT && pauses[11] > Duration::from_secs(14), "{pauses:?}");
    assert!(pauses.iter().all(|pause| *pause <= limits::MAX_GUN_RECONNECT));
}

#[test]
fn a_put_without_a_relay_fails_in_time_and_is_bounded() {
    let mut client = Client::new(1, 6);
    let at = |millis: u64| Now { time: Time::ZERO + Duration::from_millis(millis), wall_ms: START_MS };
    let put = client.put(at(0), &path(&["a", "b"]), &value(1.0), Duration::from_secs(2)).expect("room");
    client.handle_timeout(at(1999));
    assert!(std::iter::from_fn(|| client.poll()).all(|output| !matches!(output, Output::Put(..))));
    client.handle_timeout(at(2000));
    assert!(std::iter::from_fn(|| client.poll()).any(|output| output == Output::Put(put, Err(WriteError::Timeout))));
    for _ in 0..limits::MAX_GUN_PUTS {
        client.put(at(0), &path(&["a", "b"]), &value(1.0), Duration::from_secs(2)).expect("room");
    }
    assert_eq!(client.put(at(0), &path(&["a", "b"]), &value(1.0), Duration::from_secs(2)), None);
}

#[test]
fn large_puts_are_split_and_floods_of_children_are_bounded() {
    let mut world = World::new(1, &[0.0, 0.0], 8);
    let many: Record =
        (0..500).map(|index| (format!("key{index}"), Cell { value: "x".repeat(100).into(), state: 0.0 })).collect();
    let put = world.put(0, &["a", "big"], &Entry::Record(many));
    world.run(Duration::from_millis(100));
    world.run_until("all parts", Duration::from_secs(5), |world| world.clients[0].puts.get(&put) == Some(&Ok(())));
    let subscription = world.clients[1].machine.subscribe(path(&["flood"])).expect("room");
    for index in 0..2 * limits::MAX_GUN_CHILDREN {
        world.put(0, &["flood", &format!("child{index}")], &record(&[("a", "b")]));
        world.step();
    }
    world.run(Duration::from_secs(10));
    let questions = world.clients[1].machine.interests.questions().count();
    assert!(questions <= limits::MAX_GUN_CHILDREN + 1, "{questions}");
    let told: BTreeSet<&String> = world.clients[1].updates.iter().map(|(_, update)| &update.key).collect();
    assert!(told.len() >= limits::MAX_GUN_CHILDREN, "{}", told.len());
    world.clients[1].machine.unsubscribe(subscription);
    assert_eq!(world.clients[1].machine.sizes().0, 0);
    assert_eq!(names::soul(&path(&["a", "big"])), "a/big");
}

#[test]
fn subscriptions_and_reads_end_at_their_bounds_and_true_ones_go_on() {
    let mut client = Client::new(1, 7);
    let at = |millis: u64| Now { time: Time::ZERO + Duration::from_millis(millis), wall_ms: START_MS };
    let news = |client: &mut Client| -> Vec<Output> {
        std::iter::from_fn(|| client.poll()).filter(|output| !matches!(output, Output::Send(..))).collect()
    };
    let field = |soul: String, text: &str| {
        let cell = Cell { value: text.into(), state: START_MS - 1e6 };
        Message::put(format!("id {soul}"), vec![Field { soul, key: "key".into(), cell }]).encode()
    };
    client.handle_timeout(at(0));
    client.connected(at(0), 0);
    let first = client.subscribe(path(&["true one"])).expect("room");
    let read = |client: &mut Client, index: usize| {
        client.read(at(0), path(&["read", &index.to_string()]), Duration::from_secs(1))
    };
    let reads: Vec<u64> = (0..limits::MAX_GUN_READS).map(|index| read(&mut client, index).expect("room")).collect();
    assert_eq!(read(&mut client, limits::MAX_GUN_READS), None, "reads are fewer than subscriptions");
    let mut taken = Vec::new();
    while let Some(id) = client.subscribe(path(&["flood", &taken.len().to_string()])) {
        taken.push(id);
        assert!(taken.len() <= limits::MAX_GUN_INTERESTS);
    }
    assert_eq!(client.sizes().1, limits::MAX_GUN_INTERESTS);
    assert_eq!(taken.len(), limits::MAX_GUN_INTERESTS - limits::MAX_GUN_READS - 1);
    news(&mut client);
    // What nobody wants costs nothing; what everybody sends about what is wanted stays within its bound.
    let value = "x".repeat(8000);
    for index in 0..2 * taken.len() {
        client.receive(at(1), 0, &field(format!("unwanted/{index}"), &value));
    }
    assert_eq!(client.sizes().0, 0);
    for index in 0..taken.len() {
        client.receive(at(1), 0, &field(format!("flood/{index}"), &value));
        news(&mut client);
    }
    let bytes = client.sizes().0;
    assert!(bytes <= limits::MAX_GUN_CLIENT_BYTES && bytes > limits::MAX_GUN_CLIENT_BYTES / 2, "{bytes}");
    client.receive(at(2), 0, &field("true one".into(), "still heard"));
    let heard = news(&mut client);
    assert!(matches!(heard.as_slice(), [Output::Update(id, _)] if *id == first), "{heard:?}");
    // Reads end by themselves, and what is unsubscribed makes room.
    client.handle_timeout(at(1000));
    let ended = news(&mut client).into_iter().filter(|output| matches!(output, Output::Read(_, None))).count();
    assert_eq!(ended, reads.len());
    assert_eq!(client.sizes().1, taken.len() + 1);
    for id in taken {
        client.unsubscribe(id);
    }
    assert_eq!(client.sizes().1, 1);
    assert!(client.sizes().0 < 1000, "what nobody wants any more is forgotten");
    assert!(client.subscribe(path(&["again"])).is_some());
}

#[test]
fn states_of_own_fields_are_forgotten_rather_than_too_many() {
    let mut client = Client::new(1, 8);
    let now = |round: usize| Now { time: Time::ZERO + Duration::from_millis(round as u64), wall_ms: START_MS };
    client.handle_timeout(now(0));
    client.connected(now(0), 0);
    const FIELDS: usize = 90;
    let fields: Record = (0..FIELDS).map(|index| (index.to_string(), Cell { value: 1.0.into(), state: 0.0 })).collect();
    let entry = Entry::Record(fields);
    for round in 0..limits::MAX_GUN_OWN_FIELDS / FIELDS + 100 {
        let at = path(&[&round.to_string()]);
        client.put(now(round), &at, &entry, Duration::from_secs(60)).expect("room");
        let sent: Vec<Message> = std::iter::from_fn(|| client.poll())
            .filter_map(|output| if let Output::Send(_, text) = output { message::decode(&text).ok() } else { None })
            .flatten()
            .collect();
        let puts: Vec<&Message> = sent.iter().filter(|message| message.put.is_some()).collect();
        assert_eq!(puts.len(), 1, "one message");
        client.receive(now(round), 0, &format!("{{\"#\":\"r{round}\",\"@\":\"{}\",\"ok\":true}}", puts[0].id));
        let (_, _, waiting, states) = client.sizes();
        assert!(waiting == 0 && states <= limits::MAX_GUN_OWN_FIELDS + FIELDS, "{waiting} {states}");
    }
}
