//! A database that says what a test wants it to say.

use std::sync::Arc;

use super::*;

const WAIT: Duration = Duration::from_secs(30);

/// A bridge, and the commands it gives.
fn bridge() -> (Arc<GunBridge>, mpsc::Receiver<Json>) {
    let (sender, receiver) = mpsc::channel(limits::GUN_COMMAND_QUEUE);
    let execute = move |command: String| {
        let command = serde_json::from_str(&command).expect("JSON");
        sender.try_send(command).map_err(|_| Error::new(ErrorKind::LimitReached, "the test does not read"))
    };
    (Arc::new(GunBridge::new(Box::new(execute))), receiver)
}

fn path(text: &str) -> Vec<String> {
    text.split('/').map(str::to_owned).collect()
}

async fn next(commands: &mut mpsc::Receiver<Json>) -> Json {
    tokio::time::timeout(WAIT, commands.recv()).await.expect("in time").expect("a command")
}

fn text(value: &str) -> Entry {
    Entry::Value(Cell { value: value.into(), state: 5.0 })
}

#[tokio::test]
async fn puts_are_answered_or_end() {
    let (bridge, mut commands) = bridge();
    let record = Record::from([
        ("port".to_owned(), Cell { value: 80.0.into(), state: 0.0 }),
        ("up".to_owned(), Cell { value: true.into(), state: 0.0 }),
    ]);
    for (answer, kind) in
        [(Some(None), None), (Some(Some("Invalid data")), Some(ErrorKind::Protocol)), (None, Some(ErrorKind::Timeout))]
    {
        let putting = bridge.clone();
        let entry = Entry::Record(record.clone());
        // Whoever is answered is answered long before this.
        let deadline = if answer.is_some() { WAIT } else { Duration::from_millis(50) };
        let put = tokio::spawn(async move { putting.put(&path("a/b"), entry, deadline).await });
        let command = next(&mut commands).await;
        let expected =
            json!({ "op": "put", "id": command["id"], "path": ["a", "b"], "data": { "port": 80, "up": true } });
        assert_eq!(command, expected);
        let id = command["id"].as_u64().expect("a number");
        bridge.reply(id + 1, Some("somebody else's"));
        if let Some(answer) = answer {
            bridge.reply(id, answer);
            bridge.reply(id, Some("the first answer counts"));
        }
        let error = put.await.expect("no panic").err();
        assert_eq!(error.as_ref().map(Error::kind), kind);
        assert!(bridge.shared.lock().puts.is_empty());
    }
    for wrong in ["constructor", "a/_", "a/b#c", "~a"] {
        let error = bridge.put(&path(wrong), text("x"), WAIT).await.expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{wrong}");
    }
    assert!(commands.try_recv().is_err(), "nothing of that was asked for");
}

#[tokio::test]
async fn children_are_told_and_followed() {
    let (bridge, mut commands) = bridge();
    let mut updates = bridge.subscribe(&path("peers/hash")).expect("subscribed");
    let on = next(&mut commands).await;
    assert_eq!(on, json!({ "op": "on", "id": on["id"], "path": ["peers", "hash"], "whole": false }));
    let node = on["id"].as_u64().expect("a number");
    bridge.event(
        node,
        r##"{"fields":{"gone":[null,7],"n1":[{"#":"anywhere"},7],"__proto__":[{"#":"x"},7],"bad":[[1],7]}}"##,
    );
    let follow = next(&mut commands).await;
    assert_eq!(follow, json!({ "op": "on", "id": follow["id"], "path": ["peers", "hash", "n1"], "whole": true }));
    let child = follow["id"].as_u64().expect("a number");
    let gone = Update { key: "gone".into(), entry: Entry::Value(Cell { value: Value::Null, state: 7.0 }) };
    assert_eq!(updates.recv().await, Some(gone));
    bridge.event(child, r#"{"fields":{"ip":["192.0.2.1",8.5]}}"#);
    let record = Record::from([("ip".to_owned(), Cell { value: "192.0.2.1".into(), state: 8.5 })]);
    assert_eq!(updates.recv().await, Some(Update { key: "n1".into(), entry: Entry::Record(record) }));
    assert!(!bridge.event(999, r#"{"value":1}"#), "nobody listens any more");
    // Told again: followed already. What is no event, and nobody's, is passed over.
    bridge.event(node, r##"{"fields":{"n1":[{"#":"anywhere"},7]}}"##);
    for (id, nothing) in [(node, "["), (node, "{}"), (node, "7"), (node, r#"{"fields":7}"#), (999, r#"{"value":1}"#)] {
        bridge.event(id, nothing);
    }
    bridge.event(node, r#"{"fields":{"n1":[null,9]}}"#);
    assert_eq!(next(&mut commands).await, json!({ "op": "off", "id": child }));
    let taken = Update { key: "n1".into(), entry: Entry::Value(Cell { value: Value::Null, state: 9.0 }) };
    assert_eq!(updates.recv().await, Some(taken));
    bridge.event(node, r#"{"value":null}"#);
    assert!(updates.recv().await.is_some_and(|update| update.key.is_empty()), "the node itself was taken away");
    drop(updates);
    assert_eq!(next(&mut commands).await, json!({ "op": "off", "id": node }));
    assert!(bridge.shared.lock().listeners.is_empty());
    bridge.refresh();
    assert_eq!(next(&mut commands).await, json!({ "op": "refresh" }));
}

#[tokio::test]
async fn a_slow_subscriber_learns_the_latest_and_there_are_bounds() {
    let (bridge, mut commands) = bridge();
    let reading = tokio::spawn(async move {
        let mut seen = Vec::new();
        while let Some(command) = commands.recv().await {
            seen.push(command);
        }
        seen
    });
    let mut updates = bridge.subscribe(&path("peers")).expect("subscribed");
    let many = limits::GUN_UPDATE_QUEUE * 4;
    for round in 0..3 {
        for index in 0..many {
            bridge.event(1, &format!(r#"{{"fields":{{"k{index}":[{round},{round}]}}}}"#));
        }
    }
    let mut latest = BTreeMap::new();
    while latest.values().filter(|state| **state > 1.5).count() < many {
        let update = tokio::time::timeout(WAIT, updates.recv()).await.expect("in time").expect("runs");
        let Entry::Value(cell) = update.entry else { panic!("no node was told") };
        latest.insert(update.key, cell.state);
    }
    for index in 0..limits::MAX_GUN_CHILDREN * 2 {
        bridge.event(1, &format!(r##"{{"fields":{{"n{index}":[{{"#":"n{index}"}},1]}}}}"##));
        tokio::task::yield_now().await;
    }
    assert_eq!(bridge.shared.lock().listeners.len(), 1 + limits::MAX_GUN_CHILDREN);
    drop(updates);
    let end = tokio::time::Instant::now() + WAIT;
    while !bridge.shared.lock().listeners.is_empty() {
        assert!(tokio::time::Instant::now() < end, "listeners are left");
        tokio::task::yield_now().await;
    }
    drop(bridge);
    let seen = tokio::time::timeout(WAIT, reading).await.expect("in time").expect("no panic");
    let count = |op: &str| seen.iter().filter(|command| command["op"] == op).count();
    assert_eq!(count("on"), count("off"));
}

#[tokio::test]
async fn a_read_ends_when_nothing_more_comes() {
    let (bridge, mut commands) = bridge();
    for (events, found) in [
        (vec![], None),
        (vec![r#"{"value":null}"#], None),
        (vec![r#"{"value":null}"#, r##"{"fields":{"a":["x",1],"b":[{"#":"l"},1]}}"##], Some(2)),
    ] {
        let reading = bridge.clone();
        let deadline = if events.is_empty() { Duration::from_millis(50) } else { WAIT };
        let read = tokio::spawn(async move { reading.once(&path("a/b"), deadline).await });
        let id = next(&mut commands).await["id"].as_u64().expect("a number");
        for event in events {
            bridge.event(id, event);
        }
        assert_eq!(read.await.expect("no panic").expect("read").map(|record| record.len()), found);
        assert_eq!(next(&mut commands).await, json!({ "op": "off", "id": id }));
    }
}

#[tokio::test]
async fn everything_ends_with_the_stop() {
    let (bridge, mut commands) = bridge();
    let mut updates = bridge.subscribe(&path("a")).expect("subscribed");
    let (putting, reading) = (bridge.clone(), bridge.clone());
    let put = tokio::spawn(async move { putting.put(&path("a"), text("x"), WAIT).await });
    let read = tokio::spawn(async move { reading.once(&path("a"), WAIT).await });
    for _ in 0..3 {
        next(&mut commands).await;
    }
    bridge.stop().await;
    bridge.stop().await;
    assert_eq!(put.await.expect("no panic").expect_err("ended").kind(), ErrorKind::InvalidState);
    assert_eq!(read.await.expect("no panic").expect_err("ended").kind(), ErrorKind::InvalidState);
    assert_eq!(tokio::time::timeout(WAIT, updates.recv()).await.expect("in time"), None);
    assert_eq!(bridge.subscribe(&path("a")).expect_err("stopped").kind(), ErrorKind::InvalidState);
    assert_eq!(bridge.put(&path("a"), text("x"), WAIT).await.expect_err("stopped").kind(), ErrorKind::InvalidState);
}

#[tokio::test]
async fn a_busy_database_is_an_error() {
    let refuse = |_: String| Err(Error::new(ErrorKind::LimitReached, "busy"));
    let bridge = GunBridge::new(Box::new(refuse));
    assert_eq!(bridge.subscribe(&path("a")).expect_err("busy").kind(), ErrorKind::LimitReached);
    assert_eq!(bridge.put(&path("a"), text("x"), WAIT).await.expect_err("busy").kind(), ErrorKind::LimitReached);
    let state = bridge.shared.lock();
    assert!(state.listeners.is_empty() && state.puts.is_empty());
}
