//! What a subscriber was not told yet: the latest of each child, in the order in which the children changed. Not here: where
//! it comes from ([`client`](super::client), [`bridge`](super::bridge)).

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use crate::base::limits;
use crate::gun::interests::{Entry, Update};

/// The queue of one subscription. Clones are the same one.
#[derive(Clone, Default)]
pub struct News {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    changed: Notify,
    closed: CancellationToken,
}

#[derive(Default)]
struct Waiting {
    /// Names of the children in `latest`, the longest waiting first.
    order: VecDeque<String>,
    latest: HashMap<String, Entry>,
    bytes: usize,
}

impl News {
    /// None yet. They end with the token.
    pub fn until(closed: CancellationToken) -> Self {
        Self { shared: Arc::new(Shared { closed, ..Shared::default() }) }
    }

    /// Something to tell; what was to be told of the same child is out of date. If a subscriber does not read, the oldest
    /// is dropped.
    pub fn add(&self, update: Update) {
        let mut waiting = self.lock();
        waiting.bytes += size(&update.key, &update.entry);
        if let Some(old) = waiting.latest.insert(update.key.clone(), update.entry) {
            waiting.bytes -= size(&update.key, &old);
        } else {
            waiting.order.push_back(update.key);
        }
        while waiting.order.len() > limits::MAX_GUN_NODE_FIELDS || waiting.bytes > limits::MAX_GUN_NEWS_BYTES {
            let Some(dropped) = waiting.pop() else { break };
            tracing::debug!(child = dropped.key, "news of a Gun graph that nobody reads");
        }
        drop(waiting);
        self.shared.changed.notify_one();
    }

    /// Nothing more is told; ends the token.
    pub fn close(&self) {
        self.shared.closed.cancel();
    }

    /// Tells a subscriber until it is gone or [`close`](Self::close) is called.
    pub async fn tell(&self, subscriber: mpsc::Sender<Update>) {
        let telling = async {
            loop {
                let next = self.lock().pop();
                if let Some(update) = next {
                    if subscriber.send(update).await.is_err() {
                        return;
                    }
                    continue;
                }
                tokio::select! {
                    () = subscriber.closed() => return,
                    () = self.shared.changed.notified() => {}
                }
            }
        };
        self.shared.closed.run_until_cancelled(telling).await;
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.shared.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn pop(&mut self) -> Option<Update> {
        let key = self.order.pop_front()?;
        let entry = self.latest.remove(&key)?;
        self.bytes -= size(&key, &entry);
        Some(Update { key, entry })
    }
}

fn size(key: &str, entry: &Entry) -> usize {
    let content = match entry {
        Entry::Value(cell) => cell.value.size(),
        Entry::Record(record) => record.iter().map(|(key, cell)| key.len() + cell.value.size()).sum(),
    };
    key.len() + content
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gun::{Cell, Value};

    fn update(key: &str, text: &str) -> Update {
        Update { key: key.to_owned(), entry: Entry::Value(Cell { value: Value::Text(text.to_owned()), state: 0.0 }) }
    }

    #[tokio::test]
    async fn the_latest_of_each_child_in_order_and_then_the_end() {
        let news = News::default();
        for (key, text) in [("b", "old"), ("a", "1"), ("b", "new")] {
            news.add(update(key, text));
        }
        let (sender, mut receiver) = mpsc::channel(1);
        let telling = tokio::spawn({
            let news = news.clone();
            async move { news.tell(sender).await }
        });
        assert_eq!(receiver.recv().await, Some(update("b", "new")));
        assert_eq!(receiver.recv().await, Some(update("a", "1")));
        // More than there is room for, and nobody reads.
        for key in ["c", "d", "e"] {
            news.add(update(key, "never read"));
        }
        news.close();
        telling.await.expect("ends at the close");
        while receiver.recv().await.is_some() {}
    }

    #[test]
    fn what_nobody_reads_is_bounded_and_the_newest_stays() {
        let news = News::default();
        for number in 0..limits::MAX_GUN_NODE_FIELDS * 2 {
            news.add(update(&number.to_string(), ""));
        }
        assert_eq!(news.lock().order.len(), limits::MAX_GUN_NODE_FIELDS);
        let long = "x".repeat(limits::MAX_GUN_VALUE_BYTES);
        for number in 0..2 * limits::MAX_GUN_NEWS_BYTES / limits::MAX_GUN_VALUE_BYTES {
            news.add(update(&format!("long {number}"), &long));
        }
        news.add(update("last", "seen"));
        let mut waiting = news.lock();
        assert!(waiting.bytes <= limits::MAX_GUN_NEWS_BYTES && waiting.order.len() == waiting.latest.len());
        let mut last = None;
        while let Some(update) = waiting.pop() {
            last = Some(update.key);
        }
        assert_eq!((last.as_deref(), waiting.bytes), (Some("last"), 0));
    }
}
