//! What a node's memory of others costs: ten thousand known peers and ten thousand announced files, for each node type,
//! counted by the allocator. Every table is filled past its bound. `DIG_NAT_UPDATE=1 cargo test -p dig-nat-core --test
//! memory` writes `docs/memory.md`. Not here: what is kept and what is forgotten (`discovery_table`, `dht_machine`).

#![allow(unsafe_code, reason = "an allocator that counts can only be written so; it hands everything on")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::fmt::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use dig_nat_core::base::ids::{ContentKey, FileHash};
use dig_nat_core::base::limits;
use dig_nat_core::base::node_type::NodeType;
use dig_nat_core::base::time::Time;
use dig_nat_core::discovery::candidate::{Candidate, SourceKind};
use dig_nat_core::discovery::dht::contact::Contact;
use dig_nat_core::discovery::dht::key::{Node, Placement};
use dig_nat_core::discovery::dht::machine::{Machine, Setup};
use dig_nat_core::discovery::dht::shard::Shards;
use dig_nat_core::discovery::dht::store::{Record, Store};
use dig_nat_core::discovery::table::PeerTable;

static LIVE: AtomicUsize = AtomicUsize::new(0);

struct Counting;

// SAFETY: every call is handed to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promises are those of `System`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: it came from `System` with this layout.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const MANY: usize = 10_000;

/// What this makes, and the bytes that stay allocated for it.
fn cost<T>(make: impl FnOnce() -> T) -> (T, usize) {
    let before = LIVE.load(Ordering::Relaxed);
    let made = make();
    (made, LIVE.load(Ordering::Relaxed).saturating_sub(before))
}

fn node(number: usize) -> Node {
    let hash = FileHash::of(&number.to_be_bytes());
    Node::from_bytes(&[&[0, 0x24, 8, 1, 0x12, 0x20][..], hash.as_bytes()].concat()).expect("an id")
}

fn ip(number: usize) -> [u8; 4] {
    let [.., a, b, c] = number.to_be_bytes();
    [20 + a, b, c, 1]
}

fn key(number: usize) -> FileHash {
    FileHash::of(&number.to_be_bytes())
}

/// A peer as announcements name it: an id and two addresses.
fn candidate(number: usize) -> Candidate {
    let [a, b, c, d] = ip(number);
    let addresses = ["udp/9000/quic-v1", "tcp/9000"].map(|rest| format!("/ip4/{a}.{b}.{c}.{d}/{rest}"));
    Candidate::new(Some(node(number).peer()), addresses.to_vec(), SourceKind::Dht)
}

fn record(number: usize) -> Record {
    let address = [&[4][..], &ip(number), &[6, 0x23, 0x28]].concat();
    Record {
        provider: Contact::new(node(number), [address]),
        announcement: Some(vec![7; 250].into()),
        issued_ms: 1,
        expires: Time::ZERO + Duration::from_secs(3600),
    }
}

fn capacity(kind: NodeType) -> usize {
    match kind {
        NodeType::Light => limits::DHT_RECORDS_LIGHT,
        NodeType::Standard => limits::DHT_RECORDS_STANDARD,
        NodeType::Super => limits::DHT_RECORDS_SUPER,
    }
}

/// One row of the page.
struct Row {
    kind: NodeType,
    peers: usize,
    peers_bytes: usize,
    records: usize,
    records_bytes: usize,
    own_bytes: usize,
    full_bytes: Option<usize>,
}

fn measure(kind: NodeType) -> Row {
    let (table, peers_bytes) = cost(|| {
        let mut table = PeerTable::new(kind.into());
        // Each known for one of two thousand contents, which is more than any type remembers.
        for number in 0..MANY {
            let key = ContentKey::Hash(key(number % 2000));
            table.insert(Time::from_micros(number as u64), &candidate(number), Some(&key));
        }
        table
    });
    let peers = table.len();
    assert!(peers <= kind.max_peers() && peers * 10 >= kind.max_peers(), "{peers} peers");
    let before = LIVE.load(Ordering::Relaxed);
    drop(table);
    let freed = before - LIVE.load(Ordering::Relaxed);
    assert!(freed >= peers_bytes * 99 / 100, "{freed} of {peers_bytes} bytes are free again");
    let fill = |count: usize| {
        cost(move || {
            let mut store = Store::new(capacity(kind));
            for number in 0..count {
                store.put(Time::ZERO, key(number).as_bytes(), record(number));
            }
            store
        })
    };
    let (store, records_bytes) = fill(MANY);
    let records = store.len();
    assert_eq!(records, MANY.min(capacity(kind)));
    drop(store);
    // A million records are only worth the time, and the gigabyte, where the page is written.
    let full_bytes = (kind != NodeType::Super || is_update()).then(|| {
        let (store, bytes) = fill(capacity(kind) + capacity(kind) / 10);
        assert_eq!(store.len(), capacity(kind));
        bytes
    });
    let (machine, own_bytes) = cost(|| {
        let mut machine = Machine::new(Setup {
            node: node(0),
            placement: Placement::Hashed,
            epoch_ms: 0,
            capacity: capacity(kind),
            shards: Shards::default(),
            paths: limits::DHT_PATHS,
            seed: 1,
        });
        (0..MANY).for_each(|number| assert!(machine.announce(Time::ZERO, key(number))));
        machine
    });
    assert_eq!(machine.announced().0, MANY);
    Row { kind, peers, peers_bytes, records, records_bytes, own_bytes, full_bytes }
}

#[test]
fn memory_of_ten_thousand_peers_and_files() {
    // What is only made once in a process is no part of it.
    let _ = measure(NodeType::Light);
    let rows = [NodeType::Light, NodeType::Standard, NodeType::Super].map(measure);
    let mut text = String::from(
        "# What a node's memory of others costs\n\n\
         Counted by the allocator, written by `DIG_NAT_UPDATE=1 cargo test -p dig-nat-core --test memory`, which runs with\n\
         all other tests and bounds these figures; the full table of a super node is filled for this page only.\n\n\
         A node of each type hears of 10 000 peers with two addresses each, for 2000 contents; is told of 10 000 files by\n\
         as many signed records of the hash table; and announces 10 000 files itself. What a type has no room for is\n\
         forgotten.\n\n\
         | `nodeType` | peers kept | kilobytes | records kept | kilobytes | most records | kilobytes when full | own files | kilobytes |\n\
         |---|---|---|---|---|---|---|---|---|\n",
    );
    for row in &rows {
        let (name, most) = (row.kind.name(), capacity(row.kind));
        let full = row.full_bytes.map_or_else(|| "not measured".to_owned(), |bytes| (bytes / 1000).to_string());
        let (peers, records) = (row.peers, row.records);
        let [a, b, c] = [row.peers_bytes, row.records_bytes, row.own_bytes].map(|bytes| bytes / 1000);
        writeln!(text, "| {name} | {peers} | {a} | {records} | {b} | {most} | {full} | {MANY} | {c} |").expect("text");
    }
    println!("{text}");
    for Row { kind, peers, peers_bytes, records, records_bytes, own_bytes, full_bytes } in rows {
        let kind = kind.name();
        assert!(peers_bytes < peers * PEER, "{kind}: {} bytes for a peer", peers_bytes / peers);
        assert!(records_bytes < records * RECORD, "{kind}: {} bytes for a record", records_bytes / records);
        assert!(own_bytes < MANY * OWN, "{kind}: {} bytes for an own file", own_bytes / MANY);
        // Full is no more than its records.
        assert!(full_bytes.is_none_or(|bytes| bytes < capacity(kind.parse().expect("its name")) * RECORD), "{kind}");
    }
    if is_update() {
        std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/memory.md"), text).expect("written");
    }
}

fn is_update() -> bool {
    std::env::var_os("DIG_NAT_UPDATE").is_some()
}

/// Bytes that one of each may cost; measured, and half as much again.
const PEER: usize = 2100;
const RECORD: usize = 1600;
const OWN: usize = 270;
