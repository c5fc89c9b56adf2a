//! A Gun client on sockets: what a subscriber learns when it reads late. Not here: the machine (`gun::client`), and stock
//! relays (the crate of tests).

use std::collections::BTreeSet;
use std::time::Duration;

use dig_nat_core::base::limits;
use dig_nat_core::gun::{Cell, Entry, GunBackend, GunClient, GunClientConfig, GunRelay, GunRelayConfig, Record, Value};
use futures::{SinkExt, StreamExt};
use tokio_tungstenite::tungstenite::Message;

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

/// Whoever runs a relay may send anything; nothing of it is kept beyond what a frame may have.
#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_sends_too_much_at_once_is_cut_and_tried_again() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let peers = vec![format!("ws://{}/gun", listener.local_addr().expect("bound"))];
    let client = GunClient::start(GunClientConfig { peers, ..GunClientConfig::default() }).expect("valid");
    for bytes in [limits::MAX_GUN_FRAME_BYTES, limits::MAX_GUN_FRAME_BYTES + 1] {
        let (tcp, _) = within(listener.accept()).await.expect("it connects, and again");
        let mut socket = within(tokio_tungstenite::accept_async(tcp)).await.expect("a client");
        let sent = within(socket.send(Message::text(" ".repeat(bytes)))).await;
        if bytes > limits::MAX_GUN_FRAME_BYTES {
            // The end may come before all of it was taken.
            drop(sent);
            while let Some(Ok(_)) = within(socket.next()).await {}
            break;
        }
        // What is just not too much is passed over; the link still works both ways.
        sent.expect("taken");
        let asked = r##"{"#":"hi","dam":"?","pid":"us"}"##;
        within(socket.send(Message::text(asked))).await.expect("taken");
        let answered = async {
            while let Some(Ok(message)) = socket.next().await {
                if message.to_text().is_ok_and(|text| text.contains(r#""@":"hi""#)) {
                    return true;
                }
            }
            false
        };
        assert!(within(answered).await, "it is not cut");
        drop(socket);
    }
    // It comes back after the cut as well.
    within(listener.accept()).await.expect("it connects once more");
    within(client.stop()).await;
}
