//! Puts, reads and subscriptions of our client and relay with stock ones. Not here: what peers announce.

use std::sync::Arc;
use std::time::Duration;

use dig_nat_core::gun::{
    Cell, Entry, GunBackend, GunClient, GunClientConfig, GunRelay, GunRelayConfig, Record, Update, Value,
};
use serde_json::json;
use tokio::sync::mpsc;

use super::stock::{Client, Relay, WAIT};

pub fn client(urls: &[String]) -> Arc<GunClient> {
    let config = GunClientConfig { peers: urls.to_vec(), ..GunClientConfig::default() };
    GunClient::start(config).expect("valid URLs")
}

pub fn path(segments: &[&str]) -> Vec<String> {
    segments.iter().map(|segment| (*segment).to_owned()).collect()
}

fn record(fields: &[(&str, &str)]) -> Entry {
    let cell = |value: &str| Cell { value: value.into(), state: 0.0 };
    Entry::Record(fields.iter().map(|(key, value)| ((*key).to_owned(), cell(value))).collect())
}

pub async fn update(updates: &mut mpsc::Receiver<Update>, key: &str, fits: impl Fn(&Entry) -> bool) -> Entry {
    let waiting = async {
        loop {
            let update = updates.recv().await.expect("running");
            if update.key == key && fits(&update.entry) {
                return update.entry;
            }
        }
    };
    tokio::time::timeout(WAIT, waiting).await.unwrap_or_else(|_| panic!("no {key}"))
}

fn has(key: &'static str, text: &'static str) -> impl Fn(&Entry) -> bool {
    move |entry| matches!(entry, Entry::Record(record) if record.get(key).is_some_and(|cell| cell.value == text.into()))
}

/// Both ways with live changes and removals, through this relay.
async fn both_ways(url: String) {
    let ours = client(std::slice::from_ref(&url));
    let mut js = Client::start(&[url]).await;
    let mut updates = ours.subscribe(&path(&["dig", "list"])).expect("room");
    js.watch(&["dig", "list"], "list").await;

    js.write(&["dig", "list", "theirs"], json!({ "ip": "192.0.2.1", "port": 8080, "ok": true, "none": null })).await;
    let Entry::Record(theirs) = update(&mut updates, "theirs", has("ip", "192.0.2.1")).await else { unreachable!() };
    let whole = |record: &Record| record.len() == 4;
    if !whole(&theirs) {
        update(&mut updates, "theirs", |entry| matches!(entry, Entry::Record(record) if whole(record))).await;
    }
    let read = ours.once(&path(&["dig", "list", "theirs"]), WAIT).await.expect("running").expect("there");
    assert_eq!((&read["port"].value, &read["ok"].value), (&Value::Number(8080.0), &Value::Bool(true)));
    js.write(&["dig", "list", "theirs"], json!({ "ip": "192.0.2.2" })).await;
    update(&mut updates, "theirs", has("ip", "192.0.2.2")).await;

    let ours_at = path(&["dig", "list", "ours"]);
    ours.put(&ours_at, record(&[("ip", "198.51.100.1"), ("é\"\\", "\u{1F600}")]), WAIT).await.expect("confirmed");
    let seen = js.child("list", "ours", |data| data["ip"] == "198.51.100.1").await;
    assert!(seen["é\"\\"] == "\u{1F600}" || seen["é\"\\"].is_null(), "{seen}");
    assert_eq!(js.once(&["dig", "list", "ours"]).await["é\"\\"], "\u{1F600}");
    ours.put(&ours_at, record(&[("ip", "198.51.100.2")]), WAIT).await.expect("confirmed");
    js.child("list", "ours", |data| data["ip"] == "198.51.100.2").await;

    // What `set` of gun.js writes has souls of no relation to the path.
    js.tell(json!({ "do": "set", "path": ["dig", "list"], "data": { "kind": "set" } })).await;
    let waiting = async { while !has("kind", "set")(&updates.recv().await.expect("running").entry) {} };
    tokio::time::timeout(WAIT, waiting).await.expect("the child of a set");

    js.write(&["dig", "list", "theirs"], json!(null)).await;
    let null = |entry: &Entry| matches!(entry, Entry::Value(cell) if cell.value == Value::Null);
    update(&mut updates, "theirs", null).await;
    ours.put(&ours_at, Entry::Value(Cell { value: Value::Null, state: 0.0 }), WAIT).await.expect("confirmed");
    js.child("list", "ours", serde_json::Value::is_null).await;
    ours.stop().await;
}

async fn through_stock(axe: bool) {
    let mut relay = Relay::start(axe).await;
    both_ways(relay.url()).await;
    relay.assert_alive();
}

/// A relay without a disk answers neither puts nor questions for what it does not have. Ours reads back; gun.js waits for
/// ever, so that only what is there already can be written by it.
async fn without_a_disk() {
    let mut relay = Relay::start_with(false, false).await;
    let ours = client(&[relay.url()]);
    let at = path(&["dig", "list", "shared"]);
    ours.put(&at, record(&[("ip", "192.0.2.1")]), WAIT).await.expect("confirmed by reading back");
    let mut updates = ours.subscribe(&path(&["dig", "list"])).expect("room");
    let mut js = Client::start(&[relay.url()]).await;
    assert_eq!(js.once(&["dig", "list", "shared"]).await["ip"], "192.0.2.1");
    js.write(&["dig", "list", "shared"], json!({ "ip": "192.0.2.2" })).await;
    update(&mut updates, "shared", has("ip", "192.0.2.2")).await;
    js.watch(&["dig", "list"], "list").await;
    ours.put(&at, record(&[("ip", "192.0.2.3")]), WAIT).await.expect("confirmed, later than theirs");
    js.child("list", "shared", |data| data["ip"] == "192.0.2.3").await;
    relay.assert_alive();
    ours.stop().await;
}

async fn through_ours() {
    let relay = GunRelay::start(GunRelayConfig::default()).await.expect("started");
    both_ways(format!("http://{}/gun", relay.address())).await;
    relay.stop().await;
}

/// Two gun.js clients meet at our relay, also after it was stopped and started again with its file.
async fn js_meets_js_at_ours() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = Some(directory.path().join("graph.json"));
    let config = GunRelayConfig { file, ..GunRelayConfig::default() };
    let relay = GunRelay::start(config.clone()).await.expect("started");
    let config = GunRelayConfig { listen: relay.address(), ..config };
    let url = format!("http://{}/gun", relay.address());
    let (mut one, mut other) =
        (Client::start(std::slice::from_ref(&url)).await, Client::start(std::slice::from_ref(&url)).await);
    other.watch(&["room"], "room").await;
    one.write(&["room", "first"], json!({ "text": "hello" })).await;
    other.child("room", "first", |data| data["text"] == "hello").await;
    let ack = one.tell(json!({ "do": "put", "path": ["room", "second"], "data": { "text": "again" } })).await;
    assert_eq!(ack["error"], json!(null), "our relay answers puts");
    relay.stop().await;

    let relay = GunRelay::start(config).await.expect("the port is free again");
    let mut third = Client::start(&[url]).await;
    assert_eq!(third.once(&["room", "second"]).await["text"], "again", "from the file");
    let mut peers = relay.peers();
    let all = tokio::time::timeout(WAIT, peers.wait_for(|count| *count == 3));
    all.await.expect("gun.js connects again").expect("running");
    third.write(&["room", "third"], json!({ "text": "still here" })).await;
    other.child("room", "third", |data| data["text"] == "still here").await;
    relay.stop().await;
}

/// TLS, and only with a relay that shows the right certificate.
async fn over_tls() {
    let (mut relay, pem) = Relay::start_tls().await;
    let config = |roots: Option<Vec<u8>>| GunClientConfig {
        peers: vec![relay.url()],
        root_certificates: roots,
        ..GunClientConfig::default()
    };
    let (at, content) = (path(&["room", "a"]), record(&[("text", "one")]));
    let trusting = GunClient::start(config(Some(pem))).expect("a valid URL");
    trusting.put(&at, content.clone(), WAIT).await.expect("confirmed");
    assert!(trusting.once(&at, WAIT).await.expect("running").is_some());
    let doubting = GunClient::start(config(None)).expect("a valid URL");
    let error = doubting.put(&at, content, Duration::from_secs(2)).await.expect_err("not trusted");
    assert_eq!((error.kind(), *doubting.connected().borrow()), (dig_nat_core::ErrorKind::Timeout, 0));
    relay.assert_alive();
    trusting.stop().await;
    doubting.stop().await;
}

/// A subscriber of ours hears what is written after its relay was killed and started again.
async fn a_relay_dies(axe: bool) {
    let mut relay = Relay::start(axe).await;
    let ours = client(&[relay.url()]);
    let mut updates = ours.subscribe(&path(&["room"])).expect("room");
    ours.put(&path(&["room", "a"]), record(&[("text", "one")]), WAIT).await.expect("confirmed");
    update(&mut updates, "a", has("text", "one")).await;
    relay.kill().await;
    ours.connected().wait_for(|count| *count == 0).await.expect("running");
    // Written while there is no relay.
    let put_at = path(&["room", "b"]);
    let late = ours.put(&put_at, record(&[("text", "two")]), WAIT);
    let (late, ()) = tokio::join!(late, relay.restart());
    late.expect("confirmed after the restart");
    let mut js = Client::start(&[relay.url()]).await;
    assert_eq!(js.once(&["room", "a"]).await["text"], "one", "from the relay's disk");
    assert_eq!(js.once(&["room", "b"]).await["text"], "two");
    js.write(&["room", "c"], json!({ "text": "three" })).await;
    update(&mut updates, "c", has("text", "three")).await;
    relay.assert_alive();
    ours.stop().await;
}

/// Names that would end the relay are refused before they are sent, whoever gives them.
async fn names_that_kill(axe: bool) {
    let mut relay = Relay::start(axe).await;
    let ours = client(&[relay.url()]);
    let good = record(&[("a", "b")]);
    for name in ["constructor", "__proto__", "_", "", "toString", "a#b", "~x"] {
        let error = ours.put(&path(&["room", name]), good.clone(), WAIT).await.expect_err(name);
        assert_eq!(error.kind(), dig_nat_core::ErrorKind::InvalidArgument);
        ours.put(&path(&["room", "x"]), record(&[(name, "b")]), WAIT).await.expect_err(name);
        assert!(ours.subscribe(&path(&[name])).is_err());
        ours.once(&path(&[name]), Duration::from_millis(1)).await.expect_err(name);
    }
    ours.put(&path(&["room", "x"]), good, WAIT).await.expect("the relay lives");
    relay.assert_alive();
    ours.stop().await;
    let error = ours.put(&path(&["room", "x"]), record(&[("a", "b")]), WAIT).await.expect_err("stopped");
    assert_eq!(error.kind(), dig_nat_core::ErrorKind::InvalidState);
}

macro_rules! tests {
    ($($name:ident: $body:expr;)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        #[ignore = "needs what npm installs in tests/gun-js; .ci/test runs it"]
        async fn $name() {
            $body.await;
        }
    )*};
}
pub(crate) use tests;

tests! {
    both_ways_through_the_stock_relay: through_stock(false);
    both_ways_through_the_stock_relay_with_axe: through_stock(true);
    both_ways_through_a_stock_relay_without_a_disk: without_a_disk();
    a_stock_relay_over_tls: over_tls();
    both_ways_through_our_relay: through_ours();
    gun_js_clients_meet_at_our_relay: js_meets_js_at_ours();
    a_stock_relay_dies_and_comes_back: a_relay_dies(false);
    a_stock_relay_with_axe_dies_and_comes_back: a_relay_dies(true);
    names_that_kill_relays_are_never_sent: names_that_kill(false);
    names_that_kill_relays_with_axe_are_never_sent: names_that_kill(true);
}
