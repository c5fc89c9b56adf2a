//! A Gun database of the program itself as a backend: its language executes commands on it, and tells what came. Not
//! here: that database, and the language (a binding).
//!
//! Commands are JSON objects, handed over one at a time and never waited for:
//!
//! | command | what is to be done |
//! |---------|--------------------|
//! | `{op:"put", id, path, data}` | write a value or the fields of a node; then [`reply`](GunBridge::reply) |
//! | `{op:"on", id, path, whole}` | from now on call [`event`](GunBridge::event) for the node at the path: with the fields that are new or have changed, or with all of it |
//! | `{op:"off", id}` | end that, for us only |
//! | `{op:"refresh"}` | ask relays again for everything that is listened to, if the database does not do so itself |
//!
//! An event is `{value}` for a value in place of the node, or `{fields: {name: [value, state]}}`. A database may never
//! answer, answer twice, or tell the same again: every wait has a deadline here, and late answers are nobody's.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use serde_json::{Value as Json, json};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::news::News;
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::limits;
use crate::gun::backend::{self, GunBackend};
use crate::gun::interests::{Entry, Update};
use crate::gun::names;
use crate::gun::value::{Cell, Record, Value};

/// Hands a command to whoever executes it, without waiting: `LimitReached` if it has too much to do, `InvalidState` if it
/// is gone.
pub type Execute = dyn Fn(String) -> Result<()> + Send + Sync;

/// A database of the program. Calls of [`GunBackend`] that subscribe need a tokio runtime. Dropping it ends all waits.
pub struct GunBridge {
    shared: Arc<Shared>,
}

struct Shared {
    execute: Box<Execute>,
    state: Mutex<State>,
    /// Chooses among too many children, unpredictably for others.
    seed: u64,
}

#[derive(Default)]
struct State {
    ids: u64,
    puts: HashMap<u64, oneshot::Sender<Option<String>>>,
    listeners: HashMap<u64, Listener>,
    stopped: bool,
}

enum Listener {
    /// A subscription, and the listeners of its children that are nodes.
    Node { path: Vec<String>, news: News, children: BTreeMap<String, u64> },
    /// A child of a subscribed node.
    Child { of: u64, key: String },
    /// A one-time read.
    Read(watch::Sender<Option<Seen>>),
}

/// What stands at a path.
#[derive(Clone, Debug, PartialEq)]
enum Seen {
    Value(Cell),
    Fields(Record),
}

/// Ends a listener when whoever listens is gone.
struct Listening {
    shared: Arc<Shared>,
    id: u64,
}

impl GunBridge {
    /// A backend over a database whose commands go this way.
    pub fn new(execute: Box<Execute>) -> Self {
        Self { shared: Arc::new(Shared { execute, state: Mutex::default(), seed: rand::random() }) }
    }

    /// The answer to a put: what was wrong with it, if anything. Of several answers the first counts.
    pub fn reply(&self, id: u64, error: Option<&str>) {
        let waiting = self.shared.lock().puts.remove(&id);
        if let Some(waiting) = waiting {
            let shown = |error: &str| error.chars().take(limits::MAX_GUN_ERROR_CHARS).collect();
            // Nobody may wait any more.
            let _ = waiting.send(error.map(shown));
        }
    }

    /// What stands at a path that is listened to. What cannot stand in a graph is left out, and texts above
    /// [`limits::MAX_GUN_PARSED_BYTES`] are not read. False: nobody listens there any more, whether or not that was said.
    pub fn event(&self, id: u64, text: &str) -> bool {
        let seen = (text.len() <= limits::MAX_GUN_PARSED_BYTES).then(|| read(text)).flatten();
        if let Some(seen) = seen {
            self.shared.take_in(id, seen);
        } else {
            tracing::debug!(id, bytes = text.len(), "an event of a Gun database is not read");
        }
        self.shared.lock().listeners.contains_key(&id)
    }
}

impl GunBackend for GunBridge {
    fn put(&self, path: &[String], entry: Entry, deadline: Duration) -> BoxFuture<'_, Result<()>> {
        let path = path.to_vec();
        Box::pin(async move {
            names::check(&path)?;
            backend::check(&entry)?;
            let data = match &entry {
                Entry::Value(cell) => cell.value.to_json(),
                Entry::Record(record) => record.iter().map(|(key, cell)| (key.clone(), cell.value.to_json())).collect(),
            };
            let (sender, receiver) = oneshot::channel();
            let id = {
                let mut state = self.shared.lock();
                state.running()?;
                if state.puts.len() >= limits::MAX_GUN_PUTS {
                    // Those nobody waits for were left by their callers.
                    state.puts.retain(|_, waiting| !waiting.is_closed());
                }
                if state.puts.len() >= limits::MAX_GUN_PUTS {
                    return Err(Error::new(ErrorKind::LimitReached, "too many puts to a Gun database wait"));
                }
                let id = state.id();
                state.puts.insert(id, sender);
                id
            };
            let soul = names::soul(&path);
            let put = json!({ "op": "put", "id": id, "path": path, "data": data });
            let executed = (self.shared.execute)(put.to_string());
            let waited = match executed {
                Ok(()) => tokio::time::timeout(deadline.min(limits::GUN_BRIDGE_ACK_WAIT), receiver).await,
                Err(error) => {
                    self.shared.lock().puts.remove(&id);
                    return Err(error);
                }
            };
            self.shared.lock().puts.remove(&id);
            match waited {
                Ok(Ok(None)) => Ok(()),
                Ok(Ok(Some(reason))) => Err(Error::new(ErrorKind::Protocol, format!("Gun refused `{soul}`: {reason}"))),
                Ok(Err(_)) => Err(stopped()),
                Err(_) => Err(Error::new(ErrorKind::Timeout, format!("nobody has confirmed `{soul}` to Gun"))),
            }
        })
    }

    fn once(&self, path: &[String], deadline: Duration) -> BoxFuture<'_, Result<Option<Record>>> {
        let path = path.to_vec();
        Box::pin(async move {
            names::check(&path)?;
            let until = Instant::now() + deadline;
            let (sender, mut receiver) = watch::channel(None);
            let _listening = self.shared.listen(&path, true, Listener::Read(sender))?;
            let mut found = None;
            loop {
                // The first answer may be one of several, and not the whole node.
                let wait = found.as_ref().map_or(until, |_| until.min(Instant::now() + limits::GUN_READ_QUIET));
                match tokio::time::timeout_at(wait, receiver.changed()).await {
                    Ok(Ok(())) => found.clone_from(&receiver.borrow_and_update()),
                    Ok(Err(_)) => return Err(stopped()),
                    Err(_) => break,
                }
            }
            Ok(match found {
                Some(Seen::Fields(record)) if !record.is_empty() => Some(record),
                Some(Seen::Fields(_) | Seen::Value(_)) | None => None,
            })
        })
    }

    fn subscribe(&self, path: &[String]) -> Result<mpsc::Receiver<Update>> {
        names::check(path)?;
        let news = News::default();
        let listener = Listener::Node { path: path.to_vec(), news: news.clone(), children: BTreeMap::new() };
        let listening = self.shared.listen(path, false, listener)?;
        let (sender, receiver) = mpsc::channel(limits::GUN_UPDATE_QUEUE);
        tokio::spawn(async move {
            news.tell(sender).await;
            drop(listening);
        });
        Ok(receiver)
    }

    fn refresh(&self) {
        if let Err(error) = (self.shared.execute)(json!({ "op": "refresh" }).to_string()) {
            tracing::debug!(error = %error.full_message(), "a Gun database is not asked again");
        }
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        Box::pin(async { self.shared.stop() })
    }
}

impl Drop for GunBridge {
    fn drop(&mut self) {
        self.shared.stop();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Tables of who waits have no broken intermediate states that matter more than going on.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn listen(self: &Arc<Self>, path: &[String], whole: bool, listener: Listener) -> Result<Listening> {
        let id = {
            let mut state = self.lock();
            state.running()?;
            state.listen(listener)?
        };
        let listening = Listening { shared: Arc::clone(self), id };
        (self.execute)(on(id, path, whole))?;
        Ok(listening)
    }

    fn take_in(&self, id: u64, seen: Seen) {
        // Decided under the lock, executed without it: a database may tell at once what it has.
        let commands = self.lock().take_in(id, seen, self.seed);
        for command in commands {
            if let Err(error) = (self.execute)(command) {
                tracing::debug!(error = %error.full_message(), "a node of a Gun database is not followed");
            }
        }
    }

    fn stop(&self) {
        let listeners = {
            let mut state = self.lock();
            state.stopped = true;
            state.puts.clear();
            std::mem::take(&mut state.listeners)
        };
        for (id, listener) in listeners {
            if let Listener::Node { news, .. } = &listener {
                news.close();
            }
            // Whoever executes commands may be gone, and then it tells nothing either.
            let _ = (self.execute)(off(id));
        }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let ended = {
            let mut state = self.shared.lock();
            let mut ended = Vec::new();
            if let Some(listener) = state.listeners.remove(&self.id) {
                ended.push(self.id);
                if let Listener::Node { children, .. } = listener {
                    ended.extend(children.values().filter(|child| state.listeners.remove(child).is_some()));
                }
            }
            ended
        };
        for id in ended {
            let _ = (self.shared.execute)(off(id));
        }
    }
}

impl State {
    fn running(&self) -> Result<()> {
        if self.stopped { Err(stopped()) } else { Ok(()) }
    }

    fn id(&mut self) -> u64 {
        self.ids += 1;
        self.ids
    }

    fn listen(&mut self, listener: Listener) -> Result<u64> {
        if self.listeners.len() >= limits::MAX_GUN_BRIDGE_LISTENERS {
            return Err(Error::new(ErrorKind::LimitReached, "too many subscriptions to a Gun database"));
        }
        let id = self.id();
        self.listeners.insert(id, listener);
        Ok(id)
    }

    /// Tells whom it concerns; returns what is to be done then.
    fn take_in(&mut self, id: u64, seen: Seen, seed: u64) -> Vec<String> {
        let mut commands = Vec::new();
        match (self.listeners.get(&id), seen) {
            (Some(Listener::Read(sender)), seen) => {
                sender.send_replace(Some(seen));
            }
            (Some(Listener::Child { of, key }), Seen::Fields(record)) => {
                if let Some(Listener::Node { news, .. }) = self.listeners.get(of) {
                    news.add(Update { key: key.clone(), entry: Entry::Record(record) });
                }
            }
            (Some(Listener::Node { news, .. }), Seen::Value(cell)) => {
                news.add(Update { key: String::new(), entry: Entry::Value(cell) });
            }
            (Some(Listener::Node { .. }), Seen::Fields(record)) => {
                for (key, cell) in record {
                    match cell.value {
                        Value::Link(_) => commands.extend(self.follow(id, &key, seed)),
                        _ => commands.extend(self.leave(id, key, cell)),
                    }
                }
            }
            // Its parent says so too; or it is nobody's any more.
            (Some(Listener::Child { .. }), Seen::Value(_)) | (None, _) => {}
        }
        commands
    }

    /// A child that is a node: its fields are wanted too. If there are too many, a choice that nobody outside can steer.
    fn follow(&mut self, id: u64, key: &str, seed: u64) -> Vec<String> {
        let mut commands = Vec::new();
        let Some(Listener::Node { path, children, .. }) = self.listeners.get(&id) else { return commands };
        let child_path: Vec<String> = path.iter().cloned().chain([key.to_owned()]).collect();
        if children.contains_key(key) || names::check(&child_path).is_err() {
            return commands;
        }
        let mut worst = None;
        if children.len() >= limits::MAX_GUN_CHILDREN {
            let rank = |key: &str| {
                let mut hasher = DefaultHasher::new();
                (seed, key).hash(&mut hasher);
                hasher.finish()
            };
            worst = children.keys().max_by_key(|key| rank(key)).cloned();
            if worst.as_ref().is_none_or(|worst| rank(worst) <= rank(key)) {
                return commands;
            }
        }
        let Ok(child) = self.listen(Listener::Child { of: id, key: key.to_owned() }) else { return commands };
        if let Some(Listener::Node { children, .. }) = self.listeners.get_mut(&id) {
            children.insert(key.to_owned(), child);
            let gone = worst.and_then(|worst| children.remove(&worst));
            commands.extend(gone.filter(|gone| self.listeners.remove(gone).is_some()).map(off));
        }
        commands.push(on(child, &child_path, true));
        commands
    }

    /// A child that is a plain value.
    fn leave(&mut self, id: u64, key: String, cell: Cell) -> Option<String> {
        let Some(Listener::Node { news, children, .. }) = self.listeners.get_mut(&id) else { return None };
        let gone = children.remove(&key);
        news.add(Update { key, entry: Entry::Value(cell) });
        gone.filter(|gone| self.listeners.remove(gone).is_some()).map(off)
    }
}

fn on(id: u64, path: &[String], whole: bool) -> String {
    json!({ "op": "on", "id": id, "path": path, "whole": whole }).to_string()
}

fn off(id: u64) -> String {
    json!({ "op": "off", "id": id }).to_string()
}

/// Reads an event; `None` if it is none.
fn read(text: &str) -> Option<Seen> {
    let Json::Object(mut event) = serde_json::from_str(text).ok()? else { return None };
    let Some(fields) = event.remove("fields") else {
        let value = Value::from_json(event.get("value")?)?;
        return Some(Seen::Value(Cell { value, state: 0.0 }));
    };
    let cells = fields.as_object()?.iter().filter(|(key, _)| names::is_safe(key)).filter_map(|(key, told)| {
        let value = Value::from_json(told.get(0)?)?;
        let state = told.get(1).and_then(Json::as_f64).unwrap_or(0.0);
        Some((key.clone(), Cell { value, state }))
    });
    Some(Seen::Fields(cells.take(limits::MAX_GUN_NODE_FIELDS).collect()))
}

fn stopped() -> Error {
    Error::new(ErrorKind::InvalidState, "the Gun database is used no more")
}

#[cfg(test)]
mod tests;
