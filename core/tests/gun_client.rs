//! A Gun client on sockets: what a subscriber learns when it reads late. Not here: the machine (`gun::client`), and stock
//! relays (the crate of tests).

use std::collections::BTreeSet;
use std::time::Duration;

use dig_nat_core::base::limits;
use dig_nat_core::gun::{Cell, Entry, GunBackend, GunClient, GunClientConfig, GunRelay, GunRelayConfig, Record, Value};

/// Longest any single step may take; generous, because the machine may be busy.
const DEADLINE: Duration = Duration::from_secs(60);

async fn within<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, what).await.expect("within the deadline")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_reader_learns_of_all_children_and_ends_with_the_client() {
    let relay = GunRelay::start(GunRelayConfig::default()).await.expect("started");
    let client = || {
        let peers = vec![relay.url()];
        GunClient::start(GunClientConfig { peers, ..GunClientConfig::default() }).expect("valid")
    };
    let (writer, reader) = (client(), client());
    let path = ["late".to_owned()];
    let mut updates = reader.subscribe(&path).expect("room");
    let mut left = BTreeSet::new();
    let many = 4 * limits::GUN_UPDATE_QUEUE;
    for start in (0..many).step_by(limits::GUN_PUT_FIELDS) {
        let fields = (start..many.min(start + limits::GUN_PUT_FIELDS)).map(|number| format!("child {number}"));
        let fields: Record = fields.map(|key| (key, Cell { value: Value::Number(1.0), state: 0.0 })).collect();
        left.extend(fields.keys().cloned());
        within(writer.put(&path, Entry::Record(fields), DEADLINE)).await.expect("written");
    }
    // The queue of the reader is full, and more waits behind it.
    while updates.len() < limits::GUN_UPDATE_QUEUE {
        tokio::task::yield_now().await;
    }
    while !left.is_empty() {
        let update = within(updates.recv()).await.expect("it runs");
        left.remove(&update.key);
    }
    let last = Entry::Value(Cell { value: Value::Text("last".into()), state: 0.0 });
    within(writer.put(&["late".into(), "more".into()], last, DEADLINE)).await.expect("written");
    while within(updates.recv()).await.expect("it runs").key != "more" {}
    within(reader.stop()).await;
    assert!(within(updates.recv()).await.is_none(), "the end is told");
    within(writer.stop()).await;
    within(relay.stop()).await;
}
